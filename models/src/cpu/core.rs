//! The core: runs one task at a time, waits for accesses in order, lets others run while a task sleeps or waits.

use std::collections::{BTreeSet, VecDeque};

use sim::{Component, Cx, Time, Yielded};

use super::{Answer, Ask, CpuId, CpuTask, CpuTiming, SignalId};
use crate::bus::{Op, PhysAddr, Requester, Response, Transaction};
use crate::dma::{Job, JobResult};
use crate::record::Record;

/// All a core hears.
#[derive(Debug)]
pub enum In {
    /// A task starts here.
    Spawn(Box<CpuTask>),
    /// The answer to a transaction.
    Response(Response),
    /// A watched value changed.
    Touched {
        /// The tag of the watch.
        tag: u32,
    },
    /// An interrupt becomes pending.
    Interrupt(u32),
    /// A signal that was waited for was raised.
    Signalled {
        /// The tag of the wait.
        tag: u32,
        /// How often it has been raised.
        count: u64,
    },
    /// A job ended.
    JobDone {
        /// The tag of the job.
        tag: u32,
        /// How.
        result: Box<JobResult>,
    },
    /// From itself: the running task goes on.
    Continue {
        /// Which task.
        task: usize,
        /// Its answer.
        answer: Answer,
    },
    /// From itself: a sleep or a limit is over.
    Expired {
        /// Which task.
        task: usize,
        /// Which of its waits.
        wait: u64,
    },
}

/// All a core says.
#[derive(Debug)]
pub enum Out {
    /// A transaction.
    Bus(Transaction),
    /// Tell me when the value differs.
    Watch {
        /// Returned when it does.
        tag: u32,
        /// First byte.
        addr: PhysAddr,
        /// 4 or 8.
        len: u8,
        /// The value that keeps me waiting.
        value: u64,
    },
    /// Raises a signal.
    Signal(SignalId),
    /// Tell me when the signal's count exceeds `seen`.
    WaitSignal {
        /// Returned when it does.
        tag: u32,
        /// Which.
        signal: SignalId,
        /// How many raises the task has seen.
        seen: u64,
    },
    /// A job for an endpoint.
    Job {
        /// Returned with the result.
        tag: u32,
        /// Which endpoint.
        endpoint: u16,
        /// What to do.
        job: Box<Job>,
    },
    /// Starts a task on a CPU.
    Spawn {
        /// Where.
        cpu: CpuId,
        /// The task.
        task: Box<CpuTask>,
    },
}

#[derive(Debug)]
enum State {
    /// In the ready queue.
    Ready,
    /// Holds the core.
    Running,
    /// Has let the core go. The number tells this wait from earlier ones.
    Waiting {
        wait: u64,
        interrupt: Option<u32>,
    },
    Finished,
}

#[derive(Debug)]
struct Slot {
    task: Option<Box<CpuTask>>,
    state: State,
}

#[derive(Debug)]
enum Pending {
    /// The running task holds the core until the answer.
    Held { task: usize },
    /// A posted write.
    Posted,
    /// A wait that let the core go.
    Wait { task: usize, wait: u64 },
}

/// A simulated CPU core.
#[derive(Debug)]
pub struct Core {
    id: CpuId,
    timing: CpuTiming,
    slots: Vec<Slot>,
    ready: VecDeque<(usize, Option<Answer>)>,
    running: Option<usize>,
    pending: Vec<(u32, Pending)>,
    next_tag: u32,
    next_wait: u64,
    posted: u32,
    barrier: Option<usize>,
    interrupts: BTreeSet<u32>,
}

type Context = Cx<In, Out, Record>;

impl Core {
    /// An idle core.
    pub fn new(id: CpuId, timing: CpuTiming) -> Self {
        Self {
            id,
            timing,
            slots: Vec::new(),
            ready: VecDeque::new(),
            running: None,
            pending: Vec::new(),
            next_tag: 0,
            next_wait: 0,
            posted: 0,
            barrier: None,
            interrupts: BTreeSet::new(),
        }
    }

    /// Names of the tasks that have not returned.
    pub fn unfinished(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().filter_map(|slot| slot.task.as_deref().map(CpuTask::name))
    }

    fn tag(&mut self, pending: Pending) -> u32 {
        let tag = self.next_tag;
        self.next_tag = self.next_tag.wrapping_add(1);
        self.pending.push((tag, pending));
        tag
    }
    fn take(&mut self, tag: u32) -> Option<Pending> {
        let at = self.pending.iter().position(|(t, _)| *t == tag)?;
        Some(self.pending.swap_remove(at).1)
    }

    fn make_ready(&mut self, task: usize, answer: Option<Answer>) {
        self.slots[task].state = State::Ready;
        self.ready.push_back((task, answer));
    }

    /// Runs tasks until one holds the core or none is ready.
    fn schedule(&mut self, cx: &mut Context) {
        while self.running.is_none() {
            let Some((task, answer)) = self.ready.pop_front() else { return };
            self.running = Some(task);
            self.slots[task].state = State::Running;
            self.resume(task, answer, cx);
        }
    }

    fn resume(&mut self, task: usize, answer: Option<Answer>, cx: &mut Context) {
        let body = self.slots[task].task.as_mut().expect("a finished task is not resumed");
        match body.resume(answer) {
            Yielded::Asked(ask) => self.perform(task, ask, cx),
            Yielded::Finished => {
                self.slots[task] = Slot { task: None, state: State::Finished };
                self.running = None;
            }
        }
    }

    fn let_go(&mut self, task: usize, interrupt: Option<u32>, limit: Option<Time>, cx: &mut Context) -> u64 {
        let wait = self.next_wait;
        self.next_wait += 1;
        self.slots[task].state = State::Waiting { wait, interrupt };
        self.running = None;
        if let Some(limit) = limit {
            cx.wake(limit, In::Expired { task, wait });
        }
        wait
    }

    fn perform(&mut self, task: usize, ask: Ask, cx: &mut Context) {
        let soon = |cx: &mut Context, delay, answer| cx.wake(delay, In::Continue { task, answer });
        match ask {
            Ask::Access { addr, op } => {
                let tag = self.tag(Pending::Held { task });
                cx.say(Time::ZERO, Out::Bus(self.transaction(tag, addr, op)));
            }
            Ask::Post { addr, data } => {
                let tag = self.tag(Pending::Posted);
                self.posted += 1;
                cx.say(Time::ZERO, Out::Bus(self.transaction(tag, addr, Op::Write(data))));
                soon(cx, self.timing.post, Answer::Done);
            }
            Ask::Barrier if self.posted == 0 => soon(cx, self.timing.barrier, Answer::Done),
            Ask::Barrier => self.barrier = Some(task),
            Ask::Delay(time) => soon(cx, time, Answer::Done),
            Ask::Sleep(time) => {
                self.let_go(task, None, Some(time), cx);
            }
            Ask::WaitInterrupt { intid, .. } if self.interrupts.remove(&intid) => {
                soon(cx, self.timing.wake_up, Answer::Done);
            }
            Ask::WaitInterrupt { intid, limit } => {
                self.let_go(task, Some(intid), limit, cx);
            }
            Ask::WaitWhile { addr, len, value, limit } => {
                let wait = self.let_go(task, None, limit, cx);
                let tag = self.tag(Pending::Wait { task, wait });
                cx.say(Time::ZERO, Out::Watch { tag, addr, len, value });
            }
            Ask::Signal(signal) => {
                cx.say(self.timing.signal, Out::Signal(signal));
                soon(cx, self.timing.signal, Answer::Done);
            }
            Ask::WaitSignal { signal, seen, limit } => {
                let wait = self.let_go(task, None, limit, cx);
                let tag = self.tag(Pending::Wait { task, wait });
                cx.say(Time::ZERO, Out::WaitSignal { tag, signal, seen });
            }
            Ask::Job { endpoint, job } => {
                let wait = self.let_go(task, None, None, cx);
                let tag = self.tag(Pending::Wait { task, wait });
                cx.say(Time::ZERO, Out::Job { tag, endpoint, job });
            }
            Ask::Spawn { cpu, task: child } => {
                cx.say(self.timing.signal, Out::Spawn { cpu, task: child });
                soon(cx, self.timing.signal, Answer::Done);
            }
        }
    }

    fn transaction(&self, tag: u32, addr: PhysAddr, op: Op) -> Transaction {
        Transaction::new(Requester::Cpu(self.id.0), tag, addr, op)
    }

    fn responded(&mut self, response: &Response, cx: &mut Context) {
        match self.take(response.tag) {
            Some(Pending::Held { task }) => {
                let answer = response.result.map_or_else(Answer::Abort, Answer::Data);
                self.resume(task, Some(answer), cx);
            }
            Some(Pending::Posted) => {
                self.posted -= 1;
                if self.posted == 0
                    && let Some(task) = self.barrier.take()
                {
                    cx.wake(self.timing.barrier, In::Continue { task, answer: Answer::Done });
                }
            }
            other => panic!("response {response:?} answers {other:?}"),
        }
    }

    /// Ends the wait behind `tag`, unless its limit ended it before.
    fn released(&mut self, tag: u32, answer: Answer, delay: Time, cx: &mut Context) {
        let Some(Pending::Wait { task, wait }) = self.take(tag) else { return };
        if matches!(self.slots[task].state, State::Waiting { wait: current, .. } if current == wait) {
            self.wake_after(task, answer, delay, cx);
        }
    }

    /// The task is no longer waiting, and becomes ready after `delay`.
    fn wake_after(&mut self, task: usize, answer: Answer, delay: Time, cx: &mut Context) {
        self.slots[task].state = State::Ready;
        cx.wake(delay, In::Continue { task, answer });
    }

    fn interrupted(&mut self, intid: u32, cx: &mut Context) {
        cx.note(Record::InterruptDelivered { intid, cpu: self.id });
        let waiting = self
            .slots
            .iter()
            .position(|slot| matches!(slot.state, State::Waiting { interrupt: Some(i), .. } if i == intid));
        match waiting {
            Some(task) => self.wake_after(task, Answer::Done, self.timing.wake_up, cx),
            None => {
                self.interrupts.insert(intid);
            }
        }
    }
}

impl Component for Core {
    type In = In;
    type Out = Out;
    type Note = Record;

    fn on(&mut self, heard: In, cx: &mut Context) {
        match heard {
            In::Spawn(task) => {
                self.slots.push(Slot { task: Some(task), state: State::Ready });
                self.ready.push_back((self.slots.len() - 1, None));
            }
            In::Response(response) => self.responded(&response, cx),
            In::Touched { tag } => self.released(tag, Answer::Done, self.timing.wake_from_monitor, cx),
            In::Interrupt(intid) => self.interrupted(intid, cx),
            In::Signalled { tag, count } => self.released(tag, Answer::Count(count), self.timing.wake_up, cx),
            In::JobDone { tag, result } => self.released(tag, Answer::Job(result), Time::ZERO, cx),
            In::Continue { task, answer } if self.running == Some(task) => {
                self.resume(task, Some(answer), cx);
            }
            In::Continue { task, answer } => self.make_ready(task, Some(answer)),
            In::Expired { task, wait } => {
                if matches!(self.slots[task].state, State::Waiting { wait: current, .. } if current == wait) {
                    // A sleep and a limit end alike; the handle knows which it asked for.
                    self.pending.retain(|(_, p)| !matches!(p, Pending::Wait { wait: w, .. } if *w == wait));
                    self.wake_after(task, Answer::TimedOut, Time::ZERO, cx);
                }
            }
        }
        self.schedule(cx);
    }
}

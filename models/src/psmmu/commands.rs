//! Command queues in time: fetches, the arbiter's turns, one command at a time in the engine, CMD_SYNC.

use sim::Time;
use spec::smmu::{CommandError, GlobalError, Opcode};

use super::{Context, In, Out, Pending, Psmmu, Wake};
use crate::bus::{Data, Op};
use crate::cmdqv::{Cmdqv, Effect};
use crate::dma::AtcInvalidate;
use crate::record::{CommandQueue, Record};
use crate::smmu::Scope;
use crate::smmu::arbiter::Grant;
use crate::smmu::command_queue::Head;
use crate::smmu::engine::{Issued, Progress, Signal, Sync, Work};
use crate::smmu::interrupts::{Raise, Source};
use crate::smmu::lint;
use crate::smmu::ports::{Port, Ports};

/// The command in the engine, and what it means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Executing {
    command: Issued,
    work: Result<Work, CommandError>,
}

impl Psmmu {
    /// Lets the CMDQV react, and turns what it wants into messages.
    pub(super) fn with_cmdqv(&mut self, cx: &mut Context, react: impl FnOnce(&mut Cmdqv)) {
        react(self.cmdqv.as_mut().expect("there is a CMDQV"));
        self.drain_cmdqv(cx);
    }

    fn drain_cmdqv(&mut self, cx: &mut Context) {
        let smmu = self.smmu();
        while let Some(effect) = self.cmdqv.as_mut().and_then(Cmdqv::poll) {
            match effect {
                Effect::Fetch { ticket, addr, len } => {
                    let pending = Pending::CmdqvFetch { ticket, aborted: self.triggers.fetch.strikes() };
                    self.metrics.command_fetches += 1;
                    self.send(cx.now + self.config.timing.fetch, addr, Op::Read { len }, pending, cx);
                }
                Effect::WriteBack { ticket, addr, value } => {
                    let pending = Pending::CmdqvWriteBack { ticket };
                    self.send(cx.now, addr, Op::Write(Data::u32(value)), pending, cx);
                }
                Effect::InterruptEdge => self.cmdqv_edge(cx),
                Effect::Handshake { ticket } => {
                    cx.wake(self.config.timing.cmdqv_update, In::Wake(Wake::Cmdqv(ticket)));
                }
                Effect::Error { queue, index, code, raw } => {
                    self.metrics.command_errors += 1;
                    cx.note(Record::CommandError { smmu, queue, index, code: code.0, raw });
                }
                Effect::Lint(text) => cx.note(Record::Lint { smmu, text }),
            }
        }
        self.kicked = true;
    }

    /// Fetches and executes what can be. Called whenever something has changed that may allow it.
    pub(super) fn serve(&mut self, cx: &mut Context) {
        if self.config.faults.stalled || self.registers.has_failed() {
            return;
        }
        self.fetch(cx);
        while self.executing.is_none() && !self.registers.has_failed() {
            self.find_ready();
            let limits = self.cmdqv.as_ref().map_or(self.ports.limits(), Cmdqv::limits);
            match self.arbiter.next(&self.ready, limits) {
                None => return,
                Some(Grant::Sync(port)) => {
                    self.metrics.inserted_syncs += 1;
                    if !self.engine.is_blocked(port) {
                        self.engine.start(port, Sync::new(None, Signal::None, self.window.next()));
                        self.complete_syncs(cx);
                    }
                }
                Some(Grant::Take(port)) => self.take(port, cx),
            }
        }
    }

    fn fetch(&mut self, cx: &mut Context) {
        if let Some(fetch) = self.main.wants_fetch(&self.registers) {
            let pending =
                Pending::CommandFetch { ticket: fetch.ticket, aborted: self.triggers.fetch.strikes() };
            self.metrics.command_fetches += 1;
            self.send(
                cx.now + self.config.timing.fetch,
                fetch.addr,
                Op::Read { len: fetch.len },
                pending,
                cx,
            );
        }
        while let Some((queue, fetch)) = self.ecmdqs.wants_fetch(&self.registers) {
            let aborted = self.triggers.fetch.strikes();
            let pending = Pending::EcmdqFetch { queue, ticket: fetch.ticket, aborted };
            self.metrics.command_fetches += 1;
            let when = cx.now + self.config.timing.fetch;
            self.send(when, fetch.addr, Op::Read { len: fetch.len }, pending, cx);
        }
    }

    fn find_ready(&mut self) {
        let main = self.main.is_ready(&self.registers);
        self.ready.set(0, main);
        if let Some(cmdqv) = &self.cmdqv {
            self.ready[1..=self.ports.vcmdqs].copy_from_bitslice(cmdqv.ready_queues());
        }
        self.ready[self.ports.first_ecmdq()..].copy_from_bitslice(self.ecmdqs.ready());
        if self.engine.syncs() > 0 {
            for port in 0..self.ready.len() {
                if self.engine.is_blocked(port) {
                    self.ready.set(port, false);
                }
            }
        }
    }

    /// Takes the head of a ready queue into the engine.
    fn take(&mut self, port: usize, cx: &mut Context) {
        if self.triggers.failure.strikes() {
            return self.fail(cx);
        }
        let issued = match self.ports.of(port) {
            Port::Main => {
                let head = self.main.take(&self.registers).expect("the main queue is ready");
                self.issue(port, CommandQueue::Main, head, cx)
            }
            Port::Ecmdq(queue) => {
                let head = self.ecmdqs.take(queue, &self.registers).expect("the queue is ready");
                self.issue(port, CommandQueue::Ecmdq(queue as u16), head, cx)
            }
            Port::Vcmdq(queue) => {
                let mut taken = None;
                self.with_cmdqv(cx, |cmdqv| taken = cmdqv.take(queue));
                taken.map(|t| Issued {
                    port,
                    queue: t.queue,
                    index: t.index,
                    raw: t.raw,
                    executed: t.executed,
                })
            }
        };
        let Some(command) = issued else { return };
        let work = self.triggers.decode(&command.executed, command.queue, &self.control);
        let executing = Executing { command, work };
        let timing = &self.config.timing;
        let cost = timing.command(&executing.work);
        let is_sync = executing.command.executed.op() == Opcode::SYNC;
        self.arbiter.served(is_sync, timing.clocks(cost));
        let is_checked = matches!(command.queue, CommandQueue::Vcmdq { .. });
        let admission = if is_checked { timing.admission } else { Time::ZERO };
        let changes = self.served.replace(port).is_some_and(|last| last != port);
        let switch = if changes { timing.switch } else { Time::ZERO };
        self.executing = Some(executing);
        cx.wake(admission + switch + cost, In::Wake(Wake::Executed));
    }

    /// Enters Service Failure Mode (IHI 0070, 12.3): no queue is looked at any more, every transaction ends with an abort.
    fn fail(&mut self, cx: &mut Context) {
        self.registers.fail();
        self.control = self.registers.control();
        self.tell_cmdqv_whether_the_smmu_runs();
        let smmu = self.smmu();
        for record in self.events.abandon() {
            self.metrics.events_lost += 1;
            cx.note(Record::EventDropped { smmu, record });
        }
        self.abandon_page_requests(cx);
        self.global_error(GlobalError::SFM_ERR, cx);
        self.abort_stalled(|_| true, cx);
    }

    /// The command at the head of one of the SMMU's queues; none if its read was aborted, which stops the queue.
    fn issue(&mut self, port: usize, queue: CommandQueue, head: Head, cx: &mut Context) -> Option<Issued> {
        let Head { index, command } = head;
        if let Ok(raw) = command {
            return Some(Issued { port, queue, index, raw, executed: raw });
        }
        self.stop(queue, index, CommandError::CERROR_ABT, None, cx);
        None
    }

    /// The engine is done with its command.
    pub(super) fn executed(&mut self, cx: &mut Context) {
        let Executing { command, work } = self.executing.take().expect("a command was being executed");
        self.kicked = true;
        let work = match work {
            Ok(work) => work,
            Err(code) => return self.retire(&command, Err(code), cx),
        };
        let op = command.executed.op();
        self.metrics.count_command(command.port, op);
        match work {
            Work::Nothing => {}
            Work::InvalidateConfig(scope) => {
                let dropped = self.triggers.cfgi.strikes(command.queue, op) | self.is_lost(&command);
                self.invalidate(&scope, dropped);
            }
            Work::InvalidateTlb(scope) => {
                let dropped = self.triggers.tlbi.strikes(command.queue, op) | self.is_lost(&command);
                self.invalidate(&scope, dropped);
            }
            Work::InvalidateAtc(invalidate) => self.send_atc(command.port, invalidate, cx),
            Work::RespondToPage(response) => self.respond_to_page(cx.now, response, false, cx),
            Work::Resume { sid, stag, action } => self.resume_stalled(sid, stag, action, cx),
            Work::StallTerm { sid } => self.abort_stalled(|stalled| stalled == sid, cx),
            Work::Sync(signal) => {
                let mark = if self.triggers.sync.strikes() { None } else { Some(self.window.next()) };
                let sync = Sync::new(Some(command), signal, mark.unwrap_or(0));
                self.metrics.syncs_started.insert(command.port, cx.now);
                match mark {
                    Some(_) => self.engine.start(command.port, sync),
                    // The environment's fault: nothing is waited for.
                    None => self.schedule_synced(command.port, sync, Ok(()), cx),
                }
                return;
            }
        }
        self.retire(&command, Ok(()), cx);
    }

    /// Whether an invalidation is lost because it must be repeated.
    fn is_lost(&mut self, command: &Issued) -> bool {
        self.repeats.as_mut().is_some_and(|repeats| repeats.loses(command.port, command.executed))
    }

    /// Removes what an invalidation covers; translations in flight that it covers must not bring it back.
    fn invalidate(&mut self, scope: &Scope, dropped: bool) {
        if dropped {
            self.metrics.invalidations_dropped += 1;
            return;
        }
        self.metrics.entries_removed += self.caches.invalidate(scope) as u64;
        self.tbu.invalidated(scope);
        self.pages.invalidated(scope);
    }

    /// A queue that was full is so no more: a wake-up event (IHI 0070, 3.5.6 and 4.1).
    fn has_room(&mut self, has_room: bool) {
        self.metrics.wake_events += u64::from(has_room && self.control.features.sev);
    }

    /// CONS passes the command, or its queue stops there.
    fn retire(&mut self, command: &Issued, result: Result<(), CommandError>, cx: &mut Context) {
        let Issued { port, queue, index, raw, executed } = *command;
        if result.is_ok() {
            self.lint(lint::of_command(&executed, &self.control, &self.caches.config), cx);
            self.registers.executed(&executed);
            cx.note(Record::CommandConsumed { smmu: self.smmu(), queue, index, raw, executed });
        }
        match (self.ports.of(port), result) {
            (Port::Main, Ok(())) => {
                let has_room = self.main.retire(Ok(()), &mut self.registers);
                self.has_room(has_room);
            }
            (Port::Ecmdq(queue), Ok(())) => {
                let has_room = self.ecmdqs.retire(queue, Ok(()), &mut self.registers);
                self.has_room(has_room);
            }
            (Port::Main | Port::Ecmdq(_), Err(code)) => self.stop(queue, index, code, Some(raw), cx),
            (Port::Vcmdq(queue), result) => self.with_cmdqv(cx, |cmdqv| cmdqv.retire(queue, result)),
        }
        self.kicked = true;
    }

    /// One of the SMMU's queues stops at the command that was taken.
    fn stop(
        &mut self,
        queue: CommandQueue,
        index: u32,
        code: CommandError,
        raw: Option<spec::smmu::Command>,
        cx: &mut Context,
    ) {
        self.metrics.command_errors += 1;
        let error = if let CommandQueue::Ecmdq(queue) = queue {
            self.ecmdqs.retire(queue.into(), Err(code), &mut self.registers);
            GlobalError::CMDQP_ERR
        } else {
            self.main.retire(Err(code), &mut self.registers);
            GlobalError::CMDQ_ERR
        };
        let smmu = self.smmu();
        cx.note(Record::CommandError { smmu, queue, index, code: code.0, raw });
        self.global_error(error, cx);
    }

    /// Starts the last leg of every CMD_SYNC that has nothing left to wait for.
    pub(super) fn complete_syncs(&mut self, cx: &mut Context) {
        while self.engine.syncs() > 0 {
            let progress = Progress {
                oldest: self.window.oldest(),
                commits: self.events.commits(),
                settled: self.events.settled(),
            };
            let (cmdqv, ports) = (self.cmdqv.as_ref(), self.ports);
            let is_off = |port: usize| is_off(cmdqv, ports, port);
            let Some((port, sync, result)) = self.engine.complete(progress, is_off) else { return };
            self.kicked = true;
            if sync.command.is_some() {
                self.schedule_synced(port, sync, result, cx);
            }
        }
    }

    fn schedule_synced(&self, port: usize, sync: Sync, result: Result<(), CommandError>, cx: &mut Context) {
        cx.wake(self.config.timing.sync_round, In::Wake(Wake::Synced { port, sync, result }));
    }

    /// A CMD_SYNC of software has completed, or stops its queue.
    pub(super) fn synced(
        &mut self,
        port: usize,
        sync: Sync,
        result: Result<(), CommandError>,
        cx: &mut Context,
    ) {
        let command = sync.command.expect("only software's own are scheduled");
        if let Some(since) = self.metrics.syncs_started.remove(&port) {
            self.metrics.sync_latency.record(cx.now - since);
        }
        self.retire(&command, result, cx);
        if result.is_err() {
            return;
        }
        if let Some(repeats) = &mut self.repeats {
            repeats.synced(port);
        }
        match sync.signal {
            Signal::None => {}
            Signal::Event => self.metrics.wake_events += 1,
            Signal::Interrupt { addr, data } => {
                for raise in Raise::sync(addr, data, &self.config.lines) {
                    self.raise(raise, Source::Sync, Some(port), cx);
                }
            }
        }
    }

    fn send_atc(&mut self, port: usize, mut invalidate: AtcInvalidate, cx: &mut Context) {
        let tag = self.atc_next;
        self.atc_next = self.atc_next.wrapping_add(1);
        invalidate.tag = tag;
        self.atc.insert(tag, port);
        self.engine.atc_issued(port);
        let deadline = cx.now + self.config.timing.atc_timeout;
        if !std::mem::replace(&mut self.atc_armed, true) {
            cx.wake(self.config.timing.atc_timeout, In::Wake(Wake::AtcTimeout));
        }
        self.atc_deadlines.push_back((deadline, tag));
        if !self.triggers.atc.strikes() {
            cx.say_at(self.atc_earliest.max(cx.now), Out::Atc(invalidate));
        }
    }

    /// An answer; late ones are ignored.
    pub(super) fn atc_done(&mut self, tag: u32, timed_out: bool) {
        if let Some(port) = self.atc.remove(&tag) {
            self.metrics.atc_timeouts += u64::from(timed_out);
            self.engine.atc_done(port, timed_out);
        }
        while self.atc_deadlines.front().is_some_and(|(_, tag)| !self.atc.contains_key(tag)) {
            self.atc_deadlines.pop_front();
        }
    }

    /// Gives up on what is overdue. One alarm is set as long as anything may become overdue.
    pub(super) fn atc_deadline(&mut self, cx: &mut Context) {
        self.atc_armed = false;
        while let Some(&(deadline, tag)) = self.atc_deadlines.front() {
            if deadline > cx.now {
                self.atc_armed = true;
                return cx.wake(deadline - cx.now, In::Wake(Wake::AtcTimeout));
            }
            self.atc_done(tag, true);
        }
    }
}

/// Whether a queue is a VCMDQ that is disabled. What it has left behind is completed by the SMMU's own queue.
pub(crate) fn is_off(cmdqv: Option<&Cmdqv>, ports: Ports, port: usize) -> bool {
    match (ports.of(port), cmdqv) {
        (Port::Vcmdq(queue), Some(cmdqv)) => !cmdqv.is_enabled(queue),
        _ => false,
    }
}

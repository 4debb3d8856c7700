//! A machine for this crate's tests: CPUs, memory, interrupt controller, one pSMMU, wired with a constant latency.

pub(crate) mod trace;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use models::bus::{Abort, Data, Op, Requester, Response, Transaction};
use models::cpu::{self, Core, Cpu, CpuId, CpuTiming, SignalId};
use models::dma::{AddressType, AtcInvalidate, DmaRequest, DmaResult, Incoming, PageResponse};
use models::interrupt::{self, InterruptConfig, InterruptController};
use models::memory::{self, Memory, MemoryConfig, PhysMem};
use models::psmmu::{self, Psmmu, PsmmuConfig};
use models::record::{CommandQueue, Record};
use models::smmu::interrupts::Lines;
use parking_lot::Mutex;
use sim::{Component, Cx, DomainId, Queue, Time};
use spec::smmu::{Opcode, PageRequest};

use crate::alloc::Pages;
use crate::cmdqv::CmdqvConfig;
use crate::journal::{Actor, Journal, Note};
use crate::smmu::Config;

use self::trace::{Seen, Trace};

const MEMORY: u64 = 0x8000_0000;
const MEMORY_BYTES: u64 = 0x4000_0000;
const SMMU: u64 = 0x0800_0000;
const CMDQV: u64 = 0x0900_0000;
const INTERRUPTS: u64 = 0x0a00_0000;
/// First interrupt of the SMMU; the CMDQV's is the fourth.
const INTID: u32 = 100;
/// From any requester to any device, and back.
const HOP: Time = Time::ns(30);

enum Event {
    Core(u16, cpu::In),
    Memory(memory::In),
    Interrupt(interrupt::In),
    Psmmu(psmmu::In),
}

/// What the machine is made of.
pub(crate) struct Parts {
    /// Number of CPUs.
    pub(crate) cpus: u16,
    /// The pSMMU. Base, interrupts and the base of a CMDQV are set by the machine.
    pub(crate) psmmu: PsmmuConfig,
}

impl Parts {
    /// One pSMMU without CMDQV.
    pub(crate) fn plain(cpus: u16) -> Self {
        Self { cpus, psmmu: PsmmuConfig::new(0, SMMU) }
    }
    /// With a CMDQV of this many VINTFs and VCMDQs (log2 each).
    pub(crate) fn with_cmdqv(cpus: u16, vintfs_log2: u8, vcmdqs_log2: u8) -> Self {
        let config = models::cmdqv::CmdqvConfig { vintfs_log2, vcmdqs_log2, cmdqs: 15, ..Default::default() };
        let mut parts = Self::plain(cpus);
        parts.psmmu.cmdqv = Some((CMDQV, config));
        parts
    }
}

#[derive(Default)]
struct Signal {
    count: u64,
    waiting: Vec<(u16, u32, u64)>,
}

/// The machine.
pub(crate) struct Bench {
    queue: Queue<Event>,
    clock: Arc<AtomicU64>,
    cores: Vec<Core>,
    memory: Memory,
    interrupts: InterruptController,
    psmmu: Psmmu,
    signals: BTreeMap<u32, Signal>,
    dma: Vec<DmaResult>,
    /// Invalidations that the endpoints got.
    pub(crate) atc: Vec<AtcInvalidate>,
    /// Answers to page requests that the endpoints got.
    pub(crate) page_responses: Vec<PageResponse>,
    /// Everything that the hardware told.
    pub(crate) records: Vec<(Time, Record)>,
    /// Accesses to the CMDQV.
    pub(crate) trace: Trace,
    /// Everything that software told, after [`Bench::notes`].
    pub(crate) journal: Journal,
    /// Memory for drivers.
    pub(crate) pages: Pages,
    has_cmdqv: bool,
}

impl Bench {
    pub(crate) fn new(parts: Parts) -> Self {
        let mut psmmu = parts.psmmu;
        psmmu.smmu_base = SMMU;
        psmmu.lines =
            Lines { gerror: Some(INTID), eventq: Some(INTID + 1), priq: Some(INTID + 2), cmdq_sync: None };
        psmmu.cmdqv_line = Some(INTID + 3);
        let has_cmdqv = psmmu.cmdqv.is_some();
        Self {
            queue: Queue::new(DomainId(0)),
            clock: Arc::default(),
            cores: (0..parts.cpus).map(|i| Core::new(CpuId(i), CpuTiming::default())).collect(),
            memory: Memory::new(MemoryConfig::flat(MEMORY, MEMORY_BYTES)),
            interrupts: InterruptController::new(InterruptConfig::new(INTERRUPTS, parts.cpus)),
            psmmu: Psmmu::new(psmmu).expect("the parts fit"),
            signals: BTreeMap::new(),
            dma: Vec::new(),
            atc: Vec::new(),
            page_responses: Vec::new(),
            records: Vec::new(),
            trace: Trace::default(),
            journal: Journal::new(),
            pages: Pages::new(&[(MEMORY, MEMORY + MEMORY_BYTES / 2)]),
            has_cmdqv,
        }
    }

    /// A driver configuration that fits the machine.
    pub(crate) fn config(&self) -> Config {
        let mut config = Config::new(Actor::Host, 0, SMMU, INTID);
        config.cmdqv = self.has_cmdqv.then_some(CmdqvConfig { base: CMDQV, intid: Some(INTID + 3) });
        config.interrupts.routes = Some(INTERRUPTS + interrupt::ROUTES);
        config.eventq_log2_max = 3;
        config
    }
    /// Address of the interrupt controller's doorbell.
    pub(crate) fn doorbell() -> u64 {
        INTERRUPTS + interrupt::DOORBELL
    }
    /// First byte of the half of memory that drivers do not get.
    pub(crate) fn free_memory() -> u64 {
        MEMORY + MEMORY_BYTES / 2
    }
    pub(crate) fn mem(&self) -> &PhysMem {
        self.memory.store()
    }
    pub(crate) fn now(&self) -> Time {
        self.queue.now()
    }

    /// Runs `body` on a CPU until it returns.
    pub(crate) fn run<F, T>(&mut self, cpu: u16, body: impl FnOnce(Cpu) -> F) -> T
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let result = self.start(cpu, body);
        while result.lock().is_none() {
            assert!(self.step(), "the task waits for what never comes");
        }
        let value = result.lock().take();
        value.expect("it was there")
    }

    /// Starts `body` on a CPU; its result appears in the cell.
    pub(crate) fn start<F, T>(&mut self, cpu: u16, body: impl FnOnce(Cpu) -> F) -> Arc<Mutex<Option<T>>>
    where
        F: Future<Output = T> + Send + 'static,
        T: Send + 'static,
    {
        let cell = Arc::new(Mutex::new(None));
        let out = Arc::clone(&cell);
        let task = Cpu::task(format!("test {cpu}"), CpuId(cpu), &self.clock, |cpu| {
            let body = body(cpu);
            async move {
                let value = body.await;
                *out.lock() = Some(value);
            }
        });
        let now = self.queue.now();
        self.queue.push(now, Event::Core(cpu, cpu::In::Spawn(Box::new(task))));
        cell
    }

    /// Runs until nothing happens any more.
    pub(crate) fn settle(&mut self) {
        while self.step() {}
    }

    /// Sends a DMA and runs until it is answered.
    pub(crate) fn dma(&mut self, sid: u32, addr: u64, op: Op) -> DmaResult {
        let request = DmaRequest {
            endpoint: 0,
            tag: 0,
            sid,
            ssid: None,
            addr,
            kind: AddressType::Untranslated,
            op,
            unsupported: false,
            incoming: Incoming::DEFAULT,
        };
        self.dma_request(request)
    }
    /// An endpoint asks for a page; runs until nothing happens any more.
    pub(crate) fn page_request(&mut self, request: PageRequest) {
        self.send_page_request(request);
        self.settle();
    }
    /// An endpoint asks for a page.
    pub(crate) fn send_page_request(&mut self, request: PageRequest) {
        let now = self.queue.now();
        self.queue.push(now, Event::Psmmu(psmmu::In::PageRequest(request)));
    }
    pub(crate) fn dma_request(&mut self, request: DmaRequest) -> DmaResult {
        let now = self.queue.now();
        self.queue.push(now, Event::Psmmu(psmmu::In::Dma(request)));
        while self.dma.is_empty() {
            assert!(self.step(), "a DMA was not answered");
        }
        self.dma.pop().expect("it was there")
    }

    /// Notes of software since the last call.
    pub(crate) fn notes(&self) -> Vec<Note> {
        self.journal.drain().into_iter().map(|(_, note)| note).collect()
    }
    /// What the hardware found unpredictable, and accesses that found nothing.
    pub(crate) fn complaints(&self) -> Vec<&Record> {
        let bad = |r: &&Record| matches!(r, Record::Lint { .. } | Record::BusError { .. });
        self.records.iter().map(|(_, r)| r).filter(bad).collect()
    }

    fn step(&mut self) -> bool {
        let Some((now, event)) = self.queue.pop() else { return false };
        self.clock.store(now.as_ps(), Ordering::Relaxed);
        match event {
            Event::Core(i, heard) => {
                let mut cx = Cx::at(now);
                self.cores[usize::from(i)].on(heard, &mut cx);
                self.wake(&mut cx.woken, |heard| Event::Core(i, heard));
                self.note(now, &mut cx.notes);
                cx.said.into_iter().for_each(|(at, said)| self.core_said(i, at, said));
            }
            Event::Memory(heard) => {
                let mut cx = Cx::at(now);
                self.memory.on(heard, &mut cx);
                self.wake(&mut cx.woken, Event::Memory);
                self.note(now, &mut cx.notes);
                for (at, said) in cx.said {
                    match said {
                        memory::Out::Respond(response) => self.respond(at, response),
                        memory::Out::Touched { cpu, tag } => {
                            self.queue.push(at, Event::Core(cpu, cpu::In::Touched { tag }));
                        }
                    }
                }
            }
            Event::Interrupt(heard) => {
                let mut cx = Cx::at(now);
                self.interrupts.on(heard, &mut cx);
                self.wake(&mut cx.woken, Event::Interrupt);
                self.note(now, &mut cx.notes);
                for (at, said) in cx.said {
                    match said {
                        interrupt::Out::Respond(response) => self.respond(at + HOP, response),
                        interrupt::Out::Deliver { cpu, intid } => {
                            self.queue.push(at, Event::Core(cpu.0, cpu::In::Interrupt(intid)));
                        }
                    }
                }
            }
            Event::Psmmu(heard) => {
                let mut cx = Cx::at(now);
                self.psmmu.on(heard, &mut cx);
                self.wake(&mut cx.woken, Event::Psmmu);
                self.note(now, &mut cx.notes);
                cx.said.into_iter().for_each(|(at, said)| self.psmmu_said(at, &said));
            }
        }
        true
    }

    fn wake<In>(&mut self, woken: &mut Vec<(Time, In)>, event: impl Fn(In) -> Event) {
        for (at, heard) in woken.drain(..) {
            self.queue.push(at, event(heard));
        }
    }
    fn note(&mut self, now: Time, notes: &mut Vec<Record>) {
        for note in &*notes {
            if let Record::CommandConsumed { queue: CommandQueue::Main, executed, .. } = note
                && executed.op() == Opcode::SYNC
            {
                self.trace.push(Seen::Sync);
            }
        }
        self.records.extend(notes.drain(..).map(|note| (now, note)));
    }

    fn core_said(&mut self, i: u16, at: Time, said: cpu::Out) {
        match said {
            cpu::Out::Bus(transaction) => self.route(at, transaction),
            cpu::Out::Watch { tag, addr, len, value } => {
                self.queue.push(at, Event::Memory(memory::In::Watch { cpu: i, tag, addr, len, value }));
            }
            cpu::Out::Signal(SignalId(id)) => {
                let signal = self.signals.entry(id).or_default();
                signal.count += 1;
                let count = signal.count;
                for (cpu, tag, _) in signal.waiting.extract_if(.., |w| w.2 < count) {
                    self.queue.push(at, Event::Core(cpu, cpu::In::Signalled { tag, count }));
                }
            }
            cpu::Out::WaitSignal { tag, signal: SignalId(id), seen } => {
                let signal = self.signals.entry(id).or_default();
                if signal.count > seen {
                    let count = signal.count;
                    self.queue.push(at, Event::Core(i, cpu::In::Signalled { tag, count }));
                } else {
                    signal.waiting.push((i, tag, seen));
                }
            }
            cpu::Out::Job { .. } => panic!("this machine has no endpoints"),
            cpu::Out::Spawn { cpu, task } => self.queue.push(at, Event::Core(cpu.0, cpu::In::Spawn(task))),
        }
    }

    fn psmmu_said(&mut self, at: Time, said: &psmmu::Out) {
        match *said {
            psmmu::Out::Bus(transaction) => self.route(at, transaction),
            psmmu::Out::Respond(response) => self.respond(at + HOP, response),
            psmmu::Out::Dma(completion) => self.dma.push(completion.result),
            psmmu::Out::Atc(invalidate) => {
                self.atc.push(invalidate);
                let done = psmmu::In::AtcDone { tag: invalidate.tag, timed_out: false };
                self.queue.push(at + Time::us(1), Event::Psmmu(done));
            }
            psmmu::Out::PageResponse(response) => self.page_responses.push(response),
            psmmu::Out::Interrupt { intid } => {
                if intid == INTID + 3 {
                    self.trace.push(Seen::Edge);
                }
                self.queue.push(at + HOP, Event::Interrupt(interrupt::In::Edge { intid, smmu: Some(0) }));
            }
        }
    }

    fn route(&mut self, at: Time, transaction: Transaction) {
        if (CMDQV..INTERRUPTS).contains(&transaction.addr) {
            self.trace.asked(transaction.addr - CMDQV, &transaction);
        }
        let event = match transaction.addr {
            MEMORY.. => return self.queue.push(at, Event::Memory(memory::In::Access(transaction))),
            INTERRUPTS.. => Event::Interrupt(interrupt::In::Bus(transaction)),
            SMMU.. => Event::Psmmu(psmmu::In::Bus(transaction)),
            _ => return self.respond(at + HOP, transaction.respond(Err(Abort))),
        };
        self.queue.push(at + HOP, event);
    }
    fn respond(&mut self, at: Time, response: Response) {
        self.trace.answered(&response);
        let event = match response.to {
            Requester::Cpu(i) => Event::Core(i, cpu::In::Response(response)),
            Requester::Psmmu(_) => Event::Psmmu(psmmu::In::Response(response)),
            Requester::Pair(_) => panic!("this machine has one of each"),
        };
        self.queue.push(at, event);
    }
}

/// A 64-byte read.
pub(crate) const READ: Op = Op::Read { len: 64 };

/// A write of eight bytes.
pub(crate) fn write(value: u64) -> Op {
    Op::Write(Data::u64(value))
}

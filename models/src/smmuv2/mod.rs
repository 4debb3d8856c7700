//! Several SMMUv2 (MMU-500) instances behind one driver, as in Tegra194: the instances know nothing of each other. The
//! driver repeats every register write to each of them, and the fabric spreads the clients' traffic over them by
//! address.
//!
//! ```text
//!   DMA --interleave(iova)--> instance 0: registers, TLB, invalidation engine --+--> bus (walks, translated accesses)
//!                        `--> instance 1: registers, TLB, invalidation engine --+
//!   MMIO: base + instance * stride
//! ```
//!
//! *Invariant:* a register write changes the instance in whose window it lies and no other.

mod instance;
#[cfg(test)]
mod test;
mod timing;
mod tlb;
mod walk;

pub use timing::{EngineTiming, Smmuv2Timing};

use std::collections::{BTreeMap, VecDeque};

use sim::{Component, Cx, Time};
use spec::smmuv2::BYTES;

use self::instance::{GlobalFault, Instance, Route, Verdict, Work};
use self::walk::{Fault, Step, Walk};
use crate::bus::{Abort, Data, LINE, Op, PhysAddr, Requester, Response, Transaction};
use crate::dma::{AddressType, DmaCompletion, DmaRequest, DmaResult};
use crate::record::Record;

/// The most instances there can be.
pub const INSTANCES_MAX: usize = 4;

/// Faults of the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Smmuv2Faults {
    /// Synchronisations of this instance never complete.
    pub stuck_sync: Option<u8>,
}

/// A set of instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Smmuv2Config {
    /// Its number among the pSMMUs of the machine, for records and as [`Requester::Pair`].
    pub index: u16,
    /// First register of instance 0.
    pub base: PhysAddr,
    /// Bytes from one instance's registers to the next one's; at least [`BYTES`].
    pub stride: u64,
    /// Bytes of input addresses that go to one instance before the next one's turn: a power of two, at least a line.
    pub interleave: u64,
    /// The invalidation engine of each instance; 1 to [`INSTANCES_MAX`].
    pub engines: Vec<EngineTiming>,
    /// Entries of each instance's TLB.
    pub tlb_entries: usize,
    /// Transactions that an instance works on at once; more wait in order.
    pub slots: usize,
    /// Interrupt of context faults, shared by all banks and instances.
    pub context_intid: u32,
    /// Interrupt of global faults, shared by all instances.
    pub global_intid: u32,
    /// What everything else costs.
    pub timing: Smmuv2Timing,
    /// What goes wrong.
    pub faults: Smmuv2Faults,
}

impl Smmuv2Config {
    /// Two instances with default timing and interrupts 200 and 201. Interleaved by 4 KiB: the granularity of real
    /// hardware is not published.
    pub fn new(index: u16, base: PhysAddr) -> Self {
        Self {
            index,
            base,
            stride: BYTES.into(),
            interleave: 4096,
            engines: vec![EngineTiming::default(); 2],
            tlb_entries: 64,
            slots: 32,
            context_intid: 200,
            global_intid: 201,
            timing: Smmuv2Timing::default(),
            faults: Smmuv2Faults::default(),
        }
    }
    /// Bytes of all register windows.
    pub fn size(&self) -> u64 {
        self.stride * self.engines.len() as u64
    }
    /// What is wrong with it, if anything.
    ///
    /// # Errors
    /// A sentence for whoever wrote the configuration.
    pub fn check(&self) -> Result<(), String> {
        let rules = [
            ((1..=INSTANCES_MAX).contains(&self.engines.len()), "there are 1 to 4 SMMUv2 instances"),
            (
                self.stride >= BYTES.into() && self.stride.is_multiple_of(4096),
                "the stride is whole pages, at least 64 KiB",
            ),
            (self.base.is_multiple_of(4096), "the base is page-aligned"),
            (
                self.interleave.is_power_of_two() && self.interleave >= LINE as u64,
                "the interleave is a power of two, at least 64 bytes",
            ),
            (self.tlb_entries > 0 && self.slots > 0, "there is at least one TLB entry and one slot"),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, rule)| Err((*rule).to_owned()))
    }
}

/// All that the instances hear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum In {
    /// An access to registers.
    Bus(Transaction),
    /// Memory's answer to a walk or a translated access.
    Response(Response),
    /// A client's transaction.
    Dma(DmaRequest),
    /// From itself.
    Wake(Wake),
}

/// What the instances hear from themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Stream matching and the TLB have been looked up for the transaction with this tag.
    Looked {
        /// Tag of the transaction.
        tag: u32,
    },
    /// The invalidation engine of an instance has finished what it was at.
    Engine {
        /// Which instance.
        instance: u8,
    },
}

/// All that the instances say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// A walk or a translated access.
    Bus(Transaction),
    /// The answer to an access to registers.
    Respond(Response),
    /// The answer to a client.
    Dma(DmaCompletion),
    /// An edge on an interrupt line.
    Interrupt {
        /// Interrupt number.
        intid: u32,
    },
}

/// What happened so far in one instance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Smmuv2Counters {
    /// Transactions of clients.
    pub transactions: u64,
    /// Those that the TLB had a translation for.
    pub tlb_hits: u64,
    /// Those that needed a walk.
    pub walks: u64,
    /// Those that were refused.
    pub faults: u64,
    /// TLB invalidations executed.
    pub invalidations: u64,
    /// Synchronisations completed.
    pub syncs: u64,
    /// Register writes heard.
    pub register_writes: u64,
}

/// The instances.
#[derive(Clone, Debug)]
pub struct Smmuv2Pair {
    config: Smmuv2Config,
    units: Vec<Unit>,
    /// Transactions in flight, by the tag of their bus transactions.
    flights: BTreeMap<u32, Flight>,
    next_tag: u32,
    next_id: u64,
}

/// An instance in time.
#[derive(Clone, Debug)]
struct Unit {
    instance: Instance,
    engine: Engine,
    work: VecDeque<Work>,
    in_flight: usize,
    waiting: VecDeque<DmaRequest>,
    counters: Smmuv2Counters,
}

/// What an invalidation engine does with the head of its queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Engine {
    Idle,
    Busy,
    /// Synchronisation waits for every transaction older than this.
    Draining {
        before: u64,
    },
    Stuck,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    id: u64,
    unit: u8,
    request: DmaRequest,
    begun: Time,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Looking,
    Walking {
        bank: u8,
        walk: Walk,
        /// No invalidation has overtaken the walk.
        fill: bool,
    },
    Accessing,
}

type Context = Cx<In, Out, Record>;

impl Smmuv2Pair {
    /// Instances out of reset: every client bypasses.
    ///
    /// # Panics
    /// If [`Smmuv2Config::check`] finds something.
    pub fn new(config: Smmuv2Config) -> Self {
        assert_eq!(config.check(), Ok(()), "a checked configuration");
        let unit = Unit {
            instance: Instance::new(config.tlb_entries),
            engine: Engine::Idle,
            work: VecDeque::new(),
            in_flight: 0,
            waiting: VecDeque::new(),
            counters: Smmuv2Counters::default(),
        };
        let units = vec![unit; config.engines.len()];
        Self { config, units, flights: BTreeMap::new(), next_tag: 0, next_id: 0 }
    }
    /// How it was configured.
    pub fn config(&self) -> &Smmuv2Config {
        &self.config
    }
    /// The instance that serves an input address.
    pub fn instance_of(&self, iova: u64) -> usize {
        (iova / self.config.interleave) as usize % self.units.len()
    }
    /// What happened so far in an instance.
    pub fn counters(&self, instance: usize) -> &Smmuv2Counters {
        &self.units[instance].counters
    }

    fn registers(&mut self, transaction: &Transaction, cx: &mut Context) {
        let result = self.access(transaction, cx);
        if result.is_err() {
            cx.note(Record::BusError { by: transaction.from, addr: transaction.addr });
        }
        cx.say(self.config.timing.register, Out::Respond(transaction.respond(result)));
    }
    fn access(&mut self, transaction: &Transaction, cx: &mut Context) -> Result<Data, Abort> {
        let offset = transaction.addr.checked_sub(self.config.base).ok_or(Abort)?;
        let (n, offset) = ((offset / self.config.stride) as usize, offset % self.config.stride);
        if n >= self.units.len() || offset >= BYTES.into() {
            return Err(Abort);
        }
        let unit = &mut self.units[n];
        match transaction.op {
            Op::Read { len } => unit.instance.read(offset as u32, len.into()),
            Op::Write(data) => {
                let work = unit.instance.write(offset as u32, data.value(), data.len() as u32)?;
                unit.counters.register_writes += 1;
                if let Some(work) = work {
                    self.enqueue(n, work, cx);
                }
                Ok(Data::EMPTY)
            }
            Op::CompareSwap { .. } | Op::FetchAdd(_) | Op::Swap(_) => Err(Abort),
        }
    }

    fn enqueue(&mut self, n: usize, work: Work, cx: &mut Context) {
        let unit = &mut self.units[n];
        if let Work::Sync(sync) = work {
            unit.instance.set_active(sync, true);
        }
        unit.work.push_back(work);
        if unit.engine == Engine::Idle {
            self.start(n, cx);
        }
    }
    fn start(&mut self, n: usize, cx: &mut Context) {
        let timing = self.config.engines[n];
        let unit = &mut self.units[n];
        let latency = match unit.work.front() {
            None => {
                unit.engine = Engine::Idle;
                return;
            }
            Some(Work::Sync(_)) if self.config.faults.stuck_sync.map(usize::from) == Some(n) => {
                unit.engine = Engine::Stuck;
                return;
            }
            Some(Work::Invalidate(_)) => timing.invalidate,
            Some(Work::Sync(_)) => timing.sync,
        };
        unit.engine = Engine::Busy;
        cx.wake(latency, In::Wake(Wake::Engine { instance: n as u8 }));
    }
    fn engine(&mut self, n: usize, cx: &mut Context) {
        match self.units[n].work.front().copied().expect("a busy engine has work") {
            Work::Invalidate(scope) => {
                let unit = &mut self.units[n];
                unit.instance.tlb.invalidate(&scope);
                unit.counters.invalidations += 1;
                unit.work.pop_front();
                for flight in self.flights.values_mut().filter(|f| usize::from(f.unit) == n) {
                    if let State::Walking { walk, fill, .. } = &mut flight.state
                        && scope.covers_walk(walk.regime.vmid, walk.regime.asid, walk.iova)
                    {
                        *fill = false;
                    }
                }
                self.start(n, cx);
            }
            Work::Sync(_) => {
                // Everything in flight may have been translated before the invalidations took effect.
                self.units[n].engine = Engine::Draining { before: self.next_id };
                self.drain(n, cx);
            }
        }
    }
    /// Completes a synchronisation if nothing older is in flight.
    fn drain(&mut self, n: usize, cx: &mut Context) {
        let Engine::Draining { before } = self.units[n].engine else { return };
        if self.flights.values().any(|f| usize::from(f.unit) == n && f.id < before) {
            return;
        }
        let unit = &mut self.units[n];
        let Some(Work::Sync(sync)) = unit.work.pop_front() else {
            unreachable!("only a synchronisation drains")
        };
        // Its successor of the same kind keeps the status active.
        let active = unit.work.contains(&Work::Sync(sync));
        unit.instance.set_active(sync, active);
        unit.counters.syncs += 1;
        self.start(n, cx);
    }

    fn arrive(&mut self, request: DmaRequest, cx: &mut Context) {
        let n = self.instance_of(request.addr);
        let unit = &mut self.units[n];
        if unit.in_flight == self.config.slots {
            unit.waiting.push_back(request);
        } else {
            self.admit(n, request, cx);
        }
    }
    fn admit(&mut self, n: usize, request: DmaRequest, cx: &mut Context) {
        let unit = &mut self.units[n];
        unit.in_flight += 1;
        unit.counters.transactions += 1;
        let (tag, id) = (self.free_tag(), self.next_id);
        self.next_id += 1;
        self.flights.insert(tag, Flight { id, unit: n as u8, request, begun: cx.now, state: State::Looking });
        cx.wake(self.config.timing.lookup, In::Wake(Wake::Looked { tag }));
    }
    fn free_tag(&mut self) -> u32 {
        while self.flights.contains_key(&self.next_tag) {
            self.next_tag = self.next_tag.wrapping_add(1);
        }
        let tag = self.next_tag;
        self.next_tag = tag.wrapping_add(1);
        tag
    }

    fn looked(&mut self, tag: u32, cx: &mut Context) {
        let flight = self.flights[&tag];
        let unit = &mut self.units[usize::from(flight.unit)];
        let request = &flight.request;
        if request.kind != AddressType::Untranslated {
            // There is no ATS here.
            let result = match request.kind {
                AddressType::TranslationRequest { .. } => DmaResult::Unsupported,
                AddressType::Translated | AddressType::Untranslated => DmaResult::Aborted(Abort),
            };
            self.refuse(tag, result, cx);
            return;
        }
        match unit.instance.route(request.sid) {
            Route::Bypass => self.forward(tag, request.addr, false, cx),
            Route::Fault(fault) => self.global_fault(tag, fault, cx),
            Route::Bank(bank, regime) => {
                if let Some(entry) = unit.instance.tlb.lookup(regime.vmid, regime.asid, request.addr) {
                    unit.counters.tlb_hits += 1;
                    if request.op.writes() && !entry.write {
                        self.context_fault(tag, bank, Fault::Permission(3), cx);
                    } else {
                        self.forward(tag, entry.output(request.addr), true, cx);
                    }
                    return;
                }
                unit.counters.walks += 1;
                match regime.walk(request.addr) {
                    Ok(walk) => self.read_descriptor(tag, bank, walk, true, cx),
                    Err(fault) => self.context_fault(tag, bank, fault, cx),
                }
            }
        }
    }
    fn read_descriptor(&mut self, tag: u32, bank: u8, walk: Walk, fill: bool, cx: &mut Context) {
        self.flight(tag).state = State::Walking { bank, walk, fill };
        self.bus(tag, walk.descriptor(), Op::Read { len: 8 }, cx);
    }
    fn bus(&mut self, tag: u32, addr: PhysAddr, op: Op, cx: &mut Context) {
        let from = Requester::Pair(self.config.index);
        cx.say(self.config.timing.walk_step, Out::Bus(Transaction::new(from, tag, addr, op)));
    }
    fn flight(&mut self, tag: u32) -> &mut Flight {
        self.flights.get_mut(&tag).expect("a transaction in flight")
    }

    fn answered(&mut self, response: &Response, cx: &mut Context) {
        let tag = response.tag;
        match self.flight(tag).state {
            State::Looking => unreachable!("nothing was asked of memory yet"),
            State::Walking { bank, walk, fill } => {
                let step = match response.result {
                    Ok(data) => walk.step(data.value()),
                    Err(Abort) => Err(walk.external()),
                };
                match step {
                    Ok(Step::Next(walk)) => self.read_descriptor(tag, bank, walk, fill, cx),
                    Ok(Step::Done(entry)) => self.walked(tag, bank, entry, fill, cx),
                    Err(fault) => self.context_fault(tag, bank, fault, cx),
                }
            }
            State::Accessing => {
                let id = self.flight(tag).id;
                cx.note(Record::DmaDone { id, smmu: self.config.index });
                self.complete(tag, response.result.map_or_else(DmaResult::Aborted, DmaResult::Ok), cx);
            }
        }
    }
    fn walked(&mut self, tag: u32, bank: u8, entry: tlb::Entry, fill: bool, cx: &mut Context) {
        let Flight { unit, request, .. } = *self.flight(tag);
        if fill {
            self.units[usize::from(unit)].instance.tlb.insert(entry);
            let tlb::Entry { iova, pa, size_log2, .. } = entry;
            cx.note(Record::TlbFilled { smmu: self.config.index, sid: request.sid, iova, pa, size_log2 });
        }
        if request.op.writes() && !entry.write {
            self.context_fault(tag, bank, Fault::Permission(3), cx);
        } else {
            self.forward(tag, entry.output(request.addr), false, cx);
        }
    }
    fn forward(&mut self, tag: u32, pa: PhysAddr, tlb_hit: bool, cx: &mut Context) {
        let smmu = self.config.index;
        let flight = self.flight(tag);
        flight.state = State::Accessing;
        let Flight { id, request, begun, .. } = *flight;
        cx.note(Record::DmaTranslated {
            id,
            smmu,
            sid: request.sid,
            ssid: request.ssid,
            iova: request.addr,
            pa,
            len: request.op.len() as u32,
            write: request.op.writes(),
            incoming: request.incoming,
            attributes: request.incoming.memory,
            translated: false,
            tlb_hit,
            begun,
        });
        self.bus(tag, pa, request.op, cx);
    }

    fn context_fault(&mut self, tag: u32, bank: u8, fault: Fault, cx: &mut Context) {
        let Flight { unit, request, .. } = *self.flight(tag);
        let instance = &mut self.units[usize::from(unit)].instance;
        let verdict = instance.context_fault(bank, fault, request.sid, request.addr, request.op.writes());
        self.judged(tag, verdict, self.config.context_intid, cx);
    }
    fn global_fault(&mut self, tag: u32, fault: GlobalFault, cx: &mut Context) {
        let Flight { unit, request, .. } = *self.flight(tag);
        let instance = &mut self.units[usize::from(unit)].instance;
        let verdict = instance.global_fault(fault, request.sid, request.addr, request.op.writes());
        self.judged(tag, verdict, self.config.global_intid, cx);
    }
    fn judged(&mut self, tag: u32, verdict: Verdict, intid: u32, cx: &mut Context) {
        if verdict.interrupt {
            cx.say(Time::ZERO, Out::Interrupt { intid });
        }
        let op = self.flight(tag).request.op;
        let result = match (verdict.abort, op) {
            (true, _) => DmaResult::Aborted(Abort),
            (false, Op::Write(_)) => DmaResult::Ok(Data::EMPTY),
            (false, _) => DmaResult::Ok(Data::new(&[0; LINE][..op.len()])),
        };
        self.refuse(tag, result, cx);
    }
    fn refuse(&mut self, tag: u32, result: DmaResult, cx: &mut Context) {
        let smmu = self.config.index;
        let Flight { id, unit, request, begun, .. } = *self.flight(tag);
        let DmaRequest { sid, ssid, addr: iova, op, incoming, .. } = request;
        self.units[usize::from(unit)].counters.faults += 1;
        let (write, translated, event) = (op.writes(), false, None);
        cx.note(Record::DmaAborted { id, smmu, sid, ssid, iova, write, incoming, translated, event, begun });
        self.complete(tag, result, cx);
    }
    fn complete(&mut self, tag: u32, result: DmaResult, cx: &mut Context) {
        let Flight { unit, request, .. } = self.flights.remove(&tag).expect("a transaction in flight");
        let DmaRequest { endpoint, tag, .. } = request;
        cx.say(self.config.timing.complete, Out::Dma(DmaCompletion { endpoint, tag, result }));
        let n = usize::from(unit);
        self.units[n].in_flight -= 1;
        self.drain(n, cx);
        if let Some(next) = self.units[n].waiting.pop_front() {
            self.admit(n, next, cx);
        }
    }
}

impl Component for Smmuv2Pair {
    type In = In;
    type Out = Out;
    type Note = Record;

    fn on(&mut self, heard: In, cx: &mut Context) {
        match heard {
            In::Bus(transaction) => self.registers(&transaction, cx),
            In::Response(response) => self.answered(&response, cx),
            In::Dma(request) => self.arrive(request, cx),
            In::Wake(Wake::Looked { tag }) => self.looked(tag, cx),
            In::Wake(Wake::Engine { instance }) => self.engine(instance.into(), cx),
        }
    }
}

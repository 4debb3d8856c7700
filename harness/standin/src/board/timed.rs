//! A pSMMU with time, for software outside of the simulation: simulated time passes while it is used.
//!
//! An access runs the model until it is answered. What it has set going goes on with the next access, or when nothing
//! comes for a while ([`Timed::settle`]). So a CMD_SYNC may still be on its way when the doorbell's write has returned, as on
//! silicon. Between, the clock stands still: a counter of cycles never overflows by itself, or time would run away from software
//! that hears of it and waits for the next.

use models::bus::{Abort, Data, LINE, Op, PhysAddr, Requester, Response, Transaction};
use models::dma::{AddressType, AtcInvalidate, DmaCompletion, DmaRequest, DmaResult};
use models::functional::{DmaError, Stream, Surroundings};
use models::memory::MemoryTiming;
use models::psmmu::{self, Psmmu, PsmmuConfig, Wake};
use models::record::Record;
use models::smmu::AtsAnswer;
use models::system::FabricTiming;
use sim::{Component, Cx, DomainId, Queue, Time};

use super::around::Around;

/// Requests of one transfer that are in flight at once.
const IN_FLIGHT: usize = 64;

#[derive(Debug)]
enum Event {
    Smmu(psmmu::In),
    Memory(Transaction),
    Answered(Response),
    Done(DmaCompletion),
    Atc(AtcInvalidate),
    Edge(u32),
}

/// A pSMMU, its clock, and what is on its way.
#[derive(Debug)]
pub(super) struct Timed {
    smmu: Psmmu,
    queue: Queue<Event>,
    /// When a counter of cycles is to be looked after, once time has come that far. An earlier one replaces it.
    alarm: Option<Time>,
    cx: Cx<psmmu::In, psmmu::Out, Record>,
    fabric: FabricTiming,
    memory: MemoryTiming,
    next_tag: u32,
    answer: Option<Response>,
    completions: Vec<DmaCompletion>,
}

impl Timed {
    pub(super) fn new(config: PsmmuConfig) -> Result<Self, String> {
        Ok(Self {
            smmu: Psmmu::new(config)?,
            queue: Queue::new(DomainId(0)),
            alarm: None,
            cx: Cx::default(),
            fabric: FabricTiming::default(),
            memory: MemoryTiming::default(),
            next_tag: 0,
            answer: None,
            completions: Vec::new(),
        })
    }

    /// Simulated time.
    pub(super) fn now(&self) -> Time {
        self.queue.now()
    }

    /// Out of reset. The clock goes on.
    pub(super) fn reset(&mut self) {
        let config = self.smmu.config().clone();
        self.smmu = Psmmu::new(config).expect("the configuration was good before");
        self.alarm = None;
        while self.queue.pop().is_some() {}
    }

    pub(super) fn read(&mut self, addr: PhysAddr, len: u8, around: &mut Around) -> Result<u64, Abort> {
        self.access(addr, Op::Read { len }, around).map(|data| data.value())
    }

    pub(super) fn write(
        &mut self,
        addr: PhysAddr,
        len: u8,
        value: u64,
        around: &mut Around,
    ) -> Result<(), Abort> {
        let data = Data::new(&value.to_le_bytes()[..usize::from(len)]);
        self.access(addr, Op::Write(data), around).map(|_| ())
    }

    fn access(&mut self, addr: PhysAddr, op: Op, around: &mut Around) -> Result<Data, Abort> {
        let tag = self.tag();
        let transaction = Transaction::new(Requester::Cpu(0), tag, addr, op);
        self.queue.push(self.now() + self.fabric.mmio, Event::Smmu(psmmu::In::Bus(transaction)));
        while self.answer.is_none() {
            assert!(self.step(around), "a pSMMU answers every register access");
        }
        self.answer.take().expect("it is there").result
    }

    /// Lets everything happen that is under way.
    pub(super) fn settle(&mut self, around: &mut Around) {
        while self.step(around) {}
    }

    pub(super) fn dma_read(
        &mut self,
        stream: Stream,
        iova: u64,
        into: &mut [u8],
        around: &mut Around,
    ) -> Result<(), DmaError> {
        let mut left = lines(iova, into.len());
        let mut done = 0;
        loop {
            let batch: Vec<_> = left.by_ref().take(IN_FLIGHT).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let ops = batch.iter().map(|&(at, len)| (at, Op::Read { len: len as u8 }));
            for ((at, len), result) in batch.iter().zip(self.requests(stream, ops, around)) {
                match result {
                    DmaResult::Ok(data) => {
                        let start = (at.wrapping_sub(iova)) as usize;
                        into[start..start + len].copy_from_slice(data.bytes());
                        done += len;
                    }
                    _ => return Err(DmaError::Aborted { done }),
                }
            }
        }
    }

    pub(super) fn dma_write(
        &mut self,
        stream: Stream,
        iova: u64,
        bytes: &[u8],
        around: &mut Around,
    ) -> Result<(), DmaError> {
        let mut left = lines(iova, bytes.len());
        let mut done = 0;
        loop {
            let batch: Vec<_> = left.by_ref().take(IN_FLIGHT).collect();
            if batch.is_empty() {
                return Ok(());
            }
            let ops = batch.iter().map(|&(at, len)| {
                let start = at.wrapping_sub(iova) as usize;
                (at, Op::Write(Data::new(&bytes[start..start + len])))
            });
            for ((_, len), result) in batch.iter().zip(self.requests(stream, ops, around)) {
                if !matches!(result, DmaResult::Ok(_)) {
                    return Err(DmaError::Aborted { done });
                }
                done += len;
            }
        }
    }

    pub(super) fn translation_request(
        &mut self,
        stream: Stream,
        iova: u64,
        write: bool,
        around: &mut Around,
    ) -> AtsAnswer {
        let kind = AddressType::TranslationRequest { write };
        match self.requests_of(stream, kind, [(iova, Op::Read { len: 8 })].into_iter(), around).pop() {
            Some(DmaResult::Translation(grant)) => AtsAnswer::Translation(grant),
            _ => AtsAnswer::Unsupported,
        }
    }

    fn requests(
        &mut self,
        stream: Stream,
        ops: impl Iterator<Item = (u64, Op)>,
        around: &mut Around,
    ) -> Vec<DmaResult> {
        let kind = if stream.translated { AddressType::Translated } else { AddressType::Untranslated };
        self.requests_of(stream, kind, ops, around)
    }

    /// The answers in order. A request that stalls counts as aborted: it may be resumed later, and its data is gone then.
    fn requests_of(
        &mut self,
        stream: Stream,
        kind: AddressType,
        ops: impl Iterator<Item = (u64, Op)>,
        around: &mut Around,
    ) -> Vec<DmaResult> {
        let at = self.now() + self.fabric.dma;
        let first = self.next_tag;
        for (addr, op) in ops {
            let Stream { sid, ssid, unsupported, incoming, .. } = stream;
            let (endpoint, tag) = (0, self.tag());
            let request = DmaRequest { endpoint, tag, sid, ssid, addr, kind, op, unsupported, incoming };
            self.queue.push(at, Event::Smmu(psmmu::In::Dma(request)));
        }
        let count = self.next_tag.wrapping_sub(first) as usize;
        self.completions.clear();
        while self.completions.len() < count && self.step(around) {}
        let mut results = vec![DmaResult::Aborted(Abort); count];
        for completion in self.completions.drain(..) {
            if let Some(result) = results.get_mut(completion.tag.wrapping_sub(first) as usize) {
                *result = completion.result;
            }
        }
        results
    }

    fn tag(&mut self) -> u32 {
        let tag = self.next_tag;
        self.next_tag = tag.wrapping_add(1);
        tag
    }

    /// The next thing that happens, if anything is left to happen.
    fn step(&mut self, around: &mut Around) -> bool {
        let Some(next) = self.queue.next_time() else { return false };
        if let Some(at) = self.alarm.take_if(|at| *at <= next) {
            self.queue.push(at, Event::Smmu(psmmu::In::Wake(Wake::PmcgOverflow)));
        }
        let Some((now, event)) = self.queue.pop() else { return false };
        around.now = now;
        match event {
            Event::Smmu(heard) => self.hear(now, heard, around),
            Event::Memory(transaction) => {
                let response = transaction.respond(access_memory(&transaction, around));
                self.queue.push(now, Event::Smmu(psmmu::In::Response(response)));
            }
            Event::Answered(response) => self.answer = Some(response),
            Event::Done(completion) => self.completions.push(completion),
            Event::Atc(invalidate) => {
                let timed_out = !around.invalidate_atc(invalidate);
                // Who does not answer is given up by the pSMMU's own limit.
                if !timed_out {
                    let heard = psmmu::In::AtcDone { tag: invalidate.tag, timed_out };
                    self.queue.push(now + self.fabric.dma, Event::Smmu(heard));
                }
            }
            Event::Edge(intid) => around.edge(intid),
        }
        true
    }

    fn hear(&mut self, now: Time, heard: psmmu::In, around: &mut Around) {
        let cx = &mut self.cx;
        cx.now = now;
        self.smmu.on(heard, cx);
        for (at, message) in cx.woken.drain(..) {
            match message {
                psmmu::In::Wake(Wake::PmcgOverflow) => {
                    self.alarm = Some(self.alarm.map_or(at, |alarm| alarm.min(at)));
                }
                _ => self.queue.push(at, Event::Smmu(message)),
            }
        }
        for (at, out) in cx.said.drain(..) {
            let (at, event) = match out {
                psmmu::Out::Bus(t) => {
                    let way = if t.op.writes() { self.memory.device_write } else { self.memory.device_llc };
                    (at + way, Event::Memory(t))
                }
                psmmu::Out::Respond(response) => (at + self.fabric.mmio, Event::Answered(response)),
                psmmu::Out::Dma(completion) => (at + self.fabric.dma, Event::Done(completion)),
                psmmu::Out::Atc(invalidate) => (at + self.fabric.dma, Event::Atc(invalidate)),
                // No endpoint of a board asks for pages.
                psmmu::Out::PageResponse(_) => continue,
                psmmu::Out::Interrupt { intid } => (at + self.fabric.interrupt, Event::Edge(intid)),
            };
            self.queue.push(at, event);
        }
        for note in cx.notes.drain(..) {
            around.record(note);
        }
    }
}

fn access_memory(transaction: &Transaction, around: &mut Around) -> Result<Data, Abort> {
    match &transaction.op {
        Op::Read { len } => {
            let mut bytes = [0; LINE];
            let into = &mut bytes[..usize::from(*len)];
            around.read(transaction.addr, into)?;
            Ok(Data::new(into))
        }
        Op::Write(data) => around.write(transaction.addr, data.bytes()).map(|()| Data::EMPTY),
        Op::CompareSwap { expected, new } => {
            around.compare_swap(transaction.addr, *expected, *new).map(Data::u64)
        }
        Op::FetchAdd(_) | Op::Swap(_) => Err(Abort),
    }
}

/// The parts of a range that lie in one line each: address and length.
fn lines(addr: u64, len: usize) -> impl Iterator<Item = (u64, usize)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = addr.wrapping_add(done as u64);
        let n = (LINE - at as usize % LINE).min(len - done);
        done += n;
        (n > 0).then_some((at, n))
    })
}

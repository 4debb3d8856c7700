//! The DMA front end: TLB lookups in a pipeline, misses in slots, walks, and the translated accesses.
//!
//! A hit is translated and forwarded in one reaction and holds no slot. A miss holds a translation slot until its
//! translation has ended; a later miss of the same page waits for it and then starts over; hits pass. A transaction that
//! finds no free slot waits outside, in order. Address translation operations of software come the same way.

use std::collections::VecDeque;

use sim::Time;
use spec::smmu::EventRecord;

use super::{Context, In, Out, Pending, Psmmu, PsmmuTiming, Update, Wake};
use crate::bus::{Abort, Data, Op};
use crate::dma::{AddressType, DmaCompletion, DmaRequest, DmaResult};
use crate::record::{Record, Updater};
use crate::smmu::atos::{self, Answer, Group};
use crate::smmu::engine::Resume;
use crate::smmu::pmcg::Seen;
use crate::smmu::stalls::Stalls;
use crate::smmu::{
    AtsAnswer, Attributes, Input, Outcome, Request, RequestKind, Scope, Step, Translation, Unit,
};

/// Who waits for a translation.
#[derive(Clone, Copy, Debug)]
enum Client {
    /// A device with its transaction.
    Device(DmaRequest),
    /// Software with an operation of this group.
    Software(Group, Request),
}

impl Client {
    fn request(&self) -> Request {
        match self {
            Self::Device(dma) => request_of(dma),
            Self::Software(_, request) => *request,
        }
    }
}

/// A transaction, or an operation of software, that is being translated.
#[derive(Debug)]
struct Flight {
    id: u64,
    client: Client,
    translation: Translation,
    /// What has been counted of it.
    seen: Seen,
    /// When the endpoint's request arrived.
    since: Time,
    /// When the translation began.
    begun: Time,
    /// How far the translation has got in time.
    at: Time,
    /// It has missed the TLBs, so that others of its page wait for it.
    missed: bool,
    /// It holds a walk slot.
    walks: bool,
}

impl Flight {
    fn request(&self) -> &Request {
        self.translation.request()
    }
    /// The transaction, where only one comes.
    fn device(&self) -> &DmaRequest {
        let Client::Device(dma) = &self.client else { unreachable!("software accesses nothing") };
        dma
    }
}

/// Why a flight is parked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parked {
    /// For the answer of memory.
    Memory,
    /// For a walk slot, to read these bytes.
    WalkSlot { addr: u64, len: u8 },
    /// For the translation of the same page.
    Page,
}

/// A transaction that waits for CMD_RESUME, or for its record to be taken.
#[derive(Clone, Copy, Debug)]
struct Stalled {
    request: DmaRequest,
    since: Time,
}

/// What is to be translated.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    client: Client,
    since: Time,
    at: Time,
}

/// What the front end holds.
#[derive(Debug)]
pub(super) struct Tbu {
    slots: Vec<Option<(Flight, Parked)>>,
    free: Vec<usize>,
    walk_slots: usize,
    /// Slots whose flights wait for a walk slot, in order.
    walk_queue: VecDeque<usize>,
    /// Slots whose flights wait for a page that is no longer being translated.
    released: VecDeque<usize>,
    arrivals: VecDeque<Arrival>,
    stalled: Stalls<Stalled>,
    /// When the lookup pipeline takes the next transaction.
    pipeline: Time,
}

impl Tbu {
    pub(super) fn new(timing: &PsmmuTiming) -> Self {
        Self {
            slots: (0..timing.translation_slots).map(|_| None).collect(),
            free: (0..timing.translation_slots).rev().collect(),
            walk_slots: timing.walk_slots,
            walk_queue: VecDeque::new(),
            released: VecDeque::new(),
            arrivals: VecDeque::new(),
            stalled: Stalls::default(),
            pipeline: Time::ZERO,
        }
    }

    /// Translations under way that an invalidation covers may end, but fill nothing.
    pub(super) fn invalidated(&mut self, scope: &Scope) {
        let parked = self.parked();
        for (flight, _) in self.slots.iter_mut().flatten().take(parked) {
            flight.translation.invalidated(scope);
        }
    }

    fn park(&mut self, flight: Flight, why: Parked) -> usize {
        let slot = self.free.pop().expect("a transaction enters only if a slot is free");
        self.slots[slot] = Some((flight, why));
        slot
    }
    fn unpark(&mut self, slot: usize) -> (Flight, Parked) {
        self.free.push(slot);
        self.slots[slot].take().expect("the slot is in use")
    }
    /// How many flights are parked.
    fn parked(&self) -> usize {
        self.slots.len() - self.free.len()
    }
    /// Whether an older miss is translating the same page.
    fn is_page_busy(&self, request: &Request) -> bool {
        let mut parked = self.slots.iter().flatten().take(self.parked());
        parked.any(|(flight, _)| flight.missed && is_same_page(flight.request(), request))
    }
    /// A miss has ended: those that waited for its page go on at `at`.
    fn release_page(&mut self, request: &Request, at: Time) {
        let parked = self.parked();
        for (slot, entry) in self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.is_some()).take(parked)
        {
            if let Some((flight, Parked::Page)) = entry
                && is_same_page(flight.request(), request)
                && !self.released.contains(&slot)
            {
                flight.at = at;
                self.released.push_back(slot);
            }
        }
    }
}

fn is_same_page(a: &Request, b: &Request) -> bool {
    (a.sid, a.ssid, a.addr >> 12, a.kind) == (b.sid, b.ssid, b.addr >> 12, b.kind)
}

fn request_of(dma: &DmaRequest) -> Request {
    let (write, kind) = match dma.kind {
        AddressType::Untranslated => (dma.op.writes(), RequestKind::Ordinary),
        AddressType::Translated => (dma.op.writes(), RequestKind::AtsTranslated),
        AddressType::TranslationRequest { write } => (false, RequestKind::AtsRequest { write }),
    };
    Request {
        ssid: dma.ssid,
        write,
        atomic: matches!(dma.op, Op::CompareSwap { .. } | Op::FetchAdd(_) | Op::Swap(_)) && write,
        kind,
        unsupported: dma.unsupported,
        ..Request::read(dma.sid, dma.addr).with_incoming(dma.incoming)
    }
}

impl Psmmu {
    /// A transaction of an endpoint arrives.
    pub(super) fn dma(&mut self, request: DmaRequest, cx: &mut Context) {
        self.metrics.dmas += 1;
        self.arrive(Client::Device(request), cx.now, cx.now);
    }

    /// Software has started an operation.
    pub(super) fn operate(&mut self, group: Group, cx: &mut Context) {
        match self.registers.operation(group) {
            Ok(request) => self.arrive(Client::Software(group, request), cx.now, cx.now),
            Err(par) => cx.wake(self.config.timing.decode, In::Wake(Wake::Operated { group, par, id: None })),
        }
    }

    fn arrive(&mut self, client: Client, since: Time, now: Time) {
        let at = now.max(self.tbu.pipeline);
        self.tbu.pipeline = at + self.config.timing.accept;
        self.tbu.arrivals.push_back(Arrival { client, since, at });
    }

    /// Translates everything that can be.
    pub(super) fn translate(&mut self, cx: &mut Context) {
        loop {
            if let Some(slot) = self.tbu.released.pop_front() {
                let (mut flight, _) = self.tbu.unpark(slot);
                flight.translation = Translation::new(flight.client.request());
                flight.begun = cx.now;
                flight.at = flight.at.max(cx.now);
                self.run(flight, Input::Go, cx);
            } else if self.tbu.walk_slots > 0
                && let Some(slot) = self.tbu.walk_queue.pop_front()
            {
                let (flight, why) = self.tbu.unpark(slot);
                let Parked::WalkSlot { addr, len } = why else { panic!("slot {slot} waits for a walk slot") };
                self.read(flight, addr, len, cx);
            } else if !self.tbu.free.is_empty()
                && let Some(Arrival { client, since, at }) = self.tbu.arrivals.pop_front()
            {
                let translation = Translation::new(client.request());
                let id = self.window.enter();
                let at = at.max(cx.now);
                let (begun, missed, walks) = (cx.now, false, false);
                let seen = Seen::default();
                let flight = Flight { id, client, translation, seen, since, begun, at, missed, walks };
                self.run(flight, Input::Go, cx);
            } else {
                self.metrics.slots_full += u64::from(!self.tbu.arrivals.is_empty());
                return;
            }
        }
    }

    /// Lets a translation go on until it ends, or has to wait for something.
    fn run(&mut self, mut flight: Flight, mut input: Input, cx: &mut Context) {
        loop {
            let before = self.before_counting();
            let step = flight.translation.resume(&self.control, &mut self.caches, input);
            self.lint_structures(cx);
            let misses = step.is_beyond_tlbs() && !flight.missed;
            let merged = misses && self.tbu.is_page_busy(flight.request());
            if let Some(before) = before {
                // Of what another transaction does for it only the lookups are its own.
                let own = if merged { Step::Lookup(Unit::MainTlb) } else { step };
                self.count(&mut flight.seen, &flight.translation, &own, &before, cx);
            }
            if misses {
                if merged {
                    self.metrics.merged_misses += 1;
                    self.tbu.park(flight, Parked::Page);
                    return;
                }
                self.metrics.misses += 1;
                flight.missed = true;
                flight.at += self.config.timing.link;
            }
            match step {
                Step::Lookup(unit) => {
                    flight.at += self.config.timing.lookup(unit);
                    input = Input::Go;
                }
                Step::Read { addr, len } => return self.read(flight, addr, len, cx),
                Step::CompareSwap { addr, expected, new } => {
                    return self.update(flight, addr, Update { expected, new }, cx);
                }
                Step::Done(outcome) => return self.translated(&flight, outcome, cx),
            }
        }
    }

    /// Reads a structure or descriptor, once the flight has a walk slot.
    fn read(&mut self, mut flight: Flight, addr: u64, len: u8, cx: &mut Context) {
        if !flight.walks {
            if self.tbu.walk_slots == 0 {
                self.metrics.walk_slots_full += 1;
                let slot = self.tbu.park(flight, Parked::WalkSlot { addr, len });
                self.tbu.walk_queue.push_back(slot);
                return;
            }
            self.tbu.walk_slots -= 1;
            flight.walks = true;
        }
        self.metrics.walk_reads += 1;
        let when = flight.at.max(cx.now) + self.config.timing.walk_step;
        let attributes = flight.translation.fetch_attributes(&self.control);
        let slot = self.tbu.park(flight, Parked::Memory);
        let aborted = self.triggers.read.strikes();
        self.send_with(attributes, (when, addr, Op::Read { len }), Pending::Walk { slot, aborted }, cx);
    }

    /// Changes a descriptor. The flight has read it, so it has a walk slot.
    fn update(&mut self, flight: Flight, addr: u64, update: Update, cx: &mut Context) {
        assert!(flight.walks, "what has not been read is not changed");
        let when = flight.at.max(cx.now) + self.config.timing.walk_step;
        let attributes = flight.translation.fetch_attributes(&self.control);
        let slot = self.tbu.park(flight, Parked::Memory);
        let Update { expected, new } = update;
        let op = Op::CompareSwap { expected, new };
        self.send_with(attributes, (when, addr, op), Pending::Update { slot, addr, update }, cx);
    }

    /// Memory has answered the change of a descriptor.
    pub(super) fn updated(
        &mut self,
        slot: usize,
        addr: u64,
        update: Update,
        result: Result<Data, Abort>,
        cx: &mut Context,
    ) {
        let Update { expected: before, new: after } = update;
        if result.is_ok_and(|found| found.value() == before) {
            let (flight, _) = self.tbu.slots[slot].as_ref().expect("the slot is in use");
            let who = Updater::new(self.smmu(), flight.request(), flight.begun);
            self.metrics.walk_updates += 1;
            cx.note(Record::DescriptorUpdated { who, addr, before, after });
        }
        self.walked(slot, result, cx);
    }

    /// Memory has answered a walk.
    pub(super) fn walked(&mut self, slot: usize, result: Result<Data, Abort>, cx: &mut Context) {
        let (mut flight, why) = self.tbu.unpark(slot);
        assert_eq!(why, Parked::Memory, "the flight waits for memory");
        flight.at = cx.now;
        self.run(flight, Input::Data(result), cx);
    }

    /// A translation has ended.
    fn translated(&mut self, flight: &Flight, outcome: Outcome, cx: &mut Context) {
        if flight.walks {
            self.tbu.walk_slots += 1;
        }
        if flight.missed {
            self.metrics.miss_latency.record(flight.at - flight.since);
            self.tbu.release_page(flight.request(), flight.at);
        }
        // It may have begun before.
        let outcome = if self.control.failed { Outcome::of_failure(flight.request().kind) } else { outcome };
        match outcome {
            Outcome::Translated { pa, size_log2, attributes, tlb_hit, filled, .. } => {
                if filled {
                    let Request { sid, addr, .. } = *flight.request();
                    cx.note(Record::filled(self.smmu(), sid, addr, pa, size_log2));
                }
                self.forward(flight, pa, attributes, tlb_hit, cx);
            }
            Outcome::Abort { event } => self.refuse(flight, event, DmaResult::Aborted(Abort), cx),
            Outcome::ReadZeroWriteIgnored { event } => {
                self.refuse(flight, event, zeros(flight.device()), cx);
            }
            Outcome::Stall { event } => self.stall(flight, event, cx),
            Outcome::Operation(answer) => self.answer_operation(flight, &answer, cx),
            Outcome::Ats { answer, event } => {
                if let Some(event) = event {
                    self.record_event(event, cx);
                }
                self.answer_ats(flight, answer, cx);
            }
            Outcome::Ppar { .. } => unreachable!("only a page request ends so"),
        }
    }

    /// The transaction does not reach memory.
    fn refuse(&mut self, flight: &Flight, event: Option<EventRecord>, answer: DmaResult, cx: &mut Context) {
        let number = event.map(|e| e.number() as u8);
        self.note_abort(flight.id, flight.device(), number, flight.begun, cx);
        if let Some(event) = event {
            self.record_event(event, cx);
        }
        self.answer(flight, answer, cx);
    }

    fn note_abort(&self, id: u64, request: &DmaRequest, event: Option<u8>, begun: Time, cx: &mut Context) {
        let DmaRequest { sid, ssid, addr, kind, op, incoming, .. } = *request;
        cx.note(Record::DmaAborted {
            id,
            smmu: self.smmu(),
            sid,
            ssid,
            iova: addr,
            write: op.writes(),
            incoming,
            translated: kind == AddressType::Translated,
            event,
            begun,
        });
    }

    /// Sends the translated access to memory. The transaction is in flight until memory has answered.
    fn forward(&mut self, flight: &Flight, pa: u64, attributes: Attributes, tlb_hit: bool, cx: &mut Context) {
        let DmaRequest { endpoint, tag, sid, ssid, addr, kind, op, incoming, .. } = *flight.device();
        cx.note(Record::DmaTranslated {
            id: flight.id,
            smmu: self.smmu(),
            sid,
            ssid,
            iova: addr,
            pa,
            len: op.len() as u32,
            write: op.writes(),
            incoming,
            attributes,
            translated: kind == AddressType::Translated,
            tlb_hit,
            begun: flight.begun,
        });
        let pending = Pending::Access { id: flight.id, endpoint, tag, since: flight.since };
        let when = flight.at + self.config.timing.forward;
        self.send_with(attributes, (when, pa, op), pending, cx);
    }

    /// Memory has answered a translated access.
    pub(super) fn accessed(
        &mut self,
        id: u64,
        endpoint: u16,
        tag: u32,
        since: Time,
        result: Result<Data, Abort>,
        cx: &mut Context,
    ) {
        cx.note(Record::DmaDone { id, smmu: self.smmu() });
        self.window.leave(id);
        self.metrics.dma_latency.record(cx.now - since);
        let result = result.map_or_else(DmaResult::Aborted, DmaResult::Ok);
        cx.say(self.config.timing.complete, Out::Dma(DmaCompletion { endpoint, tag, result }));
    }

    /// Answers the endpoint without an access; the transaction leaves.
    fn answer(&mut self, flight: &Flight, result: DmaResult, cx: &mut Context) {
        self.window.leave(flight.id);
        let DmaRequest { endpoint, tag, .. } = *flight.device();
        cx.say_at(
            flight.at.max(cx.now) + self.config.timing.complete,
            Out::Dma(DmaCompletion { endpoint, tag, result }),
        );
    }

    fn answer_ats(&mut self, flight: &Flight, answer: AtsAnswer, cx: &mut Context) {
        let (pa, size_log2) = answer.told();
        self.metrics.ats_requests += 1;
        let Request { sid, ssid, addr: iova, .. } = *flight.request();
        let incoming = flight.request().incoming();
        cx.note(Record::AtsAnswered { smmu: self.smmu(), sid, ssid, iova, incoming, pa, size_log2 });
        self.atc_earliest = self.atc_earliest.max(flight.at.max(cx.now) + self.config.timing.complete);
        self.answer(flight, answer.result(), cx);
    }

    /// An operation of software has ended: PAR follows, then RUN. Until then it is in flight.
    fn answer_operation(&mut self, flight: &Flight, answer: &Answer, cx: &mut Context) {
        let Client::Software(group, Request { sid, addr: iova, kind: RequestKind::Operation(lookup), .. }) =
            flight.client
        else {
            unreachable!("only an operation ends so")
        };
        if let Answer::Found { addr, size_log2, filled: true, .. } = *answer {
            cx.note(Record::filled(self.smmu(), sid, iova, addr, size_log2));
        }
        let par = atos::par(&lookup, answer);
        let delay = flight.at.max(cx.now) - cx.now + self.config.timing.complete;
        cx.wake(delay, In::Wake(Wake::Operated { group, par, id: Some(flight.id) }));
    }

    /// Software sees the result of its operation.
    pub(super) fn operated(&mut self, group: Group, par: u64, id: Option<u64>) {
        self.registers.finish_operation(group, par);
        if let Some(id) = id {
            self.window.leave(id);
        }
    }

    /// Holds a transaction until CMD_RESUME; or, while no record can be written or too many are held, until it is worth
    /// another try.
    fn stall(&mut self, flight: &Flight, event: EventRecord, cx: &mut Context) {
        self.window.leave(flight.id);
        let stalled = Stalled { request: *flight.device(), since: flight.since };
        let recordable = self.events.is_writable(&self.registers);
        let stall_max = self.control.features.stall_max;
        if let Some(stag) = self.tbu.stalled.hold(stalled.request.sid, stalled, stall_max, recordable) {
            self.metrics.stalls += 1;
            self.record_event(event.with_stag(stag.into()), cx);
        }
    }

    /// Tries transactions again whose stall could not be recorded.
    pub(super) fn retry_unrecorded(&mut self, now: Time) {
        let again: Vec<_> = self.tbu.stalled.unrecorded().collect();
        again.into_iter().for_each(|s| self.arrive(Client::Device(s.request), s.since, now));
    }

    /// CMD_RESUME.
    pub(super) fn resume_stalled(&mut self, sid: u32, stag: u16, action: Resume, cx: &mut Context) {
        let Some(stalled) = self.tbu.stalled.resume(sid, stag) else { return };
        match action {
            Resume::Retry => self.arrive(Client::Device(stalled.request), stalled.since, cx.now),
            Resume::Abort => self.end_stalled(&stalled, DmaResult::Aborted(Abort), cx),
            Resume::ZeroIgnore => self.end_stalled(&stalled, zeros(&stalled.request), cx),
        }
        self.retry_unrecorded(cx.now);
    }

    /// Ends every stalled transaction of the streams chosen with an abort.
    pub(super) fn abort_stalled(&mut self, chosen: impl Fn(u32) -> bool, cx: &mut Context) {
        for stalled in self.tbu.stalled.terminate(chosen) {
            self.end_stalled(&stalled, DmaResult::Aborted(Abort), cx);
        }
        self.retry_unrecorded(cx.now);
    }

    fn end_stalled(&mut self, stalled: &Stalled, result: DmaResult, cx: &mut Context) {
        let id = self.window.enter();
        self.window.leave(id);
        // What made it stall may have been read as long ago as it arrived.
        self.note_abort(id, &stalled.request, None, stalled.since, cx);
        let DmaRequest { endpoint, tag, .. } = stalled.request;
        cx.say(self.config.timing.complete, Out::Dma(DmaCompletion { endpoint, tag, result }));
    }
}

/// What a terminated transaction reads.
fn zeros(request: &DmaRequest) -> DmaResult {
    let len = if let Op::Write(_) = request.op { 0 } else { request.op.len() };
    DmaResult::Ok(Data::new(&[0; crate::bus::LINE][..len]))
}

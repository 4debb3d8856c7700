//! The DMA engine of an endpoint: cuts transfers into requests of at most a line, keeps a limited number of them
//! outstanding, translates through the ATC if there is one, and answers invalidations.

use std::collections::VecDeque;

use sim::Time;
use sim::stats::Latency;

use super::atc::{Atc, Found, Need, Span};
use super::link::Link;
use super::paging::Paging;
use super::{Context, EndpointConfig, Out};
use crate::bus::{Data, LINE, Op};
use crate::dma::{
    AddressType, AtcInvalidate, DmaCompletion, DmaRequest, DmaResult, Incoming, PageAnswer, PageResponse,
};
use crate::faults::{Trigger, Which};
use crate::record::Record;
use crate::smmu::Attributes;

/// What a DMA of any length is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A job of a CPU.
    Job { cpu: u16, tag: u32 },
    /// The device's own.
    Device(Work),
}

/// What a device's own DMA is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// Reads a command into a slot.
    Fetch { slot: u16 },
    /// Moves a page of a command.
    Move { slot: u16, part: u8 },
    /// Writes a completion entry.
    Post,
    /// An MSI.
    Message,
    /// A chunk of a stream's run.
    Chunk { run: u64 },
}

/// A DMA of any length.
#[derive(Clone, Debug)]
pub(super) struct Transfer {
    pub purpose: Purpose,
    pub write: bool,
    pub iova: u64,
    pub ssid: Option<u32>,
    pub incoming: Incoming,
    pub len: u32,
    /// The bytes to write, repeated as needed; empty means zeros.
    pub pattern: Vec<u8>,
    /// Leaves the ATC aside.
    pub untranslated: bool,
    /// The last one of its SubstreamID.
    pub stop: bool,
}

impl Transfer {
    fn need(&self) -> Need {
        Need::new(self.ssid, self.write, self.incoming)
    }
    /// Nothing yet.
    pub(super) fn of_device(work: Work) -> Self {
        Self {
            purpose: Purpose::Device(work),
            write: false,
            iova: 0,
            ssid: None,
            incoming: Incoming::DEFAULT,
            len: 0,
            pattern: Vec::new(),
            untranslated: false,
            stop: false,
        }
    }
}

/// How a [`Transfer`] ended.
#[derive(Clone, Debug)]
pub(super) struct Finished {
    pub purpose: Purpose,
    /// Bytes before the first abort.
    pub done: u32,
    pub aborted: bool,
    /// The bytes read.
    pub data: Vec<u8>,
}

/// What an endpoint did so far.
#[derive(Clone, Debug, Default)]
pub struct EndpointCounters {
    /// Requests with data that were sent.
    pub requests: u64,
    /// Requests that were refused.
    pub aborts: u64,
    /// Bytes read from memory.
    pub bytes_read: u64,
    /// Bytes written to memory.
    pub bytes_written: u64,
    /// Jobs that ended.
    pub jobs: u64,
    /// Commands that the device took from its queue.
    pub commands: u64,
    /// Commands that ended with an error status.
    pub command_errors: u64,
    /// MSIs sent.
    pub messages: u64,
    /// Periods in which a stream could send no chunk.
    pub missed: u64,
    /// ATS translation requests sent.
    pub translation_requests: u64,
    /// Answers thrown away because an invalidation overtook them.
    pub translations_discarded: u64,
    /// Requests that found their translation in the ATC.
    pub atc_hits: u64,
    /// Times that a transfer had to wait for a translation.
    pub atc_misses: u64,
    /// ATC invalidations received.
    pub invalidations: u64,
    /// Page requests sent, one for each page.
    pub page_requests: u64,
    /// Answers to groups of them that were not Success.
    pub pages_refused: u64,
    /// Stop markers sent.
    pub stop_markers: u64,
    /// From sending a request with data until its completion is back at the endpoint.
    pub latency: Latency,
}

#[derive(Debug)]
struct Active {
    transfer: Transfer,
    data: Vec<u8>,
    next: u32,
    outstanding: u32,
    failed_at: Option<u32>,
    /// Page requests for the next piece so far.
    asked: u32,
    /// A group with some of its pages was invalid: from now on only what is needed next is asked for.
    careful: bool,
}

impl Active {
    fn fail(&mut self, at: u32) {
        self.failed_at = Some(self.failed_at.map_or(at, |before| before.min(at)));
    }
    fn has_more(&self) -> bool {
        self.failed_at.is_none() && self.next < self.transfer.len
    }
    /// The next piece: address and length.
    fn piece(&self) -> (u64, u32) {
        let addr = self.transfer.iova.wrapping_add(u64::from(self.next));
        let room = LINE as u32 - (addr % LINE as u64) as u32;
        (addr, room.min(self.transfer.len - self.next))
    }
    fn op(&self, len: u32) -> Op {
        if !self.transfer.write {
            return Op::Read { len: len as u8 };
        }
        let pattern = &self.transfer.pattern;
        let mut bytes = [0; LINE];
        if !pattern.is_empty() {
            for (i, byte) in bytes[..len as usize].iter_mut().enumerate() {
                *byte = pattern[(self.next as usize + i) % pattern.len()];
            }
        }
        Op::Write(Data::new(&bytes[..len as usize]))
    }
}

#[derive(Debug)]
enum Flight {
    Data {
        active: usize,
        offset: u32,
        len: u32,
        sent: Time,
        /// The translation that it uses.
        span: Option<Span>,
    },
    Translation {
        iova: u64,
        ssid: Option<u32>,
        need: Need,
        /// An invalidation overtook it.
        stale: bool,
        waiting: Vec<usize>,
    },
}

#[derive(Debug)]
struct Invalidating {
    tag: u32,
    sid: u32,
    /// Requests in flight that use what was dropped.
    users: Vec<u32>,
}

/// The smallest translation unit of ATS: 4 KiB.
pub(super) const STU_LOG2: u8 = 12;

/// Bytes of an invalidation, or of a translation, on the link.
const MESSAGE: usize = 8;

#[derive(Debug)]
pub(super) struct Engine {
    endpoint: u16,
    sid: u32,
    pub link: Link,
    flights: Vec<Option<Flight>>,
    free: Vec<u32>,
    active: Vec<Option<Active>>,
    /// Transfers that may send their next piece, served in turn.
    ready: VecDeque<usize>,
    finished: VecDeque<Finished>,
    atc: Option<Atc>,
    /// Present if it may send page requests.
    paging: Option<Paging>,
    silent: Trigger,
    early: Trigger,
    kept: Trigger,
    invalidating: Vec<Invalidating>,
    pub counters: EndpointCounters,
}

impl Engine {
    pub(super) fn new(config: &EndpointConfig) -> Self {
        let tags = config.tags.max(1);
        Self {
            endpoint: config.endpoint,
            sid: config.stream(),
            link: Link::new(config.root_port.timing),
            flights: (0..tags).map(|_| None).collect(),
            free: (0..tags).rev().collect(),
            active: Vec::new(),
            ready: VecDeque::new(),
            finished: VecDeque::new(),
            atc: config.ats.map(Atc::new),
            paging: config.pri.map(|pri| Paging::new(pri, config.stream())),
            silent: Trigger::new(config.atc_faults.silent),
            early: Trigger::new(config.atc_faults.early),
            kept: Trigger::new(config.atc_faults.kept),
            invalidating: Vec::new(),
            counters: EndpointCounters::default(),
        }
    }

    /// Invalidations that are not noticed, counted from now on.
    pub(super) fn set_silent(&mut self, which: Which) {
        self.silent = Trigger::new(which);
    }

    /// Takes a transfer on; [`Engine::issue`] sends its requests.
    pub(super) fn start(&mut self, transfer: Transfer) {
        let data = if transfer.write { Vec::new() } else { vec![0; transfer.len as usize] };
        let active =
            Active { transfer, data, next: 0, outstanding: 0, failed_at: None, asked: 0, careful: false };
        let slot = self.active.iter().position(Option::is_none).unwrap_or_else(|| {
            self.active.push(None);
            self.active.len() - 1
        });
        self.active[slot] = Some(active);
        self.ready.push_back(slot);
        self.settle(slot);
    }

    /// A transfer that has ended since the last call.
    pub(super) fn take_finished(&mut self) -> Option<Finished> {
        self.finished.pop_front()
    }

    /// Number of transfers that have not ended.
    pub(super) fn transfers(&self) -> usize {
        self.active.iter().flatten().count()
    }

    fn at(&mut self, slot: usize) -> &mut Active {
        self.active[slot].as_mut().expect("a transfer lives until its last request is back")
    }

    /// Sends as many requests as there are tags for, and page requests as there are credits for.
    pub(super) fn issue(&mut self, cx: &mut Context) {
        while let Some(request) = self.paging.as_mut().and_then(Paging::next) {
            let counter = match request.is_stop_marker() {
                true => &mut self.counters.stop_markers,
                false => &mut self.counters.page_requests,
            };
            *counter += 1;
            cx.say_at(self.link.up(cx.now, 0), Out::PageRequest(request));
        }
        while !self.free.is_empty() {
            let Some(slot) = self.ready.pop_front() else { return };
            self.issue_one(slot, cx);
        }
    }

    fn issue_one(&mut self, slot: usize, cx: &mut Context) {
        let active = self.at(slot);
        let (iova, len) = active.piece();
        let need = active.transfer.need();
        let Transfer { ssid, write, untranslated, mut incoming, .. } = active.transfer;
        let (addr, kind, span) = match &self.atc {
            _ if untranslated => (iova, AddressType::Untranslated, None),
            None => (iova, AddressType::Untranslated, None),
            Some(atc) => match atc.look_up(ssid, iova, need) {
                Some(Found { pa, no_snoop, span }) => {
                    self.counters.atc_hits += 1;
                    if no_snoop {
                        incoming.memory = Attributes::NOT_SNOOPED;
                    }
                    match pa {
                        Some(pa) => (pa, AddressType::Translated, Some(span)),
                        None => (iova, AddressType::Untranslated, None),
                    }
                }
                None => return self.ask_for_translation(slot, ssid, iova, need, cx),
            },
        };
        let active = self.at(slot);
        let op = active.op(len);
        let offset = active.next;
        active.next += len;
        active.asked = 0;
        active.outstanding += 1;
        if active.has_more() {
            self.ready.push_back(slot);
        }
        self.counters.requests += 1;
        let payload = if write { op.len() } else { 0 };
        let flight = Flight::Data { active: slot, offset, len, sent: cx.now, span };
        self.send(flight, (ssid, addr, kind, op), incoming, payload, cx);
    }

    /// The transfer waits for a translation of its next piece; transfers that need the same share one request.
    fn ask_for_translation(
        &mut self,
        slot: usize,
        ssid: Option<u32>,
        iova: u64,
        need: Need,
        cx: &mut Context,
    ) {
        self.counters.atc_misses += 1;
        let page = Span::around(ssid, iova, STU_LOG2);
        for flight in self.flights.iter_mut().flatten() {
            if let Flight::Translation { iova, ssid, need: asked, stale: false, waiting } = flight
                && *ssid == page.ssid
                && page.contains(*iova)
                && asked.covers(need)
            {
                waiting.push(slot);
                return;
            }
        }
        self.counters.translation_requests += 1;
        let flight = Flight::Translation { iova, ssid, need, stale: false, waiting: vec![slot] };
        let kind = AddressType::TranslationRequest { write: need.write };
        self.send(flight, (ssid, iova, kind, Op::Read { len: MESSAGE as u8 }), need.incoming(), 0, cx);
    }

    fn send(
        &mut self,
        flight: Flight,
        (ssid, addr, kind, op): (Option<u32>, u64, AddressType, Op),
        incoming: Incoming,
        payload: usize,
        cx: &mut Context,
    ) {
        let tag = self.free.pop().expect("issue looks before it sends");
        self.flights[tag as usize] = Some(flight);
        let request = DmaRequest {
            endpoint: self.endpoint,
            tag,
            sid: self.sid,
            ssid,
            addr,
            kind,
            op,
            unsupported: false,
            incoming,
        };
        cx.say_at(self.link.up(cx.now, payload), Out::Dma(request));
    }

    /// A completion is back at the endpoint.
    pub(super) fn completed(&mut self, completion: &DmaCompletion, cx: &mut Context) {
        let tag = completion.tag;
        let flight = self.flights.get_mut(tag as usize).and_then(Option::take);
        self.free.push(tag);
        match flight.expect("a completion answers a request") {
            Flight::Data { active, offset, len, sent, span } => {
                self.counters.latency.record(cx.now - sent);
                self.moved(active, offset, len, &completion.result);
                if span.is_some() {
                    self.used(tag, cx);
                }
            }
            Flight::Translation { stale: true, waiting, .. } => {
                self.counters.translations_discarded += 1;
                self.resume(waiting);
            }
            Flight::Translation { iova, ssid, waiting, .. } => {
                self.translated(iova, ssid, waiting, &completion.result);
            }
        }
    }

    fn moved(&mut self, slot: usize, offset: u32, len: u32, result: &DmaResult) {
        let active = self.active[slot].as_mut().expect("a transfer lives until its last request is back");
        active.outstanding -= 1;
        match result {
            DmaResult::Ok(_) if active.transfer.write => self.counters.bytes_written += u64::from(len),
            DmaResult::Ok(data) if data.len() == len as usize => {
                active.data[offset as usize..][..data.len()].copy_from_slice(data.bytes());
                self.counters.bytes_read += u64::from(len);
            }
            // Fewer bytes than asked for are as good as none.
            DmaResult::Ok(_) | DmaResult::Aborted(_) | DmaResult::Translation(_) | DmaResult::Unsupported => {
                active.fail(offset);
                self.counters.aborts += 1;
                self.ready.retain(|waiting| *waiting != slot);
            }
        }
        self.settle(slot);
    }

    /// Transfers that waited for a translation look again, unless an earlier piece failed meanwhile.
    fn resume(&mut self, waiting: Vec<usize>) {
        for slot in waiting {
            if self.at(slot).has_more() {
                self.ready.push_back(slot);
            }
            self.settle(slot);
        }
    }

    fn translated(&mut self, iova: u64, ssid: Option<u32>, waiting: Vec<usize>, result: &DmaResult) {
        let grant = match *result {
            DmaResult::Translation(grant) if grant.permits_any() => Some(grant),
            // No access is not cached: the next request asks again.
            _ => None,
        };
        if let (Some(atc), Some(grant)) = (&mut self.atc, grant) {
            atc.fill(ssid, iova, grant);
        }
        // Only what is missing can be paged in.
        let missing = matches!(result, DmaResult::Translation(_));
        let mut found = Vec::new();
        for slot in waiting {
            let active = self.active[slot].as_mut().expect("a transfer lives while it waits");
            let need = active.transfer.need();
            let permitted = grant.is_some_and(|grant| need.is_met_by(&grant));
            match &mut self.paging {
                Some(paging) if !permitted && missing && active.asked < paging.tries() => {
                    active.asked += 1;
                    let (iova, piece) = active.piece();
                    let len = if active.careful { piece } else { active.transfer.len - active.next };
                    paging.want(ssid, iova, len, need, slot);
                    continue;
                }
                _ if permitted => {}
                _ => {
                    active.fail(active.next);
                    self.counters.aborts += 1;
                }
            }
            found.push(slot);
        }
        self.resume(found);
    }

    /// The answer to page requests is at the endpoint. On Success the translation is asked for again; if only some page of a group
    /// was bad, the one that is needed next may still be had.
    pub(super) fn page_answered(&mut self, response: &PageResponse) {
        let Some(wanted) = self.paging.as_mut().and_then(|paging| paging.answered(response)) else { return };
        if response.answer != PageAnswer::Success {
            self.counters.pages_refused += 1;
            let others = response.answer == PageAnswer::Invalid && wanted.pages > 1;
            for &slot in &wanted.waiting {
                let active = self.at(slot);
                if others {
                    active.careful = true;
                    continue;
                }
                active.fail(active.next);
                self.counters.aborts += 1;
            }
        }
        self.resume(wanted.waiting);
    }

    /// Ends a transfer that has nothing more to do.
    fn settle(&mut self, slot: usize) {
        let active = self.at(slot);
        if active.has_more() || active.outstanding > 0 || self.is_waiting(slot) {
            return;
        }
        self.ready.retain(|waiting| *waiting != slot);
        let mut active = self.active[slot].take().expect("just seen");
        let done = active.failed_at.unwrap_or(active.transfer.len);
        active.data.truncate(done as usize);
        self.counters.jobs += u64::from(matches!(active.transfer.purpose, Purpose::Job { .. }));
        let Transfer { ssid, stop, .. } = active.transfer;
        if let (Some(paging), Some(ssid), true) = (&mut self.paging, ssid, stop) {
            paging.stop(ssid);
        }
        self.finished.push_back(Finished {
            purpose: active.transfer.purpose,
            done,
            aborted: active.failed_at.is_some(),
            data: active.data,
        });
    }

    /// Whether a transfer waits for a translation or for a page.
    fn is_waiting(&self, slot: usize) -> bool {
        let for_translation = |flight: &Flight| matches!(flight, Flight::Translation { waiting, .. } if waiting.contains(&slot));
        self.atc.is_some() && self.flights.iter().flatten().any(for_translation)
            || self.paging.as_ref().is_some_and(|paging| paging.is_waited_for_by(slot))
    }

    /// An invalidation is at the endpoint.
    pub(super) fn invalidate(&mut self, request: &AtcInvalidate, cx: &mut Context) {
        let AtcInvalidate { tag, sid, addr, size_log2, .. } = *request;
        cx.note(Record::AtcInvalidated { endpoint: self.endpoint, addr, size_log2 });
        self.counters.invalidations += 1;
        let Some(atc) = &mut self.atc else {
            // Unsupported Request, which counts as completed.
            return self.answer(tag, sid, cx);
        };
        let (silent, early, kept) = (self.silent.strikes(), self.early.strikes(), self.kept.strikes());
        if silent {
            let timed_out = Out::AtcDone { endpoint: self.endpoint, tag, sid, timed_out: true };
            return cx.say(self.link.timing.atc_timeout, timed_out);
        }
        if kept {
            return self.answer(tag, sid, cx);
        }
        atc.invalidate(request);
        let mut users = Vec::new();
        for (tag, flight) in self.flights.iter_mut().enumerate() {
            match flight {
                Some(Flight::Data { span: Some(span), .. }) if span.covered_by(request) => {
                    users.push(tag as u32);
                }
                // Its answer may be from before the invalidation, and be of any size.
                Some(Flight::Translation { stale, ssid, .. }) if request.concerns(*ssid) => *stale = true,
                _ => {}
            }
        }
        if users.is_empty() || early {
            self.answer(tag, sid, cx);
        } else {
            self.invalidating.push(Invalidating { tag, sid, users });
        }
    }

    /// A request that used the ATC is back: invalidations that waited for it may be answered.
    fn used(&mut self, tag: u32, cx: &mut Context) {
        let mut at = 0;
        while at < self.invalidating.len() {
            let waiting = &mut self.invalidating[at];
            waiting.users.retain(|user| *user != tag);
            if waiting.users.is_empty() {
                let Invalidating { tag, sid, .. } = self.invalidating.remove(at);
                self.answer(tag, sid, cx);
            } else {
                at += 1;
            }
        }
    }

    fn answer(&mut self, tag: u32, sid: u32, cx: &mut Context) {
        let at = self.link.up(cx.now, MESSAGE);
        cx.say_at(at, Out::AtcDone { endpoint: self.endpoint, tag, sid, timed_out: false });
    }
}

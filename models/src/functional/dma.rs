//! Transactions of devices: translated page by page, forwarded at once, refused, or parked until CMD_RESUME.

use sim::Time;
use spec::smmu::EventRecord;

use super::{FunctionalSmmu, Surroundings};
use crate::bus::{Abort, Data, PhysAddr};
use crate::dma::Incoming;
use crate::psmmu::Triggers;
use crate::record::{Record, Updater};
use crate::smmu::atos::{self, Answer, Group};
use crate::smmu::engine::Resume;
use crate::smmu::pmcg::{Pmcgs, Seen};
use crate::smmu::{
    AtsAnswer, Attributes, Outcome, Request, RequestKind, TableMemory, translate_after_micro,
    translate_in_micro, translate_observed,
};

/// Bytes that one translation serves at most; nothing that the SMMU does crosses a multiple of it.
const PAGE: u64 = 4096;

/// Most transactions that wait for CMD_RESUME or for room in the Event queue. What would stall beyond that is aborted.
pub const PARKED_MAX: usize = 0x1_0000;

/// Whose transaction, and how its address is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream {
    /// StreamID, as the root port assigns it.
    pub sid: u32,
    /// SubstreamID (PCIe PASID), if any.
    pub ssid: Option<u32>,
    /// The address came from ATS; meaningless for a translation request.
    pub translated: bool,
    /// The bus has no such transactions: the SMMU refuses them (IHI 0070, 16.7.1); meaningless for a translation request.
    pub unsupported: bool,
    /// What they say of themselves.
    pub incoming: Incoming,
}

impl Stream {
    /// Untranslated transactions without SubstreamID.
    pub const fn new(sid: u32) -> Self {
        Self { sid, ssid: None, translated: false, unsupported: false, incoming: Incoming::DEFAULT }
    }
    /// The same with a SubstreamID.
    #[must_use]
    pub const fn with_ssid(self, ssid: u32) -> Self {
        Self { ssid: Some(ssid), ..self }
    }
    /// The same with addresses that came from ATS.
    #[must_use]
    pub const fn translated(self) -> Self {
        Self { translated: true, ..self }
    }

    /// The same with transactions that the SMMU does not support.
    #[must_use]
    pub const fn unsupported(self) -> Self {
        Self { unsupported: true, ..self }
    }

    /// The same with transactions that say this of themselves.
    #[must_use]
    pub const fn with_incoming(self, incoming: Incoming) -> Self {
        Self { incoming, ..self }
    }

    #[inline]
    const fn request(self, addr: u64, write: bool) -> Request {
        let kind = if self.translated { RequestKind::AtsTranslated } else { RequestKind::Ordinary };
        let unsupported = self.unsupported;
        let request = Request::read(self.sid, addr).of_kind(kind).with_incoming(self.incoming);
        Request { ssid: self.ssid, write, unsupported, ..request }
    }
}

/// Why a DMA has not been done in full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaError {
    /// Refused by the SMMU or by memory.
    Aborted {
        /// Bytes that were transferred before.
        done: usize,
    },
    /// The part of the DMA that follows is stalled. [`FunctionalSmmu::resumed`] tells when it goes on, and how.
    Stalled {
        /// Identifies the stalled part.
        ticket: u64,
        /// Its tag in the event record; `None` while no record can be written, or too many transactions are stalled.
        stag: Option<u16>,
        /// Bytes that were transferred before.
        done: usize,
    },
}

/// How a stalled transaction goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is to be tried again: repeat the DMA from the stalled part on.
    Retry,
    /// It has ended with an abort.
    Abort,
    /// It has ended as if it had succeeded: a read has got zeros, a write is dropped. The DMA goes on after it.
    ZeroIgnore,
}

/// A stalled transaction that is no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// As in [`DmaError::Stalled`].
    pub ticket: u64,
    /// Whose.
    pub stream: Stream,
    /// First byte of the stalled part.
    pub iova: u64,
    /// Bytes of the stalled part: the rest of the DMA in that page.
    pub len: usize,
    /// How it goes on.
    pub fate: Fate,
}

/// A stalled transaction.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parked {
    ticket: u64,
    stream: Stream,
    iova: u64,
    len: usize,
    write: bool,
    /// When its translation began.
    begun: Time,
}

impl Parked {
    fn end(&self, fate: Fate) -> Resumed {
        let Self { ticket, stream, iova, len, .. } = *self;
        Resumed { ticket, stream, iova, len, fate }
    }
}

/// Part of a DMA, within a page.
#[derive(Clone, Copy, Debug)]
struct Part {
    stream: Stream,
    addr: u64,
    len: usize,
    write: bool,
    /// Bytes of the DMA before this part.
    done: usize,
}

impl Part {
    #[inline]
    fn next(stream: Stream, iova: u64, write: bool, done: usize, len: usize) -> Self {
        let addr = iova.wrapping_add(done as u64);
        let to_end = (PAGE - addr % PAGE) as usize;
        Self { stream, addr, len: to_end.min(len - done), write, done }
    }
    fn aborted(&self) -> DmaError {
        DmaError::Aborted { done: self.done }
    }
}

/// Memory, as the walks of one request see it.
struct Walk<'a, S> {
    smmu: u16,
    request: &'a Request,
    triggers: &'a mut Triggers,
    around: &'a mut S,
    reads: u64,
    updates: u64,
}

impl<S: Surroundings> TableMemory for &mut Walk<'_, S> {
    #[inline]
    fn read(
        &mut self,
        addr: PhysAddr,
        len: usize,
        attributes: impl FnOnce() -> Attributes,
    ) -> Result<Data, Abort> {
        self.reads += 1;
        if self.triggers.read.strikes() {
            return Err(Abort);
        }
        let data = Data::filled(len, |bytes| self.around.read(addr, bytes))?;
        self.around.table_read(addr, data.bytes(), attributes);
        Ok(data)
    }

    #[inline]
    fn word(&mut self, addr: PhysAddr, attributes: impl FnOnce() -> Attributes) -> Result<u64, Abort> {
        self.reads += 1;
        if self.triggers.read.strikes() {
            return Err(Abort);
        }
        let mut bytes = [0; 8];
        self.around.read(addr, &mut bytes)?;
        self.around.table_read(addr, &bytes, attributes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn compare_swap(&mut self, addr: PhysAddr, before: u64, after: u64) -> Result<u64, Abort> {
        let found = self.around.compare_swap(addr, before, after)?;
        if found != before {
            self.around.table_read(addr, &found.to_le_bytes(), Attributes::default);
            return Ok(found);
        }
        self.updates += 1;
        let who = Updater::new(self.smmu, self.request, self.around.now());
        self.around.record(Record::DescriptorUpdated { who, addr, before, after });
        Ok(found)
    }
}

/// Where a part goes, and the id under which its end is recorded.
type Way = (PhysAddr, u64);

impl FunctionalSmmu {
    /// A device reads memory. On an error the bytes before the refused part are there.
    ///
    /// # Errors
    /// A part of it was refused or is stalled.
    pub fn dma_read(
        &mut self,
        stream: Stream,
        iova: u64,
        into: &mut [u8],
        around: &mut impl Surroundings,
    ) -> Result<(), DmaError> {
        let mut done = 0;
        while done < into.len() {
            let part = Part::next(stream, iova, false, done, into.len());
            let target = &mut into[done..done + part.len];
            match self.admit(&part, around)? {
                Some((pa, id)) => {
                    let result = around.read(pa, target);
                    self.left(&part, id, result, around)?;
                }
                None => target.fill(0),
            }
            done += part.len;
        }
        Ok(())
    }

    /// A device writes memory. On an error the bytes before the refused part have been written.
    ///
    /// # Errors
    /// A part of it was refused or is stalled.
    pub fn dma_write(
        &mut self,
        stream: Stream,
        iova: u64,
        bytes: &[u8],
        around: &mut impl Surroundings,
    ) -> Result<(), DmaError> {
        let mut done = 0;
        while done < bytes.len() {
            let part = Part::next(stream, iova, true, done, bytes.len());
            if let Some((pa, id)) = self.admit(&part, around)? {
                let result = around.write(pa, &bytes[done..done + part.len]);
                self.left(&part, id, result, around)?;
            }
            done += part.len;
        }
        Ok(())
    }

    /// A device asks for a translation (ATS); `write` asks for write permission as well.
    pub fn translation_request(
        &mut self,
        stream: Stream,
        iova: u64,
        write: bool,
        around: &mut impl Surroundings,
    ) -> AtsAnswer {
        self.metrics.dmas += 1;
        self.metrics.ats_requests += 1;
        self.next_id += 1;
        let request = stream.request(iova, false).of_kind(RequestKind::AtsRequest { write }).as_it_counts();
        let Outcome::Ats { answer, event } = self.translate(request, around) else {
            unreachable!("a translation request ends with an answer")
        };
        if let Some(event) = event {
            self.record_event(event, around);
        }
        let (pa, size_log2) = answer.told();
        let (incoming, Stream { sid, ssid, .. }) = (request.incoming(), stream);
        around.record(Record::AtsAnswered { smmu: self.smmu(), sid, ssid, iova, incoming, pa, size_log2 });
        answer
    }

    /// Software has started an operation; it is over on return.
    pub(super) fn operate(&mut self, group: Group, around: &mut impl Surroundings) {
        let par = match self.registers.operation(group) {
            Ok(request) => self.perform(request, around),
            Err(par) => par,
        };
        self.registers.finish_operation(group, par);
    }

    fn perform(&mut self, request: Request, around: &mut impl Surroundings) -> u64 {
        let (Outcome::Operation(answer), RequestKind::Operation(lookup)) =
            (self.translate(request, around), request.kind)
        else {
            unreachable!("an operation ends with an answer")
        };
        if let Answer::Found { addr, size_log2, filled: true, .. } = answer {
            around.record(Record::filled(self.smmu(), request.sid, request.addr, addr, size_log2));
        }
        atos::par(&lookup, &answer)
    }

    /// The next stalled transaction that goes on or has ended, oldest first. To be asked after every register write.
    pub fn resumed(&mut self) -> Option<Resumed> {
        self.resumed.pop_front()
    }

    #[inline]
    pub(super) fn translate(&mut self, request: Request, around: &mut impl Surroundings) -> Outcome {
        let Self { control, caches, monitors, .. } = self;
        if monitors.as_ref().is_some_and(Pmcgs::is_counting) {
            return self.translate_monitored(&request, around);
        }
        match translate_in_micro(&request, control, caches) {
            Some(outcome) => outcome,
            None => self.translate_after_micro(&request, around),
        }
    }

    fn translate_after_micro(&mut self, request: &Request, around: &mut impl Surroundings) -> Outcome {
        let smmu = self.smmu();
        let Self { triggers, control, caches, .. } = self;
        let mut walk = Walk { smmu, request, triggers, around: &mut *around, reads: 0, updates: 0 };
        let (outcome, missed) = translate_after_micro(request, control, caches, &mut walk);
        let Walk { reads, updates, .. } = walk;
        if missed {
            self.walked(request, reads, updates, around);
        }
        outcome
    }

    /// With performance monitors that look at every step.
    fn translate_monitored(&mut self, request: &Request, around: &mut impl Surroundings) -> Outcome {
        let smmu = self.smmu();
        let Self { triggers, control, caches, monitors, .. } = self;
        let monitors = monitors.as_mut().expect("somebody looks");
        let mut walk = Walk { smmu, request, triggers, around: &mut *around, reads: 0, updates: 0 };
        let (mut seen, mut before) = (Seen::default(), caches.stats);
        let mut overflows = Vec::new();
        let (outcome, missed) =
            translate_observed(*request, control, caches, &mut walk, |translation, step, stats| {
                let raised = monitors.step(&mut seen, translation, step, stats.since(&before));
                before = *stats;
                overflows.extend(raised.any().then_some(raised));
            });
        let Walk { reads, updates, .. } = walk;
        if missed {
            self.walked(request, reads, updates, around);
        }
        overflows.into_iter().for_each(|raised| self.raise_overflows(raised, around));
        outcome
    }

    /// Counts what a translation beyond the TLBs has done, and tells observers what was odd about the structures that it read.
    fn walked(&mut self, request: &Request, reads: u64, updates: u64, around: &mut impl Surroundings) {
        self.metrics.walk_reads += reads;
        self.metrics.walk_updates += updates;
        self.metrics.misses += u64::from(request.kind != RequestKind::PageRequest);
        if !self.caches.lints.is_empty() {
            let lints = std::mem::take(&mut self.caches.lints);
            self.lint(lints, around);
        }
    }

    /// Translates a part. `None`: it succeeds without effect.
    fn admit(&mut self, part: &Part, around: &mut impl Surroundings) -> Result<Option<Way>, DmaError> {
        self.metrics.dmas += 1;
        let id = self.next_id;
        self.next_id += 1;
        let begun = around.now();
        let (smmu, Part { stream, addr: iova, len, write, .. }) = (self.smmu(), *part);
        let Stream { sid, ssid, translated, incoming, .. } = stream;
        match self.translate(stream.request(iova, write), around) {
            Outcome::Translated { pa, size_log2, attributes, tlb_hit, filled, .. } => {
                if filled && around.is_observed() {
                    around.record(Record::filled(smmu, sid, iova, pa, size_log2));
                }
                let len = len as u32;
                if around.is_observed() {
                    around.record(Record::DmaTranslated {
                        id,
                        smmu,
                        sid,
                        ssid,
                        iova,
                        pa,
                        len,
                        write,
                        incoming,
                        attributes,
                        translated,
                        tlb_hit,
                        begun,
                    });
                }
                Ok(Some((pa, id)))
            }
            Outcome::Abort { event } => {
                self.refuse(id, part, event, begun, around);
                Err(part.aborted())
            }
            Outcome::ReadZeroWriteIgnored { event } => {
                self.refuse(id, part, event, begun, around);
                Ok(None)
            }
            Outcome::Stall { event } => Err(self.stall(id, part, event, begun, around)),
            Outcome::Ats { .. } | Outcome::Ppar { .. } | Outcome::Operation(_) => {
                unreachable!("nothing is accessed then")
            }
        }
    }

    /// Memory has answered.
    fn left(
        &self,
        part: &Part,
        id: u64,
        result: Result<(), Abort>,
        around: &mut impl Surroundings,
    ) -> Result<(), DmaError> {
        if around.is_observed() {
            around.record(Record::DmaDone { id, smmu: self.smmu() });
        }
        result.map_err(|Abort| part.aborted())
    }

    fn refuse(
        &mut self,
        id: u64,
        part: &Part,
        event: Option<EventRecord>,
        begun: Time,
        around: &mut impl Surroundings,
    ) {
        let number = event.map(|e| e.number() as u8);
        around.record(self.aborted(id, part.stream, part.addr, part.write, number, begun));
        if let Some(event) = event {
            self.record_event(event, around);
        }
    }

    fn aborted(
        &self,
        id: u64,
        stream: Stream,
        iova: u64,
        write: bool,
        event: Option<u8>,
        begun: Time,
    ) -> Record {
        let (smmu, Stream { sid, ssid, translated, incoming, .. }) = (self.smmu(), stream);
        Record::DmaAborted { id, smmu, sid, ssid, iova, write, incoming, translated, event, begun }
    }

    /// Parks a part until CMD_RESUME; or, while no record can be written or too many are held, until it is worth another try.
    fn stall(
        &mut self,
        id: u64,
        part: &Part,
        event: EventRecord,
        begun: Time,
        around: &mut impl Surroundings,
    ) -> DmaError {
        if self.stalls.len() >= PARKED_MAX {
            around.record(self.aborted(id, part.stream, part.addr, part.write, None, begun));
            return part.aborted();
        }
        let Part { stream, addr: iova, len, write, done } = *part;
        let parked = Parked { ticket: id, stream, iova, len, write, begun };
        let recordable = self.events.is_writable(&self.registers);
        let stag = self.stalls.hold(stream.sid, parked, self.control.features.stall_max, recordable);
        if let Some(stag) = stag {
            self.metrics.stalls += 1;
            self.record_event(event.with_stag(stag.into()), around);
        }
        DmaError::Stalled { ticket: id, stag, done }
    }

    /// Transactions whose stall could not be recorded are to be tried again.
    pub(super) fn retry_unrecorded(&mut self) {
        self.resumed.extend(self.stalls.unrecorded().map(|parked| parked.end(Fate::Retry)));
    }

    /// CMD_RESUME.
    pub(super) fn resume_stalled(
        &mut self,
        sid: u32,
        stag: u16,
        action: Resume,
        around: &mut impl Surroundings,
    ) {
        let Some(parked) = self.stalls.resume(sid, stag) else { return };
        match action {
            Resume::Retry => self.resumed.push_back(parked.end(Fate::Retry)),
            Resume::Abort => self.end_stalled(&parked, Fate::Abort, around),
            Resume::ZeroIgnore => self.end_stalled(&parked, Fate::ZeroIgnore, around),
        }
        self.retry_unrecorded();
    }

    /// Ends every stalled transaction of the streams chosen with an abort.
    pub(super) fn terminate_stalled(&mut self, chosen: impl Fn(u32) -> bool, around: &mut impl Surroundings) {
        for parked in self.stalls.terminate(chosen) {
            self.end_stalled(&parked, Fate::Abort, around);
        }
        self.retry_unrecorded();
    }

    fn end_stalled(&mut self, parked: &Parked, fate: Fate, around: &mut impl Surroundings) {
        let id = self.next_id;
        self.next_id += 1;
        // What made it stall may have been read as long ago as it arrived.
        around.record(self.aborted(id, parked.stream, parked.iova, parked.write, None, parked.begun));
        self.resumed.push_back(parked.end(fate));
    }
}

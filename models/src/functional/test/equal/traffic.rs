//! Transactions of devices in both machines, and those that stall.

use super::super::super::{Fate, Resumed};
use super::super::*;
use super::pair::{Pair, Waiting};
use super::step::Access;
use crate::bus::Op;
use crate::dma::{AddressType, DmaRequest, DmaResult};

impl Pair {
    fn timed_request(
        &mut self,
        stream: Stream,
        addr: u64,
        op: Op,
        kind: AddressType,
    ) -> (u32, Option<DmaResult>) {
        let Stream { sid, ssid, unsupported, incoming, .. } = stream;
        let now = self.timed.now();
        let request = DmaRequest { endpoint: 0, tag: 0, sid, ssid, addr, kind, op, unsupported, incoming };
        let tag = self.timed.request(now, request);
        self.timed.run();
        (tag, self.timed.completion(tag).map(|(_, result)| result))
    }

    pub(super) fn dma(&mut self, stream: Stream, addr: u64, access: Access) {
        let within = |len: u8| (64 - addr % 64).min(len.into()) as u8;
        let (access, op, kind) = match access {
            // Without a TLB every line would be walked for; performance monitors count lines.
            Access::ReadLong(len) if self.plain.smmu.config().caches.micro > 0 && !self.monitored() => {
                return self.read_long(stream, addr, len.into());
            }
            Access::ReadLong(_) => {
                (Access::Read(within(64)), Op::Read { len: within(64) }, AddressType::Untranslated)
            }
            Access::Read(len) => {
                (Access::Read(within(len)), Op::Read { len: within(len) }, AddressType::Untranslated)
            }
            Access::Write(len) => {
                let data = Data::new(&pattern(addr)[..usize::from(within(len))]);
                (Access::Write(within(len)), Op::Write(data), AddressType::Untranslated)
            }
            Access::Translated { write } => {
                let data = Data::new(&pattern(addr)[..usize::from(within(8))]);
                let op = if write { Op::Write(data) } else { Op::Read { len: within(8) } };
                (access, op, AddressType::Translated)
            }
            Access::Unsupported { write, translated } => {
                let data = Data::new(&pattern(addr)[..usize::from(within(8))]);
                let op = if write { Op::Write(data) } else { Op::Read { len: within(8) } };
                let kind = if translated { AddressType::Translated } else { AddressType::Untranslated };
                (access, op, kind)
            }
            Access::Request { write } => {
                (access, Op::Read { len: within(8) }, AddressType::TranslationRequest { write })
            }
        };
        let unsupported = matches!(access, Access::Unsupported { .. });
        self.unsupported += u64::from(unsupported);
        let (tag, timed) = self.timed_request(Stream { unsupported, ..stream }, addr, op, kind);
        self.meet(tag, timed, stream, addr, access);
    }

    /// The transaction without time, whose result must be what the one with time is.
    fn meet(&mut self, tag: u32, timed: Option<DmaResult>, stream: Stream, addr: u64, access: Access) {
        match self.perform(stream, addr, access) {
            Ok(result) if timed == Some(result) => {}
            Err((ticket, stag)) if timed.is_none() => {
                self.waiting.push(Waiting { tag, ticket, access, stream, addr, recorded: stag.is_some() });
            }
            result => self.results.push(format!("result: {result:x?} without time, {timed:x?} with")),
        }
    }

    /// Without time; `Err` is a stall.
    fn perform(
        &mut self,
        stream: Stream,
        addr: u64,
        access: Access,
    ) -> Result<DmaResult, (u64, Option<u16>)> {
        let (smmu, world) = (&mut self.plain.smmu, &mut self.plain.world);
        let mut bytes = [0xee; 64];
        let eight = (64 - addr % 64).min(8) as usize;
        let (result, len) = match access {
            Access::Read(len) => {
                (smmu.dma_read(stream, addr, &mut bytes[..usize::from(len)], world), usize::from(len))
            }
            Access::Write(len) => {
                (smmu.dma_write(stream, addr, &pattern(addr)[..usize::from(len)], world), 0)
            }
            Access::Translated { write: false } => {
                (smmu.dma_read(stream.translated(), addr, &mut bytes[..eight], world), eight)
            }
            Access::Translated { write: true } => {
                (smmu.dma_write(stream.translated(), addr, &pattern(addr)[..eight], world), 0)
            }
            Access::Unsupported { write, translated } => {
                let stream = Stream { translated, ..stream.unsupported() };
                let (bytes, written) = (&mut bytes[..eight], &pattern(addr)[..eight]);
                if write {
                    (smmu.dma_write(stream, addr, written, world), 0)
                } else {
                    (smmu.dma_read(stream, addr, bytes, world), eight)
                }
            }
            Access::Request { write } => {
                return Ok(smmu.translation_request(stream, addr, write, world).result());
            }
            Access::ReadLong(_) => unreachable!("long reads are compared by themselves"),
        };
        match result {
            Ok(()) => Ok(DmaResult::Ok(Data::new(&bytes[..len]))),
            Err(DmaError::Aborted { .. }) => Ok(DmaResult::Aborted(Abort)),
            Err(DmaError::Stalled { ticket, stag, .. }) => Err((ticket, stag)),
        }
    }

    /// Line by line with time, page by page without. The first line of a page that fails ends it.
    fn read_long(&mut self, stream: Stream, iova: u64, len: u64) {
        self.long = true;
        let mut with = Vec::new();
        let mut end = None;
        while end.is_none() && (with.len() as u64) < len {
            let addr = iova.wrapping_add(with.len() as u64);
            let n = (64 - addr % 64).min(len - with.len() as u64) as u8;
            match self.timed_request(stream, addr, Op::Read { len: n }, AddressType::Untranslated) {
                (_, Some(DmaResult::Ok(data))) => with.extend_from_slice(data.bytes()),
                other => end = Some((other, addr, n)),
            }
        }
        let mut without = vec![0xee; len as usize];
        let result = self.plain.smmu.dma_read(stream, iova, &mut without, &mut self.plain.world);
        let agree = match (result, end) {
            (Ok(()), None) => true,
            (Err(DmaError::Aborted { done }), Some(((_, Some(DmaResult::Aborted(_))), ..))) => {
                without.truncate(done);
                true
            }
            (Err(DmaError::Stalled { ticket, stag, done }), Some(((tag, None), addr, n))) => {
                without.truncate(done);
                let (access, recorded) = (Access::Read(n), stag.is_some());
                self.waiting.push(Waiting { tag, ticket, access, stream, addr, recorded });
                true
            }
            _ => false,
        };
        if !agree || with != without {
            self.results
                .push(format!("long read: {result:x?} without time, {end:x?} with; {} bytes", with.len()));
        }
    }

    /// Repeats what may go on in the machine without time; the other one does so by itself.
    /// `before`: commands executed before the access.
    pub(super) fn go_on(&mut self, before: &[u64]) {
        let now = self.executed();
        let executed: u64 = now.iter().zip(before).map(|(now, before)| now - before).sum();
        let queues = now.iter().zip(before).filter(|(now, before)| now != before).count();
        let stopped = now.last().zip(before.last()).map_or(0, |(now, before)| now - before);
        self.raced |= (queues > 1 || stopped > 1) && (self.is_counting() || self.released);
        let mut together = 0;
        // Once what comes first is open, the two may hold different transactions for the rest of the step.
        while !self.raced
            && let Some(Resumed { ticket, fate, .. }) = self.plain.smmu.resumed()
        {
            self.resumed += 1;
            together += 1;
            let Some(at) = self.waiting.iter().position(|w| w.ticket == ticket) else {
                self.results.push(format!("{fate:?}: transaction {ticket} was not stalled in both"));
                continue;
            };
            let Waiting { tag, access, stream, addr, recorded, .. } = self.waiting.remove(at);
            let timed = self.timed.completion(tag).map(|(_, result)| result);
            let want = match (fate, access) {
                (Fate::Retry, _) => {
                    self.retried += 1;
                    // The CMD_RESUME itself is one.
                    self.raced |= executed > u64::from(recorded);
                    if !self.raced {
                        self.meet(tag, timed, stream, addr, access);
                    }
                    continue;
                }
                (Fate::Abort, _) => DmaResult::Aborted(Abort),
                (Fate::ZeroIgnore, Access::Read(len)) => {
                    DmaResult::Ok(Data::new(&[0; 64][..usize::from(len)]))
                }
                (Fate::ZeroIgnore, _) => DmaResult::Ok(Data::EMPTY),
            };
            if timed != Some(want) {
                self.results.push(format!("{fate:?}: {timed:x?} with time"));
            }
        }
        self.many |= together > 1;
        for waiting in &self.waiting {
            if let Some(result) = self.timed.completion(waiting.tag) {
                self.results.push(format!(
                    "{:#x} is still stalled without time, not with: {result:x?}",
                    waiting.addr
                ));
            }
        }
    }

    /// Whether a transaction is stalled without a record. It is tried again together with what is resumed, at the same time or
    /// one after the other: then only the order of their records is different, and no other transaction may come between.
    pub(super) fn unrecorded(&self) -> bool {
        self.waiting.iter().any(|w| !w.recorded)
    }
}

/// What a device writes at an address.
fn pattern(addr: u64) -> [u8; 64] {
    std::array::from_fn(|i| (addr as u8).wrapping_mul(31).wrapping_add(i as u8))
}

//! What surrounds the pSMMUs of a board: memory, doorbells, translation caches of endpoints, observers.

use std::collections::BTreeMap;
use std::ops::Range;

use models::bus::{Abort, LINE, PhysAddr};
use models::dma::AtcInvalidate;
use models::endpoint::{Atc, AtcConfig};
use models::faults::Trigger;
use models::functional::Surroundings;
use models::record::Record;
use models::smmu::Attributes;
use scenario::run::judge::Judge;
use scenario::run::trace::Trace;
use sim::Time;

use crate::memory::Memory;
use crate::tally::Tally;
use crate::tape::Sent;

/// Translations that an endpoint keeps: few, so that they are also evicted.
const ATC_ENTRIES: usize = 256;

/// A translation cache as it is out of reset.
pub(super) fn empty_atc() -> Atc {
    Atc::new(AtcConfig { entries: ATC_ENTRIES })
}

/// Observers of a run.
pub(super) struct Observers {
    pub(super) judge: Judge,
    pub(super) tally: Tally,
    pub(super) trace: Option<Trace<Box<dyn std::io::Write + Send>>>,
}

impl Observers {
    pub(super) fn record(&mut self, now: Time, record: &Record) {
        self.tally.record(record);
        self.judge.record(now, record);
        if let Some(trace) = &mut self.trace
            && let Err(why) = trace.record(now, record)
        {
            tracing::error!("the trace cannot be written: {why}; it ends here");
            self.trace = None;
        }
    }
}

/// All that a pSMMU may reach.
pub(super) struct Around {
    pub(super) memory: Memory,
    pub(super) observers: Observers,
    /// Translation caches by endpoint, for those that can use ATS.
    pub(super) atcs: Vec<Option<Atc>>,
    /// (pSMMU, StreamID) to endpoint.
    pub(super) streams: BTreeMap<(u16, u32), usize>,
    /// ATS invalidations that endpoints do not notice, by endpoint.
    pub(super) silent: Vec<Trigger>,
    /// Registers of the interrupt controller that messages are written to.
    pub(super) doorbells: Range<PhysAddr>,
    /// Where a wired interrupt is told by writing its number.
    pub(super) wires: PhysAddr,
    /// Messages to QEMU that leave after this access.
    pub(super) sent: Vec<Sent>,
    pub(super) now: Time,
    /// The function whose access this is; messages leave on its behalf.
    pub(super) speaker: usize,
    /// The pSMMU at work.
    pub(super) smmu: u16,
}

impl Around {
    fn send(&mut self, addr: PhysAddr, bytes: &[u8]) {
        self.sent.push(Sent { function: self.speaker, addr, bytes: bytes.to_vec() });
    }
}

impl Surroundings for Around {
    fn read(&mut self, addr: PhysAddr, into: &mut [u8]) -> Result<(), Abort> {
        self.memory.read(addr, into)
    }

    fn write(&mut self, addr: PhysAddr, bytes: &[u8]) -> Result<(), Abort> {
        if self.doorbells.contains(&addr) {
            let intid = bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
            self.record(Record::InterruptRaised { intid, smmu: Some(self.smmu) });
            self.send(addr, bytes);
            return Ok(());
        }
        self.memory.write(addr, bytes)
    }

    fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort> {
        self.memory.compare_swap(addr, expected, new)
    }

    fn table_read(&mut self, addr: PhysAddr, bytes: &[u8], _: impl FnOnce() -> Attributes) {
        let mut words = [0; LINE / 8];
        let (read, _) = bytes.as_chunks();
        for (word, bytes) in words.iter_mut().zip(read) {
            *word = u64::from_le_bytes(*bytes);
        }
        self.observers.judge.table_read(self.now, addr, &words[..read.len()]);
    }

    fn edge(&mut self, intid: u32) {
        self.observers.record(self.now, &Record::InterruptRaised { intid, smmu: Some(self.smmu) });
        self.send(self.wires, &intid.to_le_bytes());
    }

    fn invalidate_atc(&mut self, invalidate: AtcInvalidate) -> bool {
        let Some(&endpoint) = self.streams.get(&(self.smmu, invalidate.sid)) else {
            // Nobody there: Unsupported Request, which counts as completed.
            return true;
        };
        if let Some(atc) = &mut self.atcs[endpoint] {
            if self.silent[endpoint].strikes() {
                return false;
            }
            atc.invalidate(&invalidate);
        }
        let AtcInvalidate { addr, size_log2, .. } = invalidate;
        self.record(Record::AtcInvalidated { endpoint: endpoint as u16, addr, size_log2 });
        true
    }

    fn now(&self) -> Time {
        self.now
    }

    fn record(&mut self, record: Record) {
        self.observers.record(self.now, &record);
    }
}

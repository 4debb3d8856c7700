//! What surrounds a pSMMU without time: memory that a judge looks at for itself, and observers of its records.

use std::sync::Arc;

use models::bus::{Abort, PhysAddr};
use models::dma::AtcInvalidate;
use models::functional::Surroundings;
use models::memory::PhysMem;
use models::record::Record;
use models::smmu::Attributes;
use oracle::{Config, Source};
use parking_lot::Mutex;
use scenario::run::judge::{Facts, Judge};
use sim::Time;

/// Memory.
#[derive(Clone, Debug)]
pub(crate) struct Ram(pub(crate) Arc<Mutex<PhysMem>>);

impl Source for Ram {
    fn read(&self, addr: u64, words: &mut [u64]) -> bool {
        let memory = self.0.lock();
        for (i, word) in (0..).zip(words) {
            *word = memory.read_u64(addr + 8 * i);
        }
        true
    }
}

/// Who is told of records beside the judge.
pub(crate) trait Log {
    fn note(&mut self, record: &Record);
}

/// The surroundings.
pub(crate) struct World<L> {
    pub(crate) ram: Ram,
    judge: Judge,
    pub(crate) log: L,
    /// Nanoseconds, which pass by what software and records do.
    pub(crate) now: u64,
}

impl<L> World<L> {
    pub(crate) fn new(facts: Facts, ram: Ram, log: L) -> Self {
        let judge = Judge::watching(facts, Config::of_host_time(), ram.clone());
        Self { ram, judge, log, now: 0 }
    }

    /// Ends a while later: what the judge has found, and the log.
    pub(crate) fn end(self) -> (Vec<String>, L) {
        let findings = self.judge.finish(Time::ns(self.now + 1_000_000));
        (findings.iter().map(ToString::to_string).collect(), self.log)
    }
}

impl<L: Log> Surroundings for World<L> {
    fn read(&mut self, addr: PhysAddr, into: &mut [u8]) -> Result<(), Abort> {
        self.ram.0.lock().read(addr, into);
        Ok(())
    }
    fn write(&mut self, addr: PhysAddr, bytes: &[u8]) -> Result<(), Abort> {
        self.ram.0.lock().write(addr, bytes);
        Ok(())
    }
    fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort> {
        Ok(self.ram.0.lock().compare_swap(addr, expected, new))
    }
    fn table_read(&mut self, addr: PhysAddr, bytes: &[u8], _: impl FnOnce() -> Attributes) {
        let words: Vec<u64> = bytes.as_chunks().0.iter().map(|b| u64::from_le_bytes(*b)).collect();
        self.judge.table_read(Time::ns(self.now), addr, &words);
    }
    fn edge(&mut self, _: u32) {}
    fn invalidate_atc(&mut self, _: AtcInvalidate) -> bool {
        true
    }
    fn now(&self) -> Time {
        Time::ns(self.now)
    }
    fn record(&mut self, record: Record) {
        self.now += 10;
        self.log.note(&record);
        self.judge.record(Time::ns(self.now), &record);
    }
}

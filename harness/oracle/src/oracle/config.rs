//! How much the oracle remembers, and how long it waits.

use crate::witness::Time;

/// Bounds. The defaults suit runs of some seconds of simulated time.
#[derive(Clone, Debug)]
pub struct Config {
    /// A record must be visible within this time of the abort it reports.
    pub event_bound: Time,
    /// The interrupt must follow within this time of the queue becoming non-empty.
    pub interrupt_bound: Time,
    /// How long before its record a transaction may have arrived, if the record does not say.
    pub walk_bound: Time,
    /// How long after a write to its registers an SMMU may act on the old values.
    pub update_bound: Time,
    /// Changes of words that no walk has read are remembered up to this number; while memory is looked at, all changes.
    pub memory_changes: usize,
    /// While memory is looked at: pages of 4KB in which words are known.
    pub pages: usize,
    /// Invalidations remembered for each SMMU.
    pub invalidations: usize,
    /// Where invalidations must be issued twice: sequences of one queue that may wait for their second issue at once, at least 1. As
    /// many as may be issuing at once: CPUs, and what interrupts them. Of more than that the oldest is not waited for any longer.
    pub repetitions: usize,
    /// Findings that are told in full; more are only counted. As many again may be held back.
    pub findings: usize,
    /// Combinations of old values that are tried for one transaction.
    pub combinations: usize,
}

impl Default for Config {
    fn default() -> Self {
        const US: Time = 1_000_000;
        Self {
            event_bound: 100 * US,
            interrupt_bound: 100 * US,
            walk_bound: 5 * US,
            update_bound: 5 * US,
            memory_changes: 1 << 20,
            pages: 1 << 12,
            invalidations: 1 << 16,
            repetitions: 1,
            findings: 100,
            combinations: 4096,
        }
    }
}

impl Config {
    /// Bounds for a run of any length whose time is that of a host that has other things to do. They keep an oracle
    /// that looks at memory within some 100 MB.
    pub fn of_host_time() -> Self {
        const S: Time = 1_000_000_000_000;
        Self {
            event_bound: S,
            interrupt_bound: S,
            memory_changes: 1 << 18,
            pages: 1 << 11,
            invalidations: 1 << 14,
            repetitions: 1 << 6,
            ..Self::default()
        }
    }
}

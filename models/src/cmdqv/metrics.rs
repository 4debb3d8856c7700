//! Counters of one block.

use std::collections::BTreeMap;

/// Counters since reset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Per VCMDQ, by global index.
    pub queues: Vec<QueueMetrics>,
    /// Interrupt edges sent.
    pub edges: u64,
    /// Interrupt edges that VINTF_INT_MASK held back.
    pub edges_masked: u64,
    /// Undefined things that software did.
    pub lints: u64,
    /// Errors by CONS.ERR code.
    pub errors: BTreeMap<u8, u64>,
    /// Queues that could not be initialised.
    pub init_errors: u64,
    /// Edges lost to an injected fault.
    pub edges_lost: u64,
}

/// Counters of one VCMDQ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct QueueMetrics {
    /// PROD writes.
    pub doorbells: u64,
    /// Commands consumed.
    pub commands: u64,
    /// CMD_SYNCs among them.
    pub syncs: u64,
    /// Reads of the ring.
    pub fetches: u64,
    /// Bytes read from the ring.
    pub fetched_bytes: u64,
    /// Commands that stopped the queue.
    pub errors: u64,
    /// VMIDs replaced.
    pub vmids_replaced: u64,
    /// StreamIDs replaced.
    pub sids_replaced: u64,
    /// CONS writes to memory.
    pub write_backs: u64,
    /// Most entries between CONS and PROD at a PROD write.
    pub occupancy_max: u64,
}

impl Metrics {
    pub(super) fn new(queues: usize) -> Self {
        Self { queues: vec![QueueMetrics::default(); queues], ..Self::default() }
    }

    /// Every counter with its name: sums over queues first, then queues that were used.
    pub fn rows(&self) -> Vec<(String, u64)> {
        let mut sum = QueueMetrics::default();
        for q in &self.queues {
            sum.add(q);
        }
        let mut rows: Vec<_> = sum.rows().map(|(name, value)| (name.to_owned(), value)).into();
        rows.extend([
            ("edges".to_owned(), self.edges),
            ("edges_masked".to_owned(), self.edges_masked),
            ("edges_lost".to_owned(), self.edges_lost),
            ("lints".to_owned(), self.lints),
            ("init_errors".to_owned(), self.init_errors),
        ]);
        rows.extend(self.errors.iter().map(|(code, n)| (format!("errors_code{code}"), *n)));
        for (q, metrics) in self.queues.iter().enumerate().filter(|(_, m)| **m != QueueMetrics::default()) {
            rows.extend(metrics.rows().map(|(name, value)| (format!("vcmdq{q}.{name}"), value)));
        }
        rows
    }
}

impl QueueMetrics {
    fn add(&mut self, other: &Self) {
        let Self {
            doorbells,
            commands,
            syncs,
            fetches,
            fetched_bytes,
            errors,
            vmids_replaced,
            sids_replaced,
            write_backs,
            occupancy_max,
        } = other;
        self.doorbells += doorbells;
        self.commands += commands;
        self.syncs += syncs;
        self.fetches += fetches;
        self.fetched_bytes += fetched_bytes;
        self.errors += errors;
        self.vmids_replaced += vmids_replaced;
        self.sids_replaced += sids_replaced;
        self.write_backs += write_backs;
        self.occupancy_max = self.occupancy_max.max(*occupancy_max);
    }

    fn rows(&self) -> [(&'static str, u64); 10] {
        [
            ("doorbells", self.doorbells),
            ("commands", self.commands),
            ("syncs", self.syncs),
            ("fetches", self.fetches),
            ("fetched_bytes", self.fetched_bytes),
            ("errors", self.errors),
            ("vmids_replaced", self.vmids_replaced),
            ("sids_replaced", self.sids_replaced),
            ("write_backs", self.write_backs),
            ("occupancy_max", self.occupancy_max),
        ]
    }
}

//! What a pSMMU counts.

use std::collections::BTreeMap;

use sim::Time;
use sim::stats::Latency;
use spec::smmu::Opcode;

use super::Psmmu;
use crate::cmdqv::Cmdqv;
use crate::smmu::caches::{CacheStats, Hits};
use crate::smmu::event_queue::Verdict;
use crate::smmu::ports::{Port, Ports};

/// Counters and latencies since reset.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    /// Commands executed, by opcode.
    pub commands: BTreeMap<u8, u64>,
    /// Commands executed, by queue: 0 the SMMU's own, 1 and up the VCMDQs, then the enhanced command queues.
    pub by_queue: Vec<u64>,
    ports: Ports,
    /// Reads of queue entries.
    pub command_fetches: u64,
    /// Times that a queue stopped.
    pub command_errors: u64,
    /// CMD_SYNCs that the arbiter inserted.
    pub inserted_syncs: u64,
    /// From the issue of a CMD_SYNC until CONS passes it.
    pub sync_latency: Latency,
    pub(super) syncs_started: BTreeMap<usize, Time>,
    /// Wake-up events: of CMD_SYNC (SIG_SEV), and of enhanced command queues that have room again.
    pub wake_events: u64,
    /// Invalidations that a fault of the environment or an erratum swallowed.
    pub invalidations_dropped: u64,
    /// Cache entries that invalidations removed.
    pub entries_removed: u64,
    /// ATC invalidations without answer.
    pub atc_timeouts: u64,
    /// Event records committed.
    pub events: u64,
    /// Event records dropped because the queue was full.
    pub events_overflowed: u64,
    /// Event records dropped because the queue was off or had failed.
    pub events_discarded: u64,
    /// Event records lost by an abort or a fault of the environment.
    pub events_lost: u64,
    /// Page requests committed.
    pub page_requests: u64,
    /// Page requests dropped because the PRI queue was full, or stood still after an overflow.
    pub page_requests_overflowed: u64,
    /// Page requests dropped because the PRI queue was off or had failed.
    pub page_requests_discarded: u64,
    /// Page requests lost by an abort.
    pub page_requests_lost: u64,
    /// Answers to page requests by CMD_PRI_RESP.
    pub page_responses: u64,
    /// Answers to page requests by the SMMU itself.
    pub automatic_page_responses: u64,
    /// Global errors that became active.
    pub global_errors: u64,
    /// Interrupts sent.
    pub interrupts: u64,
    /// Interrupts that a fault of the environment swallowed.
    pub interrupts_lost: u64,
    /// Register reads.
    pub register_reads: u64,
    /// Register writes.
    pub register_writes: u64,
    /// Transactions of endpoints.
    pub dmas: u64,
    /// Of these, ATS translation requests.
    pub ats_requests: u64,
    /// Translations that went beyond the TLBs.
    pub misses: u64,
    /// Misses that waited for another of the same page.
    pub merged_misses: u64,
    /// Memory reads of walks and structures.
    pub walk_reads: u64,
    /// Descriptors whose Access flag or dirty state was changed.
    pub walk_updates: u64,
    /// Walks that waited for a walk slot.
    pub walk_slots_full: u64,
    /// Times that transactions were left waiting because every translation slot was in use.
    pub slots_full: u64,
    /// Stalled transactions recorded.
    pub stalls: u64,
    /// From the arrival of a transaction until memory has answered.
    pub dma_latency: Latency,
    /// From the arrival of a transaction that missed until it was translated.
    pub miss_latency: Latency,
}

impl Metrics {
    pub(crate) fn new(ports: Ports) -> Self {
        Self { by_queue: vec![0; ports.count()], ports, ..Self::default() }
    }
    pub(crate) fn count_command(&mut self, port: usize, op: Opcode) {
        *self.commands.entry(op.0).or_default() += 1;
        self.by_queue[port] += 1;
    }
    /// What became of a record.
    pub(crate) fn count_event(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Committed => &mut self.events,
            Verdict::Overflowed => &mut self.events_overflowed,
            Verdict::Discarded => &mut self.events_discarded,
        } += 1;
    }

    /// What became of a page request.
    pub(crate) fn count_page_request(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Committed => &mut self.page_requests,
            Verdict::Overflowed => &mut self.page_requests_overflowed,
            Verdict::Discarded => &mut self.page_requests_discarded,
        } += 1;
    }
    /// An answer to page requests.
    pub(crate) fn count_page_response(&mut self, automatic: bool) {
        *if automatic { &mut self.automatic_page_responses } else { &mut self.page_responses } += 1;
    }

    /// Everything counted, by name: latencies (in picoseconds) if there is time, queues only if they had commands,
    /// updates of descriptors and what concerns page requests only if there were any.
    pub(crate) fn rows(&self, caches: &CacheStats, cmdqv: Option<&Cmdqv>, timed: bool) -> Vec<(String, u64)> {
        let m = self;
        let mut rows: Vec<(String, u64)> = Vec::new();
        let mut row = |name: &str, value: u64| rows.push((name.to_owned(), value));
        for (op, n) in &m.commands {
            row(&format!("commands.{}", Opcode(*op)), *n);
        }
        for (port, n) in m.by_queue.iter().enumerate().filter(|(_, n)| **n > 0) {
            match m.ports.of(port) {
                Port::Main => row("queue.main.commands", *n),
                Port::Vcmdq(queue) => row(&format!("queue.vcmdq{queue}.commands"), *n),
                Port::Ecmdq(queue) => row(&format!("queue.ecmdq{queue}.commands"), *n),
            }
        }
        for (name, value) in [
            ("command_fetches", m.command_fetches),
            ("command_errors", m.command_errors),
            ("inserted_syncs", m.inserted_syncs),
            ("wake_events", m.wake_events),
            ("invalidations_dropped", m.invalidations_dropped),
            ("entries_removed", m.entries_removed),
            ("atc_timeouts", m.atc_timeouts),
            ("events", m.events),
            ("events_overflowed", m.events_overflowed),
            ("events_discarded", m.events_discarded),
            ("events_lost", m.events_lost),
            ("global_errors", m.global_errors),
            ("interrupts", m.interrupts),
            ("interrupts_lost", m.interrupts_lost),
            ("register_reads", m.register_reads),
            ("register_writes", m.register_writes),
            ("dmas", m.dmas),
            ("ats_requests", m.ats_requests),
            ("misses", m.misses),
            ("merged_misses", m.merged_misses),
            ("walk_reads", m.walk_reads),
            ("walk_slots_full", m.walk_slots_full),
            ("slots_full", m.slots_full),
            ("stalls", m.stalls),
        ] {
            row(name, value);
        }
        for (name, value) in [
            ("walk_updates", m.walk_updates),
            ("page_requests", m.page_requests),
            ("page_requests_overflowed", m.page_requests_overflowed),
            ("page_requests_discarded", m.page_requests_discarded),
            ("page_requests_lost", m.page_requests_lost),
            ("page_responses", m.page_responses),
            ("automatic_page_responses", m.automatic_page_responses),
        ] {
            if value > 0 {
                row(name, value);
            }
        }
        let stats = caches;
        let mut hits = |name: &str, hits: Hits| {
            row(&format!("{name}.lookups"), hits.lookups);
            row(&format!("{name}.hits"), hits.hits);
        };
        hits("micro_tlb", stats.micro);
        hits("main_tlb", stats.main);
        hits("ipa_cache", stats.ipa);
        hits("ste_cache", stats.streams);
        hits("cd_cache", stats.contexts);
        for (stage, levels) in stats.walk.iter().enumerate() {
            for (level, counted) in levels.iter().enumerate() {
                hits(&format!("walk_cache.s{}l{level}", stage + 1), *counted);
            }
        }
        let latencies = [
            ("sync_latency", &m.sync_latency),
            ("dma_latency", &m.dma_latency),
            ("miss_latency", &m.miss_latency),
        ];
        for (name, latency) in latencies.into_iter().filter(|_| timed) {
            for (suffix, value) in [
                ("count", latency.count()),
                ("mean_ps", latency.mean().as_ps()),
                ("p50_ps", latency.quantile(0.5).as_ps()),
                ("p99_ps", latency.quantile(0.99).as_ps()),
                ("max_ps", latency.max().as_ps()),
            ] {
                row(&format!("{name}.{suffix}"), value);
            }
        }
        if let Some(cmdqv) = cmdqv {
            rows.extend(
                cmdqv.metrics().rows().into_iter().map(|(name, value)| (format!("cmdqv.{name}"), value)),
            );
        }
        rows
    }
}

impl Psmmu {
    /// Counters and latencies.
    pub fn counters(&self) -> &Metrics {
        &self.metrics
    }

    /// Everything counted, by name. Latencies are in picoseconds; queues without commands are left out.
    pub fn metrics(&self) -> Vec<(String, u64)> {
        let mut rows = self.metrics.rows(&self.caches.stats, self.cmdqv.as_ref(), true);
        rows.extend(self.pmcg_rows());
        rows
    }

    /// What the counters of the performance monitors hold, by name.
    pub(crate) fn pmcg_rows(&self) -> Vec<(String, u64)> {
        self.monitors.as_ref().map(|m| m.groups.rows()).unwrap_or_default()
    }
}

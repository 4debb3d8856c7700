//! What a pSMMU charges, and how much of it works at once. One row a number, each with unit and source.
//! Memory, the fabric and endpoints charge their own latencies.

use sim::{Clock, Time};
use spec::smmu::CommandError;

use crate::smmu::Unit;
use crate::smmu::engine::Work;

/// Latencies, widths and slot counts of one pSMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PsmmuTiming {
    /// Clock of the block; the unit of the CMDQV's batch limit. Source: engineering estimate.
    pub clock: Clock,
    /// From a register access until its answer leaves. Source: engineering estimate, a register file behind a bridge.
    pub register: Time,
    /// From a write of CR0, IRQ_CTRL or GBPA until it has taken effect, if nothing has to drain.
    /// Source: engineering estimate, one round through all TBUs.
    pub update: Time,
    /// From a CONFIG write of the CMDQV until STATUS may follow. Source: engineering estimate.
    pub cmdqv_update: Time,

    /// From a PROD write, or room in the prefetch buffer, until the read of queue entries leaves.
    /// Source: engineering estimate.
    pub fetch: Time,
    /// A command that asks for nothing, or an illegal one. Source: engineering estimate, decode only.
    pub decode: Time,
    /// Invalidation of configuration caches. Source: engineering estimate, one message to the TBUs as for a TLBI.
    pub cfgi: Time,
    /// Invalidation of TLBs and walk caches, one at a time in the whole SMMU.
    /// Source: slope of published dma_map_benchmark results, 73 ns per TLBI for 1 and for 10 threads.
    pub tlbi: Time,
    /// Sending an ATC invalidation. Source: engineering estimate.
    pub atc_inv: Time,
    /// What the CMDQV takes to check and rewrite a command, before it is executed. Source: none; presets have estimates.
    pub admission: Time,
    /// What it takes to turn from one queue to another. Source: none; presets have estimates.
    pub switch: Time,
    /// Issue of a CMD_SYNC. Source: engineering estimate.
    pub sync_issue: Time,
    /// From the end of all that a CMD_SYNC waits for until CONS passes it: a synchronisation message to the TBUs and back.
    /// Source: engineering estimate that gives 190 ns for a whole CMD_SYNC on an empty queue (published, Kunpeng 920)
    /// together with the fetch from memory and a register read.
    pub sync_round: Time,
    /// No answer to an ATC invalidation for this long is a timeout. Source: PCIe, 1 minute.
    pub atc_timeout: Time,
    /// From the cause of an interrupt until its message or edge leaves. Source: engineering estimate.
    pub interrupt: Time,
    /// From the commit of an event record or page request until its write leaves. Source: engineering estimate.
    pub event: Time,

    /// The TBU accepts one transaction in this time. Source: MMU-600, one lookup a cycle.
    pub accept: Time,
    /// Micro TLB lookup. Source: gem5 SMMUv3, 1 cycle.
    pub micro_tlb: Time,
    /// Main TLB lookup. Source: gem5 SMMUv3, 3 cycles.
    pub main_tlb: Time,
    /// Configuration cache lookup. Source: gem5 SMMUv3, 3 cycles.
    pub config_cache: Time,
    /// Lookup of stage-2 translations inside nested walks. Source: gem5 SMMUv3, 3 cycles.
    pub ipa_cache: Time,
    /// Walk cache lookup, each. Source: gem5 SMMUv3, 4 cycles.
    pub walk_cache: Time,
    /// Between TBU and walker and back, once per translation that misses the TLBs. Source: gem5 SMMUv3, 8 + 8 cycles.
    pub link: Time,
    /// What the walker does around each memory read. Source: gem5 SMMUv3, 2 cycles.
    pub walk_step: Time,
    /// From a finished translation until its access leaves. Source: gem5 SMMUv3, 1 cycle.
    pub forward: Time,
    /// From the answer of memory until the completion leaves. Source: engineering estimate.
    pub complete: Time,

    /// Translations that miss and may be under way at once; when all are, new transactions wait.
    /// Source: published MMU-600 build, 64.
    pub translation_slots: usize,
    /// Walks that may read memory at once. Source: gem5 SMMUv3, 16.
    pub walk_slots: usize,
}

impl Default for PsmmuTiming {
    /// A server-class SMMU at 1 GHz.
    fn default() -> Self {
        Self {
            clock: Clock::mhz(1_000),
            register: Time::ns(10),
            update: Time::ns(100),
            cmdqv_update: Time::ns(100),
            fetch: Time::ns(5),
            decode: Time::ns(4),
            cfgi: Time::ns(73),
            tlbi: Time::ns(73),
            atc_inv: Time::ns(10),
            admission: Time::ZERO,
            switch: Time::ZERO,
            sync_issue: Time::ns(4),
            sync_round: Time::ns(40),
            atc_timeout: Time::ms(60_000),
            interrupt: Time::ns(5),
            event: Time::ns(5),
            accept: Time::ns(1),
            micro_tlb: Time::ns(1),
            main_tlb: Time::ns(3),
            config_cache: Time::ns(3),
            ipa_cache: Time::ns(3),
            walk_cache: Time::ns(4),
            link: Time::ns(16),
            walk_step: Time::ns(2),
            forward: Time::ns(1),
            complete: Time::ns(2),
            translation_slots: 64,
            walk_slots: 16,
        }
    }
}

impl PsmmuTiming {
    /// How long a structure takes to ask.
    pub fn lookup(&self, unit: Unit) -> Time {
        match unit {
            Unit::MicroTlb => self.micro_tlb,
            Unit::MainTlb => self.main_tlb,
            Unit::ConfigCache => self.config_cache,
            Unit::IpaCache => self.ipa_cache,
            Unit::WalkCache { .. } => self.walk_cache,
        }
    }
    /// How long a command keeps the engine busy.
    pub fn command(&self, work: &Result<Work, CommandError>) -> Time {
        match work {
            Err(_)
            | Ok(Work::Nothing | Work::RespondToPage(_) | Work::Resume { .. } | Work::StallTerm { .. }) => {
                self.decode
            }
            Ok(Work::InvalidateConfig(_)) => self.cfgi,
            Ok(Work::InvalidateTlb(_)) => self.tlbi,
            Ok(Work::InvalidateAtc(_)) => self.atc_inv,
            Ok(Work::Sync(_)) => self.sync_issue,
        }
    }
    /// `time` in whole clocks, rounded up.
    pub fn clocks(&self, time: Time) -> u64 {
        time.as_ps().div_ceil(self.clock.period().as_ps())
    }
}

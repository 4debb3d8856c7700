//! What a transaction does that can be counted, and the events that count it.

use spec::smmu::pmcg::event;

use crate::smmu::caches::{CacheStats, Hits};
use crate::smmu::request::RequestKind;
use crate::smmu::step::Step;
use crate::smmu::translation::Translation;

/// What has been counted of a transaction that is counted once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    arrived: bool,
    missed: bool,
    walked: bool,
    configured: bool,
}

/// What a transaction, or several of one stream, did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Transactions that arrived, ATS translated ones included.
    pub transactions: u64,
    /// Of these, ATS translated ones.
    pub translated: u64,
    /// ATS translation requests that arrived.
    pub ats_requests: u64,
    /// Transactions that the TLBs did not serve.
    pub misses: u64,
    /// Transactions and requests that read a translation table.
    pub walks: u64,
    /// Transactions and requests that read a configuration structure.
    pub configurations: u64,
    /// Accesses to translation tables, updates included.
    pub table_accesses: u64,
    /// Accesses to configuration structures.
    pub structure_accesses: u64,
    /// Lookups in caches.
    pub lookups: CacheStats,
}

/// Sets a flag; 1 if it was not set.
fn first(flag: &mut bool) -> u64 {
    u64::from(!std::mem::replace(flag, true))
}

impl Seen {
    /// What is new with this step of the transaction's translation; without lookups.
    pub fn step(&mut self, translation: &Translation, step: &Step) -> Deeds {
        let kind = translation.request().kind;
        let request = matches!(kind, RequestKind::AtsRequest { .. });
        let transaction = matches!(kind, RequestKind::Ordinary | RequestKind::AtsTranslated);
        // What software asks and what only looks for an STE is no transaction: of it the accesses count alone.
        let counted = transaction || request;
        let mut deeds = Deeds::default();
        if first(&mut self.arrived) > 0 {
            deeds.ats_requests = u64::from(request);
            deeds.transactions = u64::from(transaction);
            deeds.translated = u64::from(kind == RequestKind::AtsTranslated);
        }
        if step.is_beyond_tlbs() && first(&mut self.missed) > 0 {
            deeds.misses = u64::from(transaction);
        }
        match step {
            Step::Read { .. } if translation.reads_configuration() => {
                deeds.structure_accesses = 1;
                deeds.configurations = u64::from(counted) * first(&mut self.configured);
            }
            Step::Read { .. } | Step::CompareSwap { .. } => {
                deeds.table_accesses = 1;
                deeds.walks = u64::from(counted) * first(&mut self.walked);
            }
            Step::Lookup(_) | Step::Done(_) => {}
        }
        deeds
    }
}

impl Deeds {
    /// How often an event happened in the TCU. The numbers above 0x7f are the MMU-700's (its manual, 2.2.2.2), as far as the
    /// caches are alike.
    pub(super) fn in_tcu(&self, number: u16) -> u64 {
        match number {
            event::TRANSACTION => self.misses + self.ats_requests,
            event::TLB_MISS => self.walks,
            event::CONFIG_CACHE_MISS => self.configurations,
            event::TABLE_WALK_ACCESS => self.table_accesses,
            event::CONFIG_STRUCT_ACCESS => self.structure_accesses,
            event::ATS_REQUEST => self.ats_requests,
            0x80..=0x85 => counted(&self.lookups.walk[0][usize::from(number - 0x80) / 2], number),
            0x88..=0x8d => counted(&self.lookups.walk[1][usize::from(number - 0x88) / 2], number),
            0x92 => self.lookups.streams.lookups + self.lookups.contexts.lookups,
            0x94 => misses(&self.lookups.streams) + misses(&self.lookups.contexts),
            _ => 0,
        }
    }

    /// How often an event happened in the TBU. The numbers above 0x7f are the MMU-700's (its manual, 2.2.2.3).
    pub(super) fn in_tbu(&self, number: u16) -> u64 {
        match number {
            event::TRANSACTION => self.transactions,
            event::TLB_MISS => self.misses,
            event::ATS_TRANSLATED => self.translated,
            0x80 => self.lookups.main.lookups,
            0x81 => misses(&self.lookups.main),
            0x83 => self.lookups.micro.lookups,
            0x84 => misses(&self.lookups.micro),
            _ => 0,
        }
    }
}

/// Even events are lookups, odd ones misses.
fn counted(hits: &Hits, number: u16) -> u64 {
    if number.is_multiple_of(2) { hits.lookups } else { misses(hits) }
}

const fn misses(hits: &Hits) -> u64 {
    hits.lookups - hits.hits
}

//! The Stream table in memory: linear, or two levels of which the second is made on demand.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use spec::smmu::page0::{STRTAB_BASE, STRTAB_BASE_CFG};
use spec::smmu::{L1Std, Ste, ste::config};

use crate::access::Access;
use crate::alloc::Pages;
use crate::errno::Errno;
use crate::pgtable::zero;

/// StreamID bits that the second level resolves.
const SPLIT: u8 = 8;
/// log2 of the most first-level entries.
const L1_MAX: u8 = 17;
const STE: u64 = Ste::BYTES as u64;

/// The Stream table of an SMMU.
#[derive(Debug)]
pub(super) struct StreamTable {
    two_level: bool,
    /// log2 of the number of STEs.
    log2: u8,
    base: u64,
    pages: Pages,
    /// Second-level tables by first-level index.
    second: Mutex<BTreeMap<u32, u64>>,
}

/// An STE that aborts.
pub(super) fn abort() -> Ste {
    Ste::default().with_v(true).with_config(config::ABORT)
}

async fn fill<A: Access>(cpu: &A, base: u64, entries: u64) {
    let abort = abort().to_bytes();
    for i in 0..entries {
        cpu.store(base + i * STE, &abort).await;
    }
    cpu.barrier().await;
}

impl StreamTable {
    pub(super) async fn new<A: Access>(
        cpu: &A,
        sid_bits: u8,
        two_level: bool,
        pages: &Pages,
    ) -> Result<Self, Errno> {
        let log2 = if two_level { sid_bits.min(L1_MAX + SPLIT) } else { sid_bits };
        let base = if two_level {
            let bytes = (L1Std::BYTES as u64) << (log2 - SPLIT);
            let base = pages.alloc(bytes)?;
            zero(cpu, base, bytes).await;
            cpu.barrier().await;
            base
        } else {
            let base = pages.alloc(STE << log2)?;
            fill(cpu, base, 1 << log2).await;
            base
        };
        Ok(Self { two_level, log2, base, pages: pages.clone(), second: Mutex::default() })
    }

    pub(super) fn base(&self) -> STRTAB_BASE {
        STRTAB_BASE(0).with_addr(self.base).with_ra(true)
    }
    pub(super) fn shape(&self) -> STRTAB_BASE_CFG {
        let cfg = STRTAB_BASE_CFG(0).with_log2size(self.log2.into());
        if self.two_level { cfg.with_fmt(1).with_split(SPLIT.into()) } else { cfg }
    }

    /// Where the STE of a stream is, if its second-level table exists.
    pub(super) fn address(&self, sid: u32) -> Option<u64> {
        if u64::from(sid) >> self.log2 != 0 {
            return None;
        }
        if !self.two_level {
            return Some(self.base + u64::from(sid) * STE);
        }
        let second = *self.second.lock().get(&(sid >> SPLIT))?;
        Some(second + u64::from(sid & ((1 << SPLIT) - 1)) * STE)
    }

    /// Where the STE of a stream is; makes the second-level table if need be, and tells whether the first level
    /// changed.
    ///
    /// # Errors
    /// `ERANGE` no such StreamID · `ENOMEM`.
    pub(super) async fn provide<A: Access>(&self, cpu: &A, sid: u32) -> Result<(u64, bool), Errno> {
        if u64::from(sid) >> self.log2 != 0 {
            return Err(Errno::ERANGE);
        }
        if let Some(address) = self.address(sid) {
            return Ok((address, false));
        }
        let bytes = STE << SPLIT;
        let fresh = self.pages.alloc(bytes)?;
        fill(cpu, fresh, 1 << SPLIT).await;
        let first = sid >> SPLIT;
        let second = *self.second.lock().entry(first).or_insert(fresh);
        if second != fresh {
            self.pages.free(fresh, bytes);
        }
        // Whoever was first may not have stored it yet; twice does no harm.
        let l1 = L1Std::default().with_span(u64::from(SPLIT) + 1).with_l2ptr(second);
        cpu.write64(self.base + u64::from(first) * L1Std::BYTES as u64, l1.words()[0]).await;
        cpu.barrier().await;
        Ok((self.address(sid).expect("it was just made"), true))
    }
}

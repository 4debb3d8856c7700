//! GERROR and GERRORN, the error maps, VINTF STATUS, the interrupt edge.

use spec::cmdqv::queue::GERROR;
use spec::smmu::Command;
use spec::smmu::error::CommandError;

use super::knobs::{GerrornDifference, Unmask};
use super::queue::Slot;
use super::{Cmdqv, Effect};
use crate::record::CommandQueue;

/// The bit of a command error.
pub(super) const CMDQ_ERR: u8 = GERROR(0).with_cmdq_err(true).0 as u8;
/// The bit of an aborted CONS write-back.
pub(super) const CONS_DRAM_WR_ABT_ERR: u8 = GERROR(0).with_cons_dram_wr_abt_err(true).0 as u8;
/// The bit of a queue that could not be initialised.
pub(super) const CMDQ_INIT_ERR: u8 = GERROR(0).with_cmdq_init_err(true).0 as u8;

impl Cmdqv {
    /// Makes an error active, unless it is already: then nothing more can be shown, and no edge is sent.
    pub(super) fn raise(&mut self, q: u16, bit: u8, owner: Option<Slot>) {
        let queue = &mut self.queues[usize::from(q)];
        if queue.active() & bit != 0 {
            return;
        }
        queue.gerror ^= bit;
        if !self.config.faults.keep_prefetched {
            queue.drop_prefetched();
        }
        if let Some(owner) = owner {
            self.edge(owner.vintf);
        }
    }

    /// Stops a queue with an error at its head.
    pub(super) fn command_error(&mut self, q: u16, owner: Slot, code: CommandError, raw: Option<Command>) {
        let queue = &mut self.queues[usize::from(q)];
        queue.cons_error = code.0;
        let index = queue.ring.index(queue.cons);
        self.metrics.queues[usize::from(q)].errors += 1;
        *self.metrics.errors.entry(code.0).or_default() += 1;
        let name = CommandQueue::Vcmdq { queue: q, vintf: owner.vintf, logical: owner.logical };
        self.effects.push_back(Effect::Error { queue: name, index, code, raw });
        self.raise(q, CMDQ_ERR, Some(owner));
        self.cons_changed(q);
    }

    /// CONS could not be written to memory.
    pub(super) fn write_back_aborted(&mut self, q: u16) {
        let queue = self.queue(q);
        let owner = queue.served.or(queue.slot);
        self.raise(q, CONS_DRAM_WR_ABT_ERR, owner);
    }

    /// One edge on behalf of a VINTF.
    fn edge(&mut self, v: u8) {
        if self.int_mask >> v & 1 != 0 {
            self.metrics.edges_masked += 1;
            return;
        }
        let nth = self.metrics.edges + self.metrics.edges_lost + 1;
        if self.config.faults.lose_edge_every.is_some_and(|n| nth.is_multiple_of(u64::from(n))) {
            self.metrics.edges_lost += 1;
            return;
        }
        self.metrics.edges += 1;
        self.effects.push_back(Effect::InterruptEdge);
    }

    /// Software writes GERRORN.
    pub(super) fn write_gerrorn(&mut self, q: u16, value: u8) {
        let queue = self.queue(q);
        let (before, wanted) = (queue.active(), queue.gerror ^ value);
        let made = wanted & !before;
        let owner = queue.slot;
        let mut value = value;
        if made != 0 {
            let policy = self.config.knobs.gerrorn_difference;
            self.lint(format!("VCMDQ {q}: GERRORN made to differ from GERROR without an error ({policy:?})"));
            match policy {
                GerrornDifference::Ignore => value ^= made,
                GerrornDifference::Stall => {}
                GerrornDifference::StallWithEdge => {
                    if let Some(owner) = owner {
                        self.edge(owner.vintf);
                    }
                }
            }
        }
        let keep = self.config.faults.keep_prefetched;
        let queue = self.queue_mut(q);
        queue.gerrorn = value;
        if queue.active() != 0 && !keep {
            queue.drop_prefetched();
        }
        if before & CMDQ_ERR != 0 && queue.active() & CMDQ_ERR == 0 && keep {
            queue.forget_abort();
        }
        self.refresh(q);
    }

    /// Software writes half of VINTF_INT_MASK.
    pub(super) fn write_int_mask(&mut self, upper: bool, value: u32) {
        let shift = if upper { 32 } else { 0 };
        let exists = u64::MAX >> (64 - self.vintfs.len());
        let old = self.int_mask;
        self.int_mask = ((old & !(u64::from(u32::MAX) << shift)) | u64::from(value) << shift) & exists;
        if self.config.knobs.unmask == Unmask::Edge {
            let unmasked = old & !self.int_mask;
            for v in (0..self.vintfs.len() as u8).filter(|v| unmasked >> v & 1 != 0) {
                if self.lvcmdq_map(v) != 0 {
                    self.edge(v);
                }
            }
        }
    }

    /// CMDQ_ERR_MAP: queues with an active error, by global index.
    pub(super) fn cmdq_map(&self) -> u128 {
        self.queues.iter().enumerate().filter(|(_, q)| q.active() != 0).fold(0, |map, (q, _)| map | 1 << q)
    }

    /// LVCMDQ_ERR_MAP: queues of a VINTF with an active error, by logical index.
    pub(super) fn lvcmdq_map(&self, v: u8) -> u128 {
        let slots = &self.vintfs[usize::from(v)].slots;
        let active = |q: &Option<u16>| q.is_some_and(|q| self.queue(q).active() != 0);
        slots.iter().enumerate().filter(|(_, q)| active(q)).fold(0, |map, (l, _)| map | 1 << l)
    }

    /// VINTF_ERR_MAP: VINTFs that have a queue with an active error.
    pub(super) fn vintf_map(&self) -> u64 {
        let active = self.queues.iter().filter(|q| q.active() != 0);
        active.filter_map(|q| q.slot).fold(0, |map, slot| map | 1 << slot.vintf)
    }
}

//! The CMDQ_ALLOC table: which VCMDQ is which LVCMDQ of which VINTF.

use super::Cmdqv;
use super::knobs::{AllocationOrder, OnAllocation, OnDeallocation};
use super::queue::{Phase, Slot};

/// One entry as stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Allocation {
    pub(super) allocated: bool,
    pub(super) vintf: u8,
    pub(super) logical: u8,
}

impl Cmdqv {
    /// Software writes CMDQ_ALLOC(q).
    pub(super) fn write_allocation(&mut self, q: u16, new: Allocation) {
        let old = self.allocations[usize::from(q)];
        let moved = (new.vintf, new.logical) != (old.vintf, old.logical);
        if old.allocated && (!new.allocated || moved) && !self.deallocate(q) {
            return;
        }
        // Refused allocations keep ALLOCATED clear, but the numbers read back.
        let allocated = new.allocated && ((old.allocated && !moved) || self.allocate(q, new));
        self.allocations[usize::from(q)] = Allocation { allocated, ..new };
        self.refresh(q);
    }

    /// Maps a queue. Returns false if K5 refuses.
    fn allocate(&mut self, q: u16, entry: Allocation) -> bool {
        let (v, l) = (entry.vintf, entry.logical);
        if usize::from(v) >= self.vintfs.len() || usize::from(l) >= self.queues.len() {
            self.lint(format!(
                "CMDQ_ALLOC({q}) names VINTF {v}, LVCMDQ {l}, which do not exist; nothing is mapped"
            ));
            return true;
        }
        if let Some(other) = self.vintfs[usize::from(v)].slots[usize::from(l)] {
            if !self.queue(other).stale {
                self.lint(format!(
                    "CMDQ_ALLOC({q}) names VINTF {v}, LVCMDQ {l}, which is VCMDQ {other} already; nothing is mapped"
                ));
                return true;
            }
            self.unmap(other);
        }
        let live = |s: &Option<u16>| s.is_some_and(|q| !self.queue(q).stale);
        let (below, above) = self.vintfs[usize::from(v)].slots.split_at(l.into());
        if !below.iter().all(live) || above.iter().any(live) {
            let go = self.out_of_order(v, &format!("VINTF {v}: LVCMDQ {l} allocated out of ascending order"));
            if !go {
                return false;
            }
        }
        self.vintfs[usize::from(v)].slots[usize::from(l)] = Some(q);
        let clear = self.config.knobs.gerror_on_allocation == OnAllocation::Clear;
        let queue = self.queue_mut(q);
        queue.slot = Some(Slot { vintf: v, logical: l });
        if clear {
            (queue.gerror, queue.gerrorn) = (0, 0);
        }
        true
    }

    /// Takes a mapping away. Returns false if K5 refuses.
    fn deallocate(&mut self, q: u16) -> bool {
        // Entries without a mapping (duplicates, bad numbers) have nothing to lose.
        let Some(Slot { vintf: v, logical: l }) = self.queue(q).slot else { return true };
        if !self.queue(q).stale {
            let mut above = self.vintfs[usize::from(v)].slots[usize::from(l) + 1..].iter().flatten();
            if above.any(|&other| !self.queue(other).stale) {
                let go = self
                    .out_of_order(v, &format!("VINTF {v}: LVCMDQ {l} deallocated out of descending order"));
                if !go {
                    return false;
                }
            }
            if self.queue(q).phase != Phase::Off {
                self.lint(format!("VCMDQ {q} deallocated while enabled; it is disabled and hidden"));
            }
        }
        self.unmap(q);
        true
    }

    /// Hides a queue and lets it stop.
    pub(super) fn unmap(&mut self, q: u16) {
        let clear = self.config.knobs.registers_on_deallocation == OnDeallocation::Clear;
        let queue = &mut self.queues[usize::from(q)];
        if let Some(slot) = queue.slot.take() {
            self.vintfs[usize::from(slot.vintf)].slots[usize::from(slot.logical)] = None;
        }
        queue.stale = false;
        queue.clear_when_off |= clear;
        self.refresh(q);
    }

    /// Applies K5. Returns whether the operation is done.
    fn out_of_order(&mut self, v: u8, what: &str) -> bool {
        let policy = self.config.knobs.allocation_order;
        self.lint(format!("{what} ({policy:?})"));
        if policy == AllocationOrder::Hang {
            self.vintfs[usize::from(v)].hung = true;
            self.refresh_vintf(v);
        }
        policy != AllocationOrder::Refuse
    }

    /// The VCMDQ behind a slot of a VINTF's aperture. A disabled block maps nothing.
    pub(super) fn resolve(&self, v: u8, l: u8) -> Option<u16> {
        let slot = *self.vintfs[usize::from(v)].slots.get(usize::from(l))?;
        slot.filter(|_| self.switch.enable)
    }
}

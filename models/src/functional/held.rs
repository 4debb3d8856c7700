//! Invalidations that have been consumed and are not done: what a CMD_SYNC that completes too early leaves behind.
//!
//! Here every command is over when it is consumed, so that a CMD_SYNC has nothing to wait for. While some CMD_SYNC may
//! complete too early ([`PsmmuFaults::early_sync`](crate::psmmu::PsmmuFaults)), invalidations are held back until the next one
//! of software in their queue: a good one has them done and completes then; a bad one completes, and they are done when the
//! next command of any queue is taken. The same batch once more does not count as that, because drivers for silicon with
//! [an erratum](crate::cmdqv::knobs::RepeatInvalidations) send each batch twice.

use super::{FunctionalSmmu, Surroundings};
use crate::psmmu::{Which, is_off};
use crate::smmu::engine::Work;

/// Most that are held back: a guest that never sends a CMD_SYNC must not fill memory.
const HELD_MAX: usize = 1 << 12;

#[derive(Clone, Copy, Debug)]
struct Waiting {
    port: usize,
    /// An invalidation.
    work: Work,
    /// The CMD_SYNC behind it has completed.
    overtaken: bool,
}

/// What is held back, oldest first.
#[derive(Debug, Default)]
pub(super) struct Held(Vec<Waiting>);

impl Held {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// Holds an invalidation back.
    pub(super) fn put(&mut self, port: usize, work: Work) {
        self.0.push(Waiting { port, work, overtaken: false });
    }
    /// A CMD_SYNC of this queue completes nevertheless.
    pub(super) fn overtake(&mut self, port: usize) {
        self.0.iter_mut().filter(|w| w.port == port).for_each(|w| w.overtaken = true);
    }
    /// Whether a command of this queue belongs to the batch that was overtaken last, sent once more.
    fn repeats(&self, port: usize, work: &Work) -> bool {
        let same = |w: &Waiting| w.overtaken && w.port == port && w.work == *work;
        matches!(work, Work::Sync(_)) || self.0.iter().any(same)
    }
}

impl FunctionalSmmu {
    /// Whether an invalidation waits for its CMD_SYNC.
    #[inline]
    pub(super) fn holds_back(&self) -> bool {
        self.config.faults.early_sync != Which::Never && self.held.0.len() < HELD_MAX
    }

    /// The next command has been taken: does what has been overtaken, and everything once the fault is gone.
    pub(super) fn catch_up(&mut self, port: usize, work: &Work, around: &mut impl Surroundings) {
        let all = self.config.faults.early_sync == Which::Never;
        if all || !self.held.repeats(port, work) {
            let due: Vec<_> = self.held.0.extract_if(.., |w| all || w.overtaken).collect();
            self.do_held(&due, around);
        }
    }

    /// Does what a good CMD_SYNC of this queue waits for.
    pub(super) fn release(&mut self, port: usize, around: &mut impl Surroundings) {
        let (cmdqv, ports) = (self.cmdqv.as_ref(), self.ports);
        let waits_for = |of: usize| of == port || (port == 0 && is_off(cmdqv, ports, of));
        let due: Vec<_> = self.held.0.extract_if(.., |w| waits_for(w.port)).collect();
        self.do_held(&due, around);
    }

    fn do_held(&mut self, due: &[Waiting], around: &mut impl Surroundings) {
        for &Waiting { port, work, .. } in due {
            match work {
                Work::InvalidateConfig(scope) | Work::InvalidateTlb(scope) => self.remove_entries(&scope),
                Work::InvalidateAtc(invalidate) => self.ask_endpoint(port, invalidate, around),
                other => unreachable!("{other:?} is not held back"),
            }
        }
    }
}

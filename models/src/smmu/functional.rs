//! Drives a translation without time: every lookup is over at once, every access to memory is answered at once.

use crate::bus::{Abort, Data, PhysAddr};

use super::attributes::Attributes;
use super::caches::{CacheStats, Caches};
use super::control::Control;
use super::request::Request;
use super::step::{Input, Outcome, Step};
use super::translation::{Front, Translation};

/// Where structures and tables are. A closure that reads is such a memory, in which nothing can be updated.
pub trait TableMemory {
    /// Reads 8 or 64 bytes, aligned to as many. `attributes` says how, to who wants to know.
    ///
    /// # Errors
    /// Nothing answers there.
    fn read(
        &mut self,
        addr: PhysAddr,
        len: usize,
        attributes: impl FnOnce() -> Attributes,
    ) -> Result<Data, Abort>;
    /// Reads eight bytes, aligned to as many, as a little-endian word.
    ///
    /// # Errors
    /// Nothing answers there.
    fn word(&mut self, addr: PhysAddr, attributes: impl FnOnce() -> Attributes) -> Result<u64, Abort> {
        self.read(addr, 8, attributes).map(|data| data.value())
    }
    /// Replaces the word at `addr` by `new` in a single atomic access if it is `expected`; returns what it was.
    ///
    /// # Errors
    /// Nothing answers there, or that is not possible there.
    fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort>;
}

impl<F: FnMut(PhysAddr, usize) -> Result<Data, Abort>> TableMemory for F {
    fn read(&mut self, addr: PhysAddr, len: usize, _: impl FnOnce() -> Attributes) -> Result<Data, Abort> {
        self(addr, len)
    }
    fn compare_swap(&mut self, _: PhysAddr, _: u64, _: u64) -> Result<u64, Abort> {
        Err(Abort)
    }
}

/// Translates a request that has just arrived, and says whether it went beyond the TLBs.
#[inline]
pub fn translate_at_once(
    request: &Request,
    control: &Control,
    caches: &mut Caches,
    memory: impl TableMemory,
) -> (Outcome, bool) {
    match translate_in_micro(request, control, caches) {
        Some(outcome) => (outcome, false),
        None => translate_after_micro(request, control, caches, memory),
    }
}

/// What the micro TLB knows about a request that has just arrived. Otherwise [`translate_after_micro`] is to go on.
#[inline]
pub fn translate_in_micro(request: &Request, control: &Control, caches: &mut Caches) -> Option<Outcome> {
    Translation::in_micro(request, control, caches)
}

/// Translates a request of which [`translate_in_micro`] does not know the outcome, and says whether it went beyond the TLBs.
pub fn translate_after_micro(
    request: &Request,
    control: &Control,
    caches: &mut Caches,
    memory: impl TableMemory,
) -> (Outcome, bool) {
    let Caches { config, main, micro, stats, .. } = caches;
    let (mut translation, step);
    if let Some(front) = Front::new(request, control, config) {
        if let Some(outcome) = front.in_main(main, micro, stats) {
            return (outcome, false);
        }
        translation = front.beyond();
        step = translation.beyond_main(caches);
    } else {
        translation = Translation::after_micro(request, control);
        step = translation.go(control, caches);
    }
    carry(&mut translation, step, control, caches, memory)
}

/// Carries a translation to its end.
pub fn translate_now(
    translation: &mut Translation,
    control: &Control,
    caches: &mut Caches,
    memory: impl TableMemory,
) -> Outcome {
    let step = translation.go(control, caches);
    carry(translation, step, control, caches, memory).0
}

/// As [`translate_at_once`], with somebody who looks at every step and at the lookups so far.
pub fn translate_observed(
    request: Request,
    control: &Control,
    caches: &mut Caches,
    mut memory: impl TableMemory,
    mut observe: impl FnMut(&Translation, &Step, &CacheStats),
) -> (Outcome, bool) {
    let mut translation = Translation::new(request);
    let (mut input, mut missed) = (Input::Go, false);
    loop {
        let step = translation.resume(control, caches, input);
        observe(&translation, &step, &caches.stats);
        missed |= step.is_beyond_tlbs();
        input = match step {
            Step::Lookup(_) => Input::Go,
            Step::Read { addr, len } => {
                let attributes = || translation.fetch_attributes(control);
                Input::Data(memory.read(addr, len.into(), attributes))
            }
            Step::CompareSwap { addr, expected, new } => {
                Input::Data(memory.compare_swap(addr, expected, new).map(Data::u64))
            }
            Step::Done(outcome) => return (outcome, missed),
        };
    }
}

// Apart, so that hits are short.
#[inline(never)]
fn carry(
    translation: &mut Translation,
    mut step: Step,
    control: &Control,
    caches: &mut Caches,
    mut memory: impl TableMemory,
) -> (Outcome, bool) {
    let mut missed = false;
    loop {
        missed |= step.is_beyond_tlbs();
        step = match step {
            Step::Read { addr, len: 8 } => {
                let word = memory.word(addr, || translation.fetch_attributes(control));
                let word = translation.follow(control, caches, word, |translation, addr| {
                    memory.word(addr, || translation.fetch_attributes(control))
                });
                translation.word(control, caches, word)
            }
            Step::Lookup(_) => translation.go(control, caches),
            Step::Read { addr, len } => {
                let data = memory.read(addr, len.into(), || translation.fetch_attributes(control));
                translation.structure(control, caches, &data)
            }
            Step::CompareSwap { addr, expected, new } => {
                translation.word(control, caches, memory.compare_swap(addr, expected, new))
            }
            Step::Done(outcome) => {
                translation.ended();
                return (outcome, missed | translation.missed());
            }
        };
    }
}

//! Drives a translation without time: every lookup is over at once, every read is answered at once.

use crate::bus::{Abort, Data, PhysAddr};

use super::caches::Caches;
use super::control::Control;
use super::request::Request;
use super::step::{Input, Outcome, Step};
use super::translation::Translation;

/// Translates a request that has just arrived, and says whether it went beyond the TLBs. `read` as for [`translate_now`].
pub fn translate_at_once(
    request: Request,
    control: &Control,
    caches: &mut Caches,
    read: impl FnMut(PhysAddr, usize) -> Result<Data, Abort>,
) -> (Outcome, bool) {
    let mut rest = None;
    match (Translation::begun(request, control, caches, &mut rest), &mut rest) {
        (Some(outcome), _) => (outcome, false),
        (None, Some(translation)) => carry(translation, control, caches, read),
        (None, None) => unreachable!("without an outcome there is a translation"),
    }
}

/// Carries a translation to its end. `read` answers reads of 8 or 64 bytes with exactly as many.
pub fn translate_now(
    translation: &mut Translation,
    control: &Control,
    caches: &mut Caches,
    read: impl FnMut(PhysAddr, usize) -> Result<Data, Abort>,
) -> Outcome {
    carry(translation, control, caches, read).0
}

fn carry(
    translation: &mut Translation,
    control: &Control,
    caches: &mut Caches,
    mut read: impl FnMut(PhysAddr, usize) -> Result<Data, Abort>,
) -> (Outcome, bool) {
    let (mut input, mut missed) = (Input::Go, false);
    loop {
        let step = translation.resume(control, caches, input);
        missed |= step.is_beyond_tlbs();
        input = match step {
            Step::Lookup(_) => Input::Go,
            Step::Read { addr, len } => Input::Data(read(addr, len.into())),
            Step::Done(outcome) => return (outcome, missed),
        };
    }
}

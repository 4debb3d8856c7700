//! Drives a translation without time: every lookup is over at once, every read is answered at once.

use crate::bus::{Abort, Data, PhysAddr};

use super::caches::Caches;
use super::control::Control;
use super::request::Request;
use super::step::{Input, Outcome, Step};
use super::translation::Translation;

/// Translates a request that has just arrived. `read` as for [`translate_now`].
pub fn translate_at_once(
    request: Request,
    control: &Control,
    caches: &mut Caches,
    read: impl FnMut(PhysAddr, usize) -> Result<Data, Abort>,
) -> Outcome {
    let mut rest = None;
    match (Translation::begun(request, control, caches, &mut rest), &mut rest) {
        (Some(outcome), _) => outcome,
        (None, Some(translation)) => translate_now(translation, control, caches, read),
        (None, None) => unreachable!("without an outcome there is a translation"),
    }
}

/// Carries a translation to its end. `read` answers reads of 8 or 64 bytes with exactly as many.
pub fn translate_now(
    translation: &mut Translation,
    control: &Control,
    caches: &mut Caches,
    mut read: impl FnMut(PhysAddr, usize) -> Result<Data, Abort>,
) -> Outcome {
    let mut input = Input::Go;
    loop {
        input = match translation.resume(control, caches, input) {
            Step::Lookup(_) => Input::Go,
            Step::Read { addr, len } => Input::Data(read(addr, len.into())),
            Step::Done(outcome) => return outcome,
        };
    }
}

//! The untimed reference that judges every run. Shares the layouts in crate spec with the models and nothing else.
//!
//! It is told what happened ([`Witness`]) and keeps its own memory, with history. For every transaction it works out
//! which outcomes the architecture allows at that moment:
//!
//! ```text
//! what the tables say now                              the usual case: one walk, done
//! what they said since, for each word they consist of, legal: a race, or an invalidation not complete
//!   the last completed invalidation that covers it
//! what they ever said                                  stale use
//! anything else                                        isolation breach
//! ```
//!
//! It may also look at a memory that changes without a word ([`Source`], [`Oracle::watching`]): then it knows what the
//! tables said whenever it looked.
//!
//! An invalidation counts from when its owner hands it over until, and only if, a later CMD_SYNC of the same queue is
//! consumed. A guest's queue promises to act on every device behind its virtual SMMU, whichever SMMU that is: an
//! invalidation that went to too few of them shows as a stale use on those that were left out.
//!
//! Where invalidations must be issued twice ([`witness::Smmu::repeats`]), one counts as complete after the second issue if there is
//! one. Until that is known, what depends on it is held back.
#![forbid(unsafe_code)]

mod check;
mod events;
mod finding;
mod invalidation;
mod memory;
mod oracle;
mod past;
mod ranges;
mod repetition;
mod source;
mod story;
#[cfg(test)]
mod test;
mod walk;
pub mod witness;

pub use finding::{Finding, Kind};
pub use oracle::{Config, Counters, Oracle};
pub use source::Source;
pub use witness::{Access, Dma, Fact, Platform, Queue, Registers, Saying, Witness};

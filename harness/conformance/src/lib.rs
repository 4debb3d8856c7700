//! What the architecture asks of a device, as rows that run against the models: given this, when that happens, then this must be
//! seen. From outside only, through registers, memory, interrupts and DMA.
//!
//! ```text
//!   smmuv3::SUITE -- groups of rows --> suite::run --> report: text, JSON, docs/conformance-*.md
//!   cmdqv::SUITE  --                        |
//!                                          |
//!                row: fn(&mut Rig) --> Rig: queues, tables, DMA, checks --> Machine: functional | cycle-level
//!                                                                             World: memory, wires, ATCs
//! ```
//! *Invariant:* a row does not know which machine it runs on, and looks into neither.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cmdqv;
pub mod fuzz;
#[cfg(test)]
mod lints;
mod machine;
pub mod optional;
pub mod report;
mod rig;
pub mod smmuv3;
pub mod suite;

pub use rig::Rig;
pub use suite::{Basis, Given, Group, Mode, Outcome, Row, Suite, Verdict};

/// Every suite.
pub const SUITES: &[&Suite] = &[&smmuv3::SUITE, &optional::SUITE, &cmdqv::SUITE];

//! Layouts of registers and in-memory structures, declared once. No algorithms.
//!
//! | Module | Holds |
//! |---|---|
//! | [`regs`] | the `registers!` table: offset, access, reset, fields; storage that follows it |
//! | [`mod@layout`] | the `layout!` table for structures in memory |
//! | [`mod@reference`] | the pages of `docs/registers`, made from these tables |
//! | [`smmu`] | SMMUv3: register pages, STE, CD, descriptors, commands, events |
//! | [`smmuv2`] | SMMUv2: global space, stream mapping, context banks |
//! | [`cmdqv`] | Tegra241 CMDQV: banks, queue pages, the map of the whole region |
#![forbid(unsafe_code)]

pub mod cmdqv;
pub mod layout;
pub mod open_enum;
pub mod reference;
pub mod regs;
pub mod smmu;
pub mod smmuv2;

#[doc(hidden)]
pub use pastey;

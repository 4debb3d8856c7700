//! A PCI Express function as configuration software sees it: configuration space and MSI.
//!
//! Registers have the names of PCI Express Base Specification 5.0, chapter 7; offsets and bits are in [`regs`].

mod config;
mod msi;
mod msix;
pub mod regs;

pub use config::{Changed, ConfigSpace, Function, Interrupts};
pub use msi::Message;
pub use msix::{ENTRY_SIZE, MsixTable};

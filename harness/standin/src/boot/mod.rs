//! Starting an unmodified kernel in QEMU on a platform of ours.
//!
//! ```text
//!   Platform --Layout::new--> Layout --+--> stub   (carriers' addresses, after every reset)
//!                                      +--> dt     (edits the tree that QEMU dumps)      --> qemu::command --> Console
//!                                      +--> acpi   (tables in memory, when Linux is to use ACPI)
//! ```
//! `harness/standin/prepare` fetches QEMU and kernels.
pub mod acpi;
pub mod console;
pub mod dt;
mod error;
pub mod layout;
pub mod qemu;
pub mod stub;
pub mod virt;

pub use console::{Console, Ending};
pub use error::Error;
pub use layout::{Endpoint, Layout, LayoutError, Platform, Smmu};
pub use qemu::{Description, Drive, Options};

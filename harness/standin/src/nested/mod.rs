//! The nested run: the machine that is booted is a host, and the VMs of the scenario are KVM guests of a QEMU in it.
//!
//! ```text
//!   scenario: [vm], [vsmmu] --> Guest --> host script --> boot (L1) --> QEMU in it --> guests (L2): workload
//!                                                            |                            |
//!                                                        "@host ..."                  "@guest ..."  --> Report
//! ```
//! Each `[vsmmu]` becomes an accelerated `arm-smmuv3` of that QEMU, with VCMDQs of its own if its policy is passthrough, and its
//! devices are passed through by vfio-pci and iommufd. What the scenario's own software would do (steps, loads) is left out.

mod guest;
mod report;
mod script;

pub use guest::{Guest, MEMORY_MIN, Vsmmu};
pub use report::{Answer, Boot, Exits, Life, Report};
pub use script::{GUEST, HOST, Plan};

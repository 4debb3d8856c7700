//! The VMM: a guest's address space, its virtual CPUs, its virtual SMMUs with trapped queues, and the guest's CMDQV.
//!
//! ```text
//!   Vcpu --gpa--> GuestSpace --> Ram     : host memory
//!                            --> Direct  : a hardware page, no exit
//!                            --> Trapped : VM exit, then Vsmmu or Vcmdqv --ioctl--> iommufd Context
//! ```

mod space;
mod vcmdqv;
mod vcpu;
mod vm;
pub mod vsmmu;

pub use space::{GuestSpace, Region, Resolved};
pub use vcmdqv::{CmdqvPage0, Vcmdqv};
pub use vcpu::Vcpu;
pub use vm::{Vm, VmConfig, VmCosts};
pub use vsmmu::{Routing, Vsmmu, VsmmuConfig};

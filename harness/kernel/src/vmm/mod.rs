//! The VMM: a guest's address space, its virtual CPUs, its virtual SMMUs with trapped queues, and the guest's CMDQV.
//!
//! ```text
//!   Vcpu --gpa--> GuestSpace --> Ram     : host memory
//!                            --> Direct  : a hardware page, no exit
//!                            --> Trapped : VM exit, then Vsmmu, Vcmdqv or MirrorPage --ioctl--> iommufd Context
//! ```

mod mirror;
mod space;
mod vcmdqv;
mod vcpu;
mod vm;
pub mod vsmmu;

pub use mirror::MirrorPage;
pub use space::{Emulated, GuestSpace, Region, Resolved};
pub use vcmdqv::{CmdqvPage0, Vcmdqv, VcmdqvConfig};
pub use vcpu::Vcpu;
pub use vm::{Vm, VmConfig, VmCosts};
pub use vsmmu::{Parents, Routing, SkipTarget, Vsmmu, VsmmuConfig};

//! Kernel- and VMM-equivalent software on simulated CPUs: SMMUv3 and CMDQV drivers, iommufd, VMM, guests.
//!
//! *Invariant:* software reaches hardware only through [`access::Access`]: MMIO, memory and interrupts. Shared state
//! on the simulator's side is behind mutexes that are never held across an await; words whose contention matters lie
//! in simulated memory.
//!
//! | Module | Holds |
//! |---|---|
//! | [`errno`], [`journal`], [`access`], [`alloc`], [`sync`] | what everything else stands on |
//! | [`pgtable`] | stage-1 and stage-2 translation tables |
//! | [`smmu`] | the SMMUv3 driver |
//! | [`cmdqv`] | the Tegra241 CMDQV driver |
//! | [`smmuv2`] | several SMMUv2 instances as one, by broadcast |
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod access;
pub mod alloc;
pub mod cmdqv;
pub mod errno;
pub mod guest;
pub mod host;
pub mod iommufd;
pub mod journal;
pub mod pgtable;
pub mod smmu;
pub mod smmuv2;
pub mod sync;
pub mod vmm;

#[cfg(test)]
mod testing;

//! The hardware: memory, fabric, CPUs, SMMUv3 with Tegra241 CMDQV, PCIe endpoints, interrupts.
//!
//! *Invariant:* this crate knows no kernel. Software reaches it through the [`cpu::Cpu`] handle only, which is MMIO,
//! memory and interrupts, as on silicon.
//!
//! ```text
//!   cpu ---bus---> memory            endpoint --dma--> psmmu --bus--> memory
//!    |                                   ^               | ^
//!    +---bus---> psmmu (SMMU + CMDQV)    +---completion--+ +-- table walks, queues (bus)
//!    +---bus---> irq sink <--- MSI writes, wired edges
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod bus;
pub mod cmdqv;
pub mod cpu;
pub mod dma;
pub mod endpoint;
pub mod faults;
pub mod functional;
pub mod interrupt;
pub mod memory;
pub mod nvme;
pub mod pci;
pub mod psmmu;
pub mod record;
pub mod smmu;
pub mod smmuv2;
pub mod system;
pub mod tester;

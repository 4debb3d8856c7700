//! iommufd-equivalent layer: objects, ioctls with Linux errno and check order, the mmap window; RFCv1 as a mode.
//!
//! One [`Context`] stands for one open of the device. Methods are the ioctls: typed arguments in, result or [`Errno`](crate::errno::Errno)
//! out; each consumes the simulated time of a system call plus whatever the drivers do on the hardware.
//! Numbers, layouts and check order follow Linux 7.3's `include/uapi/linux/iommufd.h` and `drivers/iommu/iommufd`.

mod context;
mod device;
mod events;
mod host;
mod hw_queue;
mod hwpt;
mod invalidate;
mod ioas;
mod kinds;
mod object;
mod refusal;
mod rfc;
mod viommu;
mod window;

pub use context::{Abi, Context, Costs};
pub use host::{HostSmmu, PhysicalDevice};
pub use hw_queue::HwQueueAlloc;
pub use hwpt::{HW_INFO_ARM_SMMUV3, HW_INFO_TEGRA241_CMDQV, HwInfo, HwptAlloc, hwpt_data, hwpt_flags};
pub use invalidate::{Invalidate, Invalidated};
pub use ioas::{IoasMap, map_flags};
pub use kinds::{UserMemory, Vevent};
pub use object::Id;
pub use rfc::{RfcVqueueAlloc, ViommuArrays};
pub use viommu::{VIOMMU_ARM_SMMUV3, VIOMMU_TEGRA241_CMDQV, ViommuAlloc, ViommuAllocated, ViommuFacts};
pub use window::{Mapping, MmapFlags};

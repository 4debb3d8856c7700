//! Tegra241 CMDQV: register banks, queue pages, and the map that puts them into one region.

pub mod config;
pub mod place;
pub mod queue;
pub mod vintf;

pub use config::Config;
pub use place::{Place, QueueReg};
pub use queue::{QueuePage0, QueuePage1};
pub use vintf::Vintf;

/// Bytes of one queue page and of the configuration page.
pub const PAGE: u64 = 0x1_0000;
/// Offset of the directly addressed queue page 0.
pub const DIRECT_PAGE0: u64 = 0x1_0000;
/// Offset of the directly addressed queue page 1.
pub const DIRECT_PAGE1: u64 = 0x2_0000;
/// Offset of the first VINTF's queue page 0; its page 1 follows.
pub const LOGICAL: u64 = 0x3_0000;
/// Distance between the apertures of two VINTFs.
pub const LOGICAL_STRIDE: u64 = 0x2_0000;
/// Distance between two queues within a queue page.
pub const QUEUE_STRIDE: u64 = 0x80;
/// Offset of the CMDQ_ALLOC table.
pub const CMDQ_ALLOC_BASE: u64 = 0x200;
/// Offset of the first VINTF's bank.
pub const VINTF_BANK: u64 = 0x1000;
/// Distance between the banks of two VINTFs.
pub const VINTF_BANK_STRIDE: u64 = 0x100;

/// Bytes of the whole region of a block with this many VINTFs.
pub const fn region_bytes(vintfs: u64) -> u64 {
    LOGICAL + vintfs * LOGICAL_STRIDE
}

/// Offset of a VINTF's queue page 0, the page that is given to a guest.
pub const fn vintf_page0(v: u64) -> u64 {
    LOGICAL + v * LOGICAL_STRIDE
}

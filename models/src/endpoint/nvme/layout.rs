//! What the NVMe-like device has beyond [`crate::nvme::layout`]: one queue pair, and a register for its MSI.

use crate::nvme::layout::{AQA, CAP, cq_head_doorbell, sq_tail_doorbell};

/// Doorbell: tail of the submission queue.
pub const SQ_TAIL: u64 = sq_tail_doorbell(0);
/// Doorbell: head of the completion queue.
pub const CQ_HEAD: u64 = cq_head_doorbell(0);
/// MSI-X vector 0: address (64 bits), data, control (masked\[0\]).
pub const MSIX: u64 = 0x2000;

/// Bytes of a memory page.
pub const PAGE: u64 = 4096;
/// Bytes of a logical block.
pub const BLOCK: u64 = 512;

/// Masks MSI-X vector 0.
pub(super) const MSIX_MASKED: u32 = 1 << 0;
/// Queues of 4096 entries, physically contiguous; ready within 500 ms; the NVM command set.
pub(super) const CAPABILITIES: CAP = CAP(0).with_mqes(0xfff).with_cqr(true).with_to(1).with_css(1);

/// AQA to entries in the submission and the completion queue.
pub(super) fn queue_sizes(aqa: u32) -> (u32, u32) {
    let aqa = AQA(aqa.into());
    (aqa.asqs() as u32 + 1, aqa.acqs() as u32 + 1)
}

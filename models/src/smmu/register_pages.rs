//! Where the optional register pages lie, from what the ID registers say.
//!
//! ```text
//!   0x00_0000  page 0      0x01_0000  page 1      0x02_0000 + BA_VATOS × 64KB  VATOS
//!   0x10_0000  control pages of the enhanced command queues, 64KB each
//! ```

use spec::smmu::ecmdq::CONTROL_PAGE_LOG2;
use spec::smmu::page0::{IDR0, IDR1, IDR2, IDR6};

use super::features::IdrProfile;
use super::registers::WINDOW;

/// Offset of the first control page from page 0. Where it is is the implementation's choice.
pub const CONTROL_PAGES: u64 = 0x10_0000;

/// log2 of the bytes of a register page.
const PAGE_LOG2: u32 = 16;

/// How many enhanced command queues there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlPages {
    /// log2 of the number of control pages.
    pub pages_log2: u8,
    /// log2 of the number of queues in each.
    pub queues_log2: u8,
}

impl ControlPages {
    /// Control pages.
    pub const fn pages(self) -> usize {
        1 << self.pages_log2
    }
    /// Queues in all control pages.
    pub const fn queues(self) -> usize {
        1 << (self.pages_log2 + self.queues_log2)
    }
    /// log2 of a queue's share of its page.
    const fn share_log2(self) -> u32 {
        CONTROL_PAGE_LOG2 - self.queues_log2 as u32
    }
    /// Offset of a queue's registers from page 0.
    pub const fn offset(self, queue: usize) -> u64 {
        CONTROL_PAGES + ((queue as u64) << self.share_log2())
    }
    /// The queue in whose share of a control page the byte at `offset` from page 0 lies, and how far from its beginning.
    pub const fn decode(self, offset: u64) -> Option<(usize, u64)> {
        let Some(within) = offset.checked_sub(CONTROL_PAGES) else { return None };
        let queue = (within >> self.share_log2()) as usize;
        if queue < self.queues() { Some((queue, within & ((1 << self.share_log2()) - 1))) } else { None }
    }
}

impl IdrProfile {
    /// The enhanced command queues it shows.
    pub fn control_pages(&self) -> Option<ControlPages> {
        let idr6 = IDR6(self.idr6.into());
        IDR1(self.idr1.into()).ecmdq().then_some(ControlPages {
            pages_log2: idr6.cmdq_control_page_log2nump() as u8,
            queues_log2: idr6.cmdq_control_page_log2numq() as u8,
        })
    }
    /// Offset of the VATOS page from page 0.
    pub fn vatos_page(&self) -> Option<u64> {
        let offset = WINDOW + (IDR2(self.idr2.into()).ba_vatos() << PAGE_LOG2);
        IDR0(self.idr0.into()).vatos().then_some(offset)
    }
    /// Bytes that the register pages occupy.
    pub fn window(&self) -> u64 {
        let control =
            self.control_pages().map_or(0, |c| CONTROL_PAGES + ((c.pages() as u64) << CONTROL_PAGE_LOG2));
        let vatos = self.vatos_page().map_or(0, |page| page + (1 << PAGE_LOG2));
        WINDOW.max(control).max(vatos)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn queues_are_spaced_evenly() {
        for (pages_log2, queues_log2, queue, want) in [
            (0, 0, 0, 0x10_0000),
            (1, 0, 1, 0x11_0000),
            (0, 7, 1, 0x10_0200),
            (1, 2, 3, 0x10_c000),
            (1, 2, 5, 0x11_4000),
            (2, 8, 0x3ff, 0x13_ff00),
        ] {
            let c = ControlPages { pages_log2, queues_log2 };
            assert_eq!(c.offset(queue), want, "{c:?} {queue}");
            assert_eq!(c.decode(want + 8), Some((queue, 8)));
            let end = CONTROL_PAGES + ((c.pages() as u64) << 16);
            assert_eq!((c.decode(end), c.decode(CONTROL_PAGES - 1)), (None, None));
        }
    }

    #[test]
    fn the_window_holds_all_pages() {
        let standard = IdrProfile::STANDARD;
        let with = |idr0: u64, idr1: u64, idr2, idr6| {
            let idr0 = standard.idr0 | idr0 as u32;
            IdrProfile { idr0, idr1: standard.idr1 | idr1 as u32, idr2, idr6, ..standard }
        };
        let (ecmdq, vatos) = (1 << 31, 1 << 20);
        for (idr, want) in [
            (standard, 0x2_0000),
            (with(0, ecmdq, 0, 0), 0x11_0000),
            (with(0, ecmdq, 0, 2 << 24 | 8 << 16), 0x14_0000),
            (with(vatos, 0, 0, 0), 0x3_0000),
            (with(vatos, ecmdq, 3, 0), 0x11_0000),
            (with(vatos, 0, 0x20, 0), 0x23_0000),
            (with(0, 0, 5, 7 << 24), 0x2_0000),
        ] {
            assert_eq!(idr.window(), want, "{idr:x?}");
        }
    }
}

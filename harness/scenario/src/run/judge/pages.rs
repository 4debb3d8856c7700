//! What registers and records show of a PRI queue: whether software wants to hear of a request, and how it does.

use spec::smmu::page0::{CR0, CR0ACK, IDR1, PRIQ_BASE, PRIQ_IRQ_CFG0, PRIQ_IRQ_CFG1, PRIQ_IRQ_CFG2};
use spec::smmu::page1::{PRIQ_CONS, PRIQ_PROD};
use spec::smmu::{GlobalError, PageRequest};

use super::mirror::Mirror;

impl Mirror {
    /// The SMMU published a page request. Is it one that the queue's interrupt is for?
    pub(super) fn page_request_written(&mut self, request: PageRequest) -> bool {
        let log2size = self.page0.get::<PRIQ_BASE>().log2size().min(self.page0.get::<IDR1>().priqs());
        let mask = (2 << log2size) - 1;
        let prod: PRIQ_PROD = self.page1.get();
        let was_empty = (prod.wr() ^ self.page1.get::<PRIQ_CONS>().rd()) & mask == 0;
        self.page1.set(prod.with_wr((prod.wr() + 1) & mask));
        if self.page0.get::<PRIQ_IRQ_CFG2>().lo() { request.last() } else { was_empty }
    }

    /// The SMMU dropped a page request. Is it one that the queue's interrupt is for? Only the last of a group that is lost to an
    /// overflow (IHI 0070, 6.3.36).
    pub(super) fn page_request_dropped(&self, request: PageRequest) -> bool {
        let cr0 = CR0(self.page0.get::<CR0>().0 & self.page0.get::<CR0ACK>().0);
        let runs = !self.failed && cr0.smmuen() && cr0.priqen() && !self.is_active(GlobalError::PRIQ_ABT_ERR);
        runs && request.last() && self.page0.get::<PRIQ_IRQ_CFG2>().lo()
    }

    /// What software has written as the place where the PRI queue's messages go; zero for nowhere.
    pub(super) fn page_message_to(&self) -> u64 {
        self.page0.get::<PRIQ_IRQ_CFG0>().addr()
    }

    /// Whether an interrupt of this SMMU is that of its PRI queue.
    pub(super) fn is_page_interrupt(&self, intid: u32) -> bool {
        if self.page_message_to() == 0 {
            self.page_line == Some(intid)
        } else {
            self.page0.get::<PRIQ_IRQ_CFG1>().data() == u64::from(intid)
        }
    }
}

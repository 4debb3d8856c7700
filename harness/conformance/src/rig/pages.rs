//! The PRI queue, as software and devices use it.

use models::dma::{PageAnswer, PageResponse};
use spec::smmu::PageRequest;

use super::{Rig, at, same};
use crate::suite::Check;

/// Where the PRI queue is, and how far software has got.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct PageQueue {
    base: u64,
    log2: u8,
    cons: u32,
}

/// A request of stream 1 for reads of a page, alone in its group, without PASID.
pub(crate) fn page_request(group: u16) -> PageRequest {
    PageRequest::default()
        .with_sid(1)
        .with_r(true)
        .with_last(true)
        .with_prgindex(group.into())
        .with_addr(0x2000)
}

/// An answer to stream 1.
pub(crate) const fn page_response(group: u16, ssid: Option<u32>, answer: PageAnswer) -> PageResponse {
    PageResponse { sid: 1, ssid, group, answer }
}

impl Rig {
    /// To be called before [`Rig::boot`]: enables a PRI queue of `1 << log2` entries.
    pub(crate) fn page_queue(&mut self, log2: u8) {
        let base = self.alloc(12);
        self.pages = PageQueue { base, log2, cons: 0 };
        self.write64(at::PRIQ_BASE, base | u64::from(log2));
        self.write32(at::PRIQ_PROD, 0);
        self.write32(at::PRIQ_CONS, 0);
        self.setup.cr0 = self.setup.cr0.with_priqen(true);
    }
    /// Address of the PRI queue.
    pub(crate) fn page_queue_at(&self) -> u64 {
        self.pages.base
    }
    /// A device asks for a page; nothing is under way any more afterwards.
    pub(crate) fn ask(&mut self, request: PageRequest) {
        let (machine, world) = self.machine();
        machine.ask_for_page(request, world);
        self.run();
    }
    /// Takes the requests that are in the PRI queue, and acknowledges an overflow if `acknowledge`.
    pub(crate) fn page_requests(&mut self, acknowledge: bool) -> Vec<PageRequest> {
        let prod = self.read32(at::PRIQ_PROD);
        let PageQueue { base, log2, mut cons } = self.pages;
        let mut taken = Vec::new();
        while cons != prod & ((2 << log2) - 1) {
            let index = u64::from(cons & ((1 << log2) - 1));
            let bytes = self.world.memory.read_data(base + 16 * index, PageRequest::BYTES);
            taken.push(PageRequest::from_bytes(bytes.bytes()));
            cons = (cons + 1) & ((2 << log2) - 1);
        }
        self.pages.cons = cons;
        let flag = if acknowledge { prod } else { self.read32(at::PRIQ_CONS) } & 1 << 31;
        self.write32(at::PRIQ_CONS, cons | flag);
        taken
    }
    /// Takes the answers to page requests so far; they must be these.
    pub(crate) fn responded(&mut self, expected: &[PageResponse]) -> Check {
        let seen = std::mem::take(&mut self.world.page_responses);
        same("the answers to page requests", &seen[..], expected)
    }
}

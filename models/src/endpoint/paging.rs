//! Page requests of an endpoint (PRI): which pages transfers wait for, and which of them have been asked for.
//!
//! Each request is a group of its own. Stop markers are not sent: a PASID of a job ends with the job's last answer.

use std::collections::{BTreeMap, VecDeque};

use spec::smmu::PageRequest;

use super::atc::{Need, Span};
use super::engine::STU_LOG2;
use crate::dma::PageResponse;

/// Page requests of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriConfig {
    /// Requests without answer at once (PCIe: Outstanding Page Request Allocation), at least one and at most [`GROUPS`].
    pub credits: u32,
    /// Requests for the same piece of a transfer; one that is still not there after so many answers has failed.
    pub tries: u32,
}

/// Page Request Group Indices.
pub const GROUPS: u32 = 1 << 9;

impl Default for PriConfig {
    fn default() -> Self {
        Self { credits: 32, tries: 64 }
    }
}

/// A page, and the transfers that wait for it.
#[derive(Clone, Debug)]
struct Wanted {
    page: Span,
    iova: u64,
    need: Need,
    waiting: Vec<usize>,
}

#[derive(Debug)]
pub(super) struct Paging {
    config: PriConfig,
    sid: u32,
    /// By group.
    asked: BTreeMap<u16, Wanted>,
    /// For want of a credit.
    unasked: VecDeque<Wanted>,
    next_group: u16,
}

impl Paging {
    pub(super) fn new(config: PriConfig, sid: u32) -> Self {
        Self { config, sid, asked: BTreeMap::new(), unasked: VecDeque::new(), next_group: 0 }
    }

    pub(super) fn tries(&self) -> u32 {
        self.config.tries
    }

    /// Transfer `slot` needs a page. Transfers that need the same share a request.
    pub(super) fn want(&mut self, ssid: Option<u32>, iova: u64, need: Need, slot: usize) {
        let page = Span::around(ssid, iova, STU_LOG2);
        let mut all = self.asked.values_mut().chain(&mut self.unasked);
        match all.find(|wanted| wanted.page == page && wanted.need == need) {
            Some(wanted) => wanted.waiting.push(slot),
            None => self.unasked.push_back(Wanted { page, iova, need, waiting: vec![slot] }),
        }
    }

    /// The next request to send, if there is a credit for it.
    pub(super) fn next(&mut self) -> Option<PageRequest> {
        if self.asked.len() >= self.config.credits.clamp(1, GROUPS) as usize {
            return None;
        }
        let wanted = self.unasked.pop_front()?;
        while self.asked.contains_key(&self.next_group) {
            self.next_group = (self.next_group + 1) % GROUPS as u16;
        }
        let group = self.next_group;
        self.next_group = (group + 1) % GROUPS as u16;
        let (ssid, Need { write, execute, privileged }) = (wanted.page.ssid, wanted.need);
        let request = PageRequest::default()
            .with_sid(self.sid.into())
            .with_ssv(ssid.is_some())
            .with_ssid(ssid.unwrap_or(0).into())
            .with_r(!write)
            .with_w(write)
            .with_x(execute)
            .with_priv_(privileged)
            .with_last(true)
            .with_prgindex(group.into())
            .with_addr(wanted.iova >> STU_LOG2 << STU_LOG2);
        self.asked.insert(group, wanted);
        Some(request)
    }

    /// Who waited for this answer. Nobody if it answers nothing, or carries a PASID that was not asked with.
    pub(super) fn answered(&mut self, response: &PageResponse) -> Option<Vec<usize>> {
        let wanted = self.asked.get(&response.group)?;
        if response.ssid.is_some() && response.ssid != wanted.page.ssid {
            return None;
        }
        self.asked.remove(&response.group).map(|wanted| wanted.waiting)
    }

    /// Whether transfer `slot` waits for a page.
    pub(super) fn is_waited_for_by(&self, slot: usize) -> bool {
        self.asked.values().chain(&self.unasked).any(|wanted| wanted.waiting.contains(&slot))
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::dma::PageAnswer;

    fn paging(credits: u32) -> Paging {
        Paging::new(PriConfig { credits, ..PriConfig::default() }, 0x10)
    }
    fn answer(group: u16, ssid: Option<u32>) -> PageResponse {
        PageResponse { sid: 0x10, ssid, group, answer: PageAnswer::Success }
    }

    #[test]
    fn one_request_a_page_and_no_more_than_credits() {
        let mut p = paging(2);
        for (slot, iova, write) in
            [(0, 0x1000, false), (1, 0x1fff, false), (2, 0x1000, true), (3, 0x2000, false)]
        {
            p.want(None, iova, Need { write, ..Need::default() }, slot);
        }
        let sent: Vec<_> =
            std::iter::from_fn(|| p.next()).map(|r| (r.addr(), r.r(), r.w(), r.prgindex())).collect();
        assert_eq!(sent, [(0x1000, true, false, 0), (0x1000, false, true, 1)]);
        assert_eq!(p.answered(&answer(0, None)), Some(vec![0, 1]));
        assert_eq!(p.answered(&answer(0, None)), None, "answered already");
        assert_eq!(p.next().map(|r| (r.addr(), r.prgindex())), Some((0x2000, 2)));
        assert!(p.is_waited_for_by(3) && !p.is_waited_for_by(0));
    }

    #[test]
    fn an_answer_has_the_pasid_of_its_request_or_none() {
        for (asked, answered, found) in [
            (Some(3), Some(3), true),
            (Some(3), None, true),
            (Some(3), Some(4), false),
            (None, Some(3), false),
        ] {
            let mut p = paging(1);
            p.want(asked, 0x1000, Need::default(), 7);
            let request = p.next().expect("there is a credit");
            assert_eq!((request.ssv(), request.ssid()), (asked.is_some(), asked.unwrap_or(0).into()));
            assert_eq!(p.answered(&answer(0, answered)).is_some(), found, "{asked:?} {answered:?}");
        }
    }

    #[test]
    fn groups_in_use_are_not_given_again() {
        let mut p = paging(GROUPS);
        for page in 0..u64::from(GROUPS) + 1 {
            p.want(None, page << 12, Need::default(), page as usize);
        }
        assert_eq!(std::iter::from_fn(|| p.next()).count(), GROUPS as usize);
        assert_eq!(p.answered(&answer(7, None)), Some(vec![7]));
        assert_eq!(p.next().map(PageRequest::prgindex), Some(7));
    }
}

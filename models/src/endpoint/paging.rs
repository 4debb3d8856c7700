//! Page requests of an endpoint (PRI): which pages transfers wait for, and which of them have been asked for.
//!
//! The pages that a transfer needs next are asked for in one group. A group is begun when there are credits for all of it, so that none waits
//! half sent for another one. A PASID that is given up ends with a stop marker behind its last request.

use std::collections::{BTreeMap, VecDeque};

use spec::smmu::PageRequest;

use super::atc::Need;
use super::engine::STU_LOG2;
use crate::dma::PageResponse;

/// Page requests of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PriConfig {
    /// Requests without answer at once (PCIe: Outstanding Page Request Allocation), at least one and at most [`GROUPS`].
    pub credits: u32,
    /// Requests for the same piece of a transfer; one that is still not there after so many answers has failed.
    pub tries: u32,
    /// Pages of a transfer that are asked for in one group, at least one and at most `credits`.
    pub group: u32,
}

/// Page Request Group Indices.
pub const GROUPS: u32 = 1 << 9;

impl Default for PriConfig {
    fn default() -> Self {
        Self { credits: 32, tries: 64, group: 1 }
    }
}

/// Pages in a row, and the transfers that wait for them.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    ssid: Option<u32>,
    /// Number of the first page.
    first: u64,
    pub pages: u32,
    need: Need,
    pub waiting: Vec<usize>,
}

impl Wanted {
    fn has(&self, page: u64) -> bool {
        page.wrapping_sub(self.first) < self.pages.into()
    }
}

#[derive(Debug)]
pub(super) struct Paging {
    config: PriConfig,
    sid: u32,
    /// By group.
    asked: BTreeMap<u16, Wanted>,
    /// Pages in `asked`.
    credits_used: u32,
    /// The group that is being sent, and how many of its pages have been.
    sending: Option<(u16, u32)>,
    /// For want of credits.
    unasked: VecDeque<Wanted>,
    /// PASIDs whose stop marker is to be sent.
    stops: Vec<u32>,
    next_group: u16,
}

impl Paging {
    pub(super) fn new(config: PriConfig, sid: u32) -> Self {
        let credits = config.credits.clamp(1, GROUPS);
        let config = PriConfig { credits, group: config.group.clamp(1, credits), ..config };
        Self {
            config,
            sid,
            asked: BTreeMap::new(),
            credits_used: 0,
            sending: None,
            unasked: VecDeque::new(),
            stops: Vec::new(),
            next_group: 0,
        }
    }

    pub(super) fn tries(&self) -> u32 {
        self.config.tries
    }

    /// Transfer `slot` needs these bytes, the first of them at once. Transfers that need the same share a group.
    pub(super) fn want(&mut self, ssid: Option<u32>, iova: u64, len: u32, need: Need, slot: usize) {
        let page = |addr: u64| addr >> STU_LOG2;
        let first = page(iova);
        let alike = |wanted: &Wanted| wanted.ssid == ssid && wanted.need == need;
        let mut all = self.asked.values_mut().chain(&mut self.unasked);
        if let Some(wanted) = all.find(|wanted| alike(wanted) && wanted.has(first)) {
            return wanted.waiting.push(slot);
        }
        let needed = page(iova.saturating_add(u64::from(len).saturating_sub(1))) - first + 1;
        let most = needed.min(self.config.group.into()) as u32;
        let others = || self.asked.values().chain(&self.unasked).filter(|wanted| alike(wanted));
        let pages =
            (1..most).find(|&n| others().any(|wanted| wanted.has(first + u64::from(n)))).unwrap_or(most);
        self.unasked.push_back(Wanted { ssid, first, pages, need, waiting: vec![slot] });
    }

    /// Nothing of this PASID follows.
    pub(super) fn stop(&mut self, ssid: u32) {
        self.stops.push(ssid);
    }

    /// The next request to send, if there is a credit for it, or stop marker.
    pub(super) fn next(&mut self) -> Option<PageRequest> {
        if self.sending.is_none() && !self.begin() {
            return self.next_stop();
        }
        let (group, sent) = self.sending?;
        let wanted = &self.asked[&group];
        let last = sent + 1 == wanted.pages;
        self.sending = (!last).then_some((group, sent + 1));
        let Need { write, execute, privileged } = wanted.need;
        let request = self.message(wanted.ssid).with_r(!write).with_w(write).with_last(last);
        let request = request.with_x(execute).with_priv_(privileged);
        let addr = wanted.first.wrapping_add(sent.into()) << STU_LOG2;
        Some(request.with_prgindex(group.into()).with_addr(addr))
    }

    /// Begins to send a group, if there is one with credits.
    fn begin(&mut self) -> bool {
        let free = self.config.credits - self.credits_used;
        let Some(wanted) = self.unasked.pop_front_if(|wanted| wanted.pages <= free) else { return false };
        while self.asked.contains_key(&self.next_group) {
            self.next_group = (self.next_group + 1) % GROUPS as u16;
        }
        let group = self.next_group;
        self.next_group = (group + 1) % GROUPS as u16;
        self.credits_used += wanted.pages;
        self.asked.insert(group, wanted);
        self.sending = Some((group, 0));
        true
    }

    /// A stop marker takes no credit, but follows what was to be asked before.
    fn next_stop(&mut self) -> Option<PageRequest> {
        let waits = |ssid: u32| self.unasked.iter().any(|wanted| wanted.ssid == Some(ssid));
        let at = self.stops.iter().position(|&ssid| !waits(ssid))?;
        let ssid = self.stops.remove(at);
        Some(self.message(Some(ssid)).with_last(true))
    }

    fn message(&self, ssid: Option<u32>) -> PageRequest {
        let message = PageRequest::default().with_sid(self.sid.into()).with_ssv(ssid.is_some());
        message.with_ssid(ssid.unwrap_or(0).into())
    }

    /// What this answers. Nothing if nobody asked, or if it carries a PASID that was not asked with.
    pub(super) fn answered(&mut self, response: &PageResponse) -> Option<Wanted> {
        let wanted = self.asked.get(&response.group)?;
        if response.ssid.is_some() && response.ssid != wanted.ssid {
            return None;
        }
        let wanted = self.asked.remove(&response.group)?;
        self.credits_used -= wanted.pages;
        Some(wanted)
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
            p.want(None, iova, 1, Need { write, ..Need::default() }, slot);
        }
        let sent: Vec<_> =
            std::iter::from_fn(|| p.next()).map(|r| (r.addr(), r.r(), r.w(), r.prgindex())).collect();
        assert_eq!(sent, [(0x1000, true, false, 0), (0x1000, false, true, 1)]);
        assert_eq!(p.answered(&answer(0, None)).map(|w| w.waiting), Some(vec![0, 1]));
        assert!(p.answered(&answer(0, None)).is_none(), "answered already");
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
            p.want(asked, 0x1000, 1, Need::default(), 7);
            let request = p.next().expect("there is a credit");
            assert_eq!((request.ssv(), request.ssid()), (asked.is_some(), asked.unwrap_or(0).into()));
            assert_eq!(p.answered(&answer(0, answered)).is_some(), found, "{asked:?} {answered:?}");
        }
    }

    #[test]
    fn groups_in_use_are_not_given_again() {
        let mut p = paging(GROUPS);
        for page in 0..u64::from(GROUPS) + 1 {
            p.want(None, page << 12, 1, Need::default(), page as usize);
        }
        assert_eq!(std::iter::from_fn(|| p.next()).count(), GROUPS as usize);
        assert_eq!(p.answered(&answer(7, None)).map(|w| w.waiting), Some(vec![7]));
        assert_eq!(p.next().map(PageRequest::prgindex), Some(7));
    }

    fn sent(p: &mut Paging) -> Vec<String> {
        std::iter::from_fn(|| p.next()).map(|r| r.to_string().replace("PAGE_REQUEST sid=0x10 ", "")).collect()
    }

    #[test]
    fn the_pages_of_a_transfer_are_one_group() {
        let mut p = Paging::new(PriConfig { credits: 6, group: 4, ..PriConfig::default() }, 0x10);
        p.want(None, 0x1ff0, 0x2000, Need::default(), 0);
        p.want(None, 0x2000, 0x1000, Need::default(), 1);
        p.want(None, 0x0ff0, 0x9000, Need::default(), 2);
        p.want(None, 0x8000, 0x9000, Need::default(), 3);
        assert_eq!(
            sent(&mut p),
            [
                "addr=0x1000 prgindex=0 r",
                "addr=0x2000 prgindex=0 r",
                "addr=0x3000 prgindex=0 r last",
                "addr=0x0 prgindex=1 r last",
            ],
            "up to what another asks for; no group in part"
        );
        assert_eq!(p.answered(&answer(0, None)).map(|w| w.waiting), Some(vec![0, 1]));
        let last =
            ["addr=0x8000", "addr=0x9000", "addr=0xa000", "addr=0xb000"].map(|a| format!("{a} prgindex=2 r"));
        assert_eq!(sent(&mut p).join("\n"), format!("{} last", last.join("\n")));
        assert_eq!(p.next(), None);
    }

    #[test]
    fn a_stop_marker_follows_the_requests_of_its_pasid() {
        let mut p = paging(1);
        for (slot, ssid) in [(0, None), (1, Some(3))] {
            p.want(ssid, 0x1000, 1, Need { write: true, ..Need::default() }, slot);
        }
        p.stop(3);
        p.stop(4);
        assert_eq!(sent(&mut p), ["addr=0x1000 prgindex=0 w last", "STOP_MARKER sid=0x10 ssid=4"]);
        p.answered(&answer(0, None));
        assert_eq!(sent(&mut p), ["ssid=3 addr=0x1000 prgindex=1 w last", "STOP_MARKER sid=0x10 ssid=3"]);
    }
}

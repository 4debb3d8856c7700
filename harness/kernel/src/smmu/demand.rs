//! Demand paging for devices: ranges of a domain whose pages are mapped when a device asks for them (PRI).
//!
//! *Invariant:* what is being mapped for a request is not withdrawn meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use sim::Time;
use spec::smmu::command::resp;
use spec::smmu::{Command, PageRequest};

use super::{Domain, Driver};
use crate::access::Access;
use crate::pgtable::Prot;

/// Memory that a stream, or a PASID of it, gets when it asks for it.
#[derive(Clone, Debug)]
pub struct DemandRange {
    /// Where it is to be mapped.
    pub domain: Arc<Domain>,
    /// First input address.
    pub iova: u64,
    /// Output address of the first byte.
    pub pa: u64,
    /// Number of bytes, whole pages.
    pub len: u64,
    /// What the stream may do there.
    pub prot: Prot,
}

/// All such ranges of a driver.
#[derive(Debug, Default)]
pub(super) struct Demand(Mutex<State>);

/// StreamID, PASID, first input address.
type Key = (u32, Option<u32>, u64);

#[derive(Debug, Default)]
struct State {
    ranges: BTreeMap<Key, DemandRange>,
    /// The range in which a page is being mapped.
    busy: Option<Key>,
    /// Groups of which some request was refused and whose last one has not come: StreamID, index.
    refused: BTreeSet<(u32, u64)>,
}

impl State {
    /// The range that a request may have pages of.
    fn range(&self, request: &PageRequest) -> Option<(Key, DemandRange)> {
        let (sid, ssid) = (request.sid() as u32, pasid(request));
        let (key, range) = self.ranges.range((sid, ssid, 0)..=(sid, ssid, request.addr())).next_back()?;
        let inside = request.addr() - range.iova < range.len;
        let permitted = range.prot.write || !request.w();
        (inside && permitted).then(|| (*key, range.clone()))
    }
}

fn pasid(request: &PageRequest) -> Option<u32> {
    request.ssv().then_some(request.ssid() as u32)
}

impl Driver {
    /// From now on pages of this range are mapped when stream `sid` asks for them with this PASID, or without. Ranges of a stream
    /// and PASID do not overlap.
    pub fn map_on_demand(&self, sid: u32, pasid: Option<u32>, range: DemandRange) {
        self.demand.0.lock().ranges.insert((sid, pasid, range.iova), range);
    }

    /// No page of the range at `iova` is mapped any more when this returns; those that are mapped stay.
    pub async fn withdraw<A: Access>(&self, cpu: &A, sid: u32, pasid: Option<u32>, iova: u64) {
        let key = (sid, pasid, iova);
        self.demand.0.lock().ranges.remove(&key);
        while self.demand.0.lock().busy == Some(key) {
            cpu.sleep(Time::us(1)).await;
        }
    }

    /// All requests that came before an overflow have been served: the rest of their groups is lost, and the SMMU has answered
    /// these. Their indices may be those of other groups next (IHI 0070, 8.1.1).
    pub(super) fn forget_truncated_groups(&self) {
        self.demand.0.lock().refused.clear();
    }

    /// Serves a page request that nobody else took: maps the page if the stream may have it, and answers the group with its
    /// last request.
    pub(super) async fn page_in<A: Access>(&self, cpu: &A, request: &PageRequest) {
        if request.is_stop_marker() {
            return;
        }
        let found = {
            let mut state = self.demand.0.lock();
            let found = state.range(request);
            state.busy = found.as_ref().map(|(key, _)| *key);
            found
        };
        let there = match found {
            Some((_, range)) => range.provide(cpu, request.addr()).await,
            None => false,
        };
        let group = (request.sid() as u32, request.prgindex());
        let complete = {
            let mut state = self.demand.0.lock();
            state.busy = None;
            match (request.last(), there) {
                (true, _) => !state.refused.remove(&group) && there,
                (false, true) => return,
                (false, false) => {
                    state.refused.insert(group);
                    return;
                }
            }
        };
        let answer = if complete { resp::SUCCESS } else { resp::INVALID };
        let command = Command::pri_resp(group.0, pasid(request), group.1, answer);
        // CMD_SYNC would say nothing about it. A time-out is in the journal.
        let _ = self.issue(cpu, &[command], false).await;
    }
}

impl DemandRange {
    /// Maps the page at `addr`, unless it is mapped. False if that cannot be done.
    async fn provide<A: Access>(&self, cpu: &A, addr: u64) -> bool {
        let bytes = self.domain.table().shape().granule.bytes();
        let page = addr & !(bytes - 1);
        let pa = self.pa + (page - self.iova);
        self.domain.lookup(page).is_some() || self.domain.map(cpu, page, pa, bytes, self.prot).await.is_ok()
    }
}

//! The address translation cache of an endpoint: what it was told by ATS and has not been told to forget.

use std::collections::{BTreeMap, VecDeque};

use crate::bus::PhysAddr;
use crate::dma::{AtcInvalidate, Grant, Incoming};
use crate::faults::Which;

/// An ATC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtcConfig {
    /// Translations that it holds, at least one; the oldest goes first.
    pub entries: usize,
}

/// Faults of an ATC, each of some invalidations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AtcFaults {
    /// Lost, so that the entries stay and nobody answers: the root port times out.
    pub silent: Which,
    /// Answered at once, without waiting for DMA that still uses the entries.
    pub early: Which,
    /// Answered, but the entries stay.
    pub kept: Which,
}

/// What an access needs, besides an address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// It writes.
    pub write: bool,
    /// It fetches instructions.
    pub execute: bool,
    /// It is privileged. What is granted to one privilege says nothing about the other.
    pub privileged: bool,
}

impl Need {
    /// Of a PCIe access: without a PASID it is unprivileged data.
    pub const fn new(ssid: Option<u32>, write: bool, incoming: Incoming) -> Self {
        let pasid = ssid.is_some();
        let execute = pasid && incoming.instruction && !write;
        Self { write, execute, privileged: pasid && incoming.privileged }
    }

    /// What a request for a translation says of itself.
    pub(super) const fn incoming(self) -> Incoming {
        Incoming { privileged: self.privileged, instruction: self.execute, ..Incoming::DEFAULT }
    }
    /// Whether the answer to a request with this need does for `other`.
    pub(super) const fn covers(self, other: Self) -> bool {
        self.privileged == other.privileged
            && (self.write || !other.write)
            && (self.execute || !other.execute)
    }
    pub(super) const fn is_met_by(self, grant: &Grant) -> bool {
        let permitted = match self {
            Self { write: true, .. } => grant.write,
            Self { execute: true, .. } => grant.execute,
            _ => grant.read,
        };
        permitted && grant.privileged == self.privileged
    }
}

/// PASID, privilege, log2 of the size, number of the region.
type Region = (Option<u32>, bool, u8, u64);

/// What an ATC knows of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The physical address, if the access may use it; otherwise it goes out with its own.
    pub pa: Option<PhysAddr>,
    /// Caches must not be snooped.
    pub no_snoop: bool,
    /// The region that this is about.
    pub span: Span,
}

/// What a device was told by ATS and has not been told to forget.
#[derive(Clone, Debug)]
pub struct Atc {
    config: AtcConfig,
    entries: BTreeMap<Region, (Grant, u64)>,
    /// In the order of filling. An entry that was dropped or filled anew leaves its old line here, told by the stamp.
    order: VecDeque<(Region, u64)>,
    stamp: u64,
    /// How many entries there are of each log2 size.
    sizes: BTreeMap<u8, usize>,
}

impl Atc {
    /// Empty.
    pub fn new(config: AtcConfig) -> Self {
        Self { config, entries: BTreeMap::new(), order: VecDeque::new(), stamp: 0, sizes: BTreeMap::new() }
    }

    /// What is known, if it permits the access.
    pub fn look_up(&self, ssid: Option<u32>, iova: u64, need: Need) -> Option<Found> {
        self.sizes.keys().find_map(|&size| {
            let (grant, _) = self.entries.get(&(ssid, need.privileged, size, number(iova, size)))?;
            let span = Span::around(ssid, iova, size);
            let pa = (!grant.untranslated_only).then_some(grant.pa | (iova & span.mask()));
            need.is_met_by(grant).then_some(Found { pa, no_snoop: grant.no_snoop, span })
        })
    }

    /// Keeps a translation of the region around `iova`.
    pub fn fill(&mut self, ssid: Option<u32>, iova: u64, grant: Grant) {
        let region = (ssid, grant.privileged, grant.size_log2, number(iova, grant.size_log2));
        self.remove(&region);
        while self.entries.len() >= self.config.entries.max(1) {
            let (oldest, stamp) = self.order.pop_front().expect("every entry has its line");
            if self.entries.get(&oldest).is_some_and(|(_, s)| *s == stamp) {
                self.remove(&oldest);
            }
        }
        self.stamp += 1;
        self.entries.insert(region, (grant, self.stamp));
        *self.sizes.entry(grant.size_log2).or_default() += 1;
        self.order.push_back((region, self.stamp));
        if self.order.len() > 2 * self.config.entries.max(1) {
            self.order.retain(|(region, stamp)| self.entries.get(region).is_some_and(|(_, s)| s == stamp));
        }
    }

    /// Drops what the invalidation covers.
    pub fn invalidate(&mut self, request: &AtcInvalidate) {
        let covered: Vec<Region> = self
            .entries
            .keys()
            .filter(|(ssid, _, size, number)| {
                let first = number.checked_shl(u32::from(*size)).unwrap_or(0);
                Span::around(*ssid, first, *size).covered_by(request)
            })
            .copied()
            .collect();
        for region in covered {
            self.remove(&region);
        }
    }

    fn remove(&mut self, region: &Region) {
        if self.entries.remove(region).is_some() {
            let count = self.sizes.get_mut(&region.2).expect("counted when filled");
            *count -= 1;
            if *count == 0 {
                self.sizes.remove(&region.2);
            }
        }
    }
}

fn number(iova: u64, size_log2: u8) -> u64 {
    iova.checked_shr(u32::from(size_log2)).unwrap_or(0)
}

/// A naturally aligned region of input addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub(super) ssid: Option<u32>,
    first: u64,
    last: u64,
}

impl Span {
    /// The region of `1 << size_log2` bytes around an address; everything from 64 on.
    pub(super) fn around(ssid: Option<u32>, iova: u64, size_log2: u8) -> Self {
        let mask = 1_u64.checked_shl(u32::from(size_log2)).map_or(u64::MAX, |size| size - 1);
        Self { ssid, first: iova & !mask, last: iova | mask }
    }
    fn mask(&self) -> u64 {
        self.last - self.first
    }
    pub(super) fn contains(&self, iova: u64) -> bool {
        (self.first..=self.last).contains(&iova)
    }
    /// Whether an invalidation touches it.
    pub(super) fn covered_by(&self, request: &AtcInvalidate) -> bool {
        let other = Self::around(request.ssid, request.addr, request.size_log2);
        request.concerns(self.ssid) && self.first <= other.last && other.first <= self.last
    }
}

#[cfg(test)]
mod test {
    use super::*;

    const PAGE: u8 = 12;
    const BLOCK: u8 = 21;

    fn grant(pa: u64, size_log2: u8) -> Grant {
        Grant { pa, size_log2, read: true, ..Grant::default() }
    }
    fn invalidation(ssid: Option<u32>, addr: u64, size_log2: u8) -> AtcInvalidate {
        AtcInvalidate { tag: 0, sid: 0, ssid, global: false, addr, size_log2 }
    }

    #[test]
    fn finds_what_was_filled() {
        let mut atc = Atc::new(AtcConfig { entries: 8 });
        atc.fill(None, 0x1000, grant(0x8000_0000, PAGE));
        atc.fill(Some(1), 0x40_0000, grant(0x9000_0000, BLOCK));
        for (ssid, iova, write, want) in [
            (None, 0x1000, false, Some(0x8000_0000)),
            (None, 0x1fff, false, Some(0x8000_0fff)),
            (None, 0x2000, false, None),
            (None, 0x1000, true, None),
            (Some(1), 0x1000, false, None),
            (Some(1), 0x5f_ffff, false, Some(0x901f_ffff)),
            (None, 0x40_0000, false, None),
        ] {
            let need = Need { write, ..Need::default() };
            let got = atc.look_up(ssid, iova, need).and_then(|found| found.pa);
            assert_eq!(got, want, "{ssid:?} {iova:#x} write {write}");
        }
    }

    /// Needs as `w`, `x` and `p` for privileged.
    #[test]
    fn permits_what_was_granted_to_that_privilege() {
        let all = Grant { read: true, write: true, execute: true, ..Grant::default() };
        for (name, grant, permitted) in [
            ("nothing else", Grant { read: true, ..Grant::default() }, &[""][..]),
            ("execution", Grant { read: true, execute: true, ..Grant::default() }, &["", "x"]),
            ("all", all, &["", "w", "x"]),
            ("all when privileged", Grant { privileged: true, ..all }, &["p", "wp", "xp"]),
        ] {
            let mut atc = Atc::new(AtcConfig { entries: 1 });
            atc.fill(Some(1), 0x1000, Grant { size_log2: PAGE, ..grant });
            let may = |need: &&str| {
                let has = |c| need.contains(c);
                let need = Need { write: has('w'), execute: has('x'), privileged: has('p') };
                atc.look_up(Some(1), 0x1000, need).is_some()
            };
            let got: Vec<_> = ["", "w", "x", "p", "wp", "xp"].into_iter().filter(may).collect();
            assert_eq!(got, permitted, "{name}");
        }
    }

    #[test]
    fn drops_what_an_invalidation_touches() {
        for (request, pages, block) in [
            (invalidation(None, 0x1000, PAGE), [false, true], true),
            (invalidation(None, 0x1000, PAGE + 1), [false, true], true),
            (invalidation(None, 0x0, PAGE + 2), [false, false], true),
            (invalidation(None, 0x123, 64), [false, false], true),
            (invalidation(Some(1), 0x41_0000, PAGE), [true, true], false),
            (invalidation(Some(1), 0, 64), [true, true], false),
            (invalidation(Some(2), 0, 64), [true, true], true),
            (AtcInvalidate { global: true, ..invalidation(Some(2), 0, 64) }, [true, true], false),
            (AtcInvalidate { global: true, ..invalidation(Some(2), 0, PAGE) }, [true, true], true),
            (invalidation(None, 0x41_0000, PAGE), [true, true], true),
        ] {
            let mut atc = Atc::new(AtcConfig { entries: 8 });
            atc.fill(None, 0x1000, grant(0, PAGE));
            atc.fill(None, 0x2000, grant(0, PAGE));
            atc.fill(Some(1), 0x40_0000, grant(0, BLOCK));
            atc.invalidate(&request);
            let held = |ssid, iova| atc.look_up(ssid, iova, Need::default()).is_some();
            assert_eq!([held(None, 0x1000), held(None, 0x2000)], pages, "{request:?}");
            assert_eq!(held(Some(1), 0x40_0000), block, "{request:?}");
        }
    }

    #[test]
    fn the_oldest_goes_first_and_a_refill_is_young() {
        let mut atc = Atc::new(AtcConfig { entries: 2 });
        for page in [1_u64, 2, 1, 3] {
            atc.fill(None, page << PAGE, grant(0, PAGE));
        }
        let held: Vec<bool> =
            (1..4_u64).map(|page| atc.look_up(None, page << PAGE, Need::default()).is_some()).collect();
        assert_eq!(held, [true, false, true]);
        for page in 0..1000_u64 {
            atc.fill(None, (page % 3) << PAGE, grant(0, PAGE));
            assert!(atc.entries.len() <= 2 && atc.order.len() <= 5);
        }
    }
}

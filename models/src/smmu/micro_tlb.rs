//! The small buffer in front of everything: one lookup by StreamID and address, no configuration needed.
//!
//! An entry combines configuration and translation, so it goes with either (IHI 0070, 3.17 and 3.21).

use super::assoc::{Assoc, Shape};
use super::attributes::{Attributes, Overrides};
use super::request::Request;
use super::rights::Access;
use super::scope::Scope;
use super::tlb::Entry;

/// A translation as one stream sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicroEntry {
    /// StreamID.
    pub sid: u32,
    /// SubstreamID, as the request carries it.
    pub ssid: Option<u32>,
    /// Which context descriptor that led to.
    pub context: u32,
    /// The input address as requested is equal to this in the bits of `mask`.
    pub upper: u64,
    /// All bits above the entry's size that are not ignored.
    pub mask: u64,
    /// STE.PRIVCFG, or 0.
    pub privcfg: u8,
    /// STE.INSTCFG, or 0.
    pub instcfg: u8,
    /// What the STE makes of the memory attributes of the stream's transactions.
    pub overrides: Overrides,
    /// Attributes that came in when this was filled, and what they become.
    pub attributes: [Attributes; 2],
    /// The translation.
    pub entry: Entry,
}

impl MicroEntry {
    /// The attributes with which a transaction leaves.
    #[inline]
    pub fn output(&self, incoming: Attributes) -> Attributes {
        let [known, output] = self.attributes;
        if incoming == known { output } else { self.entry.attributes.output(self.overrides.of(incoming)) }
    }

    fn matches(&self, sid: u32, ssid: Option<u32>, addr: u64) -> bool {
        (addr ^ self.upper) & self.mask == 0 && self.sid == sid && self.ssid == ssid
    }
}

/// Fully associative by default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MicroTlb {
    array: Assoc<MicroEntry>,
}

impl MicroTlb {
    /// An empty one; always fully associative.
    pub fn new(entries: usize) -> Self {
        Self { array: Assoc::new(Shape::new(entries, 0)) }
    }

    /// Whether there is a place for anything.
    #[inline]
    pub fn keeps(&self) -> bool {
        self.array.sets() != 0
    }

    /// The translation of a request, if it is here and permits it.
    #[inline]
    pub fn lookup(&self, request: &Request, access: Access) -> Option<&MicroEntry> {
        self.array
            .find(0, |e| e.matches(request.sid, request.ssid, request.addr))
            .filter(|e| e.entry.rights.permits(access.overridden(e.privcfg, e.instcfg)))
    }

    /// Adds a translation.
    pub fn insert(&mut self, new: MicroEntry) {
        self.array.insert(0, new, |e| e.matches(new.sid, new.ssid, new.upper));
    }

    /// Removes what `scope` covers; says how many entries.
    pub fn invalidate(&mut self, scope: &Scope) -> usize {
        let before = self.array.len();
        let goes = |e: &MicroEntry| match scope {
            Scope::Translations(scope) => e.entry.goes(scope),
            other => other.covers_context(e.sid, e.context),
        };
        self.array.remove(goes, |_| ());
        before - self.array.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.array.remove(|_| true, |_| ());
    }

    /// Number of entries held.
    pub fn len(&self) -> usize {
        self.array.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.array.is_empty()
    }
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::super::granule::low_mask;
    use super::super::rights::Rights;
    use super::super::scope::{AsidMatch, Regime, Region, TAG_BITS, Tag, TlbScope};
    use super::*;

    const READ: Access = Access { read: true, write: false, instruction: false, privileged: false };

    #[derive(Clone, Debug)]
    enum Action {
        Insert { sid: u32, ssid: Option<u32>, addr: u64, bits: u8, top_byte_ignored: bool, readable: bool },
        Lookup { sid: u32, ssid: Option<u32>, addr: u64 },
        InvalidateStream { sid: u32 },
        InvalidateAddress { addr: u64 },
    }

    fn action() -> impl Strategy<Value = Action> {
        let stream = || (0..2_u32, prop::option::of(0..2_u32));
        let addr = || (prop::sample::select(vec![0_u64, 0x5a << 56]), 0..6_u64, 509..515_u64);
        let addr = move || addr().prop_map(|(top, block, page)| top | block << 21 | (page & 511) << 12 | 8);
        let bits = prop::sample::select(vec![12, 12, 12, 16, 21]);
        prop_oneof![
            6 => (stream(), addr(), bits, any::<bool>(), prop::bool::weighted(0.8)).prop_map(
                |((sid, ssid), addr, bits, top_byte_ignored, readable)| {
                    Action::Insert { sid, ssid, addr, bits, top_byte_ignored, readable }
                }
            ),
            12 => (stream(), addr()).prop_map(|((sid, ssid), addr)| Action::Lookup { sid, ssid, addr }),
            1 => (0..2_u32).prop_map(|sid| Action::InvalidateStream { sid }),
            1 => addr().prop_map(|addr| Action::InvalidateAddress { addr }),
        ]
    }

    /// What a micro TLB is, by looking at all of its places.
    struct Plain {
        places: Vec<Option<MicroEntry>>,
        victim: usize,
    }

    impl Plain {
        fn find(&self, sid: u32, ssid: Option<u32>, addr: u64) -> Option<usize> {
            self.places.iter().position(|e| e.is_some_and(|e| e.matches(sid, ssid, addr)))
        }

        fn insert(&mut self, new: MicroEntry) {
            let free = || self.places.iter().position(Option::is_none);
            let place = self.find(new.sid, new.ssid, new.upper).or_else(free).unwrap_or_else(|| {
                let place = self.victim;
                self.victim = (place + 1) % self.places.len();
                place
            });
            self.places[place] = Some(new);
        }

        fn remove(&mut self, goes: impl Fn(&MicroEntry) -> bool) -> usize {
            self.places.iter_mut().filter_map(|e| e.take_if(|e| goes(e))).count()
        }
    }

    proptest! {
        #[test]
        fn a_lookup_finds_the_first_of_all(
            entries in 1..9_usize,
            actions in prop::collection::vec(action(), 1..200),
        ) {
            let mut tlb = MicroTlb::new(entries);
            let mut plain = Plain { places: vec![None; entries], victim: 0 };
            for (n, action) in actions.iter().enumerate() {
                match *action {
                    Action::Insert { sid, ssid, addr, bits, top_byte_ignored, readable } => {
                        let tag_bits = if top_byte_ignored { TAG_BITS } else { 64 };
                        let upper = addr & !low_mask(bits);
                        let new = MicroEntry {
                            sid,
                            ssid,
                            context: ssid.unwrap_or(0),
                            upper,
                            mask: low_mask(tag_bits) & !low_mask(bits),
                            privcfg: 0,
                            instcfg: 0,
                            overrides: Overrides::NONE,
                            attributes: [Attributes::COHERENT; 2],
                            entry: Entry {
                                tag: Tag::default(),
                                input: upper & low_mask(TAG_BITS),
                                // Tells it from all others.
                                output: (n as u64) << 40,
                                bits,
                                leaf_bits: bits,
                                rights: if readable { Rights::ALL } else { Rights::NONE },
                                ..Entry::default()
                            },
                        };
                        tlb.insert(new);
                        plain.insert(new);
                    }
                    Action::Lookup { sid, ssid, addr } => {
                        let request = Request { ssid, ..Request::read(sid, addr) };
                        let want = plain.find(sid, ssid, addr).and_then(|place| plain.places[place]);
                        let want = want.filter(|e| e.entry.rights.permits(READ));
                        prop_assert_eq!(tlb.lookup(&request, READ).copied(), want);
                    }
                    Action::InvalidateStream { sid } => {
                        let removed = plain.remove(|e| e.sid == sid);
                        prop_assert_eq!(tlb.invalidate(&Scope::Streams { first: sid, last: sid }), removed);
                    }
                    Action::InvalidateAddress { addr } => {
                        let region = Some(Region::address(addr));
                        let regime = Regime::El1Va;
                        let scope = TlbScope { regime, vmid: None, asid: AsidMatch::Any, region, leaf_only: true };
                        let removed = plain.remove(|e| e.entry.goes(&scope));
                        prop_assert_eq!(tlb.invalidate(&Scope::Translations(scope)), removed);
                    }
                }
                prop_assert_eq!(tlb.len(), plain.places.iter().flatten().count());
            }
        }
    }
}

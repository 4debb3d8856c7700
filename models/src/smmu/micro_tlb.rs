//! The small buffer in front of everything: one lookup by StreamID and address, no configuration needed.
//!
//! An entry combines configuration and translation, so it goes with either (IHI 0070, 3.17 and 3.21).

use super::attributes::{Attributes, Overrides};
use super::config_cache::Stream;
use super::granule::low_mask;
use super::request::Request;
use super::rights::Access;
use super::scope::{Scope, TAG_BITS};
use super::step::Outcome;
use super::tlb::Entry;

/// StreamID and SubstreamID, as a request carries them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client(u64);

impl Client {
    /// One word of both.
    #[inline]
    pub const fn new(sid: u32, ssid: Option<u32>) -> Self {
        // SubstreamIDs have 20 bits: of those that saturate none gets as far as an entry.
        let substream = match ssid {
            Some(ssid) => ssid.saturating_add(1),
            None => 0,
        };
        Self((substream as u64) << 32 | sid as u64)
    }

    const fn sid(self) -> u32 {
        self.0 as u32
    }
}

/// A translation as one stream sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MicroEntry {
    /// Whose.
    pub client: Client,
    /// Which context descriptor that led to.
    pub context: u32,
    /// The input address as requested is equal to this in the bits of `mask`.
    pub upper: u64,
    /// All bits above the entry's size that are not ignored.
    pub mask: u64,
    /// As in [`Stream`].
    pub privcfg: u8,
    /// As in [`Stream`].
    pub instcfg: u8,
    /// What the STE makes of the memory attributes of the stream's transactions.
    pub overrides: Overrides,
    /// Attributes that came in when this was filled, and what they become.
    pub attributes: [Attributes; 2],
    /// The translation.
    pub entry: Entry,
}

impl MicroEntry {
    /// What `request` of an ordinary transaction may be answered from now on. `context`: index of the CD. `top_byte_ignored`: of
    /// the address.
    #[inline]
    pub fn new(
        request: &Request,
        stream: &Stream,
        context: u32,
        top_byte_ignored: bool,
        entry: Entry,
    ) -> Self {
        let (overrides, incoming) = (stream.overrides, request.attributes);
        Self {
            client: Client::new(request.sid, request.ssid),
            context,
            upper: request.addr & !low_mask(entry.bits),
            mask: low_mask(if top_byte_ignored { TAG_BITS } else { 64 }) & !low_mask(entry.bits),
            privcfg: stream.privcfg,
            instcfg: stream.instcfg,
            overrides,
            attributes: [incoming, entry.attributes.output(overrides.of(incoming))],
            entry,
        }
    }

    /// What becomes of a request that this translates and permits.
    #[inline]
    pub fn outcome(&self, request: &Request, access: Access) -> Outcome {
        let (entry, privileged) = (&self.entry, self.overridden(access).privileged);
        Outcome::Translated {
            pa: entry.translate(request.addr),
            size_log2: entry.bits,
            read: entry.rights.read(privileged),
            write: entry.rights.write(privileged),
            attributes: self.output(request.attributes),
            tlb_hit: true,
            filled: false,
        }
    }

    /// The attributes with which a transaction leaves.
    #[inline]
    fn output(&self, incoming: Attributes) -> Attributes {
        let [known, output] = self.attributes;
        if incoming == known { output } else { self.output_of_another(incoming) }
    }

    #[cold]
    fn output_of_another(&self, incoming: Attributes) -> Attributes {
        self.entry.attributes.output(self.overrides.of(incoming))
    }

    #[inline]
    fn matches(&self, client: Client, addr: u64) -> bool {
        (addr ^ self.upper) & self.mask == 0 && self.client == client
    }

    /// What an access is after the overrides of the STE.
    #[inline]
    fn overridden(&self, access: Access) -> Access {
        if self.privcfg | self.instcfg == 0 { access } else { access.overridden(self.privcfg, self.instcfg) }
    }
}

/// No place: the end of a chain.
const NOWHERE: u32 = u32::MAX;

/// A place of an entry, and the next one of its chain, which comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    entry: Option<MicroEntry>,
    next: u32,
}

/// Entries of one mask held at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct MaskClass {
    mask: u64,
    count: usize,
}

/// Fully associative. Of several entries that match the one in the first place is found; a new one takes the place of one that
/// matches its first address, else the first free place, else that of the oldest choice of the round robin.
///
/// Entries are chained by a hash of stream and address, which are looked at under every mask that is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MicroTlb {
    places: Vec<Place>,
    /// First places of the chains; a power of two.
    chains: Vec<u32>,
    classes: Vec<MaskClass>,
    victim: usize,
    live: usize,
}

impl MicroTlb {
    /// An empty one.
    pub fn new(entries: usize) -> Self {
        Self {
            places: vec![Place { entry: None, next: NOWHERE }; entries],
            chains: vec![NOWHERE; (2 * entries).next_power_of_two()],
            classes: Vec::new(),
            victim: 0,
            live: 0,
        }
    }

    /// Whether there is a place for anything.
    #[inline]
    pub fn keeps(&self) -> bool {
        !self.places.is_empty()
    }

    /// The chain of the entries of a stream that have the bits `upper` of the address.
    #[inline]
    fn chain(&self, client: Client, upper: u64) -> usize {
        // A multiplication mixes upwards.
        let mixed = (upper ^ client.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        mixed as usize & (self.chains.len() - 1)
    }

    /// The link of an entry's chain that leads to the place `at`, or would.
    #[inline]
    fn link(&mut self, entry: &MicroEntry, at: usize) -> &mut u32 {
        let chain = self.chain(entry.client, entry.upper & entry.mask);
        let (mut before, mut next) = (None, self.chains[chain] as usize);
        while next < at {
            before = Some(next);
            next = self.places[next].next as usize;
        }
        match before {
            None => &mut self.chains[chain],
            Some(before) => &mut self.places[before].next,
        }
    }

    #[inline]
    fn find(&self, client: Client, addr: u64) -> Option<(usize, &MicroEntry)> {
        // Those in front of what has been found.
        let (mut places, mut found) = (&self.places[..], None);
        for class in &self.classes {
            let mut at = self.chains[self.chain(client, addr & class.mask)] as usize;
            while let Some(place) = places.get(at) {
                if let Some(entry) = place.entry.as_ref().filter(|e| e.matches(client, addr)) {
                    (places, found) = (&places[..at], Some((at, entry)));
                }
                at = place.next as usize;
            }
        }
        found
    }

    /// The translation of a request, if it is here and permits it.
    #[inline]
    pub fn lookup(&self, request: &Request, access: Access) -> Option<&MicroEntry> {
        let (_, entry) = self.find(Client::new(request.sid, request.ssid), request.addr)?;
        entry.entry.rights.permits(entry.overridden(access)).then_some(entry)
    }

    /// Adds a translation.
    #[inline]
    pub fn insert(&mut self, new: MicroEntry) {
        if !self.keeps() {
            return;
        }
        let at = match self.find(new.client, new.upper) {
            Some((at, _)) => at,
            None if self.live < self.places.len() => {
                self.places.iter().position(|place| place.entry.is_none()).expect("not all are live")
            }
            None => {
                let at = self.victim;
                self.victim = if at + 1 == self.places.len() { 0 } else { at + 1 };
                at
            }
        };
        let old = self.unlink(at);
        self.live += usize::from(old.is_none());
        if old != Some(new.mask) {
            if let Some(mask) = old {
                self.discount(mask);
            }
            self.count(new.mask);
        }
        let next = std::mem::replace(self.link(&new, at), at as u32);
        self.places[at] = Place { entry: Some(new), next };
    }

    fn count(&mut self, mask: u64) {
        match self.classes.iter_mut().find(|class| class.mask == mask) {
            Some(class) => class.count += 1,
            None => self.classes.push(MaskClass { mask, count: 1 }),
        }
    }

    fn discount(&mut self, mask: u64) {
        let class =
            self.classes.iter().position(|class| class.mask == mask).expect("every entry was counted");
        self.classes[class].count -= 1;
        if self.classes[class].count == 0 {
            self.classes.swap_remove(class);
        }
    }

    /// Empties a place. Returns the mask of the entry that was there.
    #[inline]
    fn unlink(&mut self, at: usize) -> Option<u64> {
        let place = &mut self.places[at];
        let (old, next) = (place.entry.take()?, place.next);
        *self.link(&old, at) = next;
        Some(old.mask)
    }

    fn remove(&mut self, goes: impl Fn(&MicroEntry) -> bool) -> usize {
        let before = self.live;
        let mut unseen = before;
        for at in 0..self.places.len() {
            if unseen == 0 {
                break;
            }
            let Some(entry) = &self.places[at].entry else { continue };
            unseen -= 1;
            if goes(entry) {
                let mask = self.unlink(at).expect("the place is taken");
                self.discount(mask);
                self.live -= 1;
            }
        }
        before - self.live
    }

    /// Removes what `scope` covers; says how many entries.
    pub fn invalidate(&mut self, scope: &Scope) -> usize {
        self.remove(|e| match scope {
            Scope::Translations(scope) => e.entry.goes(scope),
            other => other.covers_context(e.client.sid(), e.context),
        })
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.remove(|_| true);
    }

    /// Number of entries held.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::super::rights::Rights;
    use super::super::scope::{AsidMatch, Regime, Region, Tag, TlbScope};
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
        fn find(&self, client: Client, addr: u64) -> Option<usize> {
            self.places.iter().position(|e| e.is_some_and(|e| e.matches(client, addr)))
        }

        fn insert(&mut self, new: MicroEntry) {
            let free = || self.places.iter().position(Option::is_none);
            let place = self.find(new.client, new.upper).or_else(free).unwrap_or_else(|| {
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
                            client: Client::new(sid, ssid),
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
                        let want = plain.find(Client::new(sid, ssid), addr).and_then(|place| plain.places[place]);
                        let want = want.filter(|e| e.entry.rights.permits(READ));
                        prop_assert_eq!(tlb.lookup(&request, READ).copied(), want);
                    }
                    Action::InvalidateStream { sid } => {
                        let removed = plain.remove(|e| e.client.sid() == sid);
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

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
        if incoming == known { output } else { self.output_of_another(incoming) }
    }

    #[cold]
    fn output_of_another(&self, incoming: Attributes) -> Attributes {
        self.entry.attributes.output(self.overrides.of(incoming))
    }

    fn matches(&self, sid: u32, ssid: Option<u32>, addr: u64) -> bool {
        (addr ^ self.upper) & self.mask == 0 && self.sid == sid && self.ssid == ssid
    }
}

/// Fully associative by default.
#[derive(Clone, Debug)]
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

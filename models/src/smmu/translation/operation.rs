//! Where an operation of software goes another way than a transaction.

use spec::smmu::EventNumber;

use super::super::atos::{Answer, Lookup, Stages};
use super::super::config;
use super::super::control::Control;
use super::super::features::Features;
use super::super::request::{Request, RequestKind};
use super::super::scope::World;
use super::super::step::{Outcome, Step};
use super::{Translation, done};

/// Whether a request is to change nothing, caches included.
pub(super) const fn is_passive(request: &Request) -> bool {
    matches!(request.kind, RequestKind::Operation(Lookup { inhibits_updates: true, .. }))
}

impl Translation {
    /// What is asked, if this is an operation.
    pub(super) const fn lookup(&self) -> Option<&Lookup> {
        match &self.request.kind {
            RequestKind::Operation(lookup) => Some(lookup),
            _ => None,
        }
    }
    fn asks(&self, stages: Stages) -> bool {
        self.lookup().is_some_and(|lookup| lookup.stages == stages)
    }
    /// The address asked about is an intermediate one.
    pub(super) fn is_intermediate(&self) -> bool {
        self.asks(Stages::Two)
    }
    /// The address asked for is what stage 1 makes of a virtual one.
    pub(super) fn is_virtual_only(&self) -> bool {
        self.asks(Stages::One)
    }
    /// The same, of a stream that has stage 2 as well.
    pub(super) fn ends_between(&self) -> bool {
        self.stage2 && self.is_virtual_only()
    }
    /// Descriptors count as updated without being so.
    pub(super) const fn inhibits_updates(&self) -> bool {
        is_passive(&self.request)
    }

    /// How an operation ends because the stream, whose STE is legal, is none that it may ask about.
    pub(super) fn inadmissible(&self, control: &Control) -> Option<Step> {
        let lookup = self.lookup()?;
        let features = &control.features;
        let world = config::world(self.stream.ste, control);
        let mode = self.stream.ste.config();
        let is_tagged = features.s2p && world == World::El1 && mode & 4 != 0 && mode & 3 != 0;
        let vmid = is_tagged.then(|| config::vmid(self.stream.ste, world, features));
        if lookup.vmid.is_some() && lookup.vmid != vmid {
            return Some(self.refuse(control, self.about(EventNumber::C_BAD_STE)));
        }
        (!lookup.fits(mode)).then_some(done(Outcome::Operation(Answer::InvalidStage)))
    }

    /// Nothing is translated. The size may be any from a granule up, the attributes may be any at all.
    pub(super) fn same_address(&self, features: &Features) -> Outcome {
        let (addr, size_log2) = (self.request.addr, features.smallest_page());
        let attributes = self.request.attributes;
        Outcome::Operation(Answer::Found { addr, size_log2, attributes, filled: false })
    }
}

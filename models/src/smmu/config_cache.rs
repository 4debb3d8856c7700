//! The configuration cache: STEs by StreamID, CDs by StreamID and SubstreamID. Level-1 descriptors are not kept.

use spec::smmu::ste::config as mode;
use spec::smmu::{Cd, Ste};

use super::assoc::{Assoc, Shape};
use super::attributes::Overrides;
use super::config::{self, Tables};
use super::features::Features;
use super::lint::{Lint, Lints};
use super::scope::{Scope, Tag, World};
use super::sharing::{self, Space};

/// An STE, and what does not change as long as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stream {
    /// As it was fetched.
    pub ste: Ste,
    /// It may be used.
    pub legal: bool,
    /// Tables of stage 2, if it is legal and there is one.
    pub stage2: Tables,
    /// What becomes of the memory attributes of ordinary transactions.
    pub overrides: Overrides,
    /// PRIVCFG, if there are overrides of permissions.
    pub privcfg: u8,
    /// INSTCFG, likewise.
    pub instcfg: u8,
}

impl Stream {
    /// What `ste` means.
    pub fn new(ste: Ste, features: &Features) -> Self {
        let perms = features.attr_perms_ovr;
        Self {
            ste,
            legal: config::ste_legal(ste, features),
            stage2: Tables::stage2(ste, features).unwrap_or_default(),
            overrides: if features.attr_types_ovr { Overrides::of_stream(ste) } else { Overrides::NONE },
            privcfg: if perms { ste.privcfg() as u8 } else { 0 },
            instcfg: if perms { ste.instcfg() as u8 } else { 0 },
        }
    }
}

/// A CD, and what does not change as long as it is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Context {
    /// As it was fetched.
    pub cd: Cd,
    /// It may be used.
    pub legal: bool,
    /// Tables of the lower and the upper half, if it is legal and walks through them are enabled.
    pub halves: [Tables; 2],
    /// The address space it is part of.
    pub space: Space,
}

impl Context {
    /// What `cd` means to a stream.
    pub fn new(cd: Cd, ste: Ste, world: World, features: &Features) -> Self {
        let halves = [false, true].map(|upper| Tables::stage1(cd, upper, features).unwrap_or_default());
        let space = Space::new(cd, world, config::vmid(ste, world, features));
        Self { cd, legal: config::cd_legal(cd, ste, world, features), halves, space }
    }

    /// Whether the top byte of addresses of a half is ignored.
    pub const fn top_byte_ignored(&self, upper: bool) -> bool {
        if upper { self.cd.tbi1() } else { self.cd.tbi0() }
    }

    /// Whether a half is as large as this address needs.
    #[inline]
    pub const fn spans(&self, addr: u64, upper: bool) -> bool {
        let size = if upper { self.cd.t1sz() } else { self.cd.t0sz() };
        // Sign extension from bit 55 puts the half's own bits where an ignored top byte was.
        let addr = if self.top_byte_ignored(upper) { (addr << 8) as i64 >> 8 } else { addr as i64 };
        let bits = if size > 1 { 64 - size } else { 63 };
        addr >> bits == if upper { -1 } else { 0 }
    }

    /// Whether only privileged accesses use a half.
    #[inline]
    pub const fn e0pd(&self, upper: bool, world: World, features: &Features) -> bool {
        let field = if upper { self.cd.e0pd1() } else { self.cd.e0pd0() };
        features.e0pd && field && !matches!(world, World::El2)
    }

    /// The tag of what this translates, where the STE has said `of` which regime and VMID.
    #[inline]
    pub const fn tag(&self, of: Tag) -> Tag {
        let tagged = !matches!(of.world, World::El2);
        Tag { asid: if tagged { self.cd.asid() as u16 } else { 0 }, aset: tagged && self.cd.aset(), ..of }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StreamEntry {
    sid: u32,
    stream: Stream,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ContextEntry {
    sid: u32,
    ssid: u32,
    context: Context,
}

/// Both arrays. What was fetched is kept whatever it says, with the verdict on its legality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigCache {
    streams: Assoc<StreamEntry>,
    contexts: Assoc<ContextEntry>,
    /// The largest CONT of any STE kept so far.
    cont_max: u64,
}

impl ConfigCache {
    /// Empty ones.
    pub fn new(streams: Shape, contexts: Shape) -> Self {
        Self { streams: Assoc::new(streams), contexts: Assoc::new(contexts), cont_max: 0 }
    }

    /// The STE of a stream.
    #[inline]
    pub fn stream(&self, sid: u32) -> Option<&Stream> {
        self.streams.find(sid.into(), |e| e.sid == sid).map(|e| &e.stream)
    }

    /// What is wrong with an STE beside those of other streams that are kept.
    pub fn lints_of_stream(&self, sid: u32, stream: &Stream, features: &Features) -> Lints {
        let (ste, mut found) = (stream.ste, Lints::NONE);
        let vmid = if stream.legal { sharing::vmid(ste, features) } else { None };
        if vmid.is_none() && ste.cont() == 0 && self.cont_max == 0 {
            return found;
        }
        for other in self.streams.iter().filter(|e| e.sid != sid) {
            let its = other.stream.ste;
            let shared = vmid.is_some() && other.stream.legal && sharing::vmid(its, features) == vmid;
            found.add(Lints::from_iter([
                (shared && sharing::differ_in_stage2(ste, its), Lint::SharedVmid),
                (shared && sharing::mix_stages(ste, its), Lint::MixedVmid),
                (sharing::differ_in_span((sid, ste), (other.sid, its)), Lint::SpanDiffers),
            ]));
        }
        found
    }

    /// What is wrong with a CD beside others that are kept.
    pub fn lints_of_context(&self, sid: u32, ssid: u32, context: &Context) -> Lints {
        let Context { cd, legal, space, .. } = *context;
        let other = |e: &ContextEntry| {
            let of = &e.context;
            of.space == space && of.legal && (e.sid, e.ssid) != (sid, ssid) && space.differs(of.cd, cd)
        };
        Lints::when(legal && self.contexts.any(other), Lint::SharedAsid)
    }

    /// ATSCHK changes.
    pub fn lints_of_atschk(&self) -> Lints {
        let depends = |e: &StreamEntry| {
            e.stream.legal
                && e.stream.ste.config() > mode::BYPASS
                && e.stream.ste.eats() == config::EATS_SPLIT
        };
        Lints::when(self.streams.any(depends), Lint::AtschkChanged)
    }

    /// Keeps an STE.
    pub fn insert_stream(&mut self, sid: u32, stream: Stream) {
        self.cont_max = self.cont_max.max(stream.ste.cont());
        self.streams.insert(sid.into(), StreamEntry { sid, stream }, |e| e.sid == sid);
    }

    /// A CD.
    #[inline]
    pub fn context(&self, sid: u32, ssid: u32) -> Option<&Context> {
        self.contexts.find((sid ^ ssid).into(), |e| e.sid == sid && e.ssid == ssid).map(|e| &e.context)
    }

    /// Keeps a CD.
    pub fn insert_context(&mut self, sid: u32, ssid: u32, context: Context) {
        let entry = ContextEntry { sid, ssid, context };
        self.contexts.insert((sid ^ ssid).into(), entry, |e| e.sid == sid && e.ssid == ssid);
    }

    /// Removes what `scope` covers; says how many entries.
    pub fn invalidate(&mut self, scope: &Scope) -> usize {
        let before = self.len();
        self.streams.remove(|e| scope.covers_stream(e.sid), |_| ());
        self.contexts.remove(|e| scope.covers_context(e.sid, e.ssid), |_| ());
        before - self.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.invalidate(&Scope::ALL_STREAMS);
    }

    /// Number of entries held.
    pub fn len(&self) -> usize {
        self.streams.len() + self.contexts.len()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod test {
    use super::super::features::IdrProfile;
    use super::*;

    #[test]
    fn invalidation() {
        let features = Features::new(IdrProfile::STANDARD).expect("a profile");
        for (scope, streams, contexts) in [
            (Scope::Streams { first: 2, last: 2 }, vec![1, 3], vec![(1, 0), (1, 5), (3, 0), (3, 5)]),
            (Scope::Streams { first: 2, last: 3 }, vec![1], vec![(1, 0), (1, 5)]),
            (Scope::ALL_STREAMS, vec![], vec![]),
            (
                Scope::Contexts { sid: 3, ssid: Some(5) },
                vec![1, 2, 3],
                vec![(1, 0), (1, 5), (2, 0), (2, 5), (3, 0)],
            ),
            (Scope::Contexts { sid: 1, ssid: None }, vec![1, 2, 3], vec![(2, 0), (2, 5), (3, 0), (3, 5)]),
        ] {
            let mut cache = ConfigCache::new(Shape::new(16, 4), Shape::new(16, 4));
            for sid in 1..=3 {
                cache.insert_stream(sid, Stream::new(Ste::default(), &features));
                for ssid in [0, 5] {
                    let context = Context::new(Cd::default(), Ste::default(), World::El1, &features);
                    cache.insert_context(sid, ssid, context);
                }
            }
            cache.invalidate(&scope);
            let left: Vec<_> = (1..=3).filter(|&sid| cache.stream(sid).is_some()).collect();
            let pairs = (1..=3).flat_map(|sid| [(sid, 0), (sid, 5)]);
            let left_contexts: Vec<_> =
                pairs.filter(|&(sid, ssid)| cache.context(sid, ssid).is_some()).collect();
            assert_eq!((left, left_contexts), (streams, contexts), "{scope:?}");
        }
    }
}

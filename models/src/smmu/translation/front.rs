//! An ordinary transaction whose STE and CD are cached, up to the main TLB: what a [`Translation`] does in three steps, without a
//! copy of anything. All that does not get as far is left to the translation.

use spec::smmu::ste::config as mode;

use super::super::caches::CacheStats;
use super::super::config;
use super::super::config_cache::{ConfigCache, Context, Stream};
use super::super::control::Control;
use super::super::micro_tlb::{MicroEntry, MicroTlb};
use super::super::request::Request;
use super::super::rights::Access;
use super::super::scope::{Kind, Tag};
use super::super::step::Outcome;
use super::super::tlb::Tlb;
use super::{State, Translation, access_of, asks_micro};

/// A transaction in front of the main TLB.
#[derive(Debug)]
pub(in crate::smmu) struct Front<'a> {
    request: &'a Request,
    access: Access,
    stream: &'a Stream,
    /// If stage 1 translates, its CD and the index of that.
    context: Option<(u32, &'a Context)>,
    tag: Tag,
}

impl<'a> Front<'a> {
    /// The transaction, if the micro TLB has been asked about it and it gets here. Nothing is counted yet.
    #[inline]
    pub(in crate::smmu) fn new(
        request: &'a Request,
        control: &Control,
        config: &'a ConfigCache,
    ) -> Option<Self> {
        if !asks_micro(request, control) {
            return None;
        }
        let (addr, features) = (request.addr, &control.features);
        let stream = config.stream(request.sid).filter(|stream| stream.legal)?;
        let mode = stream.ste.config();
        if mode <= mode::BYPASS {
            return None;
        }
        let access = access_of(request).overridden(stream.privcfg, stream.instcfg);
        let world = config::world(stream.ste, control);
        let vmid = config::vmid(stream.ste, world, features);
        let tag = Tag { world, vmid, ..Tag::default() };
        match config::context_index(stream.ste, request.ssid, mode & 1 != 0, features).ok()? {
            Some(index) => {
                let context = config.context(request.sid, index).filter(|context| context.legal)?;
                let upper = world.upper(addr);
                let open = access.privileged || !context.e0pd(upper, world, features);
                let (tag, arrives) = (context.tag(tag), open && context.spans(addr, upper));
                arrives.then_some(Self { request, access, stream, context: Some((index, context)), tag })
            }
            None => {
                let tag = Tag { kind: Kind::Ipa, ..tag };
                let translates = mode & 2 != 0 && features.reaches(addr);
                translates.then_some(Self { request, access, stream, context: None, tag })
            }
        }
    }

    /// What the main TLB knows. Otherwise [`Front::beyond`] goes on.
    #[inline]
    pub(in crate::smmu) fn in_main(
        &self,
        main: &Tlb,
        micro: &mut MicroTlb,
        stats: &mut CacheStats,
    ) -> Option<Outcome> {
        let (request, access) = (self.request, self.access);
        stats.streams.count(Some(()));
        if self.context.is_some() {
            stats.contexts.count(Some(()));
        }
        let found = main.lookup(&self.tag, request.addr).filter(|entry| entry.rights.permits(access));
        let entry = stats.main.count(found)?;
        let (index, ignored) = match self.context {
            Some((index, context)) => (index, context.top_byte_ignored(self.tag.world.upper(request.addr))),
            None => (0, false),
        };
        let new = MicroEntry::new(request, self.stream, index, ignored, *entry);
        let outcome = new.outcome(request, access);
        micro.insert(new);
        Some(outcome)
    }

    /// The translation, to go on with [`Translation::beyond_main`].
    #[inline]
    pub(in crate::smmu) fn beyond(&self) -> Translation {
        let Self { request, access, stream, context, tag } = *self;
        let mut translation = Translation::begun(*request);
        translation.state = State::Main;
        translation.at_once = true;
        translation.access = access;
        translation.stream = *stream;
        translation.stage2 = stream.ste.config() & 2 != 0;
        translation.two.tables = stream.stage2;
        translation.world = tag.world;
        translation.tag = tag;
        if let Some((index, context)) = context {
            translation.index = index;
            translation.context = *context;
            translation.one.tables = context.halves[usize::from(tag.world.upper(request.addr))];
        }
        translation
    }
}

//! Everything an SMMU caches, and how large it is.

use super::assoc::Shape;
use super::config_cache::ConfigCache;
use super::lint::Lints;
use super::micro_tlb::MicroTlb;
use super::scope::Scope;
use super::tlb::Tlb;
use super::walk_cache::{LEVELS, WalkCache};

/// Sizes of the caches. The defaults are those of gem5's SMMUv3 model, with its optional caches switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheShape {
    /// Entries of the micro TLB, fully associative.
    pub micro: usize,
    /// Main TLB.
    pub main: Shape,
    /// Stage-2 translations that nested walks use.
    pub ipa: Shape,
    /// Stream table entries.
    pub streams: Shape,
    /// Context descriptors.
    pub contexts: Shape,
    /// Table descriptors by stage and level.
    pub walk: [[Shape; LEVELS]; 2],
}

impl Default for CacheShape {
    fn default() -> Self {
        let levels = |sizes: [usize; LEVELS]| sizes.map(|entries| Shape::new(entries, 4));
        Self {
            micro: 32,
            main: Shape::new(2048, 4),
            ipa: Shape::new(128, 4),
            streams: Shape::new(64, 4),
            contexts: Shape::new(64, 4),
            walk: [levels([4, 28, 348]), levels([4, 28, 92])],
        }
    }
}

impl CacheShape {
    /// Nothing is cached.
    pub const NONE: Self = Self {
        micro: 0,
        main: Shape::new(0, 0),
        ipa: Shape::new(0, 0),
        streams: Shape::new(0, 0),
        contexts: Shape::new(0, 0),
        walk: [[Shape::new(0, 0); LEVELS]; 2],
    };
}

/// How often a structure was asked, and how often it knew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hits {
    /// Lookups.
    pub lookups: u64,
    /// Lookups that found what they were after.
    pub hits: u64,
}

impl Hits {
    /// Counts one lookup; passes its result through.
    pub fn count<T>(&mut self, result: Option<T>) -> Option<T> {
        self.lookups += 1;
        self.hits += u64::from(result.is_some());
        result
    }
}

/// Lookups by structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Micro TLB.
    pub micro: Hits,
    /// Main TLB.
    pub main: Hits,
    /// IPA cache.
    pub ipa: Hits,
    /// Stream table entries.
    pub streams: Hits,
    /// Context descriptors.
    pub contexts: Hits,
    /// Walk caches by stage and level.
    pub walk: [[Hits; LEVELS]; 2],
}

impl Hits {
    const fn since(self, earlier: Self) -> Self {
        Self { lookups: self.lookups - earlier.lookups, hits: self.hits - earlier.hits }
    }
}

impl CacheStats {
    /// Lookups since these.
    pub fn since(&self, earlier: &Self) -> Self {
        let levels = |stage: usize| {
            std::array::from_fn(|level| self.walk[stage][level].since(earlier.walk[stage][level]))
        };
        Self {
            micro: self.micro.since(earlier.micro),
            main: self.main.since(earlier.main),
            ipa: self.ipa.since(earlier.ipa),
            streams: self.streams.since(earlier.streams),
            contexts: self.contexts.since(earlier.contexts),
            walk: [levels(0), levels(1)],
        }
    }
}

/// Everything an SMMU caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caches {
    /// In front of everything, by StreamID.
    pub micro: MicroTlb,
    /// Translations of transactions: combined, stage-1-only and stage-2-only.
    pub main: Tlb,
    /// Stage-2 translations inside nested walks.
    pub ipa: Tlb,
    /// STEs and CDs.
    pub config: ConfigCache,
    /// Table descriptors.
    pub walk: WalkCache,
    /// Lookups so far.
    pub stats: CacheStats,
    /// What was odd about the structures that were read since the driver last told observers.
    pub lints: Lints,
}

impl Caches {
    /// Empty caches.
    pub fn new(shape: &CacheShape) -> Self {
        Self {
            micro: MicroTlb::new(shape.micro),
            main: Tlb::new(shape.main),
            ipa: Tlb::new(shape.ipa),
            config: ConfigCache::new(shape.streams, shape.contexts),
            walk: WalkCache::new(shape.walk),
            stats: CacheStats::default(),
            lints: Lints::NONE,
        }
    }

    /// Removes what an invalidation covers; says how many entries. Beyond the architecture's minimum it removes micro
    /// TLB entries together with the configuration they were made from.
    pub fn invalidate(&mut self, scope: &Scope) -> usize {
        let micro = self.micro.invalidate(scope);
        micro
            + match scope {
                Scope::Translations(scope) => {
                    self.main.invalidate(scope) + self.ipa.invalidate(scope) + self.walk.invalidate(scope)
                }
                config => self.config.invalidate(config),
            }
    }

    /// Forgets everything, as a reset does.
    pub fn clear(&mut self) {
        self.micro.clear();
        self.main.clear();
        self.ipa.clear();
        self.config.clear();
        self.walk.clear();
    }
}

//! The configuration cache: STEs by StreamID, CDs by StreamID and SubstreamID. Level-1 descriptors are not kept.

use spec::smmu::{Cd, Ste};

use super::assoc::{Assoc, Shape};
use super::scope::Scope;

#[derive(Clone, Copy, Debug)]
struct SteEntry {
    sid: u32,
    ste: Ste,
    legal: bool,
}

#[derive(Clone, Copy, Debug)]
struct CdEntry {
    sid: u32,
    ssid: u32,
    cd: Cd,
    legal: bool,
}

/// Both arrays. What was fetched is kept whatever it says, with the verdict on its legality.
#[derive(Clone, Debug)]
pub struct ConfigCache {
    streams: Assoc<SteEntry>,
    contexts: Assoc<CdEntry>,
}

impl ConfigCache {
    /// Empty ones.
    pub fn new(streams: Shape, contexts: Shape) -> Self {
        Self { streams: Assoc::new(streams), contexts: Assoc::new(contexts) }
    }

    /// The STE of a stream and whether it is legal.
    pub fn ste(&self, sid: u32) -> Option<(Ste, bool)> {
        self.streams.find(sid.into(), |e| e.sid == sid).map(|e| (e.ste, e.legal))
    }

    /// Keeps an STE.
    pub fn insert_ste(&mut self, sid: u32, ste: Ste, legal: bool) {
        self.streams.insert(sid.into(), SteEntry { sid, ste, legal }, |e| e.sid == sid);
    }

    /// A CD and whether it is legal.
    pub fn cd(&self, sid: u32, ssid: u32) -> Option<(Cd, bool)> {
        self.contexts.find((sid ^ ssid).into(), |e| e.sid == sid && e.ssid == ssid).map(|e| (e.cd, e.legal))
    }

    /// Keeps a CD.
    pub fn insert_cd(&mut self, sid: u32, ssid: u32, cd: Cd, legal: bool) {
        let entry = CdEntry { sid, ssid, cd, legal };
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
    use super::*;

    #[test]
    fn invalidation() {
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
                cache.insert_ste(sid, Ste::default(), true);
                for ssid in [0, 5] {
                    cache.insert_cd(sid, ssid, Cd::default(), false);
                }
            }
            cache.invalidate(&scope);
            let left: Vec<_> = (1..=3).filter(|&sid| cache.ste(sid).is_some()).collect();
            let pairs = (1..=3).flat_map(|sid| [(sid, 0), (sid, 5)]);
            let left_contexts: Vec<_> = pairs.filter(|&(sid, ssid)| cache.cd(sid, ssid).is_some()).collect();
            assert_eq!((left, left_contexts), (streams, contexts), "{scope:?}");
        }
    }
}

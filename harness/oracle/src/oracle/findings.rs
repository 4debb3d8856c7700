//! What was wrong, and what is held back until it is known whether it was.

use super::Oracle;
use crate::finding::{Finding, Kind};
use crate::memory::Seq;
use crate::past::{Old, Part, Reach, in_order};
use crate::repetition::{Resolved, SequenceId};
use crate::story::{Teller, Told};
use crate::walk::Step;
use crate::witness::{Dma, SmmuId, Time};
use spec::smmu::descriptor::Table;
use std::collections::BTreeSet;

/// What a finding is about: of those that are about the same the first is told.
type Key = (Kind, SmmuId, u32, u64);

fn key(kind: Kind, dma: &Dma) -> Key {
    (kind, dma.smmu, dma.sid, dma.iova >> 12)
}

/// The findings of one run.
#[derive(Debug)]
pub(super) struct Findings {
    told: Vec<Finding>,
    keys: BTreeSet<Key>,
    held: Vec<Held>,
    limit: usize,
    /// Findings that repeat one that was told, or exceed the limit.
    pub(super) repeated: u64,
}

/// What makes a finding none: all of these sequences are issued again, and until then software leaves these descriptors alone.
#[derive(Clone, Debug, Default)]
pub(super) struct Pardon {
    sequences: Vec<SequenceId>,
    leaves: Vec<Leaf>,
}

/// A descriptor of a page whose invalidation is complete unless it is issued again.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    addr: u64,
    step: Step,
    /// When it was complete.
    since: Seq,
}

/// A finding unless it is pardoned.
#[derive(Debug)]
struct Held {
    key: Key,
    pardon: Pardon,
    finding: Finding,
    /// Others that are about the same.
    more: u64,
}

impl Pardon {
    /// Nothing can make the finding none.
    pub(super) fn is_none(&self) -> bool {
        self.sequences.is_empty()
    }

    /// Something became known of a sequence. Whether all that there was to wait for has happened.
    pub(super) fn granted(&mut self, resolved: &Resolved) -> bool {
        let waits = self.sequences.contains(&resolved.id);
        match resolved.again {
            Some(_) => self.sequences.retain(|id| *id != resolved.id),
            None if waits => self.sequences.clear(),
            None => {}
        }
        waits && resolved.again.is_some() && self.sequences.is_empty()
    }
}

impl Findings {
    /// Tell about `limit` of them.
    pub(super) fn new(limit: usize) -> Self {
        Self { told: Vec::new(), keys: BTreeSet::new(), held: Vec::new(), limit, repeated: 0 }
    }

    pub(super) fn told(&self) -> &[Finding] {
        &self.told
    }

    /// All of them, in order of time.
    pub(super) fn finish(mut self) -> Vec<Finding> {
        self.told.sort_by_key(|f| f.time);
        self.told
    }

    /// What was told may be told again.
    pub(super) fn forget(&mut self) {
        self.keys.clear();
    }

    /// Whether nothing more is told of what such a finding is about.
    pub(super) fn is_known(&self, kind: Kind, dma: &Dma) -> bool {
        self.told.len() >= self.limit || self.keys.contains(&key(kind, dma))
    }

    /// Whether a finding is to be told; otherwise it counts as a repetition.
    fn is_new(&mut self, key: Key) -> bool {
        let new = self.told.len() < self.limit && self.keys.insert(key);
        self.repeated += u64::from(!new);
        new
    }

    /// Whether a finding may be held back; nothing if it is one of those already.
    fn can_hold(&mut self, key: Key, pardon: &Pardon) -> Option<bool> {
        let same = |h: &&mut Held| h.key == key && h.pardon.sequences == pardon.sequences;
        match self.held.iter_mut().find(same) {
            Some(held) => held.more += 1,
            None => return Some(self.held.len() < self.limit),
        }
        None
    }

    fn confirm(&mut self, held: Held, because: String) {
        self.repeated += held.more;
        if self.is_new(held.key) {
            let mut finding = held.finding;
            finding.story.push(because);
            self.told.push(finding);
        }
    }
}

impl Oracle {
    pub(super) fn find(&mut self, kind: Kind, dma: &Dma, tell: impl FnOnce(&Teller<'_>) -> Told) {
        self.find_at(kind, self.time, dma, tell);
    }

    pub(super) fn find_at(
        &mut self,
        kind: Kind,
        time: Time,
        dma: &Dma,
        tell: impl FnOnce(&Teller<'_>) -> Told,
    ) {
        self.find_unless(Pardon::default(), kind, time, dma, tell);
    }

    /// A finding, at once or as soon as it is clear that it is one.
    pub(super) fn find_unless(
        &mut self,
        pardon: Pardon,
        kind: Kind,
        time: Time,
        dma: &Dma,
        tell: impl FnOnce(&Teller<'_>) -> Told,
    ) {
        let key = key(kind, dma);
        let certain = pardon.is_none() || self.findings.keys.contains(&key);
        let tells = if certain {
            self.findings.is_new(key)
        } else {
            let can = self.findings.can_hold(key, &pardon);
            self.counters.undecided += u64::from(can == Some(false));
            can == Some(true)
        };
        if !tells {
            return;
        }
        let (title, story) = tell(&self.teller());
        let sid = (kind != Kind::LostInterrupt).then_some(dma.sid);
        let finding = Finding { kind, time, smmu: dma.smmu, sid, title, story };
        if certain {
            self.findings.told.push(finding);
        } else {
            self.findings.held.push(Held { key, pardon, finding, more: 0 });
        }
    }

    /// What makes a finding about this transaction none. `legal` says whether it is legal as far as caches reach; `used`
    /// is what it made use of.
    pub(super) fn pardon(
        &mut self,
        dma: &Dma,
        used: &[Old],
        mut legal: impl FnMut(&mut Self, Reach) -> bool,
    ) -> Pardon {
        let mut sequences = self.invalidations.waiting(dma.smmu);
        let leaves: Vec<_> = used.iter().filter_map(leaf).collect();
        if sequences.is_empty()
            || self.is_used_anew(&leaves, Seq::MAX)
            || !legal(self, Reach::Unrepeated(None))
        {
            return Pardon::default();
        }
        let decides = |id: &SequenceId| !legal(self, Reach::Unrepeated(Some(*id)));
        let decisive: Vec<_> = sequences.iter().copied().filter(decides).collect();
        // Only some of them together would make it illegal.
        if !decisive.is_empty() {
            sequences = decisive;
        }
        Pardon { sequences, leaves }
    }

    /// Whether software has put another page into one of these descriptors, or taken it away, after the invalidation of
    /// what was there was complete: then it does not wait for another.
    fn is_used_anew(&self, leaves: &[Leaf], before: Seq) -> bool {
        // Not the Access flag and the dirty state, which hardware changes.
        const PAGE: u64 = 1 | ((1 << 48) - 1) >> 12 << 12;
        leaves.iter().any(|leaf| {
            let page = |word| in_order(word, &leaf.step) & PAGE;
            let mut now = self.memory.word(leaf.addr);
            self.memory.changes(leaf.addr).take_while(|c| c.at > leaf.since).any(|c| {
                let after = std::mem::replace(&mut now, c.old);
                c.at < before && page(after) != page(c.old)
            })
        })
    }

    /// It became known of sequences whether they were issued again.
    pub(super) fn resolve(&mut self, resolved: &[Resolved]) {
        for resolved in resolved {
            for flight in self.in_flight.values_mut() {
                flight.overtaken.take_if(|o| o.pardon.granted(resolved));
            }
            for mut held in std::mem::take(&mut self.findings.held) {
                let concerned = held.pardon.sequences.contains(&resolved.id);
                let anew = concerned
                    && resolved.again.is_some_and(|again| self.is_used_anew(&held.pardon.leaves, again));
                if held.pardon.granted(resolved) && !anew {
                    self.counters.races += u64::from(held.finding.kind == Kind::StaleUse) * (1 + held.more);
                } else if anew || held.pardon.is_none() {
                    let because = self.teller().not_repeated(resolved.id.queue, anew);
                    self.findings.confirm(held, because);
                } else {
                    self.findings.held.push(held);
                }
            }
        }
    }

    /// Nothing will be issued again any more.
    pub(super) fn resolve_all(&mut self) {
        for held in std::mem::take(&mut self.findings.held) {
            let because = self.teller().not_repeated(held.pardon.sequences[0].queue, false);
            self.findings.confirm(held, because);
        }
    }
}

/// The descriptor of a page that was used.
fn leaf(old: &Old) -> Option<Leaf> {
    let Part::Descriptor(step) = old.part else { return None };
    let is_leaf = old.held & 1 != 0 && (step.level == 3 || !Table([old.held]).table());
    let since = old.condemned.filter(|_| is_leaf)?.completed;
    Some(Leaf { addr: old.addr, step, since })
}

//! Silicon that may lose an invalidation unless it is issued twice (erratum T264-SMMU-3 of Tegra264): whether software did.
//!
//! ```text
//!   TLBI a, CFGI b, SYNC      a sequence: complete, if nobody issues it again
//!                             (others may issue theirs here)
//!   TLBI a, CFGI b, SYNC      it was issued again: only now it is complete
//! ```
//! Between the two nobody can tell software that will issue the sequence again from software that will not. Until it is known, what
//! depends on that is held back. ATC_INV is not affected.

use crate::memory::Seq;
use crate::witness::{Queue, SmmuId};
use spec::smmu::Command;
use std::collections::{BTreeMap, VecDeque};

/// Invalidations of one queue up to their CMD_SYNC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SequenceId {
    pub(crate) queue: Queue,
    nth: u64,
}

/// Where an invalidation is kept.
type Place = (SmmuId, usize);

/// A sequence of which is known whether it was issued again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) id: SequenceId,
    /// When that was handed over, if it was.
    pub(crate) again: Option<Seq>,
    pub(crate) places: Vec<Place>,
}

/// What may have to be issued twice.
#[derive(Debug)]
pub(crate) struct Repetitions {
    /// SMMUs that have the erratum.
    affected: Vec<bool>,
    queues: BTreeMap<Queue, Issued>,
    next: u64,
    /// Sequences of one queue that may wait at once.
    waiting_max: usize,
}

#[derive(Debug, Default)]
struct Issued {
    /// First issues since the last CMD_SYNC.
    commands: Vec<Command>,
    places: Vec<Place>,
    /// Oldest first.
    waiting: VecDeque<Sequence>,
}

#[derive(Debug)]
struct Sequence {
    id: SequenceId,
    commands: Vec<Command>,
    /// Those that have not been issued again.
    left: Vec<Command>,
    /// When the first of those that have been was handed over.
    again: Seq,
    places: Vec<Place>,
}

impl Repetitions {
    /// Of SMMUs with the erratum or without. Of one queue up to `waiting_max` sequences wait at once.
    pub(crate) fn new(affected: Vec<bool>, waiting_max: usize) -> Self {
        Self { affected, queues: BTreeMap::new(), next: 0, waiting_max: waiting_max.max(1) }
    }

    /// Whether the SMMU has the erratum.
    pub(crate) fn concern(&self, smmu: Option<SmmuId>) -> bool {
        smmu.is_some_and(|smmu| self.affected.get(usize::from(smmu)) == Some(&true))
    }

    /// A CFGI or TLBI that was handed over at `issued` was consumed: whether it is the second of its kind.
    pub(crate) fn consumed(&mut self, queue: Queue, command: Command, issued: Seq) -> bool {
        let of = self.queues.entry(queue).or_default();
        let waits = |s: &&mut Sequence| s.left.contains(&command);
        if let Some(sequence) = of.waiting.iter_mut().find(waits) {
            if sequence.left.len() == sequence.commands.len() {
                sequence.again = issued;
            }
            sequence.left.retain(|c| *c != command);
            return true;
        }
        // A sequence may name it more than once.
        let again = of.waiting.iter().any(|s| s.commands.contains(&command));
        if !again && !of.commands.contains(&command) {
            of.commands.push(command);
        }
        again
    }

    /// The first issue just consumed is kept here.
    pub(crate) fn keep(&mut self, queue: Queue, places: impl IntoIterator<Item = Place>) {
        self.queues.entry(queue).or_default().places.extend(places);
    }

    /// A CMD_SYNC was consumed: the sequence that now waits, and those that no longer do.
    pub(crate) fn synced(&mut self, queue: Queue) -> (Option<(SequenceId, &[Place])>, Vec<Resolved>) {
        let Some(of) = self.queues.get_mut(&queue) else { return (None, Vec::new()) };
        let mut resolved = Vec::new();
        of.waiting.retain_mut(|s| {
            let done = s.left.is_empty();
            if done {
                let places = std::mem::take(&mut s.places);
                resolved.push(Resolved { id: s.id, again: Some(s.again), places });
            }
            !done
        });
        let begun = !of.commands.is_empty();
        if begun {
            let id = SequenceId { queue, nth: self.next };
            self.next += 1;
            let commands = std::mem::take(&mut of.commands);
            let places = std::mem::take(&mut of.places);
            of.waiting.push_back(Sequence { id, left: commands.clone(), commands, again: 0, places });
        }
        // Whoever issues waits for its CMD_SYNC and issues again. So no more can wait than issue at once.
        while of.waiting.len() > self.waiting_max {
            resolved.extend(of.waiting.pop_front().map(Sequence::abandoned));
        }
        let waits = of.waiting.back().filter(|_| begun).map(|s| (s.id, &s.places[..]));
        (waits, resolved)
    }

    /// The queue begins anew: nothing in it will be issued again.
    pub(crate) fn restarted(&mut self, queue: Queue) -> Vec<Resolved> {
        let waiting = self.queues.remove(&queue).map(|of| of.waiting);
        waiting.into_iter().flatten().map(Sequence::abandoned).collect()
    }

    /// The sequences with an invalidation of this SMMU that wait.
    pub(crate) fn waiting(&self, smmu: SmmuId) -> Vec<SequenceId> {
        let here = |s: &&Sequence| s.places.iter().any(|(of, _)| *of == smmu);
        self.queues.values().flat_map(|of| &of.waiting).filter(here).map(|s| s.id).collect()
    }
}

impl Sequence {
    fn abandoned(self) -> Resolved {
        Resolved { id: self.id, again: None, places: self.places }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    /// Letters are commands and `!` a CMD_SYNC, capitals and `?` those of another queue; `^` is a restart. What is known of which
    /// sequence, the nth to begin: that it was issued again, or was not.
    #[test]
    fn what_is_a_repetition() {
        for (waiting_max, text, want) in [
            (1, "a!", ""),
            (1, "a!a!", "+0"),
            (1, "a!a", ""),
            (1, "a!b!", "-0"),
            (1, "a!b!a!", "-0 -1"),
            (1, "a!b!b!a!", "-0 +1"),
            (1, "a!!a!", "+0"),
            (1, "a!a!a!", "+0"),
            (1, "a!a!a!a!", "+0 +1"),
            (1, "a!a!a!b!", "+0 -1"),
            (1, "ab!ab!", "+0"),
            (1, "ab!ba!", "+0"),
            (1, "ab!a!b!", "+0"),
            (1, "ab!a!c!", "-0"),
            (1, "aa!aa!b!", "+0"),
            (1, "aa!a!b!", "+0"),
            (1, "a!ab!", "+0"),
            (1, "a!ab!b!", "+0 +1"),
            (1, "a!^a!", "-0"),
            (1, "a!A?B?a!", "-1 +0"),
            (2, "a!b!a!b!", "+0 +1"),
            (2, "a!b!b!a!", "+1 +0"),
            (2, "a!b!c!", "-0"),
            (2, "ab!a!c!b!c!", "+0 +1"),
        ] {
            let mut all = Repetitions::new(vec![true], waiting_max);
            let (mut got, mut begun) = (Vec::new(), Vec::new());
            for (at, c) in text.chars().enumerate() {
                let queue = u16::from(c == '?' || c.is_ascii_uppercase());
                let queue = Queue::Physical { smmu: 0, queue };
                let resolved = match c {
                    '!' | '?' => {
                        let (waits, resolved) = all.synced(queue);
                        begun.extend(waits.map(|(id, _)| id));
                        resolved
                    }
                    '^' => all.restarted(queue),
                    _ => {
                        let asid = u16::from(c.to_ascii_lowercase() as u8);
                        all.consumed(queue, Command::tlbi_nh_asid(asid, 0), at as Seq);
                        continue;
                    }
                };
                for r in resolved {
                    let nth = begun.iter().position(|id| *id == r.id).unwrap();
                    got.push(format!("{}{nth}", if r.again.is_some() { '+' } else { '-' }));
                }
            }
            assert_eq!(got.join(" "), want, "{text}, {waiting_max} at once");
        }
    }
}

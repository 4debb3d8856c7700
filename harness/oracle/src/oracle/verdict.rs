//! Whether what happened to a transaction was possible.

use super::Oracle;
use super::findings::Pardon;
use crate::memory::Seq;
use crate::past::{Choices, Old, Past, Present, Reach, Scene};
use crate::walk::{self, Due, Outcome};
use crate::witness::Dma;

/// How a translated transaction is judged.
pub(super) enum Verdict {
    Current,
    Race,
    /// By what should be gone; unless it need not be yet.
    Stale(Vec<Old>, Pardon),
    /// It goes where it should, but too early.
    Unrecorded,
    Never,
}

/// What a search of the past comes to.
pub(super) enum Search {
    Found(Vec<Old>),
    Nothing,
    GaveUp,
}

/// The outcome of a walk, good until a word that a walk has read changes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recent {
    /// The request with its page for an address.
    dma: Dma,
    at: Seq,
    outcome: Outcome,
}

/// Outcomes of walks that are kept.
pub(super) const RECENT: usize = 1 << 12;

impl Oracle {
    /// What the tables say now.
    pub(crate) fn expected(&mut self, dma: &Dma) -> Outcome {
        if self.memory.is_watching() {
            // Nobody says when a cached outcome ceases to hold.
            self.at += 1;
            return self.walk(dma);
        }
        // Whatever does not decide the outcome is the same in all keys.
        let key = Dma { id: 0, iova: dma.iova >> 12, len: 0, arrived: None, ats: false, ..*dma };
        let hash = (key.iova
            ^ u64::from(key.sid) << 40
            ^ u64::from(key.ssid.unwrap_or(0)) << 20
            ^ u64::from(key.smmu))
        .wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let slot = (hash >> 40) as usize % RECENT;
        let fresh = self.newest_change(dma.smmu);
        if let Some(recent) = &self.recent[slot]
            && recent.dma == key
            && recent.at >= fresh
        {
            return match recent.outcome {
                Outcome::Translated { pa, bits, due } => {
                    Outcome::Translated { pa: pa & !0xfff | dma.iova & 0xfff, bits, due }
                }
                other => other,
            };
        }
        let outcome = self.walk(dma);
        // Faults at stage 2 only name the page of an address, so they hold for the page too.
        self.recent[slot] = Some(Recent { dma: key, at: self.at, outcome });
        outcome
    }

    fn walk(&mut self, dma: &Dma) -> Outcome {
        let mut read = std::mem::take(&mut self.read);
        read.clear();
        let scene = self.scene(dma);
        let outcome = walk::translate(&mut Present { scene, read: &mut read }, scene.smmu, dma);
        self.memory.walked(self.at, self.time, &read);
        self.read = read;
        outcome
    }

    pub(super) fn scene<'a>(&'a self, dma: &'a Dma) -> Scene<'a> {
        let i = usize::from(dma.smmu);
        Scene {
            memory: &self.memory,
            invalidations: &self.invalidations,
            registers: &self.smmus[i],
            smmu: &self.platform.smmus[i],
            answering: &self.platform.memory,
            dma,
            update_bound: self.config.update_bound,
            instead: None,
        }
    }

    pub(super) fn judge(&mut self, dma: &Dma, pa: u64) -> Verdict {
        let leads = |outcome, before| matches!(outcome, Outcome::Translated { pa: to, due, .. } if to == pa && due == before);
        let reaches = |outcome| leads(outcome, false);
        let now = self.expected(dma);
        if reaches(now) {
            return Verdict::Current;
        }
        self.look();
        let mut unrecorded = leads(now, true);
        let mut wanted = |outcome| {
            unrecorded |= leads(outcome, true);
            reaches(outcome)
        };
        match self.search(dma, Reach::Cached, &mut wanted) {
            Search::Found(_) => return Verdict::Race,
            Search::GaveUp => {
                self.counters.undecided += 1;
                return Verdict::Race;
            }
            Search::Nothing => {}
        }
        match self.search(dma, Reach::Ever, &mut |o| reaches(o)) {
            Search::Found(used) => {
                let pardon = self.pardon(dma, &used, |oracle, reach| {
                    !matches!(oracle.search(dma, reach, &mut |o| reaches(o)), Search::Nothing)
                });
                Verdict::Stale(used, pardon)
            }
            Search::Nothing | Search::GaveUp if unrecorded => Verdict::Unrecorded,
            Search::Nothing | Search::GaveUp => Verdict::Never,
        }
    }

    /// Whether some legal outcome satisfies `wanted`; the present is asked first.
    pub(super) fn some_outcome(&mut self, dma: &Dma, wanted: &mut dyn FnMut(Outcome) -> bool) -> bool {
        let now = self.expected(dma);
        if wanted(now) {
            return true;
        }
        self.look();
        match self.search(dma, Reach::Cached, wanted) {
            Search::Found(_) => true,
            Search::Nothing => false,
            Search::GaveUp => {
                self.counters.undecided += 1;
                true
            }
        }
    }

    pub(super) fn search(
        &mut self,
        dma: &Dma,
        reach: Reach,
        wanted: &mut dyn FnMut(Outcome) -> bool,
    ) -> Search {
        self.search_noting(dma, reach, None, &mut |outcome, _| wanted(outcome))
    }

    /// The same for outcomes together with the changes of descriptors that are called for.
    pub(super) fn search_noting(
        &mut self,
        dma: &Dma,
        reach: Reach,
        instead: Option<(u64, u64)>,
        wanted: &mut dyn FnMut(Outcome, &[Due]) -> bool,
    ) -> Search {
        let mut dues = Vec::new();
        let mut choices = Choices::default();
        let mut unsure = false;
        for _ in 0..self.config.combinations {
            let scene = Scene { instead, ..self.scene(dma) };
            dues.clear();
            let mut past =
                Past { scene, reach, choices: &mut choices, used: Vec::new(), unknown: None, unsure: false };
            let outcome = walk::translate_noting(&mut past, scene.smmu, dma, &mut dues);
            let Past { used, unknown, unsure: doubtful, .. } = past;
            if let Some((addr, words)) = unknown
                && self.memory.learn(self.at, self.time, addr, words)
            {
                choices.again();
                continue;
            }
            unsure |= doubtful;
            if wanted(outcome, &dues) {
                return Search::Found(used);
            }
            if !choices.advance() {
                return if unsure { Search::GaveUp } else { Search::Nothing };
            }
        }
        Search::GaveUp
    }
}

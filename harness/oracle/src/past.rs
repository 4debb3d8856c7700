//! Views of memory and registers for the walker: the present, and every past that a cache may still hold.
//!
//! A past view meets a choice wherever a word has held several values that count; running the walker once for every
//! combination of choices enumerates everything that the hardware may do.

use crate::check;
use crate::invalidation::{Invalidation, Invalidations};
use crate::memory::{Change, Memory, Seq};
use crate::repetition::SequenceId;
use crate::walk::{self, Step, Structure, Tag, View};
use crate::witness::{Dma, Registers, Smmu, Time};
use spec::smmu::descriptor::{Leaf1, Table};
use spec::smmu::ste::config;
use spec::smmu::{Cd, Ste};
use std::ops::Range;

/// What all views of one moment share.
#[derive(Clone, Copy)]
pub(crate) struct Scene<'a> {
    pub(crate) memory: &'a Memory,
    pub(crate) invalidations: &'a Invalidations,
    /// Register values of the SMMU with the moment from which they hold, oldest first; never empty.
    pub(crate) registers: &'a [(Seq, Time, Registers)],
    pub(crate) smmu: &'a Smmu,
    /// Addresses that answer; empty: all.
    pub(crate) answering: &'a [Range<u64>],
    pub(crate) dma: &'a Dma,
    /// How long an SMMU may go on using register values that were replaced.
    pub(crate) update_bound: Time,
    /// A descriptor as it was when the hardware changed it: its address and the word.
    pub(crate) instead: Option<(u64, u64)>,
}

impl Scene<'_> {
    fn answers(&self, addr: u64) -> bool {
        self.answering.is_empty() || self.answering.iter().any(|r| r.contains(&addr))
    }

    fn now(&self) -> Registers {
        self.registers.last().expect("an SMMU starts with its reset values").2
    }

    fn snapshot<const N: usize>(&self, addr: u64, before: Option<Seq>) -> [u64; N] {
        std::array::from_fn(|i| {
            let addr = addr + 8 * i as u64;
            before.map_or_else(|| self.memory.word(addr), |at| self.memory.word_before(addr, at))
        })
    }
}

/// Memory and registers as they are; notes which words were read, and what they held.
pub(crate) struct Present<'a> {
    pub(crate) scene: Scene<'a>,
    pub(crate) read: &'a mut Vec<(u64, u64)>,
}

impl Present<'_> {
    fn read<const N: usize>(&mut self, addr: u64) -> Option<[u64; N]> {
        let words = self.scene.memory.now(addr).filter(|_| self.scene.answers(addr))?;
        self.read.extend((0..).zip(words).map(|(i, word)| (addr + 8 * i, word)));
        Some(words)
    }
}

impl View for Present<'_> {
    fn registers(&mut self) -> Registers {
        self.scene.now()
    }

    fn structure<const N: usize>(&mut self, addr: u64, _: Structure) -> Option<[u64; N]> {
        self.read(addr)
    }

    fn descriptor(&mut self, addr: u64, step: &Step) -> Option<u64> {
        if let Some((at, word)) = self.scene.instead
            && at == addr
        {
            return Some(in_order(word, step));
        }
        self.read(addr).map(|[word]| in_order(word, step))
    }

    fn recall_ste(&mut self, _: u64, ste: Ste, _: &Tag) -> Ste {
        ste
    }

    fn recall_cd(&mut self, _: u64, cd: Cd, _: &Tag) -> Cd {
        cd
    }
}

pub(crate) fn in_order(word: u64, step: &Step) -> u64 {
    if step.big_endian { word.swap_bytes() } else { word }
}

/// How far back a past view goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What no completed invalidation has removed.
    Cached,
    /// What caches may have held at some time, whether it should be gone or not.
    Kept,
    /// The same, if whatever may be issued again was not complete, but for this sequence.
    Unrepeated(Option<SequenceId>),
    /// Everything that is remembered.
    Ever,
}

/// One combination of choices, and the way to the next.
#[derive(Debug, Default)]
pub(crate) struct Choices {
    script: Vec<(u32, u32)>,
    next: usize,
}

impl Choices {
    fn choose(&mut self, of: usize) -> usize {
        if of <= 1 {
            return 0;
        }
        if self.next == self.script.len() {
            self.script.push((0, of as u32));
        }
        let (choice, known) = self.script[self.next];
        assert!(known as usize == of, "the walk is a function of the choices made so far");
        self.next += 1;
        choice as usize
    }

    /// Go through the same combination again, as far as it got.
    pub(crate) fn again(&mut self) {
        self.script.truncate(self.next);
        self.next = 0;
    }

    /// Go to the next combination; false when there is none.
    pub(crate) fn advance(&mut self) -> bool {
        self.script.truncate(self.next);
        self.next = 0;
        while let Some((choice, of)) = self.script.last_mut() {
            if *choice + 1 < *of {
                *choice += 1;
                return true;
            }
            self.script.pop();
        }
        false
    }
}

/// What an old value was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Registers,
    Structure(Structure),
    Descriptor(Step),
    /// STE or CD fields that live on in cached translations.
    Remembered(Structure, Tag),
}

/// An old value that the walk made use of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Old {
    pub(crate) part: Part,
    pub(crate) addr: u64,
    pub(crate) held: u64,
    /// When it ceased to be.
    pub(crate) at: Seq,
    pub(crate) time: Time,
    /// Who changed it and in which word, unless it is a register.
    pub(crate) change: Option<Change>,
    /// The completed invalidation that should have removed it.
    pub(crate) condemned: Option<Invalidation>,
}

/// Memory and registers as caches may show them.
pub(crate) struct Past<'a> {
    pub(crate) scene: Scene<'a>,
    pub(crate) reach: Reach,
    pub(crate) choices: &'a mut Choices,
    /// Old values used in this run, if what is gone may be seen.
    pub(crate) used: Vec<Old>,
    /// The walk ended at these words, which nobody knows yet: their address and number.
    pub(crate) unknown: Option<(u64, usize)>,
    /// A word that it met may have held more than is remembered, and caches may still show that.
    pub(crate) unsure: bool,
}

/// Old values of one word or structure that are considered.
const DEPTH: usize = 12;

impl Past<'_> {
    fn dma(&self) -> &Dma {
        self.scene.dma
    }

    fn vmw(&self) -> u64 {
        self.scene.now().cr0.vmw()
    }

    fn complete_after(&self, since: Seq) -> impl Iterator<Item = &Invalidation> {
        let counts = |awaits| match self.reach {
            Reach::Cached | Reach::Kept | Reach::Ever => true,
            Reach::Unrepeated(but) => but == Some(awaits),
        };
        let complete = self.scene.invalidations.complete_after(self.dma().smmu, since);
        complete.filter(move |i| i.awaits.is_none_or(counts))
    }

    /// The completed invalidation, if any, that removed what was cached of `part` before `since`.
    fn removed(&self, part: &Part, value: u64, since: Seq) -> Option<Invalidation> {
        let dma = self.dma();
        let vmw = self.vmw();
        if dma.ats {
            return self.complete_after(since).find(|i| i.covers_ats(dma.sid, dma.ssid, dma.iova)).copied();
        }
        match part {
            Part::Registers => {
                self.complete_after(since).find(|i| i.covers_structure(dma.sid, Structure::Ste)).copied()
            }
            Part::Structure(what) => {
                self.complete_after(since).find(|i| i.covers_structure(dma.sid, *what)).copied()
            }
            Part::Remembered(Structure::Ste | Structure::L1Std, tag) => {
                let step = Step { tag: *tag, stage: 2, level: 0, granule: 12, input: 0, big_endian: false };
                let wide =
                    |i: &&Invalidation| i.covers_stage2(&step, false, vmw) && i.covers_combined(&step, vmw);
                self.complete_after(since).find(wide).copied()
            }
            Part::Remembered(_, tag) => {
                let step =
                    Step { tag: *tag, stage: 1, level: 0, granule: 12, input: dma.iova, big_endian: false };
                self.complete_after(since).find(|i| i.covers_stage1(&step, false, false, vmw)).copied()
            }
            Part::Descriptor(step) if step.stage == 1 => {
                let leaf = step.level == 3 || !Table([value]).table();
                let global = leaf && !Leaf1([value]).ng() && step.tag.world != check::World::El2;
                self.complete_after(since).find(|i| i.covers_stage1(step, leaf, global, vmw)).copied()
            }
            Part::Descriptor(step) => {
                let leaf = step.level == 3 || !Table([value]).table();
                let mut stage2 = self.complete_after(since).filter(|i| i.covers_stage2(step, leaf, vmw));
                if step.tag.va.is_none() {
                    return stage2.next().copied();
                }
                // Combined translations outlive the stage-2 entry they were made from: both must go, in this order.
                stage2.find_map(|i| {
                    let both = i.covers_combined(step, vmw).then_some(i);
                    both.or_else(|| self.complete_after(i.completed).find(|k| k.covers_combined(step, vmw)))
                        .copied()
                })
            }
        }
    }

    /// Whether the transaction had arrived by then.
    fn under_way(&self, time: Time) -> bool {
        self.dma().arrived.is_none_or(|arrived| time >= arrived)
    }

    /// Whether what is gone may be seen, too.
    fn is_beyond(&self) -> bool {
        matches!(self.reach, Reach::Kept | Reach::Ever)
    }

    /// Whether an old value may still be seen.
    fn possible(&self, part: &Part, value: u64, at: Seq, time: Time) -> bool {
        // What does not translate is not cached: only a walk that was under way can have read it.
        let transient = matches!(part, Part::Descriptor(_)) && value & 1 == 0;
        match self.reach {
            Reach::Ever => true,
            _ if transient => self.under_way(time),
            Reach::Kept => true,
            Reach::Cached | Reach::Unrepeated(_) => self.removed(part, value, at).is_none(),
        }
    }

    /// Remember the use of an old value, for the story.
    fn note(&mut self, part: Part, addr: u64, held: u64, (at, time): (Seq, Time), change: Option<Change>) {
        if self.is_beyond() {
            let condemned = self.removed(&part, held, at);
            self.used.push(Old { part, addr, held, at, time, change, condemned });
        }
    }

    /// Whether these words can be read, and are known.
    fn can_read(&mut self, addr: u64, words: usize) -> bool {
        let known = self.scene.memory.knows(addr, words);
        if !known {
            self.unknown = Some((addr, words));
        }
        known && self.scene.answers(addr)
    }

    /// Whether caches may hold a value of a word that is no longer remembered.
    fn doubt(&mut self, addr: u64, words: usize, part: &Part) {
        if self.is_beyond() || self.unsure {
            return;
        }
        // The least that any value stands for: a page at the last level, else a table.
        let least = match part {
            Part::Descriptor(step) if step.level < 3 => Table([0]).with_valid(true).with_table(true).0[0],
            _ => 0,
        };
        let lost = (0..words as u64).filter_map(|i| self.scene.memory.lost(addr + 8 * i)).max();
        self.unsure = lost.is_some_and(|at| self.removed(part, least, at).is_none());
    }

    /// The snapshots of a structure that differ from each other and count, latest first, each with the change that
    /// ended it.
    fn snapshots<const N: usize>(
        &self,
        addr: u64,
        part: &Part,
        fits: impl Fn(&[u64; N]) -> bool,
    ) -> Vec<([u64; N], Option<Change>)> {
        let mut changes: Vec<Change> = (0..N as u64)
            .flat_map(|i| self.scene.memory.changes(addr + 8 * i).take(DEPTH).copied())
            .collect();
        changes.sort_by_key(|c| std::cmp::Reverse(c.at));
        let mut found = vec![(self.scene.snapshot(addr, None), None)];
        for change in changes.into_iter().take(DEPTH) {
            let words: [u64; N] = self.scene.snapshot(addr, Some(change.at));
            let new = found.iter().all(|(known, _)| *known != words);
            if new && fits(&words) && self.possible(part, words[0], change.at, change.time) {
                found.push((words, Some(change)));
            }
        }
        found
    }

    /// What leaves with the Contiguous bit say of their neighbour here: a TLB may hold one entry for all of them.
    fn neighbours(&self, addr: u64, step: &Step, found: &mut Vec<(u64, Option<Change>)>) {
        let group = walk::contiguous(step.granule, step.level);
        let (part, memory) = (Part::Descriptor(*step), self.scene.memory);
        if !memory.has_contiguous() && !step.big_endian {
            return;
        }
        let first = addr & !(8 * group - 1);
        for at in (first..first + 8 * group).step_by(8).filter(|at| *at != addr && memory.knows(*at, 1)) {
            let old = memory
                .changes(at)
                .take(DEPTH)
                .filter(|change| self.possible(&part, in_order(change.old, step), change.at, change.time));
            let words = std::iter::once((memory.word(at), None)).chain(old.map(|c| (c.old, Some(*c))));
            for (word, change) in words {
                let implied = walk::implied(in_order(word, step), step, (addr - first) / 8, group);
                if let Some(implied) = implied.map(|word| in_order(word, step))
                    && found.iter().all(|(known, _)| *known != implied)
                {
                    found.push((implied, change));
                }
            }
        }
    }

    /// Choose one of the snapshots that fit, or `now` in place of the present.
    fn pick<const N: usize>(
        &mut self,
        addr: u64,
        part: Part,
        now: Option<[u64; N]>,
        fits: impl Fn(&[u64; N]) -> bool,
    ) -> [u64; N] {
        self.doubt(addr, N, &part);
        let mut found = self.snapshots(addr, &part, fits);
        if let Some(now) = now {
            found[0].0 = now;
        }
        let (words, change) = found[self.choices.choose(found.len())];
        if let Some(change) = change {
            self.note(part, addr, words[0], (change.at, change.time), Some(change));
        }
        words
    }
}

impl View for Past<'_> {
    fn registers(&mut self) -> Registers {
        let mut found = vec![(self.scene.now(), None)];
        for pair in self.scene.registers.windows(2).rev().take(DEPTH) {
            let (old, (at, time, _)) = (pair[0].2, pair[1]);
            // An SMMU that has been enabled does not go back to bypass, nor the other way, once the update is over. One that has failed
            // does not go back at all.
            let now = self.scene.now();
            let same = old.cr0.smmuen() == now.cr0.smmuen() && old.failed == now.failed;
            let pending = self.under_way(time + self.scene.update_bound);
            // Another table base shows in entries cached from it.
            let kept = same
                && (self.is_beyond()
                    || (old.cr0.smmuen() && self.removed(&Part::Registers, 0, at).is_none()));
            if (kept || pending) && found.iter().all(|(known, _)| *known != old) {
                found.push((old, Some((at, time))));
            }
        }
        let (registers, replaced) = found[self.choices.choose(found.len())];
        if let Some(replaced) = replaced {
            self.note(Part::Registers, 0, 0, replaced, None);
        }
        registers
    }

    fn structure<const N: usize>(&mut self, addr: u64, what: Structure) -> Option<[u64; N]> {
        self.can_read(addr, N).then(|| self.pick(addr, Part::Structure(what), None, |_| true))
    }

    fn descriptor(&mut self, addr: u64, step: &Step) -> Option<u64> {
        if let Some((at, word)) = self.scene.instead
            && at == addr
        {
            return Some(in_order(word, step));
        }
        if !self.can_read(addr, 1) {
            return None;
        }
        let part = Part::Descriptor(*step);
        self.doubt(addr, 1, &part);
        let mut found = vec![(self.scene.memory.word(addr), None)];
        for change in self.scene.memory.changes(addr).take(DEPTH) {
            let new = found.iter().all(|(known, _)| *known != change.old);
            if new && self.possible(&part, in_order(change.old, step), change.at, change.time) {
                found.push((change.old, Some(*change)));
            }
        }
        self.neighbours(addr, step, &mut found);
        let (word, change) = found[self.choices.choose(found.len())];
        let word = in_order(word, step);
        if let Some(change) = change {
            self.note(part, addr, word, (change.at, change.time), Some(change));
        }
        Some(word)
    }

    fn recall_ste(&mut self, addr: u64, ste: Ste, tag: &Tag) -> Ste {
        let scene = self.scene;
        let same = |old: Ste| {
            let legal = check::ste_is_legal(scene.smmu, &scene.now(), old);
            old.v() && legal && old.config() == ste.config() && old.s2vmid() == ste.s2vmid()
        };
        let part = Part::Remembered(Structure::Ste, *tag);
        // Only stage 2 lives on; the rest acts through the configuration.
        let old = Ste(self.pick(addr, part, Some(ste.0), |words| same(Ste(*words))));
        if ste.config() & config::S2 & 2 == 0 { ste } else { old.with_s2r(ste.s2r()).with_s2s(ste.s2s()) }
    }

    fn recall_cd(&mut self, addr: u64, cd: Cd, tag: &Tag) -> Cd {
        let part = Part::Remembered(Structure::Cd { ssid: self.dma().ssid.unwrap_or(0) }, *tag);
        let smmu = self.scene.smmu;
        let ste = Ste::default().with_config(config::S1);
        let same =
            |old: Cd| old.asid() == cd.asid() && check::cd_is_legal(smmu, tag.world, ste, old) && old.aa64();
        let old = Cd(self.pick(addr, part, Some(cd.0), |words| same(Cd(*words))));
        old.with_a(cd.a()).with_r(cd.r()).with_s(cd.s())
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn choices_enumerate_a_tree() {
        let mut choices = Choices::default();
        let mut seen = Vec::new();
        loop {
            let a = choices.choose(2);
            let b = if a == 0 { choices.choose(3) } else { 9 };
            let c = choices.choose(1);
            seen.push((a, b, c));
            if !choices.advance() {
                break;
            }
        }
        assert_eq!(seen, [(0, 0, 0), (0, 1, 0), (0, 2, 0), (1, 9, 0)]);
    }
}

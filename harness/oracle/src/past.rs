//! Views of memory and registers for the walker: the present, and every past that a cache may still hold.
//!
//! A past view meets a choice wherever a word has held several values that count; running the walker once for every
//! combination of choices enumerates everything that the hardware may do.

use crate::check;
use crate::invalidation::{Invalidation, Invalidations};
use crate::memory::{Change, Memory, Seq};
use crate::walk::{Step, Structure, Tag, View};
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

/// Memory and registers as they are; notes which words were read.
pub(crate) struct Present<'a> {
    pub(crate) scene: Scene<'a>,
    pub(crate) read: &'a mut Vec<u64>,
}

impl View for Present<'_> {
    fn registers(&mut self) -> Registers {
        self.scene.now()
    }

    fn structure<const N: usize>(&mut self, addr: u64, _: Structure) -> Option<[u64; N]> {
        self.read.extend((0..N as u64).map(|i| addr + 8 * i));
        self.scene.answers(addr).then(|| self.scene.snapshot(addr, None))
    }

    fn descriptor(&mut self, addr: u64, step: &Step) -> Option<u64> {
        self.read.push(addr);
        self.scene.answers(addr).then(|| in_order(self.scene.memory.word(addr), step))
    }

    fn recall_ste(&mut self, _: u64, ste: Ste, _: &Tag) -> Ste {
        ste
    }

    fn recall_cd(&mut self, _: u64, cd: Cd, _: &Tag) -> Cd {
        cd
    }
}

fn in_order(word: u64, step: &Step) -> u64 {
    if step.big_endian { word.swap_bytes() } else { word }
}

/// How far back a past view goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// What no completed invalidation has removed.
    Cached,
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
    /// Old values used in this run.
    pub(crate) used: Vec<Old>,
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
        self.scene.invalidations.complete_after(self.dma().smmu, since)
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

    /// Whether an old value may still be seen.
    fn possible(&self, part: &Part, value: u64, at: Seq, time: Time) -> bool {
        if self.reach == Reach::Ever {
            return true;
        }
        // What does not translate is not cached: only a walk that was under way can have read it.
        let transient = matches!(part, Part::Descriptor(_)) && value & 1 == 0;
        if transient { self.under_way(time) } else { self.removed(part, value, at).is_none() }
    }

    fn note(&mut self, part: Part, addr: u64, held: u64, change: Change) {
        let condemned = self.removed(&part, held, change.at);
        let (at, time) = (change.at, change.time);
        self.used.push(Old { part, addr, held, at, time, change: Some(change), condemned });
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

    fn pick<const N: usize>(&mut self, addr: u64, part: Part, fits: impl Fn(&[u64; N]) -> bool) -> [u64; N] {
        let found = self.snapshots(addr, &part, fits);
        let (words, change) = found[self.choices.choose(found.len())];
        if let Some(change) = change {
            self.note(part, addr, words[0], change);
        }
        words
    }
}

impl View for Past<'_> {
    fn registers(&mut self) -> Registers {
        let mut found = vec![(self.scene.now(), None)];
        for pair in self.scene.registers.windows(2).rev().take(DEPTH) {
            let (old, (at, time, _)) = (pair[0].2, pair[1]);
            // An SMMU that has been enabled does not go back to bypass, nor the other way, once the update is over.
            let same = old.cr0.smmuen() == self.scene.now().cr0.smmuen();
            let pending = self.under_way(time + self.scene.update_bound);
            // Another table base shows in entries cached from it.
            let kept = same
                && (self.reach == Reach::Ever
                    || (old.cr0.smmuen() && self.removed(&Part::Registers, 0, at).is_none()));
            if (kept || pending) && found.iter().all(|(known, _)| *known != old) {
                found.push((old, Some((at, time))));
            }
        }
        let (registers, replaced) = found[self.choices.choose(found.len())];
        if let Some((at, time)) = replaced {
            let condemned = self.removed(&Part::Registers, 0, at);
            self.used.push(Old {
                part: Part::Registers,
                addr: 0,
                held: 0,
                at,
                time,
                change: None,
                condemned,
            });
        }
        registers
    }

    fn structure<const N: usize>(&mut self, addr: u64, what: Structure) -> Option<[u64; N]> {
        self.scene.answers(addr).then(|| self.pick(addr, Part::Structure(what), |_| true))
    }

    fn descriptor(&mut self, addr: u64, step: &Step) -> Option<u64> {
        if !self.scene.answers(addr) {
            return None;
        }
        let part = Part::Descriptor(*step);
        let mut found = vec![(self.scene.memory.word(addr), None)];
        for change in self.scene.memory.changes(addr).take(DEPTH) {
            let new = found.iter().all(|(known, _)| *known != change.old);
            if new && self.possible(&part, in_order(change.old, step), change.at, change.time) {
                found.push((change.old, Some(*change)));
            }
        }
        let (word, change) = found[self.choices.choose(found.len())];
        let word = in_order(word, step);
        if let Some(change) = change {
            self.note(part, addr, word, change);
        }
        Some(word)
    }

    fn recall_ste(&mut self, addr: u64, ste: Ste, tag: &Tag) -> Ste {
        let same = |old: Ste| {
            let legal = check::ste_is_legal(self.scene.smmu, &self.scene.now(), old);
            old.v() && legal && old.config() == ste.config() && old.s2vmid() == ste.s2vmid()
        };
        let part = Part::Remembered(Structure::Ste, *tag);
        let mut found = self.snapshots::<8>(addr, &part, |words| same(Ste(*words)));
        found[0].0 = ste.0;
        let (words, change) = found[self.choices.choose(found.len())];
        if let Some(change) = change {
            self.note(part, addr, words[0], change);
        }
        // Only stage 2 lives on; the rest acts through the configuration.
        let old = Ste(words);
        if ste.config() & config::S2 & 2 == 0 { ste } else { old.with_s2r(ste.s2r()).with_s2s(ste.s2s()) }
    }

    fn recall_cd(&mut self, addr: u64, cd: Cd, tag: &Tag) -> Cd {
        let part = Part::Remembered(Structure::Cd { ssid: self.dma().ssid.unwrap_or(0) }, *tag);
        let smmu = self.scene.smmu;
        let ste = Ste::default().with_config(config::S1);
        let same =
            |old: Cd| old.asid() == cd.asid() && check::cd_is_legal(smmu, tag.world, ste, old) && old.aa64();
        let mut found = self.snapshots::<8>(addr, &part, |words| same(Cd(*words)));
        found[0].0 = cd.0;
        let (words, change) = found[self.choices.choose(found.len())];
        if let Some(change) = change {
            self.note(part, addr, words[0], change);
        }
        Cd(words).with_a(cd.a()).with_r(cd.r()).with_s(cd.s())
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

//! Which invalidations were consumed and completed, and what each of them covers (IHI 0070, 4.3 to 4.5).

use crate::check::World;
use crate::memory::Seq;
use crate::repetition::{Repetitions, Resolved, SequenceId};
use crate::walk::{Step, Structure, ones};
use crate::witness::{Queue, SmmuId, Time, VsmmuId};
use spec::smmu::command::{ATC_INV_ALL, RANGE_ALL};
use spec::smmu::{Command, Opcode};
use std::collections::{BTreeMap, VecDeque};

/// One invalidation as it concerns one SMMU: StreamIDs and VMID are those of that SMMU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Invalidation {
    pub(crate) command: Command,
    /// As it lies in the queue.
    pub(crate) original: Command,
    pub(crate) queue: Queue,
    /// The SMMU that executed it, if known.
    pub(crate) on: Option<SmmuId>,
    /// Handed over by the owner of the queue.
    pub(crate) issued: Seq,
    pub(crate) consumed: Seq,
    pub(crate) consumed_time: Time,
    /// The CMD_SYNC that follows it was consumed; `Seq::MAX` until then.
    pub(crate) completed: Seq,
    pub(crate) completed_time: Time,
    /// The sequence that it is part of, if that is complete unless it is issued again: then it is complete only once it was.
    pub(crate) awaits: Option<SequenceId>,
}

/// What a command has brought about.
#[derive(Debug, Default)]
pub(crate) struct Completion {
    /// SMMUs for which a CMD_SYNC completed something.
    pub(crate) smmus: Vec<SmmuId>,
    /// Sequences that waited for their repetition and no longer do.
    pub(crate) resolved: Vec<Resolved>,
}

/// A device behind a virtual SMMU.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Behind {
    pub(crate) vsmmu: VsmmuId,
    pub(crate) smmu: SmmuId,
    pub(crate) sid: u32,
    pub(crate) vsid: u32,
    pub(crate) vmid: u16,
}

/// The invalidations of all SMMUs.
#[derive(Debug)]
pub(crate) struct Invalidations {
    lists: Vec<List>,
    queues: BTreeMap<Queue, Pending>,
    repetitions: Repetitions,
    limit: usize,
}

#[derive(Debug, Default)]
struct List {
    entries: VecDeque<Invalidation>,
    /// Number of entries that have been dropped from the front.
    dropped: usize,
}

/// A queue between two CMD_SYNCs.
#[derive(Debug, Default)]
struct Pending {
    /// Positions, over all time, of entries that wait for a CMD_SYNC.
    entries: Vec<(SmmuId, usize)>,
    /// What was handed over and not consumed, oldest first.
    produced: VecDeque<Batch>,
    /// PROD as last written.
    prod: u32,
}

/// Commands that one write of PROD handed over.
#[derive(Debug)]
struct Batch {
    first: u32,
    count: u32,
    /// Mask of an index, without the wrap bit.
    ring: u32,
    at: Seq,
}

impl Batch {
    fn place(&self, index: u32) -> u32 {
        index.wrapping_sub(self.first) & self.ring
    }

    fn holds(&self, index: u32) -> bool {
        self.place(index) < self.count
    }
}

impl Invalidations {
    /// Remember about `limit` invalidations for each SMMU.
    pub(crate) fn new(smmus: usize, limit: usize, repetitions: Repetitions) -> Self {
        let lists = (0..smmus).map(|_| List::default()).collect();
        Self { lists, queues: BTreeMap::new(), repetitions, limit }
    }

    /// PROD was written.
    pub(crate) fn produced(&mut self, queue: Queue, prod: u32, log2size: u8, at: Seq) {
        let pending = self.queues.entry(queue).or_default();
        let size = 1u32 << log2size.min(19);
        let (first, count) = (pending.prod, prod.wrapping_sub(pending.prod) & (2 * size - 1));
        pending.prod = prod;
        // Moved back, or begun anew; or consumption is never reported and this must not grow without bound.
        if count > size || pending.produced.len() == 1 << 16 {
            pending.produced.clear();
        } else if count != 0 {
            pending.produced.push_back(Batch { first, count, ring: size - 1, at });
        }
    }

    /// The queue begins anew at this index. Returns the sequences that no longer wait for their repetition.
    pub(crate) fn restarted(&mut self, queue: Queue, index: u32) -> Vec<Resolved> {
        let pending = self.queues.entry(queue).or_default();
        pending.produced.clear();
        pending.prod = index;
        // Whether endpoints answered may have been told to the SMMU's own queue.
        self.timed_out(queue);
        let resolved = self.repetitions.restarted(queue);
        self.settle(&resolved, None);
        resolved
    }

    /// Some endpoint did not answer, and software was told; which one it was, nobody knows. The next CMD_SYNC of this queue
    /// completes no invalidation of an endpoint that is in front of it.
    pub(crate) fn timed_out(&mut self, queue: Queue) {
        let lists = &self.lists;
        let is_answered = |&(smmu, position): &(SmmuId, usize)| {
            let list = &lists[usize::from(smmu)];
            let entry = position.checked_sub(list.dropped).and_then(|i| list.entries.get(i));
            entry.is_some_and(|e| e.command.op() != Opcode::ATC_INV)
        };
        if let Some(pending) = self.queues.get_mut(&queue) {
            pending.entries.retain(is_answered);
        }
    }

    /// A command was consumed.
    pub(crate) fn consumed(
        &mut self,
        queue: Queue,
        index: u32,
        command: Command,
        on: Option<SmmuId>,
        (at, time): (Seq, Time),
        behind: &[Behind],
    ) -> Completion {
        let pending = self.queues.entry(queue).or_default();
        if let Some(i) = pending.produced.iter().position(|b| b.holds(index)) {
            pending.produced.drain(..i);
        }
        let mut issued = at;
        if let Some(batch) = pending.produced.front().filter(|b| b.holds(index)) {
            issued = batch.at;
            if batch.place(index) + 1 == batch.count {
                pending.produced.pop_front();
            }
        }
        if command.op() == Opcode::SYNC {
            return self.synced(queue, (at, time));
        }
        if !is_invalidation(command.op()) {
            return Completion::default();
        }
        let executes = match queue {
            Queue::Physical { smmu, .. } => Some(smmu),
            Queue::Virtual { .. } => on,
        };
        let entry = Invalidation {
            command,
            original: command,
            queue,
            on: executes,
            issued,
            consumed: at,
            consumed_time: time,
            completed: Seq::MAX,
            completed_time: Time::MAX,
            awaits: None,
        };
        let before = pending.entries.len();
        self.add_all(entry, behind);
        let affected = command.op() != Opcode::ATC_INV && self.repetitions.concern(executes);
        if affected && !self.repetitions.consumed(queue, command, issued) {
            let added = self.queues.get(&queue).and_then(|p| p.entries.get(before..)).unwrap_or_default();
            self.repetitions.keep(queue, added.iter().copied());
        }
        Completion::default()
    }

    fn synced(&mut self, queue: Queue, (at, time): (Seq, Time)) -> Completion {
        let pending = self.queues.entry(queue).or_default();
        let mut smmus = Vec::new();
        for place in std::mem::take(&mut pending.entries) {
            if let Some(entry) = kept(&mut self.lists, place) {
                (entry.completed, entry.completed_time) = (at, time);
                smmus.push(place.0);
            }
        }
        smmus.sort_unstable();
        smmus.dedup();
        let (waits, resolved) = self.repetitions.synced(queue);
        let (id, places) = waits.unzip();
        for &place in places.unwrap_or_default() {
            if let Some(entry) = kept(&mut self.lists, place) {
                entry.awaits = id;
            }
        }
        self.settle(&resolved, Some((at, time)));
        Completion { smmus, resolved }
    }

    /// What was issued again is complete now.
    fn settle(&mut self, resolved: &[Resolved], now: Option<(Seq, Time)>) {
        for Resolved { again, places, .. } in resolved {
            for &place in places {
                let Some(entry) = kept(&mut self.lists, place) else { continue };
                entry.awaits = None;
                if let Some(now) = now.filter(|_| again.is_some()) {
                    (entry.completed, entry.completed_time) = now;
                }
            }
        }
    }

    /// The sequences that concern an SMMU and may be issued again.
    pub(crate) fn waiting(&self, smmu: SmmuId) -> Vec<SequenceId> {
        self.repetitions.waiting(smmu)
    }

    fn add_all(&mut self, entry: Invalidation, behind: &[Behind]) {
        let (queue, command) = (entry.queue, entry.command);
        match queue {
            Queue::Physical { smmu, .. } => self.add(smmu, entry),
            Queue::Virtual { vsmmu, .. } => {
                let devices = behind.iter().filter(|d| d.vsmmu == vsmmu);
                if carries_sid(command.op()) {
                    let (first, last) = sid_range(command);
                    for d in devices.filter(|d| (first..=last).contains(&u64::from(d.vsid))) {
                        let command = of_one_stream(command, d.sid);
                        self.add(d.smmu, Invalidation { command, ..entry });
                    }
                } else {
                    let mut seen = Vec::new();
                    for d in devices {
                        if !seen.contains(&(d.smmu, d.vmid)) {
                            seen.push((d.smmu, d.vmid));
                            let command = of_one_guest(command, d.vmid);
                            self.add(d.smmu, Invalidation { command, ..entry });
                        }
                    }
                }
            }
        }
    }

    fn add(&mut self, smmu: SmmuId, entry: Invalidation) {
        let Some(list) = self.lists.get_mut(usize::from(smmu)) else { return };
        if list.entries.len() >= self.limit {
            list.entries.drain(..self.limit / 2);
            list.dropped += self.limit / 2;
        }
        let position = list.dropped + list.entries.len();
        list.entries.push_back(entry);
        self.queues.entry(entry.queue).or_default().entries.push((smmu, position));
    }

    /// The invalidations of an SMMU that were consumed after `since`, latest first.
    pub(crate) fn after(&self, smmu: SmmuId, since: Seq) -> impl Iterator<Item = &Invalidation> {
        self.lists[usize::from(smmu)].entries.iter().rev().take_while(move |i| i.consumed > since)
    }

    /// Those that were handed over after `since` and have completed.
    pub(crate) fn complete_after(&self, smmu: SmmuId, since: Seq) -> impl Iterator<Item = &Invalidation> {
        self.after(smmu, since).filter(move |i| i.issued > since && i.completed != Seq::MAX)
    }
}

/// What is kept at a place, if it still is.
fn kept(lists: &mut [List], (smmu, position): (SmmuId, usize)) -> Option<&mut Invalidation> {
    let list = &mut lists[usize::from(smmu)];
    position.checked_sub(list.dropped).and_then(|i| list.entries.get_mut(i))
}

fn is_invalidation(op: Opcode) -> bool {
    (0x03..=0x06).contains(&op.0) || (0x10..=0x30).contains(&op.0) || op == Opcode::ATC_INV
}

fn carries_sid(op: Opcode) -> bool {
    op.0 <= 0x06 || op == Opcode::ATC_INV
}

/// The StreamIDs that a configuration invalidation names.
fn sid_range(command: Command) -> (u64, u64) {
    let sid = command.sid();
    if command.op() != Opcode::CFGI_STE_RANGE {
        return (sid, sid);
    }
    if command.range() == RANGE_ALL {
        return (0, u64::MAX);
    }
    let low = ones(command.range() as u32 + 1);
    (sid & !low, sid | low)
}

/// A guest's command as it concerns one of its devices.
fn of_one_stream(command: Command, sid: u32) -> Command {
    match command.op() {
        Opcode::CFGI_STE_RANGE => Command::cfgi_ste(sid, false),
        _ => command.with_sid(sid.into()),
    }
}

/// A guest's TLB invalidation: within its own VMID, whatever it says.
fn of_one_guest(command: Command, vmid: u16) -> Command {
    match command.op() {
        Opcode::TLBI_NSNH_ALL => Command::tlbi_nh_all(vmid),
        _ => command.with_vmid(vmid.into()),
    }
}

impl Invalidation {
    /// It removes cached copies of a structure of this stream.
    pub(crate) fn covers_structure(&self, sid: u32, what: Structure) -> bool {
        let (first, last) = sid_range(self.command);
        let stream = (first..=last).contains(&u64::from(sid));
        match (self.command.op(), what) {
            (Opcode::CFGI_STE, Structure::L1Std) => stream && !self.command.leaf(),
            (Opcode::CFGI_STE | Opcode::CFGI_STE_RANGE, _)
            | (Opcode::CFGI_CD_ALL, Structure::Cd { .. } | Structure::L1Cd { .. }) => stream,
            (Opcode::CFGI_CD, Structure::Cd { ssid }) => stream && self.command.ssid() == u64::from(ssid),
            (Opcode::CFGI_CD, Structure::L1Cd { ssid }) => {
                stream && self.command.ssid() == u64::from(ssid) && !self.command.leaf()
            }
            _ => false,
        }
    }

    /// It removes what an endpoint's translation cache holds of this address.
    pub(crate) fn covers_ats(&self, sid: u32, ssid: Option<u32>, iova: u64) -> bool {
        let c = self.command;
        if c.op() != Opcode::ATC_INV || c.sid() != u64::from(sid) {
            return false;
        }
        let pasid = match (c.ssv(), ssid) {
            (true, Some(ssid)) => c.global() || c.ssid() == u64::from(ssid),
            (false, None) => true,
            _ => false,
        };
        let span = if c.size() >= ATC_INV_ALL { 64 } else { c.size() as u32 + 12 };
        pasid && (c.addr() ^ iova) & !ones(span) == 0
    }

    fn vmid_matches(&self, vmid: Option<u16>, vmw: u64) -> bool {
        let shift = if vmw <= 4 { vmw } else { 0 };
        vmid.is_none_or(|vmid| (self.command.vmid() ^ u64::from(vmid)) >> shift == 0)
    }

    /// It removes a VA-tagged translation that used this stage-1 descriptor. `leaf` is whether the descriptor was the
    /// last of its walk, `global` whether that made the translation global.
    pub(crate) fn covers_stage1(&self, step: &Step, leaf: bool, global: bool, vmw: u64) -> bool {
        let (c, tag) = (self.command, &step.tag);
        let asid = c.asid() == u64::from(tag.asid);
        let el1 = tag.world == World::El1 && self.vmid_matches(tag.vmid, vmw);
        let el2 = tag.world != World::El1;
        match c.op() {
            Opcode::TLBI_NSNH_ALL => tag.world == World::El1,
            Opcode::TLBI_NH_ALL | Opcode::TLBI_S12_VMALL => el1,
            Opcode::TLBI_NH_ASID => el1 && asid && !global,
            Opcode::TLBI_NH_VA => el1 && (asid || global) && self.covers_address(c.va(), step, leaf),
            Opcode::TLBI_NH_VAA => el1 && self.covers_address(c.va(), step, leaf),
            Opcode::TLBI_EL2_ALL => el2,
            Opcode::TLBI_EL2_ASID => tag.world == World::El2E2h && asid && !global,
            Opcode::TLBI_EL2_VA => {
                el2 && (tag.world == World::El2 || asid || global) && self.covers_address(c.va(), step, leaf)
            }
            Opcode::TLBI_EL2_VAA => el2 && self.covers_address(c.va(), step, leaf),
            _ => false,
        }
    }

    /// It removes an IPA-tagged translation that used this stage-2 descriptor.
    pub(crate) fn covers_stage2(&self, step: &Step, leaf: bool, vmw: u64) -> bool {
        let c = self.command;
        let vmid = self.vmid_matches(step.tag.vmid, vmw);
        match c.op() {
            Opcode::TLBI_NSNH_ALL => true,
            Opcode::TLBI_S12_VMALL => vmid,
            Opcode::TLBI_S2_IPA => vmid && self.covers_address(c.ipa(), step, leaf),
            _ => false,
        }
    }

    /// It removes any VA-tagged translation of this address, whichever page or block made it: for changes at stage 2,
    /// where the stage-1 leaf is known to be a last-level entry.
    pub(crate) fn covers_combined(&self, step: &Step, vmw: u64) -> bool {
        let c = self.command;
        let Some(va) = step.tag.va else { return false };
        let el1 = step.tag.world == World::El1 && self.vmid_matches(step.tag.vmid, vmw);
        let asid = c.asid() == u64::from(step.tag.asid);
        // Entries of combined translations are no larger than either leaf; the smallest page is the strict reading.
        let page = Step { granule: 12, level: 3, stage: 1, input: va, ..*step };
        match c.op() {
            Opcode::TLBI_NSNH_ALL => true,
            Opcode::TLBI_NH_ALL | Opcode::TLBI_S12_VMALL => el1,
            Opcode::TLBI_NH_ASID => el1 && asid,
            Opcode::TLBI_NH_VA => el1 && asid && self.covers_region(c.va(), &page),
            Opcode::TLBI_NH_VAA => el1 && self.covers_region(c.va(), &page),
            _ => false,
        }
    }

    fn covers_address(&self, from: u64, step: &Step, leaf: bool) -> bool {
        let c = self.command;
        if c.leaf() && !leaf {
            return false;
        }
        if c.tg() != 0 {
            let granule = [0, 12, 14, 16][c.tg() as usize];
            let level_ok =
                c.ttl() == 0 || (granule == 14 && c.ttl() == 1) || c.ttl() == u64::from(step.level);
            if granule != step.granule || (leaf && !level_ok) {
                return false;
            }
        }
        self.covers_region(from, step)
    }

    /// The addresses that the command names meet the region that the descriptor maps.
    fn covers_region(&self, from: u64, step: &Step) -> bool {
        let c = self.command;
        let bits = step.granule + (step.granule - 3) * (3 - step.level);
        // Tagged addresses: the top byte takes no part.
        let first = (step.input & !ones(bits)) & ones(56);
        let last = first | ones(bits);
        let from = from & ones(56);
        let len = match c.tg() {
            0 => 1,
            tg => (c.num() + 1) << c.scale().min(31) << [0, 12, 14, 16][tg as usize],
        };
        from <= last && from.saturating_add(len - 1) >= first
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::walk::Tag;
    use spec::smmu::command::tg;

    fn made(command: Command) -> Invalidation {
        Invalidation {
            command,
            original: command,
            queue: Queue::Physical { smmu: 0, queue: 0 },
            on: None,
            issued: 0,
            consumed: 0,
            consumed_time: 0,
            completed: 0,
            completed_time: 0,
            awaits: None,
        }
    }

    fn sound(smmus: usize) -> Invalidations {
        Invalidations::new(smmus, 100, Repetitions::new(vec![false; smmus], 1))
    }

    fn step(stage: u32, level: u32, input: u64) -> Step {
        let tag = Tag { world: World::El1, vmid: Some(1), asid: 7, va: Some(input) };
        Step { tag, stage, level, granule: 12, input, big_endian: false }
    }

    #[test]
    fn stage1_scopes() {
        let page = step(1, 3, 0x20_1000);
        let block = step(1, 2, 0x20_1000);
        let range = Command::tlbi_nh_va(7, 1, 0x20_0000, true).with_tg(tg::K4).with_num(1);
        // Command, step, last level, global, covered.
        let rows = [
            (Command::tlbi_nsnh_all(), page, true, true, true),
            (Command::tlbi_nh_all(1), page, true, true, true),
            (Command::tlbi_nh_all(2), page, true, false, false),
            (Command::tlbi_nh_asid(7, 1), page, true, false, true),
            (Command::tlbi_nh_asid(7, 1), page, true, true, false),
            (Command::tlbi_nh_asid(8, 1), page, true, false, false),
            (Command::tlbi_nh_va(7, 1, 0x20_1000, true), page, true, false, true),
            (Command::tlbi_nh_va(8, 1, 0x20_1000, true), page, true, false, false),
            (Command::tlbi_nh_va(8, 1, 0x20_1000, true), page, true, true, true),
            (Command::tlbi_nh_va(7, 1, 0x20_2000, true), page, true, false, false),
            (Command::tlbi_nh_va(7, 1, 0x20_2000, true), block, true, false, true),
            (Command::tlbi_nh_va(7, 1, 0x20_1000, true), block, false, false, false),
            (Command::tlbi_nh_va(7, 1, 0x20_1000, false), block, false, false, true),
            (Command::tlbi_nh_vaa(1, 0x20_1000, true), page, true, false, true),
            (Command::tlbi_nh_vaa(3, 0x20_1000, true), page, true, false, false),
            (range, page, true, false, true),
            (range.with_num(0).with_ttl(3), page, true, false, false),
            (range.with_ttl(2), page, true, false, false),
            (range.with_tg(tg::K64), page, true, false, false),
            (Command::tlbi_s2_ipa(1, 0x20_1000, true), page, true, false, false),
            (Command::tlbi_s12_vmall(1), page, true, true, true),
            (Command::tlbi_el2_all(), page, true, false, false),
        ];
        for (command, step, leaf, global, want) in rows {
            let got = made(command).covers_stage1(&step, leaf, global, 0);
            assert_eq!(got, want, "{command} level {} leaf {leaf} global {global}", step.level);
        }
        assert!(made(Command::tlbi_nh_all(3)).covers_stage1(&page, true, false, 2), "VMW ignores low bits");
    }

    #[test]
    fn stage2_scopes() {
        let page = step(2, 3, 0x4000_0000);
        let rows = [
            (Command::tlbi_s2_ipa(1, 0x4000_0000, true), true),
            (Command::tlbi_s2_ipa(1, 0x4000_1000, true), false),
            (Command::tlbi_s2_ipa(2, 0x4000_0000, true), false),
            (Command::tlbi_s12_vmall(1), true),
            (Command::tlbi_nsnh_all(), true),
            (Command::tlbi_nh_all(1), false),
        ];
        for (command, want) in rows {
            assert_eq!(made(command).covers_stage2(&page, true, 0), want, "{command}");
        }
    }

    #[test]
    fn configuration_scopes() {
        let cd = Structure::Cd { ssid: 5 };
        let rows = [
            (Command::cfgi_ste(0x10, true), Structure::Ste, true),
            (Command::cfgi_ste(0x10, true), cd, true),
            (Command::cfgi_ste(0x10, true), Structure::L1Std, false),
            (Command::cfgi_ste(0x10, false), Structure::L1Std, true),
            (Command::cfgi_ste(0x11, false), Structure::Ste, false),
            (Command::cfgi_ste_range(0x13, 1), Structure::Ste, true),
            (Command::cfgi_ste_range(0x14, 1), Structure::Ste, false),
            (Command::cfgi_all(), Structure::L1Std, true),
            (Command::cfgi_cd(0x10, 5, true), cd, true),
            (Command::cfgi_cd(0x10, 4, true), cd, false),
            (Command::cfgi_cd(0x10, 5, true), Structure::L1Cd { ssid: 5 }, false),
            (Command::cfgi_cd(0x10, 5, true), Structure::Ste, false),
            (Command::cfgi_cd_all(0x10), cd, true),
            (Command::tlbi_nsnh_all(), cd, false),
        ];
        for (command, what, want) in rows {
            assert_eq!(made(command).covers_structure(0x10, what), want, "{command} {what:?}");
        }
    }

    #[test]
    fn endpoint_scopes() {
        let rows = [
            (Command::atc_inv(0x10, None, 0, ATC_INV_ALL), None, true),
            (Command::atc_inv(0x10, None, 0x5000, 0), None, true),
            (Command::atc_inv(0x10, None, 0x6000, 0), None, false),
            (Command::atc_inv(0x10, None, 0x4000, 1), None, true),
            (Command::atc_inv(0x11, None, 0x5000, 0), None, false),
            (Command::atc_inv(0x10, Some(3), 0x5000, 0), None, false),
            (Command::atc_inv(0x10, Some(3), 0x5000, 0), Some(3), true),
            (Command::atc_inv(0x10, Some(3), 0x5000, 0).with_global(true), Some(4), true),
        ];
        for (command, ssid, want) in rows {
            assert_eq!(made(command).covers_ats(0x10, ssid, 0x5678), want, "{command} {ssid:?}");
        }
    }

    #[test]
    fn a_guest_command_reaches_every_smmu_of_the_guest() {
        let behind = [
            Behind { vsmmu: 0, smmu: 0, sid: 0x100, vsid: 1, vmid: 5 },
            Behind { vsmmu: 0, smmu: 1, sid: 0x200, vsid: 2, vmid: 9 },
            Behind { vsmmu: 1, smmu: 1, sid: 0x300, vsid: 1, vmid: 4 },
        ];
        let queue = Queue::Virtual { vsmmu: 0, queue: 0 };
        let mut all = sound(2);
        all.produced(queue, 3, 8, 5);
        let commands = [Command::tlbi_nh_asid(7, 0), Command::cfgi_cd(2, 0, true), Command::sync()];
        for (i, command) in commands.into_iter().enumerate() {
            let smmus = all.consumed(queue, i as u32, command, None, (10 + i as u64, 0), &behind).smmus;
            assert_eq!(smmus, if i == 2 { vec![0, 1] } else { vec![] });
        }
        let of = |smmu| all.complete_after(smmu, 0).map(|i| i.command).collect::<Vec<_>>();
        assert_eq!(of(0), [Command::tlbi_nh_asid(7, 5)]);
        assert_eq!(of(1), [Command::cfgi_cd(0x200, 0, true), Command::tlbi_nh_asid(7, 9)]);
        assert_eq!(all.complete_after(0, 4).count(), 1, "handed over at 5");
        assert_eq!(all.complete_after(0, 5).count(), 0);
    }

    /// PROD values with the moment, then the index consumed and the moment of its handing over (0: unknown).
    #[test]
    fn commands_know_when_they_were_handed_over() {
        let queue = Queue::Physical { smmu: 0, queue: 0 };
        let mut all = sound(1);
        let mut at = 100;
        let mut consume = |all: &mut Invalidations, index| {
            at += 1;
            all.consumed(queue, index, Command::tlbi_nsnh_all(), None, (at, 0), &[]);
            let last = all.after(0, at - 1).next().unwrap();
            if last.issued == at { 0 } else { last.issued }
        };
        all.produced(queue, 1, 2, 10);
        all.produced(queue, 3, 2, 11);
        assert_eq!([0, 1].map(|i| consume(&mut all, i)), [10, 11]);
        all.produced(queue, 6, 2, 12);
        assert_eq!([2, 3, 0, 1].map(|i| consume(&mut all, i)), [11, 12, 12, 12]);
        assert_eq!(consume(&mut all, 2), 0, "nobody handed it over");
        all.produced(queue, 2, 2, 13);
        assert_eq!([2, 3, 0, 1].map(|i| consume(&mut all, i)), [13; 4], "a full ring, wrapped");
        all.produced(queue, 1, 2, 14);
        assert_eq!(consume(&mut all, 0), 0, "PROD moved back");
        all.produced(queue, 3, 2, 15);
        all.restarted(queue, 0);
        all.produced(queue, 3, 2, 16);
        assert_eq!(
            [0, 1, 2].map(|i| consume(&mut all, i)),
            [16; 3],
            "what was handed over at 15 is forgotten"
        );
    }

    /// What happens between two invalidations and a CMD_SYNC, and which of them are complete then.
    #[test]
    fn an_endpoint_that_does_not_answer_has_not_dropped_anything() {
        let (own, other) = (Queue::Physical { smmu: 0, queue: 0 }, Queue::Physical { smmu: 0, queue: 1 });
        let (atc, tlbi) = (Command::atc_inv(1, None, 0, ATC_INV_ALL), Command::tlbi_nh_all(1));
        let none: fn(&mut Invalidations, Queue) = |_, _| {};
        for (name, between, in_queue, want) in [
            ("nothing", none, own, &[tlbi, atc][..]),
            ("time-out", Invalidations::timed_out, own, &[tlbi]),
            ("time-out of another queue", Invalidations::timed_out, other, &[tlbi, atc]),
            ("restart", |all, queue| drop(all.restarted(queue, 2)), own, &[tlbi]),
        ] {
            let mut all = sound(1);
            for (i, command) in [atc, tlbi].into_iter().enumerate() {
                all.consumed(own, i as u32, command, None, (1 + i as u64, 0), &[]);
            }
            between(&mut all, in_queue);
            all.consumed(own, 2, Command::sync(), None, (3, 0), &[]);
            let complete: Vec<_> = all.complete_after(0, 0).map(|i| i.command).collect();
            assert_eq!(complete, want, "{name}");
            // A new attempt counts again.
            all.consumed(own, 3, atc, None, (4, 0), &[]);
            all.consumed(own, 4, Command::sync(), None, (5, 0), &[]);
            assert_eq!(all.complete_after(0, 3).count(), 1, "{name}");
        }
    }

    #[test]
    fn a_sync_completes_its_own_queue_only() {
        let mut all = sound(1);
        let (a, b) = (Queue::Physical { smmu: 0, queue: 0 }, Queue::Physical { smmu: 0, queue: 1 });
        all.consumed(a, 0, Command::tlbi_nh_all(1), None, (1, 0), &[]);
        assert!(all.consumed(b, 0, Command::sync(), None, (2, 0), &[]).smmus.is_empty());
        assert_eq!(all.complete_after(0, 0).count(), 0);
        assert_eq!(all.consumed(a, 1, Command::sync(), None, (3, 0), &[]).smmus, [0]);
        assert_eq!(all.complete_after(0, 0).count(), 1);
    }
}

//! The walks of both stages, and the caches in front of them.

use spec::smmu::EventNumber;
use spec::smmu::descriptor::{Leaf1, Leaf2, Table};

use super::super::attributes::{Attributes, LeafAttributes, Stage2};
use super::super::caches::Caches;
use super::super::config;
use super::super::control::Control;
use super::super::fault::{Manner, Purpose, Stage};
use super::super::granule::low_mask;
use super::super::request::{Request, RequestKind};
use super::super::rights::{self, Access, Hierarchy, Rights, Stage1Rules};
use super::super::scope::{Kind, TAG_BITS, World};
use super::super::step::{StageIndex, Step, Unit};
use super::super::tlb::Entry;
use super::super::walk::{self, Descriptor};
use super::{LOST_UPDATES_MAX, State, Translation, Update};
use crate::bus::{Abort, PhysAddr};
use crate::dma::Grant;

impl Translation {
    pub(super) fn consult_main(&mut self, caches: &mut Caches) -> Step {
        if self.at_once {
            return self.main(caches);
        }
        self.state = State::Main;
        Step::Lookup(Unit::MainTlb)
    }

    /// Whether stage 1 answers a translation request alone.
    pub(super) fn split(&self) -> bool {
        self.stream.ste.eats() == config::EATS_SPLIT
            && matches!(self.request.kind, RequestKind::AtsRequest { .. })
    }

    /// Whether these rights are enough to go on.
    pub(super) fn suffices(&self, rights: Rights) -> bool {
        match self.request.kind {
            RequestKind::AtsRequest { .. } => self.grant(rights).permits_any(),
            _ => rights.permits(self.access),
        }
    }

    /// Whether a cached translation is enough: a page that is to be written must be known to be dirty.
    pub(super) fn is_enough(&self, entry: &Entry) -> bool {
        let p = self.access.privileged;
        let unclean = match self.request.kind {
            RequestKind::AtsRequest { write } => {
                !write || entry.rights.write(p) || !entry.once_dirty.write(p)
            }
            _ => true,
        };
        unclean && self.suffices(entry.rights)
    }

    /// Whether a page with these rights becomes dirty: it is written, or the answer to a translation request permits that.
    const fn dirties(&self, rights: Rights) -> bool {
        match self.request.kind {
            RequestKind::AtsRequest { write } => write && rights.write(self.access.privileged),
            _ => self.access.write,
        }
    }

    /// The permissions of a translation completion (IHI 0070, 13.7.1).
    pub(super) fn grant(&self, rights: Rights) -> Grant {
        let p = self.access.privileged;
        let (read, execute) = match self.stream.instcfg {
            2 => (rights.read(p), rights.read(p)),
            3 => (rights.execute(p), rights.execute(p)),
            _ => (rights.read(p), rights.read(p) && rights.execute(p)),
        };
        let Request { instruction, privileged, kind, .. } = self.request;
        let wanted = kind == RequestKind::AtsRequest { write: true };
        // A page that can only be written is granted to who asks for writes.
        let write = rights.write(p) && (read || wanted);
        Grant { read, write, execute: instruction && execute, privileged, ..Grant::default() }
    }

    pub(super) fn main(&mut self, caches: &mut Caches) -> Step {
        // An entry that does not suffice is walked again: the fault needs to know the stage.
        let found = caches.main.lookup(&self.tag, self.request.addr).copied();
        let found = found.filter(|e| self.is_enough(e) && !self.split() && !self.ends_between());
        if let Some(entry) = caches.stats.main.count(found) {
            self.fill_micro(caches, &entry);
            return self.finish(&entry, true, false);
        }
        self.beyond_main(caches)
    }

    /// The main TLB does not know enough.
    pub(in crate::smmu) fn beyond_main(&mut self, caches: &mut Caches) -> Step {
        let addr = self.request.addr;
        if self.tag.kind == Kind::Ipa {
            return self.ask_stage2(caches, Purpose::Input, addr);
        }
        if config::walks_disabled(self.context.cd, self.upper(), self.world) {
            return self.fault1(EventNumber::F_TRANSLATION);
        }
        if self.one.tables.level == 3 {
            self.one.restart();
            return self.read1(caches);
        }
        self.one.level = 2;
        self.seek1(caches)
    }

    /// Looks for a table descriptor of stage 1 at the present level.
    #[inline]
    fn seek1(&mut self, caches: &mut Caches) -> Step {
        if self.at_once {
            self.missed = true;
            return self.probe1(caches);
        }
        self.state = State::Probe1;
        Step::Lookup(Unit::WalkCache { stage: StageIndex::One, level: self.one.level })
    }

    pub(super) fn probe1(&mut self, caches: &mut Caches) -> Step {
        loop {
            let (level, addr) = (self.one.level, self.request.addr);
            let found = caches.walk.lookup(&self.tag, self.one.tables.granule, level, addr);
            match caches.stats.walk[0][usize::from(level)].count(found) {
                Some(entry) => self.one.below(entry),
                None if level > self.one.tables.level => {
                    self.one.level -= 1;
                    if self.at_once {
                        continue;
                    }
                    return self.seek1(caches);
                }
                None => self.one.restart(),
            }
            return self.read1(caches);
        }
    }

    pub(super) fn read1(&mut self, caches: &mut Caches) -> Step {
        self.fetch_for(caches, Purpose::Table, self.one.descriptor(self.request.addr))
    }

    pub(super) fn descriptor1(
        &mut self,
        control: &Control,
        caches: &mut Caches,
        word: Result<u64, Abort>,
    ) -> Step {
        let Ok(word) = word else { return self.walk_aborted(control, None) };
        match walk::decode(word, &self.one.tables, self.one.level, control.features.oas) {
            Descriptor::Invalid => self.fault1(EventNumber::F_TRANSLATION),
            Descriptor::AddressSize => self.fault1(EventNumber::F_ADDR_SIZE),
            Descriptor::Table { next, table } => {
                self.descend(caches, StageIndex::One, next, table);
                self.read1(caches)
            }
            Descriptor::Leaf { output, raw } => self.at_leaf1(control, caches, output, Leaf1([raw])),
        }
    }

    /// The walk of stage 1 has come to a leaf.
    fn at_leaf1(&mut self, control: &Control, caches: &mut Caches, output: u64, raw: Leaf1) -> Step {
        let (features, cd, addr) = (&control.features, self.context.cd, self.request.addr);
        if !raw.af() && !cd.ha() && !cd.affd() {
            return self.fault1(EventNumber::F_ACCESS);
        }
        let el2 = self.world == World::El2;
        let clean = cd.ha() && cd.hd() && raw.dbm() && raw.ap() & 2 != 0;
        let dirty = if clean { raw.with_ap(raw.ap() & 1) } else { raw };
        let had = features.had && if self.upper() { cd.had1() } else { cd.had0() };
        let hierarchy = if had { Hierarchy::default() } else { self.one.hierarchy };
        let rules = Stage1Rules { el2, wxn: cd.wxn(), pan: cd.pan() };
        let once_dirty = rights::stage1(dirty, hierarchy, rules);
        let (rights, leaf) = match clean {
            true if self.dirties(once_dirty) => (once_dirty, dirty),
            true => (once_dirty.without_write(), raw),
            false => (once_dirty, raw),
        };
        if !self.suffices(rights) {
            return self.denied(rights, Stage::One, Manner::stage1(cd));
        }
        let leaf = leaf.with_af(leaf.af() || cd.ha());
        if leaf != raw && !self.inhibits_updates() {
            self.updates[0] = Update::of(raw.0[0], leaf.0[0], &self.one.tables);
            // The word that was read is where the outstanding access went.
            return match self.stage2 {
                true => self.ask_stage2(caches, Purpose::Update, self.one.descriptor(addr)),
                false => self.compare_swap(StageIndex::One, self.fetch),
            };
        }
        let visible = |rights: Rights| if self.e0pd(features) { rights.without_user() } else { rights };
        let (rights, once_dirty) = (visible(rights), visible(once_dirty));
        // Neighbours may differ in what the hardware has updated.
        let contiguous = raw.contiguous() && !cd.ha() && self.may_span;
        let leaf = self.one.leaf(self.tag, addr, output, contiguous);
        let attributes = LeafAttributes::Stage1(Attributes::stage1(raw, cd.mair()));
        self.leaf1 = Entry { global: el2 || !raw.ng(), rights, once_dirty, attributes, ..leaf };
        if self.ends_between() {
            return self.finish(&self.leaf1, false, false);
        }
        if self.stage2 {
            return self.ask_stage2(caches, Purpose::Input, self.leaf1.translate(addr));
        }
        let entry = self.leaf1;
        self.complete(caches, &entry)
    }

    /// Changes the descriptor that a walk stands at.
    pub(super) fn compare_swap(&mut self, stage: StageIndex, addr: u64) -> Step {
        let (state, Update { expected, new }) = match stage {
            StageIndex::One => (State::Update1, self.updates[0]),
            StageIndex::Two => (State::Update2, self.updates[1]),
        };
        (self.state, self.fetch) = (state, addr);
        Step::CompareSwap { addr, expected, new }
    }

    /// What a descriptor is after the attempt to change it.
    fn found(&mut self, update: Update, word: Result<u64, Abort>) -> Result<u64, Abort> {
        let word = word?;
        if word == update.expected {
            return Ok(update.new);
        }
        self.lost_updates += 1;
        if self.lost_updates > LOST_UPDATES_MAX { Err(Abort) } else { Ok(word) }
    }

    pub(super) fn updated1(
        &mut self,
        control: &Control,
        caches: &mut Caches,
        word: Result<u64, Abort>,
    ) -> Step {
        let word = self.found(self.updates[0], word);
        self.descriptor1(control, caches, word)
    }

    pub(super) fn updated2(
        &mut self,
        control: &Control,
        caches: &mut Caches,
        word: Result<u64, Abort>,
    ) -> Step {
        let word = self.found(self.updates[1], word);
        self.descriptor2(control, caches, word)
    }

    /// Follows table descriptors from `word` on, as long as the next one is read by its physical address: what
    /// [`Translation::word`] does one by one, without a step for each.
    #[inline]
    pub(in crate::smmu) fn follow(
        &mut self,
        control: &Control,
        caches: &mut Caches,
        mut word: Result<u64, Abort>,
        mut read: impl FnMut(&Self, PhysAddr) -> Result<u64, Abort>,
    ) -> Result<u64, Abort> {
        let stage = match self.state {
            State::Descriptor1 if !self.stage2 => StageIndex::One,
            State::Descriptor2 => StageIndex::Two,
            _ => return word,
        };
        while let Ok(raw) = word {
            let walk = if stage == StageIndex::One { &self.one } else { &self.two };
            let decoded = walk::decode(raw, &walk.tables, walk.level, control.features.oas);
            let Descriptor::Table { next, table } = decoded else { break };
            self.descend(caches, stage, next, table);
            self.fetch = match stage {
                StageIndex::One => self.one.descriptor(self.request.addr),
                StageIndex::Two => self.two.descriptor(self.ipa),
            };
            word = read(self, self.fetch);
        }
        word
    }

    /// Goes to the table that a descriptor leads to. Only those of stage 1 restrict what is below.
    #[inline]
    fn descend(&mut self, caches: &mut Caches, stage: StageIndex, next: u64, table: Table) {
        let (kind, walk) = match stage {
            StageIndex::One => {
                self.one.hierarchy = self.one.hierarchy.under(table);
                (Kind::Va, &mut self.one)
            }
            StageIndex::Two => (Kind::Ipa, &mut self.two),
        };
        let above = *walk;
        walk.table = next;
        walk.level += 1;
        if self.may_fill && caches.walk.keeps(kind, above.level) {
            let (tag, input) = match stage {
                StageIndex::One => (self.tag, self.request.addr),
                StageIndex::Two => (self.tag2(), self.ipa),
            };
            caches.walk.insert(above.entry(tag, input, next));
        }
    }

    pub(super) fn ask_stage2(&mut self, caches: &mut Caches, purpose: Purpose, ipa: u64) -> Step {
        self.purpose = purpose;
        self.ipa = ipa;
        if ipa >> self.two.tables.input_bits != 0 {
            return self.fault2(EventNumber::F_TRANSLATION);
        }
        if self.tag.kind == Kind::Ipa {
            return self.walk2(caches);
        }
        if self.at_once {
            self.missed = true;
            return self.ipa_cache(caches);
        }
        self.state = State::Ipa;
        Step::Lookup(Unit::IpaCache)
    }

    pub(super) fn ipa_cache(&mut self, caches: &mut Caches) -> Step {
        let found = caches.ipa.lookup(&self.tag2(), self.ipa).copied();
        let found =
            found.filter(|e| self.suffices2(e) && (self.purpose != Purpose::Input || self.is_enough(e)));
        match caches.stats.ipa.count(found) {
            Some(entry) => self.after_stage2(caches, entry),
            None => self.walk2(caches),
        }
    }

    pub(super) fn walk2(&mut self, caches: &mut Caches) -> Step {
        if self.two.tables.level == 3 {
            self.two.restart();
            return self.read2();
        }
        self.two.level = 2;
        self.seek2(caches)
    }

    /// Looks for a table descriptor of stage 2 at the present level.
    #[inline]
    fn seek2(&mut self, caches: &mut Caches) -> Step {
        if self.at_once {
            self.missed = true;
            return self.probe2(caches);
        }
        self.state = State::Probe2;
        Step::Lookup(Unit::WalkCache { stage: StageIndex::Two, level: self.two.level })
    }

    pub(super) fn probe2(&mut self, caches: &mut Caches) -> Step {
        let tag = self.tag2();
        loop {
            let level = self.two.level;
            let found = caches.walk.lookup(&tag, self.two.tables.granule, level, self.ipa);
            match caches.stats.walk[1][usize::from(level)].count(found) {
                Some(entry) => self.two.below(entry),
                None if level > self.two.tables.level => {
                    self.two.level -= 1;
                    if self.at_once {
                        continue;
                    }
                    return self.seek2(caches);
                }
                None => self.two.restart(),
            }
            return self.read2();
        }
    }

    pub(super) fn read2(&mut self) -> Step {
        let addr = self.two.descriptor(self.ipa);
        self.read(State::Descriptor2, addr)
    }

    /// Whether stage 2 permits what it was asked for. Split-stage requests leave the dirty state to the access that follows.
    pub(super) fn suffices2(&self, entry: &Entry) -> bool {
        let walk = match self.purpose {
            // Of a translation request each stage may grant something of its own, and both together nothing.
            Purpose::Input => {
                let rights = if self.split() { entry.once_dirty } else { entry.rights };
                let nested = self.tag.kind == Kind::Va;
                return self.suffices(if nested { rights.and(self.leaf1.rights) } else { rights });
            }
            Purpose::Update => Access::UPDATE,
            Purpose::L1Cd | Purpose::Cd | Purpose::Table => Access::WALK,
        };
        entry.rights.permits(walk) && !(entry.attributes.is_stage2_device() && self.stream.ste.s2ptw())
    }

    /// Whether the page that stage 2 leads to becomes dirty.
    fn dirties2(&self, rights: Rights) -> bool {
        match self.purpose {
            Purpose::Input if self.split() => false,
            Purpose::Input if self.tag.kind == Kind::Va => self.dirties(rights.and(self.leaf1.rights)),
            Purpose::Input => self.dirties(rights),
            Purpose::Update => true,
            Purpose::L1Cd | Purpose::Cd | Purpose::Table => false,
        }
    }

    pub(super) fn descriptor2(
        &mut self,
        control: &Control,
        caches: &mut Caches,
        word: Result<u64, Abort>,
    ) -> Step {
        let Ok(word) = word else {
            let stage = Stage::Two { ipa: self.ipa, purpose: self.purpose };
            return self.walk_aborted(control, Some(stage));
        };
        match walk::decode(word, &self.two.tables, self.two.level, control.features.oas) {
            Descriptor::Invalid => self.fault2(EventNumber::F_TRANSLATION),
            Descriptor::AddressSize => self.fault2(EventNumber::F_ADDR_SIZE),
            Descriptor::Table { next, table } => {
                self.descend(caches, StageIndex::Two, next, table);
                self.read2()
            }
            Descriptor::Leaf { output, raw } => self.at_leaf2(control, caches, output, Leaf2([raw])),
        }
    }

    /// The walk of stage 2 has come to a leaf.
    fn at_leaf2(&mut self, control: &Control, caches: &mut Caches, output: u64, raw: Leaf2) -> Step {
        let (features, ste) = (&control.features, self.stream.ste);
        if !raw.af() && !ste.s2ha() && !ste.s2affd() {
            return self.fault2(EventNumber::F_ACCESS);
        }
        let clean = ste.s2ha() && ste.s2hd() && raw.dbm() && raw.s2ap() & 2 == 0;
        let dirty = if clean { raw.with_s2ap(raw.s2ap() | 2) } else { raw };
        let once_dirty = rights::stage2(dirty, features.xnx);
        let (rights, leaf) = match clean {
            true if self.dirties2(once_dirty) => (once_dirty, dirty),
            true => (once_dirty.without_write(), raw),
            false => (once_dirty, raw),
        };
        let contiguous = raw.contiguous() && !ste.s2ha() && self.may_span;
        let attributes = LeafAttributes::Stage2(Stage2::new(raw, features.fwb && ste.s2fwb()));
        let entry = Entry {
            rights,
            once_dirty,
            attributes,
            ..self.two.leaf(self.tag2(), self.ipa, output, contiguous)
        };
        if !self.suffices2(&entry) {
            let stage = Stage::Two { ipa: self.ipa, purpose: self.purpose };
            return self.denied(rights, stage, Manner::stage2(ste));
        }
        let leaf = leaf.with_af(leaf.af() || ste.s2ha());
        if leaf != raw && !self.inhibits_updates() {
            self.updates[1] = Update::of(raw.0[0], leaf.0[0], &self.two.tables);
            return self.compare_swap(StageIndex::Two, self.fetch);
        }
        if self.may_fill && self.tag.kind == Kind::Va && caches.ipa.keeps() {
            caches.ipa.insert(entry);
        }
        self.after_stage2(caches, entry)
    }

    pub(super) fn after_stage2(&mut self, caches: &mut Caches, entry: Entry) -> Step {
        let pa = entry.translate(self.ipa);
        match self.purpose {
            Purpose::Input if self.tag.kind == Kind::Ipa => self.complete(caches, &entry),
            Purpose::Input => {
                let (one, addr) = (self.leaf1, self.request.addr);
                let bits = one.bits.min(entry.bits);
                let combined = Entry {
                    input: addr & low_mask(TAG_BITS) & !low_mask(bits),
                    output: pa & !low_mask(bits),
                    bits,
                    rights: one.rights.and(entry.rights),
                    once_dirty: one.once_dirty.and(entry.once_dirty),
                    attributes: one.attributes.and(entry.attributes),
                    ..one
                };
                if self.split() && entry.rights != entry.once_dirty {
                    // The answer promises what only a later access may have: this is no translation to keep.
                    let promised = Entry { rights: one.rights.and(entry.once_dirty), ..combined };
                    return self.finish(&promised, false, false);
                }
                self.complete(caches, &combined)
            }
            purpose => {
                self.under = entry.attributes;
                self.read_for(purpose, pa)
            }
        }
    }
}

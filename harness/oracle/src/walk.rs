//! The reference translation, written from IHI 0070 chapters 3, 5 and 7 and DDI 0487 D8.
//!
//! [`translate`] says what a transaction should become. It reads memory and registers through a [`View`]: one shows the
//! present, others show every past that caches may still hold.

use crate::check::{self, World};
use crate::witness::{Access, Dma, Registers, Smmu};
use spec::smmu::descriptor::{Leaf1, Leaf2, Table};
use spec::smmu::event::class;
use spec::smmu::ste::config;
use spec::smmu::{Cd, EventNumber, L1Cd, L1Std, Ste};

/// What should become of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It goes on to this physical address; the page or block that maps it has that many address bits (64: no table). `due`:
    /// the hardware must have changed a descriptor before.
    Translated { pa: u64, bits: u32, due: bool },
    /// It is aborted silently.
    Abort,
    /// It faults.
    Fault(Fault),
}

/// A fault and what follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) event: EventNumber,
    /// Laid to stage 2, with what was being accessed and at which intermediate address.
    pub(crate) s2: bool,
    pub(crate) class: u64,
    pub(crate) ipa: u64,
    /// An event record is due.
    pub(crate) recorded: bool,
    pub(crate) stall: bool,
    /// The transaction completes without effect, rather than with an error.
    pub(crate) raz_wi: bool,
}

/// What a structure read is for; names what invalidates a cached copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Structure {
    L1Std,
    Ste,
    L1Cd { ssid: u32 },
    Cd { ssid: u32 },
}

/// What tags a cached translation: names what invalidates it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tag {
    pub(crate) world: World,
    /// None if the SMMU has no stage 2.
    pub(crate) vmid: Option<u16>,
    pub(crate) asid: u16,
    /// Input address of the transaction, if it has a stage 1.
    pub(crate) va: Option<u64>,
}

/// Which descriptor is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) tag: Tag,
    pub(crate) stage: u32,
    pub(crate) level: u32,
    /// Page bits of the granule.
    pub(crate) granule: u32,
    /// The address being translated: VA at stage 1, IPA at stage 2.
    pub(crate) input: u64,
    /// Descriptors are big-endian.
    pub(crate) big_endian: bool,
}

/// Where the walker reads from. `None` is an external abort.
pub(crate) trait View {
    fn registers(&mut self) -> Registers;
    fn structure<const N: usize>(&mut self, addr: u64, what: Structure) -> Option<[u64; N]>;
    fn descriptor(&mut self, addr: u64, step: &Step) -> Option<u64>;
    /// The STE from which cached translations with the tags of `ste` may have been made.
    fn recall_ste(&mut self, addr: u64, ste: Ste, tag: &Tag) -> Ste;
    /// The CD from which cached translations with the tags of `cd` may have been made.
    fn recall_cd(&mut self, addr: u64, cd: Cd, tag: &Tag) -> Cd;
}

type Walked<T> = Result<T, Fault>;

/// A change of a descriptor that a transaction calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// Where the descriptor is.
    pub(crate) addr: u64,
    pub(crate) stage: u32,
    pub(crate) big_endian: bool,
    pub(crate) what: Flag,
}

/// What the hardware keeps track of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flag {
    Access,
    Dirty,
}

impl Due {
    /// The word of the descriptor once that is done.
    pub(crate) fn done(&self, word: u64) -> u64 {
        let own = |word: u64| if self.big_endian { word.swap_bytes() } else { word };
        let word = own(word);
        own(match (self.what, self.stage) {
            (Flag::Access, 1) => Leaf1([word]).with_af(true).0[0],
            (Flag::Access, _) => Leaf2([word]).with_af(true).0[0],
            (Flag::Dirty, 1) => Leaf1([word]).with_ap(Leaf1([word]).ap() & 1).0[0],
            (Flag::Dirty, _) => Leaf2([word]).with_s2ap(Leaf2([word]).s2ap() | 2).0[0],
        })
    }
}

/// What should become of this transaction.
pub(crate) fn translate<V: View>(view: &mut V, smmu: &Smmu, dma: &Dma) -> Outcome {
    translate_noting(view, smmu, dma, &mut Vec::new())
}

/// The same, with the changes of descriptors that it calls for, whether it goes on after them or faults.
pub(crate) fn translate_noting<V: View>(
    view: &mut V,
    smmu: &Smmu,
    dma: &Dma,
    dues: &mut Vec<Due>,
) -> Outcome {
    let registers = view.registers();
    if registers.failed {
        return Outcome::Abort;
    }
    if !registers.cr0.smmuen() {
        let fits = dma.iova >> check::oas(smmu) == 0;
        return match registers.gbpa.abort() || !fits {
            true => Outcome::Abort,
            false => Outcome::Translated { pa: dma.iova, bits: 64, due: false },
        };
    }
    let walker = Walker { view, smmu, registers, dma, access: dma.access, dues, due: false };
    walker.run().unwrap_or_else(Outcome::Fault)
}

struct Walker<'a, V> {
    view: &'a mut V,
    smmu: &'a Smmu,
    registers: Registers,
    dma: &'a Dma,
    /// After the overrides of the STE.
    access: Access,
    dues: &'a mut Vec<Due>,
    /// One of them is for the transaction itself, not for the fetch of a CD, which may have been cached.
    due: bool,
}

/// A leaf, at either stage.
struct Leaf {
    out: u64,
    bits: u32,
}

impl<V: View> Walker<'_, V> {
    fn run(mut self) -> Walked<Outcome> {
        let (ste_addr, ste) = self.stream_table_entry()?;
        if !ste.v() {
            return Err(configuration(EventNumber::C_BAD_STE));
        }
        if ste.config() < config::BYPASS {
            return Ok(Outcome::Abort);
        }
        if !check::ste_is_legal(self.smmu, &self.registers, ste) {
            return Err(configuration(EventNumber::C_BAD_STE));
        }
        self.override_access(ste);
        let (mut stage1, stage2) = (ste.config() & 1 != 0, ste.config() & 2 != 0);
        let mut cd_index = self.dma.ssid.unwrap_or(0);
        let many = self.smmu.idr1.ssidsize() != 0 && ste.s1cdmax() != 0;
        if let Some(ssid) = self.dma.ssid
            && (!stage1 || !many || u64::from(ssid) >> ste.s1cdmax() != 0)
        {
            return Err(configuration(EventNumber::C_BAD_SUBSTREAMID));
        }
        if stage1 && many {
            match (self.dma.ssid, ste.s1dss()) {
                (None, 1) => stage1 = false,
                (None, 2) => cd_index = 0,
                (None, _) | (Some(0), 2) => return Err(configuration(EventNumber::F_STREAM_DISABLED)),
                _ => {}
            }
        }
        let world = check::world(self.smmu, &self.registers, ste);
        let vmid = (self.smmu.idr0.s2p() && world == World::El1).then_some(ste.s2vmid() as u16);
        let mut tag = Tag { world, vmid, asid: 0, va: stage1.then_some(self.dma.iova) };
        if !stage1 {
            let limit =
                if ste.config() == config::BYPASS { check::oas(self.smmu) } else { check::ias(self.smmu) };
            if self.dma.iova >> limit != 0 {
                return Err(Fault { class: class::IN, ..configuration(EventNumber::F_ADDR_SIZE) });
            }
            if !stage2 {
                let pa = self.dma.iova & ones(check::oas(self.smmu));
                return Ok(Outcome::Translated { pa, bits: 64, due: false });
            }
            let ste = self.view.recall_ste(ste_addr, ste, &tag);
            let leaf = self.stage2(ste, &tag, self.dma.iova, self.access, class::IN)?;
            return Ok(Outcome::Translated { pa: leaf.out, bits: leaf.bits, due: self.due });
        }
        let (cd_addr, cd) = self.context_descriptor(ste, &tag, cd_index, many)?;
        if !check::cd_is_legal(self.smmu, world, ste, cd) || !cd.aa64() {
            return Err(configuration(EventNumber::C_BAD_CD));
        }
        tag.asid = cd.asid() as u16;
        let ste = if stage2 { self.view.recall_ste(ste_addr, ste, &tag) } else { ste };
        let cd = self.view.recall_cd(cd_addr, cd, &tag);
        let first = self.stage1(ste, cd, &tag)?;
        if !stage2 {
            return Ok(Outcome::Translated { pa: first.out, bits: first.bits, due: self.due });
        }
        let second = self.stage2(ste, &tag, first.out, self.access, class::IN)?;
        Ok(Outcome::Translated { pa: second.out, bits: first.bits.min(second.bits), due: self.due })
    }

    fn stream_table_entry(&mut self) -> Walked<(u64, Ste)> {
        let (sid, cfg) = (u64::from(self.dma.sid), self.registers.strtab_base_cfg);
        let unknown =
            Fault { recorded: self.registers.cr2.recinvsid(), ..configuration(EventNumber::C_BAD_STREAMID) };
        let log2 = cfg.log2size().min(self.smmu.idr1.sidsize());
        if sid >> log2 != 0 {
            return Err(unknown);
        }
        let base = self.registers.strtab_base.addr();
        let two_level = cfg.fmt() == 1 && self.smmu.idr0.st_level() == 1;
        if !two_level {
            let align = (cfg.log2size() as u32 + 6).min(63);
            return self.read_ste((base & !ones(align)) + sid * 64);
        }
        let split = if matches!(cfg.split(), 8 | 10) { cfg.split() } else { 6 };
        let align = 6.max(cfg.log2size().saturating_sub(split) as u32 + 3);
        let addr = (base & !ones(align)) + (sid >> split) * 8;
        let words = self.structure::<1>(addr, Structure::L1Std, EventNumber::F_STE_FETCH)?;
        let l1 = L1Std::from_words(words);
        let span = l1.span();
        if !(1..=11).contains(&span) || span > split + 1 || (sid & ones(split as u32)) >> (span - 1) != 0 {
            return Err(unknown);
        }
        let array = l1.l2ptr() & !ones(span as u32 + 5);
        self.read_ste(array + (sid & ones(split as u32)) * 64)
    }

    fn read_ste(&mut self, addr: u64) -> Walked<(u64, Ste)> {
        let words = self.structure::<8>(addr, Structure::Ste, EventNumber::F_STE_FETCH)?;
        Ok((addr, Ste::from_words(words)))
    }

    fn structure<const N: usize>(
        &mut self,
        addr: u64,
        what: Structure,
        event: EventNumber,
    ) -> Walked<[u64; N]> {
        let reachable = addr >> check::oas(self.smmu) == 0;
        reachable.then(|| self.view.structure::<N>(addr, what)).flatten().ok_or(configuration(event))
    }

    fn override_access(&mut self, ste: Ste) {
        let overrides = self.smmu.idr1.attr_perms_ovr();
        match ste.privcfg() {
            2 if overrides => self.access.privileged = false,
            3 if overrides => self.access.privileged = true,
            _ => {}
        }
        match ste.instcfg() {
            _ if self.access.write => self.access.instruction = false,
            2 if overrides => self.access.instruction = false,
            3 if overrides => self.access.instruction = true,
            _ => {}
        }
    }

    /// Physical address of the CD, and the CD.
    fn context_descriptor(&mut self, ste: Ste, tag: &Tag, ssid: u32, many: bool) -> Walked<(u64, Cd)> {
        let index = u64::from(ssid);
        let leaf_bits = match ste.s1fmt() {
            1 if many => 6,
            2 if many => 10,
            _ => {
                let align = if many { ste.s1cdmax() as u32 + 6 } else { 6 };
                return self.read_cd(ste, tag, (ste.s1contextptr() & !ones(align)) + index * 64, ssid);
            }
        };
        let table_bits = (ste.s1cdmax() as u32).saturating_sub(leaf_bits) + 3;
        let l1_addr = (ste.s1contextptr() & !ones(table_bits.max(6))) + (index >> leaf_bits) * 8;
        let l1_pa = self.config_address(ste, tag, l1_addr)?;
        let words = self.structure::<1>(l1_pa, Structure::L1Cd { ssid }, EventNumber::F_CD_FETCH)?;
        let l1 = L1Cd::from_words(words);
        let reach =
            if ste.config() == config::NESTED { check::ias(self.smmu) } else { check::oas(self.smmu) };
        if !l1.v() || l1.l2ptr() >> reach != 0 {
            return Err(configuration(EventNumber::C_BAD_SUBSTREAMID));
        }
        let array = l1.l2ptr() & !ones(leaf_bits + 6);
        self.read_cd(ste, tag, array + (index & ones(leaf_bits)) * 64, ssid)
    }

    fn read_cd(&mut self, ste: Ste, tag: &Tag, addr: u64, ssid: u32) -> Walked<(u64, Cd)> {
        let pa = self.config_address(ste, tag, addr)?;
        let words = self.structure::<8>(pa, Structure::Cd { ssid }, EventNumber::F_CD_FETCH)?;
        Ok((pa, Cd::from_words(words)))
    }

    /// Stage 2 of the address of an L1CD or CD.
    fn config_address(&mut self, ste: Ste, tag: &Tag, addr: u64) -> Walked<u64> {
        if ste.config() != config::NESTED {
            return Ok(addr);
        }
        // Cached as an IPA translation only: no VA tag.
        let tag = Tag { va: None, ..*tag };
        Ok(self.stage2(ste, &tag, addr, Access::default(), class::CD)?.out)
    }

    fn stage1(&mut self, ste: Ste, cd: Cd, tag: &Tag) -> Walked<Leaf> {
        let va = self.dma.iova;
        let fault = |event| Fault {
            event,
            s2: false,
            class: class::IN,
            ipa: 0,
            recorded: cd.r() || cd.s(),
            stall: cd.s(),
            raz_wi: !cd.a() && !self.smmu.idr0.term_model() && !cd.s(),
        };
        let el2 = tag.world == World::El2;
        let upper = !el2 && va >> 55 & 1 != 0;
        let (size, tg, base, epd, tbi, had, e0pd) = match upper {
            false => (
                cd.t0sz(),
                check::tg0(cd.tg0()),
                cd.ttb0(),
                cd.epd0() && !el2,
                cd.tbi0(),
                cd.had0(),
                cd.e0pd0(),
            ),
            true => (cd.t1sz(), check::tg1(cd.tg1()), cd.ttb1(), cd.epd1(), cd.tbi1(), cd.had1(), cd.e0pd1()),
        };
        let ia = 64 - size as u32;
        let top = if tbi { ones(56) } else { u64::MAX };
        let above = va & top & !ones(ia);
        let out_of_range = above != if upper { top & !ones(ia) } else { 0 };
        let hidden = e0pd && !self.access.privileged && !el2;
        // A CD whose unused half has a reserved granule is legal; the half is then disabled.
        let (false, false, Some(g)) = (out_of_range || hidden, epd, tg) else {
            return Err(fault(EventNumber::F_TRANSLATION));
        };
        let s = g - 3;
        let mut level = 4 - (ia - g).div_ceil(s);
        let reach = check::s1_output(self.smmu, cd);
        let mut table = base & !ones((ia - (g + s * (3 - level)) + 3).max(4));
        let (mut aptable, mut uxntable, mut pxntable) = (0, false, false);
        let mut width = ia;
        loop {
            let shift = g + s * (3 - level);
            let at = table + ((va & ones(width)) >> shift) * 8;
            let step = Step { tag: *tag, stage: 1, level, granule: g, input: va, big_endian: cd.endi() };
            let pa =
                if ste.config() == config::NESTED { self.table_address(ste, tag, at, false)? } else { at };
            let Some(word) = self.view.descriptor(pa, &step) else {
                let abort = configuration(EventNumber::F_WALK_EABT);
                return Err(Fault { class: class::TT, ..abort });
            };
            let next = Table([word]);
            if !next.valid() || (!next.table() && (level == 3 || !self.block_allowed(g, level))) {
                return Err(fault(EventNumber::F_TRANSLATION));
            }
            if level < 3 && next.table() {
                table = self.next_table(next, g);
                if table >> reach != 0 {
                    return Err(fault(EventNumber::F_ADDR_SIZE));
                }
                if !had {
                    aptable |= next.aptable();
                    uxntable |= next.uxntable();
                    pxntable |= next.pxntable();
                }
                width = shift;
                level += 1;
                continue;
            }
            let leaf = Leaf1([word]);
            let out = self.output(leaf.oa(), leaf.oa_hi(), g, shift);
            if out >> reach != 0 {
                return Err(fault(EventNumber::F_ADDR_SIZE));
            }
            if !leaf.af() && !cd.ha() && !cd.affd() {
                return Err(fault(EventNumber::F_ACCESS));
            }
            // Whether a fault of permission leaves the Access flag alone is not known.
            let unused = cd.ha() && !leaf.af();
            if unused {
                self.note(Flag::Access, pa, &step, class::IN);
            }
            let hd = cd.ha() && cd.hd();
            let rights = Rights {
                // AP[1] counts as set where there is no unprivileged level.
                user: el2 || (leaf.ap() & 1 != 0 && aptable & 1 == 0),
                clean: hd && leaf.dbm(),
                read_only: leaf.ap() & 2 != 0,
                read_only_above: aptable & 2 != 0,
                uxn: leaf.uxn() || uxntable,
                pxn: leaf.pxn() || pxntable,
                wxn: cd.wxn(),
                pan: cd.pan() && !el2,
                el2,
            };
            if !rights.allow(self.access) {
                return Err(fault(EventNumber::F_PERMISSION));
            }
            let dirties = self.access.write && rights.read_only;
            if dirties {
                self.note(Flag::Dirty, pa, &step, class::IN);
            }
            if ste.config() == config::NESTED && (unused || dirties) {
                self.table_address(ste, tag, at, true)?;
            }
            return Ok(Leaf { out: out | (va & ones(shift)), bits: shift });
        }
    }

    /// The transaction calls for this change.
    fn note(&mut self, what: Flag, addr: u64, step: &Step, class: u64) {
        self.due |= class != class::CD;
        let due = Due { addr, stage: step.stage, big_endian: step.big_endian, what };
        if !self.dues.contains(&due) {
            self.dues.push(due);
        }
    }

    /// Stage 2 of the address of a stage-1 descriptor.
    fn table_address(&mut self, ste: Ste, tag: &Tag, at: u64, write: bool) -> Walked<u64> {
        let access = Access { write, ..Access::default() };
        Ok(self.stage2(ste, tag, at, access, class::TT)?.out)
    }

    fn stage2(&mut self, ste: Ste, tag: &Tag, ipa: u64, access: Access, class: u64) -> Walked<Leaf> {
        let fault = |event| Fault {
            event,
            s2: true,
            class,
            ipa: ipa & !ones(12),
            recorded: ste.s2r() || ste.s2s(),
            stall: ste.s2s(),
            raz_wi: false,
        };
        let (Some(g), Some(start)) = (check::tg0(ste.s2tg()), check::s2_start(self.smmu, ste)) else {
            return Err(configuration(EventNumber::C_BAD_STE));
        };
        let ia = (64 - ste.s2t0sz() as u32).min(check::ias(self.smmu));
        if ipa >> ia != 0 {
            return Err(fault(EventNumber::F_TRANSLATION));
        }
        let s = g - 3;
        let reach = check::s2_output(self.smmu, ste);
        let mut level = start;
        let mut width = ia;
        let mut table = ste.s2ttb() & !ones((ia.saturating_sub(g + s * (3 - level)) + 3).max(4));
        loop {
            let shift = g + s * (3 - level);
            let at = table + ((ipa & ones(width)) >> shift) * 8;
            let step = Step { tag: *tag, stage: 2, level, granule: g, input: ipa, big_endian: ste.s2endi() };
            let Some(word) = self.view.descriptor(at, &step) else {
                let abort = configuration(EventNumber::F_WALK_EABT);
                return Err(Fault { s2: true, class, ..abort });
            };
            let next = Table([word]);
            if !next.valid() || (!next.table() && (level == 3 || !self.block_allowed(g, level))) {
                return Err(fault(EventNumber::F_TRANSLATION));
            }
            if level < 3 && next.table() {
                table = self.next_table(next, g);
                if table >> reach != 0 {
                    return Err(fault(EventNumber::F_ADDR_SIZE));
                }
                width = shift;
                level += 1;
                continue;
            }
            let leaf = Leaf2([word]);
            let out = self.output(leaf.oa(), leaf.oa_hi(), g, shift);
            if out >> reach != 0 {
                return Err(fault(EventNumber::F_ADDR_SIZE));
            }
            if !leaf.af() && !ste.s2ha() && !ste.s2affd() {
                return Err(fault(EventNumber::F_ACCESS));
            }
            if ste.s2ha() && !leaf.af() {
                self.note(Flag::Access, at, &step, class);
            }
            let fwb = ste.s2fwb() && self.smmu.idr3.fwb();
            // Reserved values count as Device.
            let device = leaf.memattr() & 0b0100 == 0 && (fwb || leaf.memattr() & 0b1000 == 0)
                || !fwb && leaf.memattr() & 0b0011 == 0;
            let protected = class != class::IN && device && ste.s2ptw();
            if protected || !self.stage2_allows(ste, leaf, access, class) {
                return Err(fault(EventNumber::F_PERMISSION));
            }
            if access.write && leaf.s2ap() & 2 == 0 {
                self.note(Flag::Dirty, at, &step, class);
            }
            return Ok(Leaf { out: out | (ipa & ones(shift)), bits: shift });
        }
    }

    fn stage2_allows(&self, ste: Ste, leaf: Leaf2, access: Access, class: u64) -> bool {
        let clean = ste.s2ha() && ste.s2hd() && leaf.dbm() && class != class::CD;
        if access.instruction {
            return match (leaf.xn(), self.smmu.idr3.xnx()) {
                (0, _) | (1, false) => true,
                (1, true) => !access.privileged,
                (3, true) => access.privileged,
                _ => false,
            };
        }
        if access.write { leaf.s2ap() & 2 != 0 || clean } else { leaf.s2ap() & 1 != 0 }
    }

    fn block_allowed(&self, g: u32, level: u32) -> bool {
        match (g, level) {
            (12, 1 | 2) | (14 | 16, 2) => true,
            (16, 1) => check::oas(self.smmu) >= 52,
            _ => false,
        }
    }

    fn next_table(&self, next: Table, g: u32) -> u64 {
        match g {
            12 => next.next4k(),
            14 => next.next16k(),
            _ => next.next64k() | self.high(next.next64k_hi()),
        }
    }

    fn output(&self, oa: u64, oa_hi: u64, g: u32, shift: u32) -> u64 {
        let low = oa & !ones(shift);
        if g == 16 { low | self.high(oa_hi) } else { low }
    }

    /// Address bits 51:48 with the 64KB granule.
    fn high(&self, bits: u64) -> u64 {
        if check::oas(self.smmu) >= 52 { bits << 48 } else { 0 }
    }
}

/// Stage-1 permissions of a leaf after the table descriptors above it.
struct Rights {
    user: bool,
    /// Read-only until written.
    clean: bool,
    read_only: bool,
    read_only_above: bool,
    uxn: bool,
    pxn: bool,
    wxn: bool,
    pan: bool,
    el2: bool,
}

impl Rights {
    fn allow(&self, access: Access) -> bool {
        let writable = (!self.read_only || self.clean) && !self.read_only_above;
        if access.instruction {
            return match (self.el2, access.privileged) {
                (true, _) => !(self.uxn || self.wxn && writable),
                (_, true) => !(self.pxn || writable && (self.user || self.wxn)),
                _ => !(self.uxn || self.wxn && writable && self.user),
            };
        }
        let level = if access.privileged { !(self.pan && self.user) } else { self.user };
        level && (!access.write || writable)
    }
}

/// Neighbouring entries that the Contiguous bit ties together (DDI 0487, D8.7.1); 1 where it means nothing.
pub(crate) fn contiguous(granule: u32, level: u32) -> u64 {
    match (granule, level) {
        (12, 1..=3) => 16,
        (14, 3) => 128,
        (14 | 16, 2) | (16, 3) => 32,
        _ => 1,
    }
}

/// What a leaf says of the entry at `index` of its group, if it says anything of its neighbours.
pub(crate) fn implied(word: u64, step: &Step, index: u64, group: u64) -> Option<u64> {
    let leaf = Leaf1([word]);
    let is_leaf = leaf.valid() && leaf.page() == (step.level == 3);
    if !is_leaf || !leaf.contiguous() {
        return None;
    }
    let shift = step.granule + (step.granule - 3) * (3 - step.level);
    let base = leaf.oa() & !((group << shift) - 1);
    let moved = leaf.with_oa(base | index << shift);
    Some(if step.granule == 16 { moved.with_oa_hi(leaf.oa_hi()).0[0] } else { moved.0[0] })
}

/// A fault that no A/R/S bit governs: abort, and record.
fn configuration(event: EventNumber) -> Fault {
    Fault { event, s2: false, class: 0, ipa: 0, recorded: true, stall: false, raz_wi: false }
}

/// The low `n` bits.
pub(crate) fn ones(n: u32) -> u64 {
    if n >= 64 { u64::MAX } else { (1 << n) - 1 }
}

//! Valid configuration structures and translation tables.

use spec::smmu::descriptor::{Leaf1, Leaf2, Table};
use spec::smmu::ste::config;
use spec::smmu::{Cd, L1Std, Ste};

use super::{DATA, Rig};

/// A granule: log2 of the page size, and how the fields say it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Granule {
    bits: u8,
    tg0: u64,
    tg1: u64,
}

pub(crate) const K4: Granule = Granule { bits: 12, tg0: 0, tg1: 2 };
pub(crate) const K16: Granule = Granule { bits: 14, tg0: 2, tg1: 1 };
pub(crate) const K64: Granule = Granule { bits: 16, tg0: 1, tg1: 3 };

/// A stage-1 leaf that everyone may read, write and execute: Access flag set, non-global.
pub(crate) const PAGE1: Leaf1 =
    Leaf1([0]).with_valid(true).with_ap(1).with_sh(3).with_af(true).with_ng(true).with_attrindx(1);

/// A stage-2 leaf that permits everything: Access flag set, Normal memory.
pub(crate) const PAGE2: Leaf2 =
    Leaf2([0]).with_valid(true).with_s2ap(3).with_sh(3).with_af(true).with_memattr(0xf);

/// How far above their place in memory the stage-1 structures of a nested stream lie in its intermediate space.
pub(crate) const ABOVE: u64 = 0x10_0000_0000;

/// Intermediate address of page 0 of a nested stream; its pages lie at [`DATA`].
pub(crate) const IPA: u64 = 0x2000_0000;

/// Translation tables of one stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Space {
    pub(crate) granule: Granule,
    pub(crate) input_bits: u8,
    pub(crate) level: u8,
    /// First table, where it is in memory.
    pub(crate) root: u64,
    /// What is added to table addresses where the SMMU is told them.
    pub(crate) above: u64,
    /// Descriptors are big-endian.
    pub(crate) big_endian: bool,
}

impl Space {
    const fn stride(&self) -> u8 {
        self.granule.bits - 3
    }
    const fn shift(&self, level: u8) -> u8 {
        self.granule.bits + self.stride() * (3 - level)
    }

    /// A CD with this as the lower half: no upper half, 48-bit output, faults abort and are recorded.
    pub(crate) fn cd(&self) -> Cd {
        Cd::default()
            .with_v(true)
            .with_aa64(true)
            .with_t0sz(64 - u64::from(self.input_bits))
            .with_tg0(self.granule.tg0)
            .with_ttb0(self.root + self.above)
            .with_endi(self.big_endian)
            .with_epd1(true)
            .with_ips(5)
            .with_asid(1)
            .with_r(true)
            .with_a(true)
    }
    /// `cd` with this as the upper half.
    pub(crate) fn upper(&self, cd: Cd) -> Cd {
        cd.with_epd1(false)
            .with_t1sz(64 - u64::from(self.input_bits))
            .with_tg1(self.granule.tg1)
            .with_ttb1(self.root + self.above)
    }
    /// `ste` with this as stage 2; faults are recorded.
    pub(crate) fn under(&self, ste: Ste) -> Ste {
        let sl0 = if self.granule == K4 { 2 - u64::from(self.level) } else { 3 - u64::from(self.level) };
        ste.with_s2t0sz(64 - u64::from(self.input_bits))
            .with_s2sl0(sl0)
            .with_s2tg(self.granule.tg0)
            .with_s2ps(5)
            .with_s2aa64(true)
            .with_s2r(true)
            .with_s2vmid(5)
            .with_s2ttb(self.root)
    }
}

impl Rig {
    /// Takes memory of 2^`bits` bytes, aligned to its size and to a page.
    pub(crate) fn alloc(&mut self, bits: u8) -> u64 {
        let size = 1_u64 << bits.max(12);
        let addr = self.next.next_multiple_of(size);
        self.next = addr + size;
        assert!(self.next <= DATA, "structures and data do not overlap");
        addr
    }

    /// Empty stage-1 tables.
    pub(crate) fn stage1(&mut self, granule: Granule, input_bits: u8) -> Space {
        let levels = (input_bits - granule.bits).div_ceil(granule.bits - 3);
        self.space(granule, input_bits, 4 - levels)
    }
    /// Empty tables whose walk begins at `level`, in concatenated tables if need be.
    pub(crate) fn space(&mut self, granule: Granule, input_bits: u8, level: u8) -> Space {
        let space = Space { granule, input_bits, level, ..Space::default() };
        let bits = (input_bits - space.shift(level) + 3).max(granule.bits);
        Space { root: self.alloc(bits), ..space }
    }

    /// Where the descriptor for `input` at `level` is; makes the tables above it.
    pub(crate) fn descriptor(&mut self, space: &Space, input: u64, level: u8) -> u64 {
        let mut table = space.root;
        let input = input & ((1 << space.input_bits) - 1);
        for at in space.level..=level {
            let index = input >> space.shift(at);
            let index = if at == space.level { index } else { index & ((1 << space.stride()) - 1) };
            let addr = table + 8 * index;
            if at == level {
                return addr;
            }
            let word = self.word(space, addr);
            table = if word & 1 != 0 {
                (Table([word]).next4k()) - space.above
            } else {
                let next = self.alloc(space.granule.bits);
                let entry = Table([0]).with_valid(true).with_table(true).with_next4k(next + space.above);
                self.set_word(space, addr, entry.0[0]);
                next
            };
        }
        unreachable!("the walk begins above the level")
    }
    fn word(&self, space: &Space, addr: u64) -> u64 {
        let word = self.peek(addr);
        if space.big_endian { word.swap_bytes() } else { word }
    }
    fn set_word(&mut self, space: &Space, addr: u64, word: u64) {
        self.poke(addr, if space.big_endian { word.swap_bytes() } else { word });
    }

    /// Maps a stage-1 page (level 3) or block.
    pub(crate) fn map1(&mut self, space: &Space, input: u64, output: u64, level: u8, leaf: Leaf1) {
        let addr = self.descriptor(space, input, level);
        let leaf = leaf.with_page(level == 3).with_oa(output);
        let leaf = if output >> 48 != 0 { leaf.with_oa_hi(output >> 48) } else { leaf };
        self.set_word(space, addr, leaf.0[0]);
    }
    /// Maps a stage-2 page (level 3) or block.
    pub(crate) fn map2(&mut self, space: &Space, input: u64, output: u64, level: u8, leaf: Leaf2) {
        let addr = self.descriptor(space, input, level);
        self.set_word(space, addr, leaf.with_page(level == 3).with_oa(output).0[0]);
    }
    /// Changes the page descriptor of the default stream's page at `addr`.
    pub(crate) fn page(&mut self, addr: u64, edit: impl FnOnce(Leaf1) -> Leaf1) {
        let space = self.one;
        let at = self.descriptor(&space, addr, 3);
        let leaf = edit(Leaf1([self.word(&space, at)]));
        self.set_word(&space, at, leaf.0[0]);
    }
    /// Unmaps the default stream's page at `addr`.
    pub(crate) fn unmap(&mut self, addr: u64) {
        self.page(addr, |_| Leaf1([0]));
    }

    /// Stream 1: stage 1 with one CD, 4KB granule, 48 bits, page 0x1000 mapped.
    pub(super) fn default_stream(&mut self) {
        let one = self.stage1(K4, 48);
        self.one = one;
        self.map1(&one, 0x1000, DATA + 0x1000, 3, PAGE1);
        self.cd_at = self.alloc(6);
        self.cd_in(self.cd_at, |_| one.cd());
        let context = self.cd_at;
        self.ste(1, |_| stage1_ste(context));
    }

    /// Makes stream 1 one of stage 2 alone: page 0x1000 mapped, 40 bits, 4KB granule.
    pub(crate) fn stage2_only(&mut self) {
        let two = self.space(K4, 40, 1);
        self.two = two;
        self.map2(&two, 0x1000, DATA + 0x1000, 3, PAGE2);
        self.ste(1, |_| two.under(Ste::default().with_v(true).with_config(config::S2)));
    }
    /// Makes stream 1 nested: page 0x1000 goes to intermediate [`IPA`] + 0x1000 and from there to [`DATA`] + 0x1000.
    /// Every structure of stage 1 has its own page in stage 2.
    pub(crate) fn nested(&mut self) {
        let first = self.next;
        let one = Space { above: ABOVE, ..self.stage1(K4, 48) };
        self.one = one;
        self.map1(&one, 0x1000, IPA + 0x1000, 3, PAGE1);
        self.cd_at = self.alloc(6);
        self.cd_in(self.cd_at, |_| one.cd());
        let end = self.next;
        let two = self.space(K4, 40, 1);
        self.two = two;
        self.map2(&two, IPA + 0x1000, DATA + 0x1000, 3, PAGE2);
        for page in (first..end).step_by(0x1000) {
            self.map2(&two, page + ABOVE, page, 3, PAGE2);
        }
        let context = self.cd_at + ABOVE;
        self.ste(1, |_| two.under(stage1_ste(context).with_config(config::NESTED)));
    }
    /// Changes the page descriptor for `ipa` in the stage-2 tables of stream 1.
    pub(crate) fn page2(&mut self, ipa: u64, edit: impl FnOnce(Leaf2) -> Leaf2) {
        let space = self.two;
        let at = self.descriptor(&space, ipa, 3);
        let leaf = edit(Leaf2([self.word(&space, at)]));
        self.set_word(&space, at, leaf.0[0]);
    }

    /// Address of an STE; makes its array in a two-level Stream table.
    pub(crate) fn ste_at(&mut self, sid: u32) -> u64 {
        let Some(split) = self.setup.split else { return self.streams + 64 * u64::from(sid) };
        let l1 = self.l1std_at(sid);
        if self.peek(l1) == 0 {
            let array = self.alloc(split + 6);
            let entry = L1Std::default().with_span(u64::from(split) + 1).with_l2ptr(array);
            self.poke(l1, entry.0[0]);
        }
        L1Std([self.peek(l1)]).l2ptr() + 64 * u64::from(sid & ((1 << split) - 1))
    }
    /// Address of the level-1 descriptor of a stream.
    pub(crate) fn l1std_at(&self, sid: u32) -> u64 {
        let split = self.setup.split.expect("a two-level Stream table");
        self.streams + 8 * u64::from(sid >> split)
    }
    /// Gives stream 1 a linear table of 2^`log2` CDs, all copies of the CD it has with ASIDs of their own (100 and up). Says
    /// where it is.
    pub(crate) fn substreams(&mut self, log2: u8) -> u64 {
        let table = self.alloc(log2 + 6);
        let cd = Cd::from_bytes(self.world.memory.read_data(self.cd_at, 64).bytes());
        for i in 0..1 << log2 {
            self.cd_in(table + 64 * i, |_| cd.with_asid(100 + i));
        }
        self.ste(1, |ste| ste.with_s1contextptr(table).with_s1cdmax(log2.into()));
        table
    }
}

/// An STE that translates by stage 1 with one CD.
pub(crate) fn stage1_ste(context: u64) -> Ste {
    Ste::default().with_v(true).with_config(config::S1).with_s1contextptr(context)
}

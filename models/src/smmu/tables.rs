//! Builds valid configuration structures and translation tables in a small memory: for tests and examples.
//!
//! ```
//! use models::smmu::granule::Granule;
//! use models::smmu::tables::{Builder, PAGE1};
//! let mut b = Builder::new(0x8000_0000);
//! let space = b.stage1(Granule::K4, 48, 0);
//! b.map1(&space, 0x1000, 0x9000_0000, 3, PAGE1);
//! let cd = space.cd(7);
//! let context = b.context(&cd, 0);
//! b.linear_streams(4);
//! b.set_ste(3, space.ste(context));
//! ```

use std::collections::{BTreeMap, BTreeSet};

use spec::smmu::descriptor::{Leaf1, Leaf2, Table};
use spec::smmu::page0::{STRTAB_BASE, STRTAB_BASE_CFG};
use spec::smmu::ste::config;
use spec::smmu::{Cd, L1Cd, L1Std, Ste};

use crate::bus::{Abort, Data};

use super::control::Control;
use super::granule::Granule;
use super::step::StageIndex;

/// A stage-1 leaf that everyone may read and write: Access flag set, non-global, Normal memory.
pub const PAGE1: Leaf1 =
    Leaf1([0]).with_valid(true).with_ap(1).with_sh(3).with_af(true).with_ng(true).with_attrindx(1);

/// A stage-2 leaf that permits everything: Access flag set, Normal memory.
pub const PAGE2: Leaf2 = Leaf2([0]).with_valid(true).with_s2ap(3).with_sh(3).with_af(true).with_memattr(0xf);

/// Translation tables of one stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    stage: StageIndex,
    /// Granule.
    pub granule: Granule,
    /// Bits of an input address.
    pub input_bits: u8,
    /// Level of the first lookup.
    pub level: u8,
    /// First table, as the hardware is told.
    pub root: u64,
    /// What to add to a table's address to find it in memory (stage-1 tables under stage 2).
    pub offset: u64,
}

impl Space {
    /// A CD that uses this space for the lower half: no walks in the upper half, 48-bit output, faults abort and are
    /// recorded.
    pub const fn cd(&self, asid: u16) -> Cd {
        Cd([0; 8])
            .with_v(true)
            .with_aa64(true)
            .with_t0sz(64 - self.input_bits as u64)
            .with_tg0(self.granule.tg0())
            .with_ttb0(self.root)
            .with_epd1(true)
            .with_ips(5)
            .with_asid(asid as u64)
            .with_r(true)
            .with_a(true)
    }

    /// `cd` with this space as the upper half.
    pub const fn upper_of(&self, cd: Cd) -> Cd {
        cd.with_epd1(false)
            .with_t1sz(64 - self.input_bits as u64)
            .with_tg1(self.granule.tg1())
            .with_ttb1(self.root)
    }

    /// An STE that translates by stage 1 with one CD at `context`, or by stage 2 with this space.
    pub const fn ste(&self, context: u64) -> Ste {
        let ste = Ste([0; 8]).with_v(true);
        match self.stage {
            StageIndex::One => ste.with_config(config::S1).with_s1contextptr(context),
            StageIndex::Two => self.under(ste.with_config(config::S2)),
        }
    }

    /// An STE that translates by stage 1 with one CD at the intermediate address `context`, then by this stage 2.
    pub const fn nested(&self, context: u64) -> Ste {
        self.under(Ste([0; 8]).with_v(true).with_config(config::NESTED).with_s1contextptr(context))
    }

    /// `ste` with this space as stage 2; faults are recorded.
    pub const fn under(&self, ste: Ste) -> Ste {
        let start = match self.granule {
            Granule::K4 if self.level == 3 => 3,
            Granule::K4 => 2 - self.level as u64,
            _ => 3 - self.level as u64,
        };
        ste.with_s2t0sz(64 - self.input_bits as u64)
            .with_s2sl0(start)
            .with_s2tg(self.granule.tg0())
            .with_s2ps(5)
            .with_s2aa64(true)
            .with_s2r(true)
            .with_s2ttb(self.root)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Streams {
    base: u64,
    log2size: u8,
    split: Option<u8>,
}

/// Memory, and what is laid out in it.
#[derive(Clone, Debug)]
pub struct Builder {
    words: BTreeMap<u64, u64>,
    broken: BTreeSet<u64>,
    base: u64,
    next: u64,
    streams: Option<Streams>,
}

impl Builder {
    /// Memory that begins at `base`, which is a multiple of 1MB.
    pub fn new(base: u64) -> Self {
        assert_eq!(base & 0xf_ffff, 0, "the base is a multiple of 1MB");
        Self { words: BTreeMap::new(), broken: BTreeSet::new(), base, next: base, streams: None }
    }

    /// Takes zeroed memory of 2^`bits` bytes, aligned to its size.
    pub fn allocate(&mut self, bits: u8) -> u64 {
        let size = 1 << bits;
        let addr = self.next.next_multiple_of(size);
        self.next = addr + size;
        addr
    }

    /// The word at `addr`.
    pub fn word(&self, addr: u64) -> u64 {
        self.words.get(&addr).copied().unwrap_or(0)
    }

    /// Changes words from `addr` on.
    pub fn set_words(&mut self, addr: u64, words: &[u64]) {
        for (addr, &word) in (addr..).step_by(8).zip(words) {
            self.words.insert(addr, word);
        }
    }

    /// Reads of anything that contains the word at `addr` abort from now on.
    pub fn break_word(&mut self, addr: u64) {
        self.broken.insert(addr);
    }

    /// Reads, as the bus would: memory that was never allocated aborts.
    pub fn read(&self, addr: u64, len: usize) -> Result<Data, Abort> {
        let end = addr + len as u64;
        if addr < self.base || end > self.next || self.broken.range(addr..end).next().is_some() {
            return Err(Abort);
        }
        let bytes: Vec<u8> = (addr..end).step_by(8).flat_map(|a| self.word(a).to_le_bytes()).collect();
        Ok(Data::new(&bytes))
    }

    /// A linear Stream table for 2^`log2size` streams.
    pub fn linear_streams(&mut self, log2size: u8) {
        let base = self.allocate(log2size + 6);
        self.streams = Some(Streams { base, log2size, split: None });
    }

    /// A two-level Stream table for 2^`log2size` streams, of which 2^`split` share an array.
    pub fn two_level_streams(&mut self, log2size: u8, split: u8) {
        let base = self.allocate((log2size.saturating_sub(split) + 3).max(6));
        self.streams = Some(Streams { base, log2size, split: Some(split) });
    }

    /// Tells `control` where the Stream table is.
    pub fn install(&self, control: &mut Control) {
        let streams = self.streams.expect("a Stream table");
        let split = streams.split.unwrap_or(0);
        control.strtab_base = STRTAB_BASE(0).with_addr(streams.base);
        control.strtab_base_cfg = STRTAB_BASE_CFG(0)
            .with_log2size(streams.log2size.into())
            .with_split(split.into())
            .with_fmt(streams.split.is_some().into());
    }

    /// Address of the level-1 descriptor of a stream, in a two-level Stream table.
    pub fn l1std_addr(&self, sid: u32) -> u64 {
        let streams = self.streams.expect("a Stream table");
        streams.base + u64::from(sid >> streams.split.expect("two levels")) * 8
    }

    /// Address of the STE of a stream; allocates its array if need be.
    pub fn ste_addr(&mut self, sid: u32) -> u64 {
        let streams = self.streams.expect("a Stream table");
        let Some(split) = streams.split else { return streams.base + u64::from(sid) * 64 };
        let l1 = self.l1std_addr(sid);
        if self.word(l1) == 0 {
            let array = self.allocate(split + 6);
            self.set_words(l1, &L1Std([0]).with_span(u64::from(split) + 1).with_l2ptr(array).0);
        }
        L1Std([self.word(l1)]).l2ptr() + u64::from(sid & ((1 << split) - 1)) * 64
    }

    /// Writes the STE of a stream.
    pub fn set_ste(&mut self, sid: u32, ste: Ste) {
        let addr = self.ste_addr(sid);
        self.set_words(addr, &ste.0);
    }

    /// A single CD; returns the pointer to it. `offset`: what is added to the pointer to find it in memory.
    pub fn context(&mut self, cd: &Cd, offset: u64) -> u64 {
        let addr = self.allocate(6);
        self.set_words(addr, &cd.0);
        addr.wrapping_sub(offset)
    }

    /// A linear table of 2^`log2size` CDs; returns the pointer to it.
    pub fn contexts(&mut self, log2size: u8) -> u64 {
        self.allocate(log2size + 6)
    }

    /// A level-1 table of 2^`log2size` descriptors, each for 2^`split` CDs (6 or 10); returns the pointer to it.
    pub fn two_level_contexts(&mut self, log2size: u8, split: u8) -> u64 {
        let table = self.allocate((log2size + 3).max(6));
        for i in 0..1 << log2size {
            let leaf = self.allocate(split + 6);
            self.set_words(table + i * 8, &L1Cd([0]).with_v(true).with_l2ptr(leaf).0);
        }
        table
    }

    /// Empty stage-1 tables. `offset` as in [`Space::offset`].
    pub fn stage1(&mut self, granule: Granule, input_bits: u8, offset: u64) -> Space {
        self.space(StageIndex::One, granule, input_bits, granule.start_level(input_bits), offset)
    }

    /// Empty stage-2 tables whose walk begins at `level`, concatenated as needed.
    pub fn stage2(&mut self, granule: Granule, input_bits: u8, level: u8) -> Space {
        assert!(granule.start_fits_2(level, input_bits), "{granule:?} {input_bits} cannot start at {level}");
        self.space(StageIndex::Two, granule, input_bits, level, 0)
    }

    fn space(
        &mut self,
        stage: StageIndex,
        granule: Granule,
        input_bits: u8,
        level: u8,
        offset: u64,
    ) -> Space {
        let table = self.allocate(granule.first_table_bits(level, input_bits).max(6));
        Space { stage, granule, input_bits, level, root: table.wrapping_sub(offset), offset }
    }

    /// Where in memory the descriptor for `input` at `level` is. Allocates tables on the way.
    pub fn descriptor(&mut self, space: &Space, input: u64, level: u8) -> u64 {
        let (granule, mut table) = (space.granule, space.root.wrapping_add(space.offset));
        let input = if space.input_bits < 64 { input & ((1 << space.input_bits) - 1) } else { input };
        for at in space.level..=level {
            let index = input >> granule.shift(at);
            let index = if at == space.level { index } else { index & ((1 << granule.stride()) - 1) };
            let addr = table + index * 8;
            if at == level {
                return addr;
            }
            let next = Table([self.word(addr)]);
            assert!(!next.valid() || next.table(), "a block is in the way");
            table = if next.valid() {
                next.next4k().wrapping_add(space.offset)
            } else {
                let new = self.allocate(granule.bits());
                let entry =
                    Table([0]).with_valid(true).with_table(true).with_next4k(new.wrapping_sub(space.offset));
                self.set_words(addr, &entry.0);
                new
            };
        }
        unreachable!("the level is below the start of the walk")
    }

    /// Maps a stage-1 block or page at `level`; `leaf` gives everything but type and address.
    pub fn map1(&mut self, space: &Space, input: u64, output: u64, level: u8, leaf: Leaf1) {
        assert_eq!(space.stage, StageIndex::One);
        let addr = self.descriptor(space, input, level);
        self.set_words(addr, &leaf.with_page(level == 3).with_oa(output).0);
    }

    /// Maps a stage-2 block or page at `level`; `leaf` gives everything but type and address.
    pub fn map2(&mut self, space: &Space, input: u64, output: u64, level: u8, leaf: Leaf2) {
        assert_eq!(space.stage, StageIndex::Two);
        let addr = self.descriptor(space, input, level);
        self.set_words(addr, &leaf.with_page(level == 3).with_oa(output).0);
    }

    /// Clears the descriptor for `input` at `level`.
    pub fn unmap(&mut self, space: &Space, input: u64, level: u8) {
        let addr = self.descriptor(space, input, level);
        self.set_words(addr, &[0]);
    }
}

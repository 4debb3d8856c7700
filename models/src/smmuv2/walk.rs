//! The stage-1 walk (DDI 0487, D8): 4 KiB granule, TTBR0. A function of descriptors, without time.

use spec::regs::RegFile;
use spec::smmu::descriptor::{Leaf1, Table};
use spec::smmuv2::{Bank, TCR, TCR2, TTBR0};

use super::tlb::Entry;
use crate::bus::PhysAddr;

const PAGE_LOG2: u8 = 12;
const INDEX_BITS: u8 = 9;
const LAST_LEVEL: u8 = 3;
/// Bit 0 of AP: unprivileged access is permitted. Clients of this SMMU are unprivileged.
const AP_USER: u64 = 1;
/// Bit 1 of AP: no writes.
const AP_READ_ONLY: u64 = 2;

/// Why a translation failed, and at which level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Translation(u8),
    AccessFlag(u8),
    Permission(u8),
    External(u8),
}

/// What a context bank says about translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Regime {
    pub(super) vmid: u8,
    pub(super) asid: u16,
    root: PhysAddr,
    input_bits: u8,
    output_bits: u8,
    /// Walks are possible: AArch64 tables of a size and granule that exist here.
    walks: bool,
}

impl Regime {
    pub(super) fn new(bank: &RegFile<Bank>, vmid: u8, va64: bool) -> Self {
        let (tcr, tcr2) = (bank.get::<TCR>(), bank.get::<TCR2>());
        let ttbr = bank.get::<TTBR0>();
        let asid = ttbr.asid() as u16;
        let output_bits = match tcr2.pasize() {
            0 => 32,
            1 => 36,
            2 => 40,
            3 => 42,
            4 => 44,
            _ => 48,
        };
        Self {
            vmid,
            asid: if tcr2.as16() { asid } else { asid & 0xff },
            root: ttbr.baddr(),
            input_bits: 64 - tcr.t0sz() as u8,
            output_bits,
            walks: va64 && !tcr.epd0() && tcr.tg0() == 0 && (16..=39).contains(&tcr.t0sz()),
        }
    }

    /// The walk for an input address.
    pub(super) fn walk(self, iova: u64) -> Result<Walk, Fault> {
        if !self.walks || iova >> self.input_bits != 0 {
            return Err(Fault::Translation(0));
        }
        let level = LAST_LEVEL + 1 - (self.input_bits - PAGE_LOG2).div_ceil(INDEX_BITS);
        // A root of less than a page is aligned to its own size.
        let entries_log2 = self.input_bits - shift(level);
        let table = self.root & !((8 << entries_log2) - 1);
        let walk = Walk {
            regime: self,
            iova,
            table,
            level,
            index_bits: entries_log2,
            read_only: false,
            no_user: false,
        };
        walk.fits(table).then_some(walk).ok_or(Fault::Translation(level))
    }
}

/// log2 of what one entry of a level covers.
fn shift(level: u8) -> u8 {
    PAGE_LOG2 + INDEX_BITS * (LAST_LEVEL - level)
}

/// A walk that waits for a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Walk {
    pub(super) regime: Regime,
    pub(super) iova: u64,
    table: PhysAddr,
    level: u8,
    index_bits: u8,
    /// A table above forbids writes.
    read_only: bool,
    /// A table above forbids unprivileged access.
    no_user: bool,
}

/// What comes after a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Next(Walk),
    Done(Entry),
}

impl Walk {
    fn fits(&self, pa: PhysAddr) -> bool {
        pa >> self.regime.output_bits == 0
    }
    /// The descriptor to read.
    pub(super) fn descriptor(&self) -> PhysAddr {
        let index = (self.iova >> shift(self.level)) & ((1 << self.index_bits) - 1);
        self.table + 8 * index
    }
    /// The descriptor could not be read.
    pub(super) fn external(&self) -> Fault {
        Fault::External(self.level)
    }
    /// Goes on with the descriptor's value.
    pub(super) fn step(mut self, word: u64) -> Result<Step, Fault> {
        let table = Table::from_words([word]);
        match (table.valid(), table.table(), self.level) {
            (true, true, 0..LAST_LEVEL) => {
                self.read_only |= table.aptable() & 2 != 0;
                self.no_user |= table.aptable() & 1 != 0;
                self.table = table.next4k();
                self.level += 1;
                self.index_bits = INDEX_BITS;
                if self.fits(self.table) {
                    Ok(Step::Next(self))
                } else {
                    Err(Fault::Translation(self.level - 1))
                }
            }
            (true, false, 1..LAST_LEVEL) | (true, true, LAST_LEVEL) => self.leaf(Leaf1::from_words([word])),
            _ => Err(Fault::Translation(self.level)),
        }
    }
    fn leaf(&self, leaf: Leaf1) -> Result<Step, Fault> {
        let size_log2 = shift(self.level);
        let mask = (1 << size_log2) - 1;
        let pa = leaf.oa() & !mask;
        if !self.fits(pa) {
            return Err(Fault::Translation(self.level));
        }
        if !leaf.af() {
            return Err(Fault::AccessFlag(self.level));
        }
        if self.no_user || leaf.ap() & AP_USER == 0 {
            return Err(Fault::Permission(self.level));
        }
        let write = !self.read_only && leaf.ap() & AP_READ_ONLY == 0;
        let Regime { vmid, asid, .. } = self.regime;
        Ok(Step::Done(Entry {
            vmid,
            asid,
            global: !leaf.ng(),
            iova: self.iova & !mask,
            pa,
            size_log2,
            write,
        }))
    }
}

#[cfg(test)]
mod test {
    use super::*;

    const ROOT: u64 = 0x8000_0000;

    fn regime(t0sz: u64, more: impl Fn(TCR) -> TCR) -> Regime {
        let mut bank = RegFile::<Bank>::reset();
        bank.set(more(TCR(0).with_t0sz(t0sz)));
        bank.set(TCR2(0).with_pasize(5));
        bank.set(TTBR0(ROOT).with_asid(0x107));
        Regime::new(&bank, 3, true)
    }

    #[test]
    fn starts() {
        let reach = |t0sz, iova| regime(t0sz, |tcr| tcr).walk(iova).map(|w| (w.level, w.descriptor()));
        for (t0sz, iova, want) in [
            (16, 0x0000_8000_0000_0000, Ok((0, ROOT + 8 * 256))),
            (16, 0x0001_0000_0000_0000, Err(Fault::Translation(0))),
            (25, 0x40_0000_0000, Ok((1, ROOT + 8 * 256))),
            (24, 0x80_0000_0000, Ok((0, ROOT + 8))),
            (34, 0x20_0000, Ok((2, ROOT + 8))),
            (15, 0, Err(Fault::Translation(0))),
            (40, 0, Err(Fault::Translation(0))),
        ] {
            assert_eq!(reach(t0sz, iova), want, "{t0sz} {iova:#x}");
        }
        for more in [|tcr: TCR| tcr.with_epd0(true), |tcr: TCR| tcr.with_tg0(1)] {
            assert_eq!(regime(25, more).walk(0), Err(Fault::Translation(0)));
        }
        assert_eq!(regime(25, |tcr| tcr).asid, 0x07, "without TCR2.AS the ASID has eight bits");
    }

    #[test]
    fn steps() {
        let at = |level: u8| {
            let walk = regime(25, |tcr| tcr).walk(0x1_2345_6000).unwrap();
            Walk { level, index_bits: INDEX_BITS, ..walk }
        };
        let page = 0x9000_0000 | 0xf43; // valid page, AP[1], inner shareable, AF, nG
        let entry = |size_log2: u8, write| {
            let mask = (1 << size_log2) - 1;
            let (iova, pa) = (0x1_2345_6000 & !mask, 0x9000_0000 & !mask);
            Ok(Step::Done(Entry { vmid: 3, asid: 7, global: false, iova, pa, size_log2, write }))
        };
        for (name, level, word, want) in [
            ("page", 3, page, entry(12, true)),
            ("read-only page", 3, page | 0x80, entry(12, false)),
            ("2 MiB block", 2, page & !2, entry(21, true)),
            ("1 GiB block", 1, page & !2, entry(30, true)),
            ("no blocks at the last level", 3, page & !2, Err(Fault::Translation(3))),
            ("invalid", 2, page & !1, Err(Fault::Translation(2))),
            ("no access flag", 3, page & !0x400, Err(Fault::AccessFlag(3))),
            ("privileged only", 3, page & !0x40, Err(Fault::Permission(3))),
        ] {
            assert_eq!(at(level).step(word), want, "{name}");
        }
        let Ok(Step::Next(below)) = at(2).step(0x4000_0000_9100_0003) else { panic!("a table") };
        assert_eq!((below.level, below.descriptor()), (3, 0x9100_0000 + 8 * 0x56));
        assert_eq!(below.step(page), entry(12, false), "APTable forbids writes");
        let Ok(Step::Next(below)) = at(2).step(0x2000_0000_9100_0003) else { panic!("a table") };
        assert_eq!(below.step(page), Err(Fault::Permission(3)), "APTable forbids unprivileged access");
    }
}

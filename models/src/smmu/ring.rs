//! Arithmetic of the rings that software and the device share: index, wrap bit, occupancy, entry address.
//!
//! A pointer is what PROD.WR or CONS.RD holds: `n` index bits and the wrap bit above them, where `n` is the effective
//! LOG2SIZE. Higher bits are ignored.

use crate::bus::PhysAddr;

/// Where a ring lies and how long it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    base: PhysAddr,
    log2size: u8,
    entry_log2: u8,
}

/// How PROD and CONS stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// No entry.
    Empty,
    /// This many entries, fewer than fit.
    Partial(u32),
    /// No free slot.
    Full,
    /// More entries than slots: software moved a pointer where it cannot be.
    Inconsistent,
}

impl Fill {
    /// Number of entries that may be consumed; none when inconsistent.
    pub fn entries(self, ring: &Ring) -> u32 {
        match self {
            Self::Empty | Self::Inconsistent => 0,
            Self::Partial(n) => n,
            Self::Full => ring.slots(),
        }
    }
    /// Whether a producer must not write: full, or inconsistent and taken for full.
    pub fn is_full(self) -> bool {
        matches!(self, Self::Full | Self::Inconsistent)
    }
}

impl Ring {
    /// A ring of `1 << log2size` entries of `1 << entry_log2` bytes. `log2size` is capped at `log2size_max`; the base
    /// is aligned down to the larger of the ring's size and 32 bytes, as the device does.
    pub fn new(base: PhysAddr, log2size: u8, log2size_max: u8, entry_log2: u8) -> Self {
        let log2size = log2size.min(log2size_max);
        let align = 1_u64 << (log2size + entry_log2).max(5);
        Self { base: base & !(align - 1), log2size, entry_log2 }
    }
    /// Number of slots.
    pub fn slots(&self) -> u32 {
        1 << self.log2size
    }
    /// Effective LOG2SIZE.
    pub fn log2size(&self) -> u8 {
        self.log2size
    }
    /// Aligned address of the first entry.
    pub fn base(&self) -> PhysAddr {
        self.base
    }
    /// The pointer without bits that are neither index nor wrap.
    pub fn pointer(&self, raw: u32) -> u32 {
        raw & ((2 << self.log2size) - 1)
    }
    /// The slot a pointer means.
    pub fn index(&self, pointer: u32) -> u32 {
        pointer & (self.slots() - 1)
    }
    /// The pointer `n` entries later.
    pub fn advance(&self, pointer: u32, n: u32) -> u32 {
        self.pointer(pointer.wrapping_add(n))
    }
    /// Address of the entry a pointer means.
    pub fn address(&self, pointer: u32) -> PhysAddr {
        self.base + (u64::from(self.index(pointer)) << self.entry_log2)
    }
    /// How full the ring is.
    pub fn fill(&self, prod: u32, cons: u32) -> Fill {
        let n = self.pointer(prod.wrapping_sub(self.pointer(cons)));
        match n {
            0 => Fill::Empty,
            n if n < self.slots() => Fill::Partial(n),
            n if n == self.slots() => Fill::Full,
            _ => Fill::Inconsistent,
        }
    }
    /// How many of `wanted` entries from `pointer` on lie in its line of `line` bytes and before the end of the ring.
    pub fn run(&self, pointer: u32, wanted: u32, line: u64) -> u32 {
        let in_line = (line - self.address(pointer) % line) >> self.entry_log2;
        let to_end = self.slots() - self.index(pointer);
        wanted.min(in_line as u32).min(to_end)
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fill_of_four_slots() {
        let ring = Ring::new(0x1000, 2, 15, 4);
        for (prod, cons, want) in [
            (0, 0, Fill::Empty),
            (3, 0, Fill::Partial(3)),
            (4, 0, Fill::Full),
            (5, 0, Fill::Inconsistent),
            (7, 0, Fill::Inconsistent),
            (0, 4, Fill::Full),
            (1, 6, Fill::Partial(3)),
            (0, 1, Fill::Inconsistent),
            (0x10, 0, Fill::Empty), // bits above the wrap bit are ignored
        ] {
            assert_eq!(ring.fill(prod, cons), want, "prod {prod} cons {cons}");
        }
    }

    #[test]
    fn one_slot_has_no_index_bits() {
        let ring = Ring::new(0x1000, 0, 15, 5);
        assert_eq!(ring.fill(1, 0), Fill::Full);
        assert_eq!((ring.index(1), ring.advance(1, 1), ring.address(1)), (0, 0, 0x1000));
    }

    #[test]
    fn geometry_is_capped_and_aligned() {
        for (base, log2size, max, entry, want) in [
            (0x1_0040, 2, 15, 4, (0x1_0040, 4)),
            (0x1_0020, 2, 15, 4, (0x1_0000, 4)),
            (0x1_0010, 0, 15, 4, (0x1_0000, 1)),
            (0x123_4567, 31, 8, 5, (0x123_4000, 256)),
        ] {
            let ring = Ring::new(base, log2size, max, entry);
            assert_eq!((ring.base(), ring.slots()), want, "base {base:#x}");
        }
    }

    #[test]
    fn runs_stay_in_the_line() {
        let ring = Ring::new(0x1000, 3, 15, 4);
        for (pointer, wanted, want) in [(0, 9, 4), (1, 9, 3), (3, 9, 1), (4, 2, 2), (7, 9, 1)] {
            assert_eq!(ring.run(pointer, wanted, 64), want, "pointer {pointer}");
        }
        assert_eq!(Ring::new(0x1000, 1, 15, 4).run(0, 9, 64), 2, "the ring ends before the line");
    }

    proptest! {
        #[test]
        fn entries_are_what_was_produced(log2size in 0_u8..12, start: u32, n: u32) {
            let ring = Ring::new(0, log2size, 19, 4);
            let (cons, n) = (ring.pointer(start), n % (ring.slots() + 1));
            prop_assert_eq!(ring.fill(ring.advance(cons, n), cons).entries(&ring), n);
        }
    }
}

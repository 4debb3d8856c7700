//! PROD/CONS arithmetic of a ring in memory: an index with a wrap bit above it (IHI 0070, 3.5.1).
//!
//! A *position* is `wrap:index`, as the PROD and CONS registers hold it. Bits above the wrap bit are ignored.

use crate::bus::PhysAddr;

/// A ring of `1 << log2size` entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ring {
    /// Address of entry 0.
    pub(super) base: PhysAddr,
    /// log2 of the number of entries, at most 30.
    pub(super) log2size: u8,
    /// log2 of the size of an entry in bytes.
    pub(super) log2entry: u8,
}

impl Ring {
    /// A ring of 16-byte commands.
    pub(super) const fn of_commands(base: PhysAddr, log2size: u8) -> Self {
        Self { base, log2size, log2entry: 4 }
    }
    /// Number of entries.
    pub(super) const fn entries(self) -> u32 {
        1 << self.log2size
    }
    /// Size in bytes.
    pub(super) const fn bytes(self) -> u64 {
        1 << (self.log2size + self.log2entry)
    }
    /// The position without bits above the wrap bit.
    pub(super) const fn position(self, raw: u32) -> u32 {
        raw & (2 * self.entries() - 1)
    }
    /// Index of the entry at a position.
    pub(super) const fn index(self, position: u32) -> u32 {
        position & (self.entries() - 1)
    }
    /// Address of the entry at a position.
    pub(super) const fn addr(self, position: u32) -> PhysAddr {
        self.base.wrapping_add((self.index(position) as u64) << self.log2entry)
    }
    /// The position `by` entries further on.
    pub(super) const fn advance(self, position: u32, by: u32) -> u32 {
        self.position(position.wrapping_add(by))
    }
    /// Entries from `cons` up to `prod`. More than [`entries`](Self::entries) means that software made a mistake.
    pub(super) const fn occupancy(self, prod: u32, cons: u32) -> u32 {
        self.position(prod.wrapping_sub(cons))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        // (log2size, prod, cons, occupancy)
        let rows = [
            (1, 0, 0, 0),
            (1, 1, 0, 1),
            (1, 2, 0, 2),
            (1, 3, 0, 3),
            (1, 0, 3, 1),
            (1, 1, 3, 2),
            (19, 0x80000, 0, 0x80000),
            (19, 0, 0x80000, 0x80000),
            (19, 0, 0xf_ffff, 1),
            (3, 0xf_fff0, 0, 0),
        ];
        for (log2size, prod, cons, occupancy) in rows {
            let ring = Ring::of_commands(0x1_0000, log2size);
            assert_eq!(ring.occupancy(prod, cons), occupancy, "{log2size} {prod:#x} {cons:#x}");
        }
    }

    #[test]
    fn entries_repeat_after_the_last() {
        let ring = Ring::of_commands(0x1000, 2);
        let mut at = 0;
        let walk: Vec<_> = (0..9)
            .map(|_| {
                let here = (ring.addr(at), at >> 2);
                at = ring.advance(at, 1);
                here
            })
            .collect();
        let lap = |wrap| (0..4).map(move |i| (0x1000 + 16 * i, wrap));
        assert_eq!(walk, lap(0).chain(lap(1)).chain(lap(0).take(1)).collect::<Vec<_>>());
    }
}

//! Indices of a queue: position in the low bits, a wrap bit above.

/// A queue of `1 << log2` entries. Positions are taken modulo twice that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ring {
    log2: u8,
}

impl Ring {
    /// A ring of `1 << log2` entries.
    pub const fn new(log2: u8) -> Self {
        Self { log2 }
    }
    /// log2 of the number of entries.
    pub const fn log2(self) -> u8 {
        self.log2
    }
    /// Number of entries.
    pub const fn entries(self) -> u32 {
        1 << self.log2
    }
    /// Index and wrap bit.
    pub const fn mask(self) -> u32 {
        (2 << self.log2) - 1
    }
    /// Index of a position.
    pub const fn index(self, position: u32) -> u32 {
        position & (self.entries() - 1)
    }
    /// Whether the wrap bit of a position is set.
    pub const fn wrapped(self, position: u32) -> bool {
        position & self.entries() != 0
    }
    /// A position `n` entries further.
    pub const fn add(self, position: u32, n: u32) -> u32 {
        position.wrapping_add(n) & self.mask()
    }
    /// How many entries lie between two positions, going forward.
    pub const fn distance(self, from: u32, to: u32) -> u32 {
        to.wrapping_sub(from) & self.mask()
    }
    /// Whether `n` more entries fit.
    pub const fn has_space(self, prod: u32, cons: u32, n: u32) -> bool {
        self.distance(cons, prod) + n <= self.entries()
    }
    /// Whether nothing more fits.
    pub const fn is_full(self, prod: u32, cons: u32) -> bool {
        self.distance(cons, prod) >= self.entries()
    }
    /// Whether `cons` has passed the entry at `position`, which lies less than a ring behind or ahead of it.
    pub const fn consumed(self, position: u32, cons: u32) -> bool {
        self.distance(self.add(position, 1), cons) < self.entries()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn positions_wrap() {
        let ring = Ring::new(2);
        // prod, cons, n, fits, full
        for (prod, cons, n, fits, full) in [
            (0, 0, 4, true, false),
            (0, 0, 5, false, false),
            (4, 0, 1, false, true),
            (1, 6, 1, true, false),
            (1, 5, 1, false, true),
        ] {
            assert_eq!(
                (ring.has_space(prod, cons, n), ring.is_full(prod, cons)),
                (fits, full),
                "{prod} {cons} {n}"
            );
        }
        // position, cons, consumed
        for (position, cons, consumed) in [
            (0, 0, false),
            (0, 1, true),
            (0, 4, true),
            (7, 7, false),
            (7, 0, true),
            (7, 3, true),
            (3, 2, false),
        ] {
            assert_eq!(ring.consumed(position, cons), consumed, "{position} {cons}");
        }
        assert_eq!((ring.add(7, 1), ring.index(6), ring.wrapped(6), ring.wrapped(3)), (0, 2, true, false));
    }
}

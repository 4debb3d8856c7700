//! The geometry of a set of tables: levels, index bits, the root, and what CD or STE say about it.

/// Which stage the tables are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Virtual to intermediate (or physical) addresses.
    One,
    /// Intermediate to physical addresses.
    Two,
}

/// Translation granule: the size of a page and of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Granule {
    /// 4 KiB; blocks of 2 MiB and 1 GiB.
    K4,
    /// 16 KiB; blocks of 32 MiB.
    K16,
    /// 64 KiB; blocks of 512 MiB.
    K64,
}

impl Granule {
    /// log2 of the page size.
    pub const fn bits(self) -> u8 {
        match self {
            Self::K4 => 12,
            Self::K16 => 14,
            Self::K64 => 16,
        }
    }
    /// Bytes in a page.
    pub const fn bytes(self) -> u64 {
        1 << self.bits()
    }
    /// Encoding in CD.TG0 and STE.S2TG.
    pub const fn tg(self) -> u64 {
        match self {
            Self::K4 => 0,
            Self::K64 => 1,
            Self::K16 => 2,
        }
    }
}

/// A set of tables: stage, granule, sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Which stage.
    pub stage: Stage,
    /// Page and table size.
    pub granule: Granule,
    /// Input addresses have this many bits.
    pub input_bits: u8,
    /// Output addresses have this many bits.
    pub output_bits: u8,
    /// Stage 2 forces Write-Back by itself (STE.S2FWB).
    pub fwb: bool,
}

/// At most this many tables may be concatenated at the start level of stage 2.
const CONCATENATED_MAX: u64 = 16;

impl Shape {
    /// Stage 1 of `input_bits` (25 to 48).
    pub fn stage1(granule: Granule, input_bits: u8, output_bits: u8) -> Self {
        assert!((25..=48).contains(&input_bits), "stage 1 has 25 to 48 input bits");
        Self { stage: Stage::One, granule, input_bits, output_bits, fwb: false }
    }
    /// Stage 2 of `input_bits` (32 to 48).
    pub fn stage2(granule: Granule, input_bits: u8, output_bits: u8, fwb: bool) -> Self {
        assert!((32..=48).contains(&input_bits), "stage 2 has 32 to 48 input bits");
        Self { stage: Stage::Two, granule, input_bits, output_bits, fwb }
    }
    /// Address bits that one level resolves.
    pub(crate) const fn index_bits(&self) -> u8 {
        self.granule.bits() - 3
    }
    /// log2 of what one entry of a level covers.
    pub const fn shift(&self, level: u8) -> u8 {
        self.granule.bits() + self.index_bits() * (3 - level)
    }
    /// The level at which walks start. Stage 2 concatenates tables rather than have a small table at level 0.
    pub fn start_level(&self) -> u8 {
        let level = 4 - (self.input_bits - self.granule.bits()).div_ceil(self.index_bits());
        let entries = 1_u64 << (self.input_bits - self.shift(level));
        let concatenate = self.stage == Stage::Two && level == 0 && entries <= CONCATENATED_MAX;
        level + u8::from(concatenate)
    }
    /// Entries of the root (of all concatenated tables together).
    pub fn root_entries(&self) -> usize {
        1 << (self.input_bits - self.shift(self.start_level()))
    }
    /// Whether a leaf may be at this level.
    pub fn allows_leaf(&self, level: u8) -> bool {
        level == 3 || level == 2 || (level == 1 && self.granule == Granule::K4)
    }
    /// CD.T0SZ or STE.S2T0SZ.
    pub const fn t0sz(&self) -> u64 {
        64 - self.input_bits as u64
    }
    /// STE.S2SL0 for the start level.
    pub fn s2sl0(&self) -> u64 {
        let level = u64::from(self.start_level());
        match self.granule {
            Granule::K4 => 2 - level,
            Granule::K16 | Granule::K64 => 3 - level,
        }
    }
    /// CD.IPS or STE.S2PS: the output size.
    pub const fn ps(&self) -> u64 {
        encode_size(self.output_bits)
    }
}

/// An address size as IDR5.OAS, CD.IPS and STE.S2PS encode it, rounded down to one that exists.
pub const fn encode_size(bits: u8) -> u64 {
    match bits {
        0..36 => 0,
        36..40 => 1,
        40..42 => 2,
        42..44 => 3,
        44..48 => 4,
        48..52 => 5,
        _ => 6,
    }
}

/// An address size from its encoding in IDR5.OAS; reserved values count as 48 bits.
pub const fn decode_size(code: u64) -> u8 {
    match code {
        0 => 32,
        1 => 36,
        2 => 40,
        3 => 42,
        4 => 44,
        6 => 52,
        _ => 48,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn start_levels_and_roots() {
        use Granule::{K4, K16, K64};
        // Stage-1 ranges and stage-2 concatenation as in the tables of DDI 0487, D8.2.
        for (stage, granule, bits, level, entries, sl0) in [
            (Stage::One, K4, 48, 0, 512, 2),
            (Stage::One, K4, 39, 1, 512, 1),
            (Stage::One, K4, 40, 0, 2, 2),
            (Stage::One, K16, 48, 0, 2, 3),
            (Stage::One, K64, 48, 1, 64, 2),
            (Stage::Two, K4, 48, 0, 512, 2),
            (Stage::Two, K4, 44, 0, 32, 2),
            (Stage::Two, K4, 43, 1, 8192, 1),
            (Stage::Two, K4, 40, 1, 1024, 1),
            (Stage::Two, K4, 39, 1, 512, 1),
            (Stage::Two, K16, 48, 1, 4096, 2),
            (Stage::Two, K64, 42, 2, 8192, 1),
        ] {
            let shape = Shape { stage, granule, input_bits: bits, output_bits: 48, fwb: false };
            assert_eq!((shape.start_level(), shape.root_entries()), (level, entries), "{shape:?}");
            if stage == Stage::Two {
                assert_eq!(shape.s2sl0(), sl0, "{shape:?}");
            }
        }
    }

    #[test]
    fn sizes_round_trip() {
        for bits in [32, 36, 40, 42, 44, 48, 52] {
            assert_eq!(decode_size(encode_size(bits)), bits);
        }
    }
}

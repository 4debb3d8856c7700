//! Geometry of translation tables (DDI 0487, D8.2).

/// Size of a page and of a full table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Granule {
    /// 4KB.
    #[default]
    K4 = 0,
    /// 16KB.
    K16 = 1,
    /// 64KB.
    K64 = 2,
}

impl Granule {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::K4, Self::K16, Self::K64];

    /// From CD.TG0 or STE.S2TG.
    pub const fn from_tg0(field: u64) -> Option<Self> {
        match field {
            0 => Some(Self::K4),
            1 => Some(Self::K64),
            2 => Some(Self::K16),
            _ => None,
        }
    }

    /// From CD.TG1.
    pub const fn from_tg1(field: u64) -> Option<Self> {
        match field {
            1 => Some(Self::K16),
            2 => Some(Self::K4),
            3 => Some(Self::K64),
            _ => None,
        }
    }

    /// From the TG field of an invalidation; `None` for no range.
    pub const fn from_command(field: u64) -> Option<Self> {
        match field {
            1 => Some(Self::K4),
            2 => Some(Self::K16),
            3 => Some(Self::K64),
            _ => None,
        }
    }

    /// CD.TG0 and STE.S2TG.
    pub const fn tg0(self) -> u64 {
        match self {
            Self::K4 => 0,
            Self::K16 => 2,
            Self::K64 => 1,
        }
    }

    /// CD.TG1.
    pub const fn tg1(self) -> u64 {
        match self {
            Self::K4 => 2,
            Self::K16 => 1,
            Self::K64 => 3,
        }
    }

    /// The TG field of an invalidation.
    pub const fn command(self) -> u64 {
        self as u64 + 1
    }

    /// log2 of the page size.
    pub const fn bits(self) -> u8 {
        12 + 2 * self as u8
    }

    /// log2 of the entries of a full table.
    pub const fn stride(self) -> u8 {
        self.bits() - 3
    }

    /// log2 of the bytes that one entry at `level` covers.
    pub const fn shift(self, level: u8) -> u8 {
        self.bits() + self.stride() * (3 - level)
    }

    /// Whether an entry at `level` (below 3) may be a block. `oas` in bits.
    pub const fn has_block(self, level: u8, oas: u8) -> bool {
        match (self, level) {
            (Self::K4, 1) | (_, 2) => true,
            (Self::K64, 1) => oas >= 52,
            _ => false,
        }
    }

    /// log2 of the entries at `level` that the Contiguous bit ties together (DDI 0487, D8.7.1); 0 where it means nothing.
    pub const fn contiguous(self, level: u8) -> u8 {
        match (self, level) {
            (Self::K4, 1..=3) => 4,
            (Self::K16, 3) => 7,
            (Self::K16 | Self::K64, 2) | (Self::K64, 3) => 5,
            _ => 0,
        }
    }

    /// Where a stage-1 walk of `input_bits` starts.
    pub const fn start_level(self, input_bits: u8) -> u8 {
        let levels = (input_bits - self.bits()).div_ceil(self.stride());
        4 - levels
    }

    /// Where a stage-2 walk starts for this S2SL0; `None` if the encoding is reserved.
    pub const fn start_level_2(self, sl0: u64, stt: bool) -> Option<u8> {
        match (self, sl0) {
            (Self::K4, 3) if stt => Some(3),
            (_, 3) => None,
            (Self::K4, n) => Some(2 - n as u8),
            (_, n) => Some(3 - n as u8),
        }
    }

    /// Whether a stage-2 walk of `input_bits` may start at `level`: up to sixteen tables may be concatenated.
    pub const fn start_fits_2(self, level: u8, input_bits: u8) -> bool {
        let low = self.shift(level) + 1;
        let high = low + self.stride() - 1 + 4;
        // Level 0 resolves what is left of 48 bits, without concatenation.
        let high = if level == 0 && high > 48 { 48 } else { high };
        low <= input_bits && input_bits <= high
    }

    /// log2 of the bytes of the first table, concatenated ones included.
    pub const fn first_table_bits(self, level: u8, input_bits: u8) -> u8 {
        input_bits - self.shift(level) + 3
    }
}

/// The low `bits` bits.
pub const fn low_mask(bits: u8) -> u64 {
    if bits >= 64 { u64::MAX } else { (1 << bits) - 1 }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn entries_cover() {
        for (granule, level, want) in [
            (Granule::K4, 0, 39),
            (Granule::K4, 1, 30),
            (Granule::K4, 2, 21),
            (Granule::K4, 3, 12),
            (Granule::K16, 1, 36),
            (Granule::K16, 2, 25),
            (Granule::K64, 1, 42),
            (Granule::K64, 2, 29),
        ] {
            assert_eq!(granule.shift(level), want, "{granule:?} {level}");
        }
    }

    #[test]
    fn contiguous_spans() {
        for (granule, want) in [
            (Granule::K4, [None, Some(34), Some(25), Some(16)]),
            (Granule::K16, [None, None, Some(30), Some(21)]),
            (Granule::K64, [None, None, Some(34), Some(21)]),
        ] {
            for (level, want) in (0..).zip(want) {
                let more = granule.contiguous(level);
                let span = (more > 0).then(|| granule.shift(level) + more);
                assert_eq!(span, want, "{granule:?} {level}");
            }
        }
    }

    #[test]
    fn stage_1_starts() {
        for (granule, txsz, want) in [
            (Granule::K4, 16..=24, 0),
            (Granule::K4, 25..=33, 1),
            (Granule::K4, 34..=39, 2),
            (Granule::K16, 16..=16, 0),
            (Granule::K16, 17..=27, 1),
            (Granule::K16, 28..=38, 2),
            (Granule::K16, 39..=39, 3),
            (Granule::K64, 12..=21, 1),
            (Granule::K64, 22..=34, 2),
            (Granule::K64, 35..=39, 3),
        ] {
            for sz in txsz {
                assert_eq!(granule.start_level(64 - sz), want, "{granule:?} {sz}");
            }
        }
    }

    /// Start level and the S2T0SZ that go with it (IHI 0070, 5.2; without small tables).
    #[test]
    fn stage_2_starts() {
        for (granule, sl0, level, sizes) in [
            (Granule::K4, 2, 0, 16..=24),
            (Granule::K4, 1, 1, 21..=33),
            (Granule::K4, 0, 2, 30..=39),
            (Granule::K16, 2, 1, 16..=27),
            (Granule::K16, 1, 2, 24..=38),
            (Granule::K16, 0, 3, 35..=39),
            (Granule::K64, 2, 1, 16..=21),
            (Granule::K64, 1, 2, 18..=34),
            (Granule::K64, 0, 3, 31..=39),
        ] {
            assert_eq!(granule.start_level_2(sl0, false), Some(level));
            for sz in 16..=39 {
                assert_eq!(
                    granule.start_fits_2(level, 64 - sz),
                    sizes.contains(&sz),
                    "{granule:?} {sl0} {sz}"
                );
            }
        }
        assert_eq!(Granule::K4.start_level_2(3, false), None);
    }
}

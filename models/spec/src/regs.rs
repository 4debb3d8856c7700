//! Register blocks: one table per block gives offset, name, width, access, reset, fields and documentation, and
//! from that table come the typed views, the offset decode, the storage rules and the reference pages.
//!
//! ```
//! spec::registers! {
//!     /// An example block.
//!     pub enum Example {
//!         /// Enables.
//!         0x20 CR0: u32 rw = 0 { smmuen[0], vmw[8:6] }
//!         /// Where the ring lies.
//!         0x90 CMDQ_BASE: u64 rw = 0 { log2size[4:0], addr[51:5] addr }
//!     }
//! }
//! use spec::regs::{Block, RegFile};
//! let mut file = RegFile::<Example>::reset();
//! file.write(Example::CR0, 0xffff_ffff);
//! assert_eq!(file.get::<CR0>().vmw(), 7);
//! assert_eq!(CMDQ_BASE(0).with_addr(0x8000_0000).bits(), 0x8000_0000);
//! assert_eq!(Example::by_name("CR0"), Some(Example::CR0));
//! ```

use core::marker::PhantomData;

/// How software may touch a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Writes are ignored.
    Ro,
    /// Reads back what was written, RES0 bits excepted.
    Rw,
    /// Reads as zero.
    Wo,
    /// Writing 1 clears a bit.
    W1c,
    /// Writing 1 sets a bit.
    W1s,
}

/// How a field's accessor presents its bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Shifted down to bit 0.
    Value,
    /// Left where it lies: the field is part of an address and its position is the address bit.
    Address,
}

/// One field: bits `hi` to `lo`, both included, of a register or of a whole structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDesc {
    /// The specification's name in lower case.
    pub name: &'static str,
    /// Most significant bit.
    pub hi: u32,
    /// Least significant bit.
    pub lo: u32,
    /// Value or address.
    pub kind: Kind,
    /// What it is for; may be empty.
    pub doc: &'static str,
}

impl FieldDesc {
    /// Number of bits.
    pub const fn width(&self) -> u32 {
        self.hi - self.lo + 1
    }

    /// The field's bits within its 64-bit word.
    pub const fn mask(&self) -> u64 {
        mask(self.hi % 64, self.lo % 64)
    }

    /// Index of the 64-bit word that holds the field (0 for registers).
    pub const fn word(&self) -> usize {
        (self.lo / 64) as usize
    }

    /// The field's value in `word`, as the typed accessor would present it.
    pub const fn extract(&self, word: u64) -> u64 {
        match self.kind {
            Kind::Value => get(word, self.hi % 64, self.lo % 64),
            Kind::Address => word & self.mask(),
        }
    }

    /// `word` with this field replaced; bits of `value` that do not fit are dropped.
    pub const fn insert(&self, word: u64, value: u64) -> u64 {
        match self.kind {
            Kind::Value => set(word, self.hi % 64, self.lo % 64, value),
            Kind::Address => (word & !self.mask()) | (value & self.mask()),
        }
    }

    /// Whether `value` survives [`insert`](Self::insert) unchanged.
    pub const fn fits(&self, value: u64) -> bool {
        self.extract(self.insert(0, value)) == value
    }

    /// `name[hi:lo]` or `name[bit]`.
    pub fn position(&self) -> String {
        if self.hi == self.lo {
            format!("{}[{}]", self.name, self.hi)
        } else {
            format!("{}[{}:{}]", self.name, self.hi, self.lo)
        }
    }
}

/// One register: a row of the block's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RegDesc {
    /// The specification's name.
    pub name: &'static str,
    /// Byte offset within the block.
    pub offset: u32,
    /// 4 or 8.
    pub bytes: u32,
    /// How software may touch it.
    pub access: Access,
    /// Value after reset.
    pub reset: u64,
    /// Fields in the order of the declaration.
    pub fields: &'static [FieldDesc],
    /// What it is for.
    pub doc: &'static str,
}

impl RegDesc {
    /// Bits that exist. Everything else is RES0: reads as zero, writes are ignored.
    pub const fn mask(&self) -> u64 {
        let (mut bits, mut i) = (0, 0);
        while i < self.fields.len() {
            bits |= self.fields[i].mask();
            i += 1;
        }
        bits
    }

    /// The field of that name.
    pub fn field(&self, name: &str) -> Option<&'static FieldDesc> {
        self.fields.iter().find(|f| f.name == name)
    }
}

/// Bits `hi` to `lo`, both included.
pub const fn mask(hi: u32, lo: u32) -> u64 {
    (u64::MAX >> (63 - (hi - lo))) << lo
}

/// Bits `hi` to `lo` of `word`, shifted down.
pub const fn get(word: u64, hi: u32, lo: u32) -> u64 {
    (word & mask(hi, lo)) >> lo
}

/// `word` with bits `hi` to `lo` replaced by the low bits of `value`.
pub const fn set(word: u64, hi: u32, lo: u32, value: u64) -> u64 {
    (word & !mask(hi, lo)) | ((value << lo) & mask(hi, lo))
}

/// A register block's identity: an enum whose variants index the table.
pub trait Block: Copy + PartialEq + core::fmt::Debug + 'static {
    /// Name of the block.
    const NAME: &'static str;
    /// What it is.
    const DOC: &'static str;
    /// The rows, in ascending order of offset.
    const TABLE: &'static [RegDesc];
    /// Every register, in the order of the table.
    const ALL: &'static [Self];

    /// Row of this register.
    fn index(self) -> usize;

    /// The register that starts at this byte offset.
    fn decode(offset: u32) -> Option<Self>;

    /// The register that contains the aligned 32-bit word at this offset, and whether it is the upper half of a
    /// 64-bit register.
    fn decode_word(offset: u32) -> Option<(Self, bool)> {
        if let Some(reg) = Self::decode(offset) {
            return Some((reg, false));
        }
        let reg = Self::decode(offset.checked_sub(4)?)?;
        (reg.desc().bytes == 8).then_some((reg, true))
    }

    /// The register of that name, as the specification spells it.
    fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|r| r.name() == name)
    }

    /// Row of the table.
    fn desc(self) -> &'static RegDesc {
        &Self::TABLE[self.index()]
    }

    /// The specification's name.
    fn name(self) -> &'static str {
        self.desc().name
    }

    /// Byte offset within the block.
    fn offset(self) -> u32 {
        self.desc().offset
    }
}

/// A typed view of one register's value.
pub trait Register: Copy {
    /// The block it belongs to.
    type Block: Block;
    /// Its identity there.
    const REG: Self::Block;
    /// The view of a raw value.
    fn from_bits(bits: u64) -> Self;
    /// The raw value.
    fn bits(self) -> u64;
}

/// Declare a register block; see the module's example. A field is `name[bit]` (a `bool`), `name[hi:lo]` (a `u64`
/// shifted to bit 0) or `name[hi:lo] addr` (a `u64` in address position).
#[macro_export]
macro_rules! registers {
    ($(#[doc = $bdoc:literal])* $vis:vis enum $block:ident {
        $( $(#[doc = $rdoc:literal])*
           $off:literal $reg:ident : $ty:ident $acc:ident = $reset:literal
           { $( $(#[doc = $fdoc:literal])* $field:ident [ $hi:literal $(: $lo:literal)? ] $($kind:ident)? ),* $(,)? } )*
    }) => {
        $(#[doc = $bdoc])*
        #[allow(dead_code, non_camel_case_types, clippy::upper_case_acronyms)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        $vis enum $block { $( $(#[doc = $rdoc])* $reg ),* }

        impl $crate::regs::Block for $block {
            const NAME: &'static str = stringify!($block);
            const DOC: &'static str = concat!($($bdoc),*).trim_ascii();
            const TABLE: &'static [$crate::regs::RegDesc] = &[ $( $crate::regs::RegDesc {
                name: stringify!($reg), offset: $off, bytes: size_of::<$ty>() as u32,
                access: $crate::registers!(@acc $acc), reset: $reset,
                fields: &[ $( $crate::regs::FieldDesc {
                    name: stringify!($field), hi: $hi, lo: $crate::registers!(@lo $hi $(, $lo)?),
                    kind: $crate::registers!(@kind $($kind)?),
                    doc: concat!($($fdoc),*).trim_ascii() } ),* ],
                doc: concat!($($rdoc),*).trim_ascii(),
            } ),* ];
            const ALL: &'static [Self] = &[ $( Self::$reg ),* ];
            fn index(self) -> usize { self as usize }
            fn decode(offset: u32) -> Option<Self> {
                match offset { $( $off => Some(Self::$reg), )* _ => None }
            }
        }

        impl core::fmt::Display for $block {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str($crate::regs::Block::name(*self))
            }
        }

        $( $(#[doc = $rdoc])*
        #[allow(dead_code, unreachable_pub, non_camel_case_types, clippy::upper_case_acronyms)]
        #[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
        $vis struct $reg(
            /// The raw value.
            pub u64
        );

        impl $crate::regs::Register for $reg {
            type Block = $block;
            const REG: $block = $block::$reg;
            fn from_bits(bits: u64) -> Self { Self(bits) }
            fn bits(self) -> u64 { self.0 }
        }

        #[allow(dead_code, unreachable_pub)]
        impl $reg {
            /// The raw value.
            pub const fn bits(self) -> u64 { self.0 }
            $( $crate::registers!(@access [$($fdoc)*] $field, $hi $(, $lo)? ; $($kind)?); )*
        }

        impl core::fmt::Debug for $reg {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($reg)) $( .field(stringify!($field), &Self::$field(*self)) )* .finish()
            }
        }
        )*
    };
    (@acc ro) => { $crate::regs::Access::Ro };
    (@acc rw) => { $crate::regs::Access::Rw };
    (@acc wo) => { $crate::regs::Access::Wo };
    (@acc w1c) => { $crate::regs::Access::W1c };
    (@acc w1s) => { $crate::regs::Access::W1s };
    (@lo $hi:literal) => { $hi };
    (@lo $hi:literal, $lo:literal) => { $lo };
    (@kind) => { $crate::regs::Kind::Value };
    (@kind addr) => { $crate::regs::Kind::Address };
    (@access [$($doc:literal)*] $field:ident, $bit:literal ; ) => { $crate::pastey::paste! {
        #[doc = concat!("`", stringify!($field), "`, bit ", stringify!($bit), ".", $($doc),*)]
        pub const fn $field(self) -> bool { $crate::regs::get(self.0, $bit, $bit) != 0 }
        #[doc = concat!("The same with `", stringify!($field), "` replaced.")]
        #[must_use]
        pub const fn [<with_ $field>](self, value: bool) -> Self {
            Self($crate::regs::set(self.0, $bit, $bit, value as u64))
        }
    } };
    (@access [$($doc:literal)*] $field:ident, $hi:literal, $lo:literal ; ) => { $crate::pastey::paste! {
        #[doc = concat!("`", stringify!($field), "`, bits ", stringify!($hi), ":", stringify!($lo), ".", $($doc),*)]
        pub const fn $field(self) -> u64 { $crate::regs::get(self.0, $hi, $lo) }
        #[doc = concat!("The same with `", stringify!($field), "` replaced; bits that do not fit are dropped.")]
        #[must_use]
        pub const fn [<with_ $field>](self, value: u64) -> Self {
            Self($crate::regs::set(self.0, $hi, $lo, value))
        }
    } };
    (@access [$($doc:literal)*] $field:ident, $hi:literal, $lo:literal ; addr) => { $crate::pastey::paste! {
        #[doc = concat!("`", stringify!($field), "`: address bits ", stringify!($hi), ":", stringify!($lo), ", in place.", $($doc),*)]
        pub const fn $field(self) -> u64 { self.0 & $crate::regs::mask($hi, $lo) }
        #[doc = concat!("The same with `", stringify!($field), "` replaced; other address bits are dropped.")]
        #[must_use]
        pub const fn [<with_ $field>](self, value: u64) -> Self {
            Self((self.0 & !$crate::regs::mask($hi, $lo)) | (value & $crate::regs::mask($hi, $lo)))
        }
    } };
}

/// Register storage with the behaviour that the table alone determines.
#[derive(Clone, Debug)]
pub struct RegFile<B: Block> {
    bits: Box<[u64]>,
    block: PhantomData<B>,
}

impl<B: Block> Default for RegFile<B> {
    fn default() -> Self {
        Self::reset()
    }
}

impl<B: Block> RegFile<B> {
    /// Every register at its reset value.
    pub fn reset() -> Self {
        Self { bits: B::TABLE.iter().map(|r| r.reset).collect(), block: PhantomData }
    }

    /// Typed view of a register.
    pub fn get<R: Register<Block = B>>(&self) -> R {
        R::from_bits(self.bits[R::REG.index()])
    }

    /// The device's own update: not bound by what software may do.
    pub fn set<R: Register<Block = B>>(&mut self, value: R) {
        self.bits[R::REG.index()] = value.bits();
    }

    /// The device's own update of a register known only by its identity.
    pub fn set_raw(&mut self, reg: B, value: u64) {
        self.bits[reg.index()] = value;
    }

    /// Software read of the whole register.
    pub fn read(&self, reg: B) -> u64 {
        if reg.desc().access == Access::Wo { 0 } else { self.bits[reg.index()] }
    }

    /// Software write of the whole register; returns the value now stored.
    pub fn write(&mut self, reg: B, value: u64) -> u64 {
        let desc = reg.desc();
        let bits = &mut self.bits[reg.index()];
        match desc.access {
            Access::Ro => {}
            Access::Rw | Access::Wo => *bits = value & desc.mask(),
            Access::W1c => *bits &= !value,
            Access::W1s => *bits |= value & desc.mask(),
        }
        *bits
    }

    /// Software read of one 32-bit half (the lower one unless `upper`).
    pub fn read_word(&self, reg: B, upper: bool) -> u32 {
        (self.read(reg) >> if upper { 32 } else { 0 }) as u32
    }

    /// The whole-register value that a 32-bit write of one half amounts to, to be given to [`write`](Self::write).
    pub fn merge_word(&self, reg: B, upper: bool, value: u32) -> u64 {
        if matches!(reg.desc().access, Access::W1c | Access::W1s) {
            return u64::from(value) << if upper { 32 } else { 0 };
        }
        let old = self.bits[reg.index()];
        if upper {
            (old & mask(31, 0)) | u64::from(value) << 32
        } else {
            (old & mask(63, 32)) | u64::from(value)
        }
    }
}

/// Every check that a table can be given without knowing what it describes. For tests; panics on a flaw.
pub fn check_table<B: Block>() {
    let mut end = 0;
    for (i, r) in B::TABLE.iter().enumerate() {
        assert!(end <= r.offset, "{} overlaps its predecessor", r.name);
        assert!(r.bytes == 4 || r.bytes == 8, "{} is {} bytes wide", r.name, r.bytes);
        assert!(r.offset.is_multiple_of(r.bytes), "{} is misaligned", r.name);
        assert_eq!(B::decode(r.offset).map(Block::index), Some(i), "{} decodes to another", r.name);
        assert_eq!(B::ALL[i].index(), i);
        assert_eq!(B::by_name(r.name).map(Block::index), Some(i), "{} is not unique", r.name);
        assert!(r.reset & !r.mask() == 0, "{} resets a RES0 bit", r.name);
        let sum: u32 = r.fields.iter().map(FieldDesc::width).sum();
        assert!(r.mask().count_ones() == sum, "{} has overlapping fields", r.name);
        assert!(r.fields.iter().all(|f| f.hi < r.bytes * 8), "{} has a field beyond its width", r.name);
        assert!(!r.doc.is_empty(), "{} has no documentation", r.name);
        end = r.offset + r.bytes;
    }
}

#[cfg(test)]
mod test {
    use super::*;

    crate::registers! {
        /// A block with every kind of access.
        enum Sample {
            /// Read-only.
            0x00 ID: u32 ro = 0x12 { low[3:0], high[7:4] }
            /// Flag and range.
            0x04 CTRL: u32 rw = 1 { en[0], mode[6:4] }
            /// Sixty-four bits.
            0x08 BASE: u64 rw = 0 { size[4:0], addr[47:5] addr, ra[62] }
            /// Cleared by ones.
            0x10 ERR: u32 w1c = 0 { a[0], b[1] }
            /// Commands.
            0x14 GO: u32 wo = 0 { go[0] }
            /// Set by ones.
            0x18 SET: u32 w1s = 4 { a[2:0] }
        }
    }

    #[test]
    fn storage_follows_the_table() {
        check_table::<Sample>();
        let mut file = RegFile::<Sample>::reset();
        let rows = [
            (Sample::ID, 0xff, 0x12, 0x12),
            (Sample::CTRL, u64::MAX, 0x71, 0x71),
            (Sample::BASE, u64::MAX, 0x4000_ffff_ffff_ffff, 0x4000_ffff_ffff_ffff),
            (Sample::GO, 1, 1, 0),
            (Sample::SET, 9, 5, 5),
        ];
        for (reg, written, stored, read) in rows {
            assert_eq!(file.write(reg, written), stored, "{reg}");
            assert_eq!(file.read(reg), read, "{reg}");
        }
        file.set(ERR(3));
        assert_eq!(file.write(Sample::ERR, 1), 2);
        assert!(!file.get::<ERR>().a() && file.get::<ERR>().b());
    }

    #[test]
    fn halves_of_a_wide_register() {
        let mut file = RegFile::<Sample>::reset();
        assert_eq!(Sample::decode_word(0x0c), Some((Sample::BASE, true)));
        assert_eq!(Sample::decode_word(0x08), Some((Sample::BASE, false)));
        assert_eq!(Sample::decode_word(0x1c), None);
        for (upper, half) in [(false, 0x8000_0008), (true, 0x4000_0001)] {
            let value = file.merge_word(Sample::BASE, upper, half);
            file.write(Sample::BASE, value);
            assert_eq!(file.read_word(Sample::BASE, upper), half);
        }
        let base = file.get::<BASE>();
        assert_eq!((base.size(), base.addr(), base.ra()), (8, 0x1_8000_0000, true));
    }

    #[test]
    fn setters_change_their_field_only() {
        let all = BASE(u64::MAX);
        assert_eq!(all.with_size(0).0, !0x1f);
        assert_eq!(all.with_addr(0).0, !0x0000_ffff_ffff_ffe0);
        assert_eq!(all.with_ra(false).0, !(1 << 62));
        assert_eq!(BASE(0).with_size(0x3f).with_addr(u64::MAX).0, 0x0000_ffff_ffff_ffff);
    }
}

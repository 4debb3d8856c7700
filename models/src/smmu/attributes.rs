//! Memory attributes: type, cacheability, shareability, allocation hints (IHI 0070, 13; DDI 0487, D8.6).
//!
//! ```text
//!  incoming --Overrides--> stage 1: Attributes::stage1 .hinted_by(incoming) --Stage2::of--> output
//!                   \----- no stage 1 -------------------------------------/
//! ```
//! Where stage 1 translates, the type and shareability of the incoming transaction do not matter, so that a TLB can keep what
//! both stages say together ([`LeafAttributes`]).
//!
//! Choices that the architecture leaves open: reserved encodings are the strongest Device memory, or no shareability; what
//! stage 1 maps as Device or Non-cacheable enters stage 2 as Outer Shareable; overrides apply to PCIe streams as to others,
//! but not to transactions whose address came from ATS.

use std::cmp::{max, min};

use spec::smmu::Ste;
use spec::smmu::descriptor::{Leaf1, Leaf2};
use spec::smmu::page0::GBPA;

/// Kinds of Device memory, strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Device {
    /// No gathering, no reordering, no early acknowledgement of writes.
    NGnRnE,
    /// No gathering, no reordering.
    NGnRE,
    /// No gathering.
    NGRE,
    /// Gathering, reordering and early acknowledgement are permitted.
    GRE,
}

impl Device {
    const fn from_bits(bits: u8) -> Self {
        match bits & 3 {
            0 => Self::NGnRnE,
            1 => Self::NGnRE,
            2 => Self::NGRE,
            _ => Self::GRE,
        }
    }
}

/// What caches should do with an access that they may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hints {
    /// Reads allocate.
    pub read: bool,
    /// Writes allocate.
    pub write: bool,
    /// What is allocated is not needed for long.
    pub transient: bool,
}

impl Hints {
    /// Of a transaction that brings none.
    pub const DEFAULT: Self = Self { read: true, write: true, transient: false };

    /// No-allocate and transient prevail.
    const fn and(self, other: Self) -> Self {
        Self {
            read: self.read && other.read,
            write: self.write && other.write,
            transient: self.transient || other.transient,
        }
    }

    /// What is not allocated is not transient.
    const fn consistent(self) -> Self {
        Self { transient: self.transient && (self.read || self.write), ..self }
    }
}

/// Cacheability at one level, weakest need for coherence last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cacheability {
    /// Not cached.
    NonCacheable,
    /// Write-Through.
    WriteThrough(Hints),
    /// Write-Back.
    WriteBack(Hints),
}

impl Cacheability {
    /// From half a byte of MAIR.
    const fn from_mair(bits: u8) -> Self {
        let hints = Hints { read: bits & 2 != 0, write: bits & 1 != 0, transient: bits & 8 == 0 };
        match bits & 0xf {
            0b0100 => Self::NonCacheable,
            bits if bits & 4 == 0 => Self::WriteThrough(hints),
            _ => Self::WriteBack(hints),
        }
    }

    /// From half of a MemAttr field, which is not 0.
    const fn from_memattr(bits: u8) -> Self {
        match bits & 3 {
            2 => Self::WriteThrough(Hints::DEFAULT),
            3 => Self::WriteBack(Hints::DEFAULT),
            _ => Self::NonCacheable,
        }
    }

    /// From a field for tables.
    const fn of_table(field: u64) -> Self {
        let no_write = Hints { write: false, ..Hints::DEFAULT };
        match field & 3 {
            0 => Self::NonCacheable,
            1 => Self::WriteBack(Hints::DEFAULT),
            2 => Self::WriteThrough(no_write),
            _ => Self::WriteBack(no_write),
        }
    }

    const fn mair(self) -> u8 {
        let (kind, hints) = match self {
            Self::NonCacheable => return 0b0100,
            Self::WriteThrough(hints) => (0, hints),
            Self::WriteBack(hints) => (4, hints),
        };
        let Hints { read, write, transient } = hints.consistent();
        kind | (!transient as u8) << 3 | (read as u8) << 1 | write as u8
    }

    /// The hints, where there is a cache to be given some.
    pub const fn hints(self) -> Option<Hints> {
        match self {
            Self::NonCacheable => None,
            Self::WriteThrough(hints) | Self::WriteBack(hints) => Some(hints),
        }
    }

    const fn with_hints(self, hints: Hints) -> Self {
        match self {
            Self::NonCacheable => Self::NonCacheable,
            Self::WriteThrough(_) => Self::WriteThrough(hints),
            Self::WriteBack(_) => Self::WriteBack(hints),
        }
    }

    /// With the hints of `other`, which prevail where they restrict.
    const fn hinted_by(self, other: Self) -> Self {
        match (self.hints(), other.hints()) {
            (Some(mine), Some(others)) => self.with_hints(mine.and(others)),
            _ => self,
        }
    }

    /// With the hints of what this replaces.
    fn hinted_as(self, replaced: Self) -> Self {
        self.with_hints(replaced.hints().unwrap_or(Hints::DEFAULT))
    }

    /// The less cacheable of both, with the hints of the first.
    const fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::NonCacheable, _) | (_, Self::NonCacheable) => Self::NonCacheable,
            (Self::WriteBack(hints), Self::WriteThrough(_)) => Self::WriteThrough(hints),
            _ => self,
        }
    }
}

/// Memory type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// Accesses have effects.
    Device(Device),
    /// Accesses can be cached.
    Normal {
        /// By caches of the inner domain.
        inner: Cacheability,
        /// By caches of the outer domain.
        outer: Cacheability,
    },
}

impl Memory {
    /// Normal memory that no cache keeps.
    pub const NON_CACHEABLE: Self =
        Self::Normal { inner: Cacheability::NonCacheable, outer: Cacheability::NonCacheable };
    /// Normal memory that all caches keep.
    pub const WRITE_BACK: Self = Self::Normal {
        inner: Cacheability::WriteBack(Hints::DEFAULT),
        outer: Cacheability::WriteBack(Hints::DEFAULT),
    };

    /// From a byte of MAIR.
    const fn from_mair(byte: u8) -> Self {
        if byte >> 4 == 0 {
            return Self::Device(Device::from_bits(byte >> 2));
        }
        Self::Normal { inner: Cacheability::from_mair(byte), outer: Cacheability::from_mair(byte >> 4) }
    }

    /// From the MemAttr field of a stage-2 descriptor without S2FWB, of an STE or of a register.
    const fn from_memattr(field: u64) -> Self {
        let (outer, inner) = (field as u8 >> 2 & 3, field as u8 & 3);
        match (outer, inner) {
            (0, kind) => Self::Device(Device::from_bits(kind)),
            // Reserved.
            (_, 0) => Self::Device(Device::NGnRnE),
            _ => Self::Normal {
                inner: Cacheability::from_memattr(inner),
                outer: Cacheability::from_memattr(outer),
            },
        }
    }

    /// A byte of MAIR.
    const fn mair(self) -> u8 {
        match self {
            Self::Device(device) => (device as u8) << 2,
            Self::Normal { inner, outer } => outer.mair() << 4 | inner.mair(),
        }
    }

    /// Any Device memory.
    pub const fn is_device(self) -> bool {
        matches!(self, Self::Device(_))
    }

    /// Each level of Normal memory, with what the same level of `other` is; Device memory has no caches.
    fn map_levels(self, other: Self, f: impl Fn(Cacheability, Cacheability) -> Cacheability) -> Self {
        let Self::Normal { inner, outer } = self else { return self };
        let (other_inner, other_outer) = match other {
            Self::Normal { inner, outer } => (inner, outer),
            Self::Device(_) => (Cacheability::NonCacheable, Cacheability::NonCacheable),
        };
        Self::Normal { inner: f(inner, other_inner), outer: f(outer, other_outer) }
    }

    /// The stronger of both, with the hints of the first.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Device(mine), Self::Device(others)) => Self::Device(min(mine, others)),
            (Self::Device(_), _) => self,
            (_, Self::Device(_)) => other,
            _ => self.map_levels(other, Cacheability::and),
        }
    }
}

/// Who sees accesses in order, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shareability {
    /// Nobody else.
    Non,
    /// The inner domain.
    Inner,
    /// The outer domain.
    Outer,
}

impl Shareability {
    /// From an SH field.
    pub const fn from_field(field: u64) -> Self {
        match field & 3 {
            2 => Self::Outer,
            3 => Self::Inner,
            _ => Self::Non,
        }
    }

    /// As an SH field.
    pub const fn field(self) -> u8 {
        match self {
            Self::Non => 0,
            Self::Outer => 2,
            Self::Inner => 3,
        }
    }
}

/// Attributes of an access, consistent (IHI 0070, 13.1.7): what is not cached is Outer Shareable, and what is not allocated
/// is not transient.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    mair: u8,
    sh: u8,
}

impl Attributes {
    /// What a root port gives to accesses to memory without No_snoop: cached by all, Inner Shareable.
    pub const COHERENT: Self = Self { mair: 0xff, sh: 3 };
    /// What the SMMU makes of a transaction that brings no attributes (IHI 0070, 13.1.3).
    pub const UNSUPPLIED: Self = Self { mair: 0xff, sh: 0 };

    /// What a root port gives to accesses to memory with No_snoop.
    pub const NOT_SNOOPED: Self = Self::new(Memory::NON_CACHEABLE, Shareability::Outer);

    /// From type and shareability, made consistent.
    pub const fn new(memory: Memory, shareability: Shareability) -> Self {
        Self::from_fields(memory.mair(), shareability.field())
    }

    /// From a byte of MAIR and an SH field, made consistent.
    const fn from_fields(mair: u8, sh: u8) -> Self {
        let mair = match (mair >> 4, mair & 0xf) {
            (0, _) => mair & 0xc,
            // Reserved: Write-Through, transient, with both allocations.
            (_, 0) => mair | 3,
            _ => mair,
        };
        Self { mair, sh: 0 }.shared(sh)
    }

    /// The same with another SH field, made consistent.
    #[inline]
    const fn shared(self, sh: u8) -> Self {
        let sh = match (self.mair, sh) {
            (0..=0xf | 0x44, _) => 2,
            (_, 1) => 0,
            (_, sh) => sh & 3,
        };
        Self { sh, ..self }
    }

    /// What a stage-1 leaf says. `mair`: CD.MAIR.
    #[inline]
    pub const fn stage1(leaf: Leaf1, mair: u64) -> Self {
        Self::from_fields((mair >> (8 * leaf.attrindx())) as u8, leaf.sh() as u8)
    }

    /// What a register or structure says of the tables that it points to, in its fields for inner and outer cacheability and
    /// for shareability.
    pub const fn table(inner: u64, outer: u64, sh: u64) -> Self {
        Self::new(
            Memory::Normal { inner: Cacheability::of_table(inner), outer: Cacheability::of_table(outer) },
            Shareability::from_field(sh),
        )
    }

    /// The memory type.
    pub const fn memory(self) -> Memory {
        Memory::from_mair(self.mair)
    }

    /// The shareability.
    pub const fn shareability(self) -> Shareability {
        Shareability::from_field(self.sh as u64)
    }

    /// The type as a byte of MAIR, and as ATTR of GATOS_PAR.
    pub const fn mair(&self) -> u8 {
        self.mair
    }

    /// The shareability as an SH field, and as SH of GATOS_PAR.
    pub const fn sh(&self) -> u8 {
        self.sh
    }

    /// With the hints of the transaction that goes into stage 1, for what both can be cached by.
    #[must_use]
    #[inline]
    pub fn hinted_by(self, incoming: Self) -> Self {
        if incoming.mair == Self::COHERENT.mair {
            return self;
        }
        let memory = self.memory().map_levels(incoming.memory(), Cacheability::hinted_by);
        Self::from_fields(memory.mair(), self.sh)
    }
}

impl Default for Attributes {
    fn default() -> Self {
        Self::COHERENT
    }
}

impl std::fmt::Debug for Attributes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {:?}", self.memory(), self.shareability())
    }
}

/// What a stage-2 leaf says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stage2 {
    memattr: u8,
    sh: u8,
    fwb: bool,
}

impl Stage2 {
    /// What `leaf` says; `fwb`: STE.S2FWB in effect.
    pub const fn new(leaf: Leaf2, fwb: bool) -> Self {
        Self { memattr: leaf.memattr() as u8, sh: leaf.sh() as u8, fwb }
    }

    /// Whether an access becomes a Device access that is Normal without this.
    pub const fn is_device(self) -> bool {
        let attr = self.memattr;
        if self.fwb { attr & 4 == 0 } else { attr >> 2 == 0 || attr & 3 == 0 }
    }

    /// What becomes of what enters stage 2.
    #[must_use]
    pub fn of(self, input: Attributes) -> Attributes {
        let shareability = max(input.shareability(), Shareability::from_field(self.sh.into()));
        if self.changes_no_type() {
            return Attributes::from_fields(input.mair, shareability.field());
        }
        let (memory, memattr) = (input.memory(), u64::from(self.memattr));
        let memory = match self.memattr & 7 {
            _ if !self.fwb => memory.and(Memory::from_memattr(memattr)),
            0..=3 => memory.and(Memory::Device(Device::from_bits(self.memattr))),
            5 => memory.and(Memory::NON_CACHEABLE),
            6 => Memory::WRITE_BACK.map_levels(memory, Cacheability::hinted_as),
            // Reserved.
            _ => Memory::Device(Device::NGnRnE),
        };
        Attributes::new(memory, shareability)
    }

    /// Whether the type that enters stage 2 is the one that leaves it.
    const fn changes_no_type(self) -> bool {
        if self.fwb { self.memattr & 7 == 7 } else { self.memattr == 0xf }
    }
}

/// What a TLB keeps of attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeafAttributes {
    /// Stage 1 translates, and stage 2 if there is one has been heard. Only hints of the transaction matter.
    Stage1(Attributes),
    /// Stage 2 alone translates.
    Stage2(Stage2),
}

impl LeafAttributes {
    /// With stage 2 behind stage 1.
    #[must_use]
    pub fn and(self, second: Self) -> Self {
        match (self, second) {
            (Self::Stage1(first), Self::Stage2(second)) => Self::Stage1(second.of(first)),
            _ => self,
        }
    }

    /// Whether stage 2 makes Normal accesses Device accesses.
    pub const fn is_stage2_device(self) -> bool {
        matches!(self, Self::Stage2(leaf) if leaf.is_device())
    }

    /// The attributes with which a transaction leaves.
    #[inline]
    pub fn output(self, incoming: Attributes) -> Attributes {
        match self {
            Self::Stage1(leaf) => leaf.hinted_by(incoming),
            Self::Stage2(leaf) => leaf.of(incoming),
        }
    }
}

impl Default for LeafAttributes {
    fn default() -> Self {
        Self::Stage1(Attributes::default())
    }
}

/// What takes the place of attributes that come in: MTCFG, MemAttr, SHCFG and ALLOCCFG of an STE or of GBPA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overrides {
    /// MemAttr, where MTCFG says so.
    memattr: Option<u8>,
    shcfg: u8,
    alloccfg: u8,
}

impl Default for Overrides {
    fn default() -> Self {
        Self::NONE
    }
}

impl Overrides {
    /// None.
    pub const NONE: Self = Self { memattr: None, shcfg: 1, alloccfg: 0 };

    const fn new(mtcfg: bool, memattr: u64, shcfg: u64, alloccfg: u64) -> Self {
        let memattr = if mtcfg { Some(memattr as u8) } else { None };
        Self { memattr, shcfg: shcfg as u8, alloccfg: alloccfg as u8 }
    }

    /// Those of an STE. They exist if IDR1.ATTR_TYPES_OVR says so.
    pub const fn of_stream(ste: Ste) -> Self {
        Self::new(ste.mtcfg(), ste.memattr(), ste.shcfg(), ste.alloccfg())
    }

    /// Those of transactions that bypass a disabled SMMU. They exist if IDR1.ATTR_TYPES_OVR says so.
    pub const fn of_bypass(gbpa: GBPA) -> Self {
        Self::new(gbpa.mtcfg(), gbpa.memattr(), gbpa.shcfg(), gbpa.alloccfg())
    }

    /// What becomes of the attributes of a transaction.
    #[must_use]
    #[inline]
    pub fn of(self, incoming: Attributes) -> Attributes {
        let sh = if self.shcfg == 1 { incoming.sh } else { self.shcfg };
        if self.memattr.is_none() && self.alloccfg & 8 == 0 {
            return incoming.shared(sh);
        }
        self.replaced(incoming, sh)
    }

    fn replaced(self, incoming: Attributes, sh: u8) -> Attributes {
        let given = self.alloccfg;
        let before = incoming.memory();
        let memory = match self.memattr {
            Some(field) => Memory::from_memattr(field.into()).map_levels(before, Cacheability::hinted_as),
            None => before,
        };
        let hints = Hints { read: given & 4 != 0, write: given & 2 != 0, transient: given & 1 != 0 };
        let memory = match given & 8 {
            0 => memory,
            _ => memory.map_levels(memory, |level, _| level.with_hints(hints)),
        };
        Attributes::from_fields(memory.mair(), sh)
    }
}

#[cfg(test)]
mod test;

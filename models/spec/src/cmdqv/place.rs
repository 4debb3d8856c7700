//! What lies where in a CMDQV region: an offset becomes a [`Place`], a place has an offset and a name.
//!
//! ```
//! use spec::cmdqv::{Place, config::PARAM};
//! let grace = PARAM(0x4671);
//! let place = Place::decode(0xd0084, grace);
//! assert_eq!(place.to_string(), "VINTF5.LVCMDQ1.PROD");
//! assert_eq!("VINTF5.LVCMDQ1.PROD".parse(), Ok(place));
//! assert_eq!(place.offset(), Some(0xd0084));
//! ```

use super::config::PARAM;
use super::vintf::{LVCMDQ_ERR_MAP, SidSlot};
use super::{
    CMDQ_ALLOC_BASE, Config, DIRECT_PAGE0, DIRECT_PAGE1, LOGICAL, LOGICAL_STRIDE, PAGE, QUEUE_STRIDE,
    QueuePage0, QueuePage1, VINTF_BANK, VINTF_BANK_STRIDE, Vintf,
};
use crate::regs::Block;
use core::fmt;
use core::str::FromStr;

/// A register of a VCMDQ, as one 32-bit word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueReg {
    /// Control and status.
    Page0(QueuePage0),
    /// Ring base; these are 64 bits wide.
    Page1 {
        /// Which register.
        reg: QueuePage1,
        /// Its upper half.
        upper: bool,
    },
}

/// What an aligned 32-bit word of the region is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A register of the global bank.
    Config(Config),
    /// Entry of a VCMDQ in the allocation table.
    CmdqAlloc {
        /// VCMDQ.
        q: u8,
    },
    /// A register of a VINTF's bank.
    Vintf {
        /// VINTF.
        v: u8,
        /// Which register.
        reg: Vintf,
    },
    /// The guest's StreamID of a slot.
    SidMatch {
        /// VINTF.
        v: u8,
        /// Slot.
        s: u8,
    },
    /// The physical StreamID of a slot.
    SidReplace {
        /// VINTF.
        v: u8,
        /// Slot.
        s: u8,
    },
    /// 32 bits of the map of LVCMDQs that have an active error.
    LvcmdqErrMap {
        /// VINTF.
        v: u8,
        /// 0 to 3; a 64-bit read starts at 0 or 2.
        word: u8,
    },
    /// A queue by its global index.
    Direct {
        /// VCMDQ.
        q: u8,
        /// Which register.
        reg: QueueReg,
    },
    /// A queue by its index within a VINTF.
    Logical {
        /// VINTF.
        v: u8,
        /// LVCMDQ.
        l: u8,
        /// Which register.
        reg: QueueReg,
    },
    /// Nothing: reads as zero, ignores writes.
    Hole,
}

impl Place {
    /// What lies at this offset of a block of this size. The offset must be a multiple of 4; others are holes.
    pub fn decode(offset: u64, param: PARAM) -> Self {
        if !offset.is_multiple_of(4) {
            return Self::Hole;
        }
        let found = match offset {
            0..PAGE => config_page(offset, param),
            DIRECT_PAGE0..DIRECT_PAGE1 => queue_page0(offset - DIRECT_PAGE0, param)
                .map(|(q, reg)| Self::Direct { q, reg: QueueReg::Page0(reg) }),
            DIRECT_PAGE1..LOGICAL => {
                queue_page1(offset - DIRECT_PAGE1, param).map(|(q, reg)| Self::Direct { q, reg })
            }
            _ => logical(offset - LOGICAL, param),
        };
        found.unwrap_or(Self::Hole)
    }

    /// Where it lies; nothing for a hole.
    pub fn offset(self) -> Option<u64> {
        let bank = |v: u8| VINTF_BANK + VINTF_BANK_STRIDE * u64::from(v);
        let slot = |v, s: u8, reg: SidSlot| bank(v) + u64::from(reg.offset()) + 4 * u64::from(s);
        Some(match self {
            Self::Config(reg) => reg.offset().into(),
            Self::CmdqAlloc { q } => CMDQ_ALLOC_BASE + 4 * u64::from(q),
            Self::Vintf { v, reg } => bank(v) + u64::from(reg.offset()),
            Self::SidMatch { v, s } => slot(v, s, SidSlot::SID_MATCH),
            Self::SidReplace { v, s } => slot(v, s, SidSlot::SID_REPLACE),
            Self::LvcmdqErrMap { v, word } => bank(v) + LVCMDQ_ERR_MAP + 4 * u64::from(word),
            Self::Direct { q, reg } => DIRECT_PAGE0 + queue_offset(q, reg),
            Self::Logical { v, l, reg } => LOGICAL + LOGICAL_STRIDE * u64::from(v) + queue_offset(l, reg),
            Self::Hole => return None,
        })
    }
}

fn config_page(offset: u64, param: PARAM) -> Option<Place> {
    if let Some(reg) = Config::decode(offset as u32) {
        return Some(Place::Config(reg));
    }
    if offset < CMDQ_ALLOC_BASE {
        return None;
    }
    if offset < VINTF_BANK {
        let q = (offset - CMDQ_ALLOC_BASE) / 4;
        return (q < param.vcmdqs().min(128)).then_some(Place::CmdqAlloc { q: q as u8 });
    }
    let v = (offset - VINTF_BANK) / VINTF_BANK_STRIDE;
    if v >= param.vintfs().min(64) {
        return None;
    }
    let (v, within) = (v as u8, (offset % VINTF_BANK_STRIDE) as u8);
    let slot = |base| Some((within - base) / 4).filter(|&s| u64::from(s) < param.sids());
    match within {
        0..0x40 => Vintf::decode(within.into()).map(|reg| Place::Vintf { v, reg }),
        0x40..0x80 => slot(0x40).map(|s| Place::SidMatch { v, s }),
        0x80..0xc0 => slot(0x80).map(|s| Place::SidReplace { v, s }),
        0xc0..0xd0 => Some(Place::LvcmdqErrMap { v, word: (within - 0xc0) / 4 }),
        0xd0.. => None,
    }
}

fn queue_page0(offset: u64, param: PARAM) -> Option<(u8, QueuePage0)> {
    let q = offset / QUEUE_STRIDE;
    let reg = QueuePage0::decode((offset % QUEUE_STRIDE) as u32)?;
    (q < param.vcmdqs().min(128)).then_some((q as u8, reg))
}

fn queue_page1(offset: u64, param: PARAM) -> Option<(u8, QueueReg)> {
    let q = offset / QUEUE_STRIDE;
    let (reg, upper) = QueuePage1::decode_word((offset % QUEUE_STRIDE) as u32)?;
    (q < param.vcmdqs().min(128)).then_some((q as u8, QueueReg::Page1 { reg, upper }))
}

fn logical(offset: u64, param: PARAM) -> Option<Place> {
    let v = offset / LOGICAL_STRIDE;
    if v >= param.vintfs().min(64) {
        return None;
    }
    let within = offset % LOGICAL_STRIDE;
    let (l, reg) = if within < PAGE {
        queue_page0(within, param).map(|(l, reg)| (l, QueueReg::Page0(reg)))?
    } else {
        queue_page1(within - PAGE, param)?
    };
    Some(Place::Logical { v: v as u8, l, reg })
}

/// Offset from the queue page 0 of the aperture; page 1 follows it in both.
fn queue_offset(index: u8, reg: QueueReg) -> u64 {
    let within = match reg {
        QueueReg::Page0(reg) => u64::from(reg.offset()),
        QueueReg::Page1 { reg, upper } => PAGE + u64::from(reg.offset()) + if upper { 4 } else { 0 },
    };
    QUEUE_STRIDE * u64::from(index) + within
}

impl fmt::Display for QueueReg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page0(reg) => f.write_str(reg.name()),
            Self::Page1 { reg, upper: false } => f.write_str(reg.name()),
            Self::Page1 { reg, upper: true } => write!(f, "{}_H", reg.name()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config(reg) => f.write_str(reg.name()),
            Self::CmdqAlloc { q } => write!(f, "CMDQ_ALLOC{q}"),
            Self::Vintf { v, reg } => write!(f, "VINTF{v}.{reg}"),
            Self::SidMatch { v, s } => write!(f, "VINTF{v}.SID_MATCH{s}"),
            Self::SidReplace { v, s } => write!(f, "VINTF{v}.SID_REPLACE{s}"),
            Self::LvcmdqErrMap { v, word } => write!(f, "VINTF{v}.LVCMDQ_ERR_MAP{word}"),
            Self::Direct { q, reg } => write!(f, "VCMDQ{q}.{reg}"),
            Self::Logical { v, l, reg } => write!(f, "VINTF{v}.LVCMDQ{l}.{reg}"),
            Self::Hole => f.write_str("HOLE"),
        }
    }
}

impl FromStr for Place {
    type Err = String;

    /// The name that [`Display`](fmt::Display) prints. Indices are checked against the architecture's limits, not
    /// against those of one block.
    fn from_str(name: &str) -> Result<Self, String> {
        parse(name).ok_or_else(|| {
            format!(
                "there is no CMDQV register `{name}`; names look like CONFIG, CMDQ_ALLOC11, VINTF5.CONFIG, \
                 VINTF5.SID_MATCH3, VINTF5.SID_REPLACE3, VINTF5.LVCMDQ_ERR_MAP0, VINTF5.LVCMDQ1.PROD, VCMDQ11.BASE"
            )
        })
    }
}

fn parse(name: &str) -> Option<Place> {
    if let Some(reg) = Config::by_name(name) {
        return Some(Place::Config(reg));
    }
    if let Some(q) = indexed(name, "CMDQ_ALLOC", 128) {
        return Some(Place::CmdqAlloc { q });
    }
    let (head, rest) = name.split_once('.')?;
    if let Some(q) = indexed(head, "VCMDQ", 128) {
        return Some(Place::Direct { q, reg: queue_reg(rest)? });
    }
    let v = indexed(head, "VINTF", 64)?;
    if let Some((queue, reg)) = rest.split_once('.') {
        return Some(Place::Logical { v, l: indexed(queue, "LVCMDQ", 128)?, reg: queue_reg(reg)? });
    }
    if let Some(reg) = Vintf::by_name(rest) {
        return Some(Place::Vintf { v, reg });
    }
    if let Some(s) = indexed(rest, "SID_MATCH", 16) {
        return Some(Place::SidMatch { v, s });
    }
    if let Some(s) = indexed(rest, "SID_REPLACE", 16) {
        return Some(Place::SidReplace { v, s });
    }
    Some(Place::LvcmdqErrMap { v, word: indexed(rest, "LVCMDQ_ERR_MAP", 4)? })
}

fn indexed(name: &str, prefix: &str, limit: u8) -> Option<u8> {
    let digits = name.strip_prefix(prefix)?;
    let canonical = digits == "0" || !digits.starts_with(['0', '+']);
    digits.parse().ok().filter(|&i| i < limit && canonical)
}

fn queue_reg(name: &str) -> Option<QueueReg> {
    if let Some(reg) = QueuePage0::by_name(name) {
        return Some(QueueReg::Page0(reg));
    }
    if let Some(reg) = QueuePage1::by_name(name) {
        return Some(QueueReg::Page1 { reg, upper: false });
    }
    QueuePage1::by_name(name.strip_suffix("_H")?).map(|reg| QueueReg::Page1 { reg, upper: true })
}

#[cfg(test)]
mod test {
    use super::*;
    use proptest::prelude::*;

    const GRACE: PARAM = PARAM(0x4671);
    const GUEST: PARAM = PARAM(0x4011);

    /// Published worked example, and the address macros of the Linux driver evaluated by hand.
    #[test]
    fn worked_example() {
        for (name, offset) in [
            ("CONFIG", 0x0),
            ("PARAM", 0x4),
            ("VINTF_ERR_MAP_0", 0x14),
            ("VINTF_ERR_MAP_1", 0x18),
            ("CMDQ_ERR_MAP_2", 0x2c),
            ("CMDQ_ALLOC0", 0x200),
            ("CMDQ_ALLOC11", 0x22c),
            ("CMDQ_ALLOC127", 0x3fc),
            ("VINTF0.CONFIG", 0x1000),
            ("VINTF5.CONFIG", 0x1500),
            ("VINTF5.STATUS", 0x1504),
            ("VINTF5.SID_MATCH3", 0x154c),
            ("VINTF5.SID_REPLACE3", 0x158c),
            ("VINTF5.LVCMDQ_ERR_MAP0", 0x15c0),
            ("VINTF5.LVCMDQ_ERR_MAP2", 0x15c8),
            ("VINTF63.CONFIG", 0x4f00),
            ("VCMDQ11.CONS", 0x10580),
            ("VCMDQ11.PROD", 0x10584),
            ("VCMDQ11.BASE", 0x20580),
            ("VCMDQ11.BASE_H", 0x20584),
            ("VCMDQ11.CONS_INDX_BASE", 0x20588),
            ("VINTF5.LVCMDQ1.CONS", 0xd0080),
            ("VINTF5.LVCMDQ1.GERRORN", 0xd0094),
            ("VINTF5.LVCMDQ1.BASE", 0xe0080),
            ("VINTF63.LVCMDQ0.CONFIG", 0x81_0008),
        ] {
            let place: Place = name.parse().unwrap();
            assert_eq!(place.offset(), Some(offset), "{name}");
            assert_eq!(Place::decode(offset, GRACE), place, "{name}");
            assert_eq!(place.to_string(), name);
        }
    }

    #[test]
    fn holes() {
        for offset in [0x34, 0x1fc, 0x400, 0x1008, 0x10d0, 0x5000, 0x10018, 0x14000, 0x20010, 0x830000, 0x2] {
            assert_eq!(Place::decode(offset, GRACE), Place::Hole, "{offset:#x}");
        }
        for offset in [0x208, 0x1100, 0x10100, 0x20100, 0x30100, 0x50000] {
            assert_eq!(Place::decode(offset, GUEST), Place::Hole, "{offset:#x}");
            assert_ne!(Place::decode(offset, GRACE), Place::Hole, "{offset:#x}");
        }
        assert_eq!(Place::Hole.offset(), None);
        assert_eq!((super::super::region_bytes(64), super::super::region_bytes(1)), (0x83_0000, 0x5_0000));
    }

    #[test]
    fn bad_names() {
        for name in [
            "",
            "HOLE",
            "VINTF64.CONFIG",
            "VCMDQ128.PROD",
            "VINTF5.SID_MATCH16",
            "VINTF05.CONFIG",
            "VCMDQ1.NOPE",
            "CONFIG_H",
        ] {
            let err = name.parse::<Place>().unwrap_err();
            assert!(err.contains(&format!("`{name}`")) && err.contains("VINTF5.SID_MATCH3"), "{err}");
        }
    }

    proptest! {
        #[test]
        fn decode_and_offset_are_inverse(word in 0u64..0x83_0000 / 4) {
            let place = Place::decode(word * 4, GRACE);
            if place != Place::Hole {
                prop_assert_eq!(place.offset(), Some(word * 4));
                prop_assert_eq!(place.to_string().parse(), Ok(place));
            }
        }
    }
}

//! VMSAv8-64 translation tables in simulated memory, with a shadow for fast walking.
//!
//! ```text
//!   Shape     stage, granule, sizes: levels, root, CD/STE fields
//!   Leaf      permissions and memory type -> descriptor
//!   PageTable map / unmap: shadow first, then 8-byte stores through the caller's CPU
//! ```

mod shadow;
mod shape;
mod table;

pub use shape::{Granule, Shape, Stage, decode_size, encode_size};
pub(crate) use table::zero;
pub use table::{PageTable, Run, TableGone, Unmapped};

use spec::smmu::descriptor::{Leaf1, Leaf2, Table};

/// What a mapping permits, and the kind of memory behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prot {
    /// Reads are permitted.
    pub read: bool,
    /// Writes are permitted.
    pub write: bool,
    /// Instruction fetches are permitted.
    pub execute: bool,
    /// Device registers rather than cacheable memory.
    pub device: bool,
}

impl Prot {
    /// Reads and writes of memory.
    pub const READ_WRITE: Self = Self { read: true, write: true, execute: false, device: false };
    /// Reads of memory.
    pub const READ: Self = Self { read: true, write: false, execute: false, device: false };
    /// Writes of memory. Stage 1 cannot express it and permits reads too.
    pub const WRITE: Self = Self { read: false, write: true, execute: false, device: false };
    /// Reads and writes of device registers.
    pub const DEVICE: Self = Self { read: true, write: true, execute: false, device: true };
}

/// MAIR of stage-1 tables made here: byte 0 Normal Non-cacheable, 1 Write-Back, 2 Device-nGnRE.
pub const MAIR: u64 = 0xf404_ff44;
const ATTR_WRITE_BACK: u64 = 1;
const ATTR_DEVICE: u64 = 2;
const S2_WRITE_BACK: u64 = 0xf;
const S2_FWB_WRITE_BACK: u64 = 0x6;
const S2_DEVICE_NGNRE: u64 = 0x1;
const INNER_SHAREABLE: u64 = 3;
const OUTER_SHAREABLE: u64 = 2;

/// The descriptor of a page (`page`) or block that maps `pa`.
fn leaf(shape: &Shape, pa: u64, prot: Prot, page: bool) -> u64 {
    let sh = if prot.device { OUTER_SHAREABLE } else { INNER_SHAREABLE };
    match shape.stage {
        Stage::One => {
            let attr = if prot.device { ATTR_DEVICE } else { ATTR_WRITE_BACK };
            let ap = 1 | u64::from(!prot.write) << 1;
            let d = Leaf1::default().with_valid(true).with_page(page).with_af(true).with_ng(true).with_sh(sh);
            let d = d.with_attrindx(attr).with_ap(ap).with_oa(pa);
            d.with_uxn(!prot.execute).with_pxn(!prot.execute).words()[0]
        }
        Stage::Two => {
            let memattr = match (prot.device, shape.fwb) {
                (true, _) => S2_DEVICE_NGNRE,
                (false, true) => S2_FWB_WRITE_BACK,
                (false, false) => S2_WRITE_BACK,
            };
            let s2ap = u64::from(prot.read) | u64::from(prot.write) << 1;
            let d = Leaf2::default().with_valid(true).with_page(page).with_af(true).with_sh(sh);
            let d = d.with_memattr(memattr).with_s2ap(s2ap).with_oa(pa);
            d.with_xn(if prot.execute { 0 } else { 2 }).words()[0]
        }
    }
}

/// The descriptor of a table at `addr`.
fn link(granule: Granule, addr: u64) -> u64 {
    let d = Table::default().with_valid(true).with_table(true);
    match granule {
        Granule::K4 => d.with_next4k(addr),
        Granule::K16 => d.with_next16k(addr),
        Granule::K64 => d.with_next64k(addr),
    }
    .words()[0]
}

#[cfg(test)]
mod random;

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn descriptors_agree_with_worked_encodings() {
        let one = Shape::stage1(Granule::K4, 48, 48);
        let two = Shape::stage2(Granule::K4, 40, 48, false);
        let executable = Prot { execute: true, ..Prot::READ_WRITE };
        for (shape, pa, prot, page, want) in [
            (&one, 0x8000_1000, executable, true, 0x8000_1f47),
            (&one, 0x8000_1000, Prot::READ, true, 0x0060_0000_8000_1fc7),
            (&two, 0x8000_3000, executable, true, 0x8000_37ff),
        ] {
            assert_eq!(leaf(shape, pa, prot, page), want);
        }
        assert_eq!(link(Granule::K4, 0x8000_2000), 0x8000_2003);
    }
}

//! From a block and a register's name to an offset, by the tables of crate `spec`.

use models::smmu::pmcg::{STRIDE, Shape};
use spec::cmdqv::{self, Place, QueuePage0, QueuePage1, QueueReg, Vintf};
use spec::regs::Block as _;
use spec::smmu::pmcg::{self, COUNTERS_MAX, Counter};
use spec::smmu::{Page0, Page1, Pmcg, page1};
use spec::smmuv2::{self, Attributes, Bank, Global, Stream};

use crate::command::{Block, Register};

/// Where a register lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located {
    /// Bytes from the start of the region: the SMMU's or CMDQV's registers, the mapped window, the register page of a
    /// register_broadcast, or guest-physical address 0.
    pub offset: u64,
    /// Its width in bytes, if it is known by name.
    pub bytes: Option<u64>,
}

/// Finds a register of a block.
///
/// # Errors
/// The names that the block knows.
pub fn locate(block: Block, register: &Register) -> Result<Located, Vec<String>> {
    let (name, index) = match register {
        Register::Offset(offset) => {
            return Ok(Located { offset: start(block).wrapping_add(*offset), bytes: None });
        }
        Register::Name(name, index) => (name.as_str(), *index),
    };
    let full = index.map_or_else(|| name.to_owned(), |n| format!("{name}{n}"));
    let found = match block {
        Block::Smmu(_) | Block::Vsmmu(_) => smmu(&full),
        Block::Cmdqv(_) | Block::GuestCmdqv(_) => cmdqv(&full),
        Block::Vintf(_, v) => cmdqv(&format!("VINTF{v}.{full}")),
        Block::Vcmdq(_, q) => cmdqv(&format!("VCMDQ{q}.{full}")),
        Block::Lvcmdq(_, v, l) => cmdqv(&format!("VINTF{v}.LVCMDQ{l}.{full}")),
        Block::GuestLvcmdq(_, l) => cmdqv(&format!("VINTF0.LVCMDQ{l}.{full}")),
        Block::Window(_, Some(l)) => QueuePage0::by_name(&full).map(|reg| Located {
            offset: l * cmdqv::QUEUE_STRIDE + u64::from(reg.offset()),
            bytes: Some(reg.desc().bytes.into()),
        }),
        Block::Pmcg(..) => pmcg(name, index),
        Block::Pair(_) | Block::Instance(..) => pair(name, index),
        Block::Window(_, None) | Block::Guest(_) => None,
    };
    found.ok_or_else(|| names(block))
}

fn smmu(name: &str) -> Option<Located> {
    let page0 = Page0::by_name(name)
        .map(|r| Located { offset: r.offset().into(), bytes: Some(r.desc().bytes.into()) });
    page0.or_else(|| {
        Page1::by_name(name).map(|r| Located {
            offset: page1::BASE + u64::from(r.offset()),
            bytes: Some(r.desc().bytes.into()),
        })
    })
}

fn cmdqv(name: &str) -> Option<Located> {
    let place: Place = name.parse().ok()?;
    let bytes = match place {
        Place::Direct { reg: QueueReg::Page1 { upper: false, .. }, .. }
        | Place::Logical { reg: QueueReg::Page1 { upper: false, .. }, .. } => 8,
        _ => 4,
    };
    Some(Located { offset: place.offset()?, bytes: Some(bytes) })
}

/// Registers of counters have the counter's index. What RELOC_CTRS moves is on the page behind.
fn pmcg(name: &str, index: Option<u64>) -> Option<Located> {
    let place = match index {
        Some(n) => {
            let n = u8::try_from(n).ok().filter(|n| *n < COUNTERS_MAX)?;
            pmcg::Place::Counter { n, reg: Counter::by_name(name)? }
        }
        None => pmcg::Place::Group(Pmcg::by_name(name)?),
    };
    let wide = Shape::MMU_700_TCU.bits > 32;
    let page = if place.is_relocated() { STRIDE } else { 0 };
    Some(Located { offset: page + u64::from(place.offset(wide)), bytes: Some(place.bytes(wide).into()) })
}

/// Global registers have no index; the index of the others is that of the stream mapping group or context bank.
fn pair(name: &str, index: Option<u64>) -> Option<Located> {
    let place = match index {
        None => smmuv2::Place::Global(Global::by_name(name)?),
        Some(n) => {
            let n = u8::try_from(n).ok()?;
            let stream = Stream::by_name(name).filter(|_| n < smmuv2::STREAMS);
            let attributes = Attributes::by_name(name).filter(|_| n < smmuv2::BANKS);
            let bank = Bank::by_name(name).filter(|_| n < smmuv2::BANKS);
            stream
                .map(|reg| smmuv2::Place::Stream { n, reg })
                .or_else(|| attributes.map(|reg| smmuv2::Place::Attributes { n, reg }))
                .or_else(|| bank.map(|reg| smmuv2::Place::Bank { n, reg }))?
        }
    };
    Some(Located { offset: place.offset().into(), bytes: Some(place.bytes().into()) })
}

/// Where a block begins in its region.
fn start(block: Block) -> u64 {
    match block {
        Block::Vintf(_, v) => cmdqv::VINTF_BANK + cmdqv::VINTF_BANK_STRIDE * v,
        Block::Vcmdq(_, q) => cmdqv::DIRECT_PAGE0 + cmdqv::QUEUE_STRIDE * q,
        Block::Lvcmdq(_, v, l) => cmdqv::vintf_page0(v) + cmdqv::QUEUE_STRIDE * l,
        Block::GuestLvcmdq(_, l) => cmdqv::vintf_page0(0) + cmdqv::QUEUE_STRIDE * l,
        Block::Window(_, Some(l)) => cmdqv::QUEUE_STRIDE * l,
        Block::Smmu(_)
        | Block::Vsmmu(_)
        | Block::Cmdqv(_)
        | Block::GuestCmdqv(_)
        | Block::Pmcg(..)
        | Block::Pair(_)
        | Block::Instance(..)
        | Block::Window(_, None)
        | Block::Guest(_) => 0,
    }
}

/// Every register of a block that has a name, with indices spelled out.
pub fn all(block: Block) -> Vec<Register> {
    let name = |name: &str, index| Register::Name(name.to_owned(), index);
    let indexed = |stem: &str| -> Vec<Register> {
        let all = (0..=u64::from(u8::MAX)).map(|n| name(stem, Some(n)));
        all.take_while(|reg| locate(block, reg).is_ok()).collect()
    };
    names(block)
        .iter()
        .flat_map(|full| full.strip_suffix("[0]").map_or_else(|| vec![name(full, None)], indexed))
        .collect()
}

/// The names that a block knows.
fn names(block: Block) -> Vec<String> {
    fn of<B: spec::regs::Block>() -> impl Iterator<Item = String> {
        B::ALL.iter().map(|r| r.name().to_owned())
    }
    let more = |words: &[&str]| words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
    match block {
        Block::Smmu(_) | Block::Vsmmu(_) => of::<Page0>().chain(of::<Page1>()).collect(),
        Block::Cmdqv(_) | Block::GuestCmdqv(_) => {
            of::<cmdqv::Config>().chain(more(&["CMDQ_ALLOC[0]"])).collect()
        }
        Block::Vintf(..) => {
            of::<Vintf>().chain(more(&["SID_MATCH[0]", "SID_REPLACE[0]", "LVCMDQ_ERR_MAP[0]"])).collect()
        }
        Block::Vcmdq(..) | Block::Lvcmdq(..) | Block::GuestLvcmdq(..) => {
            of::<QueuePage0>().chain(of::<QueuePage1>()).collect()
        }
        Block::Window(_, Some(_)) => of::<QueuePage0>().collect(),
        Block::Pmcg(..) => of::<Pmcg>().chain(of::<Counter>().map(|name| name + "[0]")).collect(),
        Block::Pair(_) | Block::Instance(..) => {
            let indexed =
                of::<Stream>().chain(of::<Attributes>()).chain(of::<Bank>()).map(|name| name + "[0]");
            of::<Global>().chain(indexed).collect()
        }
        Block::Window(_, None) | Block::Guest(_) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::{ObjectId, PairId, PsmmuId, VmId};
    use models::smmu::pmcg::Unit;

    #[test]
    fn places() {
        let p = PsmmuId(0);
        let name = |n: &str, i| Register::Name(n.to_owned(), i);
        for (block, register, offset, bytes) in [
            (Block::Smmu(p), name("CMDQ_PROD", None), 0x98, Some(4)),
            (Block::Smmu(p), name("CMDQ_BASE", None), 0x90, Some(8)),
            (Block::Smmu(p), name("EVENTQ_PROD", None), 0x1_00a8, Some(4)),
            (Block::Cmdqv(p), name("CMDQ_ALLOC", Some(11)), 0x22c, Some(4)),
            (Block::Vintf(p, 5), name("SID_MATCH", Some(3)), 0x154c, Some(4)),
            (Block::Vintf(p, 5), Register::Offset(0x4c), 0x154c, None),
            (Block::Lvcmdq(p, 5, 1), name("PROD", None), 0xd_0084, Some(4)),
            (Block::Vcmdq(p, 11), name("BASE", None), 0x2_0580, Some(8)),
            (Block::Window(ObjectId(0), Some(1)), name("PROD", None), 0x84, Some(4)),
            (Block::Pmcg(p, Unit::Tcu), name("CFGR", None), 0xe00, Some(4)),
            (Block::Pmcg(p, Unit::Tbu), name("EVTYPER", Some(3)), 0x40c, Some(4)),
            (Block::Pmcg(p, Unit::Tbu), name("EVCNTR", Some(3)), 0x1_000c, Some(4)),
            (Block::Pmcg(p, Unit::Tcu), name("OVSSET0", None), 0x1_0cc0, Some(8)),
            (Block::Pair(PairId(0)), name("TLBGSTATUS", None), 0x74, Some(4)),
            (Block::Instance(PairId(0), 1), name("TTBR0", Some(2)), 0xa020, Some(8)),
            (Block::Guest(VmId(0)), Register::Offset(0x900_0004), 0x900_0004, None),
        ] {
            assert_eq!(locate(block, &register), Ok(Located { offset, bytes }), "{block:?} {register:?}");
        }
        let unknown = locate(Block::Vintf(p, 0), &name("SID_MACH", Some(3))).unwrap_err();
        assert!(unknown.contains(&"SID_MATCH[0]".to_owned()));
        assert_eq!(locate(Block::Guest(VmId(0)), &name("PROD", None)), Err(vec![]));
    }
}

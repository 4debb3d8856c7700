//! What a counter group is made of: its identification registers.

use spec::regs::RegFile;
use spec::smmu::Pmcg;
use spec::smmu::pmcg::{AIDR, CEID0, CFGR, COUNTERS_MAX, IIDR, PIDR0, PIDR1, PIDR2, PIDR3, PIDR4};

/// Sizes and options of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Counters, 1 to 64.
    pub counters: u8,
    /// Bits of a counter: 32, 36, 40, 44, 48 or 64.
    pub bits: u8,
    /// Counters, overflow status and CAPR are on page 1.
    pub relocated: bool,
    /// Interrupts may be messages.
    pub msi: bool,
    /// Counters can be captured.
    pub capture: bool,
    /// The StreamID filter of counter 0 applies to all.
    pub one_filter: bool,
    /// Bits of SMR that exist.
    pub sid_bits: u8,
    /// Events 0 to 63 that can be counted, a bit each.
    pub events: u64,
    /// IIDR; the peripheral identification says the same.
    pub iidr: u32,
    /// Minor version of the architecture.
    pub minor: u8,
}

impl Shape {
    /// The TCU of an MMU-700 r1p1. Source: its Technical Reference Manual (101542), 2.2.2.4, 3.4.2 and 3.6; eight counters is the
    /// size that Arm's profiler expects. The manual gives the product as peripheral identification and does not list IIDR: the
    /// architecture says that the two match.
    pub const MMU_700_TCU: Self = Self {
        counters: 8,
        bits: 32,
        relocated: true,
        msi: false,
        capture: true,
        one_filter: true,
        sid_bits: 32,
        events: 0x7f,
        iidr: 0x4871_143b,
        minor: 2,
    };

    /// A TBU of an MMU-700 r1p1: events 0, 1, 2 and 7 (2.2.2.1).
    pub const MMU_700_TBU: Self = Self { events: 0x87, ..Self::MMU_700_TCU };

    /// A reason why the architecture has no such group.
    pub(super) fn flaw(&self) -> Option<String> {
        if self.counters == 0 || self.counters > COUNTERS_MAX {
            return Some(format!("a PMCG has 1 to {COUNTERS_MAX} counters, not {}", self.counters));
        }
        if ![32, 36, 40, 44, 48, 64].contains(&self.bits) {
            return Some(format!("a PMCG's counters have 32, 36, 40, 44, 48 or 64 bits, not {}", self.bits));
        }
        (self.sid_bits > 32).then(|| format!("a PMCG's filter has at most 32 bits, not {}", self.sid_bits))
    }

    /// CFGR.
    pub fn cfgr(&self) -> CFGR {
        CFGR(0)
            .with_nctr(u64::from(self.counters) - 1)
            .with_size(u64::from(self.bits) - 1)
            .with_reloc_ctrs(self.relocated)
            .with_msi(self.msi)
            .with_capture(self.capture)
            .with_sid_filter_type(self.one_filter)
    }

    /// The registers out of reset.
    pub(super) fn registers(&self) -> RegFile<Pmcg> {
        let mut file = RegFile::reset();
        let iidr = IIDR(self.iidr.into());
        let (part, designer) = (iidr.productid(), iidr.implementer());
        file.set(self.cfgr());
        file.set(iidr);
        file.set(CEID0(self.events));
        file.set(AIDR(self.minor.into()));
        file.set(PIDR0(0).with_part_0(part));
        file.set(PIDR1(0).with_part_1(part >> 8).with_des_0(designer));
        file.set(PIDR2(0).with_des_1(designer >> 4).with_jedec(true).with_revision(iidr.variant()));
        file.set(PIDR3(0).with_revand(iidr.revision()));
        file.set(PIDR4(0).with_des_2(designer >> 8));
        file
    }
}

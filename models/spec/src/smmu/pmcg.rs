//! Performance Monitor Counter Group (IHI 0070, chapter 10): its registers, and where they lie. A group has a page of 4KB, and
//! a second one if CFGR.RELOC_CTRS: then what counters hold is there, so that a guest can be given it alone.
//!
//! ```
//! use spec::smmu::pmcg::{Counter, Pmcg, Place};
//! assert_eq!(Place::decode(0x0c, false), Some((Place::Counter { n: 3, reg: Counter::EVCNTR }, false)));
//! assert_eq!(Place::decode(0x0c, true), Some((Place::Counter { n: 1, reg: Counter::EVCNTR }, true)));
//! assert_eq!(Place::decode(0xc84, true), Some((Place::Group(Pmcg::OVSCLR0), true)));
//! assert_eq!(Place::Counter { n: 3, reg: Counter::EVTYPER }.offset(true), 0x40c);
//! ```

use crate::regs::Block;

crate::registers! {
    /// One counter, before the arrays are laid out: EVTYPER and SMR recur every 4 bytes; EVCNTR and SVR every 8 bytes if counters
    /// have more than 32 bits, otherwise every 4.
    pub enum Counter {
        /// The count. With RELOC_CTRS on page 1.
        0x000 EVCNTR: u64 rw = 0 {
            /// As many bits as CFGR.SIZE says.
            counter_value[63:0],
        }
        /// What is counted.
        0x400 EVTYPER: u32 rw = 0 {
            /// Number of the event.
            event[15:0],
            /// Only of the PARTID in SMR.
            filter_partid[16],
            /// Only of the PMG in SMR.
            filter_pmg[17],
            /// Which PARTID space SMR means.
            filter_mpam_ns[18],
            /// SMR is a pattern: the bits below and including its lowest 0 are ignored, all ones match everything.
            filter_sid_span[29],
            /// Secure streams.
            filter_sec_sid[30],
            /// An overflow captures all counters of the group.
            ovfcap[31],
        }
        /// The count when it was captured. With RELOC_CTRS on page 1.
        0x600 SVR: u64 ro = 0 {
            /// As many bits as CFGR.SIZE says.
            shadow_counter_value[63:0],
        }
        /// Whose events are counted.
        0xa00 SMR: u32 rw = 0 {
            /// A StreamID, or a pattern of StreamIDs.
            streamid[31:0],
        }
    }
}

crate::registers! {
    /// Registers of the whole group. Bit `n` of the bitmaps belongs to counter `n`; a set and a clear register of a pair both read
    /// the bitmap.
    pub enum Pmcg {
        /// Starts counters.
        0xc00 CNTENSET0: u64 w1s = 0 { cnten[63:0] }
        /// Stops counters.
        0xc20 CNTENCLR0: u64 w1c = 0 { cnten[63:0] }
        /// Lets overflows of counters interrupt.
        0xc40 INTENSET0: u64 w1s = 0 { inten[63:0] }
        /// Keeps overflows of counters from interrupting.
        0xc60 INTENCLR0: u64 w1c = 0 { inten[63:0] }
        /// Overflow status. With RELOC_CTRS on page 1.
        0xc80 OVSCLR0: u64 w1c = 0 { ovs[63:0] }
        /// Overflow status, for software to set. With RELOC_CTRS on page 1.
        0xcc0 OVSSET0: u64 w1s = 0 { ovs[63:0] }
        /// Captures. With RELOC_CTRS on page 1.
        0xd88 CAPR: u32 wo = 0 {
            /// Copies all counters to SVR.
            capture[0],
        }
        /// Secure control; RES0 without Secure state.
        0xdf8 SCR: u32 ro = 0 { so[0], nsra[1], nsmsi[2], msi_mpam_ns[3], nao[4], reads_as_one[31] }
        /// What the group is made of.
        0xe00 CFGR: u32 ro = 0 {
            /// One less than the number of counters.
            nctr[5:0],
            /// One less than the bits of a counter: 31, 35, 39, 43, 47 or 63.
            size[13:8],
            /// EVCNTR, SVR, OVSCLR0, OVSSET0 and CAPR are on page 1.
            reloc_ctrs[20],
            /// Interrupts may be messages.
            msi[21],
            /// Counters can be captured.
            capture[22],
            /// The filter of counter 0 applies to all.
            sid_filter_type[23],
            /// Messages carry a PARTID.
            mpam[24],
            /// Events can be filtered by PARTID and PMG.
            filter_partid_pmg[25],
        }
        /// Enable.
        0xe04 CR: u32 rw = 0 {
            /// The group counts.
            e[0],
        }
        /// Who made it; 0 if only the peripheral identification says that.
        0xe08 IIDR: u32 ro = 0 {
            /// JEP106 code; 0x43b is Arm.
            implementer[11:0],
            /// Minor revision.
            revision[15:12],
            /// Major revision.
            variant[19:16],
            productid[31:20],
        }
        /// Events 0 to 63 that can be counted.
        0xe20 CEID0: u64 ro = 0 { n[63:0] }
        /// Events 64 to 127 that can be counted.
        0xe28 CEID1: u64 ro = 0 { n[63:0] }
        /// Interrupt enable; the device answers in IRQ_CTRLACK.
        0xe50 IRQ_CTRL: u32 rw = 0 {
            /// Overflows interrupt.
            irqen[0],
        }
        /// IRQ_CTRL as the device has applied it.
        0xe54 IRQ_CTRLACK: u32 ro = 0 {
            /// Overflows interrupt.
            irqen[0],
        }
        /// Address of the message; 0 sends none.
        0xe58 IRQ_CFG0: u64 rw = 0 { addr[51:2] addr }
        /// Payload of the message.
        0xe60 IRQ_CFG1: u32 rw = 0 { data[31:0] }
        /// Attributes of the message.
        0xe64 IRQ_CFG2: u32 rw = 0 {
            /// Memory type.
            memattr[3:0],
            /// Shareability.
            sh[5:4],
        }
        /// What became of messages.
        0xe68 IRQ_STATUS: u32 ro = 0 {
            /// A message aborted. Cleared when IRQEN becomes 1.
            irq_abt[0],
        }
        /// Partition of the group's messages.
        0xe6c GMPAM: u32 rw = 0 { po_partid[15:0], po_pmg[23:16], update[31] }
        /// Architecture version: minor 3 is SMMUv3.3.
        0xe70 AIDR: u32 ro = 3 { archminorrev[3:0], archmajorrev[7:4] }
        /// Memory partitioning that exists.
        0xe74 MPAMIDR: u32 ro = 0 { partid_max[15:0], pmg_max[23:16] }
        /// Authentication status.
        0xfb8 PMAUTHSTATUS: u32 ro = 0 {}
        /// Device architecture: a performance monitor of an SMMU.
        0xfbc PMDEVARCH: u32 ro = 0x4770_2a56 { archid[15:0], revision[19:16], present[20], architect[31:21] }
        /// Device type: a performance monitor that belongs to an SMMU.
        0xfcc PMDEVTYPE: u32 ro = 0x56 { class[3:0], subtype[7:4] }
        /// Peripheral identification 4.
        0xfd0 PIDR4: u32 ro = 0 { des_2[3:0], size[7:4] }
        /// Peripheral identification 5.
        0xfd4 PIDR5: u32 ro = 0 {}
        /// Peripheral identification 6.
        0xfd8 PIDR6: u32 ro = 0 {}
        /// Peripheral identification 7.
        0xfdc PIDR7: u32 ro = 0 {}
        /// Peripheral identification 0.
        0xfe0 PIDR0: u32 ro = 0 { part_0[7:0] }
        /// Peripheral identification 1.
        0xfe4 PIDR1: u32 ro = 0 { part_1[3:0], des_0[7:4] }
        /// Peripheral identification 2.
        0xfe8 PIDR2: u32 ro = 0x8 { des_1[2:0], jedec[3], revision[7:4] }
        /// Peripheral identification 3.
        0xfec PIDR3: u32 ro = 0 { cmod[3:0], revand[7:4] }
        /// Component identification 0.
        0xff0 CIDR0: u32 ro = 0x0d { prmbl_0[7:0] }
        /// Component identification 1.
        0xff4 CIDR1: u32 ro = 0x90 { prmbl_1[3:0], class[7:4] }
        /// Component identification 2.
        0xff8 CIDR2: u32 ro = 0x05 { prmbl_2[7:0] }
        /// Component identification 3.
        0xffc CIDR3: u32 ro = 0xb1 { prmbl_3[7:0] }
    }
}

/// Bytes of a page.
pub const PAGE: u32 = 0x1000;
/// Most counters of a group.
pub const COUNTERS_MAX: u8 = 64;

/// Events that the architecture defines.
pub mod event {
    /// A clock cycle. Belongs to no stream.
    pub const CYCLE: u16 = 0;
    /// A transaction, or a translation request of another component.
    pub const TRANSACTION: u16 = 1;
    /// A transaction or request that the TLBs did not serve.
    pub const TLB_MISS: u16 = 2;
    /// A transaction or request that the configuration caches did not serve.
    pub const CONFIG_CACHE_MISS: u16 = 3;
    /// An access of a translation table walk.
    pub const TABLE_WALK_ACCESS: u16 = 4;
    /// An access to a configuration structure.
    pub const CONFIG_STRUCT_ACCESS: u16 = 5;
    /// An ATS translation request.
    pub const ATS_REQUEST: u16 = 6;
    /// An ATS translated transaction.
    pub const ATS_TRANSLATED: u16 = 7;
    /// The first that is implementation defined.
    pub const IMPLEMENTATION_DEFINED: u16 = 0x80;
}

/// A register of a group, on whichever page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A register of a counter.
    Counter {
        /// The counter.
        n: u8,
        /// Which register.
        reg: Counter,
    },
    /// A register of the whole group.
    Group(Pmcg),
}

impl Place {
    /// The register that contains the aligned 32-bit word at this offset of a page, and whether it is the upper half of a 64-bit
    /// one. `wide`: counters have more than 32 bits.
    pub fn decode(offset: u32, wide: bool) -> Option<(Self, bool)> {
        if !offset.is_multiple_of(4) {
            return None;
        }
        let (reg, stride) = match offset {
            0x000..0x200 => (Counter::EVCNTR, stride(wide)),
            0x400..0x500 => (Counter::EVTYPER, 4),
            0x600..0x800 => (Counter::SVR, stride(wide)),
            0xa00..0xb00 => (Counter::SMR, 4),
            _ => return Pmcg::decode_word(offset).map(|(reg, upper)| (Self::Group(reg), upper)),
        };
        let within = offset - reg.offset();
        let n = (within / stride) as u8;
        (n < COUNTERS_MAX).then_some((Self::Counter { n, reg }, !within.is_multiple_of(stride)))
    }

    /// Where it lies on its page.
    pub fn offset(self, wide: bool) -> u32 {
        match self {
            Self::Counter { n, reg: reg @ (Counter::EVCNTR | Counter::SVR) } => {
                reg.offset() + stride(wide) * u32::from(n)
            }
            Self::Counter { n, reg } => reg.offset() + 4 * u32::from(n),
            Self::Group(reg) => reg.offset(),
        }
    }

    /// 4 or 8.
    pub fn bytes(self, wide: bool) -> u32 {
        match self {
            Self::Counter { reg: Counter::EVCNTR | Counter::SVR, .. } => stride(wide),
            Self::Counter { reg, .. } => reg.desc().bytes,
            Self::Group(reg) => reg.desc().bytes,
        }
    }

    /// Whether it is on page 1 if CFGR.RELOC_CTRS, instead of page 0.
    pub fn is_relocated(self) -> bool {
        match self {
            Self::Counter { reg, .. } => matches!(reg, Counter::EVCNTR | Counter::SVR),
            Self::Group(reg) => matches!(reg, Pmcg::OVSCLR0 | Pmcg::OVSSET0 | Pmcg::CAPR),
        }
    }
}

const fn stride(wide: bool) -> u32 {
    if wide { 8 } else { 4 }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::regs::check_table;

    #[test]
    fn places() {
        check_table::<Counter>();
        check_table::<Pmcg>();
        for (offset, wide, want) in [
            (0x000, false, Some((Place::Counter { n: 0, reg: Counter::EVCNTR }, false))),
            (0x0fc, false, Some((Place::Counter { n: 63, reg: Counter::EVCNTR }, false))),
            (0x100, false, None),
            (0x1fc, true, Some((Place::Counter { n: 63, reg: Counter::EVCNTR }, true))),
            (0x200, true, None),
            (0x4fc, true, Some((Place::Counter { n: 63, reg: Counter::EVTYPER }, false))),
            (0x500, true, None),
            (0x608, true, Some((Place::Counter { n: 1, reg: Counter::SVR }, false))),
            (0xa04, false, Some((Place::Counter { n: 1, reg: Counter::SMR }, false))),
            (0xcc4, false, Some((Place::Group(Pmcg::OVSSET0), true))),
            (0xe02, false, None),
            (0xe04, false, Some((Place::Group(Pmcg::CR), false))),
        ] {
            let found = Place::decode(offset, wide);
            assert_eq!(found, want, "{offset:#x}");
            if let Some((place, upper)) = found {
                assert_eq!(place.offset(wide) + if upper { 4 } else { 0 }, offset);
            }
        }
    }

    /// ARCHITECT 0x23b, PRESENT, ARCHID 0x2a56; class 6, sub-type 5 (IHI 0070, 10.5.2.29).
    #[test]
    fn identification() {
        let arch = PMDEVARCH(Pmcg::PMDEVARCH.desc().reset);
        assert_eq!(
            (arch.architect(), arch.present(), arch.revision(), arch.archid()),
            (0x23b, true, 0, 0x2a56)
        );
        let kind = PMDEVTYPE(Pmcg::PMDEVTYPE.desc().reset);
        assert_eq!((kind.class(), kind.subtype()), (6, 5));
        assert_eq!(CIDR1(Pmcg::CIDR1.desc().reset).class(), 9);
    }
}

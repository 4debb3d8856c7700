//! SMMUv2 registers (IHI 0062, chapters 10, 13 to 16), as far as a stage-1 driver needs them, and where they lie: an
//! instance has a global space of [`GLOBAL_PAGES`] pages and as many pages of context banks after it.
//!
//! ```
//! use spec::smmuv2::{Bank, Place};
//! let place = Place::decode(0x9020);
//! assert_eq!(place, Some((Place::Bank { n: 1, reg: Bank::TTBR0 }, false)));
//! assert_eq!(Place::Bank { n: 1, reg: Bank::TTBR0 }.offset(), 0x9020);
//! ```

use crate::regs::Block;

crate::registers! {
    /// Global register space 0.
    pub enum Global {
        /// Global configuration.
        0x0000 sCR0: u32 rw = 1 {
            /// Clients bypass the SMMU.
            clientpd[0],
            /// Global faults abort the transaction.
            gfre[1],
            /// Global faults raise the interrupt.
            gfie[2],
            /// Streams are matched with extended identifiers.
            exidenable[3],
            /// Configuration faults abort the transaction.
            gcfgfre[4],
            /// Configuration faults raise the interrupt.
            gcfgfie[5],
            /// A stream that matches nothing faults, rather than bypasses.
            usfcfg[10],
            /// VMID private namespace.
            vmidpne[11],
            /// Ignore broadcast TLB maintenance.
            ptm[12],
            /// Force broadcast of invalidations.
            fb[13],
            /// Barrier shareability upgrade.
            bsu[15:14],
        }
        /// Features: stages, stream matching, number of groups.
        0x0020 IDR0: u32 ro = 0 {
            /// Stream mapping register groups.
            numsmrg[7:0],
            /// Extended stream identifiers.
            exids[8],
            /// Bits of a stream identifier.
            numsidb[12:9],
            /// Walks are coherent.
            cttw[14],
            /// Context interrupts.
            numirpt[23:16],
            /// AArch32 table formats.
            ptfs[25:24],
            /// Address translation operations are absent.
            atosns[26],
            /// Streams are matched, rather than indexed.
            sms[27],
            /// Nested translation.
            nts[28],
            /// Stage 2.
            s2ts[29],
            /// Stage 1.
            s1ts[30],
        }
        /// Page size, size of the global space, number of context banks.
        0x0024 IDR1: u32 ro = 0 {
            /// Context banks.
            numcb[7:0],
            /// Of these, for stage 2 only.
            nums2cb[23:16],
            /// One less than log2 of the pages of the global space.
            numpagendxb[30:28],
            /// 0 4KB pages of registers, 1 64KB.
            pagesize[31],
        }
        /// Address sizes and granules.
        0x0028 IDR2: u32 ro = 0 {
            /// Input address size, encoded as IDR5.OAS of SMMUv3.
            ias[3:0],
            /// Output address size.
            oas[7:4],
            /// Upstream bus size.
            ubs[11:8],
            /// 4KB granule.
            ptfs4k[12],
            /// 16KB granule.
            ptfs16k[13],
            /// 64KB granule.
            ptfs64k[14],
            /// VMIDs have 16 bits.
            vmid16[15],
        }
        /// Address of the first global fault.
        0x0040 sGFAR: u64 rw = 0 { faddr[63:0] addr }
        /// Global fault status.
        0x0048 sGFSR: u32 w1c = 0 {
            /// The stream's context is invalid.
            icf[0],
            /// The stream matches nothing.
            usf[1],
            /// The stream matches several groups.
            smcf[2],
            /// A context bank is not implemented.
            ucbf[3],
            /// A context interrupt is not implemented.
            ucif[4],
            /// Configuration access fault.
            caf[5],
            /// External abort.
            ef[6],
            /// Permission fault.
            pf[7],
            /// Another fault came before the first was cleared.
            multi[31],
        }
        /// How the first global fault came about.
        0x0050 sGFSYNR0: u32 rw = 0 {
            /// Stage 1 of a nested translation.
            nested[0],
            /// Write, rather than read.
            wnr[1],
            /// Privileged.
            pnu[2],
            /// Instruction.
            ind[3],
        }
        /// Whose the first global fault was.
        0x0054 sGFSYNR1: u32 rw = 0 { streamid[15:0] }
        /// Invalidates everything of one VMID.
        0x0064 TLBIVMID: u32 wo = 0 { vmid[7:0] }
        /// Invalidates everything Non-secure that is not the hypervisor's.
        0x0068 TLBIALLNSNH: u32 wo = 0 {}
        /// Starts to wait for the invalidations before it.
        0x0070 TLBGSYNC: u32 wo = 0 {}
        /// Whether that still goes on.
        0x0074 TLBGSTATUS: u32 ro = 0 {
            /// Invalidations are under way.
            gsactive[0],
        }
    }
}

crate::registers! {
    /// One stream mapping register group, before the array is laid out: its registers recur every four bytes.
    pub enum Stream {
        /// Which streams.
        0x0800 SMR: u32 rw = 0 {
            /// Identifier to match.
            id[14:0],
            /// Bits of the identifier to ignore.
            mask[30:16],
            /// The group is in use.
            valid[31],
        }
        /// What becomes of them.
        0x0c00 S2CR: u32 rw = 0 {
            /// Context bank.
            cbndx[7:0],
            /// The group matches extended identifiers.
            exidvalid[10],
            /// 0 translate, 1 bypass, 2 fault.
            kind[17:16],
            /// 0 as it comes, 2 unprivileged, 3 privileged.
            privcfg[25:24],
        }
    }
}

crate::registers! {
    /// Attributes of one context bank, from global register space 1, before the array is laid out: its registers
    /// recur every four bytes.
    pub enum Attributes {
        /// Kind of context, VMID, interrupt.
        0x0000 CBAR: u32 rw = 0 {
            /// Tag of the bank's translations.
            vmid[7:0],
            /// Shareability where stage 2 is bypassed.
            bpshcfg[9:8],
            /// Memory type where stage 2 is bypassed.
            memattr[15:12],
            /// 1 is stage 1 with stage 2 bypassed.
            kind[17:16],
            /// Interrupt of the bank.
            irptndx[31:24],
        }
        /// The stream of the bank's fault.
        0x0400 CBFRSYNRA: u32 rw = 0 {
            streamid[15:0],
            /// Security index of the stream.
            ssd_index[30:16],
        }
        /// Translation table format.
        0x0800 CBA2R: u32 rw = 0 {
            /// AArch64 translation tables.
            va64[0],
            /// Monitor context.
            mono[1],
            /// VMID with 16 bits.
            vmid16[31:16],
        }
    }
}

crate::registers! {
    /// A stage-1 context bank.
    pub enum Bank {
        /// System control.
        0x0000 SCTLR: u32 rw = 0 {
            /// Translate.
            m[0],
            /// TEX remap (short descriptors).
            tre[1],
            /// Access flag (short descriptors).
            afe[2],
            /// The tables are big-endian.
            e[4],
            /// Faults abort the transaction, rather than read zero and drop writes.
            cfre[5],
            /// Faults raise the interrupt.
            cfie[6],
            /// Faults stall the transaction.
            cfcfg[7],
            /// Hits go on while a fault is pending.
            hupcf[8],
            /// ASID private namespace.
            asidpne[12],
        }
        /// Translation control, upper part.
        0x0010 TCR2: u32 rw = 0 {
            /// Output address size.
            pasize[2:0],
            /// ASIDs have 16 bits.
            as16[4],
            /// Where the sign of an address lies.
            sep[17:15],
        }
        /// Translation table base, and the ASID of everything found there.
        0x0020 TTBR0: u64 rw = 0 {
            /// Base of the first table.
            baddr[47:0] addr,
            /// Tag of the non-global translations.
            asid[63:48],
        }
        /// Translation control.
        0x0030 TCR: u32 rw = 0 {
            /// 64 less the number of input bits.
            t0sz[5:0],
            /// No walks through TTBR0.
            epd0[7],
            /// Walks through TTBR0, inner cacheability.
            irgn0[9:8],
            /// Walks through TTBR0, outer cacheability.
            orgn0[11:10],
            /// Walks through TTBR0, shareability.
            sh0[13:12],
            /// Granule: 0 is 4 KiB.
            tg0[15:14],
            /// 64 less the number of input bits of TTBR1.
            t1sz[21:16],
            /// The ASID is TTBR1's.
            a1[22],
            /// No walks through TTBR1.
            epd1[23],
            /// As IRGN0, for TTBR1.
            irgn1[25:24],
            /// As ORGN0, for TTBR1.
            orgn1[27:26],
            /// As SH0, for TTBR1.
            sh1[29:28],
            /// Granule of TTBR1.
            tg1[31:30],
        }
        /// Memory attributes 0 to 3.
        0x0038 MAIR0: u32 rw = 0 { attr[31:0] }
        /// Memory attributes 4 to 7.
        0x003c MAIR1: u32 rw = 0 { attr[31:0] }
        /// Fault status.
        0x0058 FSR: u32 w1c = 0 {
            /// Translation fault.
            tf[1],
            /// Access flag fault.
            aff[2],
            /// Permission fault.
            pf[3],
            /// External abort of a walk.
            ef[4],
            /// TLB match conflict.
            tlbmcf[5],
            /// TLB lock fault.
            tlblkf[6],
            /// Address size fault.
            asf[7],
            /// Unsupported upstream transaction.
            uut[8],
            /// The transaction is stalled.
            ss[30],
            /// Another fault came before the first was cleared.
            multi[31],
        }
        /// Input address of the first fault.
        0x0060 FAR: u64 rw = 0 { faddr[63:0] addr }
        /// How the first fault came about.
        0x0068 FSYNR0: u32 rw = 0 {
            /// Level of the walk.
            plvl[1:0],
            /// Write, rather than read.
            wnr[4],
            /// Privileged.
            pnu[5],
            /// Instruction.
            ind[6],
            /// Non-secure.
            nsstate[7],
            /// Context bank of stage 1.
            s1cbndx[23:16],
        }
        /// Invalidates what is known of one page of one ASID.
        0x0600 TLBIVA: u64 wo = 0 {
            /// Input address, bits 55:12.
            va[43:0],
            /// ASID.
            asid[63:48],
        }
        /// Invalidates everything of one ASID.
        0x0610 TLBIASID: u32 wo = 0 { asid[15:0] }
        /// Invalidates everything of the bank's VMID.
        0x0618 TLBIALL: u32 wo = 0 {}
        /// Starts to wait for the invalidations of this bank before it.
        0x07f0 TLBSYNC: u32 wo = 0 {}
        /// Whether that still goes on.
        0x07f4 TLBSTATUS: u32 ro = 0 {
            /// Invalidations are under way.
            sactive[0],
        }
    }
}

/// `S2CR.Type` and the meaning of its values.
pub mod stream_kind {
    /// Through the context bank.
    pub const TRANSLATE: u64 = 0;
    /// Untranslated.
    pub const BYPASS: u64 = 1;
    /// Faults.
    pub const FAULT: u64 = 2;
}

/// `CBAR.Type` of a stage-1 context with stage 2 bypassed.
pub const STAGE1_ONLY: u64 = 1;

/// Bytes in a page of registers (`IDR1.PAGESIZE` = 0).
pub const PAGE: u32 = 0x1000;
/// Pages of the global space; `IDR1.NUMPAGENDXB` is one less than its logarithm.
pub const GLOBAL_PAGES: u32 = 8;
/// Context banks of an instance.
pub const BANKS: u8 = 8;
/// Stream mapping register groups of an instance.
pub const STREAMS: u8 = 16;
/// Bytes of an instance: the global space and as much for context banks.
pub const BYTES: u32 = 2 * GLOBAL_PAGES * PAGE;

/// A register of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Global space 0.
    Global(Global),
    /// A stream mapping register group.
    Stream {
        /// Group.
        n: u8,
        /// Which register.
        reg: Stream,
    },
    /// Attributes of a context bank.
    Attributes {
        /// Context bank.
        n: u8,
        /// Which register.
        reg: Attributes,
    },
    /// A context bank.
    Bank {
        /// Context bank.
        n: u8,
        /// Which register.
        reg: Bank,
    },
}

impl Place {
    /// The register that holds the aligned 32-bit word at this offset from the base of an instance, and whether the
    /// word is its upper half. `None` where there is none.
    pub fn decode(offset: u32) -> Option<(Self, bool)> {
        let within = offset % PAGE;
        let element = |reg: u32, count: u8| {
            let n = (within.checked_sub(reg)?) / 4;
            (within.is_multiple_of(4) && n < u32::from(count)).then_some(n as u8)
        };
        match offset / PAGE {
            0 => Global::decode_word(within).map(|(reg, upper)| (Self::Global(reg), upper)).or_else(|| {
                let found = Stream::ALL.iter().find_map(|&reg| Some((element(reg.offset(), STREAMS)?, reg)));
                found.map(|(n, reg)| (Self::Stream { n, reg }, false))
            }),
            1 => {
                let found =
                    Attributes::ALL.iter().find_map(|&reg| Some((element(reg.offset(), BANKS)?, reg)));
                found.map(|(n, reg)| (Self::Attributes { n, reg }, false))
            }
            page if (GLOBAL_PAGES..GLOBAL_PAGES + u32::from(BANKS)).contains(&page) => {
                let n = (page - GLOBAL_PAGES) as u8;
                Bank::decode_word(within).map(|(reg, upper)| (Self::Bank { n, reg }, upper))
            }
            _ => None,
        }
    }

    /// Offset from the base of an instance.
    pub fn offset(self) -> u32 {
        match self {
            Self::Global(reg) => reg.offset(),
            Self::Stream { n, reg } => reg.offset() + 4 * u32::from(n),
            Self::Attributes { n, reg } => PAGE + reg.offset() + 4 * u32::from(n),
            Self::Bank { n, reg } => (GLOBAL_PAGES + u32::from(n)) * PAGE + reg.offset(),
        }
    }

    /// 4 or 8.
    pub fn bytes(self) -> u32 {
        match self {
            Self::Global(reg) => reg.desc().bytes,
            Self::Stream { reg, .. } => reg.desc().bytes,
            Self::Attributes { reg, .. } => reg.desc().bytes,
            Self::Bank { reg, .. } => reg.desc().bytes,
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::regs::{RegDesc, check_table};

    /// Offsets and masks that Linux (`arm-smmu.h`) gives.
    #[test]
    fn agrees_with_linux() {
        check_table::<Global>();
        check_table::<Stream>();
        check_table::<Attributes>();
        check_table::<Bank>();
        let rows = || {
            let tables = [Global::TABLE, Stream::TABLE, Attributes::TABLE, Bank::TABLE];
            tables.into_iter().flatten()
        };
        let find = |name: &str| -> &RegDesc { rows().find(|r| r.name == name).unwrap() };
        for (name, offset) in [
            ("sCR0", 0),
            ("IDR0", 0x20),
            ("IDR1", 0x24),
            ("IDR2", 0x28),
            ("sGFSR", 0x48),
            ("sGFSYNR0", 0x50),
            ("sGFSYNR1", 0x54),
            ("TLBIVMID", 0x64),
            ("TLBIALLNSNH", 0x68),
            ("TLBGSYNC", 0x70),
            ("TLBGSTATUS", 0x74),
            ("SMR", 0x800),
            ("S2CR", 0xc00),
            ("CBAR", 0),
            ("CBFRSYNRA", 0x400),
            ("CBA2R", 0x800),
            ("SCTLR", 0),
            ("TCR2", 0x10),
            ("TTBR0", 0x20),
            ("TCR", 0x30),
            ("MAIR0", 0x38),
            ("MAIR1", 0x3c),
            ("FSR", 0x58),
            ("FAR", 0x60),
            ("FSYNR0", 0x68),
            ("TLBIVA", 0x600),
            ("TLBIASID", 0x610),
            ("TLBSYNC", 0x7f0),
            ("TLBSTATUS", 0x7f4),
        ] {
            assert_eq!(find(name).offset, offset, "{name}");
        }
        for (name, field, want) in [
            ("sCR0", "clientpd", 1),
            ("sCR0", "gfre", 1 << 1),
            ("sCR0", "gfie", 1 << 2),
            ("sCR0", "gcfgfre", 1 << 4),
            ("sCR0", "gcfgfie", 1 << 5),
            ("sCR0", "usfcfg", 1 << 10),
            ("sCR0", "vmidpne", 1 << 11),
            ("sCR0", "ptm", 1 << 12),
            ("IDR0", "s1ts", 1 << 30),
            ("IDR0", "sms", 1 << 27),
            ("IDR0", "cttw", 1 << 14),
            ("IDR0", "numsidb", 0x1e00),
            ("IDR0", "numsmrg", 0xff),
            ("IDR1", "pagesize", 1 << 31),
            ("IDR1", "numpagendxb", 0x7000_0000),
            ("IDR1", "nums2cb", 0x00ff_0000),
            ("IDR1", "numcb", 0xff),
            ("IDR2", "ptfs4k", 1 << 12),
            ("IDR2", "oas", 0xf0),
            ("IDR2", "ias", 0xf),
            ("sGFSR", "usf", 1 << 1),
            ("TLBGSTATUS", "gsactive", 1),
            ("SMR", "valid", 1 << 31),
            ("S2CR", "kind", 3 << 16),
            ("S2CR", "cbndx", 0xff),
            ("CBAR", "kind", 3 << 16),
            ("CBAR", "irptndx", 0xff00_0000),
            ("CBAR", "bpshcfg", 0x300),
            ("CBAR", "memattr", 0xf000),
            ("CBA2R", "va64", 1),
            ("SCTLR", "m", 1),
            ("SCTLR", "tre", 1 << 1),
            ("SCTLR", "afe", 1 << 2),
            ("SCTLR", "cfre", 1 << 5),
            ("SCTLR", "cfie", 1 << 6),
            ("SCTLR", "cfcfg", 1 << 7),
            ("SCTLR", "asidpne", 1 << 12),
            ("TCR2", "as16", 1 << 4),
            ("TCR2", "sep", 7 << 15),
            ("TTBR0", "asid", 0xffff << 48),
            ("TCR", "t0sz", 0x3f),
            ("TCR", "epd0", 1 << 7),
            ("TCR", "tg0", 3 << 14),
            ("TCR", "sh0", 3 << 12),
            ("TCR", "orgn0", 3 << 10),
            ("TCR", "irgn0", 3 << 8),
            ("TCR", "epd1", 1 << 23),
            ("FSR", "tf", 1 << 1),
            ("FSR", "aff", 1 << 2),
            ("FSR", "pf", 1 << 3),
            ("FSR", "ef", 1 << 4),
            ("FSR", "multi", 1 << 31),
            ("FSYNR0", "wnr", 1 << 4),
        ] {
            assert_eq!(find(name).field(field).unwrap().mask(), want, "{name}.{field}");
        }
    }

    #[test]
    fn places() {
        for (offset, want) in [
            (0x0000, Some((Place::Global(Global::sCR0), false))),
            (0x0044, Some((Place::Global(Global::sGFAR), true))),
            (0x0804, Some((Place::Stream { n: 1, reg: Stream::SMR }, false))),
            (0x083c, Some((Place::Stream { n: 15, reg: Stream::SMR }, false))),
            (0x0840, None),
            (0x0c3c, Some((Place::Stream { n: 15, reg: Stream::S2CR }, false))),
            (0x101c, Some((Place::Attributes { n: 7, reg: Attributes::CBAR }, false))),
            (0x1020, None),
            (0x1804, Some((Place::Attributes { n: 1, reg: Attributes::CBA2R }, false))),
            (0x2000, None),
            (0x8000, Some((Place::Bank { n: 0, reg: Bank::SCTLR }, false))),
            (0xf604, Some((Place::Bank { n: 7, reg: Bank::TLBIVA }, true))),
            (0x1_0000, None),
        ] {
            assert_eq!(Place::decode(offset), want, "{offset:#x}");
            if let Some((place, upper)) = want {
                assert_eq!(place.offset() + 4 * u32::from(upper), offset);
            }
        }
    }
}

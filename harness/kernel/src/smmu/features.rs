//! What the SMMU can do, as its ID registers say, less what the driver was told not to use.

use spec::regs::Block;
use spec::smmu::Page0;
use spec::smmu::page0::{IDR0, IDR1, IDR3, IDR5};

use super::config::Wanted;
use crate::access::Access;
use crate::errno::Errno;
use crate::pgtable::{Granule, decode_size};

/// The ID registers that the driver reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRegisters {
    /// Stages, table formats, queues, fault models.
    pub idr0: IDR0,
    /// Sizes.
    pub idr1: IDR1,
    /// Translation features.
    pub idr3: IDR3,
    /// Address sizes and granules.
    pub idr5: IDR5,
    /// Implementer and product.
    pub iidr: u32,
}

/// What can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The registers as read.
    pub ids: IdRegisters,
    /// 2-level Stream table.
    pub two_level: bool,
    /// Stage 1.
    pub stage1: bool,
    /// Stage 2.
    pub stage2: bool,
    /// Stage 1 on stage 2 for guests.
    pub nesting: bool,
    /// ATS.
    pub ats: bool,
    /// PRI queue.
    pub pri: bool,
    /// CMD_SYNC by message.
    pub msi: bool,
    /// Wake-up events.
    pub sev: bool,
    /// Stalling is possible.
    pub stalls: bool,
    /// Stalling cannot be turned off.
    pub stall_forced: bool,
    /// The EL2 StreamWorld exists.
    pub hyp: bool,
    /// Host streams use it, with E2H.
    pub e2h: bool,
    /// Range invalidation.
    pub ril: bool,
    /// Stage 2 can force Write-Back.
    pub fwb: bool,
    /// STE.SHCFG and its like work.
    pub attr_types_ovr: bool,
    /// Bits of an ASID: 8 or 16.
    pub asid_bits: u8,
    /// Bits of a VMID: 8 or 16.
    pub vmid_bits: u8,
    /// Bits of a StreamID.
    pub sid_bits: u8,
    /// Bits of a SubstreamID.
    pub ssid_bits: u8,
    /// Bits of an output address.
    pub oas: u8,
    /// log2 of the most command queue entries.
    pub cmdqs: u8,
    /// log2 of the most event queue entries.
    pub eventqs: u8,
    /// log2 of the most PRI queue entries.
    pub priqs: u8,
    /// Granule that tables use: the smallest that exists.
    pub granule: Granule,
}

impl Features {
    /// Reads the ID registers of the SMMU at `base` and decides.
    ///
    /// # Errors
    /// `ENXIO` when the hardware lacks what the driver cannot do without: little-endian AArch64 tables, a stage,
    /// queues and tables of its own choice, 128 commands.
    pub async fn read<A: Access>(cpu: &A, base: u64, wanted: &Wanted) -> Result<Self, Errno> {
        let read = async |reg: Page0| cpu.read32(base + u64::from(reg.offset())).await;
        let ids = IdRegisters {
            idr0: IDR0(read(Page0::IDR0).await.into()),
            idr1: IDR1(read(Page0::IDR1).await.into()),
            idr3: IDR3(read(Page0::IDR3).await.into()),
            idr5: IDR5(read(Page0::IDR5).await.into()),
            iidr: read(Page0::IIDR).await,
        };
        Self::decide(ids, wanted)
    }

    fn decide(ids: IdRegisters, wanted: &Wanted) -> Result<Self, Errno> {
        let IdRegisters { idr0, idr1, idr3, idr5, .. } = ids;
        let little_endian = matches!(idr0.ttendian(), 0 | 2);
        let aarch64 = idr0.ttf() & 2 != 0;
        let preset = idr1.tables_preset() || idr1.queues_preset() || idr1.rel();
        let granule = match (idr5.gran4k(), idr5.gran16k(), idr5.gran64k()) {
            (true, _, _) => Granule::K4,
            (_, true, _) => Granule::K16,
            (_, _, true) => Granule::K64,
            _ => return Err(Errno::ENXIO),
        };
        if !little_endian || !aarch64 || !(idr0.s1p() || idr0.s2p()) || preset || idr1.cmdqs() <= 6 {
            return Err(Errno::ENXIO);
        }
        let bits16 = |wide| if wide { 16 } else { 8 };
        let ats = idr0.ats() && wanted.ats;
        Ok(Self {
            ids,
            // A small table need not have levels.
            two_level: idr0.st_level() == 1 && wanted.two_level && idr1.sidsize() > 8,
            stage1: idr0.s1p(),
            stage2: idr0.s2p(),
            nesting: idr0.s1p() && idr0.s2p(),
            ats,
            pri: idr0.pri() && ats && wanted.pri,
            msi: idr0.msi() && idr0.cohacc() && wanted.msi_polling,
            sev: idr0.sev() && wanted.sev,
            stalls: matches!(idr0.stall_model(), 0 | 2),
            stall_forced: idr0.stall_model() == 2,
            hyp: idr0.hyp(),
            e2h: idr0.hyp() && wanted.e2h,
            ril: idr3.ril() && wanted.ril,
            fwb: idr3.fwb() && wanted.fwb,
            attr_types_ovr: idr1.attr_types_ovr(),
            asid_bits: bits16(idr0.asid16()),
            vmid_bits: bits16(idr0.vmid16()),
            sid_bits: idr1.sidsize() as u8,
            ssid_bits: idr1.ssidsize() as u8,
            oas: decode_size(idr5.oas()).min(48),
            cmdqs: idr1.cmdqs() as u8,
            eventqs: idr1.eventqs() as u8,
            priqs: idr1.priqs() as u8,
            granule,
        })
    }
}

#[cfg(test)]
mod test {
    use spec::regs::RegFile;

    use super::*;

    fn profile() -> IdRegisters {
        let file = RegFile::<Page0>::reset();
        IdRegisters { idr0: file.get(), idr1: file.get(), idr3: file.get(), idr5: file.get(), iidr: 0 }
    }

    #[test]
    fn the_profile_has_everything() {
        let f = Features::decide(profile(), &Wanted::default()).unwrap();
        assert!(
            f.two_level
                && f.nesting
                && f.ats
                && f.msi
                && f.sev
                && f.ril
                && f.fwb
                && f.hyp
                && !f.e2h
                && !f.pri
        );
        assert_eq!((f.sid_bits, f.oas, f.asid_bits, f.vmid_bits, f.granule), (16, 48, 16, 16, Granule::K4));
    }

    #[test]
    fn what_the_driver_cannot_do_without() {
        let p = profile();
        for (what, ids) in [
            ("endianness", IdRegisters { idr0: p.idr0.with_ttendian(3), ..p }),
            ("tables", IdRegisters { idr0: p.idr0.with_ttf(1), ..p }),
            ("stages", IdRegisters { idr0: p.idr0.with_s1p(false).with_s2p(false), ..p }),
            ("presets", IdRegisters { idr1: p.idr1.with_queues_preset(true), ..p }),
            ("commands", IdRegisters { idr1: p.idr1.with_cmdqs(6), ..p }),
            (
                "granules",
                IdRegisters { idr5: p.idr5.with_gran4k(false).with_gran16k(false).with_gran64k(false), ..p },
            ),
        ] {
            assert_eq!(Features::decide(ids, &Wanted::default()), Err(Errno::ENXIO), "{what}");
        }
    }
}

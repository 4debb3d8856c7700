//! What an SMMU can do: the ID registers, and their decoded form.

use spec::smmu::ecmdq;
use spec::smmu::page0::{AIDR, IDR0, IDR1, IDR3, IDR5, IDR6};

use super::granule::Granule;
use super::register_pages::{CONTROL_PAGES, ControlPages};

/// The ID registers of an SMMU, as software reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdrProfile {
    /// IDR0.
    pub idr0: u32,
    /// IDR1.
    pub idr1: u32,
    /// IDR2.
    pub idr2: u32,
    /// IDR3.
    pub idr3: u32,
    /// IDR4.
    pub idr4: u32,
    /// IDR5.
    pub idr5: u32,
    /// IDR6.
    pub idr6: u32,
    /// IIDR.
    pub iidr: u32,
    /// AIDR.
    pub aidr: u32,
}

impl IdrProfile {
    /// A v3.3 SMMU with both stages, AArch64 tables of all granules, 48-bit addresses, ATS, PRI, MSIs, range
    /// invalidation. No hardware flag update; faults terminate (STALL_MODEL=01).
    pub const STANDARD: Self = Self {
        idr0: IDR0(0x084f_769b).with_httu(0).with_stall_model(1).0 as u32,
        idr1: 0x0def_5510,
        idr2: 0,
        idr3: 0x0000_7514,
        idr4: 0,
        idr5: IDR5(0x0010_0075).with_stall_max(0).0 as u32,
        idr6: 0,
        iidr: 0,
        aidr: 3,
    };

    /// [`IdrProfile::STANDARD`] that updates the Access flag and dirty state of descriptors.
    pub const UPDATING: Self =
        Self { idr0: IDR0(Self::STANDARD.idr0 as u64).with_httu(2).0 as u32, ..Self::STANDARD };

    /// [`IdrProfile::STANDARD`] whose faults may stall.
    pub const STALLING: Self = Self {
        idr0: IDR0(0x084f_769b).with_httu(0).with_stall_model(0).0 as u32,
        idr5: 0x0010_0075,
        ..Self::STANDARD
    };

    /// [`IdrProfile::STALLING`] with what an SMMU need not have: hardware flag update, address translation operations with
    /// their virtual page, and two control pages of four enhanced command queues.
    pub const OPTIONAL: Self = Self {
        idr0: IDR0(Self::STALLING.idr0 as u64).with_httu(2).with_atos(true).with_vatos(true).0 as u32,
        idr1: IDR1(Self::STALLING.idr1 as u64).with_ecmdq(true).0 as u32,
        idr6: IDR6(0).with_cmdq_control_page_log2nump(1).with_cmdq_control_page_log2numq(2).0 as u32,
        ..Self::STALLING
    };
}

impl Default for IdrProfile {
    fn default() -> Self {
        Self::STANDARD
    }
}

/// IDR0.STALL_MODEL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StallModel {
    /// Configuration chooses.
    Both,
    /// Faults terminate.
    Terminate,
    /// Faults stall.
    Stall,
}

/// IDR0.TTENDIAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endian {
    /// Configuration chooses.
    Mixed,
    /// Little-endian tables only.
    Little,
    /// Big-endian tables only.
    Big,
}

/// IDR0.HTTU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Updates {
    /// Nothing.
    None,
    /// The Access flag.
    Access,
    /// The Access flag and the dirty state.
    AccessAndDirty,
}

/// Decoded [`IdrProfile`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// The registers these come from.
    pub idr: IdrProfile,
    /// Stage 1 exists.
    pub s1p: bool,
    /// Stage 2 exists.
    pub s2p: bool,
    /// StreamWorld EL2 exists.
    pub hyp: bool,
    /// ATS exists.
    pub ats: bool,
    /// Split-stage ATS does not.
    pub ns1ats: bool,
    /// The PRI queue exists.
    pub pri: bool,
    /// MSIs exist.
    pub msi: bool,
    /// Wake-up events exist.
    pub sev: bool,
    /// 16-bit ASIDs.
    pub asid16: bool,
    /// 16-bit VMIDs.
    pub vmid16: bool,
    /// CR0.VMW exists.
    pub vmw: bool,
    /// Two-level CD tables.
    pub cd2l: bool,
    /// Two-level Stream tables.
    pub two_level_streams: bool,
    /// CR2.REC_CFG_ATS exists.
    pub atsrecerr: bool,
    /// What faults may do.
    pub stall_model: StallModel,
    /// CD.A must be 1.
    pub abort_only: bool,
    /// Byte order of translation tables.
    pub endian: Endian,
    /// Bits of a StreamID.
    pub sidsize: u8,
    /// Bits of a SubstreamID.
    pub ssidsize: u8,
    /// log2 of the entries that the Command queue may have.
    pub cmdqs: u8,
    /// log2 of the entries that the Event queue may have.
    pub eventqs: u8,
    /// log2 of the entries that the PRI queue may have.
    pub priqs: u8,
    /// Automatic answers to page requests keep the PASID, whatever STE.PPAR says.
    pub pps: bool,
    /// What of descriptors the hardware may update.
    pub updates: Updates,
    /// MTCFG, MemAttr, SHCFG and ALLOCCFG act.
    pub attr_types_ovr: bool,
    /// PRIVCFG and INSTCFG act.
    pub attr_perms_ovr: bool,
    /// Hierarchical attributes can be disabled.
    pub had: bool,
    /// Stage-2 execute permission depends on privilege.
    pub xnx: bool,
    /// STE.S2FWB acts.
    pub fwb: bool,
    /// Small translation tables.
    pub stt: bool,
    /// Range invalidation.
    pub ril: bool,
    /// CD.E0PD acts.
    pub e0pd: bool,
    /// Bits of an output address.
    pub oas: u8,
    /// Bits of a virtual address, per half.
    pub vas: u8,
    /// 4KB, 16KB, 64KB tables.
    pub granules: [bool; 3],
    /// Most transactions that may be stalled.
    pub stall_max: u16,
    /// Minor version of the architecture (3 is v3.3).
    pub minor: u8,
    /// Enhanced command queues.
    pub ecmdq: Option<ControlPages>,
    /// Address translation operations exist.
    pub atos: bool,
    /// Offset of the VATOS page from page 0, if there is one.
    pub vatos: Option<u64>,
}

/// Bits of an address for an encoding of IDR5.OAS, CD.IPS or STE.S2PS; `None` for v3.4 and above.
pub const fn address_bits(encoding: u64) -> Option<u8> {
    match encoding {
        0 => Some(32),
        1 => Some(36),
        2 => Some(40),
        3 => Some(42),
        4 => Some(44),
        5 => Some(48),
        6 => Some(52),
        _ => None,
    }
}

/// The architecture's latest version that is modelled: SMMUv3.3.
const MINOR_MAX: u64 = 3;
/// Most enhanced command queues.
const ECMDQS_MAX: usize = 1 << 12;

/// Whether the optional pages and what they need fit together.
fn check_optional(idr: &IdrProfile) -> Result<(), String> {
    let (idr0, pages) = (IDR0(idr.idr0.into()), idr.control_pages());
    let log2 = pages.map_or(0, |p| p.pages_log2.max(p.queues_log2));
    let reason = if idr0.vatos() && !idr0.atos() {
        "IDR0.VATOS needs ATOS"
    } else if pages.is_some() && !(idr0.cohacc() && idr0.msi()) {
        "IDR1.ECMDQ needs IDR0.COHACC and MSI"
    } else if pages.is_some() && AIDR(idr.aidr.into()).archminorrev() < 3 {
        "IDR1.ECMDQ needs SMMUv3.3"
    } else if pages.is_some() && idr.vatos_page().is_some_and(|vatos| vatos >= CONTROL_PAGES) {
        "IDR2.BA_VATOS puts the VATOS page where the control pages of enhanced command queues are"
    } else if u64::from(log2) > ecmdq::LOG2_MAX {
        "IDR6 has more than 256 control pages, or more than 256 queues in a page"
    } else if pages.is_some_and(|p| p.queues() > ECMDQS_MAX) {
        "IDR6 with more than 4096 enhanced command queues is not modelled"
    } else {
        return Ok(());
    };
    Err(reason.into())
}

impl Features {
    /// Decodes the ID registers.
    ///
    /// # Errors
    /// The registers promise what this model does not have, or contradict themselves.
    pub fn new(idr: IdrProfile) -> Result<Self, String> {
        let (idr0, idr1) = (IDR0(idr.idr0.into()), IDR1(idr.idr1.into()));
        let (idr3, idr5) = (IDR3(idr.idr3.into()), IDR5(idr.idr5.into()));
        let refuse = |what: &str| Err(format!("{what} is not modelled"));
        if idr0.ttf() != 2 {
            return refuse("IDR0.TTF other than AArch64 only");
        }
        let updates = match idr0.httu() {
            0 => Updates::None,
            1 => Updates::Access,
            2 => Updates::AccessAndDirty,
            _ => return refuse("IDR0.HTTU of table descriptors"),
        };
        if idr0.btm() || idr0.rme_impl() {
            return refuse("one of IDR0.BTM, RME_IMPL");
        }
        if idr1.tables_preset() || idr1.queues_preset() {
            return refuse("one of IDR1.TABLES_PRESET, QUEUES_PRESET");
        }
        check_optional(&idr)?;
        if idr3.mpam()
            || idr3.dpt()
            || idr3.pasidtt()
            || idr3.s1pi()
            || idr3.s2pi()
            || idr5.ds()
            || idr5.d128()
        {
            return refuse("one of IDR3.MPAM, DPT, PASIDTT, S1PI, S2PI, IDR5.DS, D128");
        }
        if idr3.epan() || idr3.s2po() || idr3.the() || idr3.mteperm() || idr3.aie() {
            return refuse("one of IDR3.EPAN, S2PO, THE, MTEPERM, AIE");
        }
        let aidr = AIDR(idr.aidr.into());
        if aidr.archmajorrev() != 0 || aidr.archminorrev() > MINOR_MAX {
            return refuse("AIDR of SMMUv3.4 or later");
        }
        if !idr0.s1p() && !idr0.s2p() {
            return Err("IDR0 has neither S1P nor S2P".into());
        }
        let Some(oas) = address_bits(idr5.oas()) else { return refuse("IDR5.OAS of 56 bits") };
        let vas = match idr5.vax() {
            0 => 48,
            1 => 52,
            _ => return refuse("IDR5.VAX of 56 bits"),
        };
        if idr1.sidsize() > 32 || idr1.ssidsize() > 20 {
            return Err("IDR1.SIDSIZE is at most 32 and SSIDSIZE at most 20".into());
        }
        let stall_model = match idr0.stall_model() {
            0 => StallModel::Both,
            1 => StallModel::Terminate,
            2 => StallModel::Stall,
            _ => return Err("IDR0.STALL_MODEL is reserved".into()),
        };
        let endian = match idr0.ttendian() {
            0 => Endian::Mixed,
            2 => Endian::Little,
            3 => Endian::Big,
            _ => return Err("IDR0.TTENDIAN is reserved".into()),
        };
        Ok(Self {
            idr,
            s1p: idr0.s1p(),
            s2p: idr0.s2p(),
            hyp: idr0.hyp(),
            ats: idr0.ats(),
            ns1ats: idr0.ns1ats(),
            pri: idr0.pri(),
            msi: idr0.msi(),
            sev: idr0.sev(),
            asid16: idr0.asid16(),
            vmid16: idr0.vmid16(),
            vmw: idr0.vmw(),
            cd2l: idr0.cd2l(),
            two_level_streams: idr0.st_level() == 1,
            atsrecerr: idr0.atsrecerr(),
            stall_model,
            abort_only: idr0.term_model(),
            endian,
            sidsize: idr1.sidsize() as u8,
            ssidsize: idr1.ssidsize() as u8,
            cmdqs: idr1.cmdqs() as u8,
            eventqs: idr1.eventqs() as u8,
            priqs: idr1.priqs() as u8,
            pps: idr3.pps(),
            updates,
            attr_types_ovr: idr1.attr_types_ovr(),
            attr_perms_ovr: idr1.attr_perms_ovr(),
            had: idr3.had(),
            xnx: idr3.xnx(),
            fwb: idr3.fwb(),
            stt: idr3.stt(),
            ril: idr3.ril(),
            e0pd: idr3.e0pd(),
            oas,
            vas,
            granules: [idr5.gran4k(), idr5.gran16k(), idr5.gran64k()],
            stall_max: idr5.stall_max() as u16,
            minor: aidr.archminorrev() as u8,
            ecmdq: idr.control_pages(),
            atos: idr0.atos(),
            vatos: idr.vatos_page(),
        })
    }

    /// log2 of the smallest page; the smallest translation unit of ATS (IHI 0070, 3.9.1).
    pub fn smallest_page(&self) -> u8 {
        Granule::ALL.into_iter().filter(|&g| self.has(g)).map(Granule::bits).min().unwrap_or(12)
    }

    /// Whether tables of this granule are supported.
    pub const fn has(&self, granule: Granule) -> bool {
        self.granules[granule as usize]
    }

    /// Bits of an intermediate address.
    pub const fn ias(&self) -> u8 {
        self.oas
    }

    /// Bits of an address field that is encoded like IDR5.OAS, capped by the implementation.
    pub fn capped_bits(&self, encoding: u64) -> u8 {
        address_bits(encoding).unwrap_or(52).min(self.oas)
    }

    /// Where the SMMU itself goes when a queue or a message is said to be at `addr`: bits beyond the output address size
    /// are lost (IHI 0070, 3.4.3).
    pub const fn truncated(&self, addr: u64) -> u64 {
        addr & (u64::MAX >> (64 - self.oas))
    }

    /// Whether `addr` fits the output address size.
    pub const fn reaches(&self, addr: u64) -> bool {
        addr >> self.oas == 0
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn standard_profile() {
        let f = Features::new(IdrProfile::STANDARD).unwrap();
        assert!(f.s1p && f.s2p && f.ats && f.ril && f.two_level_streams && f.cd2l && !f.stt);
        assert_eq!((f.oas, f.vas, f.sidsize, f.ssidsize), (48, 48, 16, 20));
        assert_eq!((f.cmdqs, f.eventqs, f.stall_model), (15, 15, StallModel::Terminate));
        assert_eq!(Features::new(IdrProfile::STALLING).unwrap().stall_model, StallModel::Both);
    }

    #[test]
    fn refuses_what_is_not_modelled() {
        let bit = |n: u32| IdrProfile { idr0: IdrProfile::STANDARD.idr0 | 1 << n, ..IdrProfile::STANDARD };
        let httu = |n| IdrProfile {
            idr0: IDR0(IdrProfile::STANDARD.idr0.into()).with_httu(n).0 as u32,
            ..IdrProfile::STANDARD
        };
        for (profile, want) in [
            (httu(0), Updates::None),
            (httu(1), Updates::Access),
            (IdrProfile::UPDATING, Updates::AccessAndDirty),
        ] {
            assert_eq!(Features::new(profile).unwrap().updates, want);
        }
        let optional = IdrProfile::OPTIONAL;
        let with = |edit: fn(IDR0) -> IDR0| IdrProfile {
            idr0: edit(IDR0(optional.idr0.into())).0 as u32,
            ..optional
        };
        for (profile, word) in [
            (bit(2), "TTF"),
            (bit(5), "BTM"),
            (httu(3), "HTTU"),
            (bit(20), "ATOS"),
            (with(|r| r.with_msi(false)), "MSI"),
            (with(|r| r.with_cohacc(false)), "COHACC"),
            (IdrProfile { aidr: 2, ..optional }, "v3.3"),
            (IdrProfile { aidr: 4, ..optional }, "v3.4"),
            (IdrProfile { aidr: 0x13, ..optional }, "AIDR"),
            (IdrProfile { idr3: optional.idr3 | 1 << 17, ..optional }, "EPAN"),
            (IdrProfile { idr3: optional.idr3 | 1 << 23, ..optional }, "AIE"),
            (IdrProfile { idr2: 0xe, ..optional }, "BA_VATOS"),
            (IdrProfile { idr6: 9 << 24, ..optional }, "256"),
            (IdrProfile { idr6: 8 << 24 | 5 << 16, ..optional }, "4096"),
        ] {
            assert!(Features::new(profile).unwrap_err().contains(word), "{word}");
        }
    }

    #[test]
    fn optional_profile() {
        let f = Features::new(IdrProfile::OPTIONAL).unwrap();
        assert_eq!(f.ecmdq.map(|p| (p.pages(), p.queues())), Some((2, 8)));
        assert_eq!((f.atos, f.vatos, f.updates), (true, Some(0x2_0000), Updates::AccessAndDirty));
        let f = Features::new(IdrProfile::STANDARD).unwrap();
        assert_eq!((f.ecmdq, f.atos, f.vatos), (None, false, None));
    }
}

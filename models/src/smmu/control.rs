//! The registers that translation depends on, as they are in effect.

use spec::smmu::page0::{CR0, CR1, CR2, GBPA, STRTAB_BASE, STRTAB_BASE_CFG};

use super::features::Features;
use super::granule::low_mask;

/// The state of the registers that a translation or an invalidation looks at. Whoever owns the register file keeps it
/// equal to what software has been told is in effect (CR0ACK, GBPA.Update).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// What exists.
    pub features: Features,
    /// CR0 as acknowledged: SMMUEN, ATSCHK and VMW matter here.
    pub cr0: CR0,
    /// Attributes of the Stream table.
    pub cr1: CR1,
    /// E2H, RECINVSID, REC_CFG_ATS.
    pub cr2: CR2,
    /// E2H has changed, and SMMUEN has not been set since (IHI 0070, 6.3.12.3).
    pub e2h_unknown: bool,
    /// GBPA as updated.
    pub gbpa: GBPA,
    /// STRTAB_BASE.
    pub strtab_base: STRTAB_BASE,
    /// STRTAB_BASE_CFG.
    pub strtab_base_cfg: STRTAB_BASE_CFG,
    /// Service Failure Mode: nothing is translated any more (IHI 0070, 12.3).
    pub failed: bool,
}

impl Control {
    /// Everything disabled.
    pub fn new(features: Features) -> Self {
        Self {
            features,
            cr0: CR0(0),
            cr1: CR1(0),
            cr2: CR2(0),
            e2h_unknown: false,
            gbpa: GBPA(0),
            strtab_base: STRTAB_BASE(0),
            strtab_base_cfg: STRTAB_BASE_CFG(0),
            failed: false,
        }
    }

    /// CR0.SMMUEN.
    pub const fn enabled(&self) -> bool {
        self.cr0.smmuen()
    }

    /// CR0.ATSCHK.
    pub const fn atschk(&self) -> bool {
        self.features.ats && self.cr0.atschk()
    }

    /// CR2.E2H.
    pub const fn e2h(&self) -> bool {
        self.features.hyp && self.cr2.e2h()
    }

    /// CR2.REC_CFG_ATS.
    pub const fn record_ats(&self) -> bool {
        self.features.atsrecerr && self.cr2.rec_cfg_ats()
    }

    /// How many low VMID bits an invalidation ignores.
    pub const fn vmid_wildcard(&self) -> u8 {
        match self.cr0.vmw() {
            n @ 1..=4 if self.features.vmw => n as u8,
            _ => 0,
        }
    }

    /// log2 of the number of streams that have a place in the Stream table.
    pub fn stream_bits(&self) -> u8 {
        (self.strtab_base_cfg.log2size() as u8).min(self.features.sidsize)
    }

    /// Whether the Stream table has two levels, and how many StreamID bits the second one resolves.
    pub const fn split(&self) -> Option<u8> {
        if !self.features.two_level_streams || self.strtab_base_cfg.fmt() != 1 {
            return None;
        }
        Some(match self.strtab_base_cfg.split() {
            n @ (8 | 10) => n as u8,
            _ => 6,
        })
    }

    /// First byte of the Stream table, aligned as the hardware does.
    pub fn stream_table(&self) -> u64 {
        let size = self.strtab_base_cfg.log2size() as u8;
        let align = match self.split() {
            None => size + 6,
            Some(split) => (size + 3).saturating_sub(split).max(6),
        };
        self.strtab_base.addr() & !low_mask(align)
    }
}

#[cfg(test)]
mod test {
    use super::super::features::IdrProfile;
    use super::*;

    #[test]
    fn stream_table_is_aligned() {
        let mut c = Control::new(Features::new(IdrProfile::STANDARD).unwrap());
        c.strtab_base = STRTAB_BASE(0).with_addr(0x8000_ffc0);
        for (log2size, fmt, split, base, bits) in [
            (0, 0, 0, 0x8000_ffc0, 0),
            (4, 0, 0, 0x8000_fc00, 4),
            (20, 0, 0, 0x8000_0000, 16),
            (8, 1, 8, 0x8000_ffc0, 8),
            (16, 1, 8, 0x8000_f800, 16),
            (16, 1, 7, 0x8000_e000, 16),
        ] {
            c.strtab_base_cfg = STRTAB_BASE_CFG(0).with_log2size(log2size).with_fmt(fmt).with_split(split);
            assert_eq!((c.stream_table(), c.stream_bits()), (base, bits), "{log2size} {fmt} {split}");
        }
    }

    #[test]
    fn wildcard() {
        let mut c = Control::new(Features::new(IdrProfile::STANDARD).unwrap());
        for (vmw, want) in [(0, 0), (1, 1), (4, 4), (5, 0), (7, 0)] {
            c.cr0 = CR0(0).with_vmw(vmw);
            assert_eq!(c.vmid_wildcard(), want);
        }
    }
}

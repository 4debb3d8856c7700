//! What of the pages exists: the registers and fields that the features bring along. All else is RES0 (IHI 0070, 6.3).

use spec::regs::Block;
use spec::smmu::page0::{CR0, CR2, GERRORN, IRQ_CTRL, PRIQ_IRQ_CFG2, STRTAB_BASE_CFG};
use spec::smmu::{Page0, Page1};

use super::Registers;

impl Registers {
    /// Whether this register exists.
    pub(super) fn exists(&self, reg: Page0) -> bool {
        use Page0::{
            EVENTQ_IRQ_CFG0, EVENTQ_IRQ_CFG1, EVENTQ_IRQ_CFG2, GATOS_ADDR, GATOS_CTRL, GATOS_PAR, GATOS_SID,
            GBPMPAM, GERROR_IRQ_CFG0, GERROR_IRQ_CFG1, GERROR_IRQ_CFG2, GMPAM, MPAMIDR, PRIQ_BASE,
            PRIQ_IRQ_CFG0, PRIQ_IRQ_CFG1, PRIQ_IRQ_CFG2, VATOS_SEL,
        };
        match reg {
            GERROR_IRQ_CFG0 | GERROR_IRQ_CFG1 | GERROR_IRQ_CFG2 | EVENTQ_IRQ_CFG0 | EVENTQ_IRQ_CFG1
            | EVENTQ_IRQ_CFG2 => self.features.msi,
            // PRIQ_IRQ_CFG2 is said to need MSIs, but its LO applies to wired interrupts, too.
            PRIQ_BASE | PRIQ_IRQ_CFG2 => self.features.pri,
            PRIQ_IRQ_CFG0 | PRIQ_IRQ_CFG1 => self.features.pri && self.features.msi,
            GATOS_CTRL | GATOS_SID | GATOS_ADDR | GATOS_PAR => self.features.atos,
            VATOS_SEL => self.features.vatos.is_some(),
            // `Features` admits no SMMU that has these.
            MPAMIDR | GMPAM | GBPMPAM => false,
            _ => true,
        }
    }

    /// Whether this register exists.
    pub(super) fn exists_one(&self, reg: Page1) -> bool {
        match reg {
            Page1::EVENTQ_PROD | Page1::EVENTQ_CONS => true,
            Page1::PRIQ_PROD | Page1::PRIQ_CONS => self.features.pri,
        }
    }

    /// The bits of a register that are fields which exist. Address bits beyond the output address size are kept and not used.
    pub(super) fn existing(&self, reg: Page0) -> u64 {
        let f = &self.features;
        let none = |absent: bool, fields: u64| if absent { fields } else { 0 };
        let all = u64::MAX;
        let absent = match reg {
            Page0::CR0 => {
                none(!f.pri, CR0(0).with_priqen(true).0)
                    | none(!f.ats, CR0(0).with_atschk(true).0)
                    | none(!f.vmw, CR0(0).with_vmw(all).0)
                    | CR0(0).with_dpt_walk_en(true).0
            }
            Page0::CR2 => {
                // PTM comes with broadcast invalidation, which `Features` does not admit.
                none(!f.hyp, CR2(0).with_e2h(true).0)
                    | none(!f.atsrecerr, CR2(0).with_rec_cfg_ats(true).0)
                    | CR2(0).with_ptm(true).0
            }
            Page0::IRQ_CTRL => none(!f.pri, IRQ_CTRL(0).with_priq_irqen(true).0),
            Page0::GERRORN => {
                let messages = GERRORN(0)
                    .with_msi_cmdq_abt_err(true)
                    .with_msi_eventq_abt_err(true)
                    .with_msi_priq_abt_err(true)
                    .with_msi_gerror_abt_err(true);
                none(!f.msi, messages.0)
                    | none(!f.pri, GERRORN(0).with_priq_abt_err(true).with_msi_priq_abt_err(true).0)
                    | none(f.ecmdq.is_none(), GERRORN(0).with_cmdqp_err(true).0)
                    | GERRORN(0).with_dpt_err(true).0
            }
            Page0::STRTAB_BASE_CFG => {
                none(!f.two_level_streams, STRTAB_BASE_CFG(0).with_fmt(all).with_split(all).0)
            }
            Page0::PRIQ_IRQ_CFG2 => none(!f.msi, PRIQ_IRQ_CFG2(0).with_memattr(all).with_sh(all).0),
            _ => 0,
        };
        reg.desc().mask() & !absent
    }
}

#[cfg(test)]
mod test {
    use super::super::super::features::{Features, IdrProfile};
    use super::*;
    use spec::smmu::page0::IDR0;

    /// All ones are written; what exists is there afterwards.
    #[test]
    fn fields_that_do_not_exist_are_res0() {
        let standard = |edit: fn(IDR0) -> IDR0| IdrProfile {
            idr0: edit(IDR0(IdrProfile::STANDARD.idr0.into())).0 as u32,
            ..IdrProfile::STANDARD
        };
        for (profile, offset, want) in [
            (standard(|r| r.with_atsrecerr(true)), 0x2c, 0b1011),
            (standard(|r| r.with_atsrecerr(true).with_hyp(false)), 0x2c, 0b1010),
            (standard(|r| r), 0x2c, 0b0011),
            (standard(|r| r), 0x50, 0b111),
            (standard(|r| r.with_pri(false)), 0x50, 0b101),
            (standard(|r| r), 0x64, 0b01_1111_1101),
            (standard(|r| r.with_msi(false)), 0x64, 0b01_0000_1101),
            (standard(|r| r.with_pri(false)), 0x64, 0b01_1011_0101),
            (IdrProfile::OPTIONAL, 0x64, 0b11_1111_1101),
            (standard(|r| r), 0x88, 0x3_07ff),
            (standard(|r| r.with_st_level(0)), 0x88, 0x3f),
            (standard(|r| r), 0xdc, 0x8000_003f),
            (standard(|r| r.with_msi(false)), 0xdc, 0x8000_0000),
            (standard(|r| r), 0x20, 0x1df),
            (standard(|r| r.with_ats(false).with_pri(false).with_vmw(false)), 0x20, 0x00d),
        ] {
            let mut r = Registers::new(Features::new(profile).unwrap());
            r.write(offset, 4, u64::MAX);
            assert_eq!(r.read(offset, 4), want, "offset {offset:#x} with IDR0={:#x}", profile.idr0);
        }
    }
}

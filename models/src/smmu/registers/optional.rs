//! Register pages that an SMMU need not have: which register lies where in them.

use spec::regs::Block;
use spec::smmu::ecmdq::{self, CMDQ_CONTROL_PAGE_BASE, CONTROL_PAGE_LOG2, CONTROL_PAGE_STRIDE};
use spec::smmu::{ControlPage, Ecmdq, Vatos};

use super::{Place, Registers};
use crate::smmu::register_pages::CONTROL_PAGES;

/// Bytes of what page 0 says about the most control pages.
const DESCRIBED: u32 = CONTROL_PAGE_STRIDE << ecmdq::LOG2_MAX;
/// Bytes of the smallest share of a control page.
const SHARE_MIN: u32 = 1 << (CONTROL_PAGE_LOG2 - ecmdq::LOG2_MAX as u32);

/// The name of the register at this offset, if it lies in an optional page. Without knowing which pages there are.
pub(super) fn name(offset: u32) -> Option<&'static str> {
    if let Some(within) = offset.checked_sub(CONTROL_PAGES as u32) {
        return Ecmdq::decode_word(within % SHARE_MIN).map(|(reg, _)| reg.name());
    }
    let page = offset >> CONTROL_PAGE_LOG2;
    let described = offset.checked_sub(ecmdq::CONTROL_PAGES).filter(|&within| within < DESCRIBED);
    match described {
        Some(within) => ControlPage::decode_word(within % CONTROL_PAGE_STRIDE).map(|(reg, _)| reg.name()),
        None if page > 1 => Vatos::decode_word(offset & 0xffff).map(|(reg, _)| reg.name()),
        None => None,
    }
}

impl Registers {
    /// The register of an optional page that contains the aligned 32-bit word at `offset`, and whether it is the upper half.
    pub(super) fn optional(&self, offset: u32) -> Option<(Place, bool)> {
        self.in_vatos(offset)
            .or_else(|| self.in_control_page(offset))
            .or_else(|| self.about_control_page(offset))
    }

    fn in_vatos(&self, offset: u32) -> Option<(Place, bool)> {
        let within = offset.checked_sub(self.features.vatos? as u32)?;
        Vatos::decode_word(within).map(|(reg, upper)| (Place::Vatos(reg), upper))
    }

    fn in_control_page(&self, offset: u32) -> Option<(Place, bool)> {
        let (queue, within) = self.features.ecmdq?.decode(offset.into())?;
        Ecmdq::decode_word(within as u32).map(|(reg, upper)| (Place::Ecmdq(queue, reg), upper))
    }

    fn about_control_page(&self, offset: u32) -> Option<(Place, bool)> {
        let pages = self.features.ecmdq?.pages() as u32;
        let within = offset.checked_sub(ecmdq::CONTROL_PAGES)?;
        let page = within / CONTROL_PAGE_STRIDE;
        let place = |(reg, upper)| (Place::ControlPage(page, reg), upper);
        ControlPage::decode_word(within % CONTROL_PAGE_STRIDE).filter(|_| page < pages).map(place)
    }

    /// What page 0 says about a control page.
    pub(super) fn control_page(&self, page: u32, reg: ControlPage) -> u64 {
        let reset = reg.desc().reset;
        match reg {
            ControlPage::CMDQ_CONTROL_PAGE_BASE => {
                let offset = CONTROL_PAGES + (u64::from(page) << CONTROL_PAGE_LOG2);
                CMDQ_CONTROL_PAGE_BASE(reset).with_addr(offset).0
            }
            ControlPage::CMDQ_CONTROL_PAGE_CFG | ControlPage::CMDQ_CONTROL_PAGE_STATUS => reset,
        }
    }
}

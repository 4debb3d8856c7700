//! The PRI queue: the interrupt that must follow what is written there.

use spec::smmu::PageRequest;

use super::{Oracle, about_stream};
use crate::finding::Kind;
use crate::witness::{SmmuId, Time};

/// A request that calls for an interrupt, and when it was written; nothing if none is due.
pub(super) type Unannounced = Option<(PageRequest, Time)>;

impl Oracle {
    /// A request became visible for which software wants to be interrupted.
    pub(super) fn page_requested(&mut self, smmu: SmmuId, request: PageRequest) {
        self.check_pages(smmu);
        let enabled = self.registers(smmu).irq_ctrl.priq_irqen();
        let due = &mut self.pages[usize::from(smmu)];
        if enabled && due.is_none() {
            *due = Some((request, self.time));
        }
    }

    /// The interrupt was raised, or is no longer due.
    pub(super) fn page_interrupt(&mut self, smmu: SmmuId) {
        self.pages[usize::from(smmu)] = None;
    }

    /// Report what should have been announced by now.
    pub(super) fn check_pages(&mut self, smmu: SmmuId) {
        let bound = self.config.interrupt_bound;
        let overdue = |(_, time): &(PageRequest, Time)| self.time.saturating_sub(*time) > bound;
        if let Some((request, time)) = self.pages[usize::from(smmu)].take_if(|due| overdue(due)) {
            let about = about_stream(smmu, request.sid() as u32, request.addr(), time);
            self.find_at(Kind::LostInterrupt, time, &about, |teller| {
                teller.lost_page_interrupt(smmu, request, time, bound)
            });
        }
    }
}

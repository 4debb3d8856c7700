//! The PRI queue: the interrupt that must follow what is written there.

use spec::smmu::PageRequest;

use super::{Oracle, about_stream};
use crate::finding::Kind;
use crate::witness::{SmmuId, Time};

/// A request that calls for an interrupt.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub request: PageRequest,
    /// It was dropped, rather than written.
    pub dropped: bool,
    /// When.
    pub time: Time,
}

/// The first one that has not been announced; nothing if no interrupt is due.
pub(super) type Unannounced = Option<Asked>;

impl Oracle {
    /// Software wants to be interrupted for this.
    pub(super) fn page_requested(&mut self, smmu: SmmuId, asked: Asked) {
        self.check_pages(smmu);
        let enabled = self.registers(smmu).irq_ctrl.priq_irqen();
        let due = &mut self.pages[usize::from(smmu)];
        if enabled && due.is_none() {
            *due = Some(asked);
        }
    }

    /// The interrupt was raised, or is no longer due.
    pub(super) fn page_interrupt(&mut self, smmu: SmmuId) {
        self.pages[usize::from(smmu)] = None;
    }

    /// Report what should have been announced by now.
    pub(super) fn check_pages(&mut self, smmu: SmmuId) {
        let bound = self.config.interrupt_bound;
        let overdue = |asked: &mut Asked| self.time.saturating_sub(asked.time) > bound;
        if let Some(asked) = self.pages[usize::from(smmu)].take_if(overdue) {
            let Asked { request, time, .. } = asked;
            let about = about_stream(smmu, request.sid() as u32, request.addr(), time);
            self.find_at(Kind::LostInterrupt, time, &about, |teller| {
                teller.lost_page_interrupt(smmu, asked, bound)
            });
        }
    }
}

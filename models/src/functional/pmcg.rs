//! Performance monitors. Without time their clock stands still: counters of cycles keep their values, as behind a gated clock.

use super::{FunctionalSmmu, Surroundings};
use crate::smmu::interrupts::Raise;
use crate::smmu::pmcg::{Change, Each, Page, Unit};

impl FunctionalSmmu {
    /// Software writes a page of a counter group. Updates complete at once.
    pub(super) fn write_pmcg(&mut self, (unit, page, offset): (Unit, Page, u32), len: u8, value: u64) {
        let groups = self.monitors.as_mut().expect("there are counter groups");
        let group = groups.group_mut(unit);
        if group.write(page, offset, len.into(), value) == Change::IrqCtrl {
            group.complete_irq_ctrl();
        }
    }

    pub(super) fn raise_overflows(&mut self, raised: Each<bool>, around: &mut impl Surroundings) {
        for unit in Unit::ALL {
            if *raised.of(unit) {
                self.raise_overflow(unit, around);
            }
        }
    }

    fn raise_overflow(&mut self, unit: Unit, around: &mut impl Surroundings) {
        let (Some(groups), Some(config)) = (&mut self.monitors, &self.config.pmcg) else { return };
        let Some(raise) = groups.group(unit).raise(*config.lines.of(unit), &self.control.features) else {
            return;
        };
        if self.triggers.interrupt_is_lost(&mut self.metrics) {
            return;
        }
        match raise {
            Raise::Wire(intid) => around.edge(intid),
            Raise::Message { addr, data } => {
                if around.write(addr, &data.to_le_bytes()).is_err() {
                    groups.group_mut(unit).message_aborted();
                }
            }
        }
    }
}

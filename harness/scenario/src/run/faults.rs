//! Faults of the environment, armed and cleared while the machine runs.

use models::psmmu::{PsmmuFaults, Which};
use models::system::Machine;

use crate::model::Fault;
use crate::platform::FaultKind;

/// What is armed, by pSMMU.
#[derive(Debug, Default)]
pub(super) struct Armed {
    psmmus: std::collections::BTreeMap<usize, PsmmuFaults>,
}

impl Armed {
    /// Arms or clears a fault. Occasions are counted from now on.
    pub(super) fn set(&mut self, machine: &mut Machine, fault: &Fault, on: bool) {
        let at = fault.at.index;
        let which = match (on, fault.times) {
            (false, _) => Which::Never,
            (true, 1) => Which::Nth(fault.nth),
            (true, times) => Which::Range(fault.nth, times),
        };
        match fault.kind {
            FaultKind::SkipBroadcast => {}
            FaultKind::AtsTimeout => machine.endpoints_mut()[at].set_silent(on.then_some(fault.nth)),
            FaultKind::SwapSidSlots => {
                let slots = (fault.slots[0] as u8, fault.slots[1] as u8);
                machine.psmmus_mut()[at].set_swapped_sid_slots(on.then_some(slots));
            }
            kind => {
                let faults = self.psmmus.entry(at).or_default();
                match kind {
                    FaultKind::DropTlbi => faults.drop_tlbi = which,
                    FaultKind::DropCfgi => faults.drop_cfgi = which,
                    FaultKind::EarlySync => faults.early_sync = which,
                    FaultKind::DropInterrupt => faults.lose_interrupt = which,
                    FaultKind::MemoryAbort => faults.abort_read = which,
                    FaultKind::StallCmdq => faults.stalled = on,
                    FaultKind::StuckVintf => faults.stuck_vintf = on.then_some(fault.vintf as u8),
                    FaultKind::SkipBroadcast | FaultKind::AtsTimeout | FaultKind::SwapSidSlots => {
                        unreachable!("handled above")
                    }
                }
                let faults = *faults;
                machine.psmmus_mut()[at].set_faults(&faults);
            }
        }
    }
}

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
        match fault.kind {
            FaultKind::SkipBroadcast => {}
            FaultKind::AtsTimeout => machine.endpoints_mut()[at].set_silent(on.then_some(fault.nth)),
            FaultKind::SwapSidSlots => {
                machine.psmmus_mut()[at].set_swapped_sid_slots(on.then_some(swapped_slots(fault)));
            }
            _ => {
                let faults = self.psmmus.entry(at).or_default();
                set_fault(faults, fault, on);
                let faults = *faults;
                machine.psmmus_mut()[at].set_faults(&faults);
            }
        }
    }
}

/// The SID slots that a fault exchanges.
pub fn swapped_slots(fault: &Fault) -> (u8, u8) {
    (fault.slots[0] as u8, fault.slots[1] as u8)
}

/// Arms or clears a fault of a pSMMU itself. Faults of its CMDQV's SID slots, of VMMs and of endpoints change nothing here.
pub fn set_fault(faults: &mut PsmmuFaults, fault: &Fault, on: bool) {
    let which = match (on, fault.times) {
        (false, _) => Which::Never,
        (true, 1) => Which::Nth(fault.nth),
        (true, times) => Which::Range(fault.nth, times),
    };
    match fault.kind {
        FaultKind::DropTlbi => faults.drop_tlbi = which,
        FaultKind::DropCfgi => faults.drop_cfgi = which,
        FaultKind::EarlySync => faults.early_sync = which,
        FaultKind::DropInterrupt => faults.lose_interrupt = which,
        FaultKind::CorruptCommand => faults.corrupt_command = which,
        FaultKind::MemoryAbort => faults.abort_read = which,
        FaultKind::StallCmdq => faults.stalled = on,
        FaultKind::StuckVintf => faults.stuck_vintf = on.then_some(fault.vintf as u8),
        FaultKind::SkipBroadcast | FaultKind::AtsTimeout | FaultKind::SwapSidSlots => {}
    }
}

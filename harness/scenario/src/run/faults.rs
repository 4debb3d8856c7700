//! Faults of the environment, armed and cleared while the machine runs.

use models::cmdqv::{SwappedSlots, Vintfs};
use models::psmmu::{PsmmuFaults, Which, WhichCommands};
use models::system::Machine;
use spec::smmu::Opcode;

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
            FaultKind::AtsTimeout => machine.endpoints_mut()[at].set_silent(occasions(fault, on)),
            _ => {
                let faults = self.psmmus.entry(at).or_default();
                set_fault(faults, fault, on);
                let faults = *faults;
                machine.psmmus_mut()[at].set_faults(&faults);
            }
        }
    }
}

/// On which occasions a fault strikes.
pub fn occasions(fault: &Fault, on: bool) -> Which {
    match (on, fault.times) {
        (false, _) => Which::Never,
        (true, 1) => Which::Nth(fault.nth),
        (true, times) => Which::Range(fault.nth, times),
    }
}

/// Arms or clears a fault of a pSMMU, its CMDQV included. Faults of VMMs and of endpoints change nothing here.
pub fn set_fault(faults: &mut PsmmuFaults, fault: &Fault, on: bool) {
    let which = occasions(fault, on);
    let vintf = fault.vintf.map(|v| v as u8);
    let commands = WhichCommands { which, vintf, opcode: fault.command.map(|op| Opcode(op.code())) };
    let vintfs = match (on, vintf) {
        (false, _) => Vintfs::None,
        (true, None) => Vintfs::All,
        (true, Some(vintf)) => Vintfs::One(vintf),
    };
    match fault.kind {
        FaultKind::DropTlbi => faults.drop_tlbi = commands,
        FaultKind::DropCfgi => faults.drop_cfgi = commands,
        FaultKind::EarlySync => faults.early_sync = which,
        FaultKind::DropInterrupt => faults.lose_interrupt = which,
        FaultKind::CorruptCommand => faults.corrupt_command = commands,
        FaultKind::MemoryAbort => faults.abort_read = which,
        FaultKind::ServiceFailure => faults.fail = which,
        FaultKind::StallCmdq => faults.stalled = on,
        FaultKind::StuckVintf => faults.stuck_vintf = vintf.filter(|_| on),
        FaultKind::SwapSidSlots => {
            let slots = (fault.slots[0] as u8, fault.slots[1] as u8);
            faults.swapped_sid_slots = vintf.filter(|_| on).map(|vintf| SwappedSlots { vintf, slots });
        }
        FaultKind::KeepGuestVmid => faults.keep_guest_vmid = vintfs,
        FaultKind::KeepGuestSid => faults.keep_guest_sid = vintfs,
        FaultKind::SkipBroadcast | FaultKind::AtsTimeout => {}
    }
}

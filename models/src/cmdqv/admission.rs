//! What an owner may send, and what is rewritten on the way: VMID and StreamID of owners that are not the hypervisor.

use spec::smmu::error::CommandError;
use spec::smmu::{Command, Opcode, command::cs};

use super::config::Faults;
use super::knobs::{GuestNhAll, Knobs, Refusal, SyncSignal};
use super::vintf::{Context, SidSlot};

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admitted {
    /// The command to execute, or the error that stops its queue.
    pub(super) result: Result<Command, CommandError>,
    /// What the owner did that is not defined.
    pub(super) lint: Option<String>,
    /// The VMID was replaced.
    pub(super) vmid_replaced: bool,
    /// The StreamID was replaced.
    pub(super) sid_replaced: bool,
}

/// How an opcode is treated for HYP_OWN=0.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Guest {
    Forbidden,
    AsIs,
    OverwriteVmid,
    TranslateSid,
}

fn guest_rule(op: Opcode, knobs: &Knobs) -> Guest {
    match op {
        Opcode::TLBI_NH_ASID | Opcode::TLBI_NH_VA | Opcode::TLBI_S12_VMALL | Opcode::TLBI_S2_IPA => {
            Guest::OverwriteVmid
        }
        Opcode::TLBI_NH_ALL | Opcode::TLBI_NH_VAA if knobs.guest_nh_all == GuestNhAll::Legal => {
            Guest::OverwriteVmid
        }
        Opcode::ATC_INV => Guest::TranslateSid,
        Opcode::SYNC => Guest::AsIs,
        _ => Guest::Forbidden,
    }
}

fn refusal(kind: Refusal) -> CommandError {
    match kind {
        Refusal::Illegal => CommandError::CERROR_ILL,
        Refusal::IllegalAccess => CommandError::CERROR_ILL_ACCESS,
    }
}

/// The physical StreamID of a virtual one. The lowest matching slot wins; the text is about a second one.
fn translate_sid(vintf: u8, sids: &[SidSlot], virt: u64, faults: &Faults) -> (Option<u32>, Option<String>) {
    let mut hits = sids.iter().enumerate().filter(|(_, s)| s.enable && u64::from(s.virt) == virt);
    let Some((slot, _)) = hits.next() else { return (None, None) };
    let lint = hits.next().map(|(other, _)| {
        format!("StreamID {virt:#x} is in SID_MATCH({slot}) and SID_MATCH({other}); the lower slot wins")
    });
    let used = faults.swapped_sid_slots.map_or(slot, |swapped| swapped.used_for(vintf, slot));
    (sids.get(used).map(|s| s.phys), lint)
}

/// Checks a command and rewrites it for its owner.
pub(super) fn admit(
    command: Command,
    vintf: u8,
    owner: Context,
    sids: &[SidSlot],
    knobs: &Knobs,
    faults: &Faults,
) -> Admitted {
    let mut admitted =
        Admitted { result: Ok(command), lint: None, vmid_replaced: false, sid_replaced: false };
    if command.ssec() {
        admitted.result = Err(CommandError::CERROR_ILL);
        return admitted;
    }
    if command.op() == Opcode::SYNC && command.cs() != cs::SIG_NONE {
        admit_signal(command, knobs, &mut admitted);
        return admitted;
    }
    if owner.hyp_own {
        return admitted;
    }
    match guest_rule(command.op(), knobs) {
        // Reserved: illegal for everyone.
        Guest::Forbidden if command.op().name().is_none() => {
            admitted.result = Err(CommandError::CERROR_ILL);
        }
        Guest::Forbidden if !faults.admit_everything => {
            admitted.result = Err(refusal(knobs.forbidden_opcode));
        }
        Guest::OverwriteVmid if !faults.keep_guest_vmid.has(vintf) => {
            admitted.result = Ok(command.with_vmid(owner.vmid.into()));
            admitted.vmid_replaced = true;
        }
        Guest::Forbidden | Guest::AsIs | Guest::OverwriteVmid => {}
        Guest::TranslateSid => {
            let (phys, lint) = translate_sid(vintf, sids, command.sid(), faults);
            admitted.lint = lint;
            match phys {
                None => admitted.result = Err(refusal(knobs.unmatched_sid)),
                Some(_) if faults.keep_guest_sid.has(vintf) => {}
                Some(phys) => {
                    admitted.result = Ok(command.with_sid(phys.into()));
                    admitted.sid_replaced = true;
                }
            }
        }
    }
    admitted
}

/// CMD_SYNC with a completion signal.
fn admit_signal(command: Command, knobs: &Knobs, admitted: &mut Admitted) {
    let known = matches!(command.cs(), cs::SIG_IRQ | cs::SIG_SEV);
    match knobs.sync_signal {
        SyncSignal::Signal if known => {}
        SyncSignal::AsNone if known => {
            admitted.result = Ok(command.with_cs(cs::SIG_NONE));
            admitted.lint = Some(format!("CMD_SYNC with CS={} on a VCMDQ; taken as CS=0", command.cs()));
        }
        _ => admitted.result = Err(CommandError::CERROR_ILL),
    }
}

//! Where a trapped command goes when a vSMMU has several viommus.

use spec::smmu::{Command, Opcode};

/// The policy for a guest's commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// By virtual StreamID where the command has one; TLB invalidations go to every viommu.
    #[default]
    Select,
    /// Every command that has no StreamID, and CFGI and ATC_INV too, to every viommu that knows the StreamID or
    /// could: those that do not know it are skipped.
    Broadcast,
    /// Everything to the first viommu: wrong as soon as there are two.
    First,
}

/// Environment fault: of the nth command that goes to several viommus (counted from 1), one target is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SkipTarget {
    /// Which broadcast.
    pub nth: u64,
    /// How many in a row.
    pub times: u64,
    /// Position of the target that gets nothing.
    pub target: usize,
}

/// What the VMM does with a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handling {
    /// Reinstall the guest's STE of this stream; `None` means all streams.
    Reinstall(Option<(u32, u32)>),
    /// Forward to the viommu of this virtual StreamID.
    Stream(u32),
    /// Forward to all viommus.
    All,
    /// Wait for what was forwarded.
    Sync,
    /// Consume without effect.
    Ignore,
    /// CERROR_ILL.
    Illegal,
}

/// What a command asks of the VMM.
pub(super) fn handling(command: Command) -> Handling {
    let sid = command.sid() as u32;
    match command.op() {
        Opcode::CFGI_STE => Handling::Reinstall(Some((sid, sid))),
        Opcode::CFGI_STE_RANGE => {
            let range = command.range();
            if range >= 31 {
                return Handling::Reinstall(None);
            }
            let mask = (1_u64 << (range + 1)) - 1;
            let first = u64::from(sid) & !mask;
            Handling::Reinstall(Some((first as u32, (first | mask) as u32)))
        }
        Opcode::CFGI_CD | Opcode::CFGI_CD_ALL | Opcode::ATC_INV => Handling::Stream(sid),
        Opcode::TLBI_NH_ALL
        | Opcode::TLBI_NSNH_ALL
        | Opcode::TLBI_NH_ASID
        | Opcode::TLBI_NH_VA
        | Opcode::TLBI_NH_VAA => Handling::All,
        Opcode::SYNC if command.cs() != 3 => Handling::Sync,
        Opcode::PREFETCH_CONFIG | Opcode::PREFETCH_ADDR => Handling::Ignore,
        _ => Handling::Illegal,
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_command_has_its_way() {
        for (command, want) in [
            (Command::cfgi_ste(5, true), Handling::Reinstall(Some((5, 5)))),
            (Command::cfgi_ste_range(5, 1), Handling::Reinstall(Some((4, 7)))),
            (Command::cfgi_all(), Handling::Reinstall(None)),
            (Command::cfgi_cd(7, 0, true), Handling::Stream(7)),
            (Command::atc_inv(9, None, 0, 52), Handling::Stream(9)),
            (Command::tlbi_nh_asid(1, 0), Handling::All),
            (Command::tlbi_nsnh_all(), Handling::All),
            (Command::sync(), Handling::Sync),
            (Command::tlbi_s12_vmall(3), Handling::Illegal),
            (Command::tlbi_el2_all(), Handling::Illegal),
            (Command([0xff, 0]), Handling::Illegal),
        ] {
            assert_eq!(handling(command), want, "{command}");
        }
    }
}

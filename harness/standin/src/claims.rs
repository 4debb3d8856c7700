//! Whose commands they are that a VMM has handed to the SMMU's own queue: which VINTF's VMID or StreamIDs they name.

use std::collections::BTreeMap;

use spec::cmdqv::vintf::{CONFIG, SID_MATCH, SID_REPLACE};
use spec::cmdqv::{Place, Vintf as VintfReg};
use spec::smmu::{Command, Opcode};

/// Of guests' commands, those that a kernel lets a VMM hand over (`IOMMU_HWPT_INVALIDATE`).
const FORWARDABLE: [Opcode; 7] = [
    Opcode::CFGI_CD,
    Opcode::CFGI_CD_ALL,
    Opcode::TLBI_NH_ALL,
    Opcode::TLBI_NH_ASID,
    Opcode::TLBI_NH_VA,
    Opcode::TLBI_NH_VAA,
    Opcode::ATC_INV,
];

/// The VINTFs of one CMDQV, as far as they say what is whose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Claims {
    vintfs: BTreeMap<u8, Claim>,
    /// Whose command the last CMD_SYNC of the SMMU's own queue is not behind.
    waiting: Option<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Claim {
    config: CONFIG,
    slots: BTreeMap<u8, (SID_MATCH, SID_REPLACE)>,
}

impl Claims {
    /// A register was written. Says which stream belongs to which VINTF now.
    pub(crate) fn written(&mut self, place: Place, value: u64) -> Option<(u8, u32)> {
        let (v, s) = match place {
            Place::Vintf { v, reg: VintfReg::CONFIG } => {
                self.vintfs.entry(v).or_default().config = CONFIG(value);
                return None;
            }
            Place::SidMatch { v, s } => {
                self.slot(v, s).0 = SID_MATCH(value);
                (v, s)
            }
            Place::SidReplace { v, s } => {
                self.slot(v, s).1 = SID_REPLACE(value);
                (v, s)
            }
            _ => return None,
        };
        let (wanted, phys) = *self.slot(v, s);
        wanted.enable().then_some((v, phys.phys_sid() as u32))
    }

    fn slot(&mut self, v: u8, s: u8) -> &mut (SID_MATCH, SID_REPLACE) {
        self.vintfs.entry(v).or_default().slots.entry(s).or_default()
    }

    /// The guest's VINTF that a command of the SMMU's own queue is for. A CMD_SYNC is for whom the command in front of it is.
    pub(crate) fn forwarded(&mut self, command: Command) -> Option<u8> {
        if command.op() == Opcode::SYNC {
            return self.waiting.take();
        }
        let owner = self.owner(command);
        self.waiting = owner.or(self.waiting);
        owner
    }

    fn owner(&self, command: Command) -> Option<u8> {
        if !FORWARDABLE.contains(&command.op()) {
            return None;
        }
        let names_stream = command.op().fields().any(|field| field == "sid");
        let is_named = |claim: &Claim| match names_stream {
            true => claim.slots.values().any(|(m, r)| m.enable() && r.phys_sid() == command.sid()),
            false => claim.config.vmid() == command.vmid(),
        };
        let mut guests = self.vintfs.iter().filter(|(_, c)| c.config.en() && !c.config.hyp_own());
        guests.find(|(_, claim)| is_named(claim)).map(|(v, _)| *v)
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn commands_find_their_guest() {
        let host = CONFIG(0).with_en(true).with_hyp_own(true);
        let guest = |vmid| CONFIG(0).with_en(true).with_vmid(vmid).0;
        let config = |v, value| (Place::Vintf { v, reg: VintfReg::CONFIG }, value);
        let mut claims = Claims::default();
        let stream = [
            (Place::SidReplace { v: 1, s: 3 }, SID_REPLACE(0).with_phys_sid(0x28).0, None),
            (
                Place::SidMatch { v: 1, s: 3 },
                SID_MATCH(0).with_enable(true).with_virt_sid(0x1100).0,
                Some((1, 0x28)),
            ),
        ];
        for (place, value) in [config(0, host.0), config(1, guest(7)), config(2, guest(8))] {
            assert_eq!(claims.written(place, value), None);
        }
        for (place, value, want) in stream {
            assert_eq!(claims.written(place, value), want);
        }
        // Disabled: what it had is nobody's.
        claims.written(Place::Vintf { v: 2, reg: VintfReg::CONFIG }, 0);
        let rows = [
            (Command::sync(), None),
            (Command::tlbi_nh_all(7), Some(1)),
            (Command::sync(), Some(1)),
            (Command::sync(), None),
            (Command::tlbi_nh_all(8), None),
            (Command::sync(), None),
            (Command::tlbi_nh_all(0), None),
            (Command::cfgi_cd(0x28, 0, true), Some(1)),
            (Command::cfgi_cd(0x1100, 0, true), None),
            (Command::sync(), Some(1)),
            (Command::atc_inv(0x28, None, 0, 0), Some(1)),
            // The host's own business with a guest's device and its stage 2.
            (Command::cfgi_ste(0x28, true), None),
            (Command::tlbi_s2_ipa(7, 0, true), None),
        ];
        for (row, (command, want)) in rows.into_iter().enumerate() {
            assert_eq!(claims.forwarded(command), want, "row {row}: {command}");
        }
    }
}

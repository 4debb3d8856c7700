//! The queues of a CMDQV, and what it must make of a guest's commands, as writes to its registers show them.

use spec::cmdqv::config::{CMDQ_ALLOC, PARAM};
use spec::cmdqv::queue::{BASE, CONFIG, CONS, PROD};
use spec::cmdqv::vintf::{CONFIG as VCONFIG, SID_MATCH, SID_REPLACE};
use spec::cmdqv::{Place, QueuePage0, QueuePage1, QueueReg, Vintf as VintfReg};
use spec::smmu::{Command, Opcode};

use super::ring::{Change, Ring};

/// A CMDQV.
#[derive(Debug)]
pub(super) struct Cmdqv {
    param: PARAM,
    queues: Vec<Vcmdq>,
    vintfs: Vec<Vintf>,
}

/// Whom a VINTF belongs to.
#[derive(Clone, Debug)]
struct Vintf {
    /// CONFIG since it was enabled.
    config: VCONFIG,
    /// SID_MATCH and SID_REPLACE of each slot.
    sids: Vec<(SID_MATCH, SID_REPLACE)>,
}

/// A VCMDQ and where it was given to.
#[derive(Clone, Copy, Debug, Default)]
struct Vcmdq {
    ring: Ring,
    allocation: CMDQ_ALLOC,
}

impl Cmdqv {
    pub(super) fn new(param: PARAM) -> Self {
        let vintf = Vintf {
            config: VCONFIG(0),
            sids: vec![(SID_MATCH(0), SID_REPLACE(0)); param.sids().min(16) as usize],
        };
        Self {
            param,
            queues: vec![Vcmdq::default(); param.vcmdqs().min(128) as usize],
            vintfs: vec![vintf; param.vintfs().min(64) as usize],
        }
    }

    /// A register was written. Says what that means for which queue, and to which VINTF that queue belongs.
    pub(super) fn written(&mut self, offset: u64, value: u64, most: u64) -> Option<(u16, u8, Change)> {
        let (queue, reg) = match Place::decode(offset, self.param) {
            Place::CmdqAlloc { q } => {
                self.queues[usize::from(q)].allocation = CMDQ_ALLOC(value);
                return None;
            }
            Place::Vintf { v, reg: VintfReg::CONFIG } => {
                self.vintfs[usize::from(v)].configure(VCONFIG(value));
                return None;
            }
            Place::SidMatch { v, s } => {
                self.vintfs[usize::from(v)].sids[usize::from(s)].0 = SID_MATCH(value);
                return None;
            }
            Place::SidReplace { v, s } => {
                self.vintfs[usize::from(v)].sids[usize::from(s)].1 = SID_REPLACE(value);
                return None;
            }
            Place::Direct { q, reg } => (usize::from(q), reg),
            Place::Logical { v, l, reg } => (self.given(v, l)?, reg),
            _ => return None,
        };
        let vcmdq = &mut self.queues[queue];
        let change = match reg {
            QueueReg::Page0(QueuePage0::PROD) => vcmdq.ring.set_prod(PROD(value).wr()),
            QueueReg::Page0(QueuePage0::CONFIG) => vcmdq.ring.set_enabled(CONFIG(value).cmdq_en()),
            QueueReg::Page0(QueuePage0::CONS) => {
                vcmdq.ring.set_cons(CONS(value).rd());
                None
            }
            QueueReg::Page1 { reg: QueuePage1::BASE, upper: false } => {
                vcmdq.ring.set_log2size(BASE(value).log2size(), most);
                None
            }
            _ => None,
        };
        change.map(|change| (queue as u16, vcmdq.allocation.vintf() as u8, change))
    }

    pub(super) fn consumed(&mut self, queue: u16, index: u32) {
        if let Some(vcmdq) = self.queues.get_mut(usize::from(queue)) {
            vcmdq.ring.consumed(index);
        }
    }

    /// What a command in a queue of a VINTF stands for: what must be executed, whatever is.
    pub(super) fn meant(&self, vintf: u8, raw: Command) -> Command {
        self.vintfs.get(usize::from(vintf)).map_or(raw, |vintf| vintf.meant(raw))
    }

    fn given(&self, v: u8, l: u8) -> Option<usize> {
        let is = |a: CMDQ_ALLOC| a.allocated() && (a.vintf(), a.lvcmdq()) == (v.into(), l.into());
        self.queues.iter().position(|q| is(q.allocation))
    }
}

impl Vintf {
    /// VMID and HYP_OWN are in force from when it is enabled.
    fn configure(&mut self, config: VCONFIG) {
        let begins = !self.config.en() && config.en();
        self.config = if begins { config } else { self.config.with_en(config.en()) };
    }

    fn meant(&self, raw: Command) -> Command {
        if self.config.hyp_own() {
            return raw;
        }
        match raw.op() {
            Opcode::TLBI_NH_ALL
            | Opcode::TLBI_NH_ASID
            | Opcode::TLBI_NH_VA
            | Opcode::TLBI_NH_VAA
            | Opcode::TLBI_S12_VMALL
            | Opcode::TLBI_S2_IPA => raw.with_vmid(self.config.vmid()),
            Opcode::ATC_INV => {
                let slot = self.sids.iter().find(|(m, _)| m.enable() && m.virt_sid() == raw.sid());
                slot.map_or(raw, |(_, replace)| raw.with_sid(replace.phys_sid()))
            }
            _ => raw,
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_guests_command_is_its_own() {
        let offset = |name: &str| name.parse::<Place>().unwrap().offset().unwrap();
        let config = |vmid, hyp_own| VCONFIG(0).with_en(true).with_vmid(vmid).with_hyp_own(hyp_own).0;
        let slot = |name: &str, virt| {
            (format!("VINTF5.{name}"), SID_MATCH(0).with_enable(true).with_virt_sid(virt).0)
        };
        let replace = |name: &str, phys| (format!("VINTF5.{name}"), SID_REPLACE(0).with_phys_sid(phys).0);
        let vintf = |value| ("VINTF5.CONFIG".to_owned(), value);
        let (tlbi, s2, atc) = (
            |vmid| Command::tlbi_nh_asid(1, vmid),
            |vmid| Command::tlbi_s2_ipa(vmid, 0x1000, true),
            |sid| Command::atc_inv(sid, None, 0, 0),
        );
        let mut c = Cmdqv::new(PARAM(0x4671));
        // What is written, then a command and what it stands for.
        for (row, (written, raw, want)) in [
            (vec![vintf(config(7, false))], tlbi(0), tlbi(7)),
            (vec![], s2(3), s2(7)),
            (vec![], Command::sync(), Command::sync()),
            (vec![], atc(0x10), atc(0x10)),
            (vec![slot("SID_MATCH3", 0x10), replace("SID_REPLACE3", 0x99)], atc(0x10), atc(0x99)),
            (vec![], atc(0x11), atc(0x11)),
            (vec![slot("SID_MATCH1", 0x10), replace("SID_REPLACE1", 0x88)], atc(0x10), atc(0x88)),
            (vec![("VINTF5.SID_MATCH1".to_owned(), 0)], atc(0x10), atc(0x99)),
            (vec![vintf(config(8, true))], tlbi(0), tlbi(7)), // it is enabled
            (vec![vintf(0), vintf(config(8, true))], tlbi(0), tlbi(0)),
            (vec![], atc(0x10), atc(0x10)),
        ]
        .into_iter()
        .enumerate()
        {
            for (name, value) in written {
                c.written(offset(&name), value, 19);
            }
            assert_eq!(c.meant(5, raw), want, "row {row}");
        }
        assert_eq!(c.meant(4, tlbi(9)), tlbi(0), "never configured");
    }

    #[test]
    fn both_apertures_reach_the_queue() {
        let mut c = Cmdqv::new(PARAM(0x4671));
        let offset = |name: &str| name.parse::<Place>().unwrap().offset().unwrap();
        let allocation = CMDQ_ALLOC(0).with_vintf(5).with_lvcmdq(1).with_allocated(true).0;
        let at = |change| Some((9, 5, change));
        for (row, (name, value, want)) in [
            ("VINTF5.LVCMDQ1.PROD", 3, None), // nobody's
            ("CMDQ_ALLOC9", allocation, None),
            ("VCMDQ9.BASE", 0x1_0000 | 3, None),
            ("VINTF5.LVCMDQ1.CONFIG", 1, at(Change::Restarted { cons: 0, prod: 0, log2size: 3 })),
            ("VINTF5.LVCMDQ1.PROD", 2, at(Change::Produced { prod: 2, log2size: 3 })),
            ("VCMDQ9.PROD", 5, at(Change::Produced { prod: 5, log2size: 3 })),
            ("VINTF4.LVCMDQ1.PROD", 6, None),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(c.written(offset(name), value, 19), want, "row {row}: {name}");
        }
    }
}

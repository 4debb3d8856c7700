//! The queues of a CMDQV, as writes to its registers show them.

use spec::cmdqv::config::{CMDQ_ALLOC, PARAM};
use spec::cmdqv::queue::{BASE, CONFIG, CONS, PROD};
use spec::cmdqv::{Place, QueuePage0, QueuePage1, QueueReg};

use super::ring::{Change, Ring};

/// A CMDQV.
#[derive(Debug)]
pub(super) struct Cmdqv {
    param: PARAM,
    queues: Vec<Vcmdq>,
}

/// A VCMDQ and where it was given to.
#[derive(Clone, Copy, Debug, Default)]
struct Vcmdq {
    ring: Ring,
    allocation: CMDQ_ALLOC,
}

impl Cmdqv {
    pub(super) fn new(param: PARAM) -> Self {
        Self { param, queues: vec![Vcmdq::default(); param.vcmdqs().min(128) as usize] }
    }

    /// A register was written. Says what that means for which queue, and to which VINTF that queue belongs.
    pub(super) fn written(&mut self, offset: u64, value: u64, most: u64) -> Option<(u16, u8, Change)> {
        let (queue, reg) = match Place::decode(offset, self.param) {
            Place::CmdqAlloc { q } => {
                self.queues[usize::from(q)].allocation = CMDQ_ALLOC(value);
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

    fn given(&self, v: u8, l: u8) -> Option<usize> {
        let is = |a: CMDQ_ALLOC| a.allocated() && (a.vintf(), a.lvcmdq()) == (v.into(), l.into());
        self.queues.iter().position(|q| is(q.allocation))
    }
}

#[cfg(test)]
mod test {
    use super::*;

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

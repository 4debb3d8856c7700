//! A pSMMU as writes to its registers and its own records show it: what it acts on, what its Event queue holds.

use oracle::Registers;
use spec::regs::{Block, RegFile};
use spec::smmu::page0::{
    CMDQ_BASE, CMDQ_CONS, CMDQ_PROD, CR0, CR0ACK, EVENTQ_BASE, EVENTQ_IRQ_CFG0, EVENTQ_IRQ_CFG1, GBPA,
    GERROR, GERRORN, IDR1, IDR5, IRQ_CTRL, IRQ_CTRLACK,
};
use spec::smmu::page1::{self, EVENTQ_CONS, EVENTQ_PROD};
use spec::smmu::{GlobalError, Page0, Page1};

use super::cmdqv::Cmdqv;
use super::facts::SmmuFact;
use super::ring::{Change, Ring};

/// Registers of a pSMMU as the judge knows them.
#[derive(Debug)]
pub(super) struct Mirror {
    pub(super) page0: RegFile<Page0>,
    pub(super) page1: RegFile<Page1>,
    /// GBPA as it acts on traffic.
    gbpa: GBPA,
    /// Service Failure Mode.
    pub(super) failed: bool,
    ring: Ring,
    pub(super) cmdqv: Option<Cmdqv>,
    event_line: Option<u32>,
    pub(super) page_line: Option<u32>,
    pub(super) version2: bool,
    /// Where the Event queue's messages go, or zero.
    pub(super) message_to: u64,
}

/// What a register write means to the judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meaning {
    Nothing,
    /// [`Mirror::registers`] may have changed.
    Acting,
    /// Of the command queue.
    Queue(Change),
    /// Both.
    Started(Change),
    /// Software has answered to the overflow flag.
    OverflowSeen,
}

impl Mirror {
    pub(super) fn new(fact: &SmmuFact) -> Self {
        let mut page0 = RegFile::reset();
        for (reg, value) in [
            (Page0::IDR0, fact.idr0),
            (Page0::IDR1, fact.idr1),
            (Page0::IDR3, fact.idr3),
            (Page0::IDR5, fact.idr5),
        ] {
            page0.set_raw(reg, value);
        }
        Self {
            gbpa: page0.get(),
            failed: false,
            page0,
            page1: RegFile::reset(),
            ring: Ring::default(),
            cmdqv: fact.cmdqv.map(|param| Cmdqv::new(spec::cmdqv::config::PARAM(param))),
            event_line: fact.event_line,
            page_line: fact.page_line,
            version2: fact.version2,
            message_to: 0,
        }
    }

    /// What decides how traffic is treated and what is told, right now.
    pub(super) fn registers(&self) -> Registers {
        let ctrl = IRQ_CTRL(self.page0.get::<IRQ_CTRL>().0 & self.page0.get::<IRQ_CTRLACK>().0);
        Registers {
            cr0: CR0(self.page0.get::<CR0ACK>().0).with_eventqen(self.records_events()),
            cr2: self.page0.get(),
            gbpa: self.gbpa,
            irq_ctrl: ctrl,
            strtab_base: self.page0.get(),
            strtab_base_cfg: self.page0.get(),
            failed: self.failed,
        }
    }

    /// A queue that is on its way to either state is not used.
    fn records_events(&self) -> bool {
        !self.failed && self.page0.get::<CR0>().eventqen() && self.page0.get::<CR0ACK>().eventqen()
    }

    /// log2 of the largest command queue.
    pub(super) fn commands_max(&self) -> u64 {
        self.page0.get::<IDR1>().cmdqs()
    }

    /// Software wrote a register; `value` is what it holds now.
    pub(super) fn written(&mut self, offset: u32, value: u64) -> Meaning {
        if let Some(reg) = offset.checked_sub(page1::BASE as u32).and_then(Page1::decode) {
            return self.written_page1(reg, value);
        }
        let Some(reg) = Page0::decode(offset) else { return Meaning::Nothing };
        self.page0.set_raw(reg, value);
        match reg {
            Page0::CR0 => match self.ring.set_enabled(CR0(value).cmdqen()) {
                Some(change) => Meaning::Started(change),
                None => Meaning::Acting,
            },
            Page0::CR2 | Page0::IRQ_CTRL | Page0::STRTAB_BASE | Page0::STRTAB_BASE_CFG => Meaning::Acting,
            Page0::CMDQ_PROD => {
                self.ring.set_prod(CMDQ_PROD(value).wr()).map_or(Meaning::Nothing, Meaning::Queue)
            }
            Page0::CMDQ_CONS => {
                self.ring.set_cons(CMDQ_CONS(value).rd());
                Meaning::Nothing
            }
            Page0::CMDQ_BASE => {
                self.ring.set_log2size(CMDQ_BASE(value).log2size(), self.commands_max());
                Meaning::Nothing
            }
            Page0::EVENTQ_IRQ_CFG0 => {
                self.message_to = EVENTQ_IRQ_CFG0(value).addr();
                Meaning::Nothing
            }
            _ => Meaning::Nothing,
        }
    }

    fn written_page1(&mut self, reg: Page1, value: u64) -> Meaning {
        let was_active = self.overflows();
        self.page1.set_raw(reg, value);
        if was_active && !self.overflows() { Meaning::OverflowSeen } else { Meaning::Nothing }
    }

    /// The SMMU acknowledged.
    pub(super) fn updated(&mut self, offset: u32, value: u64) {
        let Some(reg) = Page0::decode(offset) else { return };
        self.page0.set_raw(reg, value);
        if reg == Page0::GBPA {
            self.gbpa = GBPA(value);
        }
    }

    /// CONS of the command queue passed this entry.
    pub(super) fn consumed(&mut self, index: u32) {
        self.ring.consumed(index);
    }

    /// The SMMU published a record. Was its queue empty before?
    pub(super) fn event_written(&mut self) -> bool {
        let log2size = self.page0.get::<EVENTQ_BASE>().log2size().min(self.page0.get::<IDR1>().eventqs());
        let mask = (2 << log2size) - 1;
        let prod: EVENTQ_PROD = self.page1.get();
        let was_empty = (prod.wr() ^ self.page1.get::<EVENTQ_CONS>().rd()) & mask == 0;
        self.page1.set(prod.with_wr((prod.wr() + 1) & mask));
        was_empty
    }

    /// The SMMU dropped a record. Did that make the queue overflow?
    pub(super) fn event_dropped(&mut self) -> bool {
        let failed = self.is_active(GlobalError::EVENTQ_ABT_ERR);
        if !self.records_events() || failed || self.overflows() {
            return false;
        }
        let prod: EVENTQ_PROD = self.page1.get();
        self.page1.set(prod.with_ovflg(!prod.ovflg()));
        true
    }

    fn overflows(&self) -> bool {
        self.page1.get::<EVENTQ_PROD>().ovflg() != self.page1.get::<EVENTQ_CONS>().ovackflg()
    }

    pub(super) fn is_active(&self, error: GlobalError) -> bool {
        (self.page0.get::<GERROR>().0 ^ self.page0.get::<GERRORN>().0) & error.mask() != 0
    }

    /// An error became active.
    pub(super) fn failed(&mut self, error: GlobalError) {
        let gerror: GERROR = self.page0.get();
        self.page0.set(GERROR(gerror.0 ^ error.mask()));
        self.failed |= error == GlobalError::SFM_ERR;
    }

    /// Where a message goes that software has sent to `addr`: without the bits beyond the output address size.
    pub(super) fn reached(&self, addr: u64) -> u64 {
        let bits = [32, 36, 40, 42, 44, 48, 52];
        let oas = bits.get(self.page0.get::<IDR5>().oas() as usize).copied().unwrap_or(64);
        addr & (u64::MAX >> (64 - oas))
    }

    /// Whether an interrupt of this SMMU is that of its Event queue.
    pub(super) fn is_event_interrupt(&self, intid: u32) -> bool {
        if self.message_to == 0 {
            self.event_line == Some(intid)
        } else {
            self.page0.get::<EVENTQ_IRQ_CFG1>().data() == u64::from(intid)
        }
    }
}

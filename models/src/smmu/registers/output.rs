//! The queues that the SMMU writes, as the registers show them.

use spec::smmu::page0::{CR0, CR0ACK, EVENTQ_BASE, PRIQ_BASE};
use spec::smmu::page1::{EVENTQ_CONS, EVENTQ_PROD, PRIQ_CONS, PRIQ_PROD};
use spec::smmu::{EventRecord, GlobalError, PageRequest};

use super::Registers;
use crate::smmu::ring::{Fill, Ring};

/// A queue that the SMMU writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// The Event queue.
    Event,
    /// The PRI queue.
    Page,
}

impl Output {
    /// The error that an aborted write raises. While it is active nothing is written.
    pub const fn abort_error(self) -> GlobalError {
        match self {
            Self::Event => GlobalError::EVENTQ_ABT_ERR,
            Self::Page => GlobalError::PRIQ_ABT_ERR,
        }
    }
    /// An overflow that is not acknowledged keeps further entries out of the PRI queue (IHI 0070, 8.1), not of the Event
    /// queue (7.4).
    pub const fn stops_on_overflow(self) -> bool {
        matches!(self, Self::Page)
    }
}

impl Registers {
    /// Whether a queue is enabled: set, and not on its way to clear. SMMUEN=0 disables the PRI queue, too (IHI 0070, 8.2).
    pub fn output_enabled(&self, queue: Output) -> bool {
        let cr0 = CR0(self.get::<CR0>().0 & self.get::<CR0ACK>().0);
        let enabled = match queue {
            Output::Event => cr0.eventqen(),
            Output::Page => cr0.priqen() && cr0.smmuen(),
        };
        enabled && !self.failed
    }
    /// Geometry of a queue.
    pub fn output_ring(&self, queue: Output) -> Ring {
        let features = &self.features;
        let (base, log2size, max, entry) = match queue {
            Output::Event => {
                let base = self.get::<EVENTQ_BASE>();
                (base.addr(), base.log2size(), features.eventqs, EventRecord::BYTES)
            }
            Output::Page => {
                let base = self.get::<PRIQ_BASE>();
                (base.addr(), base.log2size(), features.priqs, PageRequest::BYTES)
            }
        };
        Ring::new(features.truncated(base), log2size as u8, max, entry.ilog2() as u8)
    }
    /// PROD; both queues have the same fields there.
    fn prod(&self, queue: Output) -> EVENTQ_PROD {
        match queue {
            Output::Event => self.page1.get(),
            Output::Page => EVENTQ_PROD(self.page1.get::<PRIQ_PROD>().0),
        }
    }
    fn set_prod(&mut self, queue: Output, prod: EVENTQ_PROD) {
        match queue {
            Output::Event => self.page1.set(prod),
            Output::Page => self.page1.set(PRIQ_PROD(prod.0)),
        }
    }
    /// CONS, likewise.
    fn cons(&self, queue: Output) -> EVENTQ_CONS {
        match queue {
            Output::Event => self.page1.get(),
            Output::Page => EVENTQ_CONS(self.page1.get::<PRIQ_CONS>().0),
        }
    }
    /// PROD.WR.
    pub fn output_prod(&self, queue: Output) -> u32 {
        self.prod(queue).wr() as u32
    }
    /// CONS.RD.
    pub fn output_cons(&self, queue: Output) -> u32 {
        self.cons(queue).rd() as u32
    }
    /// The device moves PROD.WR.
    pub fn set_output_prod(&mut self, queue: Output, pointer: u32) {
        self.set_prod(queue, self.prod(queue).with_wr(pointer.into()));
    }
    /// How full a queue is as software sees it.
    pub fn output_fill(&self, queue: Output) -> Fill {
        self.output_ring(queue).fill(self.output_prod(queue), self.output_cons(queue))
    }
    /// Whether an overflow is shown that software has not acknowledged.
    pub fn has_overflow(&self, queue: Output) -> bool {
        self.prod(queue).ovflg() != self.cons(queue).ovackflg()
    }
    /// An entry was lost because the queue was full: OVFLG toggles unless an overflow is already shown.
    pub fn overflow(&mut self, queue: Output) {
        if !self.has_overflow(queue) {
            let prod = self.prod(queue);
            self.set_prod(queue, prod.with_ovflg(!prod.ovflg()));
        }
    }
}

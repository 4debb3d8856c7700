//! Interrupts: which source, whether it is enabled, and whether it leaves as a message or on a wire.

use spec::smmu::GlobalError;
use spec::smmu::page0::{
    EVENTQ_IRQ_CFG0, EVENTQ_IRQ_CFG1, GERROR_IRQ_CFG0, GERROR_IRQ_CFG1, IRQ_CTRL, IRQ_CTRLACK, PRIQ_IRQ_CFG0,
    PRIQ_IRQ_CFG1,
};

use super::features::Features;
use super::registers::Registers;
use crate::bus::PhysAddr;

/// Numbers of the wired interrupts; `None` where nothing is wired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Event queue became non-empty.
    pub eventq: Option<u32>,
    /// PRI queue.
    pub priq: Option<u32>,
    /// A CMD_SYNC with SIG_IRQ completed.
    pub cmdq_sync: Option<u32>,
    /// A global error became active.
    pub gerror: Option<u32>,
}

/// What raises an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Event queue became non-empty.
    Event,
    /// PRI queue.
    Page,
    /// A global error became active.
    GlobalError,
    /// A CMD_SYNC completed.
    Sync,
}

impl Source {
    /// The error that an aborted message of this source raises.
    pub fn abort_error(self) -> GlobalError {
        match self {
            Self::Event => GlobalError::MSI_EVENTQ_ABT_ERR,
            Self::Page => GlobalError::MSI_PRIQ_ABT_ERR,
            Self::GlobalError => GlobalError::MSI_GERROR_ABT_ERR,
            Self::Sync => GlobalError::MSI_CMDQ_ABT_ERR,
        }
    }
}

/// How an interrupt leaves the SMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Raise {
    /// A 32-bit write.
    Message {
        /// Where.
        addr: PhysAddr,
        /// What.
        data: u32,
    },
    /// An edge of a wire.
    Wire(u32),
}

impl Raise {
    /// A message if one is configured, which goes no further than the output address size, else an edge if there is a wire.
    pub(super) fn choose(addr: PhysAddr, data: u64, wire: Option<u32>, features: &Features) -> Option<Self> {
        if addr == 0 {
            return wire.map(Self::Wire);
        }
        Some(Self::Message { addr: features.truncated(addr), data: data as u32 })
    }

    /// What an enabled source does: a message if one is configured, else an edge if there is a wire. The completion of
    /// a CMD_SYNC carries its own message, see [`Raise::sync`].
    pub fn of(source: Source, registers: &Registers, lines: &Lines) -> Option<Self> {
        let enable = IRQ_CTRL(registers.get::<IRQ_CTRL>().0 & registers.get::<IRQ_CTRLACK>().0);
        let r = registers;
        let (enabled, addr, data, wire) = match source {
            Source::Event => (
                enable.eventq_irqen(),
                r.get::<EVENTQ_IRQ_CFG0>().addr(),
                r.get::<EVENTQ_IRQ_CFG1>().data(),
                lines.eventq,
            ),
            Source::Page => (
                enable.priq_irqen(),
                r.get::<PRIQ_IRQ_CFG0>().addr(),
                r.get::<PRIQ_IRQ_CFG1>().data(),
                lines.priq,
            ),
            Source::GlobalError => (
                enable.gerror_irqen(),
                r.get::<GERROR_IRQ_CFG0>().addr(),
                r.get::<GERROR_IRQ_CFG1>().data(),
                lines.gerror,
            ),
            Source::Sync => return lines.cmdq_sync.map(Self::Wire),
        };
        if enabled { Self::choose(addr, data, wire, registers.features()) } else { None }
    }

    /// What a completed CMD_SYNC with SIG_IRQ does: an edge if there is a wire, and its message, if it has one (IHI 0070, 4.7.3).
    pub fn sync(addr: Option<PhysAddr>, data: u32, lines: &Lines) -> impl Iterator<Item = Self> + use<> {
        let message = addr.map(|addr| Self::Message { addr, data });
        // The edge first: an abort of the message is another interrupt.
        lines.cmdq_sync.map(Self::Wire).into_iter().chain(message)
    }
}

#[cfg(test)]
mod test {
    use super::super::features::{Features, IdrProfile};
    use super::*;
    use spec::regs::Block;
    use spec::smmu::Page0;

    #[test]
    fn message_wire_or_nothing() {
        let lines = Lines { eventq: Some(74), ..Lines::default() };
        for (addr, enable, want) in [
            (0x800, 4, Some(Raise::Message { addr: 0x800, data: 7 })),
            (0, 4, Some(Raise::Wire(74))),
            (0x800, 3, None),
        ] {
            let mut r = Registers::new(Features::new(IdrProfile::STANDARD).unwrap());
            r.write(Page0::EVENTQ_IRQ_CFG0.offset(), 8, addr);
            r.write(Page0::EVENTQ_IRQ_CFG1.offset(), 4, 7);
            r.write(Page0::IRQ_CTRL.offset(), 4, enable);
            assert_eq!(Raise::of(Source::Event, &r, &lines), None, "not before the ACK");
            r.complete_irq_ctrl(enable);
            assert_eq!(Raise::of(Source::Event, &r, &lines), want);
            assert_eq!(Raise::of(Source::GlobalError, &r, &lines), None, "no message and no wire");
        }
    }
}

//! Faults of the environment: what a broken pSMMU would do. Faults of StreamID replacement are options of the CMDQV.

use spec::smmu::{Command, CommandError};

use super::Metrics;
use crate::smmu::Control;
use crate::smmu::engine::{self, Work};

/// Which occurrences of something go wrong. Occurrences are counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Which {
    /// None.
    #[default]
    Never,
    /// One.
    Nth(u64),
    /// This one and all later ones.
    From(u64),
    /// Beginning with this one, so many in a row.
    Range(u64, u64),
}

/// What goes wrong in a pSMMU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PsmmuFaults {
    /// This TLBI command is consumed without removing anything.
    pub drop_tlbi: Which,
    /// This CFGI command is consumed without removing anything.
    pub drop_cfgi: Which,
    /// This CMD_SYNC completes without waiting for transactions in flight or their events.
    pub early_sync: Which,
    /// This event record disappears before it is written.
    pub lose_event: Which,
    /// This interrupt (event, global error, CMD_SYNC, CMDQV) does not leave.
    pub lose_interrupt: Which,
    /// This read of command queue entries is aborted.
    pub abort_command_fetch: Which,
    /// This ATC invalidation is never answered.
    pub lose_atc_invalidation: Which,
    /// This read of a table or structure is aborted.
    pub abort_read: Which,
    /// This command, of any queue, counts as illegal, as if it had been damaged on its way.
    pub corrupt_command: Which,
    /// No command is taken from any queue.
    pub stalled: bool,
    /// This VINTF never reports that it is enabled.
    pub stuck_vintf: Option<u8>,
}

/// Counts the occurrences of one thing and says which go wrong.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trigger {
    which: Which,
    seen: u64,
}

impl Trigger {
    pub(crate) fn new(which: Which) -> Self {
        Self { which, seen: 0 }
    }
    /// One more occurrence. Does it go wrong?
    #[inline]
    pub(crate) fn strikes(&mut self) -> bool {
        self.seen += 1;
        match self.which {
            Which::Never => false,
            Which::Nth(n) => self.seen == n,
            Which::From(n) => self.seen >= n,
            Which::Range(n, times) => (n..n.saturating_add(times)).contains(&self.seen),
        }
    }
}

/// Triggers of all faults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Triggers {
    pub(crate) tlbi: Trigger,
    pub(crate) cfgi: Trigger,
    pub(crate) sync: Trigger,
    pub(crate) event: Trigger,
    pub(crate) interrupt: Trigger,
    pub(crate) fetch: Trigger,
    pub(crate) atc: Trigger,
    pub(crate) read: Trigger,
    pub(crate) command: Trigger,
}

impl Triggers {
    pub(crate) fn new(faults: &PsmmuFaults) -> Self {
        Self {
            tlbi: Trigger::new(faults.drop_tlbi),
            cfgi: Trigger::new(faults.drop_cfgi),
            sync: Trigger::new(faults.early_sync),
            event: Trigger::new(faults.lose_event),
            interrupt: Trigger::new(faults.lose_interrupt),
            fetch: Trigger::new(faults.abort_command_fetch),
            atc: Trigger::new(faults.lose_atc_invalidation),
            read: Trigger::new(faults.abort_read),
            command: Trigger::new(faults.corrupt_command),
        }
    }
    /// What a command means, unless it arrives damaged.
    pub(crate) fn decode(&mut self, command: &Command, control: &Control) -> Result<Work, CommandError> {
        if self.command.strikes() { Err(CommandError::CERROR_ILL) } else { engine::decode(command, control) }
    }
    /// Counts an interrupt that is to leave. Is it lost?
    pub(crate) fn interrupt_is_lost(&mut self, metrics: &mut Metrics) -> bool {
        let lost = self.interrupt.strikes();
        let counter = if lost { &mut metrics.interrupts_lost } else { &mut metrics.interrupts };
        *counter += 1;
        lost
    }
    /// Other faults from now on. Occurrences of what has changed are counted anew.
    pub(crate) fn change(&mut self, faults: &PsmmuFaults) {
        let new = Self::new(faults);
        for (old, new) in [
            (&mut self.tlbi, new.tlbi),
            (&mut self.cfgi, new.cfgi),
            (&mut self.sync, new.sync),
            (&mut self.event, new.event),
            (&mut self.interrupt, new.interrupt),
            (&mut self.fetch, new.fetch),
            (&mut self.atc, new.atc),
            (&mut self.read, new.read),
            (&mut self.command, new.command),
        ] {
            if old.which != new.which {
                *old = new;
            }
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn counts_from_one() {
        for (which, want) in [
            (Which::Never, [false; 4]),
            (Which::Nth(1), [true, false, false, false]),
            (Which::Nth(3), [false, false, true, false]),
            (Which::From(2), [false, true, true, true]),
            (Which::Range(2, 2), [false, true, true, false]),
        ] {
            let mut trigger = Trigger::new(which);
            assert_eq!([(); 4].map(|()| trigger.strikes()), want, "{which:?}");
        }
    }
}

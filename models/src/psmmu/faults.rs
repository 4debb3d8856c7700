//! Faults of the environment: what a broken pSMMU would do, its CMDQV included.

use spec::smmu::{Command, CommandError};

use super::Metrics;
use crate::cmdqv::{self, SwappedSlots, Vintfs};
use crate::faults::{CommandTrigger, Trigger};
pub use crate::faults::{Which, WhichCommands};
use crate::record::CommandQueue;
use crate::smmu::Control;
use crate::smmu::engine::{self, Work};

/// What goes wrong in a pSMMU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PsmmuFaults {
    /// This TLBI command is consumed without removing anything.
    pub drop_tlbi: WhichCommands,
    /// This CFGI command is consumed without removing anything.
    pub drop_cfgi: WhichCommands,
    /// This CMD_SYNC completes without waiting for anything. With time that is transactions in flight and their events, and
    /// the answers of endpoints; without, the invalidations in front of it, which are done when the next command is taken.
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
    /// This command counts as illegal, as if it had been damaged on its way.
    pub corrupt_command: WhichCommands,
    /// When it is to take this command, the SMMU finds that it has lost its internal consistency: it enters Service
    /// Failure Mode for good.
    pub fail: Which,
    /// No command is taken from any queue.
    pub stalled: bool,
    /// This VINTF never reports that it is enabled.
    pub stuck_vintf: Option<u8>,
    /// StreamID replacement exchanges two slots of a VINTF.
    pub swapped_sid_slots: Option<SwappedSlots>,
    /// TLBI commands of these VINTFs keep the VMID that their owner wrote, unless the owner is the hypervisor.
    pub keep_guest_vmid: Vintfs,
    /// ATC invalidations of these VINTFs keep the StreamID that their owner wrote, likewise.
    pub keep_guest_sid: Vintfs,
}

impl PsmmuFaults {
    /// Tells a CMDQV of those that are its own.
    pub(crate) fn tell(&self, cmdqv: &mut cmdqv::Faults) {
        cmdqv.stuck_vintf = self.stuck_vintf;
        cmdqv.swapped_sid_slots = self.swapped_sid_slots;
        cmdqv.keep_guest_vmid = self.keep_guest_vmid;
        cmdqv.keep_guest_sid = self.keep_guest_sid;
    }
}

/// Triggers of all faults.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Triggers {
    pub(crate) tlbi: CommandTrigger,
    pub(crate) cfgi: CommandTrigger,
    pub(crate) sync: Trigger,
    pub(crate) event: Trigger,
    pub(crate) interrupt: Trigger,
    pub(crate) fetch: Trigger,
    pub(crate) atc: Trigger,
    pub(crate) read: Trigger,
    pub(crate) command: CommandTrigger,
    pub(crate) failure: Trigger,
}

impl Triggers {
    pub(crate) fn new(faults: &PsmmuFaults) -> Self {
        Self {
            tlbi: CommandTrigger::new(faults.drop_tlbi),
            cfgi: CommandTrigger::new(faults.drop_cfgi),
            sync: Trigger::new(faults.early_sync),
            event: Trigger::new(faults.lose_event),
            interrupt: Trigger::new(faults.lose_interrupt),
            fetch: Trigger::new(faults.abort_command_fetch),
            atc: Trigger::new(faults.lose_atc_invalidation),
            read: Trigger::new(faults.abort_read),
            command: CommandTrigger::new(faults.corrupt_command),
            failure: Trigger::new(faults.fail),
        }
    }
    /// What a command means, unless it arrives damaged.
    pub(crate) fn decode(
        &mut self,
        command: &Command,
        queue: CommandQueue,
        control: &Control,
    ) -> Result<Work, CommandError> {
        if self.command.strikes(queue, command.op()) {
            Err(CommandError::CERROR_ILL)
        } else {
            engine::decode(command, control)
        }
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
        self.tlbi.change(faults.drop_tlbi);
        self.cfgi.change(faults.drop_cfgi);
        self.sync.change(faults.early_sync);
        self.event.change(faults.lose_event);
        self.interrupt.change(faults.lose_interrupt);
        self.fetch.change(faults.abort_command_fetch);
        self.atc.change(faults.lose_atc_invalidation);
        self.read.change(faults.abort_read);
        self.command.change(faults.corrupt_command);
        self.failure.change(faults.fail);
    }
}

//! The Tegra241 command queue virtualization block, as a function without a clock.
//!
//! ```text
//!   write/read (MMIO) --> registers --> queues: Fetch --> fetched --> take --> (engine) --> retire --> CONS
//!                                          |                           |
//!                          Handshake, InterruptEdge, WriteBack     admission: opcode, VMID, StreamID
//! ```
//!
//! Every call may leave [`Effect`]s behind; the driver drains them with [`Cmdqv::poll`] and answers those that carry a
//! [`Ticket`] whenever it likes, in any order. That is where time comes from. The block never executes a command: it hands the head
//! of a ready queue out by [`Cmdqv::take`] and is told by [`Cmdqv::retire`] how it went.
//!
//! *Invariant:* whatever software does through MMIO or ring memory ends in a register value, an error of its own queue or
//! an [`Effect::Lint`], never in a panic. Wrong tickets are mistakes of the driver and do panic.

use std::collections::{BTreeMap, VecDeque};

use bitvec::prelude::{BitVec, bitvec};
use bitvec::slice::BitSlice;
use spec::cmdqv::config::{CONFIG, PARAM};
use spec::cmdqv::region_bytes;
use spec::smmu::Command;
use spec::smmu::error::CommandError;

use crate::bus::{Abort, Data, PhysAddr};
use crate::record::CommandQueue;
use crate::smmu::arbiter::Limits;

mod admission;
mod alloc;
mod config;
mod erratum;
mod errors;
pub mod knobs;
mod metrics;
mod mmio;
pub mod provenance;
mod pump;
mod queue;
mod vintf;

#[cfg(test)]
mod functional;
#[cfg(test)]
mod random;
#[cfg(test)]
mod test;

pub use config::{CmdqvConfig, Faults, SwappedSlots, Vintfs};
pub(crate) use erratum::Repeats;
pub use knobs::Knobs;
pub use metrics::Metrics;

use alloc::Allocation;
use knobs::{AutoSync, ResetEnable};
use queue::Queue;
use vintf::{Switch, Vintf};

/// Ties an answer to the [`Effect`] that asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u32);

/// What the block wants or says. Drain with [`Cmdqv::poll`] after every call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Read `len` bytes (at most a line, within a line); answer with [`Cmdqv::fetched`].
    Fetch {
        /// For the answer.
        ticket: Ticket,
        /// First byte, physical.
        addr: PhysAddr,
        /// Number of bytes.
        len: u8,
    },
    /// Write four bytes after the effects of the commands consumed so far; answer with [`Cmdqv::written_back`].
    WriteBack {
        /// For the answer.
        ticket: Ticket,
        /// First byte, physical; a multiple of 4.
        addr: PhysAddr,
        /// CONS.
        value: u32,
    },
    /// One rising edge on the block's interrupt wire.
    InterruptEdge,
    /// A CONFIG write is on its way to STATUS; answer with [`Cmdqv::handshake_done`].
    Handshake {
        /// For the answer.
        ticket: Ticket,
    },
    /// A queue stopped with an error. For observers.
    Error {
        /// The queue.
        queue: CommandQueue,
        /// Index in the ring, without wrap bit.
        index: u32,
        /// CONS.ERR.
        code: CommandError,
        /// The command, if it could be read.
        raw: Option<Command>,
    },
    /// Software did something that is not defined; what, and what this model does. For observers.
    Lint(String),
}

/// A command on its way to execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Always a VCMDQ.
    pub queue: CommandQueue,
    /// Index in the ring, without wrap bit.
    pub index: u32,
    /// As read from the ring.
    pub raw: Command,
    /// With VMID and StreamID replaced where the owner requires it.
    pub executed: Command,
}

/// What a ticket stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    Block,
    Vintf(u8),
    Queue(u16),
    Fetch(u16),
    WriteBack(u16),
}

/// One block.
#[derive(Clone, Debug)]
pub struct Cmdqv {
    config: CmdqvConfig,
    param: PARAM,
    /// CONFIG except CMDQV_EN, which `switch` holds.
    fields: CONFIG,
    switch: Switch,
    filter: [u32; 2],
    /// VINTF_INT_MASK.
    int_mask: u64,
    vintfs: Vec<Vintf>,
    /// The CMDQ_ALLOC table as stored.
    allocations: Vec<Allocation>,
    queues: Vec<Queue>,
    ready: BitVec,
    effects: VecDeque<Effect>,
    pending: BTreeMap<Ticket, Pending>,
    next_ticket: u32,
    smmu_enabled: bool,
    metrics: Metrics,
}

impl Cmdqv {
    /// A block after reset. Panics if [`CmdqvConfig::check`] fails.
    pub fn new(config: CmdqvConfig) -> Self {
        config.check().expect("a checked configuration");
        let (vintfs, vcmdqs) = (config.vintfs(), config.vcmdqs());
        Self {
            param: config.param(),
            fields: CONFIG(config.reset_config.into()).with_cmdqv_en(false),
            switch: Switch::at(config.knobs.reset_enable == ResetEnable::Enabled),
            filter: [0; 2],
            int_mask: 0,
            vintfs: vec![Vintf::new(config.sids(), vcmdqs); vintfs],
            allocations: vec![Allocation::default(); vcmdqs],
            queues: vec![Queue::default(); vcmdqs],
            ready: bitvec![0; vcmdqs],
            effects: VecDeque::new(),
            pending: BTreeMap::new(),
            next_ticket: 0,
            smmu_enabled: true,
            metrics: Metrics::new(vcmdqs),
            config,
        }
    }

    /// Size of the register region in bytes.
    pub fn size(&self) -> u64 {
        region_bytes(self.param.vintfs())
    }

    /// What it was made with.
    pub fn config(&self) -> &CmdqvConfig {
        &self.config
    }

    /// Defects, to be changed while the block runs.
    pub fn faults_mut(&mut self) -> &mut Faults {
        &mut self.config.faults
    }
    /// The VINTF that a queue is allocated to.
    pub fn vintf_of(&self, queue: usize) -> Option<u8> {
        self.allocations.get(queue).filter(|a| a.allocated).map(|a| a.vintf)
    }

    /// Counters since reset.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The next effect, oldest first.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether nothing is under way: no effect unpolled, no ticket unanswered, no command in execution, none ready.
    pub fn is_idle(&self) -> bool {
        self.effects.is_empty()
            && self.pending.is_empty()
            && self.ready.not_any()
            && self.queues.iter().all(|q| q.in_execution.is_none())
    }

    /// Whether the head of this queue can be taken.
    pub fn is_ready(&self, queue: u16) -> bool {
        self.ready.get(usize::from(queue)).is_some_and(|b| *b)
    }

    /// The queues whose head can be taken, by global index.
    pub fn ready_queues(&self) -> &BitSlice {
        &self.ready
    }

    /// Whether this queue is in use: enabled, or on its way to or from it.
    pub fn is_enabled(&self, queue: u16) -> bool {
        self.queues.get(usize::from(queue)).is_some_and(|q| q.phase != queue::Phase::Off)
    }

    /// Commands between CONS and PROD of a queue, without the one in execution; 0 while it does not run.
    pub fn backlog(&self, queue: u16) -> u32 {
        self.queues.get(usize::from(queue)).filter(|q| q.runs()).map_or(0, Queue::waiting)
    }

    /// How long the arbiter may stay with one queue.
    pub fn limits(&self) -> Limits {
        let clocks = self.fields.cmdq_max_clk_batch() as u32 * self.config.knobs.clock_batch.clocks();
        Limits {
            commands: (self.fields.cmdq_max_cmd_batch() as u32).max(1),
            clocks: clocks.into(),
            auto_sync: self.config.knobs.auto_sync == AutoSync::On,
            policy: self.config.arbitration,
        }
    }

    /// Tells whether the SMMU has both CR0.SMMUEN and CR0.CMDQEN set, for K14. Initially taken as set.
    pub fn set_smmu_enabled(&mut self, enabled: bool) {
        if self.smmu_enabled != enabled {
            self.smmu_enabled = enabled;
            self.refresh_all();
        }
    }

    /// Answers [`Effect::Fetch`] with exactly the bytes asked for, or an abort.
    pub fn fetched(&mut self, ticket: Ticket, data: Result<Data, Abort>) {
        let Pending::Fetch(q) = self.redeem(ticket) else { panic!("{ticket:?} is not a fetch") };
        self.queue_mut(q).fetch_done(ticket, data);
        self.refresh(q);
    }

    /// Answers [`Effect::WriteBack`].
    pub fn written_back(&mut self, ticket: Ticket, result: Result<(), Abort>) {
        let Pending::WriteBack(q) = self.redeem(ticket) else { panic!("{ticket:?} is not a write-back") };
        self.queue_mut(q).writing_back = false;
        if result.is_err() {
            self.write_back_aborted(q);
        }
        self.refresh(q);
    }

    /// Answers [`Effect::Handshake`].
    pub fn handshake_done(&mut self, ticket: Ticket) {
        match self.redeem(ticket) {
            Pending::Block => {
                self.switch.ticket = None;
                self.switch.acknowledged = true;
                self.settle_block();
            }
            Pending::Vintf(v) => {
                let stuck = self.config.faults.stuck_vintf == Some(v);
                let switch = &mut self.vintfs[usize::from(v)].switch;
                switch.ticket = None;
                switch.acknowledged = !stuck;
                self.settle_vintf(v);
            }
            Pending::Queue(q) => self.queue_handshake_done(q),
            other => panic!("{ticket:?} is {other:?}, not a handshake"),
        }
    }

    /// Whether answering this handshake would only bring the next one, because the VINTF is stuck
    /// ([`Faults::stuck_vintf`]). Who has no time to pass between the two keeps the ticket until that is over.
    pub fn is_stuck(&self, ticket: Ticket) -> bool {
        match self.pending.get(&ticket) {
            Some(Pending::Vintf(v)) => {
                let switch = &self.vintfs[usize::from(*v)].switch;
                self.config.faults.stuck_vintf == Some(*v) && switch.enable != switch.status
            }
            _ => false,
        }
    }

    fn issue(&mut self, pending: Pending) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let old = self.pending.insert(ticket, pending);
        assert!(old.is_none(), "{ticket:?} is still in use");
        ticket
    }

    fn redeem(&mut self, ticket: Ticket) -> Pending {
        self.pending
            .remove(&ticket)
            .unwrap_or_else(|| panic!("{ticket:?} was not issued, or was answered before"))
    }

    fn queue(&self, q: u16) -> &Queue {
        &self.queues[usize::from(q)]
    }

    fn queue_mut(&mut self, q: u16) -> &mut Queue {
        &mut self.queues[usize::from(q)]
    }

    fn lint(&mut self, text: impl Into<String>) {
        self.metrics.lints += 1;
        self.effects.push_back(Effect::Lint(text.into()));
    }
}

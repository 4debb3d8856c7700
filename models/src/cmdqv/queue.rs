//! One VCMDQ: registers, the run of commands fetched ahead, the command in execution.

use std::collections::VecDeque;

use spec::smmu::Command;

use super::{Taken, Ticket};
use crate::bus::{Abort, Data, LINE, PhysAddr};
use crate::smmu::ring::{Fill, Ring};

/// Where a queue is visible besides the direct aperture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) vintf: u8,
    pub(super) logical: u8,
}

/// How far a queue is between CONFIG and STATUS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// STATUS is 0.
    #[default]
    Off,
    /// All conditions hold; the handshake is under way, STATUS is 0.
    Starting,
    /// STATUS is 1.
    Running,
    /// A condition is gone; STATUS is 1 until the handshake is done and nothing is under way.
    Stopping { acknowledged: bool },
}

/// What a fetch brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    Command(Command),
    Abort,
}

/// A fetch under way.
#[derive(Clone, Debug)]
struct Fetch {
    ticket: Ticket,
    count: u32,
    data: Option<Result<Data, Abort>>,
}

/// The command in execution.
#[derive(Clone, Copy, Debug)]
pub(super) struct InExecution {
    pub(super) taken: Taken,
    /// STATUS became 0 in the meantime (an injected defect): the result no longer concerns the queue.
    pub(super) orphan: bool,
}

/// A VCMDQ.
#[derive(Clone, Debug, Default)]
pub(super) struct Queue {
    /// CONS.RD with its wrap bit.
    pub(super) cons: u32,
    /// CONS.ERR.
    pub(super) cons_error: u8,
    /// PROD.WR with its wrap bit.
    pub(super) prod: u32,
    /// CONFIG.CMDQ_EN.
    pub(super) enable: bool,
    /// GERROR, toggled by hardware.
    pub(super) gerror: u8,
    /// GERRORN, written by software.
    pub(super) gerrorn: u8,
    /// BASE as stored.
    pub(super) base: u64,
    /// CONS_INDX_BASE as stored.
    pub(super) cons_base: u64,
    /// The mapping in force, if any.
    pub(super) slot: Option<Slot>,
    /// The mapping is older than the last disable of the block.
    pub(super) stale: bool,
    /// It was mapped when the block was disabled, and CMDQ_EN has not been written since: whatever the registers hold is the
    /// last owner's, and even a new mapping does not let it run.
    pub(super) dormant: bool,
    pub(super) phase: Phase,
    /// The ring sampled when STATUS was set.
    pub(super) ring: Ring,
    /// Owner when STATUS was set.
    pub(super) served: Option<Slot>,
    /// K11 Drain: PROD at the moment of the disable.
    pub(super) drain_to: Option<u32>,
    /// K10: registers to be cleared as soon as the queue is off.
    pub(super) clear_when_off: bool,
    pub(super) fetched: VecDeque<Entry>,
    fetches: VecDeque<Fetch>,
    /// Fetches under way whose data is no longer wanted.
    discarded: u32,
    pub(super) in_execution: Option<InExecution>,
    /// A CONS write-back is under way.
    pub(super) writing_back: bool,
    /// CONS has changed since the last write-back began.
    pub(super) write_back_due: bool,
}

impl Queue {
    /// Bits of GERROR that software has not acknowledged, or that it made differ by itself.
    pub(super) fn active(&self) -> u8 {
        self.gerror ^ self.gerrorn
    }
    /// STATUS.CMDQ_ENABLED.
    pub(super) fn status(&self) -> bool {
        matches!(self.phase, Phase::Running | Phase::Stopping { .. })
    }
    /// Whether commands may be fetched and executed.
    pub(super) fn runs(&self) -> bool {
        let on = match self.phase {
            Phase::Running => true,
            Phase::Stopping { .. } => self.drain_to.is_some(),
            Phase::Off | Phase::Starting => false,
        };
        on && self.active() == 0
    }
    /// Where consumption ends for now.
    fn end(&self) -> u32 {
        self.drain_to.unwrap_or(self.prod)
    }
    /// Entries from CONS to PROD; a PROD that is too far ahead counts as full.
    pub(super) fn occupancy(&self) -> u32 {
        match self.ring.fill(self.end(), self.cons) {
            Fill::Inconsistent => self.ring.slots(),
            fill => fill.entries(&self.ring),
        }
    }
    /// Whether PROD is further ahead than the ring is long.
    pub(super) fn overfull(&self) -> bool {
        self.ring.fill(self.prod, self.cons) == Fill::Inconsistent
    }
    /// Commands taken, fetched or being fetched.
    fn claimed(&self) -> u32 {
        let taken = self.in_execution.as_ref().is_some_and(|e| !e.orphan);
        u32::from(taken) + self.fetched.len() as u32 + self.fetches.iter().map(|f| f.count).sum::<u32>()
    }
    /// Entries left for execution after the command in execution.
    pub(super) fn waiting(&self) -> u32 {
        let taken = self.in_execution.as_ref().is_some_and(|e| !e.orphan);
        self.occupancy().saturating_sub(u32::from(taken))
    }
    /// The next fetch: address and number of commands. It stays within a line, the ring and the prefetch depth.
    pub(super) fn next_fetch(&self, burst: u8, depth: u16) -> Option<(PhysAddr, u32)> {
        if !self.runs() || self.fetched.back() == Some(&Entry::Abort) {
            return None;
        }
        let claimed = self.claimed();
        let at = self.ring.advance(self.cons, claimed);
        let wanted = self.occupancy().saturating_sub(claimed).min(burst.into());
        let room = u32::from(depth).saturating_sub(claimed);
        // A short fetch for want of room would waste the bus: wait until a whole burst fits.
        let count = self.ring.run(at, wanted, LINE as u64);
        (count > 0 && count <= room).then_some((self.ring.address(at), count))
    }
    /// Notes a fetch that goes out.
    pub(super) fn fetch_sent(&mut self, ticket: Ticket, count: u32) {
        self.fetches.push_back(Fetch { ticket, count, data: None });
    }
    /// Takes what a fetch brought; answers may come in any order.
    pub(super) fn fetch_done(&mut self, ticket: Ticket, data: Result<Data, Abort>) {
        match self.fetches.iter_mut().find(|f| f.ticket == ticket) {
            Some(fetch) => fetch.data = Some(data),
            None => self.discarded -= 1,
        }
        while let Some(data) = self.fetches.front().and_then(|f| f.data) {
            let count = self.fetches.pop_front().expect("there is a front").count;
            if self.fetched.back() == Some(&Entry::Abort) {
                continue;
            }
            match data {
                Ok(data) => {
                    let commands = data.bytes().chunks_exact(Command::BYTES).map(Command::from_bytes);
                    let before = self.fetched.len();
                    self.fetched.extend(commands.map(Entry::Command));
                    assert_eq!(self.fetched.len() - before, count as usize, "a fetch is answered in full");
                }
                Err(Abort) => self.fetched.push_back(Entry::Abort),
            }
        }
    }
    /// Forgets everything that was read ahead of execution.
    pub(super) fn drop_prefetched(&mut self) {
        self.fetched.clear();
        self.discarded += self.fetches.iter().filter(|f| f.data.is_none()).count() as u32;
        self.fetches.clear();
    }
    /// Lets an aborted fetch be repeated.
    pub(super) fn forget_abort(&mut self) {
        if self.fetched.back() == Some(&Entry::Abort) {
            self.fetched.pop_back();
        }
    }
    /// Whether something was read, or is being read, that PROD no longer covers.
    pub(super) fn prefetched_too_far(&self) -> bool {
        self.claimed() > self.occupancy()
    }
    /// Whether no fetch, execution or write-back is left.
    pub(super) fn is_still(&self) -> bool {
        self.fetches.is_empty()
            && self.discarded == 0
            && self.in_execution.is_none()
            && !self.writing_back
            && !self.write_back_due
    }
    /// Whether it is still and has nothing to drain.
    pub(super) fn is_quiet(&self) -> bool {
        self.is_still() && (self.drain_to.is_none() || self.occupancy() == 0 || self.active() != 0)
    }
    /// Whether the arbiter may take a command.
    pub(super) fn is_ready(&self) -> bool {
        self.runs() && self.in_execution.is_none() && matches!(self.fetched.front(), Some(Entry::Command(_)))
    }
    /// Whether the next command could not be read.
    pub(super) fn head_aborted(&self) -> bool {
        self.runs() && self.in_execution.is_none() && self.fetched.front() == Some(&Entry::Abort)
    }
}

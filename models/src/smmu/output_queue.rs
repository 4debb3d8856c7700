//! A queue that the SMMU writes: commit, write, publish; overflow, aborts, and whether it was empty.
//!
//! ```text
//!   entry --commit--> [committed, in order] --next_write--> memory --written--> PROD moves --> interrupt
//!            | full: OVFLG toggles             | aborted: a global error, the rest is lost
//! ```

use std::collections::VecDeque;

use super::registers::{Output, Registers};
use super::ring::Fill;
use crate::bus::{Abort, PhysAddr};

/// What such a queue holds.
pub trait Entry: Copy {
    /// The queue.
    const QUEUE: Output;
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will be written.
    Committed,
    /// The queue was full, or stands still after an overflow; the overflow flag shows it.
    Overflowed,
    /// The queue is disabled or has failed.
    Discarded,
}

/// What a finished write of an entry means.
#[derive(Debug, PartialEq, Eq)]
pub struct Published<E> {
    /// The entry that is visible now, unless the write was aborted.
    pub entry: Option<E>,
    /// The queue was empty before.
    pub interrupt: bool,
    /// Entries that are lost because of an abort.
    pub lost: Vec<E>,
    /// The error of aborted writes became active.
    pub failed: bool,
}

/// Entries on their way to memory. The queue itself lies in memory and in the registers.
#[derive(Clone, Debug)]
pub struct OutputQueue<E> {
    committed: VecDeque<E>,
    writing: bool,
    /// An overflow that must not show before the full queue does.
    overflowed: bool,
    commits: u64,
    settled: u64,
}

impl<E> Default for OutputQueue<E> {
    fn default() -> Self {
        Self { committed: VecDeque::new(), writing: false, overflowed: false, commits: 0, settled: 0 }
    }
}

impl<E: Entry> OutputQueue<E> {
    /// Whether an entry could be committed now.
    pub fn is_writable(&self, registers: &Registers) -> bool {
        Self::is_running(registers) && !self.is_stopped(registers) && !self.is_full(registers)
    }

    fn is_running(registers: &Registers) -> bool {
        registers.output_enabled(E::QUEUE) && !registers.is_active(E::QUEUE.abort_error())
    }

    fn is_stopped(&self, registers: &Registers) -> bool {
        E::QUEUE.stops_on_overflow() && (self.overflowed || registers.has_overflow(E::QUEUE))
    }

    fn is_full(&self, registers: &Registers) -> bool {
        let ring = registers.output_ring(E::QUEUE);
        let prod = ring.advance(registers.output_prod(E::QUEUE), self.committed.len() as u32);
        ring.fill(prod, registers.output_cons(E::QUEUE)).is_full()
    }

    /// Takes an entry that must be written now or not at all.
    pub fn commit(&mut self, entry: E, registers: &mut Registers) -> Verdict {
        if self.is_writable(registers) {
            self.committed.push_back(entry);
            self.commits += 1;
            return Verdict::Committed;
        }
        if !Self::is_running(registers) {
            return Verdict::Discarded;
        }
        if self.committed.is_empty() {
            registers.overflow(E::QUEUE);
        } else {
            self.overflowed = true;
        }
        Verdict::Overflowed
    }

    /// The next write to start, if none is under way.
    pub fn next_write(&mut self, registers: &Registers) -> Option<(PhysAddr, E)> {
        if self.writing {
            return None;
        }
        let entry = *self.committed.front()?;
        self.writing = true;
        Some((registers.output_ring(E::QUEUE).address(registers.output_prod(E::QUEUE)), entry))
    }

    /// The write under way has been answered.
    pub fn written(&mut self, result: Result<(), Abort>, registers: &mut Registers) -> Published<E> {
        self.writing = false;
        let entry = self.committed.pop_front().expect("an entry was being written");
        if result == Err(Abort) {
            let mut lost = vec![entry];
            lost.extend(self.committed.drain(..));
            self.settled += lost.len() as u64;
            let failed = registers.raise(E::QUEUE.abort_error());
            self.overflowed = false;
            return Published { entry: None, interrupt: false, lost, failed };
        }
        self.settled += 1;
        let ring = registers.output_ring(E::QUEUE);
        let interrupt = registers.output_fill(E::QUEUE) == Fill::Empty;
        registers.set_output_prod(E::QUEUE, ring.advance(registers.output_prod(E::QUEUE), 1));
        if self.committed.is_empty() && std::mem::take(&mut self.overflowed) {
            registers.overflow(E::QUEUE);
        }
        Published { entry: Some(entry), interrupt, lost: Vec::new(), failed: false }
    }

    /// Drops what is committed, but for the write under way.
    pub fn abandon(&mut self) -> Vec<E> {
        let lost: Vec<_> = self.committed.drain(usize::from(self.writing)..).collect();
        self.settled += lost.len() as u64;
        self.overflowed = false;
        lost
    }

    /// Number of entries ever committed. Once [`OutputQueue::settled`] has reached it, all of them are visible or lost.
    pub fn commits(&self) -> u64 {
        self.commits
    }
    /// Number of committed entries that are visible or lost.
    pub fn settled(&self) -> u64 {
        self.settled
    }
    /// Whether no committed entry is still to be written.
    pub fn is_idle(&self) -> bool {
        self.committed.is_empty()
    }
}

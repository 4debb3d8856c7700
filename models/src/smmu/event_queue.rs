//! The Event queue: commit, write, publish; overflow, aborts, and when to interrupt.
//!
//! ```text
//!   record --commit--> [committed, in order] --next_write--> memory --written--> PROD moves --> interrupt
//!             | full: OVFLG toggles          | aborted: EVENTQ_ABT_ERR, the rest is lost
//! ```

use std::collections::VecDeque;

use spec::smmu::{EventRecord, GlobalError};

use super::registers::Registers;
use crate::bus::{Abort, PhysAddr};

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It will be written.
    Committed,
    /// The queue was full; the overflow flag shows it.
    Overflowed,
    /// The queue is disabled or has failed.
    Discarded,
}

/// What a finished write of a record means.
#[derive(Debug, PartialEq, Eq)]
pub struct Published {
    /// The record that is visible now, unless the write was aborted.
    pub record: Option<EventRecord>,
    /// The queue was empty before.
    pub interrupt: bool,
    /// Records that are lost because of an abort.
    pub lost: Vec<EventRecord>,
    /// EVENTQ_ABT_ERR became active.
    pub failed: bool,
}

/// Records on their way to memory. The queue itself lies in memory and in the registers.
#[derive(Clone, Debug, Default)]
pub struct EventQueue {
    committed: VecDeque<EventRecord>,
    writing: bool,
    /// An overflow that must not show before the full queue does.
    overflowed: bool,
    commits: u64,
    settled: u64,
}

impl EventQueue {
    /// Whether a record could be committed now.
    pub fn is_writable(&self, registers: &Registers) -> bool {
        registers.events_enabled()
            && !registers.is_active(GlobalError::EVENTQ_ABT_ERR)
            && !self.is_full(registers)
    }

    fn is_full(&self, registers: &Registers) -> bool {
        let ring = registers.event_ring();
        let prod = ring.advance(registers.event_prod(), self.committed.len() as u32);
        ring.fill(prod, registers.event_cons()).is_full()
    }

    /// Takes a record that terminates a transaction or reports its configuration.
    pub fn commit(&mut self, record: EventRecord, registers: &mut Registers) -> Verdict {
        if self.is_writable(registers) {
            self.committed.push_back(record);
            self.commits += 1;
            return Verdict::Committed;
        }
        if !registers.events_enabled() || registers.is_active(GlobalError::EVENTQ_ABT_ERR) {
            return Verdict::Discarded;
        }
        if self.committed.is_empty() {
            registers.overflow();
        } else {
            self.overflowed = true;
        }
        Verdict::Overflowed
    }

    /// The next write to start, if none is under way.
    pub fn next_write(&mut self, registers: &Registers) -> Option<(PhysAddr, EventRecord)> {
        if self.writing {
            return None;
        }
        let record = *self.committed.front()?;
        self.writing = true;
        Some((registers.event_ring().address(registers.event_prod()), record))
    }

    /// The write under way has been answered.
    pub fn written(&mut self, result: Result<(), Abort>, registers: &mut Registers) -> Published {
        self.writing = false;
        let record = self.committed.pop_front().expect("a record was being written");
        if result == Err(Abort) {
            let mut lost = vec![record];
            lost.extend(self.committed.drain(..));
            self.settled += lost.len() as u64;
            let failed = registers.raise(GlobalError::EVENTQ_ABT_ERR);
            self.overflowed = false;
            return Published { record: None, interrupt: false, lost, failed };
        }
        self.settled += 1;
        let ring = registers.event_ring();
        let interrupt = registers.event_fill() == super::ring::Fill::Empty;
        registers.set_event_prod(ring.advance(registers.event_prod(), 1));
        if self.committed.is_empty() && std::mem::take(&mut self.overflowed) {
            registers.overflow();
        }
        Published { record: Some(record), interrupt, lost: Vec::new(), failed: false }
    }

    /// Number of records ever committed. Once [`EventQueue::settled`] has reached it, all of them are visible or lost.
    pub fn commits(&self) -> u64 {
        self.commits
    }
    /// Number of committed records that are visible or lost.
    pub fn settled(&self) -> u64 {
        self.settled
    }
    /// Whether no committed record is still to be written.
    pub fn is_idle(&self) -> bool {
        self.committed.is_empty()
    }
}

#[cfg(test)]
mod test {
    use super::super::features::{Features, IdrProfile};
    use super::*;
    use spec::regs::Block;
    use spec::smmu::{EventNumber, Page0, page1};

    const PROD: u32 = page1::BASE as u32 + 0xa8;
    const CONS: u32 = page1::BASE as u32 + 0xac;
    const OVFLG: u64 = 1 << 31;

    /// An enabled queue of `1 << log2size` entries.
    fn enabled(log2size: u64) -> Registers {
        let mut r = Registers::new(Features::new(IdrProfile::STANDARD).unwrap());
        r.write(Page0::EVENTQ_BASE.offset(), 8, 0x8000_0000 | log2size);
        r.write(Page0::CR0.offset(), 4, 4);
        r.complete_cr0(4);
        r
    }
    fn record(n: u32) -> EventRecord {
        EventRecord::new(EventNumber::C_BAD_STE, n)
    }
    fn publish(q: &mut EventQueue, r: &mut Registers) -> Published {
        q.next_write(r).expect("a record waits");
        q.written(Ok(()), r)
    }

    #[test]
    fn interrupts_when_it_was_empty() {
        let (mut q, mut r) = (EventQueue::default(), enabled(2));
        for (n, interrupt) in [(0, true), (1, false)] {
            assert_eq!(q.commit(record(n), &mut r), Verdict::Committed);
            assert_eq!(q.next_write(&r), Some((0x8000_0000 + 32 * u64::from(n), record(n))));
            assert_eq!(q.next_write(&r), None, "one write at a time");
            assert_eq!(q.written(Ok(()), &mut r).interrupt, interrupt);
        }
        r.write(CONS, 4, 2);
        q.commit(record(2), &mut r);
        assert!(publish(&mut q, &mut r).interrupt, "software had drained the queue");
    }

    #[test]
    fn overflow_shows_after_the_full_queue_and_once() {
        let (mut q, mut r) = (EventQueue::default(), enabled(0));
        assert_eq!(q.commit(record(0), &mut r), Verdict::Committed);
        assert_eq!(q.commit(record(1), &mut r), Verdict::Overflowed);
        assert_eq!(r.read(PROD, 4), 0, "neither the record nor the overflow is visible");
        publish(&mut q, &mut r);
        assert_eq!(r.read(PROD, 4), 1 | OVFLG);
        assert_eq!(q.commit(record(2), &mut r), Verdict::Overflowed);
        assert_eq!(r.read(PROD, 4), 1 | OVFLG, "a second overflow changes nothing");
        r.write(CONS, 4, 1);
        assert_eq!(q.commit(record(3), &mut r), Verdict::Committed, "space suffices, acknowledged or not");
        publish(&mut q, &mut r);
        assert_eq!(r.read(PROD, 4), OVFLG);
        r.write(CONS, 4, 1 | OVFLG);
        q.commit(record(4), &mut r);
        assert_eq!(r.read(PROD, 4), 0, "after the acknowledgement it toggles again");
    }

    #[test]
    fn an_abort_loses_what_was_committed() {
        let (mut q, mut r) = (EventQueue::default(), enabled(3));
        q.commit(record(0), &mut r);
        q.commit(record(1), &mut r);
        q.next_write(&r);
        let published = q.written(Err(Abort), &mut r);
        assert_eq!((published.record, published.failed), (None, true));
        assert_eq!(published.lost, [record(0), record(1)]);
        assert_eq!((q.commits(), q.settled()), (2, 2));
        assert_eq!(q.commit(record(2), &mut r), Verdict::Discarded, "unwritable until acknowledged");
        r.write(Page0::GERRORN.offset(), 4, GlobalError::EVENTQ_ABT_ERR.mask());
        assert_eq!(q.commit(record(3), &mut r), Verdict::Committed);
    }

    #[test]
    fn a_disabled_queue_takes_nothing_and_does_not_overflow() {
        let (mut q, mut r) =
            (EventQueue::default(), Registers::new(Features::new(IdrProfile::STANDARD).unwrap()));
        assert_eq!(q.commit(record(0), &mut r), Verdict::Discarded);
        assert_eq!(r.read(PROD, 4), 0);
    }
}

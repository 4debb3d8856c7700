//! The Event queue.

use spec::smmu::EventRecord;

use super::output_queue::{Entry, OutputQueue};
use super::registers::Output;

pub use super::output_queue::Verdict;

/// Event records on their way to memory.
pub type EventQueue = OutputQueue<EventRecord>;

impl Entry for EventRecord {
    const QUEUE: Output = Output::Event;
}

#[cfg(test)]
mod test {
    use super::super::features::{Features, IdrProfile};
    use super::super::output_queue::Published;
    use super::super::registers::Registers;
    use super::*;
    use crate::bus::Abort;
    use spec::regs::Block;
    use spec::smmu::{EventNumber, GlobalError, Page0, page1};

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
    fn publish(q: &mut EventQueue, r: &mut Registers) -> Published<EventRecord> {
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
        assert_eq!((published.entry, published.failed), (None, true));
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

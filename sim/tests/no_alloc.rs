//! Once the number of pending events has been seen before, the queue allocates nothing.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sim::{DomainId, Key, Queue, Rng, Time};

/// The system's allocator, which counts what each thread asks for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came. The counter needs neither allocation nor drop.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(step: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    step();
    ALLOCATIONS.get() - before
}

type Event = [u64; 13];

/// Each popped event has one successor; every sixteenth comes as mail, and the queue's own mail is drained.
fn hold(queue: &mut Queue<Event>, rng: &mut Rng, delay_ps_max: u64, events: u64) {
    for n in 0..events {
        let (now, event) = queue.pop_before(Time::MAX).expect("every event has a successor");
        let time = now + Time::ps(rng.below(delay_ps_max));
        if n % 16 == 0 {
            queue.deliver(Key { time, source: DomainId(7), sequence: n }, event);
            queue.send(DomainId(7), time, event);
            assert_eq!(queue.drain_mail().count(), 1);
        } else {
            queue.push(time, event);
        }
        assert!(queue.next_time().is_some());
    }
}

#[test]
fn nothing_is_allocated_for_an_event() {
    assert!(allocations(|| drop(std::hint::black_box(Box::new(1)))) == 1, "the counter counts");
    for (pending, delay_ps_max) in [
        (1, 100_000),
        (16, 100_000),
        (4096, 100_000),
        // Everything in the open slot, in later turns, beyond the horizon.
        (256, 100),
        (4096, 10_000_000),
        (256, 20_000_000_000),
    ] {
        let mut queue = Queue::new(DomainId(0));
        let mut rng = Rng::new(1, "hold");
        // Heaps and the sorted slot come to their largest size once: when all events are in them.
        for time in [Time::ZERO, Time::ZERO, Time::ps(1), Time::ms(900)] {
            let filled = pending * 2;
            for _ in 0..filled {
                queue.push(queue.now() + time, [0; 13]);
            }
            for _ in 0..filled {
                queue.pop();
            }
        }
        for _ in 0..pending {
            queue.push(queue.now(), [0; 13]);
        }
        hold(&mut queue, &mut rng, delay_ps_max, 1000);
        let count = allocations(|| hold(&mut queue, &mut rng, delay_ps_max, 100_000));
        assert_eq!(count, 0, "{pending} pending events, up to {delay_ps_max} ps ahead");
    }
}

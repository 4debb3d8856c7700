//! HOLD: a constant number of pending events, each of which schedules one successor for a random actor. What is
//! measured is the event queue and next to nothing else, against a binary heap with the same keys and payload.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sim::{DomainId, Key, Queue, Rng, Time};

/// Events a sample handles, at least.
const EVENTS: u64 = 100_000;

/// As large as the events of the platform: a bus message with some data.
#[derive(Clone)]
struct Event {
    actor: u32,
    data: [u64; 12],
}

/// How far ahead an actor schedules: uniform between the two.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    delay_ps_min: u64,
    delay_ps_max: u64,
}

const LOADS: [Load; 2] = [
    Load { name: "dense", delay_ps_min: 1_000, delay_ps_max: 100_000 },
    Load { name: "sparse", delay_ps_min: 1_000, delay_ps_max: 10_000_000 },
];

/// What both queues can do.
trait Pending {
    fn push(&mut self, time: Time, event: Event);
    fn pop(&mut self) -> Option<(Time, Event)>;
}

impl Pending for Queue<Event> {
    fn push(&mut self, time: Time, event: Event) {
        Self::push(self, time, event);
    }
    fn pop(&mut self) -> Option<(Time, Event)> {
        Self::pop(self)
    }
}

/// The yardstick.
#[derive(Default)]
struct Heap {
    sequence: u64,
    heap: BinaryHeap<Reverse<Entry>>,
}

struct Entry(Key, Event);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

impl Pending for Heap {
    fn push(&mut self, time: Time, event: Event) {
        let key = Key { time, source: DomainId(0), sequence: self.sequence };
        self.sequence += 1;
        self.heap.push(Reverse(Entry(key, event)));
    }
    fn pop(&mut self) -> Option<(Time, Event)> {
        self.heap.pop().map(|Reverse(Entry(key, event))| (key.time, event))
    }
}

struct Hold<P> {
    pending: P,
    actors: Vec<u64>,
    rng: Rng,
    load: Load,
}

impl<P: Pending> Hold<P> {
    /// One event an actor, and a run long enough to forget the start.
    fn new(pending: P, actors: u32, load: Load) -> Self {
        let mut hold = Self { pending, actors: vec![0; actors as usize], rng: Rng::new(1, "hold"), load };
        for actor in 0..actors {
            let delay = hold.delay();
            hold.pending.push(delay, Event { actor, data: [0; 12] });
        }
        hold.run(u64::from(actors) * 20);
        hold
    }

    fn delay(&mut self) -> Time {
        let Load { delay_ps_min, delay_ps_max, .. } = self.load;
        Time::ps(delay_ps_min + self.rng.below(delay_ps_max - delay_ps_min))
    }

    /// Handles so many events. Equal for equal orders.
    fn run(&mut self, events: u64) -> u64 {
        let mut digest = 0_u64;
        for _ in 0..events {
            let (now, mut event) = self.pending.pop().expect("every event has a successor");
            let heard = &mut self.actors[event.actor as usize];
            *heard += 1;
            digest = digest.rotate_left(5) ^ now.as_ps() ^ u64::from(event.actor);
            event.data[(*heard % 12) as usize] ^= digest;
            event.actor = self.rng.below(self.actors.len() as u64) as u32;
            let delay = self.delay();
            self.pending.push(now + delay, event);
        }
        digest
    }
}

fn hold(criterion: &mut Criterion) {
    for load in LOADS {
        let mut group = criterion.benchmark_group(format!("hold/{}", load.name));
        group.sample_size(10).throughput(Throughput::Elements(EVENTS));
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_millis(1200));
        for actors in [16, 256, 4096] {
            let mut queue = Hold::new(Queue::new(DomainId(0)), actors, load);
            let mut heap = Hold::new(Heap::default(), actors, load);
            assert_eq!(queue.run(EVENTS), heap.run(EVENTS), "both queues keep the same order");
            group.bench_function(BenchmarkId::new("queue", actors), |b| {
                b.iter(|| black_box(queue.run(EVENTS)));
            });
            group
                .bench_function(BenchmarkId::new("heap", actors), |b| b.iter(|| black_box(heap.run(EVENTS))));
        }
        group.finish();
    }
}

criterion_group!(benches, hold);
criterion_main!(benches);

//! Domains in parallel: conservative windows as long as the shortest link between domains.
//!
//! ```text
//!   all: hand over mail | take mail, say when the next event is | run what happens before start + lookahead | again
//!                    barrier                                 barrier
//! ```
//!
//! What one domain sends arrives after the window it was sent in, so within a window no domain can disturb another.
//! Queues order by key, not by arrival: the number of threads changes no result.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::queue::{Key, Queue};
use crate::time::Time;

/// Components that share one queue and one thread.
pub trait Domain: Send {
    /// All that can happen in it, usually an enum with a variant for each kind of component.
    type Event: Send;
    /// Lets `event` happen, and files in `queue` what comes of it.
    fn dispatch(&mut self, now: Time, event: Self::Event, queue: &mut Queue<Self::Event>);
}

/// Runs all that happens before `until`, on up to `threads` threads. Results are the same for any number of them.
///
/// The domain at index `n` has the queue of `DomainId(n)`. `lookahead` is the shortest time from sending an event
/// to another domain until it happens there; it must not be zero. To send an event that happens earlier, or to
/// a domain that is not there, is a mistake of the caller and panics. A panic in a domain ends the run and is passed
/// on; when domains panic in several threads, that of the lowest domains is.
pub fn run_windows<D: Domain>(
    domains: &mut [(D, Queue<D::Event>)],
    lookahead: Time,
    until: Time,
    threads: usize,
) {
    assert!(lookahead > Time::ZERO, "without lookahead no window has room for an event");
    for (index, (_, queue)) in domains.iter().enumerate() {
        assert_eq!(usize::from(queue.domain().0), index, "a domain's place is its id");
    }
    if domains.is_empty() {
        return;
    }
    let share = domains.len().div_ceil(threads.clamp(1, domains.len()));
    let workers = domains.len().div_ceil(share);
    let run = Run {
        lookahead,
        until,
        barrier: Barrier::new(workers),
        next: (0..workers).map(|_| AtomicU64::new(0)).collect(),
        failed: AtomicBool::new(false),
        inboxes: domains.iter().map(|_| Mutex::new(Vec::new())).collect(),
    };
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let run = &run;
        let mut shares = domains.chunks_mut(share).enumerate().map(|(n, domains)| Worker {
            run,
            number: n,
            first: n * share,
            domains,
        });
        let own = shares.next();
        let threads: Vec<_> = shares.map(|worker| scope.spawn(|| worker.work())).collect();
        let own = own.map_or(Ok(()), Worker::work);
        let others = threads.into_iter().map(|thread| thread.join().and_then(|outcome| outcome));
        std::iter::once(own).chain(others).collect()
    });
    if let Some(panic) = outcomes.into_iter().find_map(Result::err) {
        resume_unwind(panic);
    }
}

/// Or what a panic said.
type Outcome = Result<(), Box<dyn Any + Send>>;

/// What the threads share. Barriers keep writers and readers apart.
struct Run<E> {
    lookahead: Time,
    until: Time,
    barrier: Barrier,
    /// For each worker: when its next event happens. Written only between taking mail and running.
    next: Vec<AtomicU64>,
    /// Whether a worker has panicked. Written when `next` is, so that all workers leave at the same place.
    failed: AtomicBool,
    /// For each domain: mail that it has not taken yet.
    inboxes: Vec<Mutex<Vec<(Key, E)>>>,
}

/// One thread's share of the domains.
struct Worker<'a, D: Domain> {
    run: &'a Run<D::Event>,
    number: usize,
    /// The index of the first of its domains.
    first: usize,
    domains: &'a mut [(D, Queue<D::Event>)],
}

impl<D: Domain> Worker<'_, D> {
    /// All windows. After a panic the worker still comes to the barriers, or the others would wait for ever.
    fn work(mut self) -> Outcome {
        let run = self.run;
        let mut outcome = Ok(());
        let mut end = Time::ZERO;
        loop {
            outcome = outcome.and_then(|()| attempt(|| self.hand_over_mail(end)));
            run.barrier.wait();
            outcome = outcome.and_then(|()| attempt(|| self.take_mail()));
            if outcome.is_err() {
                run.failed.store(true, Ordering::Relaxed);
            }
            run.barrier.wait();
            let start =
                run.next.iter().map(|next| next.load(Ordering::Relaxed)).min().map_or(Time::MAX, Time::ps);
            if start >= run.until || run.failed.load(Ordering::Relaxed) {
                return outcome;
            }
            end = run.until.min(start.saturating_add(run.lookahead));
            outcome = attempt(|| self.run_before(end));
        }
    }

    /// Puts what was sent in the window that ended at `end` into the inboxes.
    fn hand_over_mail(&mut self, end: Time) {
        for (_, queue) in self.domains.iter_mut() {
            for (to, key, event) in queue.drain_mail() {
                assert!(key.time >= end, "a link is shorter than the lookahead");
                let inbox =
                    self.run.inboxes.get(usize::from(to.0)).expect("mail goes to a domain of this run");
                inbox.lock().push((key, event));
            }
        }
    }

    /// Delivers what is in the inboxes and says when the next event happens.
    fn take_mail(&mut self) {
        let mut first = Time::MAX;
        for ((_, queue), inbox) in self.domains.iter_mut().zip(&self.run.inboxes[self.first..]) {
            for (key, event) in inbox.lock().drain(..) {
                queue.deliver(key, event);
            }
            first = first.min(queue.next_time().unwrap_or(Time::MAX));
        }
        self.run.next[self.number].store(first.as_ps(), Ordering::Relaxed);
    }

    fn run_before(&mut self, end: Time) {
        for (domain, queue) in self.domains.iter_mut() {
            while let Some((now, event)) = queue.pop_before(end) {
                domain.dispatch(now, event, queue);
            }
        }
    }
}

fn attempt(step: impl FnOnce()) -> Outcome {
    catch_unwind(AssertUnwindSafe(step))
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::queue::DomainId;
    use crate::rng::Rng;

    const LINK: Time = Time::ns(50);
    const UNTIL: Time = Time::us(20);

    /// Folds all it hears, keeps itself busy and now and then writes to a neighbour.
    struct Node {
        rng: Rng,
        digest: u64,
        heard: u64,
        ring: u16,
    }

    impl Domain for Node {
        type Event = u64;
        fn dispatch(&mut self, now: Time, event: u64, queue: &mut Queue<u64>) {
            self.heard += 1;
            self.digest =
                (self.digest.rotate_left(7) ^ event ^ now.as_ps()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let delay = Time::ps(self.rng.below(20_000));
            if self.rng.below(8) == 0 {
                let me = queue.domain().0;
                let to = DomainId((me + 1 + self.rng.below(2) as u16) % self.ring);
                // Whole links, so that mail from several domains meets at equal times.
                let edge = Time::ps(now.as_ps().div_ceil(1000) * 1000);
                queue.send(to, edge + LINK, self.digest);
            } else {
                queue.push(now + delay, self.digest >> 8);
            }
        }
    }

    fn ring(nodes: u16) -> Vec<(Node, Queue<u64>)> {
        (0..nodes)
            .map(|n| {
                let mut queue = Queue::new(DomainId(n));
                for event in 0..16 {
                    queue.push(Time::ns(event % 3), event);
                }
                (Node { rng: Rng::new(1, &format!("node{n}")), digest: 0, heard: 0, ring: nodes }, queue)
            })
            .collect()
    }

    fn digest(ring: &[(Node, Queue<u64>)]) -> u64 {
        ring.iter().fold(0, |sum, (node, queue)| {
            let pending = queue.len() as u64 ^ queue.next_time().map_or(0, Time::as_ps);
            (sum.rotate_left(11) ^ node.digest ^ node.heard ^ pending).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        })
    }

    fn run(nodes: u16, threads: usize) -> Vec<(Node, Queue<u64>)> {
        let mut ring = ring(nodes);
        run_windows(&mut ring, LINK, UNTIL, threads);
        ring
    }

    /// No windows and no threads: always the domain whose next event is first, and mail arrives at once.
    fn run_one_by_one(nodes: u16) -> Vec<(Node, Queue<u64>)> {
        let mut ring = ring(nodes);
        loop {
            let next = |(_, queue): &(Node, Queue<u64>)| queue.next_time().unwrap_or(Time::MAX);
            let first = ring.iter_mut().min_by_key(|domain| next(domain)).expect("a ring has nodes");
            let Some((now, event)) = first.1.pop_before(UNTIL) else { return ring };
            first.0.dispatch(now, event, &mut first.1);
            for (to, key, event) in first.1.take_mail() {
                ring[usize::from(to.0)].1.deliver(key, event);
            }
        }
    }

    /// The digests hold in debug and in release builds.
    #[test]
    fn threads_change_nothing() {
        for (nodes, want) in
            [(1, 0x4338_e490_03b5_b307), (2, 0x4549_277d_775d_90c0), (5, 0xfb24_5103_81b5_a693_u64)]
        {
            for threads in [1, 2, 3, 4, 64] {
                let ring = run(nodes, threads);
                assert_eq!(
                    digest(&ring),
                    digest(&run_one_by_one(nodes)),
                    "{nodes} domains, {threads} threads"
                );
                assert!(ring.iter().all(|(node, _)| node.heard > 10_000), "a node is idle");
                assert_eq!(digest(&ring), want, "{nodes} domains");
            }
        }
    }

    #[test]
    fn windows_may_be_shorter_than_links() {
        let want = digest(&run_one_by_one(4));
        for lookahead in [Time::ps(1_500), Time::ns(49), LINK] {
            let mut ring = ring(4);
            run_windows(&mut ring, lookahead, UNTIL, 2);
            assert_eq!(digest(&ring), want, "lookahead {lookahead}");
        }
    }

    #[test]
    fn a_run_can_be_continued() {
        let mut ring = ring(4);
        for until in [Time::ZERO, Time::ns(7), Time::us(3), Time::us(3), UNTIL] {
            run_windows(&mut ring, LINK, until, 2);
            assert!(ring.iter().all(|(_, queue)| queue.now() < until.max(Time::ps(1))));
        }
        assert_eq!(digest(&ring), digest(&run(4, 1)));
    }

    #[test]
    fn nothing_to_do_ends_at_once() {
        run_windows::<Node>(&mut [], LINK, Time::MAX, 4);
        let mut ring = ring(3);
        for (_, queue) in &mut ring {
            while queue.pop().is_some() {}
        }
        run_windows(&mut ring, LINK, Time::MAX, 2);
    }

    #[test]
    fn mistakes_panic_instead_of_hanging() {
        let said = |lookahead, neighbours: u16, threads| {
            let mut nodes = ring(4);
            for (node, _) in &mut nodes {
                node.ring = neighbours;
            }
            let panic =
                attempt(|| run_windows(&mut nodes, lookahead, UNTIL, threads)).expect_err("a mistake");
            panic
                .downcast_ref::<&str>()
                .map(ToString::to_string)
                .or(panic.downcast_ref::<String>().cloned())
                .unwrap()
        };
        for threads in [1, 2, 4] {
            assert_eq!(said(Time::ZERO, 4, threads), "without lookahead no window has room for an event");
            assert_eq!(said(LINK * 4, 4, threads), "a link is shorter than the lookahead");
            assert_eq!(said(LINK, 9, threads), "mail goes to a domain of this run");
        }
    }
}

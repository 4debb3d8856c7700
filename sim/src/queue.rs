//! The event queue of one domain. Order is total: (time, source domain, sequence).

use crate::time::Time;
use crate::wheel::Wheel;

/// A domain: components that share one queue and one thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u16);

/// The total order of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    /// When it happens.
    pub time: Time,
    /// Which domain caused it.
    pub source: DomainId,
    /// How many events that domain had caused before.
    pub sequence: u64,
}

/// The width of a slot unless told otherwise, as a power of two in picoseconds. In `benches/hold.rs` 5, 6 and 7 do not
/// differ by more than its noise; 9 sorts more and loses when thousands of events are dense.
const SLOT_BITS: u32 = 7;

/// Pending events of one domain, and mail for others.
#[derive(Debug)]
pub struct Queue<E> {
    me: DomainId,
    now: Time,
    sequence: u64,
    wheel: Wheel<E>,
    mail: Vec<(DomainId, Key, E)>,
}

impl<E> Queue<E> {
    /// An empty queue at time zero.
    pub fn new(me: DomainId) -> Self {
        Self::with_slot_bits(me, SLOT_BITS)
    }
    /// As [`Queue::new`], tuned: events within `2^slot_bits` ps of each other are sorted, events up to about
    /// `2^(slot_bits + 24)` ps ahead are filed in constant time, later ones in a heap. Order does not depend on it.
    /// `slot_bits` must be below 64.
    pub fn with_slot_bits(me: DomainId, slot_bits: u32) -> Self {
        Self { me, now: Time::ZERO, sequence: 0, wheel: Wheel::new(slot_bits), mail: Vec::new() }
    }
    /// Whose events these are.
    pub fn domain(&self) -> DomainId {
        self.me
    }
    /// The time of the event popped last.
    pub fn now(&self) -> Time {
        self.now
    }
    /// Number of pending events.
    pub fn len(&self) -> usize {
        self.wheel.len()
    }
    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// When the next event happens.
    pub fn next_time(&self) -> Option<Time> {
        self.wheel.first_time()
    }
    fn key(&mut self, time: Time) -> Key {
        let key = Key { time, source: self.me, sequence: self.sequence };
        self.sequence += 1;
        key
    }
    /// Files an event of this domain. `time` must not lie in the past.
    pub fn push(&mut self, time: Time, event: E) {
        assert!(time >= self.now, "an event cannot be filed in the past");
        let key = self.key(time);
        self.wheel.push(key, event);
    }
    /// Files an event for another domain; [`Queue::take_mail`] hands it over.
    pub fn send(&mut self, to: DomainId, time: Time, event: E) {
        let key = self.key(time);
        self.mail.push((to, key, event));
    }
    /// Files an event that another domain sent. Its time must not lie in the past.
    pub fn deliver(&mut self, key: Key, event: E) {
        assert!(key.time >= self.now, "mail cannot arrive in the past");
        self.wheel.push(key, event);
    }
    /// What this domain sent since the last call.
    pub fn take_mail(&mut self) -> Vec<(DomainId, Key, E)> {
        std::mem::take(&mut self.mail)
    }
    /// As [`Queue::take_mail`], and keeps the room for more.
    pub fn drain_mail(&mut self) -> std::vec::Drain<'_, (DomainId, Key, E)> {
        self.mail.drain(..)
    }
    /// The next event, if it happens before `end`.
    pub fn pop_before(&mut self, end: Time) -> Option<(Time, E)> {
        let popped = self.wheel.pop_before(end)?;
        self.now = popped.0;
        Some(popped)
    }
    /// The next event.
    pub fn pop(&mut self) -> Option<(Time, E)> {
        let popped = self.wheel.pop()?;
        self.now = popped.0;
        Some(popped)
    }
}

#[cfg(test)]
mod test {
    use std::cmp::Reverse;
    use std::collections::BinaryHeap;

    use proptest::prelude::*;

    use super::*;

    const ME: DomainId = DomainId(3);
    /// With slots of 256 ps.
    const SLOT: u64 = 256;
    const RING: u64 = 4096 * SLOT;
    const HORIZON: u64 = 4096 * RING;

    fn queue() -> Queue<u32> {
        Queue::with_slot_bits(ME, 8)
    }

    fn drain(queue: &mut Queue<u32>) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| {
            let next = queue.next_time();
            let popped = queue.pop();
            assert_eq!(next, popped.map(|(time, _)| time));
            popped
        })
        .map(|(time, event)| (time.as_ps(), event))
        .collect()
    }

    #[test]
    fn events_come_out_by_time_then_in_the_order_they_were_filed() {
        let max = u64::MAX;
        // Times to file, in this order, once the queue has reached the first number.
        for (reached, times, want) in [
            (0, &[0, 0, 0][..], &[0, 1, 2][..]),
            (0, &[5, 3, 5, 4], &[1, 3, 0, 2]),
            (0, &[255, 256, 0], &[2, 0, 1]),
            (0, &[RING, RING - 1, RING + 1], &[1, 0, 2]),
            (0, &[RING - SLOT, RING - SLOT - 1, RING - SLOT], &[1, 0, 2]),
            (0, &[max, max - 1, max, 1], &[3, 1, 0, 2]),
            (
                100 * SLOT + 7,
                &[RING + 99 * SLOT, RING + 100 * SLOT, 100 * SLOT + 7, 101 * SLOT],
                &[2, 3, 0, 1],
            ),
            (RING - 1, &[2 * RING - SLOT - 1, RING, 2 * RING - SLOT, RING - 1], &[3, 1, 0, 2]),
            (
                9 * RING + 4095 * SLOT,
                &[10 * RING + 4094 * SLOT, 10 * RING, 9 * RING + 4095 * SLOT],
                &[2, 1, 0],
            ),
            (0, &[HORIZON, HORIZON - 1, HORIZON, HORIZON + 1], &[1, 0, 2, 3]),
            (
                3 * RING + 5,
                &[HORIZON + 3 * RING, HORIZON + 3 * RING - 1, HORIZON + 2 * RING, 4 * RING],
                &[3, 2, 1, 0],
            ),
            (5 * HORIZON + RING, &[6 * HORIZON + RING, 6 * HORIZON + RING - 1, 6 * HORIZON], &[2, 1, 0]),
            (7 * HORIZON - 1, &[8 * HORIZON - RING, 7 * HORIZON, 8 * HORIZON - RING - 1], &[1, 2, 0]),
            (max - 1, &[max, max - 1, max], &[1, 0, 2]),
            (max, &[max, max], &[0, 1]),
        ] {
            let mut queue = queue();
            queue.push(Time::ps(reached), u32::MAX);
            assert_eq!(queue.pop(), Some((Time::ps(reached), u32::MAX)));
            for (n, time) in times.iter().enumerate() {
                queue.push(Time::ps(*time), n as u32);
            }
            let want: Vec<_> = want.iter().map(|n| (times[*n as usize], *n)).collect();
            assert_eq!(drain(&mut queue), want, "filed {times:?} at {reached}");
            assert!(queue.is_empty());
        }
    }

    #[test]
    fn mail_goes_by_its_source_at_equal_times() {
        for time in [0, 10, 300, RING, RING + 10, 7 * RING, HORIZON, 3 * HORIZON + 10] {
            let mail = |source, sequence| Key { time: Time::ps(time), source: DomainId(source), sequence };
            let mut queue = queue();
            queue.push(Time::ps(time), 30);
            queue.deliver(mail(9, 0), 90);
            queue.deliver(mail(1, 8), 18);
            queue.deliver(mail(1, 7), 17);
            queue.push(Time::ps(time), 31);
            let now = time;
            assert_eq!(queue.pop(), Some((Time::ps(time), 17)));
            // The slot is being drained: earlier sources still overtake.
            queue.deliver(mail(2, 0), 20);
            queue.push(Time::ps(time), 32);
            let want = [18, 20, 30, 31, 32, 90].map(|event| (now, event));
            assert_eq!(drain(&mut queue), want);
        }
    }

    #[test]
    fn events_filed_from_afar_mix_with_those_filed_from_near() {
        for far in [RING, 2 * RING, HORIZON, 3 * HORIZON + 5 * RING] {
            let mut queue = queue();
            queue.push(Time::ps(far + 10), 0);
            queue.push(Time::ps(far - 20 * SLOT), 1);
            assert_eq!(queue.pop(), Some((Time::ps(far - 20 * SLOT), 1)));
            queue.push(Time::ps(far + 11), 2);
            queue.push(Time::ps(far + 10), 3);
            queue.push(Time::ps(far + 9), 4);
            assert_eq!(drain(&mut queue), [(far + 9, 4), (far + 10, 0), (far + 10, 3), (far + 11, 2)]);
        }
    }

    #[test]
    fn a_window_ends_before_its_end() {
        for (time, end, popped) in [
            (0, 0, false),
            (0, 1, true),
            (300, 299, false),
            (300, 300, false),
            (300, 301, true),
            (300, 256, false),
            (300, 512, true),
            (2 * RING, 2 * RING, false),
            (2 * RING, 2 * RING + 1, true),
            (HORIZON, HORIZON, false),
            (HORIZON, HORIZON + 1, true),
            (u64::MAX, u64::MAX, false),
            (u64::MAX - 1, u64::MAX, true),
        ] {
            let mut queue = queue();
            queue.push(Time::ps(time), 0);
            assert_eq!(queue.pop_before(Time::ps(end)).is_some(), popped, "{time} before {end}");
            assert_eq!(queue.len(), usize::from(!popped));
            // Looking ahead closes no time.
            if !popped {
                queue.push(Time::ZERO, 1);
                assert_eq!(queue.pop(), Some((Time::ZERO, if time == 0 { 0 } else { 1 })));
            }
        }
    }

    #[test]
    #[should_panic(expected = "in the past")]
    fn nothing_is_filed_in_the_past() {
        let mut queue = queue();
        queue.push(Time::ps(10), 0);
        queue.pop();
        queue.push(Time::ps(9), 1);
    }

    #[test]
    #[should_panic(expected = "in the past")]
    fn no_mail_arrives_in_the_past() {
        let mut queue = queue();
        queue.push(Time::ps(10), 0);
        queue.pop();
        queue.deliver(Key { time: Time::ps(9), source: DomainId(0), sequence: 0 }, 1);
    }

    #[derive(Clone, Debug)]
    enum Step {
        /// Files an event so much later than now.
        Push(u64),
        /// Delivers mail of this source so much later than now.
        Deliver(u16, u64),
        Pop,
        /// Pops what happens less than so much later than now.
        PopBefore(u64),
    }

    fn delay() -> impl Strategy<Value = u64> {
        prop_oneof![
            4 => Just(0),
            4 => 0..4_u64,
            4 => 0..3 * SLOT,
            4 => (0..40_u64).prop_map(|n| n * 1000),
            2 => 0..RING,
            2 => (RING - 2 * SLOT)..(RING + 2 * SLOT),
            2 => (0..5_u64).prop_map(|n| n * RING),
            1 => RING..100 * RING,
            1 => (0..3_u64).prop_map(|n| n * HORIZON),
            1 => (HORIZON - 2 * RING)..(HORIZON + 2 * RING),
            1 => Just(1 << 60),
            1 => Just(u64::MAX),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => delay().prop_map(Step::Push),
            2 => (0..6_u16, delay()).prop_map(|(source, delay)| Step::Deliver(source, delay)),
            4 => Just(Step::Pop),
            2 => delay().prop_map(Step::PopBefore),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]
        #[test]
        fn order_is_that_of_a_sorted_list(
            steps in proptest::collection::vec(step(), 1..400), slot_bits in prop_oneof![Just(8_u32), 0..64_u32],
        ) {
            let mut queue = Queue::with_slot_bits(ME, slot_bits);
            let mut oracle = BinaryHeap::new();
            let mut own = 0;
            for (n, step) in (0_u32..).zip(steps) {
                let later = |delay| queue.now().saturating_add(Time::ps(delay));
                let pop = |oracle: &mut BinaryHeap<Reverse<(Key, u32)>>| {
                    oracle.pop().map(|Reverse((key, event))| (key.time, event))
                };
                match step {
                    Step::Push(delay) => {
                        let time = later(delay);
                        oracle.push(Reverse((Key { time, source: ME, sequence: own }, n)));
                        own += 1;
                        queue.push(time, n);
                    }
                    Step::Deliver(source, delay) => {
                        // Sources number down, so that mail arrives out of order; ME's own numbers stay its own.
                        let source = DomainId(if source == ME.0 { 6 } else { source });
                        let key = Key { time: later(delay), source, sequence: u64::from(u32::MAX - n) };
                        oracle.push(Reverse((key, n)));
                        queue.deliver(key, n);
                    }
                    Step::Pop => prop_assert_eq!(queue.pop(), pop(&mut oracle)),
                    Step::PopBefore(delay) => {
                        let end = later(delay);
                        let due = oracle.peek().is_some_and(|Reverse((key, _))| key.time < end);
                        let want = if due { pop(&mut oracle) } else { None };
                        prop_assert_eq!(queue.pop_before(end), want);
                    }
                }
                prop_assert_eq!(queue.len(), oracle.len());
                prop_assert_eq!(queue.next_time(), oracle.peek().map(|Reverse((key, _))| key.time));
            }
            while let Some(Reverse((key, event))) = oracle.pop() {
                prop_assert_eq!(queue.pop(), Some((key.time, event)));
            }
            prop_assert_eq!(queue.pop(), None);
        }
    }
}

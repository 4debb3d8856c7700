//! The event queue of one domain. Order is total: (time, source domain, sequence).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::Time;

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

#[derive(Debug)]
struct Entry<E> {
    key: Key,
    event: E,
}
impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl<E> Eq for Entry<E> {}
impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// Pending events of one domain, and mail for others.
#[derive(Debug)]
pub struct Queue<E> {
    me: DomainId,
    now: Time,
    sequence: u64,
    heap: BinaryHeap<Reverse<Entry<E>>>,
    mail: Vec<(DomainId, Key, E)>,
}

impl<E> Queue<E> {
    /// An empty queue at time zero.
    pub fn new(me: DomainId) -> Self {
        Self { me, now: Time::ZERO, sequence: 0, heap: BinaryHeap::new(), mail: Vec::new() }
    }
    /// The time of the event popped last.
    pub fn now(&self) -> Time {
        self.now
    }
    /// Number of pending events.
    pub fn len(&self) -> usize {
        self.heap.len()
    }
    /// Whether nothing is pending.
    pub fn is_empty(&self) -> bool {
        self.heap.is_empty()
    }
    /// When the next event happens.
    pub fn next_time(&self) -> Option<Time> {
        self.heap.peek().map(|Reverse(e)| e.key.time)
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
        self.heap.push(Reverse(Entry { key, event }));
    }
    /// Files an event for another domain; [`Queue::take_mail`] hands it over.
    pub fn send(&mut self, to: DomainId, time: Time, event: E) {
        let key = self.key(time);
        self.mail.push((to, key, event));
    }
    /// Files an event that another domain sent.
    pub fn deliver(&mut self, key: Key, event: E) {
        self.heap.push(Reverse(Entry { key, event }));
    }
    /// What this domain sent since the last call.
    pub fn take_mail(&mut self) -> Vec<(DomainId, Key, E)> {
        std::mem::take(&mut self.mail)
    }
    /// The next event, if it happens before `end`.
    pub fn pop_before(&mut self, end: Time) -> Option<(Time, E)> {
        if self.next_time()? < end { self.pop() } else { None }
    }
    /// The next event.
    pub fn pop(&mut self) -> Option<(Time, E)> {
        let Reverse(Entry { key, event }) = self.heap.pop()?;
        self.now = key.time;
        Some((key.time, event))
    }
}

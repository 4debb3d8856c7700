//! The store behind [`Queue`](crate::Queue): gives events back in key order, whatever the order they came in.
//!
//! ```text
//!   time ->   | open slot    | rest of its turn: 4096 slots | 4095 turns of 4096 slots     | horizon ...
//!   held in   | ready + late | one list a slot              | one list a turn              | far (binary heap)
//! ```
//!
//! When a turn opens, its list is dealt out to its slots. When a slot opens, its list is sorted. Payloads lie still
//! in a pool from push to pop; rings and heaps hold indices. Lists run through the pool, so once the pool has grown to
//! the largest number of pending events, nothing allocates.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::queue::Key;
use crate::time::Time;

/// Slots in a turn, and turns up to the horizon, as a power of two.
const TURN_BITS: u32 = 12;
const LISTS: usize = 1 << TURN_BITS;
const WORDS: usize = LISTS / 64;
/// The end of a list.
const NIL: u32 = u32::MAX;

/// Pending events in key order.
#[derive(Debug)]
pub(crate) struct Wheel<E> {
    slot_bits: u32,
    /// The open slot: that of the event popped last. Never moves back.
    open: u64,
    /// Events of the open slot that were there when it opened, last first.
    ready: Vec<Ticket>,
    /// Events of the open slot that came later.
    late: BinaryHeap<Reverse<Ticket>>,
    /// By slot: events of later slots in the open turn.
    slots: Ring,
    /// By turn: events of later turns before the horizon.
    turns: Ring,
    /// Events that were beyond the horizon when they came; they stay here until their turn opens.
    far: BinaryHeap<Reverse<Ticket>>,
    pool: Pool<E>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Ticket {
    key: Key,
    index: u32,
}

impl<E> Wheel<E> {
    /// An empty wheel whose open slot is the one at time zero. Slots are `2^slot_bits` ps wide.
    pub(crate) fn new(slot_bits: u32) -> Self {
        assert!(slot_bits < 64, "a slot would be longer than time");
        Self {
            slot_bits,
            open: 0,
            ready: Vec::new(),
            late: BinaryHeap::new(),
            slots: Ring::new(),
            turns: Ring::new(),
            far: BinaryHeap::new(),
            pool: Pool::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pool.used
    }

    /// Files an event; its slot is open or later.
    #[inline]
    pub(crate) fn push(&mut self, key: Key, event: E) {
        let slot = self.slot(key.time);
        let index = self.pool.put(key, event);
        if slot == self.open {
            self.late.push(Reverse(Ticket { key, index }));
            return;
        }
        match turn(slot) - turn(self.open) {
            0 => self.pool.cells[index as usize].next = self.slots.add(slot, key.time, index),
            ahead if ahead < LISTS as u64 => {
                self.pool.cells[index as usize].next = self.turns.add(turn(slot), key.time, index);
            }
            _ => self.far.push(Reverse(Ticket { key, index })),
        }
    }

    /// When the first event happens.
    #[inline]
    pub(crate) fn first_time(&self) -> Option<Time> {
        let ready = self.ready.last().map(|ticket| ticket.key.time);
        let late = self.late.peek().map(|Reverse(ticket)| ticket.key.time);
        earlier(ready, late)
            .or_else(|| self.slots.next_from(self.open).map(|slot| self.slots.first_time(slot)))
            .or_else(|| {
                let near = self.turns.next_from(turn(self.open)).map(|turn| self.turns.first_time(turn));
                earlier(near, self.far.peek().map(|Reverse(ticket)| ticket.key.time))
            })
    }

    /// Takes the first event.
    #[inline]
    pub(crate) fn pop(&mut self) -> Option<(Time, E)> {
        if self.ready.is_empty() && self.late.is_empty() && !self.open_next() {
            return None;
        }
        let take_late = match (self.ready.last(), self.late.peek()) {
            (Some(ready), Some(Reverse(late))) => late < ready,
            (ready, _) => ready.is_none(),
        };
        let ticket = if take_late { self.late.pop().map(|Reverse(ticket)| ticket) } else { self.ready.pop() };
        let ticket = ticket.expect("a slot opens with an event");
        Some((ticket.key.time, self.pool.take(ticket.index)))
    }

    /// Takes the first event, if it happens before `end`. No slot opens before its time comes: what is then filed
    /// before it would have no place.
    #[inline]
    pub(crate) fn pop_before(&mut self, end: Time) -> Option<(Time, E)> {
        if self.first_time()? < end { self.pop() } else { None }
    }

    fn slot(&self, time: Time) -> u64 {
        time.as_ps() >> self.slot_bits
    }

    /// Opens the next slot that has events; `false` when there is none. The open slot has none left.
    fn open_next(&mut self) -> bool {
        let slot = match self.slots.next_from(self.open) {
            Some(slot) => slot,
            None if self.open_next_turn() => {
                self.slots.next_from(self.open).expect("a turn opens with an event")
            }
            None => return false,
        };
        self.open = slot;
        let head = self.slots.clear(slot);
        self.ready.extend(self.pool.list(head));
        if self.ready.len() > 1 {
            self.ready.sort_unstable_by(|a, b| b.cmp(a));
        }
        true
    }

    #[cold]
    fn open_next_turn(&mut self) -> bool {
        let near = self.turns.next_from(turn(self.open));
        let far = self.far.peek().map(|Reverse(ticket)| turn(self.slot(ticket.key.time)));
        let Some(next) = earlier(near, far) else { return false };
        self.open = next << TURN_BITS;
        // Empty if the turn is that of a far event: a ring that is not empty has only earlier turns, or this one.
        let mut index = self.turns.clear(next);
        while index != NIL {
            index = self.deal(index);
        }
        while let Some(Reverse(Ticket { key, index })) = self.far.peek().copied()
            && turn(self.slot(key.time)) == next
        {
            self.far.pop();
            self.deal(index);
        }
        true
    }

    /// Files an event in its slot of the open turn, and says which one was next in its list.
    fn deal(&mut self, index: u32) -> u32 {
        let time = self.pool.cells[index as usize].key.time;
        let before = self.slots.add(self.slot(time), time, index);
        std::mem::replace(&mut self.pool.cells[index as usize].next, before)
    }
}

fn turn(slot: u64) -> u64 {
    slot >> TURN_BITS
}

fn earlier<T: Ord>(a: Option<T>, b: Option<T>) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Lists of events for a range of `LISTS` numbers, each at its number modulo `LISTS`.
#[derive(Debug)]
struct Ring {
    lists: Box<[List]>,
    /// A bit a list: whether it has events.
    occupied: [u64; WORDS],
    /// A bit a word of `occupied`: whether it is not zero.
    summary: u64,
}

#[derive(Clone, Copy, Debug)]
struct List {
    head: u32,
    /// When its first event happens.
    first: Time,
}

const EMPTY: List = List { head: NIL, first: Time::MAX };

impl Ring {
    fn new() -> Self {
        Self { lists: vec![EMPTY; LISTS].into(), occupied: [0; WORDS], summary: 0 }
    }

    /// Puts an event at the head of a list; the head before becomes its successor.
    #[inline]
    fn add(&mut self, number: u64, time: Time, index: u32) -> u32 {
        let at = number as usize % LISTS;
        self.occupied[at / 64] |= 1 << (at % 64);
        self.summary |= 1 << (at / 64);
        let list = &mut self.lists[at];
        list.first = list.first.min(time);
        std::mem::replace(&mut list.head, index)
    }

    /// Empties a list and returns its head.
    fn clear(&mut self, number: u64) -> u32 {
        let at = number as usize % LISTS;
        self.occupied[at / 64] &= !(1 << (at % 64));
        if self.occupied[at / 64] == 0 {
            self.summary &= !(1 << (at / 64));
        }
        std::mem::replace(&mut self.lists[at], EMPTY).head
    }

    fn first_time(&self, number: u64) -> Time {
        self.lists[number as usize % LISTS].first
    }

    /// The number of the first list that has events, of those from `start` on.
    #[inline]
    fn next_from(&self, start: u64) -> Option<u64> {
        if self.summary == 0 {
            return None;
        }
        let from = start as usize % LISTS;
        let (word, bit) = (from / 64, from % 64);
        let above = self.occupied[word] & (u64::MAX << bit);
        let at = if above != 0 {
            word * 64 + above.trailing_zeros() as usize
        } else {
            // Bit 0 becomes the word after this one, bit 63 this one again: its low bits are the farthest lists.
            let skipped = (word as u32 + 1) % 64;
            let word = (skipped + self.summary.rotate_right(skipped).trailing_zeros()) as usize % WORDS;
            word * 64 + self.occupied[word].trailing_zeros() as usize
        };
        Some(start + (at.wrapping_sub(from) % LISTS) as u64)
    }
}

/// Events that lie still until they are taken. Free cells and slots are lists through `next`.
#[derive(Debug)]
struct Pool<E> {
    cells: Vec<Cell<E>>,
    free: u32,
    used: usize,
}

#[derive(Debug)]
struct Cell<E> {
    key: Key,
    next: u32,
    event: Option<E>,
}

impl<E> Pool<E> {
    fn new() -> Self {
        Self { cells: Vec::new(), free: NIL, used: 0 }
    }

    fn put(&mut self, key: Key, event: E) -> u32 {
        self.used += 1;
        if self.free == NIL {
            let index = u32::try_from(self.cells.len()).ok().filter(|index| *index != NIL);
            self.cells.push(Cell { key, next: NIL, event: Some(event) });
            return index.expect("fewer than 2^32 - 1 events are pending");
        }
        let index = self.free;
        let cell = &mut self.cells[index as usize];
        self.free = std::mem::replace(&mut cell.next, NIL);
        cell.key = key;
        cell.event = Some(event);
        index
    }

    fn take(&mut self, index: u32) -> E {
        let cell = &mut self.cells[index as usize];
        let event = cell.event.take().expect("a ticket is used once");
        cell.next = self.free;
        self.free = index;
        self.used -= 1;
        event
    }

    fn list(&self, head: u32) -> impl Iterator<Item = Ticket> {
        let mut at = head;
        std::iter::from_fn(move || {
            // The end of a list is the index of no cell.
            let cell = self.cells.get(at as usize)?;
            Some(Ticket { key: cell.key, index: std::mem::replace(&mut at, cell.next) })
        })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_ring_finds_the_next_slot_around_its_end() {
        let n = LISTS as u64;
        for (open, filled, want) in [
            (0, &[][..], None),
            (0, &[1], Some(1)),
            (0, &[n - 1], Some(n - 1)),
            (0, &[70, 65, 4000], Some(65)),
            (63, &[64], Some(64)),
            (63, &[63 + n - 1], Some(63 + n - 1)),
            (100, &[90 + n, 99 + n], Some(90 + n)),
            (100, &[99 + n, 127], Some(127)),
            (n - 1, &[n, n + 1], Some(n)),
            (n - 1, &[2 * n - 2], Some(2 * n - 2)),
            (5 * n + 4000, &[6 * n + 3], Some(6 * n + 3)),
        ] {
            let mut ring = Ring::new();
            for slot in filled {
                ring.add(*slot, Time::ZERO, 0);
            }
            assert_eq!(ring.next_from(open), want, "from {open} in {filled:?}");
            for slot in filled {
                ring.clear(*slot);
            }
            assert_eq!(ring.next_from(open), None);
        }
    }
}

//! The store behind [`Queue`](crate::Queue): gives events back in key order, whatever the order they came in.
//!
//! ```text
//!   time ->   | open slot      | 4095 slots of 2^k ps each         | horizon ...
//!   held in   | ready + late   | one list a slot, found by bitmap  | far (binary heap)
//! ```
//!
//! Payloads lie still in a pool from push to pop; slots and heaps hold indices. Lists run through the pool, so once
//! the pool has grown to the largest number of pending events, nothing allocates.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::queue::Key;
use crate::time::Time;

const SLOTS: usize = 4096;
const WORDS: usize = SLOTS / 64;
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
    /// Events of slots `open + 1 .. open + SLOTS`, at their slot number modulo `SLOTS`.
    ring: Ring,
    /// Events that were beyond the ring when they came; they stay here until their slot opens.
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
        assert!(slot_bits < 52, "the ring would be longer than time");
        Self {
            slot_bits,
            open: 0,
            ready: Vec::new(),
            late: BinaryHeap::new(),
            ring: Ring::new(),
            far: BinaryHeap::new(),
            pool: Pool::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.pool.used
    }

    /// Files an event; its slot is open or later.
    pub(crate) fn push(&mut self, key: Key, event: E) {
        let ahead = self.slot(key.time) - self.open;
        let index = self.pool.put(key, event);
        if ahead == 0 {
            self.late.push(Reverse(Ticket { key, index }));
        } else if ahead < SLOTS as u64 {
            let at = self.ring.position(self.open + ahead);
            self.pool.cells[index as usize].next = self.ring.replace_head(at, index);
        } else {
            self.far.push(Reverse(Ticket { key, index }));
        }
    }

    /// When the first event happens. Looks at one slot at most.
    pub(crate) fn first_time(&self) -> Option<Time> {
        match self.first_open() {
            Some(ticket) => Some(ticket.key.time),
            None => self.next_slot().map(|slot| self.first_time_in(slot)),
        }
    }

    /// Takes the first event.
    pub(crate) fn pop(&mut self) -> Option<(Key, E)> {
        if self.ready.is_empty() && self.late.is_empty() {
            let slot = self.next_slot()?;
            self.open(slot);
        }
        Some(self.take_first_open())
    }

    /// Takes the first event, if it happens before `end`.
    pub(crate) fn pop_before(&mut self, end: Time) -> Option<(Key, E)> {
        if let Some(first) = self.first_open() {
            if first.key.time >= end {
                return None;
            }
        } else {
            // A slot must not open before its time comes: what is pushed before it would have no place.
            let slot = self.next_slot()?;
            let last = self.slot(end);
            if slot > last || (slot == last && self.first_time_in(slot) >= end) {
                return None;
            }
            self.open(slot);
        }
        Some(self.take_first_open())
    }

    fn slot(&self, time: Time) -> u64 {
        time.as_ps() >> self.slot_bits
    }

    fn first_open(&self) -> Option<Ticket> {
        let late = self.late.peek().map(|Reverse(ticket)| *ticket);
        match (self.ready.last().copied(), late) {
            (Some(ready), Some(late)) => Some(ready.min(late)),
            (ready, late) => ready.or(late),
        }
    }

    fn take_first_open(&mut self) -> (Key, E) {
        let take_late = match (self.ready.last(), self.late.peek()) {
            (Some(ready), Some(Reverse(late))) => late < ready,
            (ready, _) => ready.is_none(),
        };
        let ticket = if take_late { self.late.pop().map(|Reverse(ticket)| ticket) } else { self.ready.pop() };
        let ticket = ticket.expect("a slot opens with an event");
        (ticket.key, self.pool.take(ticket.index))
    }

    /// The first slot after the open one that has events.
    fn next_slot(&self) -> Option<u64> {
        let near = self.ring.first_after(self.open);
        let far = self.far.peek().map(|Reverse(ticket)| self.slot(ticket.key.time));
        match (near, far) {
            (Some(near), Some(far)) => Some(near.min(far)),
            (near, far) => near.or(far),
        }
    }

    /// When the first event of `slot` happens, which is the next slot.
    fn first_time_in(&self, slot: u64) -> Time {
        let near = self.pool.list(self.ring.head(slot)).map(|(key, _)| key.time);
        let far = self.far.peek().map(|Reverse(ticket)| ticket.key.time);
        near.chain(far).min().expect("the next slot has an event")
    }

    /// Makes the next slot the open one.
    fn open(&mut self, slot: u64) {
        self.open = slot;
        let at = self.ring.position(slot);
        let head = self.ring.clear(at);
        self.ready.extend(self.pool.list(head).map(|(key, index)| Ticket { key, index }));
        while let Some(Reverse(ticket)) = self.far.peek() {
            if ticket.key.time.as_ps() >> self.slot_bits != slot {
                break;
            }
            self.ready.extend(self.far.pop().map(|Reverse(ticket)| ticket));
        }
        if self.ready.len() > 1 {
            self.ready.sort_unstable_by(|a, b| b.cmp(a));
        }
    }
}

/// Heads of lists, and which of them are not empty.
#[derive(Debug)]
struct Ring {
    heads: Box<[u32]>,
    /// A bit a slot.
    occupied: [u64; WORDS],
    /// A bit a word of `occupied`.
    summary: u64,
}

impl Ring {
    fn new() -> Self {
        Self { heads: vec![NIL; SLOTS].into(), occupied: [0; WORDS], summary: 0 }
    }

    fn position(&self, slot: u64) -> usize {
        slot as usize % SLOTS
    }

    fn head(&self, slot: u64) -> u32 {
        self.heads[self.position(slot)]
    }

    fn replace_head(&mut self, at: usize, index: u32) -> u32 {
        self.occupied[at / 64] |= 1 << (at % 64);
        self.summary |= 1 << (at / 64);
        std::mem::replace(&mut self.heads[at], index)
    }

    fn clear(&mut self, at: usize) -> u32 {
        self.occupied[at / 64] &= !(1 << (at % 64));
        if self.occupied[at / 64] == 0 {
            self.summary &= !(1 << (at / 64));
        }
        std::mem::replace(&mut self.heads[at], NIL)
    }

    /// The first occupied slot after `open`, whose own list is empty.
    fn first_after(&self, open: u64) -> Option<u64> {
        if self.summary == 0 {
            return None;
        }
        let from = self.position(open);
        let (word, bit) = (from / 64, from % 64);
        let above = self.occupied[word] & (u64::MAX << bit);
        let at = if above != 0 {
            word * 64 + above.trailing_zeros() as usize
        } else {
            // Bit 0 becomes the word after this one, bit 63 this one again: its low bits are the farthest slots.
            let turn = (word as u32 + 1) % 64;
            let word = (turn + self.summary.rotate_right(turn).trailing_zeros()) as usize % WORDS;
            word * 64 + self.occupied[word].trailing_zeros() as usize
        };
        Some(open + (at.wrapping_sub(from) % SLOTS) as u64)
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

    fn list(&self, head: u32) -> impl Iterator<Item = (Key, u32)> {
        let mut at = head;
        std::iter::from_fn(move || {
            let cell = self.cells.get(at as usize)?;
            let index = std::mem::replace(&mut at, cell.next);
            Some((cell.key, index))
        })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_ring_finds_the_next_slot_around_its_end() {
        let n = SLOTS as u64;
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
                ring.replace_head(ring.position(*slot), 0);
            }
            assert_eq!(ring.first_after(open), want, "after {open} in {filled:?}");
            for slot in filled {
                ring.clear(ring.position(*slot));
            }
            assert_eq!(ring.first_after(open), None);
        }
    }
}

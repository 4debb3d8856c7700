//! Submission and completion queues: where they are in host memory, and how far both sides have come.

/// Why a doorbell write means nothing (NVM Express 1.4, 5.2): the value is outside the queue, overtakes the other
/// side, or there is no such queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadDoorbell {
    Register,
    Value,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SubmissionQueue {
    pub base: u64,
    /// Number of entries.
    pub size: u32,
    /// Of the entry to fetch next.
    pub head: u32,
    pub tail: u32,
    /// The completion queue.
    pub cq: u16,
}

impl SubmissionQueue {
    pub(super) fn new(base: u64, size: u32, cq: u16) -> Self {
        Self { base, size, head: 0, tail: 0, cq }
    }
    /// Entries that wait to be fetched.
    pub(super) fn waiting(&self) -> u32 {
        distance(self.head, self.tail, self.size)
    }
    /// The host has added entries up to `tail`. The same value again adds none.
    pub(super) fn ring(&mut self, tail: u32) -> Result<(), BadDoorbell> {
        if tail >= self.size || self.waiting() + distance(self.tail, tail, self.size) >= self.size {
            return Err(BadDoorbell::Value);
        }
        self.tail = tail;
        Ok(())
    }
    /// Address of the entry at the head.
    pub(super) fn next(&self) -> u64 {
        self.base.wrapping_add(u64::from(self.head) * super::layout::SQE as u64)
    }
    pub(super) fn advance(&mut self) {
        self.head = (self.head + 1) % self.size;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CompletionQueue {
    pub base: u64,
    /// Number of entries.
    pub size: u32,
    /// Of the first entry that the host has not taken.
    pub head: u32,
    pub tail: u32,
    /// What the next entry is to show.
    pub phase: bool,
    /// Interrupt vector, unless interrupts are off.
    pub vector: Option<u16>,
    /// Something was posted that no interrupt has told of.
    pub untold: bool,
}

impl CompletionQueue {
    pub(super) fn new(base: u64, size: u32, vector: Option<u16>) -> Self {
        Self { base, size, head: 0, tail: 0, phase: true, vector, untold: false }
    }
    /// Entries that the host has not taken.
    pub(super) fn posted(&self) -> u32 {
        distance(self.head, self.tail, self.size)
    }
    /// Entries that can be posted; one stays free, so that full differs from empty.
    pub(super) fn room(&self) -> u32 {
        self.size - 1 - self.posted()
    }
    /// The host has taken entries up to `head`. The same value again takes none.
    pub(super) fn ring(&mut self, head: u32) -> Result<(), BadDoorbell> {
        if head >= self.size || distance(self.head, head, self.size) > self.posted() {
            return Err(BadDoorbell::Value);
        }
        self.head = head;
        self.untold &= self.posted() > 0;
        Ok(())
    }
    /// Address of the entry at the tail, which is taken with its phase.
    pub(super) fn push(&mut self) -> (u64, bool) {
        let at = (self.base.wrapping_add(u64::from(self.tail) * super::layout::CQE as u64), self.phase);
        self.tail = (self.tail + 1) % self.size;
        self.phase ^= self.tail == 0;
        self.untold = true;
        at
    }
}

/// Steps from one index to another in a ring.
fn distance(from: u32, to: u32, size: u32) -> u32 {
    if to >= from { to - from } else { to + size - from }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn doorbells_stay_within_what_the_other_side_left() {
        let bad = Err(BadDoorbell::Value);
        for (head, tail, to, want) in [
            (0, 0, 3, Ok(())),
            (0, 0, 0, Ok(())),
            (0, 0, 4, bad),
            (2, 2, 1, Ok(())),
            (2, 3, 1, Ok(())),
            (2, 3, 2, bad),
            (2, 0, 3, bad),
            (2, 0, 0, Ok(())),
        ] {
            let mut queue = SubmissionQueue { head, tail, ..SubmissionQueue::new(0, 4, 0) };
            assert_eq!(queue.ring(to), want, "tail {head} {tail} to {to}");
        }
        for (head, tail, to, want) in [
            (0, 3, 3, Ok(())),
            (0, 3, 4, bad),
            (0, 2, 3, bad),
            (3, 1, 0, Ok(())),
            (3, 1, 1, Ok(())),
            (3, 1, 2, bad),
            (1, 1, 1, Ok(())),
            (1, 1, 2, bad),
        ] {
            let mut queue = CompletionQueue { head, tail, ..CompletionQueue::new(0, 4, None) };
            assert_eq!(queue.ring(to), want, "head {head} {tail} to {to}");
        }
    }
}

//! Transactions in flight, by age: what a CMD_SYNC waits for.

use std::collections::VecDeque;

/// Ids in the order of arrival, and which of them have left.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    oldest: u64,
    /// Whether `oldest + index` is still in flight; the front, if any, is.
    open: VecDeque<bool>,
}

impl Window {
    /// A transaction enters; its id.
    pub(super) fn enter(&mut self) -> u64 {
        self.open.push_back(true);
        self.next() - 1
    }
    /// A transaction leaves.
    pub(super) fn leave(&mut self, id: u64) {
        let was_open = std::mem::replace(&mut self.open[(id - self.oldest) as usize], false);
        assert!(was_open, "transaction {id} left twice");
        while self.open.front() == Some(&false) {
            self.open.pop_front();
            self.oldest += 1;
        }
    }
    /// Id of the oldest transaction in flight; of the next one if there is none.
    pub(super) fn oldest(&self) -> u64 {
        self.oldest
    }
    /// Id of the next transaction.
    pub(super) fn next(&self) -> u64 {
        self.oldest + self.open.len() as u64
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn oldest_moves_when_the_oldest_leaves() {
        let mut w = Window::default();
        assert_eq!([w.enter(), w.enter(), w.enter()], [0, 1, 2]);
        for (id, oldest) in [(1, 0), (0, 2), (2, 3)] {
            w.leave(id);
            assert_eq!(w.oldest(), oldest);
        }
        assert_eq!((w.enter(), w.oldest(), w.next()), (3, 3, 4));
    }
}

//! Software signals: counters that tasks raise and wait for.

use std::collections::BTreeMap;

use crate::cpu::{CpuId, SignalId};

/// A waiting task: where, and the tag of its wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) cpu: CpuId,
    pub(super) tag: u32,
    pub(super) seen: u64,
}

#[derive(Debug, Default)]
struct Board {
    count: u64,
    waiters: Vec<Waiter>,
}

/// All signals of a machine.
#[derive(Debug, Default)]
pub(super) struct Signals(BTreeMap<SignalId, Board>);

impl Signals {
    /// Counts a raise; returns the count and who waited for it.
    pub(super) fn raise(&mut self, signal: SignalId) -> (u64, Vec<Waiter>) {
        let board = self.0.entry(signal).or_default();
        board.count += 1;
        (board.count, std::mem::take(&mut board.waiters))
    }
    /// The count, if it exceeds what the waiter has seen already; else the waiter is kept.
    pub(super) fn wait(&mut self, signal: SignalId, waiter: Waiter) -> Option<u64> {
        let board = self.0.entry(signal).or_default();
        if board.count > waiter.seen {
            return Some(board.count);
        }
        // A wait that its limit ended stays until the next raise; its CPU ignores the answer.
        board.waiters.push(waiter);
        None
    }
}

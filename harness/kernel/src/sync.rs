//! A mutex of simulated software: a ticket lock on a cache line of simulated memory, so that contention costs what
//! it costs.

use crate::access::Access;

/// A fair lock. The line at its address belongs to it: two 64-bit words, next ticket and ticket served.
#[derive(Clone, Copy, Debug)]
pub struct Lock {
    line: u64,
}

impl Lock {
    /// Bytes of simulated memory that a lock needs, line-aligned.
    pub const BYTES: u64 = 64;

    /// A lock on the zeroed cache line at `line`.
    pub const fn new(line: u64) -> Self {
        assert!(line.is_multiple_of(64), "a lock has a line of its own");
        Self { line }
    }
    /// Takes the lock; [`Lock::release`] must follow.
    pub async fn acquire<A: Access>(&self, cpu: &A) {
        let ticket = cpu.fetch_add(self.line, 1).await;
        loop {
            let served = cpu.read64(self.line + 8).await;
            if served == ticket {
                return;
            }
            cpu.wait_while64(self.line + 8, served, None).await;
        }
    }
    /// Lets the next one in. Stores made under the lock are visible before.
    pub async fn release<A: Access>(&self, cpu: &A) {
        cpu.barrier().await;
        cpu.fetch_add(self.line + 8, 1).await;
    }
}

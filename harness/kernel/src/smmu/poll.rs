//! Waiting for registers.

use sim::Time;

use crate::access::Access;
use crate::errno::Errno;

/// Reads `addr` every microsecond until `done` says so; returns the last value.
///
/// # Errors
/// `ETIMEDOUT` after `limit`.
pub(crate) async fn poll32<A: Access>(
    cpu: &A,
    addr: u64,
    limit: Time,
    done: impl Fn(u32) -> bool + Send,
) -> Result<u32, Errno> {
    let end = cpu.now() + limit;
    loop {
        let value = cpu.read32(addr).await;
        if done(value) {
            return Ok(value);
        }
        if cpu.now() >= end {
            return Err(Errno::ETIMEDOUT);
        }
        cpu.sleep(Time::us(1)).await;
    }
}

/// The pause between polls of a queue: spins, ten times at most, between sleeps that double from a microsecond on. Sleeping rather than
/// spinning lets other tasks of the core run; on silicon it is a delay loop.
#[derive(Debug)]
pub(crate) struct Backoff {
    spins: u32,
    /// Spin for ever: the wait is for an event that would end it at once.
    wfe: bool,
    relax: Time,
    delay: Time,
    end: Time,
}

const SPINS: u32 = 10;

impl Backoff {
    pub(crate) fn new(now: Time, limit: Time, relax: Time, wfe: bool) -> Self {
        Self { spins: 0, wfe, relax, delay: Time::us(1), end: now + limit }
    }
    /// # Errors
    /// `ETIMEDOUT` when the limit has passed.
    pub(crate) async fn pause<A: Access>(&mut self, cpu: &A) -> Result<(), Errno> {
        if cpu.now() >= self.end {
            return Err(Errno::ETIMEDOUT);
        }
        self.spins += 1;
        if self.wfe || self.spins < SPINS {
            cpu.sleep(self.relax).await;
        } else {
            cpu.sleep(self.delay).await;
            self.delay = self.delay * 2;
            self.spins = 0;
        }
        Ok(())
    }
}

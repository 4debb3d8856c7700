//! Insertion by fetch and add: a running position that never wraps, reserved unconditionally; whoever reserved waits
//! for space before writing. Running positions make it impossible to mistake an old CMD_SYNC for a new one, so CPUs
//! that wait need no lock.

use sim::Time;

use super::queue::{CommandQueue, Reserved, SyncBy};
use crate::access::Access;
use crate::errno::Errno;

/// Above the running position: how many insertions the current batch has.
const JOINED: u64 = 1 << 48;
const POSITION: u64 = JOINED - 1;
/// A waiter for a message looks at the consumer position this often, lest it miss both.
const RECHECK: Time = Time::us(10);
/// A waiter for space reads the register this often.
const LOOK_AGAIN: Time = Time::us(1);

impl CommandQueue {
    pub(super) async fn reserve_fetch_add<A: Access>(&self, cpu: &A, n: u32) -> Result<Reserved, Errno> {
        self.counters.lock().attempts += 1;
        let word = cpu.fetch_add(self.hot.reserve, JOINED + u64::from(n)).await;
        let start = word & POSITION;
        let free_at = (start + u64::from(n)).saturating_sub(self.ring.entries().into());
        if cpu.read64(self.hot.third).await < free_at {
            self.counters.lock().full += 1;
            self.wait_space(cpu, free_at).await;
        }
        Ok(Reserved { start, owner: word & !POSITION == 0 })
    }

    /// Waits until the consumer position reaches `free_at`. The slots are ours for good, so there is no way back: who
    /// gave up here would block everybody for ever. Time-outs are counted.
    async fn wait_space<A: Access>(&self, cpu: &A, free_at: u64) {
        let mut end = cpu.now() + self.setup.timeout;
        loop {
            let known = self.advance(cpu).await;
            if known >= free_at {
                return;
            }
            if cpu.now() >= end {
                self.counters.lock().timeouts += 1;
                end = cpu.now() + self.setup.timeout;
            }
            // Whoever advances the position wakes all who wait for it; if nobody does, look at the register.
            cpu.wait_while64(self.hot.third, known, Some(LOOK_AGAIN)).await;
        }
    }

    /// Takes the running consumer position along to CONS; returns it. The hardware is never more than a ring ahead of
    /// it, because nobody writes a slot before this word says that it is free.
    async fn advance<A: Access>(&self, cpu: &A) -> u64 {
        let known = cpu.read64(self.hot.third).await;
        let cons = self.read_cons(cpu).await;
        let ahead = self.ring.distance(known as u32, cons);
        if ahead == 0 || ahead > self.ring.entries() {
            return known;
        }
        let new = known + u64::from(ahead);
        match cpu.compare_swap(self.hot.third, known, new).await {
            Ok(_) => new,
            Err(found) => found,
        }
    }

    pub(super) async fn publish_fetch_add<A: Access>(&self, cpu: &A, start: u64) {
        self.wait_owner(cpu, start).await;
        let mut word = cpu.read64(self.hot.reserve).await;
        while let Err(found) = cpu.compare_swap(self.hot.reserve, word, word & POSITION).await {
            word = found;
        }
        let end = word & POSITION;
        // What is valid is published before waiting for the rest: the rest may wait for the space that this makes.
        let (mut at, mut published) = (start, start);
        while at < end {
            let (valid, address, value) = self.valid_prefix(cpu, at, end).await;
            at += valid;
            if valid == 0 {
                if at > published {
                    self.publish(cpu, at).await;
                    published = at;
                }
                cpu.wait_while64(address, value, None).await;
            }
        }
        self.publish(cpu, end).await;
        self.pass_ownership(cpu, end).await;
    }

    pub(super) async fn wait_fetch_add<A: Access>(&self, cpu: &A, sync_at: u64) -> Result<(), Errno> {
        let mut backoff = self.backoff(cpu);
        loop {
            if self.setup.sync == SyncBy::Message && self.wait_message(cpu, sync_at, RECHECK).await {
                return Ok(());
            }
            let cons = self.read_cons(cpu).await;
            let known = cpu.read64(self.hot.third).await;
            if known > sync_at || self.ring.consumed(sync_at as u32 & self.ring.mask(), cons) {
                return Ok(());
            }
            backoff.pause(cpu).await?;
        }
    }
}

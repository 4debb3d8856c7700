//! The insertion algorithm of Linux: one word holds producer index, ownership flag and consumer index, and changes by
//! compare and swap.

use super::queue::{CommandQueue, Reserved, SyncBy};
use crate::access::Access;
use crate::errno::Errno;

/// In the producer half: somebody owns the current batch and will publish what is added to it.
const OWNED: u64 = 1 << 31;
/// In the word that counts waiting CPUs: the consumer index is being updated.
const EXCLUSIVE: u64 = 1 << 63;

/// Producer position (without the flag) and consumer position.
fn split(word: u64) -> (u32, u32) {
    ((word & !OWNED) as u32, (word >> 32) as u32)
}

impl CommandQueue {
    pub(super) async fn reserve_cmpxchg<A: Access>(&self, cpu: &A, n: u32) -> Result<Reserved, Errno> {
        let mut word = cpu.read64(self.hot.reserve).await;
        let mut end = None;
        loop {
            let (prod, cons) = split(word);
            if !self.ring.has_space(prod, cons, n) {
                let end = *end.get_or_insert_with(|| {
                    self.counters.lock().full += 1;
                    cpu.now() + self.setup.timeout
                });
                if cpu.now() >= end {
                    return Err(Errno::ETIMEDOUT);
                }
                word = self.until_not_full(cpu).await?;
                continue;
            }
            let new = u64::from(self.ring.add(prod, n)) | OWNED | u64::from(cons) << 32;
            self.counters.lock().attempts += 1;
            match cpu.compare_swap(self.hot.reserve, word, new).await {
                Ok(_) => return Ok(Reserved { start: prod.into(), owner: word & OWNED == 0 }),
                Err(found) => word = found,
            }
        }
    }

    /// Updates the consumer half from the register, unless a CPU still waits for its CMD_SYNC: the slot must not be
    /// used again before it has seen it. Then waits until somebody else updates it. Returns the word.
    async fn until_not_full<A: Access>(&self, cpu: &A) -> Result<u64, Errno> {
        if cpu.compare_swap(self.hot.third, 0, EXCLUSIVE).await.is_ok() {
            let cons = self.read_cons(cpu).await;
            self.set_cons(cpu, cons).await;
            cpu.barrier().await;
            // Adding the top bit clears it.
            cpu.fetch_add(self.hot.third, EXCLUSIVE).await;
            cpu.sleep(self.setup.costs.relax).await;
            return Ok(cpu.read64(self.hot.reserve).await);
        }
        let mut backoff = self.backoff(cpu);
        loop {
            backoff.pause(cpu).await?;
            let word = cpu.read64(self.hot.reserve).await;
            let (prod, cons) = split(word);
            if !self.ring.is_full(prod, cons) {
                return Ok(word);
            }
        }
    }
    async fn set_cons<A: Access>(&self, cpu: &A, cons: u32) {
        cpu.write32(self.hot.reserve + 4, cons).await;
    }

    /// Keeps the consumer half from moving until [`CommandQueue::let_cons_go`]. Unlike Linux, who comes during an update
    /// keeps its count, so that CPUs that look for space cannot starve those that would make some.
    pub(super) async fn hold_cons<A: Access>(&self, cpu: &A) {
        let mut held = cpu.fetch_add(self.hot.third, 1).await;
        while held & EXCLUSIVE != 0 {
            held = cpu.read64(self.hot.third).await;
            if held & EXCLUSIVE != 0 {
                cpu.wait_while64(self.hot.third, held, None).await;
            }
        }
    }
    /// The last one out takes the consumer half along.
    async fn let_cons_go<A: Access>(&self, cpu: &A, cons: u32) {
        if cpu.read64(self.hot.third).await == 1 {
            self.set_cons(cpu, cons).await;
            cpu.barrier().await;
        }
        cpu.fetch_add(self.hot.third, 1_u64.wrapping_neg()).await;
    }

    pub(super) async fn publish_cmpxchg<A: Access>(&self, cpu: &A, start: u64) {
        self.wait_owner(cpu, start).await;
        // Only the owner clears the flag, so subtracting it does.
        let word = cpu.fetch_add(self.hot.reserve, OWNED.wrapping_neg()).await;
        let (end, _) = split(word);
        // Positions with wrap bit: make the end lie above the start for counting.
        let gathered = self.ring.distance(start as u32, end);
        self.wait_valid(cpu, start, start + u64::from(gathered)).await;
        self.publish(cpu, end.into()).await;
        self.pass_ownership(cpu, end.into()).await;
    }

    pub(super) async fn wait_cmpxchg<A: Access>(&self, cpu: &A, sync_at: u64) -> Result<(), Errno> {
        let position = sync_at as u32 & self.ring.mask();
        let (result, cons) = if self.setup.sync == SyncBy::Message {
            let arrived = self.wait_message(cpu, sync_at, self.setup.timeout).await;
            let result = if arrived { Ok(()) } else { Err(Errno::ETIMEDOUT) };
            (result, self.ring.add(position, 1))
        } else {
            self.poll_cons(cpu, position).await
        };
        if result.is_ok() {
            self.let_cons_go(cpu, cons).await;
        } else {
            cpu.fetch_add(self.hot.third, 1_u64.wrapping_neg()).await;
        }
        result
    }

    async fn poll_cons<A: Access>(&self, cpu: &A, position: u32) -> (Result<(), Errno>, u32) {
        let (_, mut cons) = split(cpu.read64(self.hot.reserve).await);
        let mut backoff = self.backoff(cpu);
        while !self.ring.consumed(position, cons) {
            if let Err(errno) = backoff.pause(cpu).await {
                return (Err(errno), cons);
            }
            cons = self.read_cons(cpu).await;
        }
        (Ok(()), cons)
    }
}

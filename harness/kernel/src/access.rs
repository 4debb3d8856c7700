//! How software reaches the machine it runs on: memory, device registers, time, interrupts. A host task has a
//! [`Cpu`]; a guest task has a virtual CPU whose addresses are guest-physical and whose accesses may trap.

use std::future::Future;

use models::cpu::{Cpu, CpuId, SignalId};
use sim::Time;

/// A CPU as software sees it. Addresses are physical addresses of whoever runs: host-physical for the host,
/// guest-physical for a guest. Every await consumes simulated time.
///
/// Reads of what is not there give ones and such writes are dropped, as for [`Cpu`].
pub trait Access: Clone + Send + Sync + 'static {
    /// Reads a 32-bit device register or memory word.
    fn read32(&self, addr: u64) -> impl Future<Output = u32> + Send;
    /// Reads a 64-bit device register or memory word.
    fn read64(&self, addr: u64) -> impl Future<Output = u64> + Send;
    /// Writes a 32-bit device register or memory word. Posted: [`Access::barrier`] waits for its arrival.
    fn write32(&self, addr: u64, value: u32) -> impl Future<Output = ()> + Send;
    /// Writes a 64-bit device register or memory word. Posted.
    fn write64(&self, addr: u64, value: u64) -> impl Future<Output = ()> + Send;
    /// Reads memory.
    fn load(&self, addr: u64, bytes: &mut [u8]) -> impl Future<Output = ()> + Send;
    /// Writes memory. Posted; pieces that cross no cache line are written in one piece.
    fn store(&self, addr: u64, bytes: &[u8]) -> impl Future<Output = ()> + Send;
    /// 64-bit compare and swap: `Ok(expected)` if it was written, else `Err` of the value found.
    fn compare_swap(
        &self,
        addr: u64,
        expected: u64,
        new: u64,
    ) -> impl Future<Output = Result<u64, u64>> + Send;
    /// 64-bit fetch and add, wrapping; returns the value found.
    fn fetch_add(&self, addr: u64, add: u64) -> impl Future<Output = u64> + Send;
    /// 64-bit swap; returns the value found.
    fn swap(&self, addr: u64, new: u64) -> impl Future<Output = u64> + Send;
    /// Waits until every posted write has arrived.
    fn barrier(&self) -> impl Future<Output = ()> + Send;
    /// Computes for `time`; holds the core.
    fn delay(&self, time: Time) -> impl Future<Output = ()> + Send;
    /// Sleeps for `time`; other tasks of the core may run.
    fn sleep(&self, time: Time) -> impl Future<Output = ()> + Send;
    /// Waits while the 32-bit memory word at `addr` equals `value`. False when `limit` passed first.
    fn wait_while32(&self, addr: u64, value: u32, limit: Option<Time>) -> impl Future<Output = bool> + Send;
    /// Waits while the 64-bit memory word at `addr` equals `value`. False when `limit` passed first.
    fn wait_while64(&self, addr: u64, value: u64, limit: Option<Time>) -> impl Future<Output = bool> + Send;
    /// Waits for an interrupt and consumes it. False when `limit` passed first.
    fn wait_interrupt(&self, intid: u32, limit: Option<Time>) -> impl Future<Output = bool> + Send;
    /// Raises a signal.
    fn signal(&self, signal: SignalId) -> impl Future<Output = ()> + Send;
    /// Waits until `signal` has been raised more than `seen` times; returns the count, or `None` when `limit` passed
    /// first.
    fn wait_signal(
        &self,
        signal: SignalId,
        seen: u64,
        limit: Option<Time>,
    ) -> impl Future<Output = Option<u64>> + Send;
    /// Starts a task on another CPU of the same machine.
    fn spawn<F, B>(&self, cpu: CpuId, name: String, body: B) -> impl Future<Output = ()> + Send
    where
        B: FnOnce(Self) -> F + Send,
        F: Future<Output = ()> + Send + 'static;
    /// The time, which is now.
    fn now(&self) -> Time;
    /// Which CPU of its machine this is.
    fn id(&self) -> CpuId;
}

impl Access for Cpu {
    async fn read32(&self, addr: u64) -> u32 {
        Self::read32(self, addr).await
    }
    async fn read64(&self, addr: u64) -> u64 {
        Self::read64(self, addr).await
    }
    async fn write32(&self, addr: u64, value: u32) {
        Self::write32(self, addr, value).await;
    }
    async fn write64(&self, addr: u64, value: u64) {
        Self::write64(self, addr, value).await;
    }
    async fn load(&self, addr: u64, bytes: &mut [u8]) {
        Self::load(self, addr, bytes).await;
    }
    async fn store(&self, addr: u64, bytes: &[u8]) {
        Self::store(self, addr, bytes).await;
    }
    async fn compare_swap(&self, addr: u64, expected: u64, new: u64) -> Result<u64, u64> {
        Self::compare_swap(self, addr, expected, new).await
    }
    async fn fetch_add(&self, addr: u64, add: u64) -> u64 {
        Self::fetch_add(self, addr, add).await
    }
    async fn swap(&self, addr: u64, new: u64) -> u64 {
        Self::swap(self, addr, new).await
    }
    async fn barrier(&self) {
        Self::barrier(self).await;
    }
    async fn delay(&self, time: Time) {
        Self::delay(self, time).await;
    }
    async fn sleep(&self, time: Time) {
        Self::sleep(self, time).await;
    }
    async fn wait_while32(&self, addr: u64, value: u32, limit: Option<Time>) -> bool {
        Self::wait_while32(self, addr, value, limit).await
    }
    async fn wait_while64(&self, addr: u64, value: u64, limit: Option<Time>) -> bool {
        Self::wait_while64(self, addr, value, limit).await
    }
    async fn wait_interrupt(&self, intid: u32, limit: Option<Time>) -> bool {
        Self::wait_interrupt(self, intid, limit).await
    }
    async fn signal(&self, signal: SignalId) {
        Self::signal(self, signal).await;
    }
    async fn wait_signal(&self, signal: SignalId, seen: u64, limit: Option<Time>) -> Option<u64> {
        Self::wait_signal(self, signal, seen, limit).await
    }
    async fn spawn<F, B>(&self, cpu: CpuId, name: String, body: B)
    where
        B: FnOnce(Self) -> F + Send,
        F: Future<Output = ()> + Send + 'static,
    {
        Self::spawn(self, cpu, name, body).await;
    }
    fn now(&self) -> Time {
        Self::now(self)
    }
    fn id(&self) -> CpuId {
        Self::id(self)
    }
}

//! The handle through which a task reaches the machine. Every await consumes simulated time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::{Port, Task, Time};

use super::{Answer, Ask, CpuId, CpuTask, SignalId};
use crate::bus::{Abort, Data, LINE, Op, PhysAddr};
use crate::dma::{Job, JobResult};

/// A task's view of the CPU that it runs on.
///
/// The methods without `try_` are for software that never touches what is not there: on an external abort they
/// read all ones and drop writes (the bus error is in the record stream).
#[derive(Clone, Debug)]
pub struct Cpu {
    port: Port<Ask, Answer>,
    id: CpuId,
    clock: Arc<AtomicU64>,
}

impl Cpu {
    /// A task for CPU `id`. `clock` is the machine's clock in picoseconds.
    pub fn task<F>(
        name: impl Into<String>,
        id: CpuId,
        clock: &Arc<AtomicU64>,
        body: impl FnOnce(Self) -> F,
    ) -> CpuTask
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let clock = Arc::clone(clock);
        Task::new(name, move |port| body(Self { port, id, clock }))
    }

    /// Which CPU this is.
    pub fn id(&self) -> CpuId {
        self.id
    }
    /// The time at which the task was last resumed, which is now.
    pub fn now(&self) -> Time {
        Time::ps(self.clock.load(Ordering::Relaxed))
    }

    /// Any transaction; waits for its answer.
    pub async fn try_access(&self, addr: PhysAddr, op: Op) -> Result<Data, Abort> {
        match self.port.ask(Ask::Access { addr, op }).await {
            Answer::Data(data) => Ok(data),
            Answer::Abort(abort) => Err(abort),
            other => unreachable!("an access was answered by {other:?}"),
        }
    }
    async fn read_value(&self, addr: PhysAddr, len: u8) -> u64 {
        match self.try_access(addr, Op::Read { len }).await {
            Ok(data) => data.value(),
            Err(Abort) => u64::MAX >> (64 - 8 * u32::from(len)),
        }
    }
    /// Reads a 32-bit device register or memory word.
    pub async fn read32(&self, addr: PhysAddr) -> u32 {
        self.read_value(addr, 4).await as u32
    }
    /// Reads a 64-bit device register or memory word.
    pub async fn read64(&self, addr: PhysAddr) -> u64 {
        self.read_value(addr, 8).await
    }
    async fn post(&self, addr: PhysAddr, data: Data) {
        self.port.ask(Ask::Post { addr, data }).await;
    }
    /// Writes a 32-bit device register or memory word. Posted: [`Cpu::barrier`] waits for its arrival. Writes of one
    /// CPU to one device arrive in order.
    pub async fn write32(&self, addr: PhysAddr, value: u32) {
        self.post(addr, Data::u32(value)).await;
    }
    /// Writes a 64-bit device register or memory word. Posted.
    pub async fn write64(&self, addr: PhysAddr, value: u64) {
        self.post(addr, Data::u64(value)).await;
    }
    /// Reads memory.
    pub async fn load(&self, addr: PhysAddr, bytes: &mut [u8]) {
        let mut at = addr;
        for chunk in Chunks::of(addr, bytes.len()) {
            let range = (at - addr) as usize..(at - addr) as usize + chunk;
            match self.try_access(at, Op::Read { len: chunk as u8 }).await {
                Ok(data) => bytes[range].copy_from_slice(data.bytes()),
                Err(Abort) => bytes[range].fill(0xff),
            }
            at += chunk as u64;
        }
    }
    /// Writes memory. Posted.
    pub async fn store(&self, addr: PhysAddr, bytes: &[u8]) {
        let mut at = addr;
        for chunk in Chunks::of(addr, bytes.len()) {
            let range = (at - addr) as usize..(at - addr) as usize + chunk;
            self.post(at, Data::new(&bytes[range])).await;
            at += chunk as u64;
        }
    }
    async fn atomic(&self, addr: PhysAddr, op: Op) -> u64 {
        self.try_access(addr, op).await.map_or(u64::MAX, |old| old.value())
    }
    /// 64-bit compare and swap: `Ok(expected)` if it was written, else `Err` of the value found.
    pub async fn compare_swap(&self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, u64> {
        let old = self.atomic(addr, Op::CompareSwap { expected, new }).await;
        if old == expected { Ok(old) } else { Err(old) }
    }
    /// 64-bit fetch and add; returns the value found.
    pub async fn fetch_add(&self, addr: PhysAddr, add: u64) -> u64 {
        self.atomic(addr, Op::FetchAdd(add)).await
    }
    /// 64-bit swap; returns the value found.
    pub async fn swap(&self, addr: PhysAddr, new: u64) -> u64 {
        self.atomic(addr, Op::Swap(new)).await
    }
    /// Waits until every posted write of this CPU has arrived (DSB).
    pub async fn barrier(&self) {
        self.port.ask(Ask::Barrier).await;
    }

    /// Computes for `time`; holds the core.
    pub async fn delay(&self, time: Time) {
        if time > Time::ZERO {
            self.port.ask(Ask::Delay(time)).await;
        }
    }
    /// Sleeps for `time`; other tasks of the core may run.
    pub async fn sleep(&self, time: Time) {
        self.port.ask(Ask::Sleep(time)).await;
    }
    /// Waits for an interrupt and consumes it. False when `limit` passed first.
    pub async fn wait_interrupt(&self, intid: u32, limit: Option<Time>) -> bool {
        !matches!(self.port.ask(Ask::WaitInterrupt { intid, limit }).await, Answer::TimedOut)
    }
    /// Waits while the 32-bit value at `addr` equals `value`. False when `limit` passed first.
    pub async fn wait_while32(&self, addr: PhysAddr, value: u32, limit: Option<Time>) -> bool {
        let ask = Ask::WaitWhile { addr, len: 4, value: value.into(), limit };
        !matches!(self.port.ask(ask).await, Answer::TimedOut)
    }
    /// Waits while the 64-bit value at `addr` equals `value`. False when `limit` passed first.
    pub async fn wait_while64(&self, addr: PhysAddr, value: u64, limit: Option<Time>) -> bool {
        let ask = Ask::WaitWhile { addr, len: 8, value, limit };
        !matches!(self.port.ask(ask).await, Answer::TimedOut)
    }
    /// Raises a signal.
    pub async fn signal(&self, signal: SignalId) {
        self.port.ask(Ask::Signal(signal)).await;
    }
    /// Waits until `signal` has been raised more than `seen` times; returns the count, or `None` when `limit` passed
    /// first.
    pub async fn wait_signal(&self, signal: SignalId, seen: u64, limit: Option<Time>) -> Option<u64> {
        match self.port.ask(Ask::WaitSignal { signal, seen, limit }).await {
            Answer::Count(count) => Some(count),
            _ => None,
        }
    }
    /// Gives an endpoint a job through its control port and waits for its end.
    pub async fn run_job(&self, endpoint: u16, job: Job) -> JobResult {
        match self.port.ask(Ask::Job { endpoint, job: Box::new(job) }).await {
            Answer::Job(result) => *result,
            other => unreachable!("a job was answered by {other:?}"),
        }
    }
    /// Starts a task on a CPU.
    pub async fn spawn<F>(&self, cpu: CpuId, name: impl Into<String>, body: impl FnOnce(Self) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = Box::new(Self::task(name, cpu, &self.clock, body));
        self.port.ask(Ask::Spawn { cpu, task }).await;
    }
}

/// Lengths of the pieces of a range that cross no line boundary.
struct Chunks {
    addr: PhysAddr,
    left: usize,
}

impl Chunks {
    fn of(addr: PhysAddr, len: usize) -> Self {
        Self { addr, left: len }
    }
}

impl Iterator for Chunks {
    type Item = usize;
    fn next(&mut self) -> Option<usize> {
        let room = LINE - self.addr as usize % LINE;
        let chunk = room.min(self.left);
        self.addr += chunk as u64;
        self.left -= chunk;
        (chunk > 0).then_some(chunk)
    }
}

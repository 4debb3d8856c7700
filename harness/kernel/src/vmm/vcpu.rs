//! A virtual CPU: what guest software runs on. Its addresses are guest-physical; some accesses trap.

use std::future::Future;
use std::sync::Arc;

use models::cpu::{Cpu, CpuId, SignalId};
use sim::Time;

use super::space::Resolved;
use super::vm::Vm;
use crate::access::Access;

/// A virtual CPU, pinned to the physical CPU of its handle.
#[derive(Clone, Debug)]
pub struct Vcpu {
    cpu: Cpu,
    vm: Arc<Vm>,
    id: CpuId,
}

impl Vcpu {
    /// Virtual CPU `id` of `vm` on the physical CPU behind `cpu`.
    pub fn new(cpu: Cpu, vm: Arc<Vm>, id: u16) -> Self {
        Self { cpu, vm, id: CpuId(id) }
    }
    /// The machine it belongs to.
    pub fn vm(&self) -> &Arc<Vm> {
        &self.vm
    }
    /// The physical CPU below.
    pub fn physical(&self) -> &Cpu {
        &self.cpu
    }

    async fn read(&self, gpa: u64, len: u8) -> u64 {
        match self.vm.resolve(gpa) {
            Resolved::Ram(pa, _) => self.direct_read(pa, len).await,
            Resolved::Direct(pa) => {
                self.vm.count_direct();
                self.direct_read(pa, len).await
            }
            Resolved::Trapped(..) | Resolved::Hole => self.vm.trap_read(&self.cpu, gpa, len).await,
        }
    }
    async fn direct_read(&self, pa: u64, len: u8) -> u64 {
        if len == 4 { self.cpu.read32(pa).await.into() } else { self.cpu.read64(pa).await }
    }
    async fn write(&self, gpa: u64, len: u8, value: u64) {
        let pa = match self.vm.resolve(gpa) {
            Resolved::Ram(pa, _) => pa,
            Resolved::Direct(pa) => {
                self.vm.count_direct();
                pa
            }
            Resolved::Trapped(..) | Resolved::Hole => {
                return self.vm.trap_write(&self.cpu, gpa, len, value).await;
            }
        };
        if len == 4 { self.cpu.write32(pa, value as u32).await } else { self.cpu.write64(pa, value).await }
    }
    /// Host address of guest memory; atomics and monitors work on memory only.
    fn memory(&self, gpa: u64) -> Option<u64> {
        match self.vm.resolve(gpa) {
            Resolved::Ram(pa, _) => Some(pa),
            _ => None,
        }
    }
}

impl Access for Vcpu {
    async fn read32(&self, addr: u64) -> u32 {
        self.read(addr, 4).await as u32
    }
    async fn read64(&self, addr: u64) -> u64 {
        self.read(addr, 8).await
    }
    async fn write32(&self, addr: u64, value: u32) {
        self.write(addr, 4, value.into()).await;
    }
    async fn write64(&self, addr: u64, value: u64) {
        self.write(addr, 8, value).await;
    }
    async fn load(&self, addr: u64, bytes: &mut [u8]) {
        self.vm.read_memory(&self.cpu, addr, bytes).await;
    }
    async fn store(&self, addr: u64, bytes: &[u8]) {
        self.vm.write_memory(&self.cpu, addr, bytes).await;
    }
    async fn compare_swap(&self, addr: u64, expected: u64, new: u64) -> Result<u64, u64> {
        match self.memory(addr) {
            Some(pa) => self.cpu.compare_swap(pa, expected, new).await,
            None => Err(u64::MAX),
        }
    }
    async fn fetch_add(&self, addr: u64, add: u64) -> u64 {
        match self.memory(addr) {
            Some(pa) => self.cpu.fetch_add(pa, add).await,
            None => u64::MAX,
        }
    }
    async fn swap(&self, addr: u64, new: u64) -> u64 {
        match self.memory(addr) {
            Some(pa) => self.cpu.swap(pa, new).await,
            None => u64::MAX,
        }
    }
    async fn barrier(&self) {
        self.cpu.barrier().await;
    }
    async fn delay(&self, time: Time) {
        self.cpu.delay(time).await;
    }
    async fn sleep(&self, time: Time) {
        self.cpu.sleep(time).await;
    }
    async fn wait_while32(&self, addr: u64, value: u32, limit: Option<Time>) -> bool {
        match self.memory(addr) {
            Some(pa) => self.cpu.wait_while32(pa, value, limit).await,
            None => value != u32::MAX,
        }
    }
    async fn wait_while64(&self, addr: u64, value: u64, limit: Option<Time>) -> bool {
        match self.memory(addr) {
            Some(pa) => self.cpu.wait_while64(pa, value, limit).await,
            None => value != u64::MAX,
        }
    }
    async fn wait_interrupt(&self, intid: u32, limit: Option<Time>) -> bool {
        let signal = self.vm.interrupt_signal(intid);
        match self.cpu.wait_signal(signal, self.vm.consumed(intid), limit).await {
            Some(count) => {
                self.vm.consume(intid, count);
                true
            }
            None => false,
        }
    }
    async fn signal(&self, signal: SignalId) {
        self.cpu.signal(signal).await;
    }
    async fn wait_signal(&self, signal: SignalId, seen: u64, limit: Option<Time>) -> Option<u64> {
        self.cpu.wait_signal(signal, seen, limit).await
    }
    async fn spawn<F, B>(&self, cpu: CpuId, name: String, body: B)
    where
        B: FnOnce(Self) -> F + Send,
        F: Future<Output = ()> + Send + 'static,
    {
        let vm = Arc::clone(&self.vm);
        let pinned = vm.config.cpus[usize::from(cpu.0) % vm.config.cpus.len()];
        self.cpu.spawn(pinned, name, move |host| body(Self { cpu: host, vm, id: cpu })).await;
    }
    fn now(&self) -> Time {
        self.cpu.now()
    }
    fn id(&self) -> CpuId {
        self.id
    }
}

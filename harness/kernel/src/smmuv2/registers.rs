//! Register access: writes go to every instance, reads come from the first, synchronisation asks all of them.

use parking_lot::Mutex;
use sim::Time;
use spec::smmuv2::{Place, TLBGSTATUS};

use super::NvidiaConfig;
use crate::access::Access;

/// Reads of the status before the driver waits, and again before it waits twice as long.
const SPINS: u32 = 10;

/// Which instances a register write reaches. All but the first are faults of the environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Broadcast {
    /// Every instance.
    #[default]
    All,
    /// Every instance, but TLB invalidations and synchronisations reach only instance 0.
    NotInvalidations,
    /// Only instance 0.
    FirstOnly,
}

#[derive(Debug)]
pub(super) struct Registers {
    bases: Vec<u64>,
    limit: Time,
    broadcast: Mutex<Broadcast>,
}

impl Registers {
    pub(super) fn new(config: &NvidiaConfig) -> Self {
        assert!(!config.bases.is_empty(), "there is an instance");
        let NvidiaConfig { ref bases, sync_limit, broadcast, .. } = *config;
        Self { bases: bases.clone(), limit: sync_limit, broadcast: Mutex::new(broadcast) }
    }
    pub(super) fn set_broadcast(&self, broadcast: Broadcast) {
        *self.broadcast.lock() = broadcast;
    }
    /// Number of instances.
    pub(super) fn instances(&self) -> usize {
        self.bases.len()
    }
    fn addr(&self, instance: usize, place: Place) -> u64 {
        self.bases[instance] + u64::from(place.offset())
    }
    fn written(&self, invalidation: bool) -> &[u64] {
        let all = match *self.broadcast.lock() {
            Broadcast::All => true,
            Broadcast::NotInvalidations => !invalidation,
            Broadcast::FirstOnly => false,
        };
        if all { &self.bases } else { &self.bases[..1] }
    }

    pub(super) async fn read32<A: Access>(&self, cpu: &A, place: Place) -> u32 {
        self.read32_of(cpu, 0, place).await
    }
    pub(super) async fn read32_of<A: Access>(&self, cpu: &A, instance: usize, place: Place) -> u32 {
        cpu.read32(self.addr(instance, place)).await
    }
    pub(super) async fn read64_of<A: Access>(&self, cpu: &A, instance: usize, place: Place) -> u64 {
        cpu.read64(self.addr(instance, place)).await
    }
    pub(super) async fn write32<A: Access>(&self, cpu: &A, place: Place, value: u64) {
        for base in self.written(false) {
            cpu.write32(base + u64::from(place.offset()), value as u32).await;
        }
    }
    pub(super) async fn write64<A: Access>(&self, cpu: &A, place: Place, value: u64) {
        for base in self.written(false) {
            cpu.write64(base + u64::from(place.offset()), value).await;
        }
    }
    pub(super) async fn invalidate32<A: Access>(&self, cpu: &A, place: Place, value: u64) {
        for base in self.written(true) {
            cpu.write32(base + u64::from(place.offset()), value as u32).await;
        }
    }
    pub(super) async fn invalidate64<A: Access>(&self, cpu: &A, place: Place, value: u64) {
        for base in self.written(true) {
            cpu.write64(base + u64::from(place.offset()), value).await;
        }
    }
    /// Clears the status bits that one instance shows.
    pub(super) async fn clear<A: Access>(&self, cpu: &A, instance: usize, place: Place, status: u32) {
        cpu.write32(self.addr(instance, place), status).await;
    }
    /// Clears a status register, in each instance what that instance shows.
    pub(super) async fn clear_each<A: Access>(&self, cpu: &A, place: Place) {
        for instance in 0..self.instances() {
            let status = self.read32_of(cpu, instance, place).await;
            self.clear(cpu, instance, place, status).await;
        }
    }

    /// Starts a synchronisation everywhere and waits until no instance is active any more. False when that took too
    /// long.
    pub(super) async fn sync<A: Access>(&self, cpu: &A, start: Place, status: Place) -> bool {
        self.invalidate32(cpu, start, 0).await;
        // The status must not be read before the write has arrived.
        cpu.barrier().await;
        let mut pause = Time::us(1);
        while pause < self.limit {
            for _ in 0..SPINS {
                let mut active = 0;
                for instance in 0..self.instances() {
                    active |= self.read32_of(cpu, instance, status).await;
                }
                // Both status registers have the active bit in the same place.
                if !TLBGSTATUS(active.into()).gsactive() {
                    return true;
                }
            }
            cpu.delay(pause).await;
            pause = pause * 2;
        }
        false
    }
}

//! A machine that runs: the system, its event queue and its clock.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sim::{DomainId, Queue, Time};

use super::{Event, System, SystemConfig, Unbuildable};
use crate::bus::PhysAddr;
use crate::cpu::{self, Cpu, CpuId};
use crate::endpoint::{self, Endpoint};
use crate::memory::Memory;
use crate::psmmu::Psmmu;
use crate::record::Record;

/// What a run cost the simulator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events dispatched.
    pub events: u64,
}

/// A simulated machine.
#[derive(Debug)]
pub struct Machine {
    system: System,
    queue: Queue<Event>,
    clock: Arc<AtomicU64>,
    counters: Counters,
}

impl Machine {
    /// A machine at time zero, its memory full of zeros, no software on it.
    ///
    /// # Errors
    /// Two completers claim the same address, or a pSMMU's configuration contradicts itself.
    pub fn new(config: SystemConfig) -> Result<Self, Unbuildable> {
        let mut queue = Queue::new(DomainId(0));
        for endpoint in 0..config.endpoints.len() as u16 {
            queue.push(Time::ZERO, Event::Endpoint(endpoint, endpoint::In::Start));
        }
        Ok(Self {
            system: System::new(config)?,
            queue,
            clock: Arc::new(AtomicU64::new(0)),
            counters: Counters::default(),
        })
    }

    /// Starts a task on a CPU, now.
    pub fn spawn<F>(&mut self, cpu: CpuId, name: impl Into<String>, body: impl FnOnce(Cpu) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let task = Cpu::task(name, cpu, &self.clock, body);
        self.queue.push(self.queue.now(), Event::Cpu(cpu, cpu::In::Spawn(Box::new(task))));
    }

    /// Dispatches the next event; `None` when nothing is left to happen.
    pub fn step(&mut self) -> Option<Time> {
        let (now, event) = self.queue.pop()?;
        self.clock.store(now.as_ps(), Ordering::Relaxed);
        self.counters.events += 1;
        self.system.dispatch(now, event, &mut self.queue);
        Some(now)
    }

    /// Dispatches events until `limit` is reached or nothing is left. Records pile up: for tests and benchmarks.
    pub fn run_until(&mut self, limit: Time) {
        while self.queue.next_time().is_some_and(|next| next < limit) {
            self.step();
        }
    }

    /// When the next event happens.
    pub fn next_time(&self) -> Option<Time> {
        self.queue.next_time()
    }
    /// The time of the last event.
    pub fn now(&self) -> Time {
        self.queue.now()
    }
    /// Hands over what observers were told since the last call, oldest first.
    pub fn drain_records(&mut self) -> std::vec::Drain<'_, (Time, Record)> {
        self.system.records.drain(..)
    }
    /// Whether observers have something to hear.
    pub fn has_records(&self) -> bool {
        !self.system.records.is_empty()
    }
    /// What the run cost so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Memory, with its counters.
    pub fn memory(&self) -> &Memory {
        &self.system.memory
    }
    /// Reads a word of memory without simulated cost.
    pub fn peek(&self, addr: PhysAddr) -> u64 {
        let mut bytes = [0; 8];
        self.system.memory.store().read(addr, &mut bytes);
        u64::from_le_bytes(bytes)
    }
    /// The pSMMUs.
    pub fn psmmus(&self) -> &[Psmmu] {
        &self.system.psmmus
    }
    /// The pSMMUs, to change what goes wrong in them.
    pub fn psmmus_mut(&mut self) -> &mut [Psmmu] {
        &mut self.system.psmmus
    }
    /// The endpoints, to change what goes wrong in them.
    pub fn endpoints_mut(&mut self) -> &mut [Endpoint] {
        &mut self.system.endpoints
    }
    /// The endpoints.
    pub fn endpoints(&self) -> &[Endpoint] {
        &self.system.endpoints
    }
    /// Names of tasks that have not returned, with their CPU.
    pub fn unfinished(&self) -> Vec<(CpuId, String)> {
        let cpus = self.system.cpus.iter().enumerate();
        cpus.flat_map(|(i, core)| core.unfinished().map(move |name| (CpuId(i as u16), name.to_owned())))
            .collect()
    }
}

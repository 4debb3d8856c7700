//! Loads: threads that map, DMA and unmap in a loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use kernel::alloc::PAGE;
use kernel::guest::Guest;
use kernel::pgtable::Prot;
use kernel::vmm::Vcpu;
use models::cpu::{Cpu, SignalId};
use models::dma::{Incoming, Job};
use parking_lot::Mutex;
use sim::stats::Latency;
use sim::{Rng, Time};

use super::attack::Attacker;
use super::steps::Seen;
use super::world::{HostDma, LOAD_SIGNAL, World};
use crate::model::Load;
use crate::names::{Actor, EndpointId};
use crate::platform::LoadKind;

/// What the threads of a load count.
#[derive(Debug, Default)]
pub(super) struct Counts {
    pub(super) iterations: u64,
    pub(super) dma_bytes: u64,
    pub(super) aborted: u64,
    pub(super) failed: Option<String>,
    pub(super) map: Latency,
    pub(super) dma: Latency,
    pub(super) unmap: Latency,
    pub(super) begun: Option<Time>,
    pub(super) ended: Time,
}

/// A load that has been started.
#[derive(Debug)]
pub(super) struct Running {
    threads: u64,
    signal: SignalId,
    finished: AtomicU64,
    pub(super) counts: Mutex<Counts>,
}

impl Running {
    /// Waits until every thread has ended.
    pub(super) async fn wait(&self, cpu: &Cpu) -> Seen {
        let mut seen = 0;
        while self.finished.load(Ordering::Relaxed) < self.threads {
            if let Some(count) = cpu.wait_signal(self.signal, seen, None).await {
                seen = count;
            }
        }
        let counts = self.counts.lock();
        match &counts.failed {
            Some(why) => Err(why.clone()),
            None => Ok(format!("{} iterations", counts.iterations)),
        }
    }
}

/// How a thread maps memory: through a guest's driver, or through the host's.
enum Side {
    Guest { vcpu: Vcpu, guest: Arc<Guest>, device: (u16, u32) },
    Host { cpu: Cpu, dma: HostDma },
}

/// Starts every thread of a load.
pub(super) async fn start(world: &Arc<World>, cpu: &Cpu, index: usize, seed: u64) -> Arc<Running> {
    let load = &world.scenario.loads[index];
    let running = Arc::new(Running {
        threads: load.threads,
        signal: SignalId(LOAD_SIGNAL + index as u32),
        finished: AtomicU64::new(0),
        counts: Mutex::default(),
    });
    for thread in 0..load.threads {
        let endpoint = load.endpoints[(thread % load.endpoints.len() as u64) as usize];
        let on = match load.actor {
            Actor::Host => world.plan.cpus.thread(thread),
            Actor::Vm(vm) => {
                let cpus = &world.vms[vm.0].vm.config.cpus;
                cpus[(thread % cpus.len() as u64) as usize]
            }
        };
        let (world, running) = (Arc::clone(world), Arc::clone(&running));
        let name = format!("{} thread {thread}", load.name);
        let rng = Rng::new(seed, &name);
        cpu.spawn(on, name, move |cpu| async move {
            let load = &world.scenario.loads[index];
            let ended = match side(&world, &cpu, load, endpoint, thread).await {
                Ok(Side::Guest { vcpu, guest, device }) if load.kind == LoadKind::HostileGuest => {
                    match Attacker::new(&world, (vcpu, &guest), device.0, thread, rng) {
                        Ok(attacker) => {
                            attacker.run(&cpu, load, &running).await;
                            Ok(())
                        }
                        Err(why) => Err(why),
                    }
                }
                Ok(side) => turn(&cpu, load, endpoint, &side, &running, rng).await,
                Err(why) => Err(why),
            };
            {
                let mut counts = running.counts.lock();
                counts.ended = counts.ended.max(cpu.now());
                if let Err(why) = ended {
                    counts.failed.get_or_insert(why);
                }
            }
            running.finished.fetch_add(1, Ordering::Relaxed);
            cpu.signal(running.signal).await;
        })
        .await;
    }
    running
}

async fn side(
    world: &Arc<World>,
    cpu: &Cpu,
    load: &Load,
    endpoint: EndpointId,
    thread: u64,
) -> Result<Side, String> {
    let name = &world.scenario.endpoints[endpoint.0].name;
    match load.actor {
        Actor::Host => {
            let dma = super::steps::host_dma(world, cpu, endpoint, None).await?;
            Ok(Side::Host { cpu: cpu.clone(), dma })
        }
        Actor::Vm(vm) => {
            let guest = world.vms[vm.0].guest.get().ok_or("the guest has not booted")?;
            let device = world.guest_device(vm.0, endpoint).ok_or_else(|| {
                format!("`{name}` is behind no vSMMU of `{}`", world.scenario.vms[vm.0].name)
            })?;
            let vcpu = world.vcpu(cpu, vm.0, thread as u16);
            Ok(Side::Guest { vcpu, guest: Arc::clone(guest), device })
        }
    }
}

/// The loop of one thread.
async fn turn(
    cpu: &Cpu,
    load: &Load,
    endpoint: EndpointId,
    side: &Side,
    running: &Running,
    mut rng: Rng,
) -> Result<(), String> {
    let len = load.granule.bytes() * load.pages;
    let fail = |what: &str, errno: kernel::errno::Errno| format!("{what} failed with -{errno}");
    let pages = match side {
        Side::Guest { guest, .. } => guest.pages.clone(),
        Side::Host { dma, .. } => dma.pages.clone(),
    };
    let buffer =
        pages.alloc_aligned(len, load.granule.bytes()).map_err(|e| fail("allocating a buffer", e))?;
    running.counts.lock().begun.get_or_insert(cpu.now());
    let period = load.rate.map(|rate| Time::ps(1_000_000_000_000 / rate.max(1)));
    let mut next = cpu.now();
    let mut held = None;
    for nth in 0..load.count {
        let t0 = cpu.now();
        if load.kind != LoadKind::Dma || nth == 0 {
            held = Some(map(side, buffer, len).await.map_err(|e| fail("map", e))?);
            running.counts.lock().map.record(cpu.now() - t0);
        }
        let (iova, mapping) = held.expect("mapped above");
        if load.kind != LoadKind::MapUnmap {
            for page in 0..load.pages {
                // Somewhere in the page, so that lines differ.
                let room = load.granule.bytes().saturating_sub(load.bytes);
                let offset = if room == 0 { 0 } else { rng.below(room / 64 + 1) * 64 };
                let at = iova + page * load.granule.bytes() + offset.min(room);
                let t1 = cpu.now();
                let job = Job {
                    write: page % 2 == 1,
                    iova: at,
                    ssid: None,
                    incoming: Incoming::DEFAULT,
                    len: load.bytes as u32,
                    pattern: vec![page as u8],
                    stop: false,
                };
                let result = cpu.run_job(endpoint.0 as u16, job).await;
                let mut counts = running.counts.lock();
                counts.dma.record(cpu.now() - t1);
                counts.dma_bytes += u64::from(result.done);
                if result.aborted {
                    counts.aborted += 1;
                    return Err(format!("DMA to {at:#x} was refused although it is mapped"));
                }
            }
        }
        if load.kind != LoadKind::Dma || nth + 1 == load.count {
            let t2 = cpu.now();
            unmap(side, iova, len, mapping).await.map_err(|e| fail("unmap", e))?;
            running.counts.lock().unmap.record(cpu.now() - t2);
            held = None;
        }
        running.counts.lock().iterations += 1;
        if let Some(period) = period {
            next += period;
            cpu.sleep(next.saturating_sub(cpu.now())).await;
        }
    }
    pages.free_aligned(buffer, len);
    Ok(())
}

type Mapped = Option<kernel::guest::DmaMapping>;

async fn map(side: &Side, buffer: u64, len: u64) -> Result<(u64, Mapped), kernel::errno::Errno> {
    match side {
        Side::Guest { vcpu, guest, device } => {
            let mapping = guest.map(vcpu, *device, None, buffer, len, Prot::READ_WRITE).await?;
            Ok((mapping.iova, Some(mapping)))
        }
        Side::Host { cpu, dma } => {
            let iova = dma.iovas.alloc_aligned(len, PAGE)?;
            dma.domain.map(cpu, iova, buffer, len, Prot::READ_WRITE).await?;
            Ok((iova, None))
        }
    }
}

async fn unmap(side: &Side, iova: u64, len: u64, mapping: Mapped) -> Result<(), kernel::errno::Errno> {
    match (side, mapping) {
        (Side::Guest { vcpu, guest, .. }, Some(mapping)) => guest.unmap(vcpu, &mapping, true).await,
        (Side::Host { cpu, dma }, _) => {
            dma.domain.unmap(cpu, iova, len).await?;
            dma.iovas.free_aligned(iova, len);
            Ok(())
        }
        (Side::Guest { .. }, None) => unreachable!("a guest's mapping has a handle"),
    }
}

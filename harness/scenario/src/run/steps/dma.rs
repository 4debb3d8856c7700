//! The DMA API of host and guests, and transfers of endpoints.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use kernel::access::Access;
use kernel::alloc::{PAGE, Pages};
use kernel::errno::Errno;
use kernel::guest::Guest;
use kernel::journal::{DomainId, Note};
use kernel::pgtable::{PageTable, Prot};
use kernel::smmu::{DemandRange, Domain, DomainKind};
use models::cpu::Cpu;
use models::dma::{Incoming, Job, JobResult};
use sim::Time;

use super::memory::{buffer, by, hex, load};
use super::{Seen, judge};
use crate::model::Behind;
use crate::names::{Actor, EndpointId, MappingRef, ObjectRef};
use crate::run::judge::SeenEvent;
use crate::run::world::{DmaRange, HostDma, HostDomain, Made, World};
use crate::step::{self, Direction, Event, Expected, Step};

/// Input addresses that the host's driver chooses from: below 4 GiB, away from zero.
const IOVAS: (u64, u64) = (0x1_0000, 0xf000_0000);
/// So much of a mapped buffer is filled.
const FILL_MAX: u64 = 1 << 20;
/// An event record is under way for at most this long after the abort.
const EVENT_LIMIT: Time = Time::us(20);
const EVENT_PAUSE: Time = Time::ns(500);

pub(super) async fn map(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::Map) -> Seen {
    let prot = if a.write { Prot::READ_WRITE } else { Prot::READ };
    let len = a.length.0.next_multiple_of(PAGE);
    let result = match step.actor {
        Actor::Host => map_host(world, cpu, a, len, prot).await?,
        Actor::Vm(vm) => map_guest(world, cpu, vm.0, a, len, prot).await?,
    };
    if let Ok(range) = &result {
        world.keep(step, Made::Mapping(range.clone()));
    }
    judge(step.expect, result, |range| {
        format!("{:#x} to {:#x}, {:#x} bytes", range.iova, range.owner_addr, range.len)
    })
}

async fn map_host(
    world: &Arc<World>,
    cpu: &Cpu,
    a: &step::Map,
    len: u64,
    prot: Prot,
) -> Result<Result<DmaRange, Errno>, String> {
    let pasid = a.pasid.map(|pasid| pasid as u32);
    let dma = host_dma(world, cpu, a.endpoint, pasid).await?;
    Ok(async {
        let pa = world.host.pages.alloc(len)?;
        fill(cpu, pa, len).await;
        let iova = match a.iova {
            Some(iova) => iova.0,
            None => dma.iovas.alloc(len).map_err(|_| Errno::ENOSPC)?,
        };
        if a.demand {
            let range = |domain| DemandRange { domain, iova, pa, len, prot };
            let HostDomain::Smmu(domain) = &dma.domain else { return Err(Errno::EOPNOTSUPP) };
            for &sid in &world.scenario.endpoints[a.endpoint.0].streams {
                domain.driver().map_on_demand(sid, pasid, range(Arc::clone(domain)));
            }
        } else {
            dma.domain.map(cpu, iova, pa, len, prot).await?;
        }
        let actor = Actor::Host;
        let chosen = a.iova.is_none();
        let (endpoint, owner_addr) = (a.endpoint, pa);
        Ok(DmaRange { actor, endpoint, pasid, iova, pa, owner_addr, len, guest: None, chosen })
    }
    .await)
}

/// The host's address space for an endpoint, or for a PASID of it; the first use makes it and attaches the endpoint.
pub(in crate::run) async fn host_dma(
    world: &Arc<World>,
    cpu: &Cpu,
    endpoint: EndpointId,
    pasid: Option<u32>,
) -> Result<HostDma, String> {
    let name = &world.scenario.endpoints[endpoint.0].name;
    if pasid.is_some() {
        // PASIDs are those of a stream that has a table of CDs.
        Box::pin(host_dma(world, cpu, endpoint, None)).await?;
    }
    let key = (endpoint, pasid);
    loop {
        match world.host_dma.lock().entry(key) {
            Entry::Occupied(entry) => {
                if let Some(dma) = entry.get() {
                    return Ok(dma.clone());
                }
            }
            Entry::Vacant(entry) => {
                entry.insert(None);
                break;
            }
        }
        cpu.sleep(Time::us(1)).await;
    }
    let made = if world.bound.lock().keys().any(|(_, bound)| *bound == endpoint) {
        Err(format!("`{name}` is bound to an iommufd context: the kernel's driver does not have it"))
    } else {
        let made = attach_host(world, cpu, endpoint, pasid).await;
        made.map_err(|errno| format!("the host's driver cannot attach `{name}`: -{errno}"))
    };
    let mut all = world.host_dma.lock();
    match &made {
        Ok(dma) => all.insert(key, Some(dma.clone())),
        Err(_) => all.remove(&key).flatten().map(Some),
    };
    made
}

async fn attach_host(
    world: &World,
    cpu: &Cpu,
    endpoint: EndpointId,
    pasid: Option<u32>,
) -> Result<HostDma, Errno> {
    let endpoint = &world.scenario.endpoints[endpoint.0];
    let domain = match endpoint.behind {
        Behind::Psmmu(p) => {
            let driver = &world.host.smmus[p.0].driver;
            let domain = Arc::new(Domain::new(cpu, driver, DomainKind::Stage1).await?);
            for &sid in &endpoint.streams {
                match pasid {
                    Some(pasid) => driver.attach_pasid(cpu, sid, pasid, &domain).await?,
                    None => driver.attach(cpu, sid, &domain).await?,
                }
            }
            HostDomain::Smmu(domain)
        }
        Behind::Pair(_) if pasid.is_some() => return Err(Errno::EOPNOTSUPP),
        Behind::Pair(p) => {
            let driver = &world.pairs[p.0];
            let domain = Arc::new(driver.create_domain(cpu).await?);
            for &sid in &endpoint.streams {
                driver.attach(cpu, &domain, sid).await?;
            }
            HostDomain::Pair(Arc::clone(driver), domain)
        }
    };
    Ok(HostDma { domain, iovas: Pages::new(&[IOVAS]), pages: world.host.pages.clone() })
}

/// A booted guest.
pub(super) fn guest(world: &World, vm: usize) -> Result<&Arc<Guest>, String> {
    let name = &world.scenario.vms[vm].name;
    world.vms[vm].guest.get().ok_or_else(|| format!("no guest runs in `{name}`"))
}

async fn map_guest(
    world: &Arc<World>,
    cpu: &Cpu,
    vm: usize,
    a: &step::Map,
    len: u64,
    prot: Prot,
) -> Result<Result<DmaRange, Errno>, String> {
    let guest = guest(world, vm)?;
    let owner = &world.vms[vm].vm;
    let Some(device) = world.guest_device(vm, a.endpoint) else {
        let endpoint = &world.scenario.endpoints[a.endpoint.0].name;
        return Err(format!("`{endpoint}` is not in `{}`", owner.name()));
    };
    let vcpu = world.vcpu(cpu, vm, 0);
    Ok(async {
        let gpa = guest.pages.alloc(len)?;
        fill(&vcpu, gpa, len).await;
        let iova = a.iova.map(|iova| iova.0);
        let mapping = guest.map(&vcpu, device, iova, gpa, len, prot).await?;
        let pieces = owner.memory_at(gpa, len).expect("the guest's pages are its memory");
        Ok(DmaRange {
            actor: Actor::Vm(crate::names::VmId(vm)),
            endpoint: a.endpoint,
            pasid: None,
            iova: mapping.iova,
            pa: pieces[0].0,
            owner_addr: gpa,
            len,
            guest: Some(mapping),
            chosen: iova.is_none(),
        })
    }
    .await)
}

/// Every 8-byte word becomes a mark and its own address, so that data tell where they come from.
async fn fill<A: Access>(cpu: &A, addr: u64, len: u64) {
    const MARK: u64 = 0xda7a << 48;
    for page in (addr..addr + len.min(FILL_MAX)).step_by(PAGE as usize) {
        let words = (page..page + PAGE).step_by(8);
        let bytes: Vec<u8> = words.flat_map(|at| (at | MARK).to_le_bytes()).collect();
        cpu.store(page, &bytes).await;
    }
    cpu.barrier().await;
}

/// The buffer stays allocated and keeps its contents: the script may look at what a device does to it afterwards.
pub(super) async fn unmap(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::Unmap) -> Seen {
    let (range, name) = mapping(world, a.mapping)?;
    if range.actor != step.actor {
        return Err(format!("`{name}` was mapped by {}", world.actor_name(range.actor)));
    }
    let result = match range.actor {
        Actor::Host => {
            let dma = host_dma(world, cpu, range.endpoint, range.pasid).await?;
            if let HostDomain::Smmu(domain) = &dma.domain {
                for &sid in &world.scenario.endpoints[range.endpoint.0].streams {
                    domain.driver().withdraw(cpu, sid, range.pasid, range.iova).await;
                }
            }
            let result = if a.invalidate {
                dma.domain.unmap(cpu, range.iova, range.len).await.map(|_| ())
            } else {
                clear(world, cpu, step, (dma.domain.table(), dma.domain.id()), &range).await
            };
            if result.is_ok() && a.invalidate && range.chosen {
                dma.iovas.free(range.iova, range.len);
            }
            result
        }
        Actor::Vm(vm) => {
            let guest = guest(world, vm.0)?;
            let vcpu = world.vcpu(cpu, vm.0, 0);
            let handle = range.guest.expect("a guest's mapping has its handle");
            if a.invalidate {
                guest.unmap(&vcpu, &handle, range.chosen).await
            } else {
                let domain = guest.domain(handle.device).expect("it was mapped there");
                clear(world, &vcpu, step, (domain.table(), domain.id()), &range).await
            }
        }
    };
    let how = if a.invalidate { "and invalidated" } else { "without invalidation" };
    judge(step.expect, result, |()| format!("{:#x} unmapped {how}", range.iova))
}

/// Only the tables change; nothing is invalidated or given back.
async fn clear<A: Access>(
    world: &World,
    cpu: &A,
    step: &Step,
    (table, domain): (&PageTable, DomainId),
    range: &DmaRange,
) -> Result<(), Errno> {
    let (iova, len) = (range.iova, range.len);
    table.unmap(cpu, iova, len).await?;
    cpu.barrier().await;
    world.journal.push(cpu.now(), Note::Unmapping { by: by(step.actor), domain, iova, len });
    Ok(())
}

fn mapping(world: &World, reference: MappingRef) -> Result<(DmaRange, String), String> {
    let (id, made) = world.named(reference.0)?;
    let name = world.object_name(id).to_owned();
    match made {
        Made::Mapping(range) => Ok((range, name)),
        _ => Err(format!("`{name}` is no mapping")),
    }
}

/// Where a transfer must arrive.
enum Landing {
    /// In a buffer of the script.
    Buffer { name: String, memory: kernel::iommufd::UserMemory, offset: u64 },
    /// In the memory of a mapping, as its owner sees memory.
    Mapped { name: String, range: DmaRange, offset: u64 },
}

impl Landing {
    fn of(world: &World, a: &step::Dma) -> Result<Option<Self>, String> {
        if let Some(reference) = a.lands_in {
            let memory = buffer(world, reference)?;
            let name = match reference.0 {
                ObjectRef::Object(id) => world.object_name(id).to_owned(),
                _ => String::new(),
            };
            return Ok(Some(Self::Buffer { name, memory, offset: a.lands_at.0 }));
        }
        let Some(reference) = a.mapping else { return Ok(None) };
        let (range, name) = mapping(world, reference)?;
        // Beyond the mapping there is no memory that it must reach.
        let inside = a.offset.0.checked_add(a.length.0).is_some_and(|end| end <= range.len);
        Ok(inside.then_some(Self::Mapped { name, range, offset: a.offset.0 }))
    }
    async fn load(&self, world: &World, cpu: &Cpu, len: usize) -> Result<Vec<u8>, String> {
        match self {
            Self::Buffer { memory, offset, .. } => load(cpu, memory, *offset, len).await,
            Self::Mapped { range, offset, .. } => {
                let mut bytes = vec![0; len];
                let addr = range.owner_addr + offset;
                match range.actor {
                    Actor::Host => cpu.load(addr, &mut bytes).await,
                    Actor::Vm(vm) => world.vms[vm.0].vm.read_memory(cpu, addr, &mut bytes).await,
                }
                Ok(bytes)
            }
        }
    }
    fn show(&self) -> String {
        match self {
            Self::Buffer { name, offset, .. } => format!("{offset:#x} of `{name}`"),
            Self::Mapped { name, range, offset } => {
                format!("{:#x} (`{name}` + {offset:#x})", range.pa + offset)
            }
        }
    }
}

pub(super) async fn dma(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::Dma) -> Seen {
    let range = a.mapping.map(|reference| mapping(world, reference)).transpose()?.map(|(range, _)| range);
    let base = match (a.iova, &range) {
        (Some(iova), _) => iova.0,
        (None, Some(range)) => range.iova,
        (None, None) => return Err("neither `iova` nor `mapping`".to_owned()),
    };
    let write = a.direction == Direction::Write;
    let len = a.length.0 as usize;
    let pattern = match &a.data {
        Some(data) if !data.0.is_empty() => data.0.clone(),
        // No other step writes the same.
        _ => (u64::from(step.line) | 0xd3a << 52).to_le_bytes().to_vec(),
    };
    let ssid = a.pasid.map(|pasid| pasid as u32).or(range.and_then(|range| range.pasid));
    if a.stop && ssid.is_none() {
        return Err("a stop marker is about a PASID, and the mapping has none".to_owned());
    }
    let before = world.control.event_count(cpu).await;
    let job = Job {
        write,
        iova: base.wrapping_add(a.offset.0),
        ssid,
        incoming: Incoming { privileged: a.privileged, instruction: a.instruction, ..Incoming::DEFAULT },
        len: a.length.0 as u32,
        pattern: if write { pattern.clone() } else { Vec::new() },
        stop: a.stop,
    };
    if a.background {
        let endpoint = a.endpoint.0 as u16;
        cpu.spawn(cpu.id(), "transfer", move |cpu| async move {
            cpu.run_job(endpoint, job).await;
        })
        .await;
        return Ok("under way".to_owned());
    }
    let result = cpu.run_job(a.endpoint.0 as u16, job).await;
    match step.expect {
        Expected::Ok if result.aborted => {
            cpu.sleep(EVENT_LIMIT).await;
            let raised = events_of(world, &world.control.events(cpu, before).await, a.endpoint);
            Err(format!("aborted after {} bytes{}", result.done, listed(&raised)))
        }
        Expected::Ok => {
            let wanted: Vec<u8> = pattern.iter().copied().cycle().take(len).collect();
            let given = if write || a.data.is_some() { Some(&wanted[..]) } else { None };
            arrived(world, cpu, a, &result, given).await
        }
        _ if !result.aborted => Err(succeeded(a, &result)),
        Expected::Abort => Ok("aborted, as it must".to_owned()),
        Expected::Event(event) => recorded(world, cpu, a.endpoint, event, before).await,
        Expected::Errno(_) => Err("a transfer does not end with an errno".to_owned()),
    }
}

/// Whether the bytes are where and what they must be. `given` is what was written, or what must have been read.
async fn arrived(world: &World, cpu: &Cpu, a: &step::Dma, result: &JobResult, given: Option<&[u8]>) -> Seen {
    let landing = Landing::of(world, a)?;
    let there = match &landing {
        Some(landing) => Some((landing.load(world, cpu, a.length.0 as usize).await?, landing.show())),
        None => None,
    };
    let (verb, moved) = match a.direction {
        Direction::Read => ("reads", &result.data[..]),
        Direction::Write => ("writes", given.expect("what is written is known")),
    };
    if let Some(want) = given.filter(|want| *want != moved) {
        return Err(format!("reads {}, but {} was expected", hex(moved), hex(want)));
    }
    match there {
        Some((bytes, place)) if bytes != moved => {
            Err(format!("{verb} {}, but {place} holds {}: another page", hex(moved), hex(&bytes)))
        }
        Some((_, place)) => Ok(format!("{verb} {place}")),
        None => Ok(format!("{verb} {}", hex(moved))),
    }
}

fn succeeded(a: &step::Dma, result: &JobResult) -> String {
    match a.direction {
        Direction::Read => format!("succeeded (reads {}), but an abort was expected", hex(&result.data)),
        Direction::Write => "succeeded, but an abort was expected".to_owned(),
    }
}

/// Waits for the record of an event of an endpoint among those after the first `before`.
async fn recorded(world: &World, cpu: &Cpu, endpoint: EndpointId, event: Event, before: usize) -> Seen {
    if world.stream_of(endpoint).is_none() {
        return Err("SMMUs behind a register broadcast write no event records: expect \"abort\"".to_owned());
    }
    let end = cpu.now() + EVENT_LIMIT;
    loop {
        let ours = events_of(world, &world.control.events(cpu, before).await, endpoint);
        if ours.contains(&event.number()) {
            return Ok(event.word().to_owned());
        }
        if cpu.now() >= end {
            return Err(format!("aborted, but no {event} was recorded{}", listed(&ours)));
        }
        cpu.sleep(EVENT_PAUSE).await;
    }
}

/// Numbers of the events that an endpoint raised.
fn events_of(world: &World, events: &[SeenEvent], endpoint: EndpointId) -> Vec<u8> {
    let smmu = world.stream_of(endpoint).map(|(smmu, _)| smmu);
    let streams = &world.scenario.endpoints[endpoint.0].streams;
    let ours = events.iter().filter(|e| Some(e.smmu) == smmu && streams.contains(&e.sid));
    ours.map(|e| e.number).collect()
}

/// Events in words, as the end of a sentence.
fn listed(numbers: &[u8]) -> String {
    let name = |number: &u8| {
        let known = Event::ALL.iter().find(|e| e.number() == *number);
        known.map_or_else(|| format!("event {number:#x}"), |e| e.word().to_owned())
    };
    match numbers {
        [] => ", no event was recorded".to_owned(),
        _ => format!(", recorded: {}", numbers.iter().map(name).collect::<Vec<_>>().join(", ")),
    }
}

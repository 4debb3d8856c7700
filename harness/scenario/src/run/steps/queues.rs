//! Commands put into queues, and event records waited for.

use std::sync::Arc;

use kernel::access::Access;
use kernel::errno::Errno;
use kernel::smmu::{CommandQueue, Driver, Ring};
use models::cpu::Cpu;
use sim::Time;
use spec::cmdqv::queue::BASE;
use spec::regs::Block as _;
use spec::smmu::page0::CMDQ_CONS;
use spec::smmu::{Command, CommandError};

use super::Seen;
use super::dma::guest;
use super::encode::encode;
use super::registers::{Region, vsmmu};
use crate::command::{Block, Queue, Register};
use crate::names::{Actor, Kind, ObjectId, PsmmuId, VsmmuId};
use crate::register::locate;
use crate::run::judge::SeenEvent;
use crate::run::world::{Made, World};
use crate::step::{self, Step};

/// How long a queue may take.
const LIMIT: Time = Time::ms(1);
const PAUSE: Time = Time::ns(200);
/// Pause between two looks for an event record.
const EVENT_PAUSE: Time = Time::us(1);

pub(super) async fn command(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::CommandStep) -> Seen {
    let in_guest = !matches!(a.queue, Queue::Smmu(_) | Queue::Vcmdq(..));
    let commands: Vec<Command> = a.commands.iter().map(|c| encode(world, c, in_guest)).collect();
    match a.queue {
        Queue::Smmu(p) => {
            let driver = &world.host.smmus[p.0].driver;
            let cons = Cons::of(world, cpu, step.actor, Block::Smmu(p), "CMDQ_CONS")?;
            issue(cpu, cpu, driver.main(), &cons, &commands, a).await
        }
        Queue::Vcmdq(p, q) => {
            let driver = &world.host.smmus[p.0].driver;
            let queue = own_queue(driver, q)
                .ok_or_else(|| format!("queue {q} is not one of VINTF 0, which is the host's"))?;
            let cons = Cons::of(world, cpu, step.actor, Block::Vcmdq(p, q), "CONS")?;
            issue(cpu, cpu, queue, &cons, &commands, a).await
        }
        Queue::Vsmmu(v) => {
            let vcpu = world.vcpu(cpu, world.scenario.vsmmus[v.0].vm.0, 0);
            let cons = Cons::of(world, cpu, step.actor, Block::Vsmmu(v), "CMDQ_CONS")?;
            issue(&vcpu, cpu, guest_driver(world, v)?.main(), &cons, &commands, a).await
        }
        Queue::GuestLvcmdq(v, l) => {
            let vcpu = world.vcpu(cpu, world.scenario.vsmmus[v.0].vm.0, 0);
            let queue = own_queue(guest_driver(world, v)?, l)
                .ok_or_else(|| format!("the guest's driver does not use hardware queue {l}"))?;
            let cons = Cons::of(world, cpu, step.actor, Block::GuestLvcmdq(v, l), "CONS")?;
            issue(&vcpu, cpu, queue, &cons, &commands, a).await
        }
        Queue::Window(id, l) => through_window(world, cpu, step.actor, (id, l), commands, a).await,
    }
}

fn own_queue(driver: &Driver, l: u64) -> Option<&CommandQueue> {
    driver.cmdqv()?.own_queues().nth(usize::try_from(l).ok()?)
}

fn guest_driver(world: &World, v: VsmmuId) -> Result<&Arc<Driver>, String> {
    let vsmmu = &world.scenario.vsmmus[v.0];
    let driver = guest(world, vsmmu.vm.0)?.driver(v.0 as u16);
    driver.ok_or_else(|| format!("the guest does not drive `{}`", vsmmu.name))
}

/// The consumer register of a queue.
struct Cons {
    region: Region,
    offset: u64,
}

impl Cons {
    fn of(world: &World, cpu: &Cpu, actor: Actor, block: Block, name: &str) -> Result<Self, String> {
        Ok(Self { region: Region::of(world, cpu, actor, block)?, offset: offset_of(block, name) })
    }
    /// SMMU and VCMDQs lay the register out alike.
    async fn read(&self) -> Result<CMDQ_CONS, String> {
        self.region.read(self.offset, 4).await.map(CMDQ_CONS)
    }
    /// Waits until the queue has stopped with an error; the code, or none within the limit. `stale` is an error that is
    /// shown already and counts only when the consumer has moved.
    async fn error(&self, cpu: &Cpu, stale: CMDQ_CONS) -> Result<Option<u64>, String> {
        let end = cpu.now() + LIMIT;
        while cpu.now() < end {
            let cons = self.read().await?;
            if cons.err() != 0 && cons.bits() != stale.bits() {
                return Ok(Some(cons.err()));
            }
            cpu.sleep(PAUSE).await;
        }
        Ok(None)
    }
}

fn offset_of(block: Block, name: &str) -> u64 {
    locate(block, &Register::Name(name.to_owned(), None)).expect("queues have these registers").offset
}

/// Through a driver's queue, next to whatever the driver itself puts there. The driver also recovers from an error.
async fn issue<A: Access>(
    by: &A,
    cpu: &Cpu,
    queue: &CommandQueue,
    cons: &Cons,
    commands: &[Command],
    a: &step::CommandStep,
) -> Seen {
    if let Some(want) = a.cerror {
        let stale = cons.read().await?;
        queue.issue(by, commands, false).await.map_err(timed_out)?;
        return judge_error(want, cons.error(cpu, stale).await?);
    }
    queue.issue(by, commands, a.sync).await.map_err(timed_out)?;
    Ok(issued(commands.len(), a.sync))
}

fn timed_out(errno: Errno) -> String {
    format!("the commands did not get through: {errno}")
}
fn issued(count: usize, sync: bool) -> String {
    format!("{count} commands{}", if sync { " and CMD_SYNC, consumed" } else { "" })
}

fn judge_error(want: u64, found: Option<u64>) -> Seen {
    let name = |code: u64| CommandError(code as u8).to_string();
    match found {
        Some(code) if code == want => Ok(format!("stopped with {}, as it must", name(code))),
        Some(code) => Err(format!("stopped with {}, but {} was expected", name(code), name(want))),
        None => Err(format!("did not stop within {LIMIT}, but {} was expected", name(want))),
    }
}

/// Through a mapped page: no driver knows of this queue. The script has enabled it.
async fn through_window(
    world: &Arc<World>,
    cpu: &Cpu,
    actor: Actor,
    (id, l): (ObjectId, u64),
    mut commands: Vec<Command>,
    a: &step::CommandStep,
) -> Seen {
    let (ring, base) = ring_behind(world, cpu, id, l).await?;
    let block = Block::Window(id, Some(l));
    let cons = Cons::of(world, cpu, actor, block, "CONS")?;
    let prod_offset = offset_of(block, "PROD");
    let count = commands.len();
    if a.sync {
        commands.push(Command::sync());
    }
    let prod = cons.region.read(prod_offset, 4).await? as u32 & ring.mask();
    let stale = cons.read().await?;
    if !ring.has_space(prod, stale.rd() as u32 & ring.mask(), commands.len() as u32) {
        return Err(format!("{} commands do not fit into the ring of {}", commands.len(), ring.entries()));
    }
    for (i, command) in commands.iter().enumerate() {
        let slot = u64::from(ring.index(ring.add(prod, i as u32)));
        cpu.store(base + slot * Command::BYTES as u64, &command.to_bytes()).await;
    }
    cpu.barrier().await;
    let end = ring.add(prod, commands.len() as u32);
    cons.region.write(prod_offset, 4, end.into()).await?;
    if let Some(want) = a.cerror {
        return judge_error(want, cons.error(cpu, stale).await?);
    }
    if !a.sync {
        return Ok(issued(count, false));
    }
    let limit = cpu.now() + LIMIT;
    loop {
        let now = cons.read().await?;
        if now.rd() as u32 & ring.mask() == end {
            return Ok(issued(count, true));
        }
        if now.err() != 0 && now.bits() != stale.bits() {
            let error = CommandError(now.err() as u8);
            return Err(format!("the queue stopped with {error} at {:#x}", now.rd()));
        }
        if cpu.now() >= limit {
            return Err(format!("CONS is still {:#x} after {LIMIT}, PROD is {end:#x}", now.rd()));
        }
        cpu.sleep(PAUSE).await;
    }
}

/// The ring of a window's queue and its host-physical address, from the page that only the host can read.
async fn ring_behind(world: &World, cpu: &Cpu, id: ObjectId, l: u64) -> Result<(Ring, u64), String> {
    let name = world.object_name(id);
    let Made::Window { actor, viommu, .. } = world.made(id)? else {
        return Err(format!("`{name}` is not a window"));
    };
    let facts = world.context(actor).viommu_facts(viommu);
    let facts = facts.map_err(|e| format!("`{name}`: its viommu is gone: {e}"))?;
    let vintf = facts.vintf.ok_or_else(|| format!("`{name}`: its viommu has no hardware queues"))?;
    let block = Block::Lvcmdq(PsmmuId(facts.smmu.into()), vintf.into(), l);
    let region = Region::of(world, cpu, Actor::Host, block)?;
    let base = BASE(region.read(offset_of(block, spec::cmdqv::QueuePage1::BASE.name()), 8).await?);
    if base.addr() == 0 {
        return Err(format!("logical queue {l} behind `{name}` has no ring"));
    }
    Ok((Ring::new(base.log2size() as u8), base.addr()))
}

/// At a psmmu: a record that hardware wrote and no earlier step took. At a vsmmu: such a record of a device behind it,
/// and one more record than earlier steps took in the guest's own queue.
pub(super) async fn wait_event(world: &Arc<World>, cpu: &Cpu, _: &Step, a: &step::WaitEvent) -> Seen {
    let scenario = &world.scenario;
    let streams: Vec<(u16, u32)> = match (a.endpoint, a.at.kind) {
        (Some(endpoint), _) => world.stream_of(endpoint).into_iter().collect(),
        (None, Kind::Vsmmu) => {
            let devices = &scenario.vsmmus[a.at.index].devices;
            devices.iter().filter_map(|(endpoint, _)| world.stream_of(*endpoint)).collect()
        }
        (None, _) => Vec::new(),
    };
    let anyone = a.endpoint.is_none() && a.at.kind == Kind::Psmmu;
    let matches = |e: &SeenEvent| {
        let ours = anyone || streams.contains(&(e.smmu, e.sid));
        let here = a.at.kind != Kind::Psmmu || usize::from(e.smmu) == a.at.index;
        ours && here && e.number == a.event.number()
    };
    let in_guest = match a.at.kind {
        Kind::Psmmu => None,
        Kind::Vsmmu => Some(vsmmu(world, VsmmuId(a.at.index))?),
        kind => return Err(format!("a {kind} has no event queue")),
    };
    let end = cpu.now() + a.within;
    loop {
        let events = world.control.events(cpu, 0).await;
        let fresh = {
            let mut all = world.taken_events.lock();
            let taken = all.entry(a.at).or_default();
            let found = (0..events.len()).find(|i| !taken.contains(i) && matches(&events[*i]));
            let delivered = in_guest.map(|v| v.counters().get("events").copied().unwrap_or(0));
            let found = found.filter(|_| delivered.is_none_or(|n| n > taken.len() as u64));
            taken.extend(found);
            found
        };
        if let Some(i) = fresh {
            let event = &events[i];
            return Ok(format!("{} of StreamID {:#x} at {}", a.event, event.sid, event.time));
        }
        if cpu.now() >= end {
            return Err(format!("no {} within {}", a.event, a.within));
        }
        cpu.sleep(EVENT_PAUSE).await;
    }
}

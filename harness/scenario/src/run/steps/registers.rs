//! Accesses of single registers, by whoever can reach them.

use std::sync::Arc;

use kernel::access::Access;
use kernel::vmm::Vcpu;
use models::bus::{Data, Op};
use models::cpu::Cpu;
use models::smmu::pmcg::{self, Unit};
use models::system::PMCG_OFFSET;

use super::Seen;
use crate::command::{Block, Register};
use crate::names::{Actor, ObjectId, PsmmuId, VsmmuId};
use crate::register::{Located, locate};
use crate::run::world::{Made, World};
use crate::step::{self, Action, Combine, Step};

/// Who reads and writes.
#[derive(Clone, Debug)]
pub(super) enum Through {
    /// The host, at host-physical addresses.
    Host(Cpu),
    /// A guest, at guest-physical addresses; accesses may trap.
    Guest(Vcpu),
}

impl Through {
    /// Reads `bytes` (1, 2, 4 or 8).
    pub(super) async fn read(&self, addr: u64, bytes: u64) -> Result<u64, String> {
        match self {
            Self::Host(cpu) => {
                let data = cpu.try_access(addr, Op::Read { len: bytes as u8 }).await;
                data.map(|data| data.value()).map_err(|_| format!("the read of {addr:#x} was aborted"))
            }
            Self::Guest(vcpu) => match bytes {
                4 => Ok(vcpu.read32(addr).await.into()),
                8 => Ok(vcpu.read64(addr).await),
                _ => Err(format!("a guest reads 32 or 64 bits, not {}", bytes * 8)),
            },
        }
    }
    /// Writes `bytes` (1, 2, 4 or 8) and waits for their arrival.
    pub(super) async fn write(&self, addr: u64, bytes: u64, value: u64) -> Result<(), String> {
        match self {
            Self::Host(cpu) => {
                let data = Data::new(&value.to_le_bytes()[..bytes as usize]);
                let done = cpu.try_access(addr, Op::Write(data)).await;
                return done.map(|_| ()).map_err(|_| format!("the write of {addr:#x} was aborted"));
            }
            Self::Guest(vcpu) => {
                match bytes {
                    4 => vcpu.write32(addr, value as u32).await,
                    8 => vcpu.write64(addr, value).await,
                    _ => return Err(format!("a guest writes 32 or 64 bits, not {}", bytes * 8)),
                }
                vcpu.barrier().await;
            }
        }
        Ok(())
    }
}

/// A block as the acting software reaches it.
#[derive(Clone, Debug)]
pub(super) struct Region {
    /// Who can reach it.
    pub(super) through: Through,
    /// First address of the region; several for the instances behind a register broadcast.
    pub(super) bases: Vec<u64>,
    /// Bytes from there that belong to it.
    len: u64,
}

impl Region {
    /// Finds the region that a block's offsets count from.
    pub(super) fn of(world: &World, cpu: &Cpu, actor: Actor, block: Block) -> Result<Self, String> {
        let host = |base, len| Self { through: Through::Host(cpu.clone()), bases: vec![base], len };
        let guest = |vm: usize, base, len| Self {
            through: Through::Guest(world.vcpu(cpu, vm, 0)),
            bases: vec![base],
            len,
        };
        let scenario = &world.scenario;
        Ok(match block {
            Block::Smmu(p) => {
                let psmmu = &scenario.psmmus[p.0];
                host(psmmu.mmio, psmmu.id.profile().window())
            }
            Block::Cmdqv(p) | Block::Vintf(p, _) | Block::Vcmdq(p, _) | Block::Lvcmdq(p, ..) => {
                let (base, len) = cmdqv(world, p)?;
                host(base, len)
            }
            Block::Pmcg(p, unit) => {
                let psmmu = &scenario.psmmus[p.0];
                if !psmmu.pmcg {
                    return Err(format!("`{}` has no performance monitors: pmcg = true", psmmu.name));
                }
                let behind = match unit {
                    Unit::Tcu => 0,
                    Unit::Tbu => 2 * pmcg::STRIDE,
                };
                host(psmmu.mmio + PMCG_OFFSET + behind, 2 * pmcg::STRIDE)
            }
            Block::Pair(p) => {
                let pair = &scenario.pairs[p.0];
                let stride = u64::from(spec::smmuv2::BYTES);
                let bases = (0..pair.instances).map(|n| pair.mmio + n * stride).collect();
                Self { through: Through::Host(cpu.clone()), bases, len: stride }
            }
            Block::Instance(p, n) => {
                let pair = &scenario.pairs[p.0];
                if n >= pair.instances {
                    return Err(format!("`{}` has {} instances", pair.name, pair.instances));
                }
                let stride = u64::from(spec::smmuv2::BYTES);
                host(pair.mmio + n * stride, stride)
            }
            Block::Vsmmu(v) => {
                let base = vsmmu(world, v)?.config.base;
                guest(scenario.vsmmus[v.0].vm.0, base, 2 * spec::smmu::page1::BASE)
            }
            Block::GuestCmdqv(v) | Block::GuestLvcmdq(v, _) => {
                let vsmmu = vsmmu(world, v)?;
                let cmdqv = vsmmu.cmdqv().ok_or_else(|| format!("`{}` has no CMDQV", vsmmu.config.name))?;
                guest(scenario.vsmmus[v.0].vm.0, cmdqv.base(), spec::cmdqv::region_bytes(1))
            }
            Block::Window(id, _) => window(world, cpu, actor, id)?,
            Block::Guest(vm) => guest(vm.0, 0, u64::MAX),
        })
    }

    fn addresses(&self, offset: u64, bytes: u64) -> Result<impl Iterator<Item = u64> + '_, String> {
        match offset.checked_add(bytes) {
            Some(end) if end <= self.len => Ok(self.bases.iter().map(move |base| base + offset)),
            _ => Err(format!("offset {offset:#x} is outside the block of {:#x} bytes", self.len)),
        }
    }
    /// Reads the first instance.
    pub(super) async fn read(&self, offset: u64, bytes: u64) -> Result<u64, String> {
        let addr = self.addresses(offset, bytes)?.next().expect("a region has an address");
        self.through.read(addr, bytes).await
    }
    /// Reads all instances and joins the values.
    async fn read_or(&self, offset: u64, bytes: u64) -> Result<u64, String> {
        let mut all = 0;
        for addr in self.addresses(offset, bytes)? {
            all |= self.through.read(addr, bytes).await?;
        }
        Ok(all)
    }
    /// Writes all instances.
    pub(super) async fn write(&self, offset: u64, bytes: u64, value: u64) -> Result<(), String> {
        for addr in self.addresses(offset, bytes)? {
            self.through.write(addr, bytes, value).await?;
        }
        Ok(())
    }
}

/// First address and size of a CMDQV.
fn cmdqv(world: &World, p: PsmmuId) -> Result<(u64, u64), String> {
    let psmmu = &world.scenario.psmmus[p.0];
    let cmdqv = psmmu.cmdqv.as_ref().ok_or_else(|| format!("`{}` has no CMDQV", psmmu.name))?;
    Ok((cmdqv.mmio, spec::cmdqv::region_bytes(cmdqv.vintfs)))
}

/// A virtual SMMU that is there.
pub(super) fn vsmmu(world: &World, v: VsmmuId) -> Result<&Arc<kernel::vmm::Vsmmu>, String> {
    let name = &world.scenario.vsmmus[v.0].name;
    world.vsmmus[v.0].as_ref().ok_or_else(|| format!("`{name}` is not there: its VM has not booted"))
}

/// A VM that acts goes through the guest address that the page was mapped at, everyone else through the mapping.
fn window(world: &World, cpu: &Cpu, actor: Actor, id: ObjectId) -> Result<Region, String> {
    let object = &world.scenario.objects[id.0];
    let Made::Window { mapping, .. } = world.made(id)? else {
        return Err(format!("`{}` is not a window", object.name));
    };
    let len = mapping.map_or(spec::cmdqv::PAGE, |m| m.len);
    if let (Actor::Vm(vm), Action::Mmap(args)) = (actor, &world.scenario.steps[object.step].action)
        && let Some(at) = args.at
    {
        let through = Through::Guest(world.vcpu(cpu, vm.0, 0));
        return Ok(Region { through, bases: vec![at.0], len });
    }
    let mapping = mapping.ok_or_else(|| format!("`{}` is not mapped", object.name))?;
    Ok(Region { through: Through::Host(cpu.clone()), bases: vec![mapping.pa], len })
}

/// Offset and bytes of an access.
fn place(block: Block, reg: &Register, width: Option<u64>) -> Result<(u64, u64), String> {
    let Located { offset, bytes } =
        locate(block, reg).map_err(|names| format!("no such register; there are {}", names.join(", ")))?;
    let bytes = match width {
        None => bytes.unwrap_or(4),
        Some(bits @ (8 | 16 | 32 | 64)) => bits / 8,
        Some(bits) => return Err(format!("no access is {bits} bits wide: 8, 16, 32 or 64")),
    };
    if !offset.is_multiple_of(bytes) {
        return Err(format!("offset {offset:#x} is not a multiple of {bytes} bytes"));
    }
    Ok((offset, bytes))
}

/// A register in words.
fn show(reg: &Register) -> String {
    match reg {
        Register::Name(name, None) => name.clone(),
        Register::Name(name, Some(index)) => format!("{name}[{index}]"),
        Register::Offset(offset) => format!("{offset:#x}"),
    }
}

pub(super) async fn reg_read(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::RegRead) -> Seen {
    let (offset, bytes) = place(a.block, &a.reg, a.width)?;
    let found = Region::of(world, cpu, step.actor, a.block)?.read(offset, bytes).await?;
    let (reg, mask) = (show(&a.reg), a.mask.unwrap_or(u64::MAX));
    let under = a.mask.map_or_else(String::new, |mask| format!(" under mask {mask:#x}"));
    if let Some(want) = a.value.filter(|want| (want ^ found) & mask != 0) {
        return Err(format!("{reg} is {found:#x}, but {want:#x}{under} was expected"));
    }
    if let Some(not) = a.not.filter(|not| (not ^ found) & mask == 0) {
        return Err(format!("{reg} is {found:#x}, but anything except {not:#x}{under} was expected"));
    }
    Ok(format!("{reg} is {found:#x}"))
}

pub(super) async fn reg_write(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::RegWrite) -> Seen {
    let (offset, bytes) = place(a.block, &a.reg, a.width)?;
    if bytes < 8 && a.value >> (8 * bytes) != 0 {
        return Err(format!("{:#x} does not fit into {} bits", a.value, 8 * bytes));
    }
    Region::of(world, cpu, step.actor, a.block)?.write(offset, bytes, a.value).await?;
    Ok(format!("{} = {:#x}", show(&a.reg), a.value))
}

pub(super) async fn registers(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::Registers) -> Seen {
    let region = Region::of(world, cpu, step.actor, a.block)?;
    let mut seen = Vec::new();
    for reg in crate::register::all(a.block) {
        // A block of fewer slots or queues than the architecture allows has holes, which read as zero.
        let (offset, bytes) = place(a.block, &reg, None)?;
        seen.push((show(&reg), region.read(offset, bytes).await?));
    }
    let count = seen.len();
    if let Some(same_as) = a.same_as {
        let name = world.scenario.steps[same_as.0].name.clone().unwrap_or_default();
        let before = world.registers.lock().get(&name).cloned();
        let before = before.ok_or_else(|| format!("`{name}` has read no registers"))?;
        let changed = before.iter().zip(&seen).filter(|(old, new)| old != new);
        let changed: Vec<_> =
            changed.map(|(old, new)| format!("{} was {:#x} and is {:#x}", old.0, old.1, new.1)).collect();
        if before.len() != count {
            return Err(format!("`{name}` has read another kind of block"));
        }
        if !changed.is_empty() {
            return Err(changed.join(", "));
        }
    }
    if let Some(name) = &step.name {
        world.registers.lock().insert(name.clone(), seen);
    }
    Ok(format!("{count} registers{}", if a.same_as.is_some() { ", none has changed" } else { "" }))
}

pub(super) async fn poll(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::Poll) -> Seen {
    let (offset, bytes) = place(a.block, &a.reg, None)?;
    let region = Region::of(world, cpu, step.actor, a.block)?;
    let (reg, mask, began) = (show(&a.reg), a.mask.unwrap_or(u64::MAX), cpu.now());
    let mut reads = 0_u64;
    loop {
        let found = match a.combine {
            Combine::First => region.read(offset, bytes).await?,
            Combine::Or => region.read_or(offset, bytes).await?,
        };
        reads += 1;
        let waited = cpu.now() - began;
        if (found ^ a.value) & mask == 0 {
            return Ok(format!("{reg} is {found:#x} after {waited}, read {reads} times"));
        }
        if waited >= a.limit {
            return Err(format!("{reg} is still {found:#x} after {waited}, not {:#x}", a.value));
        }
        cpu.sleep(a.every).await;
    }
}

//! Buffers, and stage-1 tables that the script builds in them.

use std::sync::Arc;

use kernel::access::Access;
use kernel::alloc::{PAGE, Pages};
use kernel::errno::Errno;
use kernel::host::user_memory;
use kernel::iommufd::UserMemory;
use kernel::journal::{Actor as By, DomainId, Note};
use kernel::pgtable::{self, MAIR, PageTable, Prot, Shape};
use kernel::vmm::{Vcpu, Vm, VmConfig, VmCosts};
use models::cpu::Cpu;
use spec::smmu::Cd;

use super::Seen;
use crate::names::{Actor, MemoryRef, TableRef};
use crate::platform::Granule;
use crate::run::control::Ask;
use crate::run::world::{Made, World};
use crate::step::{self, Step};

/// Stage-1 tables in a buffer.
#[derive(Clone, Debug)]
pub(in crate::run) struct Tables {
    /// IPA of the one CD: STE.S1ContextPtr, with S1CDMax 0 and S1Fmt 0.
    pub(in crate::run) cd_ipa: u64,
    /// CD.ASID.
    pub(in crate::run) asid: u16,
    /// The tables, in IPAs.
    pub(in crate::run) table: Arc<PageTable>,
    /// Their name in the journal.
    pub(in crate::run) domain: DomainId,
    /// A machine that has nothing but the buffer, at its IPA.
    view: Arc<Vm>,
}

impl Tables {
    fn access(&self, cpu: &Cpu) -> Vcpu {
        Vcpu::new(cpu.clone(), Arc::clone(&self.view), 0)
    }
}

/// So much of a new buffer is filled completely; it costs a store per cache line.
const FILL_WHOLE: u64 = 1 << 20;
/// Up to here the first line of every page is filled.
const FILL_FIRST_LINES: u64 = 64 << 20;
const LINE: u64 = 64;
/// Tables and CD have this many granules at the start of their buffer.
const TABLE_GRANULES: u64 = 16;
/// Address bits of stage 1 and of its output; the SMMU lowers the latter to its own size.
const ADDRESS_BITS: u8 = 48;

/// Page `n` of 4 KiB is filled with the byte `n`: all of the first MiB, the first line of each page up to 64 MiB. What
/// comes after is as it was.
pub(super) async fn memory(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::Memory) -> Seen {
    let memory = allocate(&world.host.pages, a).map_err(|e| format!("no memory: {e}"))?;
    for page in 0..(memory.len().min(FILL_FIRST_LINES)) / PAGE {
        let at = page * PAGE;
        let len = if at < FILL_WHOLE { PAGE } else { LINE };
        store(cpu, &memory, at, &vec![page as u8; len as usize]).await;
    }
    cpu.barrier().await;
    let first = memory.at(0).unwrap_or_default();
    let seen = format!("{} at {first:#x} in frames of {:#x} bytes", a.size, memory.page_size);
    world.keep(step, Made::Memory(memory));
    Ok(seen)
}

fn allocate(pages: &Pages, a: &step::Memory) -> Result<UserMemory, Errno> {
    let (size, page) = (a.size.0, a.page.0.max(PAGE));
    let align = a.align.map_or(0, |align| align.0.next_power_of_two());
    if align <= page {
        return user_memory(pages, size, page, a.contiguous);
    }
    let count = size.div_ceil(page);
    if a.contiguous {
        let base = pages.alloc_aligned(page * count, align)?;
        return Ok(UserMemory {
            page_size: page,
            frames: Arc::new((0..count).map(|i| base + i * page).collect()),
        });
    }
    let first = pages.alloc_aligned(page, align)?;
    // A hole, so that the second frame is not adjacent.
    pages.alloc_aligned(PAGE, PAGE)?;
    let mut frames = vec![first];
    if count > 1 {
        frames.extend_from_slice(&user_memory(pages, (count - 1) * page, page, false)?.frames);
    }
    Ok(UserMemory { page_size: page, frames: Arc::new(frames) })
}

/// A CD as Linux writes it and an empty table, in the first 16 granules of the buffer.
pub(super) async fn table(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::TableStep) -> Seen {
    let memory = buffer(world, a.memory)?;
    let (ipa, asid) = (a.ipa.0, a.asid as u16);
    let granule = match a.granule {
        Granule::K4 => pgtable::Granule::K4,
        Granule::K16 => pgtable::Granule::K16,
        Granule::K64 => pgtable::Granule::K64,
    };
    let bytes = granule.bytes();
    if !ipa.is_multiple_of(bytes) {
        return Err(format!("the IPA {ipa:#x} is not a multiple of the granule"));
    }
    let config = VmConfig {
        index: u16::MAX,
        name: "tables".to_owned(),
        cpus: vec![cpu.id()],
        base: ipa,
        memory: memory.clone(),
        costs: VmCosts::default(),
        lock_line: 0,
    };
    let view = Vm::new(config, world.journal.clone());
    let access = Vcpu::new(cpu.clone(), Arc::clone(&view), 0);
    let pages = Pages::new(&[(ipa + bytes, ipa + memory.len().min(TABLE_GRANULES * bytes))]);
    let shape = Shape::stage1(granule, ADDRESS_BITS, ADDRESS_BITS);
    let table = PageTable::new(&access, shape, &pages)
        .await
        .map_err(|e| format!("the buffer of {:#x} bytes is too small: {e}", memory.len()))?;
    access.store(ipa, &descriptor(&shape, table.root(), asid).to_bytes()).await;
    access.barrier().await;
    let domain = world.journal.next_domain();
    let seen = format!("CD at IPA {ipa:#x} with ASID {asid}, root table at IPA {:#x}", table.root());
    let made = Tables { cd_ipa: ipa, asid, table: Arc::new(table), domain, view };
    world.keep(step, Made::Table(made));
    Ok(seen)
}

fn descriptor(shape: &Shape, root: u64, asid: u16) -> Cd {
    const WRITE_BACK: u64 = 1;
    const INNER_SHAREABLE: u64 = 3;
    let cd = Cd::default().with_v(true).with_t0sz(shape.t0sz()).with_tg0(shape.granule.tg());
    let cd = cd.with_ir0(WRITE_BACK).with_or0(WRITE_BACK).with_sh0(INNER_SHAREABLE).with_epd1(true);
    let cd = cd.with_ips(shape.ps()).with_aa64(true).with_r(true).with_a(true).with_aset(true);
    cd.with_asid(asid.into()).with_ttb0(root).with_mair(MAIR)
}

pub(super) async fn table_map(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::TableMap) -> Seen {
    let tables = tables(world, a.table)?;
    let (iova, ipa, len) = (a.iova.0, a.ipa.0, a.length.0);
    let prot = if a.write { Prot::READ_WRITE } else { Prot::READ };
    let access = tables.access(cpu);
    // What was there is replaced, without any invalidation.
    let before = tables.table.unmap(&access, iova, len).await;
    before.map_err(|e| format!("cannot replace what is mapped at {iova:#x}: {e}"))?;
    let result = tables.table.map(&access, iova, ipa, len, prot).await;
    result.map_err(|e| format!("cannot map {iova:#x}: {e}"))?;
    let note = Note::Mapped { by: by(step.actor), domain: tables.domain, iova, pa: ipa, len };
    world.journal.push(cpu.now(), note);
    Ok(format!("{iova:#x} to {ipa:#x}, {}", a.length))
}

pub(super) async fn table_unmap(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &step::TableUnmap) -> Seen {
    let tables = tables(world, a.table)?;
    let (iova, len) = (a.iova.0, a.length.0);
    let removed = tables.table.unmap(&tables.access(cpu), iova, len).await;
    let removed = removed.map_err(|e| format!("cannot unmap {iova:#x}: {e}"))?;
    cpu.barrier().await;
    if removed.runs.is_empty() {
        return Err(format!("nothing was mapped at {iova:#x}"));
    }
    let note = Note::Unmapping { by: by(step.actor), domain: tables.domain, iova, len };
    world.journal.push(cpu.now(), note);
    Ok(format!("{:#x} bytes cleared, nothing invalidated", removed.bytes()))
}

pub(super) async fn retire(world: &Arc<World>, cpu: &Cpu, _: &Step, a: &step::Retire) -> Seen {
    let asid = tables(world, a.table)?.asid;
    let (iova, len) = (a.iova.0, a.length.0);
    world.control.ask(cpu, Ask::Retire { asid, iova, len }).await;
    Ok(format!("{iova:#x} of ASID {asid} counts as gone"))
}

pub(super) async fn mem_read(world: &Arc<World>, cpu: &Cpu, _: &Step, a: &step::MemRead) -> Seen {
    let memory = buffer(world, a.memory)?;
    let found = load(cpu, &memory, a.offset.0, a.data.0.len()).await?;
    if found == a.data.0 {
        return Ok(format!("{} at {:#x}", hex(&found), a.offset.0));
    }
    Err(format!("{} at {:#x}, but {} was expected", hex(&found), a.offset.0, hex(&a.data.0)))
}

pub(super) async fn mem_write(world: &Arc<World>, cpu: &Cpu, _: &Step, a: &step::MemWrite) -> Seen {
    let memory = buffer(world, a.memory)?;
    check_range(&memory, a.offset.0, a.data.0.len())?;
    store(cpu, &memory, a.offset.0, &a.data.0).await;
    cpu.barrier().await;
    Ok(format!("{} bytes at {:#x}", a.data.0.len(), a.offset.0))
}

/// A buffer.
pub(super) fn buffer(world: &World, reference: MemoryRef) -> Result<UserMemory, String> {
    match world.named(reference.0)? {
        (_, Made::Memory(memory)) => Ok(memory),
        (id, _) => Err(format!("`{}` is no buffer", world.object_name(id))),
    }
}

/// Stage-1 tables.
pub(super) fn tables(world: &World, reference: TableRef) -> Result<Tables, String> {
    match world.named(reference.0)? {
        (_, Made::Table(tables)) => Ok(tables),
        (id, _) => Err(format!("`{}` is no table", world.object_name(id))),
    }
}

/// An actor in the journal.
pub(super) fn by(actor: Actor) -> By {
    match actor {
        Actor::Host => By::Host,
        Actor::Vm(vm) => By::Vm(vm.0 as u16),
    }
}

fn check_range(memory: &UserMemory, offset: u64, len: usize) -> Result<(), String> {
    match offset.checked_add(len as u64) {
        Some(end) if end <= memory.len() => Ok(()),
        _ => {
            Err(format!("{offset:#x} and {len:#x} bytes from there are not within {:#x} bytes", memory.len()))
        }
    }
}

/// Reads a buffer with a CPU.
pub(super) async fn load(cpu: &Cpu, memory: &UserMemory, offset: u64, len: usize) -> Result<Vec<u8>, String> {
    check_range(memory, offset, len)?;
    let mut bytes = vec![0; len];
    for (at, pa, run) in memory.runs(offset, len as u64) {
        let from = (at - offset) as usize;
        cpu.load(pa, &mut bytes[from..from + run as usize]).await;
    }
    Ok(bytes)
}

/// Writes a range of a buffer that is within it. Posted.
async fn store(cpu: &Cpu, memory: &UserMemory, offset: u64, bytes: &[u8]) {
    for (at, pa, run) in memory.runs(offset, bytes.len() as u64) {
        let from = (at - offset) as usize;
        cpu.store(pa, &bytes[from..from + run as usize]).await;
    }
}

/// The first bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    const SHOWN: usize = 16;
    let mut text: Vec<String> = bytes.iter().take(SHOWN).map(|byte| format!("{byte:02x}")).collect();
    if bytes.len() > SHOWN {
        text.push(format!("... ({} bytes)", bytes.len()));
    }
    text.join(" ")
}

//! iommufd calls: objects, their attachment and invalidation, events.

use std::sync::Arc;

use kernel::errno::Errno;
use kernel::iommufd::{
    HwInfo, HwQueueAlloc as QueueCommand, HwptAlloc as HwptCommand, Id, Invalidate, IoasMap as MapCommand,
    ViommuAlloc as ViommuCommand, hwpt_data, hwpt_flags, map_flags,
};
use models::cpu::Cpu;
use spec::smmu::EventRecord;

use super::encode::encode;
use super::memory::buffer;
use super::objects::{narrow, repeated, vm_of};
use super::vste;
use super::{Seen, judge};
use crate::command::Values;
use crate::declare::Code;
use crate::names::Actor;
use crate::run::control::Ask;
use crate::run::world::{Made, World};
use crate::step::{
    Attach, Bind, Close, CloseContext, Destroy, Detach, Expected, GetHwInfo, HwQueueAlloc, HwptAlloc,
    HwptInvalidate, InfoType, IoasAlloc, IoasMap, IoasUnmap, QueueType, Step, Unbind, VdeviceAlloc,
    VeventqAlloc, VeventqRead, ViommuAlloc, ViommuType,
};

/// VIOMMU_ALLOC type whose user data has sixteen bytes.
const TEGRA241_CMDQV: u32 = kernel::iommufd::VIOMMU_TEGRA241_CMDQV;

/// Judges an allocation and remembers the object.
fn allocated(world: &World, step: &Step, what: &str, result: Result<Id, Errno>) -> Seen {
    if let Ok(id) = result {
        world.keep(step, Made::Object { actor: step.actor, id });
    }
    judge(step.expect, result, |id| format!("{what} {id}"))
}

pub(super) async fn bind(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &Bind) -> Seen {
    let Some(device) = world.plan.device_of[a.endpoint.0] else {
        let name = &world.scenario.endpoints[a.endpoint.0].name;
        return Err(format!("`{name}` is not behind a psmmu"));
    };
    let result = world.context(step.actor).bind(cpu, &world.host.devices[device]).await;
    if let Ok(id) = result {
        world.bound.lock().insert((step.actor, a.endpoint), id);
    }
    allocated(world, step, "device", result)
}

pub(super) async fn unbind(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &Unbind) -> Seen {
    let id = world.id(step.actor, a.device.0)?;
    let context = world.context(step.actor);
    let device = context.physical_device(id).ok();
    let result = context.unbind(cpu, id).await;
    if let Some(device) = device.filter(|_| result.is_ok()) {
        world.virtual_ids.lock().retain(|endpoint, _| endpoint.0 != usize::from(device.endpoint));
        let ask = Ask::Assign { smmu: device.smmu.index, sid: device.sids[0], vm: None };
        world.control.ask(cpu, ask).await;
    }
    judge(step.expect, result, |()| format!("device {id} is gone"))
}

pub(super) async fn ioas_alloc(world: &Arc<World>, cpu: &Cpu, step: &Step, _: &IoasAlloc) -> Seen {
    let result = world.context(step.actor).ioas_alloc(cpu).await;
    allocated(world, step, "ioas", result)
}

pub(super) async fn ioas_map(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &IoasMap) -> Seen {
    let ioas = world.id(step.actor, a.ioas.0)?;
    let memory = buffer(world, a.memory)?;
    let flag = |on: bool, flag: u32| if on { flag } else { 0 };
    let length = a.length.map_or_else(|| memory.len().saturating_sub(a.offset.0), |length| length.0);
    let cmd = MapCommand {
        ioas,
        flags: flag(a.iova.is_some(), map_flags::FIXED_IOVA)
            | flag(a.write, map_flags::WRITEABLE)
            | flag(a.read, map_flags::READABLE),
        memory,
        offset: a.offset.0,
        length,
        iova: a.iova.map_or(0, |iova| iova.0),
    };
    let result = world.context(step.actor).ioas_map(cpu, &cmd).await;
    judge(step.expect, result, |iova| format!("{length:#x} bytes at {iova:#x}"))
}

pub(super) async fn ioas_unmap(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &IoasUnmap) -> Seen {
    let ioas = world.id(step.actor, a.ioas.0)?;
    let length = a.length.map_or(u64::MAX, |length| length.0);
    let result = world.context(step.actor).ioas_unmap(cpu, ioas, a.iova.0, length).await;
    judge(step.expect, result, |bytes| format!("{bytes:#x} bytes removed"))
}

pub(super) async fn hwpt_alloc(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &HwptAlloc) -> Seen {
    let device = world.id(step.actor, a.device.0)?;
    let pt = world.id(step.actor, a.parent.0)?;
    let mut data = match &a.vste {
        Some(spec) => vste::words(world, spec)?.iter().flat_map(|word| word.to_le_bytes()).collect(),
        None => Vec::new(),
    };
    let implied = if a.vste.is_some() { hwpt_data::ARM_SMMUV3 } else { hwpt_data::NONE };
    if let Some(len) = a.data_len {
        // Every length beyond sixteen is refused alike.
        data.resize(narrow("data_len", len)?.min(4096) as usize, 0);
    }
    let flags = [
        (a.nest_parent, hwpt_flags::NEST_PARENT),
        (a.dirty_tracking, hwpt_flags::DIRTY_TRACKING),
        (a.pasid, hwpt_flags::PASID),
    ];
    let cmd = HwptCommand {
        flags: flags.iter().filter(|(on, _)| *on).fold(0, |all, (_, flag)| all | flag),
        device: device.0,
        pt: pt.0,
        data_type: a.data_type.map_or(Ok(implied), |n| narrow("data_type", n))?,
        data,
    };
    let result = world.context(step.actor).hwpt_alloc(cpu, &cmd).await;
    allocated(world, step, "hwpt", result)
}

pub(super) async fn hwpt_invalidate(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &HwptInvalidate) -> Seen {
    let cmd = Invalidate {
        hwpt: world.id(step.actor, a.viommu.0)?,
        data_type: narrow("data_type", a.data_type)?,
        entry_len: narrow("entry_len", a.entry_len)?,
        commands: repeated(&a.commands, a.entries).into_iter().map(|c| encode(world, c, true)).collect(),
    };
    let done = world.context(step.actor).hwpt_invalidate(cpu, &cmd).await;
    let seen = judge(step.expect, done.result, |()| "done".to_owned())?;
    match a.handled {
        Some(want) if want != u64::from(done.entries) => {
            Err(format!("{seen}, {} entries handled, but {want} were expected", done.entries))
        }
        _ => Ok(format!("{seen}, {} entries handled", done.entries)),
    }
}

pub(super) async fn attach(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &Attach) -> Seen {
    let device = world.id(step.actor, a.device.0)?;
    let target = world.id(step.actor, a.hwpt.0)?;
    let result = world.context(step.actor).attach(cpu, device, target).await;
    judge(step.expect, result, |table| format!("attached to {table}"))
}

pub(super) async fn detach(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &Detach) -> Seen {
    let device = world.id(step.actor, a.device.0)?;
    let result = world.context(step.actor).detach(cpu, device).await;
    judge(step.expect, result, |()| "detached".to_owned())
}

pub(super) async fn destroy(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &Destroy) -> Seen {
    let id = world.id(step.actor, a.object.0)?;
    let result = world.context(step.actor).destroy(cpu, id).await;
    judge(step.expect, result, |()| format!("object {id} is gone"))
}

pub(super) async fn get_hw_info(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &GetHwInfo) -> Seen {
    let device = world.id(step.actor, a.device.0)?;
    let kind = match a.r#type {
        Code::Known(InfoType::Default) => 0,
        Code::Known(InfoType::ArmSmmuv3) => kernel::iommufd::HW_INFO_ARM_SMMUV3,
        Code::Known(InfoType::Tegra241Cmdqv) => kernel::iommufd::HW_INFO_TEGRA241_CMDQV,
        Code::Number(n) => narrow("the type", n)?,
    };
    let result = world.context(step.actor).get_hw_info(cpu, device, kind).await;
    let reply = result.as_ref().map(info_fields).unwrap_or_default();
    let seen = judge(step.expect, result, |_| show(&reply))?;
    if step.expect == Expected::Ok {
        compare(&a.want, &reply, "the reply")?;
    }
    Ok(seen)
}

/// What GET_HW_INFO has told, by field.
fn info_fields(info: &HwInfo) -> Vec<(&'static str, u64)> {
    match info {
        HwInfo::ArmSmmuV3 { idr, iidr, aidr } => {
            let names = ["idr0", "idr1", "idr2", "idr3", "idr4", "idr5"];
            let mut fields = vec![("out_type", kernel::iommufd::HW_INFO_ARM_SMMUV3.into())];
            fields.extend(names.into_iter().zip(idr.map(u64::from)));
            fields.extend([("iidr", (*iidr).into()), ("aidr", (*aidr).into())]);
            fields
        }
        HwInfo::Tegra241Cmdqv { version, log2vcmdqs, log2vsids } => vec![
            ("out_type", kernel::iommufd::HW_INFO_TEGRA241_CMDQV.into()),
            ("version", (*version).into()),
            ("log2vcmdqs", (*log2vcmdqs).into()),
            ("log2vsids", (*log2vsids).into()),
        ],
    }
}

fn show(fields: &[(&'static str, u64)]) -> String {
    let words: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value:#x}")).collect();
    words.join(" ")
}

/// Compares the fields that are wanted with those that are there.
fn compare(want: &Values, have: &[(&'static str, u64)], what: &str) -> Result<(), String> {
    for (name, wanted) in want {
        match have.iter().find(|(n, _)| n == name) {
            Some((_, value)) if value == wanted => {}
            Some((_, value)) => {
                return Err(format!("{what} has {name}={value:#x}, but {wanted:#x} was expected"));
            }
            None => {
                let names: Vec<&str> = have.iter().map(|(n, _)| *n).collect();
                return Err(format!("{what} has no field `{name}`; it has {}", names.join(", ")));
            }
        }
    }
    Ok(())
}

const fn viommu_type(code: Code<ViommuType>) -> u64 {
    match code {
        Code::Known(ViommuType::ArmSmmuv3) => kernel::iommufd::VIOMMU_ARM_SMMUV3 as u64,
        Code::Known(ViommuType::Tegra241Cmdqv) => TEGRA241_CMDQV as u64,
        Code::Number(n) => n,
    }
}

pub(super) async fn viommu_alloc(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &ViommuAlloc) -> Seen {
    let device = world.id(step.actor, a.device.0)?;
    let hwpt = world.id(step.actor, a.hwpt.0)?;
    let kind = narrow("the type", viommu_type(a.r#type))?;
    let implied = if kind == TEGRA241_CMDQV { 16 } else { 0 };
    let data_len = a.data_len.map_or(Ok(implied), |n| narrow("data_len", n))?;
    let cmd = ViommuCommand { flags: 0, kind, device: device.0, hwpt: hwpt.0, data_len };
    let result = world.context(step.actor).viommu_alloc(cpu, &cmd).await;
    if let Ok(made) = result {
        introduce(world, cpu, step, made.id, made.window).await;
    }
    judge(step.expect, result, |made| match made.window {
        Some((offset, length)) => format!("viommu {}, window at {offset:#x}, {length:#x} bytes", made.id),
        None => format!("viommu {}", made.id),
    })
}

/// Remembers a viommu, and tells the judge whose it is.
pub(super) async fn introduce(world: &World, cpu: &Cpu, step: &Step, id: Id, window: Option<(u64, u64)>) {
    world.keep(step, Made::Viommu { id, window });
    let smmu = world.context(step.actor).viommu_facts(id).expect("it was made just now").smmu;
    world.control.ask(cpu, Ask::Viommu { vsmmu: None, id: id.0, smmu }).await;
}

pub(super) async fn vdevice_alloc(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &VdeviceAlloc) -> Seen {
    let viommu = world.id(step.actor, a.viommu.0)?;
    let device = world.id(step.actor, a.device.0)?;
    let result = world.context(step.actor).vdevice_alloc(cpu, viommu, device, a.virt_id).await;
    if result.is_ok() {
        linked(world, cpu, step.actor, viommu, device, a.virt_id).await;
    }
    allocated(world, step, "vdevice", result)
}

/// Remembers the virtual id of a device, and tells the judge where and whose it is.
pub(super) async fn linked(world: &World, cpu: &Cpu, actor: Actor, viommu: Id, device: Id, virt_id: u64) {
    let context = world.context(actor);
    let facts = context.viommu_facts(viommu).expect("a device is on it");
    let device = context.physical_device(device).expect("it is on a viommu");
    let endpoint = crate::names::EndpointId(device.endpoint.into());
    world.virtual_ids.lock().insert(endpoint, virt_id);
    let (smmu, sid) = (facts.smmu, device.sids[0]);
    let behind = Ask::Behind { vsmmu: None, smmu, sid, vsid: virt_id as u32, vmid: facts.vmid };
    world.control.ask(cpu, behind).await;
    let vm = vm_of(actor).map(|vm| vm.0);
    world.control.ask(cpu, Ask::Assign { smmu, sid, vm }).await;
}

pub(super) async fn hw_queue_alloc(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &HwQueueAlloc) -> Seen {
    let viommu = world.id(step.actor, a.viommu.0)?;
    let kind = match a.r#type {
        Code::Known(QueueType::Tegra241Cmdqv) => 1,
        Code::Number(n) => narrow("the type", n)?,
    };
    let cmd = QueueCommand {
        flags: 0,
        viommu: viommu.0,
        kind,
        index: narrow("the index", a.index)?,
        iova: a.iova.0,
        length: a.length.0,
    };
    let result = world.context(step.actor).hw_queue_alloc(cpu, &cmd).await;
    if let Ok(id) = result {
        world.keep(step, Made::Queue { id });
    }
    judge(step.expect, result, |id| format!("hw-queue {id}"))
}

pub(super) async fn veventq_alloc(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &VeventqAlloc) -> Seen {
    let viommu = world.id(step.actor, a.viommu.0)?;
    let kind = narrow("the type", viommu_type(a.r#type))?;
    let depth = narrow("the depth", a.depth)?;
    let result = world.context(step.actor).veventq_alloc(cpu, viommu, kind, depth).await;
    allocated(world, step, "veventq", result)
}

pub(super) async fn veventq_read(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &VeventqRead) -> Seen {
    let id = world.id(step.actor, a.veventq.0)?;
    let result = world.context(step.actor).veventq_read_up_to(cpu, id, a.bytes).await;
    let records = result.as_deref().unwrap_or_default();
    let bytes: u64 = records.iter().map(kernel::iommufd::Vevent::bytes).sum();
    let fields: Vec<_> = records.iter().map(event_fields).collect();
    let seen = judge(step.expect, result, |_| {
        let shown: Vec<String> = fields.iter().map(|f| format!("[{}]", show(f))).collect();
        format!("{bytes} bytes {}", shown.join(" ")).trim_end().to_owned()
    })?;
    if let Some(want) = a.read.filter(|want| *want != bytes) {
        return Err(format!("read {bytes} bytes, but {want} were expected: {seen}"));
    }
    if !a.want.is_empty() && a.want.len() != fields.len() {
        return Err(format!("{} records, but {} were expected: {seen}", fields.len(), a.want.len()));
    }
    for (i, (want, have)) in a.want.iter().zip(&fields).enumerate() {
        compare(want, have, &format!("record {i}"))?;
    }
    Ok(seen)
}

/// A record of an event queue, by field.
fn event_fields(event: &kernel::iommufd::Vevent) -> Vec<(&'static str, u64)> {
    let mut fields = vec![("sequence", event.sequence.into()), ("lost", event.payload.is_none().into())];
    match event.payload.as_deref() {
        Some(&[a, b, c, d]) => {
            let record = EventRecord([a, b, c, d]);
            fields.extend([("event", record.number()), ("vsid", record.sid())]);
        }
        Some(&[map0, map1]) => fields.extend([("map0", map0), ("map1", map1)]),
        _ => {}
    }
    fields
}

pub(super) async fn close(world: &Arc<World>, _: &Cpu, step: &Step, a: &Close) -> Seen {
    let id = world.id(step.actor, a.veventq.0)?;
    let result = world.context(step.actor).veventq_close(id);
    judge(step.expect, result, |()| "closed".to_owned())
}

pub(super) async fn close_context(world: &Arc<World>, cpu: &Cpu, step: &Step, _: &CloseContext) -> Seen {
    let context = world.context(step.actor);
    let gone = context.close(cpu).await;
    let bound: Vec<_> = {
        let bound = world.bound.lock();
        bound.keys().filter(|(actor, _)| *actor == step.actor).map(|(_, endpoint)| *endpoint).collect()
    };
    for endpoint in bound {
        world.virtual_ids.lock().remove(&endpoint);
        if let Some((smmu, sid)) = world.stream_of(endpoint) {
            world.control.ask(cpu, Ask::Assign { smmu, sid, vm: None }).await;
        }
    }
    let text = if gone { "all objects are gone" } else { "a mapping keeps it open" };
    judge(step.expect, Ok(()), |()| text.to_owned())
}

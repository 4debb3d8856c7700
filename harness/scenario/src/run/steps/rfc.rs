//! iommufd calls of RFCv1.

use std::sync::Arc;

use kernel::iommufd::{Id, MmapFlags, RfcVqueueAlloc as QueueCommand};
use models::cpu::Cpu;

use super::calls::{introduce, linked};
use super::objects::narrow;
use super::{Seen, judge};
use crate::run::world::{Made, World};
use crate::step::{RfcArrays, RfcMmap, RfcSetDevId, RfcViommuAlloc, RfcVqueueAlloc, Step};

pub(super) async fn viommu_alloc(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &RfcViommuAlloc) -> Seen {
    let device = world.id(step.actor, a.device.0)?;
    let hwpt = world.id(step.actor, a.hwpt.0)?;
    let kind = narrow("the type", a.r#type)?;
    let result = world.context(step.actor).rfc_viommu_alloc(cpu, 0, kind, device, hwpt).await;
    if let Ok(id) = result {
        introduce(world, cpu, step, id, None).await;
    }
    judge(step.expect, result, |id| format!("viommu {id}"))
}

pub(super) async fn set_dev_id(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &RfcSetDevId) -> Seen {
    let viommu = world.id(step.actor, a.viommu.0)?;
    let device = world.id(step.actor, a.device.0)?;
    let result = world.context(step.actor).rfc_set_dev_id(cpu, viommu, device, a.id).await;
    if result.is_ok() {
        linked(world, cpu, step.actor, viommu, device, a.id).await;
    }
    judge(step.expect, result, |()| format!("device {device} is {:#x} on viommu {viommu}", a.id))
}

pub(super) async fn vqueue_alloc(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &RfcVqueueAlloc) -> Seen {
    let viommu = world.id(step.actor, a.viommu.0)?;
    let cmd = QueueCommand {
        flags: 0,
        viommu: viommu.0,
        index: narrow("the index", a.index)?,
        log2size: narrow("log2size", a.log2size)?,
        base: a.base.0,
    };
    let result = world.context(step.actor).rfc_vqueue_alloc(cpu, &cmd).await;
    if let Ok(id) = result {
        world.keep(step, Made::Queue { id });
    }
    judge(step.expect, result, |id| format!("vqueue {id}"))
}

pub(super) async fn mmap(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &RfcMmap) -> Seen {
    let context = world.context(step.actor);
    let viommu = world.id(step.actor, a.viommu.0)?;
    let page = context.page_size();
    let length = a.length.map_or(page, |length| length.0);
    let offset = u64::from(viommu.0) * page;
    let result = context.mmap(cpu, offset, length, MmapFlags::default()).await;
    if let Ok(mapping) = result {
        let made = Made::Window { actor: step.actor, mapping: Some(mapping), viommu, guest: None };
        world.keep(step, made);
    }
    judge(step.expect, result, |mapping| format!("{:#x} bytes of {:#x}", mapping.len, mapping.pa))
}

pub(super) async fn arrays(world: &Arc<World>, _: &Cpu, step: &Step, a: &RfcArrays) -> Seen {
    let context = world.context(step.actor);
    let arrays = context.rfc_arrays();
    let mut seen = Vec::new();
    let mut compare = |what: &str, have: usize, want: Option<u64>| {
        seen.push(format!("{have} {what}"));
        match want {
            Some(want) if want != have as u64 => Err(format!("{have} {what}, but {want} were expected")),
            _ => Ok(()),
        }
    };
    if a.device.is_none() && (a.device_entries.is_some() || a.dangling.is_some()) {
        return Err("no device is named to look at".to_owned());
    }
    if a.viommu.is_none() && a.viommu_entries.is_some() {
        return Err("no viommu is named to look at".to_owned());
    }
    if let Some(device) = a.device {
        let device = world.id(step.actor, device.0)?;
        let entries: Vec<Id> =
            arrays.by_device.iter().filter(|(_, d)| *d == device).map(|(viommu, _)| *viommu).collect();
        let dangling = entries.iter().filter(|viommu| context.viommu_facts(**viommu).is_err()).count();
        compare("viommus of the device", entries.len(), a.device_entries)?;
        compare("of them gone", dangling, a.dangling)?;
    }
    if let Some(viommu) = a.viommu {
        let viommu = world.id(step.actor, viommu.0)?;
        let entries = arrays.by_viommu.iter().filter(|(v, _)| *v == viommu).count();
        compare("devices of the viommu", entries, a.viommu_entries)?;
    }
    judge(step.expect, Ok(()), |()| seen.join(", "))
}

//! Windows of viommus: mmap, munmap, and processes that share them.

use std::sync::Arc;

use kernel::iommufd::{Id, Mapping, MmapFlags};
use kernel::vmm::{MirrorPage, Region, Resolved};
use models::cpu::Cpu;

use super::objects::vm_of;
use super::{Seen, judge};
use crate::names::{ObjectId, ObjectKind, VmId};
use crate::run::world::{Made, World};
use crate::step::{Exit, Fork, Mmap, Munmap, Step};

pub(super) async fn mmap(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &Mmap) -> Seen {
    let context = world.context(step.actor);
    let viommu = world.id(step.actor, a.viommu.0)?;
    let window = world.named(a.viommu.0).ok().and_then(|(_, made)| match made {
        Made::Viommu { window, .. } => window,
        _ => None,
    });
    // Nothing is ever at offset 0: what a viommu without window gives.
    let (offset, length) = window.unwrap_or((0, context.page_size()));
    let Some(offset) = offset.checked_add(a.shift.0) else {
        return Err("the offset does not fit 64 bits".to_owned());
    };
    let length = a.length.map_or(length, |length| length.0);
    let place = match a.at {
        Some(at) => {
            let vm = a.vm.or(vm_of(step.actor)).ok_or("no VM is named that gets the page")?;
            Some((vm, at.0))
        }
        None => None,
    };
    let flags = MmapFlags { shared: a.shared, exec: a.exec };
    let result = context.mmap(cpu, offset, length, flags).await;
    if let Ok(mapping) = result {
        if let Some((vm, at)) = place {
            let vm = &world.vms[vm.0].vm;
            if a.trapped {
                MirrorPage::add(vm, at, mapping, &context, viommu);
            } else {
                vm.map(at, mapping.len, Region::Direct { pa: mapping.pa });
            }
        }
        let made = Made::Window { actor: step.actor, mapping: Some(mapping), viommu, guest: place };
        world.keep(step, made);
    }
    judge(step.expect, result, |mapping| format!("{:#x} bytes of {:#x}", mapping.len, mapping.pa))
}

pub(super) async fn munmap(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &Munmap) -> Seen {
    let (id, made) = world.named(a.window.0)?;
    let name = world.object_name(id);
    let Made::Window { actor, mapping, viommu, guest } = made else {
        return Err(format!("`{name}` is not a window"));
    };
    let Some(mapping) = mapping else { return Err(format!("`{name}` is not mapped any more")) };
    world.made.lock().insert(id, Made::Window { actor, mapping: None, viommu, guest });
    if let Some((vm, at)) = guest {
        leave_guest(world, vm, at, &mapping);
    }
    world.context(actor).munmap(cpu, mapping).await;
    judge(step.expect, Ok(()), |()| format!("{:#x} bytes", mapping.len))
}

/// A guest loses a page with the mapping behind it, unless something else is there by now.
fn leave_guest(world: &World, vm: VmId, at: u64, mapping: &Mapping) {
    let vm = &world.vms[vm.0].vm;
    match vm.resolve(at) {
        Resolved::Direct(pa) if pa == mapping.pa => vm.unmap(at, mapping.len),
        _ => MirrorPage::remove(vm, at, mapping),
    }
}

pub(super) async fn fork(world: &Arc<World>, _: &Cpu, step: &Step, _: &Fork) -> Seen {
    let context = world.context(step.actor);
    let (mappings, queues) = held(world, step);
    let mappings: Vec<Mapping> = mappings.iter().map(|mapping| context.fork_mapping(mapping)).collect();
    // A queue whose descriptor is closed already is not inherited.
    let queues: Vec<Id> = queues.into_iter().filter(|id| context.veventq_fork(*id).is_ok()).collect();
    let text = format!("{} mappings, {} event queues", mappings.len(), queues.len());
    world.keep(step, Made::Process(step.actor, mappings, queues));
    judge(step.expect, Ok(()), |()| text)
}

/// The mappings of an actor's own process, and its event queues.
fn held(world: &World, step: &Step) -> (Vec<Mapping>, Vec<Id>) {
    let kind = |id: &ObjectId| world.scenario.objects[id.0].kind;
    let mut mappings = Vec::new();
    let mut queues = Vec::new();
    for (object, made) in world.made.lock().iter() {
        match made {
            Made::Window { actor, mapping: Some(mapping), .. } if *actor == step.actor => {
                mappings.push(*mapping);
            }
            Made::Object { actor, id } if *actor == step.actor && kind(object) == ObjectKind::Veventq => {
                queues.push(*id);
            }
            _ => {}
        }
    }
    (mappings, queues)
}

pub(super) async fn exit(world: &Arc<World>, cpu: &Cpu, step: &Step, a: &Exit) -> Seen {
    let (id, made) = world.named(a.process.0)?;
    let name = world.object_name(id);
    let Made::Process(actor, mappings, queues) = made else {
        return Err(format!("`{name}` is not a process"));
    };
    world.made.lock().insert(id, Made::Process(actor, Vec::new(), Vec::new()));
    let context = world.context(actor);
    let text = format!("{} mappings and {} event queues given up", mappings.len(), queues.len());
    for queue in queues {
        // Gone already when the context was closed.
        let _ = context.veventq_close(queue);
    }
    for mapping in mappings {
        context.munmap(cpu, mapping).await;
    }
    judge(step.expect, Ok(()), |()| text)
}

//! What the references of a step stand for.

use kernel::iommufd::Id;

use crate::command::Command;
use crate::names::{Actor, EndpointId, ObjectId, ObjectRef, VmId};
use crate::run::world::{Made, World};
use crate::step::Step;

impl World {
    /// What a step has made.
    pub(super) fn made(&self, id: ObjectId) -> Result<Made, String> {
        self.made.lock().get(&id).cloned().ok_or_else(|| {
            let object = &self.scenario.objects[id.0];
            let line = self.scenario.steps.get(object.step).map_or(0, |step| step.line);
            format!("`{}` was not made by line {line}", object.name)
        })
    }
    /// The name that the script gave to an object.
    pub(super) fn object_name(&self, id: ObjectId) -> &str {
        &self.scenario.objects[id.0].name
    }
    /// Remembers what a step has made, if somebody can refer to it.
    pub(super) fn keep(&self, step: &Step, made: Made) {
        if let Some(id) = step.makes {
            self.made.lock().insert(id, made);
        }
    }
    /// The number of an iommufd object.
    pub(super) fn id(&self, actor: Actor, reference: ObjectRef) -> Result<Id, String> {
        match reference {
            ObjectRef::Raw(n) => Ok(Id(narrow("an id", n)?)),
            ObjectRef::Bound(endpoint) => {
                self.bound.lock().get(&(actor, endpoint)).copied().ok_or_else(|| {
                    let name = &self.scenario.endpoints[endpoint.0].name;
                    format!("`{name}` is not bound in the context of `{}`", self.actor_name(actor))
                })
            }
            ObjectRef::Object(object) => match self.made(object)? {
                Made::Object { id, .. } | Made::Viommu { id, .. } | Made::Queue { id } => Ok(id),
                _ => Err(format!("`{}` has no id", self.object_name(object))),
            },
        }
    }
    /// The object behind a reference that names one.
    pub(super) fn named(&self, reference: ObjectRef) -> Result<(ObjectId, Made), String> {
        match reference {
            ObjectRef::Object(id) => Ok((id, self.made(id)?)),
            ObjectRef::Bound(_) | ObjectRef::Raw(_) => Err("a name is needed here".to_owned()),
        }
    }
    /// The virtual StreamID of an endpoint: that of its VDEVICE made by a step, or the one that a booted guest knows.
    pub(super) fn virtual_id(&self, endpoint: EndpointId) -> Option<u64> {
        let scripted = self.virtual_ids.lock().get(&endpoint).copied();
        scripted.or_else(|| {
            let guest = |vm| self.guest_device(vm, endpoint);
            (0..self.vms.len()).find_map(guest).map(|(_, vsid)| vsid.into())
        })
    }
}

/// The VM that acts, if one does.
pub(super) fn vm_of(actor: Actor) -> Option<VmId> {
    match actor {
        Actor::Host => None,
        Actor::Vm(vm) => Some(vm),
    }
}

/// A number for a field of 32 bits.
pub(super) fn narrow(what: &str, n: u64) -> Result<u32, String> {
    u32::try_from(n).map_err(|_| format!("{what} has 32 bits, {n:#x} does not fit"))
}

/// Repeats commands until there are `count`.
pub(super) fn repeated(commands: &[Command], count: Option<u64>) -> Vec<&Command> {
    match count {
        Some(count) => commands.iter().cycle().take(count as usize).collect(),
        None => commands.iter().collect(),
    }
}

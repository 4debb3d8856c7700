//! The context: its object table, costs, and what all ioctls share.

use std::fmt::Debug;
use std::sync::{Arc, Weak};

use models::cpu::Cpu;
use parking_lot::{Mutex, MutexGuard};
use sim::Time;

use super::host::HostSmmu;
use super::kinds::{Device, Kind, Paging, Viommu};
use super::object::{Id, Table};
use super::refusal::Refusal;
use super::window::Windows;
use crate::errno::Errno;
use crate::journal::{Actor, Journal, Note};

/// Which set of calls a context speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Abi {
    /// Linux 7.3.
    #[default]
    Final,
    /// The series of April 2024: VIOMMU_ALLOC, VIOMMU_SET_DEV_ID, VQUEUE_ALLOC.
    RfcV1,
}

/// What a system call costs on the CPU that makes it, beside what the drivers do on the hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Entry, copy of arguments, object look-up, exit.
    pub ioctl: Time,
    /// Setting up a mapping in user space.
    pub mmap: Time,
}

impl Default for Costs {
    /// Engineering estimates for a server core.
    fn default() -> Self {
        Self { ioctl: Time::ns(600), mmap: Time::ns(2_000) }
    }
}

/// One open of the iommufd device.
#[derive(Debug)]
pub struct Context {
    me: Weak<Self>,
    pub(super) name: String,
    pub(super) abi: Abi,
    pub(super) page_size: u64,
    pub(super) costs: Costs,
    pub(super) journal: Journal,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) objects: Table,
    pub(super) windows: Windows,
    /// Why the latest call was refused.
    pub(super) refusal: Refusal,
    /// The cause that belongs to the latest call that returned.
    refused: Option<String>,
    /// The descriptor is closed.
    closed: bool,
}

impl Context {
    /// A context without objects. `name` appears in stories; `page_size` is the host's, in bytes.
    pub fn new(
        name: impl Into<String>,
        abi: Abi,
        page_size: u64,
        costs: Costs,
        journal: Journal,
    ) -> Arc<Self> {
        assert!(page_size.is_power_of_two(), "a page size is a power of two");
        let state = Mutex::new(State { windows: Windows::new(page_size), ..State::default() });
        let name = name.into();
        Arc::new_cyclic(|me| Self { me: Weak::clone(me), name, abi, page_size, costs, journal, state })
    }
    /// How the hardware's side finds its way back here.
    pub(super) fn token(&self) -> Weak<Self> {
        Weak::clone(&self.me)
    }
    /// What it is called in stories.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The host's page size in bytes.
    pub fn page_size(&self) -> u64 {
        self.page_size
    }
    /// Why the latest call that returned was refused, if it was and the cause is known; forgets it.
    pub fn take_refusal(&self) -> Option<String> {
        self.state().refused.take()
    }
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
    /// Charges the entry of an ioctl.
    pub(super) async fn enter(&self, cpu: &Cpu) {
        cpu.delay(self.costs.ioctl).await;
    }
    /// Tells the journal how an ioctl ended.
    pub(super) fn leave<T: Debug>(
        &self,
        cpu: &Cpu,
        name: &'static str,
        arguments: &impl Debug,
        result: Result<T, Errno>,
    ) -> Result<T, Errno> {
        let why = {
            let mut state = self.state();
            state.refused = state.refusal.take(result.as_ref().err().copied());
            state.refused.clone()
        };
        let note = Note::Ioctl {
            by: Actor::Host,
            context: self.name.clone(),
            name,
            arguments: format!("{arguments:?}"),
            result: result.as_ref().map(|ok| format!("{ok:?}")).map_err(|e| *e),
            why,
        };
        self.journal.push(cpu.now(), note);
        result
    }

    /// IOMMU_DESTROY: names an object of any kind.
    ///
    /// # Errors
    /// ENOENT: no such object. EBUSY: something refers to it.
    pub async fn destroy(&self, cpu: &Cpu, id: Id) -> Result<(), Errno> {
        self.enter(cpu).await;
        let removed = self.state().objects.remove(id);
        let result = match removed {
            Ok(kind) => {
                self.tear_down(cpu, id, kind).await;
                Ok(())
            }
            Err(Errno::EBUSY) => {
                Err(self.state().refusal.because(Errno::EBUSY, format!("object {id} is still referred to")))
            }
            Err(errno) => Err(errno),
        };
        self.leave(cpu, "DESTROY", &id, result)
    }

    /// Undoes what an object that has left the table did, and drops its references.
    pub(super) async fn tear_down(&self, cpu: &Cpu, id: Id, kind: Kind) {
        match kind {
            Kind::Ioas(_) | Kind::Access => {}
            Kind::Paging(paging) => self.paging_gone(cpu, id, &paging).await,
            Kind::Nested(nested) => self.state().objects.release(nested.viommu),
            Kind::Device(device) => device.device.give_back(),
            Kind::Viommu(viommu) => self.viommu_gone(cpu, viommu).await,
            Kind::Vdevice(vdevice) => self.vdevice_gone(cpu, id, vdevice).await,
            Kind::Veventq(queue) => self.veventq_gone(&queue),
            Kind::HwQueue(queue) => self.hw_queue_gone(cpu, queue).await,
            Kind::Vqueue(queue) => self.vqueue_gone(cpu, &queue).await,
        }
    }

    /// The process that owns the context closes its devices, its event descriptors and the context. True when that was the
    /// end of it: a mapping keeps it until [`Context::munmap`].
    pub async fn close(&self, cpu: &Cpu) -> bool {
        self.state().closed = true;
        self.unbind_all(cpu).await;
        self.release_if_unused(cpu).await
    }

    /// Objects that nothing refers to go first, until none is left.
    pub(super) async fn release_if_unused(&self, cpu: &Cpu) -> bool {
        {
            let state = self.state();
            if !state.closed || state.windows.mapped > 0 {
                return false;
            }
        }
        self.close_veventqs();
        loop {
            let leaf = self.state().objects.iter().find(|(_, o)| o.users == 1).map(|(id, _)| id);
            let Some(id) = leaf else { break };
            let kind = self.state().objects.remove(id).expect("it was found with one user");
            self.tear_down(cpu, id, kind).await;
        }
        true
    }

    /// Number of published objects.
    pub fn object_count(&self) -> usize {
        self.state().objects.iter().count()
    }
}

/// Typed look-ups; every failure is ENOENT, as in the kernel.
impl State {
    pub(super) fn device(&self, id: Id) -> Result<&Device, Errno> {
        match self.objects.get(id).map(|o| &o.kind) {
            Some(Kind::Device(device)) => Ok(device),
            _ => Err(Errno::ENOENT),
        }
    }
    pub(super) fn device_mut(&mut self, id: Id) -> Result<&mut Device, Errno> {
        match self.objects.get_mut(id).map(|o| &mut o.kind) {
            Some(Kind::Device(device)) => Ok(device),
            _ => Err(Errno::ENOENT),
        }
    }
    pub(super) fn paging(&self, id: Id) -> Result<&Paging, Errno> {
        match self.objects.get(id).map(|o| &o.kind) {
            Some(Kind::Paging(paging)) => Ok(paging),
            _ => Err(Errno::ENOENT),
        }
    }
    pub(super) fn viommu(&self, id: Id) -> Result<&Viommu, Errno> {
        match self.objects.get(id).map(|o| &o.kind) {
            Some(Kind::Viommu(viommu)) => Ok(viommu),
            _ => Err(Errno::ENOENT),
        }
    }
    pub(super) fn viommu_mut(&mut self, id: Id) -> Result<&mut Viommu, Errno> {
        match self.objects.get_mut(id).map(|o| &mut o.kind) {
            Some(Kind::Viommu(viommu)) => Ok(viommu),
            _ => Err(Errno::ENOENT),
        }
    }
}

/// Whether two references name the same hardware instance. Equal type and configuration do not count.
pub(super) fn same_instance(a: &HostSmmu, b: &HostSmmu) -> bool {
    std::ptr::eq(a, b)
}

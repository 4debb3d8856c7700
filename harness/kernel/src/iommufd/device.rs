//! Devices: bind, unbind, attach, replace, detach (the VFIO side).

use std::collections::BTreeMap;
use std::sync::Arc;

use models::cpu::Cpu;
use spec::smmu::{Ste, ste::config};

use super::context::{Context, State, same_instance};
use super::host::PhysicalDevice;
use super::kinds::{Device, Kind};
use super::object::Id;
use crate::errno::Errno;
use crate::journal::Attachment;

impl Context {
    /// VFIO_DEVICE_BIND_IOMMUFD: makes a DEVICE.
    ///
    /// # Errors
    /// EBUSY: someone else has the device.
    pub async fn bind(&self, cpu: &Cpu, device: &Arc<PhysicalDevice>) -> Result<Id, Errno> {
        self.enter(cpu).await;
        let result = if device.take() {
            device.smmu.introduce(self.token());
            let mut state = self.state();
            let id = state.objects.insert(Kind::Device(Device {
                device: Arc::clone(device),
                attached: None,
                vdevice: None,
                destroying: false,
                vmaster: None,
                viommus: BTreeMap::new(),
            }));
            // The driver that bound it keeps it alive.
            state.objects.hold(id);
            Ok(id)
        } else {
            Err(Errno::EBUSY)
        };
        self.leave(cpu, "BIND", &device.name, result)
    }

    /// Closes the device's file: detaches it, takes its VDEVICE down (leaving a tombstone) and gives it back.
    ///
    /// # Errors
    /// ENOENT: no such device.
    pub async fn unbind(&self, cpu: &Cpu, id: Id) -> Result<(), Errno> {
        self.enter(cpu).await;
        let result = self.unbind_device(cpu, id).await;
        self.leave(cpu, "UNBIND", &id, result)
    }

    async fn unbind_device(&self, cpu: &Cpu, id: Id) -> Result<(), Errno> {
        self.state().device(id)?;
        self.detach_device(cpu, id).await?;
        let vdevice = {
            let mut state = self.state();
            let device = state.device_mut(id)?;
            device.destroying = true;
            device.vdevice
        };
        if let Some(vdevice) = vdevice {
            let buried = self.state().objects.bury(vdevice);
            if let Some(Kind::Vdevice(gone)) = buried {
                self.vdevice_gone(cpu, vdevice, gone).await;
            }
        }
        self.unset_all_links(cpu, id).await;
        let kind = {
            let mut state = self.state();
            state.objects.release(id);
            state.objects.remove(id)?
        };
        self.tear_down(cpu, id, kind).await;
        Ok(())
    }

    /// Every bound device, for closing the context.
    pub(super) async fn unbind_all(&self, cpu: &Cpu) {
        let bound: Vec<Id> = self
            .state()
            .objects
            .iter()
            .filter(|(_, o)| matches!(o.kind, Kind::Device(_)))
            .map(|(id, _)| id)
            .collect();
        for id in bound {
            // The ids were found just now.
            let _ = self.unbind_device(cpu, id).await;
        }
    }

    /// VFIO_DEVICE_ATTACH_IOMMUFD_PT: onto a page table, a nested one, or an IOAS (which finds or makes a page
    /// table). An attached device is moved (replace). Returns the page table.
    ///
    /// # Errors
    /// ENOENT: no such device or target, or stage 1 without a VDEVICE. EINVAL: wrong kind, or another pSMMU.
    /// EADDRINUSE: a mapping lies where the device needs its MSI window. ETIMEDOUT: the hardware did not answer.
    pub async fn attach(&self, cpu: &Cpu, device: Id, target: Id) -> Result<Id, Errno> {
        self.enter(cpu).await;
        let result = self.attach_device(cpu, device, target).await;
        self.leave(cpu, "ATTACH", &(device, target), result)
    }

    async fn attach_device(&self, cpu: &Cpu, id: Id, target: Id) -> Result<Id, Errno> {
        enum What {
            Table,
            Ioas,
        }
        let (what, smmu) = {
            let state = self.state();
            let smmu = Arc::clone(&state.device(id)?.device.smmu);
            match state.objects.get(target).map(|o| &o.kind) {
                None => return Err(Errno::ENOENT),
                Some(Kind::Paging(_) | Kind::Nested(_)) => (What::Table, smmu),
                Some(Kind::Ioas(_)) => (What::Ioas, smmu),
                Some(_) => return Err(Errno::EINVAL),
            }
        };
        match what {
            What::Table => self.attach_table(cpu, id, target).await,
            What::Ioas => {
                let automatic: Vec<Id> = {
                    let state = self.state();
                    let auto = |id: &Id| state.paging(*id).is_ok_and(|p| p.automatic);
                    state.ioas(target)?.hwpts.iter().copied().filter(auto).collect()
                };
                for table in automatic {
                    match self.attach_table(cpu, id, table).await {
                        Err(Errno::EINVAL) => {}
                        other => return other,
                    }
                }
                let table = self.new_paging(cpu, target, smmu, false, true).await?;
                let attached = self.attach_table(cpu, id, table).await;
                if attached.is_err() {
                    self.drop_if_automatic(cpu, table).await;
                }
                attached
            }
        }
    }

    async fn attach_table(&self, cpu: &Cpu, id: Id, table: Id) -> Result<Id, Errno> {
        let (device, plan, before) = {
            let mut state = self.state();
            let attached = state.device(id)?.attached;
            if attached == Some(table) {
                return Ok(table);
            }
            let plan = state.plan_attach(id, table)?;
            let ioas = state.ioas_mut(plan.ioas)?;
            if !ioas.msi_reserved && ioas.in_msi_window() {
                return Err(Errno::EADDRINUSE);
            }
            ioas.msi_reserved = true;
            (Arc::clone(&state.device(id)?.device), plan, attached)
        };
        for sid in &device.sids {
            device.smmu.driver.attach_ste(cpu, *sid, plan.ste, plan.attachment).await?;
        }
        {
            let mut state = self.state();
            let entry = state.device_mut(id)?;
            entry.attached = Some(table);
            entry.vmaster = plan.vmaster;
            state.objects.hold(table);
            state.objects.hold(id);
            if let Some(before) = before {
                state.objects.release(before);
                state.objects.release(id);
            }
        }
        if let Some(before) = before {
            self.drop_if_automatic(cpu, before).await;
        }
        Ok(table)
    }

    /// VFIO_DEVICE_DETACH_IOMMUFD_PT. Nothing happens to a device that is not attached.
    ///
    /// # Errors
    /// ENOENT: no such device. ETIMEDOUT: the hardware did not answer.
    pub async fn detach(&self, cpu: &Cpu, device: Id) -> Result<(), Errno> {
        self.enter(cpu).await;
        let result = self.detach_device(cpu, device).await;
        self.leave(cpu, "DETACH", &device, result)
    }

    async fn detach_device(&self, cpu: &Cpu, id: Id) -> Result<(), Errno> {
        let (device, before) = {
            let state = self.state();
            let entry = state.device(id)?;
            (Arc::clone(&entry.device), entry.attached)
        };
        let Some(before) = before else { return Ok(()) };
        for sid in &device.sids {
            device.smmu.driver.block(cpu, *sid).await?;
        }
        {
            let mut state = self.state();
            let entry = state.device_mut(id)?;
            entry.attached = None;
            entry.vmaster = None;
            state.objects.release(before);
            state.objects.release(id);
        }
        self.drop_if_automatic(cpu, before).await;
        Ok(())
    }

    /// An automatic page table goes away with its last device.
    async fn drop_if_automatic(&self, cpu: &Cpu, table: Id) {
        let kind = {
            let mut state = self.state();
            if !state.paging(table).is_ok_and(|p| p.automatic) {
                return;
            }
            state.objects.remove(table)
        };
        if let Ok(kind) = kind {
            self.tear_down(cpu, table, kind).await;
        }
    }

    /// The device an id stands for.
    ///
    /// # Errors
    /// ENOENT: no such device.
    pub fn physical_device(&self, id: Id) -> Result<Arc<PhysicalDevice>, Errno> {
        Ok(Arc::clone(&self.state().device(id)?.device))
    }
}

/// What attaching will do.
struct Plan {
    ste: Ste,
    attachment: Attachment,
    vmaster: Option<(Id, u64)>,
    ioas: Id,
}

impl State {
    fn plan_attach(&self, id: Id, table: Id) -> Result<Plan, Errno> {
        let device = self.device(id)?;
        match self.objects.get(table).map(|o| &o.kind) {
            Some(Kind::Paging(paging)) => {
                if !same_instance(&paging.smmu, &device.device.smmu) {
                    return Err(self.refusal.foreign(&device.device, "page table", table, &paging.smmu));
                }
                let driver = &paging.smmu.driver;
                let ats = device.device.ats && driver.features().ats;
                let ste = Ste::default().with_v(true).with_config(config::S2).with_eats(u64::from(ats));
                Ok(Plan {
                    ste: driver.with_stage2(ste, &paging.domain, false),
                    attachment: Attachment::Domain(paging.domain.id()),
                    vmaster: None,
                    ioas: paging.ioas,
                })
            }
            Some(Kind::Nested(nested)) => {
                let viommu = self.viommu(nested.viommu)?;
                if !same_instance(&viommu.smmu, &device.device.smmu) {
                    return Err(self.refusal.foreign(
                        &device.device,
                        "nested page table",
                        table,
                        &viommu.smmu,
                    ));
                }
                let virt_id = viommu.vdevices.iter().find_map(|(virt, vdev)| {
                    match self.objects.get(*vdev).map(|o| &o.kind) {
                        Some(Kind::Vdevice(v)) if v.device == id => Some(*virt),
                        _ => None,
                    }
                });
                let stage1 = nested.vste.v() && nested.vste.config() == config::S1;
                if stage1 && virt_id.is_none() {
                    let why = format!("device {id} has no virtual device on viommu {}", nested.viommu);
                    return Err(self.refusal.because(Errno::ENOENT, why));
                }
                let ste = self.nested_ste(nested, device.device.ats)?;
                let parent = self.paging(viommu.parent)?;
                let attachment = if ste.config() & 4 == 0 {
                    Attachment::Blocked
                } else {
                    Attachment::Nested(parent.domain.id())
                };
                let vmaster = virt_id.map(|virt| (nested.viommu, virt));
                Ok(Plan { ste, attachment, vmaster, ioas: parent.ioas })
            }
            _ => Err(Errno::ENOENT),
        }
    }
}

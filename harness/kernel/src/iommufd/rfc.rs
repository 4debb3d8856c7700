//! The calls of April 2024 (RFCv1): VIOMMU_ALLOC, VIOMMU_SET_DEV_ID with its two arrays, VQUEUE_ALLOC.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::cpu::Cpu;

use super::context::{Abi, Context, same_instance};
use super::kinds::{Kind, Viommu, Vqueue};
use super::object::Id;
use crate::errno::Errno;

/// Arguments of VQUEUE_ALLOC.
#[derive(Clone, Copy, Debug, Default)]
pub struct RfcVqueueAlloc {
    /// Must be zero.
    pub flags: u32,
    /// The viommu.
    pub viommu: u32,
    /// Logical index within the VINTF.
    pub index: u32,
    /// log2 of the number of entries.
    pub log2size: u32,
    /// First byte, as an address of the nesting parent.
    pub base: u64,
}

/// Both sides of the RFC's bidirectional binding: (viommu, device) pairs as each array holds them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ViommuArrays {
    /// From the viommus' arrays of devices.
    pub by_viommu: Vec<(Id, Id)>,
    /// From the devices' arrays of viommus; an entry may name a viommu that is gone (a defect of the RFC).
    pub by_device: Vec<(Id, Id)>,
}

impl Context {
    fn assert_rfc(&self) {
        assert_eq!(self.abi, Abi::RfcV1, "the context speaks the final interface");
    }

    /// RFCv1 VIOMMU_ALLOC (type 0 is the Tegra241 CMDQV).
    ///
    /// # Errors
    /// EOPNOTSUPP: flags, another type, or a pSMMU without CMDQV. ENOENT: no such device or page table. EINVAL: not a
    /// nesting parent. ENOSPC: no free VINTF.
    pub async fn rfc_viommu_alloc(
        &self,
        cpu: &Cpu,
        flags: u32,
        kind: u32,
        device: Id,
        hwpt: Id,
    ) -> Result<Id, Errno> {
        self.assert_rfc();
        self.enter(cpu).await;
        let result = self.rfc_alloc_viommu(cpu, flags, kind, device, hwpt).await;
        self.leave(cpu, "RFC VIOMMU_ALLOC", &(device, hwpt), result)
    }

    async fn rfc_alloc_viommu(
        &self,
        cpu: &Cpu,
        flags: u32,
        kind: u32,
        device: Id,
        hwpt: Id,
    ) -> Result<Id, Errno> {
        if flags != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let (smmu, vmid) = {
            let state = self.state();
            let smmu = Arc::clone(&state.device(device)?.device.smmu);
            let parent = state.paging(hwpt)?;
            if !parent.nest_parent {
                return Err(state
                    .refusal
                    .because(Errno::EINVAL, format!("page table {hwpt} is no nesting parent")));
            }
            // The driver is asked last.
            if kind != 0 || smmu.driver.cmdqv().is_none() {
                return Err(Errno::EOPNOTSUPP);
            }
            (smmu, parent.domain.tag())
        };
        let id = self.state().objects.reserve();
        let vintf = match self.start_vintf(cpu, id, &smmu, vmid, 16).await {
            Ok(vintf) => vintf,
            Err(errno) => {
                self.state().objects.abandon(id);
                return Err(errno);
            }
        };
        let mut state = self.state();
        state.objects.hold(hwpt);
        state.objects.publish(
            id,
            Kind::Viommu(Viommu {
                smmu,
                parent: hwpt,
                vdevices: BTreeMap::new(),
                veventqs: BTreeMap::new(),
                vintf: Some(vintf),
                idevs: BTreeMap::new(),
            }),
        );
        Ok(id)
    }

    /// RFCv1 VIOMMU_SET_DEV_ID: links a device and a viommu in both arrays and gives the driver the virtual id.
    ///
    /// # Errors
    /// ENOENT: no such device (looked up first) or viommu. EINVAL: the device's pSMMU is not the viommu's. EBUSY:
    /// already linked. ENOSPC: no free SID slot.
    pub async fn rfc_set_dev_id(&self, cpu: &Cpu, viommu: Id, device: Id, virt_id: u64) -> Result<(), Errno> {
        self.assert_rfc();
        self.enter(cpu).await;
        let result = self.set_dev_id(cpu, viommu, device, virt_id).await;
        let shown = format!("viommu {viommu} device {device} id {virt_id:#x}");
        self.leave(cpu, "RFC VIOMMU_SET_DEV_ID", &shown, result)
    }

    async fn set_dev_id(&self, cpu: &Cpu, viommu: Id, device: Id, virt_id: u64) -> Result<(), Errno> {
        let (smmu, vintf, psid) = {
            let mut state = self.state();
            let physical = Arc::clone(&state.device(device)?.device);
            let smmu = Arc::clone(&state.viommu(viommu)?.smmu);
            if !same_instance(&physical.smmu, &smmu) {
                return Err(state.refusal.foreign(&physical, "viommu", viommu, &smmu));
            }
            let vintf = state.viommu(viommu)?.vintf.as_ref().ok_or(Errno::EOPNOTSUPP)?.index;
            let linked = state.device(device)?.viommus.contains_key(&viommu.0);
            if linked || state.viommu(viommu)?.idevs.contains_key(&device.0) {
                let why = format!("device {device} and viommu {viommu} are linked already");
                return Err(state.refusal.because(Errno::EBUSY, why));
            }
            state.device_mut(device)?.viommus.insert(viommu.0, viommu);
            state.viommu_mut(viommu)?.idevs.insert(device.0, device);
            (smmu, vintf, physical.sids[0])
        };
        let cmdqv = smmu.driver.cmdqv().expect("a VINTF has a CMDQV");
        // RFCv1 checks no range: what does not fit the register is cut off there.
        let slot = cmdqv.sid_alloc(cpu, vintf, virt_id as u32 & 0xf_ffff, psid).await;
        let mut state = self.state();
        match slot {
            Ok(slot) => {
                let vintf = state.viommu_mut(viommu)?.vintf.as_mut().expect("RFC viommus have one");
                vintf.linked.insert(device.0, slot);
                Ok(())
            }
            Err(errno) => {
                state.viommu_mut(viommu)?.idevs.remove(&device.0);
                state.device_mut(device)?.viommus.remove(&viommu.0);
                Err(errno)
            }
        }
    }

    /// What device removal does in RFCv1: unset in the driver and erase both sides.
    pub(super) async fn unset_all_links(&self, cpu: &Cpu, device: Id) {
        let viommus: Vec<Id> = match self.state().device_mut(device) {
            Ok(entry) => std::mem::take(&mut entry.viommus).into_values().collect(),
            Err(_) => return,
        };
        for viommu in viommus {
            let freed = {
                let mut state = self.state();
                // A viommu that is gone left its entry behind.
                let Ok(entry) = state.viommu_mut(viommu) else { continue };
                entry.idevs.remove(&device.0);
                let smmu = Arc::clone(&entry.smmu);
                let vintf = entry.vintf.as_mut().expect("RFC viommus have one");
                vintf.linked.remove(&device.0).map(|slot| (smmu, vintf.index, slot))
            };
            if let Some((smmu, vintf, slot)) = freed {
                smmu.driver.cmdqv().expect("a VINTF has a CMDQV").sid_free(cpu, vintf, slot).await;
            }
        }
    }

    /// Both arrays as they stand.
    pub fn rfc_arrays(&self) -> ViommuArrays {
        let state = self.state();
        let mut arrays = ViommuArrays::default();
        for (id, object) in state.objects.iter() {
            match &object.kind {
                Kind::Viommu(v) => arrays.by_viommu.extend(v.idevs.values().map(|device| (id, *device))),
                Kind::Device(d) => arrays.by_device.extend(d.viommus.values().map(|viommu| (*viommu, id))),
                _ => {}
            }
        }
        arrays
    }

    /// RFCv1 VQUEUE_ALLOC: no pinning, no contiguity check; an allocated index is silently set up again.
    ///
    /// # Errors
    /// EOPNOTSUPP: flags. ENOENT: no such viommu. EINVAL: bad base, size or index, or an unmapped base.
    pub async fn rfc_vqueue_alloc(&self, cpu: &Cpu, cmd: &RfcVqueueAlloc) -> Result<Id, Errno> {
        self.assert_rfc();
        self.enter(cpu).await;
        let result = self.alloc_vqueue(cpu, cmd).await;
        self.leave(cpu, "RFC VQUEUE_ALLOC", cmd, result)
    }

    async fn alloc_vqueue(&self, cpu: &Cpu, cmd: &RfcVqueueAlloc) -> Result<Id, Errno> {
        if cmd.flags != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let viommu = Id(cmd.viommu);
        let (smmu, vintf, pa) = {
            let state = self.state();
            let entry = state.viommu(viommu)?;
            let vintf = entry.vintf.as_ref().ok_or(Errno::EOPNOTSUPP)?.index;
            let smmu = Arc::clone(&entry.smmu);
            let queues = smmu.driver.cmdqv().expect("a VINTF has a CMDQV").queues_per_vintf();
            let address = 0xffff_ffff_ffe0;
            if cmd.base == 0 || cmd.base & !address != 0 || cmd.log2size == 0 || cmd.log2size > 31 {
                let why = "the base is not 32-byte aligned, or log2size is not in 1..=31";
                return Err(state.refusal.because(Errno::EINVAL, why));
            }
            if cmd.index >= u32::from(queues) {
                let why = format!("queue {} is not among the {queues} of a VINTF", cmd.index);
                return Err(state.refusal.because(Errno::EINVAL, why));
            }
            let ioas = state.ioas(state.paging(entry.parent)?.ioas)?;
            let pa = ioas.physical(cmd.base).ok_or_else(|| {
                state.refusal.because(Errno::EINVAL, format!("{:#x} is not mapped", cmd.base))
            })?;
            (smmu, vintf, pa)
        };
        let cmdqv = smmu.driver.cmdqv().expect("a VINTF has a CMDQV");
        let (index, log2) = (cmd.index as u8, cmd.log2size as u8);
        match cmdqv.lvcmdq_alloc(cpu, vintf, index, pa, 16 << log2).await {
            Err(Errno::EEXIST) => cmdqv.lvcmdq_reinit(cpu, vintf, index, pa, log2).await?,
            other => other?,
        }
        let mut state = self.state();
        state.objects.hold(viommu);
        Ok(state.objects.insert(Kind::Vqueue(Vqueue { viommu, index: cmd.index })))
    }

    pub(super) async fn vqueue_gone(&self, cpu: &Cpu, queue: &Vqueue) {
        let hardware = {
            let state = self.state();
            let viommu = state.viommu(queue.viommu).expect("a queue holds its viommu");
            viommu.vintf.as_ref().map(|v| (Arc::clone(&viommu.smmu), v.index))
        };
        if let Some((smmu, vintf)) = hardware {
            let cmdqv = smmu.driver.cmdqv().expect("a VINTF has a CMDQV");
            // RFCv1 keeps no order: a queue that is not the last one stays until the VINTF goes.
            let _ = cmdqv.lvcmdq_free(cpu, vintf, queue.index as u8).await;
        }
        self.state().objects.release(queue.viommu);
    }
}

//! VIOMMU (a slice of one pSMMU) and VDEVICE (a device's virtual id on it).

use std::collections::BTreeMap;
use std::sync::Arc;

use models::cpu::Cpu;

use super::context::{Context, same_instance};
use super::host::HostSmmu;
use super::kinds::{Kind, Vdevice, Vintf, Viommu};
use super::object::Id;
use super::window::WINDOW_LEN;
use crate::errno::Errno;

/// VIOMMU_ALLOC type: plain SMMUv3.
pub const VIOMMU_ARM_SMMUV3: u32 = 1;
/// VIOMMU_ALLOC type: SMMUv3 with a VINTF of its CMDQV.
pub const VIOMMU_TEGRA241_CMDQV: u32 = 2;

/// Arguments of VIOMMU_ALLOC.
#[derive(Clone, Copy, Debug, Default)]
pub struct ViommuAlloc {
    /// Must be zero.
    pub flags: u32,
    /// [`VIOMMU_ARM_SMMUV3`] or [`VIOMMU_TEGRA241_CMDQV`].
    pub kind: u32,
    /// Selects the pSMMU.
    pub device: u32,
    /// The nesting parent.
    pub hwpt: u32,
    /// Length of the user data.
    pub data_len: u32,
}

/// What VIOMMU_ALLOC returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViommuAllocated {
    /// The viommu.
    pub id: Id,
    /// Offset and length of its one mmap window, for [`VIOMMU_TEGRA241_CMDQV`].
    pub window: Option<(u64, u64)>,
}

/// What a viommu stands for in hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ViommuFacts {
    /// Index of the pSMMU.
    pub smmu: u16,
    /// VMID of the nesting parent.
    pub vmid: u16,
    /// Its VINTF, with a CMDQV.
    pub vintf: Option<u8>,
}

impl Context {
    /// IOMMU_VIOMMU_ALLOC.
    ///
    /// # Errors
    /// EOPNOTSUPP: flags, type, or a pSMMU that cannot. ENOENT: no such device or page table. EINVAL: not a nesting
    /// parent, a parent of another pSMMU, or bad user data. ENOSPC: no free VINTF. ETIMEDOUT: the VINTF did not start.
    pub async fn viommu_alloc(&self, cpu: &Cpu, cmd: &ViommuAlloc) -> Result<ViommuAllocated, Errno> {
        self.enter(cpu).await;
        let result = self.alloc_viommu(cpu, cmd).await;
        self.leave(cpu, "VIOMMU_ALLOC", cmd, result)
    }

    async fn alloc_viommu(&self, cpu: &Cpu, cmd: &ViommuAlloc) -> Result<ViommuAllocated, Errno> {
        if cmd.flags != 0 || cmd.kind == 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        let (smmu, vmid) = {
            let state = self.state();
            let device = Arc::clone(&state.device(Id(cmd.device))?.device);
            let smmu = Arc::clone(&device.smmu);
            let supported = match cmd.kind {
                VIOMMU_ARM_SMMUV3 => true,
                VIOMMU_TEGRA241_CMDQV => smmu.driver.cmdqv().is_some(),
                _ => false,
            };
            let coherent = device.canwbs || smmu.driver.features().fwb;
            if !supported || !smmu.driver.features().nesting || !coherent {
                let why = format!("{} cannot carry a viommu of type {}", smmu.name, cmd.kind);
                return Err(state.refusal.because(Errno::EOPNOTSUPP, why));
            }
            let parent = state.paging(Id(cmd.hwpt))?;
            if !parent.nest_parent {
                let why = format!("page table {} is no nesting parent", cmd.hwpt);
                return Err(state.refusal.because(Errno::EINVAL, why));
            }
            if !same_instance(&parent.smmu, &smmu) {
                return Err(state.refusal.foreign(&device, "page table", Id(cmd.hwpt), &parent.smmu));
            }
            (smmu, parent.domain.tag())
        };
        let id = self.state().objects.reserve();
        let vintf = if cmd.kind == VIOMMU_TEGRA241_CMDQV {
            match self.start_vintf(cpu, id, &smmu, vmid, cmd.data_len).await {
                Ok(vintf) => Some(vintf),
                Err(errno) => {
                    self.state().objects.abandon(id);
                    return Err(errno);
                }
            }
        } else {
            None
        };
        let window = vintf.as_ref().map(|v| (v.window, WINDOW_LEN));
        let mut state = self.state();
        state.objects.hold(Id(cmd.hwpt));
        state.objects.publish(
            id,
            Kind::Viommu(Viommu {
                smmu,
                parent: Id(cmd.hwpt),
                vdevices: BTreeMap::new(),
                veventqs: BTreeMap::new(),
                vintf,
                idevs: BTreeMap::new(),
            }),
        );
        Ok(ViommuAllocated { id, window })
    }

    /// Takes a VINTF, enables it for the parent's VMID and registers its window.
    pub(super) async fn start_vintf(
        &self,
        cpu: &Cpu,
        owner: Id,
        smmu: &HostSmmu,
        vmid: u16,
        data_len: u32,
    ) -> Result<Vintf, Errno> {
        if data_len != 16 {
            let why = format!("the user data has {data_len} bytes, not 16");
            return Err(self.state().refusal.because(Errno::EINVAL, why));
        }
        let cmdqv = smmu.driver.cmdqv().expect("checked by the caller");
        let index = cmdqv.vintf_alloc(cpu, vmid).await.map_err(|errno| {
            self.state().refusal.because(errno, format!("{} gives no further VINTF", smmu.name))
        })?;
        let window = self.state().windows.register(owner, cmdqv.page0_address(index));
        cmdqv.set_error_sink(index, Some(self.error_sink(owner)));
        Ok(Vintf { index, window, queues: BTreeMap::new(), linked: BTreeMap::new() })
    }

    pub(super) async fn viommu_gone(&self, cpu: &Cpu, viommu: Viommu) {
        if let Some(vintf) = &viommu.vintf {
            let cmdqv = viommu.smmu.driver.cmdqv().expect("a VINTF has a CMDQV");
            self.state().windows.remove(vintf.window);
            cmdqv.vintf_free(cpu, vintf.index).await;
        }
        self.state().objects.release(viommu.parent);
    }

    /// What a viommu stands for in hardware.
    ///
    /// # Errors
    /// ENOENT: no such viommu.
    pub fn viommu_facts(&self, id: Id) -> Result<ViommuFacts, Errno> {
        let state = self.state();
        let viommu = state.viommu(id)?;
        let vmid = state.paging(viommu.parent)?.domain.tag();
        Ok(ViommuFacts { smmu: viommu.smmu.index, vmid, vintf: viommu.vintf.as_ref().map(|v| v.index) })
    }

    /// IOMMU_VDEVICE_ALLOC: gives a device its virtual id on a viommu.
    ///
    /// # Errors
    /// ENOENT: no such viommu or device. EINVAL: the device is behind another pSMMU, or the id is too wide for a SID
    /// slot. EEXIST: the device has a VDEVICE, or the id is taken. EOPNOTSUPP: not exactly one stream. ENOSPC: no free
    /// SID slot.
    pub async fn vdevice_alloc(&self, cpu: &Cpu, viommu: Id, device: Id, virt_id: u64) -> Result<Id, Errno> {
        self.enter(cpu).await;
        let result = self.alloc_vdevice(cpu, viommu, device, virt_id).await;
        let shown = format!("viommu {viommu} device {device} virt_id {virt_id:#x}");
        self.leave(cpu, "VDEVICE_ALLOC", &shown, result)
    }

    async fn alloc_vdevice(&self, cpu: &Cpu, viommu: Id, device: Id, virt_id: u64) -> Result<Id, Errno> {
        let (id, smmu, vintf, sids) = {
            let mut state = self.state();
            let carrier = state.viommu(viommu)?;
            let (smmu, vintf) = (Arc::clone(&carrier.smmu), carrier.vintf.as_ref().map(|v| v.index));
            let entry = state.device(device)?;
            if !same_instance(&entry.device.smmu, &smmu) {
                return Err(state.refusal.foreign(&entry.device, "viommu", viommu, &smmu));
            }
            if entry.destroying {
                return Err(Errno::ENOENT);
            }
            if let Some(vdevice) = entry.vdevice {
                let why = format!("device {device} has a virtual device already, object {vdevice}");
                return Err(state.refusal.because(Errno::EEXIST, why));
            }
            let sids = entry.device.sids.clone();
            if state.viommu(viommu)?.vdevices.contains_key(&virt_id) {
                let why = format!("virtual id {virt_id:#x} is taken on viommu {viommu}");
                return Err(state.refusal.because(Errno::EEXIST, why));
            }
            // Taken from here on; found only when the driver has agreed.
            let id = state.objects.reserve();
            state.viommu_mut(viommu)?.vdevices.insert(virt_id, id);
            (id, smmu, vintf, sids)
        };
        match self.init_vdevice(cpu, &smmu, vintf, virt_id, &sids).await {
            Ok(slot) => {
                let mut state = self.state();
                state.device_mut(device)?.vdevice = Some(id);
                state.objects.hold(viommu);
                state.objects.publish(id, Kind::Vdevice(Vdevice { viommu, device, virt_id, slot }));
                Ok(id)
            }
            Err(errno) => {
                let mut state = self.state();
                state.viommu_mut(viommu)?.vdevices.remove(&virt_id);
                state.objects.abandon(id);
                if errno == Errno::ENOSPC {
                    let why =
                        format!("the VINTF of viommu {viommu} has no free StreamID slot on {}", smmu.name);
                    state.refusal.because(errno, why);
                }
                Err(errno)
            }
        }
    }

    /// The driver's part: one stream only; with a VINTF, a SID slot.
    async fn init_vdevice(
        &self,
        cpu: &Cpu,
        smmu: &HostSmmu,
        vintf: Option<u8>,
        virt_id: u64,
        sids: &[u32],
    ) -> Result<Option<u8>, Errno> {
        if vintf.is_some() && virt_id > 0xf_ffff {
            let why = format!("virtual id {virt_id:#x} does not fit the 20 bits of a StreamID slot");
            return Err(self.state().refusal.because(Errno::EINVAL, why));
        }
        let [psid] = *sids else { return Err(Errno::EOPNOTSUPP) };
        let Some(vintf) = vintf else { return Ok(None) };
        let cmdqv = smmu.driver.cmdqv().expect("a VINTF has a CMDQV");
        cmdqv.sid_alloc(cpu, vintf, virt_id as u32, psid).await.map(Some)
    }

    pub(super) async fn vdevice_gone(&self, cpu: &Cpu, id: Id, vdevice: Vdevice) {
        let hardware = {
            let mut state = self.state();
            if let Ok(device) = state.device_mut(vdevice.device)
                && device.vdevice == Some(id)
            {
                device.vdevice = None;
            }
            let viommu = state.viommu_mut(vdevice.viommu).expect("a VDEVICE holds its viommu");
            viommu.vdevices.remove(&vdevice.virt_id);
            let smmu = Arc::clone(&viommu.smmu);
            vdevice.slot.map(|slot| (slot, viommu.vintf.as_ref().expect("it gave the slot").index, smmu))
        };
        if let Some((slot, vintf, smmu)) = hardware {
            smmu.driver.cmdqv().expect("a VINTF has a CMDQV").sid_free(cpu, vintf, slot).await;
        }
        self.state().objects.release(vdevice.viommu);
    }
}

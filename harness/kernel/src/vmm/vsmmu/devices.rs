//! Devices behind a virtual SMMU: the viommu that carries them, and the installation of guest STEs.

use models::cpu::Cpu;
use spec::smmu::page0::{CR0ACK, GBPA, STRTAB_BASE, STRTAB_BASE_CFG};
use spec::smmu::{L1Std, Ste};

use super::Vsmmu;
use crate::errno::Errno;
use crate::iommufd::{
    HW_INFO_ARM_SMMUV3, HwptAlloc, Id, VIOMMU_ARM_SMMUV3, VIOMMU_TEGRA241_CMDQV, ViommuAlloc, hwpt_data,
    hwpt_flags,
};

/// A viommu of a virtual SMMU and what always goes with it.
#[derive(Clone, Copy, Debug)]
pub(in crate::vmm) struct Carrier {
    pub(in crate::vmm) viommu: Id,
    /// mmap offset and length, with a CMDQV.
    pub(in crate::vmm) window: Option<(u64, u64)>,
    /// Index of the physical SMMU.
    pub(in crate::vmm) smmu: u16,
    /// Commands forwarded to it.
    pub(super) forwarded: u64,
    bypass: Id,
    abort: Id,
    pub(super) events: Id,
    pub(super) errors: Option<Id>,
}

/// A device behind a virtual SMMU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plugged {
    device: Id,
    /// Index of its carrier.
    pub(super) carrier: usize,
    pub(super) vdevice: Option<Id>,
    /// Page table for its current guest STE.
    nested: Option<Id>,
}

const VEVENTQ_ARM: u32 = 1;
const VEVENTQ_CMDQV: u32 = 2;

impl Vsmmu {
    /// Puts a bound device behind this virtual SMMU under a virtual StreamID. The first device of a physical SMMU
    /// brings its nesting parent and its viommu.
    ///
    /// # Errors
    /// Those of the ioctls; EEXIST for a virtual StreamID in use.
    pub async fn plug(&self, cpu: &Cpu, device: Id, vsid: u32) -> Result<(), Errno> {
        if self.state.lock().devices.contains_key(&vsid) {
            return Err(Errno::EEXIST);
        }
        let smmu = self.context.physical_device(device)?.smmu.index;
        let known = self.state.lock().carriers.iter().position(|c| c.smmu == smmu);
        let carrier = match known {
            Some(at) => at,
            None => self.new_carrier(cpu, device, smmu).await?,
        };
        let plugged = Plugged { device, carrier, vdevice: None, nested: None };
        self.state.lock().devices.insert(vsid, plugged);
        // The guest's SMMU is off: GBPA decides.
        self.install(cpu, vsid).await
    }

    async fn new_carrier(&self, cpu: &Cpu, device: Id, smmu: u16) -> Result<usize, Errno> {
        let info = self.context.get_hw_info(cpu, device, HW_INFO_ARM_SMMUV3).await?;
        if self.state.lock().carriers.is_empty() {
            self.advertise(&info);
        }
        let shared = self.config.parents.0.lock().get(&smmu).copied();
        let parent = match shared {
            Some(parent) => parent,
            None => {
                let cmd = HwptAlloc {
                    flags: hwpt_flags::NEST_PARENT,
                    device: device.0,
                    pt: self.ioas.0,
                    ..HwptAlloc::default()
                };
                let parent = self.context.hwpt_alloc(cpu, &cmd).await?;
                self.config.parents.0.lock().insert(smmu, parent);
                parent
            }
        };
        let (kind, data_len) =
            if self.config.cmdqv { (VIOMMU_TEGRA241_CMDQV, 16) } else { (VIOMMU_ARM_SMMUV3, 0) };
        let cmd = ViommuAlloc { flags: 0, kind, device: device.0, hwpt: parent.0, data_len };
        let viommu = self.context.viommu_alloc(cpu, &cmd).await?;
        let bypass = self.nested(cpu, device, viommu.id, Ste::default().with_v(true).with_config(4)).await?;
        let abort = self.nested(cpu, device, viommu.id, Ste::default().with_v(true)).await?;
        let depth = self.config.event_depth;
        let events = self.context.veventq_alloc(cpu, viommu.id, VEVENTQ_ARM, depth).await?;
        self.context.veventq_notify(events, self.event_signal())?;
        let errors = if self.config.cmdqv {
            let queue = self.context.veventq_alloc(cpu, viommu.id, VEVENTQ_CMDQV, depth).await?;
            self.context.veventq_notify(queue, self.event_signal())?;
            Some(queue)
        } else {
            None
        };
        let carrier = Carrier {
            viommu: viommu.id,
            window: viommu.window,
            smmu,
            forwarded: 0,
            bypass,
            abort,
            events,
            errors,
        };
        let mut state = self.state.lock();
        state.carriers.push(carrier);
        Ok(state.carriers.len() - 1)
    }

    async fn nested(&self, cpu: &Cpu, device: Id, viommu: Id, vste: Ste) -> Result<Id, Errno> {
        let data = vste.0[..2].iter().flat_map(|w| w.to_le_bytes()).collect();
        let cmd =
            HwptAlloc { flags: 0, device: device.0, pt: viommu.0, data_type: hwpt_data::ARM_SMMUV3, data };
        self.context.hwpt_alloc(cpu, &cmd).await
    }

    /// Installs what the guest's tables (or GBPA) say for every device.
    pub(super) async fn reinstall_all(&self, cpu: &Cpu) {
        self.reinstall(cpu, None).await;
    }

    /// The same for virtual StreamIDs in a range, first and last.
    pub(super) async fn reinstall(&self, cpu: &Cpu, range: Option<(u32, u32)>) {
        let (first, last) = range.unwrap_or((0, u32::MAX));
        let sids: Vec<u32> = self.state.lock().devices.range(first..=last).map(|(sid, _)| *sid).collect();
        for sid in sids {
            // A guest STE that the kernel refuses leaves the device where it is; the guest hears C_BAD_STE from
            // the hardware's own check or sees its DMA abort.
            if self.install(cpu, sid).await.is_err() {
                self.state.lock().count("refused_stes");
            }
        }
    }

    async fn install(&self, cpu: &Cpu, vsid: u32) -> Result<(), Errno> {
        let vste = self.guest_ste(cpu, vsid).await;
        let (plugged, carrier) = {
            let state = self.state.lock();
            let plugged = state.devices[&vsid];
            (plugged, state.carriers[plugged.carrier])
        };
        let enabled = self.state.lock().page0.get::<CR0ACK>().smmuen();
        let (table, made) = match vste {
            _ if !enabled => {
                let abort = self.state.lock().page0.get::<GBPA>().abort();
                (if abort { carrier.abort } else { carrier.bypass }, false)
            }
            Some(ste) if ste.v() && ste.config() == 4 => (carrier.bypass, false),
            Some(ste) if ste.v() && ste.config() & 4 != 0 => {
                self.ensure_vdevice(cpu, vsid).await?;
                match self.nested(cpu, plugged.device, carrier.viommu, masked(ste)).await {
                    Ok(table) => (table, true),
                    Err(errno) => {
                        self.context.attach(cpu, plugged.device, carrier.abort).await?;
                        self.swap_table(cpu, vsid, None).await;
                        return Err(errno);
                    }
                }
            }
            _ => (carrier.abort, false),
        };
        self.context.attach(cpu, plugged.device, table).await?;
        self.swap_table(cpu, vsid, made.then_some(table)).await;
        Ok(())
    }

    /// Remembers the page table of a device's guest STE and destroys the one before.
    async fn swap_table(&self, cpu: &Cpu, vsid: u32, table: Option<Id>) {
        let before = {
            let mut state = self.state.lock();
            let plugged = state.devices.get_mut(&vsid).expect("devices stay plugged");
            std::mem::replace(&mut plugged.nested, table)
        };
        if let Some(before) = before {
            // Nothing else refers to it: it was attached to this device only.
            let _ = self.context.destroy(cpu, before).await;
        }
    }

    async fn ensure_vdevice(&self, cpu: &Cpu, vsid: u32) -> Result<(), Errno> {
        let (plugged, viommu) = {
            let state = self.state.lock();
            let plugged = state.devices[&vsid];
            (plugged, state.carriers[plugged.carrier].viommu)
        };
        if plugged.vdevice.is_some() {
            return Ok(());
        }
        let vdevice = self.context.vdevice_alloc(cpu, viommu, plugged.device, vsid.into()).await?;
        self.state.lock().devices.get_mut(&vsid).expect("devices stay plugged").vdevice = Some(vdevice);
        Ok(())
    }

    /// The guest's STE of a virtual StreamID, read from guest memory as hardware would find it.
    async fn guest_ste(&self, cpu: &Cpu, vsid: u32) -> Option<Ste> {
        let (base, cfg) = {
            let state = self.state.lock();
            (state.page0.get::<STRTAB_BASE>(), state.page0.get::<STRTAB_BASE_CFG>())
        };
        let vm = self.vm();
        if u64::from(vsid) >= 1_u64.checked_shl(cfg.log2size() as u32).unwrap_or(u64::MAX) {
            return None;
        }
        let at = if cfg.fmt() == 1 {
            let split = if matches!(cfg.split(), 8 | 10) { cfg.split() } else { 6 };
            let mut bytes = [0; 8];
            vm.read_memory(cpu, base.addr() + 8 * (u64::from(vsid) >> split), &mut bytes).await;
            let l1 = L1Std([u64::from_le_bytes(bytes)]);
            let index = u64::from(vsid) & ((1 << split) - 1);
            if l1.span() == 0 || l1.span() > split + 1 || index >= 1 << (l1.span() - 1) {
                return None;
            }
            l1.l2ptr() + 64 * index
        } else {
            base.addr() + 64 * u64::from(vsid)
        };
        let mut bytes = [0; 64];
        vm.read_memory(cpu, at, &mut bytes).await;
        Some(Ste::from_bytes(&bytes))
    }
}

/// What the kernel lets a VMM pass on of a guest's STE.
fn masked(ste: Ste) -> Ste {
    Ste([ste.0[0] & 0xf80f_ffff_ffff_ffff, ste.0[1] & 0x3800_00ff, 0, 0, 0, 0, 0, 0])
}

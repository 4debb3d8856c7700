//! Guest software: the same drivers as the host's, on virtual CPUs, with guest-physical memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::cpu::CpuId;
use parking_lot::Mutex;

use crate::access::Access;
use crate::alloc::{PAGE, Pages};
use crate::cmdqv::CmdqvConfig;
use crate::errno::Errno;
use crate::journal::{Actor, Journal};
use crate::pgtable::Prot;
use crate::smmu::{Config, Domain, DomainKind, Driver, Interrupts, StreamOptions, Wanted};
use crate::vmm::{Vcpu, Vsmmu};

/// A vSMMU as the guest's firmware tables describe it.
#[derive(Clone, Debug)]
pub struct GuestSmmu {
    /// Number of the vSMMU.
    pub index: u16,
    /// Register pages.
    pub base: u64,
    /// CMDQV and its interrupt.
    pub cmdqv: Option<(u64, u32)>,
    /// Interrupts for global errors and events.
    pub gerror_intid: u32,
    /// Event queue interrupt.
    pub eventq_intid: u32,
    /// Largest command queue to ask for, log2 of entries.
    pub cmdq_log2: u8,
    /// Largest event queue to ask for, log2 of entries.
    pub eventq_log2: u8,
    /// The tables name a Tegra264 SMMU.
    pub repeat_invalidations: bool,
    /// Devices behind it: virtual StreamIDs, and whether they can do ATS.
    pub devices: Vec<(u32, bool)>,
}

impl GuestSmmu {
    /// What the VMM's tables say of a vSMMU.
    pub fn describe(vsmmu: &Vsmmu, eventq_log2: u8, devices: Vec<(u32, bool)>) -> Self {
        Self {
            index: vsmmu.config.index,
            base: vsmmu.config.base,
            cmdqv: vsmmu.cmdqv().map(|c| (c.base(), c.intid())),
            gerror_intid: vsmmu.config.gerror_intid,
            eventq_intid: vsmmu.config.eventq_intid,
            cmdq_log2: vsmmu.config.cmdq_log2_max,
            eventq_log2,
            repeat_invalidations: false,
            devices,
        }
    }
}

/// A device that the guest's driver runs.
#[derive(Debug)]
struct GuestDevice {
    driver: Arc<Driver>,
    domain: Arc<Domain>,
}

/// A mapping for DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaMapping {
    /// vSMMU number and virtual StreamID of the device.
    pub device: (u16, u32),
    /// First input address.
    pub iova: u64,
    /// Guest-physical address of the buffer.
    pub gpa: u64,
    /// Number of bytes.
    pub len: u64,
}

/// A booted guest.
#[derive(Debug)]
pub struct Guest {
    /// Free guest memory.
    pub pages: Pages,
    drivers: BTreeMap<u16, Arc<Driver>>,
    devices: BTreeMap<(u16, u32), GuestDevice>,
    iovas: Mutex<BTreeMap<(u16, u32), Pages>>,
}

/// Input addresses that drivers choose from: below 4 GiB, away from zero.
const IOVAS: (u64, u64) = (0x1_0000, 0xf000_0000);

impl Guest {
    /// Probes every vSMMU, starts its handlers and gives every device an address space of its own.
    ///
    /// # Errors
    /// Those of the drivers.
    pub async fn boot(
        cpu: &Vcpu,
        pages: Pages,
        smmus: &[GuestSmmu],
        journal: &Journal,
    ) -> Result<Arc<Self>, Errno> {
        let by = Actor::Vm(cpu.vm().config.index);
        let mut guest =
            Self { pages, drivers: BTreeMap::new(), devices: BTreeMap::new(), iovas: Mutex::default() };
        for smmu in smmus {
            let config = Config {
                cmdqv: smmu.cmdqv.map(|(base, intid)| CmdqvConfig { base, intid: Some(intid) }),
                interrupts: Interrupts {
                    gerror: smmu.gerror_intid,
                    eventq: smmu.eventq_intid,
                    priq: smmu.eventq_intid + 1,
                    doorbell: None,
                    routes: None,
                },
                wanted: Wanted { msi_polling: false, sev: false, ..Wanted::default() },
                cmdq_log2_max: smmu.cmdq_log2,
                eventq_log2_max: smmu.eventq_log2,
                repeat_invalidations: smmu.repeat_invalidations,
                ..Config::new(by, smmu.index, smmu.base, smmu.gerror_intid)
            };
            let driver = Driver::probe(cpu, config, &guest.pages, journal).await?;
            driver.spawn_handlers(cpu, CpuId(0)).await;
            for &(sid, ats) in &smmu.devices {
                driver.set_stream(sid, StreamOptions { ats, ..StreamOptions::default() })?;
                let domain = Arc::new(Domain::new(cpu, &driver, DomainKind::Stage1).await?);
                driver.attach(cpu, sid, &domain).await?;
                let device = GuestDevice { driver: Arc::clone(&driver), domain };
                guest.devices.insert((smmu.index, sid), device);
                guest.iovas.get_mut().insert((smmu.index, sid), Pages::new(&[IOVAS]));
            }
            guest.drivers.insert(smmu.index, driver);
        }
        Ok(Arc::new(guest))
    }

    /// The driver of a vSMMU.
    pub fn driver(&self, vsmmu: u16) -> Option<&Arc<Driver>> {
        self.drivers.get(&vsmmu)
    }
    /// The address space of a device.
    pub fn domain(&self, device: (u16, u32)) -> Option<&Arc<Domain>> {
        self.devices.get(&device).map(|d| &d.domain)
    }

    /// dma_map: makes a buffer reachable for a device. Without `iova` the driver chooses.
    ///
    /// # Errors
    /// ENODEV: no such device. ENOMEM, ENOSPC: nothing left. Those of the tables.
    pub async fn map<A: Access>(
        &self,
        cpu: &A,
        device: (u16, u32),
        iova: Option<u64>,
        gpa: u64,
        len: u64,
        prot: Prot,
    ) -> Result<DmaMapping, Errno> {
        let entry = self.devices.get(&device).ok_or(Errno::ENODEV)?;
        let len = len.next_multiple_of(PAGE);
        let iova = match iova {
            Some(iova) => iova,
            None => {
                let pool = self.iovas.lock().get(&device).cloned().ok_or(Errno::ENODEV)?;
                pool.alloc(len).map_err(|_| Errno::ENOSPC)?
            }
        };
        entry.domain.map(cpu, iova, gpa, len, prot).await?;
        Ok(DmaMapping { device, iova, gpa, len })
    }

    /// dma_unmap: the mapping is gone on every device when this returns.
    ///
    /// # Errors
    /// ENODEV: no such device. ETIMEDOUT: the invalidation did not complete.
    pub async fn unmap<A: Access>(&self, cpu: &A, mapping: &DmaMapping, chosen: bool) -> Result<(), Errno> {
        let entry = self.devices.get(&mapping.device).ok_or(Errno::ENODEV)?;
        entry.domain.unmap(cpu, mapping.iova, mapping.len).await?;
        if chosen && let Some(pool) = self.iovas.lock().get(&mapping.device) {
            pool.free(mapping.iova, mapping.len);
        }
        Ok(())
    }

    /// Whether a device's driver uses VCMDQs.
    pub fn uses_vcmdq(&self, device: (u16, u32)) -> bool {
        self.devices.get(&device).is_some_and(|d| d.driver.cmdqv().is_some())
    }
}

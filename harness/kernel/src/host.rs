//! The host's kernel, booted: every SMMU probed, its handlers running, devices found.

use std::sync::Arc;

use models::cpu::{Cpu, CpuId};

use crate::alloc::{PAGE, Pages};
use crate::errno::Errno;
use crate::iommufd::{HostSmmu, PhysicalDevice, UserMemory};
use crate::journal::Journal;
use crate::smmu::{Config, Driver};

/// A pSMMU that the firmware tables describe.
#[derive(Clone, Debug)]
pub struct SmmuNode {
    /// What it is called.
    pub name: String,
    /// How its driver is to run it.
    pub config: Config,
    /// The CPU that takes its interrupts.
    pub interrupts_on: CpuId,
}

/// A device that enumeration finds.
#[derive(Clone, Debug)]
pub struct DeviceNode {
    /// What it is called.
    pub name: String,
    /// Index of the endpoint in the machine.
    pub endpoint: u16,
    /// Index of its pSMMU among the nodes.
    pub smmu: usize,
    /// Its StreamIDs.
    pub sids: Vec<u32>,
    /// Its root complex is declared coherent including no-snoop traffic.
    pub canwbs: bool,
    /// It can do ATS.
    pub ats: bool,
    /// log2 of the PASIDs that it may use.
    pub pasid_bits: u8,
}

/// The booted host.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its pSMMUs, in the order of the nodes.
    pub smmus: Vec<Arc<HostSmmu>>,
    /// Its devices, in the order of the nodes.
    pub devices: Vec<Arc<PhysicalDevice>>,
    /// Free memory.
    pub pages: Pages,
    /// Observers.
    pub journal: Journal,
}

impl Host {
    /// Probes every pSMMU in order and starts its handlers.
    ///
    /// # Errors
    /// The name of the pSMMU that did not come up, and why.
    pub async fn boot(
        cpu: &Cpu,
        smmus: &[SmmuNode],
        devices: &[DeviceNode],
        pages: &Pages,
        journal: &Journal,
    ) -> Result<Self, (String, Errno)> {
        let mut up: Vec<Arc<HostSmmu>> = Vec::new();
        for node in smmus {
            let index = node.config.smmu;
            let driver = Driver::probe(cpu, node.config.clone(), pages, journal)
                .await
                .map_err(|errno| (node.name.clone(), errno))?;
            driver.spawn_handlers(cpu, node.interrupts_on).await;
            up.push(HostSmmu::new(index, node.name.clone(), driver));
        }
        let devices = devices
            .iter()
            .map(|d| {
                let smmu = Arc::clone(&up[d.smmu]);
                PhysicalDevice::new(
                    d.name.clone(),
                    d.endpoint,
                    smmu,
                    d.sids.clone(),
                    d.canwbs,
                    d.ats,
                    d.pasid_bits,
                )
            })
            .collect();
        Ok(Self { smmus: up, devices, pages: pages.clone(), journal: journal.clone() })
    }

    /// Memory for user space: `len` bytes in frames of `page` bytes, physically consecutive or with a hole after every
    /// frame.
    ///
    /// # Errors
    /// ENOMEM.
    pub fn user_memory(&self, len: u64, page: u64, contiguous: bool) -> Result<UserMemory, Errno> {
        user_memory(&self.pages, len, page, contiguous)
    }
}

/// As [`Host::user_memory`], from any pages.
///
/// # Errors
/// ENOMEM.
pub fn user_memory(pages: &Pages, len: u64, page: u64, contiguous: bool) -> Result<UserMemory, Errno> {
    let page = page.max(PAGE);
    let count = len.div_ceil(page);
    let stride = if contiguous { page } else { page + PAGE };
    let base = pages.alloc_aligned(stride * count, page)?;
    let frames = if contiguous {
        (0..count).map(|i| base + i * page).collect()
    } else {
        // One at a time, so that each keeps its own alignment.
        pages.free_aligned(base, stride * count);
        let mut frames = Vec::new();
        for _ in 0..count {
            frames.push(pages.alloc_aligned(page, page)?);
            // The hole: what comes next is not adjacent.
            pages.alloc_aligned(PAGE, PAGE)?;
        }
        frames
    };
    Ok(UserMemory { page_size: page, frames: Arc::new(frames) })
}

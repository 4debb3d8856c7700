//! mmap of hardware MMIO: a viommu's one window (its VINTF's page 0).

use std::collections::BTreeMap;

use models::bus::PhysAddr;
use models::cpu::Cpu;

use super::context::{Abi, Context};
use super::object::Id;
use crate::errno::Errno;

/// Bytes in a window: one aperture page of the CMDQV.
pub(super) const WINDOW_LEN: u64 = 0x1_0000;

/// How a window is to be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MmapFlags {
    /// MAP_SHARED rather than MAP_PRIVATE.
    pub shared: bool,
    /// PROT_EXEC.
    pub exec: bool,
}

impl Default for MmapFlags {
    fn default() -> Self {
        Self { shared: true, exec: false }
    }
}

/// A mapping in user space. Dropping the value unmaps nothing: call [`Context::munmap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// Physical address of the first byte.
    pub pa: PhysAddr,
    /// Number of bytes.
    pub len: u64,
    owner: Id,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    owner: Id,
    pa: PhysAddr,
}

/// Windows of a context by mmap offset.
#[derive(Debug, Default)]
pub(super) struct Windows {
    first: u64,
    by_offset: BTreeMap<u64, Window>,
    /// Mappings that exist; each keeps the context's file open.
    pub(super) mapped: u32,
}

impl Windows {
    pub(super) fn new(page_size: u64) -> Self {
        Self { first: page_size, by_offset: BTreeMap::new(), mapped: 0 }
    }
    /// Registers a window at the lowest free offset.
    pub(super) fn register(&mut self, owner: Id, pa: PhysAddr) -> u64 {
        let mut offset = self.first;
        for &taken in self.by_offset.keys() {
            if offset + WINDOW_LEN <= taken {
                break;
            }
            offset = taken + WINDOW_LEN;
        }
        self.by_offset.insert(offset, Window { owner, pa });
        offset
    }
    pub(super) fn remove(&mut self, offset: u64) {
        self.by_offset.remove(&offset).expect("a window is removed once");
    }
}

impl Context {
    /// mmap of a window. In RFCv1 mode `offset` is the viommu's id in pages and the length at most one page.
    ///
    /// # Errors
    /// EINVAL: private, no length, or an offset within a page. ENOMEM: a length beyond the address space. EPERM:
    /// executable. ENXIO: offset or length is not exactly a window's. RFCv1: EINVAL for more than a page, ENOENT for an
    /// unknown viommu, EOPNOTSUPP for one without a window.
    pub async fn mmap(&self, cpu: &Cpu, offset: u64, len: u64, flags: MmapFlags) -> Result<Mapping, Errno> {
        cpu.delay(self.costs.mmap).await;
        let rounded = self.whole_pages(offset, len);
        let result = rounded.and_then(|len| match self.abi {
            Abi::Final => self.map_window(offset, len, flags),
            Abi::RfcV1 => self.rfc_map_window(offset, len),
        });
        self.leave(cpu, "mmap", &format!("offset {offset:#x} length {len:#x}"), result)
    }

    /// What the memory-management layer makes of a request: whole pages.
    fn whole_pages(&self, offset: u64, len: u64) -> Result<u64, Errno> {
        if len == 0 || !offset.is_multiple_of(self.page_size) {
            return Err(Errno::EINVAL);
        }
        len.checked_next_multiple_of(self.page_size).ok_or(Errno::ENOMEM)
    }

    fn map_window(&self, offset: u64, len: u64, flags: MmapFlags) -> Result<Mapping, Errno> {
        if !flags.shared {
            let why = "a private mapping of registers makes no sense";
            return Err(self.state().refusal.because(Errno::EINVAL, why));
        }
        let mut state = self.state();
        if flags.exec {
            return Err(state.refusal.because(Errno::EPERM, "a register page is not executable"));
        }
        let Some(window) = state.windows.by_offset.get(&offset).copied() else {
            let why = format!("no viommu has its window at offset {offset:#x}");
            return Err(state.refusal.because(Errno::ENXIO, why));
        };
        if len != WINDOW_LEN {
            let why =
                format!("a window is {WINDOW_LEN:#x} bytes, the request {len:#x}: all of it or nothing");
            return Err(state.refusal.because(Errno::ENXIO, why));
        }
        state.objects.hold(window.owner);
        state.windows.mapped += 1;
        Ok(Mapping { pa: window.pa, len, owner: window.owner })
    }

    fn rfc_map_window(&self, offset: u64, len: u64) -> Result<Mapping, Errno> {
        if len > self.page_size {
            return Err(Errno::EINVAL);
        }
        let mut state = self.state();
        let owner = Id(u32::try_from(offset / self.page_size).map_err(|_| Errno::ENOENT)?);
        let viommu = state.viommu(owner)?;
        let vintf = viommu.vintf.as_ref().ok_or(Errno::EOPNOTSUPP)?;
        let pa = viommu.smmu.driver.cmdqv().expect("a VINTF has a CMDQV").page0_address(vintf.index);
        state.windows.mapped += 1;
        Ok(Mapping { pa, len, owner })
    }

    /// A second reference to a mapping, as fork makes one.
    pub fn fork_mapping(&self, mapping: &Mapping) -> Mapping {
        let mut state = self.state();
        if self.abi == Abi::Final {
            state.objects.hold(mapping.owner);
        }
        state.windows.mapped += 1;
        *mapping
    }

    /// munmap. The last mapping of a closed context takes the context with it.
    pub async fn munmap(&self, cpu: &Cpu, mapping: Mapping) {
        cpu.delay(self.costs.mmap).await;
        {
            let mut state = self.state();
            if self.abi == Abi::Final {
                state.objects.release(mapping.owner);
            }
            state.windows.mapped -= 1;
        }
        let shown = format!("{:#x}", mapping.pa);
        let _ = self.leave(cpu, "munmap", &shown, Ok(()));
        self.release_if_unused(cpu).await;
    }
}

//! IOAS: areas of user memory at I/O virtual addresses, mirrored by page tables.

use std::sync::Arc;

use models::cpu::Cpu;

use super::context::{Context, State};
use super::kinds::{Area, Ioas, Kind, UserMemory};
use super::object::Id;
use crate::errno::Errno;
use crate::pgtable::Prot;
use crate::smmu::Domain;

/// Flags of IOAS_MAP.
pub mod map_flags {
    /// The caller chooses the address.
    pub const FIXED_IOVA: u32 = 1;
    /// Devices may write.
    pub const WRITEABLE: u32 = 2;
    /// Devices may read.
    pub const READABLE: u32 = 4;
}

/// The software MSI window that Arm keeps free in every address space with a device: first and last address.
const MSI_WINDOW: (u64, u64) = (0x0800_0000, 0x080f_ffff);

/// Arguments of IOAS_MAP.
#[derive(Clone, Debug)]
pub struct IoasMap {
    /// Which address space.
    pub ioas: Id,
    /// See [`map_flags`].
    pub flags: u32,
    /// The memory.
    pub memory: UserMemory,
    /// First byte within the memory.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// Where; ignored unless FIXED_IOVA.
    pub iova: u64,
}

impl Context {
    /// IOMMU_IOAS_ALLOC.
    ///
    /// # Errors
    /// None today.
    pub async fn ioas_alloc(&self, cpu: &Cpu) -> Result<Id, Errno> {
        self.enter(cpu).await;
        let id = self.state().objects.insert(Kind::Ioas(Ioas::default()));
        self.leave(cpu, "IOAS_ALLOC", &(), Ok(id))
    }

    /// IOMMU_IOAS_MAP. Returns the address.
    ///
    /// # Errors
    /// EOPNOTSUPP: unknown flag. EOVERFLOW, EINVAL: bad length or address, neither readable nor writeable, or the
    /// MSI window. ENOENT: no such IOAS. EEXIST: overlap. ENOSPC: no room. EFAULT: beyond the memory.
    pub async fn ioas_map(&self, cpu: &Cpu, cmd: &IoasMap) -> Result<u64, Errno> {
        self.enter(cpu).await;
        let result = self.map_area(cpu, cmd).await;
        let shown =
            format!("ioas {} iova {:#x} length {:#x} flags {}", cmd.ioas, cmd.iova, cmd.length, cmd.flags);
        self.leave(cpu, "IOAS_MAP", &shown, result)
    }

    async fn map_area(&self, cpu: &Cpu, cmd: &IoasMap) -> Result<u64, Errno> {
        use map_flags::{FIXED_IOVA, READABLE, WRITEABLE};
        if cmd.flags & !(FIXED_IOVA | READABLE | WRITEABLE) != 0 {
            return Err(Errno::EOPNOTSUPP);
        }
        if cmd.iova == u64::MAX || cmd.length == u64::MAX {
            return Err(Errno::EOVERFLOW);
        }
        if cmd.flags & (READABLE | WRITEABLE) == 0 {
            return Err(Errno::EINVAL);
        }
        let (iova, area, mirrors) = {
            let mut state = self.state();
            let mirrors = state.mirrors(cmd.ioas)?;
            let alignment = if mirrors.is_empty() { 1 } else { 4096 };
            if cmd.length == 0 || !cmd.length.is_multiple_of(alignment) {
                return Err(Errno::EINVAL);
            }
            let ioas = state.ioas_mut(cmd.ioas)?;
            let iova = if cmd.flags & FIXED_IOVA == 0 {
                ioas.free_range(cmd.length, alignment.max(self.page_size))?
            } else {
                ioas.check_fixed(cmd.iova, cmd.length, alignment)?;
                cmd.iova
            };
            if !cmd.offset.is_multiple_of(alignment) {
                return Err(Errno::EINVAL);
            }
            if cmd.offset.checked_add(cmd.length).is_none_or(|end| end > cmd.memory.len()) {
                return Err(Errno::EFAULT);
            }
            let area = Area {
                len: cmd.length,
                memory: cmd.memory.clone(),
                offset: cmd.offset,
                readable: cmd.flags & READABLE != 0,
                writeable: cmd.flags & WRITEABLE != 0,
                locks: 0,
            };
            ioas.areas.insert(iova, area.clone());
            (iova, area, mirrors)
        };
        for domain in mirrors {
            mirror(cpu, &domain, iova, &area).await?;
        }
        Ok(iova)
    }

    /// IOMMU_IOAS_UNMAP. Returns the number of bytes removed. `(0, u64::MAX)` means everything.
    ///
    /// # Errors
    /// ENOENT: no such IOAS, nothing there, or an area only partly covered. EOVERFLOW, EINVAL: bad range. EBUSY: a
    /// HW_QUEUE pins an area; earlier areas are gone by then.
    pub async fn ioas_unmap(&self, cpu: &Cpu, ioas: Id, iova: u64, length: u64) -> Result<u64, Errno> {
        self.enter(cpu).await;
        let result = self.unmap_areas(cpu, ioas, iova, length).await;
        let shown = format!("ioas {ioas} iova {iova:#x} length {length:#x}");
        self.leave(cpu, "IOAS_UNMAP", &shown, result)
    }

    async fn unmap_areas(&self, cpu: &Cpu, ioas: Id, iova: u64, length: u64) -> Result<u64, Errno> {
        let mirrors = self.state().mirrors(ioas)?;
        let everything = iova == 0 && length == u64::MAX;
        let last = if everything {
            u64::MAX
        } else {
            if iova == u64::MAX || length == u64::MAX {
                return Err(Errno::EOVERFLOW);
            }
            if length == 0 {
                return Err(Errno::EINVAL);
            }
            iova.checked_add(length - 1).ok_or(Errno::EOVERFLOW)?
        };
        let mut removed = 0;
        loop {
            let (start, area) = {
                let mut state = self.state();
                let ioas = state.ioas_mut(ioas)?;
                let next = ioas.areas.iter().map(|(s, a)| (*s, a.len, a.locks));
                let Some((start, len, locks)) =
                    next.into_iter().find(|(s, len, _)| s + (len - 1) >= iova && *s <= last)
                else {
                    break;
                };
                if locks > 0 {
                    return Err(Errno::EBUSY);
                }
                if start < iova || start + (len - 1) > last {
                    return Err(Errno::ENOENT);
                }
                (start, ioas.areas.remove(&start).expect("found above"))
            };
            for domain in &mirrors {
                domain.unmap(cpu, start, area.len).await?;
            }
            removed += area.len;
        }
        if removed == 0 && !everything { Err(Errno::ENOENT) } else { Ok(removed) }
    }
}

/// Writes an area into a page table.
async fn mirror(cpu: &Cpu, domain: &Domain, iova: u64, area: &Area) -> Result<(), Errno> {
    let prot = Prot { read: area.readable, write: area.writeable, execute: false, device: false };
    for (offset, pa, len) in area.memory.runs(area.offset, area.len) {
        let at = iova + (offset - area.offset);
        domain.map(cpu, at, pa, len, prot).await?;
    }
    Ok(())
}

/// Fills a new page table with what an IOAS holds.
pub(super) async fn populate(cpu: &Cpu, domain: &Domain, areas: &[(u64, Area)]) -> Result<(), Errno> {
    for (iova, area) in areas {
        mirror(cpu, domain, *iova, area).await?;
    }
    Ok(())
}

impl State {
    pub(super) fn ioas(&self, id: Id) -> Result<&Ioas, Errno> {
        match self.objects.get(id).map(|o| &o.kind) {
            Some(Kind::Ioas(ioas)) => Ok(ioas),
            _ => Err(Errno::ENOENT),
        }
    }
    pub(super) fn ioas_mut(&mut self, id: Id) -> Result<&mut Ioas, Errno> {
        match self.objects.get_mut(id).map(|o| &mut o.kind) {
            Some(Kind::Ioas(ioas)) => Ok(ioas),
            _ => Err(Errno::ENOENT),
        }
    }
    /// The page tables that mirror an IOAS.
    pub(super) fn mirrors(&self, id: Id) -> Result<Vec<Arc<Domain>>, Errno> {
        let hwpts = &self.ioas(id)?.hwpts;
        Ok(hwpts.iter().filter_map(|id| self.paging(*id).ok()).map(|p| Arc::clone(&p.domain)).collect())
    }
}

impl Ioas {
    fn overlaps(&self, iova: u64, last: u64) -> bool {
        self.areas.range(..=last).next_back().is_some_and(|(start, area)| start + (area.len - 1) >= iova)
    }
    fn check_fixed(&self, iova: u64, length: u64, alignment: u64) -> Result<(), Errno> {
        if !iova.is_multiple_of(alignment) {
            return Err(Errno::EINVAL);
        }
        let last = iova.checked_add(length - 1).ok_or(Errno::EOVERFLOW)?;
        if self.msi_reserved && iova <= MSI_WINDOW.1 && last >= MSI_WINDOW.0 {
            return Err(Errno::EINVAL);
        }
        if self.overlaps(iova, last) { Err(Errno::EEXIST) } else { Ok(()) }
    }
    fn free_range(&self, length: u64, alignment: u64) -> Result<u64, Errno> {
        let up = |at: u64| at.checked_next_multiple_of(alignment).ok_or(Errno::ENOSPC);
        let mut at = alignment;
        loop {
            let last = at.checked_add(length - 1).filter(|last| *last < 1 << 48).ok_or(Errno::ENOSPC)?;
            if self.msi_reserved && at <= MSI_WINDOW.1 && last >= MSI_WINDOW.0 {
                at = up(MSI_WINDOW.1 + 1)?;
                continue;
            }
            match self.areas.range(..=last).next_back().filter(|(s, a)| *s + (a.len - 1) >= at) {
                Some((start, area)) => at = up(start + area.len)?,
                None => return Ok(at),
            }
        }
    }
    /// The physical address behind an IOVA.
    pub(super) fn physical(&self, iova: u64) -> Option<models::bus::PhysAddr> {
        let (start, area) = self.areas.range(..=iova).next_back().filter(|(s, a)| iova < *s + a.len)?;
        area.memory.at(area.offset + (iova - start))
    }
    /// Whether a mapping lies in the MSI window.
    pub(super) fn in_msi_window(&self) -> bool {
        self.overlaps(MSI_WINDOW.0, MSI_WINDOW.1)
    }
}

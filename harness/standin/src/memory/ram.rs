//! RAM of a running machine, mapped from the files that QEMU hands over.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};

use models::bus::{Abort, PhysAddr};
use rustix::fs::{SealFlags, fcntl_get_seals, fstat};
use vm_memory::{
    Bytes, FileOffset, GuestAddress, GuestMemoryRegion, GuestRegionMmap, MemoryRegionAddress, VolatileMemory,
};

/// A range of memory that a client offers.
#[derive(Debug)]
pub struct Mapping {
    /// First byte.
    pub base: u64,
    /// Number of bytes.
    pub size: u64,
    /// The file that holds it.
    pub file: File,
    /// Where in the file.
    pub offset: u64,
}

/// Why memory cannot be mapped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MapError {
    /// Another mapping has part of the range.
    Taken {
        /// First byte and length of that one.
        by: (u64, u64),
    },
    /// The file ends before the range does.
    PastEnd {
        /// Bytes in the file.
        file: u64,
    },
    /// The file may shrink under the mapping, which would end this process.
    MayShrink,
    /// The operating system refuses.
    System(String),
}

impl fmt::Display for MapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Taken { by: (base, size) } => {
                write!(f, "another mapping has {base:#x}..{:#x}", base + size)
            }
            Self::PastEnd { file } => write!(f, "the memory's file has only {file:#x} bytes"),
            Self::MayShrink => f.write_str(
                "the memory's file is not sealed against shrinking; give the machine \
                 `-object memory-backend-memfd,id=m0,size=...,share=on` (its seal is on by default)",
            ),
            Self::System(why) => write!(f, "the memory cannot be mapped: {why}"),
        }
    }
}

impl std::error::Error for MapError {}

#[derive(Debug)]
struct Region {
    base: u64,
    size: u64,
    /// Device, inode and offset: the same memory arrives once for each function.
    identity: (u64, u64, u64),
    mapped_by: BTreeSet<usize>,
    memory: GuestRegionMmap,
}

/// Mapped memory.
#[derive(Debug, Default)]
pub struct Ram {
    /// In ascending order, disjoint.
    regions: Vec<Region>,
}

impl Ram {
    /// Maps memory for a function, once for all functions.
    ///
    /// # Errors
    /// See [`MapError`].
    pub fn map(&mut self, by: usize, mapping: Mapping) -> Result<(), MapError> {
        let Mapping { base, size, file, offset } = mapping;
        let system = |why: &dyn fmt::Display| MapError::System(why.to_string());
        let about = fstat(&file).map_err(|e| system(&e))?;
        let identity = (about.st_dev as u64, about.st_ino as u64, offset);
        let end = base.checked_add(size).filter(|_| size > 0).ok_or_else(|| system(&"the range wraps"))?;
        if let Some(same) = self.regions.iter_mut().find(|r| r.base < end && base < r.base + r.size) {
            if (same.base, same.size, same.identity) != (base, size, identity) {
                return Err(MapError::Taken { by: (same.base, same.size) });
            }
            same.mapped_by.insert(by);
            return Ok(());
        }
        // A file that shrinks turns accesses to the mapping into SIGBUS.
        if !fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(SealFlags::SHRINK)) {
            return Err(MapError::MayShrink);
        }
        let there = u64::try_from(about.st_size).unwrap_or(0);
        if offset.checked_add(size).is_none_or(|end| end > there) {
            return Err(MapError::PastEnd { file: there });
        }
        let place = Some(FileOffset::new(file, offset));
        let length = usize::try_from(size).map_err(|e| system(&e))?;
        let memory =
            GuestRegionMmap::from_range(GuestAddress(base), length, place).map_err(|e| system(&e))?;
        let at = self.regions.partition_point(|r| r.base < base);
        let mapped_by = BTreeSet::from([by]);
        self.regions.insert(at, Region { base, size, identity, mapped_by, memory });
        Ok(())
    }

    /// Takes back what a function has mapped within a range.
    pub fn unmap(&mut self, by: usize, base: u64, size: u64) {
        let end = base.saturating_add(size);
        for region in &mut self.regions {
            if region.base >= base && region.base + region.size <= end {
                region.mapped_by.remove(&by);
            }
        }
        self.regions.retain(|r| !r.mapped_by.is_empty());
    }

    /// First byte and length of each region.
    pub fn ranges(&self) -> impl Iterator<Item = (u64, u64)> {
        self.regions.iter().map(|r| (r.base, r.size))
    }

    /// Whether one region holds all of these bytes.
    pub fn contains(&self, addr: PhysAddr, len: u64) -> bool {
        self.find(addr, len).is_some()
    }

    fn find(&self, addr: PhysAddr, len: u64) -> Option<(&GuestRegionMmap, MemoryRegionAddress)> {
        let next = self.regions.partition_point(|r| r.base <= addr);
        let region = &self.regions[next.checked_sub(1)?];
        let offset = addr - region.base;
        (len <= region.size && offset <= region.size - len)
            .then_some((&region.memory, MemoryRegionAddress(offset)))
    }

    /// Reads.
    ///
    /// # Errors
    /// No region holds all of these bytes.
    pub fn read(&self, addr: PhysAddr, into: &mut [u8]) -> Result<(), Abort> {
        let (memory, at) = self.find(addr, into.len() as u64).ok_or(Abort)?;
        memory.read_slice(into, at).map_err(|_| Abort)
    }

    /// Replaces the 64-bit little-endian word at `addr` by `new` if it is `expected`, atomically as processors see it; returns
    /// what it was.
    ///
    /// # Errors
    /// No region holds all of it, or it is not aligned.
    pub fn compare_swap(&self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort> {
        let (memory, at) = self.find(addr, 8).ok_or(Abort)?;
        let slice = memory.get_slice(at, 8).map_err(|_| Abort)?;
        let word = slice.get_atomic_ref::<AtomicU64>(0).map_err(|_| Abort)?;
        let (expected, new) = (expected.to_le(), new.to_le());
        let (Ok(found) | Err(found)) =
            word.compare_exchange(expected, new, Ordering::SeqCst, Ordering::SeqCst);
        Ok(u64::from_le(found))
    }

    /// Writes.
    ///
    /// # Errors
    /// No region holds all of these bytes.
    pub fn write(&self, addr: PhysAddr, bytes: &[u8]) -> Result<(), Abort> {
        let (memory, at) = self.find(addr, bytes.len() as u64).ok_or(Abort)?;
        debug_assert!(at.0 + bytes.len() as u64 <= memory.len());
        memory.write_slice(bytes, at).map_err(|_| Abort)
    }
}

#[cfg(test)]
pub(super) mod test {
    use rustix::fs::{MemfdFlags, fcntl_add_seals, memfd_create};

    use super::*;

    /// An anonymous file.
    fn anonymous(size: u64) -> File {
        let file = File::from(memfd_create("ram", MemfdFlags::ALLOW_SEALING).unwrap());
        file.set_len(size).unwrap();
        file
    }

    /// An anonymous file that cannot shrink.
    pub(in super::super) fn sealed(size: u64) -> File {
        let file = anonymous(size);
        fcntl_add_seals(&file, SealFlags::SHRINK).unwrap();
        file
    }

    fn mapping(base: u64, size: u64, file: &File, offset: u64) -> Mapping {
        Mapping { base, size, file: file.try_clone().unwrap(), offset }
    }

    #[test]
    fn the_same_memory_is_mapped_once_and_stays_for_the_others() {
        let file = sealed(0x4000);
        let mut ram = Ram::default();
        ram.map(0, mapping(0x1000, 0x2000, &file, 0)).unwrap();
        ram.map(1, mapping(0x1000, 0x2000, &file, 0)).unwrap();
        assert_eq!(ram.ranges().collect::<Vec<_>>(), [(0x1000, 0x2000)]);
        ram.unmap(0, 0x1000, 0x2000);
        assert!(ram.contains(0x1000, 0x2000));
        ram.unmap(1, 0, u64::MAX);
        assert!(!ram.contains(0x1000, 1));
    }

    /// Processors that change other bits of the same word at the same time lose nothing.
    #[test]
    fn swaps_are_atomic() {
        let file = sealed(0x4000);
        let mut ram = Ram::default();
        ram.map(0, mapping(0x1000, 0x2000, &file, 0)).unwrap();
        let ram = &ram;
        let add = |amount: u64| {
            for _ in 0..20_000 {
                let mut held = 0;
                while let found = ram.compare_swap(0x1008, held, held + amount).unwrap()
                    && found != held
                {
                    held = found;
                }
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| add(1));
            scope.spawn(|| add(1 << 32));
        });
        assert_eq!(ram.compare_swap(0x1008, 0, 0), Ok(20_000 << 32 | 20_000));
        assert_eq!(
            (ram.compare_swap(0x1004, 0, 1), ram.compare_swap(0x3000, 0, 1)),
            (Err(Abort), Err(Abort))
        );
    }

    #[test]
    fn refusals() {
        let file = sealed(0x4000);
        let mut ram = Ram::default();
        ram.map(0, mapping(0x1000, 0x2000, &file, 0)).unwrap();
        for (base, size, offset, taken) in [
            (0x1000, 0x2000, 0x1000, true),
            (0x2000, 0x2000, 0, true),
            (0, 0x1001, 0, true),
            (0x3000, 0x4000, 0x1000, false),
            (u64::MAX - 0xfff, 0x2000, 0, false),
            (0x8000, 0, 0, false),
        ] {
            let refused = ram.map(0, mapping(base, size, &file, offset)).unwrap_err();
            assert_eq!(matches!(refused, MapError::Taken { .. }), taken, "{base:#x} {refused}");
        }
        let shrinks = ram.map(0, mapping(0x8000, 0x1000, &anonymous(0x1000), 0));
        assert_eq!(shrinks, Err(MapError::MayShrink));
        assert_eq!(ram.ranges().count(), 1);
    }
}

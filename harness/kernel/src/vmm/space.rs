//! A guest's physical address space: which address is memory, which a hardware page, which is trapped.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::bus::PhysAddr;

use super::{MirrorPage, Vcmdqv, Vsmmu};
use crate::iommufd::UserMemory;

/// Who emulates a trapped range.
#[derive(Clone, Debug)]
pub enum Emulated {
    /// A virtual SMMU.
    Smmu(Arc<Vsmmu>),
    /// Its virtual CMDQV.
    Cmdqv(Arc<Vcmdqv>),
    /// Several hardware pages of queue indices as one.
    Mirror(Arc<MirrorPage>),
}

/// What lies in a range of guest-physical addresses.
#[derive(Clone, Debug)]
pub enum Region {
    /// Guest memory.
    Ram {
        /// Backing.
        memory: UserMemory,
        /// First byte within the backing.
        offset: u64,
    },
    /// A device page of the host, reached without exit.
    Direct {
        /// Its host physical address.
        pa: PhysAddr,
    },
    /// An access leaves the guest.
    Trapped {
        /// Who answers.
        by: Emulated,
        /// Offset of the range within the device.
        offset: u64,
    },
}

/// What an address resolves to.
#[derive(Clone, Debug)]
pub enum Resolved {
    /// Host memory: address, and bytes that are contiguous from there.
    Ram(PhysAddr, u64),
    /// A host device register.
    Direct(PhysAddr),
    /// A trapped access at this offset of the device.
    Trapped(Emulated, u64),
    /// Nothing.
    Hole,
}

/// Regions by first address; they do not overlap.
#[derive(Debug, Default)]
pub struct GuestSpace {
    regions: BTreeMap<u64, (u64, Region)>,
}

impl GuestSpace {
    /// Maps a region, replacing whatever was there: one guest page has one backing.
    pub fn map(&mut self, gpa: u64, len: u64, region: Region) {
        self.unmap(gpa, len);
        self.regions.insert(gpa, (len, region));
    }

    /// Unmaps a range, cutting regions that reach out of it.
    pub fn unmap(&mut self, gpa: u64, len: u64) {
        let end = gpa + len;
        let touched: Vec<u64> = self
            .regions
            .range(..end)
            .rev()
            .take_while(|(start, (size, _))| **start + size > gpa)
            .map(|(start, _)| *start)
            .collect();
        for start in touched {
            let (size, region) = self.regions.remove(&start).expect("listed just now");
            if start + size > end {
                self.regions.insert(end, (start + size - end, region.advanced(end - start)));
            }
            if start < gpa {
                self.regions.insert(start, (gpa - start, region));
            }
        }
    }

    /// What lies at an address.
    pub fn resolve(&self, gpa: u64) -> Resolved {
        let found = self.regions.range(..=gpa).next_back().filter(|(start, (len, _))| gpa - *start < *len);
        let Some((start, (len, region))) = found else { return Resolved::Hole };
        let into = gpa - start;
        match region {
            Region::Ram { memory, offset } => {
                let at = offset + into;
                match memory.at(at) {
                    Some(pa) => Resolved::Ram(pa, (memory.page_size - at % memory.page_size).min(len - into)),
                    None => Resolved::Hole,
                }
            }
            Region::Direct { pa } => Resolved::Direct(pa + into),
            Region::Trapped { by, offset } => Resolved::Trapped(by.clone(), offset + into),
        }
    }

    /// The memory behind a range, if all of it is memory: pieces of (host physical address, length).
    pub fn memory(&self, gpa: u64, len: u64) -> Option<Vec<(PhysAddr, u64)>> {
        let mut pieces = Vec::new();
        let mut at = gpa;
        while at < gpa + len {
            let Resolved::Ram(pa, room) = self.resolve(at) else { return None };
            let step = room.min(gpa + len - at);
            pieces.push((pa, step));
            at += step;
        }
        Some(pieces)
    }
}

impl Region {
    /// The same region without its first `by` bytes.
    fn advanced(&self, by: u64) -> Self {
        match self {
            Self::Ram { memory, offset } => Self::Ram { memory: memory.clone(), offset: offset + by },
            Self::Direct { pa } => Self::Direct { pa: pa + by },
            Self::Trapped { by: emulated, offset } => {
                Self::Trapped { by: emulated.clone(), offset: offset + by }
            }
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn show(space: &GuestSpace, gpa: u64) -> String {
        match space.resolve(gpa) {
            Resolved::Ram(pa, room) => format!("ram {pa:#x}+{room:#x}"),
            Resolved::Direct(pa) => format!("direct {pa:#x}"),
            Resolved::Trapped(..) => "trapped".into(),
            Resolved::Hole => "hole".into(),
        }
    }

    #[test]
    fn a_later_mapping_replaces_an_earlier_one() {
        let mut space = GuestSpace::default();
        let memory = UserMemory { page_size: 0x1000, frames: Arc::new(vec![0x8000, 0x9000, 0x3000]) };
        space.map(0x4000_0000, 0x3000, Region::Ram { memory, offset: 0 });
        space.map(0x1000, 0x2000, Region::Direct { pa: 0xa_0000 });
        for (gpa, want) in [
            (0x4000_0010, "ram 0x8010+0xff0"),
            (0x4000_2000, "ram 0x3000+0x1000"),
            (0x4000_3000, "hole"),
            (0x2004, "direct 0xa1004"),
        ] {
            assert_eq!(show(&space, gpa), want);
        }
        space.map(0x1000, 0x1000, Region::Direct { pa: 0xb_0000 });
        assert_eq!(show(&space, 0x1004), "direct 0xb0004");
        assert_eq!(show(&space, 0x2004), "direct 0xa1004");
        space.unmap(0x4000_1000, 0x1000);
        assert_eq!(show(&space, 0x4000_1000), "hole");
        assert_eq!(show(&space, 0x4000_2008), "ram 0x3008+0xff8");
        assert_eq!(space.memory(0x4000_0000, 0x1800), None);
    }
}

//! The TLB of one instance: fully associative, least recently used goes first.

use crate::bus::PhysAddr;

/// A translation, with what it is tagged by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) vmid: u8,
    pub(super) asid: u16,
    /// Whatever the ASID.
    pub(super) global: bool,
    pub(super) iova: u64,
    pub(super) pa: PhysAddr,
    pub(super) size_log2: u8,
    pub(super) write: bool,
}

impl Entry {
    fn maps(&self, vmid: u8, asid: u16, iova: u64) -> bool {
        self.vmid == vmid && (self.global || self.asid == asid) && (self.iova ^ iova) >> self.size_log2 == 0
    }
    /// The output address for an input address within.
    pub(super) fn output(&self, iova: u64) -> PhysAddr {
        self.pa | iova & ((1 << self.size_log2) - 1)
    }
}

/// What an invalidation removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    Vmid(u8),
    Asid { vmid: u8, asid: u16 },
    Va { vmid: u8, asid: u16, iova: u64 },
}

impl Scope {
    fn covers_entry(&self, entry: &Entry) -> bool {
        match *self {
            Self::All => true,
            Self::Vmid(vmid) => entry.vmid == vmid,
            Self::Asid { vmid, asid } => entry.vmid == vmid && entry.asid == asid && !entry.global,
            Self::Va { vmid, asid, iova } => entry.maps(vmid, asid, iova),
        }
    }
    /// Whether a walk of this context for `iova` may have read what is being invalidated. A page whose size is not
    /// known yet may be the largest there is.
    pub(super) fn covers_walk(&self, vmid: u8, asid: u16, iova: u64) -> bool {
        const LARGEST_LOG2: u8 = 30;
        match *self {
            Self::All => true,
            Self::Vmid(v) => v == vmid,
            Self::Asid { vmid: v, asid: a } => (v, a) == (vmid, asid),
            // The walk may end at a global page, so that the ASID does not tell.
            Self::Va { vmid: v, iova: at, .. } => v == vmid && (at ^ iova) >> LARGEST_LOG2 == 0,
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Tlb {
    /// Least recently used first.
    entries: Vec<Entry>,
    capacity: usize,
}

impl Tlb {
    pub(super) fn new(capacity: usize) -> Self {
        Self { entries: Vec::with_capacity(capacity), capacity }
    }
    pub(super) fn lookup(&mut self, vmid: u8, asid: u16, iova: u64) -> Option<Entry> {
        let at = self.entries.iter().position(|e| e.maps(vmid, asid, iova))?;
        self.entries[at..].rotate_left(1);
        self.entries.last().copied()
    }
    pub(super) fn insert(&mut self, entry: Entry) {
        self.entries.retain(|e| !e.maps(entry.vmid, entry.asid, entry.iova));
        if self.entries.len() == self.capacity {
            self.entries.remove(0);
        }
        self.entries.push(entry);
    }
    pub(super) fn invalidate(&mut self, scope: &Scope) {
        self.entries.retain(|e| !scope.covers_entry(e));
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn entry(vmid: u8, asid: u16, global: bool, iova: u64, size_log2: u8) -> Entry {
        Entry { vmid, asid, global, iova, pa: iova + 0x8000_0000, size_log2, write: true }
    }

    #[test]
    fn scopes() {
        let (page, block) = (entry(1, 5, false, 0x4000, 12), entry(1, 5, false, 0x20_0000, 21));
        let (global, other) = (entry(1, 5, true, 0x8000, 12), entry(2, 5, false, 0x4000, 12));
        for (scope, want) in [
            (Scope::All, [false, false, false, false]),
            (Scope::Vmid(1), [false, false, false, true]),
            (Scope::Asid { vmid: 1, asid: 5 }, [false, false, true, true]),
            (Scope::Asid { vmid: 1, asid: 6 }, [true, true, true, true]),
            (Scope::Va { vmid: 1, asid: 5, iova: 0x4000 }, [false, true, true, true]),
            (Scope::Va { vmid: 1, asid: 6, iova: 0x4000 }, [true, true, true, true]),
            (Scope::Va { vmid: 1, asid: 5, iova: 0x2f_f000 }, [true, false, true, true]),
            (Scope::Va { vmid: 1, asid: 6, iova: 0x8000 }, [true, true, false, true]),
        ] {
            let mut tlb = Tlb::new(4);
            let all = [page, block, global, other];
            for entry in all {
                tlb.insert(entry);
            }
            tlb.invalidate(&scope);
            assert_eq!(all.map(|e| tlb.entries.contains(&e)), want, "{scope:?}");
        }
    }

    #[test]
    fn the_least_recently_used_goes() {
        let mut tlb = Tlb::new(2);
        tlb.insert(entry(0, 0, false, 0x1000, 12));
        tlb.insert(entry(0, 0, false, 0x2000, 12));
        assert_eq!(tlb.lookup(0, 0, 0x1234).map(|e| e.output(0x1234)), Some(0x8000_1234));
        tlb.insert(entry(0, 0, false, 0x3000, 12));
        let held = [0x1000, 0x2000, 0x3000].map(|iova| tlb.lookup(0, 0, iova).is_some());
        assert_eq!(held, [true, false, true]);
    }
}

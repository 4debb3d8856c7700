//! Mapping and unmapping: the shadow is changed under a lock, then the stores are made.

use parking_lot::Mutex;

use super::shadow::Shadow;
use super::{Prot, Shape};
use crate::access::Access;
use crate::alloc::Pages;
use crate::errno::Errno;

/// A set of translation tables. Several CPUs may map and unmap at once as long as their ranges are disjoint.
#[derive(Debug)]
pub struct PageTable {
    shape: Shape,
    root: u64,
    pages: Pages,
    shadow: Mutex<Shadow>,
}

/// Neighbouring leaves of one size that an unmap removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// First input address.
    pub iova: u64,
    /// First output address.
    pub pa: u64,
    /// Number of bytes.
    pub len: u64,
    /// Bytes of each leaf.
    pub leaf: u64,
}

/// A table that nothing points to any more. Its page goes back ([`PageTable::release`]) after the invalidation of
/// walk caches for its range has completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableGone {
    /// Its address.
    pub addr: u64,
    /// First input address that it resolved.
    pub iova: u64,
    /// Number of bytes that it resolved.
    pub len: u64,
}

/// What an unmap removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unmapped {
    /// Leaves, ascending.
    pub runs: Vec<Run>,
    /// Tables, each after those that it pointed to.
    pub tables: Vec<TableGone>,
}

impl Unmapped {
    /// Number of bytes that were mapped.
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.len).sum()
    }
}

impl PageTable {
    /// Empty tables: takes and zeroes a root.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub async fn new<A: Access>(cpu: &A, shape: Shape, pages: &Pages) -> Result<Self, Errno> {
        let bytes = (shape.root_entries() * 8) as u64;
        let root = pages.alloc(bytes)?;
        zero(cpu, root, bytes).await;
        cpu.barrier().await;
        Ok(Self { shape, root, pages: pages.clone(), shadow: Mutex::new(Shadow::new(shape, root)) })
    }

    /// The geometry.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }
    /// Physical address of the root: CD.TTB0 or STE.S2TTB.
    pub fn root(&self) -> u64 {
        self.root
    }
    /// Output address for an input address, if it is mapped.
    pub fn lookup(&self, iova: u64) -> Option<u64> {
        self.shadow.lock().lookup(iova).map(|(pa, _)| pa)
    }
    /// Output address, and how many bytes from there one leaf maps.
    pub fn lookup_run(&self, iova: u64) -> Option<(u64, u64)> {
        self.shadow.lock().lookup(iova)
    }

    fn check(&self, iova: u64, len: u64) -> Result<(), Errno> {
        let misaligned = !(iova | len).is_multiple_of(self.shape.granule.bytes());
        if len == 0 || misaligned {
            return Err(Errno::EINVAL);
        }
        match iova.checked_add(len) {
            Some(end) if end <= 1 << self.shape.input_bits => Ok(()),
            _ => Err(Errno::ERANGE),
        }
    }

    /// Maps a range with the largest leaves that fit. On return the stores have arrived. Tables that are left empty
    /// by earlier unmaps stay in use: they keep a block from being mapped in their place.
    ///
    /// # Errors
    /// `EINVAL` misaligned, empty or without permission · `ERANGE` outside the input or output size · `EEXIST` part
    /// of it is mapped · `ENOMEM`. Nothing is mapped then.
    pub async fn map<A: Access>(
        &self,
        cpu: &A,
        iova: u64,
        pa: u64,
        len: u64,
        prot: Prot,
    ) -> Result<(), Errno> {
        self.check(iova, len)?;
        if !pa.is_multiple_of(self.shape.granule.bytes()) || !(prot.read || prot.write) {
            return Err(Errno::EINVAL);
        }
        if pa.checked_add(len).is_none_or(|end| end > 1 << self.shape.output_bits) {
            return Err(Errno::ERANGE);
        }
        let mut spare = Vec::new();
        let plan = loop {
            let missing = self.missing(iova, pa, len, &spare)?;
            if let Err(errno) = self.provide(cpu, missing, &mut spare).await {
                self.give_back(spare);
                return Err(errno);
            }
            // Others may have changed the tables meanwhile.
            let mut shadow = self.shadow.lock();
            match shadow.missing(iova, pa, len) {
                Ok(missing) if missing <= spare.len() => break shadow.map(iova, pa, len, prot, &mut spare),
                Ok(_) => {}
                Err(errno) => {
                    drop(shadow);
                    self.give_back(spare);
                    return Err(errno);
                }
            }
        };
        self.give_back(spare);
        for &(addr, word) in plan.links.iter().chain(&plan.leaves) {
            cpu.write64(addr, word).await;
        }
        cpu.barrier().await;
        self.shadow.lock().linked(&plan);
        Ok(())
    }

    fn missing(&self, iova: u64, pa: u64, len: u64, spare: &[u64]) -> Result<usize, Errno> {
        self.shadow.lock().missing(iova, pa, len).map(|n| n.saturating_sub(spare.len())).inspect_err(|_| {
            self.give_back(spare.to_vec());
        })
    }
    async fn provide<A: Access>(&self, cpu: &A, count: usize, spare: &mut Vec<u64>) -> Result<(), Errno> {
        let bytes = self.shape.granule.bytes();
        for _ in 0..count {
            let table = self.pages.alloc(bytes)?;
            spare.push(table);
            zero(cpu, table, bytes).await;
        }
        if count > 0 {
            cpu.barrier().await;
        }
        Ok(())
    }
    fn give_back(&self, spare: Vec<u64>) {
        for table in spare {
            self.pages.free(table, self.shape.granule.bytes());
        }
    }

    /// Removes whatever is mapped in a range. The stores are posted; invalidation is the caller's, who also gives the
    /// freed tables back afterwards.
    ///
    /// # Errors
    /// `EINVAL` misaligned, empty, or covering part of a block · `ERANGE` outside the input size. Nothing is unmapped
    /// then.
    pub async fn unmap<A: Access>(&self, cpu: &A, iova: u64, len: u64) -> Result<Unmapped, Errno> {
        self.check(iova, len)?;
        let removal = self.shadow.lock().unmap(iova, len)?;
        for (addr, word) in removal.edits {
            cpu.write64(addr, word).await;
        }
        Ok(removal.unmapped)
    }

    /// Gives the pages of freed tables back.
    pub fn release(&self, tables: &[TableGone]) {
        for table in tables {
            self.pages.free(table.addr, self.shape.granule.bytes());
        }
    }

    /// Gives every page back. Nothing may use the tables any more.
    pub fn destroy(&self) {
        let mut shadow = self.shadow.lock();
        for table in shadow.tables() {
            self.pages.free(table, self.shape.granule.bytes());
        }
        self.pages.free(self.root, (self.shape.root_entries() * 8) as u64);
        *shadow = Shadow::new(self.shape, self.root);
    }
}

/// Stores zeros.
pub(crate) async fn zero<A: Access>(cpu: &A, addr: u64, bytes: u64) {
    const LINE: u64 = 64;
    let mut at = addr;
    while at < addr + bytes {
        let n = LINE.min(addr + bytes - at);
        cpu.store(at, &[0; LINE as usize][..n as usize]).await;
        at += n;
    }
}

//! Domains: an address space with its tables and its tag in the TLBs.

use std::sync::Arc;

use spec::smmu::Command;

use super::Driver;
use super::invalidate::{Range, Scope, push_range};
use crate::access::Access;
use crate::errno::Errno;
use crate::journal::{DomainId, Note};
use crate::pgtable::{PageTable, Prot, Shape, Unmapped};

/// What a domain's tables are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DomainKind {
    /// The kernel's own mappings (DMA API): stage 1, tagged with an ASID.
    Stage1,
    /// Guest memory: stage 2, tagged with a VMID; can be the parent of nested translation.
    Stage2,
}

/// An address space of one SMMU. Ranges that different CPUs map and unmap at once are disjoint.
#[derive(Debug)]
pub struct Domain {
    driver: Arc<Driver>,
    id: DomainId,
    kind: DomainKind,
    tag: u16,
    table: PageTable,
}

impl Domain {
    /// An empty address space. Stage 1 has the driver's number of input bits, stage 2 those of the SMMU's output.
    ///
    /// # Errors
    /// `EOPNOTSUPP` the SMMU lacks the stage · `ENOSPC` no ASID or VMID is left · `ENOMEM`.
    pub async fn new<A: Access>(cpu: &A, driver: &Arc<Driver>, kind: DomainKind) -> Result<Self, Errno> {
        let features = &driver.features;
        let (exists, ids, shape) = match kind {
            DomainKind::Stage1 => {
                let bits = driver.config.va_bits.min(48);
                (features.stage1, &driver.asids, Shape::stage1(features.granule, bits, features.oas))
            }
            DomainKind::Stage2 => {
                let shape = Shape::stage2(features.granule, features.oas, features.oas, features.fwb);
                (features.stage2, &driver.vmids, shape)
            }
        };
        if !exists {
            return Err(Errno::EOPNOTSUPP);
        }
        let tag = ids.alloc()?;
        let table = PageTable::new(cpu, shape, &driver.pages).await.inspect_err(|_| ids.free(tag))?;
        Ok(Self { driver: Arc::clone(driver), id: driver.journal.next_domain(), kind, tag, table })
    }

    /// Its number, unique in the run.
    pub fn id(&self) -> DomainId {
        self.id
    }
    /// Which stage.
    pub fn kind(&self) -> DomainKind {
        self.kind
    }
    /// ASID or VMID.
    pub fn tag(&self) -> u16 {
        self.tag
    }
    /// The tables.
    pub fn table(&self) -> &PageTable {
        &self.table
    }
    /// The SMMU that it belongs to.
    pub fn driver(&self) -> &Driver {
        &self.driver
    }
    /// Output address for an input address, if it is mapped.
    pub fn lookup(&self, iova: u64) -> Option<u64> {
        self.table.lookup(iova)
    }

    fn scope(&self) -> Scope {
        match self.kind {
            DomainKind::Stage1 if self.driver.features.e2h => Scope::HostAsid { asid: self.tag },
            DomainKind::Stage1 => Scope::Asid { asid: self.tag, vmid: 0 },
            DomainKind::Stage2 => Scope::Vmid { vmid: self.tag },
        }
    }

    /// Maps a range; see [`PageTable::map`]. No invalidation is needed: what was invalid is not in any TLB.
    ///
    /// # Errors
    /// As [`PageTable::map`].
    pub async fn map<A: Access>(
        &self,
        cpu: &A,
        iova: u64,
        pa: u64,
        len: u64,
        prot: Prot,
    ) -> Result<(), Errno> {
        let costs = &self.driver.config.costs;
        let leaves = len / self.table.shape().granule.bytes();
        cpu.delay(costs.map + costs.leaf * leaves.min(512)).await;
        self.table.map(cpu, iova, pa, len, prot).await?;
        let by = self.driver.config.by;
        self.driver.journal.push(cpu.now(), Note::Mapped { by, domain: self.id, iova, pa, len });
        Ok(())
    }

    /// Unmaps whatever is mapped in a range, and waits until no TLB and no device holds it. Returns the number of bytes.
    ///
    /// # Errors
    /// As [`PageTable::unmap`], with nothing changed · `ETIMEDOUT` an invalidation did not complete; the tables are
    /// changed, freed tables stay allocated.
    pub async fn unmap<A: Access>(&self, cpu: &A, iova: u64, len: u64) -> Result<u64, Errno> {
        let costs = &self.driver.config.costs;
        cpu.delay(costs.unmap).await;
        let removed = self.table.unmap(cpu, iova, len).await?;
        if removed.runs.is_empty() {
            return Ok(0);
        }
        let (by, domain) = (self.driver.config.by, self.id);
        self.driver.journal.push(cpu.now(), Note::Unmapping { by, domain, iova, len });
        self.invalidate(cpu, &removed, iova, len).await?;
        self.table.release(&removed.tables);
        for run in &removed.runs {
            let note = Note::Unmapped { by, domain, iova: run.iova, pa: run.pa, len: run.len };
            self.driver.journal.push(cpu.now(), note);
        }
        Ok(removed.bytes())
    }

    async fn invalidate<A: Access>(
        &self,
        cpu: &A,
        removed: &Unmapped,
        iova: u64,
        len: u64,
    ) -> Result<(), Errno> {
        let commands = self.tlb_commands(removed);
        let everything = commands == [self.scope().all()];
        self.driver.issue(cpu, &commands, true).await?;
        if self.kind == DomainKind::Stage2 && !everything {
            // Stage-1 entries of guests may hold the result of both stages.
            self.driver.issue(cpu, &[Command::tlbi_nh_all(self.tag)], true).await?;
        }
        let atc = self.driver.atc_commands(self.id, iova, len);
        if !atc.is_empty() {
            self.driver.issue(cpu, &atc, true).await?;
        }
        Ok(())
    }

    fn tlb_commands(&self, removed: &Unmapped) -> Vec<Command> {
        let ril = self.driver.features.ril;
        let granule = self.table.shape().granule;
        // Without ranges, so many commands cost more than refilling the TLB.
        let too_many = granule.bytes() / 8;
        let entries: u64 = removed.runs.iter().map(|run| run.len / run.leaf).sum();
        if !ril && entries >= too_many {
            return vec![self.scope().all()];
        }
        let mut commands = Vec::new();
        for run in &removed.runs {
            let range = Range { addr: run.iova, len: run.len, stride: run.leaf, leaf: true };
            push_range(&mut commands, self.scope(), granule, &range, ril);
        }
        for table in &removed.tables {
            let range = Range { addr: table.iova, len: table.len, stride: table.len, leaf: false };
            push_range(&mut commands, self.scope(), granule, &range, ril);
        }
        commands
    }

    /// Invalidates everything tagged with this domain's ASID or VMID and waits.
    ///
    /// # Errors
    /// `ETIMEDOUT`.
    pub async fn invalidate_all<A: Access>(&self, cpu: &A) -> Result<(), Errno> {
        self.driver.issue(cpu, &[self.scope().all()], true).await
    }

    /// Gives tables and tag back, after an invalidation of everything.
    ///
    /// # Errors
    /// `EBUSY` a stream is attached · `ETIMEDOUT` (nothing is given back).
    pub async fn destroy<A: Access>(&self, cpu: &A) -> Result<(), Errno> {
        if self.driver.uses(self.id) {
            return Err(Errno::EBUSY);
        }
        self.invalidate_all(cpu).await?;
        self.table.destroy();
        match self.kind {
            DomainKind::Stage1 => self.driver.asids.free(self.tag),
            DomainKind::Stage2 => self.driver.vmids.free(self.tag),
        }
        Ok(())
    }
}

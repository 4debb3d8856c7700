//! A domain: a context bank and its stage-1 tables.
//!
//! Only 4 KiB pages are mapped, and tables are never taken out while the domain lives: the walk caches of Tegra194 index
//! an address differently for translations and for invalidations, so that a stale pointer to a table could survive.

use spec::smmuv2::{
    Attributes, Bank, CBA2R, CBAR, Place, SCTLR, STAGE1_ONLY, TCR, TCR2, TLBIASID, TLBIVA, TTBR0,
};

use super::NvidiaSmmu;
use crate::access::Access;
use crate::errno::Errno;
use crate::journal::{Actor, DomainId, Note};
use crate::pgtable::{MAIR, PageTable, Prot, Run, Shape};

/// The only page size, in bytes.
const PAGE: u64 = 4096;

/// A context bank with its tables.
#[derive(Debug)]
pub struct Domain {
    id: DomainId,
    bank: u8,
    asid: u16,
    table: PageTable,
}

impl Domain {
    pub(super) async fn new<A: Access>(
        smmu: &NvidiaSmmu,
        cpu: &A,
        bank: u8,
        shape: Shape,
    ) -> Result<Self, Errno> {
        let table = PageTable::new(cpu, shape, &smmu.pages).await?;
        let domain = Self { id: smmu.journal.next_domain(), bank, asid: bank.into(), table };
        domain.enable(smmu, cpu).await;
        Ok(domain)
    }
    /// Number of the domain in the journal.
    pub fn id(&self) -> DomainId {
        self.id
    }
    /// Its context bank.
    pub fn bank(&self) -> u8 {
        self.bank
    }
    /// Its tables.
    pub fn table(&self) -> &PageTable {
        &self.table
    }
    fn place(&self, reg: Bank) -> Place {
        Place::Bank { n: self.bank, reg }
    }

    async fn enable<A: Access>(&self, smmu: &NvidiaSmmu, cpu: &A) {
        const WRITE_BACK: u64 = 1;
        const INNER_SHAREABLE: u64 = 3;
        // Sign extension from the upstream bus: no check here.
        const SEP_UPSTREAM: u64 = 7;
        let shape = self.table.shape();
        smmu.write_attributes(cpu, self.bank, Attributes::CBA2R, CBA2R(0).with_va64(true).bits()).await;
        let cbar = CBAR(0).with_kind(STAGE1_ONLY).with_bpshcfg(3).with_memattr(0xf);
        smmu.write_attributes(cpu, self.bank, Attributes::CBAR, cbar.bits()).await;
        let tcr = TCR(0).with_t0sz(shape.t0sz()).with_tg0(shape.granule.tg()).with_sh0(INNER_SHAREABLE);
        let tcr = tcr.with_orgn0(WRITE_BACK).with_irgn0(WRITE_BACK).with_epd1(true);
        let tcr2 = TCR2(0).with_pasize(shape.ps()).with_as16(true).with_sep(SEP_UPSTREAM);
        let ttbr = TTBR0(0).with_baddr(self.table.root()).with_asid(self.asid.into());
        let sctlr = SCTLR(0).with_m(true).with_tre(true).with_afe(true).with_cfre(true).with_cfie(true);
        let registers = &smmu.registers;
        registers.write32(cpu, self.place(Bank::TCR2), tcr2.bits()).await;
        registers.write32(cpu, self.place(Bank::TCR), tcr.bits()).await;
        registers.write64(cpu, self.place(Bank::TTBR0), ttbr.bits()).await;
        registers.write32(cpu, self.place(Bank::MAIR0), MAIR & u64::from(u32::MAX)).await;
        registers.write32(cpu, self.place(Bank::MAIR1), MAIR >> 32).await;
        registers.write32(cpu, self.place(Bank::SCTLR), sctlr.bits()).await;
    }

    pub(super) async fn disable<A: Access>(&self, smmu: &NvidiaSmmu, cpu: &A) -> Result<(), Errno> {
        let registers = &smmu.registers;
        registers.write32(cpu, self.place(Bank::SCTLR), 0).await;
        let operand = TLBIASID(0).with_asid(self.asid.into()).bits();
        registers.invalidate32(cpu, self.place(Bank::TLBIASID), operand).await;
        smmu.sync_bank(cpu, self.bank).await?;
        self.table.destroy();
        Ok(())
    }

    /// Maps a range in pages of 4 KiB.
    ///
    /// # Errors
    /// As [`PageTable::map`]. Nothing of the range is mapped then.
    pub async fn map<A: Access>(
        &self,
        smmu: &NvidiaSmmu,
        cpu: &A,
        iova: u64,
        pa: u64,
        len: u64,
        prot: Prot,
    ) -> Result<(), Errno> {
        if len == 0 || !(iova | pa | len).is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        if iova.checked_add(len).is_none() || pa.checked_add(len).is_none() {
            return Err(Errno::ERANGE);
        }
        for offset in (0..len).step_by(PAGE as usize) {
            if let Err(errno) = self.table.map(cpu, iova + offset, pa + offset, PAGE, prot).await {
                // What has been mapped so far may have been used.
                if offset > 0 {
                    self.remove(smmu, cpu, iova, offset).await?;
                }
                return Err(errno);
            }
        }
        let (by, domain) = (Actor::Host, self.id);
        smmu.journal.push(cpu.now(), Note::Mapped { by, domain, iova, pa, len });
        Ok(())
    }

    /// Removes whatever is mapped in a range: clears the tables, invalidates page by page in every instance, waits for
    /// all of them. Returns the number of bytes that were mapped.
    ///
    /// # Errors
    /// `EINVAL` misaligned or empty · `ERANGE` · `ETIMEDOUT` an instance did not complete: it may still use what was
    /// mapped.
    pub async fn unmap<A: Access>(
        &self,
        smmu: &NvidiaSmmu,
        cpu: &A,
        iova: u64,
        len: u64,
    ) -> Result<u64, Errno> {
        if len == 0 || !(iova | len).is_multiple_of(PAGE) {
            return Err(Errno::EINVAL);
        }
        if iova.checked_add(len).is_none_or(|end| end > 1 << self.table.shape().input_bits) {
            return Err(Errno::ERANGE);
        }
        let runs = self.remove(smmu, cpu, iova, len).await?;
        let (by, domain) = (Actor::Host, self.id);
        for &Run { iova, pa, len, .. } in &runs {
            smmu.journal.push(cpu.now(), Note::Unmapped { by, domain, iova, pa, len });
        }
        Ok(runs.iter().map(|run| run.len).sum())
    }

    async fn remove<A: Access>(
        &self,
        smmu: &NvidiaSmmu,
        cpu: &A,
        iova: u64,
        len: u64,
    ) -> Result<Vec<Run>, Errno> {
        let mut runs: Vec<Run> = Vec::new();
        for page in (iova..iova + len).step_by(PAGE as usize) {
            // A page at a time, so that no table goes.
            for run in self.table.unmap(cpu, page, PAGE).await?.runs {
                match runs.last_mut() {
                    Some(last) if last.iova + last.len == run.iova && last.pa + last.len == run.pa => {
                        last.len += run.len;
                    }
                    _ => runs.push(run),
                }
            }
        }
        if runs.is_empty() {
            return Ok(runs);
        }
        // The stores must be visible to walks before the invalidation is.
        cpu.barrier().await;
        let (by, domain) = (Actor::Host, self.id);
        for &Run { iova, len, .. } in &runs {
            smmu.journal.push(cpu.now(), Note::Unmapping { by, domain, iova, len });
        }
        for run in &runs {
            for page in (run.iova..run.iova + run.len).step_by(PAGE as usize) {
                let operand = TLBIVA(0).with_va(page >> 12).with_asid(self.asid.into()).bits();
                smmu.registers.invalidate64(cpu, self.place(Bank::TLBIVA), operand).await;
            }
        }
        smmu.sync_bank(cpu, self.bank).await?;
        Ok(runs)
    }
}

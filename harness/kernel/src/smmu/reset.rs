//! Reset and enable, in the order of Linux.

use spec::regs::Block;
use spec::smmu::page0::{
    CMDQ_BASE, CR0, CR1, CR2, EVENTQ_BASE, EVENTQ_IRQ_CFG0, EVENTQ_IRQ_CFG1, EVENTQ_IRQ_CFG2, GBPA,
    GERROR_IRQ_CFG0, GERROR_IRQ_CFG1, GERROR_IRQ_CFG2, IRQ_CTRL, PRIQ_BASE, PRIQ_IRQ_CFG0, PRIQ_IRQ_CFG1,
    PRIQ_IRQ_CFG2,
};
use spec::smmu::{Command, Page0, Page1};

use super::Driver;
use super::poll::poll32;
use crate::access::Access;
use crate::errno::Errno;
use crate::journal::Note;

/// CR1 and CFG2: Inner shareable, Write-Back.
const INNER: u64 = 3;
const WRITE_BACK: u64 = 1;
/// CFG2.MEMATTR: Device-nGnRE.
const DEVICE_NGNRE: u64 = 1;

/// Registers of one interrupt's message.
struct Message {
    cfg0: (Page0, u64),
    cfg1: (Page0, u64),
    cfg2: (Page0, u64),
}

impl Driver {
    async fn w32<A: Access>(&self, cpu: &A, reg: Page0, value: u64) {
        cpu.write32(self.page0(reg), value as u32).await;
    }
    async fn w64<A: Access>(&self, cpu: &A, reg: Page0, value: u64) {
        cpu.write64(self.page0(reg), value).await;
    }
    /// Writes a control register and waits until its acknowledgement is equal.
    async fn acknowledged<A: Access>(
        &self,
        cpu: &A,
        reg: Page0,
        ack: Page0,
        value: u64,
    ) -> Result<(), Errno> {
        self.w32(cpu, reg, value).await;
        let result = poll32(cpu, self.page0(ack), self.config.timeout, |v| u64::from(v) == value).await;
        result.map(|_| ()).inspect_err(|_| {
            let what = format!("{} of SMMU {}", ack.name(), self.config.smmu);
            self.journal.push(cpu.now(), Note::Timeout { by: self.config.by, what });
        })
    }
    async fn set_cr0<A: Access>(&self, cpu: &A, value: CR0) -> Result<(), Errno> {
        self.acknowledged(cpu, Page0::CR0, Page0::CR0ACK, value.bits()).await
    }

    /// Clears CR0.
    pub(super) async fn disable<A: Access>(&self, cpu: &A) -> Result<(), Errno> {
        self.set_cr0(cpu, CR0(0)).await
    }

    /// Makes bypassing traffic abort.
    async fn abort_by_gbpa<A: Access>(&self, cpu: &A) -> Result<(), Errno> {
        let ready = |v: u32| !GBPA(v.into()).update();
        let gbpa = self.page0(Page0::GBPA);
        let now = poll32(cpu, gbpa, self.config.timeout, ready).await?;
        self.w32(cpu, Page0::GBPA, GBPA(now.into()).with_abort(true).with_update(true).bits()).await;
        poll32(cpu, gbpa, self.config.timeout, ready).await.map(|_| ())
    }

    pub(super) async fn reset<A: Access>(&self, cpu: &A) -> Result<(), Errno> {
        let cr0 = CR0(cpu.read32(self.page0(Page0::CR0)).await.into());
        if cr0.smmuen() {
            self.abort_by_gbpa(cpu).await?;
        }
        self.disable(cpu).await?;
        self.tables_and_attributes(cpu).await;

        let main = &self.main;
        let base = CMDQ_BASE(0).with_addr(main.ring_base()).with_log2size(main.log2().into()).with_ra(true);
        self.w64(cpu, Page0::CMDQ_BASE, base.bits()).await;
        self.w32(cpu, Page0::CMDQ_PROD, 0).await;
        self.w32(cpu, Page0::CMDQ_CONS, 0).await;
        let mut enables = CR0(0).with_cmdqen(true);
        self.set_cr0(cpu, enables).await?;

        self.issue_main(cpu, &[Command::cfgi_all()]).await?;
        if self.features.hyp {
            self.issue_main(cpu, &[Command::tlbi_el2_all()]).await?;
        }
        self.issue_main(cpu, &[Command::tlbi_nsnh_all()]).await?;

        let eventq = &self.rings.eventq;
        let base =
            EVENTQ_BASE(0).with_addr(eventq.base).with_log2size(eventq.ring.log2().into()).with_wa(true);
        self.w64(cpu, Page0::EVENTQ_BASE, base.bits()).await;
        cpu.write32(self.page1(Page1::EVENTQ_PROD), 0).await;
        cpu.write32(self.page1(Page1::EVENTQ_CONS), 0).await;
        enables = enables.with_eventqen(true);
        self.set_cr0(cpu, enables).await?;
        if let Some(priq) = &self.rings.priq {
            let base = PRIQ_BASE(0).with_addr(priq.base).with_log2size(priq.ring.log2().into()).with_wa(true);
            self.w64(cpu, Page0::PRIQ_BASE, base.bits()).await;
            cpu.write32(self.page1(Page1::PRIQ_PROD), 0).await;
            cpu.write32(self.page1(Page1::PRIQ_CONS), 0).await;
            enables = enables.with_priqen(true);
            self.set_cr0(cpu, enables).await?;
        }
        if self.features.ats {
            enables = enables.with_atschk(true);
            self.set_cr0(cpu, enables).await?;
        }
        self.interrupts(cpu).await?;
        self.set_cr0(cpu, enables.with_smmuen(true)).await
    }

    async fn tables_and_attributes<A: Access>(&self, cpu: &A) {
        let cr1 = CR1(0).with_table_sh(INNER).with_table_oc(WRITE_BACK).with_table_ic(WRITE_BACK);
        let cr1 = cr1.with_queue_sh(INNER).with_queue_oc(WRITE_BACK).with_queue_ic(WRITE_BACK);
        self.w32(cpu, Page0::CR1, cr1.bits()).await;
        let cr2 = CR2(0).with_ptm(true).with_recinvsid(true).with_e2h(self.features.e2h);
        self.w32(cpu, Page0::CR2, cr2.bits()).await;
        self.w64(cpu, Page0::STRTAB_BASE, self.table.base().bits()).await;
        self.w32(cpu, Page0::STRTAB_BASE_CFG, self.table.shape().bits()).await;
    }

    async fn interrupts<A: Access>(&self, cpu: &A) -> Result<(), Errno> {
        self.acknowledged(cpu, Page0::IRQ_CTRL, Page0::IRQ_CTRLACK, 0).await?;
        self.w64(cpu, Page0::GERROR_IRQ_CFG0, 0).await;
        self.w64(cpu, Page0::EVENTQ_IRQ_CFG0, 0).await;
        if self.features.pri {
            self.w64(cpu, Page0::PRIQ_IRQ_CFG0, 0).await;
        }
        if let Some(doorbell) = self.config.interrupts.doorbell
            && self.features.ids.idr0.msi()
        {
            for message in self.messages(doorbell) {
                self.w64(cpu, message.cfg0.0, message.cfg0.1).await;
                self.w32(cpu, message.cfg1.0, message.cfg1.1).await;
                self.w32(cpu, message.cfg2.0, message.cfg2.1).await;
            }
        }
        let enables =
            IRQ_CTRL(0).with_eventq_irqen(true).with_gerror_irqen(true).with_priq_irqen(self.features.pri);
        // As in Linux, a failure is only reported.
        let _ = self.acknowledged(cpu, Page0::IRQ_CTRL, Page0::IRQ_CTRLACK, enables.bits()).await;
        Ok(())
    }

    fn messages(&self, doorbell: u64) -> Vec<Message> {
        let interrupts = &self.config.interrupts;
        let mut messages = vec![
            Message {
                cfg0: (Page0::EVENTQ_IRQ_CFG0, EVENTQ_IRQ_CFG0(0).with_addr(doorbell).bits()),
                cfg1: (Page0::EVENTQ_IRQ_CFG1, EVENTQ_IRQ_CFG1(0).with_data(interrupts.eventq.into()).bits()),
                cfg2: (Page0::EVENTQ_IRQ_CFG2, EVENTQ_IRQ_CFG2(0).with_memattr(DEVICE_NGNRE).bits()),
            },
            Message {
                cfg0: (Page0::GERROR_IRQ_CFG0, GERROR_IRQ_CFG0(0).with_addr(doorbell).bits()),
                cfg1: (Page0::GERROR_IRQ_CFG1, GERROR_IRQ_CFG1(0).with_data(interrupts.gerror.into()).bits()),
                cfg2: (Page0::GERROR_IRQ_CFG2, GERROR_IRQ_CFG2(0).with_memattr(DEVICE_NGNRE).bits()),
            },
        ];
        if self.features.pri {
            messages.push(Message {
                cfg0: (Page0::PRIQ_IRQ_CFG0, PRIQ_IRQ_CFG0(0).with_addr(doorbell).bits()),
                cfg1: (Page0::PRIQ_IRQ_CFG1, PRIQ_IRQ_CFG1(0).with_data(interrupts.priq.into()).bits()),
                cfg2: (Page0::PRIQ_IRQ_CFG2, PRIQ_IRQ_CFG2(0).with_memattr(DEVICE_NGNRE).bits()),
            });
        }
        messages
    }
}

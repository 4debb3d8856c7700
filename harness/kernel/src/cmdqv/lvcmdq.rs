//! One logical queue: reset, initialization, allocation of the physical queue behind it.

use spec::cmdqv::config::CMDQ_ALLOC;
use spec::cmdqv::queue::{BASE, CONFIG, STATUS};
use spec::cmdqv::{Place, QueuePage0, QueuePage1, QueueReg};
use spec::smmu::Command;

use super::Cmdqv;
use crate::access::Access;
use crate::errno::Errno;

/// A register of a logical queue's page 0.
pub(super) fn page0(v: u8, l: u8, reg: QueuePage0) -> Place {
    Place::Logical { v, l, reg: QueueReg::Page0(reg) }
}
fn page1(v: u8, l: u8, reg: QueuePage1) -> Place {
    Place::Logical { v, l, reg: QueueReg::Page1 { reg, upper: false } }
}

impl Cmdqv {
    /// Physical queue behind a logical one.
    fn physical(&self, v: u8, l: u8) -> u8 {
        v * self.queues_per_vintf() + l
    }

    /// Sets or clears ALLOCATED.
    pub(super) async fn allocate<A: Access>(&self, cpu: &A, v: u8, l: u8, allocated: bool) {
        let place = Place::CmdqAlloc { q: self.physical(v, l) };
        let entry = CMDQ_ALLOC(self.read(cpu, place).await.into()).with_allocated(allocated);
        self.write(cpu, place, entry.bits() as u32).await;
    }

    /// Stops a queue and clears its registers. A time-out is reported and otherwise ignored.
    pub(super) async fn deinit_queue<A: Access>(&self, cpu: &A, v: u8, l: u8) {
        self.write(cpu, page0(v, l, QueuePage0::CONFIG), 0).await;
        let disabled = |value: u32| !STATUS(value.into()).cmdq_enabled();
        if self.poll(cpu, page0(v, l, QueuePage0::STATUS), disabled).await.is_err() {
            for reg in [QueuePage0::GERRORN, QueuePage0::GERROR, QueuePage0::CONS] {
                self.read(cpu, page0(v, l, reg)).await;
            }
        }
        // An ATC invalidation that timed out would be reported to the queue's next owner: collect it here. The time-out
        // of this wait is in the journal.
        let _ = self.main.issue(cpu, &[Command::sync()], true).await;
        self.write(cpu, page0(v, l, QueuePage0::PROD), 0).await;
        self.write(cpu, page0(v, l, QueuePage0::CONS), 0).await;
        cpu.write64(self.at(page1(v, l, QueuePage1::BASE)), 0).await;
        cpu.write64(self.at(page1(v, l, QueuePage1::CONS_INDX_BASE)), 0).await;
        let gerrorn = self.read(cpu, page0(v, l, QueuePage0::GERRORN)).await;
        let gerror = self.read(cpu, page0(v, l, QueuePage0::GERROR)).await;
        if gerror != gerrorn {
            self.write(cpu, page0(v, l, QueuePage0::GERRORN), gerror).await;
        }
    }

    /// Gives a queue its ring (base and log2 of the entries); enables it if asked to.
    pub(super) async fn init_queue<A: Access>(
        &self,
        cpu: &A,
        v: u8,
        l: u8,
        (ring, log2): (u64, u8),
        enable: bool,
    ) -> Result<(), Errno> {
        self.deinit_queue(cpu, v, l).await;
        let base = BASE(0).with_addr(ring).with_log2size(log2.into());
        cpu.write64(self.at(page1(v, l, QueuePage1::BASE)), base.bits()).await;
        if !enable {
            return Ok(());
        }
        let config = CONFIG(0).with_cmdq_en(true).bits() as u32;
        self.write(cpu, page0(v, l, QueuePage0::CONFIG), config).await;
        let enabled = |value: u32| STATUS(value.into()).cmdq_enabled();
        let result = self.poll(cpu, page0(v, l, QueuePage0::STATUS), enabled).await;
        if result.is_err() {
            for reg in [QueuePage0::GERRORN, QueuePage0::GERROR, QueuePage0::CONS] {
                self.read(cpu, page0(v, l, reg)).await;
            }
        }
        result
    }
}

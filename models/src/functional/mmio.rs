//! Register accesses. Updates complete before the access that began them returns.

use spec::regs::Block;
use spec::smmu::page0::{CR0, CR0ACK, GBPA, IRQ_CTRLACK};
use spec::smmu::{GlobalError, Page0};

use super::{FunctionalSmmu, Surroundings};
use crate::bus::{Abort, PhysAddr, Requester};
use crate::cmdqv::Cmdqv;
use crate::record::Record;
use crate::smmu::lint::Lints;
use crate::smmu::pmcg::{Page, Unit};
use crate::smmu::registers::{Change, Write};

/// What an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Smmu(u32),
    Cmdqv(u64),
    Pmcg((Unit, Page, u32)),
}

/// The low `len` bytes of `value`.
fn low_bytes(value: u64, len: u8) -> u64 {
    if len < 8 { value & !(u64::MAX << (8 * len)) } else { value }
}

impl FunctionalSmmu {
    /// Software reads `len` bytes (1 to 8) of the register pages, of the CMDQV's region or of the performance monitors. What the architecture does not
    /// define there reads as zero.
    ///
    /// # Errors
    /// The address belongs to none of them.
    pub fn read(&mut self, addr: PhysAddr, len: u8, around: &mut impl Surroundings) -> Result<u64, Abort> {
        let place = self.place(addr, around)?;
        self.metrics.register_reads += 1;
        let value = match place {
            Place::Smmu(offset) => {
                self.lint(self.registers.lints_of_access(offset, len.into()), around);
                self.registers.read(offset, usize::from(len))
            }
            Place::Cmdqv(offset) => {
                let mut value = 0;
                self.with_cmdqv(around, |cmdqv| value = cmdqv.read(offset, len));
                self.settle(around);
                value
            }
            Place::Pmcg((unit, page, offset)) => {
                let groups = self.monitors.as_ref().expect("there are counter groups");
                groups.group(unit).read(page, offset, usize::from(len))
            }
        };
        Ok(low_bytes(value, len))
    }

    /// Software writes the low `len` bytes (1 to 8) of `value`. Whatever the write makes possible has happened on return.
    ///
    /// # Errors
    /// As [`FunctionalSmmu::read`].
    pub fn write(
        &mut self,
        addr: PhysAddr,
        len: u8,
        value: u64,
        around: &mut impl Surroundings,
    ) -> Result<(), Abort> {
        let place = self.place(addr, around)?;
        self.metrics.register_writes += 1;
        let value = low_bytes(value, len);
        match place {
            Place::Smmu(offset) => {
                self.lint(self.registers.lints_of_access(offset, len.into()), around);
                let writes = self.registers.write(offset, usize::from(len), value);
                // Both registers of a wide write (IHI 0070, 6.2) are written before what either begins is over.
                writes.iter().flatten().for_each(|write| self.stored(write, around));
                writes.iter().flatten().for_each(|write| self.changed(write, around));
            }
            Place::Cmdqv(offset) => {
                let smmu = self.smmu();
                around.record(Record::CmdqvRegister { smmu, offset: offset as u32, value });
                self.with_cmdqv(around, |cmdqv| cmdqv.write(offset, len, value));
            }
            Place::Pmcg(place) => self.write_pmcg(place, len, value),
        }
        self.settle(around);
        Ok(())
    }

    fn place(&self, addr: PhysAddr, around: &mut impl Surroundings) -> Result<Place, Abort> {
        let offset = addr.wrapping_sub(self.config.smmu_base);
        if offset < self.config.idr.window() {
            return Ok(Place::Smmu(offset as u32));
        }
        let size = self.cmdqv.as_ref().map_or(0, Cmdqv::size);
        let offset = self.config.cmdqv.as_ref().map(|(base, _)| addr.wrapping_sub(*base));
        if let Some(offset) = offset.filter(|&offset| offset < size) {
            return Ok(Place::Cmdqv(offset));
        }
        if let Some(place) = self.config.pmcg.and_then(|pmcg| pmcg.place(addr)) {
            return Ok(Place::Pmcg(place));
        }
        // Who accessed is not told; observers only count these.
        around.record(Record::BusError { by: Requester::Cpu(0), addr });
        Err(Abort)
    }

    pub(super) fn smmu(&self) -> u16 {
        self.config.index
    }

    /// Tells observers what a register holds now.
    fn stored(&self, write: &Write, around: &mut impl Surroundings) {
        let smmu = self.smmu();
        around.record(Record::SmmuRegister { smmu, offset: write.offset, value: write.value });
        self.lint(write.lints, around);
    }

    /// Tells observers what software should not have done.
    pub(super) fn lint(&self, lints: Lints, around: &mut impl Surroundings) {
        lints
            .iter()
            .for_each(|lint| around.record(Record::Lint { smmu: self.smmu(), text: lint.to_string() }));
    }

    fn changed(&mut self, write: &Write, around: &mut impl Surroundings) {
        match write.change {
            Change::None => self.control = self.registers.control(),
            Change::Cr0(fields) => self.update_cr0(CR0(fields), around),
            Change::IrqCtrl(fields) => {
                self.registers.complete_irq_ctrl(fields);
                self.record_update(Page0::IRQ_CTRLACK, self.registers.get::<IRQ_CTRLACK>().0, around);
            }
            Change::Gbpa => {
                self.registers.complete_gbpa();
                self.control = self.registers.control();
                self.record_update(Page0::GBPA, self.registers.get::<GBPA>().0, around);
            }
            Change::CommandProd => {
                self.main.produced(&self.registers);
                self.kicked = true;
            }
            Change::Ecmdq(queue) => {
                if self.registers.ecmdq(queue).is_changing() {
                    let (offset, value) = self.registers.complete_ecmdq(queue);
                    around.record(Record::SmmuUpdated { smmu: self.smmu(), offset, value });
                }
                self.ecmdqs.written(queue, &self.registers);
                self.kicked = true;
            }
            Change::Operation(group) => self.operate(group, around),
            Change::EventCons => self.retry_unrecorded(),
            Change::Acknowledged(bits) => {
                self.kicked |= bits & GlobalError::CMDQ_ERR.mask() != 0;
                self.retry_unrecorded();
            }
        }
    }

    fn update_cr0(&mut self, fields: CR0, around: &mut impl Surroundings) {
        let cr0 = self.registers.get::<CR0>();
        if fields.cmdqen() && !cr0.cmdqen() {
            self.main.forget();
        }
        self.registers.complete_cr0(fields.0);
        self.control = self.registers.control();
        self.record_update(Page0::CR0ACK, self.registers.get::<CR0ACK>().0, around);
        if fields.atschk() && self.control.enabled() {
            self.lint(self.caches.config.lints_of_atschk(), around);
        }
        if fields.smmuen() && !cr0.smmuen() {
            self.terminate_stalled(|_| true, around);
        }
        if fields.eventqen() && cr0.eventqen() {
            self.retry_unrecorded();
        }
        self.tell_cmdqv_whether_the_smmu_runs();
        self.kicked = true;
    }

    fn record_update(&self, register: Page0, value: u64, around: &mut impl Surroundings) {
        around.record(Record::SmmuUpdated { smmu: self.smmu(), offset: register.offset(), value });
    }

    pub(super) fn tell_cmdqv_whether_the_smmu_runs(&mut self) {
        let ack = self.registers.get::<CR0ACK>();
        if let Some(cmdqv) = &mut self.cmdqv {
            cmdqv.set_smmu_enabled(ack.smmuen() && ack.cmdqen() && !self.registers.has_failed());
        }
    }
}

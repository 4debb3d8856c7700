//! Register accesses, and the Updates that they start.

use spec::regs::Block;
use spec::smmu::page0::{CR0, CR0ACK, IRQ_CTRL, IRQ_CTRLACK};
use spec::smmu::{GlobalError, Page0};

use super::{Context, In, Out, Psmmu, Wake};
use crate::bus::{Abort, Data, Op, Transaction};
use crate::record::Record;
use crate::smmu::atos::Group;
use crate::smmu::interrupts::Source;
use crate::smmu::lint::Lints;
use crate::smmu::registers::{Change, Write};

impl Psmmu {
    /// An access to the register pages or to the CMDQV's region.
    pub(super) fn access(&mut self, transaction: &Transaction, cx: &mut Context) {
        let offset = transaction.addr.wrapping_sub(self.config.smmu_base);
        let cmdqv = self.config.cmdqv.as_ref().map(|(base, _)| transaction.addr.wrapping_sub(*base));
        let size = self.cmdqv.as_ref().map_or(0, crate::cmdqv::Cmdqv::size);
        let result = if offset < self.config.idr.window() {
            self.access_smmu(offset as u32, &transaction.op, cx)
        } else if let Some(offset) = cmdqv.filter(|&offset| offset < size) {
            self.access_cmdqv(offset, &transaction.op, cx)
        } else if let Some(place) = self.config.pmcg.and_then(|pmcg| pmcg.place(transaction.addr)) {
            self.access_pmcg(place, &transaction.op, cx)
        } else {
            Err(Abort)
        };
        if result.is_err() {
            cx.note(Record::BusError { by: transaction.from, addr: transaction.addr });
        }
        cx.say(self.config.timing.register, Out::Respond(transaction.respond(result)));
    }

    fn access_smmu(&mut self, offset: u32, op: &Op, cx: &mut Context) -> Result<Data, Abort> {
        match op {
            Op::Read { len } => {
                self.metrics.register_reads += 1;
                self.lint(self.registers.lints_of_access(offset, usize::from(*len)), cx);
                Ok(answer(self.registers.read(offset, usize::from(*len)), *len))
            }
            Op::Write(data) => {
                self.metrics.register_writes += 1;
                self.lint(self.registers.lints_of_access(offset, data.len()), cx);
                let writes = self.registers.write(offset, data.len(), data.value());
                writes.into_iter().flatten().for_each(|write| self.changed(write, cx));
                Ok(Data::EMPTY)
            }
            _ => Err(Abort),
        }
    }

    fn access_cmdqv(&mut self, offset: u64, op: &Op, cx: &mut Context) -> Result<Data, Abort> {
        match op {
            Op::Read { len } => {
                self.metrics.register_reads += 1;
                let mut value = 0;
                self.with_cmdqv(cx, |cmdqv| value = cmdqv.read(offset, *len));
                Ok(answer(value, *len))
            }
            Op::Write(data) => {
                self.metrics.register_writes += 1;
                let (smmu, value) = (self.smmu(), data.value());
                cx.note(Record::CmdqvRegister { smmu, offset: offset as u32, value });
                self.with_cmdqv(cx, |cmdqv| cmdqv.write(offset, data.len() as u8, value));
                Ok(Data::EMPTY)
            }
            _ => Err(Abort),
        }
    }

    fn changed(&mut self, write: Write, cx: &mut Context) {
        cx.note(Record::SmmuRegister { smmu: self.smmu(), offset: write.offset, value: write.value });
        self.lint(write.lints, cx);
        let update = self.config.timing.update;
        let wake = |wake, cx: &mut Context| cx.wake(update, In::Wake(wake));
        match write.change {
            Change::None => self.control = self.registers.control(),
            Change::Cr0(fields) => {
                if CR0(fields).cmdqen() && !self.registers.get::<CR0>().cmdqen() {
                    self.main.forget();
                }
                wake(Wake::Cr0(fields), cx);
            }
            Change::IrqCtrl(fields) => wake(Wake::IrqCtrl(fields), cx),
            Change::Gbpa => wake(Wake::Gbpa, cx),
            Change::CommandProd => {
                self.main.produced(&self.registers);
                self.kicked = true;
            }
            Change::Ecmdq(queue) => {
                self.ecmdqs.written(queue, &self.registers);
                if self.registers.ecmdq(queue).is_changing() {
                    wake(Wake::Ecmdq(queue), cx);
                }
                self.kicked = true;
            }
            Change::Operation(group) => self.operate(group, cx),
            Change::EventCons => self.retry_unrecorded(cx.now),
            Change::Acknowledged(bits) => {
                self.kicked |= bits & GlobalError::CMDQ_ERR.mask() != 0;
                self.retry_unrecorded(cx.now);
            }
        }
    }

    /// Tells observers what is wrong with structures that were read.
    pub(super) fn lint_structures(&mut self, cx: &mut Context) {
        if !self.caches.lints.is_empty() {
            let lints = std::mem::take(&mut self.caches.lints);
            self.lint(lints, cx);
        }
    }

    /// Tells observers what software should not have done.
    pub(super) fn lint(&self, lints: Lints, cx: &mut Context) {
        lints.iter().for_each(|lint| cx.note(Record::Lint { smmu: self.smmu(), text: lint.to_string() }));
    }

    /// Completes the Updates whose conditions hold.
    pub(super) fn drain(&mut self, cx: &mut Context) {
        if self.draining != 0 {
            self.drain_cr0(cx);
        }
        if self.draining_irq != 0 {
            self.drain_irq_ctrl(cx);
        }
        if !self.draining_ecmdqs.is_empty() {
            self.drain_ecmdqs(cx);
        }
    }

    /// ENACK follows, unless a queue is to be disabled in the middle of a command.
    fn drain_ecmdqs(&mut self, cx: &mut Context) {
        let ecmdqs = &self.ecmdqs;
        let due: Vec<_> = self.draining_ecmdqs.extract_if(.., |queue| !ecmdqs.is_executing(*queue)).collect();
        for queue in due {
            let (offset, value) = self.registers.complete_ecmdq(queue);
            self.ecmdqs.acknowledged(queue, &self.registers);
            cx.note(Record::SmmuUpdated { smmu: self.smmu(), offset, value });
            self.kicked = true;
        }
    }

    fn drain_cr0(&mut self, cx: &mut Context) {
        let due = CR0(self.draining);
        let cr0 = self.registers.get::<CR0>();
        let mut held = CR0(0);
        if due.cmdqen() && !cr0.cmdqen() && self.main.is_executing() {
            held = held.with_cmdqen(true);
        }
        if due.eventqen() && !cr0.eventqen() && !self.events.is_idle() {
            held = held.with_eventqen(true);
        }
        // SMMUEN=0 disables the PRI queue, too, and waits for operations of software.
        if !self.pages.is_written() {
            held = held.with_priqen(due.priqen() && !cr0.priqen()).with_smmuen(due.smmuen() && !cr0.smmuen());
        }
        if Group::ALL.iter().any(|group| self.registers.is_operating(*group)) {
            held = held.with_smmuen(due.smmuen() && !cr0.smmuen());
        }
        let fields = due.0 & !held.0;
        self.draining = held.0;
        if fields == 0 {
            return;
        }
        self.registers.complete_cr0(fields);
        self.control = self.registers.control();
        self.note_update(Page0::CR0ACK, self.registers.get::<CR0ACK>().0, cx);
        let done = CR0(fields);
        if done.atschk() && self.control.enabled() {
            self.lint(self.caches.config.lints_of_atschk(), cx);
        }
        if done.smmuen() && !cr0.smmuen() {
            self.abort_stalled(|_| true, cx);
        }
        if done.eventqen() && cr0.eventqen() {
            self.retry_unrecorded(cx.now);
        }
        self.tell_cmdqv_whether_the_smmu_runs();
        self.kicked = true;
    }

    fn drain_irq_ctrl(&mut self, cx: &mut Context) {
        let mut held = IRQ_CTRL(0);
        let due = IRQ_CTRL(self.draining_irq);
        let ctrl = self.registers.get::<IRQ_CTRL>();
        let outstanding = |source| self.messages.get(&source).is_some_and(|n| *n > 0);
        if due.gerror_irqen() && !ctrl.gerror_irqen() && outstanding(Source::GlobalError) {
            held = held.with_gerror_irqen(true);
        }
        if due.eventq_irqen() && !ctrl.eventq_irqen() && outstanding(Source::Event) {
            held = held.with_eventq_irqen(true);
        }
        if due.priq_irqen() && !ctrl.priq_irqen() && outstanding(Source::Page) {
            held = held.with_priq_irqen(true);
        }
        let fields = due.0 & !held.0;
        self.draining_irq = held.0;
        if fields != 0 {
            self.registers.complete_irq_ctrl(fields);
            self.note_update(Page0::IRQ_CTRLACK, self.registers.get::<IRQ_CTRLACK>().0, cx);
        }
    }

    /// The SMMU acts on new values from now on.
    pub(super) fn note_update(&self, register: Page0, value: u64, cx: &mut Context) {
        cx.note(Record::SmmuUpdated { smmu: self.smmu(), offset: register.offset(), value });
    }

    pub(super) fn tell_cmdqv_whether_the_smmu_runs(&mut self) {
        let ack = self.registers.get::<CR0ACK>();
        if let Some(cmdqv) = &mut self.cmdqv {
            cmdqv.set_smmu_enabled(ack.smmuen() && ack.cmdqen() && !self.registers.has_failed());
        }
    }
}

/// `len` bytes of an answer; what registers do not have is zero.
pub(super) fn answer(value: u64, len: u8) -> Data {
    let mut bytes = [0; crate::bus::LINE];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    Data::new(&bytes[..usize::from(len)])
}

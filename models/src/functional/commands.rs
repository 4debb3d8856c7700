//! Command queues: everything that can be fetched is, and every command runs to its end before the next is taken.

use spec::smmu::{Command, CommandError, GlobalError, Opcode};

use super::{FunctionalSmmu, Surroundings};
use crate::bus::{Abort, Data, PhysAddr};
use crate::cmdqv::{Cmdqv, Effect};
use crate::dma::AtcInvalidate;
use crate::psmmu::is_off;
use crate::record::{CommandQueue, Record};
use crate::smmu::Scope;
use crate::smmu::arbiter::Grant;
use crate::smmu::command_queue::Head;
use crate::smmu::engine::{Issued, Signal, Work};
use crate::smmu::interrupts::{Raise, Source};
use crate::smmu::lint;
use crate::smmu::ports::Port;

impl FunctionalSmmu {
    /// Lets the CMDQV react, and answers what it wants until it wants nothing.
    pub(super) fn with_cmdqv(&mut self, around: &mut impl Surroundings, react: impl FnOnce(&mut Cmdqv)) {
        let cmdqv = self.cmdqv.as_mut().expect("there is a CMDQV");
        self.stuck.retain(|&ticket| {
            let held = cmdqv.is_stuck(ticket);
            if !held {
                cmdqv.handshake_done(ticket);
            }
            held
        });
        react(cmdqv);
        self.answer_cmdqv(around);
    }

    fn answer_cmdqv(&mut self, around: &mut impl Surroundings) {
        let smmu = self.smmu();
        while let Some(cmdqv) = &mut self.cmdqv
            && let Some(effect) = cmdqv.poll()
        {
            match effect {
                Effect::Fetch { ticket, addr, len } => {
                    let aborted = self.triggers.fetch.strikes();
                    self.metrics.command_fetches += 1;
                    cmdqv.fetched(ticket, fetch(addr, len, aborted, around));
                }
                Effect::WriteBack { ticket, addr, value } => {
                    let result = around.write(addr, &value.to_le_bytes());
                    cmdqv.written_back(ticket, result);
                }
                Effect::InterruptEdge => self.cmdqv_edge(around),
                Effect::Handshake { ticket } if cmdqv.is_stuck(ticket) => self.stuck.push(ticket),
                Effect::Handshake { ticket } => cmdqv.handshake_done(ticket),
                Effect::Error { queue, index, code, raw } => {
                    self.metrics.command_errors += 1;
                    around.record(Record::CommandError { smmu, queue, index, code: code.0, raw });
                }
                Effect::Lint(text) => around.record(Record::Lint { smmu, text }),
            }
        }
        self.kicked = true;
    }

    /// Executes what can be, if something has changed that may allow it. That ends: every turn consumes a command or stops a
    /// queue, and nothing that a command does makes more of them.
    pub(super) fn settle(&mut self, around: &mut impl Surroundings) {
        if !std::mem::take(&mut self.kicked) || self.config.faults.stalled || self.registers.has_failed() {
            return;
        }
        loop {
            self.fetch(around);
            self.find_ready();
            let limits = self.cmdqv.as_ref().map_or(self.ports.limits(), Cmdqv::limits);
            match self.arbiter.next(&self.ready, limits) {
                None => break,
                // All that was issued before is complete; of what is held back software knows nothing yet.
                Some(Grant::Sync(_)) => self.metrics.inserted_syncs += 1,
                Some(Grant::Take(port)) => self.take(port, around),
            }
            if self.registers.has_failed() {
                break;
            }
        }
        self.kicked = false;
    }

    fn fetch(&mut self, around: &mut impl Surroundings) {
        if let Some(wanted) = self.main.wants_fetch(&self.registers) {
            let aborted = self.triggers.fetch.strikes();
            self.metrics.command_fetches += 1;
            self.main.fetched(wanted.ticket, fetch(wanted.addr, wanted.len, aborted, around));
        }
        while let Some((queue, wanted)) = self.ecmdqs.wants_fetch(&self.registers) {
            let aborted = self.triggers.fetch.strikes();
            self.metrics.command_fetches += 1;
            let result = fetch(wanted.addr, wanted.len, aborted, around);
            self.ecmdqs.fetched(queue, wanted.ticket, result, &self.registers);
        }
    }

    fn find_ready(&mut self) {
        let main = self.main.is_ready(&self.registers);
        if let Some(cmdqv) = &self.cmdqv {
            self.ready[1..=self.ports.vcmdqs].copy_from_bitslice(cmdqv.ready_queues());
        }
        self.ready[self.ports.first_ecmdq()..].copy_from_bitslice(self.ecmdqs.ready());
        self.ready.set(0, main);
    }

    /// Takes the head of a ready queue and executes it.
    fn take(&mut self, port: usize, around: &mut impl Surroundings) {
        if self.triggers.failure.strikes() {
            return self.fail(around);
        }
        match self.ports.of(port) {
            Port::Main => {
                let head = self.main.take(&self.registers).expect("the main queue is ready");
                self.execute_head(port, CommandQueue::Main, head, around);
            }
            Port::Ecmdq(queue) => {
                let head = self.ecmdqs.take(queue, &self.registers).expect("the queue is ready");
                self.execute_head(port, CommandQueue::Ecmdq(queue as u16), head, around);
            }
            Port::Vcmdq(queue) => self.take_from_cmdqv(port, queue, around),
        }
    }

    fn execute_head(&mut self, port: usize, queue: CommandQueue, head: Head, around: &mut impl Surroundings) {
        let Head { index, command } = head;
        match command {
            Ok(raw) => self.execute(&Issued { port, queue, index, raw, executed: raw }, around),
            Err(Abort) => self.stop(queue, index, CommandError::CERROR_ABT, None, around),
        }
    }

    fn take_from_cmdqv(&mut self, port: usize, queue: u16, around: &mut impl Surroundings) {
        let cmdqv = self.cmdqv.as_mut().expect("a queue of the CMDQV is ready");
        let taken = cmdqv.take(queue);
        self.answer_cmdqv(around);
        if let Some(taken) = taken {
            let (queue, index, raw, executed) = (taken.queue, taken.index, taken.raw, taken.executed);
            self.execute(&Issued { port, queue, index, raw, executed }, around);
        }
    }

    /// Enters Service Failure Mode (IHI 0070, 12.3): no queue is looked at any more, every transaction ends with an abort.
    fn fail(&mut self, around: &mut impl Surroundings) {
        self.registers.fail();
        self.control = self.registers.control();
        self.tell_cmdqv_whether_the_smmu_runs();
        self.global_error(GlobalError::SFM_ERR, around);
        self.terminate_stalled(|_| true, around);
    }

    fn execute(&mut self, command: &Issued, around: &mut impl Surroundings) {
        let op = command.executed.op();
        let work = self.triggers.decode(&command.executed, command.queue, &self.control);
        let timing = &self.config.timing;
        self.arbiter.served(op == Opcode::SYNC, timing.clocks(timing.command(&work)));
        let work = match work {
            Ok(work) => work,
            Err(code) => return self.retire(command, Err(code), around),
        };
        self.metrics.count_command(command.port, op);
        if !self.held.is_empty() {
            self.catch_up(command.port, &work, around);
        }
        match work {
            Work::Nothing => {}
            Work::InvalidateConfig(scope) => {
                let dropped = self.triggers.cfgi.strikes(command.queue, op) | self.is_lost(command);
                self.invalidate(command.port, work, &scope, dropped);
            }
            Work::InvalidateTlb(scope) => {
                let dropped = self.triggers.tlbi.strikes(command.queue, op) | self.is_lost(command);
                self.invalidate(command.port, work, &scope, dropped);
            }
            Work::InvalidateAtc(invalidate) => self.invalidate_atc(command.port, invalidate, around),
            Work::RespondToPage(response) => self.respond_to_page(response, false, around),
            Work::Resume { sid, stag, action } => self.resume_stalled(sid, stag, action, around),
            Work::StallTerm { sid } => self.terminate_stalled(|stalled| stalled == sid, around),
            Work::Sync(signal) => return self.synchronise(command, signal, around),
        }
        self.retire(command, Ok(()), around);
    }

    /// Whether an invalidation is lost because it must be repeated.
    fn is_lost(&mut self, command: &Issued) -> bool {
        self.repeats.as_mut().is_some_and(|repeats| repeats.loses(command.port, command.executed))
    }

    fn invalidate(&mut self, port: usize, work: Work, scope: &Scope, dropped: bool) {
        if dropped {
            self.metrics.invalidations_dropped += 1;
        } else if self.holds_back() {
            self.held.put(port, work);
        } else {
            self.remove_entries(scope);
        }
    }

    pub(super) fn remove_entries(&mut self, scope: &Scope) {
        self.metrics.entries_removed += self.caches.invalidate(scope) as u64;
    }

    fn invalidate_atc(&mut self, port: usize, invalidate: AtcInvalidate, around: &mut impl Surroundings) {
        self.engine.atc_issued(port);
        if self.triggers.atc.strikes() {
            self.atc_done(port, false);
        } else if self.holds_back() {
            self.held.put(port, Work::InvalidateAtc(invalidate));
        } else {
            self.ask_endpoint(port, invalidate, around);
        }
    }

    pub(super) fn ask_endpoint(
        &mut self,
        port: usize,
        mut invalidate: AtcInvalidate,
        around: &mut impl Surroundings,
    ) {
        invalidate.tag = self.atc_next;
        self.atc_next = self.atc_next.wrapping_add(1);
        let answered = around.invalidate_atc(invalidate);
        self.atc_done(port, answered);
    }

    fn atc_done(&mut self, port: usize, answered: bool) {
        self.metrics.atc_timeouts += u64::from(!answered);
        self.engine.atc_done(port, !answered);
    }

    /// CMD_SYNC: everything before it has completed, so only timeouts can stop it.
    fn synchronise(&mut self, command: &Issued, signal: Signal, around: &mut impl Surroundings) {
        let port = command.port;
        let result = if self.triggers.sync.strikes() {
            // The environment's fault: nothing is waited for, hence no timeout is known yet.
            self.held.overtake(port);
            Ok(())
        } else {
            self.release(port, around);
            let (cmdqv, ports) = (self.cmdqv.as_ref(), self.ports);
            self.engine.take_timeouts(port, |port| is_off(cmdqv, ports, port))
        };
        self.retire(command, result, around);
        if result.is_err() {
            return;
        }
        if let Some(repeats) = &mut self.repeats {
            repeats.synced(port);
        }
        match signal {
            Signal::None => {}
            Signal::Event => self.metrics.wake_events += 1,
            Signal::Interrupt { addr, data } => {
                for raise in Raise::sync(addr, data, &self.config.lines) {
                    self.raise(raise, Source::Sync, around);
                }
            }
        }
    }

    /// A queue that was full is so no more: a wake-up event (IHI 0070, 3.5.6 and 4.1).
    fn has_room(&mut self, has_room: bool) {
        self.metrics.wake_events += u64::from(has_room && self.control.features.sev);
    }

    /// CONS passes the command, or its queue stops there.
    fn retire(&mut self, command: &Issued, result: Result<(), CommandError>, around: &mut impl Surroundings) {
        let Issued { port, queue, index, raw, executed } = *command;
        if result.is_ok() {
            self.lint(lint::of_command(&executed, &self.control, &self.caches.config), around);
            self.registers.executed(&executed);
            around.record(Record::CommandConsumed { smmu: self.smmu(), queue, index, raw, executed });
        }
        match (self.ports.of(port), result) {
            (Port::Main, Ok(())) => {
                let has_room = self.main.retire(Ok(()), &mut self.registers);
                self.has_room(has_room);
            }
            (Port::Ecmdq(queue), Ok(())) => {
                let has_room = self.ecmdqs.retire(queue, Ok(()), &mut self.registers);
                self.has_room(has_room);
            }
            (Port::Main | Port::Ecmdq(_), Err(code)) => self.stop(queue, index, code, Some(raw), around),
            (Port::Vcmdq(queue), result) => {
                let cmdqv = self.cmdqv.as_mut().expect("the command came from the CMDQV");
                cmdqv.retire(queue, result);
                self.answer_cmdqv(around);
            }
        }
    }

    /// One of the SMMU's queues stops at the command that was taken.
    fn stop(
        &mut self,
        queue: CommandQueue,
        index: u32,
        code: CommandError,
        raw: Option<Command>,
        around: &mut impl Surroundings,
    ) {
        self.metrics.command_errors += 1;
        let error = if let CommandQueue::Ecmdq(queue) = queue {
            self.ecmdqs.retire(queue.into(), Err(code), &mut self.registers);
            GlobalError::CMDQP_ERR
        } else {
            self.main.retire(Err(code), &mut self.registers);
            GlobalError::CMDQ_ERR
        };
        let smmu = self.smmu();
        around.record(Record::CommandError { smmu, queue, index, code: code.0, raw });
        self.global_error(error, around);
    }
}

/// Reads queue entries.
fn fetch(addr: PhysAddr, len: u8, aborted: bool, around: &mut impl Surroundings) -> Result<Data, Abort> {
    if aborted {
        return Err(Abort);
    }
    Data::filled(len.into(), |bytes| around.read(addr, bytes))
}

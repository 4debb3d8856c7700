//! Command queues in time: fetches, the arbiter's turns, one command at a time in the engine, CMD_SYNC.

use spec::smmu::{CommandError, GlobalError, Opcode};

use super::{Context, In, Out, Pending, Psmmu, Wake};
use crate::bus::{Data, Op};
use crate::cmdqv::{Cmdqv, Effect};
use crate::dma::AtcInvalidate;
use crate::record::{CommandQueue, Record};
use crate::smmu::Scope;
use crate::smmu::arbiter::{Grant, Limits};
use crate::smmu::engine::{Issued, Progress, Signal, Sync, Work};
use crate::smmu::interrupts::{Raise, Source};
use crate::smmu::lint;

/// The command in the engine, and what it means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Executing {
    command: Issued,
    work: Result<Work, CommandError>,
}

impl Psmmu {
    /// Lets the CMDQV react, and turns what it wants into messages.
    pub(super) fn with_cmdqv(&mut self, cx: &mut Context, react: impl FnOnce(&mut Cmdqv)) {
        react(self.cmdqv.as_mut().expect("there is a CMDQV"));
        self.drain_cmdqv(cx);
    }

    fn drain_cmdqv(&mut self, cx: &mut Context) {
        let smmu = self.smmu();
        while let Some(effect) = self.cmdqv.as_mut().and_then(Cmdqv::poll) {
            match effect {
                Effect::Fetch { ticket, addr, len } => {
                    let pending = Pending::CmdqvFetch { ticket, aborted: self.triggers.fetch.strikes() };
                    self.metrics.command_fetches += 1;
                    self.send(cx.now + self.config.timing.fetch, addr, Op::Read { len }, pending, cx);
                }
                Effect::WriteBack { ticket, addr, value } => {
                    let pending = Pending::CmdqvWriteBack { ticket };
                    self.send(cx.now, addr, Op::Write(Data::u32(value)), pending, cx);
                }
                Effect::InterruptEdge => self.cmdqv_edge(cx),
                Effect::Handshake { ticket } => {
                    cx.wake(self.config.timing.cmdqv_update, In::Wake(Wake::Cmdqv(ticket)));
                }
                Effect::Error { queue, index, code, raw } => {
                    self.metrics.command_errors += 1;
                    cx.note(Record::CommandError { smmu, queue, index, code: code.0, raw });
                }
                Effect::Lint(text) => cx.note(Record::Lint { smmu, text }),
            }
        }
        self.kicked = true;
    }

    /// Fetches and executes what can be. Called whenever something has changed that may allow it.
    pub(super) fn serve(&mut self, cx: &mut Context) {
        if self.config.faults.stalled {
            return;
        }
        self.fetch(cx);
        while self.executing.is_none() {
            self.find_ready();
            let limits = self.cmdqv.as_ref().map_or(Limits::NONE, Cmdqv::limits);
            match self.arbiter.next(&self.ready, limits) {
                None => return,
                Some(Grant::Sync(port)) => {
                    self.metrics.inserted_syncs += 1;
                    if !self.engine.is_blocked(port) {
                        self.engine.start(port, Sync::new(None, Signal::None, self.window.next()));
                        self.complete_syncs(cx);
                    }
                }
                Some(Grant::Take(port)) => self.take(port, cx),
            }
        }
    }

    fn fetch(&mut self, cx: &mut Context) {
        if let Some(fetch) = self.main.wants_fetch(&self.registers) {
            let pending =
                Pending::CommandFetch { ticket: fetch.ticket, aborted: self.triggers.fetch.strikes() };
            self.metrics.command_fetches += 1;
            self.send(
                cx.now + self.config.timing.fetch,
                fetch.addr,
                Op::Read { len: fetch.len },
                pending,
                cx,
            );
        }
    }

    fn find_ready(&mut self) {
        let main = self.main.is_ready(&self.registers);
        self.ready.set(0, main);
        if let Some(cmdqv) = &self.cmdqv {
            self.ready[1..].copy_from_bitslice(cmdqv.ready_queues());
        }
        if self.engine.syncs() > 0 {
            for port in 0..self.ready.len() {
                if self.engine.is_blocked(port) {
                    self.ready.set(port, false);
                }
            }
        }
    }

    /// Takes the head of a ready queue into the engine.
    fn take(&mut self, port: usize, cx: &mut Context) {
        let executing = if port == 0 {
            let head = self.main.take(&self.registers).expect("the main queue is ready");
            let Ok(raw) = head.command else {
                self.stop_main(head.index, CommandError::CERROR_ABT, None, cx);
                return;
            };
            let command = Issued { port, queue: CommandQueue::Main, index: head.index, raw, executed: raw };
            Executing { command, work: self.triggers.decode(&raw, command.queue, &self.control) }
        } else {
            let mut taken = None;
            self.with_cmdqv(cx, |cmdqv| taken = cmdqv.take(port as u16 - 1));
            let Some(taken) = taken else { return };
            let work = self.triggers.decode(&taken.executed, taken.queue, &self.control);
            let (queue, index, raw, executed) = (taken.queue, taken.index, taken.raw, taken.executed);
            Executing { command: Issued { port, queue, index, raw, executed }, work }
        };
        let cost = self.config.timing.command(&executing.work);
        let is_sync = executing.command.executed.op() == Opcode::SYNC;
        self.arbiter.served(is_sync, self.config.timing.clocks(cost));
        self.executing = Some(executing);
        cx.wake(cost, In::Wake(Wake::Executed));
    }

    /// The engine is done with its command.
    pub(super) fn executed(&mut self, cx: &mut Context) {
        let Executing { command, work } = self.executing.take().expect("a command was being executed");
        self.kicked = true;
        let work = match work {
            Ok(work) => work,
            Err(code) => return self.retire(&command, Err(code), cx),
        };
        self.metrics.count_command(command.port, command.executed.op());
        match work {
            Work::Nothing => {}
            Work::InvalidateConfig(scope) => {
                let dropped = self.triggers.cfgi.strikes(command.queue) | self.is_lost(&command);
                self.invalidate(&scope, dropped);
            }
            Work::InvalidateTlb(scope) => {
                let dropped = self.triggers.tlbi.strikes(command.queue) | self.is_lost(&command);
                self.invalidate(&scope, dropped);
            }
            Work::InvalidateAtc(invalidate) => self.send_atc(command.port, invalidate, cx),
            Work::RespondToPage(response) => self.respond_to_page(response, false, cx),
            Work::Resume { sid, stag, action } => self.resume_stalled(sid, stag, action, cx),
            Work::StallTerm { sid } => self.abort_stalled(|stalled| stalled == sid, cx),
            Work::Sync(signal) => {
                let mark = if self.triggers.sync.strikes() { None } else { Some(self.window.next()) };
                let sync = Sync::new(Some(command), signal, mark.unwrap_or(0));
                self.metrics.syncs_started.insert(command.port, cx.now);
                match mark {
                    Some(_) => self.engine.start(command.port, sync),
                    // The environment's fault: nothing is waited for.
                    None => self.schedule_synced(command.port, sync, Ok(()), cx),
                }
                return;
            }
        }
        self.retire(&command, Ok(()), cx);
    }

    /// Whether an invalidation is lost because it must be repeated.
    fn is_lost(&mut self, command: &Issued) -> bool {
        self.repeats.as_mut().is_some_and(|repeats| repeats.loses(command.port, command.executed))
    }

    /// Removes what an invalidation covers; translations in flight that it covers must not bring it back.
    fn invalidate(&mut self, scope: &Scope, dropped: bool) {
        if dropped {
            self.metrics.invalidations_dropped += 1;
            return;
        }
        self.metrics.entries_removed += self.caches.invalidate(scope) as u64;
        self.tbu.invalidated(scope);
        self.pages.invalidated(scope);
    }

    /// CONS passes the command, or its queue stops there.
    fn retire(&mut self, command: &Issued, result: Result<(), CommandError>, cx: &mut Context) {
        let Issued { port, queue, index, raw, executed } = *command;
        if result.is_ok() {
            self.lint(lint::of_command(&executed, &self.control), cx);
            cx.note(Record::CommandConsumed { smmu: self.smmu(), queue, index, raw, executed });
        }
        match (port, result) {
            (0, Ok(())) => self.main.retire(Ok(()), &mut self.registers),
            (0, Err(code)) => self.stop_main(index, code, Some(raw), cx),
            (port, result) => self.with_cmdqv(cx, |cmdqv| cmdqv.retire(port as u16 - 1, result)),
        }
        self.kicked = true;
    }

    fn stop_main(
        &mut self,
        index: u32,
        code: CommandError,
        raw: Option<spec::smmu::Command>,
        cx: &mut Context,
    ) {
        self.metrics.command_errors += 1;
        self.main.retire(Err(code), &mut self.registers);
        let (smmu, queue) = (self.smmu(), CommandQueue::Main);
        cx.note(Record::CommandError { smmu, queue, index, code: code.0, raw });
        self.global_error(GlobalError::CMDQ_ERR, cx);
    }

    /// Starts the last leg of every CMD_SYNC that has nothing left to wait for.
    pub(super) fn complete_syncs(&mut self, cx: &mut Context) {
        while self.engine.syncs() > 0 {
            let progress = Progress {
                oldest: self.window.oldest(),
                commits: self.events.commits(),
                settled: self.events.settled(),
            };
            let cmdqv = self.cmdqv.as_ref();
            let is_off = |port: usize| port > 0 && cmdqv.is_some_and(|c| !c.is_enabled(port as u16 - 1));
            let Some((port, sync, result)) = self.engine.complete(progress, is_off) else { return };
            self.kicked = true;
            if sync.command.is_some() {
                self.schedule_synced(port, sync, result, cx);
            }
        }
    }

    fn schedule_synced(&self, port: usize, sync: Sync, result: Result<(), CommandError>, cx: &mut Context) {
        cx.wake(self.config.timing.sync_round, In::Wake(Wake::Synced { port, sync, result }));
    }

    /// A CMD_SYNC of software has completed, or stops its queue.
    pub(super) fn synced(
        &mut self,
        port: usize,
        sync: Sync,
        result: Result<(), CommandError>,
        cx: &mut Context,
    ) {
        let command = sync.command.expect("only software's own are scheduled");
        if let Some(since) = self.metrics.syncs_started.remove(&port) {
            self.metrics.sync_latency.record(cx.now - since);
        }
        self.retire(&command, result, cx);
        if result.is_err() {
            return;
        }
        if let Some(repeats) = &mut self.repeats {
            repeats.synced(port);
        }
        match sync.signal {
            Signal::None => {}
            Signal::Event => self.metrics.wake_events += 1,
            Signal::Interrupt { addr, data } => {
                if let Some(raise) = Raise::sync(addr, data, &self.config.lines) {
                    self.raise(raise, Source::Sync, Some(port), cx);
                }
            }
        }
    }

    fn send_atc(&mut self, port: usize, mut invalidate: AtcInvalidate, cx: &mut Context) {
        let tag = self.atc_next;
        self.atc_next = self.atc_next.wrapping_add(1);
        invalidate.tag = tag;
        self.atc.insert(tag, port);
        self.engine.atc_issued(port);
        let deadline = cx.now + self.config.timing.atc_timeout;
        if !std::mem::replace(&mut self.atc_armed, true) {
            cx.wake(self.config.timing.atc_timeout, In::Wake(Wake::AtcTimeout));
        }
        self.atc_deadlines.push_back((deadline, tag));
        if !self.triggers.atc.strikes() {
            cx.say_at(self.atc_earliest.max(cx.now), Out::Atc(invalidate));
        }
    }

    /// An answer; late ones are ignored.
    pub(super) fn atc_done(&mut self, tag: u32, timed_out: bool) {
        if let Some(port) = self.atc.remove(&tag) {
            self.metrics.atc_timeouts += u64::from(timed_out);
            self.engine.atc_done(port, timed_out);
        }
        while self.atc_deadlines.front().is_some_and(|(_, tag)| !self.atc.contains_key(tag)) {
            self.atc_deadlines.pop_front();
        }
    }

    /// Gives up on what is overdue. One alarm is set as long as anything may become overdue.
    pub(super) fn atc_deadline(&mut self, cx: &mut Context) {
        self.atc_armed = false;
        while let Some(&(deadline, tag)) = self.atc_deadlines.front() {
            if deadline > cx.now {
                self.atc_armed = true;
                return cx.wake(deadline - cx.now, In::Wake(Wake::AtcTimeout));
            }
            self.atc_done(tag, true);
        }
    }
}

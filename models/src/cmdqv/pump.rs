//! What moves by itself: CONFIG to STATUS on the three levels, fetching, handing commands out and taking them back.

use spec::cmdqv::queue::{BASE, CONS_INDX_BASE};
use spec::smmu::error::CommandError;
use spec::smmu::{Command, Opcode};

use super::admission::admit;
use super::errors::CMDQ_INIT_ERR;
use super::knobs::{AllocationsOnDisable, Backlog, SmmuDisabled};
use super::queue::{Entry, InExecution, Phase, Slot};
use super::{Cmdqv, Effect, Pending, Taken};
use crate::record::CommandQueue;
use crate::smmu::ring::Ring;

impl Cmdqv {
    /// Takes the head of a ready queue for execution; [`retire`](Self::retire) must follow. Nothing comes when the queue
    /// is not ready, or when the command is one that its owner may not send: that stops the queue with an error.
    pub fn take(&mut self, queue: u16) -> Option<Taken> {
        if !self.is_ready(queue) {
            return None;
        }
        let state = &mut self.queues[usize::from(queue)];
        let Some(Entry::Command(raw)) = state.fetched.pop_front() else {
            unreachable!("a ready queue has a command")
        };
        let owner = state.served.expect("a ready queue has an owner");
        let index = state.ring.index(state.cons);
        let vintf = &self.vintfs[usize::from(owner.vintf)];
        let admitted =
            admit(raw, owner.vintf, vintf.context, &vintf.sids, &self.config.knobs, &self.config.faults);
        let metrics = &mut self.metrics.queues[usize::from(queue)];
        metrics.vmids_replaced += u64::from(admitted.vmid_replaced);
        metrics.sids_replaced += u64::from(admitted.sid_replaced);
        if let Some(text) = admitted.lint {
            self.lint(format!("VCMDQ {queue}: {text}"));
        }
        let taken = match admitted.result {
            Ok(executed) => {
                let name = CommandQueue::Vcmdq { queue, vintf: owner.vintf, logical: owner.logical };
                let taken = Taken { queue: name, index, raw, executed };
                self.queue_mut(queue).in_execution = Some(InExecution { taken, orphan: false });
                Some(taken)
            }
            Err(code) => {
                self.stop_at(queue, owner, code, raw);
                None
            }
        };
        self.refresh(queue);
        taken
    }

    /// Says how a taken command went: CONS moves on, or the queue stops at it. Panics if none was taken.
    pub fn retire(&mut self, queue: u16, result: Result<(), CommandError>) {
        let done =
            self.queue_mut(queue).in_execution.take().expect("a command of this queue is in execution");
        if !done.orphan {
            let Taken { raw, queue: name, .. } = done.taken;
            let CommandQueue::Vcmdq { vintf, logical, .. } = name else {
                unreachable!("it came from a VCMDQ")
            };
            let owner = Slot { vintf, logical };
            match result {
                Ok(()) => {
                    let state = self.queue_mut(queue);
                    state.cons = state.ring.advance(state.cons, 1);
                    let metrics = &mut self.metrics.queues[usize::from(queue)];
                    metrics.commands += 1;
                    metrics.syncs += u64::from(raw.op() == Opcode::SYNC);
                    self.cons_changed(queue);
                }
                Err(code) if self.queue(queue).slot == Some(owner) => self.stop_at(queue, owner, code, raw),
                Err(code) => {
                    self.lint(format!(
                        "VCMDQ {queue}: {code} of a command whose owner is gone; not reported"
                    ));
                    let state = self.queue_mut(queue);
                    if state.runs() {
                        // Skipped, or it would be taken again for ever.
                        state.cons = state.ring.advance(state.cons, 1);
                        self.cons_changed(queue);
                    }
                }
            }
        }
        self.refresh(queue);
    }

    fn stop_at(&mut self, q: u16, owner: Slot, code: CommandError, raw: Command) {
        if self.config.faults.keep_prefetched {
            self.queue_mut(q).fetched.push_front(Entry::Command(raw));
        }
        self.command_error(q, owner, code, Some(raw));
    }

    /// Software writes CMDQV_EN.
    pub(super) fn write_block_enable(&mut self, enable: bool) {
        let disabled = self.switch.enable && !enable;
        self.switch.enable = enable;
        if disabled {
            for vintf in &mut self.vintfs {
                vintf.hung = false;
            }
            for q in 0..self.queues.len() as u16 {
                let queue = self.queue_mut(q);
                queue.stale = queue.slot.is_some();
                queue.dormant |= queue.stale;
                if self.config.knobs.allocations_on_disable == AllocationsOnDisable::Clear {
                    self.allocations[usize::from(q)].allocated = false;
                    self.unmap(q);
                }
            }
        }
        self.refresh_all();
        self.settle_block();
    }

    /// Sets the block's STATUS if it is time to.
    pub(super) fn settle_block(&mut self) {
        let quiet = self.queues.iter().all(|q| q.served.is_none());
        if self.switch.settle(quiet) {
            self.refresh_all();
        }
        if self.switch.needs_handshake() {
            let ticket = self.issue(Pending::Block);
            self.switch.ticket = Some(ticket);
            self.effects.push_back(Effect::Handshake { ticket });
        }
    }

    /// Sets a VINTF's STATUS if it is time to.
    pub(super) fn settle_vintf(&mut self, v: u8) {
        let quiet = self.queues.iter().all(|q| q.served.is_none_or(|s| s.vintf != v));
        if self.vintfs[usize::from(v)].switch.settle(quiet) {
            self.refresh_vintf(v);
        }
        if self.vintfs[usize::from(v)].switch.needs_handshake() {
            let ticket = self.issue(Pending::Vintf(v));
            self.vintfs[usize::from(v)].switch.ticket = Some(ticket);
            self.effects.push_back(Effect::Handshake { ticket });
        }
    }

    /// The handshake of a queue's own CONFIG is over.
    pub(super) fn queue_handshake_done(&mut self, q: u16) {
        match self.queue(q).phase {
            Phase::Starting if self.wants(q) => self.start(q),
            Phase::Starting => self.queue_mut(q).phase = Phase::Off,
            Phase::Stopping { .. } => self.queue_mut(q).phase = Phase::Stopping { acknowledged: true },
            Phase::Off | Phase::Running => unreachable!("no handshake is under way"),
        }
        self.refresh(q);
    }

    /// Samples BASE and begins at CONS.
    fn start(&mut self, q: u16) {
        let queue = &mut self.queues[usize::from(q)];
        let base = BASE(queue.base);
        let (log2size, addr) = (base.log2size() as u8, base.addr());
        let sound = (1..=self.config.cmdqs).contains(&log2size)
            && addr.is_multiple_of((Command::BYTES as u64) << log2size);
        if !sound {
            queue.phase = Phase::Off;
            let owner = queue.slot;
            self.metrics.init_errors += 1;
            self.raise(q, CMDQ_INIT_ERR, owner);
            return;
        }
        queue.ring = Ring::new(addr, log2size, self.config.cmdqs, Command::BYTES.ilog2() as u8);
        queue.cons = queue.ring.pointer(queue.cons);
        queue.served = queue.slot;
        queue.phase = Phase::Running;
        let (overfull, misaligned) = (queue.overfull(), !queue.cons_base.is_multiple_of(4));
        if overfull {
            self.lint(format!("VCMDQ {q}: PROD is further ahead than the ring is long; taken as full"));
        }
        if misaligned && self.fields.cons_dram_en() {
            self.lint(format!("VCMDQ {q}: CONS_INDX_BASE is misaligned; its low two bits are ignored"));
        }
    }

    /// Whether all conditions of STATUS hold.
    fn wants(&self, q: u16) -> bool {
        let queue = self.queue(q);
        let sound = queue.status() || queue.active() & CMDQ_INIT_ERR == 0;
        let owner_on = |slot: Slot| self.vintfs[usize::from(slot.vintf)].switch.on();
        queue.enable && sound && !queue.dormant && self.switch.on() && queue.slot.is_some_and(owner_on)
    }

    /// Whether nothing outside the queue holds it back.
    fn may_progress(&self, q: u16) -> bool {
        let paused = self.config.knobs.smmu_disabled == SmmuDisabled::Pause && !self.smmu_enabled;
        let hung = self.queue(q).served.is_some_and(|s| self.vintfs[usize::from(s.vintf)].hung);
        !paused && !hung
    }

    pub(super) fn refresh_all(&mut self) {
        for q in 0..self.queues.len() as u16 {
            self.refresh(q);
        }
    }

    pub(super) fn refresh_vintf(&mut self, v: u8) {
        for l in 0..self.queues.len() {
            if let Some(q) = self.vintfs[usize::from(v)].slots[l] {
                self.refresh(q);
            }
        }
    }

    /// Lets a queue do what it can now. Called after every change that concerns it.
    pub(super) fn refresh(&mut self, q: u16) {
        self.pump(q);
        match self.queue(q).phase {
            Phase::Off if self.queue(q).clear_when_off && self.queue(q).is_quiet() => self.clear(q),
            Phase::Off if self.wants(q) => {
                self.queue_mut(q).phase = Phase::Starting;
                self.begin_handshake(q);
            }
            Phase::Running if !self.wants(q) => {
                let drain = self.config.knobs.backlog == Backlog::Drain;
                let queue = self.queue_mut(q);
                queue.phase = Phase::Stopping { acknowledged: false };
                if drain {
                    queue.drain_to = Some(queue.prod);
                } else {
                    queue.drop_prefetched();
                }
                self.begin_handshake(q);
                self.pump(q);
            }
            Phase::Stopping { acknowledged: true } if self.is_quiet(q) => self.stopped(q),
            Phase::Off | Phase::Starting | Phase::Running | Phase::Stopping { .. } => {}
        }
    }

    fn begin_handshake(&mut self, q: u16) {
        let ticket = self.issue(Pending::Queue(q));
        self.effects.push_back(Effect::Handshake { ticket });
    }

    fn is_quiet(&self, q: u16) -> bool {
        self.config.faults.early_disable || self.queue(q).is_quiet() || {
            // A backlog that cannot be drained must not keep STATUS set.
            let queue = self.queue(q);
            queue.drain_to.is_some() && !self.may_progress(q) && queue.is_still()
        }
    }

    /// The last thing under way is done: STATUS becomes 0.
    fn stopped(&mut self, q: u16) {
        let drop_backlog = self.config.knobs.backlog == Backlog::Drop;
        let queue = &mut self.queues[usize::from(q)];
        queue.phase = Phase::Off;
        queue.drain_to = None;
        queue.drop_prefetched();
        if drop_backlog {
            queue.cons = queue.ring.pointer(queue.prod);
        }
        if let Some(e) = &mut queue.in_execution {
            e.orphan = true;
        }
        let owner = queue.served.take().expect("it was running for an owner");
        self.refresh(q);
        self.settle_vintf(owner.vintf);
        self.settle_block();
    }

    /// K10: registers return to their reset values.
    fn clear(&mut self, q: u16) {
        let old = std::mem::take(self.queue_mut(q));
        let queue = self.queue_mut(q);
        (queue.slot, queue.stale) = (old.slot, old.stale);
    }

    /// CONS has a new value.
    pub(super) fn cons_changed(&mut self, q: u16) {
        let on = self.fields.cons_dram_en();
        let queue = self.queue_mut(q);
        queue.write_back_due = on && queue.cons_base != 0;
    }

    /// Fetching, write-back, the aborted head, the ready bit.
    fn pump(&mut self, q: u16) {
        let go = self.may_progress(q);
        if go && self.queue(q).head_aborted() {
            let owner = self.queue(q).served.expect("it runs for an owner");
            self.command_error(q, owner, CommandError::CERROR_ABT, None);
        }
        while go
            && let Some((addr, count)) = self.queue(q).next_fetch(self.config.burst, self.config.prefetch)
        {
            let ticket = self.issue(Pending::Fetch(q));
            self.queue_mut(q).fetch_sent(ticket, count);
            let len = count as usize * Command::BYTES;
            let metrics = &mut self.metrics.queues[usize::from(q)];
            metrics.fetches += 1;
            metrics.fetched_bytes += len as u64;
            self.effects.push_back(Effect::Fetch { ticket, addr, len: len as u8 });
        }
        let queue = self.queue(q);
        if queue.write_back_due && !queue.writing_back {
            let addr = CONS_INDX_BASE(queue.cons_base).addr() & !3;
            let value = queue.cons_register().0 as u32;
            let ticket = self.issue(Pending::WriteBack(q));
            let queue = self.queue_mut(q);
            queue.write_back_due = false;
            queue.writing_back = true;
            self.metrics.queues[usize::from(q)].write_backs += 1;
            self.effects.push_back(Effect::WriteBack { ticket, addr, value });
        }
        let ready = go && self.queue(q).is_ready();
        self.ready.set(q.into(), ready);
    }
}

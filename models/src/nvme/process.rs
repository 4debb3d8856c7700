//! Doorbells: fetching commands, posting completions, telling the host.

use super::io::Outcome;
use super::layout::{CQE, Completion, INTMS, SQE, Status, Submission};
use super::log::{ErrorEntry, Event};
use super::port::{Port, Storage};
use super::queue::{BadDoorbell, CompletionQueue, SubmissionQueue};
use super::{Controller, PAGE_LOG2_MIN};

/// Most entries of one fetch.
pub(super) const BATCH: usize = 16;

impl<S: Storage> Controller<S> {
    /// A write to doorbell `index`: even ones are tails of submission queues, odd ones heads of completion queues.
    pub(super) fn ring<P: Port + ?Sized>(&mut self, index: u32, value: u32, port: &mut P) {
        if !self.is_running() {
            return;
        }
        let queue = (index / 2) as usize;
        let is_completion = index % 2 == 1;
        let rung = if is_completion {
            let found = self.completion.get_mut(queue).and_then(Option::as_mut);
            found.map_or(Err(BadDoorbell::Register), |queue| queue.ring(value))
        } else {
            let found = self.submission.get_mut(queue).and_then(Option::as_mut);
            found.map_or(Err(BadDoorbell::Register), |queue| queue.ring(value))
        };
        match rung {
            Ok(()) if is_completion => self.serve_all(queue as u16, port),
            Ok(()) => self.serve(queue as u16, port),
            Err(bad) => {
                self.counters.bad_doorbells += 1;
                self.events.raise(match bad {
                    BadDoorbell::Register => Event::InvalidDoorbellRegister,
                    BadDoorbell::Value => Event::InvalidDoorbellValue,
                });
                self.post_events(0, port);
                self.tell(0, port);
            }
        }
    }

    /// The host has made room in a completion queue.
    fn serve_all<P: Port + ?Sized>(&mut self, cqid: u16, port: &mut P) {
        if cqid == 0 {
            self.post_events(0, port);
            self.tell(0, port);
        }
        for sqid in 0..self.submission.len() as u16 {
            if self.submission[usize::from(sqid)].is_some_and(|queue| queue.cq == cqid && queue.waiting() > 0)
            {
                self.serve(sqid, port);
            }
        }
    }

    /// Works through a submission queue until it is empty or its completion queue is full.
    fn serve<P: Port + ?Sized>(&mut self, sqid: u16, port: &mut P) {
        let mut entries = std::mem::take(&mut self.buffers.entries);
        while self.is_running() {
            let count = self.fetch(sqid, &mut entries, port);
            if count == 0 {
                break;
            }
            for raw in entries.as_chunks::<SQE>().0.iter().take(count) {
                self.execute(sqid, &Submission::from_bytes(raw), port);
            }
        }
        self.buffers.entries = entries;
        self.post_events(0, port);
        if let Some(queue) = self.submission[usize::from(sqid)] {
            self.tell(queue.cq, port);
        }
        if sqid != 0 {
            self.tell(0, port);
        }
    }

    /// Fetches what is waiting and can be completed, up to the end of a page; how many entries.
    fn fetch<P: Port + ?Sized>(&mut self, sqid: u16, entries: &mut [u8], port: &mut P) -> usize {
        let Some((sq, cq)) = self.pair(sqid) else { return 0 };
        let page = 1 << PAGE_LOG2_MIN;
        let at = sq.next();
        // Admin commands can post more than their own completion: room is looked at before each.
        let most = if sqid == 0 { 1 } else { BATCH as u32 };
        let count = sq
            .waiting()
            .min(cq.room())
            .min(sq.size - sq.head)
            .min(((page - at % page) / SQE as u64) as u32)
            .min(most) as usize;
        if count > 0 && port.dma_read(at, &mut entries[..count * SQE]).is_err() {
            self.fail();
            return 0;
        }
        count
    }

    fn pair(&mut self, sqid: u16) -> Option<(&mut SubmissionQueue, &mut CompletionQueue)> {
        let sq = self.submission.get_mut(usize::from(sqid))?.as_mut()?;
        let cq = self.completion.get_mut(usize::from(sq.cq))?.as_mut()?;
        Some((sq, cq))
    }

    fn execute<P: Port + ?Sized>(&mut self, sqid: u16, command: &Submission, port: &mut P) {
        if !self.is_running() {
            return;
        }
        if let Some(queue) = &mut self.submission[usize::from(sqid)] {
            queue.advance();
        }
        let opcode = command.opcode() as u8;
        self.counters.count(sqid == 0, opcode);
        let plain = command.fuse() == 0 && command.psdt() == 0;
        let outcome = match (plain, sqid) {
            (false, _) => Err(Status::INVALID_FIELD),
            (true, 0) => self.admin(command, port),
            (true, _) => self.io(command, port),
        };
        let cid = command.cid() as u16;
        match outcome {
            Ok(Outcome::Done(dw0)) => self.post(sqid, cid, dw0, Status::SUCCESS, port),
            Ok(Outcome::Held) => {}
            Err(status) => {
                let entry = ErrorEntry {
                    sqid,
                    cid,
                    status: status.0 | u16::from(status.is_final()) << 14,
                    lba: if sqid == 0 { 0 } else { command.slba() },
                    nsid: command.nsid() as u32,
                };
                self.errors.add(entry);
                self.counters.errors += 1;
                self.post(sqid, cid, 0, status, port);
            }
        }
        if sqid == 0 {
            self.post_events(0, port);
        }
    }

    /// Ends Asynchronous Event Requests as far as there are events, and more than `spare` entries of room.
    pub(super) fn post_events<P: Port + ?Sized>(&mut self, spare: u32, port: &mut P) {
        while self.is_running() && self.completion[0].is_some_and(|queue| queue.room() > spare) {
            let Some((cid, dw0, status)) = self.events.next() else { return };
            self.post(0, cid, dw0, status, port);
        }
    }

    /// Writes a completion queue entry; there is room.
    fn post<P: Port + ?Sized>(&mut self, sqid: u16, cid: u16, dw0: u32, status: Status, port: &mut P) {
        let Some((sq, cq)) = self.pair(sqid) else { return };
        let (at, phase) = cq.push();
        let entry = Completion::default()
            .with_dw0(dw0.into())
            .with_sqhd(sq.head.into())
            .with_sqid(sqid.into())
            .with_cid(cid.into())
            .with_phase(phase)
            .with_status(status.0.into())
            .with_dnr(status.is_final());
        let raw: [u8; CQE] = entry.to_bytes();
        if port.dma_write(at, &raw).is_err() {
            self.fail();
        }
    }

    /// Sends the interrupt of a completion queue, if it is due and not masked (INTMS has the first 32 vectors).
    fn tell<P: Port + ?Sized>(&mut self, cqid: u16, port: &mut P) {
        let masks = self.registers.get::<INTMS>().ivms();
        let Some(queue) = &mut self.completion[usize::from(cqid)] else { return };
        let Some(vector) = queue.vector else { return };
        let masked = vector < 32 && masks & 1 << vector != 0;
        if queue.untold && !masked {
            queue.untold = false;
            self.counters.interrupts += 1;
            port.interrupt(vector);
        }
    }

    /// Interrupts that masks have held back.
    pub(super) fn tell_all<P: Port + ?Sized>(&mut self, port: &mut P) {
        for cqid in 0..self.completion.len() as u16 {
            self.tell(cqid, port);
        }
    }
}

//! An NVMe-like disk: one queue pair in memory, doorbells and MSI-X in the BAR, blocks in a sparse store.
//!
//! ```text
//!   doorbell --> fetch SQE --> write: read PRPs --> disk --+--> CQE --> MSI
//!                         \--> read:  disk --> write PRPs -+
//! ```
//! A subset of NVM Express: the queue pair that AQA, ASQ and ACQ describe takes Flush, Read and Write directly; at most
//! two PRPs, no lists, no admin commands. A completion entry is written once the data is visible, and the MSI is sent
//! once the entry is.

pub mod layout;

use std::collections::VecDeque;

use self::layout::{BLOCK, CQE, Completion, PAGE, SQE, Status, Submission};
use super::engine::{Engine, Finished, Transfer, Work};
use super::{Context, DiskTiming, In, Message};
use crate::memory::PhysMem;

/// An NVMe-like disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NvmeConfig {
    /// Its size in blocks of 512 bytes.
    pub blocks: u64,
    /// Commands that it works on at once, at least one.
    pub parallel: u16,
    /// What its storage costs.
    pub timing: DiskTiming,
}

impl Default for NvmeConfig {
    /// 1 TiB, 32 commands at once.
    fn default() -> Self {
        Self { blocks: 1 << 31, parallel: 32, timing: DiskTiming::default() }
    }
}

#[derive(Debug)]
struct Command {
    submission: Submission,
    /// The pages' bytes, in order.
    parts: Vec<Part>,
    moving: u8,
    failed: bool,
}

#[derive(Debug)]
struct Part {
    iova: u64,
    data: Vec<u8>,
}

#[derive(Debug)]
enum Slot {
    Free,
    Fetching,
    Running(Command),
}

#[derive(Debug)]
pub(super) struct Nvme {
    config: NvmeConfig,
    disk: PhysMem,
    registers: Registers,
    queues: Queues,
    slots: Vec<Slot>,
    /// Command identifier and status, in the order of ending.
    ended: VecDeque<(u16, Status)>,
    /// A completion entry is on its way.
    posting: bool,
    /// Transfers and timers that will still be heard of.
    outstanding: u32,
}

#[derive(Debug, Default)]
struct Registers {
    cc: u32,
    ready: bool,
    fatal: bool,
    /// CC.EN was cleared, and something is still on its way.
    resetting: bool,
    aqa: u32,
    asq: u64,
    acq: u64,
    message: Message,
    masked: bool,
}

#[derive(Debug, Default)]
struct Queues {
    sq_size: u32,
    sq_head: u32,
    sq_tail: u32,
    cq_size: u32,
    cq_head: u32,
    cq_tail: u32,
    phase: bool,
}

impl Nvme {
    pub(super) fn new(config: NvmeConfig) -> Self {
        Self {
            disk: PhysMem::new(),
            registers: Registers { masked: true, ..Registers::default() },
            queues: Queues::default(),
            slots: (0..config.parallel.max(1)).map(|_| Slot::Free).collect(),
            ended: VecDeque::new(),
            posting: false,
            outstanding: 0,
            config,
        }
    }
    /// The blocks, as bytes.
    pub(super) fn disk(&self) -> &PhysMem {
        &self.disk
    }
    pub(super) fn disk_mut(&mut self) -> &mut PhysMem {
        &mut self.disk
    }

    pub(super) fn read(&self, offset: u64) -> u32 {
        let r = &self.registers;
        match offset {
            layout::CAP => low(layout::CAP_VALUE),
            HIGH_CAP => high(layout::CAP_VALUE),
            layout::VS => layout::VS_VALUE,
            layout::CC => r.cc,
            layout::CSTS => (u32::from(r.ready) * layout::CSTS_RDY) | (u32::from(r.fatal) * layout::CSTS_CFS),
            layout::AQA => r.aqa,
            layout::ASQ => low(r.asq),
            HIGH_ASQ => high(r.asq),
            layout::ACQ => low(r.acq),
            HIGH_ACQ => high(r.acq),
            layout::MSIX => low(r.message.addr),
            HIGH_MSIX => high(r.message.addr),
            MSIX_DATA => r.message.data,
            MSIX_CONTROL => u32::from(r.masked) * layout::MSIX_MASKED,
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, offset: u64, value: u32, engine: &mut Engine) {
        let r = &mut self.registers;
        match offset {
            layout::CC => {
                r.resetting |= r.ready && value & layout::CC_EN == 0;
                r.cc = value;
            }
            layout::AQA => r.aqa = value,
            layout::ASQ => set_low(&mut r.asq, value & !(PAGE as u32 - 1)),
            HIGH_ASQ => set_high(&mut r.asq, value),
            layout::ACQ => set_low(&mut r.acq, value & !(PAGE as u32 - 1)),
            HIGH_ACQ => set_high(&mut r.acq, value),
            layout::MSIX => set_low(&mut r.message.addr, value & !3),
            HIGH_MSIX => set_high(&mut r.message.addr, value),
            MSIX_DATA => r.message.data = value,
            MSIX_CONTROL => r.masked = value & layout::MSIX_MASKED != 0,
            // A doorbell beyond its queue is ignored.
            layout::SQ_TAIL if r.ready && value < self.queues.sq_size => self.queues.sq_tail = value,
            layout::CQ_HEAD if r.ready && value < self.queues.cq_size => self.queues.cq_head = value,
            _ => {}
        }
        self.advance(engine);
    }

    fn enabled(&self) -> bool {
        self.registers.cc & layout::CC_EN != 0
    }
    fn running(&self) -> bool {
        let r = &self.registers;
        r.ready && !r.resetting && !r.fatal
    }

    /// Does what can be done: follow CC.EN, fetch commands, post completions.
    fn advance(&mut self, engine: &mut Engine) {
        let r = &self.registers;
        if (r.resetting || self.enabled() != r.ready) && self.outstanding == 0 {
            self.reset();
        }
        if self.running() {
            self.post(engine);
            self.fetch(engine);
        }
    }

    /// CC.EN has changed and nothing is on its way any more.
    fn reset(&mut self) {
        let (sq_size, cq_size) = layout::queue_sizes(self.registers.aqa);
        self.queues = Queues { sq_size, cq_size, phase: true, ..Queues::default() };
        self.slots.iter_mut().for_each(|slot| *slot = Slot::Free);
        self.ended.clear();
        self.posting = false;
        self.registers.fatal = false;
        self.registers.resetting = false;
        self.registers.ready = self.enabled();
    }

    fn transfer(&mut self, work: Work, iova: u64, len: usize, pattern: Option<&[u8]>, engine: &mut Engine) {
        self.outstanding += 1;
        let write = pattern.is_some();
        let pattern = pattern.unwrap_or_default().to_vec();
        engine.start(Transfer { write, iova, len: len as u32, pattern, ..Transfer::of_device(work) });
    }

    fn fetch(&mut self, engine: &mut Engine) {
        while self.queues.sq_head != self.queues.sq_tail {
            let Some(slot) = self.slots.iter().position(|slot| matches!(slot, Slot::Free)) else { return };
            self.slots[slot] = Slot::Fetching;
            let iova = self.registers.asq.wrapping_add(u64::from(self.queues.sq_head) * SQE as u64);
            self.queues.sq_head = (self.queues.sq_head + 1) % self.queues.sq_size;
            self.transfer(Work::Fetch { slot: slot as u16 }, iova, SQE, None, engine);
        }
    }

    pub(super) fn finished(&mut self, work: Work, finished: Finished, engine: &mut Engine, cx: &mut Context) {
        self.outstanding -= 1;
        if self.running() {
            match work {
                Work::Fetch { .. } | Work::Post if finished.aborted => self.registers.fatal = true,
                Work::Fetch { slot } => self.begin(slot, &finished.data, engine, cx),
                Work::Move { slot, part } => self.moved(slot, part, finished, engine, cx),
                Work::Post => {
                    self.posting = false;
                    self.interrupt(engine);
                }
                Work::Message | Work::Chunk { .. } => {}
            }
        }
        self.advance(engine);
    }

    /// The storage is done with a command.
    pub(super) fn timer(&mut self, slot: u16, engine: &mut Engine) {
        self.outstanding -= 1;
        if self.running() {
            let command = self.command(slot);
            let first = command.submission.slba * BLOCK;
            if command.submission.opcode == layout::READ {
                let mut parts = std::mem::take(&mut command.parts);
                let mut at = first;
                for part in &mut parts {
                    self.disk.read(at, &mut part.data);
                    at += part.data.len() as u64;
                }
                self.command(slot).parts = parts;
                self.move_parts(slot, engine);
            } else {
                let parts = std::mem::take(&mut command.parts);
                let mut at = first;
                for part in &parts {
                    self.disk.write(at, &part.data);
                    at += part.data.len() as u64;
                }
                self.end(slot, Status::Success, engine);
            }
        }
        self.advance(engine);
    }

    fn command(&mut self, slot: u16) -> &mut Command {
        match &mut self.slots[usize::from(slot)] {
            Slot::Running(command) => command,
            other => panic!("slot {slot} is {other:?}"),
        }
    }

    /// A command has been fetched.
    fn begin(&mut self, slot: u16, raw: &[u8], engine: &mut Engine, cx: &mut Context) {
        let raw: &[u8; SQE] = raw.try_into().expect("the whole entry was read");
        let submission = Submission::decode(raw);
        let parts = self.parts(&submission);
        let (parts, status) = match parts {
            Ok(parts) => (parts, None),
            Err(status) => (Vec::new(), Some(status)),
        };
        self.slots[usize::from(slot)] =
            Slot::Running(Command { submission, parts, moving: 0, failed: false });
        engine.counters.commands += 1;
        match (status, submission.opcode) {
            (Some(status), _) => self.end(slot, status, engine),
            (None, layout::READ) => self.store(slot, cx),
            (None, layout::WRITE) => self.move_parts(slot, engine),
            (None, _) => self.end(slot, Status::Success, engine),
        }
    }

    /// Checks a command and cuts its buffer into pages.
    fn parts(&self, submission: &Submission) -> Result<Vec<Part>, Status> {
        let Submission { opcode, nsid, prp1, prp2, slba, nlb, .. } = *submission;
        if !matches!(opcode, layout::FLUSH | layout::READ | layout::WRITE) {
            return Err(Status::InvalidOpcode);
        }
        if nsid != 1 {
            return Err(Status::InvalidNamespace);
        }
        if opcode == layout::FLUSH {
            return Ok(Vec::new());
        }
        let blocks = u64::from(nlb) + 1;
        if slba.checked_add(blocks).is_none_or(|end| end > self.config.blocks) {
            return Err(Status::LbaOutOfRange);
        }
        let len = blocks * BLOCK;
        let first = len.min(PAGE - prp1 % PAGE);
        let second = len - first;
        if second > PAGE {
            return Err(Status::InvalidField);
        }
        if !prp1.is_multiple_of(4) || (second > 0 && !prp2.is_multiple_of(PAGE)) {
            return Err(Status::InvalidPrpOffset);
        }
        let part = |iova, len| Part { iova, data: vec![0; len as usize] };
        let mut parts = vec![part(prp1, first)];
        if second > 0 {
            parts.push(part(prp2, second));
        }
        Ok(parts)
    }

    /// Keeps the storage busy with a command.
    fn store(&mut self, slot: u16, cx: &mut Context) {
        let timing = self.config.timing;
        let read = self.command(slot).submission.opcode == layout::READ;
        self.outstanding += 1;
        cx.wake(if read { timing.read } else { timing.write }, In::Timer(slot.into()));
    }

    /// Moves the pages of a command between memory and the device.
    fn move_parts(&mut self, slot: u16, engine: &mut Engine) {
        let command = self.command(slot);
        let write = command.submission.opcode == layout::READ;
        command.moving = command.parts.len() as u8;
        let parts: Vec<(u64, Vec<u8>)> = command.parts.iter().map(|p| (p.iova, p.data.clone())).collect();
        for (part, (iova, data)) in parts.into_iter().enumerate() {
            let work = Work::Move { slot, part: part as u8 };
            self.transfer(work, iova, data.len(), write.then_some(&data[..]), engine);
        }
    }

    fn moved(&mut self, slot: u16, part: u8, finished: Finished, engine: &mut Engine, cx: &mut Context) {
        let command = self.command(slot);
        command.moving -= 1;
        command.failed |= finished.aborted;
        let write = command.submission.opcode == layout::WRITE;
        if write && !finished.aborted {
            command.parts[usize::from(part)].data = finished.data;
        }
        match (command.moving, command.failed) {
            (0, true) => self.end(slot, Status::DataTransfer, engine),
            (0, false) if write => self.store(slot, cx),
            (0, false) => self.end(slot, Status::Success, engine),
            _ => {}
        }
    }

    fn end(&mut self, slot: u16, status: Status, engine: &mut Engine) {
        let cid = self.command(slot).submission.cid;
        engine.counters.command_errors += u64::from(status != Status::Success);
        self.slots[usize::from(slot)] = Slot::Free;
        self.ended.push_back((cid, status));
    }

    /// Writes one completion entry at a time, so that they become visible in order.
    fn post(&mut self, engine: &mut Engine) {
        let q = &mut self.queues;
        let next = (q.cq_tail + 1) % q.cq_size;
        if self.posting || next == q.cq_head {
            return;
        }
        let Some((cid, status)) = self.ended.pop_front() else { return };
        let entry = Completion { sq_head: q.sq_head as u16, cid, phase: q.phase, status: status as u8 };
        let iova = self.registers.acq.wrapping_add(u64::from(q.cq_tail) * CQE as u64);
        q.phase ^= next == 0;
        q.cq_tail = next;
        self.posting = true;
        self.transfer(Work::Post, iova, CQE, Some(&entry.encode()), engine);
    }

    fn interrupt(&mut self, engine: &mut Engine) {
        if !self.registers.masked {
            self.outstanding += 1;
            self.registers.message.send(engine);
        }
    }
}

const HIGH_CAP: u64 = layout::CAP + 4;
const HIGH_ASQ: u64 = layout::ASQ + 4;
const HIGH_ACQ: u64 = layout::ACQ + 4;
const HIGH_MSIX: u64 = layout::MSIX + 4;
const MSIX_DATA: u64 = layout::MSIX + 8;
const MSIX_CONTROL: u64 = layout::MSIX + 12;

pub(super) fn low(value: u64) -> u32 {
    value as u32
}
pub(super) fn high(value: u64) -> u32 {
    (value >> 32) as u32
}
pub(super) fn set_low(register: &mut u64, value: u32) {
    *register = *register >> 32 << 32 | u64::from(value);
}
pub(super) fn set_high(register: &mut u64, value: u32) {
    *register = u64::from(low(*register)) | u64::from(value) << 32;
}

#[cfg(test)]
mod test;

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

use spec::regs::Block;

use self::layout::{BLOCK, PAGE};
use super::engine::{Engine, Finished, Transfer, Work};
use super::{Context, DiskTiming, In, Message};
use crate::memory::PhysMem;
use crate::nvme::layout::{CC, CQE, CSTS, Completion, Opcode, Registers, SQE, Status, Submission};

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
    registers: State,
    queues: Queues,
    slots: Vec<Slot>,
    /// Command identifier and status, in the order of ending.
    ended: VecDeque<(u16, Status)>,
    /// A completion entry is on its way.
    posting: bool,
    /// Transfers and timers that will still be heard of.
    outstanding: u32,
}

/// What the registers hold.
#[derive(Debug, Default)]
struct State {
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
            registers: State { masked: true, ..State::default() },
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
        let half = |value, upper| if upper { high(value) } else { low(value) };
        match (offset, register(offset)) {
            (layout::MSIX, _) => low(r.message.addr),
            (HIGH_MSIX, _) => high(r.message.addr),
            (MSIX_DATA, _) => r.message.data,
            (MSIX_CONTROL, _) => u32::from(r.masked) * layout::MSIX_MASKED,
            (_, Some((Registers::CAP, upper))) => half(layout::CAPABILITIES.bits(), upper),
            (_, Some((Registers::VS, _))) => low(Registers::VS.desc().reset),
            (_, Some((Registers::CC, _))) => r.cc,
            (_, Some((Registers::CSTS, _))) => low(CSTS(0).with_rdy(r.ready).with_cfs(r.fatal).bits()),
            (_, Some((Registers::AQA, _))) => r.aqa,
            (_, Some((Registers::ASQ, upper))) => half(r.asq, upper),
            (_, Some((Registers::ACQ, upper))) => half(r.acq, upper),
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, offset: u64, value: u32, engine: &mut Engine) {
        let r = &mut self.registers;
        match (offset, register(offset)) {
            (layout::MSIX, _) => set_low(&mut r.message.addr, value & !3),
            (HIGH_MSIX, _) => set_high(&mut r.message.addr, value),
            (MSIX_DATA, _) => r.message.data = value,
            (MSIX_CONTROL, _) => r.masked = value & layout::MSIX_MASKED != 0,
            // A doorbell beyond its queue is ignored.
            (layout::SQ_TAIL, _) if r.ready && value < self.queues.sq_size => self.queues.sq_tail = value,
            (layout::CQ_HEAD, _) if r.ready && value < self.queues.cq_size => self.queues.cq_head = value,
            (_, Some((Registers::CC, _))) => {
                r.resetting |= r.ready && !CC(value.into()).en();
                r.cc = value;
            }
            (_, Some((Registers::AQA, _))) => r.aqa = value,
            (_, Some((Registers::ASQ, false))) => set_low(&mut r.asq, value & !(PAGE as u32 - 1)),
            (_, Some((Registers::ASQ, true))) => set_high(&mut r.asq, value),
            (_, Some((Registers::ACQ, false))) => set_low(&mut r.acq, value & !(PAGE as u32 - 1)),
            (_, Some((Registers::ACQ, true))) => set_high(&mut r.acq, value),
            _ => {}
        }
        self.advance(engine);
    }

    fn enabled(&self) -> bool {
        CC(self.registers.cc.into()).en()
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
            let first = command.submission.slba() * BLOCK;
            if opcode(&command.submission) == Opcode::READ {
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
                self.end(slot, Status::SUCCESS, engine);
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
        let submission = Submission::from_bytes(raw);
        let parts = self.parts(&submission);
        let (parts, status) = match parts {
            Ok(parts) => (parts, None),
            Err(status) => (Vec::new(), Some(status)),
        };
        self.slots[usize::from(slot)] =
            Slot::Running(Command { submission, parts, moving: 0, failed: false });
        engine.counters.commands += 1;
        match (status, opcode(&submission)) {
            (Some(status), _) => self.end(slot, status, engine),
            (None, Opcode::READ) => self.store(slot, cx),
            (None, Opcode::WRITE) => self.move_parts(slot, engine),
            (None, _) => self.end(slot, Status::SUCCESS, engine),
        }
    }

    /// Checks a command and cuts its buffer into pages.
    fn parts(&self, submission: &Submission) -> Result<Vec<Part>, Status> {
        let (prp1, prp2, slba) = (submission.prp1(), submission.prp2(), submission.slba());
        let opcode = opcode(submission);
        if !matches!(opcode, Opcode::FLUSH | Opcode::READ | Opcode::WRITE) {
            return Err(Status::INVALID_OPCODE);
        }
        if submission.nsid() != 1 {
            return Err(Status::INVALID_NAMESPACE);
        }
        if opcode == Opcode::FLUSH {
            return Ok(Vec::new());
        }
        let blocks = submission.nlb() + 1;
        if slba.checked_add(blocks).is_none_or(|end| end > self.config.blocks) {
            return Err(Status::LBA_OUT_OF_RANGE);
        }
        let len = blocks * BLOCK;
        let first = len.min(PAGE - prp1 % PAGE);
        let second = len - first;
        if second > PAGE {
            return Err(Status::INVALID_FIELD);
        }
        if !prp1.is_multiple_of(4) || (second > 0 && !prp2.is_multiple_of(PAGE)) {
            return Err(Status::PRP_OFFSET_INVALID);
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
        let read = opcode(&self.command(slot).submission) == Opcode::READ;
        self.outstanding += 1;
        cx.wake(if read { timing.read } else { timing.write }, In::Timer(slot.into()));
    }

    /// Moves the pages of a command between memory and the device.
    fn move_parts(&mut self, slot: u16, engine: &mut Engine) {
        let command = self.command(slot);
        let write = opcode(&command.submission) == Opcode::READ;
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
        let write = opcode(&command.submission) == Opcode::WRITE;
        if write && !finished.aborted {
            command.parts[usize::from(part)].data = finished.data;
        }
        match (command.moving, command.failed) {
            (0, true) => self.end(slot, Status::DATA_TRANSFER_ERROR, engine),
            (0, false) if write => self.store(slot, cx),
            (0, false) => self.end(slot, Status::SUCCESS, engine),
            _ => {}
        }
    }

    fn end(&mut self, slot: u16, status: Status, engine: &mut Engine) {
        let cid = self.command(slot).submission.cid() as u16;
        engine.counters.command_errors += u64::from(status != Status::SUCCESS);
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
        let entry = Completion::default()
            .with_sqhd(q.sq_head.into())
            .with_cid(cid.into())
            .with_phase(q.phase)
            .with_status(status.0.into());
        let iova = self.registers.acq.wrapping_add(u64::from(q.cq_tail) * CQE as u64);
        q.phase ^= next == 0;
        q.cq_tail = next;
        self.posting = true;
        self.transfer(Work::Post, iova, CQE, Some(&entry.to_bytes()), engine);
    }

    fn interrupt(&mut self, engine: &mut Engine) {
        if !self.registers.masked {
            self.outstanding += 1;
            self.registers.message.send(engine);
        }
    }
}

const HIGH_MSIX: u64 = layout::MSIX + 4;
const MSIX_DATA: u64 = layout::MSIX + 8;
const MSIX_CONTROL: u64 = layout::MSIX + 12;

fn opcode(submission: &Submission) -> Opcode {
    Opcode(submission.opcode() as u8)
}

/// The register at an offset, and whether it is its upper half.
fn register(offset: u64) -> Option<(Registers, bool)> {
    Registers::decode_word(u32::try_from(offset).ok()?)
}

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

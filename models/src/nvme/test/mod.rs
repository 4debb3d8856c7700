//! A host that drives the controller as the Linux driver does: its memory, and its side of the queues.

mod admin;
mod data;
mod garbage;
mod queues;
mod start;

use std::ops::Range;

use super::layout::{
    AQA, AdminOpcode, CC, CQE, CSTS, Completion, Opcode, Registers, SQE, Status, Submission,
    cq_head_doorbell, sq_tail_doorbell,
};
use super::*;
use crate::memory::PhysMem;

const PAGE: u64 = 4096;
/// Bytes of host memory; DMA beyond is refused.
const MEMORY: u64 = 64 << 20;
const ADMIN_SQ: u64 = 0x1_0000;
const ADMIN_CQ: u64 = 0x2_0000;
const ADMIN_ENTRIES: u32 = 32;
/// Where data goes.
const BUFFER: u64 = 32 << 20;
const DISK: u64 = 4 << 20;
/// Queue pairs of [`Driver::ready`].
const PAIRS: u16 = 2;
const IO_ENTRIES: u32 = 8;

/// Host memory and interrupts, by identity addresses.
#[derive(Debug, Default)]
struct Host {
    memory: PhysMem,
    refused: Vec<Range<u64>>,
    interrupts: Vec<u16>,
    accesses: usize,
    /// CC.MPS.
    mps: u64,
}

impl Host {
    fn check(&mut self, iova: u64, len: usize) -> Result<(), Refused> {
        let page = PAGE << self.mps;
        assert!(
            len > 0 && iova / page == (iova + len as u64 - 1) / page,
            "{iova:#x} + {len:#x} crosses a page"
        );
        self.accesses += 1;
        let free = iova < MEMORY && !self.refused.iter().any(|range| range.contains(&iova));
        free.then_some(()).ok_or(Refused)
    }
    fn bytes(&self, at: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(at, &mut bytes);
        bytes
    }
}

impl Port for Host {
    fn dma_read(&mut self, iova: u64, into: &mut [u8]) -> Result<(), Refused> {
        self.check(iova, into.len())?;
        self.memory.read(iova, into);
        Ok(())
    }
    fn dma_write(&mut self, iova: u64, bytes: &[u8]) -> Result<(), Refused> {
        self.check(iova, bytes.len())?;
        self.memory.write(iova, bytes);
        Ok(())
    }
    fn interrupt(&mut self, vector: u16) {
        self.interrupts.push(vector);
    }
}

/// The host's side of a queue pair.
#[derive(Clone, Copy, Debug)]
struct Pair {
    sq: u64,
    sq_entries: u32,
    tail: u32,
    cq: u64,
    cq_entries: u32,
    head: u32,
    phase: bool,
}

#[derive(Debug)]
struct Driver {
    controller: Controller<MemoryStorage>,
    host: Host,
    pairs: Vec<Pair>,
    cid: u16,
}

impl Driver {
    /// A controller that nobody has touched.
    fn new(config: Config) -> Self {
        let controller = Controller::new(config, MemoryStorage::new(DISK));
        Self { controller, host: Host::default(), pairs: Vec::new(), cid: 0 }
    }
    /// One that is enabled and has [`PAIRS`] queue pairs of [`IO_ENTRIES`] entries.
    fn ready() -> Self {
        Self::ready_with(Config::default())
    }
    fn ready_with(config: Config) -> Self {
        let mut driver = Self::new(config);
        driver.enable();
        for qid in 1..=PAIRS {
            driver.create(qid, IO_ENTRIES, IO_ENTRIES);
        }
        driver.host.interrupts.clear();
        driver
    }

    fn read32(&self, register: Registers) -> u32 {
        let mut raw = [0; 4];
        self.controller.read(register.offset().into(), &mut raw);
        u32::from_le_bytes(raw)
    }
    fn status(&self) -> CSTS {
        CSTS(self.read32(Registers::CSTS).into())
    }
    fn write32(&mut self, offset: u64, value: u32) {
        self.controller.write(offset, &value.to_le_bytes(), &mut self.host);
    }
    fn write_register(&mut self, register: Registers, value: u64) {
        let raw = value.to_le_bytes();
        let len = register.desc().bytes as usize;
        self.controller.write(register.offset().into(), &raw[..len], &mut self.host);
    }

    /// What Linux does to bring a controller up (`nvme_pci_configure_admin_queue`, `nvme_enable_ctrl`).
    fn enable(&mut self) {
        let disabled = CC(self.read32(Registers::CC).into()).with_en(false).with_shn(0);
        self.write_register(Registers::CC, disabled.bits());
        assert!(!self.status().rdy());
        let attributes =
            AQA(0).with_asqs(u64::from(ADMIN_ENTRIES - 1)).with_acqs(u64::from(ADMIN_ENTRIES - 1));
        self.write_register(Registers::AQA, attributes.bits());
        self.write_register(Registers::ASQ, ADMIN_SQ);
        self.write_register(Registers::ACQ, ADMIN_CQ);
        let cc = CC(0).with_iosqes(6).with_iocqes(4).with_mps(self.host.mps);
        self.write_register(Registers::CC, cc.bits());
        self.write_register(Registers::CC, cc.with_en(true).bits());
        assert_eq!(self.status(), CSTS(0).with_rdy(true));
        self.pairs = vec![self.pair(ADMIN_SQ, ADMIN_ENTRIES, ADMIN_CQ, ADMIN_ENTRIES)];
    }
    fn pair(&mut self, sq: u64, sq_entries: u32, cq: u64, cq_entries: u32) -> Pair {
        self.host.memory.zero(cq, u64::from(cq_entries) * CQE as u64);
        Pair { sq, sq_entries, tail: 0, cq, cq_entries, head: 0, phase: true }
    }
    /// Creates the queue pair `qid`, with that interrupt vector.
    fn create(&mut self, qid: u16, sq_entries: u32, cq_entries: u32) {
        assert_eq!(usize::from(qid), self.pairs.len());
        let sq = 0x10_0000 + u64::from(qid) * 0x2_0000;
        let pair = self.pair(sq, sq_entries, sq + 0x1_0000, cq_entries);
        self.pairs.push(pair);
        let create = |opcode: AdminOpcode, at, entries: u32| {
            command(opcode.0)
                .with_prp1(at)
                .with_qid(qid.into())
                .with_qsize((entries - 1).into())
                .with_pc(true)
        };
        for create in [
            create(AdminOpcode::CREATE_CQ, pair.cq, cq_entries).with_ien(true).with_iv(qid.into()),
            create(AdminOpcode::CREATE_SQ, pair.sq, sq_entries).with_cqid(qid.into()),
        ] {
            assert_eq!(self.run(0, create), Ok(0), "{create:?}");
        }
    }

    /// Puts a command into a queue without ringing its doorbell; returns its identifier.
    fn put(&mut self, qid: u16, command: Submission) -> u16 {
        let pair = &mut self.pairs[usize::from(qid)];
        self.cid = self.cid.wrapping_add(1);
        let entry = command.with_cid(self.cid.into());
        self.host.memory.write(pair.sq + u64::from(pair.tail) * SQE as u64, &entry.to_bytes());
        pair.tail = (pair.tail + 1) % pair.sq_entries;
        self.cid
    }
    fn ring(&mut self, qid: u16) {
        let tail = self.pairs[usize::from(qid)].tail;
        self.write32(sq_tail_doorbell(qid), tail);
    }
    fn submit(&mut self, qid: u16, command: Submission) -> u16 {
        let cid = self.put(qid, command);
        self.ring(qid);
        cid
    }
    /// The next entry that the controller has posted, if any.
    fn peek(&self, qid: u16) -> Option<Completion> {
        let pair = &self.pairs[usize::from(qid)];
        let entry =
            Completion::from_bytes(&self.host.bytes(pair.cq + u64::from(pair.head) * CQE as u64, CQE));
        (entry.phase() == pair.phase).then_some(entry)
    }
    /// Takes all entries that are there, and says so.
    fn reap(&mut self, qid: u16) -> Vec<Completion> {
        let mut entries = Vec::new();
        while let Some(entry) = self.peek(qid) {
            entries.push(entry);
            let pair = &mut self.pairs[usize::from(qid)];
            pair.head = (pair.head + 1) % pair.cq_entries;
            pair.phase ^= pair.head == 0;
        }
        let head = self.pairs[usize::from(qid)].head;
        if !entries.is_empty() {
            self.write32(cq_head_doorbell(qid), head);
        }
        entries
    }
    /// Runs one command to its end: dword 0, or how it failed.
    fn run(&mut self, qid: u16, command: Submission) -> Result<u32, Status> {
        let cid = self.submit(qid, command);
        let entries = self.reap(qid);
        let [entry] = entries[..] else { panic!("one completion, not {entries:?}") };
        assert_eq!((entry.cid(), entry.sqid()), (u64::from(cid), u64::from(qid)));
        match Status(entry.status() as u16) {
            Status::SUCCESS => Ok(entry.dw0() as u32),
            status => {
                assert_eq!(entry.dnr(), status.is_final(), "{status}");
                Err(status)
            }
        }
    }
}

fn command(opcode: u8) -> Submission {
    Submission::default().with_opcode(opcode.into())
}
/// An NVM command for the first `blocks` blocks, with its data in consecutive pages from [`BUFFER`] on.
fn io(opcode: Opcode, blocks: u64) -> Submission {
    command(opcode.0).with_nsid(1).with_nlb(blocks - 1).with_prp1(BUFFER).with_prp2(BUFFER + PAGE)
}

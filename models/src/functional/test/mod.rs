//! A pSMMU without time over plain memory. Tables, addresses and the boot sequence are those of the rig with time, so that
//! the two can be compared.

mod cmdqv;
mod commands;
mod dma;
mod equal;
mod faults;
mod optional;
mod pages;

use std::collections::BTreeSet;

use sim::Time;
use spec::smmu::{Command, EventRecord, Opcode, Ste, ste};

use super::{DmaError, FunctionalSmmu, Stream, Surroundings};
use crate::bus::{Abort, Data, PhysAddr, Requester};
use crate::dma::{AtcInvalidate, PageResponse};
use crate::memory::PhysMem;
use crate::psmmu::PsmmuConfig;
use crate::psmmu::test::{
    BASE, BROKEN, CMDQ_CONS, CMDQ_PROD, CMDQEN, CMDQV, COMMANDS, CR0, CR0ACK, DOORBELL, EVENTQ_CONS,
    EVENTQ_PROD, EVENTQEN, EVENTS, GERROR, GERRORN, PAGE_REQUESTS, PAGES, PMCG, PRIQ_BASE, PRIQ_CONS,
    PRIQ_IRQ_CFG0, PRIQ_IRQ_CFG2, PRIQ_PROD, PRIQEN, QUEUE_LOG2, SMMUEN, STREAM, STREAMS, TABLES, VMID, leaf,
    lines, tables,
};
use crate::record::Record;
use crate::smmu::IdrProfile;

/// What the test puts around a pSMMU.
pub(super) struct World {
    pub(super) memory: PhysMem,
    /// Lines where memory aborts.
    pub(super) aborts: BTreeSet<u64>,
    /// Whether endpoints answer invalidations.
    pub(super) atc_answers: bool,
    pub(super) records: Vec<Record>,
    pub(super) invalidations: Vec<AtcInvalidate>,
    pub(super) page_responses: Vec<PageResponse>,
    pub(super) interrupts: Vec<u32>,
    /// Writes of the SMMU itself and of devices.
    pub(super) writes: Vec<(u64, Vec<u8>)>,
    /// Reads, by length.
    pub(super) reads: Vec<(u64, usize)>,
}

impl World {
    fn new() -> Self {
        Self {
            memory: PhysMem::new(),
            aborts: BTreeSet::new(),
            atc_answers: true,
            records: Vec::new(),
            invalidations: Vec::new(),
            page_responses: Vec::new(),
            interrupts: Vec::new(),
            writes: Vec::new(),
            reads: Vec::new(),
        }
    }
    fn check(&self, addr: PhysAddr, len: usize) -> Result<(), Abort> {
        assert!(len > 0 && addr % 4096 + len as u64 <= 4096, "{len} bytes at {addr:#x} are within a page");
        let aborted = self.aborts.range(addr & !63..addr + len as u64).next().is_some();
        if aborted { Err(Abort) } else { Ok(()) }
    }
}

impl Surroundings for World {
    fn read(&mut self, addr: PhysAddr, into: &mut [u8]) -> Result<(), Abort> {
        self.check(addr, into.len())?;
        self.reads.push((addr, into.len()));
        self.memory.read(addr, into);
        Ok(())
    }
    fn write(&mut self, addr: PhysAddr, bytes: &[u8]) -> Result<(), Abort> {
        self.check(addr, bytes.len())?;
        self.writes.push((addr, bytes.to_vec()));
        self.memory.write(addr, bytes);
        self.records.push(Record::MemoryWrite {
            by: Requester::Psmmu(0),
            addr,
            data: Data::new(&bytes[..bytes.len().min(64)]),
        });
        Ok(())
    }
    fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort> {
        self.check(addr, 8)?;
        Ok(self.memory.compare_swap(addr, expected, new))
    }
    fn edge(&mut self, intid: u32) {
        self.interrupts.push(intid);
    }
    fn invalidate_atc(&mut self, invalidate: AtcInvalidate) -> bool {
        self.invalidations.push(invalidate);
        self.atc_answers
    }
    fn page_response(&mut self, response: PageResponse) {
        self.page_responses.push(response);
    }
    fn now(&self) -> Time {
        Time::ns(self.records.len() as u64)
    }
    fn record(&mut self, record: Record) {
        self.records.push(record);
    }
}

/// The machine.
pub(super) struct Bench {
    pub(super) smmu: FunctionalSmmu,
    pub(super) world: World,
    pub(super) prod: u32,
}

impl Bench {
    pub(super) fn with(edit: impl FnOnce(&mut PsmmuConfig)) -> Self {
        let mut config = PsmmuConfig::new(0, BASE);
        config.lines = lines();
        edit(&mut config);
        let smmu = FunctionalSmmu::new(config).expect("a good configuration");
        let mut world = World::new();
        tables(&mut world.memory);
        Self { smmu, world, prod: 0 }
    }
    /// Tables in memory, everything enabled, interrupts by wire.
    pub(super) fn booted_with(edit: impl FnOnce(&mut PsmmuConfig)) -> Self {
        let mut bench = Self::with(edit);
        bench.boot();
        bench.world.records.clear();
        bench
    }
    pub(super) fn booted() -> Self {
        Self::booted_with(|_| ())
    }
    /// [`Bench::booted`] with a stream whose stage-2 faults stall.
    pub(super) fn stalling() -> Self {
        let mut bench = Self::booted_with(|c| c.idr = IdrProfile::STALLING);
        bench.ste(|ste| ste.with_s2s(true).with_eats(0));
        bench
    }

    /// The order of a driver's reset sequence.
    fn boot(&mut self) {
        self.update(CR0, CR0ACK, 0);
        self.write32(0x28, 0xd75);
        self.write32(0x2c, 2);
        self.write64(0x80, STREAMS);
        self.write32(0x88, 4);
        self.write64(0x90, COMMANDS | QUEUE_LOG2);
        self.write32(CMDQ_PROD, 0);
        self.write32(CMDQ_CONS, 0);
        self.update(CR0, CR0ACK, CMDQEN);
        self.submit(&[Command::cfgi_all(), Command::sync()]);
        self.submit(&[Command::tlbi_nsnh_all(), Command::sync()]);
        self.write64(0xa0, EVENTS | QUEUE_LOG2);
        self.write32(EVENTQ_PROD, 0);
        self.write32(EVENTQ_CONS, 0);
        self.update(CR0, CR0ACK, CMDQEN | EVENTQEN);
        self.update(0x50, 0x54, 5);
        self.update(CR0, CR0ACK, CMDQEN | EVENTQEN | SMMUEN);
    }
    /// An Update is over when the write returns.
    pub(super) fn update(&mut self, register: u64, ack: u64, value: u32) {
        self.write32(register, value);
        assert_eq!(self.read32(ack), value);
    }

    pub(super) fn write_at(&mut self, addr: u64, value: u32) {
        self.smmu.write(addr, 4, value.into(), &mut self.world).expect("a register");
    }
    pub(super) fn read_at(&mut self, addr: u64) -> u32 {
        self.smmu.read(addr, 4, &mut self.world).expect("a register") as u32
    }
    pub(super) fn write32(&mut self, offset: u64, value: u32) {
        self.write_at(BASE + offset, value);
    }
    pub(super) fn write64(&mut self, offset: u64, value: u64) {
        self.smmu.write(BASE + offset, 8, value, &mut self.world).expect("a register");
    }
    pub(super) fn read32(&mut self, offset: u64) -> u32 {
        self.read_at(BASE + offset)
    }

    /// Writes commands to the queue and rings.
    pub(super) fn submit(&mut self, commands: &[Command]) {
        for command in commands {
            self.world.memory.write(self.next_slot(), &command.to_bytes());
            self.prod = (self.prod + 1) & ((2 << QUEUE_LOG2) - 1);
        }
        self.write32(CMDQ_PROD, self.prod);
    }
    /// The slot that the next command will take.
    pub(super) fn next_slot(&self) -> u64 {
        COMMANDS + 16 * (u64::from(self.prod) & ((1 << QUEUE_LOG2) - 1))
    }
    /// CONS.RD, CONS.ERR.
    pub(super) fn cons(&mut self) -> (u32, u32) {
        let cons = self.read32(CMDQ_CONS);
        (cons & 0xf_ffff, cons >> 24)
    }

    pub(super) fn dma_read(&mut self, stream: Stream, iova: u64, len: usize) -> Result<Vec<u8>, DmaError> {
        let mut bytes = vec![0xee; len];
        self.smmu.dma_read(stream, iova, &mut bytes, &mut self.world).map(|()| bytes)
    }
    pub(super) fn dma_write(&mut self, stream: Stream, iova: u64, bytes: &[u8]) -> Result<(), DmaError> {
        self.smmu.dma_write(stream, iova, bytes, &mut self.world)
    }
    /// Eight bytes read by the stream behind stage 2.
    pub(super) fn read_page(&mut self, page: u64) -> Result<u64, DmaError> {
        let bytes = self.dma_read(Stream::new(STREAM), page << 12, 8)?;
        Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    }
    /// Points input page `page` at `pa`.
    pub(super) fn map(&mut self, page: u64, pa: u64) {
        self.world.memory.write_u64(TABLES + 0x2000 + page * 8, leaf(pa));
    }
    pub(super) fn unmap(&mut self, page: u64) {
        self.world.memory.write_u64(TABLES + 0x2000 + page * 8, 0);
    }
    /// Changes the STE of [`STREAM`].
    pub(super) fn ste(&mut self, edit: impl FnOnce(Ste) -> Ste) {
        let at = STREAMS + 64 * u64::from(STREAM);
        let ste = Ste::from_bytes(self.world.memory.read_data(at, 64).bytes());
        self.world.memory.write(at, &edit(ste).to_bytes());
    }

    pub(super) fn events(&self) -> Vec<EventRecord> {
        let written =
            |r: &Record| if let Record::EventWritten { record, .. } = r { Some(*record) } else { None };
        self.world.records.iter().filter_map(written).collect()
    }
    /// How often CONS passed a command of this opcode.
    pub(super) fn consumed(&self, op: Opcode) -> usize {
        let passed = |r: &&Record| matches!(r, Record::CommandConsumed { raw, .. } if raw.op() == op);
        self.world.records.iter().filter(passed).count()
    }
    pub(super) fn metric(&self, name: &str) -> u64 {
        let rows = self.smmu.metrics();
        rows.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no metric {name}")).1
    }
}

const ABORTED: DmaError = DmaError::Aborted { done: 0 };

//! A pSMMU with memory of fixed latency around it, driven by the event queue.

mod cmdqv;
mod commands;
mod dma;
mod faults;
mod optional;
mod pages;
mod pmcg;
mod trace;

use std::collections::BTreeSet;

use sim::{Component, Cx, DomainId, Queue, Time};
use spec::smmu::{Command, EventRecord, Opcode, PageRequest, Ste, descriptor, ste};

use super::{In, Out, Psmmu, PsmmuConfig};
use crate::bus::{Abort, Data, Op, Requester, Transaction};
use crate::dma::{AddressType, AtcInvalidate, DmaCompletion, DmaRequest, DmaResult, Incoming, PageResponse};
use crate::memory::PhysMem;
use crate::record::Record;
use crate::smmu::interrupts::Lines;

pub(crate) const BASE: u64 = 0x5000_0000;
pub(crate) const CMDQV: u64 = 0x5100_0000;
pub(crate) const PMCG: u64 = 0x5200_0000;
pub(crate) const STREAMS: u64 = 0x8000_0000;
pub(crate) const COMMANDS: u64 = 0x8010_0000;
pub(crate) const EVENTS: u64 = 0x8020_0000;
pub(crate) const TABLES: u64 = 0x8030_0000;
pub(crate) const PAGE_REQUESTS: u64 = 0x8040_0000;
/// Page `n` of the input space of [`STREAM`] is page `n` from here.
pub(crate) const PAGES: u64 = 0x9000_0000;
/// Doorbell for messages.
pub(crate) const DOORBELL: u64 = 0x800_0000;
/// A stream behind stage 2.
pub(crate) const STREAM: u32 = 5;
pub(crate) const VMID: u16 = 7;
/// A stream whose STE is invalid.
pub(crate) const BROKEN: u32 = 6;
/// log2 of the entries of both queues.
pub(crate) const QUEUE_LOG2: u64 = 3;

pub(crate) const CR0: u64 = 0x20;
pub(crate) const CR0ACK: u64 = 0x24;
pub(crate) const GERROR: u64 = 0x60;
pub(crate) const GERRORN: u64 = 0x64;
pub(crate) const CMDQ_PROD: u64 = 0x98;
pub(crate) const CMDQ_CONS: u64 = 0x9c;
pub(crate) const EVENTQ_PROD: u64 = 0x100a8;
pub(crate) const EVENTQ_CONS: u64 = 0x100ac;
pub(crate) const PRIQ_BASE: u64 = 0xc0;
pub(crate) const PRIQ_IRQ_CFG0: u64 = 0xd0;
pub(crate) const PRIQ_IRQ_CFG2: u64 = 0xdc;
pub(crate) const PRIQ_PROD: u64 = 0x100c8;
pub(crate) const PRIQ_CONS: u64 = 0x100cc;
pub(crate) const CMDQEN: u32 = 8;
pub(crate) const EVENTQEN: u32 = 4;
pub(crate) const PRIQEN: u32 = 2;
pub(crate) const SMMUEN: u32 = 1;

/// Where the wires of the SMMU go.
pub(crate) fn lines() -> Lines {
    Lines { eventq: Some(74), priq: Some(75), cmdq_sync: Some(76), gerror: Some(77) }
}

/// A Stream table with [`STREAM`], and its stage-2 tables for 16 pages.
pub(crate) fn tables(memory: &mut PhysMem) {
    let ste = Ste::default()
        .with_v(true)
        .with_config(ste::config::S2)
        .with_s2vmid(VMID.into())
        .with_s2t0sz(25)
        .with_s2sl0(1)
        .with_s2ps(5)
        .with_s2aa64(true)
        .with_s2r(true)
        .with_eats(1)
        .with_s2ttb(TABLES);
    memory.write(STREAMS + 64 * u64::from(STREAM), &ste.to_bytes());
    let table =
        |addr| descriptor::Table::default().with_valid(true).with_table(true).with_next4k(addr).words()[0];
    memory.write_u64(TABLES, table(TABLES + 0x1000));
    memory.write_u64(TABLES + 0x1000, table(TABLES + 0x2000));
    for page in 0..16 {
        memory.write_u64(TABLES + 0x2000 + page * 8, leaf(PAGES + (page << 12)));
    }
}

/// A stage-2 page descriptor that permits everything.
pub(crate) fn leaf(pa: u64) -> u64 {
    let leaf = descriptor::Leaf2::default().with_valid(true).with_page(true).with_memattr(0xf);
    leaf.with_s2ap(3).with_sh(3).with_af(true).with_oa(pa).words()[0]
}

#[derive(Debug)]
enum Event {
    Psmmu(In),
    Memory(Transaction),
}

/// The machine.
pub(crate) struct Bench {
    pub(crate) psmmu: Psmmu,
    pub(crate) memory: PhysMem,
    queue: Queue<Event>,
    cx: Cx<In, Out, Record>,
    /// How long memory takes.
    pub(crate) latency: Time,
    /// Accesses to [`PAGES`] take this much longer.
    pub(crate) data_delay: Time,
    /// Lines where memory aborts.
    pub(crate) aborts: BTreeSet<u64>,
    /// How long endpoints take to answer an invalidation; `None` for ever.
    pub(crate) atc_delay: Option<Time>,
    pub(crate) records: Vec<(Time, Record)>,
    pub(crate) completions: Vec<(Time, DmaCompletion)>,
    pub(crate) invalidations: Vec<AtcInvalidate>,
    pub(crate) page_responses: Vec<PageResponse>,
    pub(crate) interrupts: Vec<u32>,
    /// Writes of the SMMU itself and of endpoints, with the time of their effect.
    pub(crate) writes: Vec<(Time, u64, u64)>,
    answers: Vec<Data>,
    prod: u32,
    tag: u32,
}

impl Bench {
    pub(crate) fn with(edit: impl FnOnce(&mut PsmmuConfig)) -> Self {
        let mut config = PsmmuConfig::new(0, BASE);
        config.lines = lines();
        edit(&mut config);
        Self {
            psmmu: Psmmu::new(config).expect("a good configuration"),
            memory: PhysMem::new(),
            queue: Queue::new(DomainId(0)),
            cx: Cx::default(),
            latency: Time::ns(50),
            data_delay: Time::ZERO,
            aborts: BTreeSet::new(),
            atc_delay: Some(Time::us(1)),
            records: Vec::new(),
            completions: Vec::new(),
            invalidations: Vec::new(),
            page_responses: Vec::new(),
            interrupts: Vec::new(),
            writes: Vec::new(),
            answers: Vec::new(),
            prod: 0,
            tag: 0,
        }
    }

    /// Tables in memory, everything enabled, interrupts by wire.
    pub(crate) fn booted_with(edit: impl FnOnce(&mut PsmmuConfig)) -> Self {
        let mut bench = Self::with(edit);
        bench.build_tables();
        bench.boot();
        bench.records.clear();
        bench
    }
    pub(crate) fn booted() -> Self {
        Self::booted_with(|_| ())
    }

    pub(crate) fn build_tables(&mut self) {
        tables(&mut self.memory);
    }
    /// Points input page `page` at `pa`.
    pub(crate) fn map(&mut self, page: u64, pa: u64) {
        self.memory.write_u64(TABLES + 0x2000 + page * 8, leaf(pa));
    }
    pub(crate) fn unmap(&mut self, page: u64) {
        self.memory.write_u64(TABLES + 0x2000 + page * 8, 0);
    }

    /// The order of a driver's reset sequence.
    pub(crate) fn boot(&mut self) {
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
    pub(crate) fn update(&mut self, register: u64, ack: u64, value: u32) {
        self.write32(register, value);
        self.run();
        assert_eq!(self.read32(ack), value);
    }

    pub(crate) fn now(&self) -> Time {
        self.queue.now()
    }
    /// A register access; time stands still after its answer.
    pub(crate) fn access(&mut self, addr: u64, op: Op) -> Data {
        let transaction = Transaction::new(Requester::Cpu(0), 0, addr, op);
        self.queue.push(self.queue.now(), Event::Psmmu(In::Bus(transaction)));
        while self.answers.is_empty() {
            assert!(self.step(), "a register access is answered");
        }
        self.answers.remove(0)
    }
    pub(crate) fn write32(&mut self, offset: u64, value: u32) {
        self.write_at(BASE + offset, value);
    }
    pub(crate) fn write64(&mut self, offset: u64, value: u64) {
        self.access(BASE + offset, Op::Write(Data::u64(value)));
    }
    pub(crate) fn read32(&mut self, offset: u64) -> u32 {
        self.read_at(BASE + offset)
    }
    pub(crate) fn write_at(&mut self, addr: u64, value: u32) {
        self.access(addr, Op::Write(Data::u32(value)));
    }
    pub(crate) fn read_at(&mut self, addr: u64) -> u32 {
        self.access(addr, Op::Read { len: 4 }).value() as u32
    }

    /// Writes commands to the queue and rings.
    pub(crate) fn push(&mut self, commands: &[Command]) {
        for command in commands {
            let index = u64::from(self.prod) & ((1 << QUEUE_LOG2) - 1);
            self.memory.write(COMMANDS + 16 * index, &command.to_bytes());
            self.prod = (self.prod + 1) & ((2 << QUEUE_LOG2) - 1);
        }
        self.write32(CMDQ_PROD, self.prod);
    }
    /// [`Bench::push`], and runs until nothing happens any more.
    pub(crate) fn submit(&mut self, commands: &[Command]) {
        self.push(commands);
        self.run();
    }
    /// The slot that the next command will take.
    pub(crate) fn next_slot(&self) -> u64 {
        COMMANDS + 16 * (u64::from(self.prod) & ((1 << QUEUE_LOG2) - 1))
    }

    pub(crate) fn dma_at(&mut self, when: Time, sid: u32, addr: u64, op: Op, kind: AddressType) -> u32 {
        let (endpoint, tag, ssid, unsupported, incoming) = (0, 0, None, false, Incoming::DEFAULT);
        self.request(when, DmaRequest { endpoint, tag, sid, ssid, addr, kind, op, unsupported, incoming })
    }
    /// A transaction arrives at `when`. Says which tag it got.
    pub(crate) fn request(&mut self, when: Time, request: DmaRequest) -> u32 {
        self.tag += 1;
        self.queue.push(when, Event::Psmmu(In::Dma(DmaRequest { tag: self.tag, ..request })));
        self.tag
    }
    pub(crate) fn dma(&mut self, sid: u32, addr: u64, op: Op) -> u32 {
        self.dma_at(self.now(), sid, addr, op, AddressType::Untranslated)
    }
    /// A page request arrives now.
    pub(crate) fn page_request(&mut self, request: PageRequest) {
        self.queue.push(self.now(), Event::Psmmu(In::PageRequest(request)));
    }
    /// Eight bytes read by the stream behind stage 2; runs until answered.
    pub(crate) fn read_page(&mut self, page: u64) -> DmaResult {
        let tag = self.dma(STREAM, page << 12, Op::Read { len: 8 });
        self.run();
        self.result(tag)
    }
    pub(crate) fn result(&self, tag: u32) -> DmaResult {
        self.completion(tag).expect("the transaction was answered").1
    }
    pub(crate) fn completion(&self, tag: u32) -> Option<(Time, DmaResult)> {
        self.completions.iter().find(|(_, c)| c.tag == tag).map(|(t, c)| (*t, c.result))
    }

    /// Handles one event. False if there was none.
    pub(crate) fn step(&mut self) -> bool {
        let Some((now, event)) = self.queue.pop() else { return false };
        match event {
            Event::Psmmu(heard) => {
                self.cx.now = now;
                self.psmmu.on(heard, &mut self.cx);
                self.records.extend(self.cx.notes.drain(..).map(|note| (now, note)));
                for (when, woken) in self.cx.woken.drain(..) {
                    self.queue.push(when, Event::Psmmu(woken));
                }
                for (when, said) in std::mem::take(&mut self.cx.said) {
                    self.hear(when, &said);
                }
            }
            Event::Memory(transaction) => self.serve(now, &transaction),
        }
        true
    }
    fn hear(&mut self, when: Time, said: &Out) {
        match *said {
            Out::Bus(transaction) => self.queue.push(when, Event::Memory(transaction)),
            Out::Respond(response) => self.answers.push(response.result.unwrap_or(Data::EMPTY)),
            Out::Dma(completion) => self.completions.push((when, completion)),
            Out::Atc(invalidate) => {
                self.invalidations.push(invalidate);
                if let Some(delay) = self.atc_delay {
                    let done = In::AtcDone { tag: invalidate.tag, timed_out: false };
                    self.queue.push(when + delay, Event::Psmmu(done));
                }
            }
            Out::PageResponse(response) => self.page_responses.push(response),
            Out::Interrupt { intid } => self.interrupts.push(intid),
        }
    }
    fn serve(&mut self, now: Time, transaction: &Transaction) {
        let Transaction { addr, op, .. } = *transaction;
        let is_data = (PAGES..PAGES + 0x10_0000).contains(&addr);
        let delay = if is_data { self.latency + self.data_delay } else { self.latency };
        let result = if self.aborts.contains(&(addr & !63)) {
            Err(Abort)
        } else {
            match op {
                Op::Read { len } => Ok(self.memory.read_data(addr, usize::from(len))),
                Op::Write(data) => {
                    self.memory.write(addr, data.bytes());
                    self.writes.push((now, addr, data.value()));
                    Ok(Data::EMPTY)
                }
                Op::FetchAdd(add) => Ok(Data::u64(self.memory.fetch_add(addr, add))),
                Op::Swap(new) => Ok(Data::u64(self.memory.swap(addr, new))),
                Op::CompareSwap { expected, new } => {
                    Ok(Data::u64(self.memory.compare_swap(addr, expected, new)))
                }
            }
        };
        self.queue.push(now + delay, Event::Psmmu(In::Response(transaction.respond(result))));
    }
    /// Runs until nothing happens any more.
    pub(crate) fn run(&mut self) {
        while self.step() {}
    }
    /// Runs until `when`.
    pub(crate) fn run_until(&mut self, when: Time) {
        while self.queue.next_time().is_some_and(|t| t <= when) {
            self.step();
        }
    }

    /// When CONS passed the last command of this opcode.
    pub(crate) fn consumed(&self, op: Opcode) -> Option<Time> {
        let passed = |r: &Record| matches!(r, Record::CommandConsumed { raw, .. } if raw.op() == op);
        self.records.iter().rev().find(|(_, r)| passed(r)).map(|(t, _)| *t)
    }
    pub(crate) fn events(&self) -> Vec<EventRecord> {
        let written =
            |r: &Record| if let Record::EventWritten { record, .. } = r { Some(*record) } else { None };
        self.records.iter().filter_map(|(_, r)| written(r)).collect()
    }
    /// CONS.RD, CONS.ERR.
    pub(crate) fn cons(&mut self) -> (u32, u32) {
        let cons = self.read32(CMDQ_CONS);
        (cons & 0xf_ffff, cons >> 24)
    }
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let rows = self.psmmu.metrics();
        rows.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("no metric {name}")).1
    }
}

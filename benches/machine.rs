//! A pSMMU over a flat memory, without time and with it, and the streams that its benchmarks use.

use models::bus::{Abort, Data, Op, PhysAddr, Requester, Transaction};
use models::cmdqv::CmdqvConfig;
use models::dma::{AddressType, AtcInvalidate, DmaCompletion, DmaRequest, DmaResult, Incoming};
use models::functional::{FunctionalSmmu, Stream, Surroundings};
use models::psmmu::{In, Out, Psmmu, PsmmuConfig};
use models::record::Record;
use models::smmu::CacheShape;
use models::smmu::granule::Granule;
use models::smmu::tables::{Builder, PAGE1, PAGE2};
use sim::{Component, Cx, DomainId, Queue, Time};
use spec::smmu::Command;

const BASE: u64 = 0x5000_0000;
const CMDQV: u64 = 0x5100_0000;
const RAM: u64 = 0x8000_0000;
const COMMANDS: u64 = RAM + 0x80_0000;
const RING: u64 = RAM + 0x90_0000;
const PAGES: u64 = RAM + 0xa0_0000;
const CMDQ_PROD: u64 = BASE + 0x98;
/// LVCMDQ 0 of VINTF 0: PROD.
const LVCMDQ_PROD: u64 = CMDQV + 0x3_0004;

/// A stream that stage 1 translates, page by page from 0.
pub const STAGE1: u32 = 1;
/// A stream that stage 2 translates; its pages begin at [`first_page`].
pub const STAGE2: u32 = 2;
/// A stream that both stages translate, page by page from 0.
pub const NESTED: u32 = 3;

/// The input address of the first of 64 pages of a stream.
pub const fn first_page(sid: u32) -> u64 {
    if sid == STAGE2 { PAGES } else { 0 }
}

/// Caches of STEs and CDs only: every translation walks, and all walks are alike.
pub fn walks_only(shape: &mut CacheShape) {
    *shape = CacheShape { streams: shape.streams, contexts: shape.contexts, ..CacheShape::NONE };
}

/// 16MB of memory; nobody listens.
#[derive(Debug)]
pub struct Flat {
    bytes: Vec<u8>,
}

impl Flat {
    /// The tables of all streams.
    fn with_tables() -> (Self, u64) {
        let mut builder = Builder::new(RAM);
        let s1 = builder.stage1(Granule::K4, 48, 0);
        let s2 = builder.stage2(Granule::K4, 48, 0);
        for page in 0..64 {
            let at = page << 12;
            builder.map1(&s1, at, PAGES + at, 3, PAGE1);
            builder.map2(&s2, PAGES + at, PAGES + at, 3, PAGE2);
        }
        builder.map2(&s2, RAM, RAM, 2, PAGE2);
        builder.linear_streams(4);
        let streams = builder.ste_addr(0);
        let context = builder.context(&s1.cd(1), 0);
        builder.set_ste(STAGE1, s1.ste(context));
        builder.set_ste(STAGE2, s2.ste(0).with_s2vmid(5));
        builder.set_ste(NESTED, s2.nested(context).with_s2vmid(6));
        let mut memory = Self { bytes: vec![0; 16 << 20] };
        let end = builder.allocate(12);
        assert!(end <= COMMANDS, "the tables fit");
        for at in (RAM..end).step_by(8) {
            memory.write(at, &builder.word(at).to_le_bytes()).expect("memory");
        }
        (memory, streams)
    }

    #[inline]
    fn at(&mut self, addr: PhysAddr, len: usize) -> Result<&mut [u8], Abort> {
        let at = addr.wrapping_sub(RAM) as usize;
        self.bytes.get_mut(at..at.saturating_add(len)).ok_or(Abort)
    }

    fn serve(&mut self, addr: PhysAddr, op: &Op) -> Result<Data, Abort> {
        match *op {
            Op::Read { len } => Ok(Data::new(self.at(addr, len.into())?)),
            Op::Write(data) => self.write(addr, data.bytes()).map(|()| Data::EMPTY),
            Op::CompareSwap { expected, new } => self.compare_swap(addr, expected, new).map(Data::u64),
            Op::FetchAdd(_) | Op::Swap(_) => Err(Abort),
        }
    }
}

impl Surroundings for Flat {
    #[inline]
    fn read(&mut self, addr: PhysAddr, into: &mut [u8]) -> Result<(), Abort> {
        into.copy_from_slice(self.at(addr, into.len())?);
        Ok(())
    }
    fn write(&mut self, addr: PhysAddr, bytes: &[u8]) -> Result<(), Abort> {
        self.at(addr, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }
    fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort> {
        let word: &mut [u8; 8] = self.at(addr, 8)?.try_into().expect("eight bytes");
        let found = u64::from_le_bytes(*word);
        if found == expected {
            *word = new.to_le_bytes();
        }
        Ok(found)
    }
    fn edge(&mut self, _: u32) {}
    fn invalidate_atc(&mut self, _: AtcInvalidate) -> bool {
        true
    }
    fn now(&self) -> Time {
        Time::ZERO
    }
    fn is_observed(&self) -> bool {
        false
    }
    fn record(&mut self, _: Record) {}
}

/// Register writes, by address and width, after which the SMMU translates.
fn set_up(streams: u64) -> [(u64, u8, u64); 6] {
    [
        (BASE + 0x2c, 4, 2),
        (BASE + 0x80, 8, streams),
        (BASE + 0x88, 4, 4),
        (BASE + 0x90, 8, COMMANDS | 8),
        (BASE + 0x20, 4, 8),
        (BASE + 0x20, 4, 9),
    ]
}

/// VINTF 0 is the host's, VCMDQ 0 its LVCMDQ 0 with 256 entries.
const CMDQV_SET_UP: [(u64, u8, u64); 4] = [
    (CMDQV + 0x200, 4, 1),
    (CMDQV + 0x1000, 4, 1 << 17 | 1),
    (CMDQV + 0x4_0000, 8, RING | 8),
    (CMDQV + 0x3_0008, 4, 1),
];

/// Without time.
#[derive(Debug)]
pub struct Machine {
    smmu: FunctionalSmmu,
    memory: Flat,
    prod: u32,
    vcmdq_prod: u32,
}

impl Machine {
    /// Everything enabled, with caches as `edit` makes them.
    ///
    /// # Panics
    /// If what it programs is not accepted.
    pub fn new(edit: impl FnOnce(&mut CacheShape)) -> Self {
        let (memory, streams) = Flat::with_tables();
        let mut config = PsmmuConfig::new(0, BASE);
        config.cmdqv = Some((CMDQV, CmdqvConfig::default()));
        edit(&mut config.caches);
        let smmu = FunctionalSmmu::new(config).expect("a good configuration");
        let mut machine = Self { smmu, memory, prod: 0, vcmdq_prod: 0 };
        for (addr, len, value) in set_up(streams).into_iter().chain(CMDQV_SET_UP) {
            machine.write(addr, len, value);
        }
        machine
    }

    fn write(&mut self, addr: u64, len: u8, value: u64) {
        self.smmu.write(addr, len, value, &mut self.memory).expect("a register");
    }

    /// A device reads mapped memory.
    #[inline]
    pub fn read(&mut self, sid: u32, iova: u64, into: &mut [u8]) {
        self.smmu.dma_read(Stream::new(sid), iova, into, &mut self.memory).expect("mapped");
    }

    /// Puts commands into one of the rings of 256 entries and rings.
    pub fn push(&mut self, vcmdq: bool, commands: &[Command]) {
        let (ring, mut prod, doorbell) =
            if vcmdq { (RING, self.vcmdq_prod, LVCMDQ_PROD) } else { (COMMANDS, self.prod, CMDQ_PROD) };
        for command in commands {
            self.memory.write(ring + 16 * u64::from(prod & 255), &command.to_bytes()).expect("memory");
            prod = (prod + 1) & 511;
        }
        *(if vcmdq { &mut self.vcmdq_prod } else { &mut self.prod }) = prod;
        self.write(doorbell, 4, prod.into());
        // Both queues show CONS one register in front of PROD or behind it.
        let cons = if vcmdq { LVCMDQ_PROD - 4 } else { CMDQ_PROD + 4 };
        assert_eq!(self.smmu.read(cons, 4, &mut self.memory), Ok(prod.into()), "everything was consumed");
    }
}

enum Event {
    Psmmu(In),
    Memory(Transaction),
}

/// With time: one pSMMU, its events, and a memory that takes 50 ns.
pub struct Timed {
    psmmu: Psmmu,
    memory: Flat,
    queue: Queue<Event>,
    cx: Cx<In, Out, Record>,
    /// What endpoints have got.
    completion: Option<DmaCompletion>,
}

impl Timed {
    /// Everything enabled, with caches as `edit` makes them.
    ///
    /// # Panics
    /// If what it programs is not accepted.
    pub fn new(edit: impl FnOnce(&mut CacheShape)) -> Self {
        let (memory, streams) = Flat::with_tables();
        let mut config = PsmmuConfig::new(0, BASE);
        edit(&mut config.caches);
        let psmmu = Psmmu::new(config).expect("a good configuration");
        let (queue, cx) = (Queue::new(DomainId(0)), Cx::default());
        let mut timed = Self { psmmu, memory, queue, cx, completion: None };
        for (addr, len, value) in set_up(streams) {
            let data = if len == 4 { Data::u32(value as u32) } else { Data::u64(value) };
            let from = Requester::Cpu(0);
            timed.hear(In::Bus(Transaction::new(from, 0, addr, Op::Write(data))));
        }
        timed
    }

    /// A device reads eight bytes of mapped memory; runs until nothing happens any more.
    pub fn read(&mut self, sid: u32, iova: u64) {
        let (kind, op) = (AddressType::Untranslated, Op::Read { len: 8 });
        let (ssid, unsupported, incoming) = (None, false, Incoming::DEFAULT);
        let (endpoint, tag, addr) = (0, 0, iova);
        self.hear(In::Dma(DmaRequest { endpoint, tag, sid, ssid, addr, kind, op, unsupported, incoming }));
        let completion = self.completion.take().expect("the transaction was answered");
        assert!(matches!(completion.result, DmaResult::Ok(_)), "mapped");
    }

    fn hear(&mut self, message: In) {
        self.queue.push(self.queue.now(), Event::Psmmu(message));
        while let Some((now, event)) = self.queue.pop() {
            match event {
                Event::Psmmu(heard) => self.handle(now, heard),
                Event::Memory(transaction) => {
                    let result = self.memory.serve(transaction.addr, &transaction.op);
                    let response = In::Response(transaction.respond(result));
                    self.queue.push(now + Time::ns(50), Event::Psmmu(response));
                }
            }
        }
    }

    fn handle(&mut self, now: Time, heard: In) {
        self.cx.now = now;
        self.psmmu.on(heard, &mut self.cx);
        self.cx.notes.clear();
        for (when, woken) in self.cx.woken.drain(..) {
            self.queue.push(when, Event::Psmmu(woken));
        }
        for (when, said) in self.cx.said.drain(..) {
            match said {
                Out::Bus(transaction) => self.queue.push(when, Event::Memory(transaction)),
                Out::Dma(completion) => self.completion = Some(completion),
                Out::Respond(_) | Out::Atc(_) | Out::PageResponse(_) | Out::Interrupt { .. } => (),
            }
        }
    }
}

//! The instances with a memory of fixed latency.

use sim::{Component, Cx, DomainId, Queue, Time};
use spec::regs::Block;
use spec::smmuv2::{
    Attributes, Bank, CBA2R, CBAR, Global, Place, S2CR, SCTLR, SMR, STAGE1_ONLY, Stream, TCR, TCR2, TLBIVA,
    TTBR0, sCR0,
};

use super::{EngineTiming, In, Out, Smmuv2Config, Smmuv2Faults, Smmuv2Pair};
use crate::bus::{Abort, Data, Op, Requester, Response, Transaction};
use crate::dma::{AddressType, DmaCompletion, DmaRequest, DmaResult, Incoming};
use crate::memory::PhysMem;
use crate::record::Record;

const BASE: u64 = 0x1200_0000;
const ROOT: u64 = 0x8000_0000;
const SID: u32 = 0x11;
const ASID: u64 = 7;
/// Pages of input addresses that instance 0 and instance 1 serve, and where they are mapped.
const EVEN: (u64, u64) = (0x4000, 0x9000_0000);
const ODD: (u64, u64) = (0x5000, 0x9000_5000);

struct World {
    pair: Smmuv2Pair,
    memory: PhysMem,
    latency: Time,
    queue: Queue<In>,
    /// Now: the last event's time, or later.
    clock: Time,
    notes: Vec<Record>,
    completions: Vec<(Time, DmaCompletion)>,
    responses: Vec<Response>,
    interrupts: Vec<u32>,
    next_dma: u32,
}

impl World {
    fn new(edit: impl FnOnce(&mut Smmuv2Config)) -> Self {
        let mut config = Smmuv2Config::new(3, BASE);
        edit(&mut config);
        let mut world = Self {
            pair: Smmuv2Pair::new(config),
            memory: PhysMem::new(),
            latency: Time::ns(100),
            queue: Queue::new(DomainId(0)),
            clock: Time::ZERO,
            notes: Vec::new(),
            completions: Vec::new(),
            responses: Vec::new(),
            interrupts: Vec::new(),
            next_dma: 0,
        };
        // A root at level 1, a table at level 2, a table at level 3.
        world.memory.write_u64(ROOT, (ROOT + 0x1000) | 3);
        world.memory.write_u64(ROOT + 0x1000, (ROOT + 0x2000) | 3);
        world.map(EVEN);
        world.map(ODD);
        world
    }
    fn pte(iova: u64) -> u64 {
        ROOT + 0x2000 + (iova >> 12) * 8
    }
    fn map(&mut self, (iova, pa): (u64, u64)) {
        self.memory.write_u64(Self::pte(iova), pa | 0xf43);
    }
    fn unmap(&mut self, (iova, _): (u64, u64)) {
        self.memory.write_u64(Self::pte(iova), 0);
    }

    /// One event. False when there is none.
    fn step(&mut self) -> bool {
        let Some((now, heard)) = self.queue.pop() else { return false };
        self.clock = now.max(self.clock);
        let mut cx = Cx::at(now);
        self.pair.on(heard, &mut cx);
        for (when, wake) in cx.woken {
            self.queue.push(when, wake);
        }
        for (when, out) in cx.said {
            match out {
                Out::Bus(transaction) => {
                    assert_eq!(transaction.from, Requester::Pair(3));
                    let result = if transaction.addr < ROOT {
                        Err(Abort)
                    } else {
                        Ok(self.memory.apply(transaction.addr, &transaction.op).answer)
                    };
                    self.queue.push(when + self.latency, In::Response(transaction.respond(result)));
                }
                Out::Respond(response) => self.responses.push(response),
                Out::Dma(completion) => self.completions.push((when, completion)),
                Out::Interrupt { intid } => self.interrupts.push(intid),
            }
        }
        self.notes.append(&mut cx.notes);
        true
    }
    fn settle(&mut self) {
        while self.step() {}
    }
    fn run_to(&mut self, end: Time) {
        while self.queue.next_time().is_some_and(|t| t <= end) {
            self.step();
        }
        self.clock = end;
    }

    fn registers(&mut self, addr: u64, op: Op) -> Result<Data, Abort> {
        let transaction = Transaction::new(Requester::Cpu(0), 0, addr, op);
        let before = self.responses.len();
        self.queue.push(self.clock, In::Bus(transaction));
        while self.responses.len() == before {
            assert!(self.step(), "an access is answered");
        }
        self.responses[before].result
    }
    fn addr(n: u64, place: Place) -> u64 {
        BASE + n * 0x1_0000 + u64::from(place.offset())
    }
    fn write(&mut self, n: u64, place: Place, value: u64) {
        let data = if place.bytes() == 8 { Data::u64(value) } else { Data::u32(value as u32) };
        assert_eq!(self.registers(Self::addr(n, place), Op::Write(data)), Ok(Data::EMPTY));
    }
    fn read(&mut self, n: u64, place: Place) -> u64 {
        self.registers(Self::addr(n, place), Op::Read { len: place.bytes() as u8 }).unwrap().value()
    }
    /// What a driver would write to instance `n`.
    fn program(&mut self, n: u64) {
        let bank = |reg| Place::Bank { n: 0, reg };
        for (place, value) in [
            (Place::Attributes { n: 0, reg: Attributes::CBA2R }, CBA2R(0).with_va64(true).bits()),
            (Place::Attributes { n: 0, reg: Attributes::CBAR }, CBAR(0).with_kind(STAGE1_ONLY).bits()),
            (bank(Bank::TCR2), TCR2(0).with_pasize(5).bits()),
            (bank(Bank::TCR), TCR(0).with_t0sz(25).with_epd1(true).bits()),
            (bank(Bank::TTBR0), TTBR0(ROOT).with_asid(ASID).bits()),
            (bank(Bank::SCTLR), SCTLR(0).with_m(true).with_cfre(true).with_cfie(true).bits()),
            (Place::Stream { n: 0, reg: Stream::S2CR }, S2CR(0).bits()),
            (Place::Stream { n: 0, reg: Stream::SMR }, SMR(0).with_valid(true).with_id(SID.into()).bits()),
            (
                Place::Global(Global::sCR0),
                sCR0(0).with_usfcfg(true).with_gcfgfre(true).with_gcfgfie(true).bits(),
            ),
        ] {
            self.write(n, place, value);
        }
    }
    fn start(&mut self, sid: u32, addr: u64, op: Op) -> u32 {
        self.next_dma += 1;
        let tag = self.next_dma;
        let kind = AddressType::Untranslated;
        let (unsupported, incoming) = (false, Incoming::DEFAULT);
        let request = DmaRequest { endpoint: 1, tag, sid, ssid: None, addr, kind, op, unsupported, incoming };
        self.queue.push(self.clock, In::Dma(request));
        tag
    }
    fn result(&self, tag: u32) -> Option<DmaResult> {
        self.completions.iter().find(|(_, c)| c.tag == tag).map(|(_, c)| c.result)
    }
    fn dma(&mut self, sid: u32, addr: u64, op: Op) -> DmaResult {
        let tag = self.start(sid, addr, op);
        self.settle();
        self.result(tag).expect("a DMA is answered")
    }
    fn invalidate(&mut self, n: u64, iova: u64) {
        let operand = TLBIVA(0).with_va(iova >> 12).with_asid(ASID).bits();
        self.write(n, Place::Bank { n: 0, reg: Bank::TLBIVA }, operand);
    }
}

const READ: Op = Op::Read { len: 8 };
const ABORTED: DmaResult = DmaResult::Aborted(Abort);
const SYNC: Place = Place::Bank { n: 0, reg: Bank::TLBSYNC };
const STATUS: Place = Place::Bank { n: 0, reg: Bank::TLBSTATUS };

fn value(v: u64) -> DmaResult {
    DmaResult::Ok(Data::u64(v))
}

#[test]
fn an_instance_knows_only_what_it_was_told() {
    // (instances programmed, results at EVEN and ODD): an instance out of reset bypasses, and there is nothing there.
    for (programmed, want) in [
        (&[][..], [ABORTED, ABORTED]),
        (&[0], [value(0xaa), ABORTED]),
        (&[1], [ABORTED, value(0xbb)]),
        (&[0, 1], [value(0xaa), value(0xbb)]),
    ] {
        let mut world = World::new(|_| {});
        world.memory.write_u64(EVEN.1 + 8, 0xaa);
        world.memory.write_u64(ODD.1 + 8, 0xbb);
        for n in programmed {
            world.program(*n);
        }
        let got = [EVEN, ODD].map(|(iova, _)| world.dma(SID, iova + 8, READ));
        assert_eq!(got, want, "{programmed:?}");
        for n in 0..2 {
            let enabled = world.read(n, Place::Bank { n: 0, reg: Bank::SCTLR }) != 0;
            assert_eq!(enabled, programmed.contains(&n));
        }
    }
}

#[test]
fn traffic_is_interleaved() {
    for (instances, interleave, iova, want) in [
        (2, 4096, 0x4fff, 0),
        (2, 4096, 0x5000, 1),
        (2, 4096, 0x6000, 0),
        (2, 1024, 0x4400, 1),
        (3, 4096, 0x5000, 2),
        (1, 4096, 0x5000, 0),
    ] {
        let mut world = World::new(|config| {
            config.engines = vec![EngineTiming::default(); instances];
            config.interleave = interleave;
        });
        world.dma(SID, iova, READ);
        let seen: Vec<_> = (0..instances).filter(|n| world.pair.counters(*n).transactions == 1).collect();
        assert_eq!(seen, [want], "{instances} {interleave} {iova:#x}");
    }
}

#[test]
fn the_second_access_hits_the_tlb() {
    let mut world = World::new(|_| {});
    world.program(0);
    let write = Op::Write(Data::u64(0x1234));
    assert_eq!(world.dma(SID, EVEN.0, write), DmaResult::Ok(Data::EMPTY));
    assert_eq!(world.dma(SID, EVEN.0, READ), value(0x1234));
    let hits: Vec<_> = world
        .notes
        .iter()
        .filter_map(|note| match note {
            Record::DmaTranslated { pa, tlb_hit, smmu: 3, .. } => Some((*pa, *tlb_hit)),
            _ => None,
        })
        .collect();
    assert_eq!(hits, [(EVEN.1, false), (EVEN.1, true)]);
    // A walk of three levels is three reads longer than a hit.
    let [(first, _), (second, _)] = world.completions[..] else { panic!("two completions") };
    let timing = world.pair.config().timing;
    let hit = timing.lookup + timing.walk_step + world.latency + timing.complete;
    assert_eq!(second - (first - timing.complete), hit);
    assert!(first > world.latency * 4);
}

/// Active status of both instances, polled often.
fn active_until(world: &mut World, places: [Place; 2], limit: Time) -> [Option<Time>; 2] {
    let [sync, status] = places;
    world.write(0, sync, 0);
    world.write(1, sync, 0);
    let mut idle = [None; 2];
    while world.clock < limit {
        for (n, idle) in idle.iter_mut().enumerate() {
            if world.read(n as u64, status) == 0 {
                idle.get_or_insert(world.clock);
            }
        }
        world.run_to(world.clock + Time::ns(10));
    }
    idle
}

#[test]
fn a_sync_is_over_when_the_slower_instance_is_done() {
    let global = [Place::Global(Global::TLBGSYNC), Place::Global(Global::TLBGSTATUS)];
    for (name, places, sync_ns) in [
        ("bank", [SYNC, STATUS], [100, 900]),
        ("bank", [SYNC, STATUS], [900, 100]),
        ("global", global, [100, 900]),
    ] {
        let mut world = World::new(|config| {
            config.engines =
                sync_ns.map(|ns| EngineTiming { sync: Time::ns(ns), ..Default::default() }).to_vec();
        });
        let [first, second] =
            active_until(&mut world, places, Time::ns(1900)).map(|t| t.expect("idle again"));
        let (slow, fast) = if sync_ns[0] > sync_ns[1] { (first, second) } else { (second, first) };
        assert!(fast < Time::ns(200) && slow >= Time::ns(900), "{name}: {fast:?} {slow:?}");
    }
}

#[test]
fn a_stuck_instance_stays_active() {
    let mut world = World::new(|config| config.faults = Smmuv2Faults { stuck_sync: Some(1) });
    for n in 0..2 {
        world.write(n, SYNC, 0);
    }
    world.settle();
    assert_eq!([world.read(0, STATUS), world.read(1, STATUS)], [0, 1]);
}

#[test]
fn a_sync_waits_for_transactions_in_flight() {
    let mut world = World::new(|_| {});
    world.program(0);
    world.dma(SID, EVEN.0, READ);
    world.latency = Time::us(50);
    let tag = world.start(SID, EVEN.0, READ);
    let start = world.clock;
    world.run_to(start + Time::us(1));
    world.unmap(EVEN);
    world.invalidate(0, EVEN.0);
    world.write(0, SYNC, 0);
    world.run_to(start + Time::us(40));
    assert_eq!((world.result(tag), world.read(0, STATUS)), (None, 1));
    world.settle();
    assert_eq!((world.result(tag), world.read(0, STATUS)), (Some(value(0)), 0));
    // A walk now finds nothing.
    assert_eq!(world.dma(SID, EVEN.0, READ), ABORTED);
}

#[test]
fn a_walk_that_an_invalidation_overtakes_fills_nothing() {
    let mut world = World::new(|_| {});
    world.program(0);
    world.latency = Time::us(10);
    let tag = world.start(SID, EVEN.0, READ);
    let start = world.clock;
    // The last descriptor has been read (memory answers as of the question) but has not arrived.
    world.run_to(start + Time::us(21));
    world.unmap(EVEN);
    world.invalidate(0, EVEN.0);
    world.settle();
    assert_eq!(world.result(tag), Some(value(0)));
    assert_eq!(world.pair.counters(0).invalidations, 1);
    assert_eq!(world.dma(SID, EVEN.0, READ), ABORTED, "the old translation is not in the TLB");
}

#[test]
fn without_broadcast_an_instance_stays_stale() {
    for (name, invalidated, want) in
        [("broadcast", &[0, 1][..], [ABORTED, ABORTED]), ("first only", &[0], [ABORTED, value(0)])]
    {
        let mut world = World::new(|_| {});
        for n in 0..2 {
            world.program(n);
        }
        for page in [EVEN, ODD] {
            assert_eq!(world.dma(SID, page.0, READ), value(0));
            world.unmap(page);
        }
        for n in invalidated {
            world.invalidate(*n, EVEN.0);
            world.invalidate(*n, ODD.0);
            world.write(*n, SYNC, 0);
        }
        world.settle();
        assert_eq!([EVEN, ODD].map(|(iova, _)| world.dma(SID, iova, READ)), want, "{name}");
    }
}

#[test]
fn faults_are_those_of_their_instance() {
    let bank = |reg| Place::Bank { n: 0, reg };
    let global = Place::Global;
    let write = Op::Write(Data::u64(1));
    // (stream, address, op, what is at the descriptor of ODD, register, its value in both instances, interrupt)
    for (name, sid, iova, op, pte, place, want, intid) in [
        ("translation", SID, 0x7000, READ, 0, bank(Bank::FSR), [0, 2], 200),
        ("its address", SID, 0x7008, READ, 0, bank(Bank::FAR), [0, 0x7008], 200),
        ("even", SID, 0x6000, READ, 0, bank(Bank::FSR), [2, 0], 200),
        ("access flag", SID, ODD.0, READ, ODD.1 | 0xb43, bank(Bank::FSR), [0, 4], 200),
        ("permission", SID, ODD.0, write, ODD.1 | 0xfc3, bank(Bank::FSR), [0, 8], 200),
        ("who", SID, ODD.0, write, ODD.1 | 0xfc3, bank(Bank::FSYNR0), [0, 0x13], 200),
        ("too large", SID, 1 << 39 | 0x1000, READ, 0, bank(Bank::FSR), [0, 2], 200),
        ("no stream", 0x12, ODD.0, READ, 0, global(Global::sGFSR), [0, 2], 201),
        ("which stream", 0x12, ODD.0, READ, 0, global(Global::sGFSYNR1), [0, 0x12], 201),
    ] {
        let mut world = World::new(|_| {});
        for n in 0..2 {
            world.program(n);
        }
        world.memory.write_u64(World::pte(ODD.0), pte);
        assert_eq!(world.dma(sid, iova, op), ABORTED, "{name}");
        assert_eq!([0, 1].map(|n| world.read(n, place)), want, "{name}");
        assert_eq!(world.interrupts, [intid], "{name}");
        let aborted = world.notes.iter().filter(|note| matches!(note, Record::DmaAborted { .. })).count();
        assert_eq!(aborted, 1, "{name}");
    }
}

#[test]
fn a_walk_into_nothing_is_an_external_fault() {
    let mut world = World::new(|_| {});
    world.program(0);
    world.memory.write_u64(ROOT, 0x1000 | 3);
    assert_eq!(world.dma(SID, EVEN.0, READ), ABORTED);
    assert_eq!(world.read(0, Place::Bank { n: 0, reg: Bank::FSR }), 1 << 4);
}

#[test]
fn accesses_that_hit_nothing_abort() {
    let mut world = World::new(|config| config.stride = 0x2_0000);
    for (addr, op) in [
        (BASE + 0x1_0000, Op::Read { len: 4 }),
        (BASE + 0x4_0000, Op::Read { len: 4 }),
        (BASE - 4, Op::Read { len: 4 }),
        (BASE, Op::Swap(0)),
    ] {
        assert_eq!(world.registers(addr, op), Err(Abort), "{addr:#x}");
    }
    assert_eq!(world.registers(BASE + 0x2_0000, Op::Read { len: 4 }), Ok(Data::u32(1)));
}

#[test]
fn more_transactions_than_slots_wait_their_turn() {
    let mut world = World::new(|config| config.slots = 2);
    world.program(0);
    world.dma(SID, EVEN.0, READ);
    let tags: Vec<_> = (0..6).map(|i| world.start(SID, EVEN.0 + 8 * i, READ)).collect();
    world.settle();
    let order: Vec<_> = world.completions[1..].iter().map(|(_, c)| c.tag).collect();
    assert_eq!(order, tags);
    let times: Vec<_> = world.completions[1..].iter().map(|(t, _)| *t).collect();
    let gap = |a: usize, b: usize| times[b] - times[a];
    assert!(gap(0, 1) == Time::ZERO && gap(1, 2) > world.latency && gap(3, 4) > world.latency);
}

#[test]
fn every_register_is_reachable() {
    let mut world = World::new(|_| {});
    for reg in Global::ALL {
        world.read(1, Place::Global(*reg));
    }
    for reg in Bank::ALL {
        world.read(1, Place::Bank { n: 7, reg: *reg });
    }
    assert_eq!(world.responses.len(), Global::ALL.len() + Bank::ALL.len());
}

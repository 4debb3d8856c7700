//! VCMDQs share the engine with the main queue.

use super::*;
use crate::cmdqv::CmdqvConfig;
use crate::record::CommandQueue;
use spec::cmdqv::Place;

const RINGS: u64 = 0x8100_0000;
/// Virtual StreamID that slot 0 of every guest VINTF turns into [`STREAM`].
const VIRTUAL: u32 = 0x20;

/// Queue `q`, as LVCMDQ 0 of VINTF `vintf`.
struct Ring {
    vintf: u16,
    q: u16,
    prod: u32,
}

fn at(name: &str) -> u64 {
    CMDQV + name.parse::<Place>().expect("a register's name").offset().expect("a place")
}

impl Ring {
    /// Allocates and enables a queue of 32 entries. The host owns VINTF 0, guests the others.
    fn open(b: &mut Bench, vintf: u16, q: u16) -> Self {
        b.write_at(at("CONFIG"), 0x0002_0083);
        b.run();
        b.write_at(at(&format!("CMDQ_ALLOC{q}")), u32::from(vintf) << 15 | 1);
        let owner = if vintf == 0 { 1 << 17 } else { 0 };
        b.write_at(at(&format!("VINTF{vintf}.SID_MATCH0")), VIRTUAL << 1 | 1);
        b.write_at(at(&format!("VINTF{vintf}.SID_REPLACE0")), STREAM);
        b.write_at(at(&format!("VINTF{vintf}.CONFIG")), owner | u32::from(VMID) << 1 | 1);
        b.run();
        let ring = Self { vintf, q, prod: 0 };
        let base = ring.base() | 5;
        b.write_at(ring.at("BASE"), base as u32);
        b.write_at(ring.at("BASE") + 4, (base >> 32) as u32);
        b.write_at(ring.at("CONFIG"), 1);
        b.run();
        assert_eq!(b.read_at(ring.at("STATUS")), 1);
        ring
    }
    fn base(&self) -> u64 {
        RINGS + (u64::from(self.q) << 16)
    }
    fn at(&self, register: &str) -> u64 {
        at(&format!("VINTF{}.LVCMDQ0.{register}", self.vintf))
    }
    fn push(&mut self, b: &mut Bench, commands: &[Command]) {
        for command in commands {
            b.memory.write(self.base() + 16 * u64::from(self.prod % 32), &command.to_bytes());
            self.prod = (self.prod + 1) % 64;
        }
        b.write_at(self.at("PROD"), self.prod);
    }
    /// CONS.RD, CONS.ERR.
    fn cons(&self, b: &mut Bench) -> (u32, u32) {
        let cons = b.read_at(self.at("CONS"));
        (cons & 0xf_ffff, cons >> 24)
    }
}

fn bench() -> Bench {
    bench_with(|_| ())
}
fn bench_with(edit: impl FnOnce(&mut PsmmuConfig)) -> Bench {
    Bench::booted_with(|c| {
        c.cmdqv = Some((CMDQV, CmdqvConfig::default()));
        c.cmdqv_line = Some(90);
        c.timing.atc_timeout = Time::us(10);
        edit(c);
    })
}

#[test]
fn a_guest_invalidates_its_own_stream() {
    let mut b = bench();
    let mut ring = Ring::open(&mut b, 3, 10);
    b.read_page(1);
    ring.push(&mut b, &[Command::atc_inv(VIRTUAL, None, 0x1000, 0), Command::sync()]);
    b.run();
    assert_eq!(ring.cons(&mut b), (2, 0));
    assert_eq!(b.invalidations[0].sid, STREAM, "the StreamID was replaced");
    let consumed = b.records.iter().find_map(|(_, r)| match r {
        Record::CommandConsumed { queue, raw, executed, .. } => Some((*queue, raw.sid(), executed.sid())),
        _ => None,
    });
    let queue = CommandQueue::Vcmdq { queue: 10, vintf: 3, logical: 0 };
    assert_eq!(consumed, Some((queue, VIRTUAL.into(), STREAM.into())));
}

#[test]
fn sync_of_a_vcmdq_waits_for_transactions() {
    let mut b = bench();
    let mut ring = Ring::open(&mut b, 0, 0);
    b.read_page(1);
    b.data_delay = Time::us(30);
    let tag = b.dma(STREAM, 0x1000, Op::Read { len: 8 });
    b.run_until(b.now());
    b.unmap(1);
    ring.push(&mut b, &[Command::tlbi_s2_ipa(VMID, 0x1000, true), Command::sync()]);
    b.run();
    assert!(b.consumed(Opcode::SYNC).unwrap() + Time::ns(10) > b.completion(tag).unwrap().0);
    assert!(matches!(b.read_page(1), DmaResult::Aborted(_)));
}

#[test]
fn an_error_stops_its_own_queue_and_raises_an_edge() {
    let mut b = bench();
    let mut bad = Ring::open(&mut b, 3, 10);
    let mut good = Ring::open(&mut b, 4, 11);
    bad.push(&mut b, &[Command::tlbi_nsnh_all(), Command::sync()]);
    good.push(&mut b, &[Command::tlbi_nh_asid(1, 0), Command::sync()]);
    b.run();
    assert_eq!((bad.cons(&mut b), good.cons(&mut b)), ((0, 1), (2, 0)), "a guest may not use TLBI_NSNH_ALL");
    assert_eq!(b.interrupts, [90]);
    b.submit(&[Command::sync()]);
    assert_eq!(b.cons(), (5, 0));
    b.memory.write(bad.base(), &Command::sync().to_bytes());
    b.write_at(bad.at("GERRORN"), 1);
    b.run();
    assert_eq!(bad.cons(&mut b).0, 2);
}

/// Three queues with work for many batches: the gap between two turns of a queue is bounded by the others' batches.
#[test]
fn nobody_starves() {
    let mut b = bench();
    let mut rings = [Ring::open(&mut b, 3, 10), Ring::open(&mut b, 4, 11)];
    let many = [Command::tlbi_nh_asid(1, 0); 31];
    b.push(&[Command::tlbi_nsnh_all(); 7]);
    rings.iter_mut().for_each(|ring| ring.push(&mut b, &many));
    b.run();
    let order: Vec<CommandQueue> = b
        .records
        .iter()
        .filter_map(|(_, r)| if let Record::CommandConsumed { queue, .. } = r { Some(*queue) } else { None })
        .collect();
    assert_eq!(order.len(), 69);
    let turns = order.windows(2).filter(|w| w[0] != w[1]).count();
    assert!(turns >= 8, "batches are bounded: {turns} turns");
    let limits = b.psmmu.cmdqv().unwrap().limits();
    let longest = order.chunk_by(PartialEq::eq).map(<[_]>::len).max().unwrap();
    let by_clocks = limits.clocks / b.psmmu.config().timing.clocks(b.psmmu.config().timing.tlbi) + 1;
    assert!(longest as u64 <= by_clocks.min(limits.commands.into()), "{longest}");
    assert!(b.metric("inserted_syncs") >= 8, "every batch ended without a CMD_SYNC");
}

#[test]
fn a_timeout_left_by_a_disabled_queue_is_the_main_queues() {
    for (disable, main, own) in [(true, (4, 3), None), (false, (5, 0), Some((1, 3)))] {
        let mut b = bench();
        let mut ring = Ring::open(&mut b, 3, 10);
        b.atc_delay = None;
        ring.push(&mut b, &[Command::atc_inv(VIRTUAL, None, 0, 52)]);
        b.run();
        if disable {
            b.write_at(ring.at("CONFIG"), 0);
            b.run();
        }
        b.submit(&[Command::sync()]);
        assert_eq!(b.cons(), main, "disabled {disable}");
        if let Some(own) = own {
            ring.push(&mut b, &[Command::sync()]);
            b.run();
            assert_eq!(ring.cons(&mut b), own);
        }
    }
}

#[test]
fn with_the_erratum_invalidations_must_be_repeated() {
    use crate::cmdqv::knobs::{Knobs, RepeatInvalidations};
    let knobs = Knobs { repeat_invalidations: RepeatInvalidations::On, ..Knobs::default() };
    let mut b = bench_with(|c| c.cmdqv = Some((CMDQV, CmdqvConfig { knobs, ..CmdqvConfig::default() })));
    b.read_page(1);
    b.unmap(1);
    for stale in [true, false] {
        b.submit(&[Command::tlbi_s2_ipa(VMID, 0x1000, true), Command::sync()]);
        assert_eq!(matches!(b.read_page(1), DmaResult::Ok(_)), stale);
    }
}

#[test]
fn registers_beyond_the_region_abort() {
    let mut b = bench();
    let size = b.psmmu.cmdqv().unwrap().size();
    b.read_at(CMDQV + size);
    assert!(
        b.records.iter().any(|(_, r)| matches!(r, Record::BusError { addr, .. } if *addr == CMDQV + size))
    );
}

/// The engine has served the main queue before: what it takes first of the VCMDQ is a change.
#[test]
fn checking_a_command_and_changing_the_queue_take_their_time() {
    let took = |admission, switch| {
        let mut b = bench_with(|c| (c.timing.admission, c.timing.switch) = (admission, switch));
        let mut ring = Ring::open(&mut b, 1, 2);
        b.submit(&[Command::cfgi_all()]);
        let start = b.now();
        ring.push(&mut b, &[Command::tlbi_nh_va(1, 0, 0, true), Command::tlbi_nh_asid(1, 0)]);
        b.run();
        b.consumed(Opcode::TLBI_NH_ASID).expect("it was consumed") - start
    };
    let (admission, switch) = (Time::ns(7), Time::ns(50));
    let free = took(Time::ZERO, Time::ZERO);
    assert_eq!(took(admission, Time::ZERO) - free, admission * 2);
    assert_eq!(took(Time::ZERO, switch) - free, switch);
}

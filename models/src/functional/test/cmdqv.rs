//! VCMDQs share the engine with the main queue.

use super::*;
use crate::cmdqv::knobs::{Knobs, RepeatInvalidations};
use crate::cmdqv::{CmdqvConfig, SwappedSlots, Vintfs};
use crate::psmmu::{PsmmuFaults, Which, WhichCommands};
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
        b.write_at(at(&format!("CMDQ_ALLOC{q}")), u32::from(vintf) << 15 | 1);
        let owner = if vintf == 0 { 1 << 17 } else { 0 };
        b.write_at(at(&format!("VINTF{vintf}.SID_MATCH0")), VIRTUAL << 1 | 1);
        b.write_at(at(&format!("VINTF{vintf}.SID_REPLACE0")), STREAM);
        b.write_at(at(&format!("VINTF{vintf}.CONFIG")), owner | u32::from(VMID) << 1 | 1);
        assert_eq!(b.read_at(at(&format!("VINTF{vintf}.STATUS"))) & 1, 1);
        let ring = Self { vintf, q, prod: 0 };
        b.smmu.write(ring.at("BASE"), 8, ring.base() | 5, &mut b.world).expect("a register");
        b.write_at(ring.at("CONFIG"), 1);
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
            b.world.memory.write(self.base() + 16 * u64::from(self.prod % 32), &command.to_bytes());
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

fn bench_with(edit: impl FnOnce(&mut PsmmuConfig)) -> Bench {
    Bench::booted_with(|c| {
        c.cmdqv = Some((CMDQV, CmdqvConfig::default()));
        c.cmdqv_line = Some(90);
        edit(c);
    })
}
fn bench() -> Bench {
    bench_with(|_| ())
}

#[test]
fn a_guest_invalidates_its_own_stream_and_vmid() {
    let mut b = bench();
    let mut ring = Ring::open(&mut b, 3, 10);
    b.read_page(1).expect("mapped");
    b.unmap(1);
    let commands =
        [Command::atc_inv(VIRTUAL, None, 0x1000, 0), Command::tlbi_s2_ipa(99, 0x1000, true), Command::sync()];
    ring.push(&mut b, &commands);
    assert_eq!(ring.cons(&mut b), (3, 0));
    assert_eq!(b.world.invalidations[0].sid, STREAM, "the StreamID was replaced");
    assert_eq!(b.read_page(1), Err(ABORTED), "so was the VMID");
    let consumed = b.world.records.iter().find_map(|r| match r {
        Record::CommandConsumed { queue, raw, executed, .. } => Some((*queue, raw.sid(), executed.sid())),
        _ => None,
    });
    let queue = CommandQueue::Vcmdq { queue: 10, vintf: 3, logical: 0 };
    assert_eq!(consumed, Some((queue, VIRTUAL.into(), STREAM.into())));
}

#[test]
fn an_error_stops_its_own_queue_and_raises_an_edge() {
    let mut b = bench();
    let mut bad = Ring::open(&mut b, 3, 10);
    let mut good = Ring::open(&mut b, 4, 11);
    bad.push(&mut b, &[Command::tlbi_nsnh_all(), Command::sync()]);
    good.push(&mut b, &[Command::tlbi_nh_asid(1, 0), Command::sync()]);
    assert_eq!((bad.cons(&mut b), good.cons(&mut b)), ((0, 1), (2, 0)), "a guest may not use TLBI_NSNH_ALL");
    assert_eq!(b.world.interrupts, [90]);
    b.submit(&[Command::sync()]);
    assert_eq!(b.cons(), (5, 0));
    b.world.memory.write(bad.base(), &Command::sync().to_bytes());
    b.write_at(bad.at("GERRORN"), 1);
    assert_eq!(bad.cons(&mut b).0, 2);
}

/// Queues that wait for CONFIG.CMDQV_EN begin together: each has its turns.
#[test]
fn queues_that_begin_together_share_the_engine() {
    let mut b = bench();
    let mut rings = [Ring::open(&mut b, 3, 10), Ring::open(&mut b, 4, 11)];
    b.smmu.set_faults(&PsmmuFaults { stalled: true, ..Default::default() });
    b.world.records.clear();
    b.submit(&[Command::tlbi_nsnh_all(); 7]);
    rings.iter_mut().for_each(|ring| ring.push(&mut b, &[Command::tlbi_nh_asid(1, 0); 31]));
    b.smmu.set_faults(&PsmmuFaults::default());
    b.write32(CMDQ_PROD, b.prod);
    let order: Vec<CommandQueue> = b
        .world
        .records
        .iter()
        .filter_map(|r| if let Record::CommandConsumed { queue, .. } = r { Some(*queue) } else { None })
        .collect();
    assert_eq!(order.len(), 69);
    let longest = order.chunk_by(PartialEq::eq).map(<[_]>::len).max().unwrap();
    let limits = b.smmu.cmdqv().unwrap().limits();
    let timing = b.smmu.config().timing;
    let by_clocks = limits.clocks / timing.clocks(timing.tlbi) + 1;
    assert!(longest as u64 <= by_clocks.min(limits.commands.into()), "batches are bounded: {longest}");
    assert!(b.metric("inserted_syncs") >= 8, "every batch ended without a CMD_SYNC");
}

#[test]
fn a_timeout_left_by_a_disabled_queue_is_the_main_queues() {
    for (disable, main, own) in [(true, (4, 3), None), (false, (5, 0), Some((1, 3)))] {
        let mut b = bench();
        let mut ring = Ring::open(&mut b, 3, 10);
        b.world.atc_answers = false;
        ring.push(&mut b, &[Command::atc_inv(VIRTUAL, None, 0, 52)]);
        if disable {
            b.write_at(ring.at("CONFIG"), 0);
        }
        b.submit(&[Command::sync()]);
        assert_eq!(b.cons(), main, "disabled {disable}");
        if let Some(own) = own {
            ring.push(&mut b, &[Command::sync()]);
            assert_eq!(ring.cons(&mut b), own);
        }
    }
}

#[test]
fn with_the_erratum_invalidations_must_be_repeated() {
    let knobs = Knobs { repeat_invalidations: RepeatInvalidations::On, ..Knobs::default() };
    let mut b = bench_with(|c| c.cmdqv = Some((CMDQV, CmdqvConfig { knobs, ..CmdqvConfig::default() })));
    b.read_page(1).expect("mapped");
    b.unmap(1);
    for stale in [true, false] {
        b.submit(&[Command::tlbi_s2_ipa(VMID, 0x1000, true), Command::sync()]);
        assert_eq!(b.read_page(1).is_ok(), stale);
    }
}

#[test]
fn cons_is_written_back_and_an_abort_of_it_is_an_error() {
    let mut b = bench();
    let mut ring = Ring::open(&mut b, 3, 10);
    b.write_at(at("CONFIG"), 0x0002_0083 | 1 << 20);
    b.write_at(ring.at("CONFIG"), 0);
    b.smmu.write(ring.at("CONS_INDX_BASE"), 8, DOORBELL, &mut b.world).expect("a register");
    b.write_at(ring.at("CONFIG"), 1);
    let on = b.read_at(at("CONFIG")) >> 20 & 1;
    ring.push(&mut b, &[Command::sync(); 3]);
    assert_eq!((on, b.world.memory.read_u32(DOORBELL)), (1, 3));
    b.world.aborts.insert(DOORBELL);
    ring.push(&mut b, &[Command::sync(); 3]);
    assert_eq!(b.read_at(ring.at("GERROR")) & !1, 2, "CONS_DRAM_WR_ABT_ERR");
    assert_eq!(ring.cons(&mut b), (4, 0), "the queue stops");
}

#[test]
fn faults_of_the_cmdqv() {
    let mut b = bench();
    b.smmu.set_faults(&PsmmuFaults { stuck_vintf: Some(3), ..Default::default() });
    b.write_at(at("VINTF3.CONFIG"), 1);
    b.write_at(at("VINTF4.CONFIG"), 1);
    let status = |b: &mut Bench, v: u8| b.read_at(at(&format!("VINTF{v}.STATUS"))) & 1;
    assert_eq!((status(&mut b, 3), status(&mut b, 4)), (0, 1), "VINTF 3 is stuck, and the call returned");
    b.write_at(at("VINTF3.CONFIG"), 0);
    b.write_at(at("VINTF3.CONFIG"), 1);
    assert_eq!(status(&mut b, 3), 0);
    b.smmu.set_faults(&PsmmuFaults::default());
    assert_eq!(status(&mut b, 3), 1, "it goes on when the fault is gone");

    let mut ring = Ring::open(&mut b, 5, 10);
    b.write_at(at("VINTF5.SID_REPLACE1"), 77);
    let swapped_sid_slots = Some(SwappedSlots { vintf: 5, slots: (0, 1) });
    for (faults, sid) in [
        (PsmmuFaults { swapped_sid_slots, ..Default::default() }, 77),
        (PsmmuFaults { keep_guest_sid: Vintfs::All, ..Default::default() }, VIRTUAL),
        (PsmmuFaults::default(), STREAM),
    ] {
        b.smmu.set_faults(&faults);
        ring.push(&mut b, &[Command::atc_inv(VIRTUAL, None, 0x1000, 0)]);
        assert_eq!(b.world.invalidations.last().unwrap().sid, sid, "{faults:?}");
    }
}

/// The VMID that the guest writes is not its own: what it invalidates stays.
#[test]
fn a_guests_vmid_is_kept() {
    for (kept, stale) in
        [(Vintfs::None, false), (Vintfs::All, true), (Vintfs::One(3), true), (Vintfs::One(4), false)]
    {
        let mut b = bench_with(|c| c.faults.keep_guest_vmid = kept);
        let mut ring = Ring::open(&mut b, 3, 10);
        b.read_page(1).expect("mapped");
        b.unmap(1);
        ring.push(&mut b, &[Command::tlbi_s2_ipa(99, 0x1000, true), Command::sync()]);
        assert_eq!((ring.cons(&mut b), b.read_page(1).is_ok()), ((2, 0), stale), "{kept:?}");
    }
}

#[test]
fn faults_of_the_cmdqv_outlive_a_reset() {
    let mut b = bench_with(|c| c.faults.stuck_vintf = Some(3));
    for _ in 0..2 {
        b.write_at(at("VINTF3.CONFIG"), 1);
        assert_eq!(b.read_at(at("VINTF3.STATUS")) & 1, 0);
        b.smmu.reset();
    }
}

/// Of three queues with an invalidation each, the one that counts loses its own.
#[test]
fn faults_of_commands_may_be_those_of_a_vintf() {
    for (vintf, lost) in
        [(None, [true, false, false]), (Some(3), [false, true, false]), (Some(4), [false, false, true])]
    {
        let mut b = bench();
        let mut rings = [Ring::open(&mut b, 3, 10), Ring::open(&mut b, 4, 11)];
        let which = WhichCommands { which: Which::Nth(1), vintf, opcode: None };
        b.smmu.set_faults(&PsmmuFaults { drop_tlbi: which, ..Default::default() });
        let tlbi = |page: u64| [Command::tlbi_s2_ipa(VMID, page << 12, true), Command::sync()];
        for page in 1..4 {
            b.read_page(page).expect("mapped");
            b.unmap(page);
        }
        b.submit(&tlbi(1));
        rings.iter_mut().zip(2..).for_each(|(ring, page)| ring.push(&mut b, &tlbi(page)));
        assert_eq!([1, 2, 3].map(|page| b.read_page(page).is_ok()), lost, "{vintf:?}");

        b.smmu.set_faults(&PsmmuFaults { corrupt_command: which, ..Default::default() });
        b.submit(&[Command::sync()]);
        rings.iter_mut().for_each(|ring| ring.push(&mut b, &[Command::sync()]));
        let errors = [b.cons().1, rings[0].cons(&mut b).1, rings[1].cons(&mut b).1];
        assert_eq!(errors, lost.map(u32::from), "{vintf:?}");
    }
}

/// An early CMD_SYNC of one queue leaves its invalidation to whichever command comes next, of any queue.
#[test]
fn an_early_sync_is_made_good_by_another_queue() {
    let mut b = bench();
    let mut rings = [Ring::open(&mut b, 3, 10), Ring::open(&mut b, 4, 11)];
    b.smmu.set_faults(&PsmmuFaults { early_sync: Which::Nth(1), ..Default::default() });
    b.read_page(1).expect("mapped");
    b.unmap(1);
    rings[0].push(&mut b, &[Command::tlbi_s2_ipa(0, 0x1000, true), Command::sync()]);
    assert_eq!((rings[0].cons(&mut b), b.read_page(1).is_ok()), ((2, 0), true));
    rings[1].push(&mut b, &[Command::tlbi_nh_asid(1, 0)]);
    assert_eq!(b.read_page(1), Err(ABORTED));
}

/// What a disabled queue has left behind is completed by the main queue, also when it is held back.
#[test]
fn the_main_queue_completes_what_a_disabled_one_holds() {
    let mut b = bench();
    let mut ring = Ring::open(&mut b, 3, 10);
    b.smmu.set_faults(&PsmmuFaults { early_sync: Which::Nth(100), ..Default::default() });
    b.world.atc_answers = false;
    ring.push(&mut b, &[Command::atc_inv(VIRTUAL, None, 0, 52)]);
    assert_eq!(b.world.invalidations, []);
    b.write_at(ring.at("CONFIG"), 0);
    b.submit(&[Command::sync()]);
    assert_eq!((b.cons(), b.world.invalidations.len()), ((4, 3), 1));
}

#[test]
fn registers_beyond_the_region_abort() {
    let mut b = bench();
    let size = b.smmu.cmdqv().unwrap().size();
    assert_eq!(b.smmu.read(CMDQV + size, 4, &mut b.world), Err(Abort));
    assert!(
        b.world.records.iter().any(|r| matches!(r, Record::BusError { addr, .. } if *addr == CMDQV + size))
    );
}

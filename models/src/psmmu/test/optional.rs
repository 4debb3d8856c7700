//! Enhanced command queues and address translation operations in time.

use spec::smmu::ecmdq::ECMDQ_PROD;

use super::*;
use crate::psmmu::PsmmuFaults;
use crate::smmu::IdrProfile;

/// Registers of enhanced command queue 5.
const QUEUE: u64 = 0x11_4000;
const RING: u64 = 0x8040_0000;
const ENABLED: ECMDQ_PROD = ECMDQ_PROD(0).with_en(true);

/// A machine with an enhanced command queue of 2^`log2` entries.
fn machine(log2: u64, edit: impl FnOnce(&mut PsmmuConfig)) -> Bench {
    let mut b = Bench::booted_with(|c| {
        c.idr = IdrProfile::OPTIONAL;
        edit(c);
    });
    b.write64(QUEUE, RING | log2);
    b.write32(QUEUE + 8, ENABLED.0 as u32);
    b.run();
    b
}
fn store(b: &mut Bench, commands: &[Command]) {
    for (slot, command) in (0..).zip(commands) {
        b.memory.write(RING + 16 * slot, &command.to_bytes());
    }
}
fn ring(b: &mut Bench, prod: u64) {
    b.write32(QUEUE + 8, ENABLED.with_wr(prod).0 as u32);
}
/// Asks where an intermediate page of [`STREAM`] goes.
fn ask(b: &mut Bench, page: u64) {
    b.write64(0x108, STREAM.into());
    b.write64(0x110, page << 12 | 2 << 10 | 1 << 8);
    b.write32(0x100, 1);
}
fn runs(b: &mut Bench) -> bool {
    b.read32(0x100) == 1
}

#[test]
fn enack_takes_as_long_as_other_updates() {
    let mut b = Bench::booted_with(|c| c.idr = IdrProfile::OPTIONAL);
    let (written, update) = (b.now(), b.psmmu.config().timing.update);
    b.write32(QUEUE + 8, ENABLED.0 as u32);
    assert_eq!(b.read32(QUEUE + 0xc) >> 31, 0);
    b.run_until(written + update);
    assert_eq!(b.read32(QUEUE + 0xc) >> 31, 1);
}

#[test]
fn queues_take_turns() {
    let mut b = machine(3, |_| ());
    let pages = |first: u64| (first..first + 6).map(|page| Command::atc_inv(STREAM, None, page << 12, 0));
    let stalled = |stalled| PsmmuFaults { stalled, ..PsmmuFaults::default() };
    b.psmmu.set_faults(&stalled(true));
    b.submit(&pages(0).collect::<Vec<_>>());
    store(&mut b, &pages(0x10).collect::<Vec<_>>());
    ring(&mut b, 6);
    assert_eq!(b.invalidations, []);
    b.psmmu.set_faults(&stalled(false));
    ring(&mut b, 6);
    b.run();
    let own: Vec<_> = b.invalidations.iter().map(|i| i.addr >> 16).collect();
    assert!(own == [0, 1].repeat(6) || own == [1, 0].repeat(6), "{own:?}");
}

#[test]
fn a_full_queue_that_gets_room_wakes_those_who_wait() {
    let sev = IdrProfile::OPTIONAL.idr0;
    for (idr0, commands, wakes) in [(sev, 2, 1), (sev, 1, 0), (sev & !(1 << 14), 2, 0)] {
        let mut b = machine(1, |c| c.idr.idr0 = idr0);
        store(&mut b, &[Command::cfgi_all(); 2]);
        ring(&mut b, commands);
        b.run();
        assert_eq!(u64::from(b.read32(QUEUE + 0xc) & 0xf_ffff), commands);
        assert_eq!(b.metric("wake_events"), wakes, "{commands} commands");
    }
}

#[test]
fn an_operation_takes_as_long_as_a_transaction_translates() {
    let mut b = machine(1, |_| ());
    let (started, reads) = (b.now(), b.metric("walk_reads"));
    ask(&mut b, 1);
    while runs(&mut b) {
        assert!(b.step());
    }
    // STE and three levels, less what the walk caches know by now: nothing.
    assert_eq!(b.metric("walk_reads") - reads, 4);
    assert!(b.now() >= started + b.latency * 4);
    assert_eq!(b.psmmu.registers().read(0x118, 8) & !0xff00_0000_0000_0300, PAGES + 0x1000);
    assert_eq!((b.metric("dmas"), b.metric("misses")), (0, 1));
    assert!(b.psmmu.is_idle());
    let started = b.now();
    ask(&mut b, 1);
    b.run();
    assert_eq!(b.metric("main_tlb.hits"), 1, "it finds what it has filled");
    assert!(b.now() < started + b.latency);
}

#[test]
fn an_operation_holds_a_translation_slot() {
    let mut b = machine(1, |c| c.timing.translation_slots = 1);
    ask(&mut b, 1);
    let tag = b.dma(STREAM, 0x2000, Op::Read { len: 8 });
    while runs(&mut b) {
        assert!(b.step());
    }
    assert_eq!(b.completion(tag), None);
    b.run();
    assert!(b.completion(tag).is_some() && b.metric("slots_full") > 0);
}

#[test]
fn cmd_sync_waits_for_an_operation_before_it() {
    let mut b = machine(1, |_| ());
    b.latency = Time::us(2);
    ask(&mut b, 1);
    b.latency = Time::ns(50);
    let before = b.consumed(Opcode::SYNC);
    b.push(&[Command::tlbi_s12_vmall(VMID), Command::sync()]);
    while b.consumed(Opcode::SYNC) == before {
        assert!(b.step());
    }
    assert!(!b.psmmu.registers().is_operating(crate::smmu::atos::Group::Global));
}

#[test]
fn smmuen_waits_for_an_operation() {
    let mut b = machine(1, |_| ());
    b.latency = Time::us(2);
    ask(&mut b, 1);
    let (written, update) = (b.now(), b.psmmu.config().timing.update);
    b.write32(CR0, CMDQEN | EVENTQEN);
    b.run_until(written + update * 2);
    assert_eq!(b.read32(CR0ACK) & SMMUEN, SMMUEN);
    b.run();
    assert_eq!((b.read32(CR0ACK) & SMMUEN, runs(&mut b)), (0, false));
    assert_eq!(b.read32(0x118) & !0xfff, (PAGES + 0x1000) as u32, "it ended as if nothing had been written");
}

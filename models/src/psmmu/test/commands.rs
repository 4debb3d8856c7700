//! The main command queue, CMD_SYNC, errors, and registers in time.

use super::*;
use spec::smmu::GlobalError;

const SYNC: Command = Command::sync();

#[test]
fn updates_take_time_and_end() {
    let mut b = Bench::with(|_| ());
    b.write32(CR0, CMDQEN);
    assert_eq!((b.read32(CR0), b.read32(CR0ACK)), (CMDQEN, 0), "readable at once, in effect later");
    b.run();
    assert_eq!(b.read32(CR0ACK), CMDQEN);
    b.write32(0x44, 0x8010_0000);
    assert_eq!(b.read32(0x44), 0x8010_0000, "Update is set");
    b.run();
    assert_eq!(b.read32(0x44), 0x0010_0000);
}

#[test]
fn the_queue_wraps() {
    let mut b = Bench::booted();
    for round in 0..5 {
        b.submit(&[Command::cfgi_all(), Command::tlbi_nsnh_all(), SYNC]);
        assert_eq!(b.cons(), ((4 + 3 * (round + 1)) % 16, 0));
    }
    assert!(b.psmmu.is_idle());
    assert_eq!(b.metric("commands.SYNC"), 2 + 5);
}

#[test]
fn commands_wait_for_the_enable() {
    let mut b = Bench::with(|_| ());
    b.write64(0x90, COMMANDS | QUEUE_LOG2);
    b.submit(&[Command::cfgi_all(), SYNC]);
    assert_eq!(b.cons(), (0, 0));
    b.update(CR0, CR0ACK, CMDQEN);
    assert_eq!(b.cons(), (2, 0));
}

#[test]
fn an_illegal_command_stops_the_queue_until_acknowledged() {
    let mut b = Bench::booted();
    let bad = b.next_slot() + 32;
    b.submit(&[Command::cfgi_all(), Command::cfgi_all(), Command([0xff, 0]), SYNC]);
    assert_eq!(b.cons(), (6, 1));
    assert_eq!(b.read32(GERROR), 1);
    assert_eq!(b.interrupts, [77]);
    b.push(&[SYNC]);
    b.run();
    assert_eq!(b.cons(), (6, 1), "more commands change nothing");
    b.memory.write(bad, &SYNC.to_bytes());
    b.write32(GERRORN, 1);
    b.run();
    assert_eq!(b.cons().0, 9, "no PROD write is needed");
    assert_eq!(b.interrupts, [77]);
}

#[test]
fn software_may_take_commands_back() {
    let mut b = Bench::booted();
    b.submit(&[Command([0xff, 0]), Command([0xfe, 0])]);
    assert_eq!(b.cons(), (4, 1));
    b.write32(CMDQ_PROD, 4);
    b.prod = 4;
    b.write32(GERRORN, 1);
    b.submit(&[SYNC]);
    assert_eq!((b.cons().0, b.read32(GERROR)), (5, 1), "no second error");
}

#[test]
fn an_aborted_fetch_is_reported_at_its_command() {
    let mut b = Bench::booted();
    b.aborts.insert(COMMANDS + 64);
    b.submit(&[SYNC]);
    assert_eq!(b.cons(), (4, 2));
    b.aborts.clear();
    b.write32(GERRORN, 1);
    b.run();
    assert_eq!(b.cons().0, 5);
}

/// CMD_SYNC completes only after the accesses that were in flight when it was issued, whatever they use.
#[test]
fn sync_waits_for_transactions_in_flight() {
    for delay in [Time::ZERO, Time::us(3), Time::us(40)] {
        let mut b = Bench::booted();
        b.read_page(1);
        b.data_delay = delay;
        let tag = b.dma(STREAM, 0x1000, Op::Write(Data::u64(7)));
        b.run_until(b.now());
        b.unmap(1);
        b.submit(&[Command::tlbi_s2_ipa(VMID, 0x1000, true), SYNC]);
        let done = b.completion(tag).unwrap().0;
        let synced = b.consumed(Opcode::SYNC).unwrap();
        assert!(synced + b.psmmu.config().timing.complete > done, "{synced} {done}");
        assert_eq!(b.result(tag), DmaResult::Ok(Data::EMPTY));
        assert!(matches!(b.read_page(1), DmaResult::Aborted(_)), "and nothing is left in a TLB");
    }
}

#[test]
fn sync_does_not_wait_for_later_transactions() {
    let mut b = Bench::booted();
    b.read_page(1);
    b.data_delay = Time::us(100);
    b.push(&[SYNC]);
    b.dma_at(b.now() + Time::us(1), STREAM, 0x1000, Op::Read { len: 8 }, AddressType::Untranslated);
    let start = b.now();
    b.run();
    assert!(b.consumed(Opcode::SYNC).unwrap() < start + Time::us(1));
}

/// A walk that read the old descriptor before the invalidation may be used, but leaves nothing behind.
#[test]
fn a_walk_overtaken_by_an_invalidation_fills_nothing() {
    let mut b = Bench::booted();
    b.read_page(2); // configuration and upper levels are cached now
    b.latency = Time::us(2);
    let tag = b.dma(STREAM, 0x3000, Op::Read { len: 8 });
    let start = b.now();
    b.run_until(start + Time::ns(500)); // the leaf's read has taken effect, its answer is on its way
    b.unmap(3);
    b.latency = Time::ns(50);
    b.push(&[Command::tlbi_s2_ipa(VMID, 0x3000, true), SYNC]);
    b.run();
    assert!(matches!(b.result(tag), DmaResult::Ok(_)), "it had the old translation");
    assert!(
        b.consumed(Opcode::TLBI_S2_IPA).unwrap() < start + Time::us(2),
        "the invalidation overtook the walk"
    );
    assert!(b.consumed(Opcode::SYNC).unwrap() > b.completion(tag).unwrap().0 - Time::ns(10));
    assert!(matches!(b.read_page(3), DmaResult::Aborted(_)), "nothing was filled");
}

#[test]
fn sync_messages() {
    let mut b = Bench::booted();
    let slot = b.next_slot();
    b.submit(&[Command::sync_msi(slot, 0)]);
    let (when, addr, value) = *b.writes.last().unwrap();
    assert_eq!((addr, value), (slot, 0), "the message lands in the command's own slot");
    assert!(when >= b.consumed(Opcode::SYNC).unwrap());
    assert_eq!(b.memory.read_u32(slot), 0);
    assert_eq!(b.interrupts, [76], "and on the wire, whatever the address");
    b.submit(&[Command::sync_sev()]);
    assert_eq!(b.metric("wake_events"), 1);
    b.submit(&[Command::sync_msi(0, 5)]);
    assert_eq!(b.interrupts, [76, 76], "without an address it is a pulse");
    assert_eq!(b.cons(), (7, 0));
}

#[test]
fn an_aborted_sync_message_is_a_global_error_and_the_next_sync_waits_for_it() {
    let mut b = Bench::booted();
    b.aborts.insert(DOORBELL);
    b.submit(&[Command::sync_msi(DOORBELL, 1), SYNC]);
    assert_eq!(b.cons(), (6, 0), "both complete");
    assert_eq!(b.read32(GERROR), GlobalError::MSI_CMDQ_ABT_ERR.mask() as u32);
    let active = b.records.iter().position(|(_, r)| matches!(r, Record::GlobalError { .. })).unwrap();
    let second = b.records.iter().rposition(|(_, r)| matches!(r, Record::CommandConsumed { .. })).unwrap();
    assert!(active < second, "the abort is recorded before the second CMD_SYNC completes");
}

#[test]
fn atc_invalidations_complete_before_the_sync() {
    let mut b = Bench::booted();
    b.atc_delay = Some(Time::us(2));
    let start = b.now();
    b.submit(&[Command::atc_inv(STREAM, None, 0x1234_5000, 4), SYNC]);
    assert!(b.consumed(Opcode::ATC_INV).unwrap() < start + Time::us(1), "consumed at once");
    assert!(b.consumed(Opcode::SYNC).unwrap() > start + Time::us(2));
    let [invalidate] = b.invalidations[..] else { panic!("one invalidation: {:?}", b.invalidations) };
    assert_eq!((invalidate.sid, invalidate.addr, invalidate.size_log2), (STREAM, 0x1234_0000, 16));
}

#[test]
fn an_atc_timeout_stops_the_sync() {
    let mut b = Bench::booted_with(|c| c.timing.atc_timeout = Time::us(10));
    b.atc_delay = None;
    let start = b.now();
    b.submit(&[Command::atc_inv(STREAM, None, 0, 52), SYNC]);
    assert_eq!(b.cons(), (5, 3), "CONS stays at the CMD_SYNC");
    assert_eq!(b.consumed(Opcode::SYNC), None);
    assert!(b.records.last().unwrap().0 >= start + Time::us(10));
    b.write32(GERRORN, 1);
    b.run();
    assert_eq!(b.cons().0, 6, "the repeated CMD_SYNC has nothing to complain about");
    assert_eq!(b.metric("atc_timeouts"), 1);
}

#[test]
fn disabling_stops_between_commands() {
    let mut b = Bench::booted();
    b.data_delay = Time::us(20);
    b.dma(STREAM, 0x1000, Op::Read { len: 8 });
    b.push(&[SYNC, Command::cfgi_all()]);
    b.run_until(b.now() + Time::us(2));
    b.write32(CR0, SMMUEN | EVENTQEN);
    b.run_until(b.now() + Time::us(2));
    assert_eq!(b.read32(CR0ACK) & CMDQEN, CMDQEN, "the CMD_SYNC is still in progress");
    b.run();
    assert_eq!((b.read32(CR0ACK), b.cons()), (SMMUEN | EVENTQEN, (5, 0)));
    b.update(CR0, CR0ACK, SMMUEN | EVENTQEN | CMDQEN);
    assert_eq!(b.cons(), (6, 0));
}

#[test]
fn a_full_queue_that_gets_room_wakes_those_who_wait() {
    let all = 1 << QUEUE_LOG2;
    for (commands, wakes) in [(all, 1), (all - 1, 0)] {
        let mut b = Bench::booted();
        b.submit(&vec![Command::cfgi_all(); commands]);
        assert_eq!(b.metric("wake_events"), wakes, "{commands} commands");
    }
}

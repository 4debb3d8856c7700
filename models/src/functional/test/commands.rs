//! Registers, the main command queue, CMD_SYNC, errors.

use super::*;
use crate::smmu::lint::Lint;
use spec::smmu::GlobalError;
use spec::smmu::page0::IDR1;

const SYNC: Command = Command::sync();

#[test]
fn updates_are_over_when_the_write_returns() {
    let mut b = Bench::with(|_| ());
    for (register, ack, value) in
        [(CR0, CR0ACK, CMDQEN), (0x50, 0x54, 5), (CR0, CR0ACK, SMMUEN), (0x50, 0x54, 0)]
    {
        b.update(register, ack, value);
    }
    b.write32(0x44, 0x8010_0000);
    assert_eq!(b.read32(0x44), 0x0010_0000, "GBPA.Update is clear again");
    let updates = b.world.records.iter().filter_map(|r| match r {
        Record::SmmuUpdated { offset, value, .. } => Some((*offset, *value)),
        _ => None,
    });
    assert_eq!(updates.collect::<Vec<_>>(), [(0x24, 8), (0x54, 5), (0x24, 1), (0x54, 0), (0x44, 0x10_0000)]);
}

#[test]
fn accesses_have_a_place_and_a_width() {
    let mut b = Bench::booted();
    for (offset, len, want) in [
        (CR0, 4, Some(0xd)),
        (CR0, 8, Some(0xd_0000_000d)),
        (CR0, 1, Some(0)),
        (CR0 + 2, 4, Some(0)),
        (0x1_0000 + 0xa8, 4, Some(0)),
        (0x2_0000, 4, None),
        (u64::MAX - BASE, 1, None),
    ] {
        assert_eq!(b.smmu.read(BASE.wrapping_add(offset), len, &mut b.world).ok(), want, "{offset:#x} {len}");
    }
    assert_eq!(b.smmu.write(BASE + 0x2_0000, 4, 0, &mut b.world), Err(Abort));
    b.smmu.write(BASE + 0x80, 4, 0xffff_ffff_dead_0000, &mut b.world).expect("a register");
    assert_eq!(b.read32(0x84), 0, "only as many bytes as were written");
    let lints: Vec<_> = b
        .world
        .records
        .iter()
        .filter_map(|record| match record {
            Record::Lint { text, .. } => Some(text.clone()),
            _ => None,
        })
        .collect();
    let odd = [Lint::TwoRegisters, Lint::AccessSize, Lint::AccessSize, Lint::TablesEnabled];
    assert_eq!(lints, odd.map(|lint| lint.to_string()), "STRTAB_BASE cannot change while SMMUEN=1");
}

#[test]
fn the_queue_wraps() {
    let mut b = Bench::booted();
    for round in 0..5 {
        b.submit(&[Command::cfgi_all(), Command::tlbi_nsnh_all(), SYNC]);
        assert_eq!(b.cons(), ((4 + 3 * (round + 1)) % 16, 0));
    }
    assert_eq!((b.metric("commands.SYNC"), b.consumed(Opcode::SYNC)), (2 + 5, 5));
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
fn the_largest_queue_is_consumed_in_one_call() {
    let mut b = Bench::with(|c| c.idr.idr1 = IDR1(c.idr.idr1.into()).with_cmdqs(19).0 as u32);
    b.write64(0x90, 0x1_0000_0000 | 19);
    b.update(CR0, CR0ACK, CMDQEN);
    for index in 0..1 << 19 {
        b.world.memory.write(0x1_0000_0000 + 16 * index, &Command::cfgi_ste(index as u32, true).to_bytes());
    }
    b.write32(CMDQ_PROD, 1 << 19);
    assert_eq!((b.cons(), b.metric("queue.main.commands")), ((1 << 19, 0), 1 << 19));
    b.write32(CMDQ_PROD, (1 << 19) - 1);
    assert_eq!(b.cons(), (1 << 19, 0), "a PROD that cannot be is an empty queue");
}

#[test]
fn an_illegal_command_stops_the_queue_until_acknowledged() {
    let mut b = Bench::booted();
    let bad = b.next_slot() + 32;
    b.submit(&[Command::cfgi_all(), Command::cfgi_all(), Command([0xff, 0]), SYNC]);
    assert_eq!((b.cons(), b.read32(GERROR)), ((6, 1), 1));
    assert_eq!(b.world.interrupts, [77]);
    b.submit(&[SYNC]);
    assert_eq!(b.cons(), (6, 1), "more commands change nothing");
    b.world.memory.write(bad, &SYNC.to_bytes());
    b.write32(GERRORN, 1);
    assert_eq!(b.cons().0, 9, "no PROD write is needed");
    assert_eq!(b.world.interrupts, [77]);
}

#[test]
fn software_may_take_commands_back() {
    let mut b = Bench::booted();
    b.submit(&[Command([0xff, 0]), Command([0xfe, 0])]);
    assert_eq!(b.cons(), (4, 1));
    b.prod = 4;
    b.write32(CMDQ_PROD, 4);
    b.write32(GERRORN, 1);
    b.submit(&[SYNC]);
    assert_eq!((b.cons().0, b.read32(GERROR)), (5, 1), "no second error");
}

#[test]
fn an_aborted_fetch_is_reported_at_its_command() {
    let mut b = Bench::booted();
    b.world.aborts.insert(COMMANDS + 64);
    b.submit(&[SYNC]);
    assert_eq!(b.cons(), (4, 2));
    b.world.aborts.clear();
    b.write32(GERRORN, 1);
    assert_eq!(b.cons().0, 5);
}

#[test]
fn sync_signals() {
    let mut b = Bench::booted();
    let slot = b.next_slot();
    b.submit(&[Command::sync_msi(slot, 0)]);
    assert_eq!(
        b.world.writes.last(),
        Some(&(slot, vec![0; 4])),
        "the message lands in the command's own slot"
    );
    assert_eq!(b.world.interrupts, [76], "and on the wire, whatever the address");
    let n = b.world.records.len();
    let is_sync = |r: &Record| matches!(r, Record::CommandConsumed { .. });
    assert!(is_sync(&b.world.records[n - 2]), "CONS moves first");
    b.submit(&[Command::sync_sev()]);
    assert_eq!(b.metric("wake_events"), 1);
    b.submit(&[Command::sync_msi(0, 5)]);
    assert_eq!(b.world.interrupts, [76, 76], "without an address it is a pulse");
    b.world.aborts.insert(DOORBELL);
    b.submit(&[Command::sync_msi(DOORBELL, 1), SYNC]);
    assert_eq!(b.cons(), (9, 0), "both complete");
    assert_eq!(b.read32(GERROR), GlobalError::MSI_CMDQ_ABT_ERR.mask() as u32);
}

#[test]
fn an_invalidation_acts_and_nothing_else_does() {
    let mut b = Bench::booted();
    b.read_page(1).expect("mapped");
    b.unmap(1);
    b.read_page(1).expect("still in the TLB");
    b.submit(&[Command::tlbi_s2_ipa(VMID, 0x2000, true), SYNC]);
    b.read_page(1).expect("that was another page");
    b.submit(&[Command::tlbi_s2_ipa(VMID, 0x1000, true)]);
    assert_eq!(b.read_page(1), Err(ABORTED));
}

#[test]
fn atc_invalidations_are_answered_or_time_out() {
    for (answers, cons) in [(true, (6, 0)), (false, (5, 3))] {
        let mut b = Bench::booted();
        b.world.atc_answers = answers;
        b.submit(&[Command::atc_inv(STREAM, None, 0x1234_5000, 4), SYNC]);
        assert_eq!(b.cons(), cons, "CONS stays at the CMD_SYNC after a time-out");
        let [invalidate] = b.world.invalidations[..] else { panic!("{:?}", b.world.invalidations) };
        assert_eq!((invalidate.sid, invalidate.addr, invalidate.size_log2), (STREAM, 0x1234_0000, 16));
        b.write32(GERRORN, 1);
        assert_eq!(b.cons().0, 6, "the repeated CMD_SYNC has nothing to complain about");
        assert_eq!(b.metric("atc_timeouts"), u64::from(!answers));
    }
}

#[test]
fn reset_is_as_new() {
    let mut b = Bench::booted();
    b.read_page(1).expect("mapped");
    b.submit(&[Command([0xff, 0])]);
    b.smmu.reset();
    assert_eq!([CR0, CR0ACK, CMDQ_PROD, CMDQ_CONS, GERROR].map(|r| b.read32(r)), [0; 5]);
    b.world.memory.write_u64(0x1000, 9);
    assert_eq!(b.read_page(1), Ok(9), "bypass");
    b.prod = 0;
    b.boot();
    assert_eq!(b.read_page(1), Ok(0));
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

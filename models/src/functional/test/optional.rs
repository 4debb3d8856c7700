//! Enhanced command queues without time.

use spec::smmu::ecmdq::ECMDQ_PROD;

use super::*;
use crate::psmmu::PsmmuFaults;

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
    b
}
fn submit(b: &mut Bench, commands: &[Command]) {
    for (slot, command) in (0..).zip(commands) {
        b.world.memory.write(RING + 16 * slot, &command.to_bytes());
    }
    b.write32(QUEUE + 8, ENABLED.with_wr(commands.len() as u64).0 as u32);
}

#[test]
fn queues_take_turns() {
    let mut b = machine(3, |_| ());
    let pages = |first: u64| (first..first + 6).map(|page| Command::atc_inv(STREAM, None, page << 12, 0));
    let stalled = |stalled| PsmmuFaults { stalled, ..PsmmuFaults::default() };
    b.smmu.set_faults(&stalled(true));
    b.submit(&pages(0).collect::<Vec<_>>());
    submit(&mut b, &pages(0x10).collect::<Vec<_>>());
    b.smmu.set_faults(&stalled(false));
    b.submit(&[]);
    let own: Vec<_> = b.world.invalidations.iter().map(|i| i.addr >> 16).collect();
    assert!(own == [0, 1].repeat(6) || own == [1, 0].repeat(6), "{own:?}");
}

#[test]
fn a_full_queue_that_gets_room_wakes_those_who_wait() {
    let sev = IdrProfile::OPTIONAL.idr0;
    for (idr0, commands, wakes) in [(sev, 2, 1), (sev, 1, 0), (sev & !(1 << 14), 2, 0)] {
        let mut b = machine(1, |c| c.idr.idr0 = idr0);
        submit(&mut b, &[Command::cfgi_all(); 2][..commands]);
        assert_eq!((b.read32(QUEUE + 0xc) & 0xf_ffff) as usize, commands);
        assert_eq!(b.metric("wake_events"), wakes, "{commands} commands");
    }
}

/// There is nothing at control pages that do not exist.
#[test]
fn pages_that_do_not_exist_answer_with_an_abort() {
    let mut b = machine(1, |_| ());
    for (offset, exists) in [(0x3_0000, true), (0x11_fffc, true), (0x12_0000, false)] {
        assert_eq!(b.smmu.read(BASE + offset, 4, &mut b.world).is_ok(), exists, "{offset:#x}");
    }
    let mut b = Bench::booted();
    assert!(b.smmu.read(BASE + 0x2_0000, 4, &mut b.world).is_err());
}

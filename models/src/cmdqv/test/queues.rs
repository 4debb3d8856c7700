//! Fetching, the head of a queue, what CONS leads to.

use spec::smmu::Command;

use crate::cmdqv::Effect;
use crate::cmdqv::functional::Rig;

fn asid(n: u16) -> Command {
    Command::tlbi_nh_asid(n, 0)
}

#[test]
fn what_was_read_for_one_prod_is_not_used_for_another() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let mut queue = rig.queue(0, 0, 4);
    rig.halt = true;
    rig.push(&mut queue, &[asid(4), asid(5)]);
    rig.w(queue.reg("PROD"), 0);
    rig.store(queue.ring + 16, asid(6));
    rig.w(queue.reg("PROD"), 2);
    rig.halt = false;
    rig.settle();
    assert_eq!(rig.log_of(0), [asid(4), asid(6)]);
}

#[test]
fn cons_stays_until_the_command_is_done() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let mut queue = rig.queue(0, 0, 4);
    rig.halt = true;
    rig.push(&mut queue, &[asid(1), asid(2), Command::sync()]);
    for done in 0..3 {
        let taken = rig.block.take(0).unwrap();
        assert_eq!(taken.index, done);
        assert!(rig.block.take(0).is_none(), "the next command waits");
        assert_eq!(rig.cons(&queue).0, done);
        rig.block.retire(0, Ok(()));
        rig.settle();
        assert_eq!(rig.cons(&queue).0, done + 1);
    }
    assert!(rig.block.is_idle());
}

#[test]
fn batch_limits_come_from_config() {
    // (CONFIG, commands, clocks)
    let rows =
        [(0x0002_0083, 32, 256), (0x0002_0403, 32, 64 * 32), (0x0000_1013, 1, 32), (0x0000_0003, 1, 0)];
    for (config, commands, clocks) in rows {
        let mut rig = Rig::new();
        rig.w(0x0, config);
        let limits = rig.block.limits();
        assert_eq!(
            (limits.commands, limits.clocks, limits.auto_sync),
            (commands, clocks, true),
            "{config:#x}"
        );
    }
}

#[test]
fn fetches_are_bursts_within_a_line_and_the_depth() {
    // (burst, prefetch, start, commands, lengths in commands while nothing is executed)
    let rows: [(u8, u16, u32, u16, &[u8]); 6] = [
        (4, 8, 0, 32, &[4, 4]),
        (4, 8, 3, 32, &[1, 4]),
        (2, 5, 0, 32, &[2, 2]),
        (1, 3, 0, 32, &[1, 1, 1]),
        (4, 64, 30, 7, &[2, 4, 1]),
        (4, 4, 0, 3, &[3]),
    ];
    for (burst, prefetch, start, commands, expect) in rows {
        let mut rig = Rig::with(|c| (c.burst, c.prefetch) = (burst, prefetch));
        rig.vintf(0, true, 0);
        let mut queue = rig.queue(0, 0, 5);
        rig.w(queue.reg("CONFIG"), 0);
        rig.w(queue.reg("CONS"), start);
        queue.prod = start;
        rig.w(queue.reg("PROD"), start);
        rig.w(queue.reg("CONFIG"), 1);
        rig.hold = true;
        let batch: Vec<_> = (0..commands).map(asid).collect();
        rig.push(&mut queue, &batch);
        let lengths: Vec<u8> = rig
            .held
            .iter()
            .map(|e| if let Effect::Fetch { len, .. } = e { len / 16 } else { panic!("{e:?}") })
            .collect();
        assert_eq!(lengths, expect, "burst {burst}, prefetch {prefetch}, start {start}");
        // Answers in the opposite order make no difference.
        rig.halt = true;
        while let Some(last) = rig.held.len().checked_sub(1) {
            rig.release_nth(last);
        }
        rig.halt = false;
        rig.release();
        assert_eq!(rig.log_of(0), batch);
    }
}

#[test]
fn one_write_back_at_a_time_and_the_last_value_is_not_lost() {
    let mut rig = Rig::with(|c| c.reset_config |= 1 << 20);
    rig.vintf(5, false, 0);
    let mut queue = rig.queue(5, 0, 2);
    rig.w(queue.reg("CONFIG"), 0);
    rig.w64(queue.reg("CONS_INDX_BASE"), 0x1_2345_6780);
    rig.w(queue.reg("CONFIG"), 1);
    rig.halt = true;
    rig.push(&mut queue, &[Command::sync(), Command::sync(), Command::sync()]);
    rig.hold = true;
    rig.halt = false;
    rig.settle();
    assert_eq!(rig.held.iter().filter(|e| matches!(e, Effect::WriteBack { .. })).count(), 1);
    rig.release();
    assert_eq!(rig.write_backs.last(), Some(&(0x1_2345_6780, rig.block.read(0xd_0000, 4) as u32)));
    assert_eq!(rig.cons(&queue).0, 3);
}

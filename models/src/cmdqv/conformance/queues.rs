//! C17 to C25, C52: queue mechanics.

use spec::smmu::Command;

use crate::cmdqv::Effect;
use crate::cmdqv::functional::Rig;

fn asid(n: u16) -> Command {
    Command::tlbi_nh_asid(n, 0)
}

#[test]
fn c17_wraps() {
    for log2size in 1..6_u8 {
        let mut rig = Rig::new();
        rig.vintf(0, true, 0);
        let mut queue = rig.queue(0, 0, log2size);
        let entries = 1_u32 << log2size;
        let mut sent = Vec::new();
        for round in 0..24 {
            // A full ring, then one more, so that the batches start everywhere.
            let n = if round % 2 == 0 { entries } else { 1 };
            let batch: Vec<_> = (0..n).map(|i| asid((sent.len() as u32 + i) as u16)).collect();
            rig.push(&mut queue, &batch);
            sent.extend(batch);
            assert_eq!(rig.cons(&queue), (sent.len() as u32 % (2 * entries), 0), "{log2size} {round}");
        }
        assert!(sent.len() as u32 >= 10 * entries);
        assert_eq!(rig.log_of(0), sent);
        assert_eq!(rig.lints, Vec::<String>::new());
    }
}

#[test]
fn c18_the_largest_ring() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let mut queue = rig.queue(0, 0, 19);
    let batch: Vec<_> = (0..1 << 19).map(|n| asid(n as u16)).collect();
    rig.push(&mut queue, &batch);
    assert_eq!((queue.prod, rig.cons(&queue)), (0x8_0000, (0x8_0000, 0)));
    assert_eq!(rig.log_of(0), batch);
    rig.push(&mut queue, &batch);
    assert_eq!((queue.prod, rig.cons(&queue)), (0, (0, 0)));
}

#[test]
fn c19_nothing_is_read_before_the_doorbell() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let mut queue = rig.queue(0, 0, 4);
    for i in 0..16 {
        rig.store(queue.ring + 16 * i, Command::cfgi_all());
    }
    rig.push(&mut queue, &[asid(1)]);
    rig.push(&mut queue, &[asid(2), asid(3)]);
    assert_eq!(rig.log_of(0), [asid(1), asid(2), asid(3)]);
    // PROD taken back and forward again: what was read for the first PROD is not used for the second.
    rig.halt = true;
    rig.push(&mut queue, &[asid(4), asid(5)]);
    let at = queue.ring + 16 * 4;
    rig.w(queue.reg("PROD"), 3);
    rig.store(at, asid(6));
    rig.w(queue.reg("PROD"), 5);
    rig.halt = false;
    rig.settle();
    assert_eq!(rig.log_of(0)[3..], [asid(4), asid(6)]);
}

#[test]
fn c20_sync_as_linux_writes_it() {
    let mut rig = Rig::new();
    rig.vintf(5, false, 0);
    let mut queue = rig.queue(5, 0, 3);
    let linux = Command::from_words([0x0fc0_0046, 0]);
    rig.push(&mut queue, &[linux, Command::sync()]);
    assert_eq!((rig.cons(&queue), rig.edges, rig.lints.len()), ((2, 0), 0, 0));
    assert_eq!(rig.log_of(10), [linux, Command::sync()]);
}

#[test]
fn c21_cons_stays_until_the_command_is_done() {
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
fn c22_unused_bits_stay_clear() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let mut queue = rig.queue(0, 0, 2);
    for n in 0..40 {
        rig.push(&mut queue, &[asid(n)]);
        assert_eq!(rig.r(queue.reg("CONS")) & !0x7, 0);
    }
    rig.w(queue.reg("PROD"), 1 << 31);
    assert_eq!(rig.r(queue.reg("PROD")), 0);
}

#[test]
fn c23_batch_limits_come_from_config() {
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
fn c25_memory_behind_cons_is_never_read() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let mut queue = rig.queue(0, 0, 3);
    for n in 0..6 {
        rig.push(&mut queue, &[asid(n)]);
        rig.store(queue.ring + 16 * u64::from(n), Command::from_words([u64::MAX; 2]));
    }
    assert_eq!(rig.log_of(0), (0..6).map(asid).collect::<Vec<_>>());
    assert_eq!((rig.cons(&queue), rig.edges), ((6, 0), 0));
}

#[test]
fn c52_backlog_of_a_disabled_queue_runs_once_enabled() {
    let mut rig = Rig::new();
    rig.vintf(5, false, 0);
    let mut queue = rig.queue(5, 0, 3);
    rig.w(queue.reg("CONFIG"), 0);
    rig.w(queue.reg("CONS"), 6);
    queue.prod = 6;
    rig.push(&mut queue, &[Command::sync(), asid(1), asid(2)]);
    assert_eq!(rig.fetches.len(), 0);
    rig.w(queue.reg("CONFIG"), 1);
    assert_eq!((rig.cons(&queue), rig.log_of(10).len()), ((9, 0), 3));
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
fn bits_above_the_wrap_bit_are_ignored() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let queue = rig.queue(0, 0, 2);
    rig.w(queue.reg("CONFIG"), 0);
    rig.w(queue.reg("CONS"), 0xf_fff9);
    rig.w(queue.reg("PROD"), 0x1);
    rig.w(queue.reg("CONFIG"), 1);
    assert_eq!(rig.cons(&queue).0, 1);
    rig.store(queue.ring + 16, asid(1));
    rig.w(queue.reg("PROD"), 0xab_cdf2);
    assert_eq!((rig.cons(&queue).0, rig.log_of(0)), (2, vec![asid(1)]));
}

#[test]
fn prod_too_far_counts_as_full() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let queue = rig.queue(0, 0, 2);
    for i in 0..4 {
        rig.store(queue.ring + 16 * i, asid(i as u16));
    }
    rig.halt = true;
    rig.w(queue.reg("PROD"), 6);
    assert_eq!((rig.block.backlog(0), rig.lints.len()), (4, 1));
    rig.halt = false;
    rig.settle();
    assert_eq!(rig.cons(&queue).0, 6, "only its owner is harmed");
}

#[test]
fn registers_of_an_enabled_queue_are_protected() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let queue = rig.queue(0, 0, 2);
    let base = rig.r64(queue.reg("BASE"));
    rig.w(queue.reg("CONS"), 3);
    rig.w64(queue.reg("BASE"), 0);
    rig.w(queue.reg("CONS_INDX_BASE"), 0x1000);
    assert_eq!(
        (rig.cons(&queue).0, rig.r64(queue.reg("BASE")), rig.r64(queue.reg("CONS_INDX_BASE"))),
        (0, base, 0)
    );
    assert_eq!(rig.lints.len(), 3);
}

#[test]
fn cons_is_written_to_memory() {
    let mut rig = Rig::with(|c| c.reset_config |= 1 << 20);
    rig.vintf(5, false, 0);
    let mut queue = rig.queue(5, 0, 2);
    rig.push(&mut queue, &[Command::sync()]);
    assert_eq!(rig.write_backs, [], "no address, no write");
    rig.w(queue.reg("CONFIG"), 0);
    rig.w64(queue.reg("CONS_INDX_BASE"), 0x1_2345_6780);
    rig.w(queue.reg("CONFIG"), 1);
    rig.push(&mut queue, &[Command::sync(), Command::cfgi_all()]);
    assert_eq!(rig.write_backs, [(0x1_2345_6780, 2), (0x1_2345_6780, 0x0100_0002)]);
    // One write at a time; the last value is not lost.
    rig.store(queue.ring + 32, Command::sync());
    rig.acknowledge(&queue);
    rig.write_backs.clear();
    rig.halt = true;
    rig.push(&mut queue, &[Command::sync(), Command::sync(), Command::sync()]);
    rig.hold = true;
    rig.halt = false;
    rig.settle();
    assert_eq!(rig.held.iter().filter(|e| matches!(e, Effect::WriteBack { .. })).count(), 1);
    rig.release();
    assert_eq!(rig.write_backs.last(), Some(&(0x1_2345_6780, rig.block.read(0xd_0000, 4) as u32)));
    assert_eq!(rig.cons(&queue).0, 6);
    // An abort is an error of its own.
    rig.abort_once.insert(0x1_2345_6780);
    rig.push(&mut queue, &[Command::sync()]);
    assert_eq!((rig.r(queue.reg("GERROR")) ^ rig.r(queue.reg("GERRORN")), rig.cons(&queue).0), (2, 7));
    rig.acknowledge(&queue);
    rig.push(&mut queue, &[Command::sync()]);
    assert_eq!(rig.cons(&queue).0, 0);
}

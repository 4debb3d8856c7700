//! What STATUS waits for, on three levels.

use spec::smmu::Command;

use crate::cmdqv::Effect;
use crate::cmdqv::functional::{Lvcmdq, Rig};

fn guest(rig: &mut Rig, v: u8) -> Lvcmdq {
    rig.vintf(v, false, v.into());
    rig.queue(v, 0, 10)
}

#[test]
fn status_waits_for_the_handshake() {
    let mut rig = Rig::new();
    for (config, before, after) in [(0x0002_0082, 1, 0), (0x0002_0083, 0, 1)] {
        rig.hold = true;
        rig.w(0x0, config);
        assert_eq!((rig.r(0x0), rig.r(0x8)), (config, before));
        rig.release();
        assert_eq!((rig.r(0x0), rig.r(0x8)), (config, after));
    }
}

#[test]
fn disable_waits_for_the_command_in_execution() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig, 5);
    rig.halt = true;
    rig.push(&mut queue, &[Command::sync(); 1000]);
    let taken = rig.block.take(10).unwrap();
    assert_eq!(taken.index, 0);
    rig.hold = true;
    rig.settle();
    rig.w(queue.reg("CONFIG"), 0);
    assert!(!rig.block.is_ready(10), "nothing more is taken");
    let asked = rig.held.iter().filter(|e| matches!(e, Effect::Fetch { .. })).count();
    assert_eq!((rig.r(queue.reg("STATUS")), rig.held.len() - asked), (1, 1));
    rig.release();
    assert_eq!(rig.r(queue.reg("STATUS")), 1, "a command is in execution");
    rig.block.retire(10, Ok(()));
    rig.settle();
    assert_eq!((rig.r(queue.reg("STATUS")), rig.cons(&queue)), (0, (1, 0)));
    let fetches = rig.fetches.len();
    rig.halt = false;
    rig.settle();
    rig.w(queue.reg("PROD"), 1001);
    assert_eq!((rig.fetches.len(), rig.log.len()), (fetches, 0));
    assert!(rig.block.is_idle());
    rig.w(queue.reg("PROD"), 1000);
    rig.w(queue.reg("CONFIG"), 1);
    assert_eq!((rig.cons(&queue), rig.log.len()), ((1000, 0), 999), "it goes on at CONS");
}

#[test]
fn status_waits_for_fetches() {
    for (early, expect) in [(false, [1, 1, 0]), (true, [1, 0, 0])] {
        let mut rig = Rig::with(|c| c.faults.early_disable = early);
        let mut queue = guest(&mut rig, 5);
        rig.hold = true;
        rig.push(&mut queue, &[Command::sync(); 4]);
        rig.w(queue.reg("CONFIG"), 0);
        assert!(matches!(rig.held[..], [Effect::Fetch { .. }, Effect::Handshake { .. }]));
        let before = rig.r(queue.reg("STATUS"));
        rig.release_nth(1);
        let between = rig.r(queue.reg("STATUS"));
        rig.release_nth(0);
        assert_eq!([before, between, rig.r(queue.reg("STATUS"))], expect);
        assert_eq!(rig.log.len(), 0);
    }
}

#[test]
fn disable_reaches_down() {
    // A VINTF's and the block's STATUS wait for every queue below.
    for (config, status) in [("VINTF5.CONFIG", "VINTF5.STATUS"), ("CONFIG", "STATUS")] {
        let mut rig = Rig::new();
        let mut queues = [guest(&mut rig, 5), rig.queue(5, 1, 4)];
        rig.halt = true;
        for queue in &mut queues {
            rig.push(queue, &[Command::sync(); 3]);
            rig.block.take(queue.q).unwrap();
        }
        let on = rig.r(config);
        rig.w(config, on & !1);
        for queue in &queues {
            assert_eq!(rig.r(status) & 1, 1, "{status}");
            rig.block.retire(queue.q, Ok(()));
            rig.settle();
            assert_eq!(rig.r(queue.direct("STATUS")), 0);
        }
        assert_eq!(rig.r(status) & 1, 0, "{status}");
        assert!(rig.block.is_idle());
    }
}

#[test]
fn toggling_enable_faster_than_the_handshake() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig, 5);
    rig.hold = true;
    for config in [0, 1, 0, 1, 0, 1] {
        rig.w(queue.reg("CONFIG"), config);
        rig.w("VINTF5.CONFIG", 5 << 1 | u32::from(config == 1));
        rig.w("CONFIG", 0x0002_0082 | config);
    }
    rig.release();
    rig.w(queue.reg("CONFIG"), 1);
    rig.push(&mut queue, &[Command::sync()]);
    assert_eq!((rig.r(queue.reg("STATUS")), rig.cons(&queue).0), (1, 1));
    assert_eq!((rig.r("STATUS"), rig.r("VINTF5.STATUS") & 1), (1, 1));
}

#[test]
fn deallocating_a_running_queue_stops_and_hides_it() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig, 5);
    rig.halt = true;
    rig.push(&mut queue, &[Command::tlbi_nh_asid(1, 1); 4]);
    rig.block.take(10).unwrap();
    rig.w("CMDQ_ALLOC10", 5 << 15);
    assert_eq!((rig.lints.len(), rig.r(queue.reg("PROD")), rig.r(queue.direct("PROD"))), (1, 0, 4));
    assert_eq!(rig.r(queue.direct("STATUS")), 1);
    // Given to another VINTF at once: an error of the old owner's command is not the new owner's.
    rig.vintf(6, false, 6);
    rig.w("CMDQ_ALLOC10", 6 << 15 | 1);
    rig.block.retire(10, Err(spec::smmu::error::CommandError::CERROR_ILL));
    rig.settle();
    assert_eq!((rig.r("VINTF6.LVCMDQ0.GERROR"), rig.edges), (0, 0));
    rig.halt = false;
    rig.settle();
    assert_eq!(rig.log_of(10), [Command::tlbi_nh_asid(1, 6); 4], "it now runs for the new owner");
}

/// A queue that is taken from a running VINTF goes on for it until its backlog is done: an error of a command is told to nobody, and is not
/// met again and again.
#[test]
fn an_error_of_a_queue_that_has_gone_is_met_once() {
    let mut rig = Rig::with(|c| c.knobs.backlog = crate::cmdqv::knobs::Backlog::Drain);
    let mut queue = guest(&mut rig, 5);
    rig.halt = true;
    rig.push(&mut queue, &[Command::tlbi_nh_asid(1, 1); 4]);
    rig.w("CMDQ_ALLOC10", 6 << 15 | 1);
    let mut met = 0;
    while rig.block.take(10).is_some() {
        rig.block.retire(10, Err(spec::smmu::error::CommandError::CERROR_ILL));
        rig.settle();
        met += 1;
        assert!(met <= 4, "there are no more commands");
    }
    assert_eq!((met, rig.edges), (4, 0));
}

//! C44 to C48, C50, C51: disable, teardown, life cycles.

use spec::smmu::Command;

use crate::cmdqv::Effect;
use crate::cmdqv::functional::{Lvcmdq, Rig};

fn guest(rig: &mut Rig, v: u8) -> Lvcmdq {
    rig.vintf(v, false, v.into());
    rig.queue(v, 0, 10)
}

/// The reset sequence of drivers for one queue, without the CMD_SYNC on the SMMU's own queue.
fn reset(rig: &mut Rig, queue: &Lvcmdq) {
    rig.w(queue.reg("CONFIG"), 0);
    assert_eq!(rig.r(queue.reg("STATUS")), 0);
    rig.w(queue.reg("PROD"), 0);
    rig.w(queue.reg("CONS"), 0);
    rig.w64(queue.reg("BASE"), 0);
    rig.w64(queue.reg("CONS_INDX_BASE"), 0);
    if rig.r(queue.reg("GERROR")) != rig.r(queue.reg("GERRORN")) {
        rig.acknowledge(queue);
    }
}

#[test]
fn c44_disable_with_a_backlog() {
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
fn c45_disable_in_error() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig, 5);
    rig.push(&mut queue, &[Command::cfgi_all(), Command::sync()]);
    rig.w(queue.reg("CONFIG"), 0);
    assert_eq!((rig.r(queue.reg("STATUS")), rig.r("VINTF_ERR_MAP_0")), (0, 1 << 5));
    assert_ne!(rig.r(queue.reg("GERROR")), rig.r(queue.reg("GERRORN")));
    reset(&mut rig, &queue);
    assert_eq!(rig.r(queue.reg("GERROR")), rig.r(queue.reg("GERRORN")));
    assert_eq!(
        (rig.r("VINTF_ERR_MAP_0"), rig.r("CMDQ_ERR_MAP_0"), rig.r("VINTF5.STATUS") >> 1 & 7),
        (0, 0, 0)
    );
    assert_eq!(rig.edges, 1);
}

#[test]
fn c46_disabling_a_vintf_keeps_its_table() {
    let mut rig = Rig::new();
    rig.vintf(5, false, 1);
    for s in 0..16 {
        rig.sid(5, s, 0x100 + u32::from(s), 0x200 + u32::from(s));
    }
    rig.w("VINTF5.CONFIG", 0);
    for s in 0..16_u32 {
        assert_eq!(rig.r(format!("VINTF5.SID_MATCH{s}")), (0x100 + s) << 1 | 1);
        assert_eq!(rig.r(format!("VINTF5.SID_REPLACE{s}")), 0x200 + s);
        rig.w(format!("VINTF5.SID_MATCH{s}"), 0);
        rig.w(format!("VINTF5.SID_REPLACE{s}"), 0);
    }
    for s in 0..16 {
        assert_eq!((rig.r(0x1540 + 4 * s), rig.r(0x1580 + 4 * s)), (0, 0));
    }
}

#[test]
fn c47_the_next_owner_sees_nothing() {
    let mut rig = Rig::new();
    let mut queues = vec![guest(&mut rig, 5)];
    queues.push(rig.queue(5, 1, 4));
    rig.sid(5, 0, 0x10, 0x77);
    for queue in &mut queues {
        rig.push(queue, &[Command::sync(), Command::cfgi_all()]);
    }
    for queue in queues.iter().rev() {
        reset(&mut rig, queue);
        let entry = rig.r(format!("CMDQ_ALLOC{}", queue.q));
        rig.w(format!("CMDQ_ALLOC{}", queue.q), entry & !1);
    }
    rig.w("VINTF5.CONFIG", 0);
    rig.w("VINTF5.SID_MATCH0", 0);
    rig.w("VINTF5.SID_REPLACE0", 0);
    rig.vintf(5, false, 9);
    for queue in &queues {
        let entry = rig.r(format!("CMDQ_ALLOC{}", queue.q));
        rig.w(format!("CMDQ_ALLOC{}", queue.q), entry | 1);
        let state = ["CONS", "PROD", "CONFIG", "STATUS", "GERROR", "GERRORN", "BASE", "BASE_H"];
        assert_eq!(
            state.map(|r| rig.r(queue.reg(r)) & if r == "CONS" { 0xf_ffff } else { u32::MAX }),
            [0; 8]
        );
        // What a VMM copies into a new queue raises nothing.
        for register in ["CONS", "PROD", "CONFIG", "GERRORN"] {
            rig.w(queue.reg(register), 0);
        }
    }
    assert_eq!((rig.r("CMDQ_ERR_MAP_0"), rig.r("VINTF5.SID_MATCH0"), rig.lints.len()), (0, 0, 0));
}

#[test]
fn c48_shutdown() {
    let mut rig = Rig::new();
    let queues = [3, 0].map(|v| guest(&mut rig, v));
    for queue in &queues {
        reset(&mut rig, queue);
        let at = format!("CMDQ_ALLOC{}", queue.q);
        let entry = rig.r(at.clone());
        rig.w(at, entry & !1);
        rig.w(format!("VINTF{}.CONFIG", queue.v), 0);
    }
    assert_eq!((0..64).filter(|v| rig.r(format!("VINTF{v}.STATUS")) & 1 != 0).count(), 0);
    assert_eq!(rig.r("STATUS"), 1);
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
fn a_vintf_that_comes_back_resumes_its_queues() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig, 5);
    rig.w("VINTF5.CONFIG", 0);
    rig.push(&mut queue, &[Command::tlbi_nh_asid(1, 1)]);
    assert_eq!((rig.r(queue.reg("STATUS")), rig.log.len()), (0, 0));
    rig.vintf(5, false, 8);
    assert_eq!((rig.r(queue.reg("STATUS")), rig.log_of(10)), (1, vec![Command::tlbi_nh_asid(1, 8)]));
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

#[test]
fn c50_traffic_needs_no_config_page() {
    // A virtual machine's life: slots that are not allocated, allocation by the host, traffic on page 0, teardown.
    let mut rig = Rig::new();
    rig.vintf(7, false, 7);
    for l in [0, 1] {
        rig.w(format!("VINTF7.LVCMDQ{l}.CONFIG"), 0);
        assert_eq!(rig.r(format!("VINTF7.LVCMDQ{l}.STATUS")), 0);
    }
    let mut queues = [rig.queue(7, 0, 4), rig.queue(7, 1, 4)];
    for round in 0..20 {
        for queue in &mut queues {
            rig.push(queue, &[Command::tlbi_nh_asid(round, 0), Command::sync()]);
            assert_eq!(rig.cons(queue), (queue.prod, 0));
        }
    }
    for queue in queues.iter().rev() {
        reset(&mut rig, queue);
        rig.w(format!("CMDQ_ALLOC{}", queue.q), 0);
        assert_eq!(["CONS", "PROD", "STATUS"].map(|r| rig.r(queue.reg(r))), [0; 3]);
    }
    assert_eq!((rig.log.len(), rig.lints.len()), (80, 0));
}

#[test]
fn c51_a_direct_client_beside_the_host() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let mut host = rig.queue(0, 0, 4);
    rig.w(0x4f00, 1 << 17 | 1);
    rig.w(0x3fc, 63 << 15 | 1);
    rig.w64(0x2_3f80, 0x9000_0004);
    for (at, value) in [(0x1_3f80, 0), (0x1_3f84, 0), (0x1_3f88, 1)] {
        rig.w(at, value);
    }
    assert_eq!(rig.r(0x1_3f8c), 1);
    rig.halt = true;
    let client = [Command::tlbi_el2_va(1, 0x1000, true), Command::sync()];
    rig.store(0x9000_0000, client[0]);
    rig.store(0x9000_0010, client[1]);
    rig.w(0x1_3f84, 2);
    rig.push(&mut host, &[Command::cfgi_all(), Command::sync()]);
    assert_eq!(rig.block.ready_queues().iter_ones().collect::<Vec<_>>(), [0, 127]);
    rig.halt = false;
    rig.settle();
    assert_eq!((rig.r(0x1_3f80) & 0xf_ffff, rig.cons(&host)), (2, (2, 0)));
    assert_eq!((rig.log_of(127), rig.log_of(0).len()), (client.to_vec(), 2));
    for (at, value) in [(0x1_3f88, 0), (0x3fc, 0), (0x4f00, 0)] {
        rig.w(at, value);
    }
    assert_eq!((rig.r(0x4f04), rig.lints.len()), (0, 0));
}

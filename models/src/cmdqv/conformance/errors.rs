//! C34 to C43, C53: errors and the interrupt.

use spec::smmu::Command;

use crate::cmdqv::functional::{Lvcmdq, Rig};
use crate::cmdqv::knobs::GerrornDifference;
use crate::record::CommandQueue;

fn guest(rig: &mut Rig, v: u8) -> Lvcmdq {
    rig.vintf(v, false, v.into());
    rig.queue(v, 0, 4)
}

/// The error maps and VINTF STATUS bits 3:1 that concern VINTF 5 and VCMDQ 10.
fn maps(rig: &mut Rig) -> [u32; 4] {
    [
        rig.r("VINTF_ERR_MAP_0"),
        rig.r("CMDQ_ERR_MAP_0"),
        rig.r("VINTF5.LVCMDQ_ERR_MAP0"),
        rig.r("VINTF5.STATUS") >> 1 & 7,
    ]
}

const CLEAR: [u32; 4] = [0; 4];
const SET: [u32; 4] = [1 << 5, 1 << 10, 1, 1];

#[test]
fn c34_an_illegal_command() {
    for k in 0..6_u32 {
        let mut rig = Rig::new();
        let mut queue = guest(&mut rig, 5);
        assert_eq!(maps(&mut rig), CLEAR);
        let mut batch = vec![Command::sync(); k as usize];
        batch.extend([Command::cfgi_all(), Command::sync()]);
        rig.push(&mut queue, &batch);
        assert_eq!(rig.cons(&queue), (k, 1));
        assert_eq!((rig.r(queue.reg("GERROR")), rig.r(queue.reg("GERRORN")), rig.edges), (1, 0, 1));
        assert_eq!(maps(&mut rig), SET);
        assert_eq!(rig.errors, [(CommandQueue::Vcmdq { queue: 10, vintf: 5, logical: 0 }, k, 1)]);
    }
}

#[test]
fn c35_rewritten_and_acknowledged() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig, 5);
    rig.push(
        &mut queue,
        &[Command::sync(), Command::cfgi_all(), Command::tlbi_nh_asid(1, 5), Command::sync()],
    );
    rig.store(queue.ring + 16, Command::sync());
    rig.acknowledge(&queue);
    assert_eq!((rig.cons(&queue).0, rig.edges, rig.log.len()), (4, 1, 4));
    assert_eq!(rig.log_of(10)[1], Command::sync(), "the entry is read again");
    assert_eq!(maps(&mut rig), CLEAR);
    assert_eq!(rig.r(queue.reg("GERROR")), 1, "GERROR itself only toggles");
}

#[test]
fn c36_the_error_recurs() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig, 5);
    rig.push(&mut queue, &[Command::cfgi_all()]);
    for edges in 2..5 {
        rig.acknowledge(&queue);
        assert_eq!((rig.edges, rig.r(queue.reg("GERROR")), rig.cons(&queue)), (edges, edges & 1, (0, 1)));
        assert_eq!(maps(&mut rig), SET);
    }
}

#[test]
fn c37_an_aborted_fetch() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig, 5);
    rig.abort_once.insert(queue.ring + 64);
    let batch: Vec<_> = (0..7).map(|n| Command::tlbi_nh_asid(n, 5)).collect();
    rig.push(&mut queue, &batch);
    assert_eq!((rig.cons(&queue), rig.edges, rig.log.len()), ((4, 2), 1, 4));
    rig.acknowledge(&queue);
    assert_eq!((rig.cons(&queue).0, rig.edges), (7, 1));
    assert_eq!(rig.log_of(10), batch);
}

#[test]
fn c38_an_atc_timeout_shows_at_the_sync() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig, 5);
    rig.sid(5, 0, 0x10, 0x77);
    rig.atc_timeouts.insert(0x77);
    rig.push(&mut queue, &[Command::atc_inv(0x10, None, 0, 52), Command::sync(), Command::sync()]);
    assert_eq!((rig.cons(&queue), rig.edges), ((1, 3), 1));
    rig.acknowledge(&queue);
    assert_eq!((rig.cons(&queue).0, rig.edges, rig.log.len()), (3, 1, 3));
}

#[test]
fn c40_one_edge_per_error() {
    let mut rig = Rig::new();
    let mut first = guest(&mut rig, 5);
    let mut second = rig.queue(5, 1, 4);
    rig.push(&mut first, &[Command::cfgi_all()]);
    for _ in 0..5 {
        rig.push(&mut first, &[Command::sync()]);
        maps(&mut rig);
    }
    assert_eq!(rig.edges, 1);
    rig.push(&mut second, &[Command::cfgi_all()]);
    assert_eq!((rig.edges, rig.r("VINTF_ERR_MAP_0"), rig.r("VINTF5.LVCMDQ_ERR_MAP0")), (2, 1 << 5, 3));
}

#[test]
fn c41_masked_vintf() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (guest(&mut rig, 5), guest(&mut rig, 6));
    rig.w("VINTF_INT_MASK_0", 1 << 5);
    rig.push(&mut a, &[Command::cfgi_all()]);
    assert_eq!((rig.edges, maps(&mut rig)), (0, SET));
    rig.push(&mut b, &[Command::cfgi_all()]);
    assert_eq!(rig.edges, 1);
    rig.w("VINTF_INT_MASK_0", 0);
    assert_eq!(rig.edges, 1, "the masked edge is lost");
    let mut high = guest(&mut rig, 40);
    rig.w("VINTF_INT_MASK_1", 1 << 8);
    rig.push(&mut high, &[Command::cfgi_all()]);
    assert_eq!((rig.edges, rig.r("VINTF_ERR_MAP_1"), rig.block.metrics().edges_masked), (1, 1 << 8, 2));
}

#[test]
fn c42_the_host_acknowledges_its_own_only() {
    let mut rig = Rig::new();
    rig.vintf(0, true, 0);
    let (mut host, mut guest) = (rig.queue(0, 0, 4), guest(&mut rig, 40));
    rig.push(&mut host, &[Command::new(spec::smmu::Opcode(0)), Command::sync()]);
    rig.push(&mut guest, &[Command::cfgi_all(), Command::sync()]);
    assert_eq!((rig.r(0x18), rig.r(0x14)), (1 << 8, 1));
    assert_eq!([0x30, 0x2c, 0x28, 0x24].map(|at| rig.r(at)), [0, 1 << 16, 0, 1]);
    assert_eq!((rig.r64(0x10c0), rig.r64(0x10c8)), (1, 0));
    let (index, code) = rig.cons(&host);
    assert_eq!((index, code), (0, 1));
    rig.store(host.ring, Command::sync());
    rig.acknowledge(&host);
    assert_eq!((rig.r64(0x38c0), rig.r64(0x38c8)), (1, 0));
    assert_eq!((rig.cons(&host).0, rig.cons(&guest)), (2, (0, 1)));
    rig.store(guest.ring, Command::sync());
    rig.acknowledge(&guest);
    assert_eq!((rig.cons(&guest).0, rig.r(0x18), rig.r(0x14)), (2, 0, 0));
}

#[test]
fn c43_bad_geometry() {
    // (IDR1.CMDQS, BASE, sound)
    let rows = [
        (19, 0, false),
        (19, 0x8000_0000, false),
        (19, 0x8000_0014, false),
        (8, 0x8000_0009, false),
        (19, 0x8000_0020 | 2, false),
        (19, 0x8000_0000 | 31, false),
        (19, 0x8000_0020 | 1, true),
        (8, 0x8000_0008, true),
        (19, 0x8000_0013, true),
    ];
    for (cmdqs, base, sound) in rows {
        let mut rig = Rig::with(|c| c.cmdqs = cmdqs);
        rig.vintf(5, false, 5);
        rig.w("CMDQ_ALLOC10", 5 << 15 | 1);
        rig.w64("VCMDQ10.BASE", base);
        rig.w("VCMDQ10.CONFIG", 1);
        let state = ["STATUS", "GERROR", "GERRORN"].map(|r| rig.r(format!("VCMDQ10.{r}")));
        assert_eq!(state, if sound { [1, 0, 0] } else { [0, 4, 0] }, "{cmdqs} {base:#x}");
        assert_eq!(rig.edges, u32::from(!sound));
        // Repaired and acknowledged, it starts.
        rig.w64("VCMDQ10.BASE", 0x8000_0001);
        rig.w("VCMDQ10.GERRORN", state[1]);
        assert_eq!((rig.r("VCMDQ10.STATUS"), rig.edges), (1, u32::from(!sound)));
    }
}

#[test]
fn c53_a_guest_that_upsets_gerrorn() {
    // (option, edges, stops)
    let rows = [
        (GerrornDifference::Stall, 0, true),
        (GerrornDifference::StallWithEdge, 1, true),
        (GerrornDifference::Ignore, 0, false),
    ];
    for (option, edges, stops) in rows {
        let mut rig = Rig::with(|c| c.knobs.gerrorn_difference = option);
        let mut queue = guest(&mut rig, 5);
        let mut other = rig.queue(5, 1, 4);
        rig.w(queue.reg("GERRORN"), 1);
        rig.push(&mut queue, &[Command::sync()]);
        rig.push(&mut other, &[Command::sync()]);
        assert_eq!((rig.cons(&queue).0, rig.cons(&other).0), (u32::from(!stops), 1), "{option:?}");
        assert_eq!((rig.edges, maps(&mut rig)), (edges, if stops { SET } else { CLEAR }), "{option:?}");
        rig.acknowledge(&queue);
        assert_eq!((rig.cons(&queue).0, rig.edges, maps(&mut rig)), (1, edges, CLEAR), "{option:?}");
    }
}

#[test]
fn an_error_under_a_difference_is_not_lost() {
    let mut rig = Rig::new();
    let mut queue = guest(&mut rig, 5);
    rig.halt = true;
    rig.push(&mut queue, &[Command::tlbi_nh_asid(1, 1)]);
    rig.block.take(10).unwrap();
    rig.w(queue.reg("GERRORN"), 1);
    rig.block.retire(10, Err(spec::smmu::error::CommandError::CERROR_ILL));
    rig.settle();
    assert_eq!((rig.cons(&queue), rig.r(queue.reg("GERROR")), rig.edges), ((0, 1), 0, 0));
    rig.store(queue.ring, Command::cfgi_all());
    rig.halt = false;
    rig.acknowledge(&queue);
    assert_eq!((rig.cons(&queue), rig.r(queue.reg("GERROR")), rig.edges), ((0, 1), 1, 1));
}

#[test]
fn prefetched_entries_do_not_survive_an_error() {
    for (keep, executed) in [(false, Command::sync()), (true, Command::tlbi_nh_asid(2, 5))] {
        let mut rig = Rig::with(|c| c.faults.keep_prefetched = keep);
        let mut queue = guest(&mut rig, 5);
        rig.sid(5, 0, 0x10, 0x77);
        rig.atc_timeouts.insert(0x77);
        rig.push(
            &mut queue,
            &[Command::atc_inv(0x10, None, 0, 52), Command::sync(), Command::tlbi_nh_asid(2, 5)],
        );
        assert_eq!(rig.cons(&queue), (1, 3));
        rig.store(queue.ring + 32, Command::sync());
        rig.acknowledge(&queue);
        assert_eq!((rig.cons(&queue).0, rig.log_of(10)[2]), (3, executed));
    }
    // An aborted fetch is repeated even so.
    let mut rig = Rig::with(|c| c.faults.keep_prefetched = true);
    let mut queue = guest(&mut rig, 5);
    rig.abort_once.insert(queue.ring);
    rig.push(&mut queue, &[Command::sync()]);
    assert_eq!(rig.cons(&queue), (0, 2));
    rig.acknowledge(&queue);
    assert_eq!((rig.cons(&queue).0, rig.edges), (1, 1));
}

#[test]
fn lost_edges() {
    let mut rig = Rig::with(|c| c.faults.lose_edge_every = Some(2));
    let mut queue = guest(&mut rig, 5);
    rig.push(&mut queue, &[Command::cfgi_all()]);
    for _ in 0..3 {
        rig.acknowledge(&queue);
    }
    assert_eq!((rig.edges, rig.block.metrics().edges_lost), (2, 2));
}

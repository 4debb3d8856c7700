//! What each option means, value by value. That the rows of `conformance cmdqv` see them is checked there.

use spec::smmu::{Command, Opcode};

use crate::cmdqv::functional::{Lvcmdq, Rig};
use crate::cmdqv::knobs::{
    AllocationOrder, AllocationsOnDisable, AutoSync, Backlog, BaseWrite, ClockBatch, GerrornDifference,
    GuestNhAll, LvcmdqCount, OnAllocation, OnDeallocation, Refusal, ResetEnable, SmmuDisabled, SyncSignal,
    UnallocatedStatus, Unmask,
};

fn guest(rig: &mut Rig, v: u8) -> Lvcmdq {
    rig.vintf(v, false, 0x42);
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
fn k1_k2_codes_of_refused_commands() {
    for (opcode, sid) in
        [(Refusal::Illegal, Refusal::IllegalAccess), (Refusal::IllegalAccess, Refusal::Illegal)]
    {
        let code = |r| if r == Refusal::Illegal { 1 } else { 4 };
        for (command, expect) in [
            (Command::cfgi_all(), code(opcode)),
            (Command::atc_inv(1, None, 0, 0), code(sid)),
            // No command at all, whoever sends it.
            (Command::new(Opcode(0xff)), 1),
        ] {
            let mut rig = Rig::with(|c| (c.knobs.forbidden_opcode, c.knobs.unmatched_sid) = (opcode, sid));
            let mut queue = guest(&mut rig, 5);
            rig.push(&mut queue, &[command]);
            assert_eq!(rig.cons(&queue), (0, expect), "{command}");
        }
    }
}

#[test]
fn k3_sync_with_a_signal() {
    let sync = Command::sync;
    // (option, CS, command executed, lints)
    let rows = [
        (SyncSignal::AsNone, 0, Some(sync()), 0),
        (SyncSignal::AsNone, 1, Some(sync()), 1),
        (SyncSignal::AsNone, 2, Some(sync()), 1),
        (SyncSignal::AsNone, 3, None, 0),
        (SyncSignal::Illegal, 0, Some(sync()), 0),
        (SyncSignal::Illegal, 1, None, 0),
        (SyncSignal::Signal, 2, Some(sync().with_cs(2)), 0),
        (SyncSignal::Signal, 3, None, 0),
    ];
    for (option, cs, executed, lints) in rows {
        let mut rig = Rig::with(|c| c.knobs.sync_signal = option);
        let mut queue = guest(&mut rig, 5);
        rig.push(&mut queue, &[sync().with_cs(cs)]);
        assert_eq!((rig.log_of(10).pop(), rig.lints.len()), (executed, lints), "{option:?} {cs}");
    }
}

#[test]
fn k4_guest_nh_all() {
    for (option, legal) in [(GuestNhAll::Illegal, false), (GuestNhAll::Legal, true)] {
        for (command, executed) in [
            (Command::tlbi_nh_all(7), Command::tlbi_nh_all(0x42)),
            (Command::tlbi_nh_vaa(7, 0x1000, false), Command::tlbi_nh_vaa(0x42, 0x1000, false)),
        ] {
            let mut rig = Rig::with(|c| c.knobs.guest_nh_all = option);
            let mut queue = guest(&mut rig, 5);
            rig.push(&mut queue, &[command]);
            assert_eq!(rig.log_of(10).pop(), legal.then_some(executed), "{option:?} {command}");
        }
    }
}

#[test]
fn k5_deallocation_in_the_wrong_order() {
    for (order, left) in
        [(AllocationOrder::Accept, 0), (AllocationOrder::Refuse, 1), (AllocationOrder::Hang, 0)]
    {
        let mut rig = Rig::with(|c| c.knobs.allocation_order = order);
        rig.vintf(5, false, 1);
        rig.queue(5, 0, 3);
        let mut second = rig.queue(5, 1, 3);
        rig.lints.clear();
        rig.w("VINTF5.LVCMDQ0.CONFIG", 0);
        rig.w("CMDQ_ALLOC10", 5 << 15);
        assert_eq!((rig.r("CMDQ_ALLOC10") & 1, rig.lints.len()), (left, 1), "{order:?}");
        rig.push(&mut second, &[Command::sync()]);
        let hung = order == AllocationOrder::Hang;
        assert_eq!(rig.cons(&second).0, u32::from(!hung), "{order:?}");
        // Only a disable of the whole block sets a stuck VINTF free.
        rig.w("CONFIG", 0x0002_0082);
        rig.w("CONFIG", 0x0002_0083);
        rig.w(second.reg("CONFIG"), 1);
        assert_eq!(rig.cons(&second).0, 1, "{order:?}");
    }
    // (LVCMDQs in the order of allocation, lints)
    for (logical, lints) in [(&[0, 1, 2][..], 0), (&[1], 1), (&[0, 2, 1], 2), (&[1, 0], 2)] {
        let mut rig = Rig::new();
        for &l in logical {
            rig.w(format!("CMDQ_ALLOC{}", 20 + l), 9 << 15 | l << 1 | 1);
        }
        assert_eq!(rig.lints.len(), lints, "{logical:?}");
    }
}

#[test]
fn k6_base_written_while_enabled() {
    for (option, ring) in [(BaseWrite::Ignore, 1), (BaseWrite::NextEnable, 2)] {
        let mut rig = Rig::with(|c| c.knobs.base_write_enabled = option);
        rig.vintf(5, false, 1);
        let mut queue = rig.queue(5, 0, 3);
        let other = queue.ring + 0x10_0000;
        rig.w64(queue.reg("BASE"), other | 3);
        rig.push(&mut queue, &[Command::tlbi_nh_asid(1, 1)]);
        rig.w(queue.reg("CONFIG"), 0);
        rig.store(queue.ring + 16, Command::tlbi_nh_asid(1, 1));
        rig.store(other + 16, Command::tlbi_nh_asid(2, 1));
        rig.w(queue.reg("CONFIG"), 1);
        rig.w(queue.reg("PROD"), 2);
        assert_eq!(
            rig.log_of(10),
            [Command::tlbi_nh_asid(1, 1), Command::tlbi_nh_asid(ring, 1)],
            "{option:?}"
        );
    }
}

#[test]
fn k7_unmask() {
    for (option, edges) in [(Unmask::NoEdge, 0), (Unmask::Edge, 1)] {
        let mut rig = Rig::with(|c| c.knobs.unmask = option);
        rig.w("VINTF_INT_MASK_0", 3 << 5);
        rig.vintf(5, false, 1);
        let mut queue = rig.queue(5, 0, 3);
        rig.push(&mut queue, &[Command::cfgi_all()]);
        rig.w("VINTF_INT_MASK_0", 0);
        assert_eq!(rig.edges, edges, "{option:?}");
    }
}

#[test]
fn k8_k12_limits() {
    for (unit, clocks) in [(ClockBatch::Times32, 256), (ClockBatch::Times4, 32), (ClockBatch::Times1, 8)] {
        let rig = Rig::with(|c| (c.knobs.clock_batch, c.knobs.auto_sync) = (unit, AutoSync::Off));
        assert_eq!((rig.block.limits().clocks, rig.block.limits().auto_sync), (clocks, false));
    }
}

#[test]
fn k9_gerror_on_allocation() {
    for (option, gerror) in [(OnAllocation::Clear, 0), (OnAllocation::Preserve, 1)] {
        let mut rig = Rig::with(|c| c.knobs.gerror_on_allocation = option);
        rig.vintf(5, false, 1);
        let mut queue = rig.queue(5, 0, 3);
        rig.push(&mut queue, &[Command::cfgi_all()]);
        rig.w(queue.reg("CONFIG"), 0);
        rig.acknowledge(&queue);
        rig.w("CMDQ_ALLOC10", 5 << 15);
        rig.w("CMDQ_ALLOC10", 5 << 15 | 1);
        assert_eq!(["GERROR", "GERRORN"].map(|r| rig.r(queue.reg(r))), [gerror; 2], "{option:?}");
    }
}

#[test]
fn k10_registers_on_deallocation() {
    for (option, prod) in [(OnDeallocation::Preserve, 1), (OnDeallocation::Clear, 0)] {
        for running in [false, true] {
            let mut rig = Rig::with(|c| c.knobs.registers_on_deallocation = option);
            rig.vintf(5, false, 1);
            let mut queue = rig.queue(5, 0, 3);
            rig.push(&mut queue, &[Command::sync()]);
            rig.w(queue.reg("CONFIG"), u32::from(running));
            rig.w("CMDQ_ALLOC10", 5 << 15);
            assert_eq!(["CONS", "PROD"].map(|r| rig.r(queue.direct(r))), [prod; 2], "{option:?} {running}");
            assert_eq!(rig.r64(queue.direct("BASE")) != 0, prod != 0);
        }
    }
}

#[test]
fn k11_backlog() {
    // (option, CONS afterwards, commands executed)
    for (option, cons, executed) in [(Backlog::Stop, 1, 0), (Backlog::Drain, 12, 11), (Backlog::Drop, 12, 0)]
    {
        let mut rig = Rig::with(|c| c.knobs.backlog = option);
        rig.vintf(5, false, 1);
        let mut queue = rig.queue(5, 0, 4);
        rig.halt = true;
        rig.push(&mut queue, &[Command::sync(); 12]);
        rig.block.take(10).unwrap();
        rig.w(queue.reg("CONFIG"), 0);
        rig.w(queue.reg("PROD"), 12);
        rig.block.retire(10, Ok(()));
        rig.halt = false;
        rig.settle();
        assert_eq!(
            (rig.r(queue.reg("STATUS")), rig.cons(&queue).0, rig.log.len()),
            (0, cons, executed),
            "{option:?}"
        );
    }
    // An error ends a drain.
    let mut rig = Rig::with(|c| c.knobs.backlog = Backlog::Drain);
    rig.vintf(5, false, 1);
    let mut queue = rig.queue(5, 0, 4);
    rig.halt = true;
    rig.push(&mut queue, &[Command::sync(), Command::cfgi_all(), Command::sync()]);
    rig.w(queue.reg("CONFIG"), 0);
    rig.halt = false;
    rig.settle();
    assert_eq!((rig.r(queue.reg("STATUS")), rig.cons(&queue)), (0, (1, 1)));
}

#[test]
fn k13_number_of_lvcmdqs() {
    for (option, count) in [(LvcmdqCount::Allocated, 2), (LvcmdqCount::Zero, 0)] {
        let mut rig = Rig::with(|c| c.knobs.lvcmdq_count = option);
        rig.queue(5, 0, 3);
        rig.queue(5, 1, 3);
        assert_eq!(rig.r("VINTF5.STATUS"), count << 16);
    }
}

#[test]
fn k14_smmu_disabled() {
    for (option, cons) in [(SmmuDisabled::Run, 2), (SmmuDisabled::Pause, 0)] {
        let mut rig = Rig::with(|c| c.knobs.smmu_disabled = option);
        rig.vintf(5, false, 1);
        let mut queue = rig.queue(5, 0, 3);
        rig.block.set_smmu_enabled(false);
        rig.push(&mut queue, &[Command::sync(); 2]);
        assert_eq!((rig.cons(&queue).0, rig.fetches.is_empty()), (cons, cons == 0), "{option:?}");
        rig.block.set_smmu_enabled(true);
        rig.settle();
        assert_eq!(rig.cons(&queue).0, 2);
        rig.block.set_smmu_enabled(false);
        rig.w(queue.reg("CONFIG"), 0);
        assert_eq!(rig.r(queue.reg("STATUS")), 0);
    }
}

#[test]
fn k15_allocations_when_the_block_is_disabled() {
    for (option, entry) in [(AllocationsOnDisable::Keep, 5 << 15 | 1), (AllocationsOnDisable::Clear, 5 << 15)]
    {
        let mut rig = Rig::with(|c| c.knobs.allocations_on_disable = option);
        rig.vintf(5, false, 1);
        let mut queue = rig.queue(5, 0, 3);
        rig.push(&mut queue, &[Command::sync()]);
        rig.w(0x0, 0x0002_0082);
        assert_eq!(
            (rig.r("CMDQ_ALLOC10"), rig.r(queue.reg("PROD")), rig.r(0x8)),
            (entry, 0, 0),
            "{option:?}"
        );
        rig.w(0x0, 0x0002_0083);
        assert_eq!(rig.r(queue.reg("PROD")), entry & 1, "{option:?}");
    }
}

#[test]
fn k17_enable_at_reset() {
    for (option, en) in [(ResetEnable::Enabled, 1), (ResetEnable::Disabled, 0)] {
        let mut rig = Rig::with(|c| c.knobs.reset_enable = option);
        assert_eq!((rig.r(0x0), rig.r(0x8)), (0x0002_0082 | en, en));
    }
}

#[test]
fn k18_status_of_a_queue_that_is_not_allocated() {
    for (option, status) in [(UnallocatedStatus::Zero, 0), (UnallocatedStatus::FollowsConfig, 1)] {
        let mut rig = Rig::with(|c| c.knobs.unallocated_status = option);
        rig.w("VCMDQ9.CONFIG", 1);
        assert_eq!(rig.r("VCMDQ9.STATUS"), status);
    }
}

#[test]
fn k19_a_guest_that_upsets_gerrorn() {
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
fn metrics_count() {
    let mut rig = Rig::new();
    rig.vintf(5, false, 1);
    rig.sid(5, 0, 1, 2);
    let mut queue = rig.queue(5, 0, 3);
    rig.push(&mut queue, &[Command::atc_inv(1, None, 0, 52), Command::tlbi_nh_asid(1, 1), Command::sync()]);
    rig.push(&mut queue, &[Command::cfgi_all()]);
    let rows: std::collections::BTreeMap<_, _> = rig.block.metrics().rows().into_iter().collect();
    let expect = [
        ("commands", 3),
        ("syncs", 1),
        ("doorbells", 2),
        ("fetches", 2),
        ("fetched_bytes", 64),
        ("sids_replaced", 1),
        ("vmids_replaced", 1),
        ("errors", 1),
        ("errors_code1", 1),
        ("edges", 1),
        ("occupancy_max", 3),
        ("vcmdq10.commands", 3),
    ];
    for (name, value) in expect {
        assert_eq!(rows.get(name), Some(&value), "{name}");
    }
}

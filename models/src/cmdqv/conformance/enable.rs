//! C10 to C16: enable and mapping.

use spec::smmu::Command;

use crate::cmdqv::functional::Rig;
use crate::cmdqv::knobs::AllocationOrder;

/// Block reset and VINTF 0 as a host driver does them, by the published trace of offsets.
fn boot(rig: &mut Rig) {
    let config = rig.r(0x0);
    rig.w(0x0, config & !1);
    assert_eq!(rig.r(0x8) & 1, 0);
    rig.w(0x0, config | 1);
    assert_eq!(rig.r(0x8) & 1, 1);
    for q in 0..128 {
        rig.w(0x200 + 4 * q, ((q / 2) << 15 | (q % 2) << 1) as u32);
    }
    for l in [1, 0] {
        reset_slot(rig, l);
        let entry = rig.r(0x200 + 4 * l);
        rig.w(0x200 + 4 * l, entry & !1);
    }
    rig.w(0x1000, 0);
    assert_eq!(rig.r(0x1004) & 1, 0);
    for s in 0..16 {
        rig.w(0x1040 + 4 * s, 0);
        rig.w(0x1080 + 4 * s, 0);
    }
    rig.w(0x1000, 0x2_0000);
    rig.w(0x1000, 0x2_0001);
    assert_eq!(rig.r(0x1004) & 1, 1);
    assert_eq!(rig.r(0x1000), 0x2_0001);
    for l in [0, 1] {
        let entry = rig.r(0x200 + 4 * l);
        rig.w(0x200 + 4 * l, entry | 1);
        reset_slot(rig, l);
        rig.w64(0x4_0000 + 0x80 * l, 0x9000_0000 + l * 0x80_0000 + 19);
        rig.w(0x3_0008 + 0x80 * l, 1);
        assert_eq!(rig.r(0x3_000c + 0x80 * l), 1);
    }
}

fn reset_slot(rig: &mut Rig, l: u64) {
    let (p0, p1) = (0x3_0000 + 0x80 * l, 0x4_0000 + 0x80 * l);
    rig.w(p0 + 8, 0);
    assert_eq!(rig.r(p0 + 0xc), 0);
    rig.w(p0 + 4, 0);
    rig.w(p0, 0);
    rig.w64(p1, 0);
    rig.w64(p1 + 8, 0);
    let gerror = rig.r(p0 + 0x10);
    if rig.r(p0 + 0x14) != gerror {
        rig.w(p0 + 0x14, gerror);
    }
}

#[test]
fn c10_host_boot() {
    let mut rig = Rig::new();
    boot(&mut rig);
    for l in [0, 1] {
        assert_eq!([0x0, 0x4, 0xc].map(|r| rig.r(0x3_0000 + 0x80 * l + r)), [0, 0, 1]);
    }
    assert_eq!(rig.r(0x1004), 1 | 2 << 16, "two LVCMDQs");
    assert_eq!(rig.r(0x3fc), 0x001f_8002);
    assert_eq!((rig.lints, rig.edges), (Vec::new(), 0));
}

#[test]
fn c11_vmid_in_one_write_or_two() {
    for writes in [&[0x42 << 1, 0x42 << 1 | 1][..], &[0x42 << 1 | 1]] {
        let mut rig = Rig::new();
        for &value in writes {
            rig.w("VINTF5.CONFIG", value);
        }
        let mut queue = rig.queue(5, 0, 3);
        rig.push(&mut queue, &[Command::tlbi_nh_asid(1, 7)]);
        assert_eq!(rig.log_of(10), [Command::tlbi_nh_asid(1, 0x42)]);
        rig.w("VINTF5.CONFIG", 0x55 << 1 | 1);
        assert_eq!((rig.r("VINTF5.CONFIG"), rig.lints.len()), (0x42 << 1 | 1, 1), "no change while enabled");
    }
}

#[test]
fn c12_hyp_own_reads_back_what_applies() {
    for (writable, expect) in [(true, 1), (false, 0)] {
        let mut rig = Rig::with(|c| c.hyp_own_writable = writable);
        rig.vintf(0, true, 0);
        assert_eq!(rig.r("VINTF0.CONFIG") >> 17, expect);
    }
}

#[test]
fn c13_any_queue_can_go_anywhere() {
    let mut rig = Rig::new();
    rig.w("VINTF63.CONFIG", 1 << 17 | 1);
    rig.w("CMDQ_ALLOC127", 63 << 15 | 1);
    rig.w(0x2_3f80, 0x8000_0004);
    rig.w(0x2_3f84, 0);
    rig.w(0x1_3f80, 0);
    rig.w(0x1_3f84, 0);
    rig.w(0x1_3f88, 1);
    assert_eq!(rig.r(0x1_3f8c), 1);
    rig.store(0x8000_0000, Command::sync());
    rig.w(0x1_3f84, 1);
    assert_eq!((rig.r(0x1_3f80), rig.r(0x3_0000 + 0x2_0000 * 63)), (1, 1));
    assert_eq!((rig.log_of(127), rig.lints.len()), (vec![Command::sync()], 0));
}

#[test]
fn c14_a_crash_kernel_finds_old_queues_inert() {
    let mut rig = Rig::new();
    boot(&mut rig);
    // The old kernel dies with work outstanding; the new one resets the block and rewrites the table.
    rig.halt = true;
    rig.w(0x3_0004, 100);
    let fetches = rig.fetches.len();
    assert!(fetches > 0);
    let config = rig.r(0x0);
    rig.w(0x0, config & !1);
    rig.halt = false;
    rig.settle();
    assert_eq!(rig.r(0x8) & 1, 0);
    rig.w(0x0, config | 1);
    assert_eq!(rig.r(0x8) & 1, 1);
    for q in 0..128 {
        rig.w(0x200 + 4 * q, ((q / 2) << 15 | (q % 2) << 1) as u32);
    }
    assert_eq!((rig.fetches.len(), rig.log.len()), (fetches, 0), "no fetch from an old ring");
    assert_eq!(rig.lints, Vec::<String>::new());
    boot(&mut rig);
    rig.store(0x9000_0000, Command::sync());
    rig.w(0x3_0004, 1);
    assert_eq!(rig.r(0x3_0000), 1);
}

#[test]
fn c15_deallocation_in_the_wrong_order() {
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
fn c16_enabled_before_its_vintf() {
    let mut rig = Rig::new();
    let mut queue = rig.queue(5, 0, 3);
    rig.push(&mut queue, &[Command::sync()]);
    assert_eq!((rig.r(queue.reg("STATUS")), rig.fetches.len()), (0, 0));
    rig.vintf(5, false, 1);
    assert_eq!((rig.r(queue.reg("STATUS")), rig.cons(&queue)), (1, (1, 0)));
}

#[test]
fn two_entries_for_one_slot_or_none() {
    let mut rig = Rig::new();
    rig.vintf(5, false, 1);
    let mut queue = rig.queue(5, 0, 3);
    rig.w("CMDQ_ALLOC99", 5 << 15 | 1);
    assert_eq!((rig.lints.len(), rig.r("CMDQ_ALLOC99")), (1, 5 << 15 | 1));
    rig.push(&mut queue, &[Command::sync()]);
    assert_eq!((rig.cons(&queue).0, rig.r("VCMDQ99.PROD")), (1, 0), "the first entry wins");
    rig.w("CMDQ_ALLOC99", 0);
    assert_eq!(rig.cons(&queue).0, 1);
    let mut small = Rig::with(|c| (c.vintfs_log2, c.vcmdqs_log2) = (0, 1));
    small.w("CMDQ_ALLOC0", 1 << 15 | 1);
    small.w("CMDQ_ALLOC1", 2 << 1 | 1);
    assert_eq!(small.lints.len(), 2);
}

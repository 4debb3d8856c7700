//! C01 to C09: map and access.

use crate::cmdqv::functional::Rig;

#[test]
fn c01_param_is_read_only() {
    let mut rig = Rig::new();
    for written in [0, u32::MAX] {
        rig.w(0x4, written);
        assert_eq!(rig.r(0x4), 0x4671);
    }
    assert_eq!(rig.block.size(), 0x83_0000);
    let mut guest = Rig::with(|c| (c.vintfs_log2, c.vcmdqs_log2) = (0, 1));
    assert_eq!((guest.r(0x4), guest.block.size()), (0x4011, 0x5_0000));
}

#[test]
fn c02_config_keeps_its_other_fields() {
    let mut rig = Rig::new();
    for reset in [0x0002_0083, 0x0002_0403] {
        rig.w(0x0, reset);
        assert_eq!((rig.r(0x0), rig.r(0x8)), (reset, 1));
        rig.hold = true;
        rig.w(0x0, reset & !1);
        assert_eq!((rig.r(0x0), rig.r(0x8)), (reset & !1, 1), "STATUS waits for the handshake");
        rig.release();
        assert_eq!(rig.r(0x8), 0);
        rig.hold = true;
        rig.w(0x0, reset);
        assert_eq!(rig.r(0x8), 0, "STATUS waits for the handshake");
        rig.release();
        assert_eq!((rig.r(0x0), rig.r(0x8)), (reset, 1));
    }
    rig.w(0x0, u32::MAX);
    assert_eq!(rig.r(0x0), 0x1f_ffff, "bits above 20 do not exist");
}

#[test]
fn c03_resetting_slots_that_are_not_allocated_changes_nothing() {
    let mut rig = Rig::new();
    let direct: Vec<u64> = (0..128).flat_map(|q| (0..6).map(move |r| 0x1_0000 + 0x80 * q + 4 * r)).collect();
    for (i, at) in direct.iter().enumerate() {
        rig.w(*at, if at % 0x80 == 8 { 0 } else { i as u32 });
    }
    for q in 0..128 {
        rig.w64(0x2_0000 + 0x80 * q, 0x1234_5678_9a60 + q);
    }
    let before: Vec<u32> = direct.iter().map(|at| rig.r(*at)).collect();
    rig.lints.clear();
    for l in [1, 0] {
        let (p0, p1) = (0x3_0000 + 0x80 * l, 0x4_0000 + 0x80 * l);
        rig.w(p0 + 8, 0);
        assert_eq!(rig.r(p0 + 0xc), 0);
        rig.w(p0 + 4, 0);
        rig.w(p0, 0);
        rig.w64(p1, 0);
        rig.w64(p1 + 8, 0);
        assert_eq!((rig.r(p0 + 0x14), rig.r(p0 + 0x10)), (0, 0));
        rig.w(p0 + 8, 1);
        assert_eq!((rig.r(p0 + 8), rig.r(p0 + 0xc), rig.r(p0 + 4), rig.r64(p1)), (0, 0, 0, 0));
    }
    let after: Vec<u32> = direct.iter().map(|at| rig.r(*at)).collect();
    assert_eq!(before, after);
    assert_eq!(rig.lints, Vec::<String>::new());
    assert_eq!(rig.r64(0x2_0080), 0x1234_5678_9a61);
}

#[test]
fn c04_apertures_are_aliases() {
    let mut rig = Rig::new();
    rig.w(0x22c, 0x0002_8003);
    for (one, other) in
        [(0xd_0084, 0x1_0584), (0x1_0584, 0xd_0084), (0xd_0080, 0x1_0580), (0x1_0580, 0xd_0080)]
    {
        for value in [7, 0] {
            rig.w(one, value);
            assert_eq!(rig.r(other), value, "{one:#x} {other:#x}");
        }
    }
    rig.w64(0xe_0080, 0x8000_0013);
    assert_eq!(rig.r64(0x2_0580), 0x8000_0013);
}

#[test]
fn c05_registers_written_before_allocation_survive_it() {
    let mut rig = Rig::new();
    rig.w64(0x2_0580, 0x1234_5670_0013);
    assert_eq!(rig.r64(0xe_0080), 0);
    rig.w(0x22c, 0x0002_8001 | 1 << 1);
    assert_eq!(rig.r64(0xe_0080), 0x1234_5670_0013);
}

#[test]
fn c06_the_rest_of_a_page_is_inert() {
    let mut rig = Rig::new();
    let (mut a, mut b) = (rig_queue(&mut rig, 5), rig_queue(&mut rig, 6));
    let snapshot = |rig: &mut Rig| -> Vec<u32> {
        let tables = (0x0..0x600).chain(0x1000..0x5000).step_by(4);
        let places: Vec<u64> =
            tables.chain((0x1_0000..0x1_4000).step_by(4)).chain((0x2_0000..0x2_4000).step_by(4)).collect();
        places.into_iter().map(|at| rig.r(at)).collect()
    };
    let before = snapshot(&mut rig);
    for at in (0xd_0080..0xe_0000).chain([0xd_0018, 0xd_007c]).step_by(4) {
        rig.w(at, u32::MAX);
        assert_eq!(rig.r(at), 0, "{at:#x}");
    }
    assert_eq!(snapshot(&mut rig), before);
    let sync = spec::smmu::Command::sync();
    rig.push(&mut a, &[sync]);
    rig.push(&mut b, &[sync]);
    assert_eq!((rig.cons(&a), rig.cons(&b)), ((1, 0), (1, 0)));
}

fn rig_queue(rig: &mut Rig, v: u8) -> crate::cmdqv::functional::Lvcmdq {
    rig.vintf(v, false, v.into());
    rig.queue(v, 0, 3)
}

#[test]
fn c07_base_in_halves_or_whole() {
    let mut rig = Rig::new();
    for (at, logical) in [(0x2_0580, false), (0xe_0080, true), (0x2_0588, false), (0xe_0088, true)] {
        rig.w(0x22c, if logical { 0x0002_8003 } else { 0x0002_8002 });
        let value = 0x1234_5678_9ae0 | if at & 8 == 0 { 0x13 } else { 0 };
        rig.w(at, value as u32);
        rig.w(at + 4, (value >> 32) as u32);
        assert_eq!(rig.r64(at), value, "{at:#x}");
        rig.w64(at, !value);
        assert_eq!(rig.r64(at), !value & 0xffff_ffff_ffff, "{at:#x}");
        assert_eq!(rig.r(at + 4), (!value >> 32) as u32 & 0xffff, "{at:#x}");
    }
}

#[test]
fn c08_error_map_in_64_bits() {
    let mut rig = Rig::new();
    for l in 0..34 {
        rig.w(0x200 + 4 * l, 5 << 15 | (l as u32) << 1 | 1);
    }
    for l in [0, 33] {
        rig.w(0xd_0014 + 0x80 * l, 1);
    }
    assert_eq!((rig.r64(0x15c0), rig.r64(0x15c8)), (1 << 33 | 1, 0));
    assert_eq!([0x15c0, 0x15c4, 0x15c8, 0x15cc].map(|at| rig.r(at)), [1, 2, 0, 0]);
}

#[test]
fn c09_allocation_by_read_modify_write() {
    let mut rig = Rig::new();
    rig.w(0x228, 0x0002_8001);
    rig.w(0x22c, 0x0002_8002);
    rig.w(0x1_0584, 9);
    let entry = rig.r(0x22c);
    rig.w(0x22c, entry | 1);
    assert_eq!((rig.r(0x22c), rig.r(0xd_0084)), (0x0002_8003, 9));
    let entry = rig.r(0x22c);
    rig.w(0x22c, entry & !1);
    assert_eq!((rig.r(0x22c), rig.r(0xd_0084)), (0x0002_8002, 0));
    assert_eq!(rig.lints, Vec::<String>::new());
}

#[test]
fn odd_accesses_do_nothing() {
    let mut rig = Rig::new();
    for (at, len) in
        [(0x10, 1), (0x10, 2), (0x12, 4), (0x1c, 8), (0x8, 8), (0x10, 3), (0x1_0000, 8), (0x11, 255)]
    {
        rig.lints.clear();
        rig.block.write(at, len, u64::MAX);
        rig.settle();
        assert_eq!(rig.lints.len(), 1, "{at:#x} {len}");
        assert_eq!([0x10, 0x1c, 0x20, 0x1_0000, 0x1_0004].map(|at| rig.r(at)), [0; 5], "{at:#x} {len}");
    }
    assert_eq!(rig.block.read(0x1, 4), 0);
    assert_eq!(rig.block.read(0x0, 1), 0);
    assert_eq!(rig.block.read(0x0, 8), 0x0002_0083, "a 64-bit read gives the 32-bit register");
}

//! The map, and what accesses do.

use models::cmdqv::provenance::Source::{GpuDriver as U, Linux as L, Qemu as Q};
use spec::smmu::Command;

use super::{guest, vmid};
use crate::rig::{Rig, same};
use crate::suite::{Check, Row};

pub(super) const ROWS: &[Row] = &[
    Row::cmdqv(
        "C01",
        &[L],
        "PARAM says 64 VINTFs, 128 VCMDQs and 16 StreamID slots; writing it changes nothing",
        param_is_read_only,
    ),
    Row::cmdqv(
        "C02",
        &[L],
        "CONFIG is 0x00020083 at reset; clearing and setting CMDQV_EN leaves its other fields alone, and STATUS follows",
        config_keeps_its_fields,
    ),
    Row::cmdqv(
        "C03",
        &[L],
        "the reset sequence on LVCMDQs that are not allocated reads STATUS 0 and GERROR = GERRORN = 0, and changes no VCMDQ",
        unallocated_reset,
    ),
    Row::cmdqv("C04", &[Q], "logical and direct aperture show the same registers", apertures_are_aliases),
    Row::cmdqv("C05", &[Q], "BASE written before allocation is there afterwards", base_survives_allocation),
    Row::cmdqv(
        "C06",
        &[L],
        "everything in a VINTF's page 0 beyond its LVCMDQs reads as zero and ignores writes",
        tail_is_inert,
    ),
    Row::cmdqv("C07", &[U], "BASE can be written and read whole or in halves", base_in_halves),
    Row::cmdqv(
        "C08",
        &[L],
        "a 64-bit read of LVCMDQ_ERR_MAP shows errors of LVCMDQs 0 and 33, where a VINTF has 128",
        wide_error_map,
    ),
    Row::cmdqv(
        "C09",
        &[L],
        "setting and clearing ALLOCATED by read-modify-write shows and hides the LVCMDQ; the rest of the entry stays",
        allocation_by_rmw,
    ),
];

fn param_is_read_only(r: &mut Rig) -> Check {
    for written in [0, u32::MAX] {
        r.set("PARAM", written);
        let param = r.get("PARAM");
        same("log2 of VCMDQs, VINTFs and slots", [4, 8, 12].map(|at| param >> at & 0xf), [7, 6, 4])?;
        same("PARAM", param, 0x4671)?;
    }
    Ok(())
}

fn config_keeps_its_fields(r: &mut Rig) -> Check {
    r.reads("CONFIG", 0x0002_0083)?;
    for fields in [0x0002_0082, 0x0002_0402, 0x001f_fffe] {
        r.set("CONFIG", fields | 1);
        r.poll("STATUS", 1)?;
        for enable in [0, 1] {
            let value = r.get("CONFIG");
            r.set("CONFIG", value & !1 | enable);
            r.poll("STATUS", enable)?;
            r.reads("CONFIG", fields | enable)?;
        }
    }
    Ok(())
}

fn unallocated_reset(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let page0 = (0..128).flat_map(|q| (0..6).map(move |register| 0x1_0000 + 0x80 * q + 4 * register));
    let direct: Vec<u64> = page0.chain((0..128).map(|q| 0x2_0000 + 0x80 * q)).collect();
    for (i, &at) in direct.iter().enumerate() {
        // All but CONFIG: an enabled queue is another matter.
        r.set(at, if at % 0x80 == 8 { 0 } else { 0x20 * i as u32 });
    }
    let before: Vec<_> = direct.iter().map(|at| r.get(*at)).collect();
    for l in [1, 0] {
        let page0 = 0x3_0000 + 0x80 * l;
        r.set(page0 + 8, 0);
        r.reads(page0 + 0xc, 0)?;
        r.set(page0 + 4, 0);
        r.set(page0, 0);
        r.set64(0x1_0000 + page0, 0);
        r.set64(0x1_0008 + page0, 0);
        r.reads(page0 + 0x14, 0)?;
        r.reads(page0 + 0x10, 0)?;
        r.set(page0 + 8, 1);
        r.run();
        same("CONFIG, STATUS, PROD", [8, 0xc, 4].map(|at| r.get(page0 + at)), [0; 3])?;
    }
    let after: Vec<_> = direct.iter().map(|at| r.get(*at)).collect();
    same("the direct aperture", after, before)
}

fn apertures_are_aliases(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    r.set(0x228_u64, 0x0002_8001);
    r.set(0x22c_u64, 0x0002_8003);
    for (one, other) in [(0xd_0084, 0x1_0584), (0xd_0080, 0x1_0580_u64)] {
        for (written, read) in [(one, other), (other, one)] {
            for value in [7, 0] {
                r.set(written, value);
                r.reads(read, value)?;
            }
        }
    }
    r.set64(0xe_0080_u64, 0x8000_0013);
    same("BASE in the direct aperture", r.get64(0x2_0580_u64), 0x8000_0013)
}

fn base_survives_allocation(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let base = 0x1234_5670_0013;
    r.set(0x228_u64, 0x0002_8001);
    r.set64(0x2_0580_u64, base);
    same("BASE of an LVCMDQ that is not allocated", r.get64(0xe_0080_u64), 0)?;
    r.set(0x22c_u64, 0x0002_8003);
    same("BASE once it is", r.get64(0xe_0080_u64), base)
}

/// Every register that is not behind VINTF 5's page 0.
fn state(r: &mut Rig) -> Vec<u32> {
    let config = (0..0x400).chain(0x1000..0x5000).step_by(4);
    let direct = (0x1_0000..0x1_4000).chain(0x2_0000..0x2_4000_u64).filter(|at| at % 0x80 < 0x18).step_by(4);
    config.chain(direct).map(|at| r.get(at)).collect()
}

fn tail_is_inert(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let (mut own, mut other) = (guest(r, 5)?, guest(r, 6)?);
    let before = state(r);
    for at in (0xd_0080..0xe_0000).chain([0xd_0018, 0xd_007c_u64]).step_by(4) {
        r.set(at, u32::MAX);
        r.reads(at, 0)?;
    }
    same("every other register", state(r), before)?;
    for queue in [&mut own, &mut other] {
        r.give(queue, &[Command::sync()]);
        r.stands(queue, (1, 0))?;
    }
    Ok(())
}

fn base_in_halves(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    r.set(0x228_u64, 0x0002_8001);
    for at in [0x2_0580, 0xe_0080, 0x2_0588, 0xe_0088_u64] {
        r.set(0x22c_u64, if at < 0x3_0000 { 0x0002_8002 } else { 0x0002_8003 });
        let value = 0x1234_5678_9ae0 | if at & 8 == 0 { 0x13 } else { 0 };
        r.set(at, value as u32);
        r.set(at + 4, (value >> 32) as u32);
        same("the whole of two halves", r.get64(at), value)?;
        r.set64(at, !value);
        same("a whole", r.get64(at), !value & 0xffff_ffff_ffff)?;
        r.reads(at + 4, (!value >> 32) as u32 & 0xffff)?;
    }
    Ok(())
}

fn wide_error_map(r: &mut Rig) -> Check {
    r.cmdqv(|c| c.vintfs_log2 = 0);
    r.boot_cmdqv()?;
    r.vintf(0, false, vmid(0))?;
    for l in 0..34 {
        let mut queue = r.allocated(0, l, l.into(), 4);
        if l == 0 || l == 33 {
            r.set64(queue.at("BASE"), queue.ring | 4);
            r.set(queue.at("CONFIG"), 1);
            r.poll(queue.at("STATUS"), 1)?;
            r.give(&mut queue, &[Command::cfgi_all()]);
        }
    }
    same("+0xc0 and +0xc8", [0x10c0, 0x10c8_u64].map(|at| r.get64(at)), [1 << 33 | 1, 0])?;
    same("its words", [0x10c0, 0x10c4, 0x10c8, 0x10cc_u64].map(|at| r.get(at)), [1, 2, 0, 0])
}

fn allocation_by_rmw(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    r.set(0x228_u64, 0x0002_8001);
    r.set(0x22c_u64, 0x0002_8002);
    r.set(0x1_0584_u64, 9);
    for (bit, prod) in [(0, 0), (1, 9), (0, 0)] {
        let entry = r.get(0x22c_u64);
        r.set(0x22c_u64, entry & !1 | bit);
        r.reads(0x22c_u64, 0x0002_8002 | bit)?;
        r.reads(0xd_0084_u64, prod)?;
    }
    r.flagged(0)
}

//! Errors, how they are shown and acknowledged, and the interrupt.

use models::cmdqv::provenance::Source::{Inferred as I, Linux as L, Qemu as Q, Vendor as N};
use spec::smmu::{Command, Opcode};

use super::{guest, host, vmid};
use crate::rig::{Lvcmdq, Rig, at, same};
use crate::suite::{Check, Row};

pub(super) const ROWS: &[Row] = &[
    Row::cmdqv(
        "C34",
        &[L],
        "an illegal command at index k: CONS.RD is k, CONS.ERR 1, all maps and VINTF STATUS show it, one edge",
        illegal_command,
    ),
    Row::cmdqv(
        "C35",
        &[L],
        "overwritten in memory and acknowledged, the entry is read again, the queue drains and all maps clear",
        rewritten_and_acknowledged,
    ),
    Row::cmdqv("C36", &[L], "acknowledged as it is, the error recurs with an edge of its own", it_recurs),
    Row::cmdqv(
        "C37",
        &[L],
        "an aborted fetch is CERROR_ABT at its entry; the retry skips nothing",
        aborted_fetch,
    ),
    Row::cmdqv(
        "C38",
        &[L],
        "an ATC invalidation without answer is CERROR_ATC_INV_SYNC at the CMD_SYNC behind it, which then completes",
        atc_timeout,
    ),
    Row::cmdqv(
        "C39",
        &[L, N],
        "what such an invalidation leaves in a disabled queue is collected by a CMD_SYNC of the SMMU's own queue, or else \
         reported to the next owner",
        atc_timeout_of_the_last_owner,
    ),
    Row::cmdqv(
        "C40",
        &[L],
        "one edge per error: none while it lasts, one more for another queue of the same VINTF",
        one_edge_per_error,
    ),
    Row::cmdqv(
        "C41",
        &[Q],
        "with VINTF_INT_MASK set errors of a VINTF show in the maps and give no edge; others do",
        masked_vintf,
    ),
    Row::cmdqv(
        "C42",
        &[L],
        "of errors of VINTFs 0 and 40 the host acknowledges its own; the guest's queue waits for the guest",
        two_owners,
    ),
    Row::cmdqv(
        "C43",
        &[Q],
        "a queue with a bad LOG2SIZE or base does not start, and CMDQ_INIT_ERR is active",
        bad_geometry,
    ),
    Row::cmdqv(
        "C53",
        &[I],
        "a guest that makes GERRORN differ by itself stops its own queue, without an edge, until it takes that back",
        upset_gerrorn,
    ),
];

/// The error maps and VINTF STATUS[3:1] as far as they concern VINTF 5 and VCMDQ 10.
fn maps(r: &mut Rig) -> [u32; 4] {
    [
        r.get("VINTF_ERR_MAP_0"),
        r.get("CMDQ_ERR_MAP_0"),
        r.get("VINTF5.LVCMDQ_ERR_MAP0"),
        r.get("VINTF5.STATUS") >> 1 & 7,
    ]
}

const CLEAR: [u32; 4] = [0; 4];
const SET: [u32; 4] = [1 << 5, 1 << 10, 1, 1];

fn show(r: &mut Rig, expected: [u32; 4]) -> Check {
    same("the error maps and VINTF STATUS[3:1]", maps(r), expected)
}

fn illegal_command(r: &mut Rig) -> Check {
    for k in 0..6_u32 {
        let r = &mut r.fresh();
        r.boot_cmdqv()?;
        let mut queue = guest(r, 5)?;
        show(r, CLEAR)?;
        let mut batch = vec![Command::sync(); k as usize];
        batch.extend([Command::cfgi_all(), Command::sync()]);
        r.give(&mut queue, &batch);
        r.stands(&queue, (k, 1))?;
        same("GERROR, GERRORN", ["GERROR", "GERRORN"].map(|reg| r.get(queue.at(reg))), [1, 0])?;
        show(r, SET)?;
        r.edged(1)?;
    }
    Ok(())
}

fn rewritten_and_acknowledged(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.give(&mut queue, &[Command::sync(), Command::cfgi_all(), Command::tlbi_nh_asid(1, 5), Command::sync()]);
    r.store(queue.slot(1), Command::sync());
    r.acknowledge(&queue);
    r.stands(&queue, (4, 0))?;
    let expected = [Command::sync(), Command::sync(), Command::tlbi_nh_asid(1, vmid(5)), Command::sync()];
    r.ran(&queue, &expected)?;
    show(r, CLEAR)?;
    r.edged(1)
}

fn it_recurs(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.give(&mut queue, &[Command::cfgi_all()]);
    for edges in 2..5_u32 {
        r.acknowledge(&queue);
        r.edged(edges as usize)?;
        r.reads(queue.at("GERROR"), edges & 1)?;
        show(r, SET)?;
    }
    Ok(())
}

fn aborted_fetch(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.break_at(queue.slot(4));
    let batch: Vec<_> = (0..7).map(|n| Command::tlbi_nh_asid(n, vmid(5))).collect();
    r.give(&mut queue, &batch);
    r.stands(&queue, (4, 2))?;
    r.edged(1)?;
    r.world.aborts.clear();
    r.acknowledge(&queue);
    r.stands(&queue, (7, 0))?;
    r.ran(&queue, &batch)?;
    r.edged(1)
}

/// An endpoint that never answers.
const MUTE: u32 = 0x77;

fn atc_timeout(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.sid(5, 0, 0x10, MUTE);
    r.world.mute_streams.insert(MUTE);
    r.give(&mut queue, &[Command::atc_inv(0x10, None, 0, 52), Command::sync(), Command::sync()]);
    r.stands(&queue, (1, 3))?;
    r.edged(1)?;
    r.acknowledge(&queue);
    r.stands(&queue, (3, 0))?;
    r.edged(1)
}

fn atc_timeout_of_the_last_owner(r: &mut Rig) -> Check {
    for collected in [true, false] {
        let r = &mut r.fresh();
        r.boot_cmdqv()?;
        let mut queue = guest(r, 5)?;
        r.sid(5, 0, 0x10, MUTE);
        r.world.mute_streams.insert(MUTE);
        r.give(&mut queue, &[Command::atc_inv(0x10, None, 0, 52)]);
        r.stands(&queue, (1, 0))?;
        r.disable(&queue)?;
        if collected {
            r.submit(&[Command::sync()]);
            r.run();
            // The SMMU's own queue may stop there in turn.
            if r.cons().1 == 3 {
                let gerror = r.read32(at::GERROR);
                r.write32(at::GERRORN, gerror);
            }
            r.drained()?;
        }
        r.allocate(&queue, false);
        r.vintf(6, false, vmid(6))?;
        let mut next = Lvcmdq { v: 6, l: 0, prod: 0, ..queue };
        r.set(next.entry(), 6 << 15 | 1);
        r.set64(next.at("BASE"), next.ring | 4);
        r.set(next.at("CONS"), 0);
        r.set(next.at("PROD"), 0);
        r.set(next.at("CONFIG"), 1);
        r.poll(next.at("STATUS"), 1)?;
        r.give(&mut next, &[Command::sync()]);
        let expected = if collected { (1, 0) } else { (0, 3) };
        r.stands(&next, expected).map_err(|why| format!("collected: {collected}: {why}"))?;
    }
    Ok(())
}

fn one_edge_per_error(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut first = guest(r, 5)?;
    let mut second = r.queue(5, 1, 4)?;
    r.give(&mut first, &[Command::cfgi_all()]);
    for _ in 0..5 {
        r.give(&mut first, &[Command::sync()]);
        show(r, SET)?;
    }
    r.edged(1)?;
    r.give(&mut second, &[Command::cfgi_all()]);
    r.edged(2)?;
    r.reads("VINTF_ERR_MAP_0", 1 << 5)?;
    r.reads("VINTF5.LVCMDQ_ERR_MAP0", 3)
}

fn masked_vintf(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let (mut masked, mut other, mut high) = (guest(r, 5)?, guest(r, 6)?, guest(r, 40)?);
    r.set("VINTF_INT_MASK_0", 1 << 5);
    r.set("VINTF_INT_MASK_1", 1 << 8);
    r.give(&mut masked, &[Command::cfgi_all()]);
    r.edged(0)?;
    show(r, SET)?;
    r.give(&mut high, &[Command::cfgi_all()]);
    r.edged(0)?;
    r.reads("VINTF_ERR_MAP_1", 1 << 8)?;
    r.give(&mut other, &[Command::cfgi_all()]);
    r.edged(1)
}

fn two_owners(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let (mut own, mut of_guest) = (host(r, 4)?, guest(r, 40)?);
    r.send(&mut own, &[Command::new(Opcode(0)), Command::sync()]);
    r.give(&mut of_guest, &[Command::cfgi_all(), Command::sync()]);
    r.edged(2)?;
    same("VINTF_ERR_MAP", [0x18, 0x14_u64].map(|at| r.get(at)), [1 << 8, 1])?;
    same("CMDQ_ERR_MAP", [0x30, 0x2c, 0x28, 0x24_u64].map(|at| r.get(at)), [0, 1 << 16, 0, 1])?;
    same("the host's map", [0x10c0, 0x10c8_u64].map(|at| r.get64(at)), [1, 0])?;
    r.stands(&own, (0, 1))?;
    r.store(own.ring, Command::sync());
    r.acknowledge(&own);
    r.stands(&own, (2, 0))?;
    same("the guest's map", [0x38c0, 0x38c8_u64].map(|at| r.get64(at)), [1, 0])?;
    same("CONS of the guest's queue", r.consumed(&of_guest).0, 0)?;
    r.store(of_guest.ring, Command::sync());
    r.acknowledge(&of_guest);
    r.stands(&of_guest, (2, 0))?;
    same("VINTF_ERR_MAP", [0x18, 0x14_u64].map(|at| r.get(at)), [0, 0])?;
    r.edged(2)
}

fn bad_geometry(r: &mut Rig) -> Check {
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
        let r = &mut r.fresh();
        r.cmdqv(|c| c.cmdqs = cmdqs);
        r.boot_cmdqv()?;
        r.vintf(5, false, vmid(5))?;
        let queue = r.allocated(5, 0, 10, 4);
        r.set64(queue.at("BASE"), base);
        r.set(queue.at("CONFIG"), 1);
        r.run();
        let state = ["STATUS", "GERROR", "GERRORN"].map(|register| r.get(queue.at(register)));
        let what = format!("STATUS, GERROR, GERRORN with BASE {base:#x}, CMDQS {cmdqs}");
        same(&what, state, if sound { [1, 0, 0] } else { [0, 4, 0] })?;
        r.edged(usize::from(!sound))?;
        // Repaired and acknowledged, it starts.
        r.set64(queue.at("BASE"), 0x8000_0001);
        r.acknowledge(&queue);
        r.poll(queue.at("STATUS"), 1)?;
    }
    Ok(())
}

fn upset_gerrorn(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    let mut other = r.queue(5, 1, 4)?;
    r.set(queue.at("GERRORN"), 1);
    r.give(&mut queue, &[Command::sync()]);
    r.give(&mut other, &[Command::sync()]);
    r.stands(&queue, (0, 0))?;
    r.stands(&other, (1, 0))?;
    show(r, SET)?;
    r.edged(0)?;
    r.acknowledge(&queue);
    r.stands(&queue, (1, 0))?;
    show(r, CLEAR)?;
    r.edged(0)
}

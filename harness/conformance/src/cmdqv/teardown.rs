//! Disabling at work, and what the next owner finds.

use models::cmdqv::provenance::Source::{Linux as L, Vendor as N};
use spec::smmu::Command;
use spec::smmu::page0::CR0;

use super::enable::host_reset;
use super::{guest, host, vmid};
use crate::rig::{Lvcmdq, Rig, holds, same};
use crate::suite::{Check, Row};

pub(super) const ROWS: &[Row] = &[
    Row::cmdqv(
        "C44",
        &[L],
        "a queue disabled with 1000 commands outstanding stops; with STATUS 0 nothing is read or executed",
        disable_with_a_backlog,
    ),
    Row::cmdqv(
        "C45",
        &[L],
        "a queue disabled in error stops; its error stays active until the reset sequence acknowledges it",
        disable_in_error,
    ),
    Row::cmdqv(
        "C46",
        &[N, L],
        "a VINTF that is disabled keeps its StreamID slots until they are written",
        slots_stay,
    ),
    Row::cmdqv(
        "C47",
        &[L],
        "after teardown and setup the next owner sees nothing of the last: no pointer, base, error or slot",
        next_owner,
    ),
    Row::cmdqv(
        "C48",
        &[L],
        "after shutdown all VINTFs have STATUS 0, the block has 1, and the SMMU's own queue works until CR0 is cleared",
        shutdown,
    ),
];

/// Stopped, a queue must stay so whatever happens.
fn stays_stopped(r: &mut Rig, queue: &Lvcmdq) -> Check {
    let before = (r.fetches(queue), r.executed(queue.q).len(), r.consumed(queue));
    r.set(queue.at("PROD"), 999);
    r.run();
    same("fetches, commands, CONS", (r.fetches(queue), r.executed(queue.q).len(), r.consumed(queue)), before)
}

fn disable_with_a_backlog(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    r.vintf(5, false, vmid(5))?;
    let mut at_work = r.queue(5, 0, 10)?;
    r.send(&mut at_work, &[Command::tlbi_nh_asid(1, 0); 1000]);
    r.disable(&at_work)?;
    stays_stopped(r, &at_work)?;
    let mut stopped = r.queue(5, 1, 10)?;
    let mut batch = vec![Command::tlbi_nh_asid(1, 0); 1001];
    batch[0] = Command::cfgi_all();
    r.give(&mut stopped, &batch);
    r.disable(&stopped)?;
    stays_stopped(r, &stopped)?;
    holds("nothing of it was executed", r.executed(stopped.q).is_empty())?;
    // Endpoints take their time: the CMD_SYNC that waits for them ends before STATUS is 0.
    let mut waiting = host(r, 10)?;
    r.send(&mut waiting, &[Command::atc_inv(1, None, 0, 52), Command::sync()]);
    r.until("the CMD_SYNC waits", |r| r.consumed(&waiting).0 >= 1)?;
    r.disable(&waiting)?;
    stays_stopped(r, &waiting)
}

fn disable_in_error(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.give(&mut queue, &[Command::cfgi_all(), Command::sync()]);
    r.disable(&queue)?;
    r.reads("VINTF_ERR_MAP_0", 1 << 5)?;
    holds("the reset finds an error to acknowledge", r.reset(&queue)?)?;
    holds("and no second one", !r.reset(&queue)?)?;
    let maps = ["VINTF_ERR_MAP_0", "CMDQ_ERR_MAP_0", "VINTF5.LVCMDQ_ERR_MAP0"].map(|map| r.get(map));
    same("the maps", maps, [0; 3])?;
    let status = r.get("VINTF5.STATUS");
    same("VINTF STATUS[3:1]", status >> 1 & 7, 0)?;
    r.edged(1)
}

fn slots_stay(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    r.vintf(5, false, vmid(5))?;
    for s in 0..16 {
        r.sid(5, s, 0x100 + u32::from(s), 0x200 + u32::from(s));
    }
    r.disable_vintf(5)?;
    let slots = |s: u64| [0x1540 + 4 * s, 0x1580 + 4 * s];
    for s in 0..16_u32 {
        let seen = slots(s.into()).map(|at| r.get(at));
        same("SID_MATCH, SID_REPLACE", seen, [(0x100 + s) << 1 | 1, 0x200 + s])?;
    }
    r.reset_vintf(5, &[])?;
    for s in 0..16 {
        same("SID_MATCH, SID_REPLACE after the reset", slots(s).map(|at| r.get(at)), [0, 0])?;
    }
    Ok(())
}

fn next_owner(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queues = [guest(r, 5)?, r.queue(5, 1, 4)?];
    r.sid(5, 0, 0x10, 0x77);
    for queue in &mut queues {
        r.give(queue, &[Command::sync(), Command::cfgi_all()]);
    }
    r.reset_vintf(5, &queues)?;
    r.vintf(5, false, 0x99)?;
    for queue in &queues {
        r.allocate(queue, true);
        let registers = ["CONS", "PROD", "CONFIG", "STATUS", "GERROR", "GERRORN", "BASE", "BASE_H"];
        let state = registers.map(|register| r.get(queue.at(register)));
        same("CONS, PROD, CONFIG, STATUS, GERROR, GERRORN, BASE", state, [0; 8])?;
        // A VMM copies what it has remembered, which is nothing.
        for register in ["CONS", "PROD", "CONFIG", "GERRORN"] {
            r.set(queue.at(register), 0);
        }
    }
    same("slot 0", ["VINTF5.SID_MATCH0", "VINTF5.SID_REPLACE0"].map(|at| r.get(at)), [0, 0])?;
    r.reads("CMDQ_ERR_MAP_0", 0)?;
    r.edged(2)?;
    r.flagged(0)
}

fn shutdown(r: &mut Rig) -> Check {
    r.boot()?;
    let mut own = host_reset(r)?;
    let mut of_guest = guest(r, 3)?;
    r.give(&mut own[0], &[Command::sync()]);
    r.give(&mut of_guest, &[Command::sync()]);
    r.reset_vintf(3, &[of_guest])?;
    r.reset_vintf(0, &own)?;
    for v in 0..64 {
        let status = r.get(0x1004 + 0x100 * v);
        same(&format!("VINTF {v} STATUS"), status & 1, 0)?;
    }
    r.reads("STATUS", 1)?;
    r.commands(&[Command::cfgi_all()])?;
    r.cr0(CR0(0))?;
    r.flagged(0)
}

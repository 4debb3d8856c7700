//! What an owner may send, and what is rewritten on the way.

use models::cmdqv::provenance::Source::{Linux as L, Vendor as N};
use spec::smmu::{Command, Opcode};

use super::{guest, host, vmid};
use crate::rig::{Rig, holds, same};
use crate::suite::{Check, Row};

pub(super) const ROWS: &[Row] = &[
    Row::cmdqv("C26", &[L, N], "TLBI of a guest is executed with its VINTF's VMID", vmid_is_replaced),
    Row::cmdqv("C27", &[L], "TLBI of the hypervisor keeps its VMID", vmid_passes),
    Row::cmdqv(
        "C28",
        &[L, N],
        "ATC_INV of a guest is executed with the StreamID of the slot that matches, and is else unchanged",
        sid_is_replaced,
    ),
    Row::cmdqv(
        "C29",
        &[N],
        "ATC_INV of a guest with a StreamID that no slot matches is not executed and stops its queue, CERROR_ILL",
        unmatched_sid,
    ),
    Row::cmdqv(
        "C30",
        &[L],
        "a slot stops matching when SID_MATCH is cleared; written anew, it lets the same entry pass",
        slots_come_and_go,
    ),
    Row::cmdqv(
        "C31",
        &[N],
        "a guest may use six opcodes; each other one is not executed and stops its queue, CERROR_ILL",
        opcodes_of_guests,
    ),
    Row::cmdqv(
        "C32",
        &[L],
        "the hypervisor may use every opcode, and nothing is rewritten",
        opcodes_of_the_host,
    ),
    Row::cmdqv("C33", &[N], "an error stops its own queue only; STATUS stays 1", an_error_stays_in_its_queue),
];

fn vmid_is_replaced(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let own = vmid(5);
    let rows = [
        (Command::tlbi_nh_asid(9, 7), Command::tlbi_nh_asid(9, own)),
        (Command::tlbi_nh_va(9, 0xffff, 0x1_2000, true), Command::tlbi_nh_va(9, own, 0x1_2000, true)),
        (Command::tlbi_s12_vmall(0), Command::tlbi_s12_vmall(own)),
        (Command::tlbi_s2_ipa(7, 0x8000, false), Command::tlbi_s2_ipa(own, 0x8000, false)),
    ];
    let mut queue = guest(r, 5)?;
    r.give(&mut queue, &rows.map(|(sent, _)| sent));
    r.ran(&queue, &rows.map(|(_, executed)| executed))
}

fn vmid_passes(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = host(r, 4)?;
    let commands = [Command::tlbi_s2_ipa(0x42, 0x8000, false), Command::tlbi_nh_all(0x42)];
    r.give(&mut queue, &commands);
    r.ran(&queue, &commands)
}

fn sid_is_replaced(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.sid(5, 3, 0x100, 0x2345);
    r.sid(5, 4, 0x101, 0x2346);
    r.sid(5, 15, 0xf_ffff, 0xf_fffe);
    r.give(
        &mut queue,
        &[Command::atc_inv(0x100, Some(7), 0x1_2000, 3), Command::atc_inv(0xf_ffff, None, 0, 52)],
    );
    let expected = [Command::atc_inv(0x2345, Some(7), 0x1_2000, 3), Command::atc_inv(0xf_fffe, None, 0, 52)];
    r.ran(&queue, &expected)?;
    let seen: Vec<_> = r.world.invalidations.iter().map(|invalidate| invalidate.sid).collect();
    same("StreamIDs of the invalidations", seen, vec![0x2345, 0xf_fffe])
}

fn unmatched_sid(r: &mut Rig) -> Check {
    // 0x10_0100 has the low 20 bits of a match; slot 4 is written but not enabled; slot 0 is another guest's.
    for sid in [0, 0x101, 0x200, 0x10_0100, 0x2345, u32::MAX] {
        let r = &mut r.fresh();
        r.boot_cmdqv()?;
        let mut queue = guest(r, 5)?;
        r.sid(5, 3, 0x100, 0x2345);
        r.sid(6, 0, 0x101, 0x2346);
        r.set("VINTF5.SID_MATCH4", 0x200 << 1);
        r.give(&mut queue, &[Command::sync(), Command::atc_inv(sid, None, 0, 52), Command::sync()]);
        r.stands(&queue, (1, 1)).map_err(|why| format!("StreamID {sid:#x}: {why}"))?;
        r.edged(1)?;
        r.ran(&queue, &[Command::sync()])?;
    }
    Ok(())
}

fn slots_come_and_go(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.sid(5, 3, 0x100, 0x2345);
    r.give(&mut queue, &[Command::atc_inv(0x100, None, 0, 52)]);
    r.set("VINTF5.SID_MATCH3", 0);
    r.give(&mut queue, &[Command::atc_inv(0x100, None, 0x1000, 0)]);
    let (index, _) = r.consumed(&queue);
    same("CONS", index, 1)?;
    same("GERROR against GERRORN", r.active(&queue), 1)?;
    r.sid(5, 3, 0x100, 0x777);
    r.acknowledge(&queue);
    r.stands(&queue, (2, 0))?;
    let executed = [Command::atc_inv(0x2345, None, 0, 52), Command::atc_inv(0x777, None, 0x1000, 0)];
    r.ran(&queue, &executed)
}

/// Everything that the table of commands names.
const NAMED: [Opcode; 20] = [
    Opcode::PREFETCH_CONFIG,
    Opcode::CFGI_STE,
    Opcode::CFGI_STE_RANGE,
    Opcode::CFGI_CD,
    Opcode::CFGI_CD_ALL,
    Opcode::TLBI_NH_ALL,
    Opcode::TLBI_NH_ASID,
    Opcode::TLBI_NH_VA,
    Opcode::TLBI_NH_VAA,
    Opcode::TLBI_EL2_ALL,
    Opcode::TLBI_EL2_ASID,
    Opcode::TLBI_EL2_VA,
    Opcode::TLBI_EL2_VAA,
    Opcode::TLBI_S12_VMALL,
    Opcode::TLBI_S2_IPA,
    Opcode::TLBI_NSNH_ALL,
    Opcode::ATC_INV,
    Opcode::PRI_RESP,
    Opcode::RESUME,
    Opcode::SYNC,
];

const OF_GUESTS: [Opcode; 6] = [
    Opcode::TLBI_NH_ASID,
    Opcode::TLBI_NH_VA,
    Opcode::TLBI_S12_VMALL,
    Opcode::TLBI_S2_IPA,
    Opcode::ATC_INV,
    Opcode::SYNC,
];

fn opcodes_of_guests(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    let mut other = r.queue(5, 1, 4)?;
    r.sid(5, 0, 0, 0);
    for code in 0..=255_u8 {
        let op = Opcode(code);
        let (index, edges, executed) = (queue.prod, r.edges(), r.executed(queue.q).len());
        r.give(&mut queue, &[Command::new(op)]);
        let legal = OF_GUESTS.contains(&op);
        let expected = if legal { (queue.prod, 0) } else { (index, 1) };
        r.stands(&queue, expected).map_err(|why| format!("{op}: {why}"))?;
        let new = (r.executed(queue.q).len() - executed, r.edges() - edges);
        same(&format!("executed commands and edges after {op}"), new, if legal { (1, 0) } else { (0, 1) })?;
        if !legal {
            r.store(queue.slot(index), Command::sync());
            r.acknowledge(&queue);
        }
    }
    r.give(&mut other, &[Command::sync()]);
    r.stands(&other, (1, 0))
}

fn opcodes_of_the_host(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = host(r, 6)?;
    // Without PRI, an SMMU knows no PRI_RESP: that is for C31, and no matter of privilege.
    let pri = r.read32(0) >> 16 & 1 != 0;
    let ops = NAMED.into_iter().filter(|&op| pri || op != Opcode::PRI_RESP);
    let sid = |op| if op == Opcode::SYNC { 0 } else { 0x77 };
    let commands: Vec<_> = ops.map(|op| Command::new(op).with_sid(sid(op))).collect();
    r.give(&mut queue, &commands);
    r.ran(&queue, &commands)?;
    r.edged(0)
}

fn an_error_stays_in_its_queue(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut bad = guest(r, 5)?;
    let mut others = [r.queue(5, 1, 4)?, host(r, 4)?];
    r.give(&mut bad, &[Command::cfgi_all(), Command::sync()]);
    for queue in &mut others {
        r.give(queue, &[Command::sync(); 5]);
        r.stands(queue, (5, 0))?;
        same("GERROR against GERRORN", r.active(queue), 0)?;
    }
    r.commands(&[Command::cfgi_all()])?;
    let (index, _) = r.consumed(&bad);
    same("CONS of the queue that stopped", index, 0)?;
    holds("an error is not a disable", r.get(bad.at("STATUS")) == 1)
}

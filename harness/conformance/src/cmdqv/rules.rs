//! What the models make of software that does what no driver does.

use models::cmdqv::provenance::Source::{Architecture as A, Inferred as I, Linux as L, Qemu as Q};
use spec::smmu::{Command, Opcode};

use super::{guest, host, vmid};
use crate::rig::{Rig, holds, same};
use crate::suite::{Check, Row};

pub(super) const ROWS: &[Row] = &[
    Row::cmdqv(
        "M01",
        &[Q, I],
        "accesses of other sizes, and 64-bit writes elsewhere, do nothing and are noticed; a 64-bit read gives 32 bits",
        odd_accesses,
    ),
    Row::cmdqv(
        "M02",
        &[I],
        "of two entries for one LVCMDQ the first wins; entries that name what does not exist map nothing",
        two_entries,
    ),
    Row::cmdqv("M03", &[I], "bits above the wrap bit of CONS and PROD are ignored", high_bits),
    Row::cmdqv("M04", &[I], "a PROD further ahead than the ring is long counts as full", prod_too_far),
    Row::cmdqv(
        "M05",
        &[I],
        "CONS written while the queue is enabled is ignored, and that is noticed",
        cons_write,
    ),
    Row::cmdqv(
        "M06",
        &[I],
        "CONS is written to CONS_INDX_BASE if CONS_DRAM_EN is set; an abort of that is an error of its own",
        cons_in_memory,
    ),
    Row::cmdqv("M07", &[A], "commands for the Secure state are CERROR_ILL for everybody", secure_commands),
    Row::cmdqv("M08", &[I], "of two slots with one StreamID the lower wins, and that is noticed", two_slots),
    Row::cmdqv(
        "M09",
        &[I],
        "a queue that is deallocated at work stops and is hidden, and that is noticed",
        deallocated_at_work,
    ),
    Row::cmdqv(
        "M10",
        &[I],
        "VMID and HYP_OWN written while the VINTF is enabled are ignored",
        vmid_while_enabled,
    ),
    Row::cmdqv(
        "M11",
        &[I],
        "a VINTF that is enabled again resumes its queues, with its new VMID",
        vintf_comes_back,
    ),
    Row::cmdqv(
        "M12",
        &[I],
        "an inserted CMD_SYNC leaves an ATC invalidation without answer to the queue's own next CMD_SYNC",
        inserted_sync_reports_nothing,
    ),
    Row::cmdqv(
        "M13",
        &[A],
        "opcodes that do not exist are CERROR_ILL for the hypervisor, too",
        unknown_opcodes,
    ),
    Row::cmdqv(
        "M14",
        &[L, I],
        "CMDQ_ALLOC reads back VINTF, LVCMDQ and ALLOCATED as written, and its other bits as zero",
        entries_read_back,
    ),
];

fn odd_accesses(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let zeros = [0x10, 0x1c, 0x20, 0x1_0000, 0x1_0004_u64];
    for (i, (at, len)) in [(0x10, 1), (0x10, 2), (0x12, 4), (0x18, 8), (0x1_0000, 8)].into_iter().enumerate()
    {
        r.set_bytes(at, len);
        r.flagged(i + 1)?;
        same("GLB_FILT_DATA_0, VINTF_INT_MASK, CONS, PROD", zeros.map(|at| r.get(at)), [0; 5])?;
    }
    let config = r.get("CONFIG");
    same("64 bits of CONFIG", r.get64("CONFIG"), config.into())
}

fn two_entries(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.set("CMDQ_ALLOC99", 5 << 15 | 1);
    r.flagged(1)?;
    r.reads("CMDQ_ALLOC99", 5 << 15 | 1)?;
    r.give(&mut queue, &[Command::sync()]);
    r.stands(&queue, (1, 0))?;
    r.reads("VCMDQ99.PROD", 0)?;
    r.set("CMDQ_ALLOC99", 0);
    r.stands(&queue, (1, 0))?;
    let r = &mut r.fresh();
    r.cmdqv(|c| (c.vintfs_log2, c.vcmdqs_log2) = (0, 1));
    r.boot_cmdqv()?;
    r.set("CMDQ_ALLOC0", 1 << 15 | 1);
    r.set("CMDQ_ALLOC1", 2 << 1 | 1);
    r.flagged(2)
}

fn high_bits(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let queue = host(r, 2)?;
    r.disable(&queue)?;
    r.set(queue.at("CONS"), 0xf_fff9);
    r.set(queue.at("PROD"), 0x1);
    r.set(queue.at("CONFIG"), 1);
    r.poll(queue.at("STATUS"), 1)?;
    r.stands(&queue, (1, 0))?;
    r.store(queue.slot(1), Command::cfgi_all());
    r.set(queue.at("PROD"), 0x800b_cdf2);
    r.run();
    r.stands(&queue, (2, 0))?;
    r.ran(&queue, &[Command::cfgi_all()])
}

fn prod_too_far(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let queue = host(r, 2)?;
    for i in 0..4 {
        r.store(queue.slot(i), Command::cfgi_ste(i, true));
    }
    r.set(queue.at("PROD"), 6);
    r.run();
    r.flagged(1)?;
    r.stands(&queue, (6, 0))
}

fn cons_write(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = host(r, 4)?;
    r.set(queue.at("CONS"), 3);
    r.flagged(1)?;
    r.give(&mut queue, &[Command::cfgi_all()]);
    r.ran(&queue, &[Command::cfgi_all()])?;
    r.stands(&queue, (1, 0))
}

fn cons_in_memory(r: &mut Rig) -> Check {
    r.cmdqv(|c| c.reset_config |= 1 << 20);
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    let at = r.alloc(12);
    r.run();
    let writes = r.world.writes.len();
    r.give(&mut queue, &[Command::sync()]);
    same("writes without an address", r.world.writes.len(), writes)?;
    r.disable(&queue)?;
    r.set64(queue.at("CONS_INDX_BASE"), at);
    r.set(queue.at("CONFIG"), 1);
    r.poll(queue.at("STATUS"), 1)?;
    r.give(&mut queue, &[Command::sync(), Command::cfgi_all()]);
    let cons = r.get(queue.at("CONS"));
    same("CONS in memory", r.peek(at), cons.into())?;
    same("its pointer", cons & 0xf_ffff, 2)?;
    r.store(queue.slot(2), Command::sync());
    r.acknowledge(&queue);
    let cons = r.get(queue.at("CONS"));
    same("CONS in memory", r.peek(at), cons.into())?;
    r.break_at(at);
    r.give(&mut queue, &[Command::sync()]);
    same("GERROR against GERRORN", r.active(&queue), 2)?;
    r.reads("VINTF_ERR_MAP_0", 1 << 5)?;
    r.edged(2)?;
    r.world.aborts.clear();
    r.acknowledge(&queue);
    r.give(&mut queue, &[Command::sync()]);
    r.finishes(&queue)
}

fn secure_commands(r: &mut Rig) -> Check {
    for hyp_own in [false, true] {
        let r = &mut r.fresh();
        r.boot_cmdqv()?;
        r.vintf(5, hyp_own, 0)?;
        let mut queue = r.queue(5, 0, 4)?;
        r.give(&mut queue, &[Command::sync().with_ssec(true)]);
        r.stands(&queue, (0, 1))?;
        r.ran(&queue, &[])?;
    }
    Ok(())
}

fn two_slots(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.sid(5, 9, 0x100, 9);
    r.sid(5, 2, 0x100, 2);
    r.give(&mut queue, &[Command::atc_inv(0x100, None, 0, 52)]);
    r.ran(&queue, &[Command::atc_inv(2, None, 0, 52)])?;
    r.flagged(1)
}

fn deallocated_at_work(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.send(&mut queue, &[Command::tlbi_nh_asid(1, 0); 12]);
    r.allocate(&queue, false);
    r.flagged(1)?;
    r.reads(queue.at("PROD"), 0)?;
    r.reads(queue.direct("PROD"), 12)?;
    r.poll(queue.direct("STATUS"), 0)?;
    let executed = r.executed(queue.q).len();
    r.run();
    same("commands executed afterwards", r.executed(queue.q).len(), executed)
}

fn vmid_while_enabled(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.set("VINTF5.CONFIG", 1 << 17 | 0x99 << 1 | 1);
    r.flagged(1)?;
    r.reads("VINTF5.CONFIG", u32::from(vmid(5)) << 1 | 1)?;
    r.give(&mut queue, &[Command::tlbi_nh_asid(1, 7)]);
    r.ran(&queue, &[Command::tlbi_nh_asid(1, vmid(5))])
}

fn inserted_sync_reports_nothing(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let (mut first, mut second) = (guest(r, 5)?, guest(r, 6)?);
    r.sid(5, 0, 0x10, 0x77);
    r.world.mute_streams.insert(0x77);
    let before = r.inserted_syncs();
    r.give(&mut first, &[Command::atc_inv(0x10, None, 0, 52)]);
    r.give(&mut second, &[Command::tlbi_nh_asid(1, 0)]);
    holds("a CMD_SYNC is inserted", r.inserted_syncs() > before)?;
    r.edged(0)?;
    r.give(&mut first, &[Command::sync()]);
    r.stands(&first, (1, 3))
}

fn unknown_opcodes(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = host(r, 4)?;
    for code in [0x00, 0x7f, 0x80, 0xff] {
        let at = queue.prod;
        r.give(&mut queue, &[Command::new(Opcode(code))]);
        r.stands(&queue, (at, 1)).map_err(|why| format!("opcode {code:#x}: {why}"))?;
        r.store(queue.slot(at), Command::sync());
        r.acknowledge(&queue);
    }
    r.ran(&queue, &[Command::sync(); 4])?;
    r.edged(4)
}

fn entries_read_back(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    for (written, read) in [(0xffff_fffe, 0x001f_80fe), (0x001f_8002, 0x001f_8002), (0, 0)] {
        r.set("CMDQ_ALLOC77", written);
        r.reads("CMDQ_ALLOC77", read)?;
    }
    r.set("CMDQ_ALLOC77", 0xffe0_7f01 | 5 << 15);
    r.reads("CMDQ_ALLOC77", 5 << 15 | 1)
}

fn vintf_comes_back(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.disable_vintf(5)?;
    r.give(&mut queue, &[Command::tlbi_nh_asid(1, 1)]);
    r.reads(queue.at("STATUS"), 0)?;
    r.ran(&queue, &[])?;
    r.vintf(5, false, 8)?;
    r.finishes(&queue)?;
    r.ran(&queue, &[Command::tlbi_nh_asid(1, 8)])
}

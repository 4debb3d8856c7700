//! The three levels of enables, and which VCMDQ is where.

use models::cmdqv::provenance::Source::{GpuDriver as U, Inferred as I, Linux as L, Vendor as N};
use spec::smmu::Command;

use super::{guest, vmid};
use crate::rig::{Lvcmdq, Rig, same};
use crate::suite::{Check, Row};

pub(super) const ROWS: &[Row] = &[
    Row::cmdqv(
        "C10",
        &[L],
        "after the reset of the block and of VINTF 0 both its queues have STATUS 1 and CONS = PROD = 0",
        host_boot,
    ),
    Row::cmdqv(
        "C11",
        &[N, U],
        "TLBI uses the VMID that CONFIG had when the VINTF was enabled, in two writes or in one",
        vmid_in_two_writes_or_one,
    ),
    Row::cmdqv(
        "C12",
        &[L],
        "HYP_OWN reads back as 1 on the host's block and as 0 on a virtual machine's",
        hyp_own_reads_back,
    ),
    Row::cmdqv(
        "C13",
        &[U],
        "VCMDQ 127 as LVCMDQ 0 of VINTF 63 executes, and both apertures show its CONS",
        any_queue_goes_anywhere,
    ),
    Row::cmdqv(
        "C14",
        &[L],
        "a block that is disabled and enabled while queues run, and its allocations rewritten, fetches from no old ring",
        crash_kernel,
    ),
    Row::cmdqv(
        "C15",
        &[L],
        "deallocating LVCMDQ 0 before LVCMDQ 1 is noticed as a violation, and done",
        wrong_order,
    ),
    Row::cmdqv(
        "C16",
        &[I],
        "a queue enabled before its VINTF has STATUS 0 and fetches nothing; then it starts by itself",
        enabled_before_its_vintf,
    ),
];

/// Resets the block, preassigns all VCMDQs and sets VINTF 0 up with two rings of 16 entries.
pub(super) fn host_reset(r: &mut Rig) -> Result<[Lvcmdq; 2], String> {
    let config = r.get("CONFIG");
    for enable in [0, 1] {
        r.set("CONFIG", config & !1 | enable);
        r.poll("STATUS", enable)?;
    }
    for q in 0..128 {
        r.set(0x200 + 4 * q, ((q / 2) << 15 | (q % 2) << 1) as u32);
    }
    let mut queues = [0, 1].map(|l| Lvcmdq { v: 0, l, q: l.into(), ring: r.alloc(8), log2size: 4, prod: 0 });
    r.reset_vintf(0, &queues)?;
    r.vintf(0, true, 0)?;
    r.reads("VINTF0.CONFIG", 0x2_0001)?;
    for queue in &mut queues {
        r.allocate(queue, true);
        r.reset(queue)?;
        r.set64(queue.at("BASE"), queue.ring | 4);
        r.set(queue.at("CONFIG"), 1);
        r.poll(queue.at("STATUS"), 1)?;
    }
    Ok(queues)
}

fn host_boot(r: &mut Rig) -> Check {
    r.boot()?;
    for queue in host_reset(r)? {
        let state = ["STATUS", "CONS", "PROD"].map(|register| r.get(queue.at(register)));
        same("STATUS, CONS, PROD", state, [1, 0, 0])?;
    }
    r.reads("VINTF0.STATUS", r_status(2))?;
    r.reads("CMDQ_ALLOC127", 0x001f_8002)?;
    r.flagged(0)?;
    r.edged(0)
}

/// VINTF STATUS of an enabled VINTF without errors.
const fn r_status(lvcmdqs: u32) -> u32 {
    1 | lvcmdqs << 16
}

fn vmid_in_two_writes_or_one(r: &mut Rig) -> Check {
    for writes in [&[0x42 << 1, 0x42 << 1 | 1][..], &[0x42 << 1 | 1]] {
        let r = &mut r.fresh();
        r.boot_cmdqv()?;
        for &value in writes {
            r.set("VINTF5.CONFIG", value);
        }
        r.poll("VINTF5.STATUS", 1)?;
        let mut queue = r.queue(5, 0, 3)?;
        r.give(&mut queue, &[Command::tlbi_nh_asid(1, 7)]);
        r.ran(&queue, &[Command::tlbi_nh_asid(1, 0x42)])?;
    }
    Ok(())
}

fn hyp_own_reads_back(r: &mut Rig) -> Check {
    for (writable, expected) in [(true, 1), (false, 0)] {
        let r = &mut r.fresh();
        r.cmdqv(|c| c.hyp_own_writable = writable);
        r.boot_cmdqv()?;
        r.vintf(0, true, 0)?;
        let config = r.get("VINTF0.CONFIG");
        same("HYP_OWN", config >> 17, expected)?;
    }
    Ok(())
}

fn any_queue_goes_anywhere(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    r.vintf(63, true, 0)?;
    let queue = r.allocated(63, 0, 127, 4);
    r.set(queue.direct("BASE"), queue.ring as u32 | 4);
    r.set(queue.direct("BASE_H"), (queue.ring >> 32) as u32);
    r.set(queue.direct("CONS"), 0);
    r.set(queue.direct("PROD"), 0);
    r.set(queue.direct("CONFIG"), 1);
    r.poll(queue.direct("STATUS"), 1)?;
    r.store(queue.ring, Command::sync());
    r.set(queue.direct("PROD"), 1);
    r.run();
    r.reads(queue.direct("CONS"), 1)?;
    r.reads(0x3_0000 + 0x2_0000 * 63_u64, 1)?;
    r.ran(&queue, &[Command::sync()])?;
    r.flagged(0)
}

fn crash_kernel(r: &mut Rig) -> Check {
    r.boot()?;
    let mut old = host_reset(r)?;
    // Both die with work outstanding: one is stopped at an error, one is at work.
    r.send(&mut old[0], &[Command::sync().with_ssec(true), Command::sync(), Command::sync()]);
    r.run();
    r.send(&mut old[1], &[Command::tlbi_nsnh_all(); 15]);
    let config = r.get("CONFIG");
    r.set("CONFIG", config & !1);
    r.poll("STATUS", 0)?;
    r.set("CONFIG", config | 1);
    r.poll("STATUS", 1)?;
    let before = old.map(|queue| r.fetches(&queue));
    for q in 0..128 {
        r.set(0x200 + 4 * q, ((q / 2) << 15 | (q % 2) << 1) as u32);
    }
    r.run();
    same("fetches from the old rings", old.map(|queue| r.fetches(&queue)), before)?;
    let flags = r.world.lints.len();
    let mut new = host_reset(r)?;
    r.give(&mut new[0], &[Command::sync()]);
    r.stands(&new[0], (1, 0))?;
    same("fetches from the old rings", old.map(|queue| r.fetches(&queue)), before)?;
    r.flagged(flags)
}

fn wrong_order(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let first = guest(r, 5)?;
    let mut second = r.queue(5, 1, 3)?;
    r.disable(&first)?;
    r.flagged(0)?;
    r.allocate(&first, false);
    r.flagged(1)?;
    r.reads("CMDQ_ALLOC10", 5 << 15)?;
    r.give(&mut second, &[Command::tlbi_nh_asid(1, 0)]);
    r.ran(&second, &[Command::tlbi_nh_asid(1, vmid(5))])
}

fn enabled_before_its_vintf(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = r.configured(5, 0, 3);
    r.give(&mut queue, &[Command::sync()]);
    r.reads(queue.at("STATUS"), 0)?;
    same("fetches", r.fetches(&queue), 0)?;
    r.vintf(5, false, vmid(5))?;
    r.poll(queue.at("STATUS"), 1)?;
    r.finishes(&queue)
}

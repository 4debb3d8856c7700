//! Defaults of the options that no numbered check can see.

use models::cmdqv::provenance::Source::{GpuDriver as U, Inferred as I, Linux as L, Qemu as Q, Vendor as N};
use sim::Time;
use spec::smmu::{Command, command::cs};

use super::queues::{PREFETCH, batches, two_full_queues};
use super::{guest, host, vmid};
use crate::rig::{DATA, Dma, Rig, fault, holds, same};
use crate::suite::{Check, Row};

pub(super) const ROWS: &[Row] = &[
    Row::cmdqv(
        "X01",
        &[I],
        "CMD_SYNC with CS=1 or 2 completes as with CS=0, without message or event, and is noticed; CS=3 is CERROR_ILL",
        sync_with_a_signal,
    ),
    Row::cmdqv(
        "X02",
        &[Q, I],
        "BASE and CONS_INDX_BASE written while the queue is enabled are ignored, and that is noticed",
        base_while_enabled,
    ),
    Row::cmdqv("X03", &[Q], "clearing VINTF_INT_MASK while an error is active gives no edge", unmask),
    Row::cmdqv(
        "X04",
        &[Q, I],
        "a queue that is deallocated keeps CONS, PROD and BASE, as the direct aperture shows",
        registers_after_deallocation,
    ),
    Row::cmdqv(
        "X05",
        &[I],
        "a queue that is disabled at work stops behind the command in execution, and goes on there when enabled again",
        backlog,
    ),
    Row::cmdqv(
        "X06",
        &[Q, I],
        "CMDQ_MAX_CLK_BATCH counts in units of 32 clocks: 8 lets 64 commands of 4 clocks through",
        clock_batch,
    ),
    Row::cmdqv("X07", &[I], "VI_NUM_LVCMDQ is the number of LVCMDQs allocated", lvcmdq_count),
    Row::cmdqv("X08", &[I], "VCMDQs work while CR0.CMDQEN and CR0.SMMUEN are 0", smmu_disabled),
    Row::cmdqv(
        "X09",
        &[I],
        "ALLOCATED outlasts a disable of the block, during which nothing is mapped",
        allocations_on_disable,
    ),
    Row::cmdqv(
        "X10",
        &[L],
        "an invalidation issued once, with its CMD_SYNC, takes effect",
        invalidated_at_once,
    ),
    Row::cmdqv("X11", &[U, Q], "the block is enabled at reset", enabled_at_reset),
    Row::cmdqv(
        "X12",
        &[I],
        "STATUS of a queue that is enabled but not allocated is 0 in the direct aperture",
        unallocated_status,
    ),
    Row::cmdqv(
        "X13",
        &[N, I],
        "LVCMDQs may be allocated in any order; every step that is not ascending is noticed",
        allocation_order,
    ),
];

fn sync_with_a_signal(r: &mut Rig) -> Check {
    for signal in [cs::SIG_IRQ, cs::SIG_SEV] {
        let r = &mut r.fresh();
        r.boot_cmdqv()?;
        let mut queue = guest(r, 5)?;
        r.run();
        let (edges, writes) = (r.world.edges.len(), r.world.writes.len());
        r.give(&mut queue, &[Command::sync().with_cs(signal)]);
        r.stands(&queue, (1, 0))?;
        r.ran(&queue, &[Command::sync()])?;
        same("interrupts, writes", (r.world.edges.len(), r.world.writes.len()), (edges, writes))?;
        r.flagged(1)?;
    }
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.give(&mut queue, &[Command::sync().with_cs(3)]);
    r.stands(&queue, (0, 1))
}

fn base_while_enabled(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    let other = r.alloc(12);
    r.set64(queue.at("BASE"), other | 4);
    r.set64(queue.at("CONS_INDX_BASE"), other);
    r.flagged(2)?;
    let seen = ["BASE", "CONS_INDX_BASE"].map(|register| r.get64(queue.at(register)));
    same("BASE, CONS_INDX_BASE", seen, [queue.ring | 4, 0])?;
    r.disable(&queue)?;
    r.set(queue.at("CONFIG"), 1);
    r.give(&mut queue, &[Command::tlbi_nh_asid(1, 0), Command::sync()]);
    r.ran(&queue, &[Command::tlbi_nh_asid(1, vmid(5)), Command::sync()])
}

fn unmask(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.set("VINTF_INT_MASK_0", 3 << 5);
    r.give(&mut queue, &[Command::cfgi_all()]);
    r.set("VINTF_INT_MASK_0", 0);
    r.run();
    r.reads("VINTF_ERR_MAP_0", 1 << 5)?;
    r.edged(0)
}

fn registers_after_deallocation(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.give(&mut queue, &[Command::sync()]);
    r.disable(&queue)?;
    r.allocate(&queue, false);
    let seen = ["CONS", "PROD"].map(|register| r.get(queue.direct(register)));
    same("CONS, PROD", seen, [1, 1])?;
    same("BASE", r.get64(queue.direct("BASE")), queue.ring | 4)
}

fn backlog(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    // One queue is at work; where there is time, it does not come to an end before it is disabled.
    r.vintf(5, false, vmid(5))?;
    let mut at_work = r.queue(5, 0, 10)?;
    r.send(&mut at_work, &[Command::tlbi_nh_asid(1, 0); 1000]);
    let (before, _) = r.consumed(&at_work);
    r.disable(&at_work)?;
    let (after, _) = r.consumed(&at_work);
    same("commands executed", r.executed(at_work.q).len(), after as usize)?;
    holds(&format!("CONS stops soon after {before}: {after}"), after == before || after - before < 20)?;
    // The other is stopped by an error, and disabled with that.
    let mut stopped = r.queue(5, 1, 10)?;
    r.give(&mut stopped, &[Command::cfgi_all(), Command::sync()]);
    r.disable(&stopped)?;
    same("CONS of the queue in error", r.consumed(&stopped).0, 0)?;
    r.acknowledge(&stopped);
    for queue in [&at_work, &stopped] {
        r.store(queue.slot(0), Command::sync());
        r.set(queue.at("CONFIG"), 1);
        r.run();
        r.stands(queue, (queue.prod, 0))?;
        same("commands executed", r.executed(queue.q).len(), queue.prod as usize)?;
    }
    Ok(())
}

fn clock_batch(r: &mut Rig) -> Check {
    r.cmdqv(|c| c.prefetch = PREFETCH);
    r.timing(|timing| timing.decode = Time::ns(4));
    r.boot_cmdqv()?;
    r.set("CONFIG", 255 << 12 | 8 << 4 | 1 << 1 | 1);
    two_full_queues(r, 256)?;
    let batches = batches(r);
    same("the longest turn", batches.iter().max(), Some(&64))
}

fn lvcmdq_count(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    r.vintf(5, false, vmid(5))?;
    for count in 1..=2_u8 {
        r.queue(5, count - 1, 4)?;
        r.reads("VINTF5.STATUS", u32::from(count) << 16 | 1)?;
    }
    r.set("CMDQ_ALLOC11", 0);
    r.run();
    r.reads("VINTF5.STATUS", 1 << 16 | 1)
}

fn smmu_disabled(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = host(r, 4)?;
    for (smmuen, cmdqen) in [(false, true), (true, false), (false, false)] {
        r.change_cr0(|cr0| cr0.with_smmuen(smmuen).with_cmdqen(cmdqen))?;
        r.give(&mut queue, &[Command::cfgi_all(), Command::sync()]);
        r.stands(&queue, (queue.prod, 0))?;
    }
    Ok(())
}

fn allocations_on_disable(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.give(&mut queue, &[Command::sync()]);
    let config = r.get("CONFIG");
    r.set("CONFIG", config & !1);
    r.poll("STATUS", 0)?;
    r.reads("CMDQ_ALLOC10", 5 << 15 | 1)?;
    r.reads(queue.at("PROD"), 0)?;
    r.reads(queue.direct("PROD"), 1)?;
    r.set("CONFIG", config);
    r.poll("STATUS", 1)?;
    r.reads("CMDQ_ALLOC10", 5 << 15 | 1)?;
    r.reads(queue.at("PROD"), 1)
}

fn invalidated_at_once(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = host(r, 4)?;
    r.reaches(Dma::read(0x1000), DATA + 0x1000)?;
    r.unmap(0x1000);
    r.give(&mut queue, &[Command::tlbi_nsnh_all(), Command::sync()]);
    r.stands(&queue, (2, 0))?;
    r.aborts(Dma::read(0x1000), &[fault(spec::smmu::EventNumber::F_TRANSLATION, 0x1000)])
}

fn enabled_at_reset(r: &mut Rig) -> Check {
    let state = ["CONFIG", "STATUS"].map(|register| r.get(register) & 1);
    same("CMDQV_EN and CMDQV_ENABLED", state, [1, 1])?;
    r.set("VINTF5.CONFIG", 1);
    r.poll("VINTF5.STATUS", 1)
}

fn unallocated_status(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    r.set("VCMDQ9.BASE", DATA as u32 | 4);
    r.set("VCMDQ9.CONFIG", 1);
    r.run();
    r.reads("VCMDQ9.CONFIG", 1)?;
    r.reads("VCMDQ9.STATUS", 0)
}

fn allocation_order(r: &mut Rig) -> Check {
    // LVCMDQs in the order of allocation, and how many steps are noticed.
    for (logical, flags) in [(&[0, 1, 2][..], 0), (&[1], 1), (&[0, 2, 1], 2), (&[1, 0], 2)] {
        let r = &mut r.fresh();
        r.boot_cmdqv()?;
        r.vintf(9, false, vmid(9))?;
        for &l in logical {
            let mut queue = r.allocated(9, l, 20 + u16::from(l), 4);
            r.set64(queue.at("BASE"), queue.ring | 4);
            r.set(queue.at("CONFIG"), 1);
            r.poll(queue.at("STATUS"), 1).map_err(|why| format!("{logical:?}: {why}"))?;
            r.give(&mut queue, &[Command::sync()]);
            r.stands(&queue, (1, 0)).map_err(|why| format!("{logical:?}: {why}"))?;
        }
        r.flagged(flags).map_err(|why| format!("{logical:?}: {why}"))?;
    }
    Ok(())
}

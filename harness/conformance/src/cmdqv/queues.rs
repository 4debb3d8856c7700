//! Rings, pointers, CMD_SYNC, the turns of several queues.

use models::cmdqv::provenance::Source::{Inferred as I, Linux as L, Qemu as Q, Vendor as N};
use models::record::CommandQueue;
use spec::smmu::Command;

use super::{guest, host};
use crate::rig::{Lvcmdq, Rig, holds, same};
use crate::suite::{Check, Row};

pub(super) const ROWS: &[Row] = &[
    Row::cmdqv(
        "C17",
        &[L],
        "a ring of two entries can be full; index and wrap bit go on for many rounds",
        wraps,
    ),
    Row::cmdqv(
        "C18",
        &[L],
        "2^19 commands queued at once fill a ring of 2^19 entries, and all execute",
        largest_ring,
    )
    .large(),
    Row::cmdqv(
        "C19",
        &[L],
        "no entry is executed as it was before PROD covered it",
        nothing_before_the_doorbell,
    ),
    Row::cmdqv(
        "C20",
        &[L],
        "CMD_SYNC with CS=0 completes whatever MSH and MSIATTR are, and writes nothing",
        sync_as_linux_writes_it,
    ),
    Row::cmdqv("C21", &[L], "CONS passes a CMD_SYNC when all commands before it are complete", sync_waits),
    Row::cmdqv("C22", &[L], "CONS[31] and, without errors, CONS[30:24] read as zero", unused_bits),
    Row::cmdqv(
        "C23",
        &[N],
        "of two busy queues each has turns of at most CMDQ_MAX_CMD_BATCH commands, and a CMD_SYNC ends every turn",
        turns,
    ),
    Row::cmdqv("C24", &[L], "neither the SMMU's own queue nor a VCMDQ starves the other", no_starvation),
    Row::cmdqv("C25", &[I], "memory behind CONS does not matter", behind_cons),
    Row::cmdqv(
        "C52",
        &[Q],
        "what PROD covered while a queue was disabled is executed once it is enabled",
        backlog_runs_once_enabled,
    ),
];

fn asid(n: usize) -> Command {
    Command::tlbi_nh_asid(n as u16, 0)
}

fn wraps(r: &mut Rig) -> Check {
    for log2size in [1, 3] {
        let r = &mut r.fresh();
        r.boot_cmdqv()?;
        let mut queue = host(r, log2size)?;
        let entries = 1_usize << log2size;
        let mut sent = Vec::new();
        for round in 0..24 {
            // A full ring, then one more, so that the batches begin everywhere.
            let n = if round % 2 == 0 { entries } else { 1 };
            let batch: Vec<_> = (0..n).map(|i| asid(sent.len() + i)).collect();
            r.give(&mut queue, &batch);
            sent.extend(batch);
            r.stands(&queue, ((sent.len() % (2 * entries)) as u32, 0))?;
        }
        r.ran(&queue, &sent)?;
        r.flagged(0)?;
    }
    Ok(())
}

fn largest_ring(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = host(r, 19)?;
    let command = |n: usize| Command::prefetch_config(n as u32, None);
    let batch: Vec<_> = (0..1 << 19).map(command).collect();
    r.give(&mut queue, &batch);
    same("PROD", queue.prod, 0x8_0000)?;
    r.stands(&queue, (0x8_0000, 0))?;
    holds("all execute, in order", r.executed(0) == batch)
}

fn nothing_before_the_doorbell(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = host(r, 4)?;
    let mut sent = Vec::new();
    for round in 0..20 {
        for i in 0..16 {
            r.store(queue.ring + 16 * i, Command::cfgi_all());
        }
        let batch: Vec<_> = (0..1 + round % 7).map(|i| asid(sent.len() + i)).collect();
        r.give(&mut queue, &batch);
        sent.extend(batch);
    }
    r.ran(&queue, &sent)
}

fn sync_as_linux_writes_it(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    let linux = Command::from_words([0x0fc0_0046, 0]);
    r.run();
    let writes = r.world.writes.len();
    r.give(&mut queue, &[linux, Command::sync()]);
    r.stands(&queue, (2, 0))?;
    r.ran(&queue, &[linux, Command::sync()])?;
    same("writes to memory", r.world.writes.len(), writes)?;
    r.edged(0)?;
    r.flagged(0)
}

fn sync_waits(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = host(r, 5)?;
    // Endpoints answer late, or never: CONS must not pass the CMD_SYNC before they have, and say so if they do not.
    let mut batch: Vec<_> = (0..8).map(asid).collect();
    batch.extend([
        Command::atc_inv(3, None, 0x1000, 0),
        Command::atc_inv(9, None, 0x1000, 0),
        Command::sync(),
    ]);
    r.world.mute_streams.insert(9);
    r.send(&mut queue, &batch);
    loop {
        let before = r.executed(queue.q).len();
        let (index, _) = r.consumed(&queue);
        let after = r.executed(queue.q).len();
        holds("CONS passes only what was executed", (before..=after).contains(&(index as usize)))?;
        holds("CONS does not pass the CMD_SYNC", index <= 10)?;
        if !r.step() {
            break;
        }
    }
    r.stands(&queue, (10, 3))?;
    same("ATC invalidations", r.world.invalidations.len(), 2)?;
    r.acknowledge(&queue);
    r.stands(&queue, (11, 0))?;
    r.ran(&queue, &batch)
}

fn unused_bits(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = host(r, 2)?;
    for n in 0..40 {
        r.give(&mut queue, &[asid(n)]);
        let cons = r.get(queue.at("CONS"));
        same("CONS", cons, queue.prod)?;
    }
    Ok(())
}

/// Commands read ahead, so many that a queue does not run dry in its turn.
pub(super) const PREFETCH: u16 = 128;

/// The two queues of VINTF 0, full of commands that cost little and are no CMD_SYNC; they begin together.
pub(super) fn two_full_queues(r: &mut Rig, commands: usize) -> Result<[Lvcmdq; 2], String> {
    r.vintf(0, true, 0)?;
    let mut queues = [r.queue(0, 0, 9)?, r.queue(0, 1, 9)?];
    r.disable_vintf(0)?;
    for queue in &mut queues {
        r.send(queue, &vec![Command::prefetch_config(1, None); commands]);
    }
    r.run();
    same("commands executed before", queues.map(|queue| r.executed(queue.q).len()), [0, 0])?;
    r.set("VINTF0.CONFIG", 0x2_0001);
    r.run();
    same("commands executed", queues.map(|queue| r.executed(queue.q).len()), [commands, commands])?;
    Ok(queues)
}

/// How many commands VCMDQs executed at a time, while another waited.
pub(super) fn batches(r: &Rig) -> Vec<usize> {
    let of = |&(from, _): &(CommandQueue, Command)| match from {
        CommandQueue::Vcmdq { queue, .. } => Some(queue),
        CommandQueue::Main | CommandQueue::Ecmdq(_) => None,
    };
    let order: Vec<_> = r.world.executed.iter().filter_map(of).collect();
    let mut lengths: Vec<_> = order.chunk_by(PartialEq::eq).map(<[u16]>::len).collect();
    // Whoever is left alone in the end is not bounded.
    lengths.pop();
    lengths
}

fn turns(r: &mut Rig) -> Check {
    r.cmdqv(|c| c.prefetch = PREFETCH);
    r.boot_cmdqv()?;
    let before = r.inserted_syncs();
    two_full_queues(r, 256)?;
    let batches = batches(r);
    holds("the queues take turns", batches.len() >= 2 * (256 / 32) - 2)?;
    same("the longest turn", batches.iter().max(), Some(&32))?;
    let inserted = r.inserted_syncs() - before;
    same("CMD_SYNCs inserted, one after each turn", inserted, 2 * 256 / 32)
}

fn no_starvation(r: &mut Rig) -> Check {
    r.setup.commands_log2 = 8;
    r.boot_cmdqv()?;
    let mut queue = host(r, 8)?;
    let load = [Command::prefetch_config(1, None); 16];
    // The SMMU's CMD_SYNC while the VCMDQ never runs dry.
    r.submit(&[Command::cfgi_all(), Command::sync()]);
    let main = r.prod_after(0);
    r.until("a CMD_SYNC of the SMMU's own queue completes beside a busy VCMDQ", |r| {
        let (cons, _) = r.consumed(&queue);
        if queue.prod.wrapping_sub(cons) & 0x1ff < 64 {
            r.send(&mut queue, &load);
        }
        r.cons() == (main, 0)
    })?;
    r.run();
    // The other way round.
    r.send(&mut queue, &[Command::cfgi_all(), Command::sync()]);
    let prod = queue.prod;
    r.until("a CMD_SYNC of a VCMDQ completes beside a busy SMMU queue", |r| {
        let (cons, _) = r.cons();
        if r.prod_after(0).wrapping_sub(cons) & 0x1ff < 64 {
            r.submit(&load);
        }
        r.consumed(&queue) == (prod, 0)
    })
}

fn behind_cons(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = host(r, 3)?;
    let sent: Vec<_> = (0..6).map(asid).collect();
    for (i, &command) in sent.iter().enumerate() {
        r.give(&mut queue, &[command]);
        r.store(queue.slot(i as u32), Command::from_words([u64::MAX; 2]));
    }
    r.run();
    r.ran(&queue, &sent)?;
    r.stands(&queue, (6, 0))?;
    r.edged(0)
}

fn backlog_runs_once_enabled(r: &mut Rig) -> Check {
    r.boot_cmdqv()?;
    let mut queue = guest(r, 5)?;
    r.disable(&queue)?;
    r.set(queue.at("CONS"), 6);
    queue.prod = 6;
    r.give(&mut queue, &[Command::sync(), asid(1), asid(2)]);
    same("fetches", r.fetches(&queue), 0)?;
    r.set(queue.at("CONFIG"), 1);
    r.run();
    r.stands(&queue, (9, 0))?;
    same("commands executed", r.executed(queue.q).len(), 3)
}

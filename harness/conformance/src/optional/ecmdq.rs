//! Enhanced command queues.

use spec::smmu::ecmdq::CMDQ_CONTROL_PAGE_BASE;
use spec::smmu::{Command, EventNumber, GlobalError, Opcode};

use super::queue::{QUEUES, Queue};
use super::row;
use crate::rig::{DATA, DOORBELL, Dma, ERROR_LINE, Rig, at, fault, holds, same};
use crate::suite::{Check, Row};

const READ: Dma = Dma::read(0x1000);
const PA: u64 = DATA + 0x1000;

const ILLEGAL: u64 = 1;
const UNKNOWN: Command = Command([0xff, 0]);
const CFGI: Command = Command::cfgi_all();
const SYNC: Command = Command::sync();

const CMDQ_ERR: u32 = GlobalError::CMDQ_ERR.mask() as u32;
const CMDQP_ERR: u32 = GlobalError::CMDQP_ERR.mask() as u32;
const MSI_CMDQ_ABT_ERR: u32 = GlobalError::MSI_CMDQ_ABT_ERR.mask() as u32;

/// The default setup, and a queue of each control page.
fn two(r: &mut Rig) -> Result<[Queue; 2], String> {
    r.boot()?;
    Ok([Queue::open(r, 1)?, Queue::open(r, 6)?])
}
fn one(r: &mut Rig) -> Result<Queue, String> {
    Ok(two(r)?[1])
}

/// Invalidations of a device's pages `first..first + n`, one command each.
fn invalidations(first: u64, n: u64) -> Vec<Command> {
    (first..first + n).map(|page| Command::atc_inv(1, None, page << 12, 0)).collect()
}
fn invalidated(r: &Rig) -> Vec<u64> {
    r.world.invalidations.iter().map(|inv| inv.addr >> 12).collect()
}
fn gerror(r: &mut Rig, expected: u32) -> Check {
    let errors = r.read32(at::GERROR) ^ r.read32(at::GERRORN);
    same("GERROR against GERRORN", errors, expected)
}
fn acknowledge_gerror(r: &mut Rig) {
    let gerror = r.read32(at::GERROR);
    r.write32(at::GERRORN, gerror);
}
/// A write to the default page that takes long, where there is time.
fn outstanding(r: &mut Rig) -> Check {
    r.reaches(READ, PA)?;
    r.world.slow = Some(DATA..DATA + 0x1_0000);
    r.poke(PA, 0);
    r.start(Dma::write(0x1000));
    Ok(())
}

pub(super) const ROWS: &[Row] = &[
    row("EQ01", "6.3.49", "Page 0 describes the control pages: contiguous, ascending, enabled", |r| {
        same("IDR6", r.read32(0x190), 1 << 24 | 2 << 16)?;
        let bases = [0, 1].map(|page| CMDQ_CONTROL_PAGE_BASE(r.read64(0x4000 + 32 * page)));
        for (page, base) in (0..).zip(bases) {
            same("PRESET and CMDQGS", (base.cmdq_control_page_preset(), base.cmdqgs()), (true, 1))?;
            for offset in [8, 0xc] {
                r.write32(0x4000 + 32 * page + offset, 0);
                same("CFG and STATUS", r.read32(0x4000 + 32 * page + offset), 1)?;
            }
        }
        same("page 1 follows page 0", bases[1].addr(), bases[0].addr() + 0x1_0000)?;
        same("what would describe page 2", r.read64(0x4040), 0)
    }),
    row("EQ02", "3.5.6.2", "ENACK follows EN, and commands run that were there before", |r| {
        r.boot()?;
        for number in 0..QUEUES {
            let mut queue = Queue::set_up(r, number, 4);
            queue.push(r, &[CFGI, SYNC]);
            holds("disabled out of reset", !queue.cons(r).enack())?;
            queue.enable(r, true)?;
            queue.drained(r)?;
        }
        Ok(())
    }),
    row("EQ03", "6.3.107", "An enabled queue keeps BASE and CONS; PROD moves", |r| {
        let mut queue = one(r)?;
        let before = [r.read64(queue.at), queue.cons(r).0];
        r.write64(queue.at, 0x1234_0005);
        r.write32(queue.at + 0xc, 0x0780_0009);
        same("BASE and CONS", [r.read64(queue.at), queue.cons(r).0], before)?;
        queue.commands(r, &[CFGI])
    }),
    row("EQ04", "6.3.108", "On its way to or from enabled a queue keeps BASE, PROD and CONS", |r| {
        r.slow_updates();
        r.boot()?;
        let mut queue = Queue::set_up(r, 2, 4);
        for enabled in [true, false] {
            queue.want(r, enabled);
            let word = queue.word();
            if queue.cons(r).enack() != enabled {
                let before = [r.read64(queue.at), r.read64(queue.at + 8)];
                r.write64(queue.at, 0x1234_0005);
                r.write32(queue.at + 8, word ^ (1 << 31 | 1 << 23 | 3));
                r.write32(queue.at + 0xc, 0x0780_0009);
                same("BASE, PROD and CONS", [r.read64(queue.at), r.read64(queue.at + 8)], before)?;
            }
            r.until("ENACK follows EN", |r| queue.cons(r).enack() == enabled)?;
        }
        Ok(())
    }),
    row("EQ05", "3.5.6.1", "With a queue enabled CR1.QUEUE_* keep their values", |r| {
        let mut queue = Queue::set_up(r, 3, 4);
        queue.enable(r, true)?;
        let cr1 = r.read32(at::CR1);
        r.write32(at::CR1, cr1 ^ 0xfff);
        same("CR1", r.read32(at::CR1), cr1 ^ 0xfc0)?;
        queue.enable(r, false)?;
        r.write32(at::CR1, cr1 ^ 0xfff);
        same("CR1", r.read32(at::CR1), cr1 ^ 0xfff)
    }),
    row("EQ06", "3.5.6.3", "An unknown command stops its queue; CMDQP_ERR and its interrupt follow", |r| {
        let mut queue = one(r)?;
        let errors = |r: &Rig| r.world.edges.iter().filter(|&&line| line == ERROR_LINE).count();
        let before = errors(r);
        queue.stops(r, &[CFGI, CFGI, UNKNOWN, SYNC], 2, ILLEGAL)?;
        gerror(r, CMDQP_ERR)?;
        same("GERROR interrupts", errors(r), before + 1)?;
        queue.ring(r);
        r.run();
        same("ECMDQ_CONS", queue.state(r), (2, ILLEGAL))
    }),
    row("EQ07", "3.5.6.3", "ERRACK lets a queue go on at the command that stopped it, as it is then", |r| {
        let mut queue = one(r)?;
        queue.stops(r, &[CFGI, UNKNOWN, CFGI, SYNC], 1, ILLEGAL)?;
        r.world.memory.write(queue.slot(1), &CFGI.to_bytes());
        queue.acknowledge(r);
        queue.drained(r)
    }),
    row("EQ08", "3.5.6.3", "A second error toggles ERR back", |r| {
        let mut queue = one(r)?;
        queue.stops(r, &[UNKNOWN], 0, ILLEGAL)?;
        holds("ERR is set", queue.cons(r).err())?;
        queue.acknowledge(r);
        r.run();
        same("ECMDQ_CONS", queue.state(r), (0, ILLEGAL))?;
        holds("ERR is clear", !queue.cons(r).err())
    }),
    row("EQ09", "3.5.6.3", "Acknowledging CMDQP_ERR does nothing to a queue", |r| {
        let mut queue = one(r)?;
        queue.stops(r, &[UNKNOWN, SYNC], 0, ILLEGAL)?;
        r.world.memory.write(queue.slot(0), &CFGI.to_bytes());
        acknowledge_gerror(r);
        r.run();
        same("ECMDQ_CONS", queue.state(r), (0, ILLEGAL))?;
        gerror(r, 0)?;
        queue.acknowledge(r);
        queue.drained(r)
    }),
    row("EQ10", "3.5.6.3", "An error while CMDQP_ERR is active shows in its queue only", |r| {
        let [mut first, mut second] = two(r)?;
        first.stops(r, &[UNKNOWN], 0, ILLEGAL)?;
        let before = r.read32(at::GERROR);
        second.stops(r, &[UNKNOWN], 0, ILLEGAL)?;
        same("GERROR", r.read32(at::GERROR), before)?;
        acknowledge_gerror(r);
        gerror(r, 0)?;
        same("ECMDQ_CONS", second.state(r), (0, ILLEGAL))
    }),
    row("EQ11", "3.5.6.3", "An aborted fetch stops a queue with CERROR_ABT", |r| {
        let mut queue = one(r)?;
        queue.commands(r, &[CFGI])?;
        r.break_at(queue.slot(2));
        queue.stops(r, &[CFGI, SYNC], 0, 2)?;
        r.world.aborts.clear();
        queue.acknowledge(r);
        queue.drained(r)
    }),
    row("EQ12", "3.5.6.3", "Commands can be taken back while an error is active", |r| {
        let mut queue = one(r)?;
        queue.stops(r, &[CFGI, UNKNOWN, SYNC], 1, ILLEGAL)?;
        queue.prod = 1;
        queue.acknowledge(r);
        queue.drained(r)?;
        queue.commands(r, &[CFGI])
    }),
    row("EQ13", "3.5.6.3", "An error of one queue stops neither the others nor the Command queue", |r| {
        let [mut first, mut second] = two(r)?;
        first.stops(r, &[UNKNOWN], 0, ILLEGAL)?;
        second.commands(r, &[CFGI])?;
        r.commands(&[CFGI])
    }),
    row("EQ14", "3.5.6.3", "CMDQ_ERR of the Command queue does not stop the others", |r| {
        let mut queue = one(r)?;
        r.refuses(UNKNOWN, 1)?;
        queue.commands(r, &[CFGI])?;
        gerror(r, CMDQ_ERR)?;
        r.recover()
    }),
    row("EQ15", "3.5.6.2", "CMDQEN=0 does not stop them", |r| {
        let mut queue = one(r)?;
        r.change_cr0(|cr0| cr0.with_cmdqen(false))?;
        queue.commands(r, &[CFGI])
    }),
    row("EQ16", "3.5.6.1", "What is illegal in the Command queue is illegal here", |r| {
        let mut queue = one(r)?;
        for command in
            [Command::cfgi_ste(1, true).with_ssec(true), Command::new(Opcode::TLBI_EL3_ALL), SYNC.with_cs(3)]
        {
            queue.stops(r, &[command], 0, ILLEGAL)?;
            queue.prod = queue.state(r).0;
            queue.acknowledge(r);
        }
        queue.commands(r, &[])
    }),
    row("EQ17", "3.5.6.1", "Invalidations act, whichever queue they come from", |r| {
        let queues = two(r)?;
        for mut queue in queues {
            r.page(0x1000, |leaf| leaf.with_valid(true));
            r.reaches(READ, PA)?;
            r.page(0x1000, |leaf| leaf.with_valid(false));
            queue.commands(r, &[Command::tlbi_nh_va(1, 0, 0x1000, true)])?;
            r.aborts(READ, &[fault(EventNumber::F_TRANSLATION, 0x1000)])?;
        }
        Ok(())
    }),
    row("EQ18", "3.5.6.1", "CMD_SYNC waits for transactions that used what its queue invalidated", |r| {
        let mut queue = one(r)?;
        outstanding(r)?;
        queue.submit(r, &[Command::tlbi_nh_va(1, 0, 0x1000, true), SYNC]);
        // Looks often enough not to be late.
        r.until("CMD_SYNC completes", |r| (0..16).any(|_| queue.state(r) == (queue.prod, 0)))?;
        holds("the write is visible when CMD_SYNC has completed", r.peek(PA) != 0)
    }),
    row(
        "EQ19",
        "3.5.6.1",
        "CMD_SYNC is about its own queue: ATC invalidations of others do not stop it",
        |r| {
            let [mut first, mut second] = two(r)?;
            r.world.mute = true;
            first.submit(r, &invalidations(0, 1));
            second.commands(r, &[CFGI])?;
            r.commands(&[CFGI])?;
            r.run();
            first.stops(r, &[SYNC], 0, 3)?;
            gerror(r, CMDQP_ERR)?;
            first.acknowledge(r);
            first.drained(r)
        },
    ),
    row("EQ20", "4.7.3", "The message of a CMD_SYNC is sent when what came before is done", |r| {
        let mut queue = one(r)?;
        outstanding(r)?;
        let tlbi = Command::tlbi_nh_va(1, 0, 0x1000, true);
        queue.submit(r, &[tlbi, Command::sync_msi(DOORBELL, 0xabcd)]);
        r.until("the message", |r| r.world.writes.iter().any(|(addr, _)| *addr == DOORBELL))?;
        holds("the write is visible when the message is", r.peek(PA) != 0)?;
        queue.drained(r)?;
        let message = r.world.writes.iter().find(|(addr, _)| *addr == DOORBELL).cloned();
        same("the message", message, Some((DOORBELL, 0xabcd_u32.to_le_bytes().to_vec())))
    }),
    row("EQ21", "3.5.6.3", "An aborted message is MSI_CMDQ_ABT_ERR; the CMD_SYNC completes", |r| {
        let mut queue = one(r)?;
        r.break_at(DOORBELL);
        queue.submit(r, &[Command::sync_msi(DOORBELL, 1)]);
        queue.drained(r)?;
        r.run();
        gerror(r, MSI_CMDQ_ABT_ERR)
    }),
    row("EQ22", "3.5.1", "A queue of four takes eight commands in two batches, in order", |r| {
        r.boot()?;
        let mut queue = Queue::set_up(r, 4, 2);
        queue.enable(r, true)?;
        for (first, wrapped) in [(0, 4), (4, 0)] {
            queue.submit(r, &invalidations(first, 4));
            queue.drained(r)?;
            same("RD", queue.state(r).0, wrapped)?;
        }
        r.run();
        same("the invalidations sent", invalidated(r), (0..8).collect())
    }),
    row("EQ23", "3.5.6.2", "EN=0 stops between commands; with EN=1 the queue goes on there", |r| {
        let mut queue = one(r)?;
        queue.submit(r, &invalidations(0, 16));
        r.until("a few commands have run", |r| r.world.invalidations.len() >= 3)?;
        queue.enable(r, false)?;
        r.run();
        let sent = invalidated(r).len() as u32;
        same("ECMDQ_CONS", queue.state(r), (sent, 0))?;
        queue.enable(r, true)?;
        queue.drained(r)?;
        r.run();
        same("the invalidations sent", invalidated(r), (0..16).collect())
    }),
    row(
        "EQ24",
        "3.5.6.3",
        "An error does not keep ENACK from following; disabled, ERR can be written",
        |r| {
            let mut queue = one(r)?;
            queue.stops(r, &[UNKNOWN, SYNC], 0, ILLEGAL)?;
            queue.enable(r, false)?;
            same("ECMDQ_CONS", queue.state(r), (0, ILLEGAL))?;
            r.world.memory.write(queue.slot(0), &CFGI.to_bytes());
            r.write32(queue.at + 0xc, 0);
            queue.enable(r, true)?;
            queue.drained(r)
        },
    ),
    row("EQ25", "6.3.107", "A queue cannot be longer than IDR1.CMDQS says; LOG2SIZE reads back", |r| {
        r.boot()?;
        let base = r.alloc(24);
        let mut queue = Queue::set_up(r, 7, 4);
        r.write64(queue.at, base | 20);
        same("LOG2SIZE", r.read64(queue.at) & 31, 20)?;
        r.world.memory.write(base + 16 * 0x7fff, &CFGI.to_bytes());
        r.world.memory.write(base, &SYNC.to_bytes());
        r.poke(base + 16 * 0x8000, 0xff);
        queue.prod = 0x8001;
        r.write32(queue.at + 0xc, 0x7fff);
        queue.enable(r, true)?;
        r.run();
        same("ECMDQ_CONS", queue.state(r), (0x8001, 0))
    }),
    row("EQ26", "6.2", "BASE can be accessed whole or by halves", |r| {
        let at = Queue::find(r, 5);
        let value = 0x4000_1234_5678_9ac5;
        r.write64(at, value);
        let halves = u64::from(r.read32(at)) | u64::from(r.read32(at + 4)) << 32;
        same("BASE by halves", halves, r.read64(at))?;
        r.write64(at, 0);
        r.write32(at + 4, (value >> 32) as u32);
        r.write32(at, value as u32);
        same("BASE written by halves", r.read64(at), value)
    }),
    row("EQ27", "6.2.5", "Between the registers of two queues there is nothing", |r| {
        let at = Queue::find(r, 1);
        for offset in [at + 0x10, at + 0x100, at + 0x3ff8] {
            r.write64(offset, u64::MAX);
            same(&format!("the word at {offset:#x}"), r.read64(offset), 0)?;
        }
        same("the next queue's BASE", r.read64(at + 0x4000), 0)
    }),
    row("EQ28", "3.5.6.1", "All queues are served while all have commands", |r| {
        r.boot()?;
        let mut queues = Vec::new();
        for number in 0..QUEUES {
            queues.push(Queue::open(r, number)?);
        }
        for (queue, first) in queues.iter_mut().zip((0x100..).step_by(0x10)) {
            queue.submit(r, &invalidations(first, 15));
        }
        r.submit(&invalidations(0, 60));
        r.drained()?;
        for queue in &mut queues {
            queue.commands(r, &[])?;
        }
        r.run();
        let sent = invalidated(r);
        for first in (0x100..0x180).step_by(0x10).chain([0]) {
            let n = if first == 0 { 60 } else { 15 };
            let own: Vec<_> = sent.iter().copied().filter(|page| (first..first + n).contains(page)).collect();
            same("a queue's invalidations", own, (first..first + n).collect())?;
        }
        Ok(())
    }),
    row("EQ29", "6.3.12", "With SMMUEN=0 commands are consumed, ATC invalidations without effect", |r| {
        r.boot_disabled()?;
        let mut queue = Queue::open(r, 0)?;
        queue.commands(r, &invalidations(0, 1))?;
        same("the invalidations sent", invalidated(r), vec![])
    }),
];

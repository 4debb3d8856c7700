//! The Command queue: errors, wrapping, CMD_SYNC.

use spec::smmu::{Command, EventNumber, EventRecord, GlobalError, Opcode};

use crate::rig::{DATA, DOORBELL, Dma, Rig, at, holds, same};
use crate::suite::{Check, Row};

const READ: Dma = Dma::read(0x1000);
const PA: u64 = DATA + 0x1000;

/// CERROR_ILL.
const ILLEGAL: u32 = 1;
const UNKNOWN: Command = Command([0xff, 0]);

/// Two commands, an unknown one, a CMD_SYNC. Says the index of the unknown one.
fn stopped(r: &mut Rig) -> Result<u32, String> {
    r.boot()?;
    let bad = r.prod_after(2);
    r.submit(&[Command::cfgi_all(), Command::cfgi_all(), UNKNOWN, Command::sync()]);
    r.run();
    same("CMDQ_CONS", r.cons(), (bad, ILLEGAL))?;
    same("GERROR", r.read32(at::GERROR), 1)?;
    Ok(bad)
}

fn acknowledge(r: &mut Rig) {
    let gerror = r.read32(at::GERROR);
    r.write32(at::GERRORN, gerror);
}

/// The message of a CMD_SYNC has been written.
fn rung(r: &Rig) -> bool {
    r.world.writes.iter().any(|(addr, _)| *addr == DOORBELL)
}

/// A write to the default page that takes long, where there is time, and a TLBI behind it.
fn outstanding(r: &mut Rig) -> Check {
    r.boot()?;
    r.reaches(READ, PA)?;
    r.world.slow = Some(DATA..DATA + 0x1_0000);
    r.poke(PA, 0);
    r.start(Dma::write(0x1000));
    r.submit(&[Command::tlbi_nh_va(1, 0, 0x1000, true)]);
    Ok(())
}

/// Invalidations of a device's pages `first..first + n`, one command each.
fn invalidations(first: u64, n: u64) -> Vec<Command> {
    (first..first + n).map(|page| Command::atc_inv(1, None, page << 12, 0)).collect()
}

fn invalidated(r: &Rig) -> Vec<u64> {
    r.world.invalidations.iter().map(|inv| inv.addr >> 12).collect()
}

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "Q01",
        "7.1",
        "An unknown command stops the queue where it is, and CMDQ_ERR becomes active",
        |r| {
            stopped(r)?;
            let cons = r.cons();
            r.ring();
            r.run();
            same("CMDQ_CONS", r.cons(), cons)
        },
    ),
    Row::new("Q02", "7.1", "A command that is repaired runs once the error is acknowledged", |r| {
        let bad = stopped(r)?;
        let slot = r.commands_at() + 16 * u64::from(bad & 63);
        r.world.memory.write(slot, &Command::cfgi_all().to_bytes());
        acknowledge(r);
        r.drained()
    }),
    Row::new("Q03", "7.1", "Commands can be taken back: PROD at the stopped one is an empty queue", |r| {
        stopped(r)?;
        r.recover()
    }),
    Row::new("Q04", "7.1", "An aborted fetch stops the queue with CERROR_ABT at its command", |r| {
        r.boot()?;
        let (slot, index) = (r.slot(), r.prod_after(0));
        r.break_at(slot);
        r.submit(&[Command::cfgi_all(), Command::sync()]);
        r.run();
        same("CMDQ_CONS", r.cons(), (index, 2))?;
        r.world.aborts.clear();
        acknowledge(r);
        r.drained()
    }),
    Row::new("Q05", "4.1.6", "SSec=1 is illegal in a Non-secure queue", |r| {
        r.boot()?;
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.refuses(Command::cfgi_ste(1, true).with_ssec(true), ILLEGAL)
    }),
    Row::new("Q06", "4.4.2.5", "Commands for EL3 are illegal in a Non-secure queue", |r| {
        r.boot()?;
        r.refuses(Command::new(Opcode::TLBI_EL3_ALL), ILLEGAL)
    }),
    Row::new("Q07", "4.4.2.7", "Without EL2 its invalidations are illegal", |r| {
        r.idr0(|idr0| idr0.with_hyp(false));
        r.boot()?;
        r.refuses(Command::tlbi_el2_all(), ILLEGAL)
    }),
    Row::new("Q08", "4.4.3", "Without stage 2 its invalidations are illegal; TLBI_NSNH_ALL is not", |r| {
        r.idr0(|idr0| idr0.with_s2p(false));
        r.boot()?;
        for command in [Command::tlbi_s12_vmall(0), Command::tlbi_s2_ipa(0, 0x1000, true)] {
            r.refuses(command, ILLEGAL)?;
            r.recover()?;
        }
        r.commands(&[Command::tlbi_nsnh_all()])
    }),
    Row::new("Q09", "4.7.3", "A CMD_SYNC with the reserved signal is illegal", |r| {
        r.boot()?;
        r.refuses(Command::sync().with_cs(3), ILLEGAL)
    }),
    Row::new(
        "Q10",
        "4.7.3",
        "The message of a CMD_SYNC is four bytes, written when what came before is done",
        |r| {
            outstanding(r)?;
            r.submit(&[Command::sync_msi(DOORBELL, 0xabcd)]);
            r.until("the message", |r| rung(r))?;
            holds("the write is visible when the message is", r.peek(PA) != 0)?;
            let message = r.world.writes.iter().find(|(addr, _)| *addr == DOORBELL).cloned();
            same("the message", message, Some((DOORBELL, 0xabcd_u32.to_le_bytes().to_vec())))?;
            r.drained()
        },
    ),
    Row::new("Q11", "4.7.3", "The message may go to the CMD_SYNC's own slot", |r| {
        r.boot()?;
        let slot = r.slot();
        r.submit(&[Command::sync_msi(slot, 0)]);
        r.until("the message", |r| r.peek(slot) as u32 == 0)?;
        r.drained()?;
        same("the slot's upper half", r.peek(slot) >> 32, 0)?;
        (0..70).try_for_each(|_| r.commands(&[]))
    }),
    Row::new(
        "Q12",
        "3.18",
        "An aborted message of a CMD_SYNC is a global error; the CMD_SYNC completes",
        |r| {
            r.boot()?;
            r.break_at(DOORBELL);
            r.submit(&[Command::sync_msi(DOORBELL, 1)]);
            r.drained()?;
            r.run();
            let error = GlobalError::MSI_CMDQ_ABT_ERR.mask() as u32;
            same("GERROR", r.read32(at::GERROR), error)
        },
    ),
    Row::new(
        "Q13",
        "3.21.1",
        "CMD_SYNC after a TLBI waits for transactions that used the translation",
        |r| {
            outstanding(r)?;
            r.submit(&[Command::sync()]);
            let prod = r.prod_after(0);
            r.until("CMD_SYNC completes", |r| r.cons() == (prod, 0))?;
            holds("the write is visible when CMD_SYNC has completed", r.peek(PA) != 0)
        },
    ),
    Row::new("Q14", "4.7.3", "CMD_SYNC does not wait for room in the Event queue: the record is lost", |r| {
        r.setup.events_log2 = 0;
        r.boot()?;
        r.dma(Dma::read(0x2000))?;
        let full = r.read32(at::EVENTQ_PROD);
        r.start(Dma::read(0x3000));
        r.commands(&[])?;
        r.run();
        same("EVENTQ_PROD", r.read32(at::EVENTQ_PROD), full | 1 << 31)
    }),
    Row::new("Q15", "3.5.1", "A queue of four takes eight commands in two batches, in order", |r| {
        r.setup.commands_log2 = 2;
        r.boot()?;
        let before = r.cons().0;
        r.submit(&invalidations(0, 4));
        r.drained()?;
        same("CMDQ_CONS", r.cons().0, before ^ 4)?;
        r.submit(&invalidations(4, 4));
        r.drained()?;
        same("CMDQ_CONS", r.cons().0, before)?;
        r.run();
        same("the invalidations sent", invalidated(r), (0..8).collect())
    }),
    Row::new("Q16", "6.3.9", "CMDQEN=0 stops between commands; with CMDQEN=1 the queue goes on there", |r| {
        r.boot()?;
        let before = r.cons().0;
        r.submit(&invalidations(0, 40));
        r.until("a few commands have run", |r| r.world.invalidations.len() >= 5)?;
        r.change_cr0(|cr0| cr0.with_cmdqen(false))?;
        r.run();
        let sent = invalidated(r).len() as u32;
        same("CMDQ_CONS", r.cons(), (before + sent, 0))?;
        r.change_cr0(|cr0| cr0.with_cmdqen(true))?;
        r.drained()?;
        r.run();
        same("the invalidations sent", invalidated(r), (0..40).collect())
    }),
    Row::new("Q17", "3.9.1.4", "An ATC invalidation without answer stops the next CMD_SYNC", |r| {
        r.boot()?;
        r.world.mute = true;
        r.submit(&invalidations(0, 1));
        let index = r.prod_after(0);
        r.submit(&[Command::sync()]);
        r.run();
        same("CMDQ_CONS", r.cons(), (index, 3))?;
        same("GERROR", r.read32(at::GERROR), 1)
    }),
    Row::new(
        "Q18",
        "3.9.1.5",
        "An ATC invalidation with any answer, Unsupported Request too, completes",
        |r| {
            r.boot()?;
            r.commands(&invalidations(0, 1))?;
            same("GERROR", r.read32(at::GERROR), 0)
        },
    ),
    Row::new("Q19", "7.1", "While the error is active nothing more is consumed", |r| {
        stopped(r)?;
        let cons = r.cons();
        r.submit(&[Command::cfgi_all(), Command::sync()]);
        r.run();
        same("CMDQ_CONS", r.cons(), cons)?;
        r.recover()
    }),
    Row::new("Q20", "4.3.6", "CFGI_STE_RANGE with Range=31 is CFGI_ALL, whatever its StreamID", |r| {
        r.boot()?;
        let context = r.cd_at;
        r.ste(2, |_| crate::rig::stage1_ste(context));
        for sid in [1, 2] {
            r.reaches(READ.of(sid), PA)?;
            r.ste(sid, |ste| ste.with_v(false));
        }
        r.commands(&[Command::cfgi_ste_range(0x5555_5555, 31)])?;
        [1, 2].into_iter().try_for_each(|sid| {
            r.aborts(READ.of(sid), &[EventRecord::configuration(EventNumber::C_BAD_STE, sid, None)])
        })
    }),
];

//! What may be written when, and what a write does.

use spec::smmu::Command;
use spec::smmu::page0::CR0;

use crate::Rig;
use crate::rig::{DATA, Dma, at, same};
use crate::suite::{Check, Row};

/// Writes to registers of 4 or 8 bytes must change nothing.
fn unchanged(r: &mut Rig, writes: &[(u64, u64)]) -> Check {
    writes.iter().try_for_each(|&(offset, value)| {
        let before = r.read64(offset & !7);
        if offset == at::STRTAB_BASE || offset == at::CMDQ_BASE || offset == at::EVENTQ_BASE {
            r.write64(offset, value);
        } else {
            r.write32(offset, value as u32);
        }
        same(&format!("the doubleword at {:#x}", offset & !7), r.read64(offset & !7), before)
    })
}

pub(super) const ROWS: &[Row] = &[
    Row::new(
        "R01",
        "6.3.9",
        "The enables, their acknowledgements and the error registers are 0 out of reset",
        |r| {
            [at::CR0, at::CR0ACK, at::IRQ_CTRL, at::IRQ_CTRLACK, at::GERROR, at::GERRORN]
                .into_iter()
                .try_for_each(|offset| same(&format!("the register at {offset:#x}"), r.read32(offset), 0))
        },
    ),
    Row::new("R02", "6.3.1", "ID registers cannot be written", |r| {
        [at::IDR0, 0x04, 0x1c].into_iter().try_for_each(|offset| {
            let before = r.read32(offset);
            r.write32(offset, !before);
            same(&format!("the register at {offset:#x}"), r.read32(offset), before)
        })
    }),
    Row::new("R03", "6.3.9", "CR0 shows what is written at once, CR0ACK the same bits in finite time", |r| {
        r.write32(at::CR0, 8);
        same("CR0", r.read32(at::CR0), 8)?;
        r.until("CR0ACK is 8", |r| r.read32(at::CR0ACK) == 8)
    }),
    Row::new("R04", "6.3.10", "Reserved bits of CR0 never show in CR0ACK", |r| {
        r.write32(at::CR0, 1 << 20 | 8);
        r.until("CMDQEN is acknowledged", |r| r.read32(at::CR0ACK) & 8 != 0)?;
        r.run();
        same("CR0ACK", r.read32(at::CR0ACK), 8)
    }),
    Row::new("R05", "6.3.24", "With SMMUEN=1 the Stream table's registers keep their values", |r| {
        r.boot()?;
        unchanged(r, &[(at::STRTAB_BASE, 0x1234_0000), (at::STRTAB_BASE_CFG, 7)])
    }),
    Row::new("R06", "6.3.11", "With SMMUEN=1 CR1.TABLE_* and CR2 keep their values", |r| {
        r.prepare();
        r.cr0(CR0(0).with_smmuen(true))?;
        let cr1 = r.read32(at::CR1);
        unchanged(r, &[(at::CR1, u64::from(cr1 ^ 0xfc0)), (at::CR2, 0)])
    }),
    Row::new(
        "R07",
        "6.3.26",
        "With CMDQEN=1 CMDQ_BASE and CMDQ_CONS keep their values, CMDQ_PROD moves",
        |r| {
            r.boot()?;
            unchanged(r, &[(at::CMDQ_BASE, 0x1234_0005), (at::CMDQ_CONS, 9)])?;
            let after = r.prod_after(1);
            r.submit(&[Command::sync()]);
            same("CMDQ_PROD", r.read32(at::CMDQ_PROD), after)
        },
    ),
    Row::new(
        "R08",
        "6.3.29",
        "With EVENTQEN=1 EVENTQ_BASE and EVENTQ_PROD keep their values, EVENTQ_CONS moves",
        |r| {
            r.boot()?;
            unchanged(r, &[(at::EVENTQ_BASE, 0x1234_0005), (at::EVENTQ_PROD, 9)])?;
            r.dma(Dma::read(0x2000))?;
            r.write32(at::EVENTQ_CONS, 1);
            same("EVENTQ_CONS", r.read32(at::EVENTQ_CONS), 1)
        },
    ),
    Row::new("R09", "6.3.11", "With CMDQEN=1 CR1.QUEUE_* keep their values", |r| {
        r.prepare();
        r.cr0(CR0(0).with_cmdqen(true))?;
        let cr1 = r.read32(at::CR1);
        unchanged(r, &[(at::CR1, u64::from(cr1 ^ 0x3f))])
    }),
    Row::new("R10", "6.3.14", "GBPA takes no write without Update", |r| {
        r.boot_disabled()?;
        unchanged(r, &[(at::GBPA, 1 << 20)])?;
        r.reaches(Dma::read(DATA), DATA)
    }),
    Row::new("R11", "6.3.14", "GBPA takes no write while Update is set; the first one completes", |r| {
        r.slow_updates();
        r.boot_disabled()?;
        let first = 1 << 20 | 0x1000;
        r.write32(at::GBPA, 1 << 31 | first);
        if r.read32(at::GBPA) >> 31 != 0 {
            r.write32(at::GBPA, 1 << 31 | 0x2000);
        }
        r.until("GBPA.Update clears", |r| r.read32(at::GBPA) >> 31 == 0)?;
        same("GBPA", r.read32(at::GBPA), first)?;
        r.aborts(Dma::read(DATA), &[])
    }),
    Row::new("R12", "6.3.14", "GBPA.ABORT holds once Update is clear", |r| {
        r.boot_disabled()?;
        r.reaches(Dma::read(DATA), DATA)?;
        r.gbpa(1 << 20)?;
        r.aborts(Dma::read(DATA), &[])
    }),
    Row::new("R13", "6.3.31", "With EVENTQ_IRQEN=1 the message of the Event queue keeps its payload", |r| {
        r.irq_ctrl(4)?;
        unchanged(r, &[(at::EVENTQ_IRQ_CFG1, 0x55)])
    }),
    Row::new(
        "R14",
        "6.3.26",
        "A queue cannot be longer than IDR1 says: LOG2SIZE reads back, pointers wrap earlier",
        |r| {
            let base = r.alloc(24);
            r.write64(at::CMDQ_BASE, base | 20);
            same("LOG2SIZE", r.read64(at::CMDQ_BASE) & 31, 20)?;
            r.world.memory.write(base + 16 * 0x7fff, &Command::cfgi_all().to_bytes());
            r.world.memory.write(base, &Command::sync().to_bytes());
            r.poke(base + 16 * 0x8000, 0xff);
            r.write32(at::CMDQ_PROD, 0x7fff);
            r.write32(at::CMDQ_CONS, 0x7fff);
            r.cr0(CR0(0).with_cmdqen(true))?;
            r.write32(at::CMDQ_PROD, 0x8001);
            r.run();
            same("CMDQ_CONS", r.cons(), (0x8001, 0))
        },
    ),
    Row::new(
        "R15",
        "6.3.26",
        "A queue begins at a multiple of its size: lower bits of its base do not count",
        |r| {
            r.prepare();
            let base = r.commands_at();
            r.write64(at::CMDQ_BASE, base | 0x3e0 | 6);
            r.cr0(CR0(0).with_cmdqen(true))?;
            r.commands(&[Command::cfgi_all()])
        },
    ),
    Row::new("R16", "6.2", "A 64-bit register can be accessed whole or by halves", |r| {
        let value = 0x4000_1234_5678_9ac5;
        r.write64(at::CMDQ_BASE, value);
        let whole = r.read64(at::CMDQ_BASE);
        let halves = u64::from(r.read32(at::CMDQ_BASE)) | u64::from(r.read32(at::CMDQ_BASE + 4)) << 32;
        same("CMDQ_BASE by halves", halves, whole)?;
        r.write64(at::CMDQ_BASE, 0);
        r.write32(at::CMDQ_BASE + 4, (value >> 32) as u32);
        r.write32(at::CMDQ_BASE, value as u32);
        same("CMDQ_BASE written by halves", r.read64(at::CMDQ_BASE), whole)
    }),
    Row::new(
        "R17",
        "6.2.1",
        "The Event queue's indices at their offsets in page 0 are those of page 1, or 0",
        |r| {
            r.write32(at::EVENTQ_PROD, 5);
            same("EVENTQ_PROD", r.read32(at::EVENTQ_PROD), 5)?;
            let alias = r.read32(0xa8);
            same("EVENTQ_PROD in page 0", alias, if alias == 0 { 0 } else { 5 })
        },
    ),
    Row::new("R18", "6.3.24", "STRTAB_BASE reads back what fits the output address size", |r| {
        r.write64(at::STRTAB_BASE, 0x000f_8765_4321_0fc0);
        same("STRTAB_BASE", r.read64(at::STRTAB_BASE) & 0xffff_ffff_ffff, 0x8765_4321_0fc0)
    }),
    Row::new("R19", "6.3.107", "Without enhanced command queues their descriptors and IDR6 are 0", |r| {
        r.idr1(|idr1| idr1.with_ecmdq(false));
        same("the word at 0x4000", r.read32(0x4000), 0)?;
        same("IDR6", r.read32(0x190), 0)
    }),
    Row::new("R20", "6.3.24", "SMMUEN on its way counts as set: STRTAB_BASE keeps its value", |r| {
        r.slow_updates();
        r.prepare();
        let before = r.read64(at::STRTAB_BASE);
        r.write32(at::CR0, 1);
        r.write64(at::STRTAB_BASE, 0x1234_0000);
        same("STRTAB_BASE", r.read64(at::STRTAB_BASE), before)?;
        r.until("SMMUEN is acknowledged", |r| r.read32(at::CR0ACK) == 1)
    }),
];

//! How every lint is provoked, in both modes; and that nothing else is said then.

use std::collections::BTreeSet;

use models::smmu::IdrProfile;
use models::smmu::lint::{Lint, ROWS};
use spec::smmu::page0::CR0;
use spec::smmu::ste::config;
use spec::smmu::{Command, L1Std, Ste};

use crate::rig::{Dma, K4, Rig, at};
use crate::suite::{Check, Given, Mode};

/// What software does.
type Act = fn(&mut Rig) -> Check;

/// Where an Update takes time.
const WITH_TIME: &[Mode] = &[Mode::Cycles];

const SMMUEN: CR0 = CR0(1);
const CMDQEN: CR0 = CR0(8);

/// Enables with one register of 8 bytes changed.
fn enable(r: &mut Rig, enable: CR0, offset: u64, edit: impl FnOnce(u64) -> u64) -> Check {
    r.prepare();
    let value = edit(r.read64(offset));
    r.write64(offset, value);
    r.cr0(enable)
}
/// Enables SMMUEN with another STRTAB_BASE_CFG and a table at 0.
fn enable_format(r: &mut Rig, format: u32) -> Check {
    r.prepare();
    r.write64(at::STRTAB_BASE, 0);
    r.write32(at::STRTAB_BASE_CFG, format);
    r.cr0(SMMUEN)
}
fn booted(r: &mut Rig, act: impl FnOnce(&mut Rig)) -> Check {
    r.boot()?;
    act(r);
    Ok(())
}
fn command(r: &mut Rig, command: Command) -> Check {
    r.boot()?;
    r.commands(&[command])
}
/// Something is read for stream 1.
fn reads(r: &mut Rig, edit: impl FnOnce(&mut Rig)) -> Check {
    r.boot()?;
    edit(r);
    r.dma(Dma::read(0x1000)).map(|_| ())
}
fn l1std(r: &mut Rig, edit: impl FnOnce(L1Std) -> L1Std) -> Check {
    (r.setup.split, r.setup.streams_log2) = (Some(6), 8);
    reads(r, |r| {
        let at = r.l1std_at(1);
        r.poke(at, edit(L1Std([r.peek(at)])).0[0]);
    })
}
/// The hardware can update descriptors.
fn updating(r: &mut Rig) {
    r.idr0(|idr| idr.with_httu(2));
}

/// A machine with an enhanced command queue of 16 entries; `at`: its registers.
fn enhanced(r: &mut Rig, act: impl FnOnce(&mut Rig, u64)) -> Check {
    let at = 0x10_0000;
    r.optional();
    let ring = r.alloc(12);
    r.write64(at, ring | 4);
    r.write32(at + 8, 1 << 31);
    r.until("ENACK is set", |r| r.read32(at + 0xc) >> 31 != 0)?;
    act(r, at);
    Ok(())
}

const PROVOKED: &[(Lint, &[Mode], Act)] = &[
    (Lint::AccessSize, &Mode::ALL, |r| {
        r.write_bytes(at::CR0, &[1]);
        Ok(())
    }),
    (Lint::TwoRegisters, &Mode::ALL, |r| {
        r.read64(at::CMDQ_PROD);
        Ok(())
    }),
    (Lint::Page1Hole, &Mode::ALL, |r| {
        r.read32(0x1_0000);
        Ok(())
    }),
    (Lint::Page0Alias, &Mode::ALL, |r| {
        r.read32(at::EVENTQ_PROD & 0xffff);
        Ok(())
    }),
    (Lint::ReadOnly, &Mode::ALL, |r| {
        r.write32(at::IDR0, 0);
        Ok(())
    }),
    (Lint::ReservedBits, &Mode::ALL, |r| {
        r.write32(at::CR2, 1 << 20);
        Ok(())
    }),
    (Lint::Cr0Again, WITH_TIME, |r| {
        r.slow_updates();
        r.prepare();
        r.write32(at::CR0, 8);
        r.write32(at::CR0, 0);
        Ok(())
    }),
    (Lint::IrqCtrlAgain, WITH_TIME, |r| {
        r.slow_updates();
        r.write32(at::IRQ_CTRL, 4);
        r.write32(at::IRQ_CTRL, 0);
        Ok(())
    }),
    (Lint::ReservedVmw, &Mode::ALL, |r| r.cr0(CR0(0).with_vmw(5))),
    (Lint::TablesEnabled, &Mode::ALL, |r| booted(r, |r| r.write64(at::STRTAB_BASE, 0x1234_0000))),
    (Lint::QueuesEnabled, &Mode::ALL, |r| booted(r, |r| r.write32(at::CR1, 0xd40))),
    (Lint::CommandsEnabled, &Mode::ALL, |r| booted(r, |r| r.write32(at::CMDQ_CONS, 9))),
    (Lint::OutputEnabled, &Mode::ALL, |r| booted(r, |r| r.write32(at::EVENTQ_PROD, 9))),
    (Lint::InterruptEnabled, &Mode::ALL, |r| booted(r, |r| r.write32(at::EVENTQ_IRQ_CFG1, 9))),
    (Lint::GbpaAgain, WITH_TIME, |r| {
        r.slow_updates();
        r.write32(at::GBPA, 1 << 31);
        r.write32(at::GBPA, 1 << 31);
        Ok(())
    }),
    (Lint::GbpaWithoutUpdate, &Mode::ALL, |r| {
        r.write32(at::GBPA, 1 << 20);
        Ok(())
    }),
    (Lint::ReservedOverride, &Mode::ALL, |r| r.gbpa(1 << 16)),
    (Lint::EnhancedEnabled, &Mode::ALL, |r| enhanced(r, |r, at| r.write32(at + 0xc, 1 << 31 | 9))),
    (Lint::EnhancedIndices, &Mode::ALL, |r| enhanced(r, |r, at| r.write32(at + 8, 1 << 31 | 0x13))),
    (Lint::EnhancedErrack, &Mode::ALL, |r| enhanced(r, |r, at| r.write32(at + 8, 1 << 31 | 1 << 23))),
    (Lint::OperationRuns, &Mode::ALL, |r| {
        r.optional();
        r.write32(0x100, 1);
        Ok(())
    }),
    (Lint::ErrorToggled, &Mode::ALL, |r| booted(r, |r| r.write32(at::GERRORN, 4))),
    (Lint::ReservedAttributes, &Mode::ALL, |r| {
        r.prepare();
        r.write32(at::CR1, 0xd77);
        r.cr0(CMDQEN)
    }),
    (Lint::StreamTableAlign, &Mode::ALL, |r| enable(r, SMMUEN, at::STRTAB_BASE, |base| base + 0x40)),
    (Lint::StreamTableReach, &Mode::ALL, |r| enable(r, SMMUEN, at::STRTAB_BASE, |_| 1 << 50)),
    (Lint::StreamTableSize, &Mode::ALL, |r| enable_format(r, 17)),
    (Lint::StreamTableFormat, &Mode::ALL, |r| enable_format(r, 2 << 16 | 4)),
    (Lint::StreamTableSplit, &Mode::ALL, |r| enable_format(r, 1 << 16 | 7 << 6 | 8)),
    (Lint::QueueAlign, &Mode::ALL, |r| enable(r, CMDQEN, at::CMDQ_BASE, |base| base + 0x20)),
    (Lint::QueueReach, &Mode::ALL, |r| enable(r, CMDQEN, at::CMDQ_BASE, |base| base | 1 << 50)),
    (Lint::QueueSize, &Mode::ALL, |r| enable(r, CMDQEN, at::CMDQ_BASE, |_| 20)),
    (Lint::CommandIndices, &Mode::ALL, |r| booted(r, |r| r.write32(at::CMDQ_PROD, 64 | 10))),
    (Lint::OutputIndices, &Mode::ALL, |r| booted(r, |r| r.write32(at::EVENTQ_CONS, 5))),
    (Lint::CommandReserved, &Mode::ALL, |r| {
        let [low, high] = Command::cfgi_all().words();
        command(r, Command([low | 1 << 8, high]))
    }),
    (Lint::CommandStream, &Mode::ALL, |r| command(r, Command::cfgi_ste(0x1_0000, true))),
    (Lint::CommandSubstream, &Mode::ALL, |r| {
        r.idr1(|idr| idr.with_ssidsize(8));
        command(r, Command::cfgi_cd(1, 0x100, true))
    }),
    (Lint::CommandAsid, &Mode::ALL, |r| {
        r.idr0(|idr| idr.with_asid16(false));
        command(r, Command::tlbi_nh_asid(0x100, 0))
    }),
    (Lint::CommandVmid, &Mode::ALL, |r| {
        r.idr0(|idr| idr.with_vmid16(false));
        command(r, Command::tlbi_nh_all(0x100))
    }),
    (Lint::RangeAlign, &Mode::ALL, |r| {
        command(r, Command::tlbi_nh_va(1, 0, 0x1000, true).with_tg(1).with_ttl(2))
    }),
    (Lint::RangeLevel, &Mode::ALL, |r| {
        command(r, Command::tlbi_nh_va(1, 0, 0, true).with_tg(2).with_ttl(1).with_num(1))
    }),
    (Lint::StreamArrayAlign, &Mode::ALL, |r| l1std(r, |l1| l1.with_l2ptr(l1.l2ptr() | 0x40))),
    (Lint::StreamArraySpan, &Mode::ALL, |r| l1std(r, |l1| l1.with_span(8))),
    (Lint::SteReservedConfig, &Mode::ALL, |r| reads(r, |r| r.ste(1, |ste| ste.with_config(1)))),
    (Lint::SteReservedFormat, &Mode::ALL, |r| {
        reads(r, |r| {
            r.substreams(2);
            r.ste(1, |ste| ste.with_s1fmt(3).with_s1dss(2));
        })
    }),
    (Lint::SteReservedDss, &Mode::ALL, |r| {
        reads(r, |r| {
            r.substreams(2);
            r.ste(1, |ste| ste.with_s1dss(3));
        })
    }),
    (Lint::SteReservedEats, &Mode::ALL, |r| reads(r, |r| r.ste(1, |ste| ste.with_eats(3)))),
    (Lint::StePointerAlign, &Mode::ALL, |r| {
        reads(r, |r| {
            let table = r.substreams(2);
            r.ste(1, |ste| ste.with_s1contextptr(table + 0x40).with_s1dss(2));
        })
    }),
    (Lint::SteReservedSize, &Mode::ALL, |r| {
        reads(r, |r| {
            r.stage2_only();
            r.ste(1, |ste| ste.with_s2ps(7));
        })
    }),
    (Lint::SteReservedDirty, &Mode::ALL, |r| {
        updating(r);
        reads(r, |r| {
            r.stage2_only();
            r.ste(1, |ste| ste.with_s2hd(true));
        })
    }),
    (Lint::SteReservedShare, &Mode::ALL, |r| reads(r, |r| r.ste(1, |ste| ste.with_s1csh(1)))),
    (Lint::SteTableAlign, &Mode::ALL, |r| {
        reads(r, |r| {
            r.stage2_only();
            r.ste(1, |ste| ste.with_s2ttb(ste.s2ttb() + 0x10));
        })
    }),
    (Lint::SharedVmid, &Mode::ALL, |r| {
        reads(r, |r| r.stage2_only())?;
        let other = r.space(K4, 40, 1);
        r.ste(2, |_| other.under(Ste::default().with_v(true).with_config(config::S2)));
        r.dma(Dma::read(0x2000).of(2)).map(|_| ())
    }),
    (Lint::CdReservedSize, &Mode::ALL, |r| reads(r, |r| r.cd(|cd| cd.with_ips(7)))),
    (Lint::CdReservedDirty, &Mode::ALL, |r| {
        updating(r);
        reads(r, |r| r.cd(|cd| cd.with_hd(true)))
    }),
    (Lint::CdReservedShare, &Mode::ALL, |r| reads(r, |r| r.cd(|cd| cd.with_sh0(1)))),
    (Lint::CdTableAlign, &Mode::ALL, |r| reads(r, |r| r.cd(|cd| cd.with_ttb0(cd.ttb0() + 0x10)))),
];

#[test]
fn each_is_provoked_in_both_modes_and_alone() {
    let mut wrong = Vec::new();
    for (lint, modes, act) in PROVOKED {
        for &mode in *modes {
            let mut rig = Rig::new(mode, IdrProfile::STALLING, false, &Given::default());
            if let Err(message) = act(&mut rig) {
                wrong.push(format!("{lint:?} {}: {message}", mode.name()));
            }
            rig.run();
            let said = &rig.world.lints;
            if *said != [lint.to_string()] {
                wrong.push(format!("{lint:?} {}: {said:#?}", mode.name()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_row_is_provoked_and_has_a_name_of_its_own() {
    let provoked: BTreeSet<_> = PROVOKED.iter().map(|(lint, ..)| lint.row().id).collect();
    let rows: BTreeSet<_> = ROWS.iter().map(|row| row.id).collect();
    assert_eq!((rows.len(), &rows), (ROWS.len(), &provoked));
}

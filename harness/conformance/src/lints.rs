//! How every lint is provoked, in both modes; and that nothing else is said then.

use std::collections::BTreeSet;

use models::smmu::IdrProfile;
use models::smmu::lint::{Lint, ROWS};
use spec::smmu::page0::CR0;
use spec::smmu::ste::config;
use spec::smmu::{Cd, Command, L1Std, Ste};

use crate::rig::{DATA, Dma, K4, Rig, STRUCTURES, at, stage1_ste};
use crate::suite::{Check, Given, Mode};

/// What software does.
type Act = fn(&mut Rig) -> Check;

/// Where an Update takes time.
const WITH_TIME: &[Mode] = &[Mode::Cycles];

const SMMUEN: CR0 = CR0(1);
const CMDQEN: CR0 = CR0(8);

/// Enables the Command queue with one register of 8 bytes changed.
fn enable_commands(r: &mut Rig, edit: impl FnOnce(u64) -> u64) -> Check {
    r.prepare();
    let value = edit(r.read64(at::CMDQ_BASE));
    r.write64(at::CMDQ_BASE, value);
    r.cr0(CMDQEN)
}
/// Enables SMMUEN with other registers of the Stream table.
fn enable(r: &mut Rig, edit: impl FnOnce(&mut Rig)) -> Check {
    r.boot_disabled()?;
    r.commands(&[Command::cfgi_all(), Command::tlbi_nsnh_all()])?;
    edit(r);
    r.change_cr0(|cr0| cr0.with_smmuen(true))
}
/// The same with another STRTAB_BASE_CFG and a table at 0.
fn enable_format(r: &mut Rig, format: u32) -> Check {
    enable(r, |r| {
        r.write64(at::STRTAB_BASE, 0);
        r.write32(at::STRTAB_BASE_CFG, format);
    })
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
/// Something is read for stream 1, and then for stream 2, which has a CD of its own.
fn reads_both(r: &mut Rig, edit: impl FnOnce(&mut Rig), cd: impl FnOnce(Cd) -> Cd) -> Check {
    reads(r, edit)?;
    second(r, cd)
}
/// Something is read for stream 2, which gets its own tables, this CD and the VMID of stream 1.
fn second(r: &mut Rig, cd: impl FnOnce(Cd) -> Cd) -> Check {
    let other = r.space(K4, 48, 0);
    let at = r.alloc(6);
    r.cd_in(at, |_| cd(other.cd()));
    let first = r.ste_at(1);
    let vmid = Ste::from_words(std::array::from_fn(|i| r.peek(first + 8 * i as u64))).s2vmid();
    r.ste(2, |_| stage1_ste(at).with_s2vmid(vmid));
    r.dma(Dma::read(0x2000).of(2)).map(|_| ())
}
/// Streams 1 and 2 have equal CDs, apart from these edits.
fn alike(r: &mut Rig, one: impl FnOnce(Cd) -> Cd, other: impl FnOnce(Cd) -> Cd) -> Check {
    reads(r, |r| r.cd(one))?;
    let tables = r.one;
    second(r, |cd| other(cd.with_ttb0(tables.root)))
}
/// Streams 1 and 2 have their own stage 2, with one VMID.
fn second_stage2(r: &mut Rig) -> Check {
    let other = r.space(K4, 40, 1);
    r.ste(2, |_| other.under(Ste::default().with_v(true).with_config(config::S2)));
    r.dma(Dma::read(0x2000).of(2)).map(|_| ())
}
/// Something is read for stream 0 and then for stream 1, which is to be like it.
fn span(r: &mut Rig, zero: impl FnOnce(Ste) -> Ste, one: impl FnOnce(Ste) -> Ste) -> Check {
    reads(r, |r| {
        let context = r.cd_at;
        r.ste(0, |_| zero(stage1_ste(context)));
        r.ste(1, one);
    })?;
    r.dma(Dma::read(0x1000).of(0)).map(|_| ())
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
    (Lint::CommandsBack, WITH_TIME, |r| {
        r.boot()?;
        r.world.slow = Some(STRUCTURES..DATA);
        r.write32(at::CMDQ_PROD, 8);
        r.write32(at::CMDQ_PROD, 6);
        Ok(())
    }),
    (Lint::CommandsBack, WITH_TIME, |r| {
        enhanced(r, |r, at| {
            r.world.slow = Some(STRUCTURES..DATA);
            r.write32(at + 8, 1 << 31 | 8);
            r.write32(at + 8, 1 << 31 | 6);
        })
    }),
    (Lint::OutputBack, &Mode::ALL, |r| {
        r.boot()?;
        r.dma(Dma::read(0x5000))?;
        r.dma(Dma::read(0x6000))?;
        r.write32(at::EVENTQ_CONS, 2);
        r.write32(at::EVENTQ_CONS, 1);
        Ok(())
    }),
    (Lint::OperationCut, WITH_TIME, |r| {
        r.optional();
        r.boot()?;
        r.world.slow = Some(STRUCTURES..DATA);
        r.write64(0x108, 1);
        r.write64(0x110, 0x1400);
        r.write32(0x100, 1);
        r.change_cr0(|cr0| cr0.with_smmuen(false))
    }),
    (Lint::NotInvalidated, &Mode::ALL, |r| {
        r.prepare();
        r.cr0(SMMUEN)
    }),
    (Lint::NotInvalidated, &Mode::ALL, |r| {
        r.boot_disabled()?;
        r.commands(&[Command::cfgi_all(), Command::tlbi_nh_all(0)])?;
        r.change_cr0(|cr0| cr0.with_smmuen(true))
    }),
    (Lint::AtschkChanged, &Mode::ALL, |r| {
        r.setup.cr0 = CR0(0).with_atschk(true);
        reads(r, |r| {
            r.nested();
            r.ste(1, |ste| ste.with_eats(2));
        })?;
        r.change_cr0(|cr0| cr0.with_atschk(false))
    }),
    (Lint::ErrorToggled, &Mode::ALL, |r| booted(r, |r| r.write32(at::GERRORN, 4))),
    (Lint::ReservedAttributes, &Mode::ALL, |r| {
        r.prepare();
        r.write32(at::CR1, 0xd77);
        r.cr0(CMDQEN)
    }),
    (Lint::StreamTableAlign, &Mode::ALL, |r| {
        enable(r, |r| {
            let base = r.read64(at::STRTAB_BASE);
            r.write64(at::STRTAB_BASE, base + 0x40);
        })
    }),
    (Lint::StreamTableReach, &Mode::ALL, |r| enable(r, |r| r.write64(at::STRTAB_BASE, 1 << 50))),
    (Lint::StreamTableSize, &Mode::ALL, |r| enable_format(r, 17)),
    (Lint::StreamTableFormat, &Mode::ALL, |r| enable_format(r, 2 << 16 | 4)),
    (Lint::StreamTableSplit, &Mode::ALL, |r| enable_format(r, 1 << 16 | 7 << 6 | 8)),
    (Lint::QueueAlign, &Mode::ALL, |r| enable_commands(r, |base| base + 0x20)),
    (Lint::QueueReach, &Mode::ALL, |r| enable_commands(r, |base| base | 1 << 50)),
    (Lint::QueueSize, &Mode::ALL, |r| enable_commands(r, |_| 20)),
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
    (Lint::RangeAlign, &Mode::ALL, |r| {
        command(r, Command::tlbi_nh_va(1, 0, 0x1000, true).with_tg(3).with_num(1))
    }),
    (Lint::UnknownE2h, &Mode::ALL, |r| {
        r.boot_disabled()?;
        r.write32(at::CR2, 3);
        r.commands(&[Command::tlbi_el2_all(), Command::tlbi_el2_va(1, 0x1000, true)])
    }),
    (Lint::UnknownE2h, &Mode::ALL, |r| {
        r.boot_disabled()?;
        r.write32(at::CR2, 3);
        r.commands(&[Command::tlbi_el2_all(), Command::tlbi_el2_asid(1)])
    }),
    (Lint::StallTermActive, &Mode::ALL, |r| {
        reads(r, |_| ())?;
        r.commands(&[Command::stall_term(1)])
    }),
    (Lint::PrefetchSubstream, &Mode::ALL, |r| {
        reads(r, |_| ())?;
        r.commands(&[Command::prefetch_config(1, None), Command::prefetch_config(1, Some(1))])
    }),
    (Lint::StreamArrayReach, &Mode::ALL, |r| l1std(r, |l1| l1.with_l2ptr(1 << 50))),
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
        reads(r, Rig::stage2_only)?;
        second_stage2(r)
    }),
    (Lint::SharedVmid, &Mode::ALL, |r| {
        reads(r, Rig::stage2_only)?;
        let same = r.two;
        let ste = same.under(Ste::default().with_v(true).with_config(config::S2));
        r.ste(2, |_| ste.with_s2affd(true));
        r.dma(Dma::read(0x2000).of(2)).map(|_| ())
    }),
    (Lint::MixedVmid, &Mode::ALL, |r| reads_both(r, Rig::nested, |cd| cd.with_asid(2))),
    (Lint::SpanDiffers, &Mode::ALL, |r| span(r, |ste| ste.with_s1stalld(true), |ste| ste.with_cont(1))),
    (Lint::SpanDiffers, &Mode::ALL, |r| {
        span(r, |ste| ste.with_v(true).with_cont(2).with_mev(true), |ste| ste)
    }),
    (Lint::SpanReach, &Mode::ALL, |r| {
        (r.setup.split, r.setup.streams_log2) = (Some(6), 8);
        reads(r, |r| r.ste(1, |ste| ste.with_cont(7)))
    }),
    (Lint::SteAllocation, &Mode::ALL, |r| reads(r, |r| r.ste(1, |ste| ste.with_alloccfg(8)))),
    (Lint::SteReservedBits, &Mode::ALL, |r| {
        reads(r, |r| r.ste(1, |ste| Ste::from_words(ste.words().map(|word| word | 1 << 57))))
    }),
    (Lint::CdReservedSize, &Mode::ALL, |r| reads(r, |r| r.cd(|cd| cd.with_ips(7)))),
    (Lint::CdReservedDirty, &Mode::ALL, |r| {
        updating(r);
        reads(r, |r| r.cd(|cd| cd.with_hd(true)))
    }),
    (Lint::CdReservedShare, &Mode::ALL, |r| reads(r, |r| r.cd(|cd| cd.with_sh0(1)))),
    (Lint::CdTableAlign, &Mode::ALL, |r| reads(r, |r| r.cd(|cd| cd.with_ttb0(cd.ttb0() + 0x10)))),
    (Lint::CdReservedBits, &Mode::ALL, |r| {
        reads(r, |r| {
            let at = r.cd_at + 8;
            r.poke(at, r.peek(at) | 1 << 57);
        })
    }),
    (Lint::SharedAsid, &Mode::ALL, |r| reads_both(r, |_| (), |cd| cd)),
    // A set of its own does not make it another ASID.
    (Lint::SharedAsid, &Mode::ALL, |r| alike(r, |cd| cd, |cd| cd.with_aset(true))),
    (Lint::SharedAsid, &Mode::ALL, |r| alike(r, |cd| cd.with_pan(true), |cd| cd)),
    (Lint::SharedAsid, &Mode::ALL, |r| alike(r, |cd| cd.with_sh0(3), |cd| cd.with_sh0(2))),
    (Lint::SharedAsid, &Mode::ALL, |r| {
        reads(r, |r| {
            let table = r.substreams(1);
            r.cd_in(table + 64, |cd| cd.with_asid(100).with_mair(0xff));
        })?;
        r.ste(1, |ste| ste.with_s1dss(2));
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.dma(Dma::read(0x1000))?;
        r.dma(Dma::read(0x1000).pasid(1)).map(|_| ())
    }),
    // Without ASIDs all CDs are those of one space.
    (Lint::SharedAsid, &Mode::ALL, |r| {
        reads(r, |r| r.ste(1, |ste| ste.with_strw(2)))?;
        let cd = Cd::from_words(std::array::from_fn(|i| r.peek(r.cd_at + 8 * i as u64)));
        let at = r.alloc(6);
        r.cd_in(at, |_| cd.with_asid(2).with_affd(true));
        r.ste(2, |_| stage1_ste(at).with_strw(2));
        r.dma(Dma::read(0x1000).of(2)).map(|_| ())
    }),
];

/// What looks like one of them and is legal.
const SILENT: &[(&str, Act)] = &[
    ("an ASID used again after CFGI_STE and TLBI_NH_ASID", |r| {
        reads(r, |_| ())?;
        r.ste(1, |_| Ste::default());
        r.commands(&[Command::cfgi_ste(1, true), Command::tlbi_nh_asid(1, 0)])?;
        second(r, |cd| cd)
    }),
    ("an ASID used again after CFGI_CD and TLBI_NH_ASID", |r| {
        reads(r, |_| ())?;
        r.cd(|_| Cd::default());
        r.commands(&[Command::cfgi_cd(1, 0, true), Command::tlbi_nh_asid(1, 0)])?;
        second(r, |cd| cd)
    }),
    ("a CD that changes after CFGI_CD", |r| {
        reads(r, |_| ())?;
        r.cd(|cd| cd.with_pan(true));
        r.commands(&[Command::cfgi_cd(1, 0, true), Command::tlbi_nh_asid(1, 0)])?;
        r.dma(Dma::read(0x1000)).map(|_| ())
    }),
    ("two streams of one address space, each with its CD", |r| {
        alike(r, |cd| cd, |cd| cd.with_a(false).with_r(false))
    }),
    ("one of two streams no longer walks", |r| alike(r, |cd| cd, |cd| cd.with_epd0(true).with_ttb0(0))),
    ("what is ignored because walks are disabled", |r| alike(r, |cd| cd.with_t1sz(9), |cd| cd.with_tg1(1))),
    ("one ASID in two VMIDs", |r| {
        reads(r, |_| ())?;
        let other = r.space(K4, 48, 0);
        let at = r.alloc(6);
        r.cd_in(at, |_| other.cd());
        r.ste(2, |_| stage1_ste(at).with_s2vmid(1));
        r.dma(Dma::read(0x2000).of(2)).map(|_| ())
    }),
    ("one ASID in two regimes", |r| {
        r.setup.cr2 |= 1;
        reads(r, |_| ())?;
        let other = r.space(K4, 48, 0);
        let at = r.alloc(6);
        r.cd_in(at, |_| other.cd());
        r.ste(2, |_| stage1_ste(at).with_strw(2));
        r.dma(Dma::read(0x2000).of(2)).map(|_| ())
    }),
    ("a VMID used again after CFGI_STE and TLBI_S12_VMALL", |r| {
        reads(r, Rig::stage2_only)?;
        r.ste(1, |_| Ste::default());
        r.commands(&[Command::cfgi_ste(1, true), Command::tlbi_s12_vmall(0)])?;
        second_stage2(r)
    }),
    ("stage 1 in the VMID of a stream of stage 2 alone", |r| reads_both(r, Rig::stage2_only, |cd| cd)),
    ("two STEs of a span that differ in CONT", |r| span(r, |ste| ste, |ste| ste.with_cont(1))),
    ("two STEs of a span that differ in what is software's", |r| {
        span(r, |ste| ste.with_cont(1).with_sw(5), |ste| ste.with_cont(1))
    }),
    ("an STE outside the span of its neighbour", |r| {
        reads(r, |r| r.ste(1, |ste| ste.with_cont(1)))?;
        second(r, |cd| cd.with_asid(2))
    }),
    ("a span as large as the array of STEs", |r| {
        (r.setup.split, r.setup.streams_log2) = (Some(6), 8);
        reads(r, |r| r.ste(1, |ste| ste.with_cont(6)))
    }),
    ("STALL_TERM for a stream that aborts", |r| {
        reads(r, |_| ())?;
        r.ste(1, |ste| ste.with_config(config::ABORT));
        r.commands(&[Command::cfgi_ste(1, true), Command::stall_term(1)])
    }),
    ("SMMUEN cleared and set again", |r| {
        reads(r, |_| ())?;
        r.change_cr0(|cr0| cr0.with_smmuen(false))?;
        r.change_cr0(|cr0| cr0.with_smmuen(true))
    }),
    ("queues that wrap", |r| {
        r.setup.events_log2 = 1;
        r.boot()?;
        for cons in 1..=5 {
            r.dma(Dma::read(0x5000))?;
            r.write32(at::EVENTQ_CONS, cons & 3);
        }
        (0..3).try_for_each(|_| r.commands(&[Command::cfgi_all(); 40]))
    }),
    ("CMDQ_PROD moved back to replace commands after an error", |r| {
        r.boot()?;
        let prod = r.read32(at::CMDQ_PROD);
        r.write32(at::CMDQ_PROD, prod + 9);
        r.until("the queue stops", |r| r.read32(at::GERROR) & 1 != 0)?;
        r.write32(at::CMDQ_PROD, prod);
        Ok(())
    }),
    ("ATSCHK changed before anything is used", |r| {
        r.boot()?;
        r.change_cr0(|cr0| cr0.with_atschk(true))
    }),
    ("TLBI_EL2_VA after SMMUEN has made E2H known", |r| {
        r.setup.cr2 |= 1;
        command(r, Command::tlbi_el2_va(1, 0x1000, true))
    }),
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
fn what_is_legal_is_silent() {
    let mut wrong = Vec::new();
    for (what, act) in SILENT {
        for &mode in &Mode::ALL {
            let mut rig = Rig::new(mode, IdrProfile::STALLING, false, &Given::default());
            let result = act(&mut rig);
            rig.run();
            if result.is_err() || !rig.world.lints.is_empty() {
                wrong.push(format!("{what}, {}: {result:?}, {:#?}", mode.name(), rig.world.lints));
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

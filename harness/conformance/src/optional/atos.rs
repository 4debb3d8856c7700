//! Address translation operations that find something, and when they may be performed.

use spec::smmu::atos::code;
use spec::smmu::descriptor::{Leaf1, Leaf2};
use spec::smmu::{Command, EventNumber};

use super::ask::{Ask, GLOBAL, SEL, VIRTUAL};
use super::row;
use crate::rig::{ABOVE, DATA, Dma, IPA, K4, K16, K64, PAGE1, PAGE2, Rig, at, holds, same};
use crate::suite::{Check, Row};

const ONE: Ask = Ask::stage1(0x1000);
const TWO: Ask = Ask::stage2(0x1000);
const BOTH: Ask = Ask::both(0x1000);
const PA: u64 = DATA + 0x1000;
/// VMID of the streams with stage 2.
const VMID: u32 = 5;

/// The default stream, nested.
fn nested(r: &mut Rig) -> Check {
    r.boot()?;
    r.nested();
    Ok(())
}
fn stage2_only(r: &mut Rig) -> Check {
    r.boot()?;
    r.stage2_only();
    Ok(())
}
/// The default stream, whose CD lets hardware record accesses and writes; its page has seen neither.
fn updating(r: &mut Rig) -> Check {
    r.boot()?;
    r.cd(|cd| cd.with_ha(true).with_hd(true));
    r.page(0x1000, |leaf| leaf.with_af(false).with_ap(3).with_dbm(true));
    Ok(())
}
/// AF, and whether writes are not permitted.
fn state(r: &mut Rig) -> (bool, bool) {
    let space = r.one;
    let at = r.descriptor(&space, 0x1000, 3);
    let leaf = Leaf1([r.peek(at)]);
    (leaf.af(), leaf.ap() & 2 != 0)
}
/// An operation that takes long, where there is time, has been started.
fn under_way(r: &mut Rig, ask: Ask) -> Check {
    r.boot()?;
    r.world.slow = Some(0x8000_0000..DATA);
    ask.start(r);
    Ok(())
}

pub(super) const ROWS: &[Row] = &[
    row("AT01", "9.1.3", "Stage 1 of a stream with stage 1: a page, found without a record", |r| {
        r.boot()?;
        ONE.finds_page(r, PA)?;
        // Again, from whatever was cached; and for a device.
        ONE.finds_page(r, PA)?;
        r.reaches(Dma::read(0x1000), PA)?;
        ONE.write().finds_page(r, PA)
    }),
    row("AT02", "9.1.3", "Stage 2 of a stream with stage 2 alone", |r| {
        stage2_only(r)?;
        TWO.finds_page(r, PA)?;
        r.reaches(Dma::read(0x1000), PA)?;
        TWO.finds_page(r, PA)
    }),
    row("AT03", "9.1.3", "Nested, both stages: from virtual to physical", |r| {
        nested(r)?;
        BOTH.finds_page(r, PA)?;
        r.reaches(Dma::read(0x1000), PA)?;
        BOTH.finds_page(r, PA)
    }),
    row("AT04", "9.1.3", "Nested, stage 1 alone: from virtual to intermediate, whatever TLBs hold", |r| {
        nested(r)?;
        ONE.finds_page(r, IPA + 0x1000)?;
        r.reaches(Dma::read(0x1000), PA)?;
        ONE.finds_page(r, IPA + 0x1000)?;
        r.reaches(Dma::read(0x1000), PA)
    }),
    row("AT05", "9.1.3", "Nested, stage 1 alone: the page itself need not be mapped at stage 2", |r| {
        nested(r)?;
        r.page2(IPA + 0x1000, |_| Leaf2([0]));
        ONE.finds_page(r, IPA + 0x1000)
    }),
    row("AT06", "9.1.3", "Nested, stage 2 alone: from intermediate to physical", |r| {
        nested(r)?;
        Ask::stage2(IPA + 0x1000).finds_page(r, PA)?;
        let cd = r.cd_at;
        Ask::stage2(cd + ABOVE).finds_page(r, cd)
    }),
    row("AT07", "9.1.2", "The SubstreamID chooses the CD", |r| {
        r.boot()?;
        let table = r.substreams(2);
        let other = r.stage1(K4, 48);
        r.map1(&other, 0x1000, DATA + 0x5000, 3, PAGE1);
        r.cd_in(table + 128, |_| other.cd());
        ONE.pasid(2).finds_page(r, DATA + 0x5000)?;
        ONE.pasid(3).finds_page(r, PA)
    }),
    row("AT08", "6.3.40", "Blocks: the lowest bit set in ADDR tells the size", |r| {
        r.boot()?;
        let one = r.one;
        r.map1(&one, 0x4000_0000, 0x80_4000_0000, 1, PAGE1);
        r.map1(&one, 0x8020_0000, 0x80_0020_0000, 2, PAGE1);
        Ask::stage1(0x4123_4000).finds(r, 0x80_4000_0000, 30)?;
        Ask::stage1(0x8020_7000).finds(r, 0x80_0020_0000, 21)?;
        ONE.finds_page(r, PA)
    }),
    row("AT09", "6.3.40", "Pages of 16KB and 64KB", |r| {
        r.boot()?;
        for (sid, granule, bits) in [(2, K16, 14), (3, K64, 16)] {
            let space = r.stage1(granule, 48);
            r.map1(&space, 0x1_0000, DATA + 0x4_0000, 3, PAGE1);
            let context = r.alloc(6);
            r.cd_in(context, |_| space.cd().with_asid(sid.into()));
            r.ste(sid, |_| crate::rig::stage1_ste(context));
            Ask::stage1(0x1_3000).of(sid.into()).finds(r, DATA + 0x4_0000, bits)?;
        }
        Ok(())
    }),
    row("AT10", "6.3.40", "Both stages: the size is that of the smaller translation", |r| {
        nested(r)?;
        let (one, two) = (r.one, r.two);
        r.map1(&one, 0x4000_0000, 0x4000_0000, 1, PAGE1);
        r.map2(&two, 0x4020_0000, 0x80_0020_0000, 2, PAGE2);
        Ask::both(0x4020_1000).finds(r, 0x80_0020_0000, 21)?;
        Ask::stage1(0x4020_1000).finds(r, 0x4000_0000, 30)?;
        Ask::stage2(0x4020_1000).finds(r, 0x80_0020_0000, 21)
    }),
    row("AT11", "9.1.3", "Privilege and kind of access come from ADDR alone, not from the STE", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_ap(0).with_uxn(true));
        r.ste(1, |ste| ste.with_privcfg(3).with_instcfg(3));
        ONE.fails(r, EventNumber::F_PERMISSION, 0, 0)?;
        ONE.privileged().finds_page(r, PA)?;
        ONE.privileged().instruction().finds_page(r, PA)?;
        ONE.instruction().fails(r, EventNumber::F_PERMISSION, 0, 0)?;
        // Writes are data.
        ONE.privileged().instruction().write().finds_page(r, PA)
    }),
    row(
        "AT12",
        "9.1.3",
        "S1DSS=1 without SubstreamID: stage 1 returns the address, both stages go on",
        |r| {
            r.boot()?;
            r.substreams(2);
            r.ste(1, |ste| ste.with_s1dss(1));
            ONE.finds_page(r, 0x1000)?;
            r.nested();
            let (table, two) = (r.substreams(2), r.two);
            r.ste(1, |ste| ste.with_s1dss(1).with_s1contextptr(table + ABOVE));
            r.map2(&two, 0x1000, DATA + 0x7000, 3, PAGE2);
            r.commands(&[Command::cfgi_all(), Command::tlbi_nsnh_all()])?;
            ONE.finds_page(r, 0x1000)?;
            BOTH.finds_page(r, DATA + 0x7000)
        },
    ),
    row("AT13", "9", "HTTUI=0: the operation updates descriptors as a transaction would", |r| {
        updating(r)?;
        ONE.finds_page(r, PA)?;
        same("AF and clean", state(r), (true, true))?;
        ONE.write().finds_page(r, PA)?;
        same("AF and clean", state(r), (true, false))
    }),
    row("AT14", "9", "HTTUI=1: as if updated, but memory keeps what it holds", |r| {
        updating(r)?;
        ONE.passive().finds_page(r, PA)?;
        ONE.passive().write().finds_page(r, PA)?;
        same("AF and clean", state(r), (false, true))
    }),
    row("AT15", "9", "HTTUI=1 leaves nothing cached as accessed or dirty", |r| {
        updating(r)?;
        ONE.passive().write().finds_page(r, PA)?;
        r.reaches(Dma::read(0x1000), PA)?;
        same("AF and clean", state(r), (true, true))?;
        ONE.passive().write().finds_page(r, PA)?;
        r.reaches(Dma::write(0x1000), PA)?;
        same("AF and clean", state(r), (true, false))
    }),
    row("AT16", "9", "HTTUI=1 changes nothing where hardware does not update: AF=0 faults", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_af(false));
        ONE.passive().fails(r, EventNumber::F_ACCESS, 0, 0)
    }),
    row("AT17", "9", "HTTUI=1 reaches stage 2, too: tables and page keep what they hold", |r| {
        nested(r)?;
        r.ste(1, |ste| ste.with_s2ha(true).with_s2hd(true));
        for page in [IPA + 0x1000, r.cd_at + ABOVE] {
            r.page2(page, |leaf| leaf.with_af(false).with_s2ap(1).with_dbm(true));
        }
        let states = |r: &mut Rig| {
            let two = r.two;
            [IPA + 0x1000, r.cd_at + ABOVE].map(|page| {
                let at = r.descriptor(&two, page, 3);
                r.peek(at)
            })
        };
        let before = states(r);
        BOTH.passive().write().finds_page(r, PA)?;
        same("the stage-2 descriptors", states(r), before)?;
        BOTH.write().finds_page(r, PA)?;
        let after = states(r).map(|word| (Leaf2([word]).af(), Leaf2([word]).s2ap()));
        same("AF and S2AP of page and CD", after, [(true, 3), (true, 1)])
    }),
    row("AT18", "6.3.37", "With SMMUEN=0 RUN cannot be set", |r| {
        r.boot_disabled()?;
        for ask in [ONE, ONE.virt()] {
            let before = r.read64(ask.group + 0x18);
            ask.start(r);
            holds("RUN is clear", !ask.runs(r))?;
            r.run();
            same("PAR", r.read64(ask.group + 0x18), before)?;
        }
        Ok(())
    }),
    row("AT19", "6.3.37", "SMMUEN=0 waits for what runs: RUN is clear when it is acknowledged", |r| {
        under_way(r, ONE)?;
        r.change_cr0(|cr0| cr0.with_smmuen(false))?;
        holds("RUN is clear", !ONE.runs(r))?;
        let par = r.read64(GLOBAL + 0x18);
        let terminated = 1 | code::INTERNAL_ERR << 4;
        holds("the result, or INTERNAL_ERR", par & !(0xff << 56 | 3 << 8) == PA || par == terminated)
    }),
    row("AT20", "6.3.37", "While SMMUEN is on its way to 0 RUN cannot be set", |r| {
        r.slow_updates();
        r.boot()?;
        r.write32(at::CR0, 0xc);
        let down = r.read32(at::CR0ACK) & 1 == 0;
        ONE.start(r);
        holds("RUN is clear", down || !ONE.runs(r))?;
        r.until("SMMUEN is acknowledged", |r| r.read32(at::CR0ACK) & 1 == 0)
    }),
    row("AT21", "6.3.37", "While RUN is set the group's registers keep their values", |r| {
        r.boot()?;
        r.nested();
        r.world.slow = Some(0x8000_0000..DATA);
        r.write32(SEL, VMID);
        for ask in [BOTH, ONE.virt()] {
            ask.start(r);
            let before = [8, 0x10].map(|offset| r.read64(ask.group + offset));
            if ask.runs(r) {
                r.write64(ask.group + 8, 3);
                r.write64(ask.group + 0x10, 0x5000);
                r.write32(ask.group, 0);
                r.write32(SEL, if ask.group == VIRTUAL { 9 } else { VMID });
                same("SID and ADDR", [8, 0x10].map(|offset| r.read64(ask.group + offset)), before)?;
                holds("RUN is set", ask.runs(r))?;
            }
            let par = ask.result(r)?;
            same("VATOS_SEL", r.read32(SEL), VMID)?;
            let page = if ask.group == VIRTUAL { IPA + 0x1000 } else { PA };
            same("ADDR", par & 0x000f_ffff_ffff_f001, page)?;
        }
        Ok(())
    }),
    row("AT22", "9", "The two groups are independent of each other", |r| {
        nested(r)?;
        r.world.slow = Some(0x8000_0000..DATA);
        r.write32(SEL, VMID);
        BOTH.start(r);
        ONE.virt().start(r);
        let pars = [BOTH.result(r)?, ONE.virt().result(r)?];
        same("ADDR of both", pars.map(|par| par & 0x000f_ffff_ffff_f001), [PA, IPA + 0x1000])
    }),
    row("AT23", "3.21.1", "After TLBI and CMD_SYNC an operation sees what is in memory then", |r| {
        r.boot()?;
        ONE.finds_page(r, PA)?;
        r.page(0x1000, |leaf| leaf.with_oa(DATA + 0x9000));
        r.commands(&[Command::tlbi_nh_va(1, 0, 0x1000, true)])?;
        ONE.finds_page(r, DATA + 0x9000)?;
        let other = r.stage1(K4, 48);
        r.map1(&other, 0x1000, DATA + 0xa000, 3, PAGE1);
        r.cd(|_| other.cd().with_asid(2));
        r.commands(&[Command::cfgi_cd(1, 0, true)])?;
        ONE.finds_page(r, DATA + 0xa000)
    }),
    row("AT24", "4.7.3", "What ends after a CMD_SYNC is no result of what was invalidated before it", |r| {
        under_way(r, ONE)?;
        let was_running = ONE.runs(r);
        r.until("the walk reads its last table", |r| {
            let (space, reads) = (r.one, r.world.reads.last().copied());
            !was_running || reads == Some(r.descriptor(&space, 0x1000, 3))
        })?;
        r.unmap(0x1000);
        r.commands(&[Command::tlbi_nh_va(1, 0, 0x1000, true)])?;
        let late = ONE.runs(r);
        let par = ONE.result(r)?;
        holds("done before CMD_SYNC, or nothing found", !late || par & 1 != 0)?;
        r.world.slow = None;
        ONE.fails(r, EventNumber::F_TRANSLATION, 0, 0)
    }),
    row("AT25", "4.7.3", "Descriptors updated for an operation are visible when a CMD_SYNC completes", |r| {
        updating(r)?;
        r.world.slow = Some(0x8000_0000..DATA);
        ONE.start(r);
        ONE.result(r)?;
        r.commands(&[])?;
        same("AF and clean", state(r), (true, true))
    }),
    row("AT26", "9.1.6", "VATOS finds what the VM of VATOS_SEL may see, at stage 1", |r| {
        nested(r)?;
        r.write32(SEL, VMID);
        ONE.virt().finds_page(r, IPA + 0x1000)?;
        ONE.virt().write().finds_page(r, IPA + 0x1000)
    }),
    row("AT27", "9.1.6", "VATOS serves a stream with stage 1 alone, too, if its VMID is that one", |r| {
        r.boot()?;
        r.ste(1, |ste| ste.with_s2vmid(9));
        r.write32(SEL, 9);
        ONE.virt().finds_page(r, PA)
    }),
    row(
        "AT29",
        "6.3.40",
        "Stage 1: ATTR is the byte of MAIR, SH that of the descriptor; Device is shared",
        |r| {
            r.boot()?;
            r.cd(|cd| cd.with_mair(0x04_bb_44_ff));
            for (index, sh, attr, shared) in
                [(0, 3, 0xff, 3), (0, 0, 0xff, 0), (1, 3, 0x44, 2), (2, 2, 0xbb, 2), (3, 0, 0x04, 2)]
            {
                r.page(0x1000, |leaf| leaf.with_attrindx(index).with_sh(sh));
                r.commands(&[Command::tlbi_nsnh_all()])?;
                ONE.finds_attributes(r, attr, shared)?;
                ONE.finds_attributes(r, attr, shared)?;
            }
            Ok(())
        },
    ),
    row("AT30", "6.3.40", "Stage 2: its type, with read and write allocation and nothing transient", |r| {
        stage2_only(r)?;
        for (memattr, sh, attr, shared) in
            [(0xf, 3, 0xff, 3), (0xf, 0, 0xff, 0), (0xa, 2, 0xbb, 2), (5, 3, 0x44, 2), (1, 3, 0x04, 2)]
        {
            r.page2(0x1000, |leaf| leaf.with_memattr(memattr).with_sh(sh));
            r.commands(&[Command::tlbi_nsnh_all()])?;
            TWO.finds_attributes(r, attr, shared)?;
        }
        Ok(())
    }),
    row("AT31", "13.1.5", "Both stages: the stronger of both, whatever the STE makes of transactions", |r| {
        nested(r)?;
        r.cd(|cd| cd.with_mair(0x00_ff_00));
        r.ste(1, |ste| ste.with_mtcfg(true).with_memattr(1).with_shcfg(0));
        for (index, memattr, attr, shared) in
            [(1, 0xf, 0xff, 3), (1, 0xa, 0xbb, 3), (1, 5, 0x44, 2), (0, 0xf, 0x00, 2), (1, 3, 0x0c, 2)]
        {
            r.page(0x1000, |leaf| leaf.with_attrindx(index).with_sh(0));
            r.page2(IPA + 0x1000, |leaf| leaf.with_memattr(memattr).with_sh(3));
            r.commands(&[Command::tlbi_nsnh_all()])?;
            BOTH.finds_attributes(r, attr, shared)?;
        }
        // Stage 1 alone says what stage 1 says.
        ONE.finds_attributes(r, 0xff, 0)
    }),
    row("AT28", "6.3.38", "StreamIDs, SubstreamIDs and types beyond what exists read 0", |r| {
        for group in [GLOBAL, VIRTUAL] {
            r.write64(group + 8, u64::MAX);
            same("SID", r.read64(group + 8), 0x001f_ffff_0000_ffff)?;
            r.write64(group + 0x10, u64::MAX);
            same("ADDR", r.read64(group + 0x10), 0xffff_ffff_ffff_ffc0)?;
        }
        r.write32(SEL, u32::MAX);
        same("VATOS_SEL", r.read32(SEL), 0xffff)
    }),
];

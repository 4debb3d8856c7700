//! Address translation operations that fail, and what PAR says then.

use spec::smmu::descriptor::{Leaf1, Leaf2};
use spec::smmu::ste::config;
use spec::smmu::{Command, EventNumber, Ste};

use super::ask::{Ask, SEL, with_recinvsid};
use super::row;
use crate::rig::{ABOVE, DATA, IPA, Rig};
use crate::suite::{Check, Row};

const ONE: Ask = Ask::stage1(0x1000);
const TWO: Ask = Ask::stage2(0x1000);
const BOTH: Ask = Ask::both(0x1000);
const UNMAPPED: Ask = Ask::stage1(0x2000);
const PA: u64 = DATA + 0x1000;

/// Values of REASON.
const MISC: u64 = 0;
const CD: u64 = 1;
const TT: u64 = 2;
const IN: u64 = 3;

type Edit = fn(Leaf1) -> Leaf1;

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
/// Intermediate address of the page that holds the default page's descriptor at `level`.
fn table(r: &mut Rig, level: u8) -> u64 {
    let space = r.one;
    (r.descriptor(&space, 0x1000, level) & !0xfff) + ABOVE
}
/// The default page's descriptor at the last level of stage 1.
fn leaf_at(r: &mut Rig) -> u64 {
    let space = r.one;
    r.descriptor(&space, 0x1000, 3)
}

pub(super) const ROWS: &[Row] = &[
    row("AT40", "9.1.3", "TYPE=0 is malformed, and so is a SubstreamID at stage 2", |r| {
        nested(r)?;
        ONE.of_type(0).is_malformed(r)?;
        TWO.pasid(1).is_malformed(r)?;
        BOTH.finds_page(r, PA)
    }),
    row("AT41", "9.1.3", "Without stage 2 only stage 1 can be asked about", |r| {
        r.idr0(|idr0| idr0.with_s2p(false));
        r.boot()?;
        TWO.is_malformed(r)?;
        BOTH.is_malformed(r)?;
        ONE.finds_page(r, PA)
    }),
    row("AT42", "9.1.3", "Without stage 1 only stage 2 can be asked about", |r| {
        r.idr0(|idr0| idr0.with_s1p(false));
        stage2_only(r)?;
        ONE.is_malformed(r)?;
        BOTH.is_malformed(r)?;
        TWO.finds_page(r, PA)
    }),
    row("AT43", "9.1.5", "INV_REQ comes before anything that the stream has to say", |r| {
        r.boot()?;
        ONE.of(99).of_type(0).is_malformed(r)?;
        r.ste(1, |ste| ste.with_v(false));
        ONE.of_type(0).is_malformed(r)
    }),
    row("AT44", "9.1.3", "A stream that aborts or bypasses has no stage to ask about", |r| {
        r.boot()?;
        for (sid, mode) in [(2, config::ABORT), (3, config::BYPASS)] {
            r.ste(sid, |_| Ste::default().with_v(true).with_config(mode));
            for ask in [ONE, TWO, BOTH] {
                ask.of(sid.into()).lacks_stage(r)?;
            }
        }
        Ok(())
    }),
    row("AT45", "9.1.3", "A stream with one stage cannot be asked about the other", |r| {
        r.boot()?;
        TWO.lacks_stage(r)?;
        BOTH.lacks_stage(r)?;
        ONE.finds_page(r, PA)?;
        r.stage2_only();
        r.commands(&[Command::cfgi_all()])?;
        ONE.lacks_stage(r)?;
        BOTH.lacks_stage(r)?;
        TWO.finds_page(r, PA)
    }),
    row(
        "AT46",
        "9.1.5",
        "INV_STAGE comes after C_BAD_STE and before what SubstreamID and CD have to say",
        |r| {
            r.boot()?;
            BOTH.pasid(7).lacks_stage(r)?;
            r.ste(1, |ste| ste.with_v(false));
            r.commands(&[Command::cfgi_all()])?;
            BOTH.fails(r, EventNumber::C_BAD_STE, MISC, 0)
        },
    ),
    row("AT47", "9.1.5", "A StreamID without a place is C_BAD_STREAMID, with RECINVSID=0 as well", |r| {
        with_recinvsid(r, false)?;
        ONE.of(99).fails(r, EventNumber::C_BAD_STREAMID, MISC, 0)?;
        BOTH.of(99).fails(r, EventNumber::C_BAD_STREAMID, MISC, 0)
    }),
    row("AT48", "9.1.5", "An STE that cannot be read is F_STE_FETCH", |r| {
        r.boot()?;
        let ste = r.ste_at(1);
        r.break_at(ste);
        ONE.fails(r, EventNumber::F_STE_FETCH, MISC, 0)
    }),
    row("AT49", "9.1.4", "At stage 2 alone even these have REASON=IN", |r| {
        r.boot()?;
        TWO.of(99).fails(r, EventNumber::C_BAD_STREAMID, IN, 0)?;
        r.ste(1, |ste| ste.with_v(false));
        TWO.fails(r, EventNumber::C_BAD_STE, IN, 0)
    }),
    row("AT50", "9.1.5", "SubstreamIDs: F_STREAM_DISABLED and C_BAD_SUBSTREAMID", |r| {
        r.boot()?;
        ONE.pasid(1).fails(r, EventNumber::C_BAD_SUBSTREAMID, MISC, 0)?;
        r.substreams(2);
        r.commands(&[Command::cfgi_all()])?;
        ONE.fails(r, EventNumber::F_STREAM_DISABLED, MISC, 0)?;
        ONE.pasid(4).fails(r, EventNumber::C_BAD_SUBSTREAMID, MISC, 0)?;
        r.ste(1, |ste| ste.with_s1dss(2));
        r.commands(&[Command::cfgi_all()])?;
        ONE.pasid(0).fails(r, EventNumber::F_STREAM_DISABLED, MISC, 0)
    }),
    row("AT51", "9.1.5", "A CD that cannot be read is F_CD_FETCH, an illegal one C_BAD_CD", |r| {
        r.boot()?;
        let cd = r.cd_at;
        r.break_at(cd);
        ONE.fails(r, EventNumber::F_CD_FETCH, MISC, 0)?;
        r.world.aborts.clear();
        r.cd(|cd| cd.with_v(false));
        ONE.fails(r, EventNumber::C_BAD_CD, MISC, 0)
    }),
    row("AT52", "9.1.5", "A stage-1 table that cannot be read is F_WALK_EABT", |r| {
        r.boot()?;
        let at = leaf_at(r);
        r.break_at(at);
        ONE.fails(r, EventNumber::F_WALK_EABT, MISC, 0)?;
        r.world.aborts.clear();
        r.nested();
        r.commands(&[Command::cfgi_all()])?;
        let at = leaf_at(r);
        r.break_at(at);
        BOTH.fails(r, EventNumber::F_WALK_EABT, MISC, 0)?;
        ONE.fails(r, EventNumber::F_WALK_EABT, MISC, 0)
    }),
    row("AT53", "9.1.5", "Faults of stage 1, each with its code and nothing else", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_ips(2));
        UNMAPPED.fails(r, EventNumber::F_TRANSLATION, MISC, 0)?;
        let codes: [(Edit, EventNumber); 3] = [
            (|leaf| leaf.with_af(false), EventNumber::F_ACCESS),
            (|leaf| leaf.with_ap(0), EventNumber::F_PERMISSION),
            (|leaf| leaf.with_oa(1 << 40), EventNumber::F_ADDR_SIZE),
        ];
        for (edit, number) in codes {
            let at = leaf_at(r);
            let before = r.peek(at);
            r.page(0x1000, edit);
            ONE.fails(r, number, MISC, 0)?;
            r.poke(at, before);
        }
        ONE.finds_page(r, PA)
    }),
    row("AT54", "9.1.5", "An address outside the range of stage 1 is F_TRANSLATION", |r| {
        r.boot()?;
        Ask::stage1(1 << 50).fails(r, EventNumber::F_TRANSLATION, MISC, 0)
    }),
    row("AT55", "9.1.4", "Both stages: a fault of stage 2 shows what for, and its intermediate page", |r| {
        nested(r)?;
        for (page, reason) in [(IPA + 0x1000, IN), (table(r, 2), TT), (r.cd_at + ABOVE, CD)] {
            r.page2(page, |leaf| leaf.with_valid(false));
            r.commands(&[Command::cfgi_all(), Command::tlbi_nsnh_all()])?;
            BOTH.fails(r, EventNumber::F_TRANSLATION, reason, page)?;
            r.page2(page, |leaf| leaf.with_valid(true).with_af(false));
            BOTH.fails(r, EventNumber::F_ACCESS, reason, page)?;
            r.page2(page, |leaf| leaf.with_af(true).with_s2ap(2));
            BOTH.fails(r, EventNumber::F_PERMISSION, reason, page)?;
            r.page2(page, |leaf| leaf.with_s2ap(3));
        }
        BOTH.finds_page(r, PA)
    }),
    row(
        "AT56",
        "9.1.4",
        "Both stages: a stage-2 table that cannot be read shows what for, but no address",
        |r| {
            nested(r)?;
            let two = r.two;
            for (page, reason) in [(IPA + 0x1000, IN), (table(r, 2), TT), (r.cd_at + ABOVE, CD)] {
                let at = r.descriptor(&two, page, 3);
                r.break_at(at);
                r.commands(&[Command::cfgi_all(), Command::tlbi_nsnh_all()])?;
                BOTH.fails(r, EventNumber::F_WALK_EABT, reason, 0)?;
                r.world.aborts.clear();
            }
            Ok(())
        },
    ),
    row(
        "AT57",
        "9.1.4",
        "Nested, stage 1 alone: a fault of stage 2 is an abort of what was to be read",
        |r| {
            nested(r)?;
            let cd = r.cd_at + ABOVE;
            let rows = [
                (table(r, 2), EventNumber::F_WALK_EABT),
                (table(r, 3), EventNumber::F_WALK_EABT),
                (cd, EventNumber::F_CD_FETCH),
            ];
            let two = r.two;
            for (page, number) in rows {
                let at = r.descriptor(&two, page, 3);
                for broken in [false, true] {
                    if broken {
                        r.break_at(at);
                    } else {
                        r.page2(page, |leaf| leaf.with_valid(false));
                    }
                    r.commands(&[Command::cfgi_all(), Command::tlbi_nsnh_all()])?;
                    ONE.fails(r, number, MISC, 0)?;
                    r.page2(page, |leaf| leaf.with_valid(true));
                    r.world.aborts.clear();
                }
            }
            ONE.finds_page(r, IPA + 0x1000)
        },
    ),
    row("AT58", "9.1.4", "Stage 2 alone: REASON=IN and no address", |r| {
        stage2_only(r)?;
        Ask::stage2(0x2000).fails(r, EventNumber::F_TRANSLATION, IN, 0)?;
        Ask::stage2(1 << 41).fails(r, EventNumber::F_TRANSLATION, IN, 0)?;
        r.page2(0x1000, |leaf| leaf.with_af(false));
        TWO.fails(r, EventNumber::F_ACCESS, IN, 0)?;
        r.page2(0x1000, |leaf| leaf.with_af(true).with_s2ap(1));
        TWO.write().fails(r, EventNumber::F_PERMISSION, IN, 0)?;
        let (two, at) = (r.two, 0x1000);
        let at = r.descriptor(&two, at, 3);
        r.break_at(at);
        TWO.fails(r, EventNumber::F_WALK_EABT, IN, 0)
    }),
    row("AT59", "9.1.4", "Stage 2 alone: an address that is none at all is a fault of stage 1's", |r| {
        stage2_only(r)?;
        Ask::stage2(1 << 49).fails(r, EventNumber::F_ADDR_SIZE, MISC, 0)?;
        let two = r.two;
        r.ste(1, |ste| ste.with_s2ps(0));
        r.map2(&two, 0x3000, 1 << 32, 3, crate::rig::PAGE2);
        r.commands(&[Command::cfgi_all()])?;
        Ask::stage2(0x3000).fails(r, EventNumber::F_ADDR_SIZE, IN, 0)
    }),
    row("AT60", "9", "A stream whose faults stall or are recorded: an operation does neither", |r| {
        r.boot()?;
        r.cd(|cd| cd.with_s(true));
        UNMAPPED.fails(r, EventNumber::F_TRANSLATION, MISC, 0)?;
        r.run();
        r.recorded(&[])?;
        r.nested();
        r.ste(1, |ste| ste.with_s2s(true));
        r.page2(IPA + 0x1000, |_| Leaf2([0]));
        r.commands(&[Command::cfgi_all(), Command::tlbi_nsnh_all()])?;
        BOTH.fails(r, EventNumber::F_TRANSLATION, IN, IPA + 0x1000)
    }),
    row("AT61", "9.1.3", "VATOS serves stage 1 only", |r| {
        nested(r)?;
        r.write32(SEL, 5);
        for kind in [0, 2, 3] {
            ONE.virt().of_type(kind).is_malformed(r)?;
        }
        ONE.virt().finds_page(r, IPA + 0x1000)
    }),
    row("AT62", "9.1.6", "VATOS denies streams of another VM, and those without one, with C_BAD_STE", |r| {
        nested(r)?;
        r.write32(SEL, 6);
        ONE.virt().fails(r, EventNumber::C_BAD_STE, MISC, 0)?;
        r.write32(SEL, 0);
        let context = r.cd_at;
        let bypass = Ste::default().with_v(true).with_config(config::BYPASS);
        let el2 = crate::rig::stage1_ste(context).with_strw(2);
        for (sid, ste) in [(2, bypass), (3, bypass.with_config(config::ABORT)), (4, el2)] {
            r.ste(sid, |_| ste);
            ONE.virt().of(sid.into()).fails(r, EventNumber::C_BAD_STE, MISC, 0)?;
        }
        Ok(())
    }),
    row("AT63", "9.1.6", "VATOS says INV_STAGE for a stream of its VM with stage 2 alone", |r| {
        stage2_only(r)?;
        r.write32(SEL, 5);
        ONE.virt().lacks_stage(r)
    }),
    row("AT64", "9.1.5", "VATOS: no STE, a bad STE and a bad CD say so themselves", |r| {
        r.boot()?;
        ONE.virt().of(99).fails(r, EventNumber::C_BAD_STREAMID, MISC, 0)?;
        r.ste(2, |ste| ste.with_v(false));
        ONE.virt().of(2).fails(r, EventNumber::C_BAD_STE, MISC, 0)?;
        r.cd(|cd| cd.with_v(false));
        ONE.virt().fails(r, EventNumber::C_BAD_CD, MISC, 0)
    }),
];

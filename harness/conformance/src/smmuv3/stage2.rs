//! Stage 2 alone and under stage 1.

use models::smmu::Attributes;
use spec::smmu::descriptor::Leaf2;
use spec::smmu::event::class;
use spec::smmu::ste::config;
use spec::smmu::{Command, EventNumber, EventRecord, Ste};

use crate::rig::{ABOVE, DATA, Dma, IPA, K4, K16, PAGE2, Rig, fault};
use crate::suite::{Check, Need, Row};

const READ: Dma = Dma::read(0x1000);
const WRITE: Dma = Dma::write(0x1000);
const PA: u64 = DATA + 0x1000;

/// The default stream with both stages.
fn nested(r: &mut Rig) -> Check {
    r.boot()?;
    r.nested();
    Ok(())
}

/// The default stream with stage 2 alone.
fn stage2_only(r: &mut Rig) -> Check {
    r.boot()?;
    r.stage2_only();
    Ok(())
}

/// A fault of stage 2 at page 0x1000.
const fn fault2(number: EventNumber, class: u64, ipa: u64) -> EventRecord {
    fault(number, 0x1000).with_stage2(class, ipa)
}

/// Intermediate address of the page that holds the default page's descriptor at `level`.
fn table(r: &mut Rig, level: u8) -> u64 {
    let space = r.one;
    (r.descriptor(&space, 0x1000, level) & !0xfff) + ABOVE
}

pub(super) const ROWS: &[Row] = &[
    Row::new("N01", "3.4.1", "An intermediate address outside S2T0SZ does not translate", |r| {
        stage2_only(r)?;
        r.reaches(READ, PA)?;
        let far = 1 << 40 | 0x1238;
        let record = fault(EventNumber::F_TRANSLATION, far);
        r.aborts(Dma::read(far), &[record.with_stage2(class::IN, far & !0xfff)])
    }),
    Row::new("N02", "7.3.16", "S2AP=1 permits reads and denies writes", |r| {
        stage2_only(r)?;
        r.page2(0x1000, |leaf| leaf.with_s2ap(1));
        r.reaches(READ, PA)?;
        r.aborts(WRITE, &[fault2(EventNumber::F_PERMISSION, class::IN, 0x1000).with_rnw(false)])
    }),
    Row::new("N03", "7.3.13", "Nested, a CD that stage 2 does not map: CLASS is CD, IPA its page", |r| {
        nested(r)?;
        let page = r.cd_at + ABOVE;
        r.page2(page, |_| Leaf2([0]));
        r.aborts(READ, &[fault2(EventNumber::F_TRANSLATION, class::CD, page)])
    }),
    Row::new("N04", "7.3.13", "Nested, a table that stage 2 does not map: CLASS is TT, IPA its page", |r| {
        nested(r)?;
        let page = table(r, 2);
        r.page2(page, |_| Leaf2([0]));
        r.aborts(READ, &[fault2(EventNumber::F_TRANSLATION, class::TT, page)])
    }),
    Row::new("N05", "7.3.13", "Nested, a page that stage 2 does not map: CLASS is IN, IPA that page", |r| {
        nested(r)?;
        r.reaches(READ, PA)?;
        r.page2(IPA + 0x1000, |_| Leaf2([0]));
        r.commands(&[Command::tlbi_s12_vmall(5)])?;
        r.aborts(READ, &[fault2(EventNumber::F_TRANSLATION, class::IN, IPA + 0x1000)])
    }),
    Row::new("N06", "3.12", "Nested, a permission fault of stage 1 hides what stage 2 would say", |r| {
        nested(r)?;
        r.page(0x1000, |leaf| leaf.with_ap(3));
        r.page2(IPA + 0x1000, |_| Leaf2([0]));
        r.aborts(WRITE, &[fault(EventNumber::F_PERMISSION, 0x1000).with_rnw(false)])
    }),
    Row::new("N07", "7.3.16", "Nested, stage 2 denies what stage 1 permits", |r| {
        nested(r)?;
        r.page2(IPA + 0x1000, |leaf| leaf.with_s2ap(1));
        let record = fault2(EventNumber::F_PERMISSION, class::IN, IPA + 0x1000);
        r.aborts(WRITE, &[record.with_rnw(false)])?;
        r.reaches(READ, PA)
    }),
    Row::new(
        "N08",
        "3.13.5",
        "Nested, an Access flag cannot be set in a table that stage 2 has read-only",
        |r| {
            nested(r)?;
            r.cd(|cd| cd.with_ha(true));
            r.page(0x1000, |leaf| leaf.with_af(false));
            let page = table(r, 3);
            r.page2(page, |leaf| leaf.with_s2ap(1));
            r.aborts(READ, &[fault2(EventNumber::F_PERMISSION, class::TT, page)])
        },
    )
    .needs(Need::Httu),
    Row::new("N09", "5.2", "S2PTW=1 denies walks through tables that stage 2 has as Device", |r| {
        nested(r)?;
        r.ste(1, |ste| ste.with_s2ptw(true));
        let page = table(r, 3);
        r.page2(page, |leaf| leaf.with_memattr(1));
        let record = fault2(EventNumber::F_PERMISSION, class::TT, page);
        r.aborts(READ, &[record.with_ttrnw(true)])
    }),
    Row::new(
        "N10",
        "5.2",
        "S2PTW=0 lets walks pass through such tables and reads them as Non-cacheable",
        |r| {
            nested(r)?;
            r.cd(|cd| cd.with_mair(0xff00).with_ir0(1).with_or0(1).with_sh0(3));
            let space = r.one;
            let at = r.descriptor(&space, 0x1000, 3);
            r.reaches_as(READ, PA, Attributes::COHERENT)?;
            r.accessed_as(at, Attributes::COHERENT)?;
            let page = table(r, 3);
            r.page2(page, |leaf| leaf.with_memattr(1));
            r.commands(&[Command::tlbi_s12_vmall(5), Command::tlbi_nsnh_all()])?;
            r.reaches_as(READ, PA, Attributes::COHERENT)?;
            r.accessed_as(at, Attributes::NOT_SNOOPED)
        },
    ),
    Row::new("N11", "5.2", "A 32-bit space of 4KB pages from level 2 on has four tables side by side", |r| {
        r.boot()?;
        let space = r.space(K4, 32, 2);
        for (i, ipa) in (0..4).map(|i| (i, i << 30 | 0x1000)) {
            r.map2(&space, ipa, DATA + (i << 16), 3, PAGE2);
        }
        r.ste(1, |_| space.under(Ste::default().with_v(true).with_config(config::S2)));
        (0..4).try_for_each(|i| r.reaches(Dma::read(i << 30 | 0x1000), DATA + (i << 16)))
    }),
    Row::new("N12", "5.2", "A 48-bit space of 16KB pages from level 1 on has two tables side by side", |r| {
        r.boot()?;
        let space = r.space(K16, 48, 1);
        r.map2(&space, 0x4000, DATA + 0x4000, 3, PAGE2);
        r.map2(&space, 1 << 47 | 0x4000, DATA + 0x8000, 3, PAGE2);
        r.ste(1, |_| space.under(Ste::default().with_v(true).with_config(config::S2)));
        r.reaches(Dma::read(0x4000), DATA + 0x4000)?;
        r.reaches(Dma::read(1 << 47 | 0x4000), DATA + 0x8000)
    }),
    Row::new("N13", "7.3.14", "A stage-2 page beyond S2PS is an address size fault", |r| {
        stage2_only(r)?;
        r.ste(1, |ste| ste.with_s2ps(0));
        r.page2(0x1000, |leaf| leaf.with_oa(1 << 32));
        r.aborts(READ, &[fault2(EventNumber::F_ADDR_SIZE, class::IN, 0x1000)])
    }),
    Row::new("N14", "7.3.16", "Stage 2 denies instruction fetches from XN pages", |r| {
        stage2_only(r)?;
        r.page2(0x1000, |leaf| leaf.with_xn(2));
        let denied = fault2(EventNumber::F_PERMISSION, class::IN, 0x1000).with_ind(true);
        r.reaches(READ, PA)?;
        r.aborts(READ.instruction(), &[denied])?;
        r.ste(1, |ste| ste.with_instcfg(3));
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.aborts(READ, &[denied])
    }),
    Row::new("N15", "3.12.2", "S2S=1 stalls on a fault of stage 2", |r| {
        stage2_only(r)?;
        r.ste(1, |ste| ste.with_s2s(true));
        r.page2(0x1000, |_| Leaf2([0]));
        let record = fault2(EventNumber::F_TRANSLATION, class::IN, 0x1000);
        let (tag, stag) = r.stalls(READ, record)?;
        r.page2(0x1000, |_| PAGE2.with_page(true).with_oa(PA));
        r.commands(&[Command::tlbi_s2_ipa(5, 0x1000, true), Command::resume(1, stag, true, false)])?;
        let there = r.peek(PA);
        r.answers(tag, models::dma::DmaResult::Ok(models::bus::Data::u64(there)))
    }),
];

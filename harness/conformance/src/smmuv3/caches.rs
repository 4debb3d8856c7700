//! What invalidations must remove, what they leave alone, and what may be used until then.

use spec::smmu::descriptor::{Leaf1, Leaf2};
use spec::smmu::event::class;
use spec::smmu::ste::config;
use spec::smmu::{Command, EventNumber, EventRecord, Ste};

use crate::rig::{DATA, Dma, IPA, K4, PAGE1, PAGE2, Rig, Space, fault, stage1_ste};
use crate::suite::{Check, Row};

const READ: Dma = Dma::read(0x1000);
const PA: u64 = DATA + 0x1000;
const OTHER: u64 = DATA + 0x5000;

const GONE: EventRecord = fault(EventNumber::F_TRANSLATION, 0x1000);

/// The default page is in the TLB and no longer in the table.
fn warm(r: &mut Rig) -> Check {
    r.boot()?;
    r.reaches(READ, PA)?;
    r.unmap(0x1000);
    Ok(())
}

/// Stream 2: stage 1 like stream 1, with page 0x1000 at [`OTHER`] and another ASID.
fn second(r: &mut Rig, leaf: Leaf1, aset: bool) -> Space {
    let space = r.stage1(K4, 48);
    r.map1(&space, 0x1000, OTHER, 3, leaf);
    let context = r.alloc(6);
    r.cd_in(context, |_| space.cd().with_asid(2).with_aset(aset));
    r.ste(2, |_| stage1_ste(context));
    space
}

/// Pages of the default stream, warm and then unmapped.
fn warm_pages(r: &mut Rig, pages: &[u64]) -> Check {
    r.boot()?;
    let space = r.one;
    for &page in pages {
        r.map1(&space, page, DATA + page, 3, PAGE1);
        r.reaches(Dma::read(page), DATA + page)?;
        r.unmap(page);
    }
    Ok(())
}

/// A 2MB block of the default stream, warm and then unmapped.
fn warm_block(r: &mut Rig) -> Check {
    r.boot()?;
    let space = r.one;
    r.map1(&space, 0x20_0000, DATA + 0x20_0000, 2, PAGE1);
    r.reaches(Dma::read(0x20_0000), DATA + 0x20_0000)?;
    let at = r.descriptor(&space, 0x20_0000, 2);
    r.poke(at, 0);
    Ok(())
}

fn faults(r: &mut Rig, addr: u64) -> Check {
    r.aborts(Dma::read(addr), &[fault(EventNumber::F_TRANSLATION, addr)])
}

pub(super) const ROWS: &[Row] = &[
    Row::new("I01", "4.4.2.4", "TLBI_NH_VA and CMD_SYNC remove a page that was unmapped", |r| {
        warm(r)?;
        r.commands(&[Command::tlbi_nh_va(1, 0, 0x1000, true)])?;
        r.aborts(READ, &[GONE])
    }),
    Row::new("I02", "4.4.2.2", "TLBI_NH_ASID leaves other ASIDs alone", |r| {
        warm(r)?;
        r.commands(&[Command::tlbi_nh_asid(2, 0)])?;
        r.reaches(READ, PA)?;
        r.commands(&[Command::tlbi_nh_asid(1, 0)])?;
        r.aborts(READ, &[GONE])
    }),
    Row::new(
        "I03",
        "3.17.1",
        "TLBI_NH_ASID leaves global pages alone; TLBI_NH_VA removes them for any ASID",
        |r| {
            r.boot()?;
            r.page(0x1000, |leaf| leaf.with_ng(false));
            r.reaches(READ, PA)?;
            r.unmap(0x1000);
            r.commands(&[Command::tlbi_nh_asid(1, 0)])?;
            r.reaches(READ, PA)?;
            r.commands(&[Command::tlbi_nh_va(7, 0, 0x1000, true)])?;
            r.aborts(READ, &[GONE])
        },
    ),
    Row::new("I04", "3.17", "A non-global page is found under its own ASID only", |r| {
        r.boot()?;
        second(r, PAGE1, false);
        r.reaches(READ, PA)?;
        r.reaches(READ.of(2), OTHER)?;
        r.reaches(READ, PA)
    }),
    Row::new("I05", "3.17.1", "A global page of one ASID set is not found by the other", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_ng(false));
        second(r, PAGE1.with_ng(false), true);
        r.reaches(READ, PA)?;
        r.reaches(READ.of(2), OTHER)?;
        r.reaches(READ, PA)
    }),
    Row::new("I06", "3.17.6", "CR0.VMW widens the VMID of invalidations, not of lookups", |r| {
        r.setup.cr0 = r.setup.cr0.with_vmw(1);
        r.boot()?;
        let pa = |sid: u32| DATA + u64::from(sid) * 0x1_0000;
        for sid in 5..=8_u32 {
            let space = r.space(K4, 40, 1);
            r.map2(&space, 0x1000, pa(sid), 3, PAGE2);
            let ste = Ste::default().with_v(true).with_config(config::S2);
            r.ste(sid, |_| space.under(ste).with_s2vmid(sid.into()));
            r.reaches(READ.of(sid), pa(sid))?;
            let at = r.descriptor(&space, 0x1000, 3);
            r.poke(at, 0);
        }
        r.commands(&[Command::tlbi_s12_vmall(6)])?;
        for sid in [5, 8] {
            r.reaches(READ.of(sid), pa(sid))?;
        }
        [6, 7].into_iter().try_for_each(|sid| {
            let record = EventRecord::translation(EventNumber::F_TRANSLATION, sid, None, 0x1000, false);
            r.aborts(READ.of(sid), &[record.with_stage2(class::IN, 0x1000)])
        })
    }),
    Row::new("I07", "4.4.3.1", "TLBI_S2_IPA removes a page of a stream with stage 2 alone", |r| {
        r.boot()?;
        r.stage2_only();
        r.reaches(READ, PA)?;
        r.page2(0x1000, |_| Leaf2([0]));
        r.commands(&[Command::tlbi_s2_ipa(5, 0x1000, true)])?;
        r.aborts(READ, &[GONE.with_stage2(class::IN, 0x1000)])
    }),
    Row::new("I08", "4.4.3", "Nested, TLBI_S2_IPA may leave a combined entry; TLBI_NH_ALL removes it", |r| {
        r.boot()?;
        r.nested();
        r.reaches(READ, PA)?;
        r.page2(IPA + 0x1000, |_| Leaf2([0]));
        r.commands(&[Command::tlbi_s2_ipa(5, IPA + 0x1000, true)])?;
        r.may_reach(READ, PA)?;
        r.commands(&[Command::tlbi_nh_all(5)])?;
        r.aborts(READ, &[GONE.with_stage2(class::IN, IPA + 0x1000)])
    }),
    Row::new("I09", "4.4.1.1", "A range of four 4KB pages removes these four", |r| {
        warm_pages(r, &[0x4000, 0x5000, 0x7000, 0x8000])?;
        let range = Command::tlbi_nh_va(1, 0, 0x4000, true).with_tg(1).with_num(3);
        r.commands(&[range])?;
        [0x4000, 0x5000, 0x7000].into_iter().try_for_each(|page| faults(r, page))?;
        r.may_reach(Dma::read(0x8000), DATA + 0x8000).map(|_| ())
    }),
    Row::new("I10", "4.4.1.1", "A range with TG, and with NUM, SCALE and TTL all 0, is illegal", |r| {
        r.boot()?;
        r.refuses(Command::tlbi_nh_va(1, 0, 0x1000, true).with_tg(1), 1)
    }),
    Row::new("I11", "4.4.1.1", "A level hint of 2 removes a 2MB block", |r| {
        warm_block(r)?;
        r.commands(&[Command::tlbi_nh_va(1, 0, 0x20_0000, true).with_tg(1).with_ttl(2)])?;
        faults(r, 0x20_0000)
    }),
    Row::new("I12", "4.4.1", "An address inside a block removes the block", |r| {
        warm_block(r)?;
        r.commands(&[Command::tlbi_nh_va(1, 0, 0x2f_f000, true)])?;
        faults(r, 0x20_0000)
    }),
    Row::new("I13", "4.3.1", "An STE may be used until CFGI_STE and CMD_SYNC, and not after", |r| {
        r.boot()?;
        r.reaches(READ, PA)?;
        r.ste(1, |ste| ste.with_config(config::ABORT));
        r.may_reach(READ, PA)?;
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.aborts(READ, &[])
    }),
    Row::new("I14", "4.3.3", "A new ASID counts after CFGI_CD; the old one keeps its translations", |r| {
        r.boot()?;
        r.reaches(READ, PA)?;
        r.page(0x1000, |leaf| leaf.with_oa(OTHER));
        r.cd(|cd| cd.with_asid(2));
        r.commands(&[Command::cfgi_cd(1, 0, true)])?;
        r.reaches(READ, OTHER)?;
        r.cd(|cd| cd.with_asid(1));
        r.commands(&[Command::cfgi_cd(1, 0, true)])?;
        r.reaches(READ, PA)
    }),
    Row::new("I15", "4.3.8", "CFGI_STE leaves translations alone", |r| {
        warm(r)?;
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.reaches(READ, PA)
    }),
    Row::new("I16", "3.21.1", "A page with AF=0 is not cached: AF=1 counts without an invalidation", |r| {
        r.boot()?;
        r.page(0x1000, |leaf| leaf.with_af(false));
        r.aborts(READ, &[fault(EventNumber::F_ACCESS, 0x1000)])?;
        r.page(0x1000, |leaf| leaf.with_af(true));
        r.reaches(READ, PA)
    }),
    Row::new("I17", "4.4.2.7", "TLBI_EL2_ALL leaves EL1 alone", |r| {
        warm(r)?;
        r.commands(&[Command::tlbi_el2_all()])?;
        r.reaches(READ, PA)
    }),
    Row::new("I18", "4.4.4.1", "TLBI_NSNH_ALL removes every VMID and ASID, stage 1 and stage 2", |r| {
        r.boot()?;
        let space = second(r, PAGE1.with_ng(false), false);
        let two = r.space(K4, 40, 1);
        r.map2(&two, 0x1000, DATA + 0x9000, 3, PAGE2);
        r.ste(3, |_| two.under(Ste::default().with_v(true).with_config(config::S2)));
        for (sid, pa) in [(1, PA), (2, OTHER), (3, DATA + 0x9000)] {
            r.reaches(READ.of(sid), pa)?;
        }
        for space in [r.one, space, two] {
            let at = r.descriptor(&space, 0x1000, 3);
            r.poke(at, 0);
        }
        r.commands(&[Command::tlbi_nsnh_all()])?;
        (1..=3).try_for_each(|sid| {
            let record = EventRecord::translation(EventNumber::F_TRANSLATION, sid, None, 0x1000, false);
            let two = record.with_stage2(class::IN, 0x1000);
            r.aborts(READ.of(sid), &[if sid == 3 { two } else { record }])
        })
    }),
    Row::new("I19", "4.4.1", "Of a contiguous range, all is gone when one page is invalidated", |r| {
        r.boot()?;
        let space = r.one;
        let page = |n: u64| 0x1_0000 + (n << 12);
        for n in 0..16 {
            r.map1(&space, page(n), DATA + page(n), 3, PAGE1.with_contiguous(true));
        }
        r.reaches(Dma::read(page(3)), DATA + page(3))?;
        r.reaches(Dma::read(page(7)), DATA + page(7))?;
        (0..16).for_each(|n| r.unmap(page(n)));
        r.commands(&[Command::tlbi_nh_va(1, 0, page(7), true)])?;
        faults(r, page(7))?;
        faults(r, page(3))
    }),
];

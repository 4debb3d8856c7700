//! From SubstreamID to CD, and which CDs are legal.

use spec::smmu::{Cd, Command, EventNumber, EventRecord};

use crate::rig::{DATA, Dma, IPA, K4, K16, PAGE1, Rig, same};
use crate::suite::{Check, Row};

const READ: Dma = Dma::read(0x1000);
const PA: u64 = DATA + 0x1000;
const OTHER: u64 = DATA + 0x5000;

/// The SubstreamID is recorded, and SSV is not.
const fn bad(ssid: u64) -> EventRecord {
    EventRecord::new(EventNumber::C_BAD_SUBSTREAMID, 1).with_ssid(ssid)
}
const DISABLED: EventRecord = EventRecord::new(EventNumber::F_STREAM_DISABLED, 1);

/// Traffic of stream 1 passes, and meets C_BAD_CD after this change of its CD.
fn illegal(r: &mut Rig, edit: impl FnOnce(Cd) -> Cd) -> Check {
    r.boot()?;
    r.reaches(READ, PA)?;
    r.cd(edit);
    r.commands(&[Command::cfgi_cd(1, 0, true)])?;
    r.aborts(READ, &[EventRecord::configuration(EventNumber::C_BAD_CD, 1, None)])
}

/// Another CD, which maps page 0x1000 to [`OTHER`].
fn other(r: &mut Rig) -> Cd {
    let space = r.stage1(K4, 48);
    r.map1(&space, 0x1000, OTHER, 3, PAGE1);
    space.cd().with_asid(9)
}

pub(super) const ROWS: &[Row] = &[
    Row::new("C01", "7.3.9", "Without stage 1 a SubstreamID is refused, and recorded without SSV", |r| {
        r.boot()?;
        r.stage2_only();
        r.aborts(READ.pasid(3), &[bad(3)])
    }),
    Row::new("C02", "7.3.9", "With one CD every SubstreamID is refused", |r| {
        r.boot()?;
        r.aborts(READ.pasid(0), &[bad(0)])
    }),
    Row::new("C03", "7.3.9", "A SubstreamID beyond S1CDMax is refused", |r| {
        r.boot()?;
        r.substreams(4);
        r.reaches(READ.pasid(15), PA)?;
        r.aborts(READ.pasid(16), &[bad(16)])
    }),
    Row::new("C04", "7.3.7", "S1DSS=0 refuses traffic without SubstreamID", |r| {
        r.boot()?;
        r.substreams(4);
        r.aborts(READ, &[DISABLED])
    }),
    Row::new(
        "C05",
        "5.2",
        "S1DSS=2 gives CD 0 to traffic without SubstreamID and refuses SubstreamID 0",
        |r| {
            r.boot()?;
            let table = r.substreams(4);
            r.ste(1, |ste| ste.with_s1dss(2));
            let cd = other(r);
            r.cd_in(table + 64, |_| cd);
            r.aborts(READ.pasid(0), &[DISABLED])?;
            r.reaches(READ.pasid(1), OTHER)?;
            r.reaches(READ, PA)
        },
    ),
    Row::new("C06", "5.2", "S1DSS=1 lets traffic without SubstreamID bypass stage 1; no CD is read", |r| {
        r.boot()?;
        r.nested();
        r.ste(1, |ste| ste.with_s1cdmax(4).with_s1dss(1));
        r.reaches(Dma::read(IPA + 0x1000), PA)?;
        let cd_at = r.cd_at;
        same("reading of the CD", r.world.reads.contains(&cd_at), false)
    }),
    Row::new("C07", "5.4.2", "A CD with V=0 is recorded", |r| illegal(r, |cd| cd.with_v(false))),
    Row::new("C08", "5.4.2", "Without small tables T0SZ=40 is illegal", |r| {
        illegal(r, |cd| cd.with_t0sz(40))
    }),
    Row::new("C09", "5.4.1.1", "EPD0=1 keeps T0SZ from being looked at", |r| {
        r.boot()?;
        let va = 0xffff_8000_0000_1000;
        let upper = r.stage1(K4, 48);
        r.map1(&upper, va, OTHER, 3, PAGE1);
        r.cd(|cd| upper.upper(cd.with_t0sz(40).with_epd0(true)));
        r.reaches(Dma::read(va), OTHER)
    }),
    Row::new("C10", "5.4.2", "A CD that stalls is illegal under S1STALLD", |r| {
        r.boot()?;
        r.ste(1, |ste| ste.with_s1stalld(true));
        r.cd(|cd| cd.with_s(true));
        r.aborts(READ, &[EventRecord::configuration(EventNumber::C_BAD_CD, 1, None)])
    }),
    Row::new("C11", "7.3.10", "An aborted read of a CD is recorded with its address", |r| {
        r.boot()?;
        let at = r.cd_at;
        r.break_at(at);
        r.aborts(READ, &[EventRecord::fetch(EventNumber::F_CD_FETCH, 1, None, at)])
    }),
    Row::new("C12", "7.3.9", "A level-1 CD descriptor with V=0 has no SubstreamIDs", |r| {
        r.boot()?;
        let table = r.alloc(6);
        r.ste(1, |ste| ste.with_s1contextptr(table).with_s1cdmax(8).with_s1fmt(1));
        r.aborts(READ.pasid(70), &[bad(70)])
    }),
    Row::new("C13", "5.4.2", "With 8-bit ASIDs a larger ASID is illegal", |r| {
        r.idr0(|idr0| idr0.with_asid16(false));
        illegal(r, |cd| cd.with_asid(0x100))
    }),
    Row::new("C14", "5.4.2", "A granule that is not supported is illegal", |r| {
        r.idr5(|idr5| idr5.with_gran16k(false));
        let space = r.stage1(K16, 47);
        illegal(r, |_| space.cd())
    }),
    Row::new("C15", "5.4.2", "A table beyond IPS is illegal", |r| {
        illegal(r, |cd| cd.with_ips(0).with_ttb0(1 << 32))
    }),
    Row::new(
        "C16",
        "4.3.3",
        "CFGI_CD acts on its stream; another stream may keep its copy of a shared CD",
        |r| {
            r.boot()?;
            r.ste(2, |_| crate::rig::stage1_ste(0));
            let context = r.cd_at;
            r.ste(2, |ste| ste.with_s1contextptr(context));
            r.reaches(READ, PA)?;
            r.reaches(READ.of(2), PA)?;
            let cd = other(r);
            r.cd(|_| cd);
            r.commands(&[Command::cfgi_cd(1, 0, true)])?;
            r.reaches(READ, OTHER)?;
            let kept = r.may_reach(READ.of(2), PA);
            if kept == Ok(true) { Ok(()) } else { r.reaches(READ.of(2), OTHER) }
        },
    ),
];

//! Stalls, ATS translation requests and translated accesses, what page requests ask of an STE (IHI 0070, 3.9, 3.12 and 8.1).

use models::smmu::features::IdrProfile;
use models::smmu::{CacheShape, Features, Request, RequestKind};
use spec::smmu::Ste;
use spec::smmu::descriptor::Leaf1;
use spec::smmu::page0::IDR5;

use super::bench::{Bench, NESTED_IPA};
use super::faults::{READ1, READ3, Row, WRITE1, check};

#[test]
fn stalls() {
    let mut bench = Bench::with(IdrProfile::STALLING, &CacheShape::default());
    bench.cd(1, |c| c.with_s(true));
    let want = "stall; F_TRANSLATION sid=0x1 addr=0x5000 read class=IN stall stag=0";
    assert_eq!(bench.say(Request::read(1, 0x5000)), want);
    let ats = Request::read(1, 0x5000).of_kind(RequestKind::AtsRequest { write: false });
    bench.ste(1, |s| s.with_eats(1));
    bench.caches.clear();
    assert_eq!(bench.say(ats), "success -- 0x0/12", "ATS never stalls");
    bench.ste(2, |s| s.with_s2s(true));
    let want = "stall; F_TRANSLATION sid=0x2 addr=0x5000 read class=IN s2 ipa=0x5000 stall stag=0";
    assert_eq!(bench.say(Request::read(2, 0x5000)), want);
}

/// The examples of IHI 0070, 13.7, and what STE.INSTCFG and STE.PRIVCFG change of them.
#[test]
fn grants() {
    const TR: Request = READ1.of_kind(RequestKind::AtsRequest { write: false }).with_ssid(1);
    const NW0: Request = TR.of_kind(RequestKind::AtsRequest { write: true });
    let page = |ap, uxn, pxn| move |leaf: Leaf1| leaf.with_ap(ap).with_uxn(uxn).with_pxn(pxn);
    let as_is = |ste: Ste| ste;
    let privcfg = |privcfg| move |ste: Ste| ste.with_privcfg(privcfg);
    let instcfg = |instcfg| move |ste: Ste| ste.with_instcfg(instcfg);
    type Row<'a> = (&'a str, &'a dyn Fn(Leaf1) -> Leaf1, &'a dyn Fn(Ste) -> Ste, Request, &'a str);
    let rows: &[Row<'_>] = &[
        ("read-only", &page(3, false, false), &as_is, TR, "r-"),
        ("written", &page(1, false, false), &as_is, NW0, "rw"),
        ("read-only, wants writes", &page(3, false, false), &as_is, NW0, "r-"),
        ("privileged", &page(0, false, false), &as_is, NW0.privileged(), "rw privileged"),
        ("XN", &page(1, true, true), &as_is, TR.instruction(), "rw"),
        ("XN, not asked", &page(1, true, true), &as_is, NW0, "rw"),
        ("X, not asked", &page(1, false, false), &as_is, NW0, "rw"),
        ("X", &page(1, false, false), &as_is, NW0.instruction(), "rwx"),
        ("execute only", &page(0, false, false), &as_is, NW0.instruction(), "--"),
        ("nothing, privileged", &|leaf| leaf.with_valid(false), &as_is, TR.privileged(), "-- privileged"),
        ("PXN", &page(3, false, true), &as_is, TR.instruction().privileged(), "r- privileged"),
        ("PRIVCFG=3", &page(0, false, true), &privcfg(3), TR, "rw"),
        ("PRIVCFG=2", &page(0, false, true), &privcfg(2), TR.privileged(), "-- privileged"),
        ("INSTCFG=3, execute only", &page(0, false, false), &instcfg(3), TR.instruction(), "r-x"),
        ("INSTCFG=3, not asked", &page(0, false, false), &instcfg(3), TR, "r-"),
        ("INSTCFG=3, XN", &page(3, true, true), &instcfg(3), TR.instruction(), "--"),
        ("INSTCFG=2, XN", &page(3, true, true), &instcfg(2), TR.instruction(), "r-x"),
        ("without PASID", &page(1, false, false), &as_is, Request { ssid: None, ..NW0.instruction() }, "rw"),
        ("without PASID", &page(0, false, false), &as_is, Request { ssid: None, ..NW0.privileged() }, "--"),
    ];
    for (name, leaf, ste, request, want) in rows {
        let mut b = Bench::new();
        let contexts = b.b.contexts(1);
        for cd in [contexts, contexts + 64] {
            b.b.set_words(cd, &b.s1.cd(7).0);
        }
        b.ste(1, |s| ste(s.with_eats(1).with_s1contextptr(contexts).with_s1cdmax(1).with_s1dss(2)));
        b.page(leaf);
        let said = b.say(*request);
        assert_eq!(said.split(" 0x").next(), Some(format!("success {want}").as_str()), "{name}: {said}");
    }
}

/// What permits nothing is as large as the smallest page that there is.
#[test]
fn nothing_has_the_size_of_the_smallest_unit() {
    for (smallest, tg0, granules) in [(12, 0, (true, true)), (14, 2, (false, true)), (16, 1, (false, false))]
    {
        let mut b = Bench::new();
        let idr5 = IDR5(b.control.features.idr.idr5.into()).with_gran4k(granules.0).with_gran16k(granules.1);
        let idr = IdrProfile { idr5: idr5.0 as u32, ..b.control.features.idr };
        b.control.features = Features::new(idr).unwrap();
        b.ste(1, |s| s.with_eats(1));
        b.cd(1, |c| c.with_tg0(tg0));
        let beyond = Request { addr: 1 << 50, ..READ1.of_kind(RequestKind::AtsRequest { write: true }) };
        assert_eq!(b.say(beyond), format!("success -- 0x0/{smallest}"));
    }
}

#[test]
fn ats() {
    const TR: Request = READ1.of_kind(RequestKind::AtsRequest { write: true });
    const TR3: Request = READ3.of_kind(RequestKind::AtsRequest { write: true });
    const TRANSLATED: Request = WRITE1.of_kind(RequestKind::AtsTranslated);
    fn on(b: &mut Bench) {
        b.ste(1, |s| s.with_eats(1));
        b.ste(3, |s| s.with_eats(1));
    }
    fn check_on(b: &mut Bench) {
        b.control.cr0 = b.control.cr0.with_atschk(true);
    }
    fn split(b: &mut Bench) {
        check_on(b);
        b.ste(3, |s| s.with_eats(2));
    }
    let rows: &[Row] = &[
        ("EATS=0", |_| (), TR, "UR; F_BAD_ATS_TREQ sid=0x1 addr=0x1000 span=1"),
        ("page", on, TR, "success rw 0x90001000/12"),
        ("nested", on, TR3, "success rw 0xb0001000/12"),
        ("block", on, Request { addr: 0x31_0000, ..TR }, "success rw 0x90200000/21"),
        ("not mapped", on, Request { addr: 0x5000, ..TR }, "success -- 0x0/12"),
        (
            "read-only",
            |b| {
                on(b);
                b.page(|l| l.with_ap(3));
            },
            TR,
            "success r- 0x90001000/12",
        ),
        (
            "privileged page",
            |b| {
                on(b);
                b.page(|l| l.with_ap(0));
            },
            TR,
            "success -- 0x0/12",
        ),
        ("bad STE", |b| b.ste(1, |s| s.with_v(false)), TR, "CA"),
        (
            "bad STE, recorded",
            |b| {
                b.features(|i0, i1| (i0.with_atsrecerr(true), i1));
                b.control.cr2 = b.control.cr2.with_rec_cfg_ats(true);
                b.ste(1, |s| s.with_v(false));
            },
            TR,
            "CA; C_BAD_STE sid=0x1",
        ),
        (
            "bad CD",
            |b| {
                on(b);
                b.cd(1, |c| c.with_v(false));
            },
            TR,
            "CA",
        ),
        ("abort", |b| b.ste(1, |s| s.with_config(0)), TR, "UR"),
        (
            "bypass",
            |b| b.ste(1, |s| s.with_config(4).with_eats(1)),
            TR,
            "UR; F_BAD_ATS_TREQ sid=0x1 addr=0x1000 span=1",
        ),
        (
            "S1DSS bypass",
            |b| b.ste(1, |s| s.with_eats(1).with_s1cdmax(3).with_s1dss(1)),
            TR,
            "success rw 0x0/48",
        ),
        (
            "split without ATSCHK",
            |b| b.ste(3, |s| s.with_eats(2)),
            TR3,
            "UR; F_BAD_ATS_TREQ sid=0x3 addr=0x1000 span=1",
        ),
        ("split", split, TR3, "success rw 0x200001000/12"),
        ("translated, unchecked", |_| (), TRANSLATED, "0x1234"),
        ("translated, beyond OAS", |_| (), Request { addr: 1 << 48, ..TRANSLATED }, "abort"),
        ("translated, EATS=0", check_on, TRANSLATED, "abort; F_TRANSL_FORBIDDEN sid=0x1 addr=0x1234 write"),
        (
            "translated, EATS=1",
            |b| {
                check_on(b);
                on(b);
            },
            TRANSLATED,
            "0x1234",
        ),
        (
            "translated, bad STE",
            |b| {
                check_on(b);
                b.ste(1, |s| s.with_v(false));
            },
            TRANSLATED,
            "abort",
        ),
        ("translated, split", split, Request { addr: NESTED_IPA + 4, sid: 3, ..TRANSLATED }, "0xb0001004"),
        (
            "translated, split, fault",
            split,
            Request { addr: 0x7000_0000, sid: 3, ..TRANSLATED },
            "abort; F_TRANSLATION sid=0x3 addr=0x70000000 write class=IN s2 ipa=0x70000000",
        ),
    ];
    check(rows);
}

/// What an STE says about the answer to a page request that an overflow discards.
#[test]
fn page_requests() {
    const PAGE: Request = READ1.with_ssid(3).of_kind(RequestKind::PageRequest);
    const NOBODY: Request = Request { sid: 1 << 20, ..PAGE };
    fn recorded(b: &mut Bench) {
        b.features(|i0, i1| (i0.with_atsrecerr(true), i1));
        b.control.cr2 = b.control.cr2.with_rec_cfg_ats(true);
    }
    let rows: &[Row] = &[
        ("PPAR=0", |_| (), PAGE, "PPAR 0"),
        ("PPAR=1", |b| b.ste(1, |s| s.with_ppar(true)), PAGE, "PPAR 1"),
        ("whatever it is for", |b| b.ste(1, |s| s.with_config(0).with_ppar(true)), PAGE, "PPAR 1"),
        ("bad STE", |b| b.ste(1, |s| s.with_v(false)), PAGE, "no STE"),
        (
            "bad STE, recorded",
            |b| {
                recorded(b);
                b.ste(1, |s| s.with_v(false));
            },
            PAGE,
            "no STE; C_BAD_STE sid=0x1 ssid=3",
        ),
        ("no such stream", |b| b.control.cr2 = b.control.cr2.with_recinvsid(true), NOBODY, "no STE"),
        (
            "no such stream, recorded",
            |b| {
                recorded(b);
                b.control.cr2 = b.control.cr2.with_recinvsid(true);
            },
            NOBODY,
            "no STE; C_BAD_STREAMID sid=0x100000 ssid=3",
        ),
        ("SMMUEN=0", |b| b.control.cr0 = b.control.cr0.with_smmuen(false), PAGE, "no STE"),
    ];
    check(rows);
}

/// What the bus cannot do is refused first of all.
#[test]
fn unsupported_transactions() {
    const READ: Request = Request { unsupported: true, ..READ1 };
    let rows: &[Row] = &[
        ("read", |_| (), READ, "abort; F_UUT sid=0x1 addr=0x1234 read"),
        (
            "privileged write with PASID",
            |_| (),
            Request { unsupported: true, ..WRITE1.with_ssid(3).privileged() },
            "abort; F_UUT sid=0x1 ssid=3 addr=0x1234 write privileged",
        ),
        ("instruction", |_| (), READ.instruction(), "abort; F_UUT sid=0x1 addr=0x1234 read instruction"),
        // The attributes of the bus, not those that the STE puts in their place.
        (
            "overridden",
            |b| b.ste(1, |s| s.with_privcfg(3).with_instcfg(3)),
            READ,
            "abort; F_UUT sid=0x1 addr=0x1234 read",
        ),
        (
            "SMMUEN=0",
            |b| b.control.cr0 = b.control.cr0.with_smmuen(false),
            READ,
            "abort; F_UUT sid=0x1 addr=0x1234 read",
        ),
        ("translated", |_| (), READ.of_kind(RequestKind::AtsTranslated), "abort"),
    ];
    check(rows);
}

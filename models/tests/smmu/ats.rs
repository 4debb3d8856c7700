//! Stalls, ATS translation requests and translated accesses, what page requests ask of an STE (IHI 0070, 3.9, 3.12 and 8.1).

use models::smmu::features::IdrProfile;
use models::smmu::{CacheShape, Request, RequestKind};

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

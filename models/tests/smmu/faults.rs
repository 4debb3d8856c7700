//! One row for every way in which a transaction can go, by the checks of IHI 0070, 3.4 and 7.3.

use models::smmu::features::IdrProfile;
use models::smmu::granule::Granule;
use models::smmu::tables::{PAGE1, PAGE2};
use models::smmu::{CacheShape, Request, RequestKind};
use spec::smmu::L1Std;
use spec::smmu::descriptor::Table;
use spec::smmu::page0::{CR0, CR2, GBPA, STRTAB_BASE_CFG};

use super::bench::{Bench, NESTED_IPA};

pub(super) type Row = (&'static str, fn(&mut Bench), Request, &'static str);

pub(super) fn check(rows: &[Row]) {
    for (name, set_up, request, want) in rows {
        for shape in [CacheShape::NONE, CacheShape::default()] {
            let mut bench = Bench::with(IdrProfile::STANDARD, &shape);
            set_up(&mut bench);
            assert_eq!(bench.say(*request), *want, "{name}");
            assert_eq!(bench.say(*request), *want, "{name}, again");
        }
    }
}

pub(super) const READ1: Request = Request::read(1, 0x1234);
pub(super) const WRITE1: Request = Request::write(1, 0x1234);
const READ2: Request = Request::read(2, 0x1234);
pub(super) const READ3: Request = Request::read(3, 0x1234);
const BAD_STE_1: &str = "abort; C_BAD_STE sid=0x1";
const BAD_STE_2: &str = "abort; C_BAD_STE sid=0x2";
const BAD_STE_3: &str = "abort; C_BAD_STE sid=0x3";
const BAD_CD_1: &str = "abort; C_BAD_CD sid=0x1";

#[test]
fn disabled() {
    let rows: &[Row] = &[
        ("bypass", |b| b.control.cr0 = CR0(0), READ1, "0x1234"),
        ("beyond OAS", |b| b.control.cr0 = CR0(0), Request::read(1, 1 << 48), "abort"),
        (
            "GBPA.ABORT",
            |b| {
                b.control.cr0 = CR0(0);
                b.control.gbpa = GBPA(0).with_abort(true);
            },
            READ1,
            "abort",
        ),
        (
            "ATS request",
            |b| b.control.cr0 = CR0(0),
            READ1.of_kind(RequestKind::AtsRequest { write: false }),
            "UR; F_BAD_ATS_TREQ sid=0x1 addr=0x1000 span=1",
        ),
        (
            "ATS translated",
            |b| b.control.cr0 = CR0(0),
            READ1.of_kind(RequestKind::AtsTranslated),
            "abort; F_TRANSL_FORBIDDEN sid=0x1 addr=0x1234 read",
        ),
    ];
    check(rows);
}

#[test]
fn stream_table() {
    fn two_level(b: &mut Bench, span: u64) {
        let ste = b.s1.ste(b.cds[0]);
        b.b.two_level_streams(12, 8);
        b.b.set_ste(0x10f, ste);
        b.b.set_ste(0x110, ste);
        let l1 = b.b.l1std_addr(0x10f);
        let desc = L1Std([b.b.word(l1)]).with_span(span);
        b.b.set_words(l1, &desc.0);
        b.b.install(&mut b.control);
    }
    let rows: &[Row] = &[
        ("outside the table", |_| (), Request::read(16, 0), "abort; C_BAD_STREAMID sid=0x10"),
        ("RECINVSID=0", |b| b.control.cr2 = CR2(0), Request::read(16, 0), "abort"),
        (
            "capped by SIDSIZE",
            |b| b.control.strtab_base_cfg = STRTAB_BASE_CFG(0).with_log2size(20),
            Request::read(0x1_0000, 0),
            "abort; C_BAD_STREAMID sid=0x10000",
        ),
        ("two levels", |b| two_level(b, 9), Request::read(0x110, 0x1234), "0x90001234"),
        ("span 5, last", |b| two_level(b, 5), Request::read(0x10f, 0x1234), "0x90001234"),
        ("span 5, beyond", |b| two_level(b, 5), Request::read(0x110, 0), "abort; C_BAD_STREAMID sid=0x110"),
        ("span 0", |b| two_level(b, 0), Request::read(0x10f, 0), "abort; C_BAD_STREAMID sid=0x10f"),
        (
            "span above split",
            |b| two_level(b, 10),
            Request::read(0x10f, 0),
            "abort; C_BAD_STREAMID sid=0x10f",
        ),
        ("span reserved", |b| two_level(b, 12), Request::read(0x10f, 0), "abort; C_BAD_STREAMID sid=0x10f"),
        ("never written", |_| (), Request::read(5, 0), "abort; C_BAD_STE sid=0x5"),
        ("V=0", |b| b.ste(1, |s| s.with_v(false)), READ1, BAD_STE_1),
        ("abort is silent", |b| b.ste(2, |s| s.with_config(0).with_s2tg(3)), READ2, "abort"),
        ("abort is silent, 3", |b| b.ste(2, |s| s.with_config(3)), READ2, "abort"),
        ("bypass", |b| b.ste(1, |s| s.with_config(4)), READ1, "0x1234"),
        (
            "bypass, beyond OAS",
            |b| b.ste(1, |s| s.with_config(4)),
            Request::read(1, 1 << 48),
            "abort; F_ADDR_SIZE sid=0x1 addr=0x1000000000000 read class=IN",
        ),
        (
            "stage 2, beyond IAS",
            |_| (),
            Request::write(2, 1 << 48),
            "abort; F_ADDR_SIZE sid=0x2 addr=0x1000000000000 write class=IN",
        ),
        ("S2TG reserved", |b| b.ste(2, |s| s.with_s2tg(3)), READ2, BAD_STE_2),
        ("S2T0SZ 40", |b| b.ste(2, |s| s.with_s2t0sz(40)), READ2, BAD_STE_2),
        ("S2T0SZ 15", |b| b.ste(2, |s| s.with_s2t0sz(15).with_s2sl0(2)), READ2, BAD_STE_2),
        ("S2SL0 does not fit", |b| b.ste(2, |s| s.with_s2t0sz(20)), READ2, BAD_STE_2),
        ("S2SL0 reserved", |b| b.ste(2, |s| s.with_s2sl0(3)), READ2, BAD_STE_2),
        ("S2TTB beyond S2PS", |b| b.ste(2, |s| s.with_s2ps(0).with_s2ttb(1 << 32)), READ2, BAD_STE_2),
        ("S2AA64=0", |b| b.ste(2, |s| s.with_s2aa64(false)), READ2, BAD_STE_2),
        ("S2HA", |b| b.ste(2, |s| s.with_s2ha(true)), READ2, BAD_STE_2),
        ("S2S without stalls", |b| b.ste(2, |s| s.with_s2s(true)), READ2, BAD_STE_2),
        ("S2ENDI", |b| b.ste(2, |s| s.with_s2endi(true)), READ2, BAD_STE_2),
        (
            "8-bit VMID",
            |b| {
                b.features(|i0, i1| (i0.with_vmid16(false), i1));
                b.ste(2, |s| s.with_s2vmid(0x100));
            },
            READ2,
            BAD_STE_2,
        ),
        (
            "8-bit VMID, stage 1",
            |b| {
                b.features(|i0, i1| (i0.with_vmid16(false), i1));
                b.ste(1, |s| s.with_s2vmid(0x100));
            },
            READ1,
            BAD_STE_1,
        ),
        ("no stage 1", |b| b.features(|i0, i1| (i0.with_s1p(false), i1)), READ1, BAD_STE_1),
        ("no stage 2", |b| b.features(|i0, i1| (i0.with_s2p(false), i1)), READ3, BAD_STE_3),
        ("S1CDMax", |b| b.ste(1, |s| s.with_s1cdmax(21)), READ1, BAD_STE_1),
        (
            "S1Fmt without CD2L",
            |b| {
                b.features(|i0, i1| (i0.with_cd2l(false), i1));
                b.ste(1, |s| s.with_s1cdmax(4).with_s1fmt(1));
            },
            READ1,
            BAD_STE_1,
        ),
        ("S1STALLD without stalls", |b| b.ste(1, |s| s.with_s1stalld(true)), READ1, BAD_STE_1),
        ("S1ContextPtr beyond OAS", |b| b.ste(1, |s| s.with_s1contextptr(1 << 48)), READ1, BAD_STE_1),
        ("STRW=1", |b| b.ste(1, |s| s.with_strw(1)), READ1, BAD_STE_1),
        ("STRW=1 is ignored", |b| b.ste(3, |s| s.with_strw(1)), READ3, "0xb0001234"),
        ("split ATS, stage 2", |b| b.ste(2, |s| s.with_eats(2)), READ2, BAD_STE_2),
    ];
    check(rows);
    let mut bench = Bench::new();
    let ste = bench.b.ste_addr(1);
    bench.b.break_word(ste);
    let want = format!("abort; F_STE_FETCH sid=0x1 fetch={ste:#x}");
    let got = bench.go(READ1).event().unwrap();
    assert_eq!((got.number(), got.fetchaddr()), (3, ste), "{want}");
}

#[test]
fn substreams() {
    fn table(b: &mut Bench, dss: u64) {
        let contexts = b.b.contexts(4);
        let ttb = b.s1.cd(7);
        for i in [0, 1, 5] {
            b.b.set_words(contexts + i * 64, &ttb.with_asid(i + 10).0);
        }
        let ste = b.s1.ste(contexts).with_s1cdmax(4).with_s1dss(dss);
        b.b.set_ste(1, ste);
    }
    fn two_levels(b: &mut Bench, fmt: u64, split: u8) {
        let contexts = b.b.two_level_contexts(2, split);
        let leaf = spec::smmu::L1Cd([b.b.word(contexts + 8)]).l2ptr();
        let cd = b.s1.cd(7);
        b.b.set_words(leaf + 3 * 64, &cd.0);
        b.b.set_words(contexts + 16, &[0]);
        let ste = b.s1.ste(contexts).with_s1cdmax(u64::from(split) + 2).with_s1fmt(fmt);
        b.b.set_ste(1, ste);
    }
    let bad = "abort; C_BAD_SUBSTREAMID sid=0x1 ssid=16";
    let rows: &[Row] = &[
        ("stage 2 only", |_| (), READ2.with_ssid(3), "abort; C_BAD_SUBSTREAMID sid=0x2 ssid=3"),
        ("S1CDMax=0", |_| (), READ1.with_ssid(16), bad),
        ("too large", |b| table(b, 0), READ1.with_ssid(16), bad),
        ("in the table", |b| table(b, 0), READ1.with_ssid(5), "0x90001234"),
        ("DSS terminate", |b| table(b, 0), READ1, "abort; F_STREAM_DISABLED sid=0x1"),
        ("DSS reserved", |b| table(b, 3), READ1, "abort; F_STREAM_DISABLED sid=0x1"),
        ("DSS bypass", |b| table(b, 1), READ1, "0x1234"),
        ("DSS bypass, SSID 0", |b| table(b, 1), READ1.with_ssid(0), "0x90001234"),
        ("DSS CD 0", |b| table(b, 2), READ1, "0x90001234"),
        ("DSS CD 0, SSID 0", |b| table(b, 2), READ1.with_ssid(0), "abort; F_STREAM_DISABLED sid=0x1"),
        ("DSS CD 0, SSID 1", |b| table(b, 2), READ1.with_ssid(1), "0x90001234"),
        ("not valid", |b| table(b, 0), READ1.with_ssid(2), "abort; C_BAD_CD sid=0x1 ssid=2"),
        (
            "DSS bypass, nested",
            |b| b.ste(3, |s| s.with_s1cdmax(4).with_s1dss(1)),
            Request::read(3, NESTED_IPA),
            "0xb0001000",
        ),
        ("4KB leaves", |b| two_levels(b, 1, 6), READ1.with_ssid(64 + 3), "0x90001234"),
        (
            "4KB leaves, none",
            |b| two_levels(b, 1, 6),
            READ1.with_ssid(128),
            "abort; C_BAD_SUBSTREAMID sid=0x1 ssid=128",
        ),
        ("64KB leaves", |b| two_levels(b, 2, 10), READ1.with_ssid(1024 + 3), "0x90001234"),
    ];
    check(rows);
}

#[test]
fn context_descriptors() {
    let rows: &[Row] = &[
        ("V=0", |b| b.cd(1, |c| c.with_v(false)), READ1, BAD_CD_1),
        ("AA64=0", |b| b.cd(1, |c| c.with_aa64(false)), READ1, BAD_CD_1),
        ("T0SZ", |b| b.cd(1, |c| c.with_t0sz(40)), READ1, BAD_CD_1),
        ("T0SZ small", |b| b.cd(1, |c| c.with_t0sz(15)), READ1, BAD_CD_1),
        ("TG0 reserved", |b| b.cd(1, |c| c.with_tg0(3)), READ1, BAD_CD_1),
        (
            "other half illegal",
            |b| b.cd(1, |c| c.with_epd1(false).with_t1sz(16).with_tg1(0)),
            READ1,
            BAD_CD_1,
        ),
        ("S without stalls", |b| b.cd(1, |c| c.with_s(true)), READ1, BAD_CD_1),
        ("HA", |b| b.cd(1, |c| c.with_ha(true)), READ1, BAD_CD_1),
        ("ENDI", |b| b.cd(1, |c| c.with_endi(true)), READ1, BAD_CD_1),
        ("TTB0 beyond IPS", |b| b.cd(1, |c| c.with_ips(0).with_ttb0(1 << 32)), READ1, BAD_CD_1),
        (
            "8-bit ASID",
            |b| {
                b.features(|i0, i1| (i0.with_asid16(false), i1));
                b.cd(1, |c| c.with_asid(0x100));
            },
            READ1,
            BAD_CD_1,
        ),
        (
            "TERM_MODEL",
            |b| {
                b.features(|i0, i1| (i0.with_term_model(true), i1));
                b.cd(1, |c| c.with_a(false));
            },
            READ1,
            BAD_CD_1,
        ),
    ];
    check(rows);
    let mut bench = Bench::new();
    bench.b.break_word(bench.cds[0]);
    let got = bench.go(READ1).event().unwrap();
    assert_eq!((got.number(), got.fetchaddr()), (9, bench.cds[0]));
}

#[test]
fn stage_1() {
    let none = "abort; F_TRANSLATION sid=0x1 addr=0x5000 read class=IN";
    let denied = "abort; F_PERMISSION sid=0x1 addr=0x1234 write class=IN";
    let rows: &[Row] = &[
        ("page", |_| (), READ1, "0x90001234"),
        ("2MB block", |_| (), Request::write(1, 0x31_2345), "0x90312345"),
        ("1GB block", |_| (), Request::read(1, 0x7fff_ffff), "0x13fffffff"),
        ("not mapped", |_| (), Request::read(1, 0x5000), none),
        ("A=1 R=0", |b| b.cd(1, |c| c.with_r(false)), Request::read(1, 0x5000), "abort"),
        (
            "A=0 R=1",
            |b| b.cd(1, |c| c.with_a(false)),
            Request::read(1, 0x5000),
            "raz/wi; F_TRANSLATION sid=0x1 addr=0x5000 read class=IN",
        ),
        ("A=0 R=0", |b| b.cd(1, |c| c.with_a(false).with_r(false)), Request::write(1, 0x5000), "raz/wi"),
        (
            "beyond T0SZ",
            |_| (),
            Request::read(1, 1 << 48),
            "abort; F_TRANSLATION sid=0x1 addr=0x1000000000000 read class=IN",
        ),
        (
            "top byte",
            |_| (),
            Request::read(1, 0x5a00_0000_0000_1234),
            "abort; F_TRANSLATION sid=0x1 addr=0x5a00000000001234 read class=IN",
        ),
        (
            "top byte ignored",
            |b| b.cd(1, |c| c.with_tbi0(true)),
            Request::read(1, 0x5a00_0000_0000_1234),
            "0x90001234",
        ),
        (
            "upper half disabled",
            |b| b.cd(1, |c| c.with_tbi1(true)),
            Request::read(1, 0x80_0000_0000_1234),
            "abort; F_TRANSLATION sid=0x1 addr=0x80000000001234 read class=IN",
        ),
        (
            "block at level 3",
            |b| b.page(|l| l.with_page(false)),
            READ1,
            "abort; F_TRANSLATION sid=0x1 addr=0x1234 read class=IN",
        ),
        (
            "output beyond IPS",
            |b| {
                b.cd(1, |c| c.with_ips(0));
                b.page(|l| l.with_oa(1 << 32));
            },
            READ1,
            "abort; F_ADDR_SIZE sid=0x1 addr=0x1234 read class=IN",
        ),
        (
            "AF=0",
            |b| b.page(|l| l.with_af(false)),
            READ1,
            "abort; F_ACCESS sid=0x1 addr=0x1234 read class=IN",
        ),
        (
            "AF=0, read-only",
            |b| b.page(|l| l.with_af(false).with_ap(3)),
            WRITE1,
            "abort; F_ACCESS sid=0x1 addr=0x1234 write class=IN",
        ),
        (
            "AFFD",
            |b| {
                b.page(|l| l.with_af(false));
                b.cd(1, |c| c.with_affd(true));
            },
            READ1,
            "0x90001234",
        ),
        ("read-only", |b| b.page(|l| l.with_ap(3)), WRITE1, denied),
        ("read-only, read", |b| b.page(|l| l.with_ap(3)), READ1, "0x90001234"),
        (
            "privileged page",
            |b| b.page(|l| l.with_ap(2)),
            READ1,
            "abort; F_PERMISSION sid=0x1 addr=0x1234 read class=IN",
        ),
        (
            "PRIVCFG",
            |b| {
                b.page(|l| l.with_ap(2));
                b.ste(1, |s| s.with_privcfg(3));
            },
            READ1,
            "0x90001234",
        ),
        (
            "PRIVCFG not implemented",
            |b| {
                b.features(|i0, i1| (i0, i1.with_attr_perms_ovr(false)));
                b.page(|l| l.with_ap(2));
                b.ste(1, |s| s.with_privcfg(3));
            },
            READ1,
            "abort; F_PERMISSION sid=0x1 addr=0x1234 read class=IN",
        ),
        (
            "PAN",
            |b| b.cd(1, |c| c.with_pan(true)),
            READ1.privileged(),
            "abort; F_PERMISSION sid=0x1 addr=0x1234 read privileged class=IN",
        ),
        (
            "UXN",
            |b| b.page(|l| l.with_uxn(true)),
            READ1.instruction(),
            "abort; F_PERMISSION sid=0x1 addr=0x1234 read instruction class=IN",
        ),
        ("UXN, data", |b| b.page(|l| l.with_uxn(true)), READ1, "0x90001234"),
        (
            "WXN",
            |b| b.cd(1, |c| c.with_wxn(true)),
            READ1.instruction(),
            "abort; F_PERMISSION sid=0x1 addr=0x1234 read instruction class=IN",
        ),
        ("writes are data", |b| b.page(|l| l.with_uxn(true)), WRITE1.instruction(), "0x90001234"),
        ("APTable", |b| table_ap(b), WRITE1, denied),
        (
            "HAD",
            |b| {
                table_ap(b);
                b.cd(1, |c| c.with_had0(true));
            },
            WRITE1,
            "0x90001234",
        ),
        (
            "E0PD",
            |b| b.cd(1, |c| c.with_e0pd0(true)),
            READ1,
            "abort; F_TRANSLATION sid=0x1 addr=0x1234 read class=IN",
        ),
        ("E0PD, privileged", |b| b.cd(1, |c| c.with_e0pd0(true)), READ1.privileged(), "0x90001234"),
        ("EL2", |b| b.ste(1, |s| s.with_strw(2)), READ1, "0x90001234"),
        (
            "EL2, privileged page",
            |b| {
                b.page(|l| l.with_ap(0));
                b.ste(1, |s| s.with_strw(2));
            },
            READ1,
            "0x90001234",
        ),
        (
            "EL2, upper half",
            |b| b.ste(1, |s| s.with_strw(2)),
            Request::read(1, 1 << 63),
            "abort; F_TRANSLATION sid=0x1 addr=0x8000000000000000 read class=IN",
        ),
        ("atomic on read-only", |b| b.page(|l| l.with_ap(3)), Request { atomic: true, ..WRITE1 }, denied),
    ];
    fn table_ap(b: &mut Bench) {
        let addr = b.b.descriptor(&b.s1, 0x1000, 2);
        let table = Table([b.b.word(addr)]).with_aptable(2);
        b.b.set_words(addr, &table.0);
    }
    check(rows);
    let mut bench = Bench::new();
    let descriptor = bench.b.descriptor(&bench.s1, 0x1000, 3);
    bench.b.break_word(descriptor);
    let got = bench.go(WRITE1).event().unwrap();
    assert_eq!(
        (got.number(), got.fetchaddr(), got.s2(), got.class(), got.rnw()),
        (0xb, descriptor, false, 1, false)
    );
}

#[test]
fn stage_2_and_nested() {
    let rows: &[Row] = &[
        ("page", |_| (), READ2, "0xa0001234"),
        ("block", |_| (), Request::write(2, 0x31_2345), "0xa0312345"),
        (
            "beyond S2T0SZ",
            |_| (),
            Request::read(2, 1 << 40),
            "abort; F_TRANSLATION sid=0x2 addr=0x10000000000 read class=IN s2 ipa=0x10000000000",
        ),
        ("S2R=0", |b| b.ste(2, |s| s.with_s2r(false)), Request::read(2, 0x5000), "abort"),
        (
            "read-only",
            |b| b.leaf2(b.s2, 0x1000, 3, |l| l.with_s2ap(1)),
            Request::write(2, 0x1234),
            "abort; F_PERMISSION sid=0x2 addr=0x1234 write class=IN s2 ipa=0x1000",
        ),
        ("read-only, read", |b| b.leaf2(b.s2, 0x1000, 3, |l| l.with_s2ap(1)), READ2, "0xa0001234"),
        (
            "atomic on write-only",
            |b| b.leaf2(b.s2, 0x1000, 3, |l| l.with_s2ap(2)),
            Request { atomic: true, ..Request::write(2, 0x1234) },
            "abort; F_PERMISSION sid=0x2 addr=0x1234 read class=IN s2 ipa=0x1000",
        ),
        (
            "AF=0",
            |b| b.leaf2(b.s2, 0x1000, 3, |l| l.with_af(false)),
            READ2,
            "abort; F_ACCESS sid=0x2 addr=0x1234 read class=IN s2 ipa=0x1000",
        ),
        (
            "S2AFFD",
            |b| {
                b.leaf2(b.s2, 0x1000, 3, |l| l.with_af(false));
                b.ste(2, |s| s.with_s2affd(true));
            },
            READ2,
            "0xa0001234",
        ),
        (
            "output beyond S2PS",
            |b| {
                b.ste(2, |s| s.with_s2ps(0));
                b.leaf2(b.s2, 0x1000, 3, |l| l.with_oa(1 << 32));
            },
            READ2,
            "abort; F_ADDR_SIZE sid=0x2 addr=0x1234 read class=IN s2 ipa=0x1000",
        ),
        (
            "XN",
            |b| b.leaf2(b.s2, 0x1000, 3, |l| l.with_xn(2)),
            READ2.instruction(),
            "abort; F_PERMISSION sid=0x2 addr=0x1234 read instruction class=IN s2 ipa=0x1000",
        ),
        ("nested", |_| (), READ3, "0xb0001234"),
        ("nested, block over pages", |_| (), Request::read(3, 0x20_1234), "0xb0001234"),
        (
            "nested, CD not mapped",
            |b| b.ste(3, |s| s.with_s1contextptr(0x3000_0040)),
            READ3,
            "abort; F_TRANSLATION sid=0x3 addr=0x1234 read class=CD s2 ipa=0x30000000",
        ),
        (
            "nested, table not mapped",
            |b| b.cd(3, |c| c.with_ttb0(0x3000_0000)),
            READ3,
            "abort; F_TRANSLATION sid=0x3 addr=0x1234 read class=TT s2 ipa=0x30000000",
        ),
        (
            "nested, output not mapped",
            |b| b.b.unmap(&b.n2.clone(), NESTED_IPA, 3),
            READ3,
            "abort; F_TRANSLATION sid=0x3 addr=0x1234 read class=IN s2 ipa=0x200001000",
        ),
        (
            "nested, stage 1 first",
            |b| {
                b.b.map1(&b.n1.clone(), 0x1000, NESTED_IPA, 3, PAGE1.with_ap(3));
                b.b.unmap(&b.n2.clone(), NESTED_IPA, 3);
            },
            Request::write(3, 0x1234),
            "abort; F_PERMISSION sid=0x3 addr=0x1234 write class=IN",
        ),
        (
            "nested, read-only at stage 2",
            |b| b.leaf2(b.n2, NESTED_IPA, 3, |l| l.with_s2ap(1)),
            Request::write(3, 0x1234),
            "abort; F_PERMISSION sid=0x3 addr=0x1234 write class=IN s2 ipa=0x200001000",
        ),
        (
            "nested, stage-2 fault is not governed by CD",
            |b| {
                b.cd(3, |c| c.with_a(false).with_r(false));
                b.b.unmap(&b.n2.clone(), NESTED_IPA, 3);
            },
            READ3,
            "abort; F_TRANSLATION sid=0x3 addr=0x1234 read class=IN s2 ipa=0x200001000",
        ),
        (
            "S2PTW, Device tables",
            |b| {
                b.b.map2(&b.n2.clone(), 0x6000_0000, 0x8000_0000, 2, PAGE2.with_memattr(1));
                b.cd(3, |c| c.with_ttb0(c.ttb0() + 0x2000_0000));
                b.ste(3, |s| s.with_s2ptw(true));
            },
            READ3,
            "abort; F_PERMISSION sid=0x3 addr=0x1234 read class=TT s2 ipa=0x6000c000",
        ),
        (
            "Device tables",
            |b| {
                b.b.map2(&b.n2.clone(), 0x6000_0000, 0x8000_0000, 2, PAGE2.with_memattr(1));
                b.cd(3, |c| c.with_ttb0(c.ttb0() + 0x2000_0000));
            },
            READ3,
            "0xb0001234",
        ),
    ];
    check(rows);
}

#[test]
fn geometry() {
    for (granule, bits, level, page) in [
        (Granule::K4, 48, 3, 12),
        (Granule::K4, 39, 3, 12),
        (Granule::K4, 30, 2, 21),
        (Granule::K16, 48, 3, 14),
        (Granule::K16, 36, 2, 25),
        (Granule::K64, 48, 3, 16),
        (Granule::K64, 42, 2, 29),
    ] {
        let mut bench = Bench::uncached();
        let input = (1 << (bits - 1)) | 1 << page;
        let space = bench.b.stage1(granule, bits, 0);
        bench.b.map1(&space, input, 0xf0_0000_0000, level, PAGE1);
        let upper = space.upper_of(bench.s1.cd(1));
        let cd = bench.b.context(&space.cd(1), 0);
        bench.b.set_ste(4, space.ste(cd));
        let cd = bench.b.context(&upper, 0);
        bench.b.set_ste(5, space.ste(cd));
        assert_eq!(bench.say(Request::read(4, input + 0x123)), "0xf000000123", "{granule:?} {bits}");
        let above = input | !0 << bits;
        assert_eq!(bench.say(Request::read(5, above + 0x123)), "0xf000000123", "{granule:?} {bits} upper");
    }
    for (granule, bits, start) in [
        (Granule::K4, 48, 0),
        (Granule::K4, 40, 1),
        (Granule::K4, 43, 1),
        (Granule::K4, 32, 2),
        (Granule::K16, 48, 1),
        (Granule::K16, 40, 2),
        (Granule::K64, 48, 1),
        (Granule::K64, 33, 3),
    ] {
        let mut bench = Bench::uncached();
        let input = (1 << (bits - 1)) | 3 << granule.bits();
        let space = bench.b.stage2(granule, bits, start);
        bench.b.map2(&space, input, 0xf0_0000_0000, 3, PAGE2);
        bench.b.set_ste(4, space.ste(0));
        assert_eq!(
            bench.say(Request::read(4, input + 0x123)),
            "0xf000000123",
            "{granule:?} {bits} from {start}"
        );
    }
}

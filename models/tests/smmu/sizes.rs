//! 52-bit addresses, execute permissions of both stages, and hierarchical attributes: rows that need features or tables of their own.

use models::smmu::features::IdrProfile;
use models::smmu::granule::Granule;
use models::smmu::tables::{PAGE1, PAGE2};
use models::smmu::{CacheShape, Features, Request};
use spec::smmu::descriptor::{Leaf1, Leaf2, Table};
use spec::smmu::page0::{IDR3, IDR5};

use super::bench::Bench;

/// 52-bit virtual and physical addresses.
fn wide() -> Bench {
    let idr5 = IDR5(IdrProfile::STANDARD.idr5.into()).with_oas(6).with_vax(1).0 as u32;
    Bench::with(IdrProfile { idr5, ..IdrProfile::STANDARD }, &CacheShape::default())
}

#[test]
fn addresses_of_52_bits() {
    const FAR: u64 = 0xf_8000_0000_0000;
    let high = |leaf: Leaf1| leaf.with_oa_hi(0xa);
    let mut b = wide();
    let s1 = b.b.stage1(Granule::K64, 52, 0);
    // A page, a block of 512MB, one of 4TB.
    for (input, level, output) in [(FAR, 3, 0x1234_0000), (1 << 29, 2, 3 << 29), (1 << 42, 1, 5 << 42)] {
        b.b.map1(&s1, input, output, level, PAGE1);
        let at = b.b.descriptor(&s1, input, level);
        let word = b.b.word(at);
        b.b.set_words(at, &high(Leaf1([word])).0);
    }
    let cd = b.b.context(&s1.cd(20).with_ips(6), 0);
    b.b.set_ste(4, s1.ste(cd));
    let narrow = b.b.context(&s1.cd(21), 0);
    b.b.set_ste(5, s1.ste(narrow));
    for (addr, want) in [
        (FAR + 0x5678, "0xa000012345678"),
        ((1 << 29) + 0x1abc_def0, "0xa00007abcdef0"),
        ((1 << 42) + 0x3ff_ffff_ffff, "0xa17ffffffffff"),
        (1 << 52, "abort; F_TRANSLATION sid=0x4 addr=0x10000000000000 read class=IN"),
    ] {
        assert_eq!(b.say(Request::read(4, addr)), want, "{addr:#x}");
    }
    // With a smaller IPS the same addresses are too large.
    let want = "abort; F_ADDR_SIZE sid=0x5 addr=0x20000000 read class=IN";
    assert_eq!(b.say(Request::read(5, 1 << 29)), want);
    // Other granules reach 48 bits: their descriptors have no more.
    let s1 = b.b.stage1(Granule::K4, 48, 0);
    b.b.map1(&s1, 0x1000, 0x9000_a000, 3, PAGE1);
    let cd = b.b.context(&s1.cd(22).with_ips(6), 0);
    b.b.set_ste(6, s1.ste(cd));
    assert_eq!(b.say(Request::read(6, 0x1000)), "0x9000a000");
    // Stage 2, concatenated from the first level on.
    let s2 = b.b.stage2(Granule::K64, 52, 1);
    b.b.map2(&s2, FAR, 0x1234_0000, 3, PAGE2.with_oa_hi(7));
    let at = b.b.descriptor(&s2, FAR, 3);
    let word = b.b.word(at);
    b.b.set_words(at, &Leaf2([word]).with_oa_hi(7).0);
    b.b.set_ste(7, s2.ste(0).with_s2ps(6));
    assert_eq!(b.say(Request::read(7, FAR + 1)), "0x7000012340001");
}

/// Stage-2 execute permission with and without XNX; the privilege is that after the overrides.
#[test]
fn stage_2_execution() {
    for (xnx, rows) in [
        (true, [(0, "ok ok"), (1, "no ok"), (2, "no no"), (3, "ok no")]),
        (false, [(0, "ok ok"), (1, "ok ok"), (2, "no no"), (3, "no no")]),
    ] {
        for (xn, want) in rows {
            let mut b = Bench::new();
            let idr = b.control.features.idr;
            let idr3 = IDR3(idr.idr3.into()).with_xnx(xnx).0 as u32;
            b.control.features = Features::new(IdrProfile { idr3, ..idr }).unwrap();
            b.leaf2(b.s2, 0x1000, 3, |l| l.with_xn(xn));
            let mut go = |privcfg| {
                b.ste(2, |s| s.with_privcfg(privcfg));
                b.caches.clear();
                let said = b.say(Request::read(2, 0x1000).instruction());
                if said == "0xa0001000" { "ok" } else { "no" }
            };
            assert_eq!(format!("{} {}", go(3), go(2)), want, "xnx={xnx} xn={xn}");
            assert_eq!(b.say(Request::read(2, 0x1000)), "0xa0001000", "data");
        }
    }
}

/// Attributes of table descriptors, at any level, unless the CD disables them.
#[test]
fn hierarchy() {
    type Change = fn(Table) -> Table;
    let fetch = Request::read(1, 0x1000).instruction();
    let write = Request::write(1, 0x1000);
    let rows: [(&str, Change, u64, Request); 5] = [
        ("no writes", |t| t.with_aptable(2), 1, write),
        ("no unprivileged reads", |t| t.with_aptable(1), 1, Request::read(1, 0x1000)),
        ("no writes of a privileged page", |t| t.with_aptable(2), 0, write.privileged()),
        ("UXNTable", |t| t.with_uxntable(true), 3, fetch),
        ("PXNTable", |t| t.with_pxntable(true), 3, fetch.privileged()),
    ];
    for (name, change, ap, request) in rows {
        for level in 0..3 {
            for (had, cached) in [(false, false), (true, false), (false, true)] {
                let mut b = Bench::new();
                b.page(|l| l.with_ap(ap));
                b.cd(1, |c| c.with_had0(had));
                let at = b.b.descriptor(&b.s1.clone(), 0x1000, level);
                let table = Table([b.b.word(at)]);
                b.b.set_words(at, &change(table).0);
                if cached {
                    // Walk caches keep what was above.
                    b.go(Request::read(1, 0x3000));
                }
                let denied = b.say(request).starts_with("abort; F_PERMISSION");
                assert_eq!(denied, !had, "{name} at level {level}, HAD={had}, cached={cached}");
            }
        }
    }
}

/// The upper half has bits of its own: EPD, TBI, HAD, E0PD, granule and size.
#[test]
fn upper_half() {
    const HIGH: u64 = 0xffff_ff80_0000_1000;
    let mut b = Bench::new();
    let upper = b.b.stage1(Granule::K16, 39, 0);
    b.b.map1(&upper, HIGH & !0x3fff, 0x9100_0000, 3, PAGE1.with_ap(3));
    let at = b.b.descriptor(&upper, HIGH, 2);
    let table = Table([b.b.word(at)]).with_uxntable(true);
    b.b.set_words(at, &table.0);
    let cd = upper.upper_of(b.s1.cd(7));
    b.cd(1, |_| cd);
    let none = |addr: u64| format!("abort; F_TRANSLATION sid=0x1 addr={addr:#x} read class=IN");
    let tagged = HIGH & ((1 << 56) - 1) | 0x5a << 56;
    let denied = format!("abort; F_PERMISSION sid=0x1 addr={HIGH:#x} read instruction class=IN");
    type Change = fn(spec::smmu::Cd) -> spec::smmu::Cd;
    let rows: [(&str, Change, Request, String); 9] = [
        ("mapped", |c| c, Request::read(1, HIGH), "0x91001000".into()),
        ("lower half", |c| c, Request::read(1, 0x1234), "0x90001234".into()),
        ("below the range", |c| c, Request::read(1, 0xffff_ff00_0000_1000), none(0xffff_ff00_0000_1000)),
        ("EPD1", |c| c.with_epd1(true), Request::read(1, HIGH), none(HIGH)),
        ("EPD0", |c| c.with_epd0(true), Request::read(1, 0x1234), none(0x1234)),
        ("TBI0 is of the other half", |c| c.with_tbi0(true), Request::read(1, tagged), none(tagged)),
        ("TBI1", |c| c.with_tbi1(true), Request::read(1, tagged), "0x91001000".into()),
        ("E0PD1", |c| c.with_e0pd1(true), Request::read(1, HIGH), none(HIGH)),
        ("UXNTable, HAD0", |c| c.with_had0(true), Request::read(1, HIGH).instruction(), denied),
    ];
    for (name, change, request, want) in rows {
        b.cd(1, |_| change(cd));
        b.caches.clear();
        assert_eq!(b.say(request), want, "{name}");
    }
    b.cd(1, |_| cd.with_had1(true).with_e0pd0(true));
    b.caches.clear();
    assert_eq!(b.say(Request::read(1, HIGH).instruction()), "0x91001000", "HAD1");
}

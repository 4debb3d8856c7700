//! Hardware update of the Access flag and dirty state (IHI 0070, 3.13): what is written, when, and what software sees.

use models::bus::{Abort, Data, PhysAddr};
use models::smmu::features::IdrProfile;
use models::smmu::tables::Builder;
use models::smmu::{
    Attributes, CacheShape, Outcome, Request, RequestKind, TableMemory, Translation, translate_now,
};
use spec::smmu::Command;
use spec::smmu::descriptor::{Leaf1, Leaf2, Table};
use spec::smmu::page0::IDR0;

use super::bench::{Bench, NESTED_IPA, say};
use super::faults::{READ1, READ3, WRITE1};

const READ2: Request = Request::read(2, 0x1234);
const WRITE2: Request = Request::write(2, 0x1234);
const WRITE3: Request = Request::write(3, 0x1234);
const CLEAN1: fn(Leaf1) -> Leaf1 = |l| l.with_ap(3).with_dbm(true);
const CLEAN2: fn(Leaf2) -> Leaf2 = |l| l.with_s2ap(1).with_dbm(true);

/// Memory in which software may be faster than an update.
struct Racy<'a, 'b> {
    builder: &'a mut Builder,
    /// Called before an update, with its address.
    meddle: &'b mut dyn FnMut(&mut Builder, u64),
    log: Vec<(u64, u64, u64)>,
}

impl TableMemory for &mut Racy<'_, '_> {
    fn read(&mut self, addr: PhysAddr, len: usize, _: impl FnOnce() -> Attributes) -> Result<Data, Abort> {
        self.builder.read(addr, len)
    }
    fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort> {
        (self.meddle)(self.builder, addr);
        let found = self.builder.read(addr, 8)?.value();
        if found == expected {
            self.builder.set_words(addr, &[new]);
            self.log.push((addr, expected, new));
        }
        Ok(found)
    }
}

/// An SMMU that updates, all stages told to.
fn bench() -> Bench {
    bench_with(&CacheShape::default())
}

fn bench_with(shape: &CacheShape) -> Bench {
    let mut bench = Bench::with(IdrProfile::UPDATING, shape);
    for sid in [1, 3] {
        bench.cd(sid, |c| c.with_ha(true).with_hd(true));
    }
    for sid in [2, 3] {
        bench.ste(sid, |s| s.with_s2ha(true).with_s2hd(true));
    }
    bench
}

/// Descriptors by name: the page of each stream, what stage 2 says of the nested page, and of all its tables and its CD.
fn named(b: &mut Bench) -> [(&'static str, u64); 5] {
    let Bench { s1, s2, n1, n2, .. } = *b;
    let tables = b.b.descriptor(&n2, 0x4000_0000, 2);
    let output = b.b.descriptor(&n2, NESTED_IPA, 3);
    let (page1, page2, page3) =
        (b.b.descriptor(&s1, 0x1000, 3), b.b.descriptor(&s2, 0x1000, 3), b.b.descriptor(&n1, 0x1000, 3));
    [("page1", page1), ("page2", page2), ("page3", page3), ("tables", tables), ("output", output)]
}

/// What was updated in which order: `+a` the Access flag, `+w` a stage-2 permission, `-r` the read-only bit of stage 1.
fn updates(b: &mut Bench, log: &[(u64, u64, u64)]) -> String {
    let names = named(b);
    let one = |&(addr, before, after): &(u64, u64, u64)| {
        let (name, _) = names.iter().find(|(_, at)| *at == addr).expect("a leaf");
        let mut text = String::from(*name);
        for (bit, sign) in [(10, "+a"), (7, if matches!(*name, "page1" | "page3") { "-r" } else { "+w" })] {
            if (before ^ after) >> bit & 1 != 0 {
                assert_eq!(after >> bit & 1 != 0, sign.starts_with('+'), "{before:#x} {after:#x}");
                text += sign;
            }
        }
        assert_eq!((before ^ after) & !(1 << 10 | 1 << 7), 0, "nothing else changes");
        text
    };
    log.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn go_with(b: &mut Bench, request: Request, meddle: &mut dyn FnMut(&mut Builder, u64)) -> (Outcome, String) {
    let mut memory = Racy { builder: &mut b.b, meddle, log: Vec::new() };
    let outcome = translate_now(&mut Translation::new(request), &b.control, &mut b.caches, &mut memory);
    let log = memory.log;
    (outcome, updates(b, &log))
}

fn go(b: &mut Bench, request: Request) -> (String, String) {
    let (outcome, updates) = go_with(b, request, &mut |_, _| ());
    (say(&outcome), updates)
}

type Row = (&'static str, fn(&mut Bench), Request, &'static str, &'static str);

/// Each row with and without caches; then again, when nothing is left to update.
fn check(rows: &[Row]) {
    for (name, set_up, request, want, want_updates) in rows {
        for shape in [CacheShape::NONE, CacheShape::default()] {
            let mut b = bench_with(&shape);
            set_up(&mut b);
            let got = go(&mut b, *request);
            assert_eq!((&*got.0, &*got.1), (*want, *want_updates), "{name}");
            let again = go(&mut b, *request);
            assert_eq!((&*again.0, &*again.1), (*want, ""), "{name}, again");
        }
    }
}

#[test]
fn stage_1() {
    const DENIED_WRITE: &str = "abort; F_PERMISSION sid=0x1 addr=0x1234 write class=IN";
    let rows: &[Row] = &[
        ("nothing to do", |_| (), WRITE1, "0x90001234", ""),
        ("access", |b| b.page(|l| l.with_af(false)), READ1, "0x90001234", "page1+a"),
        (
            "access, AFFD",
            |b| {
                b.page(|l| l.with_af(false));
                b.cd(1, |c| c.with_affd(true));
            },
            READ1,
            "0x90001234",
            "page1+a",
        ),
        (
            "access, HA=0",
            |b| {
                b.page(|l| l.with_af(false));
                b.cd(1, |c| c.with_ha(false).with_hd(false));
            },
            READ1,
            "abort; F_ACCESS sid=0x1 addr=0x1234 read class=IN",
            "",
        ),
        (
            "HD without HA",
            |b| {
                b.page(CLEAN1);
                b.cd(1, |c| c.with_ha(false));
            },
            WRITE1,
            DENIED_WRITE,
            "",
        ),
        ("dirty", |b| b.page(CLEAN1), WRITE1, "0x90001234", "page1-r"),
        ("dirty, atomic", |b| b.page(CLEAN1), Request { atomic: true, ..WRITE1 }, "0x90001234", "page1-r"),
        ("clean, read", |b| b.page(CLEAN1), READ1, "0x90001234", ""),
        ("access and dirty", |b| b.page(|l| CLEAN1(l).with_af(false)), WRITE1, "0x90001234", "page1+a-r"),
        ("access of a clean page", |b| b.page(|l| CLEAN1(l).with_af(false)), READ1, "0x90001234", "page1+a"),
        ("read-only", |b| b.page(|l| l.with_ap(3)), WRITE1, DENIED_WRITE, ""),
        (
            "permission comes before access",
            |b| b.page(|l| l.with_ap(3).with_af(false)),
            WRITE1,
            DENIED_WRITE,
            "",
        ),
        (
            "HD=0",
            |b| {
                b.page(CLEAN1);
                b.cd(1, |c| c.with_hd(false));
            },
            WRITE1,
            DENIED_WRITE,
            "",
        ),
        (
            "read-only by APTable",
            |b| {
                b.page(CLEAN1);
                let addr = b.b.descriptor(&b.s1, 0x1000, 2);
                let table = Table([b.b.word(addr)]).with_aptable(2);
                b.b.set_words(addr, &table.0);
            },
            WRITE1,
            DENIED_WRITE,
            "",
        ),
        (
            "PAN",
            |b| {
                b.page(CLEAN1);
                b.cd(1, |c| c.with_pan(true));
            },
            WRITE1.privileged(),
            "abort; F_PERMISSION sid=0x1 addr=0x1234 write privileged class=IN",
            "",
        ),
        ("not for everyone", |b| b.page(|l| CLEAN1(l).with_ap(2)), WRITE1, DENIED_WRITE, ""),
        (
            "a clean page counts as writable for WXN",
            |b| {
                b.page(CLEAN1);
                b.cd(1, |c| c.with_wxn(true));
            },
            READ1.instruction(),
            "abort; F_PERMISSION sid=0x1 addr=0x1234 read instruction class=IN",
            "",
        ),
        (
            "a clean page is not executed by privileged software",
            |b| b.page(CLEAN1),
            READ1.instruction().privileged(),
            "abort; F_PERMISSION sid=0x1 addr=0x1234 read instruction privileged class=IN",
            "",
        ),
        (
            "EL2",
            |b| {
                b.page(|l| CLEAN1(l).with_af(false));
                b.ste(1, |s| s.with_strw(2));
            },
            WRITE1,
            "0x90001234",
            "page1+a-r",
        ),
        (
            "HTTU=1",
            |b| {
                b.features(|i0, i1| (i0.with_httu(1), i1));
                b.page(|l| l.with_af(false));
                b.cd(1, |c| c.with_hd(false));
            },
            READ1,
            "0x90001234",
            "page1+a",
        ),
        ("HTTU=1, HD", |b| b.features(|i0, i1| (i0.with_httu(1), i1)), READ1, "abort; C_BAD_CD sid=0x1", ""),
        (
            "HTTU=0, HA",
            |b| {
                b.features(|i0, i1| (i0.with_httu(0), i1));
                b.cd(1, |c| c.with_hd(false));
            },
            READ1,
            "abort; C_BAD_CD sid=0x1",
            "",
        ),
    ];
    check(rows);
}

#[test]
fn stage_2() {
    fn page(b: &mut Bench, change: impl Fn(Leaf2) -> Leaf2) {
        b.leaf2(b.s2, 0x1000, 3, change);
    }
    const DENIED_WRITE: &str = "abort; F_PERMISSION sid=0x2 addr=0x1234 write class=IN s2 ipa=0x1000";
    let rows: &[Row] = &[
        ("access", |b| page(b, |l| l.with_af(false)), READ2, "0xa0001234", "page2+a"),
        (
            "access, S2HA=0",
            |b| {
                page(b, |l| l.with_af(false));
                b.ste(2, |s| s.with_s2ha(false));
            },
            READ2,
            "abort; F_ACCESS sid=0x2 addr=0x1234 read class=IN s2 ipa=0x1000",
            "",
        ),
        ("dirty", |b| page(b, CLEAN2), WRITE2, "0xa0001234", "page2+w"),
        ("clean, read", |b| page(b, CLEAN2), READ2, "0xa0001234", ""),
        ("access and dirty", |b| page(b, |l| CLEAN2(l).with_af(false)), WRITE2, "0xa0001234", "page2+a+w"),
        ("write-only", |b| page(b, |l| CLEAN2(l).with_s2ap(0)), WRITE2, "0xa0001234", "page2+w"),
        (
            "write-only, atomic",
            |b| page(b, |l| CLEAN2(l).with_s2ap(0)),
            Request { atomic: true, ..WRITE2 },
            "abort; F_PERMISSION sid=0x2 addr=0x1234 read class=IN s2 ipa=0x1000",
            "",
        ),
        ("DBM=0", |b| page(b, |l| l.with_s2ap(1)), WRITE2, DENIED_WRITE, ""),
        (
            "S2HD=0",
            |b| {
                page(b, CLEAN2);
                b.ste(2, |s| s.with_s2hd(false));
            },
            WRITE2,
            DENIED_WRITE,
            "",
        ),
        (
            "HTTU=1, S2HD",
            |b| b.features(|i0, i1| (i0.with_httu(1), i1)),
            READ2,
            "abort; C_BAD_STE sid=0x2",
            "",
        ),
    ];
    check(rows);
}

#[test]
fn nested() {
    fn page(b: &mut Bench, change: impl Fn(Leaf1) -> Leaf1) {
        let addr = b.b.descriptor(&b.n1, 0x1000, 3);
        let leaf = Leaf1([b.b.word(addr)]);
        b.b.set_words(addr, &change(leaf).0);
    }
    fn tables(b: &mut Bench, change: impl Fn(Leaf2) -> Leaf2) {
        b.leaf2(b.n2, 0x4000_0000, 2, change);
    }
    fn output(b: &mut Bench, change: impl Fn(Leaf2) -> Leaf2) {
        b.leaf2(b.n2, NESTED_IPA, 3, change);
    }
    const TO: &str = "0xb0001234";
    let rows: &[Row] = &[
        ("stage 1", |b| page(b, |l| l.with_af(false)), READ3, TO, "page3+a"),
        (
            "a descriptor that stage 2 forbids to write",
            |b| {
                page(b, |l| l.with_af(false));
                tables(b, |l| l.with_s2ap(1));
            },
            READ3,
            "abort; F_PERMISSION sid=0x3 addr=0x1234 read class=TT update s2 ipa=0x4000f000",
            "",
        ),
        (
            "a page of descriptors that is clean",
            |b| {
                page(b, |l| l.with_af(false));
                tables(b, CLEAN2);
            },
            READ3,
            TO,
            "tables+w page3+a",
        ),
        ("tables and CD are only read", |b| tables(b, CLEAN2), WRITE3, TO, ""),
        ("access of tables and CD", |b| tables(b, |l| l.with_af(false)), READ3, TO, "tables+a"),
        (
            "all",
            |b| {
                page(b, |l| CLEAN1(l).with_af(false));
                tables(b, |l| CLEAN2(l).with_af(false));
                output(b, |l| CLEAN2(l).with_af(false));
            },
            WRITE3,
            TO,
            "tables+a tables+w page3+a-r output+a+w",
        ),
        (
            "read-only at stage 1",
            |b| {
                page(b, |l| l.with_ap(3));
                output(b, |l| CLEAN2(l).with_af(false));
            },
            WRITE3,
            "abort; F_PERMISSION sid=0x3 addr=0x1234 write class=IN",
            "",
        ),
    ];
    check(rows);
    // The first stage may have been changed when the second refuses.
    let mut b = bench();
    page(&mut b, CLEAN1);
    output(&mut b, |l| l.with_s2ap(1));
    let want = "abort; F_PERMISSION sid=0x3 addr=0x1234 write class=IN s2 ipa=0x200001000";
    assert_eq!(go(&mut b, WRITE3), (want.into(), "page3-r".into()));
}

#[test]
fn ats() {
    const WANTS_WRITE: Request = READ1.of_kind(RequestKind::AtsRequest { write: true });
    const WANTS_READ: Request = READ1.of_kind(RequestKind::AtsRequest { write: false });
    const NESTED: Request = Request { sid: 3, ..WANTS_WRITE };
    fn on(b: &mut Bench) {
        for sid in [1, 3] {
            b.ste(sid, |s| s.with_eats(1));
        }
    }
    fn clean(b: &mut Bench) {
        on(b);
        b.page(|l| CLEAN1(l).with_af(false));
    }
    fn output(b: &mut Bench) {
        on(b);
        b.leaf2(b.n2, NESTED_IPA, 3, CLEAN2);
    }
    let rows: &[Row] = &[
        ("no write wanted", clean, WANTS_READ, "success r- 0x90001000/12", "page1+a"),
        ("write wanted", clean, WANTS_WRITE, "success rw 0x90001000/12", "page1+a-r"),
        (
            "HD=0",
            |b| {
                clean(b);
                b.cd(1, |c| c.with_hd(false));
            },
            WANTS_WRITE,
            "success r- 0x90001000/12",
            "page1+a",
        ),
        (
            "HA=0",
            |b| {
                clean(b);
                b.cd(1, |c| c.with_ha(false).with_hd(false));
            },
            WANTS_WRITE,
            "success -- 0x0/12",
            "",
        ),
        (
            "no access",
            |b| {
                clean(b);
                b.page(|l| l.with_ap(2));
            },
            WANTS_WRITE,
            "success -- 0x0/12",
            "",
        ),
        ("stage 2", output, NESTED, "success rw 0xb0001000/12", "output+w"),
        (
            "stage 1 read-only",
            |b| {
                output(b);
                let addr = b.b.descriptor(&b.n1, 0x1000, 3);
                let leaf = Leaf1([b.b.word(addr)]).with_ap(3);
                b.b.set_words(addr, &leaf.0);
            },
            NESTED,
            "success r- 0xb0001000/12",
            "",
        ),
        (
            "stage 1 grants reads, stage 2 writes",
            |b| {
                on(b);
                let addr = b.b.descriptor(&b.n1, 0x1000, 3);
                b.b.set_words(addr, &Leaf1([b.b.word(addr)]).with_ap(3).0);
                b.leaf2(b.n2, NESTED_IPA, 3, |l| l.with_s2ap(2).with_af(false));
            },
            NESTED,
            "success -- 0x0/12",
            "",
        ),
        (
            "write-only, no write wanted",
            |b| {
                on(b);
                b.leaf2(b.n2, NESTED_IPA, 3, |l| l.with_s2ap(2).with_af(false));
            },
            Request { sid: 3, ..WANTS_READ },
            "success -- 0x0/12",
            "",
        ),
        (
            "write-only, write wanted",
            |b| {
                on(b);
                b.leaf2(b.n2, NESTED_IPA, 3, |l| l.with_s2ap(2).with_af(false));
            },
            NESTED,
            "success -w 0xb0001000/12",
            "output+a",
        ),
        (
            "split: stage 2 waits for the access",
            |b| {
                b.control.cr0 = b.control.cr0.with_atschk(true);
                output(b);
                b.ste(3, |s| s.with_eats(2));
            },
            NESTED,
            "success rw 0x200001000/12",
            "",
        ),
    ];
    check(rows);
    let mut b = bench();
    rows[10].1(&mut b);
    assert_eq!(go(&mut b, NESTED).1, "");
    let translated = Request { addr: NESTED_IPA + 4, ..WRITE3 }.of_kind(RequestKind::AtsTranslated);
    assert_eq!(go(&mut b, translated), ("0xb0001004".into(), "output+w".into()));
    assert_eq!(go(&mut b, WRITE3), ("0xb0001234".into(), String::new()));
}

/// A translation that was kept for reads does not serve a write, nor a request for write permission, before the page is dirty.
#[test]
fn clean_translations_are_kept_for_reads() {
    for wants in [WRITE1, READ1.of_kind(RequestKind::AtsRequest { write: true })] {
        let mut b = bench();
        b.ste(1, |s| s.with_eats(1));
        b.page(CLEAN1);
        assert!(!b.hits(READ1) && b.hits(READ1));
        assert_eq!(go(&mut b, wants).1, "page1-r");
        assert!(b.hits(READ1) && b.hits(WRITE1), "{wants:?}");
        // Software cleans the page again. Until it invalidates, writes may go on unseen.
        b.page(CLEAN1);
        assert!(b.hits(WRITE1));
        b.invalidate(Command::tlbi_nh_va(7, 0, 0x1000, true));
        assert_eq!(go(&mut b, wants).1, "page1-r", "{wants:?}");
    }
    let mut b = bench();
    b.leaf2(b.n2, NESTED_IPA, 3, CLEAN2);
    assert!(!b.hits(READ3) && b.hits(READ3));
    assert_eq!(go(&mut b, WRITE3), ("0xb0001234".into(), "output+w".into()));
    assert!(b.hits(WRITE3));
}

/// Software changes the descriptor between the walk's read and its update.
#[test]
fn lost_updates() {
    let page = |b: &mut Bench| b.b.descriptor(&b.s1, 0x1000, 3);
    let raced = |change: &dyn Fn(Leaf1) -> u64| {
        let mut b = bench();
        b.page(|l| CLEAN1(l).with_af(false));
        let at = page(&mut b);
        let mut first = true;
        let (outcome, updates) = go_with(&mut b, WRITE1, &mut |builder, addr| {
            assert_eq!(addr, at);
            if std::mem::take(&mut first) {
                let leaf = Leaf1([builder.word(at)]);
                builder.set_words(at, &[change(leaf)]);
            }
        });
        (say(&outcome), updates)
    };
    let faults = |number: &str| format!("abort; {number} sid=0x1 addr=0x1234 write class=IN");
    for (name, change, want, updates) in [
        ("access", (|l| l.with_af(true).0[0]) as fn(Leaf1) -> u64, "0x90001234".into(), "page1-r"),
        ("dirty", |l| l.with_af(true).with_ap(1).0[0], "0x90001234".into(), ""),
        ("elsewhere", |l| l.with_oa(0x9000_7000).0[0], "0x90007234".into(), "page1+a-r"),
        ("unmapped", |_| 0, faults("F_TRANSLATION"), ""),
        ("read-only", |l| l.with_dbm(false).0[0], faults("F_PERMISSION"), ""),
        ("beyond", |l| l.with_valid(true).with_page(false).0[0], faults("F_TRANSLATION"), ""),
    ] {
        assert_eq!(raced(&change), (want, updates.to_owned()), "{name}");
    }
    // Nobody can keep a walk going for ever.
    let mut b = bench();
    b.page(|l| l.with_af(false));
    let mut n = 0;
    let (outcome, updates) = go_with(&mut b, READ1, &mut |builder, addr| {
        n += 1;
        let leaf = Leaf1([builder.word(addr)]);
        builder.set_words(addr, &leaf.with_sw(n % 2).0);
    });
    let at = page(&mut b);
    let want = format!("abort; F_WALK_EABT sid=0x1 addr=0x1234 read fetch={at:#x}");
    assert_eq!((say(&outcome), updates), (want.clone(), String::new()));
    assert!((2..1000).contains(&n));
    // Nor does memory that cannot do it.
    let b = &mut bench();
    b.page(|l| l.with_af(false));
    let builder = &b.b;
    let outcome = translate_now(&mut Translation::new(READ1), &b.control, &mut b.caches, |addr, len| {
        builder.read(addr, len)
    });
    assert_eq!(say(&outcome), want);
}

#[test]
fn big_endian() {
    let mut b = bench();
    b.features(|i0, i1| (IDR0(i0.0).with_ttendian(0), i1));
    b.page(|l| CLEAN1(l).with_af(false));
    b.cd(1, |c| c.with_endi(true));
    let space = b.s1;
    let path: Vec<u64> = (0..4).map(|level| b.b.descriptor(&space, 0x1000, level)).collect();
    let page = b.b.word(path[3]);
    for &at in &path {
        let word = b.b.word(at);
        b.b.set_words(at, &[word.swap_bytes()]);
    }
    let mut builder = b.b.clone();
    let mut memory = Racy { builder: &mut builder, meddle: &mut |_, _| (), log: Vec::new() };
    let outcome = translate_now(&mut Translation::new(WRITE1), &b.control, &mut b.caches, &mut memory);
    assert_eq!(say(&outcome), "0x90001234");
    let dirty = Leaf1([page]).with_af(true).with_ap(1);
    assert_eq!(builder.word(path[3]), dirty.0[0].swap_bytes());
}

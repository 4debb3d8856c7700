//! The Contiguous bit (DDI 0487, D8.7.1): one TLB entry for the neighbours of a leaf, and what becomes of a wrong hint.

use models::smmu::features::IdrProfile;
use models::smmu::granule::Granule;
use models::smmu::tables::{PAGE1, PAGE2};
use models::smmu::{CacheShape, Input, Outcome, Request, Scope, Step, Translation};
use spec::smmu::Command;

use super::bench::{Bench, NESTED_IPA};

/// Granule, level, log2 of the leaf and of the region.
const GEOMETRY: [(Granule, u8, u8, u8); 7] = [
    (Granule::K4, 1, 30, 34),
    (Granule::K4, 2, 21, 25),
    (Granule::K4, 3, 12, 16),
    (Granule::K16, 2, 25, 30),
    (Granule::K16, 3, 14, 21),
    (Granule::K64, 2, 29, 34),
    (Granule::K64, 3, 16, 21),
];

fn size(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Translated { size_log2, .. } => size_log2,
        other => panic!("{other:?}"),
    }
}

/// Stream 4 is stage 1 over tables of its own, stream 5 stage 2. One leaf is mapped, with the hint.
fn bench(granule: Granule, level: u8, input: u64, output: u64) -> Bench {
    let mut bench = Bench::with(IdrProfile::STANDARD, &CacheShape::default());
    let b = &mut bench.b;
    let s1 = b.stage1(granule, 48, 0);
    b.map1(&s1, input, output, level, PAGE1.with_contiguous(true));
    let cd = b.context(&s1.cd(20), 0);
    b.set_ste(4, s1.ste(cd).with_s2vmid(9));
    let start = if granule == Granule::K64 { 2 } else { 1 };
    let s2 = b.stage2(granule, 40, start);
    b.map2(&s2, input, output, level, PAGE2.with_contiguous(true));
    b.set_ste(5, s2.ste(0).with_s2vmid(9));
    bench
}

#[test]
fn one_entry_for_all() {
    for (granule, level, leaf, region) in GEOMETRY {
        let (base, output) = (1 << 36, 3 << 36);
        let mapped = base + (3 << leaf);
        let last = base + (1 << region) - 1;
        for (sid, invalidate) in [
            (4, (|addr| Command::tlbi_nh_va(20, 9, addr, true)) as fn(u64) -> Command),
            (5, |addr| Command::tlbi_s2_ipa(9, addr, true)),
        ] {
            // Any address of the region removes it, no other.
            for (addr, goes) in [
                (mapped, true),
                (base, true),
                (last & !0xfff, true),
                (base - 0x1000, false),
                (last + 1, false),
            ] {
                let text = format!("{granule:?} level {level} stream {sid} {addr:#x}");
                let mut b = bench(granule, level, mapped, output + (3 << leaf));
                assert_eq!(size(b.go(Request::read(sid, mapped + 5))), region, "{text}");
                for (other, want) in [(base, output), (last, output + (1 << region) - 1)] {
                    assert_eq!(b.say(Request::read(sid, other)), format!("{want:#x}"), "{text}");
                }
                b.caches.micro.clear();
                assert!(b.hits(Request::read(sid, last)), "{text}");
                b.invalidate(invalidate(addr));
                // All but one address have never been mapped.
                let gone = b.say(Request::read(sid, last)).starts_with("abort; F_TRANSLATION");
                assert_eq!(gone, goes, "{text}");
            }
        }
    }
}

/// A hint that cannot be true, or that the architecture has no meaning for, is ignored.
#[test]
fn wrong_hints() {
    const BASE: u64 = 1 << 36;
    for (granule, level, leaf, region) in GEOMETRY {
        // The output is not where the region would have it.
        for sid in [4, 5] {
            let mut b = bench(granule, level, BASE + (3 << leaf), BASE + (2 << leaf));
            assert_eq!(
                size(b.go(Request::read(sid, BASE + (3 << leaf)))),
                leaf,
                "{granule:?} {level} {region}"
            );
        }
    }
    // The region is larger than all input or output addresses.
    let mut b = bench(Granule::K4, 1, 0, 0);
    b.ste(5, |s| s.with_s2ps(0));
    assert_eq!(size(b.go(Request::read(5, 0))), 30);
    let space = b.b.stage1(Granule::K4, 32, 0);
    b.b.map1(&space, 0, 0, 1, PAGE1.with_contiguous(true));
    let cd = b.b.context(&space.cd(21), 0);
    b.b.set_ste(4, space.ste(cd));
    b.caches.clear();
    assert_eq!(size(b.go(Request::read(4, 0))), 30);
    // Where the hardware updates descriptors, neighbours differ.
    let mut b = Bench::with(IdrProfile::UPDATING, &CacheShape::default());
    b.page(|l| l.with_contiguous(true));
    assert_eq!(size(b.go(Request::read(1, 0x1000))), 16);
    b.cd(1, |c| c.with_ha(true));
    b.caches.clear();
    assert_eq!(size(b.go(Request::read(1, 0x1000))), 12);
}

/// Descriptors of one region that contradict each other: some of them is used, within what stage 2 permits.
#[test]
fn contradictions() {
    let mut b = Bench::new();
    let space = b.n1;
    b.b.map1(&space, 0x2000, NESTED_IPA + 0x1_1000, 3, PAGE1);
    b.b.map1(&space, 0x1000, NESTED_IPA, 3, PAGE1.with_contiguous(true));
    assert_eq!(b.say(Request::read(3, 0x1000)), "0xb0001000");
    // The region is cut to what stage 2 maps.
    assert!(b.say(Request::read(3, 0x2000)).starts_with("abort; F_TRANSLATION sid=0x3 addr=0x2000"));
    // Smaller and larger entries for one address live together, and go together.
    let mut b = Bench::new();
    b.page(|l| l.with_contiguous(true));
    assert_eq!(b.say(Request::read(1, 0x2000)), "0x90002000");
    assert_eq!(b.say(Request::read(1, 0x1000)), "0x90001000");
    b.page(|_| Default::default());
    b.caches.micro.clear();
    assert_eq!(b.say(Request::read(1, 0x2000)), "0x90002000");
    b.invalidate(Command::tlbi_nh_va(7, 0, 0x3000, true));
    assert!(b.say(Request::read(1, 0x1000)).starts_with("abort; F_TRANSLATION"));
}

/// An invalidation of a neighbour while the leaf is being read: nothing is kept that the neighbour could use.
#[test]
fn invalidation_under_way() {
    for (addr, want) in [(0x4000, 12), (0x1000, 16)] {
        let mut b = Bench::new();
        b.page(|l| l.with_contiguous(true));
        let leaf = b.b.descriptor(&b.s1.clone(), 0x1000, 3);
        let mut translation = Translation::new(Request::read(1, 0x1000));
        let mut input = Input::Go;
        let outcome = loop {
            input = match translation.resume(&b.control, &mut b.caches, input) {
                Step::Read { addr: at, len } => {
                    let data = b.b.read(at, len.into());
                    if at == leaf {
                        let command = Command::tlbi_nh_va(7, 0, addr, true);
                        let scope = Scope::of(&command, &b.control).unwrap();
                        b.caches.invalidate(&scope);
                        translation.invalidated(&scope);
                    }
                    Input::Data(data)
                }
                Step::Done(outcome) => break outcome,
                _ => Input::Go,
            };
        };
        assert_eq!(size(outcome), want);
        assert_eq!(b.caches.main.iter().count(), usize::from(addr != 0x1000), "{addr:#x}");
    }
}

//! Which commands remove which entries (IHI 0070, 4.3 and 4.4): both ways, nothing too little and nothing needlessly.

use models::smmu::Request;
use models::smmu::granule::Granule;
use models::smmu::tables::PAGE1;
use spec::smmu::Command;
use spec::smmu::page0::{CR0, CR2};

use super::bench::{Bench, NESTED_IPA};

/// The kinds of entry, each warmed by one request.
const KINDS: [(&str, Request); 8] = [
    ("page", Request::read(1, 0x1000)),
    ("global", Request::read(1, 0x2000)),
    ("block", Request::read(1, 0x20_3000)),
    ("ipa", Request::read(2, 0x1000)),
    ("nested", Request::read(3, 0x1000)),
    ("fragment", Request::read(3, 0x20_1000)),
    ("el2", Request::read(4, 0x1000)),
    ("e2h", Request::read(5, 0x1000)),
];

/// As `Bench::new`, with stream 4 (EL2) or stream 5 (EL2-E2H) over the tables of stream 1; the latter if `e2h`.
fn warm(e2h: bool) -> Bench {
    let mut bench = Bench::new();
    let (pointer, ste) = (bench.cds[0], bench.s1.ste(bench.cds[0]));
    assert_ne!(pointer, 0);
    bench.ste(1, |s| s.with_s2vmid(4));
    bench.b.set_ste(if e2h { 5 } else { 4 }, ste.with_strw(2));
    bench.control.cr2 = CR2(0).with_e2h(e2h);
    for (_, request) in KINDS {
        bench.go(request);
    }
    bench
}

/// Names of the kinds that are gone after `command`, from every TLB.
fn gone(command: Command, e2h: bool, vmw: u64) -> String {
    let mut names = Vec::new();
    for (name, request) in KINDS {
        let mut bench = warm(e2h);
        if !bench.hits(request) {
            continue;
        }
        bench.control.cr0 = CR0(1).with_vmw(vmw);
        bench.invalidate(command);
        if !bench.hits(request) {
            names.push(name);
        }
    }
    names.join(" ")
}

#[test]
fn translations() {
    let range = |c: Command, tg: Granule, num, scale, ttl| {
        c.with_tg(tg.command()).with_num(num).with_scale(scale).with_ttl(ttl)
    };
    let va = |addr| Command::tlbi_nh_va(7, 4, addr, true);
    let rows = [
        (Command::tlbi_nh_all(4), 0, "page global block"),
        (Command::tlbi_nh_all(6), 0, "nested fragment"),
        (Command::tlbi_nh_all(5), 0, ""),
        (Command::tlbi_nh_all(5), 1, "page global block"),
        (Command::tlbi_nh_all(7), 2, "page global block nested fragment"),
        (Command::tlbi_nh_asid(7, 4), 0, "page block"),
        (Command::tlbi_nh_asid(9, 4), 0, ""),
        (Command::tlbi_nh_asid(9, 6), 0, "nested fragment"),
        (va(0x1000), 0, "page"),
        (va(0x2000), 0, "global"),
        (Command::tlbi_nh_va(8, 4, 0x2000, true), 0, "global"),
        (Command::tlbi_nh_va(8, 4, 0x1000, true), 0, ""),
        (Command::tlbi_nh_va(7, 6, 0x1000, true), 0, ""),
        (va(0x3f_f000), 0, "block"),
        (va(0x40_0000), 0, ""),
        (Command::tlbi_nh_vaa(4, 0x1000, true), 0, "page"),
        (Command::tlbi_nh_vaa(6, 0x1000, false), 0, "nested"),
        (Command::tlbi_nh_vaa(6, 0x20_0000, true), 0, "fragment"),
        (range(va(0x1000), Granule::K4, 1, 0, 0), 0, "page global"),
        (range(va(0x2000), Granule::K4, 31, 4, 0), 0, "global block"),
        (range(va(0x20_0000), Granule::K4, 0, 0, 2), 0, "block"),
        (range(va(0x20_0000), Granule::K4, 0, 0, 3), 0, ""),
        (range(va(0x1000), Granule::K4, 0, 0, 3), 0, "page"),
        (range(va(0), Granule::K64, 31, 4, 0), 0, ""),
        (range(Command::tlbi_nh_vaa(6, 0x20_0000, true), Granule::K4, 0, 0, 2), 0, "fragment"),
        (Command::tlbi_s2_ipa(5, 0x1000, true), 0, "ipa"),
        (Command::tlbi_s2_ipa(5, 0x2000, true), 0, ""),
        // A combined entry may stay.
        (Command::tlbi_s2_ipa(6, NESTED_IPA, true), 0, ""),
        (Command::tlbi_s12_vmall(4), 0, "page global block"),
        (Command::tlbi_s12_vmall(5), 0, "ipa"),
        (Command::tlbi_s12_vmall(6), 0, "nested fragment"),
        (Command::tlbi_s12_vmall(6), 1, "nested fragment"),
        (Command::tlbi_s12_vmall(7), 1, "nested fragment"),
        (Command::tlbi_s12_vmall(7), 2, "page global block ipa nested fragment"),
        (Command::tlbi_nsnh_all(), 0, "page global block ipa nested fragment"),
        (Command::tlbi_el2_all(), 0, "el2"),
        (Command::tlbi_el2_va(99, 0x1000, true), 0, "el2"),
        (Command::tlbi_el2_vaa(0x1000, true), 0, "el2"),
        (Command::tlbi_el2_vaa(0x2000, true), 0, ""),
        (Command::tlbi_el2_asid(7), 0, ""),
    ];
    for (command, vmw, want) in rows {
        // VMIDs 4, 5 and 6 differ in their low bits only: with two of them ignored NH commands see 4 and 6.
        assert_eq!(gone(command, false, vmw), want, "{command} vmw={vmw}");
    }
    for (command, want) in [
        (Command::tlbi_el2_all(), "e2h"),
        (Command::tlbi_el2_asid(7), "e2h"),
        (Command::tlbi_el2_asid(8), ""),
        (Command::tlbi_el2_va(7, 0x1000, true), "e2h"),
        (Command::tlbi_el2_va(8, 0x1000, true), ""),
        (Command::tlbi_el2_vaa(0x1000, true), "e2h"),
        (Command::tlbi_nsnh_all(), "page global block ipa nested fragment"),
    ] {
        assert_eq!(gone(command, true, 0), want, "{command} e2h");
    }
}

/// Configuration commands leave the main TLB alone; what goes is seen by what the changed structures do next.
#[test]
fn configuration() {
    for (command, ste_gone, cd_gone) in [
        (Command::cfgi_ste(1, true), true, true),
        (Command::cfgi_ste(2, true), false, false),
        (Command::cfgi_ste_range(0, 0), true, true),
        (Command::cfgi_ste_range(2, 0), false, false),
        (Command::cfgi_all(), true, true),
        (Command::cfgi_cd(1, 0, true), false, true),
        (Command::cfgi_cd(1, 1, true), false, false),
        (Command::cfgi_cd(3, 0, true), false, false),
        (Command::cfgi_cd_all(1), false, true),
        (Command::tlbi_nsnh_all(), false, false),
    ] {
        let request = Request::read(1, 0x1000);
        let mut bench = warm(false);
        let held = bench.caches.main.iter().count();
        bench.ste(1, |s| s.with_config(0));
        bench.invalidate(command);
        assert_eq!(bench.say(request) == "abort", ste_gone, "{command}: STE");
        if command != Command::tlbi_nsnh_all() {
            assert_eq!(bench.caches.main.iter().count(), held, "{command}: TLB");
        }
        let mut bench = warm(false);
        bench.cd(1, |c| c.with_v(false));
        bench.invalidate(command);
        assert_eq!(bench.say(request).starts_with("abort; C_BAD_CD"), cd_gone, "{command}: CD");
    }
}

/// A table that is replaced must be forgotten with Leaf=0, and may be kept with Leaf=1.
#[test]
fn walk_caches() {
    for (leaf, want) in [(true, "0x90001000"), (false, "0x91001000")] {
        let mut bench = warm(false);
        let slot = bench.b.descriptor(&bench.s1, 0x1000, 2);
        bench.b.set_words(slot, &[0]);
        bench.b.map1(&bench.s1.clone(), 0x1000, 0x9100_1000, 3, PAGE1);
        bench.invalidate(Command::tlbi_nh_va(7, 4, 0x1000, leaf));
        assert_eq!(bench.say(Request::read(1, 0x1000)), want, "leaf={leaf}");
    }
    // The same at stage 2, below a nested stream: both commands are needed.
    let mut bench = warm(false);
    let slot = bench.b.descriptor(&bench.n2, NESTED_IPA, 2);
    bench.b.set_words(slot, &[0]);
    bench.b.map2(&bench.n2.clone(), NESTED_IPA, 0xb100_1000, 3, models::smmu::tables::PAGE2);
    bench.invalidate(Command::tlbi_s2_ipa(6, NESTED_IPA, false));
    assert!(bench.hits(Request::read(3, 0x1000)), "combined entries stay");
    bench.invalidate(Command::tlbi_nh_all(6));
    assert_eq!(bench.say(Request::read(3, 0x1000)), "0xb1001000");
}

/// Global entries are found by other ASIDs of the same ASET only.
#[test]
fn asids_and_global_entries() {
    let mut bench = Bench::new();
    let cd = bench.s1.cd(8);
    let contexts = [(4, cd), (5, cd.with_aset(true))];
    for (sid, cd) in contexts {
        let pointer = bench.b.context(&cd, 0);
        bench.b.set_ste(sid, bench.s1.ste(pointer));
    }
    bench.go(Request::read(1, 0x1000));
    bench.go(Request::read(1, 0x2000));
    for (sid, addr, want) in [(4, 0x1000, false), (4, 0x2000, true), (5, 0x2000, false)] {
        assert_eq!(bench.hits(Request::read(sid, addr)), want, "{sid} {addr:#x}");
    }
    // The same ASID is the same address space, whatever the stream.
    let cd = bench.s1.cd(7);
    let pointer = bench.b.context(&cd, 0);
    bench.b.set_ste(6, bench.s1.ste(pointer));
    assert!(bench.hits(Request::read(6, 0x1000)));
}

/// Nothing that faulted is kept (an Access flag that is set later needs no invalidation).
#[test]
fn faults_are_not_cached() {
    let mut bench = Bench::new();
    bench.page(|l| l.with_af(false));
    assert!(bench.say(Request::read(1, 0x1000)).starts_with("abort; F_ACCESS"));
    bench.page(|l| l.with_af(true));
    assert_eq!(bench.say(Request::read(1, 0x1000)), "0x90001000");
}

/// Without an invalidation the old translation is used: the caches do cache.
#[test]
fn stale_until_invalidated() {
    for (sid, command) in
        [(1, Command::tlbi_nh_va(7, 0, 0x1000, true)), (3, Command::tlbi_nh_vaa(6, 0x1000, true))]
    {
        let mut bench = Bench::new();
        let request = Request::read(sid, 0x1000);
        let before = bench.say(request);
        let space = if sid == 1 { bench.s1 } else { bench.n1 };
        bench.b.unmap(&space, 0x1000, 3);
        assert_eq!(bench.say(request), before, "{sid}");
        bench.caches.micro.clear();
        assert_eq!(bench.say(request), before, "{sid}, main TLB");
        bench.invalidate(command);
        assert!(bench.say(request).starts_with("abort; F_TRANSLATION"), "{sid}");
    }
}

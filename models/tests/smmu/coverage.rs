//! Translations that are on their way when an invalidation is executed.

use models::smmu::{Input, Outcome, Request, Scope, Step, Translation, Unit};
use spec::smmu::Command;

use super::bench::Bench;

/// Steps until the read of `addr` is under way.
fn until(bench: &mut Bench, request: Request, addr: u64) -> Translation {
    let mut translation = Translation::new(request);
    let mut input = Input::Go;
    loop {
        input = match translation.resume(&bench.control, &mut bench.caches, input) {
            Step::Read { addr: at, .. } if at == addr => return translation,
            Step::Read { addr, len } => Input::Data(bench.b.read(addr, len.into())),
            Step::Lookup(_) => Input::Go,
            Step::CompareSwap { .. } => panic!("nothing is updated"),
            Step::Done(outcome) => panic!("{outcome:?} before {addr:#x} was read"),
        };
    }
}

#[test]
fn walks_in_flight() {
    let leaf = |b: &mut Bench| b.b.descriptor(&b.s1.clone(), 0x1000, 3);
    let cd = |b: &mut Bench| b.cds[0];
    let ste = |b: &mut Bench| b.b.ste_addr(1);
    type At = fn(&mut Bench) -> u64;
    let rows: &[(At, Command, bool)] = &[
        (leaf, Command::tlbi_nh_va(7, 0, 0x1000, true), true),
        (leaf, Command::tlbi_nh_va(7, 0, 0x3000, true), false),
        (leaf, Command::tlbi_nh_va(7, 0, 0x3000, false), true),
        (leaf, Command::tlbi_nh_va(7, 1, 0x1000, true), false),
        (leaf, Command::tlbi_nh_asid(7, 0), true),
        (leaf, Command::tlbi_nh_asid(8, 0), false),
        // It might turn out to be global.
        (leaf, Command::tlbi_nh_va(8, 0, 0x1000, true), true),
        (leaf, Command::tlbi_s2_ipa(0, 0x1000, true), false),
        (leaf, Command::tlbi_el2_all(), false),
        (leaf, Command::tlbi_nsnh_all(), true),
        (leaf, Command::cfgi_ste(1, true), true),
        (leaf, Command::cfgi_ste(2, true), false),
        (leaf, Command::cfgi_cd(1, 0, true), true),
        (leaf, Command::cfgi_cd(1, 1, true), false),
        (cd, Command::tlbi_nsnh_all(), false),
        (cd, Command::cfgi_cd_all(1), true),
        (ste, Command::cfgi_all(), true),
        (ste, Command::cfgi_cd(1, 0, true), false),
        (ste, Command::tlbi_nsnh_all(), false),
    ];
    for (at, command, want) in rows {
        let mut bench = Bench::new();
        let addr = at(&mut bench);
        let translation = until(&mut bench, Request::read(1, 0x1000), addr);
        let scope = Scope::of(command, &bench.control).unwrap();
        assert_eq!(translation.covered_by(&scope), *want, "{command} while {addr:#x} is read");
    }
    assert!(!Translation::new(Request::read(1, 0)).covered_by(&Scope::ALL_STREAMS));
}

#[test]
fn a_covered_walk_fills_nothing() {
    for forbid in [false, true] {
        let mut bench = Bench::new();
        let ste = bench.b.ste_addr(3);
        let mut translation = until(&mut bench, Request::read(3, 0x1000), ste);
        if forbid {
            translation.forbid_fill();
        }
        let mut input = Input::Data(bench.b.read(ste, 64));
        let outcome = loop {
            input = match translation.resume(&bench.control, &mut bench.caches, input) {
                Step::Read { addr, len } => Input::Data(bench.b.read(addr, len.into())),
                Step::Lookup(_) => Input::Go,
                Step::CompareSwap { .. } => panic!("nothing is updated"),
                Step::Done(outcome) => break outcome,
            };
        };
        let Outcome::Translated { pa, filled, .. } = outcome else { panic!("{outcome:?}") };
        assert_eq!((pa, filled), (0xb000_1000, !forbid));
        let c = &bench.caches;
        let empty = [
            c.micro.is_empty(),
            c.main.iter().next().is_none(),
            c.ipa.iter().next().is_none(),
            c.config.is_empty(),
            c.walk.is_empty(),
        ];
        assert_eq!(empty, [forbid; 5]);
    }
}

/// What is asked, in order, on a cold and on a warm walk.
#[test]
fn steps() {
    let trace = |bench: &mut Bench, request| {
        let mut translation = Translation::new(request);
        let (mut input, mut text, mut reads) = (Input::Go, Vec::new(), 0);
        loop {
            input = match translation.resume(&bench.control, &mut bench.caches, input) {
                Step::Lookup(unit) => {
                    text.push(match unit {
                        Unit::MicroTlb => "micro".to_owned(),
                        Unit::ConfigCache => "config".to_owned(),
                        Unit::MainTlb => "main".to_owned(),
                        Unit::IpaCache => "ipa".to_owned(),
                        Unit::WalkCache { stage, level } => format!("walk{}L{level}", stage as u8 + 1),
                    });
                    Input::Go
                }
                Step::Read { addr, len } => {
                    reads += 1;
                    text.push(format!("read{len}"));
                    Input::Data(bench.b.read(addr, len.into()))
                }
                Step::CompareSwap { .. } => panic!("nothing is updated"),
                Step::Done(_) => return (text.join(" "), reads),
            };
        }
    };
    let mut bench = Bench::new();
    let cold = "micro config read64 read64 main walk1L2 walk1L1 walk1L0 read8 read8 read8 read8";
    assert_eq!(trace(&mut bench, Request::read(1, 0x1000)).0, cold);
    assert_eq!(trace(&mut bench, Request::read(1, 0x2000)).0, "micro config main walk1L2 read8");
    assert_eq!(trace(&mut bench, Request::read(1, 0x2000)).0, "micro");
    bench.caches.micro.clear();
    assert_eq!(trace(&mut bench, Request::read(1, 0x2000)).0, "micro config main");
    // Uncached and nested: STE, CD through two levels of stage 2 (a 2MB block), 4 x (2 + 1), 3 for the final page.
    let mut bench = Bench::uncached();
    assert_eq!(trace(&mut bench, Request::read(3, 0x1000)).1, 1 + 3 + 4 * 3 + 3);
}

//! SMMU 0 loses invalidations that are not issued twice; SMMU 1 does not.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn affected() -> Platform {
    let mut platform = platform();
    let smmu = &mut platform.smmus[0];
    smmu.repeats = true;
    smmu.idr0 = smmu.idr0.with_ttendian(0);
    platform
}

fn config(repetitions: usize) -> Config {
    Config { repetitions, ..Config::default() }
}

fn bench(waiting: usize) -> Bench {
    Bench::of(Oracle::new(affected(), config(waiting)), None)
}

/// A bench whose oracle looks at memory, which the hardware reads whenever it changes.
fn looking(waiting: usize) -> Bench {
    let ram = Arc::new(Ram::default());
    let oracle = Oracle::watching(affected(), config(waiting), Arc::clone(&ram));
    Bench { reads_all: true, ..Bench::of(oracle, Some(ram)) }
}

/// The second command queue of SMMU 0.
const OTHER: Queue = Queue::Physical { smmu: 0, queue: 1 };

/// Name, what happens, what is found where the first of two is lost, and what on sound silicon.
type Row<'a> = (&'a str, &'a [Do], &'a [Kind], &'a [Kind]);

fn check(waiting: usize, rows: &[Row<'_>]) {
    let split = |sound: bool| -> Vec<(&str, &[Do], &[Kind])> {
        rows.iter().map(|&(name, steps, lost, all)| (name, steps, if sound { all } else { lost })).collect()
    };
    check_on(|| bench(waiting), &split(false));
    check_on(|| looking(waiting), &split(false));
    check_on(|| Bench::with(config(waiting)), &split(true));
}

#[test]
fn transfers_between_the_two() {
    use Do::{Inv, Map, Sync, Unmap, Use};
    const STALE: &[Kind] = &[Kind::StaleUse];
    let old = Use(0, HOST, IOVA, A);
    let (gone, inv, sync) = ([Map(IOVA, A), Unmap(IOVA)], Inv(CMDQ0, PAGE), Sync(CMDQ0));
    let next = Inv(CMDQ0, Command::tlbi_nh_va(7, 0, 0x2000, true));
    let both = [inv, next];
    let [map, unmap] = gone;
    check(
        1,
        &[
            ("before the first", &[map, unmap, inv, old, sync, inv, sync], &[], &[]),
            ("issued once", &[map, unmap, inv, sync, old], STALE, STALE),
            ("issued twice", &[map, unmap, inv, sync, old, inv, sync], &[], STALE),
            ("under way a second time", &[map, unmap, inv, sync, inv, old, sync], &[], STALE),
            ("not completed a second time", &[map, unmap, inv, sync, old, inv], STALE, STALE),
            ("after the second", &[map, unmap, inv, sync, inv, sync, old], STALE, STALE),
            ("between and after", &[map, unmap, inv, sync, old, inv, sync, old], STALE, STALE),
            ("another one instead", &[map, unmap, inv, sync, old, next, sync], STALE, STALE),
            ("another one between", &[map, unmap, inv, sync, old, next, sync, inv, sync], STALE, STALE),
            ("the other one twice", &[map, unmap, inv, sync, old, next, sync, next, sync], STALE, STALE),
            (
                "some of them",
                &[
                    map,
                    unmap,
                    both[0],
                    both[1],
                    sync,
                    old,
                    next,
                    sync,
                    Inv(CMDQ0, Command::tlbi_nh_all(1)),
                    sync,
                ],
                STALE,
                STALE,
            ),
            ("all of them", &[map, unmap, both[0], both[1], sync, old, both[1], both[0], sync], &[], STALE),
            ("in another queue", &[map, unmap, inv, sync, old, Inv(OTHER, PAGE), Sync(OTHER)], STALE, STALE),
            (
                "what another queue does meanwhile",
                &[map, unmap, inv, sync, old, Inv(OTHER, PAGE), Sync(OTHER), inv, sync],
                // That one was complete, and nobody issued it again.
                &[],
                STALE,
            ),
            (
                "late, in spite of what another queue does",
                &[map, unmap, inv, sync, Inv(OTHER, PAGE), Sync(OTHER), old, inv, sync],
                STALE,
                STALE,
            ),
            ("a CMD_SYNC between", &[map, unmap, inv, sync, old, sync, inv, sync], &[], STALE),
            (
                "and once more",
                &[map, unmap, inv, sync, inv, sync, Map(IOVA, B), unmap, inv, sync, Use(0, HOST, IOVA, B)],
                STALE,
                STALE,
            ),
            ("the page used anew", &[map, unmap, inv, sync, old, Map(IOVA, B), inv, sync], STALE, STALE),
            (
                "the page used anew, then unmapped",
                &[map, unmap, inv, sync, old, Map(IOVA, B), unmap, inv, sync],
                STALE,
                STALE,
            ),
            (
                "the page used anew, and then",
                &[map, unmap, inv, sync, Map(IOVA, B), old, inv, sync],
                STALE,
                STALE,
            ),
            ("moved", &[map, Map(IOVA, B), inv, sync, old, inv, sync], &[], STALE),
            ("another page used anew", &[map, unmap, inv, sync, old, Map(0x2000, B), inv, sync], &[], STALE),
        ],
    );
    check(
        2,
        &[
            ("another one instead", &[map, unmap, inv, sync, old, next, sync], STALE, STALE),
            ("another one between", &[map, unmap, inv, sync, old, next, sync, inv, sync], &[], STALE),
            (
                "two others between",
                &[
                    map,
                    unmap,
                    inv,
                    sync,
                    old,
                    next,
                    sync,
                    Inv(CMDQ0, Command::tlbi_nh_all(1)),
                    sync,
                    inv,
                    sync,
                ],
                STALE,
                STALE,
            ),
            (
                "one between, issued again",
                &[map, unmap, inv, sync, old, next, sync, next, sync, inv, sync],
                &[],
                STALE,
            ),
        ],
    );
}

#[test]
fn transfers_that_a_sync_should_wait_for() {
    use Do::{Begin, Finish, Inv, Map, Sync, Unmap};
    const EARLY: &[Kind] = &[Kind::EarlySync];
    const STALE: &[Kind] = &[Kind::StaleUse];
    let (map, unmap, begin) = (Map(IOVA, A), Unmap(IOVA), Begin(0, HOST, IOVA, A));
    let (inv, sync) = (Inv(CMDQ0, PAGE), Sync(CMDQ0));
    let other = [Inv(OTHER, PAGE), Sync(OTHER)];
    check(
        1,
        &[
            ("issued once", &[map, begin, unmap, inv, sync, Finish], EARLY, EARLY),
            ("performed before the second", &[map, begin, unmap, inv, sync, Finish, inv, sync], &[], EARLY),
            ("on its way at the second", &[map, begin, unmap, inv, sync, inv, sync, Finish], EARLY, EARLY),
            ("on its way for ever", &[map, begin, unmap, inv, sync, inv, sync], EARLY, EARLY),
            ("on its way when it was issued once", &[map, begin, unmap, inv, sync], EARLY, EARLY),
            ("begun and performed between", &[map, unmap, inv, sync, begin, Finish, inv, sync], &[], STALE),
            ("begun between, on its way", &[map, unmap, inv, sync, begin, inv, sync, Finish], EARLY, STALE),
            (
                "that of another queue too",
                &[map, begin, unmap, inv, sync, other[0], other[1], other[0], other[1], Finish, inv, sync],
                EARLY,
                EARLY,
            ),
            (
                "mapped again before the second is complete",
                &[map, begin, unmap, inv, sync, inv, map, sync, Finish],
                &[],
                EARLY,
            ),
        ],
    );
}

#[test]
fn whose_queue_it_is() {
    use Do::{GuestMap, GuestUnmap, Inv, Passed, Sync, Use};
    const STALE: &[Kind] = &[Kind::StaleUse];
    const IPA: u64 = GUEST_IPA + 0x40_1000;
    let (map, unmap) = (GuestMap(IOVA, IPA), GuestUnmap(IOVA));
    let old = |smmu| Use(smmu, NESTED, IOVA, GUEST_PA + 0x40_1000);
    let physical = |smmu: u16| {
        let queue = Queue::Physical { smmu, queue: 0 };
        (Inv(queue, Command::tlbi_nh_va(7, VMID[usize::from(smmu)], IOVA, true)), Sync(queue))
    };
    let (passed, sync) = (Passed(GUEST, 0, PAGE), Sync(GUEST));
    let (elsewhere, trapped) = (Passed(GUEST, 1, PAGE), Inv(GUEST, PAGE));
    let ([(inv0, sync0), (inv1, sync1)], foreign) = ([physical(0), physical(1)], Inv(CMDQ0, PAGE));
    check(
        1,
        &[
            ("the host's", &[map, unmap, inv0, sync0, old(0), inv0, sync0], &[], STALE),
            ("the host's, sound silicon", &[map, unmap, inv1, sync1, old(1), inv1, sync1], STALE, STALE),
            ("a guest's", &[map, unmap, passed, sync, old(0), passed, sync], &[], STALE),
            ("a guest's, issued once", &[map, unmap, passed, sync, old(0)], STALE, STALE),
            (
                "a guest's, of a device elsewhere",
                &[map, unmap, passed, sync, old(1), passed, sync],
                &[],
                STALE,
            ),
            (
                "a guest's, sound silicon",
                &[map, unmap, elsewhere, sync, old(0), elsewhere, sync],
                STALE,
                STALE,
            ),
            ("a guest's, trapped", &[map, unmap, trapped, sync, old(0), trapped, sync], STALE, STALE),
            (
                "the host does not speak for it",
                &[map, unmap, passed, sync, old(0), foreign, sync0],
                STALE,
                STALE,
            ),
        ],
    );
}

#[test]
fn stage_2() {
    use Do::{GuestMap, Inv, S2Block, S2Gone, Sync, Use};
    const STALE: &[Kind] = &[Kind::StaleUse];
    const IPA: u64 = GUEST_IPA + 0x40_1000;
    let block = GUEST_IPA + 0x40_0000;
    let s2 = Inv(CMDQ0, Command::tlbi_s2_ipa(VMID[0], block, true));
    let all = Inv(OTHER, Command::tlbi_nh_all(VMID[0]));
    let (sync, other) = (Sync(CMDQ0), Sync(OTHER));
    let (map, gone) = (GuestMap(IOVA, IPA), S2Gone(block));
    let nested = Use(0, NESTED, IOVA, GUEST_PA + 0x40_1000);
    let (foreign, stray) = (S2Block(block, 0x7_0000_0000), Use(0, DIRECT, IPA, 0x7_0000_1000));
    check(
        1,
        &[
            (
                "combined translations must go after what they were made from has gone for good",
                &[map, gone, s2, sync, all, other, all, other, s2, sync, nested],
                &[],
                STALE,
            ),
            (
                "and then they did",
                &[map, gone, s2, sync, s2, sync, all, other, all, other, nested],
                STALE,
                STALE,
            ),
            (
                "whose memory it is does not wait",
                &[foreign, gone, s2, sync, stray, s2, sync],
                &[Kind::IsolationBreach],
                STALE,
            ),
        ],
    );
}

#[test]
fn what_is_not_a_translation() {
    use Do::{Abort, Answer, Ats, Inv, Map, Pass, Record, Sync, Unmap, Use};
    const STALE: &[Kind] = &[Kind::StaleUse];
    const ABORT: &[Kind] = &[Kind::SpuriousAbort];
    let (map, unmap, sync) = (Map(IOVA, A), Unmap(IOVA), Sync(CMDQ0));
    let cfgi = Inv(CMDQ0, Command::cfgi_ste(HOST, true));
    let (inv, atc) = (Inv(CMDQ0, PAGE), Inv(CMDQ0, Command::atc_inv(HOST, None, IOVA, 0)));
    let (old, cached, told) = (Use(0, HOST, IOVA, A), Ats(HOST, A, A), Answer(HOST, IOVA, A));
    let bad = Do::Ste(HOST, Ste::default().with_v(true).with_config(config::S1).with_strw(1));
    let refused = [
        Abort(HOST, IOVA, Some(EventNumber::C_BAD_STE)),
        Record(EventNumber::C_BAD_STE, HOST, 0),
        Do::Interrupt,
    ];
    let [abort, record, interrupt] = refused;
    let mended = [cfgi, sync, cfgi, sync, bad, Do::Wait(500), Pass(HOST)];
    let [c, s, c2, s2, bad, wait, pass] = mended;
    check(
        1,
        &[
            ("STE, issued once", &[map, Pass(HOST), cfgi, sync, old], STALE, STALE),
            ("STE, issued twice", &[map, Pass(HOST), cfgi, sync, old, cfgi, sync], &[], STALE),
            ("STE, after the second", &[map, Pass(HOST), cfgi, sync, cfgi, sync, old], STALE, STALE),
            (
                "refused by an old STE",
                &[c, s, c2, s2, bad, wait, pass, cfgi, sync, wait, abort, record, interrupt, cfgi, sync],
                &[],
                ABORT,
            ),
            (
                "recorded by an old STE, not refused",
                &[c, s, c2, s2, bad, wait, pass, cfgi, sync, wait, record, interrupt, cfgi, sync],
                &[],
                &[Kind::SpuriousEvent],
            ),
            (
                "refused by an old STE, issued once",
                &[c, s, c2, s2, bad, wait, pass, cfgi, sync, wait, abort, record, interrupt],
                ABORT,
                ABORT,
            ),
            ("ATC_INV, issued once", &[map, told, unmap, atc, sync, cached], STALE, STALE),
            ("ATC_INV is complete at once", &[map, told, unmap, atc, sync, cached, atc, sync], STALE, STALE),
            (
                "ATC_INV beside a TLBI that is issued twice",
                &[map, told, unmap, inv, atc, sync, cached, inv, sync],
                STALE,
                STALE,
            ),
            (
                "a TLBI beside an ATC_INV that is issued once",
                &[map, unmap, inv, atc, sync, old, inv, sync],
                &[],
                STALE,
            ),
        ],
    );
}

/// Hardware may go by an old CD, and keeps track of pages meanwhile.
#[test]
fn updates_of_descriptors() {
    use super::updates::{Then, play, updating};
    let unused = leaf1(A).with_af(false);
    let (cfgi, asid) = (Command::cfgi_cd(HOST, 0, true), Command::tlbi_nh_asid(7, 0));
    for (name, issued, want) in [("twice", 2, &[][..]), ("once", 1, &[Kind::WrongUpdate]), ("not", 0, &[])] {
        for bench in [bench(1), looking(1)] {
            let mut b = updating(bench, |cd| cd);
            play(&mut b, &[Then::Leaf(unused)]);
            let cd = Cd(std::array::from_fn(|i| b.words[&(HOST_CD + 8 * i as u64)]));
            b.structure(HOST_CD, &cd.with_ha(false).with_hd(false).0);
            for nth in 0..issued.max(1) {
                if issued > 0 {
                    b.play(&[Do::Inv(CMDQ0, cfgi), Do::Inv(CMDQ0, asid), Do::Sync(CMDQ0)]);
                }
                if nth == 0 {
                    play(&mut b, &[Then::Update(false, leaf1(A))]);
                }
            }
            let found = b.finish();
            assert_eq!(found.iter().map(|f| f.kind).collect::<Vec<_>>(), want, "{name}: {found:#?}");
        }
    }
}

/// A page is used anew by software only, in tables of either order.
#[test]
fn who_changes_a_descriptor_between_the_two() {
    let unused = leaf1(B).with_af(false);
    for (name, last, want) in [
        ("nobody", unused, &[][..]),
        ("hardware: accessed", leaf1(B), &[]),
        ("hardware: dirty", unused.with_ap(3), &[]),
        ("software", leaf1(B).with_oa(0x9_0000_3000), &[Kind::StaleUse]),
        ("software takes it away", Leaf1([0]), &[Kind::StaleUse]),
    ] {
        for (mut b, big) in [(bench(1), false), (bench(1), true), (looking(1), true)] {
            let ordered = |word: u64| if big { word.swap_bytes() } else { word };
            let cd = Cd(std::array::from_fn(|i| b.words[&(HOST_CD + 8 * i as u64)]));
            let tables = [0x71_0000, 0x72_0000, 0x73_0000, 0x74_0000];
            b.structure(HOST_CD, &cd.with_endi(big).with_ttb0(tables[0]).0);
            for pair in tables.windows(2) {
                b.write(pair[0], ordered(pair[1] | 3));
            }
            let leaf = tables[3] + 8;
            b.write(leaf, ordered(leaf1(A).0[0]));
            let every = [Command::cfgi_all(), Command::tlbi_nsnh_all(), Command::sync()];
            every.into_iter().chain(every).for_each(|command| b.command(CMDQ0, command, None));
            b.write(leaf, ordered(unused.0[0]));
            b.play(&[Do::Inv(CMDQ0, PAGE), Do::Sync(CMDQ0), Do::Use(0, HOST, IOVA, A)]);
            b.write(leaf, ordered(last.0[0]));
            b.play(&[Do::Inv(CMDQ0, PAGE), Do::Sync(CMDQ0)]);
            let found = b.finish();
            assert_eq!(found.iter().map(|f| f.kind).collect::<Vec<_>>(), want, "{name}, {big}: {found:#?}");
        }
    }
}

/// Nothing is told before it is clear, and then at once.
#[test]
fn when_it_is_told() {
    use Do::{Inv, Map, Sync, Unmap, Use};
    let other = Inv(CMDQ0, Command::tlbi_nh_va(7, 0, 0x2000, true));
    let mut b = bench(1);
    b.play(&[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0)]);
    b.play(&[Use(0, HOST, IOVA, A), Use(0, HOST, IOVA, A), other]);
    assert_eq!((b.oracle.findings(), b.oracle.counters().repeated), (&[][..], 0));
    b.play(&[Sync(CMDQ0)]);
    let [stale] = b.oracle.findings() else { panic!("{:?}", b.oracle.findings()) };
    assert!(stale.time < b.time && stale.story.last().unwrap().contains("did not issue"), "{stale}");
    assert_eq!(b.oracle.counters().repeated, 1);

    // What was pardoned is told when it happens again.
    let twice = [Inv(CMDQ0, PAGE), Sync(CMDQ0), Use(0, HOST, 0x3000, B), Inv(CMDQ0, PAGE), Sync(CMDQ0)];
    let inv = Inv(CMDQ0, Command::tlbi_nh_va(7, 0, 0x3000, true));
    let twice = twice.map(|step| if matches!(step, Inv(..)) { inv } else { step });
    b.play(&[Map(0x3000, B), Unmap(0x3000)]);
    let races = b.oracle.counters().races;
    b.play(&twice);
    assert_eq!((b.oracle.findings().len(), b.oracle.counters().races), (1, races + 1));
    b.play(&[Use(0, HOST, 0x3000, B)]);
    assert_eq!(b.oracle.findings().len(), 2);

    // A queue that begins anew.
    b.play(&[Map(0x4000, B), Unmap(0x4000)]);
    b.play(&[Inv(CMDQ0, Command::tlbi_nh_va(7, 0, 0x4000, true)), Sync(CMDQ0), Use(0, HOST, 0x4000, B)]);
    assert_eq!(b.oracle.findings().len(), 2);
    b.see(Fact::Restarted { queue: CMDQ0, index: 0 });
    assert_eq!(b.oracle.findings().len(), 3);

    // A page that is used anew while its old translation is in use.
    b.play(&[
        Map(0x5000, A),
        Unmap(0x5000),
        Inv(CMDQ0, Command::tlbi_nh_va(7, 0, 0x5000, true)),
        Sync(CMDQ0),
    ]);
    b.play(&[Map(0x5000, B), Use(0, HOST, 0x5000, A)]);
    assert_eq!(b.oracle.findings().len(), 4);
}

/// What cannot be held back passes, and is counted.
#[test]
fn too_many_to_hold_back() {
    let mut b = Bench::of(Oracle::new(affected(), Config { findings: 1, ..config(1) }), None);
    b.play(&[Do::Map(IOVA, A), Do::Map(0x2000, B), Do::Unmap(IOVA), Do::Unmap(0x2000)]);
    b.play(&[Do::Inv(CMDQ0, Command::tlbi_nh_asid(7, 0)), Do::Sync(CMDQ0)]);
    b.play(&[Do::Use(0, HOST, IOVA, A), Do::Use(0, HOST, 0x2000, B), Do::Use(0, HOST, IOVA, A)]);
    assert_eq!(b.oracle.counters().undecided, 1);
    assert_eq!(b.finish().len(), 1);
}

#[derive(Clone, Copy, Debug)]
enum Op {
    /// One of the CPUs that share a queue does its next step with its page.
    Step(usize),
    Dma(usize),
}

/// One CPU maps its page, unmaps it, invalidates it once or twice, and begins anew with another target.
#[derive(Clone, Copy, Default)]
struct Cpu {
    step: usize,
    target: u64,
    mapped: bool,
    /// Targets below were unmapped, and the CPU counts on it that nobody uses them.
    released: u64,
}

const CPUS: usize = 2;

fn page(cpu: usize) -> u64 {
    IOVA + cpu as u64 * 0x1000
}

fn target(n: u64) -> u64 {
    0x40_0000 + n * 0x1000
}

/// Plays the operations on hardware that loses the first of two equal invalidations. Returns the pages with a finding, and those
/// that were used by the toy's own reckoning when they should not have been.
fn play(mut b: Bench, ops: &[Op], repeats: bool) -> [BTreeSet<(Kind, u64)>; 2] {
    let mut cpus = [Cpu::default(); CPUS];
    let mut tlb = BTreeMap::new();
    let (mut lost, mut stale) = (BTreeSet::new(), BTreeSet::new());
    // The run is not over before what was begun is.
    let rest = (0..CPUS).flat_map(|n| [Op::Step(n); 6]).map(|op| (op, true));
    for (op, over) in ops.iter().map(|op| (*op, false)).chain(rest) {
        b.step(Do::Wait(20));
        match op {
            Op::Dma(n) => {
                let cpu = cpus[n];
                let Some(to) = tlb.get(&n).copied().or(cpu.mapped.then_some(cpu.target)) else { continue };
                tlb.insert(n, to);
                if to < cpu.released {
                    stale.insert((Kind::StaleUse, page(n)));
                }
                b.step(Do::Use(0, NESTED, page(n), GUEST_PA + target(to)));
            }
            Op::Step(n) if over && cpus[n].step == 0 => {}
            Op::Step(n) => {
                let cpu = &mut cpus[n];
                match cpu.step {
                    0 => b.step(Do::GuestMap(page(n), GUEST_IPA + target(cpu.target))),
                    1 => b.step(Do::GuestUnmap(page(n))),
                    2 | 4 => {
                        b.step(Do::Passed(GUEST, 0, Command::tlbi_nh_va(7, 0, page(n), true)));
                        // Others may issue in between; what counts is whether this is the second of its kind.
                        if !lost.remove(&n) {
                            lost.insert(n);
                        } else {
                            tlb.remove(&n);
                        }
                        b.step(Do::Sync(GUEST));
                        cpu.step += 1;
                    }
                    _ => unreachable!("two steps at once"),
                }
                cpu.mapped = cpu.step == 0;
                cpu.step += 1;
                if cpu.step == if repeats { 6 } else { 4 } {
                    *cpu = Cpu { step: 0, target: cpu.target + 1, mapped: false, released: cpu.target + 1 };
                }
            }
        }
    }
    let found = b.finish().into_iter().map(|f| {
        let at = (0..CPUS).map(page).find(|p| f.title.contains(&format!("iova {p:#x} "))).unwrap();
        (f.kind, at)
    });
    [found.collect(), stale]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn software_that_knows_is_never_accused_and_other_software_always(
        ops in prop::collection::vec(prop_oneof![(0..CPUS).prop_map(Op::Step), (0..CPUS).prop_map(Op::Dma)], 1..80),
    ) {
        for b in [bench, looking] {
            prop_assert_eq!(play(b(CPUS), &ops, true), [BTreeSet::new(), BTreeSet::new()]);
            let [found, stale] = play(b(CPUS), &ops, false);
            prop_assert_eq!(found, stale);
        }
    }
}

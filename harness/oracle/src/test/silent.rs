//! Random tables written in silence: an oracle that looks against one that is told.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Op {
    /// The leaf of a page gets a target, or none.
    Write(usize, Option<u64>),
    /// The STE translates, or bypasses.
    Translate(bool),
    InvalidatePage(usize),
    InvalidateAll,
    InvalidateSte,
    Sync,
    /// As the tables say.
    Use(usize),
    /// To where an earlier use of that page went, counted from the latest.
    UseOld(usize, usize),
    /// To a target, whatever the tables say.
    UseAny(usize, u64),
}

const PAGES: usize = 2;

fn op() -> impl Strategy<Value = Op> {
    let page = || 0..PAGES;
    prop_oneof![
        3 => (page(), prop::option::of(0u64..3)).prop_map(|(page, to)| Op::Write(page, to)),
        1 => any::<bool>().prop_map(Op::Translate),
        2 => page().prop_map(Op::InvalidatePage),
        1 => Just(Op::InvalidateAll),
        1 => Just(Op::InvalidateSte),
        2 => Just(Op::Sync),
        3 => page().prop_map(Op::Use),
        3 => (page(), 0usize..3).prop_map(|(page, n)| Op::UseOld(page, n)),
        1 => (page(), 0u64..3).prop_map(|(page, to)| Op::UseAny(page, to)),
    ]
}

fn iova(page: usize) -> u64 {
    IOVA + page as u64 * 0x1000
}

/// Something that software writes.
#[derive(Clone, Debug, Default)]
struct Seen<T> {
    now: T,
    /// As it was when somebody last looked.
    last: T,
    /// What it was in between.
    between: Vec<T>,
}

impl<T: PartialEq + Copy> Seen<T> {
    fn write(&mut self, value: T) {
        self.between.push(std::mem::replace(&mut self.now, value));
    }

    /// Somebody looks. Whether a value came and went that nobody has seen.
    fn look(&mut self) -> bool {
        let missed = self.between.iter().any(|v| *v != self.last && *v != self.now);
        self.between.clear();
        self.last = self.now;
        missed
    }
}

/// What was thought of a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Judged {
    /// An oracle that is told of every write accuses.
    told: bool,
    /// One that looks, for hardware that reads every value.
    reading: bool,
    /// One that looks.
    looking: bool,
    /// Before this a value came and went unseen by the latter.
    missed: bool,
}

fn accuses(b: &mut Bench, step: Do) -> bool {
    let wrong = |b: &Bench| b.oracle.counters().repeated as usize + b.oracle.findings().len();
    let before = wrong(b);
    b.step(step);
    wrong(b) > before
}

fn play(ops: &[Op]) -> Vec<Judged> {
    let looking = || Bench::watching(Config::default());
    let mut benches = [Bench::new(), Bench { reads_all: true, ..looking() }, looking()];
    let ste = benches[0].read_ste(HOST);
    let mut translates = Seen { now: true, last: true, between: vec![] };
    let mut leaves: [Seen<Option<u64>>; PAGES] = Default::default();
    let mut used: [Vec<u64>; PAGES] = Default::default();
    let (mut judged, mut missed) = (Vec::new(), false);
    let target = |to: u64| A + to * 0x1000;
    for b in &mut benches {
        // The tables above exist and are known.
        for page in 0..PAGES {
            b.play(&[Do::Unmap(iova(page)), Do::Fault(iova(page))]);
        }
    }
    for &op in ops {
        for b in &mut benches {
            b.step(Do::Wait(20));
        }
        let command = match op {
            Op::Write(page, to) => {
                let step = to.map_or(Do::Unmap(iova(page)), |to| Do::Map(iova(page), target(to)));
                benches.iter_mut().for_each(|b| b.step(step));
                leaves[page].write(to);
                continue;
            }
            Op::Translate(on) => {
                let ste = if on { ste } else { ste.with_config(config::BYPASS) };
                benches.iter_mut().for_each(|b| b.write(STRTAB + u64::from(HOST) * 64, ste.0[0]));
                translates.write(on);
                continue;
            }
            Op::Use(page) | Op::UseOld(page, _) | Op::UseAny(page, _) => {
                let now = if translates.now { leaves[page].now.map(target) } else { Some(iova(page)) };
                let pa = match op {
                    Op::UseOld(_, n) => used[page].iter().rev().nth(n).copied(),
                    Op::UseAny(_, to) => Some(target(to)),
                    _ => now,
                };
                let Some(pa) = pa else { continue };
                missed |= translates.look();
                if translates.now {
                    missed |= leaves[page].look();
                }
                if now != Some(pa) {
                    leaves.iter_mut().for_each(|leaf| missed |= leaf.look());
                }
                let [told, reading, looking] =
                    benches.each_mut().map(|b| accuses(b, Do::Use(0, HOST, iova(page), pa)));
                judged.push(Judged { told, reading, looking, missed });
                if !told {
                    used[page].push(pa);
                }
                continue;
            }
            Op::InvalidatePage(page) => Command::tlbi_nh_va(7, 0, iova(page), true),
            Op::InvalidateAll => Command::tlbi_nh_asid(7, 0),
            Op::InvalidateSte => Command::cfgi_ste(HOST, true),
            Op::Sync => Command::sync(),
        };
        missed |= translates.look();
        leaves.iter_mut().for_each(|leaf| missed |= leaf.look());
        benches.iter_mut().for_each(|b| b.command(CMDQ0, command, None));
    }
    judged
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(500) })]

    #[test]
    fn looking_is_as_good_as_being_told(ops in prop::collection::vec(op(), 1..60)) {
        for (i, j) in play(&ops).into_iter().enumerate() {
            prop_assert_eq!(j.reading, j.told, "use {}", i);
            // Nothing wrong passes: what was seen has an end that is seen before the next invalidation.
            prop_assert!(j.looking || !j.told, "use {}", i);
            // Nothing right is accused, unless by a value that no look has met.
            prop_assert!(j.missed || j.looking == j.told, "use {}", i);
        }
    }
}

#[test]
fn the_property_is_not_empty() {
    let moved = [Op::Write(0, Some(1)), Op::Use(0), Op::Write(0, Some(2))];
    let gone = [Op::InvalidatePage(0), Op::Sync, Op::UseOld(0, 0)];
    let judged = play(&[&moved[..], &gone[..]].concat());
    let bad = Judged { told: true, reading: true, looking: true, missed: false };
    let good = Judged { told: false, reading: false, looking: false, missed: false };
    assert_eq!(judged, [good, bad]);
    // The value that nobody saw.
    let judged = play(&[Op::Write(0, Some(1)), Op::Write(0, Some(2)), Op::UseAny(0, 1)]);
    assert_eq!(judged, [Judged { looking: true, missed: true, ..good }]);
}

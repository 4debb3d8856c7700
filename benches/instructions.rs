//! Translations of one kind and nothing else, to be run under a tool that counts instructions: `instructions.sh`.
//! Without arguments: the time of each kind, as the shortest of several rounds.

use std::hint::black_box;
use std::time::Instant;

use benches::machine::{Machine, NESTED, STAGE1, STAGE2, Timed, first_page, walks_only};
use models::smmu::CacheShape;

/// One kind of translation.
struct Kind {
    name: &'static str,
    sid: u32,
    /// They are read in turn.
    pages: u64,
    /// Every translation walks.
    walks: bool,
}

impl Kind {
    const fn hit(name: &'static str, pages: u64) -> Self {
        Self { name, sid: STAGE1, pages, walks: false }
    }

    const fn walk(name: &'static str, sid: u32) -> Self {
        Self { name, sid, pages: 1, walks: true }
    }

    /// So many reads of eight bytes, after one of each page.
    fn reads(&self, timed: bool) -> Box<dyn FnMut(u64)> {
        let &Self { sid, pages, walks, .. } = self;
        let shape = |shape: &mut CacheShape| {
            if walks {
                walks_only(shape);
            }
        };
        let mut page = 0;
        let mut iova = move || {
            page = if page == pages { 1 } else { page + 1 };
            // Not the same line of each page: a cache of the host has few places for those.
            black_box(first_page(sid) + (page << 12 | (page % 64) << 6))
        };
        let mut run: Box<dyn FnMut(u64)> = if timed {
            let mut machine = Timed::new(shape);
            Box::new(move |count| (0..count).for_each(|_| machine.read(sid, iova())))
        } else {
            let (mut machine, mut word) = (Machine::new(shape), [0; 8]);
            Box::new(move |count| (0..count).for_each(|_| machine.read(sid, iova(), &mut word)))
        };
        run(pages);
        run
    }
}

/// See `docs/performance.md`. The micro TLB has 32 entries.
const KINDS: [Kind; 6] = [
    Kind::hit("hit", 1),
    Kind::hit("hit16", 16),
    Kind::hit("main", 48),
    Kind::walk("walk1", STAGE1),
    Kind::walk("walk2", STAGE2),
    Kind::walk("nested", NESTED),
];

fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [driver, name, count] = &args[..] {
        let kind = KINDS.into_iter().find(|k| k.name == name);
        let kind = kind.expect("a kind: hit, hit16, main, walk1, walk2, nested");
        let timed = match driver.as_str() {
            "functional" => false,
            "timed" => true,
            _ => panic!("a driver: functional, timed"),
        };
        return kind.reads(timed)(count.parse().expect("a number of translations"));
    }
    assert!(args.is_empty(), "arguments: none, or driver, kind, number of translations");
    for (timed, driver, count) in [(false, "functional", 200_000_u64), (true, "timed", 20_000)] {
        for kind in &KINDS {
            let mut run = kind.reads(timed);
            let round = || {
                let begun = Instant::now();
                run(count);
                begun.elapsed().as_nanos() as f64 / count as f64
            };
            let shortest = std::iter::repeat_with(round).take(20).fold(f64::INFINITY, f64::min);
            println!("{driver} {}: {shortest:.1} ns", kind.name);
        }
    }
}

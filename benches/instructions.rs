//! Translations of one kind and nothing else, to be run under a tool that counts instructions: `instructions.sh`.
//! Without arguments: the time of each kind, as the shortest of several rounds.

use std::hint::black_box;
use std::time::Instant;

use benches::machine::{Machine, NESTED, STAGE1, STAGE2, Timed, first_page, walks_only};
use models::smmu::CacheShape;

/// Name, StreamID, whether every translation walks.
const KINDS: [(&str, u32, bool); 4] =
    [("hit", STAGE1, false), ("walk1", STAGE1, true), ("walk2", STAGE2, true), ("nested", NESTED, true)];

/// So many reads of eight bytes, always from the same page.
fn reads(timed: bool, (_, sid, walks): (&str, u32, bool)) -> Box<dyn FnMut(u64)> {
    let shape = |shape: &mut CacheShape| {
        if walks {
            walks_only(shape);
        }
    };
    let iova = first_page(sid) + 0x1000;
    if timed {
        let mut machine = Timed::new(shape);
        return Box::new(move |count| (0..count).for_each(|_| machine.read(sid, black_box(iova))));
    }
    let (mut machine, mut word) = (Machine::new(shape), [0; 8]);
    Box::new(move |count| (0..count).for_each(|_| machine.read(sid, black_box(iova), &mut word)))
}

fn main() {
    let args: Vec<_> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    if let [driver, name, count] = &args[..] {
        let kind = KINDS.into_iter().find(|k| k.0 == name).expect("a kind: hit, walk1, walk2, nested");
        let timed = match driver.as_str() {
            "functional" => false,
            "timed" => true,
            _ => panic!("a driver: functional, timed"),
        };
        return reads(timed, kind)(count.parse().expect("a number of translations"));
    }
    assert!(args.is_empty(), "arguments: none, or driver, kind, number of translations");
    for (timed, driver, count) in [(false, "functional", 200_000_u64), (true, "timed", 20_000)] {
        for kind in KINDS {
            let mut run = reads(timed, kind);
            let round = || {
                let begun = Instant::now();
                run(count);
                begun.elapsed().as_nanos() as f64 / count as f64
            };
            let shortest = std::iter::repeat_with(round).take(20).fold(f64::INFINITY, f64::min);
            println!("{driver} {}: {shortest:.1} ns", kind.0);
        }
    }
}

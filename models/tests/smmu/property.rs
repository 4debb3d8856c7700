//! Whatever is mapped, unmapped and correctly invalidated: cached translation equals an uncached walk.

use models::smmu::features::IdrProfile;
use models::smmu::granule::Granule;
use models::smmu::tables::{PAGE1, PAGE2};
use models::smmu::{CacheShape, Caches, Outcome, Request, Translation, translate_now};
use proptest::prelude::*;
use spec::smmu::Command;

use super::bench::{Bench, NESTED_IPA};

/// Where a test maps: pages of two neighbouring 2MB regions.
const REGION: u64 = 0x8000_0000;

#[derive(Clone, Debug)]
enum Action {
    /// Maps a page of stream 1 (`sid` 1) or 3.
    Page { sid: u32, page: u64, target: u64, read_only: bool },
    /// Maps a block.
    Block { sid: u32, block: u64, target: u64 },
    /// Unmaps and invalidates, by range if so.
    Unmap { sid: u32, page: u64, ranged: bool },
    /// Changes the stage-2 page behind stream 3.
    Stage2 { page: u64, target: u64, mapped: bool },
    /// Gives stream 1 another ASID, or the one it had.
    Asid { asid: u16 },
    /// Uses a translation.
    Use { sid: u32, page: u64, write: bool },
}

fn action() -> impl Strategy<Value = Action> {
    let sid = prop_oneof![Just(1u32), Just(3u32)];
    let page = prop_oneof![0u64..4, 510u64..516];
    prop_oneof![
        3 => (sid.clone(), page.clone(), 0u64..4, any::<bool>())
            .prop_map(|(sid, page, target, read_only)| Action::Page { sid, page, target, read_only }),
        1 => (sid.clone(), 0u64..2, 0u64..2).prop_map(|(sid, block, target)| Action::Block { sid, block, target }),
        3 => (sid.clone(), page.clone(), any::<bool>())
            .prop_map(|(sid, page, ranged)| Action::Unmap { sid, page, ranged }),
        2 => (0u64..4, 0u64..4, any::<bool>())
            .prop_map(|(page, target, mapped)| Action::Stage2 { page, target, mapped }),
        1 => (0u16..3).prop_map(|asid| Action::Asid { asid: 7 + asid }),
        8 => (sid, page, any::<bool>()).prop_map(|(sid, page, write)| Action::Use { sid, page, write }),
    ]
}

struct World {
    bench: Bench,
    asid: u16,
    /// By stream 1 and 3 and region: mapped as a block.
    blocks: [[bool; 2]; 2],
}

impl World {
    fn invalidate(&mut self, sid: u32, addr: u64, leaf: bool, range: Option<Granule>) {
        let command = match sid {
            1 => Command::tlbi_nh_va(self.asid, 0, addr, leaf),
            _ => Command::tlbi_nh_vaa(6, addr, leaf),
        };
        let command = match range {
            Some(granule) => command.with_tg(granule.command()).with_ttl(3),
            None => command,
        };
        self.bench.invalidate(command);
    }

    fn output(sid: u32, target: u64) -> u64 {
        if sid == 1 { 0x9000_0000 + (target << 12) } else { NESTED_IPA + (target << 12) }
    }

    /// Makes the region of `page` one of pages, as software does: break before make.
    fn split(&mut self, sid: u32, page: u64) {
        let (i, region) = (usize::from(sid == 3), (page >> 9) as usize);
        if std::mem::take(&mut self.blocks[i][region]) {
            let addr = REGION + ((region as u64) << 21);
            let space = if sid == 1 { self.bench.s1 } else { self.bench.n1 };
            self.bench.b.unmap(&space, addr, 2);
            self.invalidate(sid, addr, true, None);
        }
    }

    fn apply(&mut self, action: &Action) {
        match *action {
            Action::Page { sid, page, target, read_only } => {
                self.split(sid, page);
                let (addr, leaf) = (REGION + (page << 12), PAGE1.with_ap(if read_only { 3 } else { 1 }));
                let space = if sid == 1 { self.bench.s1 } else { self.bench.n1 };
                self.bench.b.map1(&space, addr, Self::output(sid, target), 3, leaf.with_ng(page != 1));
                self.invalidate(sid, addr, true, None);
            }
            Action::Block { sid, block, target } => {
                let addr = REGION + (block << 21);
                let space = if sid == 1 { self.bench.s1 } else { self.bench.n1 };
                let slot = self.bench.b.descriptor(&space, addr, 2);
                self.bench.b.set_words(slot, &[0]);
                // The table goes, so everything that was reached through it must.
                let all = if sid == 1 { Command::tlbi_nh_all(0) } else { Command::tlbi_nh_all(6) };
                self.bench.invalidate(all);
                let output = if sid == 1 { 0x9020_0000 + (target << 21) } else { NESTED_IPA & !0x1f_ffff };
                self.bench.b.map1(&space, addr, output, 2, PAGE1);
                self.blocks[usize::from(sid == 3)][block as usize] = true;
            }
            Action::Unmap { sid, page, ranged } => {
                self.split(sid, page);
                let addr = REGION + (page << 12);
                let space = if sid == 1 { self.bench.s1 } else { self.bench.n1 };
                self.bench.b.unmap(&space, addr, 3);
                self.invalidate(sid, addr, true, ranged.then_some(Granule::K4));
            }
            Action::Stage2 { page, target, mapped } => {
                let (ipa, space) = (NESTED_IPA + (page << 12), self.bench.n2);
                match mapped {
                    true => self.bench.b.map2(&space, ipa, 0xb000_0000 + (target << 12), 3, PAGE2),
                    false => self.bench.b.unmap(&space, ipa, 3),
                }
                self.bench.invalidate(Command::tlbi_s2_ipa(6, ipa, true));
                self.bench.invalidate(Command::tlbi_nh_all(6));
            }
            Action::Asid { asid } => {
                self.asid = asid;
                self.bench.cd(1, |c| c.with_asid(asid.into()));
                self.bench.invalidate(Command::cfgi_cd(1, 0, true));
                // Entries of the ASID that comes back may be outdated: invalidations went to the other one.
                self.bench.invalidate(Command::tlbi_nh_asid(asid, 0));
            }
            Action::Use { sid, page, write } => {
                let addr = REGION + (page << 12) + 8;
                let request = if write { Request::write(sid, addr) } else { Request::read(sid, addr) };
                let cached = self.bench.go(request);
                let mut none = Caches::new(&CacheShape::NONE);
                let b = &self.bench.b;
                let walked =
                    translate_now(&mut Translation::new(request), &self.bench.control, &mut none, |a, n| {
                        b.read(a, n)
                    });
                assert_eq!(without_luck(cached), without_luck(walked), "{request:?}");
            }
        }
    }
}

/// Where it came from does not matter.
fn without_luck(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Translated { pa, size_log2, read, write, attributes, .. } => {
            Outcome::Translated { pa, size_log2, read, write, attributes, tlb_hit: false, filled: false }
        }
        other => other,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn cached_equals_walked(actions in prop::collection::vec(action(), 1..120), small: bool) {
        let mut shape = CacheShape::default();
        if small {
            // Everything collides with everything.
            shape.micro = 2;
            for array in [&mut shape.main, &mut shape.ipa, &mut shape.streams, &mut shape.contexts] {
                array.entries = 4;
                array.ways = 2;
            }
        }
        let bench = Bench::with(IdrProfile::STANDARD, &shape);
        let mut world = World { bench, asid: 7, blocks: [[false; 2]; 2] };
        for action in &actions {
            world.apply(action);
        }
    }
}

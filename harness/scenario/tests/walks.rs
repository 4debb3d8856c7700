//! The models' walk against the oracle's: whatever tables say, and whatever hardware changes in them, the judge finds nothing.

mod judged;

use std::cell::Cell;
use std::sync::Arc;

use models::dma::Incoming;
use models::functional::{FunctionalSmmu, Stream};
use models::memory::PhysMem;
use models::psmmu::PsmmuConfig;
use models::record::Record;
use models::smmu::IdrProfile;
use models::smmu::caches::CacheShape;
use models::smmu::granule::Granule;
use models::smmu::tables::{Builder, PAGE1, PAGE2, Space};
use parking_lot::Mutex;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::TestRunner;
use scenario::run::judge::{Facts, SmmuFact, StreamFact};
use spec::smmu::descriptor::{Leaf1, Leaf2, Table};
use spec::smmu::page0::{IDR0, IDR3, IDR5};
use spec::smmu::{Cd, Command, Ste, ste};

use self::judged::{Ram, World};

const BASE: u64 = 0x5000_0000;
const RAM: u64 = 0x8000_0000;
const COMMANDS: u64 = 0x4000_0000;
const EVENTS: u64 = 0x4001_0000;
/// Where stage 1 leads, and where stage 2 does.
const OUT1: u64 = 0x10_0000_0000;
const OUT2: u64 = 0x20_0000_0000;
const REGIONS: u64 = 4;
/// Steps of a case: many, since tables take longer to make than to use.
const STEPS_MAX: usize = 600;

/// Descriptors that hardware has updated.
#[derive(Debug, Default)]
struct Updates(u64);

impl judged::Log for Updates {
    fn note(&mut self, record: &Record) {
        self.0 += u64::from(matches!(record, Record::DescriptorUpdated { .. }));
    }
}

/// Bits of a leaf at either stage, and whether it is a block of its region.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    block: bool,
    one: Leaf1,
    two: Leaf2,
}

#[derive(Clone, Debug)]
struct Case {
    idr: IdrProfile,
    cached: bool,
    granules: (Granule, Granule),
    /// STE.Config.
    config: u64,
    cd: Cd,
    ste: Ste,
    /// Attributes of the tables above stage-1 leaves, by region.
    tables: Vec<u64>,
    leaves: Vec<Leaf>,
    /// Stage 2 of the stage-1 tables and the CD.
    under: Leaf2,
    steps: Vec<Step>,
}

/// Who accesses.
#[derive(Clone, Copy, Debug)]
struct From {
    /// With a PASID, where there can be one.
    pasid: bool,
    incoming: Incoming,
}

impl From {
    fn stream(self, case: &Case) -> Stream {
        let stream = Stream::new(1).with_incoming(self.incoming);
        if self.pasid && case.config & 1 != 0 { stream.with_ssid(1) } else { stream }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Access {
        region: u64,
        page: u64,
        write: bool,
        from: From,
    },
    Request {
        region: u64,
        page: u64,
        write: bool,
        from: From,
    },
    /// Software undoes what the hardware has recorded; and invalidates.
    Restore {
        invalidate: bool,
    },
}

fn leaf() -> impl Strategy<Value = Leaf> {
    let rare = || prop::bool::weighted(0.1);
    let often = || prop::bool::weighted(0.7);
    let bits = (often(), 0_u64..4, 0_u64..4, prop::bool::weighted(0.6), prop::bool::weighted(0.2));
    let more = (rare(), rare(), prop::bool::weighted(0.8), select(vec![0xf_u64, 0xf, 0xf, 1, 5]), 0_u64..4);
    (bits, more, prop::bool::weighted(0.95)).prop_map(
        |((af, ap, s2ap, dbm, block), (uxn, pxn, readable, memattr, xn), valid)| Leaf {
            block,
            one: PAGE1.with_valid(valid).with_af(af).with_ap(ap).with_dbm(dbm).with_uxn(uxn).with_pxn(pxn),
            two: PAGE2
                .with_valid(valid)
                .with_af(af)
                .with_s2ap(if readable { s2ap | 1 } else { s2ap })
                .with_dbm(dbm)
                .with_memattr(memattr)
                .with_xn(xn),
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let granule = || select(Granule::ALL.to_vec());
    let rare = || prop::bool::weighted(0.15);
    let cd = (any::<bool>(), any::<bool>(), rare(), rare(), rare(), rare()).prop_map(
        |(ha, hd, affd, wxn, pan, had)| {
            let cd = Cd([0; 8]).with_ha(ha).with_hd(hd && ha).with_affd(affd);
            cd.with_wxn(wxn).with_pan(pan).with_had0(had)
        },
    );
    let ste =
        (any::<bool>(), any::<bool>(), rare(), rare(), 0_u64..4, prop_oneof![8 => Just(0_u64), 1 => Just(3)])
            .prop_map(|(ha, hd, affd, ptw, privcfg, instcfg)| {
                let ste = Ste([0; 8]).with_s2ha(ha).with_s2hd(hd && ha).with_s2affd(affd).with_s2ptw(ptw);
                ste.with_privcfg(privcfg).with_instcfg(instcfg)
            });
    let from = || {
        (any::<bool>(), any::<bool>(), prop::bool::weighted(0.3)).prop_map(
            |(pasid, privileged, instruction)| From {
                pasid,
                incoming: Incoming { privileged, instruction, ..Incoming::DEFAULT },
            },
        )
    };
    let step = prop_oneof![
        12 => (0..REGIONS, 0_u64..2, any::<bool>(), from())
            .prop_map(|(region, page, write, from)| Step::Access { region, page, write, from }),
        2 => (0..REGIONS, 0_u64..2, any::<bool>(), from())
            .prop_map(|(region, page, write, from)| Step::Request { region, page, write, from }),
        2 => any::<bool>().prop_map(|invalidate| Step::Restore { invalidate }),
    ];
    let idr = (prop_oneof![1 => Just(0_u64), 1 => Just(1), 6 => Just(2)], any::<bool>(), any::<bool>())
        .prop_map(|(httu, xnx, wide)| IdrProfile {
            idr0: IDR0(IdrProfile::STANDARD.idr0.into()).with_httu(httu).0 as u32,
            idr3: IDR3(IdrProfile::STANDARD.idr3.into()).with_xnx(xnx).0 as u32,
            idr5: IDR5(IdrProfile::STANDARD.idr5.into()).with_oas(if wide { 6 } else { 5 }).0 as u32,
            ..IdrProfile::STANDARD
        });
    let pages = 2 * REGIONS as usize;
    (
        (idr, prop::bool::weighted(0.7), (granule(), granule()), select(vec![5_u64, 6, 7, 7])),
        (cd, ste),
        prop::collection::vec(prop_oneof![4 => Just(0_u64), 1 => 0_u64..16], REGIONS as usize),
        prop::collection::vec(leaf(), 2 * pages),
        leaf(),
        prop::collection::vec(step, 1..STEPS_MAX),
    )
        .prop_map(|((idr, cached, granules, config), (cd, ste), tables, leaves, under, steps)| Case {
            idr,
            cached,
            granules,
            config,
            cd,
            ste,
            tables,
            leaves,
            under: under.two.with_s2ap(under.two.s2ap() | 1).with_valid(true),
            steps,
        })
}

fn address(granule: Granule, region: u64, page: u64) -> u64 {
    (region << granule.shift(2)) + (page << granule.bits())
}

/// Maps the regions from `input` on to `output` on, as pages or blocks.
fn map(b: &mut Builder, space: &Space, two: bool, from: (u64, u64), leaves: &[Leaf]) {
    for region in 0..REGIONS {
        for page in 0..2 {
            let leaf = leaves[(region * 2 + page) as usize];
            let block = leaves[region as usize * 2].block;
            let level = if block { 2 } else { 3 };
            if block && page > 0 {
                continue;
            }
            let at = address(space.granule, region, page);
            match two {
                false => b.map1(space, from.0 + at, from.1 + at, level, leaf.one),
                true => b.map2(space, from.0 + at, from.1 + at, level, leaf.two),
            }
        }
    }
}

struct Machine {
    smmu: FunctionalSmmu,
    world: World<Updates>,
    words: Vec<(u64, u64)>,
    prod: u32,
}

impl Machine {
    fn new(case: &Case) -> Self {
        let mut b = Builder::new(RAM);
        let (g1, g2) = case.granules;
        let (one, two) = case.leaves.split_at(2 * REGIONS as usize);
        let s1 = b.stage1(g1, 48, 0);
        map(&mut b, &s1, false, (0, OUT1), one);
        for (region, &attributes) in (0..).zip(&case.tables) {
            let at = b.descriptor(&s1, address(g1, region, 0), 2);
            let table = Table([b.word(at)]);
            if table.table() {
                let table = table.with_aptable(attributes & 3).with_uxntable(attributes & 4 != 0);
                b.set_words(at, &table.with_pxntable(attributes & 8 != 0).0);
            }
        }
        let start = if g2 == Granule::K4 { 1 } else { 2 };
        let s2 = b.stage2(g2, 40, start);
        // Of what stage 1 leads to some is mapped, in granules of its own.
        let base = if case.config == ste::config::S2 { 0 } else { OUT1 };
        map(&mut b, &s2, true, (base, OUT2), two);
        for block in 0..8 {
            let at = RAM + (block << g2.shift(2));
            if block == 0 || g2 == Granule::K4 {
                b.map2(&s2, at, at, 2, case.under);
            }
        }
        let cd = Cd(std::array::from_fn(|i| s1.cd(7).0[i] | case.cd.0[i]));
        let context = b.contexts(1);
        b.set_words(context, &cd.0);
        b.set_words(context + 64, &cd.0);
        b.linear_streams(4);
        let streams = b.ste_addr(0);
        let of = match case.config {
            ste::config::S1 => s1.ste(context),
            ste::config::S2 => s2.ste(0),
            _ => s2.nested(context),
        };
        let entry = Ste(std::array::from_fn(|i| of.0[i] | case.ste.0[i])).with_eats(1).with_s2vmid(3);
        let entry = if case.config & 1 != 0 { entry.with_s1cdmax(1).with_s1dss(2) } else { entry };
        b.set_ste(1, entry);
        let mut config = PsmmuConfig::new(0, BASE);
        config.idr = case.idr;
        config.caches = if case.cached { CacheShape::default() } else { CacheShape::NONE };
        let ram = Ram(Arc::new(Mutex::new(PhysMem::new())));
        let end = b.allocate(12);
        let words = (RAM..end).step_by(8).map(|at| (at, b.word(at))).filter(|w| w.1 != 0);
        let words: Vec<_> = words.collect();
        for &(at, word) in &words {
            ram.0.lock().write_u64(at, word);
        }
        let facts = Facts {
            smmus: vec![SmmuFact::of("smmu", &config)],
            streams: vec![StreamFact { smmu: 0, sid: 1, name: "nic".into() }],
            cpus: 1,
            ..Facts::default()
        };
        let world = World::new(facts, ram, Updates::default());
        let smmu = FunctionalSmmu::new(config).expect("a good configuration");
        let mut machine = Self { smmu, world, words, prod: 0 };
        for (offset, len, value) in [
            (0x2c, 4, 2),
            (0x80, 8, streams),
            (0x88, 4, 4),
            (0x90, 8, COMMANDS | 8),
            (0xa0, 8, EVENTS | 8),
            (0x20, 4, 0xd),
        ] {
            machine.smmu.write(BASE + offset, len, value, &mut machine.world).expect("a register");
        }
        machine.world.now += 100_000;
        machine
    }

    fn submit(&mut self, command: Command) {
        let slot = COMMANDS + 16 * u64::from(self.prod & 0xff);
        self.world.ram.0.lock().write(slot, &command.to_bytes());
        self.prod = (self.prod + 1) & 0x1ff;
        self.smmu.write(BASE + 0x98, 4, self.prod.into(), &mut self.world).expect("a register");
    }

    fn step(&mut self, case: &Case, step: Step) {
        let granule = if case.config == ste::config::S2 { case.granules.1 } else { case.granules.0 };
        self.world.now += 1000;
        let world = &mut self.world;
        match step {
            Step::Access { region, page, write: true, from } => {
                let stream = from.stream(case);
                let _ = self.smmu.dma_write(stream, address(granule, region, page), &[7; 8], world);
            }
            Step::Access { region, page, write: false, from } => {
                let stream = from.stream(case);
                let _ = self.smmu.dma_read(stream, address(granule, region, page), &mut [0; 8], world);
            }
            Step::Request { region, page, write, from } => {
                let stream = from.stream(case);
                self.smmu.translation_request(stream, address(granule, region, page), write, world);
            }
            Step::Restore { invalidate } => {
                for &(at, word) in &self.words {
                    self.world.ram.0.lock().write_u64(at, word);
                }
                if invalidate {
                    self.submit(Command::tlbi_nsnh_all());
                    self.submit(Command::sync());
                }
            }
        }
    }
}

impl Case {
    /// Accesses and translation requests.
    fn translations(&self) -> u64 {
        self.steps.iter().filter(|step| !matches!(step, Step::Restore { .. })).count() as u64
    }
}

/// Findings, and how often hardware changed a descriptor.
fn play(case: &Case) -> (Vec<String>, u64) {
    let mut machine = Machine::new(case);
    case.steps.iter().for_each(|&step| machine.step(case, step));
    let (findings, Updates(updates)) = machine.world.end();
    (findings, updates)
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(100)
}

/// `PROPTEST_CASES=8000` makes two million translations of it; with `--release` that takes minutes.
#[test]
fn nothing_is_found() {
    let config = ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() };
    let translations = Cell::new(0);
    let result = TestRunner::new(config).run(&case(), |case| {
        let (findings, _) = play(&case);
        prop_assert!(findings.is_empty(), "{}", findings.join("\n"));
        translations.set(translations.get() + case.translations());
        Ok(())
    });
    println!("{} translations in {} cases", translations.get(), cases());
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// The generator reaches what it is meant to reach.
#[test]
fn descriptors_are_updated() {
    use proptest::strategy::ValueTree;
    let mut runner = TestRunner::deterministic();
    let updates = |_| play(&case().new_tree(&mut runner).expect("a case").current()).1;
    assert!((0..100).map(updates).sum::<u64>() > 100);
}

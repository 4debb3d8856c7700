//! Tables that another implementation of VMSAv8-64 has written (the crate `aarch64-paging`, which firmware and hypervisors use) are
//! walked as that implementation was told to map.
//!
//! It knows 4KB granules, both stages, every level to begin at, blocks where they fit, and permissions; so does this test.

use std::collections::{BTreeMap, BTreeSet};

use aarch64_paging::descriptor::{El1Attributes, PhysicalAddress, Stage2Attributes};
use aarch64_paging::paging::{
    Constraints, El1And0, MemoryRegion, RootTable, Stage2, TranslationRegime, VaRange,
};
use aarch64_paging::target::TargetAllocator;
use models::bus::{Abort, Data};
use models::smmu::config::EATS_FULL;
use models::smmu::features::IdrProfile;
use models::smmu::{CacheShape, Caches, Control, Features, Outcome, Request, Translation, translate_now};
use proptest::prelude::*;
use spec::smmu::page0::{CR0, STRTAB_BASE, STRTAB_BASE_CFG};
use spec::smmu::ste::config;
use spec::smmu::{Cd, EventNumber, Ste};

/// Stream table with one STE, then its CD.
const STRUCTURES: u64 = 0x7000_0000;
const CD: u64 = STRUCTURES + 64;
/// Where tables begin.
const TABLES: u64 = 0x8000_0000;

/// A range that was mapped, in pages; the last one that covers an address counts.
#[derive(Clone, Copy, Debug)]
struct Range {
    page: u64,
    pages: u64,
    target: u64,
    valid: bool,
    read: bool,
    write: bool,
    accessed: bool,
    /// In pages only, so that a later split is not needed.
    small: bool,
}

/// How tables are made and used.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Stage 2, rather than stage 1.
    two: bool,
    /// The upper half of stage 1.
    upper: bool,
    /// Level of the first lookup.
    level: u8,
    cached: bool,
}

impl Kind {
    fn input_bits(self) -> u8 {
        48 - 9 * self.level
    }
    /// Address of an input page.
    fn address(self, page: u64) -> u64 {
        let low = (page << 12) & ((1 << self.input_bits()) - 1);
        if self.upper { low | u64::MAX << self.input_bits() } else { low }
    }
    /// Number of input pages.
    fn pages(self) -> u64 {
        1 << (self.input_bits() - 12)
    }
}

fn map<R: TranslationRegime>(
    root: &mut RootTable<R, TargetAllocator<R::Attributes>>,
    kind: Kind,
    range: &Range,
    flags: R::Attributes,
) {
    let start = kind.address(range.page) as usize;
    let region = MemoryRegion::new(start, start + ((range.pages as usize) << 12));
    let small = if range.small { Constraints::NO_BLOCK_MAPPINGS } else { Constraints::empty() };
    let target = PhysicalAddress((range.target as usize) << 12);
    root.map_range(&region, target, flags, small).expect("a range within the tables");
}

fn flags1(range: &Range) -> El1Attributes {
    let all = [
        (range.valid, El1Attributes::VALID),
        (range.read, El1Attributes::USER),
        (!range.write, El1Attributes::READ_ONLY),
        (range.accessed, El1Attributes::ACCESSED),
    ];
    let base = El1Attributes::ATTRIBUTE_INDEX_1 | El1Attributes::INNER_SHAREABLE | El1Attributes::NON_GLOBAL;
    all.into_iter().filter(|flag| flag.0).fold(base, |flags, (_, flag)| flags | flag)
}

fn flags2(range: &Range) -> Stage2Attributes {
    let all = [
        (range.valid, Stage2Attributes::VALID),
        (range.read, Stage2Attributes::S2AP_ACCESS_RO),
        (range.write, Stage2Attributes::S2AP_ACCESS_WO),
        (range.accessed, Stage2Attributes::ACCESS_FLAG),
    ];
    let base = Stage2Attributes::MEMATTR_NORMAL_INNER_WB | Stage2Attributes::MEMATTR_NORMAL_OUTER_WB;
    let base = base | Stage2Attributes::SH_INNER;
    all.into_iter().filter(|flag| flag.0).fold(base, |flags, (_, flag)| flags | flag)
}

/// The tables of the other implementation, as bytes from [`TABLES`] on.
fn tables(kind: Kind, ranges: &[Range]) -> Vec<u8> {
    let level = usize::from(kind.level);
    if kind.two {
        let mut root = RootTable::new(TargetAllocator::new(TABLES), level, Stage2);
        ranges.iter().for_each(|range| map(&mut root, kind, range, flags2(range)));
        return root.translation().as_bytes();
    }
    let half = if kind.upper { VaRange::Upper } else { VaRange::Lower };
    let mut root = RootTable::with_va_range(TargetAllocator::new(TABLES), level, El1And0, half);
    ranges.iter().for_each(|range| map(&mut root, kind, range, flags1(range)));
    root.translation().as_bytes()
}

/// An STE and a CD that use them.
fn structures(kind: Kind) -> (Ste, Cd) {
    let size = 64 - u64::from(kind.input_bits());
    let cd = Cd::default().with_v(true).with_aa64(true).with_ips(5).with_r(true).with_a(true).with_asid(1);
    let cd = match kind.upper {
        false => cd.with_t0sz(size).with_ttb0(TABLES).with_epd1(true),
        true => cd.with_t1sz(size).with_tg1(2).with_ttb1(TABLES).with_epd0(true),
    };
    let ste = Ste::default().with_v(true);
    let ste = match kind.two {
        false => ste.with_config(config::S1).with_s1contextptr(CD).with_eats(EATS_FULL),
        true => ste
            .with_config(config::S2)
            .with_s2t0sz(size)
            .with_s2sl0(2 - u64::from(kind.level))
            .with_s2ps(5)
            .with_s2aa64(true)
            .with_s2r(true)
            .with_s2ttb(TABLES),
    };
    (ste, cd)
}

/// What must come of an access: an address, or an event.
fn expected(kind: Kind, ranges: &[Range], addr: u64, write: bool) -> Result<u64, EventNumber> {
    let page = addr >> 12 & (kind.pages() - 1);
    let covers = |range: &&Range| (range.page..range.page + range.pages).contains(&page);
    match ranges.iter().rev().find(covers) {
        None | Some(Range { valid: false, .. }) => Err(EventNumber::F_TRANSLATION),
        Some(Range { accessed: false, .. }) => Err(EventNumber::F_ACCESS),
        Some(range) => {
            // At stage 1 what devices may not read they may not write either.
            let permitted = if write { range.write && (kind.two || range.read) } else { range.read };
            let to = (range.target + page - range.page) << 12 | addr & 0xfff;
            permitted.then_some(to).ok_or(EventNumber::F_PERMISSION)
        }
    }
}

struct Machine {
    control: Control,
    caches: Caches,
    words: Vec<u8>,
    structures: Vec<u8>,
    /// log2 of the sizes that were translated at once.
    sizes: BTreeSet<u8>,
}

impl Machine {
    fn new(kind: Kind, ranges: &[Range]) -> Self {
        let mut control = Control::new(Features::new(IdrProfile::STANDARD).expect("a good profile"));
        control.cr0 = CR0(0).with_smmuen(true);
        control.strtab_base = STRTAB_BASE(0).with_addr(STRUCTURES);
        control.strtab_base_cfg = STRTAB_BASE_CFG(0);
        let (ste, cd) = structures(kind);
        let shape = if kind.cached { CacheShape::default() } else { CacheShape::NONE };
        Self {
            control,
            caches: Caches::new(&shape),
            words: tables(kind, ranges),
            structures: [ste.to_bytes(), cd.to_bytes()].concat(),
            sizes: BTreeSet::new(),
        }
    }

    fn translate(&mut self, addr: u64, write: bool) -> Result<u64, EventNumber> {
        let Self { control, caches, words, structures, sizes } = self;
        let request = Request { write, ..Request::read(0, addr) };
        let read = |addr: u64, len: usize| {
            let (base, bytes) = if addr < TABLES { (STRUCTURES, &*structures) } else { (TABLES, &*words) };
            let from = (addr - base) as usize;
            bytes.get(from..from + len).map(Data::new).ok_or(Abort)
        };
        match translate_now(&mut Translation::new(request), control, caches, read) {
            Outcome::Translated { pa, size_log2, .. } => {
                sizes.insert(size_log2);
                Ok(pa)
            }
            Outcome::Abort { event: Some(event) } => Err(event.event()),
            other => panic!("{addr:#x}: {other:?}"),
        }
    }
}

fn kind() -> impl Strategy<Value = Kind> {
    (any::<bool>(), any::<bool>(), 0_u8..3, any::<bool>()).prop_map(|(two, upper, level, cached)| Kind {
        two,
        upper: upper && !two,
        level,
        cached,
    })
}

/// Pages at and around the borders of blocks.
fn page() -> impl Strategy<Value = u64> {
    let border =
        prop::sample::select(vec![0_u64, 0x200, 0x400, 0x600, 0x3_fe00, 0x4_0000, 0x8_0000, 0x200_0000]);
    (border, prop_oneof![1 => Just(4), 2 => 0_u64..12])
        .prop_map(|(border, near)| (border + near).saturating_sub(4))
}

fn range() -> impl Strategy<Value = Range> {
    let pages = prop_oneof![6 => 1_u64..20, 4 => 500_u64..1100, 1 => Just(0x200), 3 => Just(0x4_0000), 1 => Just(0x4_0203)];
    let often = || prop::bool::weighted(0.85);
    let bits = (often(), often(), prop::bool::weighted(0.7), often(), prop::bool::weighted(0.2));
    (page(), pages, page(), any::<bool>(), bits).prop_map(
        |(page, pages, target, alike, (valid, read, write, accessed, small))| {
            // Blocks need input and output alike in their low bits.
            let target = if alike { 0x100_0000 + page } else { 0x100_0000 + target };
            Range { page, pages, target, valid, read, write, accessed, small }
        },
    )
}

/// Translations compared in one case.
const USES: usize = 400;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tables_of_another_implementation_mean_the_same(
        kind in kind(),
        ranges in prop::collection::vec(range(), 1..12),
        uses in prop::collection::vec((page(), 0_u64..0x1200, any::<bool>()), USES),
    ) {
        let fits = |range: &Range| range.page + range.pages < kind.pages();
        let ranges: Vec<_> = ranges.into_iter().filter(fits).collect();
        let mut machine = Machine::new(kind, &ranges);
        for (page, offset, write) in uses {
            let addr = kind.address(page + (offset >> 4)) + (offset & 0xf) * 0x108;
            let seen = machine.translate(addr, write);
            prop_assert_eq!(seen, expected(kind, &ranges, addr, write), "{:#x} write {}", addr, write);
        }
    }
}

/// The generator makes blocks of both sizes, pages, and every kind of fault.
#[test]
fn the_generator_reaches_everything() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = BTreeMap::<String, usize>::new();
    for _ in 0..200 {
        let (kind, ranges) =
            (kind(), prop::collection::vec(range(), 1..12)).new_tree(&mut runner).unwrap().current();
        let ranges: Vec<_> =
            ranges.into_iter().filter(|range| range.page + range.pages < kind.pages()).collect();
        let mut machine = Machine::new(kind, &ranges);
        for range in &ranges {
            for page in [range.page, range.page + range.pages / 2, range.page + range.pages] {
                let result = machine.translate(kind.address(page), true);
                let name = result.map_or_else(|event| event.to_string(), |_| "translated".to_owned());
                *seen.entry(name).or_default() += 1;
            }
        }
        for bits in machine.sizes {
            *seen.entry(format!("2^{bits}")).or_default() += 1;
        }
    }
    for name in ["translated", "F_TRANSLATION", "F_ACCESS", "F_PERMISSION", "2^12", "2^21", "2^30"] {
        assert!(seen.get(name).is_some_and(|n| *n > 1), "{name}: {seen:?}");
    }
}

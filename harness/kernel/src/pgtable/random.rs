//! Random maps and unmaps, compared with a walk of the tables in memory that knows nothing of the shadow.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::memory::PhysMem;
use proptest::prelude::*;

use super::*;
use crate::access::Access;
use crate::errno::Errno;
use crate::testing::{Bench, Parts};

/// A walk as DDI 0487 describes it, with the numbers of one shape: bits of the granule and of the input, start level.
#[derive(Clone, Copy)]
struct Walk {
    root: u64,
    granule: u32,
    input: u32,
    start: u32,
}

/// What one descriptor means.
enum Found {
    Nothing,
    Table(u64),
    Leaf(u64),
}

impl Walk {
    fn slot(self, table: u64, level: u32, iova: u64) -> u64 {
        let shift = self.granule + (self.granule - 3) * (3 - level);
        let top = if level == self.start { self.input } else { shift + self.granule - 3 };
        let index = (iova & ((1 << top) - 1)) >> shift;
        table + index * 8
    }
    fn decode(self, word: u64, level: u32, iova: u64) -> Found {
        let size = 1_u64 << (self.granule + (self.granule - 3) * (3 - level));
        let address = word & 0x0000_ffff_ffff_f000;
        match (word & 3, level) {
            (3, 3) | (1, 1 | 2) => {
                assert_eq!(address % size, 0, "leaf {word:#x} at level {level}");
                assert!(level > 1 || self.granule == 12, "no such block");
                Found::Leaf(address + iova % size)
            }
            (3, _) => Found::Table(address),
            (0, _) => Found::Nothing,
            _ => panic!("descriptor {word:#x} at level {level}"),
        }
    }
    fn in_memory(self, mem: &PhysMem, iova: u64) -> Option<u64> {
        let (mut table, mut level) = (self.root, self.start);
        loop {
            match self.decode(mem.read_u64(self.slot(table, level, iova)), level, iova) {
                Found::Nothing => return None,
                Found::Leaf(pa) => return Some(pa),
                Found::Table(next) => (table, level) = (next, level + 1),
            }
        }
    }
    async fn by_cpu<A: Access>(self, cpu: &A, iova: u64) -> Option<u64> {
        let (mut table, mut level) = (self.root, self.start);
        loop {
            match self.decode(cpu.read64(self.slot(table, level, iova)).await, level, iova) {
                Found::Nothing => return None,
                Found::Leaf(pa) => return Some(pa),
                Found::Table(next) => (table, level) = (next, level + 1),
            }
        }
    }
}

const SHAPES: [(Stage, Granule, u8, Walk); 6] = {
    const fn walk(granule: u32, input: u32, start: u32) -> Walk {
        Walk { root: 0, granule, input, start }
    }
    [
        (Stage::One, Granule::K4, 48, walk(12, 48, 0)),
        (Stage::One, Granule::K4, 39, walk(12, 39, 1)),
        (Stage::Two, Granule::K4, 40, walk(12, 40, 1)),
        (Stage::Two, Granule::K4, 48, walk(12, 48, 0)),
        (Stage::Two, Granule::K16, 48, walk(14, 48, 1)),
        (Stage::One, Granule::K64, 42, walk(16, 42, 2)),
    ]
};

/// One call: map or unmap, input page, output page, number of pages.
type Call = (bool, u64, u64, u64);

fn calls() -> impl Strategy<Value = Vec<Call>> {
    // Three regions: around zero, across a gigabyte, at the top; sizes that are pages, blocks and mixtures.
    let base = prop_oneof![Just(0_u64), Just((1 << 18) - 700), Just(1 << 20)];
    let len = prop_oneof![1_u64..4, Just(512), 500_u64..1100, Just(1 << 18)];
    let step = prop_oneof![0_u64..1500, Just(512), Just(1024)];
    let call =
        (any::<bool>(), (base, step).prop_map(|(b, s)| b + s), prop_oneof![Just(0_u64), 0_u64..600], len);
    prop::collection::vec(call, 1..14)
}

async fn perform<A: Access>(cpu: A, table: Arc<PageTable>, calls: Vec<Call>) -> BTreeMap<u64, u64> {
    let bytes = table.shape().granule.bytes();
    let mut model: BTreeMap<u64, u64> = BTreeMap::new();
    for (is_map, page, out, n) in calls {
        let (iova, len) = (page * bytes, n * bytes);
        if iova + len > 1 << table.shape().input_bits {
            assert_eq!(table.unmap(&cpu, iova, len).await, Err(Errno::ERANGE));
            continue;
        }
        let taken = model.range(page..page + n).next().is_some();
        if is_map {
            let pa = (1 << 37) + ((page & 511) + out) * bytes;
            let result = table.map(&cpu, iova, pa, len, Prot::READ_WRITE).await;
            assert_eq!(result, if taken { Err(Errno::EEXIST) } else { Ok(()) });
            if !taken {
                model.extend((0..n).map(|i| (page + i, pa + i * bytes)));
            }
            continue;
        }
        let Ok(removed) = table.unmap(&cpu, iova, len).await else { continue };
        let mut gone = Vec::new();
        for run in &removed.runs {
            assert!(run.iova >= iova && run.iova + run.len <= iova + len && run.len % run.leaf == 0);
            gone.extend((0..run.len / bytes).map(|i| (run.iova / bytes + i, run.pa + i * bytes)));
        }
        let want: Vec<_> = model.range(page..page + n).map(|(p, a)| (*p, *a)).collect();
        assert_eq!(gone, want);
        model.retain(|p, _| *p < page || *p >= page + n);
        table.release(&removed.tables);
    }
    cpu.barrier().await;
    model
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn tables_say_what_was_mapped(which in 0_usize..SHAPES.len(), calls in calls()) {
        let (stage, granule, input_bits, walk) = SHAPES[which];
        let shape = Shape { stage, granule, input_bits, output_bits: 48, fwb: false };
        let mut bench = Bench::new(Parts::plain(1));
        let pages = bench.pages.clone();
        let (table, model) = bench.run(0, |cpu| async move {
            let table = Arc::new(PageTable::new(&cpu, shape, &pages).await.unwrap());
            let model = perform(cpu, Arc::clone(&table), calls).await;
            (table, model)
        });
        let walk = Walk { root: table.root(), ..walk };
        let bytes = granule.bytes();
        // Every mapped page, and the pages next to it.
        for (&page, &pa) in model.iter().step_by(17).chain(model.iter().next_back()) {
            for (page, want) in [(page, Some(pa)), (page + 1, model.get(&(page + 1)).copied())] {
                let iova = page * bytes + 8;
                if iova >> input_bits == 0 {
                    prop_assert_eq!(walk.in_memory(bench.mem(), iova), want.map(|pa| pa + 8), "{:#x}", iova);
                    prop_assert_eq!(table.lookup(iova), want.map(|pa| pa + 8));
                }
            }
        }
        for page in [0, 1, 511, 512, 1 << 18, (1 << 20) + 5] {
            let iova = page * bytes;
            if iova >> input_bits == 0 {
                prop_assert_eq!(walk.in_memory(bench.mem(), iova), model.get(&page).copied(), "{:#x}", iova);
            }
        }
        table.destroy();
        prop_assert_eq!(bench.pages.used(), 0);
    }
}

/// CPUs that map neighbours need the same new tables; whoever returns first must be able to rely on them.
#[test]
fn neighbours_may_be_mapped_at_once() {
    const CPUS: u64 = 8;
    let shape = Shape::stage1(Granule::K4, 48, 48);
    let mut bench = Bench::new(Parts::plain(CPUS as u16));
    let pages = bench.pages.clone();
    let table =
        bench.run(0, |cpu| async move { Arc::new(PageTable::new(&cpu, shape, &pages).await.unwrap()) });
    let walk = Walk { root: table.root(), granule: 12, input: 48, start: 0 };
    let done: Vec<_> = (0..CPUS)
        .map(|i| {
            let table = Arc::clone(&table);
            bench.start(i as u16, |cpu| async move {
                for round in 0..40_u64 {
                    let iova = (round << 30) + (i << 12);
                    let pa = (1 << 36) + iova;
                    table.map(&cpu, iova, pa, 0x1000, Prot::READ_WRITE).await.unwrap();
                    assert_eq!(walk.by_cpu(&cpu, iova).await, Some(pa));
                }
            })
        })
        .collect();
    bench.settle();
    assert!(done.iter().all(|cell| cell.lock().is_some()));
    // A root, one table at level 1, and two for each gigabyte.
    assert_eq!(bench.pages.used(), (1 + 1 + 40 * 2) * 0x1000);
}

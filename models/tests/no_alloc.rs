//! DMA through a pSMMU without time allocates nothing once all sizes of translations have been seen.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use models::bus::{Abort, PhysAddr};
use models::dma::AtcInvalidate;
use models::functional::{FunctionalSmmu, Stream, Surroundings};
use models::psmmu::PsmmuConfig;
use models::record::Record;
use models::smmu::CacheShape;
use models::smmu::assoc::Shape;
use models::smmu::granule::Granule;
use models::smmu::tables::{Builder, PAGE1, PAGE2};
use sim::Time;

/// The system's allocator, which counts what each thread asks for.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator as it came. The counter needs neither allocation nor drop.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn allocations(step: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    step();
    ALLOCATIONS.get() - before
}

const BASE: u64 = 0x5000_0000;
const RAM: u64 = 0x8000_0000;
const PAGES: u64 = RAM + 0x40_0000;
const PAGE_COUNT: u64 = 64;

/// Memory from [`RAM`] on.
struct Flat {
    bytes: Vec<u8>,
    records: u64,
}

impl Flat {
    fn at(&mut self, addr: PhysAddr, len: usize) -> Result<&mut [u8], Abort> {
        let at = addr.wrapping_sub(RAM) as usize;
        self.bytes.get_mut(at..at.saturating_add(len)).ok_or(Abort)
    }
}

impl Surroundings for Flat {
    fn read(&mut self, addr: PhysAddr, into: &mut [u8]) -> Result<(), Abort> {
        into.copy_from_slice(self.at(addr, into.len())?);
        Ok(())
    }
    fn write(&mut self, addr: PhysAddr, bytes: &[u8]) -> Result<(), Abort> {
        self.at(addr, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }
    fn compare_swap(&mut self, _: PhysAddr, _: u64, _: u64) -> Result<u64, Abort> {
        Err(Abort)
    }
    fn edge(&mut self, _: u32) {}
    fn invalidate_atc(&mut self, _: AtcInvalidate) -> bool {
        true
    }
    fn now(&self) -> Time {
        Time::ZERO
    }
    fn record(&mut self, record: Record) {
        self.records += u64::from(matches!(record, Record::DmaDone { .. }));
    }
}

/// Stream 1 behind stage 1, 2 behind stage 2, 3 behind both: pages from the second value of [`STREAMS`] on.
fn machine(caches: CacheShape) -> (FunctionalSmmu, Flat) {
    let mut b = Builder::new(RAM);
    let (s1, s2) = (b.stage1(Granule::K4, 48, 0), b.stage2(Granule::K4, 48, 0));
    for at in (0..PAGE_COUNT).map(|page| page << 12) {
        b.map1(&s1, at, PAGES + at, 3, PAGE1);
        b.map2(&s2, PAGES + at, PAGES + at, 3, PAGE2);
    }
    b.map2(&s2, RAM, RAM, 2, PAGE2);
    b.linear_streams(2);
    let (streams, context) = (b.ste_addr(0), b.context(&s1.cd(1), 0));
    b.set_ste(1, s1.ste(context));
    b.set_ste(2, s2.ste(0).with_s2vmid(5));
    b.set_ste(3, s2.nested(context).with_s2vmid(6));
    let mut memory = Flat { bytes: vec![0; 8 << 20], records: 0 };
    for at in (RAM..b.allocate(12)).step_by(8) {
        memory.write(at, &b.word(at).to_le_bytes()).expect("memory");
    }
    let mut config = PsmmuConfig::new(0, BASE);
    config.caches = caches;
    let mut smmu = FunctionalSmmu::new(config).expect("a good configuration");
    for (offset, len, value) in [(0x2c, 4, 2), (0x80, 8, streams), (0x88, 4, 2), (0x20, 4, 1)] {
        smmu.write(BASE + offset, len, value, &mut memory).expect("a register");
    }
    (smmu, memory)
}

const STREAMS: [(u32, u64); 3] = [(1, 0), (2, PAGES), (3, 0)];

#[test]
fn translations_allocate_nothing() {
    assert!(allocations(|| drop(std::hint::black_box(Box::new(1)))) == 1, "the counter counts");
    let small = CacheShape { micro: 2, main: Shape::new(16, 4), ..CacheShape::default() };
    for (name, caches) in [("all", CacheShape::default()), ("few entries", small), ("none", CacheShape::NONE)]
    {
        let (mut smmu, mut memory) = machine(caches);
        let mut round = |count: u64| {
            for n in 0..count {
                let (sid, first) = STREAMS[(n % 3) as usize];
                let iova = first + ((n % PAGE_COUNT) << 12);
                let mut bytes = [0; 64];
                smmu.dma_write(Stream::new(sid), iova, &bytes, &mut memory).expect("mapped");
                smmu.dma_read(Stream::new(sid), iova, &mut bytes, &mut memory).expect("mapped");
            }
        };
        round(3 * PAGE_COUNT);
        assert_eq!(allocations(|| round(10_000)), 0, "caches: {name}");
        assert_eq!(memory.records, 2 * (3 * PAGE_COUNT + 10_000), "every access was done");
    }
}

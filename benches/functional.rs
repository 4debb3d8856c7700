//! The pSMMU without time over a flat memory: what a DMA and a command cost on the host.
//!
//! Aims: a TLB hit 20 ns, a walk of four levels 120 ns.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use models::bus::{Abort, PhysAddr};
use models::cmdqv::CmdqvConfig;
use models::dma::AtcInvalidate;
use models::functional::{FunctionalSmmu, Stream, Surroundings};
use models::psmmu::PsmmuConfig;
use models::record::Record;
use models::smmu::CacheShape;
use models::smmu::granule::Granule;
use models::smmu::tables::{Builder, PAGE1, PAGE2};
use sim::Time;
use spec::smmu::Command;

const BASE: u64 = 0x5000_0000;
const CMDQV: u64 = 0x5100_0000;
const RAM: u64 = 0x8000_0000;
const COMMANDS: u64 = RAM + 0x80_0000;
const RING: u64 = RAM + 0x90_0000;
const PAGES: u64 = RAM + 0xa0_0000;
const CMDQ_PROD: u64 = BASE + 0x98;
/// LVCMDQ 0 of VINTF 0: PROD.
const LVCMDQ_PROD: u64 = CMDQV + 0x3_0004;
/// Stage 1, stage 2, both.
const STREAMS: [u32; 3] = [1, 2, 3];

/// 16MB of memory; nobody listens.
struct Flat {
    bytes: Vec<u8>,
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
    fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort> {
        let word: &mut [u8; 8] = self.at(addr, 8)?.try_into().expect("eight bytes");
        let found = u64::from_le_bytes(*word);
        if found == expected {
            *word = new.to_le_bytes();
        }
        Ok(found)
    }
    fn edge(&mut self, _: u32) {}
    fn invalidate_atc(&mut self, _: AtcInvalidate) -> bool {
        true
    }
    fn now(&self) -> Time {
        Time::ZERO
    }
    fn record(&mut self, _: Record) {}
}

struct Machine {
    smmu: FunctionalSmmu,
    memory: Flat,
    prod: u32,
    vcmdq_prod: u32,
}

impl Machine {
    fn new(edit: impl FnOnce(&mut CacheShape)) -> Self {
        let mut builder = Builder::new(RAM);
        let s1 = builder.stage1(Granule::K4, 48, 0);
        let s2 = builder.stage2(Granule::K4, 48, 0);
        for page in 0..64 {
            let at = page << 12;
            builder.map1(&s1, at, PAGES + at, 3, PAGE1);
            builder.map2(&s2, PAGES + at, PAGES + at, 3, PAGE2);
        }
        builder.map2(&s2, RAM, RAM, 2, PAGE2);
        builder.linear_streams(4);
        let streams = builder.ste_addr(0);
        let context = builder.context(&s1.cd(1), 0);
        builder.set_ste(1, s1.ste(context));
        builder.set_ste(2, s2.ste(0).with_s2vmid(5));
        builder.set_ste(3, s2.nested(context).with_s2vmid(6));
        let mut config = PsmmuConfig::new(0, BASE);
        config.cmdqv = Some((CMDQV, CmdqvConfig::default()));
        edit(&mut config.caches);
        let smmu = FunctionalSmmu::new(config).expect("a good configuration");
        let mut memory = Flat { bytes: vec![0; 16 << 20] };
        let end = builder.allocate(12);
        assert!(end <= COMMANDS, "the tables fit");
        for at in (RAM..end).step_by(8) {
            memory.write(at, &builder.word(at).to_le_bytes()).expect("memory");
        }
        let mut machine = Self { smmu, memory, prod: 0, vcmdq_prod: 0 };
        for (offset, len, value) in [
            (0x2c, 4, 2),
            (0x80, 8, streams),
            (0x88, 4, 4),
            (0x90, 8, COMMANDS | 8),
            (0x20, 4, 8),
            (0x20, 4, 9),
            // VINTF 0 is the host's, VCMDQ 0 its LVCMDQ 0 with 256 entries.
            (CMDQV - BASE + 0x200, 4, 1),
            (CMDQV - BASE + 0x1000, 4, 1 << 17 | 1),
            (CMDQV - BASE + 0x4_0000, 8, RING | 8),
            (CMDQV - BASE + 0x3_0008, 4, 1),
        ] {
            machine.write(BASE + offset, len, value);
        }
        machine
    }
    fn write(&mut self, addr: u64, len: u8, value: u64) {
        self.smmu.write(addr, len, value, &mut self.memory).expect("a register");
    }
    fn read(&mut self, sid: u32, iova: u64, into: &mut [u8]) {
        self.smmu.dma_read(Stream::new(sid), iova, into, &mut self.memory).expect("mapped");
    }
    /// Puts commands into one of the rings of 256 entries and rings.
    fn push(&mut self, vcmdq: bool, commands: &[Command]) {
        let (ring, mut prod, doorbell) =
            if vcmdq { (RING, self.vcmdq_prod, LVCMDQ_PROD) } else { (COMMANDS, self.prod, CMDQ_PROD) };
        for command in commands {
            self.memory.write(ring + 16 * u64::from(prod & 255), &command.to_bytes()).expect("memory");
            prod = (prod + 1) & 511;
        }
        *(if vcmdq { &mut self.vcmdq_prod } else { &mut self.prod }) = prod;
        self.write(doorbell, 4, prod.into());
        // Both queues show CONS one register in front of PROD or behind it.
        let cons = if vcmdq { LVCMDQ_PROD - 4 } else { CMDQ_PROD + 4 };
        assert_eq!(self.smmu.read(cons, 4, &mut self.memory), Ok(prod.into()), "everything was consumed");
    }
}

/// Reads of eight bytes that hit a TLB: always the same page, or one of 16 or 64 in turn.
fn hits(c: &mut Criterion) {
    let mut group = c.benchmark_group("functional hit");
    group.throughput(Throughput::Elements(1));
    for pages in [1, 16, 64] {
        let mut machine = Machine::new(|_| ());
        let (mut page, mut word) = (0, [0; 8]);
        (0..pages).for_each(|page| machine.read(1, page << 12, &mut word));
        group.bench_function(format!("{pages} pages"), |b| {
            b.iter(|| {
                page = (page + 1) % pages;
                machine.read(1, black_box(page << 12), &mut word);
            });
        });
    }
    let mut machine = Machine::new(|_| ());
    let mut bytes = vec![0; 64 << 12];
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("256KB", |b| b.iter(|| machine.read(1, 0, black_box(&mut bytes))));
    group.finish();
}

/// Reads whose translation is in no TLB and no walk cache; STE and CD are cached.
fn walks(c: &mut Criterion) {
    let mut group = c.benchmark_group("functional walk");
    group.throughput(Throughput::Elements(1));
    for (name, sid) in
        [("stage 1, four levels", STREAMS[0]), ("stage 2, four levels", STREAMS[1]), ("nested", STREAMS[2])]
    {
        let mut machine = Machine::new(|shape| {
            *shape = CacheShape { streams: shape.streams, contexts: shape.contexts, ..CacheShape::NONE };
        });
        let (base, mut word) = (if sid == 2 { PAGES } else { 0 }, [0; 8]);
        group.bench_function(name, |b| b.iter(|| machine.read(sid, black_box(base + 0x1000), &mut word)));
    }
    // With caches of the usual sizes, each walk is preceded by an invalidation of everything.
    let mut machine = Machine::new(|_| ());
    let mut word = [0; 8];
    group.bench_function("nested, caches filled, TLBI_NSNH_ALL", |b| {
        b.iter(|| {
            machine.push(false, &[Command::tlbi_nsnh_all()]);
            machine.read(3, black_box(0x1000), &mut word);
        });
    });
    group.finish();
}

/// Doorbell to CONS, which is read back.
fn commands(c: &mut Criterion) {
    let mut group = c.benchmark_group("functional commands");
    for (name, vcmdq) in [("main queue", false), ("VCMDQ", true)] {
        let mut machine = Machine::new(|_| ());
        let mut word = [0; 8];
        (0..64).for_each(|page| machine.read(1, page << 12, &mut word));
        let pair = [Command::tlbi_nh_va(1, 0, 0x1000, true), Command::sync()];
        group.throughput(Throughput::Elements(1));
        group.bench_function(format!("{name}, TLBI and CMD_SYNC"), |b| b.iter(|| machine.push(vcmdq, &pair)));
        let mut many = vec![Command::tlbi_nh_va(1, 0, 0x100_0000, true); 63];
        many.push(Command::sync());
        group.throughput(Throughput::Elements(64));
        group.bench_function(format!("{name}, 63 TLBI and CMD_SYNC"), |b| {
            b.iter(|| {
                machine.push(vcmdq, &many);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, hits, walks, commands);
criterion_main!(benches);

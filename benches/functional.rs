//! The pSMMU over a flat memory: what a DMA and a command cost on the host. Without time, and for DMA also with time.
//!
//! Aims without time: a TLB hit 20 ns, a walk of four levels 120 ns. See `docs/performance.md`.

use std::hint::black_box;

use benches::machine::{Machine, NESTED, STAGE1, STAGE2, Timed, first_page, walks_only};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spec::smmu::Command;

/// Reads of eight bytes that hit a TLB: the micro TLB, always the same page or one of 16 in turn; the main TLB, pages in turn of
/// which the micro TLB has forgotten each when it comes again.
fn hits(c: &mut Criterion) {
    let mut group = c.benchmark_group("functional hit");
    group.throughput(Throughput::Elements(1));
    for (name, pages) in [("1 page", 1), ("16 pages", 16), ("main TLB, 48 pages", 48)] {
        let mut machine = Machine::new(|_| ());
        let (mut page, mut word) = (0, [0; 8]);
        (0..pages).for_each(|page| machine.read(STAGE1, page << 12, &mut word));
        group.bench_function(name, |b| {
            b.iter(|| {
                page = (page + 1) % pages;
                // Not the same line of each page: a cache of the host has few places for those.
                machine.read(STAGE1, black_box(page << 12 | page << 6), &mut word);
            });
        });
    }
    let mut machine = Machine::new(|_| ());
    let mut bytes = vec![0; 64 << 12];
    group.throughput(Throughput::Bytes(bytes.len() as u64));
    group.bench_function("256KB", |b| b.iter(|| machine.read(STAGE1, 0, black_box(&mut bytes))));
    group.finish();
}

const WALKS: [(&str, u32); 3] =
    [("stage 1, four levels", STAGE1), ("stage 2, four levels", STAGE2), ("nested", NESTED)];

/// Reads whose translation is in no TLB and no walk cache; STE and CD are cached.
fn walks(c: &mut Criterion) {
    let mut group = c.benchmark_group("functional walk");
    group.throughput(Throughput::Elements(1));
    for (name, sid) in WALKS {
        let (mut machine, mut word) = (Machine::new(walks_only), [0; 8]);
        let iova = first_page(sid) + 0x1000;
        group.bench_function(name, |b| b.iter(|| machine.read(sid, black_box(iova), &mut word)));
    }
    // With caches of the usual sizes, each walk is preceded by an invalidation of everything.
    let mut machine = Machine::new(|_| ());
    let mut word = [0; 8];
    group.bench_function("nested, caches filled, TLBI_NSNH_ALL", |b| {
        b.iter(|| {
            machine.push(false, &[Command::tlbi_nsnh_all()]);
            machine.read(NESTED, black_box(0x1000), &mut word);
        });
    });
    group.finish();
}

/// The same with time: host time of all events of a DMA.
fn timed(c: &mut Criterion) {
    let mut group = c.benchmark_group("timed");
    group.throughput(Throughput::Elements(1));
    let mut machine = Timed::new(|_| ());
    group.bench_function("hit", |b| b.iter(|| machine.read(STAGE1, black_box(0x1000))));
    for (name, sid) in WALKS {
        let (mut machine, iova) = (Timed::new(walks_only), first_page(sid) + 0x1000);
        group.bench_function(name, |b| b.iter(|| machine.read(sid, black_box(iova))));
    }
    group.finish();
}

/// Doorbell to CONS, which is read back.
fn commands(c: &mut Criterion) {
    let mut group = c.benchmark_group("functional commands");
    for (name, vcmdq) in [("main queue", false), ("VCMDQ", true)] {
        let mut machine = Machine::new(|_| ());
        let mut word = [0; 8];
        (0..64).for_each(|page| machine.read(STAGE1, page << 12, &mut word));
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

criterion_group!(benches, hits, walks, timed, commands);
criterion_main!(benches);

//! The sequences of registers by which software is known to drive a CMDQV, against what this driver does.
//!
//! Each test compares twice: with the sequence as it is documented, written down here step by step; and with a trace in
//! `harness/kernel/tests/cmdqv`, which shows every access (`UPDATE_EXPECT=1` writes it anew).

mod direct;
mod guest;
mod host;
mod users;

use std::sync::Arc;

use models::cpu::CpuId;
use spec::cmdqv::config::PARAM;

use crate::smmu::Driver;
use crate::testing::trace::{Seen, text};
use crate::testing::{Bench, Parts};

/// LVCMDQs of a VINTF.
const N: u64 = 2;

/// A step of a documented sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Reads 32 bits.
    R(u64),
    /// Reads 32 bits, which are these.
    Is(u64, u64),
    /// Reads 64 bits.
    R64(u64),
    /// Writes 32 bits.
    W(u64, u64),
    /// Writes 64 bits.
    W64(u64, u64),
    /// Reads 32 bits until bit 0 is this.
    Poll(u64, u64),
    /// A CMD_SYNC on the SMMU's own queue.
    Sync,
    /// The interrupt.
    Edge,
}
use Step::{Edge, Is, Poll, R, R64, Sync, W, W64};

impl Step {
    fn is(self, seen: Seen) -> bool {
        match (self, seen) {
            (R(at), Seen::Read { offset, len: 4, .. }) | (R64(at), Seen::Read { offset, len: 8, .. }) => {
                offset == at
            }
            (Poll(at, bit), Seen::Read { offset, len: 4, value }) => (offset, value & 1) == (at, bit),
            (Is(at, is), Seen::Read { offset, len: 4, value })
            | (W(at, is), Seen::Write { offset, len: 4, value })
            | (W64(at, is), Seen::Write { offset, len: 8, value }) => (offset, value) == (at, is),
            (Sync, Seen::Sync) | (Edge, Seen::Edge) => true,
            _ => false,
        }
    }
}

fn p0(v: u64, l: u64) -> u64 {
    0x3_0000 + 0x2_0000 * v + 0x80 * l
}
fn p1(v: u64, l: u64) -> u64 {
    p0(v, l) + 0x1_0000
}
fn vb(v: u64) -> u64 {
    0x1000 + 0x100 * v
}
fn alloc(v: u64, l: u64) -> u64 {
    0x200 + 4 * (v * N + l)
}

/// Resets an LVCMDQ.
fn s4a(v: u64, l: u64) -> Vec<Step> {
    let (p0, p1) = (p0(v, l), p1(v, l));
    vec![
        W(p0 + 0x08, 0),
        Poll(p0 + 0x0c, 0),
        Sync,
        Sync,
        W(p0 + 0x04, 0),
        W(p0, 0),
        W64(p1, 0),
        W64(p1 + 0x08, 0),
        R(p0 + 0x14),
        R(p0 + 0x10),
    ]
}
/// Sets an LVCMDQ of the kernel's own up. `base` is address and log2 of the entries.
fn s4b(v: u64, l: u64, base: u64) -> Vec<Step> {
    let own = [W64(p1(v, l), base), W(p0(v, l) + 0x08, 1), Poll(p0(v, l) + 0x0c, 1)];
    [s4a(v, l), own.to_vec()].concat()
}
/// Sets an LVCMDQ of a virtual machine up, which enables it itself.
fn s4c(v: u64, l: u64, base: u64) -> Vec<Step> {
    [s4a(v, l), vec![W64(p1(v, l), base)]].concat()
}
/// Entry of an LVCMDQ in the allocation table.
fn entry(v: u64, l: u64) -> u64 {
    v << 15 | l << 1
}
fn s5a(v: u64, l: u64) -> Vec<Step> {
    vec![Is(alloc(v, l), entry(v, l)), W(alloc(v, l), entry(v, l) | 1)]
}
fn s5b(v: u64, l: u64) -> Vec<Step> {
    vec![R(alloc(v, l)), W(alloc(v, l), entry(v, l))]
}
/// Resets a VINTF with so many LVCMDQs.
fn s7(v: u64, queues: u64) -> Vec<Step> {
    let mut steps: Vec<_> = (0..queues).rev().flat_map(|l| [s4a(v, l), s5b(v, l)].concat()).collect();
    steps.extend([W(vb(v), 0), Poll(vb(v) + 0x04, 0)]);
    steps.extend((0..16).flat_map(|s| [W(vb(v) + 0x40 + 4 * s, 0), W(vb(v) + 0x80 + 4 * s, 0)]));
    steps
}
/// Sets a VINTF up with these rings.
fn s3(v: u64, hyp_own: u64, vmid: u64, rings: &[u64]) -> Vec<Step> {
    let config = hyp_own << 17 | vmid << 1;
    let mut steps = s7(v, rings.len() as u64);
    steps.extend([W(vb(v), config), W(vb(v), config | 1), Poll(vb(v) + 0x04, 1), Is(vb(v), config | 1)]);
    steps.extend(rings.iter().zip(0..).flat_map(|(&ring, l)| [s5a(v, l), s4b(v, l, ring)].concat()));
    steps
}
/// Resets the block and sets VINTF 0 up.
fn s2(vintfs: u64, rings: &[u64]) -> Vec<Step> {
    let config = 0x0002_0083;
    let mut steps = vec![Is(0, config), W(0, config & !1), Poll(0x08, 0), W(0, config), Poll(0x08, 1)];
    for v in 0..vintfs {
        steps.extend((0..N).map(|l| W(alloc(v, l), entry(v, l))));
    }
    steps.extend(s3(0, 1, 0, rings));
    steps
}

/// The steps must have been seen, and nothing else.
#[track_caller]
fn follows(seen: &[Seen], steps: &[Step], param: PARAM) {
    for (i, step) in steps.iter().enumerate() {
        match seen.get(i) {
            Some(seen) if step.is(*seen) => {}
            Some(_) => panic!(
                "step {i} should be {step:x?}, but was\n{}",
                text(&seen[i..seen.len().min(i + 5)], param)
            ),
            None => panic!("step {i} should be {step:x?}, but nothing more was seen"),
        }
    }
    assert!(
        seen.len() == steps.len(),
        "more than the sequence was seen:\n{}",
        text(&seen[steps.len()..], param)
    );
}

/// Compares with the trace of this name.
fn golden(name: &str, seen: &[Seen], param: PARAM) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cmdqv").join(name);
    expect_test::expect_file![path].assert_eq(&text(seen, param));
}

/// A block of 4 VINTFs and 8 VCMDQs, and two CPUs more than interrupt handlers need.
fn bench() -> (Bench, PARAM) {
    let parts = Parts::with_cmdqv(3, 2, 3);
    let param = parts.psmmu.cmdqv.as_ref().expect("it has one").1.param();
    (Bench::new(parts), param)
}

/// Boots the host on CPU 0, with its handlers on CPU 1. What was seen of that is taken.
fn boot(bench: &mut Bench) -> (Arc<Driver>, Vec<Seen>) {
    let (config, pages, journal) = (bench.config(), bench.pages.clone(), bench.journal.clone());
    let driver = bench.run(0, |cpu| async move {
        let driver = Driver::probe(&cpu, config, &pages, &journal).await.expect("the hardware is fine");
        driver.spawn_handlers(&cpu, CpuId(1)).await;
        driver
    });
    let seen = bench.trace.take();
    (driver, seen)
}

/// Without the CMD_SYNCs that bring the SMMU up, which come after the probe of the CMDQV.
fn without_smmu_reset(seen: &[Seen], probe: usize) -> Vec<Seen> {
    let (probe, rest) = seen.split_at(probe);
    let own = rest.iter().skip_while(|seen| **seen == Seen::Sync);
    probe.iter().chain(own).copied().collect()
}

/// Where the rings of VINTF 0 are, and log2 of their entries.
fn rings(driver: &Driver) -> Vec<u64> {
    let queues = driver.cmdqv().expect("it is used").own_queues();
    queues.map(|queue| queue.ring_base() | u64::from(queue.log2())).collect()
}

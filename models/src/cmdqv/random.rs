//! Random software: nothing it does may panic, mix up queues or reach another VINTF.

use proptest::collection::vec;
use proptest::prelude::*;
use spec::smmu::{Command, Opcode};

use super::functional::{Lvcmdq, Rig};
use super::knobs::{AllocationOrder, AllocationsOnDisable, Backlog, GerrornDifference, OnDeallocation};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Step {
    /// Software writes.
    Write { at: u64, len: u8, value: u64 },
    /// Software reads.
    Read { at: u64, len: u8 },
    /// An outstanding request is answered.
    Answer { nth: usize },
    /// A command is taken from the `nth` ready queue.
    Take { nth: usize },
    /// The `nth` taken command ends.
    Retire { nth: usize, fails: bool },
}

/// Offsets that mean something in a block of 4 VINTFs and 8 VCMDQs, and some that do not.
fn offset() -> impl Strategy<Value = u64> {
    prop_oneof![
        2 => (0_u64..13).prop_map(|i| 4 * i),
        4 => (0_u64..9).prop_map(|q| 0x200 + 4 * q),
        3 => (0_u64..5, prop::sample::select(vec![0, 4, 0x40, 0x44, 0x80, 0x84, 0xc0, 0xc8])).prop_map(|(v, r)| 0x1000 + 0x100 * v + r),
        6 => (0_u64..9, 0_u64..7).prop_map(|(q, r)| 0x1_0000 + 0x80 * q + 4 * r),
        3 => (0_u64..9, 0_u64..5).prop_map(|(q, r)| 0x2_0000 + 0x80 * q + 4 * r),
        8 => (0_u64..4, 0_u64..3, 0_u64..7).prop_map(|(v, l, r)| 0x3_0000 + 0x2_0000 * v + 0x80 * l + 4 * r),
        3 => (0_u64..4, 0_u64..3, 0_u64..5).prop_map(|(v, l, r)| 0x4_0000 + 0x2_0000 * v + 0x80 * l + 4 * r),
        1 => 0_u64..0x10_0000,
    ]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        0_u64..8,
        any::<u64>(),
        (0_u64..4, 0_u64..3).prop_map(|(v, l)| v << 15 | l << 1 | 1),
        (0_u64..4).prop_map(|n| 0x1_0000 * n + 2),
        Just(0x12_0083),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let len = prop_oneof![12 => Just(4_u8), 3 => Just(8_u8), 1 => any::<u8>()];
    prop_oneof![
        8 => (offset(), len, value()).prop_map(|(at, len, value)| Step::Write { at, len, value }),
        1 => (offset(), prop::sample::select(vec![1_u8, 4, 8])).prop_map(|(at, len)| Step::Read { at, len }),
        6 => any::<usize>().prop_map(|nth| Step::Answer { nth }),
        4 => any::<usize>().prop_map(|nth| Step::Take { nth }),
        4 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(nth, fails)| Step::Retire { nth, fails }),
    ]
}

fn small(rig: &mut super::CmdqvConfig) {
    (rig.vintfs_log2, rig.vcmdqs_log2, rig.sids_log2) = (2, 3, 1);
}

/// Does the steps, then lets everything finish.
fn run(rig: &mut Rig, steps: &[Step]) {
    rig.hold = true;
    rig.halt = true;
    let mut taken: Vec<u16> = Vec::new();
    for step in steps {
        match *step {
            Step::Write { at, len, value } => rig.block.write(at, len, value),
            Step::Read { at, len } => {
                let value = rig.block.read(at, len);
                assert!(len == 8 || value >> 32 == 0);
            }
            Step::Answer { nth } if !rig.held.is_empty() => rig.release_nth(nth % rig.held.len()),
            Step::Take { nth } => {
                let ready: Vec<_> = rig.block.ready_queues().iter_ones().collect();
                if !ready.is_empty() {
                    let q = ready[nth % ready.len()] as u16;
                    taken.extend(rig.block.take(q).map(|_| q));
                }
            }
            Step::Retire { nth, fails } if !taken.is_empty() => {
                let q = taken.swap_remove(nth % taken.len());
                let code = spec::smmu::error::CommandError::CERROR_ILL;
                rig.block.retire(q, if fails { Err(code) } else { Ok(()) });
            }
            Step::Answer { .. } | Step::Retire { .. } => {}
        }
        rig.settle();
    }
    for q in taken {
        rig.block.retire(q, Ok(()));
    }
    rig.halt = false;
    rig.release();
    assert!(rig.block.is_idle(), "everything comes to rest");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// No sequence of accesses and answers panics, and afterwards a reset block works.
    #[test]
    fn any_accesses(
        steps in vec(step(), 0..200),
        order in prop::sample::select(vec![AllocationOrder::Accept, AllocationOrder::Refuse, AllocationOrder::Hang]),
        backlog in prop::sample::select(vec![Backlog::Stop, Backlog::Drain, Backlog::Drop]),
        difference in prop::sample::select(vec![GerrornDifference::Stall, GerrornDifference::Ignore]),
        clear: (bool, bool),
        faults: (bool, bool),
    ) {
        let mut rig = Rig::with(|c| {
            small(c);
            (c.knobs.allocation_order, c.knobs.backlog, c.knobs.gerrorn_difference) = (order, backlog, difference);
            if clear.0 {
                c.knobs.registers_on_deallocation = OnDeallocation::Clear;
            }
            if clear.1 {
                c.knobs.allocations_on_disable = AllocationsOnDisable::Clear;
            }
            (c.faults.keep_prefetched, c.faults.early_disable) = faults;
        });
        for i in 0..0x800 {
            rig.store(0x1_0000 + 16 * i, Command::new([Opcode::SYNC, Opcode::TLBI_NH_ASID, Opcode::ATC_INV][i as usize % 3]));
        }
        run(&mut rig, &steps);
        prop_assert!(rig.log.len() < 100_000);
        // A disable works from any state, at every level.
        rig.w(0x0, 0x0002_0082);
        prop_assert_eq!(rig.r(0x8), 0);
        for q in 0..8 {
            prop_assert_eq!(rig.r(0x1_000c + 0x80 * q), 0);
        }
    }

    /// Commands of a queue execute in its order, as its owner and nobody else, however answers are interleaved.
    #[test]
    fn queues_keep_their_order_and_stay_apart(
        batches in vec((0_usize..4, 1_u16..9), 1..40),
        steps in vec(prop_oneof![
            any::<usize>().prop_map(|nth| Step::Answer { nth }),
            any::<usize>().prop_map(|nth| Step::Take { nth }),
            any::<usize>().prop_map(|nth| Step::Retire { nth, fails: false }),
        ], 0..60),
        burst in 1_u8..5,
        extra in 0_u16..9,
    ) {
        let mut rig = Rig::with(|c| {
            small(c);
            (c.burst, c.prefetch) = (burst, u16::from(burst) + extra);
        });
        let mut queues: Vec<Lvcmdq> = Vec::new();
        for v in [1_u8, 2] {
            rig.vintf(v, false, u16::from(v) * 0x11);
            queues.extend([0, 1].map(|l| rig.queue(v, l, 3)));
        }
        let mut sent: Vec<Vec<Command>> = vec![Vec::new(); 4];
        let mut executed: Vec<Vec<Command>> = vec![Vec::new(); 4];
        let mut steps = steps.iter().cycle();
        for (to, n) in batches {
            let queue = &mut queues[to];
            let free = 8 - (queue.prod.wrapping_sub(rig.cons(queue).0) & 15);
            let n = n.min(free as u16);
            let first = sent[to].len() as u16;
            let batch: Vec<_> = (first..first + n).map(|i| Command::tlbi_nh_asid(i, 0xffff)).collect();
            rig.hold = true;
            rig.halt = true;
            rig.push(queue, &batch);
            let vmid = u16::from(queue.v) * 0x11;
            sent[to].extend(batch.iter().map(|c| c.with_vmid(vmid.into())));
            let mut taken = Vec::new();
            for step in steps.by_ref().take(3) {
                match *step {
                    Step::Answer { nth } if !rig.held.is_empty() => rig.release_nth(nth % rig.held.len()),
                    Step::Take { nth } => {
                        let ready: Vec<_> = rig.block.ready_queues().iter_ones().collect();
                        if !ready.is_empty() {
                            let q = ready[nth % ready.len()] as u16;
                            taken.push((q, rig.block.take(q).expect("legal").executed));
                        }
                    }
                    _ => {}
                }
            }
            for (q, command) in taken {
                executed[usize::from(q) - 2].push(command);
                rig.block.retire(q, Ok(()));
            }
            for (q, command) in std::mem::take(&mut rig.log) {
                executed[usize::from(q) - 2].push(command);
            }
        }
        rig.halt = false;
        rig.release();
        for (q, command) in std::mem::take(&mut rig.log) {
            executed[usize::from(q) - 2].push(command);
        }
        prop_assert_eq!(executed, sent);
        for queue in &queues {
            prop_assert_eq!(rig.cons(queue), (queue.prod, 0));
        }
        prop_assert!(rig.block.is_idle());
    }
}

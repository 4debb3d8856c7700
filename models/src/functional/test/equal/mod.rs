//! The same random software drives a pSMMU without time and one with time, which comes to rest after every step. Afterwards
//! nothing that software, devices or observers see may differ.

mod differ;
mod found;
mod optional;
mod pair;
mod pmcg;
mod step;
mod traffic;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;

use self::pair::Pair;
use self::step::{config, step};
use super::Record;
use crate::record::CommandQueue;

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(96)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn with_and_without_time(config in config(), steps in vec(step(), 1..80)) {
        let mut pair = Pair::new(&config);
        for (n, step) in steps.iter().enumerate() {
            pair.step(step);
            let differences = pair.differences();
            prop_assert!(differences.is_empty(), "after step {n}, {step:?}:\n{}", differences.join("\n"));
        }
    }
}

/// The generator reaches what it is meant to reach.
#[test]
fn the_steps_reach_everything() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut seen = std::collections::BTreeMap::<String, u64>::new();
    for _ in 0..330 {
        let config = config().new_tree(&mut runner).expect("a configuration").current();
        let steps = vec(step(), 60..80).new_tree(&mut runner).expect("steps").current();
        let mut pair = Pair::new(&config);
        steps.iter().for_each(|step| pair.step(step));
        for (name, n) in pair.plain.smmu.metrics() {
            *seen.entry(name).or_default() += n;
        }
        *seen.entry("resumed".into()).or_default() += pair.resumed;
        let overflows = pair.plain.world.interrupts.iter().filter(|i| [91, 92].contains(i));
        *seen.entry("overflows".into()).or_default() += overflows.count() as u64;
        let queues = &pair.plain.smmu.counters().by_queue;
        *seen.entry("enhanced".into()).or_default() += queues.iter().rev().take(pair.enhanced()).sum::<u64>();
        let stopped = |r: &&Record| matches!(r, Record::CommandError { queue: CommandQueue::Ecmdq(_), .. });
        *seen.entry("enhanced_errors".into()).or_default() +=
            pair.plain.world.records.iter().filter(stopped).count() as u64;
        for (name, n) in ["operations.found", "operations.failed"].into_iter().zip(pair.operations) {
            *seen.entry(name.into()).or_default() += n;
        }
        *seen.entry("unsupported".into()).or_default() += pair.unsupported;
        *seen.entry("complete".into()).or_default() += u64::from(!pair.raced);
    }
    for (name, least) in [
        ("commands.SYNC", 500),
        ("commands.ATC_INV", 100),
        ("commands.RESUME", 20),
        ("commands.TLBI_S2_IPA", 100),
        ("command_errors", 150),
        ("atc_timeouts", 25),
        ("entries_removed", 200),
        ("events", 300),
        ("events_overflowed", 20),
        ("events_lost", 10),
        ("global_errors", 80),
        ("interrupts", 300),
        ("interrupts_lost", 5),
        ("invalidations_dropped", 50),
        ("inserted_syncs", 20),
        ("wake_events", 20),
        ("page_requests", 300),
        ("page_requests_overflowed", 100),
        ("page_requests_discarded", 40),
        ("page_requests_lost", 3),
        ("page_responses", 20),
        ("automatic_page_responses", 100),
        ("unsupported", 100),
        ("stalls", 50),
        ("resumed", 30),
        ("complete", 120),
        ("overflows", 20),
        ("ats_requests", 300),
        ("micro_tlb.hits", 150),
        ("main_tlb.hits", 20),
        ("walk_reads", 2000),
        ("walk_updates", 150),
        ("enhanced", 250),
        ("enhanced_errors", 20),
        ("operations.found", 20),
        ("operations.failed", 60),
        ("cmdqv.commands", 250),
        ("cmdqv.errors", 40),
        ("cmdqv.vmids_replaced", 50),
        ("cmdqv.sids_replaced", 20),
        ("cmdqv.write_backs", 50),
    ] {
        let n = seen.get(name).copied().unwrap_or(0);
        assert!(n >= least, "{name}: {n} of at least {least}\n{seen:#?}");
    }
}

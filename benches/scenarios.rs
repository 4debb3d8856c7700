//! Whole scenarios: commands through guests' hardware queues, and translations of DMA, per second of host time.
//!
//! A sample is a whole run but for parsing: building the platform, booting host and guest, the load, and the oracle
//! that watches. The loads are large enough that building and booting hardly count; what they cost is printed.

use std::hint::black_box;
use std::time::Duration;

use benches::{parse, passing, sum};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use scenario::Outcome;

/// Four endpoints and a guest with as many CPUs and hardware queues of its own.
const GUEST: &str = r#"
title = "A guest that owns hardware queues"
time_limit = "10 s"

[psmmu.smmu0]
cmdqv = { vintfs = 4, vcmdqs = 8, sid_slots = 16 }

[endpoint.nic]
count = 4

[vm.vm0]
vcpus = 4
memory = "256 MiB"

[vsmmu.vs0]
vm = "vm0"
policy = "passthrough"
devices = "nic"

[load.loop]
actor = "vm0"
endpoint = "nic"
threads = 4
"#;

/// Four endpoints of the host.
const HOST: &str = r#"
title = "DMA of the host"
time_limit = "10 s"

[psmmu.smmu0]

[endpoint.nic]
count = 4

[load.loop]
endpoint = "nic"
threads = 4
"#;

/// What is counted in a run.
type Count = fn(&Outcome) -> u64;

/// The guest's queues lie in VINTF 1.
fn commands(outcome: &Outcome) -> u64 {
    sum(outcome, "smmu0.vintf1.", "commands")
}

/// Every transaction is one, however often it looks into the TLBs.
fn translations(outcome: &Outcome) -> u64 {
    sum(outcome, "smmu0.", "dmas")
}

struct Case {
    group: &'static str,
    name: &'static str,
    platform: &'static str,
    /// Further keys of the load.
    load: &'static str,
    count: Count,
}

const CASES: [Case; 5] = [
    Case {
        group: "vcmdq_commands",
        name: "map-dma-unmap",
        platform: GUEST,
        load: "count = 2000",
        count: commands,
    },
    Case {
        group: "vcmdq_commands",
        name: "map-unmap",
        platform: GUEST,
        load: "kind = 'map-unmap'\ncount = 2000",
        count: commands,
    },
    Case {
        group: "translations",
        name: "one stage, long transfers",
        platform: HOST,
        load: "kind = 'dma'\npages = 16\ncount = 40\nbytes = '4 KiB'",
        count: translations,
    },
    Case {
        group: "translations",
        name: "two stages, long transfers",
        platform: GUEST,
        load: "kind = 'dma'\npages = 16\ncount = 40\nbytes = '4 KiB'",
        count: translations,
    },
    // One visit to every page, so that nearly all of them miss.
    Case {
        group: "translations",
        name: "two stages, a page each",
        platform: GUEST,
        load: "kind = 'dma'\npages = 8192\ncount = 1\nbytes = '64 B'",
        count: translations,
    },
];

/// The platform with next to nothing to do.
const IDLE: &str = "kind = 'map-unmap'\ncount = 1";

fn scenarios(criterion: &mut Criterion) {
    for case in CASES {
        let scenario = parse(case.name, &format!("{}{}", case.platform, case.load));
        let idle = parse("idle", &format!("{}{IDLE}", case.platform));
        // The first run warms up.
        let seen = passing(&scenario);
        let (count, host) = ((case.count)(&seen), passing(&scenario).host);
        println!(
            "{}/{}: {count} in {} simulated; {} events, {:.0} events/s; {:.1} ms, of which {:.1} ms set-up",
            case.group,
            case.name,
            seen.simulated,
            seen.events,
            seen.events as f64 / host.as_secs_f64(),
            host.as_secs_f64() * 1e3,
            passing(&idle).host.as_secs_f64() * 1e3,
        );
        let mut group = criterion.benchmark_group(case.group);
        group.sample_size(10).throughput(Throughput::Elements(count));
        group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3));
        group.bench_function(BenchmarkId::from_parameter(case.name), |b| {
            b.iter(|| black_box(passing(&scenario)));
        });
        group.finish();
    }
}

criterion_group!(benches, scenarios);
criterion_main!(benches);

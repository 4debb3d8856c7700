//! Metrics: everything that was counted, by `<owner>.<what>`.

use std::collections::BTreeMap;

use models::system::Machine;
use sim::stats::Latency;

use super::script::Script;
use crate::model::{Behind, Scenario};
use crate::outcome::Value;

/// All metrics as they stand.
pub(super) fn collect(scenario: &Scenario, machine: &Machine, script: &Script) -> BTreeMap<String, Value> {
    let mut out = BTreeMap::new();
    let mut rates = Vec::new();
    let mut put = |name: String, value: u64| {
        out.insert(name, Value::Count(value));
    };
    put("sim.events".into(), machine.counters().events);
    put("host.exits".into(), 0);
    for (i, psmmu) in scenario.psmmus.iter().enumerate() {
        let name = &psmmu.name;
        let model = &machine.psmmus()[i];
        for (what, value) in model.metrics() {
            put(format!("{name}.{what}"), value);
        }
        let counters = model.counters();
        put(format!("{name}.commands"), counters.commands.values().sum());
        let hits = model.caches().stats;
        let (asked, knew) = (hits.micro.lookups, hits.micro.hits + hits.main.hits);
        if asked > 0 {
            rates.push((format!("{name}.tlb_hit_rate"), knew as f64 / asked as f64));
        }
        if let Some(cmdqv) = model.cmdqv() {
            let mut by_vintf: BTreeMap<u64, u64> = BTreeMap::new();
            for v in 0..psmmu.cmdqv.map_or(0, |c| c.vintfs) {
                by_vintf.insert(v, 0);
            }
            for (queue, commands) in counters.by_queue.iter().enumerate().skip(1) {
                if let Some(vintf) = cmdqv.vintf_of(queue - 1) {
                    *by_vintf.entry(vintf.into()).or_default() += commands;
                }
            }
            for (vintf, commands) in by_vintf {
                put(format!("{name}.vintf{vintf}.commands"), commands);
            }
        }
    }
    for (i, endpoint) in scenario.endpoints.iter().enumerate() {
        if matches!(endpoint.behind, Behind::Psmmu(_)) {
            let counters = machine.endpoints()[i].counters();
            put(format!("{}.jobs", endpoint.name), counters.jobs);
            put(format!("{}.requests", endpoint.name), counters.requests);
            put(format!("{}.aborts", endpoint.name), counters.aborts);
            if endpoint.page_requests.is_some() {
                put(format!("{}.page_requests", endpoint.name), counters.page_requests);
                put(format!("{}.pages_refused", endpoint.name), counters.pages_refused);
                put(format!("{}.stop_markers", endpoint.name), counters.stop_markers);
            }
        }
    }
    if let Some(world) = &script.world {
        let mut total = 0;
        for (i, vm) in scenario.vms.iter().enumerate() {
            let machine = &world.vms[i].vm;
            // Counted from the end of the guest's boot.
            let boot = world.boot_exits.get(i).cloned().unwrap_or_default();
            let mut exits = machine.exits();
            for (why, n) in &mut exits {
                *n -= boot.get(why).copied().unwrap_or(0);
            }
            let sum: u64 = exits.values().sum();
            total += sum;
            put(format!("{}.boot_exits", vm.name), boot.values().sum());
            put(format!("{}.exits", vm.name), sum);
            put(format!("{}.direct_accesses", vm.name), machine.direct_accesses());
            for (why, n) in exits {
                put(format!("{}.exits.{why}", vm.name), n);
            }
        }
        put("total.exits".into(), total);
        for (i, v) in scenario.vsmmus.iter().enumerate() {
            let Some(vsmmu) = &world.vsmmus[i] else { continue };
            for (_, smmu, forwarded) in vsmmu.viommus() {
                let smmu = &scenario.psmmus[usize::from(smmu)].name;
                put(format!("{}.forwarded.{smmu}", v.name), forwarded);
            }
            for (what, n) in vsmmu.counters() {
                put(format!("{}.{what}", v.name), n);
            }
        }
    }
    for (i, running) in &script.loads {
        let name = &scenario.loads[*i].name;
        let counts = running.counts.lock();
        for (what, n) in
            [("iterations", counts.iterations), ("dma_bytes", counts.dma_bytes), ("aborted", counts.aborted)]
        {
            out.insert(format!("{name}.{what}"), Value::Count(n));
        }
        for (what, latency) in [("map", &counts.map), ("dma", &counts.dma), ("unmap", &counts.unmap)] {
            latencies(&mut out, &format!("{name}.{what}_ns"), latency);
        }
        if let Some(begun) = counts.begun {
            let seconds = (counts.ended.saturating_sub(begun)).as_secs_f64();
            if seconds > 0.0 {
                let rate = counts.iterations as f64 / seconds;
                out.insert(format!("{name}.iterations_per_s"), Value::Number(rate));
            }
        }
    }
    out.extend(script.worked_out.clone());
    out.extend(rates.into_iter().map(|(name, rate)| (name, Value::Number(rate))));
    out
}

fn latencies(out: &mut BTreeMap<String, Value>, name: &str, latency: &Latency) {
    if latency.count() == 0 {
        return;
    }
    for (suffix, time) in [
        ("mean", latency.mean()),
        ("p50", latency.quantile(0.5)),
        ("p99", latency.quantile(0.99)),
        ("max", latency.max()),
    ] {
        out.insert(format!("{name}_{suffix}"), Value::Number(time.as_ns_f64()));
    }
}

/// Whether a metric that is not counted yet may come: counters by opcode and reason appear with their first count.
pub(super) fn is_plausible(metric: &str, known: &BTreeMap<String, Value>) -> bool {
    let Some((owner, rest)) = metric.split_once('.') else { return false };
    let has_owner = known.keys().any(|k| k.split_once('.').is_some_and(|(o, _)| o == owner));
    let open = ["commands.", "exits.", "queue.", "cmdqv."];
    let opcode = !rest.contains('.') && rest.starts_with(|c: char| c.is_ascii_uppercase());
    has_owner && (opcode || open.iter().any(|prefix| rest.starts_with(prefix)))
}

/// What to say of a metric that nobody counts.
pub(super) fn unknown(metric: &str, known: &BTreeMap<String, Value>) -> String {
    let owner = metric.split('.').next().unwrap_or(metric);
    let mut close: Vec<&str> =
        known.keys().map(String::as_str).filter(|k| k.split('.').next() == Some(owner)).collect();
    close.truncate(12);
    if close.is_empty() {
        format!("nothing counts `{metric}`; nothing called `{owner}` counts anything")
    } else {
        format!("nothing counts `{metric}`; `{owner}` counts {} ...", close.join(", "))
    }
}

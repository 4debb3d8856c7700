//! Results as JSON: `{"version": 1, "results": [ ... ]}`.

use serde_json::{Map, Value as Json, json};

use crate::outcome::{Outcome, Value};

/// The version of the format. Keys may be added within a version, not removed or changed.
pub const VERSION: u64 = 1;

/// All results, in the order given.
pub fn document(outcomes: &[Outcome]) -> Json {
    json!({ "version": VERSION, "results": outcomes.iter().map(result).collect::<Vec<_>>() })
}

/// One result.
pub fn result(outcome: &Outcome) -> Json {
    let metrics: Map<String, Json> = outcome
        .metrics
        .iter()
        .map(|(name, value)| {
            let value = match value {
                Value::Count(n) => json!(n),
                Value::Number(n) => json!(n),
            };
            (name.clone(), value)
        })
        .collect();
    json!({
        "scenario": outcome.scenario,
        "file": outcome.path,
        "title": outcome.title,
        "statement": outcome.statement,
        "seed": outcome.seed,
        "verdict": outcome.verdict.to_string(),
        "simulated_ps": outcome.simulated.as_ps(),
        "host_ms": outcome.host.as_secs_f64() * 1e3,
        "events": outcome.events,
        "checks": outcome.checks.iter().map(|c| json!({
            "name": c.name,
            "verdict": c.verdict.to_string(),
            "message": c.message,
            "line": c.line,
            "why": c.why,
        })).collect::<Vec<_>>(),
        "findings": outcome.findings.iter().map(|f| json!({
            "kind": f.kind,
            "time_ps": f.time.as_ps(),
            "expected": f.expected,
            "summary": f.summary,
            "story": f.story,
        })).collect::<Vec<_>>(),
        "lints": outcome.lints.iter().map(|l| json!({
            "psmmu": l.psmmu,
            "text": l.text,
            "count": l.count,
        })).collect::<Vec<_>>(),
        "notes": outcome.notes,
        "metrics": metrics,
    })
}

//! How fast a metric grew in a span of the script, compared with another span, and with the fair share of a VINTF.

use std::collections::BTreeMap;

use sim::Time;

use super::script::Script;
use super::steps::Seen;
use crate::command::Block;
use crate::model::{Bounds, Psmmu, Scenario};
use crate::outcome::Value;
use crate::step::{self, Step, StepName};

/// All metrics at a moment.
pub(super) type Moment = (Time, BTreeMap<String, Value>);

fn value(at: &Moment, metric: &str) -> f64 {
    at.1.get(metric).map_or(0.0, |v| v.as_f64())
}

fn per_us(metric: &str, from: &Moment, to: &Moment) -> Result<f64, String> {
    let us = to.0.saturating_sub(from.0).as_ns_f64() / 1000.0;
    let grown = value(to, metric) - value(from, metric);
    if us > 0.0 { Ok(grown / us) } else { Err("the span has no length".to_owned()) }
}

/// Queues of a VINTF that executed commands, and all queues that did. VCMDQs are split evenly, as the host's driver does.
fn busy_queues(psmmu: &Psmmu, vintf: u64, from: &Moment, to: &Moment) -> (u32, u32) {
    let busy = |queue: &str| {
        let metric = format!("{}.queue.{queue}.commands", psmmu.name);
        u32::from(value(to, &metric) > value(from, &metric))
    };
    let (each, all) = psmmu.cmdqv.map_or((1, 0), |c| (c.queues_per_vintf(), c.vcmdqs));
    let sum = |queues: std::ops::Range<u64>| queues.map(|q| busy(&format!("vcmdq{q}"))).sum::<u32>();
    (sum(vintf * each..(vintf + 1) * each), busy("main") + sum(0..all))
}

/// Performs a step `rate`; `now` is when it is performed.
pub(super) fn rate(scenario: &Scenario, log: &mut Script, step: &Step, a: &step::Rate, now: Moment) -> Seen {
    if !now.1.contains_key(&a.metric) && !super::metrics::is_plausible(&a.metric, &now.1) {
        return Err(super::metrics::unknown(&a.metric, &now.1));
    }
    let end_of = |StepName(i): StepName| {
        let moment = log.ends.get(&i).copied().zip(log.snapshots.get(&i).cloned());
        moment.ok_or_else(|| {
            format!("step `{}` has not ended", scenario.steps[i].name.clone().unwrap_or_default())
        })
    };
    let (from, to) = (end_of(a.since)?, a.until.map_or(Ok(now), end_of)?);
    let mut judged = per_us(&a.metric, &from, &to)?;
    let mut text = format!("{} grew by {judged:.3} per us", a.metric);
    let mut worked_out = vec![("per_us", judged)];
    if let [first, last] = a.of[..] {
        let base = per_us(&a.metric, &end_of(first)?, &end_of(last)?)?;
        if base == 0.0 {
            return Err(format!("{} did not grow in the span compared with", a.metric));
        }
        judged /= base;
        text += &format!(", {judged:.3} of the {base:.3} before");
        worked_out.push(("of", judged));
    }
    let mut least = None;
    if let Some(Block::Vintf(psmmu, vintf)) = a.fair {
        let (own, all) = busy_queues(&scenario.psmmus[psmmu.0], vintf, &from, &to);
        if own == 0 {
            return Err(format!("no queue of VINTF {vintf} executed a command"));
        }
        let fair = f64::from(own) / f64::from(all);
        text += &format!("; fair are {own} of {all} busy queues");
        worked_out.push(("fair", fair));
        least = Some(fair);
    }
    if let Some(name) = &step.name {
        let entry = |(what, number)| (format!("{name}.{what}"), Value::Number(number));
        log.worked_out.extend(worked_out.into_iter().map(entry));
    }
    let bounds = Bounds { equals: None, min: a.min, max: a.max };
    match least {
        Some(fair) if judged < fair => Err(format!("{text}, so that at least {fair:.3} was expected")),
        _ if !bounds.is_empty() && !bounds.hold(judged) => Err(format!("{text}; expected {bounds}")),
        _ => Ok(text),
    }
}

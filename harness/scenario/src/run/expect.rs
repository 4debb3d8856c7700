//! Expectations: what must hold at the end, compared with what was seen.

use oracle::Finding as Found;

use super::judge::SeenEvent;
use super::metrics;
use super::script::Script;
use crate::model::{Behind, Bounds, Expectation, Finding as Word, Scenario, Subject};
use crate::names::{EndpointId, Kind, PairId, PsmmuId, Target};
use crate::outcome::{Check, Finding, Outcome};

/// Adds a check per expectation, and the oracle's findings with whether each was expected.
pub(super) fn evaluate(
    scenario: &Scenario,
    script: &Script,
    findings: &[Found],
    recorded: &[SeenEvent],
    outcome: &mut Outcome,
) {
    let judged = scenario.expects.iter().any(|e| matches!(e.subject, Subject::Oracle { .. }));
    outcome.findings = findings
        .iter()
        .map(|found| Finding {
            kind: found.kind.name().to_owned(),
            time: sim::Time::ps(found.time),
            expected: scenario.expects.iter().any(|e| allows(scenario, e, found)),
            summary: found.title.clone(),
            story: found.story.clone(),
        })
        .collect();
    for expectation in &scenario.expects {
        let seen = check(scenario, script, findings, recorded, outcome, expectation);
        let why = expectation.why.clone();
        let notable = why.is_some();
        let plain = Check::new(&expectation.name, Some(expectation.line), seen);
        outcome.checks.push(Check { why, notable, ..plain });
    }
    let clean_is_expected =
        |e: &Expectation| matches!(e.subject, Subject::Oracle { finding: Word::Clean, .. });
    if !scenario.expects.iter().any(clean_is_expected) {
        let unexpected = outcome.findings.iter().filter(|f| !f.expected).count();
        if unexpected > 0 || !judged {
            let name = if judged { "the oracle finds nothing else" } else { "the oracle finds nothing" };
            let said = say_findings(outcome.findings.iter().filter(|f| !f.expected));
            outcome.checks.push(Check::new(name, None, if unexpected == 0 { Ok(said) } else { Err(said) }));
        }
    }
}

fn say_findings<'a>(findings: impl Iterator<Item = &'a Finding>) -> String {
    let mut list: Vec<String> = findings.map(|f| format!("{}: {}", f.kind, f.summary)).collect();
    let more = list.len().saturating_sub(2);
    list.truncate(2);
    match (list.is_empty(), more) {
        (true, _) => "nothing found".to_owned(),
        (_, 0) => list.join("; "),
        (_, n) => format!("{}; and {n} more", list.join("; ")),
    }
}

fn check(
    scenario: &Scenario,
    script: &Script,
    findings: &[Found],
    recorded: &[SeenEvent],
    outcome: &Outcome,
    expectation: &Expectation,
) -> Result<String, String> {
    let within = |value: f64, what: &str| {
        let bounds = expectation.bounds;
        let holds = if bounds.is_empty() { value >= 1.0 } else { bounds.hold(value) };
        if holds {
            Ok(format!("{what}: {value}"))
        } else {
            Err(format!("{what}: {value}; expected {bounds}"))
        }
    };
    match &expectation.subject {
        Subject::Metric { metric, per } => {
            let read = |name: &String| match outcome.metrics.get(name) {
                Some(value) => Ok(value.as_f64()),
                None if metrics::is_plausible(name, &outcome.metrics) => Ok(0.0),
                None => Err(metrics::unknown(name, &outcome.metrics)),
            };
            let value = read(metric)?;
            match per {
                None => within(value, metric),
                Some(per) => {
                    let divisor = read(per)?;
                    if divisor == 0.0 {
                        return Err(format!("{per} is 0, so {metric} per {per} means nothing"));
                    }
                    within((value / divisor * 1e6).round() / 1e6, &format!("{metric} per {per}"))
                }
            }
        }
        Subject::Oracle { finding: Word::Clean, endpoint, at } => {
            let concerned =
                outcome.findings.iter().zip(findings).filter(|(_, f)| concerns(scenario, f, *endpoint, *at));
            let list: Vec<&Finding> = concerned.map(|(finding, _)| finding).collect();
            if list.is_empty() { Ok("nothing found".into()) } else { Err(say_findings(list.into_iter())) }
        }
        Subject::Oracle { finding, endpoint, at } => {
            let word = finding.to_string();
            let matching = |f: &&Found| f.kind.name() == word && concerns(scenario, f, *endpoint, *at);
            let n = findings.iter().filter(matching).count();
            within(n as f64, &word)
        }
        Subject::Event { event, endpoint, at } => {
            let n = recorded
                .iter()
                .filter(|r| r.number == event.number())
                .filter(|r| is_about(scenario, Some(r.smmu), Some(r.sid), *endpoint, *at))
                .count();
            within(n as f64, &event.to_string())
        }
        Subject::Order(steps) => {
            let name = |at: usize| scenario.steps[at].name.clone().unwrap_or_default();
            let mut last = None;
            for step in steps {
                let Some(end) = script.ends.get(&step.0) else {
                    return Err(format!("step `{}` has not ended", name(step.0)));
                };
                if let Some((before, time)) = last
                    && end < time
                {
                    return Err(format!("`{}` ended before `{}`", name(step.0), name(before)));
                }
                last = Some((step.0, end));
            }
            Ok("in this order".to_owned())
        }
    }
}

/// Whether an expectation speaks of a finding and allows it to exist.
fn allows(scenario: &Scenario, expectation: &Expectation, found: &Found) -> bool {
    match &expectation.subject {
        Subject::Oracle { finding, endpoint, at } if *finding != Word::Clean => {
            let forbids = expectation.bounds == Bounds { equals: Some(0.0), ..Bounds::default() }
                || expectation.bounds.max == Some(0.0);
            !forbids && found.kind.name() == finding.to_string() && concerns(scenario, found, *endpoint, *at)
        }
        _ => false,
    }
}

fn concerns(scenario: &Scenario, found: &Found, endpoint: Option<EndpointId>, at: Option<Target>) -> bool {
    is_about(scenario, Some(found.smmu), found.sid, endpoint, at)
}

/// Whether something at a stream of a pSMMU is about an endpoint and a place.
fn is_about(
    scenario: &Scenario,
    smmu: Option<u16>,
    sid: Option<u32>,
    endpoint: Option<EndpointId>,
    at: Option<Target>,
) -> bool {
    let is = |e: EndpointId| {
        let e = &scenario.endpoints[e.0];
        smmu == Some(scenario.number_of(e.behind)) && sid.is_some_and(|sid| e.streams.contains(&sid))
    };
    let place = at.is_none_or(|at| match at.kind {
        Kind::Psmmu => smmu == Some(scenario.number_of(Behind::Psmmu(PsmmuId(at.index)))),
        Kind::Pair => smmu == Some(scenario.number_of(Behind::Pair(PairId(at.index)))),
        Kind::Vsmmu => scenario.vsmmus[at.index].devices.iter().any(|(e, _)| is(*e)),
        Kind::Endpoint => is(EndpointId(at.index)),
        _ => false,
    });
    place && endpoint.is_none_or(is)
}

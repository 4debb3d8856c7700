//! Results for people: what ran, the verdict and why, the handful of numbers that matter, where to look next.

use std::fmt::Write;

use anstyle::{AnsiColor, Style};

use crate::outcome::{Check, Finding, Outcome, Value, Verdict, grouped};
use crate::units::show_time;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default().bold();
const BAD: Style = AnsiColor::Red.on_default().bold();

/// Metrics that are always worth a line: these endings, in this order.
const HIGHLIGHTS: &[(&str, &str)] = &[
    (".exits", "VM exits"),
    (".iterations", "iterations"),
    (".unmap_ns_mean", "unmap, mean ns"),
    (".unmap_ns_p99", "unmap, 99 % ns"),
    (".map_ns_mean", "map, mean ns"),
    (".dma_ns_mean", "DMA, mean ns"),
    (".commands", "commands"),
    (".tlb_hit_rate", "TLB hit rate"),
];
/// At most this many numbers are shown for one scenario.
const NUMBERS_MAX: usize = 12;
/// Checks that hold and are worth a line, shown for one scenario.
const REASONS_MAX: usize = 8;
/// Failed checks shown for one scenario.
const FAILURES_MAX: usize = 10;

/// One result. Styled with ANSI codes; a stream that is no terminal strips them.
pub fn result(outcome: &Outcome) -> String {
    let mut out = String::new();
    let failed: Vec<&Check> = outcome.checks.iter().filter(|c| c.verdict == Verdict::Fail).collect();
    let statement = outcome.statement.as_ref().map(|s| format!("{s}: ")).unwrap_or_default();
    line(
        &mut out,
        &format!(
            "{} {}{statement}{}{}",
            badge(outcome.verdict),
            BOLD.render(),
            outcome.title,
            BOLD.render_reset()
        ),
    );
    let checks = format!("{} of {} checks hold", outcome.checks.len() - failed.len(), outcome.checks.len());
    line(
        &mut out,
        &dim(&format!(
            "     {}, seed {}; {} simulated; {checks}",
            outcome.path,
            outcome.seed,
            show_time(outcome.simulated)
        )),
    );
    for check in failed.iter().take(FAILURES_MAX) {
        let place = check.line.map(|n| format!("{}:{n}: ", outcome.path)).unwrap_or_default();
        line(&mut out, &format!("     {}x{} {}", BAD.render(), BAD.render_reset(), check.name));
        line(&mut out, &format!("       {place}{}{}", check.message, remark(check)));
    }
    if failed.len() > FAILURES_MAX {
        line(&mut out, &format!("     ... and {} more failed checks", failed.len() - FAILURES_MAX));
    }
    let reasons: Vec<&Check> =
        outcome.checks.iter().filter(|c| c.notable && c.verdict == Verdict::Pass).collect();
    for check in reasons.iter().take(REASONS_MAX) {
        line(&mut out, &format!("     {}+{} {}", GOOD.render(), GOOD.render_reset(), reason(check)));
    }
    if reasons.len() > REASONS_MAX {
        line(&mut out, &dim(&format!("     ... and {} more that hold", reasons.len() - REASONS_MAX)));
    }
    findings(&mut out, &outcome.findings);
    numbers(&mut out, outcome);
    for lint in &outcome.lints {
        line(&mut out, &format!("     lint, {}, {}x: {}", lint.psmmu, lint.count, lint.text));
    }
    for note in &outcome.notes {
        line(&mut out, &format!("     note: {note}"));
    }
    if outcome.verdict == Verdict::Fail {
        line(&mut out, &dim(&format!("     repeat: smmulate run {} --seed {}", outcome.path, outcome.seed)));
        line(
            &mut out,
            &dim(&format!(
                "     look closer: smmulate run {} --seed {} --trace trace.txt",
                outcome.path, outcome.seed
            )),
        );
    }
    out
}

/// The closing table for several results.
pub fn summary(outcomes: &[Outcome]) -> String {
    let mut out = String::new();
    let width = outcomes.iter().map(|o| o.scenario.chars().count()).max().unwrap_or(0).max(8);
    line(
        &mut out,
        &format!(
            "{}{:7}{:width$}  {:>12}  {:>14}  {:>9}{}",
            BOLD.render(),
            "",
            "scenario",
            "simulated",
            "events",
            "VM exits",
            BOLD.render_reset()
        ),
    );
    for o in outcomes {
        let exits = o.metrics.get("total.exits").map_or(0.0, |v| v.as_f64());
        let cells = format!(
            "{:width$}  {:>12}  {:>14}  {:>9}",
            o.scenario,
            show_time(o.simulated),
            grouped(o.events),
            grouped(exits as u64)
        );
        line(&mut out, &format!("{}  {cells}", badge(o.verdict)));
    }
    let failed = outcomes.iter().filter(|o| o.verdict == Verdict::Fail).count();
    let host: std::time::Duration = outcomes.iter().map(|o| o.host).sum();
    let verdict = if failed == 0 {
        format!("{}all {} scenarios pass{}", GOOD.render(), outcomes.len(), GOOD.render_reset())
    } else {
        format!("{}{failed} of {} scenarios fail{}", BAD.render(), outcomes.len(), BAD.render_reset())
    };
    line(&mut out, &format!("{verdict} {}", dim(&format!("({:.1} s of computing)", host.as_secs_f64()))));
    out
}

fn findings(out: &mut String, findings: &[Finding]) {
    let (expected, unexpected): (Vec<&Finding>, Vec<&Finding>) = findings.iter().partition(|f| f.expected);
    if let Some(first) = expected.first() {
        let more =
            if expected.len() > 1 { format!(" (and {} more)", expected.len() - 1) } else { String::new() };
        line(out, &format!("     as expected, {}: {}{more}", first.kind, first.summary));
        story(out, first);
    }
    for finding in unexpected.iter().take(3) {
        line(
            out,
            &format!(
                "     {}{}{} at {}: {}",
                BAD.render(),
                finding.kind,
                BAD.render_reset(),
                show_time(finding.time),
                finding.summary
            ),
        );
        story(out, finding);
    }
    if unexpected.len() > 3 {
        line(out, &format!("     ... and {} more findings", unexpected.len() - 3));
    }
}

fn story(out: &mut String, finding: &Finding) {
    for cause in &finding.story {
        line(out, &dim(&format!("       - {cause}")));
    }
}

fn numbers(out: &mut String, outcome: &Outcome) {
    let rows: Vec<(&str, String)> = HIGHLIGHTS
        .iter()
        .flat_map(|(ending, _)| {
            outcome.metrics.iter().filter(move |(name, value)| is_highlight(name, **value, ending))
        })
        .map(|(name, value)| (name.as_str(), value.to_string()))
        .take(NUMBERS_MAX)
        .collect();
    let width = rows.iter().map(|r| r.0.len()).max().unwrap_or(0);
    for (name, value) in rows {
        let meaning =
            HIGHLIGHTS.iter().find(|(ending, _)| name.ends_with(ending)).map_or("", |(_, meaning)| meaning);
        line(out, &format!("     {name:width$}  {value:>12}  {}", dim(meaning)));
    }
}

/// A check that holds, in one line.
fn reason(check: &Check) -> String {
    let place = check.line.map(|n| dim(&format!("line {n} "))).unwrap_or_default();
    format!("{place}{}: {}{}", check.name, check.message, remark(check))
}

/// What the scenario's author says.
fn remark(check: &Check) -> String {
    check.why.as_ref().map(|why| dim(&format!(" ({why})"))).unwrap_or_default()
}

/// Whether a metric is worth a line: the plain one of an owner, not a part of it. That a VM did not exit is worth one,
/// too.
fn is_highlight(name: &str, value: Value, ending: &str) -> bool {
    let Some((owner, rest)) = name.split_once('.') else { return false };
    let silent = value.as_f64() == 0.0 && (ending != ".exits" || owner == "host");
    rest == &ending[1..] && owner != "total" && !silent
}

fn badge(verdict: Verdict) -> String {
    match verdict {
        Verdict::Pass => format!("{}PASS{} ", GOOD.render(), GOOD.render_reset()),
        Verdict::Fail => format!("{}FAIL{} ", BAD.render(), BAD.render_reset()),
    }
}

fn dim(text: &str) -> String {
    format!("{}{text}{}", DIM.render(), DIM.render_reset())
}

fn line(out: &mut String, text: &str) {
    let _ = writeln!(out, "{}", text.trim_end());
}

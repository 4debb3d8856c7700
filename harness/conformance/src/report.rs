//! Outcomes for people and for machines.

use std::collections::BTreeMap;
use std::fmt::Write;

use models::cmdqv::provenance::Source;
use serde_json::{Value, json};

use crate::suite::{Basis, Mode, Outcome, Outcomes, Suite, Verdict};

/// How many rows have which verdict, by the verdict that says most over the modes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// All rows.
    pub rows: usize,
    /// Rows that pass in all modes.
    pub pass: usize,
    /// Rows that deviate as is known.
    pub deviate: usize,
    /// Rows about what the models lack.
    pub absent: usize,
    /// Rows that come out otherwise with other options.
    pub differ: usize,
    /// Rows that fail in some mode.
    pub fail: usize,
}

impl Totals {
    /// Counts.
    pub fn of(outcomes: &Outcomes) -> Self {
        let mut totals = Self::default();
        for outcome in rows(outcomes) {
            totals.rows += 1;
            *match outcome.worst() {
                Verdict::Pass => &mut totals.pass,
                Verdict::Deviates(_) => &mut totals.deviate,
                Verdict::Absent(_) => &mut totals.absent,
                Verdict::Differs(_) => &mut totals.differ,
                Verdict::Fail(_) => &mut totals.fail,
            } += 1;
        }
        totals
    }
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { rows, pass, deviate, absent, differ, fail } = self;
        let modes = Mode::ALL.len();
        write!(f, "{rows} rows, {modes} modes: {pass} pass, {deviate} deviate, {absent} absent, ")?;
        if *differ > 0 {
            write!(f, "{differ} differ, ")?;
        }
        write!(f, "{fail} fail")
    }
}

fn rows(outcomes: &Outcomes) -> impl Iterator<Item = &Outcome> {
    outcomes.iter().flat_map(|(_, rows)| rows)
}

/// One word for both modes, or one each.
fn words(outcome: &Outcome) -> String {
    let [one, two] = outcome.verdicts.each_ref().map(Verdict::word);
    if one == two { one.to_owned() } else { format!("{one}/{two}") }
}

/// A table for people: rows in groups, reasons below their rows, totals.
pub fn text(suite: &Suite, outcomes: &Outcomes) -> String {
    let mut out = format!("{}\n", suite.title);
    for (title, rows) in outcomes {
        let _ = writeln!(out, "\n{title}");
        for outcome in rows {
            let row = &outcome.row;
            let _ = writeln!(out, "  {:8} {} {:8} {}", words(outcome), row.id, row.basis, row.text);
            for reason in reasons(outcome) {
                let _ = writeln!(out, "                        {reason}");
            }
        }
    }
    if let Some(legend) = legend(outcomes) {
        let _ = write!(out, "\n{legend}");
    }
    let _ = writeln!(out, "\n{}", Totals::of(outcomes));
    out
}

/// What the letters of sources mean, if there are any.
fn legend(outcomes: &Outcomes) -> Option<String> {
    rows(outcomes).any(|outcome| matches!(outcome.row.basis, Basis::Sources(_))).then(|| {
        let each = Source::ALL.iter().map(|source| format!("[{}]: {}", source.letter(), source.meaning()));
        format!("Sources: {}.", each.collect::<Vec<_>>().join("; "))
    })
}

/// Reasons and messages, with the mode where they are not those of both.
fn reasons(outcome: &Outcome) -> Vec<String> {
    let [one, two] = &outcome.verdicts;
    if one == two {
        return one.reason().map(str::to_owned).into_iter().collect();
    }
    let each = Mode::ALL.iter().zip(&outcome.verdicts);
    each.filter_map(|(mode, v)| v.reason().map(|reason| format!("{}: {reason}", mode.name()))).collect()
}

/// For machines.
pub fn json(suite: &Suite, outcomes: &Outcomes) -> Value {
    let row = |outcome: &Outcome| {
        let verdict = |v: &Verdict| json!({ "verdict": v.word(), "reason": v.reason() });
        let each = Mode::ALL.iter().zip(&outcome.verdicts);
        let modes: BTreeMap<_, _> = each.map(|(mode, v)| (mode.name(), verdict(v))).collect();
        let mut row = json!({
            "id": outcome.row.id,
            "text": outcome.row.text,
            "verdict": outcome.worst().word(),
            "modes": modes,
        });
        let key = match outcome.row.basis {
            Basis::Section(_) => "section",
            Basis::Sources(_) => "sources",
        };
        row[key] = outcome.row.basis.to_string().into();
        row
    };
    let group = |(title, rows): &(&str, Vec<Outcome>)| json!({ "title": title, "rows": rows.iter().map(row).collect::<Vec<_>>() });
    let Totals { rows, pass, deviate, absent, differ, fail } = Totals::of(outcomes);
    json!({
        "suite": suite.name,
        "title": suite.title,
        "totals": { "rows": rows, "pass": pass, "deviate": deviate, "absent": absent, "differ": differ, "fail": fail },
        "groups": outcomes.iter().map(group).collect::<Vec<_>>(),
    })
}

/// The page of the documentation.
pub fn markdown(suite: &Suite, outcomes: &Outcomes) -> String {
    let mut out = format!("# {}\n\n", suite.title);
    let _ = writeln!(
        out,
        "<!-- Generated from the rows: `UPDATE_DOCS=1 cargo test -p conformance`. Do not edit. -->\n"
    );
    let _ = writeln!(
        out,
        "What `smmulate conformance {}` checks, and what comes of it. Every row is run on the functional model and on the\n\
         cycle-level one{}\n\n\
         *pass*: as the row says. *deviates*: not so, for the reason given; a deviation that is closed is a failure.\n\
         *absent*: the models lack what the row is about.\n\n{}\n",
        suite.name,
        suite.about,
        Totals::of(outcomes)
    );
    if let Some(legend) = legend(outcomes) {
        let _ = writeln!(out, "{legend}\n");
    }
    let noted: Vec<_> = rows(outcomes).filter(|outcome| *outcome.worst() != Verdict::Pass).collect();
    if !noted.is_empty() {
        out.push_str("## Deviations and absent features\n\n| Row | Verdict | Reason |\n|---|---|---|\n");
        for outcome in noted {
            let reasons = reasons(outcome).join("; ");
            let _ = writeln!(out, "| {} | {} | {reasons} |", outcome.row.id, words(outcome));
        }
        out.push('\n');
    }
    for (title, rows) in outcomes {
        let _ = writeln!(out, "## {title}\n\n| Row | {} | Check | Verdict |\n|---|---|---|---|", suite.basis);
        for outcome in rows {
            let row = &outcome.row;
            let _ = writeln!(out, "| {} | {} | {} | {} |", row.id, row.basis, row.text, words(outcome));
        }
        out.push('\n');
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

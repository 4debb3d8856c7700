//! Which rows see which option of the CMDQV: every alternative must change what some row finds.

use std::fmt::Write;

use models::cmdqv::Knobs;
use models::cmdqv::knobs::{Knob, Value};

use super::SUITE;
use crate::suite::{Given, Mode, Row, Verdict};

/// An alternative, and the rows that come out otherwise with it in some mode.
#[derive(Debug)]
pub struct Sensitivity {
    /// The option.
    pub knob: &'static Knob,
    /// The alternative.
    pub value: &'static Value,
    /// Names of rows.
    pub rows: Vec<&'static str>,
}

/// Runs every row with every alternative of every option, except for rows that are about size alone.
pub fn sensitivities() -> Vec<Sensitivity> {
    let alternatives =
        Knobs::TABLE.iter().flat_map(|knob| knob.alternatives().iter().map(move |value| (knob, value)));
    let rows = || SUITE.groups.iter().flat_map(|group| group.rows);
    let of = |(knob, value): (&'static Knob, &'static Value)| {
        let mut given = Given::default();
        given.set_knob(knob.name, value.name).expect("names of the table");
        let rows = rows().filter(|row| !row.large && is_sensitive(row, &given)).map(|row| row.id).collect();
        Sensitivity { knob, value, rows }
    };
    alternatives.map(of).collect()
}

fn is_sensitive(row: &Row, given: &Given) -> bool {
    Mode::ALL.iter().any(|mode| matches!(row.run_with(*mode, given), Verdict::Fail(_)))
}

/// The page's chapter about options.
pub fn markdown(sensitivities: &[Sensitivity]) -> String {
    let mut out = String::from(
        "\n## What depends on which option\n\n\
         What no source settles is an option of the model: `smmulate conformance cmdqv --knob NAME=VALUE` runs the rows with\n\
         another choice, and those that come out otherwise are reported as *differs*. The words are those of scenario files.\n\n\
         | Option | Default | From | Alternative | Rows that come out otherwise |\n|---|---|---|---|---|\n",
    );
    for (i, Sensitivity { knob, value, rows }) in sensitivities.iter().enumerate() {
        let first = i == 0 || sensitivities[i - 1].knob.number != knob.number;
        let head = if first {
            let default = &knob.values[0];
            let doc = knob.doc.replace('|', "\\|");
            format!(
                "{} `{}`: {doc} | `{}`: {} | {}",
                knob.number, knob.name, default.name, default.doc, knob.sources
            )
        } else {
            format!("{} `{}` | | ", knob.number, knob.name)
        };
        let _ = writeln!(out, "| {head} | `{}`: {} | {} |", value.name, value.doc, rows.join(", "));
    }
    out
}

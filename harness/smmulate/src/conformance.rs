//! `smmulate conformance`: the models against what an architecture asks.

use std::path::Path;
use std::process::ExitCode;

use conformance::report::{self, Totals};
use conformance::{Given, suite};

use crate::cli::{Conformance, KnobSetting};
use crate::{FAILED, input_error};

/// Runs a suite; results go to stdout.
pub(crate) fn conformance(args: &Conformance) -> ExitCode {
    if !args.knobs.is_empty() && !args.suite.has_cmdqv() {
        let name = args.suite.name;
        return input_error(&format!(
            "`--knob` sets options of a CMDQV, and no row of `{name}` has one: leave it out, or run `cmdqv`"
        ));
    }
    let mut given = Given::default();
    for KnobSetting { name, value } in &args.knobs {
        given.set_knob(name, value).expect("the command line was checked");
    }
    let outcomes = suite::run_given(args.suite, &given);
    let json_to_stdout = args.json.as_deref() == Some(Path::new("-"));
    if !json_to_stdout {
        anstream::print!("{}", report::text(args.suite, &outcomes));
    }
    if let Some(path) = &args.json {
        let json = report::json(args.suite, &outcomes);
        let text = serde_json::to_string_pretty(&json).expect("a JSON value is printable");
        if json_to_stdout {
            anstream::println!("{text}");
        } else if let Err(why) = std::fs::write(path, text + "\n") {
            return input_error(&format!("`{}` cannot be written: {why}", path.display()));
        }
    }
    if Totals::of(&outcomes).fail > 0 { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

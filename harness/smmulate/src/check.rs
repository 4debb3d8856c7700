//! `smmulate check`: every mistake of every file.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use scenario::{Rejected, Scenario, files};

use crate::cli::{BAD, Files, GOOD};
use crate::progress::Progress;
use crate::{INPUT, input_error, pool};

/// Checks all files; the verdicts go to stdout, the mistakes to stderr.
pub(crate) fn check(args: &Files) -> ExitCode {
    let paths = match files::find(&args.paths) {
        Ok(paths) => paths,
        Err(message) => return input_error(&message),
    };
    let progress = Progress::new(paths.len());
    let mut wrong = 0;
    let show = |index: usize, result: Result<String, Rejected>| {
        let path = paths[index].display();
        progress.print(|| match result {
            Ok(summary) => {
                anstream::println!("{}ok{}     {path}  {summary}", GOOD.render(), GOOD.render_reset());
            }
            Err(rejected) => {
                wrong += 1;
                print_rejected(&rejected);
                anstream::println!("{}wrong{}  {path}", BAD.render(), BAD.render_reset());
            }
        });
    };
    pool::in_order(
        &paths,
        pool::threads(args.threads),
        |path| check_file(path),
        |n| progress.finished(n),
        show,
    );
    drop(progress);
    if wrong > 0 {
        anstream::eprintln!("{wrong} of {} files are wrong", paths.len());
        return ExitCode::from(INPUT);
    }
    ExitCode::SUCCESS
}

/// Prints the diagnostics of one file to stderr.
pub(crate) fn print_rejected(rejected: &Rejected) {
    anstream::eprint!("{}", rejected.render(std::io::stderr().is_terminal()));
}

/// Checks one file: a scenario, or a preset that is named directly.
fn check_file(path: &Path) -> Result<String, Rejected> {
    let text = scenario::load::read_text(path)?;
    if scenario::preset::looks_like_preset(&scenario::tree::parse(&text).root) {
        let preset = scenario::preset::read_text(&path.display().to_string(), &text)?;
        return Ok(format!("preset: {}", preset.title));
    }
    scenario::read_file(path).map(|s| summary(&s))
}

/// `2 psmmus, 3 endpoints, 1 vm, 4 steps`.
fn summary(scenario: &Scenario) -> String {
    let count = |n: usize, word: &str| match n {
        0 => None,
        1 => Some(format!("1 {word}")),
        _ => Some(format!("{n} {word}s")),
    };
    [
        count(scenario.psmmus.len(), "psmmu"),
        count(scenario.endpoints.len(), "endpoint"),
        count(scenario.vms.len(), "vm"),
        count(scenario.loads.len(), "load"),
        count(scenario.steps.len(), "step"),
        count(scenario.expects.len(), "expectation"),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join(", ")
}

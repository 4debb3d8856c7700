//! Benchmarks live in the files beside this one; this library holds what they share.

pub mod machine;

use scenario::outcome::Verdict;
use scenario::preset::Library;
use scenario::run::{Options, run};
use scenario::{Outcome, Scenario};

/// The shipped presets only.
struct NoFiles;

impl Library for NoFiles {
    fn read(&self, path: &str) -> Result<String, String> {
        Err(format!("a benchmark reads no files: {path}"))
    }
}

/// A scenario from its text.
///
/// # Panics
/// If the text has mistakes.
pub fn parse(name: &str, text: &str) -> Scenario {
    match scenario::load::parse(name, text, &NoFiles) {
        Ok(scenario) => scenario,
        Err(rejected) => panic!("`{name}` has mistakes: {rejected:?}"),
    }
}

/// Runs a scenario that must pass.
///
/// # Panics
/// If it fails: what failed runs took says nothing.
pub fn passing(scenario: &Scenario) -> Outcome {
    let outcome = run(scenario, Options::default()).outcome;
    assert!(outcome.verdict == Verdict::Pass, "`{}` fails: {:#?}", scenario.name, outcome.checks);
    outcome
}

/// The sum of all metrics whose names begin and end so.
pub fn sum(outcome: &Outcome, begin: &str, end: &str) -> u64 {
    let counts = outcome.metrics.iter().filter(|(name, _)| name.starts_with(begin) && name.ends_with(end));
    counts.map(|(_, value)| value.as_f64() as u64).sum()
}

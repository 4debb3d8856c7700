//! What a run has shown.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use sim::Time;

/// The result of one scenario.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// The scenario's file name without extension.
    pub scenario: String,
    /// The file as the user named it.
    pub path: String,
    /// What the scenario shows.
    pub title: String,
    /// The statement of the subject that it tests.
    pub statement: Option<String>,
    /// The seed of this run.
    pub seed: u64,
    /// Pass or fail.
    pub verdict: Verdict,
    /// How long the simulated platform ran.
    pub simulated: Time,
    /// How long the simulation took. The only value that differs between two equal runs.
    pub host: Duration,
    /// Events simulated.
    pub events: u64,
    /// Steps and expectations, in order.
    pub checks: Vec<Check>,
    /// Everything that was counted or measured, by name.
    pub metrics: BTreeMap<String, Value>,
    /// What the oracle found, expected or not.
    pub findings: Vec<Finding>,
    /// What software did that the architecture leaves open or reserves (`docs/lints.md`), by pSMMU.
    pub lints: Vec<Lint>,
    /// What steps said.
    pub notes: Vec<String>,
}

/// Pass or fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// As expected.
    Pass,
    /// Not as expected.
    Fail,
}

/// One thing that was checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// What was checked.
    pub name: String,
    /// The result.
    pub verdict: Verdict,
    /// What was seen; for a failure also what was expected.
    pub message: String,
    /// The line in the scenario file, if there is one.
    pub line: Option<u32>,
    /// What the scenario's author says about it.
    pub why: Option<String>,
    /// A report shows it even when it holds: a refusal that had to come, or something that its author explains.
    pub notable: bool,
}

impl Check {
    /// A check that saw something, or something that is not what was expected. Nothing is said of it but that.
    pub fn new(name: impl Into<String>, line: Option<u32>, seen: Result<String, String>) -> Self {
        let (verdict, message) = match seen {
            Ok(message) => (Verdict::Pass, message),
            Err(message) => (Verdict::Fail, message),
        };
        Self { name: name.into(), verdict, message, line, why: None, notable: false }
    }
}

/// Something the oracle found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The word of [`crate::model::Finding`].
    pub kind: String,
    /// When.
    pub time: Time,
    /// An expectation of the scenario covers it.
    pub expected: bool,
    /// One sentence.
    pub summary: String,
    /// Cause by cause, oldest first.
    pub story: Vec<String>,
}

/// Something that software did, of which the architecture does not say what comes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lint {
    /// The pSMMU it was done to.
    pub psmmu: String,
    /// What, and what the model did then.
    pub text: String,
    /// How often.
    pub count: u64,
}

/// The value of a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A count.
    Count(u64),
    /// A measurement, in the unit that the metric's name ends with.
    Number(f64),
}

impl Value {
    /// As a number.
    pub fn as_f64(self) -> f64 {
        match self {
            Self::Count(n) => n as f64,
            Self::Number(n) => n,
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(n) => write!(f, "{}", grouped(*n)),
            Self::Number(n) => write!(f, "{n:.3}"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
        })
    }
}

/// `1234567` as `1 234 567`.
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(c);
    }
    out
}

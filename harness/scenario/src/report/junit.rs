//! Results as JUnit XML: a scenario is a test suite, a check is a test case.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::outcome::{Check, Outcome, Verdict};

/// All results as one XML document.
pub fn document(outcomes: &[Outcome]) -> String {
    let mut report = Report::new("smmulate");
    for outcome in outcomes {
        report.add_test_suite(suite(outcome));
    }
    report.to_string().expect("a report in memory can be written")
}

fn suite(outcome: &Outcome) -> TestSuite {
    let mut suite = TestSuite::new(&outcome.scenario);
    suite.set_time(outcome.host);
    suite.add_property(("file", outcome.path.as_str()));
    suite.add_property(("title", outcome.title.as_str()));
    suite.add_property(("seed", outcome.seed.to_string().as_str()));
    for check in &outcome.checks {
        suite.add_test_case(case(outcome, check));
    }
    for finding in outcome.findings.iter().filter(|f| !f.expected) {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
        status
            .set_type(&finding.kind)
            .set_message(&finding.summary)
            .set_description(finding.story.join("\n"));
        let mut case = TestCase::new(format!("oracle: {}", finding.kind), status);
        case.set_classname(&outcome.scenario);
        suite.add_test_case(case);
    }
    suite
}

fn case(outcome: &Outcome, check: &Check) -> TestCase {
    let status = match check.verdict {
        Verdict::Pass => TestCaseStatus::success(),
        Verdict::Fail => {
            let mut status = TestCaseStatus::non_success(NonSuccessKind::Failure);
            status.set_type("check").set_message(&check.message);
            if let Some(line) = check.line {
                status.set_description(format!("{}:{line}: {}", outcome.path, check.message));
            }
            status
        }
    };
    let mut case = TestCase::new(&check.name, status);
    case.set_classname(&outcome.scenario);
    case
}

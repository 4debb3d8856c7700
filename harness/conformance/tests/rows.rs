//! Every row in every mode, and the pages about them.
#![allow(missing_docs)]

use conformance::suite::Outcomes;
use conformance::{Suite, Verdict, cmdqv, optional, report, smmuv3, suite};

#[test]
fn smmuv3_rows_hold_and_their_page_is_current() {
    let outcomes = hold(&smmuv3::SUITE);
    fresh::check("conformance", "conformance-smmuv3.md", &report::markdown(&smmuv3::SUITE, &outcomes));
}

#[test]
fn optional_rows_hold_and_their_page_is_current() {
    let outcomes = hold(&optional::SUITE);
    let page = report::markdown(&optional::SUITE, &outcomes);
    fresh::check("conformance", "conformance-smmuv3-optional.md", &page);
}

#[test]
fn cmdqv_rows_hold_see_every_option_and_their_page_is_current() {
    let outcomes = hold(&cmdqv::SUITE);
    let sensitivities = cmdqv::knobs::sensitivities();
    for sensitivity in &sensitivities {
        assert!(!sensitivity.rows.is_empty(), "no row sees {sensitivity:?}");
    }
    let page = report::markdown(&cmdqv::SUITE, &outcomes) + &cmdqv::knobs::markdown(&sensitivities);
    fresh::check("conformance", "conformance-cmdqv.md", &page);
}

/// Every row must hold, or deviate as it says.
fn hold(suite: &Suite) -> Outcomes {
    let outcomes = suite::run(suite);
    let failed = outcomes.iter().flat_map(|(_, rows)| rows).filter(|o| matches!(o.worst(), Verdict::Fail(_)));
    let failed: Vec<_> = failed.map(|o| format!("{} {}: {:?}", o.row.id, o.row.text, o.verdicts)).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    outcomes
}

#[test]
fn the_page_about_lints_is_current() {
    fresh::check("conformance", "lints.md", &models::smmu::lint::markdown());
}

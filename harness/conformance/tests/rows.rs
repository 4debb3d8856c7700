//! Every row in every mode, and the page about them.
#![allow(missing_docs)]

use conformance::{Verdict, report, smmuv3, suite};

#[test]
fn smmuv3_rows_hold_and_their_page_is_current() {
    let outcomes = suite::run(&smmuv3::SUITE);
    let failed = outcomes.iter().flat_map(|(_, rows)| rows).filter(|o| matches!(o.worst(), Verdict::Fail(_)));
    let failed: Vec<_> = failed.map(|o| format!("{} {}: {:?}", o.row.id, o.row.text, o.verdicts)).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    fresh::check("conformance", "conformance-smmuv3.md", &report::markdown(&smmuv3::SUITE, &outcomes));
}

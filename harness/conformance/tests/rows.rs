//! Every row in every mode, and the page about them.
#![allow(missing_docs)]

use std::path::Path;

use conformance::{Verdict, report, smmuv3, suite};

#[test]
fn smmuv3_rows_hold_and_their_page_is_current() {
    let outcomes = suite::run(&smmuv3::SUITE);
    let failed = outcomes.iter().flat_map(|(_, rows)| rows).filter(|o| matches!(o.worst(), Verdict::Fail(_)));
    let failed: Vec<_> = failed.map(|o| format!("{} {}: {:?}", o.row.id, o.row.text, o.verdicts)).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    check("conformance-smmuv3.md", &report::markdown(&smmuv3::SUITE, &outcomes));
}

#[test]
fn the_page_about_lints_is_current() {
    check("lints.md", &models::smmu::lint::markdown());
}

/// Compares a committed file, or writes it when `UPDATE_DOCS` is set.
fn check(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(name);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/{name} is stale: run `UPDATE_DOCS=1 cargo test -p conformance`");
}

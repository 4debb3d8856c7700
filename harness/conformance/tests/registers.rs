//! The register reference is the one that the declarations give.
#![allow(missing_docs)]

use spec::reference::{PAGES, index};

#[test]
fn pages_are_current() {
    let pages = PAGES.iter().map(|page| (format!("{}.md", page.file), page.markdown()));
    let files: Vec<_> = pages.chain([("README.md".to_owned(), index())]).collect();
    fresh::check_folder("conformance", "registers", &files);
}

//! Files with mistakes: the texts that their authors see. None panics.
#![allow(missing_docs)]

use std::path::Path;

use expect_test::expect_file;
use proptest::prelude::*;

struct NoFiles;
impl scenario::preset::Library for NoFiles {
    fn read(&self, path: &str) -> Result<String, String> {
        match path {
            "./circle.toml" => Ok("title = 'c'\nextends = './circle.toml'\n".to_owned()),
            _ => Err("No such file or directory".to_owned()),
        }
    }
}

/// Every file in `tests/malformed` is refused with the text next to it.
#[test]
fn golden_texts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/malformed");
    let files = scenario::files::find(std::slice::from_ref(&folder)).unwrap();
    assert!(files.len() >= 20);
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let rejected = match scenario::load::read_text(&file) {
            Ok(text) => scenario::load::parse(&name, &text, &NoFiles),
            Err(mut rejected) => {
                rejected.path.clone_from(&name);
                Err(rejected)
            }
        };
        let Err(rejected) = rejected else { panic!("{name} is accepted") };
        expect_file![file.with_extension("stderr")].assert_eq(&rejected.render(false));
    }
}

const GOOD: &str = include_str!("../../../scenarios/statements/q09-list-of-viommus.toml");

proptest! {
    /// Whatever is cut out of, or put into, a good file: an answer, not a panic.
    #[test]
    fn damaged_files_do_not_panic(start in 0..GOOD.len(), length in 0..80usize, insert in "[\\[\\]{}=\".#a-z0-9 \n_-]{0,6}") {
        let end = (start + length).min(GOOD.len());
        if GOOD.is_char_boundary(start) && GOOD.is_char_boundary(end) {
            let text = format!("{}{insert}{}", &GOOD[..start], &GOOD[end..]);
            if let Err(rejected) = scenario::load::parse("damaged.toml", &text, &NoFiles) {
                prop_assert!(!rejected.render(false).is_empty());
            }
        }
    }

    #[test]
    fn garbage_does_not_panic(text in "\\PC*") {
        let refused = scenario::load::parse("garbage.toml", &text, &NoFiles);
        prop_assert!(refused.is_err());
    }
}

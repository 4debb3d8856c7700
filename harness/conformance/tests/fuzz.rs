//! What fuzzers begin with, and random inputs, through the entries of `harness/fuzz`.
#![allow(missing_docs)]

use std::path::Path;

use conformance::fuzz;
use proptest::collection::vec;
use proptest::prelude::*;

type Entry = fn(&[u8]);

const ENTRIES: [(&str, Entry); 4] = [
    ("registers", fuzz::registers),
    ("tables", fuzz::tables),
    ("commands", fuzz::commands),
    ("cmdqv", fuzz::cmdqv),
];

fn entry() -> impl Strategy<Value = (&'static str, Entry)> {
    prop::sample::select(&ENTRIES[..])
}

#[test]
fn committed_inputs() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, entry) in ENTRIES {
        let mut files: Vec<_> = std::fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("there are inputs of `{name}`: {error}"))
            .map(|file| file.expect("the folder can be read").path())
            .collect();
        files.sort();
        assert!(files.len() > 20, "{} inputs of `{name}`", files.len());
        for file in files {
            println!("{}", file.display());
            entry(&std::fs::read(&file).expect("the file can be read"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes((name, entry) in entry(), data in vec(any::<u8>(), 0..400)) {
        println!("{name}");
        entry(&data);
    }
}

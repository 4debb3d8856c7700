//! Keeps the generated files of `docs` fresh: a test compares what is committed with what is generated now, or writes it
//! when `UPDATE_DOCS` is set.

use std::path::{Path, PathBuf};

/// The folder of documentation.
fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

fn updating() -> bool {
    std::env::var_os("UPDATE_DOCS").is_some()
}

/// Compares a committed file of `docs`, or writes it when `UPDATE_DOCS` is set. `package` is whose tests write it.
///
/// # Panics
/// The file is stale, or cannot be written.
pub fn check(package: &str, name: &str, text: &str) {
    let path = docs().join(name);
    if updating() {
        std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("docs can be written");
        std::fs::write(&path, text).expect("docs can be written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "docs/{name} is stale: run `UPDATE_DOCS=1 cargo test -p {package}`");
}

/// Compares a folder of `docs` whose files are all generated: names within it, and their texts. Files that are no longer
/// generated are stale, too.
///
/// # Panics
/// A file is stale, or cannot be written or removed.
pub fn check_folder(package: &str, folder: &str, files: &[(String, String)]) {
    for (name, text) in files {
        check(package, &format!("{folder}/{name}"), text);
    }
    for entry in std::fs::read_dir(docs().join(folder)).expect("the folder is there") {
        let entry = entry.expect("the folder can be read");
        let name = entry.file_name().to_string_lossy().into_owned();
        if files.iter().any(|(known, _)| *known == name) {
            continue;
        }
        assert!(
            updating(),
            "docs/{folder}/{name} is not generated any more: run `UPDATE_DOCS=1 cargo test -p {package}`"
        );
        std::fs::remove_file(entry.path()).expect("docs can be written");
    }
}

//! Which files a command line means.

use std::path::{Path, PathBuf};

/// Folders with these names hold no scenarios: presets are parts of them, and platforms have nothing to run by themselves.
const OTHERS: [&str; 2] = ["presets", "platforms"];

/// The scenario files under the given paths, in the order given; folders are searched with all their subfolders, sorted.
///
/// # Errors
/// A message when a path does not exist, cannot be read, or holds no scenario.
pub fn find(paths: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let mut out = Vec::new();
    for path in paths {
        let before = out.len();
        if path.is_dir() {
            walk(path, &mut out)?;
        } else if path.exists() {
            out.push(path.clone());
        } else {
            return Err(format!("`{}` does not exist", path.display()));
        }
        if out.len() == before {
            return Err(format!("there is no scenario under `{}`", path.display()));
        }
    }
    let mut seen = std::collections::BTreeSet::new();
    out.retain(|p| seen.insert(p.clone()));
    Ok(out)
}

fn walk(folder: &Path, out: &mut Vec<PathBuf>) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("`{}` cannot be read: {e}", folder.display());
    let mut entries = std::fs::read_dir(folder)
        .and_then(|dir| dir.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>())
        .map_err(failed)?;
    entries.sort();
    for entry in entries {
        if entry.is_dir() {
            if entry.file_name().is_some_and(|n| OTHERS.iter().all(|other| n != *other)) {
                walk(&entry, out)?;
            }
        } else if entry.extension().is_some_and(|e| e == "toml") {
            out.push(entry);
        }
    }
    Ok(())
}

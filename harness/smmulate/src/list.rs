//! `smmulate list`: what there is to run.

use std::process::ExitCode;

use scenario::files;

use crate::check::print_rejected;
use crate::cli::ListArgs;
use crate::{INPUT, input_error};

/// Lists scenarios with statement and title. Files with mistakes are named on stderr.
pub(crate) fn list(args: &ListArgs) -> ExitCode {
    let paths = match files::find(&args.paths) {
        Ok(paths) => paths,
        Err(message) => return input_error(&message),
    };
    let mut wrong = false;
    let mut rows = Vec::new();
    for path in &paths {
        match scenario::read_file(path) {
            Ok(s) => rows.push((path.display().to_string(), s.statement.unwrap_or_default(), s.title)),
            Err(rejected) => {
                wrong = true;
                print_rejected(&rejected);
            }
        }
    }
    let width = rows.iter().map(|r| r.0.len()).max().unwrap_or(0);
    for (path, statement, title) in rows {
        anstream::println!("{path:width$}  {statement:4} {title}");
    }
    if wrong { ExitCode::from(INPUT) } else { ExitCode::SUCCESS }
}

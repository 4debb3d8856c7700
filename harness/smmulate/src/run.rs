//! `smmulate run`: runs scenarios side by side and reports in file order.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use scenario::outcome::{Outcome, Verdict};
use scenario::report::{json, junit, text};
use scenario::run::{Options, Ran};
use scenario::{Rejected, files};

use crate::check::print_rejected;
use crate::cli::{BAD, Run, Shard};
use crate::progress::Progress;
use crate::{FAILED, INPUT, INTERNAL, input_error, pool};

/// What became of one file.
enum Done {
    Ran(Box<Ran>),
    Rejected(Box<Rejected>),
    /// Our own mistake: what the panic said.
    Fault(String),
}

/// Runs all files; results go to stdout, everything else to stderr.
pub(crate) fn run(args: &Run) -> ExitCode {
    let paths = match files::find(&args.paths) {
        Ok(paths) => shard(paths, args.shard),
        Err(message) => return input_error(&message),
    };
    if args.trace.is_some() && paths.len() > 1 {
        return input_error(&format!("--trace takes one scenario; {} are named", paths.len()));
    }
    for report in [&args.json, &args.junit, &args.trace].into_iter().flatten() {
        if let Some(folder) =
            report.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
        {
            return input_error(&format!(
                "`{}` cannot be written: there is no folder `{}`",
                report.display(),
                folder.display()
            ));
        }
    }
    let json_to_stdout = args.json.as_deref() == Some(Path::new("-"));
    let progress = Progress::new(paths.len());
    let options = Options { seed: args.seed, trace: args.trace.is_some() };
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut trace = None;
    let (mut wrong, mut faults) = (0, 0);
    let show = |index: usize, done: Done| {
        let path = paths[index].display();
        progress.print(|| match done {
            Done::Ran(ran) => {
                if !json_to_stdout {
                    anstream::print!("{}", text::result(&ran.outcome));
                }
                trace = ran.trace;
                outcomes.push(ran.outcome);
            }
            Done::Rejected(rejected) => {
                wrong += 1;
                print_rejected(&rejected);
            }
            Done::Fault(what) => {
                faults += 1;
                anstream::eprintln!(
                    "{}internal fault{} in {path}: {what}\n  repeat with: smmulate run {path}{}",
                    BAD.render(),
                    BAD.render_reset(),
                    args.seed.map(|seed| format!(" --seed {seed}")).unwrap_or_default(),
                );
            }
        });
    };
    pool::in_order(
        &paths,
        pool::threads(args.threads),
        |path| run_file(path, options),
        |n| progress.finished(n),
        show,
    );
    drop(progress);
    if !json_to_stdout && outcomes.len() > 1 {
        anstream::print!("\n{}", text::summary(&outcomes));
    }
    if let Err(message) = write_reports(args, &outcomes, trace.as_deref()) {
        return input_error(&message);
    }
    if faults > 0 {
        return ExitCode::from(INTERNAL);
    }
    if wrong > 0 {
        anstream::eprintln!("{wrong} of {} files are wrong", paths.len());
        return ExitCode::from(INPUT);
    }
    if outcomes.iter().any(|o| o.verdict == Verdict::Fail) {
        return ExitCode::from(FAILED);
    }
    ExitCode::SUCCESS
}

fn run_file(path: &Path, options: Options) -> Done {
    let scenario = match scenario::read_file(path) {
        Ok(scenario) => scenario,
        Err(rejected) => return Done::Rejected(Box::new(rejected)),
    };
    match catch_unwind(AssertUnwindSafe(|| scenario::run::run(&scenario, options))) {
        Ok(ran) => Done::Ran(Box::new(ran)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Done::Fault(text.unwrap_or_else(|| "a panic without words".to_owned()))
        }
    }
}

/// Every n-th file, beginning with the i-th.
fn shard(paths: Vec<PathBuf>, shard: Option<Shard>) -> Vec<PathBuf> {
    match shard {
        None => paths,
        Some(Shard { index, of }) => {
            paths.into_iter().enumerate().filter(|(i, _)| i % of == index - 1).map(|(_, path)| path).collect()
        }
    }
}

fn write_reports(args: &Run, outcomes: &[Outcome], trace: Option<&str>) -> Result<(), String> {
    let write = |path: &Path, text: &str| {
        std::fs::write(path, text).map_err(|why| format!("`{}` cannot be written: {why}", path.display()))
    };
    if let Some(path) = &args.json {
        let text =
            serde_json::to_string_pretty(&json::document(outcomes)).expect("a JSON value is printable");
        if path == Path::new("-") {
            anstream::println!("{text}");
        } else {
            write(path, &(text + "\n"))?;
        }
    }
    if let Some(path) = &args.junit {
        write(path, &junit::document(outcomes))?;
    }
    if let (Some(path), Some(trace)) = (&args.trace, trace) {
        write(path, trace)?;
    }
    Ok(())
}

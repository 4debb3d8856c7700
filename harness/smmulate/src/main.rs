//! Command line of smmulate.
//!
//! Results go to stdout, everything else to stderr. Exit status: 0 good, 1 a scenario or a conformance row failed, 2 the input is wrong, 3 an
//! internal fault.
#![forbid(unsafe_code)]

mod boot;
mod check;
mod cli;
mod conformance;
mod linux;
mod list;
mod nested;
mod pool;
mod progress;
mod replay;
mod run;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Check(args) => check::check(&args),
        Command::List(args) => list::list(&args),
        Command::Schema => {
            let schema = scenario::schema::scenario();
            let text = serde_json::to_string_pretty(&schema).expect("a JSON value is printable");
            anstream::println!("{text}");
            ExitCode::SUCCESS
        }
        Command::Conformance(args) => conformance::conformance(&args),
        Command::Serve(args) => serve::serve(&args),
        Command::Boot(args) => boot::boot(&args),
        Command::Nested(args) => nested::nested(&args),
        Command::Replay(args) => replay::replay(&args),
    }
}

/// A scenario, a conformance row, or a run on a stand-in failed.
const FAILED: u8 = 1;

/// The input is wrong.
const INPUT: u8 = 2;

/// A mistake of our own.
const INTERNAL: u8 = 3;

/// Prints a message about the command line itself.
fn input_error(message: &str) -> ExitCode {
    anstream::eprintln!("{}error{}: {message}", cli::BAD.render(), cli::BAD.render_reset());
    ExitCode::from(INPUT)
}

//! The commands and their flags.

use std::num::NonZero;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::builder::styling::Styles;
use clap::{Args, Parser, Subcommand};

/// Style of errors.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Style of success.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default().bold();

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::Green.on_default().bold())
    .usage(AnsiColor::Green.on_default().bold())
    .literal(AnsiColor::Cyan.on_default().bold())
    .placeholder(AnsiColor::Cyan.on_default());

/// Cycle-level simulator of server platforms with several SMMUv3s and Tegra241 CMDQV blocks.
#[derive(Debug, Parser)]
#[command(name = "smmulate", version, styles = STYLES, arg_required_else_help = true)]
#[command(
    after_help = "Exit status: 0 good, 1 a scenario failed, 2 the input is wrong, 3 an internal fault."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run scenarios and judge them
    Run(Run),
    /// Check scenario files and report every mistake
    Check(Files),
    /// List scenarios with their titles
    List(ListArgs),
    /// Print the JSON Schema of scenario files
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// Scenario files, or folders to search
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Seed of all random streams, in place of the scenarios' own
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Write the results as JSON; `-` for standard output, in place of the text
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the results as JUnit XML
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,
    /// Write what happened, one line each; for one scenario
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Scenarios run at the same time; by default one per CPU
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZero<usize>>,
    /// Run only the i-th of n parts, counted from 1
    #[arg(long, value_name = "i/n")]
    pub(crate) shard: Option<Shard>,
}

/// One part of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard {
    /// Which, from 1.
    pub(crate) index: usize,
    /// Of how many.
    pub(crate) of: usize,
}

impl std::str::FromStr for Shard {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('/').and_then(|(i, n)| Some((i.parse().ok()?, n.parse().ok()?)));
        match parts {
            Some((index, of)) if (1..=of).contains(&index) => Ok(Self { index, of }),
            _ => Err("a part is i/n with i from 1 to n, like 1/4".to_owned()),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Files {
    /// Scenario files, or folders to search
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,
    /// Files worked on at the same time; by default one per CPU
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<NonZero<usize>>,
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Scenario files, or folders to search
    #[arg(default_value = "scenarios", value_name = "FILE|DIR")]
    pub(crate) paths: Vec<PathBuf>,
}

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
    /// Check scenario files and report every mistake
    Check(Files),
    /// List scenarios with their titles
    List(ListArgs),
    /// Print the JSON Schema of scenario files
    Schema,
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

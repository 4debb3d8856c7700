//! The commands and their flags.

use std::num::NonZero;
use std::path::PathBuf;

use anstyle::{AnsiColor, Style};
use clap::builder::styling::Styles;
use clap::{Args, Parser, Subcommand};
use conformance::{Given, SUITES, Suite};
use scenario::diagnostic::Addition;

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
    after_help = "Exit status: 0 good, 1 a scenario or a conformance row failed, 2 the input is wrong, 3 an internal fault."
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
    /// Check the models against what an architecture asks of a device
    Conformance(Conformance),
    /// Serve the SMMUs and endpoints of a platform as PCI functions, for QEMU to connect to
    Serve(Serve),
    /// Boot an unmodified Linux in QEMU on the SMMUs and endpoints of a platform
    Boot(Box<Boot>),
    /// Boot Linux with KVM on a platform, and run the platform's VMs in it: their SMMUs are those of a real QEMU
    Nested(Box<Nested>),
    /// Run a recording of `boot`, `nested` or `serve` again, without QEMU, and compare
    Replay(Replay),
}

#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// What to check: smmuv3, smmuv3-optional or cmdqv
    #[arg(value_name = "SUITE", value_parser = suite)]
    pub(crate) suite: &'static Suite,
    /// Another choice for what is not known of the CMDQV, K1 to K19 of docs/conformance-cmdqv.md; rows that come out
    /// otherwise with it are reported as `differs`, which is no failure
    #[arg(long = "knob", value_name = "NAME=VALUE", value_parser = knob)]
    pub(crate) knobs: Vec<KnobSetting>,
    /// Write the results as JSON; `-` for standard output, in place of the text
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// An option of the CMDQV and its value, both known to exist.
#[derive(Clone, Debug)]
pub(crate) struct KnobSetting {
    pub(crate) name: String,
    pub(crate) value: String,
}

fn knob(text: &str) -> Result<KnobSetting, String> {
    let (name, value) = text.split_once('=').ok_or("it must look like auto-sync=off")?;
    Given::default().set_knob(name, value)?;
    Ok(KnobSetting { name: name.to_owned(), value: value.to_owned() })
}

/// A suite by its name.
fn suite(name: &str) -> Result<&'static Suite, String> {
    let names: Vec<_> = SUITES.iter().map(|suite| suite.name).collect();
    let found = SUITES.iter().find(|suite| suite.name == name);
    found.copied().ok_or_else(|| format!("there is no such suite; there is {}", names.join(", ")))
}

/// What `serve` and `boot` have in common.
#[derive(Debug, Args)]
pub(crate) struct Hardware {
    /// A platform: the psmmu, endpoint and fault tables of a scenario file; for `nested`, its vm and vsmmu tables, too
    #[arg(value_name = "PLATFORM")]
    pub(crate) platform: PathBuf,
    /// Let simulated time pass while the SMMUs are used; without it they answer at once
    #[arg(long)]
    pub(crate) timed: bool,
    /// A fault of the hardware, beside those of the file: drop-tlbi@smmu0,nth=100,times=1000000
    #[arg(long, value_name = "KIND@NAME[,KEY=VALUE...]")]
    pub(crate) fault: Vec<Fault>,
    /// End at the first thing that the oracle finds
    #[arg(long)]
    pub(crate) fail_fast: bool,
    /// Storage of an NVMe endpoint; by default 1 GiB in memory
    #[arg(long, value_name = "NAME=FILE")]
    pub(crate) disk: Vec<Pair>,
    /// Write a recording for `replay`
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Write what happened behind the sockets, one line each
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Write the summary as JSON; `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) hardware: Hardware,
    /// Folder for the sockets, one a function
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// End when the last client has gone
    #[arg(long)]
    pub(crate) once: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Boot {
    #[command(flatten)]
    pub(crate) hardware: Hardware,
    /// The kernel: an arm64 Image, or `small` or `stock` for one that harness/standin/prepare has got
    #[arg(long, value_name = "IMAGE", default_value = "small")]
    pub(crate) kernel: PathBuf,
    /// Its initial RAM file system; by default the one that belongs to `small` or `stock`
    #[arg(long, value_name = "FILE")]
    pub(crate) initrd: Option<PathBuf>,
    /// No initial RAM file system: the root is on a --drive
    #[arg(long, conflicts_with_all = ["initrd", "run", "file"])]
    pub(crate) no_initrd: bool,
    /// A script that the machine runs instead of a shell; it powers off afterwards
    #[arg(long, value_name = "SCRIPT")]
    pub(crate) run: Option<PathBuf>,
    /// A file to put into the machine's file system
    #[arg(long, value_name = "PATH=FILE")]
    pub(crate) file: Vec<Pair>,
    /// A disk image that is not behind an SMMU; the first is /dev/vda
    #[arg(long, value_name = "IMAGE")]
    pub(crate) drive: Vec<PathBuf>,
    /// Words for the kernel's command line
    #[arg(long, value_name = "WORDS", default_value = "quiet panic=-1", allow_hyphen_values = true)]
    pub(crate) append: String,
    /// QEMU 11.1 or newer; by default the one that harness/standin/prepare has got, or that of the system
    #[arg(long, value_name = "PATH")]
    pub(crate) qemu: Option<PathBuf>,
    /// CPUs of the machine
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) cpus: u32,
    /// Its memory
    #[arg(long, value_name = "SIZE", default_value = "1G", value_parser = size)]
    pub(crate) memory: u64,
    /// Describe the hardware by ACPI tables instead of a device tree
    #[arg(long)]
    pub(crate) acpi: bool,
    /// CPUs without EL2: no KVM in the machine
    #[arg(long)]
    pub(crate) no_el2: bool,
    /// Let every register write wait for its answer
    #[arg(long)]
    pub(crate) no_posted_writes: bool,
    /// Connect to the sockets that `smmulate serve` has made in this folder, for the same platform
    #[arg(long, value_name = "DIR", conflicts_with_all = ["timed", "fault", "fail_fast", "disk", "record", "trace", "json"])]
    pub(crate) connect: Option<PathBuf>,
    /// Start again when the machine reboots
    #[arg(long)]
    pub(crate) reboot: bool,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
    /// More arguments for QEMU
    #[arg(last = true, value_name = "QEMU ARGUMENTS")]
    pub(crate) extra: Vec<std::ffi::OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct Nested {
    #[command(flatten)]
    pub(crate) hardware: Hardware,
    /// The image that the guests' QEMU comes from; by default the one that harness/standin/prepare has made
    #[arg(long, value_name = "IMAGE")]
    pub(crate) host: Option<PathBuf>,
    /// A script that the guests run while they write to their disks
    #[arg(long, value_name = "SCRIPT")]
    pub(crate) run: Option<PathBuf>,
    /// MiB that the guests write to each disk, read back and compare; 0 for none
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=128))]
    pub(crate) mib: u32,
    /// Start each guest's QEMU so many times, one after the other
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) lives: u32,
    /// Let each guest boot so many times in one QEMU
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) boots: u32,
    /// Words for the guests' kernel command line
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,
    /// QEMU 11.1 or newer for the host; by default the one that harness/standin/prepare has got, or that of the system
    #[arg(long, value_name = "PATH")]
    pub(crate) qemu: Option<PathBuf>,
    /// CPUs of the host
    #[arg(long, value_name = "N", default_value_t = 2)]
    pub(crate) cpus: u32,
    /// Memory of the host; by default 512 MiB more than its guests have
    #[arg(long, value_name = "SIZE", value_parser = size)]
    pub(crate) memory: Option<u64>,
    /// Give up after so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    pub(crate) timeout: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Replay {
    /// A recording
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Write what happens, one line each
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Write the summary as JSON; `-` for standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

/// A fault as it is given, and the keys of the table that it stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    text: String,
    keys: String,
}

impl Fault {
    /// Tables for the end of a scenario file.
    pub(crate) fn tables(faults: &[Self]) -> Vec<Addition> {
        let table = |(i, fault): (usize, &Self)| Addition {
            origin: format!("--fault {}", fault.text),
            head: format!("fault.option-{}", i + 1),
            keys: fault.keys.clone(),
        };
        faults.iter().enumerate().map(table).collect()
    }
}

impl std::str::FromStr for Fault {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let plain = |word: &str| {
            !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
        };
        let mut words = text.split(',');
        let head = words.next().and_then(|head| head.split_once('@')).filter(|(k, at)| plain(k) && plain(at));
        let (kind, at) = head.ok_or("a fault is KIND@NAME, like drop-tlbi@smmu0")?;
        let mut keys = format!("kind = \"{kind}\"\nat = \"{at}\"\n");
        for word in words {
            let pair = word.split_once('=').filter(|(key, value)| plain(key) && plain(value));
            let (key, value) = pair.ok_or_else(|| format!("`{word}` is no KEY=VALUE, like nth=100"))?;
            let bare = value.starts_with(|c: char| c.is_ascii_digit()) || matches!(value, "true" | "false");
            let quote = if bare { "" } else { "\"" };
            keys.push_str(&format!("{key} = {quote}{value}{quote}\n"));
        }
        Ok(Self { text: text.to_owned(), keys })
    }
}

/// A name and a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) name: String,
    pub(crate) file: PathBuf,
}

impl std::str::FromStr for Pair {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            Some((name, file)) if !name.is_empty() && !file.is_empty() => {
                Ok(Self { name: name.to_owned(), file: file.into() })
            }
            _ => Err("two words are needed, with = between them".to_owned()),
        }
    }
}

/// Bytes, with K, M or G for powers of 1024.
fn size(text: &str) -> Result<u64, String> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit {
        "" => Some(0),
        "K" | "KiB" => Some(10),
        "M" | "MiB" => Some(20),
        "G" | "GiB" => Some(30),
        _ => None,
    };
    let bytes = number.parse::<u64>().ok().zip(shift).and_then(|(n, shift)| n.checked_mul(1 << shift));
    bytes.ok_or_else(|| "a size is a number with K, M or G behind it, like 512M".to_owned())
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

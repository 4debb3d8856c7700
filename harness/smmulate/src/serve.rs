//! `smmulate serve`: a platform's functions behind sockets, until it is stopped.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;
use std::process::ExitCode;

use standin::board::{Board, Disk};
use standin::host::{Host, Until};
use standin::machine::{Machine, MachineError, Size};
use standin::memory::Memory;
use standin::protocol::{Server, Settings};
use standin::summary;

use crate::cli::{Fault, Hardware, Serve};
use crate::{FAILED, INPUT, input_error};

/// Serves until stopped by a signal; the summary goes to stdout.
pub(crate) fn serve(args: &Serve) -> ExitCode {
    say_what_happens(tracing::Level::INFO);
    let size = Size { cpus: 1, memory_bytes: 1 << 30, virtualization: false };
    let machine = match args.hardware.machine(size) {
        Ok(machine) => machine,
        Err(why) => return machine_error(&why),
    };
    let (mut host, mut server) = match prepare(&machine, &args.hardware, &args.dir, args.once) {
        Ok(prepared) => prepared,
        Err(why) => return input_error(&why),
    };
    let stop = server.stop();
    if let Err(why) = ctrlc::set_handler(move || stop.stop()) {
        return input_error(&format!("signals cannot be handled: {why}"));
    }
    for function in 0..host.board().functions() {
        let name = host.board().name_of(function);
        anstream::eprintln!("{name}: {}", args.dir.join(machine.socket_name(function)).display());
    }
    if let Err(why) = server.run(&mut host) {
        return input_error(&why.to_string());
    }
    finish(host, &args.hardware)
}

impl Hardware {
    /// The machine that is meant.
    pub(crate) fn machine(&self, size: Size) -> Result<Machine, MachineError> {
        Machine::read(&self.platform, &Fault::tables(&self.fault), size)
    }
}

/// Log lines of at least this level go to stderr, or those that RUST_LOG names.
pub(crate) fn say_what_happens(level: tracing::Level) {
    let filter =
        tracing_subscriber::EnvFilter::builder().with_default_directive(level.into()).from_env_lossy();
    // Another one is there already: that one serves.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .try_init();
}

/// The message of a machine that cannot be.
pub(crate) fn machine_error(why: &MachineError) -> ExitCode {
    if let MachineError::Rejected(rejected) = why {
        crate::check::print_rejected(rejected);
        return ExitCode::from(INPUT);
    }
    input_error(&why.to_string())
}

/// The functions and their sockets.
pub(crate) fn prepare(
    machine: &Machine,
    args: &Hardware,
    sockets: &Path,
    once: bool,
) -> Result<(Host, Server), String> {
    std::fs::create_dir_all(sockets).map_err(|why| format!("`{}`: {why}", sockets.display()))?;
    let mut disks = machine.memory_disks(&[]);
    for pair in &args.disk {
        if args.record.is_some() {
            return Err("a recording needs disks in memory, which begin empty; leave out --disk".to_owned());
        }
        let disk = Disk::file(&pair.file).map_err(|why| why.to_string())?;
        machine.insert(&mut disks, &pair.name, disk).map_err(|why| why.to_string())?;
    }
    let header = machine.header(&disks, args.timed);
    let memory = Memory::live(args.record.is_some());
    let mut board = machine.board(memory, disks, args.timed).map_err(|why| why.to_string())?;
    if let Some(path) = &args.trace {
        board.trace(Box::new(BufWriter::new(create(path)?)));
    }
    let mut host = Host::new(board, Until { all_gone: once, finding: args.fail_fast });
    if let Some(path) = &args.record {
        let written = host.record(create(path)?, &header);
        written.map_err(|why| format!("`{}` cannot be written: {why}", path.display()))?;
    }
    let server = machine.server(&host, sockets, Settings::default()).map_err(|why| why.to_string())?;
    Ok((host, server))
}

pub(crate) fn create(path: &Path) -> Result<File, String> {
    File::create(path).map_err(|why| format!("`{}` cannot be written: {why}", path.display()))
}

/// Ends the recording and tells what happened.
fn finish(host: Host, args: &Hardware) -> ExitCode {
    let board = match host.finish() {
        Ok(board) => board,
        Err(why) => return input_error(&format!("the recording cannot be written: {why}")),
    };
    report(&board, args.json.as_deref(), true, None)
}

/// Prints or writes the summary; `more` is added to what machines read. Failed if the oracle has found something, or `good`
/// says so.
pub(crate) fn report(
    board: &Board,
    json: Option<&Path>,
    good: bool,
    more: Option<(&str, serde_json::Value)>,
) -> ExitCode {
    if json != Some(Path::new("-")) {
        anstream::print!("{}", summary::text(board));
    }
    if let Some(path) = json {
        let mut value = summary::json(board);
        if let Some((key, more)) = more {
            value[key] = more;
        }
        let text = serde_json::to_string_pretty(&value).expect("a JSON value is printable");
        if path == Path::new("-") {
            anstream::println!("{text}");
        } else if let Err(why) = std::fs::write(path, text + "\n") {
            return input_error(&format!("`{}` cannot be written: {why}", path.display()));
        }
    }
    if good && board.findings().is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

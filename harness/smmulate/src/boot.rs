//! `smmulate boot`: Linux in QEMU on a platform's hardware.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use standin::boot::{Console, Description, Drive, Ending, Options, qemu};
use standin::host::Host;
use standin::initrd;
use standin::machine::{Machine, Size};

use crate::cli::Boot;
use crate::linux::{Limits, Scratch, default_qemu, prepared, run, tell};
use crate::serve::{machine_error, prepare, report, say_what_happens};
use crate::{FAILED, input_error};

/// Where a script is put in the machine.
const SCRIPT: &str = "/run/script";

/// Boots; the console and then the summary go to stdout.
pub(crate) fn boot(args: &Boot) -> ExitCode {
    say_what_happens(tracing::Level::WARN);
    let size = Size { cpus: args.cpus, memory_bytes: args.memory, virtualization: !args.no_el2 };
    let machine = match args.hardware.machine(size) {
        Ok(machine) => machine,
        Err(why) => return machine_error(&why),
    };
    // Socket paths must be short, so they are not put beside anything of the user's.
    let folder = match Scratch::new() {
        Ok(folder) => folder,
        Err(why) => return input_error(&format!("no folder can be made for sockets: {why}")),
    };
    let run = || {
        let sockets = args.connect.as_deref().unwrap_or(&folder.0);
        let options = options(args, &folder.0, sockets)?;
        if let Some(sockets) = &args.connect {
            let command =
                qemu::command(&machine.layout, &options, &folder.0).map_err(|why| why.to_string())?;
            return connect(args, sockets, &machine, command).map(|ending| (None, ending));
        }
        let (host, server) = prepare(&machine, &args.hardware, &folder.0, false)?;
        let command = qemu::command(&machine.layout, &options, &folder.0).map_err(|why| why.to_string())?;
        let limits = Limits { timeout: args.timeout, fail_fast: args.hardware.fail_fast };
        run(limits, host, server, command).map(|(host, ending, _)| (Some(host), ending))
    };
    match run() {
        Ok((host, ending)) => finish(args, host, &ending),
        Err(why) => input_error(&why),
    }
}

/// Runs QEMU on sockets that another process serves. Its end is seen by the sockets that it takes away.
fn connect(
    args: &Boot,
    sockets: &Path,
    machine: &Machine,
    command: std::process::Command,
) -> Result<Ending, String> {
    let first = sockets.join(machine.socket_name(0));
    if !first.exists() {
        return Err(format!(
            "`{}` is not there: `smmulate serve {} --dir {}` makes it",
            first.display(),
            args.hardware.platform.display(),
            sockets.display()
        ));
    }
    let console = Console::start(command, std::io::stdout()).map_err(|why| why.to_string())?;
    let until = Instant::now() + Duration::from_secs(args.timeout);
    let lost = || (!first.exists()).then(|| "the server has ended".to_owned());
    // Some QEMUs abort when they lose their server: that is the cause then, not their words.
    Ok(match (console.finish(until, lost).0, lost()) {
        (Ending::Exited(..), Some(why)) => Ending::PeerLost(why),
        (ending, _) => ending,
    })
}

fn finish(args: &Boot, host: Option<Host>, ending: &Ending) -> ExitCode {
    tell(ending, args.timeout);
    let good = *ending == Ending::PoweredOff;
    match host.map(Host::finish) {
        Some(Ok(board)) => report(&board, args.hardware.json.as_deref(), good, None),
        Some(Err(why)) => input_error(&format!("the recording cannot be written: {why}")),
        // The process that serves tells what happened.
        None if good => ExitCode::SUCCESS,
        None => ExitCode::from(FAILED),
    }
}

fn options(args: &Boot, folder: &Path, sockets: &Path) -> Result<Options, String> {
    let (kernel, initrd) = kernel(args)?;
    let mut append = args.append.clone();
    let mut files = Vec::new();
    let mut add = |path: &str, file: &Path| {
        let bytes = std::fs::read(file).map_err(|why| format!("`{}`: {why}", file.display()))?;
        files.push(initrd::File { path: path.to_owned(), bytes });
        Ok::<_, String>(())
    };
    for pair in &args.file {
        add(&pair.name, &pair.file)?;
    }
    if let Some(script) = &args.run {
        add(SCRIPT, script)?;
        append = format!("{append} k.run={SCRIPT}");
    }
    let initrd = if files.is_empty() {
        initrd
    } else {
        let base = initrd.ok_or("--run and --file need an --initrd to be added to")?;
        let base = std::fs::read(&base).map_err(|why| format!("`{}`: {why}", base.display()))?;
        let whole = folder.join("initrd");
        let bytes = initrd::with_files(&base, &files).map_err(|why| why.to_string())?;
        std::fs::write(&whole, bytes).map_err(|why| format!("`{}`: {why}", whole.display()))?;
        Some(whole)
    };
    Ok(Options {
        program: args.qemu.clone().unwrap_or_else(default_qemu),
        kernel,
        initrd,
        append,
        description: if args.acpi { Description::Acpi } else { Description::DeviceTree },
        sockets: sockets.to_owned(),
        drives: args.drive.iter().map(|image| Drive { image: image.clone(), writable: false }).collect(),
        cpu: "max",
        no_posted_writes: args.no_posted_writes,
        reboot: args.reboot,
        interactive: args.run.is_none() && std::io::IsTerminal::is_terminal(&std::io::stdin()),
        extra: args.extra.clone(),
    })
}

/// The kernel and its initial RAM file system.
fn kernel(args: &Boot) -> Result<(PathBuf, Option<PathBuf>), String> {
    let word = args.kernel.to_str().filter(|word| matches!(*word, "small" | "stock"));
    let Some(word) = word.filter(|_| !args.kernel.exists()) else {
        if !args.kernel.exists() {
            return Err(format!("`{}`: there is no such kernel", args.kernel.display()));
        }
        return Ok((args.kernel.clone(), args.initrd.clone()));
    };
    let image = prepared(word, "Image").map_err(|why| format!("{why}, or name a kernel with --kernel"))?;
    let initrd = || args.initrd.clone().unwrap_or_else(|| image.with_file_name("initrd"));
    let initrd = (!args.no_initrd).then(initrd);
    Ok((image, initrd))
}

//! `smmulate nested`: a platform's VMs as KVM guests of Linux on that platform.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::json;
use standin::board::Board;
use standin::boot::{Description, Drive, Ending, Options, qemu};
use standin::initrd;
use standin::machine::{Machine, Size};
use standin::nested::{GUEST, HOST, Plan, Report};

use crate::cli::Nested;
use crate::input_error;
use crate::linux::{Limits, Scratch, default_qemu, prepared, run, tell};
use crate::serve::{machine_error, prepare, report, say_what_happens};

/// Where the guests' initial RAM file system is put in the host.
const INITRD: &str = "/run/nested/initrd";
/// Where the host's script is put.
const PLAN: &str = "/run/nested/plan";
/// Where the guests' work is put in a guest.
const WORK: &str = "/run/work";
/// Memory of the host beyond that of its guests.
const HOST_BYTES: u64 = 512 << 20;

/// Runs; the consoles and then the summary go to stdout.
pub(crate) fn nested(args: &Nested) -> ExitCode {
    say_what_happens(tracing::Level::WARN);
    // What its guests need is known once the file is read.
    let size = Size { cpus: args.cpus, memory_bytes: HOST_BYTES, virtualization: true };
    let machine = args.hardware.machine(size).and_then(|machine| {
        let guests: u64 = machine.guests.iter().map(|guest| guest.memory_bytes).sum();
        machine.resized(Size { memory_bytes: args.memory.unwrap_or(HOST_BYTES + guests), ..size })
    });
    let machine = match machine {
        Ok(machine) => machine,
        Err(why) => return machine_error(&why),
    };
    match attempt(args, &machine) {
        Ok(code) => code,
        Err(why) => input_error(&why),
    }
}

fn attempt(args: &Nested, machine: &Machine) -> Result<ExitCode, String> {
    let plan = Plan {
        guests: machine.guests.clone(),
        mib: args.mib,
        lives: args.lives,
        boots: args.boots,
        append: args.append.clone(),
    };
    plan.check(machine).map_err(|why| format!("{}: {why}", args.hardware.platform.display()))?;
    let folder = Scratch::new().map_err(|why| format!("no folder can be made for sockets: {why}"))?;
    let options = options(args, machine, &plan, &folder.0)?;
    let (host, server) = prepare(machine, &args.hardware, &folder.0, false)?;
    let command = qemu::command(&machine.layout, &options, &folder.0).map_err(|why| why.to_string())?;
    let limits = Limits { timeout: args.timeout, fail_fast: args.hardware.fail_fast };
    let (host, ending, lines) = run(limits, host, server, command)?;
    tell(&ending, args.timeout);
    let board = host.finish().map_err(|why| format!("the recording cannot be written: {why}"))?;
    let said = Report::read(lines.iter().map(String::as_str));
    Ok(finish(args, machine, &plan, &board, &said, &ending))
}

fn finish(
    args: &Nested,
    machine: &Machine,
    plan: &Plan,
    board: &Board,
    said: &Report,
    ending: &Ending,
) -> ExitCode {
    let problems = said.problems(plan, machine, board.tally());
    let good = *ending == Ending::PoweredOff && problems.is_empty();
    let json_path = args.hardware.json.as_deref();
    if json_path != Some(Path::new("-")) {
        anstream::print!("{}", said.text(machine));
        for problem in &problems {
            anstream::println!("problem   {problem}");
        }
    }
    let nested = json!({ "seen": said.json(machine), "problems": problems });
    report(board, json_path, good, Some(("nested", nested)))
}

fn options(args: &Nested, machine: &Machine, plan: &Plan, folder: &Path) -> Result<Options, String> {
    let read = |path: &Path| std::fs::read(path).map_err(|why| format!("`{}`: {why}", path.display()));
    let image = match &args.host {
        Some(image) if image.exists() => image.clone(),
        Some(image) => return Err(format!("`{}`: there is no such image", image.display())),
        None => prepared("host", "image").map_err(|why| format!("{why}, or name one with --host"))?,
    };
    let kernel = prepared("small", "Image")?;
    let base = read(&prepared("small", "initrd")?)?;
    let file = |path: &str, bytes: Vec<u8>| initrd::File { path: path.to_owned(), bytes };
    let mut guest_files = vec![file(GUEST.0, GUEST.1.into())];
    if let Some(script) = &args.run {
        guest_files.push(file(WORK, read(script)?));
    }
    let pack = |files: &[initrd::File]| initrd::with_files(&base, files).map_err(|why| why.to_string());
    let host_files = [
        file(HOST.0, HOST.1.into()),
        file(PLAN, plan.script(machine, INITRD).into()),
        file(INITRD, pack(&guest_files)?),
    ];
    let initrd: PathBuf = folder.join("initrd");
    std::fs::write(&initrd, pack(&host_files)?).map_err(|why| format!("`{}`: {why}", initrd.display()))?;
    Ok(Options {
        program: args.qemu.clone().unwrap_or_else(default_qemu),
        kernel,
        initrd: Some(initrd),
        // The host's GICv2m does not isolate messages of devices, which iommufd wants to be told.
        append: format!("quiet panic=-1 iommufd.allow_unsafe_interrupts=1 k.run={PLAN}"),
        // With a device tree the driver sends every invalidation twice.
        description: Description::Acpi,
        sockets: folder.to_owned(),
        drives: vec![Drive { image, writable: false }],
        // Has all that KVM needs, and less to save on every exit than `max`.
        cpu: "neoverse-n1",
        no_posted_writes: false,
        reboot: false,
        interactive: false,
        extra: Vec::new(),
    })
}

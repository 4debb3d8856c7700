//! Linux in QEMU: what `boot` and `nested` share.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use standin::boot::{Console, Ending};
use standin::host::Host;
use standin::protocol::{Server, Stop};

/// When a run is ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// After so many seconds.
    pub(crate) timeout: u64,
    /// At the oracle's first finding.
    pub(crate) fail_fast: bool,
}

/// Serves on a thread of its own while QEMU runs, until a signal at the latest; returns all lines of the console, too.
pub(crate) fn run(
    limits: Limits,
    mut host: Host,
    mut server: Server,
    command: std::process::Command,
) -> Result<(Host, Ending, Vec<String>), String> {
    let stop = server.stop();
    let interrupted = Arc::new(AtomicBool::new(false));
    let handler = {
        let (stop, interrupted) = (stop.clone(), Arc::clone(&interrupted));
        move || {
            interrupted.store(true, Ordering::Relaxed);
            stop.stop();
        }
    };
    ctrlc::set_handler(handler).map_err(|why| format!("signals cannot be handled: {why}"))?;
    let serving = std::thread::Builder::new().name("server".to_owned()).spawn(move || {
        let ended = server.run(&mut host);
        (host, ended)
    });
    let serving = serving.map_err(|why| format!("no thread can be made: {why}"))?;
    let ended = Ended(stop);
    let why_ended = || {
        if interrupted.load(Ordering::Relaxed) {
            "interrupted"
        } else if limits.fail_fast {
            "the oracle has found something"
        } else {
            "the models' side has ended"
        }
    };
    let console = Console::start(command, std::io::stdout()).map_err(|why| why.to_string())?;
    let until = Instant::now() + Duration::from_secs(limits.timeout);
    let lost = || serving.is_finished().then(|| why_ended().to_owned());
    let (mut ending, lines) = console.finish(until, lost);
    // At a terminal QEMU gets the signal, too, and may be the first to end.
    if interrupted.load(Ordering::Relaxed) && matches!(ending, Ending::Exited(..)) {
        ending = Ending::PeerLost("interrupted".to_owned());
    }
    drop(ended);
    match serving.join() {
        Ok((host, Ok(_))) => Ok((host, ending, lines)),
        Ok((_, Err(why))) => Err(why.to_string()),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// Tells how a run ended, if not well.
pub(crate) fn tell(ending: &Ending, timeout: u64) {
    match ending {
        Ending::PoweredOff => {}
        Ending::Panicked(line) => anstream::eprintln!("the kernel panicked: {line}"),
        Ending::Exited(status, words) => {
            anstream::eprintln!("QEMU ended ({status}) before the machine was powered off\n{words}");
        }
        Ending::PeerLost(why) => anstream::eprintln!("{why}; QEMU was ended"),
        Ending::TimedOut => {
            anstream::eprintln!("not over after {timeout} s; QEMU was ended. --timeout gives it longer");
        }
    }
}

/// Stops the server when it is dropped.
struct Ended(Stop);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// A folder that is removed with all that is in it.
pub(crate) struct Scratch(pub(crate) PathBuf);

impl Scratch {
    pub(crate) fn new() -> std::io::Result<Self> {
        let base = std::env::temp_dir();
        let mut n = 0;
        loop {
            let path = base.join(format!("smmulate-{}-{n}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return Ok(Self(path)),
                Err(why) if why.kind() == std::io::ErrorKind::AlreadyExists => n += 1,
                Err(why) => return Err(why),
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed is left for the system to clean.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A file that a part of harness/standin/prepare has made.
pub(crate) fn prepared(part: &str, file: &str) -> Result<PathBuf, String> {
    let path = cache().join(part).join(file);
    if path.exists() {
        return Ok(path);
    }
    Err(format!("`{}` is not there: `harness/standin/prepare {part}` gets it", path.display()))
}

/// Where harness/standin/prepare puts what it gets.
fn cache() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    from("SMMULATE_CACHE")
        .or_else(|| from("XDG_CACHE_HOME").map(|d| d.join("smmulate")))
        .or_else(|| from("HOME").map(|d| d.join(".cache/smmulate")))
        .unwrap_or_else(|| PathBuf::from(".cache/smmulate"))
}

pub(crate) fn default_qemu() -> PathBuf {
    let prepared = cache().join("bin/qemu-system-aarch64");
    if prepared.exists() { prepared } else { PathBuf::from("qemu-system-aarch64") }
}

//! A running QEMU: its console shown and read at once, its end understood, nothing of it left behind.
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::error::Error;

/// How often processes are looked at while the console is silent.
const LOOK: Duration = Duration::from_millis(50);
/// What QEMU is given to end by itself.
const GRACE: Duration = Duration::from_secs(3);
const POWER_DOWN: [&str; 2] = ["reboot: Power down", "reboot: System halted"];
const PANIC: &str = "Kernel panic - not syncing";

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Linux powered off, and QEMU ended.
    PoweredOff,
    /// The line with which Linux panicked.
    Panicked(String),
    /// QEMU ended though Linux had not powered off; its own words.
    Exited(ExitStatus, String),
    /// The other side of the sockets is gone, and why: QEMU would go on without it.
    PeerLost(String),
    /// The time was over.
    TimedOut,
}

enum Heard {
    Console(String),
    Complaint(String),
}

/// A QEMU whose standard output is the guest's console. It is ended when this is dropped.
///
/// QEMU also ends with the thread that called [`Console::start`], so that nothing is left when we are killed.
#[derive(Debug)]
pub struct Console {
    qemu: Child,
    heard: Receiver<Heard>,
    lines: Vec<String>,
    complaints: Vec<String>,
    powered_down: bool,
}

impl Console {
    /// Starts a command of [`super::qemu::command`]; what the guest prints is written to `echo` as it comes.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(mut command: Command, echo: impl Write + Send + 'static) -> Result<Self, Error> {
        let program = command.get_program().to_owned();
        let mut qemu = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(Error::io(Path::new(&program)))?;
        let (say, heard) = channel();
        if let Some(output) = qemu.stdout.take() {
            let say = say.clone();
            thread::spawn(move || relay(output, echo, &say));
        }
        if let Some(errors) = qemu.stderr.take() {
            thread::spawn(move || complaints(errors, &say));
        }
        Ok(Self { qemu, heard, lines: Vec::new(), complaints: Vec::new(), powered_down: false })
    }

    /// Waits for a line that contains `text`, and returns it. `peer` is asked often whether the other side of the
    /// sockets is still there, and says why not.
    ///
    /// # Errors
    /// The run ended first.
    pub fn wait_for(
        &mut self,
        text: &str,
        until: Instant,
        mut peer: impl FnMut() -> Option<String>,
    ) -> Result<String, Ending> {
        loop {
            if let Some(line) = self.next(until, &mut peer)?
                && line.contains(text)
            {
                return Ok(line);
            }
        }
    }

    /// Waits for the end, and returns it with all lines of the console.
    pub fn finish(
        mut self,
        until: Instant,
        mut peer: impl FnMut() -> Option<String>,
    ) -> (Ending, Vec<String>) {
        let ending = loop {
            if let Err(ending) = self.next(until, &mut peer) {
                break ending;
            }
        };
        (ending, std::mem::take(&mut self.lines))
    }

    /// Lines of the console so far.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// QEMU's process.
    pub fn id(&self) -> u32 {
        self.qemu.id()
    }

    /// The next line of the console, if there is one soon.
    fn next(
        &mut self,
        until: Instant,
        peer: &mut impl FnMut() -> Option<String>,
    ) -> Result<Option<String>, Ending> {
        match self.heard.recv_timeout(LOOK) {
            Ok(Heard::Console(line)) => {
                self.lines.push(line.clone());
                self.powered_down |= POWER_DOWN.iter().any(|text| line.contains(text));
                if line.contains(PANIC) {
                    self.read_rest();
                    return Err(Ending::Panicked(line));
                }
                return Ok(Some(line));
            }
            Ok(Heard::Complaint(line)) => self.complain(line, peer),
            // Both of QEMU's outputs are closed: it ends.
            Err(RecvTimeoutError::Disconnected) => return Err(self.ended(GRACE)),
            Err(RecvTimeoutError::Timeout) => {}
        }
        // Servers end with QEMU, so they are not to blame once Linux has powered down.
        if !self.powered_down
            && let Some(why) = peer()
        {
            return Err(Ending::PeerLost(why));
        }
        if Instant::now() >= until { Err(Ending::TimedOut) } else { Ok(None) }
    }

    /// Tells what QEMU says, once. That it cannot reach a peer which is gone is known, and it says so at every access.
    fn complain(&mut self, line: String, peer: &mut impl FnMut() -> Option<String>) {
        if self.complaints.last() == Some(&line) {
            return;
        }
        if peer().is_none() {
            tracing::warn!("qemu: {line}");
        }
        self.complaints.push(line);
    }

    /// Reads what the console still says after a panic.
    fn read_rest(&mut self) {
        while let Ok(heard) = self.heard.recv_timeout(10 * LOOK) {
            match heard {
                Heard::Console(line) => self.lines.push(line),
                Heard::Complaint(line) => self.complaints.push(line),
            }
        }
    }

    fn ended(&mut self, patience: Duration) -> Ending {
        match wait(&mut self.qemu, patience) {
            Some(_) if self.powered_down => Ending::PoweredOff,
            Some(status) => Ending::Exited(status, self.complaints.join("\n")),
            None => Ending::TimedOut,
        }
    }
}

impl Drop for Console {
    fn drop(&mut self) {
        // Asked first, so that QEMU gives the terminal back its modes.
        if let Some(pid) = i32::try_from(self.qemu.id()).ok().and_then(Pid::from_raw)
            && matches!(self.qemu.try_wait(), Ok(None))
            && kill_process(pid, Signal::TERM).is_ok()
        {
            wait(&mut self.qemu, GRACE);
        }
        // Errors mean that it has ended.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if Instant::now() < until => thread::sleep(LOOK / 5),
            _ => return None,
        }
    }
}

/// Passes bytes on as they come, a prompt without its line's end too, and lines when they are whole.
fn relay(mut output: impl Read, mut echo: impl Write, say: &Sender<Heard>) {
    let (mut bytes, mut line) = ([0; 4096], Vec::new());
    while let Ok(n @ 1..) = output.read(&mut bytes) {
        // Nobody to show it to is no reason to stop reading.
        let _ = echo.write_all(&bytes[..n]).and_then(|()| echo.flush());
        for &byte in &bytes[..n] {
            match byte {
                b'\n' => tell(&mut line, say),
                b'\r' => {}
                _ => line.push(byte),
            }
        }
    }
    if !line.is_empty() {
        tell(&mut line, say);
    }
}

fn tell(line: &mut Vec<u8>, say: &Sender<Heard>) {
    let text = String::from_utf8_lossy(line).into_owned();
    line.clear();
    // The console may be gone while its guest still speaks.
    let _ = say.send(Heard::Console(text));
}

fn complaints(errors: impl Read, say: &Sender<Heard>) {
    for line in BufReader::new(errors).lines().map_while(Result::ok) {
        let _ = say.send(Heard::Complaint(line));
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Shown(Arc<Mutex<Vec<u8>>>);

    impl Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Something that behaves as QEMU's process does, by a shell.
    fn start(script: &str) -> (Console, Shown) {
        let shown = Shown::default();
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null());
        (Console::start(command, shown.clone()).unwrap(), shown)
    }

    fn soon(millis: u64) -> Instant {
        Instant::now() + Duration::from_millis(millis)
    }

    #[test]
    fn endings() {
        type Expected = fn(&Ending) -> bool;
        let rows: [(&str, Option<&str>, Expected); 6] = [
            ("echo '[ 1.0] reboot: Power down'", None, |e| *e == Ending::PoweredOff),
            (
                "echo hello; echo sorry >&2; exit 3",
                None,
                |e| matches!(e, Ending::Exited(status, words) if status.code() == Some(3) && words == "sorry"),
            ),
            (
                "printf 'x\\r\\nKernel panic - not syncing: no init\\nmore\\n'; exec sleep 60",
                None,
                |e| matches!(e, Ending::Panicked(line) if line.ends_with("no init")),
            ),
            ("exec sleep 60", None, |e| *e == Ending::TimedOut),
            ("exec sleep 60", Some("killed"), |e| *e == Ending::PeerLost("killed".into())),
            ("echo 'reboot: Power down'; sleep 0.2", Some("it ended too"), |e| *e == Ending::PoweredOff),
        ];
        for (script, peer, expected) in rows {
            let (console, _) = start(script);
            let (ending, _) = console.finish(soon(900), || peer.map(Into::into));
            assert!(expected(&ending), "{script}: {ending:?}");
        }
    }

    #[test]
    fn lines_are_found_and_all_bytes_shown() {
        let (mut console, shown) = start("printf 'one\\r\\ntwo\\nprompt# '; exec sleep 60");
        assert_eq!(console.wait_for("tw", soon(5000), || None), Ok("two".into()));
        assert_eq!(console.wait_for("three", soon(200), || None), Err(Ending::TimedOut));
        assert_eq!(console.lines(), ["one", "two"]);
        assert_eq!(*shown.0.lock().unwrap(), b"one\r\ntwo\nprompt# ");
    }

    #[test]
    fn nothing_is_left_behind() {
        for script in ["exec sleep 60", "trap '' TERM; while :; do sleep 0.05; done"] {
            let (console, _) = start(script);
            let process = format!("/proc/{}", console.id());
            assert!(Path::new(&process).exists());
            drop(console);
            assert!(!Path::new(&process).exists(), "{script}");
        }
    }
}

//! Runs `smmulate boot` and reads what it says.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard};

use serde_json::Value;

/// One machine at a time: each has several CPUs.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// A shell function that prints the block device of an NVMe controller by its slot, once it is there.
pub(crate) const SCRIPT_DISKS: &str = "disk() {
    for _ in $(seq 100); do
        for n in /sys/bus/pci/devices/0000:00:$1.0/nvme/nvme*/nvme*n1; do
            [ -e $n ] && { echo /dev/${n##*/}; return; }
        done
        sleep 0.1
    done
}
";

/// Which kernel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Kernel {
    /// With CMDQV and iommufd.
    #[default]
    Small,
    /// A distribution's.
    Stock,
}

impl Kernel {
    fn word(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Stock => "stock",
        }
    }
}

/// What to boot.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Boot<'a> {
    pub(crate) platform: &'a str,
    pub(crate) script: &'a str,
    pub(crate) kernel: Kernel,
    /// 2 unless given.
    pub(crate) cpus: u32,
    pub(crate) append: &'a str,
    pub(crate) args: &'a [&'a str],
    pub(crate) record: bool,
}

/// What a run left.
pub(crate) struct Ran {
    pub(crate) status: i32,
    console: String,
    summary: Value,
    recording: Option<PathBuf>,
}

/// Two pSMMUs with CMDQVs, two disks behind each in slots 2 to 5, a tester behind the first in slot 6.
pub(crate) fn two_with_cmdqv(more: &str) -> String {
    let shipped = include_str!("../../../../scenarios/platforms/two-psmmus-four-disks.toml");
    format!(
        "{}\n{more}",
        shipped.replace("cmdqv = { vintfs = 64, vcmdqs = 128, sid_slots = 16 }", "cmdqv = true")
    )
}

/// Two pSMMUs without CMDQVs, a disk behind each in slots 2 and 3.
pub(crate) fn plain() -> String {
    include_str!("../../../../scenarios/platforms/two-plain-psmmus.toml").to_owned()
}

/// A script that lets the tester in slot 6 write to an address.
pub(crate) fn bad_dma(addr: &str) -> String {
    format!(
        "d=/sys/bus/pci/devices/0000:00:06.0
        echo 1 > $d/enable
        printf '\\006' | dd of=$d/config bs=1 seek=4 conv=notrunc 2>/dev/null
        bar=$(head -1 $d/resource | cut -d' ' -f1)
        r() {{ busybox devmem $(printf '0x%x' $((bar + $1))) 32 $2; }}
        r 8 {addr}; r 12 0; r 16 8; r 4 1
        [ $(r 28) = 0x00000001 ] && echo refused
        sleep 1.5; dmesg | grep event"
    )
}

/// The folder that harness/standin/prepare fills.
fn cache() -> PathBuf {
    let from = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let home = || from("HOME").unwrap_or_default().join(".cache/smmulate");
    from("SMMULATE_CACHE").or_else(|| from("XDG_CACHE_HOME").map(|d| d.join("smmulate"))).unwrap_or_else(home)
}

/// Whether QEMU and files of parts of harness/standin/prepare are there.
///
/// # Panics
/// They are missing and their part is required.
pub(crate) fn is_there(files: &[(&str, &str)]) -> bool {
    for (part, file) in [("bin", "qemu-system-aarch64")].iter().chain(files) {
        let path = cache().join(part).join(file);
        if !path.exists() {
            let what = format!("{} is missing: `harness/standin/prepare` gets it", path.display());
            let required = std::env::var("SMMULATE_LINUX").unwrap_or_default();
            assert!(!required.split(' ').any(|word| word == *part), "{what}");
            eprintln!("skipped: {what}");
            return false;
        }
    }
    true
}

/// A folder of this test's own.
fn folder() -> PathBuf {
    let name = std::thread::current().name().unwrap_or("boot").replace("::", "-");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// The command that boots, without what says where its results go.
fn command(boot: &Boot<'_>, folder: &Path) -> Command {
    let (platform, script) = (folder.join("platform.toml"), folder.join("script"));
    std::fs::write(&platform, boot.platform).unwrap();
    std::fs::write(&script, boot.script).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smmulate"));
    command.arg("boot").arg(&platform).args(["--kernel", boot.kernel.word()]);
    if !boot.script.is_empty() {
        command.arg("--run").arg(&script);
    }
    command.arg("--cpus").arg(boot.cpus.max(2).to_string());
    command.arg("--append").arg(format!("quiet panic=-1 {}", boot.append));
    if !boot.args.contains(&"--timeout") {
        command.args(["--timeout", "120"]);
    }
    command.args(boot.args);
    command
}

/// Boots, unless parts are missing.
///
/// # Panics
/// The machine does not power off by itself, or parts are missing and required.
pub(crate) fn boot(boot: &Boot<'_>) -> Option<Ran> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !is_there(&[(boot.kernel.word(), "Image")]) {
        return None;
    }
    let folder = folder();
    let json = folder.join("json");
    let recording = boot.record.then(|| folder.join("recording"));
    let mut command = command(boot, &folder);
    command.arg("--json").arg(&json);
    if let Some(recording) = &recording {
        command.arg("--record").arg(recording);
    }
    let ran = run(command, &json, recording);
    drop(guard);
    ran.says("reboot: Power down");
    Some(ran)
}

fn run(mut command: Command, json: &Path, recording: Option<PathBuf>) -> Ran {
    let _ = std::fs::remove_file(json);
    let output = command.output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    let console = String::from_utf8_lossy(&text).replace('\r', "");
    assert!(json.exists(), "{console}");
    let summary = serde_json::from_str(&std::fs::read_to_string(json).unwrap()).unwrap();
    Ran { status: output.status.code().unwrap_or(-1), console, summary, recording }
}

/// What to run as guests of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Nested<'a> {
    pub(crate) platform: &'a str,
    /// What the guests do beside writing to their disks.
    pub(crate) script: &'a str,
    pub(crate) args: &'a [&'a str],
    pub(crate) record: bool,
}

/// Runs guests, unless parts are missing. A run that is not over in time is a result, too.
///
/// # Panics
/// Parts are missing and required.
pub(crate) fn nested(nested: &Nested<'_>) -> Option<Ran> {
    let guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !is_there(&[("small", "Image"), ("host", "image")]) {
        return None;
    }
    let folder = folder();
    let (platform, script, json) = (folder.join("platform.toml"), folder.join("script"), folder.join("json"));
    std::fs::write(&platform, nested.platform).unwrap();
    std::fs::write(&script, nested.script).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_smmulate"));
    command.arg("nested").arg(&platform).args(nested.args);
    if !nested.args.contains(&"--timeout") {
        command.args(["--timeout", "300"]);
    }
    command.arg("--json").arg(&json);
    if !nested.script.is_empty() {
        command.arg("--run").arg(&script);
    }
    let recording = nested.record.then(|| folder.join("recording"));
    if let Some(recording) = &recording {
        command.arg("--record").arg(recording);
    }
    let ran = run(command, &json, recording);
    drop(guard);
    Some(ran)
}

/// A machine that runs on somebody else's sockets.
pub(crate) struct Machine {
    process: Child,
    stdout: BufReader<ChildStdout>,
    said: String,
}

/// Boots on somebody else's sockets.
pub(crate) fn connect(boot: &Boot<'_>) -> Machine {
    let mut command = command(boot, &folder());
    let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stdout = BufReader::new(process.stdout.take().unwrap());
    Machine { process, stdout, said: String::new() }
}

impl Machine {
    /// Waits until the console shows this.
    ///
    /// # Panics
    /// The run is over before.
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !self.said.contains(text) {
            let mut line = Vec::new();
            let read = self.stdout.read_until(b'\n', &mut line).unwrap();
            self.said.push_str(&String::from_utf8_lossy(&line));
            assert!(read > 0, "not said: {text}\n{}", self.said);
        }
    }
    /// Kills QEMU, which cannot tidy up then.
    pub(crate) fn kill_qemu(&self) {
        let id = self.process.id();
        let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
        let killed = Command::new("kill").arg("-KILL").args(children.split_whitespace()).status().unwrap();
        assert!(killed.success(), "{children}");
    }
    /// All that is said until the run is over.
    pub(crate) fn finish(mut self) -> String {
        let mut rest = Vec::new();
        self.stdout.read_to_end(&mut rest).unwrap();
        self.process.stderr.take().unwrap().read_to_end(&mut rest).unwrap();
        self.process.wait().unwrap();
        self.said.push_str(&String::from_utf8_lossy(&rest));
        self.said.replace('\r', "")
    }
}

/// A running `smmulate serve`. Nobody else boots meanwhile.
pub(crate) struct Server {
    process: Child,
    folder: String,
    _alone: MutexGuard<'static, ()>,
}

/// Serves a platform, unless parts are missing.
pub(crate) fn serve(platform: &str) -> Option<Server> {
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if !is_there(&[("small", "Image")]) {
        return None;
    }
    let file = folder().join("served.toml");
    std::fs::write(&file, platform).unwrap();
    // Paths of sockets must be short.
    let sockets = std::env::temp_dir().join(format!("smmulate-test-{}", std::process::id()));
    let process = Command::new(env!("CARGO_BIN_EXE_smmulate"))
        .arg("serve")
        .arg(&file)
        .arg("--dir")
        .arg(&sockets)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let last = sockets.join("tester.sock");
    while !last.exists() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    Some(Server { process, folder: sockets.display().to_string(), _alone: alone })
}

impl Server {
    pub(crate) fn folder(&self) -> &str {
        &self.folder
    }
    /// Ends it by a signal; its summary.
    pub(crate) fn stop(mut self) -> String {
        Command::new("kill").arg(self.process.id().to_string()).status().unwrap();
        let mut text = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.process.wait().unwrap();
        let _ = std::fs::remove_dir_all(&self.folder);
        text
    }
}

impl Ran {
    /// The console shows this.
    pub(crate) fn says(&self, text: &str) {
        assert!(self.console.contains(text), "not said: {text}\n{}", self.console);
    }
    /// Lines of the console that begin like this.
    pub(crate) fn lines(&self, start: &str) -> impl Iterator<Item = &str> {
        self.console.lines().filter(move |line| line.starts_with(start))
    }
    /// The oracle is content, and so is the exit status.
    pub(crate) fn is_clean(&self) {
        assert!(self.findings().is_empty(), "{:#?}", self.findings());
        assert_eq!(self.status, 0, "{}", self.console);
    }
    pub(crate) fn findings(&self) -> &Vec<Value> {
        self.summary["oracle"].as_array().unwrap()
    }
    /// A count of a pSMMU.
    pub(crate) fn smmu(&self, smmu: &str, what: &str) -> u64 {
        self.summary["smmus"][smmu][what].as_u64().unwrap_or_else(|| panic!("no {smmu}.{what}"))
    }
    /// Event records with this name.
    pub(crate) fn event(&self, smmu: &str, name: &str) -> u64 {
        self.summary["smmus"][smmu]["events"][name].as_u64().unwrap_or(0)
    }
    /// Commands of an opcode, of all queues whose names begin like this.
    pub(crate) fn commands(&self, smmu: &str, queue: &str, opcode: &str) -> u64 {
        self.sum(smmu, "commands", queue, opcode)
    }
    /// Times that queues whose names begin like this have stopped.
    pub(crate) fn command_errors(&self, smmu: &str, queue: &str, code: &str) -> u64 {
        self.sum(smmu, "command_errors", queue, code)
    }

    fn sum(&self, smmu: &str, table: &str, queue: &str, name: &str) -> u64 {
        let queues = self.summary["smmus"][smmu][table].as_object().unwrap();
        let counts = queues.iter().filter(|(q, _)| q.starts_with(queue));
        counts.filter_map(|(_, counts)| counts[name].as_u64()).sum()
    }

    /// The whole summary.
    pub(crate) fn summary(&self) -> &Value {
        &self.summary
    }
    /// What VINTFs have done with commands.
    pub(crate) fn vintf(&self, smmu: &str, vintf: &str) -> &Value {
        &self.summary["smmus"][smmu]["vintfs"][vintf]
    }
    /// The last life of a guest.
    pub(crate) fn guest(&self, name: &str) -> &Value {
        self.summary["nested"]["seen"]["guests"][name].as_array().unwrap().last().unwrap()
    }
    /// VM exits to QEMU while a guest worked, in its last boot.
    pub(crate) fn exits(&self, name: &str) -> u64 {
        self.guest(name)["boots"].as_array().unwrap().last().unwrap()["exits"]["qemu"].as_u64().unwrap()
    }

    /// The recording, run again, does what the run did and ends with the same summary.
    pub(crate) fn plays_the_same(&self) {
        let recording = self.recording.as_ref().expect("it was recorded");
        let output = Command::new(env!("CARGO_BIN_EXE_smmulate"))
            .arg("replay")
            .arg(recording)
            .args(["--json", "-"])
            .output()
            .unwrap();
        let again: Value = serde_json::from_slice(&output.stdout).unwrap();
        let mut summary = self.summary.clone();
        // What guests said on the console is no part of a recording.
        summary.as_object_mut().unwrap().remove("nested");
        assert_eq!(again, summary);
        assert_eq!(output.status.code(), Some(self.status));
    }
    /// Puts the recording where it ships.
    pub(crate) fn keep_recording(&self, name: &str) {
        let to = Path::new(env!("CARGO_MANIFEST_DIR")).join("recordings").join(format!("{name}.rec"));
        std::fs::copy(self.recording.as_ref().expect("it was recorded"), to).unwrap();
    }
}

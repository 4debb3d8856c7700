//! QEMU's command line, and what it is given: device tree, boot stub, tables.
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;

use super::acpi::Tables;
use super::error::Error;
use super::layout::{HIDDEN_BUS, HIDDEN_SLOT, Layout, carrier_name};
use super::{dt, stub};

/// First version whose vfio-user messages are those of the specification.
pub const VERSION_MIN: (u32, u32) = (11, 1);

/// How Linux learns what there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Description {
    /// By device tree.
    DeviceTree,
    /// By ACPI, without firmware.
    Acpi,
}

/// A block device beside the SMMUs (virtio-MMIO, never translated): the first is `/dev/vda`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Drive {
    /// A raw image.
    pub image: PathBuf,
    /// Whether it may be written to.
    pub writable: bool,
}

/// What is run, on a [`Layout`].
#[derive(Clone, Debug)]
pub struct Options {
    /// `qemu-system-aarch64`.
    pub program: PathBuf,
    /// Linux (arm64 `Image`, possibly compressed by gzip).
    pub kernel: PathBuf,
    /// Its initramfs.
    pub initrd: Option<PathBuf>,
    /// Added to its command line, which starts with the console.
    pub append: String,
    /// How it learns of the hardware.
    pub description: Description,
    /// Folder of the sockets that servers listen on: `smmuN.sock` for the carriers, `NAME.sock` for the endpoints.
    pub sockets: PathBuf,
    /// Block devices.
    pub drives: Vec<Drive>,
    /// Model of the CPUs, as QEMU calls it.
    pub cpu: &'static str,
    /// Whether each MMIO write waits for the server's answer.
    pub no_posted_writes: bool,
    /// Whether QEMU starts again, rather than ends, when Linux reboots.
    pub reboot: bool,
    /// Whether the guest's console reads our standard input.
    pub interactive: bool,
    /// Further arguments, as they are.
    pub extra: Vec<OsString>,
}

/// What QEMU loads into the guest's memory, as files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// Device tree.
    pub dtb: PathBuf,
    /// Boot stub.
    pub stub: PathBuf,
    /// ACPI tables.
    pub tables: Option<PathBuf>,
}

/// Checks QEMU, writes what it loads into `folder`, and returns the command that boots the kernel.
/// The servers must listen before it is spawned.
///
/// # Errors
/// QEMU is missing, too old or fails; a file cannot be written; its device tree is unknown.
pub fn command(layout: &Layout, options: &Options, folder: &Path) -> Result<Command, Error> {
    check_version(&options.program)?;
    let dumped = dump_device_tree(&options.program, layout, options.cpu, folder)?;
    let files = write_files(layout, options.description, &dumped, folder)?;
    let mut command = Command::new(&options.program);
    command.args(command_line(layout, options, &files));
    command.stdin(if options.interactive { Stdio::inherit() } else { Stdio::null() });
    Ok(command)
}

/// Asks QEMU for its version.
///
/// # Errors
/// It does not run, or is older than [`VERSION_MIN`].
pub fn check_version(program: &Path) -> Result<(u32, u32), Error> {
    let output = Command::new(program).arg("--version").output().map_err(Error::io(program))?;
    let says = String::from_utf8_lossy(&output.stdout);
    match parse_version(&says) {
        Some(version) if version >= VERSION_MIN => Ok(version),
        _ => Err(Error::Version {
            program: program.into(),
            says: says.lines().next().unwrap_or("nothing").into(),
        }),
    }
}

fn parse_version(says: &str) -> Option<(u32, u32)> {
    let mut numbers = says.strip_prefix("QEMU emulator version ")?.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Lets QEMU write the device tree of the machine that [`command_line`] starts.
///
/// # Errors
/// QEMU fails, or the file cannot be written or read.
pub fn dump_device_tree(program: &Path, layout: &Layout, cpu: &str, folder: &Path) -> Result<Vec<u8>, Error> {
    let path = folder.join("virt.dtb");
    let mut dump = OsString::from("dumpdtb=");
    dump.push(quoted(&path));
    let output = Command::new(program)
        .args(machine(layout, cpu))
        .arg("-machine")
        .arg(dump)
        .stdin(Stdio::null())
        .output()
        .map_err(Error::io(program))?;
    if !output.status.success() {
        return Err(Error::Qemu(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    fs::read(&path).map_err(Error::io(path))
}

/// Writes what QEMU loads.
///
/// # Errors
/// A file cannot be written; `dumped` is not the device tree of the `virt` machine.
pub fn write_files(
    layout: &Layout,
    description: Description,
    dumped: &[u8],
    folder: &Path,
) -> Result<Files, Error> {
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).map_err(Error::io(&path))?;
        Ok(path)
    };
    let stub = write("stub.bin", &stub::stub(layout))?;
    let (dtb, tables) = match description {
        Description::DeviceTree => (dt::describe(dumped, layout)?, None),
        Description::Acpi => {
            let tables = Tables::new(layout)?;
            (dt::point_to_tables(dumped, &tables)?, Some(write("tables.bin", &tables.bytes)?))
        }
    };
    Ok(Files { dtb: write("linux.dtb", &dtb)?, stub, tables })
}

/// The whole command line, without the program.
pub fn command_line(layout: &Layout, options: &Options, files: &Files) -> Vec<OsString> {
    let mut line = Line(machine(layout, options.cpu));
    line.device(&format!("pxb-pcie,bus_nr={HIDDEN_BUS},id=pxb,bus=pcie.0,addr={HIDDEN_SLOT:#x}"));
    for (i, place) in layout.smmus.iter().enumerate() {
        let (port, slot) = (place.root_port.device, i + 1);
        line.device(&format!(
            "pcie-root-port,id=rp{i},bus=pxb,addr={port:#x},chassis={slot},slot={slot},io-reserve=0"
        ));
        line.vfio_user(options, &carrier_name(i), &format!("rp{i}"), place.carrier.device);
    }
    for (bdf, endpoint) in layout.endpoints() {
        line.vfio_user(options, &endpoint.name, "pcie.0", bdf.device);
    }
    line.load(&files.stub, layout.stub, ",cpu-num=0");
    if let Some(tables) = &files.tables {
        line.load(tables, layout.tables, "");
    }
    line.pair("-kernel", &options.kernel);
    if let Some(initrd) = &options.initrd {
        line.pair("-initrd", initrd);
    }
    line.pair("-append", append(options));
    line.pair("-dtb", &files.dtb);
    for (i, drive) in options.drives.iter().enumerate() {
        let readonly = if drive.writable { "off" } else { "on" };
        let mut backend = OsString::from(format!("id=drive{i},if=none,format=raw,readonly={readonly},file="));
        backend.push(quoted(&drive.image));
        line.pair("-drive", backend);
        line.device(&format!("virtio-blk-device,drive=drive{i}"));
    }
    if !options.reboot {
        line.0.push("-no-reboot".into());
    }
    line.pair(
        "-chardev",
        if options.interactive { "stdio,id=console,signal=off" } else { "stdio,id=console" },
    );
    line.pair("-serial", "chardev:console");
    line.0.extend(options.extra.iter().cloned());
    line.0
}

/// What decides over the device tree: equal for the dump and the run.
fn machine(layout: &Layout, cpu: &str) -> Vec<OsString> {
    let platform = &layout.platform;
    let virtualization = if platform.virtualization { "on" } else { "off" };
    let mib = platform.memory_bytes >> 20;
    let mut line = Line(Vec::new());
    line.pair("-machine", format!("virt,gic-version=2,virtualization={virtualization},memory-backend=ram"));
    line.pair("-object", format!("memory-backend-memfd,id=ram,size={mib}M,share=on"));
    line.pair("-cpu", cpu);
    line.pair("-smp", platform.cpus.to_string());
    line.pair("-m", format!("{mib}M"));
    line.pair("-accel", "tcg");
    line.0.extend(["-nodefaults", "-nographic"].map(OsString::from));
    line.pair("-monitor", "none");
    line.pair("-run-with", "exit-with-parent=on");
    line.0
}

fn append(options: &Options) -> String {
    let way = match options.description {
        Description::DeviceTree => "",
        Description::Acpi => " acpi=force efi=noruntime",
    };
    format!("console=ttyAMA0{way} {}", options.append).trim_end().into()
}

/// A path inside an option list, where a comma is written twice.
fn quoted(path: &Path) -> OsString {
    let text = path.as_os_str();
    text.to_str().map_or_else(|| text.into(), |text| text.replace(',', ",,").into())
}

/// Arguments so far.
struct Line(Vec<OsString>);

impl Line {
    fn pair(&mut self, option: &str, value: impl Into<OsString>) {
        self.0.extend([option.into(), value.into()]);
    }

    fn device(&mut self, device: &str) {
        self.pair("-device", device);
    }

    fn vfio_user(&mut self, options: &Options, name: &str, bus: &str, slot: u8) {
        let socket = options.sockets.join(format!("{name}.sock"));
        let mut device = json!({
            "driver": "vfio-user-pci",
            "id": name,
            "bus": bus,
            "addr": format!("{slot:#x}"),
            "socket": { "type": "unix", "path": socket.to_string_lossy() },
        });
        if options.no_posted_writes {
            device["x-no-posted-writes"] = true.into();
        }
        self.device(&device.to_string());
    }

    fn load(&mut self, file: &Path, address: u64, more: &str) {
        let mut loader = OsString::from(format!("loader,addr={address:#x},force-raw=on{more},file="));
        loader.push(quoted(file));
        self.pair("-device", loader);
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::layout::tests::platform;
    use super::*;

    fn options(description: Description) -> Options {
        Options {
            program: "qemu-system-aarch64".into(),
            kernel: "Image".into(),
            initrd: Some("initrd".into()),
            append: "k.run=/x".into(),
            description,
            sockets: "S".into(),
            drives: vec![Drive { image: "a,b.ext4".into(), writable: false }],
            cpu: "max",
            no_posted_writes: true,
            reboot: false,
            interactive: false,
            extra: vec!["-d".into(), "unimp".into()],
        }
    }

    #[test]
    fn whole_lines() {
        let mut platform = platform(1);
        platform.endpoints.truncate(1);
        platform.virtualization = true;
        let files = Files {
            dtb: "D/linux.dtb".into(),
            stub: "D/stub.bin".into(),
            tables: Some("D/tables.bin".into()),
        };
        let line = command_line(&Layout::new(&platform).unwrap(), &options(Description::Acpi), &files);
        let mut text = String::new();
        for word in line {
            text.push_str(if word.to_str().unwrap().starts_with('-') { "\n" } else { " " });
            text.push_str(word.to_str().unwrap());
        }
        expect![[r#"
            -machine virt,gic-version=2,virtualization=on,memory-backend=ram
            -object memory-backend-memfd,id=ram,size=1024M,share=on
            -cpu max
            -smp 2
            -m 1024M
            -accel tcg
            -nodefaults
            -nographic
            -monitor none
            -run-with exit-with-parent=on
            -device pxb-pcie,bus_nr=64,id=pxb,bus=pcie.0,addr=0x1e
            -device pcie-root-port,id=rp0,bus=pxb,addr=0x0,chassis=1,slot=1,io-reserve=0
            -device {"addr":"0x0","bus":"rp0","driver":"vfio-user-pci","id":"smmu0","socket":{"path":"S/smmu0.sock","type":"unix"},"x-no-posted-writes":true}
            -device {"addr":"0x5","bus":"pcie.0","driver":"vfio-user-pci","id":"nvme0","socket":{"path":"S/nvme0.sock","type":"unix"},"x-no-posted-writes":true}
            -device loader,addr=0x7ff00000,force-raw=on,cpu-num=0,file=D/stub.bin
            -device loader,addr=0x7fe00000,force-raw=on,file=D/tables.bin
            -kernel Image
            -initrd initrd
            -append console=ttyAMA0 acpi=force efi=noruntime k.run=/x
            -dtb D/linux.dtb
            -drive id=drive0,if=none,format=raw,readonly=on,file=a,,b.ext4
            -device virtio-blk-device,drive=drive0
            -no-reboot
            -chardev stdio,id=console
            -serial chardev:console
            -d unimp"#]].assert_eq(text.trim());
    }

    #[test]
    fn only_acpi_is_told_to_linux() {
        assert_eq!(append(&options(Description::DeviceTree)), "console=ttyAMA0 k.run=/x");
        assert_eq!(append(&options(Description::Acpi)), "console=ttyAMA0 acpi=force efi=noruntime k.run=/x");
    }

    #[test]
    fn versions() {
        for (says, version) in [
            ("QEMU emulator version 11.1.2 (Debian 1:11.1.2+ds-3)\nCopyright", Some((11, 1))),
            ("QEMU emulator version 7.2.17", Some((7, 2))),
            ("QEMU emulator version 12.0.50 (v12)", Some((12, 0))),
            ("bash 5.2", None),
            ("", None),
        ] {
            assert_eq!(parse_version(says), version, "{says}");
        }
    }

    #[test]
    fn what_is_no_qemu_is_named() {
        let error = check_version(Path::new("/bin/true")).unwrap_err().to_string();
        assert!(error.starts_with("/bin/true: QEMU 11.1 or newer is needed"), "{error}");
        assert!(matches!(check_version(Path::new("/nowhere/qemu")), Err(Error::Io(..))));
    }
}

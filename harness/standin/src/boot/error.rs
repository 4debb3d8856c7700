//! What can go wrong before Linux runs.
use std::path::PathBuf;
use std::{error, fmt, io};

/// Why a machine was not started.
#[derive(Debug)]
pub enum Error {
    /// A file or program could not be used.
    Io(PathBuf, io::Error),
    /// The program is no QEMU, or is older than the protocol needs.
    Version {
        /// The program.
        program: PathBuf,
        /// What it says of itself.
        says: String,
    },
    /// QEMU ended without doing what it was started for; its own words.
    Qemu(String),
    /// The device tree that QEMU wrote is not what its `virt` machine writes.
    DeviceTree(String),
    /// The ACPI tables take more room than is reserved for them, in bytes.
    Tables(usize),
}

impl Error {
    /// For `map_err`: names the file that an operating-system error is about.
    pub(super) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |error| Self::Io(path, error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(path, error) => write!(f, "{}: {error}", path.display()),
            Self::Version { program, says } => write!(
                f,
                "{}: QEMU 11.1 or newer is needed (older ones lay out vfio-user messages differently); this one says: {}\n\
                 harness/standin/prepare fetches one",
                program.display(),
                says.trim()
            ),
            Self::Qemu(words) => write!(f, "QEMU failed: {}", words.trim()),
            Self::DeviceTree(what) => {
                write!(f, "the device tree of QEMU's virt machine is unexpected: {what}")
            }
            Self::Tables(bytes) => {
                write!(f, "the ACPI tables need {bytes} bytes, more than is reserved for them")
            }
        }
    }
}

impl error::Error for Error {}

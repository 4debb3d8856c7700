//! Where a statement about the silicon comes from: no register manual of it is public.

use std::fmt;

/// A source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The drivers of Linux rely on it.
    Linux,
    /// QEMU's model of the device does so.
    Qemu,
    /// Engineers of the vendor said so in public.
    Vendor,
    /// The vendor's open GPU driver, another client of the silicon, relies on it.
    GpuDriver,
    /// The SMMUv3 architecture asks it of the SMMU's own queue.
    Architecture,
    /// No source says so; inferred.
    Inferred,
}

impl Source {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Linux, Self::Qemu, Self::Vendor, Self::GpuDriver, Self::Architecture, Self::Inferred];

    /// The letter that stands for it.
    pub const fn letter(self) -> char {
        match self {
            Self::Linux => 'L',
            Self::Qemu => 'Q',
            Self::Vendor => 'N',
            Self::GpuDriver => 'U',
            Self::Architecture => 'A',
            Self::Inferred => 'I',
        }
    }

    /// What the letter means.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Linux => "the drivers of Linux rely on it",
            Self::Qemu => "QEMU's model of the device does so",
            Self::Vendor => "engineers of the vendor said so in public",
            Self::GpuDriver => "the vendor's open GPU driver relies on it",
            Self::Architecture => "the SMMUv3 architecture asks it of the SMMU's own queue",
            Self::Inferred => "no source says so, it is inferred",
        }
    }
}

/// One source or several, written `[L][N]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sources(pub &'static [Source]);

impl fmt::Display for Sources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text: String = self.0.iter().map(|source| format!("[{}]", source.letter())).collect();
        f.pad(&text)
    }
}

//! What a connection serves: the shape of a PCI function, and what happens to it.

use std::os::fd::OwnedFd;

use rustix::io::Errno;

/// A PCI function as its connection sees it.
///
/// A call is made only with what [`Shape`] admits: the region exists, the range lies inside it and is not empty, the interrupts
/// exist, DMA ranges do not overlap. An `Err` becomes an error reply, or nothing if the client wants no reply.
pub trait Function {
    /// Reads `data.len()` bytes.
    ///
    /// # Errors
    /// The errno the client is told.
    fn region_read(&mut self, region: Region, offset: u64, data: &mut [u8]) -> Result<(), Errno>;

    /// Writes `data`.
    ///
    /// # Errors
    /// The errno the client is told.
    fn region_write(&mut self, region: Region, offset: u64, data: &[u8]) -> Result<(), Errno>;

    /// From now on the function may reach this memory. Without a file it is not for mapping: flash and the like.
    /// The file may be shorter than promised; whoever maps it must look.
    ///
    /// # Errors
    /// The errno the client is told; the range then counts as not mapped.
    fn dma_map(&mut self, range: DmaRange, file: Option<DmaFile>) -> Result<(), Errno>;

    /// The range, as it was mapped, is gone. Also called for every range when the client leaves.
    fn dma_unmap(&mut self, range: DmaRange);

    /// The client says how interrupts are to be signalled. A function that sends MSIs as DMA_WRITEs may ignore it.
    ///
    /// # Errors
    /// The errno the client is told.
    fn set_irqs(&mut self, set: SetIrqs) -> Result<(), Errno>;

    /// DEVICE_RESET: the machine is reset, or software resets the function.
    fn reset(&mut self);

    /// The client refused a DMA_WRITE to `address`. QEMU does so while bus mastering is off.
    fn dma_refused(&mut self, address: u64, errno: Errno);
}

/// A region that a function may have; numbered as `VFIO_PCI_*_REGION_INDEX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Region {
    /// BAR 0 to 5. The first of a 64-bit pair stands for both.
    Bar(u8),
    /// The expansion ROM.
    Rom,
    /// Configuration space.
    Config,
}

impl Region {
    /// How many indices there are, VGA's included, which no function here has.
    pub const COUNT: u32 = 9;

    /// The region of an index.
    pub fn from_index(index: u32) -> Option<Self> {
        match index {
            0..=5 => Some(Self::Bar(index as u8)),
            6 => Some(Self::Rom),
            7 => Some(Self::Config),
            _ => None,
        }
    }

    /// Its index.
    pub fn index(self) -> u32 {
        match self {
            Self::Bar(bar) => bar.into(),
            Self::Rom => 6,
            Self::Config => 7,
        }
    }
}

/// Kinds of interrupts; numbered as `VFIO_PCI_*_IRQ_INDEX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Irq {
    /// The INTx line.
    Intx,
    /// MSI.
    Msi,
    /// MSI-X.
    Msix,
    /// The function reports an error.
    Err,
    /// The server wants the function back.
    Req,
}

impl Irq {
    /// All, by index.
    pub const ALL: [Self; 5] = [Self::Intx, Self::Msi, Self::Msix, Self::Err, Self::Req];

    /// The kind of an index.
    pub fn from_index(index: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(index).ok()?).copied()
    }
}

/// Regions and interrupts of a function. They do not change while it lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    regions: [u64; 8],
    irqs: [u32; 5],
}

impl Shape {
    /// A function with a configuration space of `config_bytes`: 256 (PCI) or 4096 (PCI Express); no BARs, no interrupts.
    pub fn new(config_bytes: u64) -> Self {
        assert!(matches!(config_bytes, 256 | 4096), "configuration space has 256 or 4096 bytes");
        Self { regions: [0; 8], irqs: [0; 5] }.with_region(Region::Config, config_bytes)
    }

    /// The same with a BAR of `bytes`, a power of two.
    #[must_use]
    pub fn with_bar(self, bar: u8, bytes: u64) -> Self {
        assert!(bar < 6, "a function has BARs 0 to 5");
        assert!(bytes.is_power_of_two(), "a BAR's size is a power of two");
        self.with_region(Region::Bar(bar), bytes)
    }

    /// The same with `count` interrupts of a kind.
    #[must_use]
    pub fn with_irqs(mut self, irq: Irq, count: u32) -> Self {
        self.irqs[irq as usize] = count;
        self
    }

    fn with_region(mut self, region: Region, bytes: u64) -> Self {
        self.regions[region.index() as usize] = bytes;
        self
    }

    /// Size of a region; 0 if it does not exist.
    pub fn bytes(&self, region: Region) -> u64 {
        self.regions[region.index() as usize]
    }

    /// Number of interrupts of a kind.
    pub fn irqs(&self, irq: Irq) -> u32 {
        self.irqs[irq as usize]
    }
}

/// A range of DMA addresses and what may be done there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaRange {
    /// First address; a multiple of 4096.
    pub address: u64,
    /// Bytes: a positive multiple of 4096. `address + size` does not overflow.
    pub size: u64,
    /// The function may read.
    pub readable: bool,
    /// The function may write.
    pub writable: bool,
}

/// The memory behind a [`DmaRange`].
#[derive(Debug)]
pub struct DmaFile {
    /// To be mapped shared.
    pub fd: OwnedFd,
    /// Where the range begins in the file. `offset + size` does not overflow.
    pub offset: u64,
}

/// A DEVICE_SET_IRQS that has been found possible.
#[derive(Debug)]
pub struct SetIrqs {
    /// The kind.
    pub irq: Irq,
    /// First one meant.
    pub start: u32,
    /// How many are meant; zero (with [`IrqData::None`]) stands for all, to be disabled.
    pub count: u32,
    /// What is to be done, or configured.
    pub action: IrqAction,
    /// With what.
    pub data: IrqData,
}

/// What a [`SetIrqs`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IrqAction {
    /// Masking.
    Mask,
    /// Unmasking.
    Unmask,
    /// Triggering.
    Trigger,
}

/// With what a [`SetIrqs`] comes.
#[derive(Debug)]
pub enum IrqData {
    /// Do it, to all that are meant.
    None,
    /// Do it where true; as many as are meant.
    Bools(Vec<bool>),
    /// Signal these when it happens: as many as are meant, or none, which takes back earlier ones.
    Eventfds(Vec<OwnedFd>),
}

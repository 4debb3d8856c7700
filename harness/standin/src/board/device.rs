//! An endpoint: a PCI function with a controller behind its BAR, whose DMA goes through a pSMMU.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;

use models::endpoint::{Found, Need};
use models::functional::Stream;
use models::nvme::{self, Controller, Counters, MediaError, MemoryStorage, Storage};
use models::pci::regs::{CAPABILITY_LIST, EXT_CAPABILITIES, STATUS, STATUS_CAP_LIST};
use models::pci::{ConfigSpace, Function, Interrupts, Message};
use models::smmu::AtsAnswer;
use models::tester::{self, Tester};

use super::around::Around;
use super::smmu::Smmu;
use crate::platform::{Endpoint, Kind};
use crate::protocol::Region;

/// Bytes of a carrier's BAR.
pub(super) const CARRIER_SIZE: u64 = 16 << 20;

/// Storage of an NVMe endpoint.
#[derive(Debug)]
pub enum Disk {
    /// In memory, all zero at first.
    Memory(MemoryStorage),
    /// A file.
    File(File, u64),
}

/// Why a file cannot be a disk.
#[derive(Debug)]
pub struct DiskError(String);

impl fmt::Display for DiskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for DiskError {}

impl Disk {
    /// So many bytes in memory.
    pub fn memory(bytes: u64) -> Self {
        Self::Memory(MemoryStorage::new(bytes))
    }
    /// A file as it is.
    ///
    /// # Errors
    /// It cannot be opened for reading and writing, or is too small for a block.
    pub fn file(path: &std::path::Path) -> Result<Self, DiskError> {
        let because = |why: &dyn fmt::Display| DiskError(format!("`{}`: {why}", path.display()));
        let file = File::options().read(true).write(true).open(path).map_err(|e| because(&e))?;
        let size = file.metadata().map_err(|e| because(&e))?.len();
        if size < 1 << 20 {
            return Err(because(&"a disk needs at least 1 MiB; `truncate -s 64M FILE` makes one"));
        }
        Ok(Self::File(file, size))
    }
}

impl Storage for Disk {
    fn size_bytes(&self) -> u64 {
        match self {
            Self::Memory(memory) => memory.size_bytes(),
            Self::File(_, size) => *size,
        }
    }
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        match self {
            Self::Memory(memory) => memory.read(at, into),
            Self::File(file, _) => file.read_exact_at(into, at).map_err(|_| MediaError),
        }
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), MediaError> {
        match self {
            Self::Memory(memory) => memory.write(at, bytes),
            Self::File(file, _) => file.write_all_at(bytes, at).map_err(|_| MediaError),
        }
    }
    fn zero(&mut self, at: u64, len: u64) -> Result<(), MediaError> {
        match self {
            Self::Memory(memory) => memory.zero(at, len),
            Self::File(file, _) => {
                let zeros = [0; 1 << 16];
                let mut done = 0;
                while done < len {
                    let n = (len - done).min(zeros.len() as u64);
                    file.write_all_at(&zeros[..n as usize], at + done).map_err(|_| MediaError)?;
                    done += n;
                }
                Ok(())
            }
        }
    }
    fn flush(&mut self) -> Result<(), MediaError> {
        match self {
            Self::Memory(memory) => memory.flush(),
            Self::File(file, _) => file.sync_data().map_err(|_| MediaError),
        }
    }
}

/// Configuration space of a pSMMU's carrier. No driver wants it.
pub(super) fn carrier() -> ConfigSpace {
    ConfigSpace::new(&Function {
        vendor: VENDOR,
        device: 0x0c00,
        class: 0xff_0000,
        bar0: CARRIER_SIZE,
        ..Function::default()
    })
}

/// Red Hat's vendor ID, under which QEMU's own devices go; the device IDs here are none of theirs.
const VENDOR: u16 = 0x1b36;
/// Vectors of an NVMe endpoint: one for each queue of a machine with up to eight CPUs, and one for commands to the controller.
const NVME_VECTORS: u16 = 9;
/// Where an NVMe endpoint's MSI-X table is: behind registers and doorbells.
const NVME_TABLE: u64 = 0x2000;
/// Where its pending bits are.
const NVME_PENDING: u64 = 0x3000;
/// QEMU reads all of a function's configuration space once, when it makes the device. A read as long as this is that one.
const WHOLE_SPACE: usize = 256;

#[derive(Debug)]
enum Controlled {
    Nvme(Box<Controller<Disk>>),
    Tester(Tester),
}

/// An endpoint.
#[derive(Debug)]
pub struct Device {
    name: String,
    space: ConfigSpace,
    controlled: Controlled,
    way: Way,
}

/// How an endpoint's DMA goes.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Its number.
    endpoint: usize,
    smmu: u16,
    sid: u32,
    pasid_bits: u8,
    /// As configuration space says.
    master: bool,
    ats: bool,
    pasid: bool,
}

impl Device {
    /// A device out of reset. An NVMe endpoint has a disk.
    pub(super) fn new(endpoint: usize, e: &Endpoint, disk: Option<Disk>) -> Self {
        let pasid_bits = (e.pasid_bits > 0).then_some(e.pasid_bits);
        let common =
            Function { vendor: VENDOR, express: true, ats: e.ats, pasid_bits, ..Function::default() };
        let (function, controlled) = match e.kind {
            Kind::Nvme => {
                let config = nvme::Config {
                    serial: format!("smmulate-{endpoint}"),
                    vendor_id: VENDOR,
                    io_queues: NVME_VECTORS - 1,
                    vectors: NVME_VECTORS,
                    ..nvme::Config::default()
                };
                let disk = disk.expect("an NVMe endpoint has a disk");
                let function = Function {
                    device: 0x0c01,
                    revision: 1,
                    class: 0x01_0802,
                    bar0: nvme::BAR_SIZE,
                    interrupts: Interrupts::Msix {
                        vectors: NVME_VECTORS,
                        table: NVME_TABLE as u32,
                        pending: NVME_PENDING as u32,
                    },
                    ..common
                };
                (function, Controlled::Nvme(Box::new(Controller::new(config, disk))))
            }
            Kind::Tester => {
                let function = Function {
                    device: 0x0c02,
                    class: 0xff_0000,
                    bar0: tester::BAR_SIZE,
                    interrupts: Interrupts::Msi { log2: 0 },
                    ..common
                };
                (function, Controlled::Tester(Tester::default()))
            }
        };
        let way = Way {
            endpoint,
            smmu: e.smmu,
            sid: e.sid,
            pasid_bits: e.pasid_bits,
            master: false,
            ats: false,
            pasid: false,
        };
        Self { name: e.name.clone(), space: ConfigSpace::new(&function), controlled, way }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// What its controller has done, if it is an NVMe endpoint.
    pub fn nvme(&self) -> Option<&Counters> {
        match &self.controlled {
            Controlled::Nvme(controller) => Some(controller.counters()),
            Controlled::Tester(_) => None,
        }
    }
    pub(super) fn bar_size(&self) -> u64 {
        match self.controlled {
            Controlled::Nvme(_) => nvme::BAR_SIZE,
            Controlled::Tester(_) => tester::BAR_SIZE,
        }
    }
    pub(super) fn smmu(&self) -> u16 {
        self.way.smmu
    }

    /// The reset of the machine.
    pub(super) fn reset(&mut self) {
        self.space.reset();
        self.reset_function();
    }

    fn reset_function(&mut self) {
        match &mut self.controlled {
            Controlled::Nvme(controller) => controller.reset(),
            Controlled::Tester(tester) => tester.reset(),
        }
        self.follow_space();
    }

    fn follow_space(&mut self) {
        self.way.master = self.space.is_master();
        self.way.ats = self.space.ats_enabled();
        self.way.pasid = self.space.pasid_enabled();
    }

    pub(super) fn read(&self, region: Region, offset: u64, into: &mut [u8]) -> bool {
        match (region, &self.controlled) {
            (Region::Config, _) => {
                self.space.read(offset as u16, into);
                if offset == 0 && into.len() >= WHOLE_SPACE {
                    hide_capabilities(into);
                }
            }
            (Region::Bar(0), Controlled::Nvme(controller)) => match (self.space.msix(), offset) {
                (Some(table), NVME_TABLE..NVME_PENDING) => table.read(offset - NVME_TABLE, into),
                (Some(table), NVME_PENDING..) => table.read_pending(offset - NVME_PENDING, into),
                _ => controller.read(offset, into),
            },
            (Region::Bar(0), Controlled::Tester(tester)) => {
                into.fill(0);
                if into.len() == 4 {
                    into.copy_from_slice(&tester.read(offset).to_le_bytes());
                }
            }
            _ => return false,
        }
        true
    }

    pub(super) fn write(
        &mut self,
        region: Region,
        offset: u64,
        bytes: &[u8],
        smmu: &mut Smmu,
        around: &mut Around,
    ) -> bool {
        match region {
            Region::Config => {
                let changed = self.space.write(offset as u16, bytes);
                if changed.reset {
                    self.reset_function();
                }
                self.follow_space();
                if changed.ats
                    && let Some(atc) = &mut around.atcs[self.way.endpoint]
                {
                    // Nothing that was cached before or while ATS was off is good.
                    *atc = super::around::empty_atc();
                }
                self.send_unmasked(smmu, around);
            }
            Region::Bar(0) if offset >= NVME_TABLE && self.space.msix().is_some() => {
                if let Some(table) = self.space.msix_mut().filter(|_| offset < NVME_PENDING) {
                    table.write(offset - NVME_TABLE, bytes);
                }
                self.send_unmasked(smmu, around);
            }
            Region::Bar(0) => {
                let mut port = DevicePort { way: self.way, space: &mut self.space, smmu, around };
                match &mut self.controlled {
                    Controlled::Nvme(controller) => controller.write(offset, bytes, &mut port),
                    Controlled::Tester(tester) => {
                        if let Ok(word) = bytes.try_into() {
                            tester.write(offset, u32::from_le_bytes(word), &mut port);
                        }
                    }
                }
            }
            _ => return false,
        }
        true
    }

    fn send_unmasked(&mut self, smmu: &mut Smmu, around: &mut Around) {
        let mut port = DevicePort { way: self.way, space: &mut self.space, smmu, around };
        while let Some(message) = port.space.unmasked() {
            port.send(message);
        }
    }
}

/// Takes the capabilities out of the space that QEMU is shown when it makes the device. It would emulate MSI and MSI-X, and send
/// messages to addresses that no SMMU has translated; what it does not know of it passes on.
fn hide_capabilities(space: &mut [u8]) {
    space[usize::from(STATUS)] &= !(STATUS_CAP_LIST as u8);
    space[usize::from(CAPABILITY_LIST)] = 0;
    if let Some(extended) = space.get_mut(usize::from(EXT_CAPABILITIES)..) {
        extended.fill(0);
    }
}

/// An endpoint's way to memory: its translation cache, then the pSMMU.
struct DevicePort<'a> {
    way: Way,
    space: &'a mut ConfigSpace,
    smmu: &'a mut Smmu,
    around: &'a mut Around,
}

/// A transfer within a page.
enum Transfer<'a> {
    Read(&'a mut [u8]),
    Write(&'a [u8]),
}

impl DevicePort<'_> {
    fn send(&mut self, message: Message) {
        // A message is an ordinary untranslated write; one that is refused is lost, as on any bus.
        let stream = Stream::new(self.way.sid);
        if self.way.master {
            let _ = self.smmu.dma_write(stream, message.addr, &message.data.to_le_bytes(), self.around);
        }
    }

    fn transfer(&mut self, pasid: Option<u32>, addr: u64, transfer: Transfer<'_>) -> Option<()> {
        if !self.way.master || pasid.is_some_and(|p| !self.way.pasid || p >> self.way.pasid_bits != 0) {
            return None;
        }
        let mut stream = Stream { ssid: pasid, ..Stream::new(self.way.sid) };
        let mut addr = addr;
        if self.way.ats
            && let Some(pa) = self.look_up(stream, addr, matches!(transfer, Transfer::Write(_)))?.pa
        {
            addr = pa;
            stream = Stream { ssid: None, ..stream }.translated();
        }
        match transfer {
            Transfer::Read(into) => self.smmu.dma_read(stream, addr, into, self.around),
            Transfer::Write(bytes) => self.smmu.dma_write(stream, addr, bytes, self.around),
        }
        .ok()
    }

    /// The translated address, from the cache or by asking.
    fn look_up(&mut self, stream: Stream, iova: u64, write: bool) -> Option<Found> {
        let need = Need::new(stream.ssid, write, stream.incoming);
        let atc = self.around.atcs[self.way.endpoint].as_ref()?;
        if let Some(found) = atc.look_up(stream.ssid, iova, need) {
            return Some(found);
        }
        let page = iova & !0xfff;
        match self.smmu.translation_request(stream, page, write, self.around) {
            AtsAnswer::Translation(grant) => {
                let atc = self.around.atcs[self.way.endpoint].as_mut()?;
                atc.fill(stream.ssid, iova, grant);
                atc.look_up(stream.ssid, iova, need)
            }
            AtsAnswer::Unsupported | AtsAnswer::Abort => None,
        }
    }

    fn raise(&mut self, vector: u16) {
        if let Some(message) = self.space.raise(vector) {
            self.send(message);
        }
    }
}

impl nvme::Port for DevicePort<'_> {
    fn dma_read(&mut self, iova: u64, into: &mut [u8]) -> Result<(), nvme::Refused> {
        self.transfer(None, iova, Transfer::Read(into)).ok_or(nvme::Refused)
    }
    fn dma_write(&mut self, iova: u64, bytes: &[u8]) -> Result<(), nvme::Refused> {
        self.transfer(None, iova, Transfer::Write(bytes)).ok_or(nvme::Refused)
    }
    fn interrupt(&mut self, vector: u16) {
        self.raise(vector);
    }
}

impl tester::Port for DevicePort<'_> {
    fn dma_read(&mut self, pasid: Option<u32>, addr: u64, into: &mut [u8]) -> Result<(), tester::Refused> {
        self.transfer(pasid, addr, Transfer::Read(into)).ok_or(tester::Refused)
    }
    fn dma_write(&mut self, pasid: Option<u32>, addr: u64, bytes: &[u8]) -> Result<(), tester::Refused> {
        self.transfer(pasid, addr, Transfer::Write(bytes)).ok_or(tester::Refused)
    }
    fn interrupt(&mut self, vector: u16) {
        self.raise(vector);
    }
}

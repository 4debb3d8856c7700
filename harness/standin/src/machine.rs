//! Everything behind the sockets of one machine, from a platform file or from the header of a recording.

use std::fmt;
use std::path::Path;

use models::smmu::pmcg::Each;
use scenario::diagnostic::Addition;
use scenario::{Rejected, Scenario};

use crate::board::{Addresses, Board, Disk, Options};
use crate::boot::layout::{self, Layout, LayoutError};
use crate::boot::virt;
use crate::host::Host;
use crate::memory::Memory;
use crate::nested::Guest;
use crate::platform::{Kind, Platform, Unfit};
use crate::protocol::{Endpoint, EndpointError, Server, ServerError, Settings};
use crate::tape::Header;

/// Bytes of an NVMe endpoint's storage, unless a file is given.
pub const DISK_BYTES: u64 = 1 << 30;
/// Bytes of the interrupt controller's message frame.
const V2M_SIZE: u64 = 0x1000;
/// First slot of bus 0 that endpoints take.
const FIRST_SLOT: u8 = 2;

/// Size of the machine around the platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// CPUs.
    pub cpus: u32,
    /// Bytes of RAM.
    pub memory_bytes: u64,
    /// CPUs have EL2.
    pub virtualization: bool,
}

/// Why there is no such machine.
#[derive(Debug)]
pub enum MachineError {
    /// The platform file is wrong.
    Rejected(Box<Rejected>),
    /// It describes what a stand-in cannot be.
    Unfit(String, Unfit),
    /// It does not fit into QEMU's machine.
    Layout(LayoutError),
    /// A model refuses its configuration.
    Model(String),
    /// A disk is named that no NVMe endpoint has.
    NoSuchDisk {
        /// The name given.
        name: String,
        /// The names there are.
        there: Vec<String>,
    },
    /// A socket cannot be made.
    Socket(EndpointError),
    /// The server cannot start.
    Server(ServerError),
}

impl fmt::Display for MachineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => f.write_str(&rejected.render(false)),
            Self::Unfit(path, why) => write!(f, "{path}: {why}"),
            Self::Layout(why) => why.fmt(f),
            Self::Model(why) => f.write_str(why),
            Self::NoSuchDisk { name, there } if there.is_empty() => {
                write!(f, "--disk {name}=...: the platform has no endpoint of kind \"nvme\"")
            }
            Self::NoSuchDisk { name, there } => {
                write!(f, "--disk {name}=...: there is no such NVMe endpoint; there are {}", there.join(", "))
            }
            Self::Socket(why) => why.fmt(f),
            Self::Server(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for MachineError {}

/// A platform with its place in QEMU's machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The platform, with addresses and wires.
    pub platform: Platform,
    /// The address plan.
    pub layout: Layout,
    /// The guests that the file tells of, for a nested run.
    pub guests: Vec<Guest>,
    /// The file as the user named it, and its text.
    file: (String, String),
    /// Texts of presets that it names by path.
    presets: Vec<(String, String)>,
}

impl Machine {
    /// The machine of a platform file, with `more` added to it.
    ///
    /// # Errors
    /// The file is wrong, or describes what a stand-in cannot be.
    pub fn read(path: &Path, more: &[Addition], size: Size) -> Result<Self, MachineError> {
        let (scenario, presets) = scenario::load::read_file_with_presets(path, more)
            .map_err(|r| MachineError::Rejected(Box::new(r)))?;
        Self::of(&scenario, presets, size)
    }

    /// The machine of a recording.
    ///
    /// # Errors
    /// As [`Machine::read`].
    pub fn recorded(header: &Header) -> Result<Self, MachineError> {
        let scenario = scenario::load::parse(&header.path, &header.text, &Presets(&header.presets))
            .map_err(|r| MachineError::Rejected(Box::new(r)))?;
        // CPUs and memory are QEMU's.
        let size = Size { cpus: 1, memory_bytes: 1 << 30, virtualization: false };
        Self::of(&scenario, header.presets.clone(), size)
    }

    #[cfg(test)]
    pub(crate) fn of_text(path: &str, text: &str, size: Size) -> Result<Self, MachineError> {
        let scenario = scenario::load::parse(path, text, &Presets(&[]))
            .map_err(|r| MachineError::Rejected(Box::new(r)))?;
        Self::of(&scenario, Vec::new(), size)
    }

    fn of(scenario: &Scenario, presets: Vec<(String, String)>, size: Size) -> Result<Self, MachineError> {
        let mut platform =
            Platform::of(scenario).map_err(|why| MachineError::Unfit(scenario.path.clone(), why))?;
        let layout = Layout::new(&described(&platform, size)).map_err(MachineError::Layout)?;
        for (smmu, place) in platform.smmus.iter_mut().zip(&layout.smmus) {
            let config = &mut smmu.config;
            config.smmu_base = place.registers;
            if let (Some((base, _)), Some(there)) = (&mut config.cmdqv, place.cmdqv) {
                *base = there;
            }
            if let (Some(pmcg), [tcu, tbu]) = (&mut config.pmcg, place.pmcgs.as_slice()) {
                pmcg.base = tcu.pages[0];
                pmcg.lines = Each { tcu: Some(tcu.wire), tbu: Some(tbu.wire) };
            }
            config.lines.eventq = Some(place.wires.eventq);
            config.lines.priq = Some(place.wires.priq);
            config.lines.gerror = Some(place.wires.gerror);
            config.cmdqv_line = config.cmdqv.is_some().then_some(place.wires.cmdqv);
        }
        let guests = Guest::all(scenario);
        Ok(Self { platform, layout, guests, file: (scenario.path.clone(), scenario.text.clone()), presets })
    }

    /// The same with CPUs and memory of another size.
    ///
    /// # Errors
    /// It does not fit into QEMU's machine.
    pub fn resized(mut self, size: Size) -> Result<Self, MachineError> {
        self.layout = Layout::new(&described(&self.platform, size)).map_err(MachineError::Layout)?;
        Ok(self)
    }

    /// The name of the endpoint at a place like `0000:00:02.0`, or the place if there is none.
    pub fn name_at<'a>(&'a self, place: &'a str) -> &'a str {
        let bdf = place.strip_prefix("0000:").unwrap_or(place);
        let found = self.layout.endpoints().find(|(at, _)| at.to_string() == bdf);
        found.map_or(place, |(_, endpoint)| &endpoint.name)
    }

    /// Disks in memory for all NVMe endpoints, of these sizes where any are given.
    pub fn memory_disks(&self, sizes: &[u64]) -> Vec<Option<Disk>> {
        let endpoints = self.platform.endpoints.iter().enumerate();
        let size = |i: usize| sizes.get(i).copied().unwrap_or(DISK_BYTES);
        endpoints.map(|(i, e)| (e.kind == Kind::Nvme).then(|| Disk::memory(size(i)))).collect()
    }

    /// Puts a disk into an endpoint.
    ///
    /// # Errors
    /// There is no such NVMe endpoint.
    pub fn insert(&self, disks: &mut [Option<Disk>], name: &str, disk: Disk) -> Result<(), MachineError> {
        let found = self.platform.endpoints.iter().zip(disks).find(|(e, d)| e.name == name && d.is_some());
        match found {
            Some((_, slot)) => {
                *slot = Some(disk);
                Ok(())
            }
            None => {
                let nvmes = self.platform.endpoints.iter().filter(|e| e.kind == Kind::Nvme);
                let there = nvmes.map(|e| e.name.clone()).collect();
                Err(MachineError::NoSuchDisk { name: name.to_owned(), there })
            }
        }
    }

    /// The board.
    ///
    /// # Errors
    /// A model refuses its configuration.
    pub fn board(
        &self,
        memory: Memory,
        disks: Vec<Option<Disk>>,
        timed: bool,
    ) -> Result<Board, MachineError> {
        let addresses = Addresses { doorbells: (virt::V2M, V2M_SIZE), wires: virt::V2M_DOORBELL };
        Board::new(&self.platform, Options { timed, addresses, memory, disks }).map_err(MachineError::Model)
    }

    /// What a recording of it begins with.
    pub fn header(&self, disks: &[Option<Disk>], timed: bool) -> Header {
        use models::nvme::Storage;
        Header {
            path: self.file.0.clone(),
            text: self.file.1.clone(),
            presets: self.presets.clone(),
            timed,
            disks: disks.iter().map(|d| d.as_ref().map_or(0, Storage::size_bytes)).collect(),
        }
    }

    /// The file name of a function's socket.
    pub fn socket_name(&self, function: usize) -> String {
        let carriers = self.platform.smmus.len();
        match function.checked_sub(carriers) {
            None => format!("{}.sock", layout::carrier_name(function)),
            Some(endpoint) => format!("{}.sock", self.platform.endpoints[endpoint].name),
        }
    }

    /// A server with a socket for each function in a folder.
    ///
    /// # Errors
    /// A socket cannot be made.
    pub fn server(&self, host: &Host, folder: &Path, settings: Settings) -> Result<Server, MachineError> {
        let mut server = Server::new(settings).map_err(MachineError::Server)?;
        for function in 0..host.board().functions() {
            let path = folder.join(self.socket_name(function));
            let endpoint = Endpoint::bind(path).map_err(MachineError::Socket)?;
            server.add(endpoint, host.board().shape_of(function));
        }
        Ok(server)
    }
}

/// Presets that were recorded.
struct Presets<'a>(&'a [(String, String)]);

impl scenario::preset::Library for Presets<'_> {
    fn read(&self, path: &str) -> Result<String, String> {
        let found = self.0.iter().find(|(name, _)| name == path);
        found.map(|(_, text)| text.clone()).ok_or_else(|| "is not in the recording".to_owned())
    }
}

/// The platform in the words of the address plan.
fn described(platform: &Platform, size: Size) -> layout::Platform {
    let slots = (FIRST_SLOT..).filter(|slot| *slot != layout::HIDDEN_SLOT);
    layout::Platform {
        smmus: platform
            .smmus
            .iter()
            .map(|s| layout::Smmu {
                cmdqv: s.config.cmdqv.is_some(),
                pmcg: s.config.pmcg.is_some(),
                pmcg_msi: s.config.pmcg.is_some_and(|pmcg| pmcg.shapes.tcu.msi),
                msi: true,
            })
            .collect(),
        endpoints: platform
            .endpoints
            .iter()
            .zip(slots)
            .map(|(e, slot)| layout::Endpoint {
                name: e.name.clone(),
                smmu: e.smmu.into(),
                stream: e.sid,
                slot,
                ats: e.ats,
            })
            .collect(),
        cpus: size.cpus,
        memory_bytes: size.memory_bytes,
        virtualization: size.virtualization,
    }
}

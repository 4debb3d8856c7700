//! The board: every function that QEMU sees, and the models behind them.
//!
//! ```text
//!   region access --> Carrier --> pSMMU ----------------+--> memory (mapped), doorbells (messages to QEMU)
//!                 \-> Device: configuration space       |
//!                       controller --DMA--> ATC, pSMMU -+     every record --> judge (oracle), tally, trace
//! ```
//! Functions are numbered: carriers of the pSMMUs first, then the endpoints.
//!
//! *Invariant:* what a board does depends on the accesses in their order and on what they find in memory, and on nothing else:
//! a recording of both makes it do the same again.

mod around;
mod device;
mod smmu;
#[cfg(test)]
mod test;
mod timed;

use std::collections::BTreeMap;

use models::faults::Trigger;
use models::pci::ConfigSpace;
use models::psmmu::PsmmuConfig;
use oracle::{Config, Finding};
use scenario::run::judge::{Facts, Judge, SmmuFact, StreamFact};
use scenario::run::trace::{Names, Trace};
use sim::Time;

use self::around::{Around, Observers, empty_atc};
use self::smmu::Smmu;
use crate::memory::Memory;
use crate::platform::Platform;
use crate::protocol::{Irq, Region, Shape};
use crate::tally::Tally;
use crate::tape::Sent;

pub use self::device::{Device, Disk, DiskError};

/// Where the machine has what the board writes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The interrupt controller's message frame: first byte and length.
    pub doorbells: (u64, u64),
    /// The register of it that takes an interrupt number.
    pub wires: u64,
}

/// How a board is made, beside its platform.
#[derive(Debug)]
pub struct Options {
    /// The pSMMUs have time.
    pub timed: bool,
    /// Where the machine has what the board writes to.
    pub addresses: Addresses,
    /// The memory of the machine.
    pub memory: Memory,
    /// Storage of the NVMe endpoints, by endpoint; `None` for the others.
    pub disks: Vec<Option<Disk>>,
}

/// All functions, and the models behind them.
pub struct Board {
    names: Vec<String>,
    smmus: Vec<Smmu>,
    configs: Vec<PsmmuConfig>,
    carriers: Vec<ConfigSpace>,
    devices: Vec<Device>,
    around: Around,
    timed: bool,
}

impl Board {
    /// A board out of reset.
    ///
    /// # Errors
    /// A pSMMU's configuration contradicts itself; its name and why.
    pub fn new(platform: &Platform, options: Options) -> Result<Self, String> {
        let mut smmus = Vec::new();
        for smmu in &platform.smmus {
            let because = |why| format!("{}: {why}", smmu.name);
            smmus.push(Smmu::new(smmu.config.clone(), options.timed).map_err(because)?);
        }
        let configs: Vec<_> = platform.smmus.iter().map(|s| s.config.clone()).collect();
        let devices = platform.endpoints.iter().zip(options.disks).enumerate();
        let devices: Vec<_> = devices.map(|(i, (e, disk))| Device::new(i, e, disk)).collect();
        let streams: BTreeMap<_, _> =
            platform.endpoints.iter().enumerate().map(|(i, e)| ((e.smmu, e.sid), i)).collect();
        let facts = Facts {
            smmus: platform.smmus.iter().map(|s| SmmuFact::of(&s.name, &s.config)).collect(),
            streams: platform
                .endpoints
                .iter()
                .map(|e| StreamFact { smmu: e.smmu, sid: e.sid, name: e.name.clone() })
                .collect(),
            cpus: 1,
            ..Facts::default()
        };
        let param = |c: &PsmmuConfig| c.cmdqv.as_ref().map(|(_, cmdqv)| cmdqv.param());
        let observers = Observers {
            judge: Judge::watching(facts, Config::of_host_time(), options.memory.clone()),
            tally: Tally::new(configs.iter().map(param).collect()),
            trace: None,
        };
        let (first, len) = options.addresses.doorbells;
        let around = Around {
            atcs: platform.endpoints.iter().map(|e| e.ats.then(empty_atc)).collect(),
            silent: platform.endpoints.iter().map(|e| Trigger::new(e.silent)).collect(),
            memory: options.memory,
            observers,
            streams,
            doorbells: first..first + len,
            wires: options.addresses.wires,
            sent: Vec::new(),
            now: Time::ZERO,
            speaker: 0,
            smmu: 0,
        };
        let names = platform.smmus.iter().map(|s| &s.name).chain(platform.endpoints.iter().map(|e| &e.name));
        Ok(Self {
            names: names.cloned().collect(),
            carriers: smmus.iter().map(|_| device::carrier()).collect(),
            smmus,
            configs,
            devices,
            around,
            timed: options.timed,
        })
    }

    /// How many functions there are.
    pub fn functions(&self) -> usize {
        self.names.len()
    }
    /// The name of a function.
    pub fn name_of(&self, function: usize) -> &str {
        &self.names[function]
    }
    /// Regions of a function. Interrupts are messages that it sends itself.
    pub fn shape_of(&self, function: usize) -> Shape {
        match function.checked_sub(self.carriers.len()) {
            None => with_errors(Shape::new(4096).with_bar(0, device::CARRIER_SIZE)),
            Some(device) => with_errors(Shape::new(4096).with_bar(0, self.devices[device].bar_size())),
        }
    }
    /// Whether the pSMMUs have time.
    pub fn is_timed(&self) -> bool {
        self.timed
    }
    /// The memory of the machine.
    pub fn memory(&self) -> &Memory {
        &self.around.memory
    }
    /// What was counted.
    pub fn tally(&self) -> &Tally {
        &self.around.observers.tally
    }
    /// What the oracle has found so far.
    pub fn findings(&self) -> &[Finding] {
        self.around.observers.judge.findings_since(0)
    }
    /// The endpoints, for their counters.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }
    /// Names of the pSMMUs.
    pub fn smmu_names(&self) -> &[String] {
        &self.names[..self.carriers.len()]
    }
    /// Simulated time of the pSMMU that is farthest, if they have time.
    pub fn simulated(&self) -> Option<Time> {
        self.smmus.iter().filter_map(Smmu::simulated).max()
    }
    /// Writes a line for everything that happens.
    pub fn trace(&mut self, out: Box<dyn std::io::Write + Send>) {
        let param = |c: &PsmmuConfig| c.cmdqv.as_ref().map(|(_, cmdqv)| cmdqv.param().0);
        let names = Names {
            smmus: self.smmu_names().to_vec(),
            cmdqvs: self.configs.iter().map(param).collect(),
            endpoints: self.names[self.carriers.len()..].to_vec(),
            vms: Vec::new(),
        };
        self.around.observers.trace = Some(Trace::new(out, names));
    }

    /// An access begins, so many nanoseconds after the board was switched on.
    pub fn begin(&mut self, at: u64) {
        if !self.timed {
            self.around.now = Time::ns(at);
        }
    }

    /// Reads a region of a function. False if that is no access that it takes.
    pub fn read(&mut self, function: usize, region: Region, offset: u64, into: &mut [u8]) -> bool {
        self.around.speaker = function;
        let Some(device) = function.checked_sub(self.carriers.len()) else {
            return self.read_carrier(function, region, offset, into);
        };
        self.devices[device].read(region, offset, into)
    }

    /// Writes a region of a function. False if that is no access that it takes.
    pub fn write(&mut self, function: usize, region: Region, offset: u64, bytes: &[u8]) -> bool {
        self.around.speaker = function;
        let Some(device) = function.checked_sub(self.carriers.len()) else {
            return self.write_carrier(function, region, offset, bytes);
        };
        let device = &mut self.devices[device];
        let smmu = device.smmu();
        self.around.smmu = smmu;
        device.write(region, offset, bytes, &mut self.smmus[usize::from(smmu)], &mut self.around)
    }

    fn read_carrier(&mut self, smmu: usize, region: Region, offset: u64, into: &mut [u8]) -> bool {
        match region {
            Region::Config => self.carriers[smmu].read(offset as u16, into),
            Region::Bar(0) => {
                let Some(len) = width(offset, into.len()) else { return false };
                self.around.smmu = smmu as u16;
                let addr = self.configs[smmu].smmu_base + offset;
                // What nobody answers reads as all ones, as it does from a PCI device.
                let value = self.smmus[smmu].read(addr, len, &mut self.around).unwrap_or(u64::MAX);
                into.copy_from_slice(&value.to_le_bytes()[..into.len()]);
            }
            _ => return false,
        }
        true
    }

    fn write_carrier(&mut self, smmu: usize, region: Region, offset: u64, bytes: &[u8]) -> bool {
        match region {
            Region::Config => {
                self.carriers[smmu].write(offset as u16, bytes);
            }
            Region::Bar(0) => {
                let Some(len) = width(offset, bytes.len()) else { return false };
                let mut word = [0; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                self.around.smmu = smmu as u16;
                let addr = self.configs[smmu].smmu_base + offset;
                // Writes that nobody takes are dropped; observers have been told.
                let _ = self.smmus[smmu].write(addr, len, u64::from_le_bytes(word), &mut self.around);
            }
            _ => return false,
        }
        true
    }

    /// Resets a function.
    pub fn reset(&mut self, function: usize) {
        match function.checked_sub(self.carriers.len()) {
            None => {
                self.carriers[function] = device::carrier();
                self.smmus[function].reset();
                self.around.observers.judge.reset(self.around.now);
            }
            Some(device) => {
                self.devices[device].reset();
                if let Some(atc) = &mut self.around.atcs[device] {
                    *atc = empty_atc();
                }
            }
        }
    }

    /// Lets everything happen that is under way.
    pub fn settle(&mut self) {
        for (i, smmu) in self.smmus.iter_mut().enumerate() {
            self.around.smmu = i as u16;
            self.around.speaker = i;
            smmu.settle(&mut self.around);
        }
    }

    /// Nothing more will happen: what the oracle has held back is a finding now.
    pub fn stop(&mut self) {
        self.around.observers.judge.stop();
    }

    /// Messages that leave after this access.
    pub fn take_sent(&mut self) -> Vec<Sent> {
        for sent in &self.around.sent {
            if let Some(smmu) = (sent.function < self.carriers.len()).then_some(sent.function) {
                self.around.observers.tally.interrupt(smmu as u16);
            }
        }
        std::mem::take(&mut self.around.sent)
    }
}

/// QEMU complains of a function that cannot report errors; these never do.
fn with_errors(shape: Shape) -> Shape {
    shape.with_irqs(Irq::Err, 1)
}

/// The width of a register access, if it is one.
fn width(offset: u64, len: usize) -> Option<u8> {
    (matches!(len, 1 | 2 | 4 | 8) && offset.is_multiple_of(len as u64)).then_some(len as u8)
}

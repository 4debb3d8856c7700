//! What the judge knows before the run.

use std::ops::Range;

use models::cmdqv::knobs::RepeatInvalidations;
use models::psmmu::PsmmuConfig;
use oracle::Platform;
use oracle::witness::{Owner, Smmu, Stream};
use spec::smmu::page0::{IDR0, IDR1, IDR3, IDR5};

/// What is fixed before the run. Indices are those of the machine.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The pSMMUs.
    pub smmus: Vec<SmmuFact>,
    /// The streams. All belong to the host at first.
    pub streams: Vec<StreamFact>,
    /// Names of the virtual SMMUs. The judge adds one more, [`super::Judge::script`].
    pub vsmmus: Vec<String>,
    /// The virtual machines.
    pub vms: Vec<VmFact>,
    /// Number of CPUs.
    pub cpus: usize,
    /// Host-physical addresses that answer when tables are read. Empty: all do.
    pub memory: Vec<Range<u64>>,
}

/// A pSMMU.
#[derive(Clone, Debug, Default)]
pub struct SmmuFact {
    /// Name for stories.
    pub name: String,
    /// Value of IDR0.
    pub idr0: u64,
    /// Value of IDR1.
    pub idr1: u64,
    /// Value of IDR3.
    pub idr3: u64,
    /// Value of IDR5.
    pub idr5: u64,
    /// It is a set of SMMUv2 instances: what goes through it is not judged.
    pub version2: bool,
    /// Wired interrupt of its Event queue.
    pub event_line: Option<u32>,
    /// The PRI queue's wire, if it has one.
    pub page_line: Option<u32>,
    /// Value of its CMDQV's PARAM, if it has one.
    pub cmdqv: Option<u64>,
    /// It loses invalidations that are not issued twice.
    pub repeats: bool,
}

impl SmmuFact {
    /// What follows from a configuration.
    pub fn of(name: &str, config: &PsmmuConfig) -> Self {
        Self {
            name: name.to_owned(),
            idr0: config.idr.idr0.into(),
            idr1: config.idr.idr1.into(),
            idr3: config.idr.idr3.into(),
            idr5: config.idr.idr5.into(),
            version2: false,
            event_line: config.lines.eventq,
            page_line: config.lines.priq,
            cmdqv: config.cmdqv.as_ref().map(|(_, cmdqv)| cmdqv.param().0),
            repeats: config
                .cmdqv
                .as_ref()
                .is_some_and(|(_, cmdqv)| cmdqv.knobs.repeat_invalidations == RepeatInvalidations::On),
        }
    }
}

/// A stream: what one function sends to one pSMMU.
#[derive(Clone, Debug, Default)]
pub struct StreamFact {
    /// The pSMMU.
    pub smmu: u16,
    /// StreamID there.
    pub sid: u32,
    /// Name of the endpoint.
    pub name: String,
}

/// A virtual machine.
#[derive(Clone, Debug, Default)]
pub struct VmFact {
    /// Name for stories.
    pub name: String,
    /// Host-physical ranges that its devices may reach: its memory, and the doorbells that they send messages to. If
    /// there are none, what its devices reach is not judged.
    pub memory: Vec<Range<u64>>,
}

/// Who writes memory and who annotates, by number: CPUs, then pSMMUs, then the host, VMs and the script.
#[derive(Clone, Copy, Debug)]
pub(super) struct Actors {
    pub(super) smmus: u16,
    pub(super) host: u16,
    pub(super) vms: u16,
    pub(super) script: u16,
}

impl Facts {
    pub(super) fn actors(&self) -> Actors {
        let smmus = self.cpus as u16;
        let host = smmus + self.smmus.len() as u16;
        Actors { smmus, host, vms: host + 1, script: host + 1 + self.vms.len() as u16 }
    }

    pub(super) fn platform(self) -> Platform {
        let mut actors: Vec<String> = (0..self.cpus).map(|i| format!("cpu{i}")).collect();
        actors.extend(self.smmus.iter().map(|s| s.name.clone()));
        actors.push("host".to_owned());
        actors.extend(self.vms.iter().map(|vm| vm.name.clone()));
        actors.push("the script".to_owned());
        let mut owners = vec![Owner { name: "host".to_owned(), memory: Vec::new() }];
        owners.extend(self.vms.into_iter().map(|vm| Owner { name: vm.name, memory: vm.memory }));
        let smmu = |s: SmmuFact| Smmu {
            name: s.name,
            idr0: IDR0(s.idr0),
            idr1: IDR1(s.idr1),
            idr3: IDR3(s.idr3),
            idr5: IDR5(s.idr5),
            repeats: s.repeats,
        };
        let stream = |s: StreamFact| Stream { smmu: s.smmu, sid: s.sid, name: s.name, owner: 0 };
        let mut vsmmus = self.vsmmus;
        vsmmus.push("the script".to_owned());
        Platform {
            smmus: self.smmus.into_iter().map(smmu).collect(),
            streams: self.streams.into_iter().map(stream).collect(),
            vsmmus,
            owners,
            actors,
            memory: self.memory,
        }
    }
}

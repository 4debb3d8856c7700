//! The checked scenario: references resolved, units read, defaults filled in, addresses and StreamIDs assigned.

use models::cmdqv::Knobs;
use sim::Time;

use crate::command::Op;
use crate::declare::{choice, record};
use crate::diagnostic::Span;
use crate::names::{Actor, EndpointId, Names, NodeId, Object, PairId, PsmmuId, Target, VmId};
use crate::platform::{
    Abi, Arbitration, Attack, EndpointKind, FaultKind, Granule, LoadKind, PairArchitecture, Policy, Routing,
};
use crate::preset::{HostTiming, IdRegisters, SmmuTiming};
use crate::step::{Event, Step, StepName};

/// A scenario that is ready to run.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The file as the user named it.
    pub path: String,
    /// The file's name without folder and extension.
    pub name: String,
    /// The text of the file, for reports that point into it.
    pub text: String,
    /// One line that says what it shows.
    pub title: String,
    /// The statement of the subject that it tests, like `Q11`.
    pub statement: Option<String>,
    /// Seed of all random streams, unless the command line gives another.
    pub seed: u64,
    /// Simulated time after which the run fails.
    pub time_limit: Time,
    /// Which iommufd interface the kernel offers.
    pub abi: Abi,
    /// Costs of CPUs, memory and software entry.
    pub host: HostTiming,
    /// Nodes; at least one.
    pub nodes: Vec<Node>,
    /// Connections of nodes.
    pub links: Vec<Link>,
    /// Physical SMMUs.
    pub psmmus: Vec<Psmmu>,
    /// SMMU instances behind one register page.
    pub pairs: Vec<Pair>,
    /// Endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Virtual machines.
    pub vms: Vec<Vm>,
    /// Virtual SMMUs.
    pub vsmmus: Vec<Vsmmu>,
    /// Loads.
    pub loads: Vec<Load>,
    /// Faults of the environment.
    pub faults: Vec<Fault>,
    /// Objects that steps make, by [`crate::names::ObjectId`]. A device that was bound without `as` has an empty name.
    pub objects: Vec<Object>,
    /// The script, in order.
    pub steps: Vec<Step>,
    /// What must hold at the end.
    pub expects: Vec<Expectation>,
    /// All names, with their places.
    pub names: Names,
}

/// A NUMA node.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Number of CPUs.
    pub cpus: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Base address of the memory.
    pub base: u64,
}

/// A connection of two nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// The two nodes.
    pub between: [NodeId; 2],
    /// One-way latency.
    pub latency: Time,
    /// Bytes per second and direction.
    pub bandwidth: u64,
}

/// A physical SMMUv3 with its CMDQV, if it has one.
#[derive(Clone, Debug, PartialEq)]
pub struct Psmmu {
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: NodeId,
    /// The preset it was made from.
    pub preset: String,
    /// Identification registers.
    pub id: IdRegisters,
    /// The CMDQV.
    pub cmdqv: Option<CmdqvSizes>,
    /// It has performance monitors.
    pub pmcg: bool,
    /// They interrupt by messages.
    pub pmcg_msi: bool,
    /// Base address of its registers.
    pub mmio: u64,
    /// Sizes and times.
    pub timing: SmmuTiming,
}

/// A CMDQV.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CmdqvSizes {
    /// Virtual interfaces, a power of two.
    pub vintfs: u64,
    /// Hardware queues, a power of two, not less than `vintfs`.
    pub vcmdqs: u64,
    /// StreamID slots per virtual interface, a power of two.
    pub sid_slots: u64,
    /// Base address of its registers.
    pub mmio: u64,
    /// Which command queue has the next turn.
    pub arbitration: Arbitration,
    /// Commands in a turn, if not those of the timing.
    pub cmd_batch: Option<u64>,
    /// CONFIG.CMDQ_MAX_CLK_BATCH after reset.
    pub clk_batch: u64,
    /// Where no public source says what the silicon does.
    pub knobs: Knobs,
}

impl CmdqvSizes {
    /// Bytes of its register space.
    pub const fn span(&self) -> u64 {
        0x3_0000 + self.vintfs * 0x2_0000
    }
    /// Queues of each virtual interface.
    pub const fn queues_per_vintf(&self) -> u64 {
        self.vcmdqs / self.vintfs
    }
}

/// SMMU instances behind one register page.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// Its name.
    pub name: String,
    /// Its node.
    pub node: NodeId,
    /// The architecture.
    pub architecture: PairArchitecture,
    /// Number of instances.
    pub instances: u64,
    /// Bytes of address after which traffic changes the instance.
    pub interleave: u64,
    /// How long a TLB sync takes, per instance.
    pub sync_latency: Vec<Time>,
    /// Base address of the register page.
    pub mmio: u64,
}

impl Scenario {
    /// The machine's number of an SMMU: physical SMMUs come first, then broadcasting pairs.
    pub fn number_of(&self, smmu: Behind) -> u16 {
        match smmu {
            Behind::Psmmu(psmmu) => psmmu.0 as u16,
            Behind::Pair(pair) => (self.psmmus.len() + pair.0) as u16,
        }
    }
}

/// What is in front of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Behind {
    /// A physical SMMU.
    Psmmu(PsmmuId),
    /// SMMU instances behind one register page.
    Pair(PairId),
}

/// A DMA-capable device.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Its name.
    pub name: String,
    /// What is in front of it.
    pub behind: Behind,
    /// What it is.
    pub kind: EndpointKind,
    /// Its StreamIDs; the first is the one that it uses.
    pub streams: Vec<u32>,
    /// Can use ATS.
    pub ats: bool,
    /// Page requests (PRI) that it may have unanswered, if it sends any.
    pub page_requests: Option<u64>,
    /// Pages of a transfer that it asks for in one group.
    pub page_group: u64,
    /// Width of PASIDs in bits.
    pub pasid_bits: u64,
    /// Its root complex is coherent including no-snoop.
    pub canwbs: bool,
    /// Most transactions in flight.
    pub outstanding: u64,
    /// Bytes per second and direction.
    pub bandwidth: u64,
}

/// A virtual machine and its VMM.
#[derive(Clone, Debug, PartialEq)]
pub struct Vm {
    /// Its name.
    pub name: String,
    /// The node of its CPUs and memory.
    pub node: NodeId,
    /// Virtual CPUs.
    pub vcpus: u64,
    /// Bytes of guest RAM.
    pub memory: u64,
    /// Bytes of the pages behind guest RAM.
    pub page: u64,
    /// Backing pages are physically consecutive.
    pub contiguous: bool,
    /// Base of guest RAM in the guest's address space.
    pub base: u64,
    /// Guest software boots before the first step.
    pub boot: bool,
}

/// An SMMUv3 as a guest sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Vsmmu {
    /// Its name.
    pub name: String,
    /// The VM that sees it.
    pub vm: VmId,
    /// How guest commands reach hardware.
    pub policy: Policy,
    /// Which viommu gets a trapped command.
    pub routing: Routing,
    /// The psmmus of its devices, in order of first use: one viommu each.
    pub psmmus: Vec<PsmmuId>,
    /// Passthrough: whose page the guest gets.
    pub window: Option<PsmmuId>,
    /// Its devices with their virtual StreamIDs.
    pub devices: Vec<(EndpointId, u32)>,
    /// Hardware queues given to the guest.
    pub lvcmdqs: u64,
    /// log2 of the entries of the guest's command queue.
    pub cmdq_log2: u64,
    /// log2 of the entries of the guest's event queue.
    pub eventq_log2: u64,
    /// Commands that the VMM forwards per system call.
    pub batch: u64,
    /// One nesting parent per psmmu for all vSMMUs of the VM.
    pub share_parent: bool,
    /// The guest's driver issues invalidations twice.
    pub repeat_invalidations: bool,
}

/// A load generator.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Its name.
    pub name: String,
    /// Whose driver maps.
    pub actor: Actor,
    /// The endpoints; threads use them in turns.
    pub endpoints: Vec<EndpointId>,
    /// What one iteration is.
    pub kind: LoadKind,
    /// Threads.
    pub threads: u64,
    /// Page size of the mappings.
    pub granule: Granule,
    /// Pages per mapping.
    pub pages: u64,
    /// Iterations per thread.
    pub count: u64,
    /// Iterations per second and thread.
    pub rate: Option<u64>,
    /// Bytes of DMA per page.
    pub bytes: u64,
    /// What a hostile guest does; everything if empty.
    pub attacks: Vec<Attack>,
    /// Begins with the scenario.
    pub start: bool,
}

/// A fault of the environment.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Its name.
    pub name: String,
    /// What goes wrong.
    pub kind: FaultKind,
    /// Where; a psmmu, an endpoint or a vsmmu, as the kind says.
    pub at: Target,
    /// From which occasion on, counted from 1.
    pub nth: u64,
    /// On how many occasions in a row.
    pub times: u64,
    /// Armed from the beginning.
    pub armed: bool,
    /// The VINTF concerned; all of them, and the SMMU's own queue, if there is none.
    pub vintf: Option<u64>,
    /// The only command concerned, if there is one.
    pub command: Option<Op>,
    /// The two slots exchanged.
    pub slots: [u64; 2],
}

choice! {
    /// What the oracle can say.
    Finding {
        /// nothing is wrong
        Clean = "clean",
        /// a device used a translation after its invalidation was complete
        StaleUse = "stale-use",
        /// a device reached memory that it was not given
        IsolationBreach = "isolation-breach",
        /// CMD_SYNC completed before the work in front of it
        EarlySync = "early-sync",
        /// an event was due and not recorded
        LostEvent = "lost-event",
        /// an event was recorded without reason
        SpuriousEvent = "spurious-event",
        /// another event than the architecture says was recorded
        WrongEvent = "wrong-event",
        /// events waited and nobody was told
        LostInterrupt = "lost-interrupt",
        /// a transfer was refused that should have gone through
        SpuriousAbort = "spurious-abort",
        /// a transfer went on before the Access flag or dirty state of its page was recorded
        MissingUpdate = "missing-update",
        /// hardware changed a descriptor as it must not
        WrongUpdate = "wrong-update",
    }
}

record! {
    /// Something that must hold at the end: a metric, a finding of the oracle, an event, or an order of steps.
    ExpectSpec {
        /// What the report calls it; by default a sentence is made.
        name: Option<String>;
        /// Why it is expected; shown in the report.
        why: Option<String>;
        /// A metric: `<name>.<what>`, like `vm0.exits` or `smmu0.commands`.
        metric: Option<String>;
        /// The metric is divided by this one before it is compared.
        per: Option<String>;
        /// A finding of the oracle. Without any such expectation the oracle must find nothing.
        oracle: Option<Finding>;
        /// Findings or events of this endpoint.
        endpoint: Option<EndpointId>;
        /// Findings or events at this psmmu or vsmmu.
        at: Option<Target>;
        /// An event record that must have been seen.
        event: Option<Event>;
        /// Named steps that must have ended in this order.
        order: Vec<StepName>;
        /// Exactly this value or count.
        equals: Option<f64>;
        /// At least this value or count.
        min: Option<f64>;
        /// At most this value or count.
        max: Option<f64>;
    }
}

/// Bounds of a number.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bounds {
    /// Exactly.
    pub equals: Option<f64>,
    /// At least.
    pub min: Option<f64>,
    /// At most.
    pub max: Option<f64>,
}

impl Bounds {
    /// Whether a value is within all bounds.
    pub fn hold(&self, value: f64) -> bool {
        self.equals.is_none_or(|b| value == b)
            && self.min.is_none_or(|b| value >= b)
            && self.max.is_none_or(|b| value <= b)
    }

    /// None is given.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.equals, self.min, self.max) {
            (Some(n), ..) => write!(f, "exactly {n}"),
            (None, Some(low), Some(high)) => write!(f, "{low} to {high}"),
            (None, Some(low), None) => write!(f, "at least {low}"),
            (None, None, Some(high)) => write!(f, "at most {high}"),
            (None, None, None) => f.write_str("at least 1"),
        }
    }
}

/// What an expectation is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Subject {
    /// A metric, divided by another one if given.
    Metric {
        /// The metric.
        metric: String,
        /// The divisor.
        per: Option<String>,
    },
    /// The number of findings of the oracle.
    Oracle {
        /// What it finds.
        finding: Finding,
        /// Of which endpoint.
        endpoint: Option<EndpointId>,
        /// At which psmmu or vsmmu.
        at: Option<Target>,
    },
    /// The number of event records.
    Event {
        /// Which event.
        event: Event,
        /// Of which endpoint.
        endpoint: Option<EndpointId>,
        /// At which psmmu or vsmmu.
        at: Option<Target>,
    },
    /// Steps ended in this order.
    Order(Vec<StepName>),
}

/// Something that must hold at the end.
#[derive(Clone, Debug, PartialEq)]
pub struct Expectation {
    /// What the report calls it.
    pub name: String,
    /// Why it is expected.
    pub why: Option<String>,
    /// What it is about.
    pub subject: Subject,
    /// The value or count it must have; for findings and events without bounds: at least 1.
    pub bounds: Bounds,
    /// Its bytes in the file.
    pub span: Span,
    /// Its line in the file, from 1.
    pub line: u32,
}

record! {
    /// Keys at the top of a scenario.
    HeadSpec {
        /// One line that says what the scenario shows.
        title: String;
        /// The statement of the subject that it tests, like `Q11`.
        statement: Option<String>;
        /// Seed of all random streams.
        seed: u64 = "1";
        /// Simulated time after which the run fails.
        time_limit: Time [1_000..=1_000_000_000_000_000] = "100 ms";
        /// Which iommufd interface the kernel offers.
        abi: Abi = "final";
        /// Preset of the host's costs and of all psmmus that name none.
        preset: String = "grace";
    }
}

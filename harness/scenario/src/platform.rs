//! The declarations of platform, software, loads and faults: one struct per table of a scenario file.

use sim::Time;

use crate::command::Op;
use crate::declare::{Cx, Field, Ty, choice, record};
use crate::diagnostic::Diagnostic;
use crate::knobs::Options;
use crate::names::{Actor, EndpointId, Many, Named, NodeId, PairId, PsmmuId, Target, VmId};
use crate::tree::{Node, Raw};
use crate::units::{Address, Bandwidth, Rate, Size};

/// Most endpoints of one scenario.
pub const ENDPOINTS_MAX: u64 = 32_768;
/// Most physical SMMUs of one scenario.
pub const PSMMUS_MAX: u64 = 64;

choice! {
    /// Which iommufd interface the kernel offers.
    Abi {
        /// the merged interface: VIOMMU, VDEVICE, HW_QUEUE, VEVENTQ
        Final = "final",
        /// the April 2024 proposal: VIOMMU_SET_DEV_ID, VQUEUE_ALLOC, mmap by viommu id
        Rfcv1 = "rfcv1",
    }
    /// What an endpoint is.
    EndpointKind {
        /// reads and writes on request of a driver, one address at a time
        Dma = "dma",
        /// block device: queues in memory, doorbells, transfers of whole pages
        Nvme = "nvme",
        /// network-like: many small transfers in flight
        Stream = "stream",
    }
    /// How guest commands of a vSMMU reach hardware.
    Policy {
        /// TLBI and ATC_INV go through a CMDQV queue that the guest owns; no VM exit
        Passthrough = "passthrough",
        /// the guest's command queue is emulated: every doorbell is a VM exit
        Trapped = "trapped",
    }
    /// Which viommu of a vSMMU gets a trapped command.
    Routing {
        /// commands that carry a StreamID go to that device's viommu, TLBIs go to every viommu
        Select = "select",
        /// every command goes to every viommu; those that do not know the StreamID are skipped
        Broadcast = "broadcast",
    }
    /// Translation granule.
    Granule {
        /// 4 KiB pages
        K4 = "4 KiB",
        /// 16 KiB pages
        K16 = "16 KiB",
        /// 64 KiB pages
        K64 = "64 KiB",
    }
    /// What a load does in its loop.
    LoadKind {
        /// map, DMA to every page, unmap
        MapDmaUnmap = "map-dma-unmap",
        /// map and unmap without DMA
        MapUnmap = "map-unmap",
        /// map once, DMA until the count is reached, unmap once
        Dma = "dma",
        /// attacks of a guest on its hardware queues (see `attacks`); a thread uses one queue of the vSMMU in front of its endpoint
        HostileGuest = "hostile-guest",
    }
    /// What a hostile guest does with its VINTF's register page and the rings behind it. Values and choices follow from the seed.
    Attack {
        /// writes and reads back the next word of the page: any value, every offset in turn
        Sweep = "sweep",
        /// writes any value to a register of one of its queues, or of the slot behind them
        Scribble = "scribble",
        /// queues commands of any opcode, with any bits
        Opcodes = "opcodes",
        /// queues TLB invalidations with the VMIDs of others
        Vmids = "vmids",
        /// queues ATC invalidations with the StreamIDs of others
        Streams = "streams",
        /// rings the doorbell with any PROD
        Indices = "indices",
        /// makes GERRORN differ from GERROR, or acknowledges an error and lets it happen again
        Acknowledge = "acknowledge",
        /// fills its ring with CMD_SYNCs, some of which ask for a signal
        Syncs = "syncs",
        /// fills its ring with TLB invalidations
        Flood = "flood",
        /// disables and enables a queue that has commands
        Toggle = "toggle",
    }
    /// What goes wrong in the environment.
    FaultKind {
        /// an SMMU completes a TLB invalidation without doing it
        DropTlbi = "drop-tlbi",
        /// an SMMU completes a configuration invalidation without doing it
        DropCfgi = "drop-cfgi",
        /// an SMMU completes CMD_SYNC before the invalidations in front of it
        EarlySync = "early-sync",
        /// a CMDQV exchanges the physical StreamIDs of two SID slots
        SwapSidSlots = "swap-sid-slots",
        /// a CMDQV leaves a guest's TLB invalidations the VMID that the guest wrote
        KeepGuestVmid = "keep-guest-vmid",
        /// a CMDQV leaves a guest's ATS invalidations the StreamID that the guest wrote
        KeepGuestSid = "keep-guest-sid",
        /// a VMM forwards a TLBI to all viommus of a vSMMU but the last
        SkipBroadcast = "skip-broadcast",
        /// an endpoint never answers an ATS invalidation
        AtsTimeout = "ats-timeout",
        /// an SMMU's read of a table or queue is answered with an abort
        MemoryAbort = "memory-abort",
        /// an SMMU stops consuming its command queue
        StallCmdq = "stall-cmdq",
        /// an SMMU enters Service Failure Mode instead of executing a command
        ServiceFailure = "service-failure",
        /// a VINTF never reports that it is enabled
        StuckVintf = "stuck-vintf",
        /// an SMMU takes a command of any of its queues for an illegal one, as if it was damaged on its way
        CorruptCommand = "corrupt-command",
        /// an interrupt message is lost
        DropInterrupt = "drop-interrupt",
    }
    /// Which command queue has the next turn.
    Arbitration {
        /// each in turn
        RoundRobin = "round-robin",
        /// the SMMU's own queue whenever it has commands; the others starve while it always has some
        MainFirst = "main-first",
        /// the queue that has had a command for longest without a turn
        OldestFirst = "oldest-first",
    }
    /// Instances behind one register page.
    PairArchitecture {
        /// SMMUv2: invalidation by register, TLBGSYNC and TLBGSTATUS
        Smmuv2 = "smmuv2",
    }
}

impl Granule {
    /// Bytes of a page.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::K4 => 4 << 10,
            Self::K16 => 16 << 10,
            Self::K64 => 64 << 10,
        }
    }
}

impl FaultKind {
    /// The kinds of things that can have this fault.
    pub const fn targets(self) -> &'static [crate::names::Kind] {
        use crate::names::Kind;
        match self {
            Self::SkipBroadcast => &[Kind::Vsmmu],
            Self::AtsTimeout => &[Kind::Endpoint],
            _ => &[Kind::Psmmu],
        }
    }
    /// What the key `vintf` means.
    pub const fn vintf(self) -> VintfKey {
        match self {
            Self::SwapSidSlots | Self::StuckVintf => VintfKey::Subject,
            Self::DropTlbi
            | Self::DropCfgi
            | Self::CorruptCommand
            | Self::KeepGuestVmid
            | Self::KeepGuestSid => VintfKey::Filter,
            _ => VintfKey::Nothing,
        }
    }
    /// Whether its key `command` may name this one.
    pub fn takes(self, command: Op) -> bool {
        let name = command.word();
        match self {
            Self::DropTlbi => name.starts_with("TLBI_"),
            Self::DropCfgi => name.starts_with("CFGI_"),
            Self::CorruptCommand => true,
            _ => false,
        }
    }
    /// Whether only a psmmu with a CMDQV can have it.
    pub const fn needs_cmdqv(self) -> bool {
        matches!(self, Self::SwapSidSlots | Self::StuckVintf | Self::KeepGuestVmid | Self::KeepGuestSid)
    }
}

/// What the key `vintf` of a fault means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VintfKey {
    /// Nothing.
    Nothing,
    /// Only commands of this VINTF count; without it, those of all queues.
    Filter,
    /// This VINTF has the fault; without it, the first that is not the host's.
    Subject,
}

record! {
    /// A NUMA node (socket): CPUs, memory, and the SMMUs and endpoints that name it. Without any, one node `node0`.
    NodeSpec {
        /// Number of CPUs.
        cpus: u64 [1..=256] = "4";
        /// Size of the memory.
        memory: Size [65_536..=1 << 41] = "4 GiB";
        /// Base of the memory; by default above the node's MMIO space.
        base: Option<Address>;
    }

    /// A connection of two nodes; transactions between nodes take it.
    LinkSpec {
        /// The two nodes.
        between: Vec<NodeId>;
        /// One-way latency.
        latency: Time [1_000..=1_000_000_000] = "150 ns";
        /// Bandwidth per direction.
        bandwidth: Bandwidth [1_000_000..=1_000_000_000_000_000] = "100 GB/s";
    }

    /// The CMDQV block next to a psmmu.
    CmdqvSpec {
        /// Number of virtual interfaces (VINTF); VINTF 0 is the host's. A power of two.
        vintfs: u64 [1..=64] = "4";
        /// Number of hardware queues (VCMDQ), split evenly over the VINTFs. A power of two.
        vcmdqs: u64 [1..=128] = "8";
        /// StreamID slots per VINTF. A power of two.
        sid_slots: u64 [1..=16] = "16";
        /// Base of the CMDQV registers; by default 2 MiB above the SMMU's.
        mmio: Option<Address>;
        /// Which command queue has the next turn, the SMMU's own included.
        arbitration: Arbitration = "round-robin";
        /// Commands in a turn: CONFIG.CMDQ_MAX_CMD_BATCH after reset, where 0 is taken as 1; by default `batch_commands` of the
        /// timing.
        cmd_batch: Option<u64> [0..=255];
        /// Clocks in a turn: CONFIG.CMDQ_MAX_CLK_BATCH after reset, in units of the knob `clock-batch`; 0 lets one command through.
        clk_batch: u64 [0..=255] = "8";
        /// Where no public source says what the silicon does, see "Knobs of a CMDQV".
        knobs: Options;
    }

    /// A physical SMMUv3.
    PsmmuSpec {
        /// Makes this many alike, named with a number at the end: `count = 2` on `[psmmu.smmu]` makes smmu0 and smmu1.
        count: Option<u64> [1..=64];
        /// The node it belongs to; by default the first.
        node: Option<NodeId>;
        /// The hardware profile: the name of a shipped preset, or a path relative to this file.
        preset: Option<String>;
        /// The CMDQV: sizes, `true` for the sizes of the preset, `false` for none.
        cmdqv: Option<Cmdqv>;
        /// Has performance monitors: a counter group of the TCU and one of the TBU, as an MMU-700 (registers `smmu0.pmcg.tcu`,
        /// `smmu0.pmcg.tbu`; metrics `smmu0.pmcg.tcu.counter0`).
        pmcg: bool = "false";
        /// Its performance monitors interrupt by messages, if software gives them an address (CFGR.MSI). Those of an MMU-700 cannot.
        pmcg_msi: bool = "false";
        /// Base of the registers (two 64 KiB pages); assigned by default.
        mmio: Option<Address>;
        /// Replaces IDR0 of the preset.
        idr0: Option<u64> [0..=0xffff_ffff];
        /// Replaces IDR1 of the preset.
        idr1: Option<u64> [0..=0xffff_ffff];
        /// Replaces IDR2 of the preset: where the VATOS page is.
        idr2: Option<u64> [0..=0xffff_ffff];
        /// Replaces IDR3 of the preset.
        idr3: Option<u64> [0..=0xffff_ffff];
        /// Replaces IDR5 of the preset.
        idr5: Option<u64> [0..=0xffff_ffff];
        /// Replaces IDR6 of the preset: how many enhanced command queues there are, if IDR1 shows any.
        idr6: Option<u64> [0..=0xffff_ffff];
        /// Replaces IIDR of the preset.
        iidr: Option<u64> [0..=0xffff_ffff];
        /// Replaces AIDR of the preset.
        aidr: Option<u64> [0..=0xffff_ffff];
        /// Replaces rows of the preset's SMMU timing.
        timing: crate::preset::SmmuOverrides = "{}";
    }

    /// SMMU instances behind one register page: writes go to all, reads come from the first.
    PairSpec {
        /// The node it belongs to; by default the first.
        node: Option<NodeId>;
        /// The architecture of the instances.
        architecture: PairArchitecture = "smmuv2";
        /// Number of instances programmed identically.
        instances: u64 [2..=4] = "2";
        /// Traffic changes the instance after this many bytes of address.
        interleave: Size [64..=1 << 30] = "4 KiB";
        /// How long a TLB sync takes, one value per instance (the last one repeats).
        sync_latency: Vec<Time> = "[\"200 ns\"]";
        /// Base of the register page; assigned by default.
        mmio: Option<Address>;
    }

    /// A DMA-capable device behind a psmmu.
    EndpointSpec {
        /// Makes this many alike, named with a number at the end; StreamIDs are consecutive.
        count: Option<u64> [1..=32_768];
        /// The psmmu in front of it (several: the endpoints of `count` take turns); by default the only one.
        psmmu: Many<PsmmuId>;
        /// Instead of a psmmu: a register_broadcast in front of it.
        behind: Option<PairId>;
        /// What it is.
        kind: EndpointKind = "dma";
        /// Its StreamID; by default the next free one from 0x10.
        stream: Option<u64> [0..=0xffff_ffff];
        /// Further StreamIDs of the same device.
        extra_streams: Vec<u64>;
        /// Can use ATS (has a translation cache of its own).
        ats: bool = "false";
        /// Sends page requests (PRI) for what it finds not mapped; needs `ats`.
        pri: bool = "false";
        /// Page requests that it may have unanswered.
        page_requests: u64 [1..=512] = "32";
        /// Pages of a transfer that it asks for in one group, no more than `page_requests`.
        page_group: u64 [1..=512] = "1";
        /// Width of PASIDs in bits, 0 for none.
        pasid_bits: u64 [0..=20] = "0";
        /// Its root complex is coherent including no-snoop (CANWBS).
        canwbs: bool = "true";
        /// Most transactions in flight.
        outstanding: u64 [1..=4096] = "64";
        /// Bandwidth of its link, per direction.
        bandwidth: Bandwidth [1_000_000..=1_000_000_000_000] = "31.5 GB/s";
    }

    /// A virtual machine and its VMM.
    VmSpec {
        /// Makes this many alike, named with a number at the end.
        count: Option<u64> [1..=1024];
        /// The node its CPUs and memory come from; by default the first.
        node: Option<NodeId>;
        /// Number of virtual CPUs.
        vcpus: u64 [1..=256] = "1";
        /// Size of guest RAM.
        memory: Size [65_536..=1 << 40] = "64 MiB";
        /// Pages that back guest RAM; a queue given to hardware must fit in one.
        page: Size [4096..=1 << 30] = "2 MiB";
        /// Backing pages are physically consecutive.
        contiguous: bool = "true";
        /// Base of guest RAM in the guest's address space.
        base: Address = "0x4000_0000";
        /// Boots guest software (driver probe, devices attached) before the first step. Without it, steps do everything.
        boot: bool = "true";
    }

    /// An SMMUv3 as a guest sees it. Its psmmus follow from its devices.
    VsmmuSpec {
        /// The VM that sees it.
        vm: VmId;
        /// How guest commands reach hardware.
        policy: Policy = "trapped";
        /// Which viommu gets a trapped command, when the devices are behind several psmmus.
        routing: Routing = "select";
        /// Passthrough with devices behind several psmmus is wrong (one guest page cannot be several hardware pages); to try it
        /// nevertheless, name the psmmu whose page the guest gets.
        window: Option<PsmmuId>;
        /// Its devices: names (virtual StreamIDs follow from 0x10), or a table from name to virtual StreamID.
        devices: Devices;
        /// Hardware queues given to the guest (passthrough).
        lvcmdqs: u64 [1..=128] = "2";
        /// log2 of the entries of the guest's command queue.
        cmdq_log2: u64 [1..=19] = "8";
        /// log2 of the entries of the guest's event queue.
        eventq_log2: u64 [1..=19] = "7";
        /// Commands that the VMM forwards per system call.
        batch: u64 [1..=4096] = "1";
        /// One nesting parent for all of the VM's vSMMUs on a psmmu (equal VMIDs), or one for each.
        share_parent: bool = "false";
        /// The guest's firmware tables name a Tegra264 SMMU, so that its driver issues every invalidation twice. The host's driver
        /// does so where the hardware needs it.
        repeat_invalidations: bool = "false";
    }

    /// A load generator: threads that map, DMA and unmap.
    LoadSpec {
        /// Whose driver maps: the host, or a VM.
        actor: Actor = "host";
        /// The endpoints; each thread uses one, in turns.
        endpoint: Many<EndpointId>;
        /// What one iteration is.
        kind: LoadKind = "map-dma-unmap";
        /// Number of threads, each on a CPU of its own.
        threads: u64 [1..=1024] = "1";
        /// Page size of the mappings.
        granule: Granule = "4 KiB";
        /// Pages per mapping.
        pages: u64 [1..=65_536] = "1";
        /// Iterations per thread.
        count: u64 [1..=1_000_000_000] = "100";
        /// Iterations per second and thread; without it, as fast as possible.
        rate: Option<Rate> [1..=1_000_000_000];
        /// Bytes of DMA per page.
        bytes: Size [1..=1 << 30] = "64 B";
        /// hostile-guest: what it does, by chance; by default everything.
        attacks: Vec<Attack>;
        /// Begins with the scenario. Otherwise a step `start-load` begins it.
        start: bool = "true";
    }

    /// A fault of the environment.
    FaultSpec {
        /// What goes wrong.
        kind: FaultKind;
        /// Where: the name of the psmmu, endpoint or vsmmu.
        at: Target;
        /// From which occasion on, counted from 1 since the fault was armed.
        nth: u64 [1..=1_000_000_000] = "1";
        /// On how many occasions in a row.
        times: u64 [1..=1_000_000_000] = "1";
        /// Armed from the beginning. Otherwise a step `arm-fault` arms it.
        armed: bool = "true";
        /// The VINTF that is stuck or whose slots are exchanged, by default 1. For faults of commands: only those from queues of this
        /// VINTF count; by default those of every queue, the SMMU's own included.
        vintf: Option<u64> [0..=63];
        /// For faults of commands: only those of this opcode count, for example "CFGI_CD"; by default all of their kind.
        command: Option<Op>;
        /// The two slots exchanged.
        slots: Vec<u64> = "[0, 1]";
    }
}

/// The key `cmdqv`: `false`, `true` or sizes.
#[derive(Clone, Debug, PartialEq)]
pub enum Cmdqv {
    /// There is none.
    Absent,
    /// The sizes of the preset.
    Preset,
    /// These sizes.
    Sizes(CmdqvSpec),
}

impl Field for Cmdqv {
    fn ty() -> Ty {
        Ty::Any(vec![CmdqvSpec::ty(), Ty::Bool])
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        match node.value {
            Raw::Bool(false) => Some(Self::Absent),
            Raw::Bool(true) => Some(Self::Preset),
            Raw::Table(_) => CmdqvSpec::read(node, cx).map(Self::Sizes),
            _ => cx.wrong_type(node, &Self::ty()),
        }
    }
}

/// The devices of a vSMMU with their virtual StreamIDs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices(pub Vec<(EndpointId, u64)>);

/// The first virtual StreamID that is given out by default.
pub const FIRST_VSID: u64 = 0x10;

impl Field for Devices {
    fn ty() -> Ty {
        Ty::Any(vec![Many::<EndpointId>::ty(), Ty::Map("endpoints", Box::new(Ty::Int))])
    }
    fn read(node: &Node, cx: &mut Cx) -> Option<Self> {
        let Raw::Table(entries) = &node.value else {
            let ids = Many::<EndpointId>::read(node, cx)?;
            return Some(Self(ids.0.into_iter().zip(FIRST_VSID..).collect()));
        };
        let mut out: Vec<(EndpointId, u64)> = Vec::new();
        for entry in entries {
            let name = Node { span: entry.key.clone(), value: Raw::Str(entry.name.clone()) };
            let id = EndpointId::read(&name, cx);
            let vsid = u64::read(&entry.node, cx);
            let (Some(id), Some(vsid)) = (id, vsid) else { continue };
            if let Some((other, _)) = out.iter().find(|(_, v)| *v == vsid) {
                let other = cx.names.name(crate::names::Kind::Endpoint, other.index()).to_owned();
                cx.diagnostics.push(
                    Diagnostic::at(
                        entry.node.span.clone(),
                        format!("two devices have the virtual StreamID {vsid:#x}"),
                    )
                    .label(format!("`{other}` has it too"))
                    .help("virtual StreamIDs are unique within one vSMMU"),
                );
            }
            out.push((id, vsid));
        }
        (out.len() == entries.len()).then_some(Self(out))
    }
}

//! What the oracle is told: facts about the platform before the run, and witness records during it.
//!
//! Records arrive in the order in which things happened. Records with equal times keep their order of arrival.

use spec::regs::RegFile;
use spec::smmu::Page0;
use spec::smmu::page0::{CR0, CR2, GBPA, IDR0, IDR1, IDR3, IDR5, IRQ_CTRL, STRTAB_BASE, STRTAB_BASE_CFG};
use std::ops::Range;

/// Simulated time in picoseconds.
pub type Time = u64;

/// Index into [`Platform::smmus`].
pub type SmmuId = u16;

/// Index into [`Platform::actors`]: who writes memory or annotates.
pub type ActorId = u16;

/// Index into [`Platform::owners`].
pub type OwnerId = u16;

/// Index into [`Platform::vsmmus`].
pub type VsmmuId = u16;

/// What is fixed before the run.
#[derive(Clone, Debug, Default)]
pub struct Platform {
    /// Physical SMMUs.
    pub smmus: Vec<Smmu>,
    /// Streams that exist, and who they belong to at the start.
    pub streams: Vec<Stream>,
    /// Virtual SMMUs; their devices come with [`Fact::DeviceBehind`].
    pub vsmmus: Vec<String>,
    /// Virtual machines and the host.
    pub owners: Vec<Owner>,
    /// Names of CPUs, endpoints and SMMUs that write memory, and of the software that annotates.
    pub actors: Vec<String>,
    /// Physical addresses that answer. Empty: all do.
    pub memory: Vec<Range<u64>>,
}

/// A physical SMMU and what it can do.
#[derive(Clone, Debug)]
pub struct Smmu {
    /// Name for stories.
    pub name: String,
    /// Features.
    pub idr0: IDR0,
    /// Sizes.
    pub idr1: IDR1,
    /// Features of translation.
    pub idr3: IDR3,
    /// Address sizes and granules.
    pub idr5: IDR5,
    /// It may lose a sequence of CFGI and TLBI commands up to a CMD_SYNC, unless that is issued again (erratum T264-SMMU-3).
    /// Software that does so counts on the second CMD_SYNC only.
    pub repeats: bool,
}

impl Smmu {
    /// An SMMU with the abilities of the register table's reset values, without errata.
    pub fn new(name: &str) -> Self {
        let file = RegFile::<Page0>::reset();
        Self {
            name: name.to_owned(),
            idr0: file.get(),
            idr1: file.get(),
            idr3: file.get(),
            idr5: file.get(),
            repeats: false,
        }
    }
}

/// A stream: traffic of one function behind one SMMU.
#[derive(Clone, Debug)]
pub struct Stream {
    /// The SMMU in its path.
    pub smmu: SmmuId,
    /// StreamID there.
    pub sid: u32,
    /// Name for stories.
    pub name: String,
    /// Whose memory it may reach.
    pub owner: OwnerId,
}

/// Somebody who owns memory.
#[derive(Clone, Debug, Default)]
pub struct Owner {
    /// Name for stories.
    pub name: String,
    /// Physical ranges it owns at the start; see [`Fact::Granted`]. While it has none, addresses are not judged.
    pub memory: Vec<Range<u64>>,
}

/// Registers that decide how an SMMU treats traffic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Registers {
    /// Enables.
    pub cr0: CR0,
    /// StreamWorld of EL2 and recording of unknown StreamIDs.
    pub cr2: CR2,
    /// Treatment of traffic while SMMUEN is clear.
    pub gbpa: GBPA,
    /// Interrupt enables.
    pub irq_ctrl: IRQ_CTRL,
    /// Stream table.
    pub strtab_base: STRTAB_BASE,
    /// Shape of the Stream table.
    pub strtab_base_cfg: STRTAB_BASE_CFG,
    /// Service Failure Mode: no transaction may go on.
    pub failed: bool,
}

/// A command queue, by who looks at its consumer index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Queue {
    /// A queue of the host: 0 is the SMMU's own, others are the host's VCMDQs. Acts on that SMMU.
    Physical {
        /// The SMMU that executes.
        smmu: SmmuId,
        /// Which of its queues.
        queue: u16,
    },
    /// A queue of a guest, trapped or passed through. Promises to act on every device behind the virtual SMMU.
    Virtual {
        /// The virtual SMMU.
        vsmmu: VsmmuId,
        /// Which of its queues.
        queue: u16,
    },
}

/// Attributes of a client transaction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// A write; atomics are writes.
    pub write: bool,
    /// An instruction fetch.
    pub instruction: bool,
    /// Privileged.
    pub privileged: bool,
}

/// One client transaction at its SMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dma {
    /// Identity, unique within its SMMU while the transaction is in flight.
    pub id: u64,
    /// The SMMU in its path.
    pub smmu: SmmuId,
    /// StreamID.
    pub sid: u32,
    /// SubstreamID, if it carries one.
    pub ssid: Option<u32>,
    /// Input address. For a transaction that came with a translated address either the address that the endpoint
    /// looked up, or the translated one: then [`Fact::AtsAnswered`] says what it stands for.
    pub iova: u64,
    /// Length in bytes, at least 1; does not cross a page.
    pub len: u32,
    /// Kind of access.
    pub access: Access,
    /// When the SMMU first saw it, if known: structures and descriptors may have been read from then on. Otherwise
    /// [`Config::walk_bound`](crate::Config::walk_bound) before the record.
    pub arrived: Option<Time>,
    /// Translated by the endpoint's own translation cache.
    pub ats: bool,
}

/// One thing that happened.
#[derive(Clone, Copy, Debug)]
pub struct Witness<'a> {
    /// When.
    pub time: Time,
    /// What.
    pub fact: Fact<'a>,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Fact<'a> {
    /// Bytes became visible in physical memory.
    Wrote {
        /// Who wrote.
        by: ActorId,
        /// Physical address.
        addr: u64,
        /// The bytes.
        bytes: &'a [u8],
    },
    /// Hardware read these words of a table and got this: a look at memory, for an oracle that is not told of writes
    /// ([`Oracle::watching`](crate::Oracle::watching)); others do not need it. Optional: without it a value that is gone
    /// when its use is judged is not known.
    Read {
        /// Physical address of the first word, a multiple of 8.
        addr: u64,
        /// What they held.
        words: &'a [u64],
    },
    /// Software wrote these register values, or the SMMU acknowledged them; either will do, see
    /// [`Config::update_bound`](crate::Config::update_bound).
    Configured {
        /// Which SMMU.
        smmu: SmmuId,
        /// All of them.
        registers: Registers,
    },
    /// The owner of a queue handed over every command before this index. Optional: without it a command counts as
    /// handed over when it is consumed, which takes a mapping that changed in between for invalidated.
    Produced {
        /// Which queue.
        queue: Queue,
        /// PROD as written: index and wrap bit.
        prod: u32,
        /// log2 of the number of entries.
        log2size: u8,
    },
    /// A queue was enabled: what was handed over before is forgotten.
    Restarted {
        /// Which queue.
        queue: Queue,
        /// Where it begins: index and wrap bit.
        index: u32,
    },
    /// The consumer index that the owner sees has passed a command.
    Consumed {
        /// Which queue.
        queue: Queue,
        /// Position of the command in the ring; a wrap bit is ignored.
        index: u32,
        /// The command as it must be executed; for a queue of a guest, as it lies in the queue.
        command: [u64; 2],
        /// The command as it lies in the queue, if that is something else. Used only to tell the story.
        written: Option<[u64; 2]>,
        /// For a guest's queue that is passed through: the SMMU that executes it. Tells whether invalidations must be issued
        /// twice, and the story.
        on: Option<SmmuId>,
    },
    /// What a queue is called from now on; used only to tell the story.
    Named {
        /// Which queue.
        queue: Queue,
        /// Its name.
        name: &'a str,
    },
    /// The owner of a queue was told that an endpoint did not answer an invalidation (CERROR_ATC_INV_SYNC). What endpoints hold
    /// does not count as invalidated by what is in front of the CMD_SYNC that stopped there.
    AtcTimedOut {
        /// Which queue.
        queue: Queue,
    },
    /// The hardware changed a descriptor, to record the Access flag or the dirty state.
    Updated {
        /// The transaction, or request for a translation, whose translation did it. A request that asks for write permission
        /// is a write.
        dma: Dma,
        /// Physical address of the descriptor.
        addr: u64,
        /// The word that was replaced.
        before: u64,
        /// The word that took its place.
        after: u64,
    },
    /// A transaction got its physical address and goes on to memory.
    Translated {
        /// The transaction.
        dma: Dma,
        /// Physical address of its first byte.
        pa: u64,
    },
    /// An endpoint was given a translation to keep.
    AtsAnswered {
        /// Which SMMU answered.
        smmu: SmmuId,
        /// StreamID.
        sid: u32,
        /// SubstreamID, if the request carried one.
        ssid: Option<u32>,
        /// Input address.
        iova: u64,
        /// What the request says that it is for.
        access: Access,
        /// Physical address.
        pa: u64,
        /// log2 of the size of the region that the answer covers, at least 12.
        bits: u8,
    },
    /// The memory access of a transaction has been performed.
    Done {
        /// The SMMU in its path.
        smmu: SmmuId,
        /// Identity of the transaction.
        id: u64,
    },
    /// A transaction was refused.
    Aborted {
        /// The transaction.
        dma: Dma,
        /// The event that the SMMU raised for it; none if it means to record nothing.
        event: Option<u8>,
    },
    /// An SMMU made a record visible in its Event queue.
    EventWritten {
        /// Which SMMU.
        smmu: SmmuId,
        /// The record.
        record: [u64; 4],
        /// The queue was empty before.
        was_empty: bool,
    },
    /// An SMMU dropped a record because its Event queue was full or not writable.
    EventDropped {
        /// Which SMMU.
        smmu: SmmuId,
        /// The record.
        record: [u64; 4],
    },
    /// The overflow state of an Event queue changed: OVFLG differs from OVACKFLG, or no longer.
    Overflow {
        /// Which SMMU.
        smmu: SmmuId,
        /// Records are being lost.
        active: bool,
    },
    /// The Event queue interrupt of an SMMU was raised.
    EventInterrupt {
        /// Which SMMU.
        smmu: SmmuId,
    },
    /// A page request for which software wants to be interrupted: the SMMU made it visible in its PRI queue, or dropped it because that
    /// overflows.
    PageRequested {
        /// Which SMMU.
        smmu: SmmuId,
        /// The request.
        request: [u64; 2],
        /// It was dropped.
        dropped: bool,
    },
    /// The PRI queue interrupt of an SMMU was raised.
    PageInterrupt {
        /// Which SMMU.
        smmu: SmmuId,
    },
    /// A device is now behind a virtual SMMU.
    DeviceBehind {
        /// The virtual SMMU.
        vsmmu: VsmmuId,
        /// The SMMU in the device's path.
        smmu: SmmuId,
        /// StreamID there.
        sid: u32,
        /// StreamID that the guest knows.
        vsid: u32,
        /// VMID that this SMMU uses for the guest.
        vmid: u16,
    },
    /// A device is no longer behind a virtual SMMU.
    DeviceGone {
        /// The virtual SMMU.
        vsmmu: VsmmuId,
        /// The SMMU in the device's path.
        smmu: SmmuId,
        /// StreamID there.
        sid: u32,
    },
    /// A stream now belongs to somebody.
    Assigned {
        /// The SMMU in its path.
        smmu: SmmuId,
        /// StreamID there.
        sid: u32,
        /// Its owner.
        owner: OwnerId,
    },
    /// Memory now belongs to somebody.
    Granted {
        /// Its owner.
        owner: OwnerId,
        /// First physical address.
        addr: u64,
        /// Bytes.
        len: u64,
    },
    /// Memory no longer belongs to somebody.
    Revoked {
        /// Its former owner.
        owner: OwnerId,
        /// First physical address.
        addr: u64,
        /// Bytes.
        len: u64,
    },
    /// Software says what it did; used only to tell the story.
    Said {
        /// Who.
        by: ActorId,
        /// What.
        what: Saying<'a>,
    },
}

/// An annotation by software.
#[derive(Clone, Copy, Debug)]
pub enum Saying<'a> {
    /// A mapping was made.
    Mapped {
        /// In which address space.
        space: &'a str,
        /// First input address.
        iova: u64,
        /// First output address.
        pa: u64,
        /// Bytes.
        len: u64,
    },
    /// A mapping was taken away.
    Unmapped {
        /// In which address space.
        space: &'a str,
        /// First input address.
        iova: u64,
        /// Bytes.
        len: u64,
    },
    /// An invalidation of a guest was sent to an SMMU.
    Routed {
        /// The virtual SMMU it came from.
        vsmmu: VsmmuId,
        /// Where it was sent.
        to: SmmuId,
    },
    /// An SMMU was left out although the guest has devices behind it.
    Skipped {
        /// The virtual SMMU it came from.
        vsmmu: VsmmuId,
        /// Which SMMU.
        smmu: SmmuId,
        /// Why.
        why: &'a str,
    },
}

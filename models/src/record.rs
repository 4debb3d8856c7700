//! What the hardware tells observers: one typed record. Nothing may react to a record.

use std::fmt;

use sim::Time;
use spec::smmu::{Command, EventRecord, PageRequest};

use crate::bus::{Data, PhysAddr, Requester};
use crate::cpu::CpuId;
use crate::dma::{Incoming, PageResponse};
use crate::smmu::{Attributes, Request, RequestKind};

/// Which queue of a pSMMU a command came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CommandQueue {
    /// The SMMU's own command queue.
    Main,
    /// A VCMDQ, by global index, and the VINTF and logical index it was allocated to.
    Vcmdq {
        /// Global index.
        queue: u16,
        /// The owner.
        vintf: u8,
        /// Index within the owner.
        logical: u8,
    },
    /// An enhanced command queue, by number over all control pages.
    Ecmdq(u16),
}

impl fmt::Display for CommandQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Main => f.pad("CMDQ"),
            Self::Ecmdq(queue) => f.pad(&format!("ECMDQ{queue}")),
            Self::Vcmdq { queue, vintf, logical } => {
                f.pad(&format!("VINTF{vintf}.LVCMDQ{logical}=VCMDQ{queue}"))
            }
        }
    }
}

/// The transaction whose translation changed a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Updater {
    /// Which pSMMU.
    pub smmu: u16,
    /// StreamID.
    pub sid: u32,
    /// SubstreamID.
    pub ssid: Option<u32>,
    /// Input address.
    pub iova: u64,
    /// Memory is written, or an ATS translation request asks for write permission.
    pub write: bool,
    /// What the transaction says of itself. A request counts as data: where it gets nothing to read it gets nothing to execute.
    pub incoming: Incoming,
    /// It came with a translated address (ATS).
    pub translated: bool,
    /// When its translation began.
    pub begun: Time,
}

impl Updater {
    pub(crate) fn new(smmu: u16, request: &Request, begun: Time) -> Self {
        let Request { sid, ssid, addr: iova, kind, write, instruction, .. } = *request;
        let asks = matches!(kind, RequestKind::AtsRequest { .. });
        Self {
            smmu,
            sid,
            ssid,
            iova,
            write: write || kind == RequestKind::AtsRequest { write: true },
            incoming: Incoming { instruction: instruction && !asks, ..request.incoming() },
            translated: kind == RequestKind::AtsTranslated,
            begun,
        }
    }
}

/// Something that happened in the hardware.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// Memory changed.
    MemoryWrite {
        /// By whom.
        by: Requester,
        /// First byte.
        addr: PhysAddr,
        /// The bytes now there.
        data: Data,
    },
    /// A register of a pSMMU was written by software (offset from the SMMU's page 0).
    SmmuRegister {
        /// Which pSMMU.
        smmu: u16,
        /// Byte offset.
        offset: u32,
        /// The value as stored.
        value: u64,
    },
    /// A pSMMU begins to act on what software wrote, and says so in CR0ACK, IRQ_CTRLACK or GBPA.
    SmmuUpdated {
        /// Which pSMMU.
        smmu: u16,
        /// Byte offset of the register that says so.
        offset: u32,
        /// Its value.
        value: u64,
    },
    /// A register of a CMDQV was written by software.
    CmdqvRegister {
        /// Which pSMMU's CMDQV.
        smmu: u16,
        /// Byte offset.
        offset: u32,
        /// The value written.
        value: u64,
    },
    /// CONS of a queue passed this command: for CMD_SYNC that means it has completed.
    CommandConsumed {
        /// Which pSMMU.
        smmu: u16,
        /// Which queue.
        queue: CommandQueue,
        /// Index in the ring, without wrap bit.
        index: u32,
        /// As read from the ring.
        raw: Command,
        /// As executed, after VMID and StreamID replacement.
        executed: Command,
    },
    /// A queue stopped with an error.
    CommandError {
        /// Which pSMMU.
        smmu: u16,
        /// Which queue.
        queue: CommandQueue,
        /// Index of the offending entry.
        index: u32,
        /// CERROR code.
        code: u8,
        /// The command, if it could be read.
        raw: Option<Command>,
    },
    /// The Access flag or dirty state of a descriptor was changed, atomically.
    DescriptorUpdated {
        /// For what.
        who: Updater,
        /// Address of the descriptor.
        addr: PhysAddr,
        /// The word as it was.
        before: u64,
        /// The word as it became.
        after: u64,
    },
    /// A DMA was given a translation; its access to memory goes out now.
    DmaTranslated {
        /// Identifies the DMA within the pSMMU.
        id: u64,
        /// Which pSMMU.
        smmu: u16,
        /// StreamID.
        sid: u32,
        /// SubstreamID.
        ssid: Option<u32>,
        /// Input address.
        iova: u64,
        /// Output address.
        pa: PhysAddr,
        /// Number of bytes: within a line, or within a 4KB page where there is no time.
        len: u32,
        /// Whether memory is written.
        write: bool,
        /// What the transaction says of itself.
        incoming: Incoming,
        /// Memory attributes of the access that goes out.
        attributes: Attributes,
        /// Whether it came with a translated address (ATS).
        translated: bool,
        /// Whether every level came from a TLB.
        tlb_hit: bool,
        /// When its translation began: nothing was read for it before.
        begun: Time,
    },
    /// The memory access of a DMA is globally visible.
    DmaDone {
        /// As in `DmaTranslated`.
        id: u64,
        /// Which pSMMU.
        smmu: u16,
    },
    /// A DMA was refused.
    DmaAborted {
        /// Identifies the DMA within the pSMMU.
        id: u64,
        /// Which pSMMU.
        smmu: u16,
        /// StreamID.
        sid: u32,
        /// SubstreamID.
        ssid: Option<u32>,
        /// Input address.
        iova: u64,
        /// Whether memory was to be written.
        write: bool,
        /// What the transaction says of itself.
        incoming: Incoming,
        /// Whether it came with a translated address (ATS).
        translated: bool,
        /// Number of the event this causes, if one is to be recorded.
        event: Option<u8>,
        /// When its translation began: nothing was read for it before.
        begun: Time,
    },
    /// An ATS translation request was answered.
    AtsAnswered {
        /// Which pSMMU.
        smmu: u16,
        /// StreamID.
        sid: u32,
        /// SubstreamID.
        ssid: Option<u32>,
        /// Input address.
        iova: u64,
        /// What the request says of itself.
        incoming: Incoming,
        /// Output address; `None` for no access or Unsupported Request.
        pa: Option<PhysAddr>,
        /// log2 of the size of the region that the answer covers; 0 without an output address.
        size_log2: u8,
    },
    /// A TLB or walk entry was filled.
    TlbFilled {
        /// Which pSMMU.
        smmu: u16,
        /// The stream whose transaction filled it.
        sid: u32,
        /// Input address of the region.
        iova: u64,
        /// Output address of the region.
        pa: PhysAddr,
        /// log2 of the region's size.
        size_log2: u8,
    },
    /// An event record is visible in the event queue.
    EventWritten {
        /// Which pSMMU.
        smmu: u16,
        /// The record.
        record: EventRecord,
    },
    /// An event record was dropped because the queue was full or disabled.
    EventDropped {
        /// Which pSMMU.
        smmu: u16,
        /// The record.
        record: EventRecord,
    },
    /// A page request is visible in the PRI queue.
    PageRequestWritten {
        /// Which pSMMU.
        smmu: u16,
        /// The request.
        request: PageRequest,
    },
    /// A page request was dropped because the PRI queue was full, stopped or disabled.
    PageRequestDropped {
        /// Which pSMMU.
        smmu: u16,
        /// The request.
        request: PageRequest,
    },
    /// A group of page requests was answered.
    PageResponse {
        /// Which pSMMU.
        smmu: u16,
        /// What leaves for the endpoint.
        response: PageResponse,
        /// By the SMMU itself, rather than by CMD_PRI_RESP.
        automatic: bool,
    },
    /// A global error became active in GERROR.
    GlobalError {
        /// Which pSMMU.
        smmu: u16,
        /// Bit number.
        bit: u8,
    },
    /// A device raised an interrupt (wired edge or MSI).
    InterruptRaised {
        /// Interrupt number.
        intid: u32,
        /// Which pSMMU raised it, if one did.
        smmu: Option<u16>,
    },
    /// An interrupt became pending at a CPU.
    InterruptDelivered {
        /// Interrupt number.
        intid: u32,
        /// Where.
        cpu: CpuId,
    },
    /// An ATC invalidation reached an endpoint.
    AtcInvalidated {
        /// Which endpoint.
        endpoint: u16,
        /// First byte.
        addr: u64,
        /// log2 of the number of bytes.
        size_log2: u8,
    },
    /// Software did what the architecture leaves unpredictable; the model chose.
    Lint {
        /// Which pSMMU.
        smmu: u16,
        /// What, and what this model does.
        text: String,
    },
    /// A transaction found nothing at its address.
    BusError {
        /// By whom.
        by: Requester,
        /// Where.
        addr: PhysAddr,
    },
}

impl Record {
    /// [`Record::TlbFilled`] for a translation of 2^`size_log2` bytes around `iova` that goes to `pa`.
    pub(crate) fn filled(smmu: u16, sid: u32, iova: u64, pa: PhysAddr, size_log2: u8) -> Self {
        let base = |addr: u64| if size_log2 < 64 { addr >> size_log2 << size_log2 } else { 0 };
        Self::TlbFilled { smmu, sid, iova: base(iova), pa: base(pa), size_log2 }
    }
}

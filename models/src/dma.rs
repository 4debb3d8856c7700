//! What endpoints and pSMMUs say to each other: DMA, ATS translation, invalidation of a device's ATC, answers to page requests
//! (the requests themselves are [`spec::smmu::PageRequest`]s).

use crate::bus::{Abort, Data, Op, PhysAddr};
use crate::smmu::Attributes;

/// What a transaction says of itself beside its address and its data (IHI 0070, 13.1). By default it is unprivileged data of
/// coherent memory, as a PCIe transaction without PASID prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Incoming {
    /// PnU: privileged. PCIe: Privileged Mode Requested.
    pub privileged: bool,
    /// InD: instruction. PCIe: Execute Requested. Writes are data, whatever they say.
    pub instruction: bool,
    /// Memory type, shareability and allocation hints.
    pub memory: Attributes,
}

impl Incoming {
    /// [`Incoming::default`].
    pub const DEFAULT: Self = Self { privileged: false, instruction: false, memory: Attributes::COHERENT };
}

/// How the address of a DMA is to be understood (IHI 0070, 3.9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressType {
    /// An input address, to be translated.
    Untranslated,
    /// An address that the endpoint got by ATS.
    Translated,
    /// No data: a request for a translation (ATS). `write` asks for write permission as well.
    TranslationRequest {
        /// NW=0: write permission is wanted.
        write: bool,
    },
}

/// A transaction of an endpoint, on its way to the SMMU. At most one line, never across a line boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaRequest {
    /// The endpoint, by index; the completion goes there.
    pub endpoint: u16,
    /// Chosen by the endpoint, returned in the completion.
    pub tag: u32,
    /// StreamID, as assigned by the root port.
    pub sid: u32,
    /// SubstreamID (PCIe PASID), if any.
    pub ssid: Option<u32>,
    /// Input address, or physical address for translated DMA.
    pub addr: u64,
    /// How `addr` is meant.
    pub kind: AddressType,
    /// What to do at that address; ignored for a translation request.
    pub op: Op,
    /// The bus has no such transaction: the SMMU refuses it (IHI 0070, 16.7.1). Meaningless for a translation request.
    pub unsupported: bool,
    /// What it says of itself.
    pub incoming: Incoming,
}

/// What an endpoint may do with a translation that it was given: an entry of a Translation Completion (PCIe ATS). That it holds
/// for all PASIDs (Global) is never said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// First byte of the region.
    pub pa: PhysAddr,
    /// log2 of the region's size.
    pub size_log2: u8,
    /// R: reads are permitted.
    pub read: bool,
    /// W: writes are permitted.
    pub write: bool,
    /// Exe: instruction fetches are permitted.
    pub execute: bool,
    /// Priv: all that is permitted to privileged accesses, not to unprivileged ones.
    pub privileged: bool,
    /// U: the region may be accessed with untranslated addresses only.
    pub untranslated_only: bool,
    /// N: accesses must not snoop caches.
    pub no_snoop: bool,
}

impl Grant {
    /// Whether there is anything to keep; both permissions are false where nothing is mapped.
    pub const fn permits_any(&self) -> bool {
        self.read || self.write
    }
}

/// The answer to a [`DmaRequest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DmaCompletion {
    /// The endpoint that asked.
    pub endpoint: u16,
    /// Its tag.
    pub tag: u32,
    /// What came of it.
    pub result: DmaResult,
}

/// What came of a DMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DmaResult {
    /// Done; the bytes read.
    Ok(Data),
    /// Refused by the SMMU or by memory.
    Aborted(Abort),
    /// Answer to a translation request (Success), even if it permits nothing.
    Translation(Grant),
    /// Unsupported Request, for a translation request.
    Unsupported,
}

/// CMD_ATC_INV on its way to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AtcInvalidate {
    /// Chosen by the SMMU, returned in the answer.
    pub tag: u32,
    /// Whose cache.
    pub sid: u32,
    /// Restricts to a PASID; `None` to translations without one.
    pub ssid: Option<u32>,
    /// All PASIDs are meant, not this one (Global Invalidate of PCIe). Never set without a PASID.
    pub global: bool,
    /// First byte.
    pub addr: u64,
    /// log2 of the number of bytes; 64 means everything.
    pub size_log2: u8,
}

impl AtcInvalidate {
    /// Whether it is about translations with this PASID, or without one. One without PASID is about those without only, one with a
    /// PASID and Global about those of all PASIDs (PCIe ATS).
    pub fn concerns(&self, ssid: Option<u32>) -> bool {
        self.ssid == ssid || self.global && ssid.is_some()
    }
}

/// How a group of page requests is answered (IHI 0070, 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageAnswer {
    /// The pages may be asked for again.
    Success,
    /// Some page does not exist, or may not be used so.
    Invalid,
    /// There is no paging for this device.
    Failure,
}

impl PageAnswer {
    /// What the message says.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0b0000,
            Self::Invalid => 0b0001,
            Self::Failure => 0b1111,
        }
    }
}

/// The answer to a group of page requests (PRI) on its way to an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageResponse {
    /// Whose requests.
    pub sid: u32,
    /// The PASID that the answer carries.
    pub ssid: Option<u32>,
    /// Page Request Group Index.
    pub group: u16,
    /// What it says.
    pub answer: PageAnswer,
}

/// A job that software gives an endpoint through its control port: one DMA of any length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Write (to memory) or read.
    pub write: bool,
    /// Input address of the first byte.
    pub iova: u64,
    /// SubstreamID, if any.
    pub ssid: Option<u32>,
    /// What its transactions say of themselves.
    pub incoming: Incoming,
    /// Number of bytes.
    pub len: u32,
    /// The bytes to write, repeated as needed; ignored for a read. Empty means zeros.
    pub pattern: Vec<u8>,
    /// Nothing of this SubstreamID follows: an endpoint that sends page requests ends with a stop marker.
    pub stop: bool,
}

/// How a [`Job`] ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobResult {
    /// Bytes transferred before the first abort.
    pub done: u32,
    /// Whether some part was aborted.
    pub aborted: bool,
    /// The bytes read.
    pub data: Vec<u8>,
}

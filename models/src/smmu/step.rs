//! What a translation and its driver say to each other.

use spec::smmu::EventRecord;

use super::atos::Answer;
use super::attributes::Attributes;
use super::request::RequestKind;
use crate::bus::{Abort, Data, PhysAddr};
use crate::dma::{DmaResult, Grant};

/// Which stage of translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StageIndex {
    /// Stage 1.
    One,
    /// Stage 2.
    Two,
}

/// A structure that takes time to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unit {
    /// The micro TLB.
    MicroTlb,
    /// The configuration cache: STE and, if that is there, CD.
    ConfigCache,
    /// The main TLB.
    MainTlb,
    /// The cache of stage-2 translations inside nested walks.
    IpaCache,
    /// A walk cache.
    WalkCache {
        /// Stage of the table.
        stage: StageIndex,
        /// Level of the descriptor, 0 to 2.
        level: u8,
    },
}

/// What the driver answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// At the start, and after the time of a [`Step::Lookup`].
    Go,
    /// After a [`Step::Read`]: exactly as many bytes as were asked for. After a [`Step::CompareSwap`]: the eight bytes that
    /// were found.
    Data(Result<Data, Abort>),
    /// In place of eight bytes of [`Input::Data`]: the word that they are, little-endian.
    Word(Result<u64, Abort>),
}

/// What a translation wants next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A structure is being consulted; answer [`Input::Go`] when that is over.
    Lookup(Unit),
    /// Memory is wanted; answer [`Input::Data`]. Aligned to `len`.
    Read {
        /// First byte.
        addr: PhysAddr,
        /// 8 or 64 bytes.
        len: u8,
    },
    /// A descriptor is to be changed by a single atomic access, if it is still what was read; answer [`Input::Data`].
    CompareSwap {
        /// First byte, aligned to 8.
        addr: PhysAddr,
        /// The word that was read, as memory holds it.
        expected: u64,
        /// What takes its place.
        new: u64,
    },
    /// The translation has ended and must not be resumed again.
    Done(Outcome),
}

impl Step {
    /// Whether only a translation that the TLBs do not serve comes here. Memory need not be read even then: what the walk
    /// caches know may be enough for a fault.
    pub const fn is_beyond_tlbs(&self) -> bool {
        matches!(self, Self::Lookup(Unit::WalkCache { .. } | Unit::IpaCache) | Self::Read { .. })
    }
}

/// The answer to an ATS translation request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AtsAnswer {
    /// Success. Addresses are intermediate ones if the stream's ATS is split-stage. It has no memory attributes: N is always 0,
    /// and of the accesses that use it the SMMU passes on what they bring.
    Translation(Grant),
    /// Unsupported Request.
    Unsupported,
    /// Completer Abort.
    Abort,
}

impl AtsAnswer {
    /// What the endpoint may use from now on: the output address, if there is any access, and log2 of the region's size.
    pub const fn told(&self) -> (Option<PhysAddr>, u8) {
        match *self {
            Self::Translation(grant) if grant.permits_any() => (Some(grant.pa), grant.size_log2),
            Self::Translation(_) | Self::Unsupported | Self::Abort => (None, 0),
        }
    }

    /// What the endpoint is sent.
    pub const fn result(self) -> DmaResult {
        match self {
            Self::Translation(grant) => DmaResult::Translation(grant),
            Self::Unsupported => DmaResult::Unsupported,
            Self::Abort => DmaResult::Aborted(Abort),
        }
    }
}

/// How a translation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The access may go on.
    Translated {
        /// Where the address of the request went.
        pa: PhysAddr,
        /// log2 of the size of the translation (or of the address space, where nothing is translated).
        size_log2: u8,
        /// Reads are permitted at the privilege of the request.
        read: bool,
        /// Writes are permitted at the privilege of the request.
        write: bool,
        /// Memory attributes with which the access leaves.
        attributes: Attributes,
        /// The translation came from a TLB.
        tlb_hit: bool,
        /// A TLB was filled with it.
        filled: bool,
    },
    /// The access fails.
    Abort {
        /// To be recorded.
        event: Option<EventRecord>,
    },
    /// The access succeeds without effect: reads see zeros, writes are dropped.
    ReadZeroWriteIgnored {
        /// To be recorded.
        event: Option<EventRecord>,
    },
    /// The access waits for CMD_RESUME; it is then a new translation.
    Stall {
        /// To be recorded, with STALL set; the STAG is for whoever keeps the stalled accesses.
        event: EventRecord,
    },
    /// The answer to an operation of software.
    Operation(Answer),
    /// The answer to a translation request.
    Ats {
        /// The answer.
        answer: AtsAnswer,
        /// To be recorded.
        event: Option<EventRecord>,
    },
    /// What a page request was to know.
    Ppar {
        /// STE.PPAR, if the stream has a valid STE.
        ppar: Option<bool>,
        /// To be recorded.
        event: Option<EventRecord>,
    },
}

impl Outcome {
    /// How everything ends once the SMMU is in Service Failure Mode (IHI 0070, 12.3).
    pub const fn of_failure(kind: RequestKind) -> Self {
        match kind {
            RequestKind::Ordinary | RequestKind::AtsTranslated => Self::Abort { event: None },
            RequestKind::AtsRequest { .. } => Self::Ats { answer: AtsAnswer::Abort, event: None },
            RequestKind::PageRequest => Self::Ppar { ppar: None, event: None },
            RequestKind::Operation(_) => Self::Operation(Answer::InternalError),
        }
    }

    /// The record that this outcome asks for.
    pub const fn event(&self) -> Option<EventRecord> {
        match *self {
            Self::Translated { .. } | Self::Operation(_) => None,
            Self::Abort { event }
            | Self::ReadZeroWriteIgnored { event }
            | Self::Ats { event, .. }
            | Self::Ppar { event, .. } => event,
            Self::Stall { event } => Some(event),
        }
    }
}

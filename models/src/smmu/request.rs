//! What is asked of the SMMU.

use super::atos::Lookup;
use super::attributes::Attributes;
use crate::dma::Incoming;

/// How the address of a request is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// An input address.
    Ordinary,
    /// An ATS translation request; no data moves.
    AtsRequest {
        /// NW=0: write permission is wanted.
        write: bool,
    },
    /// An access to an address that came from ATS.
    AtsTranslated,
    /// Software asks where an input address goes; no data moves.
    Operation(Lookup),
    /// No access: a page request was discarded, and STE.PPAR says how to answer it (IHI 0070, 8.1).
    PageRequest,
}

/// One access of a client device, or its request for a translation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// StreamID.
    pub sid: u32,
    /// SubstreamID, if the access has one.
    pub ssid: Option<u32>,
    /// Address.
    pub addr: u64,
    /// Memory is written.
    pub write: bool,
    /// Memory is read and written at once; `write` is set too.
    pub atomic: bool,
    /// Instruction fetch; meaningless for writes.
    pub instruction: bool,
    /// Privileged.
    pub privileged: bool,
    /// How the address is meant.
    pub kind: RequestKind,
    /// It is none that the SMMU supports (IHI 0070, 7.3.2); meaningless unless memory is accessed.
    pub unsupported: bool,
    /// Memory attributes that the access brings along.
    pub attributes: Attributes,
}

impl Request {
    /// An unprivileged data read without SubstreamID, of coherent memory.
    pub const fn read(sid: u32, addr: u64) -> Self {
        Self {
            sid,
            ssid: None,
            addr,
            write: false,
            atomic: false,
            instruction: false,
            privileged: false,
            kind: RequestKind::Ordinary,
            unsupported: false,
            attributes: Attributes::COHERENT,
        }
    }

    /// An unprivileged write without SubstreamID, of coherent memory.
    pub const fn write(sid: u32, addr: u64) -> Self {
        Self { write: true, ..Self::read(sid, addr) }
    }

    /// The same with a SubstreamID.
    #[must_use]
    pub const fn with_ssid(self, ssid: u32) -> Self {
        Self { ssid: Some(ssid), ..self }
    }

    /// The same, as the transaction says of itself.
    #[must_use]
    #[inline]
    pub const fn with_incoming(self, incoming: Incoming) -> Self {
        let Incoming { privileged, instruction, memory } = incoming;
        Self { privileged, instruction, attributes: memory, ..self }
    }

    /// What the transaction says of itself.
    pub const fn incoming(&self) -> Incoming {
        let Self { privileged, instruction, attributes: memory, .. } = *self;
        Incoming { privileged, instruction, memory }
    }

    /// The same without what it cannot say: only with a PASID does a request for a translation say for whom (IHI 0070, 13.7).
    #[must_use]
    pub const fn as_it_counts(self) -> Self {
        match (self.kind, self.ssid) {
            (RequestKind::AtsRequest { .. }, None) => Self { instruction: false, privileged: false, ..self },
            _ => self,
        }
    }

    /// The same, privileged.
    #[must_use]
    pub const fn privileged(self) -> Self {
        Self { privileged: true, ..self }
    }

    /// The same as an instruction fetch.
    #[must_use]
    pub const fn instruction(self) -> Self {
        Self { instruction: true, ..self }
    }

    /// The same with other memory attributes.
    #[must_use]
    pub const fn with_attributes(self, attributes: Attributes) -> Self {
        Self { attributes, ..self }
    }

    /// The same, of another kind.
    #[must_use]
    pub const fn of_kind(self, kind: RequestKind) -> Self {
        Self { kind, ..self }
    }
}

//! What software tells observers. Nothing may react to a note.

use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use sim::Time;
use spec::smmu::{Command, EventRecord};

use crate::errno::Errno;

/// Whose software acts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Actor {
    /// The host kernel or a VMM.
    #[default]
    Host,
    /// A guest, by VM index.
    Vm(u16),
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Vm(vm) => write!(f, "vm{vm}"),
        }
    }
}

/// A translation domain, by number; unique in a [`Journal`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DomainId(pub u32);

/// What a stream was attached to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// Aborts.
    Blocked,
    /// Passes untranslated.
    Bypass,
    /// A domain: its own stage 1 or stage 2.
    Domain(DomainId),
    /// A guest's stage 1 (or bypass of it) on top of this parent domain.
    Nested(DomainId),
}

/// Something that happened in software.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A mapping is in the tables; the call returns.
    Mapped {
        /// Whose software.
        by: Actor,
        /// Where.
        domain: DomainId,
        /// First input address.
        iova: u64,
        /// First output address, as the owner sees physical memory.
        pa: u64,
        /// Number of bytes.
        len: u64,
    },
    /// A mapping has left the tables; its invalidation starts.
    Unmapping {
        /// Whose software.
        by: Actor,
        /// Where.
        domain: DomainId,
        /// First input address.
        iova: u64,
        /// Number of bytes.
        len: u64,
    },
    /// The invalidation of a mapping has completed as far as software can know; the call returns.
    Unmapped {
        /// Whose software.
        by: Actor,
        /// Where.
        domain: DomainId,
        /// First input address.
        iova: u64,
        /// First output address before.
        pa: u64,
        /// Number of bytes.
        len: u64,
    },
    /// A stream has a new Stream Table Entry and the SMMU has been told.
    StreamAttached {
        /// Whose software.
        by: Actor,
        /// Which pSMMU (or vSMMU of a guest).
        smmu: u16,
        /// StreamID.
        sid: u32,
        /// To what.
        what: Attachment,
    },
    /// An iommufd (or VFIO) call returns.
    Ioctl {
        /// Whose software.
        by: Actor,
        /// The context that it was made on.
        context: String,
        /// The call.
        name: &'static str,
        /// What it was given.
        arguments: String,
        /// How it ended, and what it returned.
        result: Result<String, Errno>,
        /// Why it was refused, if the cause was noted.
        why: Option<String>,
    },
    /// A vCPU left guest mode.
    VmExit {
        /// Which VM.
        vm: u16,
        /// Why.
        why: &'static str,
        /// Guest-physical address, or 0.
        addr: u64,
    },
    /// A VMM took a command from a guest's trapped queue.
    GuestCommandConsumed {
        /// Which vSMMU.
        vsmmu: u16,
        /// Index in the ring, without wrap bit.
        index: u32,
        /// The command.
        raw: Command,
    },
    /// A VMM chose where to send a guest's command.
    Routed {
        /// Which vSMMU it came from.
        vsmmu: u16,
        /// The command.
        raw: Command,
        /// viommu objects that get it.
        to: Vec<u32>,
        /// viommu objects of the same vSMMU that do not.
        not_to: Vec<u32>,
    },
    /// An interrupt handler starts.
    Interrupt {
        /// Whose software.
        by: Actor,
        /// Interrupt number.
        intid: u32,
        /// Which handler.
        what: &'static str,
    },
    /// An event record that no sink took.
    EventReported {
        /// Whose software.
        by: Actor,
        /// Which SMMU.
        smmu: u16,
        /// The record.
        record: EventRecord,
    },
    /// The event queue had overflowed.
    EventQueueOverflow {
        /// Whose software.
        by: Actor,
        /// Which SMMU.
        smmu: u16,
    },
    /// Software found global errors active.
    GlobalError {
        /// Whose software.
        by: Actor,
        /// Which SMMU.
        smmu: u16,
        /// Active bits of GERROR.
        bits: u32,
    },
    /// Software found a command queue stopped by an error.
    CommandError {
        /// Whose software.
        by: Actor,
        /// Which SMMU.
        smmu: u16,
        /// The queue: "CMDQ" or "LVCMDQ 0.1".
        queue: String,
        /// CERROR code.
        code: u8,
        /// The command found at CONS, if it was skipped.
        skipped: Option<Command>,
    },
    /// Software gave up waiting.
    Timeout {
        /// Whose software.
        by: Actor,
        /// For what.
        what: String,
    },
    /// A line of a log.
    Print(String),
}

/// Shared list of notes. Clones write to the same list.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    notes: Vec<(Time, Note)>,
    domains: u32,
}

impl Journal {
    /// An empty journal.
    pub fn new() -> Self {
        Self::default()
    }
    /// Adds a note.
    pub fn push(&self, now: Time, note: Note) {
        self.0.lock().notes.push((now, note));
    }
    /// Takes all notes, oldest first.
    pub fn drain(&self) -> Vec<(Time, Note)> {
        std::mem::take(&mut self.0.lock().notes)
    }
    /// A number that no other domain has.
    pub fn next_domain(&self) -> DomainId {
        let mut inner = self.0.lock();
        inner.domains += 1;
        DomainId(inner.domains)
    }
}

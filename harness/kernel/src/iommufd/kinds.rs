//! What the objects of a context are.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use models::bus::PhysAddr;
use spec::smmu::Ste;

use super::host::{HostSmmu, PhysicalDevice};
use super::object::Id;
use crate::smmu::Domain;

/// An object's kind and payload.
#[derive(Debug)]
pub(super) enum Kind {
    Ioas(Ioas),
    Paging(Paging),
    Nested(Nested),
    Device(Device),
    Viommu(Viommu),
    Vdevice(Vdevice),
    Veventq(Veventq),
    HwQueue(HwQueue),
    /// The hidden pin of a HW_QUEUE.
    Access,
    /// RFCv1 only.
    Vqueue(Vqueue),
}

/// User memory: page frames of the host, in the order of the user's addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserMemory {
    /// Bytes per frame.
    pub page_size: u64,
    /// Host physical address of each frame.
    pub frames: Arc<Vec<PhysAddr>>,
}

impl UserMemory {
    /// Number of bytes.
    pub fn len(&self) -> u64 {
        self.frames.len() as u64 * self.page_size
    }
    /// Whether there are no frames.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }
    /// The host physical address behind a byte offset.
    pub fn at(&self, offset: u64) -> Option<PhysAddr> {
        let frame = self.frames.get(usize::try_from(offset / self.page_size).ok()?)?;
        Some(frame + offset % self.page_size)
    }
    /// Runs of physically contiguous bytes that cover `len` bytes from `offset`: (offset, address, length).
    pub fn runs(&self, offset: u64, len: u64) -> Vec<(u64, PhysAddr, u64)> {
        let mut runs: Vec<(u64, PhysAddr, u64)> = Vec::new();
        let mut at = offset;
        while at < offset + len {
            let step = (self.page_size - at % self.page_size).min(offset + len - at);
            let Some(pa) = self.at(at) else { break };
            match runs.last_mut() {
                Some((_, base, size)) if *base + *size == pa => *size += step,
                _ => runs.push((at, pa, step)),
            }
            at += step;
        }
        runs
    }
}

/// One IOAS_MAP: the granularity of unmapping and locking.
#[derive(Clone, Debug)]
pub(super) struct Area {
    pub(super) len: u64,
    pub(super) memory: UserMemory,
    pub(super) offset: u64,
    pub(super) readable: bool,
    pub(super) writeable: bool,
    /// How many HW_QUEUEs pin it.
    pub(super) locks: u32,
}

/// An I/O address space.
#[derive(Debug, Default)]
pub(super) struct Ioas {
    /// By first IOVA.
    pub(super) areas: BTreeMap<u64, Area>,
    /// Page tables that mirror it.
    pub(super) hwpts: Vec<Id>,
    /// A device with a software-MSI window is, or was, attached.
    pub(super) msi_reserved: bool,
}

/// A page table that mirrors an IOAS.
#[derive(Debug)]
pub(super) struct Paging {
    pub(super) ioas: Id,
    pub(super) smmu: Arc<HostSmmu>,
    pub(super) domain: Arc<Domain>,
    pub(super) nest_parent: bool,
    /// Made by attaching to an IOAS; goes away with the last detach.
    pub(super) automatic: bool,
}

/// A guest's stage 1 (a vSTE).
#[derive(Debug)]
pub(super) struct Nested {
    pub(super) viommu: Id,
    /// The stored vSTE words, EATS stripped.
    pub(super) vste: Ste,
    pub(super) guest_ats: bool,
}

/// A bound device.
#[derive(Debug)]
pub(super) struct Device {
    pub(super) device: Arc<PhysicalDevice>,
    pub(super) attached: Option<Id>,
    pub(super) vdevice: Option<Id>,
    pub(super) destroying: bool,
    /// Copy of (viommu, virtual id) made at the last attach of a nested table.
    pub(super) vmaster: Option<(Id, u64)>,
    /// RFCv1: viommus linked to this device, by viommu id.
    pub(super) viommus: BTreeMap<u32, Id>,
}

/// A slice of one pSMMU given to one VM.
#[derive(Debug)]
pub(super) struct Viommu {
    pub(super) smmu: Arc<HostSmmu>,
    pub(super) parent: Id,
    /// By virtual id.
    pub(super) vdevices: BTreeMap<u64, Id>,
    /// By event type.
    pub(super) veventqs: BTreeMap<u32, Id>,
    pub(super) vintf: Option<Vintf>,
    /// RFCv1: devices linked to this viommu, by device id.
    pub(super) idevs: BTreeMap<u32, Id>,
}

/// The CMDQV side of a viommu.
#[derive(Debug)]
pub(super) struct Vintf {
    pub(super) index: u8,
    /// mmap offset of the window.
    pub(super) window: u64,
    /// Allocated logical queues.
    pub(super) queues: BTreeMap<u32, Id>,
    /// RFCv1: the SID slot of each linked device, by device id.
    pub(super) linked: BTreeMap<u32, u8>,
}

/// (viommu, device, virtual id).
#[derive(Debug)]
pub(super) struct Vdevice {
    pub(super) viommu: Id,
    pub(super) device: Id,
    pub(super) virt_id: u64,
    pub(super) slot: Option<u8>,
}

/// Events of one type for user space.
#[derive(Debug)]
pub(super) struct Veventq {
    pub(super) viommu: Id,
    pub(super) kind: u32,
    pub(super) depth: u32,
    pub(super) records: VecDeque<Vevent>,
    pub(super) next_sequence: u32,
    /// Descriptors open on it.
    pub(super) open: u32,
    /// Raised when a record waits.
    pub(super) signal: Option<models::cpu::SignalId>,
}

/// One record of an event queue as user space reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vevent {
    /// Counts every reported event, lost ones too.
    pub sequence: u32,
    /// Little-endian words of the payload; `None` for the lost-events marker.
    pub payload: Option<Vec<u64>>,
}

impl Vevent {
    /// Bytes of a record's header, and of all of the lost-events marker.
    pub const HEADER: u64 = 8;

    /// Bytes that it takes in a reader's buffer.
    pub fn bytes(&self) -> u64 {
        Self::HEADER + 8 * self.payload.as_ref().map_or(0, Vec::len) as u64
    }
}

/// A queue in guest memory that hardware consumes.
#[derive(Debug)]
pub(super) struct HwQueue {
    pub(super) viommu: Id,
    pub(super) index: u32,
    pub(super) access: Id,
    pub(super) ioas: Id,
    /// First IOVA of the areas it locks.
    pub(super) areas: Vec<u64>,
    pub(super) previous: Option<Id>,
    /// Bytes of the ring.
    pub(super) length: u64,
}

/// RFCv1's queue.
#[derive(Debug)]
pub(super) struct Vqueue {
    pub(super) viommu: Id,
    pub(super) index: u32,
}

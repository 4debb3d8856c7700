//! A virtual machine: its address space, exits and interrupts.

use std::collections::BTreeMap;
use std::sync::Arc;

use models::cpu::{Cpu, CpuId, SignalId};
use parking_lot::{Mutex, RwLock};
use sim::Time;

use super::space::{Emulated, GuestSpace, Region, Resolved};
use crate::errno::Errno;
use crate::iommufd::{Context, Id, IoasMap, UserMemory, map_flags};
use crate::journal::{Journal, Note};
use crate::sync::Lock;

/// What leaving a guest costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VmCosts {
    /// From the trapping instruction to the VMM's handler in user space.
    pub exit: Time,
    /// From the handler's end back to the guest.
    pub entry: Time,
    /// The emulation of one register access.
    pub emulate: Time,
    /// Decoding one command of a trapped queue.
    pub command: Time,
    /// Raising an interrupt in the guest.
    pub inject: Time,
}

impl Default for VmCosts {
    /// Engineering estimates for KVM with a user-space device model.
    fn default() -> Self {
        Self {
            exit: Time::ns(2_000),
            entry: Time::ns(1_500),
            emulate: Time::ns(300),
            command: Time::ns(200),
            inject: Time::ns(1_000),
        }
    }
}

/// How a VM is made.
#[derive(Clone, Debug)]
pub struct VmConfig {
    /// Number among the VMs of the machine.
    pub index: u16,
    /// What it is called.
    pub name: String,
    /// Physical CPUs that its virtual CPUs are pinned to.
    pub cpus: Vec<CpuId>,
    /// Where its memory begins in the guest-physical space; normally [`Vm::RAM_BASE`].
    pub base: u64,
    /// Its memory.
    pub memory: UserMemory,
    /// Cost of exits.
    pub costs: VmCosts,
    /// A zeroed cache line of host memory for the VMM's big lock.
    pub lock_line: u64,
}

/// A virtual machine.
#[derive(Debug)]
pub struct Vm {
    /// As given.
    pub config: VmConfig,
    /// Observers.
    pub journal: Journal,
    /// The VMM's big lock.
    pub(super) lock: Lock,
    space: RwLock<GuestSpace>,
    counters: Mutex<Counters>,
}

#[derive(Debug, Default)]
struct Counters {
    exits: BTreeMap<&'static str, u64>,
    direct: u64,
    /// Per interrupt: how many raises the guest has consumed.
    consumed: BTreeMap<u32, u64>,
}

/// Signals of one VM: one per interrupt number.
const SIGNALS_PER_VM: u32 = 1 << 12;
/// First signal used for guest interrupts.
const FIRST_SIGNAL: u32 = 1 << 20;

impl Vm {
    /// Where guest memory usually begins in the guest-physical space.
    pub const RAM_BASE: u64 = 0x4000_0000;

    /// A machine with memory and nothing else.
    pub fn new(config: VmConfig, journal: Journal) -> Arc<Self> {
        let mut space = GuestSpace::default();
        let memory = config.memory.clone();
        space.map(config.base, memory.len(), Region::Ram { memory, offset: 0 });
        let lock = Lock::new(config.lock_line);
        Arc::new(Self { config, journal, lock, space: RwLock::new(space), counters: Mutex::default() })
    }
    /// What it is called.
    pub fn name(&self) -> &str {
        &self.config.name
    }
    /// Maps all memory into an IOAS at its guest-physical address.
    ///
    /// # Errors
    /// Those of IOAS_MAP.
    pub async fn map_memory(&self, cpu: &Cpu, context: &Context, ioas: Id) -> Result<(), Errno> {
        let cmd = IoasMap {
            ioas,
            flags: map_flags::FIXED_IOVA | map_flags::READABLE | map_flags::WRITEABLE,
            memory: self.config.memory.clone(),
            offset: 0,
            length: self.config.memory.len(),
            iova: self.config.base,
        };
        context.ioas_map(cpu, &cmd).await.map(|_| ())
    }
    /// Changes the guest's address space.
    pub fn map(&self, gpa: u64, len: u64, region: Region) {
        self.space.write().map(gpa, len, region);
    }
    /// Changes the guest's address space.
    pub fn unmap(&self, gpa: u64, len: u64) {
        self.space.write().unmap(gpa, len);
    }
    /// What lies at a guest-physical address.
    pub fn resolve(&self, gpa: u64) -> Resolved {
        self.space.read().resolve(gpa)
    }
    /// The host memory behind a range of guest memory.
    pub fn memory_at(&self, gpa: u64, len: u64) -> Option<Vec<(u64, u64)>> {
        self.space.read().memory(gpa, len)
    }
    /// Reads guest memory on behalf of the VMM; all ones where there is none.
    pub async fn read_memory(&self, cpu: &Cpu, gpa: u64, bytes: &mut [u8]) {
        let Some(pieces) = self.memory_at(gpa, bytes.len() as u64) else {
            bytes.fill(0xff);
            return;
        };
        let mut at = 0;
        for (pa, len) in pieces {
            cpu.load(pa, &mut bytes[at..at + len as usize]).await;
            at += len as usize;
        }
    }
    /// Writes guest memory on behalf of the VMM; dropped where there is none.
    pub async fn write_memory(&self, cpu: &Cpu, gpa: u64, bytes: &[u8]) {
        let Some(pieces) = self.memory_at(gpa, bytes.len() as u64) else { return };
        let mut at = 0;
        for (pa, len) in pieces {
            cpu.store(pa, &bytes[at..at + len as usize]).await;
            at += len as usize;
        }
    }

    /// The signal that stands for an interrupt of this guest.
    pub fn interrupt_signal(&self, intid: u32) -> SignalId {
        SignalId(FIRST_SIGNAL + u32::from(self.config.index) * SIGNALS_PER_VM + intid % SIGNALS_PER_VM)
    }
    /// Raises an interrupt in the guest.
    pub async fn inject(&self, cpu: &Cpu, intid: u32) {
        cpu.delay(self.config.costs.inject).await;
        cpu.signal(self.interrupt_signal(intid)).await;
    }
    pub(super) fn consumed(&self, intid: u32) -> u64 {
        self.counters.lock().consumed.get(&intid).copied().unwrap_or(0)
    }
    pub(super) fn consume(&self, intid: u32, count: u64) {
        self.counters.lock().consumed.insert(intid, count);
    }

    /// Counts an access that reached hardware without an exit.
    pub(super) fn count_direct(&self) {
        self.counters.lock().direct += 1;
    }
    /// Exits by reason.
    pub fn exits(&self) -> BTreeMap<&'static str, u64> {
        self.counters.lock().exits.clone()
    }
    /// Accesses of passed-through device pages.
    pub fn direct_accesses(&self) -> u64 {
        self.counters.lock().direct
    }

    /// A trapped read: exit, emulation, entry.
    pub(super) async fn trap_read(&self, cpu: &Cpu, gpa: u64, len: u8) -> u64 {
        let target = self.resolve(gpa);
        self.leave_guest(cpu, &target, false, gpa).await;
        let value = match target {
            Resolved::Trapped(Emulated::Smmu(smmu), offset) => smmu.read(cpu, offset, len).await,
            Resolved::Trapped(Emulated::Cmdqv(cmdqv), offset) => cmdqv.read(cpu, offset, len).await,
            Resolved::Trapped(Emulated::Mirror(mirror), offset) => mirror.read(cpu, offset, len).await,
            _ => u64::MAX >> (64 - 8 * u32::from(len)),
        };
        cpu.delay(self.config.costs.entry).await;
        value
    }
    /// A trapped write.
    pub(super) async fn trap_write(&self, cpu: &Cpu, gpa: u64, len: u8, value: u64) {
        let target = self.resolve(gpa);
        self.leave_guest(cpu, &target, true, gpa).await;
        match target {
            Resolved::Trapped(Emulated::Smmu(smmu), offset) => smmu.write(cpu, offset, len, value).await,
            Resolved::Trapped(Emulated::Cmdqv(cmdqv), offset) => cmdqv.write(cpu, offset, len, value).await,
            Resolved::Trapped(Emulated::Mirror(mirror), offset) => {
                mirror.write(cpu, offset, len, value).await;
            }
            _ => {}
        }
        cpu.delay(self.config.costs.entry).await;
    }
    async fn leave_guest(&self, cpu: &Cpu, target: &Resolved, write: bool, gpa: u64) {
        let why = match (target, write) {
            (Resolved::Trapped(Emulated::Smmu(_), _), false) => "vsmmu_read",
            (Resolved::Trapped(Emulated::Smmu(_), _), true) => "vsmmu_write",
            (Resolved::Trapped(Emulated::Cmdqv(c), offset), write) => match (c.is_queue_page(*offset), write)
            {
                (true, false) => "vcmdqv_page0_read",
                (true, true) => "vcmdqv_page0_write",
                (false, false) => "vcmdqv_read",
                (false, true) => "vcmdqv_write",
            },
            (Resolved::Trapped(Emulated::Mirror(_), _), false) => "mirror_read",
            (Resolved::Trapped(Emulated::Mirror(_), _), true) => "mirror_write",
            (_, false) => "unmapped_read",
            (_, true) => "unmapped_write",
        };
        *self.counters.lock().exits.entry(why).or_default() += 1;
        self.journal.push(cpu.now(), Note::VmExit { vm: self.config.index, why, addr: gpa });
        cpu.delay(self.config.costs.exit).await;
    }
}

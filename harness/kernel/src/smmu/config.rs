//! What a driver is told: where its SMMU is, what to use of it, what its own instructions cost.

use sim::Time;

use crate::cmdqv::CmdqvConfig;
use crate::journal::Actor;

/// How CPUs reserve slots in a command queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Insertion {
    /// Linux: compare and swap on producer and consumer index together; retries under contention.
    #[default]
    LinuxCmpxchg,
    /// Fetch and add on the producer index (J. Garry, 2020): no retries; waits for space after reserving.
    FetchAdd,
}

/// Interrupts of an SMMU, and how they arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupts {
    /// Number of the global-error interrupt.
    pub gerror: u32,
    /// Number of the event-queue interrupt.
    pub eventq: u32,
    /// Number of the PRI-queue interrupt.
    pub priq: u32,
    /// Address that MSIs are written to (data is the number); `None` uses wires.
    pub doorbell: Option<u64>,
    /// Address of the interrupt controller's route of interrupt 0 (4 bytes each); `None` leaves routes alone.
    pub routes: Option<u64>,
}

/// What the driver may use if the hardware has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// CMD_SYNC by a message into its own slot (Linux: MSI polling).
    pub msi_polling: bool,
    /// Wake-up events for CMD_SYNC.
    pub sev: bool,
    /// Range invalidation.
    pub ril: bool,
    /// ATS.
    pub ats: bool,
    /// The PRI queue.
    pub pri: bool,
    /// 2-level Stream table.
    pub two_level: bool,
    /// Stage 2 that forces Write-Back.
    pub fwb: bool,
    /// The host runs at EL2 with E2H: its own stage-1 streams are EL2-E2H.
    pub e2h: bool,
    /// A hint to fetch the configuration after every change of an STE.
    pub prefetch: bool,
    /// The CMDQV block.
    pub cmdqv: bool,
}

impl Default for Wanted {
    fn default() -> Self {
        Self {
            msi_polling: true,
            sev: true,
            ril: true,
            ats: true,
            pri: false,
            two_level: true,
            fwb: true,
            e2h: false,
            prefetch: true,
            cmdqv: true,
        }
    }
}

/// What the driver's own instructions cost, besides its accesses to memory and registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Entering and leaving the command issue path.
    pub issue: Time,
    /// Building one command.
    pub command: Time,
    /// Entering and leaving a map call.
    pub map: Time,
    /// Entering and leaving an unmap call.
    pub unmap: Time,
    /// Computing one leaf descriptor.
    pub leaf: Time,
    /// Entry of an interrupt handler thread.
    pub interrupt: Time,
    /// Pause between two polls of a register while spinning.
    pub relax: Time,
}

impl Default for Costs {
    /// Engineering estimates for a 3 GHz core, in line with `dma_map_benchmark` (4 KiB map of about 0.1 us).
    fn default() -> Self {
        Self {
            issue: Time::ns(60),
            command: Time::ns(5),
            map: Time::ns(60),
            unmap: Time::ns(80),
            leaf: Time::ns(1),
            interrupt: Time::ns(500),
            relax: Time::ns(20),
        }
    }
}

/// All that a driver is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Whose driver it is.
    pub by: Actor,
    /// Number of the pSMMU, or of the vSMMU of a guest; for notes.
    pub smmu: u16,
    /// Register page 0, as the owner sees physical memory.
    pub base: u64,
    /// The CMDQV block next to it, if there is one.
    pub cmdqv: Option<CmdqvConfig>,
    /// Interrupts.
    pub interrupts: Interrupts,
    /// What to use.
    pub wanted: Wanted,
    /// How slots are reserved.
    pub insertion: Insertion,
    /// Own costs.
    pub costs: Costs,
    /// log2 of the most entries of the command queue and of each LVCMDQ.
    pub cmdq_log2_max: u8,
    /// log2 of the most entries of the event queue.
    pub eventq_log2_max: u8,
    /// log2 of the most entries of the PRI queue.
    pub priq_log2_max: u8,
    /// Stage-1 input addresses have at most this many bits.
    pub va_bits: u8,
    /// How long a CMD_SYNC or a handshake may take.
    pub timeout: Time,
    /// The firmware's tables name a Tegra264 SMMU: invalidations are issued twice.
    pub repeat_invalidations: bool,
}

impl Config {
    /// An SMMU at `base`: wired interrupts `intid`, `intid + 1`, `intid + 2` (GERROR, event queue, PRI queue), no CMDQV,
    /// everything else by default.
    pub fn new(by: Actor, smmu: u16, base: u64, intid: u32) -> Self {
        Self {
            by,
            smmu,
            base,
            cmdqv: None,
            interrupts: Interrupts {
                gerror: intid,
                eventq: intid + 1,
                priq: intid + 2,
                doorbell: None,
                routes: None,
            },
            wanted: Wanted::default(),
            insertion: Insertion::default(),
            costs: Costs::default(),
            cmdq_log2_max: 10,
            eventq_log2_max: 9,
            priq_log2_max: 9,
            va_bits: 48,
            timeout: Time::ms(1000),
            repeat_invalidations: false,
        }
    }
}

//! What no public source settles about the silicon, as options. K1 to K19 are fixed names; the default of each is the
//! reading that the known software (the Linux drivers, QEMU's device, the GPU driver) tolerates or suggests.

/// One choice per open question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Knobs {
    /// K1: CERROR of an opcode that HYP_OWN=0 may not use. Inferred from the vendor's "illegal command".
    pub forbidden_opcode: Refusal,
    /// K2: CERROR of a StreamID that no slot matches. Inferred from the vendor's "illegal command".
    pub unmatched_sid: Refusal,
    /// K3: CMD_SYNC that asks for an interrupt or an event. Linux never sends one here.
    pub sync_signal: SyncSignal,
    /// K4: TLBI_NH_ALL and TLBI_NH_VAA for HYP_OWN=0. Both are missing in the vendor's list of 2021.
    pub guest_nh_all: GuestNhAll,
    /// K5: LVCMDQs allocated other than in ascending or deallocated other than in descending order. The order is
    /// demanded by the vendor; what happens otherwise is not said.
    pub allocation_order: AllocationOrder,
    /// K6: BASE or CONS_INDX_BASE written while the queue is enabled. QEMU has done both.
    pub base_write_enabled: BaseWrite,
    /// K7: VINTF_INT_MASK cleared while an error is active. QEMU sends nothing.
    pub unmask: Unmask,
    /// K8: CMD_SYNC of the hardware's own when the arbiter leaves a queue. On by default according to the vendor.
    pub auto_sync: AutoSync,
    /// K9: GERROR and GERRORN when a queue is allocated. Inferred: anything else would raise an error for the next
    /// owner, whose software starts with GERRORN=0.
    pub gerror_on_allocation: OnAllocation,
    /// K10: other registers of a queue when it is deallocated. They can be programmed before allocation (QEMU).
    pub registers_on_deallocation: OnDeallocation,
    /// K11: what a queue does with its backlog when it is disabled. Not said anywhere; software copes with all.
    pub backlog: Backlog,
    /// K12: unit of CONFIG.CMDQ_MAX_CLK_BATCH. Inferred from QEMU's reset value 0x08, called 256 clocks there.
    pub clock_batch: ClockBatch,
    /// K13: VINTF STATUS.VI_NUM_LVCMDQ. Its meaning is inferred from its name; QEMU reads 0.
    pub lvcmdq_count: LvcmdqCount,
    /// K14: VCMDQs while the SMMU's CR0.CMDQEN or CR0.SMMUEN is 0. Linux never lets it happen.
    pub smmu_disabled: SmmuDisabled,
    /// K15: CMDQ_ALLOC entries when the block is disabled. Linux rewrites them all afterwards.
    pub allocations_on_disable: AllocationsOnDisable,
    /// K16: the erratum of Tegra264 by which invalidations must be issued twice. The command engine applies it.
    pub repeat_invalidations: RepeatInvalidations,
    /// K17: CONFIG.CMDQV_EN at reset. The GPU driver finds it set.
    pub reset_enable: ResetEnable,
    /// K18: STATUS of a queue that is enabled but not allocated, in the direct aperture. QEMU reads 1.
    pub unallocated_status: UnallocatedStatus,
    /// K19: GERRORN written so that it differs from GERROR without an error. Unpredictable for the SMMU's own pair.
    pub gerrorn_difference: GerrornDifference,
}

macro_rules! options {
    ($($(#[doc = $doc:literal])+ $name:ident { $(#[doc = $first_doc:literal])+ $first:ident,
        $($(#[doc = $other_doc:literal])+ $other:ident,)+ })+) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub enum $name { $(#[doc = $first_doc])+ #[default] $first, $($(#[doc = $other_doc])+ $other,)+ }
    )+ };
}

options! {
    /// CERROR of a refused command (K1, K2).
    Refusal {
        /// CERROR_ILL, 1.
        Illegal,
        /// CERROR_ILL_ACCESS, 4.
        IllegalAccess,
    }
    /// K3.
    SyncSignal {
        /// Completes as with CS=0; a lint says so.
        AsNone,
        /// CERROR_ILL.
        Illegal,
        /// The command goes to the engine as it is.
        Signal,
    }
    /// K4.
    GuestNhAll {
        /// Refused as other opcodes (K1).
        Illegal,
        /// Executed with the VINTF's VMID.
        Legal,
    }
    /// K5.
    AllocationOrder {
        /// Done; a lint says so.
        Accept,
        /// ALLOCATED keeps its value.
        Refuse,
        /// Done, and no queue of that VINTF makes progress until the block is disabled.
        Hang,
    }
    /// K6.
    BaseWrite {
        /// Ignored; a lint says so.
        Ignore,
        /// Stored, and sampled when the queue is enabled next.
        NextEnable,
    }
    /// K7.
    Unmask {
        /// The edge is lost.
        NoEdge,
        /// One edge if an error is active.
        Edge,
    }
    /// K8.
    AutoSync {
        /// The arbiter inserts one unless the last command was a CMD_SYNC.
        On,
        /// None is inserted.
        Off,
    }
    /// K9.
    OnAllocation {
        /// Both become 0.
        Clear,
        /// Both keep their values.
        Preserve,
    }
    /// K10.
    OnDeallocation {
        /// They keep their values.
        Preserve,
        /// They become 0.
        Clear,
    }
    /// K11.
    Backlog {
        /// The command in execution finishes; CONS stays behind it.
        Stop,
        /// Everything up to PROD is executed first.
        Drain,
        /// The command in execution finishes; CONS then jumps to PROD.
        Drop,
    }
    /// K12.
    ClockBatch {
        /// 32 clocks.
        Times32,
        /// 4 clocks.
        Times4,
        /// 1 clock.
        Times1,
    }
    /// K13.
    LvcmdqCount {
        /// Number of LVCMDQs allocated.
        Allocated,
        /// Always 0.
        Zero,
    }
    /// K14.
    SmmuDisabled {
        /// They go on.
        Run,
        /// They wait.
        Pause,
    }
    /// K15.
    AllocationsOnDisable {
        /// ALLOCATED stays; the mapping does nothing until the block is enabled again.
        Keep,
        /// ALLOCATED becomes 0.
        Clear,
    }
    /// K16.
    RepeatInvalidations {
        /// No erratum.
        Off,
        /// The first of two equal sequences may be lost.
        On,
    }
    /// K17.
    ResetEnable {
        /// Firmware has enabled the block.
        Enabled,
        /// The block is off.
        Disabled,
    }
    /// K18.
    UnallocatedStatus {
        /// 0.
        Zero,
        /// CONFIG.CMDQ_EN.
        FollowsConfig,
    }
    /// K19.
    GerrornDifference {
        /// The queue stops and the maps show it; no edge.
        Stall,
        /// The same, with an edge.
        StallWithEdge,
        /// Bits that would differ anew are not stored.
        Ignore,
    }
}

impl ClockBatch {
    /// Clocks per unit of the field.
    pub const fn clocks(self) -> u32 {
        match self {
            Self::Times32 => 32,
            Self::Times4 => 4,
            Self::Times1 => 1,
        }
    }
}

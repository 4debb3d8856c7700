//! What a CMDQV block is made of.

use spec::cmdqv::config::PARAM;

use super::knobs::Knobs;
use crate::smmu::arbiter::Policy;

/// Sizes, reset values, options and faults of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CmdqvConfig {
    /// PARAM.VER.
    pub version: u8,
    /// log2 of the number of VINTFs, at most 6.
    pub vintfs_log2: u8,
    /// log2 of the number of VCMDQs, at most 7.
    pub vcmdqs_log2: u8,
    /// log2 of the number of StreamID slots per VINTF, at most 4.
    pub sids_log2: u8,
    /// Largest LOG2SIZE: IDR1.CMDQS of the SMMU, at most 19.
    pub cmdqs: u8,
    /// CONFIG after reset except CMDQV_EN, which K17 decides.
    pub reset_config: u32,
    /// Whether VINTF CONFIG.HYP_OWN can be set. False in a block that is presented to a virtual machine.
    pub hyp_own_writable: bool,
    /// Commands per fetch, 1 to 4: a fetch stays within a cache line.
    pub burst: u8,
    /// Commands per queue that may be fetched ahead of execution, counting those under way; at least `burst`.
    pub prefetch: u16,
    /// Which queue has the next turn, the SMMU's own included.
    pub arbitration: Policy,
    /// Open questions.
    pub knobs: Knobs,
    /// Injected defects.
    pub faults: Faults,
}

impl Default for CmdqvConfig {
    /// Tegra241: 64 VINTFs, 128 VCMDQs, 16 slots, rings of up to 2^19 commands. Burst and prefetch depth are assumed.
    fn default() -> Self {
        Self {
            version: 1,
            vintfs_log2: 6,
            vcmdqs_log2: 7,
            sids_log2: 4,
            cmdqs: 19,
            reset_config: 0x0002_0082,
            hyp_own_writable: true,
            burst: 4,
            prefetch: 8,
            arbitration: Policy::default(),
            knobs: Knobs::default(),
            faults: Faults::default(),
        }
    }
}

impl CmdqvConfig {
    /// The value of PARAM.
    pub fn param(&self) -> PARAM {
        PARAM(0)
            .with_ver(self.version.into())
            .with_num_vintf_log2(self.vintfs_log2.into())
            .with_num_vcmdq_log2(self.vcmdqs_log2.into())
            .with_num_sid_per_vm_log2(self.sids_log2.into())
    }
    /// Number of VINTFs.
    pub const fn vintfs(&self) -> usize {
        1 << self.vintfs_log2
    }
    /// Number of VCMDQs.
    pub const fn vcmdqs(&self) -> usize {
        1 << self.vcmdqs_log2
    }
    /// Number of StreamID slots of a VINTF.
    pub const fn sids(&self) -> usize {
        1 << self.sids_log2
    }
    /// Checks the limits given at each field.
    ///
    /// # Errors
    /// Says which limit is exceeded.
    pub fn check(&self) -> Result<(), String> {
        let rows = [
            ("version", u64::from(self.version), 0, 15),
            ("vintfs_log2", self.vintfs_log2.into(), 0, 6),
            ("vcmdqs_log2", self.vcmdqs_log2.into(), 0, 7),
            ("sids_log2", self.sids_log2.into(), 0, 4),
            ("cmdqs", self.cmdqs.into(), 1, 19),
            ("burst", self.burst.into(), 1, 4),
            ("prefetch", self.prefetch.into(), self.burst.into(), u64::from(u16::MAX)),
        ];
        match rows.into_iter().find(|&(_, value, low, high)| !(low..=high).contains(&value)) {
            Some((name, value, low, high)) => {
                Err(format!("cmdqv {name} is {value}; it must be {low} to {high}"))
            }
            None => Ok(()),
        }
    }
}

/// Which VINTFs have a defect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vintfs {
    /// None.
    #[default]
    None,
    /// All.
    All,
    /// This one.
    One(u8),
}

impl Vintfs {
    pub(super) fn has(self, vintf: u8) -> bool {
        match self {
            Self::None => false,
            Self::All => true,
            Self::One(only) => only == vintf,
        }
    }
}

/// Two StreamID slots that are taken for each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwappedSlots {
    /// Of this VINTF.
    pub vintf: u8,
    /// One and the other.
    pub slots: (u8, u8),
}

impl SwappedSlots {
    /// The slot that is used in place of one of a VINTF.
    pub(super) fn used_for(self, vintf: u8, slot: usize) -> usize {
        let (a, b) = (usize::from(self.slots.0), usize::from(self.slots.1));
        match slot {
            _ if vintf != self.vintf => slot,
            _ if slot == a => b,
            _ if slot == b => a,
            _ => slot,
        }
    }
}

/// Defects of the silicon that a scenario can ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// StreamID replacement takes PHYS_SID of the other one of two slots.
    pub swapped_sid_slots: Option<SwappedSlots>,
    /// This VINTF never reports that it is enabled.
    pub stuck_vintf: Option<u8>,
    /// A slot goes on matching after its SID_MATCH was cleared.
    pub sid_match_sticks: bool,
    /// TLBI of HYP_OWN=0 keeps the VMID that the guest wrote.
    pub keep_guest_vmid: Vintfs,
    /// ATC_INV of HYP_OWN=0 keeps the StreamID that the guest wrote, if a slot matches it.
    pub keep_guest_sid: Vintfs,
    /// HYP_OWN=0 may use every opcode.
    pub admit_everything: bool,
    /// Every `n`th interrupt edge is lost (1 loses all).
    pub lose_edge_every: Option<u32>,
    /// Commands fetched before an error are used after it.
    pub keep_prefetched: bool,
    /// STATUS of a queue becomes 0 while work is still under way.
    pub early_disable: bool,
}

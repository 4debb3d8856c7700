//! What no public source settles about the silicon, as options. K1 to K19 are fixed names; the default of each is the
//! reading that the known software (the Linux drivers, QEMU's device, the GPU driver) tolerates or suggests.
//!
//! One table declares them: the options with their names and sources, and the values that they can take. The fields of
//! [`Knobs`], [`Knobs::TABLE`] and the words of scenario files and command lines come from it.

use std::fmt;

use super::provenance::{Source, Sources};

/// A value that an option can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Value {
    /// Its name where people write it.
    pub name: &'static str,
    /// What it means.
    pub doc: &'static str,
}

/// An option, for who sets or shows it by name.
#[derive(Clone, Copy, Debug)]
pub struct Knob {
    /// K1 to K19.
    pub number: &'static str,
    /// Its name where people write it.
    pub name: &'static str,
    /// What it is about, and what is known.
    pub doc: &'static str,
    /// Where the default comes from.
    pub sources: Sources,
    /// What it can be; the default first.
    pub values: &'static [Value],
    get: fn(&Knobs) -> usize,
    set: fn(&mut Knobs, usize),
}

impl Knob {
    /// The name of the default value.
    pub const fn default(&self) -> &'static str {
        self.values[0].name
    }
    /// The values other than the default.
    pub fn alternatives(&self) -> &'static [Value] {
        &self.values[1..]
    }
    /// The name of the value that it has.
    pub fn get(&self, knobs: &Knobs) -> &'static str {
        self.values[(self.get)(knobs)].name
    }
}

/// A name that means nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KnobError {
    /// No option is called so.
    Name(String),
    /// The option has no such value.
    Value {
        /// Name of the option.
        knob: &'static str,
        /// What was asked for.
        value: String,
    },
}

impl fmt::Display for KnobError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => {
                let names: Vec<_> = Knobs::TABLE.iter().map(|knob| knob.name).collect();
                write!(f, "no CMDQV option is called `{name}`; there are {}", names.join(", "))
            }
            Self::Value { knob, value } => {
                let values = Knobs::named(knob).map_or(&[][..], |knob| knob.values);
                let values: Vec<_> = values.iter().map(|value| value.name).collect();
                write!(f, "`{knob}` cannot be `{value}`; it can be {}", values.join(", "))
            }
        }
    }
}

impl std::error::Error for KnobError {}

impl Knobs {
    /// An option by name or number.
    pub fn named(name: &str) -> Option<&'static Knob> {
        Self::TABLE.iter().find(|knob| knob.name == name || knob.number == name)
    }

    /// The name of the value of an option; none if there is no such option.
    pub fn get(&self, name: &str) -> Option<&'static str> {
        Self::named(name).map(|knob| knob.get(self))
    }

    /// Sets an option, by names.
    ///
    /// # Errors
    /// If one of the names is not in the table. Nothing has changed then.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), KnobError> {
        let knob = Self::named(name).ok_or_else(|| KnobError::Name(name.to_owned()))?;
        let index = knob.values.iter().position(|v| v.name == value);
        let index = index.ok_or_else(|| KnobError::Value { knob: knob.name, value: value.to_owned() })?;
        (knob.set)(self, index);
        Ok(())
    }
}

macro_rules! options {
    (
        knobs { $(
            $(#[doc = $doc:literal])+
            $number:ident [$($source:ident)+] $knob:literal = $field:ident: $type:ident,
        )+ }
        values { $(
            $(#[doc = $type_doc:literal])+
            $name:ident {
                $(#[doc = $first_doc:literal])+ $first:ident = $first_word:literal,
                $($(#[doc = $other_doc:literal])+ $other:ident = $other_word:literal,)+
            }
        )+ }
    ) => {
        /// One choice per open question.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Knobs { $(
            #[doc = concat!(stringify!($number), ":")]
            $(#[doc = $doc])+
            pub $field: $type,
        )+ }

        impl Knobs {
            /// Every option, K1 first.
            pub const TABLE: &[Knob] = &[ $( Knob {
                number: stringify!($number),
                name: $knob,
                doc: concat!($($doc),+).trim_ascii(),
                sources: Sources(&[$(Source::$source),+]),
                values: $type::VALUES,
                get: |knobs| knobs.$field as usize,
                set: |knobs, index| knobs.$field = $type::ALL[index],
            }, )+ ];
        }

        $(
            $(#[doc = $type_doc])+
            #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
            pub enum $name {
                $(#[doc = $first_doc])+ #[default] $first,
                $($(#[doc = $other_doc])+ $other,)+
            }

            impl $name {
                const ALL: &[Self] = &[Self::$first, $(Self::$other),+];
                const VALUES: &[Value] = &[
                    Value { name: $first_word, doc: concat!($($first_doc),+).trim_ascii() },
                    $(Value { name: $other_word, doc: concat!($($other_doc),+).trim_ascii() },)+
                ];
            }
        )+
    };
}

options! {
    knobs {
        /// CERROR of an opcode that HYP_OWN=0 may not use. The vendor calls such a command illegal.
        K1 [Vendor Inferred] "forbidden-opcode" = forbidden_opcode: Refusal,
        /// CERROR of a StreamID that no slot matches. The vendor calls such a command illegal.
        K2 [Vendor Inferred] "unmatched-sid" = unmatched_sid: Refusal,
        /// CMD_SYNC that asks for an interrupt or an event. Linux never sends one here.
        K3 [Inferred] "sync-signal" = sync_signal: SyncSignal,
        /// TLBI_NH_ALL and TLBI_NH_VAA for HYP_OWN=0. Both are missing in the vendor's list of 2021.
        K4 [Vendor] "guest-nh-all" = guest_nh_all: GuestNhAll,
        /// LVCMDQs allocated other than in ascending or deallocated other than in descending order. The order is
        /// demanded by the vendor; what happens otherwise is not said.
        K5 [Inferred] "allocation-order" = allocation_order: AllocationOrder,
        /// BASE or CONS_INDX_BASE written while the queue is enabled. QEMU has done both.
        K6 [Qemu Inferred] "base-write-enabled" = base_write_enabled: BaseWrite,
        /// VINTF_INT_MASK cleared while an error is active. QEMU sends nothing.
        K7 [Qemu] "unmask" = unmask: Unmask,
        /// CMD_SYNC of the hardware's own when the arbiter leaves a queue. On by default according to the vendor.
        K8 [Vendor] "auto-sync" = auto_sync: AutoSync,
        /// GERROR and GERRORN when a queue is allocated. Anything but zero would raise an error for the next owner,
        /// whose software starts with GERRORN=0.
        K9 [Inferred] "gerror-on-allocation" = gerror_on_allocation: OnAllocation,
        /// Other registers of a queue when it is deallocated. They can be programmed before allocation (QEMU).
        K10 [Qemu Inferred] "registers-on-deallocation" = registers_on_deallocation: OnDeallocation,
        /// What a queue does with its backlog when it is disabled. Not said anywhere; software copes with all.
        K11 [Inferred] "backlog" = backlog: Backlog,
        /// Unit of CONFIG.CMDQ_MAX_CLK_BATCH. QEMU calls its reset value 0x08 256 clocks.
        K12 [Qemu Inferred] "clock-batch" = clock_batch: ClockBatch,
        /// VINTF STATUS.VI_NUM_LVCMDQ. Its meaning is inferred from its name; QEMU reads 0.
        K13 [Inferred] "lvcmdq-count" = lvcmdq_count: LvcmdqCount,
        /// VCMDQs while the SMMU's CR0.CMDQEN or CR0.SMMUEN is 0. Linux never lets it happen.
        K14 [Inferred] "smmu-disabled" = smmu_disabled: SmmuDisabled,
        /// CMDQ_ALLOC entries when the block is disabled. Linux rewrites them all afterwards.
        K15 [Inferred] "allocations-on-disable" = allocations_on_disable: AllocationsOnDisable,
        /// The erratum of Tegra264 by which invalidations must be issued twice. Tegra241 does not have it.
        K16 [Linux] "repeat-invalidations" = repeat_invalidations: RepeatInvalidations,
        /// CONFIG.CMDQV_EN at reset. The GPU driver finds it set.
        K17 [GpuDriver Qemu] "reset-enable" = reset_enable: ResetEnable,
        /// STATUS of a queue that is enabled but not allocated, in the direct aperture. QEMU reads 1.
        K18 [Inferred] "unallocated-status" = unallocated_status: UnallocatedStatus,
        /// GERRORN written so that it differs from GERROR without an error. Unpredictable for the SMMU's own pair.
        K19 [Inferred] "gerrorn-difference" = gerrorn_difference: GerrornDifference,
    }
    values {
        /// CERROR of a refused command (K1, K2).
        Refusal {
            /// CERROR_ILL, 1.
            Illegal = "illegal",
            /// CERROR_ILL_ACCESS, 4.
            IllegalAccess = "illegal-access",
        }
        /// K3.
        SyncSignal {
            /// Completes as with CS=0; a lint says so.
            AsNone = "as-none",
            /// CERROR_ILL.
            Illegal = "illegal",
            /// The command goes to the engine as it is.
            Signal = "signal",
        }
        /// K4.
        GuestNhAll {
            /// Refused as other opcodes (K1).
            Illegal = "illegal",
            /// Executed with the VINTF's VMID.
            Legal = "legal",
        }
        /// K5.
        AllocationOrder {
            /// Done; a lint says so.
            Accept = "accept",
            /// ALLOCATED keeps its value.
            Refuse = "refuse",
            /// Done, and no queue of that VINTF makes progress until the block is disabled.
            Hang = "hang",
        }
        /// K6.
        BaseWrite {
            /// Ignored; a lint says so.
            Ignore = "ignore",
            /// Stored, and sampled when the queue is enabled next.
            NextEnable = "next-enable",
        }
        /// K7.
        Unmask {
            /// The edge is lost.
            NoEdge = "no-edge",
            /// One edge if an error is active.
            Edge = "edge",
        }
        /// K8.
        AutoSync {
            /// The arbiter inserts one unless the last command was a CMD_SYNC.
            On = "on",
            /// None is inserted.
            Off = "off",
        }
        /// K9.
        OnAllocation {
            /// Both become 0.
            Clear = "clear",
            /// Both keep their values.
            Preserve = "preserve",
        }
        /// K10.
        OnDeallocation {
            /// They keep their values.
            Preserve = "preserve",
            /// They become 0.
            Clear = "clear",
        }
        /// K11.
        Backlog {
            /// The command in execution finishes; CONS stays behind it.
            Stop = "stop",
            /// Everything up to PROD is executed first.
            Drain = "drain",
            /// The command in execution finishes; CONS then jumps to PROD.
            Drop = "drop",
        }
        /// K12.
        ClockBatch {
            /// 32 clocks.
            Times32 = "times-32",
            /// 4 clocks.
            Times4 = "times-4",
            /// 1 clock.
            Times1 = "times-1",
        }
        /// K13.
        LvcmdqCount {
            /// Number of LVCMDQs allocated.
            Allocated = "allocated",
            /// Always 0.
            Zero = "zero",
        }
        /// K14.
        SmmuDisabled {
            /// They go on.
            Run = "run",
            /// They wait.
            Pause = "pause",
        }
        /// K15.
        AllocationsOnDisable {
            /// ALLOCATED stays; the mapping does nothing until the block is enabled again.
            Keep = "keep",
            /// ALLOCATED becomes 0.
            Clear = "clear",
        }
        /// K16.
        RepeatInvalidations {
            /// No erratum.
            Off = "off",
            /// The first of two equal sequences may be lost.
            On = "on",
        }
        /// K17.
        ResetEnable {
            /// Firmware has enabled the block.
            Enabled = "enabled",
            /// The block is off.
            Disabled = "disabled",
        }
        /// K18.
        UnallocatedStatus {
            /// 0.
            Zero = "zero",
            /// CONFIG.CMDQ_EN.
            FollowsConfig = "follows-config",
        }
        /// K19.
        GerrornDifference {
            /// The queue stops and the maps show it; no edge.
            Stall = "stall",
            /// The same, with an edge.
            StallWithEdge = "stall-with-edge",
            /// Bits that would differ anew are not stored.
            Ignore = "ignore",
        }
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

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn every_option_is_set_by_name() {
        for (i, knob) in Knobs::TABLE.iter().enumerate() {
            assert_eq!(knob.number, format!("K{}", i + 1));
            assert_eq!(Knobs::named(knob.number).map(|k| k.name), Some(knob.name));
            assert_eq!(Knobs::default().get(knob.name), Some(knob.default()), "{}", knob.name);
            for value in knob.values {
                let mut knobs = Knobs::default();
                knobs.set(knob.name, value.name).expect("a name of the table");
                assert_eq!(
                    knobs == Knobs::default(),
                    value.name == knob.default(),
                    "{} {}",
                    knob.name,
                    value.name
                );
                for other in Knobs::TABLE {
                    let expected = if other.number == knob.number { value.name } else { other.default() };
                    assert_eq!(
                        other.get(&knobs),
                        expected,
                        "{} after {} {}",
                        other.name,
                        knob.name,
                        value.name
                    );
                }
            }
        }
        let mut knobs = Knobs::default();
        knobs.set("backlog", "drain").expect("names of the table");
        assert_eq!(knobs, Knobs { backlog: Backlog::Drain, ..Knobs::default() });
    }

    #[test]
    fn unknown_names() {
        let mut knobs = Knobs::default();
        let wrong = knobs.set("auto-sync", "maybe").expect_err("not a value");
        assert_eq!(wrong.to_string(), "`auto-sync` cannot be `maybe`; it can be on, off");
        let wrong = knobs.set("speed", "on").expect_err("not an option");
        assert!(
            wrong.to_string().starts_with("no CMDQV option is called `speed`; there are forbidden-opcode, ")
        );
        assert_eq!((knobs, knobs.get("speed")), (Knobs::default(), None));
    }
}

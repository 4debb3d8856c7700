//! Presets: identification registers, sizes and timing of known hardware, each number with unit and source in its file.

use models::smmu::IdrProfile;
use sim::Time;

use crate::declare::{Cx, read_record, record};
use crate::diagnostic::{Diagnostic, Rejected, Span};
use crate::platform::CmdqvSpec;
use crate::suggest;
use crate::tree::{self, Node, Raw};
use crate::units::Frequency;

/// The presets that ship, as (name, text).
pub const SHIPPED: &[(&str, &str)] = &[
    ("gem5", include_str!("../../../scenarios/presets/gem5.toml")),
    ("grace", include_str!("../../../scenarios/presets/grace.toml")),
    ("mmu700", include_str!("../../../scenarios/presets/mmu700.toml")),
    ("tegra264", include_str!("../../../scenarios/presets/tegra264.toml")),
];

/// The preset used when a file names none.
pub const DEFAULT: &str = "grace";

/// Declares a group of numbers twice: complete, and as overrides in which every key is optional.
macro_rules! numbers {
    ($(
        $(#[doc = $doc:literal])+
        $Name:ident / $(#[doc = $odoc:literal])+ $Overrides:ident {
            $( $(#[doc = $kdoc:literal])+ $key:ident : $ty:ty $([$low:literal ..= $high:expr])? ; )*
        }
    )+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct $Name { $( $(#[doc = $kdoc])+ pub $key: $ty, )* }
        record! {
            $(#[doc = $odoc])+
            $Overrides { $( $(#[doc = $kdoc])+ $key: Option<$ty> $([$low ..= $high])? ; )* }
        }
        impl $Overrides {
            /// These values where given, otherwise those of `base`.
            #[must_use]
            pub fn over(&self, base: &Self) -> Self {
                Self { $($key: self.$key.or(base.$key)),* }
            }
            /// The complete numbers, or the keys that are still missing.
            pub fn complete(&self) -> Result<$Name, Vec<&'static str>> {
                let mut missing = Vec::new();
                $( if self.$key.is_none() { missing.push(stringify!($key)); } )*
                match ($(self.$key,)*) {
                    ($(Some($key),)*) => Ok($Name { $($key),* }),
                    _ => Err(missing),
                }
            }
        }
    )+};
}

numbers! {
    /// Identification registers of an SMMU.
    IdRegisters /
    /// Identification registers of an SMMU.
    IdOverrides {
        /// SMMU_IDR0.
        idr0: u64 [0..=0xffff_ffff];
        /// SMMU_IDR1.
        idr1: u64 [0..=0xffff_ffff];
        /// SMMU_IDR2.
        idr2: u64 [0..=0xffff_ffff];
        /// SMMU_IDR3.
        idr3: u64 [0..=0xffff_ffff];
        /// SMMU_IDR5.
        idr5: u64 [0..=0xffff_ffff];
        /// SMMU_IDR6.
        idr6: u64 [0..=0xffff_ffff];
        /// SMMU_IIDR.
        iidr: u64 [0..=0xffff_ffff];
        /// SMMU_AIDR.
        aidr: u64 [0..=0xffff_ffff];
    }
}

impl IdRegisters {
    /// As hardware shows them.
    pub fn profile(&self) -> IdrProfile {
        IdrProfile {
            idr0: self.idr0 as u32,
            idr1: self.idr1 as u32,
            idr2: self.idr2 as u32,
            idr3: self.idr3 as u32,
            idr4: 0,
            idr5: self.idr5 as u32,
            idr6: self.idr6 as u32,
            iidr: self.iidr as u32,
            aidr: self.aidr as u32,
        }
    }
}

numbers! {
    /// Sizes and times inside an SMMU and its CMDQV.
    SmmuTiming /
    /// Rows of the SMMU timing. Cycles are cycles of `clock`.
    SmmuOverrides {
        /// Clock of the SMMU.
        clock: Frequency [1_000_000..=10_000_000_000];
        /// Entries of the micro TLB (one per client port).
        utlb_entries: u64 [1..=64];
        /// Cycles of a micro TLB lookup.
        utlb_cycles: u64 [0..=1_000];
        /// Entries of the main TLB of a client port; 0 for none.
        tlb_entries: u64 [0..=65_536];
        /// Ways of the main TLB.
        tlb_ways: u64 [1..=16];
        /// Cycles of a main TLB lookup.
        tlb_cycles: u64 [0..=1_000];
        /// Cycles from the client port to the central unit, and the same back.
        link_cycles: u64 [0..=10_000];
        /// Entries of the cache of STEs and CDs.
        config_entries: u64 [1..=4_096];
        /// Cycles of a configuration cache lookup.
        config_cycles: u64 [0..=1_000];
        /// Entries of the walk cache, per stage.
        walk_entries: u64 [0..=65_536];
        /// Cycles of a walk cache lookup.
        walk_cycles: u64 [0..=1_000];
        /// Translations in flight per client port.
        port_slots: u64 [1..=512];
        /// Translations in flight in the central unit.
        central_slots: u64 [1..=4_096];
        /// Page table walks in flight.
        walk_slots: u64 [1..=512];
        /// Commands per fetch from a queue.
        fetch_commands: u64 [1..=64];
        /// Cycles from a PROD write to the first fetch.
        doorbell_cycles: u64 [0..=10_000];
        /// Cycles to decode and issue a command.
        command_cycles: u64 [1..=10_000];
        /// Cycles of a TLB or configuration invalidation, until the next command may start.
        invalidate_cycles: u64 [1..=100_000];
        /// Cycles of CMD_SYNC once everything before it is done.
        sync_cycles: u64 [0..=100_000];
        /// Cycles to compose and write an event record, without the memory access.
        event_cycles: u64 [0..=100_000];
        /// Cycles of a register access inside the block.
        register_cycles: u64 [0..=10_000];
        /// When an unanswered ATS invalidation is an error.
        ats_timeout: Time [1_000_000..=10_000_000_000_000];
        /// Cycles the CMDQV takes to check and rewrite a command.
        admission_cycles: u64 [0..=10_000];
        /// Cycles the CMDQV takes to change from one queue to another.
        switch_cycles: u64 [0..=10_000];
        /// Commands the CMDQV takes from one queue in a row.
        batch_commands: u64 [1..=255];
    }
}
numbers! {
    /// Costs of CPUs, memory and software entry.
    HostTiming /
    /// Rows of the host timing.
    HostOverrides {
        /// Load from memory that no cache holds.
        memory_latency: Time [1_000..=100_000_000];
        /// Cache line from another core of the node.
        line_transfer: Time [100..=10_000_000];
        /// Cache line from a core of another node.
        line_transfer_remote: Time [100..=100_000_000];
        /// Register access from CPU to device, one way.
        mmio_latency: Time [1_000..=100_000_000];
        /// VM exit and entry together, without the work in between.
        vm_exit: Time [1_000..=1_000_000_000];
        /// From the hypervisor to the VMM's user space and back.
        vmm_exit: Time [0..=1_000_000_000];
        /// System call entry and exit together.
        syscall: Time [1_000..=1_000_000_000];
        /// Interrupt from device to the first instruction of its handler.
        interrupt_latency: Time [1_000..=1_000_000_000];
    }
}

record! {
    /// A preset file.
    PresetSpec {
        /// What it describes.
        title: String;
        /// A preset whose values fill the gaps of this one.
        extends: Option<String>;
        /// Identification registers.
        id: IdOverrides = "{}";
        /// Sizes of the CMDQV; absent if the hardware has none.
        cmdqv: Option<CmdqvSpec>;
        /// Sizes and times of the SMMU.
        smmu: SmmuOverrides = "{}";
        /// Costs of CPUs, memory and software entry.
        host: HostOverrides = "{}";
    }
}

/// A preset with the gaps filled.
#[derive(Clone, Debug, PartialEq)]
pub struct Preset {
    /// Its name as given in the scenario.
    pub name: String,
    /// What it describes.
    pub title: String,
    /// Identification registers.
    pub id: IdRegisters,
    /// Sizes of the CMDQV, if there is one.
    pub cmdqv: Option<CmdqvSpec>,
    /// Sizes and times of the SMMU, before it is completed by overrides of a psmmu.
    pub smmu: SmmuOverrides,
    /// Costs of CPUs, memory and software entry.
    pub host: HostTiming,
}

/// Where presets come from: the shipped ones, then files relative to the scenario.
pub trait Library {
    /// The text of a preset file. The path is as written in the scenario.
    fn read(&self, path: &str) -> Result<String, String>;
}

/// Loads a preset by name or path. `span` is where the scenario names it.
pub fn load(name: &str, span: &Span, library: &dyn Library) -> Result<Preset, Diagnostic> {
    let mut chain: Vec<String> = Vec::new();
    let mut next = Some(name.to_owned());
    let mut merged: Option<PresetSpec> = None;
    while let Some(name) = next {
        if chain.contains(&name) {
            chain.push(name);
            return Err(Diagnostic::at(span.clone(), "the presets extend each other in a circle")
                .label(chain.join(" -> "))
                .help("remove the key `extends` from one of them"));
        }
        let spec = parse(&name, span, library)?;
        next = spec.extends.clone();
        merged = Some(match merged {
            None => spec,
            Some(above) => PresetSpec {
                id: above.id.over(&spec.id),
                smmu: above.smmu.over(&spec.smmu),
                host: above.host.over(&spec.host),
                cmdqv: above.cmdqv.or(spec.cmdqv),
                ..above
            },
        });
        chain.push(name);
    }
    let spec = merged.expect("at least one");
    let incomplete = |table: &str, missing: &[&str]| {
        Diagnostic::at(span.clone(), format!("the preset `{name}` is not complete"))
            .label(format!("`[{table}]` lacks {}", suggest::list(missing.iter().copied(), 10)))
            .help(format!("add them to the file, or `extends = \"{DEFAULT}\"`"))
    };
    let id = spec.id.complete().map_err(|m| incomplete("id", &m))?;
    spec.smmu.complete().map_err(|m| incomplete("smmu", &m))?;
    let host = spec.host.complete().map_err(|m| incomplete("host", &m))?;
    Ok(Preset { name: name.to_owned(), title: spec.title, id, cmdqv: spec.cmdqv, smmu: spec.smmu, host })
}

fn parse(name: &str, span: &Span, library: &dyn Library) -> Result<PresetSpec, Diagnostic> {
    let text = match SHIPPED.iter().find(|(n, _)| *n == name) {
        Some((_, text)) => (*text).to_owned(),
        None if name.contains('/') || name.ends_with(".toml") => library.read(name).map_err(|why| {
            Diagnostic::at(span.clone(), format!("the preset file `{name}` cannot be read"))
                .label(why)
                .help("paths are relative to the scenario file")
        })?,
        None => {
            let names = || SHIPPED.iter().map(|(n, _)| *n);
            let label = suggest::nearest(name, names())
                .map_or_else(|| "no such preset".to_owned(), |near| format!("did you mean `{near}`?"));
            return Err(Diagnostic::at(span.clone(), format!("unknown preset `{name}`"))
                .label(label)
                .help(format!("shipped presets: {}", suggest::list(names(), 20)))
                .help("a file of your own is named by its path, like \"./my-preset.toml\""));
        }
    };
    read_text(name, &text).map_err(|rejected| {
        let first = &rejected.diagnostics[0];
        let line = first.span.as_ref().map_or(1, |s| crate::diagnostic::line_of(&text, s.start));
        let mut diagnostic = Diagnostic::at(span.clone(), format!("the preset `{name}` has errors"))
            .label(format!("line {line}: {}", first.title));
        if !first.label.is_empty() {
            diagnostic = diagnostic.help(format!("{name}:{line}: {}", first.label));
        }
        diagnostic.help(format!("`smmulate check {name}` shows all of them"))
    })
}

/// Reads one preset file, without what it extends.
pub fn read_text(path: &str, text: &str) -> Result<PresetSpec, Rejected> {
    let tree = tree::parse(text);
    let mut cx = Cx { partial: !tree.errors.is_empty(), diagnostics: tree.errors, ..Cx::default() };
    let header = 0..text.find('\n').unwrap_or(text.len());
    let spec = read_record::<PresetSpec>(&tree.root, "this preset", header, &mut cx);
    match spec {
        Some(spec) if cx.diagnostics.is_empty() => Ok(spec),
        _ => Err(Rejected {
            path: path.to_owned(),
            text: text.to_owned(),
            diagnostics: cx.diagnostics,
            added: Vec::new(),
        }),
    }
}

/// A preset is told from a scenario by its tables.
pub fn looks_like_preset(root: &Node) -> bool {
    let has = |name: &str| root.get(name).is_some_and(|e| matches!(e.node.value, Raw::Table(_)));
    (has("smmu") || has("host") || has("id")) && !has("psmmu")
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Files(Vec<(&'static str, &'static str)>);
    impl Library for Files {
        fn read(&self, path: &str) -> Result<String, String> {
            self.0
                .iter()
                .find(|(p, _)| *p == path)
                .map(|(_, t)| (*t).to_owned())
                .ok_or_else(|| "no such file".to_owned())
        }
    }

    #[test]
    fn shipped_presets_are_complete() {
        for (name, _) in SHIPPED {
            let preset = load(name, &(0..0), &Files(vec![])).unwrap_or_else(|d| panic!("{name}: {d:?}"));
            assert!(preset.smmu.complete().is_ok(), "{name}");
        }
    }

    #[test]
    fn circles_and_gaps() {
        let files = Files(vec![
            ("./a.toml", "title = 'a'\nextends = './b.toml'\n"),
            ("./b.toml", "title = 'b'\nextends = './a.toml'\n"),
            ("./c.toml", "title = 'c'\n"),
            ("./d.toml", "title = 'd'\nextends = 'grace'\n[host]\nvm_exit = '9 us'\n"),
            ("./e.toml", "title = 'e'\n[host]\nvm_exit = 9\n"),
        ]);
        let title = |name| load(name, &(0..1), &files).unwrap_err().title;
        assert_eq!(title("./a.toml"), "the presets extend each other in a circle");
        assert_eq!(title("./c.toml"), "the preset `./c.toml` is not complete");
        assert_eq!(title("./e.toml"), "the preset `./e.toml` has errors");
        assert_eq!(title("./x.toml"), "the preset file `./x.toml` cannot be read");
        assert_eq!(title("graec"), "unknown preset `graec`");
        assert_eq!(load("./d.toml", &(0..1), &files).unwrap().host.vm_exit, Time::us(9));
    }
}

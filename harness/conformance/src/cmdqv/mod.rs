//! Tegra241 CMDQV: a block for which no manual is public, against what is known of it from its drivers, QEMU's model and
//! the vendor's engineers, next to an SMMUv3.
//!
//! Unless a row says otherwise: PARAM is that of Tegra241 (64 VINTFs, 128 VCMDQs, 16 slots), the SMMU works, the block is
//! enabled, VINTF 0 is the hypervisor's, VINTF v of a guest has VMID 0x40+v, and VCMDQ 2v+l is LVCMDQ l of VINTF v.

mod enable;
mod errors;
mod flow;
mod guest;
pub mod knobs;
mod map;
mod options;
mod queues;
mod rules;
mod teardown;

use crate::rig::{Lvcmdq, Rig};
use crate::suite::{Group, Suite};

/// All rows.
pub const SUITE: Suite = Suite {
    name: "cmdqv",
    title: "Tegra241 CMDQV against what is known of it",
    about: ", with an SMMUv3 beside the block. Rows look at registers, memory, interrupts, the commands that the\n\
            SMMU executes and what the models notice as undefined. No manual of the block is public: every row says where it\n\
            comes from. What no source settles is in [cmdqv-open-questions.md](cmdqv-open-questions.md).",
    basis: "Sources",
    groups: &[
        Group { title: "Map and access", rows: map::ROWS },
        Group { title: "Enable and mapping", rows: enable::ROWS },
        Group { title: "Queue mechanics", rows: queues::ROWS },
        Group { title: "Guest restrictions", rows: guest::ROWS },
        Group { title: "Errors and interrupt", rows: errors::ROWS },
        Group { title: "Teardown", rows: teardown::ROWS },
        Group { title: "End to end", rows: flow::ROWS },
        Group { title: "Options", rows: options::ROWS },
        Group { title: "Model rules", rows: rules::ROWS },
    ],
};

/// VMID of a guest's VINTF.
const fn vmid(v: u8) -> u16 {
    0x40 + v as u16
}

/// A guest's VINTF and its LVCMDQ 0, of 16 entries.
fn guest(r: &mut Rig, v: u8) -> Result<Lvcmdq, String> {
    r.vintf(v, false, vmid(v))?;
    r.queue(v, 0, 4)
}

/// The hypervisor's VINTF 0 and its LVCMDQ 0.
fn host(r: &mut Rig, log2size: u8) -> Result<Lvcmdq, String> {
    r.vintf(0, true, 0)?;
    r.queue(0, 0, log2size)
}

#[cfg(test)]
mod test {
    use models::cmdqv::{Faults, SwappedSlots, Vintfs};
    use models::psmmu::{PsmmuFaults, Which};

    use super::*;
    use crate::suite::{Given, Mode, Verdict};

    #[test]
    fn the_numbered_checks_are_there_and_names_are_unique() {
        let ids: Vec<_> = SUITE.groups.iter().flat_map(|g| g.rows).map(|row| row.id).collect();
        let unique: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(ids.len(), unique.len());
        for number in 1..=53 {
            assert!(unique.contains(&format!("C{number:02}").as_str()), "C{number:02}");
        }
    }

    /// Rows are worth nothing if a broken machine passes them.
    #[test]
    fn broken_machines_are_noticed() {
        let cmdqv = |cmdqv_faults| Given { cmdqv_faults, ..Given::default() };
        let psmmu = |faults| Given { faults, ..Given::default() };
        let (block, none) = (Faults::default, PsmmuFaults::default);
        let all = Which::From(1);
        let swapped = |slots| Some(SwappedSlots { vintf: 5, slots });
        let both = &Mode::ALL[..];
        let timed = &[Mode::Cycles][..];
        let rows: &[(Given, &[Mode], &[&str])] = &[
            (cmdqv(Faults { keep_prefetched: true, ..block() }), both, &["C35"]),
            (cmdqv(Faults { early_disable: true, ..block() }), timed, &["C44"]),
            (cmdqv(Faults { admit_everything: true, ..block() }), both, &["C31", "C33", "C34", "C45", "C50"]),
            (cmdqv(Faults { sid_match_sticks: true, ..block() }), both, &["C30"]),
            (cmdqv(Faults { lose_edge_every: Some(1), ..block() }), both, &["C34", "C40", "C41", "C42"]),
            (cmdqv(Faults { lose_edge_every: Some(2), ..block() }), both, &["C36", "C40", "C42"]),
            (psmmu(PsmmuFaults { stuck_vintf: Some(5), ..none() }), both, &["C11", "C16", "C47"]),
            (psmmu(PsmmuFaults { stuck_vintf: Some(0), ..none() }), both, &["C10", "C14", "C49"]),
            (psmmu(PsmmuFaults { swapped_sid_slots: swapped((3, 4)), ..none() }), both, &["C28"]),
            (psmmu(PsmmuFaults { keep_guest_vmid: Vintfs::All, ..none() }), both, &["C11", "C26", "C50"]),
            (psmmu(PsmmuFaults { keep_guest_sid: Vintfs::All, ..none() }), both, &["C28", "C30", "C50"]),
            (psmmu(PsmmuFaults { early_sync: all, ..none() }), both, &["C21", "C38", "C39"]),
            (psmmu(PsmmuFaults { drop_tlbi: all.into(), ..none() }), both, &["X10"]),
            (psmmu(PsmmuFaults { lose_interrupt: all, ..none() }), both, &["C34", "C40", "C41"]),
            (psmmu(PsmmuFaults { lose_atc_invalidation: all, ..none() }), both, &["C28", "C50"]),
            (
                psmmu(PsmmuFaults { abort_command_fetch: Which::From(3), ..none() }),
                both,
                &["C10", "C17", "C52"],
            ),
            (
                psmmu(PsmmuFaults { corrupt_command: Which::From(4).into(), ..none() }),
                both,
                &["C20", "C26", "C32"],
            ),
        ];
        let row = |id: &str| SUITE.groups.iter().flat_map(|group| group.rows).find(|row| row.id == id);
        let mut passed = Vec::new();
        for (given, modes, ids) in rows {
            for (id, mode) in ids.iter().flat_map(|id| modes.iter().map(move |mode| (id, mode))) {
                let verdict = row(id).expect("the row exists").run_with(*mode, given);
                if !matches!(verdict, Verdict::Fail(_)) {
                    passed.push((id, mode, given));
                }
            }
        }
        assert!(passed.is_empty(), "rows that pass on a broken machine: {passed:#?}");
    }
}

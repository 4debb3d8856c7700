//! Eight command queues of a host and of two guests, one of them hostile, in any interleaving, with and without time: queues keep
//! their order, nobody's commands reach what is not theirs, no register changes but through its owner, and what CMD_SYNC promises
//! holds, as the oracle sees it.
#![allow(missing_docs)]

#[path = "../judged/mod.rs"]
mod judged;
mod machines;
mod software;

use models::cmdqv::knobs::GuestNhAll;
use models::cmdqv::{CmdqvConfig, Knobs, Vintfs};
use models::psmmu::{PsmmuFaults, Which};
use models::smmu::arbiter::Policy;
use proptest::prelude::*;
use proptest::sample::select;
use spec::smmu::{Command, Opcode};

use self::software::{Hostile, Sent, Step, VSID, Who, owner, vmid};

/// What happens, on which hardware.
#[derive(Clone, Debug)]
struct Case {
    config: CmdqvConfig,
    faults: PsmmuFaults,
    steps: Vec<Step>,
}

/// What came of it.
struct Seen {
    /// Commands consumed, in order: queue, index, as written, as executed. Queue 8 is the SMMU's own.
    consumed: Vec<(usize, u32, Command, Command)>,
    /// Queues that stopped.
    stopped: Vec<usize>,
    findings: Vec<String>,
    sent: Sent,
}

fn command() -> impl Strategy<Value = Command> {
    let any_words = (any::<u64>(), any::<u64>()).prop_map(|(a, b)| Command([a, b]));
    let known =
        (0_u64..0x50, any::<u64>(), any::<u64>()).prop_map(|(op, a, b)| Command([(a & !0xff) | op, b]));
    let clean = (0_u8..0x50, 0_u64..8, 0_u64..8, 0_u64..4).prop_map(|(op, vmid, sid, page)| {
        let command = Command::new(Opcode(op));
        match command.op() {
            Opcode::ATC_INV => Command::atc_inv(sid as u32, None, 0, 52),
            Opcode::SYNC => Command::sync().with_cs(vmid & 3),
            _ if op < 0x10 => command.with_sid(sid),
            _ => command.with_vmid(vmid + 0x10).with_asid(5).with_va(page << 12),
        }
    });
    let good = (0_u64..8).prop_map(|vmid| Command::tlbi_nh_asid(5, 0x10 + vmid as u16));
    prop_oneof![1 => any_words, 2 => known, 4 => clean, 4 => good, 2 => Just(Command::sync()),
        1 => Just(Command::atc_inv(VSID, None, 0, 52))]
}

fn hostile() -> impl Strategy<Value = Hostile> {
    let slot = (0_u64..5, 0_u64..32).prop_map(|(l, r)| 0x80 * l + 4 * r);
    let offset = prop_oneof![6 => slot, 1 => (0_u64..0x4000).prop_map(|n| 4 * n), 1 => 0_u64..0x1_0000];
    let value = prop_oneof![2 => 0_u32..4, 2 => (0_u32..32).prop_map(|n| 1 << n), 1 => any::<u32>(), 1 => Just(u32::MAX)];
    prop_oneof![
        2 => (offset, value).prop_map(|(offset, value)| Hostile::Write { offset, value }),
        6 => (0_usize..3, prop::collection::vec(command(), 1..10)).prop_map(|(l, commands)| Hostile::Push { l, commands }),
        4 => (0_usize..3).prop_map(|l| Hostile::Revive { l }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let who = || select(vec![Who::Host, Who::Guest]);
    let anyone = select(vec![Who::Host, Who::Guest, Who::Hostile]);
    let page = || 0_u64..4;
    prop_oneof![
        4 => (who(), page(), 0_usize..3).prop_map(|(who, page, nth)| Step::Unmap { who, page, nth }),
        3 => (who(), page()).prop_map(|(who, page)| Step::Map { who, page }),
        8 => (anyone, page(), any::<bool>(), any::<bool>()).prop_map(|(who, page, write, wait)| Step::Dma { who, page, write, wait }),
        3 => (who(), 0_usize..3, 1_u16..9).prop_map(|(who, nth, n)| Step::Flood { who, nth, n }),
        2 => (who(), 0_usize..3).prop_map(|(who, nth)| Step::InvalidateAtc { who, nth }),
        2 => (who(), 0_usize..3).prop_map(|(who, nth)| Step::Wait { who, nth }),
        1 => Just(Step::Main),
        1 => Just(Step::Evict),
        8 => hostile().prop_map(Step::Hostile),
    ]
}

/// Every option of the CMDQV is changed or not, but for those by which a promise is broken: invalidations that must be repeated,
/// errors that the next owner of a queue finds, and a CMD_SYNC that writes a message wherever its owner likes.
fn options() -> impl Strategy<Value = Knobs> {
    prop::collection::vec((prop::bool::weighted(0.3), any::<usize>()), Knobs::TABLE.len()).prop_map(
        |choices| {
            let mut knobs = Knobs::default();
            for (knob, (_, nth)) in Knobs::TABLE.iter().zip(choices).filter(|(_, (changed, _))| *changed) {
                let value = knob.values[nth % knob.values.len()].name;
                let breaks = [
                    ("repeat-invalidations", "on"),
                    ("gerror-on-allocation", "preserve"),
                    ("sync-signal", "signal"),
                ];
                if !breaks.contains(&(knob.name, value)) {
                    knobs.set(knob.name, value).expect("it is from the table");
                }
            }
            knobs
        },
    )
}

fn case() -> impl Strategy<Value = Case> {
    let sizes = (1_u8..5, 0_u16..9, prop_oneof![Just(0_u32), Just(1), Just(3), Just(32)]);
    let policy = select(vec![Policy::RoundRobin, Policy::OldestFirst, Policy::MainFirst]);
    (options(), sizes, policy, prop::collection::vec(step(), 1..60)).prop_map(
        |(knobs, (burst, extra, batch), arbitration, steps)| {
            let config = CmdqvConfig {
                vintfs_log2: 2,
                vcmdqs_log2: 3,
                sids_log2: 2,
                burst,
                prefetch: u16::from(burst) + extra,
                arbitration,
                reset_config: 0x82 | batch << 12,
                knobs,
                ..CmdqvConfig::default()
            };
            Case { config, faults: PsmmuFaults::default(), steps }
        },
    )
}

/// Commands that a guest may have executed.
fn legal(op: Opcode, knobs: &Knobs) -> bool {
    let all = knobs.guest_nh_all == GuestNhAll::Legal;
    let guests = [
        Opcode::TLBI_NH_ASID,
        Opcode::TLBI_NH_VA,
        Opcode::TLBI_S12_VMALL,
        Opcode::TLBI_S2_IPA,
        Opcode::ATC_INV,
        Opcode::SYNC,
    ];
    guests.contains(&op) || (all && matches!(op, Opcode::TLBI_NH_ALL | Opcode::TLBI_NH_VAA))
}

fn check(case: &Case, seen: &Seen) -> Result<(), TestCaseError> {
    prop_assert!(seen.findings.is_empty(), "{}", seen.findings.join("\n"));
    prop_assert!(seen.sent.complaints.is_empty(), "{}", seen.sent.complaints.join("\n"));
    let mut next = [0_u32; 9];
    let mut executed = vec![Vec::new(); 9];
    for &(queue, index, raw, command) in &seen.consumed {
        match owner(queue) {
            Who::Host => prop_assert_eq!(command, raw, "the host's commands are executed as they are"),
            who => {
                prop_assert!(legal(command.op(), &case.config.knobs), "{who:?} had {command} executed");
                if (0x10..=0x30).contains(&command.op().0) {
                    prop_assert_eq!(command.vmid(), u64::from(vmid(who)), "{:?}: {}", who, command);
                    prop_assert_eq!(command, raw.with_vmid(command.vmid()));
                }
                if command.op() == Opcode::ATC_INV {
                    prop_assert_eq!((raw.sid(), command.sid()), (VSID.into(), who.stream().into()));
                    prop_assert_eq!(command, raw.with_sid(command.sid()));
                }
            }
        }
        if owner(queue) != Who::Hostile {
            prop_assert_eq!(index, next[queue], "queue {} goes on where it was", queue);
            next[queue] = (index + 1) % software::ENTRIES;
            executed[queue].push(raw);
        }
    }
    for queue in (0..9).filter(|q| owner(*q) != Who::Hostile) {
        prop_assert_eq!(&executed[queue], &seen.sent.commands[queue], "queue {}", queue);
    }
    prop_assert!(seen.stopped.iter().all(|q| owner(*q) == Who::Hostile), "stopped: {:?}", seen.stopped);
    Ok(())
}

fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn without_time(case in case()) {
        check(&case, &machines::at_once(&case))?;
    }

    #[test]
    fn cycle_by_cycle(case in case()) {
        check(&case, &machines::in_time(&case))?;
    }
}

/// Each of these defects is found within a few cases, on both machines.
#[test]
fn defects_are_found() {
    use proptest::strategy::ValueTree;
    type Break = fn(&mut Case);
    let defects: [(&str, Break); 6] = [
        ("a guest's VMID is kept", |c| c.faults.keep_guest_vmid = Vintfs::All),
        ("a guest's StreamID is kept", |c| c.faults.keep_guest_sid = Vintfs::All),
        ("a guest may send everything", |c| c.config.faults.admit_everything = true),
        ("a TLBI is lost", |c| c.faults.drop_tlbi = Which::From(1).into()),
        ("CMD_SYNC does not wait", |c| c.faults.early_sync = Which::From(1)),
        ("a command is damaged", |c| c.faults.corrupt_command = Which::Nth(3).into()),
    ];
    for (what, breaks) in defects {
        for (timed, run) in [(false, machines::at_once as fn(&Case) -> Seen), (true, machines::in_time)] {
            // Without time nothing is under way when a CMD_SYNC comes.
            if !timed && what.starts_with("CMD_SYNC") {
                continue;
            }
            let mut runner = proptest::test_runner::TestRunner::deterministic();
            let found = (0..400).any(|_| {
                let mut case = case().new_tree(&mut runner).expect("a case").current();
                breaks(&mut case);
                check(&case, &run(&case)).is_err()
            });
            assert!(found, "not found: {what}, with time: {timed}");
        }
    }
}

/// The generator reaches what it is meant to reach.
#[test]
fn the_steps_reach_everything() {
    use proptest::strategy::ValueTree;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let (mut commands, mut hostile, mut stopped, mut refused) = (0, 0, 0, 0);
    for _ in 0..40 {
        let case = case().new_tree(&mut runner).expect("a case").current();
        let seen = machines::in_time(&case);
        commands += seen.consumed.len();
        hostile += seen.consumed.iter().filter(|c| owner(c.0) == Who::Hostile).count();
        stopped += seen.stopped.len();
        refused += seen.sent.refused;
    }
    let reached = [
        ("commands", commands, 800),
        ("hostile", hostile, 100),
        ("stopped", stopped, 40),
        ("refused", refused, 15),
    ];
    for (what, n, least) in reached {
        assert!(n >= least, "{what}: {n} of at least {least}");
    }
}

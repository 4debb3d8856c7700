//! Software on which the two differed once, by name.

use super::super::*;
use super::pair::Pair;
use super::step::{Access, Poke, Step, machine};
use crate::cmdqv::CmdqvConfig;
use crate::dma::Incoming;
use crate::psmmu::PsmmuFaults;

fn play(pair: &mut Pair, steps: &[Step]) {
    for (n, step) in steps.iter().enumerate() {
        pair.step(step);
        let differences = pair.differences();
        assert!(differences.is_empty(), "after step {n}, {step:?}:\n{}", differences.join("\n"));
    }
}

fn read(sid: u32, addr: u64) -> Step {
    Step::Dma { sid, ssid: None, incoming: Incoming::DEFAULT, addr, access: Access::Read(8) }
}

fn commands(commands: &[Command]) -> Step {
    Step::Push { queue: None, commands: commands.to_vec() }
}

/// Both words are stored before the Update that the first one begins is over.
#[test]
fn irq_ctrl_written_64_bits_wide() {
    play(&mut Pair::new(&machine()), &[Step::Register { offset: 0x50, wide: true, value: 0 }]);
}

/// The walk cache knows the next table, and stage 2 refuses its address before anything is read: still a miss.
#[test]
fn a_miss_that_reads_nothing() {
    let words = Pair::new(&machine()).words.len();
    for nth in 0..words {
        let flip = Step::Poke { nth, how: Poke::Flip(45) };
        play(&mut Pair::new(&machine()), &[flip, read(3, 0), read(3, 0)]);
    }
}

/// Whether a transaction is tried again before or after a TLBI that follows its CMD_RESUME is open (IHI 0070, 4.7.1). Here it
/// hits the TLB in one machine and stalls in the other, and goes on when software makes room in the Event queue.
#[test]
fn what_is_open_matters_later_in_the_same_step() {
    let mut pair = Pair::new(&machine());
    // The page of stream 9 that no other stream has.
    let (page, leaf) = (0x5000, (PAGES + 0xd000) | 3);
    let is_leaf = |&(_, word): &(u64, u64)| word & 0xffff_ffff_f003 == leaf;
    let nth = pair.words.iter().position(is_leaf).expect("the page is mapped");
    let poke = |how| Step::Poke { nth, how };
    let before = [
        poke(Poke::Clear),
        read(9, page),
        poke(Poke::Restore),
        read(9, page),
        poke(Poke::Clear),
        // No valid STE: the rest of the Event queue.
        read(6, 0),
        read(6, 0),
        read(6, 0),
        commands(&[Command([0xff, 0])]),
        Step::Resume { sid: 9, stag: 0, action: (true, false), all: false },
        commands(&[Command::tlbi_nsnh_all()]),
    ];
    play(&mut pair, &before);
    assert_eq!((pair.waiting.len(), pair.raced), (1, false));
    play(&mut pair, &[Step::Acknowledge { queues: true }]);
    assert!(pair.raced);
}

/// A stall of all queues ends, and two of them stop at their first command. Which interrupt is first is open.
#[test]
fn two_queues_stop_when_a_stall_ends() {
    let cmdqv = CmdqvConfig { vintfs_log2: 2, vcmdqs_log2: 3, sids_log2: 1, ..CmdqvConfig::default() };
    let faults = PsmmuFaults { stalled: true, ..PsmmuFaults::default() };
    let config = PsmmuConfig { cmdqv: Some((CMDQV, cmdqv)), faults, ..machine() };
    let illegal = vec![Command([0xff, 0])];
    let mut pair = Pair::new(&config);
    let steps = [
        Step::Open { vintf: 2, logical: 1, host: false },
        Step::Push { queue: Some(5), commands: illegal.clone() },
        Step::Push { queue: None, commands: illegal },
        Step::Faults(Box::default()),
    ];
    play(&mut pair, &steps);
    assert!(pair.raced);
}

//! Entries for fuzzers, one a surface of the hardware: software and devices that do anything at all.
//!
//! ```text
//!   bytes --script--> steps --pair--> functional machine  } in 64KB of memory in which tables, queues and doorbells overlap
//!                                     cycle-level machine }
//! ```
//! Each input is a script. A step is done to both machines, which then must come to rest before the fuel of the step is
//! used up. What software, devices and observers see must be the same in both as long as the order in which things happen is
//! not open (`pair.rs` says when it is). Nothing may panic.
//!
//! The first byte chooses the configuration, the second where the machine starts. `harness/fuzz` runs these under libFuzzer;
//! `tests/fuzz.rs` runs the committed inputs and random ones.

mod ground;
mod pair;
mod script;

use models::psmmu::PsmmuFaults;

use self::pair::Pair;
use self::script::{Op, Script};

/// Steps of an input that count. The rest is ignored, so that no input takes long.
const STEPS_MAX: usize = 200;

/// What scripts of a surface are made of.
struct Surface {
    cmdqv: bool,
    ops: &'static [Op],
}

#[rustfmt::skip]
const REGISTERS: Surface = Surface { cmdqv: false, ops: &[
    Op::Register, Op::Register, Op::Register, Op::Register, Op::Register, Op::Page, Op::Read, Op::Boot, Op::Enable, Op::Dma,
    Op::Commands, Op::Place, Op::Hurry, Op::Flip,
] };

#[rustfmt::skip]
const TABLES: Surface = Surface { cmdqv: false, ops: &[
    Op::Dma, Op::Dma, Op::Dma, Op::Dma, Op::Dma, Op::Flip, Op::Flip, Op::Field, Op::Field, Op::Field, Op::Place, Op::Place,
    Op::Forget, Op::Acknowledge, Op::Resume, Op::Register,
] };

#[rustfmt::skip]
const COMMANDS: Surface = Surface { cmdqv: false, ops: &[
    Op::Commands, Op::Commands, Op::Page, Op::Raw, Op::Raw, Op::Produce, Op::Dma, Op::Dma, Op::Resume, Op::Acknowledge,
    Op::Mute, Op::Break, Op::Hurry, Op::Enable, Op::Flip, Op::Register,
] };

#[rustfmt::skip]
const CMDQV: Surface = Surface { cmdqv: true, ops: &[
    Op::Virtual, Op::Virtual, Op::Virtual, Op::Virtual, Op::VirtualRead, Op::Open, Op::Open, Op::Guest, Op::Guest, Op::Guest,
    Op::Commands, Op::Dma, Op::Acknowledge, Op::Mute, Op::Break, Op::Hurry,
] };

/// Registers of an SMMU without CMDQV: every offset, every size, every value; and what devices do meanwhile.
///
/// # Panics
/// The models have a mistake.
pub fn registers(data: &[u8]) {
    run(data, &REGISTERS, &PsmmuFaults::default());
}

/// Bytes of STEs, CDs, level-1 descriptors and translation tables.
///
/// # Panics
/// The models have a mistake.
pub fn tables(data: &[u8]) {
    run(data, &TABLES, &PsmmuFaults::default());
}

/// The command stream: any commands, any producer index, and what waits for them.
///
/// # Panics
/// The models have a mistake.
pub fn commands(data: &[u8]) {
    run(data, &COMMANDS, &PsmmuFaults::default());
}

/// The whole MMIO region of a CMDQV and the memory of its queues.
///
/// # Panics
/// The models have a mistake.
pub fn cmdqv(data: &[u8]) {
    run(data, &CMDQV, &PsmmuFaults::default());
}

/// `faults` are those of the cycle-level machine alone.
fn run(data: &[u8], surface: &Surface, faults: &PsmmuFaults) {
    let mut script = Script::new(data);
    let mut pair = Pair::new(script.byte(), surface.cmdqv, faults);
    if script.byte() & 1 == 0 {
        pair.step(Op::Boot, &mut Script::new(&[]));
    }
    for _ in 0..STEPS_MAX {
        if script.is_empty() {
            break;
        }
        let op = surface.ops[usize::from(script.byte()) % surface.ops.len()];
        pair.step(op, &mut script);
    }
    pair.end();
}

#[cfg(test)]
mod test {
    use super::*;
    use models::psmmu::Which;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::Path;

    /// Inputs are worth nothing if a broken machine passes them.
    #[test]
    fn broken_machines_are_noticed() {
        let (none, all) = (PsmmuFaults::default, Which::From(1));
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
        let rows = [
            ("registers", &REGISTERS, PsmmuFaults { lose_event: all, ..none() }),
            ("registers", &REGISTERS, PsmmuFaults { lose_interrupt: all, ..none() }),
            ("tables", &TABLES, PsmmuFaults { lose_event: all, ..none() }),
            ("tables", &TABLES, PsmmuFaults { abort_read: Which::From(3), ..none() }),
            ("tables", &TABLES, PsmmuFaults { drop_cfgi: all.into(), ..none() }),
            ("commands", &COMMANDS, PsmmuFaults { corrupt_command: Which::From(3).into(), ..none() }),
            ("commands", &COMMANDS, PsmmuFaults { drop_tlbi: all.into(), ..none() }),
            ("commands", &COMMANDS, PsmmuFaults { lose_atc_invalidation: all, ..none() }),
            ("cmdqv", &CMDQV, PsmmuFaults { lose_interrupt: all, ..none() }),
            ("cmdqv", &CMDQV, PsmmuFaults { stalled: true, ..none() }),
        ];
        let mut unnoticed = Vec::new();
        for (name, surface, faults) in rows {
            let files = std::fs::read_dir(corpus.join(name)).expect("there are inputs");
            let inputs =
                files.map(|file| std::fs::read(file.expect("a file").path()).expect("it can be read"));
            let fails =
                |data: Vec<u8>| catch_unwind(AssertUnwindSafe(|| run(&data, surface, &faults))).is_err();
            if !inputs.into_iter().any(fails) {
                unnoticed.push(format!("{name} {faults:?}"));
            }
        }
        assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
    }
}

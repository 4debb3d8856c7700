//! Entries for fuzzers, one a surface of the hardware: software and devices that do anything at all.
//!
//! ```text
//!   bytes --script--> steps --pair--> functional machine  } in 64KB of memory in which tables, queues and doorbells overlap
//!                                     cycle-level machine }
//! ```
//! Each input is a script. A step is done to both machines, which then must come to rest before the fuel of the step is
//! used up. What software, devices and observers see must be the same in both as long as the order in which things happen is
//! not open ([`pair`] says when it is). Nothing may panic.
//!
//! The first byte chooses the configuration, the second where the machine starts. `harness/fuzz` runs these under libFuzzer;
//! `tests/fuzz.rs` runs the committed inputs and random ones.

mod ground;
mod pair;
mod script;

use self::pair::Pair;
use self::script::{Op, Script};

/// Steps of an input that count. The rest is ignored, so that no input takes long.
const STEPS_MAX: usize = 200;

/// Registers of an SMMU without CMDQV: every offset, every size, every value; and what devices do meanwhile.
///
/// # Panics
/// The models have a mistake.
pub fn registers(data: &[u8]) {
    use Op::*;
    run(
        data,
        false,
        &[
            Register, Register, Register, Register, Register, Register, Read, Boot, Enable, Dma, Commands,
            Place, Hurry, Flip,
        ],
    );
}

/// Bytes of STEs, CDs, level-1 descriptors and translation tables.
///
/// # Panics
/// The models have a mistake.
pub fn tables(data: &[u8]) {
    use Op::*;
    run(
        data,
        false,
        &[
            Dma,
            Dma,
            Dma,
            Dma,
            Dma,
            Flip,
            Flip,
            Field,
            Field,
            Field,
            Place,
            Place,
            Forget,
            Acknowledge,
            Resume,
            Register,
        ],
    );
}

/// The command stream: any commands, any producer index, and what waits for them.
///
/// # Panics
/// The models have a mistake.
pub fn commands(data: &[u8]) {
    use Op::*;
    run(
        data,
        false,
        &[
            Commands,
            Commands,
            Commands,
            Raw,
            Raw,
            Produce,
            Dma,
            Dma,
            Resume,
            Acknowledge,
            Mute,
            Break,
            Hurry,
            Enable,
            Flip,
            Register,
        ],
    );
}

/// The whole MMIO region of a CMDQV and the memory of its queues.
///
/// # Panics
/// The models have a mistake.
pub fn cmdqv(data: &[u8]) {
    use Op::*;
    run(
        data,
        true,
        &[
            Virtual,
            Virtual,
            Virtual,
            Virtual,
            VirtualRead,
            Open,
            Open,
            Guest,
            Guest,
            Guest,
            Commands,
            Dma,
            Acknowledge,
            Mute,
            Break,
            Hurry,
        ],
    );
}

fn run(data: &[u8], with_cmdqv: bool, ops: &[Op]) {
    let mut script = Script::new(data);
    let mut pair = Pair::new(script.byte(), with_cmdqv);
    if script.byte() & 1 == 0 {
        pair.step(Op::Boot, &mut Script::new(&[]));
    }
    for _ in 0..STEPS_MAX {
        if script.is_empty() {
            break;
        }
        let op = ops[usize::from(script.byte()) % ops.len()];
        pair.step(op, &mut script);
    }
    pair.end();
}

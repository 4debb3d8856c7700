//! The board as QEMU uses it, without QEMU.

mod faults;

use proptest::prelude::*;
use sim::Time;

use super::Board;
use crate::machine::Machine;
use crate::memory::{Memory, Saw};
use crate::platform::Kind;
use crate::protocol::Region;
use crate::tape::Header;

const RAM: u64 = 0x4000_0000;
const SIZE: u64 = 0x10_0000;
/// The tester's function: two carriers and a disk come first.
const TESTER: usize = 3;

fn board(timed: bool) -> Board {
    let text = r#"
        title = "x"
        [psmmu.smmu]
        count = 2
        cmdqv = true
        pmcg = true
        [endpoint.disk]
        kind = "nvme"
        psmmu = "smmu0"
        ats = true
        [endpoint.tester]
        psmmu = "smmu1"
        pasid_bits = 8
    "#;
    let header = Header {
        path: "x.toml".into(),
        text: text.into(),
        presets: Vec::new(),
        timed,
        disks: vec![1 << 20, 0],
    };
    let machine = Machine::recorded(&header).unwrap();
    assert_eq!(machine.platform.endpoints[1].kind, Kind::Tester);
    let memory = Memory::played();
    memory.map_played(RAM, SIZE);
    machine.board(memory, machine.memory_disks(&header.disks), timed).unwrap()
}

fn read32(board: &mut Board, function: usize, region: Region, offset: u64) -> u32 {
    let mut bytes = [0; 4];
    assert!(board.read(function, region, offset, &mut bytes));
    u32::from_le_bytes(bytes)
}

fn write32(board: &mut Board, function: usize, region: Region, offset: u64, value: u32) {
    assert!(board.write(function, region, offset, &value.to_le_bytes()));
}

/// Lets the tester write four bytes; its status.
fn test_write(board: &mut Board, addr: u64) -> u32 {
    device_write(board, TESTER, addr)
}

fn device_write(board: &mut Board, tester: usize, addr: u64) -> u32 {
    let bar = Region::Bar(0);
    for (offset, value) in [(8, addr as u32), (12, (addr >> 32) as u32), (16, 4), (20, 0x600d_f00d), (4, 1)] {
        write32(board, tester, bar, offset, value);
    }
    read32(board, tester, bar, 0x1c)
}

#[test]
fn registers_answer_and_dma_is_bypassed_while_the_smmu_is_off() {
    for timed in [false, true] {
        let mut board = board(timed);
        // IDR0 of both, PARAM of a CMDQV.
        assert_ne!(read32(&mut board, 0, Region::Bar(0), 0), 0);
        assert_eq!(read32(&mut board, 0, Region::Bar(0), 0), read32(&mut board, 1, Region::Bar(0), 0));
        assert_eq!(read32(&mut board, 0, Region::Bar(0), 0x10_0004) & 0xf, 1);
        assert_eq!(test_write(&mut board, RAM + 0x100), 1, "bus mastering is off");
        write32(&mut board, TESTER, Region::Config, 4, 6);
        assert_eq!(test_write(&mut board, RAM + 0x100), 0);
        let mut bytes = [0; 4];
        board.memory().read(RAM + 0x100, &mut bytes).unwrap();
        assert_eq!(u32::from_le_bytes(bytes), 0x600d_f00d);
        assert_eq!(test_write(&mut board, RAM + SIZE), 1, "no memory there");
        // GBPA.ABORT.
        write32(&mut board, 1, Region::Bar(0), 0x44, 0x8010_0000);
        board.settle();
        assert_eq!(read32(&mut board, 1, Region::Bar(0), 0x44), 0x10_0000);
        assert_eq!(test_write(&mut board, RAM + 0x100), 1);
        board.reset(1);
        assert_eq!(test_write(&mut board, RAM + 0x100), 0);
        assert!(board.findings().is_empty(), "{:?}", board.findings());
    }
}

#[test]
fn the_space_that_qemu_copies_has_no_capabilities_and_linuxs_has() {
    let mut board = board(false);
    let mut whole = [0; 4096];
    assert!(board.read(2, Region::Config, 0, &mut whole));
    assert_eq!((whole[6] & 0x10, whole[0x34], whole[0x100]), (0, 0, 0));
    assert_eq!(read32(&mut board, 2, Region::Config, 4) >> 16 & 0x10, 0x10);
    assert_ne!(read32(&mut board, 2, Region::Config, 0x34), 0);
    assert_eq!(read32(&mut board, 2, Region::Config, 0x100) & 0xffff, 0xf, "ATS");
}

#[test]
fn a_message_leaves_for_the_interrupt_controller() {
    let mut board = board(false);
    write32(&mut board, TESTER, Region::Config, 4, 6);
    // The tester's MSI capability is the second one, behind power management.
    let msi = 0x48;
    assert_eq!(read32(&mut board, TESTER, Region::Config, msi) & 0xff, 5);
    write32(&mut board, TESTER, Region::Config, msi + 4, 0x0802_0040);
    write32(&mut board, TESTER, Region::Config, msi + 0xc, 0x52);
    assert!(board.write(TESTER, Region::Config, msi + 2, &0x0181u16.to_le_bytes()));
    write32(&mut board, TESTER, Region::Bar(0), 4, 3);
    let sent = board.take_sent();
    assert_eq!(sent.len(), 1);
    assert_eq!(
        (sent[0].function, sent[0].addr, &sent[0].bytes[..]),
        (TESTER, 0x0802_0040, &[0x52, 0, 0, 0][..])
    );
}

/// A clock runs while the models are used: that it counts is no use.
#[test]
fn cycles_pass_with_use_and_an_overflow_waits_for_them() {
    let (tcu, cycles) = (0xa0_0000, 100_000);
    let mut board = board(true);
    // CNTENSET0, INTENSET0, IRQ_CTRL; EVCNTR0 on page 1; CR.
    let registers = [(0xc00, 1), (0xc40, 1), (0xe50, 1), (0x1_0000, 0u32.wrapping_sub(cycles)), (0xe04, 1)];
    for (offset, value) in registers {
        write32(&mut board, 0, Region::Bar(0), tcu + offset, value);
        board.settle();
    }
    let until = board.simulated().unwrap() + Time::us(100);
    assert!(board.simulated().unwrap() < Time::us(100), "the clock is 1 GHz");
    assert!(board.take_sent().is_empty());
    let mut sent = Vec::new();
    for _ in 0..cycles {
        read32(&mut board, 0, Region::Bar(0), 0);
        board.settle();
        sent = board.take_sent();
        if !sent.is_empty() {
            break;
        }
    }
    assert_eq!(sent.len(), 1);
    assert_eq!(read32(&mut board, 0, Region::Bar(0), tcu + 0x1_0cc0), 1, "OVSSET0");
    let late = board.simulated().unwrap().as_ps().abs_diff(until.as_ps());
    assert!(late < Time::us(1).as_ps(), "{late} ps");
    // What a reset forgets does not move the clock either.
    write32(&mut board, 0, Region::Bar(0), tcu + 0x1_0c80, 1);
    let before = board.simulated();
    board.reset(0);
    assert_eq!(board.simulated(), before);
}

#[derive(Clone, Debug)]
enum Op {
    Read(usize, u8, u64, usize),
    Write(usize, u8, u64, usize, u64),
    Memory(u64, Vec<u8>),
    Reset(usize),
    Settle,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    // Registers of every kind, and anywhere.
    let offset = prop_oneof![
        0u64..0x200,
        0x1_0000u64..0x1_0100,
        0x10_0000u64..0x10_2000,
        0x13_0000u64..0x17_0000,
        0xa0_0000u64..0xa4_0000,
        0u64..(16 << 20),
    ];
    // What makes registers do something: enables, addresses within memory, anything.
    let value = prop_oneof![
        0u64..0x40,
        (0u64..SIZE).prop_map(|at| RAM + (at & !0xfff) + 8),
        any::<u64>(),
        any::<u64>().prop_map(|v| v & 0x8000_001f),
    ];
    let len = prop_oneof![Just(4usize), Just(8), Just(1), Just(2), 0usize..16];
    let op = prop_oneof![
        2 => (0usize..4, 0u8..3, offset.clone(), len.clone()).prop_map(|(f, r, o, l)| Op::Read(f, r, o, l)),
        8 => (0usize..4, 0u8..3, offset, len, value).prop_map(|(f, r, o, l, v)| Op::Write(f, r, o, l, v)),
        4 => (0u64..SIZE - 64, prop::collection::vec(any::<u8>(), 1..64)).prop_map(|(at, b)| Op::Memory(at, b)),
        1 => (0usize..4).prop_map(Op::Reset),
        1 => Just(Op::Settle),
    ];
    prop::collection::vec(op, 1..200)
}

fn region(n: u8) -> Region {
    if n == 0 { Region::Config } else { Region::Bar(n - 1) }
}

fn play(ops: &[Op], timed: bool) -> Vec<u8> {
    let mut board = board(timed);
    let mut answers = Vec::new();
    for (i, op) in ops.iter().enumerate() {
        board.begin(i as u64);
        match op {
            Op::Read(function, r, offset, len) => {
                let mut bytes = vec![0; *len];
                let good = board.read(*function, region(*r), *offset, &mut bytes);
                answers.push(good.into());
                answers.extend(bytes);
            }
            Op::Write(function, r, offset, len, value) => {
                let mut bytes = value.to_le_bytes().to_vec();
                bytes.resize(*len, 0);
                answers.push(board.write(*function, region(*r), *offset, &bytes).into());
            }
            Op::Memory(at, bytes) => {
                board.memory().will_see(vec![Saw { since: 0, addr: RAM + at, bytes: bytes.clone() }]);
            }
            Op::Reset(function) => board.reset(*function),
            Op::Settle => board.settle(),
        }
        answers.extend(board.take_sent().into_iter().flat_map(|sent| sent.bytes));
        answers.extend(board.memory().take_touched().digest.to_le_bytes());
    }
    answers
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever is written to registers and memory, nothing panics or hangs, and the same comes of it again.
    #[test]
    fn any_access_is_survived_and_repeatable(ops in ops(), timed in any::<bool>()) {
        prop_assert_eq!(play(&ops, timed), play(&ops, timed));
    }
}

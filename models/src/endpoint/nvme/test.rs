use sim::Time;

use super::super::test::{World, config, read, with_atc, write, write32};
use super::super::{AtcConfig, Endpoint, EndpointConfig, Kind};
use super::layout::{FLUSH, READ, WRITE};
use super::*;
use crate::bus::Op;
use crate::dma::AddressType;

const SQ: u64 = PAGE;
const CQ: u64 = 2 * PAGE;
const MSI: u64 = 3 * PAGE;
const BUFFER: u64 = 10 * PAGE;
const MSI_DATA_VALUE: u32 = 42;

/// A disk with queues of `sq` and `cq` entries, and the register writes that bring it up.
fn bring_up(base: &EndpointConfig, sq: u32, cq: u32) -> (Endpoint, Vec<(Time, In)>) {
    let nvme = NvmeConfig { blocks: 1 << 20, parallel: 4, ..NvmeConfig::default() };
    let endpoint = Endpoint::new(EndpointConfig { kind: Kind::Nvme(nvme), ..base.clone() });
    let heard = [
        write32(layout::AQA, (sq - 1) | ((cq - 1) << 16)),
        write(layout::ASQ, SQ),
        write(layout::ACQ, CQ),
        write(layout::MSIX, MSI),
        write(layout::MSIX + 8, MSI_DATA_VALUE.into()),
        write32(layout::CC, layout::CC_EN),
    ];
    (endpoint, heard.into_iter().map(|message| (Time::ZERO, message)).collect())
}

fn submit(world: &mut World, index: u64, submission: &Submission) {
    world.memory.write(World::pa(SQ + index * SQE as u64), &submission.encode());
}
fn completion(world: &World, index: u64) -> Completion {
    let mut raw = [0; CQE];
    world.memory.read(World::pa(CQ + index * CQE as u64), &mut raw);
    Completion::decode(&raw)
}
fn command(opcode: u8, cid: u16, slba: u64, blocks: u16) -> Submission {
    Submission { opcode, cid, nsid: 1, prp1: BUFFER, prp2: BUFFER + PAGE, slba, nlb: blocks - 1 }
}
fn doorbell(at: Time, tail: u32) -> (Time, In) {
    (at, write32(layout::SQ_TAIL, tail))
}

#[test]
fn blocks_survive_a_write_and_a_read_back() {
    for base in [config(), with_atc(), EndpointConfig { ats: Some(AtcConfig { entries: 1 }), ..config() }] {
        for (offset, blocks) in [(0, 1), (0, 8), (0, 16), (100, 8), (4092, 1), (512, 15)] {
            let case = format!("{blocks} blocks at page offset {offset}, {:?}", base.ats);
            let mut world = World::new();
            let len = usize::from(blocks) * BLOCK as usize;
            let bytes: Vec<u8> = (0..len).map(|i| (i % 253) as u8).collect();
            world.memory.write(World::pa(BUFFER + offset), &bytes);
            let (mut endpoint, mut heard) = bring_up(&base, 8, 8);
            let out = Submission { prp1: BUFFER + offset, ..command(WRITE, 1, 7, blocks) };
            let back = Submission {
                prp1: BUFFER + 4 * PAGE + offset,
                prp2: BUFFER + 5 * PAGE,
                ..command(READ, 2, 7, blocks)
            };
            submit(&mut world, 0, &out);
            submit(&mut world, 1, &back);
            heard.extend([doorbell(Time::us(10), 1), doorbell(Time::us(100), 2)]);
            world.run(&mut endpoint, heard);

            let mut disk = vec![0; len];
            endpoint.disk().expect("a disk").read(7 * BLOCK, &mut disk);
            assert_eq!(disk, bytes, "{case}");
            let mut got = vec![0; len];
            world.memory.read(World::pa(BUFFER + 4 * PAGE + offset), &mut got);
            assert_eq!(got, bytes, "{case}");
            for (index, cid) in [(0, 1), (1, 2)] {
                let want = Completion { sq_head: cid, cid, phase: true, status: 0 };
                assert_eq!(completion(&world, index), want, "{case}");
            }
            assert!(!completion(&world, 2).phase, "{case}");
            assert_eq!(world.memory.read_u32(World::pa(MSI)), MSI_DATA_VALUE, "{case}");
            assert_eq!(endpoint.counters().messages, 2, "{case}");
        }
    }
}

#[test]
fn bad_commands_end_with_a_status() {
    let good = command(READ, 9, 0, 1);
    let last = (1 << 20) - 1;
    for (name, submission, want) in [
        ("good", good, Status::Success),
        ("flush", Submission { opcode: FLUSH, ..good }, Status::Success),
        ("opcode", Submission { opcode: 0x7f, ..good }, Status::InvalidOpcode),
        ("namespace", Submission { nsid: 2, ..good }, Status::InvalidNamespace),
        ("last block", Submission { slba: last, ..good }, Status::Success),
        ("beyond the end", Submission { slba: last, nlb: 1, ..good }, Status::LbaOutOfRange),
        ("block number overflows", Submission { slba: u64::MAX, ..good }, Status::LbaOutOfRange),
        ("three pages", Submission { nlb: 16, ..good }, Status::InvalidField),
        ("PRP1 between words", Submission { prp1: BUFFER + 2, ..good }, Status::InvalidPrpOffset),
        ("PRP2 inside a page", Submission { prp2: BUFFER + 64, nlb: 15, ..good }, Status::InvalidPrpOffset),
        ("PRP2 not needed", Submission { prp2: 1, ..good }, Status::Success),
        ("PRP1 not mapped", Submission { prp1: 500 * PAGE, ..good }, Status::DataTransfer),
        ("PRP2 not mapped", Submission { prp2: 500 * PAGE, nlb: 15, ..good }, Status::DataTransfer),
        (
            "PRP1 of a write not mapped",
            Submission { opcode: WRITE, prp1: 500 * PAGE, ..good },
            Status::DataTransfer,
        ),
    ] {
        let mut world = World::new();
        let (mut endpoint, mut heard) = bring_up(&config(), 8, 8);
        submit(&mut world, 0, &submission);
        heard.push(doorbell(Time::us(10), 1));
        world.run(&mut endpoint, heard);
        let want = Completion { sq_head: 1, cid: 9, phase: true, status: want as u8 };
        assert_eq!(completion(&world, 0), want, "{name}");
        let counters = endpoint.counters();
        assert_eq!((counters.commands, counters.command_errors), (1, u64::from(want.status != 0)), "{name}");
    }
}

/// Many rounds of both queues: every command ends once, the phase flips at every round, and nothing is posted into a
/// full queue.
#[test]
fn queues_wrap_and_a_full_completion_queue_waits() {
    let (sq, cq) = (4, 3);
    let mut world = World::new();
    let (mut endpoint, heard) = bring_up(&config(), sq, cq);
    world.run(&mut endpoint, heard);
    let (mut submitted, mut seen) = (0_u32, Vec::new());
    let mut now = Time::us(10);
    while seen.len() < 40 {
        for _ in 0..3 {
            submit(&mut world, u64::from(submitted % sq), &command(READ, submitted as u16, 0, 1));
            submitted += 1;
        }
        world.run(&mut endpoint, vec![doorbell(now, submitted % sq)]);
        now += Time::us(100);
        // Two fit; the third comes when there is room.
        for want in [2, 1] {
            let mut fresh = 0;
            loop {
                let index = seen.len() as u32;
                let entry = completion(&world, u64::from(index % cq));
                if entry.phase != (index / cq).is_multiple_of(2) {
                    break;
                }
                seen.push(entry.cid);
                fresh += 1;
            }
            assert_eq!(fresh, want, "after {} completions", seen.len());
            let head = seen.len() as u32 % cq;
            world.run(&mut endpoint, vec![(now, write32(layout::CQ_HEAD, head))]);
            now += Time::us(100);
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_unstable();
    assert_eq!(sorted, (0..submitted as u16).collect::<Vec<_>>());
}

#[test]
fn data_entry_and_interrupt_become_visible_in_that_order() {
    let mut world = World::new();
    let (mut endpoint, mut heard) = bring_up(&with_atc(), 8, 8);
    submit(&mut world, 0, &command(READ, 1, 0, 16));
    heard.push(doorbell(Time::us(10), 1));
    world.run(&mut endpoint, heard);
    let writes: Vec<_> =
        world.requests.iter().filter(|(_, r)| matches!(r.op, Op::Write(_))).map(|(_, r)| r).collect();
    let (last, rest) = writes.split_last().expect("the MSI");
    assert_eq!((last.addr, last.kind), (MSI, AddressType::Untranslated), "an MSI leaves the ATC aside");
    let (entry, data) = rest.split_last().expect("the entry");
    assert_eq!(entry.addr, World::pa(CQ));
    assert_eq!(data.len() * 64, 16 * BLOCK as usize);
}

#[test]
fn a_masked_vector_sends_nothing() {
    let mut world = World::new();
    let (mut endpoint, mut heard) = bring_up(&config(), 8, 8);
    submit(&mut world, 0, &command(FLUSH, 1, 0, 1));
    heard.push((Time::ZERO, write32(layout::MSIX + 12, layout::MSIX_MASKED)));
    heard.push(doorbell(Time::us(10), 1));
    world.run(&mut endpoint, heard);
    assert!(completion(&world, 0).phase);
    assert_eq!(endpoint.counters().messages, 0);
}

#[test]
fn a_queue_that_cannot_be_reached_is_fatal_until_reset() {
    let status = layout::CSTS - 4; // the upper half of an aligned pair
    for (name, broken) in [("submission queue", layout::ASQ), ("completion queue", layout::ACQ)] {
        let mut world = World::new();
        let (mut endpoint, mut heard) = bring_up(&config(), 8, 8);
        submit(&mut world, 0, &command(FLUSH, 1, 0, 1));
        let us = Time::us;
        heard.extend([
            (us(1), read(status)),
            (us(2), write(broken, 500 * PAGE)),
            doorbell(us(10), 1),
            (us(50), read(status)),
            doorbell(us(60), 2),
            (us(100), write32(layout::CC, 0)),
            (us(110), read(status)),
            (us(120), write(layout::ASQ, SQ)),
            (us(120), write(layout::ACQ, CQ)),
            (us(130), write32(layout::CC, layout::CC_EN)),
            doorbell(us(140), 1),
            (us(200), read(status)),
        ]);
        world.run(&mut endpoint, heard);
        let bits: Vec<u32> = world.values().into_iter().map(high).collect();
        let (ready, fatal) = (layout::CSTS_RDY, layout::CSTS_CFS);
        assert_eq!(bits, [ready, ready | fatal, 0, ready], "{name}");
        assert_eq!(
            completion(&world, 0),
            Completion { sq_head: 1, cid: 1, phase: true, status: 0 },
            "{name}"
        );
    }
}

/// CC.EN is cleared and set again at every moment of a command: the controller comes back and works.
#[test]
fn a_reset_forgets_commands_under_way() {
    for at in (10_000..40_000).step_by(250).map(Time::ns) {
        let mut world = World::new();
        let (mut endpoint, mut heard) = bring_up(&config(), 8, 8);
        submit(&mut world, 0, &command(WRITE, 1, 0, 16));
        heard.extend([
            doorbell(Time::us(10), 1),
            (at, write32(layout::CC, 0)),
            (at, write32(layout::CC, layout::CC_EN)),
            doorbell(Time::us(100), 1),
        ]);
        world.run(&mut endpoint, heard);
        let want = Completion { sq_head: 1, cid: 1, phase: true, status: 0 };
        assert_eq!(completion(&world, 0), want, "reset at {at}");
        assert!(!completion(&world, 1).phase, "reset at {at}");
    }
}

use sim::Time;

use super::super::test::{World, config, read, with_atc, write, write32};
use super::super::{AtcConfig, Endpoint, EndpointConfig, Kind};
use super::*;
use crate::bus::Op;
use crate::dma::AddressType;

const SQ: u64 = PAGE;
const CQ: u64 = 2 * PAGE;
const MSI: u64 = 3 * PAGE;
const BUFFER: u64 = 10 * PAGE;
const MSI_DATA_VALUE: u32 = 42;
const CC_EN: u32 = CC(0).with_en(true).bits() as u32;

fn offset(register: Registers) -> u64 {
    register.offset().into()
}

/// A disk with queues of `sq` and `cq` entries, and the register writes that bring it up.
fn bring_up(base: &EndpointConfig, sq: u32, cq: u32) -> (Endpoint, Vec<(Time, In)>) {
    let nvme = NvmeConfig { blocks: 1 << 20, parallel: 4, ..NvmeConfig::default() };
    let endpoint = Endpoint::new(EndpointConfig { kind: Kind::Nvme(nvme), ..base.clone() });
    let heard = [
        write32(offset(Registers::AQA), (sq - 1) | ((cq - 1) << 16)),
        write(offset(Registers::ASQ), SQ),
        write(offset(Registers::ACQ), CQ),
        write(layout::MSIX, MSI),
        write(layout::MSIX + 8, MSI_DATA_VALUE.into()),
        write32(offset(Registers::CC), CC_EN),
    ];
    (endpoint, heard.into_iter().map(|message| (Time::ZERO, message)).collect())
}

fn submit(world: &mut World, index: u64, submission: &Submission) {
    world.memory.write(World::pa(SQ + index * SQE as u64), &submission.to_bytes());
}
fn completion(world: &World, index: u64) -> Completion {
    let mut raw = [0; CQE];
    world.memory.read(World::pa(CQ + index * CQE as u64), &mut raw);
    Completion::from_bytes(&raw)
}
fn command(opcode: Opcode, cid: u16, slba: u64, blocks: u16) -> Submission {
    Submission::default()
        .with_opcode(opcode.0.into())
        .with_cid(cid.into())
        .with_nsid(1)
        .with_prp1(BUFFER)
        .with_prp2(BUFFER + PAGE)
        .with_slba(slba)
        .with_nlb(u64::from(blocks) - 1)
}
/// The entry of the first round that a command ends with.
fn ended(sq_head: u64, cid: u64, status: Status) -> Completion {
    let entry = Completion::default().with_sqhd(sq_head).with_cid(cid).with_phase(true);
    entry.with_status(status.0.into())
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
            let out = command(Opcode::WRITE, 1, 7, blocks).with_prp1(BUFFER + offset);
            let back = command(Opcode::READ, 2, 7, blocks)
                .with_prp1(BUFFER + 4 * PAGE + offset)
                .with_prp2(BUFFER + 5 * PAGE);
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
                assert_eq!(completion(&world, index), ended(cid, cid, Status::SUCCESS), "{case}");
            }
            assert!(!completion(&world, 2).phase(), "{case}");
            assert_eq!(world.memory.read_u32(World::pa(MSI)), MSI_DATA_VALUE, "{case}");
            assert_eq!(endpoint.counters().messages, 2, "{case}");
        }
    }
}

#[test]
fn bad_commands_end_with_a_status() {
    let good = command(Opcode::READ, 9, 0, 1);
    let last = (1 << 20) - 1;
    for (name, submission, want) in [
        ("good", good, Status::SUCCESS),
        ("flush", good.with_opcode(Opcode::FLUSH.0.into()), Status::SUCCESS),
        ("opcode", good.with_opcode(0x7f), Status::INVALID_OPCODE),
        ("namespace", good.with_nsid(2), Status::INVALID_NAMESPACE),
        ("last block", good.with_slba(last), Status::SUCCESS),
        ("beyond the end", good.with_slba(last).with_nlb(1), Status::LBA_OUT_OF_RANGE),
        ("block number overflows", good.with_slba(u64::MAX), Status::LBA_OUT_OF_RANGE),
        ("three pages", good.with_nlb(16), Status::INVALID_FIELD),
        ("PRP1 between words", good.with_prp1(BUFFER + 2), Status::PRP_OFFSET_INVALID),
        ("PRP2 inside a page", good.with_prp2(BUFFER + 64).with_nlb(15), Status::PRP_OFFSET_INVALID),
        ("PRP2 not needed", good.with_prp2(1), Status::SUCCESS),
        ("PRP1 not mapped", good.with_prp1(500 * PAGE), Status::DATA_TRANSFER_ERROR),
        ("PRP2 not mapped", good.with_prp2(500 * PAGE).with_nlb(15), Status::DATA_TRANSFER_ERROR),
        (
            "PRP1 of a write not mapped",
            good.with_opcode(Opcode::WRITE.0.into()).with_prp1(500 * PAGE),
            Status::DATA_TRANSFER_ERROR,
        ),
    ] {
        let mut world = World::new();
        let (mut endpoint, mut heard) = bring_up(&config(), 8, 8);
        submit(&mut world, 0, &submission);
        heard.push(doorbell(Time::us(10), 1));
        world.run(&mut endpoint, heard);
        assert_eq!(completion(&world, 0), ended(1, 9, want), "{name}");
        let counters = endpoint.counters();
        assert_eq!(
            (counters.commands, counters.command_errors),
            (1, u64::from(want != Status::SUCCESS)),
            "{name}"
        );
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
            submit(&mut world, u64::from(submitted % sq), &command(Opcode::READ, submitted as u16, 0, 1));
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
                if entry.phase() != (index / cq).is_multiple_of(2) {
                    break;
                }
                seen.push(entry.cid() as u16);
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
    submit(&mut world, 0, &command(Opcode::READ, 1, 0, 16));
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
    submit(&mut world, 0, &command(Opcode::FLUSH, 1, 0, 1));
    heard.push((Time::ZERO, write32(layout::MSIX + 12, layout::MSIX_MASKED)));
    heard.push(doorbell(Time::us(10), 1));
    world.run(&mut endpoint, heard);
    assert!(completion(&world, 0).phase());
    assert_eq!(endpoint.counters().messages, 0);
}

#[test]
fn a_queue_that_cannot_be_reached_is_fatal_until_reset() {
    let status = offset(Registers::CSTS) - 4; // the upper half of an aligned pair
    for (name, broken) in
        [("submission queue", offset(Registers::ASQ)), ("completion queue", offset(Registers::ACQ))]
    {
        let mut world = World::new();
        let (mut endpoint, mut heard) = bring_up(&config(), 8, 8);
        submit(&mut world, 0, &command(Opcode::FLUSH, 1, 0, 1));
        let us = Time::us;
        heard.extend([
            (us(1), read(status)),
            (us(2), write(broken, 500 * PAGE)),
            doorbell(us(10), 1),
            (us(50), read(status)),
            doorbell(us(60), 2),
            (us(100), write32(offset(Registers::CC), 0)),
            (us(110), read(status)),
            (us(120), write(offset(Registers::ASQ), SQ)),
            (us(120), write(offset(Registers::ACQ), CQ)),
            (us(130), write32(offset(Registers::CC), CC_EN)),
            doorbell(us(140), 1),
            (us(200), read(status)),
        ]);
        world.run(&mut endpoint, heard);
        let bits: Vec<u32> = world.values().into_iter().map(high).collect();
        let (ready, fatal) = (low(CSTS(0).with_rdy(true).bits()), low(CSTS(0).with_cfs(true).bits()));
        assert_eq!(bits, [ready, ready | fatal, 0, ready], "{name}");
        assert_eq!(completion(&world, 0), ended(1, 1, Status::SUCCESS), "{name}");
    }
}

/// CC.EN is cleared and set again at every moment of a command: the controller comes back and works.
#[test]
fn a_reset_forgets_commands_under_way() {
    for at in (10_000..40_000).step_by(250).map(Time::ns) {
        let mut world = World::new();
        let (mut endpoint, mut heard) = bring_up(&config(), 8, 8);
        submit(&mut world, 0, &command(Opcode::WRITE, 1, 0, 16));
        heard.extend([
            doorbell(Time::us(10), 1),
            (at, write32(offset(Registers::CC), 0)),
            (at, write32(offset(Registers::CC), CC_EN)),
            doorbell(Time::us(100), 1),
        ]);
        world.run(&mut endpoint, heard);
        let want = ended(1, 1, Status::SUCCESS);
        assert_eq!(completion(&world, 0), want, "reset at {at}");
        assert!(!completion(&world, 1).phase(), "reset at {at}");
    }
}

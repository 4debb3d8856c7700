//! Queues and doorbells: wrapping, full completion queues, interrupts, refused entries, resets.

use super::*;

/// Many rounds of both queues: every command ends once and in order, and nothing is posted into a full queue.
#[test]
fn queues_wrap_and_a_full_completion_queue_waits() {
    for (sq_entries, cq_entries) in [(2, 2), (4, 3), (5, 8), (130, 7), (3, 300)] {
        let mut driver = Driver::new(Config::default());
        driver.enable();
        driver.create(1, sq_entries, cq_entries);
        let (mut sent, mut ended) = (Vec::new(), Vec::new());
        for round in 0..1500 {
            let under_way = sent.len() - ended.len();
            let free = sq_entries as usize - 1 - under_way.min(sq_entries as usize - 1);
            for _ in 0..free.min(round % 7 + 1) {
                sent.push(driver.put(1, io(Opcode::READ, 1)));
            }
            driver.ring(1);
            let posted = driver.reap(1);
            assert!(posted.len() < cq_entries as usize);
            for entry in posted {
                assert_eq!((Status(entry.status() as u16), entry.sqid()), (Status::SUCCESS, 1));
                ended.push(entry.cid() as u16);
            }
        }
        while ended.len() < sent.len() {
            let posted = driver.reap(1);
            assert!(!posted.is_empty(), "{} of {} commands ended", ended.len(), sent.len());
            ended.extend(posted.iter().map(|entry| entry.cid() as u16));
        }
        assert!(ended.len() > 1400);
        assert_eq!(ended, sent, "queues of {sq_entries} and {cq_entries}");
        assert_eq!(driver.peek(1), None);
    }
}

#[test]
fn commands_wait_for_room_and_the_head_tells_how_far() {
    let mut driver = Driver::new(Config::default());
    driver.enable();
    driver.create(1, 8, 3);
    driver.host.interrupts.clear();
    for _ in 0..5 {
        driver.put(1, io(Opcode::FLUSH, 1));
    }
    driver.ring(1);
    for (heads, interrupts) in [(&[1, 2][..], 1), (&[3, 4], 2), (&[5], 3), (&[], 3)] {
        assert_eq!(driver.host.interrupts.len(), interrupts, "before {heads:?}");
        let got: Vec<u64> = driver.reap(1).iter().map(|entry| entry.sqhd()).collect();
        assert_eq!(got, heads);
    }
}

/// One completion queue for two submission queues.
#[test]
fn submission_queues_share_a_completion_queue() {
    let mut driver = Driver::new(Config::default());
    driver.enable();
    driver.create(1, 4, 3);
    let second = 0x8_0000;
    let create = command(AdminOpcode::CREATE_SQ.0).with_prp1(second).with_qid(2).with_qsize(3);
    assert_eq!(driver.run(0, create.with_pc(true).with_cqid(1)), Ok(0));
    for i in 0..2 {
        let raw = io(Opcode::FLUSH, 1).with_cid(100 + i).to_bytes();
        driver.host.memory.write(second + i * SQE as u64, &raw);
        driver.put(1, io(Opcode::FLUSH, 1));
    }
    driver.ring(1);
    driver.write32(sq_tail_doorbell(2), 2);
    let mut from: Vec<u64> = driver.reap(1).iter().map(|entry| entry.sqid()).collect();
    from.extend(driver.reap(1).iter().map(|entry| entry.sqid()));
    assert_eq!(from, [1, 1, 2, 2]);
    // The completion queue outlives its submission queues only.
    let delete = |opcode: AdminOpcode, qid| command(opcode.0).with_qid(qid);
    for (opcode, qid, want) in [
        (AdminOpcode::DELETE_CQ, 1, Err(Status::INVALID_QUEUE_DELETION)),
        (AdminOpcode::DELETE_SQ, 1, Ok(0)),
        (AdminOpcode::DELETE_SQ, 1, Err(Status::INVALID_QUEUE_IDENTIFIER)),
        (AdminOpcode::DELETE_CQ, 1, Err(Status::INVALID_QUEUE_DELETION)),
        (AdminOpcode::DELETE_SQ, 2, Ok(0)),
        (AdminOpcode::DELETE_CQ, 1, Ok(0)),
        (AdminOpcode::DELETE_CQ, 1, Err(Status::INVALID_QUEUE_IDENTIFIER)),
        (AdminOpcode::DELETE_SQ, 0, Err(Status::INVALID_QUEUE_IDENTIFIER)),
        (AdminOpcode::DELETE_CQ, 0, Err(Status::INVALID_QUEUE_IDENTIFIER)),
    ] {
        assert_eq!(driver.run(0, delete(opcode, qid)), want, "{opcode} {qid}");
    }
}

#[test]
fn masked_vectors_are_told_when_they_are_unmasked() {
    let mut driver = Driver::ready();
    driver.write_register(Registers::INTMS, 1 << 1);
    assert_eq!(driver.read32(Registers::INTMC), 1 << 1);
    driver.submit(1, io(Opcode::FLUSH, 1));
    driver.submit(2, io(Opcode::FLUSH, 1));
    assert_eq!(driver.host.interrupts, [2]);
    driver.write_register(Registers::INTMC, 1 << 1);
    driver.write_register(Registers::INTMC, 1 << 1);
    assert_eq!(driver.host.interrupts, [2, 1]);
    // What the host has taken meanwhile needs no interrupt.
    driver.reap(1);
    driver.write_register(Registers::INTMS, 1 << 1);
    assert_eq!(driver.run(1, io(Opcode::FLUSH, 1)), Ok(0));
    driver.write_register(Registers::INTMC, 1 << 1);
    assert_eq!(driver.host.interrupts, [2, 1]);
    assert_eq!(driver.controller.counters().interrupts, 2 + 2 * u64::from(PAIRS), "two for each creation");
}

#[test]
fn a_queue_that_cannot_be_reached_is_fatal_until_reset() {
    for qid in [0, 1] {
        for completion in [false, true] {
            let mut driver = Driver::ready();
            let pair = driver.pairs[usize::from(qid)];
            let base = if completion { pair.cq } else { pair.sq };
            driver.host.refused.push(base..base + PAGE);
            driver.submit(qid, io(Opcode::FLUSH, 1));
            assert_eq!(driver.status(), CSTS(0).with_rdy(true).with_cfs(true), "{qid} {completion}");
            driver.host.refused.clear();
            driver.submit(1, io(Opcode::FLUSH, 1));
            assert_eq!(driver.peek(1), None, "{qid} {completion}");
            driver.enable();
            driver.create(1, 8, 8);
            assert_eq!(driver.run(1, io(Opcode::FLUSH, 1)), Ok(0), "{qid} {completion}");
        }
    }
}

#[test]
fn resets_forget_queues_and_keep_blocks() {
    for by_function in [false, true] {
        let mut driver = Driver::ready();
        driver.host.memory.write(BUFFER, &[0xa5; 512]);
        assert_eq!(driver.run(1, io(Opcode::WRITE, 1)), Ok(0));
        // Commands wait for room when the reset comes.
        for _ in 0..5 {
            driver.submit(1, io(Opcode::READ, 1));
        }
        if by_function {
            driver.controller.reset();
            assert_eq!(driver.read32(Registers::AQA), 0);
        } else {
            driver.write_register(Registers::CC, 0);
            assert_ne!(driver.read32(Registers::AQA), 0);
        }
        assert_eq!(driver.status(), CSTS(0));
        let accesses = driver.host.accesses;
        driver.ring(1);
        driver.ring(0);
        assert_eq!(driver.host.accesses, accesses, "doorbells of a disabled controller");
        driver.enable();
        driver.submit(0, command(AdminOpcode::DELETE_SQ.0).with_qid(1));
        let status = Status(driver.reap(0)[0].status() as u16);
        assert_eq!(status, Status::INVALID_QUEUE_IDENTIFIER, "no queue is left");
        driver.create(1, 8, 8);
        driver.host.memory.zero(BUFFER, 512);
        assert_eq!(driver.run(1, io(Opcode::READ, 1)), Ok(0));
        assert_eq!(driver.host.bytes(BUFFER, 512), [0xa5; 512]);
        assert_eq!(driver.controller.counters().io(Opcode::WRITE), 1);
    }
}

/// What a doorbell makes of values that cannot be: it does nothing, and tells of it once until the log is read.
#[test]
fn bad_doorbells_raise_an_event() {
    let register = 0x01_0000;
    let value = 0x01_0100;
    for (name, offset, written, event) in [
        ("tail outside", sq_tail_doorbell(1), IO_ENTRIES, value),
        ("head outside", cq_head_doorbell(1), IO_ENTRIES, value),
        ("head beyond the tail", cq_head_doorbell(1), 1, value),
        ("admin tail outside", sq_tail_doorbell(0), u32::MAX, value),
        ("no such queue", sq_tail_doorbell(PAIRS + 1), 1, register),
        ("no such completion queue", cq_head_doorbell(PAIRS + 1), 1, register),
        ("beyond all queues", BAR_SIZE - 4, 1, register),
    ] {
        let mut driver = Driver::ready();
        let request = command(AdminOpcode::ASYNC_EVENT_REQUEST.0);
        let cid = driver.submit(0, request);
        let second = driver.submit(0, request);
        assert_eq!(driver.peek(0), None);
        driver.write32(offset, written);
        driver.write32(offset, written);
        let entries = driver.reap(0);
        let [entry] = entries[..] else { panic!("{name}: {entries:?}") };
        assert_eq!((entry.cid(), entry.dw0(), entry.status()), (cid.into(), event, 0), "{name}");
        assert_eq!(driver.host.interrupts, [0], "{name}");
        let log = command(AdminOpcode::GET_LOG_PAGE.0).with_lid(1).with_numdl(15).with_prp1(BUFFER);
        for (rae, told) in [(true, 0), (false, 1)] {
            assert_eq!(driver.run(0, log.with_rae(rae)), Ok(0));
            driver.write32(offset, written);
            let cids: Vec<u64> = driver.reap(0).iter().map(|entry| entry.cid()).collect();
            assert_eq!(cids, vec![u64::from(second); told], "{name} {rae}");
        }
        assert_eq!(driver.run(1, io(Opcode::FLUSH, 1)), Ok(0), "{name}");
    }
}

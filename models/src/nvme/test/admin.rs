//! Admin commands: what is refused, features, logs, asynchronous events.

use super::super::layout::{FeatureId, LogId};
use super::*;

#[test]
fn commands_that_make_no_sense_are_refused() {
    let cq = command(AdminOpcode::CREATE_CQ.0).with_prp1(PAGE).with_qid(3).with_qsize(7).with_pc(true);
    let sq = command(AdminOpcode::CREATE_SQ.0).with_prp1(PAGE).with_qid(3).with_qsize(7).with_pc(true);
    let sq = sq.with_cqid(1);
    let identify = command(AdminOpcode::IDENTIFY.0).with_prp1(BUFFER).with_prp2(BUFFER + PAGE);
    let log = command(AdminOpcode::GET_LOG_PAGE.0).with_prp1(BUFFER).with_lid(2);
    let queues = command(AdminOpcode::SET_FEATURES.0).with_fid(7);
    for (name, command, want) in [
        ("opcode", command(0x10), Err(Status::INVALID_OPCODE)),
        ("keep alive", command(0x18), Err(Status::INVALID_OPCODE)),
        ("queue", cq, Ok(0)),
        ("queue 0", cq.with_qid(0), Err(Status::INVALID_QUEUE_IDENTIFIER)),
        ("queue 65", cq.with_qid(65), Err(Status::INVALID_QUEUE_IDENTIFIER)),
        ("queue twice", cq.with_qid(1), Err(Status::INVALID_QUEUE_IDENTIFIER)),
        ("one entry", cq.with_qsize(0), Err(Status::INVALID_QUEUE_SIZE)),
        ("too many entries", cq.with_qsize(1024), Err(Status::INVALID_QUEUE_SIZE)),
        ("scattered queue", cq.with_pc(false), Err(Status::INVALID_FIELD)),
        ("queue within a page", cq.with_prp1(PAGE + 64), Err(Status::PRP_OFFSET_INVALID)),
        ("vector", cq.with_iv(32), Err(Status::INVALID_INTERRUPT_VECTOR)),
        ("submission queue", sq, Ok(0)),
        ("for the admin queue", sq.with_cqid(0), Err(Status::COMPLETION_QUEUE_INVALID)),
        ("for no queue", sq.with_cqid(3), Err(Status::COMPLETION_QUEUE_INVALID)),
        ("for a strange queue", sq.with_cqid(0xffff), Err(Status::COMPLETION_QUEUE_INVALID)),
        ("submission queue twice", sq.with_qid(2), Err(Status::INVALID_QUEUE_IDENTIFIER)),
        ("scattered submission queue", sq.with_pc(false), Err(Status::INVALID_FIELD)),
        ("identify namespace 0", identify, Err(Status::INVALID_NAMESPACE)),
        ("identify namespace 2", identify.with_nsid(2), Err(Status::INVALID_NAMESPACE)),
        (
            "list after the last",
            identify.with_cns(2).with_nsid(u32::MAX.into()),
            Err(Status::INVALID_NAMESPACE),
        ),
        ("of a command set", identify.with_cns(5).with_nsid(1), Err(Status::INVALID_FIELD)),
        ("of a controller's command set", identify.with_cns(6), Err(Status::INVALID_FIELD)),
        ("identify over two pages", identify.with_cns(1).with_prp1(BUFFER + 512), Ok(0)),
        ("identify to nowhere", identify.with_cns(1).with_prp1(MEMORY), Err(Status::DATA_TRANSFER_ERROR)),
        ("log", log.with_lid(0x7f), Err(Status::INVALID_LOG_PAGE)),
        ("log of a namespace", log.with_nsid(1), Err(Status::INVALID_FIELD)),
        ("log between dwords", log.with_lpo(2), Err(Status::INVALID_FIELD)),
        ("log at its end", log.with_lpo(512), Ok(0)),
        ("log beyond its end", log.with_lpo(516), Err(Status::INVALID_FIELD)),
        ("log too long", log.with_numdu(1), Err(Status::INVALID_FIELD)),
        ("queues while there are some", queues, Err(Status::SEQUENCE_ERROR)),
        ("too many queues", queues.with_cdw11(0xffff), Err(Status::INVALID_FIELD)),
    ] {
        let mut driver = Driver::ready();
        assert_eq!(driver.run(0, command), want, "{name}");
    }
}

#[test]
fn features_read_back_what_can_be_set() {
    // Feature, bits of dword 11 that select, its value, what is then read.
    for (feature, selector, value, want) in [
        (FeatureId::ARBITRATION, 0, 0x0101_0102, Ok(0x0101_0102)),
        (FeatureId::POWER_MANAGEMENT, 0, 0, Ok(0)),
        (FeatureId::POWER_MANAGEMENT, 0, 1, Err(Status::INVALID_FIELD)),
        (FeatureId::TEMPERATURE_THRESHOLD, 0, 320, Ok(320)),
        (FeatureId::TEMPERATURE_THRESHOLD, 1 << 20, 280, Ok(280)),
        (FeatureId::TEMPERATURE_THRESHOLD, 1 << 16, 280, Err(Status::INVALID_FIELD)),
        (FeatureId::TEMPERATURE_THRESHOLD, 2 << 20, 280, Err(Status::INVALID_FIELD)),
        (FeatureId::ERROR_RECOVERY, 0, 100, Ok(100)),
        (FeatureId::ERROR_RECOVERY, 0, 1 << 16, Err(Status::INVALID_FIELD)),
        (FeatureId::VOLATILE_WRITE_CACHE, 0, 0, Ok(0)),
        (FeatureId::INTERRUPT_COALESCING, 0, 0x0405, Ok(0x0405)),
        (FeatureId::INTERRUPT_VECTOR, 31, 1 << 16, Ok(1 << 16 | 31)),
        (FeatureId::INTERRUPT_VECTOR, 32, 1 << 16, Err(Status::INVALID_FIELD)),
        (FeatureId::WRITE_ATOMICITY, 0, 1, Ok(1)),
        (FeatureId::ASYNC_EVENT_CONFIGURATION, 0, 0x1f, Ok(0x1f)),
        (FeatureId(0x03), 0, 0, Err(Status::INVALID_FIELD)),
        (FeatureId(0x0c), 0, 0, Err(Status::INVALID_FIELD)),
        (FeatureId(0x80), 0, 0, Err(Status::INVALID_FIELD)),
    ] {
        let mut driver = Driver::ready();
        let set = command(AdminOpcode::SET_FEATURES.0).with_fid(feature.0.into());
        let get = command(AdminOpcode::GET_FEATURES.0).with_fid(feature.0.into()).with_cdw11(selector);
        let default = driver.run(0, get);
        let saved = driver.run(0, set.with_cdw11(selector | value).with_sv(true));
        let got = driver.run(0, set.with_cdw11(selector | value)).and_then(|_| driver.run(0, get));
        assert_eq!(got, want, "{feature} {value:#x}");
        if got.is_ok() {
            assert_eq!(saved, Err(Status::FEATURE_NOT_SAVEABLE), "{feature}");
            for (sel, want) in [(1, default), (2, default)] {
                assert_eq!(driver.run(0, get.with_sel(sel)), want, "{feature} SEL {sel}");
            }
            let changeable = u32::from(feature != FeatureId::POWER_MANAGEMENT) << 2;
            assert_eq!(driver.run(0, get.with_sel(3)), Ok(changeable), "{feature}");
            driver.enable();
            assert_eq!(driver.run(0, get), default, "{feature} after a reset");
        }
    }
}

#[test]
fn logs_tell_of_commands_and_errors() {
    let mut driver = Driver::ready();
    let log = |id: LogId, dwords: u64| {
        command(AdminOpcode::GET_LOG_PAGE.0).with_lid(id.0.into()).with_numdl(dwords - 1).with_prp1(BUFFER)
    };
    for slba in 0..70 {
        assert_eq!(
            driver.run(1, io(Opcode::READ, 1).with_slba(1 << 40 | slba)),
            Err(Status::LBA_OUT_OF_RANGE)
        );
    }
    assert_eq!(driver.run(2, io(Opcode::WRITE, 256).with_prp2(0)), Ok(0), "a list of zeros");
    let newest = driver.cid - 1;

    assert_eq!(driver.run(0, log(LogId::ERROR_INFORMATION, 1024).with_prp2(BUFFER + PAGE)), Ok(0));
    let raw = driver.host.bytes(BUFFER, 4096);
    let word = |at: usize| u64::from_le_bytes(raw[at..at + 8].try_into().expect("eight bytes"));
    assert_eq!((word(0), word(64), word(63 * 64)), (70, 69, 7));
    assert_eq!(word(8), 1 | u64::from(newest) << 16 | (0x4080 << 1) << 32 | 0xffff << 48);
    assert_eq!((word(16), word(24)), (1 << 40 | 69, 1));

    assert_eq!(driver.run(0, log(LogId::SMART, 128)), Ok(0));
    let raw = driver.host.bytes(BUFFER, 512);
    for (at, want) in [(32, 0), (48, 1), (64, 70), (80, 1), (160, 0), (176, 70)] {
        assert_eq!(raw[at], want, "byte {at}");
    }
    // The second half only.
    driver.host.memory.write(BUFFER, &[0xee; 512]);
    assert_eq!(driver.run(0, log(LogId::SMART, 64).with_lpo(176)), Ok(0));
    assert_eq!(driver.host.bytes(BUFFER, 2), [70, 0]);

    assert_eq!(driver.run(0, log(LogId::FIRMWARE_SLOT, 128)), Ok(0));
    assert_eq!(driver.host.bytes(BUFFER, 16), *b"\x01\0\0\0\0\0\0\x001.0     ");

    assert_eq!(driver.run(0, log(LogId::COMMAND_EFFECTS, 1024)), Ok(0));
    let raw = driver.host.bytes(BUFFER, 4096);
    let supported = |at: usize| raw[4 * at] & 1 == 1;
    let admin: Vec<usize> = (0..256).filter(|i| supported(*i)).collect();
    let nvm: Vec<usize> = (0..256).filter(|i| supported(256 + *i)).collect();
    assert_eq!(admin, [0, 1, 2, 4, 5, 6, 8, 9, 10, 12]);
    assert_eq!(nvm, [0, 1, 2, 5, 8, 9]);
    assert_eq!((raw[4 * 257], raw[4 * 258]), (3, 1), "Write changes blocks, Read does not");
}

#[test]
fn event_requests_are_held_aborted_and_answered() {
    let mut driver = Driver::ready();
    let request = command(AdminOpcode::ASYNC_EVENT_REQUEST.0);
    let held: Vec<u16> = (0..4).map(|_| driver.submit(0, request)).collect();
    assert_eq!(driver.run(0, request), Err(Status::ASYNC_EVENT_LIMIT_EXCEEDED));

    // An abort ends both commands; there is nothing else to abort.
    let abort =
        |sqid: u64, cid: u16| command(AdminOpcode::ABORT.0).with_abort_sqid(sqid).with_abort_cid(cid.into());
    for (sqid, cid) in [(1, held[1]), (0, 0xffff)] {
        assert_eq!(driver.run(0, abort(sqid, cid)), Ok(1));
    }
    let cid = driver.submit(0, abort(0, held[1]));
    let ends: Vec<_> = driver.reap(0).iter().map(|e| (e.cid() as u16, e.dw0(), e.status())).collect();
    assert_eq!(ends, [(held[1], 0, Status::ABORT_REQUESTED.0.into()), (cid, 0, 0)]);

    // The temperature is 313 K: a threshold below is an event, if the host asked for it.
    let set =
        |fid: FeatureId, value| command(AdminOpcode::SET_FEATURES.0).with_fid(fid.0.into()).with_cdw11(value);
    assert_eq!(driver.run(0, set(FeatureId::TEMPERATURE_THRESHOLD, 300)), Ok(0));
    let cid = driver.submit(0, set(FeatureId::ASYNC_EVENT_CONFIGURATION, 2));
    let ends: Vec<_> = driver.reap(0).iter().map(|e| (e.cid() as u16, e.dw0())).collect();
    assert_eq!(ends, [(cid, 0), (held[0], 0x02_0101)]);
    let smart = command(AdminOpcode::GET_LOG_PAGE.0).with_lid(2).with_numdl(127).with_prp1(BUFFER);
    assert_eq!(driver.run(0, smart), Ok(0));
    assert_eq!(driver.host.bytes(BUFFER, 1), [2]);

    // An event that happens while nobody asks waits for a request.
    let mut driver = Driver::ready();
    driver.write32(sq_tail_doorbell(1), 0xffff);
    assert_eq!(driver.peek(0), None);
    driver.submit(0, request);
    assert_eq!(driver.reap(0)[0].dw0(), 0x01_0100);
}

//! Translated traffic, events, stalls.

use super::*;
use crate::dma::Grant;
use crate::smmu::IdrProfile;
use spec::smmu::EventNumber;

#[test]
fn a_hit_costs_the_lookup_and_the_access() {
    let mut b = Bench::booted();
    b.memory.write_u64(PAGES + 0x1000, 0x1122);
    assert_eq!(b.read_page(1), DmaResult::Ok(Data::u64(0x1122)));
    let reads = b.metric("walk_reads");
    assert!(reads >= 4, "an STE and three descriptors: {reads}");
    let start = b.now();
    let tag = b.dma(STREAM, 0x1008, Op::Read { len: 8 });
    b.run();
    assert_eq!(b.metric("walk_reads"), reads);
    let t = &b.psmmu.config().timing;
    assert_eq!(b.completion(tag).unwrap().0 - start, t.micro_tlb + t.forward + b.latency + t.complete);
}

#[test]
fn hits_pass_misses_and_misses_of_one_page_walk_once() {
    let mut b = Bench::booted();
    b.read_page(1);
    let reads = b.metric("walk_reads");
    let miss = b.dma(STREAM, 0x2000, Op::Read { len: 8 });
    let same = b.dma(STREAM, 0x2040, Op::Read { len: 8 });
    let hit = b.dma(STREAM, 0x1000, Op::Read { len: 8 });
    b.run();
    let when = |tag| b.completion(tag).unwrap().0;
    assert!(when(hit) < when(miss) && when(miss) <= when(same));
    assert_eq!((b.metric("walk_reads") - reads, b.metric("merged_misses")), (1, 1), "one leaf is read");
}

/// With one slot, or one walk at a time, everything still ends.
#[test]
fn slots_limit_but_do_not_block() {
    for (slots, walks) in [(1, 1), (2, 1), (4, 2), (64, 16)] {
        let mut b = Bench::booted_with(|c| {
            c.timing.translation_slots = slots;
            c.timing.walk_slots = walks;
        });
        let tags: Vec<_> = (0..48).map(|n| b.dma(STREAM, (n % 16) << 12, Op::Read { len: 8 })).collect();
        b.run();
        assert!(tags.iter().all(|&tag| matches!(b.result(tag), DmaResult::Ok(_))), "{slots} {walks}");
        assert!(b.psmmu.is_idle());
        assert_eq!(b.metric("slots_full") > 0, slots < 64);
    }
}

#[test]
fn writes_and_atomics_reach_memory() {
    let mut b = Bench::booted();
    b.dma(STREAM, 0x4010, Op::Write(Data::u64(40)));
    b.run();
    let tag = b.dma(STREAM, 0x4010, Op::FetchAdd(2));
    b.run();
    assert_eq!(b.result(tag), DmaResult::Ok(Data::u64(40)));
    assert_eq!(b.memory.read_u64(PAGES + 0x4010), 42);
}

#[test]
fn disabled_means_bypass_or_abort() {
    let mut b = Bench::with(|_| ());
    let read = |b: &mut Bench| {
        let tag = b.dma(STREAM, PAGES, Op::Read { len: 8 });
        b.run();
        b.result(tag)
    };
    b.memory.write_u64(PAGES, 9);
    assert_eq!(read(&mut b), DmaResult::Ok(Data::u64(9)));
    b.write32(0x44, 0x8010_0000);
    b.run();
    assert_eq!(read(&mut b), DmaResult::Aborted(Abort));
    assert!(b.events().is_empty());
}

#[test]
fn faults_are_recorded_and_interrupt_once() {
    let mut b = Bench::booted();
    for (sid, addr, number, interrupts) in [
        (STREAM, 0x1f_f000, EventNumber::F_TRANSLATION, 1),
        (BROKEN, 0, EventNumber::C_BAD_STE, 1),
        (99, 0, EventNumber::C_BAD_STREAMID, 1),
    ] {
        let tag = b.dma(sid, addr, Op::Read { len: 8 });
        b.run();
        assert_eq!(b.result(tag), DmaResult::Aborted(Abort));
        let event = *b.events().last().unwrap();
        assert_eq!((event.event(), event.sid()), (number, u64::from(sid)));
        assert_eq!(b.interrupts, vec![74; interrupts], "only when the queue was empty");
    }
    let prod = b.read32(EVENTQ_PROD);
    assert_eq!(prod, 3);
    assert_eq!(EventRecord::from_bytes(b.memory.read_data(EVENTS + 32, 32).bytes()), b.events()[1]);
    b.write32(EVENTQ_CONS, prod);
    b.dma(BROKEN, 0, Op::Read { len: 8 });
    b.run();
    assert_eq!(b.interrupts, [74, 74]);
}

#[test]
fn the_event_queue_overflows_and_recovers() {
    let mut b = Bench::booted();
    for _ in 0..11 {
        b.dma(BROKEN, 0, Op::Read { len: 8 });
    }
    b.run();
    assert_eq!((b.events().len(), b.metric("events_overflowed")), (8, 3));
    assert_eq!(b.read32(EVENTQ_PROD), 8 | 1 << 31);
    b.write32(EVENTQ_CONS, 8 | 1 << 31);
    b.dma(BROKEN, 0, Op::Read { len: 8 });
    b.run();
    assert_eq!(b.read32(EVENTQ_PROD), 9 | 1 << 31);
}

#[test]
fn sync_completes_while_the_event_queue_is_full() {
    let mut b = Bench::booted();
    for _ in 0..9 {
        b.dma(BROKEN, 0, Op::Read { len: 8 });
    }
    b.push(&[Command::sync()]);
    b.run();
    assert_eq!(b.cons(), (5, 0));
    assert_eq!(b.read32(EVENTQ_PROD) >> 31, 1);
}

/// What a client has seen abort before the CMD_SYNC is in the queue after it.
#[test]
fn sync_brings_events_out() {
    let mut b = Bench::booted();
    b.latency = Time::us(1);
    b.dma(BROKEN, 0, Op::Read { len: 8 });
    b.push(&[Command::sync()]);
    b.run();
    let written = b.records.iter().position(|(_, r)| matches!(r, Record::EventWritten { .. })).unwrap();
    let synced = b.records.iter().position(|(_, r)| matches!(r, Record::CommandConsumed { .. })).unwrap();
    assert!(written < synced);
}

#[test]
fn an_aborted_event_write_stops_the_queue() {
    let mut b = Bench::booted();
    b.aborts.insert(EVENTS);
    b.dma(BROKEN, 0, Op::Read { len: 8 });
    b.run();
    assert_eq!((b.read32(GERROR), b.read32(EVENTQ_PROD)), (4, 0));
    assert_eq!(b.interrupts, [77], "a global error, not an event");
    b.aborts.clear();
    b.write32(GERRORN, 4);
    b.dma(BROKEN, 0, Op::Read { len: 8 });
    b.run();
    assert_eq!(b.read32(EVENTQ_PROD), 1);
}

#[test]
fn interrupts_by_message() {
    let mut b = Bench::booted();
    b.update(0x50, 0x54, 0);
    b.write64(0xb0, DOORBELL);
    b.write32(0xb8, 40);
    b.update(0x50, 0x54, 4);
    b.dma(BROKEN, 0, Op::Read { len: 8 });
    b.run();
    let (when, addr, value) = *b.writes.last().unwrap();
    assert_eq!((addr, value, b.interrupts.len()), (DOORBELL, 40, 0));
    let visible = b.records.iter().find(|(_, r)| matches!(r, Record::EventWritten { .. })).unwrap().0;
    assert!(when >= visible, "PROD is visible before the message");
}

#[test]
fn ats_requests_are_answered_and_translated_accesses_pass() {
    let mut b = Bench::booted();
    b.update(CR0, CR0ACK, CMDQEN | EVENTQEN | SMMUEN | 1 << 4);
    let now = b.now();
    let op = Op::Read { len: 8 };
    let tag = b.dma_at(now, STREAM, 0x5000, op, AddressType::TranslationRequest { write: true });
    b.run();
    let DmaResult::Translation(Grant { pa, read, write, .. }) = b.result(tag) else {
        panic!("{:?}", b.result(tag))
    };
    assert_eq!((pa & !0xfff, read, write), (PAGES + 0x5000, true, true));
    let tag = b.dma_at(b.now(), STREAM, pa, Op::Write(Data::u64(3)), AddressType::Translated);
    b.run();
    assert_eq!(b.result(tag), DmaResult::Ok(Data::EMPTY));
    assert_eq!(b.memory.read_u64(pa), 3);
}

/// Faults that stall wait for CMD_RESUME, and CMD_SYNC does not wait for them.
#[test]
fn stalled_transactions_are_resumed() {
    for (ac, ab, want) in [
        (true, false, DmaResult::Ok(Data::u64(0x77))),
        (false, true, DmaResult::Aborted(Abort)),
        (false, false, DmaResult::Ok(Data::u64(0))),
    ] {
        let mut b = Bench::booted_with(|c| c.idr = IdrProfile::STALLING);
        let at = STREAMS + 64 * u64::from(STREAM);
        let ste = Ste::from_bytes(b.memory.read_data(at, 64).bytes()).with_s2s(true).with_eats(0);
        b.memory.write(at, &ste.to_bytes());
        b.unmap(1);
        b.memory.write_u64(PAGES + 0x1000, 0x77);
        let tag = b.dma(STREAM, 0x1000, Op::Read { len: 8 });
        b.run();
        assert_eq!(b.completion(tag), None, "it waits");
        let event = b.events()[0];
        assert!(event.stall());
        b.submit(&[Command::sync()]);
        assert_eq!(b.cons(), (5, 0));
        b.map(1, PAGES + 0x1000);
        b.submit(&[Command::resume(STREAM, event.stag() as u16 + 1, ac, ab)]);
        assert_eq!(b.completion(tag), None, "no such tag");
        b.submit(&[Command::resume(STREAM, event.stag() as u16, ac, ab)]);
        assert_eq!(b.result(tag), want);
    }
}

#[test]
fn a_stall_that_finds_the_queue_full_is_not_lost() {
    let mut b = Bench::booted_with(|c| c.idr = IdrProfile::STALLING);
    let at = STREAMS + 64 * u64::from(STREAM);
    let ste = Ste::from_bytes(b.memory.read_data(at, 64).bytes()).with_s2s(true).with_eats(0);
    b.memory.write(at, &ste.to_bytes());
    for _ in 0..8 {
        b.dma(BROKEN, 0, Op::Read { len: 8 });
    }
    b.run();
    b.unmap(1);
    b.dma(STREAM, 0x1000, Op::Read { len: 8 });
    b.run();
    assert_eq!((b.read32(EVENTQ_PROD), b.metric("stalls")), (8, 0), "no overflow");
    b.write32(EVENTQ_CONS, 8);
    b.run();
    assert_eq!((b.read32(EVENTQ_PROD), b.metric("stalls")), (9, 1));
    b.submit(&[Command::stall_term(STREAM)]);
    assert_eq!(b.completions.last().unwrap().1.result, DmaResult::Aborted(Abort));
}

//! Translated traffic of any length, events, ATS, stalls.

use super::super::{Fate, Resumed};
use super::*;
use crate::dma::Grant;
use crate::smmu::AtsAnswer;
use spec::smmu::EventNumber;

const S: Stream = Stream::new(STREAM);

#[test]
fn one_lookup_and_one_access_for_each_page() {
    let mut b = Bench::booted();
    let bytes: Vec<u8> = (0..0x3000_u32).map(|i| (i % 251) as u8).collect();
    for page in 0..4 {
        b.map(page, PAGES + ((15 - page) << 12));
    }
    b.dma_write(S, 0x123, &bytes).expect("mapped");
    let lens: Vec<_> = b.world.writes.iter().rev().take(4).rev().map(|(a, w)| (*a, w.len())).collect();
    let page = |n: u64| PAGES + (n << 12);
    assert_eq!(lens, [(page(15) + 0x123, 0xedd), (page(14), 0x1000), (page(13), 0x1000), (page(12), 0x123)]);
    assert_eq!(b.dma_read(S, 0x123, bytes.len()), Ok(bytes));
    assert_eq!((b.metric("dmas"), b.metric("misses"), b.metric("micro_tlb.hits")), (8, 4, 4));
    let reads = b.metric("walk_reads");
    assert_eq!(reads, 1 + 3 + 3, "an STE, three levels, then three leaves");
    let done = b.world.records.iter().filter(|r| matches!(r, Record::DmaDone { .. })).count();
    assert_eq!(done, 8);
    assert_eq!(b.dma_read(S, 0, 0), Ok(vec![]));
}

#[test]
fn what_went_before_a_refused_page_has_been_done() {
    let mut b = Bench::booted();
    assert_eq!(b.dma_write(S, 0xfff8, &[7; 32]), Err(DmaError::Aborted { done: 8 }));
    assert_eq!(b.world.memory.read_u64(PAGES + 0xfff8), 0x0707_0707_0707_0707);
    b.world.aborts.insert(PAGES + 0x3000);
    let mut bytes = [0xee; 0x2000];
    let result = b.smmu.dma_read(S, 0x2000, &mut bytes, &mut b.world);
    assert_eq!(result, Err(DmaError::Aborted { done: 0x1000 }), "memory aborts");
    assert_eq!((bytes[0xfff], bytes[0x1000], b.events().len()), (0, 0xee, 1));
}

#[test]
fn addresses_wrap_and_do_no_harm() {
    let mut b = Bench::with(|_| ());
    assert_eq!(b.dma_read(S, u64::MAX - 3, 8), Err(ABORTED), "beyond the output size in bypass");
    assert_eq!(b.dma_read(S, (1 << 48) - 4, 8), Err(DmaError::Aborted { done: 4 }));
}

#[test]
fn disabled_means_bypass_or_abort() {
    let mut b = Bench::with(|_| ());
    b.world.memory.write_u64(0x1000, 9);
    assert_eq!(b.read_page(1), Ok(9));
    b.write32(0x44, 0x8010_0000);
    assert_eq!(b.read_page(1), Err(ABORTED));
    assert!(b.events().is_empty());
}

#[test]
fn faults_are_recorded_and_interrupt_once() {
    let mut b = Bench::booted();
    for (sid, addr, number) in [
        (STREAM, 0x1f_f000, EventNumber::F_TRANSLATION),
        (BROKEN, 0, EventNumber::C_BAD_STE),
        (99, 0, EventNumber::C_BAD_STREAMID),
    ] {
        assert_eq!(b.dma_read(Stream::new(sid), addr, 8), Err(ABORTED));
        let event = *b.events().last().unwrap();
        assert_eq!((event.event(), event.sid()), (number, u64::from(sid)));
        assert_eq!(b.world.interrupts, [74], "only when the queue was empty");
    }
    let prod = b.read32(EVENTQ_PROD);
    assert_eq!(prod, 3);
    assert_eq!(EventRecord::from_bytes(b.world.memory.read_data(EVENTS + 32, 32).bytes()), b.events()[1]);
    b.write32(EVENTQ_CONS, prod);
    b.dma_read(Stream::new(BROKEN), 0, 8).unwrap_err();
    assert_eq!(b.world.interrupts, [74, 74]);
}

#[test]
fn the_event_queue_overflows_and_recovers() {
    let mut b = Bench::booted();
    for _ in 0..11 {
        b.dma_read(Stream::new(BROKEN), 0, 8).unwrap_err();
    }
    assert_eq!((b.events().len(), b.metric("events_overflowed")), (8, 3));
    assert_eq!(b.read32(EVENTQ_PROD), 8 | 1 << 31);
    b.write32(EVENTQ_CONS, 8 | 1 << 31);
    b.dma_read(Stream::new(BROKEN), 0, 8).unwrap_err();
    assert_eq!(b.read32(EVENTQ_PROD), 9 | 1 << 31);
}

#[test]
fn an_aborted_event_write_stops_the_queue() {
    let mut b = Bench::booted();
    b.world.aborts.insert(EVENTS);
    b.dma_read(Stream::new(BROKEN), 0, 8).unwrap_err();
    assert_eq!((b.read32(GERROR), b.read32(EVENTQ_PROD)), (4, 0));
    assert_eq!(b.world.interrupts, [77], "a global error, not an event");
    b.world.aborts.clear();
    b.write32(GERRORN, 4);
    b.dma_read(Stream::new(BROKEN), 0, 8).unwrap_err();
    assert_eq!(b.read32(EVENTQ_PROD), 1);
}

#[test]
fn interrupts_by_message() {
    let mut b = Bench::booted();
    b.update(0x50, 0x54, 0);
    b.write64(0xb0, DOORBELL);
    b.write32(0xb8, 40);
    b.update(0x50, 0x54, 4);
    b.dma_read(Stream::new(BROKEN), 0, 8).unwrap_err();
    assert_eq!(b.world.writes.last(), Some(&(DOORBELL, vec![40, 0, 0, 0])));
    assert!(b.world.interrupts.is_empty());
    let last = b.world.records.iter().rposition(|r| matches!(r, Record::MemoryWrite { .. })).unwrap();
    assert!(
        matches!(b.world.records[last - 1], Record::EventWritten { .. }),
        "PROD is visible before the message"
    );
    b.world.aborts.insert(DOORBELL);
    b.write32(EVENTQ_CONS, 1);
    b.dma_read(Stream::new(BROKEN), 0, 8).unwrap_err();
    assert_eq!(b.read32(GERROR), 1 << 5, "MSI_EVENTQ_ABT_ERR");
}

#[test]
fn ats_requests_are_answered_and_translated_accesses_pass() {
    let mut b = Bench::booted();
    b.update(CR0, CR0ACK, CMDQEN | EVENTQEN | SMMUEN | 1 << 4);
    let answer = b.smmu.translation_request(S, 0x5000, true, &mut b.world);
    let AtsAnswer::Translation(Grant { pa, read, write, .. }) = answer else { panic!("{answer:?}") };
    assert_eq!((pa & !0xfff, read, write), (PAGES + 0x5000, true, true));
    assert_eq!(b.dma_write(S.translated(), pa, &[3]), Ok(()));
    assert_eq!(b.world.memory.read_u64(pa), 3);
    let answer = b.smmu.translation_request(S, 0x1f_f000, true, &mut b.world);
    let nothing = Grant { size_log2: 12, ..Grant::default() };
    assert_eq!((answer, b.events().len()), (AtsAnswer::Translation(nothing), 0));
    assert_eq!(b.smmu.translation_request(Stream::new(BROKEN), 0, false, &mut b.world), AtsAnswer::Abort);
}

/// A DMA that stalls in its second page goes on there after CMD_RESUME.
#[test]
fn stalled_transactions_are_resumed() {
    for (ac, ab, fate) in
        [(true, false, Fate::Retry), (false, true, Fate::Abort), (false, false, Fate::ZeroIgnore)]
    {
        let mut b = Bench::stalling();
        b.unmap(1);
        let Err(DmaError::Stalled { ticket, stag: Some(stag), done: 8 }) = b.dma_write(S, 0xff8, &[1; 24])
        else {
            panic!("it stalls in the second page")
        };
        let event = b.events()[0];
        assert!(event.stall() && event.stag() == u64::from(stag));
        b.submit(&[Command::sync()]);
        assert_eq!(b.cons(), (5, 0), "CMD_SYNC does not wait for it");
        b.submit(&[Command::resume(STREAM, stag + 1, ac, ab)]);
        assert_eq!(b.smmu.resumed(), None, "no such tag");
        b.map(1, PAGES + 0x1000);
        b.submit(&[Command::resume(STREAM, stag, ac, ab)]);
        let resumed = Resumed { ticket, stream: S, iova: 0x1000, len: 16, fate };
        assert_eq!((b.smmu.resumed(), b.smmu.resumed()), (Some(resumed), None));
        let noted = b.world.records.iter().filter(|r| matches!(r, Record::DmaAborted { event: None, .. }));
        assert_eq!(noted.count(), usize::from(fate != Fate::Retry));
        if fate == Fate::Retry {
            assert_eq!(b.dma_write(S, 0x1000, &[1; 16]), Ok(()));
        }
    }
}

#[test]
fn a_stall_that_finds_the_queue_full_is_told_to_try_again() {
    let mut b = Bench::stalling();
    for _ in 0..8 {
        b.dma_read(Stream::new(BROKEN), 0, 8).unwrap_err();
    }
    b.unmap(1);
    let stalled = |stag| move |e: DmaError| matches!(e, DmaError::Stalled { stag: s, .. } if s == stag);
    assert!(b.read_page(1).is_err_and(stalled(None)));
    assert_eq!((b.read32(EVENTQ_PROD), b.metric("stalls")), (8, 0), "no overflow");
    b.write32(EVENTQ_CONS, 8);
    assert_eq!(b.smmu.resumed().map(|r| (r.iova, r.fate)), Some((0x1000, Fate::Retry)));
    assert!(b.read_page(1).is_err_and(stalled(Some(0))));
    b.submit(&[Command::stall_term(STREAM)]);
    assert_eq!(b.smmu.resumed().map(|r| r.fate), Some(Fate::Abort));
}

#[test]
fn disabling_ends_what_is_stalled_and_stalls_are_bounded() {
    let mut b = Bench::stalling();
    b.unmap(1);
    for n in 0..super::super::PARKED_MAX + 3 {
        let aborted = b.read_page(1) == Err(ABORTED);
        assert_eq!(aborted, n >= super::super::PARKED_MAX, "{n}");
        b.world.records.clear();
    }
    b.update(CR0, CR0ACK, CMDQEN | EVENTQEN);
    let mut ended = 0;
    while let Some(resumed) = b.smmu.resumed() {
        assert_eq!(resumed.fate, Fate::Abort);
        ended += 1;
    }
    assert_eq!(ended, super::super::PARKED_MAX);
}

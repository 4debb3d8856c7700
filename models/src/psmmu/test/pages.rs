//! Page requests: what waits for what. Which request is written and which is answered is in `conformance`.

use super::*;
use crate::dma::PageAnswer;

/// Everything on, with a PRI queue of `1 << log2` entries.
fn paging(log2: u64) -> Bench {
    let mut b = Bench::booted();
    b.write64(PRIQ_BASE, PAGE_REQUESTS | log2);
    b.update(CR0, CR0ACK, CMDQEN | EVENTQEN | SMMUEN | PRIQEN);
    b.update(0x50, 0x54, 7);
    b.records.clear();
    b
}

fn request(group: u64) -> PageRequest {
    PageRequest::default().with_sid(STREAM.into()).with_r(true).with_last(true).with_prgindex(group)
}

fn at(b: &Bench, what: impl Fn(&Record) -> bool) -> Time {
    b.records.iter().find(|(_, record)| what(record)).expect("it happened").0
}

#[test]
fn a_request_interrupts_once_it_is_visible_and_software_answers() {
    let mut b = paging(2);
    b.page_request(request(5));
    b.run();
    assert_eq!(PageRequest::from_bytes(b.memory.read_data(PAGE_REQUESTS, 16).bytes()), request(5));
    assert_eq!((b.read32(PRIQ_PROD), &b.interrupts[..]), (1, &[75][..]));
    assert!(b.page_responses.is_empty());
    b.submit(&[Command::pri_resp(STREAM, None, 5, spec::smmu::command::resp::SUCCESS)]);
    let want = PageResponse { sid: STREAM, ssid: None, group: 5, answer: PageAnswer::Success };
    assert_eq!(b.page_responses, [want]);
    assert_eq!(b.metric("page_responses"), 1);
}

/// Neither PRIQEN nor SMMUEN is acknowledged before requests that were taken are visible; later ones are refused at once.
#[test]
fn disabling_waits_for_requests_under_way() {
    for off in [CMDQEN | EVENTQEN | SMMUEN, CMDQEN | EVENTQEN | PRIQEN] {
        let mut b = paging(2);
        b.latency = Time::us(10);
        b.page_request(request(0));
        b.run_until(b.now());
        b.write32(CR0, off);
        b.page_request(request(1));
        b.run();
        let written = at(&b, |r| matches!(r, Record::PageRequestWritten { .. }));
        let ack = at(&b, |r| matches!(r, Record::SmmuUpdated { offset: 0x24, .. }));
        let refused = at(&b, |r| matches!(r, Record::PageResponse { automatic: true, .. }));
        assert!(refused < written && written <= ack, "{off}");
        assert_eq!((b.read32(CR0ACK), b.read32(PRIQ_PROD)), (off, 1));
        assert!(b.psmmu.is_idle());
    }
}

#[test]
fn disabling_the_interrupt_waits_for_its_message() {
    let mut b = paging(2);
    b.update(0x50, 0x54, 0);
    b.write64(PRIQ_IRQ_CFG0, DOORBELL);
    b.update(0x50, 0x54, 2);
    b.records.clear();
    b.latency = Time::us(10);
    b.aborts.insert(DOORBELL);
    b.page_request(request(0));
    b.run_until(b.now() + Time::us(15));
    b.write32(0x50, 0);
    b.run();
    let failed = at(&b, |r| matches!(r, Record::GlobalError { bit: 6, .. }));
    let ack = at(&b, |r| matches!(r, Record::SmmuUpdated { offset: 0x54, .. }));
    assert!(failed <= ack, "MSI_PRIQ_ABT_ERR is visible");
}

/// A look at STE.PPAR is a fetch like others: CMD_SYNC waits for it, and what was invalidated meanwhile is not kept.
#[test]
fn sync_waits_for_a_look_at_the_stream() {
    let mut b = paging(0);
    b.page_request(request(0));
    b.run();
    let pasid = request(1).with_ssv(true).with_ssid(3);
    b.latency = Time::us(10);
    for _ in 0..4 {
        b.page_request(pasid);
    }
    // The STE is being read; commands overtake that.
    b.run_until(b.now() + Time::us(2));
    b.latency = Time::ns(50);
    b.records.clear();
    let ppar = |b: &mut Bench, ppar| {
        let at = STREAMS + 64 * u64::from(STREAM);
        let ste = Ste::from_bytes(b.memory.read_data(at, 64).bytes()).with_ppar(ppar);
        b.memory.write(at, &ste.to_bytes());
    };
    ppar(&mut b, true);
    b.submit(&[Command::cfgi_ste(STREAM, true), Command::sync()]);
    let answered = at(&b, |r| matches!(r, Record::PageResponse { .. }));
    assert!(answered <= b.consumed(Opcode::SYNC).expect("it completes"));
    let ssids: Vec<_> = b.page_responses.iter().map(|r| (r.answer, r.ssid)).collect();
    let new = (PageAnswer::Success, Some(3));
    assert_eq!(
        ssids,
        [(PageAnswer::Success, None), new, new, new],
        "the second one reads again, the others hit"
    );
    assert!(b.psmmu.is_idle());
}

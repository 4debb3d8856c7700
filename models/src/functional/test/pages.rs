//! Page requests, without time. Which request is written and which is answered is in `conformance`.

use super::*;
use crate::dma::PageAnswer;
use spec::smmu::PageRequest;

/// Everything on, with a PRI queue of one entry.
fn paging() -> Bench {
    let mut b = Bench::booted();
    b.write64(PRIQ_BASE, PAGE_REQUESTS);
    b.update(CR0, CR0ACK, CMDQEN | EVENTQEN | SMMUEN | PRIQEN);
    b.world.records.clear();
    b
}

fn request(group: u64) -> PageRequest {
    PageRequest::default().with_sid(STREAM.into()).with_r(true).with_last(true).with_prgindex(group)
}

#[test]
fn a_request_is_written_and_answered_when_the_call_returns() {
    let mut b = paging();
    b.update(0x50, 0x54, 7);
    b.smmu.page_request(request(5), &mut b.world);
    assert_eq!(PageRequest::from_bytes(b.world.memory.read_data(PAGE_REQUESTS, 16).bytes()), request(5));
    assert_eq!((b.read32(PRIQ_PROD), &b.world.interrupts[..]), (1, &[75][..]));
    b.submit(&[Command::pri_resp(STREAM, None, 5, spec::smmu::command::resp::INVALID)]);
    b.smmu.page_request(request(6), &mut b.world);
    let answer = |group, answer| PageResponse { sid: STREAM, ssid: None, group, answer };
    assert_eq!(b.world.page_responses, [answer(5, PageAnswer::Invalid), answer(6, PageAnswer::Success)]);
    assert_eq!(b.read32(PRIQ_PROD), 1 << 31 | 1);
    assert_eq!((b.metric("page_requests"), b.metric("page_requests_overflowed")), (1, 1));
    assert_eq!((b.metric("page_responses"), b.metric("automatic_page_responses")), (1, 1));
}

#[test]
fn interrupts_by_message() {
    let mut b = paging();
    b.write64(PRIQ_IRQ_CFG0, DOORBELL);
    b.write32(0xd8, 41);
    b.write32(PRIQ_IRQ_CFG2, 1 << 31);
    b.update(0x50, 0x54, 3);
    let message = (DOORBELL, vec![41, 0, 0, 0]);
    b.smmu.page_request(request(0), &mut b.world);
    assert_eq!(b.world.writes.last(), Some(&message), "after the request");
    b.world.writes.clear();
    b.smmu.page_request(request(1), &mut b.world);
    assert_eq!(b.world.writes, [message], "LO counts what an overflow discards");
    b.write32(PRIQ_CONS, 1 << 31 | 1);
    b.world.aborts.insert(DOORBELL);
    b.smmu.page_request(request(2), &mut b.world);
    assert_eq!(b.read32(GERROR), 1 << 6, "MSI_PRIQ_ABT_ERR");
}

//! Page requests of devices, and the driver's answers.

use models::dma::PageAnswer::{self, Invalid, Success};
use spec::smmu::PageRequest;

use super::*;

const PAGE: u64 = 0x1000;

/// A driver with a PRI queue of eight entries, and a stream that gets four pages from [`IOVA`] on when it asks. It may only
/// read the last one.
fn paging(interrupt: Time) -> (Bench, Arc<Driver>, Arc<Domain>) {
    let mut bench = Bench::new(Parts::plain(1));
    let mut config = bench.config();
    config.wanted.pri = true;
    config.priq_log2_max = 3;
    config.costs.interrupt = interrupt;
    let driver = probe(&mut bench, config);
    let domain = domain(&mut bench, &driver, DomainKind::Stage1, SID);
    let pa = Bench::free_memory();
    for (iova, len, prot) in [(IOVA, 3 * PAGE, Prot::READ_WRITE), (IOVA + 3 * PAGE, PAGE, Prot::READ)] {
        let range = DemandRange { domain: Arc::clone(&domain), iova, pa: pa + (iova - IOVA), len, prot };
        driver.map_on_demand(SID, None, range);
    }
    let other =
        DemandRange { domain: Arc::clone(&domain), iova: IOVA, pa, len: PAGE, prot: Prot::READ_WRITE };
    driver.map_on_demand(SID, Some(4), other);
    (bench, driver, domain)
}

fn request(page: u64) -> PageRequest {
    let addr = IOVA.wrapping_add(page.wrapping_mul(PAGE));
    PageRequest::default().with_sid(SID.into()).with_r(true).with_last(true).with_prgindex(5).with_addr(addr)
}

fn answers(bench: &mut Bench) -> Vec<PageAnswer> {
    std::mem::take(&mut bench.page_responses).iter().map(|response| response.answer).collect()
}

#[test]
fn requests_are_served_from_their_ranges() {
    let not_last = |page| request(page).with_last(false);
    let pasid = request(0).with_ssv(true).with_ssid(3);
    let rows: &[(&str, &[PageRequest], &[PageAnswer], u64)] = &[
        ("one page", &[request(1)], &[Success], 1),
        ("twice", &[request(1), request(1)], &[Success, Success], 1),
        ("read-only page", &[request(3)], &[Success], 1),
        ("write to it", &[request(3).with_w(true)], &[Invalid], 0),
        ("below", &[request(u64::MAX)], &[Invalid], 0),
        ("beyond", &[request(4)], &[Invalid], 0),
        ("another stream", &[request(0).with_sid(7)], &[Invalid], 0),
        ("with PASID", &[pasid.with_ssid(4)], &[Success], 1),
        ("with another PASID", &[pasid], &[Invalid], 0),
        ("beyond what that PASID has", &[request(1).with_ssv(true).with_ssid(4)], &[Invalid], 0),
        ("stop marker", &[pasid.with_r(false)], &[], 0),
        ("stop marker amid a group", &[not_last(4), pasid.with_r(false), request(2)], &[Invalid], 1),
        (
            "two groups, one in the other",
            &[not_last(4), request(1).with_prgindex(6), request(2)],
            &[Success, Invalid],
            2,
        ),
        ("a group", &[not_last(0), not_last(1), request(2)], &[Success], 3),
        ("a group with a bad one", &[not_last(0), not_last(4), request(2)], &[Invalid], 2),
        ("the group after that", &[not_last(4), request(2), request(1)], &[Invalid, Success], 2),
    ];
    for (name, requests, want, mapped) in rows {
        let (mut bench, _, domain) = paging(Time::ns(500));
        requests.iter().for_each(|request| bench.page_request(*request));
        assert_eq!(answers(&mut bench), *want, "{name}");
        let there = (0..4).filter(|page| domain.lookup(IOVA + page * PAGE).is_some()).count();
        assert_eq!(there as u64, *mapped, "{name}");
    }
}

#[test]
fn what_is_withdrawn_is_not_given() {
    let (mut bench, driver, domain) = paging(Time::ns(500));
    bench.page_request(request(0));
    assert_eq!(domain.lookup(IOVA), Some(Bench::free_memory()));
    bench.run(0, |cpu| async move { driver.withdraw(&cpu, SID, None, IOVA).await });
    bench.page_request(request(1));
    bench.page_request(request(3));
    assert_eq!(answers(&mut bench), [Success, Invalid, Success], "the other range stays");
    assert!(domain.lookup(IOVA).is_some(), "what is mapped stays");
}

/// While the handler is on its way, more requests come than the queue holds.
#[test]
fn the_queue_works_on_after_an_overflow() {
    let (mut bench, _, _) = paging(Time::us(100));
    (0..12).for_each(|_| bench.send_page_request(request(0)));
    bench.settle();
    assert_eq!(answers(&mut bench), [Success; 12], "four of them by the SMMU itself");
    let dropped =
        bench.records.iter().filter(|(_, r)| matches!(r, Record::PageRequestDropped { .. })).count();
    assert_eq!(dropped, 4);
    bench.page_request(request(4));
    assert_eq!(answers(&mut bench), [Invalid], "software has seen it");
}

/// The last request of a group with a bad one is lost, and its index is given to another group then.
#[test]
fn a_group_that_an_overflow_cuts_short_is_forgotten() {
    let (mut bench, _, _) = paging(Time::us(100));
    let others = (0..7).map(|n| request(0).with_prgindex(n + 10));
    let cut = [request(4).with_last(false)].into_iter().chain(others).chain([request(1)]);
    cut.for_each(|request| bench.send_page_request(request));
    bench.settle();
    assert_eq!(answers(&mut bench), [Success; 8], "the one that was cut short by the SMMU itself");
    bench.page_request(request(2));
    assert_eq!(answers(&mut bench), [Success], "nothing is wrong with this one");
}

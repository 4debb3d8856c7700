//! The PRI queue: overflow, automatic answers, interrupts; and the answers of software.

use models::dma::PageAnswer::{Failure, Invalid, Success};
use spec::smmu::page0::PRIQ_IRQ_CFG2;
use spec::smmu::{Command, GlobalError, PageRequest, command::resp};

use crate::rig::{PAGE_LINE, Rig, at, page_request, page_response, same};
use crate::suite::{Check, Row};

const OVFLG: u32 = 1 << 31;

/// A request without the last of its group.
fn not_last(group: u16) -> PageRequest {
    page_request(group).with_last(false)
}

/// A request with PASID 3.
fn pasid(group: u16) -> PageRequest {
    page_request(group).with_ssv(true).with_ssid(3)
}

fn stop_marker() -> PageRequest {
    pasid(0).with_r(false)
}

/// A queue of two entries, which are taken.
fn full(r: &mut Rig) -> Check {
    r.page_queue(1);
    r.boot()?;
    r.ask(page_request(0));
    r.ask(not_last(1));
    same("PRIQ_PROD", r.read32(at::PRIQ_PROD), 2)?;
    r.responded(&[])
}

/// The same, and a request has been lost since.
fn overflowed(r: &mut Rig) -> Check {
    full(r)?;
    r.ask(not_last(1));
    same("PRIQ_PROD", r.read32(at::PRIQ_PROD), OVFLG | 2)
}

/// What is in the queue must be this; nothing is acknowledged.
fn stored(r: &mut Rig, expected: &[PageRequest]) -> Check {
    same("the PRI queue", &r.page_requests(false)[..], expected)
}

/// How many interrupts of the PRI queue a request makes.
fn interrupts(r: &mut Rig, request: PageRequest) -> usize {
    let count = |r: &Rig| r.world.edges.iter().filter(|line| **line == PAGE_LINE).count();
    let before = count(r);
    r.ask(request);
    count(r) - before
}

pub(super) const ROWS: &[Row] = &[
    Row::new("P01", "8.1", "A page request that finds the queue full is dropped: OVFLG toggles", |r| {
        full(r)?;
        r.ask(not_last(1));
        same("PRIQ_PROD", r.read32(at::PRIQ_PROD), OVFLG | 2)?;
        r.ask(not_last(1));
        same("PRIQ_PROD after one more", r.read32(at::PRIQ_PROD), OVFLG | 2)?;
        r.responded(&[])?;
        stored(r, &[page_request(0), not_last(1)])
    }),
    Row::new("P02", "8.1", "While overflowed, the last request of a group is answered with Success", |r| {
        overflowed(r)?;
        r.ask(page_request(7));
        r.responded(&[page_response(7, None, Success)])?;
        // With a PASID STE.PPAR is looked at, if there is a valid STE.
        r.ask(pasid(8));
        r.responded(&[page_response(8, None, Success)])?;
        r.ste(1, |ste| ste.with_ppar(true));
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.ask(pasid(8));
        r.responded(&[page_response(8, Some(3), Success)])?;
        r.ste(1, |ste| ste.with_v(false));
        r.commands(&[Command::cfgi_ste(1, true)])?;
        r.ask(pasid(8));
        r.responded(&[page_response(8, None, Failure)])?;
        r.recorded(&[])?;
        stored(r, &[page_request(0), not_last(1)])
    }),
    Row::new("P03", "8.1", "While overflowed, requests are not stored even if there is room", |r| {
        overflowed(r)?;
        stored(r, &[page_request(0), not_last(1)])?;
        r.ask(page_request(2));
        r.responded(&[page_response(2, None, Success)])?;
        stored(r, &[])?;
        r.page_requests(true);
        r.ask(page_request(3));
        r.responded(&[])?;
        stored(r, &[page_request(3)])?;
        let responses = [(resp::SUCCESS, Success), (resp::INVALID, Invalid), (resp::FAILURE, Failure)];
        responses.into_iter().try_for_each(|(code, answer)| {
            r.commands(&[Command::pri_resp(1, Some(5), 3, code)])?;
            r.responded(&[page_response(3, Some(5), answer)])
        })
    }),
    Row::new("P04", "8.2", "With PRIQEN=0 a page request is answered with Failure", |r| {
        r.page_queue(1);
        r.boot()?;
        let refused = |r: &mut Rig| {
            for request in [page_request(4), not_last(4), pasid(4)] {
                r.ask(request);
                r.responded(&[page_response(4, None, Failure)])?;
            }
            r.ask(stop_marker());
            r.responded(&[])?;
            stored(r, &[])?;
            same("OVFLG", r.read32(at::PRIQ_PROD) & OVFLG, 0)
        };
        r.change_cr0(|cr0| cr0.with_priqen(false))?;
        refused(r)?;
        // SMMUEN=0 counts as PRIQEN=0, and CMD_PRI_RESP is ignored.
        r.change_cr0(|cr0| cr0.with_priqen(true).with_smmuen(false))?;
        refused(r)?;
        r.commands(&[Command::pri_resp(1, None, 4, resp::SUCCESS)])?;
        r.responded(&[])?;
        r.change_cr0(|cr0| cr0.with_smmuen(true))?;
        // An aborted write stops the queue until it is acknowledged.
        let queue = r.page_queue_at();
        r.break_at(queue);
        r.ask(page_request(4));
        r.responded(&[page_response(4, None, Failure)])?;
        let error = GlobalError::PRIQ_ABT_ERR.mask() as u32;
        same("GERROR", r.read32(at::GERROR), error)?;
        r.world.aborts.clear();
        refused(r)?;
        r.write32(at::GERRORN, error);
        r.ask(page_request(5));
        r.responded(&[])?;
        stored(r, &[page_request(5)])
    }),
    Row::new(
        "P05",
        "6.3.36",
        "PRIQ_IRQ_CFG2.LO chooses between the last request and a non-empty queue",
        |r| {
            r.page_queue(1);
            r.boot()?;
            for last_only in [false, true] {
                r.irq_ctrl(5)?;
                r.change_cr0(|cr0| cr0.with_priqen(true))?;
                r.write32(at::PRIQ_IRQ_CFG2, PRIQ_IRQ_CFG2(0).with_lo(last_only).0 as u32);
                same("interrupts while PRIQ_IRQEN=0", interrupts(r, page_request(0)), 0)?;
                r.page_requests(false);
                r.irq_ctrl(7)?;
                let [empty, last] = [!last_only, last_only].map(usize::from);
                for (request, when, expected) in [
                    (not_last(1), "the first request", empty),
                    (page_request(1), "the last request of a group", last),
                    (not_last(2), "a request that finds the queue full", 0),
                    (page_request(2), "the last of its group that finds the queue full", last),
                ] {
                    same(&format!("interrupts of {when}, LO={last_only}"), interrupts(r, request), expected)?;
                }
                r.page_requests(true);
                r.change_cr0(|cr0| cr0.with_priqen(false))?;
                same("interrupts while PRIQEN=0", interrupts(r, page_request(3)), 0)?;
            }
            Ok(())
        },
    ),
    Row::new("P06", "8.1", "While overflowed, a stop marker is dropped without an answer", |r| {
        overflowed(r)?;
        r.ask(stop_marker());
        r.responded(&[])?;
        same("PRIQ_PROD", r.read32(at::PRIQ_PROD), OVFLG | 2)?;
        // Without PASID the same is a request.
        r.ask(page_request(0).with_r(false));
        r.responded(&[page_response(0, None, Success)])?;
        r.page_requests(true);
        r.ask(stop_marker());
        r.responded(&[])?;
        stored(r, &[stop_marker()])
    }),
];

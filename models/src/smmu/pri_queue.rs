//! The PRI queue: which page requests are written, which are discarded, which of those are answered, and when to interrupt
//! (IHI 0070, 8).
//!
//! | A request arrives | It is | The answer |
//! |---|---|---|
//! | with room | written | software's, by CMD_PRI_RESP |
//! | at a full queue, or after an overflow that is not acknowledged | discarded, OVFLG toggles | Success for the last of its group, else none |
//! | while PRIQEN or SMMUEN is 0, or PRIQ_ABT_ERR is active | discarded | Failure |
//! | and its write is aborted | lost | Failure |
//!
//! A stop marker is never answered.

use spec::smmu::PageRequest;
use spec::smmu::page0::PRIQ_IRQ_CFG2;

use super::features::Features;
use super::output_queue::{Entry, OutputQueue, Verdict};
use super::registers::{Output, Registers};
use crate::bus::{Abort, PhysAddr};
use crate::dma::{PageAnswer, PageResponse};

impl Entry for PageRequest {
    const QUEUE: Output = Output::Page;
}

/// Who answers a page request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Software, or nobody.
    None,
    /// The SMMU, by this.
    Now(PageResponse),
    /// The SMMU, once STE.PPAR of its stream is known; see [`overflow_response`].
    AskStream,
}

/// What comes of a page request that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The request as the queue shows it.
    pub request: PageRequest,
    /// Whether it will be written, and if not, why.
    pub verdict: Verdict,
    /// How it is answered.
    pub answer: Answer,
    /// The PRI queue's interrupt is to be raised.
    pub interrupt: bool,
}

/// What a finished write of a request means.
#[derive(Debug, PartialEq, Eq)]
pub struct Written {
    /// The request that is visible now, unless the write was aborted.
    pub request: Option<PageRequest>,
    /// The PRI queue's interrupt is to be raised.
    pub interrupt: bool,
    /// Requests that are lost because of an abort, with their answers.
    pub lost: Vec<(PageRequest, Option<PageResponse>)>,
    /// PRIQ_ABT_ERR became active.
    pub failed: bool,
}

/// Page requests on their way to memory.
#[derive(Clone, Debug, Default)]
pub struct PriQueue {
    requests: OutputQueue<PageRequest>,
    /// The last request of a group was discarded by an overflow that does not show yet.
    interrupt_owed: bool,
}

impl PriQueue {
    /// Takes a page request of an endpoint.
    pub fn arrive(&mut self, request: PageRequest, registers: &mut Registers) -> Arrival {
        let features = *registers.features();
        let is_stop_marker = request.is_stop_marker();
        let request = as_received(request, &features);
        let verdict = self.requests.commit(request, registers);
        let answer = match verdict {
            Verdict::Committed => Answer::None,
            _ if is_stop_marker => Answer::None,
            Verdict::Discarded => Answer::Now(failure(request)),
            Verdict::Overflowed if !request.last() => Answer::None,
            Verdict::Overflowed => on_overflow(request, &features),
        };
        let counts = verdict == Verdict::Overflowed && last_only(registers) && request.last();
        let shows = registers.has_overflow(Output::Page);
        self.interrupt_owed |= counts && !shows;
        Arrival { request, verdict, answer, interrupt: counts && shows }
    }

    /// The next write to start, if none is under way.
    pub fn next_write(&mut self, registers: &Registers) -> Option<(PhysAddr, PageRequest)> {
        self.requests.next_write(registers)
    }

    /// The write under way has been answered.
    pub fn written(&mut self, result: Result<(), Abort>, registers: &mut Registers) -> Written {
        let published = self.requests.written(result, registers);
        let is_last = published.entry.is_some_and(PageRequest::last);
        let mut interrupt = if last_only(registers) { is_last } else { published.interrupt };
        if self.requests.is_idle() {
            interrupt |= std::mem::take(&mut self.interrupt_owed) && published.entry.is_some();
        }
        let answered =
            |request: PageRequest| (request, (!request.is_stop_marker()).then(|| failure(request)));
        let lost = published.lost.into_iter().map(answered).collect();
        Written { request: published.entry, interrupt, lost, failed: published.failed }
    }

    /// Drops the requests that are not being written. Nobody answers them.
    pub fn abandon(&mut self) -> Vec<PageRequest> {
        self.requests.abandon()
    }

    /// Whether no request is still to be written.
    pub fn is_idle(&self) -> bool {
        self.requests.is_idle()
    }
}

/// PRIQ_IRQ_CFG2.LO: not an empty queue, but the last request of a group raises the interrupt (IHI 0070, 6.3.36).
fn last_only(registers: &Registers) -> bool {
    registers.get::<PRIQ_IRQ_CFG2>().lo()
}

/// What of a message an SMMU takes: no PASID if it has no substreams, and what needs a PASID only with one.
fn as_received(request: PageRequest, features: &Features) -> PageRequest {
    if request.ssv() && features.ssidsize > 0 {
        return request;
    }
    request.with_ssv(false).with_ssid(0).with_x(false).with_priv_(false)
}

fn response(request: PageRequest, answer: PageAnswer, with_pasid: bool) -> PageResponse {
    PageResponse {
        sid: request.sid() as u32,
        ssid: (with_pasid && request.ssv()).then_some(request.ssid() as u32),
        group: request.prgindex() as u16,
        answer,
    }
}

fn failure(request: PageRequest) -> PageResponse {
    response(request, PageAnswer::Failure, false)
}

fn on_overflow(request: PageRequest, features: &Features) -> Answer {
    if request.ssv() && !features.pps {
        return Answer::AskStream;
    }
    Answer::Now(response(request, PageAnswer::Success, true))
}

/// The answer to the last request of a group that was discarded by an overflow. `ppar` is STE.PPAR, if there is a valid STE.
pub fn overflow_response(request: PageRequest, ppar: Option<bool>) -> PageResponse {
    ppar.map_or_else(|| failure(request), |ppar| response(request, PageAnswer::Success, ppar))
}

#[cfg(test)]
mod test {
    use super::super::features::IdrProfile;
    use super::*;
    use spec::regs::Block;
    use spec::smmu::page0::{CR0, IDR1, IDR3};
    use spec::smmu::{GlobalError, Page0, page1};

    const PROD: u32 = page1::BASE as u32 + 0xc8;
    const CONS: u32 = page1::BASE as u32 + 0xcc;
    const OVFLG: u64 = 1 << 31;
    const ON: CR0 = CR0(0).with_smmuen(true).with_priqen(true);

    /// With a queue of `1 << log2size` entries.
    fn enabled_with(idr: IdrProfile, log2size: u64, cr0: CR0) -> Registers {
        let mut r = Registers::new(Features::new(idr).unwrap());
        r.write(Page0::PRIQ_BASE.offset(), 8, 0x8000_0000 | log2size);
        r.write(Page0::CR0.offset(), 4, cr0.0);
        r.complete_cr0(u64::MAX);
        r
    }
    fn enabled(log2size: u64) -> Registers {
        enabled_with(IdrProfile::STANDARD, log2size, ON)
    }
    fn interrupts_on_last(r: &mut Registers) {
        r.write(Page0::PRIQ_IRQ_CFG2.offset(), 4, PRIQ_IRQ_CFG2(0).with_lo(true).0);
    }
    fn request(group: u64) -> PageRequest {
        PageRequest::default().with_sid(0x100).with_r(true).with_last(true).with_prgindex(group)
    }
    fn pasid(group: u64) -> PageRequest {
        request(group).with_ssv(true).with_ssid(3)
    }
    fn stop_marker() -> PageRequest {
        pasid(0).with_r(false)
    }
    fn publish(q: &mut PriQueue, r: &mut Registers) -> Written {
        q.next_write(r).expect("a request waits");
        q.written(Ok(()), r)
    }
    fn answer(group: u16, ssid: Option<u32>, answer: PageAnswer) -> Answer {
        Answer::Now(PageResponse { sid: 0x100, ssid, group, answer })
    }

    #[test]
    fn requests_are_written_in_order() {
        let (mut q, mut r) = (PriQueue::default(), enabled(2));
        for (n, interrupt) in [(0, true), (1, false)] {
            let arrival = q.arrive(request(n), &mut r);
            assert_eq!((arrival.verdict, arrival.answer), (Verdict::Committed, Answer::None));
            assert_eq!(q.next_write(&r), Some((0x8000_0000 + 16 * n, request(n))));
            assert_eq!(q.written(Ok(()), &mut r).interrupt, interrupt);
        }
        assert_eq!(r.read(PROD, 4), 2);
    }

    #[test]
    fn interrupts_on_the_last_request_of_a_group() {
        let (mut q, mut r) = (PriQueue::default(), enabled(1));
        interrupts_on_last(&mut r);
        for (last, interrupt) in [(false, false), (true, true)] {
            assert!(!q.arrive(request(0).with_last(last), &mut r).interrupt, "not before it is visible");
            assert_eq!(publish(&mut q, &mut r).interrupt, interrupt);
        }
        for (last, interrupt) in [(false, false), (true, true)] {
            let arrival = q.arrive(request(0).with_last(last), &mut r);
            assert_eq!((arrival.verdict, arrival.interrupt), (Verdict::Overflowed, interrupt));
        }
        r.write(Page0::CR0.offset(), 4, 0);
        r.complete_cr0(u64::MAX);
        let arrival = q.arrive(request(0), &mut r);
        assert_eq!((arrival.verdict, arrival.interrupt), (Verdict::Discarded, false));
    }

    #[test]
    fn an_overflow_stops_the_queue_until_it_is_acknowledged() {
        let (mut q, mut r) = (PriQueue::default(), enabled(0));
        interrupts_on_last(&mut r);
        q.arrive(request(0), &mut r);
        let arrival = q.arrive(request(1), &mut r);
        assert_eq!((arrival.verdict, arrival.interrupt), (Verdict::Overflowed, false));
        assert_eq!(r.read(PROD, 4), 0, "neither the request nor the overflow is visible");
        r.write(CONS, 4, 0);
        assert!(publish(&mut q, &mut r).interrupt);
        assert_eq!(r.read(PROD, 4), 1 | OVFLG);
        r.write(CONS, 4, 1);
        assert_eq!(q.arrive(request(2), &mut r).verdict, Verdict::Overflowed, "space does not suffice");
        r.write(CONS, 4, 1 | OVFLG);
        assert_eq!(q.arrive(request(3), &mut r).verdict, Verdict::Committed);
    }

    /// Features, the request, how it is answered when it is discarded by an overflow.
    #[test]
    fn answers_of_an_overflow() {
        use PageAnswer::Success;
        let standard = IdrProfile::STANDARD;
        let pps = IdrProfile { idr3: IDR3(standard.idr3.into()).with_pps(true).0 as u32, ..standard };
        let plain = IdrProfile { idr1: IDR1(standard.idr1.into()).with_ssidsize(0).0 as u32, ..standard };
        for (idr, request, want) in [
            (standard, request(5), answer(5, None, Success)),
            (standard, request(5).with_last(false), Answer::None),
            // Without PASID this is no stop marker.
            (standard, request(5).with_r(false), answer(5, None, Success)),
            (standard, stop_marker(), Answer::None),
            (standard, pasid(6), Answer::AskStream),
            (pps, pasid(6), answer(6, Some(3), Success)),
            (pps, pasid(6).with_last(false), Answer::None),
            (plain, pasid(6), answer(6, None, Success)),
            (plain, stop_marker(), Answer::None),
        ] {
            let (mut q, mut r) = (PriQueue::default(), enabled_with(idr, 0, ON));
            q.arrive(request, &mut r);
            publish(&mut q, &mut r);
            assert_eq!(q.arrive(request, &mut r).answer, want, "{request}");
        }
        for (ppar, ssid, code) in
            [(Some(true), Some(3), Success), (Some(false), None, Success), (None, None, PageAnswer::Failure)]
        {
            assert_eq!(
                Answer::Now(overflow_response(pasid(7), ppar)),
                answer(7, ssid, code),
                "PPAR {ppar:?}"
            );
        }
    }

    #[test]
    fn a_queue_that_does_not_run_answers_failure() {
        for cr0 in [CR0(0), ON.with_priqen(false), ON.with_smmuen(false)] {
            let (mut q, mut r) = (PriQueue::default(), enabled_with(IdrProfile::STANDARD, 2, cr0));
            for (request, want) in [
                (request(1), answer(1, None, PageAnswer::Failure)),
                (request(2).with_last(false), answer(2, None, PageAnswer::Failure)),
                (pasid(3), answer(3, None, PageAnswer::Failure)),
                (stop_marker(), Answer::None),
            ] {
                let arrival = q.arrive(request, &mut r);
                assert_eq!((arrival.verdict, arrival.answer), (Verdict::Discarded, want), "{request}");
            }
            assert_eq!(r.read(PROD, 4), 0);
        }
    }

    #[test]
    fn an_abort_fails_what_was_committed() {
        let (mut q, mut r) = (PriQueue::default(), enabled(3));
        for request in [pasid(0), stop_marker(), request(1)] {
            q.arrive(request, &mut r);
        }
        q.next_write(&r);
        let written = q.written(Err(Abort), &mut r);
        assert_eq!((written.request, written.interrupt, written.failed), (None, false, true));
        let answers: Vec<_> =
            written.lost.iter().map(|(_, r)| r.map(|r| (r.group, r.ssid, r.answer))).collect();
        let failure = |group| Some((group, None, PageAnswer::Failure));
        assert_eq!(answers, [failure(0), None, failure(1)]);
        assert_eq!(q.arrive(request(2), &mut r).verdict, Verdict::Discarded, "until it is acknowledged");
        r.write(Page0::GERRORN.offset(), 4, GlobalError::PRIQ_ABT_ERR.mask());
        assert_eq!(q.arrive(request(3), &mut r).verdict, Verdict::Committed);
    }

    #[test]
    fn without_pasid_nothing_needs_one() {
        let (mut q, mut r) = (PriQueue::default(), enabled(3));
        let sent = request(0).with_ssid(9).with_x(true).with_priv_(true);
        assert_eq!(q.arrive(sent, &mut r).request, request(0));
    }
}

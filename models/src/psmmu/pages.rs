//! Page requests in time: into the PRI queue, or answered, some of them after a look at their stream's STE.

use std::collections::VecDeque;

use sim::Time;
use spec::smmu::{GlobalError, PageRequest};

use super::{Context, Out, Pending, Psmmu};
use crate::bus::{Abort, Data, Op};
use crate::dma::PageResponse;
use crate::record::Record;
use crate::smmu::interrupts::Source;
use crate::smmu::output_queue::Verdict;
use crate::smmu::pmcg::Seen;
use crate::smmu::pri_queue::{Answer, PriQueue, overflow_response};
use crate::smmu::{Input, Outcome, Request, RequestKind, Scope, Step, Translation};

/// A look for the STE of the stream of a page request.
#[derive(Debug)]
struct Check {
    /// In the window: CMD_SYNC waits for what reads structures.
    id: u64,
    request: PageRequest,
    translation: Translation,
    seen: Seen,
    at: Time,
}

/// What has arrived and is neither written nor answered.
#[derive(Debug, Default)]
pub(super) struct Pages {
    queue: PriQueue,
    check: Option<Check>,
    /// Requests to be checked next.
    unchecked: VecDeque<PageRequest>,
}

impl Pages {
    /// Whether no request is still to be written.
    pub(super) fn is_written(&self) -> bool {
        self.queue.is_idle()
    }
    /// Whether no request is still to be written or answered.
    pub(super) fn is_idle(&self) -> bool {
        self.is_written() && self.check.is_none() && self.unchecked.is_empty()
    }
    /// What is being read for a check may be outdated and must not stay in the caches.
    pub(super) fn invalidated(&mut self, scope: &Scope) {
        if let Some(check) = &mut self.check {
            check.translation.invalidated(scope);
        }
    }
}

impl Psmmu {
    /// A page request of an endpoint arrives.
    pub(super) fn page_request(&mut self, request: PageRequest, cx: &mut Context) {
        let arrival = self.pages.queue.arrive(request, &mut self.registers);
        self.metrics.count_page_request(arrival.verdict);
        if arrival.verdict != Verdict::Committed {
            cx.note(Record::PageRequestDropped { smmu: self.smmu(), request: arrival.request });
        }
        if arrival.interrupt {
            self.interrupt(Source::Page, cx);
        }
        match arrival.answer {
            Answer::None => {}
            Answer::Now(response) => self.respond_to_page(cx.now, response, true, cx),
            Answer::AskStream => {
                self.pages.unchecked.push_back(arrival.request);
                self.check_next(cx);
            }
        }
    }

    /// Service failure: what has not begun to be written never is, and nobody answers it.
    pub(super) fn abandon_page_requests(&mut self, cx: &mut Context) {
        for request in self.pages.queue.abandon() {
            self.metrics.page_requests_lost += 1;
            cx.note(Record::PageRequestDropped { smmu: self.smmu(), request });
        }
    }

    /// Starts the next write of a request, if one is due.
    pub(super) fn write_page_request(&mut self, cx: &mut Context) {
        if let Some((addr, request)) = self.pages.queue.next_write(&self.registers) {
            let op = Op::Write(Data::new(&request.to_bytes()));
            self.send(cx.now + self.config.timing.event, addr, op, Pending::PageRequest, cx);
        }
    }

    pub(super) fn page_request_written(&mut self, result: Result<(), Abort>, cx: &mut Context) {
        let smmu = self.smmu();
        let written = self.pages.queue.written(result, &mut self.registers);
        if let Some(request) = written.request {
            cx.note(Record::PageRequestWritten { smmu, request });
        }
        if written.failed {
            self.became_active(GlobalError::PRIQ_ABT_ERR, cx);
        }
        for (request, response) in written.lost {
            self.metrics.page_requests_lost += 1;
            cx.note(Record::PageRequestDropped { smmu, request });
            if let Some(response) = response {
                self.respond_to_page(cx.now, response, true, cx);
            }
        }
        if written.interrupt {
            self.interrupt(Source::Page, cx);
        }
    }

    /// Sends an answer at `when`: of software, or an automatic one.
    pub(super) fn respond_to_page(
        &mut self,
        when: Time,
        response: PageResponse,
        automatic: bool,
        cx: &mut Context,
    ) {
        self.metrics.count_page_response(automatic);
        cx.note(Record::PageResponse { smmu: self.smmu(), response, automatic });
        cx.say_at(when + self.config.timing.complete, Out::PageResponse(response));
    }

    /// Looks for the STEs of requests that wait for that, one look at a time.
    fn check_next(&mut self, cx: &mut Context) {
        while self.pages.check.is_none()
            && let Some(request) = self.pages.unchecked.pop_front()
        {
            let (sid, ssid) = (request.sid() as u32, Some(request.ssid() as u32));
            let about = Request { ssid, ..Request::read(sid, 0) }.of_kind(RequestKind::PageRequest);
            let (id, translation) = (self.window.enter(), Translation::new(about));
            let seen = Seen::default();
            self.check(Check { id, request, translation, seen, at: cx.now }, Input::Go, cx);
        }
    }

    /// Memory has answered a look.
    pub(super) fn page_check_read(&mut self, result: Result<Data, Abort>, cx: &mut Context) {
        let mut check = self.pages.check.take().expect("something was read for it");
        check.at = cx.now;
        self.check(check, Input::Data(result), cx);
        self.check_next(cx);
    }

    /// Goes on with a look until it ends or has to read.
    fn check(&mut self, mut check: Check, mut input: Input, cx: &mut Context) {
        loop {
            let before = self.before_counting();
            let step = check.translation.resume(&self.control, &mut self.caches, input);
            self.lint_structures(cx);
            if let Some(before) = before {
                self.count(&mut check.seen, &check.translation, &step, &before, cx);
            }
            match step {
                Step::Lookup(unit) => {
                    check.at += self.config.timing.lookup(unit);
                    input = Input::Go;
                }
                Step::Read { addr, len } => {
                    self.metrics.walk_reads += 1;
                    let when = check.at + self.config.timing.walk_step;
                    self.pages.check = Some(check);
                    let pending = Pending::PageCheck { aborted: self.triggers.read.strikes() };
                    return self.send(when, addr, Op::Read { len }, pending, cx);
                }
                Step::Done(Outcome::Ppar { ppar, event }) => {
                    self.window.leave(check.id);
                    if let Some(event) = event {
                        self.record_event(event, cx);
                    }
                    let response = overflow_response(check.request, ppar);
                    return self.respond_to_page(check.at, response, true, cx);
                }
                step @ (Step::CompareSwap { .. } | Step::Done(_)) => {
                    unreachable!("{step:?} while a page request is checked")
                }
            }
        }
    }
}

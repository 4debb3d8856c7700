//! Page requests: written or answered before the call returns.

use spec::smmu::{GlobalError, PageRequest};

use super::{FunctionalSmmu, Surroundings};
use crate::dma::PageResponse;
use crate::record::Record;
use crate::smmu::interrupts::Source;
use crate::smmu::output_queue::Verdict;
use crate::smmu::pri_queue::{Answer, overflow_response};
use crate::smmu::{Outcome, Request, RequestKind};

impl FunctionalSmmu {
    /// An endpoint asks for a page (PRI). The answer comes through [`Surroundings::page_response`], from here if it is an
    /// automatic one.
    pub fn page_request(&mut self, request: PageRequest, around: &mut impl Surroundings) {
        let arrival = self.pages.arrive(request, &mut self.registers);
        self.metrics.count_page_request(arrival.verdict);
        if arrival.verdict != Verdict::Committed {
            around.record(Record::PageRequestDropped { smmu: self.smmu(), request: arrival.request });
        }
        if arrival.interrupt {
            self.interrupt(Source::Page, around);
        }
        match arrival.answer {
            Answer::None => {}
            Answer::Now(response) => self.respond_to_page(response, true, around),
            Answer::AskStream => self.check_stream(arrival.request, around),
        }
        self.write_page_requests(around);
    }

    fn write_page_requests(&mut self, around: &mut impl Surroundings) {
        let smmu = self.smmu();
        while let Some((addr, request)) = self.pages.next_write(&self.registers) {
            let result = around.write(addr, &request.to_bytes());
            let written = self.pages.written(result, &mut self.registers);
            if let Some(request) = written.request {
                around.record(Record::PageRequestWritten { smmu, request });
            }
            if written.failed {
                self.became_active(GlobalError::PRIQ_ABT_ERR, around);
            }
            for (request, response) in written.lost {
                self.metrics.page_requests_lost += 1;
                around.record(Record::PageRequestDropped { smmu, request });
                if let Some(response) = response {
                    self.respond_to_page(response, true, around);
                }
            }
            if written.interrupt {
                self.interrupt(Source::Page, around);
            }
        }
    }

    /// Answers a request that was discarded by an overflow as the STE of its stream says.
    fn check_stream(&mut self, request: PageRequest, around: &mut impl Surroundings) {
        let about = Request { ssid: Some(request.ssid() as u32), ..Request::read(request.sid() as u32, 0) };
        let outcome = self.translate(about.of_kind(RequestKind::PageRequest), around);
        let Outcome::Ppar { ppar, event } = outcome else { unreachable!("{outcome:?} of a page request") };
        if let Some(event) = event {
            self.record_event(event, around);
        }
        self.respond_to_page(overflow_response(request, ppar), true, around);
    }

    /// Sends an answer: of software, or an automatic one.
    pub(super) fn respond_to_page(
        &mut self,
        response: PageResponse,
        automatic: bool,
        around: &mut impl Surroundings,
    ) {
        self.metrics.count_page_response(automatic);
        around.record(Record::PageResponse { smmu: self.smmu(), response, automatic });
        around.page_response(response);
    }
}

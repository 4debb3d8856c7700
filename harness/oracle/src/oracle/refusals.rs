//! Transactions that were refused, and what is written of that into an Event queue.

use super::verdict::Search;
use super::{Oracle, about_stream};
use crate::finding::Kind;
use crate::past::Reach;
use crate::walk::Outcome;
use crate::witness::{Access, Dma, SmmuId, Time};
use spec::smmu::{EventNumber, EventRecord};

impl Oracle {
    pub(super) fn aborted(&mut self, dma: Dma, event: Option<EventNumber>) {
        self.counters.aborted += 1;
        self.in_flight.remove(&(dma.smmu, dma.id));
        let mut outcomes = Vec::new();
        let legal = self.some_outcome(&dma, &mut |outcome| {
            if !outcomes.contains(&outcome) {
                outcomes.push(outcome);
            }
            explains(outcome, event)
        });
        if !legal {
            let kind = if outcomes.iter().all(|o| matches!(o, Outcome::Translated { .. })) {
                Kind::SpuriousAbort
            } else if event.is_none() && outcomes.iter().any(|o| matches!(o, Outcome::Fault(f) if f.recorded))
            {
                Kind::LostEvent
            } else {
                Kind::WrongEvent
            };
            let pardon = self.pardon(&dma, &[], |oracle, reach| {
                let found = oracle.search(&dma, reach, &mut |outcome| explains(outcome, event));
                !matches!(found, Search::Nothing)
            });
            // Has a value that should be gone led there?
            let stale = match self.findings.is_known(kind, &dma) {
                true => Search::Nothing,
                false => self.search(&dma, Reach::Kept, &mut |outcome| explains(outcome, event)),
            };
            let used = if let Search::Found(used) = stale { used } else { Vec::new() };
            self.find_unless(pardon, kind, self.time, &dma, |teller| {
                teller.wrong_abort(kind, &dma, event, &outcomes, &used)
            });
        }
        if let Some(event) = event {
            let registers = self.registers(dma.smmu);
            self.check_events(dma.smmu);
            self.events[usize::from(dma.smmu)].aborted(dma, event, self.time, registers.cr0.eventqen());
        }
    }

    pub(super) fn event_written(&mut self, smmu: SmmuId, record: EventRecord, was_empty: bool) {
        self.counters.events += 1;
        self.check_events(smmu);
        let interrupt = self.registers(smmu).irq_ctrl.eventq_irqen();
        let matched = self.events[usize::from(smmu)].written(record, self.time, was_empty && interrupt);
        if !matched && self.explained(smmu, record) {
            self.events[usize::from(smmu)].explain_last();
        }
    }

    /// Whether the tables give a reason for a record for which no abort has been seen: a stall, a transaction that
    /// completes without effect, or an abort that is still on its way.
    fn explained(&mut self, smmu: SmmuId, record: EventRecord) -> bool {
        let event = record.event();
        let about_requests = matches!(
            event,
            EventNumber::F_BAD_ATS_TREQ | EventNumber::F_TRANSL_FORBIDDEN | EventNumber::E_PAGE_REQUEST
        );
        if about_requests || event == EventNumber::F_UUT || event.name().is_none() {
            return true;
        }
        let has_ssid = record.ssv() || event == EventNumber::C_BAD_SUBSTREAMID;
        let mut access = Access::default();
        if event.has_transaction() {
            access.write = !record.rnw();
            (access.instruction, access.privileged) = (record.ind(), record.pnu());
        }
        let dma = Dma {
            id: u64::MAX,
            smmu,
            sid: record.sid() as u32,
            ssid: has_ssid.then_some(record.ssid() as u32),
            iova: record.inputaddr(),
            len: 1,
            access,
            // A record follows its fault; the tables may have changed in between.
            arrived: Some(self.time.saturating_sub(self.config.event_bound)),
            ats: false,
        };
        let mut explains = |outcome| explains(outcome, Some(event));
        self.some_outcome(&dma, &mut explains) || {
            // The transaction itself is held back, so that its record may pass.
            let pardon = self.pardon(&dma, &[], |oracle, reach| {
                !matches!(oracle.search(&dma, reach, &mut explains), Search::Nothing)
            });
            !pardon.is_none()
        }
    }

    /// Report what should have been seen of an Event queue by now.
    pub(super) fn check_events(&mut self, smmu: SmmuId) {
        let (event_bound, interrupt_bound) = (self.config.event_bound, self.config.interrupt_bound);
        let overdue = self.events[usize::from(smmu)].overdue(self.time, event_bound, interrupt_bound);
        for (dma, event, time) in overdue.lost {
            self.find_at(Kind::LostEvent, time, &dma, |teller| {
                teller.lost_event(&dma, event, time, event_bound)
            });
        }
        for (record, time) in overdue.spurious {
            self.find_at(Kind::SpuriousEvent, time, &about(smmu, record, time), |teller| {
                teller.spurious_event(smmu, record, time)
            });
        }
        if let Some((record, time)) = overdue.unannounced {
            self.find_at(Kind::LostInterrupt, time, &about(smmu, record, time), |teller| {
                teller.lost_interrupt(smmu, record, time, interrupt_bound)
            });
        }
    }
}

/// Whether an outcome is a reason to abort with this event.
fn explains(outcome: Outcome, event: Option<EventNumber>) -> bool {
    match (outcome, event) {
        (Outcome::Abort, None) => true,
        (Outcome::Fault(f), None) => !f.recorded || f.stall,
        (Outcome::Fault(f), Some(event)) => f.recorded && f.event == event,
        (Outcome::Translated { .. } | Outcome::Abort, _) => false,
    }
}

/// A stand-in transaction, to name the subject of a finding about a record.
fn about(smmu: SmmuId, record: EventRecord, time: Time) -> Dma {
    let ssid = record.ssv().then_some(record.ssid() as u32);
    Dma { ssid, ..about_stream(smmu, record.sid() as u32, record.inputaddr(), time) }
}

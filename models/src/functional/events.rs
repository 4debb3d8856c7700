//! Event records and interrupts: both have left before the call that caused them returns.

use spec::smmu::{EventRecord, GlobalError};

use super::{FunctionalSmmu, Surroundings};
use crate::record::Record;
use crate::smmu::event_queue::Verdict;
use crate::smmu::interrupts::{Raise, Source};

impl FunctionalSmmu {
    /// Records an event that ends a transaction, and writes it.
    pub(super) fn record_event(&mut self, record: EventRecord, around: &mut impl Surroundings) {
        if self.triggers.event.strikes() {
            self.metrics.events_lost += 1;
            return;
        }
        let verdict = self.events.commit(record, &mut self.registers);
        self.metrics.count_event(verdict);
        if verdict == Verdict::Committed {
            self.write_events(around);
        } else {
            around.record(Record::EventDropped { smmu: self.smmu(), record });
        }
    }

    fn write_events(&mut self, around: &mut impl Surroundings) {
        let smmu = self.smmu();
        while let Some((addr, record)) = self.events.next_write(&self.registers) {
            let result = around.write(addr, &record.to_bytes());
            let published = self.events.written(result, &mut self.registers);
            if let Some(record) = published.entry {
                around.record(Record::EventWritten { smmu, record });
            }
            if published.failed {
                self.became_active(GlobalError::EVENTQ_ABT_ERR, around);
            }
            for record in published.lost {
                self.metrics.events_lost += 1;
                around.record(Record::EventDropped { smmu, record });
            }
            if published.interrupt {
                self.interrupt(Source::Event, around);
            }
        }
    }

    /// Makes a global error active and tells software, unless it is active already.
    pub(super) fn global_error(&mut self, error: GlobalError, around: &mut impl Surroundings) {
        if self.registers.raise(error) {
            self.became_active(error, around);
        }
    }

    pub(super) fn became_active(&mut self, error: GlobalError, around: &mut impl Surroundings) {
        self.metrics.global_errors += 1;
        around.record(Record::GlobalError { smmu: self.smmu(), bit: error.0 });
        if error != GlobalError::MSI_GERROR_ABT_ERR {
            self.interrupt(Source::GlobalError, around);
        }
    }

    /// Raises an interrupt if its source is enabled.
    pub(super) fn interrupt(&mut self, source: Source, around: &mut impl Surroundings) {
        if let Some(raise) = Raise::of(source, &self.registers, &self.config.lines) {
            self.raise(raise, source, around);
        }
    }

    /// Sends a message or an edge.
    pub(super) fn raise(&mut self, raise: Raise, source: Source, around: &mut impl Surroundings) {
        if self.triggers.interrupt_is_lost(&mut self.metrics) {
            return;
        }
        match raise {
            Raise::Wire(intid) => around.edge(intid),
            Raise::Message { addr, data } => {
                if around.write(addr, &data.to_le_bytes()).is_err() {
                    self.global_error(source.abort_error(), around);
                }
            }
        }
    }

    /// One rising edge on the CMDQV's wire.
    pub(super) fn cmdqv_edge(&mut self, around: &mut impl Surroundings) {
        if let Some(intid) = self.config.cmdqv_line
            && !self.triggers.interrupt_is_lost(&mut self.metrics)
        {
            around.edge(intid);
        }
    }
}

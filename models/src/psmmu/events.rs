//! Event records and interrupts on their way out.

use spec::smmu::{EventRecord, GlobalError};

use super::{Context, Out, Pending, Psmmu};
use crate::bus::{Abort, Data, Op};
use crate::record::Record;
use crate::smmu::event_queue::Verdict;
use crate::smmu::interrupts::{Raise, Source};

impl Psmmu {
    /// Records an event that ends a transaction.
    pub(super) fn record_event(&mut self, record: EventRecord, cx: &mut Context) {
        if self.triggers.event.strikes() {
            self.metrics.events_lost += 1;
            return;
        }
        let verdict = self.events.commit(record, &mut self.registers);
        self.metrics.count_event(verdict);
        if verdict != Verdict::Committed {
            cx.note(Record::EventDropped { smmu: self.smmu(), record });
        }
    }

    /// Starts the next write of a record, if one is due.
    pub(super) fn write_event(&mut self, cx: &mut Context) {
        if let Some((addr, record)) = self.events.next_write(&self.registers) {
            let op = Op::Write(Data::new(&record.to_bytes()));
            self.send(cx.now + self.config.timing.event, addr, op, Pending::Event, cx);
        }
    }

    pub(super) fn event_written(&mut self, result: Result<(), Abort>, cx: &mut Context) {
        let smmu = self.smmu();
        let published = self.events.written(result, &mut self.registers);
        if let Some(record) = published.entry {
            cx.note(Record::EventWritten { smmu, record });
        }
        if published.failed {
            self.became_active(GlobalError::EVENTQ_ABT_ERR, cx);
        }
        for record in published.lost {
            self.metrics.events_lost += 1;
            cx.note(Record::EventDropped { smmu, record });
        }
        if published.interrupt {
            self.interrupt(Source::Event, cx);
        }
    }

    /// Makes a global error active and tells software, unless it is active already.
    pub(super) fn global_error(&mut self, error: GlobalError, cx: &mut Context) {
        if self.registers.raise(error) {
            self.became_active(error, cx);
        }
    }

    pub(super) fn became_active(&mut self, error: GlobalError, cx: &mut Context) {
        self.metrics.global_errors += 1;
        cx.note(Record::GlobalError { smmu: self.smmu(), bit: error.0 });
        if error != GlobalError::MSI_GERROR_ABT_ERR {
            self.interrupt(Source::GlobalError, cx);
        }
    }

    /// Raises an interrupt if its source is enabled.
    pub(super) fn interrupt(&mut self, source: Source, cx: &mut Context) {
        if let Some(raise) = Raise::of(source, &self.registers, &self.config.lines) {
            self.raise(raise, source, None, cx);
        }
    }

    /// Sends a message or an edge. `port` is the queue whose CMD_SYNC it belongs to.
    pub(super) fn raise(&mut self, raise: Raise, source: Source, port: Option<usize>, cx: &mut Context) {
        if self.triggers.interrupt_is_lost(&mut self.metrics) {
            return;
        }
        let when = cx.now + self.config.timing.interrupt;
        match raise {
            Raise::Wire(intid) => cx.say_at(when, Out::Interrupt { intid }),
            Raise::Message { addr, data } => {
                *self.messages.entry(source).or_default() += 1;
                if let Some(port) = port {
                    self.engine.message_sent(port);
                }
                self.send(when, addr, Op::Write(Data::u32(data)), Pending::Message { source, port }, cx);
            }
        }
    }

    pub(super) fn message_done(
        &mut self,
        source: Source,
        port: Option<usize>,
        aborted: bool,
        cx: &mut Context,
    ) {
        *self.messages.get_mut(&source).expect("a message of this source was sent") -= 1;
        if aborted {
            self.global_error(source.abort_error(), cx);
        }
        if let Some(port) = port {
            self.engine.message_done(port);
        }
    }

    /// One rising edge on the CMDQV's wire.
    pub(super) fn cmdqv_edge(&mut self, cx: &mut Context) {
        if let Some(intid) = self.config.cmdqv_line
            && !self.triggers.interrupt_is_lost(&mut self.metrics)
        {
            cx.say(self.config.timing.interrupt, Out::Interrupt { intid });
        }
    }
}

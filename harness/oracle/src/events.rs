//! Bookkeeping of one Event queue: aborts that wait for their record, records that wait for their abort, and the
//! interrupt that must follow.

use crate::witness::{Dma, Time};
use spec::smmu::{EventNumber, EventRecord};
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct Events {
    aborts: VecDeque<Abort>,
    records: VecDeque<Record>,
    /// The queue became non-empty at this time, with this record, and no interrupt has come.
    unannounced: Option<(EventRecord, Time)>,
    overflow: bool,
}

#[derive(Debug)]
struct Abort {
    dma: Dma,
    event: EventNumber,
    time: Time,
    /// A record is due: the queue was writable.
    due: bool,
}

#[derive(Debug)]
struct Record {
    record: EventRecord,
    time: Time,
    explained: bool,
}

/// What should have been seen by now and was not.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    pub(crate) lost: Vec<(Dma, EventNumber, Time)>,
    pub(crate) spurious: Vec<(EventRecord, Time)>,
    pub(crate) unannounced: Option<(EventRecord, Time)>,
}

impl Events {
    /// A transaction was aborted with this event.
    pub(crate) fn aborted(&mut self, dma: Dma, event: EventNumber, time: Time, enabled: bool) {
        if let Some(i) = self.records.iter().position(|r| reports(r.record, &dma, event)) {
            self.records.remove(i);
            return;
        }
        self.aborts.push_back(Abort { dma, event, time, due: enabled && !self.overflow });
    }

    /// A record became visible; whether it reports an abort that was seen.
    pub(crate) fn written(&mut self, record: EventRecord, time: Time, interrupt_due: bool) -> bool {
        if interrupt_due && self.unannounced.is_none() {
            self.unannounced = Some((record, time));
        }
        if let Some(i) = self.aborts.iter().position(|a| reports(record, &a.dma, a.event)) {
            self.aborts.remove(i);
            return true;
        }
        self.records.push_back(Record { record, time, explained: false });
        false
    }

    /// A record was dropped: the abort that it reports waits for nothing.
    pub(crate) fn dropped(&mut self, record: EventRecord, time: Time) {
        match self.aborts.iter().position(|a| reports(record, &a.dma, a.event)) {
            Some(i) => drop(self.aborts.remove(i)),
            None => self.records.push_back(Record { record, time, explained: true }),
        }
    }

    /// There is a reason for the last record.
    pub(crate) fn explain_last(&mut self) {
        if let Some(last) = self.records.back_mut() {
            last.explained = true;
        }
    }

    /// The interrupt was raised, or is no longer due.
    pub(crate) fn interrupt(&mut self) {
        self.unannounced = None;
    }

    /// The overflow state changed. While records are being lost none is due.
    pub(crate) fn overflow(&mut self, active: bool) {
        self.overflow = active;
        if active {
            for abort in &mut self.aborts {
                abort.due = false;
            }
        }
    }

    /// Take out whatever has waited too long.
    pub(crate) fn overdue(&mut self, now: Time, event_bound: Time, interrupt_bound: Time) -> Overdue {
        let mut overdue = Overdue::default();
        while self.aborts.front().is_some_and(|a| now.saturating_sub(a.time) > event_bound) {
            let a = self.aborts.pop_front().expect("it is there");
            if a.due {
                overdue.lost.push((a.dma, a.event, a.time));
            }
        }
        while self.records.front().is_some_and(|r| now.saturating_sub(r.time) > event_bound) {
            let r = self.records.pop_front().expect("it is there");
            if !r.explained {
                overdue.spurious.push((r.record, r.time));
            }
        }
        if self.unannounced.is_some_and(|(_, time)| now.saturating_sub(time) > interrupt_bound) {
            overdue.unannounced = self.unannounced.take();
        }
        overdue
    }
}

fn reports(record: EventRecord, dma: &Dma, event: EventNumber) -> bool {
    let place =
        !event.has_transaction() || (record.inputaddr() == dma.iova && record.rnw() != dma.access.write);
    record.event() == event && record.sid() == u64::from(dma.sid) && place
}

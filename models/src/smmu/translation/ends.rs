//! How a translation ends: filled caches, completions, faults.

use spec::smmu::event::class;
use spec::smmu::{EventNumber, EventRecord};

use super::super::atos::Answer;
use super::super::attributes::Overrides;
use super::super::caches::Caches;
use super::super::control::Control;
use super::super::fault::{Manner, Purpose, Stage, at_stage, with_access};
use super::super::granule::low_mask;
use super::super::micro_tlb::MicroEntry;
use super::super::request::RequestKind;
use super::super::rights::Rights;
use super::super::scope::Kind;
use super::super::step::{AtsAnswer, Outcome, Step};
use super::super::tlb::Entry;
use super::{Translation, done};
use crate::dma::Grant;

impl Translation {
    pub(super) fn complete(&mut self, caches: &mut Caches, entry: &Entry) -> Step {
        if self.may_fill {
            if caches.main.keeps() {
                caches.main.insert(*entry);
            }
            self.fill_micro(caches, entry);
        }
        self.finish(entry, false, self.may_fill)
    }

    pub(super) fn fill_micro(&self, caches: &mut Caches, entry: &Entry) {
        if !self.may_fill || self.request.kind != RequestKind::Ordinary || !caches.micro.keeps() {
            return;
        }
        let ignored = entry.tag.kind == Kind::Va && self.context.top_byte_ignored(self.upper());
        caches.micro.insert(MicroEntry::new(&self.request, &self.stream, self.index, ignored, *entry));
    }

    /// What the stream makes of the memory attributes of this transaction.
    fn overrides(&self) -> Overrides {
        let translated = self.request.kind == RequestKind::AtsTranslated;
        if translated { Overrides::NONE } else { self.stream.overrides }
    }

    pub(super) fn finish(&self, entry: &Entry, tlb_hit: bool, filled: bool) -> Step {
        let (rights, privileged) = (entry.rights, self.access.privileged);
        let size_log2 = entry.bits;
        if self.lookup().is_some() {
            let attributes = entry.attributes.output(self.request.attributes);
            let addr = entry.output;
            return done(Outcome::Operation(Answer::Found { addr, size_log2, attributes, filled }));
        }
        if let RequestKind::AtsRequest { .. } = self.request.kind {
            let pa = if self.split() { self.ipa & !low_mask(size_log2) } else { entry.output };
            let answer = AtsAnswer::Translation(Grant { pa, size_log2, ..self.grant(rights) });
            return done(Outcome::Ats { answer, event: None });
        }
        let attributes = entry.attributes.output(self.overrides().of(self.request.attributes));
        done(Outcome::Translated {
            pa: entry.translate(self.request.addr),
            size_log2,
            read: rights.read(privileged),
            write: rights.write(privileged),
            attributes,
            tlb_hit,
            filled,
        })
    }

    pub(super) fn fault1(&self, number: EventNumber) -> Step {
        self.fault(number, Stage::One, Manner::stage1(self.context.cd))
    }

    pub(super) fn fault2(&self, number: EventNumber) -> Step {
        let stage = Stage::Two { ipa: self.ipa, purpose: self.purpose };
        self.fault(number, stage, Manner::stage2(self.stream.ste))
    }

    /// F_PERMISSION: an atomic that lacks only the read is reported as a read, and a table that cannot be read says so.
    pub(super) fn denied(&self, rights: Rights, stage: Stage, manner: Manner) -> Step {
        let event = self.event(EventNumber::F_PERMISSION, stage);
        let event = match stage {
            Stage::Two { purpose: Purpose::Table, .. } => event.with_ttrnw(true),
            Stage::Two { purpose: Purpose::L1Cd | Purpose::Cd | Purpose::Update, .. } => event,
            _ if self.request.atomic && rights.write(self.access.privileged) => event.with_rnw(true),
            _ => event,
        };
        self.end(event, manner)
    }

    pub(super) fn fault(&self, number: EventNumber, stage: Stage, manner: Manner) -> Step {
        self.end(self.event(number, stage), manner)
    }

    pub(super) const fn event(&self, number: EventNumber, stage: Stage) -> EventRecord {
        at_stage(with_access(self.about(number), &self.request, self.access), stage)
    }

    pub(super) fn end(&self, event: EventRecord, manner: Manner) -> Step {
        if self.lookup().is_some() {
            return done(Outcome::Operation(Answer::Fault(event)));
        }
        if let RequestKind::AtsRequest { .. } = self.request.kind {
            let privileged = self.request.privileged;
            let answer = Grant { size_log2: self.unit, privileged, ..Grant::default() };
            let answer = AtsAnswer::Translation(answer);
            return done(Outcome::Ats { answer, event: None });
        }
        if manner.stall && self.request.kind == RequestKind::Ordinary {
            return done(Outcome::Stall { event: event.with_stall(true) });
        }
        let event = manner.record.then_some(event);
        done(if manner.abort { Outcome::Abort { event } } else { Outcome::ReadZeroWriteIgnored { event } })
    }

    pub(super) fn walk_aborted(&self, control: &Control, stage: Option<Stage>) -> Step {
        let event = with_access(self.about(EventNumber::F_WALK_EABT), &self.request, self.access);
        let event = match stage {
            Some(Stage::Two { purpose, .. }) => event.with_s2(true).with_class(purpose.class()),
            _ => event.with_class(class::TT),
        };
        let event = event.with_fetchaddr(self.fetch);
        match self.request.kind {
            RequestKind::AtsTranslated => done(Outcome::Abort { event: Some(event) }),
            _ => self.refuse(control, event),
        }
    }
}

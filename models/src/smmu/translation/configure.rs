//! Stream table and context descriptors: from StreamID to the tables of a translation.

use spec::smmu::ste::config as mode;
use spec::smmu::{Cd, EventNumber, EventRecord, L1Cd, L1Std, Ste};

use super::super::atos::Answer;
use super::super::attributes::Overrides;
use super::super::caches::Caches;
use super::super::config::{self, ContextPlace, Unsubstreamed};
use super::super::config_cache::{Context, Stream};
use super::super::control::Control;
use super::super::fault::{Manner, Purpose, Stage};
use super::super::features::Features;
use super::super::granule::low_mask;
use super::super::lint::{self, Lint, Lints};
use super::super::request::RequestKind;
use super::super::rights::Access;
use super::super::scope::Kind;
use super::super::step::{AtsAnswer, Outcome, StageIndex, Step};
use super::{State, Translation, done};
use crate::bus::{Abort, Data};

impl Translation {
    /// A record of this number about the stream, with its SubstreamID.
    pub(super) const fn about(&self, number: EventNumber) -> EventRecord {
        let ssid = match self.request.kind {
            RequestKind::AtsTranslated => None,
            _ => self.request.ssid,
        };
        EventRecord::configuration(number, self.request.sid, ssid)
    }

    /// Ends with a configuration fault.
    pub(super) fn refuse(&self, control: &Control, event: EventRecord) -> Step {
        let if_ats = control.record_ats().then_some(event);
        done(match self.request.kind {
            RequestKind::Operation(_) => Outcome::Operation(Answer::Fault(event)),
            RequestKind::Ordinary => Outcome::Abort { event: Some(event) },
            RequestKind::AtsTranslated => Outcome::Abort { event: if_ats },
            RequestKind::AtsRequest { .. } => Outcome::Ats { answer: AtsAnswer::Abort, event: if_ats },
            RequestKind::PageRequest => Outcome::Ppar { ppar: None, event: if_ats },
        })
    }

    pub(super) fn silent(&self) -> Step {
        done(match self.request.kind {
            RequestKind::AtsRequest { .. } => Outcome::Ats { answer: AtsAnswer::Unsupported, event: None },
            _ => Outcome::Abort { event: None },
        })
    }

    pub(super) fn unknown_stream(&self, control: &Control) -> Step {
        if control.cr2.recinvsid() || self.lookup().is_some() {
            return self.refuse(control, self.about(EventNumber::C_BAD_STREAMID));
        }
        done(match self.request.kind {
            RequestKind::AtsRequest { .. } => Outcome::Ats { answer: AtsAnswer::Abort, event: None },
            RequestKind::PageRequest => Outcome::Ppar { ppar: None, event: None },
            _ => Outcome::Abort { event: None },
        })
    }

    pub(super) fn fetch_failed(&self, control: &Control, number: EventNumber) -> Step {
        let addr = self.fetch & low_mask(control.features.oas);
        self.refuse(control, self.about(number).with_fetchaddr(addr))
    }

    pub(super) fn read(&mut self, state: State, addr: u64) -> Step {
        self.state = state;
        self.fetch = addr;
        Step::Read { addr, len: if matches!(state, State::Ste | State::Cd) { 64 } else { 8 } }
    }

    pub(super) fn stream(&mut self, control: &Control, caches: &mut Caches) -> Step {
        let sid = self.request.sid;
        if let Some(stream) = caches.stats.streams.count(caches.config.stream(sid)) {
            self.stream = *stream;
            return self.configured(control, caches);
        }
        if u64::from(sid) >> control.stream_bits() != 0 {
            return self.unknown_stream(control);
        }
        let base = control.stream_table();
        match control.split() {
            None => self.read_stream(control, State::Ste, base + u64::from(sid) * 64),
            Some(split) => self.read_stream(control, State::L1Std, base + u64::from(sid >> split) * 8),
        }
    }

    pub(super) fn read_stream(&mut self, control: &Control, state: State, addr: u64) -> Step {
        if control.features.reaches(addr) {
            return self.read(state, addr);
        }
        self.fetch = addr;
        self.fetch_failed(control, EventNumber::F_STE_FETCH)
    }

    pub(super) fn l1std(&mut self, control: &Control, caches: &mut Caches, word: Result<u64, Abort>) -> Step {
        let Ok(word) = word else { return self.fetch_failed(control, EventNumber::F_STE_FETCH) };
        let l1 = L1Std([word]);
        let split = control.split().unwrap_or(6);
        caches.lints.add(lint::of_l1std(l1, split, &control.features));
        let span = l1.span() as u8;
        let index = u64::from(self.request.sid) & low_mask(split);
        if span == 0 || span > split + 1 || index >> (span - 1) != 0 {
            return self.unknown_stream(control);
        }
        self.array_bits = span - 1;
        let array = l1.l2ptr() & !low_mask(span + 5);
        self.read_stream(control, State::Ste, array + index * 64)
    }

    pub(super) fn ste(&mut self, control: &Control, caches: &mut Caches, data: &Result<Data, Abort>) -> Step {
        let Ok(data) = data else { return self.fetch_failed(control, EventNumber::F_STE_FETCH) };
        self.stream = Stream::new(Ste::from_bytes(data.bytes()), &control.features);
        if self.stream.legal {
            let ste = self.stream.ste;
            caches.lints.add(lint::of_ste(ste, &control.features));
            let beyond = control.split().is_some() && ste.cont() > self.array_bits.into();
            caches.lints.add(Lints::when(beyond, Lint::SpanReach));
        }
        if self.may_fill {
            let beside = caches.config.lints_of_stream(self.request.sid, &self.stream, &control.features);
            caches.lints.add(beside);
            caches.config.insert_stream(self.request.sid, self.stream);
        }
        self.configured(control, caches)
    }

    /// The STE is here.
    fn configured(&mut self, control: &Control, caches: &mut Caches) -> Step {
        let (ste, features) = (self.stream.ste, &control.features);
        if !self.stream.legal {
            return self.refuse(control, self.about(EventNumber::C_BAD_STE));
        }
        if self.request.kind == RequestKind::PageRequest {
            return done(Outcome::Ppar { ppar: Some(ste.ppar()), event: None });
        }
        let mode = ste.config();
        if let Some(step) = self.inadmissible(control) {
            return step;
        }
        if mode < mode::BYPASS {
            return self.silent();
        }
        let eats = || config::effective_eats(ste, control);
        match self.request.kind {
            RequestKind::AtsRequest { .. } if eats() == 0 => return self.unsupported(control),
            RequestKind::AtsTranslated if eats() == 0 => return self.forbidden(control),
            RequestKind::AtsTranslated if eats() == config::EATS_FULL => {
                return self.pass(control, Overrides::NONE);
            }
            RequestKind::AtsRequest { .. } => self.unit = features.smallest_page(),
            // Split stage: what comes is an intermediate address, without privilege or SubstreamID.
            RequestKind::AtsTranslated => {
                self.access = Access { instruction: false, privileged: false, ..self.access };
            }
            _ => (),
        }
        if self.lookup().is_none() {
            self.access = self.access.overridden(self.stream.privcfg, self.stream.instcfg);
        }
        self.world = config::world(ste, control);
        self.stage2 = mode & 2 != 0;
        self.tag.world = self.world;
        self.tag.vmid = config::vmid(ste, self.world, features);
        self.two.tables = self.stream.stage2;
        let skips = self.request.kind == RequestKind::AtsTranslated || self.is_intermediate();
        match self.substream(control, mode & 1 != 0 && !skips) {
            Err(fault) => fault,
            Ok(None) => self.without_stage1(control, caches, mode),
            Ok(Some(index)) => {
                self.index = index;
                self.find_context(control, caches)
            }
        }
    }

    /// Which context descriptor is in charge; none if stage 1 is bypassed.
    pub(super) fn substream(&self, control: &Control, stage1: bool) -> Result<Option<u32>, Step> {
        let ssid = self.request.ssid.filter(|_| self.request.kind != RequestKind::AtsTranslated);
        config::context_index(self.stream.ste, ssid, stage1, &control.features).map_err(|why| match why {
            Unsubstreamed::Unknown => self.bad_substream(control),
            Unsubstreamed::Disabled => {
                self.refuse(control, EventRecord::new(EventNumber::F_STREAM_DISABLED, self.request.sid))
            }
        })
    }

    pub(super) fn bad_substream(&self, control: &Control) -> Step {
        let event = EventRecord::new(EventNumber::C_BAD_SUBSTREAMID, self.request.sid);
        self.refuse(control, event.with_ssid(self.request.ssid.unwrap_or(0).into()))
    }

    pub(super) fn without_stage1(&mut self, control: &Control, caches: &mut Caches, mode: u64) -> Step {
        let features = &control.features;
        // IAS equals OAS where only AArch64 tables exist, so one limit serves both kinds of bypass.
        if !features.reaches(self.request.addr) {
            return self.fault(EventNumber::F_ADDR_SIZE, Stage::One, Manner::ALWAYS);
        }
        if mode & 2 == 0 || self.is_virtual_only() {
            return done(self.identity(features, self.stream.overrides));
        }
        self.tag.kind = Kind::Ipa;
        self.consult_main(caches)
    }

    pub(super) fn find_context(&mut self, control: &Control, caches: &mut Caches) -> Step {
        let cached = caches.config.context(self.request.sid, self.index);
        if let Some(context) = caches.stats.contexts.count(cached) {
            self.context = *context;
            return self.in_context(control, caches);
        }
        match config::context_place(self.stream.ste, self.index, &control.features) {
            ContextPlace::Cd(addr) => self.fetch_for(caches, Purpose::Cd, addr),
            ContextPlace::L1Cd(addr) => self.fetch_for(caches, Purpose::L1Cd, addr),
        }
    }

    /// Reads a structure or a stage-1 descriptor, through stage 2 if there is one.
    pub(super) fn fetch_for(&mut self, caches: &mut Caches, purpose: Purpose, addr: u64) -> Step {
        if self.stage2 {
            return self.ask_stage2(caches, purpose, addr);
        }
        self.read_for(purpose, addr)
    }

    pub(super) fn read_for(&mut self, purpose: Purpose, addr: u64) -> Step {
        match purpose {
            Purpose::L1Cd => self.read(State::L1Cd, addr),
            Purpose::Cd => self.read(State::Cd, addr),
            Purpose::Table => self.read(State::Descriptor1, addr),
            Purpose::Update => self.compare_swap(StageIndex::One, addr),
            Purpose::Input => unreachable!("the transaction's own address is not read here"),
        }
    }

    pub(super) fn l1cd(&mut self, control: &Control, caches: &mut Caches, word: Result<u64, Abort>) -> Step {
        let Ok(word) = word else { return self.fetch_failed(control, EventNumber::F_CD_FETCH) };
        let (l1, features) = (L1Cd([word]), &control.features);
        if !l1.v() || !features.reaches(l1.l2ptr()) {
            return self.bad_substream(control);
        }
        let split = config::context_split(self.stream.ste, features).expect("a level-1 descriptor was read");
        let leaf = l1.l2ptr() & !low_mask(split + 6);
        self.fetch_for(caches, Purpose::Cd, leaf + (u64::from(self.index) & low_mask(split)) * 64)
    }

    pub(super) fn cd(&mut self, control: &Control, caches: &mut Caches, data: &Result<Data, Abort>) -> Step {
        let Ok(data) = data else { return self.fetch_failed(control, EventNumber::F_CD_FETCH) };
        let cd = Cd::from_bytes(data.bytes());
        self.context = Context::new(cd, self.stream.ste, self.world, &control.features);
        if self.context.legal {
            caches.lints.add(lint::of_cd(cd, self.world, &control.features));
        }
        if self.may_fill {
            caches.lints.add(caches.config.lints_of_context(self.request.sid, self.index, &self.context));
            caches.config.insert_context(self.request.sid, self.index, self.context);
        }
        self.in_context(control, caches)
    }

    /// Which half of the virtual addresses is used.
    pub(super) const fn upper(&self) -> bool {
        self.world.upper(self.request.addr)
    }

    pub(super) const fn e0pd(&self, features: &Features) -> bool {
        self.context.e0pd(self.upper(), self.world, features)
    }

    /// The CD is here.
    fn in_context(&mut self, control: &Control, caches: &mut Caches) -> Step {
        if !self.context.legal {
            return self.refuse(control, self.about(EventNumber::C_BAD_CD));
        }
        let upper = self.upper();
        self.one.tables = self.context.halves[usize::from(upper)];
        let spanned = self.context.spans(self.request.addr, upper);
        if !spanned || self.e0pd(&control.features) && !self.access.privileged {
            return self.fault1(EventNumber::F_TRANSLATION);
        }
        self.tag = self.context.tag(self.tag);
        self.consult_main(caches)
    }
}

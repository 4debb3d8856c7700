//! One transaction's way through the SMMU, as a state machine that asks for what it needs.
//!
//! ```text
//!  Begin -> Micro -> Stream [-> L1Std] [-> Ste] [-> L1Cd] [-> Cd] -> Main -> Probe1/Descriptor1 ... -> done
//!                                           \________\________________________/
//!                                    each through stage 2 if nested: Ipa -> Probe2/Descriptor2 ...
//! ```
//! Checks come in the order of IHI 0070, 3.4 and 7.3.

use spec::smmu::descriptor::{Leaf1, Leaf2};
use spec::smmu::event::class;
use spec::smmu::ste::config as mode;
use spec::smmu::{Cd, EventNumber, EventRecord, L1Cd, L1Std, Ste};

use crate::bus::{Abort, Data};

use super::caches::Caches;
use super::config::{self, ContextPlace, Tables};
use super::control::Control;
use super::fault::{Manner, Purpose, Stage, at_stage, with_access};
use super::features::Features;
use super::granule::low_mask;
use super::micro_tlb::MicroEntry;
use super::request::{Request, RequestKind};
use super::rights::{self, Access, Hierarchy, Rights, Stage1Rules};
use super::scope::{AsidMatch, Kind, Scope, TAG_BITS, Tag, TlbScope, World};
use super::step::{AtsAnswer, Input, Outcome, StageIndex, Step, Unit};
use super::tlb::Entry;
use super::walk::{self, Descriptor};
use super::walk_cache::TableEntry;

/// What the next input is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Begin,
    Micro,
    Stream,
    L1Std,
    Ste,
    L1Cd,
    Cd,
    Main,
    Probe1,
    Descriptor1,
    Ipa,
    Probe2,
    Descriptor2,
    Ended,
}

/// Where a walk stands.
#[derive(Clone, Copy, Debug, Default)]
struct Walk {
    tables: Tables,
    level: u8,
    table: u64,
    hierarchy: Hierarchy,
}

impl Walk {
    const fn descriptor(&self, input: u64) -> u64 {
        self.tables.descriptor(self.table, self.level, input)
    }

    fn from_root(&mut self) {
        self.level = self.tables.level;
        self.table = self.tables.table;
        self.hierarchy = Hierarchy::default();
    }

    fn below(&mut self, entry: &TableEntry) {
        self.level = entry.level + 1;
        self.table = entry.table;
        self.hierarchy = entry.hierarchy;
    }

    /// log2 of what the present descriptor covers.
    const fn bits(&self) -> u8 {
        self.tables.granule.shift(self.level)
    }

    /// The leaf found here, still without rights.
    fn leaf(&self, tag: Tag, input: u64, output: u64) -> Entry {
        let (bits, granule) = (self.bits(), self.tables.granule);
        let input = input & low_mask(TAG_BITS) & !low_mask(bits);
        Entry { tag, input, output, bits, leaf_bits: bits, level: self.level, granule, ..Entry::default() }
    }
}

/// A transaction on its way.
#[derive(Clone, Debug)]
pub struct Translation {
    request: Request,
    state: State,
    may_fill: bool,
    /// After the overrides of the STE.
    access: Access,
    ste: Ste,
    cd: Cd,
    world: World,
    /// Index of the context descriptor in use.
    context: u32,
    stage2: bool,
    tag: Tag,
    one: Walk,
    two: Walk,
    /// Stage-1 leaf, once found.
    leaf1: Entry,
    /// What stage 2 is translating, and why.
    ipa: u64,
    purpose: Purpose,
    /// Where the outstanding read goes.
    fetch: u64,
}

const fn done(outcome: Outcome) -> Step {
    Step::Done(outcome)
}

impl Translation {
    /// A transaction that has just arrived.
    pub fn new(request: Request) -> Self {
        let requester = matches!(request.kind, RequestKind::AtsRequest { .. });
        let access = Access {
            read: !request.write || request.atomic || requester,
            write: request.write && !requester,
            instruction: request.instruction,
            privileged: request.privileged,
        };
        Self {
            request,
            state: State::Begin,
            may_fill: true,
            // Writes are data, whatever the bus says.
            access: access.overridden(0, 0),
            ste: Ste::default(),
            cd: Cd::default(),
            world: World::El1,
            context: 0,
            stage2: false,
            tag: Tag::default(),
            one: Walk::default(),
            two: Walk::default(),
            leaf1: Entry::default(),
            ipa: 0,
            purpose: Purpose::Input,
            fetch: 0,
        }
    }

    /// What is being translated.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// From now on nothing that this translation finds may be kept: an invalidation that covers it has been executed.
    pub const fn forbid_fill(&mut self) {
        self.may_fill = false;
    }

    /// Takes one step. Panics if `input` is not what the last step asked for.
    pub fn resume(&mut self, control: &Control, caches: &mut Caches, input: Input) -> Step {
        let step = match (self.state, input) {
            (State::Begin, Input::Go) => self.begin(control),
            (State::Micro, Input::Go) => self.micro(caches),
            (State::Stream, Input::Go) => self.stream(control, caches),
            (State::Main, Input::Go) => self.main(control, caches),
            (State::Probe1, Input::Go) => self.probe1(caches),
            (State::Ipa, Input::Go) => self.ipa_cache(control, caches),
            (State::Probe2, Input::Go) => self.probe2(caches),
            (State::L1Std, Input::Data(data)) => self.l1std(control, data),
            (State::Ste, Input::Data(data)) => self.ste(control, caches, data),
            (State::L1Cd, Input::Data(data)) => self.l1cd(control, data),
            (State::Cd, Input::Data(data)) => self.cd(control, caches, data),
            (State::Descriptor1, Input::Data(data)) => self.descriptor1(control, caches, data),
            (State::Descriptor2, Input::Data(data)) => self.descriptor2(control, caches, data),
            (state, input) => panic!("{input:?} is no answer in state {state:?}"),
        };
        if matches!(step, Step::Done(_)) {
            self.state = State::Ended;
        }
        step
    }

    /// Whether what this translation has read so far, or is reading now, may be outdated by an invalidation that is
    /// executed at this moment. It may still be used, but CMD_SYNC waits for it and it must not fill a cache. Where it
    /// cannot be told, the answer is yes.
    pub fn covered_by(&self, scope: &Scope) -> bool {
        let configured = match self.state {
            State::Begin | State::Micro | State::Stream | State::Ended => return false,
            State::L1Std | State::Ste => false,
            _ => true,
        };
        match scope {
            Scope::Streams { .. } => scope.covers_stream(self.request.sid),
            Scope::Contexts { .. } => configured && scope.covers_context(self.request.sid, self.context),
            Scope::Translations(scope) => configured && self.uses(scope),
        }
    }

    fn uses(&self, scope: &TlbScope) -> bool {
        // Inside a nested walk many intermediate addresses have been used: any of them may be meant.
        if self.stage2 && self.tag.kind == Kind::Va && scope.covers_regime(&self.tag2()) {
            return true;
        }
        let reading_context = matches!(self.state, State::L1Cd | State::Cd | State::Main)
            || matches!(self.purpose, Purpose::L1Cd | Purpose::Cd);
        if reading_context || !scope.covers_regime(&self.tag) {
            return false;
        }
        // Whether the leaf is global is not known yet, so an ASID excludes only if global leaves are not meant.
        if matches!(scope.asid, AsidMatch::NonGlobal(asid) if asid != self.tag.asid) {
            return false;
        }
        let walk = if self.tag.kind == Kind::Va { &self.one } else { &self.two };
        let level = if scope.leaf_only { walk.level } else { walk.tables.level };
        let bits = walk.tables.granule.shift(level);
        scope.region.is_none_or(|region| region.intersects(self.request.addr, bits))
    }

    const fn tag2(&self) -> Tag {
        Tag { kind: Kind::Ipa, world: World::El1, vmid: self.tag.vmid, asid: 0, aset: false }
    }

    // ---- before the Stream table

    fn begin(&mut self, control: &Control) -> Step {
        let kind = self.request.kind;
        if !control.enabled() {
            return match kind {
                RequestKind::Ordinary if control.gbpa.abort() => done(Outcome::Abort { event: None }),
                RequestKind::Ordinary => self.pass(control),
                RequestKind::AtsRequest { .. } => self.unsupported(control),
                RequestKind::AtsTranslated => self.forbidden(control),
            };
        }
        match kind {
            RequestKind::Ordinary => {
                self.state = State::Micro;
                Step::Lookup(Unit::MicroTlb)
            }
            RequestKind::AtsRequest { .. } if !control.features.ats => self.unsupported(control),
            RequestKind::AtsTranslated if !control.features.ats => self.forbidden(control),
            RequestKind::AtsTranslated if !control.atschk() => self.pass(control),
            _ => {
                self.state = State::Stream;
                Step::Lookup(Unit::ConfigCache)
            }
        }
    }

    /// The address as it is, if there is such an address.
    fn pass(&self, control: &Control) -> Step {
        let features = &control.features;
        if !features.reaches(self.request.addr) {
            return done(Outcome::Abort { event: None });
        }
        done(self.identity(features))
    }

    const fn identity(&self, features: &Features) -> Outcome {
        if matches!(self.request.kind, RequestKind::AtsRequest { .. }) {
            let answer = AtsAnswer::Translation { pa: 0, size_log2: features.oas, read: true, write: true };
            return Outcome::Ats { answer, event: None };
        }
        Outcome::Translated {
            pa: self.request.addr,
            size_log2: features.oas,
            read: true,
            write: true,
            tlb_hit: false,
            filled: false,
        }
    }

    fn unsupported(&self, control: &Control) -> Step {
        let RequestKind::AtsRequest { write } = self.request.kind else {
            unreachable!("only for ATS requests")
        };
        let event = self.about(EventNumber::F_BAD_ATS_TREQ).with_inputpage(self.request.addr);
        let event = event.with_r(true).with_w(write).with_x(self.request.instruction);
        let event = event.with_priv_(self.request.privileged);
        let event = control.features.ats.then_some(event);
        done(Outcome::Ats { answer: AtsAnswer::Unsupported, event })
    }

    fn forbidden(&self, control: &Control) -> Step {
        let event = EventRecord::new(EventNumber::F_TRANSL_FORBIDDEN, self.request.sid);
        let event = event.with_inputaddr(self.request.addr).with_rnw(!self.request.write);
        done(Outcome::Abort { event: control.features.ats.then_some(event) })
    }

    fn micro(&mut self, caches: &mut Caches) -> Step {
        let found = caches.micro.lookup(&self.request, self.access).copied();
        if let Some(found) = caches.stats.micro.count(found) {
            self.access = self.access.overridden(found.privcfg, found.instcfg);
            return self.finish(&found.entry, true, false);
        }
        self.state = State::Stream;
        Step::Lookup(Unit::ConfigCache)
    }

    // ---- configuration

    /// A record of this number about the stream, with its SubstreamID.
    const fn about(&self, number: EventNumber) -> EventRecord {
        let ssid = match self.request.kind {
            RequestKind::AtsTranslated => None,
            _ => self.request.ssid,
        };
        EventRecord::configuration(number, self.request.sid, ssid)
    }

    /// Ends with a configuration fault.
    fn refuse(&self, control: &Control, event: EventRecord) -> Step {
        let if_ats = control.record_ats().then_some(event);
        done(match self.request.kind {
            RequestKind::Ordinary => Outcome::Abort { event: Some(event) },
            RequestKind::AtsTranslated => Outcome::Abort { event: if_ats },
            RequestKind::AtsRequest { .. } => Outcome::Ats { answer: AtsAnswer::Abort, event: if_ats },
        })
    }

    fn silent(&self) -> Step {
        done(match self.request.kind {
            RequestKind::AtsRequest { .. } => Outcome::Ats { answer: AtsAnswer::Unsupported, event: None },
            _ => Outcome::Abort { event: None },
        })
    }

    fn unknown_stream(&self, control: &Control) -> Step {
        if control.cr2.recinvsid() {
            return self.refuse(control, self.about(EventNumber::C_BAD_STREAMID));
        }
        done(match self.request.kind {
            RequestKind::AtsRequest { .. } => Outcome::Ats { answer: AtsAnswer::Abort, event: None },
            _ => Outcome::Abort { event: None },
        })
    }

    fn fetch_failed(&self, control: &Control, number: EventNumber) -> Step {
        let addr = self.fetch & low_mask(control.features.oas);
        self.refuse(control, self.about(number).with_fetchaddr(addr))
    }

    fn read(&mut self, state: State, addr: u64) -> Step {
        self.state = state;
        self.fetch = addr;
        Step::Read { addr, len: if matches!(state, State::Ste | State::Cd) { 64 } else { 8 } }
    }

    fn stream(&mut self, control: &Control, caches: &mut Caches) -> Step {
        let sid = self.request.sid;
        if let Some((ste, legal)) = caches.stats.streams.count(caches.config.ste(sid)) {
            self.ste = ste;
            return self.configured(control, caches, legal);
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

    fn read_stream(&mut self, control: &Control, state: State, addr: u64) -> Step {
        if control.features.reaches(addr) {
            return self.read(state, addr);
        }
        self.fetch = addr;
        self.fetch_failed(control, EventNumber::F_STE_FETCH)
    }

    fn l1std(&mut self, control: &Control, data: Result<Data, Abort>) -> Step {
        let Ok(data) = data else { return self.fetch_failed(control, EventNumber::F_STE_FETCH) };
        let l1 = L1Std([data.value()]);
        let split = control.split().unwrap_or(6);
        let span = l1.span() as u8;
        let index = u64::from(self.request.sid) & low_mask(split);
        if span == 0 || span > split + 1 || index >> (span - 1) != 0 {
            return self.unknown_stream(control);
        }
        let array = l1.l2ptr() & !low_mask(span + 5);
        self.read_stream(control, State::Ste, array + index * 64)
    }

    fn ste(&mut self, control: &Control, caches: &mut Caches, data: Result<Data, Abort>) -> Step {
        let Ok(data) = data else { return self.fetch_failed(control, EventNumber::F_STE_FETCH) };
        self.ste = Ste::from_bytes(data.bytes());
        let legal = config::ste_legal(self.ste, &control.features);
        if self.may_fill {
            caches.config.insert_ste(self.request.sid, self.ste, legal);
        }
        self.configured(control, caches, legal)
    }

    /// The STE is here.
    fn configured(&mut self, control: &Control, caches: &mut Caches, legal: bool) -> Step {
        let (ste, features) = (self.ste, &control.features);
        if !legal {
            return self.refuse(control, self.about(EventNumber::C_BAD_STE));
        }
        let mode = ste.config();
        if mode < mode::BYPASS {
            return self.silent();
        }
        let eats = config::effective_eats(ste, control);
        match self.request.kind {
            RequestKind::AtsRequest { .. } if eats == 0 => return self.unsupported(control),
            RequestKind::AtsTranslated if eats == 0 => return self.forbidden(control),
            RequestKind::AtsTranslated if eats == config::EATS_FULL => return self.pass(control),
            // Split stage: what comes is an intermediate address, without privilege or SubstreamID.
            RequestKind::AtsTranslated => {
                self.access = Access { instruction: false, privileged: false, ..self.access };
            }
            _ => (),
        }
        if features.attr_perms_ovr {
            self.access = self.access.overridden(ste.privcfg(), ste.instcfg());
        }
        self.world = config::world(ste, control);
        self.stage2 = mode & 2 != 0;
        self.tag.world = self.world;
        self.tag.vmid = config::vmid(ste, self.world, features);
        if self.stage2 {
            self.two.tables = Tables::stage2(ste, features).expect("a legal STE");
        }
        let translated = self.request.kind == RequestKind::AtsTranslated;
        match self.substream(control, mode & 1 != 0 && !translated) {
            Err(fault) => fault,
            Ok(None) => self.without_stage1(features, mode),
            Ok(Some(context)) => {
                self.context = context;
                self.find_context(control, caches)
            }
        }
    }

    /// Which context descriptor is in charge; none if stage 1 is bypassed.
    fn substream(&self, control: &Control, stage1: bool) -> Result<Option<u32>, Step> {
        let disabled = || {
            let event = EventRecord::new(EventNumber::F_STREAM_DISABLED, self.request.sid);
            Err(self.refuse(control, event))
        };
        let bits = config::context_bits(self.ste, &control.features);
        let ssid = self.request.ssid.filter(|_| self.request.kind != RequestKind::AtsTranslated);
        match ssid {
            Some(ssid) if !stage1 || bits == 0 || ssid >> bits != 0 => Err(self.bad_substream(control)),
            Some(0) if self.ste.s1dss() == 2 => disabled(),
            Some(ssid) => Ok(Some(ssid)),
            None if !stage1 => Ok(None),
            None if bits == 0 => Ok(Some(0)),
            None => match self.ste.s1dss() {
                1 => Ok(None),
                2 => Ok(Some(0)),
                _ => disabled(),
            },
        }
    }

    fn bad_substream(&self, control: &Control) -> Step {
        let event = EventRecord::new(EventNumber::C_BAD_SUBSTREAMID, self.request.sid);
        self.refuse(control, event.with_ssid(self.request.ssid.unwrap_or(0).into()))
    }

    fn without_stage1(&mut self, features: &Features, mode: u64) -> Step {
        // IAS equals OAS where only AArch64 tables exist, so one limit serves both kinds of bypass.
        if !features.reaches(self.request.addr) {
            return self.fault(EventNumber::F_ADDR_SIZE, Stage::One, Manner::ALWAYS);
        }
        if mode & 2 == 0 {
            return done(self.identity(features));
        }
        self.tag.kind = Kind::Ipa;
        self.consult_main()
    }

    fn find_context(&mut self, control: &Control, caches: &mut Caches) -> Step {
        let cached = caches.config.cd(self.request.sid, self.context);
        if let Some((cd, legal)) = caches.stats.contexts.count(cached) {
            self.cd = cd;
            return self.in_context(control, legal);
        }
        match config::context_place(self.ste, self.context, &control.features) {
            ContextPlace::Cd(addr) => self.fetch_for(Purpose::Cd, addr),
            ContextPlace::L1Cd(addr) => self.fetch_for(Purpose::L1Cd, addr),
        }
    }

    /// Reads a structure or a stage-1 descriptor, through stage 2 if there is one.
    fn fetch_for(&mut self, purpose: Purpose, addr: u64) -> Step {
        if self.stage2 {
            return self.to_stage2(purpose, addr);
        }
        self.read_for(purpose, addr)
    }

    fn read_for(&mut self, purpose: Purpose, addr: u64) -> Step {
        match purpose {
            Purpose::L1Cd => self.read(State::L1Cd, addr),
            Purpose::Cd => self.read(State::Cd, addr),
            Purpose::Table => self.read(State::Descriptor1, addr),
            Purpose::Input => unreachable!("the transaction's own address is not read here"),
        }
    }

    fn l1cd(&mut self, control: &Control, data: Result<Data, Abort>) -> Step {
        let Ok(data) = data else { return self.fetch_failed(control, EventNumber::F_CD_FETCH) };
        let (l1, features) = (L1Cd([data.value()]), &control.features);
        if !l1.v() || !features.reaches(l1.l2ptr()) {
            return self.bad_substream(control);
        }
        let split = config::context_split(self.ste, features).expect("a level-1 descriptor was read");
        let leaf = l1.l2ptr() & !low_mask(split + 6);
        self.fetch_for(Purpose::Cd, leaf + (u64::from(self.context) & low_mask(split)) * 64)
    }

    fn cd(&mut self, control: &Control, caches: &mut Caches, data: Result<Data, Abort>) -> Step {
        let Ok(data) = data else { return self.fetch_failed(control, EventNumber::F_CD_FETCH) };
        self.cd = Cd::from_bytes(data.bytes());
        let legal = config::cd_legal(self.cd, self.ste, self.world, &control.features);
        if self.may_fill {
            caches.config.insert_cd(self.request.sid, self.context, self.cd, legal);
        }
        self.in_context(control, legal)
    }

    /// Which half of the virtual addresses is used.
    const fn upper(&self) -> bool {
        !matches!(self.world, World::El2) && self.request.addr >> 55 & 1 != 0
    }

    const fn top_byte_ignored(&self) -> bool {
        if self.upper() { self.cd.tbi1() } else { self.cd.tbi0() }
    }

    const fn e0pd(&self, features: &Features) -> bool {
        let field = if self.upper() { self.cd.e0pd1() } else { self.cd.e0pd0() };
        features.e0pd && field && !matches!(self.world, World::El2)
    }

    /// The CD is here.
    fn in_context(&mut self, control: &Control, legal: bool) -> Step {
        if !legal {
            return self.refuse(control, self.about(EventNumber::C_BAD_CD));
        }
        let (cd, upper) = (self.cd, self.upper());
        let size = if upper { cd.t1sz() } else { cd.t0sz() };
        let addr = self.request.addr;
        // Sign extension from bit 55 puts the half's own bits where an ignored top byte was.
        let addr = if self.top_byte_ignored() { ((addr << 8) as i64 >> 8) as u64 } else { addr };
        let above = addr as i64 >> (64 - size).min(63);
        if above != if upper { -1 } else { 0 } || self.e0pd(&control.features) && !self.access.privileged {
            return self.fault1(EventNumber::F_TRANSLATION);
        }
        let tagged = self.world != World::El2;
        self.tag.asid = if tagged { cd.asid() as u16 } else { 0 };
        self.tag.aset = tagged && cd.aset();
        self.consult_main()
    }

    // ---- translation

    fn consult_main(&mut self) -> Step {
        self.state = State::Main;
        Step::Lookup(Unit::MainTlb)
    }

    /// Whether stage 1 answers a translation request alone.
    fn split(&self) -> bool {
        self.ste.eats() == config::EATS_SPLIT && matches!(self.request.kind, RequestKind::AtsRequest { .. })
    }

    /// Whether these rights are enough to go on.
    fn suffices(&self, rights: Rights) -> bool {
        match self.request.kind {
            RequestKind::AtsRequest { .. } => self.ats_rights(rights) != (false, false),
            _ => rights.permits(self.access),
        }
    }

    /// R and W of a translation completion.
    const fn ats_rights(&self, rights: Rights) -> (bool, bool) {
        let p = self.access.privileged;
        let instruction = self.ste.instcfg() == 3 && self.access.instruction;
        (if instruction { rights.execute(p) } else { rights.read(p) }, rights.write(p))
    }

    fn main(&mut self, control: &Control, caches: &mut Caches) -> Step {
        let addr = self.request.addr;
        // An entry that does not suffice is walked again: the fault needs to know the stage.
        let found = caches.main.lookup(&self.tag, addr).copied();
        let found = found.filter(|e| self.suffices(e.rights) && !self.split());
        if let Some(entry) = caches.stats.main.count(found) {
            self.fill_micro(control, caches, &entry);
            return self.finish(&entry, true, false);
        }
        if self.tag.kind == Kind::Ipa {
            return self.to_stage2(Purpose::Input, addr);
        }
        if config::walks_disabled(self.cd, self.upper(), self.world) {
            return self.fault1(EventNumber::F_TRANSLATION);
        }
        self.one.tables = Tables::stage1(self.cd, self.upper(), &control.features).expect("a legal CD");
        if self.one.tables.level == 3 {
            self.one.from_root();
            return self.read1();
        }
        self.one.level = 2;
        self.probe(StageIndex::One)
    }

    fn probe(&mut self, stage: StageIndex) -> Step {
        let (state, level) = match stage {
            StageIndex::One => (State::Probe1, self.one.level),
            StageIndex::Two => (State::Probe2, self.two.level),
        };
        self.state = state;
        Step::Lookup(Unit::WalkCache { stage, level })
    }

    fn probe1(&mut self, caches: &mut Caches) -> Step {
        let (level, addr) = (self.one.level, self.request.addr);
        let found = caches.walk.lookup(&self.tag, self.one.tables.granule, level, addr);
        match caches.stats.walk[0][usize::from(level)].count(found) {
            Some(entry) => self.one.below(entry),
            None if level > self.one.tables.level => {
                self.one.level -= 1;
                return self.probe(StageIndex::One);
            }
            None => self.one.from_root(),
        }
        self.read1()
    }

    fn read1(&mut self) -> Step {
        self.fetch_for(Purpose::Table, self.one.descriptor(self.request.addr))
    }

    fn descriptor1(&mut self, control: &Control, caches: &mut Caches, data: Result<Data, Abort>) -> Step {
        let Ok(data) = data else { return self.walk_aborted(control, None) };
        let (features, cd, addr) = (&control.features, self.cd, self.request.addr);
        let (output, raw) = match walk::decode(data.value(), &self.one.tables, self.one.level, features.oas) {
            Descriptor::Invalid => return self.fault1(EventNumber::F_TRANSLATION),
            Descriptor::AddressSize => return self.fault1(EventNumber::F_ADDR_SIZE),
            Descriptor::Table { next, table } => {
                self.one.hierarchy = self.one.hierarchy.under(table);
                self.descend(caches, StageIndex::One, next);
                return self.read1();
            }
            Descriptor::Leaf { output, raw } => (output, Leaf1([raw])),
        };
        if !raw.af() && !cd.affd() {
            return self.fault1(EventNumber::F_ACCESS);
        }
        let el2 = self.world == World::El2;
        let had = features.had && if self.upper() { cd.had1() } else { cd.had0() };
        let hierarchy = if had { Hierarchy::default() } else { self.one.hierarchy };
        let rights = rights::stage1(raw, hierarchy, Stage1Rules { el2, wxn: cd.wxn(), pan: cd.pan() });
        if !self.suffices(rights) {
            return self.denied(rights, Stage::One, Manner::stage1(cd));
        }
        let rights = if self.e0pd(features) { rights.without_user() } else { rights };
        let leaf = self.one.leaf(self.tag, addr, output);
        self.leaf1 = Entry { global: el2 || !raw.ng(), rights, ..leaf };
        if self.stage2 {
            return self.to_stage2(Purpose::Input, self.leaf1.translate(addr));
        }
        let entry = self.leaf1;
        self.complete(control, caches, entry)
    }

    /// Follows a table descriptor.
    fn descend(&mut self, caches: &mut Caches, stage: StageIndex, next: u64) {
        let (tag, input, walk) = match stage {
            StageIndex::One => (self.tag, self.request.addr, &mut self.one),
            StageIndex::Two => (self.tag2(), self.ipa, &mut self.two),
        };
        if self.may_fill {
            caches.walk.insert(TableEntry {
                tag,
                input: input & low_mask(TAG_BITS) & !low_mask(walk.bits()),
                granule: walk.tables.granule,
                level: walk.level,
                table: next,
                hierarchy: walk.hierarchy,
            });
        }
        walk.table = next;
        walk.level += 1;
    }

    // ---- stage 2

    fn to_stage2(&mut self, purpose: Purpose, ipa: u64) -> Step {
        self.purpose = purpose;
        self.ipa = ipa;
        if ipa >> self.two.tables.input_bits != 0 {
            return self.fault2(EventNumber::F_TRANSLATION);
        }
        if self.tag.kind == Kind::Ipa {
            return self.walk2();
        }
        self.state = State::Ipa;
        Step::Lookup(Unit::IpaCache)
    }

    fn ipa_cache(&mut self, control: &Control, caches: &mut Caches) -> Step {
        let found = caches.ipa.lookup(&self.tag2(), self.ipa).copied();
        let found = found.filter(|e| self.suffices2(e));
        match caches.stats.ipa.count(found) {
            Some(entry) => self.from_stage2(control, caches, entry),
            None => self.walk2(),
        }
    }

    fn walk2(&mut self) -> Step {
        if self.two.tables.level == 3 {
            self.two.from_root();
            return self.read2();
        }
        self.two.level = 2;
        self.probe(StageIndex::Two)
    }

    fn probe2(&mut self, caches: &mut Caches) -> Step {
        let level = self.two.level;
        let found = caches.walk.lookup(&self.tag2(), self.two.tables.granule, level, self.ipa);
        match caches.stats.walk[1][usize::from(level)].count(found) {
            Some(entry) => self.two.below(entry),
            None if level > self.two.tables.level => {
                self.two.level -= 1;
                return self.probe(StageIndex::Two);
            }
            None => self.two.from_root(),
        }
        self.read2()
    }

    fn read2(&mut self) -> Step {
        let addr = self.two.descriptor(self.ipa);
        self.read(State::Descriptor2, addr)
    }

    /// Whether stage 2 permits what it was asked for.
    fn suffices2(&self, entry: &Entry) -> bool {
        match self.purpose {
            Purpose::Input => self.suffices(entry.rights),
            _ => entry.rights.permits(Access::WALK) && !(entry.device && self.ste.s2ptw()),
        }
    }

    fn descriptor2(&mut self, control: &Control, caches: &mut Caches, data: Result<Data, Abort>) -> Step {
        let stage = Stage::Two { ipa: self.ipa, purpose: self.purpose };
        let Ok(data) = data else { return self.walk_aborted(control, Some(stage)) };
        let (features, ste) = (&control.features, self.ste);
        let (output, raw) = match walk::decode(data.value(), &self.two.tables, self.two.level, features.oas) {
            Descriptor::Invalid => return self.fault2(EventNumber::F_TRANSLATION),
            Descriptor::AddressSize => return self.fault2(EventNumber::F_ADDR_SIZE),
            Descriptor::Table { next, .. } => {
                self.descend(caches, StageIndex::Two, next);
                return self.read2();
            }
            Descriptor::Leaf { output, raw } => (output, Leaf2([raw])),
        };
        if !raw.af() && !ste.s2affd() {
            return self.fault2(EventNumber::F_ACCESS);
        }
        let leaf = self.two.leaf(self.tag2(), self.ipa, output);
        let rights = rights::stage2(raw, features.xnx);
        let device = walk::is_device(raw, features.fwb && ste.s2fwb());
        let entry = Entry { rights, device, ..leaf };
        if !self.suffices2(&entry) {
            return self.denied(rights, stage, Manner::stage2(ste));
        }
        if self.may_fill && self.tag.kind == Kind::Va {
            caches.ipa.insert(entry);
        }
        self.from_stage2(control, caches, entry)
    }

    fn from_stage2(&mut self, control: &Control, caches: &mut Caches, entry: Entry) -> Step {
        let pa = entry.translate(self.ipa);
        match self.purpose {
            Purpose::Input if self.tag.kind == Kind::Ipa => self.complete(control, caches, entry),
            Purpose::Input => {
                let (one, addr) = (self.leaf1, self.request.addr);
                let bits = one.bits.min(entry.bits);
                let combined = Entry {
                    input: addr & low_mask(TAG_BITS) & !low_mask(bits),
                    output: pa & !low_mask(bits),
                    bits,
                    rights: one.rights.and(entry.rights),
                    device: entry.device,
                    ..one
                };
                self.complete(control, caches, combined)
            }
            purpose => self.read_for(purpose, pa),
        }
    }

    // ---- ends

    fn complete(&mut self, control: &Control, caches: &mut Caches, entry: Entry) -> Step {
        if self.may_fill {
            caches.main.insert(entry);
            self.fill_micro(control, caches, &entry);
        }
        self.finish(&entry, false, self.may_fill)
    }

    fn fill_micro(&self, control: &Control, caches: &mut Caches, entry: &Entry) {
        if !self.may_fill || self.request.kind != RequestKind::Ordinary {
            return;
        }
        let overrides = control.features.attr_perms_ovr;
        caches.micro.insert(MicroEntry {
            sid: self.request.sid,
            ssid: self.request.ssid,
            context: self.context,
            upper: self.request.addr & !low_mask(entry.bits),
            top_byte_ignored: entry.tag.kind == Kind::Va && self.top_byte_ignored(),
            privcfg: if overrides { self.ste.privcfg() } else { 0 },
            instcfg: if overrides { self.ste.instcfg() } else { 0 },
            entry: *entry,
        });
    }

    fn finish(&self, entry: &Entry, tlb_hit: bool, filled: bool) -> Step {
        let (rights, privileged) = (entry.rights, self.access.privileged);
        let size_log2 = entry.bits;
        if let RequestKind::AtsRequest { .. } = self.request.kind {
            let (read, write) = self.ats_rights(rights);
            let pa = if self.split() { self.ipa & !low_mask(size_log2) } else { entry.output };
            let answer = AtsAnswer::Translation { pa, size_log2, read, write };
            return done(Outcome::Ats { answer, event: None });
        }
        done(Outcome::Translated {
            pa: entry.translate(self.request.addr),
            size_log2,
            read: rights.read(privileged),
            write: rights.write(privileged),
            tlb_hit,
            filled,
        })
    }

    fn fault1(&self, number: EventNumber) -> Step {
        self.fault(number, Stage::One, Manner::stage1(self.cd))
    }

    fn fault2(&self, number: EventNumber) -> Step {
        let stage = Stage::Two { ipa: self.ipa, purpose: self.purpose };
        self.fault(number, stage, Manner::stage2(self.ste))
    }

    /// F_PERMISSION: an atomic that lacks only the read is reported as a read, and a table that cannot be read says so.
    fn denied(&self, rights: Rights, stage: Stage, manner: Manner) -> Step {
        let event = self.event(EventNumber::F_PERMISSION, stage);
        let event = match stage {
            Stage::Two { purpose: Purpose::Table, .. } => event.with_ttrnw(true),
            Stage::Two { purpose: Purpose::L1Cd | Purpose::Cd, .. } => event,
            _ if self.request.atomic && rights.write(self.access.privileged) => event.with_rnw(true),
            _ => event,
        };
        self.end(event, manner)
    }

    fn fault(&self, number: EventNumber, stage: Stage, manner: Manner) -> Step {
        self.end(self.event(number, stage), manner)
    }

    const fn event(&self, number: EventNumber, stage: Stage) -> EventRecord {
        at_stage(with_access(self.about(number), &self.request, self.access), stage)
    }

    fn end(&self, event: EventRecord, manner: Manner) -> Step {
        if let RequestKind::AtsRequest { .. } = self.request.kind {
            let answer = AtsAnswer::Translation { pa: 0, size_log2: 12, read: false, write: false };
            return done(Outcome::Ats { answer, event: None });
        }
        if manner.stall && self.request.kind == RequestKind::Ordinary {
            return done(Outcome::Stall { event: event.with_stall(true) });
        }
        let event = manner.record.then_some(event);
        done(if manner.abort { Outcome::Abort { event } } else { Outcome::ReadZeroWriteIgnored { event } })
    }

    fn walk_aborted(&self, control: &Control, stage: Option<Stage>) -> Step {
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

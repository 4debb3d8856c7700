//! One transaction's way through the SMMU, as a state machine that asks for what it needs.
//!
//! ```text
//!  Begin -> Micro -> Stream [-> L1Std] [-> Ste] [-> L1Cd] [-> Cd] -> Main -> Probe1/Descriptor1 ... -> done
//!                                           \________\________________________/
//!                                    each through stage 2 if nested: Ipa -> Probe2/Descriptor2 ...
//!
//!  Descriptor -> Update -> the same descriptor again, as it is then
//! ```
//! Checks come in the order of IHI 0070, 3.4 and 7.3.

mod configure;
mod ends;
mod fetch;
mod front;
mod operation;
mod stages;

pub(super) use front::Front;

use spec::smmu::{EventNumber, EventRecord};

use super::attributes::{LeafAttributes, Overrides};
use super::caches::Caches;
use super::config::Tables;
use super::config_cache::{Context, Stream};
use super::control::Control;
use super::fault::{Purpose, with_access};
use super::features::Features;
use super::granule::low_mask;
use super::request::{Request, RequestKind};
use super::rights::{Access, Hierarchy};
use super::scope::{AsidMatch, Kind, Scope, TAG_BITS, Tag, TlbScope, World};
use super::step::{AtsAnswer, Input, Outcome, Step, Unit};
use super::tlb::Entry;
use super::walk_cache::TableEntry;
use crate::bus::{Abort, Data};
use crate::dma::Grant;

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
    Update1,
    Update2,
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
    #[inline]
    const fn descriptor(&self, input: u64) -> u64 {
        self.tables.descriptor(self.table, self.level, input)
    }

    fn restart(&mut self) {
        self.level = self.tables.level;
        self.table = self.tables.table;
        self.hierarchy = Hierarchy::default();
    }

    fn below(&mut self, entry: &TableEntry) {
        self.level = entry.level + 1;
        self.table = entry.table;
        self.hierarchy = entry.hierarchy;
    }

    /// The table descriptor found here, for `input`.
    const fn entry(&self, tag: Tag, input: u64, table: u64) -> TableEntry {
        let Self { tables, level, hierarchy, .. } = *self;
        let input = input & low_mask(TAG_BITS) & !low_mask(self.bits());
        TableEntry { tag, input, granule: tables.granule, level, table, hierarchy }
    }

    /// log2 of what the present descriptor covers.
    const fn bits(&self) -> u8 {
        self.tables.granule.shift(self.level)
    }

    /// log2 of what a leaf found here covers together with its neighbours, if `contiguous` says that they are alike. A hint that
    /// cannot be true of this leaf is ignored.
    fn span(&self, input: u64, output: u64, contiguous: bool) -> u8 {
        let (bits, tables) = (self.bits(), &self.tables);
        let span = bits + tables.granule.contiguous(self.level);
        let aligned = (input ^ output) & low_mask(span) & !low_mask(bits) == 0;
        let fits = span <= tables.input_bits && span <= tables.output_bits;
        if contiguous && aligned && fits { span } else { bits }
    }

    /// The leaf found here, still without rights. `contiguous`: it stands for its neighbours, too.
    fn leaf(&self, tag: Tag, input: u64, output: u64, contiguous: bool) -> Entry {
        let granule = self.tables.granule;
        let bits = self.span(input, output, contiguous);
        let output = output & !low_mask(bits);
        let input = input & low_mask(TAG_BITS) & !low_mask(bits);
        Entry { tag, input, output, bits, leaf_bits: bits, level: self.level, granule, ..Entry::default() }
    }
}

/// How a descriptor is to be changed; as memory holds it.
#[derive(Clone, Copy, Debug, Default)]
struct Update {
    expected: u64,
    new: u64,
}

impl Update {
    /// From one descriptor to another.
    const fn of(old: u64, new: u64, tables: &Tables) -> Self {
        match tables.big_endian {
            true => Self { expected: old.swap_bytes(), new: new.swap_bytes() },
            false => Self { expected: old, new },
        }
    }
}

/// Updates that may be lost to software that changes the descriptor at the same time. Then memory is taken for one that cannot
/// do it, so that nobody can keep a walk going for ever.
const LOST_UPDATES_MAX: u8 = 100;

/// A transaction on its way.
#[derive(Clone, Debug)]
pub struct Translation {
    request: Request,
    state: State,
    may_fill: bool,
    /// What leaves say of their neighbours may be made use of.
    may_span: bool,
    /// After the overrides of the STE.
    access: Access,
    /// log2 of the size of an answer to a translation request that permits nothing.
    unit: u8,
    stream: Stream,
    /// log2 of the STEs in the array that a level-1 descriptor led to.
    array_bits: u8,
    context: Context,
    world: World,
    /// Index of the context descriptor in use.
    index: u32,
    stage2: bool,
    tag: Tag,
    one: Walk,
    two: Walk,
    /// Stage-1 leaf, once found.
    leaf1: Entry,
    /// What stage 2 is translating, and why.
    ipa: u64,
    purpose: Purpose,
    /// Where the outstanding access goes.
    fetch: u64,
    /// What stage 2 says of that place, where the address was an intermediate one.
    under: LeafAttributes,
    /// What is being written into the descriptors that `one` and `two` stand at.
    updates: [Update; 2],
    lost_updates: u8,
    /// Nobody is interested in how long lookups take: once the configuration is there, they are no steps.
    at_once: bool,
    /// One that would have been a step was beyond the TLBs.
    missed: bool,
}

/// What a request asks for on the bus. Writes are data, whatever the bus says.
#[inline]
fn access_of(request: &Request) -> Access {
    let requester = matches!(request.kind, RequestKind::AtsRequest { .. });
    let access = Access {
        read: !request.write || request.atomic || requester,
        write: request.write && !requester,
        instruction: request.instruction,
        privileged: request.privileged,
    };
    access.overridden(0, 0)
}

/// Whether a request asks the micro TLB first.
#[inline]
fn asks_micro(request: &Request, control: &Control) -> bool {
    control.enabled() && !control.failed && request.kind == RequestKind::Ordinary && !request.unsupported
}

/// What the micro TLB knows about an ordinary request.
#[inline]
fn ask_micro(request: &Request, access: Access, caches: &mut Caches) -> Option<Outcome> {
    let found = caches.micro.lookup(request, access).map(|found| found.outcome(request, access));
    caches.stats.micro.count(found)
}

const fn done(outcome: Outcome) -> Step {
    Step::Done(outcome)
}

impl Translation {
    /// A transaction that has just arrived.
    pub fn new(request: Request) -> Self {
        Self::begun(request.as_it_counts())
    }

    /// [`Translation::new`] in place, without a copy, for who does not move it afterwards. The request is as it counts.
    #[inline]
    fn begun(request: Request) -> Self {
        Self {
            request,
            state: State::Begin,
            may_fill: !operation::is_passive(&request),
            may_span: true,
            access: access_of(&request),
            unit: 0,
            stream: Stream::default(),
            array_bits: 0,
            context: Context::default(),
            world: World::El1,
            index: 0,
            stage2: false,
            tag: Tag::default(),
            one: Walk::default(),
            two: Walk::default(),
            leaf1: Entry::default(),
            ipa: 0,
            purpose: Purpose::Input,
            fetch: 0,
            under: LeafAttributes::default(),
            updates: [Update::default(); 2],
            lost_updates: 0,
            at_once: false,
            missed: false,
        }
    }

    /// The first two steps of an ordinary transaction, if they are all: a hit in the micro TLB needs nothing of a
    /// [`Translation`]. Otherwise [`Front`] or [`Translation::after_micro`] goes on.
    #[inline]
    pub(super) fn in_micro(request: &Request, control: &Control, caches: &mut Caches) -> Option<Outcome> {
        if asks_micro(request, control) { ask_micro(request, access_of(request), caches) } else { None }
    }

    /// A transaction of which [`Translation::in_micro`] does not know the outcome.
    pub(super) fn after_micro(request: &Request, control: &Control) -> Self {
        let state = if asks_micro(request, control) { State::Stream } else { State::Begin };
        Self { state, at_once: true, ..Self::new(*request) }
    }

    /// What is being translated.
    pub const fn request(&self) -> &Request {
        &self.request
    }

    /// Whether what was asked for last is a configuration structure, rather than a translation table.
    pub const fn reads_configuration(&self) -> bool {
        matches!(self.state, State::L1Std | State::Ste | State::L1Cd | State::Cd)
    }

    /// From now on nothing that this translation finds may be kept: an invalidation that covers it has been executed.
    pub const fn forbid_fill(&mut self) {
        self.may_fill = false;
    }

    /// An invalidation is executed at this moment: what it covers must not be kept.
    pub fn invalidated(&mut self, scope: &Scope) {
        if self.covered_by(scope) {
            self.forbid_fill();
        } else if matches!(scope, Scope::Translations(_)) {
            // It may cover a neighbour of the leaf.
            self.may_span = false;
        }
    }

    /// Takes one step. Panics if `input` is not what the last step asked for.
    pub fn resume(&mut self, control: &Control, caches: &mut Caches, input: Input) -> Step {
        let step = match input {
            Input::Go => self.go(control, caches),
            Input::Data(data) if matches!(self.state, State::Ste | State::Cd) => {
                self.structure(control, caches, &data)
            }
            Input::Data(data) => self.word(control, caches, data.map(|data| data.value())),
            Input::Word(word) => self.word(control, caches, word),
        };
        if matches!(step, Step::Done(_)) {
            self.ended();
        }
        step
    }

    /// Whether a lookup that was no step was beyond the TLBs.
    pub(super) const fn missed(&self) -> bool {
        self.missed
    }

    /// The last step was [`Step::Done`].
    pub(super) const fn ended(&mut self) {
        self.state = State::Ended;
    }

    /// [`Translation::resume`] at the start or after a [`Step::Lookup`].
    pub(super) fn go(&mut self, control: &Control, caches: &mut Caches) -> Step {
        match self.state {
            State::Begin => self.begin(control),
            State::Micro => self.micro(caches),
            State::Stream => self.stream(control, caches),
            State::Main => self.main(caches),
            State::Probe1 => self.probe1(caches),
            State::Ipa => self.ipa_cache(caches),
            State::Probe2 => self.probe2(caches),
            state => panic!("{:?} is no answer in state {state:?}", Input::Go),
        }
    }

    /// [`Translation::resume`] with eight bytes from memory.
    pub(super) fn word(&mut self, control: &Control, caches: &mut Caches, word: Result<u64, Abort>) -> Step {
        match self.state {
            State::Descriptor1 => self.descriptor1(control, caches, word),
            State::Descriptor2 => self.descriptor2(control, caches, word),
            State::Update1 => self.updated1(control, caches, word),
            State::Update2 => self.updated2(control, caches, word),
            State::L1Std => self.l1std(control, caches, word),
            State::L1Cd => self.l1cd(control, caches, word),
            state => panic!("{:?} is no answer in state {state:?}", Input::Word(word)),
        }
    }

    /// [`Translation::resume`] with 64 bytes from memory.
    pub(super) fn structure(
        &mut self,
        control: &Control,
        caches: &mut Caches,
        data: &Result<Data, Abort>,
    ) -> Step {
        match self.state {
            State::Ste => self.ste(control, caches, data),
            State::Cd => self.cd(control, caches, data),
            state => panic!("{data:?} is no answer in state {state:?}"),
        }
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
            Scope::Contexts { .. } => configured && scope.covers_context(self.request.sid, self.index),
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

    fn begin(&mut self, control: &Control) -> Step {
        let kind = self.request.kind;
        if self.request.unsupported && matches!(kind, RequestKind::Ordinary | RequestKind::AtsTranslated) {
            return self.no_such_transaction();
        }
        if control.failed {
            return done(Outcome::of_failure(kind));
        }
        if !control.enabled() {
            return match kind {
                RequestKind::PageRequest => done(Outcome::Ppar { ppar: None, event: None }),
                RequestKind::Ordinary if control.gbpa.abort() => done(Outcome::Abort { event: None }),
                RequestKind::Ordinary => self.pass(control, Overrides::of_bypass(control.gbpa)),
                RequestKind::AtsRequest { .. } => self.unsupported(control),
                RequestKind::AtsTranslated => self.forbidden(control),
                RequestKind::Operation(_) => unreachable!("SMMUEN does not clear under an operation"),
            };
        }
        match kind {
            RequestKind::Ordinary => {
                self.state = State::Micro;
                Step::Lookup(Unit::MicroTlb)
            }
            RequestKind::AtsRequest { .. } if !control.features.ats => self.unsupported(control),
            RequestKind::AtsTranslated if !control.features.ats => self.forbidden(control),
            RequestKind::AtsTranslated if !control.atschk() => self.pass(control, Overrides::NONE),
            _ => {
                self.state = State::Stream;
                Step::Lookup(Unit::ConfigCache)
            }
        }
    }

    /// The address as it is, if there is such an address.
    fn pass(&self, control: &Control, overrides: Overrides) -> Step {
        let features = &control.features;
        if !features.reaches(self.request.addr) {
            return done(Outcome::Abort { event: None });
        }
        done(self.identity(features, overrides))
    }

    fn identity(&self, features: &Features, overrides: Overrides) -> Outcome {
        if self.lookup().is_some() {
            return self.same_address(features);
        }
        if matches!(self.request.kind, RequestKind::AtsRequest { .. }) {
            let grant = Grant { size_log2: features.oas, read: true, write: true, ..Grant::default() };
            return Outcome::Ats { answer: AtsAnswer::Translation(grant), event: None };
        }
        Outcome::Translated {
            pa: self.request.addr,
            size_log2: features.oas,
            read: true,
            write: true,
            attributes: if features.attr_types_ovr {
                overrides.of(self.request.attributes)
            } else {
                self.request.attributes
            },
            tlb_hit: false,
            filled: false,
        }
    }

    fn unsupported(&self, control: &Control) -> Step {
        let RequestKind::AtsRequest { write } = self.request.kind else {
            unreachable!("only for ATS requests")
        };
        let event = self.about(EventNumber::F_BAD_ATS_TREQ).with_inputpage(self.request.addr).with_span(1);
        let event = event.with_r(true).with_w(write).with_x(self.request.instruction);
        let event = event.with_priv_(self.request.privileged);
        let event = control.features.ats.then_some(event);
        done(Outcome::Ats { answer: AtsAnswer::Unsupported, event })
    }

    /// Whatever SMMUEN is. Nothing is recorded of an address that came from ATS (IHI 0070, 3.9.1.3).
    fn no_such_transaction(&self) -> Step {
        let event = with_access(self.about(EventNumber::F_UUT), &self.request, self.access);
        done(Outcome::Abort { event: (self.request.kind == RequestKind::Ordinary).then_some(event) })
    }

    fn forbidden(&self, control: &Control) -> Step {
        let event = EventRecord::new(EventNumber::F_TRANSL_FORBIDDEN, self.request.sid);
        let event = event.with_inputaddr(self.request.addr).with_rnw(!self.request.write);
        done(Outcome::Abort { event: control.features.ats.then_some(event) })
    }

    fn micro(&mut self, caches: &mut Caches) -> Step {
        if let Some(outcome) = ask_micro(&self.request, self.access, caches) {
            return done(outcome);
        }
        self.state = State::Stream;
        Step::Lookup(Unit::ConfigCache)
    }
}

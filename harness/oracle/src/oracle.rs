//! The judge: takes witness records, keeps what it needs, says what was wrong.

mod config;
mod findings;
mod pages;
mod refusals;
mod verdict;

pub use self::config::Config;
use self::findings::{Findings, Pardon};
pub(crate) use self::pages::Asked;
use self::verdict::{RECENT, Recent, Search, Verdict};
use crate::events::Events;
use crate::finding::{Finding, Kind};
use crate::invalidation::{Behind, Invalidations};
use crate::memory::{Memory, Seq};
use crate::past::{Old, Present, Reach, Scene};
use crate::ranges;
use crate::repetition::Repetitions;
use crate::source::Source;
use crate::story::{Said, Sayings, Teller};
use crate::walk::{self, Due};
use crate::witness::{Access, Dma, Fact, OwnerId, Platform, Queue, Registers, Saying, SmmuId, Time, Witness};
use spec::smmu::{Command, EventNumber, EventRecord, PageRequest};
use std::collections::BTreeMap;
use std::ops::Range;

/// How much was judged. All but the first few are zero in a quiet run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records taken.
    pub witnesses: u64,
    /// Transactions that were translated.
    pub translated: u64,
    /// Transactions that were aborted.
    pub aborted: u64,
    /// Transactions that used something no longer in the tables, legally.
    pub races: u64,
    /// Changes of descriptors by the hardware.
    pub updates: u64,
    /// Invalidations consumed, synchronisation not counted.
    pub commands: u64,
    /// Event records seen.
    pub events: u64,
    /// Transactions with too many combinations of old values to try, or too many to hold back; they pass.
    pub undecided: u64,
    /// Findings that repeat one that was told, or exceed the limit.
    pub repeated: u64,
}

/// The judge of one run.
#[derive(Debug)]
pub struct Oracle {
    config: Config,
    platform: Platform,
    memory: Memory,
    invalidations: Invalidations,
    behind: Vec<Behind>,
    smmus: Vec<Vec<(Seq, Time, Registers)>>,
    events: Vec<Events>,
    pages: Vec<pages::Unannounced>,
    grants: Grants,
    streams: Streams,
    in_flight: BTreeMap<(SmmuId, u64), InFlight>,
    /// What endpoints were told: region of physical memory, to the input regions that led there, latest last.
    answers: BTreeMap<Region, Vec<Answer>>,
    sayings: Sayings,
    findings: Findings,
    counters: Counters,
    /// Words read by the walk in progress, and what they held.
    read: Vec<(u64, u64)>,
    /// What pages led to, by a hash of the request.
    recent: Box<[Option<Recent>]>,
    /// The record at which memory was last looked at, if nobody tells of writes.
    looked: u64,
    at: Seq,
    time: Time,
}

/// Ranges of each owner; sorted, not touching.
type Grants = Vec<Vec<Range<u64>>>;

/// The owner of each stream.
type Streams = BTreeMap<(SmmuId, u32), OwnerId>;

#[derive(Debug)]
struct InFlight {
    dma: Dma,
    pa: u64,
    at: Seq,
    time: Time,
    /// It uses what had already changed.
    raced: bool,
    /// The CMD_SYNC that should have waited for it.
    overtaken: Option<Overtaken>,
}

#[derive(Debug)]
struct Overtaken {
    time: Time,
    queue: Queue,
    used: Vec<Old>,
    pardon: Pardon,
}

/// A physical region that a stream's endpoint was told of: SMMU, StreamID, log2 of the size, address.
type Region = (SmmuId, u32, u8, u64);

/// Input regions remembered for one physical region of an endpoint.
const ALIASES: usize = 8;

/// Register values of an SMMU change rarely; this many are remembered.
const REGISTER_HISTORY: usize = 64;

impl Oracle {
    /// A judge of a platform whose memory is zero and whose SMMUs are at reset.
    pub fn new(platform: Platform, config: Config) -> Self {
        let memory = Memory::new(config.memory_changes);
        Self::with_memory(platform, config, memory)
    }

    /// A judge that is not told who writes memory, but looks at it: a platform with unknown memory whose SMMUs are at
    /// reset.
    ///
    /// It looks at the words of a walk when a transaction is judged, and at all words it knows when commands are handed
    /// over ([`Fact::Produced`]), when registers change, and when a transaction did not do what the tables say. What the hardware saw in between, [`Fact::Read`] may tell.
    /// Without that the records of a transaction must come before software may learn of its end, and those of an
    /// invalidation before the next transaction is translated.
    ///
    /// A value of a word that came and went between two looks is as if it had never been. A use of it, which takes
    /// hardware that read it unseen, is told as a stale use or as a place where the tables never led.
    ///
    /// What exceeds the bounds of [`Config`] is forgotten. A use that something forgotten may have allowed passes and
    /// is counted as undecided; a stale use of something forgotten is told as a place where the tables never led.
    pub fn watching(platform: Platform, config: Config, source: impl Source + 'static) -> Self {
        let memory = Memory::watching(Box::new(source), config.memory_changes, config.pages);
        Self::with_memory(platform, config, memory)
    }

    fn with_memory(platform: Platform, config: Config, memory: Memory) -> Self {
        let (streams, grants) = possessions(&platform);
        Self {
            memory,
            invalidations: invalidations(&platform, &config),
            behind: Vec::new(),
            smmus: platform.smmus.iter().map(|_| vec![(0, 0, Registers::default())]).collect(),
            events: platform.smmus.iter().map(|_| Events::default()).collect(),
            pages: vec![None; platform.smmus.len()],
            grants,
            streams,
            in_flight: BTreeMap::new(),
            answers: BTreeMap::new(),
            sayings: Sayings::default(),
            findings: Findings::new(config.findings),
            counters: Counters::default(),
            read: Vec::new(),
            recent: vec![None; RECENT].into(),
            looked: 0,
            at: 0,
            time: 0,
            config,
            platform,
        }
    }

    /// The machine was reset: SMMUs are as at power-on, nothing is cached or under way, memory is what it may be (zero, if
    /// writes are told), nobody is behind a virtual SMMU, and who owns what is as at the start. Findings and counters
    /// stay; what was told before may be told again.
    pub fn reset(&mut self, time: Time) {
        self.time = self.time.max(time);
        self.at += 1;
        self.settle();
        (self.streams, self.grants) = possessions(&self.platform);
        self.memory.restart();
        self.invalidations = invalidations(&self.platform, &self.config);
        self.behind.clear();
        for history in &mut self.smmus {
            *history = vec![(self.at, self.time, Registers::default())];
        }
        self.events.fill_with(Events::default);
        self.answers.clear();
        self.sayings = Sayings::default();
        self.findings.forget();
        self.recent.fill(None);
    }

    /// How much was judged so far.
    pub fn counters(&self) -> Counters {
        Counters { repeated: self.findings.repeated, ..self.counters }
    }

    /// What was wrong so far, in the order in which that was clear.
    pub fn findings(&self) -> &[Finding] {
        self.findings.told()
    }

    /// Take one record. Records come in the order in which things happened.
    ///
    /// # Panics
    /// If a record names an SMMU, owner or actor that the platform does not have.
    pub fn observe(&mut self, witness: &Witness<'_>) {
        self.at += 1;
        self.time = self.time.max(witness.time);
        self.counters.witnesses += 1;
        let marks_time = matches!(witness.fact, Fact::Produced { .. } | Fact::Configured { .. });
        if marks_time && self.memory.is_watching() {
            self.look();
            self.check_all_events();
        }
        match witness.fact {
            Fact::Wrote { by, addr, bytes } => self.memory.write(self.at, self.time, by, addr, bytes),
            Fact::Read { addr, words } => self.read(addr, words),
            Fact::Configured { smmu, registers } => self.configured(smmu, registers),
            Fact::Produced { queue, prod, log2size } => {
                self.invalidations.produced(queue, prod, log2size, self.at);
            }
            Fact::Restarted { queue, index } => {
                let resolved = self.invalidations.restarted(queue, index);
                self.resolve(&resolved);
            }
            Fact::AtcTimedOut { queue } => self.invalidations.timed_out(queue),
            Fact::Consumed { queue, index, command, written, on } => {
                self.sayings.written(self.at, command, written);
                self.consumed(queue, index, Command(command), on);
            }
            Fact::Named { queue, name } => self.sayings.named(queue, name),
            Fact::Updated { dma, addr, before, after } => {
                self.updated(self.arrived(dma), addr, before, after);
            }
            Fact::Translated { dma, pa } => self.translated(self.arrived(dma), pa),
            Fact::AtsAnswered { smmu, sid, ssid, iova, access, pa, bits } => {
                let low = walk::ones(bits.into());
                let answers = self.answers.entry((smmu, sid, bits, pa & !low)).or_default();
                let answer = Answer { ssid, iova: iova & !low, privileged: access.privileged };
                answers.retain(|known| *known != answer);
                if answers.len() == ALIASES {
                    answers.remove(0);
                }
                answers.push(answer);
                self.answered(smmu, sid, ssid, iova, access);
            }
            Fact::Done { smmu, id } => self.done((smmu, id)),
            Fact::Aborted { dma, event } => self.aborted(self.arrived(dma), event.map(EventNumber)),
            Fact::EventWritten { smmu, record, was_empty } => {
                self.event_written(smmu, EventRecord(record), was_empty);
            }
            Fact::EventDropped { smmu, record } => {
                self.events[usize::from(smmu)].dropped(EventRecord(record), self.time);
            }
            Fact::Overflow { smmu, active } => self.events[usize::from(smmu)].overflow(active),
            Fact::EventInterrupt { smmu } => self.events[usize::from(smmu)].interrupt(),
            Fact::PageRequested { smmu, request, dropped } => {
                self.page_requested(smmu, Asked { request: PageRequest(request), dropped, time: self.time });
            }
            Fact::PageInterrupt { smmu } => self.page_interrupt(smmu),
            Fact::DeviceBehind { vsmmu, smmu, sid, vsid, vmid } => {
                self.behind.retain(|d| (d.vsmmu, d.smmu, d.sid) != (vsmmu, smmu, sid));
                self.behind.push(Behind { vsmmu, smmu, sid, vsid, vmid });
            }
            Fact::DeviceGone { vsmmu, smmu, sid } => {
                self.behind.retain(|d| (d.vsmmu, d.smmu, d.sid) != (vsmmu, smmu, sid));
            }
            Fact::Assigned { smmu, sid, owner } => {
                self.streams.insert((smmu, sid), owner);
            }
            Fact::Granted { owner, addr, len } => {
                ranges::insert(&mut self.grants[usize::from(owner)], addr..addr.saturating_add(len));
            }
            Fact::Revoked { owner, addr, len } => {
                ranges::remove(&mut self.grants[usize::from(owner)], addr..addr.saturating_add(len));
            }
            Fact::Said { by, what } => self.said(by, what),
        }
    }

    /// Nothing more will be told: what was held back is a finding now. Nothing is said of what is under way.
    pub fn stop(&mut self) {
        self.resolve_all();
    }

    /// The run is over: what was wrong, in order of time.
    pub fn finish(mut self, t_end: Time) -> Vec<Finding> {
        self.time = self.time.max(t_end);
        self.settle();
        self.findings.finish()
    }

    /// Nothing that is under way will end.
    fn settle(&mut self) {
        for flight in std::mem::take(&mut self.in_flight).into_values() {
            if let Some(overtaken) = &flight.overtaken {
                self.early_sync(&flight, overtaken);
            }
        }
        self.check_all_events();
        self.resolve_all();
    }

    fn check_all_events(&mut self) {
        for smmu in 0..self.events.len() {
            self.check_events(smmu as SmmuId);
            self.check_pages(smmu as SmmuId);
        }
    }

    /// Look at memory, so that whatever has changed is older than what comes next. Once for each record.
    fn look(&mut self) {
        let first = std::mem::replace(&mut self.looked, self.counters.witnesses) != self.counters.witnesses;
        if first && self.memory.is_watching() {
            self.at += 1;
            self.memory.refresh(self.at, self.time);
            self.at += 1;
        }
    }

    fn read(&mut self, addr: u64, words: &[u64]) {
        if self.memory.is_watching() {
            for (i, &word) in (0..).zip(words) {
                self.memory.saw(self.at, self.time, addr + 8 * i, word);
            }
        }
    }

    /// Look at what a translation that an endpoint keeps was made from.
    fn answered(&mut self, smmu: SmmuId, sid: u32, ssid: Option<u32>, iova: u64, access: Access) {
        if self.memory.is_watching() {
            self.expected(&Dma {
                id: u64::MAX,
                smmu,
                sid,
                ssid,
                iova,
                len: 1,
                access,
                arrived: None,
                ats: false,
            });
        }
    }

    fn arrived(&self, dma: Dma) -> Dma {
        let latest = self.time.saturating_sub(self.config.walk_bound);
        Dma { arrived: dma.arrived.or(Some(latest)), ..dma }
    }

    fn said(&mut self, by: u16, what: Saying<'_>) {
        self.sayings.push(Said::new(self.time, by, what));
    }

    fn configured(&mut self, smmu: SmmuId, registers: Registers) {
        let history = &mut self.smmus[usize::from(smmu)];
        if history.len() == REGISTER_HISTORY {
            history.remove(0);
        }
        history.push((self.at, self.time, registers));
        if !registers.irq_ctrl.eventq_irqen() {
            self.check_events(smmu);
            self.events[usize::from(smmu)].interrupt();
        }
        if !registers.irq_ctrl.priq_irqen() {
            self.check_pages(smmu);
            self.page_interrupt(smmu);
        }
    }

    fn consumed(&mut self, queue: Queue, index: u32, command: Command, on: Option<SmmuId>) {
        let when = (self.at, self.time);
        let done = self.invalidations.consumed(queue, index, command, on, when, &self.behind);
        self.counters.commands += 1;
        self.resolve(&done.resolved);
        // Whoever used what is now gone must be through.
        if done.smmus.is_empty() {
            return;
        }
        let suspects: Vec<_> = self
            .in_flight
            .iter()
            .filter(|(_, f)| {
                done.smmus.contains(&f.dma.smmu)
                    && f.overtaken.as_ref().is_none_or(|o| !o.pardon.is_none())
                    && (f.raced || f.at < self.newest_change(f.dma.smmu))
            })
            .map(|(&id, _)| id)
            .collect();
        for id in suspects {
            let InFlight { dma, pa, .. } = self.in_flight[&id];
            if let Verdict::Stale(used, pardon) = self.judge(&dma, pa) {
                let overtaken = &mut self.in_flight.get_mut(&id).expect("it was there").overtaken;
                if overtaken.is_none() || pardon.is_none() {
                    *overtaken = Some(Overtaken { time: self.time, queue, used, pardon });
                }
            }
        }
    }

    fn newest_change(&self, smmu: SmmuId) -> Seq {
        let registers = self.smmus[usize::from(smmu)].last().map_or(0, |r| r.0);
        self.memory.table_changed().max(registers)
    }

    fn translated(&mut self, dma: Dma, pa: u64) {
        self.counters.translated += 1;
        let dma = self.looked_up(dma, pa);
        let owner = self.streams.get(&(dma.smmu, dma.sid)).copied();
        let verdict = self.judge(&dma, pa);
        let raced = match &verdict {
            Verdict::Race => true,
            Verdict::Stale(_, pardon) => !pardon.is_none(),
            _ => false,
        };
        match verdict {
            Verdict::Current => self.check_grant(&dma, pa, owner),
            Verdict::Race => {
                self.counters.races += 1;
                self.check_grant(&dma, pa, owner);
            }
            Verdict::Stale(used, pardon) => {
                // Who relies on the second issue still owns it.
                if !pardon.is_none() {
                    self.check_grant(&dma, pa, owner);
                }
                let now = self.expected(&dma);
                self.find_unless(pardon, Kind::StaleUse, self.time, &dma, |teller| {
                    teller.stale_use(&dma, pa, &used, now)
                });
            }
            Verdict::Unrecorded => {
                let now = self.expected(&dma);
                self.find(Kind::MissingUpdate, &dma, |teller| teller.missing_update(&dma, pa, now));
            }
            Verdict::Never => {
                let now = self.expected(&dma);
                self.find(Kind::IsolationBreach, &dma, |teller| teller.never_mapped(&dma, pa, now));
            }
        }
        self.in_flight.insert(
            (dma.smmu, dma.id),
            InFlight { dma, pa, at: self.at, time: self.time, raced, overtaken: None },
        );
    }

    /// Whether the transaction calls for a change of this descriptor, and whether it is this one.
    fn updated(&mut self, dma: Dma, addr: u64, before: u64, after: u64) {
        self.counters.updates += 1;
        // Between two looks software may undo it.
        self.read(addr, &[after]);
        // The address of what was translated at stage 1 before is not a virtual one.
        if dma.ats {
            return;
        }
        let calls_for = |dues: &[Due]| {
            let dues = dues.iter().filter(|due| due.addr == addr);
            // All of them or some: what may be done in one step may be done in two.
            let any = dues.clone().any(|due| due.done(before) == after && after != before);
            any || before != after && dues.fold(before, |word, due| due.done(word)) == after
        };
        // A request for write permission may get less, and a page that is only going to be read may be marked as accessed.
        for write in [dma.access.write, false] {
            let dma = Dma { access: Access { write, ..dma.access }, ..dma };
            let mut dues = Vec::new();
            let scene = Scene { instead: Some((addr, before)), ..self.scene(&dma) };
            let mut view = Present { scene, read: &mut Vec::new() };
            walk::translate_noting(&mut view, scene.smmu, &dma, &mut dues);
            if calls_for(&dues) {
                return;
            }
        }
        self.look();
        for write in [dma.access.write, false] {
            let dma = Dma { access: Access { write, ..dma.access }, ..dma };
            let instead = Some((addr, before));
            match self.search_noting(&dma, Reach::Cached, instead, &mut |_, dues| calls_for(dues)) {
                Search::Found(_) => return,
                Search::GaveUp => {
                    self.counters.undecided += 1;
                    return;
                }
                Search::Nothing => {}
            }
        }
        let pardon = self.pardon(&dma, &[], |oracle, reach| {
            [dma.access.write, false].into_iter().any(|write| {
                let dma = Dma { access: Access { write, ..dma.access }, ..dma };
                let instead = Some((addr, before));
                let found = oracle.search_noting(&dma, reach, instead, &mut |_, dues| calls_for(dues));
                !matches!(found, Search::Nothing)
            })
        });
        self.find_unless(pardon, Kind::WrongUpdate, self.time, &dma, |teller| {
            teller.wrong_update(&dma, addr, (before, after))
        });
    }

    /// For a transaction that came with a translated address: with the address that the endpoint must have looked up.
    fn looked_up(&mut self, dma: Dma, pa: u64) -> Dma {
        if !dma.ats || dma.iova != pa {
            return dma;
        }
        let mut latest = None;
        for bits in 12..52u8 {
            let low = walk::ones(bits.into());
            let known = self.answers.get(&(dma.smmu, dma.sid, bits, pa & !low)).cloned().unwrap_or_default();
            for Answer { ssid, iova, privileged } in known.into_iter().rev() {
                let access = Access { privileged, ..dma.access };
                let dma = Dma { ssid, iova: iova | pa & low, access, ..dma };
                if matches!(self.judge(&dma, pa), Verdict::Current | Verdict::Race) {
                    return dma;
                }
                latest = latest.or(Some(dma));
            }
        }
        latest.unwrap_or(dma)
    }

    fn check_grant(&mut self, dma: &Dma, pa: u64, owner: Option<OwnerId>) {
        let Some(owner) = owner else { return };
        let granted = &self.grants[usize::from(owner)];
        if granted.is_empty() || ranges::contains(granted, pa, u64::from(dma.len.max(1))) {
            return;
        }
        self.find(Kind::IsolationBreach, dma, |teller| teller.not_granted(dma, pa, owner));
    }

    fn done(&mut self, id: (SmmuId, u64)) {
        let Some(flight) = self.in_flight.remove(&id) else { return };
        if let Some(overtaken) = &flight.overtaken
            && self.time > overtaken.time
        {
            self.early_sync(&flight, overtaken);
        }
    }

    fn early_sync(&mut self, flight: &InFlight, overtaken: &Overtaken) {
        let (o, dma) = (overtaken, &flight.dma);
        self.find_unless(o.pardon.clone(), Kind::EarlySync, self.time, dma, |teller| {
            teller.early_sync((dma, flight.pa), flight.time, &o.used, o.queue, o.time)
        });
    }

    fn registers(&self, smmu: SmmuId) -> Registers {
        self.smmus[usize::from(smmu)].last().expect("an SMMU starts with its reset values").2
    }

    fn teller(&self) -> Teller<'_> {
        Teller {
            platform: &self.platform,
            invalidations: &self.invalidations,
            behind: &self.behind,
            sayings: &self.sayings,
            streams: &self.streams,
            smmus: &self.smmus,
            watching: self.memory.is_watching(),
            now: self.time,
        }
    }
}

/// Who owns which streams and which memory at the start.
fn possessions(platform: &Platform) -> (Streams, Grants) {
    let streams = platform.streams.iter().map(|s| ((s.smmu, s.sid), s.owner)).collect();
    let mut grants = vec![Vec::new(); platform.owners.len()];
    for (granted, owner) in grants.iter_mut().zip(&platform.owners) {
        for r in &owner.memory {
            ranges::insert(granted, r.clone());
        }
    }
    (streams, grants)
}

/// What an endpoint was told a translation of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Answer {
    ssid: Option<u32>,
    iova: u64,
    /// It is for privileged accesses only, and says nothing of others.
    privileged: bool,
}

/// What is to be remembered of invalidations.
fn invalidations(platform: &Platform, config: &Config) -> Invalidations {
    let affected: Vec<_> = platform.smmus.iter().map(|smmu| smmu.repeats).collect();
    let repetitions = Repetitions::new(affected, config.repetitions);
    Invalidations::new(platform.smmus.len(), config.invalidations, repetitions)
}

fn about_stream(smmu: SmmuId, sid: u32, iova: u64, time: Time) -> Dma {
    Dma {
        id: u64::MAX,
        smmu,
        sid,
        ssid: None,
        iova,
        len: 1,
        access: Access::default(),
        arrived: Some(time),
        ats: false,
    }
}

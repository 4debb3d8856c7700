//! Findings told so that somebody who did not write the scenario can follow.

use crate::finding::{Clock, Kind};
use crate::invalidation::{Behind, Invalidation, Invalidations};
use crate::memory::{Seq, Writer};
use crate::oracle::Asked;
use crate::past::{Old, Part};
use crate::walk::{Outcome, Structure};
use crate::witness::{ActorId, Dma, OwnerId, Platform, Queue, Registers, Saying, SmmuId, Time, VsmmuId};
use spec::smmu::event::class;
use spec::smmu::{Command, EventNumber, EventRecord};
use std::collections::{BTreeMap, VecDeque};

/// What nothing but stories depends on.
#[derive(Debug, Default)]
pub(crate) struct Sayings {
    /// What software said.
    said: VecDeque<Said>,
    /// What queues are called.
    names: BTreeMap<Queue, String>,
    /// Commands that lay in their queue in other words than those to be executed, by when they were consumed.
    written: BTreeMap<Seq, Command>,
}

/// Sayings that are remembered, and as many commands.
const SAYINGS: usize = 16_384;

impl Sayings {
    pub(crate) fn push(&mut self, said: Said) {
        if self.said.len() == SAYINGS {
            self.said.pop_front();
        }
        self.said.push_back(said);
    }

    pub(crate) fn named(&mut self, queue: Queue, name: &str) {
        self.names.insert(queue, name.to_owned());
    }

    pub(crate) fn written(&mut self, at: Seq, command: [u64; 2], written: Option<[u64; 2]>) {
        let Some(written) = written.filter(|words| *words != command) else { return };
        if self.written.len() == SAYINGS {
            self.written.pop_first();
        }
        self.written.insert(at, Command(written));
    }
}

/// One annotation.
#[derive(Debug)]
pub(crate) struct Said {
    time: Time,
    by: ActorId,
    what: What,
}

#[derive(Debug)]
enum What {
    Mapped { space: String, iova: u64, pa: u64, len: u64 },
    Unmapped { space: String, iova: u64, len: u64 },
    Routed { vsmmu: VsmmuId, to: SmmuId },
    Skipped { vsmmu: VsmmuId, smmu: SmmuId, why: String },
}

impl Said {
    pub(crate) fn new(time: Time, by: ActorId, what: Saying<'_>) -> Self {
        let what = match what {
            Saying::Mapped { space, iova, pa, len } => {
                What::Mapped { space: space.to_owned(), iova, pa, len }
            }
            Saying::Unmapped { space, iova, len } => What::Unmapped { space: space.to_owned(), iova, len },
            Saying::Routed { vsmmu, to } => What::Routed { vsmmu, to },
            Saying::Skipped { vsmmu, smmu, why } => What::Skipped { vsmmu, smmu, why: why.to_owned() },
        };
        Self { time, by, what }
    }
}

/// Everything a story may mention.
pub(crate) struct Teller<'a> {
    pub(crate) platform: &'a Platform,
    pub(crate) invalidations: &'a Invalidations,
    pub(crate) behind: &'a [Behind],
    pub(crate) sayings: &'a Sayings,
    pub(crate) streams: &'a BTreeMap<(SmmuId, u32), OwnerId>,
    pub(crate) smmus: &'a [Vec<(Seq, Time, Registers)>],
    /// Writes are not told: changes were noticed.
    pub(crate) watching: bool,
    pub(crate) now: Time,
}

/// Title and story.
pub(crate) type Told = (String, Vec<String>);

/// Lines of the story that are put in order of time at the end.
#[derive(Default)]
struct Lines(Vec<(Time, String)>);

impl Lines {
    fn at(&mut self, time: Time, text: impl AsRef<str>) {
        self.0.push((time, format!("{:>14}  {}", Clock(time).to_string(), text.as_ref())));
    }

    fn finish(mut self, last: impl IntoIterator<Item = String>) -> Vec<String> {
        self.0.sort_by_key(|(time, _)| *time);
        let mut story: Vec<String> = Vec::new();
        for (_, text) in self.0 {
            // What condemned several old values is told for each of them.
            if !story.contains(&text) {
                story.push(text);
            }
        }
        story.extend(last);
        story
    }
}

impl Teller<'_> {
    pub(crate) fn stale_use(&self, dma: &Dma, pa: u64, used: &[Old], now: Outcome) -> Told {
        let (smmu, stream) = (self.smmu(dma.smmu), self.stream(dma));
        let keeper = match dma.ats {
            true => "the endpoint's own cache should no longer hold".to_owned(),
            false => format!("{smmu} should have dropped"),
        };
        let title =
            format!("{stream} was sent to {pa:#x} by a translation of iova {:#x} that {keeper}", dma.iova);
        let mut lines = self.history(dma, used);
        lines.at(self.now, format!("{} and goes to pa {pa:#x}", self.transaction(dma)));
        (
            title,
            lines.finish([format!("the tables now say: {}", self.outcome(now)), self.who_kept_it(dma, used)]),
        )
    }

    pub(crate) fn early_sync(
        &self,
        (dma, pa): (&Dma, u64),
        translated: Time,
        used: &[Old],
        queue: Queue,
        time: Time,
    ) -> Told {
        let title = format!(
            "{} was still on its way to {pa:#x} when the CMD_SYNC that should have waited for it was complete",
            self.stream(dma)
        );
        let mut lines = self.history(dma, used);
        lines.at(translated, format!("{} is sent to pa {pa:#x}", self.transaction(dma)));
        lines.at(time, format!("{} sees its CMD_SYNC consumed", self.queue(queue)));
        lines.at(
            self.now,
            "the memory access of that transaction is performed, or the run is over without it",
        );
        (title, lines.finish([]))
    }

    pub(crate) fn never_mapped(&self, dma: &Dma, pa: u64, now: Outcome) -> Told {
        let title = format!("{} was sent to {pa:#x}, where iova {:#x} never led", self.stream(dma), dma.iova);
        let mut lines = self.history(dma, &[]);
        lines.at(self.now, format!("{} and goes to pa {pa:#x}", self.transaction(dma)));
        let now = format!("the tables of this stream now say: {}", self.outcome(now));
        let states = match self.watching {
            false => "no state of its tables since the start of the run leads there",
            true => "no state of its tables that was seen, and is remembered, leads there",
        };
        (title, lines.finish([now, states.to_owned()]))
    }

    pub(crate) fn missing_update(&self, dma: &Dma, pa: u64, now: Outcome) -> Told {
        let title = format!(
            "{} was sent to {pa:#x} before its tables said that iova {:#x} is {}",
            self.stream(dma),
            dma.iova,
            if dma.access.write { "accessed and dirty" } else { "accessed" }
        );
        let mut lines = self.history(dma, &[]);
        lines.at(self.now, format!("{} and goes to pa {pa:#x}", self.transaction(dma)));
        (title, lines.finish([format!("the tables of this stream now say: {}", self.outcome(now))]))
    }

    pub(crate) fn wrong_update(&self, dma: &Dma, addr: u64, (before, after): (u64, u64)) -> Told {
        let title = format!(
            "for {} the descriptor at {addr:#x} was changed from {before:#x} to {after:#x}",
            self.stream(dma)
        );
        let mut lines = self.history(dma, &[]);
        lines.at(self.now, format!("{} and changes the descriptor", self.transaction(dma)));
        (title, lines.finish(["no legal translation of it calls for that change".to_owned()]))
    }

    pub(crate) fn not_granted(&self, dma: &Dma, pa: u64, owner: OwnerId) -> Told {
        let name = &self.platform.owners[usize::from(owner)].name;
        let title = format!("{} of {name} reaches {pa:#x}, which {name} does not own", self.stream(dma));
        let mut lines = self.history(dma, &[]);
        lines.at(self.now, format!("{} and goes to pa {pa:#x}", self.transaction(dma)));
        (title, lines.finish(["the tables say so: whoever wrote them gave away foreign memory".to_owned()]))
    }

    pub(crate) fn wrong_abort(
        &self,
        kind: Kind,
        dma: &Dma,
        event: Option<EventNumber>,
        legal: &[Outcome],
        used: &[Old],
    ) -> Told {
        let with = event.map_or_else(|| "without an event".to_owned(), |e| format!("with {e}"));
        let title = match kind {
            Kind::SpuriousAbort => {
                format!("{} was aborted {with} although iova {:#x} is mapped", self.stream(dma), dma.iova)
            }
            Kind::LostEvent => format!(
                "{} was aborted at iova {:#x} and the SMMU recorded nothing",
                self.stream(dma),
                dma.iova
            ),
            _ => format!("{} was aborted {with}, which is not what the tables say", self.stream(dma)),
        };
        let mut lines = self.history(dma, used);
        lines.at(self.now, format!("{} and is aborted {with}", self.transaction(dma)));
        let mut last: Vec<_> = legal.iter().map(|o| format!("legal here: {}", self.outcome(*o))).collect();
        if !used.is_empty() {
            let mut parts: Vec<_> = used.iter().map(|old| self.part(old)).collect();
            parts.dedup();
            last.push(format!("the abort is what an old value of {} leads to", parts.join(" and ")));
            last.push(self.who_kept_it(dma, used));
        }
        (title, lines.finish(last))
    }

    pub(crate) fn lost_event(&self, dma: &Dma, event: EventNumber, time: Time, bound: Time) -> Told {
        let title =
            format!("{event} of {} at iova {:#x} never reached the Event queue", self.stream(dma), dma.iova);
        let mut lines = Lines::default();
        lines.at(time, format!("{} and is aborted with {event}", self.transaction(dma)));
        let last = format!("the queue was enabled and not overflowing; no record within {}", Clock(bound));
        (title, lines.finish([last]))
    }

    pub(crate) fn spurious_event(&self, smmu: SmmuId, record: EventRecord, time: Time) -> Told {
        let title = format!("{} recorded {} for no reason", self.smmu(smmu), record.event());
        let mut lines = Lines::default();
        lines.at(time, format!("{} writes {record}", self.smmu(smmu)));
        (title, lines.finish(["no transaction was aborted so, and the tables give no cause".to_owned()]))
    }

    pub(crate) fn lost_interrupt(&self, smmu: SmmuId, record: EventRecord, time: Time, bound: Time) -> Told {
        let title = format!("{} has events and never said so", self.smmu(smmu));
        let mut lines = Lines::default();
        lines.at(time, format!("{} writes {record} into its empty Event queue", self.smmu(smmu)));
        (title, lines.finish([format!("the interrupt is enabled; none within {}", Clock(bound))]))
    }

    pub(crate) fn lost_page_interrupt(&self, smmu: SmmuId, asked: Asked, bound: Time) -> Told {
        let Asked { request, dropped, time } = asked;
        let title = format!("{} has page requests and never said so", self.smmu(smmu));
        let mut lines = Lines::default();
        let what = match dropped {
            true => format!("drops {request}, the last of its group: its PRI queue overflows"),
            false => format!("writes {request} into its PRI queue"),
        };
        lines.at(time, format!("{} {what}", self.smmu(smmu)));
        (title, lines.finish([format!("the interrupt is enabled; none within {}", Clock(bound))]))
    }

    /// Why something that was held back is a finding.
    pub(crate) fn not_repeated(&self, queue: Queue, used_anew: bool) -> String {
        let queue = self.queue(queue);
        match used_anew {
            true => {
                format!("software used the page anew before {queue} issued its invalidations a second time")
            }
            false => {
                format!("{queue} did not issue its invalidations a second time, which this silicon asks for")
            }
        }
    }

    /// Who mapped, who changed what, where the invalidations went.
    fn history(&self, dma: &Dma, used: &[Old]) -> Lines {
        let mut lines = Lines::default();
        self.sayings_about(dma, &mut lines);
        for old in used {
            let what = self.part(old);
            let text = match old.change.map(|c| c.by) {
                Some(Writer::Actor(by)) => {
                    let by = self.actor(by);
                    format!("{by} changes {what} at pa {:#x}; it held {:#x}", old.addr, old.held)
                }
                Some(Writer::Software { since }) => format!(
                    "software has changed {what} at pa {:#x} since {}; it held {:#x}",
                    old.addr,
                    Clock(since),
                    old.held
                ),
                None => format!("{} gets other register values", self.smmu(dma.smmu)),
            };
            lines.at(old.time, text);
            if let Some(i) = &old.condemned {
                self.consumption(i, &mut lines);
            }
        }
        // Where else did the same invalidation go?
        if let Some(since) = used.iter().filter(|o| o.condemned.is_some()).map(|o| o.at).min() {
            for smmu in 0..self.platform.smmus.len() {
                let relevant =
                    |i: &&Invalidation| i.on == Some(smmu as SmmuId) && self.relevant(i, dma, used);
                for i in self.invalidations.after(smmu as SmmuId, since).filter(relevant).take(2) {
                    self.consumption(i, &mut lines);
                }
            }
        }
        lines
    }

    fn sayings_about(&self, dma: &Dma, lines: &mut Lines) {
        let near = |iova: u64, len: u64| dma.iova.wrapping_sub(iova) < len.max(1);
        let (mut mappings, mut routes) = (0, 0);
        for said in self.sayings.said.iter().rev() {
            let who = || self.actor(said.by);
            match &said.what {
                What::Mapped { space, iova, pa, len } if near(*iova, *len) && mappings < 4 => {
                    mappings += 1;
                    lines.at(
                        said.time,
                        format!("{} maps {space} iova {iova:#x} to pa {pa:#x}, {len:#x} bytes", who()),
                    );
                }
                What::Unmapped { space, iova, len } if near(*iova, *len) && mappings < 4 => {
                    mappings += 1;
                    lines.at(said.time, format!("{} unmaps {space} iova {iova:#x}, {len:#x} bytes", who()));
                }
                What::Routed { vsmmu, to } if self.is_behind(dma, *vsmmu) && routes < 4 => {
                    routes += 1;
                    lines.at(
                        said.time,
                        format!(
                            "{} sends an invalidation of {} to {}",
                            who(),
                            self.vsmmu(*vsmmu),
                            self.smmu(*to)
                        ),
                    );
                }
                What::Skipped { vsmmu, smmu, why } if self.is_behind(dma, *vsmmu) && routes < 4 => {
                    routes += 1;
                    lines.at(
                        said.time,
                        format!(
                            "{} leaves out {} for an invalidation of {}: {why}",
                            who(),
                            self.smmu(*smmu),
                            self.vsmmu(*vsmmu)
                        ),
                    );
                }
                _ => {}
            }
            if mappings >= 4 && routes >= 4 {
                break;
            }
        }
    }

    fn consumption(&self, i: &Invalidation, lines: &mut Lines) {
        let on = match (i.queue, i.on) {
            (Queue::Virtual { .. }, Some(smmu)) => format!(", executed by {}", self.smmu(smmu)),
            _ => String::new(),
        };
        let meant = match i.queue {
            Queue::Physical { .. } if self.original(i) != i.command => format!(" (for {})", i.command),
            _ => String::new(),
        };
        lines
            .at(i.consumed_time, format!("{} consumes {}{meant}{on}", self.queue(i.queue), self.original(i)));
        if i.completed != Seq::MAX {
            lines
                .at(i.completed_time, format!("{} sees the CMD_SYNC after it consumed", self.queue(i.queue)));
        }
    }

    /// One sentence about the place where the stale entry lived on.
    fn who_kept_it(&self, dma: &Dma, used: &[Old]) -> String {
        let (smmu, since) = (self.smmu(dma.smmu), used.iter().map(|o| o.at).min().unwrap_or(0));
        let here = self.invalidations.after(dma.smmu, since).find(|i| {
            let covers =
                if dma.ats { i.covers_ats(dma.sid, dma.ssid, dma.iova) } else { self.relevant(i, dma, used) };
            i.on == Some(dma.smmu) && covers
        });
        let kept = match dma.ats {
            true => "the endpoint's own cache kept the entry nevertheless, or was given it again",
            false => "it kept the entry nevertheless",
        };
        match here {
            Some(i) if self.original(i) == i.command => format!("{smmu} did consume {}; {kept}", i.command),
            // Which words were executed cannot be seen from outside.
            Some(i) => format!(
                "{smmu} did consume {}, which stands for {}; {kept}, or other words were executed",
                self.original(i),
                i.command
            ),
            None if dma.ats => format!(
                "{smmu} itself consumed no ATC_INV that covers it: the endpoint's own cache kept the entry"
            ),
            None => format!("{smmu} itself consumed no invalidation that covers it: it kept the entry"),
        }
    }

    /// The command as it lay in its queue.
    fn original(&self, i: &Invalidation) -> Command {
        self.sayings.written.get(&i.consumed).copied().unwrap_or(i.original)
    }

    /// An invalidation that names what was stale, on whichever SMMU it was executed.
    fn relevant(&self, i: &Invalidation, dma: &Dma, used: &[Old]) -> bool {
        let condemning: Vec<Command> = used.iter().filter_map(|o| o.condemned.map(|c| c.original)).collect();
        let vmw = self.smmus[usize::from(dma.smmu)].last().map_or(0, |r| r.2.cr0.vmw());
        let covers = used.iter().any(|old| match &old.part {
            Part::Descriptor(step) if step.stage == 1 => i.covers_stage1(step, true, false, vmw),
            Part::Descriptor(step) => i.covers_stage2(step, true, vmw) || i.covers_combined(step, vmw),
            // What lives on in translations may as well live on in the structure's own cache.
            Part::Structure(what) | Part::Remembered(what, _) => i.covers_structure(dma.sid, *what),
            Part::Registers => false,
        });
        // On another SMMU the guest has another VMID and other StreamIDs: the same operation and address will do.
        let same =
            condemning.iter().any(|c| c.op() == i.command.op() && (c.0[1] ^ i.command.0[1]) >> 12 == 0);
        if i.on == Some(dma.smmu) { covers || i.covers_ats(dma.sid, dma.ssid, dma.iova) } else { same }
    }

    fn is_behind(&self, dma: &Dma, vsmmu: VsmmuId) -> bool {
        self.behind.iter().any(|d| (d.vsmmu, d.smmu, d.sid) == (vsmmu, dma.smmu, dma.sid))
    }

    fn smmu(&self, smmu: SmmuId) -> &str {
        &self.platform.smmus[usize::from(smmu)].name
    }

    fn vsmmu(&self, vsmmu: VsmmuId) -> String {
        self.platform
            .vsmmus
            .get(usize::from(vsmmu))
            .cloned()
            .unwrap_or_else(|| format!("virtual SMMU {vsmmu}"))
    }

    fn actor(&self, by: ActorId) -> String {
        self.platform.actors.get(usize::from(by)).cloned().unwrap_or_else(|| format!("actor {by}"))
    }

    fn stream(&self, dma: &Dma) -> String {
        let known = self.platform.streams.iter().find(|s| (s.smmu, s.sid) == (dma.smmu, dma.sid));
        known
            .map_or_else(|| format!("StreamID {:#x} of {}", dma.sid, self.smmu(dma.smmu)), |s| s.name.clone())
    }

    fn queue(&self, queue: Queue) -> String {
        if let Some(name) = self.sayings.names.get(&queue) {
            return match queue {
                Queue::Physical { smmu, .. } => format!("{}'s {name}", self.smmu(smmu)),
                Queue::Virtual { vsmmu, .. } => format!("{}'s {name}", self.vsmmu(vsmmu)),
            };
        }
        match queue {
            Queue::Physical { smmu, queue: 0 } => format!("{}'s command queue", self.smmu(smmu)),
            Queue::Physical { smmu, queue } => format!("{}'s command queue {queue}", self.smmu(smmu)),
            Queue::Virtual { vsmmu, queue: 0 } => format!("{}'s command queue", self.vsmmu(vsmmu)),
            Queue::Virtual { vsmmu, queue } => format!("{}'s queue {queue}", self.vsmmu(vsmmu)),
        }
    }

    fn transaction(&self, dma: &Dma) -> String {
        let ssid = dma.ssid.map_or_else(String::new, |s| format!(" SubstreamID {s}"));
        let verb = if dma.access.write { "writes" } else { "reads" };
        let owner =
            self.streams.get(&(dma.smmu, dma.sid)).map(|o| &self.platform.owners[usize::from(*o)].name);
        // Where nobody but the host is known, it may be a guest's nevertheless.
        let owner = owner.filter(|_| self.platform.owners.len() > 1);
        let owner = owner.map_or_else(String::new, |name| format!(" of {name}"));
        format!(
            "{}{owner} ({} StreamID {:#x}{ssid}) {verb} {} bytes at iova {:#x}",
            self.stream(dma),
            self.smmu(dma.smmu),
            dma.sid,
            dma.len,
            dma.iova
        )
    }

    fn part(&self, old: &Old) -> String {
        let structure = |what: &Structure| match what {
            Structure::L1Std => "the level-1 stream table descriptor".to_owned(),
            Structure::Ste => "the STE".to_owned(),
            Structure::L1Cd { ssid } => format!("the level-1 descriptor of CD {ssid}"),
            Structure::Cd { ssid } => format!("CD {ssid}"),
        };
        match &old.part {
            Part::Registers => "the registers".to_owned(),
            Part::Structure(what) | Part::Remembered(what, _) => structure(what),
            Part::Descriptor(step) => {
                format!("the stage-{} level-{} descriptor of {:#x}", step.stage, step.level, step.input)
            }
        }
    }

    fn outcome(&self, outcome: Outcome) -> String {
        match outcome {
            Outcome::Translated { pa, bits: 64, .. } => format!("untranslated, pa {pa:#x}"),
            Outcome::Translated { pa, bits, due } => {
                let after = if due { ", once that is recorded" } else { "" };
                format!("pa {pa:#x}, in a page of {:#x} bytes{after}", 1u64 << bits)
            }
            Outcome::Abort => "abort without a record".to_owned(),
            Outcome::Fault(f) => {
                let stage = if f.s2 { format!(" at stage 2, ipa {:#x}", f.ipa) } else { String::new() };
                let on = match (f.s2, f.class) {
                    (true, class::CD) => " of a CD",
                    (true, class::TT) => " of a stage-1 table",
                    _ => "",
                };
                let end = match (f.stall, f.raz_wi) {
                    (true, _) => ", stalled",
                    (_, true) => ", completed without effect",
                    _ => "",
                };
                let record = if f.recorded { "" } else { ", not recorded" };
                format!("{}{stage}{on}{end}{record}", f.event)
            }
        }
    }
}

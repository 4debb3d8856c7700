//! Between a running machine and the oracle: hardware records and software notes become what the oracle is told.
//!
//! ```text
//!   machine --Record--> Judge --Witness--> Oracle --Finding-->
//!   journal --Note----^   ^
//!   runner --who is behind which vSMMU, who owns what--
//! ```
//! Transactions through SMMUv2 instances are not judged: the oracle knows SMMUv3 tables only.
//!
//! The judge mirrors only what it needs to say what a pSMMU acts on: its registers as written and acknowledged, and the
//! indices of its queues.

mod cmdqv;
mod facts;
mod mirror;
mod pages;
mod ring;
#[cfg(test)]
mod test;

use std::collections::BTreeMap;
use std::ops::Range;

use kernel::journal::{Actor, Attachment, DomainId, Note};
use models::bus::Requester;
use models::dma::Incoming;
use models::record::{CommandQueue, Record, Updater};
use oracle::{
    Access, Config, Counters, Dma, Fact, Finding, Oracle, Platform, Queue, Registers, Saying, Source, Witness,
};
use sim::Time;
use spec::smmu::command::tg;
use spec::smmu::{Command, CommandError, EventRecord, GlobalError, Opcode};

use self::facts::Actors;
pub use self::facts::{Facts, SmmuFact, StreamFact, VmFact};
use self::mirror::{Meaning, Mirror};
use self::ring::Change;

/// Queues of one pSMMU that a virtual SMMU may own, for numbering.
const QUEUES: u16 = 128;
/// Number of the first enhanced command queue of a pSMMU, above all that VCMDQs have.
const FIRST_ECMDQ: u16 = 0x8000;
/// VINTFs of one pSMMU.
const VINTFS: usize = 64;
/// Event records that are kept of a run of any length.
const EVENTS: usize = 1 << 16;
/// The owner that is the host.
const HOST: u16 = 0;

/// Who saw an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seer {
    /// The pSMMU that wrote it into its Event queue.
    Hardware,
    /// Software that found no other use for it. For a guest the SMMU is its virtual one.
    Software(Actor),
}

/// An event record that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenEvent {
    /// When.
    pub time: Time,
    /// By whom.
    pub by: Seer,
    /// Which SMMU.
    pub smmu: u16,
    /// StreamID in the record.
    pub sid: u32,
    /// Event number.
    pub number: u8,
    /// All of it.
    pub record: EventRecord,
}

/// Tells the oracle of one run.
#[derive(Debug)]
pub struct Judge {
    oracle: Oracle,
    actors: Actors,
    smmus: Vec<SmmuFact>,
    mirrors: Vec<Mirror>,
    /// What the oracle was last told of each pSMMU.
    told: Vec<Registers>,
    /// The virtual SMMU that owns each VINTF, by pSMMU.
    owners: Vec<[Option<u16>; VINTFS]>,
    /// The pSMMU of a viommu object, by virtual SMMU and object number.
    viommus: BTreeMap<(u16, u32), u16>,
    /// Devices behind each virtual SMMU: virtual SMMU, pSMMU, StreamID.
    behind: Vec<(u16, u16, u32)>,
    streams: BTreeMap<(u16, u32), String>,
    spaces: BTreeMap<DomainId, String>,
    /// What the oracle was told that queues are called.
    named: BTreeMap<Queue, CommandQueue>,
    script: u16,
    /// Commands that the script has claimed.
    claimed: u32,
    events: Vec<SeenEvent>,
    /// Event records that are kept.
    events_max: usize,
}

impl Judge {
    /// A judge of a machine out of reset, whose memory is zero.
    pub fn new(facts: Facts) -> Self {
        // Every CPU may be interrupted between two issues, by what issues as well.
        let repetitions = 2 * facts.cpus.max(1);
        Self::with_config(facts, Config { repetitions, ..Config::default() })
    }

    /// The same with other bounds.
    pub fn with_config(facts: Facts, config: Config) -> Self {
        Self::of(facts, |platform| Oracle::new(platform, config))
    }

    /// A judge of a machine out of reset whose memory software writes without a record: it looks at the memory instead.
    /// Records of writes may come or not. See [`Oracle::watching`] for what it then knows, and for when records must come;
    /// times may be those of the host, with [`Config::of_host_time`]. Of the event records the first 65,536 are kept.
    pub fn watching(facts: Facts, config: Config, source: impl Source + 'static) -> Self {
        let judge = Self::of(facts, |platform| Oracle::watching(platform, config, source));
        Self { events_max: EVENTS, ..judge }
    }

    fn of(facts: Facts, oracle: impl FnOnce(Platform) -> Oracle) -> Self {
        let smmus = facts.smmus.len();
        let script = facts.vsmmus.len() as u16;
        let streams = facts.streams.iter().map(|s| ((s.smmu, s.sid), s.name.clone())).collect();
        Self {
            actors: facts.actors(),
            mirrors: facts.smmus.iter().map(Mirror::new).collect(),
            smmus: facts.smmus.clone(),
            told: vec![Registers::default(); smmus],
            owners: vec![[None; VINTFS]; smmus],
            viommus: BTreeMap::new(),
            behind: Vec::new(),
            streams,
            spaces: BTreeMap::new(),
            named: BTreeMap::new(),
            script,
            claimed: 0,
            events: Vec::new(),
            events_max: usize::MAX,
            oracle: oracle(facts.platform()),
        }
    }

    /// The machine was reset: its SMMUs are as at power-on, and what software had arranged is gone. Findings and events
    /// stay.
    pub fn reset(&mut self, now: Time) {
        self.mirrors = self.smmus.iter().map(Mirror::new).collect();
        self.told.fill(Registers::default());
        self.owners.fill([None; VINTFS]);
        self.viommus.clear();
        self.behind.clear();
        self.spaces.clear();
        self.named.clear();
        self.claimed = 0;
        self.oracle.reset(now.as_ps());
    }

    /// The virtual SMMU that stands for the script of a scenario: devices that a script drives without a guest are put
    /// behind it, and [`Judge::retire`] speaks for it.
    pub fn script(&self) -> usize {
        self.script.into()
    }

    /// Event records so far, oldest first.
    pub fn events(&self) -> &[SeenEvent] {
        &self.events
    }

    /// Event records that hardware has written, oldest first.
    pub fn hardware_events(&self) -> impl Iterator<Item = &SeenEvent> {
        self.events.iter().filter(|event| event.by == Seer::Hardware)
    }

    /// How much was judged so far.
    pub fn counters(&self) -> Counters {
        self.oracle.counters()
    }

    /// What was wrong so far, without the first `n` findings: those that the caller has had.
    pub fn findings_since(&self, n: usize) -> &[Finding] {
        self.oracle.findings().get(n..).unwrap_or_default()
    }

    /// Hardware read these words of a table, from an address that is a multiple of 8. Only a judge that looks at memory
    /// needs to know, to judge uses of what is gone when it looks; see [`Fact::Read`].
    pub fn table_read(&mut self, now: Time, addr: u64, words: &[u64]) {
        self.tell(now, Fact::Read { addr, words });
    }

    /// Nothing more will be told: what the oracle has held back is a finding now.
    pub fn stop(&mut self) {
        self.oracle.stop();
    }

    /// The run is over: what was wrong, in order of time.
    pub fn finish(self, end: Time) -> Vec<Finding> {
        self.oracle.finish(end.as_ps())
    }

    /// A device is now behind a virtual SMMU, under the guest's StreamID and with the VMID that its pSMMU uses.
    pub fn device_behind(&mut self, now: Time, vsmmu: usize, smmu: u16, sid: u32, vsid: u32, vmid: u16) {
        let vsmmu = vsmmu as u16;
        if !self.behind.contains(&(vsmmu, smmu, sid)) {
            self.behind.push((vsmmu, smmu, sid));
        }
        self.tell(now, Fact::DeviceBehind { vsmmu, smmu, sid, vsid, vmid });
    }

    /// A device is no longer behind a virtual SMMU.
    pub fn device_gone(&mut self, now: Time, vsmmu: usize, smmu: u16, sid: u32) {
        let vsmmu = vsmmu as u16;
        self.behind.retain(|d| *d != (vsmmu, smmu, sid));
        self.tell(now, Fact::DeviceGone { vsmmu, smmu, sid });
    }

    /// The queues of a VINTF belong to a virtual SMMU from now on, or to the host.
    ///
    /// # Panics
    /// If there is no such pSMMU.
    pub fn vintf_owner(&mut self, smmu: u16, vintf: u8, vsmmu: Option<usize>) {
        if let Some(owner) = self.owners[usize::from(smmu)].get_mut(usize::from(vintf)) {
            *owner = vsmmu.map(|v| v as u16);
        }
    }

    /// A viommu object, by its number in the context of the virtual SMMU, stands for this pSMMU.
    pub fn viommu(&mut self, vsmmu: usize, id: u32, smmu: u16) {
        self.viommus.insert((vsmmu as u16, id), smmu);
    }

    /// A stream belongs to a VM from now on, or to the host.
    pub fn assign(&mut self, now: Time, smmu: u16, sid: u32, vm: Option<usize>) {
        self.tell(now, Fact::Assigned { smmu, sid, owner: owner(vm) });
    }

    /// A VM's devices may reach this host-physical memory from now on.
    pub fn grant(&mut self, now: Time, vm: usize, memory: Range<u64>) {
        let (addr, len) = (memory.start, memory.end.saturating_sub(memory.start));
        self.tell(now, Fact::Granted { owner: owner(Some(vm)), addr, len });
    }

    /// A VM's devices may no longer reach this host-physical memory.
    pub fn revoke(&mut self, now: Time, vm: usize, memory: Range<u64>) {
        let (addr, len) = (memory.start, memory.end.saturating_sub(memory.start));
        self.tell(now, Fact::Revoked { owner: owner(Some(vm)), addr, len });
    }

    /// The script claims that what these addresses led to in an ASID is gone, for every device behind [`Judge::script`]:
    /// as if a queue of it had consumed the invalidation and a CMD_SYNC. The claim holds for tables of any granule.
    pub fn retire(&mut self, now: Time, asid: u16, iova: u64, len: u64) {
        for (tg, shift) in [(tg::K4, 12), (tg::K16, 14), (tg::K64, 16)] {
            let first = iova >> shift;
            let mut left = ((iova.saturating_add(len.max(1)) - 1) >> shift) - first + 1;
            let mut page = first;
            while left > 0 {
                let scale = left.ilog2().saturating_sub(4);
                let count = left >> scale;
                let command = Command::tlbi_nh_va(asid, 0, page << shift, false);
                self.claim(now, command.with_tg(tg).with_num(count - 1).with_scale(scale.into()));
                page += count << scale;
                left -= count << scale;
            }
        }
        self.claim(now, Command::sync());
    }

    fn claim(&mut self, now: Time, command: Command) {
        let queue = Queue::Virtual { vsmmu: self.script, queue: 0 };
        let index = self.claimed;
        self.claimed = self.claimed.wrapping_add(1) & 0x7_ffff;
        self.tell(now, Fact::Consumed { queue, index, command: command.0, written: None, on: None });
    }

    fn tell(&mut self, now: Time, fact: Fact<'_>) {
        self.oracle.observe(&Witness { time: now.as_ps(), fact });
    }

    /// Takes a record of the hardware. All of them, in their order.
    pub fn record(&mut self, now: Time, record: &Record) {
        match *record {
            Record::DmaTranslated { smmu, .. } | Record::DmaAborted { smmu, .. }
                if self.mirrors[usize::from(smmu)].version2 => {}
            Record::MemoryWrite { by, addr, ref data } => {
                let by = self.writer(now, by, addr);
                self.tell(now, Fact::Wrote { by, addr, bytes: data.bytes() });
            }
            Record::DescriptorUpdated { who, addr, before, after } => {
                let Updater { smmu, sid, ssid, iova, write, incoming, translated, begun } = who;
                let access = access(write, incoming, translated);
                let dma = dma(u64::MAX, (smmu, sid, ssid), iova, 1, access, translated, begun);
                self.tell(now, Fact::Updated { dma, addr, before, after });
            }
            Record::DmaTranslated {
                id,
                smmu,
                sid,
                ssid,
                iova,
                pa,
                len,
                write,
                incoming,
                translated,
                begun,
                ..
            } => {
                let access = access(write, incoming, translated);
                let dma = dma(id, (smmu, sid, ssid), iova, len.max(1), access, translated, begun);
                self.tell(now, Fact::Translated { dma, pa });
            }
            Record::DmaDone { id, smmu } => self.tell(now, Fact::Done { smmu, id }),
            Record::DmaAborted { id, smmu, sid, ssid, iova, write, incoming, translated, event, begun } => {
                let access = access(write, incoming, translated);
                let dma = dma(id, (smmu, sid, ssid), iova, 1, access, translated, begun);
                self.tell(now, Fact::Aborted { dma, event });
            }
            Record::AtsAnswered { smmu, sid, ssid, iova, incoming, pa: Some(pa), size_log2: bits } => {
                let access = access(false, incoming, false);
                self.tell(now, Fact::AtsAnswered { smmu, sid, ssid, iova, access, pa, bits });
            }
            Record::CommandConsumed { smmu, queue, index, raw, .. } => {
                self.consumed(now, smmu, queue, index, raw);
            }
            Record::CommandError { smmu, queue, code, .. } => {
                self.stopped(now, smmu, queue, CommandError(code));
            }
            Record::SmmuRegister { smmu, offset, value } => self.register(now, smmu, offset, value),
            Record::SmmuUpdated { smmu, offset, value } => {
                self.mirrors[usize::from(smmu)].updated(offset, value);
                self.configure(now, smmu);
            }
            Record::CmdqvRegister { smmu, offset, value } => self.cmdqv_register(now, smmu, offset, value),
            Record::EventWritten { smmu, record } => {
                self.see(now, Seer::Hardware, smmu, record);
                let was_empty = self.mirrors[usize::from(smmu)].event_written();
                self.tell(now, Fact::EventWritten { smmu, record: record.0, was_empty });
            }
            Record::EventDropped { smmu, record } => {
                if self.mirrors[usize::from(smmu)].event_dropped() {
                    self.tell(now, Fact::Overflow { smmu, active: true });
                }
                self.tell(now, Fact::EventDropped { smmu, record: record.0 });
            }
            Record::PageRequestWritten { smmu, request } => {
                if self.mirrors[usize::from(smmu)].page_request_written(request) {
                    self.tell(now, Fact::PageRequested { smmu, request: request.0, dropped: false });
                }
            }
            Record::PageRequestDropped { smmu, request } => {
                if self.mirrors[usize::from(smmu)].page_request_dropped(request) {
                    self.tell(now, Fact::PageRequested { smmu, request: request.0, dropped: true });
                }
            }
            Record::GlobalError { smmu, bit } => self.global_error(now, smmu, GlobalError(bit)),
            Record::InterruptRaised { intid, smmu: Some(smmu) } => {
                if self.mirrors[usize::from(smmu)].is_event_interrupt(intid) {
                    self.tell(now, Fact::EventInterrupt { smmu });
                }
                if self.mirrors[usize::from(smmu)].is_page_interrupt(intid) {
                    self.tell(now, Fact::PageInterrupt { smmu });
                }
            }
            Record::AtsAnswered { pa: None, .. }
            | Record::PageResponse { .. }
            | Record::InterruptRaised { smmu: None, .. }
            | Record::TlbFilled { .. }
            | Record::InterruptDelivered { .. }
            | Record::AtcInvalidated { .. }
            | Record::Lint { .. }
            | Record::BusError { .. } => {}
        }
    }

    /// Who wrote. A message of an Event queue or of a PRI queue may go to plain memory.
    fn writer(&mut self, now: Time, by: Requester, addr: u64) -> u16 {
        match by {
            Requester::Cpu(cpu) => cpu,
            Requester::Psmmu(smmu) | Requester::Pair(smmu) => {
                let mirror = self.mirrors.get(usize::from(smmu));
                let [event, page] = mirror.map_or([false; 2], |m| {
                    [m.message_to, m.page_message_to()].map(|to| to != 0 && m.reached(to) == addr)
                });
                if event {
                    self.tell(now, Fact::EventInterrupt { smmu });
                }
                if page {
                    self.tell(now, Fact::PageInterrupt { smmu });
                }
                self.actors.smmus + smmu
            }
        }
    }

    fn register(&mut self, now: Time, smmu: u16, offset: u32, value: u64) {
        match self.mirrors[usize::from(smmu)].written(offset, value) {
            Meaning::Nothing => {}
            Meaning::Acting => self.configure(now, smmu),
            Meaning::Queue(change) => self.handed_over(now, Queue::Physical { smmu, queue: 0 }, change),
            Meaning::Started(change) => {
                self.handed_over(now, Queue::Physical { smmu, queue: 0 }, change);
                self.configure(now, smmu);
            }
            Meaning::OverflowSeen => self.tell(now, Fact::Overflow { smmu, active: false }),
        }
    }

    fn configure(&mut self, now: Time, smmu: u16) {
        let registers = self.mirrors[usize::from(smmu)].registers();
        if std::mem::replace(&mut self.told[usize::from(smmu)], registers) != registers {
            self.tell(now, Fact::Configured { smmu, registers });
        }
    }

    fn cmdqv_register(&mut self, now: Time, smmu: u16, offset: u32, value: u64) {
        let mirror = &mut self.mirrors[usize::from(smmu)];
        let most = mirror.commands_max();
        let Some(cmdqv) = &mut mirror.cmdqv else { return };
        if let Some((queue, vintf, change)) = cmdqv.written(offset.into(), value, most) {
            let queue = self.vcmdq(smmu, queue, vintf);
            self.handed_over(now, queue, change);
        }
    }

    fn handed_over(&mut self, now: Time, queue: Queue, change: Change) {
        let (prod, log2size) = match change {
            Change::Produced { prod, log2size } => (prod, log2size),
            Change::Restarted { cons, prod, log2size } => {
                self.tell(now, Fact::Restarted { queue, index: cons });
                (prod, log2size)
            }
        };
        self.tell(now, Fact::Produced { queue, prod, log2size });
    }

    /// Whose queue a VCMDQ is.
    fn vcmdq(&self, smmu: u16, queue: u16, vintf: u8) -> Queue {
        match self.owners[usize::from(smmu)].get(usize::from(vintf)).copied().flatten() {
            Some(vsmmu) => Queue::Virtual { vsmmu, queue: 1 + smmu * QUEUES + queue },
            None => Queue::Physical { smmu, queue: 1 + queue },
        }
    }

    /// A queue, by who looks at it.
    fn queue(&self, smmu: u16, queue: CommandQueue) -> Queue {
        match queue {
            CommandQueue::Main => Queue::Physical { smmu, queue: 0 },
            CommandQueue::Ecmdq(queue) => Queue::Physical { smmu, queue: FIRST_ECMDQ + queue },
            CommandQueue::Vcmdq { queue, vintf, .. } => self.vcmdq(smmu, queue, vintf),
        }
    }

    /// What the hardware has made of the command does not matter: what counts is what its owner was promised.
    fn consumed(&mut self, now: Time, smmu: u16, queue: CommandQueue, index: u32, raw: Command) {
        let mirror = &mut self.mirrors[usize::from(smmu)];
        let mut meant = raw;
        match (queue, &mut mirror.cmdqv) {
            (CommandQueue::Main, _) => mirror.consumed(index),
            (CommandQueue::Vcmdq { queue, vintf, .. }, Some(cmdqv)) => {
                cmdqv.consumed(queue, index);
                meant = cmdqv.meant(vintf, raw);
            }
            (CommandQueue::Vcmdq { .. }, None) | (CommandQueue::Ecmdq(_), _) => {}
        }
        let source = queue;
        let queue = self.queue(smmu, queue);
        if source != CommandQueue::Main && self.named.insert(queue, source) != Some(source) {
            self.tell(now, Fact::Named { queue, name: &source.to_string() });
        }
        let (command, written, on) = match queue {
            Queue::Physical { .. } => (meant, Some(raw.0), None),
            Queue::Virtual { .. } => (raw, None, Some(smmu)),
        };
        self.tell(now, Fact::Consumed { queue, index, command: command.0, written, on });
    }

    fn stopped(&mut self, now: Time, smmu: u16, queue: CommandQueue, error: CommandError) {
        if error == CommandError::CERROR_ATC_INV_SYNC {
            self.tell(now, Fact::AtcTimedOut { queue: self.queue(smmu, queue) });
        }
    }

    fn global_error(&mut self, now: Time, smmu: u16, error: GlobalError) {
        self.mirrors[usize::from(smmu)].failed(error);
        self.configure(now, smmu);
        if error == GlobalError::MSI_EVENTQ_ABT_ERR {
            // The message went nowhere, and software is told that instead.
            self.tell(now, Fact::EventInterrupt { smmu });
        }
        if error == GlobalError::MSI_PRIQ_ABT_ERR || error == GlobalError::PRIQ_ABT_ERR {
            self.tell(now, Fact::PageInterrupt { smmu });
        }
    }

    fn see(&mut self, time: Time, by: Seer, smmu: u16, record: EventRecord) {
        let (sid, number) = (record.sid() as u32, record.event().0);
        if self.events.len() < self.events_max {
            self.events.push(SeenEvent { time, by, smmu, sid, number, record });
        }
    }

    /// Takes a note of software. All of them, in their order, and in order of time with the records.
    pub fn note(&mut self, now: Time, note: &Note) {
        match *note {
            Note::Mapped { by, domain, iova, pa, len } => {
                let by = self.actor(by);
                let space = space(&mut self.spaces, domain);
                let what = Saying::Mapped { space, iova, pa, len };
                self.oracle.observe(&Witness { time: now.as_ps(), fact: Fact::Said { by, what } });
            }
            Note::Unmapping { by, domain, iova, len } => {
                let by = self.actor(by);
                let space = space(&mut self.spaces, domain);
                let what = Saying::Unmapped { space, iova, len };
                self.oracle.observe(&Witness { time: now.as_ps(), fact: Fact::Said { by, what } });
            }
            Note::StreamAttached { by: Actor::Host, smmu, sid, what } => self.attached(smmu, sid, what),
            Note::GuestCommandConsumed { vsmmu, index, raw } => {
                let queue = Queue::Virtual { vsmmu, queue: 0 };
                self.tell(now, Fact::Consumed { queue, index, command: raw.0, written: None, on: None });
            }
            Note::Routed { vsmmu, raw, ref to, ref not_to } => self.routed(now, vsmmu, raw, to, not_to),
            Note::EventReported { by, smmu, record } => self.see(now, Seer::Software(by), smmu, record),
            Note::StreamAttached { .. }
            | Note::Unmapped { .. }
            | Note::Ioctl { .. }
            | Note::VmExit { .. }
            | Note::Interrupt { .. }
            | Note::EventQueueOverflow { .. }
            | Note::GlobalError { .. }
            | Note::CommandError { .. }
            | Note::Timeout { .. }
            | Note::Print(_) => {}
        }
    }

    fn actor(&self, by: Actor) -> u16 {
        match by {
            Actor::Host => self.actors.host,
            Actor::Vm(vm) => (self.actors.vms + vm).min(self.actors.script),
        }
    }

    /// A space is called after the first stream that uses it.
    fn attached(&mut self, smmu: u16, sid: u32, what: Attachment) {
        let (domain, kind) = match what {
            Attachment::Blocked | Attachment::Bypass => return,
            Attachment::Domain(domain) => (domain, "space"),
            Attachment::Nested(domain) => (domain, "stage 2"),
        };
        if let Some(stream) = self.streams.get(&(smmu, sid)) {
            self.spaces.entry(domain).or_insert_with(|| format!("{stream}'s {kind}"));
        }
    }

    fn routed(&mut self, now: Time, vsmmu: u16, raw: Command, to: &[u32], not_to: &[u32]) {
        let by = self.actors.host;
        for id in to {
            if let Some(&to) = self.viommus.get(&(vsmmu, *id)) {
                self.tell(now, Fact::Said { by, what: Saying::Routed { vsmmu, to } });
            }
        }
        // A command for one stream leaves nobody out.
        if raw.op().0 <= Opcode::CFGI_CD_ALL.0 || raw.op() == Opcode::ATC_INV {
            return;
        }
        let why = "it is not among those that were chosen";
        for id in not_to {
            if let Some(&smmu) = self.viommus.get(&(vsmmu, *id))
                && self.behind.iter().any(|d| (d.0, d.1) == (vsmmu, smmu))
            {
                self.tell(now, Fact::Said { by, what: Saying::Skipped { vsmmu, smmu, why } });
            }
        }
    }
}

fn owner(vm: Option<usize>) -> u16 {
    vm.map_or(HOST, |vm| 1 + vm as u16)
}

fn space(spaces: &mut BTreeMap<DomainId, String>, domain: DomainId) -> &str {
    spaces.entry(domain).or_insert_with(|| format!("domain {}", domain.0))
}

/// What a transaction says of itself, as far as an SMMU listens: to nothing if its address came from ATS.
fn access(write: bool, incoming: Incoming, translated: bool) -> Access {
    let Incoming { privileged, instruction, .. } = if translated { Incoming::DEFAULT } else { incoming };
    Access { write, instruction, privileged }
}

fn dma(
    id: u64,
    (smmu, sid, ssid): (u16, u32, Option<u32>),
    iova: u64,
    len: u32,
    access: Access,
    ats: bool,
    begun: Time,
) -> Dma {
    Dma { id, smmu, sid, ssid, iova, len, access, arrived: Some(begun.as_ps()), ats }
}

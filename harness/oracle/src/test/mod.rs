//! A small platform in the oracle's eyes, and things that happen on it.

mod judgements;
mod random;
mod reference;
mod repetition;
mod silent;
mod updates;
mod watching;

pub(crate) use self::watching::Ram;
use crate::walk::{Fault, Outcome};
use crate::witness::{Owner, Smmu, Stream};
use crate::{Access, Config, Dma, Fact, Finding, Kind, Oracle, Platform, Queue, Registers, Saying, Witness};
use spec::smmu::descriptor::{Leaf1, Leaf2, Table};
use spec::smmu::event::class;
use spec::smmu::page0::{CR0, CR2, IRQ_CTRL, STRTAB_BASE, STRTAB_BASE_CFG};
use spec::smmu::ste::config;
use spec::smmu::{Cd, Command, EventNumber, EventRecord, PageRequest, Ste};
use std::collections::BTreeMap;
use std::sync::Arc;

const US: u64 = 1_000_000;
const STRTAB: u64 = 0x10_0000;
/// Stage-1 table of the host's stream.
const HOST_S1: u64 = 0x20_0000;
const HOST_CD: u64 = 0x21_0000;
/// Stage-2 table of the guest.
const GUEST_S2: u64 = 0x30_0000;
/// Where the guest's memory starts for the guest, and where it lies.
const GUEST_IPA: u64 = 0x4000_0000;
const GUEST_PA: u64 = 0x8_4000_0000;
/// Guest-physical addresses of the guest's stage-1 table and CD.
const GUEST_S1: u64 = GUEST_IPA + 0x1_0000;
const GUEST_CD: u64 = GUEST_IPA + 0x2_0000;

/// Streams: stage 1 of the host, stage 2 only, nested behind both SMMUs, bypass, abort.
const HOST: u32 = 0x10;
const DIRECT: u32 = 0x20;
const NESTED: u32 = 0x30;
const BYPASS: u32 = 0x40;
const CLOSED: u32 = 0x41;

const CMDQ0: Queue = Queue::Physical { smmu: 0, queue: 0 };
const CMDQ1: Queue = Queue::Physical { smmu: 1, queue: 0 };
const GUEST: Queue = Queue::Virtual { vsmmu: 0, queue: 0 };

/// VMIDs of the guest on the two SMMUs.
const VMID: [u16; 2] = [5, 6];

struct Bench {
    oracle: Oracle,
    words: BTreeMap<u64, u64>,
    /// Where software writes in silence; otherwise the oracle is told.
    ram: Option<Arc<Ram>>,
    /// Hardware reads what software writes there, before and after.
    reads_all: bool,
    time: u64,
    next_page: u64,
    next_dma: u64,
    index: BTreeMap<Queue, u32>,
}

fn platform() -> Platform {
    let smmus = vec![Smmu::new("smmu0"), Smmu::new("smmu1")];
    let stream = |smmu, sid, name: &str, owner| Stream { smmu, sid, name: name.to_owned(), owner };
    Platform {
        smmus,
        streams: vec![
            stream(0, HOST, "disk", 0),
            stream(0, DIRECT, "gpu", 1),
            stream(0, NESTED, "nic0", 1),
            stream(1, NESTED, "nic1", 1),
            stream(0, BYPASS, "bmc", 0),
        ],
        vsmmus: vec!["vm0".into()],
        owners: vec![
            Owner { name: "host".into(), memory: vec![] },
            Owner { name: "vm0".into(), memory: std::iter::once(GUEST_PA..GUEST_PA + 0x4000_0000).collect() },
        ],
        actors: vec!["cpu0".into(), "vmm".into(), "guest".into()],
        memory: vec![],
    }
}

impl Bench {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        Self::of(Oracle::new(platform(), config), None)
    }

    fn of(oracle: Oracle, ram: Option<Arc<Ram>>) -> Self {
        let mut b = Self {
            oracle,
            words: BTreeMap::new(),
            reads_all: false,
            ram,
            time: 0,
            next_page: 0x40_0000,
            next_dma: 0,
            index: BTreeMap::new(),
        };
        b.build();
        b
    }

    fn build(&mut self) {
        let valid = Ste::default().with_v(true);
        let cd = Cd::default().with_v(true).with_aa64(true).with_t0sz(16).with_ips(5).with_epd1(true);
        let cd = cd.with_a(true).with_r(true).with_asid(7);
        self.structure(HOST_CD, &cd.with_ttb0(HOST_S1).0);
        self.structure(GUEST_PA + (GUEST_CD - GUEST_IPA), &cd.with_ttb0(GUEST_S1).0);
        let stage2 = valid.with_s2aa64(true).with_s2ps(5).with_s2t0sz(25).with_s2sl0(1).with_s2ttb(GUEST_S2);
        let stage2 = stage2.with_s2r(true);
        for (smmu, vmid) in VMID.into_iter().enumerate() {
            let table = STRTAB + smmu as u64 * 0x8000;
            let nested =
                stage2.with_config(config::NESTED).with_s1contextptr(GUEST_CD).with_s2vmid(vmid.into());
            self.structure(table + u64::from(NESTED) * 64, &nested.0);
            let registers = Registers {
                cr0: CR0(0).with_smmuen(true).with_eventqen(true).with_cmdqen(true),
                cr2: CR2(0).with_recinvsid(true),
                irq_ctrl: IRQ_CTRL(0).with_eventq_irqen(true).with_priq_irqen(true),
                strtab_base: STRTAB_BASE(0).with_addr(table),
                strtab_base_cfg: STRTAB_BASE_CFG(0).with_log2size(8),
                failed: false,
                ..Registers::default()
            };
            self.see(Fact::Configured { smmu: smmu as u16, registers });
            let (smmu, sid, vsid) = (smmu as u16, NESTED, smmu as u32 + 1);
            self.see(Fact::DeviceBehind { vsmmu: 0, smmu, sid, vsid, vmid });
        }
        self.ste(HOST, valid.with_config(config::S1).with_s1contextptr(HOST_CD));
        self.ste(DIRECT, stage2.with_config(config::S2).with_s2vmid(VMID[0].into()));
        self.ste(BYPASS, valid.with_config(config::BYPASS));
        self.ste(CLOSED, valid);
        // The guest's memory, in blocks of 2MB, except the 2MB that rows map page by page.
        for i in 0..8 {
            self.map(
                GUEST_S2,
                1,
                2,
                GUEST_IPA + i * 0x20_0000,
                leaf2(GUEST_PA + i * 0x20_0000).with_page(false).0[0],
            );
        }
        // Until the update of the registers is certainly over.
        self.time += 10 * US;
        for queue in [CMDQ0, CMDQ1] {
            for command in [Command::cfgi_all(), Command::tlbi_nsnh_all(), Command::sync()] {
                self.command(queue, command, None);
            }
        }
    }

    fn see(&mut self, fact: Fact<'_>) {
        self.time += US / 100;
        self.oracle.observe(&Witness { time: self.time, fact });
    }

    fn write(&mut self, addr: u64, value: u64) {
        let old = self.words.insert(addr, value).unwrap_or(0);
        let Some(ram) = self.ram.clone() else {
            return self.see(Fact::Wrote { by: 0, addr, bytes: &value.to_le_bytes() });
        };
        self.time += US / 100;
        if self.reads_all {
            self.see(Fact::Read { addr, words: &[old] });
        }
        ram.store(addr, value);
        if self.reads_all {
            self.see(Fact::Read { addr, words: &[value] });
        }
    }

    fn structure(&mut self, addr: u64, words: &[u64]) {
        for (i, word) in words.iter().enumerate() {
            self.write(addr + 8 * i as u64, *word);
        }
    }

    fn ste(&mut self, sid: u32, ste: Ste) {
        self.structure(STRTAB + u64::from(sid) * 64, &ste.0);
    }

    fn read_ste(&self, sid: u32) -> Ste {
        Ste(std::array::from_fn(|i| self.words[&(STRTAB + u64::from(sid) * 64 + 8 * i as u64)]))
    }

    /// Put a leaf into a 4KB-granule table that lies at its own address, or in guest memory if it is the guest's.
    fn map(&mut self, root: u64, first: u32, last: u32, input: u64, leaf: u64) {
        let place = |addr: u64| if root == GUEST_S1 { addr - GUEST_IPA + GUEST_PA } else { addr };
        let mut table = root;
        for level in first..=last {
            let entry = place(table) + (input >> (12 + 9 * (3 - level)) & 511) * 8;
            if level == last {
                return self.write(entry, leaf);
            }
            let held = Table([self.words.get(&entry).copied().unwrap_or(0)]);
            table = if held.valid() {
                held.next4k()
            } else {
                self.next_page += 0x1000;
                let base =
                    if root == GUEST_S1 { GUEST_IPA + self.next_page % 0x10_0000 } else { self.next_page };
                self.write(entry, Table([3]).with_next4k(base).0[0]);
                base
            };
        }
    }

    fn dma(&mut self, smmu: u16, sid: u32, iova: u64) -> Dma {
        self.next_dma += 1;
        let access = Access { write: true, ..Access::default() };
        Dma {
            id: self.next_dma,
            smmu,
            sid,
            ssid: None,
            iova,
            len: 64,
            access,
            arrived: Some(self.time),
            ats: false,
        }
    }

    fn command(&mut self, queue: Queue, command: Command, on: Option<u16>) {
        let index = self.index.entry(queue).or_default();
        let at = *index;
        *index += 1;
        self.see(Fact::Produced { queue, prod: at + 1, log2size: 8 });
        self.see(Fact::Consumed { queue, index: at, command: command.0, written: None, on });
    }

    /// Where the descriptors of a page of the host lie, as far as they exist.
    fn descriptors(&self, iova: u64) -> Vec<u64> {
        let mut table = Some(HOST_S1);
        let entry = |level: u64| {
            let addr = table? + (iova >> (39 - 9 * level) & 511) * 8;
            table = self.words.get(&addr).map(|word| Table([*word]).next4k());
            Some(addr)
        };
        (0..4).map_while(entry).collect()
    }

    /// Hardware reads the tables of a page of the host.
    fn walk(&mut self, iova: u64) {
        for addr in self.descriptors(iova) {
            let word = self.words.get(&addr).copied().unwrap_or(0);
            self.see(Fact::Read { addr, words: &[word] });
        }
    }

    fn expect(&mut self, dma: Dma) -> Outcome {
        self.oracle.expected(&dma)
    }
}

fn leaf1(pa: u64) -> Leaf1 {
    Leaf1([0]).with_valid(true).with_page(true).with_ap(1).with_sh(3).with_af(true).with_ng(true).with_oa(pa)
}

fn leaf2(pa: u64) -> Leaf2 {
    Leaf2([0])
        .with_valid(true)
        .with_page(true)
        .with_memattr(0xf)
        .with_s2ap(3)
        .with_sh(3)
        .with_af(true)
        .with_oa(pa)
}

/// One thing that happens; addresses are pages of the stream's space.
#[derive(Clone, Copy, Debug)]
enum Do {
    /// The host's table: page to pa.
    Map(u64, u64),
    Unmap(u64),
    /// The host's table, a leaf as given.
    Leaf(u64, Leaf1),
    /// The guest's table: page to intermediate address.
    GuestMap(u64, u64),
    GuestUnmap(u64),
    /// The guest's stage 2.
    S2Block(u64, u64),
    S2Gone(u64),
    Inv(Queue, Command),
    /// The same in a queue that is passed through to this SMMU.
    Passed(Queue, u16, Command),
    Sync(Queue),
    /// A CMD_SYNC stops with CERROR_ATC_INV_SYNC.
    TimedOut(Queue),
    /// Translated and performed: SMMU, StreamID, iova, pa.
    Use(u16, u32, u64, u64),
    /// The same, by an entry of the endpoint's cache.
    Ats(u32, u64, u64),
    /// The endpoint is told: StreamID, iova, pa.
    Answer(u32, u64, u64),
    /// Translated, on its way until `Finish`.
    Begin(u16, u32, u64, u64),
    Finish,
    /// Aborted with this event.
    Abort(u32, u64, Option<EventNumber>),
    /// Aborted, having arrived this many microseconds before.
    LateAbort(u32, u64, Option<EventNumber>, u64),
    /// A record of a write fault at stage 1.
    Record(EventNumber, u32, u64),
    Interrupt,
    /// A page request that calls for an interrupt: stream, address.
    PageRequest(u32, u64),
    PageInterrupt,
    Overflow(bool),
    /// The record that would have told of such a fault was dropped.
    Dropped(EventNumber, u32, u64),
    /// Microseconds pass.
    Wait(u64),
    Ste(u32, Ste),
    Pass(u32),
    /// Hardware walks the host's table for this page.
    Walk(u64),
    /// A page of the host is not mapped, and says so in every way.
    Fault(u64),
}

impl Bench {
    fn play(&mut self, steps: &[Do]) {
        for step in steps {
            self.step(*step);
        }
    }

    fn step(&mut self, step: Do) {
        match step {
            Do::Map(iova, pa) => self.map(HOST_S1, 0, 3, iova, leaf1(pa).0[0]),
            Do::Unmap(iova) => self.map(HOST_S1, 0, 3, iova, 0),
            Do::Leaf(iova, leaf) => self.map(HOST_S1, 0, 3, iova, leaf.0[0]),
            Do::GuestMap(iova, ipa) => self.map(GUEST_S1, 0, 3, iova, leaf1(ipa).0[0]),
            Do::GuestUnmap(iova) => self.map(GUEST_S1, 0, 3, iova, 0),
            Do::S2Block(ipa, pa) => self.map(GUEST_S2, 1, 2, ipa, leaf2(pa).with_page(false).0[0]),
            Do::S2Gone(ipa) => self.map(GUEST_S2, 1, 2, ipa, 0),
            Do::Inv(queue, command) => self.command(queue, command, None),
            Do::Passed(queue, smmu, command) => self.command(queue, command, Some(smmu)),
            Do::TimedOut(queue) => self.see(Fact::AtcTimedOut { queue }),
            Do::Sync(queue) => self.command(queue, Command::sync(), None),
            Do::Use(smmu, sid, iova, pa) => {
                let dma = self.dma(smmu, sid, iova);
                self.see(Fact::Translated { dma, pa });
                self.see(Fact::Done { smmu: dma.smmu, id: dma.id });
            }
            Do::Ats(sid, iova, pa) => {
                let dma = Dma { ats: true, ..self.dma(0, sid, iova) };
                self.see(Fact::Translated { dma, pa });
                self.see(Fact::Done { smmu: dma.smmu, id: dma.id });
            }
            Do::Answer(sid, iova, pa) => {
                let access = Access::default();
                self.see(Fact::AtsAnswered { smmu: 0, sid, ssid: None, iova, access, pa, bits: 12 });
            }
            Do::Begin(smmu, sid, iova, pa) => {
                let dma = self.dma(smmu, sid, iova);
                self.see(Fact::Translated { dma, pa });
            }
            Do::Finish => self.see(Fact::Done { smmu: 0, id: self.next_dma }),
            Do::Abort(sid, iova, event) => {
                let dma = self.dma(0, sid, iova);
                self.see(Fact::Aborted { dma, event: event.map(|e| e.0) });
            }
            Do::LateAbort(sid, iova, event, ago) => {
                let dma = Dma { arrived: Some(self.time - ago * US), ..self.dma(0, sid, iova) };
                self.see(Fact::Aborted { dma, event: event.map(|e| e.0) });
            }
            Do::Record(event, sid, iova) => {
                let record = if event.has_transaction() {
                    EventRecord::translation(event, sid, None, iova, true)
                } else {
                    EventRecord::configuration(event, sid, None)
                };
                self.see(Fact::EventWritten { smmu: 0, record: record.0, was_empty: true });
            }
            Do::Dropped(event, sid, iova) => {
                let record = EventRecord::translation(event, sid, None, iova, true).0;
                self.see(Fact::EventDropped { smmu: 0, record });
            }
            Do::Interrupt => self.see(Fact::EventInterrupt { smmu: 0 }),
            Do::PageRequest(sid, iova) => {
                let request = PageRequest::default().with_sid(sid.into()).with_r(true).with_addr(iova).0;
                self.see(Fact::PageRequested { smmu: 0, request, dropped: false });
            }
            Do::PageInterrupt => self.see(Fact::PageInterrupt { smmu: 0 }),
            Do::Overflow(active) => self.see(Fact::Overflow { smmu: 0, active }),
            Do::Wait(us) => self.time += us * US,
            Do::Ste(sid, ste) => self.ste(sid, ste),
            Do::Walk(iova) => self.walk(iova),
            Do::Fault(iova) => self.play(&[
                Do::Abort(HOST, iova, TRANSLATION),
                Do::Record(EventNumber::F_TRANSLATION, HOST, iova),
                Do::Interrupt,
            ]),
            Do::Pass(sid) => self.ste(sid, Ste::default().with_v(true).with_config(config::BYPASS)),
        }
    }

    fn finish(mut self) -> Vec<Finding> {
        self.time += 1000 * US;
        self.oracle.finish(self.time)
    }
}

/// What is found by an oracle that is told of writes, and by one that looks on behalf of hardware that reads everything.
fn check(rows: &[(&str, &[Do], &[Kind])]) {
    check_on(Bench::new, rows);
    check_on(|| Bench { reads_all: true, ..Bench::watching(Config::default()) }, rows);
}

fn check_on(bench: impl Fn() -> Bench, rows: &[(&str, &[Do], &[Kind])]) {
    for (name, steps, want) in rows {
        let mut b = bench();
        b.play(steps);
        let found = b.finish();
        let kinds: Vec<_> = found.iter().map(|f| f.kind).collect();
        assert_eq!(kinds, *want, "{name}: {found:#?}");
        for f in &found {
            assert!(!f.title.is_empty() && !f.story.is_empty(), "{name} has no story");
        }
    }
}

const IOVA: u64 = 0x1000;
const A: u64 = 0x9_0000_1000;
const B: u64 = 0x9_0000_2000;
const PAGE: Command = Command::tlbi_nh_va(7, 0, IOVA, true);
const TRANSLATION: Option<EventNumber> = Some(EventNumber::F_TRANSLATION);

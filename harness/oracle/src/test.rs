//! A small platform in the oracle's eyes, and rows of things that happen on it.

use crate::walk::{Fault, Outcome};
use crate::witness::{Owner, Smmu, Stream};
use crate::{Access, Config, Dma, Fact, Finding, Kind, Oracle, Platform, Queue, Registers, Saying, Witness};
use spec::smmu::descriptor::{Leaf1, Leaf2, Table};
use spec::smmu::event::class;
use spec::smmu::page0::{CR0, CR2, IRQ_CTRL, STRTAB_BASE, STRTAB_BASE_CFG};
use spec::smmu::ste::config;
use spec::smmu::{Cd, Command, EventNumber, EventRecord, Ste};
use std::collections::BTreeMap;

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
    time: u64,
    next_page: u64,
    next_dma: u64,
    index: BTreeMap<Queue, u32>,
}

impl Bench {
    fn new() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let smmus = vec![Smmu::new("smmu0"), Smmu::new("smmu1")];
        let stream = |smmu, sid, name: &str, owner| Stream { smmu, sid, name: name.to_owned(), owner };
        let platform = Platform {
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
                Owner {
                    name: "vm0".into(),
                    memory: std::iter::once(GUEST_PA..GUEST_PA + 0x4000_0000).collect(),
                },
            ],
            actors: vec!["cpu0".into(), "vmm".into(), "guest".into()],
            memory: vec![],
        };
        let mut b = Self {
            oracle: Oracle::new(platform, config),
            words: BTreeMap::new(),
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
                irq_ctrl: IRQ_CTRL(0).with_eventq_irqen(true),
                strtab_base: STRTAB_BASE(0).with_addr(table),
                strtab_base_cfg: STRTAB_BASE_CFG(0).with_log2size(8),
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
        self.words.insert(addr, value);
        self.see(Fact::Wrote { by: 0, addr, bytes: &value.to_le_bytes() });
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
        self.see(Fact::Consumed { queue, index: at, command: command.0, on });
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
    Sync(Queue),
    /// Translated and performed: SMMU, StreamID, iova, pa.
    Use(u16, u32, u64, u64),
    /// The same, by an entry of the endpoint's cache.
    Ats(u32, u64, u64),
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
    Overflow(bool),
    /// The record that would have told of such a fault was dropped.
    Dropped(EventNumber, u32, u64),
    /// Microseconds pass.
    Wait(u64),
    Ste(u32, Ste),
    Pass(u32),
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
            Do::Sync(queue) => self.command(queue, Command::sync(), None),
            Do::Use(smmu, sid, iova, pa) => {
                let dma = self.dma(smmu, sid, iova);
                self.see(Fact::Translated { dma, pa });
                self.see(Fact::Done { id: dma.id });
            }
            Do::Ats(sid, iova, pa) => {
                let dma = Dma { ats: true, ..self.dma(0, sid, iova) };
                self.see(Fact::Translated { dma, pa });
                self.see(Fact::Done { id: dma.id });
            }
            Do::Begin(smmu, sid, iova, pa) => {
                let dma = self.dma(smmu, sid, iova);
                self.see(Fact::Translated { dma, pa });
            }
            Do::Finish => self.see(Fact::Done { id: self.next_dma }),
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
            Do::Overflow(active) => self.see(Fact::Overflow { smmu: 0, active }),
            Do::Wait(us) => self.time += us * US,
            Do::Ste(sid, ste) => self.ste(sid, ste),
            Do::Pass(sid) => self.ste(sid, Ste::default().with_v(true).with_config(config::BYPASS)),
        }
    }

    fn finish(mut self) -> Vec<Finding> {
        self.time += 1000 * US;
        self.oracle.finish(self.time)
    }
}

fn check(rows: &[(&str, &[Do], &[Kind])]) {
    for (name, steps, want) in rows {
        let mut b = Bench::new();
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

#[test]
fn stage1_of_the_host() {
    use Do::{Begin, Finish, Inv, Leaf, Map, Sync, Unmap, Use};
    let elsewhere = Command::tlbi_nh_va(7, 0, 0x2000, true);
    let global = leaf1(A).with_ng(false);
    let old = Use(0, HOST, IOVA, A);
    check(&[
        ("mapped", &[Map(IOVA, A), old], &[]),
        ("race before any invalidation", &[Map(IOVA, A), Unmap(IOVA), old], &[]),
        ("race before the SYNC", &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), old], &[]),
        (
            "after the SYNC",
            &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), old],
            &[Kind::StaleUse],
        ),
        (
            "told once",
            &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), old, old],
            &[Kind::StaleUse],
        ),
        (
            "the new page",
            &[Map(IOVA, A), Map(IOVA, B), Inv(CMDQ0, PAGE), Sync(CMDQ0), Use(0, HOST, IOVA, B)],
            &[],
        ),
        (
            "the old page",
            &[Map(IOVA, A), Map(IOVA, B), Inv(CMDQ0, PAGE), Sync(CMDQ0), old],
            &[Kind::StaleUse],
        ),
        ("invalidated too early", &[Map(IOVA, A), Inv(CMDQ0, PAGE), Unmap(IOVA), Sync(CMDQ0), old], &[]),
        ("another address", &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, elsewhere), Sync(CMDQ0), old], &[]),
        ("SYNC of another queue", &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ1), old], &[]),
        (
            "invalidated on another SMMU",
            &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ1, PAGE), Sync(CMDQ1), old],
            &[],
        ),
        (
            "an ASID does not cover a global page",
            &[Leaf(IOVA, global), Unmap(IOVA), Inv(CMDQ0, Command::tlbi_nh_asid(7, 0)), Sync(CMDQ0), old],
            &[],
        ),
        (
            "a VMID does",
            &[Leaf(IOVA, global), Unmap(IOVA), Inv(CMDQ0, Command::tlbi_nh_all(0)), Sync(CMDQ0), old],
            &[Kind::StaleUse],
        ),
        (
            "permission taken away",
            &[Map(IOVA, A), Leaf(IOVA, leaf1(A).with_ap(3)), Inv(CMDQ0, PAGE), Sync(CMDQ0), old],
            &[Kind::StaleUse],
        ),
        ("mapped again", &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), Map(IOVA, A), old], &[]),
        ("never mapped", &[Map(IOVA, A), Use(0, HOST, IOVA, B)], &[Kind::IsolationBreach]),
        (
            "on its way when the SYNC completes",
            &[Map(IOVA, A), Begin(0, HOST, IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), Finish],
            &[Kind::EarlySync],
        ),
        (
            "performed before the SYNC completes",
            &[Map(IOVA, A), Begin(0, HOST, IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Finish, Sync(CMDQ0)],
            &[],
        ),
        (
            "on its way, but of another page",
            &[
                Map(IOVA, A),
                Map(0x2000, B),
                Begin(0, HOST, 0x2000, B),
                Unmap(IOVA),
                Inv(CMDQ0, PAGE),
                Sync(CMDQ0),
                Finish,
            ],
            &[],
        ),
        (
            "on its way for ever",
            &[Map(IOVA, A), Begin(0, HOST, IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0)],
            &[Kind::EarlySync],
        ),
    ]);
}

#[test]
fn guest_behind_two_smmus() {
    use Do::{GuestMap, GuestUnmap, Inv, S2Block, S2Gone, Sync, Use};
    const IPA: u64 = GUEST_IPA + 0x40_1000;
    const PA: u64 = GUEST_PA + 0x40_1000;
    let block = GUEST_IPA + 0x40_0000;
    let elsewhere = GUEST_PA + 0xc0_0000;
    let on0 = Use(0, NESTED, IOVA, PA);
    let on1 = Use(1, NESTED, IOVA, PA);
    let s2 = Command::tlbi_s2_ipa(VMID[0], block, true);
    let all = Command::tlbi_nh_all(VMID[0]);
    let physical = Command::tlbi_nh_va(7, VMID[0], IOVA, true);
    check(&[
        ("mapped on both", &[GuestMap(IOVA, IPA), on0, on1], &[]),
        (
            "unmapped, guest not told",
            &[GuestMap(IOVA, IPA), GuestUnmap(IOVA), Inv(GUEST, PAGE), on0, on1],
            &[],
        ),
        (
            "only one SMMU was told",
            &[
                GuestMap(IOVA, IPA),
                GuestUnmap(IOVA),
                Inv(CMDQ0, physical),
                Sync(CMDQ0),
                Inv(GUEST, PAGE),
                Sync(GUEST),
                on1,
            ],
            &[Kind::StaleUse],
        ),
        (
            "neither, to the guest's knowledge both",
            &[GuestMap(IOVA, IPA), GuestUnmap(IOVA), Inv(GUEST, PAGE), Sync(GUEST), on0, on1],
            &[Kind::StaleUse, Kind::StaleUse],
        ),
        (
            "the host alone promises nothing for the other SMMU",
            &[GuestMap(IOVA, IPA), GuestUnmap(IOVA), Inv(CMDQ0, physical), Sync(CMDQ0), on1],
            &[],
        ),
        (
            "stage 2 changed, combined translations not invalidated",
            &[GuestMap(IOVA, IPA), S2Gone(block), Inv(CMDQ0, s2), Sync(CMDQ0), on0],
            &[],
        ),
        (
            "stage 2 changed, both invalidated",
            &[
                GuestMap(IOVA, IPA),
                S2Gone(block),
                Inv(CMDQ0, s2),
                Sync(CMDQ0),
                Inv(CMDQ0, all),
                Sync(CMDQ0),
                on0,
            ],
            &[Kind::StaleUse],
        ),
        (
            "stage 2 changed, in the wrong order",
            &[
                GuestMap(IOVA, IPA),
                S2Gone(block),
                Inv(CMDQ0, all),
                Sync(CMDQ0),
                Inv(CMDQ0, s2),
                Sync(CMDQ0),
                on0,
            ],
            &[],
        ),
        (
            "stage 2 only",
            &[S2Gone(block), Inv(CMDQ0, s2), Sync(CMDQ0), Use(0, DIRECT, IPA, PA)],
            &[Kind::StaleUse],
        ),
        ("stage 2 only, race", &[S2Gone(block), Inv(CMDQ0, s2), Use(0, DIRECT, IPA, PA)], &[]),
        (
            "the tables lead to foreign memory",
            &[S2Block(block, 0x7_0000_0000), Use(0, DIRECT, IPA, 0x7_0000_1000)],
            &[Kind::IsolationBreach],
        ),
        ("own memory elsewhere", &[S2Block(block, elsewhere), Use(0, DIRECT, IPA, elsewhere + 0x1000)], &[]),
    ]);
}

#[test]
fn configuration_and_endpoint_caches() {
    use Do::{Ats, Inv, Map, Pass, Sync, Unmap, Use};
    let old = Use(0, HOST, IOVA, A);
    let cfgi = Inv(CMDQ0, Command::cfgi_ste(HOST, true));
    let atc = Inv(CMDQ0, Command::atc_inv(HOST, None, IOVA, 0));
    check(&[
        ("STE changed, not invalidated", &[Map(IOVA, A), Pass(HOST), old], &[]),
        ("STE changed, bypass at once", &[Map(IOVA, A), Pass(HOST), Use(0, HOST, IOVA, IOVA)], &[]),
        (
            "STE changed and invalidated",
            &[Map(IOVA, A), Pass(HOST), cfgi, Sync(CMDQ0), old],
            &[Kind::StaleUse],
        ),
        (
            "another stream's STE invalidated",
            &[Map(IOVA, A), Pass(HOST), Inv(CMDQ0, Command::cfgi_ste(DIRECT, true)), Sync(CMDQ0), old],
            &[],
        ),
        (
            "the endpoint may keep what only the SMMU dropped",
            &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), Ats(HOST, IOVA, A)],
            &[],
        ),
        (
            "the endpoint was told too",
            &[Map(IOVA, A), Unmap(IOVA), Inv(CMDQ0, PAGE), Sync(CMDQ0), atc, Sync(CMDQ0), Ats(HOST, IOVA, A)],
            &[Kind::StaleUse],
        ),
    ]);
}

#[test]
fn a_changed_context_lives_on_in_the_tlb() {
    let table = 0x28_0000;
    let rows = [
        ("nothing invalidated", &[][..], &[][..]),
        ("CD alone", &[Command::cfgi_cd(HOST, 0, true)], &[]),
        ("CD and ASID", &[Command::cfgi_cd(HOST, 0, true), Command::tlbi_nh_asid(7, 0)], &[Kind::StaleUse]),
    ];
    for (name, commands, want) in rows {
        let mut b = Bench::new();
        b.play(&[Do::Map(IOVA, A), Do::Use(0, HOST, IOVA, A)]);
        b.map(table, 0, 3, IOVA, leaf1(B).0[0]);
        let cd = Cd(std::array::from_fn(|i| b.words[&(HOST_CD + 8 * i as u64)]));
        b.structure(HOST_CD, &cd.with_ttb0(table).0);
        for command in commands {
            b.command(CMDQ0, *command, None);
        }
        b.play(&[Do::Sync(CMDQ0), Do::Use(0, HOST, IOVA, B), Do::Use(0, HOST, IOVA, A)]);
        let kinds: Vec<_> = b.finish().iter().map(|f| f.kind).collect();
        assert_eq!(kinds, want, "{name}");
    }
}

#[test]
fn events_and_interrupts() {
    use Do::{Abort, Dropped, Interrupt, LateAbort, Map, Overflow, Record, Ste as SetSte, Unmap, Wait};
    use EventNumber as E;
    let fault = Abort(HOST, IOVA, TRANSLATION);
    let record = Record(E::F_TRANSLATION, HOST, IOVA);
    let broken = Ste::default().with_v(true).with_config(config::S1).with_strw(1);
    check(&[
        ("fault, record, interrupt", &[fault, record, Interrupt], &[]),
        ("record before the abort", &[record, Interrupt, Wait(10), fault], &[]),
        ("lost event", &[fault], &[Kind::LostEvent]),
        ("excused by overflow", &[Overflow(true), fault, Overflow(false)], &[]),
        ("dropped", &[fault, Dropped(E::F_TRANSLATION, HOST, IOVA)], &[]),
        ("another one dropped", &[fault, Dropped(E::F_TRANSLATION, HOST, 0x2000)], &[Kind::LostEvent]),
        ("overflow comes after", &[fault, Overflow(true)], &[]),
        ("lost after overflow is over", &[Overflow(true), Overflow(false), fault], &[Kind::LostEvent]),
        ("lost interrupt", &[fault, record], &[Kind::LostInterrupt]),
        ("late interrupt", &[fault, record, Wait(500), Interrupt, Wait(500), fault, record, Interrupt], &[]),
        ("record of nothing", &[Map(IOVA, A), Wait(500), record, Interrupt], &[Kind::SpuriousEvent]),
        (
            "record of another address",
            &[Map(0x2000, A), Wait(500), fault, Record(E::F_TRANSLATION, HOST, 0x2000), Interrupt],
            &[Kind::LostEvent, Kind::SpuriousEvent],
        ),
        ("stalled: recorded, not aborted", &[record, Interrupt], &[]),
        (
            "aborted though mapped",
            &[Map(IOVA, A), Wait(1), Abort(HOST, IOVA, TRANSLATION), record, Interrupt],
            &[Kind::SpuriousAbort],
        ),
        ("aborted silently", &[Abort(HOST, IOVA, None)], &[Kind::LostEvent]),
        (
            "wrong event",
            &[Abort(HOST, IOVA, Some(E::F_PERMISSION)), Record(E::F_PERMISSION, HOST, IOVA), Interrupt],
            &[Kind::WrongEvent],
        ),
        ("closed stream", &[Abort(CLOSED, IOVA, None)], &[]),
        (
            "closed stream with a record",
            &[Abort(CLOSED, IOVA, TRANSLATION), Record(E::F_TRANSLATION, CLOSED, IOVA), Interrupt],
            &[Kind::WrongEvent],
        ),
        (
            "bad STE",
            &[
                SetSte(HOST, broken),
                Abort(HOST, IOVA, Some(E::C_BAD_STE)),
                Record(E::C_BAD_STE, HOST, 0),
                Interrupt,
            ],
            &[],
        ),
        (
            "unknown stream",
            &[Abort(0x1ff, 0, Some(E::C_BAD_STREAMID)), Record(E::C_BAD_STREAMID, 0x1ff, 0), Interrupt],
            &[],
        ),
        (
            "mapped while under way",
            &[Wait(50), Map(IOVA, A), LateAbort(HOST, IOVA, TRANSLATION, 20), record, Interrupt],
            &[],
        ),
        ("unmapped, not invalidated: either", &[Map(IOVA, A), Unmap(IOVA), fault, record, Interrupt], &[]),
    ]);
}

fn fault(event: EventNumber) -> Fault {
    Fault { event, s2: false, class: class::IN, ipa: 0, recorded: true, stall: false, raz_wi: false }
}

fn configuration(event: EventNumber) -> Outcome {
    Outcome::Fault(Fault { class: 0, ..fault(event) })
}

/// Rows of the specification's conformance tables that are about a single transaction.
#[test]
fn reference_translation() {
    use EventNumber as E;
    let to = |pa, bits| Outcome::Translated { pa, bits };
    let s1 = |event| Outcome::Fault(fault(event));
    let s2 = |event, class, ipa| Outcome::Fault(Fault { s2: true, class, ipa, ..fault(event) });
    let mut b = Bench::new();
    b.play(&[
        Do::Map(0x1000, A),
        Do::Leaf(0x2000, leaf1(A).with_ap(3)),
        Do::Leaf(0x3000, leaf1(A).with_af(false)),
        Do::Leaf(0x4000, leaf1(A).with_ap(0)),
        Do::Leaf(0x5000, Leaf1([leaf1(A).0[0] & !2])),
        Do::Leaf(0x6000, leaf1(A).with_uxn(true)),
        Do::GuestMap(0x1000, GUEST_IPA + 0x40_1000),
        Do::GuestMap(0x2000, 0x5000_0000),
    ]);
    let block = leaf1(0x9_0020_0000).with_page(false);
    b.map(HOST_S1, 0, 2, 0x4000_0000, block.0[0]);
    let write = Access { write: true, ..Access::default() };
    let read = Access::default();
    let fetch = Access { instruction: true, ..Access::default() };
    let privileged = Access { privileged: true, ..Access::default() };
    let rows = [
        ("X01", HOST, None, 0x1234, read, to(A + 0x234, 12)),
        ("X02", HOST, None, 0x7000, read, s1(E::F_TRANSLATION)),
        ("X06", HOST, None, 1 << 48, read, s1(E::F_TRANSLATION)),
        ("upper half, EPD1", HOST, None, 0xffff_0000_0000_1000, read, s1(E::F_TRANSLATION)),
        ("X09", HOST, None, 0x5000, read, s1(E::F_TRANSLATION)),
        ("X11", HOST, None, 0x3000, read, s1(E::F_ACCESS)),
        ("X13", HOST, None, 0x2000, write, s1(E::F_PERMISSION)),
        ("read of a read-only page", HOST, None, 0x2000, read, to(A, 12)),
        ("X14", HOST, None, 0x4000, read, s1(E::F_PERMISSION)),
        ("X14, privileged", HOST, None, 0x4000, privileged, to(A, 12)),
        ("X17", HOST, None, 0x6000, fetch, s1(E::F_PERMISSION)),
        ("X17, data", HOST, None, 0x6000, read, to(A, 12)),
        ("X23", HOST, None, 0x4012_3456, read, to(0x9_0032_3456, 21)),
        ("C02", HOST, Some(1), 0x1000, read, configuration(E::C_BAD_SUBSTREAMID)),
        ("T01", 0x1ff, None, 0, read, configuration(E::C_BAD_STREAMID)),
        ("T08", 0x50, None, 0, read, configuration(E::C_BAD_STE)),
        ("T09", CLOSED, None, 0, read, Outcome::Abort),
        ("T10", BYPASS, None, 0x1234, read, to(0x1234, 64)),
        ("T11", BYPASS, None, 1 << 48, read, s1(E::F_ADDR_SIZE)),
        ("C01", DIRECT, Some(1), GUEST_IPA, read, configuration(E::C_BAD_SUBSTREAMID)),
        ("stage 2", DIRECT, None, GUEST_IPA + 0x1234, write, to(GUEST_PA + 0x1234, 21)),
        ("N01", DIRECT, None, 1 << 39, read, s2(E::F_TRANSLATION, class::IN, 1 << 39)),
        ("nested", NESTED, None, 0x1234, write, to(GUEST_PA + 0x40_1234, 12)),
        ("nested, stage 1", NESTED, None, 0x3000, write, s1(E::F_TRANSLATION)),
        ("N05", NESTED, None, 0x2000, write, s2(E::F_TRANSLATION, class::IN, 0x5000_0000)),
    ];
    for (name, sid, ssid, iova, access, want) in rows {
        let dma = Dma { ssid, access, ..b.dma(0, sid, iova) };
        assert_eq!(b.expect(dma), want, "{name}");
    }
    b.step(Do::S2Gone(GUEST_IPA));
    let dma = b.dma(0, NESTED, 0x1000);
    assert_eq!(b.expect(dma), s2(E::F_TRANSLATION, class::CD, GUEST_CD), "N03");
}

/// The behaviour that a few bits of the STE and the CD select.
#[test]
fn reference_configuration() {
    use EventNumber as E;
    let s1 = |event| Outcome::Fault(fault(event));
    let to = |pa, bits| Outcome::Translated { pa, bits };
    let cd =
        Cd::default().with_v(true).with_aa64(true).with_t0sz(16).with_ips(5).with_epd1(true).with_a(true);
    let cd = cd.with_r(true).with_asid(7).with_ttb0(HOST_S1);
    let ste = Bench::new().read_ste(HOST);
    let many = ste.with_s1cdmax(4);
    let unmapped = fault(E::F_TRANSLATION);
    let rows = [
        ("X03", ste, cd.with_r(false), None, 0x7000, Outcome::Fault(Fault { recorded: false, ..unmapped })),
        ("X04", ste, cd.with_a(false), None, 0x7000, Outcome::Fault(Fault { raz_wi: true, ..unmapped })),
        ("stall", ste, cd.with_s(true), None, 0x7000, Outcome::Fault(Fault { stall: true, ..unmapped })),
        ("X07", ste, cd.with_tbi0(true), None, 0x5a00_0000_0000_1000, to(A, 12)),
        ("X08", ste, cd.with_tbi0(true), None, 0x5a80_0000_0000_1000, s1(E::F_TRANSLATION)),
        ("X10", ste, cd.with_ips(0), None, 0x1000, s1(E::F_ADDR_SIZE)),
        ("X12", ste, cd.with_affd(true), None, 0x3000, to(A, 12)),
        ("X20", ste, cd.with_e0pd0(true), None, 0x1000, s1(E::F_TRANSLATION)),
        ("X28", ste, cd.with_ha(true), None, 0x3000, to(A, 12)),
        ("C03", many, cd, Some(16), 0x1000, configuration(E::C_BAD_SUBSTREAMID)),
        ("C04", many, cd, None, 0x1000, configuration(E::F_STREAM_DISABLED)),
        ("C05", many.with_s1dss(2), cd, Some(0), 0x1000, configuration(E::F_STREAM_DISABLED)),
        ("CD 0 for traffic without", many.with_s1dss(2), cd, None, 0x1000, to(A, 12)),
        ("stage 1 bypassed", many.with_s1dss(1), cd, None, 0x1000, to(0x1000, 64)),
        ("CD of the SubstreamID", many, cd, Some(0), 0x1000, to(A, 12)),
        ("C07", many, cd, Some(1), 0x1000, configuration(E::C_BAD_CD)),
        ("C10", ste.with_s1stalld(true), cd.with_s(true), None, 0x1000, configuration(E::C_BAD_CD)),
        (
            "two-level CDs, L1 invalid",
            many.with_s1fmt(1).with_s1contextptr(0x60_0000),
            cd,
            Some(0),
            0,
            configuration(E::C_BAD_SUBSTREAMID),
        ),
        ("two-level CDs", many.with_s1fmt(1).with_s1contextptr(0x61_0000), cd, Some(0), 0x1000, to(A, 12)),
    ];
    for (name, ste, cd, ssid, iova, want) in rows {
        let mut b = Bench::new();
        b.play(&[Do::Map(0x1000, A), Do::Leaf(0x3000, leaf1(A).with_af(false)), Do::Ste(HOST, ste)]);
        b.structure(HOST_CD, &cd.0);
        b.write(0x61_0000, HOST_CD | 1);
        let dma = Dma { ssid, access: Access::default(), ..b.dma(0, HOST, iova) };
        assert_eq!(b.expect(dma), want, "{name}");
    }
}

#[test]
fn two_level_stream_table() {
    let registers = |split, log2size| Registers {
        cr0: CR0(0).with_smmuen(true),
        strtab_base: STRTAB_BASE(0).with_addr(0x70_0000),
        strtab_base_cfg: STRTAB_BASE_CFG(0).with_log2size(log2size).with_split(split).with_fmt(1),
        ..Registers::default()
    };
    let unknown = Outcome::Fault(Fault { recorded: false, class: 0, ..fault(EventNumber::C_BAD_STREAMID) });
    let passes = Outcome::Translated { pa: 0x1000, bits: 64 };
    // Split, span, StreamID, outcome.
    let rows = [
        (8, 9, 0x105, passes),
        (8, 0, 0x105, unknown),
        (8, 12, 0x105, unknown),
        (8, 3, 0x105, unknown),
        (8, 4, 0x105, passes),
        (6, 8, 0x105, unknown),
        (8, 9, 0x1_0000, unknown),
    ];
    for (split, span, sid, want) in rows {
        let mut b = Bench::new();
        b.see(Fact::Configured { smmu: 0, registers: registers(split, 16) });
        let (l1, index) = (u64::from(sid) >> split, u64::from(sid) & ((1 << split) - 1));
        b.write(0x70_0000 + l1 * 8, 0x71_0000 | span);
        b.write(0x71_0000 + index * 64, Ste::default().with_v(true).with_config(config::BYPASS).0[0]);
        let dma = b.dma(0, sid, 0x1000);
        assert_eq!(b.expect(dma), want, "split {split} span {span} sid {sid:#x}");
    }
}

#[test]
fn granules() {
    // Granule in the CD, size, levels with their index bits, page bits.
    for (tg0, t0sz, page_bits, levels) in
        [(0u64, 25u64, 12u32, 3u32), (2, 28, 14, 2), (1, 22, 16, 2), (1, 16, 16, 3)]
    {
        let mut b = Bench::new();
        let cd = Cd::default()
            .with_v(true)
            .with_aa64(true)
            .with_t0sz(t0sz)
            .with_tg0(tg0)
            .with_ips(5)
            .with_epd1(true);
        let root = 0x1000_0000;
        b.structure(HOST_CD, &cd.with_a(true).with_r(true).with_ttb0(root).0);
        let iova = 0x5_4321_8765 & ((1 << (64 - t0sz)) - 1);
        let per_level = page_bits - 3;
        let mut table = root;
        for level in 4 - levels..4 {
            let shift = page_bits + per_level * (3 - level);
            let index = iova >> shift & ((1 << per_level) - 1);
            let next = table + 0x10_0000;
            b.write(table + index * 8, if level == 3 { leaf1(0x8_8765_0000).0[0] } else { next | 3 });
            table = next;
        }
        let dma = b.dma(0, HOST, iova);
        let pa = 0x8_8765_0000 | (iova & ((1 << page_bits) - 1));
        assert_eq!(
            b.expect(dma),
            Outcome::Translated { pa, bits: page_bits },
            "{page_bits} bits, {levels} levels"
        );
    }
}

#[test]
fn the_story_names_who_did_what() {
    let mut b = Bench::new();
    let (ipa, pa) = (GUEST_IPA + 0x40_1000, GUEST_PA + 0x40_1000);
    b.step(Do::GuestMap(IOVA, ipa));
    b.see(Fact::Said { by: 2, what: Saying::Mapped { space: "vm0", iova: IOVA, pa: ipa, len: 0x1000 } });
    b.play(&[Do::Use(1, NESTED, IOVA, pa), Do::GuestUnmap(IOVA)]);
    b.see(Fact::Said { by: 2, what: Saying::Unmapped { space: "vm0", iova: IOVA, len: 0x1000 } });
    b.command(CMDQ0, Command::tlbi_nh_va(7, VMID[0], IOVA, true), None);
    b.command(CMDQ0, Command::sync(), None);
    b.see(Fact::Said { by: 1, what: Saying::Routed { vsmmu: 0, to: 0 } });
    b.see(Fact::Said { by: 1, what: Saying::Skipped { vsmmu: 0, smmu: 1, why: "no viommu for it" } });
    b.play(&[Do::Inv(GUEST, PAGE), Do::Sync(GUEST), Do::Use(1, NESTED, IOVA, pa)]);
    let found = b.finish();
    let text = found.iter().map(|f| format!("{f}\n")).collect::<String>();
    expect_test::expect![[r#"
        stale-use at 1.090 us: nic1 was sent to 0x840401000 by a translation of iova 0x1000 that smmu1 should have dropped
                0.940 us  guest maps vm0 iova 0x1000 to pa 0x40401000, 0x1000 bytes
                0.970 us  cpu0 changes the stage-1 level-3 descriptor of 0x1000 at pa 0x840004008; it held 0x40401f43
                0.980 us  guest unmaps vm0 iova 0x1000, 0x1000 bytes
                1.000 us  smmu0's command queue consumes TLBI_NH_VA asid=0x7 vmid=5 va=0x1000 leaf
                1.020 us  smmu0's command queue sees the CMD_SYNC after it consumed
                1.030 us  vmm sends an invalidation of vm0 to smmu0
                1.040 us  vmm leaves out smmu1 for an invalidation of vm0: no viommu for it
                1.060 us  vm0's queue 0 consumes TLBI_NH_VA asid=0x7 vmid=0 va=0x1000 leaf
                1.080 us  vm0's queue 0 sees the CMD_SYNC after it consumed
                1.090 us  nic1 of vm0 (smmu1 StreamID 0x30) writes 64 bytes at iova 0x1000 and goes to pa 0x840401000
          the tables now say: F_TRANSLATION
          smmu1 itself consumed no invalidation that covers it: it kept the entry
    "#]].assert_eq(&text);
}

#[test]
fn while_disabled() {
    let mut b = Bench::new();
    b.see(Fact::Configured { smmu: 0, registers: Registers::default() });
    b.step(Do::Wait(10));
    b.play(&[Do::Use(0, HOST, IOVA, IOVA)]);
    let abort = Registers { gbpa: spec::smmu::page0::GBPA(0).with_abort(true), ..Registers::default() };
    b.see(Fact::Configured { smmu: 0, registers: abort });
    b.play(&[Do::Abort(HOST, IOVA, None), Do::Use(0, HOST, 0x9000, 0x9000)]);
    let found = b.finish();
    assert_eq!(found.iter().map(|f| f.kind).collect::<Vec<_>>(), [Kind::StaleUse], "{found:#?}");
}

#[test]
fn counts() {
    let mut b = Bench::new();
    b.play(&[Do::Map(IOVA, A), Do::Use(0, HOST, IOVA, A), Do::Unmap(IOVA), Do::Use(0, HOST, IOVA, A)]);
    b.play(&[Do::Inv(CMDQ0, PAGE), Do::Sync(CMDQ0), Do::Use(0, HOST, IOVA, A), Do::Use(0, HOST, IOVA, A)]);
    let c = b.oracle.counters();
    assert_eq!((c.translated, c.races, c.repeated, c.undecided, c.commands), (4, 1, 1, 0, 8));
}

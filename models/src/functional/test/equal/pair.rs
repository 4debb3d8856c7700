//! Both machines side by side: the same steps, and what is different afterwards.

use spec::cmdqv::Place;
use spec::smmu::Cd;
use spec::smmu::descriptor::{Leaf1, Leaf2};

use super::super::*;
use super::optional;
use super::step::{Access, Poke, Step};
use crate::bus::Op;
use crate::psmmu::Which;
use crate::psmmu::test::Bench as Timed;
use crate::smmu::features::Updates;
use crate::smmu::granule::Granule;
use crate::smmu::tables::{Builder, PAGE1, PAGE2};

/// Rings of the VCMDQs, 16 entries each.
pub(super) const RINGS: u64 = 0x8100_0000;
const RING_LOG2: u64 = 4;
/// Where the VCMDQs may write CONS.
pub(super) const INDICES: u64 = 0x801_0000;
/// Where the tables begin.
pub(super) const BUILT: u64 = 0x8080_0000;

/// A transaction that is stalled in both machines.
pub(super) struct Waiting {
    pub(super) tag: u32,
    pub(super) ticket: u64,
    pub(super) access: Access,
    pub(super) stream: Stream,
    pub(super) addr: u64,
    pub(super) recorded: bool,
}

pub(super) struct Pair {
    pub(super) plain: Bench,
    pub(super) timed: Timed,
    /// Non-zero words of the tables as they were built.
    pub(super) words: Vec<(u64, u64)>,
    streams: u64,
    prods: [u32; 8],
    main_prod: u32,
    pub(super) waiting: Vec<Waiting>,
    /// Results that differed.
    pub(super) results: Vec<String>,
    /// Records told so far, by machine.
    pub(super) told: [usize; 2],
    /// In this step the one with time divides transactions further.
    pub(super) long: bool,
    /// Transactions were divided in this run: counters of lookups say nothing.
    pub(super) divided: bool,
    /// Transactions that were tried again: with time that is no new arrival.
    pub(super) retried: u64,
    /// Several transactions were tried again in this step: their order is open.
    pub(super) many: bool,
    /// In this step a stall of the command queues has ended: all that have commands begin at once.
    pub(super) released: bool,
    /// What comes first is open with time, and matters: a transaction was tried again while commands were executed, or several
    /// queues had commands and a fault counts them or has held them up. From here on nothing can be compared.
    pub(super) raced: bool,
    /// Stalled transactions that were resumed.
    pub(super) resumed: u64,
    /// Operations of software that found an address, and that did not.
    pub(super) operations: [u64; 2],
    /// Transactions that the SMMU does not support.
    pub(super) unsupported: u64,
}

/// Streams 1 to 3: stage 1, stage 2, both; 4 bypasses, 5 aborts, 6 has no valid STE; 7 has substreams; 8 and 9 are 1 and 2
/// with faults that stall; 10 is nested with split-stage ATS. With `updates` the hardware updates descriptors, and some need it.
fn build(updates: bool) -> (Builder, u64) {
    let mut b = Builder::new(BUILT);
    // Pages 1, 2 and 5 have not been accessed, not been written, or neither.
    let fresh = |page: u64| (updates && matches!(page, 1 | 5), updates && matches!(page, 2 | 5));
    let leaf1 = |page, leaf: Leaf1| match fresh(page) {
        (unused, true) => leaf.with_af(!unused).with_ap(3).with_dbm(true),
        (unused, false) => leaf.with_af(!unused),
    };
    let leaf2 = |page, leaf: Leaf2| match fresh(page) {
        (unused, true) => leaf.with_af(!unused).with_s2ap(1).with_dbm(true),
        (unused, false) => leaf.with_af(!unused),
    };
    let update_cd = |cd: Cd| cd.with_ha(updates).with_hd(updates);
    let update_ste = |ste: Ste| ste.with_s2ha(updates).with_s2hd(updates);
    let s1 = b.stage1(Granule::K4, 48, 0);
    let s2 = b.stage2(Granule::K4, 40, 1);
    let n1 = b.stage1(Granule::K4, 39, 0);
    let n2 = b.stage2(Granule::K4, 40, 1);
    for page in 0..6 {
        // Page 4 is privileged and read-only.
        let ap = if page == 4 { 2 } else { 1 };
        let leaf = PAGE1.with_ap(ap).with_ng(page != 3);
        b.map1(&s1, page << 12, PAGES + (page << 12), 3, leaf1(page, leaf));
        b.map2(&s2, page << 12, PAGES + 0x8000 + (page << 12), 3, leaf2(page, PAGE2));
        b.map1(&n1, page << 12, 0x1000_0000 + (page << 12), 3, leaf1(page, PAGE1));
        b.map2(&n2, 0x1000_0000 + (page << 12), PAGES + 0x4000 + (page << 12), 3, leaf2(page + 1, PAGE2));
    }
    for space in [&s1, &n1] {
        b.map1(space, 0x20_0000, if space == &s1 { PAGES } else { 0x1020_0000 }, 2, PAGE1);
    }
    b.map1(&s1, 0x4000_0000, 0x8000_0000, 1, PAGE1);
    b.map2(&s2, 0x20_0000, PAGES, 2, PAGE2);
    b.map2(&n2, 0x1020_0000, PAGES, 2, PAGE2);
    for block in 0..4 {
        b.map2(&n2, BUILT + (block << 21), BUILT + (block << 21), 2, leaf2(5, PAGE2));
    }
    b.linear_streams(4);
    let streams = b.ste_addr(0);
    let cd = update_cd(s1.cd(1));
    let context = b.context(&cd, 0);
    let stalling = b.context(&cd.with_asid(2).with_s(true), 0);
    let nested = b.context(&update_cd(n1.cd(3)), 0);
    let many = b.contexts(2);
    for (i, cd) in [cd, n1.cd(2), Cd([0; 8]), cd.with_asid(0)].into_iter().enumerate() {
        b.set_words(many + 64 * i as u64, &cd.0);
    }
    let bypass = Ste([0; 8]).with_v(true).with_config(ste::config::BYPASS);
    for (sid, ste) in [
        (1, s1.ste(context).with_eats(1)),
        (2, update_ste(s2.ste(0)).with_s2vmid(5).with_eats(1)),
        (3, update_ste(n2.nested(nested)).with_s2vmid(6).with_eats(1)),
        (4, bypass),
        (5, bypass.with_config(ste::config::ABORT)),
        (7, s1.ste(many).with_s1cdmax(2).with_s1dss(2)),
        (8, s1.ste(stalling)),
        (9, update_ste(s2.ste(0)).with_s2vmid(7).with_s2s(true)),
        (10, update_ste(n2.nested(nested)).with_s2vmid(6).with_eats(2)),
    ] {
        b.set_ste(sid, ste);
    }
    (b, streams)
}

impl Pair {
    pub(super) fn new(config: &PsmmuConfig) -> Self {
        let mut plain = Bench::with(|c| *c = config.clone());
        let mut timed = Timed::with(|c| *c = config.clone());
        timed.atc_delay = Some(Time::us(1));
        let updates = plain.smmu.control().features.updates != Updates::None;
        let (mut builder, streams) = build(updates);
        let end = builder.allocate(12);
        let words = (BUILT..end).step_by(8).map(|at| (at, builder.word(at))).filter(|(_, w)| *w != 0);
        let words: Vec<_> = words.collect();
        for memory in [&mut plain.world.memory, &mut timed.memory] {
            tables(memory);
            words.iter().for_each(|&(at, word)| memory.write_u64(at, word));
            for at in (PAGES..PAGES + 0x20_0000).step_by(0x238) {
                memory.write_u64(at, at ^ 0x5555_aaaa);
            }
        }
        let mut pair = Self {
            plain,
            timed,
            words,
            streams,
            prods: [0; 8],
            main_prod: 0,
            waiting: Vec::new(),
            results: Vec::new(),
            told: [0; 2],
            long: false,
            divided: false,
            many: false,
            retried: 0,
            released: false,
            raced: false,
            resumed: 0,
            operations: [0; 2],
            unsupported: 0,
        };
        pair.boot(false);
        pair.count_no_cycles();
        pair
    }

    pub(super) fn step(&mut self, step: &Step) {
        (self.long, self.many, self.released) = (false, false, false);
        if self.raced {
            return;
        }
        match step {
            Step::Register { offset, wide, value } => self.write(BASE + offset, *wide, *value),
            Step::CmdqvRegister { offset, wide, value } => self.write(CMDQV + offset, *wide, *value),
            Step::PmcgRegister { .. } | Step::Count { .. } if !self.monitored() => {}
            Step::PmcgRegister { offset, wide, value } => self.write(PMCG + offset, *wide, *value),
            Step::Count { tcu, counter, event, filter, value } => {
                self.count(*tcu, *counter, *event, *filter, *value);
            }
            Step::Boot { msi } => self.boot(*msi),
            Step::Open { vintf, logical, host } => self.open(*vintf, *logical, *host),
            Step::Push { queue: None, commands } => self.push_main(commands),
            Step::Push { queue: Some(q), commands } => self.push(*q, commands),
            Step::Enhanced { .. } | Step::EnhancedRegister { .. } | Step::Operation(_)
                if !self.is_optional() => {}
            Step::Enhanced { queue, open, commands } => {
                if *open {
                    self.open_enhanced(*queue);
                }
                self.push_enhanced(*queue, commands);
            }
            Step::EnhancedRegister { queue, offset, wide, value } => {
                self.write(optional::registers(*queue) + offset, *wide, *value);
            }
            Step::Operation(operation) => self.operate(operation),
            Step::Dma { .. } | Step::Resume { .. } if self.unrecorded() => {}
            Step::Dma { sid, ssid, incoming, addr, access } => {
                let stream = Stream { ssid: *ssid, ..Stream::new(*sid).with_incoming(*incoming) };
                self.dma(stream, *addr, *access);
            }
            Step::PageRequest(request) => {
                self.timed.page_request(*request);
                self.timed.run();
                self.plain.smmu.page_request(*request, &mut self.plain.world);
            }
            Step::Acknowledge { queues } => self.acknowledge(*queues),
            Step::Poke { nth, how } => {
                let (at, word) = self.words[nth % self.words.len()];
                let value = match how {
                    Poke::Clear => 0,
                    Poke::Restore => word,
                    Poke::Flip(bit) => self.plain.world.memory.read_u64(at) ^ 1 << bit,
                };
                self.store(at, &value.to_le_bytes());
            }
            Step::Break { line } => {
                let lines = match line {
                    None => BTreeSet::new(),
                    Some(n) => BTreeSet::from([self.breakable()[n % self.breakable().len()]]),
                };
                self.plain.world.aborts = lines.clone();
                self.timed.aborts = lines;
            }
            Step::Answers(answers) => {
                self.plain.world.atc_answers = *answers;
                self.timed.atc_delay = answers.then_some(Time::us(1));
            }
            Step::Resume { sid, stag, action, all } => {
                let command = Command::resume(*sid, *stag, action.0, action.1);
                self.push_main(&[if *all { Command::stall_term(*sid) } else { command }]);
            }
            Step::Faults(faults) => {
                self.released = self.plain.smmu.config().faults.stalled && !faults.stalled;
                self.plain.smmu.set_faults(faults);
                self.timed.psmmu.set_faults(faults);
            }
        }
    }

    /// Lines of queues, tables and doorbells, but not those where CONS goes: a queue stops at once or somewhat later.
    fn breakable(&self) -> Vec<u64> {
        let mut lines: Vec<_> = self.words.iter().map(|(at, _)| at & !63).collect();
        lines.dedup();
        for base in [COMMANDS, EVENTS, RINGS, RINGS + 0x1_0000, RINGS + 0x3_0000, optional::ring(0)] {
            lines.extend((0..8).map(|n| base + 64 * n));
        }
        lines.extend([DOORBELL, DOORBELL + 0x100]);
        // The queue is short: its line is broken as often as those of the others together.
        lines.extend([PAGE_REQUESTS; 8]);
        lines
    }

    pub(super) fn store(&mut self, at: u64, bytes: &[u8]) {
        self.plain.world.memory.write(at, bytes);
        self.timed.memory.write(at, bytes);
    }

    pub(super) fn write(&mut self, addr: u64, wide: bool, value: u64) {
        let data = if wide { Data::u64(value) } else { Data::u32(value as u32) };
        self.timed.access(addr, Op::Write(data));
        self.timed.run();
        let before = self.executed();
        // An access outside the block aborts in both; its records are compared.
        let _ = self.plain.smmu.write(addr, if wide { 8 } else { 4 }, value, &mut self.plain.world);
        self.go_on(&before);
    }
    /// Commands executed so far, by queue, and commands that stopped one.
    pub(super) fn executed(&self) -> Vec<u64> {
        let counters = self.plain.smmu.counters();
        counters.by_queue.iter().copied().chain([counters.command_errors]).collect()
    }
    /// Enhanced command queues.
    pub(super) fn enhanced(&self) -> usize {
        self.plain.smmu.registers().ecmdqs()
    }
    /// Whether some fault counts what commands do.
    pub(super) fn is_counting(&self) -> bool {
        let f = self.plain.smmu.config().faults;
        let commands = [f.drop_tlbi, f.drop_cfgi, f.corrupt_command].map(|w| w.which);
        let others = [f.lose_interrupt, f.lose_atc_invalidation];
        commands.iter().chain(&others).any(|w| *w != Which::Never)
    }
    pub(super) fn read(&mut self, addr: u64) -> [u32; 2] {
        let before = self.executed();
        let plain = self.plain.smmu.read(addr, 4, &mut self.plain.world);
        let timed = self.timed.read_at(addr);
        // A read of the CMDQV lets queues go on if they can.
        self.timed.run();
        self.go_on(&before);
        [plain.unwrap_or(0) as u32, timed]
    }
    fn write32(&mut self, offset: u64, value: u32) {
        self.write(BASE + offset, false, value.into());
    }

    fn boot(&mut self, msi: bool) {
        self.write32(CR0, 0);
        self.write32(0x50, 0);
        self.write32(0x2c, 2);
        self.write(BASE + 0x80, true, self.streams);
        self.write32(0x88, 4);
        self.write(BASE + 0x90, true, COMMANDS | 4);
        self.write32(CMDQ_PROD, 0);
        self.write32(CMDQ_CONS, 0);
        self.main_prod = 0;
        self.write(BASE + 0xa0, true, EVENTS | 2);
        self.write32(EVENTQ_PROD, 0);
        self.write32(EVENTQ_CONS, 0);
        self.write(BASE + PRIQ_BASE, true, PAGE_REQUESTS | 1);
        self.write32(PRIQ_PROD, 0);
        self.write32(PRIQ_CONS, 0);
        for (offset, at) in [(0x68, 0x100), (0xb0, 0x108), (PRIQ_IRQ_CFG0, 0x110)] {
            self.write(BASE + offset, true, if msi { DOORBELL + at } else { 0 });
        }
        self.acknowledge(false);
        self.write32(CR0, CMDQEN);
        self.push_main(&[Command::cfgi_all(), Command::tlbi_nsnh_all(), Command::sync()]);
        self.write32(CR0, CMDQEN | EVENTQEN);
        self.write32(0x50, 7);
        self.write32(CR0, CMDQEN | EVENTQEN | PRIQEN | SMMUEN | 1 << 4);
    }

    fn open(&mut self, vintf: u8, logical: u8, host: bool) {
        let q = vintf * 2 + logical;
        let at =
            |name: &str| CMDQV + name.parse::<Place>().expect("a register's name").offset().expect("a place");
        self.write(at("CONFIG"), false, 0x12_0083);
        self.write(
            at(&format!("CMDQ_ALLOC{q}")),
            false,
            u64::from(vintf) << 15 | u64::from(logical) << 1 | 1,
        );
        self.write(at(&format!("VINTF{vintf}.SID_MATCH0")), false, 3 << 1 | 1);
        self.write(at(&format!("VINTF{vintf}.SID_REPLACE0")), false, 2);
        let owner = if host { 1 << 17 } else { 0 };
        self.write(at(&format!("VINTF{vintf}.CONFIG")), false, owner | (5 + u64::from(vintf)) << 1 | 1);
        let queue = |name: &str| at(&format!("VCMDQ{q}.{name}"));
        self.write(queue("CONFIG"), false, 0);
        self.write(queue("BASE"), true, ring(q) | RING_LOG2);
        self.write(queue("CONS_INDX_BASE"), true, INDICES + 64 * u64::from(q));
        self.write(queue("PROD"), false, 0);
        self.write(queue("CONS"), false, 0);
        self.prods[usize::from(q)] = 0;
        self.write(queue("CONFIG"), false, 1);
    }

    fn push_main(&mut self, commands: &[Command]) {
        for command in commands {
            self.store(COMMANDS + 16 * u64::from(self.main_prod & 15), &command.to_bytes());
            self.main_prod = (self.main_prod + 1) & 31;
        }
        self.write32(CMDQ_PROD, self.main_prod);
    }
    fn push(&mut self, q: u8, commands: &[Command]) {
        for command in commands {
            let prod = &mut self.prods[usize::from(q)];
            let slot = ring(q) + 16 * u64::from(*prod & 15);
            *prod = (*prod + 1) & 31;
            self.store(slot, &command.to_bytes());
        }
        self.write(CMDQV + 0x1_0008 - 4 + 0x80 * u64::from(q), false, self.prods[usize::from(q)].into());
    }

    /// Events and page requests are drained. Queues that stopped go on with a CMD_SYNC in place of what stopped them, as drivers do it.
    fn acknowledge(&mut self, queues: bool) {
        let [cons, _] = self.read(BASE + CMDQ_CONS);
        let [gerror, gerrorn] = [GERROR, GERRORN].map(|r| self.read(BASE + r)[0]);
        if (gerror ^ gerrorn) & 1 != 0 && queues {
            self.store(COMMANDS + 16 * u64::from(cons & 15), &Command::sync().to_bytes());
        }
        self.write32(GERRORN, gerror);
        let [prod, _] = self.read(BASE + EVENTQ_PROD);
        self.write32(EVENTQ_CONS, prod);
        if queues {
            self.acknowledge_enhanced();
        }
        let [prod, _] = self.read(BASE + PRIQ_PROD);
        self.write32(PRIQ_CONS, prod);
        if queues && self.plain.smmu.cmdqv().is_some() {
            for q in 0..8 {
                let at = CMDQV + 0x1_0000 + 0x80 * u64::from(q);
                let [cons, gerror, gerrorn] = [0, 0x10, 0x14].map(|r| self.read(at + r)[0]);
                if gerror != gerrorn {
                    self.store(ring(q) + 16 * u64::from(cons & 15), &Command::sync().to_bytes());
                    self.write(at + 0x14, false, gerror.into());
                }
            }
        }
    }
}

fn ring(q: u8) -> u64 {
    RINGS + (u64::from(q) << 16)
}

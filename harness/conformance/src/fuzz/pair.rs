//! Both machines, the steps that are done to them, and what must be the same afterwards.
//!
//! The order of some things is open, and then nothing is compared any more: memory that the SMMU reads is also written by it in
//! the same step, two writes of it overlap, several queues have commands, or transactions are tried again while something else
//! happens. The machines must still come to rest.

use models::bus::{Data, Op as Access};
use models::cmdqv::knobs::{AllocationOrder, Backlog, GerrornDifference, SmmuDisabled, SyncSignal};
use models::cmdqv::{CmdqvConfig, Knobs};
use models::dma::{AddressType, AtcInvalidate, DmaRequest, Incoming};
use models::psmmu::{PsmmuConfig, PsmmuFaults};
use models::record::{CommandQueue, Record};
use models::smmu::interrupts::Lines;
use models::smmu::{CacheShape, IdrProfile};
use sim::Time;
use spec::layout::Layout;
use spec::regs::Block;
use spec::smmu::page0::{IDR0, IDR1};
use spec::smmu::{Cd, Command, Opcode, Page0, PageRequest, Ste};

use super::super::machine::{self, Machine, World};
use super::super::rig::{REGISTERS, at};
use super::super::suite::Mode;
use super::ground::{self, BASE, MASK};
use super::script::{Op, Script};

const CMDQV: u64 = 0x0600_0000;
const VINTFS: u64 = 4;
const VCMDQS: u64 = 8;
/// What may happen in one step. Ten times what the longest step needs.
const FUEL: u64 = 200_000;
/// Registers of page 1.
const PAGE1: [u64; 4] = [at::EVENTQ_PROD, at::EVENTQ_CONS, at::PRIQ_PROD, at::PRIQ_CONS];
/// Page-0 aliases, registers that may or may not exist, and the borders of both pages.
const ODD: [u64; 10] = [0xa8, 0xac, 0xc8, 0xcc, 0x2000, 0x4000, 0xfffc, 0x1_0000, 0x1_fffc, 0x2_0000];

/// How far the machines can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Everything is the same.
    Known,
    /// Something may have come before something else.
    Open,
}

/// Something that was done, for whoever looks for the cause of a failure.
#[derive(Clone, Copy, Debug)]
#[allow(dead_code, reason = "it is printed")]
enum Did {
    Step(Op),
    Write { addr: u64, size: u8, value: u64 },
    Read { addr: u64, size: u8 },
    Poke { place: u64, word: u64 },
    Dma(DmaRequest),
    Page(PageRequest),
    Compared(Order),
}

pub(super) struct Pair {
    did: Vec<Did>,
    machines: [Box<dyn Machine>; 2],
    worlds: [World; 2],
    has_cmdqv: bool,
    order: Order,
    /// Steps that are still not waited for.
    hurried: u8,
    /// Requests that are not answered.
    stalled: Vec<u32>,
    tag: u32,
    prod: u32,
    prods: [u32; VCMDQS as usize],
}

fn profile(choice: u8) -> IdrProfile {
    let idr = match choice & 3 {
        0 => IdrProfile::STALLING,
        1 => IdrProfile::UPDATING,
        2 => IdrProfile {
            idr0: IDR0(IdrProfile::STALLING.idr0.into()).with_httu(2).0 as u32,
            ..IdrProfile::STALLING
        },
        _ => IdrProfile::STANDARD,
    };
    // Short queues: a step has an end.
    let idr1 = IDR1(idr.idr1.into()).with_cmdqs(5).with_eventqs(4).with_priqs(4).0 as u32;
    IdrProfile { idr1, ..idr }
}

fn cmdqv(choice: u8) -> CmdqvConfig {
    let pick = |n: u8| choice >> n & 1 != 0;
    let knobs = Knobs {
        allocation_order: if pick(4) { AllocationOrder::Hang } else { AllocationOrder::Accept },
        backlog: [Backlog::Stop, Backlog::Drain, Backlog::Drop, Backlog::Stop][usize::from(choice >> 4 & 3)],
        gerrorn_difference: if pick(5) {
            GerrornDifference::StallWithEdge
        } else {
            GerrornDifference::Ignore
        },
        sync_signal: if pick(6) { SyncSignal::Signal } else { SyncSignal::AsNone },
        smmu_disabled: if pick(7) { SmmuDisabled::Pause } else { SmmuDisabled::Run },
        ..Knobs::default()
    };
    CmdqvConfig { vintfs_log2: 2, vcmdqs_log2: 3, sids_log2: 1, cmdqs: 5, knobs, ..CmdqvConfig::default() }
}

impl Pair {
    /// Out of reset. Bits of `choice`: what exists (1:0), whether addresses beyond memory alias it (2) or abort, no caches (3),
    /// options of the CMDQV (7:4).
    /// `faults` are those of the machine with time.
    pub(super) fn new(choice: u8, with_cmdqv: bool, faults: &PsmmuFaults) -> Self {
        let mut config = PsmmuConfig::new(0, REGISTERS);
        config.idr = profile(choice);
        config.lines = Lines { eventq: Some(74), priq: Some(75), cmdq_sync: Some(76), gerror: Some(77) };
        config.timing.atc_timeout = Time::us(50);
        if choice & 8 != 0 {
            config.caches = CacheShape::NONE;
        }
        if with_cmdqv {
            config.cmdqv = Some((CMDQV, cmdqv(choice)));
            config.cmdqv_line = Some(90);
        }
        let words = ground::words(matches!(choice & 3, 1 | 2));
        let world = || {
            let mut world = World { limit: Some(BASE..BASE + MASK + 1), ..World::default() };
            if choice & 4 != 0 {
                world.fold = Some((BASE, MASK));
            }
            words.iter().for_each(|&(at, word)| world.memory.write_u64(at, word));
            world
        };
        Self {
            did: Vec::new(),
            machines: [
                machine::new(Mode::Functional, config.clone()),
                machine::new(Mode::Cycles, PsmmuConfig { faults: *faults, ..config }),
            ],
            worlds: [world(), world()],
            has_cmdqv: with_cmdqv,
            order: Order::Known,
            hurried: 0,
            stalled: Vec::new(),
            tag: 0,
            prod: 0,
            prods: [0; VCMDQS as usize],
        }
    }

    /// Does a step and waits for its end.
    pub(super) fn step(&mut self, op: Op, s: &mut Script<'_>) {
        self.did.push(Did::Step(op));
        match op {
            Op::Register => {
                let (offset, size) = self.register(s);
                self.write(REGISTERS + offset, size, s.value());
            }
            Op::Read => {
                let (offset, size) = self.register(s);
                self.read(REGISTERS + offset, size);
            }
            Op::Virtual => {
                let (offset, size) = (virtual_register(s), s.size(4));
                let value = match s.byte() {
                    0..0x60 => s.value(),
                    n @ 0x60..0x80 => u64::from(n & 3) << 15 | u64::from(n >> 2 & 3) << 1 | 1,
                    n => s.one_of(&[0x12_0083_u64, 0x2_0082, 3, 1, 0, 0x2_0003]) | u64::from(n & 0x10) << 13,
                };
                self.write(CMDQV + offset, size, value);
            }
            Op::VirtualRead => {
                let (offset, size) = (virtual_register(s), s.size(4));
                self.read(CMDQV + offset, size);
            }
            Op::Boot => self.boot(s.byte()),
            Op::Open => self.open(s),
            Op::Enable => {
                self.write(
                    REGISTERS + at::CR0,
                    4,
                    s.one_of(&[0xd_u64, 0xd, 0x1d, 0xf, 0xc, 5, 9, 1, 0, 0x1c1]),
                );
                self.write(REGISTERS + at::IRQ_CTRL, 4, s.one_of(&[7_u64, 5, 0, 1, 4]));
            }
            Op::Dma => return self.dma(s),
            Op::Page => {
                let (sid, how, group) = (s.one_of(&ground::SIDS), s.byte(), s.byte());
                let request = PageRequest([u64::from(how) << 58 | u64::from(sid), u64::from(group) | 0x2000]);
                self.did.push(Did::Page(request));
                self.both(|machine, world| machine.ask_for_page(request, world));
            }
            Op::Commands => {
                for _ in 0..=s.byte() & 3 {
                    let command = command(s);
                    self.push(command);
                }
                self.ring();
            }
            Op::Raw => {
                let op = s.one_of(&Opcode::ALL.iter().map(|op| op.0).collect::<Vec<_>>());
                let op = if s.once_in(16) { s.byte() } else { op };
                let words = [s.value(), s.value()];
                self.push(Command([words[0] << 8 | u64::from(op), words[1]]));
                self.ring();
            }
            Op::Guest => self.guest(s),
            Op::Produce => {
                self.prod = s.value() as u32;
                self.ring();
            }
            Op::Place => {
                let (place, value) = (s.place(), s.value());
                self.poke(place, value);
            }
            Op::Flip => {
                let (n, bit) = (s.byte(), s.byte());
                let places = self.structures();
                let place = places[(usize::from(n) * 7 + usize::from(bit >> 6)) % places.len()];
                let word = self.worlds[0].memory.read_u64(place) ^ 1 << (bit & 63);
                self.poke(place, word);
            }
            Op::Field => self.field(s),
            Op::Forget => {
                self.push(Command::cfgi_all());
                self.push(Command::tlbi_nsnh_all());
                self.push(Command::sync());
                self.ring();
            }
            Op::Acknowledge => self.acknowledge(),
            Op::Resume => {
                let (sid, how) = (s.one_of(&ground::SIDS), s.byte());
                let stag = u16::from(s.byte() & 15);
                let resume = Command::resume(sid, stag, how & 1 != 0, how & 2 != 0);
                self.push(if how & 0xc == 0 { Command::stall_term(sid) } else { resume });
                self.ring();
            }
            Op::Mute => self.worlds.iter_mut().for_each(|world| world.mute = !world.mute),
            Op::Break => {
                let place = (!s.once_in(4)).then(|| s.place());
                self.worlds.iter_mut().for_each(|world| match place {
                    Some(place) => _ = world.aborts.insert(place),
                    None => world.aborts.clear(),
                });
            }
            Op::Hurry => {
                self.order = Order::Open;
                self.hurried = 1 + (s.byte() & 7);
                return;
            }
        }
        self.settle(false);
    }

    /// The end of a script.
    pub(super) fn end(&mut self) {
        self.hurried = 0;
        self.settle(false);
        let mut places: Vec<u64> =
            (0..0x200).step_by(4).chain(PAGE1).map(|offset| REGISTERS + offset).collect();
        if self.has_cmdqv {
            places.extend(virtual_registers().map(|offset| CMDQV + offset));
        }
        for place in places {
            self.read(place, 4);
        }
        self.settle(false);
    }

    fn register(&self, s: &mut Script<'_>) -> (u64, u8) {
        let registers: Vec<_> =
            Page0::ALL.iter().map(|reg| (u64::from(reg.offset()), reg.desc().bytes as u8)).collect();
        let known = registers.len();
        match usize::from(s.byte()) {
            0xff => (s.offset(&[0], 3), s.size(4)),
            n if n % (known + 14) < known => {
                (registers[n % (known + 14)].0, s.size(registers[n % (known + 14)].1))
            }
            n if n % (known + 14) < known + 4 => (PAGE1[n % (known + 14) - known], s.size(4)),
            n => (ODD[n % (known + 14) - known - 4], s.size(4)),
        }
    }

    /// Does something to both machines.
    fn both(&mut self, mut what: impl FnMut(&mut dyn Machine, &mut World)) {
        for (machine, world) in self.machines.iter_mut().zip(&mut self.worlds) {
            world.fuel = Some(FUEL);
            what(&mut **machine, world);
            while self.hurried == 0 && machine.step(world) {}
        }
    }
    fn write(&mut self, addr: u64, size: u8, value: u64) {
        self.did.push(Did::Write { addr, size, value });
        let data = Data::new(&value.to_le_bytes()[..size.into()]);
        // An access to nothing aborts.
        self.both(|machine, world| _ = machine.access(addr, Access::Write(data), world));
    }
    fn read(&mut self, addr: u64, size: u8) -> u64 {
        self.did.push(Did::Read { addr, size });
        let mut seen = Vec::new();
        self.both(|machine, world| seen.push(machine.access(addr, Access::Read { len: size }, world)));
        if self.order == Order::Known {
            assert_eq!(seen[0], seen[1], "register {addr:#x}, without and with time");
        }
        seen[0].map_or(0, |data| data.value())
    }
    fn poke(&mut self, place: u64, word: u64) {
        self.did.push(Did::Poke { place, word });
        self.worlds.iter_mut().for_each(|world| world.memory.write_u64(place, word));
    }
    /// Words that were written at the start, and pointers.
    fn structures(&self) -> Vec<u64> {
        let tables = [ground::ONE, ground::TWO].into_iter().flat_map(|t| (t..t + 0x4000).step_by(0x1000));
        let entries = tables.flat_map(|table| (table..table + 0x50).step_by(8));
        (ground::STREAMS..ground::STREAMS + 0x340)
            .step_by(8)
            .chain((BASE + 0x400..BASE + 0x408).step_by(8))
            .chain((BASE + 0x800..BASE + 0x880).step_by(8))
            .chain((ground::CDS..BASE + 0xe08).step_by(8))
            .chain(entries)
            .collect()
    }

    /// Changes a field of an STE or CD, by its name.
    fn field(&mut self, s: &mut Script<'_>) {
        let of_stream = s.byte() & 1 == 0;
        let (n, field, value) = (s.byte(), usize::from(s.byte()), s.value());
        let (place, desc) = if of_stream {
            let sid = ground::SIDS[usize::from(n) % 12];
            (ground::STREAMS + 64 * u64::from(sid), Ste::FIELDS[field % Ste::FIELDS.len()])
        } else {
            let place = [BASE + 0x800, BASE + 0x840, ground::CDS, ground::CDS + 64][usize::from(n & 3)];
            (place, Cd::FIELDS[field % Cd::FIELDS.len()])
        };
        let place = place + 8 * desc.word() as u64;
        let word = self.worlds[0].memory.read_u64(place);
        let value = if desc.fits(value) { value } else { value & 1 };
        if desc.fits(value) {
            self.poke(place, desc.insert(word, value));
        }
    }

    fn boot(&mut self, choice: u8) {
        use ground::*;
        let two_levels = choice & 1 != 0;
        let message = |n: u64| if choice & 2 != 0 { DOORBELL + 8 * n } else { 0 };
        for (offset, size, value) in [
            (at::CR0, 4, 0),
            (at::IRQ_CTRL, 4, 0),
            (at::CR1, 4, 0xd75),
            (at::CR2, 4, 2),
            (at::STRTAB_BASE, 8, if two_levels { ARRAYS } else { STREAMS }),
            (at::STRTAB_BASE_CFG, 4, if two_levels { 1 << 16 | 6 << 6 | 6 } else { STREAMS_LOG2 }),
            (at::CMDQ_BASE, 8, COMMANDS | COMMANDS_LOG2),
            (at::CMDQ_PROD, 4, 0),
            (at::CMDQ_CONS, 4, 0),
            (at::EVENTQ_BASE, 8, EVENTS | EVENTS_LOG2),
            (at::EVENTQ_PROD, 4, 0),
            (at::EVENTQ_CONS, 4, 0),
            (at::PRIQ_BASE, 8, REQUESTS | REQUESTS_LOG2),
            (at::PRIQ_PROD, 4, 0),
            (at::PRIQ_CONS, 4, 0),
            (0x68, 8, message(0)),
            (0xb0, 8, message(1)),
        ] {
            self.write(REGISTERS + offset, size, value);
        }
        self.prod = 0;
        self.acknowledge();
        self.write(REGISTERS + at::CR0, 4, 0xc);
        self.write(REGISTERS + at::IRQ_CTRL, 4, 7);
        self.write(REGISTERS + at::CR0, 4, 0x1f);
    }

    fn open(&mut self, s: &mut Script<'_>) {
        let (choice, owner) = (s.byte(), s.byte());
        let (vintf, logical) = (u64::from(choice & 3), u64::from(choice >> 2 & 1));
        let q = if s.once_in(4) { u64::from(s.byte()) % VCMDQS } else { 2 * vintf + logical };
        let host = u64::from(owner & 1) << 17;
        let direct = 0x1_0000 + 0x80 * q;
        for (offset, size, value) in [
            (0, 4, 0x12_0083),
            (0x200 + 4 * q, 4, vintf << 15 | logical << 1 | 1),
            (0x1000 + 0x100 * vintf + 0x40, 4, 3 << 1 | 1),
            (0x1000 + 0x100 * vintf + 0x80, 4, 2),
            (0x1000 + 0x100 * vintf, 4, host | (5 + vintf) << 1 | 1),
            (direct + 8, 4, 0),
            (direct + 0x1_0000, 8, (ground::RINGS + 0x100 * q) | ground::RING_LOG2),
            (direct + 0x1_0008, 8, if owner & 2 != 0 { ground::INDICES + 8 * q } else { 0 }),
            (direct + 4, 4, 0),
            (direct, 4, 0),
            (direct + 8, 4, 1),
        ] {
            self.write(CMDQV + offset, size, value);
        }
        self.prods[q as usize] = 0;
    }

    fn push(&mut self, command: Command) {
        let slot = ground::COMMANDS + 16 * u64::from(self.prod & 15);
        self.prod = self.prod.wrapping_add(1) & 31;
        for (place, word) in (slot..).step_by(8).zip(command.words()) {
            self.poke(place, word);
        }
    }
    fn ring(&mut self) {
        self.write(REGISTERS + at::CMDQ_PROD, 4, self.prod.into());
    }
    fn guest(&mut self, s: &mut Script<'_>) {
        let choice = s.byte();
        let q = u64::from(choice) % VCMDQS;
        for _ in 0..=choice >> 6 {
            let command = command(s);
            let slot = ground::RINGS + 0x100 * q + 16 * u64::from(self.prods[q as usize] & 15);
            self.prods[q as usize] = (self.prods[q as usize] + 1) & 31;
            for (place, word) in (slot..).step_by(8).zip(command.words()) {
                self.poke(place, word);
            }
        }
        // By either aperture.
        let prod = match choice & 8 {
            0 => 0x1_0004 + 0x80 * q,
            _ => 0x3_0004 + 0x2_0000 * (q / 2) + 0x80 * (q % 2),
        };
        self.write(CMDQV + prod, 4, self.prods[q as usize].into());
    }

    fn acknowledge(&mut self) {
        let gerror = self.read(REGISTERS + at::GERROR, 4);
        let cons = self.read(REGISTERS + at::CMDQ_CONS, 4);
        self.prod = cons as u32 & 31;
        self.ring();
        self.write(REGISTERS + at::GERRORN, 4, gerror);
        let prod = self.read(REGISTERS + at::EVENTQ_PROD, 4);
        self.write(REGISTERS + at::EVENTQ_CONS, 4, prod);
        let prod = self.read(REGISTERS + at::PRIQ_PROD, 4);
        self.write(REGISTERS + at::PRIQ_CONS, 4, prod);
        for q in 0..if self.has_cmdqv { VCMDQS } else { 0 } {
            let direct = CMDQV + 0x1_0000 + 0x80 * q;
            let gerror = self.read(direct + 0x10, 4);
            if gerror != self.read(direct + 0x14, 4) {
                self.write(direct + 0x14, 4, gerror);
            }
        }
    }

    fn dma(&mut self, s: &mut Script<'_>) {
        let (sid, how) = (s.one_of(&ground::SIDS), s.byte());
        let ssid = (how & 7 == 0).then(|| u32::from(s.byte()));
        let addr = match s.byte() {
            n @ 0..0xa0 => u64::from(n & 15) << 12 | u64::from(n >> 4) << 3,
            n @ 0xa0..0xc0 => BASE + (u64::from(n & 15) << 12),
            n @ 0xc0..0xe0 => (u64::from(n & 7) << 30) + (u64::from(n >> 3 & 3) << 21),
            _ => s.value(),
        };
        let kind = match how >> 3 & 7 {
            0 => AddressType::Translated,
            1 => AddressType::TranslationRequest { write: how & 0x40 != 0 },
            _ => AddressType::Untranslated,
        };
        let len = (64 - addr % 64).min(8) as usize;
        let op = match how >> 6 {
            0 | 1 => Access::Read { len: len as u8 },
            _ => Access::Write(Data::new(&[0x51, how, 0, 0xff, 0x80, 0, 0, 0][..len])),
        };
        self.tag += 1;
        let unsupported = how & 0x3f == 0x3f;
        // Any will do that needs no more of the script.
        let (privileged, instruction) = (addr & 8 != 0, addr & 0x30 == 0x30);
        let incoming = Incoming { privileged, instruction, ..Incoming::DEFAULT };
        let tag = self.tag;
        let request = DmaRequest { endpoint: 0, tag, sid, ssid, addr, kind, op, unsupported, incoming };
        self.did.push(Did::Dma(request));
        self.stalled.push(self.tag);
        self.both(|machine, world| machine.send(request, world));
        self.settle(true);
    }

    /// The step is over. `dma`: it was one transaction, which does one thing after the other.
    fn settle(&mut self, dma: bool) {
        if self.hurried > 0 {
            self.hurried -= 1;
            return;
        }
        self.both(|_, _| ());
        let others = self.stalled.len() - usize::from(dma && !self.stalled.is_empty());
        if self
            .worlds
            .iter()
            .any(|world| !dma && world.rereads() || world.overwrites() || world.is_open(dma, others))
        {
            self.order = Order::Open;
        }
        self.did.push(Did::Compared(self.order));
        if self.order == Order::Known {
            self.compare();
        }
        let answered = &self.worlds[0].answers;
        self.stalled.retain(|tag| !answered.contains_key(tag));
        // One that stalls without a record is tried again whenever there may be room for it.
        let recorded =
            self.worlds[0].records.iter().any(|record| matches!(record, Record::EventWritten { .. }));
        if dma && self.stalled.last() == Some(&self.tag) && !recorded {
            self.order = Order::Open;
        }
        for world in &mut self.worlds {
            world.reads.clear();
            world.writes.clear();
            world.records.clear();
            world.executed.clear();
            world.lints.clear();
            world.answers.clear();
            world.edges.clear();
            world.invalidations.clear();
            world.page_responses.clear();
        }
    }

    fn compare(&self) {
        let [plain, timed] = &self.worlds;
        assert_eq!(plain.answers, timed.answers, "answers to devices, without and with time");
        let mut bytes = [[0; 4096]; 2];
        for page in (BASE..BASE + MASK).step_by(4096) {
            plain.memory.read(page, &mut bytes[0]);
            timed.memory.read(page, &mut bytes[1]);
            let differs = (0..4096).find(|&i| bytes[0][i] != bytes[1][i]);
            assert_eq!(differs, None, "memory at {page:#x}, without and with time");
        }
        let sorted = |world: &World| {
            let mut edges = world.edges.clone();
            edges.sort_unstable();
            let mut invalidations: Vec<_> =
                world.invalidations.iter().map(|i| format!("{:?}", AtcInvalidate { tag: 0, ..*i })).collect();
            invalidations.sort_unstable();
            let mut lints = world.lints.clone();
            lints.sort_unstable();
            let mut pages: Vec<_> = world.page_responses.iter().map(|page| format!("{page:?}")).collect();
            pages.sort_unstable();
            format!("{edges:?} {invalidations:?} {lints:?} {pages:?}")
        };
        assert_eq!(
            sorted(plain),
            sorted(timed),
            "interrupts, ATC invalidations, lints, page responses, without and with time"
        );
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.did.iter().for_each(|did| println!("{did:x?}"));
        }
    }
}

impl World {
    /// The machine read a line that it also wrote.
    fn rereads(&self) -> bool {
        let line = |addr: u64| addr & !63;
        self.writes.iter().any(|(written, bytes)| {
            let last = written + bytes.len() as u64 - 1;
            self.reads.iter().any(|read| line(*read) == line(*written) || line(*read) == line(last))
        })
    }
    /// Two writes of different places overlap, or one place was written several times with different values.
    fn overwrites(&self) -> bool {
        self.writes.iter().enumerate().any(|(n, (a, first))| {
            self.writes[..n].iter().any(|(b, second)| {
                let apart = a + first.len() as u64 <= *b || b + second.len() as u64 <= *a;
                !apart && (a != b || first != second)
            })
        })
    }
    /// Several queues had commands, or transactions were tried again while something else happened.
    fn is_open(&self, dma: bool, stalled: usize) -> bool {
        let stopped = self.records.iter().filter_map(|record| match record {
            Record::CommandError { queue, .. } => Some(*queue),
            _ => None,
        });
        let queues: Vec<CommandQueue> =
            self.executed.iter().map(|(queue, _)| *queue).chain(stopped).collect();
        let several = queues.iter().any(|queue| *queue != queues[0]);
        let again = self.records.iter().any(|r| {
            matches!(
                r,
                Record::DmaTranslated { .. } | Record::DmaAborted { .. } | Record::EventWritten { .. }
            )
        });
        several || !dma && stalled > 0 && again && (stalled > 1 || queues.len() > 1)
    }
}

/// Offsets within the region of a CMDQV.
fn virtual_register(s: &mut Script<'_>) -> u64 {
    let (kind, n, r) = (s.byte(), u64::from(s.byte()), u64::from(s.byte()));
    match kind % 16 {
        0 | 1 => 4 * (n % 13),
        2..5 => 0x200 + 4 * (n % (VCMDQS + 1)),
        5..7 => {
            0x1000 + 0x100 * (n % (VINTFS + 1)) + [0, 4, 0x40, 0x44, 0x80, 0x84, 0xc0, 0xc8][r as usize & 7]
        }
        7..10 => 0x1_0000 + 0x80 * (n % (VCMDQS + 1)) + 4 * (r & 7),
        10 => 0x2_0000 + 0x80 * (n % (VCMDQS + 1)) + 4 * (r % 5),
        11..14 => 0x3_0000 + 0x2_0000 * (n & 3) + 0x80 * (n >> 2 & 3) + 4 * (r & 7),
        14 => 0x4_0000 + 0x2_0000 * (n & 3) + 0x80 * (n >> 2 & 3) + 4 * (r % 5),
        _ => s.offset(&[0, 0xfffc, 0xb_0000, 0xb_fffc], 3),
    }
}

/// All that may be something else than zero.
fn virtual_registers() -> impl Iterator<Item = u64> {
    let config = (0..0x34).step_by(4).chain((0x200..0x220).step_by(4));
    let vintfs =
        (0..VINTFS).flat_map(|v| [0, 4, 0x40, 0x44, 0x80, 0x84, 0xc0].map(|r| 0x1000 + 0x100 * v + r));
    let queues = (0..VCMDQS).flat_map(|q| {
        (0..7)
            .map(move |r| 0x1_0000 + 0x80 * q + 4 * r)
            .chain((0..4).map(move |r| 0x2_0000 + 0x80 * q + 4 * r))
    });
    config.chain(vintfs).chain(queues)
}

/// A command that makes sense.
fn command(s: &mut Script<'_>) -> Command {
    let (kind, sid, n) = (s.byte(), s.one_of(&ground::SIDS), s.byte());
    let (vmid, addr, leaf) = (u64::from(n & 7), u64::from(n & 15) << 12, n & 0x10 != 0);
    match kind % 24 {
        0 => Command::cfgi_ste(sid, leaf),
        1 => Command::cfgi_ste_range(sid, vmid),
        2 => Command::cfgi_all(),
        3 => Command::cfgi_cd(sid, u32::from(n & 3), leaf),
        4 => Command::cfgi_cd_all(sid),
        5 => Command::tlbi_nh_all(vmid as u16),
        6 => Command::tlbi_nh_asid(u16::from(n & 3), vmid as u16),
        7 | 8 => Command::tlbi_nh_va(u16::from(n & 3), vmid as u16, addr, leaf),
        9 => Command::new(Opcode::TLBI_NH_VAA).with_vmid(vmid).with_va(addr).with_leaf(leaf),
        10 => Command::tlbi_s12_vmall(vmid as u16),
        11 => Command::tlbi_s2_ipa(vmid as u16, BASE + addr, leaf),
        12 => Command::tlbi_nsnh_all(),
        13 | 14 => Command::atc_inv(sid, leaf.then_some(vmid as u32), addr, u64::from(n >> 4)),
        15 => Command::atc_inv(sid, None, 0, 52),
        16 => Command::prefetch_addr(sid, None, addr, vmid, vmid),
        17 => Command::sync_msi(ground::DOORBELL + 8 * vmid, n.into()),
        18 => Command::sync_msi(if leaf { 0 } else { s.value() }, n.into()),
        19 => Command::sync().with_cs(u64::from(n & 3)),
        20 => Command::tlbi_nh_va(1, 5, addr, leaf)
            .with_tg(u64::from(n >> 6))
            .with_num(vmid)
            .with_scale(u64::from(n & 31))
            .with_ttl(u64::from(n & 3)),
        21 => Command::pri_resp(sid, None, vmid, u64::from(n & 3)),
        _ => Command::sync(),
    }
}

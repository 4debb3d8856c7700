//! Where a row is run: a machine, valid structures in its memory, and short ways to do and to check things.
//!
//! ```text
//!   0x0500_0000  registers          0x0800_0000  where interrupt messages go
//!   0x0520_0000  the CMDQV's, if there is one
//!   0x8000_0000  structures         0x9000_0000  data: page n of the default stream is page n from here
//! ```

mod cmdqv;
mod dma;
mod pages;
mod queues;
mod tables;

pub(crate) use cmdqv::{CMDQV, CMDQV_LINE, Lvcmdq};
pub(crate) use dma::{Dma, fault};
pub(crate) use pages::{page_request, page_response};
pub(crate) use tables::{ABOVE, IPA, K4, K16, K64, PAGE1, PAGE2, Space, stage1_ste};

use models::bus::{Data, Op};
use models::cmdqv::CmdqvConfig;
use models::psmmu::{PsmmuConfig, PsmmuTiming};
use models::smmu::IdrProfile;
use models::smmu::interrupts::Lines;
use sim::Time;
use spec::smmu::page0::{CR0, IDR0, IDR1, IDR5};
use spec::smmu::{Cd, Ste};

use crate::machine::{self, Machine, World};
use crate::suite::{Check, Given, Mode};

pub(crate) const REGISTERS: u64 = 0x0500_0000;
pub(crate) const DOORBELL: u64 = 0x0800_0000;
pub(crate) const STRUCTURES: u64 = 0x8000_0000;
pub(crate) const DATA: u64 = 0x9000_0000;

/// Offsets of the registers that rows use.
pub(crate) mod at {
    pub(crate) const IDR0: u64 = 0x00;
    pub(crate) const CR0: u64 = 0x20;
    pub(crate) const CR0ACK: u64 = 0x24;
    pub(crate) const CR1: u64 = 0x28;
    pub(crate) const CR2: u64 = 0x2c;
    pub(crate) const GBPA: u64 = 0x44;
    pub(crate) const IRQ_CTRL: u64 = 0x50;
    pub(crate) const IRQ_CTRLACK: u64 = 0x54;
    pub(crate) const GERROR: u64 = 0x60;
    pub(crate) const GERRORN: u64 = 0x64;
    pub(crate) const STRTAB_BASE: u64 = 0x80;
    pub(crate) const STRTAB_BASE_CFG: u64 = 0x88;
    pub(crate) const CMDQ_BASE: u64 = 0x90;
    pub(crate) const CMDQ_PROD: u64 = 0x98;
    pub(crate) const CMDQ_CONS: u64 = 0x9c;
    pub(crate) const EVENTQ_BASE: u64 = 0xa0;
    pub(crate) const EVENTQ_IRQ_CFG1: u64 = 0xb8;
    pub(crate) const PRIQ_BASE: u64 = 0xc0;
    pub(crate) const PRIQ_IRQ_CFG2: u64 = 0xdc;
    pub(crate) const EVENTQ_PROD: u64 = 0x100a8;
    pub(crate) const EVENTQ_CONS: u64 = 0x100ac;
    pub(crate) const PRIQ_PROD: u64 = 0x100c8;
    pub(crate) const PRIQ_CONS: u64 = 0x100cc;
}

/// Wires of the interrupts.
pub(crate) const EVENT_LINE: u32 = 74;
pub(crate) const PAGE_LINE: u32 = 75;
const SYNC_LINE: u32 = 76;
pub(crate) const ERROR_LINE: u32 = 77;

/// What [`Rig::boot`] sets up. Rows change it before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// STRTAB_BASE_CFG.LOG2SIZE.
    pub(crate) streams_log2: u8,
    /// STRTAB_BASE_CFG.SPLIT of a two-level Stream table.
    pub(crate) split: Option<u8>,
    /// CR2.
    pub(crate) cr2: u32,
    /// log2 of the entries of the Command queue.
    pub(crate) commands_log2: u8,
    /// log2 of the entries of the Event queue.
    pub(crate) events_log2: u8,
    /// More bits of CR0.
    pub(crate) cr0: CR0,
}

/// A machine for one row.
pub struct Rig {
    mode: Mode,
    config: PsmmuConfig,
    machine: Option<Box<dyn Machine>>,
    pub(crate) world: World,
    pub(crate) setup: Setup,
    next: u64,
    streams: u64,
    commands: u64,
    events: u64,
    pages: pages::PageQueue,
    prod: u32,
    cons: u32,
    tag: u32,
    value: u64,
    config_page_accesses: u32,
    /// Stage-1 tables of the default stream.
    pub(crate) one: Space,
    /// Stage-2 tables of the default stream, if [`Rig::nested`] or [`Rig::stage2_only`] has been called.
    pub(crate) two: Space,
    /// Where the CD of the default stream is in memory.
    pub(crate) cd_at: u64,
}

/// Compares; the message says what was seen and what should have been.
pub(crate) fn same<T: PartialEq + std::fmt::Debug>(what: &str, seen: T, expected: T) -> Check {
    match (seen, expected) {
        (seen, expected) if seen == expected => Ok(()),
        (seen, expected) => Err(format!("{what} is {seen:x?}, expected {expected:x?}")),
    }
}

/// Fails with a message unless something holds.
pub(crate) fn holds(what: &str, condition: bool) -> Check {
    if condition { Ok(()) } else { Err(format!("expected: {what}")) }
}

impl Rig {
    /// Out of reset, with these ID registers; with a CMDQV beside the SMMU or without.
    pub(crate) fn new(mode: Mode, idr: IdrProfile, beside: bool, given: &Given) -> Self {
        let mut config = PsmmuConfig::new(0, REGISTERS);
        config.idr = idr;
        config.faults = given.faults;
        if beside {
            let Given { knobs, cmdqv_faults, .. } = given;
            let cmdqv = CmdqvConfig { knobs: *knobs, faults: cmdqv_faults.clone(), ..CmdqvConfig::default() };
            config.cmdqv = Some((CMDQV, cmdqv));
            config.cmdqv_line = Some(CMDQV_LINE);
        }
        config.lines = Lines {
            eventq: Some(EVENT_LINE),
            priq: Some(PAGE_LINE),
            cmdq_sync: Some(SYNC_LINE),
            gerror: Some(ERROR_LINE),
        };
        config.timing.atc_timeout = Time::us(50);
        Self::of(mode, config, given.bare_wires)
    }

    /// Another machine of the same kind, out of reset.
    pub(crate) fn fresh(&self) -> Self {
        Self::of(self.mode, self.config.clone(), self.world.bare_wires)
    }

    fn of(mode: Mode, config: PsmmuConfig, bare_wires: bool) -> Self {
        Self {
            mode,
            config,
            machine: None,
            world: World { bare_wires, ..World::default() },
            setup: Setup {
                streams_log2: 4,
                split: None,
                cr2: 2,
                commands_log2: 6,
                events_log2: 6,
                cr0: CR0(0),
            },
            next: STRUCTURES,
            streams: 0,
            commands: 0,
            events: 0,
            pages: pages::PageQueue::default(),
            prod: 0,
            cons: 0,
            tag: 0,
            value: 0x5eed_0000_0000_0000,
            config_page_accesses: 0,
            one: Space::default(),
            two: Space::default(),
            cd_at: 0,
        }
    }

    fn machine(&mut self) -> (&mut dyn Machine, &mut World) {
        let Self { machine, mode, config, world, .. } = self;
        let machine = machine.get_or_insert_with(|| machine::new(*mode, config.clone()));
        (&mut **machine, world)
    }

    /// Changes the CMDQV of a machine that is still untouched.
    pub(crate) fn cmdqv(&mut self, edit: impl FnOnce(&mut CmdqvConfig)) {
        edit(&mut self.config.cmdqv.as_mut().expect("rows about a CMDQV have one").1);
    }
    /// Changes what the pSMMU of a machine that is still untouched charges.
    pub(crate) fn timing(&mut self, edit: impl FnOnce(&mut PsmmuTiming)) {
        edit(&mut self.config.timing);
    }
    /// Changes IDR0 of a machine that is still untouched.
    pub(crate) fn idr0(&mut self, edit: impl FnOnce(IDR0) -> IDR0) {
        let idr = &mut self.config.idr.idr0;
        *idr = edit(IDR0((*idr).into())).0 as u32;
    }
    /// Changes IDR1.
    pub(crate) fn idr1(&mut self, edit: impl FnOnce(IDR1) -> IDR1) {
        let idr = &mut self.config.idr.idr1;
        *idr = edit(IDR1((*idr).into())).0 as u32;
    }
    /// Makes a machine that is still untouched one with everything that is optional.
    #[cfg(test)]
    pub(crate) fn optional(&mut self) {
        self.config.idr = IdrProfile::OPTIONAL;
    }
    /// Changes IDR5.
    pub(crate) fn idr5(&mut self, edit: impl FnOnce(IDR5) -> IDR5) {
        let idr = &mut self.config.idr.idr5;
        *idr = edit(IDR5((*idr).into())).0 as u32;
    }
    /// Lets Updates of registers take long, where there is time.
    pub(crate) fn slow_updates(&mut self) {
        self.config.timing.update = Time::us(100);
    }

    /// A 32-bit register.
    pub(crate) fn read32(&mut self, offset: u64) -> u32 {
        self.access(offset, Op::Read { len: 4 }) as u32
    }
    /// A 64-bit register.
    pub(crate) fn read64(&mut self, offset: u64) -> u64 {
        self.access(offset, Op::Read { len: 8 })
    }
    /// Writes a 32-bit register.
    pub(crate) fn write32(&mut self, offset: u64, value: u32) {
        self.access(offset, Op::Write(Data::u32(value)));
    }
    /// Writes a 64-bit register.
    pub(crate) fn write64(&mut self, offset: u64, value: u64) {
        self.access(offset, Op::Write(Data::u64(value)));
    }
    /// Writes any number of bytes.
    #[cfg(test)]
    pub(crate) fn write_bytes(&mut self, offset: u64, bytes: &[u8]) {
        self.access(offset, Op::Write(Data::new(bytes)));
    }
    fn access(&mut self, offset: u64, op: Op) -> u64 {
        self.access_at(REGISTERS + offset, op)
    }
    fn access_at(&mut self, addr: u64, op: Op) -> u64 {
        let (machine, world) = self.machine();
        machine.access(addr, op, world).expect("the register pages answer").value()
    }

    /// Lets one thing happen. False if nothing is under way.
    pub(crate) fn step(&mut self) -> bool {
        let (machine, world) = self.machine();
        machine.step(world)
    }
    /// Lets everything happen that is under way.
    pub(crate) fn run(&mut self) {
        let bound = 100_000_000;
        assert!((0..bound).any(|_| !self.step()), "the machine comes to rest");
    }
    /// Lets things happen until `holds`, which may read registers.
    pub(crate) fn until(&mut self, what: &str, mut holds: impl FnMut(&mut Self) -> bool) -> Check {
        let mut idle = 0;
        for _ in 0..100_000 {
            if holds(self) {
                return Ok(());
            }
            // What was under way may have happened while a register was read: look once more.
            idle = if self.step() { 0 } else { idle + 1 };
            if idle > 1 {
                break;
            }
        }
        Err(format!("never happened: {what}"))
    }

    /// Writes CR0 and waits for CR0ACK.
    pub(crate) fn cr0(&mut self, value: CR0) -> Check {
        self.write32(at::CR0, value.0 as u32);
        self.until("CR0ACK follows CR0", |r| r.read32(at::CR0ACK) == value.0 as u32)
    }
    /// Changes CR0 and waits for CR0ACK.
    pub(crate) fn change_cr0(&mut self, edit: impl FnOnce(CR0) -> CR0) -> Check {
        let cr0 = CR0(self.read32(at::CR0).into());
        self.cr0(edit(cr0))
    }
    /// Writes IRQ_CTRL and waits for IRQ_CTRLACK.
    pub(crate) fn irq_ctrl(&mut self, value: u32) -> Check {
        self.write32(at::IRQ_CTRL, value);
        self.until("IRQ_CTRLACK follows IRQ_CTRL", |r| r.read32(at::IRQ_CTRLACK) == value)
    }
    /// Writes GBPA with Update set and waits until that is clear.
    pub(crate) fn gbpa(&mut self, value: u32) -> Check {
        self.write32(at::GBPA, value | 1 << 31);
        self.until("GBPA.Update clears", |r| r.read32(at::GBPA) >> 31 == 0)
    }

    /// The Stream table, the default stream and the queues, and the registers that say where they are. Nothing is enabled.
    pub(crate) fn prepare(&mut self) {
        let setup = self.setup;
        let base = self.alloc(setup.streams_log2 + 6);
        self.streams = base;
        self.commands = self.alloc(setup.commands_log2 + 4);
        self.events = self.alloc(setup.events_log2 + 5);
        self.default_stream();
        self.write32(at::CR1, 0xd75);
        self.write32(at::CR2, setup.cr2);
        self.write64(at::STRTAB_BASE, base);
        let format = setup.split.map_or(0, |split| u32::from(split) << 6 | 1 << 16);
        self.write32(at::STRTAB_BASE_CFG, u32::from(setup.streams_log2) | format);
        self.write64(at::CMDQ_BASE, self.commands | u64::from(setup.commands_log2));
        self.write64(at::EVENTQ_BASE, self.events | u64::from(setup.events_log2));
        for index in [at::CMDQ_PROD, at::CMDQ_CONS, at::EVENTQ_PROD, at::EVENTQ_CONS] {
            self.write32(index, 0);
        }
    }
    /// [`Rig::prepare`], and enables the queues; the SMMU bypasses.
    pub(crate) fn boot_disabled(&mut self) -> Check {
        self.prepare();
        self.cr0(self.setup.cr0.with_cmdqen(true).with_eventqen(true))
    }
    /// The default setup: both queues, one stream, everything enabled.
    pub(crate) fn boot(&mut self) -> Check {
        self.boot_disabled()?;
        use spec::smmu::Command;
        self.commands(&[Command::cfgi_all(), Command::tlbi_nsnh_all()])?;
        self.irq_ctrl(5)?;
        self.change_cr0(|cr0| cr0.with_smmuen(true))
    }

    /// Changes an STE in memory.
    pub(crate) fn ste(&mut self, sid: u32, edit: impl FnOnce(Ste) -> Ste) {
        let addr = self.ste_at(sid);
        let ste = Ste::from_bytes(self.world.memory.read_data(addr, 64).bytes());
        self.world.memory.write(addr, &edit(ste).to_bytes());
    }
    /// Changes the CD of the default stream in memory.
    pub(crate) fn cd(&mut self, edit: impl FnOnce(Cd) -> Cd) {
        self.cd_in(self.cd_at, edit);
    }
    /// Changes the CD at this address.
    pub(crate) fn cd_in(&mut self, addr: u64, edit: impl FnOnce(Cd) -> Cd) {
        let cd = Cd::from_bytes(self.world.memory.read_data(addr, 64).bytes());
        self.world.memory.write(addr, &edit(cd).to_bytes());
    }
    /// A word of memory.
    pub(crate) fn peek(&self, addr: u64) -> u64 {
        self.world.memory.read_u64(addr)
    }
    /// Changes a word of memory.
    pub(crate) fn poke(&mut self, addr: u64, word: u64) {
        self.world.memory.write_u64(addr, word);
    }
    /// Makes memory abort at this address.
    pub(crate) fn break_at(&mut self, addr: u64) {
        self.world.aborts.insert(addr);
    }
}

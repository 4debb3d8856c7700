//! The register pages as software sees them: who may write what when, the Update/ACK handshakes, the error toggles.
//!
//! A write says what it [`Change`]d; the driver charges the time that the change takes and calls back
//! ([`Registers::complete_cr0`] and its siblings). Badly timed writes are ignored, as SMMUv3.2 and later demand.

mod atos;
mod ecmdq;
mod existing;
mod lint;
mod optional;
mod output;

pub use ecmdq::EcmdqFile;
pub use output::Output;

use spec::regs::{Block, RegDesc, RegFile, Register};
use spec::smmu::page0::{
    CMDQ_BASE, CMDQ_CONS, CMDQ_PROD, CR0, CR0ACK, CR1, CR2, GBPA, GERROR, GERRORN, IRQ_CTRL, IRQ_CTRLACK,
    STRTAB_BASE, STRTAB_BASE_CFG,
};
use spec::smmu::{
    Command, CommandError, ControlPage, Ecmdq, GlobalError, Opcode, Page0, Page1, Vatos, command, page1,
};

use super::atos::Group;
use super::control::Control;
use super::features::Features;
use super::lint::Lints;
use super::register_pages::ControlPages;
use super::ring::Ring;

/// log2 of the bytes of a command.
pub const COMMAND_LOG2: u8 = 4;
/// Bytes from the base of an SMMU that its two register pages occupy. [`super::register_pages`] has those that it need not have.
pub const WINDOW: u64 = 0x2_0000;

/// What a register write asks of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing beyond storing the value.
    None,
    /// These bits of CR0 begin their Update.
    Cr0(u64),
    /// These bits of IRQ_CTRL begin their Update.
    IrqCtrl(u64),
    /// GBPA.Update was set.
    Gbpa,
    /// A new CMDQ_PROD.
    CommandProd,
    /// A new ECMDQ_PROD of this enhanced command queue: its index, its enable or its acknowledgement.
    Ecmdq(usize),
    /// An address translation operation begins.
    Operation(Group),
    /// A new EVENTQ_CONS.
    EventCons,
    /// These bits of GERROR are no longer active.
    Acknowledged(u64),
}

/// One register that a write reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// Byte offset of the register from the SMMU's page 0.
    pub offset: u32,
    /// The whole register as stored.
    pub value: u64,
    /// What the device has to do.
    pub change: Change,
    /// Some of what was written was not stored: read-only, or at a time when it must not be written.
    pub ignored: bool,
    /// What observers should know about it.
    pub lints: Lints,
}

/// A register of any page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Zero(Page0),
    One(Page1),
    ControlPage(u32, ControlPage),
    Ecmdq(usize, Ecmdq),
    Vatos(Vatos),
}

impl Place {
    /// The register that contains the aligned 32-bit word at `offset`, and whether it is the upper half.
    fn of_word(offset: u32) -> Option<(Self, bool)> {
        let base = page1::BASE as u32;
        if offset >= base {
            return Page1::decode_word(offset - base).map(|(reg, upper)| (Self::One(reg), upper));
        }
        // The page-0 offsets of the output queues' indices are aliases, for drivers that map one page only.
        Page0::decode_word(offset)
            .map(|(reg, upper)| (Self::Zero(reg), upper))
            .or_else(|| Page1::decode(offset).map(|reg| (Self::One(reg), false)))
    }
    fn desc(self) -> &'static RegDesc {
        match self {
            Self::Zero(reg) => reg.desc(),
            Self::One(reg) => reg.desc(),
            Self::ControlPage(_, reg) => reg.desc(),
            Self::Ecmdq(_, reg) => reg.desc(),
            Self::Vatos(reg) => reg.desc(),
        }
    }
}

/// Storage and rules of all pages.
#[derive(Clone, Debug)]
pub struct Registers {
    page0: RegFile<Page0>,
    page1: RegFile<Page1>,
    ecmdqs: Vec<EcmdqFile>,
    vatos: RegFile<Vatos>,
    features: Features,
    /// GBPA as it acts on traffic: the register shows new values before they hold.
    gbpa: GBPA,
    /// Service Failure Mode has been entered.
    failed: bool,
    /// CR2.E2H as it was when SMMUEN was set.
    e2h: bool,
    /// Not everything that was cached before the reset has been invalidated: configuration, translations.
    unknown: [bool; 2],
}

/// The name of the register at this offset, for messages.
pub fn name(offset: u32) -> &'static str {
    let always = Place::of_word(offset).map(|(place, _)| place.desc().name);
    always.or_else(|| optional::name(offset)).unwrap_or("reserved")
}

impl Registers {
    /// Out of reset, with the ID registers that the features come from.
    pub fn new(features: Features) -> Self {
        let mut page0 = RegFile::reset();
        let idr = features.idr;
        for (reg, value) in [
            (Page0::IDR0, idr.idr0),
            (Page0::IDR1, idr.idr1),
            (Page0::IDR2, idr.idr2),
            (Page0::IDR3, idr.idr3),
            (Page0::IDR4, idr.idr4),
            (Page0::IDR5, idr.idr5),
            (Page0::IDR6, idr.idr6),
            (Page0::IIDR, idr.iidr),
            (Page0::AIDR, idr.aidr),
        ] {
            page0.set_raw(reg, value.into());
        }
        let gbpa = page0.get::<GBPA>();
        let ecmdqs = features.ecmdq.map_or(0, ControlPages::queues);
        let ecmdqs = vec![EcmdqFile::new(&features); ecmdqs];
        let e2h = page0.get::<CR2>().e2h();
        let (page1, vatos) = (RegFile::reset(), RegFile::reset());
        Self { page0, page1, ecmdqs, vatos, features, gbpa, failed: false, e2h, unknown: [true; 2] }
    }

    /// What the ID registers say.
    pub fn features(&self) -> &Features {
        &self.features
    }
    /// A register of page 0, as the device sees it.
    pub fn get<R: Register<Block = Page0>>(&self) -> R {
        self.page0.get()
    }

    /// Software reads `len` bytes. Accesses that the architecture does not define read zero.
    pub fn read(&self, offset: u32, len: usize) -> u64 {
        match len {
            4 if offset.is_multiple_of(4) => self.read_word(offset).into(),
            8 if offset.is_multiple_of(8) => {
                u64::from(self.read_word(offset)) | u64::from(self.read_word(offset + 4)) << 32
            }
            _ => 0,
        }
    }

    /// The register that contains the aligned 32-bit word at `offset`, and whether it is the upper half.
    fn place(&self, offset: u32) -> Option<(Place, bool)> {
        Place::of_word(offset).or_else(|| self.optional(offset))
    }

    fn read_word(&self, offset: u32) -> u32 {
        let Some((place, upper)) = self.place(offset) else { return 0 };
        match place {
            Place::Zero(reg) if self.exists(reg) => self.page0.read_word(reg, upper),
            Place::One(reg) if self.exists_one(reg) => self.page1.read_word(reg, upper),
            Place::Zero(_) | Place::One(_) => 0,
            Place::ControlPage(page, reg) => {
                (self.control_page(page, reg) >> if upper { 32 } else { 0 }) as u32
            }
            Place::Ecmdq(queue, reg) => self.ecmdqs[queue].read_word(reg, upper),
            Place::Vatos(reg) => self.vatos.read_word(reg, upper),
        }
    }

    /// Software writes `len` bytes; says which registers that reached (one, or two adjacent 32-bit ones, low first).
    pub fn write(&mut self, offset: u32, len: usize, value: u64) -> [Option<Write>; 2] {
        match len {
            4 if offset.is_multiple_of(4) => [self.write_word(offset, value as u32), None],
            8 if offset.is_multiple_of(8) => match self.place(offset) {
                Some((place, false)) if place.desc().bytes == 8 => [self.store(offset, place, value), None],
                _ => {
                    [self.write_word(offset, value as u32), self.write_word(offset + 4, (value >> 32) as u32)]
                }
            },
            _ => [None, None],
        }
    }

    fn write_word(&mut self, offset: u32, value: u32) -> Option<Write> {
        let (place, upper) = self.place(offset)?;
        let whole = match place {
            Place::Zero(reg) => self.page0.merge_word(reg, upper, value),
            Place::One(reg) => self.page1.merge_word(reg, upper, value),
            Place::ControlPage(..) => 0,
            Place::Ecmdq(queue, reg) => self.ecmdqs[queue].merge_word(reg, upper, value),
            Place::Vatos(reg) => self.vatos.merge_word(reg, upper, value),
        };
        self.store(offset - if upper { 4 } else { 0 }, place, whole)
    }

    /// Stores a whole register, the one that begins at `offset`.
    fn store(&mut self, offset: u32, place: Place, wanted: u64) -> Option<Write> {
        let before = self.before(place);
        let change = match place {
            Place::Zero(reg) if self.exists(reg) => self.store_zero(reg, wanted),
            Place::One(reg) if self.exists_one(reg) => self.store_one(reg, wanted),
            Place::Zero(_) | Place::One(_) => return None,
            Place::ControlPage(..) => Change::None,
            Place::Ecmdq(queue, reg) => self.store_ecmdq(queue, reg, wanted),
            Place::Vatos(reg) => self.store_vatos(reg, wanted),
        };
        let (offset, value) = match place {
            Place::Zero(reg) => (offset, self.page0.read(reg)),
            // Its alias in page 0 is the same register.
            Place::One(reg) => (page1::BASE as u32 + reg.offset(), self.page1.read(reg)),
            Place::ControlPage(page, reg) => (offset, self.control_page(page, reg)),
            Place::Ecmdq(queue, reg) => (offset, self.ecmdqs[queue].read(reg)),
            Place::Vatos(reg) => (offset, self.vatos.read(reg)),
        };
        let mask = match place {
            Place::Zero(reg) => self.existing(reg),
            _ => place.desc().mask(),
        };
        let ignored = (value ^ wanted) & mask != 0;
        let lints = self.lints(&before, place, wanted, value, mask);
        Some(Write { offset, value, change, ignored, lints })
    }

    /// CR0 fields that are set, or on their way to either value.
    fn enabled(&self) -> CR0 {
        CR0(self.page0.get::<CR0>().0 | self.page0.get::<CR0ACK>().0)
    }

    fn store_zero(&mut self, reg: Page0, value: u64) -> Change {
        let value = value & self.existing(reg);
        let enabled = self.enabled();
        let queues_off = !(enabled.cmdqen() || enabled.eventqen() || enabled.priqen());
        let irq = IRQ_CTRL(self.page0.get::<IRQ_CTRL>().0 | self.page0.get::<IRQ_CTRLACK>().0);
        let allowed = match reg {
            Page0::CR0 => return self.store_cr0(value),
            Page0::IRQ_CTRL => return self.store_irq_ctrl(value),
            Page0::GBPA => return self.store_gbpa(value),
            Page0::GERRORN => return self.store_gerrorn(value),
            Page0::GATOS_CTRL | Page0::GATOS_SID | Page0::GATOS_ADDR | Page0::VATOS_SEL => {
                return self.store_gatos(reg, value);
            }
            Page0::CR1 => {
                let queues_off = queues_off && !self.is_an_ecmdq_enabled();
                self.store_cr1(value, !enabled.smmuen(), queues_off);
                return Change::None;
            }
            Page0::CR2 | Page0::STRTAB_BASE | Page0::STRTAB_BASE_CFG => !enabled.smmuen(),
            Page0::CMDQ_BASE | Page0::CMDQ_CONS => !enabled.cmdqen(),
            Page0::EVENTQ_BASE => !enabled.eventqen(),
            Page0::PRIQ_BASE => !enabled.priqen(),
            Page0::GERROR_IRQ_CFG0 | Page0::GERROR_IRQ_CFG1 | Page0::GERROR_IRQ_CFG2 => !irq.gerror_irqen(),
            Page0::EVENTQ_IRQ_CFG0 | Page0::EVENTQ_IRQ_CFG1 | Page0::EVENTQ_IRQ_CFG2 => !irq.eventq_irqen(),
            Page0::PRIQ_IRQ_CFG0 | Page0::PRIQ_IRQ_CFG1 | Page0::PRIQ_IRQ_CFG2 => !irq.priq_irqen(),
            Page0::AGBPA => !self.page0.get::<GBPA>().update(),
            _ => true,
        };
        if allowed {
            self.page0.write(reg, value);
        }
        if reg == Page0::CMDQ_PROD { Change::CommandProd } else { Change::None }
    }

    fn store_one(&mut self, reg: Page1, value: u64) -> Change {
        let enabled = self.enabled();
        let allowed = match reg {
            Page1::EVENTQ_PROD => !enabled.eventqen(),
            Page1::PRIQ_PROD => !enabled.priqen(),
            Page1::EVENTQ_CONS | Page1::PRIQ_CONS => true,
        };
        if allowed {
            self.page1.write(reg, value);
        }
        if reg == Page1::EVENTQ_CONS { Change::EventCons } else { Change::None }
    }

    /// Takes the fields that are not in the middle of an Update and leaves the others alone.
    fn store_cr0(&mut self, value: u64) -> Change {
        let (old, ack) = (self.page0.get::<CR0>().0, self.page0.get::<CR0ACK>().0);
        let pending = whole_fields(old ^ ack);
        let new = (old & pending) | (value & !pending);
        self.page0.set(CR0(new));
        begin(whole_fields(new ^ ack) & !pending, Change::Cr0)
    }

    fn store_irq_ctrl(&mut self, value: u64) -> Change {
        let (old, ack) = (self.page0.get::<IRQ_CTRL>().0, self.page0.get::<IRQ_CTRLACK>().0);
        let pending = old ^ ack;
        let new = (old & pending) | (value & !pending);
        self.page0.set(IRQ_CTRL(new));
        begin((new ^ ack) & !pending, Change::IrqCtrl)
    }

    fn store_gbpa(&mut self, value: u64) -> Change {
        if self.page0.get::<GBPA>().update() || !GBPA(value).update() {
            return Change::None;
        }
        self.page0.write(Page0::GBPA, value);
        Change::Gbpa
    }

    fn store_cr1(&mut self, value: u64, tables: bool, queues: bool) {
        let (mut cr1, new) = (self.page0.get::<CR1>(), CR1(value));
        if tables {
            cr1 =
                cr1.with_table_ic(new.table_ic()).with_table_oc(new.table_oc()).with_table_sh(new.table_sh());
        }
        if queues {
            cr1 =
                cr1.with_queue_ic(new.queue_ic()).with_queue_oc(new.queue_oc()).with_queue_sh(new.queue_sh());
        }
        self.page0.set(cr1);
    }

    fn store_gerrorn(&mut self, value: u64) -> Change {
        let before = self.active_errors();
        self.page0.write(Page0::GERRORN, value);
        begin(before & !self.active_errors(), Change::Acknowledged)
    }

    /// These bits of CR0 have taken effect. Says which ACK bits changed.
    pub fn complete_cr0(&mut self, fields: u64) {
        let (cr0, ack) = (self.page0.get::<CR0>().0, self.page0.get::<CR0ACK>().0);
        self.page0.set(CR0ACK((ack & !fields) | (cr0 & fields)));
        if CR0(cr0 & fields).smmuen() {
            self.e2h = self.page0.get::<CR2>().e2h();
        }
    }
    /// A command has been executed.
    pub fn executed(&mut self, command: &Command) {
        let all = command.op() == Opcode::CFGI_STE_RANGE && command.range() == command::RANGE_ALL;
        self.unknown[0] &= !all;
        self.unknown[1] &= command.op() != Opcode::TLBI_NSNH_ALL;
    }
    /// These bits of IRQ_CTRL have taken effect.
    pub fn complete_irq_ctrl(&mut self, fields: u64) {
        let (ctrl, ack) = (self.page0.get::<IRQ_CTRL>().0, self.page0.get::<IRQ_CTRLACK>().0);
        self.page0.set(IRQ_CTRLACK((ack & !fields) | (ctrl & fields)));
    }
    /// The new GBPA holds for traffic from now on.
    pub fn complete_gbpa(&mut self) {
        let gbpa = self.page0.get::<GBPA>().with_update(false);
        self.page0.set(gbpa);
        self.gbpa = gbpa;
    }

    /// The state that translations depend on.
    pub fn control(&self) -> Control {
        let (ack, cr2) = (self.page0.get::<CR0ACK>(), self.page0.get::<CR2>());
        Control {
            features: self.features,
            cr0: CR0(ack.0),
            cr1: self.page0.get::<CR1>(),
            cr2,
            e2h_unknown: !ack.smmuen() && cr2.e2h() != self.e2h,
            gbpa: self.gbpa,
            strtab_base: self.page0.get::<STRTAB_BASE>(),
            strtab_base_cfg: self.page0.get::<STRTAB_BASE_CFG>(),
            failed: self.failed,
        }
    }

    /// Bits of GERROR that differ from GERRORN.
    pub fn active_errors(&self) -> u64 {
        self.page0.get::<GERROR>().0 ^ self.page0.get::<GERRORN>().0
    }
    /// Whether this error waits for its acknowledgement.
    pub fn is_active(&self, error: GlobalError) -> bool {
        self.active_errors() & error.mask() != 0
    }
    /// Makes an error active. False if it already was: a repeat is not logged.
    pub fn raise(&mut self, error: GlobalError) -> bool {
        let first = !self.is_active(error);
        if first {
            self.page0.set(GERROR(self.page0.get::<GERROR>().0 ^ error.mask()));
        }
        first
    }

    /// Enters Service Failure Mode, which only a new SMMU is free of. Registers go on to work; the queues do not.
    pub fn fail(&mut self) {
        self.failed = true;
    }
    /// Whether this is Service Failure Mode.
    pub fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether commands may be taken: enabled on both sides of the handshake, and no unacknowledged error.
    pub fn commands_run(&self) -> bool {
        self.page0.get::<CR0>().cmdqen()
            && self.page0.get::<CR0ACK>().cmdqen()
            && !self.is_active(GlobalError::CMDQ_ERR)
    }
    /// Geometry of the Command queue.
    pub fn command_ring(&self) -> Ring {
        let base = self.page0.get::<CMDQ_BASE>();
        let addr = self.features.truncated(base.addr());
        Ring::new(addr, base.log2size() as u8, self.features.cmdqs, COMMAND_LOG2)
    }
    /// CMDQ_PROD.WR.
    pub fn command_prod(&self) -> u32 {
        self.page0.get::<CMDQ_PROD>().wr() as u32
    }
    /// CMDQ_CONS.RD.
    pub fn command_cons(&self) -> u32 {
        self.page0.get::<CMDQ_CONS>().rd() as u32
    }
    /// The device moves CMDQ_CONS.RD.
    pub fn set_command_cons(&mut self, pointer: u32) {
        let cons = self.page0.get::<CMDQ_CONS>();
        self.page0.set(cons.with_rd(pointer.into()));
    }
    /// The device reports why it stopped.
    pub fn set_command_error(&mut self, code: CommandError) {
        let cons = self.page0.get::<CMDQ_CONS>();
        self.page0.set(cons.with_err(code.0.into()));
    }
}

/// The bits of `changed`, with CR0.VMW, the only field of several bits, whole or not at all.
fn whole_fields(changed: u64) -> u64 {
    if CR0(changed).vmw() == 0 { changed } else { CR0(changed).with_vmw(u64::MAX).0 }
}

fn begin(bits: u64, change: impl FnOnce(u64) -> Change) -> Change {
    if bits == 0 { Change::None } else { change(bits) }
}

#[cfg(test)]
mod test {
    use super::super::features::IdrProfile;
    use super::*;

    const CR0_: u32 = 0x20;
    const ACK: u32 = 0x24;

    fn reset() -> Registers {
        Registers::new(Features::new(IdrProfile::STANDARD).expect("the standard profile is modelled"))
    }
    /// CR0 and IRQ_CTRL as given, acknowledged.
    fn with(cr0: u64, irq_ctrl: u64) -> Registers {
        let mut r = reset();
        r.write(CR0_, 4, cr0);
        r.complete_cr0(u64::MAX);
        r.write(0x50, 4, irq_ctrl);
        r.complete_irq_ctrl(u64::MAX);
        r
    }

    #[test]
    fn reset_values() {
        let r = reset();
        for offset in [0x20, 0x24, 0x50, 0x54, 0x60, 0x64, 0x190, 0x4000, 0x130, 0x180] {
            assert_eq!(r.read(offset, 4), 0, "offset {offset:#x}");
        }
        assert_eq!(r.read(0, 4), u64::from(IdrProfile::STANDARD.idr0));
        assert_eq!(r.read(0x14, 4), u64::from(IdrProfile::STANDARD.idr5));
        assert_eq!((r.read(0xff0, 4), r.read(0xffc, 4)), (0x0d, 0xb1));
    }

    /// Writes all ones where the state on the left forbids it; nothing may stick.
    #[test]
    fn guarded_registers_ignore_badly_timed_writes() {
        const SMMUEN: u64 = 1;
        const PRIQEN: u64 = 2;
        const EVENTQEN: u64 = 4;
        const CMDQEN: u64 = 8;
        for (cr0, irq, offset, len) in [
            (SMMUEN, 0, 0x2c, 4),      // CR2
            (SMMUEN, 0, 0x80, 8),      // STRTAB_BASE
            (SMMUEN, 0, 0x88, 4),      // STRTAB_BASE_CFG
            (CMDQEN, 0, 0x90, 8),      // CMDQ_BASE
            (CMDQEN, 0, 0x9c, 4),      // CMDQ_CONS
            (EVENTQEN, 0, 0xa0, 8),    // EVENTQ_BASE
            (EVENTQEN, 0, 0x100a8, 4), // EVENTQ_PROD
            (EVENTQEN, 0, 0xa8, 4),    // its alias
            (PRIQEN, 0, 0xc0, 8),      // PRIQ_BASE
            (PRIQEN, 0, 0x100c8, 4),   // PRIQ_PROD
            (0, 1, 0x68, 8),           // GERROR_IRQ_CFG0..2
            (0, 1, 0x70, 4),
            (0, 1, 0x74, 4),
            (0, 2, 0xd0, 8), // PRIQ_IRQ_CFG0..2
            (0, 2, 0xd8, 4),
            (0, 2, 0xdc, 4),
            (0, 4, 0xb0, 8), // EVENTQ_IRQ_CFG0..2
            (0, 4, 0xb8, 4),
            (0, 4, 0xbc, 4),
            (0, 0, 0x0, 4), // IDR0
            (0, 0, 0x1c, 4),
            (0, 0, 0x24, 4), // CR0ACK
            (0, 0, 0x60, 4), // GERROR
        ] {
            let mut r = with(cr0, irq);
            let before = r.read(offset, len);
            r.write(offset, len, u64::MAX);
            assert_eq!(r.read(offset, len), before, "offset {offset:#x} with CR0={cr0} IRQ_CTRL={irq}");
            assert!(r.write(offset, len, u64::MAX)[0].unwrap().ignored, "and the driver is told");
            if cr0 | irq != 0 {
                let mut free = reset();
                free.write(offset, len, u64::MAX);
                assert_ne!(
                    free.read(offset, len),
                    before,
                    "offset {offset:#x} can be written while disabled"
                );
            }
        }
    }

    #[test]
    fn a_field_in_transition_guards_like_a_set_one() {
        let mut r = reset();
        r.write(CR0_, 4, 1);
        r.write(0x80, 8, 0x8000_0000);
        assert_eq!(r.read(0x80, 8), 0, "SMMUEN is on its way up");
        r.complete_cr0(1);
        r.write(CR0_, 4, 0);
        r.write(0x80, 8, 0x8000_0000);
        assert_eq!(r.read(0x80, 8), 0, "SMMUEN is on its way down");
        r.complete_cr0(1);
        r.write(0x80, 8, 0x8000_0000);
        assert_eq!(r.read(0x80, 8), 0x8000_0000);
    }

    #[test]
    fn cr1_is_guarded_by_halves() {
        for (cr0, want) in [(0, 0xfff), (1, 0x03f), (8, 0xfc0), (4, 0xfc0), (9, 0)] {
            let mut r = with(cr0, 0);
            r.write(0x28, 4, 0xfff);
            assert_eq!(r.read(0x28, 4), want, "CR0={cr0}");
        }
    }

    #[test]
    fn cr0_updates() {
        let mut r = reset();
        let change = |w: [Option<Write>; 2]| w[0].map(|w| w.change);
        assert_eq!(change(r.write(CR0_, 4, 1 << 20 | 8)), Some(Change::Cr0(8)), "bit 20 does not exist");
        assert_eq!((r.read(CR0_, 4), r.read(ACK, 4)), (8, 0));
        assert_eq!(
            change(r.write(CR0_, 4, 4)),
            Some(Change::Cr0(4)),
            "CMDQEN is in transition and keeps its value"
        );
        assert_eq!(r.read(CR0_, 4), 0xc);
        r.complete_cr0(8);
        assert_eq!(r.read(ACK, 4), 8);
        r.complete_cr0(4);
        assert_eq!(r.read(ACK, 4), 0xc);
        assert_eq!(change(r.write(CR0_, 4, 0xc)), Some(Change::None), "nothing changes");
        assert_eq!(change(r.write(CR0_, 4, 0xc | 2 << 6)), Some(Change::Cr0(7 << 6)), "VMW goes as a whole");
        assert_eq!(change(r.write(CR0_, 4, 0xc | 5 << 6)), Some(Change::None));
        r.complete_cr0(7 << 6);
        assert_eq!(r.control().cr0.vmw(), 2);
    }

    #[test]
    fn gbpa_needs_update_and_takes_one_at_a_time() {
        let mut r = reset();
        let abort = GBPA(0).with_abort(true);
        r.write(0x44, 4, abort.0);
        assert_eq!(r.read(0x44, 4), 0x1000, "without Update nothing is stored");
        r.write(0x44, 4, abort.with_update(true).0);
        assert!(!r.control().gbpa.abort(), "not in force yet");
        r.write(0x44, 4, GBPA(0).with_update(true).0);
        r.complete_gbpa();
        assert_eq!(r.read(0x44, 4), abort.0, "the second write was ignored");
        assert!(r.control().gbpa.abort());
    }

    #[test]
    fn halves_and_wholes_agree() {
        let (mut a, mut b) = (reset(), reset());
        a.write(0x90, 8, 0x4001_2345_6789_abcf);
        b.write(0x90, 4, 0x6789_abcf);
        b.write(0x94, 4, 0x4001_2345);
        assert_eq!(a.read(0x90, 8), b.read(0x90, 8));
        assert_eq!(a.read(0x94, 4), a.read(0x90, 8) >> 32);
        // Two adjacent 32-bit registers: low first.
        let [prod, cons] = a.write(0x98, 8, 0x3_0000_0007);
        assert_eq!((prod.unwrap().change, a.read(0x98, 4)), (Change::CommandProd, 7));
        assert_eq!((cons.unwrap().offset, a.read(0x9c, 4)), (0x9c, 3));
        for (offset, len) in [(0x98, 2), (0x99, 4), (0x94, 8), (0x20, 1)] {
            let before = a.read(0x98, 4);
            assert_eq!((a.write(offset, len, u64::MAX), a.read(offset, len)), ([None, None], 0));
            assert_eq!(a.read(0x98, 4), before);
        }
    }

    #[test]
    fn log2size_reads_back_as_written_but_is_capped() {
        let mut r = reset();
        r.write(0x90, 8, 0x8000_0000 | 20);
        assert_eq!(r.read(0x90, 4) & 31, 20);
        assert_eq!(r.command_ring().log2size(), 15);
    }

    #[test]
    fn addresses_of_queues_and_messages_end_at_the_output_address_size() {
        use super::super::interrupts::{Lines, Raise, Source};
        const BEYOND: u64 = 1 << 50;
        let mut r = with(0, 0);
        for base in [0x90, 0xa0, 0xc0] {
            r.write(base, 8, BEYOND | 0x8000_0000);
        }
        r.write(0xb0, 8, BEYOND | 0x9000_0000);
        r.write(0x50, 4, 4);
        r.complete_irq_ctrl(4);
        let rings = [r.command_ring(), r.output_ring(Output::Event), r.output_ring(Output::Page)];
        assert_eq!(rings.map(|ring| ring.base()), [0x8000_0000; 3]);
        let want = Raise::Message { addr: 0x9000_0000, data: 0 };
        assert_eq!(Raise::of(Source::Event, &r, &Lines::default()), Some(want));
    }

    #[test]
    fn errors_toggle_only_when_inactive() {
        let mut r = reset();
        assert!(r.raise(GlobalError::CMDQ_ERR));
        assert!(!r.raise(GlobalError::CMDQ_ERR), "a repeat is not logged");
        assert_eq!(r.read(0x60, 4), 1);
        let [w, _] = r.write(0x64, 4, 1);
        assert_eq!(w.unwrap().change, Change::Acknowledged(1));
        assert!(r.raise(GlobalError::CMDQ_ERR));
        assert_eq!(r.read(0x60, 4), 0);
    }

    #[test]
    fn page_0_aliases_of_the_output_queues() {
        let mut r = reset();
        for (alias, real) in [(0xa8, 0x100a8), (0xac, 0x100ac), (0xc8, 0x100c8), (0xcc, 0x100cc)] {
            r.write(alias, 4, 5);
            assert_eq!((r.read(real, 4), r.read(alias, 4)), (5, 5));
        }
    }
}

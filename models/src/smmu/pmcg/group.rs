//! One group: its registers, its filters, and what an overflow does.

use spec::regs::{Block, RegFile, mask};
use spec::smmu::Pmcg;
use spec::smmu::pmcg::{
    CR, Counter, EVTYPER, IRQ_CFG0, IRQ_CFG1, IRQ_CTRL, IRQ_CTRLACK, IRQ_STATUS, PAGE, Place, SMR, event,
};

use super::Shape;
use crate::smmu::features::Features;
use crate::smmu::interrupts::Raise;

/// Which page of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Page {
    /// Everything, or everything that is not on page 1.
    Zero,
    /// What counters hold, if CFGR.RELOC_CTRS.
    One,
}

/// What a write asks of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing beyond storing the value.
    None,
    /// IRQ_CTRL begins its Update.
    IrqCtrl,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    value: u64,
    shadow: u64,
    evtyper: EVTYPER,
    smr: SMR,
}

/// A counter group.
#[derive(Clone, Debug)]
pub struct Group {
    shape: Shape,
    /// What is not kept below.
    registers: RegFile<Pmcg>,
    counters: Box<[State]>,
    cnten: u64,
    inten: u64,
    ovs: u64,
    /// Counters that are enabled, if the group is.
    active: u64,
    /// Of these, those that count cycles.
    cycling: u64,
    /// Cycles that have been counted.
    clock: u64,
}

/// The bits of counter `n` in a bitmap.
const fn bit(n: usize) -> u64 {
    1 << n
}

impl Group {
    /// Out of reset; what the architecture leaves unknown is 0.
    ///
    /// # Errors
    /// The architecture has no such group.
    pub fn new(shape: Shape) -> Result<Self, String> {
        if let Some(flaw) = shape.flaw() {
            return Err(flaw);
        }
        Ok(Self {
            shape,
            registers: shape.registers(),
            counters: vec![State::default(); shape.counters.into()].into(),
            cnten: 0,
            inten: 0,
            ovs: 0,
            active: 0,
            cycling: 0,
            clock: 0,
        })
    }

    /// Whether any counter is enabled.
    pub const fn is_counting(&self) -> bool {
        self.active != 0
    }

    /// What the counters hold.
    pub fn values(&self) -> impl Iterator<Item = u64> + '_ {
        self.counters.iter().map(|c| c.value)
    }

    const fn wide(&self) -> bool {
        self.shape.bits > 32
    }
    /// Bits that a counter has.
    const fn value_mask(&self) -> u64 {
        mask(self.shape.bits as u32 - 1, 0)
    }
    /// Bits of a bitmap that exist.
    const fn present(&self) -> u64 {
        mask(self.shape.counters as u32 - 1, 0)
    }
    /// Whether counter `n` has a filter of its own.
    const fn has_filter(&self, n: u8) -> bool {
        n == 0 || !self.shape.one_filter
    }

    /// The register at this offset of a page, and whether its upper half; `None` where there is none.
    fn place(&self, page: Page, offset: u32) -> Option<(Place, bool)> {
        if offset >= PAGE {
            return None;
        }
        let (place, upper) = Place::decode(offset, self.wide())?;
        let on = if self.shape.relocated && place.is_relocated() { Page::One } else { Page::Zero };
        (on == page && self.exists(place)).then_some((place, upper))
    }

    fn exists(&self, place: Place) -> bool {
        match place {
            Place::Counter { n, .. } if n >= self.shape.counters => false,
            Place::Counter { n, reg: Counter::SMR } => self.has_filter(n),
            Place::Counter { reg: Counter::SVR, .. } | Place::Group(Pmcg::CAPR) => self.shape.capture,
            Place::Group(Pmcg::IRQ_CFG0 | Pmcg::IRQ_CFG1 | Pmcg::IRQ_CFG2 | Pmcg::IRQ_STATUS) => {
                self.shape.msi
            }
            // Neither Secure state nor memory partitioning.
            Place::Group(Pmcg::SCR | Pmcg::GMPAM | Pmcg::MPAMIDR) => false,
            _ => true,
        }
    }

    fn value(&self, place: Place) -> u64 {
        match place {
            Place::Counter { n, reg } => {
                let counter = &self.counters[usize::from(n)];
                match reg {
                    Counter::EVCNTR => counter.value,
                    Counter::EVTYPER => counter.evtyper.0,
                    Counter::SVR => counter.shadow,
                    Counter::SMR => counter.smr.0,
                }
            }
            Place::Group(reg) => match reg {
                Pmcg::CNTENSET0 | Pmcg::CNTENCLR0 => self.cnten,
                Pmcg::INTENSET0 | Pmcg::INTENCLR0 => self.inten,
                Pmcg::OVSCLR0 | Pmcg::OVSSET0 => self.ovs,
                _ => self.registers.read(reg),
            },
        }
    }

    /// Software reads `len` bytes of a page. Accesses that the architecture does not define read zero.
    pub fn read(&self, page: Page, offset: u32, len: usize) -> u64 {
        match len {
            4 if offset.is_multiple_of(4) => self.read_word(page, offset).into(),
            8 if offset.is_multiple_of(8) => {
                u64::from(self.read_word(page, offset)) | u64::from(self.read_word(page, offset + 4)) << 32
            }
            _ => 0,
        }
    }

    fn read_word(&self, page: Page, offset: u32) -> u32 {
        let Some((place, upper)) = self.place(page, offset) else { return 0 };
        (self.value(place) >> if upper { 32 } else { 0 }) as u32
    }

    /// Software writes `len` bytes of a page.
    pub fn write(&mut self, page: Page, offset: u32, len: usize, value: u64) -> Change {
        match len {
            4 if offset.is_multiple_of(4) => self.write_word(page, offset, value as u32),
            8 if offset.is_multiple_of(8) => match self.place(page, offset) {
                Some((place, false)) if place.bytes(self.wide()) == 8 => self.store(place, value),
                // Two 32-bit registers, the lower first; of two adjacent ones at most the first is IRQ_CTRL.
                _ => {
                    let change = self.write_word(page, offset, value as u32);
                    self.write_word(page, offset + 4, (value >> 32) as u32);
                    change
                }
            },
            _ => Change::None,
        }
    }

    fn write_word(&mut self, page: Page, offset: u32, value: u32) -> Change {
        let Some((place, upper)) = self.place(page, offset) else { return Change::None };
        let (shift, other) = if upper { (32, mask(31, 0)) } else { (0, mask(63, 32)) };
        // Of a bitmap that is written by ones the other half stays as it is.
        let kept = if matches!(place, Place::Group(Pmcg::IRQ_CFG0) | Place::Counter { .. }) {
            self.value(place) & other
        } else {
            0
        };
        self.store(place, kept | u64::from(value) << shift)
    }

    fn store(&mut self, place: Place, value: u64) -> Change {
        match place {
            Place::Counter { n, reg } => self.store_counter(n, reg, value),
            Place::Group(reg) => match reg {
                Pmcg::CNTENSET0 => self.cnten |= value & self.present(),
                Pmcg::CNTENCLR0 => self.cnten &= !value,
                Pmcg::INTENSET0 => self.inten |= value & self.present(),
                Pmcg::INTENCLR0 => self.inten &= !value,
                // Set by software it is a status only: no interrupt, no capture.
                Pmcg::OVSSET0 => self.ovs |= value & self.present(),
                Pmcg::OVSCLR0 => self.ovs &= !value,
                Pmcg::CAPR if value & 1 != 0 => self.capture(),
                Pmcg::IRQ_CTRL => return self.store_irq_ctrl(value),
                // Guarded by IRQEN.
                Pmcg::IRQ_CFG0 | Pmcg::IRQ_CFG1 | Pmcg::IRQ_CFG2 if self.irq() != (false, false) => {}
                _ => {
                    self.registers.write(reg, value);
                }
            },
        }
        self.choose_active();
        Change::None
    }

    fn store_counter(&mut self, n: u8, reg: Counter, value: u64) {
        let (filter, capture, values) = (self.has_filter(n), self.shape.capture, self.value_mask());
        let sids = mask(31, 0) >> (32 - u32::from(self.shape.sid_bits));
        let counter = &mut self.counters[usize::from(n)];
        match reg {
            Counter::EVCNTR => counter.value = value & values,
            Counter::EVTYPER => {
                let new = EVTYPER(value);
                counter.evtyper = EVTYPER(0)
                    .with_event(new.event())
                    .with_filter_sid_span(new.filter_sid_span() && filter)
                    .with_ovfcap(new.ovfcap() && capture);
            }
            Counter::SMR => counter.smr = SMR(value & sids),
            Counter::SVR => {}
        }
    }

    fn choose_active(&mut self) {
        self.active = if self.registers.get::<CR>().e() { self.cnten } else { 0 };
        let cycles = |n: usize| self.counters[n].evtyper.event() == u64::from(event::CYCLE);
        let cycling = (0..self.counters.len()).filter(|&n| self.active & bit(n) != 0 && cycles(n));
        self.cycling = cycling.map(bit).sum();
    }

    /// IRQ_CTRL.IRQEN and its acknowledgement.
    fn irq(&self) -> (bool, bool) {
        (self.registers.get::<IRQ_CTRL>().irqen(), self.registers.get::<IRQ_CTRLACK>().irqen())
    }

    /// Ignored while an Update is under way.
    fn store_irq_ctrl(&mut self, value: u64) -> Change {
        let (ctrl, ack) = self.irq();
        let new = IRQ_CTRL(value).irqen();
        if ctrl != ack || new == ack {
            return Change::None;
        }
        self.registers.set(IRQ_CTRL(0).with_irqen(new));
        Change::IrqCtrl
    }

    /// IRQ_CTRL has taken effect.
    pub fn complete_irq_ctrl(&mut self) {
        let (ctrl, ack) = self.irq();
        if ctrl && !ack {
            self.registers.set(IRQ_STATUS(0));
        }
        self.registers.set(IRQ_CTRLACK(0).with_irqen(ctrl));
    }

    /// Whether interrupts are on their way to be disabled: messages must have arrived before.
    pub fn is_disabling_irq(&self) -> bool {
        self.irq() == (false, true)
    }

    /// How an interrupt leaves: as a message if one is configured, otherwise on the wire if there is one.
    pub fn raise(&self, wire: Option<u32>, features: &Features) -> Option<Raise> {
        let (addr, data) = (self.registers.get::<IRQ_CFG0>().addr(), self.registers.get::<IRQ_CFG1>().data());
        Raise::choose(addr, data, wire, features)
    }

    /// A message was aborted.
    pub fn message_aborted(&mut self) {
        self.registers.set(IRQ_STATUS(0).with_irq_abt(true));
    }

    /// Counts what a stream has done: how often each event happened. Says whether that raises the interrupt.
    pub fn count(&mut self, sid: u32, times: impl Fn(u16) -> u64) -> bool {
        self.count_in(self.active & !self.cycling, times, |group, n| group.matches(n, sid))
    }

    fn count_in(
        &mut self,
        mut left: u64,
        times: impl Fn(u16) -> u64,
        admits: impl Fn(&Self, usize) -> bool,
    ) -> bool {
        let mut interrupt = false;
        while left != 0 {
            let n = left.trailing_zeros() as usize;
            left &= left - 1;
            let by = times(self.counters[n].evtyper.event() as u16);
            if by > 0 && admits(self, n) {
                interrupt |= self.add(n, by);
            }
        }
        interrupt
    }

    /// Whether the filter of a counter admits a stream (10.4).
    fn matches(&self, n: usize, sid: u32) -> bool {
        let filter = &self.counters[if self.shape.one_filter { 0 } else { n }];
        let exists = mask(31, 0) >> (32 - u32::from(self.shape.sid_bits));
        let (smr, sid) = (filter.smr.streamid(), u64::from(sid) & exists);
        if !filter.evtyper.filter_sid_span() {
            return smr == sid;
        }
        smr == exists || (smr ^ sid) >> (smr.trailing_ones() + 1) == 0
    }

    /// Adds to a counter. An overflow sets its status, captures if it is to, and interrupts if it may.
    fn add(&mut self, n: usize, by: u64) -> bool {
        let sum = u128::from(self.counters[n].value) + u128::from(by);
        self.counters[n].value = sum as u64 & self.value_mask();
        if sum >> self.shape.bits == 0 {
            return false;
        }
        self.ovs |= bit(n);
        if self.counters[n].evtyper.ovfcap() {
            self.capture();
        }
        self.inten & bit(n) != 0 && self.irq() == (true, true)
    }

    fn capture(&mut self) {
        self.counters.iter_mut().for_each(|c| c.shadow = c.value);
    }

    /// So many cycles have passed since reset. Says whether that raises the interrupt.
    pub fn advance(&mut self, cycles: u64) -> bool {
        let by = cycles.saturating_sub(self.clock);
        self.clock = cycles;
        self.cycling != 0 && self.count_in(self.cycling, |_| by, |_, _| true)
    }

    /// Cycles until a counter of cycles overflows and somebody hears of it. One whose overflow is still in OVS is passed over, so
    /// that time alone does not make interrupts for ever.
    pub fn next_overflow(&self) -> Option<u64> {
        let interrupts = if self.irq() == (true, true) { self.inten } else { 0 };
        let heard = |n: &usize| interrupts & bit(*n) != 0 || self.counters[*n].evtyper.ovfcap();
        let waited_for = self.cycling & !self.ovs;
        let counters = (0..self.counters.len()).filter(|n| waited_for & bit(*n) != 0 && heard(n));
        counters.filter_map(|n| (self.value_mask() - self.counters[n].value).checked_add(1)).min()
    }

    /// A register's name, for messages.
    pub fn name(&self, page: Page, offset: u32) -> &'static str {
        match self.place(page, offset) {
            Some((Place::Counter { reg, .. }, _)) => reg.name(),
            Some((Place::Group(reg), _)) => reg.name(),
            None => "reserved",
        }
    }
}

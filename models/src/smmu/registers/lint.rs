//! What is wrong with an access, beyond what its effect shows.

use spec::smmu::ecmdq::ECMDQ_CONS;
use spec::smmu::page0::{
    CMDQ_BASE, CR0, CR0ACK, CR1, CR2, EVENTQ_BASE, GBPA, IRQ_CTRL, IRQ_CTRLACK, PRIQ_BASE, STRTAB_BASE,
    STRTAB_BASE_CFG,
};
use spec::smmu::{Ecmdq, GlobalError, Page0, Page1, Vatos, page1};

use super::super::atos::Group;
use super::super::command_queue::QueueRegisters;
use super::super::control::Control;
use super::super::lint::{self, Lint, Lints};
use super::super::ring::{Fill, Ring};
use super::{Output, Place, Registers, WINDOW, whole_fields};

/// The registers before a write.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    cr0: CR0,
    cr0_pending: u64,
    irq_pending: u64,
    errors: u64,
    gbpa_pending: bool,
    /// The enhanced command queue that is written has stopped.
    stopped: bool,
    /// The queue whose index is written.
    fill: Option<(Ring, Fill)>,
}

impl Registers {
    /// An access of `len` bytes at `offset`, whatever it does.
    pub fn lints_of_access(&self, offset: u32, len: usize) -> Lints {
        if !matches!(len, 4 | 8) || !offset.is_multiple_of(len as u32) {
            return Lints::when(true, Lint::AccessSize);
        }
        let halves = (offset..offset + len as u32).step_by(4).map(|word| self.place(word));
        let known = halves.clone().flatten().count();
        let whole = matches!(self.place(offset), Some((place, false)) if place.desc().bytes == 8);
        let base = page1::BASE as u32;
        let in_page1 = (base..WINDOW as u32).contains(&offset);
        let alias = halves.flatten().any(|(place, _)| matches!(place, Place::One(_))) && offset < base;
        Lints::from_iter([
            (len == 8 && known > 0 && !whole, Lint::TwoRegisters),
            (in_page1 && known == 0, Lint::Page1Hole),
            (alias, Lint::Page0Alias),
        ])
    }

    pub(super) fn before(&self, place: Place) -> Before {
        let cr0 = self.page0.get::<CR0>();
        Before {
            cr0,
            cr0_pending: whole_fields(cr0.0 ^ self.page0.get::<CR0ACK>().0),
            irq_pending: self.page0.get::<IRQ_CTRL>().0 ^ self.page0.get::<IRQ_CTRLACK>().0,
            errors: self.active_errors(),
            gbpa_pending: self.page0.get::<GBPA>().update(),
            stopped: matches!(place, Place::Ecmdq(queue, _) if self.ecmdqs[queue].is_stopped()),
            fill: self.fill_behind(place),
        }
    }

    /// The queue of the index that software moves there.
    fn fill_behind(&self, place: Place) -> Option<(Ring, Fill)> {
        let output = |queue| Some((self.output_ring(queue), self.output_fill(queue)));
        match place {
            Place::Zero(Page0::CMDQ_PROD) => {
                let ring = self.command_ring();
                Some((ring, ring.fill(self.command_prod(), self.command_cons())))
            }
            Place::Ecmdq(queue, Ecmdq::ECMDQ_PROD) => {
                let file = &self.ecmdqs[queue];
                Some((file.ring(), file.ring().fill(file.prod(), file.cons())))
            }
            Place::One(Page1::EVENTQ_CONS) => output(Output::Event),
            Place::One(Page1::PRIQ_CONS) => output(Output::Page),
            _ => None,
        }
    }

    /// How many entries an index that was written has added to its queue; none if it was or is beyond all entries.
    fn added(&self, before: &Before, place: Place) -> Option<i64> {
        let (old, new) = before.fill.zip(self.fill_behind(place))?;
        let entries =
            |(ring, fill): (Ring, Fill)| (fill != Fill::Inconsistent).then(|| i64::from(fill.entries(&ring)));
        Some(entries(new)? - entries(old)?)
    }

    /// What is wrong with a write: what was wanted, what the register is now, and which of its bits exist.
    pub(super) fn lints(&self, before: &Before, place: Place, wanted: u64, value: u64, mask: u64) -> Lints {
        let writable = place.desc().access != spec::regs::Access::Ro;
        let lost = (value ^ wanted) & mask;
        if !writable {
            return Lints::when(value != wanted, Lint::ReadOnly);
        }
        let found = match place {
            Place::Zero(reg) => self.lints_zero(reg, before, wanted, lost),
            Place::One(reg) => self.lints_one(reg, before, lost),
            Place::Ecmdq(queue, reg) => self.lints_ecmdq(queue, reg, before, lost),
            Place::Vatos(reg) => self.lints_atos(Group::Virtual, reg == Vatos::VATOS_CTRL, lost),
            Place::ControlPage(..) => Lints::NONE,
        };
        // Linux sets PTM whether or not there is broadcast invalidation.
        let usual = if place == Place::Zero(Page0::CR2) { CR2(0).with_ptm(true).0 } else { 0 };
        found.and(Lints::when(wanted & !(mask | usual) != 0, Lint::ReservedBits))
    }

    fn lints_zero(&self, reg: Page0, before: &Before, wanted: u64, lost: u64) -> Lints {
        let one = |condition, lint| Lints::when(condition, lint);
        match reg {
            Page0::CR0 => self.lints_cr0(before, wanted, lost),
            Page0::IRQ_CTRL => one(lost & before.irq_pending != 0, Lint::IrqCtrlAgain),
            Page0::GBPA => {
                let update = GBPA(wanted).update();
                let overridden = self.features.attr_perms_ovr && lint::has_reserved_override(GBPA(wanted));
                one(before.gbpa_pending, Lint::GbpaAgain)
                    .and(one(!before.gbpa_pending && !update, Lint::GbpaWithoutUpdate))
                    .and(one(update && overridden, Lint::ReservedOverride))
            }
            Page0::AGBPA => one(lost != 0, Lint::GbpaAgain),
            Page0::GERRORN => one(self.active_errors() & !before.errors != 0, Lint::ErrorToggled),
            Page0::CR1 => {
                let tables = CR1(lost);
                let tables = tables.table_ic() | tables.table_oc() | tables.table_sh() != 0;
                let queues = CR1(lost).queue_ic() | CR1(lost).queue_oc() | CR1(lost).queue_sh() != 0;
                one(tables, Lint::TablesEnabled).and(one(queues, Lint::QueuesEnabled))
            }
            Page0::CR2 | Page0::STRTAB_BASE | Page0::STRTAB_BASE_CFG => one(lost != 0, Lint::TablesEnabled),
            Page0::CMDQ_BASE | Page0::CMDQ_CONS => one(lost != 0, Lint::CommandsEnabled),
            Page0::EVENTQ_BASE | Page0::PRIQ_BASE => one(lost != 0, Lint::OutputEnabled),
            Page0::CMDQ_PROD => {
                let checked = self.enabled().cmdqen() && !self.is_active(GlobalError::CMDQ_ERR);
                let back = self.added(before, Place::Zero(reg)).is_some_and(|n| n < 0);
                one(checked && self.commands_inconsistent(), Lint::CommandIndices)
                    .and(one(checked && back, Lint::CommandsBack))
            }
            Page0::GATOS_CTRL | Page0::GATOS_SID | Page0::GATOS_ADDR => {
                self.lints_atos(Group::Global, reg == Page0::GATOS_CTRL, lost)
            }
            Page0::VATOS_SEL => self.lints_atos(Group::Virtual, false, lost),
            // What is left are interrupts' configurations.
            _ => one(lost != 0, Lint::InterruptEnabled),
        }
    }

    fn lints_one(&self, reg: Page1, before: &Before, lost: u64) -> Lints {
        let back = || self.added(before, Place::One(reg)).is_some_and(|n| n > 0);
        let (enabled, queue) = match reg {
            Page1::EVENTQ_PROD | Page1::PRIQ_PROD => return Lints::when(lost != 0, Lint::OutputEnabled),
            Page1::EVENTQ_CONS => (self.enabled().eventqen(), Output::Event),
            Page1::PRIQ_CONS => (self.enabled().priqen(), Output::Page),
        };
        Lints::from_iter([
            (enabled && self.is_inconsistent(queue), Lint::OutputIndices),
            (enabled && back(), Lint::OutputBack),
        ])
    }

    fn lints_ecmdq(&self, queue: usize, reg: Ecmdq, before: &Before, lost: u64) -> Lints {
        let file = &self.ecmdqs[queue];
        if reg == Ecmdq::ECMDQ_PROD && lost == 0 {
            let inconsistent = file.ring().fill(file.prod(), file.cons()) == Fill::Inconsistent;
            let runs = file.is_wanted() && !file.is_stopped();
            let back = self.added(before, Place::Ecmdq(queue, reg)).is_some_and(|n| n < 0);
            return Lints::from_iter([
                (runs && inconsistent, Lint::EnhancedIndices),
                (runs && file.is_acknowledged() && back, Lint::CommandsBack),
                (file.is_stopped() && !before.stopped, Lint::EnhancedErrack),
            ]);
        }
        let only_read = if reg == Ecmdq::ECMDQ_CONS { ECMDQ_CONS(0).with_enack(true).0 } else { 0 };
        let enabled = file.is_wanted() || file.is_acknowledged();
        Lints::from_iter([
            (lost != 0 && enabled, Lint::EnhancedEnabled),
            (lost & only_read != 0 && !enabled, Lint::ReadOnly),
        ])
    }

    /// A register of address translation operations; `ctrl`: the one that starts them.
    fn lints_atos(&self, group: Group, ctrl: bool, lost: u64) -> Lints {
        let held = ctrl || self.is_operating(group);
        Lints::when(lost != 0, if held { Lint::OperationRuns } else { Lint::ReservedBits })
    }

    fn lints_cr0(&self, before: &Before, wanted: u64, lost: u64) -> Lints {
        let now = self.page0.get::<CR0>();
        let raised = CR0(now.0 & !before.cr0.0);
        let operating = Group::ALL.iter().any(|&group| self.is_operating(group));
        let mut found = Lints::from_iter([
            (lost & before.cr0_pending != 0, Lint::Cr0Again),
            (self.features.vmw && now.vmw() > 4 && CR0(wanted).vmw() == now.vmw(), Lint::ReservedVmw),
            (raised.cmdqen() && self.commands_inconsistent(), Lint::CommandIndices),
            (raised.eventqen() && self.is_inconsistent(Output::Event), Lint::OutputIndices),
            (raised.priqen() && self.is_inconsistent(Output::Page), Lint::OutputIndices),
            (raised.smmuen() && self.unknown.contains(&true), Lint::NotInvalidated),
            (before.cr0.smmuen() && !now.smmuen() && operating, Lint::OperationCut),
        ]);
        let cr1 = self.page0.get::<CR1>();
        if raised.smmuen() {
            let control = Control {
                strtab_base: self.page0.get::<STRTAB_BASE>(),
                strtab_base_cfg: self.page0.get::<STRTAB_BASE_CFG>(),
                ..Control::new(self.features)
            };
            found.add(lint::enabling_tables(&control, cr1));
        }
        let bases =
            (self.page0.get::<CMDQ_BASE>(), self.page0.get::<EVENTQ_BASE>(), self.page0.get::<PRIQ_BASE>());
        found.and(lint::enabling_queues(raised, cr1, bases, &self.features))
    }

    fn commands_inconsistent(&self) -> bool {
        self.command_ring().fill(self.command_prod(), self.command_cons()) == Fill::Inconsistent
    }
    fn is_inconsistent(&self, queue: Output) -> bool {
        self.output_fill(queue) == Fill::Inconsistent
    }
}

//! Performance monitors in time: cycles, the alarm of their overflow, interrupts, and how long their Updates take.

use sim::Time;

use super::{Context, In, Out, Pending, Psmmu, Wake};
use crate::bus::{Abort, Data, Op};
use crate::smmu::caches::CacheStats;
use crate::smmu::interrupts::Raise;
use crate::smmu::pmcg::{Change, Each, Page, PmcgConfig, Pmcgs, Seen, Unit};
use crate::smmu::{Step, Translation};

/// The counter groups, and what is under way for them.
#[derive(Debug)]
pub(super) struct Monitors {
    pub(super) groups: Pmcgs,
    lines: Each<Option<u32>>,
    /// Messages that are not yet visible.
    messages: Each<u32>,
    /// An Update of IRQ_CTRL waits for them.
    draining: Each<bool>,
    /// When the alarm of an overflow goes off.
    alarm: Option<Time>,
}

impl Monitors {
    pub(super) fn new(config: &PmcgConfig) -> Result<Self, String> {
        Ok(Self {
            groups: Pmcgs::new(config)?,
            lines: config.lines,
            messages: Each::default(),
            draining: Each::default(),
            alarm: None,
        })
    }
}

impl Psmmu {
    /// What has been looked up so far, if somebody counts.
    #[inline]
    pub(super) fn before_counting(&self) -> Option<CacheStats> {
        let counting = self.monitors.as_ref().is_some_and(|m| m.groups.is_counting());
        counting.then_some(self.caches.stats)
    }

    /// Counts one step of a translation.
    pub(super) fn count(
        &mut self,
        seen: &mut Seen,
        translation: &Translation,
        step: &Step,
        before: &CacheStats,
        cx: &mut Context,
    ) {
        let cycles = self.cycles(cx.now);
        let lookups = self.caches.stats.since(before);
        let Some(monitors) = &mut self.monitors else { return };
        let passed = monitors.groups.advance(cycles);
        let raised = monitors.groups.step(seen, translation, step, lookups);
        self.raise_overflows(passed, cx);
        self.raise_overflows(raised, cx);
    }

    fn cycles(&self, now: Time) -> u64 {
        now.as_ps() / self.config.timing.clock.period().as_ps()
    }

    /// An access to the pages of a counter group.
    pub(super) fn access_pmcg(
        &mut self,
        (unit, page, offset): (Unit, Page, u32),
        op: &Op,
        cx: &mut Context,
    ) -> Result<Data, Abort> {
        self.let_cycles_pass(cx);
        let groups = &mut self.monitors.as_mut().expect("there are counter groups").groups;
        match op {
            Op::Read { len } => {
                self.metrics.register_reads += 1;
                Ok(super::mmio::answer(groups.group(unit).read(page, offset, usize::from(*len)), *len))
            }
            Op::Write(data) => {
                self.metrics.register_writes += 1;
                if groups.group_mut(unit).write(page, offset, data.len(), data.value()) == Change::IrqCtrl {
                    cx.wake(self.config.timing.update, In::Wake(Wake::PmcgIrqCtrl(unit)));
                }
                self.set_alarm(cx);
                Ok(Data::EMPTY)
            }
            _ => Err(Abort),
        }
    }

    fn let_cycles_pass(&mut self, cx: &mut Context) {
        let cycles = self.cycles(cx.now);
        if let Some(monitors) = &mut self.monitors {
            let raised = monitors.groups.advance(cycles);
            self.raise_overflows(raised, cx);
        }
    }

    /// Wakes up when a counter of cycles overflows. An alarm that is no longer needed does no harm.
    fn set_alarm(&mut self, cx: &mut Context) {
        let cycles = self.cycles(cx.now);
        let period = self.config.timing.clock.period().as_ps();
        let Some(monitors) = &mut self.monitors else { return };
        let due = monitors.groups.next_overflow().and_then(|n| n.checked_add(cycles)?.checked_mul(period));
        let Some(due) = due.map(Time::ps) else { return };
        if monitors.alarm.is_none_or(|alarm| due < alarm) {
            monitors.alarm = Some(due);
            cx.wake(due - cx.now, In::Wake(Wake::PmcgOverflow));
        }
    }

    pub(super) fn pmcg_alarm(&mut self, cx: &mut Context) {
        if let Some(monitors) = &mut self.monitors {
            monitors.alarm = monitors.alarm.filter(|alarm| *alarm > cx.now);
        }
        self.let_cycles_pass(cx);
        self.set_alarm(cx);
    }

    pub(super) fn pmcg_irq_ctrl_due(&mut self, unit: Unit) {
        if let Some(monitors) = &mut self.monitors {
            *monitors.draining.of_mut(unit) = true;
        }
    }

    /// Completes the Updates of IRQ_CTRL whose messages have arrived.
    pub(super) fn drain_pmcgs(&mut self, cx: &mut Context) {
        let Some(monitors) = &mut self.monitors else { return };
        let mut completed = false;
        for unit in Unit::ALL {
            let group = monitors.groups.group_mut(unit);
            let held = group.is_disabling_irq() && *monitors.messages.of(unit) > 0;
            if *monitors.draining.of(unit) && !held {
                *monitors.draining.of_mut(unit) = false;
                group.complete_irq_ctrl();
                completed = true;
            }
        }
        if completed {
            self.set_alarm(cx);
        }
    }

    fn raise_overflows(&mut self, raised: Each<bool>, cx: &mut Context) {
        for unit in Unit::ALL {
            if *raised.of(unit) {
                self.raise_overflow(unit, cx);
            }
        }
    }

    fn raise_overflow(&mut self, unit: Unit, cx: &mut Context) {
        let Some(monitors) = &mut self.monitors else { return };
        let Some(raise) = monitors.groups.group(unit).raise(*monitors.lines.of(unit), &self.control.features)
        else {
            return;
        };
        if self.triggers.interrupt_is_lost(&mut self.metrics) {
            return;
        }
        let when = cx.now + self.config.timing.interrupt;
        match raise {
            Raise::Wire(intid) => cx.say_at(when, Out::Interrupt { intid }),
            Raise::Message { addr, data } => {
                *monitors.messages.of_mut(unit) += 1;
                self.send(when, addr, Op::Write(Data::u32(data)), Pending::PmcgMessage(unit), cx);
            }
        }
    }

    pub(super) fn pmcg_message_done(&mut self, unit: Unit, aborted: bool) {
        let monitors = self.monitors.as_mut().expect("there are counter groups");
        *monitors.messages.of_mut(unit) -= 1;
        if aborted {
            monitors.groups.group_mut(unit).message_aborted();
        }
    }
}

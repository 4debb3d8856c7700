//! Performance monitors: the counter groups of an SMMU (IHI 0070, chapter 10), without a clock.
//!
//! ```text
//!  Translation --Step--> Seen --> Deeds --> Group (TBU), Group (TCU) --> overflow: OVS, capture, interrupt
//!                                  by event and StreamID
//!  cycles, where there is time ------------^
//! ```
//! An SMMU that has them has two, as the MMU-700: the TBU's counts what transactions do in front of the walker, the TCU's what
//! comes to the walker. A transaction is counted again when it is tried again after a stall. Traffic is counted whether or not
//! SMMUEN is set.

mod deeds;
mod group;
mod shape;
#[cfg(test)]
mod test;

pub use deeds::{Deeds, Seen};
pub use group::{Change, Group, Page};
pub use shape::Shape;

use super::caches::CacheStats;
use super::step::Step;
use super::translation::Translation;
use crate::bus::PhysAddr;

/// Bytes between two pages: each has 64KB of its own, so that any granule can give it away alone.
pub const STRIDE: u64 = 0x1_0000;
/// Bytes that the groups of an SMMU occupy: two pages each.
pub const REGION: u64 = 4 * STRIDE;

/// The part of an SMMU that a group belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// The translation control unit: configuration and walks.
    Tcu,
    /// The translation buffer unit: what transactions meet first.
    Tbu,
}

impl Unit {
    /// Both, in the order of their pages.
    pub const ALL: [Self; 2] = [Self::Tcu, Self::Tbu];

    /// Its name in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcu => "tcu",
            Self::Tbu => "tbu",
        }
    }
}

/// One of something for each unit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Each<T> {
    /// The TCU's.
    pub tcu: T,
    /// The TBU's.
    pub tbu: T,
}

impl<T> Each<T> {
    /// That of a unit.
    pub const fn of(&self, unit: Unit) -> &T {
        match unit {
            Unit::Tcu => &self.tcu,
            Unit::Tbu => &self.tbu,
        }
    }
    /// That of a unit, to change.
    pub const fn of_mut(&mut self, unit: Unit) -> &mut T {
        match unit {
            Unit::Tcu => &mut self.tcu,
            Unit::Tbu => &mut self.tbu,
        }
    }
}

impl Each<bool> {
    /// Whether it is so for one of them.
    pub const fn any(self) -> bool {
        self.tcu || self.tbu
    }
}

/// The counter groups of an SMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PmcgConfig {
    /// First byte of their pages ([`REGION`] bytes): TCU page 0, TCU page 1, TBU page 0, TBU page 1.
    pub base: PhysAddr,
    /// What they are made of.
    pub shapes: Each<Shape>,
    /// Their wired interrupts.
    pub lines: Each<Option<u32>>,
}

impl PmcgConfig {
    /// Those of an MMU-700, without interrupts.
    pub const fn mmu_700(base: PhysAddr) -> Self {
        let shapes = Each { tcu: Shape::MMU_700_TCU, tbu: Shape::MMU_700_TBU };
        Self { base, shapes, lines: Each { tcu: None, tbu: None } }
    }

    /// What lies at this address: whose page, which, and the offset from its start.
    pub const fn place(&self, addr: PhysAddr) -> Option<(Unit, Page, u32)> {
        let offset = addr.wrapping_sub(self.base);
        let (unit, page) = match offset / STRIDE {
            0 => (Unit::Tcu, Page::Zero),
            1 => (Unit::Tcu, Page::One),
            2 => (Unit::Tbu, Page::Zero),
            3 => (Unit::Tbu, Page::One),
            _ => return None,
        };
        Some((unit, page, (offset % STRIDE) as u32))
    }
}

/// The groups themselves.
#[derive(Clone, Debug)]
pub struct Pmcgs {
    groups: Each<Group>,
}

impl Pmcgs {
    /// Out of reset.
    ///
    /// # Errors
    /// A shape that the architecture does not have.
    pub fn new(config: &PmcgConfig) -> Result<Self, String> {
        let Each { tcu, tbu } = config.shapes;
        Ok(Self { groups: Each { tcu: Group::new(tcu)?, tbu: Group::new(tbu)? } })
    }

    /// A group.
    pub const fn group(&self, unit: Unit) -> &Group {
        self.groups.of(unit)
    }
    /// A group, to be accessed.
    pub const fn group_mut(&mut self, unit: Unit) -> &mut Group {
        self.groups.of_mut(unit)
    }

    /// Whether any counter is enabled. If not, nobody need tell what happens.
    #[inline]
    pub const fn is_counting(&self) -> bool {
        self.groups.tcu.is_counting() || self.groups.tbu.is_counting()
    }

    /// Counts one step of a translation, and the lookups in it. Says whose interrupt that raises.
    pub fn step(
        &mut self,
        seen: &mut Seen,
        translation: &Translation,
        step: &Step,
        lookups: CacheStats,
    ) -> Each<bool> {
        let deeds = Deeds { lookups, ..seen.step(translation, step) };
        self.count(translation.request().sid, &deeds)
    }

    /// Counts what a transaction has done. Says whose interrupt that raises.
    pub fn count(&mut self, sid: u32, deeds: &Deeds) -> Each<bool> {
        let Each { tcu, tbu } = &mut self.groups;
        Each {
            tcu: tcu.is_counting() && tcu.count(sid, |event| deeds.in_tcu(event)),
            tbu: tbu.is_counting() && tbu.count(sid, |event| deeds.in_tbu(event)),
        }
    }

    /// So many clock cycles have passed since reset. Says whose interrupt that raises.
    pub fn advance(&mut self, cycles: u64) -> Each<bool> {
        Each { tcu: self.groups.tcu.advance(cycles), tbu: self.groups.tbu.advance(cycles) }
    }

    /// Clock cycles until one of the counters of cycles overflows and somebody hears of it.
    pub fn next_overflow(&self) -> Option<u64> {
        [&self.groups.tcu, &self.groups.tbu].into_iter().filter_map(Group::next_overflow).min()
    }

    /// What the counters hold, by name; cycles as of the last access.
    pub fn rows(&self) -> Vec<(String, u64)> {
        let of = |unit: Unit| {
            let values = self.group(unit).values().enumerate();
            values.map(move |(n, value)| (format!("pmcg.{}.counter{n}", unit.name()), value))
        };
        Unit::ALL.into_iter().flat_map(of).collect()
    }
}

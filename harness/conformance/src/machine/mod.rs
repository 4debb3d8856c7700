//! A pSMMU with what surrounds it, in either mode.

mod cycles;
mod functional;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use models::bus::{Abort, Data, Op, PhysAddr};
use models::dma::{AtcInvalidate, DmaRequest, DmaResult, PageResponse};
use models::memory::PhysMem;
use models::psmmu::PsmmuConfig;
use models::record::{CommandQueue, Record};
use models::smmu::Attributes;
use spec::smmu::{Command, PageRequest};

use crate::suite::Mode;

/// What a row can do to a pSMMU.
pub(crate) trait Machine {
    /// Software accesses a register.
    fn access(&mut self, addr: PhysAddr, op: Op, world: &mut World) -> Result<Data, Abort>;
    /// A device sends a request. Its answer goes to [`World::answers`].
    fn send(&mut self, request: DmaRequest, world: &mut World);
    /// A device asks for a page. Answers go to [`World::page_responses`].
    fn ask_for_page(&mut self, request: PageRequest, world: &mut World);
    /// Lets the next thing happen. False if nothing is under way.
    fn step(&mut self, world: &mut World) -> bool;
    /// CMD_SYNCs that the hardware has inserted when it left a queue; no register or ring shows them.
    fn inserted_syncs(&self) -> u64;
}

/// A machine out of reset. Panics if the ID registers promise what is not modelled.
pub(crate) fn new(mode: Mode, config: PsmmuConfig) -> Box<dyn Machine> {
    match mode {
        Mode::Functional => Box::new(functional::Functional::new(config)),
        Mode::Cycles => Box::new(cycles::Cycles::new(config)),
    }
}

fn inserted_syncs(metrics: &[(String, u64)]) -> u64 {
    let row = metrics.iter().find(|(name, _)| name == "inserted_syncs");
    row.expect("both machines count them").1
}

/// What surrounds a pSMMU.
#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) memory: PhysMem,
    /// Addresses that abort whatever touches them.
    pub(crate) aborts: BTreeSet<u64>,
    /// Memory that answers late, where there is time.
    pub(crate) slow: Option<Range<u64>>,
    /// Memory attributes of the last read or access of a translation, by address.
    pub(crate) attributes: BTreeMap<u64, Attributes>,
    /// Nothing but addresses and data comes through on either side of the SMMU.
    pub(crate) bare_wires: bool,
    /// Reads and writes of the pSMMU so far.
    pub(crate) reads: Vec<u64>,
    pub(crate) writes: Vec<(u64, Vec<u8>)>,
    /// Wired interrupts so far.
    pub(crate) edges: Vec<u32>,
    /// ATC invalidations so far.
    pub(crate) invalidations: Vec<AtcInvalidate>,
    /// Answers to page requests so far.
    pub(crate) page_responses: Vec<PageResponse>,
    /// Devices do not answer ATC invalidations.
    pub(crate) mute: bool,
    /// StreamIDs of devices that do not answer ATC invalidations.
    pub(crate) mute_streams: BTreeSet<u32>,
    /// Answers to requests of devices, by tag.
    pub(crate) answers: BTreeMap<u32, DmaResult>,
    /// Commands that were consumed, as they were executed.
    pub(crate) executed: Vec<(CommandQueue, Command)>,
    /// What software did that is not defined.
    pub(crate) lints: Vec<String>,
    /// What else observers were told so far.
    pub(crate) records: Vec<Record>,
    /// Memory there is: the rest aborts. Everything if there is none.
    pub(crate) limit: Option<Range<u64>>,
    /// All addresses alias memory at this base, by these low bits.
    pub(crate) fold: Option<(u64, u64)>,
    /// What may still happen before the machine counts as one that never comes to rest. No limit if there is none.
    pub(crate) fuel: Option<u64>,
}

impl World {
    fn read(&mut self, addr: PhysAddr, into: &mut [u8]) -> Result<(), Abort> {
        let addr = self.arrives(addr);
        self.reads.push(addr);
        self.check(addr, into.len())?;
        self.memory.read(addr, into);
        Ok(())
    }

    fn write(&mut self, addr: PhysAddr, bytes: &[u8]) -> Result<(), Abort> {
        let addr = self.arrives(addr);
        self.check(addr, bytes.len())?;
        self.writes.push((addr, bytes.to_vec()));
        self.memory.write(addr, bytes);
        Ok(())
    }

    /// Replaces a word if it is the one expected; says what it was.
    fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort> {
        let addr = self.arrives(addr);
        self.check(addr, 8)?;
        let found = self.memory.compare_swap(addr, expected, new);
        if found == expected {
            self.writes.push((addr, new.to_le_bytes().to_vec()));
        }
        Ok(found)
    }

    /// A translation reads, or an access goes out, with these memory attributes.
    fn accessed(&mut self, addr: PhysAddr, attributes: Attributes) {
        self.attributes.insert(addr, if self.bare_wires { Attributes::COHERENT } else { attributes });
    }

    /// Something happens.
    ///
    /// # Panics
    /// The fuel is used up.
    fn burn(&mut self) {
        if let Some(fuel) = &mut self.fuel {
            *fuel = fuel.checked_sub(1).expect("the machine comes to rest");
        }
    }

    fn is_mute(&self, invalidate: &AtcInvalidate) -> bool {
        self.mute || self.mute_streams.contains(&invalidate.sid)
    }

    fn note(&mut self, record: Record) {
        match record {
            Record::CommandConsumed { queue, executed, .. } => self.executed.push((queue, executed)),
            Record::Lint { text, .. } => self.lints.push(text),
            record => self.records.push(record),
        }
    }

    /// Where in memory an access ends up.
    fn arrives(&mut self, addr: PhysAddr) -> PhysAddr {
        self.burn();
        self.fold.map_or(addr, |(base, bits)| base | addr & bits)
    }

    fn check(&self, addr: PhysAddr, len: usize) -> Result<(), Abort> {
        let end = addr.saturating_add(len as u64);
        let beyond = self.limit.as_ref().is_some_and(|limit| addr < limit.start || end > limit.end);
        if beyond || self.aborts.range(addr..end).next().is_some() { Err(Abort) } else { Ok(()) }
    }

    fn is_slow(&self, addr: PhysAddr) -> bool {
        self.slow.as_ref().is_some_and(|slow| slow.contains(&addr))
    }
}

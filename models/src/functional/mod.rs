//! A pSMMU without time: an SMMUv3 and, where there is one, its CMDQV block, for software that runs outside the simulation.
//!
//! ```text
//!   register access --> registers, CMDQV pages --> commands, to the last one that can run --> caches, ATCs, CONS, messages
//!   DMA of a device --> TLBs, walk --> memory, page by page; or event record, interrupt, stall
//!   page request of a device --> PRI queue, interrupt; or an answer
//! ```
//! This is the second driver of [`crate::smmu`] and [`crate::cmdqv`]; [`crate::psmmu`] is the first. There the cores' wishes
//! become messages that take their time; here [`Surroundings`] answers them at once, and whatever an access makes possible
//! has happened when the access returns.
//!
//! *Invariant:* between two calls nothing is under way: no command can run that has not, no record waits for its write, and
//! of the transactions only stalled ones are left. Everything read is software's or a guest's: none of it may panic or make a
//! call endless.

mod commands;
mod dma;
mod events;
mod held;
mod mmio;
mod pages;
mod pmcg;
#[cfg(test)]
mod test;

pub use dma::{DmaError, Fate, PARKED_MAX, Resumed, Stream};

use std::collections::VecDeque;

use bitvec::vec::BitVec;
use sim::Time;

use crate::bus::{Abort, PhysAddr};
use crate::cmdqv::knobs::RepeatInvalidations;
use crate::cmdqv::{Cmdqv, CmdqvConfig, Repeats, Ticket};
use crate::dma::{AtcInvalidate, PageResponse};
use crate::psmmu::{Metrics, PsmmuConfig, PsmmuFaults, Triggers};
use crate::record::Record;
use crate::smmu::arbiter::Arbiter;
use crate::smmu::command_queue::CommandQueue;
use crate::smmu::ecmdq::Ecmdqs;
use crate::smmu::engine::Engine;
use crate::smmu::event_queue::EventQueue;
use crate::smmu::pmcg::Pmcgs;
use crate::smmu::ports::Ports;
use crate::smmu::pri_queue::PriQueue;
use crate::smmu::registers::Registers;
use crate::smmu::stalls::Stalls;
use crate::smmu::{Attributes, Caches, Control, Features};

use self::dma::Parked;
use self::held::Held;

/// What surrounds a pSMMU: memory, wires, the endpoints' translation caches, observers.
pub trait Surroundings {
    /// Reads memory: structures, tables, queue entries, data. Up to 4096 bytes within a 4KB page.
    ///
    /// # Errors
    /// Nothing answers there.
    fn read(&mut self, addr: PhysAddr, into: &mut [u8]) -> Result<(), Abort>;
    /// Writes memory, or the message of an interrupt to its doorbell (4 bytes). Up to 4096 bytes within a 4KB page.
    ///
    /// # Errors
    /// Nothing answers there.
    fn write(&mut self, addr: PhysAddr, bytes: &[u8]) -> Result<(), Abort>;
    /// Replaces the 64-bit little-endian word at `addr` (a multiple of 8) by `new` if it is `expected`, and returns what it
    /// was. Where others write memory at the same time, this is one atomic access.
    ///
    /// # Errors
    /// Nothing answers there.
    fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort>;
    /// The words of a structure or table as a translation has just read them, and with which memory attributes. For observers.
    fn table_read(&mut self, addr: PhysAddr, bytes: &[u8], attributes: impl FnOnce() -> Attributes) {
        let _ = (addr, bytes, attributes);
    }
    /// A rising edge of a wired interrupt.
    fn edge(&mut self, intid: u32);
    /// Has an endpoint remove entries from its ATC. False if nobody answered: the SMMU takes that for a time-out.
    fn invalidate_atc(&mut self, invalidate: AtcInvalidate) -> bool;
    /// Answers the page requests of an endpoint. Nobody hears it if no endpoint here sends any.
    fn page_response(&mut self, response: PageResponse) {
        let _ = response;
    }
    /// What observers call now; goes into records that say when something began.
    fn now(&self) -> Time;
    /// Whether there are observers at all. If not, records are not even made.
    fn is_observed(&self) -> bool {
        true
    }
    /// Tells observers. The same records as a [`crate::psmmu::Psmmu`] notes, in an order that it could have.
    fn record(&mut self, record: Record);
}

/// An SMMUv3 with an optional CMDQV, without time. Of its timing only what the CMDQV's batch limit counts matters.
#[derive(Debug)]
pub struct FunctionalSmmu {
    config: PsmmuConfig,
    registers: Registers,
    /// The registers as translations see them; refreshed when they change.
    control: Control,
    caches: Caches,
    cmdqv: Option<Cmdqv>,
    monitors: Option<Pmcgs>,
    /// Handshakes of a VINTF that a fault keeps from being enabled.
    stuck: Vec<Ticket>,

    main: CommandQueue,
    ecmdqs: Ecmdqs,
    ports: Ports,
    arbiter: Arbiter,
    engine: Engine,
    /// Present where invalidations must be repeated.
    repeats: Option<Repeats>,
    ready: BitVec,
    /// Something happened that may let a command be fetched or executed.
    kicked: bool,
    atc_next: u32,
    /// Empty unless CMD_SYNC may complete too early.
    held: Held,

    events: EventQueue,
    pages: PriQueue,
    stalls: Stalls<Parked>,
    resumed: VecDeque<Resumed>,
    /// Id of the next transaction, for records.
    next_id: u64,
    triggers: Triggers,
    metrics: Metrics,
}

impl FunctionalSmmu {
    /// Out of reset.
    ///
    /// # Errors
    /// The ID registers promise what is not modelled, or sizes of the CMDQV or the performance monitors are out of range.
    pub fn new(config: PsmmuConfig) -> Result<Self, String> {
        let registers = Registers::new(Features::new(config.idr)?);
        let cmdqv = match &config.cmdqv {
            Some((_, cmdqv)) => {
                cmdqv.check()?;
                let mut cmdqv = Cmdqv::new(cmdqv.clone());
                config.faults.tell(cmdqv.faults_mut());
                Some(cmdqv)
            }
            None => None,
        };
        let vcmdqs = config.cmdqv.as_ref().map_or(0, |(_, c)| c.vcmdqs());
        let ports = Ports { vcmdqs, ecmdqs: registers.ecmdqs() };
        let count = ports.count();
        let has_erratum = |c: &CmdqvConfig| c.knobs.repeat_invalidations == RepeatInvalidations::On;
        let erratum = config.cmdqv.as_ref().is_some_and(|(_, c)| has_erratum(c));
        let mut this = Self {
            control: registers.control(),
            caches: Caches::new(&config.caches),
            registers,
            cmdqv,
            monitors: config.pmcg.as_ref().map(Pmcgs::new).transpose()?,
            stuck: Vec::new(),
            main: CommandQueue::default(),
            ecmdqs: Ecmdqs::new(ports.ecmdqs),
            ports,
            arbiter: Arbiter::default(),
            engine: Engine::new(count),
            repeats: erratum.then(|| Repeats::new(count)),
            ready: BitVec::repeat(false, count),
            kicked: false,
            atc_next: 0,
            held: Held::default(),
            events: EventQueue::default(),
            pages: PriQueue::default(),
            stalls: Stalls::default(),
            resumed: VecDeque::new(),
            next_id: 0,
            triggers: Triggers::new(&config.faults),
            metrics: Metrics::new(ports),
            config,
        };
        this.tell_cmdqv_whether_the_smmu_runs();
        Ok(this)
    }

    /// Back to the state after [`FunctionalSmmu::new`], with the faults as they are now and their occurrences counted anew.
    /// Stalled transactions are forgotten: whoever waits for one is reset, too.
    pub fn reset(&mut self) {
        *self = Self::new(self.config.clone()).expect("the configuration was good before");
    }

    /// What it was made with.
    pub fn config(&self) -> &PsmmuConfig {
        &self.config
    }
    /// Its registers, for observers.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }
    /// The registers as translations see them, for observers.
    pub fn control(&self) -> &Control {
        &self.control
    }
    /// Its caches, for observers.
    pub fn caches(&self) -> &Caches {
        &self.caches
    }
    /// Its CMDQV, for observers.
    pub fn cmdqv(&self) -> Option<&Cmdqv> {
        self.cmdqv.as_ref()
    }
    /// Counters since reset. Those that count waiting, and latencies, stay 0.
    pub fn counters(&self) -> &Metrics {
        &self.metrics
    }
    /// Everything counted, by name; without latencies.
    pub fn metrics(&self) -> Vec<(String, u64)> {
        let mut rows = self.metrics.rows(&self.caches.stats, self.cmdqv.as_ref(), false);
        rows.extend(self.monitors.as_ref().map(Pmcgs::rows).unwrap_or_default());
        rows
    }

    /// Changes what goes wrong, from now on.
    pub fn set_faults(&mut self, faults: &PsmmuFaults) {
        self.config.faults = *faults;
        self.triggers.change(faults);
        if let Some(cmdqv) = &mut self.cmdqv {
            faults.tell(cmdqv.faults_mut());
        }
    }
}

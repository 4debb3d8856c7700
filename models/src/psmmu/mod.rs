//! The pSMMU: an SMMUv3 and, on servers that have one, its CMDQV block, as one component with time.
//!
//! ```text
//!   endpoint --Dma--> tbu ----------translated access---------> memory
//!                      | miss: table reads --------------------> memory
//!   CPU ----Bus-----> registers, CMDQV pages
//!                      | doorbell
//!                     arbiter <- main queue, VCMDQs <- fetches -> memory
//!                      | one command at a time
//!                     engine --> caches, endpoints' ATCs, CMD_SYNC --> CONS, message
//!   events, global errors --> Event queue in memory --> message or edge
//!   endpoint --PageRequest--> PRI queue in memory --> message or edge; or PageResponse
//! ```
//! What the parts do is in [`crate::smmu`] and [`crate::cmdqv`], which know no time; here the cycles of [`PsmmuTiming`] are
//! charged and wishes become messages.
//!
//! *Invariant:* a CMD_SYNC is consumed only after every transaction that was in flight when it was issued has left,
//! memory access included (unless a fault of the environment says otherwise).

mod commands;
mod events;
mod faults;
mod metrics;
mod mmio;
mod pages;
mod pmcg;
mod tags;
mod tbu;
#[cfg(test)]
pub(crate) mod test;
mod timing;
mod window;

pub(crate) use commands::is_off;
pub(crate) use faults::Triggers;
pub use faults::{PsmmuFaults, Which, WhichCommands};
pub use metrics::Metrics;
pub use timing::PsmmuTiming;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bitvec::vec::BitVec;
use sim::{Component, Cx, Time};
use spec::smmu::page0::GBPA;
use spec::smmu::{CommandError, Page0, PageRequest};

use crate::bus::{Abort, Data, Op, PhysAddr, Requester, Response, Transaction};
use crate::cmdqv::knobs::RepeatInvalidations;
use crate::cmdqv::{Cmdqv, CmdqvConfig, Repeats, Ticket};
use crate::dma::{AtcInvalidate, DmaCompletion, DmaRequest, PageResponse};
use crate::record::Record;
use crate::smmu::arbiter::Arbiter;
use crate::smmu::atos::Group;
use crate::smmu::command_queue::CommandQueue;
use crate::smmu::ecmdq::Ecmdqs;
use crate::smmu::engine::{Engine, Sync};
use crate::smmu::event_queue::EventQueue;
use crate::smmu::interrupts::{Lines, Source};
use crate::smmu::pmcg::{PmcgConfig, Unit};
use crate::smmu::ports::Ports;
use crate::smmu::registers::Registers;
use crate::smmu::{Attributes, CacheShape, Caches, Control, Features, IdrProfile};

use self::commands::Executing;
use self::pages::Pages;
use self::pmcg::Monitors;
use self::tags::Tags;
use self::tbu::Tbu;
use self::window::Window;

/// What a pSMMU is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PsmmuConfig {
    /// Its number in the system.
    pub index: u16,
    /// First byte of its register pages ([`IdrProfile::window`] bytes).
    pub smmu_base: PhysAddr,
    /// The CMDQV block and the first byte of its region, if there is one.
    pub cmdqv: Option<(PhysAddr, CmdqvConfig)>,
    /// The performance monitors, if there are any.
    pub pmcg: Option<PmcgConfig>,
    /// ID registers.
    pub idr: IdrProfile,
    /// Sizes of the caches.
    pub caches: CacheShape,
    /// Wired interrupts of the SMMU.
    pub lines: Lines,
    /// Wired interrupt of the CMDQV.
    pub cmdqv_line: Option<u32>,
    /// What it charges.
    pub timing: PsmmuTiming,
    /// What goes wrong.
    pub faults: PsmmuFaults,
}

impl PsmmuConfig {
    /// An SMMU without CMDQV, interrupts or faults.
    pub fn new(index: u16, smmu_base: PhysAddr) -> Self {
        Self {
            index,
            smmu_base,
            cmdqv: None,
            pmcg: None,
            idr: IdrProfile::default(),
            caches: CacheShape::default(),
            lines: Lines::default(),
            cmdqv_line: None,
            timing: PsmmuTiming::default(),
            faults: PsmmuFaults::default(),
        }
    }
}

/// All that a pSMMU hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum In {
    /// An access to its registers.
    Bus(Transaction),
    /// The answer to one of its own transactions.
    Response(Response),
    /// A transaction of an endpoint.
    Dma(DmaRequest),
    /// A page request of an endpoint.
    PageRequest(PageRequest),
    /// An endpoint has answered an ATC invalidation, by completing it or by Unsupported Request; or the fabric has
    /// given up on it.
    AtcDone {
        /// Tag of the invalidation.
        tag: u32,
        /// Nobody answered.
        timed_out: bool,
    },
    /// From itself.
    Wake(Wake),
}

/// What a pSMMU hears from itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The Update of these bits of CR0 has taken its time.
    Cr0(u64),
    /// The Update of these bits of IRQ_CTRL has taken its time.
    IrqCtrl(u64),
    /// The Update of GBPA has taken its time.
    Gbpa,
    /// A CONFIG write of the CMDQV has taken its time.
    Cmdqv(Ticket),
    /// The Update of IRQ_CTRL of a counter group has taken its time.
    PmcgIrqCtrl(Unit),
    /// A counter of cycles may have overflowed.
    PmcgOverflow,
    /// The enable of this enhanced command queue has taken its time.
    Ecmdq(usize),
    /// An address translation operation of software has ended.
    Operated {
        /// Whose registers show it.
        group: Group,
        /// What they show.
        par: u64,
        /// Its number among what is in flight, if it got that far.
        id: Option<u64>,
    },
    /// The command in the engine has been executed.
    Executed,
    /// All that a CMD_SYNC waited for is over, and so is the round through the TBUs.
    Synced {
        /// The queue.
        port: usize,
        /// The CMD_SYNC.
        sync: Sync,
        /// Whether it stops its queue.
        result: Result<(), CommandError>,
    },
    /// The oldest ATC invalidation may have timed out.
    AtcTimeout,
}

/// All that a pSMMU says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// A transaction of its own, or a translated one of an endpoint.
    Bus(Transaction),
    /// The answer to a register access.
    Respond(Response),
    /// The answer to an endpoint.
    Dma(DmaCompletion),
    /// To the endpoint with this StreamID. Answered by [`In::AtcDone`].
    Atc(AtcInvalidate),
    /// To the endpoint with this StreamID.
    PageResponse(PageResponse),
    /// An edge of a wired interrupt.
    Interrupt {
        /// Its number.
        intid: u32,
    },
}

type Context = Cx<In, Out, Record>;

/// How a descriptor is to be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Update {
    expected: u64,
    new: u64,
}

/// What an outstanding bus transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pending {
    /// A table or structure read of the translation in this slot.
    Walk { slot: usize, aborted: bool },
    /// A change of a descriptor, for the translation in this slot.
    Update { slot: usize, addr: PhysAddr, update: Update },
    /// A translated access.
    Access { id: u64, endpoint: u16, tag: u32, since: Time },
    /// Entries of the main command queue.
    CommandFetch { ticket: u32, aborted: bool },
    /// Entries of an enhanced command queue.
    EcmdqFetch { queue: usize, ticket: u32, aborted: bool },
    /// Entries of a VCMDQ.
    CmdqvFetch { ticket: Ticket, aborted: bool },
    /// CONS of a VCMDQ.
    CmdqvWriteBack { ticket: Ticket },
    /// An event record.
    Event,
    /// A page request.
    PageRequest,
    /// A structure, for the answer to a page request.
    PageCheck { aborted: bool },
    /// The message of an interrupt; of a CMD_SYNC of this queue, if one is named.
    Message { source: Source, port: Option<usize> },
    /// The message of a counter group.
    PmcgMessage(Unit),
}

/// An SMMUv3 with an optional CMDQV.
#[derive(Debug)]
pub struct Psmmu {
    config: PsmmuConfig,
    registers: Registers,
    /// The registers as translations see them; refreshed when they change.
    control: Control,
    caches: Caches,
    cmdqv: Option<Cmdqv>,
    monitors: Option<Monitors>,

    main: CommandQueue,
    ecmdqs: Ecmdqs,
    ports: Ports,
    arbiter: Arbiter,
    /// The queue whose command was taken last.
    served: Option<usize>,
    engine: Engine,
    executing: Option<Executing>,
    /// Present where invalidations must be repeated.
    repeats: Option<Repeats>,
    ready: BitVec,
    /// Something happened that may let a command be fetched or executed.
    kicked: bool,
    /// ATC invalidations without answer: tag and queue.
    atc: BTreeMap<u32, usize>,
    atc_next: u32,
    atc_deadlines: VecDeque<(Time, u32)>,
    /// An alarm for the oldest deadline is set.
    atc_armed: bool,
    /// No ATC invalidation leaves before an ATS answer that was given earlier.
    atc_earliest: Time,

    events: EventQueue,
    pages: Pages,
    /// Messages of interrupts that are not yet visible, by source.
    messages: BTreeMap<Source, u32>,
    /// Bits of CR0 and IRQ_CTRL whose Update waits for something to drain.
    draining: u64,
    draining_irq: u64,
    /// Enhanced command queues whose ENACK waits for a command to end.
    draining_ecmdqs: BTreeSet<usize>,

    tbu: Tbu,
    window: Window,
    tags: Tags<Pending>,
    triggers: Triggers,
    metrics: Metrics,
}

impl Psmmu {
    /// Out of reset.
    ///
    /// # Errors
    /// The ID registers promise what is not modelled, or sizes of the CMDQV or the performance monitors are out of range.
    pub fn new(config: PsmmuConfig) -> Result<Self, String> {
        let features = Features::new(config.idr)?;
        let registers = Registers::new(features);
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
            main: CommandQueue::default(),
            ecmdqs: Ecmdqs::new(ports.ecmdqs),
            ports,
            arbiter: Arbiter::default(),
            served: None,
            engine: Engine::new(count),
            executing: None,
            repeats: erratum.then(|| Repeats::new(count)),
            ready: BitVec::repeat(false, count),
            kicked: false,
            atc: BTreeMap::new(),
            atc_next: 0,
            atc_deadlines: VecDeque::new(),
            atc_armed: false,
            atc_earliest: Time::ZERO,
            events: EventQueue::default(),
            pages: Pages::default(),
            messages: BTreeMap::new(),
            draining: 0,
            draining_irq: 0,
            draining_ecmdqs: BTreeSet::new(),
            tbu: Tbu::new(&config.timing),
            window: Window::default(),
            tags: Tags::new(),
            triggers: Triggers::new(&config.faults),
            metrics: Metrics::new(ports),
            monitors: config.pmcg.as_ref().map(Monitors::new).transpose()?,
            cmdqv,
            config,
        };
        this.tell_cmdqv_whether_the_smmu_runs();
        Ok(this)
    }

    /// What it was made with.
    pub fn config(&self) -> &PsmmuConfig {
        &self.config
    }
    /// Its registers, for observers.
    pub fn registers(&self) -> &Registers {
        &self.registers
    }
    /// Its caches, for observers.
    pub fn caches(&self) -> &Caches {
        &self.caches
    }
    /// Its CMDQV, for observers.
    pub fn cmdqv(&self) -> Option<&Cmdqv> {
        self.cmdqv.as_ref()
    }
    /// Changes what goes wrong, from now on.
    pub fn set_faults(&mut self, faults: &PsmmuFaults) {
        self.config.faults = *faults;
        self.triggers.change(faults);
        if let Some(cmdqv) = &mut self.cmdqv {
            faults.tell(cmdqv.faults_mut());
        }
    }
    /// Whether nothing is under way: no transaction, no command, no record.
    pub fn is_idle(&self) -> bool {
        self.tags.len() == 0
            && self.window.oldest() == self.window.next()
            && self.executing.is_none()
            && !Group::ALL.iter().any(|group| self.registers.is_operating(*group))
            && self.engine.syncs() == 0
            && self.events.is_idle()
            && self.pages.is_idle()
            && self.atc.is_empty()
    }

    fn smmu(&self) -> u16 {
        self.config.index
    }

    /// Sends a transaction of the SMMU's own at `when`. Queues and doorbells count as coherent, whatever CR1 and IRQ_CFG2 say.
    fn send(&mut self, when: Time, addr: PhysAddr, op: Op, pending: Pending, cx: &mut Context) {
        self.send_with(Attributes::COHERENT, (when, addr, op), pending, cx);
    }

    /// The same for a structure, a table or a device, with these memory attributes.
    fn send_with(
        &mut self,
        attributes: Attributes,
        (when, addr, op): (Time, PhysAddr, Op),
        pending: Pending,
        cx: &mut Context,
    ) {
        let tag = self.tags.put(pending);
        let from = Requester::Psmmu(self.config.index);
        cx.say_at(when, Out::Bus(Transaction { from, tag, addr, op, attributes }));
    }

    fn responded(&mut self, response: &Response, cx: &mut Context) {
        let aborted = |aborted: bool| if aborted { Err(Abort) } else { response.result };
        match self.tags.take(response.tag) {
            Pending::Walk { slot, aborted: lost } => self.walked(slot, aborted(lost), cx),
            Pending::Update { slot, addr, update } => self.updated(slot, addr, update, response.result, cx),
            Pending::Access { id, endpoint, tag, since } => {
                self.accessed(id, endpoint, tag, since, response.result, cx);
            }
            Pending::CommandFetch { ticket, aborted: lost } => {
                self.main.fetched(ticket, aborted(lost));
                self.kicked = true;
            }
            Pending::EcmdqFetch { queue, ticket, aborted: lost } => {
                self.ecmdqs.fetched(queue, ticket, aborted(lost), &self.registers);
                self.kicked = true;
            }
            Pending::CmdqvFetch { ticket, aborted: lost } => {
                let result = aborted(lost);
                self.with_cmdqv(cx, |cmdqv| cmdqv.fetched(ticket, result));
            }
            Pending::CmdqvWriteBack { ticket } => {
                let result = response.result.map(|_: Data| ());
                self.with_cmdqv(cx, |cmdqv| cmdqv.written_back(ticket, result));
            }
            Pending::Event => self.event_written(response.result.map(|_: Data| ()), cx),
            Pending::PageRequest => self.page_request_written(response.result.map(|_: Data| ()), cx),
            Pending::PageCheck { aborted: lost } => self.page_check_read(aborted(lost), cx),
            Pending::Message { source, port } => {
                self.message_done(source, port, response.result.is_err(), cx);
            }
            Pending::PmcgMessage(unit) => self.pmcg_message_done(unit, response.result.is_err()),
        }
    }

    fn woken(&mut self, wake: Wake, cx: &mut Context) {
        match wake {
            Wake::Cr0(fields) => self.draining |= fields,
            Wake::IrqCtrl(fields) => self.draining_irq |= fields,
            Wake::Gbpa => {
                self.registers.complete_gbpa();
                self.control = self.registers.control();
                self.note_update(Page0::GBPA, self.registers.get::<GBPA>().0, cx);
            }
            Wake::Cmdqv(ticket) => self.with_cmdqv(cx, |cmdqv| cmdqv.handshake_done(ticket)),
            Wake::Ecmdq(queue) => {
                self.draining_ecmdqs.insert(queue);
            }
            Wake::Operated { group, par, id } => self.operated(group, par, id),
            Wake::Executed => self.executed(cx),
            Wake::Synced { port, sync, result } => self.synced(port, sync, result, cx),
            Wake::AtcTimeout => self.atc_deadline(cx),
            Wake::PmcgIrqCtrl(unit) => self.pmcg_irq_ctrl_due(unit),
            Wake::PmcgOverflow => self.pmcg_alarm(cx),
        }
    }
}

impl Component for Psmmu {
    type In = In;
    type Out = Out;
    type Note = Record;

    fn on(&mut self, heard: In, cx: &mut Context) {
        match heard {
            In::Bus(transaction) => self.access(&transaction, cx),
            In::Response(response) => self.responded(&response, cx),
            In::Dma(request) => self.dma(request, cx),
            In::PageRequest(request) => self.page_request(request, cx),
            In::AtcDone { tag, timed_out } => self.atc_done(tag, timed_out),
            In::Wake(wake) => self.woken(wake, cx),
        }
        self.translate(cx);
        self.write_event(cx);
        self.write_page_request(cx);
        self.complete_syncs(cx);
        self.drain(cx);
        self.drain_pmcgs(cx);
        if std::mem::take(&mut self.kicked) {
            self.serve(cx);
        }
    }
}

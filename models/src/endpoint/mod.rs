//! PCIe endpoints, each behind its own root port.
//!
//! ```text
//!   Job, registers --> device (dma | nvme | stream) --> engine --+-- no ATC ------------------> Dma (untranslated)
//!                            ^                                   +-- ATC hit -----------------> Dma (translated)
//!                            +--- finished transfers --- Dma <---+-- ATC miss --> translation request, then again
//! ```
//! The root port and the link are inside: what leaves an [`Endpoint`] is at the root port at that moment, and what it
//! hears has just reached the root port.

mod atc;
mod engine;
mod link;
mod timing;

pub use atc::{AtcConfig, AtcFaults};
pub use engine::EndpointCounters;
pub use link::RootPortConfig;
pub use timing::{DiskTiming, LinkTiming};

use sim::{Component, Cx};

use self::engine::{Engine, Finished, Purpose, Transfer};
use crate::bus::{Abort, Data, Op, PhysAddr, Response, Transaction};
use crate::dma::{AtcInvalidate, DmaCompletion, DmaRequest, DmaResult, Job, JobResult};
use crate::record::Record;

/// Bytes of an endpoint's BAR.
pub const BAR_SIZE: u64 = 0x4000;

/// What an endpoint is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs jobs and nothing else.
    Dma,
}

/// An endpoint and its root port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointConfig {
    /// Its index in the system.
    pub endpoint: u16,
    /// Where it is plugged in.
    pub root_port: RootPortConfig,
    /// Requester ID: bus, device, function.
    pub requester_id: u16,
    /// Requests that it may have outstanding, at least one.
    pub tags: u32,
    /// First byte of its BAR, which has [`BAR_SIZE`] bytes.
    pub bar: PhysAddr,
    /// What it is.
    pub kind: Kind,
    /// Its ATC, if it speaks ATS. With one, every access is by a translated address.
    pub ats: Option<AtcConfig>,
    /// What goes wrong with invalidations.
    pub atc_faults: AtcFaults,
}

impl EndpointConfig {
    /// An endpoint for jobs with 256 tags and no ATC.
    pub fn dma(endpoint: u16, root_port: RootPortConfig, requester_id: u16) -> Self {
        Self {
            endpoint,
            root_port,
            requester_id,
            tags: 256,
            bar: 0,
            kind: Kind::Dma,
            ats: None,
            atc_faults: AtcFaults::default(),
        }
    }
    /// Its StreamID.
    pub fn stream(&self) -> u32 {
        self.root_port.stream(self.requester_id)
    }
}

/// All that an endpoint hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum In {
    /// A job for its control port.
    Job {
        /// Who gives it.
        cpu: u16,
        /// Returned with the result.
        tag: u32,
        /// What to do.
        job: Box<Job>,
    },
    /// The completion of a request is at the root port.
    Dma(DmaCompletion),
    /// An access to its BAR is at the root port.
    Bus(Transaction),
    /// An invalidation is at the root port.
    Atc(AtcInvalidate),
    /// From itself: something has crossed the link.
    Arrived(Arrival),
}

/// What comes down the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The completion of a request.
    Dma(DmaCompletion),
    /// An access to the BAR.
    Bus(Transaction),
    /// An invalidation.
    Atc(AtcInvalidate),
}

/// All that an endpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    /// A request leaves the root port for the pSMMU.
    Dma(DmaRequest),
    /// A job ended.
    JobDone {
        /// Who gave it.
        cpu: u16,
        /// As in [`In::Job`].
        tag: u32,
        /// How.
        result: Box<JobResult>,
    },
    /// The answer to an access to the BAR.
    Respond(Response),
    /// An invalidation is answered, or the root port gave up waiting.
    AtcDone {
        /// Which endpoint.
        endpoint: u16,
        /// The tag of the invalidation.
        tag: u32,
        /// The StreamID that it named.
        sid: u32,
        /// No answer came in time.
        timed_out: bool,
    },
}

/// An endpoint behind its root port.
#[derive(Debug)]
pub struct Endpoint {
    config: EndpointConfig,
    engine: Engine,
}

type Context = Cx<In, Out, Record>;

impl Endpoint {
    /// An idle endpoint.
    pub fn new(config: EndpointConfig) -> Self {
        Self { engine: Engine::new(&config), config }
    }
    /// What it is.
    pub fn config(&self) -> &EndpointConfig {
        &self.config
    }
    /// What it did so far.
    pub fn counters(&self) -> &EndpointCounters {
        &self.engine.counters
    }
    /// Number of transfers under way.
    pub fn transfers(&self) -> usize {
        self.engine.transfers()
    }

    /// Something is at the root port and goes down the link.
    fn descend(&mut self, arrival: Arrival, payload: usize, cx: &mut Context) {
        let at = self.engine.link.down(cx.now, payload);
        cx.wake(at - cx.now, In::Arrived(arrival));
    }

    fn start_job(&mut self, cpu: u16, tag: u32, job: Job) {
        let Job { write, iova, ssid, len, pattern } = job;
        self.engine.start(Transfer { purpose: Purpose::Job { cpu, tag }, write, iova, ssid, len, pattern });
    }

    /// The root port takes posted writes over at once; reads are answered by the device.
    fn take_bus(&mut self, transaction: Transaction, cx: &mut Context) {
        match transaction.op {
            Op::Write(data) => {
                let accept = self.engine.link.timing.accept;
                cx.say(accept, Out::Respond(transaction.respond(Ok(Data::EMPTY))));
                self.descend(Arrival::Bus(transaction), data.len(), cx);
            }
            Op::Read { .. } => self.descend(Arrival::Bus(transaction), 0, cx),
            // No AtomicOps on PCIe configuration and registers here.
            Op::CompareSwap { .. } | Op::FetchAdd(_) | Op::Swap(_) => {
                cx.note(Record::BusError { by: transaction.from, addr: transaction.addr });
                let accept = self.engine.link.timing.accept;
                cx.say(accept, Out::Respond(transaction.respond(Err(Abort))));
            }
        }
    }

    fn access_bar(&mut self, transaction: &Transaction, cx: &mut Context) {
        let offset = transaction.addr.wrapping_sub(self.config.bar);
        match transaction.op {
            Op::Write(data) => self.write_register(offset, data, cx),
            _ => {
                let result = self.read_register(offset, transaction.op.len());
                if result.is_err() {
                    cx.note(Record::BusError { by: transaction.from, addr: transaction.addr });
                }
                let at = self.engine.link.up(cx.now, transaction.op.len());
                cx.say_at(at, Out::Respond(transaction.respond(result)));
            }
        }
    }

    fn read_register(&self, _offset: u64, _len: usize) -> Result<Data, Abort> {
        match &self.config.kind {
            Kind::Dma => Err(Abort),
        }
    }

    fn write_register(&mut self, _offset: u64, _data: Data, _cx: &mut Context) {
        match &self.config.kind {
            Kind::Dma => {}
        }
    }

    fn finish(&mut self, finished: Finished, cx: &mut Context) {
        let Finished { purpose, done, aborted, data } = finished;
        match purpose {
            Purpose::Job { cpu, tag } => {
                let result = Box::new(JobResult { done, aborted, data });
                cx.say(sim::Time::ZERO, Out::JobDone { cpu, tag, result });
            }
            Purpose::Device(_) => unreachable!("only devices start these"),
        }
    }
}

/// Bytes that a completion carries down the link.
fn payload(completion: &DmaCompletion) -> usize {
    match completion.result {
        DmaResult::Ok(data) => data.len(),
        DmaResult::Translation { .. } => 8,
        DmaResult::Aborted(_) | DmaResult::Unsupported => 0,
    }
}

impl Component for Endpoint {
    type In = In;
    type Out = Out;
    type Note = Record;

    fn on(&mut self, heard: In, cx: &mut Context) {
        match heard {
            In::Job { cpu, tag, job } => self.start_job(cpu, tag, *job),
            In::Dma(completion) => self.descend(Arrival::Dma(completion), payload(&completion), cx),
            In::Bus(transaction) => self.take_bus(transaction, cx),
            In::Atc(request) => self.descend(Arrival::Atc(request), 8, cx),
            In::Arrived(Arrival::Dma(completion)) => self.engine.completed(&completion, cx),
            In::Arrived(Arrival::Bus(transaction)) => self.access_bar(&transaction, cx),
            In::Arrived(Arrival::Atc(request)) => self.engine.invalidate(&request, cx),
        }
        while let Some(finished) = self.engine.take_finished() {
            self.finish(finished, cx);
        }
        self.engine.issue(cx);
    }
}

#[cfg(test)]
mod test;

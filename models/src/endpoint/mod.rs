//! PCIe endpoints, each behind its own root port.
//!
//! ```text
//!   Job, registers --> device (dma | nvme | stream) --> engine --+-- no ATC ------------------> Dma (untranslated)
//!                            ^                                   +-- ATC hit -----------------> Dma (translated)
//!                            +--- finished transfers --- Dma <---+-- ATC miss --> translation request, then again
//!                                                                +-- no access --> page request, then again
//! ```
//! The root port and the link are inside: what leaves an [`Endpoint`] is at the root port at that moment, and what it
//! hears has just reached the root port.

mod atc;
mod engine;
mod link;
mod message;
pub mod nvme;
mod paging;
pub mod stream;
mod timing;

pub use atc::{Atc, AtcConfig, AtcFaults, Found, Need, Span};
pub use engine::EndpointCounters;
pub use link::RootPortConfig;
pub use nvme::NvmeConfig;
pub use paging::{GROUPS, PriConfig};
pub use stream::StreamConfig;
pub use timing::{DiskTiming, LinkTiming};

use sim::{Component, Cx, Time};
use spec::smmu::PageRequest;

use self::engine::{Engine, Finished, Purpose, Transfer};
use self::message::Message;
use self::nvme::Nvme;
use self::stream::Stream;
use crate::bus::{Abort, Data, Op, PhysAddr, Response, Transaction};
use crate::dma::{AtcInvalidate, DmaCompletion, DmaRequest, DmaResult, Job, JobResult, PageResponse};
use crate::faults::Which;
use crate::memory::PhysMem;
use crate::record::Record;

/// Bytes of an endpoint's BAR.
pub const BAR_SIZE: u64 = 0x4000;

/// What an endpoint is. All kinds run jobs as well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Runs jobs and nothing else; it has no registers.
    Dma,
    /// A disk; see [`nvme::layout`] for its registers.
    Nvme(NvmeConfig),
    /// A periodic stream; see [`stream`] for its registers.
    Stream(StreamConfig),
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
    /// Its page requests, if it may send any. They need an ATC.
    pub pri: Option<PriConfig>,
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
            pri: None,
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
    /// The machine starts: a stream that is configured to run begins.
    Start,
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
    /// An answer to page requests is at the root port.
    PageResponse(PageResponse),
    /// From itself: something has crossed the link.
    Arrived(Arrival),
    /// From itself: the device's time has come, by a number that only it understands.
    Timer(u64),
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
    /// An answer to page requests.
    PageResponse(PageResponse),
}

/// All that an endpoint says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    /// A request leaves the root port for the pSMMU.
    Dma(DmaRequest),
    /// A page request leaves the root port for the pSMMU.
    PageRequest(PageRequest),
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
    device: Device,
}

#[derive(Debug)]
enum Device {
    Dma,
    Nvme(Box<Nvme>),
    Stream(Box<Stream>),
}

type Context = Cx<In, Out, Record>;

impl Endpoint {
    /// An idle endpoint.
    pub fn new(config: EndpointConfig) -> Self {
        let device = match &config.kind {
            Kind::Dma => Device::Dma,
            Kind::Nvme(config) => Device::Nvme(Box::new(Nvme::new(*config))),
            Kind::Stream(config) => Device::Stream(Box::new(Stream::new(*config))),
        };
        Self { engine: Engine::new(&config), device, config }
    }
    /// What it is.
    pub fn config(&self) -> &EndpointConfig {
        &self.config
    }
    /// Invalidations that it does not notice, counted from now on.
    pub fn set_silent(&mut self, which: Which) {
        self.engine.set_silent(which);
    }
    /// What it did so far.
    pub fn counters(&self) -> &EndpointCounters {
        &self.engine.counters
    }
    /// Number of transfers under way.
    pub fn transfers(&self) -> usize {
        self.engine.transfers()
    }
    /// The bytes of its disk, if it is one.
    pub fn disk(&self) -> Option<&PhysMem> {
        match &self.device {
            Device::Nvme(nvme) => Some(nvme.disk()),
            Device::Dma | Device::Stream(_) => None,
        }
    }
    /// The bytes of its disk, for loading an image before a run.
    pub fn disk_mut(&mut self) -> Option<&mut PhysMem> {
        match &mut self.device {
            Device::Nvme(nvme) => Some(nvme.disk_mut()),
            Device::Dma | Device::Stream(_) => None,
        }
    }

    /// Something is at the root port and goes down the link.
    fn descend(&mut self, arrival: Arrival, payload: usize, cx: &mut Context) {
        let at = self.engine.link.down(cx.now, payload);
        cx.wake(at - cx.now, In::Arrived(arrival));
    }

    fn start_job(&mut self, cpu: u16, tag: u32, job: Job) {
        let Job { write, iova, ssid, incoming, len, pattern, stop } = job;
        let purpose = Purpose::Job { cpu, tag };
        let untranslated = false;
        self.engine.start(Transfer {
            purpose,
            write,
            iova,
            ssid,
            incoming,
            len,
            pattern,
            untranslated,
            stop,
        });
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
        let len = transaction.op.len();
        let exists = matches!(len, 4 | 8)
            && offset.is_multiple_of(len as u64)
            && offset < BAR_SIZE
            && !matches!(self.device, Device::Dma);
        if !exists {
            cx.note(Record::BusError { by: transaction.from, addr: transaction.addr });
        }
        if let Op::Write(data) = transaction.op {
            if exists {
                for (i, word) in data.bytes().chunks_exact(4).enumerate() {
                    let word = u32::from_le_bytes(word.try_into().expect("four bytes"));
                    self.write_register(offset + 4 * i as u64, word, cx);
                }
            }
            return;
        }
        let result = if exists { Ok(self.read_registers(offset, len)) } else { Err(Abort) };
        let at = self.engine.link.up(cx.now, len);
        cx.say_at(at, Out::Respond(transaction.respond(result)));
    }

    fn read_registers(&self, offset: u64, len: usize) -> Data {
        let read = |offset| match &self.device {
            Device::Dma => 0,
            Device::Nvme(nvme) => nvme.read(offset),
            Device::Stream(stream) => stream.read(offset),
        };
        if len == 4 {
            Data::u32(read(offset))
        } else {
            Data::u64(u64::from(read(offset)) | u64::from(read(offset + 4)) << 32)
        }
    }

    fn write_register(&mut self, offset: u64, value: u32, cx: &mut Context) {
        match &mut self.device {
            Device::Dma => {}
            Device::Nvme(nvme) => nvme.write(offset, value, &mut self.engine),
            Device::Stream(stream) => stream.write(offset, value, cx),
        }
    }

    fn timer(&mut self, number: u64, cx: &mut Context) {
        match &mut self.device {
            Device::Dma => {}
            Device::Nvme(nvme) => nvme.timer(number as u16, &mut self.engine),
            Device::Stream(stream) => stream.tick(number, &mut self.engine, cx),
        }
    }

    fn finish(&mut self, finished: Finished, cx: &mut Context) {
        match (finished.purpose, &mut self.device) {
            (Purpose::Job { cpu, tag }, _) => {
                let Finished { done, aborted, data, .. } = finished;
                let result = Box::new(JobResult { done, aborted, data });
                cx.say(Time::ZERO, Out::JobDone { cpu, tag, result });
            }
            (Purpose::Device(work), Device::Nvme(nvme)) => {
                nvme.finished(work, finished, &mut self.engine, cx);
            }
            (Purpose::Device(work), Device::Stream(stream)) => {
                stream.finished(work, &finished, &mut self.engine);
            }
            (Purpose::Device(work), Device::Dma) => unreachable!("nobody started {work:?}"),
        }
    }
}

/// Bytes that a completion carries down the link.
fn payload(completion: &DmaCompletion) -> usize {
    match completion.result {
        DmaResult::Ok(data) => data.len(),
        DmaResult::Translation(_) => 8,
        DmaResult::Aborted(_) | DmaResult::Unsupported => 0,
    }
}

impl Component for Endpoint {
    type In = In;
    type Out = Out;
    type Note = Record;

    fn on(&mut self, heard: In, cx: &mut Context) {
        match heard {
            In::Start => {
                if let Device::Stream(stream) = &mut self.device {
                    stream.start(cx);
                }
            }
            In::Timer(number) => self.timer(number, cx),
            In::Job { cpu, tag, job } => self.start_job(cpu, tag, *job),
            In::Dma(completion) => self.descend(Arrival::Dma(completion), payload(&completion), cx),
            In::Bus(transaction) => self.take_bus(transaction, cx),
            In::Atc(request) => self.descend(Arrival::Atc(request), 8, cx),
            In::PageResponse(response) => self.descend(Arrival::PageResponse(response), 0, cx),
            In::Arrived(Arrival::PageResponse(response)) => self.engine.page_answered(&response),
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

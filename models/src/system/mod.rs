//! The wiring: every component of a machine, the address map, and who hears what is said.
//!
//! One domain holds all: CPUs, memory, interrupt controller, pSMMUs, endpoints. [`Machine`] runs it.

mod machine;
mod map;
mod signals;
mod timing;

pub use machine::{Counters, Machine};
pub use map::{AddressMap, Overlap, PMCG_OFFSET, Target};
pub use timing::FabricTiming;

use sim::{Component, Cx, Queue, Time};
use spec::cmdqv::region_bytes;

use self::signals::{Signals, Waiter};
use crate::bus::{Abort, Requester, Response, Transaction};
use crate::cpu::{self, CpuId, CpuTiming, SignalId};
use crate::dma::{DmaCompletion, PageAnswer, PageResponse};
use crate::endpoint::{self, Endpoint, EndpointConfig};
use crate::interrupt::{self, InterruptConfig, InterruptController};
use crate::memory::{self, Memory, MemoryConfig};
use crate::psmmu::{self, Psmmu, PsmmuConfig};
use crate::record::Record;
use crate::smmu::pmcg;
use crate::smmuv2::{self, Smmuv2Config, Smmuv2Pair};

/// What a machine consists of.
#[derive(Clone, Debug)]
pub struct SystemConfig {
    /// The node of each CPU.
    pub cpu_nodes: Vec<u16>,
    /// Cost inside CPUs.
    pub cpu: CpuTiming,
    /// Memory.
    pub memory: MemoryConfig,
    /// Interrupts; the controller is on node 0.
    pub interrupts: InterruptConfig,
    /// The pSMMUs, each with its node.
    pub psmmus: Vec<(u16, PsmmuConfig)>,
    /// Sets of SMMUv2 instances, each with its node. They are numbered on from the pSMMUs.
    pub pairs: Vec<(u16, Smmuv2Config)>,
    /// The endpoints, each with the number of the pSMMU or set that it is behind.
    pub endpoints: Vec<(u16, EndpointConfig)>,
    /// Cost between components.
    pub fabric: FabricTiming,
}

/// Why a machine cannot be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unbuildable {
    /// Two completers claim the same address.
    Overlap(Overlap),
    /// A pSMMU, by index, cannot be what its configuration says.
    Psmmu(u16, String),
}

impl std::fmt::Display for Unbuildable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Overlap(overlap) => overlap.fmt(f),
            Self::Psmmu(index, why) => write!(f, "pSMMU {index}: {why}"),
        }
    }
}

/// A message on its way to a component.
#[derive(Debug)]
enum Event {
    Cpu(CpuId, cpu::In),
    Memory(memory::In),
    Interrupts(interrupt::In),
    Psmmu(u16, psmmu::In),
    Pair(u16, smmuv2::In),
    Endpoint(u16, endpoint::In),
    Signal(SignalId),
    WaitSignal(SignalId, Waiter),
}

/// Contexts, kept so that a reaction allocates nothing.
#[derive(Debug, Default)]
struct Contexts {
    cpu: Cx<cpu::In, cpu::Out, Record>,
    memory: Cx<memory::In, memory::Out, Record>,
    interrupts: Cx<interrupt::In, interrupt::Out, Record>,
    psmmu: Cx<psmmu::In, psmmu::Out, Record>,
    pair: Cx<smmuv2::In, smmuv2::Out, Record>,
    endpoint: Cx<endpoint::In, endpoint::Out, Record>,
}

/// All components of a machine.
#[derive(Debug)]
struct System {
    cpus: Vec<cpu::Core>,
    cpu_nodes: Vec<u16>,
    memory: Memory,
    interrupts: InterruptController,
    psmmus: Vec<Psmmu>,
    pairs: Vec<Smmuv2Pair>,
    /// Nodes of pSMMUs, then of sets of instances.
    psmmu_nodes: Vec<u16>,
    endpoints: Vec<Endpoint>,
    /// The pSMMU or set in front of each endpoint.
    behind: Vec<u16>,
    /// (pSMMU, StreamID) to endpoint.
    streams: std::collections::BTreeMap<(u16, u32), u16>,
    map: AddressMap,
    fabric: FabricTiming,
    signals: Signals,
    records: Vec<(Time, Record)>,
    contexts: Contexts,
}

/// Lets a component hear one message and files what comes of it.
macro_rules! react {
    ($self:ident, $now:ident, $queue:ident, $cx:ident, $component:expr, $heard:expr, $me:expr, $wire:ident $(, $who:expr)?) => {{
        let mut cx = std::mem::take(&mut $self.contexts.$cx);
        cx.now = $now;
        $component.on($heard, &mut cx);
        for (at, message) in cx.woken.drain(..) {
            $queue.push(at, $me(message));
        }
        for (at, out) in cx.said.drain(..) {
            $self.$wire(at, $($who,)? out, $queue);
        }
        $self.records.extend(cx.notes.drain(..).map(|note| ($now, note)));
        $self.contexts.$cx = cx;
    }};
}

impl System {
    fn new(config: SystemConfig) -> Result<Self, Unbuildable> {
        let mut windows = vec![(config.interrupts.base, config.interrupts.size(), Target::Interrupts)];
        windows.extend(config.memory.ranges.iter().map(|r| (r.base, r.size, Target::Memory)));
        windows.extend(config.pairs.iter().map(|(_, p)| (p.base, p.size(), Target::Pair(p.index))));
        for (i, (_, psmmu)) in config.psmmus.iter().enumerate() {
            let target = Target::Psmmu(i as u16);
            windows.push((psmmu.smmu_base, psmmu.idr.window(), target));
            windows.extend(psmmu.pmcg.map(|pmcg| (pmcg.base, pmcg::REGION, target)));
            windows.extend(
                psmmu
                    .cmdqv
                    .as_ref()
                    .map(|(base, cmdqv)| (*base, region_bytes(cmdqv.vintfs() as u64), target)),
            );
        }
        for (i, (_, endpoint)) in config.endpoints.iter().enumerate() {
            if endpoint.bar != 0 {
                windows.push((endpoint.bar, endpoint::BAR_SIZE, Target::Endpoint(i as u16)));
            }
        }
        let streams = config
            .endpoints
            .iter()
            .enumerate()
            .map(|(i, (smmu, e))| ((*smmu, e.stream()), i as u16))
            .collect();
        Ok(Self {
            cpus: (0..config.cpu_nodes.len()).map(|i| cpu::Core::new(CpuId(i as u16), config.cpu)).collect(),
            cpu_nodes: config.cpu_nodes,
            memory: Memory::new(config.memory),
            interrupts: InterruptController::new(config.interrupts),
            psmmu_nodes: config
                .psmmus
                .iter()
                .map(|(node, _)| *node)
                .chain(config.pairs.iter().map(|(node, _)| *node))
                .collect(),
            pairs: config.pairs.into_iter().map(|(_, pair)| Smmuv2Pair::new(pair)).collect(),
            psmmus: config
                .psmmus
                .into_iter()
                .enumerate()
                .map(|(i, (_, psmmu))| Psmmu::new(psmmu).map_err(|why| Unbuildable::Psmmu(i as u16, why)))
                .collect::<Result<_, _>>()?,
            behind: config.endpoints.iter().map(|(smmu, _)| *smmu).collect(),
            endpoints: config.endpoints.into_iter().map(|(_, endpoint)| Endpoint::new(endpoint)).collect(),
            streams,
            map: AddressMap::new(windows).map_err(Unbuildable::Overlap)?,
            fabric: config.fabric,
            signals: Signals::default(),
            records: Vec::new(),
            contexts: Contexts::default(),
        })
    }

    fn dispatch(&mut self, now: Time, event: Event, queue: &mut Queue<Event>) {
        match event {
            Event::Cpu(id, heard) => {
                let me = |message| Event::Cpu(id, message);
                react!(self, now, queue, cpu, self.cpus[usize::from(id.0)], heard, me, wire_cpu, id);
            }
            Event::Memory(heard) => {
                react!(self, now, queue, memory, self.memory, heard, Event::Memory, wire_memory);
            }
            Event::Interrupts(heard) => {
                react!(
                    self,
                    now,
                    queue,
                    interrupts,
                    self.interrupts,
                    heard,
                    Event::Interrupts,
                    wire_interrupts
                );
            }
            Event::Psmmu(id, heard) => {
                let me = |message| Event::Psmmu(id, message);
                react!(self, now, queue, psmmu, self.psmmus[usize::from(id)], heard, me, wire_psmmu, id);
            }
            Event::Pair(id, heard) => {
                let me = |message| Event::Pair(id, message);
                let place = usize::from(id) - self.psmmus.len();
                react!(self, now, queue, pair, self.pairs[place], heard, me, wire_pair, id);
            }
            Event::Endpoint(id, heard) => {
                let me = |message| Event::Endpoint(id, message);
                react!(
                    self,
                    now,
                    queue,
                    endpoint,
                    self.endpoints[usize::from(id)],
                    heard,
                    me,
                    wire_endpoint,
                    id
                );
            }
            Event::Signal(signal) => {
                let (count, waiters) = self.signals.raise(signal);
                for waiter in waiters {
                    let heard = cpu::In::Signalled { tag: waiter.tag, count };
                    queue.push(now, Event::Cpu(waiter.cpu, heard));
                }
            }
            Event::WaitSignal(signal, waiter) => {
                if let Some(count) = self.signals.wait(signal, waiter) {
                    queue.push(now, Event::Cpu(waiter.cpu, cpu::In::Signalled { tag: waiter.tag, count }));
                }
            }
        }
    }

    fn wire_cpu(&mut self, at: Time, id: CpuId, out: cpu::Out, queue: &mut Queue<Event>) {
        match out {
            cpu::Out::Bus(transaction) => self.route(at, transaction, queue),
            cpu::Out::Watch { tag, addr, len, value } => {
                queue.push(at, Event::Memory(memory::In::Watch { cpu: id.0, tag, addr, len, value }));
            }
            cpu::Out::Signal(signal) => queue.push(at + self.fabric.signal, Event::Signal(signal)),
            cpu::Out::WaitSignal { tag, signal, seen } => {
                queue.push(at, Event::WaitSignal(signal, Waiter { cpu: id, tag, seen }));
            }
            cpu::Out::Job { tag, endpoint, job } => {
                let heard = endpoint::In::Job { cpu: id.0, tag, job };
                queue.push(at + self.fabric.job, Event::Endpoint(endpoint, heard));
            }
            cpu::Out::Spawn { cpu, task } => queue.push(at, Event::Cpu(cpu, cpu::In::Spawn(task))),
        }
    }

    fn wire_memory(&mut self, at: Time, out: memory::Out, queue: &mut Queue<Event>) {
        match out {
            memory::Out::Respond(response) => Self::respond(at, response, queue),
            memory::Out::Touched { cpu, tag } => {
                queue.push(at, Event::Cpu(CpuId(cpu), cpu::In::Touched { tag }));
            }
        }
    }

    fn wire_interrupts(&mut self, at: Time, out: interrupt::Out, queue: &mut Queue<Event>) {
        match out {
            interrupt::Out::Respond(response) => self.respond_from(at, 0, response, queue),
            interrupt::Out::Deliver { cpu, intid } => {
                queue.push(at, Event::Cpu(cpu, cpu::In::Interrupt(intid)));
            }
        }
    }

    fn wire_psmmu(&mut self, at: Time, id: u16, out: psmmu::Out, queue: &mut Queue<Event>) {
        match out {
            psmmu::Out::Bus(transaction) => self.route(at, transaction, queue),
            psmmu::Out::Respond(response) => {
                self.respond_from(at, self.psmmu_nodes[usize::from(id)], response, queue);
            }
            psmmu::Out::Dma(completion) => self.complete_dma(at, completion, queue),
            psmmu::Out::Atc(invalidate) => match self.streams.get(&(id, invalidate.sid)) {
                Some(endpoint) => {
                    queue.push(
                        at + self.fabric.dma,
                        Event::Endpoint(*endpoint, endpoint::In::Atc(invalidate)),
                    );
                }
                // Nobody there: Unsupported Request, which counts as completed.
                None => {
                    let heard = psmmu::In::AtcDone { tag: invalidate.tag, timed_out: false };
                    queue.push(at + self.fabric.dma, Event::Psmmu(id, heard));
                }
            },
            // Nobody there: it is lost.
            psmmu::Out::PageResponse(response) => {
                if let Some(endpoint) = self.streams.get(&(id, response.sid)) {
                    let heard = endpoint::In::PageResponse(response);
                    queue.push(at + self.fabric.dma, Event::Endpoint(*endpoint, heard));
                }
            }
            psmmu::Out::Interrupt { intid } => self.edge(at, id, intid, queue),
        }
    }

    fn wire_pair(&mut self, at: Time, id: u16, out: smmuv2::Out, queue: &mut Queue<Event>) {
        match out {
            smmuv2::Out::Bus(transaction) => self.route(at, transaction, queue),
            smmuv2::Out::Respond(response) => {
                self.respond_from(at, self.psmmu_nodes[usize::from(id)], response, queue);
            }
            smmuv2::Out::Dma(completion) => self.complete_dma(at, completion, queue),
            smmuv2::Out::Interrupt { intid } => self.edge(at, id, intid, queue),
        }
    }

    fn wire_endpoint(&mut self, at: Time, id: u16, out: endpoint::Out, queue: &mut Queue<Event>) {
        let behind = self.behind[usize::from(id)];
        match out {
            endpoint::Out::Dma(request) => {
                let event = if usize::from(behind) < self.psmmus.len() {
                    Event::Psmmu(behind, psmmu::In::Dma(request))
                } else {
                    Event::Pair(behind, smmuv2::In::Dma(request))
                };
                queue.push(at + self.fabric.dma, event);
            }
            endpoint::Out::PageRequest(request) => {
                let (at, smmu) = (at + self.fabric.dma, usize::from(behind) < self.psmmus.len());
                queue.push(
                    at,
                    if smmu {
                        Event::Psmmu(behind, psmmu::In::PageRequest(request))
                    } else {
                        // An SMMUv2 has no PRI queue: the root port refuses.
                        let sid = request.sid() as u32;
                        let group = request.prgindex() as u16;
                        let response = PageResponse { sid, ssid: None, group, answer: PageAnswer::Failure };
                        Event::Endpoint(id, endpoint::In::PageResponse(response))
                    },
                );
            }
            endpoint::Out::JobDone { cpu, tag, result } => {
                queue.push(at + self.fabric.job, Event::Cpu(CpuId(cpu), cpu::In::JobDone { tag, result }));
            }
            endpoint::Out::Respond(response) => {
                let node = self.psmmu_nodes[usize::from(behind)];
                self.respond_from(at, node, response, queue);
            }
            endpoint::Out::AtcDone { tag, timed_out, .. } => {
                queue.push(at + self.fabric.dma, Event::Psmmu(behind, psmmu::In::AtcDone { tag, timed_out }));
            }
        }
    }

    /// Sends a transaction to whoever answers at its address.
    fn route(&mut self, at: Time, transaction: Transaction, queue: &mut Queue<Event>) {
        let to_device = |node| self.distance(transaction.from, node);
        match self.map.target(transaction.addr) {
            Some(Target::Memory) => queue.push(at, Event::Memory(memory::In::Access(transaction))),
            Some(Target::Interrupts) => {
                let way = if matches!(transaction.from, Requester::Psmmu(_)) {
                    self.fabric.interrupt
                } else {
                    to_device(0)
                };
                queue.push(at + way, Event::Interrupts(interrupt::In::Bus(transaction)));
            }
            Some(Target::Psmmu(id)) => {
                let way = to_device(self.psmmu_nodes[usize::from(id)]);
                queue.push(at + way, Event::Psmmu(id, psmmu::In::Bus(transaction)));
            }
            Some(Target::Pair(id)) => {
                let way = to_device(self.psmmu_nodes[usize::from(id)]);
                queue.push(at + way, Event::Pair(id, smmuv2::In::Bus(transaction)));
            }
            Some(Target::Endpoint(id)) => {
                let way = to_device(self.psmmu_nodes[usize::from(self.behind[usize::from(id)])]);
                queue.push(at + way, Event::Endpoint(id, endpoint::In::Bus(transaction)));
            }
            None => {
                self.records.push((at, Record::BusError { by: transaction.from, addr: transaction.addr }));
                let way = self.fabric.mmio * 2;
                Self::respond(at + way, transaction.respond(Err(Abort)), queue);
            }
        }
    }

    fn respond(at: Time, response: Response, queue: &mut Queue<Event>) {
        let event = match response.to {
            Requester::Cpu(id) => Event::Cpu(CpuId(id), cpu::In::Response(response)),
            Requester::Psmmu(id) => Event::Psmmu(id, psmmu::In::Response(response)),
            Requester::Pair(id) => Event::Pair(id, smmuv2::In::Response(response)),
        };
        queue.push(at, event);
    }

    /// The latency between a requester and a device on `node`.
    fn distance(&self, requester: Requester, node: u16) -> Time {
        let from = match requester {
            Requester::Cpu(id) => self.cpu_nodes[usize::from(id)],
            Requester::Psmmu(id) | Requester::Pair(id) => self.psmmu_nodes[usize::from(id)],
        };
        if from == node { self.fabric.mmio } else { self.fabric.mmio + self.fabric.remote }
    }

    fn respond_from(&self, at: Time, node: u16, response: Response, queue: &mut Queue<Event>) {
        Self::respond(at + self.distance(response.to, node), response, queue);
    }

    fn complete_dma(&self, at: Time, completion: DmaCompletion, queue: &mut Queue<Event>) {
        let heard = endpoint::In::Dma(completion);
        queue.push(at + self.fabric.dma, Event::Endpoint(completion.endpoint, heard));
    }

    /// A rising edge of a wire of an SMMU.
    fn edge(&self, at: Time, smmu: u16, intid: u32, queue: &mut Queue<Event>) {
        let heard = interrupt::In::Edge { intid, smmu: Some(smmu) };
        queue.push(at + self.fabric.interrupt, Event::Interrupts(heard));
    }
}

//! From a checked scenario to a machine and to what the host's firmware tables say of it.

use kernel::cmdqv::CmdqvConfig as CmdqvAt;
use kernel::host::{DeviceNode, SmmuNode};
use kernel::iommufd::Costs as SyscallCosts;
use kernel::journal::Actor;
use kernel::smmu::{Config, Wanted};
use kernel::vmm::VmCosts;
use models::cmdqv::CmdqvConfig;
use models::cmdqv::knobs::RepeatInvalidations;
use models::cpu::{CpuId, CpuTiming};
use models::endpoint::{AtcConfig, EndpointConfig, LinkTiming, PriConfig, RootPortConfig};
use models::interrupt::{self, InterruptConfig};
use models::memory::{MemoryConfig, MemoryFaults, MemoryRange, MemoryTiming};
use models::psmmu::{PsmmuConfig, PsmmuTiming};
use models::smmu::CacheShape;
use models::smmu::arbiter::Policy;
use models::smmu::assoc::Shape;
use models::smmu::pmcg::{Each, PmcgConfig};
use models::smmuv2::{EngineTiming, Smmuv2Config};
use models::system::{FabricTiming, PMCG_OFFSET, SystemConfig};
use sim::{Clock, Time};
use spec::cmdqv::config::CONFIG;

use super::judge::{Facts, SmmuFact, StreamFact, VmFact};
use crate::model::{Behind, CmdqvSizes, Endpoint, Pair, Psmmu, Scenario};
use crate::names::{PairId, PsmmuId};
use crate::platform::{Arbitration, EndpointKind};
use crate::preset::SmmuTiming;

/// Where the interrupt controller is: below all device windows.
const INTERRUPTS: u64 = 0x0200_0000;
/// The host's driver has linear tables of CDs, and no larger ones.
const PASID_BITS_MAX: u64 = 10;
/// First BAR of endpoints.
const BARS: u64 = 0x6000_0000;
/// First wired interrupt of pSMMUs; each has eight.
const FIRST_INTID: u32 = 32;
const INTIDS_PER_SMMU: u32 = 8;
const GERROR: u32 = 0;
const EVENTQ: u32 = 1;
const PRIQ: u32 = 2;
const CMDQV: u32 = 3;
const PMCG_TCU: u32 = 4;
const PMCG_TBU: u32 = 5;

/// The first wired interrupt of a pSMMU.
const fn first_intid(smmu: usize) -> u32 {
    FIRST_INTID + INTIDS_PER_SMMU * smmu as u32
}

/// Which CPU does what. CPUs are shared when there are fewer than roles.
#[derive(Clone, Debug)]
pub(super) struct CpuPlan {
    nodes: Vec<u16>,
    /// CPUs taken for virtual CPUs so far.
    next_vcpu: usize,
}

impl CpuPlan {
    fn new(nodes: Vec<u16>) -> Self {
        Self { nodes, next_vcpu: 0 }
    }
    /// Runs the script and the VMMs' own threads.
    pub(super) const SCRIPT: CpuId = CpuId(0);
    /// Takes interrupts.
    pub(super) fn interrupts(&self) -> CpuId {
        CpuId(1 % self.nodes.len() as u16)
    }
    /// CPUs that run guests and load threads: of this node, where it has some beside those with other roles.
    fn workers(&self, node: Option<u16>) -> Vec<CpuId> {
        let all = || (0..self.nodes.len() as u16).map(CpuId);
        let free = |cpu: &CpuId| cpu.0 > 1;
        let near = |cpu: &CpuId| node.is_none_or(|node| self.nodes[usize::from(cpu.0)] == node);
        let best: Vec<CpuId> = all().filter(free).filter(near).collect();
        let good: Vec<CpuId> = all().filter(near).collect();
        if best.is_empty() { good } else { best }
    }
    /// Physical CPUs for the next `n` virtual CPUs of a VM on `node`.
    pub(super) fn take_vcpus(&mut self, n: u64, node: u16) -> Vec<CpuId> {
        let workers = self.workers(Some(node));
        let first = self.next_vcpu;
        self.next_vcpu += n as usize;
        (0..n as usize).map(|i| workers[(first + i) % workers.len()]).collect()
    }
    /// The CPU of a host load's thread.
    pub(super) fn thread(&self, nth: u64) -> CpuId {
        let workers = self.workers(None);
        workers[(nth % workers.len() as u64) as usize]
    }
}

/// All that follows from a scenario's platform.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) system: SystemConfig,
    pub(super) smmus: Vec<SmmuNode>,
    pub(super) devices: Vec<DeviceNode>,
    /// For each endpoint its place among `devices`; none for those behind a register broadcast.
    pub(super) device_of: Vec<Option<usize>>,
    pub(super) cpus: CpuPlan,
    pub(super) syscalls: SyscallCosts,
    pub(super) vm_costs: VmCosts,
    /// Free memory: first byte and end, by node.
    pub(super) memory: Vec<(u64, u64)>,
}

impl Plan {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let cpu_nodes: Vec<u16> = scenario
            .nodes
            .iter()
            .enumerate()
            .flat_map(|(node, n)| std::iter::repeat_n(node as u16, n.cpus as usize))
            .collect();
        let count = cpu_nodes.len() as u16;
        let cpus = CpuPlan::new(cpu_nodes.clone());
        let host = &scenario.host;
        let ranges: Vec<MemoryRange> = scenario
            .nodes
            .iter()
            .enumerate()
            .map(|(node, n)| MemoryRange { base: n.base, size: n.memory, node: node as u16 })
            .collect();
        let memory = ranges.iter().map(|r| (r.base, r.base + r.size)).collect();
        let psmmu_nodes: Vec<u16> = scenario
            .psmmus
            .iter()
            .map(|p| p.node.0)
            .chain(scenario.pairs.iter().map(|p| p.node.0))
            .map(|n| n as u16)
            .collect();
        let remote = scenario.links.iter().map(|l| l.latency).max();
        let timing = MemoryTiming {
            dram_load: host.memory_latency,
            transfer: host.line_transfer,
            remote: host.line_transfer_remote.saturating_sub(host.line_transfer),
            ..MemoryTiming::default()
        };
        let interrupts = InterruptConfig::new(INTERRUPTS, count);
        let routes = interrupts.base + interrupt::ROUTES;
        let psmmus =
            scenario.psmmus.iter().enumerate().map(|(i, p)| (p.node.0 as u16, psmmu_config(i, p))).collect();
        let mut devices = Vec::new();
        let mut device_of = Vec::new();
        let mut endpoints = Vec::new();
        for (i, endpoint) in scenario.endpoints.iter().enumerate() {
            endpoints.push((scenario.number_of(endpoint.behind), endpoint_config(i, endpoint)));
            match endpoint.behind {
                Behind::Psmmu(smmu) => {
                    device_of.push(Some(devices.len()));
                    devices.push(DeviceNode {
                        name: endpoint.name.clone(),
                        endpoint: i as u16,
                        smmu: smmu.0,
                        sids: endpoint.streams.clone(),
                        canwbs: endpoint.canwbs,
                        ats: endpoint.ats,
                        pasid_bits: endpoint.pasid_bits.min(PASID_BITS_MAX) as u8,
                    });
                }
                Behind::Pair(_) => device_of.push(None),
            }
        }
        let smmus = scenario
            .psmmus
            .iter()
            .enumerate()
            .map(|(i, p)| {
                let first = first_intid(i);
                let mut config = Config::new(Actor::Host, i as u16, p.mmio, first);
                config.cmdqv = p.cmdqv.map(|c| CmdqvAt { base: c.mmio, intid: Some(first + CMDQV) });
                config.interrupts.routes = Some(routes);
                let asks = |e: &Endpoint| e.page_requests.is_some() && e.behind == Behind::Psmmu(PsmmuId(i));
                let pri = scenario.endpoints.iter().any(asks);
                config.wanted = Wanted { msi_polling: false, pri, ..Wanted::default() };
                let on = |c: CmdqvSizes| c.knobs.repeat_invalidations == RepeatInvalidations::On;
                config.repeat_invalidations = p.cmdqv.is_some_and(on);
                SmmuNode { name: p.name.clone(), config, interrupts_on: cpus.interrupts() }
            })
            .collect();
        let pairs =
            scenario.pairs.iter().enumerate().map(|(i, p)| (p.node.0 as u16, pair(scenario, i, p))).collect();
        let fabric = FabricTiming {
            mmio: host.mmio_latency,
            remote: remote.unwrap_or(FabricTiming::default().remote),
            ..FabricTiming::default()
        };
        let vm_exit = (host.vm_exit + host.vmm_exit) / 2;
        Self {
            system: SystemConfig {
                cpu_nodes: cpu_nodes.clone(),
                cpu: CpuTiming { wake_up: host.interrupt_latency, ..CpuTiming::default() },
                memory: MemoryConfig {
                    ranges,
                    cpu_nodes,
                    psmmu_nodes,
                    directory_lines: 16 * 1024,
                    timing,
                    faults: MemoryFaults::default(),
                },
                interrupts,
                psmmus,
                pairs,
                endpoints,
                fabric,
            },
            smmus,
            devices,
            device_of,
            cpus,
            syscalls: SyscallCosts { ioctl: host.syscall, ..SyscallCosts::default() },
            vm_costs: VmCosts { exit: vm_exit, entry: vm_exit, ..VmCosts::default() },
            memory,
        }
    }
}

impl Plan {
    /// What the judge is told before the run.
    pub(super) fn facts(&self, scenario: &Scenario) -> Facts {
        let psmmus = scenario.psmmus.iter().zip(&self.system.psmmus);
        let smmus = psmmus.map(|(p, (_, config))| SmmuFact::of(&p.name, config));
        let pairs = scenario.pairs.iter().map(|p| SmmuFact {
            name: p.name.clone(),
            version2: true,
            ..SmmuFact::default()
        });
        let streams = scenario.endpoints.iter().filter_map(|e| match e.behind {
            Behind::Psmmu(smmu) => Some((smmu.0 as u16, e)),
            Behind::Pair(_) => None,
        });
        let streams = streams.flat_map(|(smmu, e)| {
            e.streams.iter().map(move |&sid| StreamFact { smmu, sid, name: e.name.clone() })
        });
        Facts {
            smmus: smmus.chain(pairs).collect(),
            streams: streams.collect(),
            vsmmus: scenario.vsmmus.iter().map(|v| v.name.clone()).collect(),
            vms: scenario.vms.iter().map(|v| VmFact { name: v.name.clone(), memory: Vec::new() }).collect(),
            cpus: self.system.cpu_nodes.len(),
            memory: self.memory.iter().map(|&(first, end)| first..end).collect(),
        }
    }
}

/// The configuration of a physical SMMU, by its number: registers and wires where a scenario has them.
pub fn psmmu_config(index: usize, p: &Psmmu) -> PsmmuConfig {
    let mut config = PsmmuConfig::new(index as u16, p.mmio);
    config.idr = p.id.profile();
    config.caches = caches(&p.timing);
    config.timing = timing(&p.timing);
    let first = first_intid(index);
    config.lines.gerror = Some(first + GERROR);
    config.lines.eventq = Some(first + EVENTQ);
    config.lines.priq = Some(first + PRIQ);
    if let Some(c) = p.cmdqv {
        let cmdqv = CmdqvConfig {
            vintfs_log2: c.vintfs.ilog2() as u8,
            vcmdqs_log2: c.vcmdqs.ilog2() as u8,
            sids_log2: c.sid_slots.ilog2() as u8,
            cmdqs: (p.id.idr1 >> 21 & 0x1f) as u8,
            reset_config: reset_config(&c, &p.timing),
            burst: p.timing.fetch_commands.min(4) as u8,
            arbitration: match c.arbitration {
                Arbitration::RoundRobin => Policy::RoundRobin,
                Arbitration::MainFirst => Policy::MainFirst,
                Arbitration::OldestFirst => Policy::OldestFirst,
            },
            knobs: c.knobs,
            ..CmdqvConfig::default()
        };
        config.cmdqv = Some((c.mmio, cmdqv));
        config.cmdqv_line = Some(first + CMDQV);
    }
    if p.pmcg {
        let lines = Each { tcu: Some(first + PMCG_TCU), tbu: Some(first + PMCG_TBU) };
        let mut pmcg = PmcgConfig { lines, ..PmcgConfig::mmu_700(p.mmio + PMCG_OFFSET) };
        (pmcg.shapes.tcu.msi, pmcg.shapes.tbu.msi) = (p.pmcg_msi, p.pmcg_msi);
        config.pmcg = Some(pmcg);
    }
    config
}

/// CONFIG after reset, except its enable.
fn reset_config(c: &CmdqvSizes, timing: &SmmuTiming) -> u32 {
    let commands = c.cmd_batch.unwrap_or(timing.batch_commands);
    let config = CONFIG(CmdqvConfig::default().reset_config.into()).with_cmdq_max_cmd_batch(commands);
    config.with_cmdq_max_clk_batch(c.clk_batch).0 as u32
}

fn pair(scenario: &Scenario, index: usize, p: &Pair) -> Smmuv2Config {
    let number = scenario.number_of(Behind::Pair(PairId(index)));
    let mut config = Smmuv2Config::new(number, p.mmio);
    config.interleave = p.interleave;
    config.engines =
        p.sync_latency.iter().map(|&sync| EngineTiming { sync, ..EngineTiming::default() }).collect();
    let first = first_intid(number.into());
    config.context_intid = first;
    config.global_intid = first + 1;
    config
}

fn caches(t: &SmmuTiming) -> CacheShape {
    let default = CacheShape::default();
    let walk = t.walk_entries as usize / 4;
    CacheShape {
        micro: t.utlb_entries as usize,
        main: Shape::new(t.tlb_entries as usize, t.tlb_ways as usize),
        streams: Shape::new(t.config_entries as usize, 4),
        contexts: Shape::new(t.config_entries as usize, 4),
        walk: default.walk.map(|levels| levels.map(|_| Shape::new(walk, 4))),
        ..default
    }
}

fn timing(t: &SmmuTiming) -> PsmmuTiming {
    let clock = Clock::from_period(Time::ps(1_000_000_000_000 / t.clock.0.max(1)));
    let cycles = |n: u64| clock.cycles(n);
    PsmmuTiming {
        clock,
        register: cycles(t.register_cycles),
        fetch: cycles(t.doorbell_cycles),
        decode: cycles(t.command_cycles),
        cfgi: cycles(t.invalidate_cycles),
        tlbi: cycles(t.invalidate_cycles),
        admission: cycles(t.admission_cycles),
        switch: cycles(t.switch_cycles),
        sync_round: cycles(t.sync_cycles),
        event: cycles(t.event_cycles),
        atc_timeout: t.ats_timeout,
        accept: cycles(1),
        micro_tlb: cycles(t.utlb_cycles),
        main_tlb: cycles(t.tlb_cycles),
        config_cache: cycles(t.config_cycles),
        walk_cache: cycles(t.walk_cycles),
        link: cycles(t.link_cycles * 2),
        translation_slots: t.central_slots.min(t.port_slots * 16) as usize,
        walk_slots: t.walk_slots as usize,
        ..PsmmuTiming::default()
    }
}

fn endpoint_config(index: usize, e: &Endpoint) -> EndpointConfig {
    let sid = e.streams[0];
    let link = LinkTiming { bytes_per_ns: (e.bandwidth / 1_000_000_000).max(1), ..LinkTiming::default() };
    let root_port = RootPortConfig { sid_base: sid & !0xffff, timing: link };
    let mut config = EndpointConfig::dma(index as u16, root_port, sid as u16);
    config.tags = e.outstanding as u32;
    config.bar = BARS + index as u64 * models::endpoint::BAR_SIZE;
    config.ats = e.ats.then_some(AtcConfig { entries: 64 });
    let group = e.page_group as u32;
    config.pri = e.page_requests.map(|n| PriConfig { credits: n as u32, group, ..PriConfig::default() });
    config.kind = match e.kind {
        EndpointKind::Dma => models::endpoint::Kind::Dma,
        EndpointKind::Nvme => models::endpoint::Kind::Nvme(models::endpoint::NvmeConfig::default()),
        EndpointKind::Stream => models::endpoint::Kind::Stream(models::endpoint::StreamConfig::default()),
    };
    config
}

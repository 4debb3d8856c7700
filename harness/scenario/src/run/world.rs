//! The software of a run: host, VMs with their guests, and everything that steps make.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use kernel::alloc::{PAGE, Pages};
use kernel::errno::Errno;
use kernel::guest::{DmaMapping, Guest, GuestSmmu};
use kernel::host::{Host, user_memory};
use kernel::iommufd::{Abi, Context, Id, Mapping, UserMemory};
use kernel::journal::{DomainId, Journal};
use kernel::pgtable::{PageTable, Prot};
use kernel::smmu::Domain;
use kernel::smmuv2::{self, NvidiaConfig, NvidiaSmmu};
use kernel::vmm::{
    CmdqvPage0, Parents, Routing, Vcmdqv, VcmdqvConfig, Vcpu, Vm, VmConfig, Vsmmu, VsmmuConfig,
};
use models::cpu::{Cpu, SignalId};
use parking_lot::Mutex;

use super::control::{Ask, Control};
use super::platform::{CpuPlan, Plan};
use crate::model::{Behind, Scenario};
use crate::names::{Actor, EndpointId, ObjectId, Target};
use crate::platform::{self, Policy};

/// What a step made.
#[derive(Clone, Debug)]
pub(super) enum Made {
    /// An object of an iommufd context.
    Object { actor: Actor, id: Id },
    /// A viommu, with offset and length of its window.
    Viommu { id: Id, window: Option<(u64, u64)> },
    /// A HW_QUEUE or VQUEUE.
    Queue { id: Id },
    /// A buffer.
    Memory(UserMemory),
    /// Stage-1 tables.
    Table(super::steps::Tables),
    /// A mapped hardware page (none after munmap), and the VM and guest address where it also is.
    Window { actor: Actor, mapping: Option<Mapping>, viommu: Id, guest: Option<(crate::names::VmId, u64)> },
    /// A forked process: the mappings and the event queues' descriptors that it holds.
    Process(Actor, Vec<Mapping>, Vec<Id>),
    /// A DMA-API mapping.
    Mapping(DmaRange),
}

/// An address range that a driver has mapped for an endpoint.
#[derive(Clone, Debug)]
pub(super) struct DmaRange {
    pub(super) actor: Actor,
    pub(super) endpoint: EndpointId,
    pub(super) pasid: Option<u32>,
    pub(super) iova: u64,
    /// Host-physical address of the buffer's first byte.
    pub(super) pa: u64,
    /// Address of the buffer as the owner sees memory.
    pub(super) owner_addr: u64,
    pub(super) len: u64,
    /// The guest's handle.
    pub(super) guest: Option<DmaMapping>,
    /// The driver chose the address.
    pub(super) chosen: bool,
}

/// An endpoint, and one of its PASIDs if the address space is that one's.
pub(super) type HostDmaKey = (EndpointId, Option<u32>);

/// A VM and its VMM.
#[derive(Debug)]
pub(super) struct VmWorld {
    pub(super) vm: Arc<Vm>,
    pub(super) context: Arc<Context>,
    pub(super) ioas: Option<Id>,
    pub(super) guest: OnceLock<Arc<Guest>>,
}

/// A domain of a host driver.
#[derive(Clone, Debug)]
pub(super) enum HostDomain {
    /// Behind a pSMMU.
    Smmu(Arc<Domain>),
    /// Behind a register broadcast.
    Pair(Arc<NvidiaSmmu>, Arc<smmuv2::Domain>),
}

impl HostDomain {
    /// Maps a range.
    pub(super) async fn map(&self, cpu: &Cpu, iova: u64, pa: u64, len: u64, prot: Prot) -> Result<(), Errno> {
        match self {
            Self::Smmu(domain) => domain.map(cpu, iova, pa, len, prot).await,
            Self::Pair(smmu, domain) => domain.map(smmu, cpu, iova, pa, len, prot).await,
        }
    }
    /// Unmaps a range; it is gone for devices when this returns. Returns the number of bytes.
    pub(super) async fn unmap(&self, cpu: &Cpu, iova: u64, len: u64) -> Result<u64, Errno> {
        match self {
            Self::Smmu(domain) => domain.unmap(cpu, iova, len).await,
            Self::Pair(smmu, domain) => domain.unmap(smmu, cpu, iova, len).await,
        }
    }
    /// The tables.
    pub(super) fn table(&self) -> &PageTable {
        match self {
            Self::Smmu(domain) => domain.table(),
            Self::Pair(_, domain) => domain.table(),
        }
    }
    /// Its number in the journal.
    pub(super) fn id(&self) -> DomainId {
        match self {
            Self::Smmu(domain) => domain.id(),
            Self::Pair(_, domain) => domain.id(),
        }
    }
}

/// An address space of the host's DMA API for one endpoint.
#[derive(Clone, Debug)]
pub(super) struct HostDma {
    pub(super) domain: HostDomain,
    pub(super) iovas: Pages,
    /// Where buffers come from.
    pub(super) pages: Pages,
}

/// All software.
#[derive(Debug)]
pub(super) struct World {
    pub(super) scenario: Arc<Scenario>,
    pub(super) plan: Plan,
    pub(super) host: Host,
    pub(super) journal: Journal,
    pub(super) control: Control,
    pub(super) contexts: Mutex<BTreeMap<Actor, Arc<Context>>>,
    pub(super) vms: Vec<VmWorld>,
    /// VM exits until every guest had booted.
    pub(super) boot_exits: Vec<BTreeMap<&'static str, u64>>,
    /// By index in the scenario; none for a VM that does not boot.
    pub(super) vsmmus: Vec<Option<Arc<Vsmmu>>>,
    pub(super) made: Mutex<BTreeMap<ObjectId, Made>>,
    pub(super) bound: Mutex<BTreeMap<(Actor, EndpointId), Id>>,
    /// Nothing while it is being made.
    pub(super) host_dma: Mutex<BTreeMap<HostDmaKey, Option<HostDma>>>,
    /// The host's drivers of SMMU instances behind a register broadcast, by index in the scenario.
    pub(super) pairs: Vec<Arc<NvidiaSmmu>>,
    /// Event records, by number, that `wait-event` steps took at a psmmu or vsmmu.
    pub(super) taken_events: Mutex<BTreeMap<Target, Vec<usize>>>,
    /// What steps read of all registers of a block, by the step's name.
    pub(super) registers: Mutex<BTreeMap<String, Vec<(String, u64)>>>,
    /// Virtual ids that steps gave to endpoints; the latest.
    pub(super) virtual_ids: Mutex<BTreeMap<EndpointId, u64>>,
}

/// Guest-physical addresses of virtual SMMUs: one megabyte window each for registers, CMDQV two megabytes above.
const VSMMU_BASE: u64 = 0x1000_0000;
const VSMMU_STRIDE: u64 = 0x0040_0000;
const VCMDQV_OFFSET: u64 = 0x0020_0000;
/// Guest interrupts of virtual SMMUs.
const VSMMU_INTID: u32 = 64;
const VSMMU_INTIDS: u32 = 8;
/// Smallest page of the host.
const HOST_PAGE: u64 = 4096;

/// Why a world could not be built: what failed, and how.
pub(super) type Failure = String;

impl World {
    /// Boots the host, then every VM with its virtual SMMUs, then the guests.
    pub(super) async fn boot(
        cpu: &Cpu,
        scenario: Arc<Scenario>,
        mut plan: Plan,
        journal: Journal,
        control: Control,
    ) -> Result<Arc<Self>, Failure> {
        let by_node: Vec<Pages> = plan.memory.iter().map(|range| Pages::new(&[*range])).collect();
        let pages = by_node[0].clone();
        let host = Host::boot(cpu, &plan.smmus, &plan.devices, &pages, &journal)
            .await
            .map_err(|(name, errno)| format!("the host's driver could not start `{name}`: {errno}"))?;
        let mut pairs = Vec::new();
        for (pair, (_, config)) in scenario.pairs.iter().zip(&plan.system.pairs) {
            let driver = NvidiaSmmu::probe(cpu, NvidiaConfig::of(config), &pages, &journal).await;
            let driver = driver
                .map_err(|errno| format!("the host's driver could not start `{}`: {errno}", pair.name))?;
            pairs.push(Arc::new(driver));
        }
        let abi = match scenario.abi {
            platform::Abi::Final => Abi::Final,
            platform::Abi::Rfcv1 => Abi::RfcV1,
        };
        let mut vms = Vec::new();
        let mut contexts = BTreeMap::new();
        let new_context = |name: &str| Context::new(name, abi, HOST_PAGE, plan.syscalls, journal.clone());
        contexts.insert(Actor::Host, new_context("host"));
        let names: Vec<_> = scenario.vms.iter().map(|vm| vm.name.clone()).collect();
        let vm_contexts: Vec<_> = names.iter().map(|name| new_context(name)).collect();
        for (i, vm) in scenario.vms.iter().enumerate() {
            let context = Arc::clone(&vm_contexts[i]);
            contexts.insert(Actor::Vm(crate::names::VmId(i)), Arc::clone(&context));
            let fail = |what: &str, errno| format!("`{}`: {what}: {errno}", vm.name);
            let memory = user_memory(&by_node[vm.node.0], vm.memory, vm.page.min(vm.memory), vm.contiguous)
                .map_err(|e| fail("no host memory for the guest", e))?;
            let lock_line = pages.alloc(PAGE).map_err(|e| fail("no host memory", e))?;
            let config = VmConfig {
                index: i as u16,
                name: vm.name.clone(),
                cpus: plan.cpus.take_vcpus(vm.vcpus, vm.node.0 as u16),
                base: vm.base,
                memory: memory.clone(),
                costs: plan.vm_costs,
                lock_line,
            };
            let made = Vm::new(config, journal.clone());
            let ranges = memory.runs(0, memory.len()).into_iter().map(|(_, pa, len)| pa..pa + len).collect();
            control.ask(cpu, Ask::Grant { vm: i, ranges }).await;
            let has_vsmmu = scenario.vsmmus.iter().any(|v| v.vm.0 == i);
            let ioas = if vm.boot && has_vsmmu {
                let ioas = context.ioas_alloc(cpu).await.map_err(|e| fail("IOAS_ALLOC", e))?;
                made.map_memory(cpu, &context, ioas)
                    .await
                    .map_err(|e| fail("IOAS_MAP of guest memory", e))?;
                Some(ioas)
            } else {
                None
            };
            vms.push(VmWorld { vm: made, context, ioas, guest: OnceLock::new() });
        }
        let world = Self {
            host,
            journal,
            control,
            contexts: Mutex::new(contexts),
            boot_exits: Vec::new(),
            vms,
            vsmmus: vec![None; scenario.vsmmus.len()],
            made: Mutex::default(),
            bound: Mutex::default(),
            registers: Mutex::default(),
            virtual_ids: Mutex::default(),
            host_dma: Mutex::default(),
            pairs,
            taken_events: Mutex::default(),
            plan,
            scenario,
        };
        world.start_guests(cpu).await
    }

    async fn start_guests(mut self, cpu: &Cpu) -> Result<Arc<Self>, Failure> {
        let scenario = Arc::clone(&self.scenario);
        let mut parents: BTreeMap<usize, Parents> = BTreeMap::new();
        for (i, v) in scenario.vsmmus.iter().enumerate() {
            let owner = &self.vms[v.vm.0];
            let Some(ioas) = owner.ioas else { continue };
            let passthrough = v.policy == Policy::Passthrough;
            let first_intid = VSMMU_INTID + VSMMU_INTIDS * i as u32;
            let config = VsmmuConfig {
                index: i as u16,
                name: v.name.clone(),
                base: VSMMU_BASE + VSMMU_STRIDE * i as u64,
                routing: match v.routing {
                    platform::Routing::Select => Routing::Select,
                    platform::Routing::Broadcast => Routing::Broadcast,
                },
                batch: v.batch as usize,
                eventq_intid: first_intid + 1,
                gerror_intid: first_intid,
                range_invalidation: false,
                cmdq_log2_max: v.cmdq_log2 as u8,
                event_depth: 1 << v.eventq_log2,
                cmdqv: passthrough,
                parents: if v.share_parent {
                    parents.entry(v.vm.0).or_default().clone()
                } else {
                    Parents::default()
                },
            };
            let vsmmu = Vsmmu::new(config, &owner.vm, Arc::clone(&owner.context), ioas);
            vsmmu.map_into(&owner.vm);
            if passthrough {
                let config = VcmdqvConfig {
                    base: vsmmu.config.base + VCMDQV_OFFSET,
                    page0: v.window.map_or(CmdqvPage0::Direct, |p| CmdqvPage0::DirectOf(p.0 as u16)),
                    intid: first_intid + 3,
                    queues_log2: v.lvcmdqs.max(1).ilog2() as u8,
                };
                Vcmdqv::new(config, &vsmmu, &owner.vm);
            }
            for &(endpoint, vsid) in &v.devices {
                self.plug(cpu, i, &vsmmu, endpoint, vsid).await?;
            }
            let events = Arc::clone(&vsmmu);
            cpu.spawn(CpuPlan::SCRIPT, format!("{} events", v.name), move |cpu| async move {
                events.serve_events(cpu).await;
            })
            .await;
            self.vsmmus[i] = Some(vsmmu);
        }
        for (i, vm) in scenario.vms.iter().enumerate() {
            if vm.boot && self.vms[i].ioas.is_some() {
                self.boot_guest(cpu, i).await?;
            }
        }
        self.boot_exits = self.vms.iter().map(|owner| owner.vm.exits()).collect();
        Ok(Arc::new(self))
    }

    /// Gives an endpoint to a VM, behind one of its virtual SMMUs.
    async fn plug(
        &self,
        cpu: &Cpu,
        index: usize,
        vsmmu: &Vsmmu,
        endpoint: EndpointId,
        vsid: u32,
    ) -> Result<(), Failure> {
        let scenario = &self.scenario;
        let vm = scenario.vsmmus[index].vm;
        let owner = &self.vms[vm.0];
        let name = &scenario.endpoints[endpoint.0].name;
        let fail = |what: &str, errno| format!("`{}`: {what} `{name}`: {errno}", scenario.vsmmus[index].name);
        let Some(device) = self.plan.device_of[endpoint.0] else {
            return Err(format!("`{name}` is not behind a pSMMU and cannot be given to a VM"));
        };
        let device = &self.host.devices[device];
        let id = owner.context.bind(cpu, device).await.map_err(|e| fail("binding", e))?;
        self.bound.lock().insert((Actor::Vm(vm), endpoint), id);
        vsmmu.plug(cpu, id, vsid).await.map_err(|e| fail("plugging in", e))?;
        let smmu = device.smmu.index;
        let viommu = vsmmu.viommus().into_iter().find(|v| v.1 == smmu).expect("plugging made it").0;
        let facts = owner.context.viommu_facts(viommu).expect("it was found just now");
        let sid = device.sids[0];
        let control = &self.control;
        control.ask(cpu, Ask::Viommu { vsmmu: Some(index), id: viommu.0, smmu }).await;
        control.ask(cpu, Ask::Assign { smmu, sid, vm: Some(vm.0) }).await;
        control.ask(cpu, Ask::Behind { vsmmu: Some(index), smmu, sid, vsid, vmid: facts.vmid }).await;
        if let Some(vintf) = facts.vintf {
            control.ask(cpu, Ask::VintfOwner { smmu, vintf, vsmmu: Some(index) }).await;
        }
        Ok(())
    }

    /// Boots the software of a VM on its first virtual CPU.
    async fn boot_guest(&self, cpu: &Cpu, vm: usize) -> Result<(), Failure> {
        let smmus: Vec<GuestSmmu> = self
            .scenario
            .vsmmus
            .iter()
            .enumerate()
            .filter(|(_, v)| v.vm.0 == vm)
            .filter_map(|(i, v)| {
                let vsmmu = self.vsmmus[i].as_ref()?;
                let ats = |e: EndpointId| self.scenario.endpoints[e.0].ats;
                let devices = v.devices.iter().map(|&(e, vsid)| (vsid, ats(e))).collect();
                let described = GuestSmmu::describe(vsmmu, v.eventq_log2 as u8, devices);
                Some(GuestSmmu { repeat_invalidations: v.repeat_invalidations, ..described })
            })
            .collect();
        let owner = &self.vms[vm];
        let base = owner.vm.config.base;
        let pages = Pages::new(&[(base, base + self.scenario.vms[vm].memory)]);
        let done = SignalId(BOOT_SIGNAL + vm as u32);
        let result: Arc<OnceLock<Result<Arc<Guest>, Failure>>> = Arc::default();
        let (out, machine, journal) = (Arc::clone(&result), Arc::clone(&owner.vm), self.journal.clone());
        let name = self.scenario.vms[vm].name.clone();
        let on = owner.vm.config.cpus[0];
        cpu.spawn(on, format!("{name} boot"), move |cpu| async move {
            let vcpu = Vcpu::new(cpu.clone(), machine, 0);
            let booted = Guest::boot(&vcpu, pages, &smmus, &journal).await;
            let booted =
                booted.map_err(|errno| format!("`{name}`: the guest's driver could not start: {errno}"));
            out.set(booted).expect("a guest boots once");
            cpu.signal(done).await;
        })
        .await;
        cpu.wait_signal(done, 0, None).await;
        match result.get().expect("the signal says so") {
            Ok(guest) => {
                owner.guest.set(Arc::clone(guest)).expect("a guest boots once");
                Ok(())
            }
            Err(why) => Err(why.clone()),
        }
    }

    /// The iommufd context of an actor.
    pub(super) fn context(&self, actor: Actor) -> Arc<Context> {
        Arc::clone(&self.contexts.lock()[&actor])
    }
    /// Why the latest call of an actor was refused, if it was.
    pub(super) fn refusal(&self, actor: Actor) -> Option<String> {
        self.contexts.lock().get(&actor).and_then(|context| context.take_refusal())
    }
    /// A virtual CPU of a VM, on the CPU of the caller.
    pub(super) fn vcpu(&self, cpu: &Cpu, vm: usize, id: u16) -> Vcpu {
        Vcpu::new(cpu.clone(), Arc::clone(&self.vms[vm].vm), id)
    }
    /// Name of an actor.
    pub(super) fn actor_name(&self, actor: Actor) -> &str {
        match actor {
            Actor::Host => "host",
            Actor::Vm(vm) => &self.scenario.vms[vm.0].name,
        }
    }
    /// The pSMMU in front of an endpoint and the endpoint's StreamID, unless a register broadcast is there.
    pub(super) fn stream_of(&self, endpoint: EndpointId) -> Option<(u16, u32)> {
        let e = &self.scenario.endpoints[endpoint.0];
        match e.behind {
            Behind::Psmmu(smmu) => Some((smmu.0 as u16, e.streams[0])),
            Behind::Pair(_) => None,
        }
    }
    /// The vSMMU number and virtual StreamID under which a VM's guest knows an endpoint.
    pub(super) fn guest_device(&self, vm: usize, endpoint: EndpointId) -> Option<(u16, u32)> {
        self.scenario.vsmmus.iter().enumerate().filter(|(_, v)| v.vm.0 == vm).find_map(|(i, v)| {
            v.devices.iter().find(|(e, _)| *e == endpoint).map(|(_, vsid)| (i as u16, *vsid))
        })
    }
}

/// First signal of guest boots.
const BOOT_SIGNAL: u32 = 1 << 26;
/// First signal of loads.
pub(super) const LOAD_SIGNAL: u32 = 1 << 27;

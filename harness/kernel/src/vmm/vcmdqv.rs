//! The CMDQV that a guest sees: one VINTF, two queues. Its queue page is the hardware's own page, mapped in; the rest
//! is trapped.
//!
//! ```text
//!   guest offset 0x00000 configuration        trapped
//!                0x10000 queues, page 0       trapped; forwarded to the hardware page once a queue exists
//!                0x20000 queues, page 1       trapped
//!                0x30000 VINTF 0, page 0      direct while the VINTF is enabled (or trapped, by policy)
//!                0x40000 VINTF 0, page 1      trapped: the base becomes a HW_QUEUE
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use models::cpu::Cpu;
use parking_lot::Mutex;
use spec::cmdqv::config::PARAM;
use spec::cmdqv::{Config, Place, QueuePage0, QueuePage1, QueueReg, Vintf};

use super::Vsmmu;
use super::space::{Emulated, Region};
use super::vm::Vm;
use crate::iommufd::{HwQueueAlloc, Id, Mapping, MmapFlags};

/// How the guest reaches the queue page of its VINTF.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CmdqvPage0 {
    /// The hardware page is mapped into the guest. With several pSMMUs behind the vSMMU every window is mapped at the
    /// same guest address, and the last one stays.
    #[default]
    Direct,
    /// The same, but only the page of this pSMMU is mapped.
    DirectOf(u16),
    /// Trapped: writes go to every pSMMU, reads come from the first.
    ReplicateReadFirst,
    /// Trapped: writes go to every pSMMU, the consumer index shown is the one that is furthest behind.
    ReplicateReadMinimum,
}

/// How a guest's CMDQV is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VcmdqvConfig {
    /// Where the guest sees it.
    pub base: u64,
    /// How the guest reaches its queue page.
    pub page0: CmdqvPage0,
    /// The guest's error interrupt.
    pub intid: u32,
    /// log2 of the number of queues, at most 7; QEMU shows 1.
    pub queues_log2: u8,
}

/// One VINTF, sixteen StreamID slots, version 1; the number of queues is added.
const GUEST_PARAM: PARAM = PARAM(0x4001);
/// Bytes of the guest's window.
const WINDOW: u64 = 0x5_0000;
/// Offset of the VINTF's queue page.
const PAGE0: u64 = 0x3_0000;
const PAGE: u64 = 0x1_0000;
const QUEUE_STRIDE: u64 = 0x80;

/// A guest's CMDQV.
#[derive(Debug)]
pub struct Vcmdqv {
    config: VcmdqvConfig,
    param: PARAM,
    vsmmu: Weak<Vsmmu>,
    vm: Weak<Vm>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    enabled: bool,
    vintf_enabled: bool,
    vintf_vmid: u64,
    /// Other words of the region, as last written.
    cache: BTreeMap<u64, u32>,
    queues: Vec<Queue>,
    param: PARAM,
    err_map: u32,
    masked: bool,
    /// One mapping per pSMMU while the VINTF is enabled.
    mappings: Vec<Mapping>,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    allocated: bool,
    base: u64,
    /// CONS, PROD, CONFIG, STATUS, GERROR, GERRORN as last written through a trapped page.
    cached: [u32; 6],
    /// One HW_QUEUE per pSMMU.
    hardware: Vec<Id>,
    init_error: bool,
}

impl Vcmdqv {
    /// A CMDQV beside `vsmmu`, shown to the guest.
    pub fn new(config: VcmdqvConfig, vsmmu: &Arc<Vsmmu>, vm: &Arc<Vm>) -> Arc<Self> {
        let param = GUEST_PARAM.with_num_vcmdq_log2(config.queues_log2.into());
        let state = State {
            enabled: true,
            vintf_enabled: false,
            vintf_vmid: 0,
            cache: BTreeMap::new(),
            queues: vec![Queue::default(); 1 << config.queues_log2],
            param,
            err_map: 0,
            masked: false,
            mappings: Vec::new(),
        };
        let made = Arc::new(Self {
            config,
            param,
            vsmmu: Arc::downgrade(vsmmu),
            vm: Arc::downgrade(vm),
            state: Mutex::new(state),
        });
        vm.map(config.base, WINDOW, Region::Trapped { by: Emulated::Cmdqv(Arc::clone(&made)), offset: 0 });
        vsmmu.set_cmdqv(Arc::clone(&made));
        made
    }
    /// Where the guest sees it.
    pub fn base(&self) -> u64 {
        self.config.base
    }
    /// The guest's error interrupt.
    pub fn intid(&self) -> u32 {
        self.config.intid
    }
    fn vm(&self) -> Arc<Vm> {
        self.vm.upgrade().expect("a VM outlives its devices")
    }
    fn vsmmu(&self) -> Arc<Vsmmu> {
        self.vsmmu.upgrade().expect("a vSMMU outlives its CMDQV")
    }
    /// Whether an offset lies in a page of queue indices.
    pub(super) fn is_queue_page(&self, offset: u64) -> bool {
        (PAGE..2 * PAGE).contains(&offset) || (PAGE0..PAGE0 + PAGE).contains(&offset)
    }

    pub(super) async fn read(&self, cpu: &Cpu, offset: u64, len: u8) -> u64 {
        cpu.delay(self.vm().config.costs.emulate).await;
        match Place::decode(offset, self.param) {
            Place::Direct { q, reg: QueueReg::Page0(reg) }
            | Place::Logical { l: q, reg: QueueReg::Page0(reg), .. } => {
                self.read_queue(cpu, usize::from(q), reg).await.into()
            }
            place => {
                let state = self.state.lock();
                let low = u64::from(state.read(offset, place));
                if len == 8 {
                    let high = Place::decode(offset + 4, self.param);
                    low | u64::from(state.read(offset + 4, high)) << 32
                } else {
                    low
                }
            }
        }
    }

    pub(super) async fn write(&self, cpu: &Cpu, offset: u64, len: u8, value: u64) {
        let vm = self.vm();
        vm.lock.acquire(cpu).await;
        cpu.delay(vm.config.costs.emulate).await;
        match Place::decode(offset, self.param) {
            Place::Direct { q, reg: QueueReg::Page0(reg) }
            | Place::Logical { l: q, reg: QueueReg::Page0(reg), .. } => {
                self.write_queue(cpu, usize::from(q), reg, value as u32).await;
            }
            place => {
                let mut todo = self.state.lock().write(offset, place, value as u32);
                if len == 8 {
                    let high = Place::decode(offset + 4, self.param);
                    let more = self.state.lock().write(offset + 4, high, (value >> 32) as u32);
                    todo = todo.max(more);
                }
                self.follow(cpu, todo).await;
            }
        }
        vm.lock.release(cpu).await;
    }

    /// Makes hardware agree with what the guest has set.
    async fn follow(&self, cpu: &Cpu, todo: Todo) {
        match todo {
            Todo::Nothing => {}
            Todo::Queues => self.settle_queues(cpu).await,
            Todo::Vintf => {
                let on = {
                    let state = self.state.lock();
                    state.vintf_enabled && state.enabled
                };
                if on {
                    self.map_page(cpu).await;
                } else {
                    self.unmap_page(cpu).await;
                }
                self.settle_queues(cpu).await;
            }
        }
    }

    /// Maps the hardware's page of every pSMMU, by the policy.
    async fn map_page(&self, cpu: &Cpu) {
        if !self.state.lock().mappings.is_empty() {
            return;
        }
        let vsmmu = self.vsmmu();
        let windows: Vec<(u16, u64, u64)> = vsmmu
            .state
            .lock()
            .carriers
            .iter()
            .filter_map(|c| c.window.map(|(at, len)| (c.smmu, at, len)))
            .collect();
        for (smmu, offset, len) in windows {
            // A viommu's window is there for as long as the viommu.
            let Ok(mapping) = vsmmu.context().mmap(cpu, offset, len, MmapFlags::default()).await else {
                continue;
            };
            let direct = match self.config.page0 {
                CmdqvPage0::Direct => true,
                CmdqvPage0::DirectOf(wanted) => wanted == smmu,
                CmdqvPage0::ReplicateReadFirst | CmdqvPage0::ReplicateReadMinimum => false,
            };
            if direct {
                self.vm().map(self.config.base + PAGE0, mapping.len, Region::Direct { pa: mapping.pa });
            }
            self.state.lock().mappings.push(mapping);
        }
    }

    async fn unmap_page(&self, cpu: &Cpu) {
        let mappings = std::mem::take(&mut self.state.lock().mappings);
        if mappings.is_empty() {
            return;
        }
        self.free_queues(cpu).await;
        let Some(me) = self.vsmmu().cmdqv().map(Arc::clone) else { return };
        self.vm().map(
            self.config.base + PAGE0,
            PAGE,
            Region::Trapped { by: Emulated::Cmdqv(me), offset: PAGE0 },
        );
        for mapping in mappings {
            self.vsmmu().context().munmap(cpu, mapping).await;
        }
    }

    /// Allocates and frees hardware queues so that they match allocation bits, bases and enables.
    async fn settle_queues(&self, cpu: &Cpu) {
        loop {
            let step = self.state.lock().next_step();
            match step {
                Step::Done => return,
                Step::Free => self.free_last(cpu).await,
                Step::Allocate(q, base) => self.allocate(cpu, q, base).await,
            }
        }
    }

    async fn allocate(&self, cpu: &Cpu, q: usize, base: u64) {
        let vsmmu = self.vsmmu();
        let carriers: Vec<Id> = vsmmu.state.lock().carriers.iter().map(|c| c.viommu).collect();
        let mut hardware = Vec::new();
        for viommu in carriers {
            let cmd = HwQueueAlloc {
                flags: 0,
                viommu: viommu.0,
                kind: 1,
                index: q as u32,
                iova: base & 0xffff_ffff_ffe0,
                length: 16 << (base & 0x1f),
            };
            match vsmmu.context().hw_queue_alloc(cpu, &cmd).await {
                Ok(id) => hardware.push(id),
                Err(_) => {
                    for id in hardware.drain(..).rev() {
                        // Only just made; nothing refers to it.
                        let _ = vsmmu.context().destroy(cpu, id).await;
                    }
                    self.state.lock().queues[q].init_error = true;
                    return;
                }
            }
        }
        let (cached, pages) = {
            let mut state = self.state.lock();
            state.queues[q].hardware = hardware;
            (state.queues[q].cached, state.mappings.clone())
        };
        for page in pages {
            let at = page.pa + QUEUE_STRIDE * q as u64;
            for reg in [QueuePage0::CONS, QueuePage0::PROD, QueuePage0::CONFIG, QueuePage0::GERRORN] {
                cpu.write32(at + offset_of(reg), cached[index_of(reg)]).await;
            }
        }
        cpu.barrier().await;
    }

    async fn free_queues(&self, cpu: &Cpu) {
        while self.state.lock().queues.iter().any(|q| !q.hardware.is_empty()) {
            self.free_last(cpu).await;
        }
    }

    /// Frees the hardware queue with the highest index.
    async fn free_last(&self, cpu: &Cpu) {
        let ids = {
            let mut state = self.state.lock();
            let last = state.queues.iter_mut().rev().find(|q| !q.hardware.is_empty());
            last.map(|q| std::mem::take(&mut q.hardware)).unwrap_or_default()
        };
        for id in ids.into_iter().rev() {
            // Highest first: nothing depends on it.
            let _ = self.vsmmu().context().destroy(cpu, id).await;
        }
    }

    /// A trapped write of a queue register: to the hardware of every pSMMU when the queue exists, else remembered.
    async fn write_queue(&self, cpu: &Cpu, q: usize, reg: QueuePage0, value: u32) {
        let pages = {
            let mut state = self.state.lock();
            state.queues[q].cached[index_of(reg)] = value;
            if state.queues[q].hardware.is_empty() { Vec::new() } else { state.mappings.clone() }
        };
        for page in pages {
            cpu.write32(page.pa + QUEUE_STRIDE * q as u64 + offset_of(reg), value).await;
        }
    }

    /// A trapped read of a queue register.
    async fn read_queue(&self, cpu: &Cpu, q: usize, reg: QueuePage0) -> u32 {
        let (pages, cached, log2) = {
            let state = self.state.lock();
            let queue = &state.queues[q];
            if queue.hardware.is_empty() {
                let value = match reg {
                    QueuePage0::STATUS => 0,
                    QueuePage0::GERROR if queue.init_error => queue.cached[index_of(QueuePage0::GERRORN)] ^ 4,
                    QueuePage0::GERROR => queue.cached[index_of(QueuePage0::GERRORN)],
                    _ => queue.cached[index_of(reg)],
                };
                return value;
            }
            (state.mappings.clone(), queue.cached, queue.base & 0x1f)
        };
        let mut values = Vec::with_capacity(pages.len());
        for page in &pages {
            values.push(cpu.read32(page.pa + QUEUE_STRIDE * q as u64 + offset_of(reg)).await);
        }
        let first = values.first().copied().unwrap_or(0);
        if reg != QueuePage0::CONS || self.config.page0 != CmdqvPage0::ReplicateReadMinimum {
            return first;
        }
        // Furthest behind the producer.
        let mask = (2_u32 << log2) - 1;
        let prod = cached[index_of(QueuePage0::PROD)];
        values.into_iter().max_by_key(|cons| prod.wrapping_sub(*cons) & mask).unwrap_or(first)
    }

    /// The kernel reports which queues have errors.
    pub(super) async fn report_errors(&self, cpu: &Cpu, map: [u64; 2]) {
        let interrupt = {
            let mut state = self.state.lock();
            state.err_map = map[0] as u32;
            !state.masked
        };
        if interrupt {
            self.vm().inject(cpu, self.config.intid).await;
        }
    }
}

/// What a write leaves to do; later ones include earlier ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Todo {
    Nothing,
    Queues,
    Vintf,
}

enum Step {
    Done,
    Free,
    Allocate(usize, u64),
}

impl State {
    fn read(&self, offset: u64, place: Place) -> u32 {
        match place {
            Place::Config(Config::PARAM) => self.param.0 as u32,
            Place::Config(Config::STATUS) => self.enabled.into(),
            Place::Config(Config::CONFIG) => {
                let rest = self.cache.get(&offset).copied().unwrap_or(0x0002_0083);
                rest & !1 | u32::from(self.enabled)
            }
            Place::Config(Config::VINTF_ERR_MAP_0) => (self.err_map != 0).into(),
            Place::Config(Config::CMDQ_ERR_MAP_0) | Place::LvcmdqErrMap { v: 0, word: 0 } => self.err_map,
            Place::Vintf { reg: Vintf::CONFIG, .. } => {
                (self.vintf_vmid << 1) as u32 | u32::from(self.vintf_enabled)
            }
            Place::Vintf { reg: Vintf::STATUS, .. } => self.vintf_enabled.into(),
            Place::Direct { q, reg } | Place::Logical { l: q, reg, .. } => match reg {
                QueueReg::Page1 { reg: QueuePage1::BASE, upper } => {
                    (self.queues[usize::from(q)].base >> if upper { 32 } else { 0 }) as u32
                }
                _ => 0,
            },
            Place::Hole => 0,
            _ => self.cache.get(&offset).copied().unwrap_or(0),
        }
    }

    fn write(&mut self, offset: u64, place: Place, value: u32) -> Todo {
        match place {
            Place::Config(Config::CONFIG) => {
                self.cache.insert(offset, value);
                self.enabled = value & 1 != 0;
                Todo::Vintf
            }
            Place::Config(Config::VINTF_INT_MASK_0) => {
                self.masked = value & 1 != 0;
                self.cache.insert(offset, value);
                Todo::Nothing
            }
            Place::Vintf { reg: Vintf::CONFIG, .. } => {
                // HYP_OWN stays 0; the VMID is remembered and means nothing.
                self.vintf_vmid = u64::from(value >> 1) & 0xffff;
                self.vintf_enabled = value & 1 != 0;
                Todo::Vintf
            }
            Place::CmdqAlloc { q } => {
                self.cache.insert(offset, value);
                self.queues[usize::from(q)].allocated = value & 1 != 0;
                self.queues[usize::from(q)].init_error = false;
                Todo::Queues
            }
            Place::Direct { q, reg: QueueReg::Page1 { reg: QueuePage1::BASE, upper } }
            | Place::Logical { l: q, reg: QueueReg::Page1 { reg: QueuePage1::BASE, upper }, .. } => {
                let queue = &mut self.queues[usize::from(q)];
                let shift = if upper { 32 } else { 0 };
                queue.base = queue.base & !(0xffff_ffff << shift) | u64::from(value) << shift;
                queue.init_error = false;
                if upper { Todo::Queues } else { Todo::Nothing }
            }
            Place::SidMatch { .. } | Place::SidReplace { .. } => {
                self.cache.insert(offset, value);
                Todo::Nothing
            }
            _ => Todo::Nothing,
        }
    }

    fn next_step(&self) -> Step {
        let on = self.enabled && self.vintf_enabled;
        let wanted = |q: &Queue| on && q.allocated && q.base & 0xffff_ffff_ffe0 != 0;
        // Highest first on the way down, lowest first on the way up.
        if self.queues.iter().any(|q| !q.hardware.is_empty() && !wanted(q)) {
            return Step::Free;
        }
        let missing = self.queues.iter().position(|q| wanted(q) && q.hardware.is_empty() && !q.init_error);
        missing.map_or(Step::Done, |q| Step::Allocate(q, self.queues[q].base))
    }
}

fn offset_of(reg: QueuePage0) -> u64 {
    spec::regs::Block::offset(reg).into()
}
fn index_of(reg: QueuePage0) -> usize {
    spec::regs::Block::index(reg)
}

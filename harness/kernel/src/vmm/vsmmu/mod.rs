//! A virtual SMMUv3: registers that the guest sees, all trapped. Its translations happen in physical SMMUs.

mod devices;
mod events;
mod queue;
mod routing;

pub use routing::{Routing, SkipTarget};

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};

use models::cpu::{Cpu, SignalId};
use parking_lot::Mutex;
use spec::regs::{Block, RegFile};
use spec::smmu::page0::{
    CMDQ_CONS, CR0, CR0ACK, GBPA, GERROR, GERRORN, IDR0, IDR1, IDR3, IRQ_CTRL, IRQ_CTRLACK, Page0,
};
use spec::smmu::page1::{BASE as PAGE1, Page1};

use self::devices::{Carrier, Plugged};
use super::space::{Emulated, Region};
use super::vcmdqv::Vcmdqv;
use super::vm::Vm;
use crate::iommufd::{Context, HwInfo, Id};

/// How a virtual SMMU is made.
#[derive(Clone, Debug)]
pub struct VsmmuConfig {
    /// Number among the vSMMUs of the machine.
    pub index: u16,
    /// What it is called.
    pub name: String,
    /// Where the guest sees it: 128 KiB.
    pub base: u64,
    /// Where trapped commands go.
    pub routing: Routing,
    /// How many commands one HWPT_INVALIDATE carries; QEMU sends one.
    pub batch: usize,
    /// The guest's interrupt for its event queue.
    pub eventq_intid: u32,
    /// The guest's interrupt for global errors.
    pub gerror_intid: u32,
    /// Advertise range invalidation when the hardware has it.
    pub range_invalidation: bool,
    /// Largest command queue offered, log2 of entries.
    pub cmdq_log2_max: u8,
    /// Records that each event channel from the kernel holds.
    pub event_depth: u32,
    /// Its viommus carry a VINTF each.
    pub cmdqv: bool,
    /// Nesting parents that it makes and uses; give several vSMMUs of a VM the same to let them share VMIDs.
    pub parents: Parents,
}

/// Nesting parents by physical SMMU.
#[derive(Clone, Debug, Default)]
pub struct Parents(Arc<Mutex<BTreeMap<u16, Id>>>);

/// A virtual SMMU.
#[derive(Debug)]
pub struct Vsmmu {
    /// As given.
    pub config: VsmmuConfig,
    vm: Weak<Vm>,
    context: Arc<Context>,
    ioas: Id,
    cmdqv: OnceLock<Arc<Vcmdqv>>,
    /// Environment fault that is in force.
    skip: Mutex<Option<SkipTarget>>,
    pub(super) state: Mutex<State>,
}

/// What a virtual SMMU remembers.
#[derive(Debug, Default)]
pub(super) struct State {
    page0: RegFile<Page0>,
    page1: RegFile<Page1>,
    /// viommus, one per physical SMMU, in the order in which devices brought them.
    pub(super) carriers: Vec<Carrier>,
    /// By virtual StreamID.
    devices: BTreeMap<u32, Plugged>,
    broadcasts: u64,
    counters: BTreeMap<&'static str, u64>,
}

impl Vsmmu {
    /// A virtual SMMU without devices, of a VM whose memory `ioas` maps.
    pub fn new(config: VsmmuConfig, vm: &Arc<Vm>, context: Arc<Context>, ioas: Id) -> Arc<Self> {
        Arc::new(Self {
            config,
            vm: Arc::downgrade(vm),
            context,
            ioas,
            cmdqv: OnceLock::new(),
            skip: Mutex::default(),
            state: Mutex::default(),
        })
    }
    /// Environment fault: from the next broadcast on (counted from 1), one target of the nth is left out.
    pub fn set_skip(&self, skip: Option<SkipTarget>) {
        self.state.lock().broadcasts = 0;
        *self.skip.lock() = skip;
    }
    /// Its viommus: object id, index of the physical SMMU, commands forwarded.
    pub fn viommus(&self) -> Vec<(Id, u16, u64)> {
        self.state.lock().carriers.iter().map(|c| (c.viommu, c.smmu, c.forwarded)).collect()
    }
    /// Shows its registers to the guest.
    pub fn map_into(self: &Arc<Self>, vm: &Vm) {
        vm.map(
            self.config.base,
            2 * PAGE1,
            Region::Trapped { by: Emulated::Smmu(Arc::clone(self)), offset: 0 },
        );
    }
    fn vm(&self) -> Arc<Vm> {
        self.vm.upgrade().expect("a VM outlives its devices")
    }
    /// The iommufd context it speaks to.
    pub fn context(&self) -> &Arc<Context> {
        &self.context
    }
    /// Gives it a virtual CMDQV.
    pub fn set_cmdqv(&self, cmdqv: Arc<Vcmdqv>) {
        assert!(self.cmdqv.set(cmdqv).is_ok(), "a vSMMU has one CMDQV");
    }
    /// Its virtual CMDQV.
    pub fn cmdqv(&self) -> Option<&Arc<Vcmdqv>> {
        self.cmdqv.get()
    }
    /// Counters by name: commands by opcode, ioctls, errors, events.
    pub fn counters(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().counters.clone()
    }
    /// The signal that the host raises when an event waits for this vSMMU.
    pub fn event_signal(&self) -> SignalId {
        SignalId((1 << 28) + u32::from(self.config.index))
    }

    /// Offers what the hardware has and this VMM can pass on.
    fn advertise(&self, info: &HwInfo) {
        let HwInfo::ArmSmmuV3 { idr, .. } = info else { return };
        let idr0 = IDR0(idr[0].into());
        let idr1 = IDR1(idr[1].into());
        let idr3 = IDR3(idr[3].into());
        let mut state = self.state.lock();
        let page0 = &mut state.page0;
        page0.set(
            IDR0(0)
                .with_s1p(true)
                .with_ttf(idr0.ttf())
                .with_cohacc(idr0.cohacc())
                .with_ats(idr0.ats())
                .with_asid16(idr0.asid16())
                .with_cd2l(idr0.cd2l())
                .with_ttendian(2)
                .with_stall_model(1)
                .with_term_model(idr0.term_model())
                .with_st_level(idr0.st_level()),
        );
        let log2 = idr1.cmdqs().min(self.config.cmdq_log2_max.into());
        page0.set(
            IDR1(0)
                .with_sidsize(idr1.sidsize())
                .with_ssidsize(idr1.ssidsize())
                .with_eventqs(idr1.eventqs().min(10))
                .with_cmdqs(log2),
        );
        page0.set(
            IDR3(0)
                .with_had(idr3.had())
                .with_ril(idr3.ril() && self.config.range_invalidation)
                .with_bbml(idr3.bbml()),
        );
        page0.set_raw(Page0::IDR5, u64::from(idr[5] & 0xffff));
        page0.set_raw(Page0::IIDR, 0);
        page0.set_raw(Page0::AIDR, 3);
    }

    /// A register read by the guest.
    pub(super) async fn read(&self, cpu: &Cpu, offset: u64, len: u8) -> u64 {
        cpu.delay(self.vm().config.costs.emulate).await;
        let state = self.state.lock();
        if let Some(offset) = offset.checked_sub(PAGE1) {
            return read_block(&state.page1, offset as u32, len);
        }
        read_block(&state.page0, offset as u32, len)
    }

    /// A register write by the guest, with everything that it sets off.
    pub(super) async fn write(&self, cpu: &Cpu, offset: u64, len: u8, value: u64) {
        let vm = self.vm();
        vm.lock.acquire(cpu).await;
        cpu.delay(vm.config.costs.emulate).await;
        let effect = self.state.lock().write(offset, len, value);
        match effect {
            Effect::None => {}
            Effect::Enable => self.reinstall_all(cpu).await,
            Effect::Queue => self.run_queue(cpu).await,
        }
        vm.lock.release(cpu).await;
    }

    /// Sets a GERROR bit if it is not active yet, and interrupts the guest if it wants that.
    async fn global_error(&self, cpu: &Cpu, bit: u32) {
        let interrupt = {
            let mut state = self.state.lock();
            let (gerror, gerrorn) = (state.page0.get::<GERROR>(), state.page0.get::<GERRORN>());
            if (gerror.0 ^ gerrorn.0) >> bit & 1 == 0 {
                state.page0.set(GERROR(gerror.0 ^ 1 << bit));
            }
            state.page0.get::<IRQ_CTRLACK>().gerror_irqen()
        };
        if interrupt {
            self.vm().inject(cpu, self.config.gerror_intid).await;
        }
    }
}

/// What a register write sets off.
enum Effect {
    None,
    /// SMMUEN or GBPA changed: devices move between guest tables, bypass and abort.
    Enable,
    /// The command queue may have work.
    Queue,
}

impl State {
    fn write(&mut self, offset: u64, len: u8, value: u64) -> Effect {
        if let Some(offset) = offset.checked_sub(PAGE1) {
            write_block(&mut self.page1, offset as u32, len, value);
            return Effect::None;
        }
        let enabled = self.page0.get::<CR0>().smmuen();
        let before = self.page0.get::<GBPA>();
        let Some(reg) = write_block(&mut self.page0, offset as u32, len, value) else { return Effect::None };
        match reg {
            Page0::CR0 => {
                let cr0 = self.page0.get::<CR0>();
                self.page0.set(CR0ACK(cr0.0));
                if cr0.smmuen() != enabled { Effect::Enable } else { Effect::Queue }
            }
            Page0::IRQ_CTRL => {
                let ctrl = self.page0.get::<IRQ_CTRL>();
                self.page0.set(IRQ_CTRLACK(ctrl.0));
                Effect::None
            }
            Page0::GBPA => {
                let gbpa = self.page0.get::<GBPA>();
                if !gbpa.update() {
                    self.page0.set(before);
                    return Effect::None;
                }
                self.page0.set(gbpa.with_update(false));
                Effect::Enable
            }
            Page0::CMDQ_PROD | Page0::GERRORN => Effect::Queue,
            _ => Effect::None,
        }
    }
    pub(super) fn count(&mut self, what: &'static str) {
        *self.counters.entry(what).or_default() += 1;
    }
    fn command_error(&self) -> bool {
        let active = self.page0.get::<GERROR>().0 ^ self.page0.get::<GERRORN>().0;
        active & 1 != 0
    }
    fn set_command_error(&mut self, code: u64) {
        let cons = self.page0.get::<CMDQ_CONS>();
        self.page0.set(cons.with_err(code));
    }
}

fn read_block<B: Block>(file: &RegFile<B>, offset: u32, len: u8) -> u64 {
    match (B::decode(offset), len) {
        (Some(reg), 8) => file.read(reg),
        _ => B::decode_word(offset).map_or(0, |(reg, upper)| file.read_word(reg, upper).into()),
    }
}

/// Writes what the table lets software write; returns the register.
fn write_block<B: Block>(file: &mut RegFile<B>, offset: u32, len: u8, value: u64) -> Option<B> {
    if len == 8 {
        let reg = B::decode(offset)?;
        file.write(reg, value);
        return Some(reg);
    }
    let (reg, upper) = B::decode_word(offset)?;
    let merged = file.merge_word(reg, upper, value as u32);
    file.write(reg, merged);
    Some(reg)
}

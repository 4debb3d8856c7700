//! The Tegra241 CMDQV driver: VINTF 0 for the kernel's own commands, the other VINTFs for virtual machines. A guest's
//! driver is the same code; its block has one VINTF, and HYP_OWN reads back as 0.
//!
//! ```text
//!   Cmdqv        probe, reset, which queue a CPU uses, shutdown
//!   vintf.rs     VINTFs of virtual machines: queues, StreamID slots
//!   lvcmdq.rs    one logical queue: deinit, init, allocation
//!   interrupt.rs errors
//! ```

mod interrupt;
mod lvcmdq;
#[cfg(test)]
mod sequences;
#[cfg(test)]
mod test;
mod vintf;

pub use interrupt::VintfErrorSink;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use models::cpu::CpuId;
use parking_lot::Mutex;
use sim::Time;
use spec::cmdqv::config::{CMDQ_ALLOC, CONFIG, PARAM, STATUS};
use spec::cmdqv::{Config as Global, Place, QueuePage0, QueueReg, vintf_page0};
use spec::smmu::{Command, Opcode};

use self::vintf::Slots;
use crate::access::Access;
use crate::alloc::Pages;
use crate::errno::Errno;
use crate::journal::{Actor, Journal, Note};
use crate::smmu::{CommandQueue, Config, QueueSetup, SyncBy, poll32};

/// Where a CMDQV block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CmdqvConfig {
    /// First byte of its region, as the owner sees physical memory.
    pub base: u64,
    /// Its interrupt; without one there is no error reporting.
    pub intid: Option<u32>,
}

/// The VINTF that the kernel keeps.
const OWN: u8 = 0;

/// A CMDQV block.
pub struct Cmdqv {
    config: CmdqvConfig,
    by: Actor,
    smmu: u16,
    timeout: Time,
    param: PARAM,
    /// log2 of the most entries of a queue: IDR1.CMDQS.
    cmdqs: u8,
    main: Arc<CommandQueue>,
    own: Vec<OwnQueue>,
    own_enabled: AtomicBool,
    /// The hardware grants VINTF 0 every command.
    privileged: AtomicBool,
    users: Mutex<BTreeMap<u8, Slots>>,
    sinks: Mutex<BTreeMap<u8, Arc<dyn VintfErrorSink>>>,
    journal: Journal,
}

impl std::fmt::Debug for Cmdqv {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cmdqv")
            .field("config", &self.config)
            .field("param", &self.param)
            .finish_non_exhaustive()
    }
}

/// An LVCMDQ of VINTF 0.
#[derive(Debug)]
struct OwnQueue {
    queue: CommandQueue,
    enabled: AtomicBool,
}

impl Cmdqv {
    /// Finds out what there is and prepares the rings of VINTF 0. With `wanted.cmdqv` off, disables the block.
    ///
    /// # Errors
    /// `ENODEV` when the block is not to be used · `ENOMEM`.
    pub async fn probe<A: Access>(
        cpu: &A,
        config: CmdqvConfig,
        driver: &Config,
        cmdqs: u8,
        main: &Arc<CommandQueue>,
        pages: &Pages,
        journal: &Journal,
    ) -> Result<Self, Errno> {
        let at = |place: Place| config.base + place.offset().expect("the place exists");
        let value = CONFIG(cpu.read32(at(Place::Config(Global::CONFIG))).await.into());
        if !driver.wanted.cmdqv {
            let off = value.with_cmdqv_en(false).bits() as u32;
            cpu.write32(at(Place::Config(Global::CONFIG)), off).await;
            return Err(Errno::ENODEV);
        }
        let param = PARAM(cpu.read32(at(Place::Config(Global::PARAM))).await.into());
        let mut own = Vec::new();
        for l in 0..param.vcmdqs() / param.vintfs() {
            let page0 = |reg| at(Place::Logical { v: OWN, l: l as u8, reg: QueueReg::Page0(reg) });
            let setup = QueueSetup {
                name: format!("LVCMDQ {OWN}.{l}"),
                by: driver.by,
                smmu: driver.smmu,
                log2: cmdqs.min(driver.cmdq_log2_max),
                prod: page0(QueuePage0::PROD),
                cons: page0(QueuePage0::CONS),
                sync: SyncBy::Polling,
                insertion: driver.insertion,
                costs: driver.costs,
                timeout: driver.timeout,
            };
            let queue = CommandQueue::new(cpu, setup, pages, journal).await?;
            own.push(OwnQueue { queue, enabled: AtomicBool::new(false) });
        }
        Ok(Self {
            config,
            by: driver.by,
            smmu: driver.smmu,
            timeout: driver.timeout,
            param,
            cmdqs,
            main: Arc::clone(main),
            own,
            own_enabled: AtomicBool::new(false),
            privileged: AtomicBool::new(false),
            users: Mutex::default(),
            sinks: Mutex::default(),
            journal: journal.clone(),
        })
    }

    /// Resets the block and sets VINTF 0 up. The SMMU is enabled already: the reset of a queue uses its command queue.
    ///
    /// # Errors
    /// `ETIMEDOUT`.
    pub async fn reset<A: Access>(&self, cpu: &A) -> Result<(), Errno> {
        let value = CONFIG(self.read(cpu, Place::Config(Global::CONFIG)).await.into());
        for enable in [false, true] {
            let bits = value.with_cmdqv_en(enable).bits() as u32;
            self.write(cpu, Place::Config(Global::CONFIG), bits).await;
            let enabled = |v: u32| STATUS(v.into()).cmdqv_enabled() == enable;
            self.poll(cpu, Place::Config(Global::STATUS), enabled).await?;
        }
        let queues = self.queues_per_vintf();
        for q in 0..self.param.vcmdqs() as u8 {
            let entry = CMDQ_ALLOC(0).with_vintf((q / queues).into()).with_lvcmdq((q % queues).into());
            self.write(cpu, Place::CmdqAlloc { q }, entry.bits() as u32).await;
        }
        self.init_own(cpu).await
    }

    async fn init_own<A: Access>(&self, cpu: &A) -> Result<(), Errno> {
        let queues: Vec<u8> = (0..self.own.len() as u8).collect();
        let privileged = self.init_vintf(cpu, OWN, true, 0, &queues).await?;
        self.privileged.store(privileged, Ordering::Relaxed);
        for (&l, own) in queues.iter().zip(&self.own) {
            self.allocate(cpu, OWN, l, true).await;
            let ring = (own.queue.ring_base(), own.queue.log2());
            if let Err(errno) = self.init_queue(cpu, OWN, l, ring, true).await {
                self.deinit_vintf(cpu, OWN, &queues).await;
                return Err(errno);
            }
            own.enabled.store(true, Ordering::Relaxed);
        }
        self.own_enabled.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Disables every VINTF. The block stays enabled.
    pub async fn shutdown<A: Access>(&self, cpu: &A) {
        let users: Vec<_> = self.users.lock().keys().copied().collect();
        for v in users {
            let queues: Vec<_> = self.users.lock()[&v].queues().collect();
            self.deinit_vintf(cpu, v, &queues).await;
        }
        self.own_enabled.store(false, Ordering::Relaxed);
        let own: Vec<u8> = (0..self.own.len() as u8).collect();
        self.deinit_vintf(cpu, OWN, &own).await;
    }

    /// The queue of this CPU, if it may be used and takes the command.
    pub fn queue_for(&self, cpu: CpuId, command: Command) -> Option<&CommandQueue> {
        if !self.own_enabled.load(Ordering::Relaxed) || self.own.is_empty() {
            return None;
        }
        let own = &self.own[usize::from(cpu.0) % self.own.len()];
        let taken = self.privileged.load(Ordering::Relaxed) || Self::unprivileged(command.op());
        (taken && own.enabled.load(Ordering::Relaxed)).then_some(&own.queue)
    }
    /// Whether the queues of an unprivileged VINTF are given this command by its driver.
    fn unprivileged(opcode: Opcode) -> bool {
        matches!(opcode, Opcode::TLBI_NH_ASID | Opcode::TLBI_NH_VA | Opcode::ATC_INV | Opcode::SYNC)
    }

    /// The registers that say how much there is.
    pub fn param(&self) -> PARAM {
        self.param
    }
    /// Whether the hardware grants VINTF 0 every command; false in a guest.
    pub fn privileged(&self) -> bool {
        self.privileged.load(Ordering::Relaxed)
    }
    /// LVCMDQs of each VINTF, by equal shares.
    pub fn queues_per_vintf(&self) -> u8 {
        (self.param.vcmdqs() / self.param.vintfs()) as u8
    }
    /// StreamID slots of each VINTF.
    pub fn sid_slots(&self) -> u8 {
        self.param.sids() as u8
    }
    /// Physical address of a VINTF's queue page 0 (64 KiB), which is what a guest is given.
    pub fn page0_address(&self, v: u8) -> u64 {
        self.config.base + vintf_page0(v.into())
    }
    /// The queues of VINTF 0.
    pub fn own_queues(&self) -> impl Iterator<Item = &CommandQueue> {
        self.own.iter().map(|own| &own.queue)
    }
    /// Where the block is.
    pub fn config(&self) -> &CmdqvConfig {
        &self.config
    }

    fn at(&self, place: Place) -> u64 {
        self.config.base + place.offset().expect("the driver names places that exist")
    }
    async fn read<A: Access>(&self, cpu: &A, place: Place) -> u32 {
        cpu.read32(self.at(place)).await
    }
    async fn write<A: Access>(&self, cpu: &A, place: Place, value: u32) {
        cpu.write32(self.at(place), value).await;
    }
    async fn poll<A: Access>(
        &self,
        cpu: &A,
        place: Place,
        done: impl Fn(u32) -> bool + Send,
    ) -> Result<(), Errno> {
        let result = poll32(cpu, self.at(place), self.timeout, done).await;
        result.map(|_| ()).inspect_err(|_| {
            let what = format!("{place} of CMDQV {}", self.smmu);
            self.journal.push(cpu.now(), Note::Timeout { by: self.by, what });
        })
    }
}

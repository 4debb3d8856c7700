//! The driver of several SMMUv2 instances that look like one to the kernel, as for Tegra194.
//!
//! ```text
//!   write: every instance      read: instance 0      sync: write to all, poll the OR of all active bits
//! ```
//! This works because the kernel makes every register access itself and all instances are programmed alike. Nothing here
//! could be given to a guest: a queue in memory has one consumer index, and two instances would disagree about it.

mod domain;
mod fault;
mod registers;
#[cfg(test)]
mod test;

pub use domain::Domain;
pub use fault::{ContextFault, GlobalFault};
pub use registers::Broadcast;

use models::smmuv2::Smmuv2Config;
use parking_lot::Mutex;
use sim::Time;
use spec::smmuv2::{Attributes, Bank, Global, IDR0, IDR1, IDR2, Place, S2CR, SMR, Stream, sCR0, stream_kind};

use self::registers::Registers;
use crate::access::Access;
use crate::alloc::Pages;
use crate::errno::Errno;
use crate::journal::{Actor, Attachment, Journal, Note};
use crate::pgtable::{Granule, Shape, zero};
use crate::sync::Lock;

/// What firmware tells the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NvidiaConfig {
    /// Number of the SMMU, for notes.
    pub index: u16,
    /// First register of each instance.
    pub bases: Vec<u64>,
    /// A fault of the environment if not [`Broadcast::All`].
    pub broadcast: Broadcast,
    /// How long a synchronisation is waited for; Linux waits for a second.
    pub sync_limit: Time,
    /// Input bits of translation tables.
    pub input_bits: u8,
}

impl NvidiaConfig {
    /// The driver's view of a piece of hardware.
    pub fn of(hardware: &Smmuv2Config) -> Self {
        let instances = hardware.engines.len() as u64;
        Self {
            index: hardware.index,
            bases: (0..instances).map(|n| hardware.base + n * hardware.stride).collect(),
            broadcast: Broadcast::All,
            sync_limit: Time::ms(1000),
            input_bits: 39,
        }
    }
}

/// Several SMMUv2 instances as one.
#[derive(Debug)]
pub struct NvidiaSmmu {
    config: NvidiaConfig,
    registers: Registers,
    pages: Pages,
    journal: Journal,
    /// A page of locks: the global one, then one a context bank.
    locks: u64,
    banks: u8,
    output_bits: u8,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Context banks in use.
    banks: Vec<bool>,
    /// Streams by stream mapping register group.
    streams: Vec<Option<u32>>,
}

impl NvidiaSmmu {
    /// Finds out what instance 0 can do and resets all instances: every stream that is not attached faults.
    ///
    /// # Errors
    /// `ENODEV` no stage 1, stream matching or 4 KiB granule · `ENOMEM` · `ETIMEDOUT` of the first invalidation.
    pub async fn probe<A: Access>(
        cpu: &A,
        config: NvidiaConfig,
        pages: &Pages,
        journal: &Journal,
    ) -> Result<Self, Errno> {
        let registers = Registers::new(&config);
        let id = |reg| registers.read32(cpu, Place::Global(reg));
        let idr0 = IDR0(id(Global::IDR0).await.into());
        let idr1 = IDR1(id(Global::IDR1).await.into());
        let idr2 = IDR2(id(Global::IDR2).await.into());
        if !(idr0.s1ts() && idr0.sms() && idr2.ptfs4k()) {
            return Err(Errno::ENODEV);
        }
        let locks = pages.alloc(crate::alloc::PAGE)?;
        zero(cpu, locks, crate::alloc::PAGE).await;
        cpu.barrier().await;
        let banks = (idr1.numcb() as u8).min(spec::smmuv2::BANKS);
        let streams = idr0.numsmrg().min(spec::smmuv2::STREAMS.into()) as usize;
        let smmu = Self {
            registers,
            pages: pages.clone(),
            journal: journal.clone(),
            locks,
            banks,
            output_bits: crate::pgtable::decode_size(idr2.oas()).min(48),
            state: Mutex::new(State { banks: vec![false; banks.into()], streams: vec![None; streams] }),
            config,
        };
        smmu.reset(cpu).await?;
        Ok(smmu)
    }

    /// Puts every instance into the driver's initial state. Domains must be gone.
    ///
    /// # Errors
    /// `ETIMEDOUT`.
    pub async fn reset<A: Access>(&self, cpu: &A) -> Result<(), Errno> {
        let registers = &self.registers;
        registers.clear_each(cpu, Place::Global(Global::sGFSR)).await;
        let groups = self.state.lock().streams.len() as u8;
        for n in 0..groups {
            registers.write32(cpu, Place::Stream { n, reg: Stream::SMR }, 0).await;
            let fault = S2CR(0).with_kind(stream_kind::FAULT).bits();
            registers.write32(cpu, Place::Stream { n, reg: Stream::S2CR }, fault).await;
        }
        for n in 0..self.banks {
            registers.write32(cpu, Place::Bank { n, reg: Bank::SCTLR }, 0).await;
            registers.clear_each(cpu, Place::Bank { n, reg: Bank::FSR }).await;
        }
        registers.invalidate32(cpu, Place::Global(Global::TLBIALLNSNH), 0).await;
        self.sync_global(cpu).await?;
        let control = sCR0(0).with_gfre(true).with_gfie(true).with_gcfgfre(true).with_gcfgfie(true);
        let control = control.with_usfcfg(true).with_vmidpne(true).with_ptm(true);
        registers.write32(cpu, Place::Global(Global::sCR0), control.bits()).await;
        cpu.barrier().await;
        Ok(())
    }

    /// Number of the SMMU.
    pub fn index(&self) -> u16 {
        self.config.index
    }
    /// From now on, which instances are written.
    pub fn set_broadcast(&self, broadcast: Broadcast) {
        self.registers.set_broadcast(broadcast);
    }

    /// A domain in a free context bank, with empty tables of 4 KiB pages.
    ///
    /// # Errors
    /// `ENOSPC` no context bank is free · `ENOMEM`.
    pub async fn create_domain<A: Access>(&self, cpu: &A) -> Result<Domain, Errno> {
        let shape = Shape::stage1(Granule::K4, self.config.input_bits, self.output_bits);
        let bank = {
            let banks = &mut self.state.lock().banks;
            let free = banks.iter().position(|used| !used).ok_or(Errno::ENOSPC)?;
            banks[free] = true;
            free as u8
        };
        match Domain::new(self, cpu, bank, shape).await {
            Ok(domain) => Ok(domain),
            Err(errno) => {
                self.state.lock().banks[usize::from(bank)] = false;
                Err(errno)
            }
        }
    }

    /// Gives a domain's context bank and tables back. Its streams have been detached.
    ///
    /// # Errors
    /// `ETIMEDOUT`: the tables stay, as an instance may still walk them.
    pub async fn destroy_domain<A: Access>(&self, cpu: &A, domain: Domain) -> Result<(), Errno> {
        domain.disable(self, cpu).await?;
        self.state.lock().banks[usize::from(domain.bank())] = false;
        Ok(())
    }

    /// Sends a stream through a domain.
    ///
    /// # Errors
    /// `EBUSY` it is attached already · `ENOSPC` no stream mapping register group is free.
    pub async fn attach<A: Access>(&self, cpu: &A, domain: &Domain, sid: u32) -> Result<(), Errno> {
        let n = {
            let streams = &mut self.state.lock().streams;
            if streams.contains(&Some(sid)) {
                return Err(Errno::EBUSY);
            }
            let free = streams.iter().position(Option::is_none).ok_or(Errno::ENOSPC)?;
            streams[free] = Some(sid);
            free as u8
        };
        let s2cr = S2CR(0).with_kind(stream_kind::TRANSLATE).with_cbndx(domain.bank().into()).bits();
        self.registers.write32(cpu, Place::Stream { n, reg: Stream::S2CR }, s2cr).await;
        let smr = SMR(0).with_valid(true).with_id(sid.into()).bits();
        self.registers.write32(cpu, Place::Stream { n, reg: Stream::SMR }, smr).await;
        cpu.barrier().await;
        self.note_attached(cpu, sid, Attachment::Domain(domain.id()));
        Ok(())
    }

    /// Lets a stream fault.
    ///
    /// # Errors
    /// `ENOENT` it is not attached.
    pub async fn detach<A: Access>(&self, cpu: &A, sid: u32) -> Result<(), Errno> {
        let n = self.state.lock().streams.iter().position(|s| *s == Some(sid)).ok_or(Errno::ENOENT)?;
        let place = |reg| Place::Stream { n: n as u8, reg };
        let fault = S2CR(0).with_kind(stream_kind::FAULT).bits();
        self.registers.write32(cpu, place(Stream::S2CR), fault).await;
        self.registers.write32(cpu, place(Stream::SMR), 0).await;
        cpu.barrier().await;
        self.state.lock().streams[n] = None;
        self.note_attached(cpu, sid, Attachment::Blocked);
        Ok(())
    }

    fn note_attached<A: Access>(&self, cpu: &A, sid: u32, what: Attachment) {
        let smmu = self.config.index;
        self.journal.push(cpu.now(), Note::StreamAttached { by: Actor::Host, smmu, sid, what });
    }

    fn lock(&self, n: u8) -> Lock {
        Lock::new(self.locks + u64::from(n) * Lock::BYTES)
    }
    async fn sync_global<A: Access>(&self, cpu: &A) -> Result<(), Errno> {
        let places = [Global::TLBGSYNC, Global::TLBGSTATUS].map(Place::Global);
        self.sync(cpu, 0, places).await
    }
    async fn sync_bank<A: Access>(&self, cpu: &A, n: u8) -> Result<(), Errno> {
        let places = [Bank::TLBSYNC, Bank::TLBSTATUS].map(|reg| Place::Bank { n, reg });
        self.sync(cpu, 1 + n, places).await
    }
    /// One at a time for a given pair of registers.
    async fn sync<A: Access>(&self, cpu: &A, lock: u8, [start, status]: [Place; 2]) -> Result<(), Errno> {
        let lock = self.lock(lock);
        lock.acquire(cpu).await;
        let done = self.registers.sync(cpu, start, status).await;
        lock.release(cpu).await;
        if done {
            return Ok(());
        }
        let what = format!("TLB sync of SMMU {}", self.config.index);
        self.journal.push(cpu.now(), Note::Timeout { by: Actor::Host, what });
        Err(Errno::ETIMEDOUT)
    }
    /// The attributes of a context bank.
    async fn write_attributes<A: Access>(&self, cpu: &A, n: u8, reg: Attributes, value: u64) {
        self.registers.write32(cpu, Place::Attributes { n, reg }, value).await;
    }
}

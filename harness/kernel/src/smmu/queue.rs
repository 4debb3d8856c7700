//! Insertion into a command queue by many CPUs at once, without a lock. What CPUs contend for lies in simulated memory.
//!
//! ```text
//!   reserve slots -> write commands -> barrier -> set valid bits
//!     the first of a batch is its owner: waits for the owner before, ends the batch, waits for the valid bits of all,
//!     writes PROD once, hands ownership on
//!   CMD_SYNC: poll CONS, or the slot that the message overwrites
//! ```
//! Both algorithms write the ring, set valid bits and publish alike; they differ in how slots are reserved and in
//! how a slow CPU is kept from losing sight of its CMD_SYNC ([`super::cmpxchg`], [`super::fetch_add`]).

use parking_lot::Mutex;
use sim::Time;
use spec::smmu::{Command, CommandError, Opcode, command::cs, page0::CMDQ_CONS};

use super::config::{Costs, Insertion};
use super::poll::Backoff;
use super::ring::Ring;
use crate::access::Access;
use crate::alloc::Pages;
use crate::errno::Errno;
use crate::journal::{Actor, Journal, Note};
use crate::pgtable::zero;

/// At most this many commands are inserted at once, besides the CMD_SYNC.
pub const BATCH: usize = 64;

/// Bytes of a command.
const COMMAND: u64 = Command::BYTES as u64;
const LINE: u64 = 64;

/// How software learns that a CMD_SYNC is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncBy {
    /// The SMMU writes zero over the command's own slot.
    Message,
    /// CONS passes it; CPUs wake by event, which here means they poll without backing off.
    Event,
    /// CONS passes it; no completion signal is asked for.
    Polling,
}

/// What a queue has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Insertions.
    pub insertions: u64,
    /// Attempts to reserve slots; more than insertions means contention.
    pub attempts: u64,
    /// Commands, CMD_SYNC not counted.
    pub commands: u64,
    /// CMD_SYNCs.
    pub syncs: u64,
    /// Writes of PROD.
    pub publications: u64,
    /// Insertions that saw no space at first; software's copy of CONS may have been old.
    pub full: u64,
    /// Time spent in insertion calls.
    pub issue: Time,
    /// Of it: waiting for a CMD_SYNC.
    pub sync: Time,
    /// Waits that ended by time-out.
    pub timeouts: u64,
}

/// Where a queue is and how it is used.
#[derive(Clone, Debug)]
pub struct QueueSetup {
    /// For notes: "CMDQ", "LVCMDQ 0.1".
    pub name: String,
    /// Whose queue.
    pub by: Actor,
    /// Which SMMU.
    pub smmu: u16,
    /// log2 of the number of entries.
    pub log2: u8,
    /// Address of the PROD register.
    pub prod: u64,
    /// Address of the CONS register.
    pub cons: u64,
    /// How a CMD_SYNC completes.
    pub sync: SyncBy,
    /// How slots are reserved.
    pub insertion: Insertion,
    /// Own costs.
    pub costs: Costs,
    /// How long a CMD_SYNC may take.
    pub timeout: Time,
}

/// A command queue.
#[derive(Debug)]
pub struct CommandQueue {
    pub(super) setup: QueueSetup,
    pub(super) ring: Ring,
    ring_base: u64,
    /// Lines that CPUs contend for.
    pub(super) hot: Hot,
    journal: Journal,
    pages: Pages,
    pub(super) counters: Mutex<QueueCounters>,
}

/// Addresses of the contended words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hot {
    /// Reservation word.
    pub(super) reserve: u64,
    /// Where the previous owner's batch ended.
    pub(super) owner: u64,
    /// `cmpxchg`: count of CPUs that wait for a CMD_SYNC. `fetch_add`: consumer position.
    pub(super) third: u64,
    /// One bit a slot.
    valid: u64,
}

impl Hot {
    const HEADER: u64 = 3 * LINE;
    fn bytes(ring: Ring) -> u64 {
        Self::HEADER + u64::from(ring.entries().div_ceil(64)) * 8
    }
    const fn at(base: u64) -> Self {
        Self { reserve: base, owner: base + LINE, third: base + 2 * LINE, valid: base + Self::HEADER }
    }
}

/// What a reservation gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserved {
    /// Running position, or position with wrap bit, of the first slot.
    pub(super) start: u64,
    /// First of its batch.
    pub(super) owner: bool,
}

impl CommandQueue {
    /// Takes and prepares memory. The queue's registers are the caller's business.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub async fn new<A: Access>(
        cpu: &A,
        setup: QueueSetup,
        pages: &Pages,
        journal: &Journal,
    ) -> Result<Self, Errno> {
        let ring = Ring::new(setup.log2);
        let ring_base = pages.alloc(u64::from(ring.entries()) * COMMAND)?;
        let bytes = Hot::bytes(ring);
        let hot = match pages.alloc(bytes) {
            Ok(base) => base,
            Err(errno) => {
                pages.free(ring_base, u64::from(ring.entries()) * COMMAND);
                return Err(errno);
            }
        };
        zero(cpu, hot, bytes).await;
        cpu.barrier().await;
        Ok(Self {
            setup,
            ring,
            ring_base,
            hot: Hot::at(hot),
            journal: journal.clone(),
            pages: pages.clone(),
            counters: Mutex::default(),
        })
    }
    /// Gives the memory back. The hardware must have let go of it.
    pub fn destroy(&self) {
        self.pages.free(self.ring_base, u64::from(self.ring.entries()) * COMMAND);
        self.pages.free(self.hot.reserve, Hot::bytes(self.ring));
    }
    /// Physical address of the ring.
    pub fn ring_base(&self) -> u64 {
        self.ring_base
    }
    /// log2 of the number of entries.
    pub fn log2(&self) -> u8 {
        self.ring.log2()
    }
    /// What the queue is called in notes.
    pub fn name(&self) -> &str {
        &self.setup.name
    }
    /// What it has done so far.
    pub fn counters(&self) -> QueueCounters {
        *self.counters.lock()
    }
    fn slot(&self, position: u64) -> u64 {
        self.ring_base + u64::from(self.ring.index(position as u32)) * COMMAND
    }

    /// Issues commands in batches of [`BATCH`]; with `sync` a CMD_SYNC follows and the call waits for it.
    ///
    /// # Errors
    /// `ETIMEDOUT` when there is no space, or the CMD_SYNC does not complete, for the time-out. The commands may or
    /// may not have been executed then.
    pub async fn issue<A: Access>(&self, cpu: &A, commands: &[Command], sync: bool) -> Result<(), Errno> {
        let entered = cpu.now();
        let most = BATCH.min(self.ring.entries() as usize - 1);
        let mut chunks = commands.chunks(most).peekable();
        let mut result = Ok(());
        if chunks.peek().is_none() && sync {
            result = self.insert(cpu, &[], true).await;
        }
        while let Some(chunk) = chunks.next() {
            let last = chunks.peek().is_none();
            result = result.and(self.insert(cpu, chunk, sync && last).await);
        }
        self.counters.lock().issue += cpu.now() - entered;
        result
    }

    async fn insert<A: Access>(&self, cpu: &A, commands: &[Command], sync: bool) -> Result<(), Errno> {
        let costs = &self.setup.costs;
        let n = commands.len() as u32 + u32::from(sync);
        cpu.delay(costs.issue + costs.command * u64::from(n)).await;
        let reserved = match self.setup.insertion {
            Insertion::LinuxCmpxchg => self.reserve_cmpxchg(cpu, n).await,
            Insertion::FetchAdd => self.reserve_fetch_add(cpu, n).await,
        };
        let reserved = reserved.inspect_err(|_| self.timed_out(cpu, "space"))?;
        {
            let mut counters = self.counters.lock();
            counters.insertions += 1;
            counters.commands += commands.len() as u64;
            counters.syncs += u64::from(sync);
        }
        let sync_at = reserved.start + u64::from(n) - 1;
        self.write(cpu, reserved.start, commands, sync.then_some(sync_at)).await;
        if sync && self.setup.insertion == Insertion::LinuxCmpxchg {
            self.hold_cons(cpu).await;
        }
        cpu.barrier().await;
        self.set_valid(cpu, reserved.start, n).await;
        if reserved.owner {
            match self.setup.insertion {
                Insertion::LinuxCmpxchg => self.publish_cmpxchg(cpu, reserved.start).await,
                Insertion::FetchAdd => self.publish_fetch_add(cpu, reserved.start).await,
            }
        }
        if !sync {
            return Ok(());
        }
        let began = cpu.now();
        let result = match self.setup.insertion {
            Insertion::LinuxCmpxchg => self.wait_cmpxchg(cpu, sync_at).await,
            Insertion::FetchAdd => self.wait_fetch_add(cpu, sync_at).await,
        };
        self.counters.lock().sync += cpu.now() - began;
        result.inspect_err(|_| self.timed_out(cpu, "CMD_SYNC"))
    }

    fn timed_out<A: Access>(&self, cpu: &A, what: &str) {
        self.counters.lock().timeouts += 1;
        let what = format!("{what} in {} of SMMU {}", self.setup.name, self.setup.smmu);
        self.journal.push(cpu.now(), Note::Timeout { by: self.setup.by, what });
    }
    pub(super) fn backoff<A: Access>(&self, cpu: &A) -> Backoff {
        let wfe = self.setup.sync == SyncBy::Event;
        Backoff::new(cpu.now(), self.setup.timeout, self.setup.costs.relax, wfe)
    }

    fn sync_command(&self, position: u64) -> Command {
        match self.setup.sync {
            SyncBy::Message => Command::sync_msi(self.slot(position), 0),
            SyncBy::Event => Command::sync_sev().with_msh(3).with_msiattr(0xf),
            SyncBy::Polling => Command::sync().with_msh(3).with_msiattr(0xf),
        }
    }

    /// Stores commands into their slots, contiguous ones together.
    async fn write<A: Access>(&self, cpu: &A, start: u64, commands: &[Command], sync: Option<u64>) {
        let sync = sync.map(|at| self.sync_command(at));
        let mut bytes = Vec::with_capacity((commands.len() + 1) * Command::BYTES);
        for command in commands.iter().chain(&sync) {
            bytes.extend_from_slice(&command.to_bytes());
        }
        let index = self.ring.index(start as u32);
        let until_end = u64::from(self.ring.entries() - index) * COMMAND;
        let (first, second) = bytes.split_at(bytes.len().min(until_end as usize));
        cpu.store(self.slot(start), first).await;
        if !second.is_empty() {
            cpu.store(self.ring_base, second).await;
        }
    }

    /// The word of the valid map that holds a position's bit, the bit, and how many positions from there lie in it.
    fn valid_word(&self, position: u64) -> (u64, u32, u32) {
        let index = self.ring.index(position as u32);
        let bit = index % 64;
        (self.hot.valid + u64::from(index / 64) * 8, bit, (64 - bit).min(self.ring.entries() - index))
    }

    /// Flips the valid bits of slots. Only who has reserved a slot flips its bit, and all bits of one pass over the
    /// ring flip the same way, so adding or subtracting the mask flips it without a carry.
    async fn set_valid<A: Access>(&self, cpu: &A, start: u64, n: u32) {
        let (mut at, end) = (start, start + u64::from(n));
        while at < end {
            let (word, bit, room) = self.valid_word(at);
            let count = room.min((end - at) as u32);
            let mask = (u64::MAX >> (64 - count)) << bit;
            let add = if self.ring.wrapped(at as u32) { mask.wrapping_neg() } else { mask };
            cpu.fetch_add(word, add).await;
            at += u64::from(count);
        }
    }

    /// How many of the slots `at..end`, counted from `at`, are valid; the address and value of the word looked at.
    pub(super) async fn valid_prefix<A: Access>(&self, cpu: &A, at: u64, end: u64) -> (u64, u64, u64) {
        let (word, bit, room) = self.valid_word(at);
        let value = cpu.read64(word).await;
        // On even passes a set bit means valid, on odd passes a clear one.
        let invalid = if self.ring.wrapped(at as u32) { value } else { !value };
        let valid = u64::from((invalid >> bit).trailing_zeros().min(room)).min(end - at);
        (valid, word, value)
    }

    /// Waits until the slots are valid.
    pub(super) async fn wait_valid<A: Access>(&self, cpu: &A, start: u64, end: u64) {
        let mut at = start;
        while at < end {
            let (valid, word, value) = self.valid_prefix(cpu, at, end).await;
            at += valid;
            if valid == 0 {
                cpu.wait_while64(word, value, None).await;
            }
        }
    }

    /// Waits until the owner before has published everything up to `start`.
    pub(super) async fn wait_owner<A: Access>(&self, cpu: &A, start: u64) {
        loop {
            let end = cpu.read64(self.hot.owner).await;
            if end == start {
                return;
            }
            cpu.wait_while64(self.hot.owner, end, None).await;
        }
    }

    /// Writes PROD.
    pub(super) async fn publish<A: Access>(&self, cpu: &A, position: u64) {
        self.counters.lock().publications += 1;
        cpu.write32(self.setup.prod, position as u32 & self.ring.mask()).await;
    }
    /// Reads CONS: position with wrap bit.
    pub(super) async fn read_cons<A: Access>(&self, cpu: &A) -> u32 {
        cpu.read32(self.setup.cons).await & self.ring.mask()
    }
    /// Lets the next owner publish. The write of PROD has arrived before, or PROD could go backwards.
    pub(super) async fn pass_ownership<A: Access>(&self, cpu: &A, position: u64) {
        cpu.barrier().await;
        cpu.write64(self.hot.owner, position).await;
    }

    /// Waits for the message of the CMD_SYNC at `position`. False when `limit` passed first.
    pub(super) async fn wait_message<A: Access>(&self, cpu: &A, position: u64, limit: Time) -> bool {
        let value = self.sync_command(position).words()[0] as u32;
        cpu.wait_while32(self.slot(position), value, Some(limit)).await
    }

    /// Deals with the error that stopped the queue, as Linux does: a command that cannot be executed is replaced by a
    /// CMD_SYNC, a failed fetch or CMD_SYNC is left for the hardware to repeat. The caller acknowledges the error.
    pub async fn skip_error<A: Access>(&self, cpu: &A) {
        let cons = CMDQ_CONS(cpu.read32(self.setup.cons).await.into());
        let error = CommandError(cons.err() as u8);
        let repeated =
            [CommandError::CERROR_NONE, CommandError::CERROR_ABT, CommandError::CERROR_ATC_INV_SYNC];
        let mut skipped = None;
        if !repeated.contains(&error) {
            let slot = self.slot(cons.rd());
            let mut bytes = [0; Command::BYTES];
            cpu.load(slot, &mut bytes).await;
            skipped = Some(Command::from_bytes(&bytes));
            let signal = if self.setup.sync == SyncBy::Event { cs::SIG_SEV } else { cs::SIG_NONE };
            let sync = Command::new(Opcode::SYNC).with_cs(signal);
            cpu.store(slot, &sync.to_bytes()).await;
            cpu.barrier().await;
        }
        let note = Note::CommandError {
            by: self.setup.by,
            smmu: self.setup.smmu,
            queue: self.setup.name.clone(),
            code: error.0,
            skipped,
        };
        self.journal.push(cpu.now(), note);
    }
}

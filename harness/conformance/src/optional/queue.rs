//! An enhanced command queue as software uses it.

use spec::smmu::Command;
use spec::smmu::ecmdq::{CMDQ_CONTROL_PAGE_BASE, ECMDQ_CONS, ECMDQ_PROD};
use spec::smmu::page0::IDR6;

use crate::rig::{Rig, same};
use crate::suite::Check;

/// Queues of the machine.
pub(super) const QUEUES: u64 = 8;

/// What software knows of a queue.
#[derive(Clone, Copy, Debug)]
pub(super) struct Queue {
    /// Offset of its registers.
    pub(super) at: u64,
    /// Where its ring is in memory.
    pub(super) ring: u64,
    log2: u8,
    pub(super) prod: u32,
    errack: bool,
    enabled: bool,
}

impl Queue {
    /// Finds a queue where the ID registers and page 0 say that it is.
    pub(super) fn find(r: &mut Rig, number: u64) -> u64 {
        let idr6 = IDR6(r.read32(0x190).into());
        let queues_log2 = idr6.cmdq_control_page_log2numq();
        let (page, queue) = (number >> queues_log2, number & ((1 << queues_log2) - 1));
        let base = CMDQ_CONTROL_PAGE_BASE(r.read64(0x4000 + 32 * page)).addr();
        base + queue * (0x1_0000 >> queues_log2)
    }

    /// Sets up a queue of 2^`log2` entries that is still disabled.
    pub(super) fn set_up(r: &mut Rig, number: u64, log2: u8) -> Self {
        let at = Self::find(r, number);
        let ring = r.alloc(log2 + 4);
        r.write64(at, ring | u64::from(log2));
        r.write32(at + 8, 0);
        r.write32(at + 0xc, 0);
        Self { at, ring, log2, prod: 0, errack: false, enabled: false }
    }
    /// Sets up a queue of 16 entries and enables it.
    pub(super) fn open(r: &mut Rig, number: u64) -> Result<Self, String> {
        let mut queue = Self::set_up(r, number, 4);
        queue.enable(r, true)?;
        Ok(queue)
    }

    /// PROD with EN and ERRACK as they are meant to be.
    pub(super) fn word(&self) -> u32 {
        let prod = ECMDQ_PROD(0).with_wr(self.prod.into()).with_errack(self.errack);
        prod.with_en(self.enabled).0 as u32
    }
    /// Tells the SMMU of the commands so far, of the enable and of the acknowledgement.
    pub(super) fn ring(&self, r: &mut Rig) {
        r.write32(self.at + 8, self.word());
    }
    /// Writes EN.
    pub(super) fn want(&mut self, r: &mut Rig, enabled: bool) {
        self.enabled = enabled;
        self.ring(r);
    }
    /// Writes EN and waits for ENACK.
    pub(super) fn enable(&mut self, r: &mut Rig, enabled: bool) -> Check {
        self.want(r, enabled);
        let at = self.at;
        r.until("ENACK follows EN", |r| Self::cons_at(r, at).enack() == enabled)
    }

    fn cons_at(r: &mut Rig, at: u64) -> ECMDQ_CONS {
        ECMDQ_CONS(r.read32(at + 0xc).into())
    }
    /// CONS.
    pub(super) fn cons(&self, r: &mut Rig) -> ECMDQ_CONS {
        Self::cons_at(r, self.at)
    }
    /// RD with its wrap bit, and ERR_REASON while an error is active.
    pub(super) fn state(&self, r: &mut Rig) -> (u32, u64) {
        let cons = self.cons(r);
        let active = cons.err() != self.errack;
        (cons.rd() as u32, if active { cons.err_reason() } else { 0 })
    }

    /// Address of a slot.
    pub(super) fn slot(&self, pointer: u32) -> u64 {
        self.ring + 16 * u64::from(pointer & ((1 << self.log2) - 1))
    }
    /// The pointer behind `n` more commands.
    pub(super) fn after(&self, n: u32) -> u32 {
        (self.prod + n) & ((2 << self.log2) - 1)
    }
    /// Writes commands into the ring, without telling the SMMU.
    pub(super) fn push(&mut self, r: &mut Rig, commands: &[Command]) {
        for command in commands {
            r.world.memory.write(self.slot(self.prod), &command.to_bytes());
            self.prod = self.after(1);
        }
    }
    /// Writes commands and tells the SMMU.
    pub(super) fn submit(&mut self, r: &mut Rig, commands: &[Command]) {
        self.push(r, commands);
        self.ring(r);
    }
    /// Waits until all commands are consumed.
    pub(super) fn drained(&self, r: &mut Rig) -> Check {
        let result = r.until("ECMDQ_CONS reaches ECMDQ_PROD", |r| self.state(r) == (self.prod, 0));
        let seen = self.state(r);
        result.map_err(|_| format!("ECMDQ_CONS stops at {seen:x?}, expected ({:x}, 0)", self.prod))
    }
    /// Submits commands and a CMD_SYNC, and waits for its completion.
    pub(super) fn commands(&mut self, r: &mut Rig, commands: &[Command]) -> Check {
        self.submit(r, commands);
        self.submit(r, &[Command::sync()]);
        self.drained(r)
    }
    /// Submits commands of which the one `n` must stop the queue for this reason.
    pub(super) fn stops(&mut self, r: &mut Rig, commands: &[Command], n: u32, reason: u64) -> Check {
        let index = self.after(n);
        self.submit(r, commands);
        r.run();
        same("ECMDQ_CONS", self.state(r), (index, reason))
    }
    /// Acknowledges an error.
    pub(super) fn acknowledge(&mut self, r: &mut Rig) {
        self.errack = self.cons(r).err();
        self.ring(r);
    }
}

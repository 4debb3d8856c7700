//! A CMDQV as software uses it: registers by name or offset, VINTFs, queues with rings of their own, what was executed.

use models::bus::{Data, Op};
use models::record::CommandQueue;
use spec::cmdqv::Place;
use spec::smmu::Command;

use super::{REGISTERS, Rig, same};
use crate::suite::Check;

/// First byte of the region: where it is on silicon relative to the SMMU.
pub(crate) const CMDQV: u64 = REGISTERS + 0x20_0000;
/// Its wire.
pub(crate) const CMDQV_LINE: u32 = 78;
/// The config page, which guests never reach.
const CONFIG_PAGE: u64 = 0x1_0000;

/// A register: by name or by offset.
pub(crate) trait At: Copy {
    fn offset(self) -> u64;
}

impl At for u64 {
    fn offset(self) -> u64 {
        self
    }
}

impl At for &str {
    fn offset(self) -> u64 {
        self.parse::<Place>().expect("a register's name").offset().expect("a place")
    }
}

/// What software knows about a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lvcmdq {
    /// VINTF.
    pub(crate) v: u8,
    /// Index within it.
    pub(crate) l: u8,
    /// Global index.
    pub(crate) q: u16,
    pub(crate) ring: u64,
    pub(crate) log2size: u8,
    /// With wrap bit.
    pub(crate) prod: u32,
}

impl Lvcmdq {
    /// Offset of a register in the logical aperture.
    pub(crate) fn at(&self, register: &str) -> u64 {
        format!("VINTF{}.LVCMDQ{}.{register}", self.v, self.l).as_str().offset()
    }
    /// Offset of the same register in the direct aperture.
    pub(crate) fn direct(&self, register: &str) -> u64 {
        format!("VCMDQ{}.{register}", self.q).as_str().offset()
    }
    /// Offset of its entry in the allocation table.
    pub(crate) fn entry(&self) -> u64 {
        format!("CMDQ_ALLOC{}", self.q).as_str().offset()
    }
    /// Address of the entry that this pointer means.
    pub(crate) fn slot(&self, pointer: u32) -> u64 {
        self.ring + 16 * u64::from(pointer & ((1 << self.log2size) - 1))
    }
    /// The pointer `n` entries on.
    pub(crate) fn after(&self, pointer: u32, n: u32) -> u32 {
        (pointer + n) & ((2 << self.log2size) - 1)
    }
}

/// Offset of a register of a VINTF.
fn bank(v: u8, register: &str) -> u64 {
    format!("VINTF{v}.{register}").as_str().offset()
}

impl Rig {
    fn touch(&mut self, at: impl At, op: Op) -> u64 {
        let offset = at.offset();
        self.config_page_accesses += u32::from(offset < CONFIG_PAGE);
        self.access_at(CMDQV + offset, op)
    }
    /// Reads 32 bits.
    pub(crate) fn get(&mut self, at: impl At) -> u32 {
        self.touch(at, Op::Read { len: 4 }) as u32
    }
    /// Reads 64 bits.
    pub(crate) fn get64(&mut self, at: impl At) -> u64 {
        self.touch(at, Op::Read { len: 8 })
    }
    /// Writes 32 bits.
    pub(crate) fn set(&mut self, at: impl At, value: u32) {
        self.touch(at, Op::Write(Data::u32(value)));
    }
    /// Writes 64 bits.
    pub(crate) fn set64(&mut self, at: impl At, value: u64) {
        self.touch(at, Op::Write(Data::u64(value)));
    }
    /// Writes some bytes, all ones.
    pub(crate) fn set_bytes(&mut self, at: u64, len: usize) {
        self.touch(at, Op::Write(Data::new(&[0xff; 8][..len])));
    }
    /// A register must read as this.
    pub(crate) fn reads(&mut self, at: impl At + std::fmt::Debug, expected: u32) -> Check {
        let seen = self.get(at);
        same(&format!("{at:x?}"), seen, expected)
    }
    /// Reads a register until its bit 0 is this.
    pub(crate) fn poll(&mut self, at: impl At + std::fmt::Debug, expected: u32) -> Check {
        self.until(&format!("bit 0 of {at:x?} is {expected}"), |r| r.get(at) & 1 == expected)
    }

    /// The SMMU works, and the CMDQV is enabled.
    pub(crate) fn boot_cmdqv(&mut self) -> Check {
        self.boot()?;
        let config = self.get("CONFIG");
        self.set("CONFIG", config | 1);
        self.poll("STATUS", 1)
    }
    /// Enables a VINTF.
    pub(crate) fn vintf(&mut self, v: u8, hyp_own: bool, vmid: u16) -> Check {
        let config = u32::from(hyp_own) << 17 | u32::from(vmid) << 1;
        self.set(bank(v, "CONFIG"), config);
        self.set(bank(v, "CONFIG"), config | 1);
        self.poll(bank(v, "STATUS"), 1)
    }
    /// Disables a VINTF.
    pub(crate) fn disable_vintf(&mut self, v: u8) -> Check {
        self.set(bank(v, "CONFIG"), 0);
        self.poll(bank(v, "STATUS"), 0)
    }
    /// Enables a StreamID slot of a VINTF.
    pub(crate) fn sid(&mut self, v: u8, s: u8, virt: u32, phys: u32) {
        self.set(bank(v, &format!("SID_REPLACE{s}")), phys);
        self.set(bank(v, &format!("SID_MATCH{s}")), virt << 1 | 1);
    }
    /// Allocates a queue, with a ring of its own but nothing in its registers.
    pub(crate) fn allocated(&mut self, v: u8, l: u8, q: u16, log2size: u8) -> Lvcmdq {
        let ring = self.alloc(log2size + 4);
        let queue = Lvcmdq { v, l, q, ring, log2size, prod: 0 };
        self.set(queue.entry(), u32::from(v) << 15 | u32::from(l) << 1 | 1);
        queue
    }
    /// Allocates VCMDQ 2v+l, gives it a ring and enables it, as far as its VINTF is.
    pub(crate) fn configured(&mut self, v: u8, l: u8, log2size: u8) -> Lvcmdq {
        let queue = self.allocated(v, l, 2 * u16::from(v) + u16::from(l), log2size);
        self.set64(queue.at("BASE"), queue.ring | u64::from(log2size));
        self.set(queue.at("CONFIG"), 1);
        queue
    }
    /// The same, and waits until it is enabled.
    pub(crate) fn queue(&mut self, v: u8, l: u8, log2size: u8) -> Result<Lvcmdq, String> {
        let queue = self.configured(v, l, log2size);
        self.poll(queue.at("STATUS"), 1)?;
        Ok(queue)
    }

    /// Puts one command into memory.
    pub(crate) fn store(&mut self, addr: u64, command: Command) {
        self.world.memory.write(addr, &command.to_bytes());
    }
    /// Appends commands, without telling.
    pub(crate) fn fill(&mut self, queue: &mut Lvcmdq, commands: &[Command]) {
        for &command in commands {
            self.store(queue.slot(queue.prod), command);
            queue.prod = queue.after(queue.prod, 1);
        }
    }
    /// Appends commands, rings the doorbell and goes on.
    pub(crate) fn send(&mut self, queue: &mut Lvcmdq, commands: &[Command]) {
        self.fill(queue, commands);
        self.set(queue.at("PROD"), queue.prod);
    }
    /// Appends commands, rings the doorbell and lets everything happen that comes of it.
    pub(crate) fn give(&mut self, queue: &mut Lvcmdq, commands: &[Command]) {
        self.send(queue, commands);
        self.run();
    }
    /// Disables a queue and waits for STATUS.
    pub(crate) fn disable(&mut self, queue: &Lvcmdq) -> Check {
        self.set(queue.at("CONFIG"), 0);
        self.poll(queue.at("STATUS"), 0)
    }
    /// Writes GERRORN := GERROR and lets everything happen that comes of it.
    pub(crate) fn acknowledge(&mut self, queue: &Lvcmdq) {
        let gerror = self.get(queue.at("GERROR"));
        self.set(queue.at("GERRORN"), gerror);
        self.run();
    }
    /// CONS.RD with its wrap bit, and CONS.ERR while CMDQ_ERR is active.
    pub(crate) fn consumed(&mut self, queue: &Lvcmdq) -> (u32, u32) {
        let active = self.active(queue) & 1;
        let cons = self.get(queue.at("CONS"));
        (cons & 0xf_ffff, if active == 0 { 0 } else { cons >> 24 & 0x7f })
    }
    /// GERROR against GERRORN.
    pub(crate) fn active(&mut self, queue: &Lvcmdq) -> u32 {
        self.get(queue.at("GERROR")) ^ self.get(queue.at("GERRORN"))
    }
    /// [`Rig::consumed`] must be this.
    pub(crate) fn stands(&mut self, queue: &Lvcmdq, expected: (u32, u32)) -> Check {
        let seen = self.consumed(queue);
        same(&format!("CONS of LVCMDQ {}.{}", queue.v, queue.l), seen, expected)
    }
    /// Waits until everything up to PROD is consumed.
    pub(crate) fn finishes(&mut self, queue: &Lvcmdq) -> Check {
        let (queue, prod) = (*queue, queue.prod);
        let result = self.until("CONS reaches PROD", |r| r.consumed(&queue) == (prod, 0));
        let seen = self.consumed(&queue);
        result.map_err(|_| format!("CONS stops at {seen:x?}, expected ({prod:x}, 0)"))
    }

    /// What was executed of a VCMDQ.
    pub(crate) fn executed(&self, q: u16) -> Vec<Command> {
        let of = |from: &CommandQueue| matches!(from, CommandQueue::Vcmdq { queue, .. } if *queue == q);
        self.world.executed.iter().filter(|(from, _)| of(from)).map(|(_, command)| *command).collect()
    }
    /// What was executed of a VCMDQ must be this.
    pub(crate) fn ran(&self, queue: &Lvcmdq, expected: &[Command]) -> Check {
        let seen = self.executed(queue.q);
        if seen == expected {
            return Ok(());
        }
        let show = |commands: &[Command]| {
            let each: Vec<_> = commands.iter().map(|command| format!("[{command}]")).collect();
            if each.is_empty() { "nothing".to_owned() } else { each.join(" ") }
        };
        Err(format!("VCMDQ {} executed {}, expected {}", queue.q, show(&seen), show(expected)))
    }
    /// Edges of the CMDQV's wire so far.
    pub(crate) fn edges(&self) -> usize {
        self.world.edges.iter().filter(|&&line| line == CMDQV_LINE).count()
    }
    /// So many edges must have been seen.
    pub(crate) fn edged(&self, expected: usize) -> Check {
        same("edges of the CMDQV", self.edges(), expected)
    }
    /// Reads of a queue's ring so far.
    pub(crate) fn fetches(&self, queue: &Lvcmdq) -> usize {
        let ring = queue.ring..queue.ring + (16 << queue.log2size);
        self.world.reads.iter().filter(|addr| ring.contains(addr)).count()
    }
    /// CMD_SYNCs of the hardware's own so far.
    pub(crate) fn inserted_syncs(&mut self) -> u64 {
        self.machine().0.inserted_syncs()
    }
    /// So many undefined things must have been noticed.
    pub(crate) fn flagged(&self, expected: usize) -> Check {
        let seen = &self.world.lints;
        if seen.len() == expected {
            return Ok(());
        }
        Err(format!("{} violations noticed, expected {expected}: {}", seen.len(), seen.join("; ")))
    }
    /// Accesses to the config page so far.
    pub(crate) fn config_page_accesses(&self) -> u32 {
        self.config_page_accesses
    }

    /// What drivers do to reset a queue: disables it, collects what it has left behind by the SMMU's own queue, clears its
    /// registers and acknowledges its errors. True if there was one to acknowledge.
    pub(crate) fn reset(&mut self, queue: &Lvcmdq) -> Result<bool, String> {
        self.disable(queue)?;
        self.commands(&[Command::sync()])?;
        self.set(queue.at("PROD"), 0);
        self.set(queue.at("CONS"), 0);
        self.set64(queue.at("BASE"), 0);
        self.set64(queue.at("CONS_INDX_BASE"), 0);
        let (gerrorn, gerror) = (self.get(queue.at("GERRORN")), self.get(queue.at("GERROR")));
        if gerror != gerrorn {
            self.set(queue.at("GERRORN"), gerror);
        }
        Ok(gerror != gerrorn)
    }
    /// Sets or clears ALLOCATED, leaving the rest of the entry alone.
    pub(crate) fn allocate(&mut self, queue: &Lvcmdq, allocated: bool) {
        let entry = self.get(queue.entry());
        self.set(queue.entry(), entry & !1 | u32::from(allocated));
    }
    /// What drivers do to reset a VINTF with these queues, in descending order.
    pub(crate) fn reset_vintf(&mut self, v: u8, queues: &[Lvcmdq]) -> Check {
        for queue in queues.iter().rev() {
            self.reset(queue)?;
            self.allocate(queue, false);
        }
        self.disable_vintf(v)?;
        for s in 0..16 {
            self.set(bank(v, &format!("SID_MATCH{s}")), 0);
            self.set(bank(v, &format!("SID_REPLACE{s}")), 0);
        }
        Ok(())
    }
}

//! A driver without time, for tests: memory as a map, effects answered at once (or when the test says so), an engine that
//! logs what it executes.

use std::collections::{BTreeMap, BTreeSet};

use spec::cmdqv::Place;
use spec::smmu::error::CommandError;
use spec::smmu::{Command, Opcode};

use super::{Cmdqv, CmdqvConfig, Effect};
use crate::bus::{Abort, Data, PhysAddr};
use crate::record::CommandQueue;

/// Opcodes that the engine executes.
pub(super) const IMPLEMENTED: [Opcode; 20] = [
    Opcode::PREFETCH_CONFIG,
    Opcode::CFGI_STE,
    Opcode::CFGI_STE_RANGE,
    Opcode::CFGI_CD,
    Opcode::CFGI_CD_ALL,
    Opcode::TLBI_NH_ALL,
    Opcode::TLBI_NH_ASID,
    Opcode::TLBI_NH_VA,
    Opcode::TLBI_NH_VAA,
    Opcode::TLBI_EL2_ALL,
    Opcode::TLBI_EL2_ASID,
    Opcode::TLBI_EL2_VA,
    Opcode::TLBI_EL2_VAA,
    Opcode::TLBI_S12_VMALL,
    Opcode::TLBI_S2_IPA,
    Opcode::TLBI_NSNH_ALL,
    Opcode::ATC_INV,
    Opcode::PRI_RESP,
    Opcode::RESUME,
    Opcode::SYNC,
];

/// A register: by name or by offset.
pub(super) trait At {
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

impl At for String {
    fn offset(self) -> u64 {
        self.as_str().offset()
    }
}

/// A block with something around it.
pub(super) struct Rig {
    pub(super) block: Cmdqv,
    /// 64-bit words by address.
    pub(super) memory: BTreeMap<PhysAddr, u64>,
    /// Reads and writes here abort once each.
    pub(super) abort_once: BTreeSet<PhysAddr>,
    /// ATC_INV of these (physical) StreamIDs time out.
    pub(super) atc_timeouts: BTreeSet<u64>,
    /// Commands executed, in order.
    pub(super) log: Vec<(u16, Command)>,
    pub(super) edges: u32,
    pub(super) lints: Vec<String>,
    pub(super) errors: Vec<(CommandQueue, u32, u8)>,
    /// Addresses read, in order.
    pub(super) fetches: Vec<PhysAddr>,
    /// Values written back with their addresses, in order.
    pub(super) write_backs: Vec<(PhysAddr, u32)>,
    /// While set, effects are collected in `held` instead of being answered.
    pub(super) hold: bool,
    pub(super) held: Vec<Effect>,
    /// While set, nothing is executed.
    pub(super) halt: bool,
    timeout_pending: BTreeSet<u16>,
}

impl Rig {
    /// A Grace-sized block after reset.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// The same with changes.
    pub(super) fn with(change: impl FnOnce(&mut CmdqvConfig)) -> Self {
        let mut config = CmdqvConfig::default();
        change(&mut config);
        Self {
            block: Cmdqv::new(config),
            memory: BTreeMap::new(),
            abort_once: BTreeSet::new(),
            atc_timeouts: BTreeSet::new(),
            log: Vec::new(),
            edges: 0,
            lints: Vec::new(),
            errors: Vec::new(),
            fetches: Vec::new(),
            write_backs: Vec::new(),
            hold: false,
            held: Vec::new(),
            halt: false,
            timeout_pending: BTreeSet::new(),
        }
    }

    pub(super) fn w(&mut self, at: impl At, value: u32) {
        self.block.write(at.offset(), 4, value.into());
        self.settle();
    }

    pub(super) fn w64(&mut self, at: impl At, value: u64) {
        self.block.write(at.offset(), 8, value);
        self.settle();
    }

    pub(super) fn r(&mut self, at: impl At) -> u32 {
        self.block.read(at.offset(), 4) as u32
    }

    pub(super) fn r64(&mut self, at: impl At) -> u64 {
        self.block.read(at.offset(), 8)
    }

    /// Answers what was held, oldest first, and goes on at once from now.
    pub(super) fn release(&mut self) {
        self.hold = false;
        for effect in std::mem::take(&mut self.held) {
            self.answer(effect);
        }
        self.settle();
    }

    /// Answers one held effect.
    pub(super) fn release_nth(&mut self, n: usize) {
        let effect = self.held.remove(n);
        self.answer(effect);
        self.settle();
    }

    /// Answers effects and executes commands until nothing moves.
    pub(super) fn settle(&mut self) {
        loop {
            while let Some(effect) = self.block.poll() {
                self.answer_or_hold(effect);
            }
            if self.halt {
                return;
            }
            let ready: Vec<_> = self.block.ready_queues().iter_ones().collect();
            if ready.is_empty() {
                return;
            }
            for q in ready {
                self.execute(q as u16);
            }
        }
    }

    fn answer_or_hold(&mut self, effect: Effect) {
        let asks =
            matches!(effect, Effect::Fetch { .. } | Effect::WriteBack { .. } | Effect::Handshake { .. });
        if self.hold && asks {
            self.held.push(effect);
        } else {
            self.answer(effect);
        }
    }

    fn answer(&mut self, effect: Effect) {
        match effect {
            Effect::Fetch { ticket, addr, len } => {
                self.fetches.push(addr);
                assert!(addr % 64 + u64::from(len) <= 64, "a fetch stays within a line");
                let bytes: Vec<u8> = (0..u64::from(len) / 8)
                    .flat_map(|i| self.memory.get(&(addr + 8 * i)).copied().unwrap_or(0).to_le_bytes())
                    .collect();
                let data = if self.abort_once.remove(&addr) { Err(Abort) } else { Ok(Data::new(&bytes)) };
                self.block.fetched(ticket, data);
            }
            Effect::WriteBack { ticket, addr, value } => {
                self.write_backs.push((addr, value));
                let result = if self.abort_once.remove(&addr) { Err(Abort) } else { Ok(()) };
                self.block.written_back(ticket, result);
            }
            Effect::Handshake { ticket } => self.block.handshake_done(ticket),
            Effect::InterruptEdge => self.edges += 1,
            Effect::Error { queue, index, code, raw: _ } => self.errors.push((queue, index, code.0)),
            Effect::Lint(text) => self.lints.push(text),
        }
    }

    /// Executes the head of a queue.
    pub(super) fn execute(&mut self, q: u16) {
        let Some(taken) = self.block.take(q) else { return };
        assert!(!self.block.is_ready(q), "one command of a queue at a time");
        let command = taken.executed;
        let result = match command.op() {
            op if !IMPLEMENTED.contains(&op) => Err(CommandError::CERROR_ILL),
            Opcode::SYNC if self.timeout_pending.remove(&q) => Err(CommandError::CERROR_ATC_INV_SYNC),
            _ => Ok(()),
        };
        if command.op() == Opcode::ATC_INV && self.atc_timeouts.contains(&command.sid()) {
            self.timeout_pending.insert(q);
        }
        if result.is_ok() {
            self.log.push((q, command));
        }
        self.block.retire(q, result);
    }

    /// Commands executed from one queue.
    pub(super) fn log_of(&self, q: u16) -> Vec<Command> {
        self.log.iter().filter(|(from, _)| *from == q).map(|(_, c)| *c).collect()
    }

    /// Puts one command into memory.
    pub(super) fn store(&mut self, addr: PhysAddr, command: Command) {
        for (i, word) in command.words().into_iter().enumerate() {
            self.memory.insert(addr + 8 * i as u64, word);
        }
    }

    /// Enables a VINTF.
    pub(super) fn vintf(&mut self, v: u8, hyp_own: bool, vmid: u16) {
        let config = u32::from(hyp_own) << 17 | u32::from(vmid) << 1;
        self.w(format!("VINTF{v}.CONFIG"), config);
        self.w(format!("VINTF{v}.CONFIG"), config | 1);
        assert_eq!(self.r(format!("VINTF{v}.STATUS")) & 1, 1);
    }

    /// Allocates VCMDQ 2v+l, gives it a ring of its own and enables it. Returns the queue and the ring's address.
    pub(super) fn queue(&mut self, v: u8, l: u8, log2size: u8) -> Lvcmdq {
        let q = u16::from(v) * 2 + u16::from(l);
        self.w(format!("CMDQ_ALLOC{q}"), u32::from(v) << 15 | u32::from(l) << 1 | 1);
        let queue = Lvcmdq { v, l, q, ring: 0x100_0000_0000 + u64::from(q) * 0x100_0000, log2size, prod: 0 };
        self.w64(queue.reg("BASE"), queue.ring | u64::from(log2size));
        self.w(queue.reg("CONFIG"), 1);
        queue
    }

    /// Appends commands and rings the doorbell.
    pub(super) fn push(&mut self, queue: &mut Lvcmdq, commands: &[Command]) {
        for &command in commands {
            let index = u64::from(queue.prod) & ((1 << queue.log2size) - 1);
            self.store(queue.ring + 16 * index, command);
            queue.prod = (queue.prod + 1) & ((2 << queue.log2size) - 1);
        }
        self.w(queue.reg("PROD"), queue.prod);
    }

    /// CONS.RD and CONS.ERR.
    pub(super) fn cons(&mut self, queue: &Lvcmdq) -> (u32, u32) {
        let cons = self.r(queue.reg("CONS"));
        (cons & 0xf_ffff, cons >> 24)
    }

    /// Writes GERRORN := GERROR.
    pub(super) fn acknowledge(&mut self, queue: &Lvcmdq) {
        let gerror = self.r(queue.reg("GERROR"));
        self.w(queue.reg("GERRORN"), gerror);
    }

    /// Enables StreamID slot `s` of a VINTF.
    pub(super) fn sid(&mut self, v: u8, s: u8, virt: u32, phys: u32) {
        self.w(format!("VINTF{v}.SID_REPLACE{s}"), phys);
        self.w(format!("VINTF{v}.SID_MATCH{s}"), virt << 1 | 1);
    }
}

/// What software knows about a queue.
#[derive(Clone, Debug)]
pub(super) struct Lvcmdq {
    pub(super) v: u8,
    pub(super) l: u8,
    pub(super) q: u16,
    pub(super) ring: PhysAddr,
    pub(super) log2size: u8,
    pub(super) prod: u32,
}

impl Lvcmdq {
    /// A register in the logical aperture.
    pub(super) fn reg(&self, name: &str) -> String {
        format!("VINTF{}.LVCMDQ{}.{name}", self.v, self.l)
    }
    /// The same register in the direct aperture.
    pub(super) fn direct(&self, name: &str) -> String {
        format!("VCMDQ{}.{name}", self.q)
    }
}

//! Memory: what it holds ([`PhysMem`]) and what it costs (a cache-line directory and DRAM channels).
//!
//! ```text
//!   Access --> range? fault? --no--> Abort
//!              |
//!              v
//!          directory: when does it take effect, when is the answer back?
//!              |
//!              +-- now --------> store, record, watches --> Respond at `done`
//!              +-- later: Serve -^
//! ```
//! A request takes effect when its line's home serves it; requests to one line are served in the order of arrival. CPUs
//! and pSMMUs are given latencies from themselves and back, so the wiring adds nothing for memory of the same machine.

mod directory;
mod store;
mod timing;

pub use directory::{CPUS_MAX, Level};
pub use store::{Applied, PhysMem};
pub use timing::MemoryTiming;

use std::collections::BTreeMap;
use std::ops::Range;

use sim::{Component, Cx, Time};

use self::directory::{Access, Booking, Channel, Directory, Request};
use crate::bus::{Abort, LINE, Op, PhysAddr, Requester, Response, Transaction};
use crate::record::Record;

/// A range of memory and the node that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// First byte, line-aligned.
    pub base: PhysAddr,
    /// Number of bytes, whole lines.
    pub size: u64,
    /// The node whose channels serve it.
    pub node: u16,
}

/// Faults of the environment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryFaults {
    /// Accesses that touch these bytes abort.
    pub abort: Vec<Range<PhysAddr>>,
}

/// What memory there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemoryConfig {
    /// Where it is. Ranges do not overlap.
    pub ranges: Vec<MemoryRange>,
    /// The node of each CPU, by index; node 0 where the list ends.
    pub cpu_nodes: Vec<u16>,
    /// The node of each pSMMU, by index; node 0 where the list ends.
    pub psmmu_nodes: Vec<u16>,
    /// Lines that the directory keeps track of; rounded up to a power of two.
    pub directory_lines: usize,
    /// What it costs.
    pub timing: MemoryTiming,
    /// What goes wrong.
    pub faults: MemoryFaults,
}

impl MemoryConfig {
    /// One range on node 0 with default timing and no faults.
    pub fn flat(base: PhysAddr, size: u64) -> Self {
        Self {
            ranges: vec![MemoryRange { base, size, node: 0 }],
            cpu_nodes: Vec::new(),
            psmmu_nodes: Vec::new(),
            directory_lines: 16 * 1024,
            timing: MemoryTiming::default(),
            faults: MemoryFaults::default(),
        }
    }
}

/// All that memory hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum In {
    /// A transaction.
    Access(Transaction),
    /// Tell this CPU when the value differs.
    Watch {
        /// Who waits.
        cpu: u16,
        /// Returned in [`Out::Touched`].
        tag: u32,
        /// First byte; the value does not cross a line.
        addr: PhysAddr,
        /// 1..=8.
        len: u8,
        /// The little-endian value that keeps the CPU waiting.
        value: u64,
    },
    /// From itself: a transaction that had to queue for its line takes effect.
    Serve {
        /// Which.
        transaction: Transaction,
        /// When its answer is with the requester.
        done: Time,
    },
}

/// All that memory says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Out {
    /// The answer to a transaction.
    Respond(Response),
    /// A watched value differs, and the CPU has seen it.
    Touched {
        /// Who waits.
        cpu: u16,
        /// As in [`In::Watch`].
        tag: u32,
    },
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryCounters {
    /// Reads served.
    pub reads: u64,
    /// Writes served.
    pub writes: u64,
    /// Atomics served.
    pub atomics: u64,
    /// Transactions refused.
    pub aborts: u64,
    /// Requests that found their line in the CPU's own cache.
    pub own_hits: u64,
    /// Requests that found their line in the last-level cache.
    pub shared_hits: u64,
    /// Requests that had to ask another CPU's cache.
    pub transfers: u64,
    /// Requests that went to DRAM.
    pub dram: u64,
    /// Requests that had to queue for their line.
    pub queued: u64,
}

#[derive(Clone, Debug)]
struct Watch {
    cpu: u16,
    tag: u32,
    addr: PhysAddr,
    len: u8,
    value: u64,
}

/// The memory of a machine.
#[derive(Clone, Debug)]
pub struct Memory {
    config: MemoryConfig,
    store: PhysMem,
    directory: Directory,
    channels: Vec<Channel>,
    /// By line, in order of arrival.
    watches: BTreeMap<u64, Vec<Watch>>,
    counters: MemoryCounters,
}

type Context = Cx<In, Out, Record>;

impl Memory {
    /// Memory full of zeros.
    pub fn new(config: MemoryConfig) -> Self {
        let nodes = config.ranges.iter().map(|r| usize::from(r.node) + 1).max().unwrap_or(1);
        Self {
            store: PhysMem::new(),
            directory: Directory::new(config.directory_lines.max(1), config.timing),
            channels: vec![Channel::default(); nodes],
            watches: BTreeMap::new(),
            counters: MemoryCounters::default(),
            config,
        }
    }
    /// What memory holds.
    pub fn store(&self) -> &PhysMem {
        &self.store
    }
    /// What memory holds, for loading images before a run. Watches and observers are not told.
    pub fn store_mut(&mut self) -> &mut PhysMem {
        &mut self.store
    }
    /// What happened so far.
    pub fn counters(&self) -> &MemoryCounters {
        &self.counters
    }
    /// Where memory is.
    pub fn ranges(&self) -> &[MemoryRange] {
        &self.config.ranges
    }

    /// The node that serves the bytes; `None` when some are not memory, or a fault aborts them.
    fn home(&self, addr: PhysAddr, len: usize) -> Option<u16> {
        let last = addr.checked_add(len.max(1) as u64 - 1)?;
        let range =
            self.config.ranges.iter().find(|r| addr >= r.base && last - r.base < r.size && last >= r.base)?;
        let faulty = self.config.faults.abort.iter().any(|f| addr < f.end && last >= f.start);
        (!faulty).then_some(range.node)
    }

    fn book(&mut self, now: Time, addr: PhysAddr, from: Requester, access: Access, home: u16) -> Booking {
        let (cpu, nodes, index) = match from {
            Requester::Cpu(cpu) => (Some(cpu), &self.config.cpu_nodes, cpu),
            Requester::Psmmu(psmmu) | Requester::Pair(psmmu) => (None, &self.config.psmmu_nodes, psmmu),
        };
        let remote = nodes.get(usize::from(index)).copied().unwrap_or(0) != home;
        let request = Request { now, addr, cpu, access, remote };
        let booking = self.directory.book(&request, &mut self.channels[usize::from(home)]);
        let counters = &mut self.counters;
        *match booking.level {
            Level::Own => &mut counters.own_hits,
            Level::Shared => &mut counters.shared_hits,
            Level::Transfer => &mut counters.transfers,
            Level::Dram => &mut counters.dram,
        } += 1;
        counters.queued += u64::from(booking.queued);
        booking
    }

    fn access(&mut self, transaction: Transaction, cx: &mut Context) {
        let Transaction { from, addr, op, .. } = transaction;
        let offset = addr as usize % LINE;
        assert!(offset + op.len() <= LINE, "{transaction:?} crosses a line boundary");
        let Some(home) = self.home(addr, op.len()) else {
            self.counters.aborts += 1;
            cx.note(Record::BusError { by: from, addr });
            cx.say(self.config.timing.llc_hit, Out::Respond(transaction.respond(Err(Abort))));
            return;
        };
        let access = match op {
            Op::Read { .. } => Access::Read,
            Op::Write(_) => Access::Write,
            Op::CompareSwap { .. } | Op::FetchAdd(_) | Op::Swap(_) => Access::Atomic,
        };
        let booked = self.book(cx.now, addr, from, access, home);
        if booked.queued {
            cx.wake(booked.start - cx.now, In::Serve { transaction, done: booked.done });
        } else {
            self.serve(&transaction, booked.done, cx);
        }
    }

    fn serve(&mut self, transaction: &Transaction, done: Time, cx: &mut Context) {
        let Transaction { from, addr, op, .. } = *transaction;
        *match op {
            Op::Read { .. } => &mut self.counters.reads,
            Op::Write(_) => &mut self.counters.writes,
            Op::CompareSwap { .. } | Op::FetchAdd(_) | Op::Swap(_) => &mut self.counters.atomics,
        } += 1;
        let applied = self.store.apply(addr, &op);
        cx.say_at(done, Out::Respond(transaction.respond(Ok(applied.answer))));
        if let Some(data) = applied.written {
            cx.note(Record::MemoryWrite { by: from, addr, data });
            if !self.watches.is_empty() {
                self.touched(addr, cx);
            }
        }
    }

    /// Ends the watches of a line whose values have changed. Each watcher fetches the line to see it.
    fn touched(&mut self, addr: PhysAddr, cx: &mut Context) {
        let line = addr / LINE as u64;
        let Some(watches) = self.watches.remove(&line) else { return };
        let mut kept = Vec::new();
        for watch in watches {
            if self.differs(&watch) {
                self.tell(&watch, cx);
            } else {
                kept.push(watch);
            }
        }
        if !kept.is_empty() {
            self.watches.insert(line, kept);
        }
    }

    fn differs(&self, watch: &Watch) -> bool {
        self.store.read_data(watch.addr, usize::from(watch.len)).value() != watch.value
    }

    fn tell(&mut self, watch: &Watch, cx: &mut Context) {
        let home = self.home(watch.addr, usize::from(watch.len)).unwrap_or(0);
        let seen = self.book(cx.now, watch.addr, Requester::Cpu(watch.cpu), Access::Read, home).done;
        cx.say_at(seen, Out::Touched { cpu: watch.cpu, tag: watch.tag });
    }

    fn watch(&mut self, watch: Watch, cx: &mut Context) {
        let Watch { cpu, tag, addr, len, .. } = watch;
        assert!(
            len <= 8 && addr as usize % LINE + usize::from(len) <= LINE,
            "{watch:?} crosses a line boundary"
        );
        let Some(home) = self.home(addr, usize::from(len)) else {
            // Nothing there can ever change: whoever waits finds out by reading.
            cx.note(Record::BusError { by: Requester::Cpu(cpu), addr });
            cx.say(self.config.timing.llc_hit, Out::Touched { cpu, tag });
            return;
        };
        let seen = self.book(cx.now, addr, Requester::Cpu(cpu), Access::Read, home).done;
        if self.differs(&watch) {
            cx.say_at(seen, Out::Touched { cpu, tag });
        } else {
            self.watches.entry(addr / LINE as u64).or_default().push(watch);
        }
    }
}

impl Component for Memory {
    type In = In;
    type Out = Out;
    type Note = Record;

    fn on(&mut self, heard: In, cx: &mut Context) {
        match heard {
            In::Access(transaction) => self.access(transaction, cx),
            In::Watch { cpu, tag, addr, len, value } => self.watch(Watch { cpu, tag, addr, len, value }, cx),
            In::Serve { transaction, done } => self.serve(&transaction, done, cx),
        }
    }
}

#[cfg(test)]
mod test;

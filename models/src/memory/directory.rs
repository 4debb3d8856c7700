//! Which CPU's cache holds which line, and what that costs: cache-to-cache transfers, and requests to one line served
//! one after another. Timing only; the bytes are in the store.
//!
//! Bounded and set-associative with a hashed index: equal offsets in the memories of several VMs do not meet in one
//! set. The least recently used line of a full set is forgotten, which costs a DRAM access later on. Only CPUs bring lines
//! in, so that bulk DMA does not wash the table out.

use sim::Time;

use super::MemoryTiming;
use crate::bus::LINE;

/// Places of one set.
const WAYS: usize = 8;
/// CPUs that the directory can tell apart.
pub const CPUS_MAX: u16 = 256;

/// What a request wants from a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Read,
    Write,
    Atomic,
}

/// Where a request was satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// The CPU's own cache.
    Own,
    /// The last-level cache.
    Shared,
    /// Another CPU's cache.
    Transfer,
    /// DRAM.
    Dram,
}

/// When a request is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Booking {
    /// When it takes effect.
    pub start: Time,
    /// When its answer is with the requester.
    pub done: Time,
    /// Where it was satisfied.
    pub level: Level,
    /// A request to the same line that came before takes effect at `start` or later: this one must queue behind it.
    pub queued: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sharers([u64; CPUS_MAX as usize / 64]);

impl Sharers {
    fn has(&self, cpu: u16) -> bool {
        self.0[usize::from(cpu) / 64] & (1 << (cpu % 64)) != 0
    }
    fn add(&mut self, cpu: u16) {
        self.0[usize::from(cpu) / 64] |= 1 << (cpu % 64);
    }
    fn is_empty(&self) -> bool {
        self.0.iter().all(|word| *word == 0)
    }
}

/// One line's state as of the last request booked.
#[derive(Clone, Debug, Default)]
struct Line {
    number: Option<u64>,
    /// The CPU that may write it without asking.
    owner: Option<u16>,
    /// CPUs with a copy that they may only read.
    sharers: Sharers,
    /// Some cache has it, so that DRAM is not needed.
    resident: bool,
    busy_until: Time,
    /// The latest time at which a request that had to queue takes effect.
    queued_until: Option<Time>,
    /// When it was last asked for, in requests.
    used: u64,
}

impl Line {
    /// A request to it is under way: to forget it now would lose the order.
    fn in_use(&self, now: Time) -> bool {
        self.busy_until > now || self.queued_until.is_some_and(|t| t >= now)
    }
}

/// A node's memory channels, as one server with the bandwidth of all of them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Channel(Time);

impl Channel {
    /// Takes a line's worth of bandwidth at `at` or later; returns how long that delays the request.
    fn take(&mut self, at: Time, timing: &MemoryTiming) -> Time {
        let begin = at.max(self.0);
        self.0 = begin + timing.line_time();
        self.0 - at
    }
}

/// The table.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    /// Sets, one after another.
    lines: Vec<Line>,
    ways: usize,
    /// Requests so far.
    requests: u64,
    timing: MemoryTiming,
}

/// A request to be booked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub now: Time,
    pub addr: u64,
    /// `None` for a device.
    pub cpu: Option<u16>,
    pub access: Access,
    /// Whether the line's home is another node.
    pub remote: bool,
}

impl Directory {
    /// A table for `lines` lines, rounded up to a power of two.
    pub(super) fn new(lines: usize, timing: MemoryTiming) -> Self {
        let lines = lines.next_power_of_two();
        Self { lines: vec![Line::default(); lines], ways: lines.min(WAYS), requests: 0, timing }
    }

    /// Where a line is, or may be put; none if every place is taken by a line in use or the requester brings none in.
    fn place(&self, number: u64, now: Time, may_fill: bool) -> Option<usize> {
        let sets = self.lines.len() / self.ways;
        // Fibonacci hashing; `sets` is a power of two.
        let hash = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize;
        let first = (hash & (sets - 1)) * self.ways;
        let set = first..first + self.ways;
        let known = set.clone().find(|i| self.lines[*i].number == Some(number));
        let oldest = || set.filter(|i| !self.lines[*i].in_use(now)).min_by_key(|i| self.lines[*i].used);
        known.or_else(|| may_fill.then(oldest).flatten())
    }

    /// Books a request: requests to one line take effect in the order in which they are booked.
    pub(super) fn book(&mut self, request: &Request, channel: &mut Channel) -> Booking {
        let Request { now, addr, cpu, access, remote } = *request;
        let timing = self.timing;
        let number = addr / LINE as u64;
        let Some(place) = self.place(number, now, cpu.is_some()) else {
            return uncached(request, channel, &timing);
        };
        self.requests += 1;
        let line = &mut self.lines[place];
        line.used = self.requests;
        if line.number != Some(number) {
            *line = Line { number: Some(number), used: self.requests, ..Line::default() };
        }
        let start = now.max(line.busy_until);
        let (level, latency) = match cpu {
            Some(cpu) => line.cost_for_cpu(cpu, access, &timing),
            None => line.cost_for_device(access, &timing),
        };
        let mut done = start + latency;
        if level == Level::Dram {
            done += channel.take(start, &timing);
        }
        if remote && level != Level::Own {
            done += timing.remote;
        }
        // The home pipelines what it answers from its own copy; everything else keeps the line until it has moved.
        let pipelined = match (cpu, level) {
            (None, _) => true,
            (Some(_), Level::Shared) => access == Access::Read,
            (Some(_), _) => false,
        };
        line.busy_until = match (pipelined, level, access) {
            (_, Level::Own, Access::Read) => start,
            (true, ..) => start + timing.line_occupancy,
            (false, ..) => done,
        };
        match cpu {
            Some(cpu) => line.move_to_cpu(cpu, access),
            None => line.touch_by_device(access),
        }
        let queued = start > now || line.queued_until.is_some_and(|t| t >= now);
        if queued {
            line.queued_until = Some(start);
        }
        Booking { start, done, level, queued }
    }
}

/// A request that the table does not track.
fn uncached(request: &Request, channel: &mut Channel, timing: &MemoryTiming) -> Booking {
    let latency = match (request.cpu, request.access) {
        (None, Access::Write) => timing.device_write,
        (_, Access::Atomic) => timing.dram_load + timing.own_atomic,
        _ => timing.dram_load,
    };
    let wait = channel.take(request.now, timing);
    let remote = if request.remote { timing.remote } else { Time::ZERO };
    Booking {
        start: request.now,
        done: request.now + latency + wait + remote,
        level: Level::Dram,
        queued: false,
    }
}

impl Line {
    fn cost_for_cpu(&self, cpu: u16, access: Access, timing: &MemoryTiming) -> (Level, Time) {
        let mine = self.owner == Some(cpu) || (access == Access::Read && self.sharers.has(cpu));
        let others_copy = self.owner.is_some() || (access != Access::Read && !self.sharers.is_empty());
        let (level, latency) = if mine {
            (Level::Own, timing.own_hit)
        } else if others_copy {
            (Level::Transfer, timing.transfer)
        } else if self.resident {
            (Level::Shared, timing.llc_hit)
        } else {
            (Level::Dram, timing.dram_load)
        };
        match access {
            Access::Atomic => (level, latency + timing.own_atomic),
            Access::Read | Access::Write => (level, latency),
        }
    }
    fn cost_for_device(&self, access: Access, timing: &MemoryTiming) -> (Level, Time) {
        let ask_cpus = self.owner.is_some() || (access != Access::Read && !self.sharers.is_empty());
        match access {
            _ if ask_cpus => (Level::Transfer, timing.device_snoop),
            Access::Read if !self.resident => (Level::Dram, timing.dram_load),
            Access::Read => (Level::Shared, timing.device_llc),
            Access::Write | Access::Atomic => (Level::Shared, timing.device_write),
        }
    }
    fn move_to_cpu(&mut self, cpu: u16, access: Access) {
        match (access, self.owner) {
            (Access::Read, Some(owner)) if owner == cpu => {}
            (Access::Read, Some(owner)) => {
                self.owner = None;
                self.sharers.add(owner);
                self.sharers.add(cpu);
            }
            // The only copy comes exclusive, so that a later store need not ask.
            (Access::Read, None) if self.sharers.is_empty() => self.owner = Some(cpu),
            (Access::Read, None) => self.sharers.add(cpu),
            (Access::Write | Access::Atomic, _) => {
                self.owner = Some(cpu);
                self.sharers = Sharers::default();
            }
        }
        self.resident = true;
    }
    /// A device read leaves every copy where it is; a device write leaves the line in the last-level cache.
    fn touch_by_device(&mut self, access: Access) {
        if access != Access::Read {
            self.owner = None;
            self.sharers = Sharers::default();
        }
        self.resident = true;
    }
}

#[cfg(test)]
mod test {
    use super::*;

    const A: u64 = 0x1000;

    /// Books the requests of each row an age apart from each other, and compares the last one's level.
    #[test]
    fn where_a_line_is_found_depends_on_who_had_it() {
        use Access::{Atomic, Read, Write};
        let (c0, c1, dev) = (Some(0), Some(1), None);
        for (history, want) in [
            (&[(c0, Read)][..], Level::Dram),
            (&[(c0, Read), (c0, Read)], Level::Own),
            (&[(c0, Read), (c0, Write)], Level::Own),
            (&[(c0, Read), (c1, Read)], Level::Transfer),
            (&[(c0, Read), (c1, Read), (c0, Read)], Level::Own),
            (&[(c0, Read), (c1, Read), (c0, Write)], Level::Transfer),
            (&[(c0, Write), (c1, Atomic)], Level::Transfer),
            (&[(c0, Write), (c1, Atomic), (c0, Read)], Level::Transfer),
            (&[(c0, Write), (dev, Read)], Level::Transfer),
            (&[(c0, Write), (dev, Read), (c0, Write)], Level::Own),
            (&[(c0, Write), (dev, Write), (c0, Read)], Level::Shared),
            (&[(c0, Read), (c1, Read), (dev, Read)], Level::Shared),
            (&[(dev, Read)], Level::Dram),
            (&[(dev, Write), (c0, Read)], Level::Dram),
        ] {
            let mut directory = Directory::new(16, MemoryTiming::default());
            let mut channel = Channel::default();
            let last = history.iter().enumerate().map(|(i, &(cpu, access))| {
                let now = Time::us(10 * i as u64);
                directory.book(&Request { now, addr: A, cpu, access, remote: false }, &mut channel)
            });
            assert_eq!(last.last().map(|b| b.level), Some(want), "{history:?}");
        }
    }

    #[test]
    fn a_colliding_line_replaces_an_idle_one_but_not_a_busy_one() {
        let mut directory = Directory::new(1, MemoryTiming::default());
        let mut channel = Channel::default();
        let mut book = |now, addr| {
            let request = Request { now, addr, cpu: Some(0), access: Access::Read, remote: false };
            directory.book(&request, &mut channel).level
        };
        let other = A + 4 * LINE as u64;
        for (now, addr, want) in [
            (0, A, Level::Dram),
            (1, other, Level::Dram), // A is still being filled
            (10_000, A, Level::Own),
            (20_000, other, Level::Dram),
            (30_000, other, Level::Own),
            (40_000, A, Level::Dram),
        ] {
            assert_eq!(book(Time::ns(now), addr), want, "at {now} ns");
        }
    }

    #[test]
    fn lines_at_equal_offsets_of_several_memories_stay() {
        let mut directory = Directory::new(16 * 1024, MemoryTiming::default());
        let mut channel = Channel::default();
        for (now, want) in [(Time::ZERO, Level::Dram), (Time::us(100), Level::Own)] {
            for vm in 0..64_u64 {
                let addr = A + vm * (64 << 20);
                let cpu = Some(vm as u16);
                let request = Request { now, addr, cpu, access: Access::Write, remote: false };
                assert_eq!(directory.book(&request, &mut channel).level, want, "memory {vm}");
            }
        }
    }
}

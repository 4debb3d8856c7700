//! A command queue of the SMMU, its own or an enhanced one: prefetch of entries by the line, strict order, stop and restart on
//! errors.

use std::collections::VecDeque;

use spec::smmu::{Command, CommandError};

use super::registers::{COMMAND_LOG2, Registers};
use super::ring::{Fill, Ring};
use crate::bus::{Abort, Data, LINE, PhysAddr};

/// Entries that may wait in the prefetch buffer before another line is asked for.
const LOW_WATER: usize = 4;

/// A read of queue entries that the driver is to perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// Returned with the bytes.
    pub ticket: u32,
    /// First byte.
    pub addr: PhysAddr,
    /// Number of bytes; never beyond a line.
    pub len: u8,
}

/// The command at the head of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Index in the ring, without wrap bit.
    pub index: u32,
    /// The command, unless its read was aborted.
    pub command: Result<Command, Abort>,
}

/// Where the ring, PROD and CONS of a command queue lie.
pub trait QueueRegisters {
    /// Whether commands may be taken: enabled on both sides of the handshake, and no unacknowledged error.
    fn runs(&self) -> bool;
    /// Geometry.
    fn ring(&self) -> Ring;
    /// PROD.WR.
    fn prod(&self) -> u32;
    /// CONS.RD.
    fn cons(&self) -> u32;
    /// The device moves CONS.RD.
    fn set_cons(&mut self, pointer: u32);
    /// The device reports in CONS why it stopped.
    fn stop(&mut self, code: CommandError);
}

impl QueueRegisters for Registers {
    fn runs(&self) -> bool {
        self.commands_run()
    }
    fn ring(&self) -> Ring {
        self.command_ring()
    }
    fn prod(&self) -> u32 {
        self.command_prod()
    }
    fn cons(&self) -> u32 {
        self.command_cons()
    }
    fn set_cons(&mut self, pointer: u32) {
        self.set_command_cons(pointer);
    }
    fn stop(&mut self, code: CommandError) {
        self.set_command_error(code);
    }
}

/// Prefetched entries. Ring, PROD and CONS lie in the registers.
///
/// *Invariant:* the first buffered entry is the one that CONS points at.
#[derive(Clone, Debug, Default)]
pub struct CommandQueue {
    buffer: VecDeque<Result<Command, Abort>>,
    /// The read under way: its ticket and how many entries it covers.
    fetching: Option<(u32, u32)>,
    tickets: u32,
    /// The first entry is being executed.
    taken: bool,
}

impl CommandQueue {
    /// The next read to perform, if there is room and something to read.
    pub fn wants_fetch(&mut self, registers: &impl QueueRegisters) -> Option<Fetch> {
        let blocked = self.fetching.is_some()
            || self.buffer.len() > LOW_WATER
            || self.buffer.back().is_some_and(Result::is_err)
            || !registers.runs();
        if blocked {
            return None;
        }
        let ring = registers.ring();
        let cons = registers.cons();
        let waiting = ring.fill(registers.prod(), cons).entries(&ring);
        let wanted = waiting.checked_sub(self.buffer.len() as u32).filter(|&n| n > 0)?;
        let next = ring.advance(cons, self.buffer.len() as u32);
        let run = ring.run(next, wanted, LINE as u64);
        self.tickets = self.tickets.wrapping_add(1);
        self.fetching = Some((self.tickets, run));
        Some(Fetch { ticket: self.tickets, addr: ring.address(next), len: (run << COMMAND_LOG2) as u8 })
    }

    /// The bytes of a read. Reads that the queue no longer wants are dropped.
    pub fn fetched(&mut self, ticket: u32, result: Result<Data, Abort>) {
        let Some((_, run)) = self.fetching.take_if(|(current, _)| *current == ticket) else { return };
        match result {
            Ok(data) => {
                assert_eq!(data.len(), (run as usize) << COMMAND_LOG2, "as many bytes as were asked for");
                self.buffer
                    .extend(data.bytes().chunks_exact(1 << COMMAND_LOG2).map(|c| Ok(Command::from_bytes(c))));
            }
            Err(abort) => self.buffer.push_back(Err(abort)),
        }
    }

    /// Whether a command can be taken.
    pub fn is_ready(&self, registers: &impl QueueRegisters) -> bool {
        !self.taken && !self.buffer.is_empty() && registers.runs()
    }
    /// Whether a taken command has not been retired.
    pub fn is_executing(&self) -> bool {
        self.taken
    }

    /// Takes the head for execution; [`CommandQueue::retire`] ends it.
    pub fn take(&mut self, registers: &impl QueueRegisters) -> Option<Head> {
        if !self.is_ready(registers) {
            return None;
        }
        self.taken = true;
        let index = registers.ring().index(registers.cons());
        Some(Head { index, command: self.buffer[0] })
    }

    /// CONS passes the taken command; or the queue stops there with an error, which the caller raises in GERROR.
    pub fn retire(&mut self, result: Result<(), CommandError>, registers: &mut impl QueueRegisters) -> bool {
        assert!(std::mem::take(&mut self.taken), "only a taken command can be retired");
        match result {
            Ok(()) => {
                let was_full = registers.ring().fill(registers.prod(), registers.cons()) == Fill::Full;
                self.buffer.pop_front();
                let cons = registers.ring().advance(registers.cons(), 1);
                registers.set_cons(cons);
                was_full
            }
            Err(code) => {
                registers.stop(code);
                self.forget();
                false
            }
        }
    }

    /// Software wrote PROD: entries that it took back must not be executed.
    pub fn produced(&mut self, registers: &impl QueueRegisters) {
        let ring = registers.ring();
        let waiting = ring.fill(registers.prod(), registers.cons()).entries(&ring) as usize;
        if self.buffer.len() > waiting {
            self.buffer.truncate(waiting.max(usize::from(self.taken)));
            self.fetching = None;
        }
    }

    /// The queue was disabled or its base may change: drops what was prefetched, except the command being executed.
    pub fn forget(&mut self) {
        self.buffer.truncate(usize::from(self.taken));
        self.fetching = None;
    }
}

#[cfg(test)]
mod test {
    use super::super::features::{Features, IdrProfile};
    use super::*;
    use spec::regs::Block;
    use spec::smmu::{GlobalError, Page0};

    const BASE: u64 = 0x8000_0000;

    fn enabled(log2size: u64, prod: u64) -> Registers {
        let mut r = Registers::new(Features::new(IdrProfile::STANDARD).unwrap());
        r.write(Page0::CMDQ_BASE.offset(), 8, BASE | log2size);
        r.write(Page0::CR0.offset(), 4, 8);
        r.complete_cr0(8);
        r.write(Page0::CMDQ_PROD.offset(), 4, prod);
        r
    }
    fn line(commands: &[Command]) -> Data {
        Data::new(&commands.iter().flat_map(|c| c.to_bytes()).collect::<Vec<_>>())
    }
    const CFGI: Command = Command::cfgi_all();

    #[test]
    fn reads_whole_lines_up_to_prod() {
        let (mut q, r) = (CommandQueue::default(), enabled(3, 6));
        let first = q.wants_fetch(&r).unwrap();
        assert_eq!((first.addr, first.len), (BASE, 64));
        assert_eq!(q.wants_fetch(&r), None, "one read at a time");
        q.fetched(first.ticket, Ok(line(&[CFGI; 4])));
        let second = q.wants_fetch(&r).unwrap();
        assert_eq!((second.addr, second.len), (BASE + 64, 32));
        q.fetched(second.ticket, Ok(line(&[CFGI; 2])));
        assert_eq!(q.wants_fetch(&r), None, "nothing is read beyond PROD");
    }

    #[test]
    fn cons_wraps() {
        let (mut q, mut r) = (CommandQueue::default(), enabled(1, 2));
        for round in 0..3 {
            while let Some(fetch) = q.wants_fetch(&r) {
                q.fetched(fetch.ticket, Ok(line(&vec![CFGI; usize::from(fetch.len) / 16])));
            }
            for index in 0..2 {
                assert_eq!(q.take(&r), Some(Head { index, command: Ok(CFGI) }), "round {round}");
                assert_eq!(q.take(&r), None, "one at a time");
                q.retire(Ok(()), &mut r);
            }
            let cons = r.command_cons();
            assert_eq!(cons, [2, 0, 2][round]);
            r.write(Page0::CMDQ_PROD.offset(), 4, u64::from(cons ^ 2));
        }
    }

    #[test]
    fn an_error_drops_what_was_prefetched() {
        let (mut q, mut r) = (CommandQueue::default(), enabled(3, 4));
        let fetch = q.wants_fetch(&r).unwrap();
        q.fetched(fetch.ticket, Ok(line(&[Command([0xff, 0]), CFGI, CFGI, CFGI])));
        q.take(&r).unwrap();
        q.retire(Err(CommandError::CERROR_ILL), &mut r);
        r.raise(GlobalError::CMDQ_ERR);
        assert_eq!(r.read(Page0::CMDQ_CONS.offset(), 4), 0x0100_0000);
        assert_eq!((q.take(&r), q.wants_fetch(&r)), (None, None), "stopped until acknowledged");
        r.write(Page0::GERRORN.offset(), 4, 1);
        assert_eq!(q.wants_fetch(&r).map(|f| f.addr), Some(BASE), "everything is read again");
    }

    #[test]
    fn an_aborted_read_is_the_heads_error() {
        let (mut q, mut r) = (CommandQueue::default(), enabled(3, 5));
        let fetch = q.wants_fetch(&r).unwrap();
        q.fetched(fetch.ticket, Ok(line(&[CFGI; 4])));
        let fetch = q.wants_fetch(&r).unwrap();
        q.fetched(fetch.ticket, Err(Abort));
        for _ in 0..4 {
            assert!(q.take(&r).unwrap().command.is_ok());
            q.retire(Ok(()), &mut r);
        }
        assert_eq!(q.take(&r), Some(Head { index: 4, command: Err(Abort) }));
    }

    #[test]
    fn entries_taken_back_are_not_executed() {
        let (mut q, mut r) = (CommandQueue::default(), enabled(3, 4));
        let fetch = q.wants_fetch(&r).unwrap();
        r.write(Page0::CMDQ_PROD.offset(), 4, 0);
        q.forget();
        q.fetched(fetch.ticket, Ok(line(&[CFGI; 4])));
        assert!(!q.is_ready(&r), "a late answer is dropped");
        for prod in [2, 9] {
            r.write(Page0::CMDQ_PROD.offset(), 4, 4);
            let fetch = q.wants_fetch(&r).unwrap();
            q.fetched(fetch.ticket, Ok(line(&[CFGI; 4])));
            r.write(Page0::CMDQ_PROD.offset(), 4, prod);
            q.produced(&r);
            assert_eq!(q.buffer.len(), if prod == 2 { 2 } else { 0 }, "an inconsistent PROD stops the queue");
            q.forget();
        }
    }
}

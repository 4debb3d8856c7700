//! The owner of all functions.

use std::time::Duration;

use rustix::io::Errno;

use super::connection::Closed;
use super::function::{DmaFile, DmaRange, Function, Region, SetIrqs};

/// All functions of a [`Server`](super::Server), numbered in the order in which they were added to it.
///
/// One object owns them, because they meet: an SMMU translates the DMA of its endpoints and sends interrupts through its carrier.
/// The conditions of [`Function`] hold for each of the calls.
pub trait Board {
    /// A message for `function` is the next to be served; `now` is host time since the server began to run.
    fn arrival(&mut self, function: usize, now: Duration) {
        let _ = (function, now);
    }

    /// Reads `data.len()` bytes.
    ///
    /// # Errors
    /// The errno the client is told.
    fn region_read(&mut self, place: Place, data: &mut [u8], outbox: &mut Outbox) -> Result<(), Errno>;

    /// Writes `data`.
    ///
    /// # Errors
    /// The errno the client is told.
    fn region_write(&mut self, place: Place, data: &[u8], outbox: &mut Outbox) -> Result<(), Errno>;

    /// The function may reach this memory. The same memory comes once for each function.
    ///
    /// # Errors
    /// The errno the client is told; the range then counts as not mapped.
    fn dma_map(&mut self, function: usize, range: DmaRange, file: Option<DmaFile>) -> Result<(), Errno>;

    /// The range is gone.
    fn dma_unmap(&mut self, function: usize, range: DmaRange);

    /// The client says how interrupts are to be signalled.
    ///
    /// # Errors
    /// The errno the client is told.
    fn set_irqs(&mut self, function: usize, set: SetIrqs) -> Result<(), Errno> {
        let _ = (function, set);
        Ok(())
    }

    /// The function is reset.
    fn reset(&mut self, function: usize, outbox: &mut Outbox);

    /// A DMA_WRITE to `address` did not happen: QEMU refused it (its bus mastering is off), or it could not be sent
    /// (`NOTCONN`, `MSGSIZE`, `OVERFLOW`).
    fn dma_refused(&mut self, function: usize, address: u64, errno: Errno);

    /// A client has agreed on a version.
    fn connected(&mut self, function: usize) {
        let _ = function;
    }

    /// That client is gone; its memory has been unmapped.
    fn disconnected(&mut self, function: usize, why: &Closed) {
        let _ = (function, why);
    }

    /// No message waits. What comes back says when to ask again if none arrives.
    fn idle(&mut self, now: Duration, outbox: &mut Outbox) -> Idle {
        let _ = (now, outbox);
        Idle::Sleep
    }
}

/// Where a region is accessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of which function.
    pub function: usize,
    /// Which region of it.
    pub region: Region,
    /// First byte, from the start of the region.
    pub offset: u64,
}

/// What a board wants when no message waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Idle {
    /// Go on: look for messages and, if there are none, call again.
    Again,
    /// Call again at this time, counted from when the server began to run.
    Until(Duration),
    /// There is nothing to do before the next message.
    Sleep,
    /// End the server.
    Stop,
}

/// DMA_WRITEs to send when the present call returns: in order, behind the reply, through whichever function's socket.
#[derive(Debug, Default)]
pub struct Outbox {
    writes: Vec<(usize, u64, Vec<u8>)>,
}

impl Outbox {
    /// Writes `data` to the client's memory at `address`, as a DMA of `function`: a doorbell, an MSI.
    /// Memory that is mapped is better written there.
    pub fn dma_write(&mut self, function: usize, address: u64, data: &[u8]) {
        self.writes.push((function, address, data.to_vec()));
    }

    /// Whether nothing is to be sent.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Takes everything out: function, address, data.
    pub fn drain(&mut self) -> impl Iterator<Item = (usize, u64, Vec<u8>)> {
        self.writes.drain(..)
    }
}

/// One function of a board, as its connection sees it.
pub(super) struct Port<'a, B: ?Sized> {
    pub(super) board: &'a mut B,
    pub(super) function: usize,
    pub(super) outbox: &'a mut Outbox,
}

impl<B: Board + ?Sized> Function for Port<'_, B> {
    fn region_read(&mut self, region: Region, offset: u64, data: &mut [u8]) -> Result<(), Errno> {
        self.board.region_read(Place { function: self.function, region, offset }, data, self.outbox)
    }

    fn region_write(&mut self, region: Region, offset: u64, data: &[u8]) -> Result<(), Errno> {
        self.board.region_write(Place { function: self.function, region, offset }, data, self.outbox)
    }

    fn dma_map(&mut self, range: DmaRange, file: Option<DmaFile>) -> Result<(), Errno> {
        self.board.dma_map(self.function, range, file)
    }

    fn dma_unmap(&mut self, range: DmaRange) {
        self.board.dma_unmap(self.function, range);
    }

    fn set_irqs(&mut self, set: SetIrqs) -> Result<(), Errno> {
        self.board.set_irqs(self.function, set)
    }

    fn reset(&mut self) {
        self.board.reset(self.function, self.outbox);
    }

    fn dma_refused(&mut self, address: u64, errno: Errno) {
        self.board.dma_refused(self.function, address, errno);
    }
}

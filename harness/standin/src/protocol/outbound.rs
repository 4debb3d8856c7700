//! Messages on their way to the client: replies, and DMA_WRITEs of ours.

use std::collections::VecDeque;
use std::fmt;

use rustix::io::Errno;

use super::wire::{Command, DmaAccess, Header, flag};

/// How many of the last DMA_WRITEs are remembered, for the case that the client refuses one.
const REMEMBERED: usize = 64;

/// Bytes that the kernel takes as one piece, well below half of the smallest usual send buffer.
const PIECE: usize = 16 << 10;

/// Bytes of the queue that are kept without need.
const COMPACT: usize = 64 << 10;

/// Bytes to send, in order.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    bytes: Vec<u8>,
    /// What of `bytes` has been sent.
    sent: usize,
    /// Where in `bytes` the message begins of which `sent` is a part.
    message: usize,
    /// Number of our commands so far; its low half is the next one's ID.
    commands: u64,
    /// Address of each of the last commands, oldest first.
    addresses: VecDeque<u64>,
}

/// Why a DMA_WRITE was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsent {
    /// No client is there, or none with which a version has been agreed.
    NotConnected,
    /// No data, or more than the client takes in one message.
    BadLength,
    /// The range goes beyond the end of the address space.
    Overflow,
}

impl fmt::Display for Unsent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotConnected => "no client is connected",
            Self::BadLength => "there are no data, or more than the client takes in one message",
            Self::Overflow => "the range goes beyond the end of the address space",
        })
    }
}

impl std::error::Error for Unsent {}

impl Outbound {
    /// Appends the reply to `command`; `fill` does what was asked for and appends the payload.
    /// On its error, the reply is the errno alone. Nothing is appended if the client wants no reply.
    pub(super) fn reply(
        &mut self,
        command: &Header,
        fill: impl FnOnce(&mut Vec<u8>) -> Result<(), Errno>,
    ) -> Result<(), Errno> {
        let begin = self.bytes.len();
        let mut header = Header { flags: flag::REPLY, error: 0, ..*command };
        self.bytes.extend_from_slice(&header.encode());
        let result = fill(&mut self.bytes);
        if let Err(errno) = result {
            self.bytes.truncate(begin + Header::SIZE);
            header.flags |= flag::ERROR;
            header.error = errno.raw_os_error().unsigned_abs();
        }
        if command.is_posted() {
            self.bytes.truncate(begin);
        } else {
            header.size = u32::try_from(self.bytes.len() - begin).expect("replies are as small as messages");
            self.bytes[begin..][..Header::SIZE].copy_from_slice(&header.encode());
        }
        result
    }

    /// Appends a DMA_WRITE that wants no reply.
    pub(super) fn dma_write(&mut self, address: u64, data: &[u8]) -> Result<(), Unsent> {
        let count = data.len() as u64;
        address.checked_add(count.saturating_sub(1)).ok_or(Unsent::Overflow)?;
        let header = Header {
            id: self.commands as u16,
            command: Command::DMA_WRITE.0,
            size: u32::try_from(Header::SIZE + DmaAccess::SIZE + data.len())
                .map_err(|_| Unsent::BadLength)?,
            flags: flag::COMMAND | flag::NO_REPLY,
            error: 0,
        };
        self.bytes.extend_from_slice(&header.encode());
        self.bytes.extend_from_slice(&DmaAccess { address, count }.encode());
        self.bytes.extend_from_slice(data);
        self.commands += 1;
        if self.addresses.len() == REMEMBERED {
            self.addresses.pop_front();
        }
        self.addresses.push_back(address);
        Ok(())
    }

    /// The address of the newest command of ours with that ID; `None` if there was none or it is forgotten.
    pub(super) fn address_of(&self, id: u16) -> Option<u64> {
        let age = (self.commands as u16).wrapping_sub(id).wrapping_sub(1);
        self.addresses.iter().rev().nth(age.into()).copied()
    }

    /// Whether a command of ours had that ID.
    pub(super) fn has_sent(&self, id: u16) -> bool {
        u64::from(id) < self.commands
    }

    /// Bytes not sent yet.
    pub(super) fn backlog(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// What to send next: the rest of a message, or whole messages.
    ///
    /// QEMU gives up on a header that arrives in two pieces. The kernel takes up to [`PIECE`] bytes whole or not at all, and of
    /// a longer message it takes at least the header.
    pub(super) fn pending(&self) -> &[u8] {
        let mut end = self.message;
        while end < self.bytes.len() {
            let next = self.message_end(end);
            if end > self.sent && next - self.sent > PIECE {
                break;
            }
            end = next;
            if self.sent > self.message {
                break;
            }
        }
        &self.bytes[self.sent..end]
    }

    /// The first `count` bytes of it have been sent.
    pub(super) fn advance(&mut self, count: usize) {
        self.sent += count;
        assert!(self.sent <= self.bytes.len(), "no more is sent than was pending");
        while self.message < self.bytes.len() && self.message_end(self.message) <= self.sent {
            self.message = self.message_end(self.message);
        }
        let done = self.message;
        if done == self.bytes.len() || done >= COMPACT.max(self.bytes.len() / 2) {
            self.bytes.drain(..done);
            self.bytes.shrink_to(COMPACT.max(2 * self.bytes.len()));
            self.sent -= done;
            self.message = 0;
        }
    }

    /// Where the message ends that begins at `begin`.
    fn message_end(&self, begin: usize) -> usize {
        let header = Header::decode(&self.bytes[begin..]).expect("whole messages are queued");
        begin + header.size as usize
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }
}

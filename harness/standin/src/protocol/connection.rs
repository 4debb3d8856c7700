//! One client: its stream in, calls of a [`Function`] and a stream out, without a socket.

use std::fmt;
use std::os::fd::OwnedFd;

use rustix::io::Errno;

use super::function::{Function, Shape};
use super::inbound::Inbound;
use super::outbound::{Outbound, Unsent};
use super::session::Session;
use super::wire::{Command, DmaAccess, Header, RegionAccess, Version};

/// The most version data that are read, in bytes.
const VERSION_DATA: usize = 4096;

/// What a connection puts up with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Descriptors that may come with one message. QEMU takes no more than 16 for an answer.
    pub fds: usize,
    /// Data of one message, in bytes.
    pub transfer: usize,
    /// DMA ranges mapped at a time. QEMU takes no more than 65535 for an answer.
    pub dma_maps: usize,
    /// Bytes waiting to be sent above which no further request is served.
    pub output: usize,
    /// Bytes waiting to be sent above which a client counts as dead: only DMA_WRITEs get there.
    pub output_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { fds: 16, transfer: 1 << 20, dma_maps: 4096, output: 1 << 20, output_max: 8 << 20 }
    }
}

/// Why a connection has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Closed {
    /// The client hung up between messages.
    Finished,
    /// The client hung up within a message.
    Truncated,
    /// The size in a header is smaller than a header, or larger than `limit`.
    BadSize {
        /// As in the header.
        size: u32,
        /// The most that is taken.
        limit: usize,
    },
    /// A message is neither a command nor a reply.
    BadType {
        /// As in the header.
        flags: u32,
    },
    /// A command came in front of VERSION.
    NoVersion {
        /// Which one.
        command: Command,
    },
    /// No version could be agreed on.
    BadVersion(String),
    /// A reply to a command that was never sent.
    UnknownReply {
        /// Its ID.
        id: u16,
        /// Its command.
        command: Command,
    },
    /// A command that is not served, and wants no reply: it can neither be done nor refused.
    Unsupported {
        /// Which one.
        command: Command,
    },
    /// More descriptors than agreed came at once, or this process has no room for them.
    TooManyDescriptors,
    /// Descriptors came in the middle of a message.
    StrayDescriptors,
    /// The client does not read what it is sent.
    NotReading,
    /// The socket failed.
    Socket(Errno),
    /// The server ended.
    Stopped,
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Finished => write!(f, "the client hung up"),
            Self::Truncated => write!(f, "the client hung up within a message"),
            Self::BadSize { size, limit } => {
                write!(f, "a message claims to have {size} bytes; 16 to {limit} are possible")
            }
            Self::BadType { flags } => {
                write!(f, "a message with flags {flags:#x} is neither command nor reply")
            }
            Self::NoVersion { command } => write!(f, "{command} came in front of VERSION"),
            Self::BadVersion(why) => write!(f, "no version could be agreed on: {why}"),
            Self::UnknownReply { id, command } => {
                write!(f, "a reply to {command} {id:#06x} came, which was never sent")
            }
            Self::Unsupported { command } => {
                write!(f, "{command}, which is not served, came without a wish for a reply")
            }
            Self::TooManyDescriptors => write!(f, "more descriptors came at once than can be taken"),
            Self::StrayDescriptors => write!(f, "descriptors came in the middle of a message"),
            Self::NotReading => write!(f, "the client does not read what it is sent"),
            Self::Socket(errno) => write!(f, "the socket failed: {errno}"),
            Self::Stopped => write!(f, "the server ended"),
        }
    }
}

/// The state of one client's connection.
///
/// ```text
/// loop { if wants_input: receive(..)   while ready: serve(..)   send pending(); advance(..)   if closed: release(..) }
/// ```
#[derive(Debug)]
pub struct Connection {
    limits: Limits,
    session: Session,
    inbound: Inbound,
    outbound: Outbound,
    closed: Option<Closed>,
}

impl Connection {
    /// A client that has not said anything yet.
    pub fn new(shape: Shape, limits: Limits) -> Self {
        Self {
            limits,
            session: Session::new(shape, limits),
            inbound: Inbound::default(),
            outbound: Outbound::default(),
            closed: None,
        }
    }

    /// Whether more of the stream can be taken: what has arrived is served, and the client reads its replies.
    pub fn wants_input(&self) -> bool {
        self.closed.is_none() && !self.is_full() && !self.inbound.ready(self.limit())
    }

    /// Takes what one read of the socket brought: `chunk` and the descriptors that arrived with it.
    /// Only while [`Connection::wants_input`].
    pub fn receive(&mut self, chunk: &[u8], fds: Vec<OwnedFd>) {
        assert!(self.wants_input(), "a chunk is taken when those before it are served");
        let limit = self.limit();
        let result = if fds.len() > self.limits.fds {
            Err(Closed::TooManyDescriptors)
        } else {
            self.inbound.push(chunk, fds, limit)
        };
        if let Err(why) = result {
            self.close(why);
        }
    }

    /// The stream has ended.
    pub fn hang_up(&mut self) {
        self.close(if self.inbound.is_empty() { Closed::Finished } else { Closed::Truncated });
    }

    /// Whether a message waits to be served, and may be.
    pub fn ready(&self) -> bool {
        self.closed.is_none() && !self.is_full() && self.inbound.ready(self.limit())
    }

    /// Serves one message, if one is [`Connection::ready`].
    pub fn serve<F: Function + ?Sized>(&mut self, function: &mut F) {
        if !self.ready() {
            return;
        }
        let limit = self.limit();
        let result = self.inbound.next(limit).and_then(|message| {
            let Some(message) = message else { return Ok(0) };
            let size = message.header.size as usize;
            self.session.serve(message, &mut self.outbound, function).map(|()| size)
        });
        match result {
            Ok(size) => self.inbound.consume(size),
            Err(why) => self.close(why),
        }
    }

    /// Sends a DMA_WRITE that wants no reply.
    ///
    /// # Errors
    /// It cannot be sent. A client that has not read for long is dropped instead.
    pub fn dma_write(&mut self, address: u64, data: &[u8]) -> Result<(), Unsent> {
        let Some(transfer) = self.session.transfer().filter(|_| self.closed.is_none()) else {
            return Err(Unsent::NotConnected);
        };
        if data.is_empty() || data.len() as u64 > transfer || data.len() > self.limits.transfer {
            return Err(Unsent::BadLength);
        }
        if self.outbound.backlog() + data.len() > self.limits.output_max {
            self.close(Closed::NotReading);
            return Err(Unsent::NotConnected);
        }
        self.outbound.dma_write(address, data)
    }

    /// What to send next, in one piece; empty if nothing is left. Also after the end: the last error reply.
    pub fn pending(&self) -> &[u8] {
        self.outbound.pending()
    }

    /// The first `count` bytes of [`Connection::pending`] have been sent.
    pub fn advance(&mut self, count: usize) {
        self.outbound.advance(count);
    }

    /// Whether a version has been agreed on.
    pub fn is_open(&self) -> bool {
        self.session.transfer().is_some()
    }

    /// Why the connection has ended, if it has.
    pub fn closed(&self) -> Option<&Closed> {
        self.closed.as_ref()
    }

    /// Ends the connection. The first reason stays.
    pub fn close(&mut self, why: Closed) {
        self.closed.get_or_insert(why);
    }

    /// The client is gone: unmaps its memory.
    pub fn release<F: Function + ?Sized>(&mut self, function: &mut F) {
        self.session.release(function);
    }

    /// Bytes of memory held for what has arrived and what is to be sent.
    pub fn held(&self) -> usize {
        self.inbound.held() + self.outbound.held()
    }

    fn is_full(&self) -> bool {
        self.outbound.backlog() > self.limits.output
    }

    /// The largest message that is taken now.
    fn limit(&self) -> usize {
        let payload = if self.is_open() {
            RegionAccess::SIZE.max(DmaAccess::SIZE) + self.limits.transfer
        } else {
            Version::SIZE + VERSION_DATA
        };
        Header::SIZE + payload
    }
}

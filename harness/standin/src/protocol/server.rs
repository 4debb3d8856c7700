//! One thread that serves the sockets of all functions.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tracing::{debug, warn};

use super::board::{Board, Idle, Outbox, Port};
use super::connection::{Closed, Connection, Limits};
use super::function::Shape;
use super::outbound::Unsent;
use super::socket::{Endpoint, FDS_MAX, Received, Stream};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;

/// Choices of a [`Server`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How often to look for a further message without sleeping, after one has been served. Sleeping costs the client the time
    /// to wake this thread, looking costs QEMU's threads a processor. A guest's read took 45 us with 0, 33 us with 20 and 22 us
    /// with 100 or more on two processors that had nothing else to do; with many busy processes 0 was the best.
    pub spins: u32,
    /// What each connection puts up with.
    pub limits: Limits,
}

impl Default for Settings {
    fn default() -> Self {
        Self { spins: 100, limits: Limits::default() }
    }
}

/// Serves the functions of a [`Board`]: each has a socket, and one client at a time. Further clients wait in line.
#[derive(Debug)]
pub struct Server {
    settings: Settings,
    slots: Vec<Slot>,
    stop: Stop,
    outbox: Outbox,
    chunk: Vec<u8>,
}

/// A function's socket, and its client.
#[derive(Debug)]
struct Slot {
    endpoint: Endpoint,
    shape: Shape,
    client: Option<Client>,
}

#[derive(Debug)]
struct Client {
    stream: Stream,
    connection: Connection,
    /// The board has been told.
    announced: bool,
}

/// Ends a server, from another thread or a handler of signals.
#[derive(Clone, Debug)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// Asks the server to end once it has served the present message. Once asked it ends at once when it is run again.
    pub fn stop(&self) {
        // The one way to fail is a counter that is full, and then the server has been asked often enough.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }
}

/// The descriptor behind: an eventfd that any writer of eight bytes can use, such as a handler of signals.
impl AsFd for Stop {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Who ended the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// [`Stop`].
    Stopped,
    /// The board, by [`Idle::Stop`].
    Board,
}

/// Why a server cannot go on.
#[derive(Debug)]
pub enum ServerError {
    /// Waiting for messages failed.
    Wait(Errno),
    /// No client can be taken on.
    Accept(io::Error),
    /// No eventfd is to be had.
    Eventfd(Errno),
}

impl fmt::Display for ServerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wait(errno) => write!(f, "cannot wait for messages: {errno}"),
            Self::Accept(error) => {
                write!(f, "cannot take on a client: {error}; if too many files are open, raise `ulimit -n`")
            }
            Self::Eventfd(errno) => write!(f, "cannot create an eventfd: {errno}"),
        }
    }
}

impl std::error::Error for ServerError {}

/// What a wait found.
struct Ready {
    stop: bool,
    /// By function.
    slots: Vec<PollFlags>,
}

impl Server {
    /// A server without functions.
    ///
    /// # Errors
    /// The process has too many descriptors open.
    pub fn new(settings: Settings) -> Result<Self, ServerError> {
        assert!(settings.limits.fds <= FDS_MAX, "a read takes at most {FDS_MAX} descriptors");
        let stop =
            eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).map_err(ServerError::Eventfd)?;
        Ok(Self {
            settings,
            slots: Vec::new(),
            stop: Stop(Arc::new(stop)),
            outbox: Outbox::default(),
            chunk: vec![0; CHUNK],
        })
    }

    /// Adds a function and returns its number: 0 for the first, and so on.
    pub fn add(&mut self, endpoint: Endpoint, shape: Shape) -> usize {
        self.slots.push(Slot { endpoint, shape, client: None });
        self.slots.len() - 1
    }

    /// What ends [`Server::run`].
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Serves until the end. All clients are disconnected then.
    ///
    /// # Errors
    /// The process has run out of something.
    pub fn run<B: Board + ?Sized>(&mut self, board: &mut B) -> Result<Ended, ServerError> {
        let result = self.serve(board);
        for function in 0..self.slots.len() {
            self.drop_client(function, board, &Closed::Stopped);
        }
        result
    }

    fn serve<B: Board + ?Sized>(&mut self, board: &mut B) -> Result<Ended, ServerError> {
        let start = Instant::now();
        let mut idle = Idle::Again;
        let mut spins = 0;
        loop {
            let timeout = match idle {
                Idle::Stop => return Ok(Ended::Board),
                Idle::Again => Some(Duration::ZERO),
                _ if self.slots.iter().any(Slot::has_message) => Some(Duration::ZERO),
                _ if spins > 0 => Some(Duration::ZERO),
                Idle::Until(at) => Some(at.saturating_sub(start.elapsed())),
                Idle::Sleep => None,
            };
            let ready = self.wait(timeout)?;
            if ready.stop {
                return Ok(Ended::Stopped);
            }
            let mut served = false;
            for (function, flags) in ready.slots.into_iter().enumerate() {
                if !flags.is_empty() || self.slots[function].has_message() {
                    self.serve_slot(function, flags, start, board)?;
                    served = true;
                }
            }
            if served {
                idle = Idle::Again;
                spins = self.settings.spins;
                continue;
            }
            spins = spins.saturating_sub(1);
            let due = match idle {
                Idle::Again => true,
                Idle::Until(at) => at <= start.elapsed(),
                Idle::Sleep | Idle::Stop => false,
            };
            if due {
                idle = board.idle(start.elapsed(), &mut self.outbox);
                self.deliver(board);
            }
        }
    }

    /// Waits until there is something to do, for `timeout` at most.
    fn wait(&self, timeout: Option<Duration>) -> Result<Ready, ServerError> {
        let timeout = timeout.map(|timeout| Timespec {
            tv_sec: timeout.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        });
        let mut fds = Vec::with_capacity(self.slots.len() + 1);
        fds.push(PollFd::new(&*self.stop.0, PollFlags::IN));
        for slot in &self.slots {
            fds.push(match &slot.client {
                None => PollFd::new(&slot.endpoint, PollFlags::IN),
                Some(client) => PollFd::new(&client.stream, client.interest()),
            });
        }
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => fds.iter_mut().for_each(PollFd::clear_revents),
            Err(errno) => return Err(ServerError::Wait(errno)),
        }
        Ok(Ready {
            stop: !fds[0].revents().is_empty(),
            slots: fds[1..].iter().map(PollFd::revents).collect(),
        })
    }

    fn serve_slot<B: Board + ?Sized>(
        &mut self,
        function: usize,
        flags: PollFlags,
        start: Instant,
        board: &mut B,
    ) -> Result<(), ServerError> {
        let slot = &mut self.slots[function];
        let Some(client) = &mut slot.client else {
            if let Some(stream) = slot.endpoint.accept().map_err(ServerError::Accept)? {
                let connection = Connection::new(slot.shape.clone(), self.settings.limits);
                slot.client = Some(Client { stream, connection, announced: false });
            }
            return Ok(());
        };
        client.flush();
        if !flags.difference(PollFlags::OUT).is_empty() && client.connection.wants_input() {
            client.read(&mut self.chunk);
        }
        loop {
            let Some(client) = &mut self.slots[function].client else { return Ok(()) };
            if !client.connection.ready() {
                break;
            }
            board.arrival(function, start.elapsed());
            client.connection.serve(&mut Port { board, function, outbox: &mut self.outbox });
            if !client.announced && client.connection.is_open() {
                client.announced = true;
                board.connected(function);
            }
            client.flush();
            self.deliver(board);
        }
        self.sweep(function, board);
        Ok(())
    }

    /// Sends what the board has put into the outbox.
    fn deliver<B: Board + ?Sized>(&mut self, board: &mut B) {
        while !self.outbox.is_empty() {
            for (function, address, data) in std::mem::take(&mut self.outbox).drain() {
                let client = self.slots.get_mut(function).and_then(|slot| slot.client.as_mut());
                let result = match client {
                    None => Err(Unsent::NotConnected),
                    Some(client) => client.connection.dma_write(address, &data),
                };
                if let Err(unsent) = result {
                    let errno = match unsent {
                        Unsent::NotConnected => Errno::NOTCONN,
                        Unsent::BadLength => Errno::MSGSIZE,
                        Unsent::Overflow => Errno::OVERFLOW,
                    };
                    board.dma_refused(function, address, errno);
                }
            }
        }
        for function in 0..self.slots.len() {
            if let Some(client) = &mut self.slots[function].client {
                client.flush();
            }
            self.sweep(function, board);
        }
    }

    /// Lets go of a client whose connection has ended.
    fn sweep<B: Board + ?Sized>(&mut self, function: usize, board: &mut B) {
        let closed = self.slots[function].client.as_ref().and_then(|client| client.connection.closed());
        if let Some(why) = closed.cloned() {
            self.drop_client(function, board, &why);
        }
    }

    fn drop_client<B: Board + ?Sized>(&mut self, function: usize, board: &mut B, why: &Closed) {
        let Some(mut client) = self.slots[function].client.take() else { return };
        match why {
            Closed::Finished | Closed::Stopped => debug!(function, %why, "disconnected"),
            _ => warn!(function, %why, "disconnected"),
        }
        client.connection.release(&mut Port { board, function, outbox: &mut self.outbox });
        if client.announced {
            board.disconnected(function, why);
        }
    }
}

impl Slot {
    /// Whether a message has been read but not served: its client did not read its replies, and now has.
    fn has_message(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.connection.ready())
    }
}

impl Client {
    /// What to wait for.
    fn interest(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        if self.connection.wants_input() {
            flags |= PollFlags::IN;
        }
        if !self.connection.pending().is_empty() {
            flags |= PollFlags::OUT;
        }
        flags
    }

    /// Reads once.
    fn read(&mut self, chunk: &mut [u8]) {
        match self.stream.receive(chunk) {
            Ok(Received::Nothing) => {}
            Ok(Received::End) | Err(Errno::CONNRESET) => self.connection.hang_up(),
            Ok(Received::Chunk(bytes, fds)) => self.connection.receive(&chunk[..bytes], fds),
            Ok(Received::LostDescriptors) => self.connection.close(Closed::TooManyDescriptors),
            Err(errno) => self.connection.close(Closed::Socket(errno)),
        }
    }

    /// Sends what the socket takes.
    fn flush(&mut self) {
        while !self.connection.pending().is_empty() {
            match self.stream.send(self.connection.pending()) {
                Ok(0) => break,
                Ok(sent) => self.connection.advance(sent),
                Err(errno) => {
                    self.connection.close(match errno {
                        Errno::PIPE | Errno::CONNRESET => Closed::Finished,
                        errno => Closed::Socket(errno),
                    });
                    break;
                }
            }
        }
    }
}

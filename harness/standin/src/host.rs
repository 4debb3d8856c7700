//! Between QEMU's messages and the board: every call is passed on and, if wanted, recorded.

use std::fs::File;
use std::io::BufWriter;
use std::time::Duration;

use rustix::io::Errno;
use tracing::{info, trace, warn};

use crate::board::Board;
use crate::memory::Mapping;
use crate::protocol::{self, Closed, DmaFile, DmaRange, Idle, Outbox, Place};
use crate::tape::{Entry, Event, Header, Writer};

/// How long nothing must come until what is under way in models with time is let happen.
const QUIET: Duration = Duration::from_micros(200);

/// A board that serves QEMU.
pub struct Host {
    board: Board,
    tape: Option<Writer<BufWriter<File>>>,
    at: Duration,
    /// Something may be under way that nobody waits for.
    unsettled: bool,
    until: Until,
    clients: usize,
}

/// When a host ends by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Until {
    /// When the last client has gone.
    pub all_gone: bool,
    /// When the oracle has found something.
    pub finding: bool,
}

impl Host {
    /// Serves this board.
    pub fn new(board: Board, until: Until) -> Self {
        Self { board, tape: None, at: Duration::ZERO, unsettled: false, until, clients: 0 }
    }

    /// Records everything from now on.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&mut self, file: File, header: &Header) -> std::io::Result<()> {
        self.tape = Some(Writer::new(BufWriter::new(file), header)?);
        Ok(())
    }

    /// The board.
    pub fn board(&self) -> &Board {
        &self.board
    }

    /// Ends the recording and hands over the board.
    ///
    /// # Errors
    /// The recording cannot be written.
    pub fn finish(mut self) -> std::io::Result<Board> {
        if let Some(tape) = self.tape.take() {
            tape.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        }
        self.board.stop();
        Ok(self.board)
    }

    /// An access begins.
    fn begin(&mut self) {
        self.board.begin(self.at.as_nanos() as u64);
        self.unsettled = self.board.is_timed();
    }

    /// An access has ended: messages leave, and it is recorded.
    fn end(&mut self, function: usize, outbox: &mut Outbox, event: impl FnOnce() -> Event) {
        let sent = self.board.take_sent();
        for message in &sent {
            trace!(
                "{}: sent {:#x}: {:02x?}",
                self.board.name_of(message.function),
                message.addr,
                message.bytes
            );
            outbox.dma_write(message.function, message.addr, &message.bytes);
        }
        if let Some(tape) = &mut self.tape {
            let at = self.at.as_nanos() as u64;
            let touched = self.board.memory().take_touched();
            let entry = Entry { at, function, event: event(), touched, sent };
            if let Err(why) = tape.entry(&entry) {
                warn!("the recording cannot be written: {why}; it ends here");
                self.tape = None;
            }
        }
    }
}

impl protocol::Board for Host {
    fn arrival(&mut self, _function: usize, now: Duration) {
        self.at = now;
    }

    fn region_read(&mut self, place: Place, data: &mut [u8], outbox: &mut Outbox) -> Result<(), Errno> {
        let Place { function, region, offset } = place;
        self.begin();
        let good = self.board.read(function, region, offset, data);
        trace!("{}: read {region:?} {offset:#x}: {data:02x?}", self.board.name_of(function));
        self.end(function, outbox, || Event::Read {
            region: region.index(),
            offset,
            answer: good.then(|| data.to_vec()),
            len: data.len() as u32,
        });
        if good { Ok(()) } else { Err(Errno::INVAL) }
    }

    fn region_write(&mut self, place: Place, data: &[u8], outbox: &mut Outbox) -> Result<(), Errno> {
        let Place { function, region, offset } = place;
        trace!("{}: write {region:?} {offset:#x}: {data:02x?}", self.board.name_of(function));
        self.begin();
        let good = self.board.write(function, region, offset, data);
        self.end(function, outbox, || Event::Write { region: region.index(), offset, bytes: data.to_vec() });
        if good { Ok(()) } else { Err(Errno::INVAL) }
    }

    fn dma_map(&mut self, function: usize, range: DmaRange, file: Option<DmaFile>) -> Result<(), Errno> {
        // Without a file it is flash or the like, which nothing here reads.
        let Some(DmaFile { fd, offset }) = file else { return Ok(()) };
        let DmaRange { address: base, size, .. } = range;
        let mapping = Mapping { base, size, file: File::from(fd), offset };
        if let Err(why) = self.board.memory().map(function, mapping) {
            warn!("memory {base:#x}..{:#x}: {why}", base + size);
            return Err(Errno::INVAL);
        }
        self.end(function, &mut Outbox::default(), || Event::Map { base, size });
        Ok(())
    }

    fn dma_unmap(&mut self, function: usize, range: DmaRange) {
        let DmaRange { address: base, size, .. } = range;
        self.board.memory().unmap(function, base, size);
        self.end(function, &mut Outbox::default(), || Event::Unmap { base, size });
    }

    fn reset(&mut self, function: usize, outbox: &mut Outbox) {
        self.begin();
        self.board.reset(function);
        self.end(function, outbox, || Event::Reset);
    }

    fn dma_refused(&mut self, function: usize, address: u64, errno: Errno) {
        let name = self.board.name_of(function);
        warn!("{name}: QEMU refused a write to {address:#x}: {errno}; its message is lost");
    }

    fn connected(&mut self, function: usize) {
        self.clients += 1;
        info!("{}: connected", self.board.name_of(function));
        self.end(function, &mut Outbox::default(), || Event::Connected);
    }

    fn disconnected(&mut self, function: usize, why: &Closed) {
        self.clients = self.clients.saturating_sub(1);
        info!("{}: disconnected: {why}", self.board.name_of(function));
        self.begin();
        self.board.reset(function);
        self.end(function, &mut Outbox::default(), || Event::Disconnected);
    }

    fn idle(&mut self, now: Duration, outbox: &mut Outbox) -> Idle {
        let all_gone = self.clients == 0 && self.at > Duration::ZERO;
        if (self.until.all_gone && all_gone) || (self.until.finding && !self.board.findings().is_empty()) {
            return Idle::Stop;
        }
        if !self.unsettled {
            return Idle::Sleep;
        }
        if now < self.at + QUIET {
            return Idle::Until(self.at + QUIET);
        }
        self.at = now;
        self.begin();
        self.board.settle();
        self.unsettled = false;
        self.end(0, outbox, || Event::Idle);
        Idle::Sleep
    }
}

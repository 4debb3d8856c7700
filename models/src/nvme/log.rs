//! Log pages (NVM Express 1.4, 5.14.1), and the events that point to them.

use std::collections::VecDeque;

use super::counters::Counters;
use super::features::TEMPERATURE_KELVIN;
use super::identify::{ASYNC_EVENTS, FIRMWARE, Image};
use super::layout::{AdminOpcode, LogId, Opcode, Status};

/// Entries of the Error Information log.
pub(super) const ERROR_ENTRIES: usize = 64;
const ERROR_BYTES: usize = 64;

/// An entry of the Error Information log.
#[derive(Clone, Copy, Debug)]
pub(super) struct ErrorEntry {
    pub sqid: u16,
    pub cid: u16,
    /// As in the completion queue entry, without the phase.
    pub status: u16,
    pub lba: u64,
    pub nsid: u32,
}

/// Commands that failed, newest first.
#[derive(Clone, Debug, Default)]
pub(super) struct ErrorLog {
    entries: VecDeque<ErrorEntry>,
    /// Errors ever.
    count: u64,
}

impl ErrorLog {
    pub(super) fn add(&mut self, entry: ErrorEntry) {
        self.entries.truncate(ERROR_ENTRIES - 1);
        self.entries.push_front(entry);
        self.count += 1;
    }
    /// Log 01h.
    pub(super) fn page(&self) -> Image {
        let mut image = Image::new(ERROR_ENTRIES * ERROR_BYTES);
        for (i, entry) in self.entries.iter().enumerate() {
            let at = i * ERROR_BYTES;
            image.put(at, &(self.count - i as u64).to_le_bytes());
            image.put(at + 8, &entry.sqid.to_le_bytes());
            image.put(at + 10, &entry.cid.to_le_bytes());
            image.put(at + 12, &(entry.status << 1).to_le_bytes());
            image.put(at + 14, &[0xff, 0xff]); // no particular field of the command
            image.put(at + 16, &entry.lba.to_le_bytes());
            image.put(at + 24, &entry.nsid.to_le_bytes());
        }
        image
    }
}

/// Log 02h.
pub(super) fn smart(counters: &Counters, errors: &ErrorLog, temperature_warning: bool) -> Image {
    let mut image = Image::new(512);
    let reads = counters.io(Opcode::READ) + counters.io(Opcode::COMPARE);
    image.put(0, &[u8::from(temperature_warning) << 1]);
    image.put(1, &TEMPERATURE_KELVIN.to_le_bytes());
    image.put(3, &[100, 10]); // spare, and its threshold, in percent
    // Data units are thousands of 512 bytes.
    for (at, value) in [
        (32, counters.bytes_read.div_ceil(512_000)),
        (48, counters.bytes_written.div_ceil(512_000)),
        (64, reads),
        (80, counters.io(Opcode::WRITE)),
        (112, 1), // power cycles
        (160, counters.media_errors),
        (176, errors.count),
    ] {
        image.put(at, &value.to_le_bytes());
    }
    image
}

/// Log 03h.
pub(super) fn firmware_slot() -> Image {
    let mut image = Image::new(512);
    image.put(0, &[1]); // slot 1 is active
    image.put(8, FIRMWARE);
    image
}

/// Log 05h: a dword for every opcode, supported\[0\], changes blocks\[1\].
pub(super) fn command_effects() -> Image {
    let mut image = Image::new(4096);
    for opcode in AdminOpcode::ALL {
        image.put(4 * usize::from(opcode.0), &[1]);
    }
    for opcode in Opcode::ALL {
        let changes = !matches!(*opcode, Opcode::READ | Opcode::COMPARE | Opcode::FLUSH);
        image.put(1024 + 4 * usize::from(opcode.0), &[1 | u8::from(changes) << 1]);
    }
    image
}

/// An asynchronous event (5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    InvalidDoorbellRegister,
    InvalidDoorbellValue,
    PersistentInternalError,
    Temperature,
}

impl Event {
    /// Type, information, and the log page that clears it.
    fn code(self) -> (u8, u8, LogId) {
        match self {
            Self::InvalidDoorbellRegister => (0, 0, LogId::ERROR_INFORMATION),
            Self::InvalidDoorbellValue => (0, 1, LogId::ERROR_INFORMATION),
            Self::PersistentInternalError => (0, 3, LogId::ERROR_INFORMATION),
            Self::Temperature => (1, 1, LogId::SMART),
        }
    }
    /// Dword 0 of the completion.
    fn dword(self) -> u32 {
        let (kind, info, log) = self.code();
        u32::from(kind) | u32::from(info) << 8 | u32::from(log.0) << 16
    }
}

/// Asynchronous Event Requests that are held, and events that wait for one.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    /// Identifiers of the requests.
    held: VecDeque<u16>,
    /// Requests that Abort has ended.
    aborted: VecDeque<u16>,
    waiting: VecDeque<Event>,
    /// Types that stay silent until their log page is read, a bit each.
    masked: u8,
}

impl Events {
    /// Holds a request.
    ///
    /// # Errors
    /// Asynchronous Event Request Limit Exceeded.
    pub(super) fn hold(&mut self, cid: u16) -> Result<(), Status> {
        if self.held.len() >= ASYNC_EVENTS {
            return Err(Status::ASYNC_EVENT_LIMIT_EXCEEDED);
        }
        self.held.push_back(cid);
        Ok(())
    }
    /// Ends a request without an event; whether it was held.
    pub(super) fn abort(&mut self, cid: u16) -> bool {
        let found = self.held.iter().position(|held| *held == cid);
        if let Some(at) = found {
            self.held.remove(at);
            self.aborted.push_back(cid);
        }
        found.is_some()
    }
    /// Something has happened. A type that is masked, or has an event waiting, does not gather more.
    pub(super) fn raise(&mut self, event: Event) {
        let kind = event.code().0;
        let silent = self.masked & 1 << kind != 0 || self.waiting.iter().any(|e| e.code().0 == kind);
        if !silent {
            self.waiting.push_back(event);
        }
    }
    /// The log page was read: events that point to it are reported again.
    pub(super) fn read(&mut self, log: LogId) {
        match log {
            LogId::ERROR_INFORMATION => self.masked &= !1,
            LogId::SMART => self.masked &= !2,
            _ => {}
        }
    }
    /// The next request to complete: its identifier, dword 0 and status.
    pub(super) fn next(&mut self) -> Option<(u16, u32, Status)> {
        if let Some(cid) = self.aborted.pop_front() {
            return Some((cid, 0, Status::ABORT_REQUESTED));
        }
        if self.waiting.is_empty() {
            return None;
        }
        let cid = self.held.pop_front()?;
        let event = self.waiting.pop_front()?;
        self.masked |= 1 << event.code().0;
        Some((cid, event.dword(), Status::SUCCESS))
    }
}

//! From chunks of a stream to messages with their descriptors.

use std::os::fd::OwnedFd;

use super::connection::Closed;
use super::wire::{Header, flag};

/// Bytes of room that are kept without need.
const KEPT: usize = 128 << 10;

/// Bytes that have arrived and are not yet consumed: at most a message that is not complete, and the last chunk.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    bytes: Vec<u8>,
    /// Where in `bytes` the first unconsumed message begins.
    start: usize,
    /// Descriptors and where in `bytes` their message begins.
    fds: Vec<(usize, Vec<OwnedFd>)>,
}

/// One message.
pub(super) struct Message<'a> {
    pub(super) header: Header,
    pub(super) payload: &'a [u8],
    pub(super) fds: Vec<OwnedFd>,
}

impl Inbound {
    /// Takes what one read of the socket brought.
    ///
    /// A read may bring several messages, but ends behind the piece that was sent with descriptors: they belong to
    /// the last message that begins in it.
    pub(super) fn push(&mut self, chunk: &[u8], fds: Vec<OwnedFd>, limit: usize) -> Result<(), Closed> {
        self.compact();
        let old = self.bytes.len();
        self.bytes.extend_from_slice(chunk);
        if !fds.is_empty() {
            let begin =
                self.last_begin(limit).filter(|begin| *begin >= old).ok_or(Closed::StrayDescriptors)?;
            self.fds.push((begin, fds));
        }
        Ok(())
    }

    /// Where the last message begins of which at least a byte has arrived.
    fn last_begin(&self, limit: usize) -> Option<usize> {
        let mut last = None;
        let mut at = self.start;
        while at < self.bytes.len() {
            last = Some(at);
            match header(&self.bytes[at..], limit) {
                Ok(Some(header)) => at += header.size as usize,
                Ok(None) | Err(_) => break,
            }
        }
        last
    }

    /// Whether the next message, or the fault in its header, can be looked at.
    pub(super) fn ready(&self, limit: usize) -> bool {
        let bytes = &self.bytes[self.start..];
        match header(bytes, limit) {
            Ok(Some(header)) => bytes.len() >= header.size as usize,
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// The next message, if it is complete. It stays until [`Inbound::consume`].
    pub(super) fn next(&mut self, limit: usize) -> Result<Option<Message<'_>>, Closed> {
        let bytes = &self.bytes[self.start..];
        let Some(header) = header(bytes, limit)? else { return Ok(None) };
        let Some(message) = bytes.get(..header.size as usize) else { return Ok(None) };
        let fds = match self.fds.first() {
            Some((begin, _)) if *begin == self.start => self.fds.remove(0).1,
            _ => Vec::new(),
        };
        Ok(Some(Message { header, payload: &message[Header::SIZE..], fds }))
    }

    /// Forgets the first `size` bytes: the message that has been served.
    pub(super) fn consume(&mut self, size: usize) {
        self.start += size;
    }

    /// Whether the stream could end here without cutting a message.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.bytes.len()
    }

    /// Bytes held.
    pub(super) fn held(&self) -> usize {
        self.bytes.capacity()
    }

    fn compact(&mut self) {
        self.bytes.drain(..self.start);
        self.bytes.shrink_to(KEPT.max(2 * self.bytes.len()));
        for (begin, _) in &mut self.fds {
            *begin -= self.start;
        }
        self.start = 0;
    }
}

/// The header at the start of `bytes`; `None` if it has not arrived.
fn header(bytes: &[u8], limit: usize) -> Result<Option<Header>, Closed> {
    let Some(header) = Header::decode(bytes) else { return Ok(None) };
    let size = header.size as usize;
    if !(Header::SIZE..=limit).contains(&size) {
        return Err(Closed::BadSize { size: header.size, limit });
    }
    match header.flags & flag::TYPE {
        flag::COMMAND | flag::REPLY => Ok(Some(header)),
        _ => Err(Closed::BadType { flags: header.flags }),
    }
}

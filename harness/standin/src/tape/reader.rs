//! Reading a recording.

use std::io::{BufReader, Read};

use flate2::read::GzDecoder;

use super::codec::{Bad, MAGIC, VERSION, byte, bytes, number, small, tag, text};
use super::{Entry, Event, Header, Saw, Sent, TapeError, Touched};

/// Reads a recording.
#[derive(Debug)]
pub struct Reader<R: Read> {
    from: BufReader<GzDecoder<R>>,
    header: Header,
    at: u64,
    /// Entries read.
    entries: u64,
    ended: bool,
}

impl<R: Read> Reader<R> {
    /// Opens a recording.
    ///
    /// # Errors
    /// It is none, is of another version, or is damaged.
    pub fn new(file: R) -> Result<Self, TapeError> {
        let mut from = BufReader::new(GzDecoder::new(file));
        let mut magic = vec![0; MAGIC.len()];
        if from.read_exact(&mut magic).is_err() || magic != MAGIC {
            return Err(TapeError::NotATape);
        }
        match number(&mut from).map_err(|bad| at_entry(bad, 0))? {
            VERSION => {}
            other => return Err(TapeError::Version(other)),
        }
        let header = read_header(&mut from).map_err(|bad| at_entry(bad, 0))?;
        Ok(Self { from, header, at: 0, entries: 0, ended: false })
    }

    /// What it is of.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next entry; `None` at the end.
    ///
    /// # Errors
    /// It is damaged, or cut off.
    pub fn entry(&mut self) -> Result<Option<Entry>, TapeError> {
        if self.ended {
            return Ok(None);
        }
        let entry = self.read_entry().map_err(|bad| at_entry(bad, self.entries))?;
        self.entries += 1;
        Ok(entry)
    }

    fn read_entry(&mut self) -> Result<Option<Entry>, Bad> {
        let from = &mut self.from;
        let tag = byte(from)?;
        if tag == tag::END {
            self.ended = true;
            // Reading on makes the decoder compare its checksum.
            let mut more = [0];
            return match from.read(&mut more)? {
                0 => Ok(None),
                _ => Err(Bad::Why("something follows its end")),
            };
        }
        self.at = self.at.wrapping_add(number(from)?);
        let function = small(from)?;
        let event = match tag {
            tag::MAP => Event::Map { base: number(from)?, size: number(from)? },
            tag::UNMAP => Event::Unmap { base: number(from)?, size: number(from)? },
            tag::READ | tag::READ_ERROR => {
                let (region, offset, len) = (small(from)?, number(from)?, small(from)?);
                let answer = if tag == tag::READ { Some(bytes(from)?) } else { None };
                Event::Read { region, offset, answer, len }
            }
            tag::WRITE => Event::Write { region: small(from)?, offset: number(from)?, bytes: bytes(from)? },
            tag::RESET => Event::Reset,
            tag::CONNECTED => Event::Connected,
            tag::DISCONNECTED => Event::Disconnected,
            tag::IDLE => Event::Idle,
            _ => return Err(Bad::Why("there is no such entry")),
        };
        let mut saw = Vec::new();
        for _ in 0..number(from)? {
            saw.push(Saw { since: small(from)?, addr: number(from)?, bytes: bytes(from)? });
        }
        let mut digest = [0; 8];
        from.read_exact(&mut digest)?;
        let touched = Touched { saw, digest: u64::from_le_bytes(digest) };
        let mut sent = Vec::new();
        for _ in 0..number(from)? {
            sent.push(Sent { function: small(from)?, addr: number(from)?, bytes: bytes(from)? });
        }
        Ok(Some(Entry { at: self.at, function, event, touched, sent }))
    }
}

fn read_header(from: &mut impl Read) -> Result<Header, Bad> {
    let (path, platform) = (text(from)?, text(from)?);
    let mut presets = Vec::new();
    for _ in 0..number(from)? {
        presets.push((text(from)?, text(from)?));
    }
    let timed = number(from)? != 0;
    let mut disks = Vec::new();
    for _ in 0..number(from)? {
        disks.push(number(from)?);
    }
    Ok(Header { path, text: platform, presets, timed, disks })
}

fn at_entry(bad: Bad, entry: u64) -> TapeError {
    match bad {
        Bad::Io(why) => TapeError::Io(why),
        Bad::Why(why) => TapeError::Damaged { entry, why },
    }
}

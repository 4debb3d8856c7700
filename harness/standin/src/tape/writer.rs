//! Writing a recording.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use super::codec::{MAGIC, VERSION, put_bytes, put_number, tag};
use super::{Entry, Event, Header};

/// Writes a recording.
#[derive(Debug)]
pub struct Writer<W: Write> {
    out: GzEncoder<W>,
    /// When the last entry was.
    at: u64,
}

impl<W: Write> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn new(out: W, header: &Header) -> io::Result<Self> {
        let mut out = GzEncoder::new(out, Compression::default());
        out.write_all(MAGIC)?;
        put_number(&mut out, VERSION)?;
        put_bytes(&mut out, header.path.as_bytes())?;
        put_bytes(&mut out, header.text.as_bytes())?;
        put_number(&mut out, header.presets.len() as u64)?;
        for (name, text) in &header.presets {
            put_bytes(&mut out, name.as_bytes())?;
            put_bytes(&mut out, text.as_bytes())?;
        }
        put_number(&mut out, header.timed.into())?;
        put_number(&mut out, header.disks.len() as u64)?;
        header.disks.iter().try_for_each(|&size| put_number(&mut out, size))?;
        Ok(Self { out, at: 0 })
    }

    /// Adds an entry.
    ///
    /// # Errors
    /// Those of the file.
    pub fn entry(&mut self, entry: &Entry) -> io::Result<()> {
        let out = &mut self.out;
        let tag = match &entry.event {
            Event::Map { .. } => tag::MAP,
            Event::Unmap { .. } => tag::UNMAP,
            Event::Read { answer: Some(_), .. } => tag::READ,
            Event::Read { answer: None, .. } => tag::READ_ERROR,
            Event::Write { .. } => tag::WRITE,
            Event::Reset => tag::RESET,
            Event::Connected => tag::CONNECTED,
            Event::Disconnected => tag::DISCONNECTED,
            Event::Idle => tag::IDLE,
        };
        out.write_all(&[tag])?;
        put_number(out, entry.at.wrapping_sub(std::mem::replace(&mut self.at, entry.at)))?;
        put_number(out, entry.function as u64)?;
        match &entry.event {
            Event::Map { base, size } | Event::Unmap { base, size } => {
                put_number(out, *base)?;
                put_number(out, *size)?;
            }
            Event::Read { region, offset, answer, len } => {
                put_number(out, (*region).into())?;
                put_number(out, *offset)?;
                put_number(out, (*len).into())?;
                if let Some(answer) = answer {
                    put_bytes(out, answer)?;
                }
            }
            Event::Write { region, offset, bytes } => {
                put_number(out, (*region).into())?;
                put_number(out, *offset)?;
                put_bytes(out, bytes)?;
            }
            Event::Reset | Event::Connected | Event::Disconnected | Event::Idle => {}
        }
        put_number(out, entry.touched.saw.len() as u64)?;
        for saw in &entry.touched.saw {
            put_number(out, saw.since.into())?;
            put_number(out, saw.addr)?;
            put_bytes(out, &saw.bytes)?;
        }
        out.write_all(&entry.touched.digest.to_le_bytes())?;
        put_number(out, entry.sent.len() as u64)?;
        for sent in &entry.sent {
            put_number(out, sent.function as u64)?;
            put_number(out, sent.addr)?;
            put_bytes(out, &sent.bytes)?;
        }
        Ok(())
    }

    /// Ends the recording.
    ///
    /// # Errors
    /// Those of the file.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[tag::END])?;
        self.out.finish()
    }
}

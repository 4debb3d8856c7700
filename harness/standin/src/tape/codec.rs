//! Numbers and byte strings of a recording.

use std::io::{self, Read, Write};

/// What a recording begins with.
pub(super) const MAGIC: &[u8] = b"smmulate recording\n";
/// The format that this code reads and writes.
pub(super) const VERSION: u64 = 1;
/// No byte string of a recording is longer.
pub(super) const LONGEST: u64 = 64 << 20;

/// Tags of entries.
pub(super) mod tag {
    pub(in super::super) const MAP: u8 = 1;
    pub(in super::super) const UNMAP: u8 = 2;
    pub(in super::super) const READ: u8 = 3;
    pub(in super::super) const READ_ERROR: u8 = 4;
    pub(in super::super) const WRITE: u8 = 5;
    pub(in super::super) const RESET: u8 = 6;
    pub(in super::super) const CONNECTED: u8 = 7;
    pub(in super::super) const DISCONNECTED: u8 = 8;
    pub(in super::super) const IDLE: u8 = 9;
    /// No entry follows.
    pub(in super::super) const END: u8 = 0xff;
}

pub(super) fn put_number(out: &mut impl Write, mut n: u64) -> io::Result<()> {
    loop {
        let low = (n & 0x7f) as u8;
        n >>= 7;
        if n == 0 {
            return out.write_all(&[low]);
        }
        out.write_all(&[low | 0x80])?;
    }
}

pub(super) fn put_bytes(out: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    put_number(out, bytes.len() as u64)?;
    out.write_all(bytes)
}

/// Why something cannot be decoded.
#[derive(Debug)]
pub(super) enum Bad {
    Io(io::Error),
    Why(&'static str),
}

impl From<io::Error> for Bad {
    fn from(why: io::Error) -> Self {
        match why.kind() {
            io::ErrorKind::UnexpectedEof => Self::Why("it ends too early"),
            io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => Self::Why("its checksum is wrong"),
            _ => Self::Io(why),
        }
    }
}

pub(super) fn byte(from: &mut impl Read) -> Result<u8, Bad> {
    let mut byte = [0];
    from.read_exact(&mut byte)?;
    Ok(byte[0])
}

pub(super) fn number(from: &mut impl Read) -> Result<u64, Bad> {
    let mut n = 0;
    for shift in (0..64).step_by(7) {
        let byte = byte(from)?;
        let part = u64::from(byte & 0x7f);
        if shift == 63 && part > 1 {
            break;
        }
        n |= part << shift;
        if byte & 0x80 == 0 {
            return Ok(n);
        }
    }
    Err(Bad::Why("a number is too large"))
}

/// A number that fits a smaller type.
pub(super) fn small<T: TryFrom<u64>>(from: &mut impl Read) -> Result<T, Bad> {
    T::try_from(number(from)?).map_err(|_| Bad::Why("a number is too large"))
}

pub(super) fn bytes(from: &mut impl Read) -> Result<Vec<u8>, Bad> {
    let len = number(from)?;
    if len > LONGEST {
        return Err(Bad::Why("a byte string is too long"));
    }
    let mut bytes = Vec::new();
    from.take(len).read_to_end(&mut bytes)?;
    if (bytes.len() as u64) < len {
        return Err(Bad::Why("it ends too early"));
    }
    Ok(bytes)
}

pub(super) fn text(from: &mut impl Read) -> Result<String, Bad> {
    String::from_utf8(bytes(from)?).map_err(|_| Bad::Why("a text is not UTF-8"))
}

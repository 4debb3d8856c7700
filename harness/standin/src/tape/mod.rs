//! A recording: everything that came in from QEMU, and what went out, so that the models can be run again without it.
//!
//! A file is gzip around a header and entries, one after the other, each a tag byte and its fields; numbers are in LEB128.
//! An entry for an access holds what the models found in memory during it ([`Touched`]), so a recording is complete without
//! the machine's memory. The platform's text is part of the header.

mod codec;
mod reader;
mod writer;

use std::fmt;

pub use reader::Reader;
pub use writer::Writer;

use crate::memory::{Saw, Touched};

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The platform file as the user named it.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Texts of preset files that it names by path.
    pub presets: Vec<(String, String)>,
    /// The models had time.
    pub timed: bool,
    /// Bytes of each disk's storage, by endpoint.
    pub disks: Vec<u64>,
}

/// What came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Memory is mapped for a function.
    Map {
        /// First byte.
        base: u64,
        /// Number of bytes.
        size: u64,
    },
    /// And no longer.
    Unmap {
        /// First byte.
        base: u64,
        /// Number of bytes.
        size: u64,
    },
    /// A read of a region, and the answer.
    Read {
        /// Region number.
        region: u32,
        /// Byte offset.
        offset: u64,
        /// What it was answered; `None` for an error.
        answer: Option<Vec<u8>>,
        /// How many bytes were asked for.
        len: u32,
    },
    /// A write to a region.
    Write {
        /// Region number.
        region: u32,
        /// Byte offset.
        offset: u64,
        /// The bytes.
        bytes: Vec<u8>,
    },
    /// The function is reset.
    Reset,
    /// A client has come.
    Connected,
    /// It has gone.
    Disconnected,
    /// Nothing came for a while.
    Idle,
}

/// A message to QEMU: it writes these bytes there on behalf of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The function.
    pub function: usize,
    /// Where.
    pub addr: u64,
    /// What.
    pub bytes: Vec<u8>,
}

/// One thing that came in, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Nanoseconds since the beginning.
    pub at: u64,
    /// The function that heard it.
    pub function: usize,
    /// What it heard.
    pub event: Event,
    /// What memory held and came to hold.
    pub touched: Touched,
    /// What went out.
    pub sent: Vec<Sent>,
}

/// Why a recording cannot be read.
#[derive(Debug)]
pub enum TapeError {
    /// The file cannot be read or written.
    Io(std::io::Error),
    /// It is no recording.
    NotATape,
    /// It was made by another version.
    Version(u64),
    /// It is damaged.
    Damaged {
        /// The entry, counted from 0.
        entry: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl fmt::Display for TapeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(why) => why.fmt(f),
            Self::NotATape => f.write_str("is not a recording; `smmulate boot --record FILE` makes one"),
            Self::Version(v) => {
                write!(f, "is a recording of format {v}, this is format {}; record it again", codec::VERSION)
            }
            Self::Damaged { entry, why } => write!(f, "is damaged at entry {entry}: {why}"),
        }
    }
}

impl std::error::Error for TapeError {}

impl From<std::io::Error> for TapeError {
    fn from(why: std::io::Error) -> Self {
        Self::Io(why)
    }
}

#[cfg(test)]
mod test {
    use proptest::prelude::*;

    use super::*;

    fn header() -> impl Strategy<Value = Header> {
        (
            ".*",
            ".*",
            prop::collection::vec((".*", ".*"), 0..3),
            any::<bool>(),
            prop::collection::vec(any::<u64>(), 0..4),
        )
            .prop_map(|(path, text, presets, timed, disks)| Header {
                path,
                text,
                presets,
                timed,
                disks,
            })
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(any::<u8>(), 0..20)
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (any::<u64>(), any::<u64>()).prop_map(|(base, size)| Event::Map { base, size }),
            (any::<u64>(), any::<u64>()).prop_map(|(base, size)| Event::Unmap { base, size }),
            (any::<u32>(), any::<u64>(), prop::option::of(bytes()), any::<u32>())
                .prop_map(|(region, offset, answer, len)| Event::Read { region, offset, answer, len }),
            (any::<u32>(), any::<u64>(), bytes()).prop_map(|(region, offset, bytes)| Event::Write {
                region,
                offset,
                bytes
            }),
            Just(Event::Reset),
            Just(Event::Connected),
            Just(Event::Disconnected),
            Just(Event::Idle),
        ]
    }

    fn entry() -> impl Strategy<Value = Entry> {
        let saw =
            (any::<u32>(), any::<u64>(), bytes()).prop_map(|(since, addr, bytes)| Saw { since, addr, bytes });
        let sent = (0usize..9, any::<u64>(), bytes()).prop_map(|(function, addr, bytes)| Sent {
            function,
            addr,
            bytes,
        });
        let touched = (prop::collection::vec(saw, 0..3), any::<u64>())
            .prop_map(|(saw, digest)| Touched { saw, digest });
        (any::<u64>(), 0usize..9, event(), touched, prop::collection::vec(sent, 0..3))
            .prop_map(|(at, function, event, touched, sent)| Entry { at, function, event, touched, sent })
    }

    fn written(header: &Header, entries: &[Entry]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, header).unwrap();
        entries.iter().for_each(|entry| writer.entry(entry).unwrap());
        writer.finish().unwrap();
        out
    }

    fn read(file: &[u8]) -> Result<(Header, Vec<Entry>), TapeError> {
        let mut reader = Reader::new(file)?;
        let header = reader.header().clone();
        let mut entries = Vec::new();
        while let Some(entry) = reader.entry()? {
            entries.push(entry);
        }
        Ok((header, entries))
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(header in header(), entries in prop::collection::vec(entry(), 0..20)) {
            prop_assert_eq!(read(&written(&header, &entries)).unwrap(), (header, entries));
        }

        #[test]
        fn damage_is_an_error(entries in prop::collection::vec(entry(), 1..9), at in any::<prop::sample::Index>(), to: u8) {
            let header = Header { path: "p".into(), text: "t".into(), presets: vec![], timed: false, disks: vec![] };
            let mut file = written(&header, &entries);
            let i = at.index(file.len());
            file[i] = to;
            // Damage that is not seen leaves the recording as it was.
            if let Ok((_, again)) = read(&file) {
                prop_assert_eq!(again, entries);
            }
            file.truncate(i);
            prop_assert!(read(&file).is_err());
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let file = |bytes: &[u8]| {
            use std::io::Write;
            let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gz.write_all(bytes).unwrap();
            gz.finish().unwrap()
        };
        for (file, want) in [
            (b"hello".to_vec(), "is not a recording; `smmulate boot --record FILE` makes one"),
            (file(b"smmulate"), "is not a recording; `smmulate boot --record FILE` makes one"),
            (
                file(b"smmulate recording\n\x63"),
                "is a recording of format 99, this is format 1; record it again",
            ),
            (file(b"smmulate recording\n\x01\x7f"), "is damaged at entry 0: it ends too early"),
        ] {
            assert_eq!(read(&file).unwrap_err().to_string(), want);
        }
    }
}

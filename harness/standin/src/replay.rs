//! Runs a recording again, without QEMU, and compares everything that comes out with what came out then.

use std::fmt;
use std::io::Read;

use crate::board::Board;
use crate::protocol::Region;
use crate::tape::{Entry, Event, Reader, TapeError};

/// Where a replay differs from its recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Divergence {
    /// The entry, counted from 0.
    pub entry: u64,
    /// When it was recorded: nanoseconds since the beginning.
    pub at: u64,
    /// The access: whose, where, what.
    pub access: String,
    /// What differs: what was recorded and what came now.
    pub what: String,
}

impl fmt::Display for Divergence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "entry {} at {} us, {}: {}", self.entry, self.at / 1000, self.access, self.what)
    }
}

/// What a replay has shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replayed {
    /// Entries run.
    pub entries: u64,
    /// The first differences.
    pub divergences: Vec<Divergence>,
    /// How many there are.
    pub differing: u64,
}

/// Differences that are told.
const TOLD: usize = 10;

/// Runs every entry on a board that was built for the recording.
///
/// # Errors
/// The recording is damaged.
pub fn replay(reader: &mut Reader<impl Read>, board: &mut Board) -> Result<Replayed, TapeError> {
    let mut replayed = Replayed::default();
    while let Some(entry) = reader.entry()? {
        if let Some(what) = run(&entry, board) {
            replayed.differing += 1;
            if replayed.divergences.len() < TOLD {
                let access = access(&entry, board);
                replayed.divergences.push(Divergence { entry: replayed.entries, at: entry.at, access, what });
            }
        }
        replayed.entries += 1;
    }
    board.stop();
    Ok(replayed)
}

/// Runs one entry. What differs from its recording, if something does.
pub fn run(entry: &Entry, board: &mut Board) -> Option<String> {
    let function = entry.function;
    if function >= board.functions() {
        return Some(format!("there is no function {function}"));
    }
    board.memory().will_see(entry.touched.saw.clone());
    board.begin(entry.at);
    let mut differs = None;
    match &entry.event {
        Event::Map { base, size } => board.memory().map_played(*base, *size),
        Event::Unmap { base, size } => board.memory().unmap(function, *base, *size),
        Event::Read { region, offset, answer, len } => {
            let mut data = vec![0; *len as usize];
            let region = Region::from_index(*region);
            let good = region.is_some_and(|region| board.read(function, region, *offset, &mut data));
            let now = good.then_some(data);
            if now != *answer {
                differs =
                    Some(format!("was answered {}, now {}", bytes(answer.as_deref()), bytes(now.as_deref())));
            }
        }
        Event::Write { region, offset, bytes } => {
            if let Some(region) = Region::from_index(*region) {
                board.write(function, region, *offset, bytes);
            }
        }
        Event::Reset | Event::Disconnected => board.reset(function),
        Event::Idle => board.settle(),
        Event::Connected => {}
    }
    let touched = board.memory().take_touched();
    let sent = board.take_sent();
    if differs.is_none() && sent != entry.sent {
        differs = Some(format!("sent {:x?}, now {sent:x?}", entry.sent));
    }
    if differs.is_none() && touched.digest != entry.touched.digest {
        differs = Some("wrote something else to memory".to_owned());
    }
    differs
}

fn access(entry: &Entry, board: &Board) -> String {
    let name = board.name_of(entry.function);
    match &entry.event {
        Event::Read { region, offset, len, .. } => {
            format!("{name}: {len} bytes read at {region}:{offset:#x}")
        }
        Event::Write { region, offset, bytes: b } => {
            format!("{name}: {} written at {region}:{offset:#x}", bytes(Some(b)))
        }
        other => format!("{name}: {other:?}"),
    }
}

fn bytes(bytes: Option<&[u8]>) -> String {
    match bytes {
        None => "an error".to_owned(),
        Some(bytes) if bytes.len() <= 8 => {
            let value = bytes.iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b));
            format!("{value:#x}")
        }
        Some(bytes) => format!("{bytes:02x?}"),
    }
}

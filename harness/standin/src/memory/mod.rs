//! The machine's memory as the models see it: mapped from QEMU, or played back.
//!
//! ```text
//!   models, oracle --> Memory --live--> Ram (mapped) --what a player cannot know--> tape
//!                             \-replay--> Image <-----------------------------------/
//! ```

mod image;
mod ram;

use std::sync::Arc;

use models::bus::{Abort, PhysAddr};
use parking_lot::Mutex;

pub use image::{Image, PAGE};
pub use ram::{MapError, Mapping, Ram};

/// Bytes of memory that differ from what a player would have there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saw {
    /// 0 if it holds from the beginning of the access; else the number of the memory access, counted from 1 within the
    /// access, before which it came to hold.
    pub since: u32,
    /// First byte.
    pub addr: PhysAddr,
    /// The bytes.
    pub bytes: Vec<u8>,
}

/// What one access did to memory, as far as a recording needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// What it found there that nobody could know.
    pub saw: Vec<Saw>,
    /// A digest of all that it wrote; 0 if it wrote nothing.
    pub digest: u64,
}

#[derive(Debug)]
enum Backing {
    /// Memory of a running machine.
    Live(Ram),
    /// Memory of a recorded one: where it was mapped, and what it held.
    Played(Vec<(u64, u64)>),
}

#[derive(Debug)]
struct Inner {
    backing: Backing,
    /// What a player would have. Kept while recording or playing.
    image: Option<Image>,
    /// What is still to come to hold within this access; latest first.
    pending: Vec<Saw>,
    /// Memory accesses within this access.
    accesses: u32,
    touched: Touched,
}

/// A handle of the memory. All handles share it.
#[derive(Clone, Debug)]
pub struct Memory(Arc<Mutex<Inner>>);

impl Memory {
    /// Memory of a running machine. With `recording`, [`Memory::take_touched`] tells what a player must know.
    pub fn live(recording: bool) -> Self {
        Self::with(Backing::Live(Ram::default()), recording.then(Image::default))
    }
    /// Memory of a recorded machine.
    pub fn played() -> Self {
        Self::with(Backing::Played(Vec::new()), Some(Image::default()))
    }

    fn with(backing: Backing, image: Option<Image>) -> Self {
        let inner = Inner { backing, image, pending: Vec::new(), accesses: 0, touched: Touched::default() };
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Maps memory for a function.
    ///
    /// # Errors
    /// The file cannot be mapped safely, or the range is taken.
    pub fn map(&self, by: usize, mapping: Mapping) -> Result<(), MapError> {
        match &mut self.0.lock().backing {
            Backing::Live(ram) => ram.map(by, mapping),
            Backing::Played(_) => Ok(()),
        }
    }
    /// A recorded machine has memory here from now on.
    pub fn map_played(&self, base: u64, size: u64) {
        if let Backing::Played(ranges) = &mut self.0.lock().backing
            && !ranges.contains(&(base, size))
        {
            ranges.push((base, size));
        }
    }
    /// Takes back what a function has mapped within a range. Memory that others have mapped stays.
    pub fn unmap(&self, by: usize, base: u64, size: u64) {
        match &mut self.0.lock().backing {
            Backing::Live(ram) => ram.unmap(by, base, size),
            Backing::Played(ranges) => ranges.retain(|r| *r != (base, size)),
        }
    }
    /// The ranges that answer: first byte and length.
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        match &self.0.lock().backing {
            Backing::Live(ram) => ram.ranges().collect(),
            Backing::Played(ranges) => ranges.clone(),
        }
    }
    /// Whether all bytes of a range answer.
    pub fn contains(&self, addr: PhysAddr, len: u64) -> bool {
        self.0.lock().backing.contains(addr, len)
    }

    /// Reads memory.
    ///
    /// # Errors
    /// Not all of the range is mapped.
    pub fn read(&self, addr: PhysAddr, into: &mut [u8]) -> Result<(), Abort> {
        self.0.lock().read(addr, into)
    }
    /// Writes memory.
    ///
    /// # Errors
    /// Not all of the range is mapped; nothing is written then.
    pub fn write(&self, addr: PhysAddr, bytes: &[u8]) -> Result<(), Abort> {
        self.0.lock().write(addr, bytes)
    }

    /// Replaces the 64-bit little-endian word at `addr` by `new` if it is `expected`, in one atomic access of the machine's
    /// memory; returns what it was.
    ///
    /// # Errors
    /// Not all of the word is mapped, or it is not aligned.
    pub fn compare_swap(&self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort> {
        self.0.lock().compare_swap(addr, expected, new)
    }

    /// What the access that ends here found and wrote. The next one begins.
    pub fn take_touched(&self) -> Touched {
        let mut inner = self.0.lock();
        inner.accesses = 0;
        if let Some(image) = &mut inner.image {
            image.begin();
        }
        std::mem::take(&mut inner.touched)
    }
    /// Tells a player what the next access will find.
    pub fn will_see(&self, saw: Vec<Saw>) {
        let mut inner = self.0.lock();
        inner.pending = saw;
        inner.pending.reverse();
        inner.come_to_hold();
    }
}

impl oracle::Source for Memory {
    fn read(&self, addr: u64, words: &mut [u64]) -> bool {
        let mut bytes = [0; PAGE];
        let bytes = &mut bytes[..words.len() * 8];
        let found = Self::read(self, addr, bytes).is_ok();
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        found
    }
}

impl Backing {
    fn contains(&self, addr: PhysAddr, len: u64) -> bool {
        match self {
            Self::Live(ram) => ram.contains(addr, len),
            Self::Played(ranges) => {
                ranges.iter().any(|&(base, size)| addr >= base && len <= size && addr - base <= size - len)
            }
        }
    }
}

impl Inner {
    fn read(&mut self, addr: PhysAddr, into: &mut [u8]) -> Result<(), Abort> {
        if !self.backing.contains(addr, into.len() as u64) {
            return Err(Abort);
        }
        match &self.backing {
            Backing::Live(ram) => {
                ram.read(addr, into)?;
                if let Some(image) = &mut self.image {
                    self.accesses += 1;
                    image.learn(addr, into, self.accesses, &mut self.touched.saw);
                }
            }
            Backing::Played(_) => {
                self.accesses += 1;
                self.come_to_hold();
                let image = self.image.as_mut().expect("a player has an image");
                image.read(addr, into);
            }
        }
        Ok(())
    }

    fn write(&mut self, addr: PhysAddr, bytes: &[u8]) -> Result<(), Abort> {
        if !self.backing.contains(addr, bytes.len() as u64) {
            return Err(Abort);
        }
        if let Backing::Live(ram) = &self.backing {
            ram.write(addr, bytes)?;
        }
        if self.image.is_some() {
            self.accesses += 1;
            self.come_to_hold();
            let image = self.image.as_mut().expect("it is there");
            image.write(addr, bytes);
            self.touched.digest = digest(self.touched.digest, addr, bytes);
        }
        Ok(())
    }

    /// For a recording a read, and a write if the word is what was expected; both are one memory access.
    fn compare_swap(&mut self, addr: PhysAddr, expected: u64, new: u64) -> Result<u64, Abort> {
        if !addr.is_multiple_of(8) || !self.backing.contains(addr, 8) {
            return Err(Abort);
        }
        self.accesses += 1;
        let found = match &self.backing {
            Backing::Live(ram) => {
                let found = ram.compare_swap(addr, expected, new)?;
                if let Some(image) = &mut self.image {
                    image.learn(addr, &found.to_le_bytes(), self.accesses, &mut self.touched.saw);
                }
                found
            }
            Backing::Played(_) => {
                self.come_to_hold();
                let mut word = [0; 8];
                self.image.as_mut().expect("a player has an image").read(addr, &mut word);
                u64::from_le_bytes(word)
            }
        };
        if found == expected
            && let Some(image) = &mut self.image
        {
            let bytes = new.to_le_bytes();
            image.write(addr, &bytes);
            self.touched.digest = digest(self.touched.digest, addr, &bytes);
        }
        Ok(found)
    }

    /// Lets everything hold that the recording saw up to here.
    fn come_to_hold(&mut self) {
        while self.pending.last().is_some_and(|saw| saw.since <= self.accesses) {
            let saw = self.pending.pop().expect("there is one");
            self.image.as_mut().expect("a player has an image").write(saw.addr, &saw.bytes);
        }
    }
}

/// FNV-1a over what was written, and where.
fn digest(seed: u64, addr: u64, bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let start = if seed == 0 { OFFSET } else { seed };
    let mixed =
        addr.to_le_bytes().iter().chain(bytes).fold(start, |h, b| (h ^ u64::from(*b)).wrapping_mul(PRIME));
    mixed.max(1)
}

#[cfg(test)]
mod test {
    use super::*;

    /// A machine's memory over an anonymous file, and the file to write behind its back.
    fn machine() -> (Memory, std::fs::File) {
        let file = ram::test::sealed(0x10_0000);
        let memory = Memory::live(true);
        let copy = file.try_clone().unwrap();
        memory.map(0, Mapping { base: 0x4000_0000, size: 0x10_0000, file, offset: 0 }).unwrap();
        (memory, copy)
    }

    fn software_writes(file: &std::fs::File, addr: u64, bytes: &[u8]) {
        use std::os::unix::fs::FileExt;
        file.write_all_at(bytes, addr - 0x4000_0000).unwrap();
    }

    fn word(memory: &Memory, addr: u64) -> u64 {
        let mut bytes = [0; 8];
        memory.read(addr, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    }

    /// What a player finds is what the machine found, also where software changes memory in the middle of an access.
    #[test]
    fn a_player_finds_what_was_found() {
        let (live, file) = machine();
        let played = Memory::played();
        played.map_played(0x4000_0000, 0x10_0000);
        let mut found = Vec::new();
        let mut tape = Vec::new();
        for round in 0..4u64 {
            software_writes(&file, 0x4000_1000, &(round * 7).to_le_bytes());
            found.push(word(&live, 0x4000_1000));
            software_writes(&file, 0x4000_1000, &(round * 9 + 1).to_le_bytes());
            found.push(word(&live, 0x4000_1000));
            live.write(0x4000_1004, &[round as u8; 8]).unwrap();
            found.push(word(&live, 0x4000_1000));
            found.push(word(&live, 0x4000_1008));
            tape.push(live.take_touched());
        }
        let mut again = Vec::new();
        for (round, touched) in tape.into_iter().enumerate() {
            played.will_see(touched.saw.clone());
            again.extend([word(&played, 0x4000_1000), word(&played, 0x4000_1000)]);
            played.write(0x4000_1004, &[round as u8; 8]).unwrap();
            again.extend([word(&played, 0x4000_1000), word(&played, 0x4000_1008)]);
            assert_eq!(played.take_touched().digest, touched.digest);
        }
        assert_eq!(again, found);
    }

    /// An atomic update finds and writes the same in a recording, whether it succeeds or software was faster.
    #[test]
    fn a_player_updates_as_the_machine_did() {
        let (live, file) = machine();
        let played = Memory::played();
        played.map_played(0x4000_0000, 0x10_0000);
        let swaps = |memory: &Memory, held: u64| {
            let first = memory.compare_swap(0x4000_3008, held, held + 100).unwrap();
            let second = memory.compare_swap(0x4000_3008, held, 9).unwrap();
            (first, second, word(memory, 0x4000_3008))
        };
        for (held, changed) in [(5u64, None), (6, Some(7u64))] {
            software_writes(&file, 0x4000_3008, &held.to_le_bytes());
            let before = word(&live, 0x4000_3008);
            if let Some(changed) = changed {
                software_writes(&file, 0x4000_3008, &changed.to_le_bytes());
            }
            let got = swaps(&live, held);
            assert_eq!(got.0 == held, changed.is_none());
            let touched = live.take_touched();
            played.will_see(touched.saw.clone());
            assert_eq!((word(&played, 0x4000_3008), swaps(&played, held)), (before, got));
            assert_eq!(played.take_touched().digest, touched.digest);
        }
        for addr in [0x4000_3004, 0x4010_0000, u64::MAX - 7] {
            assert!(live.compare_swap(addr, 0, 1).is_err() && played.compare_swap(addr, 0, 1).is_err());
        }
    }

    #[test]
    fn what_is_known_is_not_told_twice() {
        let (live, file) = machine();
        software_writes(&file, 0x4000_2000, &[5; 64]);
        let mut line = [0; 64];
        live.read(0x4000_2000, &mut line).unwrap();
        let saw = live.take_touched().saw;
        assert_eq!(saw, [Saw { since: 0, addr: 0x4000_2000, bytes: vec![5; 64] }]);
        live.read(0x4000_2000, &mut line).unwrap();
        live.write(0x4000_2010, &[6; 8]).unwrap();
        live.read(0x4000_2000, &mut line).unwrap();
        assert_eq!(live.take_touched().saw, []);
    }

    #[test]
    fn what_is_not_mapped_does_not_answer() {
        let (live, _) = machine();
        for (addr, len, good) in [
            (0x4000_0000, 8, true),
            (0x400f_fff8, 8, true),
            (0x400f_fff9, 8, false),
            (0x3fff_ffff, 1, false),
            (u64::MAX, 8, false),
            (0x4010_0000, 1, false),
        ] {
            let mut bytes = vec![0; len];
            assert_eq!(live.read(addr, &mut bytes).is_ok(), good, "{addr:#x}");
            assert_eq!(live.write(addr, &bytes).is_ok(), good, "{addr:#x}");
        }
    }
}

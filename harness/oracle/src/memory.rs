//! The oracle's own copy of physical memory, with an undo log: any table can be read as it was at an earlier moment.
//!
//! Either every write is told ([`Memory::write`]), or memory is watched: see [`looks`].

mod looks;

use self::looks::Looks;
use crate::witness::{ActorId, Time};
use spec::smmu::descriptor::Leaf1;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Position in the total order of what the oracle was told.
pub(crate) type Seq = u64;

/// One word that changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// When, or when it was noticed, in the order of records.
    pub(crate) at: Seq,
    /// The same in simulated time.
    pub(crate) time: Time,
    /// Address of the word.
    pub(crate) addr: u64,
    /// What it held before.
    pub(crate) old: u64,
    /// Who wrote.
    pub(crate) by: Writer,
    /// Position after the previous change of the same word, 0 for none.
    prev: u32,
}

/// Who changed a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Writer {
    /// Somebody whose write was told.
    Actor(ActorId),
    /// Some software, after this time: the change was noticed, not told.
    Software { since: Time },
}

/// Sparse memory; what was never written reads as zero.
#[derive(Debug)]
pub(crate) struct Memory {
    pages: HashMap<u64, Box<Page>, BuildHasherDefault<PageHasher>>,
    log: Vec<Change>,
    log_limit: usize,
    /// The last change of a word that a walk has read.
    table_changed: Seq,
    /// Some word may be a little-endian leaf with the Contiguous bit.
    contiguous: bool,
    /// Memory is looked at, and only words that a walk has read are known.
    looks: Option<Looks>,
}

const WORDS: usize = 512;

#[derive(Debug)]
struct Page {
    words: [u64; WORDS],
    /// Position after the last change of each word in the log, 0 for none.
    last: [u32; WORDS],
    /// Words that a walk has read: their history outlives the limit.
    watched: Words,
    /// Of memory that is looked at.
    look: looks::Page,
}

/// A set of words of a page.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Words([u64; WORDS / 64]);

impl Words {
    fn has(&self, i: usize) -> bool {
        self.0[i / 64] >> (i % 64) & 1 != 0
    }

    fn add(&mut self, i: usize) {
        self.0[i / 64] |= 1 << (i % 64);
    }
}

impl Page {
    fn new() -> Box<Self> {
        Box::new(Self {
            words: [0; WORDS],
            last: [0; WORDS],
            watched: Words::default(),
            look: looks::Page::default(),
        })
    }

    /// A word gets another value: the change for the log, in which it will have this position.
    fn change(&mut self, i: usize, value: u64, position: u32, change: Change) -> Change {
        let old = std::mem::replace(&mut self.words[i], value);
        let prev = std::mem::replace(&mut self.last[i], position);
        Change { old, prev, ..change }
    }
}

/// Page numbers are well spread already; a multiplication is enough.
#[derive(Default)]
struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for &b in bytes {
            self.write_u64(b.into());
        }
    }
    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 ^= self.0 >> 29;
    }
}

impl Memory {
    /// Empty memory that keeps about `log_limit` changes (and all of table words).
    pub(crate) fn new(log_limit: usize) -> Self {
        Self {
            pages: HashMap::default(),
            log: Vec::new(),
            log_limit,
            table_changed: 0,
            contiguous: false,
            looks: None,
        }
    }

    /// The word at this address, which is rounded down to a multiple of 8.
    pub(crate) fn word(&self, addr: u64) -> u64 {
        self.pages.get(&(addr >> 12)).map_or(0, |p| p.words[index(addr)])
    }

    /// The word as it was just before the change at `at`.
    pub(crate) fn word_before(&self, addr: u64, at: Seq) -> u64 {
        self.changes(addr).take_while(|c| c.at >= at).last().map_or_else(|| self.word(addr), |c| c.old)
    }

    /// The changes of a word, latest first.
    pub(crate) fn changes(&self, addr: u64) -> impl Iterator<Item = &Change> {
        let mut next = self.pages.get(&(addr >> 12)).map_or(0, |p| p.last[index(addr)]);
        std::iter::from_fn(move || {
            let change = self.log.get((next as usize).checked_sub(1)?)?;
            next = change.prev;
            Some(change)
        })
    }

    /// Whether some word may be a little-endian leaf with the Contiguous bit.
    pub(crate) fn has_contiguous(&self) -> bool {
        self.contiguous
    }

    /// When a word that any walk has read last changed.
    pub(crate) fn table_changed(&self) -> Seq {
        self.table_changed
    }

    /// Write bytes anywhere. If memory is looked at, what is not known stays so.
    pub(crate) fn write(&mut self, at: Seq, time: Time, by: ActorId, mut addr: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let offset = (addr % 8) as usize;
            let n = bytes.len().min(8 - offset);
            self.write_word(at, time, by, addr & !7, offset, &bytes[..n]);
            addr = addr.wrapping_add(n as u64);
            bytes = &bytes[n..];
        }
    }

    fn write_word(&mut self, at: Seq, time: Time, by: ActorId, addr: u64, offset: usize, bytes: &[u8]) {
        if !self.knows(addr, 1) {
            return;
        }
        if self.log.len() >= self.log_limit {
            self.forget();
        }
        let position = self.log.len() as u32 + 1;
        let page = self.pages.entry(addr >> 12).or_insert_with(Page::new);
        let i = index(addr);
        let mut word = page.words[i].to_le_bytes();
        word[offset..offset + bytes.len()].copy_from_slice(bytes);
        let value = u64::from_le_bytes(word);
        if page.words[i] == value {
            return;
        }
        self.contiguous |= Leaf1([value]).contiguous();
        let change = Change { at, time, addr, old: 0, by: Writer::Actor(by), prev: 0 };
        self.log.push(page.change(i, value, position, change));
        if page.watched.has(i) {
            self.table_changed = at;
        }
    }

    /// Drop the older half of the log, except what belongs to table words. If it is nearly all table words, the limit
    /// grows instead. While memory is looked at it does not: then table words lose the older half too.
    fn forget(&mut self) {
        let half = self.log.len() / 2;
        let spare = self.looks.is_none();
        let mut kept = Vec::with_capacity(self.log.len());
        for page in self.pages.values_mut() {
            page.last = [0; WORDS];
        }
        for (i, mut change) in std::mem::take(&mut self.log).into_iter().enumerate() {
            // A page that is no longer known has no history.
            let Some(page) = self.pages.get_mut(&(change.addr >> 12)) else { continue };
            let w = index(change.addr);
            if i < half && !(spare && page.watched.has(w)) {
                if !spare {
                    page.look.lose(w, change.at);
                }
                continue;
            }
            if change.at <= page.look.known_since {
                continue;
            }
            change.prev = page.last[w];
            kept.push(change);
            page.last[w] = kept.len() as u32;
        }
        self.log = kept;
        if spare && self.log.len() > self.log_limit / 4 * 3 {
            self.log_limit *= 2;
        }
    }
}

fn index(addr: u64) -> usize {
    (addr >> 3) as usize % WORDS
}

#[cfg(test)]
mod test {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unaligned_bytes_and_history() {
        let mut m = Memory::new(1000);
        m.write(1, 10, 0, 0xffc, &[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((m.word(0xff8), m.word(0x1000)), (0x0403_0201_0000_0000, 0x0807_0605));
        m.write(2, 20, 1, 0x1000, &9u64.to_le_bytes());
        m.write(3, 30, 1, 0x1000, &9u64.to_le_bytes());
        let history: Vec<_> = m.changes(0x1000).map(|c| (c.at, c.old, c.by)).collect();
        let by = Writer::Actor(1);
        assert_eq!(history, [(2, 0x0807_0605, by), (1, 0, Writer::Actor(0))]);
        assert_eq!([1, 2, 3].map(|at| m.word_before(0x1000, at)), [0, 0x0807_0605, 9]);
    }

    #[test]
    fn forgetting_spares_what_was_walked() {
        let mut m = Memory::new(64);
        m.walked(0, 0, &[(0x8000, 0)]);
        for i in 1..=500u64 {
            m.write(i, i, 0, if i.is_multiple_of(50) { 0x8000 } else { 0x9000 + i * 8 }, &i.to_le_bytes());
        }
        assert!(m.log.len() <= 64 + 1);
        let table: Vec<_> = m.changes(0x8000).map(|c| c.at).collect();
        assert_eq!(table, [500, 450, 400, 350, 300, 250, 200, 150, 100, 50]);
        assert_eq!(m.changes(0x9000 + 8).count(), 0);
    }

    proptest! {
        /// Against a model that keeps every version of everything.
        #[test]
        fn any_past_can_be_read(writes in prop::collection::vec((0u64..8, any::<u64>()), 1..60)) {
            let mut m = Memory::new(1000);
            let mut versions = vec![[0u64; 8]];
            for (i, &(word, value)) in writes.iter().enumerate() {
                m.write(i as u64 + 1, 0, 0, word * 8, &value.to_le_bytes());
                let mut v = *versions.last().unwrap();
                v[word as usize] = value;
                versions.push(v);
            }
            for (i, version) in versions.iter().enumerate() {
                for (word, &want) in version.iter().enumerate() {
                    prop_assert_eq!(m.word_before(word as u64 * 8, i as u64 + 1), want);
                }
            }
        }
    }
}

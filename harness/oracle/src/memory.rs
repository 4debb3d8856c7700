//! The oracle's own copy of physical memory, with an undo log: any table can be read as it was at an earlier moment.

use crate::witness::{ActorId, Time};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Position in the total order of what the oracle was told.
pub(crate) type Seq = u64;

/// One word that changed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// When, in the order of records.
    pub(crate) at: Seq,
    /// When, in simulated time.
    pub(crate) time: Time,
    /// Address of the word.
    pub(crate) addr: u64,
    /// What it held before.
    pub(crate) old: u64,
    /// Who wrote.
    pub(crate) by: ActorId,
    /// Position after the previous change of the same word, 0 for none.
    prev: u32,
}

/// Sparse memory; what was never written reads as zero.
#[derive(Debug)]
pub(crate) struct Memory {
    pages: HashMap<u64, Box<Page>, BuildHasherDefault<PageHasher>>,
    log: Vec<Change>,
    log_limit: usize,
    /// The last change of a word that a walk has read.
    table_changed: Seq,
}

const WORDS: usize = 512;

#[derive(Debug)]
struct Page {
    words: [u64; WORDS],
    /// Position after the last change of each word in the log, 0 for none.
    last: [u32; WORDS],
    /// Words that a walk has read: their history outlives the limit.
    watched: [u64; WORDS / 64],
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
        Self { pages: HashMap::default(), log: Vec::new(), log_limit, table_changed: 0 }
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

    /// When a word that any walk has read last changed.
    pub(crate) fn table_changed(&self) -> Seq {
        self.table_changed
    }

    /// Keep the history of this word whatever the limit.
    pub(crate) fn watch(&mut self, addr: u64) {
        let page = self.page(addr);
        page.watched[index(addr) / 64] |= 1 << (index(addr) % 64);
    }

    /// Write bytes anywhere.
    pub(crate) fn write(&mut self, at: Seq, time: Time, by: ActorId, mut addr: u64, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let offset = (addr % 8) as usize;
            let n = bytes.len().min(8 - offset);
            let mut word = self.word(addr).to_le_bytes();
            word[offset..offset + n].copy_from_slice(&bytes[..n]);
            self.write_word(at, time, by, addr & !7, u64::from_le_bytes(word));
            addr = addr.wrapping_add(n as u64);
            bytes = &bytes[n..];
        }
    }

    fn write_word(&mut self, at: Seq, time: Time, by: ActorId, addr: u64, value: u64) {
        if self.log.len() >= self.log_limit {
            self.forget();
        }
        let position = self.log.len() as u32 + 1;
        let page = self.page(addr);
        let i = index(addr);
        if page.words[i] == value {
            return;
        }
        let change = Change { at, time, addr, old: page.words[i], by, prev: page.last[i] };
        page.last[i] = position;
        page.words[i] = value;
        let watched = page.watched[i / 64] >> (i % 64) & 1 != 0;
        self.log.push(change);
        if watched {
            self.table_changed = at;
        }
    }

    fn page(&mut self, addr: u64) -> &mut Page {
        self.pages.entry(addr >> 12).or_insert_with(|| {
            Box::new(Page { words: [0; WORDS], last: [0; WORDS], watched: [0; WORDS / 64] })
        })
    }

    /// Drop the older half of the log, except what belongs to table words. If it is nearly all table words, the limit
    /// grows instead.
    fn forget(&mut self) {
        let half = self.log.len() / 2;
        let mut kept = Vec::with_capacity(self.log.len());
        for page in self.pages.values_mut() {
            page.last = [0; WORDS];
        }
        for (i, mut change) in std::mem::take(&mut self.log).into_iter().enumerate() {
            let page = self.pages.get_mut(&(change.addr >> 12)).expect("a changed word has a page");
            let w = index(change.addr);
            if i < half && page.watched[w / 64] >> (w % 64) & 1 == 0 {
                continue;
            }
            change.prev = page.last[w];
            kept.push(change);
            page.last[w] = kept.len() as u32;
        }
        self.log = kept;
        if self.log.len() > self.log_limit / 4 * 3 {
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
        assert_eq!(history, [(2, 0x0807_0605, 1), (1, 0, 0)]);
        assert_eq!([1, 2, 3].map(|at| m.word_before(0x1000, at)), [0, 0x0807_0605, 9]);
    }

    #[test]
    fn forgetting_spares_what_was_walked() {
        let mut m = Memory::new(64);
        m.watch(0x8000);
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

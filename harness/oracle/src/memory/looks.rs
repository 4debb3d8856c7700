//! Looking at memory that changes without a word.
//!
//! Known are the words that a walk has read. What they held before the first look is not known, nor is what came and
//! went between two looks: a change gets the moment at which it is noticed, and its writer is some software. So a change
//! must be looked for before anything that is to count as later than it.
//!
//! Everything is bounded: pages of known words (the least recently walked go, and those that keep changing without being
//! walked), and the log. What went is remembered as lost, so that ignorance is not taken for evidence.

use super::{Change, Memory, Seq, WORDS, Words, Writer, index};
use crate::source::Source;
use crate::witness::Time;
use spec::smmu::descriptor::Leaf1;

/// How memory is looked at.
#[derive(Debug)]
pub(super) struct Looks {
    source: Box<dyn Source>,
    /// Numbers of the known pages, in the order in which they became known.
    known: Vec<u64>,
    /// Known pages that are kept.
    limit: usize,
    /// Some page was dropped: a page that becomes known may have been known before.
    dropped: bool,
}

/// What there is to know about a page that is looked at.
#[derive(Debug, Default)]
pub(super) struct Page {
    /// When a walk last read one of its words.
    walked: Seq,
    /// When all of it was last looked at.
    seen: Time,
    /// It was forgotten, and became known again then.
    pub(super) known_since: Seq,
    /// Words of which older changes were forgotten, and the last such change.
    lost: Words,
    lost_at: Seq,
    /// Changes since it was last walked.
    restless: usize,
}

/// Changes without a walk after which a page is no longer taken for a table.
const RESTLESS: usize = 16 * WORDS;

impl Page {
    pub(super) fn lose(&mut self, word: usize, at: Seq) {
        self.lost.add(word);
        self.lost_at = self.lost_at.max(at);
    }
}

impl Words {
    /// The smallest range that holds all.
    fn span(&self) -> std::ops::Range<usize> {
        let first = self.0.iter().position(|&w| w != 0);
        let last = self.0.iter().rposition(|&w| w != 0);
        let (Some(first), Some(last)) = (first, last) else { return 0..0 };
        let start = first * 64 + self.0[first].trailing_zeros() as usize;
        start..last * 64 + 64 - self.0[last].leading_zeros() as usize
    }
}

impl Memory {
    /// Memory that is looked at. Keeps about `log_limit` changes and `page_limit` pages of known words.
    pub(crate) fn watching(source: Box<dyn Source>, log_limit: usize, page_limit: usize) -> Self {
        let looks = Looks { source, known: Vec::new(), limit: page_limit, dropped: false };
        Self { looks: Some(looks), ..Self::new(log_limit) }
    }

    pub(crate) fn is_watching(&self) -> bool {
        self.looks.is_some()
    }

    /// The machine starts again: nothing is known, or all is zero if writes are told.
    pub(crate) fn restart(&mut self) {
        self.pages.clear();
        self.log.clear();
        self.table_changed = 0;
        if let Some(looks) = &mut self.looks {
            looks.known.clear();
            looks.dropped = false;
        }
    }

    /// Words of one page as memory holds them now; none where nothing answers.
    pub(crate) fn now<const N: usize>(&self, addr: u64) -> Option<[u64; N]> {
        let Some(looks) = &self.looks else {
            return Some(std::array::from_fn(|i| self.word(addr + 8 * i as u64)));
        };
        let mut words = [0; N];
        looks.source.read(addr, &mut words).then_some(words)
    }

    /// Whether all of these words are known.
    pub(crate) fn knows(&self, addr: u64, words: usize) -> bool {
        let Some(_) = self.looks else { return true };
        let page = self.pages.get(&(addr >> 12));
        page.is_some_and(|p| (index(addr)..index(addr) + words).all(|i| p.watched.has(i)))
    }

    /// Get to know what these words hold now; false where nothing answers.
    pub(crate) fn learn(&mut self, at: Seq, time: Time, addr: u64, words: usize) -> bool {
        let Some(looks) = &self.looks else { return true };
        let mut held = [0; WORDS];
        if !looks.source.read(addr, &mut held[..words]) {
            return false;
        }
        for (i, &word) in held[..words].iter().enumerate() {
            let addr = addr + 8 * i as u64;
            if !self.knows(addr, 1) {
                self.saw(at, time, addr, word);
            }
        }
        true
    }

    /// A walk has read these words, and what they held: from now on they are known, and their history is kept.
    pub(crate) fn walked(&mut self, at: Seq, time: Time, read: &[(u64, u64)]) {
        for &(addr, word) in read {
            self.saw(at, time, addr, word);
            let page = self.pages.get_mut(&(addr >> 12)).expect("a word that was seen has a page");
            (page.look.walked, page.look.restless) = (at, 0);
        }
        self.stay_within_bounds(false);
    }

    /// Somebody has seen a word, and what it held.
    pub(crate) fn saw(&mut self, at: Seq, time: Time, addr: u64, word: u64) {
        self.contiguous |= Leaf1([word]).contiguous();
        let page = self.pages.entry(addr >> 12).or_insert_with(|| {
            let mut page = super::Page::new();
            (page.look.walked, page.look.seen) = (at, time);
            if let Some(looks) = &mut self.looks {
                looks.known.push(addr >> 12);
                if looks.dropped {
                    (page.look.known_since, page.look.lost_at) = (at, at);
                    page.look.lost = Words([u64::MAX; WORDS / 64]);
                }
            }
            page
        });
        let i = index(addr);
        let known = page.watched.has(i);
        page.watched.add(i);
        if self.looks.is_none() || page.words[i] == word {
            return;
        }
        if known {
            let by = Writer::Software { since: page.look.seen };
            let change = Change { at, time, addr, old: 0, by, prev: 0 };
            self.log.push(page.change(i, word, self.log.len() as u32 + 1, change));
            self.table_changed = at;
        } else {
            page.words[i] = word;
        }
    }

    /// Look at all known words.
    pub(crate) fn refresh(&mut self, at: Seq, time: Time) {
        let Some(looks) = &self.looks else { return };
        let mut held = [0; WORDS];
        let mut restless = false;
        for &number in &looks.known {
            let page = self.pages.get_mut(&number).expect("what is listed is there");
            let span = page.watched.span();
            let held = &mut held[span.clone()];
            if !looks.source.read((number << 12) + 8 * span.start as u64, held) {
                continue;
            }
            if *held != page.words[span.clone()] {
                for (i, &word) in span.zip(held.iter()) {
                    if page.words[i] == word {
                        continue;
                    }
                    self.contiguous |= Leaf1([word]).contiguous();
                    if !page.watched.has(i) {
                        page.words[i] = word;
                        continue;
                    }
                    let addr = (number << 12) + 8 * i as u64;
                    let by = Writer::Software { since: page.look.seen };
                    let change = Change { at, time, addr, old: 0, by, prev: 0 };
                    self.log.push(page.change(i, word, self.log.len() as u32 + 1, change));
                    self.table_changed = at;
                    page.look.restless += 1;
                }
                restless |= page.look.restless >= RESTLESS;
            }
            page.look.seen = time;
        }
        self.stay_within_bounds(restless);
    }

    /// The last change of a word that was forgotten, if there may have been any.
    pub(crate) fn lost(&self, addr: u64) -> Option<Seq> {
        let page = self.pages.get(&(addr >> 12))?;
        page.look.lost.has(index(addr)).then_some(page.look.lost_at)
    }

    /// Stop to know pages that are no tables, if there are any, and pages that are too many; forget old changes.
    fn stay_within_bounds(&mut self, restless: bool) {
        let Some(looks) = &mut self.looks else { return };
        let many = looks.known.len() > looks.limit;
        if many || restless {
            let oldest = many.then(|| {
                let mut walked: Vec<Seq> = self.pages.values().map(|p| p.look.walked).collect();
                let quarter = walked.len() / 4;
                *walked.select_nth_unstable(quarter).1
            });
            let pages = &mut self.pages;
            looks.known.retain(|number| {
                let look = &pages[number].look;
                let keep = look.restless < RESTLESS && oldest.is_none_or(|oldest| look.walked > oldest);
                if !keep {
                    pages.remove(number);
                }
                keep
            });
            looks.dropped = true;
        }
        if self.log.len() >= self.log_limit {
            self.forget();
        }
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use crate::test::Ram;
    use std::sync::Arc;

    const PAGE: u64 = 0x8000;

    fn memory(log: usize, pages: usize) -> (Memory, Arc<Ram>) {
        let ram = Arc::new(Ram::default());
        (Memory::watching(Box::new(Arc::clone(&ram)), log, pages), ram)
    }

    fn history(m: &Memory, addr: u64) -> Vec<(Seq, u64, Writer)> {
        m.changes(addr).map(|c| (c.at, c.old, c.by)).collect()
    }

    #[test]
    fn only_known_words_have_a_past() {
        let (mut m, ram) = memory(1000, 64);
        let since = |since| Writer::Software { since };
        ram.store(PAGE, 1);
        assert!(!m.knows(PAGE, 1));
        assert!(m.learn(1, 10, PAGE, 1));
        ram.store(PAGE, 2);
        ram.store(PAGE + 8, 7);
        // What is known does not change by learning more.
        assert!(m.learn(2, 20, PAGE, 2));
        assert_eq!((m.word(PAGE), m.word(PAGE + 8), m.now(PAGE)), (1, 7, Some([2, 7])));
        m.refresh(3, 30);
        ram.store(PAGE, 3);
        ram.store(PAGE + 16, 5);
        m.refresh(4, 40);
        assert_eq!(history(&m, PAGE), [(4, 2, since(30)), (3, 1, since(10))]);
        assert_eq!((m.word(PAGE), m.table_changed(), history(&m, PAGE + 8).len()), (3, 4, 0));
        assert!(m.knows(PAGE, 2) && !m.knows(PAGE, 3));
        m.write(5, 50, 9, PAGE, &4u64.to_le_bytes());
        m.write(5, 50, 9, PAGE + 16, &4u64.to_le_bytes());
        assert_eq!(history(&m, PAGE)[0], (5, 3, Writer::Actor(9)));
        assert!(!m.knows(PAGE + 16, 1));
    }

    #[test]
    fn spans() {
        for (words, span) in [(&[][..], 0..0), (&[0], 0..1), (&[511], 511..512), (&[63, 64, 130], 63..131)] {
            let mut set = Words::default();
            words.iter().for_each(|&i| set.add(i));
            assert_eq!(set.span(), span);
        }
    }

    #[test]
    fn the_least_recently_walked_go() {
        let (mut m, ram) = memory(1000, 64);
        let page = |i: u64| PAGE + i * 0x1000;
        m.walked(1, 1, &[(page(0), 0)]);
        ram.store(page(0), 1);
        m.refresh(2, 2);
        for i in 1..=80 {
            m.walked(2 + i, 2 + i, &[(page(i), 0), (page(1), 0)]);
        }
        assert!(m.knows(page(1), 1) && m.knows(page(80), 1) && !m.knows(page(0), 1));
        assert!((40..=64).contains(&m.pages.len()), "{}", m.pages.len());
        assert_eq!((m.lost(page(0)), m.lost(page(1))), (None, None));
        // Known again, it has no past but a gap.
        m.walked(100, 100, &[(page(0), 1)]);
        m.forget();
        assert_eq!((m.lost(page(0)), history(&m, page(0))), (Some(100), vec![]));
    }

    #[test]
    fn what_changes_and_is_not_walked_is_no_table() {
        let (mut m, ram) = memory(1 << 20, 64);
        let (table, data) = (PAGE, PAGE + 0x1000);
        let words: Vec<_> = (0..512).map(|i| (data + 8 * i, 0)).collect();
        m.walked(1, 1, &words);
        m.walked(1, 1, &[(table, 0)]);
        for at in 2..=20 {
            words.iter().for_each(|w| ram.store(w.0, at));
            ram.store(table, at);
            m.refresh(at, at);
        }
        assert!(m.knows(table, 1) && !m.knows(data, 1));
        assert_eq!(m.log.len(), 16 * 512 + 19);
    }
}

//! A set-associative array with round-robin replacement: the store under every cache here.

/// Number of entries and of ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Entries in all; 0 is no cache.
    pub entries: usize,
    /// Entries per set; 0 is fully associative.
    pub ways: usize,
}

impl Shape {
    /// `entries` in sets of `ways`.
    pub const fn new(entries: usize, ways: usize) -> Self {
        Self { entries, ways }
    }
}

/// Sets of ways. A set is chosen by the caller's index, modulo the number of sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assoc<T> {
    slots: Vec<Option<T>>,
    ways: usize,
    sets: usize,
    victim: Vec<usize>,
    live: usize,
}

impl<T> Assoc<T> {
    /// An empty array. Entries that do not fill a set are left out.
    pub fn new(shape: Shape) -> Self {
        let ways = if shape.ways == 0 { shape.entries } else { shape.ways.min(shape.entries) };
        let sets = shape.entries.checked_div(ways).unwrap_or(0);
        Self { slots: (0..sets * ways).map(|_| None).collect(), ways, sets, victim: vec![0; sets], live: 0 }
    }

    /// Number of entries held.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether some entry satisfies `wanted`. Looks at all of them.
    pub fn any(&self, wanted: impl Fn(&T) -> bool) -> bool {
        self.slots.iter().flatten().any(wanted)
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Number of sets.
    pub fn sets(&self) -> usize {
        self.sets
    }

    #[inline]
    fn set(&self, index: u64) -> usize {
        // A division takes longer than all the rest.
        let sets = self.sets as u64;
        let set = if sets.is_power_of_two() { index & (sets - 1) } else { index % sets };
        set as usize
    }

    /// The entry of a set that satisfies `wanted`.
    #[inline]
    pub fn find(&self, index: u64, wanted: impl Fn(&T) -> bool) -> Option<&T> {
        if self.live == 0 {
            return None;
        }
        self.slots[self.set(index) * self.ways..][..self.ways].iter().flatten().find(|e| wanted(e))
    }

    /// Puts an entry into a set: in place of the one that is `same`, else into a free way, else in place of the oldest
    /// choice of the round robin. Returns the entry that had to go.
    pub fn insert(&mut self, index: u64, entry: T, same: impl Fn(&T) -> bool) -> Option<T> {
        if self.sets == 0 {
            return Some(entry);
        }
        let set = self.set(index);
        let ways = &mut self.slots[set * self.ways..][..self.ways];
        let way = ways.iter().position(|w| w.as_ref().is_some_and(&same));
        let way = way.or_else(|| ways.iter().position(Option::is_none)).unwrap_or_else(|| {
            let way = self.victim[set];
            self.victim[set] = (way + 1) % self.ways;
            way
        });
        let old = ways[way].replace(entry);
        self.live += usize::from(old.is_none());
        old
    }

    /// Removes the entries of one set that satisfy `goes`; says which.
    pub fn remove_in(&mut self, index: u64, goes: impl Fn(&T) -> bool, gone: impl FnMut(&T)) {
        if self.live != 0 {
            let first = self.set(index) * self.ways;
            let set = &mut self.slots[first..][..self.ways];
            Self::sweep(set, &mut self.live, goes, gone);
        }
    }

    /// Removes the entries that satisfy `goes`; says which.
    pub fn remove(&mut self, goes: impl Fn(&T) -> bool, gone: impl FnMut(&T)) {
        if self.live != 0 {
            Self::sweep(&mut self.slots, &mut self.live, goes, gone);
        }
    }

    fn sweep(slots: &mut [Option<T>], live: &mut usize, goes: impl Fn(&T) -> bool, mut gone: impl FnMut(&T)) {
        let mut unseen = *live;
        for slot in slots {
            if unseen == 0 {
                return;
            }
            unseen -= usize::from(slot.is_some());
            if let Some(entry) = slot.take_if(|e| goes(e)) {
                gone(&entry);
                *live -= 1;
            }
        }
    }

    /// The entries held, by set and way.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots.iter().flatten()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn replacement_is_round_robin() {
        let mut a = Assoc::new(Shape::new(4, 2));
        for x in [0, 2, 4, 6] {
            a.insert(x, x, |&e| e == x);
        }
        assert_eq!(a.iter().copied().collect::<Vec<_>>(), [4, 6]);
        assert_eq!(a.insert(1, 1, |_| false), None);
        a.remove(|&e| e == 4, |_| ());
        assert_eq!((a.len(), a.find(0, |&e| e == 6)), (2, Some(&6)));
        assert_eq!(a.insert(8, 8, |_| false), None, "a free way is used first");
        assert_eq!(a.insert(10, 10, |&e| e == 8), Some(8), "the same entry is replaced");
    }

    #[test]
    fn no_entries() {
        let mut a = Assoc::new(Shape::new(0, 4));
        assert_eq!(a.insert(3, 'x', |_| true), Some('x'));
        assert_eq!(a.find(3, |_| true), None);
        assert_eq!(Assoc::<u8>::new(Shape::new(8, 0)).sets(), 1);
    }
}

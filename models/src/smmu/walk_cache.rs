//! Walk caches: table descriptors of both stages, one array per stage and level.

use super::assoc::{Assoc, Shape};
use super::granule::{Granule, low_mask};
use super::rights::Hierarchy;
use super::scope::{Kind, TAG_BITS, Tag, TlbScope};

/// A table descriptor that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableEntry {
    /// Whose. Tables belong to an ASID even if the leaves below them are global.
    pub tag: Tag,
    /// First input address, bits `[55:0]`.
    pub input: u64,
    /// Granule of the tables.
    pub granule: Granule,
    /// Level of the descriptor, so that the table it points to is one level further.
    pub level: u8,
    /// The next table: a physical address, or an intermediate one if stage 1 is nested.
    pub table: u64,
    /// Restrictions of this descriptor and those above it.
    pub hierarchy: Hierarchy,
}

impl TableEntry {
    /// log2 of the bytes covered.
    pub const fn bits(&self) -> u8 {
        self.granule.shift(self.level)
    }

    fn goes(&self, scope: &TlbScope) -> bool {
        !scope.leaf_only
            && scope.covers_tag(&self.tag, false)
            && scope.region.is_none_or(|region| {
                region.granule.is_none_or(|g| g == self.granule) && region.intersects(self.input, self.bits())
            })
    }
}

/// Levels whose table descriptors can be cached; level 3 has none.
pub const LEVELS: usize = 3;

/// Six arrays: levels 0 to 2 of both stages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WalkCache {
    arrays: [[Assoc<TableEntry>; LEVELS]; 2],
}

const fn stage(kind: Kind) -> usize {
    match kind {
        Kind::Va => 0,
        Kind::Ipa => 1,
    }
}

impl WalkCache {
    /// Empty ones, by stage and level.
    pub fn new(shapes: [[Shape; LEVELS]; 2]) -> Self {
        Self { arrays: shapes.map(|levels| levels.map(Assoc::new)) }
    }

    /// Whether there is a place for the table descriptors of a stage and level.
    #[inline]
    pub fn keeps(&self, kind: Kind, level: u8) -> bool {
        self.arrays[stage(kind)][usize::from(level)].sets() != 0
    }

    /// The table descriptor of `level` that covers `addr`.
    #[inline]
    pub fn lookup(&self, tag: &Tag, granule: Granule, level: u8, addr: u64) -> Option<&TableEntry> {
        let array = &self.arrays[stage(tag.kind)][usize::from(level)];
        if array.is_empty() { None } else { Self::search(array, tag, granule, level, addr) }
    }

    fn search<'a>(
        array: &'a Assoc<TableEntry>,
        tag: &Tag,
        granule: Granule,
        level: u8,
        addr: u64,
    ) -> Option<&'a TableEntry> {
        let addr = addr & low_mask(TAG_BITS);
        let bits = granule.shift(level);
        array.find(addr >> bits, |e| {
            (addr ^ e.input) >> bits == 0 && e.granule == granule && same_owner(&e.tag, tag)
        })
    }

    /// Keeps a table descriptor.
    pub fn insert(&mut self, entry: TableEntry) {
        let array = &mut self.arrays[stage(entry.tag.kind)][usize::from(entry.level)];
        array.insert(entry.input >> entry.bits(), entry, |e| {
            e.input == entry.input && e.granule == entry.granule && same_owner(&e.tag, &entry.tag)
        });
    }

    /// Removes what `scope` covers; says how many entries.
    pub fn invalidate(&mut self, scope: &TlbScope) -> usize {
        if scope.leaf_only {
            return 0;
        }
        let before = self.len();
        for array in self.arrays.iter_mut().flatten() {
            array.remove(|e| e.goes(scope), |_| ());
        }
        before - self.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        for array in self.arrays.iter_mut().flatten() {
            array.remove(|_| true, |_| ());
        }
    }

    /// Number of entries held.
    pub fn len(&self) -> usize {
        self.arrays.iter().flatten().map(Assoc::len).sum()
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// ASET only sorts global leaves.
fn same_owner(a: &Tag, b: &Tag) -> bool {
    a.kind == b.kind && a.world == b.world && a.vmid == b.vmid && (a.kind == Kind::Ipa || a.asid == b.asid)
}

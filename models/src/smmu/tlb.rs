//! A translation look-aside buffer: leaf translations of any size, found by address and tag.

use super::assoc::{Assoc, Shape};
use super::attributes::LeafAttributes;
use super::granule::{Granule, low_mask};
use super::rights::Rights;
use super::scope::{Kind, TAG_BITS, Tag, TlbScope, World};

/// A translation of 2^`bits` bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// Whose.
    pub tag: Tag,
    /// Belongs to every ASID.
    pub global: bool,
    /// First input address, bits `[55:0]`.
    pub input: u64,
    /// First output address.
    pub output: u64,
    /// log2 of the size.
    pub bits: u8,
    /// log2 of the size of the leaf that an invalidation by address names: with both stages combined that is the
    /// stage-1 leaf, of which this entry may be a fragment.
    pub leaf_bits: u8,
    /// Level of that leaf.
    pub level: u8,
    /// Granule of that leaf's table.
    pub granule: Granule,
    /// What may be done as long as the dirty state is what it was when this was read.
    pub rights: Rights,
    /// What may be done once the hardware has recorded the dirty state: the same, unless a write needs that (the page is
    /// writable-clean).
    pub once_dirty: Rights,
    /// Memory attributes of the leaf, or of both stages' leaves together.
    pub attributes: LeafAttributes,
}

impl Entry {
    /// Whether this entry translates `addr` (bits `[55:0]`) for `tag`.
    #[inline]
    pub fn matches(&self, tag: &Tag, addr: u64) -> bool {
        (addr ^ self.input) >> self.bits == 0 && self.belongs(tag)
    }

    #[inline]
    fn belongs(&self, tag: &Tag) -> bool {
        let (mine, other) = (&self.tag, tag);
        let space = mine.kind == other.kind && mine.world == other.world && mine.vmid == other.vmid;
        let asid = match (self.global, mine.kind, mine.world) {
            (_, Kind::Ipa, _) | (_, _, World::El2) => true,
            (true, ..) => mine.aset == other.aset,
            (false, ..) => mine.asid == other.asid,
        };
        space && asid
    }

    /// Where `addr` goes.
    pub const fn translate(&self, addr: u64) -> u64 {
        self.output | addr & low_mask(self.bits)
    }

    /// Whether an invalidation removes this entry.
    pub fn goes(&self, scope: &TlbScope) -> bool {
        scope.covers_tag(&self.tag, self.global)
            && scope.region.is_none_or(|region| {
                region.granule.is_none_or(|g| g == self.granule)
                    && (region.ttl == 0 || region.ttl == self.level)
                    && region.intersects(self.input, self.leaf_bits)
            })
    }

    fn same(&self, other: &Self) -> bool {
        self.matches(&other.tag, other.input) && self.bits == other.bits && self.global == other.global
    }
}

/// Entries of one size held at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SizeClass {
    bits: u8,
    leaf_bits: u8,
    count: usize,
}

impl SizeClass {
    const fn key(&self) -> (u8, u8) {
        (self.bits, self.leaf_bits)
    }
}

fn discount(classes: &mut [SizeClass], entry: &Entry) {
    let at = classes.binary_search_by_key(&(entry.bits, entry.leaf_bits), SizeClass::key);
    classes[at.expect("every entry was counted")].count -= 1;
}

/// A set-associative TLB. The set is chosen by the address in units of the entry's size, so a lookup looks once for
/// every size that is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tlb {
    array: Assoc<Entry>,
    classes: Vec<SizeClass>,
}

impl Tlb {
    /// An empty one.
    pub fn new(shape: Shape) -> Self {
        Self { array: Assoc::new(shape), classes: Vec::new() }
    }

    /// The translation of `addr`, smallest size first.
    #[inline]
    pub fn lookup(&self, tag: &Tag, addr: u64) -> Option<&Entry> {
        if self.classes.is_empty() { None } else { self.search(tag, addr) }
    }

    fn search(&self, tag: &Tag, addr: u64) -> Option<&Entry> {
        let addr = addr & low_mask(TAG_BITS);
        let mut last = 0;
        for class in &self.classes {
            if class.bits == last {
                continue;
            }
            last = class.bits;
            let wanted = |e: &Entry| e.bits == class.bits && e.matches(tag, addr);
            if let Some(entry) = self.array.find(addr >> class.bits, wanted) {
                return Some(entry);
            }
        }
        None
    }

    /// Whether there is a place for anything.
    #[inline]
    pub fn keeps(&self) -> bool {
        self.array.sets() != 0
    }

    /// Adds a translation, in place of an older one of the same region.
    pub fn insert(&mut self, entry: Entry) {
        if self.array.sets() == 0 {
            return;
        }
        let old = self.array.insert(entry.input >> entry.bits, entry, |e| e.same(&entry));
        let key = (entry.bits, entry.leaf_bits);
        match self.classes.binary_search_by_key(&key, SizeClass::key) {
            Ok(i) => self.classes[i].count += 1,
            Err(i) => self.classes.insert(i, SizeClass { bits: key.0, leaf_bits: key.1, count: 1 }),
        }
        if let Some(old) = old {
            discount(&mut self.classes, &old);
            self.classes.retain(|c| c.count != 0);
        }
    }

    /// Removes what `scope` covers; says how many entries.
    pub fn invalidate(&mut self, scope: &TlbScope) -> usize {
        let before = self.array.len();
        let Self { array, classes } = self;
        match scope.region {
            None => array.remove(|e| e.goes(scope), |e| discount(classes, e)),
            Some(region) => {
                for i in 0..classes.len() {
                    let SizeClass { bits, leaf_bits, .. } = classes[i];
                    let first = (region.first & !low_mask(leaf_bits)) >> bits;
                    let last = (region.last | low_mask(leaf_bits)) >> bits;
                    if last - first >= array.sets() as u64 {
                        array.remove(|e| e.goes(scope), |e| discount(classes, e));
                        break;
                    }
                    for index in first..=last {
                        array.remove_in(index, |e| e.goes(scope), |e| discount(classes, e));
                    }
                }
            }
        }
        classes.retain(|c| c.count != 0);
        before - array.len()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.array.remove(|_| true, |_| ());
        self.classes.clear();
    }

    /// The entries held.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.array.iter()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn entry(input: u64, bits: u8, asid: u16) -> Entry {
        let tag = Tag { asid, ..Tag::default() };
        Entry {
            tag,
            input,
            output: 0x10_0000_0000 | input,
            bits,
            leaf_bits: bits,
            level: 3,
            ..Entry::default()
        }
    }

    #[test]
    fn sizes_and_tags() {
        let mut tlb = Tlb::new(Shape::new(16, 4));
        tlb.insert(entry(0x20_0000, 21, 1));
        tlb.insert(entry(0x40_0000, 12, 1));
        tlb.insert(Entry { global: true, ..entry(0x50_0000, 12, 7) });
        let look = |tlb: &Tlb, addr, asid| {
            let tag = Tag { asid, ..Tag::default() };
            tlb.lookup(&tag, addr).map(|e| e.translate(addr))
        };
        for (addr, asid, want) in [
            (0x3f_f123, 1, Some(0x10_003f_f123)),
            (0x40_0fff, 1, Some(0x10_0040_0fff)),
            (0x40_1000, 1, None),
            (0x40_0000, 2, None),
            (0x50_0004, 2, Some(0x10_0050_0004)),
        ] {
            assert_eq!(look(&tlb, addr, asid), want, "{addr:#x} {asid}");
        }
        tlb.clear();
        assert_eq!(look(&tlb, 0x40_0000, 1), None);
    }

    /// A 4KB fragment of a stage-1 block goes with any address of the block.
    #[test]
    fn fragments_go_with_their_leaf() {
        let mut tlb = Tlb::new(Shape::new(2048, 4));
        for page in 0..8 {
            tlb.insert(Entry { leaf_bits: 21, level: 2, ..entry(0x20_0000 + (page << 12), 12, 1) });
            tlb.insert(entry(0x40_0000 + (page << 12), 12, 1));
        }
        let scope = |addr| TlbScope {
            regime: super::super::scope::Regime::El1Va,
            vmid: Some((0, 0)),
            asid: super::super::scope::AsidMatch::Any,
            region: Some(super::super::scope::Region::address(addr)),
            leaf_only: true,
        };
        assert_eq!(tlb.invalidate(&scope(0x40_1000)), 1);
        assert_eq!(tlb.invalidate(&scope(0x3f_f000)), 8);
        assert_eq!(tlb.iter().count(), 7);
    }
}

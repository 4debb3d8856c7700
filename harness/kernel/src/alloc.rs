//! Physical pages: aligned, contiguous, lowest address first.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::errno::Errno;

/// Bytes in a page.
pub const PAGE: u64 = 4096;

/// An allocator of physical memory. Clones share it. Contents are whatever they were: who needs zeros stores them.
#[derive(Clone, Debug)]
pub struct Pages(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    /// First byte and length of every free range; neighbours are merged.
    free: BTreeMap<u64, u64>,
    used: u64,
}

impl Pages {
    /// An allocator over half-open ranges `(first, end)`, which are shrunk to whole pages.
    ///
    /// # Panics
    /// If ranges overlap.
    pub fn new(ranges: &[(u64, u64)]) -> Self {
        let mut inner = Inner { free: BTreeMap::new(), used: 0 };
        for &(first, end) in ranges {
            let (first, end) = (first.next_multiple_of(PAGE), end / PAGE * PAGE);
            if first < end {
                inner.insert(first, end - first);
            }
        }
        Self(Arc::new(Mutex::new(inner)))
    }

    /// Takes the lowest range of `bytes`, rounded up to a power of two of at least a page and aligned to that.
    ///
    /// # Errors
    /// `ENOMEM` when there is none.
    pub fn alloc(&self, bytes: u64) -> Result<u64, Errno> {
        let size = bytes.max(PAGE).next_power_of_two();
        self.alloc_aligned(size, size)
    }

    /// Takes the lowest range of `bytes`, rounded up to whole pages, aligned to `align` (a power of two).
    ///
    /// # Errors
    /// `ENOMEM` when there is none.
    pub fn alloc_aligned(&self, bytes: u64, align: u64) -> Result<u64, Errno> {
        assert!(align.is_power_of_two(), "an alignment is a power of two");
        let size = bytes.next_multiple_of(PAGE).max(PAGE);
        let align = align.max(PAGE);
        let mut inner = self.0.lock();
        let fit = inner.free.iter().find_map(|(&first, &len)| {
            let at = first.checked_next_multiple_of(align)?;
            (at.checked_add(size)? <= first + len).then_some((first, len, at))
        });
        let (first, len, at) = fit.ok_or(Errno::ENOMEM)?;
        inner.free.remove(&first);
        if at > first {
            inner.free.insert(first, at - first);
        }
        let tail = first + len - (at + size);
        if tail > 0 {
            inner.free.insert(at + size, tail);
        }
        inner.used += size;
        Ok(at)
    }

    /// Gives back what [`Pages::alloc`] returned for the same number of bytes.
    pub fn free(&self, addr: u64, bytes: u64) {
        let size = bytes.max(PAGE).next_power_of_two();
        self.free_aligned(addr, size);
    }

    /// Gives back what [`Pages::alloc_aligned`] returned for the same number of bytes.
    ///
    /// # Panics
    /// If part of it is free already.
    pub fn free_aligned(&self, addr: u64, bytes: u64) {
        let size = bytes.next_multiple_of(PAGE).max(PAGE);
        let mut inner = self.0.lock();
        inner.insert(addr, size);
        inner.used -= size;
    }

    /// Bytes that are taken.
    pub fn used(&self) -> u64 {
        self.0.lock().used
    }
}

impl Inner {
    fn insert(&mut self, mut first: u64, mut len: u64) {
        if let Some((&before, &before_len)) = self.free.range(..=first).next_back() {
            assert!(before + before_len <= first, "memory at {first:#x} was free already");
            if before + before_len == first {
                self.free.remove(&before);
                first = before;
                len += before_len;
            }
        }
        if let Some((&after, &after_len)) = self.free.range(first..).next() {
            assert!(first + len <= after, "memory at {after:#x} was free already");
            if first + len == after {
                self.free.remove(&after);
                len += after_len;
            }
        }
        self.free.insert(first, len);
    }
}

#[cfg(test)]
mod test {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lowest_first_and_aligned() {
        let pages = Pages::new(&[(0x1000, 0x1_0000), (0x20_0000, 0x40_0000)]);
        for (bytes, want) in
            [(1, 0x1000), (0x2000, 0x2000), (0x4000, 0x4000), (0x1000, 0x8000), (0x10_0000, 0x20_0000)]
        {
            assert_eq!(pages.alloc(bytes), Ok(want), "{bytes:#x}");
        }
        pages.free(0x2000, 0x2000);
        assert_eq!(pages.alloc(0x1000), Ok(0x2000));
        assert_eq!(pages.alloc(0x100_0000), Err(Errno::ENOMEM));
    }

    #[test]
    #[should_panic(expected = "free already")]
    fn a_double_free_is_noticed() {
        let pages = Pages::new(&[(0, 0x1_0000)]);
        let page = pages.alloc(PAGE).unwrap();
        pages.free(page, PAGE);
        pages.free(page, PAGE);
    }

    proptest! {
        /// Whatever was taken is disjoint, aligned and, once given back, merges to the original range.
        #[test]
        fn ranges_are_disjoint(sizes in prop::collection::vec(1_u64..0x9000, 1..40), drop in prop::collection::vec(any::<bool>(), 40)) {
            let pages = Pages::new(&[(0x10_0000, 0x20_0000)]);
            let mut held: Vec<(u64, u64)> = Vec::new();
            for (i, &bytes) in sizes.iter().enumerate() {
                let Ok(at) = pages.alloc(bytes) else { continue };
                let size = bytes.max(PAGE).next_power_of_two();
                prop_assert!(at.is_multiple_of(size));
                prop_assert!(held.iter().all(|&(a, s)| at + size <= a || a + s <= at));
                if drop[i] { pages.free(at, bytes) } else { held.push((at, size)) }
            }
            prop_assert_eq!(pages.used(), held.iter().map(|h| h.1).sum::<u64>());
            for (at, size) in held {
                pages.free(at, size);
            }
            prop_assert_eq!(pages.alloc_aligned(0x10_0000, PAGE), Ok(0x10_0000));
        }
    }
}

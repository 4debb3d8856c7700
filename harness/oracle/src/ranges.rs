//! Sets of addresses as ranges: sorted, not touching.

use std::ops::Range;

/// Whether all of `len` addresses from `addr` are in.
pub(crate) fn contains(ranges: &[Range<u64>], addr: u64, len: u64) -> bool {
    let i = ranges.partition_point(|r| r.end <= addr);
    ranges.get(i).is_some_and(|r| r.start <= addr && addr.saturating_add(len) <= r.end)
}

/// Add a range.
pub(crate) fn insert(ranges: &mut Vec<Range<u64>>, mut new: Range<u64>) {
    if new.is_empty() {
        return;
    }
    ranges.retain(|r| {
        let apart = r.end < new.start || new.end < r.start;
        if !apart {
            new = new.start.min(r.start)..new.end.max(r.end);
        }
        apart
    });
    let i = ranges.partition_point(|r| r.start < new.start);
    ranges.insert(i, new);
}

/// Take a range out.
pub(crate) fn remove(ranges: &mut Vec<Range<u64>>, gone: Range<u64>) {
    if gone.is_empty() {
        return;
    }
    let cut = |r: Range<u64>| [r.start..r.end.min(gone.start), r.start.max(gone.end)..r.end];
    *ranges = ranges.drain(..).flat_map(cut).filter(|r| r.start < r.end).collect();
}

#[cfg(test)]
mod test {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// Against a set of single addresses.
        #[test]
        fn behave_like_a_set(steps in prop::collection::vec((any::<bool>(), 0u64..40, 0u64..12), 1..30)) {
            let (mut ranges, mut set) = (Vec::new(), BTreeSet::new());
            for (add, start, len) in steps {
                if add {
                    insert(&mut ranges, start..start + len);
                    set.extend(start..start + len);
                } else {
                    remove(&mut ranges, start..start + len);
                    set.retain(|a| !(start..start + len).contains(a));
                }
                for a in 0..52 {
                    prop_assert_eq!(contains(&ranges, a, 1), set.contains(&a));
                    prop_assert_eq!(contains(&ranges, a, 3), (a..a + 3).all(|b| set.contains(&b)));
                }
            }
        }
    }
}

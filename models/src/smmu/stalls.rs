//! Stalled transactions: which wait for CMD_RESUME under which tag, and which could not be reported yet (IHI 0070, 3.12.2).

use bitvec::vec::BitVec;

/// Transactions of type `T` that wait.
#[derive(Clone, Debug)]
pub struct Stalls<T> {
    held: Vec<Held<T>>,
    /// Tags in use.
    tags: BitVec,
    /// Of `held`, those with a tag.
    recorded: usize,
}

#[derive(Clone, Debug)]
struct Held<T> {
    sid: u32,
    /// `None` while no record could be written.
    stag: Option<u16>,
    transaction: T,
}

impl<T> Default for Stalls<T> {
    fn default() -> Self {
        Self { held: Vec::new(), tags: BitVec::new(), recorded: 0 }
    }
}

impl<T> Stalls<T> {
    /// Number of transactions held.
    pub fn len(&self) -> usize {
        self.held.len()
    }
    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Holds a transaction of stream `sid`. Says under which tag, which is the lowest free one; or nothing, if fewer than
    /// this one may be held (`stall_max`) or no record of it can be written: it then waits until that is worth another try.
    pub fn hold(&mut self, sid: u32, transaction: T, stall_max: u16, recordable: bool) -> Option<u16> {
        let room = self.recorded < usize::from(stall_max);
        let stag = (room && recordable).then(|| self.take_tag());
        self.held.push(Held { sid, stag, transaction });
        stag
    }

    fn take_tag(&mut self) -> u16 {
        let tag = self.tags.first_zero().unwrap_or(self.tags.len());
        if tag == self.tags.len() {
            self.tags.push(true);
        } else {
            self.tags.set(tag, true);
        }
        self.recorded += 1;
        tag.try_into().expect("STALL_MAX is below the number of tags")
    }

    fn free(&mut self, held: Held<T>) -> T {
        if let Some(tag) = held.stag {
            self.tags.set(tag.into(), false);
            self.recorded -= 1;
        }
        held.transaction
    }

    /// Lets go of those whose stall could not be recorded, oldest first.
    pub fn unrecorded(&mut self) -> impl Iterator<Item = T> + use<'_, T> {
        let all = self.recorded == self.held.len();
        let end = if all { 0 } else { self.held.len() };
        self.held.extract_if(..end, |held| held.stag.is_none()).map(|held| held.transaction)
    }

    /// Lets go of the one that CMD_RESUME names.
    pub fn resume(&mut self, sid: u32, stag: u16) -> Option<T> {
        let at = self.held.iter().position(|held| held.stag == Some(stag) && held.sid == sid)?;
        let held = self.held.remove(at);
        Some(self.free(held))
    }

    /// Lets go of all that belong to the streams chosen, recorded or not, oldest first.
    pub fn terminate(&mut self, chosen: impl Fn(u32) -> bool) -> Vec<T> {
        let ended: Vec<_> = self.held.extract_if(.., |held| chosen(held.sid)).collect();
        ended.into_iter().map(|held| self.free(held)).collect()
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn tags_are_reused_from_the_lowest() {
        let mut stalls = Stalls::default();
        for (name, stag) in [('a', Some(0)), ('b', Some(1)), ('c', Some(2)), ('d', None)] {
            assert_eq!(stalls.hold(5, name, 3, true), stag, "{name}");
        }
        assert_eq!((stalls.resume(6, 1), stalls.resume(5, 3)), (None, None), "no such stream, no such tag");
        assert_eq!(stalls.resume(5, 1), Some('b'));
        assert_eq!(stalls.unrecorded().collect::<String>(), "d");
        assert_eq!((stalls.hold(7, 'e', 3, true), stalls.hold(7, 'f', 3, true)), (Some(1), None));
        assert_eq!(stalls.terminate(|sid| sid == 7), ['e', 'f']);
        assert_eq!((stalls.hold(7, 'g', 3, false), stalls.hold(7, 'h', 3, true)), (None, Some(1)));
        assert_eq!(stalls.len(), 4);
    }
}

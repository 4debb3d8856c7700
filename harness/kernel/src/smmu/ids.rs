//! Small numbers that are given out and taken back: ASIDs, VMIDs.

use std::collections::BTreeSet;

use parking_lot::Mutex;

use crate::errno::Errno;

/// An allocator of `first..end`, lowest first.
#[derive(Debug)]
pub struct Ids {
    first: u32,
    end: u32,
    used: Mutex<BTreeSet<u32>>,
}

impl Ids {
    /// Everything in `first..end` is free.
    pub fn new(first: u32, end: u32) -> Self {
        Self { first, end, used: Mutex::default() }
    }
    /// Takes the lowest free number.
    ///
    /// # Errors
    /// `ENOSPC`.
    pub fn alloc(&self) -> Result<u16, Errno> {
        let mut used = self.used.lock();
        let id = (self.first..self.end).find(|id| !used.contains(id)).ok_or(Errno::ENOSPC)?;
        used.insert(id);
        Ok(id as u16)
    }
    /// Gives a number back.
    pub fn free(&self, id: u16) {
        assert!(self.used.lock().remove(&id.into()), "{id} was not taken");
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn lowest_first() {
        let ids = Ids::new(1, 4);
        assert_eq!(
            [ids.alloc(), ids.alloc(), ids.alloc(), ids.alloc()],
            [Ok(1), Ok(2), Ok(3), Err(Errno::ENOSPC)]
        );
        ids.free(2);
        assert_eq!(ids.alloc(), Ok(2));
    }
}

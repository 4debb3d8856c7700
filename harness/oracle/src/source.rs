//! Memory that the oracle looks at, because nobody tells of writes to it.

use std::fmt;
use std::sync::Arc;

/// Physical memory that somebody else writes to at any time.
pub trait Source: fmt::Debug + Send {
    /// Fills `words` with what memory holds now from `addr` on, each read whole and in one piece. The address is a
    /// multiple of 8 and the words lie within one page of 4KB. False, with `words` as they were or not, where nothing
    /// answers.
    fn read(&self, addr: u64, words: &mut [u64]) -> bool;
}

impl<T: Source + Sync + ?Sized> Source for Arc<T> {
    fn read(&self, addr: u64, words: &mut [u64]) -> bool {
        (**self).read(addr, words)
    }
}

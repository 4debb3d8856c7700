//! A command queue as its registers show it: when does software hand over what?

/// Base, indices and enable of a command queue. Indices carry the wrap bit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ring {
    log2size: u8,
    prod: u32,
    cons: u32,
    enabled: bool,
}

/// What a change of a [`Ring`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The queue begins at CONS; everything up to PROD is handed over.
    Restarted { cons: u32, prod: u32, log2size: u8 },
    /// Everything up to PROD is handed over.
    Produced { prod: u32, log2size: u8 },
}

impl Ring {
    fn mask(&self) -> u32 {
        (2 << self.log2size) - 1
    }

    /// `most` is the largest log2 of the number of entries.
    pub(super) fn set_log2size(&mut self, log2size: u64, most: u64) {
        self.log2size = log2size.min(most).min(19) as u8;
    }

    pub(super) fn set_cons(&mut self, cons: u64) {
        self.cons = cons as u32;
    }

    pub(super) fn set_prod(&mut self, prod: u64) -> Option<Change> {
        self.prod = prod as u32;
        let (prod, log2size) = (self.prod & self.mask(), self.log2size);
        self.enabled.then_some(Change::Produced { prod, log2size })
    }

    pub(super) fn set_enabled(&mut self, enabled: bool) -> Option<Change> {
        let begins = enabled && !self.enabled;
        self.enabled = enabled;
        let (cons, prod) = (self.cons & self.mask(), self.prod & self.mask());
        begins.then_some(Change::Restarted { cons, prod, log2size: self.log2size })
    }

    /// CONS passed the entry with this index.
    pub(super) fn consumed(&mut self, index: u32) {
        let entries = 1 << self.log2size;
        // The wrap bit changes with the last entry.
        let wrap = self.cons & entries;
        self.cons = ((wrap | index & (entries - 1)) + 1) & self.mask();
    }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn hands_over_while_enabled() {
        let mut r = Ring::default();
        r.set_log2size(9, 2);
        let restarted = |cons, prod| Some(Change::Restarted { cons, prod, log2size: 2 });
        let produced = |prod| Some(Change::Produced { prod, log2size: 2 });
        assert_eq!(r.set_prod(1), None, "not enabled");
        assert_eq!(r.set_enabled(true), restarted(0, 1));
        assert_eq!(r.set_enabled(true), None);
        assert_eq!(r.set_prod(4 | 0x100), produced(4), "no more than the index and its wrap bit");
        (0..4).for_each(|i| r.consumed(i));
        assert_eq!(r.set_prod(7), produced(7));
        (0..2).for_each(|i| r.consumed(i));
        r.set_enabled(false);
        assert_eq!(r.set_enabled(true), restarted(6, 7), "it goes on where it stopped");
        r.set_enabled(false);
        r.set_cons(0);
        r.set_prod(0);
        assert_eq!(r.set_enabled(true), restarted(0, 0));
    }
}

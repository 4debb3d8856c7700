//! The MSI that a device sends: a DMA write like any other, but never by a translated address.

use super::engine::{Engine, Transfer, Work};

/// Where an MSI goes and what it says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    /// Input address, on a word.
    pub addr: u64,
    pub data: u32,
}

impl Message {
    pub(super) fn send(&self, engine: &mut Engine) {
        engine.counters.messages += 1;
        engine.start(Transfer {
            write: true,
            iova: self.addr,
            len: 4,
            pattern: self.data.to_le_bytes().to_vec(),
            untranslated: true,
            ..Transfer::of_device(Work::Message)
        });
    }
}

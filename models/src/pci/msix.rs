//! MSI-X: the table and the pending bits, which lie in a BAR (PCI Express Base 5.0, 7.7.2).

use super::msi::Message;

/// Message control.
pub(super) const FLAGS: u16 = 2;
/// Message control: all vectors are masked.
pub(super) const FLAGS_MASKALL: u16 = 1 << 14;
/// Message control: messages may be sent.
pub(super) const FLAGS_ENABLE: u16 = 1 << 15;
/// Where the table is: offset, with the number of the BAR in its low bits.
pub(super) const TABLE: u16 = 4;
/// Where the pending bits are.
pub(super) const PBA: u16 = 8;
/// Bytes of the capability.
pub(super) const SIZE: u16 = 12;

/// Bytes of a table entry: address, data, vector control.
pub const ENTRY_SIZE: u64 = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    addr: u64,
    data: u32,
    masked: bool,
}

/// After reset a vector is masked.
const RESET: Entry = Entry { addr: 0, data: 0, masked: true };

/// The table and the pending bits of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MsixTable {
    entries: Vec<Entry>,
    pending: u64,
}

impl MsixTable {
    /// A table of so many vectors, at most 64, after reset.
    pub fn new(vectors: u16) -> Self {
        assert!((1..=64).contains(&vectors), "{vectors} vectors");
        Self { entries: vec![RESET; vectors.into()], pending: 0 }
    }
    /// Back to the values after reset.
    pub fn reset(&mut self) {
        self.entries.fill(RESET);
        self.pending = 0;
    }

    /// Reads the table, in 32-bit words; anything else reads as zero.
    pub fn read(&self, offset: u64, into: &mut [u8]) {
        into.fill(0);
        if !offset.is_multiple_of(4) {
            return;
        }
        for (i, word) in into.as_chunks_mut::<4>().0.iter_mut().enumerate() {
            *word = self.word(offset + 4 * i as u64).to_le_bytes();
        }
    }

    fn word(&self, offset: u64) -> u32 {
        let Some(entry) = self.entries.get((offset / ENTRY_SIZE) as usize) else { return 0 };
        match offset % ENTRY_SIZE {
            0 => entry.addr as u32,
            4 => (entry.addr >> 32) as u32,
            8 => entry.data,
            _ => entry.masked.into(),
        }
    }

    /// Writes the table, in 32-bit words.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) {
        if !offset.is_multiple_of(4) {
            return;
        }
        for (i, word) in bytes.as_chunks::<4>().0.iter().enumerate() {
            let (offset, value) = (offset + 4 * i as u64, u32::from_le_bytes(*word));
            let Some(entry) = self.entries.get_mut((offset / ENTRY_SIZE) as usize) else { return };
            match offset % ENTRY_SIZE {
                0 => entry.addr = entry.addr & !0xffff_ffff | u64::from(value & !3),
                4 => entry.addr = entry.addr & 0xffff_ffff | u64::from(value) << 32,
                8 => entry.data = value,
                _ => entry.masked = value & 1 != 0,
            }
        }
    }

    /// Reads the pending bits, which software cannot write.
    pub fn read_pending(&self, offset: u64, into: &mut [u8]) {
        let bytes = self.pending.to_le_bytes();
        for (i, byte) in into.iter_mut().enumerate() {
            *byte = usize::try_from(offset).ok().and_then(|at| bytes.get(at + i)).copied().unwrap_or(0);
        }
    }

    /// An interrupt of this vector is due. `masked`: message control masks all.
    pub(super) fn raise(&mut self, vector: u16, masked: bool) -> Option<Message> {
        let entry = self.entries.get(usize::from(vector))?;
        if masked || entry.masked {
            self.pending |= 1 << vector;
            return None;
        }
        Some(Message { addr: entry.addr, data: entry.data })
    }

    /// The message of a vector that is pending and not masked.
    pub(super) fn unmasked(&mut self) -> Option<Message> {
        let due = |v: &usize| self.pending >> v & 1 != 0 && !self.entries[*v].masked;
        let vector = (0..self.entries.len()).find(due)?;
        self.pending &= !(1 << vector);
        let Entry { addr, data, .. } = self.entries[vector];
        Some(Message { addr, data })
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn word(table: &MsixTable, offset: u64) -> u32 {
        let mut bytes = [0; 4];
        table.read(offset, &mut bytes);
        u32::from_le_bytes(bytes)
    }

    #[test]
    fn entries() {
        let mut table = MsixTable::new(3);
        assert_eq!([0, 4, 8, 12].map(|at| word(&table, at)), [0, 0, 0, 1]);
        table.write(16, &[0x43, 0, 2, 8, 1, 0, 0, 0]);
        table.write(24, &[0x50, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!([16, 20, 24, 28].map(|at| word(&table, at)), [0x0802_0040, 1, 0x50, 1]);
        table.write(48, &[1; 16]);
        table.write(18, &[1; 4]);
        assert_eq!([48, 16].map(|at| word(&table, at)), [0, 0x0802_0040]);
    }

    #[test]
    fn masks_and_pending_bits() {
        let mut table = MsixTable::new(2);
        table.write(0, &[0x40, 0, 2, 8, 0, 0, 0, 0, 0x51, 0, 0, 0]);
        let message = Some(Message { addr: 0x0802_0040, data: 0x51 });
        assert_eq!(table.raise(0, false), None, "masked after reset");
        let mut pending = [0; 4];
        table.read_pending(0, &mut pending);
        assert_eq!((pending, table.unmasked()), ([1, 0, 0, 0], None));
        table.write(12, &[0; 4]);
        assert_eq!([table.unmasked(), table.unmasked()], [message, None]);
        assert_eq!(
            [table.raise(0, false), table.raise(0, true), table.raise(7, false)],
            [message, None, None]
        );
        assert_eq!([table.unmasked(), table.unmasked()], [message, None]);
        table.reset();
        assert_eq!(table, MsixTable::new(2));
    }
}

//! What the controller needs from outside: memory and interrupts, and somewhere to keep blocks.

use crate::memory::PhysMem;

/// A DMA that did not reach memory: a translation fault, an abort, or nothing there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused;

/// The function's way to the host. No access crosses a page of CC.MPS, which has at least 4 KiB.
pub trait Port {
    /// Reads host memory.
    ///
    /// # Errors
    /// [`Refused`]; the buffer may hold anything then.
    fn dma_read(&mut self, iova: u64, into: &mut [u8]) -> Result<(), Refused>;

    /// Writes host memory. Of the 16 bytes of a completion queue entry the host may look at the last four first, so
    /// those must not become visible before the others.
    ///
    /// # Errors
    /// [`Refused`]; some bytes may have been written.
    fn dma_write(&mut self, iova: u64, bytes: &[u8]) -> Result<(), Refused>;

    /// Sends the message of an interrupt vector. Every write before it must be visible first.
    fn interrupt(&mut self, vector: u16);
}

/// The medium failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaError;

/// Where the blocks are. Addresses are in bytes; the controller stays within [`Storage::size_bytes`].
pub trait Storage {
    /// Its size; must not change. Bytes beyond the last whole block are not used.
    fn size_bytes(&self) -> u64;

    /// Copies bytes out.
    ///
    /// # Errors
    /// The bytes cannot be read.
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), MediaError>;

    /// Copies bytes in.
    ///
    /// # Errors
    /// The bytes cannot be written.
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), MediaError>;

    /// Makes bytes read as zero from now on, for Write Zeroes and deallocation.
    ///
    /// # Errors
    /// The bytes cannot be written.
    fn zero(&mut self, at: u64, len: u64) -> Result<(), MediaError>;

    /// Makes everything written so far permanent.
    ///
    /// # Errors
    /// Something written may get lost.
    fn flush(&mut self) -> Result<(), MediaError>;
}

/// Blocks in sparse memory. It never fails.
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    bytes: PhysMem,
    size: u64,
}

impl MemoryStorage {
    /// So many bytes, all zero.
    pub fn new(size_bytes: u64) -> Self {
        Self { bytes: PhysMem::new(), size: size_bytes }
    }
    /// The bytes, for looking at them or for loading an image.
    pub fn bytes_mut(&mut self) -> &mut PhysMem {
        &mut self.bytes
    }
}

impl Storage for MemoryStorage {
    fn size_bytes(&self) -> u64 {
        self.size
    }
    fn read(&mut self, at: u64, into: &mut [u8]) -> Result<(), MediaError> {
        self.bytes.read(at, into);
        Ok(())
    }
    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), MediaError> {
        self.bytes.write(at, bytes);
        Ok(())
    }
    fn zero(&mut self, at: u64, len: u64) -> Result<(), MediaError> {
        self.bytes.zero(at, len);
        Ok(())
    }
    fn flush(&mut self) -> Result<(), MediaError> {
        Ok(())
    }
}

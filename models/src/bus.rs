//! Bus transactions: what every requester and completer speaks.

use std::fmt;

use crate::smmu::Attributes;

/// A physical address.
pub type PhysAddr = u64;

/// Bytes in a cache line; the most that one transaction carries.
pub const LINE: usize = 64;

/// Up to [`LINE`] bytes, carried in the message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Data {
    bytes: [u8; LINE],
    len: u8,
}

impl Data {
    /// No bytes.
    pub const EMPTY: Self = Self { bytes: [0; LINE], len: 0 };

    /// Copies `bytes`. Panics on more than [`LINE`].
    #[inline]
    pub fn new(bytes: &[u8]) -> Self {
        assert!(bytes.len() <= LINE, "a transaction carries at most a line");
        let mut data = Self::EMPTY;
        data.bytes[..bytes.len()].copy_from_slice(bytes);
        data.len = bytes.len() as u8;
        data
    }
    /// `len` bytes that `fill` provides. Panics on more than [`LINE`].
    ///
    /// # Errors
    /// Those of `fill`.
    #[inline]
    pub fn filled<E>(len: usize, fill: impl FnOnce(&mut [u8]) -> Result<(), E>) -> Result<Self, E> {
        let mut data = Self::EMPTY;
        fill(&mut data.bytes[..len])?;
        data.len = len as u8;
        Ok(data)
    }
    /// Four bytes, little-endian.
    pub fn u32(value: u32) -> Self {
        Self::new(&value.to_le_bytes())
    }
    /// Eight bytes, little-endian.
    pub fn u64(value: u64) -> Self {
        Self::new(&value.to_le_bytes())
    }
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
    /// Number of bytes.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }
    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// The first eight bytes as a little-endian number, zero-extended when there are fewer.
    pub fn value(&self) -> u64 {
        let mut word = [0; 8];
        let n = self.len().min(8);
        word[..n].copy_from_slice(&self.bytes[..n]);
        u64::from_le_bytes(word)
    }
    /// The 64-bit little-endian words; a tail of fewer than eight bytes is left out.
    pub fn words(&self) -> impl Iterator<Item = u64> + '_ {
        self.bytes().chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("eight bytes")))
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.bytes().iter().rev().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// What a transaction does. It must not cross a [`LINE`] boundary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Reads `len` bytes (1..=[`LINE`]).
    Read {
        /// Number of bytes.
        len: u8,
    },
    /// Writes the bytes.
    Write(Data),
    /// 64-bit compare and swap; answers the value found.
    CompareSwap {
        /// Written only if this is found.
        expected: u64,
        /// What to write.
        new: u64,
    },
    /// 64-bit fetch and add; answers the value found.
    FetchAdd(u64),
    /// 64-bit swap; answers the value found.
    Swap(u64),
}

impl Op {
    /// Number of bytes touched.
    pub fn len(&self) -> usize {
        match self {
            Self::Read { len } => usize::from(*len),
            Self::Write(data) => data.len(),
            Self::CompareSwap { .. } | Self::FetchAdd(_) | Self::Swap(_) => 8,
        }
    }
    /// Whether no bytes are touched.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether memory may change.
    pub fn writes(&self) -> bool {
        !matches!(self, Self::Read { .. })
    }
}

/// Who started a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requester {
    /// A CPU, by index.
    Cpu(u16),
    /// A pSMMU, by index: its walks, queues, CMDQV fetches and forwarded DMA.
    Psmmu(u16),
    /// A set of SMMUv2 instances behind one driver, by its number among the pSMMUs: walks and forwarded DMA.
    Pair(u16),
}

/// A request on the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Where the response goes.
    pub from: Requester,
    /// Chosen by the requester, returned in the response.
    pub tag: u32,
    /// First byte.
    pub addr: PhysAddr,
    /// What to do.
    pub op: Op,
    /// With which memory attributes.
    pub attributes: Attributes,
}

/// The completer refused: nothing at that address, or an injected fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort;

/// The answer to a [`Transaction`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    /// Who asked.
    pub to: Requester,
    /// The tag of the request.
    pub tag: u32,
    /// Bytes read or the old value of an atomic; empty after a write.
    pub result: Result<Data, Abort>,
}

impl Transaction {
    /// One to coherent memory.
    pub const fn new(from: Requester, tag: u32, addr: PhysAddr, op: Op) -> Self {
        Self { from, tag, addr, op, attributes: Attributes::COHERENT }
    }

    /// The response to this transaction.
    pub fn respond(&self, result: Result<Data, Abort>) -> Response {
        Response { to: self.from, tag: self.tag, result }
    }
}

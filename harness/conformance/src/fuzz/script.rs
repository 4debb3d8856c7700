//! Bytes as a script: what is missing is zero, so that every input means something.

use super::ground;

/// What a step does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    /// Writes a register of the SMMU.
    Register,
    /// Reads one.
    Read,
    /// Writes a register of the CMDQV.
    Virtual,
    /// Reads one.
    VirtualRead,
    /// Sets everything up as a driver does.
    Boot,
    /// Sets up and enables a VCMDQ.
    Open,
    /// Changes CR0 and IRQ_CTRL.
    Enable,
    /// A transaction of a device.
    Dma,
    /// A page request of a device.
    Page,
    /// Sends sensible commands by the SMMU's own queue.
    Commands,
    /// Sends any sixteen bytes by it.
    Raw,
    /// Sends commands by a VCMDQ.
    Guest,
    /// Moves CMDQ_PROD anywhere.
    Produce,
    /// Writes a word anywhere in memory.
    Place,
    /// Changes a bit of a structure or table.
    Flip,
    /// Changes a field of an STE or CD.
    Field,
    /// Invalidates everything.
    Forget,
    /// Acknowledges errors and takes the Event records.
    Acknowledge,
    /// Resumes or terminates what is stalled.
    Resume,
    /// Devices stop answering ATC invalidations, or begin again.
    Mute,
    /// Memory aborts at one more address, or nowhere.
    Break,
    /// The next steps do not wait for those before them.
    Hurry,
}

/// What is left of an input.
pub(super) struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }
    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The next byte.
    pub(super) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }
    /// The next `bytes` bytes, little-endian.
    fn number(&mut self, bytes: u32) -> u64 {
        (0..bytes).fold(0, |all, i| all | u64::from(self.byte()) << (8 * i))
    }
    /// One of these.
    pub(super) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::from(self.byte()) % all.len()]
    }
    /// True once in `n` times.
    pub(super) fn once_in(&mut self, n: u8) -> bool {
        self.byte().is_multiple_of(n)
    }
    /// One of these offsets, or any of `bytes` bytes.
    pub(super) fn offset(&mut self, known: &[u64], bytes: u32) -> u64 {
        match self.byte() {
            0xff => self.number(bytes),
            n => known[usize::from(n) % known.len()],
        }
    }
    /// Size of a register access, mostly that of its register.
    pub(super) fn size(&mut self, usual: u8) -> u8 {
        match self.byte() {
            0..0xc0 => usual,
            n => [4, 8, 1, 2][usize::from(n & 3)],
        }
    }
    /// A number that means something somewhere.
    pub(super) fn value(&mut self) -> u64 {
        match self.byte() {
            n @ 0..0x40 => n.into(),
            n @ 0x40..0x80 => 1 << (n & 63),
            n @ 0x80..0xc0 => ground::BASE + (u64::from(n & 63) << 10) + self.number(1),
            0xc0..0xd0 => u64::MAX,
            0xd0..0xe0 => self.number(2),
            0xe0..0xf0 => self.number(4),
            0xf0..=0xff => self.number(8),
        }
    }
    /// The address of a word in memory.
    pub(super) fn place(&mut self) -> u64 {
        ground::BASE + (self.number(2) & ground::MASK & !7)
    }
}

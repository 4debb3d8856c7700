//! Layouts of the NVMe-like device (a subset of NVM Express Base 1.4): registers, submission and completion entries.

/// Controller Capabilities, 64 bits.
pub const CAP: u64 = 0x00;
/// Version.
pub const VS: u64 = 0x08;
/// Controller Configuration: EN\[0\].
pub const CC: u64 = 0x14;
/// Controller Status: RDY\[0\], CFS\[1\].
pub const CSTS: u64 = 0x1c;
/// Sizes of the queues, less one: submission \[11:0\], completion \[27:16\].
pub const AQA: u64 = 0x24;
/// Address of the submission queue, 64 bits, page-aligned.
pub const ASQ: u64 = 0x28;
/// Address of the completion queue, 64 bits, page-aligned.
pub const ACQ: u64 = 0x30;
/// Doorbell: tail of the submission queue.
pub const SQ_TAIL: u64 = 0x1000;
/// Doorbell: head of the completion queue.
pub const CQ_HEAD: u64 = 0x1004;
/// MSI-X vector 0: address (64 bits), data, control (masked\[0\]).
pub const MSIX: u64 = 0x2000;

/// Bytes of a submission entry.
pub const SQE: usize = 64;
/// Bytes of a completion entry.
pub const CQE: usize = 16;
/// Bytes of a memory page.
pub const PAGE: u64 = 4096;
/// Bytes of a logical block.
pub const BLOCK: u64 = 512;

/// CC.EN.
pub(super) const CC_EN: u32 = 1 << 0;
/// CSTS.RDY.
pub(super) const CSTS_RDY: u32 = 1 << 0;
/// CSTS.CFS.
pub(super) const CSTS_CFS: u32 = 1 << 1;
/// Masks MSI-X vector 0.
pub(super) const MSIX_MASKED: u32 = 1 << 0;
/// CAP: MQES\[15:0\] = 4095, CQR\[16\], TO\[31:24\] = 1 (500 ms), CSS\[37\] = NVM command set.
pub(super) const CAP_VALUE: u64 = 0xfff | 1 << 16 | 1 << 24 | 1 << 37;
/// Version 1.4.
pub(super) const VS_VALUE: u32 = 0x0001_0400;

/// AQA to entries in the submission and the completion queue.
pub(super) fn queue_sizes(aqa: u32) -> (u32, u32) {
    ((aqa & 0xfff) + 1, ((aqa >> 16) & 0xfff) + 1)
}

/// Flush.
pub const FLUSH: u8 = 0x00;
/// Write.
pub const WRITE: u8 = 0x01;
/// Read.
pub const READ: u8 = 0x02;

/// A submission entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submission {
    /// What to do.
    pub opcode: u8,
    /// Command identifier.
    pub cid: u16,
    /// Namespace; there is one, number 1.
    pub nsid: u32,
    /// First page: any word in it.
    pub prp1: u64,
    /// Second page, if needed: its first byte.
    pub prp2: u64,
    /// First block.
    pub slba: u64,
    /// Number of blocks less one.
    pub nlb: u16,
}

impl Submission {
    /// As it is in memory.
    pub fn encode(&self) -> [u8; SQE] {
        let mut raw = [0; SQE];
        raw[0] = self.opcode;
        raw[2..4].copy_from_slice(&self.cid.to_le_bytes());
        raw[4..8].copy_from_slice(&self.nsid.to_le_bytes());
        raw[24..32].copy_from_slice(&self.prp1.to_le_bytes());
        raw[32..40].copy_from_slice(&self.prp2.to_le_bytes());
        raw[40..48].copy_from_slice(&self.slba.to_le_bytes());
        raw[48..50].copy_from_slice(&self.nlb.to_le_bytes());
        raw
    }
    /// From memory.
    pub fn decode(raw: &[u8; SQE]) -> Self {
        let half = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
        let word = |at: usize| u32::from(half(at)) | u32::from(half(at + 2)) << 16;
        let double = |at: usize| u64::from(word(at)) | u64::from(word(at + 4)) << 32;
        Self {
            opcode: raw[0],
            cid: half(2),
            nsid: word(4),
            prp1: double(24),
            prp2: double(32),
            slba: double(40),
            nlb: half(48),
        }
    }
}

/// How a command ended: status code of a completion entry, type 0 (generic).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Success = 0x00,
    /// No such opcode.
    InvalidOpcode = 0x01,
    /// More than two pages.
    InvalidField = 0x02,
    /// Memory could not be read or written.
    DataTransfer = 0x04,
    /// No such namespace.
    InvalidNamespace = 0x0b,
    /// PRP1 not on a word, or PRP2 not on a page.
    InvalidPrpOffset = 0x13,
    /// Beyond the end.
    LbaOutOfRange = 0x80,
}

/// A completion entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Completion {
    /// Head of the submission queue.
    pub sq_head: u16,
    /// Command identifier.
    pub cid: u16,
    /// Flips at every round of the queue; true in the first.
    pub phase: bool,
    /// Status code; 0 is success.
    pub status: u8,
}

impl Completion {
    /// As it is in memory.
    pub fn encode(&self) -> [u8; CQE] {
        let mut raw = [0; CQE];
        raw[8..10].copy_from_slice(&self.sq_head.to_le_bytes());
        raw[12..14].copy_from_slice(&self.cid.to_le_bytes());
        let status = u16::from(self.phase) | u16::from(self.status) << 1;
        raw[14..16].copy_from_slice(&status.to_le_bytes());
        raw
    }
    /// From memory.
    pub fn decode(raw: &[u8; CQE]) -> Self {
        let half = |at: usize| u16::from_le_bytes([raw[at], raw[at + 1]]);
        let status = half(14);
        Self { sq_head: half(8), cid: half(12), phase: status & 1 != 0, status: (status >> 1) as u8 }
    }
}

#[cfg(test)]
mod test {
    use super::*;

    /// Word by word, as the Linux driver's `struct nvme_rw_command` lays them out.
    #[test]
    fn entries_are_where_drivers_put_them() {
        let entry = Submission {
            opcode: WRITE,
            cid: 0x1234,
            nsid: 1,
            prp1: 0x1_2000_0040,
            prp2: 0x1_3000_0000,
            slba: 0x5_0000_0006,
            nlb: 7,
        };
        let raw = entry.encode();
        assert_eq!(Submission::decode(&raw), entry);
        let words: Vec<u32> =
            raw.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().expect("four bytes"))).collect();
        let mut want = [0_u32; 16];
        for (at, word) in [
            (0, 0x1234_0001),
            (1, 1),
            (6, 0x2000_0040),
            (7, 1),
            (8, 0x3000_0000),
            (9, 1),
            (10, 6),
            (11, 5),
            (12, 7),
        ] {
            want[at] = word;
        }
        assert_eq!(words, want);

        let entry = Completion { sq_head: 3, cid: 0x1234, phase: true, status: 0x80 };
        let raw = entry.encode();
        assert_eq!(Completion::decode(&raw), entry);
        assert_eq!(raw, [0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0x34, 0x12, 0x01, 0x01]);
    }
}

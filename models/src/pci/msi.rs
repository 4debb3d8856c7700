//! MSI with 64-bit addresses and a mask bit for each vector (PCI Express Base 5.0, 7.7.1).

/// Message control.
pub(super) const FLAGS: u16 = 2;
/// Message control: messages may be sent.
pub(super) const FLAGS_ENABLE: u16 = 1 << 0;
/// Message control: log2 of the vectors that software allows.
pub(super) const FLAGS_QSIZE: u16 = 7 << 4;
/// Message control: 64-bit addresses.
pub(super) const FLAGS_64BIT: u16 = 1 << 7;
/// Message control: a mask bit for each vector.
pub(super) const FLAGS_MASKBIT: u16 = 1 << 8;
/// Message address.
pub(super) const ADDRESS_LO: u16 = 4;
/// Upper half of the message address.
pub(super) const ADDRESS_HI: u16 = 8;
/// Message data.
pub(super) const DATA: u16 = 0xc;
/// Mask bits.
pub(super) const MASK: u16 = 0x10;
/// Pending bits.
pub(super) const PENDING: u16 = 0x14;
/// Bytes of the capability.
pub(super) const SIZE: u16 = 0x18;

/// The memory write that is an interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where, as the function sees it: an SMMU may translate it.
    pub addr: u64,
    /// What.
    pub data: u32,
}

//! Configuration space of a type 0 function: what reads give, which bits writes change, what follows from a write.

use super::msi::{self, Message};
use super::msix::{self, MsixTable};
use super::regs::*;

/// Bytes of configuration space.
const SIZE: usize = 4096;
/// Where capabilities begin.
const FIRST_CAPABILITY: u16 = 0x40;

/// What a function is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Vendor ID.
    pub vendor: u16,
    /// Device ID.
    pub device: u16,
    /// Revision ID.
    pub revision: u8,
    /// Class code: base class, subclass, interface.
    pub class: u32,
    /// Bytes of BAR 0, a power of two of at least 16: 32-bit memory, not prefetchable.
    pub bar0: u64,
    /// It is a PCI Express endpoint with function level reset, and has power management.
    pub express: bool,
    /// How it interrupts.
    pub interrupts: Interrupts,
    /// It has ATS.
    pub ats: bool,
    /// Width of its PASIDs, if it has any: 1 to 20.
    pub pasid_bits: Option<u8>,
}

/// How a function interrupts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interrupts {
    /// Not at all.
    #[default]
    None,
    /// By MSI.
    Msi {
        /// log2 of the vectors, at most 5.
        log2: u8,
    },
    /// By MSI-X. Table and pending bits are in BAR 0.
    Msix {
        /// Vectors, at most 64.
        vectors: u16,
        /// Offset of the table, a multiple of 8.
        table: u32,
        /// Offset of the pending bits, a multiple of 8.
        pending: u32,
    },
}

/// What a write has changed, for the function behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// Software asks for a function level reset. Configuration space has been reset.
    pub reset: bool,
    /// ATS was switched on or off.
    pub ats: bool,
}

/// Configuration space.
#[derive(Clone, Debug)]
pub struct ConfigSpace {
    bytes: Box<[u8; SIZE]>,
    /// Bits that software may change.
    writable: Box<[u8; SIZE]>,
    /// Bits that software clears by writing one.
    clearable: Box<[u8; SIZE]>,
    /// The values after reset.
    reset: Box<[u8; SIZE]>,
    msi: Option<u16>,
    msix: Option<(u16, MsixTable)>,
    express: Option<u16>,
    ats: Option<u16>,
    pasid: Option<u16>,
    /// Mask bits of vectors that exist.
    vectors: u32,
}

impl ConfigSpace {
    /// The space of a function, after reset.
    pub fn new(function: &Function) -> Self {
        let zeros = || Box::new([0; SIZE]);
        let mut this = Self {
            bytes: zeros(),
            writable: zeros(),
            clearable: zeros(),
            reset: zeros(),
            msi: None,
            msix: None,
            express: None,
            ats: None,
            pasid: None,
            vectors: 0,
        };
        this.header(function);
        let mut list = CapabilityList { link: CAPABILITY_LIST, next: FIRST_CAPABILITY };
        if function.express {
            this.power_management(&mut list);
        }
        match function.interrupts {
            Interrupts::None => {}
            Interrupts::Msi { log2 } => this.msi = Some(this.add_msi(&mut list, log2)),
            Interrupts::Msix { vectors, table, pending } => {
                let at = list.add(&mut this, CAP_ID_MSIX, msix::SIZE);
                this.put16(at + msix::FLAGS, vectors - 1);
                this.allow16(at + msix::FLAGS, msix::FLAGS_MASKALL | msix::FLAGS_ENABLE);
                this.put32(at + msix::TABLE, table);
                this.put32(at + msix::PBA, pending);
                this.msix = Some((at, MsixTable::new(vectors)));
            }
        }
        if function.express {
            this.express = Some(this.add_express(&mut list));
        }
        if this.bytes[usize::from(CAPABILITY_LIST)] != 0 {
            this.put16(STATUS, STATUS_CAP_LIST);
        }
        let mut extended = ExtendedList { last: None, next: EXT_CAPABILITIES };
        if function.ats {
            let at = extended.add(&mut this, EXT_CAP_ID_ATS);
            this.put16(at + ATS_CAP, ATS_CAP_PAGE_ALIGNED);
            this.allow16(at + ATS_CTRL, ATS_CTRL_STU | ATS_CTRL_ENABLE);
            this.ats = Some(at);
        }
        if let Some(bits) = function.pasid_bits {
            let at = extended.add(&mut this, EXT_CAP_ID_PASID);
            this.put16(at + PASID_CAP, u16::from(bits) << 8);
            this.allow16(at + PASID_CTRL, PASID_CTRL_ENABLE);
            this.pasid = Some(at);
        }
        this.reset = this.bytes.clone();
        this
    }

    fn header(&mut self, f: &Function) {
        self.put16(VENDOR_ID, f.vendor);
        self.put16(DEVICE_ID, f.device);
        self.put32(REVISION_ID, f.class << 8 | u32::from(f.revision));
        self.put16(SUBSYSTEM_VENDOR_ID, f.vendor);
        self.put16(SUBSYSTEM_VENDOR_ID + 2, f.device);
        // Bus mastering, memory, parity and SERR can be switched, INTx can be disabled.
        self.allow16(COMMAND, COMMAND_MEMORY | COMMAND_MASTER | 1 << 6 | 1 << 8 | 1 << 10);
        self.clearable[usize::from(STATUS) + 1] = 0xf9;
        self.writable[usize::from(INTERRUPT_LINE)] = 0xff;
        // Cache line size.
        self.writable[0x0c] = 0xff;
        if f.bar0 > 0 {
            assert!(f.bar0.is_power_of_two() && (16..=1 << 31).contains(&f.bar0), "a 32-bit BAR");
            let mask = !(f.bar0 as u32 - 1);
            self.writable[usize::from(BASE_ADDRESS_0)..][..4].copy_from_slice(&mask.to_le_bytes());
        }
    }

    fn power_management(&mut self, list: &mut CapabilityList) {
        let at = list.add(self, CAP_ID_PM, 8);
        self.put16(at + PM_PMC, 3);
        self.put16(at + PM_CTRL, PM_CTRL_NO_SOFT_RESET);
        self.allow16(at + PM_CTRL, PM_CTRL_STATE_MASK);
    }

    fn add_msi(&mut self, list: &mut CapabilityList, log2: u8) -> u16 {
        assert!(log2 <= 5, "at most 32 vectors");
        let at = list.add(self, CAP_ID_MSI, msi::SIZE);
        self.vectors = u32::MAX >> (32 - (1u32 << log2));
        let capable = u16::from(log2) << 1;
        self.put16(at + msi::FLAGS, msi::FLAGS_64BIT | msi::FLAGS_MASKBIT | capable);
        self.allow16(at + msi::FLAGS, msi::FLAGS_ENABLE | msi::FLAGS_QSIZE);
        self.allow32(at + msi::ADDRESS_LO, !3);
        self.allow32(at + msi::ADDRESS_HI, !0);
        self.allow16(at + msi::DATA, !0);
        self.allow32(at + msi::MASK, self.vectors);
        at
    }

    fn add_express(&mut self, list: &mut CapabilityList) -> u16 {
        let at = list.add(self, CAP_ID_EXP, EXP_SIZE);
        self.put16(at + EXP_FLAGS, EXP_FLAGS_VERSION | EXP_FLAGS_RC_END);
        // Payloads of up to 512 bytes.
        self.put32(at + EXP_DEVCAP, EXP_DEVCAP_FLR | EXP_DEVCAP_RBER | 2);
        self.put16(at + EXP_DEVCTL, EXP_DEVCTL_RESET);
        self.allow16(at + EXP_DEVCTL, 0x7fff);
        self.clearable[usize::from(at + EXP_DEVSTA)] = EXP_DEVSTA_ERRORS as u8;
        self.put32(at + EXP_DEVCAP2, EXP_DEVCAP2_COMP_TMOUT_DIS);
        self.allow16(at + EXP_DEVCTL2, 0x001f);
        at
    }

    /// Reads bytes; beyond the end there are zeros.
    pub fn read(&self, offset: u16, into: &mut [u8]) {
        for (i, byte) in into.iter_mut().enumerate() {
            *byte = self.bytes.get(usize::from(offset) + i).copied().unwrap_or(0);
        }
    }

    /// Writes bytes; what software may not change stays.
    pub fn write(&mut self, offset: u16, bytes: &[u8]) -> Changed {
        let ats = self.ats_enabled();
        for (i, &new) in bytes.iter().enumerate() {
            let at = usize::from(offset) + i;
            let Some(old) = self.bytes.get(at).copied() else { break };
            let writable = self.writable[at];
            self.bytes[at] = (old & !writable | new & writable) & !(new & self.clearable[at]);
        }
        let reset = self.asks_for_reset(offset, bytes);
        if reset {
            self.reset();
        }
        Changed { reset, ats: self.ats_enabled() != ats }
    }

    /// Whether a write sets the bit that begins a function level reset. It is no storage: it reads as zero.
    fn asks_for_reset(&self, offset: u16, bytes: &[u8]) -> bool {
        let Some(express) = self.express else { return false };
        let upper = usize::from(express + EXP_DEVCTL + 1);
        let byte = upper.checked_sub(usize::from(offset)).and_then(|i| bytes.get(i));
        byte.is_some_and(|b| b & (EXP_DEVCTL_BCR_FLR >> 8) as u8 != 0)
    }

    /// Back to the values after reset. What software has put into BARs goes, too.
    pub fn reset(&mut self) {
        self.bytes.copy_from_slice(&*self.reset);
        if let Some((_, table)) = &mut self.msix {
            table.reset();
        }
    }

    /// The MSI-X table, if there is one.
    pub fn msix(&self) -> Option<&MsixTable> {
        self.msix.as_ref().map(|(_, table)| table)
    }
    /// The MSI-X table, to be written. Look for [`ConfigSpace::unmasked`] messages afterwards.
    pub fn msix_mut(&mut self) -> Option<&mut MsixTable> {
        self.msix.as_mut().map(|(_, table)| table)
    }

    /// The function may send requests.
    pub fn is_master(&self) -> bool {
        self.get16(COMMAND) & COMMAND_MASTER != 0
    }
    /// ATS is on.
    pub fn ats_enabled(&self) -> bool {
        self.ats.is_some_and(|at| self.get16(at + ATS_CTRL) & ATS_CTRL_ENABLE != 0)
    }
    /// Requests may carry a PASID.
    pub fn pasid_enabled(&self) -> bool {
        self.pasid.is_some_and(|at| self.get16(at + PASID_CTRL) & PASID_CTRL_ENABLE != 0)
    }

    /// An interrupt of this vector is due: its message, unless MSI is off or the vector is masked (then it is pending).
    /// Vectors that software does not allow share the last one that it does.
    pub fn raise(&mut self, vector: u16) -> Option<Message> {
        if let Some(flags) = self.msix_flags() {
            let (_, table) = self.msix.as_mut()?;
            let enabled = flags & msix::FLAGS_ENABLE != 0;
            return if enabled { table.raise(vector, flags & msix::FLAGS_MASKALL != 0) } else { None };
        }
        let at = self.msi?;
        let vector = u32::from(vector).min((1 << self.allowed_log2(at)) - 1);
        if self.get16(at + msi::FLAGS) & msi::FLAGS_ENABLE == 0 {
            return None;
        }
        if self.get32(at + msi::MASK) & 1 << vector != 0 {
            let pending = self.get32(at + msi::PENDING) | 1 << vector;
            self.put32(at + msi::PENDING, pending);
            return None;
        }
        Some(self.message(at, vector))
    }

    /// The message of a vector that is pending and no longer masked. Ask until there is none.
    pub fn unmasked(&mut self) -> Option<Message> {
        if let Some(flags) = self.msix_flags() {
            let (_, table) = self.msix.as_mut()?;
            let open = flags & (msix::FLAGS_ENABLE | msix::FLAGS_MASKALL) == msix::FLAGS_ENABLE;
            return if open { table.unmasked() } else { None };
        }
        let at = self.msi?;
        if self.get16(at + msi::FLAGS) & msi::FLAGS_ENABLE == 0 {
            return None;
        }
        let pending = self.get32(at + msi::PENDING);
        let due = pending & !self.get32(at + msi::MASK);
        if due == 0 {
            return None;
        }
        let vector = due.trailing_zeros();
        self.put32(at + msi::PENDING, pending & !(1 << vector));
        Some(self.message(at, vector))
    }

    fn msix_flags(&self) -> Option<u16> {
        self.msix.as_ref().map(|(at, _)| self.get16(at + msix::FLAGS))
    }

    fn allowed_log2(&self, at: u16) -> u32 {
        let flags = self.get16(at + msi::FLAGS);
        u32::from((flags & msi::FLAGS_QSIZE) >> 4).min(u32::from(flags >> 1 & 7))
    }

    fn message(&self, at: u16, vector: u32) -> Message {
        let low = self.get32(at + msi::ADDRESS_LO);
        let addr = u64::from(self.get32(at + msi::ADDRESS_HI)) << 32 | u64::from(low);
        let data = u32::from(self.get16(at + msi::DATA));
        let own = (1 << self.allowed_log2(at)) - 1;
        Message { addr, data: data & !own | vector }
    }

    fn get16(&self, at: u16) -> u16 {
        u16::from_le_bytes([self.bytes[usize::from(at)], self.bytes[usize::from(at) + 1]])
    }
    fn get32(&self, at: u16) -> u32 {
        u32::from(self.get16(at + 2)) << 16 | u32::from(self.get16(at))
    }
    fn put16(&mut self, at: u16, value: u16) {
        self.bytes[usize::from(at)..][..2].copy_from_slice(&value.to_le_bytes());
    }
    fn put32(&mut self, at: u16, value: u32) {
        self.bytes[usize::from(at)..][..4].copy_from_slice(&value.to_le_bytes());
    }
    fn allow16(&mut self, at: u16, mask: u16) {
        self.writable[usize::from(at)..][..2].copy_from_slice(&mask.to_le_bytes());
    }
    fn allow32(&mut self, at: u16, mask: u32) {
        self.writable[usize::from(at)..][..4].copy_from_slice(&mask.to_le_bytes());
    }
}

/// The list of capabilities while it is built.
struct CapabilityList {
    /// The pointer that the next one is entered in.
    link: u16,
    next: u16,
}

impl CapabilityList {
    fn add(&mut self, space: &mut ConfigSpace, id: u8, size: u16) -> u16 {
        let at = self.next;
        space.bytes[usize::from(self.link)] = at as u8;
        space.bytes[usize::from(at)] = id;
        self.link = at + 1;
        self.next = (at + size).next_multiple_of(8);
        at
    }
}

/// The list of extended capabilities while it is built.
struct ExtendedList {
    last: Option<u16>,
    next: u16,
}

impl ExtendedList {
    fn add(&mut self, space: &mut ConfigSpace, id: u16) -> u16 {
        let at = self.next;
        // Version 1.
        space.put32(at, 1 << 16 | u32::from(id));
        if let Some(last) = self.last.replace(at) {
            space.put16(last + 2, at << 4 | 1);
        }
        self.next = at + 0x10;
        at
    }
}

#[cfg(test)]
mod test {
    use super::*;

    fn nvme() -> ConfigSpace {
        ConfigSpace::new(&Function {
            vendor: 0x1b36,
            device: 0x0010,
            revision: 2,
            class: 0x01_08_02,
            bar0: 0x4000,
            express: true,
            interrupts: Interrupts::Msi { log2: 3 },
            ats: true,
            pasid_bits: Some(20),
        })
    }

    fn r<const N: usize>(space: &ConfigSpace, at: u16) -> u64 {
        let mut bytes = [0; 8];
        space.read(at, &mut bytes[..N]);
        u64::from_le_bytes(bytes)
    }

    /// Walks the list as configuration software does.
    fn capability(space: &ConfigSpace, id: u8) -> Option<u16> {
        if r::<2>(space, STATUS) as u16 & STATUS_CAP_LIST == 0 {
            return None;
        }
        let mut at = r::<1>(space, CAPABILITY_LIST) as u16;
        for _ in 0..48 {
            if at < 0x40 {
                return None;
            }
            if r::<1>(space, at) as u8 == id {
                return Some(at);
            }
            at = r::<1>(space, at + 1) as u16 & !3;
        }
        panic!("the list has no end");
    }

    fn extended(space: &ConfigSpace, id: u16) -> Option<u16> {
        let mut at = EXT_CAPABILITIES;
        for _ in 0..480 {
            let header = r::<4>(space, at) as u32;
            if header == 0 || at < EXT_CAPABILITIES {
                return None;
            }
            if header as u16 == id {
                return Some(at);
            }
            at = (header >> 20) as u16 & !3;
        }
        panic!("the list has no end");
    }

    #[test]
    fn a_function_is_found() {
        let space = nvme();
        assert_eq!(r::<4>(&space, 0), 0x0010_1b36);
        assert_eq!(r::<4>(&space, REVISION_ID), 0x0108_0202);
        for id in [CAP_ID_PM, CAP_ID_MSI, CAP_ID_EXP] {
            assert!(capability(&space, id).is_some(), "{id:#x}");
        }
        assert_eq!(capability(&space, 0x11), None);
        assert_eq!(
            [EXT_CAP_ID_ATS, EXT_CAP_ID_PASID, 3].map(|id| extended(&space, id)),
            [Some(0x100), Some(0x110), None]
        );
        let bare = ConfigSpace::new(&Function { bar0: 16 << 20, class: 0xff_0000, ..Function::default() });
        assert_eq!((capability(&bare, CAP_ID_PM), extended(&bare, EXT_CAP_ID_ATS)), (None, None));
    }

    #[test]
    fn sizing_and_masks() {
        for (at, write, want) in [
            (BASE_ADDRESS_0, u32::MAX, 0xffff_c000u64),
            (BASE_ADDRESS_0, 0x3000_1234, 0x3000_0000),
            (0x14, u32::MAX, 0),
            (0, 0, 0x0010_1b36),
            (COMMAND, u32::MAX, 0x0010_0546),
        ] {
            let mut space = nvme();
            space.write(at, &write.to_le_bytes());
            assert_eq!(r::<4>(&space, at), want, "{at:#x}");
        }
        let mut space = nvme();
        space.write(0xffe, &[0xff; 8]);
        assert_eq!(r::<8>(&space, 0xffc), 0);
        space.write(BASE_ADDRESS_0 + 3, &[0x30]);
        assert_eq!(r::<4>(&space, BASE_ADDRESS_0), 0x3000_0000, "byte by byte");
    }

    #[test]
    fn messages() {
        let mut space = nvme();
        let at = capability(&space, CAP_ID_MSI).unwrap();
        assert_eq!(r::<2>(&space, at + 2), 0x0186, "8 vectors, 64 bits, masks");
        assert_eq!(space.raise(0), None, "MSI is off");
        space.write(at + 4, &0x0802_0040u32.to_le_bytes());
        space.write(at + 8, &1u32.to_le_bytes());
        space.write(at + 0xc, &0x53u16.to_le_bytes());
        space.write(at + 2, &(0x0186u16 | 2 << 4 | 1).to_le_bytes());
        let message = |data| Some(Message { addr: 0x1_0802_0040, data });
        assert_eq!([0, 3, 7].map(|v| space.raise(v)), [message(0x50), message(0x53), message(0x53)]);
        space.write(at + 0x10, &0b1010u32.to_le_bytes());
        assert_eq!([1, 2, 3].map(|v| space.raise(v)), [None, message(0x52), None]);
        assert_eq!((r::<4>(&space, at + 0x14), space.unmasked()), (0b1010, None));
        space.write(at + 0x10, &0b1000u32.to_le_bytes());
        assert_eq!([space.unmasked(), space.unmasked()], [message(0x51), None]);
        space.write(at + 0x14, &[0xff; 4]);
        assert_eq!(r::<4>(&space, at + 0x14), 0b1000, "pending bits are read-only");
    }

    #[test]
    fn messages_by_table() {
        let mut space = ConfigSpace::new(&Function {
            bar0: 0x4000,
            express: true,
            interrupts: Interrupts::Msix { vectors: 5, table: 0x2000, pending: 0x3000 },
            ..Function::default()
        });
        let at = capability(&space, CAP_ID_MSIX).unwrap();
        assert_eq!(
            [r::<4>(&space, at) >> 16, r::<4>(&space, at + 4), r::<4>(&space, at + 8)],
            [4, 0x2000, 0x3000]
        );
        space.msix_mut().unwrap().write(0x10, &[0x40, 0, 2, 8, 0, 0, 0, 0, 0x55, 0, 0, 0, 0, 0, 0, 0]);
        let message = Some(Message { addr: 0x0802_0040, data: 0x55 });
        assert_eq!((space.raise(1), space.unmasked()), (None, None), "off");
        space.write(at + 2, &0xc000u16.to_le_bytes());
        assert_eq!((space.raise(1), space.unmasked()), (None, None), "all masked");
        space.write(at + 2, &0x8000u16.to_le_bytes());
        assert_eq!([space.unmasked(), space.unmasked(), space.raise(1)], [message, None, message]);
        space.reset();
        assert_eq!(space.msix(), Some(&MsixTable::new(5)));
    }

    #[test]
    fn resets_and_ats() {
        let mut space = nvme();
        let (express, ats) =
            (capability(&space, CAP_ID_EXP).unwrap(), extended(&space, EXT_CAP_ID_ATS).unwrap());
        assert!(!space.is_master() && !space.ats_enabled());
        assert_eq!(space.write(COMMAND, &6u16.to_le_bytes()), Changed::default());
        assert_eq!(space.write(ats + 6, &0x8000u16.to_le_bytes()), Changed { reset: false, ats: true });
        assert_eq!(space.write(ats + 6, &0x8000u16.to_le_bytes()), Changed::default());
        assert!(space.is_master() && space.ats_enabled());
        assert!(!space.write(express + 8, &0x2810u16.to_le_bytes()).reset);
        assert_eq!(space.write(express + 8, &0xa810u16.to_le_bytes()), Changed { reset: true, ats: true });
        assert!(!space.is_master() && !space.ats_enabled());
        assert_eq!(r::<2>(&space, express + 8), 0x2810);
    }
}

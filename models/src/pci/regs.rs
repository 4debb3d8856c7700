//! Offsets and bits of configuration space (PCI Express Base 5.0, 7.5 to 7.8 and 10.5).

/// Vendor ID.
pub const VENDOR_ID: u16 = 0x00;
/// Device ID.
pub const DEVICE_ID: u16 = 0x02;
/// Command.
pub const COMMAND: u16 = 0x04;
/// Command: answers memory accesses.
pub const COMMAND_MEMORY: u16 = 1 << 1;
/// Command: may send requests.
pub const COMMAND_MASTER: u16 = 1 << 2;
/// Status.
pub const STATUS: u16 = 0x06;
/// Status: there is a capability list.
pub const STATUS_CAP_LIST: u16 = 1 << 4;
/// Revision ID; the class code is in the three bytes above.
pub const REVISION_ID: u16 = 0x08;
/// BAR 0.
pub const BASE_ADDRESS_0: u16 = 0x10;
/// Subsystem vendor ID.
pub const SUBSYSTEM_VENDOR_ID: u16 = 0x2c;
/// Pointer to the first capability.
pub const CAPABILITY_LIST: u16 = 0x34;
/// Interrupt line.
pub const INTERRUPT_LINE: u16 = 0x3c;

/// Capability ID of power management.
pub const CAP_ID_PM: u8 = 0x01;
/// Capability ID of MSI.
pub const CAP_ID_MSI: u8 = 0x05;
/// Capability ID of PCI Express.
pub const CAP_ID_EXP: u8 = 0x10;

/// Capability ID of MSI-X.
pub const CAP_ID_MSIX: u8 = 0x11;

/// Power management: PMC, version 3 of the interface.
pub const PM_PMC: u16 = 2;
/// Power management: PMCSR.
pub const PM_CTRL: u16 = 4;
/// PMCSR: the power state.
pub const PM_CTRL_STATE_MASK: u16 = 3;
/// PMCSR: leaving D3hot resets nothing.
pub const PM_CTRL_NO_SOFT_RESET: u16 = 1 << 3;

/// PCI Express: capabilities register.
pub const EXP_FLAGS: u16 = 2;
/// PCI Express capabilities: version 2 of the structure.
pub const EXP_FLAGS_VERSION: u16 = 2;
/// PCI Express capabilities: a root complex integrated endpoint, which has no link.
pub const EXP_FLAGS_RC_END: u16 = 9 << 4;
/// PCI Express: device capabilities.
pub const EXP_DEVCAP: u16 = 4;
/// Device capabilities: role-based error reporting, which every function has.
pub const EXP_DEVCAP_RBER: u32 = 1 << 15;
/// Device capabilities: function level reset.
pub const EXP_DEVCAP_FLR: u32 = 1 << 28;
/// PCI Express: device control.
pub const EXP_DEVCTL: u16 = 8;
/// Device control: begins a function level reset; reads as zero.
pub const EXP_DEVCTL_BCR_FLR: u16 = 1 << 15;
/// Device control: its reset value: relaxed ordering, no snoop, reads of 512 bytes.
pub const EXP_DEVCTL_RESET: u16 = 0x2810;
/// PCI Express: device status.
pub const EXP_DEVSTA: u16 = 0xa;
/// Device status: errors that were detected.
pub const EXP_DEVSTA_ERRORS: u16 = 0xf;
/// PCI Express: device capabilities 2.
pub const EXP_DEVCAP2: u16 = 0x24;
/// Device capabilities 2: completion timeouts can be disabled.
pub const EXP_DEVCAP2_COMP_TMOUT_DIS: u32 = 1 << 4;
/// PCI Express: device control 2.
pub const EXP_DEVCTL2: u16 = 0x28;
/// Bytes of the capability.
pub const EXP_SIZE: u16 = 0x3c;

/// First extended capability.
pub const EXT_CAPABILITIES: u16 = 0x100;
/// Extended capability ID of ATS.
pub const EXT_CAP_ID_ATS: u16 = 0x0f;
/// Extended capability ID of PASID.
pub const EXT_CAP_ID_PASID: u16 = 0x1b;

/// ATS: capability register: queue of 32 invalidations, requests are for whole pages.
pub const ATS_CAP: u16 = 4;
/// ATS capability: untranslated addresses are those of pages.
pub const ATS_CAP_PAGE_ALIGNED: u16 = 1 << 5;
/// ATS: control register.
pub const ATS_CTRL: u16 = 6;
/// ATS control: smallest translation unit.
pub const ATS_CTRL_STU: u16 = 0x1f;
/// ATS control: may be used.
pub const ATS_CTRL_ENABLE: u16 = 1 << 15;

/// PASID: capability register; the width in bits is in its upper byte.
pub const PASID_CAP: u16 = 4;
/// PASID: control register.
pub const PASID_CTRL: u16 = 6;
/// PASID control: may be used.
pub const PASID_CTRL_ENABLE: u16 = 1 << 0;

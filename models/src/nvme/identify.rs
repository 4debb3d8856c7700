//! Data structures of Identify (NVM Express 1.4, 5.15.2).

use spec::regs::Block;

use super::Config;
use super::features::TEMPERATURE_MAX_KELVIN;
use super::layout::{Registers, Status};
use super::log::ERROR_ENTRIES;

/// Bytes of each structure.
pub(super) const BYTES: usize = 4096;
/// Asynchronous Event Requests that are held at once.
pub(super) const ASYNC_EVENTS: usize = 4;
/// The only namespace.
pub(super) const NAMESPACE: u32 = 1;
/// Every namespace.
pub(super) const ALL_NAMESPACES: u32 = u32::MAX;
/// Firmware revision, eight characters.
pub(super) const FIRMWARE: &[u8; 8] = b"1.0     ";
const MODEL: &[u8] = b"smmulate NVMe";

/// A structure that is zero where nothing is put.
#[derive(Debug)]
pub(super) struct Image(pub Vec<u8>);

impl Image {
    pub(super) fn new(bytes: usize) -> Self {
        Self(vec![0; bytes])
    }
    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }
    /// Text, cut or padded with spaces to `width`.
    fn put_text(&mut self, at: usize, text: &[u8], width: usize) {
        self.0[at..at + width].fill(b' ');
        let len = text.len().min(width);
        self.put(at, &text[..len]);
    }
}

/// CNS 01h.
pub(super) fn controller(config: &Config) -> Image {
    let mut image = Image::new(BYTES);
    let mut put = |at, bytes: &[u8]| image.put(at, bytes);
    put(0, &config.vendor_id.to_le_bytes());
    put(2, &config.vendor_id.to_le_bytes());
    put(72, &[6]); // RAB: recommended burst, 2^6 commands
    put(77, &[config.mdts]);
    put(80, &(Registers::VS.desc().reset as u32).to_le_bytes());
    put(111, &[1]); // CNTRLTYPE: I/O controller
    put(258, &[3]); // ACL: aborts at once, less one
    put(259, &[ASYNC_EVENTS as u8 - 1]); // AERL
    put(260, &[0b11]); // FRMW: one slot, read-only
    put(261, &[0b110]); // LPA: Commands Supported and Effects, extended Get Log Page
    put(262, &[ERROR_ENTRIES as u8 - 1]); // ELPE
    put(266, &TEMPERATURE_MAX_KELVIN.to_le_bytes()); // WCTEMP
    put(268, &TEMPERATURE_MAX_KELVIN.to_le_bytes()); // CCTEMP
    put(512, &[0x66]); // SQES: 64 bytes
    put(513, &[0x44]); // CQES: 16 bytes
    put(516, &NAMESPACE.to_le_bytes()); // NN
    put(520, &0b1_1101_u16.to_le_bytes()); // ONCS: Compare, Dataset Management, Write Zeroes, Save and Select
    put(525, &[0b111]); // VWC: there is one, Flush takes all namespaces
    put(2048, &2500_u16.to_le_bytes()); // power state 0: at most 25 W
    image.put_text(4, config.serial.as_bytes(), 20);
    image.put_text(24, MODEL, 40);
    image.put(64, FIRMWARE);
    let name = format!("nqn.2014-08.org.nvmexpress:uuid:{}", hyphenated(&config.uuid()));
    image.put(768, name.as_bytes()); // SUBNQN
    image
}

/// CNS 00h. NSID FFFFFFFFh asks for what namespaces have in common, which needs Namespace Management.
pub(super) fn namespace(config: &Config, nsid: u32, blocks: u64) -> Result<Image, Status> {
    if nsid != NAMESPACE {
        return Err(Status::INVALID_NAMESPACE);
    }
    let mut image = Image::new(BYTES);
    for at in [0, 8, 16] {
        image.put(at, &blocks.to_le_bytes()); // NSZE, NCAP, NUSE
    }
    image.put(33, &[0b1001]); // DLFEAT: deallocated blocks read as zero; Write Zeroes may deallocate
    image.put(104, &config.uuid()); // NGUID
    image.put(120, &config.eui64());
    image.put(128 + 2, &[config.block_bytes.trailing_zeros() as u8]); // LBAF0.LBADS
    Ok(image)
}

/// CNS 02h: the namespaces after `nsid`.
pub(super) fn active_namespaces(nsid: u32) -> Result<Image, Status> {
    if nsid >= ALL_NAMESPACES - 1 {
        return Err(Status::INVALID_NAMESPACE);
    }
    let mut image = Image::new(BYTES);
    if nsid < NAMESPACE {
        image.put(0, &NAMESPACE.to_le_bytes());
    }
    Ok(image)
}

/// CNS 03h.
pub(super) fn descriptors(config: &Config, nsid: u32) -> Result<Image, Status> {
    if nsid != NAMESPACE {
        return Err(Status::INVALID_NAMESPACE);
    }
    let mut image = Image::new(BYTES);
    let mut at = 0;
    for (kind, identifier) in [(1, &config.eui64()[..]), (2, &config.uuid()), (3, &config.uuid())] {
        image.put(at, &[kind, identifier.len() as u8]);
        image.put(at + 4, identifier);
        at += 4 + identifier.len();
    }
    Ok(image)
}

fn hyphenated(uuid: &[u8; 16]) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

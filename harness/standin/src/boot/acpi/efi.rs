//! What Linux reads of EFI before it finds ACPI (UEFI 4.3, 4.6, 7.2.3); there are no services to call.
use acpi_tables::AmlSink;
use flate2::Crc;

use super::{Block, Layout, virt};

const SIGNATURE: u64 = u64::from_le_bytes(*b"IBI SYST");
/// UEFI 2.10
const REVISION: u32 = 2 << 16 | 100;
const SYSTEM_TABLE_SIZE: u32 = 120;
const CRC_AT: usize = 16;
/// `EFI_ACPI_20_TABLE_GUID`, 8868e871-e4f1-11d3-bc22-0080c73c8881.
const ACPI_20: [u8; 16] =
    [0x71, 0xe8, 0x68, 0x88, 0xf1, 0xe4, 0xd3, 0x11, 0xbc, 0x22, 0x00, 0x80, 0xc7, 0x3c, 0x88, 0x81];
/// `EfiConventionalMemory`
const CONVENTIONAL: u32 = 7;
/// `EfiACPIReclaimMemory`
const ACPI_RECLAIM: u32 = 9;
/// `EFI_MEMORY_WB`
const WRITE_BACK: u64 = 8;
const PAGE: u64 = 4096;

/// Size of a descriptor of the memory map, version 1, in bytes.
pub(super) const DESCRIPTOR_SIZE: u32 = 40;

/// Appends the system table and what it points to; returns its address.
pub(super) fn system_table(block: &mut Block, rsdp: u64) -> u64 {
    let vendor: Vec<u8> = "smmulate\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let vendor = block.place(&vendor);
    let mut configuration = ACPI_20.to_vec();
    configuration.qword(rsdp);
    let configuration = block.place(&configuration);

    let mut table = Vec::new();
    table.qword(SIGNATURE);
    table.dword(REVISION);
    table.dword(SYSTEM_TABLE_SIZE);
    table.qword(0); // CRC, and a reserved word
    table.qword(vendor);
    table.qword(1); // firmware revision, and padding
    for _ in 0..8 {
        table.qword(0); // consoles, run-time and boot services
    }
    table.qword(1);
    table.qword(configuration);
    let mut crc = Crc::new();
    crc.update(&table);
    table[CRC_AT..][..4].copy_from_slice(&crc.sum().to_le_bytes());
    block.place(&table)
}

/// All of RAM; the tables' part is kept from being used for anything else.
pub(super) fn memory_map(layout: &Layout) -> Vec<u8> {
    let parts = [
        (CONVENTIONAL, virt::RAM, layout.tables),
        (ACPI_RECLAIM, layout.tables, layout.stub),
        (CONVENTIONAL, layout.stub, layout.ram_end()),
    ];
    let mut map = Vec::new();
    for (kind, from, to) in parts {
        map.qword(u64::from(kind));
        map.qword(from);
        map.qword(0);
        map.qword((to - from) / PAGE);
        map.qword(WRITE_BACK);
    }
    map
}

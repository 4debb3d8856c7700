//! ACPI without firmware: the tables, and of EFI just enough to point Linux to them, as one block of memory.
//!
//! ```text
//!   /chosen linux,uefi-system-table -> EFI system table -> configuration table -> RSDP -> XSDT -> FADT -> DSDT
//!           linux,uefi-mmap-start   -> EFI memory map                                     MADT, GTDT, MCFG, IORT
//! ```
//! Linux needs `acpi=force efi=noruntime` with it. References: ACPI 6.5; IORT: DEN 0049.
mod dsdt;
mod efi;
mod iort;
mod madt;
#[cfg(test)]
mod tests;

use acpi_tables::fadt::{FADTBuilder, Flags};
use acpi_tables::mcfg::MCFG;
use acpi_tables::rsdp::Rsdp;
use acpi_tables::sdt::Sdt;
use acpi_tables::xsdt::XSDT;
use acpi_tables::{Aml, AmlSink};

use super::error::Error;
use super::layout::{LAST_BUS, Layout};
use super::virt;

const OEM: [u8; 6] = *b"SMMUL8";
const OEM_TABLE: [u8; 8] = *b"STANDIN ";
/// ACPI 5.2.9.4: the firmware has PSCI.
const PSCI: u16 = 1 << 0;
/// ACPI 5.2.9.4: PSCI is called by HVC, rather than SMC.
const PSCI_HVC: u16 = 1 << 1;

/// The block, and where in it Linux begins to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tables {
    /// What is loaded at [`Layout::tables`].
    pub bytes: Vec<u8>,
    /// Address of the EFI system table.
    pub system_table: u64,
    /// Address of the EFI memory map.
    pub memory_map: u64,
    /// Its size in bytes.
    pub memory_map_size: u32,
    /// Size of one of its descriptors in bytes.
    pub descriptor_size: u32,
}

impl Tables {
    /// Writes all tables of a machine.
    ///
    /// # Errors
    /// They do not fit between [`Layout::tables`] and [`Layout::stub`].
    pub fn new(layout: &Layout) -> Result<Self, Error> {
        let mut block = Block { base: layout.tables, bytes: Vec::new() };
        let dsdt = block.table(&dsdt::dsdt(layout));
        let entries = [
            block.table(&fadt(layout, dsdt)),
            block.table(&madt::madt(layout)),
            block.table(&gtdt()),
            block.table(&mcfg()),
            block.table(&iort::iort(layout)),
        ];
        let mut xsdt = XSDT::new(OEM, OEM_TABLE, 1);
        entries.into_iter().for_each(|entry| xsdt.add_entry(entry));
        let xsdt = block.table(&xsdt);
        let rsdp = block.table(&Rsdp::new(OEM, xsdt));
        let system_table = efi::system_table(&mut block, rsdp);
        let map = efi::memory_map(layout);
        let memory_map = block.place(&map);
        if block.bytes.len() as u64 > layout.tables_size() {
            return Err(Error::Tables(block.bytes.len()));
        }
        Ok(Self {
            bytes: block.bytes,
            system_table,
            memory_map,
            memory_map_size: map.len() as u32,
            descriptor_size: efi::DESCRIPTOR_SIZE,
        })
    }
}

/// Memory that is filled from its base on.
struct Block {
    base: u64,
    bytes: Vec<u8>,
}

impl Block {
    /// Appends and returns the address, which is aligned to what any table wants.
    fn place(&mut self, bytes: &[u8]) -> u64 {
        self.bytes.resize(self.bytes.len().next_multiple_of(64), 0);
        let address = self.base + self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        address
    }

    fn table(&mut self, table: &dyn Aml) -> u64 {
        let mut bytes = Vec::new();
        table.to_aml_bytes(&mut bytes);
        self.place(&bytes)
    }
}

/// A table with its header (ACPI 5.2.6).
fn sdt(signature: [u8; 4], revision: u8, body: &[u8]) -> Sdt {
    let mut table = Sdt::new(signature, 36, revision, OEM, OEM_TABLE, 1);
    table.append_slice(body);
    table
}

/// ACPI 5.2.9
fn fadt(layout: &Layout, dsdt: u64) -> impl Aml {
    // QEMU itself answers PSCI: by SMC when the guest owns EL2, where HVC ends.
    let conduit = if layout.platform.virtualization { 0 } else { PSCI_HVC };
    let mut fadt = FADTBuilder::new(OEM, OEM_TABLE, 1).dsdt_64(dsdt).flag(Flags::HwReducedAcpi);
    fadt.arm_boot_arch = (PSCI | conduit).into();
    fadt.finalize()
}

/// ACPI 5.2.25, revision 3
fn gtdt() -> impl Aml {
    const ABSENT: u64 = u64::MAX;
    const ALWAYS_ON: u32 = 1 << 2;
    let mut body = Vec::new();
    body.qword(ABSENT);
    body.dword(0);
    for timer in &virt::TIMERS[..4] {
        body.dword(*timer);
        body.dword(ALWAYS_ON);
    }
    body.qword(ABSENT);
    body.dword(0);
    body.dword(0);
    body.dword(virt::TIMERS[4]);
    body.dword(ALWAYS_ON);
    sdt(*b"GTDT", 3, &body)
}

fn mcfg() -> impl Aml {
    let mut mcfg = MCFG::new(OEM, OEM_TABLE, 1);
    mcfg.add_ecam(virt::ECAM, 0, 0, LAST_BUS);
    mcfg
}

//! Interrupt controllers: a GICv2 with one GICv2m frame (ACPI 5.2.12).
use acpi_tables::madt::{EnabledStatus, GicVersion, Gicc, Gicd, Trigger};
use acpi_tables::{Aml, AmlSink};

use super::{Layout, sdt, virt};

const MSI_FRAME: u8 = 0x0d;
const MSI_FRAME_LENGTH: u8 = 24;
/// The frame's SPI numbers are those given here, not those of its `MSI_TYPER`.
const OVERRIDE_SPIS: u32 = 1;

pub(super) fn madt(layout: &Layout) -> impl Aml {
    let mut body = Vec::new();
    body.dword(0);
    body.dword(0);
    for cpu in 0..layout.platform.cpus {
        gicc(cpu, layout.platform.virtualization).to_aml_bytes(&mut body);
    }
    Gicd::new(0, virt::GIC_DISTRIBUTOR, GicVersion::GICv2).to_aml_bytes(&mut body);
    msi_frame(layout, &mut body);
    sdt(*b"APIC", 6, &body)
}

fn gicc(cpu: u32, virtualization: bool) -> Gicc {
    let gicc = Gicc::new(EnabledStatus::Enabled)
        .cpu_interface_number(cpu)
        .acpi_processor_uid(cpu)
        .performance_interrupt(virt::PMU_INTERRUPT, Trigger::Level)
        .base_address(virt::GIC_CPU)
        .mpidr(u64::from(cpu));
    if virtualization {
        gicc.virtual_registers(virt::GIC_VIRTUAL_CPU)
            .control_block_registers(virt::GIC_HYPERVISOR)
            .maintenance_interrupt(virt::GIC_MAINTENANCE, Trigger::Level)
    } else {
        gicc
    }
}

/// Written here because the override bit means the opposite in `acpi_tables::madt::GicMsi`.
fn msi_frame(layout: &Layout, body: &mut Vec<u8>) {
    body.vec(&[MSI_FRAME, MSI_FRAME_LENGTH, 0, 0]);
    body.dword(0);
    body.qword(virt::V2M);
    body.dword(OVERRIDE_SPIS);
    body.word((layout.msi_end - virt::V2M_BASE) as u16);
    body.word(virt::V2M_BASE as u16);
}

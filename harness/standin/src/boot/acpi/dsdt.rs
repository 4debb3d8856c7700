//! The devices that ACPI enumerates (ACPI 5.2.11.1, 6.1, 6.2): CPUs, console, virtio-MMIO, the PCI host bridge, CMDQVs.
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Arg, Device, EISAName, Interrupt, Memory32Fixed, Method, Name,
    PackageBuilder, Path, ResourceTemplate, Return, Scope, ZERO,
};
use acpi_tables::{Aml, AmlSink};

use super::{Layout, sdt, virt};
use crate::boot::layout::{CARRIERS, CMDQV_SIZE, ECAM_SIZE, LAST_BUS};

const PCI_SLOTS: u32 = 32;
const PCI_PINS: u32 = 4;

/// AML that is already encoded.
struct Encoded(Vec<u8>);

impl Aml for Encoded {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

fn encode(aml: &dyn Aml) -> Encoded {
    let mut bytes = Vec::new();
    aml.to_aml_bytes(&mut bytes);
    Encoded(bytes)
}

pub(super) fn dsdt(layout: &Layout) -> impl Aml {
    let mut devices = Vec::new();
    for cpu in 0..layout.platform.cpus {
        devices.push(device(&format!("C{cpu:03X}"), &"ACPI0007", cpu, &[]));
    }
    let uart = resources(virt::UART, 0x1000, virt::UART_INTERRUPT, Trigger::Level);
    devices.push(device("COM0", &"ARMH0011", 0, &[&uart]));
    for i in 0..virt::VIRTIO_COUNT {
        let base = virt::VIRTIO + u64::from(i) * virt::VIRTIO_SIZE;
        let place = resources(base, virt::VIRTIO_SIZE, virt::VIRTIO_INTERRUPT + i, Trigger::Edge);
        devices.push(device(&format!("VR{i:02X}"), &"LNRO0005", i, &[&coherent(), &place]));
    }
    devices.push(host_bridge());
    devices.push(configuration_space());
    for place in &layout.smmus {
        if let Some(base) = place.cmdqv {
            let registers = resources(base, CMDQV_SIZE, place.wires.cmdqv, Trigger::Edge);
            devices.push(device(
                &format!("CQ{:02X}", place.identifier),
                &"NVDA200C",
                place.identifier,
                &[&registers],
            ));
        }
    }
    let all = devices.iter().map(|device| device as &dyn Aml).collect();
    sdt(*b"DSDT", 2, &encode(&Scope::new("_SB_".into(), all)).0)
}

#[derive(Clone, Copy, PartialEq)]
enum Trigger {
    Edge,
    Level,
}

/// A device with `_HID`, `_UID` and further objects.
fn device(name: &str, hid: &dyn Aml, uid: u32, objects: &[&dyn Aml]) -> Encoded {
    let (hid, uid) = (Name::new("_HID".into(), hid), Name::new("_UID".into(), &uid));
    let mut children: Vec<&dyn Aml> = vec![&hid, &uid];
    children.extend(objects);
    encode(&Device::new(Path::new(name), children))
}

/// `_CCA`: its DMA is coherent.
fn coherent() -> Encoded {
    encode(&Name::new("_CCA".into(), &acpi_tables::aml::ONE))
}

/// `_CRS` of registers and one interrupt, active high.
fn resources(base: u64, size: u64, interrupt: u32, trigger: Trigger) -> Encoded {
    let memory = Memory32Fixed::new(true, base as u32, size as u32);
    let interrupt = Interrupt::new(true, trigger == Trigger::Edge, false, false, interrupt);
    encode(&Name::new("_CRS".into(), &ResourceTemplate::new(vec![&memory, &interrupt])))
}

fn memory(base: u64, end: u64) -> AddressSpace<u64> {
    AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, base, end - 1, None)
}

/// The windows end before the carriers, and so do the buses.
fn host_bridge() -> Encoded {
    let buses = AddressSpace::new_bus_number(0u16, u16::from(LAST_BUS));
    let low = AddressSpace::new_memory(
        AddressSpaceCacheable::NotCacheable,
        true,
        virt::PCI_MEMORY as u32,
        CARRIERS as u32 - 1,
        None,
    );
    let io = AddressSpace::new_io(0u32, virt::PCI_IO_SIZE as u32 - 1, Some(virt::PCI_IO as u32));
    let high = memory(virt::PCI_MEMORY_HIGH, virt::PCI_MEMORY_HIGH + virt::PCI_MEMORY_HIGH_SIZE);
    let crs = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&buses, &low, &io, &high]));
    let cid = Name::new("_CID".into(), &EISAName::new("PNP0A03"));
    let segment = Name::new("_SEG".into(), &ZERO);
    let bus = Name::new("_BBN".into(), &ZERO);
    let routes = Name::new("_PRT".into(), &interrupt_routes());
    // Grants the operating system all it asks for: its own request is returned as it is.
    let granted = Return::new(&Arg(3));
    let control = Method::new("_OSC".into(), 4, false, vec![&granted]);
    device(
        "PCI0",
        &EISAName::new("PNP0A08"),
        0,
        &[&cid, &segment, &bus, &coherent(), &crs, &routes, &control],
    )
}

fn interrupt_routes() -> PackageBuilder {
    let mut routes = PackageBuilder::new();
    for slot in 0..PCI_SLOTS {
        for pin in 0..PCI_PINS {
            let mut route = PackageBuilder::new();
            route.add_element(&(slot << 16 | 0xffff));
            route.add_element(&pin);
            route.add_element(&ZERO);
            route.add_element(&(virt::PCI_INTX + (slot + pin) % PCI_PINS));
            routes.add_element(&route);
        }
    }
    routes
}

/// The PCI Firmware Specification wants the addresses of MCFG reserved by a motherboard resource.
fn configuration_space() -> Encoded {
    let ecam = memory(virt::ECAM, virt::ECAM + ECAM_SIZE);
    let crs = Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ecam]));
    device("ECAM", &EISAName::new("PNP0C02"), 0, &[&crs])
}

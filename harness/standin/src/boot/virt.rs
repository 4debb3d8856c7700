//! The fixed map of QEMU's `virt` machine with a GICv2, as its own device tree shows it.

/// Where RAM begins; QEMU's boot code for a kernel is there.
pub const RAM: u64 = 0x4000_0000;
/// Configuration space (ECAM) of buses 0 to 255.
pub const ECAM: u64 = 0x40_1000_0000;
/// 32-bit memory window of the PCI host bridge, in bytes from its base.
pub const PCI_MEMORY: u64 = 0x1000_0000;
/// End (exclusive) of that window.
pub const PCI_MEMORY_END: u64 = 0x3eff_0000;
/// Port I/O window of the PCI host bridge: CPU address of port 0.
pub const PCI_IO: u64 = 0x3eff_0000;
/// Ports of that window.
pub const PCI_IO_SIZE: u64 = 0x1_0000;
/// 64-bit memory window of the PCI host bridge.
pub const PCI_MEMORY_HIGH: u64 = 0x80_0000_0000;
/// Size of that window.
pub const PCI_MEMORY_HIGH_SIZE: u64 = 0x80_0000_0000;
/// INTID of pin INTA# of device 0; pins and devices rotate over four of them.
pub const PCI_INTX: u32 = 35;

/// GICv2 distributor.
pub const GIC_DISTRIBUTOR: u64 = 0x0800_0000;
/// GICv2 CPU interface.
pub const GIC_CPU: u64 = 0x0801_0000;
/// GICv2 hypervisor control registers, present with `virtualization=on`.
pub const GIC_HYPERVISOR: u64 = 0x0803_0000;
/// GICv2 virtual CPU interface, present with `virtualization=on`.
pub const GIC_VIRTUAL_CPU: u64 = 0x0804_0000;
/// Maintenance interrupt of the GIC's virtualization (a PPI).
pub const GIC_MAINTENANCE: u32 = 25;
/// The most CPUs a GICv2 serves.
pub const GIC_CPUS: u32 = 8;

/// GICv2m frame; a write of an INTID to its `MSI_SETSPI_NS` raises that SPI.
pub const V2M: u64 = 0x0802_0000;
/// Address of `MSI_SETSPI_NS`, which MSIs are written to.
pub const V2M_DOORBELL: u64 = V2M + 0x40;
/// First INTID of the frame.
pub const V2M_BASE: u32 = 80;
/// INTIDs of the frame.
pub const V2M_COUNT: u32 = 64;

/// PL011, the console.
pub const UART: u64 = 0x0900_0000;
/// Its INTID.
pub const UART_INTERRUPT: u32 = 33;
/// First virtio-MMIO transport.
pub const VIRTIO: u64 = 0x0a00_0000;
/// Distance of two transports.
pub const VIRTIO_SIZE: u64 = 0x200;
/// How many there are.
pub const VIRTIO_COUNT: u32 = 32;
/// INTID of the first; each has its own.
pub const VIRTIO_INTERRUPT: u32 = 48;

/// INTIDs (PPIs) of the generic timer: secure EL1, non-secure EL1, virtual, EL2, EL2 virtual.
pub const TIMERS: [u32; 5] = [29, 30, 27, 26, 28];
/// INTID (a PPI) of the performance monitors.
pub const PMU_INTERRUPT: u32 = 23;

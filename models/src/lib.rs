//! Hardware: memory, fabric, CPUs, SMMUv3, Tegra241 CMDQV, PCIe endpoints, interrupts. Knows no kernel.

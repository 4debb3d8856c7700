//! Kernel- and VMM-equivalent software on simulated CPUs: SMMUv3 and CMDQV drivers, iommufd, VMM, guests.

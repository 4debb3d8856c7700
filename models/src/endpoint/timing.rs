//! What links and devices charge. One row a number, each with unit and source.

use sim::Time;

/// A PCIe link between a root port and an endpoint. Both directions are alike and independent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkTiming {
    /// From one end to the other, without the time that the bytes take. Source: engineering estimate; a PCIe read
    /// round trip without translation and memory is 350-500 ns on server parts.
    pub latency: Time,
    /// Raw bandwidth of one direction. Unit: bytes per nanosecond (GB/s). Source: PCIe Gen5 x16, 63 GB/s.
    pub bytes_per_ns: u64,
    /// What a packet takes besides its payload: framing, header, CRC. Unit: bytes. Source: PCIe Base, 4DW header.
    pub packet_bytes: u64,
    /// A posted register write is taken over by the root port. Source: engineering estimate.
    pub accept: Time,
    /// After this long the root port gives up waiting for an invalidation to be answered. Source: PCIe ATS allows a
    /// minute; shortened so that runs stay short, and below the second that Linux gives a CMD_SYNC.
    pub atc_timeout: Time,
}

impl Default for LinkTiming {
    /// Gen5 x16.
    fn default() -> Self {
        Self {
            latency: Time::ns(200),
            bytes_per_ns: 63,
            packet_bytes: 24,
            accept: Time::ns(20),
            atc_timeout: Time::ms(10),
        }
    }
}

impl LinkTiming {
    /// How long a packet holds the link.
    pub fn packet_time(&self, payload: usize) -> Time {
        let bytes = self.packet_bytes + payload as u64;
        Time::ps((bytes * 1_000).div_ceil(self.bytes_per_ns.max(1)))
    }
}

/// The storage of the NVMe-like device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskTiming {
    /// Reading a command's blocks. Source: engineering estimate for low-latency flash.
    pub read: Time,
    /// Writing a command's blocks, into the device's cache. Source: engineering estimate.
    pub write: Time,
}

impl Default for DiskTiming {
    fn default() -> Self {
        Self { read: Time::us(12), write: Time::us(6) }
    }
}

//! What memory and its caches charge. One row a number, each with unit and source.

use sim::Time;

use crate::bus::LINE;

/// Latencies of coherent memory, seen from the requester and back. They include the mesh of the requester's own node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryTiming {
    /// A load or store that finds its line in the CPU's own L1 or L2.
    /// Source: engineering estimate, between L1 (4 cycles) and L2 (12 cycles) at 3.4 GHz.
    pub own_hit: Time,
    /// What an atomic adds once the line is exclusive in the CPU's own cache.
    /// Source: engineering estimate, about 20 cycles at 3.4 GHz.
    pub own_atomic: Time,
    /// A CPU finds the line in the last-level cache, in nobody's own cache.
    /// Source: published pointer-chase measurements of Grace's L3, 35-40 ns.
    pub llc_hit: Time,
    /// A CPU gets the line, or its exclusivity, from another CPU.
    /// Source: core-to-core measurements of mesh server parts, 60-100 ns.
    pub transfer: Time,
    /// A load that no cache holds. Source: LPDDR5X load latency, 180-250 ns.
    pub dram_load: Time,
    /// How long the home of a line is busy with a request that it can answer itself.
    /// Source: engineering estimate, a tag and data pipeline at 2 GHz.
    pub line_occupancy: Time,
    /// A device access that has to ask a CPU's cache. Source: engineering estimate, `transfer` plus the I/O bridge.
    pub device_snoop: Time,
    /// A device read that the last-level cache holds. Source: engineering estimate, `llc_hit` plus the I/O bridge.
    pub device_llc: Time,
    /// A device write that no CPU holds, until it is globally visible. Source: engineering estimate.
    pub device_write: Time,
    /// What any access to the other socket's memory adds, there and back.
    /// Source: Kunpeng 920, queue memory local 240-250 ns, remote more than 550 ns.
    pub remote: Time,
    /// DRAM bandwidth of a node. Unit: bytes per nanosecond. Source: Grace, 500 GB/s a socket.
    pub bytes_per_ns: u64,
}

impl Default for MemoryTiming {
    /// A Grace-class socket.
    fn default() -> Self {
        Self {
            own_hit: Time::ns(2),
            own_atomic: Time::ns(6),
            llc_hit: Time::ns(38),
            transfer: Time::ns(75),
            dram_load: Time::ns(200),
            line_occupancy: Time::ns(4),
            device_snoop: Time::ns(90),
            device_llc: Time::ns(50),
            device_write: Time::ns(60),
            remote: Time::ns(300),
            bytes_per_ns: 500,
        }
    }
}

impl MemoryTiming {
    /// How long a line holds the DRAM channel.
    pub fn line_time(&self) -> Time {
        Time::ps((LINE as u64 * 1_000).div_ceil(self.bytes_per_ns.max(1)))
    }
}

//! What the interrupt controller charges. One row a number, each with unit and source.

use sim::Time;

/// Latencies of the interrupt controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InterruptTiming {
    /// An access to its registers. Source: engineering estimate, a register file behind the mesh.
    pub register: Time,
    /// From an MSI write until the interrupt is pending at the CPU: table lookup in a cache, then the message.
    /// Source: engineering estimate for a GICv3 ITS with its tables cached.
    pub message: Time,
    /// From a wired edge until the interrupt is pending at the CPU. Source: engineering estimate, distributor only.
    pub wired: Time,
}

impl Default for InterruptTiming {
    fn default() -> Self {
        Self { register: Time::ns(30), message: Time::ns(250), wired: Time::ns(150) }
    }
}

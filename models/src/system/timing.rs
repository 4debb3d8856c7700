//! Latencies of the fabric between components of a machine.

use sim::Time;

/// One-way latencies. Memory charges its own, seen from the requester and back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FabricTiming {
    /// A CPU's access to a device register, and the way back. Source: engineering estimate; a register read of a
    /// server's on-die device takes 150-300 ns.
    pub mmio: Time,
    /// Added when CPU and device, or device and interrupt controller, are on different nodes. Source: engineering
    /// estimate for a coherent socket link.
    pub remote: Time,
    /// Root port to pSMMU and back. Source: engineering estimate, a few mesh hops.
    pub dma: Time,
    /// An MSI write or a wire to the interrupt controller. Source: engineering estimate.
    pub interrupt: Time,
    /// A job descriptor to an endpoint's control port, and its completion. Source: engineering estimate for a doorbell
    /// and a completion that the CPU sees.
    pub job: Time,
    /// A signal from CPU to CPU. Source: engineering estimate for an inter-processor interrupt.
    pub signal: Time,
}

impl Default for FabricTiming {
    fn default() -> Self {
        Self {
            mmio: Time::ns(75),
            remote: Time::ns(150),
            dma: Time::ns(20),
            interrupt: Time::ns(60),
            job: Time::ns(100),
            signal: Time::ns(100),
        }
    }
}

//! What the instances charge. One row a number, each with unit and source.

use sim::Time;

/// Latencies that all instances share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Smmuv2Timing {
    /// An access to a register. Source: engineering estimate, a register file on a peripheral port.
    pub register: Time,
    /// Stream matching and the TLB. Source: engineering estimate, a few cycles at 1 GHz.
    pub lookup: Time,
    /// From a descriptor's arrival to the next read or the translated access. Source: engineering estimate.
    pub walk_step: Time,
    /// From memory's answer to the client. Source: engineering estimate.
    pub complete: Time,
}

impl Default for Smmuv2Timing {
    fn default() -> Self {
        Self { register: Time::ns(40), lookup: Time::ns(8), walk_step: Time::ns(6), complete: Time::ns(5) }
    }
}

/// Latencies of one instance's invalidation engine, which does one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineTiming {
    /// One TLB invalidation. Source: engineering estimate, DVM-like broadcast to the instance's TBUs.
    pub invalidate: Time,
    /// One synchronisation, besides the invalidations and transactions that it waits for. Source: engineering
    /// estimate, a round trip to the instance's TBUs.
    pub sync: Time,
}

impl Default for EngineTiming {
    fn default() -> Self {
        Self { invalidate: Time::ns(60), sync: Time::ns(200) }
    }
}

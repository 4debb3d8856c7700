//! What a CPU charges for its own work. Memory and device latencies are charged where they arise.

use sim::Time;

/// Costs inside a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTiming {
    /// A posted write leaves the core.
    pub post: Time,
    /// A barrier with nothing outstanding.
    pub barrier: Time,
    /// From an interrupt, a signal or the end of a sleep until the waiting task runs again.
    pub wake_up: Time,
    /// From an exclusive monitor's event until the waiting task runs again.
    pub wake_from_monitor: Time,
    /// Raising a signal.
    pub signal: Time,
}

impl Default for CpuTiming {
    /// Engineering estimates for a server core of 3 GHz.
    fn default() -> Self {
        Self {
            post: Time::ns(2),
            barrier: Time::ns(4),
            wake_up: Time::ns(1_000),
            wake_from_monitor: Time::ns(15),
            signal: Time::ns(50),
        }
    }
}

//! CPUs: an in-order core that runs async tasks, and the handle through which a task reaches the machine.

mod core;
mod handle;
mod timing;

pub use self::core::{Core, In, Out};
pub use handle::Cpu;
pub use timing::CpuTiming;

use sim::{Task, Time};

use crate::bus::{Abort, Data, Op, PhysAddr};
use crate::dma::{Job, JobResult};

/// A CPU, by index in the system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CpuId(pub u16);

/// A software signal, by number: a counter that tasks raise and wait for (an inter-processor interrupt, a futex).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignalId(pub u32);

/// What a task can ask its CPU for.
#[derive(Debug)]
pub enum Ask {
    /// A transaction whose answer the core waits for.
    Access {
        /// First byte; memory or device.
        addr: PhysAddr,
        /// What to do.
        op: Op,
    },
    /// A write that the core does not wait for.
    Post {
        /// First byte; memory or device.
        addr: PhysAddr,
        /// The bytes.
        data: Data,
    },
    /// Waits until every posted write has been answered.
    Barrier,
    /// Computes: holds the core.
    Delay(Time),
    /// Sleeps: other tasks of the core may run.
    Sleep(Time),
    /// Waits for an interrupt; consumes it.
    WaitInterrupt {
        /// Interrupt number.
        intid: u32,
        /// Gives up after this long.
        limit: Option<Time>,
    },
    /// Waits while the little-endian value at `addr` equals `value` (an exclusive monitor with WFE).
    WaitWhile {
        /// First byte, naturally aligned.
        addr: PhysAddr,
        /// 4 or 8.
        len: u8,
        /// The value that keeps it waiting.
        value: u64,
        /// Gives up after this long.
        limit: Option<Time>,
    },
    /// Raises a signal.
    Signal(SignalId),
    /// Waits until a signal has been raised more than `seen` times; answers the count.
    WaitSignal {
        /// Which.
        signal: SignalId,
        /// How many raises the task has seen.
        seen: u64,
        /// Gives up after this long.
        limit: Option<Time>,
    },
    /// Gives an endpoint a job and waits for its end; other tasks of the core may run.
    Job {
        /// Which endpoint.
        endpoint: u16,
        /// What to do.
        job: Box<Job>,
    },
    /// Starts a task on a CPU.
    Spawn {
        /// Where.
        cpu: CpuId,
        /// The task.
        task: Box<CpuTask>,
    },
}

/// What a CPU answers.
#[derive(Debug)]
pub enum Answer {
    /// Done; the bytes read or the value found by an atomic.
    Data(Data),
    /// Nothing to tell.
    Done,
    /// The completer refused.
    Abort(Abort),
    /// The limit passed first.
    TimedOut,
    /// The count of a signal.
    Count(u64),
    /// A job ended.
    Job(Box<JobResult>),
}

/// A task that runs on a simulated CPU.
pub type CpuTask = Task<Ask, Answer>;

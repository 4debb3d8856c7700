//! The SMMUv3 driver: what Linux does to the hardware, in the order in which it does it.
//!
//! ```text
//!   Driver         probe; issue commands                     features.rs reset.rs
//!   CommandQueue   lock-free insertion by many CPUs          queue.rs cmpxchg.rs fetch_add.rs ring.rs poll.rs
//!   streams        STEs, CD tables, attach                   stream.rs table.rs entry.rs
//!   Domain         tables, ASID or VMID, map and unmap       domain.rs invalidate.rs ids.rs
//!   handlers       event queue, PRI queue, global errors     handlers.rs demand.rs
//! ```

mod cmpxchg;
mod config;
mod demand;
mod domain;
mod driver;
mod entry;
mod features;
mod fetch_add;
mod handlers;
mod ids;
pub mod invalidate;
mod poll;
mod queue;
mod reset;
mod ring;
mod stream;
mod table;
#[cfg(test)]
mod test;

pub use config::{Config, Costs, Insertion, Interrupts, Wanted};
pub use demand::DemandRange;
pub use domain::{Domain, DomainKind};
pub use driver::Driver;
pub use features::{Features, IdRegisters};
pub use handlers::{EventSink, Taken};
pub use ids::Ids;
pub(crate) use poll::poll32;
pub use queue::{BATCH, CommandQueue, QueueCounters, QueueSetup, SyncBy};
pub use ring::Ring;
pub use stream::StreamOptions;

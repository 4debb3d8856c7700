//! The discrete-event engine: time, typed components, the event queue, async software tasks.
//!
//! *Invariant:* this crate knows no device. It reads no file, no wall clock and no environment variable.
//!
//! ```text
//!   Component::on(In, &mut Cx) --said--> wiring (the domain) --Queue::push--> Component::on(In, ..)
//!   Task (async fn) --ask--> CPU component --message--> ... --answer--> Task
//! ```
#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod component;
pub mod domain;
pub mod queue;
pub mod rng;
pub mod stats;
pub mod task;
pub mod time;
mod wheel;

pub use component::{Component, Cx};
pub use domain::{Domain, run_windows};
pub use queue::{DomainId, Key, Queue};
pub use rng::Rng;
pub use task::{Port, Task, Yielded};
pub use time::{Clock, Time};

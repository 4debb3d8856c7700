//! The SMMUv3 core: what the architecture asks for, without a clock.
//!
//! ```text
//!  Request --> Translation --Step::Read--> memory            Command --> Scope --> Caches::invalidate
//!                  |  ^ \--Step::Lookup--> (time passes)
//!                  v  |
//!               Caches, Control (registers as they stand)
//!
//!  Registers --PROD--> CommandQueue --> Arbiter --> engine::decode --> Work, Engine (what CMD_SYNC waits for)
//!  EventRecord --> EventQueue --> memory --> interrupts::Raise
//! ```
//!
//! *Invariant:* nothing here knows time. A driver answers every [`Step`], at once or after as many cycles as it likes.

pub mod arbiter;
pub mod assoc;
pub mod atos;
pub mod attributes;
pub mod caches;
pub mod command_queue;
pub mod config;
pub mod config_cache;
pub mod control;
pub mod ecmdq;
pub mod engine;
pub mod event_queue;
pub mod fault;
pub mod features;
pub mod functional;
pub mod granule;
pub mod interrupts;
pub mod lint;
pub mod micro_tlb;
pub mod output_queue;
pub mod pmcg;
pub mod ports;
pub mod pri_queue;
pub mod register_pages;
pub mod registers;
pub mod request;
pub mod rights;
pub mod ring;
pub mod scope;
pub mod sharing;
pub mod stalls;
pub mod step;
pub mod tables;
pub mod tlb;
pub mod translation;
pub mod walk;
pub mod walk_cache;

pub use attributes::Attributes;
pub use caches::{CacheShape, Caches};
pub use control::Control;
pub use features::{Features, IdrProfile};
pub use functional::{
    TableMemory, translate_after_micro, translate_at_once, translate_in_micro, translate_now,
    translate_observed,
};
pub use request::{Request, RequestKind};
pub use scope::Scope;
pub use step::{AtsAnswer, Input, Outcome, Step, Unit};
pub use translation::Translation;

//! Scenario files: parse, check, build a platform, run it, judge it, report.
//!
//! ```text
//!   text --tree--> spanned nodes --declare/names--> records --load--> model::Scenario --check--> accepted
//!                                     |                                                 \
//!                                     +--> schema (JSON Schema), reference (Markdown)     diagnostic (all errors)
//! ```
//! The declaration tables in [`platform`], [`step`], [`command`], [`preset`] and [`model`] are the only place that knows
//! which keys exist.
#![forbid(unsafe_code)]

mod check;
pub mod command;
pub mod declare;
pub mod diagnostic;
pub mod files;
pub mod knobs;
pub mod load;
pub mod model;
pub mod names;
pub mod outcome;
pub mod platform;
pub mod preset;
pub mod reference;
pub mod register;
pub mod report;
pub mod run;
pub mod schema;
pub mod step;
mod suggest;
pub mod tree;
pub mod units;

pub use diagnostic::Rejected;
pub use load::read_file;
pub use model::Scenario;
pub use outcome::Outcome;

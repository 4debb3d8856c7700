//! The models as hardware under an unmodified kernel.
//!
//! ```text
//!   QEMU --vfio-user, one socket a function--> protocol --> board: pSMMUs, endpoints --> guest RAM (mapped)
//! ```
#![forbid(unsafe_code)]

pub mod board;
pub mod boot;
mod claims;
pub mod host;
pub mod initrd;
pub mod machine;
pub mod memory;
pub mod nested;
pub mod platform;
pub mod protocol;
pub mod replay;
pub mod summary;
pub mod tally;
pub mod tape;

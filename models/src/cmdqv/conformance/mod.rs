//! The conformance checks of the block, by number. Those that need an arbiter, an SMMU command queue or software are with
//! the components that have them.

mod enable;
mod errors;
mod guest;
mod map;
mod options;
mod queues;
mod teardown;

//! The conformance checks of the block, by number. C24, C39 and C49 need an SMMU command queue or a driver and cannot be
//! checked here; of C23 only the limits are, not the arbiter that obeys them.

mod enable;
mod errors;
mod guest;
mod map;
mod options;
mod queues;
mod teardown;

//! The SMMU core against rows of the architecture's behaviour.

mod ats;
mod bench;
mod coverage;
mod faults;
mod invalidation;
mod property;
mod updates;

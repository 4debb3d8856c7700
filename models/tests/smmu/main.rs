//! The SMMU core against rows of the architecture's behaviour.

mod ats;
mod attributes;
mod bench;
mod contiguous;
mod coverage;
mod faults;
mod invalidation;
mod outside;
mod property;
mod sizes;
mod updates;

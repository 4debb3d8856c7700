//! Benchmarks live in the files beside this one; this library holds what they share.

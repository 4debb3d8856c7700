//! Structures and tables that hold anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| conformance::fuzz::tables(data));

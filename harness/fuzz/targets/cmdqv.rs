//! Software and guests that do anything to a CMDQV.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| conformance::fuzz::cmdqv(data));

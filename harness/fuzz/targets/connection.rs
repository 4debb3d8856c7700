//! A vfio-user client that may send anything.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| standin::protocol::fuzz(data));

//! libFuzzer program of [`leaseq_fuzz::feeds::isc`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| leaseq_fuzz::feeds::isc(octets));

//! libFuzzer program of [`leaseq_fuzz::wire::frames`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| leaseq_fuzz::wire::frames(octets));

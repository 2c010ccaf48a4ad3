//! libFuzzer program of [`leaseq_fuzz::sessions::answers`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| leaseq_fuzz::sessions::answers(octets));

//! libFuzzer program of [`leaseq_fuzz::sessions::datagrams`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| leaseq_fuzz::sessions::datagrams(octets));

//! libFuzzer program of [`leaseq_fuzz::wire::dhcp4`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| leaseq_fuzz::wire::dhcp4(octets));

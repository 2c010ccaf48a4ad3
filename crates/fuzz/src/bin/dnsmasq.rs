//! libFuzzer program of [`leaseq_fuzz::feeds::dnsmasq`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| leaseq_fuzz::feeds::dnsmasq(octets));

//! Asking the processor for a cache line before it is needed.
#![allow(unsafe_code)]

/// Octets of a cache line.
const LINE: usize = 64;

/// Requests `lines` cache lines from `address` on; does nothing where the processor has no such instruction.
#[inline(always)]
pub(super) fn prefetch(address: *const u8, lines: usize) {
    for line in 0..lines {
        let wanted = address.wrapping_add(line * LINE);
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch reads nothing into the program and cannot fault, whatever the address.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(wanted.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = wanted;
    }
}

//! The buffer that everything is written into.

use thiserror::Error;

/// The caller's buffer has no room for what was to be written. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the output buffer is full")]
pub struct Full;

/// Octets written so far into a buffer of fixed size that the caller owns.
///
/// Each call writes all of its octets or none. To take back a message that turned out too long, remember
/// [`len`](Self::len) before it and [`truncate`](Self::truncate) to it.
#[derive(Debug)]
pub struct OutBuf<'a> {
    octets: &'a mut [u8],
    len: usize,
}

impl<'a> OutBuf<'a> {
    /// Starts at the first octet of the buffer.
    #[inline]
    pub fn new(octets: &'a mut [u8]) -> Self {
        Self { octets, len: 0 }
    }

    /// Octets written.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Nothing has been written.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Octets that can still be written.
    #[inline]
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.octets.len().saturating_sub(self.len)
    }

    /// What has been written.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or_default()
    }

    /// What has been written, to be patched in place.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        self.octets.get_mut(..self.len).unwrap_or_default()
    }

    /// Takes the next `n` octets, to be filled by the caller. They hold whatever the buffer held before.
    ///
    /// # Errors
    /// [`Full`] if fewer than `n` octets remain.
    #[inline(always)]
    pub fn reserve(&mut self, n: usize) -> Result<&mut [u8], Full> {
        let start = self.len;
        let reserved = self
            .octets
            .get_mut(start..)
            .and_then(|rest| rest.get_mut(..n))
            .ok_or(Full)?;
        self.len = start + n;
        Ok(reserved)
    }

    /// Takes the next `N` octets as an array: patches at constant offsets in it need no check.
    ///
    /// # Errors
    /// [`Full`] if fewer than `N` octets remain.
    #[inline(always)]
    pub fn reserve_array<const N: usize>(&mut self) -> Result<&mut [u8; N], Full> {
        let start = self.len;
        let reserved = self
            .octets
            .get_mut(start..)
            .and_then(|rest| rest.first_chunk_mut::<N>())
            .ok_or(Full)?;
        self.len = start + N;
        Ok(reserved)
    }

    /// Appends octets.
    ///
    /// # Errors
    /// [`Full`] if they do not fit.
    #[inline(always)]
    pub fn put(&mut self, octets: &[u8]) -> Result<(), Full> {
        self.reserve(octets.len())?.copy_from_slice(octets);
        Ok(())
    }

    /// Appends an array of known size: a copy without a call.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    #[inline(always)]
    pub fn put_array<const N: usize>(&mut self, octets: &[u8; N]) -> Result<(), Full> {
        *self.reserve_array::<N>()? = *octets;
        Ok(())
    }

    /// Appends one octet.
    ///
    /// # Errors
    /// [`Full`] if no octet remains.
    #[inline(always)]
    pub fn put_u8(&mut self, value: u8) -> Result<(), Full> {
        self.put_array(&[value])
    }

    /// Appends 16 bits in network order.
    ///
    /// # Errors
    /// [`Full`] if they do not fit.
    #[inline(always)]
    pub fn put_u16(&mut self, value: u16) -> Result<(), Full> {
        self.put_array(&value.to_be_bytes())
    }

    /// Appends 32 bits in network order.
    ///
    /// # Errors
    /// [`Full`] if they do not fit.
    #[inline(always)]
    pub fn put_u32(&mut self, value: u32) -> Result<(), Full> {
        self.put_array(&value.to_be_bytes())
    }

    /// Takes back everything after the first `len` octets; longer than what is written: nothing happens.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Overwrites 16 bits at offset `at`, in network order. Only octets written already can be patched: for any others
    /// nothing happens and the answer is `false`.
    #[inline(always)]
    pub fn patch_u16(&mut self, at: usize, value: u16) -> bool {
        self.patch(at, &value.to_be_bytes())
    }

    /// Overwrites 32 bits at offset `at`, in network order, like [`patch_u16`](Self::patch_u16).
    #[inline(always)]
    pub fn patch_u32(&mut self, at: usize, value: u32) -> bool {
        self.patch(at, &value.to_be_bytes())
    }

    #[inline(always)]
    fn patch<const N: usize>(&mut self, at: usize, value: &[u8; N]) -> bool {
        match self
            .as_mut_slice()
            .get_mut(at..)
            .and_then(|rest| rest.first_chunk_mut::<N>())
        {
            Some(octets) => {
                *octets = *value;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_all_or_nothing() {
        let mut octets = [0xee; 5];
        let mut out = OutBuf::new(&mut octets);
        assert!(out.is_empty());
        out.put_u16(0x0102).unwrap();
        assert_eq!(out.put_u32(1), Err(Full));
        assert_eq!(out.put(&[1, 2, 3, 4]), Err(Full));
        assert_eq!(out.reserve(usize::MAX).map(|_| ()), Err(Full));
        assert_eq!((out.len(), out.remaining()), (2, 3));
        out.put(&[3, 4, 5]).unwrap();
        assert_eq!(out.put_u8(6), Err(Full));
        assert_eq!(out.as_slice(), [1, 2, 3, 4, 5]);
    }

    #[test]
    fn patches_only_what_is_written() {
        let mut octets = [0; 8];
        let mut out = OutBuf::new(&mut octets);
        out.put(&[0; 4]).unwrap();
        assert!(out.patch_u16(2, 0xabcd));
        assert!(!out.patch_u16(3, 1));
        assert!(!out.patch_u32(usize::MAX, 1));
        assert!(out.patch_u32(0, 0x0102_0304));
        assert_eq!(out.as_slice(), [1, 2, 3, 4]);
        out.truncate(9);
        assert_eq!(out.len(), 4);
        out.truncate(1);
        assert_eq!(out.as_slice(), [1]);
        assert!(!out.patch_u16(0, 1));
    }
}

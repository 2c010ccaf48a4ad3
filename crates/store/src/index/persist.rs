//! Arrays of a checkpoint: little-endian words, written and read in large pieces.
//!
//! The checkpoint's own checksum has vouched for the octets before they are taken seriously; still no length in them is
//! trusted with memory: an array grows as its octets arrive, so a wrong length ends as an unexpected end of file.

use std::io::{self, Read, Write};

const PIECE: usize = 64 * 1024;

/// Writes words through a buffer of its own; [`Saver::finish`] writes what is left.
pub(super) struct Saver<'w, W: Write> {
    out: &'w mut W,
    buffer: Vec<u8>,
}

impl<'w, W: Write> Saver<'w, W> {
    pub(super) fn new(out: &'w mut W) -> Self {
        Saver {
            out,
            buffer: Vec::with_capacity(PIECE + 64),
        }
    }

    #[inline]
    fn put(&mut self, octets: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(octets);
        if self.buffer.len() >= PIECE {
            self.out.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    #[inline]
    pub(super) fn u16(&mut self, value: u16) -> io::Result<()> {
        self.put(&value.to_le_bytes())
    }

    #[inline]
    pub(super) fn u32(&mut self, value: u32) -> io::Result<()> {
        self.put(&value.to_le_bytes())
    }

    #[inline]
    pub(super) fn u64(&mut self, value: u64) -> io::Result<()> {
        self.put(&value.to_le_bytes())
    }

    pub(super) fn u32s(&mut self, values: impl ExactSizeIterator<Item = u32>) -> io::Result<()> {
        self.u32(
            u32::try_from(values.len()).map_err(|_| odd("an array of more than 2^32 elements"))?,
        )?;
        for value in values {
            self.u32(value)?;
        }
        Ok(())
    }

    pub(super) fn finish(self) -> io::Result<()> {
        self.out.write_all(&self.buffer)
    }
}

/// What is wrong with a checkpoint; the caller derives the indexes from the log instead.
pub(super) fn odd(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("checkpoint of an index: {what}"),
    )
}

/// Reads `count` words of `N` octets each and gives them to `take`, in order.
pub(super) fn words<const N: usize>(
    input: &mut impl Read,
    count: usize,
    mut take: impl FnMut([u8; N]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = [0; PIECE];
    let mut left = count;
    while left > 0 {
        let now = left.min(PIECE / N);
        let piece = &mut buffer[..now * N];
        input.read_exact(piece)?;
        for word in piece.as_chunks::<N>().0 {
            take(*word)?;
        }
        left -= now;
    }
    Ok(())
}

pub(super) fn read_u32(input: &mut impl Read) -> io::Result<u32> {
    let mut octets = [0; 4];
    input.read_exact(&mut octets)?;
    Ok(u32::from_le_bytes(octets))
}

pub(super) fn read_u64(input: &mut impl Read) -> io::Result<u64> {
    let mut octets = [0; 8];
    input.read_exact(&mut octets)?;
    Ok(u64::from_le_bytes(octets))
}

/// An array written by [`Saver::u32s`].
pub(super) fn read_u32s(input: &mut impl Read) -> io::Result<Vec<u32>> {
    let count = read_u32(input)? as usize;
    let mut values = Vec::with_capacity(count.min(PIECE));
    words(input, count, |word| {
        values.push(u32::from_le_bytes(word));
        Ok(())
    })?;
    Ok(values)
}

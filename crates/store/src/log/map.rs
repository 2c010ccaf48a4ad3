//! Read-only maps of segments: the one place where octets of a file become a slice.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};

use memmap2::{MmapOptions, MmapRaw};

/// A mapped segment and the mark up to which it may be read.
///
/// The writer appends behind the mark and moves it forward afterwards; nothing before the mark is written again but with
/// the octets that are there already. So readers need no lock.
#[derive(Debug)]
pub(super) struct SegmentMap {
    map: MmapRaw,
    published: AtomicU64,
}

impl SegmentMap {
    /// Maps `file` whole, with nothing published. `populate`: its pages are loaded now, not on first use.
    pub(super) fn new(file: &File, populate: bool) -> io::Result<SegmentMap> {
        let mut options = MmapOptions::new();
        if populate {
            options.populate();
        }
        Ok(SegmentMap {
            map: options.map_raw_read_only(file)?,
            published: AtomicU64::new(0),
        })
    }

    /// Octets of the file when it was mapped.
    pub(super) fn len(&self) -> u64 {
        self.map.len() as u64
    }

    /// Octets from the start that may be read.
    #[inline]
    pub(super) fn published(&self) -> u64 {
        self.published.load(Ordering::Acquire)
    }

    /// Moves the mark; never past the end, never back. The octets before it must be written and stay as they are.
    pub(super) fn publish(&self, octets: u64) {
        let end = octets.min(self.len()).max(self.published());
        self.published.store(end, Ordering::Release);
    }

    /// What has been published.
    #[inline]
    pub(super) fn octets(&self) -> &[u8] {
        // SAFETY: `publish` keeps the mark within the map, which lives as long as `self`. Octets before the mark do not
        // change (the store's lock keeps other processes out), and Release and Acquire order their writes before this.
        unsafe { slice::from_raw_parts(self.map.as_ptr(), self.published() as usize) }
    }

    /// The whole file, for recovery: before anything is appended to it.
    pub(super) fn unpublished(&self) -> &[u8] {
        // SAFETY: the slice is the map, which lives as long as `self`. Recovery calls this before a writer exists, under
        // the store's lock, and drops the slice before it mends the tail.
        unsafe { slice::from_raw_parts(self.map.as_ptr(), self.map.len()) }
    }

    /// Address of the octet at `offset`, for a prefetch; it may lie outside the map and must not be read.
    #[inline]
    pub(super) fn address(&self, offset: u64) -> *const u8 {
        self.map.as_ptr().wrapping_add(offset as usize)
    }
}

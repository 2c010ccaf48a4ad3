//! Backups: images of stores, of one that is written on and of one that nobody has open, and copies of them.

use std::path::Path;

use crate::error::OpenError;
use crate::log::{CopyError, CopyTarget, IDENTITY, Image, LogView};
use crate::record::parse;
use crate::view::Reader;

/// Octets of an image written at once.
const WRITE_SIZE: usize = 1 << 20;

impl Reader {
    /// Everything that is durable now, to be copied while the store goes on changing. Taking it holds nobody up; it keeps the
    /// segments that it has from being given back to the disk.
    pub fn image(&self) -> Image {
        let segments = self.shared.segments.load_full();
        Image::of(self.shared.identity, LogView::new(segments))
    }
}

/// Everything in a store that nobody has open; it is locked until the image is dropped. Every checksum and each record is
/// checked. Nothing is changed.
pub fn image_of_files(dir: &Path) -> Result<Image, OpenError> {
    let image = Image::of_files(dir, &mut |_, octets| parse(octets).map(|_| ()));
    image.map_err(|error| OpenError::Log {
        dir: dir.to_owned(),
        reason: error.to_string(),
    })
}

impl CopyTarget {
    /// Copies an image. Gives the copy as it was read back, and locked.
    pub fn take(mut self, image: &Image) -> Result<Image, CopyError> {
        for segment in image.segments() {
            let octets = segment.octets();
            self.segment(&segment.file_name(), segment.size(), octets.len() as u64)?;
            octets
                .chunks(WRITE_SIZE)
                .try_for_each(|part| self.write(part))?;
        }
        self.finish(&image.identity(), image.sequence())
    }

    /// After all segments: makes the copy durable, and a store of this identity, whose last record must have this sequence.
    /// Gives it as it was read back, and locked.
    pub fn finish(self, identity: &[u8; IDENTITY], sequence: u64) -> Result<Image, CopyError> {
        self.seal(identity, sequence, &mut |_, octets| {
            parse(octets).map(|_| ())
        })
    }
}

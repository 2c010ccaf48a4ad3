//! `leaseq store backup`: a copy of a store in another directory, of one that a server has open too.
//!
//! A server sends its log through the control socket, and this process writes it: with its own rights, and wherever those reach.

use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context;
use leaseq_store::{CopyTarget, IDENTITY, Image, image_of_files};

use super::{expect_store, server_of};
use crate::cli::StoreBackup;
use crate::control::{BackupPart, Request};
use crate::ctl::Client;
use crate::exit::Done;

/// Octets taken from the server at once.
const READ_SIZE: usize = 256 * 1024;

/// Makes the copy, reads it back, and tells what is in it.
pub fn run(arguments: &StoreBackup) -> anyhow::Result<Done> {
    let (dir, to) = (&arguments.dir.data_dir, &arguments.to);
    let copied = match server_of(dir) {
        Some(mut server) => of_server(&mut server, to),
        None => of_files(dir, to),
    };
    let copied = copied.with_context(|| format!("{}: no backup was made", dir.display()))?;
    println!("{}", told(to, &copied));
    Ok(Done::All)
}

fn of_files(dir: &Path, to: &Path) -> anyhow::Result<Image> {
    expect_store(dir)?;
    let image = image_of_files(dir)?;
    Ok(CopyTarget::create(to)?.take(&image)?)
}

fn of_server(server: &mut Client, to: &Path) -> anyhow::Result<Image> {
    let mut target = CopyTarget::create(to)?;
    let mut last = None;
    let mut buffer = vec![0; READ_SIZE];
    server.ask_with_octets(&Request::Backup {}, |line, octets| {
        let part = serde_json::from_str(line)
            .with_context(|| format!("expected a part of a store, found {line:?}"))?;
        match part {
            BackupPart::Segment {
                file,
                size,
                octets: follow,
            } => {
                target.segment(&file, size, follow)?;
                let mut left = follow;
                while left > 0 {
                    let part = left.min(READ_SIZE as u64) as usize;
                    octets
                        .read_exact(&mut buffer[..part])
                        .context("the server has gone before it had sent everything")?;
                    target.write(&buffer[..part])?;
                    left -= part as u64;
                }
            }
            BackupPart::Store {
                sequence,
                octets: follow,
            } => {
                anyhow::ensure!(
                    follow == IDENTITY as u64,
                    "expected {IDENTITY} octets of STORE, found {follow}"
                );
                let mut identity = [0; IDENTITY];
                octets.read_exact(&mut identity)?;
                last = Some((identity, sequence));
            }
        }
        Ok(())
    })?;
    let (identity, sequence) = last.context("the server has not told whose log it is")?;
    Ok(target.finish(&identity, sequence)?)
}

fn told(to: &Path, copied: &Image) -> String {
    let octets: u64 = copied.segments().map(|segment| segment.size()).sum();
    let segments = copied.segments().len();
    let up_to = match copied.stamp_ms() {
        0 => "without records".to_owned(),
        stamp_ms => format!(
            "up to record {} of {}",
            copied.sequence(),
            humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(stamp_ms))
        ),
    };
    format!(
        "{}: a good copy {up_to}, {octets} octets in {segments} {}",
        to.display(),
        if segments == 1 { "segment" } else { "segments" }
    )
}

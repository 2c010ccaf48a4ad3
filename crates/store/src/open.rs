//! Opening a store: the indexes from the checkpoint, or from a scan of the log.

use std::hash::{BuildHasher, Hasher as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use smallvec::SmallVec;

use crate::apply::Indexes;
use crate::checkpoint;
use crate::error::OpenError;
use crate::feeds::Feeds;
use crate::index::Hasher;
use crate::log::{self, Disk, Home, Identity, Log, LogOptions, LogView, Pos, Recovered, Recovery};
use crate::options::{LoadPhase, LoadProgress, Options, SyncMode};
use crate::record::{Record, parse, trusted};
use crate::shared::Shared;
use crate::time::{ServerClock, Stamp};
use crate::topology::Topology;
use crate::view::Published;
use crate::vpn::{Vpn, VpnRef};
use crate::warm::TOGETHER;
use crate::writer::{Control, Writer, jumped};

/// Progress is told once in so many records.
const PROGRESS_EVERY: u64 = 65_536;

/// What the indexes and the rest are loaded into.
pub(crate) struct Loaded {
    pub(crate) indexes: Indexes,
    pub(crate) feeds: Feeds,
    pub(crate) vpns: Vec<Vpn>,
    /// Dead octets and records of segments, each with a position in it; from a checkpoint only.
    pub(crate) dead: Vec<(Pos, u64, u64)>,
}

/// Opens the store in a directory; gives the writer, which is not running yet.
pub(crate) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    options: &Options,
    topology: &Topology,
    control: Arc<Control>,
) -> Result<Writer, OpenError> {
    topology.check()?;
    let begun = Instant::now();
    let failed = |reason: String| OpenError::Log {
        dir: dir.to_owned(),
        reason,
    };
    check_memory(dir)?;
    let log_options = LogOptions {
        segment_size: options.segment_size,
        sync: options.sync == SyncMode::Group,
        read_only: options.read_only,
        create: Some(Identity {
            created: options.clock.wall_ms(),
            seeds: seeds(),
        }),
        ..LogOptions::default()
    };
    let home = Home::open(disk, dir, log_options).map_err(|error| failed(error.to_string()))?;
    let identity = *home.identity();
    let hasher = Hasher::with_seeds(identity.seeds);
    let recovery = Recovery::begin(home).map_err(|error| failed(error.to_string()))?;
    let (next_sequence, last_stamp) = recovery.end().map_err(|error| failed(error.to_string()))?;
    let now = Stamp::from_millis(options.clock.wall_ms().max(last_stamp));
    let history = u32::try_from(options.history.as_secs()).unwrap_or(u32::MAX);
    let fingerprint = checkpoint::fingerprint(&hasher, topology);
    let empty = || -> Result<Loaded, OpenError> {
        let indexes = Indexes::new(topology, hasher.clone(), now.seconds(), history);
        let indexes = indexes.map_err(|error| failed(error.to_string()))?;
        let vpns = known_vpns(&indexes);
        Ok(Loaded {
            indexes,
            feeds: Feeds::default(),
            vpns,
            dead: Vec::new(),
        })
    };
    let saved = checkpoint::read(
        dir,
        fingerprint,
        next_sequence - 1,
        &recovery.view(),
        empty()?,
        options,
    );
    let from_checkpoint = saved.is_some();
    let (log, recovered, loaded) = match saved {
        Some(loaded) => {
            let (log, recovered) = recovery.skip().map_err(|error| failed(error.to_string()))?;
            let view = log.view();
            for &(pos, octets, records) in &loaded.dead {
                view.add_dead(pos, octets, records);
            }
            (log, recovered, loaded)
        }
        None => replay(recovery, empty()?, options).map_err(|error| failed(error.to_string()))?,
    };
    if !options.read_only {
        checkpoint::remove(dir)
            .map_err(|error| failed(format!("the old checkpoint cannot be removed: {error}")))?;
    }
    if let Some(cut) = &recovered.cut {
        tracing::warn!(id = "log-cut", segment = %cut.segment, offset = cut.offset, octets = cut.octets,
            "a batch that was being written when the store went down was cut off; it had not been acknowledged");
    }
    Ok(assemble(
        log,
        recovered,
        loaded,
        options,
        &identity,
        control,
        fingerprint,
        topology,
        begun,
        from_checkpoint,
    ))
}

#[expect(
    clippy::too_many_arguments,
    reason = "called once, with the parts of an opened store"
)]
fn assemble(
    log: Log,
    recovered: Recovered,
    loaded: Loaded,
    options: &Options,
    identity: &Identity,
    control: Arc<Control>,
    fingerprint: u64,
    topology: &Topology,
    begun: Instant,
    from_checkpoint: bool,
) -> Writer {
    let last = Stamp::from_millis(recovered.last_stamp);
    let wall = Stamp::from_millis(options.clock.wall_ms());
    let unconfirmed = jumped(last, wall) && loaded.feeds.any_live();
    if unconfirmed {
        tracing::warn!(id = "time-unconfirmed", last = %last, now = %wall,
            "the clock is more than ten minutes after the last change; leases expire once a feed confirms the time");
    }
    let published = Published {
        sequence: recovered.next_sequence - 1,
        stamp: last,
    };
    let grace = u32::try_from(options.expiry_grace.as_secs()).unwrap_or(u32::MAX);
    let shared = Shared::new(
        ServerClock::new(Arc::clone(&options.clock), last),
        *identity,
        grace,
        log.shared(),
        &loaded.indexes,
        published,
        loaded.vpns,
        loaded.feeds.states(),
    );
    shared.time_unconfirmed.store(unconfirmed, Relaxed);
    let millis = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
    shared.counts.recovery_ms.store(millis, Relaxed);
    shared
        .counts
        .from_checkpoint
        .store(from_checkpoint, Relaxed);
    let interval = options.group_interval.min(Duration::from_secs(10));
    Writer::new(
        log,
        loaded.indexes,
        loaded.feeds,
        Arc::new(shared),
        control,
        interval,
        fingerprint,
        topology.clone(),
    )
}

/// Why the log could not be taken over.
#[derive(Debug, thiserror::Error)]
enum Replay {
    #[error(transparent)]
    Log(#[from] log::OpenError),
    #[error("the last records cannot be taken over: {0}")]
    Content(String),
}

/// Derives everything from the log.
fn replay(
    recovery: Recovery,
    mut loaded: Loaded,
    options: &Options,
) -> Result<(Log, Recovered, Loaded), Replay> {
    let view = recovery.view();
    let mut records = 0u64;
    let total = view.next_sequence();
    let mut waiting: Vec<Pos> = Vec::with_capacity(TOGETHER);
    let (log, recovered) = recovery.replay(&mut |pos, octets| {
        let record = parse(octets)?;
        records += 1;
        if records.is_multiple_of(PROGRESS_EVERY)
            && let Some(progress) = &options.progress
        {
            progress(LoadProgress {
                phase: LoadPhase::Scan,
                done: record.sequence(),
                total,
            });
        }
        waiting.push(pos);
        if waiting.len() == TOGETHER {
            load_together(&mut loaded, &view, &mut waiting)
        } else {
            Ok(())
        }
    })?;
    load_together(&mut loaded, &view, &mut waiting).map_err(Replay::Content)?;
    Ok((log, recovered, loaded))
}

/// Takes over records that were checked just now, in their order.
fn load_together(
    loaded: &mut Loaded,
    view: &LogView,
    waiting: &mut Vec<Pos>,
) -> Result<(), String> {
    let mut records: SmallVec<[(Pos, Record<'_>); TOGETHER]> = SmallVec::new();
    for pos in waiting.drain(..) {
        let record = view.record(pos).and_then(trusted);
        records.push((
            pos,
            record.ok_or("a record that was checked cannot be read")?,
        ));
    }
    let only: SmallVec<[Record<'_>; TOGETHER]> =
        records.iter().map(|(_, record)| *record).collect();
    loaded.indexes.warm_records(view, &only);
    records
        .iter()
        .try_for_each(|(pos, record)| load(loaded, view, *pos, record))
}

/// Takes over a record of the log.
fn load(loaded: &mut Loaded, view: &LogView, pos: Pos, record: &Record<'_>) -> Result<(), String> {
    use crate::keys::Keys;
    let indexes = &mut loaded.indexes;
    let applied = match record {
        Record::Bind4(bind) => {
            let hash = indexes.hasher.key4(bind.vpn().vss(), bind.address());
            let slot = indexes.slot4(view, bind.vpn(), bind.address(), hash);
            note_vpn(&mut loaded.vpns, bind.vpn());
            indexes.apply4(view, slot, pos, bind)
        }
        Record::Bind6(lease) => {
            let hash = indexes
                .hasher
                .key6(lease.vpn().vss(), lease.address(), lease.prefix_len());
            let slot = indexes.slot6(view, lease.vpn(), lease.address(), lease.prefix_len(), hash);
            note_vpn(&mut loaded.vpns, lease.vpn());
            indexes.apply6(view, slot, pos, lease)
        }
        Record::Feed(feed) => {
            if let Some((old, octets)) = loaded.feeds.apply(feed, pos)? {
                view.dead(old, octets);
            }
            return Ok(());
        }
        Record::Departed4(_) | Record::Departed6(_) => return Ok(()),
    };
    applied.map(|_| ()).map_err(|error| error.to_string())
}

fn known_vpns(indexes: &Indexes) -> Vec<Vpn> {
    let mut vpns = vec![Vpn::GLOBAL];
    indexes
        .range_vpns
        .iter()
        .for_each(|vpn| note_vpn(&mut vpns, vpn.as_ref()));
    vpns
}

/// Adds a VPN if it is new.
pub(crate) fn note_vpn(vpns: &mut Vec<Vpn>, vpn: VpnRef<'_>) {
    if !vpns.iter().any(|known| vpn == *known) {
        vpns.push(vpn.to_vpn());
    }
}

/// Seeds of a new store's hash: the operating system's randomness, by way of the standard library's hasher.
fn seeds() -> [u64; 4] {
    std::array::from_fn(|_| std::hash::RandomState::new().build_hasher().finish())
}

/// The log must fit into memory, for it is read through maps on threads that must not wait.
fn check_memory(dir: &Path) -> Result<(), OpenError> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Ok(());
    };
    let segments = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().extension().is_some_and(|e| e == "seg"));
    let log_octets: u64 = segments
        .filter_map(|entry| entry.metadata().ok())
        .map(|meta| meta.len())
        .sum();
    let Ok(text) = std::fs::read_to_string("/proc/meminfo") else {
        return Ok(());
    };
    if let Some(octets) = meminfo(&text, "MemTotal:").filter(|&total| log_octets > total) {
        return Err(OpenError::Memory {
            log_octets,
            available_octets: octets,
        });
    }
    if let Some(octets) =
        meminfo(&text, "MemAvailable:").filter(|&available| log_octets > available)
    {
        tracing::warn!(
            id = "memory-short",
            log_octets,
            available_octets = octets,
            "the log may not fit into memory; replies will wait for the disk"
        );
    }
    Ok(())
}

fn meminfo(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(field))?;
    line.split_ascii_whitespace()
        .nth(1)?
        .parse::<u64>()
        .ok()?
        .checked_mul(1_024)
}

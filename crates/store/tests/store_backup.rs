//! Copies of a store: taken while it changes and is compacted, they are stores as of one moment; one that breaks off is none.

mod store_support;

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use leaseq_store::log::testing::{EIO, ENOSPC, FaultDisk, Op};
use leaseq_store::*;
use store_support::*;

const HOSTS: u32 = 200;

/// The event number `n`: one host after another, each with the time of its event.
fn numbered(n: u32) -> Event {
    let [.., high, low] = (n % HOSTS).to_be_bytes();
    let mut event = active4([10, 0, high, low], (n % 251) as u8, (n % 3) as u8);
    event.cltt = Some(T0 + n);
    event.lease_time = Some(1_000_000);
    Event::V4(event)
}

/// What the bindings are after `n` events: the number of each host's last one.
fn after(n: u32) -> Vec<Option<u32>> {
    (0..HOSTS)
        .map(|host| (host..n).step_by(HOSTS as usize).next_back())
        .collect()
}

fn numbers(view: &View) -> Vec<Option<u32>> {
    let number = |host: u32| {
        let [.., high, low] = host.to_be_bytes();
        let address = Ipv4Addr::new(10, 0, high, low);
        let bind = view.binding4(&Vpn::GLOBAL, address)?;
        bind.cltt().map(|cltt| cltt - T0)
    };
    (0..HOSTS).map(number).collect()
}

/// Events in batches of fifty, in several segments if there are many.
fn fill(open: &Store, batches: std::ops::Range<u32>) {
    for batch in batches {
        store(open, (batch * 50..batch * 50 + 50).map(numbered).collect());
    }
}

fn copy(image: &Image, to: &Path) {
    CopyTarget::create(to).unwrap().take(image).unwrap();
}

fn reopened(fixture: &Fixture, dir: &Path) -> Store {
    Store::open(dir, fixture.options.clone(), fixture.topology.clone()).unwrap()
}

#[test]
fn a_copy_taken_under_changes_and_compactions_is_the_store_at_one_moment() {
    let fixture = Fixture::new();
    let open = Arc::new(fixture.open());
    let at_once = 50;
    let events = |first: u32| {
        let position = Event::Feed(FeedEvent {
            name: "kea4".to_owned(),
            position: first.to_be_bytes().to_vec(),
            read_up_to: Stamp::from_millis(u64::from(T0 + first) * 1_000),
            live: true,
        });
        let changes = (first..first + at_once).map(numbered);
        changes.chain([position]).collect()
    };
    let mut next = 0;
    for _ in 0..40 {
        store(&open, events(next));
        next += at_once;
    }
    let done = Arc::new(AtomicBool::new(false));
    let compacting = {
        let (open, done) = (Arc::clone(&open), Arc::clone(&done));
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                open.compact_now().unwrap();
            }
        })
    };
    let copies = tempfile::tempdir().unwrap();
    for round in 0..20 {
        let known = next;
        let writing = {
            let open = Arc::clone(&open);
            let batches: Vec<_> = (0..6).map(|n| events(next + n * at_once)).collect();
            thread::spawn(move || {
                batches
                    .into_iter()
                    .for_each(|batch| drop(store(&open, batch)))
            })
        };
        let image = open.reader().image();
        let to = copies.path().join(round.to_string());
        let read_back = CopyTarget::create(&to).unwrap().take(&image).unwrap();
        writing.join().unwrap();
        next += 6 * at_once;
        let (sequence, stamp) = (image.sequence(), image.stamp_ms());
        drop(image);
        assert_eq!(
            (read_back.sequence(), read_back.stamp_ms()),
            (sequence, stamp)
        );
        drop(read_back);
        assert_eq!(verify_files(&to).unwrap().problems, Vec::<String>::new());
        let copied = reopened(&fixture, &to);
        assert_eq!(copied.verify().problems, Vec::<String>::new());
        assert_eq!(copied.reader().published().sequence, sequence);
        let feeds = copied.feeds();
        let position = feeds[0].position.as_slice().try_into().unwrap();
        let reached = u32::from_be_bytes(position) + at_once;
        assert!(
            (known..=next).contains(&reached),
            "{known} {reached} {next}"
        );
        assert_eq!(
            numbers(&copied.reader().view()),
            after(reached),
            "the bindings and the position are of the same moment"
        );
        // It is a store like any other.
        store(&copied, vec![numbered(reached)]);
        assert_eq!(numbers(&copied.reader().view()), after(reached + 1));
        copied.stop().unwrap();
    }
    done.store(true, Ordering::Relaxed);
    compacting.join().unwrap();
    assert_eq!(numbers(&open.reader().view()), after(next));
}

#[test]
fn an_image_stays_as_it_was_taken() {
    let fixture = Fixture::new();
    let open = fixture.open();
    fill(&open, 0..60);
    let image = open.reader().image();
    fill(&open, 60..120);
    open.compact_now().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join("copy");
    copy(&image, &to);
    let copied = reopened(&fixture, &to);
    assert_eq!(numbers(&copied.reader().view()), after(3_000));
    assert_eq!(numbers(&open.reader().view()), after(6_000));
}

#[test]
fn a_store_that_nobody_has_open_is_copied_and_locked_meanwhile() {
    let fixture = Fixture::new();
    let open = fixture.open();
    store(&open, (0..150).map(numbered).collect());
    let held = image_of_files(fixture.path()).unwrap_err().to_string();
    assert!(held.contains("is in use by process"), "{held}");
    open.stop().unwrap();
    drop(open);
    let image = image_of_files(fixture.path()).unwrap();
    assert!(image_of_files(fixture.path()).is_err());
    let dir = tempfile::tempdir().unwrap();
    copy(&image, dir.path());
    let copied = reopened(&fixture, dir.path());
    assert_eq!(numbers(&copied.reader().view()), after(150));
}

#[test]
fn a_damaged_store_is_told_and_not_copied() {
    let fixture = Fixture::new();
    let open = fixture.open();
    fill(&open, 0..40);
    open.stop().unwrap();
    drop(open);
    let first = fixture.path().join("0000000000000001-00000000.seg");
    let mut octets = fs::read(&first).unwrap();
    octets[4_200] ^= 1;
    fs::write(&first, octets).unwrap();
    let error = image_of_files(fixture.path()).unwrap_err().to_string();
    assert!(
        error.contains("segment 0000000000000001-00000000.seg is damaged at offset"),
        "{error}"
    );
}

fn entries(dir: &Path) -> Vec<PathBuf> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn a_copy_that_breaks_off_leaves_nothing() {
    let fixture = Fixture::new();
    let open = fixture.open();
    fill(&open, 0..40);
    let image = open.reader().image();
    assert!(image.segments().len() > 2);
    let mut broken = 0;
    for (op, errno) in [
        (Op::Create, ENOSPC),
        (Op::Write, ENOSPC),
        (Op::Sync, EIO),
        (Op::Rename, EIO),
        (Op::SyncDir, EIO),
    ] {
        for nth in 1.. {
            let dir = tempfile::tempdir().unwrap();
            let disk = FaultDisk::new(dir.path()).unwrap();
            disk.fail(op, nth, 1, errno);
            let to = dir.path().join("copy");
            let target = CopyTarget::create_on(Arc::new(disk), &to).unwrap();
            match target.take(&image) {
                Ok(copied) => {
                    drop(copied);
                    assert!(nth > 1, "{op:?} was never tried");
                    let copied = reopened(&fixture, &to);
                    assert_eq!(numbers(&copied.reader().view()), after(2_000));
                    break;
                }
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.starts_with("cannot "), "{text}");
                    assert_eq!(entries(dir.path()), Vec::<PathBuf>::new(), "{op:?} {nth}");
                    broken += 1;
                }
            }
        }
    }
    assert!(broken > 10);
}

#[test]
fn what_a_loss_of_power_leaves_is_the_whole_store_or_none() {
    let mut seed = 1_u64;
    let mut random = || {
        seed = seed.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        seed >> 33
    };
    let fixture = Fixture::new();
    let open = fixture.open();
    store(&open, (0..150).map(numbered).collect());
    let image = open.reader().image();
    for operations in 0.. {
        let dir = tempfile::tempdir().unwrap();
        let to = dir.path().join("copy");
        let disk = FaultDisk::new(dir.path()).unwrap();
        let target = CopyTarget::create_on(Arc::new(disk.clone()), &to).unwrap();
        disk.die_after(operations);
        let finished = target.take(&image).is_ok();
        disk.crash(&mut random).unwrap();
        let opened = image_of_files(&to);
        if finished {
            assert_eq!(opened.unwrap().sequence(), image.sequence());
            break;
        }
        // The last steps only make sure of what is complete already.
        match opened {
            Ok(copied) => assert_eq!(copied.sequence(), image.sequence()),
            Err(error) => assert!(
                error.to_string().contains("holds no lease store"),
                "{error}"
            ),
        }
    }
}

#[test]
fn a_copy_that_is_not_what_was_to_be_copied_is_removed() {
    let fixture = Fixture::new();
    let open = fixture.open();
    fill(&open, 0..40);
    let image = open.reader().image();
    let dir = tempfile::tempdir().unwrap();
    let taken = |flip: Option<usize>, sequence| {
        let mut target = CopyTarget::create(dir.path()).unwrap();
        for segment in image.segments() {
            let mut octets = segment.octets().to_vec();
            target
                .segment(&segment.file_name(), segment.size(), octets.len() as u64)
                .unwrap();
            flip.into_iter().for_each(|at| octets[at] ^= 1);
            target.write(&octets).unwrap();
        }
        let error = target.finish(&image.identity(), sequence).unwrap_err();
        assert_eq!(entries(dir.path()), Vec::<PathBuf>::new());
        error.to_string()
    };
    let error = taken(Some(4_100), image.sequence());
    assert!(error.contains("cannot be read back: segment"), "{error}");
    let error = taken(None, image.sequence() + 1);
    assert!(error.contains("to be its last one, found"), "{error}");
}

#[test]
fn only_an_empty_directory_is_taken_and_only_a_log() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("notes");
    fs::write(&file, "kept").unwrap();
    let error = CopyTarget::create(dir.path()).unwrap_err().to_string();
    assert!(
        error.contains("is not empty: expected an empty directory"),
        "{error}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), "kept");
    fs::remove_file(file).unwrap();

    let name = "0000000000000001-00000000.seg";
    let mut target = CopyTarget::create(dir.path()).unwrap();
    assert!(
        CopyTarget::create(dir.path()).is_err(),
        "two copies at a time"
    );
    for (name, size, octets) in [
        ("../0000000000000001-00000000.seg", 4_096, 0),
        ("STORE", 4_096, 0),
        (name, 4_096, 4_097),
        (name, u64::MAX, 0),
    ] {
        let error = target.segment(name, size, octets).unwrap_err().to_string();
        assert!(error.contains("expected a new segment"), "{error}");
    }
    target.segment(name, 8_192, 10).unwrap();
    assert!(target.write(&[0; 11]).is_err());
    target.write(&[0; 9]).unwrap();
    let error = target.finish(&[0; IDENTITY], 0).unwrap_err().to_string();
    assert!(error.contains("1 octets of"), "{error}");
    assert_eq!(entries(dir.path()), Vec::<PathBuf>::new());
}

//! What keeps a feed from reading its file, or the store from taking what was read: each is told, tried again with pauses, and over
//! when its cause is.

use std::fs::{self, Permissions};
use std::ops::Range;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use leaseq_feed::Settings;
use leaseq_feed::run::{Feed, Phase};
use leaseq_store::State;
use leaseq_store::log::testing::{EIO, Op};
use rustix::fs::{CWD, FileType, Mode};
use rustix::thread::{CapabilitySet, capabilities, set_capabilities};

use crate::fixture::Fixture;
use crate::kinds::{Kind, address, each, lives};

/// Starts a feed whose thread has to heed the rights of files, even if the test runs as root.
fn start_without_privileges(fixture: &Fixture, settings: &Settings) -> Feed {
    let store = Arc::clone(fixture.store());
    let starting = || {
        let mut sets = capabilities(None).unwrap();
        let all_files = CapabilitySet::DAC_OVERRIDE | CapabilitySet::DAC_READ_SEARCH;
        sets.effective.remove(all_files);
        set_capabilities(None, sets).unwrap();
        // The feed's thread has the capabilities of the one that starts it.
        settings.start(store).unwrap()
    };
    thread::scope(|scope| scope.spawn(starting).join().unwrap())
}

fn set_mode(path: &std::path::Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Waits until the feed waits, and has told this.
fn until_told(fixture: &Fixture, feed: &Feed, kind: Kind, part: &str) {
    fixture.until(&format!("{kind:?} tells {part:?}"), || {
        let told = feed.status().snapshot();
        let has_told = told
            .trouble
            .is_some_and(|trouble| trouble.text.contains(part));
        has_told && told.phase == Phase::Waiting
    });
}

/// Waits until these leases are in use, and the feed has read everything.
fn until_lives(fixture: &Fixture, feed: &Feed, leases: Range<u32>) {
    fixture.until("the leases come", || lives(fixture, leases.clone()));
    fixture.until_follows(feed);
}

/// The pauses between tries are of seconds, so there are few of them.
fn has_not_spun(feed: &Feed, began: Instant, kind: Kind) {
    let troubles = feed.status().snapshot().troubles;
    assert!(
        troubles <= 2 + began.elapsed().as_secs(),
        "{kind:?}: {troubles} troubles"
    );
}

#[test]
fn what_is_no_file_is_told_and_the_file_is_read_when_it_is_there() {
    each(|kind| {
        for found in ["a pipe", "a directory"] {
            let fixture = Fixture::new();
            let path = fixture.path();
            let put = || match found {
                "a pipe" => {
                    let mode = Mode::from_raw_mode(0o600);
                    rustix::fs::mknodat(CWD, &path, FileType::Fifo, mode, 0).unwrap();
                }
                _ => fs::create_dir(&path).unwrap(),
            };
            let take_away = || match found {
                "a pipe" => fs::remove_file(&path).unwrap(),
                _ => fs::remove_dir(&path).unwrap(),
            };
            let began = Instant::now();
            put();
            let feed = fixture.start(&kind.settings(&path));
            until_told(&fixture, &feed, kind, &format!("found {found}"));
            take_away();
            fixture.replace(&kind.file(0..3));
            until_lives(&fixture, &feed, 0..3);
            // Likewise while it is followed.
            fs::remove_file(&path).unwrap();
            put();
            until_told(&fixture, &feed, kind, &format!("found {found}"));
            assert!(lives(&fixture, 0..3), "{kind:?}");
            take_away();
            fixture.replace(&kind.file(0..4));
            until_lives(&fixture, &feed, 0..4);
            has_not_spun(&feed, began, kind);
            feed.stop();
        }
    });
}

#[test]
fn a_file_that_may_not_be_read_is_told_and_read_when_it_may() {
    each(|kind| {
        let fixture = Fixture::new();
        let path = fixture.path();
        let began = Instant::now();
        fixture.replace(&kind.file(0..3));
        set_mode(&path, 0o000);
        let feed = start_without_privileges(&fixture, &kind.settings(&path));
        until_told(&fixture, &feed, kind, "Permission denied");
        let told = feed.status().snapshot().trouble.unwrap().text;
        assert!(told.contains("the user that leaseq runs as"), "{told}");
        assert!(fixture.lease4(address(0)).is_none());
        set_mode(&path, 0o600);
        until_lives(&fixture, &feed, 0..3);
        // The server makes a new one that may not be read.
        let new = path.with_extension("new");
        fs::write(&new, kind.file(0..4)).unwrap();
        set_mode(&new, 0o000);
        fs::rename(&new, &path).unwrap();
        until_told(&fixture, &feed, kind, "Permission denied");
        assert!(lives(&fixture, 0..3), "{kind:?}");
        set_mode(&path, 0o600);
        until_lives(&fixture, &feed, 0..4);
        has_not_spun(&feed, began, kind);
        feed.stop();
    });
}

#[test]
fn a_directory_that_may_not_be_looked_into_is_told_and_read_when_it_may() {
    each(|kind| {
        let fixture = Fixture::new();
        let dir = fixture.path().with_file_name("kept");
        let path = dir.join("leases");
        let put = |leases| {
            fixture.replace(&kind.file(leases));
            fs::rename(fixture.path(), &path).unwrap();
        };
        let began = Instant::now();
        fs::create_dir(&dir).unwrap();
        put(0..3);
        set_mode(&dir, 0o000);
        let feed = start_without_privileges(&fixture, &kind.settings(&path));
        until_told(&fixture, &feed, kind, "Permission denied");
        set_mode(&dir, 0o700);
        until_lives(&fixture, &feed, 0..3);
        if rustix::process::geteuid().is_root() {
            // The server, which may, goes on.
            set_mode(&dir, 0o000);
            put(0..4);
            until_told(&fixture, &feed, kind, "Permission denied");
            set_mode(&dir, 0o700);
            until_lives(&fixture, &feed, 0..4);
        }
        has_not_spun(&feed, began, kind);
        feed.stop();
    });
}

#[test]
fn a_directory_that_vanishes_is_told_and_the_next_one_is_read() {
    each(|kind| {
        let fixture = Fixture::new();
        let dir = fixture.path().with_file_name("kept");
        let path = dir.join("leases");
        fs::create_dir(&dir).unwrap();
        fs::write(&path, kind.file(0..3)).unwrap();
        let began = Instant::now();
        let feed = fixture.start(&kind.settings(&path));
        until_lives(&fixture, &feed, 0..3);
        fs::remove_dir_all(&dir).unwrap();
        until_told(&fixture, &feed, kind, "found none");
        assert!(lives(&fixture, 0..3), "{kind:?}");
        fs::create_dir(&dir).unwrap();
        fs::write(&path, kind.file(0..4)).unwrap();
        until_lives(&fixture, &feed, 0..4);
        has_not_spun(&feed, began, kind);
        feed.stop();
    });
}

#[test]
fn a_link_that_leads_to_another_file_is_followed_there() {
    each(|kind| {
        let fixture = Fixture::new();
        let path = fixture.path();
        let file = |name: &str| path.with_file_name(name);
        fs::write(file("one"), kind.file(0..3)).unwrap();
        fs::write(file("other"), kind.file(1..4)).unwrap();
        symlink("one", &path).unwrap();
        let feed = fixture.start(&kind.settings(&path));
        until_lives(&fixture, &feed, 0..3);
        symlink("other", file("new")).unwrap();
        fs::rename(file("new"), &path).unwrap();
        fixture.until("the leases of the other file", || lives(&fixture, 1..4));
        fixture.until("what it does not have ends", || {
            let lease = fixture.lease4(address(0)).unwrap();
            lease.state != State::Active
        });
        fixture.until_follows(&feed);
        // A link to itself leads nowhere.
        symlink("leases", file("new")).unwrap();
        fs::rename(file("new"), &path).unwrap();
        until_told(&fixture, &feed, kind, "cannot");
        assert!(lives(&fixture, 1..4), "{kind:?}");
        symlink("one", file("new")).unwrap();
        fs::rename(file("new"), &path).unwrap();
        fixture.until("the first file again", || lives(&fixture, 0..3));
        feed.stop();
    });
}

#[test]
fn a_full_disk_is_waited_for_and_nothing_is_lost() {
    each(|kind| {
        let (fixture, disk) = Fixture::on_faulty_disk();
        fixture.replace(&kind.file(0..10));
        let began = Instant::now();
        let feed = fixture.start(&kind.settings(&fixture.path()));
        until_lives(&fixture, &feed, 0..10);
        disk.set_room(Some(0));
        let mut all = 10;
        while feed.status().snapshot().troubles == 0 {
            assert!(all < 20_000, "{kind:?}: the disk never fills");
            kind.write(&fixture, all, all + 500);
            all += 500;
            fixture.until("they are stored or not", || {
                lives(&fixture, 0..all) || feed.status().snapshot().troubles > 0
            });
        }
        until_told(&fixture, &feed, kind, "cannot store leases");
        // The server goes on, a little at a time.
        for _ in 0..5 {
            kind.write(&fixture, all, all + 1);
            all += 1;
        }
        disk.set_room(None);
        until_lives(&fixture, &feed, 0..all);
        has_not_spun(&feed, began, kind);
        feed.stop();
        assert_eq!(fixture.store().reader().stats().fault, None, "{kind:?}");
    });
}

#[test]
fn a_store_that_became_read_only_is_waited_for_and_the_next_start_loses_nothing() {
    each(|kind| {
        let (fixture, disk) = Fixture::on_faulty_disk();
        fixture.replace(&kind.file(0..10));
        let began = Instant::now();
        let settings = kind.settings(&fixture.path());
        let feed = fixture.start(&settings);
        until_lives(&fixture, &feed, 0..10);
        disk.fail(Op::Sync, 1, 1_000, EIO);
        kind.write(&fixture, 10, 20);
        until_told(&fixture, &feed, kind, "cannot store leases");
        kind.write(&fixture, 20, 30);
        fixture.until("it is tried again", || {
            feed.status().snapshot().troubles > 1
        });
        assert!(!lives(&fixture, 10..11), "{kind:?}");
        has_not_spun(&feed, began, kind);
        feed.stop();
        disk.heal();
        let fixture = fixture.reopen(&disk);
        let feed = fixture.start(&settings);
        until_lives(&fixture, &feed, 0..30);
        feed.stop();
    });
}

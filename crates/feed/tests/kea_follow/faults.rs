//! What may happen to a lease file beside clean-ups: rubbish, half rows, cuts, other things under its name.

use std::fs::{self, File, OpenOptions};
use std::io::Write;

use leaseq_feed::kea::Family;
use leaseq_feed::run::Phase;
use leaseq_store::State;
use leaseq_store::Vpn;

use crate::fixture::Fixture;
use crate::sim::{HEADER, Sim, address};

fn state(feed: &Fixture, number: u8) -> Option<State> {
    let view = feed.store.reader().view();
    let found = view.binding4(&Vpn::GLOBAL, address(number));
    found.map(|lease| lease.state())
}

#[test]
fn a_file_that_comes_later_is_loaded_and_its_want_is_told() {
    let mut kea = Sim::new();
    fs::remove_file(kea.file("")).unwrap();
    let mut feed = Fixture::new(&kea);
    feed.start();
    feed.until("a missing file is told", |feed| feed.status().troubles == 1);
    assert_eq!(feed.status().phase, Phase::Waiting);
    assert!(feed.status().loaded.is_none());
    kea.reopen();
    kea.write(HEADER);
    kea.lease(1);
    feed.equals(&kea, "the file is there");
    feed.until("it follows", |feed| feed.status().phase == Phase::Following);
    let told = feed.status();
    assert!(told.loaded.is_some() && told.read_up_to.millis() > 0);
    assert_eq!(told.backlog_octets, 0);
}

#[test]
fn rubbish_is_counted_with_its_place_and_nothing_else_is_lost() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    kea.lease(1);
    kea.write("10.0.0.9,zz,,60,5000,1,0,0,,0,,0\n\n,,,\n");
    kea.lease(2);
    feed.start();
    feed.equals(&kea, "rubbish is loaded");
    feed.until("it follows", |feed| feed.status().phase == Phase::Following);
    assert_eq!(feed.status().rejected, 2);
    kea.lease(3);
    kea.write("\u{1}\n");
    kea.lease(4);
    feed.equals(&kea, "rubbish is followed");
    let told = feed.status();
    assert_eq!(told.rejected, 3);
    let place = format!("{}:7: expected 12 columns, found 1", kea.file("").display());
    // Line 1 is the header; 2 to 6 were there at first.
    assert_eq!(told.trouble.unwrap().text, place.replace(":7:", ":8:"));
}

#[test]
fn a_row_that_cannot_be_read_any_more_does_not_end_its_lease() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    kea.lease(1);
    kea.lease(2);
    feed.start();
    feed.equals(&kea, "two leases");
    feed.stop();
    // A new file in which the row of the first is damaged and the second is missing.
    fs::write(kea.file(".new"), format!("{HEADER}10.0.0.1,zz\n")).unwrap();
    fs::rename(kea.file(".new"), kea.file("")).unwrap();
    kea.reopen();
    kea.model.remove(&address(2));
    kea.lease(3);
    feed.start();
    feed.equals(&kea, "after the damage");
    assert_eq!(state(&feed, 2), Some(State::Released));
}

#[test]
fn removed_leases_end_as_their_rows_or_their_times_say() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    for number in 1..=4 {
        kea.lease(number);
    }
    feed.start();
    feed.equals(&kea, "four leases");
    kea.remove(1);
    kea.expire(2);
    feed.equals(&kea, "two ended");
    assert_eq!(
        (state(&feed, 1), state(&feed, 2)),
        (Some(State::Available), Some(State::Expired))
    );
    feed.stop();
    // Its row is dropped by the clean-up before the feed sees it.
    kea.remove(3);
    for _ in 0..2 {
        kea.step();
        kea.finish();
    }
    feed.start();
    feed.equals(&kea, "one was removed unseen");
    assert_eq!(state(&feed, 3), Some(State::Released));
    // What never was there is not told of when it is removed.
    assert_eq!(state(&feed, 9), None);
}

#[test]
fn a_half_written_row_waits_for_its_rest_over_a_restart() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    feed.start();
    kea.lease(1);
    feed.equals(&kea, "one lease");
    kea.half(2);
    feed.stop();
    feed.start();
    feed.until("it follows", |feed| feed.status().phase == Phase::Following);
    kea.lease(3);
    feed.equals(&kea, "the rest came");
    assert_eq!(feed.status().rejected, 0);
}

#[test]
fn other_versions_columns_are_found_by_their_names() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    kea.lease(1);
    feed.start();
    feed.equals(&kea, "one lease");
    // Kea is upgraded: the file that it begins has other columns.
    kea.step();
    let header = "address,state,client_id,expire,hwaddr,valid_lifetime,new\n";
    fs::write(
        kea.file(""),
        format!("{header}10.0.0.2,0,,2000000000,02:00,1000000000,x\n"),
    )
    .unwrap();
    kea.model.insert(address(2), 1_000_000_000);
    feed.equals(&kea, "other columns");
    feed.stop();
    let mut live = OpenOptions::new().append(true).open(kea.file("")).unwrap();
    live.write_all(b"10.0.0.3,0,,2000000001,02:01,1000000000,\n")
        .unwrap();
    kea.model.insert(address(3), 1_000_000_001);
    feed.start();
    feed.equals(&kea, "other columns after a restart");
}

#[test]
fn a_file_without_a_header_is_read_as_kea_writes_it_and_ends_nothing() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    kea.lease(1);
    feed.start();
    feed.equals(&kea, "one lease");
    feed.stop();
    fs::write(
        kea.file(".new"),
        "10.0.0.2,02:00,,1000000000,2000000000,1,0,0,,0,,0\n",
    )
    .unwrap();
    fs::rename(kea.file(".new"), kea.file("")).unwrap();
    kea.reopen();
    kea.model.insert(address(2), 1_000_000_000);
    feed.start();
    feed.equals(&kea, "no header");
    feed.until("it follows", |feed| feed.status().phase == Phase::Following);
    let told = feed.status();
    assert_eq!((told.rejected, told.troubles), (1, 1));
    kea.lease(3);
    feed.equals(&kea, "a row more");
    feed.stop();
    kea.lease(4);
    feed.start();
    feed.equals(&kea, "after a restart");
}

#[test]
fn a_file_cut_to_nothing_under_kea_is_read_on() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    let path = kea.file("");
    // Kea's own stream goes on at its old offset: the octets before are zero.
    let mut live = File::create(&path).unwrap();
    live.write_all(HEADER.as_bytes()).unwrap();
    live.write_all(b"10.0.0.1,02:00,,1000000000,2000000000,1,0,0,,0,,0\n")
        .unwrap();
    kea.model.insert(address(1), 1_000_000_000);
    feed.start();
    feed.equals(&kea, "one lease");
    live.set_len(0).unwrap();
    feed.until("the cut is told", |feed| feed.status().troubles >= 1);
    live.write_all(b"10.0.0.2,02:00,,1000000000,2000000000,1,0,0,,0,,0\n")
        .unwrap();
    kea.model.insert(address(2), 1_000_000_000);
    feed.equals(&kea, "a row behind zeros");
    assert!(fs::metadata(&path).unwrap().len() > 200);
}

#[test]
fn a_file_written_anew_in_place_is_loaded_again() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    for number in 1..=5 {
        kea.lease(number);
    }
    feed.start();
    feed.equals(&kea, "five leases");
    fs::write(
        kea.file(""),
        format!("{HEADER}10.0.0.7,02:00,,1000000000,2000000000,1,0,0,,0,,0\n"),
    )
    .unwrap();
    kea.model.clear();
    kea.model.insert(address(7), 1_000_000_000);
    feed.equals(&kea, "another file in place");
}

#[test]
fn a_directory_under_the_name_is_told_and_the_file_is_found_again() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    kea.lease(1);
    feed.start();
    feed.equals(&kea, "one lease");
    fs::rename(kea.file(""), kea.file(".kept")).unwrap();
    fs::create_dir(kea.file("")).unwrap();
    feed.until("the directory is told", |feed| {
        let told = feed.status().trouble;
        told.is_some_and(|told| told.text.ends_with("expected a file, found a directory"))
    });
    assert_eq!(feed.status().phase, Phase::Waiting);
    fs::remove_dir(kea.file("")).unwrap();
    fs::rename(kea.file(".kept"), kea.file("")).unwrap();
    kea.lease(2);
    feed.equals(&kea, "the file is back");
    feed.until("it follows", |feed| feed.status().phase == Phase::Following);
}

#[test]
fn a_file_that_was_removed_is_read_on_while_kea_writes_to_it() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    kea.lease(1);
    feed.start();
    feed.equals(&kea, "one lease");
    fs::remove_file(kea.file("")).unwrap();
    kea.lease(2);
    feed.equals(&kea, "a row of a file without a name");
    feed.until("its want is told", |feed| feed.status().troubles == 1);
}

#[test]
fn the_directory_may_be_moved_away_and_made_anew() {
    let mut kea = Sim::new();
    kea.lease(1);
    let sub = kea.dir().join("sub");
    fs::create_dir(&sub).unwrap();
    fs::copy(kea.file(""), sub.join("leases4.csv")).unwrap();
    let mut feed = Fixture::of(sub.join("leases4.csv"), Family::V4);
    feed.start();
    feed.equals(&kea, "one lease");
    fs::rename(&sub, kea.dir().join("away")).unwrap();
    kea.lease(2);
    fs::create_dir(&sub).unwrap();
    fs::copy(kea.file(""), sub.join("leases4.csv")).unwrap();
    feed.equals(&kea, "a new directory");
}

#[test]
fn leases_of_the_other_protocol_are_refused() {
    let kea = Sim::new();
    let mut feed = Fixture::of(kea.file(""), Family::V6);
    feed.start();
    feed.until("the protocol is told", |feed| feed.status().troubles >= 1);
    let told = feed.status().trouble.unwrap().text;
    let expected = "expected Kea's leases of DHCPv6, found those of DHCPv4";
    assert!(told.ends_with(expected), "{told}");
}

#[test]
fn leases_without_relay_data_are_remarked_until_one_has_it() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    feed.start();
    feed.until("it follows", |feed| feed.status().phase == Phase::Following);
    assert_eq!(feed.status().remark, None);
    kea.lease(1);
    let setting = "set \"store-extended-info\": true in \"Dhcp4\" of Kea's configuration";
    let is_remarked = |feed: &Fixture| {
        feed.status()
            .remark
            .is_some_and(|remark| remark.ends_with(setting))
    };
    feed.until("the setting is told", is_remarked);
    feed.stop();
    feed.start();
    feed.until("it is told after a restart", is_remarked);
    let context = r#"{"ISC":{"relay-agent-info":"0x01020304"}}"#;
    kea.write(&format!(
        "10.0.0.2,02:00,,1000000000,2000000000,1,0,0,,0,{context},0\n"
    ));
    feed.until("a relay was seen", |feed| feed.status().remark.is_none());
    feed.stop();
    kea.lease(3);
    feed.start();
    kea.model.insert(address(2), 1_000_000_000);
    feed.equals(&kea, "all leases");
    assert_eq!(feed.status().remark, None);
}

#[test]
fn leases_that_are_read_again_change_nothing() {
    let mut kea = Sim::new();
    let mut feed = Fixture::new(&kea);
    for number in 0..50 {
        kea.lease(number);
        kea.lease(number);
    }
    kea.remove(7);
    feed.start();
    feed.equals(&kea, "many leases");
    feed.until("it follows", |feed| feed.status().phase == Phase::Following);
    // Only the last row of each lease is handed over, and none of one that was not there.
    assert_eq!(feed.status().events, 49);
    feed.stop();
    // Another file with the same rows: all is loaded again.
    fs::copy(kea.file(""), kea.file(".new")).unwrap();
    fs::rename(kea.file(".new"), kea.file("")).unwrap();
    feed.start();
    feed.until("it follows", |feed| feed.status().phase == Phase::Following);
    let told = feed.status();
    feed.stop();
    // Records of the feed's place are all that is written.
    assert!(told.events == 49 && told.changed <= 4, "{told:?}");
    feed.is_equal(&kea, "the same leases");
}

//! The feed `dnsmasq`.

use leaseq_feed::run::{Feed, Phase};
use leaseq_feed::{Settings, dnsmasq};
use leaseq_store::{INFINITE, State};

use crate::fixture::{Fixture, now};

const ONE: [u8; 4] = [192, 0, 2, 1];
const TWO: [u8; 4] = [192, 0, 2, 2];
const THREE: [u8; 4] = [192, 0, 2, 3];

/// A line of a lease that ends then.
fn lease(address: [u8; 4], end: u64) -> String {
    let [a, b, c, d] = address;
    format!("{end} 02:00:5e:00:00:0{d} {a}.{b}.{c}.{d} host-{d} ff:0{d}\n")
}

fn start(fixture: &Fixture) -> Feed {
    fixture.start(&Settings::Dnsmasq(dnsmasq::Settings {
        name: "dnsmasq".into(),
        path: fixture.path(),
    }))
}

#[test]
fn leases_come_are_renewed_and_go() {
    let fixture = Fixture::new();
    let end = now() + 600;
    fixture.rewrite(&[&lease(ONE, end)]);
    let feed = start(&fixture);
    fixture.until_follows(&feed);
    let first = fixture.lease4(ONE).unwrap();
    let ends = |address| {
        let lease = fixture.lease4(address).unwrap();
        u64::from(lease.cltt.unwrap()) + u64::from(lease.lease_time.unwrap())
    };
    assert_eq!((first.state, ends(ONE)), (State::Active, end));
    let v6 = format!("duid 00:01\n{end} 7 2001:db8::7 * 00:03:01\n");
    fixture.rewrite(&[&lease(TWO, 0), &lease(ONE, end), &v6]);
    let two = fixture.until_state(TWO, State::Active);
    assert_eq!(two.lease_time, Some(INFINITE));
    fixture.until("the IPv6 lease", || fixture.lease6("2001:db8::7").is_some());
    assert_eq!(fixture.lease4(ONE).unwrap(), first);
    fixture.rewrite(&[&lease(TWO, 0), &lease(ONE, end + 300)]);
    fixture.until("the renewal", || ends(ONE) == end + 300);
    let renewed = fixture.lease4(ONE).unwrap();
    assert_eq!(renewed.state_since, first.state_since);
    fixture.until("the end of the IPv6 lease", || {
        fixture.lease6("2001:db8::7").unwrap().state == State::Released
    });
    fixture.rewrite(&[&lease(TWO, 0)]);
    fixture.until_state(ONE, State::Released);
    assert_eq!(fixture.lease4(TWO).unwrap(), two);
    let told = feed.status().snapshot();
    assert_eq!((told.rejected, told.troubles, fixture.changes()), (0, 0, 6));
    feed.stop();
}

#[test]
fn a_restart_changes_nothing_and_ends_what_went_meanwhile() {
    let fixture = Fixture::new();
    let end = now() + 600;
    fixture.rewrite(&[&lease(ONE, end), &lease(TWO, end), &lease(THREE, 0)]);
    let feed = start(&fixture);
    fixture.until_follows(&feed);
    feed.stop();
    let before = [ONE, TWO, THREE].map(|address| fixture.lease4(address));
    let feed = start(&fixture);
    let told = fixture.until_follows(&feed);
    assert_eq!((told.events, fixture.changes()), (3, 3));
    assert_eq!(
        [ONE, TWO, THREE].map(|address| fixture.lease4(address)),
        before
    );
    feed.stop();
    fixture.rewrite(&[&lease(TWO, end)]);
    let feed = start(&fixture);
    fixture.until_follows(&feed);
    for (address, state) in [
        (ONE, State::Released),
        (TWO, State::Active),
        (THREE, State::Released),
    ] {
        assert_eq!(fixture.lease4(address).unwrap().state, state, "{address:?}");
    }
    feed.stop();
}

#[test]
fn a_half_written_file_ends_nothing() {
    let fixture = Fixture::new();
    let end = now() + 600;
    let (one, two, three) = (lease(ONE, end), lease(TWO, end), lease(THREE, end));
    fixture.rewrite(&[&one, &two]);
    let feed = start(&fixture);
    fixture.until_follows(&feed);
    fixture.rewrite(&[&three, &one[..20]]);
    // What is there already counts.
    fixture.until_state(THREE, State::Active);
    fixture.until("it waits", || feed.status().phase() == Phase::Waiting);
    for address in [ONE, TWO] {
        assert_eq!(fixture.lease4(address).unwrap().state, State::Active);
    }
    fixture.rewrite(&[&three, &one]);
    fixture.until_state(TWO, State::Released);
    assert_eq!(fixture.lease4(ONE).unwrap().state, State::Active);
    let told = fixture.until_follows(&feed);
    assert_eq!((told.rejected, told.troubles), (0, 1));
    feed.stop();
}

#[test]
fn an_emptied_file_is_not_believed_at_once() {
    let fixture = Fixture::new();
    let end = now() + 600;
    fixture.rewrite(&[&lease(ONE, end), &lease(TWO, end)]);
    let feed = start(&fixture);
    fixture.until_follows(&feed);
    fixture.rewrite(&[]);
    fixture.until("it waits", || feed.status().phase() == Phase::Waiting);
    for address in [ONE, TWO] {
        assert_eq!(fixture.lease4(address).unwrap().state, State::Active);
    }
    fixture.rewrite(&[&lease(ONE, end)]);
    fixture.until_state(TWO, State::Released);
    fixture.until_follows(&feed);
    // The last lease of all may go.
    fixture.rewrite(&[]);
    fixture.until_state(ONE, State::Released);
    feed.stop();
}

#[test]
fn a_rejected_line_is_told_once_and_harms_no_other() {
    let fixture = Fixture::new();
    let end = now() + 600;
    let bad = "3600 02:00:5e:00:00:09 192.0.2.9 * *\n";
    fixture.rewrite(&[bad, &lease(ONE, end)]);
    let feed = start(&fixture);
    fixture.until_follows(&feed);
    fixture.rewrite(&[bad, &lease(ONE, end), &lease(TWO, end)]);
    fixture.until_state(TWO, State::Active);
    let told = fixture.until_follows(&feed);
    assert_eq!(told.rejected, 1);
    fixture.until("the remark", || feed.status().snapshot().remark.is_some());
    feed.stop();
}

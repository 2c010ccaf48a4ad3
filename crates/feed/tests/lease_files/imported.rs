//! Leases that were imported before their feed existed, or told by a feed of another name.

use leaseq_feed::run::retire_others;
use leaseq_store::State;

use crate::fixture::Fixture;
use crate::kinds::{Kind, address, each, lives};

/// The number of the feed that a lease is of; 0: none.
fn feed_of(fixture: &Fixture, number: u32) -> u16 {
    fixture.lease4(address(number)).unwrap().feed
}

#[test]
fn a_feed_takes_over_what_was_imported_once_and_leaves_alone_what_its_source_does_not_have() {
    each(|kind| {
        let fixture = Fixture::new();
        // The last two are of another server.
        fixture.replace(&kind.file(0..7));
        let events = kind.import(&fixture.path());
        let imported = fixture.store().submit(events.clone()).unwrap().wait();
        assert_eq!(imported.unwrap().changed, 7, "{kind:?}");
        let times = |number| {
            let lease = fixture.lease4(address(number)).unwrap();
            (lease.cltt, lease.lease_time, lease.state_since)
        };
        let before: Vec<_> = (0..5).map(times).collect();
        let text = std::fs::read_to_string(fixture.path()).unwrap();
        let sixth = text.find("10.0.0.5").unwrap();
        let length = text[..sixth].rfind('\n').unwrap() + 1;
        fixture.replace(&text[..length]);
        let feed = fixture.start(&kind.settings(&fixture.path()));
        fixture.until_follows(&feed);
        let number = fixture.store().feeds()[0].number;
        for lease in 0..5 {
            assert_eq!(feed_of(&fixture, lease), number, "{kind:?}: lease {lease}");
        }
        // Nothing else of them has changed.
        assert_eq!((0..5).map(times).collect::<Vec<_>>(), before, "{kind:?}");
        assert_eq!(fixture.changes(), 7 + 5, "{kind:?}");
        // They are read again, by the same feed and by one that starts.
        fixture.replace(&text[..length]);
        feed.stop();
        let feed = fixture.start(&kind.settings(&fixture.path()));
        fixture.until_follows(&feed);
        assert_eq!(fixture.changes(), 7 + 5, "{kind:?}");
        for lease in 5..7 {
            assert_eq!(feed_of(&fixture, lease), 0, "{kind:?}: lease {lease}");
        }
        assert!(lives(&fixture, 0..7), "{kind:?}");
        feed.stop();
        // An import of the same file again, beside the feed's leases.
        let again = fixture.store().submit(events).unwrap().wait().unwrap();
        assert_eq!(
            (again.changed, feed_of(&fixture, 0)),
            (0, number),
            "{kind:?}"
        );
    });
}

#[test]
fn what_was_imported_and_is_no_longer_leased_ends_when_its_server_says_so() {
    let fixture = Fixture::new();
    fixture.replace(&Kind::Kea.file(0..3));
    let events = Kind::Kea.import(&fixture.path());
    fixture.store().submit(events).unwrap().wait().unwrap();
    let removed = "10.0.0.1,02:00:0a:00:00:01,,0,1700000000,1,0,0,,0,,0\n";
    fixture.append(removed);
    let feed = fixture.start(&Kind::Kea.settings(&fixture.path()));
    fixture.until_state(address(1), State::Available);
    assert!(lives(&fixture, 0..1) && lives(&fixture, 2..3));
    feed.stop();
}

#[test]
fn a_feed_that_gets_another_name_takes_over_its_leases_at_once() {
    each(|kind| {
        let fixture = Fixture::new();
        fixture.replace(&kind.file(0..5));
        let before = fixture.start(&kind.named("before", &fixture.path()));
        fixture.until_follows(&before);
        before.stop();
        let retired = retire_others(fixture.store(), &["after"]).unwrap();
        assert_eq!(retired, ["before"]);
        let after = fixture.start(&kind.named("after", &fixture.path()));
        fixture.until_follows(&after);
        after.stop();
        let feeds = fixture.store().feeds();
        let number = feeds
            .iter()
            .find(|feed| feed.name == "after")
            .unwrap()
            .number;
        for lease in 0..5 {
            assert_eq!(feed_of(&fixture, lease), number, "{kind:?}: lease {lease}");
        }
        assert_eq!(fixture.changes(), 10, "{kind:?}");
    });
}

//! All bindings as they were when a view was taken, although the store has changed since.

mod store_support;

use std::convert::Infallible;

use leaseq_store::*;
use store_support::{Fixture, active4, active6, store};

/// What the view tells: each binding's address and state, in order.
fn told(view: &View) -> Vec<(String, State)> {
    let mut told = Vec::new();
    let done = view.bindings(|record| {
        told.push(match record {
            Record::Bind4(bind) => (bind.address().to_string(), bind.state()),
            Record::Bind6(lease) => (lease.address().to_string(), lease.state()),
            _ => panic!("a record of no binding"),
        });
        Ok::<(), Infallible>(())
    });
    let Ok(()) = done;
    told.sort();
    told
}

fn expected(list: &[(&str, State)]) -> Vec<(String, State)> {
    let mut list: Vec<_> = list
        .iter()
        .map(|(address, state)| ((*address).to_owned(), *state))
        .collect();
    list.sort();
    list
}

#[test]
fn each_binding_once_as_it_was() {
    let fixture = Fixture::new();
    let opened = fixture.open();
    let events = vec![
        active4([10, 0, 0, 10], 1, 1).into(),
        active4([192, 0, 2, 1], 2, 1).into(),
        active6("2001:db8:7::1", 3, 1).into(),
    ];
    store(&opened, events);
    // One of them has two records within the view, the last of them an end.
    store(
        &opened,
        vec![Event4::new([192, 0, 2, 1].into(), State::Released).into()],
    );
    let view = opened.reader().view();
    let then = expected(&[
        ("10.0.0.10", State::Active),
        ("192.0.2.1", State::Released),
        ("2001:db8:7::1", State::Active),
    ]);
    assert_eq!(told(&view), then);
    let changes = vec![
        Event4::new([10, 0, 0, 10].into(), State::Released).into(),
        active4([192, 0, 2, 1], 9, 1).into(),
        Event6::new("2001:db8:7::1".parse().unwrap(), State::Released).into(),
        active4([10, 0, 0, 11], 4, 1).into(),
    ];
    store(&opened, changes);
    assert_eq!(told(&view), then, "the view stays as it was taken");
    assert_eq!(
        told(&opened.reader().view()),
        expected(&[
            ("10.0.0.10", State::Released),
            ("10.0.0.11", State::Active),
            ("192.0.2.1", State::Active),
            ("2001:db8:7::1", State::Released),
        ])
    );
}

#[test]
fn a_compaction_meanwhile_takes_nothing_away() {
    let fixture = Fixture::new();
    let opened = fixture.open();
    let addresses: Vec<[u8; 4]> = (0..200).map(|at| [10, 9, 0, at]).collect();
    for round in 0..8 {
        let events = addresses.iter().map(|address| {
            let mut event = active4(*address, address[3], 1);
            event.lease_time = Some(3_600 + round);
            event.into()
        });
        store(&opened, events.collect());
    }
    let view = opened.reader().view();
    let before = told(&view);
    assert_eq!(before.len(), addresses.len());
    let ends = addresses
        .iter()
        .map(|address| Event4::new((*address).into(), State::Released).into());
    store(&opened, ends.collect());
    opened.compact_now().unwrap();
    assert_eq!(told(&view), before);
}

#[test]
fn what_ends_it_is_given_back() {
    let fixture = Fixture::new();
    let opened = fixture.open();
    store(&opened, vec![active4([10, 0, 0, 10], 1, 1).into()]);
    assert_eq!(
        opened.reader().view().bindings(|_| Err("enough")),
        Err("enough")
    );
}

#[test]
fn a_store_that_was_stopped_says_so_to_all_who_have_it() {
    let fixture = Fixture::new();
    let opened = fixture.open();
    opened.stop().unwrap();
    assert_eq!(opened.compact_now(), Err(CommitError::Stopped));
    assert!(matches!(
        opened.submit(Vec::new()),
        Err(SubmitError::Stopped)
    ));
    opened.stop().unwrap();
}

//! Bulk answers.

use leaseq_loadgen::check::BulkCheck;
use leaseq_loadgen::fault::FaultKind;
use leaseq_loadgen::scenario::By;
use leaseq_requestor::{Bulk, Family};
use leaseq_wire::{v4, v6};

use crate::rig::{Faults, Plan, REQUESTOR, Rig};

const PLAN4: Plan = Plan {
    family: Family::V4,
    relays: 4,
    per_relay: 30,
    changing: 60,
    release_percent: 30,
    seed: 1,
};

const PLAN6: Plan = Plan {
    family: Family::V6,
    per_relay: 31,
    ..PLAN4
};

fn kinds(faults: &Faults) -> Vec<FaultKind> {
    faults.iter().map(|(kind, _)| *kind).collect()
}

/// Where the messages are that tell bindings: in DHCPv4 the last one is the end.
fn telling(rig: &Rig, answer: &[Vec<u8>]) -> usize {
    let last = answer.last().unwrap();
    let is_end = match rig.family {
        Family::V4 => v4::Message::parse(last).unwrap().message_type() == Some(15),
        Family::V6 => v6::Message::parse(last).unwrap().msg_type() == 16,
    };
    assert!(is_end);
    answer.len() - 1
}

#[test]
fn every_query_of_a_true_server_is_accepted() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        for round in 0..6 {
            for (by, relay) in rig.bulk_queries() {
                let answer = rig.bulk(by, relay);
                let (end, faults) = rig.check_bulk(by, relay, &answer);
                assert_eq!(faults, [], "{by:?} {relay} round {round}");
                let rows = rig.inventory.rows(by, relay).len() as u64;
                match (round, by) {
                    (0, _) | (_, By::All) => assert_eq!(end.leases, rows),
                    _ => assert!((1..=rows).contains(&end.leases)),
                }
            }
            rig.change(25);
            rig.pass(1_500);
        }
    }
}

#[test]
fn leases_that_end_meanwhile_are_no_fault() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        rig.change(20);
        rig.pass(85_395_000);
        // A few seconds before the end of those that never changed, and a few after it.
        for _ in 0..10 {
            for (by, relay) in rig.bulk_queries() {
                let answer = rig.bulk(by, relay);
                let (_, faults) = rig.check_bulk(by, relay, &answer);
                assert_eq!(faults, [], "{by:?} {relay}");
            }
            rig.pass(1_000);
        }
    }
}

#[test]
fn a_lease_dropped_or_repeated_is_found() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        rig.change(40);
        for (by, relay) in rig.bulk_queries() {
            let answer = rig.bulk(by, relay);
            for at in 0..telling(&rig, &answer) {
                let mut dropped = answer.clone();
                let told = dropped.remove(at);
                // The first message names the server; without it an answer breaches the protocol.
                if at > 0 {
                    let (_, faults) = rig.check_bulk(by, relay, &dropped);
                    assert_eq!(kinds(&faults), [FaultKind::Missing], "{by:?} {at}");
                }
                let mut repeated = answer.clone();
                if at == 0 && rig.family == Family::V6 {
                    // A second LEASEQUERY-REPLY would be a breach of the protocol.
                    let mut again = told.clone();
                    again[0] = 17;
                    repeated.insert(1, again);
                } else {
                    repeated.insert(at, told);
                }
                let (_, faults) = rig.check_bulk(by, relay, &repeated);
                assert!(!faults.is_empty());
                assert!(
                    kinds(&faults)
                        .iter()
                        .all(|kind| *kind == FaultKind::Repeated),
                    "{faults:?}"
                );
            }
        }
    }
}

#[test]
fn another_relays_leases_are_found() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        let (one, other) = (rig.bulk(By::RelayId, 1), rig.bulk(By::RelayId, 2));
        let mut mixed = one.clone();
        mixed.insert(3, other[5].clone());
        let (_, faults) = rig.check_bulk(By::RelayId, 1, &mixed);
        assert!(
            !faults.is_empty()
                && kinds(&faults)
                    .iter()
                    .all(|kind| *kind == FaultKind::Unexpected)
        );
        let (_, faults) = rig.check_bulk(By::RelayId, 1, &other);
        assert_eq!(kinds(&faults).last(), Some(&FaultKind::Missing));
        let (_, text) = faults.last().unwrap();
        let rows = rig.inventory.rows(By::RelayId, 1);
        assert!(text.starts_with(&format!("{} of {} were not told: ", rows.len(), rows.len())));
        assert!(
            text.ends_with(&format!(" and {} more", rows.len() - 5)),
            "{text}"
        );
        assert!(text.contains(&rig.inventory.name(rows.get(4).unwrap())));
    }
}

/// Octets of a message whose alteration may stay unnoticed, for they say nothing about a binding.
fn may_differ(rig: &Rig, at: usize, message: &[u8]) -> bool {
    match rig.family {
        // op, hops, secs, flags, yiaddr to giaddr, padding of chaddr, sname, file.
        Family::V4 => {
            let in_option = |wanted: &[u8]| {
                let mut place = 240;
                while place + 1 < message.len() {
                    let (code, len) = (message[place], usize::from(message[place + 1]));
                    if (place..place + 2 + len).contains(&at) && wanted.contains(&code) {
                        return true;
                    }
                    place += 2 + len;
                }
                // END.
                at + 1 == message.len()
            };
            matches!(at, 3 | 8..=11 | 16..=27 | 34..=235) || in_option(&[54, 156])
        }
        // Of the relay data the address that the server had it from, and the hop count; the flags of a mark.
        Family::V6 => {
            // Behind base-time, DUID and CLT_TIME; what follows begins at once behind it.
            let is = |at: usize, code: u16| message[at..].starts_with(&code.to_be_bytes());
            let (relay, next) = (38, 38 + 4 + 92);
            assert!(is(relay, 47));
            let mark = is(next, 39).then_some(next + 4);
            (relay + 4..relay + 20).contains(&at) || at == relay + 21 || Some(at) == mark
        }
    }
}

#[test]
fn every_octet_altered_is_found() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        rig.change(60);
        let answer = rig.bulk(By::RelayId, 1);
        let mut unnoticed = Vec::new();
        let mut altered = 0;
        for place in 1..telling(&rig, &answer) {
            for at in 0..answer[place].len() {
                for bit in [0x40, 0x08] {
                    let mut other = answer.clone();
                    other[place][at] ^= bit;
                    altered += 1;
                    if !is_noticed(&rig, &other) && !may_differ(&rig, at, &answer[place]) {
                        unnoticed.push((place, at, bit));
                    }
                }
            }
        }
        assert!(altered > 1_000);
        assert_eq!(unnoticed, [], "{:?}: message, octet, bit", plan.family);
    }
}

fn is_noticed(rig: &Rig, answer: &[Vec<u8>]) -> bool {
    let query = rig.query(By::RelayId, 1);
    let mut check = BulkCheck::new(&rig.expected(By::RelayId, 1), rig.unix());
    let mut faults = 0;
    let mut fault = |_, _, _: &[u8]| faults += 1;
    let mut bulk = Bulk::like(&query);
    bulk.add(7);
    for message in answer {
        let octets = [&(message.len() as u16).to_be_bytes()[..], message].concat();
        let pushed = bulk.push(&octets, &mut |event| {
            check.told(&event, rig.unix(), &mut fault)
        });
        if pushed.is_err() {
            return true;
        }
    }
    check.end(rig.unix(), &mut fault);
    faults > 0
}

#[test]
fn an_answer_from_before_acknowledged_changes_is_stale() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        rig.change(60);
        let before: Vec<_> = rig
            .bulk_queries()
            .into_iter()
            .map(|(by, relay)| (by, relay, rig.bulk(by, relay)))
            .collect();
        rig.change(60);
        let mut found = Vec::new();
        for (by, relay, answer) in &before {
            let (_, faults) = rig.check_bulk(*by, *relay, answer);
            // Of each relay some bindings have changed.
            assert!(!faults.is_empty());
            found.extend(kinds(&faults));
        }
        found.sort_unstable();
        found.dedup();
        // A lease that has been released, or begun again, since then is not only told as it was.
        let allowed = [FaultKind::Missing, FaultKind::Different, FaultKind::Stale];
        assert!(found.contains(&FaultKind::Stale));
        assert!(found.iter().all(|kind| allowed.contains(kind)), "{found:?}");
    }
}

#[test]
fn changes_that_are_not_yet_acknowledged_may_be_told_or_not() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        rig.change(30);
        // Submitted, and stored only after the answer; and stored before it without having been acknowledged.
        let lines: Vec<_> = (0..30).map(|_| rig.submit()).collect();
        for upto in 0..=lines.len() {
            for (by, relay) in rig.bulk_queries() {
                let check = BulkCheck::new(&rig.expected(by, relay), rig.unix());
                let answer = rig.bulk(by, relay);
                let (_, faults) = rig.run_check(check, by, relay, &answer);
                assert_eq!(faults, [], "{by:?} {relay} {upto}");
            }
            if let Some((_, line)) = lines.get(upto) {
                rig.store_lines(line);
            }
        }
        // As soon as they are acknowledged they have to be.
        let answers: Vec<_> = rig
            .bulk_queries()
            .into_iter()
            .map(|(by, relay)| (by, relay, rig.bulk(by, relay)))
            .collect();
        rig.board.acknowledge(rig.family, 60);
        for (by, relay, answer) in answers {
            assert_eq!(rig.check_bulk(by, relay, &answer).1, []);
        }
    }
}

#[test]
fn base_time_that_goes_back_or_lies_ahead_is_found() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        let early = rig.bulk(By::RelayId, 1);
        rig.pass(3_000);
        let mut answer = rig.bulk(By::RelayId, 1);
        answer[4] = early[4].clone();
        let (_, faults) = rig.check_bulk(By::RelayId, 1, &answer);
        assert_eq!(kinds(&faults), [FaultKind::Order], "{faults:?}");
        // Made seven seconds ahead of our clock.
        rig.pass(7_000);
        let late = rig.bulk(By::RelayId, 1);
        rig.pass(0);
        let query = rig.query(By::RelayId, 1);
        let now = rig.start + 3;
        let mut check = BulkCheck::new(
            &rig.expected(By::RelayId, 1),
            leaseq_wire::time::UnixSeconds(now),
        );
        let mut faults = Faults::new();
        let mut fault = |kind, text, _: &[u8]| faults.push((kind, text));
        let mut bulk = Bulk::like(&query);
        bulk.add(7);
        let octets = [&(late[0].len() as u16).to_be_bytes()[..], &late[0]].concat();
        let received = leaseq_wire::time::UnixSeconds(now);
        bulk.push(&octets, &mut |event| {
            check.told(&event, received, &mut fault)
        })
        .unwrap();
        assert_eq!(kinds(&faults), [FaultKind::Times]);
    }
}

#[test]
fn without_an_inventory_only_the_form_is_checked() {
    let mut rig = Rig::new(&PLAN6);
    let answer = rig.bulk(By::RelayId, 1);
    let mut expected = rig.expected(By::RelayId, 1);
    expected.inventory = None;
    let check = BulkCheck::new(&expected, rig.unix());
    let (end, faults) = rig.run_check(check, By::RelayId, 1, &answer);
    assert_eq!(faults, []);
    assert!(end.leases > 20);
    assert!(rig.inventory.query(By::Address, 1, REQUESTOR).is_none());
}

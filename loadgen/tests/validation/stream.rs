//! Active streams.

use leaseq_loadgen::check::{BulkCheck, Picture, StreamCheck};
use leaseq_loadgen::fault::FaultKind;
use leaseq_loadgen::scenario::By;
use leaseq_requestor::{Active, Family};

use crate::rig::{Faults, Plan, Requestor, Rig, messages};

const PLAN4: Plan = Plan {
    family: Family::V4,
    relays: 3,
    per_relay: 20,
    changing: 40,
    release_percent: 40,
    seed: 3,
};

const PLAN6: Plan = Plan {
    family: Family::V6,
    ..PLAN4
};

/// Someone who follows, and what is found wrong with what he is told.
pub struct Follower {
    requestor: Requestor,
    core: Active,
    pub check: StreamCheck,
    octets: Vec<u8>,
    pub faults: Faults,
    /// Numbers of changes told, in order.
    changes: Vec<u64>,
}

impl Follower {
    pub fn new(rig: &mut Rig, by: By, relay: u32, picture: &Picture, since: Option<u32>) -> Self {
        let query = rig.query(by, relay);
        let since = since.map(leaseq_wire::time::UnixSeconds);
        let request = query.active_request(9, since).unwrap();
        Self {
            requestor: rig.connect(request),
            core: Active::new(&query, 9, since.is_some()),
            check: StreamCheck::new(&rig.expected(by, relay), picture),
            octets: Vec::new(),
            faults: Faults::new(),
            changes: Vec::new(),
        }
    }

    /// The server writes about so many octets.
    fn hear(&mut self, rig: &Rig, target: usize) -> bool {
        let mut octets = Vec::new();
        let moved = self.requestor.step(rig, target, &mut octets);
        self.octets.extend_from_slice(&octets);
        self.take(rig, &octets);
        moved
    }

    fn take(&mut self, rig: &Rig, octets: &[u8]) {
        let (check, changes, faults) = (&mut self.check, &mut self.changes, &mut self.faults);
        let mut fault = |kind, text, _: &[u8]| faults.push((kind, text));
        let taken = self.core.push(octets, &mut |event| {
            changes.extend(check.told(&event, rig.unix(), &mut fault));
        });
        taken.unwrap();
    }

    pub fn hear_all(&mut self, rig: &Rig) {
        rig.committed();
        while self.hear(rig, 64 << 10) {}
    }

    pub fn end(&mut self) -> &Faults {
        let faults = &mut self.faults;
        self.check
            .end(&mut |kind, text, _: &[u8]| faults.push((kind, text)));
        &self.faults
    }
}

/// Everything that can be followed.
pub fn queries(rig: &Rig) -> Vec<(By, u32)> {
    let mut queries = rig.bulk_queries();
    queries.retain(|(by, _)| *by != By::All);
    queries.push((By::All, 0));
    queries
}

#[test]
fn live_streams_of_a_true_server_are_accepted() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        let mut followers: Vec<Follower> = queries(&rig)
            .into_iter()
            .map(|(by, relay)| Follower::new(&mut rig, by, relay, &Picture::nothing(), None))
            .collect();
        for follower in &mut followers {
            follower.hear_all(&rig);
            follower.check.live();
            assert!(follower.check.is_complete());
        }
        for round in 0..120 {
            rig.change(1 + round % 3);
            rig.committed();
            rig.pass(30);
            for (number, follower) in followers.iter_mut().enumerate() {
                // Some read late.
                if round % (1 + number as u64 % 4) == 0 {
                    follower.hear_all(&rig);
                    assert_eq!(follower.faults, [], "{number} round {round}");
                    assert!(follower.check.is_complete(), "{number} round {round}");
                }
            }
        }
        for follower in &mut followers {
            follower.hear_all(&rig);
            assert!(follower.check.is_complete());
            assert_eq!(follower.end(), &[]);
        }
        let last = followers.last().unwrap();
        assert!(last.changes.len() > 200);
    }
}

#[test]
fn catch_up_and_recovery_before_are_accepted() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        let start = rig.start;
        rig.change(70);
        rig.pass(1_000);
        for round in 0..12 {
            for (by, relay) in queries(&rig) {
                // From before the first change.
                let mut follower =
                    Follower::new(&mut rig, by, relay, &Picture::first(), Some(start));
                assert!(!follower.check.is_complete());
                follower.hear_all(&rig);
                assert_eq!(follower.faults, [], "{by:?} {relay} {round}");
                assert!(follower.check.is_complete());
                assert_eq!(follower.end(), &[]);
            }
            for (by, relay) in rig.bulk_queries() {
                // From a bulk answer, with changes between all steps, and one that is in flight.
                let in_flight = rig.submit();
                let check = BulkCheck::new(&rig.expected(by, relay), rig.unix());
                let since = rig.unix().0;
                let answer = rig.bulk(by, relay);
                rig.store_lines(&in_flight.1);
                rig.board.acknowledge(rig.family, in_flight.0);
                rig.change(2);
                let (end, faults) = rig.run_check(check, by, relay, &answer);
                assert_eq!(faults, []);
                rig.change(3);
                let mut follower = Follower::new(&mut rig, by, relay, &end.picture, Some(since));
                rig.change(3);
                follower.hear_all(&rig);
                rig.pass(15);
                rig.change(3);
                follower.hear_all(&rig);
                assert_eq!(follower.faults, [], "{by:?} {relay} {round}");
                assert!(
                    follower.check.is_complete(),
                    "{by:?} {relay} {round} {:?}",
                    follower.check
                );
                assert_eq!(follower.end(), &[]);
            }
        }
    }
}

/// What a follower is told from before the first change on, message by message.
fn stream(rig: &mut Rig, by: By, relay: u32) -> Vec<Vec<u8>> {
    let start = rig.start;
    let mut follower = Follower::new(rig, by, relay, &Picture::first(), Some(start));
    follower.hear_all(rig);
    for _ in 0..30 {
        rig.change(1);
        follower.hear_all(rig);
        rig.pass(60);
    }
    messages(&follower.octets)
}

/// What is found in messages of a stream.
fn check(rig: &mut Rig, by: By, relay: u32, messages: &[Vec<u8>]) -> Faults {
    let start = rig.start;
    let mut follower = Follower::new(rig, by, relay, &Picture::first(), Some(start));
    for message in messages {
        let octets = [&(message.len() as u16).to_be_bytes()[..], message].concat();
        follower.take(rig, &octets);
    }
    follower.end();
    follower.faults
}

#[test]
fn a_change_that_is_not_told_is_found_at_the_end() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        rig.change(30);
        for (by, relay) in [(By::RelayId, 1), (By::All, 0)] {
            let told = stream(&mut rig, by, relay);
            assert_eq!(check(&mut rig, by, relay, &told), []);
            let mut found = 0;
            for at in 1..told.len() {
                let mut dropped = told.clone();
                dropped.remove(at);
                let faults = check(&mut rig, by, relay, &dropped);
                // It may have been told again, with a later change of it or of its client.
                assert!(
                    faults.iter().all(|(kind, _)| *kind == FaultKind::EndState),
                    "{faults:?}"
                );
                found += usize::from(!faults.is_empty());
            }
            assert!(found > 5, "{by:?}: {found} of {}", told.len());
            let half = &told[..told.len() - 4];
            let faults = check(&mut rig, by, relay, half);
            assert_eq!(faults.len(), 1);
            assert!(faults[0].1.contains("never told as they are"), "{faults:?}");
        }
    }
}

#[test]
fn what_is_old_told_after_what_is_new_is_found() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        let all: Vec<Vec<u8>> = stream(&mut rig, By::All, 0);
        rig.change(60);
        let start = rig.start;
        let mut late = Follower::new(&mut rig, By::All, 0, &Picture::first(), Some(start));
        late.hear_all(&rig);
        let now = messages(&late.octets);
        assert_eq!(late.end(), &[]);
        // The state as it is now, and then a message from before.
        let mut found = 0;
        for old in all.iter().rev().take(20) {
            let mut told = now.clone();
            told.push(old.clone());
            let faults = check(&mut rig, By::All, 0, &told);
            found += usize::from(faults.iter().any(|(kind, text)| {
                *kind == FaultKind::Order && text.contains("after it had been told")
            }));
            let kinds = [FaultKind::Order, FaultKind::Different];
            assert!(
                faults.iter().any(|(kind, _)| kinds.contains(kind)),
                "{faults:?}"
            );
        }
        assert!(found > 10, "{found}");
    }
}

#[test]
fn every_octet_of_a_stream_altered_is_found() {
    for plan in [PLAN4, PLAN6] {
        let mut rig = Rig::new(&plan);
        let told = stream(&mut rig, By::RelayId, 1);
        let telling = told.len() - 3..told.len();
        let mut unnoticed = 0;
        let mut altered = 0;
        for place in telling {
            for at in 0..told[place].len() {
                let mut other = told.clone();
                other[place][at] ^= 0x40;
                altered += 1;
                unnoticed += usize::from(!is_noticed(&mut rig, &other));
            }
        }
        // Those of a message that tell nothing of a binding, as in a bulk answer: in DHCPv4 the header's unused fields.
        let most = match rig.family {
            Family::V4 => 3 * 226,
            Family::V6 => 3 * 22,
        };
        assert!(unnoticed <= most, "{unnoticed} of {altered}");
    }
}

fn is_noticed(rig: &mut Rig, told: &[Vec<u8>]) -> bool {
    let start = rig.start;
    let mut follower = Follower::new(rig, By::RelayId, 1, &Picture::first(), Some(start));
    for message in told {
        let octets = [&(message.len() as u16).to_be_bytes()[..], message].concat();
        let (check, faults) = (&mut follower.check, &mut follower.faults);
        let mut fault = |kind, text, _: &[u8]| faults.push((kind, text));
        let pushed = follower.core.push(&octets, &mut |event| {
            check.told(&event, rig.unix(), &mut fault);
        });
        if pushed.is_err() {
            return true;
        }
    }
    !follower.end().is_empty()
}

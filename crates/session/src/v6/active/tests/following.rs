//! Whoever follows a stream, however far behind, ends up with the live leases of the clients that match, and no other.

use leaseq_store::{Bind6, Vpn};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// On each of two links.
const ADDRESSES: [&str; 6] = [
    "2001:db8:1::1",
    "2001:db8:1::2",
    "2001:db8:1::3",
    "2001:db8:2::1",
    "2001:db8:2::2",
    "2001:db8:2::3",
];

/// What a requestor holds: which client has which lease.
type Held = BTreeMap<String, Vec<u8>>;

fn follow(held: &mut Held, lines: &[Line]) {
    for line in lines {
        let duid = line.duid.clone().expect("a client");
        for (lease, _, valid) in &line.leases {
            if *valid > 0 {
                held.insert(lease.clone(), duid.clone());
            } else if held.get(lease) == Some(&duid) {
                held.remove(lease);
            }
        }
    }
}

/// What a bulk query would find: the live leases of each client on a link of which one is as wanted.
fn truth(site: &Site, wanted: impl Fn(&Bind6<'_>) -> bool) -> Held {
    let view = site.reader.view();
    let now = site.reader.now();
    let global = Vpn::GLOBAL;
    let is_live = |lease: &Bind6<'_>| lease.state() == State::Active && lease.valid_left(now) > 0;
    let mut held = Held::new();
    for address in ADDRESSES {
        let Some(lease) = view.lease6(&global, ip(address)).filter(is_live) else {
            continue;
        };
        let mut group = Group::default();
        view.group_of(&lease, &mut group);
        let mut live = group.members.iter().filter(|lease| is_live(lease));
        if live.any(&wanted) {
            let key = format!("{}/{}", lease.address(), lease.prefix_len());
            held.insert(key, lease.duid().to_vec());
        }
    }
    held
}

/// What a client's leases have in common in a history.
///
/// A lease that is told only because of another one of its client, and then becomes another client's while that other one
/// moves away, is not ended for a stream by relay agent or address that sees neither until both have happened: nothing in
/// the store says any more that it had been told. So either of the two stays as it is here, where that matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fixed {
    /// The client of each lease.
    Client,
    /// The relay agent of each client.
    Relay,
    Nothing,
}

/// A change of one of a few leases, clients and relay agents, so that everything that can happen to one does.
fn change(rng: &mut StdRng, fixed: Fixed, step: u32) -> Event6 {
    let n = rng.random_range(0..ADDRESSES.len());
    let client = match fixed {
        Fixed::Client => (n % 3 / 2 + 1) as u8,
        _ => rng.random_range(1..=3),
    };
    let at = match fixed {
        Fixed::Relay => client % 2 + 1,
        _ => rng.random_range(1..=2),
    };
    if rng.random_range(0..3) == 0 {
        let moved = fixed != Fixed::Relay && rng.random_range(0..4) == 0;
        return Event6 {
            relay: moved.then(|| vec![relay(at)]),
            ..end(ADDRESSES[n])
        };
    }
    Event6 {
        cltt: Some(NOW - 100 + step),
        ..lease(ADDRESSES[n], client, at)
    }
}

/// Follows histories in pieces of any length, each of which is read when more has happened.
fn follow_histories(
    fixed: Fixed,
    asked: &Asked,
    rule: impl Fn(&mut RequestorRule),
    wanted: impl Fn(&Bind6<'_>) -> bool,
) {
    let mut told = 0;
    for seed in 0..12 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut site = Site::new();
        rule(&mut site.rule);
        let mut teller = site.teller(asked);
        let mut follower = Follower::at(1);
        let mut held = Held::new();
        let mut read = |follower: &mut Follower, most| {
            let lines = follower.read(&site, &mut *teller, most);
            told += lines.len();
            follow(&mut held, &lines);
        };
        for step in 0..rng.random_range(5..40) {
            let changes = rng.random_range(1..4);
            site.later((0..changes).map(|_| change(&mut rng, fixed, step)));
            if rng.random_range(0..4) == 0 {
                read(&mut follower, rng.random_range(1..8));
            }
        }
        read(&mut follower, usize::MAX);
        let found = truth(&site, &wanted);
        assert_eq!(held, found, "{fixed:?}, seed {seed}, {asked:?}");
    }
    assert!(told > 20, "only {told} messages");
}

#[test]
fn of_everything_a_client_or_a_link() {
    let second = |address: Ipv6Addr| address.segments()[2] == 2;
    follow_histories(Fixed::Nothing, &Asked::all(), |_| (), |_| true);
    let client = Asked::by_client(2);
    follow_histories(
        Fixed::Nothing,
        &client,
        |_| (),
        |lease| lease.duid() == duid(2),
    );
    let link = Asked::by_link("2001:db8:2::");
    follow_histories(
        Fixed::Nothing,
        &link,
        |_| (),
        |lease| second(lease.address()),
    );
    let limit = |rule: &mut RequestorRule| {
        rule.links = vec![LinkRule {
            name: "pop-2".to_owned(),
            prefixes: vec!["2001:db8:2::/48".parse().unwrap()],
        }];
    };
    follow_histories(Fixed::Nothing, &Asked::all(), limit, |lease| {
        second(lease.address())
    });
}

#[test]
fn of_a_relay_agent_a_circuit_or_an_address() {
    let behind = |lease: &Bind6<'_>| lease.has_relay_id(&relay_id(1));
    let limit = |rule: &mut RequestorRule| rule.relay_ids = vec![relay_id(1)];
    for fixed in [Fixed::Client, Fixed::Relay] {
        follow_histories(fixed, &Asked::by_relay(1), |_| (), behind);
        follow_histories(fixed, &Asked::by_remote(1), |_| (), behind);
        follow_histories(fixed, &Asked::all(), limit, behind);
    }
    let address = Asked::by_address(ADDRESSES[0]);
    let has_it = |lease: &Bind6<'_>| lease.address() == ip(ADDRESSES[0]);
    follow_histories(Fixed::Client, &address, |_| (), has_it);
}

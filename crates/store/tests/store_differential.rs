//! Random histories against a model: every selector's answer through the indexes is that of a plain map, and of a full scan
//! of the log; before and after reopening (with the checkpoint and without), and after compaction.

mod store_support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, Ipv6Addr};

use leaseq_store::*;
use proptest::prelude::*;
use smallvec::SmallVec;
use store_support::*;

const VPNS: [&str; 3] = ["", "red", "blue"];
const STATES: [State; 5] = [
    State::Active,
    State::Active,
    State::Released,
    State::Available,
    State::Abandoned,
];

/// One step of a history.
#[derive(Clone, Debug)]
enum Step {
    Submit(Vec<Event>),
    Pass(u32),
    Tick,
    Crash,
    Stop,
    Compact,
    Feed(bool),
}

fn event4() -> impl Strategy<Value = Event> {
    let parts = (
        0u8..40,
        0usize..3,
        0usize..5,
        0u8..4,
        0u8..3,
        prop::option::of(0u8..3),
        1u32..4_000,
        any::<bool>(),
    );
    parts.prop_map(|(host, vpn, state, client, relay, id, lease, fed)| {
        let mut info = vec![1, 1, 9];
        if relay > 0 {
            info.extend([2, 2, b'r', relay, 12, 2, b'R', relay]);
        }
        let state = STATES[state];
        let full = state == State::Active || host % 2 == 0;
        let mut event = Event4::new(Ipv4Addr::new(10, 0, 0, host), state);
        event.vpn = Vpn::named(VPNS[vpn]);
        if full {
            event.hwaddr = Some(HwAddr {
                htype: 1,
                octets: SmallVec::from_slice(&[2, 0, 0, 0, 0, client]),
            });
            event.client_id = id.map(|id| vec![id; 3]);
            event.lease_time = Some(lease);
            event.relay_agent_info = Some(info);
        }
        event.feed = u16::from(fed);
        Event::V4(event)
    })
}

fn event6() -> impl Strategy<Value = Event> {
    let parts = (
        0u16..24,
        0usize..3,
        0usize..5,
        0u8..4,
        0u8..4,
        0u8..4,
        1u32..4_000,
        any::<bool>(),
    );
    parts.prop_map(|(host, vpn, state, client, relay, outer, lease, fed)| {
        let state = STATES[state];
        let address = match host % 3 {
            0 => Ipv6Addr::new(0x2001, 0xdb8, 7, 0, 0, 0, 0, host),
            1 => Ipv6Addr::new(0x2001, 0xdb8, 9, 0, 0, 0, 0, host),
            _ => Ipv6Addr::new(0x2001, 0xdb8, 0x7100, host << 8, 0, 0, 0, 0),
        };
        let mut event = Event6::new(address, state);
        if host % 3 == 2 {
            event.kind = LeaseKind::Pd;
            event.prefix_len = 56;
        }
        event.vpn = Vpn::named(VPNS[vpn]);
        if state == State::Active || host % 2 == 0 {
            event.duid = Some(vec![0, 3, client]);
            event.valid_lifetime = Some(lease);
            let hop = |link: u8, id: u8| Relay6 {
                link: if link == 0 {
                    Ipv6Addr::UNSPECIFIED
                } else {
                    Ipv6Addr::new(0x2001, 0xdb8, 7 + u16::from(link), 0, 0, 0, 0, 1)
                },
                peer: Ipv6Addr::UNSPECIFIED,
                options: if id == 0 {
                    vec![]
                } else {
                    vec![0, 37, 0, 5, 0, 0, 0, 9, id, 0, 53, 0, 2, b'R', id]
                },
            };
            event.relay = Some(vec![hop(0, outer), hop(relay % 3, relay)]);
            if relay == 3 {
                event.link = Some(Link6::Subnet(3));
            }
        }
        event.feed = u16::from(fed);
        Event::V6(event)
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let events = prop::collection::vec(prop_oneof![event4(), event6()], 1..24);
    let step = prop_oneof![
        8 => events.prop_map(Step::Submit),
        2 => (0u32..3_000).prop_map(Step::Pass),
        2 => Just(Step::Tick),
        1 => Just(Step::Crash),
        1 => Just(Step::Stop),
        1 => Just(Step::Compact),
        1 => any::<bool>().prop_map(Step::Feed),
    ];
    prop::collection::vec(step, 1..40)
}

type Key4 = (Vpn, Ipv4Addr);
type Key6 = (Vpn, Ipv6Addr, u8);

/// The newest record of each key, from a scan of the log.
#[derive(Default, Debug, PartialEq)]
struct Scanned4And6 {
    v4: BTreeMap<Key4, Event4>,
    v6: BTreeMap<Key6, (Event6, u64)>,
}

fn scan(view: &View) -> Scanned4And6 {
    let mut all = Scanned4And6::default();
    let mut last = 0;
    let mut newest: BTreeMap<String, u64> = BTreeMap::new();
    for found in view.scan(ScanFrom::Start) {
        assert!(found.record.sequence() > last, "the log is in order");
        last = found.record.sequence();
        match found.record {
            Record::Bind4(bind) => {
                all.v4
                    .insert((bind.vpn().to_vpn(), bind.address()), bind.to_event());
                if found.newest {
                    newest.insert(format!("{:?} {}", bind.vpn(), bind.address()), last);
                }
            }
            Record::Bind6(lease) => {
                let key = (lease.vpn().to_vpn(), lease.address(), lease.prefix_len());
                all.v6.insert(key, (lease.to_event(), lease.joined()));
                if found.newest {
                    newest.insert(
                        format!(
                            "{:?} {}/{}",
                            lease.vpn(),
                            lease.address(),
                            lease.prefix_len()
                        ),
                        last,
                    );
                }
            }
            _ => {}
        }
    }
    assert_eq!(
        newest.len(),
        all.v4.len() + all.v6.len(),
        "each key has one newest record"
    );
    all
}

/// What the model holds of a key.
#[derive(Default)]
struct Modelled {
    /// States that it may be in: the last one told, and those of imports that may have told something better than the feed.
    states: Vec<State>,
    /// Whether the feed has told of it.
    fed: bool,
}

impl Modelled {
    fn take(&mut self, state: State, feed: u16, live: bool) {
        if feed > 0 || !self.fed || !live {
            self.states.clear();
        }
        self.states.push(state);
        self.fed |= feed > 0;
    }

    /// Whether this is one of the states, or what the clock may have made of one.
    fn admits(&self, stored: State) -> bool {
        let has = |state| self.states.contains(&state);
        has(stored) || (has(State::Active) && stored == State::Expired)
    }
}

/// What the model holds: events as completed by the store are taken from the log, so the model checks which keys there are
/// and in which order events took effect.
#[derive(Default)]
struct Model {
    v4: BTreeMap<Key4, Modelled>,
    v6: BTreeMap<Key6, Modelled>,
    /// Whether the feed is followed.
    live: bool,
}

impl Model {
    fn apply(&mut self, event: &Event) {
        match event {
            Event::V4(event) => {
                let key = (event.vpn.clone(), event.address);
                let modelled = self.v4.entry(key).or_default();
                modelled.take(event.state, event.feed, self.live);
            }
            Event::V6(event) => {
                let key = (event.vpn.clone(), event.address, event.prefix_len);
                let modelled = self.v6.entry(key).or_default();
                modelled.take(event.state, event.feed, self.live);
            }
            Event::Feed(event) => self.live = event.live,
        }
    }

    fn check(&self, all: &Scanned4And6) {
        for (key, modelled) in &self.v4 {
            let stored = all.v4.get(key).map(|event| event.state);
            assert!(
                stored.is_some_and(|stored| modelled.admits(stored)),
                "{key:?}: {:?}, {stored:?}",
                modelled.states
            );
        }
        for (key, modelled) in &self.v6 {
            let stored = all.v6.get(key).map(|(event, _)| event.state);
            assert!(
                stored.is_some_and(|stored| modelled.admits(stored)),
                "{key:?}: {:?}, {stored:?}",
                modelled.states
            );
        }
        assert_eq!((self.v4.len(), self.v6.len()), (all.v4.len(), all.v6.len()));
    }
}

fn sub(info: &[u8], code: u8) -> Option<Vec<u8>> {
    let mut at = 0;
    while at < info.len() {
        let end = at + 2 + usize::from(info[at + 1]);
        if info[at] == code {
            return Some(info[at + 2..end].to_vec());
        }
        at = end;
    }
    None
}

fn option6(options: &[u8], code: u8) -> Option<Vec<u8>> {
    let mut at = 0;
    while at < options.len() {
        let end = at + 4 + usize::from(options[at + 3]);
        if options[at + 1] == code {
            return Some(options[at + 4..end].to_vec());
        }
        at = end;
    }
    None
}

fn check_v4(view: &View, all: &Scanned4And6) {
    let mut selects = vec![VpnSelect::All];
    selects.extend(VPNS.iter().map(|name| VpnSelect::One(Vpn::named(name))));
    for vpn in &selects {
        let expect = |wanted: &dyn Fn(&Event4) -> bool| -> Vec<Key4> {
            let matching = all
                .v4
                .iter()
                .filter(|((of, _), event)| vpn.admits(of.as_ref()) && wanted(event));
            matching.map(|(key, _)| key.clone()).collect()
        };
        let found = |selector: Selector4<'_>| -> Vec<Key4> {
            let mut keys: Vec<Key4> = walk4(view, selector, vpn)
                .into_iter()
                .map(|event| {
                    let key = (event.vpn.clone(), event.address);
                    assert_eq!(all.v4.get(&key), Some(&event));
                    key
                })
                .collect();
            keys.sort();
            keys
        };
        for client in 0..4 {
            let mac = [2, 0, 0, 0, 0, client];
            let wanted = |event: &Event4| {
                event
                    .hwaddr
                    .as_ref()
                    .is_some_and(|hw| hw.octets.as_slice() == mac)
            };
            assert_eq!(
                found(Selector4::HwAddr {
                    htype: 1,
                    address: &mac
                }),
                expect(&wanted)
            );
            assert_eq!(
                found(Selector4::HwAddr {
                    htype: 0,
                    address: &mac
                }),
                expect(&wanted)
            );
            assert!(
                found(Selector4::HwAddr {
                    htype: 6,
                    address: &mac
                })
                .is_empty()
            );
        }
        for id in 0..3u8 {
            let id = [id; 3];
            let wanted = |event: &Event4| event.client_id.as_deref() == Some(&id);
            assert_eq!(found(Selector4::ClientId(&id)), expect(&wanted));
        }
        for relay in 1..3 {
            let of = |event: &Event4, code| {
                event
                    .relay_agent_info
                    .as_deref()
                    .and_then(|info| sub(info, code))
            };
            let (remote, relay_id) = ([b'r', relay], [b'R', relay]);
            assert_eq!(
                found(Selector4::RemoteId(&remote)),
                expect(&|event| of(event, 2).as_deref() == Some(&remote))
            );
            assert_eq!(
                found(Selector4::RelayId(&relay_id)),
                expect(&|event| of(event, 12).as_deref() == Some(&relay_id))
            );
        }
        check_all4(view, all, vpn);
    }
}

fn check_all4(view: &View, all: &Scanned4And6, vpn: &VpnSelect) {
    let mut expect: BTreeMap<Key4, Option<&Event4>> = BTreeMap::new();
    for range in topology()
        .ranges4
        .iter()
        .filter(|range| vpn.admits(range.vpn.as_ref()))
    {
        for address in range.first.to_bits()..=range.last.to_bits() {
            expect.insert((range.vpn.clone(), Ipv4Addr::from_bits(address)), None);
        }
    }
    let known = all.v4.iter().filter(|((of, _), _)| vpn.admits(of.as_ref()));
    expect.extend(known.map(|(key, event)| (key.clone(), Some(event))));
    let found = walk_all4(view, vpn);
    assert_eq!(found.len(), expect.len(), "each address once");
    for (of, address, bound) in found {
        assert_eq!(expect.get(&(of, address)), Some(&bound.as_ref()));
    }
}

/// Whether a client with this DUID on this link with these leases is asked for.
type Wanted6<'w> = dyn Fn(&[u8], LinkId, &BTreeSet<Key6>) -> bool + 'w;

fn check_v6(view: &View, all: &Scanned4And6) {
    // Clients on links, as the store tells the link of each lease.
    let mut groups: BTreeMap<(Vpn, Vec<u8>, LinkId), BTreeSet<Key6>> = BTreeMap::new();
    for (key, (event, _)) in &all.v6 {
        let lease = view.lease6(&key.0, key.1).unwrap();
        assert_eq!(&lease.to_event(), event);
        if let Some(duid) = &event.duid {
            let link = view.link_id(&lease).unwrap();
            groups
                .entry((key.0.clone(), duid.clone(), link))
                .or_default()
                .insert(key.clone());
            let mut group = Group::default();
            assert!(view.group_of(&lease, &mut group));
            assert_eq!(group.link, link);
        }
    }
    let keys = |members: &[Event6]| -> BTreeSet<Key6> {
        members
            .iter()
            .map(|event| (event.vpn.clone(), event.address, event.prefix_len))
            .collect()
    };
    let mut selects = vec![VpnSelect::All];
    selects.extend(VPNS.iter().map(|name| VpnSelect::One(Vpn::named(name))));
    let links: BTreeSet<LinkId> = groups.keys().map(|(_, _, link)| *link).collect();
    let mut filters = vec![None];
    filters.extend(links.iter().copied().map(Some));
    let has = |members: &BTreeSet<Key6>, code: u8, value: &[u8]| {
        members.iter().any(|key| {
            let relays = all.v6[key].0.relay.iter().flatten();
            relays
                .into_iter()
                .any(|relay| option6(&relay.options, code).as_deref() == Some(value))
        })
    };
    for vpn in &selects {
        for filter in &filters {
            let check = |selector: Selector6<'_>, wanted: &Wanted6<'_>| {
                let expect: Vec<&BTreeSet<Key6>> = groups
                    .iter()
                    .filter(|((of, duid, link), members)| {
                        vpn.admits(of.as_ref())
                            && filter.is_none_or(|only| only == *link)
                            && wanted(duid, *link, members)
                    })
                    .map(|(_, members)| members)
                    .collect();
                let mut found: Vec<BTreeSet<Key6>> = walk6(view, selector, vpn, *filter)
                    .iter()
                    .map(|(_, members)| keys(members))
                    .collect();
                let mut expect: Vec<BTreeSet<Key6>> = expect.into_iter().cloned().collect();
                found.sort();
                expect.sort();
                assert_eq!(found, expect, "{selector:?} {vpn:?} {filter:?}");
            };
            for client in 0..4 {
                check(Selector6::Duid(&[0, 3, client]), &|duid, _, _| {
                    duid == [0, 3, client]
                });
                let (remote, relay) = ([0, 0, 0, 9, client], [b'R', client]);
                check(Selector6::RemoteId(&remote), &|_, _, members| {
                    has(members, 37, &remote)
                });
                check(Selector6::RelayId(&relay), &|_, _, members| {
                    has(members, 53, &relay)
                });
            }
            for &link in &links {
                check(Selector6::Link(link), &|_, of, _| of == link);
            }
        }
    }
}

fn check_stats(store: &Store, all: &Scanned4And6) {
    let stats = store.reader().stats();
    for state in State::ALL {
        let v4 = all.v4.values().filter(|event| event.state == state).count() as u64;
        let v6 = all
            .v6
            .values()
            .filter(|(event, _)| event.state == state)
            .count() as u64;
        assert_eq!(
            (stats.v4.in_state(state), stats.v6.in_state(state)),
            (v4, v6),
            "{state:?}"
        );
    }
    let clients: BTreeSet<String> = all
        .v4
        .values()
        .filter_map(|event| match (&event.client_id, &event.hwaddr) {
            (Some(id), _) => Some(format!("id {id:?}")),
            (None, Some(hwaddr)) => Some(format!("hw {:?}", hwaddr.octets)),
            (None, None) => None,
        })
        .collect();
    assert_eq!(stats.v4.clients, clients.len() as u64);
}

fn check_everything(store: &Store, model: &Model) {
    // What is due now is expired now, so that nothing changes during the check.
    store.tick().unwrap();
    let view = store.reader().view();
    let all = scan(&view);
    model.check(&all);
    check_v4(&view, &all);
    check_v6(&view, &all);
    check_stats(store, &all);
    let report = store.verify();
    assert!(report.problems.is_empty(), "{:?}", report.problems);
    // Idempotence: what is exported and comes in again changes nothing.
    let again: Vec<Event> = all
        .v4
        .values()
        .cloned()
        .map(Event::V4)
        .chain(all.v6.values().map(|(event, _)| Event::V6(event.clone())))
        .collect();
    drop(view);
    let before = store.reader().published().sequence;
    store_support::store(store, again);
    assert_eq!(
        store.reader().published().sequence,
        before,
        "an export that comes in again appends nothing"
    );
}

fn run(history: Vec<Step>) {
    let mut fixture = Fixture::new();
    fixture.options.history = std::time::Duration::from_secs(1_000_000);
    let mut open = Some(fixture.open());
    let mut model = Model::default();
    open.as_ref().unwrap().feed_id("feed").unwrap();
    for step in history {
        let current = open.as_ref().unwrap();
        match step {
            Step::Submit(events) => {
                let committed = store(current, events.clone());
                assert!(committed.rejected.is_empty(), "{:?}", committed.rejected);
                events.iter().for_each(|event| model.apply(event));
            }
            Step::Pass(seconds) => fixture.clock.advance(u64::from(seconds) * 1_000),
            Step::Tick => current.tick().unwrap(),
            Step::Compact => current.compact_now().unwrap(),
            Step::Feed(live) => {
                let event = FeedEvent {
                    name: "feed".into(),
                    position: vec![],
                    read_up_to: current.reader().now(),
                    live,
                };
                model.apply(&Event::Feed(event.clone()));
                store(current, vec![Event::Feed(event)]);
            }
            Step::Crash => {
                drop(open.take());
                open = Some(fixture.open());
                assert!(!open.as_ref().unwrap().reader().stats().from_checkpoint);
            }
            Step::Stop => {
                open.take().unwrap().stop().unwrap();
                open = Some(fixture.open());
                assert!(open.as_ref().unwrap().reader().stats().from_checkpoint);
            }
        }
    }
    check_everything(open.as_ref().unwrap(), &model);
    open.take().unwrap().stop().unwrap();
    let open = fixture.open();
    check_everything(&open, &model);
    open.compact_now().unwrap();
    check_everything(&open, &model);
    drop(open);
    check_everything(&fixture.open(), &model);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, max_shrink_iters: 200, ..ProptestConfig::default() })]

    #[test]
    fn indexes_agree_with_the_log(history in steps()) {
        run(history);
    }
}

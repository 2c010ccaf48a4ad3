//! What the suites of the store share: events, and stores on a manual clock.
#![allow(dead_code)]

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use leaseq_store::*;
use smallvec::SmallVec;

/// Start of all tests, Unix seconds.
pub const T0: u32 = 1_790_000_000;

pub struct Fixture {
    pub clock: Arc<ManualClock>,
    pub dir: tempfile::TempDir,
    pub topology: Topology,
    pub options: Options,
}

impl Fixture {
    pub fn new() -> Fixture {
        let clock = Arc::new(ManualClock::new(u64::from(T0) * 1_000));
        let options = Options {
            clock: clock.clone(),
            segment_size: 64 << 10,
            sync: SyncMode::Never,
            ..Options::default()
        };
        Fixture {
            clock,
            dir: tempfile::tempdir().unwrap(),
            topology: topology(),
            options,
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn open(&self) -> Store {
        Store::open(self.path(), self.options.clone(), self.topology.clone()).unwrap()
    }
}

pub fn topology() -> Topology {
    let prefix = |text: &str, len| Prefix6 {
        address: text.parse().unwrap(),
        len,
    };
    Topology {
        ranges4: vec![
            Range4 {
                vpn: Vpn::GLOBAL,
                first: [10, 0, 0, 10].into(),
                last: [10, 0, 0, 29].into(),
            },
            Range4 {
                vpn: Vpn::named("red"),
                first: [10, 0, 0, 10].into(),
                last: [10, 0, 0, 19].into(),
            },
        ],
        links6: vec![LinkConfig {
            name: "pop-7".to_owned(),
            prefixes: vec![prefix("2001:db8:7::", 48)],
            delegated: vec![prefix("2001:db8:7000::", 36)],
        }],
    }
}

pub fn active4(address: [u8; 4], client: u8, relay: u8) -> Event4 {
    Event4 {
        hwaddr: Some(HwAddr {
            htype: 1,
            octets: SmallVec::from_slice(&[2, 0, 0, 0, 0, client]),
        }),
        client_id: Some(vec![1, 2, 0, 0, 0, 0, client]),
        cltt: Some(T0),
        lease_time: Some(3_600),
        relay_agent_info: Some(vec![2, 2, b'r', client, 12, 2, b'R', relay]),
        ..Event4::new(Ipv4Addr::from(address), State::Active)
    }
}

pub fn active6(address: &str, client: u8, relay: u8) -> Event6 {
    let options = vec![0, 37, 0, 5, 0, 0, 0, 9, client, 0, 53, 0, 2, b'R', relay];
    Event6 {
        duid: Some(vec![0, 3, 0, 1, client]),
        iaid: Some(1),
        cltt: Some(T0),
        preferred_lifetime: Some(1_800),
        valid_lifetime: Some(3_600),
        relay: Some(vec![Relay6 {
            link: format!("2001:db8:{relay:x}::1").parse().unwrap(),
            peer: "fe80::1".parse().unwrap(),
            options,
        }]),
        ..Event6::new(address.parse().unwrap(), State::Active)
    }
}

pub fn store(store: &Store, events: Vec<Event>) -> Committed {
    store.submit(events).unwrap().wait().unwrap()
}

pub fn walk4(view: &View, selector: Selector4<'_>, vpn: &VpnSelect) -> Vec<Event4> {
    let mut walk = view.walk4(&selector, vpn);
    let mut found = Vec::new();
    loop {
        let mut batch = Batch4::default();
        let progress = view.fill4(&mut walk, &mut batch);
        found.extend(batch.items.iter().map(|item| item.bind.to_event()));
        if progress == Progress::Done {
            return found;
        }
    }
}

pub fn walk_all4(view: &View, vpn: &VpnSelect) -> Vec<(Vpn, Ipv4Addr, Option<Event4>)> {
    let mut walk = view.walk_all4(vpn);
    let mut found = Vec::new();
    loop {
        let mut batch = BatchAll4::default();
        let progress = view.fill_all4(&mut walk, &mut batch);
        found.extend(batch.items.iter().map(|item| match item.what {
            Configured4::Bound(bind) => {
                (bind.vpn().to_vpn(), bind.address(), Some(bind.to_event()))
            }
            Configured4::Free(vpn, address) => (vpn.to_vpn(), address, None),
        }));
        if progress == Progress::Done {
            return found;
        }
    }
}

pub fn walk6(
    view: &View,
    selector: Selector6<'_>,
    vpn: &VpnSelect,
    link: Option<LinkId>,
) -> Vec<(LinkId, Vec<Event6>)> {
    let mut walk = view.walk6(&selector, vpn, link);
    let mut found = Vec::new();
    let mut group = Group::default();
    loop {
        match view.next_group6(&mut walk, &mut group) {
            Step6::Group => {
                found.push((
                    group.link,
                    group.members.iter().map(|lease| lease.to_event()).collect(),
                ));
            }
            Step6::More => {}
            Step6::Done => return found,
        }
    }
}

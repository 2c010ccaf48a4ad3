//! The server, its store, its followers, and the time that passes for all of them.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use leaseq_session::{
    Admission, Connection, Counters, Family, Hub, LinkRule, Mono, Network, RequestorRule, Settings,
    Turn,
};
use leaseq_store::{Event, ManualClock, Options, Reader, Store, SyncMode};
use rand::RngExt;
use rand::rngs::StdRng;
use tempfile::TempDir;

use crate::Seen;
use crate::follower::{Follower, MAX_FRAME, Side, Start};
use crate::history::{
    RELAYS, duid, event4, events6, lease6, link_address, red, relay_id4, relay_id6, remote_id4,
    remote_id6, topology,
};
use crate::table4::{Filter4, Table4};
use crate::table6::{By, Filter6, Table6};

/// Server time at the start, Unix seconds.
const START: u32 = 1_790_000_000;
/// Rounds of a settling in which something moves, at most.
const ROUNDS: usize = 100_000;

/// What a world is made of.
pub struct Plan {
    pub family: Family,
    pub history: Duration,
    pub floods: bool,
    /// Leases of a DHCPv6 client on a link may be behind different relay agents.
    pub mixed: bool,
    pub followers: usize,
}

pub struct World {
    plan: Plan,
    rng: StdRng,
    /// `None` only while the server is restarted.
    store: Option<Store>,
    reader: Reader,
    clock: Arc<ManualClock>,
    options: Options,
    dir: TempDir,
    settings: Arc<Settings>,
    counters: Arc<Counters>,
    admission: Arc<Admission>,
    hub: Rc<Hub>,
    now: Mono,
    followers: Vec<Follower>,
    /// Something was committed that the hub has not looked at.
    hub_due: bool,
    buffer: Vec<u8>,
}

impl World {
    pub fn new(plan: Plan, mut rng: StdRng) -> World {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let clock = Arc::new(ManualClock::new(u64::from(START) * 1_000));
        let options = Options {
            sync: SyncMode::Never,
            segment_size: 64 << 10,
            history: plan.history,
            clock: clock.clone(),
            ..Options::default()
        };
        let store = Store::open(dir.path(), options.clone(), topology()).expect("the store opens");
        let rules: Vec<_> = (0..plan.followers)
            .map(|number| rule(&mut rng, plan.family, number))
            .collect();
        let followers = rules
            .iter()
            .enumerate()
            .map(|(number, rule)| follower(&mut rng, plan.family, number, rule))
            .collect();
        let mut settings = Settings {
            requestors: rules,
            ..Settings::default()
        };
        settings.limits.max_connections = u32::MAX;
        settings.active.enabled = true;
        settings.active.insecure = true;
        settings.active.relay_scope = true;
        let settings = Arc::new(settings);
        let hub = hub(&mut rng);
        World {
            plan,
            rng,
            reader: store.reader(),
            store: Some(store),
            clock,
            options,
            dir,
            counters: Arc::default(),
            admission: Admission::new(Arc::clone(&settings)),
            settings,
            hub,
            now: Mono::from_millis(1_000_000),
            followers,
            hub_due: false,
            buffer: vec![0; 2 * MAX_FRAME],
        }
    }

    /// What happened so far.
    pub fn seen(&self) -> Seen {
        let counted = self.counters.of(self.plan.family);
        Seen {
            messages: self
                .followers
                .iter()
                .map(|follower| follower.messages)
                .sum(),
            caught_up: counted.caught_up.get(),
            lagged: counted.lagged.get(),
            data_missing: counted.data_missing.get(),
        }
    }

    /// Something happens.
    pub fn step(&mut self) {
        match self.rng.random_range(0..1_000) {
            0..=399 => {
                let events = self.rng.random_range(1..=5);
                self.change(events, false);
            }
            400..=479 => {
                let by = match self.rng.random_range(0..4) {
                    0 => self.rng.random_range(0..90_000),
                    _ => self.rng.random_range(0..3_000),
                };
                self.pass(by);
            }
            480..=599 => {
                self.look();
            }
            600..=939 => {
                let number = self.rng.random_range(0..self.followers.len());
                self.turn(number);
            }
            940..=964 => {
                let number = self.rng.random_range(0..self.followers.len());
                self.followers[number].connected = None;
            }
            965..=979 => self.compact(),
            980..=989 if self.plan.floods => self.flood(),
            990..=994 => self.restart(),
            _ => {}
        }
    }

    /// Makes some changes: DHCPv4 ones are committed together, of DHCPv6 ones those of a client.
    fn change(&mut self, changes: usize, large: bool) {
        let now = self.reader.now().seconds();
        match self.plan.family {
            Family::V4 => {
                let view = self.reader.view();
                let events = (0..changes)
                    .map(|_| event4(&mut self.rng, &view, now, large))
                    .collect();
                self.commit(events);
            }
            Family::V6 => {
                for _ in 0..changes {
                    let view = self.reader.view();
                    let mixed = self.plan.mixed;
                    let events = events6(&mut self.rng, &view, now, large, mixed);
                    self.commit(events);
                }
            }
        }
    }

    fn commit(&mut self, events: Vec<Event>) {
        let store = self.store.as_ref().expect("open");
        let committed = store.submit(events).expect("submitted").wait();
        assert_eq!(committed.expect("committed").rejected, []);
        self.hub_due = true;
    }

    /// Compacts the log, of which there is mostly enough for that.
    fn compact(&mut self) {
        for _ in 0..self.rng.random_range(0..12) {
            self.change(12, true);
            self.look();
        }
        if self.rng.random_bool(0.5) {
            let most = self.plan.history.as_millis().min(200_000) as u64;
            let by = self.rng.random_range(0..2 * most);
            self.pass(by);
        }
        let store = self.store.as_ref().expect("open");
        store.compact_now().expect("compacted");
    }

    /// More changes than a core holds for a stream, while nobody reads.
    fn flood(&mut self) {
        let rounds = match self.plan.family {
            Family::V4 => 250,
            // Its messages are longer.
            Family::V6 => 100,
        };
        for _ in 0..rounds {
            self.change(12, true);
            while self.look() {}
            // Those that read keep up, so that what is shared is not given up.
            for number in 0..self.followers.len() {
                if self.followers[number].takes > 4_096 {
                    self.turn(number);
                }
            }
        }
    }

    /// Lets time pass. The hub does not sleep: what was committed it has seen long before.
    fn pass(&mut self, ms: u64) {
        if ms > 3_000 {
            while self.look() {}
        }
        self.clock.advance(ms);
        self.now = self.now + Duration::from_millis(ms);
        let store = self.store.as_ref().expect("open");
        store.tick().expect("the store looks at the clock");
        self.hub_due = true;
        for follower in &mut self.followers {
            follower.tick(self.now);
            follower.close_if_ended();
        }
    }

    /// One look of the hub at what was committed; whether there is more.
    fn look(&mut self) -> bool {
        if !self.hub_due && !self.hub.is_behind() {
            return false;
        }
        let mut woken = Vec::new();
        let server_time = self.reader.settled();
        let view = self.reader.view();
        let turn = Turn {
            view: &view,
            now: self.now,
            server_time,
        };
        self.hub_due = self.hub.committed(&turn, &mut |key| woken.push(key));
        self.hub.ready(&mut |key| woken.push(key));
        for key in woken {
            if let Some(connected) = &mut self.followers[key].connected {
                connected.runnable = true;
            }
        }
        self.hub_due
    }

    /// A turn of a follower: it connects if it is not, is served, and reads as much as it likes.
    fn turn(&mut self, number: usize) {
        let target = match self.rng.random_range(0..3) {
            0 => self.rng.random_range(1..200),
            _ => self.rng.random_range(1..4_000),
        };
        let octets = self.followers[number].appetite(&mut self.rng);
        self.exchange(number, target, octets);
    }

    fn exchange(&mut self, number: usize, target: usize, octets: usize) {
        let server_time = self.reader.settled();
        let view = self.reader.view();
        let turn = Turn {
            view: &view,
            now: self.now,
            server_time,
        };
        if self.followers[number].connected.is_none() {
            let follower = &self.followers[number];
            let admitted = self.admission.admit(follower.family(), follower.from);
            let connection = Connection::new(
                Arc::clone(&self.settings),
                Arc::clone(&self.counters),
                Rc::clone(&self.hub),
                number,
                follower.family(),
                admitted.expect("admitted"),
                (follower.from, 40_000).into(),
                self.now,
            );
            self.followers[number].connect(connection, &view, server_time.seconds());
        }
        let follower = &mut self.followers[number];
        follower.serve(&turn, target, &mut self.buffer);
        follower.write(self.now);
        follower.read(octets, &view, server_time.seconds());
        follower.close_if_ended();
    }

    /// The server goes down, in good order or not, and comes back.
    fn restart(&mut self) {
        // A clock that is far ahead of the log's end would have to be confirmed.
        self.change(1, false);
        self.followers
            .iter_mut()
            .for_each(|follower| follower.connected = None);
        let store = self.store.take().expect("open");
        if self.rng.random_bool(0.5) {
            store.stop().expect("stopped");
        } else {
            drop(store);
        }
        let store = Store::open(self.dir.path(), self.options.clone(), topology());
        let store = store.expect("the store opens again");
        self.reader = store.reader();
        self.store = Some(store);
        self.hub = hub(&mut self.rng);
        self.hub_due = false;
    }

    /// Lets everything come to rest: each follower is connected, is told everything and takes it.
    pub fn settle(&mut self) {
        self.pass(10);
        for _ in 0..ROUNDS {
            self.look();
            for number in 0..self.followers.len() {
                self.exchange(number, 16 << 10, usize::MAX);
            }
            if !self.hub_due
                && !self.hub.is_behind()
                && self.followers.iter().all(Follower::is_at_rest)
            {
                return;
            }
        }
        panic!("never came to rest");
    }

    /// Compares each follower with the store.
    pub fn check(&self) {
        let view = self.reader.view();
        self.followers
            .iter()
            .for_each(|follower| follower.check(&view));
    }
}

/// A hub whose narrowed streams catch up together at once, after a while, or hardly ever.
fn hub(rng: &mut StdRng) -> Rc<Hub> {
    Hub::joining_after([1, 5, 40, 2_048][rng.random_range(0..4)])
}

fn address(number: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, number as u8 + 1])
}

/// A rule for one follower: it may see everything, or only some of it.
fn rule(rng: &mut StdRng, family: Family, number: usize) -> Arc<RequestorRule> {
    let network = Network::new(address(number), 32).expect("a network");
    let mut rule = RequestorRule::all(network);
    match rng.random_range(0..8) {
        0 => rule.vpns = vec![Vec::new()],
        1 => {
            let relay = rng.random_range(0..RELAYS);
            rule.relay_ids = (0..2)
                .map(|other| match family {
                    Family::V4 => relay_id4((relay + other) % RELAYS),
                    Family::V6 => relay_id6((relay + other) % RELAYS),
                })
                .collect();
        }
        2 if family == Family::V6 => {
            rule.links = vec![LinkRule {
                name: "one".to_owned(),
                prefixes: vec!["2001:db8:1::/48".parse().expect("a network")],
            }];
        }
        3 => rule.vpns = vec![Vec::new(), red().vss().to_vec()],
        _ => {}
    }
    Arc::new(rule)
}

fn follower(
    rng: &mut StdRng,
    family: Family,
    number: usize,
    rule: &Arc<RequestorRule>,
) -> Follower {
    let side = match family {
        Family::V4 => Side::V4(filter4(rng, rule), Table4::default()),
        Family::V6 => Side::V6(filter6(rng, rule), Table6::default()),
    };
    let starts = [Start::Beginning, Start::Window, Start::Live];
    Follower {
        side,
        start: starts[rng.random_range(0..starts.len())],
        from: address(number),
        rule: Arc::clone(rule),
        takes: [40, 400, 4_000, 100_000][rng.random_range(0..4)],
        kernel: rng.random_range(300..20_000),
        remembered: None,
        connected: None,
        next_xid: number as u32 * 1_000,
        messages: 0,
        data_missing: 0,
    }
}

fn filter4(rng: &mut StdRng, rule: &RequestorRule) -> Filter4 {
    match rng.random_range(0..4) {
        // One that is not allowed would be refused.
        0 if rule.relay_ids.is_empty() => Filter4::RelayId(relay_id4(rng.random_range(0..RELAYS))),
        0 => Filter4::RelayId(rule.relay_ids[0].clone()),
        1 => Filter4::RemoteId(remote_id4(rng.random_range(0..RELAYS))),
        _ => Filter4::All,
    }
}

fn filter6(rng: &mut StdRng, rule: &RequestorRule) -> Filter6 {
    let by = match rng.random_range(0..9) {
        // Of an address that is on no configured link nothing can be asked.
        0 => By::Address(lease6(rng.random_range(0..4)).0),
        1 => By::Duid(duid(rng.random_range(0..7))),
        2 if rule.relay_ids.is_empty() => By::RelayId(relay_id6(rng.random_range(0..RELAYS))),
        2 => By::RelayId(rule.relay_ids[0].clone()),
        3 | 4 => By::RemoteId(remote_id6(rng.random_range(0..RELAYS))),
        // Only a configured link is known from the start.
        5 => By::Link,
        _ => By::All,
    };
    let link = link_address(rng.random_range(0..2));
    let link = if rule.links.is_empty() {
        link
    } else {
        link_address(0)
    };
    let on_link = match by {
        By::Link => true,
        By::All => false,
        _ => rng.random_bool(0.2),
    };
    Filter6 {
        all_vpns: matches!(by, By::All) || rule.vpns.is_empty() && rng.random_bool(0.5),
        link: on_link.then_some(link),
        by,
    }
}

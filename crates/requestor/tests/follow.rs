//! Followers against a scripted server, on virtual time.

mod support;

use std::time::{Duration, Instant};

use leaseq_requestor::follow::{Action, FollowEvent, FollowSettings, Follower, Line, Notice};
use leaseq_requestor::{
    ActiveEvent, Event, Query, Query4, Query6, QueryError, Selector4, Selector6,
};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::{self, StatusCode as Status4, option_code as code4};
use leaseq_wire::v6::{self, StatusCode as Status6, option_code as code6};
use support::*;

const BASE: u32 = 1_790_000_000;

/// A follower, its time, and the server's side of its connections.
struct World {
    follower: Follower,
    now: Instant,
    started: Instant,
    /// Transaction ids of the last request on each line.
    xids: [u32; 2],
}

impl World {
    fn new(query: impl Into<Query>, base_time: Option<u32>, settings: FollowSettings) -> Self {
        let now = Instant::now();
        let base_time = base_time.map(UnixSeconds);
        let follower = Follower::new(query.into(), base_time, settings, 5, now).unwrap();
        Self {
            follower,
            now,
            started: now,
            xids: [0; 2],
        }
    }

    /// Does everything that is to be done until the follower waits; in short, a line each. The last one is the time it
    /// waits until, in seconds from the start.
    fn run(&mut self) -> Vec<String> {
        let mut done = Vec::new();
        loop {
            let (line, sent) = match self.follower.step(self.now) {
                Action::Connect(line) => {
                    done.push(format!("connect {line:?}"));
                    continue;
                }
                Action::Close(line) => {
                    done.push(format!("close {line:?}"));
                    continue;
                }
                Action::Notice(Notice::Asked(since)) => {
                    done.push(format!("asked {:?}", since.map(|time| time.0 - BASE)));
                    continue;
                }
                Action::Notice(Notice::Down { line, cause, .. }) => {
                    done.push(format!("down {line:?}: {cause}"));
                    continue;
                }
                Action::WaitUntil(until) => {
                    let seconds = (until - self.started).as_secs_f64();
                    done.push(format!("wait {seconds:.0}"));
                    return done;
                }
                Action::Send(line, octets) => (line, octets.to_vec()),
            };
            let (xid, text) = request(&sent);
            self.xids[line as usize] = xid;
            done.push(format!("{line:?} {text}"));
            self.follower.sent(line);
        }
    }

    /// As [`run`](Self::run), and nothing was done but to wait until then.
    fn idle(&mut self) -> u64 {
        let done = self.run();
        assert_eq!(done.len(), 1, "{done:?}");
        done[0].strip_prefix("wait ").unwrap().parse().unwrap()
    }

    fn pass(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
    }

    fn connected(&mut self, line: Line) {
        self.follower.connected(line, self.now);
    }

    fn closed(&mut self, line: Line) {
        self.follower.closed(line, None, self.now);
    }

    /// The server's octets; what they tell, in short.
    fn receive(&mut self, line: Line, octets: &[u8]) -> Vec<String> {
        let mut told = Vec::new();
        self.follower
            .received(line, octets, self.now, &mut |event| {
                told.push(match event {
                    FollowEvent::Stream(ActiveEvent::Binding4(binding)) => {
                        format!("{}", binding.address().octets()[3])
                    }
                    FollowEvent::Stream(ActiveEvent::Client6(client)) => {
                        format!("clients {}", client.client.leases().count())
                    }
                    FollowEvent::Stream(ActiveEvent::Status(status)) => {
                        format!("{:?}", status.kind)
                    }
                    FollowEvent::Fill(Event::Binding4(binding)) => {
                        format!("fill {}", binding.address().octets()[3])
                    }
                    FollowEvent::Fill(event) => format!("fill {}", event.octets()[0]),
                    FollowEvent::Gap(gap) => format!(
                        "gap {}..{} {:?}",
                        gap.since.0 - BASE,
                        gap.until.0 - BASE,
                        gap.filling
                    ),
                    FollowEvent::Filled(gap) => format!("filled {}", gap.since.0 - BASE),
                });
            });
        told
    }

    /// Brings the stream up and says what it asked.
    fn up(&mut self) -> String {
        let done = self.run();
        assert_eq!(done[0], "connect Stream");
        self.connected(Line::Stream);
        let done = self.run();
        assert!(done[0].starts_with("asked"), "{done:?}");
        done[1].clone()
    }

    fn base_time(&self) -> Option<u32> {
        self.follower.base_time().map(|time| time.0 - BASE)
    }

    fn xid(&self, line: Line) -> u32 {
        self.xids[line as usize]
    }

    fn stream4(&mut self, address: u8, base: u32) -> Vec<String> {
        let octets = binding4(self.xid(Line::Stream), address, BASE + base);
        self.receive(Line::Stream, &octets)
    }

    fn status4(&mut self, code: Status4, base: u32) -> Vec<String> {
        let octets = status4(self.xid(Line::Stream), 17, code, Some(BASE + base));
        self.receive(Line::Stream, &octets)
    }
}

/// What a request asks, in short.
fn request(octets: &[u8]) -> (u32, String) {
    let message = &octets[2..];
    if message.len() < 240 {
        let message = v6::Message::parse(message).unwrap();
        let kind = match message.msg_type() {
            22 => "active",
            14 => "bulk",
            23 => "starttls",
            other => panic!("type {other}"),
        };
        let time = |code, name| match message.option(code) {
            Some(value) => {
                let seconds = u32::from_be_bytes(value.try_into().unwrap());
                let unix = UnixSeconds::from(leaseq_wire::time::Seconds2000(seconds));
                format!(" {name} {}", unix.0 - BASE)
            }
            None => String::new(),
        };
        let filter = match message.option(code6::LQ_QUERY) {
            Some([kind, 0x20, 0x01, 0x0d, 0xb8, _, net, ..]) => format!("{kind} link {net}"),
            query => query.map_or(0, |query| query[0]).to_string(),
        };
        let (since, until) = (
            time(code6::LQ_START_TIME, "since"),
            time(code6::LQ_END_TIME, "until"),
        );
        return (message.xid(), format!("{kind} {filter}{since}{until}"));
    }
    let message = v4::Message::parse(message).unwrap();
    let kind = match message.message_type() {
        Some(16) => "active",
        Some(14) => "bulk",
        Some(18) => "dhcptls",
        other => panic!("type {other:?}"),
    };
    let time = |code, name| match message.option(code).and_then(|value| value.to_u32()) {
        Some(seconds) => format!(" {name} {}", seconds - BASE),
        None => String::new(),
    };
    let filter = match message.option(code4::RELAY_AGENT_INFORMATION) {
        Some(value) => format!("relay {}", value.bytes().next().unwrap()),
        None => "all".into(),
    };
    let (since, until) = (
        time(code4::QUERY_START_TIME, "since"),
        time(code4::QUERY_END_TIME, "until"),
    );
    (message.xid(), format!("{kind} {filter}{since}{until}"))
}

fn all4(base_time: Option<u32>) -> World {
    let query = Query4::new(Selector4::All);
    World::new(query, base_time, FollowSettings::default())
}

fn world6(selector: Selector6, settings: FollowSettings) -> World {
    World::new(Query6::new(selector, DUID), Some(BASE + 10), settings)
}

fn seconds(done: &[String]) -> u64 {
    done.last()
        .unwrap()
        .strip_prefix("wait ")
        .unwrap()
        .parse()
        .unwrap()
}

#[test]
fn a_connection_that_is_not_made_in_30_s_is_given_up_and_tried_again_after_60_s() {
    let mut world = all4(None);
    assert_eq!(world.run(), ["connect Stream", "wait 30"]);
    world.pass(29);
    assert_eq!(world.idle(), 30);
    world.pass(1);
    let done = world.run();
    assert_eq!(
        done[..2],
        ["down Stream: cannot connect in time", "close Stream"]
    );
    // Counted from the first attempt, and up to a second of jitter.
    assert!((60..=61).contains(&seconds(&done)), "{done:?}");
    world.pass(30);
    world.idle();
    world.pass(1);
    assert_eq!(world.run()[0], "connect Stream");
}

#[test]
fn attempts_are_at_least_the_interval_apart_and_pauses_grow_to_the_cap() {
    let settings = FollowSettings {
        retry_interval: Duration::from_secs(1),
        ..FollowSettings::default()
    };
    let mut world = World::new(Query4::new(Selector4::All), None, settings);
    let mut pauses = Vec::new();
    for _ in 0..9 {
        assert_eq!(world.run()[0], "connect Stream");
        let attempt = world.now;
        world.closed(Line::Stream);
        loop {
            match world.follower.step(world.now) {
                Action::WaitUntil(until) => {
                    pauses.push((until - attempt).as_secs_f64());
                    world.now = until;
                    break;
                }
                Action::Notice(Notice::Down { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    // The interval, and half to all of 1, 2, 4 ... 60 s.
    for (pause, backoff) in pauses
        .iter()
        .zip([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0])
    {
        assert!(
            (1.0 + backoff / 2.0..=1.0 + backoff).contains(pause),
            "{pauses:?}"
        );
    }
    assert_ne!(pauses[6], pauses[7], "the jitter is not the same each time");
    // An answer makes the pauses short again.
    world.up();
    world.stream4(1, 1);
    world.closed(Line::Stream);
    let (before, done) = ((world.now - world.started).as_secs_f64(), world.run());
    assert!(
        seconds(&done) as f64 <= before + 2.5,
        "{done:?} at {before}"
    );
}

#[test]
fn a_stream_that_lasted_is_asked_again_soon() {
    let mut world = all4(None);
    world.up();
    for _ in 0..30 {
        world.pass(60);
        world.status4(Status4::ConnectionActive, 1);
    }
    world.closed(Line::Stream);
    let done = world.run();
    assert_eq!(done[0], "down Stream: the connection was lost");
    assert!((1800..=1801).contains(&seconds(&done)), "{done:?}");
}

#[test]
fn a_silent_stream_is_given_up_after_120_s_and_a_keepalive_is_a_sound() {
    let mut world = all4(None);
    assert_eq!(world.up(), "Stream active all");
    assert_eq!(world.idle(), 120);
    world.pass(100);
    assert_eq!(
        world.status4(Status4::ConnectionActive, 1),
        ["ConnectionActive"]
    );
    assert_eq!(world.idle(), 220);
    world.pass(120);
    let done = world.run();
    assert_eq!(
        done[..2],
        [
            "down Stream: the server was silent for too long",
            "close Stream"
        ]
    );
    // Late octets of a connection that is closed tell nothing.
    assert!(world.stream4(1, 1).is_empty());
}

#[test]
fn a_v6_keepalive_is_a_sound_too() {
    let mut world = world6(Selector6::All, FollowSettings::default());
    assert_eq!(world.up(), "Stream active 0 since 10");
    world.pass(100);
    let xid = world.xid(Line::Stream);
    world.receive(Line::Stream, &reply6(xid, None, Some(BASE)));
    world.pass(100);
    let keepalive = status6(xid, 17, None, Some(BASE));
    assert_eq!(
        world.receive(Line::Stream, &keepalive),
        ["ConnectionActive"]
    );
    assert_eq!(world.idle(), 320);
}

#[test]
fn a_query_that_cannot_be_sent_in_300_s_is_given_up() {
    let mut world = World::new(
        Query4::new(Selector4::All),
        None,
        FollowSettings {
            receive_timeout: Duration::from_secs(1000),
            ..FollowSettings::default()
        },
    );
    world.run();
    world.connected(Line::Stream);
    assert!(matches!(
        world.follower.step(world.now),
        Action::Notice(Notice::Asked(None))
    ));
    assert!(matches!(
        world.follower.step(world.now),
        Action::Send(Line::Stream, _)
    ));
    assert_eq!(world.idle(), 300);
    world.pass(300);
    assert_eq!(
        world.run()[0],
        "down Stream: the server took nothing for too long"
    );
}

#[test]
fn base_time_is_remembered_once_the_past_has_been_told() {
    let mut world = all4(Some(BASE + 10));
    assert_eq!(world.up(), "Stream active all since 10");
    assert_eq!(world.stream4(1, 50), ["1"]);
    assert_eq!(world.base_time(), Some(10));
    // Cut amid catch-up: the one from before is asked for again.
    world.closed(Line::Stream);
    world.run();
    world.pass(61);
    assert_eq!(world.up(), "Stream active all since 10");
    world.stream4(1, 50);
    assert_eq!(
        world.status4(Status4::CatchUpComplete, 40),
        ["CatchUpComplete"]
    );
    assert_eq!(world.base_time(), Some(40));
    world.stream4(2, 60);
    world.stream4(3, 55);
    assert_eq!(world.base_time(), Some(60));
    // The end tells a base-time too.
    assert_eq!(world.status4(Status4::QueryTerminated, 70), ["Terminated"]);
    let done = world.run();
    assert_eq!(
        done[..2],
        [
            "down Stream: the server ended the query: QueryTerminated",
            "close Stream"
        ]
    );
    world.pass(61);
    assert_eq!(world.up(), "Stream active all since 70");
}

#[test]
fn without_a_start_time_the_first_message_counts() {
    let mut world = all4(None);
    assert_eq!(world.up(), "Stream active all");
    world.stream4(1, 5);
    assert_eq!(world.base_time(), Some(5));
    // There is nothing before it that could be missing.
    let mut world = all4(None);
    world.up();
    assert_eq!(world.status4(Status4::DataMissing, 5), ["DataMissing"]);
    assert_eq!(
        (world.base_time(), world.follower.has_gap()),
        (Some(5), false)
    );
}

#[test]
fn what_v4_misses_is_asked_for_in_bulk_while_the_stream_goes_on() {
    let mut world = all4(Some(BASE + 10));
    world.up();
    let told = world.status4(Status4::DataMissing, 100);
    assert_eq!(told, ["DataMissing", "gap 10..100 Window"]);
    assert_eq!(world.run()[0], "connect Fill");
    world.stream4(1, 110);
    world.connected(Line::Fill);
    assert_eq!(world.run()[0], "Fill bulk all since 10 until 100");
    let xid = world.xid(Line::Fill);
    assert_eq!(
        world.receive(Line::Fill, &free4(xid, 7, BASE + 111)),
        ["fill 7"]
    );
    world.stream4(2, 120);
    // Not before the gap is filled.
    assert_eq!(world.base_time(), Some(10));
    assert_eq!(world.receive(Line::Fill, &done4(xid)), ["filled 10"]);
    assert_eq!(
        (world.base_time(), world.follower.has_gap()),
        (Some(120), false)
    );
    assert_eq!(world.run()[0], "close Fill");
    assert_eq!(world.idle(), 120);
}

#[test]
fn a_gap_that_could_not_be_filled_is_found_again() {
    let mut world = all4(Some(BASE + 10));
    world.up();
    world.status4(Status4::DataMissing, 100);
    world.run();
    world.connected(Line::Fill);
    world.run();
    // The stream is cut: the fill goes with it.
    world.closed(Line::Stream);
    let done = world.run();
    assert_eq!(
        done[..2],
        ["down Stream: the connection was lost", "close Fill"]
    );
    assert_eq!(
        (world.base_time(), world.follower.has_gap()),
        (Some(10), false)
    );
    world.pass(61);
    assert_eq!(world.up(), "Stream active all since 10");
}

#[test]
fn a_failed_fill_is_tried_again_after_the_interval() {
    let mut world = all4(Some(BASE + 10));
    world.up();
    world.status4(Status4::DataMissing, 100);
    world.run();
    world.connected(Line::Fill);
    world.run();
    let refusal = status4(world.xid(Line::Fill), 15, Status4::NotAllowed, None);
    world.receive(Line::Fill, &refusal);
    let done = world.run();
    assert_eq!(
        done[..2],
        [
            "down Fill: the server ended the query: NotAllowed",
            "close Fill"
        ]
    );
    assert!((60..=61).contains(&seconds(&done)), "{done:?}");
    world.pass(61);
    assert_eq!(world.run()[0], "connect Fill");
    world.connected(Line::Fill);
    world.run();
    // A bulk answer that stops is given up after 300 s; the stream lives on.
    for _ in 0..5 {
        world.pass(60);
        world.status4(Status4::ConnectionActive, 200);
    }
    let done = world.run();
    assert_eq!(done[0], "down Fill: the server was silent for too long");
    assert_eq!(world.base_time(), Some(10));
}

#[test]
fn a_lagging_stream_that_misses_something_asks_from_its_last_base_time() {
    let mut world = all4(None);
    world.up();
    world.stream4(1, 5);
    let told = world.status4(Status4::DataMissing, 100);
    assert_eq!(told, ["DataMissing", "gap 5..100 Window"]);
    // And once more before that is filled: from where it began, but not at once.
    world.run();
    let told = world.status4(Status4::DataMissing, 200);
    assert_eq!(told, ["DataMissing", "gap 5..200 Window"]);
    let done = world.run();
    assert_eq!((done[0].as_str(), seconds(&done)), ("close Fill", 60));
    world.pass(60);
    assert_eq!(world.run()[0], "connect Fill");
    world.connected(Line::Fill);
    assert_eq!(world.run()[0], "Fill bulk all since 5 until 200");
}

#[test]
fn a_relay_agent_s_gap_is_filled_by_everything_behind_it() {
    let query = Query4::new(Selector4::RelayId(vec![9]));
    let mut world = World::new(query, Some(BASE + 10), FollowSettings::default());
    assert_eq!(world.up(), "Stream active relay 12 since 10");
    let told = world.status4(Status4::DataMissing, 100);
    assert_eq!(told, ["DataMissing", "gap 10..100 Sweep"]);
    world.run();
    world.connected(Line::Fill);
    assert_eq!(world.run()[0], "Fill bulk relay 12");
}

#[test]
fn v6_gaps_are_filled_by_the_filter_or_by_what_the_caller_knows() {
    let mut world = world6(Selector6::RelayId(vec![9]), FollowSettings::default());
    assert_eq!(world.up(), "Stream active 3 since 10");
    let missing = reply6(
        world.xid(Line::Stream),
        Some(Status6::DataMissing),
        Some(BASE + 100),
    );
    assert_eq!(
        world.receive(Line::Stream, &missing),
        ["DataMissing", "gap 10..100 Sweep"]
    );
    world.run();
    world.connected(Line::Fill);
    assert_eq!(world.run()[0], "Fill bulk 3");
    let xid = world.xid(Line::Fill);
    assert_eq!(
        world.receive(Line::Fill, &reply6(xid, None, None)),
        ["filled 10"]
    );
    assert_eq!(world.base_time(), Some(100));

    // Without a filter nothing can be asked ...
    let mut world = world6(Selector6::All, FollowSettings::default());
    world.up();
    let missing = reply6(
        world.xid(Line::Stream),
        Some(Status6::DataMissing),
        Some(BASE + 100),
    );
    assert_eq!(
        world.receive(Line::Stream, &missing),
        ["DataMissing", "gap 10..100 Impossible"]
    );
    assert_eq!(
        (world.base_time(), world.follower.has_gap()),
        (Some(100), false)
    );

    // ... unless the links are known: one query after the other on one connection.
    let link = |link: &str| {
        let link = link.parse().unwrap();
        Query::V6(Query6 {
            link,
            ..Query6::new(Selector6::Link, DUID)
        })
    };
    let settings = FollowSettings {
        fill_queries: vec![link("2001:db8:1::"), link("2001:db8:2::")],
        ..FollowSettings::default()
    };
    let mut world = world6(Selector6::All, settings);
    world.up();
    let missing = reply6(
        world.xid(Line::Stream),
        Some(Status6::DataMissing),
        Some(BASE + 100),
    );
    world.receive(Line::Stream, &missing);
    world.run();
    world.connected(Line::Fill);
    assert_eq!(world.run()[0], "Fill bulk 4 link 1");
    let first = world.xid(Line::Fill);
    assert!(
        world
            .receive(Line::Fill, &reply6(first, None, None))
            .is_empty()
    );
    assert_eq!(world.run()[0], "Fill bulk 4 link 2");
    let second = world.xid(Line::Fill);
    assert_ne!(first, second);
    assert_eq!(
        world.receive(Line::Fill, &reply6(second, None, None)),
        ["filled 10"]
    );
}

#[test]
fn a_breach_of_the_protocol_ends_the_connection() {
    let mut world = all4(None);
    world.up();
    let other = binding4(world.xid(Line::Stream).wrapping_add(1), 1, BASE);
    assert!(world.receive(Line::Stream, &other).is_empty());
    let done = world.run();
    assert!(
        done[0].starts_with("down Stream: the server broke the protocol"),
        "{done:?}"
    );
    assert_eq!(done[1], "close Stream");
    assert_eq!(world.base_time(), None);
    // That the server closes it too, before we do, is no second failure.
    world.pass(61);
    world.up();
    world.receive(Line::Stream, &[0, 0]);
    world.closed(Line::Stream);
    let done = world.run();
    assert_eq!(done.len(), 2, "{done:?}");
    assert!(done[0].starts_with("down Stream: the server broke the protocol"));
}

#[test]
fn what_an_active_query_cannot_ask_is_not_followed() {
    let follow = |query: Query| {
        Follower::new(query, None, FollowSettings::default(), 1, Instant::now()).map(|_| ())
    };
    let by_client = Query4::new(Selector4::ClientId(vec![1]));
    assert_eq!(follow(by_client.into()), Err(QueryError::NotActive));
    let no_link = Query6::new(Selector6::Link, DUID);
    assert_eq!(follow(no_link.into()), Err(QueryError::NoLink));
}

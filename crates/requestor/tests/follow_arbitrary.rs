//! Whatever a server does and whenever it does it, a follower keeps to its rules.

mod support;

use std::time::{Duration, Instant};

use leaseq_requestor::follow::{Action, FollowEvent, FollowSettings, Follower, Line, Notice};
use leaseq_requestor::{Query, Query4, Query6, Selector4, Selector6};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::{self, StatusCode as Status4};
use leaseq_wire::v6::{self, StatusCode as Status6};
use proptest::prelude::*;
use support::*;

const BASE: u32 = 1_790_000_000;

/// Something that happens to a follower.
#[derive(Clone, Debug)]
enum Happening {
    Pass {
        seconds: u64,
    },
    Connected(Line),
    Closed(Line),
    /// The driver has not sent what it got yet, and now has.
    Sent(Line),
    Says(Line, Saying),
}

/// Something that a server says.
#[derive(Clone, Debug)]
enum Saying {
    Lease { last: u8, base: u32 },
    Status { nth: usize, base: u32 },
    Done,
    Cut { message: Box<Saying>, at: usize },
    Octets(Vec<u8>),
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![3 => Just(Line::Stream), 2 => Just(Line::Fill)]
}

fn saying() -> impl Strategy<Value = Saying> {
    let plain = prop_oneof![
        4 => (any::<u8>(), 0_u32..500).prop_map(|(last, base)| Saying::Lease { last: last.max(1), base }),
        6 => (0_usize..5, 0_u32..500).prop_map(|(nth, base)| Saying::Status { nth, base }),
        2 => Just(Saying::Done),
    ];
    let cut = (plain.clone(), 1_usize..40).prop_map(|(message, at)| Saying::Cut {
        message: Box::new(message),
        at,
    });
    let octets = proptest::collection::vec(any::<u8>(), 0..20).prop_map(Saying::Octets);
    prop_oneof![12 => plain, 1 => cut, 1 => octets]
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        3 => (0_u64..130).prop_map(|seconds| Happening::Pass { seconds }),
        4 => line().prop_map(Happening::Connected),
        1 => line().prop_map(Happening::Closed),
        3 => line().prop_map(Happening::Sent),
        10 => (line(), saying()).prop_map(|(line, saying)| Happening::Says(line, saying)),
    ]
}

/// The octets of what a server says in answer to the query with this transaction id.
fn octets(saying: &Saying, family: u8, first: bool, xid: u32) -> Vec<u8> {
    match (saying, family) {
        (Saying::Octets(octets), _) => octets.clone(),
        (Saying::Cut { message, at }, _) => {
            let mut octets = octets(message, family, first, xid);
            octets.truncate(*at);
            octets
        }
        (Saying::Lease { last, base }, 4) => binding4(xid, *last, BASE + base),
        (Saying::Status { nth, base }, 4) => {
            let code = [
                Status4::ConnectionActive,
                Status4::CatchUpComplete,
                Status4::DataMissing,
                Status4::DataMissing,
                Status4::QueryTerminated,
            ][*nth];
            status4(xid, 17, code, Some(BASE + base))
        }
        (Saying::Done, 4) => done4(xid),
        (Saying::Lease { last, base }, _) if first => message6(15, xid, |writer| {
            ids6(writer);
            client6(writer, &[5], u16::from(*last), 60);
            base6(writer, BASE + base);
        }),
        (Saying::Lease { last, base }, _) => data6(xid, u16::from(*last), 60, BASE + base),
        (Saying::Status { nth, base }, _) => {
            let code = [
                None,
                Some(Status6::CatchUpComplete),
                Some(Status6::DataMissing),
                Some(Status6::DataMissing),
                Some(Status6::QueryTerminated),
            ][*nth];
            match first {
                true => reply6(xid, code, Some(BASE + base)),
                false => status6(xid, 17, code, Some(BASE + base)),
            }
        }
        (Saying::Done, _) => status6(xid, 16, None, Some(BASE)),
    }
}

/// What the driver of a follower knows of one of its connections.
#[derive(Clone, Copy, Debug, Default)]
struct Driven {
    /// When the last attempt began.
    attempt: Option<Instant>,
    is_there: bool,
    is_connected: bool,
    /// Octets wait to be sent.
    sending: bool,
    xid: u32,
    /// Nothing has been said since the last query.
    first: bool,
}

struct World {
    follower: Follower,
    family: u8,
    now: Instant,
    lines: [Driven; 2],
    base_time: Option<UnixSeconds>,
    in_gap: bool,
}

impl World {
    /// Does what is to be done, and looks at each thing.
    fn run(&mut self) -> Result<(), TestCaseError> {
        for _ in 0..20 {
            match self.follower.step(self.now) {
                Action::Connect(line) => {
                    let driven = &mut self.lines[line as usize];
                    prop_assert!(!driven.is_there, "one connection at a time");
                    if let (Some(before), Line::Stream) = (driven.attempt, line) {
                        prop_assert!(self.now - before >= Duration::from_secs(60), "too soon");
                    }
                    *driven = Driven {
                        attempt: Some(self.now),
                        is_there: true,
                        first: true,
                        ..Driven::default()
                    };
                }
                Action::Send(line, octets) => {
                    let driven = &mut self.lines[line as usize];
                    prop_assert!(driven.is_connected && !driven.sending);
                    driven.sending = true;
                    driven.first = true;
                    driven.xid = match self.family {
                        4 => v4::Message::parse(&octets[2..]).unwrap().xid(),
                        _ => v6::Message::parse(&octets[2..]).unwrap().xid(),
                    };
                }
                Action::Close(line) => {
                    let driven = &mut self.lines[line as usize];
                    (driven.is_there, driven.is_connected) = (false, false);
                }
                Action::Notice(Notice::Asked(since)) => prop_assert_eq!(since, self.base_time),
                Action::Notice(Notice::Down { retry_at, .. }) => prop_assert!(retry_at >= self.now),
                Action::WaitUntil(until) => {
                    prop_assert!(until > self.now);
                    return Ok(());
                }
            }
        }
        Err(TestCaseError::fail("there is always something to be done"))
    }

    fn happen(&mut self, happening: &Happening) -> Result<(), TestCaseError> {
        match happening {
            Happening::Pass { seconds } => self.now += Duration::from_secs(*seconds),
            Happening::Connected(line) => {
                let driven = &mut self.lines[*line as usize];
                if driven.is_there && !driven.is_connected {
                    driven.is_connected = true;
                    self.follower.connected(*line, self.now);
                }
            }
            Happening::Closed(line) => {
                let driven = &mut self.lines[*line as usize];
                if driven.is_there {
                    (driven.is_there, driven.is_connected) = (false, false);
                    self.follower.closed(*line, None, self.now);
                }
            }
            Happening::Sent(line) => {
                let driven = &mut self.lines[*line as usize];
                if driven.is_connected && driven.sending {
                    driven.sending = false;
                    self.follower.sent(*line);
                }
            }
            Happening::Says(line, saying) => {
                let driven = &mut self.lines[*line as usize];
                if driven.is_connected {
                    let octets = octets(saying, self.family, driven.first, driven.xid);
                    driven.first = false;
                    let (mut gaps, mut filled) = (0, 0);
                    self.follower
                        .received(*line, &octets, self.now, &mut |event| match event {
                            FollowEvent::Gap(_) => gaps += 1,
                            FollowEvent::Filled(_) => filled += 1,
                            FollowEvent::Stream(_) => assert_eq!(*line, Line::Stream),
                            FollowEvent::Fill(_) => assert_eq!(*line, Line::Fill),
                        });
                    prop_assert!(filled == 0 || (self.in_gap && *line == Line::Fill));
                    prop_assert!(gaps == 0 || *line == Line::Stream);
                }
            }
        }
        self.in_gap = self.follower.has_gap();
        // What has been told completely never becomes less.
        let base_time = self.follower.base_time();
        prop_assert!(base_time >= self.base_time);
        self.base_time = base_time;
        Ok(())
    }
}

proptest! {
    #[test]
    fn a_follower_keeps_to_its_rules(
        family in prop_oneof![Just(4_u8), Just(6)],
        whole: bool,
        since in proptest::option::of(0_u32..500),
        happenings in proptest::collection::vec(happening(), 0..120),
        random: u64,
    ) {
        let query = match (family, whole) {
            (4, true) => Query::V4(Query4::new(Selector4::All)),
            (4, false) => Query::V4(Query4::new(Selector4::RelayId(vec![9]))),
            (_, true) => Query::V6(Query6::new(Selector6::All, DUID)),
            (_, false) => Query::V6(Query6::new(Selector6::RelayId(vec![9]), DUID)),
        };
        let now = Instant::now();
        let base_time = since.map(|since| UnixSeconds(BASE + since));
        let settings = FollowSettings::default();
        let follower = Follower::new(query, base_time, settings, random, now).unwrap();
        let lines = [Driven::default(); 2];
        let mut world = World { follower, family, now, lines, base_time, in_gap: false };
        world.run()?;
        for happening in &happenings {
            world.happen(happening)?;
            world.run()?;
        }
    }
}

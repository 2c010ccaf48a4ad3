//! Answers to active queries: what is told, and each breach of the protocol.

mod support;

use std::net::Ipv4Addr;

use leaseq_requestor::{
    Active, ActiveEvent, ProtocolError, ProtocolFault, Query, Query4, Query6, QueryError,
    Selector4, Selector6,
};
use leaseq_wire::time::{Seconds2000, UnixSeconds};
use leaseq_wire::v4::{self, StatusCode as Status4};
use leaseq_wire::v6::{self, StatusCode as Status6};
use proptest::prelude::*;
use support::*;

const BASE: u32 = 1_790_000_000;

fn active(family: u8, catches_up: bool) -> Active {
    let query = match family {
        4 => Query::V4(Query4::new(Selector4::All)),
        _ => Query::V6(Query6::new(Selector6::All, DUID)),
    };
    Active::new(&query, 7, catches_up)
}

/// Events in short, one word each, with the time after [`BASE`].
fn told(active: &mut Active, octets: &[u8]) -> (Vec<String>, Option<ProtocolError>) {
    let mut events = Vec::new();
    let result = active.push(octets, &mut |event| {
        assert!(!event.octets().is_empty());
        let base = event
            .base_time()
            .map_or("-".to_owned(), |time| time.0.wrapping_sub(BASE).to_string());
        events.push(match event {
            ActiveEvent::Binding4(binding) => {
                format!("{}:{}:{base}", binding.address(), binding.is_active())
            }
            ActiveEvent::Client6(client) => {
                format!("client:{}:{base}", client.client.leases().count())
            }
            ActiveEvent::Status(status) => format!("{:?}:{base}", status.kind),
        });
    });
    (events, result.err())
}

fn fault(family: u8, catches_up: bool, frames: &[Vec<u8>]) -> ProtocolFault {
    let before: usize = frames[..frames.len() - 1].iter().map(Vec::len).sum();
    let (_, error) = told(&mut active(family, catches_up), &frames.concat());
    let error = error.expect("a fault is found");
    assert_eq!(error.offset, before as u64, "{error}");
    error.fault
}

#[test]
fn v4_tells_bindings_and_statuses_to_the_end() {
    let mut active = active(4, true);
    let octets = [
        binding4(7, 1, BASE + 1),
        status4(7, 17, Status4::ConnectionActive, Some(BASE + 2)),
        free4(7, 1, BASE + 2),
        status4(7, 17, Status4::CatchUpComplete, Some(BASE + 3)),
        // Not demanded by the RFC in a keepalive.
        status4(7, 17, Status4::ConnectionActive, None),
        status4(7, 17, Status4::DataMissing, Some(BASE + 4)),
        status4(7, 17, Status4::QueryTerminated, Some(BASE + 5)),
    ];
    assert!(active.is_catching_up());
    let (events, error) = told(&mut active, &octets.concat());
    let expected = [
        "198.51.100.1:true:1",
        "ConnectionActive:2",
        "198.51.100.1:false:2",
        "CatchUpComplete:3",
        "ConnectionActive:-",
        "DataMissing:4",
        "Terminated:5",
    ];
    assert_eq!((events, error), (expected.map(String::from).to_vec(), None));
    assert!(!active.is_catching_up() && active.is_ended());
    assert_eq!(active.closed(), Ok(()));
}

#[test]
fn v4_refusals_and_done_end_the_query() {
    for (kind, status, told_as) in [
        (17, Status4::NotAllowed, "Failed:-"),
        (17, Status4::MalformedQuery, "Failed:-"),
        (15, Status4::UnspecFail, "Failed:-"),
        (15, Status4::Success, "Failed:-"),
    ] {
        let mut active = active(4, false);
        let (events, error) = told(&mut active, &status4(7, kind, status, None));
        assert_eq!(
            (events.as_slice(), error),
            (&[told_as.to_owned()][..], None)
        );
        assert_eq!((active.is_ended(), active.closed()), (true, Ok(())));
    }
    // RFC 7724 §7.1 names DHCPLEASEQUERYDONE.
    let mut active = active(4, false);
    let done = status4(7, 15, Status4::QueryTerminated, Some(BASE));
    assert_eq!(told(&mut active, &done).0, ["Terminated:0"]);
}

#[test]
fn v4_breaches_are_found() {
    let after = |frame: Vec<u8>| fault(4, false, &[binding4(7, 1, BASE), frame]);
    assert_eq!(after(binding4(8, 1, BASE)), ProtocolFault::UnknownXid(8));
    let unknown = message4(7, 12, [0; 4], |_| {});
    assert_eq!(after(unknown), ProtocolFault::UnexpectedType(Some(12)));
    let no_base = message4(7, 13, [198, 51, 100, 1], |_| {});
    assert_eq!(after(no_base), ProtocolFault::NoBaseTime);
    for status in [Status4::DataMissing, Status4::QueryTerminated] {
        assert_eq!(
            after(status4(7, 17, status, None)),
            ProtocolFault::NoBaseTime
        );
    }
    let associated = message4(7, 13, [198, 51, 100, 1], |writer| {
        writer.base_time(UnixSeconds(BASE)).unwrap();
        writer
            .option(v4::option_code::ASSOCIATED_IP, &[0; 4])
            .unwrap();
    });
    assert_eq!(after(associated), ProtocolFault::ForbiddenOption(92));
    let no_address = message4(7, 13, [0; 4], |writer| {
        writer.base_time(UnixSeconds(BASE)).unwrap();
    });
    assert_eq!(after(no_address), ProtocolFault::NoAddress);
    let caught_up = status4(7, 17, Status4::CatchUpComplete, Some(BASE));
    assert_eq!(after(caught_up.clone()), ProtocolFault::NoCatchUp);
    let twice = [caught_up.clone(), caught_up];
    assert_eq!(fault(4, true, &twice), ProtocolFault::NoCatchUp);
    let end = status4(7, 17, Status4::QueryTerminated, Some(BASE));
    let beyond = [end, binding4(7, 1, BASE)];
    assert_eq!(fault(4, false, &beyond), ProtocolFault::AfterEnd);
    let nameless = message4(7, 13, [198, 51, 100, 1], |writer| {
        writer.base_time(UnixSeconds(BASE)).unwrap();
    });
    assert_eq!(
        fault(4, false, &[nameless]),
        ProtocolFault::NoServerIdentifier
    );
    let request = framed(|out| {
        let header = v4::Header::request(7);
        v4::MessageWriter::start(out, &header, 13).unwrap().finish();
    });
    assert_eq!(after(request), ProtocolFault::NotAReply(1));
}

#[test]
fn v6_a_reply_without_clients_is_not_the_end() {
    let mut active = active(6, true);
    let octets = [
        reply6(7, None, Some(BASE)),
        data6(7, 1, 60, BASE + 1),
        status6(7, 17, None, Some(BASE + 2)),
        status6(7, 17, Some(Status6::CatchUpComplete), Some(BASE + 3)),
        data6(7, 1, 0, BASE + 4),
        status6(7, 16, Some(Status6::QueryTerminated), Some(BASE + 5)),
    ];
    let (events, error) = told(&mut active, &octets.concat());
    let expected = [
        "ConnectionActive:0",
        "client:1:1",
        "ConnectionActive:2",
        "CatchUpComplete:3",
        "client:1:4",
        "Terminated:5",
    ];
    assert_eq!((events, error), (expected.map(String::from).to_vec(), None));
    assert_eq!(active.closed(), Ok(()));
}

#[test]
fn v6_refusals_and_data_missing_come_in_the_reply() {
    let mut refused = active(6, true);
    let reply = reply6(7, Some(Status6::NotSupported), None);
    assert_eq!(told(&mut refused, &reply).0, ["Failed:-"]);
    assert!(refused.is_ended());
    let mut missing = active(6, true);
    let reply = reply6(7, Some(Status6::DataMissing), Some(BASE));
    assert_eq!(told(&mut missing, &reply).0, ["DataMissing:0"]);
    assert!(!missing.is_ended() && !missing.is_catching_up());
    // The first client may come with a status.
    let with_client = message6(15, 7, |writer| {
        ids6(writer);
        writer.status(Status6::DataMissing, "").unwrap();
        client6(writer, &[5], 1, 60);
        base6(writer, BASE);
    });
    let told = told(&mut active(6, true), &with_client).0;
    assert_eq!(told, ["DataMissing:0", "client:1:0"]);
}

#[test]
fn v6_breaches_are_found() {
    let after = |frame: Vec<u8>| fault(6, false, &[reply6(7, None, Some(BASE)), frame]);
    assert_eq!(
        after(reply6(7, None, Some(BASE))),
        ProtocolFault::SecondReply
    );
    assert_eq!(after(data6(8, 1, 60, BASE)), ProtocolFault::UnknownXid(8));
    assert_eq!(after(status6(7, 17, None, None)), ProtocolFault::NoBaseTime);
    let done = status6(7, 16, Some(Status6::QueryTerminated), None);
    assert_eq!(after(done), ProtocolFault::NoBaseTime);
    let plain_reply = status6(7, 7, None, Some(BASE));
    assert_eq!(after(plain_reply), ProtocolFault::UnexpectedType(Some(7)));
    let caught_up = status6(7, 17, Some(Status6::CatchUpComplete), Some(BASE));
    assert_eq!(after(caught_up), ProtocolFault::NoCatchUp);
    let links = message6(17, 7, |writer| {
        base6(writer, BASE);
        writer.client_links(&["::1".parse().unwrap()]).unwrap();
    });
    assert_eq!(after(links), ProtocolFault::ForbiddenOption(48));
    let client_in_done = message6(16, 7, |writer| {
        base6(writer, BASE);
        client6(writer, &[5], 1, 60);
    });
    assert_eq!(after(client_in_done), ProtocolFault::ForbiddenOption(45));
    let first = |frame: Vec<u8>| fault(6, false, &[frame]);
    assert_eq!(first(data6(7, 1, 60, BASE)), ProtocolFault::BeforeReply(17));
    let nameless = status6(7, 15, None, Some(BASE));
    assert_eq!(first(nameless), ProtocolFault::NoServerIdentifier);
    let other = message6(15, 7, |writer| {
        writer.server_id(&[9]).unwrap();
        writer.client_id(&[1]).unwrap();
    });
    assert_eq!(first(other), ProtocolFault::OtherClientIdentifier);
    let broken = message6(17, 7, |writer| {
        base6(writer, BASE);
        writer.option(45, &[0, 5, 0, 2, 1, 1]).unwrap();
    });
    assert!(matches!(after(broken), ProtocolFault::Value(error) if error.code == 45));
    let end = status6(7, 16, Some(Status6::QueryTerminated), Some(BASE));
    let frames = [
        reply6(7, None, Some(BASE)),
        end,
        status6(7, 17, None, Some(BASE)),
    ];
    assert_eq!(fault(6, false, &frames), ProtocolFault::AfterEnd);
}

#[test]
fn a_stream_that_is_cut_is_a_breach() {
    for (family, first) in [(4, binding4(7, 1, BASE)), (6, reply6(7, None, Some(BASE)))] {
        let mut active = active(family, false);
        let octets = [first.clone(), vec![1, 0, 9]].concat();
        assert_eq!(told(&mut active, &octets).1, None);
        let expected = ProtocolFault::Closed {
            queries: 1,
            octets: 3,
        };
        let error = active.closed().unwrap_err();
        assert_eq!((error.fault, error.offset), (expected, first.len() as u64));
    }
}

#[test]
fn v4_requests_ask_for_base_time_and_what_the_rfc_allows() {
    let mut query = Query4::new(Selector4::RelayId(vec![9]));
    query.options = vec![v4::option_code::DHCP_STATE];
    let since = Some(UnixSeconds(BASE));
    let request = query.active_request(7, since).unwrap();
    let message = v4::Message::parse(&request[2..]).unwrap();
    assert_eq!((message.message_type(), message.xid()), (Some(16), 7));
    assert_eq!(
        (message.ciaddr(), message.hlen()),
        (Ipv4Addr::UNSPECIFIED, 0)
    );
    let value = |code| {
        message
            .option(code)
            .map(|value| value.bytes().collect::<Vec<u8>>())
    };
    assert_eq!(value(55), Some(vec![156, 152]));
    assert_eq!(value(154), Some(BASE.to_be_bytes().to_vec()));
    assert_eq!(
        (value(82), value(61), value(155)),
        (Some(vec![12, 1, 9]), None, None)
    );

    let request = |query: &Query4| query.active_request(7, None);
    query.options.clear();
    let none_asked = request(&query).unwrap();
    assert!(
        v4::Message::parse(&none_asked[2..])
            .unwrap()
            .option(55)
            .is_none()
    );
    query.until = since;
    assert_eq!(request(&query), Err(QueryError::EndTime));
    let by_client = Query4::new(Selector4::ClientId(vec![1]));
    assert_eq!(request(&by_client), Err(QueryError::NotActive));
}

#[test]
fn v6_requests_have_a_filter_or_none() {
    let mut query = Query6::new(Selector6::All, DUID);
    query.options = vec![v6::option_code::LQ_RELAY_DATA];
    let since = Some(Seconds2000(5));
    let request = query.active_request(7, since).unwrap();
    let message = v6::Message::parse(&request[2..]).unwrap();
    assert_eq!((message.msg_type(), message.xid()), (22, 7));
    assert_eq!(message.option(v6::option_code::CLIENTID), Some(DUID));
    assert_eq!(
        message.option(v6::option_code::ORO),
        Some(&[0, 47, 0, 100][..])
    );
    assert_eq!(
        message.option(v6::option_code::LQ_START_TIME),
        Some(&[0, 0, 0, 5][..])
    );
    assert!(message.option(v6::option_code::LQ_QUERY).is_none());
    assert_eq!(query.bulk_request(7), Err(QueryError::ActiveOnly));

    query.selector = Selector6::RelayId(vec![9]);
    let request = query.active_request(7, None).unwrap();
    let message = v6::Message::parse(&request[2..]).unwrap();
    let filter = message.option(v6::option_code::LQ_QUERY).unwrap();
    assert_eq!(
        (filter[0], &filter[17..]),
        (3, &[0, 53, 0, 1, 9, 0, 6, 0, 4, 0, 47, 0, 100][..])
    );
    query.until = since;
    assert_eq!(query.active_request(7, None), Err(QueryError::EndTime));
}

proptest! {
    #[test]
    fn arbitrary_octets_never_panic(
        octets in proptest::collection::vec(any::<u8>(), 0..600), cut in 0_usize..300, catches_up: bool,
    ) {
        for family in [4, 6] {
            let _ = told(&mut active(family, catches_up), &octets);
            // Behind a valid beginning, so that more than the frame's length is looked at.
            let start = if family == 4 { binding4(7, 1, BASE) } else { reply6(7, None, Some(BASE)) };
            let mut stream = start[..start.len() - cut.min(start.len() / 3)].to_vec();
            stream.extend(&octets);
            let _ = told(&mut active(family, catches_up), &stream);
        }
    }
}

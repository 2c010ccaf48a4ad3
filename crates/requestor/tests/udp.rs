//! Queries over UDP on injected time: retransmission, and which datagrams are answers.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use leaseq_requestor::{
    Answer, Query, Query4, Query6, QueryError, Selector4, Selector6, Step, Timers, UdpExchange,
};
use leaseq_wire::OutBuf;
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::{self, Header};
use leaseq_wire::v6::{self, StatusCode};
use proptest::prelude::*;

const NOW: UnixSeconds = UnixSeconds(1_790_000_000);
const DUID: &[u8] = &[0, 3, 0, 1, 2, 0, 0, 0, 0, 0x99];

fn query4() -> Query {
    let giaddr = Ipv4Addr::new(192, 0, 2, 1);
    Query::V4(Query4 {
        giaddr,
        ..Query4::new(Selector4::Ip(Ipv4Addr::new(198, 51, 100, 7)))
    })
}

fn query6() -> Query {
    Query::V6(Query6::new(
        Selector6::Address("2001:db8::7".parse().unwrap()),
        DUID,
    ))
}

/// The times between the transmissions of an exchange that is never answered, and to its end.
fn unanswered(mut exchange: UdpExchange) -> Vec<Duration> {
    let (start, mut now) = (Instant::now(), Instant::now());
    let mut times = Vec::new();
    loop {
        match exchange.step(now) {
            Step::Send(request) => {
                assert!(!request.is_empty());
                times.push(now - start);
            }
            Step::WaitUntil(due) => {
                assert!(due > now);
                assert!(matches!(
                    exchange.step(due - Duration::from_nanos(1)),
                    Step::WaitUntil(_)
                ));
                now = due;
            }
            Step::Failed => break,
        }
        assert!(times.len() < 100);
    }
    assert_eq!(exchange.sent() as usize, times.len());
    times.push(now - start);
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

fn near(time: Duration, seconds: f64, spread: f64) {
    assert!(
        (time.as_secs_f64() - seconds).abs() <= spread + 1e-6,
        "{time:?} is not {seconds} s +- {spread} s"
    );
}

proptest! {
    /// RFC 5007 §4.1.4 with RFC 8415 §15.
    #[test]
    fn v6_times_double_up_to_ten_seconds(random in any::<u64>()) {
        let times = unanswered(UdpExchange::new(&query6(), 1, random).unwrap());
        prop_assert_eq!(times.len(), 5);
        near(times[0], 1.0, 0.1);
        for pair in times.windows(2) {
            let doubled = 2.0 * pair[0].as_secs_f64();
            if doubled + pair[0].as_secs_f64() / 10.0 > 10.0 {
                prop_assert!(pair[1] <= Duration::from_secs(11));
            } else {
                near(pair[1], doubled, pair[0].as_secs_f64() / 10.0);
            }
        }
    }

    /// RFC 4388 §6.6 with RFC 2131 §4.1.
    #[test]
    fn v4_times_double_from_four_seconds(random in any::<u64>()) {
        let times = unanswered(UdpExchange::new(&query4(), 1, random).unwrap());
        prop_assert_eq!(times.len(), 3);
        for (time, seconds) in times.iter().zip([4.0, 8.0, 16.0]) { near(*time, seconds, 1.0); }
        let timers = Timers { max: Duration::from_secs(6), transmissions: 5, ..Timers::V4 };
        let times = unanswered(UdpExchange::new(&query4(), 1, random).unwrap().with_timers(timers));
        prop_assert_eq!(times.len(), 5);
        times[1..].iter().for_each(|time| near(*time, 6.0, 1.0));
    }

    #[test]
    fn arbitrary_datagrams_are_no_answers(octets in proptest::collection::vec(any::<u8>(), 0..400)) {
        for query in [query4(), query6()] {
            let exchange = UdpExchange::new(&query, 0x0055_aa55, 1).unwrap();
            prop_assert_eq!(exchange.receive(&octets, NOW), Ok(None));
        }
    }
}

fn reply4(xid: u32, kind: u8) -> Vec<u8> {
    let mut octets = [0; 400];
    let mut out = OutBuf::new(&mut octets);
    let header = Header {
        ciaddr: Ipv4Addr::new(198, 51, 100, 7),
        ..Header::reply(xid)
    };
    let mut writer = v4::MessageWriter::start(&mut out, &header, kind).unwrap();
    writer
        .option_u32(v4::option_code::CLIENT_LAST_TRANSACTION_TIME, 60)
        .unwrap();
    writer.finish();
    out.as_slice().to_vec()
}

#[test]
fn v4_answers_are_told_from_other_datagrams() {
    let exchange = UdpExchange::new(&query4(), 7, 1).unwrap();
    let receive = |octets: &[u8]| exchange.receive(octets, NOW).unwrap();
    assert_eq!(receive(&reply4(8, 13)), None);
    assert_eq!(receive(&reply4(7, 15)), None);
    let mut request = reply4(7, 13);
    request[0] = 1;
    assert_eq!(receive(&request), None);
    assert_eq!(receive(&reply4(7, 12)), Some(Answer::Unknown));
    let Some(Answer::Lease4(lease)) = receive(&reply4(7, 13)) else {
        panic!("no lease")
    };
    assert_eq!(
        (lease.address, lease.state.name()),
        (Ipv4Addr::new(198, 51, 100, 7), "active")
    );
    assert_eq!(lease.cltt(), Some(UnixSeconds(NOW.0 - 60)));
    let Some(Answer::Lease4(lease)) = receive(&reply4(7, 11)) else {
        panic!("no lease")
    };
    assert_eq!(lease.state.name(), "available");
}

fn reply6(
    xid: u32,
    client_id: &[u8],
    write: impl FnOnce(&mut v6::MessageWriter<'_, '_>),
) -> Vec<u8> {
    let mut octets = [0; 400];
    let mut out = OutBuf::new(&mut octets);
    let mut writer =
        v6::MessageWriter::start(&mut out, v6::message_type::LEASEQUERY_REPLY, xid).unwrap();
    writer.server_id(&[9]).unwrap();
    writer.client_id(client_id).unwrap();
    write(&mut writer);
    writer.finish();
    out.as_slice().to_vec()
}

#[test]
fn v6_answers_are_told_from_other_datagrams() {
    let exchange = UdpExchange::new(&query6(), 7, 1).unwrap();
    let receive = |octets: &[u8]| exchange.receive(octets, NOW).unwrap();
    assert_eq!(receive(&reply6(8, DUID, |_| {})), None);
    assert_eq!(receive(&reply6(7, &[1], |_| {})), None);
    assert_eq!(
        receive(&reply6(7, DUID, |_| {})),
        Some(Answer::Clients6(vec![]))
    );
    let refused = reply6(7, DUID, |writer| {
        writer
            .status(StatusCode::NotConfigured, "no such link")
            .unwrap()
    });
    let Some(Answer::Failed(status)) = receive(&refused) else {
        panic!("no status")
    };
    assert_eq!(status.to_string(), "NotConfigured: no such link");
    let link = "2001:db8:1::1".parse().unwrap();
    let links = reply6(7, DUID, |writer| writer.client_links(&[link]).unwrap());
    assert_eq!(receive(&links), Some(Answer::Links6(vec![link])));
    let odd = reply6(7, DUID, |writer| writer.option(48, &[0; 17]).unwrap());
    assert!(exchange.receive(&odd, NOW).is_err());
    let lease = reply6(7, DUID, |writer| {
        let client = writer.begin_option(v6::option_code::CLIENT_DATA).unwrap();
        writer.client_id(&[5]).unwrap();
        writer
            .iaaddr("2001:db8::7".parse().unwrap(), 10, 20)
            .unwrap();
        writer.end_option(client).unwrap();
    });
    let Some(Answer::Clients6(clients)) = receive(&lease) else {
        panic!("no client")
    };
    assert_eq!((clients.len(), clients[0].leases[0].valid), (1, 20));
}

#[test]
fn what_udp_does_not_have_is_refused() {
    let new = |query| UdpExchange::new(&query, 1, 1).unwrap_err();
    let Query::V4(v4) = query4() else {
        unreachable!()
    };
    let Query::V6(v6) = query6() else {
        unreachable!()
    };
    assert_eq!(
        new(Query::V4(Query4 {
            selector: Selector4::All,
            ..v4.clone()
        })),
        QueryError::TcpOnly
    );
    assert_eq!(
        new(Query::V4(Query4 {
            giaddr: Ipv4Addr::UNSPECIFIED,
            ..v4.clone()
        })),
        QueryError::NoGiaddr
    );
    assert_eq!(
        new(Query::V4(Query4 {
            since: Some(NOW),
            ..v4.clone()
        })),
        QueryError::TimesTcpOnly
    );
    assert_eq!(
        new(Query::V6(Query6 {
            selector: Selector6::RelayId(vec![1]),
            ..v6.clone()
        })),
        QueryError::TcpOnly
    );
    assert_eq!(
        new(Query::V6(Query6 {
            until: Some(NOW.into()),
            ..v6.clone()
        })),
        QueryError::TimesTcpOnly
    );
    assert_eq!(Query::V4(v4).bulk_request(1), Err(QueryError::UdpOnly));
    let by_link = Query6 {
        selector: Selector6::Link,
        ..v6
    };
    assert_eq!(by_link.bulk_request(1), Err(QueryError::NoLink));
}

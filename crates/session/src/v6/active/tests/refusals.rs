//! Queries that start no stream.

use super::*;
use crate::Discard;
use crate::query::StepEnd;

/// The one message of a refused query, and why its connection is closed then.
fn answer(site: &Site, opened: Opened) -> (Line, Option<CloseReason>) {
    let Opened::Query(mut query) = opened else {
        panic!("no refusal");
    };
    let view = site.reader.view();
    let mut quota = Quota {
        bindings: usize::MAX,
        octets: usize::MAX,
        examined: usize::MAX,
    };
    let mut octets = vec![0; 1_024];
    let mut out = OutBuf::new(&mut octets);
    let end = query.step(&site.cx(&view), &mut out, &mut quota);
    let Ok(StepEnd::Done { empty: true, close }) = end else {
        panic!("{end:?}");
    };
    let messages = messages(out.as_slice());
    assert_eq!(messages.len(), 1);
    (Line::read(&messages[0]), close)
}

/// The status of a refusal, which has to name server and requestor, and to close the connection.
fn refused(site: &Site, asked: &Asked) -> u16 {
    let (line, close) = answer(site, site.open(asked));
    assert_eq!((line.message_type, line.xid), (15, XID));
    assert_eq!(line.server_id.as_deref(), Some(SERVER));
    assert_eq!(line.requestor.as_deref(), Some(REQUESTOR));
    assert_eq!(line.duid, None);
    assert!(close.is_some());
    line.status.expect("a status")
}

#[test]
fn a_server_without_active_leasequery_does_not_support_it() {
    let mut site = Site::new();
    site.settings.active.enabled = false;
    let (line, close) = answer(&site, site.open(&Asked::all().oro(&[100])));
    assert_eq!((line.message_type, line.status), (15, Some(14)));
    assert_eq!(line.base_time, Some(NOW_2000));
    assert_eq!(close, Some(CloseReason::UnsupportedMessage));
    let counted = &site.counters.v6;
    assert_eq!(counted.queries.of(QueryKind::Active).get(), 1);
    assert_eq!(counted.ended.of(crate::QueryEnd::NotSupported).get(), 1);
}

#[test]
fn an_end_time_is_malformed() {
    let site = Site::new();
    let end = NOW_2000.to_be_bytes();
    for asked in [Asked::all(), Asked::by_relay(1)] {
        assert_eq!(refused(&site, &asked.with(code::LQ_END_TIME, &end)), 8);
    }
}

#[test]
fn what_cannot_be_read_is_malformed() {
    let site = Site::new();
    let overrun = Asked {
        options: vec![0, 200, 0, 9, 1],
        ..Asked::all()
    };
    assert_eq!(refused(&site, &overrun), 8);
    let time = Asked::all().with(code::LQ_START_TIME, &[1, 2, 3]);
    assert_eq!(refused(&site, &time), 8);
    let time = Asked::by_relay(1).with(code::LQ_START_TIME, &[1, 2, 3]);
    assert_eq!(refused(&site, &time), 8);
    let vss = Asked::all().with(code::VSS, &[7, 7]);
    assert_eq!(refused(&site, &vss), 8);
    for query_type in [1, 2, 3, 4, 5] {
        let without_its_option = Asked::by(query_type, "::", Vec::new());
        assert_eq!(refused(&site, &without_its_option), 8, "type {query_type}");
    }
    let short = Asked {
        query: Some(vec![3; 16]),
        ..Asked::all()
    };
    assert_eq!(refused(&site, &short), 8);
}

#[test]
fn an_unknown_query_type_is_named_so() {
    let site = Site::new();
    assert_eq!(refused(&site, &Asked::by(6, "::", Vec::new())), 7);
}

#[test]
fn a_link_that_is_not_found_is_not_configured() {
    let site = Site::new();
    assert_eq!(refused(&site, &Asked::by_link("2001:db8:99::1")), 9);
    let relay = Asked::by(3, "2001:db8:99::1", option(code::RELAY_ID, &relay_id(1)));
    assert_eq!(refused(&site, &relay), 9);
    assert_eq!(refused(&site, &Asked::by_address("2001:db8:99::1")), 9);
}

#[test]
fn what_the_rule_does_not_allow_is_not_allowed() {
    let mut site = Site::new();
    site.rule.queries = [QueryKind::RelayId].into_iter().collect();
    assert_eq!(refused(&site, &Asked::by_relay(1)), 10);
    site.rule.queries = [QueryKind::Active].into_iter().collect();
    assert!(matches!(site.open(&Asked::by_relay(1)), Opened::Stream(_)));
    site.rule.relay_ids = vec![relay_id(2)];
    assert_eq!(refused(&site, &Asked::by_relay(1)), 10);
    site.rule.vpns = vec![b"\0blue".to_vec()];
    let in_vpn = |asked: Asked, vpn: &[u8]| asked.with(code::VSS, vpn);
    assert_eq!(refused(&site, &in_vpn(Asked::all(), b"\0red")), 10);
    assert_eq!(refused(&site, &in_vpn(Asked::by_client(1), b"\0red")), 10);
    assert_eq!(refused(&site, &Asked::by_client(1)), 10, "the global VPN");
    let blue = in_vpn(Asked::by_client(1), b"\0blue");
    assert!(matches!(site.open(&blue), Opened::Stream(_)));
    site.rule.links = vec![LinkRule {
        name: "pop-2".to_owned(),
        prefixes: vec!["2001:db8:2::/48".parse().unwrap()],
    }];
    let link = in_vpn(Asked::by_link("2001:db8:1::"), b"\0blue");
    assert_eq!(refused(&site, &link), 10);
}

#[test]
fn a_message_without_requestors_client_id_or_for_another_server_is_discarded() {
    let mut site = Site::new();
    for enabled in [true, false] {
        site.settings.active.enabled = enabled;
        let nobody = Asked {
            requestor: None,
            ..Asked::all()
        };
        assert!(matches!(site.open(&nobody), Opened::Discarded));
        let elsewhere = Asked::all().with(code::SERVERID, &duid(9));
        assert!(matches!(site.open(&elsewhere), Opened::Discarded));
        let garbled = Asked {
            options: [option(code::SERVERID, &duid(9)), vec![1]].concat(),
            ..Asked::all()
        };
        assert!(matches!(site.open(&garbled), Opened::Discarded));
    }
    let discarded = &site.counters.v6.discarded;
    assert_eq!(discarded.of(Discard::NoClientId).get(), 2);
    assert_eq!(discarded.of(Discard::OtherServer).get(), 4);
    assert_eq!(site.counters.v6.queries.total(), 0);
}

#[test]
fn a_query_beside_an_active_one_is_not_allowed() {
    let site = Site::new();
    let view = site.reader.view();
    let bulk = [
        &[message_type::LEASEQUERY][..],
        &Asked::by_relay(1).octets()[1..],
    ]
    .concat();
    for octets in [Asked::all().octets(), bulk] {
        let opened = beside(&site.cx(&view), &octets);
        let (line, close) = answer(&site, opened);
        assert_eq!((line.message_type, line.status), (15, Some(10)));
        assert_eq!((line.xid, line.base_time), (XID, None));
        assert_eq!(line.requestor.as_deref(), Some(REQUESTOR));
        assert_eq!(close, Some(CloseReason::BesideActive));
    }
    assert_eq!(
        site.counters.v6.ended.of(crate::QueryEnd::NotAllowed).get(),
        2
    );
}

//! The octets: what each message holds, base-time, room that ends anywhere, clients too large for a message, shared forms.

use super::*;

fn said(site: &Site, teller: &mut dyn Teller, say: Say, base: Stamp) -> Line {
    let view = site.reader.view();
    let mut octets = vec![0; 1_024];
    let mut out = OutBuf::new(&mut octets);
    assert_eq!(teller.say(&site.cx(&view), say, base, &mut out), Ok(1));
    let messages = messages(out.as_slice());
    assert_eq!(messages.len(), 1);
    Line::read(&messages[0])
}

const SAYS: [Say; 6] = [
    Say::Begin {
        data_missing: false,
    },
    Say::Begin { data_missing: true },
    Say::Keepalive,
    Say::CatchUpComplete,
    Say::DataMissing,
    Say::Terminated("server is shutting down"),
];

#[test]
fn what_is_said_beside_bindings_has_its_message_type_status_and_base_time() {
    let site = Site::new();
    let base = Stamp::from_millis(u64::from(NOW + 7) * 1_000 + 999);
    let mut teller = site.teller(&Asked::all());
    let mut asking = site.teller(&Asked::by_relay(1).oro(&[100]));
    // Message type, status, whether base-time is told although it was not asked for.
    let expected = [
        (15, None, false),
        (15, Some(12), true),
        (17, None, false),
        (17, Some(13), false),
        (17, Some(12), true),
        (16, Some(11), true),
    ];
    for (say, (message_type, status, always)) in SAYS.into_iter().zip(expected) {
        let reply = message_type == 15;
        let line = Line {
            message_type,
            xid: XID,
            server_id: reply.then(|| SERVER.to_vec()),
            requestor: reply.then(|| REQUESTOR.to_vec()),
            status,
            base_time: Some(NOW_2000 + 7),
            ..Line::default()
        };
        assert_eq!(said(&site, &mut *asking, say, base), line, "{say:?}");
        let base_time = line.base_time.filter(|_| always);
        let line = Line { base_time, ..line };
        assert_eq!(said(&site, &mut *teller, say, base), line, "{say:?}");
    }
}

#[test]
fn nothing_is_left_behind_where_there_is_no_room() {
    let site = Site::new();
    let mut teller = site.teller(&Asked::by_relay(1).oro(&[100]));
    let view = site.reader.view();
    let cx = site.cx(&view);
    for say in SAYS {
        let mut whole = vec![0; 1_024];
        let mut out = OutBuf::new(&mut whole);
        teller.say(&cx, say, site.reader.now(), &mut out).unwrap();
        let length = out.len();
        for room in 0..length {
            let mut octets = vec![0; room];
            let mut out = OutBuf::new(&mut octets);
            assert!(teller.say(&cx, say, site.reader.now(), &mut out).is_err());
            assert_eq!(out.len(), 0, "{say:?} in {room} octets");
        }
    }
}

#[test]
fn a_record_is_told_whole_or_not_at_all() {
    let site = Site::new();
    let many = (0..150).map(|n| lease(&format!("2001:db8:1::{n:x}"), 1, 1));
    let from = site.later(many);
    let mut teller = site.teller(&Asked::by_relay(1).oro(&[47, 100]));
    let view = site.reader.view();
    let cx = site.cx(&view);
    let mut cursor = LogCursor::new(ScanFrom::Sequence(from + 149));
    let record = view.next_record(&mut cursor).unwrap();
    let mut whole = vec![0; 70_000];
    let mut out = OutBuf::new(&mut whole);
    out.put(b"before").unwrap();
    let told = teller
        .record(&cx, &record, record.stamp(), &mut out)
        .unwrap();
    let one = Told {
        messages: 1,
        bindings: 150,
        examined: 150,
    };
    assert_eq!(told, one);
    let whole = out.as_slice().to_vec();
    for room in 6..whole.len() {
        let mut octets = vec![0; room];
        let mut out = OutBuf::new(&mut octets);
        out.put(b"before").unwrap();
        assert!(
            teller
                .record(&cx, &record, record.stamp(), &mut out)
                .is_err()
        );
        assert_eq!(out.as_slice(), b"before", "in {room} octets");
    }
    let mut octets = vec![0; whole.len()];
    let mut out = OutBuf::new(&mut octets);
    out.put(b"before").unwrap();
    teller
        .record(&cx, &record, record.stamp(), &mut out)
        .unwrap();
    assert_eq!(out.as_slice(), whole);
}

#[test]
fn a_client_too_large_for_a_message_is_told_in_several() {
    let site = Site::new();
    let text = |n: u32| format!("2001:db8:1::{n:x}");
    let from = site.later((0..5_000).map(|n| lease(&text(n), 1, 1)));
    let mut teller = site.teller(&Asked::by_relay(1).oro(&[47]));
    let last = from + 4_999;
    let told = site.told(&mut *teller, last);
    assert_eq!(told.len(), 3);
    for line in &told {
        assert_eq!((line.clt_time, line.relay_data), (Some(101), true));
    }
    let leases: Vec<String> = told
        .iter()
        .flat_map(|line| &line.leases)
        .map(|(lease, _, valid)| format!("{lease} {valid}"))
        .collect();
    let expected: Vec<String> = (0..5_000)
        .map(|n| format!("{}/128 3499", ip(&text(n))))
        .collect();
    assert_eq!(leases, expected);
    // Where the second of its messages does not fit, the first is taken back too.
    let view = site.reader.view();
    let mut cursor = LogCursor::new(ScanFrom::Sequence(last));
    let record = view.next_record(&mut cursor).unwrap();
    let mut octets = vec![0; 100_000];
    let mut out = OutBuf::new(&mut octets);
    assert!(
        teller
            .record(&site.cx(&view), &record, record.stamp(), &mut out)
            .is_err()
    );
    assert_eq!(out.len(), 0);
}

#[test]
fn times_are_counted_from_the_records_own_commit_however_late_it_is_told() {
    let site = Site::new();
    let from = site.later([lease("2001:db8:1::a", 1, 1)]);
    site.advance(1_000);
    let mut teller = site.teller(&Asked::all().oro(&[100]));
    let told = site.told(&mut *teller, from);
    assert_eq!(told[0].base_time, Some(NOW_2000 + 1));
    assert_eq!(told[0].clt_time, Some(101));
    assert_eq!(
        told[0].leases,
        [("2001:db8:1::a/128".to_owned(), 1_699, 3_499)]
    );
}

#[test]
fn a_client_that_spoke_after_the_record_has_a_clt_time_of_zero() {
    let site = Site::new();
    let from = site.later([end("2001:db8:1::9"), lease("2001:db8:1::a", 1, 1)]);
    site.advance(500);
    site.add([Event6 {
        cltt: Some(NOW + 400),
        ..lease("2001:db8:1::b", 1, 1)
    }]);
    let mut teller = site.teller(&Asked::all());
    let mut follower = Follower::at(from);
    let told = follower.read(&site, &mut *teller, 2);
    // Its end stays what it is.
    assert_eq!(texts(&told), ["1: 2001:db8:1::a 3499, 2001:db8:1::b 3999"]);
    assert_eq!(told[0].clt_time, Some(0));
}

#[test]
fn infinite_lifetimes_stay() {
    let site = Site::new();
    let from = site.later([Event6 {
        valid_lifetime: Some(u32::MAX),
        preferred_lifetime: Some(u32::MAX),
        ..lease("2001:db8:1::a", 1, 1)
    }]);
    let mut teller = site.teller(&Asked::all());
    let told = site.told(&mut *teller, from);
    assert_eq!(told[0].leases[0].1, u32::MAX);
    assert_eq!(told[0].leases[0].2, u32::MAX);
}

#[test]
fn options_are_told_if_asked_for_and_not_withheld() {
    let mut site = Site::new();
    site.settings.dhcp6.withhold_options = vec![24];
    let from = site.later([Event6 {
        options: Some(vec![(23, vec![1; 16]), (24, vec![2]), (31, vec![3; 16])]),
        ..lease("2001:db8:1::a", 1, 1)
    }]);
    for asked in [
        Asked::all().oro(&[23, 24, 47]),
        Asked::by_client(1).oro(&[23, 24, 47]),
    ] {
        let mut teller = site.teller(&asked);
        let told = site.told(&mut *teller, from);
        assert_eq!(told[0].others, [23], "{asked:?}");
        assert!(told[0].relay_data);
    }
    let mut teller = site.teller(&Asked::all());
    let told = site.told(&mut *teller, from);
    assert!(told[0].others.is_empty() && !told[0].relay_data);
}

#[test]
fn streams_of_everything_share_their_messages_if_these_are_equal() {
    let site = Site::new();
    let form = |asked: &Asked| site.teller(asked).shared_form();
    let plain = form(&Asked::all());
    assert!(plain.is_some());
    let start_time = NOW_2000.to_be_bytes();
    let since = Asked::all().with(code::LQ_START_TIME, &start_time);
    assert_eq!(form(&since), plain);
    let (one, two) = (
        Asked::all().oro(&[23, 100, 300, 299]),
        Asked::all().oro(&[299, 300, 100, 23]),
    );
    assert_eq!(form(&one), form(&two));
    let mut forms = vec![
        plain,
        form(&one),
        form(&Asked::all().oro(&[100])),
        form(&Asked::all().oro(&[23])),
        form(&Asked::all().oro(&[47])),
        form(&Asked::all().oro(&[299])),
        form(&Asked::all().with(code::VSS, b"\0blue")),
        form(&Asked::all().with(code::VSS, b"\0green")),
    ];
    let count = forms.len();
    forms.sort();
    forms.dedup();
    assert_eq!(forms.len(), count);
    for asked in [
        Asked::by_address("2001:db8:1::a"),
        Asked::by_client(1),
        Asked::by_relay(1),
        Asked::by_link("2001:db8:1::"),
        Asked::by_remote(1),
    ] {
        assert_eq!(form(&asked), None);
    }
}

#[test]
fn only_the_transaction_id_tells_shared_messages_apart() {
    let site = Site::new();
    let from = site.later([lease("2001:db8:1::a", 1, 1)]);
    let mut teller = site.teller(&Asked::all().oro(&[23, 47, 100]));
    let mut other = teller.with_xid(0x00ff_eedd);
    let mut lines = site.told(&mut *teller, from);
    assert_eq!(lines[0].xid, XID);
    lines[0].xid = 0x00ff_eedd;
    assert_eq!(site.told(&mut *other, from), lines);
    assert_eq!(other.shared_form(), teller.shared_form());
}

#[test]
fn a_stream_is_found_by_what_it_is_narrowed_to() {
    let site = Site::new();
    let link = site.reader.view().link_of(ip("2001:db8:1::")).unwrap();
    let scope = |asked: &Asked, expected: Scope<'_>| {
        assert_eq!(site.teller(asked).scope(), expected);
    };
    scope(&Asked::all(), Scope::V6);
    scope(&Asked::by_address("2001:db8:1::a"), Scope::V6);
    scope(&Asked::by_client(1), Scope::Duid(&duid(1)));
    scope(&Asked::by_relay(1), Scope::RelayId6(&relay_id(1)));
    scope(&Asked::by_link("2001:db8:1::77"), Scope::Link(link));
    scope(&Asked::by_remote(1), Scope::RemoteId6(&remote_id(1)));
    let value = [&ip("2001:db8:1::a").octets()[..], &[0; 8]].concat();
    let narrow = Asked::by(1, "2001:db8:1::1", option(code::IAADDR, &value));
    scope(&narrow, Scope::Link(link));
}

#[test]
fn the_start_time_is_told_in_unix_seconds() {
    let site = Site::new();
    assert_eq!(site.stream(&Asked::all()).since, None);
    let time = (NOW_2000 - 60).to_be_bytes();
    for asked in [Asked::all(), Asked::by_relay(1)] {
        let stream = site.stream(&asked.with(code::LQ_START_TIME, &time));
        assert_eq!((stream.since, stream.xid), (Some(NOW - 60), XID));
    }
}

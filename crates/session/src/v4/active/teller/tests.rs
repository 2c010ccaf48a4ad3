//! Which records a stream is told of, and every octet of it.

use leaseq_store::{Event4, Vpn};
use leaseq_wire::v4::message_type::{DHCPLEASEACTIVE, DHCPLEASEQUERYSTATUS, DHCPLEASEUNASSIGNED};
use leaseq_wire::v4::option_code::{
    BASE_TIME, CLIENT_LAST_TRANSACTION_TIME, DHCP_STATE, IP_ADDRESS_LEASE_TIME, SERVER_IDENTIFIER,
    START_TIME_OF_STATE, STATUS_CODE, VSS,
};

use super::super::rig::{Heard, Query, Rig, SERVER, START, at, heard, lease, only, relay_info};
use super::*;

const ADDRESS: [u8; 4] = [100, 64, 0, 1];
const EVERY_TIME: [u8; 5] = [51, 91, 152, 153, 156];

fn in_state(address: [u8; 4], state: State) -> Event4 {
    Event4::new(address.into(), state)
}

fn teller(rig: &Rig, query: &Query) -> Box<dyn Teller> {
    rig.stream(query).teller
}

/// A stream narrowed to what is given of the two.
fn narrowed(relay_id: &[u8], remote_id: &[u8]) -> Query {
    Query::active(7)
        .option(82, &relay_info(relay_id, remote_id))
        .option(55, &EVERY_TIME)
}

fn say(rig: &Rig, teller: &mut dyn Teller, say: Say, base: Stamp) -> Vec<Heard> {
    let view = rig.view();
    let mut octets = [0; 1_024];
    let mut out = OutBuf::new(&mut octets);
    let frames = teller
        .say(&rig.cx(&view), say, base, &mut out)
        .expect("room");
    let heard = heard(&out);
    assert_eq!(heard.len(), frames as usize);
    heard
}

#[test]
fn without_a_list_a_stream_tells_what_bulk_tells_and_names_the_server_once() {
    let rig = Rig::new();
    rig.store(lease(ADDRESS, b"relay", b"circuit"));
    rig.store(lease([100, 64, 0, 2], b"relay", b"circuit"));
    let told = rig.tell_all(&mut *teller(&rig, &Query::active(7)));
    assert_eq!(told[0].codes(), [51, 53, 54, 61, 82, 91, 152]);
    assert_eq!(told[1].codes(), [51, 53, 61, 82, 91, 152]);
    assert_eq!(told[0].options[&SERVER_IDENTIFIER], SERVER);
    for (told, last) in told.iter().zip([1, 2]) {
        assert_eq!((told.message_type, told.xid), (DHCPLEASEACTIVE, 7));
        assert_eq!(told.ciaddr.octets(), [100, 64, 0, last]);
        assert_eq!(told.chaddr, [2, 0x5e, 0x10, 0, 0, 7]);
        assert_eq!(told.options[&61], [1, 2, 0x5e, 0x10, 0, 0, 7]);
        assert_eq!(told.options[&82], relay_info(b"relay", b"circuit"));
    }
}

#[test]
fn base_time_is_told_whether_asked_for_or_not_and_even_if_withheld() {
    let mut rig = Rig::new();
    rig.settings.dhcp4.withhold_options = [BASE_TIME, 12].into_iter().collect();
    rig.store(lease(ADDRESS, b"relay", b"circuit"));
    for query in [Query::active(7), Query::active(7).option(55, &[12, 51])] {
        let mut teller = teller(&rig, &query);
        let told = rig.tell_all(&mut *teller);
        assert_eq!(told[0].number(BASE_TIME), Some(START));
        assert!(!told[0].options.contains_key(&12), "withheld");
        let said = say(&rig, &mut *teller, Say::Keepalive, at(START + 60));
        assert_eq!(said[0].number(BASE_TIME), Some(START + 60));
    }
}

#[test]
fn associated_ip_is_never_told() {
    let rig = Rig::new();
    rig.store(lease(ADDRESS, b"relay", b"circuit"));
    let every: Vec<u8> = (0..=255).collect();
    let told = rig.tell_all(&mut *teller(&rig, &Query::active(7).option(55, &every)));
    assert!(told[0].options.contains_key(&12));
    assert!(!told[0].options.contains_key(&92));
}

#[test]
fn all_times_are_counted_from_base_time() {
    let rig = Rig::new();
    rig.store(lease(ADDRESS, b"relay", b"circuit"));
    for (base, left, ago) in [
        (START, 3_600, 0),
        (START + 600, 3_000, 600),
        // A transaction after the base-time is not in the future of anybody.
        (START - 5, 3_605, 0),
    ] {
        let mut teller = teller(&rig, &Query::active(7).option(55, &EVERY_TIME));
        let told = rig.last(|cx, record| {
            let mut octets = [0; 1_024];
            let mut out = OutBuf::new(&mut octets);
            teller.record(cx, record, at(base), &mut out).expect("room");
            only(&out)
        });
        let times = [
            BASE_TIME,
            IP_ADDRESS_LEASE_TIME,
            CLIENT_LAST_TRANSACTION_TIME,
        ];
        assert_eq!(
            times.map(|code| told.number(code)),
            [base, left, ago].map(Some)
        );
        assert_eq!(told.number(START_TIME_OF_STATE), Some(ago));
    }
}

#[test]
fn the_message_type_follows_the_state_and_its_number_is_told() {
    for state in State::ALL {
        let rig = Rig::new();
        rig.store(lease(ADDRESS, b"relay", b"circuit"));
        rig.store(Event4 {
            state,
            ..lease(ADDRESS, b"relay", b"circuit")
        });
        let told = rig.tell_all(&mut *teller(
            &rig,
            &Query::active(7).option(55, &EVERY_TIME),
        ));
        assert_eq!(told.len(), 1, "{state:?}: the newest alone");
        let active = state == State::Active;
        let expected = if active {
            DHCPLEASEACTIVE
        } else {
            DHCPLEASEUNASSIGNED
        };
        assert_eq!(told[0].message_type, expected, "{state:?}");
        assert_eq!(told[0].octet(DHCP_STATE), Some(state as u8));
        assert_eq!(told[0].options.contains_key(&IP_ADDRESS_LEASE_TIME), active);
    }
}

#[test]
fn every_vpn_that_the_requestor_may_see_is_told_and_named() {
    let mut rig = Rig::new();
    for vpn in ["", "red", "blue"] {
        let mut event = lease(ADDRESS, b"relay", b"circuit");
        event.vpn = Vpn::named(vpn);
        rig.store(event);
    }
    let vpns = |rig: &Rig| -> Vec<Option<Vec<u8>>> {
        let told = rig.tell_all(&mut *teller(rig, &Query::active(7)));
        told.iter()
            .map(|told| told.options.get(&VSS).cloned())
            .collect()
    };
    let named = |name: &[u8]| Some([&[0], name].concat());
    assert_eq!(vpns(&rig), [None, named(b"red"), named(b"blue")]);
    rig.rule.vpns = vec![vec![], b"\0blue".to_vec()];
    assert_eq!(vpns(&rig), [None, named(b"blue")]);
}

#[test]
fn a_narrowed_stream_is_told_what_matches_all_that_was_given() {
    let mut rig = Rig::new();
    rig.settings.active.relay_scope = true;
    rig.store(lease([100, 64, 0, 1], b"relay", b"circuit"));
    rig.store(lease([100, 64, 0, 2], b"relay", b"other"));
    rig.store(lease([100, 64, 0, 3], b"other", b"circuit"));
    rig.store(in_state([100, 64, 0, 1], State::Released));
    rig.store(in_state([100, 64, 0, 9], State::Available));
    let told = |query: &Query| -> Vec<u8> {
        let told = rig.tell_all(&mut *teller(&rig, query));
        told.iter().map(|told| told.ciaddr.octets()[3]).collect()
    };
    assert_eq!(told(&narrowed(b"relay", b"")), [2, 1]);
    assert_eq!(told(&narrowed(b"", b"circuit")), [3, 1]);
    assert_eq!(told(&narrowed(b"relay", b"circuit")), [1]);
    assert_eq!(told(&narrowed(b"nobody", b"")), [0; 0]);
    assert_eq!(told(&Query::active(7)), [2, 3, 1, 9]);
}

/// What a stream is told of an address that was at the relay agent "old", circuit "c": of its departure alone.
fn told_of_departure(
    rig: &mut Rig,
    query: &Query,
    seen_relays: &[&[u8]],
    afterwards: &[Event4],
) -> Vec<Heard> {
    rig.settings.active.relay_scope = true;
    rig.rule.relay_ids = seen_relays.iter().map(|relay| relay.to_vec()).collect();
    rig.store(lease(ADDRESS, b"old", b"c"));
    rig.clock.advance(10_000);
    afterwards.iter().for_each(|event| rig.store(event.clone()));
    let mut teller = teller(rig, query);
    let view = rig.view();
    let mut octets = [0; 4_096];
    let mut out = OutBuf::new(&mut octets);
    for scanned in view.scan(leaseq_store::ScanFrom::Start) {
        if let Record::Departed4(_) = scanned.record {
            let base = scanned.record.stamp();
            teller
                .record(&rig.cx(&view), &scanned.record, base, &mut out)
                .expect("room");
        }
    }
    heard(&out)
}

#[test]
fn a_departure_is_told_to_those_alone_for_whom_the_binding_is_gone() {
    let moved = || lease(ADDRESS, b"new", b"c");
    let released = || Event4 {
        state_since: Some(START + 4),
        ..in_state(ADDRESS, State::Released)
    };
    let away = vec![moved()];
    let ended_there = vec![moved(), released()];
    let back = vec![moved(), lease(ADDRESS, b"old", b"c")];
    let whole = || Query::active(7).option(55, &EVERY_TIME);
    let available = Some(State::Available as u8);
    let ended = Some(State::Released as u8);
    // The stream; the relay agents that its requestor may see, none: all; what became of the binding; the state told.
    type Case<'c> = (Query, &'c [&'c [u8]], &'c [Event4], Option<u8>);
    let table: [Case<'_>; 16] = [
        (narrowed(b"old", b""), &[], &away, available),
        (narrowed(b"old", b"c"), &[], &away, available),
        (narrowed(b"old", b""), &[b"old"], &away, available),
        (narrowed(b"old", b""), &[], &ended_there, ended),
        (narrowed(b"old", b""), &[], &back, None),
        // The circuit is still the same, behind another relay agent.
        (narrowed(b"", b"c"), &[], &away, None),
        (narrowed(b"", b"c"), &[b"old"], &away, available),
        (narrowed(b"", b"c"), &[b"old", b"new"], &away, None),
        (narrowed(b"", b"d"), &[], &away, None),
        (narrowed(b"new", b""), &[], &away, None),
        // An unrestricted requestor of everything is told by the address's next record.
        (whole(), &[], &away, None),
        (whole(), &[], &ended_there, None),
        (whole(), &[b"old"], &away, available),
        (whole(), &[b"old"], &ended_there, ended),
        (whole(), &[b"new"], &away, None),
        (whole(), &[b"old", b"new"], &away, None),
    ];
    for (case, (query, seen, afterwards, expected)) in table.iter().enumerate() {
        let mut rig = Rig::new();
        let told = told_of_departure(&mut rig, query, seen, afterwards);
        // Of a binding that came back, its second departure is the other relay agent's.
        let states: Vec<_> = told.iter().map(|told| told.octet(DHCP_STATE)).collect();
        assert_eq!(
            states,
            expected
                .iter()
                .map(|state| Some(*state))
                .collect::<Vec<_>>(),
            "case {case}"
        );
        for told in told {
            assert_eq!(told.message_type, DHCPLEASEUNASSIGNED, "case {case}");
            assert_eq!(told.ciaddr.octets(), ADDRESS);
            assert_eq!(told.number(BASE_TIME), Some(START + 10));
            let ago = if *expected == ended { 6 } else { 0 };
            assert_eq!(told.number(START_TIME_OF_STATE), Some(ago), "case {case}");
            assert_eq!(told.chaddr, [0; 0], "nothing of the client that has it now");
            assert_eq!(told.codes(), [53, 54, 152, 153, 156]);
        }
    }
}

#[test]
fn a_departure_in_a_vpn_names_it_and_is_hidden_with_it() {
    for (vpns, expected) in [
        (vec![], vec![Some(b"\0red".to_vec())]),
        (vec![b"\0blue".to_vec()], vec![]),
    ] {
        let mut rig = Rig::new();
        rig.settings.active.relay_scope = true;
        rig.rule.vpns = vpns;
        for relay in [b"old", b"new"] {
            let mut event = lease(ADDRESS, relay, b"c");
            event.vpn = Vpn::named("red");
            rig.store(event);
        }
        let told = rig.tell_all(&mut *teller(&rig, &narrowed(b"old", b"")));
        let vpns: Vec<_> = told
            .iter()
            .map(|told| told.options.get(&VSS).cloned())
            .collect();
        assert_eq!(vpns, expected);
    }
}

#[test]
fn each_thing_that_a_stream_says_has_its_status_and_base_time() {
    let rig = Rig::new();
    let base = at(START + 100);
    for (what, code, text) in [
        (Say::Begin { data_missing: true }, 5, true),
        (Say::Keepalive, 6, false),
        (Say::CatchUpComplete, 7, false),
        (Say::DataMissing, 5, true),
        (Say::Terminated("server is shutting down"), 2, true),
    ] {
        let mut teller = teller(&rig, &Query::active(7));
        for codes in [&[53, 54, 151, 152][..], &[53, 151, 152]] {
            let said = say(&rig, &mut *teller, what, base);
            assert_eq!(
                (said[0].message_type, said[0].xid),
                (DHCPLEASEQUERYSTATUS, 7)
            );
            assert_eq!(said[0].codes(), codes, "the first one names the server");
            assert_eq!(said[0].number(BASE_TIME), Some(START + 100));
            let status = &said[0].options[&STATUS_CODE];
            assert_eq!((status[0], status.len() > 1), (code, text), "{what:?}");
        }
    }
    let mut teller = teller(&rig, &Query::active(7));
    assert_eq!(
        say(
            &rig,
            &mut *teller,
            Say::Begin {
                data_missing: false
            },
            base
        ),
        []
    );
    let first = say(&rig, &mut *teller, Say::Keepalive, base);
    assert!(
        first[0].options.contains_key(&SERVER_IDENTIFIER),
        "still the first"
    );
}

/// Writes into buffers of every size until it fits. Nothing is left behind before, and the octets are the same then.
fn fits_or_leaves_nothing(mut write: impl FnMut(&mut OutBuf<'_>) -> Result<(), Full>) {
    let mut octets = [0xee; 2_048];
    let mut expected: Option<Vec<u8>> = None;
    for size in 0..=octets.len() {
        let mut out = OutBuf::new(&mut octets[..size]);
        match write(&mut out) {
            Err(Full) => assert_eq!(out.len(), 0, "with {size} octets"),
            Ok(()) => {
                assert!(!out.is_empty());
                let expected = expected.get_or_insert_with(|| out.as_slice().to_vec());
                assert_eq!(out.as_slice(), expected, "with {size} octets");
            }
        }
    }
    assert!(expected.is_some(), "fits at last");
}

#[test]
fn a_message_that_does_not_fit_leaves_nothing_behind() {
    let mut rig = Rig::new();
    rig.settings.active.relay_scope = true;
    rig.store(lease(ADDRESS, b"old", b"c"));
    rig.store(lease(ADDRESS, b"new", b"c"));
    let every: Vec<u8> = (0..=255).collect();
    let view = rig.view();
    let cx = rig.cx(&view);
    for relay in [b"old", b"new"] {
        let query = Query::active(7)
            .option(82, &relay_info(relay, b""))
            .option(55, &every);
        let records = view.scan(leaseq_store::ScanFrom::Start);
        for record in records
            .map(|scanned| scanned.record)
            .filter(|record| match record {
                Record::Departed4(_) => relay == b"old",
                Record::Bind4(bind) => bind.relay_id() == Some(relay),
                _ => false,
            })
        {
            fits_or_leaves_nothing(|out| {
                let mut teller = teller(&rig, &query);
                teller.record(&cx, &record, record.stamp(), out).map(drop)
            });
            // Nor does it count as the first message of the stream.
            let mut teller = teller(&rig, &query);
            let small = teller.record(&cx, &record, record.stamp(), &mut OutBuf::new(&mut []));
            assert_eq!(small, Err(Full));
            let mut octets = [0; 2_048];
            let mut out = OutBuf::new(&mut octets);
            teller
                .record(&cx, &record, record.stamp(), &mut out)
                .expect("room");
            assert!(only(&out).options.contains_key(&SERVER_IDENTIFIER));
        }
    }
    fits_or_leaves_nothing(|out| {
        let mut teller = teller(&rig, &Query::active(7));
        teller.say(&cx, Say::DataMissing, at(START), out).map(drop)
    });
}

#[test]
fn streams_of_one_form_write_the_same_octets_but_for_the_transaction_id() {
    let rig = Rig::new();
    rig.store(lease(ADDRESS, b"relay", b"circuit"));
    let list = |codes: &[u8]| teller(&rig, &Query::active(7).option(55, codes));
    let octets = |teller: &mut dyn Teller| {
        rig.last(|cx, record| {
            let mut octets = [0; 1_024];
            let mut out = OutBuf::new(&mut octets);
            teller
                .record(cx, record, record.stamp(), &mut out)
                .expect("room");
            out.as_slice().to_vec()
        })
    };
    let form = |teller: &dyn Teller| teller.shared_form().expect("a form");
    assert_eq!(form(&*list(&[51, 12, 61])), form(&*list(&[12, 61, 51, 12])));
    assert_ne!(form(&*list(&[51, 12, 61])), form(&*list(&[51, 12])));
    assert_eq!(
        form(&*list(&[51])),
        form(&*list(&[51, 152])),
        "base-time is told anyway"
    );

    let mut first = list(&[51, 12, 61]);
    let mut other = first.with_xid(0x0102_0304);
    assert_eq!(form(&*other), form(&*first));
    assert_eq!(other.scope(), first.scope());
    octets(&mut *first);
    let (mut written, patched) = (octets(&mut *first), octets(&mut *other));
    assert_ne!(written, patched);
    written[2 + 4..2 + 8].copy_from_slice(&[1, 2, 3, 4]);
    assert_eq!(
        written, patched,
        "neither names the server: they are not the first"
    );
}

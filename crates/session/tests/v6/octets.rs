//! DHCPv6 sessions and octets from anywhere: no panic, no endless turn, whole frames, and answers that both decoders read.

use crate::support::*;
use leaseq_session::Fate;
use leaseq_store::{Event6, State};
use proptest::collection::vec;
use proptest::prelude::*;

thread_local! {
    static SITE: Site = {
        let site = Site::active();
        site.add((1..=40).flat_map(|n| {
            let link = 1 + (n % 4) as u8;
            [
                address(&format!("2001:db8:{link}::{n:x}"), n / 2, link),
                delegation(&format!("3fff:{link:x}{n:02x}::"), 32, n / 2, link),
            ]
        }));
        site
    };
}

/// Options with codes that mean something here, and values that may not.
fn options() -> impl Strategy<Value = Vec<u8>> {
    let codes = prop_oneof![
        Just(1_u16),
        Just(2),
        Just(5),
        Just(6),
        Just(13),
        Just(37),
        Just(44),
        Just(53),
        Just(68),
        Just(100),
        Just(101),
        Just(102),
        any::<u16>()
    ];
    let value = prop_oneof![
        vec(any::<u8>(), 0..40),
        Just(duid(3)),
        Just(relay_id(1)),
        Just(remote_id(5)),
        Just(vec![254]),
        Just([&ip("2001:db8:1::4").octets()[..], &[0; 8]].concat()),
    ];
    vec((codes, value), 0..6).prop_map(|options| {
        options
            .iter()
            .flat_map(|(code, value)| option(*code, value))
            .collect()
    })
}

fn link() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("::".to_owned()),
        Just("2001:db8:1::1".to_owned()),
        Just("2001:db8:3::1".to_owned()),
        any::<u128>().prop_map(|bits| std::net::Ipv6Addr::from_bits(bits).to_string()),
    ]
}

/// A query that is nearly one.
fn request() -> impl Strategy<Value = Vec<u8>> {
    (
        prop_oneof![6 => Just(14_u8), 3 => Just(22), 1 => Just(23), 1 => any::<u8>()],
        0_u32..4,
        prop_oneof![1 => Just(None), 9 => Just(Some(REQUESTOR.to_vec()))],
        prop_oneof![9 => 0_u8..7, 1 => any::<u8>()],
        link(),
        options(),
        vec(any::<u16>(), 0..8),
        options(),
        prop_oneof![9 => Just(usize::MAX), 1 => 0_usize..80],
    )
        .prop_map(
            |(message_type, xid, client_id, query_type, link, inner, oro, outer, cut)| {
                let request = Request {
                    message_type,
                    xid,
                    client_id,
                    oro,
                    options: outer,
                    ..Request::new(query_type, inner).on_link(&link)
                };
                let mut octets = request.octets();
                octets.truncate(cut);
                octets
            },
        )
}

/// All frames of an answer are whole messages of the types that a server sends.
fn run(pair: &mut Pair<'_>) {
    for message in pair.messages() {
        let reply = Reply::read(&message);
        assert!([7, 15, 16, 17].contains(&reply.message_type));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_connection_survives_arbitrary_octets(octets in vec(any::<u8>(), 0..2_000)) {
        SITE.with(|site| {
            let mut pair = site.connect();
            pair.send_octets(&octets);
            run(&mut pair);
        });
    }

    #[test]
    fn a_connection_survives_near_queries(requests in vec(request(), 1..6), target in 1_usize..70_000) {
        SITE.with(|site| {
            let mut pair = site.connect();
            pair.target = target;
            for request in &requests {
                pair.send_message(request);
            }
            run(&mut pair);
            if pair.connection.is_stream() && pair.connection.fate() == Fate::Open {
                site.clock.advance(1_000);
                let now = site.store.reader().now().seconds();
                site.change([
                    Event6 { cltt: Some(now), ..address("2001:db8:1::4", 2 + now % 2, 1) },
                    Event6::new(ip("2001:db8:3::2"), State::Released),
                ]);
                run(&mut pair);
                prop_assert!(!pair.connection.has_output());
            } else {
                let over = pair.connection.running_queries() == 0;
                prop_assert!(over || pair.connection.fate() != Fate::Open);
            }
            Ok(())
        })?;
    }

    #[test]
    fn a_responder_survives_near_queries(request in request(), hops in 0_u8..4, cut in 0_usize..200) {
        SITE.with(|site| {
            let mut datagram = request.clone();
            for hop in 0..hops {
                let header = [&[12, hop][..], &[0; 32]].concat();
                datagram = [header, option(9, &datagram)].concat();
            }
            site.datagram(&datagram);
            datagram.truncate(cut);
            site.datagram(&datagram);
        });
    }

    #[test]
    fn a_responder_survives_arbitrary_octets(octets in vec(any::<u8>(), 0..400)) {
        SITE.with(|site| site.datagram(&octets));
    }
}

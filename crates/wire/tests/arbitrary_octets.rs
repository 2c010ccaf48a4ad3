//! No octets whatever make a parser panic, and nothing it returns lies outside of what it was given.

use leaseq_wire::frame::{self, Split};
use leaseq_wire::v4::relay_info::{RelayInfo, SubOptions};
use leaseq_wire::v4::{self, Header};
use leaseq_wire::v6::{self, OptionsIter};
use leaseq_wire::vss::Vss;
use leaseq_wire::{OutBuf, ParseError};
use proptest::prelude::*;

fn octets(len: impl Into<proptest::collection::SizeRange>) -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), len)
}

/// Octets that look like options: small codes and lengths, so that walks get far before they go wrong.
fn likely_options() -> impl Strategy<Value = Vec<u8>> {
    let piece = (
        prop_oneof![
            prop::sample::select(vec![52_u8, 53, 61, 82, 0, 255]),
            any::<u8>()
        ],
        0_u8..12,
        octets(0..12),
    );
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| {
        pieces
            .into_iter()
            .flat_map(|(code, len, value)| [vec![code, len], value].concat())
            .collect()
    })
}

fn walk_v4(octets: &[u8]) {
    let message = match v4::Message::parse(octets) {
        Ok(message) => message,
        Err(error) => return check(&error, octets),
    };
    assert!(message.chaddr().len() <= 16);
    assert_eq!(Header::of(&message).xid, message.xid());
    let in_fragments: usize = message
        .fragments()
        .map(|fragment| fragment.value.len())
        .sum();
    let mut in_options = 0;
    for (code, value) in message.options() {
        in_options += value.len();
        assert_eq!(value.bytes().count(), value.len());
        assert_eq!(message.option(code), Some(value.clone()));
        let mut buffer = vec![0; value.len()];
        assert!(
            value
                .copy_to(&mut buffer)
                .is_some_and(|copy| value == *copy)
        );
        if let Some(slice) = value.as_slice() {
            assert!(value == slice);
        }
        value.to_u8().or(value.contains(7).then_some(7));
        if let Some(status) = v4::Status::read(&value) {
            assert_eq!(status.text().count() + 1, value.len());
        }
        walk_values(&buffer);
    }
    assert_eq!(in_options, in_fragments);
}

fn walk_v6(octets: &[u8]) {
    match v6::Message::parse(octets) {
        Ok(message) => {
            let taken: usize = message.iter().map(|(_, value)| 4 + value.len()).sum();
            assert_eq!(taken + v6::HEADER_LEN, octets.len());
            message.iter().for_each(|(_, value)| walk_values(value));
        }
        Err(error) => check(&error, octets),
    }
}

fn walk_values(value: &[u8]) {
    if let Ok(info) = RelayInfo::parse(value) {
        assert_eq!(
            info.iter().map(|(_, value)| 2 + value.len()).sum::<usize>(),
            value.len()
        );
    }
    assert!(SubOptions::unchecked(value).count() <= value.len());
    assert!(OptionsIter::unchecked(value).count() <= value.len());
    if let Ok(vss) = Vss::parse(value) {
        let mut buffer = vec![0; value.len()];
        let mut out = OutBuf::new(&mut buffer);
        vss.put(&mut out).unwrap();
        assert_eq!(out.as_slice(), value);
    }
    let faults = [
        v6::LqQuery::parse(value).err(),
        v6::IaAddr::parse(value).err(),
        v6::IaPrefix::parse(value).err(),
        v6::RemoteId::parse(value).err(),
        v6::Status::parse(value).err(),
        v6::RelayMessage::parse(value).err(),
    ];
    faults
        .iter()
        .flatten()
        .for_each(|error| check(error, value));
    assert!(v6::RelayChain::new(value).count() <= v6::MAX_HOPS);
    assert!(v6::Links::new(value).count() <= value.len() / 16);
    assert!(v6::OroCodes::new(value).count() <= value.len() / 2);
    if let Ok(client) = v6::ClientData::parse(value) {
        client
            .leases()
            .flatten()
            .for_each(|lease| assert!(lease.prefix().1 <= 128));
        if let Some(Ok(relay)) = client.relay_data() {
            assert!(relay.relays().count() <= v6::MAX_HOPS);
        }
    }
}

fn check(error: &ParseError, octets: &[u8]) {
    assert!(
        error.at <= octets.len(),
        "{error} lies outside of {} octets",
        octets.len()
    );
    assert!(!error.to_string().is_empty());
}

proptest! {
    #[test]
    fn v4_messages(octets in octets(0..700)) {
        walk_v4(&octets);
    }

    #[test]
    fn v4_messages_with_likely_options(mut header in octets(240..241), options in likely_options(), file in likely_options()) {
        header[2] %= 17;
        header[236..240].copy_from_slice(&[99, 130, 83, 99]);
        let fields = file.len().min(192);
        header[44..44 + fields].copy_from_slice(&file[..fields]);
        walk_v4(&[header, options].concat());
    }

    #[test]
    fn v6_messages(octets in octets(0..300)) {
        walk_v6(&octets);
        walk_values(&octets);
    }

    #[test]
    fn v6_messages_with_likely_options(
        options in proptest::collection::vec((0_u8..110, octets(0..60)), 0..10), cut in 0_usize..20,
    ) {
        let mut octets = vec![15, 0, 0, 1];
        for (code, value) in options {
            octets.extend([0, code, 0, value.len() as u8]);
            octets.extend(value);
        }
        octets.truncate(octets.len().saturating_sub(cut));
        walk_v6(&octets);
    }

    #[test]
    fn frames(octets in octets(0..80)) {
        match frame::split(&octets) {
            Split::Frame { message, consumed } => {
                prop_assert_eq!(message.len() + frame::HEADER, consumed);
                prop_assert_eq!(message, &octets[frame::HEADER..consumed]);
            }
            Split::Incomplete { need } => prop_assert!(need > 0 && need <= frame::MAX_MESSAGE),
            Split::ZeroLength => prop_assert_eq!(&octets[..2], &[0, 0]),
        }
    }
}

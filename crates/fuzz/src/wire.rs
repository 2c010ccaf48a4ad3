//! Messages and frames, as a peer may send them.

use leaseq_wire::frame::{self, Split};
use leaseq_wire::{v4, v6};

/// A stream of frames: every octet is consumed exactly once, and no frame is longer than its prefix says.
pub fn frames(mut stream: &[u8]) {
    loop {
        match frame::split(stream) {
            Split::Incomplete { need } => {
                assert!(need > 0, "a frame that is there must be given");
                return;
            }
            Split::ZeroLength => return,
            Split::Frame { message, consumed } => {
                assert_eq!(consumed, message.len() + frame::HEADER);
                dhcp4(message);
                dhcp6(message);
                stream = &stream[consumed..];
            }
        }
    }
}

/// A DHCPv4 message: each option's value is the concatenation of its fragments, whichever way it is read.
pub fn dhcp4(octets: &[u8]) {
    let Ok(message) = v4::Message::parse(octets) else {
        return;
    };
    assert!(message.chaddr().len() <= 16);
    let mut buffer = [0; 65_536];
    for code in 0..=255 {
        let Some(value) = message.option(code) else {
            continue;
        };
        let copied = value
            .copy_to(&mut buffer)
            .expect("no value is longer than its message");
        assert_eq!(copied.len(), value.len());
        assert!(value.bytes().eq(copied.iter().copied()));
        if code == v4::option_code::RELAY_AGENT_INFORMATION
            && let Ok(relay) = v4::relay_info::RelayInfo::parse(copied)
        {
            let octets: usize = relay.iter().map(|(_, value)| value.len() + 2).sum();
            assert!(octets <= copied.len());
        }
    }
}

/// A DHCPv6 message with everything that may be nested in it.
pub fn dhcp6(octets: &[u8]) {
    if let Ok(relay) = v6::RelayMessage::parse(octets) {
        let _ = relay;
    }
    let Ok(message) = v6::Message::parse(octets) else {
        return;
    };
    let total: usize = message.iter().map(|(_, value)| value.len() + 4).sum();
    assert_eq!(total + 4, octets.len(), "options fill the message");
    for (_, value) in message.iter() {
        if let Ok(query) = v6::LqQuery::parse(value) {
            let _ = query.known();
        }
        if let Ok(client) = v6::ClientData::parse(value) {
            for lease in client.leases() {
                let Ok(lease) = lease else { break };
                assert!(lease.prefix().1 <= 128);
            }
            if let Some(Ok(relay)) = client.relay_data() {
                assert!(relay.relays().count() <= value.len());
            }
        }
        let _ = v6::Status::parse(value);
        let _ = v6::RemoteId::parse(value);
    }
}

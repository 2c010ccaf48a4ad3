//! An event as a line. What is absent is not written; hex is in lower case.

use std::fmt::Write as _;
use std::net::Ipv6Addr;

use leaseq_store::{Event4, Event6, LeaseKind, Link6, State, Vpn};

use crate::{hex, vpn};

/// Appends the line of an IPv4 event, with its line end. [`super::parse()`] reads back the same event, but for the
/// number of its feed.
pub fn write4(event: &Event4, out: &mut String) {
    let mut line = LineWriter::begin(out, 4);
    line.text("address", event.address);
    line.text("state", state_name(event.state));
    if let Some(hwaddr) = &event.hwaddr {
        let colon = if hwaddr.octets.is_empty() { "" } else { ":" };
        let address = hex::encode_colons(&hwaddr.octets);
        line.text(
            "hwaddr",
            format_args!("{:02x}{colon}{address}", hwaddr.htype),
        );
    }
    line.hex("client_id", event.client_id.as_deref());
    line.number("cltt", event.cltt);
    line.number("state_since", event.state_since);
    line.number("valid_lifetime", event.lease_time);
    line.number("t1", event.t1);
    line.number("t2", event.t2);
    line.hex("relay_agent_info", event.relay_agent_info.as_deref());
    line.options(event.options.as_deref());
    line.end(&event.vpn, event.remote);
}

/// Appends the line of an IPv6 event, with its line end. [`super::parse()`] reads back the same event, but for the
/// number of its feed.
pub fn write6(event: &Event6, out: &mut String) {
    let mut line = LineWriter::begin(out, 6);
    match event.kind {
        LeaseKind::Pd => line.text(
            "prefix",
            format_args!("{}/{}", event.address, event.prefix_len),
        ),
        LeaseKind::Na => line.text("address", event.address),
        LeaseKind::Ta => {
            line.text("address", event.address);
            line.text("lease_type", "ta");
        }
    }
    line.hex("duid", event.duid.as_deref());
    line.number("iaid", event.iaid);
    match event.link {
        Some(Link6::Address(address)) => line.text("link", address),
        Some(Link6::Subnet(number)) => line.text("link", format_args!("subnet:{number}")),
        Some(Link6::Unknown) | None => {}
    }
    line.text("state", state_name(event.state));
    line.number("cltt", event.cltt);
    line.number("state_since", event.state_since);
    line.number("preferred_lifetime", event.preferred_lifetime);
    line.number("valid_lifetime", event.valid_lifetime);
    if let Some(relay) = &event.relay {
        line.name("relay");
        line.out.push('[');
        for (index, hop) in relay.iter().enumerate() {
            line.out.push_str(if index == 0 { "" } else { "," });
            line.hop(hop.link, hop.peer, &hop.options);
        }
        line.out.push(']');
    }
    line.options(event.options.as_deref());
    line.end(&event.vpn, event.remote);
}

/// Name of a state, as NDJSON spells it.
pub fn state_name(state: State) -> &'static str {
    match state {
        State::Available => "available",
        State::Active => "active",
        State::Expired => "expired",
        State::Released => "released",
        State::Abandoned => "abandoned",
        State::Reset => "reset",
        State::Remote => "remote",
        State::Transitioning => "transitioning",
    }
}

/// Writes the fields of one object. Values are such that none but a VPN's name needs escaping.
struct LineWriter<'a> {
    out: &'a mut String,
}

impl<'a> LineWriter<'a> {
    fn begin(out: &'a mut String, family: u8) -> Self {
        let _ = write!(out, "{{\"family\":{family}");
        Self { out }
    }

    fn name(&mut self, name: &str) {
        let _ = write!(self.out, ",\"{name}\":");
    }

    fn text(&mut self, name: &str, value: impl std::fmt::Display) {
        let _ = write!(self.out, ",\"{name}\":\"{value}\"");
    }

    fn number(&mut self, name: &str, value: Option<u32>) {
        if let Some(value) = value {
            let _ = write!(self.out, ",\"{name}\":{value}");
        }
    }

    fn hex(&mut self, name: &str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.name(name);
            self.quoted_hex(value);
        }
    }

    fn quoted_hex(&mut self, value: &[u8]) {
        self.out.push('"');
        hex::encode_into(value, self.out);
        self.out.push('"');
    }

    fn hop(&mut self, link: Ipv6Addr, peer: Ipv6Addr, options: &[u8]) {
        let _ = write!(
            self.out,
            "{{\"link\":\"{link}\",\"peer\":\"{peer}\",\"options\":"
        );
        self.quoted_hex(options);
        self.out.push('}');
    }

    fn options<C: std::fmt::Display>(&mut self, options: Option<&[(C, Vec<u8>)]>) {
        let Some(options) = options else { return };
        self.name("options");
        self.out.push('{');
        for (index, (code, value)) in options.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let _ = write!(self.out, "{comma}\"{code}\":");
            self.quoted_hex(value);
        }
        self.out.push('}');
    }

    fn end(mut self, vpn: &Vpn, remote: bool) {
        if !vpn.is_global() {
            let name = serde_json::Value::String(vpn::format(vpn));
            self.name("vpn");
            let _ = write!(self.out, "{name}");
        }
        if remote {
            self.text("source", "remote");
        }
        self.out.push_str("}\n");
    }
}

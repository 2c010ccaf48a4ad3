//! Leases as lines: NDJSON for programs, columns for people.

use std::fmt::Write as _;

use leaseq_wire::INFINITY;
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::DhcpState;
use leaseq_wire::v4::relay_info::SubOptions;
use leaseq_wire::v4::suboption;
use leaseq_wire::v6::{RemoteId, option_code as code6};

use crate::{Client6Leases, Lease4, Vpn, hex};

/// Titles of the columns of a row.
pub const TABLE_HEADER: [&str; 8] = [
    "ADDRESS",
    "STATE",
    "CLIENT",
    "LEFT",
    "LAST SEEN",
    "REMOTE-ID",
    "RELAY-ID",
    "VPN",
];

/// A row of a table, a text for each column of [`TABLE_HEADER`]; empty where nothing was told.
pub type Row = [String; 8];

/// Something that was told and can be printed.
pub trait Render {
    /// Appends it as NDJSON, a line for each address or prefix, each with its line end.
    fn ndjson(&self, out: &mut String) {
        self.lines(out, false);
    }

    /// As [`ndjson`](Self::ndjson), and in each line `base_time` (Unix time) and `ended`: whether the lease is over.
    fn change_ndjson(&self, out: &mut String) {
        self.lines(out, true);
    }

    /// Appends its lines, of a change or not.
    fn lines(&self, out: &mut String, is_change: bool);

    /// It as rows of a table, one for each address or prefix.
    fn table_rows(&self) -> Vec<Row>;
}

/// It as NDJSON lines.
#[must_use]
pub fn ndjson(lease: &impl Render) -> String {
    let mut out = String::new();
    lease.ndjson(&mut out);
    out
}

/// It as rows of a table.
#[must_use]
pub fn table_row(lease: &impl Render) -> Vec<Row> {
    lease.table_rows()
}

impl Render for Lease4 {
    fn lines(&self, out: &mut String, is_change: bool) {
        let mut line = Line::begin(out, 4);
        line.text("address", &self.address.to_string());
        line.text("state", self.state.name());
        if let Some((htype, octets)) = &self.hwaddr {
            line.text(
                "hwaddr",
                &hex::encode_colons(&[&[*htype], octets.as_slice()].concat()),
            );
        }
        line.hex("client_id", self.client_id.as_deref());
        line.number("cltt", self.cltt().map(|time| time.0));
        line.number("state_since", self.state_since().map(|time| time.0));
        let absolute = |left: Option<u32>| left.map(|left| self.from_last_transaction(left));
        line.number("valid_lifetime", absolute(self.lease_time));
        line.number("t1", absolute(self.renewal));
        line.number("t2", absolute(self.rebinding));
        line.hex("relay_agent_info", self.relay_agent_info.as_deref());
        line.options(&self.options);
        line.origin(self.vpn.as_ref(), self.remote);
        let has_ended = self.state != DhcpState::Active;
        line.end(is_change.then_some((self.as_of, has_ended)));
    }

    fn table_rows(&self) -> Vec<Row> {
        let info = self.relay_agent_info.as_deref().unwrap_or_default();
        let find = |code| {
            let found = SubOptions::unchecked(info).find(|(found, _)| *found == code);
            found.map_or(String::new(), |(_, value)| plain_or_hex(value))
        };
        let client = match (&self.hwaddr, &self.client_id) {
            (Some((_, octets)), _) => hex::encode_colons(octets),
            (None, Some(id)) => hex::encode(id),
            (None, None) => String::new(),
        };
        vec![[
            self.address.to_string(),
            self.state.name().into(),
            client,
            self.lease_time.map_or(String::new(), duration),
            self.last_transaction
                .map_or(String::new(), |ago| format!("{} ago", duration(ago))),
            find(suboption::REMOTE_ID),
            find(suboption::RELAY_ID),
            self.vpn.as_ref().map_or(String::new(), Vpn::to_string),
        ]]
    }
}

impl Render for Client6Leases {
    fn lines(&self, out: &mut String, is_change: bool) {
        for lease in &self.leases {
            let mut line = Line::begin(out, 6);
            match lease.prefix_len {
                Some(len) => line.text("prefix", &format!("{}/{len}", lease.address)),
                None => line.text("address", &lease.address.to_string()),
            }
            line.hex("duid", self.duid.as_deref());
            line.text("state", state6(lease.valid));
            line.number("cltt", self.cltt().map(|time| time.0));
            line.number(
                "preferred_lifetime",
                Some(self.from_last_transaction(lease.preferred)),
            );
            line.number(
                "valid_lifetime",
                Some(self.from_last_transaction(lease.valid)),
            );
            if !self.relays.is_empty() {
                line.relays(self);
            }
            line.options(&self.options);
            line.origin(self.vpn.as_ref(), false);
            line.end(is_change.then_some((self.as_of, lease.valid == 0)));
        }
    }

    fn table_rows(&self) -> Vec<Row> {
        let remote_id =
            self.relay_option(code6::REMOTE_ID)
                .map(|value| match RemoteId::parse(value) {
                    Ok(remote) => format!("{}:{}", remote.enterprise, plain_or_hex(remote.id)),
                    Err(_) => hex::encode(value),
                });
        let rows = self.leases.iter().map(|lease| {
            [
                lease.prefix_len.map_or(lease.address.to_string(), |len| {
                    format!("{}/{len}", lease.address)
                }),
                state6(lease.valid).into(),
                self.duid.as_deref().map_or(String::new(), hex::encode),
                duration(lease.valid),
                self.last_transaction
                    .map_or(String::new(), |ago| format!("{} ago", duration(ago))),
                remote_id.clone().unwrap_or_default(),
                self.relay_option(code6::RELAY_ID)
                    .map_or(String::new(), plain_or_hex),
                self.vpn.as_ref().map_or(String::new(), Vpn::to_string),
            ]
        });
        rows.collect()
    }
}

/// DHCPv6 leasequery tells no state: a lease with a valid lifetime is active, one without has ended.
fn state6(valid: u32) -> &'static str {
    if valid > 0 { "active" } else { "expired" }
}

/// Printable ASCII as it is, anything else in hexadecimal.
fn plain_or_hex(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) if !text.is_empty() && text.bytes().all(|octet| (0x20..0x7f).contains(&octet)) => {
            text.into()
        }
        _ => hex::encode(octets),
    }
}

/// Seconds as days, hours, minutes and seconds, from the largest unit that is not zero, two of them.
fn duration(seconds: u32) -> String {
    if seconds == INFINITY {
        return "infinite".into();
    }
    let counts = [
        (seconds / 86_400, 'd'),
        (seconds / 3_600 % 24, 'h'),
        (seconds / 60 % 60, 'm'),
        (seconds % 60, 's'),
    ];
    let Some(first) = counts.iter().position(|(count, _)| *count > 0) else {
        return "0s".into();
    };
    let largest = counts[first..]
        .iter()
        .take(2)
        .filter(|(count, _)| *count > 0);
    largest
        .map(|(count, unit)| format!("{count}{unit}"))
        .collect()
}

/// One NDJSON object. No value but a VPN's name can hold a character that needs escaping.
struct Line<'a> {
    out: &'a mut String,
}

impl<'a> Line<'a> {
    fn begin(out: &'a mut String, family: u8) -> Self {
        let _ = write!(out, "{{\"family\":{family}");
        Self { out }
    }

    fn text(&mut self, name: &str, value: &str) {
        let _ = write!(self.out, ",\"{name}\":\"{value}\"");
    }

    fn number(&mut self, name: &str, value: Option<u32>) {
        if let Some(value) = value {
            let _ = write!(self.out, ",\"{name}\":{value}");
        }
    }

    fn hex(&mut self, name: &str, value: Option<&[u8]>) {
        if let Some(value) = value {
            self.text(name, &hex::encode(value));
        }
    }

    fn relays(&mut self, client: &Client6Leases) {
        let relays: Vec<_> = client
            .relays
            .iter()
            .map(|relay| {
                let options = hex::encode(&relay.options);
                format!(
                    "{{\"link\":\"{}\",\"peer\":\"{}\",\"options\":\"{options}\"}}",
                    relay.link, relay.peer
                )
            })
            .collect();
        let _ = write!(self.out, ",\"relay\":[{}]", relays.join(","));
    }

    fn options<C: std::fmt::Display>(&mut self, options: &[(C, Vec<u8>)]) {
        if options.is_empty() {
            return;
        }
        let options: Vec<_> = options
            .iter()
            .map(|(code, value)| format!("\"{code}\":\"{}\"", hex::encode(value)))
            .collect();
        let _ = write!(self.out, ",\"options\":{{{}}}", options.join(","));
    }

    fn origin(&mut self, vpn: Option<&Vpn>, remote: bool) {
        if let Some(vpn) = vpn {
            let _ = write!(
                self.out,
                ",\"vpn\":{}",
                serde_json::Value::String(vpn.to_string())
            );
        }
        if remote {
            self.text("source", "remote");
        }
    }

    fn end(mut self, change: Option<(UnixSeconds, bool)>) {
        if let Some((base_time, has_ended)) = change {
            self.number("base_time", Some(base_time.0));
            let _ = write!(self.out, ",\"ended\":{has_ended}");
        }
        self.out.push_str("}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        let cases = [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3_661, "1h1m"),
            (3_601, "1h"),
            (90_061, "1d1h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(duration(seconds), text);
        }
        assert_eq!(
            (duration(INFINITY).as_str(), duration(864_000).as_str()),
            ("infinite", "10d")
        );
    }
}

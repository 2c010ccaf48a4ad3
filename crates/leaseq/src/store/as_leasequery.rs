//! `store export --as-leasequery`: what leasequery can tell of a store, and nothing else, so that a server and its mirror can be
//! compared. One JSON object a line, in order of family, VPN and address; times are Unix seconds.
//!
//! An IPv4 address has its state, as bulk leasequery for all configured addresses tells it; one that is free and of which
//! nobody is known is left out, for it is told in the same way without being stored. A lease whose end has passed is over,
//! though the store may wait for its feed to confirm that. T1 and T2 are told until they are past.
//!
//! An IPv6 lease is there as long as it lives: leasequery never tells how one has ended. It has the time of the last
//! transaction, the relay agents and the options of its client on the link, which are told once for all of its leases
//! ([`leaseq_store::Group`]); so links must be known as the server knows them. IAID, hardware address, lease type and start of
//! the state are not told.
//!
//! A store that changes meanwhile is told as it was when this began, but for what a DHCPv6 client has on a link: that is as it is
//! when its leases are written. Until the end each binding takes 24 octets of memory, to be put in order.
//!
//! Which feed told a binding and whether that had it from another server (data-source) is left out: a mirror has everything
//! from another server.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::io::{self, Write};

use leaseq_feed::{hex, ndjson, vpn};
use leaseq_store::{Bind4, Bind6, Group, INFINITE, LeaseKind, Record, Relay6, State, View, VpnRef};
use serde_json::{Map, Value, json};

type Fields = Map<String, Value>;

/// Writes what is told at this time, in Unix seconds.
pub fn write(view: &View, at: u32, mut out: impl Write) -> io::Result<()> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    view.bindings(|record| {
        match record {
            Record::Bind4(lease) if !is_nobody_s(&lease) => v4.push(lease),
            Record::Bind6(lease) if lives(&lease, at) => v6.push(lease),
            _ => {}
        }
        io::Result::Ok(())
    })?;
    v4.sort_unstable_by(|a, b| by_vpn(a.vpn(), b.vpn()).then(a.address().cmp(&b.address())));
    v6.sort_unstable_by(|a, b| {
        let place = |lease: &Bind6<'_>| (lease.address(), lease.prefix_len());
        by_vpn(a.vpn(), b.vpn()).then(place(a).cmp(&place(b)))
    });
    for lease in &v4 {
        writeln!(out, "{}", Value::Object(address(lease, at)))?;
    }
    for lease in &v6 {
        writeln!(out, "{}", Value::Object(lease_of_client(view, lease, at)))?;
    }
    out.flush()
}

fn by_vpn(a: VpnRef<'_>, b: VpnRef<'_>) -> Ordering {
    a.vss().cmp(b.vss())
}

/// Whether an address is free and nothing is known of whom it was leased to.
fn is_nobody_s(lease: &Bind4<'_>) -> bool {
    lease.state() == State::Available
        && lease.hlen() == 0
        && lease.client_id_and_relay_info().is_empty()
        && lease.other_options().is_empty()
}

fn lives(lease: &Bind6<'_>, at: u32) -> bool {
    lease.state() == State::Active && lease.end().is_none_or(|end| end > u64::from(at))
}

fn address(lease: &Bind4<'_>, at: u32) -> Fields {
    let mut fields = begin(4, lease.vpn());
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    let event = lease.to_event();
    let end = lease.end();
    let (state, since) = match (lease.state(), end) {
        (State::Active, Some(end)) if end <= u64::from(at) => (State::Expired, end),
        (state, _) => (state, lease.state_since().into()),
    };
    put("address", json!(lease.address()));
    put("state", ndjson::state_name(state).into());
    put("state_since", since.into());
    if let Some(hwaddr) = event.hwaddr.filter(|hwaddr| !hwaddr.octets.is_empty()) {
        let octets = [&[hwaddr.htype], hwaddr.octets.as_slice()].concat();
        put("hwaddr", hex::encode_colons(&octets).into());
    }
    for (name, octets) in [
        ("client_id", event.client_id),
        ("relay_agent_info", event.relay_agent_info),
    ] {
        if let Some(octets) = octets {
            put(name, hex::encode(&octets).into());
        }
    }
    if let Some(cltt) = lease.cltt() {
        put("cltt", cltt.into());
    }
    if state == State::Active {
        if let Some(seconds) = lease.lease_time() {
            put("end", time_after(lease.cltt(), seconds));
        }
        for (name, after) in [("t1_end", lease.t1()), ("t2_end", lease.t2())] {
            let end = after.map(|seconds| time_after(lease.cltt(), seconds));
            if let Some(end) = end.filter(|end| end.as_u64().is_none_or(|end| end > at.into())) {
                put(name, end);
            }
        }
    }
    put_options(&mut fields, event.options.unwrap_or_default());
    fields
}

/// A live lease with what is told of its client on the link.
fn lease_of_client(view: &View, lease: &Bind6<'_>, at: u32) -> Fields {
    let mut group = Group::default();
    view.group_of(lease, &mut group);
    let members = group.members.iter().filter(|member| lives(member, at));
    let newest = members
        .clone()
        .max_by_key(|member| (member.cltt(), member.sequence()))
        .unwrap_or(lease);
    let mut fields = begin(6, lease.vpn());
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    match lease.kind() {
        LeaseKind::Pd => {
            let prefix = format!("{}/{}", lease.address(), lease.prefix_len());
            put("prefix", prefix.into());
        }
        LeaseKind::Na | LeaseKind::Ta => put("address", json!(lease.address())),
    }
    put("duid", hex::encode(lease.duid()).into());
    if let Some(cltt) = newest.cltt() {
        put("cltt", cltt.into());
    }
    let valid = time_after(lease.cltt(), lease.valid_lifetime());
    let preferred = lease.preferred_lifetime().min(lease.valid_lifetime());
    let preferred = time_after(lease.cltt(), preferred);
    if preferred.as_u64().is_none_or(|end| end > at.into()) {
        put("preferred_end", preferred);
    }
    put("end", valid);
    let relays = newest.relays();
    if !relays.is_empty() {
        put("relay", relays.iter().map(relay).collect());
    }
    // Of each option the newest lease that has it counts.
    let (mut codes, mut options) = (BTreeSet::new(), Vec::new());
    let others = members.filter(|member| member.sequence() != newest.sequence());
    for member in std::iter::once(newest).chain(others) {
        let found = member.to_event().options.unwrap_or_default();
        let new: Vec<_> = found
            .into_iter()
            .filter(|(code, _)| !codes.contains(code))
            .collect();
        codes.extend(new.iter().map(|(code, _)| *code));
        options.extend(new);
    }
    put_options(&mut fields, options);
    fields
}

fn begin(family: u8, of: VpnRef<'_>) -> Fields {
    let mut fields = Map::new();
    fields.insert("family".to_owned(), family.into());
    if !of.is_global() {
        fields.insert("vpn".to_owned(), vpn::format(&of.to_vpn()).into());
    }
    fields
}

fn relay(relay: &Relay6) -> Value {
    json!({ "link": relay.link, "peer": relay.peer, "options": hex::encode(&relay.options) })
}

/// Codes and values in order of the codes; a DHCPv6 client may have several of one code.
fn put_options<C: Ord + Copy + Into<Value>>(fields: &mut Fields, mut options: Vec<(C, Vec<u8>)>) {
    if options.is_empty() {
        return;
    }
    options.sort_by_key(|(code, _)| *code);
    let pairs = options.into_iter();
    let pairs: Value = pairs
        .map(|(code, value)| Value::Array(vec![code.into(), hex::encode(&value).into()]))
        .collect();
    fields.insert("options".to_owned(), pairs);
}

/// The end of a time from the last transaction.
fn time_after(cltt: Option<u32>, seconds: u32) -> Value {
    match seconds {
        INFINITE => "never".into(),
        seconds => (u64::from(cltt.unwrap_or(0)) + u64::from(seconds)).into(),
    }
}

//! Writing a Bind6 record from an event that is complete.

use std::net::Ipv6Addr;

use super::bind6::FIXED;
use super::{FLAG_CLTT, FLAG_REMOTE, begin, kind, link_fields, options, seal};
use crate::event::{Event6, Link6, Relay6};
use crate::time::Stamp;

const OPTION_CLIENTID: u16 = 1;
const OPTION_RELAY_MSG: u16 = 9;
const OPTION_REMOTE_ID: u16 = 37;
const OPTION_LQ_RELAY_DATA: u16 = 47;
const OPTION_RELAY_ID: u16 = 53;
const RELAY_FORW: u8 = 12;
/// Octets of RELAY-FORW before its options.
const RELAY_HEADER: usize = 34;

/// Appends the record of a checked event to `out` and gives its octets. Absent fields are not known; `joined` is set by
/// [`set_joined`].
pub(crate) fn encode6(out: &mut Vec<u8>, event: &Event6, sequence: u64, stamp: Stamp) -> usize {
    let mut flags = 0;
    if event.remote {
        flags |= FLAG_REMOTE;
    }
    if event.cltt.is_some() {
        flags |= FLAG_CLTT;
    }
    let start = begin(out, kind::BIND6, flags, event.feed);
    out.resize(start + FIXED, 0);
    let head = &mut out[start..];
    head[24..40].copy_from_slice(&event.address.octets());
    head[40] = event.prefix_len;
    head[41] = event.kind as u8;
    head[42] = event.state as u8;
    head[43] = event.vpn.vss().len() as u8;
    for (at, number) in [
        (44, event.iaid),
        (48, event.cltt),
        (52, event.state_since),
        (56, event.preferred_lifetime),
        (60, event.valid_lifetime),
    ] {
        head[at..at + 4].copy_from_slice(&number.unwrap_or(0).to_le_bytes());
    }
    let (link_kind, link) = link_fields(event.link.unwrap_or(Link6::Unknown));
    head[72..88].copy_from_slice(&link);
    head[88] = link_kind;
    if let Some(duid) = event.duid.as_deref().filter(|duid| !duid.is_empty()) {
        options::put6(out, OPTION_CLIENTID, duid);
    }
    let relay_at = out.len();
    let mut hops: Vec<u8> = Vec::new();
    if let Some(relays) = event.relay.as_deref().filter(|relays| !relays.is_empty()) {
        put_relay_data(out, start, relays, &mut hops);
    }
    let others_at = out.len();
    put_others(out, event.options.as_deref().unwrap_or_default());
    let vpn_at = out.len();
    out.extend_from_slice(event.vpn.vss());
    out.extend_from_slice(&hops);
    out[start + 89] = (hops.len() / 8) as u8;
    for (at, length) in [
        (90, relay_at - start - FIXED),
        (92, others_at - relay_at),
        (94, vpn_at - others_at),
    ] {
        out[start + at..start + at + 2].copy_from_slice(&(length as u16).to_le_bytes());
    }
    seal(out, start, sequence, stamp)
}

/// Notes with which record the lease came to its client and link.
pub(crate) fn set_joined(record: &mut [u8], joined: u64) {
    record[64..72].copy_from_slice(&joined.to_le_bytes());
}

/// Appends OPTION_LQ_RELAY_DATA: the relayed message as the server received it, without the client's own.
fn put_relay_data(out: &mut Vec<u8>, start: usize, relays: &[Relay6], hops: &mut Vec<u8>) {
    // Octets of each RELAY-FORW with all that it carries, from the one nearest to the client outwards.
    let mut sizes = [0usize; crate::event::MAX_HOPS];
    let mut inner = 0;
    for (relay, size) in relays.iter().zip(&mut sizes).rev() {
        let carried = if inner == 0 { 0 } else { 4 + inner };
        inner = RELAY_HEADER + relay.options.len() + carried;
        *size = inner;
    }
    out.extend_from_slice(&OPTION_LQ_RELAY_DATA.to_be_bytes());
    out.extend_from_slice(&((16 + inner) as u16).to_be_bytes());
    out.extend_from_slice(&peer_of_server(&relays[0]).octets());
    for (hop, relay) in relays.iter().enumerate() {
        out.push(RELAY_FORW);
        out.push((relays.len() - 1 - hop) as u8);
        out.extend_from_slice(&relay.link.octets());
        out.extend_from_slice(&relay.peer.octets());
        put_hop(hops, &relay.options, out.len() - start);
        out.extend_from_slice(&relay.options);
        if hop + 1 < relays.len() {
            out.extend_from_slice(&OPTION_RELAY_MSG.to_be_bytes());
            out.extend_from_slice(&(sizes[hop + 1] as u16).to_be_bytes());
        }
    }
}

/// The relay agent that the server received the message from. No source tells that address itself; the relay agent's
/// link-address is one of its own, unless it has none.
fn peer_of_server(nearest: &Relay6) -> Ipv6Addr {
    if nearest.link.is_unspecified() {
        nearest.peer
    } else {
        nearest.link
    }
}

/// Adds a relay agent to the table if it has a remote-id or a relay-id; `at` is where its options begin in the record.
fn put_hop(hops: &mut Vec<u8>, relay_options: &[u8], at: usize) {
    let mut entry = [0u8; 8];
    let mut found = false;
    let mut value_at = at;
    for (code, value) in options::each6(relay_options) {
        value_at += 4;
        let field = match code {
            OPTION_REMOTE_ID => 0,
            OPTION_RELAY_ID => 4,
            _ => 8,
        };
        if field < 8 && !value.is_empty() && entry[field..field + 2] == [0, 0] {
            entry[field..field + 2].copy_from_slice(&(value_at as u16).to_le_bytes());
            entry[field + 2..field + 4].copy_from_slice(&(value.len() as u16).to_le_bytes());
            found = true;
        }
        value_at += value.len();
    }
    if found {
        hops.extend_from_slice(&entry);
    }
}

fn put_others(out: &mut Vec<u8>, others: &[(u16, Vec<u8>)]) {
    let mut sorted: smallvec::SmallVec<[&(u16, Vec<u8>); 16]> = others.iter().collect();
    sorted.sort_by_key(|(code, _)| *code);
    sorted
        .iter()
        .for_each(|(code, value)| options::put6(out, *code, value));
}

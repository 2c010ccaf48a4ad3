//! Writing a Bind4 record from an event that is complete.

use super::bind4::FIXED;
use super::{FLAG_CLTT, FLAG_REMOTE, begin, kind, options, seal};
use crate::event::Event4;
use crate::time::Stamp;

const REMOTE_ID: u8 = 2;
const RELAY_ID: u8 = 12;

/// Appends the record of a checked event to `out` and gives its octets. Absent fields are not known.
pub(crate) fn encode4(out: &mut Vec<u8>, event: &Event4, sequence: u64, stamp: Stamp) -> usize {
    let mut flags = 0;
    if event.remote {
        flags |= FLAG_REMOTE;
    }
    if event.cltt.is_some() {
        flags |= FLAG_CLTT;
    }
    let start = begin(out, kind::BIND4, flags, event.feed);
    out.resize(start + FIXED, 0);
    let head = &mut out[start..];
    head[24..28].copy_from_slice(&event.address.octets());
    head[28] = event.state as u8;
    head[29] = event.vpn.vss().len() as u8;
    if let Some(hwaddr) = &event.hwaddr {
        head[30] = hwaddr.htype;
        head[31] = hwaddr.octets.len() as u8;
        head[64..64 + hwaddr.octets.len()].copy_from_slice(&hwaddr.octets);
    }
    for (at, seconds) in [
        (32, event.cltt),
        (36, event.state_since),
        (40, event.lease_time),
        (44, event.t1),
        (48, event.t2),
    ] {
        head[at..at + 4].copy_from_slice(&seconds.unwrap_or(0).to_le_bytes());
    }
    if let Some(id) = event.client_id.as_deref().filter(|id| !id.is_empty()) {
        options::put4(out, 61, id);
    }
    let relay_at = out.len();
    let relay = event.relay_agent_info.as_deref().unwrap_or_default();
    if !relay.is_empty() {
        options::put4(out, 82, relay);
    }
    let others_at = out.len();
    put_others(out, event.options.as_deref().unwrap_or_default());
    let vpn_at = out.len();
    out.extend_from_slice(event.vpn.vss());
    for (at, length) in [
        (52, relay_at - start - FIXED),
        (54, others_at - relay_at),
        (56, vpn_at - others_at),
    ] {
        out[start + at..start + at + 2].copy_from_slice(&(length as u16).to_le_bytes());
    }
    put_value(out, start, relay_at, relay, REMOTE_ID, 58, 62);
    put_value(out, start, relay_at, relay, RELAY_ID, 60, 63);
    seal(out, start, sequence, stamp)
}

fn put_others(out: &mut Vec<u8>, others: &[(u8, Vec<u8>)]) {
    if others.is_sorted_by_key(|(code, _)| *code) {
        others
            .iter()
            .for_each(|(code, value)| options::put4(out, *code, value));
        return;
    }
    let mut sorted: Vec<&(u8, Vec<u8>)> = others.iter().collect();
    sorted.sort_by_key(|(code, _)| *code);
    sorted
        .iter()
        .for_each(|(code, value)| options::put4(out, *code, value));
}

/// Notes where a sub-option's value lies; appends a copy of it where the split of option 82 cuts it.
fn put_value(
    out: &mut Vec<u8>,
    start: usize,
    relay_at: usize,
    relay: &[u8],
    code: u8,
    offset_at: usize,
    length_at: usize,
) {
    let Some((at, length)) = options::suboption(relay, code) else {
        return;
    };
    let offset = if at / 255 == (at + length - 1) / 255 {
        // Each part before this one, and this one, has a header of two octets.
        relay_at - start + at + 2 * (at / 255 + 1)
    } else {
        let offset = out.len() - start;
        out.extend_from_slice(&relay[at..at + length]);
        offset
    };
    out[start + offset_at..start + offset_at + 2].copy_from_slice(&(offset as u16).to_le_bytes());
    out[start + length_at] = length as u8;
}

//! DHCPv6 leasequery over UDP (RFC 5007): one LEASEQUERY, one LEASEQUERY-REPLY, nothing kept in between.
//!
//! A LEASEQUERY that relay agents forwarded is answered by as many RELAY-REPL in one another (RFC 8415 §19.3), unless the
//! configuration says that such queries are discarded. Replies go to where the datagram came from: the requestor, or the
//! relay agent nearest to this server.

use std::net::{Ipv6Addr, SocketAddr};

use leaseq_store::{Group, LinkId, Step6, View};
use leaseq_wire::v6::{
    MAX_HOPS, Message, OptionsIter, QueryType, RelayMessage, StatusCode, message_type, option_code,
};
use leaseq_wire::{Full, OutBuf};

use super::answer::{self, Form, Identity};
use super::client_data::{Client, Share};
use super::permission;
use super::request::{self, Ask, Query, Refusal};
use super::source::Source;
use crate::query::QueryContext;
use crate::{Discard, UdpAnswer};

/// Octets of a message's header.
const HEADER: usize = 4;

/// The most octets of a UDP datagram over IPv6.
const MAX_DATAGRAM: usize = 65_527;

/// Portions of a walk that a datagram is worth. One client's bindings are never that many.
const MAX_PORTIONS: u32 = 1_024;

/// Answers a datagram. Returns where the reply in `out` goes, or nothing if the datagram is discarded.
pub(crate) fn answer(
    cx: &QueryContext<'_>,
    from: SocketAddr,
    request: &[u8],
    out: &mut OutBuf<'_>,
) -> Option<SocketAddr> {
    match answer_hop(cx, request, None, 0, out) {
        Ok(answer) => {
            cx.counters.v6.udp_answers.of(answer).increment();
            Some(from)
        }
        Err(discard) => {
            cx.counters.v6.udp_discarded.of(discard).increment();
            None
        }
    }
}

/// Answers what a relay agent forwarded, or the query itself. `hops`: relay agents outside of it.
fn answer_hop(
    cx: &QueryContext<'_>,
    octets: &[u8],
    outer_vss: Option<&[u8]>,
    hops: usize,
    out: &mut OutBuf<'_>,
) -> Result<UdpAnswer, Discard> {
    if octets.first() != Some(&message_type::RELAY_FORW) {
        return answer_query(cx, octets, outer_vss, out);
    }
    if !cx.settings.dhcp6.relayed_queries {
        return Err(Discard::Relayed);
    }
    if hops == MAX_HOPS {
        return Err(Discard::Malformed);
    }
    let relay = RelayMessage::parse(octets).map_err(|_| Discard::Malformed)?;
    let inner = relay
        .options
        .find(option_code::RELAY_MSG)
        .ok_or(Discard::Malformed)?;
    let own_vss = relay.options.find(option_code::VSS);
    let vss = outer_vss.or(own_vss);
    let at = begin_relay_reply(&relay, own_vss.and(vss), out).map_err(|Full| Discard::TooLong)?;
    let answer = answer_hop(cx, inner, vss, hops + 1, out)?;
    let length = u16::try_from(out.len() - at).map_err(|_| Discard::TooLong)?;
    out.patch_u16(at - 2, length);
    Ok(answer)
}

/// Writes everything of a RELAY-REPL before the relayed message, and returns where that begins. What identifies the
/// interface goes back as it came (RFC 8415 §19.3); a VSS option tells the VPN that counted (RFC 6607 §7.3).
fn begin_relay_reply(
    relay: &RelayMessage<'_>,
    vss: Option<&[u8]>,
    out: &mut OutBuf<'_>,
) -> Result<usize, Full> {
    out.put_array(&[message_type::RELAY_REPL, relay.hop_count])?;
    out.put_array(&relay.link_address.octets())?;
    out.put_array(&relay.peer_address.octets())?;
    let interface_id = relay.options.find(option_code::INTERFACE_ID);
    for (code, value) in [
        (option_code::INTERFACE_ID, interface_id),
        (option_code::VSS, vss),
    ] {
        if let Some(value) = value {
            out.put_u16(code)?;
            out.put_u16(u16::try_from(value.len()).map_err(|_| Full)?)?;
            out.put(value)?;
        }
    }
    out.put_u16(option_code::RELAY_MSG)?;
    out.put_u16(0)?;
    Ok(out.len())
}

fn answer_query(
    cx: &QueryContext<'_>,
    octets: &[u8],
    outer_vss: Option<&[u8]>,
    out: &mut OutBuf<'_>,
) -> Result<UdpAnswer, Discard> {
    let Some((&[message_type, x0, x1, x2], options)) = octets.split_first_chunk::<HEADER>() else {
        return Err(Discard::Malformed);
    };
    if message_type != message_type::LEASEQUERY {
        return Err(Discard::MessageType);
    }
    let xid = u32::from_be_bytes([0, x0, x1, x2]);
    let settings = &cx.settings.dhcp6;
    let requestor = request::requestor(OptionsIter::unchecked(options), settings)?;
    let identity = Identity {
        server: &settings.server_duid,
        requestor,
    };
    let start = out.len();
    let mut base_time = false;
    let outcome = match Message::parse(octets) {
        Ok(message) => {
            let lq_query = message
                .option(option_code::LQ_QUERY)
                .ok_or(Discard::NoQuery)?;
            base_time = request::asks_base_time(&message);
            look_up(cx, &message, lq_query, outer_vss, base_time, identity, out)
        }
        Err(_) => Err(Refusal::overrun()),
    };
    outcome.or_else(|refusal| {
        out.truncate(start);
        let kind = message_type::LEASEQUERY_REPLY;
        let at = base_time.then_some(cx.server_time);
        answer::put_bare(out, kind, xid, Some(identity), Some(refusal), at)
            .map(|()| UdpAnswer::Error)
            .map_err(|Full| Discard::TooLong)
    })
}

/// Writes the reply to a query, or says what refuses it.
fn look_up(
    cx: &QueryContext<'_>,
    message: &Message<'_>,
    lq_query: &[u8],
    outer_vss: Option<&[u8]>,
    base_time: bool,
    identity: Identity<'_>,
    out: &mut OutBuf<'_>,
) -> Result<UdpAnswer, Refusal> {
    use QueryType::{ByLinkAddress, ByRelayId, ByRemoteId};
    let query_type = lq_query.first().copied().and_then(QueryType::from_u8);
    if let Some(ByRelayId | ByLinkAddress | ByRemoteId) = query_type {
        let text = "this query-type is for TCP only";
        return Err(Refusal::new(StatusCode::NotAllowed, text));
    }
    let query = request::read(message, lq_query, outer_vss, &cx.settings.dhcp6)?;
    cx.counters.v6.udp_queries.of(query.ask.kind()).increment();
    let source = Source::open(cx.view, cx.rule, &query)?;
    let reply = Reply {
        cx,
        form: Form::new(message.xid(), base_time, &query),
        identity,
        start: out.len(),
    };
    reply.put(source, &query, out)
}

/// A reply being written.
struct Reply<'r> {
    cx: &'r QueryContext<'r>,
    form: Form,
    identity: Identity<'r>,
    /// Where it begins in the buffer.
    start: usize,
}

/// What a query has found so far.
enum Found {
    Nothing,
    /// A client, on a link that has this address. Its reply is written.
    Client(LinkId, Option<Ipv6Addr>),
    /// Several links. The reply is written up to the last address of LQ_CLIENT_LINK, whose value begins here.
    Links(usize),
}

impl Reply<'_> {
    fn put(
        &self,
        mut source: Source,
        query: &Query<'_>,
        out: &mut OutBuf<'_>,
    ) -> Result<UdpAnswer, Refusal> {
        let view = self.cx.view;
        let now = self.cx.server_time;
        // Only a search of all links for a client can find it on several (RFC 5007 §4.1.2.5).
        let several = matches!(query.ask, Ask::ClientId(_)) && query.link.is_none();
        let mut group = Group::default();
        let mut found = Found::Nothing;
        let mut portions = 0;
        loop {
            portions += 1;
            if portions > MAX_PORTIONS {
                return Err(Refusal::terminated("too many bindings to look through"));
            }
            match source.next(view, now, &mut group) {
                Step6::Done => break,
                Step6::More => continue,
                Step6::Group => {}
            }
            let link = group.link;
            let Some(client) = Client::of(&mut group, now) else {
                continue;
            };
            if !source.admits(&client) || !permission::visible(self.cx.rule, view, link, &client) {
                continue;
            }
            found = self
                .add(found, link, &client, out)
                .map_err(|Full| too_long())?;
            if !several {
                break;
            }
        }
        self.end(found, out).map_err(|Full| too_long())
    }

    /// Adds a client to what has been found.
    fn add(
        &self,
        found: Found,
        link: LinkId,
        client: &Client<'_, '_>,
        out: &mut OutBuf<'_>,
    ) -> Result<Found, Full> {
        let name = name_of(self.cx.view, link, client);
        match found {
            Found::Nothing => {
                let share = Share {
                    after: None,
                    limit: self.start + MAX_DATAGRAM,
                };
                let at = self.cx.server_time;
                let told = self.form.put_reply(out, self.identity, at, client, share)?;
                if told.complete {
                    Ok(Found::Client(link, name))
                } else {
                    Err(Full)
                }
            }
            // The same link in another VPN.
            Found::Client(first, first_name) if first == link => {
                Ok(Found::Client(first, first_name))
            }
            Found::Client(_, first_name) => {
                out.truncate(self.start);
                self.form
                    .put_empty_reply(out, self.identity, self.cx.server_time, None)?;
                out.put_u16(option_code::LQ_CLIENT_LINK)?;
                out.put_u16(0)?;
                let value = out.len();
                put_link(first_name, value, out)?;
                put_link(name, value, out)?;
                Ok(Found::Links(value))
            }
            Found::Links(value) => {
                put_link(name, value, out)?;
                Ok(Found::Links(value))
            }
        }
    }

    fn end(&self, found: Found, out: &mut OutBuf<'_>) -> Result<UdpAnswer, Full> {
        match found {
            Found::Nothing => {
                self.form
                    .put_empty_reply(out, self.identity, self.cx.server_time, None)?;
                Ok(UdpAnswer::Unknown)
            }
            Found::Client(..) => Ok(UdpAnswer::Active),
            Found::Links(value) => {
                let length = u16::try_from(out.len() - value).map_err(|_| Full)?;
                out.patch_u16(value - 2, length);
                Ok(UdpAnswer::Links)
            }
        }
    }
}

/// Appends a link to LQ_CLIENT_LINK, whose value begins at `value`, unless it is there already. A link that nothing can
/// name cannot be asked about either, and is left out.
fn put_link(name: Option<Ipv6Addr>, value: usize, out: &mut OutBuf<'_>) -> Result<(), Full> {
    let Some(octets) = name.map(|name| name.octets()) else {
        return Ok(());
    };
    let listed = out.as_slice().get(value..).unwrap_or_default();
    if listed.as_chunks::<16>().0.contains(&octets) {
        return Ok(());
    }
    out.put_array(&octets)
}

/// An address by which the requestor can ask for the link: the link's own, else one of the client's that lies on it.
fn name_of(view: &View, link: LinkId, client: &Client<'_, '_>) -> Option<Ipv6Addr> {
    view.link_address(link).or_else(|| {
        client
            .live()
            .map(|lease| lease.address())
            .find(|address| view.link_of(*address) == Some(link))
    })
}

fn too_long() -> Refusal {
    Refusal::new(
        StatusCode::UnspecFail,
        "the answer does not fit into a datagram, ask over TCP",
    )
}

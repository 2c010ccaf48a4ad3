//! DHCPv4 leasequery over UDP (RFC 4388, by remote-id RFC 6148): one datagram, one answer about one binding.

use std::net::{Ipv4Addr, SocketAddr};

use leaseq_store::{Batch4, Bind4, Progress, Selector4, State, Vpn, VpnSelect};
use leaseq_wire::parameters::DHCPV4_SERVER_PORT;
use leaseq_wire::v4::message_type::{DHCPLEASEQUERY, DHCPLEASEUNASSIGNED, DHCPLEASEUNKNOWN};
use leaseq_wire::v4::option_code::{ASSOCIATED_IP, PARAMETER_REQUEST_LIST, VSS};
use leaseq_wire::v4::suboption::REMOTE_ID;
use leaseq_wire::v4::{Header, Message, MessageWriter, op};
use leaseq_wire::{Full, OutBuf};
use smallvec::SmallVec;

use super::bulk::{may_see, permit};
use super::reply::{self, Replies};
use super::request::{self, Keys};
use super::wanted::Wanted;
use crate::counters::{Discard, UdpAnswer};
use crate::query::QueryContext;
use crate::settings::{QueryKind, ReplyTo};

/// Addresses told in option 92.
const MAX_ADDRESSES: usize = 1_024;

/// Steps of the walk over a client's bindings, each of a bounded length.
const MAX_STEPS: usize = 256;

/// Addresses in a part of option 92, which may be longer than one option can be.
const PART: usize = 63;

/// The addresses of a client; never more than it has room for, so it never allocates.
type Addresses = SmallVec<[Ipv4Addr; MAX_ADDRESSES]>;

/// What is asked about.
enum Ask<'a> {
    Address(Ipv4Addr),
    Client(Selector4<'a>),
}

/// Answers a query in `out`. Returns where the answer goes; nothing if the query is discarded, which is counted.
pub(crate) fn answer(
    cx: &QueryContext<'_>,
    from: SocketAddr,
    request: &[u8],
    out: &mut OutBuf<'_>,
) -> Option<SocketAddr> {
    match try_answer(cx, from, request, out) {
        Ok(to) => Some(to),
        Err(reason) => {
            cx.counters.v4.udp_discarded.of(reason).increment();
            None
        }
    }
}

fn try_answer(
    cx: &QueryContext<'_>,
    from: SocketAddr,
    request: &[u8],
    out: &mut OutBuf<'_>,
) -> Result<SocketAddr, Discard> {
    let message = Message::parse(request).map_err(|_| Discard::Malformed)?;
    if message.op() != op::BOOTREQUEST || message.message_type() != Some(DHCPLEASEQUERY) {
        return Err(Discard::MessageType);
    }
    if message.giaddr().is_unspecified() {
        return Err(Discard::NoGiaddr);
    }
    let mut joined = [None, None];
    let keys = Keys::read(&message, &mut joined).map_err(|_| Discard::Malformed)?;
    let (kind, ask) = only_key(&message, &keys).ok_or(Discard::NotOneKey)?;
    // The wildcard is for bulk queries alone (RFC 6926 §6.2.9).
    let VpnSelect::One(vpn) = request::vpns(&message).map_err(|_| Discard::Malformed)? else {
        return Err(Discard::Malformed);
    };
    let vpns = VpnSelect::One(vpn.clone());
    permit(cx.rule, kind, &vpns, None).map_err(|_| Discard::NotPermitted)?;

    let query = Query {
        cx,
        message: &message,
        ask: &ask,
        vpn: &vpn,
    };
    let said = match &ask {
        Ask::Address(address) => query.by_address(*address, out),
        Ask::Client(selector) => query.by_client(selector, &vpns, out),
    }
    .map_err(|Full| Discard::TooLong)?;
    cx.counters.v4.udp_queries.of(kind).increment();
    cx.counters.v4.udp_answers.of(said).increment();
    Ok(match cx.settings.dhcp4.reply_to {
        ReplyTo::Giaddr => SocketAddr::from((message.giaddr(), DHCPV4_SERVER_PORT)),
        ReplyTo::Source => from,
    })
}

/// The one key of a query (RFC 4388 §6.3). Option 82 counts only without another key (RFC 6148 §5), and only if it holds
/// a remote-id and nothing else (RFC 6148 §4.1).
fn only_key<'a>(message: &Message<'_>, keys: &Keys<'a>) -> Option<(QueryKind, Ask<'a>)> {
    let client = Keys {
        remote_id: None,
        relay_id: None,
        ..*keys
    };
    let address = message.ciaddr();
    match (address.is_unspecified(), client.count()) {
        (false, 0) => Some((QueryKind::Ip, Ask::Address(address))),
        (true, 1) => {
            let (kind, selector) = client.selector();
            Some((kind, Ask::Client(selector?)))
        }
        (true, 0) if keys.relay_id.is_none() && !keys.more_relay_info => Some((
            QueryKind::RemoteId,
            Ask::Client(Selector4::RemoteId(keys.remote_id?)),
        )),
        _ => None,
    }
}

struct Query<'q, 'm> {
    cx: &'q QueryContext<'q>,
    message: &'q Message<'m>,
    ask: &'q Ask<'m>,
    vpn: &'q Vpn,
}

impl Query<'_, '_> {
    fn by_address(&self, address: Ipv4Addr, out: &mut OutBuf<'_>) -> Result<UdpAnswer, Full> {
        match self.cx.view.binding4(self.vpn, address) {
            Some(bind) if !may_see(self.cx.rule, &bind) => self.unknown(out),
            Some(bind) if bind.state() == State::Active => {
                self.active(&bind, &Addresses::new(), out)
            }
            Some(_) => self.unassigned(out),
            None if self.cx.view.configured4(self.vpn, address) => self.unassigned(out),
            None => self.unknown(out),
        }
    }

    /// Of a client's bindings the one with the latest transaction is told (RFC 4388 §6.4.1, RFC 6148 §4.4).
    fn by_client(
        &self,
        selector: &Selector4<'_>,
        vpns: &VpnSelect,
        out: &mut OutBuf<'_>,
    ) -> Result<UdpAnswer, Full> {
        let view = self.cx.view;
        let mut walk = view.walk4(selector, vpns);
        let mut batch = Batch4::default();
        let mut latest: Option<Bind4<'_>> = None;
        let mut addresses = Addresses::new();
        for _ in 0..MAX_STEPS {
            let progress = view.fill4(&mut walk, &mut batch);
            let told = batch.items.iter().map(|found| found.bind);
            for bind in
                told.filter(|bind| bind.state() == State::Active && may_see(self.cx.rule, bind))
            {
                if addresses.len() < MAX_ADDRESSES {
                    addresses.push(bind.address());
                }
                if latest.is_none_or(|other| {
                    (other.cltt(), other.sequence()) < (bind.cltt(), bind.sequence())
                }) {
                    latest = Some(bind);
                }
            }
            if progress == Progress::Done {
                break;
            }
        }
        match latest {
            Some(bind) => self.active(&bind, &addresses, out),
            None => self.unknown(out),
        }
    }

    /// DHCPLEASEACTIVE about a binding; `addresses`: all those of a client that was asked for.
    fn active(
        &self,
        bind: &Bind4<'_>,
        addresses: &Addresses,
        out: &mut OutBuf<'_>,
    ) -> Result<UdpAnswer, Full> {
        let settings = &self.cx.settings.dhcp4;
        let wanted = Wanted::for_udp(
            self.message.option(PARAMETER_REQUEST_LIST),
            &settings.withhold_options,
        );
        let mut replies =
            Replies::new(&self.header(), &wanted, settings.server_identifier.octets());
        replies.set_base_time(self.cx.server_time);
        // Several addresses are told whether option 92 is wanted or not; a single one if it is.
        let tells_addresses = addresses.len() > usize::from(!wanted.has(ASSOCIATED_IP))
            && !settings.withhold_options.contains(ASSOCIATED_IP);
        let listed = if tells_addresses { addresses.len() } else { 0 };
        let carried = replies.carried(bind);
        let room = carried.room() + 4 * listed + 2 * listed.div_ceil(PART);
        let octets = out.reserve(room)?;
        let mut len = replies.binding(bind, &carried, self.cx.server_time, true, octets);
        if tells_addresses {
            len = associated_ip(addresses, octets, len);
        }
        let len = reply::end(octets, len);
        out.truncate(len);
        Ok(UdpAnswer::Active)
    }

    fn unassigned(&self, out: &mut OutBuf<'_>) -> Result<UdpAnswer, Full> {
        self.plain(DHCPLEASEUNASSIGNED, out)?;
        Ok(UdpAnswer::Unassigned)
    }

    fn unknown(&self, out: &mut OutBuf<'_>) -> Result<UdpAnswer, Full> {
        self.plain(DHCPLEASEUNKNOWN, out)?;
        Ok(UdpAnswer::Unknown)
    }
}

impl Query<'_, '_> {
    /// What every answer repeats of its query.
    fn header(&self) -> Header {
        let mut header = Header::reply(self.message.xid());
        header.flags = self.message.flags();
        header.giaddr = self.message.giaddr();
        header
    }

    /// An answer without a binding: no options but the server's identity (RFC 4388 §6.4.2), and what tells it apart from
    /// the answer to another question.
    fn plain(&self, message_type: u8, out: &mut OutBuf<'_>) -> Result<(), Full> {
        // A query by address is told its address whatever the answer (erratum 3518 of RFC 4388).
        let header = Header {
            ciaddr: self.message.ciaddr(),
            ..self.header()
        };
        let mut writer = MessageWriter::start(out, &header, message_type)?;
        writer.server_identifier(self.cx.settings.dhcp4.server_identifier)?;
        if let Ask::Client(Selector4::RemoteId(remote_id)) = self.ask {
            writer.relay_agent_information(&[(REMOTE_ID, remote_id)])?;
        }
        // A requestor drops an answer that does not name the VPN of its query (RFC 6607 §6).
        if !self.vpn.is_global() {
            writer.option(VSS, self.vpn.vss())?;
        }
        writer.finish();
        Ok(())
    }
}

/// Appends option 92, split as RFC 3396 says, at `len`. Returns the octets of the message.
fn associated_ip(addresses: &Addresses, out: &mut [u8], mut len: usize) -> usize {
    for part in addresses.chunks(PART) {
        out[len..len + 2].copy_from_slice(&[ASSOCIATED_IP, (4 * part.len()) as u8]);
        len += 2;
        for address in part {
            out[len..len + 4].copy_from_slice(&address.octets());
            len += 4;
        }
    }
    len
}

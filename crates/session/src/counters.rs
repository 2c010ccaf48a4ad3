//! What a core has counted.
//!
//! Each core adds to its own [`Counters`] without ordering; the admin side sums them. Where a thing is counted by kind,
//! the kind is an enum that is its own label, so a new kind cannot be forgotten in the output.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::settings::{Family, QueryKind};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// What has been counted so far.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// An enum whose values label a [`Tally`].
pub trait Label: Copy + 'static {
    /// Every value; the position of each is its [`Label::index`].
    const ALL: &'static [Self];

    /// Position in [`Label::ALL`].
    fn index(self) -> usize;

    /// The label in metrics: lower case, words joined by `-`.
    fn label(self) -> &'static str;
}

/// Counters of one thing, one for each value of a label.
#[derive(Debug)]
pub struct Tally<L: Label> {
    counters: Box<[Counter]>,
    label: PhantomData<L>,
}

impl<L: Label> Default for Tally<L> {
    fn default() -> Tally<L> {
        Tally {
            counters: L::ALL.iter().map(|_| Counter::default()).collect(),
            label: PhantomData,
        }
    }
}

impl<L: Label> Tally<L> {
    /// The counter of one label.
    pub fn of(&self, label: L) -> &Counter {
        &self.counters[label.index()]
    }

    /// All labels together.
    pub fn total(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }
}

/// Declares an enum that is a [`Label`].
macro_rules! labels {
    ($(#[$outer:meta])* $name:ident { $($(#[$inner:meta])* $variant:ident = $label:literal,)+ }) => {
        $(#[$outer])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$inner])* $variant,)+ }

        impl $crate::counters::Label for $name {
            const ALL: &'static [$name] = &[$($name::$variant,)+];

            fn index(self) -> usize {
                self as usize
            }

            fn label(self) -> &'static str {
                match self { $($name::$variant => $label,)+ }
            }
        }
    };
}

impl Label for QueryKind {
    const ALL: &'static [QueryKind] = &QueryKind::ALL;

    fn index(self) -> usize {
        self as usize
    }

    fn label(self) -> &'static str {
        self.name()
    }
}

labels! {
    /// How a query ended.
    QueryEnd {
        /// Everything asked for was sent, be it nothing.
        Success = "success",
        /// Failure without a reason that has a status of its own.
        UnspecFail = "unspec-fail",
        /// The server gave it up.
        QueryTerminated = "query-terminated",
        /// Not understood.
        MalformedQuery = "malformed-query",
        /// Understood, not permitted.
        NotAllowed = "not-allowed",
        /// DHCPv6: no such query type.
        UnknownQueryType = "unknown-query-type",
        /// DHCPv6: the link is not configured.
        NotConfigured = "not-configured",
        /// DHCPv6: not supported.
        NotSupported = "not-supported",
    }
}

labels! {
    /// Why a message was not answered.
    Discard {
        /// Shorter than a message's fixed part, or not parsable.
        Malformed = "malformed",
        /// Not a message that a requestor sends here.
        MessageType = "message-type",
        /// The requestor is not permitted to ask this.
        NotPermitted = "not-permitted",
        /// The requestor is over its rate.
        RateLimit = "rate-limit",
        /// DHCPv4: giaddr is zero, so there is nowhere to reply to.
        NoGiaddr = "no-giaddr",
        /// DHCPv4: none or several of address, hardware address, client identifier, remote-id.
        NotOneKey = "not-one-key",
        /// DHCPv6: no OPTION_CLIENTID.
        NoClientId = "no-client-id",
        /// DHCPv6: OPTION_SERVERID of another server.
        OtherServer = "other-server",
        /// DHCPv6: no OPTION_LQ_QUERY.
        NoQuery = "no-query",
        /// DHCPv6: forwarded by a relay agent, and such queries are not answered.
        Relayed = "relayed",
        /// The answer does not fit into a datagram.
        TooLong = "too-long",
    }
}

labels! {
    /// What a UDP query was answered with.
    UdpAnswer {
        /// A binding: DHCPLEASEACTIVE, or a LEASEQUERY-REPLY with client data.
        Active = "active",
        /// DHCPv4: managed and not leased.
        Unassigned = "unassigned",
        /// DHCPv4: not known. DHCPv6: no binding.
        Unknown = "unknown",
        /// DHCPv6: the client has bindings on several links.
        Links = "links",
        /// DHCPv6: an error status.
        Error = "error",
    }
}

labels! {
    /// Why a connection was closed.
    CloseReason {
        /// The requestor closed it.
        PeerClosed = "peer-closed",
        /// No query for the data timeout.
        Idle = "idle",
        /// A message was begun and not completed within the data timeout.
        ReadBlocked = "read-blocked",
        /// The requestor acknowledged nothing for the data timeout.
        SendBlocked = "send-blocked",
        /// A frame that announces no octets.
        EmptyFrame = "empty-frame",
        /// A frame shorter than a message header.
        ShortFrame = "short-frame",
        /// A message type that is not served over TCP (RFC 7724 §8.1.1).
        UnsupportedMessage = "unsupported-message",
        /// A query with the transaction id of one still running.
        DuplicateXid = "duplicate-xid",
        /// An error after which the family's rules ask for a close.
        QueryFailed = "query-failed",
        /// Too many queries in a row that found nothing.
        EmptyReplies = "empty-replies",
        /// A query beside an active one, or an active one beside another.
        BesideActive = "beside-active",
        /// A query that is answered on TLS only came without.
        TlsRequired = "tls-required",
        /// The TLS handshake failed: no certificate, or one that is not accepted, or no TLS at all.
        TlsHandshake = "tls-handshake",
        /// The TLS handshake was not completed in time.
        TlsTimeout = "tls-timeout",
        /// What came on a TLS connection was not TLS, or was tampered with.
        TlsBroken = "tls-broken",
        /// The requestor's newer connection took its place.
        Replaced = "replaced",
        /// The server stops.
        Shutdown = "shutdown",
    }
}

/// What is counted for each family.
#[derive(Debug, Default)]
pub struct FamilyCounters {
    /// Connections opened.
    pub opened: Counter,
    /// Connections closed, by reason.
    pub closed: Tally<CloseReason>,
    /// Octets received over TCP.
    pub received_octets: Counter,
    /// Octets sent over TCP, framing included.
    pub sent_octets: Counter,
    /// Messages received over TCP.
    pub received_messages: Counter,
    /// Messages sent over TCP.
    pub sent_messages: Counter,
    /// Bindings sent over TCP; an address that is free counts.
    pub bindings: Counter,
    /// TCP queries begun, by kind.
    pub queries: Tally<QueryKind>,
    /// TCP queries ended, by status.
    pub ended: Tally<QueryEnd>,
    /// TCP messages discarded without an answer.
    pub discarded: Tally<Discard>,
    /// Active queries that became streams.
    pub streams_opened: Counter,
    /// Streams that ended.
    pub streams_closed: Counter,
    /// Streams that were told everything since the time they asked for.
    pub caught_up: Counter,
    /// Streams that were told that not everything can be told any more.
    pub data_missing: Counter,
    /// Times that a stream began to read the log by itself because its requestor reads slowly.
    pub lagged: Counter,
    /// Keepalives sent.
    pub keepalives: Counter,
    /// TLS handshakes completed.
    pub tls_handshakes: Counter,
    /// TLS handshakes that had to wait for others.
    pub tls_delayed: Counter,
    /// TCP queries that had to wait because of the requestor's rate.
    pub delayed: Counter,
    /// UDP datagrams received.
    pub udp_received: Counter,
    /// UDP queries answered, by kind.
    pub udp_queries: Tally<QueryKind>,
    /// UDP answers, by what they say.
    pub udp_answers: Tally<UdpAnswer>,
    /// UDP datagrams discarded without an answer.
    pub udp_discarded: Tally<Discard>,
}

labels! {
    /// Why a connection was refused.
    Refusal {
        /// No rule names its network.
        NotPermitted = "not-permitted",
        /// The family has as many connections as it may have.
        MaxConnections = "max-connections",
        /// The requestor has as many connections as it may have.
        MaxConnectionsPerRequestor = "max-connections-per-requestor",
    }
}

/// Everything that one core has counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// DHCPv4.
    pub v4: FamilyCounters,
    /// DHCPv6.
    pub v6: FamilyCounters,
    /// DHCPv4 connections closed right after they were accepted.
    pub refused_v4: Tally<Refusal>,
    /// DHCPv6 connections closed right after they were accepted.
    pub refused_v6: Tally<Refusal>,
}

/// One number for the admin side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// What is counted, in the words of a metric's name.
    pub name: &'static str,
    /// Its meaning, for the metric's help text.
    pub help: &'static str,
    /// Family it belongs to.
    pub family: Family,
    /// Label name and value, where it is counted by kind.
    pub label: Option<(&'static str, &'static str)>,
    /// The number.
    pub value: u64,
}

impl Counters {
    /// The counters of a family.
    pub fn of(&self, family: Family) -> &FamilyCounters {
        match family {
            Family::V4 => &self.v4,
            Family::V6 => &self.v6,
        }
    }

    /// The refusals of a family.
    pub fn refused(&self, family: Family) -> &Tally<Refusal> {
        match family {
            Family::V4 => &self.refused_v4,
            Family::V6 => &self.refused_v6,
        }
    }

    /// Calls `visit` with each number, always in the same order, so that cores can be summed by position.
    pub fn visit(&self, visit: &mut dyn FnMut(Sample)) {
        for family in [Family::V4, Family::V6] {
            let counters = self.of(family);
            let mut plain = |name, help, counter: &Counter| {
                visit(Sample {
                    name,
                    help,
                    family,
                    label: None,
                    value: counter.get(),
                })
            };
            plain(
                "connections_opened",
                "TCP connections admitted",
                &counters.opened,
            );
            plain(
                "received_octets",
                "octets received over TCP",
                &counters.received_octets,
            );
            plain("sent_octets", "octets sent over TCP", &counters.sent_octets);
            plain(
                "received_messages",
                "messages received over TCP",
                &counters.received_messages,
            );
            plain(
                "sent_messages",
                "messages sent over TCP",
                &counters.sent_messages,
            );
            plain(
                "streams_opened",
                "active queries that became streams",
                &counters.streams_opened,
            );
            plain(
                "streams_closed",
                "active streams that ended",
                &counters.streams_closed,
            );
            plain(
                "streams_caught_up",
                "active streams that were told everything since the time they asked for",
                &counters.caught_up,
            );
            plain(
                "streams_data_missing",
                "active streams that were told that something is missing",
                &counters.data_missing,
            );
            plain(
                "streams_lagged",
                "times that an active stream fell behind the log's tail",
                &counters.lagged,
            );
            plain(
                "keepalives_sent",
                "keepalives sent on active streams",
                &counters.keepalives,
            );
            plain(
                "tls_handshakes",
                "TLS handshakes completed",
                &counters.tls_handshakes,
            );
            plain(
                "tls_handshakes_delayed",
                "TLS handshakes that had to wait for others",
                &counters.tls_delayed,
            );
            plain(
                "bindings_sent",
                "bindings sent over TCP, free addresses included",
                &counters.bindings,
            );
            plain(
                "queries_delayed",
                "TCP queries that waited because of the requestor's rate",
                &counters.delayed,
            );
            plain(
                "udp_received",
                "UDP datagrams received",
                &counters.udp_received,
            );
            visit_tally(
                family,
                "connections_refused",
                "TCP connections refused",
                "reason",
                self.refused(family),
                visit,
            );
            visit_tally(
                family,
                "connections_closed",
                "TCP connections closed",
                "reason",
                &counters.closed,
                visit,
            );
            visit_tally(
                family,
                "queries",
                "TCP queries begun",
                "kind",
                &counters.queries,
                visit,
            );
            visit_tally(
                family,
                "queries_ended",
                "TCP queries ended",
                "status",
                &counters.ended,
                visit,
            );
            visit_tally(
                family,
                "discarded",
                "TCP messages not answered",
                "reason",
                &counters.discarded,
                visit,
            );
            visit_tally(
                family,
                "udp_queries",
                "UDP queries answered",
                "kind",
                &counters.udp_queries,
                visit,
            );
            visit_tally(
                family,
                "udp_answers",
                "UDP answers",
                "answer",
                &counters.udp_answers,
                visit,
            );
            visit_tally(
                family,
                "udp_discarded",
                "UDP datagrams not answered",
                "reason",
                &counters.udp_discarded,
                visit,
            );
        }
    }
}

fn visit_tally<L: Label>(
    family: Family,
    name: &'static str,
    help: &'static str,
    key: &'static str,
    tally: &Tally<L>,
    visit: &mut dyn FnMut(Sample),
) {
    for label in L::ALL {
        visit(Sample {
            name,
            help,
            family,
            label: Some((key, label.label())),
            value: tally.of(*label).get(),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_carry_the_label_they_were_counted_under() {
        let counters = Counters::default();
        counters.v6.ended.of(QueryEnd::NotConfigured).increment();
        counters.v4.bindings.add(7);
        counters
            .refused(Family::V4)
            .of(Refusal::MaxConnections)
            .increment();
        let mut found = Vec::new();
        counters.visit(&mut |sample| {
            if sample.value != 0 {
                found.push((sample.name, sample.family, sample.label, sample.value));
            }
        });
        assert_eq!(
            found,
            [
                ("bindings_sent", Family::V4, None, 7),
                (
                    "connections_refused",
                    Family::V4,
                    Some(("reason", "max-connections")),
                    1
                ),
                (
                    "queries_ended",
                    Family::V6,
                    Some(("status", "not-configured")),
                    1
                ),
            ]
        );
    }

    #[test]
    fn every_label_is_at_its_index() {
        fn check<L: Label>() {
            for (position, label) in L::ALL.iter().enumerate() {
                assert_eq!(label.index(), position, "{}", label.label());
            }
        }
        check::<QueryKind>();
        check::<QueryEnd>();
        check::<Discard>();
        check::<UdpAnswer>();
        check::<CloseReason>();
        check::<Refusal>();
    }
}

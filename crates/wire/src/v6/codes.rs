//! The numbers of DHCPv6 leasequery, named as the registry names them.

/// Message types.
pub mod message_type {
    /// Answers STARTTLS (RFC 7653 §6.2.3).
    pub const REPLY: u8 = 7;
    /// A relayed message on its way to the server (RFC 8415 §9).
    pub const RELAY_FORW: u8 = 12;
    /// A relayed message on its way to the client (RFC 8415 §9).
    pub const RELAY_REPL: u8 = 13;
    /// Asks for one client over UDP, for many over TCP (RFC 5007 §4.1.1, RFC 5460 §5.2).
    pub const LEASEQUERY: u8 = 14;
    /// The first answer (RFC 5007 §4.1.1).
    pub const LEASEQUERY_REPLY: u8 = 15;
    /// Ends an answer over TCP (RFC 5460 §5.2.2).
    pub const LEASEQUERY_DONE: u8 = 16;
    /// One more client (RFC 5460 §5.2.1).
    pub const LEASEQUERY_DATA: u8 = 17;
    /// Asks to be told of changes from now on (RFC 7653 §6.2.1).
    pub const ACTIVELEASEQUERY: u8 = 22;
    /// Asks for TLS (RFC 7653 §6.2.2).
    pub const STARTTLS: u8 = 23;
}

/// Codes of the options that leasequery itself reads or writes.
pub mod option_code {
    /// The client's DUID; at top level the requestor's.
    pub const CLIENTID: u16 = 1;
    /// The server's DUID.
    pub const SERVERID: u16 = 2;
    /// An address with its lifetimes.
    pub const IAADDR: u16 = 5;
    /// Codes of the options that the requestor wants.
    pub const ORO: u16 = 6;
    /// The relayed message.
    pub const RELAY_MSG: u16 = 9;
    /// Status code and text.
    pub const STATUS_CODE: u16 = 13;
    /// Interface the client is on (RFC 8415 §21.18).
    pub const INTERFACE_ID: u16 = 18;
    /// A delegated prefix with its lifetimes.
    pub const IAPREFIX: u16 = 26;
    /// The remote end of the client's circuit (RFC 4649).
    pub const REMOTE_ID: u16 = 37;
    /// The query (RFC 5007 §4.1.2.1).
    pub const LQ_QUERY: u16 = 44;
    /// What is known of one client on one link (RFC 5007 §4.1.2.2).
    pub const CLIENT_DATA: u16 = 45;
    /// Seconds since the last transaction with the client (RFC 5007 §4.1.2.3).
    pub const CLT_TIME: u16 = 46;
    /// The client's last message as the relay agents forwarded it (RFC 5007 §4.1.2.4).
    pub const LQ_RELAY_DATA: u16 = 47;
    /// The links on which the client has bindings (RFC 5007 §4.1.2.5).
    pub const LQ_CLIENT_LINK: u16 = 48;
    /// Identifier of the relay agent: a DUID (RFC 5460 §5.4.1).
    pub const RELAY_ID: u16 = 53;
    /// VPN identifier (RFC 6607 §3.4).
    pub const VSS: u16 = 68;
    /// Absolute time at which the message was made (RFC 7653 §6.3.1).
    pub const LQ_BASE_TIME: u16 = 100;
    /// Absolute begin of a query's window (RFC 7653 §6.3.2).
    pub const LQ_START_TIME: u16 = 101;
    /// Absolute end of a query's window (RFC 7653 §6.3.3).
    pub const LQ_END_TIME: u16 = 102;
}

/// Query types of LQ_QUERY (RFC 5007 §4.1.2.1, RFC 5460 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum QueryType {
    /// The client that has an address, or a prefix that holds it.
    ByAddress = 1,
    /// The client with a DUID.
    ByClientId = 2,
    /// Clients behind a relay agent.
    ByRelayId = 3,
    /// Clients on a link.
    ByLinkAddress = 4,
    /// Clients behind a remote-id.
    ByRemoteId = 5,
}

impl QueryType {
    /// The query type with this number, if it has one.
    #[must_use]
    pub const fn from_u8(query_type: u8) -> Option<Self> {
        Some(match query_type {
            1 => Self::ByAddress,
            2 => Self::ByClientId,
            3 => Self::ByRelayId,
            4 => Self::ByLinkAddress,
            5 => Self::ByRemoteId,
            _ => return None,
        })
    }
}

/// Values of option 13 (RFC 8415 §21.13, RFC 5007 §4.1.3, RFC 5460 §5.5, RFC 7653 §11).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum StatusCode {
    /// All is well.
    Success = 0,
    /// Failed for a reason without a code.
    UnspecFail = 1,
    /// No address for the client.
    NoAddrsAvail = 2,
    /// No binding of the client.
    NoBinding = 3,
    /// The client's prefix is not of its link.
    NotOnLink = 4,
    /// The client has to use multicast.
    UseMulticast = 5,
    /// No prefix for the client.
    NoPrefixAvail = 6,
    /// The query type is unknown.
    UnknownQueryType = 7,
    /// The query is not understood.
    MalformedQuery = 8,
    /// The link is not one of this server's.
    NotConfigured = 9,
    /// The requestor may not ask this.
    NotAllowed = 10,
    /// The server ends the query before its answer is complete.
    QueryTerminated = 11,
    /// Bindings of the window asked for are no longer known in full.
    DataMissing = 12,
    /// The past has been told; from here on changes are told as they happen.
    CatchUpComplete = 13,
    /// The server does not do this.
    NotSupported = 14,
    /// The server does not do TLS.
    TlsConnectionRefused = 15,
}

impl StatusCode {
    /// The status with this number, if it has one.
    #[must_use]
    pub const fn from_u16(code: u16) -> Option<Self> {
        Some(match code {
            0 => Self::Success,
            1 => Self::UnspecFail,
            2 => Self::NoAddrsAvail,
            3 => Self::NoBinding,
            4 => Self::NotOnLink,
            5 => Self::UseMulticast,
            6 => Self::NoPrefixAvail,
            7 => Self::UnknownQueryType,
            8 => Self::MalformedQuery,
            9 => Self::NotConfigured,
            10 => Self::NotAllowed,
            11 => Self::QueryTerminated,
            12 => Self::DataMissing,
            13 => Self::CatchUpComplete,
            14 => Self::NotSupported,
            15 => Self::TlsConnectionRefused,
            _ => return None,
        })
    }

    /// Its name in the registry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::UnspecFail => "UnspecFail",
            Self::NoAddrsAvail => "NoAddrsAvail",
            Self::NoBinding => "NoBinding",
            Self::NotOnLink => "NotOnLink",
            Self::UseMulticast => "UseMulticast",
            Self::NoPrefixAvail => "NoPrefixAvail",
            Self::UnknownQueryType => "UnknownQueryType",
            Self::MalformedQuery => "MalformedQuery",
            Self::NotConfigured => "NotConfigured",
            Self::NotAllowed => "NotAllowed",
            Self::QueryTerminated => "QueryTerminated",
            Self::DataMissing => "DataMissing",
            Self::CatchUpComplete => "CatchUpComplete",
            Self::NotSupported => "NotSupported",
            Self::TlsConnectionRefused => "TLSConnectionRefused",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_enums_agree() {
        for code in 0..=u16::MAX {
            assert!(StatusCode::from_u16(code).is_none_or(|status| status as u16 == code));
        }
        for code in 0..=u8::MAX {
            assert!(QueryType::from_u8(code).is_none_or(|kind| kind as u8 == code));
        }
        assert_eq!((0..=255).filter_map(StatusCode::from_u16).count(), 16);
        assert_eq!((0..=255).filter_map(QueryType::from_u8).count(), 5);
    }
}

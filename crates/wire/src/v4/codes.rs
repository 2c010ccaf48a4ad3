//! The numbers of DHCPv4 leasequery, named as the registry names them.

/// Values of option 53.
pub mod message_type {
    /// Asks for one binding over UDP (RFC 4388 §6.1).
    pub const DHCPLEASEQUERY: u8 = 10;
    /// The address is managed here, but not leased (RFC 4388 §6.1).
    pub const DHCPLEASEUNASSIGNED: u8 = 11;
    /// The server knows nothing of it (RFC 4388 §6.1).
    pub const DHCPLEASEUNKNOWN: u8 = 12;
    /// The binding of a leased address (RFC 4388 §6.1).
    pub const DHCPLEASEACTIVE: u8 = 13;
    /// Asks for many bindings over TCP (RFC 6926 §6.2.1).
    pub const DHCPBULKLEASEQUERY: u8 = 14;
    /// Ends the answer to a bulk query (RFC 6926 §6.2.1).
    pub const DHCPLEASEQUERYDONE: u8 = 15;
    /// Asks to be told of changes from now on (RFC 7724 §5.2).
    pub const DHCPACTIVELEASEQUERY: u8 = 16;
    /// Tells a status amid an active query (RFC 7724 §5.2).
    pub const DHCPLEASEQUERYSTATUS: u8 = 17;
    /// Asks for TLS, and its answer (RFC 7724 §5.2).
    pub const DHCPTLS: u8 = 18;
}

/// Codes of the options that leasequery itself reads or writes.
pub mod option_code {
    /// One octet without a length, between options.
    pub const PAD: u8 = 0;
    /// Requested IP address.
    pub const REQUESTED_IP_ADDRESS: u8 = 50;
    /// Lease time left, seconds.
    pub const IP_ADDRESS_LEASE_TIME: u8 = 51;
    /// Which of the fields `file` and `sname` hold options too: 1, 2, or 3 for both (RFC 2132 §9.3).
    pub const OPTION_OVERLOAD: u8 = 52;
    /// Message type.
    pub const DHCP_MESSAGE_TYPE: u8 = 53;
    /// Server identifier: its address.
    pub const SERVER_IDENTIFIER: u8 = 54;
    /// Codes of the options that the requestor wants.
    pub const PARAMETER_REQUEST_LIST: u8 = 55;
    /// Time left to renewal (T1), seconds.
    pub const RENEWAL_TIME: u8 = 58;
    /// Time left to rebinding (T2), seconds.
    pub const REBINDING_TIME: u8 = 59;
    /// Vendor class identifier.
    pub const VENDOR_CLASS_IDENTIFIER: u8 = 60;
    /// Client identifier.
    pub const CLIENT_IDENTIFIER: u8 = 61;
    /// Relay agent information: sub-options (RFC 3046).
    pub const RELAY_AGENT_INFORMATION: u8 = 82;
    /// Seconds since the last transaction with the client (RFC 4388 §6.1).
    pub const CLIENT_LAST_TRANSACTION_TIME: u8 = 91;
    /// All addresses of the client, over UDP only (RFC 4388 §6.1).
    pub const ASSOCIATED_IP: u8 = 92;
    /// Status code and text (RFC 6926 §6.2.2).
    pub const STATUS_CODE: u8 = 151;
    /// Absolute time at which the message was made (RFC 6926 §6.2.3).
    pub const BASE_TIME: u8 = 152;
    /// Seconds before base-time since when the state lasts (RFC 6926 §6.2.4).
    pub const START_TIME_OF_STATE: u8 = 153;
    /// Absolute begin of a query's window (RFC 6926 §6.2.5).
    pub const QUERY_START_TIME: u8 = 154;
    /// Absolute end of a query's window (RFC 6926 §6.2.6).
    pub const QUERY_END_TIME: u8 = 155;
    /// State of the address (RFC 6926 §6.2.7).
    pub const DHCP_STATE: u8 = 156;
    /// Where the binding came from (RFC 6926 §6.2.8).
    pub const DATA_SOURCE: u8 = 157;
    /// VPN identifier (RFC 6607 §3.1).
    pub const VSS: u8 = 221;
    /// Ends the options.
    pub const END: u8 = 255;
}

/// Codes of sub-options of the relay agent information option.
pub mod suboption {
    /// Circuit the client is on (RFC 3046 §3.1).
    pub const CIRCUIT_ID: u8 = 1;
    /// The remote end of that circuit (RFC 3046 §3.2).
    pub const REMOTE_ID: u8 = 2;
    /// Link selection (RFC 3527).
    pub const LINK_SELECTION: u8 = 5;
    /// Identifier of the relay agent: a DUID (RFC 6925 §4).
    pub const RELAY_ID: u8 = 12;
    /// VPN identifier (RFC 6607 §3.2).
    pub const VSS: u8 = 151;
    /// Asks whether the server understood the VPN identifier (RFC 6607 §3.3).
    pub const VSS_CONTROL: u8 = 152;
}

/// Bit of option 157: the server has the binding from another one (RFC 6926 §6.2.8). Other bits have no meaning yet.
pub const DATA_SOURCE_REMOTE: u8 = 0x01;

/// Values of option 151 (RFC 6926 §6.2.2, RFC 7724 §5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum StatusCode {
    /// All is well; a status without meaning of its own.
    Success = 0,
    /// Failed for a reason without a code.
    UnspecFail = 1,
    /// The server ends the query before its answer is complete.
    QueryTerminated = 2,
    /// The query is not understood.
    MalformedQuery = 3,
    /// The requestor may not ask this.
    NotAllowed = 4,
    /// Bindings of the window asked for are no longer known in full.
    DataMissing = 5,
    /// Nothing happened: the connection lives.
    ConnectionActive = 6,
    /// The past has been told; from here on changes are told as they happen.
    CatchUpComplete = 7,
    /// The server does not do TLS.
    TlsConnectionRefused = 8,
}

impl StatusCode {
    /// The status with this number, if it has one.
    #[must_use]
    pub const fn from_u8(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Success,
            1 => Self::UnspecFail,
            2 => Self::QueryTerminated,
            3 => Self::MalformedQuery,
            4 => Self::NotAllowed,
            5 => Self::DataMissing,
            6 => Self::ConnectionActive,
            7 => Self::CatchUpComplete,
            8 => Self::TlsConnectionRefused,
            _ => return None,
        })
    }

    /// Its name in the registry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Success => "Success",
            Self::UnspecFail => "UnspecFail",
            Self::QueryTerminated => "QueryTerminated",
            Self::MalformedQuery => "MalformedQuery",
            Self::NotAllowed => "NotAllowed",
            Self::DataMissing => "DataMissing",
            Self::ConnectionActive => "ConnectionActive",
            Self::CatchUpComplete => "CatchUpComplete",
            Self::TlsConnectionRefused => "TLSConnectionRefused",
        }
    }
}

/// Values of option 156 (RFC 6926 §6.2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum DhcpState {
    /// Free to be leased.
    Available = 1,
    /// Leased.
    Active = 2,
    /// The lease ran out.
    Expired = 3,
    /// The client gave the address back.
    Released = 4,
    /// In use by someone unknown.
    Abandoned = 5,
    /// Freed by an operator.
    Reset = 6,
    /// Managed by another server.
    Remote = 7,
    /// Between two states.
    Transitioning = 8,
}

impl DhcpState {
    /// The state with this number, if it has one.
    #[must_use]
    pub const fn from_u8(state: u8) -> Option<Self> {
        Some(match state {
            1 => Self::Available,
            2 => Self::Active,
            3 => Self::Expired,
            4 => Self::Released,
            5 => Self::Abandoned,
            6 => Self::Reset,
            7 => Self::Remote,
            8 => Self::Transitioning,
            _ => return None,
        })
    }

    /// Its name in the registry, in lower case.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Available => "available",
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Released => "released",
            Self::Abandoned => "abandoned",
            Self::Reset => "reset",
            Self::Remote => "remote",
            Self::Transitioning => "transitioning",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_enums_agree() {
        for code in 0..=u8::MAX {
            assert!(StatusCode::from_u8(code).is_none_or(|status| status as u8 == code));
            assert!(DhcpState::from_u8(code).is_none_or(|state| state as u8 == code));
        }
        assert_eq!((0..=255).filter_map(StatusCode::from_u8).count(), 9);
        assert_eq!((0..=255).filter_map(DhcpState::from_u8).count(), 8);
    }
}

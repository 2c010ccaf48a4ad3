//! What a server did that the protocol does not allow.

use leaseq_wire::ParseError;
use thiserror::Error;

/// A breach of the protocol; nothing that follows on the connection can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{fault} (in the frame at octet {offset} of the stream)")]
pub struct ProtocolError {
    /// What it is.
    pub fault: ProtocolFault,
    /// Octets of the stream before the frame it is in.
    pub offset: u64,
}

/// Kinds of breaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ProtocolFault {
    /// A frame without a message.
    #[error("a frame of zero length")]
    ZeroLength,
    /// Octets that are not a message.
    #[error("not a message: {0}")]
    Message(ParseError),
    /// An option whose value cannot be read.
    #[error(transparent)]
    Value(ValueError),
    /// A DHCPv4 message that is not a BOOTREPLY.
    #[error("expected a reply (op 2), got op {0}")]
    NotAReply(u8),
    /// A message for no query of ours, or for one that has ended.
    #[error("transaction id {0:#x} belongs to no running query")]
    UnknownXid(u32),
    /// A message type that has no place in the answer; none at all: a DHCPv4 message without option 53.
    #[error("message type {} has no place here", match .0 { Some(kind) => kind.to_string(), None => "(none)".into() })]
    UnexpectedType(Option<u8>),
    /// The first reply to a query does not say which server it is from.
    #[error("the first reply has no server identifier")]
    NoServerIdentifier,
    /// DHCPv6: the first reply does not repeat our client identifier.
    #[error("the first reply does not carry the requestor's client identifier")]
    OtherClientIdentifier,
    /// DHCPv4: a binding without an address.
    #[error("a binding without an address")]
    NoAddress,
    /// DHCPv4: dhcp-state and message type contradict each other.
    #[error("message type {message_type} with dhcp-state {state}")]
    StateContradiction {
        /// DHCPLEASEACTIVE or DHCPLEASEUNASSIGNED.
        message_type: u8,
        /// Value of option 156.
        state: u8,
    },
    /// An option that must not be in an answer over TCP.
    #[error("option {0} must not be in an answer over TCP")]
    ForbiddenOption(u16),
    /// An active answer's message without base-time, or with one that is not four octets.
    #[error("a message of an active answer has no base-time")]
    NoBaseTime,
    /// CatchUpComplete although no past was being told.
    #[error("catch-up complete without catch-up")]
    NoCatchUp,
    /// A message after the one that ended the active query.
    #[error("a message after the end of the active query")]
    AfterEnd,
    /// DHCPv6: LEASEQUERY-DATA or LEASEQUERY-DONE before LEASEQUERY-REPLY.
    #[error("message type {0} before the first reply")]
    BeforeReply(u8),
    /// DHCPv6: a second LEASEQUERY-REPLY for a query.
    #[error("a second first reply")]
    SecondReply,
    /// The stream ended within a frame or before every query did.
    #[error(
        "the connection was closed with {queries} queries unanswered and {octets} octets of an unfinished frame"
    )]
    Closed {
        /// Queries without their end.
        queries: usize,
        /// Octets of a frame that is not whole.
        octets: usize,
    },
}

/// An option whose value has a form that it never has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("option {code}: {problem}")]
pub struct ValueError {
    /// The option's code.
    pub code: u16,
    /// What is wrong with its value.
    pub problem: ValueProblem,
}

/// What is wrong with a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ValueProblem {
    /// It has another length than it should.
    #[error("expected {expected} octets, got {got}")]
    Length {
        /// Octets it should have.
        expected: usize,
        /// Octets it has.
        got: usize,
    },
    /// A number that has no meaning here.
    #[error("unknown value {0}")]
    Unknown(u32),
    /// What is inside of it cannot be read.
    #[error("{0}")]
    Inside(ParseError),
}

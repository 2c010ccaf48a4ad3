//! Why octets are not a message.

use thiserror::Error;

/// What is wrong with the octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// Fewer octets than the fixed part takes.
    #[error("expected at least {expected} octets, got {got}")]
    TooShort {
        /// Octets the fixed part takes.
        expected: usize,
        /// Octets there are.
        got: usize,
    },
    /// A DHCPv4 message without the magic cookie 99.130.83.99.
    #[error("expected the magic cookie 63825363, got {0:08x}")]
    Cookie(u32),
    /// A DHCPv4 hardware address longer than the `chaddr` field.
    #[error("expected a hardware address length of 0 to 16, got {0}")]
    HardwareLength(u8),
    /// The message ends within an option's code and length.
    #[error("the header of an option is cut off")]
    OptionHeader,
    /// An option says that it is longer than what is left.
    #[error("option {code} of {length} octets overruns the {left} octets left")]
    Overrun {
        /// The option's (or sub-option's) code.
        code: u16,
        /// Octets of value that it claims.
        length: usize,
        /// Octets that follow its header.
        left: usize,
    },
    /// A value has a length that its kind never has.
    #[error("expected {expected} octets, got {got}")]
    Length {
        /// The length (or the least one) of this kind of value.
        expected: usize,
        /// Octets there are.
        got: usize,
    },
    /// A prefix longer than 128 bits.
    #[error("expected a prefix length of 0 to 128, got {0}")]
    PrefixLength(u8),
    /// A VSS type that is not 0, 1, 254 or 255.
    #[error("unknown VSS type {0}")]
    VssType(u8),
    /// VSS information of a global or wildcard type, or a name that holds a zero octet (RFC 6607 §3.5).
    #[error("VSS type {0} with information that it cannot have")]
    VssInformation(u8),
    /// DHCPv6: the message type belongs to a relayed message, or the other way round.
    #[error("message type {0} has another header")]
    MessageType(u8),
}

/// Octets that are not a message: what is wrong, where, and what could be read of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{fault} at octet {at}")]
pub struct ParseError {
    /// What is wrong.
    pub fault: Fault,
    /// Where, counted from the first octet given to the parser.
    pub at: usize,
    /// The transaction id, if the fixed header could be read: enough to answer with MalformedQuery.
    pub xid: Option<u32>,
    /// The message type: in DHCPv6 if the header could be read, in DHCPv4 if option 53 precedes the fault.
    pub message_type: Option<u8>,
}

impl ParseError {
    pub(crate) const fn new(fault: Fault, at: usize) -> Self {
        Self {
            fault,
            at,
            xid: None,
            message_type: None,
        }
    }
}

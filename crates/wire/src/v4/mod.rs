//! DHCPv4 leasequery: RFC 4388 and 6148 over UDP, RFC 6926 (bulk) and 7724 (active) over TCP.

mod codes;
mod message;
mod options;
pub mod relay_info;
mod status;
mod writer;

pub use codes::{DATA_SOURCE_REMOTE, DhcpState, StatusCode, message_type, option_code, suboption};
pub use message::{COOKIE, FIXED_LEN, HEADER_LEN, Message, op};
pub use options::{Fragment, Fragments, OptionBytes, OptionValue, Options};
pub use status::Status;
pub use writer::{Header, MessageWriter, encoded_option_len};

//! What a message on the way between a mirror and its server is about, as far as a test has to know.

use leaseq_wire::time::{Seconds2000, UnixSeconds};
use leaseq_wire::v4::{self, message_type as type4, option_code as code4};
use leaseq_wire::v6::{self, message_type as type6, option_code as code6};

/// What a mirror asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    Bulk,
    Active { from_beginning: bool },
}

/// What a server says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// An address, or a client's leases.
    Binding,
    /// CatchUpComplete.
    CaughtUp,
    /// DataMissing.
    Missing,
    /// The end of a bulk answer.
    Done,
    Other,
}

impl Request {
    pub fn read(message: &[u8]) -> Request {
        let beginning = UnixSeconds::from(Seconds2000(0)).0;
        let active = |since: Option<u32>| Request::Active {
            from_beginning: since == Some(beginning),
        };
        match is_v4(message) {
            true => {
                let message = v4::Message::parse(message).unwrap();
                let since = message.option(code4::QUERY_START_TIME);
                match message.message_type() {
                    Some(type4::DHCPACTIVELEASEQUERY) => {
                        active(since.and_then(|time| time.to_u32()))
                    }
                    _ => Request::Bulk,
                }
            }
            false => {
                let message = v6::Message::parse(message).unwrap();
                let since = message.option(code6::LQ_START_TIME).map(|time| {
                    UnixSeconds::from(Seconds2000(u32::from_be_bytes(time.try_into().unwrap()))).0
                });
                match message.msg_type() {
                    type6::ACTIVELEASEQUERY => active(since),
                    _ => Request::Bulk,
                }
            }
        }
    }
}

impl Said {
    pub fn read(message: &[u8]) -> Said {
        match is_v4(message) {
            true => Said::in_v4(&v4::Message::parse(message).unwrap()),
            false => Said::in_v6(&v6::Message::parse(message).unwrap()),
        }
    }

    fn in_v4(message: &v4::Message<'_>) -> Said {
        let status = message.option(code4::STATUS_CODE);
        let status = status.and_then(|status| status.bytes().next());
        match (message.message_type(), status) {
            (Some(type4::DHCPLEASEACTIVE | type4::DHCPLEASEUNASSIGNED), _) => Said::Binding,
            (Some(type4::DHCPLEASEQUERYDONE), _) => Said::Done,
            (_, Some(status)) if status == v4::StatusCode::CatchUpComplete as u8 => Said::CaughtUp,
            (_, Some(status)) if status == v4::StatusCode::DataMissing as u8 => Said::Missing,
            _ => Said::Other,
        }
    }

    fn in_v6(message: &v6::Message<'_>) -> Said {
        let status = message.option(code6::STATUS_CODE);
        let status = status.and_then(|status| status.get(..2)?.try_into().ok());
        let status = status.map(u16::from_be_bytes);
        match status {
            Some(status) if status == v6::StatusCode::CatchUpComplete as u16 => Said::CaughtUp,
            Some(status) if status == v6::StatusCode::DataMissing as u16 => Said::Missing,
            _ if message.option(code6::CLIENT_DATA).is_some() => Said::Binding,
            _ if message.msg_type() == type6::LEASEQUERY_DONE => Said::Done,
            _ => Said::Other,
        }
    }
}

/// The first octet of a DHCPv4 message is BOOTREQUEST or BOOTREPLY, which no message of DHCPv6 leasequery begins with.
fn is_v4(message: &[u8]) -> bool {
    matches!(message.first(), Some(1 | 2))
}

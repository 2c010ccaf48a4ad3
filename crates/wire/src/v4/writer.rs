//! Writes a DHCPv4 message, option by option.

use std::net::Ipv4Addr;

use super::message::{COOKIE, FIXED_LEN, HEADER_LEN, Message, op};
use super::option_code::{
    BASE_TIME, CLIENT_IDENTIFIER, DHCP_MESSAGE_TYPE, DHCP_STATE, END, PARAMETER_REQUEST_LIST,
    QUERY_END_TIME, QUERY_START_TIME, RELAY_AGENT_INFORMATION, SERVER_IDENTIFIER, STATUS_CODE, VSS,
};
use super::{DhcpState, StatusCode};
use crate::time::UnixSeconds;
use crate::vss::Vss;
use crate::{Full, OutBuf};

/// The fixed part of a message (RFC 2131 §2); `sname` and `file` are always zero in leasequery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// BOOTREQUEST or BOOTREPLY.
    pub op: u8,
    /// Hardware type.
    pub htype: u8,
    /// Octets of the hardware address, at most 16.
    pub hlen: u8,
    /// Relay agents on the way.
    pub hops: u8,
    /// Transaction id.
    pub xid: u32,
    /// Seconds since the client began.
    pub secs: u16,
    /// Flags.
    pub flags: u16,
    /// Client address.
    pub ciaddr: Ipv4Addr,
    /// The client's new address.
    pub yiaddr: Ipv4Addr,
    /// Next server.
    pub siaddr: Ipv4Addr,
    /// Relay agent address.
    pub giaddr: Ipv4Addr,
    /// Hardware address, padded with zeros.
    pub chaddr: [u8; 16],
}

impl Header {
    const EMPTY: Self = Self {
        op: op::BOOTREQUEST,
        htype: 0,
        hlen: 0,
        hops: 0,
        xid: 0,
        secs: 0,
        flags: 0,
        ciaddr: Ipv4Addr::UNSPECIFIED,
        yiaddr: Ipv4Addr::UNSPECIFIED,
        siaddr: Ipv4Addr::UNSPECIFIED,
        giaddr: Ipv4Addr::UNSPECIFIED,
        chaddr: [0; 16],
    };

    /// A requestor's message; everything but the xid is zero.
    #[must_use]
    pub const fn request(xid: u32) -> Self {
        Self { xid, ..Self::EMPTY }
    }

    /// A server's message; everything but the xid is zero.
    #[must_use]
    pub const fn reply(xid: u32) -> Self {
        Self {
            op: op::BOOTREPLY,
            xid,
            ..Self::EMPTY
        }
    }

    /// The fixed part of a received message.
    #[must_use]
    pub fn of(message: &Message<'_>) -> Self {
        Self {
            op: message.op(),
            htype: message.htype(),
            hlen: message.hlen(),
            hops: message.hops(),
            xid: message.xid(),
            secs: message.secs(),
            flags: message.flags(),
            ciaddr: message.ciaddr(),
            yiaddr: message.yiaddr(),
            siaddr: message.siaddr(),
            giaddr: message.giaddr(),
            chaddr: *message.chaddr_field(),
        }
    }

    /// The 240 octets that precede the options: fixed part and magic cookie. As a template it is copied and patched.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut octets = [0; HEADER_LEN];
        octets[..4].copy_from_slice(&[self.op, self.htype, self.hlen, self.hops]);
        octets[4..8].copy_from_slice(&self.xid.to_be_bytes());
        octets[8..10].copy_from_slice(&self.secs.to_be_bytes());
        octets[10..12].copy_from_slice(&self.flags.to_be_bytes());
        octets[12..16].copy_from_slice(&self.ciaddr.octets());
        octets[16..20].copy_from_slice(&self.yiaddr.octets());
        octets[20..24].copy_from_slice(&self.siaddr.octets());
        octets[24..28].copy_from_slice(&self.giaddr.octets());
        octets[28..44].copy_from_slice(&self.chaddr);
        octets[FIXED_LEN..].copy_from_slice(&COOKIE.to_be_bytes());
        octets
    }
}

/// Octets that an option with a value of this length takes on the wire, split as RFC 3396 says.
#[must_use]
pub const fn encoded_option_len(value: usize) -> usize {
    let fragments = if value == 0 { 1 } else { value.div_ceil(255) };
    value + 2 * fragments
}

/// A message being written.
///
/// Each call writes its option whole or not at all, and always leaves room for END: after [`Full`] the message can
/// still be [finished](Self::finish) without the option that did not fit, or taken back by truncating the buffer.
#[derive(Debug)]
pub struct MessageWriter<'o, 'b> {
    out: &'o mut OutBuf<'b>,
    at: usize,
}

impl<'o, 'b> MessageWriter<'o, 'b> {
    /// Begins a message: header, cookie, option 53.
    ///
    /// # Errors
    /// [`Full`] if they do not fit; nothing is written then.
    pub fn start(out: &'o mut OutBuf<'b>, header: &Header, message_type: u8) -> Result<Self, Full> {
        if out.remaining() < HEADER_LEN + 4 {
            return Err(Full);
        }
        let at = out.len();
        out.put_array(&header.encode())?;
        out.put_array(&[DHCP_MESSAGE_TYPE, 1, message_type])?;
        Ok(Self { out, at })
    }

    /// Appends an option; a value longer than 255 octets is split into several options of the code (RFC 3396 §5).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn option(&mut self, code: u8, value: &[u8]) -> Result<(), Full> {
        let mut octets = self.reserve(encoded_option_len(value.len()))?;
        let mut value = value;
        loop {
            let (fragment, later) = value.split_at(value.len().min(255));
            octets[0] = code;
            octets[1] = fragment.len() as u8;
            octets[2..2 + fragment.len()].copy_from_slice(fragment);
            octets = &mut octets[2 + fragment.len()..];
            value = later;
            if value.is_empty() {
                return Ok(());
            }
        }
    }

    /// Appends options that are encoded already: codes, lengths and values.
    ///
    /// # Errors
    /// [`Full`] if they do not fit.
    pub fn raw_options(&mut self, options: &[u8]) -> Result<(), Full> {
        self.reserve(options.len())?.copy_from_slice(options);
        Ok(())
    }

    /// Appends an option of one octet.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn option_u8(&mut self, code: u8, value: u8) -> Result<(), Full> {
        self.option(code, &[value])
    }

    /// Appends an option of 32 bits: all of leasequery's times.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn option_u32(&mut self, code: u8, value: u32) -> Result<(), Full> {
        self.option(code, &value.to_be_bytes())
    }

    /// Appends an option that is an address.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn option_address(&mut self, code: u8, address: Ipv4Addr) -> Result<(), Full> {
        self.option(code, &address.octets())
    }

    /// Appends the server identifier (54).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn server_identifier(&mut self, server: Ipv4Addr) -> Result<(), Full> {
        self.option_address(SERVER_IDENTIFIER, server)
    }

    /// Appends the client identifier (61).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn client_identifier(&mut self, client: &[u8]) -> Result<(), Full> {
        self.option(CLIENT_IDENTIFIER, client)
    }

    /// Appends the parameter request list (55).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn parameter_request_list(&mut self, codes: &[u8]) -> Result<(), Full> {
        self.option(PARAMETER_REQUEST_LIST, codes)
    }

    /// Appends a relay agent information option (82) with these sub-options, each at most 255 octets.
    ///
    /// # Errors
    /// [`Full`] if it does not fit, or if a sub-option is longer than its length can say.
    pub fn relay_agent_information(&mut self, suboptions: &[(u8, &[u8])]) -> Result<(), Full> {
        let total: usize = suboptions.iter().map(|(_, value)| 2 + value.len()).sum();
        if suboptions.iter().any(|(_, value)| value.len() > 255) {
            return Err(Full);
        }
        let octets = self.reserve(encoded_option_len(total))?;
        let values = suboptions.iter().flat_map(|(code, value)| {
            [*code, value.len() as u8]
                .into_iter()
                .chain(value.iter().copied())
        });
        let mut at = 0;
        let mut left = total;
        for (n, octet) in values.enumerate() {
            if n % 255 == 0 {
                octets[at] = RELAY_AGENT_INFORMATION;
                octets[at + 1] = left.min(255) as u8;
                left -= left.min(255);
                at += 2;
            }
            octets[at] = octet;
            at += 1;
        }
        if total == 0 {
            octets.copy_from_slice(&[RELAY_AGENT_INFORMATION, 0]);
        }
        Ok(())
    }

    /// Appends a status (151) with a text for people; no text is fine.
    ///
    /// # Errors
    /// [`Full`] if it does not fit, or if the text is longer than 254 octets.
    pub fn status(&mut self, code: StatusCode, text: &str) -> Result<(), Full> {
        if text.len() > 254 {
            return Err(Full);
        }
        let octets = self.reserve(3 + text.len())?;
        octets[..3].copy_from_slice(&[STATUS_CODE, 1 + text.len() as u8, code as u8]);
        octets[3..].copy_from_slice(text.as_bytes());
        Ok(())
    }

    /// Appends base-time (152).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn base_time(&mut self, time: UnixSeconds) -> Result<(), Full> {
        self.option_u32(BASE_TIME, time.0)
    }

    /// Appends query-start-time (154).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn query_start_time(&mut self, time: UnixSeconds) -> Result<(), Full> {
        self.option_u32(QUERY_START_TIME, time.0)
    }

    /// Appends query-end-time (155).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn query_end_time(&mut self, time: UnixSeconds) -> Result<(), Full> {
        self.option_u32(QUERY_END_TIME, time.0)
    }

    /// Appends dhcp-state (156).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn dhcp_state(&mut self, state: DhcpState) -> Result<(), Full> {
        self.option_u8(DHCP_STATE, state as u8)
    }

    /// Appends a VPN identifier (221).
    ///
    /// # Errors
    /// [`Full`] if it does not fit, or if the VPN's name is longer than 254 octets.
    pub fn vss(&mut self, vss: &Vss<'_>) -> Result<(), Full> {
        let Ok(length) = u8::try_from(vss.encoded_len()) else {
            return Err(Full);
        };
        let octets = self.reserve(2 + usize::from(length))?;
        octets[..3].copy_from_slice(&[VSS, length, vss.type_octet()]);
        octets[3..].copy_from_slice(vss.information());
        Ok(())
    }

    /// Writes END. Returns the octets of the message.
    pub fn finish(self) -> usize {
        // Every call before this one has left an octet for END.
        let ended = self.out.put_u8(END);
        debug_assert!(ended.is_ok(), "no room was left for the end of the message");
        self.out.len() - self.at
    }

    fn reserve(&mut self, octets: usize) -> Result<&mut [u8], Full> {
        if self.out.remaining() <= octets {
            return Err(Full);
        }
        self.out.reserve(octets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v4::message_type::{DHCPBULKLEASEQUERY, DHCPLEASEQUERYDONE};
    use crate::v4::relay_info::RelayInfo;
    use crate::v4::suboption::{RELAY_ID, REMOTE_ID};

    #[test]
    fn after_full_the_message_can_still_be_finished() {
        let mut octets = [0; HEADER_LEN + 3 + 3 + 1];
        let mut out = OutBuf::new(&mut octets);
        let mut writer =
            MessageWriter::start(&mut out, &Header::reply(7), DHCPLEASEQUERYDONE).unwrap();
        assert_eq!(writer.option_u32(BASE_TIME, 1), Err(Full));
        writer.status(StatusCode::NotAllowed, "").unwrap();
        assert_eq!(writer.option(99, &[]), Err(Full));
        assert_eq!(writer.finish(), HEADER_LEN + 7);
        let message = Message::parse(out.as_slice()).unwrap();
        assert_eq!(
            (message.op(), message.xid(), message.message_type()),
            (op::BOOTREPLY, 7, Some(15))
        );
        assert_eq!(message.option(STATUS_CODE).unwrap().to_u8(), Some(4));
        assert!(message.option(BASE_TIME).is_none());
        let mut octets = [0; HEADER_LEN + 3];
        assert!(
            MessageWriter::start(&mut OutBuf::new(&mut octets), &Header::reply(7), 15).is_err()
        );
    }

    #[test]
    fn long_options_are_split_and_read_back() {
        for len in [0, 1, 254, 255, 256, 510, 511, 1000] {
            let value: Vec<u8> = (0..len).map(|n| n as u8).collect();
            let mut octets = [0; 2048];
            let mut out = OutBuf::new(&mut octets);
            let mut writer =
                MessageWriter::start(&mut out, &Header::request(1), DHCPBULKLEASEQUERY).unwrap();
            writer.option(CLIENT_IDENTIFIER, &value).unwrap();
            writer.option_u8(DHCP_STATE, 2).unwrap();
            assert_eq!(
                writer.finish(),
                HEADER_LEN + 3 + encoded_option_len(len) + 3 + 1
            );
            let message = Message::parse(out.as_slice()).unwrap();
            let read = message.option(CLIENT_IDENTIFIER).unwrap();
            assert_eq!(read, &value[..]);
            assert_eq!(read.as_slice().is_some(), len <= 255);
            assert_eq!(
                message.options().map(|(code, _)| code).collect::<Vec<_>>(),
                [53, 61, 156]
            );
        }
    }

    #[test]
    fn long_relay_agent_information_is_split_as_one_value() {
        let (remote, relay) = ([1; 200], [2; 120]);
        let mut octets = [0; 1024];
        let mut out = OutBuf::new(&mut octets);
        let mut writer =
            MessageWriter::start(&mut out, &Header::request(1), DHCPBULKLEASEQUERY).unwrap();
        writer
            .relay_agent_information(&[(REMOTE_ID, &remote), (RELAY_ID, &relay)])
            .unwrap();
        assert_eq!(
            writer.relay_agent_information(&[(REMOTE_ID, &[0; 256])]),
            Err(Full)
        );
        writer.finish();
        let message = Message::parse(out.as_slice()).unwrap();
        assert_eq!(
            message
                .fragments()
                .filter(|f| f.code == RELAY_AGENT_INFORMATION)
                .count(),
            2
        );
        let mut buffer = [0; 512];
        let value = message.option(RELAY_AGENT_INFORMATION).unwrap();
        let info = RelayInfo::parse(value.copy_to(&mut buffer).unwrap()).unwrap();
        assert_eq!(info.find(REMOTE_ID), Some(&remote[..]));
        assert_eq!(info.find(RELAY_ID), Some(&relay[..]));
        assert!(value.copy_to(&mut [0; 300]).is_none());
    }
}

//! Writes a DHCPv6 message, option by option, options within options.

use std::net::Ipv6Addr;

use super::option_code::{
    CLIENTID, CLT_TIME, IAADDR, IAPREFIX, LQ_BASE_TIME, LQ_CLIENT_LINK, LQ_END_TIME, LQ_QUERY,
    LQ_RELAY_DATA, LQ_START_TIME, ORO, RELAY_ID, REMOTE_ID, SERVERID, STATUS_CODE, VSS,
};
use super::{QueryType, StatusCode};
use crate::time::Seconds2000;
use crate::vss::Vss;
use crate::{Full, OutBuf};

/// An option that has been begun and whose length is still to be written. Give it to
/// [`MessageWriter::end_option`] or [`MessageWriter::cancel_option`].
#[must_use = "an option that is not ended has no length"]
#[derive(Debug)]
pub struct OptionStart {
    at: usize,
}

/// A message being written.
///
/// Each call writes its option whole or not at all. Options are nested by [`begin_option`](Self::begin_option); the inner ones are
/// ended before the outer ones.
#[derive(Debug)]
pub struct MessageWriter<'o, 'b> {
    out: &'o mut OutBuf<'b>,
    at: usize,
}

impl<'o, 'b> MessageWriter<'o, 'b> {
    /// Begins a message: type and transaction id, of which the lower 24 bits count.
    ///
    /// # Errors
    /// [`Full`] if they do not fit.
    pub fn start(out: &'o mut OutBuf<'b>, msg_type: u8, xid: u32) -> Result<Self, Full> {
        let at = out.len();
        let [_, x0, x1, x2] = xid.to_be_bytes();
        out.put_array(&[msg_type, x0, x1, x2])?;
        Ok(Self { out, at })
    }

    /// Appends an option.
    ///
    /// # Errors
    /// [`Full`] if it does not fit, or if the value is longer than 65,535 octets.
    pub fn option(&mut self, code: u16, value: &[u8]) -> Result<(), Full> {
        self.value(code, value.len())?.copy_from_slice(value);
        Ok(())
    }

    /// Appends options that are encoded already: codes, lengths and values.
    ///
    /// # Errors
    /// [`Full`] if they do not fit.
    pub fn raw_options(&mut self, options: &[u8]) -> Result<(), Full> {
        self.out.put(options)
    }

    /// Begins an option that holds others; everything written until it is ended is its value.
    ///
    /// # Errors
    /// [`Full`] if not even code and length fit.
    pub fn begin_option(&mut self, code: u16) -> Result<OptionStart, Full> {
        let at = self.out.len();
        let [c0, c1] = code.to_be_bytes();
        self.out.put_array(&[c0, c1, 0, 0])?;
        Ok(OptionStart { at })
    }

    /// Ends an option: writes its length.
    ///
    /// # Errors
    /// [`Full`] if it is longer than 65,535 octets; it is then taken back as by [`cancel_option`](Self::cancel_option).
    pub fn end_option(&mut self, start: OptionStart) -> Result<(), Full> {
        match u16::try_from(self.out.len().saturating_sub(start.at + 4)) {
            Ok(length) => {
                self.out.patch_u16(start.at + 2, length);
                Ok(())
            }
            Err(_) => {
                self.cancel_option(start);
                Err(Full)
            }
        }
    }

    /// Takes an option back: the message is as it was before it was begun.
    pub fn cancel_option(&mut self, start: OptionStart) {
        self.out.truncate(start.at);
    }

    /// Begins LQ_QUERY (44); what follows until it is ended are its query-options. Link zero: any link.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn begin_lq_query(
        &mut self,
        query_type: QueryType,
        link: Ipv6Addr,
    ) -> Result<OptionStart, Full> {
        let start = self.begin_option(LQ_QUERY)?;
        let mut value = [0; 17];
        value[0] = query_type as u8;
        value[1..].copy_from_slice(&link.octets());
        if self.out.put_array(&value).is_err() {
            self.cancel_option(start);
            return Err(Full);
        }
        Ok(start)
    }

    /// Appends an option of 32 bits.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn option_u32(&mut self, code: u16, value: u32) -> Result<(), Full> {
        self.option(code, &value.to_be_bytes())
    }

    /// Appends CLIENTID (1): at top level the requestor's DUID, in CLIENT_DATA the client's.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn client_id(&mut self, duid: &[u8]) -> Result<(), Full> {
        self.option(CLIENTID, duid)
    }

    /// Appends SERVERID (2).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn server_id(&mut self, duid: &[u8]) -> Result<(), Full> {
        self.option(SERVERID, duid)
    }

    /// Appends IAADDR (5) with the lifetimes left, without options of its own.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn iaaddr(&mut self, address: Ipv6Addr, preferred: u32, valid: u32) -> Result<(), Full> {
        let value = self.value(IAADDR, 24)?;
        value[..16].copy_from_slice(&address.octets());
        value[16..20].copy_from_slice(&preferred.to_be_bytes());
        value[20..].copy_from_slice(&valid.to_be_bytes());
        Ok(())
    }

    /// Appends IAPREFIX (26) with the lifetimes left, without options of its own.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn iaprefix(
        &mut self,
        prefix: Ipv6Addr,
        prefix_len: u8,
        preferred: u32,
        valid: u32,
    ) -> Result<(), Full> {
        let value = self.value(IAPREFIX, 25)?;
        value[..4].copy_from_slice(&preferred.to_be_bytes());
        value[4..8].copy_from_slice(&valid.to_be_bytes());
        value[8] = prefix_len;
        value[9..].copy_from_slice(&prefix.octets());
        Ok(())
    }

    /// Appends ORO (6): the codes of the options that the requestor wants.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn oro(&mut self, codes: &[u16]) -> Result<(), Full> {
        let value = self.value(ORO, codes.len().saturating_mul(2))?;
        for (octets, code) in value.chunks_exact_mut(2).zip(codes) {
            octets.copy_from_slice(&code.to_be_bytes());
        }
        Ok(())
    }

    /// Appends STATUS_CODE (13) with a text for people; no text is fine.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn status(&mut self, code: StatusCode, text: &str) -> Result<(), Full> {
        let value = self.value(STATUS_CODE, text.len().saturating_add(2))?;
        value[..2].copy_from_slice(&(code as u16).to_be_bytes());
        value[2..].copy_from_slice(text.as_bytes());
        Ok(())
    }

    /// Appends REMOTE_ID (37).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn remote_id(&mut self, enterprise: u32, id: &[u8]) -> Result<(), Full> {
        let value = self.value(REMOTE_ID, id.len().saturating_add(4))?;
        value[..4].copy_from_slice(&enterprise.to_be_bytes());
        value[4..].copy_from_slice(id);
        Ok(())
    }

    /// Appends RELAY_ID (53).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn relay_id(&mut self, duid: &[u8]) -> Result<(), Full> {
        self.option(RELAY_ID, duid)
    }

    /// Appends CLT_TIME (46): seconds since the last transaction with the client.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn clt_time(&mut self, seconds_ago: u32) -> Result<(), Full> {
        self.option_u32(CLT_TIME, seconds_ago)
    }

    /// Appends LQ_RELAY_DATA (47): a peer and a relayed message without the client's own in it.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn relay_data(&mut self, peer: Ipv6Addr, message: &[u8]) -> Result<(), Full> {
        let value = self.value(LQ_RELAY_DATA, message.len().saturating_add(16))?;
        value[..16].copy_from_slice(&peer.octets());
        value[16..].copy_from_slice(message);
        Ok(())
    }

    /// Appends LQ_CLIENT_LINK (48): the links on which the client has bindings.
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn client_links(&mut self, links: &[Ipv6Addr]) -> Result<(), Full> {
        let value = self.value(LQ_CLIENT_LINK, links.len().saturating_mul(16))?;
        for (octets, link) in value.chunks_exact_mut(16).zip(links) {
            octets.copy_from_slice(&link.octets());
        }
        Ok(())
    }

    /// Appends LQ_BASE_TIME (100).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn base_time(&mut self, time: Seconds2000) -> Result<(), Full> {
        self.option_u32(LQ_BASE_TIME, time.0)
    }

    /// Appends LQ_START_TIME (101).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn start_time(&mut self, time: Seconds2000) -> Result<(), Full> {
        self.option_u32(LQ_START_TIME, time.0)
    }

    /// Appends LQ_END_TIME (102).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn end_time(&mut self, time: Seconds2000) -> Result<(), Full> {
        self.option_u32(LQ_END_TIME, time.0)
    }

    /// Appends a VPN identifier (68).
    ///
    /// # Errors
    /// [`Full`] if it does not fit.
    pub fn vss(&mut self, vss: &Vss<'_>) -> Result<(), Full> {
        let value = self.value(VSS, vss.encoded_len())?;
        value[0] = vss.type_octet();
        value[1..].copy_from_slice(vss.information());
        Ok(())
    }

    /// Ends the message. Returns its octets.
    pub fn finish(self) -> usize {
        self.out.len() - self.at
    }

    /// Writes code and length and returns the room for the value.
    fn value(&mut self, code: u16, length: usize) -> Result<&mut [u8], Full> {
        let octets = u16::try_from(length).map_err(|_| Full)?.to_be_bytes();
        let reserved = self.out.reserve(4 + length)?;
        reserved[..2].copy_from_slice(&code.to_be_bytes());
        reserved[2..4].copy_from_slice(&octets);
        Ok(&mut reserved[4..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::v6::message_type::{LEASEQUERY, LEASEQUERY_REPLY, RELAY_FORW};
    use crate::v6::option_code::CLIENT_DATA;
    use crate::v6::{ClientData, Lease, LqQuery, Message, RelayMessage, Status};

    #[test]
    fn a_query_is_read_back() {
        let link: Ipv6Addr = "2001:db8:7::1".parse().unwrap();
        let mut octets = [0; 256];
        let mut out = OutBuf::new(&mut octets);
        let mut writer = MessageWriter::start(&mut out, LEASEQUERY, 0x0012_3456).unwrap();
        writer.client_id(&[0, 3, 0, 1, 2]).unwrap();
        let query = writer.begin_lq_query(QueryType::ByRelayId, link).unwrap();
        writer.relay_id(&[0, 3, 9]).unwrap();
        writer.oro(&[47, 100]).unwrap();
        writer.end_option(query).unwrap();
        writer.start_time(Seconds2000(77)).unwrap();
        let length = writer.finish();
        assert_eq!(length, out.len());
        let message = Message::parse(out.as_slice()).unwrap();
        assert_eq!(
            (message.msg_type(), message.xid()),
            (LEASEQUERY, 0x0012_3456)
        );
        assert_eq!(message.options().find_u32(LQ_START_TIME), Some(77));
        let query = LqQuery::parse(message.option(LQ_QUERY).unwrap()).unwrap();
        assert_eq!(
            (query.known(), query.link_address),
            (Some(QueryType::ByRelayId), link)
        );
        assert_eq!(query.options.find(RELAY_ID), Some(&[0, 3, 9][..]));
        assert!(query.options.requests(100) && !query.options.requests(101));
    }

    #[test]
    fn client_data_is_read_back() {
        let address: Ipv6Addr = "2001:db8::5".parse().unwrap();
        let relayed = {
            let mut relayed = [0; 34];
            relayed[0] = RELAY_FORW;
            relayed
        };
        let mut octets = [0; 512];
        let mut out = OutBuf::new(&mut octets);
        let mut writer = MessageWriter::start(&mut out, LEASEQUERY_REPLY, 1).unwrap();
        writer.status(StatusCode::Success, "fine").unwrap();
        let client = writer.begin_option(CLIENT_DATA).unwrap();
        writer.client_id(&[9, 9]).unwrap();
        writer.iaaddr(address, 10, 20).unwrap();
        writer.iaprefix(address, 56, 30, crate::INFINITY).unwrap();
        writer.clt_time(5).unwrap();
        writer.relay_data(address, &relayed).unwrap();
        writer.end_option(client).unwrap();
        writer.finish();
        let message = Message::parse(out.as_slice()).unwrap();
        let status = Status::parse(message.option(STATUS_CODE).unwrap()).unwrap();
        assert_eq!(
            (status.known(), status.text),
            (Some(StatusCode::Success), &b"fine"[..])
        );
        let client = ClientData::parse(message.option(CLIENT_DATA).unwrap()).unwrap();
        assert_eq!(
            (client.client_id(), client.clt_time()),
            (Some(&[9, 9][..]), Some(5))
        );
        let leases: Vec<_> = client.leases().map(Result::unwrap).collect();
        assert!(matches!(leases[0], Lease::Address(lease) if lease.preferred == 10));
        assert_eq!(
            (leases[0].prefix(), leases[0].valid()),
            ((address, 128), 20)
        );
        assert_eq!(
            (leases[1].prefix(), leases[1].valid()),
            ((address, 56), crate::INFINITY)
        );
        let relay = client.relay_data().unwrap().unwrap();
        assert_eq!(relay.peer_address, address);
        let chain: Vec<_> = relay.relays().collect::<Result<_, _>>().unwrap();
        assert_eq!(chain, [RelayMessage::parse(&relayed).unwrap()]);
    }

    #[test]
    fn full_writes_nothing_of_an_option() {
        let mut octets = [0; 4 + 20];
        let mut out = OutBuf::new(&mut octets);
        let mut writer = MessageWriter::start(&mut out, LEASEQUERY, 1).unwrap();
        assert!(
            writer
                .begin_lq_query(QueryType::ByAddress, Ipv6Addr::UNSPECIFIED)
                .is_err()
        );
        assert_eq!(writer.iaaddr(Ipv6Addr::UNSPECIFIED, 1, 2), Err(Full));
        writer.option(99, &[1; 16]).unwrap();
        assert!(writer.begin_option(CLIENT_DATA).is_err());
        assert_eq!(writer.finish(), 24);
    }

    #[test]
    fn an_option_longer_than_its_length_can_say_is_taken_back() {
        let mut octets = vec![0; 70_000];
        let mut out = OutBuf::new(&mut octets);
        let mut writer = MessageWriter::start(&mut out, LEASEQUERY, 1).unwrap();
        assert_eq!(writer.option(1, &vec![0; 65_536]), Err(Full));
        let outer = writer.begin_option(CLIENT_DATA).unwrap();
        writer.option(1, &vec![0; 65_532]).unwrap();
        assert_eq!(writer.end_option(outer), Err(Full));
        assert_eq!(writer.finish(), 4);
    }
}

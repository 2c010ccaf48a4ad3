//! Queries as a requestor writes them.

use std::net::Ipv6Addr;

use super::{REQUESTOR, duid, ip, option, relay_id, remote_id};

/// A query to be written, open to every mistake that a test wants to make.
#[derive(Clone, Debug)]
pub struct Request {
    pub message_type: u8,
    pub xid: u32,
    pub client_id: Option<Vec<u8>>,
    pub server_id: Option<Vec<u8>>,
    pub query_type: u8,
    pub link: Ipv6Addr,
    /// Query-options, as on the wire.
    pub query_options: Vec<u8>,
    /// Codes in the ORO of the query option.
    pub oro: Vec<u16>,
    /// Codes in the ORO of the message.
    pub message_oro: Vec<u16>,
    /// Further options of the message, as on the wire.
    pub options: Vec<u8>,
    /// The query option is there.
    pub has_query: bool,
}

impl Request {
    pub fn new(query_type: u8, query_options: Vec<u8>) -> Self {
        Self {
            message_type: 14,
            xid: 0x0001_0203,
            client_id: Some(REQUESTOR.to_vec()),
            server_id: None,
            query_type,
            link: Ipv6Addr::UNSPECIFIED,
            query_options,
            oro: Vec::new(),
            message_oro: Vec::new(),
            options: Vec::new(),
            has_query: true,
        }
    }

    /// An active query for all updates.
    pub fn all_updates() -> Self {
        Self {
            has_query: false,
            ..Self::new(0, Vec::new()).active()
        }
    }

    /// The same as an active query.
    pub fn active(self) -> Self {
        Self {
            message_type: 22,
            ..self
        }
    }

    pub fn xid(self, xid: u32) -> Self {
        Self { xid, ..self }
    }

    pub fn on_link(self, link: &str) -> Self {
        Self {
            link: ip(link),
            ..self
        }
    }

    /// Asks for options in the query option's ORO.
    pub fn oro(self, codes: &[u16]) -> Self {
        Self {
            oro: codes.to_vec(),
            ..self
        }
    }

    /// Asks for options in the message's own ORO, as a query for all updates has to.
    pub fn asking(self, codes: &[u16]) -> Self {
        Self {
            message_oro: codes.to_vec(),
            ..self
        }
    }

    /// Adds an option to the message.
    pub fn with(mut self, code: u16, value: &[u8]) -> Self {
        self.options.extend(option(code, value));
        self
    }

    pub fn since(self, seconds_2000: u32) -> Self {
        self.with(101, &seconds_2000.to_be_bytes())
    }

    pub fn until(self, seconds_2000: u32) -> Self {
        self.with(102, &seconds_2000.to_be_bytes())
    }

    pub fn octets(&self) -> Vec<u8> {
        let [_, xid @ ..] = self.xid.to_be_bytes();
        let mut octets = vec![self.message_type];
        octets.extend(xid);
        if let Some(client_id) = &self.client_id {
            octets.extend(option(1, client_id));
        }
        if let Some(server_id) = &self.server_id {
            octets.extend(option(2, server_id));
        }
        if !self.message_oro.is_empty() {
            octets.extend(option(6, &codes(&self.message_oro)));
        }
        octets.extend(&self.options);
        if self.has_query {
            let mut query = vec![self.query_type];
            query.extend(self.link.octets());
            query.extend(&self.query_options);
            if !self.oro.is_empty() {
                query.extend(option(6, &codes(&self.oro)));
            }
            octets.extend(option(44, &query));
        }
        octets
    }
}

fn codes(codes: &[u16]) -> Vec<u8> {
    codes.iter().flat_map(|code| code.to_be_bytes()).collect()
}

pub fn by_address(address: &str) -> Request {
    let value = [&ip(address).octets()[..], &[0; 8]].concat();
    Request::new(1, option(5, &value))
}

pub fn by_client_id(client: u32) -> Request {
    Request::new(2, option(1, &duid(client)))
}

pub fn by_relay_id(n: u8) -> Request {
    Request::new(3, option(53, &relay_id(n)))
}

pub fn by_link(link: &str) -> Request {
    Request::new(4, Vec::new()).on_link(link)
}

pub fn by_remote_id(n: u32) -> Request {
    Request::new(5, option(37, &remote_id(n)))
}

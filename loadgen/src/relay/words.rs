//! Queries in words, for faults.

use std::fmt;

use leaseq_requestor::{Query, Query4, Query6, Selector4, Selector6};

use crate::fault::family_name;

/// A query in words: `bulk v4 by relay-id 0003... xid 0x1f`.
pub struct QueryWords<'a> {
    /// `bulk`, `active` or `udp`.
    pub kind: &'static str,
    /// The query.
    pub query: &'a Query,
    /// Its transaction id.
    pub xid: u32,
}

impl fmt::Display for QueryWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, query, xid } = self;
        write!(f, "{kind} {} ", family_name(query.family()))?;
        match query {
            Query::V4(query) => selector4(f, query)?,
            Query::V6(query) => selector6(f, query)?,
        }
        write!(f, " xid {xid:#x}")
    }
}

fn selector4(f: &mut fmt::Formatter<'_>, query: &Query4) -> fmt::Result {
    match &query.selector {
        Selector4::Ip(address) => write!(f, "by address {address}"),
        Selector4::HwAddr { htype, octets } => write!(f, "by hwaddr {htype}/{}", Hex(octets)),
        Selector4::ClientId(id) => write!(f, "by client-id {}", Hex(id)),
        Selector4::RemoteId(id) => write!(f, "by remote-id {}", Hex(id)),
        Selector4::RelayId(id) => write!(f, "by relay-id {}", Hex(id)),
        Selector4::All => f.write_str("all"),
    }
}

fn selector6(f: &mut fmt::Formatter<'_>, query: &Query6) -> fmt::Result {
    match &query.selector {
        Selector6::Address(address) => write!(f, "by address {address}"),
        Selector6::Duid(duid) => write!(f, "by client-id {}", Hex(duid)),
        Selector6::RelayId(id) => write!(f, "by relay-id {}", Hex(id)),
        Selector6::Link => write!(f, "by link {}", query.link),
        Selector6::RemoteId(id) => write!(f, "by remote-id {}", Hex(id)),
        Selector6::All => f.write_str("all"),
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_told_in_words() {
        let query = Query4::new(Selector4::RelayId(vec![0, 3, 0xab])).into();
        let words = QueryWords {
            kind: "bulk",
            query: &query,
            xid: 31,
        };
        assert_eq!(words.to_string(), "bulk v4 by relay-id 0003ab xid 0x1f");
        let query = Query6::new(Selector6::All, &[]).into();
        let words = QueryWords {
            kind: "active",
            query: &query,
            xid: 1,
        };
        assert_eq!(words.to_string(), "active v6 all xid 0x1");
    }
}

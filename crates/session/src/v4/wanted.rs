//! Which options a requestor wants: its parameter request list, less what is not for requestors.

use leaseq_wire::v4::OptionValue;
use leaseq_wire::v4::option_code::{
    BASE_TIME, CLIENT_IDENTIFIER, CLIENT_LAST_TRANSACTION_TIME, IP_ADDRESS_LEASE_TIME,
    REBINDING_TIME, RELAY_AGENT_INFORMATION, RENEWAL_TIME,
};

use crate::settings::OptionSet;

/// Sent in answer to a bulk or active query without a parameter request list.
const BULK_DEFAULT: [u8; 5] = [
    IP_ADDRESS_LEASE_TIME,
    CLIENT_IDENTIFIER,
    RELAY_AGENT_INFORMATION,
    CLIENT_LAST_TRANSACTION_TIME,
    BASE_TIME,
];

/// Sent in answer to a UDP query without one: what a client is told of its lease (RFC 4388 §6.2, RFC 2131 §4.3.1), and
/// who and where it is.
const UDP_DEFAULT: [u8; 6] = [
    IP_ADDRESS_LEASE_TIME,
    RENEWAL_TIME,
    REBINDING_TIME,
    CLIENT_IDENTIFIER,
    RELAY_AGENT_INFORMATION,
    CLIENT_LAST_TRANSACTION_TIME,
];

/// Options of a client that are worth returning: the "non-sensitive options" of RFC 4388 §6.4.2. Left out are those that
/// steer one exchange (50, 52 to 57), authentication (90), and all that this server makes itself.
const NON_SENSITIVE: OptionSet = {
    let mut set = OptionSet::EMPTY;
    let mut code = 1;
    while code < 255 {
        if !matches!(code, 50..=59 | 61 | 82 | 90..=92 | 151..=157 | 221) {
            set.insert(code);
        }
        code += 1;
    }
    set
};

/// The options to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted(OptionSet);

impl Wanted {
    /// For a bulk query with this parameter request list.
    pub(super) fn for_bulk(list: Option<OptionValue<'_>>, withheld: &OptionSet) -> Wanted {
        Wanted::new(list, &BULK_DEFAULT, withheld)
    }

    /// For a UDP query with this parameter request list.
    pub(super) fn for_udp(list: Option<OptionValue<'_>>, withheld: &OptionSet) -> Wanted {
        Wanted::new(list, &UDP_DEFAULT, withheld)
    }

    /// For an active query with this parameter request list. Base-time is in each message of its stream, asked for or not: a
    /// requestor that loses the stream resumes from the last one (RFC 7724 §7.3).
    pub(super) fn for_active(list: Option<OptionValue<'_>>, withheld: &OptionSet) -> Wanted {
        let Wanted(mut wanted) = Wanted::for_bulk(list, withheld);
        wanted.insert(BASE_TIME);
        Wanted(wanted)
    }

    fn new(list: Option<OptionValue<'_>>, default: &[u8], withheld: &OptionSet) -> Wanted {
        let listed = match list {
            Some(list) => list.bytes().collect(),
            None => default.iter().copied().collect::<OptionSet>(),
        };
        Wanted(listed.difference(withheld))
    }

    /// Whether an option that the server makes itself is wanted.
    pub(super) fn has(&self, code: u8) -> bool {
        self.0.contains(code)
    }

    /// The codes that are wanted, in order.
    pub(super) fn codes(&self) -> Vec<u8> {
        (0..=255).filter(|code| self.has(*code)).collect()
    }

    /// The client's options that are wanted and may be told.
    pub(super) fn others(&self) -> OptionSet {
        self.0.intersection(&NON_SENSITIVE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_means_the_default_less_what_is_withheld() {
        let wanted = Wanted::for_bulk(None, &OptionSet::EMPTY);
        assert!(BULK_DEFAULT.iter().all(|code| wanted.has(*code)));
        assert!(!wanted.has(RENEWAL_TIME) && wanted.others().is_empty());
        let withheld: OptionSet = [RELAY_AGENT_INFORMATION].into_iter().collect();
        let wanted = Wanted::for_udp(None, &withheld);
        assert!(wanted.has(RENEWAL_TIME) && !wanted.has(RELAY_AGENT_INFORMATION));
    }

    #[test]
    fn what_steers_an_exchange_or_authenticates_is_never_told() {
        let every = Wanted((0..=255).collect());
        let others = every.others();
        for code in [
            0, 50, 51, 52, 53, 54, 55, 57, 58, 59, 61, 82, 90, 91, 92, 151, 152, 157, 221, 255,
        ] {
            assert!(!others.contains(code), "option {code}");
        }
        for code in [1, 12, 15, 43, 60, 77, 81, 124, 125, 150, 220, 222, 254] {
            assert!(others.contains(code), "option {code}");
        }
    }
}

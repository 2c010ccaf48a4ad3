//! How a change is recognised on the wire: an option of the client tells its number and time.
//!
//! In DHCPv4 it is the host name (option 12), in DHCPv6 the name in the client FQDN option (39, RFC 4704 §4). A DHCPv6 client is
//! told as a whole, with the options of one of its leases; which change each of its leases has seen shows in the difference
//! between its two lifetimes, see [`preferred`].

use std::fmt::Write as _;

use leaseq_wire::INFINITY;

/// Code of the DHCPv4 option that tells a change.
pub const HOST_NAME: u8 = 12;
/// Code of the DHCPv6 option that tells a change.
pub const CLIENT_FQDN: u16 = 39;

/// Begins every mark.
const PREFIX: &[u8; 2] = b"lg";
/// Octets of a mark: the prefix, number and time in eight hex digits each.
const LEN: usize = 18;

/// One change of a binding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number among those of its family, from 1 on; below 2^32.
    pub number: u64,
    /// It ends the lease.
    pub is_release: bool,
    /// When it happened, in Unix seconds: the client's last transaction.
    pub at: u32,
}

/// What a message tells of the change that made a binding what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The change's number.
    pub number: u64,
    /// When it happened, in Unix seconds.
    pub at: u32,
}

impl Change {
    /// Appends the value of the option of the client in hex, as NDJSON has it: for DHCPv4 the name, for DHCPv6 flags and one
    /// label.
    pub fn write_hex(&self, is_fqdn: bool, out: &mut String) {
        if is_fqdn {
            let _ = write!(out, "00{LEN:02x}");
        }
        let mut name = String::with_capacity(LEN);
        let _ = write!(name, "lg{:08x}{:08x}", self.number as u32, self.at);
        for octet in name.bytes() {
            let _ = write!(out, "{octet:02x}");
        }
    }
}

impl Mark {
    /// Reads the value of option 12; `None`: another name.
    #[must_use]
    pub fn of_host_name(value: &[u8]) -> Option<Self> {
        let value: &[u8; LEN] = value.try_into().ok()?;
        let (prefix, digits) = value.split_first_chunk::<2>()?;
        if prefix != PREFIX {
            return None;
        }
        let (number, at) = digits.split_at(8);
        Some(Self {
            number: hex(number)?.into(),
            at: hex(at)?,
        })
    }

    /// Reads the value of option 39; `None`: another name.
    #[must_use]
    pub fn of_fqdn(value: &[u8]) -> Option<Self> {
        match value {
            [_, length, label @ ..] if usize::from(*length) == LEN => Self::of_host_name(label),
            _ => None,
        }
    }
}

fn hex(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number: u32, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u32::from(digit))
    })
}

/// The difference between valid and preferred lifetime of a DHCPv6 lease that a change made what it is. It survives the
/// counting down of both, and changes of one lease that lie near each other differ in it. 0, if the lifetime is too short or infinite: then
/// nothing tells them apart.
#[must_use]
pub fn lifetime_gap(number: u64, valid: u32) -> u32 {
    if valid == INFINITY {
        return 0;
    }
    // Primes: a multiple of a round number of bindings does not come round to the same gap.
    let most = [65_521, 4_093, 251, 13]
        .into_iter()
        .find(|most| most * 2 <= valid);
    most.map_or(0, |most| 1 + (number % u64::from(most)) as u32)
}

/// The preferred lifetime of a DHCPv6 lease that a change made what it is: [`lifetime_gap`] less than the valid one.
#[must_use]
pub fn preferred(number: u64, valid: u32) -> u32 {
    valid - lifetime_gap(number, valid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        let digits = hex.as_bytes().chunks(2);
        let octet = |digits: &[u8]| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16);
        digits.map(|digits| octet(digits).unwrap()).collect()
    }

    #[test]
    fn a_mark_is_read_back_and_nothing_else_is_one() {
        let change = Change {
            number: 0xfe_dcba,
            is_release: false,
            at: 1_790_000_123,
        };
        let (mut name, mut fqdn) = (String::new(), String::new());
        change.write_hex(false, &mut name);
        change.write_hex(true, &mut fqdn);
        let (name, fqdn) = (octets(&name), octets(&fqdn));
        let mark = Mark {
            number: 0xfe_dcba,
            at: 1_790_000_123,
        };
        assert_eq!(Mark::of_host_name(&name), Some(mark));
        assert_eq!(Mark::of_fqdn(&fqdn), Some(mark));
        assert_eq!(name, b"lg00fedcba6ab13bfb");
        for other in [
            &b"lg00fedcba6ab13bf"[..],
            b"",
            b"xg00fedcba6ab13bfb",
            b"lg00FEDCBA6ab13bfb",
        ] {
            assert_eq!(Mark::of_host_name(other), None);
        }
        assert_eq!(Mark::of_fqdn(&name), None);
        assert_eq!(Mark::of_fqdn(&[0]), None);
    }

    #[test]
    fn the_gap_between_lifetimes_tells_neighbouring_changes_apart() {
        for valid in [30, 3_600, 86_400, 604_800, u32::MAX - 1] {
            for number in 1..1_000 {
                assert_ne!(lifetime_gap(number, valid), 0);
                assert_ne!(lifetime_gap(number, valid), lifetime_gap(number + 1, valid));
                assert_ne!(
                    lifetime_gap(number, valid),
                    lifetime_gap(number + 1_000, valid)
                );
                assert!(preferred(number, valid) >= valid / 2 - 1);
            }
        }
        assert_eq!(preferred(7, 5), 5);
        assert_eq!(preferred(7, INFINITY), INFINITY);
    }
}

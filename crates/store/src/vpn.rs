//! VPNs: the key space of an address. A VPN is the "VSS information" of options 221 and 68: a type octet and a value.

use smallvec::SmallVec;
use std::fmt;

/// VSS type 255: the global VPN, written without further octets.
const VSS_TYPE_GLOBAL: u8 = 255;

/// A VPN by its VSS information (RFC 6607 §3); no octets: the global VPN.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Vpn(SmallVec<[u8; 16]>);

impl Vpn {
    /// The global VPN, which most stores hold alone.
    pub const GLOBAL: Vpn = Vpn(SmallVec::new_const());

    /// A VPN from VSS information: type octet and value. Type 255 and no octets at all mean the global VPN.
    pub fn from_vss(info: &[u8]) -> Vpn {
        match info {
            [] | [VSS_TYPE_GLOBAL, ..] => Vpn::GLOBAL,
            _ => Vpn(SmallVec::from_slice(info)),
        }
    }

    /// A VPN named by text (VSS type 0); the empty name is the global VPN.
    pub fn named(name: &str) -> Vpn {
        if name.is_empty() {
            return Vpn::GLOBAL;
        }
        let mut octets = SmallVec::with_capacity(name.len() + 1);
        octets.push(0);
        octets.extend_from_slice(name.as_bytes());
        Vpn(octets)
    }

    /// VSS information as on the wire; empty for the global VPN.
    pub fn vss(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the global VPN.
    pub fn is_global(&self) -> bool {
        self.0.is_empty()
    }

    /// This VPN, borrowed.
    pub fn as_ref(&self) -> VpnRef<'_> {
        VpnRef(&self.0)
    }
}

impl fmt::Debug for Vpn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// A VPN as a record holds it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VpnRef<'a>(pub(crate) &'a [u8]);

impl<'a> VpnRef<'a> {
    /// VSS information as on the wire; empty for the global VPN.
    pub fn vss(self) -> &'a [u8] {
        self.0
    }

    /// Whether this is the global VPN.
    pub fn is_global(self) -> bool {
        self.0.is_empty()
    }

    /// An owned copy.
    pub fn to_vpn(self) -> Vpn {
        Vpn::from_vss(self.0)
    }
}

impl fmt::Debug for VpnRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("global");
        }
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl PartialEq<Vpn> for VpnRef<'_> {
    fn eq(&self, other: &Vpn) -> bool {
        self.0 == other.vss()
    }
}

/// Which VPNs a query asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VpnSelect {
    /// One VPN.
    One(Vpn),
    /// All of them (VSS type 254, RFC 6926 §6.2.8).
    All,
}

impl VpnSelect {
    /// Whether a binding of this VPN is asked for.
    pub fn admits(&self, vpn: VpnRef<'_>) -> bool {
        match self {
            VpnSelect::One(one) => vpn == *one,
            VpnSelect::All => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_global_vpn_has_one_form() {
        assert_eq!(Vpn::from_vss(&[255]), Vpn::GLOBAL);
        assert_eq!(Vpn::from_vss(&[]), Vpn::GLOBAL);
        assert_eq!(Vpn::named(""), Vpn::GLOBAL);
        assert_eq!(Vpn::named("red").vss(), b"\0red");
        assert!(VpnSelect::All.admits(Vpn::named("red").as_ref()));
        assert!(!VpnSelect::One(Vpn::GLOBAL).admits(Vpn::named("red").as_ref()));
    }
}

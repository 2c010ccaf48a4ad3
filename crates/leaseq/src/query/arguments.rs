//! The arguments of `leaseq query`, and the question they make.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use clap::{Args, ValueEnum};
use leaseq_requestor::client::{Client, random_duid};
use leaseq_requestor::{Query, Query4, Query6, Selector4, Selector6, Vpn};
use leaseq_wire::time::UnixSeconds;

use super::octets::{self, Octets};
use super::secure::Secure;
use super::server::{self, Family};
use super::time::Time;
use crate::exit::Usage;

/// Arguments of `leaseq query`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The server: address or name, with a port if it is not the usual one
    #[arg(value_name = "SERVER")]
    server: String,
    /// Which DHCP
    #[arg(value_enum)]
    family: Family,
    #[command(flatten)]
    selector: Selector,
    /// Only what changed since then: RFC 3339, seconds of Unix time, or -15m
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    since: Option<Time>,
    /// Only what changed until then
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    until: Option<Time>,
    /// Another VPN than the global one: a name, oui:index in hexadecimal, or "all"
    #[arg(long, value_name = "V", value_parser = Vpn::parse)]
    vpn: Option<Vpn>,
    /// Codes of the options to ask for, separated by commas [default: all that leasequery can tell]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    options: Option<Vec<u16>>,
    /// Ask over UDP; a v4 query by --ip is always asked so
    #[arg(long)]
    udp: bool,
    #[command(flatten)]
    secure: Secure,
    /// How leases are printed
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// How long to wait for an answer over TCP
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// v4 over UDP: the relay agent address, where the server sends its answer [default: this machine's address]
    #[arg(long, value_name = "A")]
    giaddr: Option<Ipv4Addr>,
    /// Over UDP: the local address to ask from; a v4 server that answers to giaddr needs port 67
    #[arg(long, value_name = "A:PORT")]
    bind: Option<SocketAddr>,
    /// v6: the DUID to ask as [default: made up at random]
    #[arg(long, value_name = "HEX", value_parser = octets::parse)]
    requestor_duid: Option<Octets>,
    /// With --hwaddr: the hardware type; 1 is Ethernet
    #[arg(long, value_name = "N", requires = "hwaddr", default_value_t = 1)]
    htype: u8,
}

/// What the query is about: one of these; in v6 --link may narrow any of the others.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Selector {
    /// The lease of an address
    #[arg(long, value_name = "A", group = "key")]
    ip: Option<IpAddr>,
    /// v6: the client that a prefix is delegated to
    #[arg(long, value_name = "P", group = "key", value_parser = prefix)]
    prefix: Option<Ipv6Addr>,
    /// v4: leases of a hardware address
    #[arg(long, value_name = "MAC", group = "key", value_parser = octets::parse)]
    hwaddr: Option<Octets>,
    /// v4: leases of a client identifier
    #[arg(long, value_name = "HEX", group = "key", value_parser = octets::parse)]
    client_id: Option<Octets>,
    /// v6: leases of a DUID
    #[arg(long, value_name = "HEX", group = "key", value_parser = octets::parse)]
    duid: Option<Octets>,
    /// Leases behind a remote-id; in v6 its first 4 octets are the enterprise number
    #[arg(long, value_name = "HEX", group = "key", value_parser = octets::parse)]
    remote_id: Option<Octets>,
    /// Leases behind a relay agent
    #[arg(long, value_name = "HEX", group = "key", value_parser = octets::parse)]
    relay_id: Option<Octets>,
    /// v4: all configured addresses
    #[arg(long, group = "key")]
    all: bool,
    /// v6: leases on a link
    #[arg(long, value_name = "A")]
    link: Option<Ipv6Addr>,
}

/// How leases are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Columns for people
    Table,
    /// One JSON object a line, as `import` reads
    Ndjson,
    /// Each message as it came, in hexadecimal, a line each
    Hex,
}

/// A question ready to be asked.
pub struct Question {
    pub server: SocketAddr,
    pub query: Query,
    pub client: Client,
    pub udp: bool,
    pub format: Format,
}

impl Arguments {
    /// What is to be asked, if it is `now`.
    pub fn question(&self, now: UnixSeconds) -> anyhow::Result<Question> {
        let query = match self.family {
            Family::V4 => Query::V4(self.query4(now)?),
            Family::V6 => Query::V6(self.query6(now)?),
        };
        // DHCPv4 has no query by address over TCP.
        let udp = self.udp
            || matches!(&query, Query::V4(query) if matches!(query.selector, Selector4::Ip(_)));
        check(&query, udp)?;
        if !udp && (self.giaddr.is_some() || self.bind.is_some()) {
            return Err(Usage("--giaddr and --bind have a meaning over UDP only".into()).into());
        }
        if udp && self.secure.tls {
            return Err(Usage("--tls has a meaning over TCP only".into()).into());
        }
        let client = Client {
            read_timeout: self.timeout.max(Duration::from_millis(1)),
            bind: self.bind,
            tls: self.secure.client(&self.server)?,
            ..Client::default()
        };
        Ok(Question {
            server: server::resolve(&self.server, self.family)?,
            query,
            client,
            udp,
            format: self.format,
        })
    }

    fn query4(&self, now: UnixSeconds) -> Result<Query4, Usage> {
        let key = &self.selector;
        let v6_only = [
            ("--prefix", key.prefix.is_some()),
            ("--duid", key.duid.is_some()),
            ("--link", key.link.is_some()),
        ];
        refuse(&v6_only, "v4")?;
        let selector = if let Some(address) = key.ip {
            let IpAddr::V4(address) = address else {
                return Err(Usage("--ip: expected an IPv4 address".into()));
            };
            Selector4::Ip(address)
        } else if let Some(Octets(octets)) = key.hwaddr.clone() {
            Selector4::HwAddr {
                htype: self.htype,
                octets,
            }
        } else if let Some(Octets(id)) = key.client_id.clone() {
            Selector4::ClientId(id)
        } else if let Some(Octets(id)) = key.remote_id.clone() {
            Selector4::RemoteId(id)
        } else if let Some(Octets(id)) = key.relay_id.clone() {
            Selector4::RelayId(id)
        } else {
            Selector4::All
        };
        let mut query = Query4::new(selector);
        if let Some(codes) = &self.options {
            let codes = codes.iter().map(|code| u8::try_from(*code));
            query.options = codes
                .collect::<Result<_, _>>()
                .map_err(|_| Usage("--options: v4 has codes up to 255".into()))?;
        }
        query.since = self.since.map(|time| time.at(now));
        query.until = self.until.map(|time| time.at(now));
        query.vpn = self.vpn.clone();
        query.giaddr = self.giaddr.unwrap_or(query.giaddr);
        Ok(query)
    }

    fn query6(&self, now: UnixSeconds) -> Result<Query6, Usage> {
        let key = &self.selector;
        let v4_only = [
            ("--hwaddr", key.hwaddr.is_some()),
            ("--client-id", key.client_id.is_some()),
            ("--all", key.all),
            ("--giaddr", self.giaddr.is_some()),
        ];
        refuse(&v4_only, "v6")?;
        let selector = if let Some(address) = key.ip {
            let IpAddr::V6(address) = address else {
                return Err(Usage("--ip: expected an IPv6 address".into()));
            };
            Selector6::Address(address)
        } else if let Some(prefix) = key.prefix {
            Selector6::Address(prefix)
        } else if let Some(Octets(duid)) = key.duid.clone() {
            Selector6::Duid(duid)
        } else if let Some(Octets(id)) = key.remote_id.clone() {
            Selector6::RemoteId(id)
        } else if let Some(Octets(duid)) = key.relay_id.clone() {
            Selector6::RelayId(duid)
        } else {
            Selector6::Link
        };
        let requestor = self
            .requestor_duid
            .clone()
            .map_or_else(random_duid, |duid| duid.0);
        let mut query = Query6::new(selector, &requestor);
        query.link = key.link.unwrap_or(Ipv6Addr::UNSPECIFIED);
        query.options = self.options.clone().unwrap_or(query.options);
        query.since = self.since.map(|time| time.at(now).into());
        query.until = self.until.map(|time| time.at(now).into());
        query.vpn = self.vpn.clone();
        Ok(query)
    }
}

/// What cannot be asked is bad usage; it is found before a name is looked up or a socket opened.
fn check(query: &Query, udp: bool) -> Result<(), Usage> {
    let asked = match query {
        // Over UDP the client fills in the giaddr.
        Query::V4(query) if udp && query.giaddr.is_unspecified() => Query4 {
            giaddr: Ipv4Addr::LOCALHOST,
            ..query.clone()
        }
        .udp_request(0),
        query if udp => query.udp_request(0),
        query => query.bulk_request(0),
    };
    asked.map(|_| ()).map_err(|error| Usage(error.to_string()))
}

/// Says of options that were given which one does not belong to a family.
pub fn refuse(options: &[(&str, bool)], family: &str) -> Result<(), Usage> {
    match options.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(Usage(format!("{name} has no meaning in {family}"))),
        None => Ok(()),
    }
}

/// A prefix, of which the address counts: the length may be left out.
pub fn prefix(text: &str) -> Result<Ipv6Addr, String> {
    let (address, len) = text.split_once('/').unwrap_or((text, "128"));
    let valid = len.parse::<u8>().is_ok_and(|len| len <= 128);
    address
        .parse()
        .ok()
        .filter(|_| valid)
        .ok_or_else(|| "expected an IPv6 prefix such as 2001:db8::/56".into())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        arguments: Arguments,
    }

    const NOW: UnixSeconds = UnixSeconds(1_790_000_000);

    fn question(line: &str) -> anyhow::Result<Question> {
        let words = std::iter::once("query").chain(line.split(' '));
        Command::try_parse_from(words)?.arguments.question(NOW)
    }

    fn query4(line: &str) -> Query4 {
        match question(line).unwrap().query {
            Query::V4(query) => query,
            Query::V6(_) => panic!("not a v4 query"),
        }
    }

    fn query6(line: &str) -> Query6 {
        match question(line).unwrap().query {
            Query::V6(query) => query,
            Query::V4(_) => panic!("not a v6 query"),
        }
    }

    #[test]
    fn v4_selectors_are_understood() {
        let selector = |rest: &str| query4(&format!("192.0.2.1 v4 {rest}")).selector;
        assert_eq!(selector("--all"), Selector4::All);
        assert_eq!(
            selector("--ip 198.51.100.7"),
            Selector4::Ip(Ipv4Addr::new(198, 51, 100, 7))
        );
        assert_eq!(
            selector("--hwaddr 02:00:5e:00:00:01"),
            Selector4::HwAddr {
                htype: 1,
                octets: vec![2, 0, 0x5e, 0, 0, 1]
            }
        );
        assert_eq!(
            selector("--hwaddr 01 --htype 6"),
            Selector4::HwAddr {
                htype: 6,
                octets: vec![1]
            }
        );
        assert_eq!(
            selector("--client-id 0x0102"),
            Selector4::ClientId(vec![1, 2])
        );
        assert_eq!(
            selector("--remote-id text:rmt"),
            Selector4::RemoteId(b"rmt".to_vec())
        );
        assert_eq!(selector("--relay-id 0003"), Selector4::RelayId(vec![0, 3]));
    }

    #[test]
    fn v6_selectors_are_understood() {
        let query = |rest: &str| query6(&format!("::1 v6 {rest}"));
        let address = "2001:db8::".parse().unwrap();
        assert_eq!(
            query("--ip 2001:db8::").selector,
            Selector6::Address(address)
        );
        assert_eq!(
            query("--prefix 2001:db8::/56").selector,
            Selector6::Address(address)
        );
        assert_eq!(
            query("--duid 0003 --udp").selector,
            Selector6::Duid(vec![0, 3])
        );
        let link = query("--link 2001:db8::");
        assert_eq!((link.selector, link.link), (Selector6::Link, address));
        let narrowed = query("--relay-id 09 --link 2001:db8:: --requestor-duid 0001");
        assert_eq!(
            (narrowed.selector, narrowed.link),
            (Selector6::RelayId(vec![9]), address)
        );
        assert_eq!(narrowed.requestor, [0, 1]);
        assert_eq!(
            query("--remote-id 00000de961").selector,
            Selector6::RemoteId(vec![0, 0, 0x0d, 0xe9, b'a'])
        );
    }

    #[test]
    fn qualifiers_are_understood() {
        let query =
            query4("192.0.2.1 v4 --all --since -15m --until 1789999990 --vpn blue --options 51,91");
        assert_eq!(
            (query.since, query.until),
            (
                Some(UnixSeconds(NOW.0 - 900)),
                Some(UnixSeconds(1_789_999_990))
            )
        );
        assert_eq!(
            (query.vpn, query.options),
            (Some(Vpn::parse("blue").unwrap()), vec![51, 91])
        );
        let query = query6("::1 v6 --duid 01 --since 946684805");
        assert_eq!(query.since, Some(leaseq_wire::time::Seconds2000(5)));
    }

    #[test]
    fn servers_have_the_usual_port_unless_told() {
        let server = |text: &str| question(text).unwrap().server.to_string();
        assert_eq!(server("192.0.2.1 v4 --all"), "192.0.2.1:67");
        assert_eq!(server("192.0.2.1:6767 v4 --all"), "192.0.2.1:6767");
        assert_eq!(server("2001:db8::1 v6 --duid 01"), "[2001:db8::1]:547");
        assert_eq!(server("[2001:db8::1] v6 --duid 01"), "[2001:db8::1]:547");
        assert_eq!(server("[::1]:5547 v6 --duid 01"), "[::1]:5547");
        assert_eq!(server("[::1]:6767 v4 --all"), "[::1]:6767");
    }

    #[test]
    fn bad_usage_says_why() {
        let why = |line: &str| question(line).err().expect("it is refused").to_string();
        assert_eq!(why("h v4 --duid 01"), "--duid has no meaning in v4");
        assert_eq!(why("h v6 --all"), "--all has no meaning in v6");
        assert!(question("127.0.0.1 v4 --ip 192.0.2.1").unwrap().udp);
        assert_eq!(why("h v4 --all --udp"), "this query exists over TCP only");
        assert_eq!(
            why("h v4 --all --bind 127.0.0.1:0"),
            "--giaddr and --bind have a meaning over UDP only"
        );
        assert_eq!(why("h v4 --ip ::1 --udp"), "--ip: expected an IPv4 address");
        assert_eq!(
            why("h v4 --all --options 300"),
            "--options: v4 has codes up to 255"
        );
        assert_eq!(why("h:x v4 --all"), "h:x: expected a port after the colon");
        assert!(why("h v4").contains("--all"));
        assert!(why("h v4 --all --client-id 01").contains("cannot be used with"));
        assert!(why("h v4 --all --since yesterday").contains("RFC 3339"));
        assert!(why("h v6 --prefix 2001:db8::/129").contains("expected an IPv6 prefix"));
    }
}

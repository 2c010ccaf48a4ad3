//! The arguments of `leaseq watch`, and what they ask to be followed.

use std::io::IsTerminal;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use leaseq_requestor::client::random_duid;
use leaseq_requestor::follow::FollowSettings;
use leaseq_requestor::{Query, Query4, Query6, Selector4, Selector6, Vpn};
use leaseq_wire::time::UnixSeconds;

use crate::exit::Usage;
use crate::query::arguments::{Format, prefix, refuse};
use crate::query::octets::{self, Octets};
use crate::query::secure::Secure;
use crate::query::server::{self, Family};
use crate::query::time::Time;

/// Arguments of `leaseq watch`.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The server: address or name, with a port if it is not the usual one
    #[arg(value_name = "SERVER")]
    server: String,
    /// Which DHCP
    #[arg(value_enum)]
    family: Family,
    #[command(flatten)]
    filter: Filter,
    /// First what changed since then: RFC 3339, seconds of Unix time, or -15m [default: only what changes from now on]
    #[arg(long, value_name = "T", allow_hyphen_values = true)]
    since: Option<Time>,
    /// Another VPN than all: a name, or oui:index in hexadecimal
    #[arg(long, value_name = "V", value_parser = Vpn::parse)]
    vpn: Option<Vpn>,
    /// Codes of the options to ask for, separated by commas [default: all that leasequery can tell]
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    options: Option<Vec<u16>>,
    #[command(flatten)]
    secure: Secure,
    /// The least time from one attempt to the next; the RFCs ask for no less than 60s
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    retry: Duration,
    /// The longest pause after repeated failures
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    max_retry: Duration,
    /// Remember in this file up to where changes were told, and go on from there; --since counts if it is not there
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// End once everything that changed since --since or the state's time has been told; fail if the server cannot
    #[arg(long)]
    until_caught_up: bool,
    /// How changes are printed; ndjson has base_time and ended beside what `import` reads [default: table on a terminal, else
    /// ndjson]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// v6: the DUID to ask as [default: made up at random]
    #[arg(long, value_name = "HEX", value_parser = octets::parse)]
    requestor_duid: Option<Octets>,
}

/// What the changes are about: everything, or one of these; in v6 --link may narrow any of the others.
#[derive(Debug, Args)]
#[group(multiple = true)]
struct Filter {
    /// v6: the client that has an address
    #[arg(long, value_name = "A", group = "filter_key")]
    ip: Option<Ipv6Addr>,
    /// v6: the client that a prefix is delegated to
    #[arg(long, value_name = "P", group = "filter_key", value_parser = prefix)]
    prefix: Option<Ipv6Addr>,
    /// v6: leases of a DUID
    #[arg(long, value_name = "HEX", group = "filter_key", value_parser = octets::parse)]
    duid: Option<Octets>,
    /// Leases behind a remote-id; in v6 its first 4 octets are the enterprise number. A v4 server must allow it
    #[arg(long, value_name = "HEX", group = "filter_key", value_parser = octets::parse)]
    remote_id: Option<Octets>,
    /// Leases behind a relay agent. A v4 server must allow it
    #[arg(long, value_name = "HEX", group = "filter_key", value_parser = octets::parse)]
    relay_id: Option<Octets>,
    /// v6: leases on a link
    #[arg(long, value_name = "A")]
    link: Option<Ipv6Addr>,
}

/// What is to be followed, and how it is shown.
pub struct Watch {
    pub server: SocketAddr,
    pub query: Query,
    pub since: Option<UnixSeconds>,
    pub settings: FollowSettings,
    pub format: Format,
    pub state: Option<PathBuf>,
    pub until_caught_up: bool,
}

impl Arguments {
    /// What is to be followed, if it is `now`.
    pub fn watch(&self, now: UnixSeconds) -> anyhow::Result<Watch> {
        let query = match self.family {
            Family::V4 => Query::V4(self.query4()?),
            Family::V6 => Query::V6(self.query6()),
        };
        query
            .active_request(0, None)
            .map_err(|error| Usage(error.to_string()))?;
        if self.until_caught_up && self.since.is_none() && self.state.is_none() {
            let problem = "--until-caught-up: expected --since or --state, for without them there is no past to be told";
            return Err(Usage(problem.into()).into());
        }
        let is_terminal = std::io::stdout().is_terminal();
        let settings = FollowSettings {
            retry_interval: self.retry,
            max_backoff: self.max_retry,
            tls: self.secure.client(&self.server)?,
            ..FollowSettings::default()
        };
        Ok(Watch {
            server: server::resolve(&self.server, self.family)?,
            query,
            since: self.since.map(|time| time.at(now)),
            settings,
            format: self.format.unwrap_or(match is_terminal {
                true => Format::Table,
                false => Format::Ndjson,
            }),
            state: self.state.clone(),
            until_caught_up: self.until_caught_up,
        })
    }

    fn query4(&self) -> Result<Query4, Usage> {
        let filter = &self.filter;
        let v6_only = [
            ("--ip", filter.ip.is_some()),
            ("--prefix", filter.prefix.is_some()),
            ("--duid", filter.duid.is_some()),
            ("--link", filter.link.is_some()),
            ("--requestor-duid", self.requestor_duid.is_some()),
        ];
        refuse(&v6_only, "v4")?;
        let mut query = Query4::new(match (&filter.remote_id, &filter.relay_id) {
            (Some(Octets(id)), _) => Selector4::RemoteId(id.clone()),
            (None, Some(Octets(id))) => Selector4::RelayId(id.clone()),
            (None, None) => Selector4::All,
        });
        if let Some(codes) = &self.options {
            let codes = codes.iter().map(|code| u8::try_from(*code));
            query.options = codes
                .collect::<Result<_, _>>()
                .map_err(|_| Usage("--options: v4 has codes up to 255".into()))?;
        }
        query.vpn = self.vpn.clone();
        Ok(query)
    }

    fn query6(&self) -> Query6 {
        let filter = &self.filter;
        let selector = if let Some(address) = filter.ip.or(filter.prefix) {
            Selector6::Address(address)
        } else if let Some(Octets(duid)) = filter.duid.clone() {
            Selector6::Duid(duid)
        } else if let Some(Octets(id)) = filter.remote_id.clone() {
            Selector6::RemoteId(id)
        } else if let Some(Octets(duid)) = filter.relay_id.clone() {
            Selector6::RelayId(duid)
        } else if filter.link.is_some() {
            Selector6::Link
        } else {
            Selector6::All
        };
        let requestor = self
            .requestor_duid
            .clone()
            .map_or_else(random_duid, |duid| duid.0);
        let mut query = Query6::new(selector, &requestor);
        query.link = filter.link.unwrap_or(Ipv6Addr::UNSPECIFIED);
        query.options = self.options.clone().unwrap_or(query.options);
        query.vpn = self.vpn.clone();
        query
    }
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

    fn watch(line: &str) -> anyhow::Result<Watch> {
        let words = std::iter::once("watch").chain(line.split(' '));
        Command::try_parse_from(words)?.arguments.watch(NOW)
    }

    fn selector4(line: &str) -> Selector4 {
        match watch(line).unwrap().query {
            Query::V4(query) => query.selector,
            Query::V6(_) => panic!("not a v4 query"),
        }
    }

    fn query6(line: &str) -> Query6 {
        match watch(line).unwrap().query {
            Query::V6(query) => query,
            Query::V4(_) => panic!("not a v6 query"),
        }
    }

    #[test]
    fn filters_are_understood() {
        assert_eq!(selector4("192.0.2.1 v4"), Selector4::All);
        let relay = selector4("192.0.2.1 v4 --relay-id 0x0003");
        assert_eq!(relay, Selector4::RelayId(vec![0, 3]));
        let remote = selector4("192.0.2.1 v4 --remote-id text:a");
        assert_eq!(remote, Selector4::RemoteId(b"a".to_vec()));
        let address = "2001:db8::".parse().unwrap();
        for (filter, expected) in [
            ("", Selector6::All),
            (" --ip 2001:db8::", Selector6::Address(address)),
            (" --prefix 2001:db8::/56", Selector6::Address(address)),
            (" --duid 0003", Selector6::Duid(vec![0, 3])),
            (" --relay-id 09", Selector6::RelayId(vec![9])),
            (
                " --remote-id 0000000961",
                Selector6::RemoteId(vec![0, 0, 0, 9, b'a']),
            ),
            (" --link 2001:db8::", Selector6::Link),
        ] {
            assert_eq!(query6(&format!("::1 v6{filter}")).selector, expected);
        }
        let narrowed = query6("::1 v6 --relay-id 09 --link 2001:db8::");
        assert_eq!(
            (narrowed.selector, narrowed.link),
            (Selector6::RelayId(vec![9]), address)
        );
    }

    #[test]
    fn times_and_formats_are_understood() {
        let found = watch("192.0.2.1:6767 v4 --since -15m --retry 5s --format hex").unwrap();
        assert_eq!(found.since, Some(UnixSeconds(NOW.0 - 900)));
        assert_eq!(found.settings.retry_interval, Duration::from_secs(5));
        assert_eq!(
            (found.server.to_string().as_str(), found.format),
            ("192.0.2.1:6767", Format::Hex)
        );
        let defaults = watch("192.0.2.1 v4").unwrap();
        assert_eq!((defaults.since, defaults.format), (None, Format::Ndjson));
        assert_eq!(defaults.settings.retry_interval, Duration::from_secs(60));
    }

    #[test]
    fn what_makes_no_sense_is_bad_usage() {
        for (line, told) in [
            ("192.0.2.1 v4 --duid 01", "--duid has no meaning in v4"),
            (
                "192.0.2.1 v4 --until-caught-up",
                "--until-caught-up: expected --since",
            ),
            (
                "192.0.2.1 v4 --options 256",
                "--options: v4 has codes up to 255",
            ),
        ] {
            let error = watch(line).err().unwrap();
            assert!(
                error.is::<Usage>() && error.to_string().starts_with(told),
                "{error}"
            );
        }
        for line in [
            "192.0.2.1 v4 --relay-id 01 --remote-id 01",
            "192.0.2.1 v4 --tls",
            "192.0.2.1 v4 --tls-name a",
        ] {
            assert!(watch(line).err().unwrap().is::<clap::Error>(), "{line}");
        }
    }
}

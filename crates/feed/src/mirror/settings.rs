//! What a mirror is told to do.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use leaseq_requestor::tls::{TlsClient, TlsConfigError};
use leaseq_wire::parameters::{DHCPV4_SERVER_PORT, DHCPV6_SERVER_PORT};

/// Which DHCP is mirrored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// DHCPv4.
    V4,
    /// DHCPv6.
    V6,
}

impl Family {
    /// 4 or 6.
    pub fn number(self) -> u8 {
        match self {
            Family::V4 => 4,
            Family::V6 => 6,
        }
    }

    fn port(self) -> u16 {
        match self {
            Family::V4 => DHCPV4_SERVER_PORT,
            Family::V6 => DHCPV6_SERVER_PORT,
        }
    }
}

/// Who we are to the server, and whom we trust: names of PEM files, read at each attempt to follow the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificates of the authorities that the server's comes from.
    pub ca: PathBuf,
    /// Our certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Name in the server's certificate.
    pub server_name: String,
}

/// What a feed of kind `leasequery` is told to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Its name.
    pub name: String,
    /// Which DHCP.
    pub family: Family,
    /// Address or name of the server, with a port if it is not the family's.
    pub server: String,
    /// Secure mode.
    pub tls: Option<TlsFiles>,
    /// How often a server without active leasequery is asked in bulk.
    pub interval: Duration,
    /// The least time from one attempt to follow the server to the next.
    pub retry: Duration,
    /// DHCPv6: link-addresses that are asked for where everything cannot be.
    pub links: Vec<Ipv6Addr>,
    /// Relay agents (relay-id; in DHCPv6 a DUID) that are asked for where everything cannot be; in DHCPv4, if any, in place
    /// of all configured addresses.
    pub relay_ids: Vec<Vec<u8>>,
}

/// Why a server cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error("cannot find the server {server}: {source}")]
    Server { server: String, source: io::Error },
    #[error("the server {0} has no address")]
    NoAddress(String),
    #[error("{}: cannot be read: {source}", .file.display())]
    File { file: PathBuf, source: io::Error },
    #[error(transparent)]
    Tls(#[from] TlsConfigError),
}

impl Settings {
    /// The address of the server.
    pub(super) fn address(&self) -> Result<SocketAddr, SetupError> {
        let text = &self.server;
        let bare = without_brackets(text);
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(SocketAddr::new(address, self.family.port()));
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => match port.parse() {
                Ok(port) => (name, port),
                Err(_) => return Err(SetupError::NoAddress(text.clone())),
            },
            None => (text.as_str(), self.family.port()),
        };
        let found = (name, port).to_socket_addrs();
        let mut found = found.map_err(|source| SetupError::Server {
            server: text.clone(),
            source,
        })?;
        found
            .next()
            .ok_or_else(|| SetupError::NoAddress(text.clone()))
    }

    /// Secure mode, if it is wanted.
    pub(super) fn tls_client(&self) -> Result<Option<TlsClient>, SetupError> {
        let Some(files) = &self.tls else {
            return Ok(None);
        };
        let client = TlsClient::new(
            &read(&files.ca)?,
            &read(&files.certificate)?,
            &read(&files.key)?,
            &files.server_name,
        )?;
        Ok(Some(client))
    }

    /// The name or address of the server in [`Settings::server`] without the port: what its certificate is expected to say.
    pub fn host(server: &str) -> &str {
        let bare = without_brackets(server);
        if bare.parse::<IpAddr>().is_ok() {
            return bare;
        }
        server
            .rsplit_once(':')
            .map_or(server, |(host, _)| without_brackets(host))
    }
}

fn read(file: &Path) -> Result<Vec<u8>, SetupError> {
    fs::read(file).map_err(|source| SetupError::File {
        file: file.to_owned(),
        source,
    })
}

fn without_brackets(text: &str) -> &str {
    text.strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(family: Family, server: &str) -> Settings {
        Settings {
            name: "mirror".into(),
            family,
            server: server.into(),
            tls: None,
            interval: Duration::from_secs(900),
            retry: Duration::from_secs(60),
            links: Vec::new(),
            relay_ids: Vec::new(),
        }
    }

    #[test]
    fn a_server_is_found_with_or_without_its_port() {
        for (family, server, expected) in [
            (Family::V4, "192.0.2.1", "192.0.2.1:67"),
            (Family::V4, "192.0.2.1:6767", "192.0.2.1:6767"),
            (Family::V6, "2001:db8::1", "[2001:db8::1]:547"),
            (Family::V6, "[2001:db8::1]", "[2001:db8::1]:547"),
            (Family::V6, "[2001:db8::1]:5547", "[2001:db8::1]:5547"),
        ] {
            let found = settings(family, server).address().unwrap();
            assert_eq!(found, expected.parse().unwrap());
        }
        let error = settings(Family::V4, "dhcp.example.net:x").address();
        assert!(matches!(error, Err(SetupError::NoAddress(_))));
    }

    #[test]
    fn a_certificate_is_expected_to_name_the_host() {
        for (server, host) in [
            ("192.0.2.1:67", "192.0.2.1"),
            ("[2001:db8::1]:547", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("dhcp.example.net", "dhcp.example.net"),
            ("dhcp.example.net:67", "dhcp.example.net"),
        ] {
            assert_eq!(Settings::host(server), host);
        }
    }

    #[test]
    fn a_file_that_is_missing_is_named() {
        let files = TlsFiles {
            ca: "/nowhere/ca.pem".into(),
            certificate: "/nowhere/cert.pem".into(),
            key: "/nowhere/key.pem".into(),
            server_name: "dhcp.example.net".into(),
        };
        let settings = Settings {
            tls: Some(files),
            ..settings(Family::V4, "192.0.2.1")
        };
        let error = settings.tls_client().unwrap_err().to_string();
        assert!(
            error.starts_with("/nowhere/ca.pem: cannot be read: "),
            "{error}"
        );
    }
}

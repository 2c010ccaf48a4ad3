//! What a mirror is told to do.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
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
    /// A bulk answer that stops for this long is given up (BULK_LQ_DATA_TIMEOUT).
    pub data_timeout: Duration,
    /// A stream that is silent for this long is given up (ACTIVE_LQ_RCV_TIMEOUT).
    pub receive_timeout: Duration,
    /// DHCPv6: link-addresses that are asked for where everything cannot be.
    pub links: Vec<Ipv6Addr>,
    /// Relay agents (relay-id; in DHCPv6 a DUID) that are asked for where everything cannot be; in DHCPv4, if any, in place
    /// of all configured addresses.
    pub relay_ids: Vec<Vec<u8>>,
}

/// A text that names no server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected an address or a name of a host, with a port or without, found {0:?}")]
pub struct ServerError(String);

/// Why a server cannot be asked at all.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error(transparent)]
    Text(#[from] ServerError),
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
        let (host, port) = split(text)?;
        let port = port.unwrap_or(self.family.port());
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(SocketAddr::new(address, port));
        }
        let found = (host, port).to_socket_addrs();
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
    ///
    /// # Errors
    /// The text can be no server's.
    pub fn host(server: &str) -> Result<&str, ServerError> {
        split(server).map(|(host, _)| host)
    }
}

/// Name or address, and port if one is given, of `HOST`, `HOST:PORT`, `ADDRESS`, `ADDRESS:PORT`, `[ADDRESS]` or `[ADDRESS]:PORT`.
fn split(text: &str) -> Result<(&str, Option<u16>), ServerError> {
    let error = || ServerError(text.to_owned());
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok((text, None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let port = match port.map(str::parse) {
        None => None,
        Some(Ok(port)) if port > 0 => Some(port),
        Some(_) => return Err(error()),
    };
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    match bracketed {
        Some(address) if address.parse::<Ipv6Addr>().is_ok() => Ok((address, port)),
        None if is_host(host) => Ok((host, port)),
        _ => Err(error()),
    }
}

/// Whether it is an IPv4 address, or can be a host's name (RFC 1123 §2.1; some have underscores).
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        let is_part = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
        (1..=63).contains(&label.len()) && !label.starts_with('-') && label.bytes().all(is_part)
    };
    // What ends with a number can be nothing but an address.
    let last = text.rsplit('.').next().unwrap_or_default();
    match last.bytes().all(|octet| octet.is_ascii_digit()) {
        true => text.parse::<Ipv4Addr>().is_ok(),
        false => text.len() <= 253 && text.split('.').all(is_label),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, SetupError> {
    fs::read(file).map_err(|source| SetupError::File {
        file: file.to_owned(),
        source,
    })
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
            data_timeout: Duration::from_secs(300),
            receive_timeout: Duration::from_secs(120),
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
        let found = settings(Family::V4, "localhost:6767").address().unwrap();
        assert!(found.ip().is_loopback() && found.port() == 6767, "{found}");
    }

    #[test]
    fn what_can_be_no_server_is_told() {
        for text in [
            "",
            ":67",
            "192.0.2.1:",
            "192.0.2.1:0",
            "192.0.2.1:70000",
            "192.0.2.256",
            "192.0.2",
            "dhcp.example.net:x",
            "dhcp..example.net",
            "-dhcp.example.net",
            "dhcp example",
            "[2001:db8::1",
            "[192.0.2.1]:67",
            "[2001:db8::1]67",
            "2001:db8::1::",
            "http://192.0.2.1/",
        ] {
            let error = Settings::host(text).unwrap_err();
            assert_eq!(error, ServerError(text.to_owned()), "{text}");
            let error = settings(Family::V4, text).address().unwrap_err();
            assert!(matches!(error, SetupError::Text(_)), "{text}: {error}");
        }
    }

    #[test]
    fn a_certificate_is_expected_to_name_the_host() {
        for (server, host) in [
            ("192.0.2.1:67", "192.0.2.1"),
            ("[2001:db8::1]:547", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("dhcp.example.net", "dhcp.example.net"),
            ("dhcp.example.net:67", "dhcp.example.net"),
        ] {
            assert_eq!(Settings::host(server), Ok(host));
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

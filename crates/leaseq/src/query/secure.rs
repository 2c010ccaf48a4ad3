//! Secure mode on the command line: who we are to a server, and whom we trust.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use leaseq_requestor::tls::TlsClient;

use super::server;
use crate::exit::Usage;

/// Arguments of secure mode.
#[derive(Debug, Args)]
pub struct Secure {
    /// Ask on TLS (secure mode), with a certificate of our own
    #[arg(long, requires_all = ["tls_ca", "tls_cert", "tls_key"])]
    pub tls: bool,
    /// With --tls: PEM file of the authorities that the server's certificate must come from
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_ca: Option<PathBuf>,
    /// With --tls: PEM file of our certificate
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_cert: Option<PathBuf>,
    /// With --tls: PEM file of our certificate's key
    #[arg(long, value_name = "FILE", requires = "tls")]
    tls_key: Option<PathBuf>,
    /// With --tls: the name that the server's certificate must have [default: the server as given]
    #[arg(long, value_name = "NAME", requires = "tls")]
    tls_name: Option<String>,
}

impl Secure {
    /// What the connections to this server need, in secure mode.
    pub fn client(&self, server: &str) -> anyhow::Result<Option<TlsClient>> {
        let (true, Some(ca), Some(cert), Some(key)) =
            (self.tls, &self.tls_ca, &self.tls_cert, &self.tls_key)
        else {
            return Ok(None);
        };
        let name = self.tls_name.as_deref().unwrap_or(server::host(server));
        let client = TlsClient::new(&read(ca)?, &read(cert)?, &read(key)?, name);
        Ok(Some(client.map_err(|error| Usage(error.to_string()))?))
    }
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))
}

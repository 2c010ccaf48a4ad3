//! A directory with a configuration of leaseq, passwords and certificates.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use crate::common::{Server, text};

/// What a test has on the disk.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Place {
        Place {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).unwrap();
    }

    /// An address that nobody listens on: a feed that a reload starts anew has to be where it was.
    pub fn free_address() -> String {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    }

    /// Writes the configuration, with one feed of kind `kea-ha` that has these keys.
    pub fn configure(&self, feed: &str) {
        let config = format!(
            r#"
[store]
dir = "{}/store"
[engine]
cores = [0]
[dhcp4]
listen-tcp = ["127.0.0.1:0"]
server-identifier = "127.0.0.1"
[dhcp6]
listen-tcp = ["[::1]:0"]
server-duid = "00:03:00:01:02:00:5e:00:53:01"
[[requestor]]
network = "127.0.0.0/8"
[[requestor]]
network = "::1"
[admin]
listen = "127.0.0.1:0"
[[feed]]
kind = "kea-ha"
{feed}
"#,
            self.path().display()
        );
        self.write("leaseq.toml", &config);
    }

    /// Starts leaseq.
    pub fn serve(&self) -> Server {
        Server::start_with(&[
            "serve",
            "--active-insecure",
            "--log-format",
            "json",
            "--config",
            text(&self.file("leaseq.toml")),
        ])
    }
}

/// An authority, whose certificate is `ca.pem`.
pub struct Authority(Issuer<'static, KeyPair>);

impl Authority {
    pub fn new(place: &Place, name: &str) -> Authority {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        place.write("ca.pem", &certificate.pem());
        Authority(Issuer::new(params, key))
    }

    /// Writes NAME.pem and NAME.key: a certificate for this name, and for 127.0.0.1.
    pub fn sign(&self, place: &Place, name: &str) {
        let names = vec![format!("{name}.example.net"), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        place.write(&format!("{name}.pem"), &certificate.pem());
        place.write(&format!("{name}.key"), &key.serialize_pem());
    }
}

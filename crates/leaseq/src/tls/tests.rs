//! Files that can be used, and what is told of those that cannot.

use std::fs;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tempfile::TempDir;

use super::dates::End;
use super::*;

/// A directory with the files of a server; each can be made another one.
struct Place {
    dir: TempDir,
}

fn params(name: &str, until: i32) -> CertificateParams {
    let mut params = CertificateParams::new(vec![]).expect("no names");
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    params
}

fn authority(name: &str, until: i32) -> (String, Issuer<'static, KeyPair>) {
    let mut params = params(name, until);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    (certificate.pem(), Issuer::new(params, key))
}

/// A time at which everything that ends in 2030 or later is valid: 2026-01-01.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_767_225_600)
}

impl Place {
    fn new() -> Place {
        let place = Place {
            dir: tempfile::tempdir().expect("a directory"),
        };
        let (ca, issuer) = authority("relays", 2040);
        place.write("ca.pem", &ca);
        place.certificate(&issuer, "server", 2030);
        place
    }

    fn certificate(&self, issuer: &Issuer<'static, KeyPair>, name: &str, until: i32) {
        let key = KeyPair::generate().expect("a key");
        let certificate = params(name, until).signed_by(&key, issuer);
        self.write("server.pem", &certificate.expect("a certificate").pem());
        self.write("server.key", &key.serialize_pem());
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).expect("written");
    }

    fn load(&self) -> Result<Loaded, Unusable> {
        let [certificate, key, client_ca] =
            ["server.pem", "server.key", "ca.pem"].map(|name| self.dir.path().join(name));
        let files = Files {
            certificate: &certificate,
            key: &key,
            client_ca: Some(&client_ca),
        };
        load(files, Vec::new(), now())
    }

    fn refused(&self) -> (Which, String) {
        let unusable = self.load().expect_err("it is refused");
        let told = unusable.to_string();
        let file = match unusable.which {
            Which::Certificate => "server.pem",
            Which::Key => "server.key",
            Which::Authorities => "ca.pem",
        };
        let file = self.dir.path().join(file);
        let reason = told
            .strip_prefix(&format!("{}: ", file.display()))
            .unwrap_or_else(|| panic!("{told} names {}", file.display()));
        (unusable.which, reason.to_owned())
    }
}

#[test]
fn files_that_go_together_make_a_server() {
    let loaded = Place::new().load().expect("it is good");
    let subjects: Vec<_> = loaded
        .certificates
        .iter()
        .map(|certificate| certificate.subject.as_str())
        .collect();
    assert_eq!(subjects, ["CN=server", "CN=relays"]);
    assert!(loaded.config.ignore_client_order);
    assert_eq!(loaded.config.send_tls13_tickets, 0);
    assert!(!loaded.config.session_storage.can_cache());
    assert_eq!(loaded.config.max_early_data_size, 0);
}

#[test]
fn only_recommended_suites_are_there() {
    let suites: Vec<_> = provider()
        .cipher_suites
        .iter()
        .map(|suite| suite.suite())
        .collect();
    assert_eq!(suites.len(), SUITES.len());
    assert!(SUITES.iter().all(|suite| suites.contains(suite)));
}

#[test]
fn what_is_wrong_with_a_file_is_told_with_its_name() {
    let place = Place::new();
    for (name, which) in [
        ("server.pem", Which::Certificate),
        ("server.key", Which::Key),
        ("ca.pem", Which::Authorities),
    ] {
        let path = place.dir.path().join(name);
        let good = fs::read_to_string(&path).expect("read");
        fs::remove_file(&path).expect("removed");
        let (found, reason) = place.refused();
        assert_eq!(found, which);
        assert!(
            reason.starts_with("cannot be read: No such file"),
            "{reason}"
        );
        place.write(name, "not PEM\n");
        let (found, reason) = place.refused();
        assert_eq!(found, which);
        assert!(
            reason.starts_with("expected a") && reason.ends_with("found none"),
            "{reason}"
        );
        place.write(name, &good[..good.len() / 2]);
        assert_eq!(place.refused().0, which);
        place.write(name, &good);
    }
    assert!(place.load().is_ok());
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let place = Place::new();
    let other = KeyPair::generate().expect("a key");
    place.write("server.key", &other.serialize_pem());
    let (which, reason) = place.refused();
    assert_eq!(which, Which::Key);
    assert!(
        reason.starts_with("expected the key of the certificate in ")
            && reason.ends_with("server.pem, found another key"),
        "{reason}"
    );
}

#[test]
fn a_certificate_that_is_over_is_refused() {
    let place = Place::new();
    let (_, issuer) = authority("servers", 2040);
    place.certificate(&issuer, "old", 2025);
    assert_eq!(
        place.refused(),
        (
            Which::Certificate,
            "the certificate of CN=old ended at 2025-01-01T00:00:00Z".to_owned()
        )
    );
}

#[test]
fn an_authority_that_is_over_is_trusted_no_more_and_one_has_to_be_left() {
    let place = Place::new();
    let (old, _) = authority("old", 2025);
    let (new, _) = authority("new", 2030);
    place.write("ca.pem", &old);
    assert_eq!(
        place.refused(),
        (
            Which::Authorities,
            "the certificate of CN=old ended at 2025-01-01T00:00:00Z".to_owned()
        )
    );
    place.write("ca.pem", &[old, new].concat());
    let loaded = place.load().expect("one is left");
    let ends: Vec<_> = loaded
        .certificates
        .iter()
        .map(|certificate| matches!(certificate.end(now()), End::Over(_)))
        .collect();
    assert_eq!(ends, [false, true, false]);
}

#[test]
fn a_certificate_that_may_not_sign_is_no_authority() {
    let place = Place::new();
    let server = fs::read_to_string(place.dir.path().join("server.pem")).expect("read");
    place.write("ca.pem", &server);
    assert_eq!(
        place.refused(),
        (
            Which::Authorities,
            "expected certificates of authorities, found the one of CN=server, which may not sign others"
                .to_owned()
        )
    );
}

#[test]
fn an_end_is_told_a_month_before() {
    let place = Place::new();
    let certificate = place.load().expect("it is good").certificates.remove(0);
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
    let day = Duration::from_secs(24 * 3_600);
    assert_eq!(certificate.warning(end - 31 * day), None);
    let soon = certificate.warning(end - 12 * day).expect("it is near");
    assert!(
        soon.ends_with(
            "server.pem: the certificate of CN=server ends at 2030-01-01T00:00:00Z, in 12 days"
        ),
        "{soon}"
    );
    assert!(matches!(certificate.end(end - 12 * day), End::Soon(_)));
    let over = certificate.warning(end + day).expect("it is over");
    assert!(over.ends_with("ended at 2030-01-01T00:00:00Z"), "{over}");
    assert!(matches!(certificate.end(end + day), End::Over(_)));
    assert!(
        certificate
            .valid_at(SystemTime::UNIX_EPOCH)
            .is_err_and(|reason| reason.contains("begins only at 2020-01-01"))
    );
}

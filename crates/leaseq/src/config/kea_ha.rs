//! `[[feed]]` of kind `kea-ha`: who may send to it, what it asks Kea for, and the files of passwords and certificates.
//!
//! The files are read with the configuration: one that cannot be used is a fault of the configuration, and a reload takes over
//! what has changed in them.

use std::fs::File;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use leaseq_feed::kea_ha::{
    ControlAccess, ControlAddress, Credentials, CredentialsError, PROBE_INTERVAL, PULL_INTERVAL,
    ServerTls, Settings, Tls,
};

use super::feed::Section;
use super::units::Text;
use crate::tls::{self, Certificate, Files, Unusable, Which};

/// The shortest interval at which Kea is asked.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// Octets that are read of a file with a password: more than a password may have.
const PASSWORD_FILE: u64 = 4_096;

/// What the section says. The certificates that are used are added to `certificates`.
pub(super) fn settings(
    section: &Section,
    name: String,
    listen: SocketAddr,
    base: &Path,
    certificates: &mut Vec<Certificate>,
) -> Result<Settings, String> {
    let control =
        |given: &Option<Text<ControlAddress>>| given.as_ref().map(|Text(address)| address.clone());
    let (control4, control6) = (control(&section.control4), control(&section.control6));
    let controls = [&control4, &control6].map(Option::as_ref);
    let (tls, control_access) = access(section, controls, base, certificates)?;
    Ok(Settings {
        name,
        listen,
        credentials: credentials(
            ("user", section.user.as_deref()),
            ("password-file", section.password_file.as_deref()),
            base,
        )?,
        tls,
        control4,
        control6,
        control_access,
        pull_interval: interval("pull-interval", &section.pull_interval, PULL_INTERVAL)?,
        probe_interval: interval("probe-interval", &section.probe_interval, PROBE_INTERVAL)?,
    })
}

fn interval(
    key: &str,
    given: &Option<Text<Duration>>,
    default: Duration,
) -> Result<Duration, String> {
    match given {
        Some(Text(given)) if *given < SHORTEST_INTERVAL => Err(format!(
            "expected at least {} in `{key}`",
            humantime::format_duration(SHORTEST_INTERVAL)
        )),
        Some(Text(given)) => Ok(*given),
        None => Ok(default),
    }
}

/// User and password under these keys; nothing if neither is given.
fn credentials(
    (user_key, user): (&str, Option<&str>),
    (file_key, file): (&str, Option<&Path>),
    base: &Path,
) -> Result<Option<Credentials>, String> {
    let (user, file) = match (user, file) {
        (None, None) => return Ok(None),
        (Some(user), Some(file)) => (user, base.join(file)),
        (Some(_), None) => return Err(format!("`{user_key}` needs `{file_key}`")),
        (None, Some(_)) => return Err(format!("`{file_key}` needs `{user_key}`")),
    };
    let mut password = Vec::new();
    let read =
        File::open(&file).and_then(|open| open.take(PASSWORD_FILE).read_to_end(&mut password));
    read.map_err(|error| format!("`{file_key}`: {}: cannot be read: {error}", file.display()))?;
    let credentials = Credentials::new(user, &password).map_err(|error| match error {
        CredentialsError::User => format!("`{user_key}`: {error}"),
        CredentialsError::Password => format!("`{file_key}`: {}: {error}", file.display()),
    })?;
    Ok(Some(credentials))
}

/// TLS of the side that Kea connects to, and what its control agents are told.
fn access(
    section: &Section,
    controls: [Option<&ControlAddress>; 2],
    base: &Path,
    certificates: &mut Vec<Certificate>,
) -> Result<(Option<ServerTls>, ControlAccess), String> {
    let file = |given: &Option<PathBuf>| given.as_ref().map(|file| base.join(file));
    let (certificate, key, ca) = (
        file(&section.certificate),
        file(&section.key),
        file(&section.ca),
    );
    let own = match (&certificate, &key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate.as_path(), key.as_path())),
        (Some(_), None) => return Err("`certificate` needs `key`".to_owned()),
        (None, Some(_)) => return Err("`key` needs `certificate`".to_owned()),
    };
    let is_any = |is_it: fn(&ControlAddress) -> bool| controls.into_iter().flatten().any(is_it);
    let asks_on_tls = is_any(ControlAddress::is_https);
    if section.control_user.is_some() && !is_any(ControlAddress::is_agent) {
        return Err("`control-user` needs a `control4` or `control6` over HTTP".to_owned());
    }
    if section.server_name.is_some() && !asks_on_tls {
        return Err("`server-name` needs a `control4` or `control6` over HTTPS".to_owned());
    }
    let now = SystemTime::now();
    let client = match (asks_on_tls, &ca) {
        (false, Some(_)) if own.is_none() => {
            let reason =
                "`ca` needs `certificate` and `key`, or a `control4` or `control6` over HTTPS";
            return Err(reason.to_owned());
        }
        (false, _) => None,
        (true, None) => return Err("a control channel over HTTPS needs `ca`".to_owned()),
        (true, Some(ca)) => Some(tls::load_client(ca, own, now).map_err(told)?),
    };
    let server = own.map(|(certificate, key)| {
        let files = Files {
            certificate,
            key,
            client_ca: ca.as_deref(),
        };
        tls::load(files, Vec::new(), now).map_err(told)
    });
    let server = server.transpose()?;
    // Both sides have the same certificates.
    match (&server, &client) {
        (Some(server), _) => certificates.extend_from_slice(&server.certificates),
        (None, Some(client)) => certificates.extend_from_slice(&client.certificates),
        (None, None) => {}
    }
    let access = ControlAccess {
        credentials: credentials(
            ("control-user", section.control_user.as_deref()),
            (
                "control-password-file",
                section.control_password_file.as_deref(),
            ),
            base,
        )?,
        tls: client.map(|loaded| Tls::new(loaded.config, loaded.made_of)),
        server_name: section.server_name.clone(),
    };
    let server = server.map(|loaded| Tls::new(loaded.config, loaded.made_of));
    Ok((server, access))
}

fn told(unusable: Unusable) -> String {
    let key = match unusable.which {
        Which::Certificate => "certificate",
        Which::Key => "key",
        Which::Authorities => "ca",
    };
    format!("`{key}`: {unusable}")
}

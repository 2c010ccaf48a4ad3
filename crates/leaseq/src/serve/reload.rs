//! SIGHUP: the configuration is read again.

use std::fmt::Display;
use std::path::Path;

use leaseq_session::Family;

use super::Server;
use crate::config::{Config, Overrides};
use crate::tls::Watch;

/// What came of a reload.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// Keys that have changed, but need a restart.
    pub needs_restart: Vec<&'static str>,
    /// What could not be done although the rest was.
    pub failed: Vec<String>,
}

/// Takes over limits, requestors, certificates and what sessions send, for connections to come; addresses, pools, links, times
/// and feeds at once; names what cannot change; a bad file, of the configuration or of TLS, or an address that cannot be
/// listened on, changes nothing.
///
/// An error says why nothing was changed.
pub fn reload(
    file: Option<&Path>,
    overrides: Overrides,
    started_with: &Config,
    server: &Server,
    watch: &Watch,
) -> Result<Reloaded, String> {
    let Some(file) = file else {
        let reason = "there is no configuration file to read again";
        tracing::warn!(id = "reload-no-file", "{reason}");
        return Err(reason.to_owned());
    };
    let mut config = Config::load(file, overrides).map_err(refused)?;
    // The command line may have named another one than the file.
    config.data_dir.clone_from(&started_with.data_dir);
    for warning in &config.warnings {
        tracing::warn!(id = "config-warning", "{warning}");
    }
    // What can fail comes first.
    let (store, engine) = (&server.store, &server.engine);
    let listeners = engine
        .prepare_listeners(&config.listeners)
        .map_err(refused)?;
    let change = store
        .change_topology(config.topology.clone())
        .map_err(refused)?;
    store
        .change_times(config.store.history, config.store.expiry_grace)
        .map_err(refused)?;
    let needs_restart = config.fixed_differences(started_with);
    for key in &needs_restart {
        tracing::warn!(
            id = "reload-needs-restart",
            key,
            "this key has changed, but needs a restart to take effect"
        );
    }
    let failed = engine.change_listeners(listeners);
    let mut failed: Vec<String> = failed.iter().map(ToString::to_string).collect();
    for error in &failed {
        tracing::error!(
            id = "reload-not-listening",
            error,
            "an address cannot be listened on; what was listened on in its place still is"
        );
    }
    server.set_shutdown_timeout(config.engine.shutdown_timeout);
    engine.reload(config.settings);
    if change.links {
        // What they were told of links does not hold any more.
        tracing::info!(
            id = "reload-links",
            "links are configured otherwise: connections of DHCPv6 end, so that their queries begin anew"
        );
        engine.end_connections(Family::V6);
    }
    failed.extend(server.feeds.reload(&config.feeds));
    watch.replace(config.certificates);
    tracing::info!(id = "reload-done", file = %file.display(), "the configuration was read again");
    Ok(Reloaded {
        needs_restart,
        failed,
    })
}

fn refused(error: impl Display) -> String {
    tracing::error!(id = "reload-refused", %error, "the configuration is not good, nothing is changed");
    format!("the configuration is not good, nothing is changed: {error}")
}

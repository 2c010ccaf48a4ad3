//! SIGHUP: the configuration is read again.

use std::path::Path;

use super::Server;
use crate::config::{Config, Overrides};
use crate::tls::Watch;

/// Takes over limits, requestors, certificates and what sessions send, for connections to come, and feeds; names what cannot
/// change; a bad file, of the configuration or of TLS, changes nothing.
pub fn reload(
    file: Option<&Path>,
    overrides: Overrides,
    started_with: &Config,
    server: &Server,
    watch: &Watch,
) {
    let Some(file) = file else {
        tracing::warn!(
            id = "reload-no-file",
            "there is no configuration file to read again"
        );
        return;
    };
    let mut config = match Config::load(file, overrides) {
        Ok(config) => config,
        Err(error) => {
            tracing::error!(id = "reload-refused", %error, "the configuration is not good, nothing is changed");
            return;
        }
    };
    // The command line may have named another one than the file.
    config.data_dir.clone_from(&started_with.data_dir);
    for warning in &config.warnings {
        tracing::warn!(id = "config-warning", "{warning}");
    }
    for key in config.fixed_differences(started_with) {
        tracing::warn!(
            id = "reload-needs-restart",
            key,
            "this key has changed, but needs a restart to take effect"
        );
    }
    server.engine.reload(config.settings);
    server.feeds.reload(&config.feeds);
    watch.replace(config.certificates);
    tracing::info!(id = "reload-done", file = %file.display(), "the configuration was read again");
}

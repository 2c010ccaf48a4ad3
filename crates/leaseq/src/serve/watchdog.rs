//! The watchdog of systemd (`WatchdogSec=`): it is told that the server lives for as long as every data thread answers.
//!
//! The store's writer is left out on purpose: a disk that stands still for a while is no reason to lose every connection, and a
//! restart would not mend it.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::Duration;

use leaseq_engine::Engine;
use sd_notify::NotifyState;

/// Begins to tell it, if somebody wants to be told. Goes on until the process ends: how long a stop may take is systemd's to
/// decide (`TimeoutStopSec=`), not the watchdog's.
pub fn start(engine: &Arc<Engine>) -> std::io::Result<()> {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return Ok(());
    };
    let engine = Arc::downgrade(engine);
    thread::Builder::new()
        .name("watchdog".into())
        .spawn(move || watch(&engine, patience))?;
    Ok(())
}

fn watch(engine: &Weak<Engine>, patience: Duration) {
    let pause = patience / 4;
    loop {
        let lives = engine.upgrade().is_none_or(|engine| engine.answers(pause));
        if lives {
            let _ = sd_notify::notify(&[NotifyState::Watchdog]);
        } else {
            tracing::error!(
                id = "serve-hangs",
                "a data thread does not answer; without an answer the service is killed and started again"
            );
        }
        thread::sleep(pause);
    }
}

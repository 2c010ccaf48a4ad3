//! `leaseq serve`: store, feeds, engine and admin HTTP, from start to clean stop.

mod disk;
mod feeds;
mod manager;
mod ready;
mod reload;
mod watchdog;

use std::cell::Cell;
use std::io::Write;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use leaseq_engine::Engine;
use leaseq_store::{LoadProgress, Options, Store};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::admin::{self, Recovery, Served};
use crate::cli;
use crate::config::{Config, Overrides};
use crate::control::{Control, Controlled};
use crate::exit::Done;
use crate::tls::Watch;
use crate::{progress, sample};

use disk::DiskWatch;
pub use feeds::Feeds;
use manager::StatusWatch;
pub use reload::Reloaded;

/// What the server is told to do while it serves, by a signal or through the control socket.
pub enum Order {
    /// Read the configuration again; whoever waits is told what came of it, or why nothing was changed.
    Reload(Option<Sender<Result<Reloaded, String>>>),
    /// Stop, for this reason.
    Stop(String),
}

/// Serves until a signal ends it.
pub fn run(arguments: &cli::Serve) -> anyhow::Result<Done> {
    let overrides = Overrides {
        active_insecure: arguments.active_insecure,
    };
    let config = configure(arguments, overrides)?;
    // From here on a signal is kept until the server is ready to obey it.
    let signals = Signals::new([SIGTERM, SIGINT, SIGHUP]).context("signals cannot be caught")?;
    let (orders, ordered) = channel();
    let server = Server::start(&config, arguments.sample, orders.clone())?;
    let watch = Watch::start(config.certificates.clone())
        .context("the thread that watches over certificates cannot be started")?;
    let disk = DiskWatch::start(config.data_dir.clone(), config.store.segment_size)
        .context("the thread that looks after the disk cannot be started")?;
    watchdog::start(&server.engine).context("the thread for the watchdog cannot be started")?;
    obey_signals(signals, orders)?;
    for order in ordered {
        match order {
            Order::Reload(reply) => {
                manager::tell_reloading();
                let file = arguments.config.as_deref();
                let reloaded = reload::reload(file, overrides, &config, &server, &watch);
                manager::tell_ready();
                if let Some(reply) = reply {
                    // Fails if whoever asked has gone.
                    let _ = reply.send(reloaded);
                }
            }
            Order::Stop(reason) => {
                tracing::info!(id = "serve-stopping", reason, "stopping");
                break;
            }
        }
    }
    let stopped = server.stop();
    watch.stop();
    disk.stop();
    stopped?;
    Ok(Done::All)
}

/// Turns signals into orders, on a thread of its own.
fn obey_signals(mut signals: Signals, orders: Sender<Order>) -> anyhow::Result<()> {
    let obey = move || {
        for signal in signals.forever() {
            let order = match signal {
                SIGHUP => Order::Reload(None),
                SIGINT => Order::Stop("SIGINT".to_owned()),
                _ => Order::Stop("SIGTERM".to_owned()),
            };
            if orders.send(order).is_err() {
                return;
            }
        }
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(obey)
        .context("the thread for signals cannot be started")?;
    Ok(())
}

fn configure(arguments: &cli::Serve, overrides: Overrides) -> anyhow::Result<Config> {
    let mut config = match &arguments.config {
        Some(file) => Config::load(file, overrides)?,
        None => Config::embedded(overrides),
    };
    if let Some(dir) = &arguments.data_dir {
        config.data_dir.clone_from(dir);
    }
    for warning in &config.warnings {
        tracing::warn!(id = "config-warning", "{warning}");
    }
    Ok(config)
}

/// Everything that runs.
struct Server {
    store: Arc<Store>,
    engine: Arc<Engine>,
    feeds: Arc<Feeds>,
    admin: Option<admin::Admin>,
    control: Option<Control>,
    status: StatusWatch,
    shutdown_timeout: Cell<Duration>,
}

impl Server {
    fn start(
        config: &Config,
        sample: Option<u64>,
        orders: Sender<Order>,
    ) -> anyhow::Result<Server> {
        let started = Instant::now();
        let admin = config.admin.map(admin::Admin::start).transpose()?;
        let recovery = admin.as_ref().map(|admin| admin.watched().recovery());
        let options = Options {
            progress: Some(tell_progress(recovery.cloned())),
            ..config.store.clone()
        };
        let store = Store::open(&config.data_dir, options, config.topology.clone())?;
        let recovered_ms = started.elapsed().as_millis();
        let samples = sample
            .map(|bindings| fill(&store, bindings))
            .transpose()?
            .unwrap_or(false);
        let reader = store.reader();
        let started = Engine::start(
            config.engine.clone(),
            config.listeners.clone(),
            config.settings.clone(),
            reader,
        );
        // Its message names the cause already.
        let engine =
            Arc::new(started.map_err(|error| anyhow::anyhow!("the server cannot start: {error}"))?);
        let store = Arc::new(store);
        let feeds = Arc::new(Feeds::start(&config.feeds, Arc::clone(&store))?);
        let served = Served {
            engine: Arc::clone(&engine),
            feeds: Arc::clone(&feeds),
            reader: store.reader(),
            data_dir: config.data_dir.clone(),
            recovered_ms,
        };
        if let Some(admin) = &admin {
            admin.watched().serve(served.clone());
        }
        let status = StatusWatch::start(served.clone())
            .context("the thread that tells the status cannot be started")?;
        let controlled = Controlled {
            served,
            store: Arc::clone(&store),
            orders,
        };
        let control = start_control(config, controlled)?;
        let server = Server {
            store,
            engine,
            feeds,
            admin,
            control,
            status,
            shutdown_timeout: Cell::new(config.engine.shutdown_timeout),
        };
        server.tell_ready(recovered_ms)?;
        if samples {
            for command in sample::commands(&server.engine.addresses()) {
                eprintln!("try: {command}");
            }
        }
        Ok(server)
    }

    fn tell_ready(&self, recovered_ms: u128) -> anyhow::Result<()> {
        let stats = self.store.reader().stats();
        let bindings = stats.v4.bindings() + stats.v6.bindings();
        let admin = self.admin.as_ref().map(admin::Admin::address);
        let line = ready::line(
            &self.engine.addresses(),
            admin,
            &self.feeds.listens(),
            bindings,
            recovered_ms,
        );
        let mut out = std::io::stdout().lock();
        writeln!(out, "{line}")
            .and_then(|()| out.flush())
            .context("the ready line cannot be written")?;
        manager::tell_ready();
        tracing::info!(id = "serve-ready", bindings, recovered_ms, "serving");
        Ok(())
    }

    /// For connections that end from now on.
    fn set_shutdown_timeout(&self, timeout: Duration) {
        self.engine.set_shutdown_timeout(timeout);
        self.shutdown_timeout.set(timeout);
    }

    /// Feeds first, so that what was acknowledged is all there is; then running queries, then the store.
    fn stop(self) -> anyhow::Result<()> {
        self.status.stop();
        manager::tell_stopping("ending feeds and connections", self.shutdown_timeout.get());
        if let Some(admin) = &self.admin {
            admin.watched().stop();
        }
        self.feeds.stop();
        self.engine.shutdown();
        if let Some(admin) = self.admin {
            admin.stop();
        }
        if let Some(control) = self.control {
            control.stop();
        }
        manager::tell_step("closing the store");
        self.store.stop().context("the store cannot be closed")?;
        tracing::info!(id = "serve-stopped", "stopped");
        Ok(())
    }
}

/// What is called while the store is opened: it shows a bar, and tells the admin HTTP and the service manager.
fn tell_progress(recovery: Option<Arc<Recovery>>) -> Arc<dyn Fn(LoadProgress) + Send + Sync> {
    let bar = progress::of_opening();
    let opening = manager::Opening::default();
    Arc::new(move |progress| {
        opening.note(progress);
        if let Some(recovery) = &recovery {
            recovery.note(progress);
        }
        bar(progress);
    })
}

/// The control socket. A server serves without it where only the place that nobody chose is no good for it.
fn start_control(config: &Config, controlled: Controlled) -> anyhow::Result<Option<Control>> {
    let location = config.control_location();
    match Control::start(&location, controlled) {
        Ok(control) => Ok(Some(control)),
        Err(error) if location.configured.is_some() => Err(error).with_context(|| {
            format!(
                "the control socket {} cannot be made",
                location.path().display()
            )
        }),
        Err(error) => {
            let socket = location.path();
            tracing::warn!(id = "control-not-started", socket = %socket.display(), %error,
                "there is no control socket; name another place with control.socket");
            Ok(None)
        }
    }
}

/// Fills an empty store; whether it did.
fn fill(store: &Store, bindings: u64) -> anyhow::Result<bool> {
    let stats = store.reader().stats();
    if stats.v4.bindings() + stats.v6.bindings() > 0 {
        tracing::info!(
            id = "serve-sample-skipped",
            "the store holds bindings: no sample is made"
        );
        return Ok(false);
    }
    sample::fill(store, bindings)?;
    Ok(true)
}

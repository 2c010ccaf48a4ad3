//! The leasequery engine: the running threads, with sessions over a store as their protocol.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, mpsc};
use std::time::{Duration, Instant};

use leaseq_session::{Admission, Admitted, Counters, Family, Settings};
use leaseq_store::{CommitHook, Reader};

use crate::config::{EngineConfig, Listeners};
use crate::core::Clock;
use crate::drain::{DrainProgress, Drained};
use crate::error::StartError;
use crate::leasequery::Leasequery;
use crate::limits;
use crate::listening::ListenerChange;
use crate::placement::Placement;
use crate::registry::{ConnectionInfo, Moment, Registry};
use crate::running::Running;
use crate::service::{self, Gate};
use crate::stats::EngineStats;

/// A running server: it accepts requestors and answers them from the store until it is shut down or dropped.
pub struct Engine {
    /// Taken back before the data threads stop.
    commits: Mutex<Option<CommitHook>>,
    running: Mutex<Running<Leasequery>>,
    registry: Arc<Registry>,
    clock: Clock,
    reader: Reader,
    stats: Arc<EngineStats>,
    addresses: Mutex<Listeners>,
    placement: Placement,
    admission: Arc<Admission>,
    settings: Arc<Mutex<Arc<Settings>>>,
    /// As it was when the drain began.
    drain: Mutex<Option<DrainProgress>>,
    /// One for each core, and the refusals of the admission last.
    counters: Vec<Arc<Counters>>,
}

impl Engine {
    /// Binds the listeners, starts a data thread for each core, and accepts.
    ///
    /// Raises this process's soft limit of open files to the hard one first.
    ///
    /// # Errors
    /// Nothing is left running if an address cannot be bound, a CPU is not to be had or io_uring may not be used.
    pub fn start(
        config: EngineConfig,
        listeners: Listeners,
        settings: Arc<Settings>,
        reader: Reader,
    ) -> Result<Engine, StartError> {
        check_open_files(&settings);
        let placement = Placement::of(config.cores.as_deref())?;
        let admission = Admission::new(settings.clone());
        let mut counters: Vec<Arc<Counters>> =
            placement.threads.iter().map(|_| Arc::default()).collect();
        let current = Arc::new(Mutex::new(settings.clone()));
        let gate = Door {
            admission: admission.clone(),
            settings: current.clone(),
        };
        let watched = reader.clone();
        let make = {
            let (counters, admission) = (counters.clone(), admission.clone());
            move |core: usize| {
                Leasequery::new(
                    settings.clone(),
                    counters[core].clone(),
                    admission.clone(),
                    reader.clone(),
                )
            }
        };
        let running = Running::start(&config, &placement, &listeners, gate, make)?;
        let tell = Arc::new(running.on_commit());
        let hook = {
            let tell = tell.clone();
            watched.on_commit(Arc::new(move |_| tell()))
        };
        // A stream may have begun, and something been committed, before the hook was there.
        tell();
        counters.push(admission.counters().clone());
        Ok(Engine {
            registry: running.registry.clone(),
            clock: running.clock,
            reader: watched,
            stats: running.stats.clone(),
            addresses: Mutex::new(running.addresses()),
            commits: Mutex::new(Some(hook)),
            running: Mutex::new(running),
            placement,
            admission,
            settings: current,
            drain: Mutex::new(None),
            counters,
        })
    }

    /// The addresses that are bound, in the order they were given: where a port was 0, the one the kernel chose.
    pub fn addresses(&self) -> Listeners {
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Binds what is to be listened on instead of what is now, for [`Engine::change_listeners`]. An address that overlaps with
    /// one that goes cannot be bound yet. Of a server that is drained, only the addresses for UDP can be changed.
    ///
    /// # Errors
    /// An address cannot be bound; nothing is changed.
    pub fn prepare_listeners(&self, listeners: &Listeners) -> Result<ListenerChange, StartError> {
        self.lock().prepare_listeners(listeners)
    }

    /// Closes what is listened on no more, and listens on what is new; connections that are open go on. Tells which addresses
    /// could not be bound in place of one that they overlap with: that one is listened on again.
    pub fn change_listeners(&self, change: ListenerChange) -> Vec<StartError> {
        let mut running = self.lock();
        let failed = running.change_listeners(change);
        *self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = running.addresses();
        failed
    }

    /// The data threads and the CPUs they are pinned to.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// What the sessions have counted, to be summed: one for each core, and one with the refusals.
    pub fn counters(&self) -> &[Arc<Counters>] {
        &self.counters
    }

    /// What the engine itself has counted.
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// The settings of connections and datagrams to come.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Connections of a family that are open.
    pub fn open_connections(&self, family: Family) -> u32 {
        self.admission.open(family)
    }

    /// The open connections, in the order they were accepted. Costs the data threads nothing.
    pub fn connections(&self) -> Vec<ConnectionInfo> {
        self.registry.list(&Moment {
            now: self.clock.now(),
            published: self.reader.published().sequence,
            server_time: self.reader.now(),
        })
    }

    /// Resets a connection, whatever it is doing; whether there was one of that id.
    pub fn close_connection(&self, id: u64) -> bool {
        self.lock().abort(id)
    }

    /// Takes over new settings for connections and datagrams to come; connections that are open keep theirs.
    pub fn reload(&self, settings: Arc<Settings>) {
        check_open_files(&settings);
        self.admission.reload(settings.clone());
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings.clone();
        self.lock()
            .apply(move |service: &Leasequery| service.reload(settings.clone()));
    }

    /// Whether every data thread does what it is asked within this time; if not, one hangs or has ended. While a shutdown or a
    /// reload is under way nothing is asked, and the answer is yes.
    pub fn answers(&self, within: Duration) -> bool {
        let running = match self.running.try_lock() {
            Ok(running) => running,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => return true,
        };
        let until = Instant::now() + within;
        let (done, answers) = mpsc::channel();
        running.apply(move |_| {
            // Who asked may not wait any more.
            let _ = done.send(());
        });
        drop(running);
        self.placement.threads.iter().all(|_| {
            let left = until.saturating_duration_since(Instant::now());
            answers.recv_timeout(left).is_ok()
        })
    }

    /// Stops accepting, closes the listeners, and has every connection end within `over`: each at a turn of its own, spread
    /// evenly, with QueryTerminated as at a shutdown. A connection that is answering a bulk query may finish that first, if
    /// there is time. UDP goes on to be answered until the engine is shut down.
    ///
    /// Drained a second time, connections that are left get new turns.
    pub fn drain(&self, over: Duration) -> Drained {
        let drained = self.lock().drain(over);
        let open = self.open_in_all();
        let mut drain = self.drain.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = drain.map_or(open, |begun| begun.connections);
        *drain = Some(DrainProgress {
            connections,
            left: open,
            over,
        });
        drained
    }

    /// How far the drain has come, if there is one.
    pub fn draining(&self) -> Option<DrainProgress> {
        let drain = *self.drain.lock().unwrap_or_else(PoisonError::into_inner);
        drain.map(|begun| DrainProgress {
            left: self.open_in_all(),
            ..begun
        })
    }

    /// Has the connections of a family that are open end, with QueryTerminated as at a shutdown; new ones are accepted.
    pub fn end_connections(&self, family: Family) {
        self.lock().end_connections(family);
    }

    fn open_in_all(&self) -> u32 {
        self.open_connections(Family::V4) + self.open_connections(Family::V6)
    }

    /// Changes how long queries may take to end at a shutdown, and connections at a drain or when they are replaced.
    pub fn set_shutdown_timeout(&self, timeout: Duration) {
        self.lock().set_ending_timeout(timeout);
    }

    /// Stops accepting, has running queries end as the protocol says, and returns once every connection has ended:
    /// after the shutdown timeout, those that are left are reset. Does nothing the second time.
    pub fn shutdown(&self) {
        let hook = self
            .commits
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        drop(hook);
        self.lock().stop();
    }

    fn lock(&self) -> MutexGuard<'_, Running<Leasequery>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_open_files(settings: &Settings) {
    // The limit holds for each family.
    let connections = 2 * u64::from(settings.limits.max_connections);
    let limit = limits::raise_open_files();
    if let Some(fits) = limits::too_many(connections, limit) {
        tracing::warn!(
            id = "engine-open-files",
            limit,
            fits,
            connections,
            "limits.max-connections for both families is more than the limit of open files allows; raise the limit \
             (LimitNOFILE= in a systemd unit) or lower max-connections"
        );
    }
}

/// Admission as the accept thread uses it.
struct Door {
    admission: Arc<Admission>,
    settings: Arc<Mutex<Arc<Settings>>>,
}

impl Gate for Door {
    type Pass = Admitted;

    fn admit(&self, family: Family, peer: IpAddr) -> Option<service::Admission<Admitted>> {
        let pass = match self.admission.admit(family, peer) {
            Ok(pass) => pass,
            Err(reason) => {
                tracing::debug!(id = "engine-refused", %peer, ?family, %reason, "a connection was refused");
                return None;
            }
        };
        let id = pass.id().as_u64();
        let replaces = pass.replaces().map(leaseq_session::ConnectionId::as_u64);
        Some(service::Admission { pass, id, replaces })
    }

    fn data_timeout(&self) -> Duration {
        self.settings
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .limits
            .data_timeout
    }
}

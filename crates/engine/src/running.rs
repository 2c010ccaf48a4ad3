//! The threads of an engine, whatever protocol they run: started together, stopped together.

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use leaseq_session::Family;

use crate::accept::{self, Acceptor, CoreHandle, Listener, StopSignal};
use crate::config::{EngineConfig, Listeners};
use crate::core::{self, Clock, Command, Core, Datagrams, Signals};
use crate::drain::{self, Drained};
use crate::error::StartError;
use crate::fan_out::CommitFlag;
use crate::placement::{self, Placement};
use crate::registry::Registry;
use crate::ring;
use crate::service::{Gate, Service};
use crate::socket;
use crate::stats::EngineStats;

/// A running set of data threads and the accept thread.
pub(crate) struct Running<S: Service> {
    cores: Vec<CoreHandle<S>>,
    core_threads: Vec<JoinHandle<()>>,
    accept_thread: Option<JoinHandle<()>>,
    stop: StopSignal,
    pub clock: Clock,
    pub registry: Arc<Registry>,
    pub stats: Arc<EngineStats>,
    pub addresses: Listeners,
}

impl<S: Service> Running<S> {
    /// Binds, then starts a thread for each of `placement`, each with what `make` makes for it there, then accepts.
    ///
    /// # Errors
    /// Nothing is left running if an address cannot be bound or a ring cannot be set up.
    pub fn start<G: Gate<Pass = S::Pass>>(
        config: &EngineConfig,
        placement: &Placement,
        listeners: &Listeners,
        gate: G,
        make: impl Fn(usize) -> S + Clone + Send + 'static,
    ) -> Result<Running<S>, StartError> {
        let clock = Clock::start();
        let mut addresses = Listeners::default();
        let tcp = [
            (Family::V4, &listeners.dhcp4_tcp, &mut addresses.dhcp4_tcp),
            (Family::V6, &listeners.dhcp6_tcp, &mut addresses.dhcp6_tcp),
        ];
        let mut sockets = Vec::new();
        for (family, wanted, bound) in tcp {
            for &address in wanted {
                let socket = socket::listen(address)?;
                bound.push(socket::local_address(&socket)?);
                sockets.push(Listener { socket, family });
            }
        }
        let threads = placement.threads.len();
        let mut datagrams: Vec<Vec<Datagrams>> = (0..threads).map(|_| Vec::new()).collect();
        let udp = [
            (Family::V4, &listeners.dhcp4_udp, &mut addresses.dhcp4_udp),
            (Family::V6, &listeners.dhcp6_udp, &mut addresses.dhcp6_udp),
        ];
        let mut next = 0;
        for (family, wanted, bound) in udp {
            for &address in wanted {
                let socket = socket::datagram(address)?;
                let address = socket::local_address(&socket)?;
                bound.push(address);
                // Each socket has one core, so that the order of requests on it is kept.
                datagrams[next % threads].push(Datagrams {
                    socket: socket.into(),
                    family,
                    address,
                });
                next += 1;
            }
        }
        let stats = Arc::new(EngineStats::default());
        let mut running = Running {
            cores: Vec::new(),
            core_threads: Vec::new(),
            accept_thread: None,
            stop: StopSignal::new()?,
            clock,
            registry: Arc::default(),
            stats: stats.clone(),
            addresses,
        };
        // Dropping `running` on an error ends the threads that were started.
        for (number, (&cpu, datagrams)) in placement.threads.iter().zip(datagrams).enumerate() {
            running.start_core(config, number, threads, cpu, datagrams, clock, make.clone())?;
        }
        let acceptor = Acceptor {
            listeners: sockets,
            gate,
            cores: running.cores.clone(),
            registry: running.registry.clone(),
            stats,
            stop: running.stop.waiter(),
            spare: accept::spare(),
        };
        running.accept_thread = Some(spawn("leaseq-accept".into(), move || acceptor.run())?);
        Ok(running)
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "called once, by the constructor whose part it is"
    )]
    fn start_core(
        &mut self,
        config: &EngineConfig,
        number: usize,
        threads: usize,
        cpu: Option<usize>,
        datagrams: Vec<Datagrams>,
        clock: Clock,
        make: impl FnOnce(usize) -> S + Send + 'static,
    ) -> Result<(), StartError> {
        let (commands, receiver) = tokio::sync::mpsc::unbounded_channel();
        let (ready, started) = std_mpsc::channel();
        let (config, stats) = (config.clone(), self.stats.clone());
        let commits: Arc<CommitFlag> = Arc::default();
        let handle = CoreHandle {
            commands,
            load: Arc::default(),
            commits: commits.clone(),
        };
        let thread = spawn(format!("leaseq-data-{number}"), move || {
            placement::pin(cpu);
            let runtime = match ring::runtime(&config, threads) {
                Ok(runtime) => runtime,
                Err(error) => return drop(ready.send(Err(error))),
            };
            // The service is made here: it need not be able to move between threads.
            let core = Core::new(make(number), &config, clock, stats, commits);
            if ready.send(Ok(())).is_ok() {
                runtime.block_on(core::run(core, receiver, datagrams));
            }
        })?;
        self.cores.push(handle);
        self.core_threads.push(thread);
        started.recv().unwrap_or_else(|_| {
            Err(StartError::System {
                what: "start a data thread",
                source: std::io::ErrorKind::BrokenPipe.into(),
            })
        })
    }

    /// Has every core apply a change to its service.
    pub fn apply(&self, change: impl Fn(&S) + Clone + Send + 'static) {
        for core in &self.cores {
            // Fails only once the core has stopped.
            let _ = core.commands.send(Command::Apply(Box::new(change.clone())));
        }
    }

    /// What is to be called after each commit, on any thread: it has every core look, and waits for none.
    pub fn on_commit(&self) -> impl Fn() + Send + Sync + 'static {
        let cores = self.cores.clone();
        move || cores.iter().for_each(CoreHandle::committed)
    }

    /// Resets a connection; whether there was one of that id.
    pub fn abort(&self, id: u64) -> bool {
        self.registry.find(id).is_some_and(|entry| {
            self.cores[entry.core]
                .commands
                .send(Command::Signal(entry, Signals::ABORT))
                .is_ok()
        })
    }

    /// Ends the accept thread, which closes the listeners, then each connection at its turn within `over`: as soon after it
    /// as it is not answering a query that has an end, but no later than at the end of `over`. Datagrams go on to be
    /// answered. Drained a second time, connections get new turns.
    pub fn drain(&mut self, over: Duration) -> Drained {
        self.end_accepting();
        let seed = drain::seed();
        let (drained, held) = Drained::of(self.cores.len());
        for (core, undrained) in self.cores.iter().zip(held) {
            // Fails only once the core has stopped, with all its connections.
            let _ = core.commands.send(Command::Drain {
                over,
                seed,
                undrained,
            });
        }
        drained
    }

    /// Has the connections of a family that are open end, as at a shutdown; new ones go on to be accepted.
    pub fn end_connections(&self, family: Family) {
        for core in &self.cores {
            let _ = core.commands.send(Command::EndFamily(family));
        }
    }

    /// Changes how long connections may take to end.
    pub fn set_ending_timeout(&self, timeout: Duration) {
        for core in &self.cores {
            let _ = core.commands.send(Command::EndingTimeout(timeout));
        }
    }

    fn end_accepting(&mut self) {
        self.stop.give();
        if let Some(thread) = self.accept_thread.take() {
            join(thread);
        }
    }

    /// Ends the accept thread, then all connections, then the data threads. Does nothing the second time.
    pub fn stop(&mut self) {
        self.end_accepting();
        for core in &self.cores {
            let _ = core.commands.send(Command::Stop);
        }
        self.core_threads.drain(..).for_each(join);
    }
}

impl<S: Service> Drop for Running<S> {
    fn drop(&mut self) {
        self.stop();
    }
}

fn spawn(name: String, body: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    std::thread::Builder::new()
        .name(name)
        .spawn(body)
        .map_err(StartError::system("start a thread"))
}

fn join(thread: JoinHandle<()>) {
    let name = thread.thread().name().unwrap_or_default().to_owned();
    if thread.join().is_err() {
        tracing::error!(
            id = "engine-thread-panicked",
            thread = name,
            "a thread of the engine has panicked"
        );
    }
}

//! The threads of an engine, whatever protocol they run: started together, stopped together.

use std::sync::Arc;
use std::sync::mpsc as std_mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use leaseq_session::Family;

use crate::accept::{self, Acceptor, CoreHandle, Listener, Order, Orders, StopSignal};
use crate::config::{EngineConfig, Listeners};
use crate::core::{self, Clock, Command, Core, Datagrams, Signals};
use crate::drain::{self, Drained};
use crate::error::StartError;
use crate::fan_out::CommitFlag;
use crate::listening::{self, ListenerChange, Place, Served, Transport, Wanted};
use crate::placement::{self, Placement};
use crate::registry::Registry;
use crate::ring;
use crate::service::{Gate, Service};
use crate::stats::EngineStats;

/// How long a socket that is to be closed is waited for, before what is to have its address is tried anyway.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// A running set of data threads and the accept thread.
pub(crate) struct Running<S: Service> {
    cores: Vec<CoreHandle<S>>,
    core_threads: Vec<JoinHandle<()>>,
    accept_thread: Option<JoinHandle<()>>,
    stop: StopSignal,
    orders: Orders,
    /// The sockets that requestors reach, in the order they were asked for.
    served: Vec<Served>,
    next_id: u64,
    pub clock: Clock,
    pub registry: Arc<Registry>,
    pub stats: Arc<EngineStats>,
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
        let threads = placement.threads.len();
        let wanted = listening::all(listeners);
        let ListenerChange { places, .. } = ListenerChange::prepare(&[], &wanted)?;
        let stats = Arc::new(EngineStats::default());
        let mut running = Running {
            cores: Vec::new(),
            core_threads: Vec::new(),
            accept_thread: None,
            stop: StopSignal::new()?,
            clock,
            orders: Orders::new()?,
            registry: Arc::default(),
            stats: stats.clone(),
            served: Vec::new(),
            next_id: 0,
        };
        // Dropping `running` on an error ends the threads that were started.
        for (number, &cpu) in placement.threads.iter().enumerate() {
            running.start_core(config, number, threads, cpu, clock, make.clone())?;
        }
        running.serve(places);
        let acceptor = Acceptor {
            listeners: Vec::new(),
            gate,
            cores: running.cores.clone(),
            registry: running.registry.clone(),
            stats,
            stop: running.stop.waiter(),
            orders: running.orders.clone(),
            spare: accept::spare(),
        };
        running.accept_thread = Some(spawn("leaseq-accept".into(), move || acceptor.run())?);
        Ok(running)
    }

    fn start_core(
        &mut self,
        config: &EngineConfig,
        number: usize,
        threads: usize,
        cpu: Option<usize>,
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
                runtime.block_on(core::run(core, receiver));
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

    /// Where requestors are listened to.
    pub fn addresses(&self) -> Listeners {
        listening::bound(&self.served)
    }

    /// Binds what is to be listened on instead, as far as that can be done before anything is closed. Once the accept thread
    /// has ended, nothing is changed for connections.
    pub fn prepare_listeners(&self, listeners: &Listeners) -> Result<ListenerChange, StartError> {
        let mut wanted = listening::all(listeners);
        if self.accept_thread.is_none() {
            let is_tcp = |wanted: &Wanted| wanted.transport == Transport::Tcp;
            wanted.retain(|one| !is_tcp(one));
            let served = self.served.iter().map(|one| one.wanted);
            wanted.splice(..0, served.filter(is_tcp));
        }
        ListenerChange::prepare(&self.served, &wanted)
    }

    /// Closes what is listened on no more, and serves what is new. Connections that were accepted go on. Tells what could not
    /// be bound in place of what it overlaps with; that stays then.
    pub fn change_listeners(&mut self, change: ListenerChange) -> Vec<StartError> {
        let (held, closed) = std_mpsc::channel();
        for served in &change.removed {
            let held = held.clone();
            match served.core {
                None => self.orders.give(Order::Close(served.id, held)),
                // Fails only once the core has stopped, and closed it.
                Some(core) => {
                    let close = Command::CloseDatagrams(served.id, held);
                    let _ = self.cores[core].commands.send(close);
                }
            }
        }
        drop(held);
        // Nothing is ever sent: it ends when the last sender is dropped.
        let _ = closed.recv_timeout(CLOSE_TIMEOUT);
        let mut failed = Vec::new();
        let places = change.complete(&mut failed);
        self.serve(places);
        failed
    }

    /// Has the threads serve these sockets, and knows them.
    fn serve(&mut self, places: Vec<Place>) {
        let mut served = Vec::new();
        for place in places {
            let opened = match place {
                Place::Kept(kept) => {
                    served.push(kept);
                    continue;
                }
                Place::Opened(opened) => opened,
                Place::Later(_) => continue,
            };
            let (id, wanted, bound) = (self.next_id, opened.wanted, opened.bound);
            self.next_id += 1;
            let family = wanted.family;
            let core = match wanted.transport {
                Transport::Tcp => {
                    let socket = opened.into_listener();
                    self.orders
                        .give(Order::Listen(Listener { id, socket, family }));
                    None
                }
                // Each socket has one core, so that the order of requests on it is kept.
                Transport::Udp => {
                    let sockets = |core: &usize| {
                        let is_its = |one: &&Served| one.core == Some(*core);
                        served.iter().filter(is_its).count()
                    };
                    let least = (0..self.cores.len()).min_by_key(sockets);
                    if let Some(core) = least {
                        let _ = self.cores[core].commands.send(Command::Answer(Datagrams {
                            id,
                            socket: opened.into_datagrams(),
                            family,
                            address: bound,
                        }));
                    }
                    least
                }
            };
            served.push(Served {
                id,
                wanted,
                bound,
                core,
            });
        }
        self.served = served;
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
        // Listeners that it has not taken over are closed too.
        self.orders.withdraw();
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

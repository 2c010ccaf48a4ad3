//! One data core: its connections, timers, buffers and datagram sockets, on a thread and a ring of its own.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::task::Waker;
use std::time::{Duration, Instant};

use leaseq_session::{Family, Mono};
use slab::Slab;
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinHandle;

use crate::config::EngineConfig;
use crate::connection::Connection;
use crate::drain::{Spread, Undrained};
use crate::fan_out::{self, CommitFlag};
use crate::pool::Pool;
use crate::registry::Entry;
use crate::service::Service;
use crate::socket;
use crate::stats::EngineStats;
use crate::udp::{self, Closing};
use crate::wheel::Wheel;

/// Octets read from a connection in a turn. What the session does not take of them is kept for it.
const INBOX_OCTETS: usize = 4_096;
/// How often buffers that are not needed are looked for.
const TRIM_EVERY: Duration = Duration::from_secs(1);
/// How long connections may take to end after they were reset.
const ABORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The engine's monotonic clock: milliseconds since it was started.
#[derive(Clone, Copy)]
pub(crate) struct Clock(Instant);

impl Clock {
    /// A clock that starts now.
    pub fn start() -> Clock {
        Clock(Instant::now())
    }

    /// The present moment.
    pub fn now(&self) -> Mono {
        Mono::from_millis(u64::try_from(self.0.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    /// The moment as the runtime's timers count it.
    fn instant(&self, at: Mono) -> tokio::time::Instant {
        (self.0 + Duration::from_millis(at.as_millis())).into()
    }
}

/// What a connection is told from outside, as a set.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signals(u8);

impl Signals {
    pub const NONE: Signals = Signals(0);
    /// It was just made.
    pub const START: Signals = Signals(1);
    /// A moment it was scheduled for has come.
    pub const TIMER: Signals = Signals(2);
    /// The server stops.
    pub const TERMINATE: Signals = Signals(4);
    /// Another connection has its place.
    pub const REPLACED: Signals = Signals(8);
    /// It is to end at once.
    pub const ABORT: Signals = Signals(16);
    /// Something else than the peer has given it something to do.
    pub const WAKE: Signals = Signals(32);
    /// The server is drained: it has a turn to end at.
    pub const DRAIN: Signals = Signals(64);
    /// It is to end now, as when the server stops.
    pub const END: Signals = Signals(128);

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `signal` is among them.
    pub fn contains(self, signal: Signals) -> bool {
        self.0 & signal.0 != 0
    }
}

struct Link {
    id: u64,
    family: Family,
    signals: Signals,
    waker: Option<Waker>,
}

/// How connections are reached by the rest of their core.
#[derive(Default)]
pub(crate) struct Links {
    links: RefCell<Slab<Link>>,
    removed: Notify,
}

impl Links {
    /// A link for the connection of that id; gives its key.
    pub fn add(&self, id: u64, family: Family) -> usize {
        self.links.borrow_mut().insert(Link {
            id,
            family,
            signals: Signals::START,
            waker: None,
        })
    }

    /// Takes the signals for a connection, and wakes `waker` at the next one.
    pub fn listen(&self, key: usize, waker: &Waker) -> Signals {
        let mut links = self.links.borrow_mut();
        let link = &mut links[key];
        match &mut link.waker {
            Some(held) => held.clone_from(waker),
            None => link.waker = Some(waker.clone()),
        }
        std::mem::replace(&mut link.signals, Signals::NONE)
    }

    /// Signals one connection, if it is still the one of that id.
    fn signal(&self, key: usize, id: u64, signal: Signals) {
        if let Some(link) = self
            .links
            .borrow_mut()
            .get_mut(key)
            .filter(|link| link.id == id)
        {
            link.raise(signal);
        }
    }

    fn signal_family(&self, family: Family, signal: Signals) {
        for (_, link) in self.links.borrow_mut().iter_mut() {
            if link.family == family {
                link.raise(signal);
            }
        }
    }

    fn signal_all(&self, signal: Signals) {
        for (_, link) in self.links.borrow_mut().iter_mut() {
            link.raise(signal);
        }
    }

    /// Has a connection take a turn, if it is still there.
    pub fn wake(&self, key: usize) {
        self.raise(key, Signals::WAKE);
    }

    fn raise(&self, key: usize, signal: Signals) {
        if let Some(link) = self.links.borrow_mut().get_mut(key) {
            link.raise(signal);
        }
    }

    /// Waits until no connection is left.
    async fn until_empty(&self) {
        while !self.links.borrow().is_empty() {
            self.removed.notified().await;
        }
    }

    /// Waits until no connection is left, but no longer than `timeout`; says how many are left.
    async fn emptied(&self, timeout: Duration) -> usize {
        // Nothing of the ring is waited for in here, so the future may be dropped.
        let _ = tokio::time::timeout(timeout, self.until_empty()).await;
        self.links.borrow().len()
    }
}

impl Link {
    fn raise(&mut self, signal: Signals) {
        let woken = !self.signals.is_empty();
        self.signals.0 |= signal.0;
        // With signals that it has not taken yet, it has been woken and has not run.
        if !woken && let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }
}

/// What the connections of a core share.
pub(crate) struct Core<S: Service> {
    pub service: S,
    pub pool: Pool,
    pub links: Links,
    /// What is read lies here until the session has taken it: no connection has a buffer of its own for it.
    pub inbox: RefCell<Box<[u8]>>,
    pub stats: Arc<EngineStats>,
    /// How long a connection whose place is taken may take to end.
    pub ending_timeout: Cell<Duration>,
    /// When connections end, once the server is drained.
    pub spread: Cell<Option<Spread>>,
    clock: Clock,
    wheel: RefCell<Wheel>,
    /// What the timer task sleeps for.
    sleeps_until: Cell<Option<Mono>>,
    earlier: Notify,
    /// Raised by whoever commits.
    pub commits: Arc<CommitFlag>,
    /// Notified on this thread when the flag was raised.
    pub told_of_commits: Notify,
}

/// What a core is asked to do.
pub(crate) enum Command<S: Service> {
    /// Serve a connection that was admitted.
    Open {
        socket: OwnedFd,
        entry: Arc<Entry>,
        pass: S::Pass,
    },
    /// Tell a connection something, if it is still open.
    Signal(Arc<Entry>, Signals),
    /// Look at what was committed.
    Committed,
    /// Take something over, such as new settings.
    Apply(Box<dyn FnOnce(&S) + Send>),
    /// End all connections one after another over a time, and drop the last member when none is left.
    Drain {
        over: Duration,
        seed: u64,
        undrained: Undrained,
    },
    /// End the connections of a family.
    EndFamily(Family),
    /// How long connections may take to end from now on.
    EndingTimeout(Duration),
    /// Answer the datagrams of another socket.
    Answer(Datagrams),
    /// Close the socket of this id, and drop the sender then.
    CloseDatagrams(u64, Sender<Infallible>),
    /// End all connections and return.
    Stop,
}

/// A datagram socket, with the family it serves.
pub(crate) struct Datagrams {
    /// What it is closed by.
    pub id: u64,
    pub socket: OwnedFd,
    pub family: Family,
    pub address: SocketAddr,
}

impl<S: Service> Core<S> {
    /// A core without connections.
    pub fn new(
        service: S,
        config: &EngineConfig,
        clock: Clock,
        stats: Arc<EngineStats>,
        commits: Arc<CommitFlag>,
    ) -> Rc<Core<S>> {
        Rc::new(Core {
            service,
            pool: Pool::new(config.chunk_octets, config.budget_octets, stats.clone()),
            links: Links::default(),
            inbox: RefCell::new(vec![0; INBOX_OCTETS].into()),
            stats,
            ending_timeout: Cell::new(config.shutdown_timeout),
            spread: Cell::new(None),
            clock,
            wheel: RefCell::new(Wheel::new(clock.now())),
            sleeps_until: Cell::new(None),
            earlier: Notify::new(),
            commits,
            told_of_commits: Notify::new(),
        })
    }

    /// The present moment.
    pub fn now(&self) -> Mono {
        self.clock.now()
    }

    /// Has those connections take a turn that others' sessions have made ready, and the log looked at for those that are
    /// behind.
    pub fn wake_ready(&self) {
        self.service.ready(&mut |key| self.links.wake(key));
        if self.service.is_behind() {
            self.told_of_commits.notify_one();
        }
    }

    /// Has a connection told at `at`, or somewhat earlier.
    pub fn schedule(&self, key: usize, at: Mono) {
        self.wheel.borrow_mut().schedule(key, at);
        if self.sleeps_until.get().is_none_or(|until| at < until) {
            self.earlier.notify_one();
        }
    }

    /// Forgets a connection.
    pub fn remove(&self, key: usize) {
        self.wheel.borrow_mut().cancel(key);
        self.links.links.borrow_mut().try_remove(key);
        // A drain and the end of the core may both be waiting.
        self.links.removed.notify_waiters();
    }

    async fn run_timers(self: Rc<Self>) {
        loop {
            let due = self.wheel.borrow().next_due();
            let trim = self.pool.has_spare().then(|| self.now() + TRIM_EVERY);
            let until = [due, trim].into_iter().flatten().min();
            self.sleeps_until.set(until);
            match until {
                None => self.earlier.notified().await,
                Some(at) => tokio::select! {
                    () = tokio::time::sleep_until(self.clock.instant(at)) => {}
                    () = self.earlier.notified() => {}
                },
            }
            let now = self.now();
            if trim.is_some_and(|at| at <= now) {
                self.pool.trim();
            }
            self.wheel
                .borrow_mut()
                .expire(now, |key| self.links.raise(key, Signals::TIMER));
        }
    }
}

/// A task that answers the datagrams of a socket.
struct Responder {
    id: u64,
    socket: Rc<OwnedFd>,
    closing: Rc<Closing>,
    task: JoinHandle<()>,
}

impl Responder {
    fn start<S: Service>(core: &Rc<Core<S>>, datagrams: Datagrams) -> Responder {
        let Datagrams {
            id,
            socket,
            family,
            address,
        } = datagrams;
        let socket = Rc::new(socket);
        let closing = Rc::<Closing>::default();
        let serving = udp::serve(
            core.clone(),
            socket.clone(),
            closing.clone(),
            family,
            address,
        );
        Responder {
            id,
            task: tokio_uring::spawn(serving),
            socket,
            closing,
        }
    }

    /// Ends the task, with which the socket is closed.
    fn close(self, closed: Sender<Infallible>) {
        self.closing.begin(closed);
        // The ring cannot be told to wait no longer, so the socket is made to end the wait.
        socket::end(self.socket.as_fd());
    }
}

/// Runs a core until it is told to stop, then ends its connections: first as the protocol asks, after the shutdown
/// timeout by resetting them.
pub(crate) async fn run<S: Service>(
    core: Rc<Core<S>>,
    mut commands: UnboundedReceiver<Command<S>>,
) {
    tokio_uring::spawn(core.clone().run_timers());
    tokio_uring::spawn(fan_out::run(core.clone()));
    let mut responders: Vec<Responder> = Vec::new();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Open {
                socket,
                entry,
                pass,
            } => {
                tokio_uring::spawn(Connection::new(core.clone(), socket, entry, pass));
            }
            Command::Signal(entry, signal) => {
                let key = entry.key.load(std::sync::atomic::Ordering::Relaxed);
                core.links.signal(key, entry.id, signal);
            }
            Command::Committed => core.told_of_commits.notify_one(),
            Command::Apply(change) => change(&core.service),
            Command::Drain {
                over,
                seed,
                undrained,
            } => {
                core.spread.set(Some(Spread::new(core.now(), over, seed)));
                core.links.signal_all(Signals::DRAIN);
                let core = core.clone();
                tokio_uring::spawn(async move {
                    core.links.until_empty().await;
                    drop(undrained);
                });
            }
            Command::EndFamily(family) => core.links.signal_family(family, Signals::END),
            Command::EndingTimeout(timeout) => core.ending_timeout.set(timeout),
            Command::Answer(datagrams) => responders.push(Responder::start(&core, datagrams)),
            Command::CloseDatagrams(id, closed) => {
                if let Some(at) = responders.iter().position(|one| one.id == id) {
                    responders.swap_remove(at).close(closed);
                }
            }
            Command::Stop => break,
        }
    }
    responders.into_iter().for_each(|one| one.task.abort());
    core.links.signal_all(Signals::TERMINATE);
    let left = core.links.emptied(core.ending_timeout.get()).await;
    if left > 0 {
        tracing::warn!(
            id = "engine-shutdown-timeout",
            connections = left,
            "connections did not end in time and are reset"
        );
        core.links.signal_all(Signals::ABORT);
        core.links.emptied(ABORT_TIMEOUT).await;
    }
}

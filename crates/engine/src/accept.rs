//! The accept thread: takes connections, has the gate decide, hands each to the least loaded core.

use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use leaseq_session::Family;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use socket2::Socket;
use tokio::sync::mpsc::UnboundedSender;

use crate::core::{Command, Signals};
use crate::error::StartError;
use crate::fan_out::CommitFlag;
use crate::registry::{Entry, Registry};
use crate::service::{Gate, Service};
use crate::socket;
use crate::stats::{self, EngineStats};

/// Connections taken from one listener before the others are looked at.
const BURST: usize = 256;
/// How long to wait for the stop signal before trying again when the kernel has no memory for a connection.
const BACK_OFF: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// How a core is reached from other threads.
pub(crate) struct CoreHandle<S: Service> {
    /// Unbounded, but each connection in it was admitted, so the limits of admission bound it.
    pub commands: UnboundedSender<Command<S>>,
    /// Connections it has.
    pub load: Arc<AtomicUsize>,
    /// Whether it has been told of commits.
    pub commits: Arc<CommitFlag>,
}

impl<S: Service> CoreHandle<S> {
    /// Tells the core that something was committed, unless it knows. Waits for nothing.
    pub fn committed(&self) {
        if self.commits.raise() {
            // Fails only once the core has stopped.
            let _ = self.commands.send(Command::Committed);
        }
    }
}

impl<S: Service> Clone for CoreHandle<S> {
    fn clone(&self) -> Self {
        CoreHandle {
            commands: self.commands.clone(),
            load: self.load.clone(),
            commits: self.commits.clone(),
        }
    }
}

/// A listening socket and the family it serves.
pub(crate) struct Listener {
    /// What it is closed by.
    pub id: u64,
    pub socket: Socket,
    pub family: Family,
}

/// Ends the accept thread.
pub(crate) struct StopSignal(Arc<OwnedFd>);

impl StopSignal {
    /// One that has not been given yet.
    pub fn new() -> Result<StopSignal, StartError> {
        rustix::event::eventfd(0, EventfdFlags::CLOEXEC)
            .map(|fd| StopSignal(Arc::new(fd)))
            .map_err(|error| StartError::system("make an event descriptor")(error.into()))
    }

    /// The same signal, for the thread that waits for it.
    pub fn waiter(&self) -> StopSignal {
        StopSignal(self.0.clone())
    }

    /// Gives the signal; it stays given.
    pub fn give(&self) {
        // Only a counter about to overflow could make this fail.
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

/// What the accept thread is told about its listeners.
pub(crate) enum Order {
    /// Accept on another one.
    Listen(Listener),
    /// Take what waits at this one, and close it; the sender is dropped then.
    Close(u64, Sender<Infallible>),
}

/// Where the accept thread finds its orders.
#[derive(Clone)]
pub(crate) struct Orders {
    /// Readable while there may be any.
    given: Arc<OwnedFd>,
    waiting: Arc<Mutex<Vec<Order>>>,
}

impl Orders {
    /// None yet.
    pub fn new() -> Result<Orders, StartError> {
        rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map(|fd| Orders {
                given: Arc::new(fd),
                waiting: Arc::default(),
            })
            .map_err(|error| StartError::system("make an event descriptor")(error.into()))
    }

    /// Gives one.
    pub fn give(&self, order: Order) {
        self.lock().push(order);
        // Only a counter about to overflow could make this fail.
        let _ = rustix::io::write(&*self.given, &1_u64.to_ne_bytes());
    }

    /// Takes back those that were not obeyed yet.
    pub fn withdraw(&self) {
        self.lock().clear();
    }

    fn take(&self) -> Vec<Order> {
        let _ = rustix::io::read(&*self.given, &mut [0; 8]);
        std::mem::take(&mut self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Order>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the accept thread works with.
pub(crate) struct Acceptor<S: Service, G> {
    pub listeners: Vec<Listener>,
    pub gate: G,
    pub cores: Vec<CoreHandle<S>>,
    pub registry: Arc<Registry>,
    pub stats: Arc<EngineStats>,
    pub stop: StopSignal,
    pub orders: Orders,
    /// A descriptor to be given up when there is no other; taken before anybody connects.
    pub spare: Option<File>,
}

enum Accepted {
    Connection(OwnedFd, SocketAddr),
    /// Nobody is waiting.
    None,
    /// This one failed, the next may not.
    Failed,
    /// No descriptor is left for this process or this machine.
    NoDescriptor,
    /// The kernel has no memory for it now.
    NoMemory,
}

impl<S: Service, G: Gate<Pass = S::Pass>> Acceptor<S, G> {
    /// Accepts until the stop signal is given. The listeners are closed when it returns.
    pub fn run(mut self) {
        let mut spare = self.spare.take();
        let mut starved = false;
        loop {
            let told = [&*self.stop.0, &*self.orders.given];
            let mut waiting: Vec<PollFd<'_>> = told
                .map(|fd| PollFd::new(fd, PollFlags::IN))
                .into_iter()
                .chain(
                    self.listeners
                        .iter()
                        .map(|listener| PollFd::new(&listener.socket, PollFlags::IN)),
                )
                .collect();
            match rustix::event::poll(&mut waiting, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => {
                    tracing::error!(id = "engine-accept-poll", %error, "waiting for connections failed");
                    if self.wait_for_stop(&BACK_OFF) {
                        return;
                    }
                }
            }
            if !waiting[0].revents().is_empty() {
                return;
            }
            if !waiting[1].revents().is_empty() {
                if self.obey(&mut spare, &mut starved) {
                    return;
                }
                // The listeners are not those that were waited for.
                continue;
            }
            let ready: Vec<bool> = waiting[2..]
                .iter()
                .map(|fd| !fd.revents().is_empty())
                .collect();
            for (listener, _) in self.listeners.iter().zip(ready).filter(|(_, ready)| *ready) {
                if self.burst(listener, &mut spare, &mut starved) {
                    return;
                }
            }
        }
    }

    /// Takes over other listeners; whether the stop signal came meanwhile.
    fn obey(&mut self, spare: &mut Option<File>, starved: &mut bool) -> bool {
        for order in self.orders.take() {
            match order {
                Order::Listen(listener) => self.listeners.push(listener),
                Order::Close(id, closed) => {
                    let is_it = |listener: &Listener| listener.id == id;
                    let Some(at) = self.listeners.iter().position(is_it) else {
                        continue;
                    };
                    let listener = self.listeners.swap_remove(at);
                    // Whoever has connected is served.
                    let stopped = self.burst(&listener, spare, starved);
                    drop(listener);
                    drop(closed);
                    if stopped {
                        return true;
                    }
                }
            }
        }
        false
    }

    /// Takes what waits at one listener; whether the stop signal came meanwhile.
    fn burst(&self, listener: &Listener, spare: &mut Option<File>, starved: &mut bool) -> bool {
        for _ in 0..BURST {
            match accept(listener) {
                Accepted::Connection(socket, peer) => {
                    *starved = false;
                    self.serve(listener.family, socket, peer);
                }
                Accepted::None => return false,
                Accepted::Failed => stats::add(&self.stats.accept_errors, 1),
                Accepted::NoDescriptor => {
                    stats::add(&self.stats.no_descriptor, 1);
                    if !std::mem::replace(starved, true) {
                        tracing::error!(
                            id = "engine-no-descriptor",
                            "no file descriptor is left: connections are closed at once; raise the limit of open files \
                             (LimitNOFILE= in a systemd unit) or lower limits.max-connections"
                        );
                    }
                    // The spare descriptor makes room to take the connection and close it: its peer is told, and
                    // the listener does not stay ready for ever.
                    let had_spare = spare.take().is_some();
                    let taken = had_spare && matches!(accept(listener), Accepted::Connection(..));
                    *spare = self::spare();
                    if !taken {
                        return self.wait_for_stop(&BACK_OFF);
                    }
                }
                Accepted::NoMemory => {
                    stats::add(&self.stats.accept_errors, 1);
                    return self.wait_for_stop(&BACK_OFF);
                }
            }
        }
        false
    }

    fn serve(&self, family: Family, socket: OwnedFd, peer: SocketAddr) {
        let Some(admission) = self.gate.admit(family, peer.ip()) else {
            return socket::refuse(socket);
        };
        if let Some(replaced) = admission.replaces.and_then(|id| self.registry.find(id)) {
            // A core that is gone has no connections either.
            let _ = self.cores[replaced.core]
                .commands
                .send(Command::Signal(replaced, Signals::REPLACED));
        }
        if socket::prepare(&socket, self.gate.data_timeout()).is_err() {
            // The peer has gone already.
            return stats::add(&self.stats.accept_errors, 1);
        }
        let least = self
            .cores
            .iter()
            .enumerate()
            .min_by_key(|(_, core)| core.load.load(Ordering::Relaxed));
        let Some((number, core)) = least else { return };
        let entry = Entry::new(admission.id, peer, family, number, core.load.clone());
        self.registry.add(&entry);
        // Fails only while the engine stops; the connection is closed with the command.
        let _ = core.commands.send(Command::Open {
            socket,
            entry,
            pass: admission.pass,
        });
    }

    /// Waits for the stop signal, but no longer than `timeout`; whether it was given.
    fn wait_for_stop(&self, timeout: &Timespec) -> bool {
        let mut waiting = [PollFd::new(&*self.stop.0, PollFlags::IN)];
        matches!(rustix::event::poll(&mut waiting, Some(timeout)), Ok(1..))
    }
}

/// A descriptor that is good for nothing but to be given up.
pub(crate) fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

fn accept(listener: &Listener) -> Accepted {
    // Blocking sockets: the ring answers EAGAIN at once on those that are not.
    match listener.socket.accept4(libc::SOCK_CLOEXEC) {
        Ok((socket, peer)) => match peer.as_socket() {
            Some(peer) => Accepted::Connection(socket.into(), peer),
            None => Accepted::Failed,
        },
        Err(error) => match error.raw_os_error() {
            Some(libc::EAGAIN) => Accepted::None,
            Some(libc::EMFILE | libc::ENFILE) => Accepted::NoDescriptor,
            Some(libc::ENOBUFS | libc::ENOMEM) => Accepted::NoMemory,
            _ => Accepted::Failed,
        },
    }
}

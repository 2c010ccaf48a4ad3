//! TCP connections on their way to a server, cut when a test says so: at once, after a number of octets, or where the server
//! has told a number of bindings in a phase of what it tells.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use leaseq_wire::frame::{self, Split};
use rustix::net::sockopt::set_socket_linger;

use crate::message::{Request, Said};

/// How long a test waits for what must come, before it fails: longer than a requestor waits for a silent server.
const PATIENCE: Duration = Duration::from_secs(300);

/// What a server is about to tell on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Bulk,
    /// What happened before an active query.
    CatchUp,
    /// What happens now.
    Live,
}

/// How a connection is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Both sides are told its end (FIN).
    End,
    /// Both sides are told that it is gone (RST).
    Reset,
    /// Nobody is told: nothing comes any more.
    Silence,
}

/// Where a connection is cut: in this phase, once so many bindings were told in it.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub phase: Phase,
    pub bindings: u64,
    pub how: How,
}

/// What was asked and told on all connections.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// Bulk queries, and their ends.
    pub bulks: u64,
    pub bulks_done: u64,
    /// Active queries, and those among them for everything from the beginning of time.
    pub streams: u64,
    pub from_beginning: u64,
    /// Ends of catching up, and that it was not possible.
    pub caught_up: u64,
    pub missing: u64,
    /// Connections that were cut where a test said.
    pub cuts: u64,
}

/// Passes connections on to a server.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// Octets that the server may say on each connection.
    octets: u64,
    cuts: VecDeque<Cut>,
    /// Whoever connects waits.
    is_held: bool,
    seen: Seen,
    open: Vec<Weak<Pair>>,
}

/// A connection of the mirror and the one to the server that it is passed on to.
struct Pair {
    mirror: TcpStream,
    server: TcpStream,
    asked: OnceLock<Request>,
}

impl Proxy {
    pub fn to(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            state: Mutex::new(State {
                octets: u64::MAX,
                cuts: VecDeque::new(),
                is_held: false,
                seen: Seen::default(),
                open: Vec::new(),
            }),
            changed: Condvar::new(),
        });
        let passing = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                passing.wait("the release", |state| !state.is_held);
                pass(&passing, stream);
            }
        });
        Proxy { address, shared }
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for pair in self.shared.state().open.drain(..) {
            if let Some(pair) = pair.upgrade() {
                pair.cut(How::End);
            }
        }
    }

    /// Cuts connections after so many octets of the server, those that are open too.
    pub fn cut_after(&self, octets: u64) {
        self.shared.state().octets = octets;
    }

    /// Cuts no more.
    pub fn heal(&self) {
        self.cut_after(u64::MAX);
    }

    /// Cuts connections at these places, one after the other.
    pub fn cut_at(&self, cuts: &[Cut]) {
        self.shared.state().cuts.extend(cuts);
    }

    /// Waits until all places were come to where to cut.
    pub fn wait_for_cuts(&self) {
        self.shared.wait("a cut", |state| state.cuts.is_empty());
    }

    /// Has whoever connects from now on wait, without a word.
    pub fn hold(&self) {
        self.shared.state().is_held = true;
    }

    /// Passes on whoever waits.
    pub fn release(&self) {
        self.shared.state().is_held = false;
        self.shared.changed.notify_all();
    }

    pub fn seen(&self) -> Seen {
        self.shared.state().seen
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    fn wait(&self, what: &str, is_so: impl Fn(&State) -> bool) {
        let mut state = self.state();
        while !is_so(&state) {
            let (next, waited) = self.changed.wait_timeout(state, PATIENCE).unwrap();
            state = next;
            let is_late = waited.timed_out() && !is_so(&state);
            assert!(
                !is_late,
                "never came: {what}; {:?} {:?}",
                state.cuts, state.seen
            );
        }
    }
}

impl Pair {
    fn cut(&self, how: How) {
        let both = [&self.mirror, &self.server];
        // One that is gone need not be cut.
        match how {
            How::End => both.map(|stream| drop(stream.shutdown(Shutdown::Both))),
            // Whoever reads wakes and lets go of it; closed like this it is reset.
            How::Reset => both.map(|stream| {
                let _ = set_socket_linger(stream, Some(Duration::ZERO));
                let _ = stream.shutdown(Shutdown::Read);
            }),
            How::Silence => [(), ()],
        };
    }
}

fn pass(shared: &Arc<Shared>, mirror: TcpStream) {
    let Ok(server) = TcpStream::connect(shared.server) else {
        return;
    };
    let pair = Arc::new(Pair {
        mirror,
        server,
        asked: OnceLock::new(),
    });
    shared.state().open.push(Arc::downgrade(&pair));
    let (asking, asked) = (Arc::clone(shared), Arc::clone(&pair));
    thread::spawn(move || ask(&asking, &asked));
    let shared = Arc::clone(shared);
    thread::spawn(move || tell(&shared, &pair));
}

/// Passes on what the mirror asks, until it closes or was reset.
fn ask(shared: &Shared, pair: &Pair) {
    let mut first = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(n) = (&pair.mirror).read(&mut buffer) {
        if pair.asked.get().is_none() {
            first.extend(&buffer[..n]);
            if let Split::Frame { message, .. } = frame::split(&first) {
                let request = Request::read(message);
                let seen = &mut shared.state().seen;
                match request {
                    Request::Bulk => seen.bulks += 1,
                    Request::Active { from_beginning } => {
                        seen.streams += 1;
                        seen.from_beginning += u64::from(from_beginning);
                    }
                }
                let _ = pair.asked.set(request);
                shared.changed.notify_all();
            }
        }
        if n == 0 || (&pair.server).write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    pair.leave();
}

/// Passes on what the server tells, message by message, until it closes or its connection is cut.
fn tell(shared: &Shared, pair: &Pair) {
    let (mut octets, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
    let (mut place, mut passed) = (Place::default(), 0);
    while let Ok(n) = (&pair.server).read(&mut buffer) {
        octets.extend(&buffer[..n]);
        let (whole, cut) = place.look(shared, pair, &octets);
        let left = shared.state().octets.saturating_sub(passed);
        let now = whole.min(usize::try_from(left).unwrap_or(usize::MAX));
        if n == 0 || (&pair.mirror).write_all(&octets[..now]).is_err() || now < whole {
            break;
        }
        passed += now as u64;
        octets.drain(..now);
        if let Some(how) = cut {
            pair.cut(how);
            let mut state = shared.state();
            state.cuts.pop_front();
            state.seen.cuts += 1;
            shared.changed.notify_all();
            return;
        }
    }
    pair.leave();
}

impl Pair {
    /// One side has gone, or was made to: so does the other.
    fn leave(&self) {
        let is_reset = [&self.mirror, &self.server]
            .into_iter()
            .any(|stream| matches!(rustix::net::sockopt::socket_linger(stream), Ok(Some(_))));
        if !is_reset {
            self.cut(How::End);
        }
    }
}

/// What a server has told on a connection.
#[derive(Default)]
struct Place {
    is_live: bool,
    /// Bindings in this phase.
    bindings: u64,
}

impl Place {
    /// Takes note of the whole messages at the beginning of `octets`. Gives how many octets of them are to be passed on, and
    /// how the connection is to be cut after them.
    fn look(&mut self, shared: &Shared, pair: &Pair, octets: &[u8]) -> (usize, Option<How>) {
        let mut whole = 0;
        let mut state = shared.state();
        while let Split::Frame { message, consumed } = frame::split(&octets[whole..]) {
            whole += consumed;
            let phase = match pair.asked.get() {
                Some(Request::Active { .. }) if self.is_live => Phase::Live,
                Some(Request::Active { .. }) => Phase::CatchUp,
                Some(Request::Bulk) | None => Phase::Bulk,
            };
            match Said::read(message) {
                Said::Binding => {
                    self.bindings += 1;
                    let cut = state.cuts.front();
                    let cut = cut.filter(|cut| cut.phase == phase && cut.bindings <= self.bindings);
                    if let Some(cut) = cut {
                        return (whole, Some(cut.how));
                    }
                }
                Said::CaughtUp => {
                    (self.is_live, self.bindings) = (true, 0);
                    state.seen.caught_up += 1;
                }
                Said::Missing => state.seen.missing += 1,
                Said::Done => state.seen.bulks_done += 1,
                Said::Other => {}
            }
            shared.changed.notify_all();
        }
        (whole, None)
    }
}

//! Accepts writers, and ends them when the server stops.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use leaseq_store::Store;
use socket2::Socket;

use super::address::Address;
use super::connection;
use crate::run::{Phase, Running, Status};

/// Writers at a time; a further one is told so and closed.
pub const MAX_WRITERS: usize = 128;
/// How long a writer may take no answers before its connection is closed.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// How long writers may take their last answers when the server stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// Pause after an accept that failed for want of something (open files): it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A socket that takes lease events in NDJSON, see [`crate::socket`].
pub struct NdjsonListener {
    address: Address,
    socket: Arc<Socket>,
    writers: Arc<Writers>,
    accepting: Option<JoinHandle<()>>,
}

/// The writers that are connected.
struct Writers {
    stopping: AtomicBool,
    connected: Mutex<HashMap<u64, Arc<Socket>>>,
    one_left: Condvar,
    status: Arc<Status>,
}

impl Writers {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Arc<Socket>>> {
        self.connected
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl NdjsonListener {
    /// Listens on `address` and hands what writers send to `store`; `status` tells of all of them together.
    pub fn start(
        address: &Address,
        store: Arc<Store>,
        status: Arc<Status>,
    ) -> io::Result<NdjsonListener> {
        let (socket, address) = address.listen()?;
        let socket = Arc::new(socket);
        status.set_writers(0);
        // Writers bring what they have when they like: there is nothing to load first.
        status.enter(Phase::Following);
        let writers = Arc::new(Writers {
            stopping: AtomicBool::new(false),
            connected: Mutex::default(),
            one_left: Condvar::new(),
            status,
        });
        let accepting = {
            let (socket, writers) = (Arc::clone(&socket), Arc::clone(&writers));
            thread::Builder::new()
                .name("feed-accept".into())
                .spawn(move || accept(&socket, &writers, &store))?
        };
        Ok(NdjsonListener {
            address,
            socket,
            writers,
            accepting: Some(accepting),
        })
    }

    /// The address that it listens on; port 0 is replaced by the port that was bound.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// Writers that are connected.
    pub fn writers(&self) -> usize {
        self.writers.lock().len()
    }

    /// Stops reading, answers what has been read, closes, and waits for the threads to end.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let Some(accepting) = self.accepting.take() else {
            return;
        };
        self.writers.stopping.store(true, Ordering::SeqCst);
        // On Linux this ends a blocked accept, of TCP and Unix sockets alike.
        let _ = self.socket.shutdown(Shutdown::Both);
        let _ = accepting.join();
        if let Address::Unix(path) = &self.address {
            let _ = fs::remove_file(path);
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        let mut connected = self.writers.lock();
        for socket in connected.values() {
            let _ = socket.shutdown(Shutdown::Read);
        }
        while !connected.is_empty() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                for socket in connected.values() {
                    let _ = socket.shutdown(Shutdown::Both);
                }
                connected = self
                    .writers
                    .one_left
                    .wait(connected)
                    .unwrap_or_else(PoisonError::into_inner);
            } else {
                let waited = self.writers.one_left.wait_timeout(connected, left);
                connected = waited.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

impl Running for NdjsonListener {
    fn stop(self: Box<Self>) {
        NdjsonListener::stop(*self);
    }
}

impl Drop for NdjsonListener {
    fn drop(&mut self) {
        self.end();
    }
}

fn accept(listener: &Socket, writers: &Arc<Writers>, store: &Arc<Store>) {
    let mut number = 0u64;
    while !writers.stopping.load(Ordering::SeqCst) {
        let socket = match listener.accept() {
            Ok((socket, _)) => socket,
            Err(_) if writers.stopping.load(Ordering::SeqCst) => return,
            Err(error) => {
                tracing::warn!(id = "feed-accept-failed", %error, "a writer could not be accepted");
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        number += 1;
        if let Err(error) = begin(socket, number, writers, store) {
            tracing::warn!(id = "feed-writer-refused", writer = number, %error, "a writer was refused");
        }
    }
}

fn begin(
    socket: Socket,
    number: u64,
    writers: &Arc<Writers>,
    store: &Arc<Store>,
) -> io::Result<()> {
    socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let socket = Arc::new(socket);
    {
        let mut connected = writers.lock();
        if connected.len() >= MAX_WRITERS {
            let told = format!(
                "{{\"line\":0,\"error\":\"expected at most {MAX_WRITERS} writers at a time\"}}\n"
            );
            let _ = (&*socket).write(told.as_bytes());
            return Err(io::Error::other(format!(
                "{MAX_WRITERS} writers are connected already"
            )));
        }
        connected.insert(number, Arc::clone(&socket));
        writers.status.set_writers(connected.len() as u64);
    }
    let leave = Leave {
        writers: Arc::clone(writers),
        number,
    };
    let store = Arc::clone(store);
    let status = Arc::clone(&writers.status);
    thread::Builder::new()
        .name("feed-writer".into())
        .spawn(move || {
            let _leave = leave;
            tracing::info!(
                id = "feed-writer-connected",
                writer = number,
                "a writer of leases connected"
            );
            let served = connection::serve(&socket, &store, &status);
            // The writer is to see the end before the listener counts it as gone.
            let _ = socket.shutdown(Shutdown::Both);
            drop(store);
            match served {
                Ok(lines) => tracing::info!(
                    id = "feed-writer-left",
                    writer = number,
                    lines,
                    "a writer of leases left"
                ),
                Err(error) => status.trouble(
                    "feed-writer-failed",
                    format_args!("writer {number} failed: {error}"),
                ),
            }
        })?;
    Ok(())
}

/// Takes a writer off the table however its thread ends.
struct Leave {
    writers: Arc<Writers>,
    number: u64,
}

impl Drop for Leave {
    fn drop(&mut self) {
        let mut connected = self.writers.lock();
        connected.remove(&self.number);
        self.writers.status.set_writers(connected.len() as u64);
        self.writers.one_left.notify_all();
    }
}

//! Tells in the log which certificates are about to end, and whose names were refused.
//!
//! A thread of its own: the log may be slow, and handshakes run where requestors are served.

use std::io;
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use super::Certificate;
use super::dates::End;

/// How often certificates that are about to end are told.
const DAY: Duration = Duration::from_secs(24 * 3_600);
/// Events that may wait to be told; refusals above them are only counted as failed handshakes.
const MAX_WAITING: usize = 64;

/// Where refusals are sent, once there is somebody to tell them.
static TO_TELL: OnceLock<SyncSender<Event>> = OnceLock::new();

enum Event {
    NameRefused(Vec<String>),
    Certificates(Vec<Certificate>),
    Stop,
}

/// A requestor's certificate was good, but none of its names is allowed. Never waits.
pub fn name_refused(names: Vec<String>) {
    if let Some(to_tell) = TO_TELL.get() {
        let _ = to_tell.try_send(Event::NameRefused(names));
    }
}

/// The thread that tells.
#[derive(Debug)]
pub struct Watch {
    to_tell: SyncSender<Event>,
    thread: JoinHandle<()>,
}

impl Watch {
    /// Tells at once, and every day.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn start(certificates: Vec<Certificate>) -> io::Result<Watch> {
        let (to_tell, events) = sync_channel(MAX_WAITING);
        let thread = thread::Builder::new()
            .name("certificates".to_owned())
            .spawn(move || tell(&events))?;
        // One server a process.
        let _ = TO_TELL.set(to_tell.clone());
        let watch = Watch { to_tell, thread };
        watch.replace(certificates);
        Ok(watch)
    }

    /// Other certificates are used from now on.
    pub fn replace(&self, certificates: Vec<Certificate>) {
        // The thread ends only after a stop.
        let _ = self.to_tell.send(Event::Certificates(certificates));
    }

    /// Ends the thread when it has told what waits.
    pub fn stop(self) {
        let _ = self.to_tell.send(Event::Stop);
        let _ = self.thread.join();
    }
}

fn tell(events: &Receiver<Event>) {
    let mut certificates = Vec::new();
    let mut told_at = SystemTime::now();
    loop {
        let now = SystemTime::now();
        // After a step backwards of the clock the day begins anew.
        let since = now.duration_since(told_at).unwrap_or(Duration::ZERO);
        match events.recv_timeout(DAY.saturating_sub(since)) {
            Ok(Event::NameRefused(names)) => tracing::warn!(
                id = "tls-name-refused",
                ?names,
                "a requestor was refused: none of its certificate's names is in tls.allowed-names"
            ),
            Ok(Event::Certificates(replaced)) => {
                certificates = replaced;
                told_at = SystemTime::now();
                tell_ends(&certificates, told_at);
            }
            Err(RecvTimeoutError::Timeout) => {
                told_at = SystemTime::now();
                tell_ends(&certificates, told_at);
            }
            Ok(Event::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn tell_ends(certificates: &[Certificate], now: SystemTime) {
    for certificate in certificates {
        match certificate.end(now) {
            End::Far => {}
            End::Soon(text) => tracing::warn!(id = "tls-certificate-expiring", "{text}"),
            End::Over(text) => tracing::error!(id = "tls-certificate-expired", "{text}"),
        }
    }
}

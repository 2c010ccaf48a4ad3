//! Drives a [`Follower`] over blocking sockets: one thread a connection reads, the caller's thread does everything else.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use leaseq_wire::time::UnixSeconds;

use crate::follow::{Action, FollowEvent, Follower, Line, Notice};

/// Octets asked of a connection at a time.
const READ_SIZE: usize = 64 * 1024;

/// Reports of reading threads that wait for the caller's thread; then they read no further, and the server's TCP stops.
const WAITING_REPORTS: usize = 8;

/// Something that a server told, or that happened on the way to it.
#[derive(Debug)]
pub enum Heard<'a> {
    /// The server told it.
    Event(FollowEvent<'a>),
    /// It happened to a connection.
    Notice(Notice),
    /// Everything that has come has been told; the next thing has to be waited for.
    Idle {
        /// What the follower remembers: with everything told so far, where another one can go on.
        base_time: Option<UnixSeconds>,
    },
}

/// Ends [`follow`] from another thread, such as one that waits for signals. Clones end the same one.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_wanted: AtomicBool,
    wake: Mutex<Option<SyncSender<Report>>>,
}

impl Stop {
    /// Not wanted yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// From now on it is.
    pub fn stop(&self) {
        self.shared.is_wanted.store(true, Ordering::SeqCst);
        let wake = self
            .shared
            .wake
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(wake) = wake.as_ref() {
            // If it is full, nobody sleeps.
            let _ = wake.try_send(Report::Wake);
        }
    }

    fn is_wanted(&self) -> bool {
        self.shared.is_wanted.load(Ordering::SeqCst)
    }

    fn wakes(&self, wake: Option<SyncSender<Report>>) {
        *self
            .shared
            .wake
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = wake;
    }
}

/// What a reading thread says of its connection, the `n`th of all.
#[derive(Debug)]
enum Report {
    Connected(u64, TcpStream),
    Octets(u64, Vec<u8>),
    Closed(u64, Option<io::Error>),
    Wake,
}

impl Report {
    /// Ends a connection that came to stand too late; the thread that reads it ends with it.
    fn hang_up(self) {
        if let Self::Connected(_, stream) = self {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Follows a server until `stop` is wanted or `on_heard` breaks off. Where it had come to is in the follower then, which
/// can be driven again.
pub fn follow(
    server: SocketAddr,
    follower: &mut Follower,
    stop: &Stop,
    on_heard: &mut dyn FnMut(Heard<'_>) -> ControlFlow<()>,
) {
    let (wake, reports) = sync_channel(WAITING_REPORTS);
    stop.wakes(Some(wake.clone()));
    let mut driver = Driver {
        server,
        follower,
        lines: [None, None],
        count: 0,
        wake,
        reports,
    };
    while !stop.is_wanted() && driver.turn(on_heard).is_continue() {}
    for line in [Line::Stream, Line::Fill] {
        driver.close(line);
        driver.follower.closed(line, None, Instant::now());
    }
    stop.wakes(None);
    driver.reports.try_iter().for_each(Report::hang_up);
}

struct Driver<'f> {
    server: SocketAddr,
    follower: &'f mut Follower,
    /// By [`Line`]: the number of its connection, and the connection once it stands.
    lines: [Option<(u64, Option<TcpStream>)>; 2],
    count: u64,
    wake: SyncSender<Report>,
    reports: Receiver<Report>,
}

impl Driver<'_> {
    /// Does one thing that is to be done, or waits for a report and takes it.
    fn turn(&mut self, on_heard: &mut dyn FnMut(Heard<'_>) -> ControlFlow<()>) -> ControlFlow<()> {
        let now = Instant::now();
        match self.follower.step(now) {
            Action::Connect(line) => self.connect(line),
            Action::Send(line, octets) => {
                let mut stream = match &self.lines[line as usize] {
                    Some((_, Some(stream))) => stream,
                    _ => return ControlFlow::Continue(()),
                };
                match stream.write_all(octets) {
                    Ok(()) => self.follower.sent(line),
                    Err(error) => {
                        self.close(line);
                        self.follower.closed(line, Some(error), Instant::now());
                    }
                }
            }
            Action::Close(line) => self.close(line),
            Action::Notice(notice) => return on_heard(Heard::Notice(notice)),
            Action::WaitUntil(until) => {
                let report = match self.reports.try_recv() {
                    Ok(report) => report,
                    Err(TryRecvError::Empty | TryRecvError::Disconnected) => {
                        let base_time = self.follower.base_time();
                        on_heard(Heard::Idle { base_time })?;
                        let left = until.saturating_duration_since(Instant::now());
                        match self
                            .reports
                            .recv_timeout(left.max(Duration::from_millis(1)))
                        {
                            Ok(report) => report,
                            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                                return ControlFlow::Continue(());
                            }
                        }
                    }
                };
                return self.take(report, on_heard);
            }
        }
        ControlFlow::Continue(())
    }

    fn take(
        &mut self,
        report: Report,
        on_heard: &mut dyn FnMut(Heard<'_>) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        let now = Instant::now();
        let number = match &report {
            Report::Connected(number, _)
            | Report::Octets(number, _)
            | Report::Closed(number, _) => *number,
            Report::Wake => return ControlFlow::Continue(()),
        };
        let is_its = |line: &Line| {
            let connection = &self.lines[*line as usize];
            connection
                .as_ref()
                .is_some_and(|(found, _)| *found == number)
        };
        // What was given up is not listened to any more.
        let Some(line) = [Line::Stream, Line::Fill].into_iter().find(is_its) else {
            report.hang_up();
            return ControlFlow::Continue(());
        };
        let mut flow = ControlFlow::Continue(());
        match report {
            Report::Connected(_, stream) => {
                self.lines[line as usize] = Some((number, Some(stream)));
                self.follower.connected(line, now);
            }
            Report::Octets(_, octets) => {
                self.follower.received(line, &octets, now, &mut |event| {
                    if flow.is_continue() {
                        flow = on_heard(Heard::Event(event));
                    }
                });
            }
            Report::Closed(_, error) => {
                self.close(line);
                self.follower.closed(line, error, now);
            }
            Report::Wake => {}
        }
        flow
    }

    fn connect(&mut self, line: Line) {
        self.count += 1;
        let number = self.count;
        self.lines[line as usize] = Some((number, None));
        let settings = self.follower.settings();
        let (server, connect, send) =
            (self.server, settings.connect_timeout, settings.send_timeout);
        let reports = self.wake.clone();
        // Ends when the connection does: it is shut down when it is given up.
        thread::spawn(move || {
            let end = read(server, connect, send, number, &reports);
            let _ = reports.send(Report::Closed(number, end.err()));
        });
    }

    fn close(&mut self, line: Line) {
        if let Some((_, Some(stream))) = self.lines[line as usize].take() {
            // It may be gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// Connects, and reads until the connection ends or nobody listens any more.
fn read(
    server: SocketAddr,
    connect_timeout: Duration,
    send_timeout: Duration,
    number: u64,
    reports: &SyncSender<Report>,
) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&server, connect_timeout)?;
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(send_timeout))?;
    if reports
        .send(Report::Connected(number, stream.try_clone()?))
        .is_err()
    {
        return Ok(());
    }
    let mut buffer = vec![0; READ_SIZE];
    loop {
        let octets = match stream.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => buffer[..n].to_vec(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if reports.send(Report::Octets(number, octets)).is_err() {
            return Ok(());
        }
    }
}

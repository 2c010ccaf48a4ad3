//! Drives changes into a server through its feed, at a fixed rate, whatever becomes of those before.
//!
//! Each family has a connection of its own with two threads: one writes every change when it is due, the other one reads the
//! answers. Both note on the board what they did. A feed that does not take lines as fast as they are due shows in how late
//! they were submitted.

mod reading;
mod writing;

use std::collections::BTreeMap;
use std::io;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use leaseq_requestor::Family;

use super::{Change, Schedule};
use crate::data::Inventory;
use crate::fault::{Fault, FaultKind, family_name};
use crate::measure::clock::now_ns;
use crate::result::{ChangesResult, KEPT_FAULTS};
use crate::scenario::Changes;
use crate::work::board::Board;
use reading::Answered;
use writing::Written;

/// Called so in results, where a group of relays has its name.
const GROUP: &str = "changes";

/// Changes that are being driven. Dropped, it ends at once.
#[derive(Debug)]
pub struct Driver {
    sides: Vec<Running>,
    stopping: Arc<AtomicBool>,
}

/// What became of the changes.
#[derive(Debug, Default)]
pub struct Driven {
    /// Counts and times.
    pub result: ChangesResult,
    /// Faults by kind.
    pub faults: BTreeMap<FaultKind, u64>,
    /// The first of them, whole; at most [`KEPT_FAULTS`].
    pub first_faults: Vec<Fault>,
    /// Why it was the generator that did not drive as many changes as were asked for.
    pub reasons: Vec<String>,
}

/// One family: what its threads share.
#[derive(Debug)]
struct Side {
    family: Family,
    inventory: Arc<Inventory>,
    schedule: Arc<Schedule>,
    board: Arc<Board>,
    stream: UnixStream,
    stopping: Arc<AtomicBool>,
    /// Number of the last change before the first line of this connection.
    before: u64,
    /// Nanoseconds from the clock's beginning to that of Unix time.
    unix_ns: u64,
}

#[derive(Debug)]
struct Running {
    side: Arc<Side>,
    writing: Option<JoinHandle<Written>>,
    reading: Option<JoinHandle<Answered>>,
    /// Closed when both threads have ended.
    ended: Receiver<()>,
}

impl Driver {
    /// Connects to the feed at this UNIX socket, once for each family, and begins: at the time at which relays begin, if the
    /// board tells a later one than now. The rate is shared by the families in turn.
    ///
    /// # Errors
    /// If there is no connection, or no thread.
    pub fn start(
        feed: &Path,
        changes: &Changes,
        sides: Vec<(Arc<Inventory>, Arc<Schedule>)>,
        board: Arc<Board>,
    ) -> io::Result<Self> {
        let mut driver = Self {
            sides: Vec::with_capacity(sides.len()),
            stopping: Arc::new(AtomicBool::new(false)),
        };
        let begin_ns = board.begin_ns().max(now_ns());
        let rate = writing::Rate::new(begin_ns, changes.per_second, sides.len());
        for (place, (inventory, schedule)) in sides.into_iter().enumerate() {
            let family = inventory.family();
            let side = Arc::new(Side {
                family,
                inventory,
                schedule,
                stream: UnixStream::connect(feed)?,
                stopping: Arc::clone(&driver.stopping),
                before: board.submitted(family),
                board: Arc::clone(&board),
                unix_ns: unix_ns(),
            });
            driver.sides.push(Running::start(side, rate.of(place))?);
        }
        Ok(driver)
    }

    /// No connection has ended before its time; what has is told by [`stop`](Self::stop).
    #[must_use]
    pub fn is_running(&self) -> bool {
        let mut reading = self.sides.iter().map(|side| &side.reading);
        reading.all(|reading| {
            reading
                .as_ref()
                .is_some_and(|reading| !reading.is_finished())
        })
    }

    /// Submits no more changes, waits for the answers that are still to come, at most for so long, and closes.
    #[must_use]
    pub fn stop(mut self, patience: Duration) -> Driven {
        let until = Instant::now() + patience;
        self.stopping.store(true, Ordering::Release);
        self.sides.iter().for_each(Running::wake);
        let mut driven = Driven::default();
        for side in std::mem::take(&mut self.sides) {
            side.join(until, &mut driven);
        }
        driven
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        for mut side in std::mem::take(&mut self.sides) {
            side.wake();
            side.close();
            // Nobody is left to be told.
            let _ = side.writing.take().map(JoinHandle::join);
            let _ = side.reading.take().map(JoinHandle::join);
        }
    }
}

impl Running {
    fn start(side: Arc<Side>, rate: writing::Rate) -> io::Result<Self> {
        let (until_end, ended) = channel();
        let mut running = Self {
            side,
            writing: None,
            reading: None,
            ended,
        };
        let name = |what| format!("{what}-{}", family_name(running.side.family));
        let (side, end): (_, Sender<()>) = (Arc::clone(&running.side), until_end.clone());
        let reading = thread::Builder::new().name(name("answers"));
        running.reading = Some(reading.spawn(move || {
            let answered = reading::read(&side);
            drop(end);
            answered
        })?);
        let side = Arc::clone(&running.side);
        let writing = thread::Builder::new().name(name("changes"));
        let writing = writing.spawn(move || {
            let written = writing::write(&side, rate);
            drop(until_end);
            written
        });
        running.writing = Some(writing.inspect_err(|_| running.close())?);
        Ok(running)
    }

    fn wake(&self) {
        if let Some(writing) = &self.writing {
            writing.thread().unpark();
        }
    }

    /// Ends reads and writes at once.
    fn close(&self) {
        // It may have ended already.
        let _ = self.side.stream.shutdown(Shutdown::Both);
    }

    fn join(mut self, until: Instant, driven: &mut Driven) {
        // Nothing is sent: it is closed when both have ended.
        let _ = self
            .ended
            .recv_timeout(until.saturating_duration_since(Instant::now()));
        self.close();
        let failed = |thread: &str| {
            let text = format!("the thread of {thread} failed");
            self.side.fault(FaultKind::Lost, None, text)
        };
        match self.writing.take().map(JoinHandle::join) {
            Some(Ok(written)) => driven.add_written(&self.side, written),
            _ => driven.add_fault(failed("changes")),
        }
        match self.reading.take().map(JoinHandle::join) {
            Some(Ok(answered)) => driven.add_answered(&self.side, answered),
            _ => driven.add_fault(failed("answers")),
        }
    }
}

impl Side {
    /// Appends the line of a change, as it was or is to be submitted.
    fn line(&self, number: u64, out: &mut String) {
        let submitted = self.board.times(self.family, number);
        let at = submitted.unwrap_or_default().0.saturating_add(self.unix_ns);
        let change = Change {
            number,
            is_release: self.schedule.is_release(number),
            at: u32::try_from(at / 1_000_000_000).unwrap_or(u32::MAX),
        };
        self.inventory
            .line(self.schedule.row(number), Some(change), out);
    }

    /// A fault of the feed, about a change or about all of them.
    fn fault(&self, kind: FaultKind, change: Option<u64>, text: String) -> Fault {
        let family = family_name(self.family);
        Fault {
            kind,
            group: GROUP.to_owned(),
            relay: 0,
            query: match change {
                Some(number) => format!("change {number} of {family}"),
                None => format!("changes of {family}"),
            },
            text,
            octets: String::new(),
        }
    }
}

impl Driven {
    fn add_fault(&mut self, fault: Fault) {
        *self.faults.entry(fault.kind).or_default() += 1;
        if self.first_faults.len() < KEPT_FAULTS {
            self.first_faults.push(fault);
        }
    }

    fn add_written(&mut self, side: &Side, written: Written) {
        self.result.submitted += written.submitted;
        self.result.lateness.add(&written.lateness);
        if written.is_board_full {
            let capacity = side.board.capacity();
            let family = family_name(side.family);
            self.reasons.push(format!(
                "the run had room for {capacity} changes of {family}, and no more were driven"
            ));
        }
    }

    fn add_answered(&mut self, side: &Side, answered: Answered) {
        let submitted = side.board.submitted(side.family) - side.before;
        let open = submitted.saturating_sub(answered.acknowledged + answered.refused);
        self.result.acknowledged += answered.acknowledged;
        self.result.refused += answered.refused;
        self.result.acknowledgement.add(&answered.acknowledgement);
        let kept = answered.faults.len() as u64;
        for fault in answered.faults {
            self.add_fault(fault);
        }
        if answered.refused > kept {
            *self.faults.entry(FaultKind::Status).or_default() += answered.refused - kept;
        }
        let lost = match (answered.end, open) {
            (Some(reason), _) => {
                let text = format!(
                    "the connection to the feed ended before its time: {reason}; {open} changes of {submitted} were not answered"
                );
                Some((FaultKind::Lost, text))
            }
            (None, 0) => None,
            (None, _) => {
                let text = format!("{open} changes of {submitted} were not answered in time");
                Some((FaultKind::Late, text))
            }
        };
        if let Some((kind, text)) = lost {
            self.add_fault(side.fault(kind, None, text));
        }
    }
}

/// Nanoseconds from the beginning of the clock of [`now_ns`] to that of Unix time.
fn unix_ns() -> u64 {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let unix = unix.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    });
    unix.saturating_sub(now_ns())
}

//! The places of a group on one thread that ask over UDP, as one task.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use leaseq_requestor::Query;
use leaseq_requestor::client::now as unix_now;
use tokio::sync::{Notify, watch};

use super::check;
use super::pace::Pace;
use super::socket::Socket;
use super::table::{Asked, Received, Table};
use crate::fault::FaultKind;
use crate::measure::Count;
use crate::measure::clock::now_ns;
use crate::net::datagrams::Inbox;
use crate::net::timer::Timer;
use crate::relay::context::{Context, requestor_duid};
use crate::relay::words::QueryWords;

/// Sockets of a thread: a server with a queue a core spreads what it receives by the sender's port.
const SOCKETS: u32 = 4;

/// Queries that are begun in one turn; then answers are read.
const TURN: usize = 256;

/// Queries at a fixed rate that may wait for their answers at a time, of a group that does not say.
const IN_FLIGHT: u32 = 65_536;

/// The least time from one turn to the next that is begun for queries at a fixed rate: what is due meanwhile goes together.
const GRAIN: u64 = 100_000;

/// How soon datagrams that the kernel did not take are tried again.
const BLOCKED: u64 = 1_000_000;

/// Rows that are tried at random for one that can be asked about.
const TRIES: usize = 64;

/// Asks for the places of a group on one thread.
pub struct Asker {
    joining: RefCell<Joining>,
    joined: Notify,
    finished: watch::Sender<bool>,
}

/// What the places want that have joined since the last turn.
#[derive(Default)]
struct Joining {
    /// Numbers of those that ask one query after the other, by their relay.
    places: Vec<u32>,
    /// Queries a second, of those that ask at a fixed rate, and how many of these may wait for their answers.
    rate: f64,
    room: f64,
}

impl Asker {
    /// Opens the sockets, and asks as soon as a place joins.
    ///
    /// # Errors
    /// If there are no sockets.
    pub fn start(context: &Rc<Context>) -> io::Result<Rc<Self>> {
        let sockets = (0..SOCKETS)
            .map(|number| {
                let source = context.source.map(|network| network.of(number));
                Socket::open(context.server, source)
            })
            .collect::<io::Result<Vec<_>>>()?;
        let timer = Timer::new()?;
        let asker = Rc::new(Self {
            joining: RefCell::default(),
            joined: Notify::new(),
            finished: watch::Sender::new(false),
        });
        let work = Work {
            context: context.clone(),
            table: Table::new(context.family, context.random()),
            pace: Pace::default(),
            ready: VecDeque::new(),
            sockets,
            timer,
            inbox: Inbox::default(),
            is_blocked: false,
            requestor: requestor_duid(context.random() as u32),
        };
        let task = asker.clone();
        tokio::task::spawn_local(async move {
            work.run(&task).await;
            task.finished.send_replace(true);
        });
        Ok(asker)
    }

    /// A place joins, with its share of the group's rate or to ask one query after the other.
    pub fn join(&self, context: &Context, relay: u32) {
        let mut joining = self.joining.borrow_mut();
        match context.group.rate {
            Some(rate) => {
                let places = f64::from(context.at_once.max(1));
                joining.rate += rate / places;
                joining.room += f64::from(context.group.in_flight.unwrap_or(IN_FLIGHT)) / places;
            }
            None => joining.places.push(relay),
        }
        self.joined.notify_one();
    }

    /// Waits until nothing more is asked and nothing more is awaited.
    pub async fn finished(&self) {
        let mut finished = self.finished.subscribe();
        // If it is gone, so is the thread.
        let _ = finished.wait_for(|finished| *finished).await;
    }
}

struct Work {
    context: Rc<Context>,
    table: Table,
    pace: Pace,
    /// Places whose last query has ended.
    ready: VecDeque<u32>,
    sockets: Vec<Socket>,
    timer: Timer,
    inbox: Inbox,
    /// The kernel did not take all datagrams.
    is_blocked: bool,
    requestor: [u8; 10],
}

impl Work {
    async fn run(mut self, asker: &Asker) {
        let context = self.context.clone();
        let mut beats = context.beats.clone();
        let mut over_since = None;
        loop {
            let now = (Instant::now(), now_ns());
            let joining = asker.joining.take();
            if joining.rate > 0.0 {
                self.pace.join(joining.rate, joining.room, now.1);
            }
            self.ready.extend(joining.places);
            if context.is_over() {
                self.pace.stop();
                self.ready.clear();
                let since = *over_since.get_or_insert(now.0);
                if self.table.is_empty() || context.is_stopped() {
                    return;
                }
                if now.0 > since + context.patience {
                    let lost = self.table.give_up();
                    return context.report.count(Count::UdpLost, lost);
                }
            }
            self.ask(now);
            self.ask_again(now);
            self.is_blocked = false;
            for socket in &mut self.sockets {
                self.is_blocked |= !socket.flush();
            }
            let at = self.next_turn(now);
            if self.timer.set(at).is_err() {
                return;
            }
            tokio::select! {
                biased;
                () = asker.joined.notified() => {}
                _ = beats.changed() => {}
                () = poll_fn(|task| {
                    let timer = self.timer.poll(task);
                    match self.poll_receive(task) {
                        Poll::Pending => timer,
                        ready => ready,
                    }
                }) => {}
            }
        }
    }

    /// When something is to be done, if nothing comes before.
    fn next_turn(&self, now: (Instant, u64)) -> u64 {
        let again = self.table.next().map(|at| {
            let left = at.saturating_duration_since(now.0).as_nanos();
            now.1.saturating_add(left as u64)
        });
        let next = match (self.is_blocked, self.ready.is_empty()) {
            (true, _) => Some(now.1 + BLOCKED),
            (false, false) => Some(now.1),
            (false, true) => self.pace.next().map(|due| due.max(now.1 + GRAIN)),
        };
        // The phase is looked at now and then even if no beat tells of it.
        let most = now.1 + Duration::from_millis(100).as_nanos() as u64;
        [again, next].into_iter().flatten().fold(most, u64::min)
    }

    /// Begins queries that are due.
    fn ask(&mut self, now: (Instant, u64)) {
        for _ in 0..TURN {
            if self.is_blocked {
                return;
            }
            let now = (now.0, now_ns());
            let (due, place) = match self.ready.pop_front() {
                Some(place) => (now.1, Some(place)),
                None => match self.pace.due(now.1) {
                    // It is not asked later either: then all that follow would be late for ever.
                    Some(_) if self.table.len() >= self.pace.room() => {
                        self.context.report.count(Count::UdpNotSent, 1);
                        continue;
                    }
                    Some(due) => (due, None),
                    None => return,
                },
            };
            let context = &self.context;
            let Some((row, query)) = self.query() else {
                let text = "the store holds nothing that can be asked about so";
                let (kind, relay) = (FaultKind::Unexpected, place.unwrap_or_default());
                context.report.fault(kind, relay, "udp", text, &[]);
                self.pace.stop();
                continue;
            };
            let socket = context.random() as u32 % SOCKETS;
            let asked = Asked {
                row,
                socket,
                place,
                due,
                acknowledged: context.board.acknowledged(context.family),
            };
            let query = self
                .sockets
                .get(socket as usize)
                .map_or(query.clone(), |socket| answerable(query, socket));
            context.report.measure(|measures| {
                measures.count(Count::UdpQueries, 1);
                if place.is_none() {
                    measures.udp_lateness.record_ns(now.1 - due);
                }
            });
            let (sockets, is_blocked) = (&mut self.sockets, &mut self.is_blocked);
            let asking = self.table.ask(&query, asked, now, &mut |socket, datagram| {
                *is_blocked |= !push(sockets, socket, datagram);
            });
            if let Err(error) = asking {
                let words = QueryWords {
                    kind: "udp",
                    query: &query,
                    xid: 0,
                };
                let kind = FaultKind::Unexpected;
                context
                    .report
                    .fault(kind, place.unwrap_or_default(), words, error, &[]);
                self.pace.stop();
            }
        }
    }

    /// Sends queries again that were not answered in time, and gives those up that were sent often enough.
    fn ask_again(&mut self, now: (Instant, u64)) {
        let Self {
            context,
            table,
            ready,
            sockets,
            is_blocked,
            ..
        } = self;
        let mut lost = 0;
        let again = table.overdue(
            now,
            &mut |socket, datagram| *is_blocked |= !push(sockets, socket, datagram),
            &mut |asked| {
                lost += 1;
                ready.extend(asked.place);
            },
        );
        if again + lost > 0 {
            context.report.measure(|measures| {
                measures.count(Count::Retransmissions, again);
                measures.count(Count::UdpLost, lost);
            });
        }
    }
}

impl Work {
    /// A row at random, and the query about it.
    fn query(&self) -> Option<(u32, Query)> {
        let inventory = &self.context.inventory;
        let by = check::by(&self.context);
        (0..TRIES).find_map(|_| {
            let row = (self.context.random() >> 32).checked_rem(inventory.len().into())? as u32;
            let query = inventory.udp_query(by, row, &self.requestor)?;
            Some((row, query))
        })
    }

    /// Reads datagrams that are there; `Ready`: there were some.
    fn poll_receive(&mut self, task: &mut std::task::Context<'_>) -> Poll<()> {
        let Self {
            context,
            table,
            ready,
            sockets,
            inbox,
            ..
        } = self;
        let mut polled = Poll::Pending;
        for socket in &*sockets {
            let (now, now_ns, mut octets) = (unix_now(), now_ns(), 0);
            let received = socket.poll_receive(task, inbox, &mut |datagram| {
                octets += datagram.len() as u64;
                let received = table.receive(datagram, now);
                if let Received::Answer { asked, .. } = &received {
                    ready.extend(asked.place);
                }
                take(context, received, datagram, now_ns);
            });
            if received.is_ready() {
                context.report.count(Count::Octets, octets);
                polled = Poll::Ready(());
            }
        }
        polled
    }
}

/// Measures and checks what a datagram is.
fn take(context: &Context, received: Received, datagram: &[u8], now_ns: u64) {
    let report = &context.report;
    let fault = |kind, text: &str| report.fault(kind, 0, "udp", text, datagram);
    match received {
        Received::Answer {
            asked,
            xid,
            answer,
            sent,
        } => {
            report.measure(|measures| {
                measures.count(Count::UdpAnswers, 1);
                measures.udp.record_ns(now_ns.saturating_sub(asked.due));
                if let Some(sent) = sent {
                    measures
                        .udp_round_trip
                        .record_ns(now_ns.saturating_sub(sent));
                }
            });
            check::answer(context, &asked, xid, &answer, datagram);
        }
        Received::Extra => {}
        Received::Repeated(xid) => fault(
            FaultKind::Repeated,
            &format!("a second answer to a query that was sent once, xid {xid:#x}"),
        ),
        Received::UnknownXid(xid) => fault(
            FaultKind::UnknownXid,
            &format!("no query had the transaction id {xid:#x}"),
        ),
        Received::NoAnswer => fault(FaultKind::Protocol, "expected an answer to a query"),
    }
}

/// The query with the address at which its answer finds us.
fn answerable(query: Query, socket: &Socket) -> Query {
    match (query, socket.local.ip()) {
        (Query::V4(mut query), std::net::IpAddr::V4(address)) => {
            query.giaddr = address;
            query.into()
        }
        (query, _) => query,
    }
}

fn push(sockets: &mut [Socket], socket: u32, datagram: &[u8]) -> bool {
    sockets
        .get_mut(socket as usize)
        .is_none_or(|socket| socket.push(datagram))
}

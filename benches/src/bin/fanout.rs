//! Active streams by the thousand: how long a change takes from its commit to every reader, and what a stream costs.
//!
//! `fanout [--streams N] [--seconds S] [--rate MESSAGES/S]... [--core CPU]... [--only limit|wide|scoped|blocked]`. The
//! server is this process, the readers are another one beside it, on the same CPUs. The submitter notes when each commit was
//! acknowledged; the number of the commit travels in the client identifier.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use leaseq_bench::clock::now_ns;
use leaseq_bench::plain_fan_out::PlainFanOut;
use leaseq_bench::readers::{self, Latency, Readers};
use leaseq_bench::report::{Goal, line};
use leaseq_bench::{fixture, usage};
use leaseq_engine::{Engine, EngineConfig, Listeners};
use leaseq_session::CloseReason;
use leaseq_store::{Event, Options, Store};

/// How often events are submitted where there are many.
const TICK: Duration = Duration::from_millis(10);
/// Bindings of each relay that change in turn.
const BINDINGS: u32 = 50;
/// How long the last messages may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Requestors beside the blocked one.
const BESIDE: u32 = 1_000;
/// Changes behind the blocked one.
const BACKLOG: u64 = 100_000;

struct Scale {
    streams: u32,
    seconds: u64,
    rates: Vec<u64>,
    only: Option<String>,
    cores: Option<Vec<usize>>,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|role| role == readers::ROLE) {
        return readers::run(&arguments[1..]);
    }
    let scale = scale(&arguments)?;
    println!(
        "# {} streams, {} s of each rate",
        scale.streams, scale.seconds
    );
    if scale.only.as_ref().is_none_or(|only| only == "limit") {
        limit(&scale)?;
    }
    for scoped in [false, true] {
        if scale.only.as_ref().is_none_or(|only| only == name(scoped)) {
            rates(&scale, scoped)?;
        }
    }
    if scale.only.as_ref().is_none_or(|only| only == "blocked") {
        blocked(&scale)?;
    }
    Ok(())
}

fn scale(arguments: &[String]) -> Result<Scale> {
    let mut scale = Scale {
        streams: 10_000,
        seconds: 10,
        rates: Vec::new(),
        only: None,
        cores: None,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .with_context(|| format!("{argument} needs a value"))?;
        match argument.as_str() {
            "--streams" => scale.streams = value.parse()?,
            "--seconds" => scale.seconds = value.parse()?,
            "--rate" => scale.rates.push(value.parse()?),
            "--only" => scale.only = Some(value.clone()),
            "--core" => scale.cores.get_or_insert_default().push(value.parse()?),
            _ => bail!(
                "unknown argument {argument}: there are --streams, --seconds, --rate, --only and --core"
            ),
        }
    }
    if scale.rates.is_empty() {
        scale.rates = vec![200_000, 1_000_000];
    }
    Ok(scale)
}

fn name(scoped: bool) -> &'static str {
    if scoped { "scoped" } else { "wide" }
}

/// A server over a store, both in this process.
struct Server {
    engine: Engine,
    store: Store,
    _dir: tempfile::TempDir,
}

impl Server {
    fn start(scale: &Scale, relays: u32, send_timeout: Duration) -> Result<Server> {
        let dir = tempfile::tempdir()?;
        let topology = fixture::topology(relays * fixture::PER_RELAY);
        let store = Store::open(dir.path(), Options::default(), topology)?;
        let numbers: Vec<u32> = (0..relays * BINDINGS).map(|n| binding(n, relays)).collect();
        fixture::ingest(&store, &numbers, fixture::event4)?;
        let listeners = Listeners {
            dhcp4_tcp: vec!["127.0.0.1:0".parse()?],
            ..Listeners::default()
        };
        let config = EngineConfig {
            cores: scale.cores.clone(),
            ..EngineConfig::default()
        };
        let settings = fixture::active_settings(send_timeout);
        let engine = Engine::start(config, listeners, settings, store.reader())?;
        Ok(Server {
            engine,
            store,
            _dir: dir,
        })
    }

    fn address(&self) -> SocketAddr {
        self.engine.addresses().dhcp4_tcp[0]
    }

    fn streams(&self) -> u64 {
        let counters = self.engine.counters().iter();
        counters.map(|core| core.v4.streams_opened.get()).sum()
    }

    fn until_streams(&self, count: u64) -> Result<()> {
        let begun = Instant::now();
        while self.streams() < count {
            ensure!(
                begun.elapsed() < PATIENCE,
                "{} of {count} streams begin",
                self.streams()
            );
            thread::sleep(TICK);
        }
        Ok(())
    }

    fn stop(self) -> Result<()> {
        self.engine.shutdown();
        self.store.stop()?;
        Ok(())
    }
}

/// The binding that changes as number `n`: of each relay in turn.
fn binding(n: u32, relays: u32) -> u32 {
    n % relays * fixture::PER_RELAY + n / relays % BINDINGS
}

/// Submits changes at a rate, and says when each commit was acknowledged.
struct Submitter<'s> {
    store: &'s Store,
    relays: u32,
    next: u32,
}

impl Submitter<'_> {
    /// Submits `commits` times `changes` changes, one commit each `every`.
    fn run(&mut self, commits: usize, changes: u64, every: Duration) -> Result<Vec<u64>> {
        let acknowledged: Arc<Vec<AtomicU64>> =
            Arc::new((0..commits).map(|_| AtomicU64::new(0)).collect());
        let begun = Instant::now();
        for commit in 0..commits {
            let due = begun + every * commit as u32;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let events: Vec<Event> = (0..changes)
                .map(|_| {
                    self.next += 1;
                    fixture::changed4(binding(self.next, self.relays), commit as u32)
                })
                .collect();
            let acknowledged = acknowledged.clone();
            self.store.submit_with(events, move |result| {
                if result.is_ok() {
                    acknowledged[commit].store(now_ns(), Ordering::Release);
                }
            })?;
        }
        let begun = Instant::now();
        while acknowledged[commits - 1].load(Ordering::Acquire) == 0 {
            ensure!(begun.elapsed() < PATIENCE, "a commit is not acknowledged");
            thread::sleep(TICK);
        }
        Ok(acknowledged
            .iter()
            .map(|time| time.load(Ordering::Acquire))
            .collect())
    }
}

/// All streams at each rate.
fn rates(scale: &Scale, scoped: bool) -> Result<()> {
    let server = Server::start(scale, scale.streams, Duration::from_secs(120))?;
    let before = usage::anonymous_octets()?;
    let mut readers = Readers::start(server.address(), scale.streams, scoped)?;
    server.until_streams(scale.streams.into())?;
    let each =
        (usage::anonymous_octets()?.saturating_sub(before)) as f64 / f64::from(scale.streams);
    line(
        &format!("memory of an idle stream, {}", name(scoped)),
        each,
        "octets",
        Goal::AtMost(8_192.0),
    );
    let mut submitter = Submitter {
        store: &server.store,
        relays: scale.streams,
        next: 0,
    };
    for &rate in &scale.rates {
        let goal_ms = if rate > 200_000 { 200.0 } else { 50.0 };
        let streams = u64::from(scale.streams);
        let (changes, every) = if scoped {
            ((rate as f64 * TICK.as_secs_f64()) as u64, TICK)
        } else {
            (1, Duration::from_secs_f64(streams as f64 / rate as f64))
        };
        let commits = (scale.seconds as f64 / every.as_secs_f64()) as usize;
        let expected = commits as u64 * changes * if scoped { 1 } else { streams };
        readers.begin()?;
        let spent = (usage::data_threads_ns()?, usage::process_ns()?);
        let begun = Instant::now();
        let acknowledged = submitter.run(commits, changes, every)?;
        let submitted = begun.elapsed().as_secs_f64();
        until_read(&mut readers, expected)?;
        let data = usage::data_threads_ns()? - spent.0;
        let all = usage::process_ns()? - spent.1;
        let latency = readers.latency(&acknowledged)?;
        println!(
            "{}, {rate} messages/s asked for: {:.0} submitted, {} of {expected} read, {commits} commits",
            name(scoped),
            expected as f64 / submitted,
            latency.messages,
        );
        tell(&latency, Goal::AtMost(goal_ms));
        let cpus = |ns: u64| ns as f64 / 1e9 / submitted;
        line("  CPUs, data threads", cpus(data), "", Goal::None);
        line(
            "  CPUs, the other threads of the server",
            cpus(all - data),
            "",
            Goal::None,
        );
        line("  CPUs, readers", cpus(latency.cpu_ns), "", Goal::None);
    }
    drop(readers);
    server.stop()
}

/// The same readers, and octets that need no encoding: what can be had of this machine now.
fn limit(scale: &Scale) -> Result<()> {
    let mut plain = PlainFanOut::listen(scale.streams)?;
    let mut readers = Readers::start(plain.address(), scale.streams, false)?;
    let threads = scale.cores.as_ref().map_or_else(
        || thread::available_parallelism().map_or(1, std::num::NonZero::get),
        Vec::len,
    );
    plain.start(threads)?;
    for &rate in &scale.rates {
        let every = Duration::from_secs_f64(f64::from(scale.streams) / rate as f64);
        let commits = (scale.seconds as f64 / every.as_secs_f64()) as u32;
        readers.begin()?;
        let spent = usage::data_threads_ns()?;
        let begun = Instant::now();
        let mut given = Vec::new();
        for commit in 0..commits {
            let due = begun + every * commit;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            given.push(now_ns());
            plain.send(&fixture::told4(commit))?;
        }
        let submitted = begun.elapsed().as_secs_f64();
        let expected = u64::from(commits) * u64::from(scale.streams);
        until_read(&mut readers, expected)?;
        let data = usage::data_threads_ns()? - spent;
        let latency = readers.latency(&given)?;
        println!(
            "prepared octets, {rate} messages/s asked for: {:.0} submitted, {} of {expected} read",
            expected as f64 / submitted,
            latency.messages,
        );
        tell(&latency, Goal::None);
        let cpus = |ns: u64| ns as f64 / 1e9 / submitted;
        line("  CPUs, sending threads", cpus(data), "", Goal::None);
        line("  CPUs, readers", cpus(latency.cpu_ns), "", Goal::None);
    }
    drop(readers);
    plain.stop()
}

/// Waits until that many messages were read, or no more come.
fn until_read(readers: &mut Readers, expected: u64) -> Result<()> {
    let mut read = readers.count()?;
    let mut progress = Instant::now();
    while read < expected && progress.elapsed() < Duration::from_secs(3) {
        thread::sleep(TICK);
        let now = readers.count()?;
        if now > read {
            progress = Instant::now();
        }
        read = now;
    }
    Ok(())
}

fn tell(latency: &Latency, goal: Goal) {
    let ms = |ns: u64| ns as f64 / 1e6;
    line("  p50", ms(latency.p50), "ms", Goal::None);
    line("  p99", ms(latency.p99), "ms", goal);
    line("  p99.9", ms(latency.p999), "ms", Goal::None);
    line("  most", ms(latency.most), "ms", Goal::None);
}

/// One requestor that reads nothing, beside those that do.
fn blocked(scale: &Scale) -> Result<()> {
    let server = Server::start(scale, BESIDE, Duration::from_secs(20))?;
    let mut readers = Readers::start(server.address(), BESIDE, true)?;
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
    socket.set_recv_buffer_size(4_096)?;
    socket.connect(&server.address().into())?;
    socket.send(&fixture::active4(1, None, None))?;
    server.until_streams(u64::from(BESIDE) + 1)?;
    let mut submitter = Submitter {
        store: &server.store,
        relays: BESIDE,
        next: 0,
    };
    let closed = || -> u64 {
        let counters = server.engine.counters().iter();
        counters
            .map(|core| core.v4.closed.of(CloseReason::SendBlocked).get())
            .sum()
    };
    readers.begin()?;
    let before = usage::anonymous_octets()?;
    let changes = 100;
    let commits = (BACKLOG / changes) as usize;
    let acknowledged = submitter.run(commits, changes, TICK)?;
    let behind = usage::anonymous_octets()?.saturating_sub(before);
    let waiting = server.engine.stats().waiting_octets();
    ensure!(
        closed() == 0,
        "the blocked requestor was closed too early to be measured"
    );
    let begun = Instant::now();
    while readers.count()? < BACKLOG {
        ensure!(begun.elapsed() < PATIENCE, "not every change is read");
        thread::sleep(TICK);
    }
    let latency = readers.latency(&acknowledged)?;
    println!(
        "one of {} requestors reads nothing, {BACKLOG} changes behind it",
        BESIDE + 1
    );
    let ms = |ns: u64| ns as f64 / 1e6;
    line("  p99 of the others", ms(latency.p99), "ms", Goal::None);
    line("  p99.9 of the others", ms(latency.p999), "ms", Goal::None);
    line(
        "  memory that waits for it",
        waiting as f64,
        "octets",
        Goal::None,
    );
    line(
        "  resident memory, growth",
        behind as f64,
        "octets",
        Goal::None,
    );
    while closed() == 0 {
        ensure!(
            begun.elapsed() < 2 * PATIENCE,
            "the blocked requestor is not closed"
        );
        thread::sleep(TICK);
    }
    drop(readers);
    server.stop()
}

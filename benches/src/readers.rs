//! The requestors of active streams: a process of their own, so that they and the server do not share descriptors.
//!
//! [`run`] is that process: it opens the streams, then obeys one-line commands on its standard input. [`Readers`] is its
//! handle in the process that measures. A reading is the number of a commit and the time at which its message was there.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use leaseq_wire::frame;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;

use crate::clock::now_ns;
use crate::{fixture, usage};

/// The argument that makes a process a reader: `readers SERVER FIRST COUNT wide|scoped`.
pub const ROLE: &str = "readers";
/// Octets that are read at a time.
const READ_OCTETS: usize = 256 << 10;
/// How long messages are left to gather before they are read; so much is measured too much.
const PAUSE: Duration = Duration::from_millis(1);
/// Sockets that are looked at for each call of epoll.
const EVENTS: usize = 4_096;

/// What is measured between a commit and its readers.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    /// Messages read.
    pub messages: u64,
    /// Nanoseconds that all but the share named stay below.
    pub p50: u64,
    /// See [`Latency::p50`].
    pub p99: u64,
    /// See [`Latency::p50`].
    pub p999: u64,
    /// The longest.
    pub most: u64,
    /// Nanoseconds of CPU that the readers took.
    pub cpu_ns: u64,
}

/// Requestors in another process.
pub struct Readers {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Readers {
    /// Starts `count` requestors; each asks about everything, or, if `scoped`, about the relay of its own number.
    ///
    /// # Errors
    /// If the process cannot be started, or a connection fails.
    pub fn start(server: SocketAddr, count: u32, scoped: bool) -> Result<Readers> {
        let mut child = Command::new(std::env::current_exe()?)
            .args([ROLE, &server.to_string(), &count.to_string()])
            .arg(if scoped { "scoped" } else { "wide" })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let commands = child.stdin.take().context("the readers have no input")?;
        let answers = child.stdout.take().context("the readers have no output")?;
        let mut readers = Readers {
            child,
            commands,
            answers: BufReader::new(answers),
        };
        let answer = readers.answer()?;
        ensure!(answer == "open", "the readers say {answer:?}");
        Ok(readers)
    }

    /// Forgets what was read until now.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn begin(&mut self) -> Result<()> {
        self.ask("begin").map(drop)
    }

    /// Messages read since the beginning.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn count(&mut self) -> Result<u64> {
        Ok(self.ask("count")?.parse()?)
    }

    /// How long the messages took since their commits were acknowledged, at the times given for the commits from 0 on.
    ///
    /// # Errors
    /// If the process has ended.
    pub fn latency(&mut self, acknowledged: &[u64]) -> Result<Latency> {
        let times: Vec<String> = acknowledged.iter().map(u64::to_string).collect();
        let answer = self.ask(&format!("latency {}", times.join(" ")))?;
        let figures: Vec<u64> = answer
            .split_whitespace()
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        let [messages, p50, p99, p999, most, cpu_ns] = figures[..] else {
            bail!("the readers say {answer:?}");
        };
        Ok(Latency {
            messages,
            p50,
            p99,
            p999,
            most,
            cpu_ns,
        })
    }

    fn ask(&mut self, command: &str) -> Result<String> {
        writeln!(self.commands, "{command}")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<String> {
        let mut answer = String::new();
        ensure!(
            self.answers.read_line(&mut answer)? > 0,
            "the readers have ended"
        );
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        // It ends by itself when its input does; what goes wrong here concerns nobody any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One stream: its socket, and the part of a frame that has come.
struct Stream {
    socket: TcpStream,
    partial: Vec<u8>,
}

#[derive(Default)]
struct Reading {
    /// Commit, and nanoseconds when its message was read.
    messages: Vec<(u32, u64)>,
    /// CPU time before it.
    cpu_ns: u64,
}

/// Runs the reading process with the arguments after [`ROLE`]; returns when its input ends.
///
/// # Errors
/// If a connection fails or ends.
pub fn run(arguments: &[String]) -> Result<()> {
    let [server, count, scope] = arguments else {
        bail!("expected a server, a number of streams, and wide or scoped");
    };
    let (server, count): (SocketAddr, u32) = (server.parse()?, count.parse()?);
    let mut streams = Vec::new();
    for number in 0..count {
        let mut socket = TcpStream::connect(server)?;
        let relay = (scope == "scoped").then_some(number);
        socket.write_all(&fixture::active4(number + 1, relay, None))?;
        socket.set_nonblocking(true)?;
        streams.push(Stream {
            socket,
            partial: Vec::new(),
        });
    }
    println!("open");
    let reading = Mutex::new(Reading::default());
    thread::scope(|scope| {
        scope.spawn(|| {
            // The process has nothing to do without its streams.
            if let Err(error) = read_all(streams, &reading) {
                eprintln!("reading ended: {error:#}");
                std::process::exit(1);
            }
        });
        for command in std::io::stdin().lock().lines() {
            obey(&command?, &reading)?;
        }
        std::process::exit(0)
    })
}

fn lock(reading: &Mutex<Reading>) -> MutexGuard<'_, Reading> {
    reading.lock().unwrap_or_else(PoisonError::into_inner)
}

fn obey(command: &str, reading: &Mutex<Reading>) -> Result<()> {
    let mut words = command.split_whitespace();
    match words.next() {
        Some("begin") => {
            let mut reading = lock(reading);
            reading.messages.clear();
            reading.cpu_ns = usage::process_ns()?;
            println!("begun");
        }
        Some("count") => println!("{}", lock(reading).messages.len()),
        Some("latency") => {
            let acknowledged: Vec<u64> = words.map(str::parse).collect::<Result<_, _>>()?;
            let reading = lock(reading);
            let mut taken: Vec<u64> = reading
                .messages
                .iter()
                .filter_map(|(commit, read)| {
                    Some(read.saturating_sub(*acknowledged.get(*commit as usize)?))
                })
                .collect();
            ensure!(!taken.is_empty(), "nothing was read");
            taken.sort_unstable();
            let at = |share: f64| taken[((taken.len() - 1) as f64 * share) as usize];
            println!(
                "{} {} {} {} {} {}",
                taken.len(),
                at(0.5),
                at(0.99),
                at(0.999),
                at(1.0),
                usage::process_ns()? - reading.cpu_ns
            );
        }
        _ => bail!("unknown command {command:?}"),
    }
    Ok(())
}

fn read_all(mut streams: Vec<Stream>, reading: &Mutex<Reading>) -> Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    for (number, stream) in streams.iter().enumerate() {
        let data = epoll::EventData::new_u64(number as u64);
        epoll::add(&epoll, &stream.socket, data, epoll::EventFlags::IN)?;
    }
    let mut events = Vec::with_capacity(EVENTS);
    let mut buffer = vec![0; READ_OCTETS];
    let mut read = Vec::new();
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            let number = event.data.u64() as usize;
            let octets = match streams[number].socket.read(&mut buffer) {
                Ok(0) => bail!("the server closed stream {number}"),
                Ok(count) => &buffer[..count],
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            };
            let now = now_ns();
            let partial = &mut streams[number].partial;
            take_frames(partial, octets, |message| {
                if let Some(commit) = fixture::commit4(message) {
                    read.push((commit, now));
                }
            });
        }
        lock(reading).messages.append(&mut read);
        // Not to be woken by each message: on the server's CPUs that would cost it more than the reading does.
        thread::sleep(PAUSE);
    }
}

/// Gives each whole message to `take` and keeps the rest.
fn take_frames(partial: &mut Vec<u8>, octets: &[u8], mut take: impl FnMut(&[u8])) {
    if !partial.is_empty() {
        partial.extend_from_slice(octets);
        let held = std::mem::take(partial);
        return take_frames(partial, &held, take);
    }
    let mut at = 0;
    while let frame::Split::Frame { message, consumed } = frame::split(&octets[at..]) {
        take(message);
        at += consumed;
    }
    partial.extend_from_slice(&octets[at..]);
}

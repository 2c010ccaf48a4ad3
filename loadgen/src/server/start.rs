//! Starts a server with its configuration, and waits until it is ready and fit for the scenario.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::{ChildStdout, Command};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::ready::Ready;
use super::{OwnError, Step, configuration, ports};
use crate::data::{Inventory, Source};
use crate::program::{END_PATIENCE, Program};
use crate::scenario::{Behaviour, FamilyNumber, Scenario};

/// How long a server with its store filled may take to be ready.
const START_PATIENCE: Duration = Duration::from_secs(600);
/// How often a start looks whether it is to be given up.
const LOOK: Duration = Duration::from_millis(100);
/// Another port is tried so often, if somebody takes ours before the server does.
const ATTEMPTS: u32 = 3;

/// What a server is started with.
pub(super) struct Start<'a> {
    pub(super) binary: &'a Path,
    pub(super) dir: &'a Path,
    pub(super) store: &'a Path,
    pub(super) scenario: &'a Scenario,
    pub(super) families: &'a [FamilyNumber],
    pub(super) sources: &'a BTreeMap<FamilyNumber, Source>,
}

impl Start<'_> {
    /// Starts it and waits until it is ready.
    pub(super) fn serve(
        &self,
        watch: &mut dyn FnMut(Step) -> bool,
    ) -> Result<(Program, Ready, Duration), OwnError> {
        let mut attempt = 1;
        loop {
            match self.try_to_serve(watch) {
                Err(OwnError::Ended { words, .. })
                    if attempt < ATTEMPTS && words.contains("in use") =>
                {
                    attempt += 1;
                }
                tried => return tried,
            }
        }
    }

    fn try_to_serve(
        &self,
        watch: &mut dyn FnMut(Step) -> bool,
    ) -> Result<(Program, Ready, Duration), OwnError> {
        let config = self.dir.join("leaseq.toml");
        fs::write(&config, self.configuration()?.to_string())
            .map_err(|error| OwnError::Directory(config.clone(), error))?;
        let started = Instant::now();
        let mut command = Command::new(self.binary);
        command.arg("serve").arg("--config").arg(&config);
        let mut program = Program::start(&mut command)
            .map_err(|error| OwnError::Start(self.binary.to_owned(), error))?;
        let line = first_line(program.take_output()).map_err(OwnError::Watch)?;
        let line = loop {
            match line.recv_timeout(LOOK) {
                Ok(line) => break line,
                Err(RecvTimeoutError::Timeout) if started.elapsed() > START_PATIENCE => {
                    return Err(OwnError::NotReady(START_PATIENCE));
                }
                Err(RecvTimeoutError::Timeout) if watch(Step::Starting) => {}
                Err(RecvTimeoutError::Timeout) => return Err(OwnError::GivenUp),
                // It has closed its output: it ends.
                Err(RecvTimeoutError::Disconnected) => break String::new(),
            }
        };
        let start_time = started.elapsed();
        let Some(ready) = Ready::read(&line) else {
            let status = program.end(END_PATIENCE).map_err(OwnError::Watch)?;
            return Err(OwnError::Ended {
                status: status.map_or_else(|| "SIGKILL".to_owned(), |status| status.to_string()),
                words: program.last_words(),
            });
        };
        self.check(&ready)?;
        Ok((program, ready, start_time))
    }

    fn configuration(&self) -> Result<toml::Table, OwnError> {
        let port = |family, address: IpAddr| match self.families.contains(&family) {
            true => ports::free(address).map(Some).map_err(OwnError::Ports),
            false => Ok(None),
        };
        // The names are read from another place than ours.
        let absolute = |path: &Path| {
            std::path::absolute(path).map_err(|error| OwnError::Directory(path.to_owned(), error))
        };
        let place = configuration::Place {
            store: &absolute(self.store)?,
            feed: &absolute(&self.dir.join("feed.sock"))?,
            port4: port(FamilyNumber::V4, Ipv4Addr::LOCALHOST.into())?,
            port6: port(FamilyNumber::V6, Ipv6Addr::LOCALHOST.into())?,
            sources: self.sources,
        };
        configuration::build(self.scenario, &place)
    }

    /// It serves what the scenario needs, and its store holds as many bindings as were put into it.
    fn check(&self, ready: &Ready) -> Result<(), OwnError> {
        let unfit = |expected: String, found: String| Err(OwnError::Unfit { expected, found });
        for (family, tcp, udp) in [
            (FamilyNumber::V4, ready.tcp4, ready.udp4),
            (FamilyNumber::V6, ready.tcp6, ready.udp6),
        ] {
            let mut groups = self.scenario.group.iter();
            let asks_udp =
                groups.any(|group| group.family == family && group.behaviour == Behaviour::Udp);
            if asks_udp && udp.is_none_or(|udp| tcp.is_some_and(|tcp| tcp != udp)) {
                let name = u8::from(family);
                return unfit(
                    format!("DHCPv{name} on TCP and UDP at one address and port"),
                    format!("TCP at {tcp:?} and UDP at {udp:?}"),
                );
            }
        }
        let mut expected = 0_u64;
        for (family, source) in self.sources {
            expected += u64::from(Inventory::load((*family).into(), source)?.len());
        }
        match ready.bindings {
            Some(found) if found != expected => unfit(
                format!("{expected} bindings in its store"),
                found.to_string(),
            ),
            _ => Ok(()),
        }
    }
}

/// Reads the first line, and all that may follow, so that the program never waits for us.
fn first_line(output: Option<ChildStdout>) -> io::Result<Receiver<String>> {
    /// Octets of a line that are read at most.
    const LINE: u64 = 64 * 1024;
    let (told, line) = channel();
    let Some(output) = output else {
        return Ok(line);
    };
    thread::Builder::new()
        .name("server-output".into())
        .spawn(move || {
            let mut output = BufReader::new(output);
            let mut first = String::new();
            if matches!((&mut output).take(LINE).read_line(&mut first), Ok(1..)) {
                // Whoever waited may have given up.
                let _ = told.send(first);
            }
            drop(told);
            let _ = io::copy(&mut output, &mut io::sink());
        })?;
    Ok(line)
}

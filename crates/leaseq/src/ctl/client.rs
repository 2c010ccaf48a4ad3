//! The asking side of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Map, Value};

use super::nowhere;
use crate::control::{End, Request, SOCKET_NAME};

/// Where stores are looked for if none is named: that of the embedded default, then the configured default.
const DEFAULT_DIRS: [&str; 2] = ["leaseq-data", "/var/lib/leaseq"];

/// A connection to a server, for one request.
pub struct Client {
    stream: UnixStream,
    socket: PathBuf,
}

impl Client {
    /// Connects to a control socket.
    pub fn connect(socket: &Path) -> anyhow::Result<Client> {
        match UnixStream::connect(socket) {
            Ok(stream) => Ok(Client {
                stream,
                socket: socket.to_owned(),
            }),
            Err(error) if is_nobody(&error) => Err(nowhere(&[socket.to_owned()])),
            Err(error) => Err(error)
                .with_context(|| format!("the control socket {} cannot be used", socket.display())),
        }
    }

    /// Connects to the server that has the store in a directory open.
    pub fn of_store(dir: &Path) -> anyhow::Result<Client> {
        Client::connect(&dir.join(SOCKET_NAME))
    }

    /// Connects to the server that has the store in a directory open, if there is one.
    pub fn of_open_store(dir: &Path) -> Option<Client> {
        let socket = dir.join(SOCKET_NAME);
        let stream = UnixStream::connect(&socket).ok()?;
        Some(Client { stream, socket })
    }

    /// Connects to the server of the first default directory that has one.
    pub fn of_default_store() -> anyhow::Result<Client> {
        let sockets = DEFAULT_DIRS.map(|dir| Path::new(dir).join(SOCKET_NAME));
        for socket in &sockets {
            match Client::connect(socket) {
                Err(error) if error.is::<crate::exit::Usage>() => {}
                connected => return connected,
            }
        }
        Err(nowhere(&sockets))
    }

    /// Number of the server's process, if the kernel tells it.
    pub fn server(&self) -> Option<u32> {
        let peer = rustix::net::sockopt::socket_peercred(&self.stream).ok()?;
        u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
    }

    /// Asks, hands each line of the answer to `line`, and gives the result that it ended with.
    pub fn ask(
        &mut self,
        request: &Request,
        mut line: impl FnMut(&str) -> anyhow::Result<()>,
    ) -> anyhow::Result<Map<String, Value>> {
        self.ask_with_octets(request, |read, _| line(read))
    }

    /// As [`Client::ask`], for an answer in which octets follow lines: `line` is to read as many as the line says.
    pub fn ask_with_octets(
        &mut self,
        request: &Request,
        mut line: impl FnMut(&str, &mut dyn Read) -> anyhow::Result<()>,
    ) -> anyhow::Result<Map<String, Value>> {
        let failed = |socket: &Path| format!("the server behind {} has gone", socket.display());
        self.stream
            .write_all(request.line().as_bytes())
            .with_context(|| failed(&self.socket))?;
        let mut answer = BufReader::with_capacity(1 << 16, &self.stream);
        let mut read = String::new();
        loop {
            read.clear();
            let octets = answer
                .read_line(&mut read)
                .with_context(|| failed(&self.socket))?;
            if octets == 0 {
                anyhow::bail!("{} before it had answered", failed(&self.socket));
            }
            let read = read.trim_end_matches('\n');
            match End::parse(read) {
                None => line(read, &mut answer)?,
                Some(End::Done { result }) => return Ok(result),
                Some(End::Failed { error }) => anyhow::bail!("{error}"),
            }
        }
    }
}

fn is_nobody(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
    )
}

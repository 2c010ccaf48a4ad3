//! Accepts clients, and gives each a thread.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use super::answer::{Answer, End};
use super::commands::obey;
use super::{Controlled, MAX_REQUEST, Request, SOCKET_NAME};

/// Clients at a time; a further one is told so and closed.
const MAX_CLIENTS: usize = 16;
/// Connections that may wait to be accepted.
const BACKLOG: i32 = 16;
/// The server's user alone: whoever may open the socket may read all leases and close connections.
const SOCKET_MODE: u32 = 0o600;
/// How long a request may take to arrive.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take nothing of its answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// Pause after an accept that failed for want of something (open files): it would fail again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where the control socket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    /// Directory of the store: the socket is to be found from there.
    pub data_dir: PathBuf,
    /// The socket itself, if it is not in that directory.
    pub configured: Option<PathBuf>,
}

impl Location {
    /// The path that is listened on.
    pub fn path(&self) -> PathBuf {
        let own = || self.data_dir.join(SOCKET_NAME);
        self.configured.clone().unwrap_or_else(own)
    }
}

/// The control socket of a running server.
pub struct Control {
    path: PathBuf,
    /// Leads from the store's directory to the socket, where that is elsewhere.
    link: Option<PathBuf>,
    listener: Arc<UnixListener>,
    stopping: Arc<AtomicBool>,
    accepting: JoinHandle<()>,
}

impl Control {
    /// Listens, and answers on threads of its own.
    ///
    /// # Errors
    /// The path is taken, too long, or cannot be made.
    pub fn start(location: &Location, controlled: Controlled) -> io::Result<Control> {
        let path = location.path();
        let listener = Arc::new(listen(&path)?);
        let own = location.data_dir.join(SOCKET_NAME);
        let link = (own != path).then_some(own);
        if let Some(link) = &link {
            lead(link, &path)?;
        }
        let stopping = Arc::new(AtomicBool::new(false));
        let accepting = {
            let (listener, stopping) = (Arc::clone(&listener), Arc::clone(&stopping));
            thread::Builder::new()
                .name("control".into())
                .spawn(move || accept(&listener, &stopping, &controlled))?
        };
        Ok(Control {
            path,
            link,
            listener,
            stopping,
            accepting,
        })
    }

    /// Takes no more clients. Those that are being answered are left to it: nothing waits for them.
    pub fn stop(self) {
        self.stopping.store(true, Ordering::SeqCst);
        // On Linux this ends a blocked accept.
        let _ = rustix::net::shutdown(&*self.listener, rustix::net::Shutdown::Both);
        let _ = self.accepting.join();
        let _ = fs::remove_file(&self.path);
        if let Some(link) = &self.link {
            let _ = fs::remove_file(link);
        }
    }
}

/// A socket at the path that only its owner may connect to, from its first moment on.
fn listen(path: &Path) -> io::Result<UnixListener> {
    remove_stale(path)?;
    let socket: OwnedFd = rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

/// Removes a socket that nobody listens on any more, or a link to one. Anything else at the path is left for `bind` to refuse.
fn remove_stale(path: &Path) -> io::Result<()> {
    let Ok(found) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    let nobody_listens = || {
        UnixStream::connect(path).is_err_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
            )
        })
    };
    let is_ours = found.file_type().is_socket() || found.file_type().is_symlink();
    if is_ours && nobody_listens() {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Makes `link` lead to the socket at `path`.
fn lead(link: &Path, path: &Path) -> io::Result<()> {
    let is_old_link = fs::symlink_metadata(link)
        .is_ok_and(|found| found.file_type().is_symlink() || found.file_type().is_socket());
    if is_old_link {
        fs::remove_file(link)?;
    }
    symlink(std::path::absolute(path)?, link)
}

fn accept(listener: &UnixListener, stopping: &AtomicBool, controlled: &Controlled) {
    let clients = Arc::new(AtomicUsize::new(0));
    while !stopping.load(Ordering::SeqCst) {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(_) if stopping.load(Ordering::SeqCst) => return,
            Err(error) => {
                tracing::warn!(id = "control-accept-failed", %error, "a control client could not be accepted");
                thread::sleep(ACCEPT_PAUSE);
                continue;
            }
        };
        let place = Place::take(&clients);
        if clients.load(Ordering::SeqCst) > MAX_CLIENTS {
            let _ = stream.set_write_timeout(Some(ACCEPT_PAUSE));
            let busy = End::failed(format!(
                "{MAX_CLIENTS} control clients are connected already"
            ));
            let _ = Answer::to(&stream).end(&busy);
            continue;
        }
        let controlled = controlled.clone();
        let begun = thread::Builder::new().name("control-client".into()).spawn(move || {
            let _place = place;
            if let Err(error) = serve(&stream, &controlled) {
                // It concerns its client alone, who has gone or does not read.
                tracing::debug!(id = "control-client-failed", %error, "a control client could not be answered");
            }
        });
        if let Err(error) = begun {
            tracing::warn!(id = "control-accept-failed", %error, "a control client could not be given a thread");
        }
    }
}

/// A client's place among those that are counted.
struct Place(Arc<AtomicUsize>);

impl Place {
    fn take(clients: &Arc<AtomicUsize>) -> Place {
        clients.fetch_add(1, Ordering::SeqCst);
        Place(Arc::clone(clients))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

fn serve(stream: &UnixStream, controlled: &Controlled) -> io::Result<()> {
    stream.set_read_timeout(Some(REQUEST_TIMEOUT))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let mut line = Vec::new();
    BufReader::new(stream.take(MAX_REQUEST)).read_until(b'\n', &mut line)?;
    let mut answer = Answer::to(stream);
    let request = if line.ends_with(b"\n") {
        Request::parse(&line)
    } else {
        Err(format!(
            "expected a request on one line of at most {MAX_REQUEST} octets"
        ))
    };
    match request {
        Ok(request) => obey(&request, controlled, &mut answer),
        Err(error) => answer.end(&End::failed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_owner_may_connect_and_a_live_socket_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let first = listen(&path).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, SOCKET_MODE);
        assert_eq!(listen(&path).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(first);
        listen(&path).unwrap();
        let file = dir.path().join("a-file");
        fs::write(&file, "kept").unwrap();
        assert!(listen(&file).is_err());
        assert_eq!(fs::read_to_string(file).unwrap(), "kept");
    }

    #[test]
    fn the_store_s_directory_leads_to_a_socket_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (
            dir.path().join("elsewhere.sock"),
            dir.path().join(SOCKET_NAME),
        );
        let listener = listen(&path).unwrap();
        lead(&link, &path).unwrap();
        lead(&link, &path).unwrap();
        UnixStream::connect(&link).unwrap();
        drop(listener);
        // Once that server has gone, the place is free for another one's socket.
        listen(&link).unwrap();
    }

    #[test]
    fn a_path_that_is_too_long_is_an_error() {
        let path = Path::new("/tmp").join("x".repeat(200));
        assert!(listen(&path).is_err());
    }
}

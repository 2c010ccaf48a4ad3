//! Where writers connect to.

use std::fmt;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use socket2::{Domain, SockAddr, Socket, Type};

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 128;
/// Who may write leases: the server's user and group.
const SOCKET_MODE: u32 = 0o660;

/// The address of a feed socket: `unix:PATH`, or `ADDRESS:PORT` for TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix stream socket at this path.
    Unix(PathBuf),
    /// A TCP socket.
    Tcp(SocketAddr),
}

/// Neither form of an [`Address`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected \"unix:PATH\" or \"ADDRESS:PORT\", found {0:?}")]
pub struct AddressError(String);

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let refused = || AddressError(text.to_owned());
        match text.strip_prefix("unix:") {
            Some("") => Err(refused()),
            Some(path) => Ok(Address::Unix(path.into())),
            None => text.parse().map(Address::Tcp).map_err(|_| refused()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Unix(path) => write!(out, "unix:{}", path.display()),
            Address::Tcp(address) => address.fmt(out),
        }
    }
}

impl Address {
    /// A socket that listens here, and the address that it got (port 0 binds any free port).
    pub(super) fn listen(&self) -> io::Result<(Socket, Address)> {
        match self {
            Address::Unix(path) => {
                remove_stale(path)?;
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.bind(&SockAddr::unix(path)?)?;
                fs::set_permissions(path, fs::Permissions::from_mode(SOCKET_MODE))?;
                socket.listen(BACKLOG)?;
                Ok((socket, self.clone()))
            }
            Address::Tcp(address) => {
                let socket = Socket::new(Domain::for_address(*address), Type::STREAM, None)?;
                socket.set_reuse_address(true)?;
                socket.bind(&(*address).into())?;
                socket.listen(BACKLOG)?;
                let bound = socket.local_addr()?.as_socket().unwrap_or(*address);
                Ok((socket, Address::Tcp(bound)))
            }
        }
    }
}

/// Removes a socket that nobody listens on any more. Anything else at the path is left for `bind` to refuse.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket
        && UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_written() {
        for text in ["unix:/run/leaseq/feed.sock", "127.0.0.1:8069", "[::1]:0"] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
        for text in ["unix:", "/run/feed.sock", "localhost:1", ""] {
            let told = text.parse::<Address>().unwrap_err().to_string();
            assert_eq!(
                told,
                format!("expected \"unix:PATH\" or \"ADDRESS:PORT\", found {text:?}")
            );
        }
    }

    #[test]
    fn a_stale_socket_is_replaced_and_a_live_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let address = Address::Unix(dir.path().join("feed.sock"));
        let (first, _) = address.listen().unwrap();
        assert_eq!(
            address.listen().unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(first);
        address.listen().unwrap();
        let file = dir.path().join("a-file");
        fs::write(&file, "kept").unwrap();
        assert!(Address::Unix(file.clone()).listen().is_err());
        assert_eq!(fs::read_to_string(file).unwrap(), "kept");
    }
}

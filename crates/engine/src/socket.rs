//! Sockets as the engine wants them: how they listen, and what each connection is set to.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::net::{RecvFlags, SendFlags};
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::error::StartError;

/// Connections that may wait to be accepted; the kernel lowers it to net.core.somaxconn.
const BACKLOG: i32 = 65_535;
/// Octets the kernel may hold unsent for a connection: what a blocked relay costs in kernel memory.
const NOT_SENT_OCTETS: u32 = 128 << 10;
/// As [`NOT_SENT_OCTETS`], for an active stream.
const STREAM_NOT_SENT_OCTETS: u32 = 16 << 10;
/// How much longer than the protocol's own timeout the kernel waits for an acknowledgement.
const USER_TIMEOUT_MARGIN: Duration = Duration::from_secs(10);
/// Octets of requests that may wait on a UDP socket.
const UDP_RECEIVE_OCTETS: usize = 4 << 20;

/// A listening TCP socket, not blocking.
///
/// Not SO_REUSEPORT: a second server would silently be given part of the connections.
pub(crate) fn listen(address: SocketAddr) -> Result<Socket, StartError> {
    let open = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::STREAM,
            Some(Protocol::TCP),
        )?;
        // A server that was restarted may bind although connections of the one before it linger.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket)
    };
    open().map_err(|source| StartError::Bind {
        transport: "TCP",
        address,
        source,
    })
}

/// A UDP socket. Not SO_REUSEADDR: with UDP that shares the port as SO_REUSEPORT does.
pub(crate) fn datagram(address: SocketAddr) -> Result<Socket, StartError> {
    let open = || {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if let Err(error) = socket.set_recv_buffer_size(UDP_RECEIVE_OCTETS) {
            tracing::warn!(id = "engine-udp-buffer", %address, %error, "the receive buffer stays at its default");
        }
        socket.bind(&address.into())?;
        Ok(socket)
    };
    open().map_err(|source| StartError::Bind {
        transport: "UDP",
        address,
        source,
    })
}

/// The address a socket is bound to.
pub(crate) fn local_address(socket: &Socket) -> Result<SocketAddr, StartError> {
    socket
        .local_addr()
        .and_then(|address| {
            address
                .as_socket()
                .ok_or_else(|| io::ErrorKind::Unsupported.into())
        })
        .map_err(StartError::system("read a socket's own address"))
}

/// Sets an accepted connection up for a peer that may be silent for `timeout` before the protocol gives up on it.
///
/// Errors are not fatal: they mean that the peer is gone, which the first read tells.
pub(crate) fn prepare(socket: &OwnedFd, timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(socket);
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOT_SENT_OCTETS)?;
    socket.set_tcp_user_timeout(Some(timeout.saturating_add(USER_TIMEOUT_MARGIN)))
}

/// Sets a connection up as an active stream whose peer may acknowledge nothing for `timeout`: little waits unsent in the
/// kernel, so that what is not told yet can still be overtaken by a newer record of its binding.
pub(crate) fn prepare_stream(socket: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
    let socket = SockRef::from(&socket);
    socket.set_tcp_notsent_lowat(STREAM_NOT_SENT_OCTETS)?;
    socket.set_tcp_user_timeout(Some(timeout.saturating_add(USER_TIMEOUT_MARGIN)))
}

/// Reads what has come, without waiting; 0: the peer sends no more.
pub(crate) fn receive(socket: BorrowedFd<'_>, room: &mut [u8]) -> io::Result<usize> {
    let (octets, _) = rustix::net::recv(socket, room, RecvFlags::DONTWAIT)?;
    Ok(octets)
}

/// Sends what the kernel takes without waiting.
pub(crate) fn send(socket: BorrowedFd<'_>, octets: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(
        socket,
        octets,
        SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
    )?)
}

/// Tells the peer that nothing more comes, but still reads.
pub(crate) fn end_sending(socket: BorrowedFd<'_>) -> io::Result<()> {
    SockRef::from(&socket).shutdown(std::net::Shutdown::Write)
}

/// Ends both directions; what the kernel still holds for the peer is sent in the background.
pub(crate) fn end(socket: BorrowedFd<'_>) {
    // Fails only if the connection is gone already.
    let _ = SockRef::from(&socket).shutdown(std::net::Shutdown::Both);
}

/// Ends a connection at once: pending operations complete, and closing resets it and frees what the kernel holds for it.
pub(crate) fn abort(socket: BorrowedFd<'_>) {
    let socket = SockRef::from(&socket);
    // Both fail only if the connection is gone already.
    let _ = socket.set_linger(Some(Duration::ZERO));
    let _ = socket.shutdown(std::net::Shutdown::Both);
}

/// Closes a connection that was refused, without a reset where the peer has said no more than one buffer full yet.
pub(crate) fn refuse(socket: OwnedFd) {
    let mut said = [0; 2_048];
    let _ = end_sending(socket.as_fd());
    // Octets left unread would make the close a reset.
    let _ = receive(socket.as_fd(), &mut said);
}

/// Octets that the kernel holds for the peer: unsent, or sent and not acknowledged (SIOCOUTQ).
#[allow(unsafe_code)]
pub(crate) fn unacknowledged(socket: BorrowedFd<'_>) -> usize {
    use std::os::fd::AsRawFd;
    let mut octets: libc::c_int = 0;
    // SAFETY: SIOCOUTQ (the same number as TIOCOUTQ) writes one int to where the pointer shows, and `octets` outlives it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &mut octets) };
    if result == 0 {
        usize::try_from(octets).unwrap_or(0)
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn pair() -> (TcpStream, OwnedFd) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0.into())
    }

    #[test]
    fn a_taken_port_is_an_error_for_both_transports() {
        let tcp = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(matches!(
            listen(local_address(&tcp).unwrap()),
            Err(StartError::Bind {
                transport: "TCP",
                ..
            })
        ));
        let udp = datagram("[::1]:0".parse().unwrap()).unwrap();
        assert!(matches!(
            datagram(local_address(&udp).unwrap()),
            Err(StartError::Bind {
                transport: "UDP",
                ..
            })
        ));
    }

    #[test]
    fn counts_what_the_peer_has_not_acknowledged() {
        let (client, server) = pair();
        prepare(&server, Duration::from_secs(300)).unwrap();
        assert_eq!(unacknowledged(server.as_fd()), 0);
        let server = Socket::from(server);
        server.set_nonblocking(true).unwrap();
        // Nobody reads: the kernel's buffers fill up.
        while server.send(&[0; 65_536]).is_ok() {}
        assert!(unacknowledged(server.as_fd()) > 0);
        drop(client);
    }

    #[test]
    fn a_stream_holds_less_unsent_and_waits_for_its_own_timeout() {
        let (_client, server) = pair();
        prepare(&server, Duration::from_secs(300)).unwrap();
        prepare_stream(server.as_fd(), Duration::from_secs(120)).unwrap();
        let server = SockRef::from(&server);
        assert_eq!(server.tcp_notsent_lowat().unwrap(), STREAM_NOT_SENT_OCTETS);
        let timeout = server.tcp_user_timeout().unwrap();
        assert_eq!(timeout, Some(Duration::from_secs(130)));
    }

    #[test]
    fn reading_and_sending_wait_for_nothing() {
        let (mut client, server) = pair();
        let blocked = |result: io::Result<usize>| result.unwrap_err().kind();
        let nothing = receive(server.as_fd(), &mut [0; 10]);
        assert_eq!(blocked(nothing), io::ErrorKind::WouldBlock);
        client.write_all(b"query").unwrap();
        let mut room = [0; 10];
        assert_eq!(receive(server.as_fd(), &mut room).unwrap(), 5);
        prepare_stream(server.as_fd(), Duration::from_secs(120)).unwrap();
        let mut taken = 0;
        let end = loop {
            match send(server.as_fd(), &[0; 4_096]) {
                Ok(octets) => taken += octets,
                Err(error) => break error,
            }
        };
        assert_eq!(end.kind(), io::ErrorKind::WouldBlock);
        assert!(taken > 0);
    }

    #[test]
    fn a_refused_peer_reads_the_end_and_no_reset() {
        let (mut client, server) = pair();
        client.write_all(b"a first query").unwrap();
        // Loopback: what was written is there to be read.
        refuse(server);
        assert_eq!(client.read(&mut [0; 10]).unwrap(), 0);
    }

    #[test]
    fn abort_resets() {
        let (mut client, server) = pair();
        abort(server.as_fd());
        drop(server);
        let outcome = client.read(&mut [0; 10]).map_err(|error| error.kind());
        assert!(
            matches!(outcome, Ok(0) | Err(io::ErrorKind::ConnectionReset)),
            "{outcome:?}"
        );
    }
}

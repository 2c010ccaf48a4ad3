//! The UDP sockets of a thread.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::task::{Context as TaskContext, Poll};

use socket2::SockRef;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::net::datagrams::{BATCH, Inbox, Outbox};

/// Octets that a socket may keep until they are read: answers of some tens of milliseconds at the highest rates.
const RECEIVE_BUFFER: usize = 4 << 20;

/// The port that replies to relay agents go to where the server has it too (RFC 4388 §6.4.3).
const RELAY_PORT: u16 = 67;

/// Batches that are read of a socket in one turn.
const BATCHES: usize = 4;

/// A connected UDP socket.
pub struct Socket {
    socket: UdpSocket,
    outbox: Outbox,
    /// Our address as the server sees it.
    pub local: SocketAddr,
}

impl Socket {
    /// Connects from this address, or from any.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(server: SocketAddr, source: Option<SocketAddr>) -> io::Result<Self> {
        let any = match server {
            SocketAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0)),
        };
        let source = source.unwrap_or(any);
        // A server at its port 67 answers at port 67 of giaddr. If that is not to be had, it may answer where we ask.
        let wished = match (server, server.port()) {
            (SocketAddr::V4(_), RELAY_PORT) => SocketAddr::new(source.ip(), RELAY_PORT),
            _ => source,
        };
        let bind = std::net::UdpSocket::bind;
        let socket = bind(wished).or_else(|_| bind(source))?;
        socket.set_nonblocking(true)?;
        let options = SockRef::from(&socket);
        // As much of it as the system allows.
        let _ = options.set_recv_buffer_size(RECEIVE_BUFFER);
        socket.connect(server)?;
        let local = socket.local_addr()?;
        Ok(Self {
            socket: UdpSocket::from_std(socket)?,
            outbox: Outbox::default(),
            local,
        })
    }

    /// Takes a datagram, and sends those that it has when there is no room. `false`: the kernel takes no more now.
    pub fn push(&mut self, datagram: &[u8]) -> bool {
        if self.outbox.is_full() && !self.flush() {
            return false;
        }
        self.outbox.push(datagram)
    }

    /// Sends what it has. `false`: some have stayed.
    pub fn flush(&mut self) -> bool {
        self.outbox.is_empty() || self.outbox.send(&self.socket).is_ok()
    }

    /// Hands over datagrams that are there; `Ready`: there were some.
    pub fn poll_receive(
        &self,
        context: &mut TaskContext<'_>,
        inbox: &mut Inbox,
        each: &mut dyn FnMut(&[u8]),
    ) -> Poll<()> {
        let mut polled = Poll::Pending;
        for _ in 0..BATCHES {
            let Poll::Ready(Ok(())) = self.socket.poll_recv_ready(context) else {
                return polled;
            };
            let mut count = 0;
            // An error tells what became of a datagram that was sent: its query is sent again in time.
            let _ = self.socket.try_io(Interest::READABLE, || {
                count = inbox.receive(&self.socket)?;
                match count {
                    BATCH => Ok(()),
                    // No more is there: this says so.
                    _ => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
            if count > 0 {
                inbox.datagrams().for_each(&mut *each);
                polled = Poll::Ready(());
            }
        }
        // There may be more: it is looked at in the next turn.
        if polled.is_pending() {
            context.waker().wake_by_ref();
        }
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[test]
    fn datagrams_come_back() {
        let peer = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = peer.local_addr().unwrap();
        tokio_uring::start(async move {
            let source = "127.0.0.9:0".parse().ok();
            let mut socket = Socket::open(server, source).unwrap();
            for n in 0..100_u8 {
                assert!(socket.push(&[n; 9]));
            }
            assert!(socket.flush());
            let mut octets = [0; 20];
            for _ in 0..100 {
                let (count, from) = peer.recv_from(&mut octets).unwrap();
                assert_eq!(from, socket.local);
                peer.send_to(&octets[..count], from).unwrap();
            }
            let (mut inbox, mut seen) = (Inbox::default(), Vec::new());
            while seen.len() < 100 {
                poll_fn(|context| {
                    socket.poll_receive(context, &mut inbox, &mut |octets| seen.push(octets[0]))
                })
                .await;
            }
            assert_eq!(seen, (0..100).collect::<Vec<u8>>());
        });
    }
}

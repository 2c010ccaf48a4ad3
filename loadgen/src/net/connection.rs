//! One TCP connection of a relay.
//!
//! The runtime cannot cancel: a read or write whose future is dropped still happens, and octets are lost. So nobody waits for
//! one with a timeout around it; a [deadline](Connection::set_deadline) shuts the socket down instead, which ends them. Only
//! [`Connection::readable`] takes nothing from the socket and may be given up.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::marker::PhantomData;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use io_uring::{cqueue, opcode, squeue, types};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{RecvFlags, SendFlags};
use socket2::SockRef;
use tokio::net::TcpSocket;
use tokio::sync::Notify;
use tokio_uring::{BufResult, InFlightOneshot, OneshotOutputTransform, UnsubmittedOneshot};

/// `POLLIN`.
const POLL_IN: u32 = 1;

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub struct ConnectOptions {
    /// The server.
    pub server: SocketAddr,
    /// Our own address; port 0 for any.
    pub source: Option<SocketAddr>,
    /// Octets of the kernel's receive buffer; the kernel's own choice if not given. Must be set before connecting, for the
    /// window that the server sees.
    pub receive_buffer: Option<u32>,
    /// Closing resets the connection.
    pub reset_on_close: bool,
    /// How long to try.
    pub timeout: Duration,
}

/// A TCP connection. Dropped, it is closed once nothing waits for it any more.
pub struct Connection {
    shared: Rc<Shared>,
    watchdog: tokio::task::JoinHandle<()>,
    /// The wait that was begun and has not ended.
    waiting: RefCell<Option<Pending<()>>>,
}

struct Shared {
    stream: TcpStream,
    deadline: Cell<Option<Instant>>,
    is_expired: Cell<bool>,
    /// The deadline is earlier than the watchdog knows.
    is_earlier: Notify,
}

/// What an operation of the ring keeps alive until the kernel is done with it.
struct Held<B> {
    _shared: Rc<Shared>,
    buffer: B,
}

/// Turns a completion into the kernel's count or error, beside the buffer.
struct Count<B>(PhantomData<B>);

impl<B> OneshotOutputTransform for Count<B> {
    type Output = BufResult<usize, B>;
    type StoredData = Held<B>;

    fn transform_oneshot_output(self, held: Held<B>, completion: cqueue::Entry) -> Self::Output {
        let result = usize::try_from(completion.result())
            .map_err(|_| io::Error::from_raw_os_error(-completion.result()));
        (result, held.buffer)
    }
}

type Pending<B> = InFlightOneshot<Held<B>, Count<B>>;

fn submit<B>(shared: &Rc<Shared>, buffer: B, entry: squeue::Entry) -> Pending<B> {
    let held = Held {
        _shared: shared.clone(),
        buffer,
    };
    UnsubmittedOneshot::new(held, Count(PhantomData), entry).submit()
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.watchdog.abort();
        // The wait holds the socket until it ends.
        if self.waiting.get_mut().is_some() {
            self.shutdown();
        }
    }
}

impl Connection {
    /// Connects.
    ///
    /// # Errors
    /// If there is no connection in time ([`io::ErrorKind::TimedOut`]), or the system refuses.
    pub async fn open(options: &ConnectOptions) -> io::Result<Self> {
        let socket = match options.server {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(octets) = options.receive_buffer {
            socket.set_recv_buffer_size(octets)?;
        }
        if options.reset_on_close {
            SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        }
        if let Some(source) = options.source {
            socket.bind(source)?;
        }
        socket.set_nodelay(true)?;
        // The epoll-driven connect of tokio can be given up; one of the ring could not.
        let connecting = tokio::time::timeout(options.timeout, socket.connect(options.server));
        let stream = connecting
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??
            .into_std()?;
        // The ring waits by itself; on a non-blocking socket it would not.
        stream.set_nonblocking(false)?;
        let shared = Rc::new(Shared {
            stream,
            deadline: Cell::new(None),
            is_expired: Cell::new(false),
            is_earlier: Notify::new(),
        });
        let watchdog = tokio::task::spawn_local(watch(shared.clone()));
        Ok(Self {
            shared,
            watchdog,
            waiting: RefCell::default(),
        })
    }

    /// Waits until there is something to read, or the connection has ended. It may be given up and begun again.
    ///
    /// # Errors
    /// If the system refuses.
    pub async fn readable(&self) -> io::Result<()> {
        let (ready, ()) = poll_fn(|context| {
            let mut waiting = self.waiting.borrow_mut();
            let pending = waiting.get_or_insert_with(|| {
                let fd = types::Fd(self.shared.stream.as_raw_fd());
                let entry = opcode::PollAdd::new(fd, POLL_IN).build();
                submit(&self.shared, (), entry)
            });
            let polled = Pin::new(pending).poll(context);
            if polled.is_ready() {
                *waiting = None;
            }
            polled
        })
        .await;
        ready.map(|_| ())
    }

    /// Reads what is there already. 0 octets: the connection has ended, or its deadline is over.
    ///
    /// # Errors
    /// If the connection has failed, or nothing is there ([`io::ErrorKind::WouldBlock`]).
    pub fn read_now(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let (_, count) = rustix::net::recv(&self.shared.stream, buffer, RecvFlags::DONTWAIT)?;
        Ok(count)
    }

    /// Writes what the kernel takes without waiting.
    ///
    /// # Errors
    /// If the connection has failed, or nothing can be taken ([`io::ErrorKind::WouldBlock`]).
    pub fn write_now(&self, octets: &[u8]) -> io::Result<usize> {
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        Ok(rustix::net::send(&self.shared.stream, octets, flags)?)
    }

    /// Reads into a buffer, from its beginning. 0 octets: the connection has ended, or its deadline is over.
    pub async fn read(&self, mut buffer: Vec<u8>) -> BufResult<usize, Vec<u8>> {
        buffer.resize(buffer.capacity(), 0);
        let room = u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let fd = types::Fd(self.shared.stream.as_raw_fd());
        let entry = opcode::Recv::new(fd, buffer.as_mut_ptr(), room).build();
        submit(&self.shared, buffer, entry).await
    }

    /// Writes all of it.
    ///
    /// # Errors
    /// If the connection has ended, or its deadline is over.
    pub async fn write_all(&self, octets: Vec<u8>) -> io::Result<()> {
        let mut octets = octets;
        let mut from = 0;
        while let Some(rest) = octets.get(from..).filter(|rest| !rest.is_empty()) {
            let length = u32::try_from(rest.len()).unwrap_or(u32::MAX);
            let fd = types::Fd(self.shared.stream.as_raw_fd());
            let entry = opcode::Send::new(fd, rest.as_ptr(), length)
                .flags(SendFlags::NOSIGNAL.bits() as i32)
                .build();
            let (count, back) = submit(&self.shared, octets, entry).await;
            octets = back;
            match count? {
                0 => return Err(io::ErrorKind::WriteZero.into()),
                count => from += count,
            }
        }
        Ok(())
    }

    /// At this time the socket is shut down, unless another time is set before; `None`: never.
    pub fn set_deadline(&self, at: Option<Instant>) {
        let is_earlier = match (self.shared.deadline.replace(at), at) {
            (_, None) => false,
            (None, Some(_)) => true,
            (Some(before), Some(at)) => at < before,
        };
        // A later one the watchdog finds by itself.
        if is_earlier {
            self.shared.is_earlier.notify_one();
        }
    }

    /// The deadline was over.
    #[must_use]
    pub fn is_expired(&self) -> bool {
        self.shared.is_expired.get()
    }

    /// The server has ended it; this is seen without reading, and behind octets that nobody has read.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let mut looked_at = [PollFd::new(&self.shared.stream, PollFlags::RDHUP)];
        // It cannot be interrupted, as it does not wait.
        let _ = rustix::event::poll(&mut looked_at, Some(&Timespec::default()));
        !looked_at[0].revents().is_empty()
    }

    /// Ends it, in both directions; what waits for it is woken.
    pub fn shutdown(&self) {
        // It may have ended already.
        let _ = self.shared.stream.shutdown(Shutdown::Both);
    }

    /// Says that nothing more comes from us.
    ///
    /// # Errors
    /// If the connection has ended.
    pub fn finish(&self) -> io::Result<()> {
        self.shared.stream.shutdown(Shutdown::Write)
    }
}

/// Shuts the socket down when its deadline is over.
async fn watch(shared: Rc<Shared>) {
    loop {
        let Some(at) = shared.deadline.get() else {
            shared.is_earlier.notified().await;
            continue;
        };
        // Dropping these two futures loses nothing: the deadline is read again.
        tokio::select! {
            () = tokio::time::sleep_until(at.into()) => {
                if shared.deadline.get().is_some_and(|at| at <= Instant::now()) {
                    shared.is_expired.set(true);
                    // It may have ended already.
                    let _ = shared.stream.shutdown(Shutdown::Both);
                    return;
                }
            }
            () = shared.is_earlier.notified() => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    fn options(server: SocketAddr) -> ConnectOptions {
        ConnectOptions {
            server,
            source: None,
            receive_buffer: None,
            reset_on_close: false,
            timeout: Duration::from_secs(10),
        }
    }

    #[test]
    fn octets_go_both_ways_from_the_source_asked_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let (mut stream, from) = listener.accept().unwrap();
            let mut octets = [0; 5];
            stream.read_exact(&mut octets).unwrap();
            stream.write_all(&octets).unwrap();
            from.ip()
        });
        tokio_uring::start(async {
            let options = ConnectOptions {
                source: Some("127.9.8.7:0".parse().unwrap()),
                receive_buffer: Some(4_096),
                ..options(server)
            };
            let connection = Connection::open(&options).await.unwrap();
            connection.write_all(b"hello".to_vec()).await.unwrap();
            let (count, buffer) = connection.read(vec![0; 64]).await;
            assert_eq!(&buffer[..count.unwrap()], b"hello");
            let (count, _) = connection.read(vec![0; 64]).await;
            assert_eq!((count.unwrap(), connection.is_expired()), (0, false));
        });
        assert_eq!(peer.join().unwrap().to_string(), "127.9.8.7");
    }

    #[test]
    fn a_wait_that_is_given_up_loses_no_octets() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        let peer = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut octets = [0; 1];
            stream.read_exact(&mut octets).unwrap();
            stream.write_all(b"answer").unwrap();
        });
        tokio_uring::start(async {
            let connection = Connection::open(&options(server)).await.unwrap();
            tokio::select! {
                biased;
                _ = connection.readable() => panic!("nothing was sent"),
                () = tokio::task::yield_now() => {}
            }
            assert_eq!(connection.write_now(b"?").unwrap(), 1);
            connection.readable().await.unwrap();
            let mut octets = [0; 64];
            let count = connection.read_now(&mut octets).unwrap();
            assert_eq!(&octets[..count], b"answer");
        });
        peer.join().unwrap();
    }

    #[test]
    fn a_deadline_ends_a_read_also_when_it_is_brought_forward() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        tokio_uring::start(async {
            let connection = Connection::open(&options(server)).await.unwrap();
            connection.set_deadline(Some(Instant::now() + Duration::from_secs(3_600)));
            let sooner = async {
                tokio::task::yield_now().await;
                connection.set_deadline(Some(Instant::now()));
            };
            let ((count, _), ()) = tokio::join!(connection.read(vec![0; 64]), sooner);
            assert_eq!((count.unwrap(), connection.is_expired()), (0, true));
        });
    }

    #[test]
    fn a_refused_connection_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap();
        drop(listener);
        tokio_uring::start(async {
            let opened = Connection::open(&options(server)).await;
            let error = opened.map(drop).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
        });
    }
}

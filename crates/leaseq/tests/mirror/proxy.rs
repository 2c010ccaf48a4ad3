//! A TCP connection that is cut when a test says so, or after a number of octets.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// No connection is cut by its octets.
const NEVER: u64 = u64::MAX;

/// Passes connections on to a server.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    server: SocketAddr,
    /// Octets that the server may say on each connection.
    fuse: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn to(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            fuse: AtomicU64::new(NEVER),
            open: Mutex::default(),
        });
        let passing = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                pass(&passing, stream);
            }
        });
        Proxy { address, shared }
    }

    /// Cuts all connections.
    pub fn cut(&self) {
        for stream in self.shared.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Cuts connections after so many octets of the server, those that are open too.
    pub fn cut_after(&self, octets: u64) {
        self.shared.fuse.store(octets, Ordering::SeqCst);
    }

    /// Cuts no more.
    pub fn heal(&self) {
        self.cut_after(NEVER);
    }
}

fn pass(shared: &Arc<Shared>, mirror: TcpStream) {
    let Ok(server) = TcpStream::connect(shared.server) else {
        return;
    };
    let mut open = shared.open.lock().unwrap();
    open.push(mirror.try_clone().unwrap());
    open.push(server.try_clone().unwrap());
    drop(open);
    let up = (mirror.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || copy(up.0, up.1, || NEVER));
    let shared = Arc::clone(shared);
    thread::spawn(move || copy(server, mirror, || shared.fuse.load(Ordering::SeqCst)));
}

/// Copies until one of both ends, or as many octets as may be were copied; then both do.
fn copy(mut from: TcpStream, mut to: TcpStream, fuse: impl Fn() -> u64) {
    let mut copied = 0;
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(n) = from.read(&mut buffer) {
        let left = fuse().saturating_sub(copied);
        let passed = n.min(usize::try_from(left).unwrap_or(usize::MAX));
        if passed == 0 || to.write_all(&buffer[..passed]).is_err() || passed < n {
            break;
        }
        copied += n as u64;
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

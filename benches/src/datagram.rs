//! A load of UDP queries from one thread: a fixed number is always under way.

use std::net::{SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use leaseq_engine::limit::{BATCH, Inbox, Local, Outbox};

use crate::stream::pin;

/// Queries under way.
const WINDOW: usize = 8 * BATCH;
/// Without an answer for that long, what is under way counts as lost.
const LOST_AFTER: Duration = Duration::from_millis(100);

/// What came of a load.
#[derive(Clone, Copy, Debug)]
pub struct Answers {
    /// Datagrams that came back.
    pub answered: u64,
    /// Queries without an answer.
    pub lost: u64,
    /// Seconds of the run.
    pub seconds: f64,
}

impl Answers {
    /// Answers a second.
    pub fn rate(&self) -> f64 {
        self.answered as f64 / self.seconds
    }
}

/// Asks `requests` over and over for `duration`, on CPU `cpu`.
///
/// # Errors
/// If the socket fails.
pub fn load(
    server: SocketAddr,
    requests: &[Vec<u8>],
    duration: Duration,
    cpu: usize,
) -> Result<Answers> {
    thread::scope(|scope| {
        let client = scope.spawn(|| {
            pin(cpu);
            run(server, requests, duration)
        });
        client
            .join()
            .map_err(|_| anyhow::anyhow!("the load's thread panicked"))?
    })
}

fn run(server: SocketAddr, requests: &[Vec<u8>], duration: Duration) -> Result<Answers> {
    let any: SocketAddr = if server.is_ipv4() {
        "127.0.0.1:0".parse()?
    } else {
        "[::1]:0".parse()?
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_read_timeout(Some(LOST_AFTER))?;
    let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
    let mut next = requests.iter().cycle();
    let (mut under_way, mut answered, mut lost) = (0_usize, 0_u64, 0_u64);
    let begun = Instant::now();
    while begun.elapsed() < duration {
        while under_way + BATCH <= WINDOW {
            for request in next.by_ref().take(BATCH) {
                outbox.room()[..request.len()].copy_from_slice(request);
                outbox.push(request.len(), server, Local::Bound);
            }
            let failed = outbox.send(&socket);
            lost += failed as u64;
            under_way += BATCH - failed;
        }
        match inbox.receive(&socket) {
            Ok(count) => {
                answered += count as u64;
                under_way = under_way.saturating_sub(count);
            }
            // Waits for the next answer, or gives up what is under way.
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if socket.peek_from(&mut [0; 1]).is_err() {
                    lost += under_way as u64;
                    under_way = 0;
                }
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(Answers {
        answered,
        lost,
        seconds: begun.elapsed().as_secs_f64(),
    })
}

//! One TCP stream and its reader: how fast the server fills it, and how fast prepared octets do.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use core_affinity::CoreId;
use leaseq_wire::frame;

use crate::usage;

/// Octets a reader asks the kernel for at a time.
const READ_OCTETS: usize = 256 << 10;

/// Pins the calling thread.
pub fn pin(cpu: usize) {
    core_affinity::set_for_current(CoreId { id: cpu });
}

/// Octets and seconds of a transfer.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Octets read.
    pub octets: u64,
    /// Seconds from the request to the last octet.
    pub seconds: f64,
    /// Nanoseconds that the server's thread was on its CPU for it.
    pub server_ns: u64,
}

impl Transfer {
    /// GB/s.
    pub fn rate(&self) -> f64 {
        self.octets as f64 / self.seconds / 1e9
    }

    /// GB for each second of the server's CPU.
    pub fn cpu_rate(&self) -> f64 {
        self.octets as f64 / self.server_ns as f64
    }
}

/// Sends `request` on a new connection and reads until `octets` have come, on CPU `cpu`.
///
/// # Errors
/// If the server closes before, or the connection fails.
pub fn ask(server: SocketAddr, request: &[u8], octets: u64, cpu: usize) -> Result<Transfer> {
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            pin(cpu);
            let mut stream = TcpStream::connect(server)?;
            let mut buffer = vec![0; READ_OCTETS];
            let begun = Instant::now();
            stream.write_all(request)?;
            let mut read = 0;
            while read < octets {
                let count = stream.read(&mut buffer)?;
                ensure!(
                    count > 0,
                    "the server closed after {read} of {octets} octets"
                );
                read += count as u64;
            }
            Ok(Transfer {
                octets: read,
                seconds: begun.elapsed().as_secs_f64(),
                server_ns: 0,
            })
        });
        reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader panicked"))?
    })
}

/// As [`ask`], with the CPU time that the engine's data threads took for it.
///
/// # Errors
/// As [`ask`].
pub fn ask_engine(server: SocketAddr, request: &[u8], octets: u64, cpu: usize) -> Result<Transfer> {
    let before = usage::data_threads_ns()?;
    let transfer = ask(server, request, octets, cpu)?;
    Ok(Transfer {
        server_ns: usage::data_threads_ns()? - before,
        ..transfer
    })
}

/// Sends `request` on a new connection and reads until a message satisfies `is_last`; gives all octets.
///
/// # Errors
/// If the server closes before, or the connection fails.
pub fn collect(
    server: SocketAddr,
    request: &[u8],
    is_last: impl Fn(&[u8]) -> bool,
) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    read_to(server, request, is_last, &mut all)?;
    Ok(all)
}

/// Sends `request` on a new connection, reads until a message satisfies `is_last`, and leaves the connection open.
///
/// # Errors
/// As [`collect`].
pub fn recovered(
    server: SocketAddr,
    request: &[u8],
    is_last: impl Fn(&[u8]) -> bool,
) -> Result<TcpStream> {
    read_to(server, request, is_last, &mut Vec::new())
}

fn read_to(
    server: SocketAddr,
    request: &[u8],
    is_last: impl Fn(&[u8]) -> bool,
    all: &mut Vec<u8>,
) -> Result<TcpStream> {
    let mut stream = TcpStream::connect(server)?;
    stream.write_all(request)?;
    let mut start = 0;
    let mut buffer = vec![0; READ_OCTETS];
    loop {
        let count = stream.read(&mut buffer)?;
        ensure!(count > 0, "the server closed after {} octets", all.len());
        all.extend_from_slice(&buffer[..count]);
        while let frame::Split::Frame { message, consumed } = frame::split(&all[start..]) {
            let last = is_last(message);
            start += consumed;
            if last {
                return Ok(stream);
            }
        }
    }
}

/// Writes `octets` straight from memory to whoever connects, in writes of `chunk`, on the runtime that the engine uses:
/// the limit for a server that has to encode them. On CPU `server_cpu`, read on `reader_cpu`.
///
/// # Errors
/// If a connection or a ring cannot be had.
pub fn prepared(
    octets: &'static [u8],
    chunk: usize,
    server_cpu: usize,
    reader_cpu: usize,
) -> Result<Transfer> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = thread::spawn(move || -> Result<u64> {
        pin(server_cpu);
        let (mut stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.read_exact(&mut [0; 1])?;
        let mut ring = tokio_uring::uring_builder();
        ring.setup_cqsize(32_768);
        tokio_uring::builder()
            .entries(4_096)
            .uring_builder(&ring)
            .start(async move {
                let stream = tokio_uring::net::TcpStream::from_std(stream);
                for piece in octets.chunks(chunk) {
                    stream
                        .write_all(piece)
                        .await
                        .0
                        .context("writing prepared octets")?;
                }
                usage::own_ns()
            })
    });
    let transfer = ask(address, &[1], octets.len() as u64, reader_cpu)?;
    let server_ns = server
        .join()
        .map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    Ok(Transfer {
        server_ns,
        ..transfer
    })
}

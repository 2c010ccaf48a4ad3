//! The limit for a fan-out: prepared octets sent to each socket in turn, with nothing else to do.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail, ensure};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

/// Threads that send what they are given to all requestors, each to its share of them.
pub struct PlainFanOut {
    address: SocketAddr,
    opening: Option<JoinHandle<Result<Vec<TcpStream>>>>,
    senders: Vec<Sending>,
}

struct Sending {
    frames: Sender<Vec<u8>>,
    thread: JoinHandle<Result<()>>,
}

impl PlainFanOut {
    /// Listens for as many requestors as said.
    ///
    /// # Errors
    /// If no listener can be had.
    pub fn listen(count: u32) -> Result<PlainFanOut> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let opening = thread::spawn(move || {
            let accept = |_| {
                let (stream, _) = listener.accept()?;
                stream.set_nodelay(true)?;
                Ok(stream)
            };
            (0..count).map(accept).collect()
        });
        Ok(PlainFanOut {
            address,
            opening: Some(opening),
            senders: Vec::new(),
        })
    }

    /// Where to connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Starts the threads, once all requestors are there.
    ///
    /// # Errors
    /// If a requestor could not be accepted.
    pub fn start(&mut self, threads: usize) -> Result<()> {
        let opening = self.opening.take().context("started already")?;
        let Ok(streams) = opening.join() else {
            bail!("the accepting thread panicked");
        };
        let mut streams = streams?;
        for left in (1..=threads).rev() {
            let share = streams.split_off(streams.len() - streams.len() / left);
            let (frames, take) = channel();
            let thread = thread::Builder::new().name("leaseq-data".into());
            let thread = thread.spawn(move || send_all(&share, &take))?;
            self.senders.push(Sending { frames, thread });
        }
        Ok(())
    }

    /// Has every requestor sent a frame.
    ///
    /// # Errors
    /// If a thread has ended.
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        for sender in &self.senders {
            sender.frames.send(frame.to_vec())?;
        }
        Ok(())
    }

    /// Ends the threads.
    ///
    /// # Errors
    /// If a requestor did not take something.
    pub fn stop(self) -> Result<()> {
        for Sending { frames, thread } in self.senders {
            drop(frames);
            let Ok(result) = thread.join() else {
                bail!("a sending thread panicked");
            };
            result?;
        }
        Ok(())
    }
}

/// Sends to each stream whatever has come since the last round.
fn send_all(streams: &[TcpStream], frames: &Receiver<Vec<u8>>) -> Result<()> {
    while let Ok(mut octets) = frames.recv() {
        frames.try_iter().for_each(|frame| octets.extend(frame));
        for stream in streams {
            match send(stream, &octets, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(sent) => ensure!(sent == octets.len(), "a requestor does not keep up"),
                Err(Errno::AGAIN) => bail!("a requestor does not keep up"),
                Err(error) => return Err(error.into()),
            }
        }
    }
    Ok(())
}

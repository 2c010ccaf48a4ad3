//! Sessions without an engine: what encoding alone costs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Result, ensure};
use leaseq_session::{Admission, Connection, Counters, Family, Mono, Responder, Turn};
use leaseq_store::Reader;

use crate::{fixture, usage};

/// Octets written before the buffer is taken to be sent, as in the engine.
const CHUNK: usize = 1 << 20;
/// Octets of the longest frame, with its length.
const FRAME: usize = 65_537;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// What encoding a query's replies took.
#[derive(Clone, Copy, Debug)]
pub struct Encoded {
    /// Bindings in the replies.
    pub bindings: u64,
    /// Octets of all frames.
    pub octets: u64,
    /// Seconds that the thread was on its CPU, from the query to its end: what else runs does not count.
    pub seconds: f64,
}

/// One connection's protocol and what it needs.
pub struct Bench {
    reader: Reader,
    counters: Arc<Counters>,
    connection: Connection,
    responder: Responder,
    family: Family,
    buffer: Vec<u8>,
}

impl Bench {
    /// A connection of one family over a store.
    ///
    /// # Errors
    /// If it is not admitted, which a mistake in the settings would cause.
    pub fn new(reader: Reader, family: Family) -> Result<Bench> {
        let settings = fixture::settings();
        let counters = Arc::new(Counters::default());
        let admission = Admission::new(settings.clone());
        let admitted = admission.admit(family, PEER)?;
        let peer = SocketAddr::new(PEER, 6_767);
        let now = Mono::from_millis(0);
        let connection = Connection::new(
            settings.clone(),
            counters.clone(),
            leaseq_session::Hub::new(),
            0,
            family,
            admitted,
            peer,
            now,
        );
        let responder = Responder::new(settings, counters.clone(), admission);
        Ok(Bench {
            reader,
            counters,
            connection,
            responder,
            family,
            buffer: vec![0; CHUNK + FRAME],
        })
    }

    /// Asks a framed query and encodes all replies into one buffer, over and over.
    ///
    /// # Errors
    /// If the query is not taken, or /proc does not tell a thread's CPU time.
    pub fn encode(&mut self, request: &[u8]) -> Result<Encoded> {
        self.ask(request, |_| {})
    }

    /// Asks a framed query; the octets of all replies.
    ///
    /// # Errors
    /// As [`encode`](Self::encode).
    pub fn replies(&mut self, request: &[u8]) -> Result<Vec<u8>> {
        let mut replies = Vec::new();
        self.ask(request, |octets| replies.extend_from_slice(octets))?;
        Ok(replies)
    }

    fn ask(&mut self, request: &[u8], mut take: impl FnMut(&[u8])) -> Result<Encoded> {
        let begun = usage::own_ns()?;
        let bindings = self.counters.of(self.family).bindings.get();
        let mut octets = 0;
        let now = Mono::from_millis(0);
        let mut taken = 0;
        while taken == 0 || self.connection.has_output() {
            let view = self.reader.view();
            let turn = Turn {
                view: &view,
                now,
                server_time: self.reader.settled(),
            };
            if taken == 0 {
                taken = self.connection.receive(request, &turn);
                ensure!(
                    taken == request.len(),
                    "the session took {taken} of {} octets",
                    request.len()
                );
            }
            let written = self.connection.transmit(&turn, &mut self.buffer, CHUNK);
            take(&self.buffer[..written]);
            self.connection.written(written, now);
            octets += written as u64;
        }
        let bindings = self.counters.of(self.family).bindings.get() - bindings;
        Ok(Encoded {
            bindings,
            octets,
            seconds: (usage::own_ns()? - begun) as f64 / 1e9,
        })
    }

    /// Answers each of `requests` as a datagram; how many had an answer.
    pub fn answer(&mut self, requests: &[Vec<u8>]) -> usize {
        let view = self.reader.view();
        let turn = Turn {
            view: &view,
            now: Mono::from_millis(0),
            server_time: self.reader.settled(),
        };
        let from = SocketAddr::new(PEER, 6_767);
        let answered = requests.iter().filter(|request| {
            self.responder
                .answer(&turn, self.family, from, request, &mut self.buffer[..1_500])
                .is_some()
        });
        answered.count()
    }
}

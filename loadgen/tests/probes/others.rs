//! Servers that are not leaseq, and do things in another manner.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use leaseq_loadgen::probes::{self, Outcome, Servers};
use leaseq_loadgen::scenario::Scenario;

use crate::server::{found, wrong};

/// A DHCPv4 server that does the same with every connection, each in a thread.
struct Other {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
    listening: Option<thread::JoinHandle<()>>,
}

impl Other {
    fn start(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let is_over = Arc::<AtomicBool>::default();
        let listening = {
            let is_over = is_over.clone();
            thread::spawn(move || {
                for stream in listener.incoming() {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    let (serve, stream) = (serve.clone(), stream.unwrap());
                    thread::spawn(move || serve(stream));
                }
            })
        };
        Self {
            address,
            is_over,
            listening: Some(listening),
        }
    }

    fn servers(&self) -> Servers {
        Servers {
            v4: Some(self.address),
            ..Servers::default()
        }
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // So that it looks.
        let _ = TcpStream::connect(self.address);
        self.listening.take().map(thread::JoinHandle::join);
    }
}

fn scenario(text: &str) -> Scenario {
    toml::from_str(&format!("patience = \"5s\"\n{text}")).unwrap()
}

/// Sends octets for ever, and gives up, in good order, when the other side takes none for so long, or for twice as long if it
/// takes a part of what is written first.
fn flood(mut stream: TcpStream, patience: Duration) {
    stream.set_write_timeout(Some(patience)).unwrap();
    let _ = stream.read(&mut [0; 1_000]);
    while stream.write_all(&[0; 1_000]).is_ok() {}
}

fn sending(patience: Duration) -> Outcome {
    let server = Other::start(move |stream| flood(stream, patience));
    let scenario = scenario("[timeouts]\nbulk-send = \"1s\"\ntolerance = \"500ms\"\ninnocent = 0");
    probes::timeouts(&scenario, &server.servers(), &AtomicBool::new(false))
}

#[test]
fn the_end_of_a_connection_that_is_not_reset_is_seen_by_reading_on() {
    let outcome = sending(Duration::from_millis(500));
    assert_eq!(
        found(&outcome, "bulk-send v4, nothing read"),
        (
            "ended within 1.75s; when, cannot be seen: it was not reset",
            true
        )
    );
    assert!(found(&outcome, "bulk-send v4, read slowly").1);
}

#[test]
fn a_server_that_never_gives_up_is_found() {
    let outcome = sending(Duration::from_secs(600));
    assert_eq!(
        found(&outcome, "bulk-send v4, nothing read"),
        ("not ended within 1.75s", false)
    );
    assert_eq!(wrong(&outcome), ["bulk-send v4, nothing read"]);
}

/// What is found of one that allows no connection.
fn none_allowed(serve: impl Fn(TcpStream) + Clone + Send + 'static) -> (String, bool) {
    let server = Other::start(serve);
    let scenario = scenario("[limits]\nmax-connections = 0\nrefused-within = \"100ms\"");
    let outcome = probes::limits(&scenario, &server.servers(), &AtomicBool::new(false));
    let (text, holds) = found(&outcome, "max-connections v4, one too many");
    assert_eq!(wrong(&outcome).is_empty(), holds);
    (text.to_owned(), holds)
}

#[test]
fn a_refusal_that_comes_late_or_with_octets_is_none() {
    let (text, holds) = none_allowed(drop);
    assert!(
        text.starts_with("closed before any octet after 0") && holds,
        "{text}"
    );
    // It closes once it is spoken to.
    let late = none_allowed(|mut stream| {
        let _ = stream.read(&mut [0; 1_000]);
    });
    assert_eq!(late, ("not closed within 0.1s".into(), false));
    let told = none_allowed(|mut stream| {
        let _ = stream.write_all(b"too many");
    });
    assert_eq!(told, ("octets came before it was closed".into(), false));
}

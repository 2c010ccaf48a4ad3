//! Active streams without an engine that ask for the past all at once: what telling them costs.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use leaseq_session::{Admission, Connection, Counters, Family, Hub, Mono, Settings, Turn};
use leaseq_store::Reader;

use crate::{fixture, usage};

/// Octets written before a buffer is taken to be sent, as in the engine for a stream.
const CHUNK: usize = 32 << 10;
/// Octets of the longest frame, with its length.
const FRAME: usize = 65_537;
/// Octets that a requestor takes at a time whose link is slow.
const SLOW_CHUNK: usize = 4 << 10;
/// Turns between two times that it takes some.
const SLOW_TURNS: u64 = 64;
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const NOW: Mono = Mono::from_millis(0);

/// How requestors take what they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// All at once.
    Quickly,
    /// All but each tenth of them, which takes nothing.
    WithTheDeaf,
    /// A little now and then.
    Slowly,
}

/// What it took until all that take anything were caught up.
#[derive(Clone, Copy, Debug)]
pub struct CaughtUp {
    /// Bindings told.
    pub bindings: u64,
    /// Seconds that the thread was on its CPU.
    pub seconds: f64,
    /// Times that a connection had octets for its socket.
    pub writes: u64,
}

struct Stream {
    connection: Connection,
    number: u64,
    takes: bool,
    is_ready: bool,
}

/// Has streams narrowed to one relay each ask for everything, relay by relay, and tells them.
///
/// # Errors
/// If a connection is not admitted or a query not taken, which a mistake in the settings would cause.
pub fn run(reader: &Reader, streams: u32, taking: Taking) -> Result<CaughtUp> {
    let settings = fixture::active_settings(Duration::from_secs(120));
    let counters = Arc::new(Counters::default());
    let hub = Hub::new();
    let begun = usage::own_ns()?;
    let mut streams = (0..streams)
        .map(|number| {
            let takes = taking != Taking::WithTheDeaf || number % 10 != 0;
            let connection = connect(&settings, &counters, &hub, number)?;
            ask(connection, number, takes, reader)
        })
        .collect::<Result<Vec<Stream>>>()?;
    let expected = streams.iter().filter(|stream| stream.takes).count() as u64;
    let mut ready: Vec<usize> = (0..streams.len()).collect();
    let mut buffer = vec![0; CHUNK + FRAME];
    let (mut writes, mut turns) = (0, 0);
    while counters.v4.caught_up.get() < expected {
        turns += 1;
        if hub.is_behind() {
            with_turn(reader, |turn| {
                hub.committed(turn, &mut |key| {
                    if !std::mem::replace(&mut streams[key].is_ready, true) {
                        ready.push(key);
                    }
                })
            });
        }
        ready.retain(|&key| {
            let stream = &mut streams[key];
            let target = match taking {
                Taking::Slowly if (turns + stream.number) % SLOW_TURNS != 0 => return true,
                Taking::Slowly => SLOW_CHUNK,
                Taking::Quickly | Taking::WithTheDeaf => CHUNK,
            };
            if stream.takes {
                writes += u64::from(with_turn(reader, |turn| {
                    take(&mut stream.connection, turn, &mut buffer, target)
                }));
            }
            stream.is_ready = stream.takes && stream.connection.has_output();
            stream.is_ready
        });
    }
    Ok(CaughtUp {
        bindings: counters.v4.bindings.get(),
        seconds: (usage::own_ns()? - begun) as f64 / 1e9,
        writes,
    })
}

fn with_turn<T>(reader: &Reader, call: impl FnOnce(&Turn<'_>) -> T) -> T {
    let server_time = reader.settled();
    let view = reader.view();
    call(&Turn {
        view: &view,
        now: NOW,
        server_time,
    })
}

fn connect(
    settings: &Arc<Settings>,
    counters: &Arc<Counters>,
    hub: &Rc<Hub>,
    number: u32,
) -> Result<Connection> {
    let admitted = Admission::new(settings.clone()).admit(Family::V4, PEER)?;
    let peer = SocketAddr::new(PEER, 6_767);
    let (settings, counters, key) = (settings.clone(), counters.clone(), number as usize);
    let hub = hub.clone();
    let family = Family::V4;
    Ok(Connection::new(
        settings, counters, hub, key, family, admitted, peer, NOW,
    ))
}

fn ask(mut connection: Connection, number: u32, takes: bool, reader: &Reader) -> Result<Stream> {
    let query = fixture::active4(number + 1, Some(number), Some(1));
    let taken = with_turn(reader, |turn| connection.receive(&query, turn));
    ensure!(
        taken == query.len(),
        "the session took {taken} of {} octets",
        query.len()
    );
    Ok(Stream {
        connection,
        number: u64::from(number),
        takes,
        is_ready: true,
    })
}

/// Has a connection write a chunk; whether it had something to write.
fn take(connection: &mut Connection, turn: &Turn<'_>, buffer: &mut [u8], target: usize) -> bool {
    let written = connection.transmit(turn, buffer, target);
    connection.written(written, NOW);
    written > 0
}

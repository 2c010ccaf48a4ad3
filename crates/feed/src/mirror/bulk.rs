//! Bulk queries, asked on a thread of their own, so that the feed can end while the server keeps silent.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use leaseq_requestor::client::{Client, ClientError, now};
use leaseq_requestor::{Client6Leases, Event, Lease4, Query, Status};
use leaseq_wire::time::{Seconds2000, UnixSeconds};
use leaseq_wire::{v4, v6};

use super::wake::Wake;

/// Leases that the reading thread hands over at a time.
const PIECE: usize = 500;
/// Pieces that may wait; then the thread reads no further, and the server's TCP stops.
const WAITING: usize = 8;

/// What a server told of leases.
#[derive(Debug)]
pub(super) enum Told {
    V4(Lease4),
    V6(Client6Leases),
    /// Something that cannot be understood, and why.
    Rubbish(String),
}

/// What the reading thread says.
#[derive(Debug)]
pub(super) enum Report {
    /// Leases, each with the index of the query that they answer.
    Told(Vec<(usize, Told)>),
    /// The end of all.
    End(Result<Answer, ClientError>),
    /// Look whether the feed is to end.
    Wake,
}

/// How the queries ended.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// The first base-time that was told.
    pub(super) base_time: Option<UnixSeconds>,
    /// Queries that failed, and how.
    pub(super) failed: Vec<(usize, Status)>,
    /// Leases (DHCPv6: clients) that were told.
    pub(super) told: u64,
}

/// Asks the queries, and hands over what is told as it comes. None: the feed is to end.
///
/// # Errors
/// Those of `on_told`; or the connection failed before all queries had ended.
pub(super) fn ask<E: From<ClientError>>(
    client: Client,
    server: SocketAddr,
    queries: Vec<Query>,
    wake: &Wake,
    on_told: &mut dyn FnMut(usize, Told) -> Result<(), E>,
) -> Result<Option<Answer>, E> {
    let (reports, told) = sync_channel(WAITING);
    wake.wakes(Some(reports.clone()));
    // Ends when nobody listens any more, or at the latest when the server has been silent for too long.
    thread::spawn(move || {
        let end = read(&client, server, &queries, &reports);
        let _ = reports.send(Report::End(end));
    });
    let result = take(&told, wake, on_told);
    wake.wakes(None);
    result
}

fn take<E: From<ClientError>>(
    reports: &Receiver<Report>,
    wake: &Wake,
    on_told: &mut dyn FnMut(usize, Told) -> Result<(), E>,
) -> Result<Option<Answer>, E> {
    while !wake.is_given() {
        match reports.recv() {
            Ok(Report::Told(piece)) => {
                for (query, told) in piece {
                    on_told(query, told)?;
                }
            }
            Ok(Report::End(end)) => return Ok(Some(end?)),
            Ok(Report::Wake) => {}
            Err(_) => break,
        }
    }
    Ok(None)
}

fn read(
    client: &Client,
    server: SocketAddr,
    queries: &[Query],
    reports: &SyncSender<Report>,
) -> Result<Answer, ClientError> {
    let mut answer = Answer::default();
    let mut piece = Vec::new();
    client.bulk(server, queries, &mut |query, event| {
        if let Some(time) = base_time(&event) {
            answer.base_time = Some(answer.base_time.map_or(time, |first| first.min(time)));
        }
        let told = match &event {
            Event::Binding4(binding) => Lease4::read(&binding.message, now())
                .map_or_else(|error| rubbish(&binding.address(), &error), Told::V4),
            Event::Client6(client) => Client6Leases::read(&client.message, &client.client, now())
                .map_or_else(|error| rubbish(&"a client", &error), Told::V6),
            Event::Done(done) => {
                answer.told += done.bindings;
                if let Some(status) = done.failure() {
                    answer.failed.push((query, status.clone()));
                }
                return ControlFlow::Continue(());
            }
        };
        piece.push((query, told));
        if piece.len() < PIECE {
            return ControlFlow::Continue(());
        }
        match reports.send(Report::Told(std::mem::take(&mut piece))) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    })?;
    let _ = reports.send(Report::Told(piece));
    Ok(answer)
}

/// What is said of a lease that cannot be understood.
pub(super) fn rubbish(of: &dyn std::fmt::Display, why: &dyn std::fmt::Display) -> Told {
    Told::Rubbish(format!("{of}: {why}"))
}

/// The base-time that an event's message has.
fn base_time(event: &Event<'_>) -> Option<UnixSeconds> {
    let of4 = |message: &v4::Message<'_>| {
        let value = message.option(v4::option_code::BASE_TIME)?;
        value.to_u32().map(UnixSeconds)
    };
    let of6 = |message: &v6::Message<'_>| {
        let value = message.option(v6::option_code::LQ_BASE_TIME)?;
        let seconds = u32::from_be_bytes(value.try_into().ok()?);
        Some(UnixSeconds::from(Seconds2000(seconds)))
    };
    match event {
        Event::Binding4(binding) => of4(&binding.message),
        Event::Client6(client) => of6(&client.message),
        // Its message is of one family or the other: what is none in this one has no such option.
        Event::Done(done) => match v4::Message::parse(done.message) {
            Ok(message) => of4(&message),
            Err(_) => of6(&v6::Message::parse(done.message).ok()?),
        },
    }
}

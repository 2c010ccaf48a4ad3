//! What each request does.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use leaseq_engine::ConnectionInfo;
use serde_json::json;

use super::answer::{Answer, End};
use super::status::{connection as connection_json, status};
use super::{Controlled, Request, backup};
use crate::serve::Order;
use crate::store;

/// No drain takes longer.
const LONGEST_DRAIN: Duration = Duration::from_secs(24 * 3_600);
/// How often it is told how far a drain has come.
const DRAIN_PROGRESS: Duration = Duration::from_millis(250);

/// Does what is asked for, and answers. An error is one of the client's connection.
pub fn obey(
    request: &Request,
    controlled: &Controlled,
    answer: &mut Answer<impl Write>,
) -> io::Result<()> {
    let end = match request {
        Request::Status {} => {
            answer.object(&json!({ "status": status(controlled) }))?;
            End::done()
        }
        Request::Connections {} => connections(controlled, answer, |_| true)?,
        Request::Streams {} => connections(controlled, answer, |connection| connection.is_stream)?,
        Request::Close { id } => close(controlled, *id),
        Request::Drain { over_ms, exit } => return drain(controlled, *over_ms, *exit, answer),
        Request::Reload {} => reload(controlled, answer)?,
        Request::Compact {} => compact(controlled),
        Request::Verify {} => verify(controlled, answer)?,
        Request::Stat {} => {
            let stats = controlled.store.reader().stats();
            answer.object(&json!({ "stat": store::stats_json(&stats) }))?;
            End::done()
        }
        Request::Export {} => {
            let view = controlled.store.reader().view();
            store::write_leases(&view, answer.lines())?;
            End::done()
        }
        Request::Backup {} => backup::send(&controlled.store.reader(), answer)?,
        Request::ExportAsLeasequery { at } => {
            let reader = controlled.store.reader();
            let at = at.unwrap_or_else(|| reader.now().seconds());
            store::write_as_leasequery(&reader.view(), at, answer.lines())?;
            End::done()
        }
    };
    answer.end(&end)
}

fn connections(
    controlled: &Controlled,
    answer: &mut Answer<impl Write>,
    which: impl Fn(&ConnectionInfo) -> bool,
) -> io::Result<End> {
    let connections = controlled.served.engine.connections();
    for connection in connections.iter().filter(|connection| which(connection)) {
        answer.object(&json!({ "connection": connection_json(connection) }))?;
    }
    Ok(End::done())
}

fn close(controlled: &Controlled, id: u64) -> End {
    if !controlled.served.engine.close_connection(id) {
        return End::failed(format!("no connection {id} is open"));
    }
    tracing::info!(
        id = "control-closed",
        connection = id,
        "a connection was reset by request"
    );
    End::done()
}

fn reload(controlled: &Controlled, answer: &mut Answer<impl Write>) -> io::Result<End> {
    let (reply, replied) = channel();
    if controlled.orders.send(Order::Reload(Some(reply))).is_err() {
        return Ok(End::failed("the server is stopping"));
    }
    match replied.recv() {
        Ok(Ok(reloaded)) => {
            for key in reloaded.needs_restart {
                answer.object(&json!({ "needs_restart": key }))?;
            }
            for error in reloaded.failed {
                answer.object(&json!({ "failed": error }))?;
            }
            Ok(End::done())
        }
        Ok(Err(reason)) => Ok(End::failed(reason)),
        Err(_) => Ok(End::failed("the server is stopping")),
    }
}

/// Drains, and tells how far it has come until nobody is left. The drain goes on if the client leaves.
fn drain(
    controlled: &Controlled,
    over_ms: u64,
    exit: bool,
    answer: &mut Answer<impl Write>,
) -> io::Result<()> {
    let over = Duration::from_millis(over_ms);
    if over > LONGEST_DRAIN {
        let most = LONGEST_DRAIN.as_millis();
        return answer.end(&End::failed(format!(
            "expected at most {most} milliseconds, found {over_ms}"
        )));
    }
    let engine = Arc::clone(&controlled.served.engine);
    let drained = engine.drain(over);
    let (ended, end) = sync_channel(1);
    let orders = controlled.orders.clone();
    tracing::info!(
        id = "drain-begun",
        over_ms,
        exit,
        "no connection is accepted any more, and those that are open are ended"
    );
    let waiting = thread::Builder::new().name("drain".into()).spawn(move || {
        drained.wait();
        tracing::info!(id = "drain-done", "no connection is open any more");
        // Whoever asked is answered before the server stops.
        if ended.send(()).is_err() && exit {
            let _ = orders.send(Order::Stop("drained".to_owned()));
        }
    });
    if let Err(error) = waiting {
        return answer.end(&End::failed(format!(
            "the drain cannot be waited for: {error}"
        )));
    }
    let mut told = None;
    loop {
        let progress = engine.draining();
        if let Some(progress) = progress.filter(|_| progress != told) {
            answer.send(&json!({
                "drain": { "connections": progress.connections, "left": progress.left }
            }))?;
        }
        told = progress;
        match end.recv_timeout(DRAIN_PROGRESS) {
            Err(RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let connections = engine.draining().map_or(0, |progress| progress.connections);
    let answered = answer.end(&End::with(json!({ "connections": connections, "left": 0 })));
    if exit {
        let _ = controlled.orders.send(Order::Stop("drained".to_owned()));
    }
    answered
}

fn compact(controlled: &Controlled) -> End {
    let octets = || controlled.store.reader().stats().log_octets;
    let before = octets();
    match controlled.store.compact_now() {
        Ok(()) => End::with(json!({ "before": before, "after": octets() })),
        Err(error) => End::failed(error),
    }
}

fn verify(controlled: &Controlled, answer: &mut Answer<impl Write>) -> io::Result<End> {
    let report = controlled.store.verify();
    for problem in &report.problems {
        answer.object(&json!({ "problem": problem }))?;
    }
    Ok(End::with(json!({
        "records": report.records,
        "bindings": report.bindings,
        "problems": report.problems.len(),
    })))
}

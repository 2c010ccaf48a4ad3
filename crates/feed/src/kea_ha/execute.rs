//! What is done for a command, and answered.

use std::net::IpAddr;

use leaseq_store::Event;
use serde_json::{Value, json};

use super::answer::Answer;
use super::command::{self, Command, NAMES, NoCommand, Request};
use super::lease;
use super::peer::{Peer, PushError};
use crate::kea::Family;

/// Characters of a text of a request that an answer or a line of the log tells: an address has fewer.
const MOST_TOLD: usize = 64;

/// Does what a request of a server at `from` asks for. The answer to an update is given once it is durable.
///
/// # Errors
/// The body is not JSON.
pub(super) async fn execute(peer: &Peer, from: IpAddr, body: &[u8]) -> Result<Answer, NoCommand> {
    let Request { family, command } = match command::parse(body) {
        Ok(request) => request,
        Err(NoCommand::Malformed(reason)) => {
            peer.status().reject(&reason);
            peer.mark_lost(None);
            return Ok(Answer::error(reason));
        }
        Err(error) => {
            peer.status().reject(&error);
            peer.mark_lost(None);
            return Err(error);
        }
    };
    if !matches!(command, Command::Unknown(_)) {
        peer.heard(family);
    }
    Ok(match command {
        Command::Update(family, lease) => update(peer, family, from, &lease).await,
        Command::Delete(family, lease) => delete(peer, family, from, &lease).await,
        Command::BulkApply { deleted, leases } => bulk_apply(peer, from, &deleted, &leases).await,
        Command::Heartbeat => heartbeat(),
        Command::Status => status(peer),
        Command::Version => Answer::success(env!("CARGO_PKG_VERSION")),
        Command::List => Answer::success("").with(json!(NAMES)),
        Command::Notice(text) => Answer::success(text),
        Command::Unknown(name) => Answer::unsupported(told(&name)),
    })
}

async fn update(peer: &Peer, family: Family, from: IpAddr, lease: &Value) -> Answer {
    match read(peer, family, lease, false) {
        Ok(event) => match store_one(peer, family, from, event).await {
            Ok(()) => Answer::success(format!("{} lease updated.", name(family))),
            Err(reason) => Answer::error(reason),
        },
        Err(reason) => Answer::error(reason),
    }
}

async fn delete(peer: &Peer, family: Family, from: IpAddr, lease: &Value) -> Answer {
    match read(peer, family, lease, true) {
        Ok(event) => match store_one(peer, family, from, event).await {
            Ok(()) => Answer::success(format!("{} lease deleted.", name(family))),
            Err(reason) => Answer::error(reason),
        },
        Err(reason) => Answer::error(reason),
    }
}

/// A lease of a bulk that was not taken, as the answer tells it.
#[derive(Default)]
struct Failures {
    deleted: Vec<Value>,
    leases: Vec<Value>,
}

impl Failures {
    fn add(&mut self, lease: &Value, is_deleted: bool, reason: &str) {
        let failure = json!({
            "type": lease.get("type").and_then(Value::as_str).map_or("IA_NA", told),
            "ip-address": lease::address(lease).map_or("", told),
            "result": 1,
            "error-message": reason,
        });
        if is_deleted {
            self.deleted.push(failure);
        } else {
            self.leases.push(failure);
        }
    }
}

/// Each lease is taken or refused by itself.
async fn bulk_apply(peer: &Peer, from: IpAddr, deleted: &[Value], leases: &[Value]) -> Answer {
    let all = deleted
        .iter()
        .map(|lease| (lease, true))
        .chain(leases.iter().map(|lease| (lease, false)));
    let (mut failures, mut events, mut sources) = (Failures::default(), Vec::new(), Vec::new());
    let mut applied = 0u64;
    for (lease, is_deleted) in all {
        match read(peer, Family::V6, lease, is_deleted) {
            Ok(event) if peer.is_overtaken(&event) => applied += 1,
            Ok(event) => {
                events.push(event);
                sources.push((lease, is_deleted));
            }
            Err(reason) => failures.add(lease, is_deleted, &reason),
        }
    }
    if !events.is_empty() {
        let committed = match store(peer, Family::V6, from, events).await {
            Ok(refused) => refused,
            Err(reason) => return Answer::error(reason),
        };
        applied += (sources.len() - committed.len()) as u64;
        for (at, reason) in committed {
            if let Some((lease, is_deleted)) = sources.get(at) {
                failures.add(lease, *is_deleted, &reason);
            }
        }
    }
    let text = format!("Bulk apply of {applied} IPv6 leases completed.");
    let mut arguments = serde_json::Map::new();
    for (key, failed) in [
        ("failed-deleted-leases", failures.deleted),
        ("failed-leases", failures.leases),
    ] {
        if !failed.is_empty() {
            arguments.insert(key.into(), failed.into());
        }
    }
    let answer = if applied == 0 {
        Answer::empty(text)
    } else {
        Answer::success(text)
    };
    if arguments.is_empty() {
        answer
    } else {
        answer.with(arguments.into())
    }
}

/// What Kea's own backup answers: it serves no scopes and has nothing that it could not send.
fn heartbeat() -> Answer {
    let now = jiff::Timestamp::now();
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    let date = printer.timestamp_to_rfc9110_string(&now);
    Answer::success("HA peer status returned.").with(json!({
        "date-time": date.unwrap_or_default(),
        "scopes": [],
        "state": "backup",
        "unsent-update-count": 0,
    }))
}

fn status(peer: &Peer) -> Answer {
    Answer::success("").with(json!({
        "pid": std::process::id(),
        "uptime": peer.uptime(),
        "reload": peer.uptime(),
        "high-availability": [{
            "ha-mode": "passive-backup",
            "ha-servers": {"local": {"role": "backup", "scopes": [], "state": "backup"}},
        }],
    }))
}

fn name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// The event of a lease, or why there is none; that is counted.
fn read(peer: &Peer, family: Family, lease: &Value, is_deleted: bool) -> Result<Event, String> {
    let read = peer.number().map_err(|error| error.to_string());
    let read = read.and_then(|feed| {
        if is_deleted {
            lease::deletion(family, lease, feed, peer.now().seconds())
        } else {
            lease::event(family, lease, feed)
        }
    });
    read.map_err(|reason| refuse(peer, lease, &reason))
}

/// As much of a text as is told again.
fn told(text: &str) -> &str {
    text.char_indices()
        .nth(MOST_TOLD)
        .map_or(text, |(end, _)| &text[..end])
}

/// Counts a lease that was not taken, and says why with its address.
fn refuse(peer: &Peer, lease: &Value, reason: &str) -> String {
    let text = match lease::address(lease) {
        Some(address) => format!("{}: {reason}", told(address)),
        None => reason.to_owned(),
    };
    peer.status().reject(&text);
    text
}

async fn store_one(peer: &Peer, family: Family, from: IpAddr, event: Event) -> Result<(), String> {
    if peer.is_overtaken(&event) {
        return Ok(());
    }
    match store(peer, family, from, vec![event]).await?.pop() {
        Some((_, reason)) => Err(reason),
        None => Ok(()),
    }
}

/// Makes events durable; those that were refused, by their place, with the reason.
async fn store(
    peer: &Peer,
    family: Family,
    from: IpAddr,
    events: Vec<Event>,
) -> Result<Vec<(usize, String)>, String> {
    let stored = match peer.push(family, from, events) {
        Ok(receive) => {
            let received = receive.await;
            received
                .unwrap_or(Err(leaseq_store::CommitError::Stopped))
                .map_err(PushError::from)
        }
        Err(error) => Err(error),
    };
    match stored {
        Ok(committed) => Ok(committed
            .rejected
            .into_iter()
            .map(|(at, reason)| {
                peer.status().reject(&reason);
                (at, reason.to_string())
            })
            .collect()),
        Err(error) => {
            peer.lost(Some(family), &error);
            Err(error.to_string())
        }
    }
}

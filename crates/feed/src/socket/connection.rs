//! One writer: a thread that reads its lines, and one that answers them.

use std::io::{self, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;

use leaseq_store::{Store, Ticket};
use socket2::Socket;

use super::batch::{Answers, Batch};
use crate::lines::{Line, Lines, MAX_LINE};
use crate::run::Status;

/// Octets asked of the socket at a time.
const READ_SIZE: usize = 64 * 1024;
/// Batches of one writer that wait for their commit or for their answers to be taken.
const MAX_BATCHES: usize = 4;

/// Lines that the store has, or that were refused, on their way to being answered.
struct Submitted {
    ticket: Option<Ticket>,
    answers: Answers,
}

/// Serves a writer until it ends, fails, or the socket is shut down. Returns the number of its lines.
pub(super) fn serve(
    socket: &Arc<Socket>,
    store: &Arc<Store>,
    status: &Arc<Status>,
) -> io::Result<u64> {
    let (queue, submitted) = sync_channel(MAX_BATCHES);
    let answering = {
        let (socket, status) = (Arc::clone(socket), Arc::clone(status));
        thread::Builder::new()
            .name("feed-answers".into())
            .spawn(move || {
                let answered = answer(&socket, submitted, &status);
                // A writer that takes no answers is not read from any further either.
                let _ = socket.shutdown(Shutdown::Both);
                answered
            })?
    };
    let lines = read(socket, store, &queue);
    drop(queue);
    match answering.join() {
        Ok(Ok(())) => lines,
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the thread that answers failed")),
    }
}

fn read(socket: &Socket, store: &Store, queue: &SyncSender<Submitted>) -> io::Result<u64> {
    let mut lines = Lines::new(socket, READ_SIZE);
    let mut batch = Batch::default();
    loop {
        if batch.is_full() || (!batch.is_empty() && !lines.is_ready()) {
            let goes_on = submit(&mut batch, store, queue);
            if !goes_on {
                return Ok(lines.number());
            }
        }
        let number = lines.number() + 1;
        match lines.next_line() {
            Ok(Some(Line::Whole(line) | Line::Unterminated(line))) => batch.push(number, line),
            Ok(Some(Line::TooLong)) => {
                batch.refuse(
                    number,
                    format!("expected a line of at most {MAX_LINE} octets"),
                );
            }
            Ok(None) => {
                if !batch.is_empty() {
                    submit(&mut batch, store, queue);
                }
                return Ok(lines.number());
            }
            Err(error) => return Err(error),
        }
    }
}

/// Hands the batch to the store, and its answers on. False: no further lines can be taken.
fn submit(batch: &mut Batch, store: &Store, queue: &SyncSender<Submitted>) -> bool {
    let (events, mut answers) = batch.take();
    if events.is_empty() {
        return queue
            .send(Submitted {
                ticket: None,
                answers,
            })
            .is_ok();
    }
    match store.submit(events) {
        Ok(ticket) => queue
            .send(Submitted {
                ticket: Some(ticket),
                answers,
            })
            .is_ok(),
        Err(error) => {
            answers.refuse_all(&error.to_string());
            let _ = queue.send(Submitted {
                ticket: None,
                answers,
            });
            false
        }
    }
}

/// Answers batch by batch, until the reading thread is done or the writer takes no more.
fn answer(mut socket: &Socket, submitted: Receiver<Submitted>, status: &Status) -> io::Result<()> {
    let mut next_line = 1;
    let mut text = String::new();
    for Submitted {
        ticket,
        mut answers,
    } in submitted
    {
        match ticket.map(Ticket::wait) {
            None => {}
            Some(Ok(committed)) => {
                let rejected = committed.rejected.len();
                let stored = answers.events().saturating_sub(rejected);
                status.count(stored as u64, committed.changed.into());
                answers.refuse_events(committed.rejected);
            }
            Some(Err(error)) => answers.refuse_all(&error.to_string()),
        }
        for (line, reason) in answers.refused() {
            status.reject(format_args!("line {line} of a writer: {reason}"));
        }
        text.clear();
        next_line = answers.write(next_line, &mut text);
        socket.write_all(text.as_bytes())?;
    }
    Ok(())
}

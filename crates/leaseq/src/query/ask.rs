//! Asks a question and prints the answer.

use std::io::{self, Write};
use std::ops::ControlFlow;

use leaseq_requestor::client::now;
use leaseq_requestor::{Answer, Client6Leases, Event, Lease4, Status};

use super::arguments::Question;
use super::output::Output;

/// What is to be said beside the leases.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// Lines for people.
    pub notes: Vec<String>,
    /// Why the query failed, if the server said so.
    pub failure: Option<String>,
}

/// Asks, and prints what the server tells. A reader of `out` that goes away ends it without an error.
pub fn ask(question: &Question, out: &mut dyn Write) -> anyhow::Result<Said> {
    let mut output = Output::new(out, question.format);
    let said = match question.udp {
        true => ask_udp(question, &mut output),
        false => ask_bulk(question, &mut output),
    };
    match said.and_then(|said| output.finish().map(|()| said).map_err(anyhow::Error::from)) {
        Err(error) if is_broken_pipe(&error) => Ok(Said::default()),
        other => other,
    }
}

fn ask_bulk(question: &Question, output: &mut Output<'_>) -> anyhow::Result<Said> {
    let mut said = Said::default();
    let mut broken = Ok(());
    let queries = std::slice::from_ref(&question.query);
    let asked = question
        .client
        .bulk(question.server, queries, &mut |_, event| {
            broken = print_event(&event, output, &mut said);
            if broken.is_err() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
    broken?;
    asked?;
    Ok(said)
}

fn print_event(event: &Event<'_>, output: &mut Output<'_>, said: &mut Said) -> anyhow::Result<()> {
    output.message(event.octets())?;
    match event {
        Event::Binding4(binding) => output.lease(&Lease4::read(&binding.message, now())?)?,
        Event::Client6(client) => output.lease(&Client6Leases::read(
            &client.message,
            &client.client,
            now(),
        )?)?,
        Event::Done(done) => {
            said.failure = done.failure().map(refused);
            if done.bindings == 0 && said.failure.is_none() {
                said.notes.push("the server knows no such lease".into());
            }
        }
    }
    Ok(())
}

fn ask_udp(question: &Question, output: &mut Output<'_>) -> anyhow::Result<Said> {
    let mut said = Said::default();
    let (answer, datagram) = question.client.udp(question.server, &question.query)?;
    output.message(&datagram)?;
    match answer {
        Answer::Lease4(lease) => {
            output.lease(&lease)?;
            let others: Vec<_> = lease
                .associated
                .iter()
                .filter(|other| **other != lease.address)
                .map(ToString::to_string)
                .collect();
            if !others.is_empty() {
                said.notes
                    .push(format!("the client also has {}", others.join(", ")));
            }
        }
        Answer::Clients6(clients) if clients.is_empty() => {
            said.notes.push("the server knows no such lease".into())
        }
        Answer::Clients6(clients) => {
            for client in &clients {
                output.lease(client)?;
            }
        }
        Answer::Unknown => said.notes.push("the server knows no such lease".into()),
        Answer::Links6(links) => {
            let links: Vec<_> = links.iter().map(|link| format!("--link {link}")).collect();
            said.notes.push(format!(
                "the client has leases on several links; ask again with {}",
                links.join(" or ")
            ));
        }
        Answer::Failed(status) => said.failure = Some(refused(&status)),
    }
    Ok(said)
}

fn refused(status: &Status) -> String {
    format!("the server ended the query: {status}")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

//! Compares an answer over UDP with what the store holds: as any other message that tells a binding, and that it is the one
//! asked about.

use leaseq_requestor::client::now as unix_now;
use leaseq_requestor::{Answer, Binding4, Client6, ProtocolFault};
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v6::ClientData;
use leaseq_wire::{v4, v6};

use super::table::Asked;
use crate::check::{Expected, Told4, Told6, judge4, judge6};
use crate::data::Inventory;
use crate::fault::FaultKind;
use crate::relay::context::{Context, requestor_duid};
use crate::relay::words::QueryWords;
use crate::scenario::By;

/// Seconds around the end of a lease in which it may be told as over: clocks differ.
const AROUND: i64 = 60;

/// Tells what is wrong with an answer.
pub(super) fn answer(
    context: &Context,
    asked: &Asked,
    xid: u32,
    answer: &Result<Answer, ProtocolFault>,
    datagram: &[u8],
) {
    let wrong = match answer {
        Err(fault) => Some((FaultKind::Protocol, fault.to_string())),
        Ok(Answer::Failed(status)) => Some((FaultKind::Status, status.to_string())),
        Ok(answer) if context.is_known => {
            let compared = Compared::new(context, asked);
            compared.answer(answer, datagram).err()
        }
        Ok(_) => None,
    };
    if let Some((kind, text)) = wrong {
        let (report, relay) = (&context.report, asked.place.unwrap_or_default());
        let inventory = &context.inventory;
        match inventory.udp_query(by(context), asked.row, &requestor_duid(0)) {
            Some(query) => {
                let words = QueryWords {
                    kind: "udp",
                    query: &query,
                    xid,
                };
                report.fault(kind, relay, words, text, datagram);
            }
            None => report.fault(kind, relay, "udp", text, datagram),
        }
    }
}

/// What a group asks by over UDP.
pub(super) fn by(context: &Context) -> By {
    context.group.by.unwrap_or(By::Address)
}

type Wrong = (FaultKind, String);

struct Compared<'a> {
    context: &'a Context,
    inventory: &'a Inventory,
    expected: Expected,
    asked: &'a Asked,
    received: UnixSeconds,
}

impl<'a> Compared<'a> {
    fn new(context: &'a Context, asked: &'a Asked) -> Self {
        Self {
            context,
            inventory: &context.inventory,
            // An answer is about no relay: any binding may be told, as long as it is the one asked about.
            expected: Expected {
                by: By::All,
                ..context.expected(0)
            },
            asked,
            received: unix_now(),
        }
    }

    fn answer(&self, answer: &Answer, datagram: &[u8]) -> Result<(), Wrong> {
        match answer {
            Answer::Unknown => self.nothing(),
            Answer::Lease4(_) => match v4::Message::parse(datagram) {
                Ok(message) => self.binding4(&Binding4 { message }),
                Err(error) => Err((FaultKind::Protocol, error.to_string())),
            },
            Answer::Clients6(clients) if clients.iter().all(|client| client.leases.is_empty()) => {
                self.nothing()
            }
            Answer::Clients6(_) => self.clients6(datagram),
            // The client has leases on several links: there is no more to be compared.
            Answer::Links6(_) | Answer::Failed(_) => Ok(()),
        }
    }

    /// The oldest version of a row that may be told: the newest one that was acknowledged when the query was sent.
    fn oldest(&self, row: u32) -> u64 {
        self.expected.latest(row, self.asked.acknowledged)
    }

    /// The server knows nothing of it.
    fn nothing(&self) -> Result<(), Wrong> {
        let (row, expected) = (self.asked.row, &self.expected);
        let submitted = expected.submitted(self.context.family);
        let newest = expected.latest(row, submitted);
        let upto = i64::from(self.received.0) + AROUND;
        let mut versions = expected.versions(self.oldest(row), newest);
        match versions.any(|version| expected.may_be_over(self.inventory, row, version, upto)) {
            true => Ok(()),
            false => {
                let name = self.inventory.name(row);
                let text = format!("expected the lease of {name}, came nothing");
                Err((FaultKind::Missing, text))
            }
        }
    }

    fn binding4(&self, binding: &Binding4<'_>) -> Result<(), Wrong> {
        let mut wrong = None;
        let told = judge4(
            &self.expected,
            self.inventory,
            binding,
            self.received,
            |row| self.oldest(row),
            &mut |kind, text, _| {
                wrong.get_or_insert((kind, text));
            },
        );
        let address = binding.address();
        let Some(Told4 { row, version, .. }) = told else {
            let text = || format!("came {address}, which the store does not hold");
            return Err(wrong.unwrap_or_else(|| (FaultKind::Unexpected, text())));
        };
        if row != self.asked.row && !self.has_same_key(row) {
            let asked = self.inventory.name(self.asked.row);
            let text = format!("expected {asked}, came {address}");
            return Err((FaultKind::Unexpected, text));
        }
        wrong.map_or(Ok(()), Err)?;
        self.is_of_now(row, version)
    }

    /// A row has what was asked by in common with the one that was asked about: the answer may be about any such.
    fn has_same_key(&self, row: u32) -> bool {
        let (asked, came) = (
            self.inventory.content(self.asked.row),
            self.inventory.content(row),
        );
        let Some((asked, came)) = asked.zip(came) else {
            return false;
        };
        match by(self.context) {
            By::Hwaddr => asked.hwaddr == came.hwaddr,
            By::ClientId => asked.client_id == came.client_id,
            By::RemoteId => asked.remote_id4() == came.remote_id4(),
            By::Address | By::RelayId | By::Link | By::All => false,
        }
    }

    fn clients6(&self, datagram: &[u8]) -> Result<(), Wrong> {
        let protocol = |error: leaseq_wire::ParseError| (FaultKind::Protocol, error.to_string());
        let message = v6::Message::parse(datagram).map_err(protocol)?;
        let (mut wrong, mut told) = (None, Vec::new());
        let options = message.options();
        let clients = options
            .iter()
            .filter(|(code, _)| *code == v6::option_code::CLIENT_DATA);
        for (_, value) in clients {
            let client = Client6 {
                message,
                client: ClientData::parse(value).map_err(protocol)?,
                status: None,
            };
            judge6(
                &self.expected,
                self.inventory,
                &client,
                self.received,
                &|row| self.oldest(row),
                &mut |lease: Told6| told.push(lease),
                &mut |kind, text, _| {
                    wrong.get_or_insert((kind, text));
                },
            );
        }
        wrong.map_or(Ok(()), Err)?;
        for lease in &told {
            self.is_of_now(lease.row, lease.version)?;
        }
        let asked = self.asked.row;
        let is_asked = |lease: &Told6| lease.row == asked;
        match told.first() {
            _ if told.iter().any(is_asked) => Ok(()),
            // Its other leases, without the one that was asked about.
            Some(other) if self.is_same_client(other.row) => self.nothing(),
            _ => {
                let name = self.inventory.name(asked);
                let text = format!("expected the client of {name}, came another DUID");
                Err((FaultKind::Different, text))
            }
        }
    }

    fn is_same_client(&self, row: u32) -> bool {
        let duid = |row| self.inventory.content(row)?.duid;
        duid(row) == duid(self.asked.row)
    }

    /// The change that a binding tells of is none that was over when the query was sent.
    fn is_of_now(&self, row: u32, version: Option<u64>) -> Result<(), Wrong> {
        let oldest = self.oldest(row);
        match version {
            Some(version) if version < oldest => {
                let name = self.inventory.name(row);
                let text = format!(
                    "{name}: told with change {version}, but {oldest} had been acknowledged before"
                );
                Err((FaultKind::Stale, text))
            }
            _ => Ok(()),
        }
    }
}

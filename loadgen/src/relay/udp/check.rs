//! Compares an answer over UDP with what the store holds.

use leaseq_requestor::client::now as unix_now;
use leaseq_requestor::{Answer, Binding4, Client6Leases, ProtocolFault};
use leaseq_wire::INFINITY;
use leaseq_wire::v4;

use super::table::Asked;
use crate::changes::Mark;
use crate::changes::mark::HOST_NAME;
use crate::data::{Inventory, LeaseKey, Seen4};
use crate::fault::FaultKind;
use crate::relay::context::{Context, requestor_duid};
use crate::relay::words::QueryWords;
use crate::scenario::By;

/// Seconds around the end of a lease in which it may be told as running and as over: clocks differ, and a server waits for a
/// late source of bindings before it ends a lease.
const AROUND: i64 = 60;

/// Versions of a binding that are looked at.
const MOST_VERSIONS: usize = 256;

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
    asked: &'a Asked,
    submitted: u64,
}

/// What a row may be, between the sending of a query and its answer.
#[derive(Clone, Copy, Debug, Default)]
struct Possible {
    lives: bool,
    is_over: bool,
    oldest: u64,
    newest: u64,
}

impl<'a> Compared<'a> {
    fn new(context: &'a Context, asked: &'a Asked) -> Self {
        let submitted = match &context.schedule {
            Some(_) => context.board.submitted(context.family),
            None => 0,
        };
        Self {
            context,
            inventory: &context.inventory,
            asked,
            submitted,
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
            Answer::Clients6(clients) => clients.iter().try_for_each(|client| self.client6(client)),
            // The client has leases on several links: there is no more to be compared.
            Answer::Links6(_) | Answer::Failed(_) => Ok(()),
        }
    }

    /// What a row may be: any version from the newest one that was acknowledged when the query was sent to the newest one
    /// that has been submitted by now.
    fn possible(&self, row: u32) -> Possible {
        let (mut possible, schedule) = (Possible::default(), &self.context.schedule);
        let Some(schedule) = schedule else {
            self.at_first(row, &mut possible);
            return possible;
        };
        possible.oldest = schedule.latest(row, self.asked.acknowledged);
        possible.newest = schedule.latest(row, self.submitted);
        let mut version = possible.newest;
        for _ in 0..MOST_VERSIONS {
            match version {
                0 => self.at_first(row, &mut possible),
                version if schedule.is_release(version) => possible.is_over = true,
                _ => possible.lives = true,
            }
            if version <= possible.oldest {
                break;
            }
            version = schedule.before(version);
        }
        possible
    }

    /// A row as it was at first is possible.
    fn at_first(&self, row: u32, possible: &mut Possible) {
        let first = self.inventory.first(row);
        let end = match (first.cltt, first.valid) {
            (Some(cltt), Some(valid)) if valid != INFINITY => i64::from(cltt) + i64::from(valid),
            _ => i64::MAX,
        };
        let now = i64::from(unix_now().0);
        possible.lives |= first.is_active && end > now - AROUND;
        possible.is_over |= !first.is_active || end < now + AROUND;
    }

    /// The server knows nothing of it.
    fn nothing(&self) -> Result<(), Wrong> {
        match self.possible(self.asked.row).is_over {
            true => Ok(()),
            false => {
                let name = self.inventory.name(self.asked.row);
                let text = format!("expected the lease of {name}, came nothing");
                Err((FaultKind::Missing, text))
            }
        }
    }

    fn binding4(&self, binding: &Binding4<'_>) -> Result<(), Wrong> {
        let (inventory, address) = (self.inventory, binding.address());
        let Some(row) = inventory.find(LeaseKey::V4(address)) else {
            let text = format!("came {address}, which the store does not hold");
            return Err((FaultKind::Unexpected, text));
        };
        if row != self.asked.row && !self.has_same_key(row) {
            let asked = inventory.name(self.asked.row);
            let text = format!("expected {asked}, came {address}");
            return Err((FaultKind::Unexpected, text));
        }
        let possible = self.possible(row);
        if !binding.is_active() {
            return match possible.is_over {
                true => Ok(()),
                false => {
                    let text = format!("expected {address} leased, came DHCPLEASEUNASSIGNED");
                    Err((FaultKind::Different, text))
                }
            };
        }
        if !possible.lives {
            let text = format!("expected {address} not leased, came DHCPLEASEACTIVE");
            return Err((FaultKind::Different, text));
        }
        if !inventory.is_same4(row, &Seen4::of(&binding.message)) {
            let text = format!("{address}: another client or relay agent than the store's");
            return Err((FaultKind::Different, text));
        }
        let name = binding.message.option(HOST_NAME);
        let mark = name.and_then(|name| Mark::of_host_name(name.as_slice()?));
        is_of_now(
            &address.to_string(),
            mark.map_or(0, |mark| mark.number),
            possible,
        )
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

    fn client6(&self, client: &Client6Leases) -> Result<(), Wrong> {
        let inventory = self.inventory;
        let duid = client.duid.as_deref().unwrap_or_default();
        if !inventory.is_duid(self.asked.row, duid) {
            let name = inventory.name(self.asked.row);
            let text = format!("expected the client of {name}, came another DUID");
            return Err((FaultKind::Different, text));
        }
        let mut has_asked = false;
        for lease in &client.leases {
            let name = format!("{}", lease.address);
            let found = inventory.find(LeaseKey::V6 {
                address: lease.address,
                prefix_len: lease.prefix_len,
                vpn: &[],
            });
            let Some(row) = found else {
                let text = format!("came {name}, which the store does not hold");
                return Err((FaultKind::Unexpected, text));
            };
            has_asked |= row == self.asked.row;
            if !inventory.is_duid(row, duid) {
                let text = format!("came {name}, which is another client's");
                return Err((FaultKind::Unexpected, text));
            }
            if !self.possible(row).lives {
                let text = format!("expected {name} not leased, came a lease");
                return Err((FaultKind::Different, text));
            }
        }
        match has_asked {
            true => Ok(()),
            false => self.nothing(),
        }
    }
}

/// The change that a binding tells of is one of those that it may be at.
fn is_of_now(name: &str, version: u64, possible: Possible) -> Result<(), Wrong> {
    let Possible { oldest, newest, .. } = possible;
    match version {
        version if version < oldest => {
            let text = format!(
                "{name}: told with change {version}, but {oldest} had been acknowledged before"
            );
            Err((FaultKind::Stale, text))
        }
        version if version > newest => {
            let text = format!("{name}: told with change {version}, the newest one is {newest}");
            Err((FaultKind::Order, text))
        }
        _ => Ok(()),
    }
}

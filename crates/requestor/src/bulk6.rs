//! Answers to DHCPv6 bulk queries on one connection (RFC 5460 §5 and §6).

use leaseq_wire::v6::message_type::{LEASEQUERY_DATA, LEASEQUERY_DONE, LEASEQUERY_REPLY};
use leaseq_wire::v6::{ClientData, Message, option_code};

use crate::frames::Frames;
use crate::{Client6, Done, Event, ProtocolError, ProtocolFault, Status, ValueError, ValueProblem};

/// The queries that run on a connection and the octets that have come for them.
#[derive(Debug)]
pub struct Bulk6 {
    frames: Frames,
    running: Vec<Running>,
    requestor: Vec<u8>,
}

#[derive(Debug)]
struct Running {
    xid: u32,
    replied: bool,
    clients: u64,
}

impl Bulk6 {
    /// A connection without queries, of a requestor with this DUID.
    #[must_use]
    pub fn new(requestor: &[u8]) -> Self {
        Self {
            frames: Frames::default(),
            running: Vec::new(),
            requestor: requestor.to_vec(),
        }
    }

    /// A query with this transaction id has been sent. It must differ from those of the queries still running.
    pub fn add(&mut self, xid: u32) {
        self.running.push(Running {
            xid,
            replied: false,
            clients: 0,
        });
    }

    /// Queries that have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Takes octets of the connection, in pieces of any size, and tells what is in them. A LEASEQUERY-DATA without
    /// CLIENT_DATA tells nothing (RFC 7653 §8.4).
    ///
    /// # Errors
    /// At the first breach of the protocol; what was told before it stands.
    pub fn push(
        &mut self,
        octets: &[u8],
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let Self {
            frames,
            running,
            requestor,
        } = self;
        frames.push(octets, |frame| {
            read(running, requestor, frame.message, on_event)
        })?;
        Ok(())
    }

    /// The server has closed the connection.
    ///
    /// # Errors
    /// If a query has not ended or a frame is not whole.
    pub fn closed(&self) -> Result<(), ProtocolError> {
        self.frames.closed(self.running.len())
    }
}

fn read(
    running: &mut Vec<Running>,
    requestor: &[u8],
    octets: &[u8],
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<(), ProtocolFault> {
    let message = Message::parse(octets).map_err(ProtocolFault::Message)?;
    let (kind, xid) = (message.msg_type(), message.xid());
    let index = running
        .iter()
        .position(|query| query.xid == xid)
        .ok_or(ProtocolFault::UnknownXid(xid))?;
    let query = &mut running[index];
    let status = Status::of6(&message.options());
    match (kind, query.replied) {
        (LEASEQUERY_REPLY, false) => {
            message
                .option(option_code::SERVERID)
                .ok_or(ProtocolFault::NoServerIdentifier)?;
            if message.option(option_code::CLIENTID) != Some(requestor) {
                return Err(ProtocolFault::OtherClientIdentifier);
            }
            query.replied = true;
        }
        (LEASEQUERY_REPLY, true) => return Err(ProtocolFault::SecondReply),
        (LEASEQUERY_DATA | LEASEQUERY_DONE, true) => {}
        (LEASEQUERY_DATA | LEASEQUERY_DONE, false) => return Err(ProtocolFault::BeforeReply(kind)),
        _ => return Err(ProtocolFault::UnexpectedType(Some(kind))),
    }
    if message.option(option_code::LQ_CLIENT_LINK).is_some() {
        return Err(ProtocolFault::ForbiddenOption(option_code::LQ_CLIENT_LINK));
    }
    let mut has_client = false;
    for (_, value) in message
        .iter()
        .filter(|(code, _)| *code == option_code::CLIENT_DATA)
    {
        if kind == LEASEQUERY_DONE {
            return Err(ProtocolFault::ForbiddenOption(option_code::CLIENT_DATA));
        }
        has_client = true;
        query.clients += 1;
        let client = read_client(value)?;
        on_event(Event::Client6(Client6 {
            message,
            client,
            status: status.clone(),
        }));
    }
    // A first reply without data is the end: no LEASEQUERY-DONE follows it (RFC 5460 §6.3.1).
    if kind == LEASEQUERY_DONE || (kind == LEASEQUERY_REPLY && !has_client) {
        let Running { xid, clients, .. } = running.swap_remove(index);
        on_event(Event::Done(Done {
            xid,
            status,
            bindings: clients,
            message: octets,
        }));
    }
    Ok(())
}

/// Reads CLIENT_DATA and looks at each lease in it, so that whoever gets it meets no surprise.
pub(crate) fn read_client(value: &[u8]) -> Result<ClientData<'_>, ProtocolFault> {
    let inside = |error| {
        let problem = ValueProblem::Inside(error);
        ProtocolFault::Value(ValueError {
            code: option_code::CLIENT_DATA,
            problem,
        })
    };
    let client = ClientData::parse(value).map_err(inside)?;
    for lease in client.leases() {
        lease.map_err(inside)?;
    }
    Ok(client)
}

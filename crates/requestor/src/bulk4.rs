//! Answers to DHCPv4 bulk queries on one connection (RFC 6926 §6 and §7).

use leaseq_wire::v4::message_type::{DHCPLEASEACTIVE, DHCPLEASEQUERYDONE, DHCPLEASEUNASSIGNED};
use leaseq_wire::v4::{DhcpState, Message, op, option_code};

use crate::frames::Frames;
use crate::{Binding4, Done, Event, ProtocolError, ProtocolFault, Status};

/// The queries that run on a connection and the octets that have come for them.
#[derive(Debug, Default)]
pub struct Bulk4 {
    frames: Frames,
    running: Vec<Running>,
}

#[derive(Debug)]
struct Running {
    xid: u32,
    server_known: bool,
    bindings: u64,
}

impl Bulk4 {
    /// A connection without queries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A query with this transaction id has been sent. It must differ from those of the queries still running.
    pub fn add(&mut self, xid: u32) {
        self.running.push(Running {
            xid,
            server_known: false,
            bindings: 0,
        });
    }

    /// Queries that have not ended.
    #[must_use]
    pub fn running(&self) -> usize {
        self.running.len()
    }

    /// Takes octets of the connection, in pieces of any size, and tells what is in them.
    ///
    /// # Errors
    /// At the first breach of the protocol; what was told before it stands.
    pub fn push(
        &mut self,
        octets: &[u8],
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> Result<(), ProtocolError> {
        let Self { frames, running } = self;
        frames.push(octets, |frame| {
            on_event(read(running, frame.message)?);
            Ok(())
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

fn read<'a>(running: &mut Vec<Running>, octets: &'a [u8]) -> Result<Event<'a>, ProtocolFault> {
    let message = Message::parse(octets).map_err(ProtocolFault::Message)?;
    if message.op() != op::BOOTREPLY {
        return Err(ProtocolFault::NotAReply(message.op()));
    }
    let xid = message.xid();
    let index = running
        .iter()
        .position(|query| query.xid == xid)
        .ok_or(ProtocolFault::UnknownXid(xid))?;
    let query = &mut running[index];
    let is_end = match message.message_type() {
        Some(DHCPLEASEACTIVE | DHCPLEASEUNASSIGNED) => false,
        Some(DHCPLEASEQUERYDONE) => true,
        other => return Err(ProtocolFault::UnexpectedType(other)),
    };
    if !query.server_known {
        let server = message
            .option(option_code::SERVER_IDENTIFIER)
            .and_then(|value| value.to_ipv4());
        server.ok_or(ProtocolFault::NoServerIdentifier)?;
        query.server_known = true;
    }
    if is_end {
        let Running { xid, bindings, .. } = running.swap_remove(index);
        return Ok(Event::Done(Done {
            xid,
            status: Status::of4(&message),
            bindings,
            message: octets,
        }));
    }
    check_binding(&message)?;
    query.bindings += 1;
    Ok(Event::Binding4(Binding4 { message }))
}

/// What is wrong with any message that tells an address in answer to a bulk or active query.
pub(crate) fn check_binding(message: &Message<'_>) -> Result<(), ProtocolFault> {
    if message.ciaddr().is_unspecified() {
        return Err(ProtocolFault::NoAddress);
    }
    if message.option(option_code::ASSOCIATED_IP).is_some() {
        return Err(ProtocolFault::ForbiddenOption(
            option_code::ASSOCIATED_IP.into(),
        ));
    }
    let message_type = message.message_type().unwrap_or_default();
    match message
        .option(option_code::DHCP_STATE)
        .and_then(|value| value.to_u8())
    {
        Some(state) if (state == DhcpState::Active as u8) != (message_type == DHCPLEASEACTIVE) => {
            Err(ProtocolFault::StateContradiction {
                message_type,
                state,
            })
        }
        _ => Ok(()),
    }
}

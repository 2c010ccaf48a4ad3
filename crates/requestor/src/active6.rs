//! The answer to a DHCPv6 active query (RFC 7653 §8.4).

use leaseq_wire::time::{Seconds2000, UnixSeconds};
use leaseq_wire::v6::message_type::{LEASEQUERY_DATA, LEASEQUERY_DONE, LEASEQUERY_REPLY};
use leaseq_wire::v6::{Message, StatusCode, option_code};

use crate::active::Progress;
use crate::bulk6::read_client;
use crate::frames::Frames;
use crate::{
    ActiveEvent, ActiveStatus, ActiveStatusKind, Client6, ProtocolError, ProtocolFault, Status,
};

/// An active query on its connection and the octets that have come for it.
#[derive(Debug)]
pub struct Active6 {
    frames: Frames,
    requestor: Vec<u8>,
    xid: u32,
    progress: Progress,
}

impl Active6 {
    /// The answer to the query that a requestor with this DUID sent with this transaction id, base-time among the
    /// requested options; `catches_up`: with a start time.
    #[must_use]
    pub fn new(requestor: &[u8], xid: u32, catches_up: bool) -> Self {
        Self {
            frames: Frames::default(),
            requestor: requestor.to_vec(),
            xid,
            progress: Progress::new(catches_up),
        }
    }

    /// The past is still being told.
    #[must_use]
    pub fn is_catching_up(&self) -> bool {
        self.progress.catching_up
    }

    /// The server has ended the query.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.progress.ended
    }

    /// Takes octets of the connection, in pieces of any size, and tells what is in them. A LEASEQUERY-DATA without
    /// CLIENT_DATA is a keepalive, and so is a first LEASEQUERY-REPLY without one: an active answer does not end with it.
    ///
    /// # Errors
    /// At the first breach of the protocol; what was told before it stands.
    pub fn push(
        &mut self,
        octets: &[u8],
        on_event: &mut dyn FnMut(ActiveEvent<'_>),
    ) -> Result<(), ProtocolError> {
        let Self {
            frames,
            requestor,
            xid,
            progress,
        } = self;
        frames.push(octets, |frame| {
            read(*xid, requestor, progress, frame.message, on_event)
        })?;
        Ok(())
    }

    /// The server has closed the connection.
    ///
    /// # Errors
    /// If the query has not ended or a frame is not whole.
    pub fn closed(&self) -> Result<(), ProtocolError> {
        self.frames.closed(usize::from(!self.progress.ended))
    }
}

fn read(
    xid: u32,
    requestor: &[u8],
    progress: &mut Progress,
    octets: &[u8],
    on_event: &mut dyn FnMut(ActiveEvent<'_>),
) -> Result<(), ProtocolFault> {
    if progress.ended {
        return Err(ProtocolFault::AfterEnd);
    }
    let message = Message::parse(octets).map_err(ProtocolFault::Message)?;
    if message.xid() != xid {
        return Err(ProtocolFault::UnknownXid(message.xid()));
    }
    let message_type = message.msg_type();
    match (message_type, progress.begun) {
        (LEASEQUERY_REPLY, false) => {
            message
                .option(option_code::SERVERID)
                .ok_or(ProtocolFault::NoServerIdentifier)?;
            if message.option(option_code::CLIENTID) != Some(requestor) {
                return Err(ProtocolFault::OtherClientIdentifier);
            }
            progress.begun = true;
        }
        (LEASEQUERY_REPLY, true) => return Err(ProtocolFault::SecondReply),
        (LEASEQUERY_DATA | LEASEQUERY_DONE, true) => {}
        (LEASEQUERY_DATA | LEASEQUERY_DONE, false) => {
            return Err(ProtocolFault::BeforeReply(message_type));
        }
        _ => return Err(ProtocolFault::UnexpectedType(Some(message_type))),
    }
    if message.option(option_code::LQ_CLIENT_LINK).is_some() {
        return Err(ProtocolFault::ForbiddenOption(option_code::LQ_CLIENT_LINK));
    }
    let status = Status::of6(&message.options());
    let kind = status_kind(message_type, status.as_ref());
    let base_time = base_time(&message);
    // It is in every reply because it was asked for (RFC 7653 §9.3); a refusal may come before that was understood.
    if kind != ActiveStatusKind::Failed && base_time.is_none() {
        return Err(ProtocolFault::NoBaseTime);
    }
    progress.note(kind).ok_or(ProtocolFault::NoCatchUp)?;
    let told = ActiveStatus {
        kind,
        status: status.clone(),
        base_time,
        message: octets,
    };
    // What is missing lies before the clients of this message, everything else after them.
    let is_first = kind == ActiveStatusKind::DataMissing;
    if is_first {
        on_event(ActiveEvent::Status(told.clone()));
    }
    let mut has_client = false;
    for (_, value) in message
        .iter()
        .filter(|(code, _)| *code == option_code::CLIENT_DATA)
    {
        if message_type == LEASEQUERY_DONE {
            return Err(ProtocolFault::ForbiddenOption(option_code::CLIENT_DATA));
        }
        has_client = true;
        let client = read_client(value)?;
        on_event(ActiveEvent::Client6(Client6 {
            message,
            client,
            status: status.clone(),
        }));
    }
    if !is_first && (!has_client || kind != ActiveStatusKind::ConnectionActive) {
        on_event(ActiveEvent::Status(told));
    }
    Ok(())
}

/// What a message's status means; none is success. LEASEQUERY-DONE ends the query whatever it says.
fn status_kind(message_type: u8, status: Option<&Status>) -> ActiveStatusKind {
    let code = StatusCode::from_u16(status.map_or(0, |status| status.code));
    match (message_type, code) {
        (_, Some(StatusCode::QueryTerminated)) => ActiveStatusKind::Terminated,
        (LEASEQUERY_DONE, _) => ActiveStatusKind::Failed,
        (_, Some(StatusCode::Success)) => ActiveStatusKind::ConnectionActive,
        (_, Some(StatusCode::CatchUpComplete)) => ActiveStatusKind::CatchUpComplete,
        (_, Some(StatusCode::DataMissing)) => ActiveStatusKind::DataMissing,
        _ => ActiveStatusKind::Failed,
    }
}

/// A message's base-time, if it has one that can be read.
pub(crate) fn base_time(message: &Message<'_>) -> Option<UnixSeconds> {
    let octets = message.option(option_code::LQ_BASE_TIME)?.try_into().ok()?;
    Some(Seconds2000(u32::from_be_bytes(octets)).into())
}

//! The answer to a DHCPv4 active query (RFC 7724 §7.4).

use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::message_type::{
    DHCPLEASEACTIVE, DHCPLEASEQUERYDONE, DHCPLEASEQUERYSTATUS, DHCPLEASEUNASSIGNED,
};
use leaseq_wire::v4::{Message, StatusCode, op, option_code};

use crate::active::Progress;
use crate::bulk4::check_binding;
use crate::frames::Frames;
use crate::{
    ActiveEvent, ActiveStatus, ActiveStatusKind, Binding4, ProtocolError, ProtocolFault, Status,
};

/// An active query on its connection and the octets that have come for it.
#[derive(Debug)]
pub struct Active4 {
    frames: Frames,
    xid: u32,
    progress: Progress,
}

impl Active4 {
    /// The answer to the query sent with this transaction id; `catches_up`: with a query-start-time.
    #[must_use]
    pub fn new(xid: u32, catches_up: bool) -> Self {
        Self {
            frames: Frames::default(),
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

    /// Takes octets of the connection, in pieces of any size, and tells what is in them.
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
            xid,
            progress,
        } = self;
        frames.push(octets, |frame| {
            on_event(read(*xid, progress, frame.message)?);
            Ok(())
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

fn read<'a>(
    xid: u32,
    progress: &mut Progress,
    octets: &'a [u8],
) -> Result<ActiveEvent<'a>, ProtocolFault> {
    if progress.ended {
        return Err(ProtocolFault::AfterEnd);
    }
    let message = Message::parse(octets).map_err(ProtocolFault::Message)?;
    if message.op() != op::BOOTREPLY {
        return Err(ProtocolFault::NotAReply(message.op()));
    }
    if message.xid() != xid {
        return Err(ProtocolFault::UnknownXid(message.xid()));
    }
    let kind = match message.message_type() {
        Some(DHCPLEASEACTIVE | DHCPLEASEUNASSIGNED) => None,
        Some(DHCPLEASEQUERYSTATUS) => Some(status_kind(&message)),
        // RFC 7724 §7.1 and §7.4.1 speak of DHCPLEASEQUERYDONE too; it ends a query whatever it says.
        Some(DHCPLEASEQUERYDONE) => Some(match status_kind(&message) {
            ActiveStatusKind::Terminated => ActiveStatusKind::Terminated,
            _ => ActiveStatusKind::Failed,
        }),
        other => return Err(ProtocolFault::UnexpectedType(other)),
    };
    if !progress.begun {
        let server = message
            .option(option_code::SERVER_IDENTIFIER)
            .and_then(|value| value.to_ipv4());
        server.ok_or(ProtocolFault::NoServerIdentifier)?;
        progress.begun = true;
    }
    if message.option(option_code::ASSOCIATED_IP).is_some() {
        return Err(ProtocolFault::ForbiddenOption(
            option_code::ASSOCIATED_IP.into(),
        ));
    }
    let base_time = base_time(&message);
    // Bindings have it because it was asked for; DataMissing and QueryTerminated must have it (RFC 7724 §7.4).
    let needs_base_time = matches!(
        kind,
        None | Some(ActiveStatusKind::DataMissing | ActiveStatusKind::Terminated)
    );
    if needs_base_time && base_time.is_none() {
        return Err(ProtocolFault::NoBaseTime);
    }
    let Some(kind) = kind else {
        check_binding(&message)?;
        return Ok(ActiveEvent::Binding4(Binding4 { message }));
    };
    progress.note(kind).ok_or(ProtocolFault::NoCatchUp)?;
    Ok(ActiveEvent::Status(ActiveStatus {
        kind,
        status: Status::of4(&message),
        base_time,
        message: octets,
    }))
}

/// What a DHCPLEASEQUERYSTATUS means. Without a status it is one of success (RFC 7724 §5.2.2): the connection lives.
fn status_kind(message: &Message<'_>) -> ActiveStatusKind {
    let code = Status::of4(message).map_or(0, |status| status.code);
    match u8::try_from(code).ok().and_then(StatusCode::from_u8) {
        Some(StatusCode::Success | StatusCode::ConnectionActive) => {
            ActiveStatusKind::ConnectionActive
        }
        Some(StatusCode::CatchUpComplete) => ActiveStatusKind::CatchUpComplete,
        Some(StatusCode::DataMissing) => ActiveStatusKind::DataMissing,
        Some(StatusCode::QueryTerminated) => ActiveStatusKind::Terminated,
        _ => ActiveStatusKind::Failed,
    }
}

/// A message's base-time, if it has one that can be read.
pub(crate) fn base_time(message: &Message<'_>) -> Option<UnixSeconds> {
    let value = message.option(option_code::BASE_TIME)?;
    value.to_u32().map(UnixSeconds)
}

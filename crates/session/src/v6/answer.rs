//! The messages of an answer: which options they begin with, and those that carry no client.

use leaseq_store::{Stamp, VpnRef};
use leaseq_wire::time::Seconds2000;
use leaseq_wire::v6::{MessageWriter, message_type, option_code};
use leaseq_wire::{Full, OutBuf, frame};
use smallvec::SmallVec;

use super::client_data::{Client, Share, Told};
use super::request::{Query, Refusal};
use super::wanted::Wanted;
use crate::query::{QueryContext, Quota};

/// VSS option octets that need no allocation: VPN identifiers of RFC 2685, and names of up to 27 octets.
type VssOption = SmallVec<[u8; 32]>;

/// What the messages of an answer have in common, decided once a query.
#[derive(Clone, Debug)]
pub(super) struct Form {
    xid: u32,
    wanted: Wanted,
    base_time: bool,
    vss: VssForm,
}

/// How an answer tells the VPN of a client (RFC 6607 §7.1).
#[derive(Clone, Debug)]
enum VssForm {
    /// The query named one: its own option is repeated.
    Repeated(VssOption),
    /// Each client's VPN, if it is not the global one.
    Own,
}

/// The options that make a LEASEQUERY-REPLY acceptable to the requestor: SERVERID, and its own CLIENTID.
#[derive(Clone, Copy, Debug)]
pub(super) struct Identity<'a> {
    pub(super) server: &'a [u8],
    pub(super) requestor: &'a [u8],
}

impl Identity<'_> {
    pub(super) fn put(&self, message: &mut MessageWriter<'_, '_>) -> Result<(), Full> {
        message.server_id(self.server)?;
        if !self.requestor.is_empty() {
            message.client_id(self.requestor)?;
        }
        Ok(())
    }
}

/// Writes a message without a client. `base_time`: to be told, where it is.
pub(super) fn put_bare(
    out: &mut OutBuf<'_>,
    message_type: u8,
    xid: u32,
    identity: Option<Identity<'_>>,
    refusal: Option<Refusal>,
    base_time: Option<Stamp>,
) -> Result<(), Full> {
    let mut message = MessageWriter::start(out, message_type, xid)?;
    if let Some(identity) = identity {
        identity.put(&mut message)?;
    }
    if let Some(refusal) = refusal {
        message.status(refusal.status, refusal.text)?;
    }
    if let Some(at) = base_time {
        message.base_time(Seconds2000::from_unix_millis(at.millis()))?;
    }
    message.finish();
    Ok(())
}

/// Writes a frame, or nothing if there is no room for it.
pub(super) fn put_frame(
    cx: &QueryContext<'_>,
    out: &mut OutBuf<'_>,
    quota: &mut Quota,
    message: impl FnOnce(&mut OutBuf<'_>) -> Result<(), Full>,
) -> Result<(), Full> {
    let start = frame::begin(out)?;
    let offset = start.offset();
    if let Err(full) = message(out) {
        frame::cancel(out, start);
        return Err(full);
    }
    frame::end(out, start)?;
    quota.octets = quota.octets.saturating_sub(out.len() - offset);
    cx.counters.v6.sent_messages.increment();
    Ok(())
}

impl Form {
    pub(super) fn new(xid: u32, base_time: bool, query: &Query<'_>) -> Self {
        Self::of(xid, base_time, query.wanted.clone(), query.vss)
    }

    /// `vss`: the option's value to repeat beside each client; none: each client's own VPN is told.
    pub(super) fn of(xid: u32, base_time: bool, wanted: Wanted, vss: Option<&[u8]>) -> Self {
        let vss = match vss {
            Some(value) => {
                let mut option = VssOption::new();
                option.extend_from_slice(&option_code::VSS.to_be_bytes());
                // At most 255 octets: longer ones were refused when the query was read.
                option.extend_from_slice(&(value.len() as u16).to_be_bytes());
                option.extend_from_slice(value);
                VssForm::Repeated(option)
            }
            None => VssForm::Own,
        };
        Self {
            xid,
            wanted,
            base_time,
            vss,
        }
    }

    pub(super) fn xid(&self) -> u32 {
        self.xid
    }

    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// The same for another query.
    pub(super) fn with_xid(&self, xid: u32) -> Self {
        Self {
            xid,
            ..self.clone()
        }
    }

    /// The base-time of a message, if it was asked for.
    pub(super) fn asked_base_time(&self, at: Stamp) -> Option<Stamp> {
        self.base_time.then_some(at)
    }

    /// Appends octets that are equal for forms of equal messages, but for their transaction ids.
    pub(super) fn identify(&self, octets: &mut Vec<u8>) {
        octets.push(u8::from(self.base_time));
        self.wanted.identify(octets);
        if let VssForm::Repeated(option) = &self.vss {
            octets.extend_from_slice(option);
        }
    }

    /// Writes a LEASEQUERY-REPLY with a client.
    pub(super) fn put_reply(
        &self,
        out: &mut OutBuf<'_>,
        identity: Identity<'_>,
        at: Stamp,
        client: &Client<'_, '_>,
        share: Share,
    ) -> Result<Told, Full> {
        let mut message = MessageWriter::start(out, message_type::LEASEQUERY_REPLY, self.xid)?;
        identity.put(&mut message)?;
        self.put_client(out, at, client, share)
    }

    /// Writes a LEASEQUERY-DATA.
    #[inline]
    pub(super) fn put_data(
        &self,
        out: &mut OutBuf<'_>,
        at: Stamp,
        client: &Client<'_, '_>,
        share: Share,
    ) -> Result<Told, Full> {
        self.begin_data(out)?;
        self.put_client(out, at, client, share)
    }

    /// Writes a LEASEQUERY-DATA up to its CLIENT_DATA.
    pub(super) fn put_before_client(
        &self,
        out: &mut OutBuf<'_>,
        at: Stamp,
        vpn: VpnRef<'_>,
    ) -> Result<(), Full> {
        self.begin_data(out)?;
        self.put_context(out, at, vpn)
    }

    #[inline]
    fn begin_data(&self, out: &mut OutBuf<'_>) -> Result<(), Full> {
        let [_, x0, x1, x2] = self.xid.to_be_bytes();
        out.put_array(&[message_type::LEASEQUERY_DATA, x0, x1, x2])
    }

    #[inline]
    fn put_client(
        &self,
        out: &mut OutBuf<'_>,
        at: Stamp,
        client: &Client<'_, '_>,
        share: Share,
    ) -> Result<Told, Full> {
        self.put_context(out, at, client.newest().vpn())?;
        client.put(out, &self.wanted, share)
    }

    /// Writes what stands beside a client: base-time if asked for, and its VPN.
    #[inline]
    fn put_context(&self, out: &mut OutBuf<'_>, at: Stamp, vpn: VpnRef<'_>) -> Result<(), Full> {
        self.put_base_time(out, at)?;
        match &self.vss {
            VssForm::Repeated(option) => out.put(option),
            VssForm::Own => put_vss(out, vpn),
        }
    }

    /// Writes a LEASEQUERY-REPLY without a client: nothing was found, or the status of the refusal says why.
    pub(super) fn put_empty_reply(
        &self,
        out: &mut OutBuf<'_>,
        identity: Identity<'_>,
        at: Stamp,
        refusal: Option<Refusal>,
    ) -> Result<(), Full> {
        put_bare(
            out,
            message_type::LEASEQUERY_REPLY,
            self.xid,
            Some(identity),
            refusal,
            self.asked_base_time(at),
        )
    }

    /// Writes a LEASEQUERY-DONE: nothing else is in it but the reason of a failure, and base-time if it was asked for
    /// (RFC 5460 §5.2.2, RFC 7653 §9.3).
    pub(super) fn put_done(
        &self,
        out: &mut OutBuf<'_>,
        at: Stamp,
        failure: Option<Refusal>,
    ) -> Result<(), Full> {
        put_bare(
            out,
            message_type::LEASEQUERY_DONE,
            self.xid,
            None,
            failure,
            self.asked_base_time(at),
        )
    }

    #[inline]
    fn put_base_time(&self, out: &mut OutBuf<'_>, at: Stamp) -> Result<(), Full> {
        if self.base_time {
            let option = out.reserve_array::<8>()?;
            option[..2].copy_from_slice(&option_code::LQ_BASE_TIME.to_be_bytes());
            option[2..4].copy_from_slice(&4_u16.to_be_bytes());
            let time = Seconds2000::from_unix_millis(at.millis());
            option[4..].copy_from_slice(&time.0.to_be_bytes());
        }
        Ok(())
    }
}

fn put_vss(out: &mut OutBuf<'_>, vpn: VpnRef<'_>) -> Result<(), Full> {
    if vpn.is_global() {
        return Ok(());
    }
    let information = vpn.vss();
    out.put_u16(option_code::VSS)?;
    out.put_u16(u16::try_from(information.len()).map_err(|_| Full)?)?;
    out.put(information)
}

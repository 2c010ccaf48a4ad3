//! One client on one link, as OPTION_CLIENT_DATA tells it (RFC 5007 §4.4.2): CLIENTID, CLT_TIME, relay data and other options
//! if asked for, then every live address and delegated prefix.
//!
//! What does not change between two replies lies in the binding as it goes on the wire and is copied; times are patched in.
//! A client with more leases than one message can hold is told in several messages, each complete but for its share of the
//! leases, in order of their addresses.

use std::net::Ipv6Addr;

use leaseq_store::{Bind6, Group, LeaseKind, Stamp, State};
use leaseq_wire::v6::{OptionsIter, option_code};
use leaseq_wire::{Full, OutBuf};

use super::request::Window;
use super::wanted::{OptionSet, Wanted};

/// Up to this many leases always fit into one message beside everything else that may be in it.
const FEW_LEASES: usize = 64;

/// Octets of an IAADDR option without options of its own.
const IAADDR_OCTETS: usize = 28;

/// Octets of an IAPREFIX option without options of its own: the larger one of the two.
const IAPREFIX_OCTETS: usize = 29;

/// A place among the leases of a client, in order of their addresses.
pub(super) type LeaseKey = (Ipv6Addr, u8);

/// A client on a link that has at least one live lease.
pub(super) struct Client<'g, 'v> {
    leases: &'g [Bind6<'v>],
    /// The live lease that the client spoke about last: its relay data and options are the client's.
    newest: &'g Bind6<'v>,
    /// Server time that everything relative is counted from.
    now: Stamp,
}

/// Whether a lease is told: assigned, and with a valid lifetime that is not over (RFC 5007 §4.1.2.2).
#[inline]
pub(super) fn is_live(lease: &Bind6<'_>, now: Stamp) -> bool {
    lease.state() == State::Active && lease.valid_left(now) != 0
}

impl<'g, 'v> Client<'g, 'v> {
    /// None: no lease of the client on this link is live.
    ///
    /// A client with many leases gets them sorted, so that its messages can be continued after any one of them.
    pub(super) fn of(group: &'g mut Group<'v>, now: Stamp) -> Option<Self> {
        if group.members.len() > FEW_LEASES {
            group.members.sort_unstable_by_key(key);
        }
        let leases = group.members.as_slice();
        let newest = leases
            .iter()
            .filter(|lease| is_live(lease, now))
            .max_by_key(|lease| (lease.cltt(), lease.sequence()))?;
        Some(Self {
            leases,
            newest,
            now,
        })
    }

    /// The live lease that the client spoke about last.
    pub(super) fn newest(&self) -> &'g Bind6<'v> {
        self.newest
    }

    /// The live leases.
    pub(super) fn live(&self) -> impl Iterator<Item = &'g Bind6<'v>> {
        let now = self.now;
        self.leases.iter().filter(move |lease| is_live(lease, now))
    }

    /// Whether one of the client's leases changed in the window, be it that it ended: what is told of the client differs.
    pub(super) fn changed_in(&self, window: Window) -> bool {
        self.leases
            .iter()
            .any(|lease| lease.changed_in(window.start, window.end))
    }

    /// Appends the CLIENT_DATA option with the leases that follow `after` (None: all of them), as many as fit before the
    /// buffer's length would exceed `limit`.
    ///
    /// # Errors
    /// [`Full`] if the buffer ends before the limit.
    pub(super) fn put(
        &self,
        out: &mut OutBuf<'_>,
        wanted: &Wanted,
        share: Share,
    ) -> Result<Told, Full> {
        let header = out.len();
        out.put_u16(option_code::CLIENT_DATA)?;
        out.put_u16(0)?;
        out.put(self.newest.client_id_option())?;
        put_from_record(out, self.newest, self.live(), wanted, self.now, share.limit)?;
        let told = put_leases(
            out,
            self.live().map(|lease| Lease::live(lease, self.now)),
            share,
        )?;
        let length = out.len() - header - 4;
        // The limit is that of a message, so the length of what is in it fits into 16 bits.
        out.patch_u16(header + 2, u16::try_from(length).map_err(|_| Full)?);
        Ok(told)
    }
}

/// Which of a client's leases a message is to hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Those after this one; None: from the first.
    pub(super) after: Option<LeaseKey>,
    /// As many as fit before the buffer's length would exceed this.
    pub(super) limit: usize,
}

/// Writes what a client's newest record knows of it beside its leases: CLT_TIME, and what is asked for of relay data and
/// other options. What its other leases have to add is left out where the message would exceed `limit`.
///
/// The client's options come from its newest lease that has them: those of one transaction may be recorded with any of the
/// leases it was about.
#[inline]
pub(super) fn put_from_record<'g, 'v: 'g>(
    out: &mut OutBuf<'_>,
    newest: &'g Bind6<'v>,
    leases: impl Iterator<Item = &'g Bind6<'v>>,
    wanted: &Wanted,
    now: Stamp,
    limit: usize,
) -> Result<(), Full> {
    if let Some(cltt) = newest.cltt() {
        let option = out.reserve_array::<8>()?;
        option[..2].copy_from_slice(&option_code::CLT_TIME.to_be_bytes());
        option[2..4].copy_from_slice(&4_u16.to_be_bytes());
        option[4..].copy_from_slice(&now.seconds().saturating_sub(cltt).to_be_bytes());
    }
    if wanted.relay_data {
        out.put(newest.relay_data_option())?;
    }
    if wanted.options.is_empty() {
        return Ok(());
    }
    let limit = limit.saturating_sub(FEW_LEASES * IAPREFIX_OCTETS);
    let mut missing = wanted.options.clone();
    let others = leases.filter(|lease| lease.sequence() != newest.sequence());
    for lease in std::iter::once(newest).chain(others) {
        let mut found = OptionSet::default();
        for (code, value) in OptionsIter::unchecked(lease.other_options()) {
            if missing.contains(code) && out.len() + 4 + value.len() <= limit {
                put_option(out, code, value)?;
                found.insert(code);
            }
        }
        missing.remove_all(&found);
        if missing.is_empty() {
            break;
        }
    }
    Ok(())
}

/// Appends those of the leases that the message is to hold; they come in order of their keys where it cannot hold all.
#[inline]
pub(super) fn put_leases(
    out: &mut OutBuf<'_>,
    leases: impl Iterator<Item = Lease>,
    share: Share,
) -> Result<Told, Full> {
    let mut told = Told {
        leases: 0,
        last: None,
        complete: true,
    };
    for lease in leases {
        if share.after.is_some_and(|after| lease.key() <= after) {
            continue;
        }
        if out.len() + IAPREFIX_OCTETS > share.limit {
            told.complete = false;
            break;
        }
        lease.put(out)?;
        told.leases += 1;
        told.last = Some(lease.key());
    }
    Ok(told)
}

/// What of a client's leases went into a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) leases: u32,
    /// The last one of them.
    pub(super) last: Option<LeaseKey>,
    /// None is left for another message.
    pub(super) complete: bool,
}

fn key(lease: &Bind6<'_>) -> LeaseKey {
    (lease.address(), lease.prefix_len())
}

/// An address or prefix, as a message tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    address: Ipv6Addr,
    prefix_len: u8,
    kind: LeaseKind,
    preferred: u32,
    valid: u32,
}

impl Lease {
    /// With the lifetimes that remain; infinite ones stay as they are.
    #[inline]
    pub(super) fn live(lease: &Bind6<'_>, now: Stamp) -> Self {
        let valid = lease.valid_left(now);
        Self {
            address: lease.address(),
            prefix_len: lease.prefix_len(),
            kind: lease.kind(),
            preferred: lease.preferred_left(now).min(valid),
            valid,
        }
    }

    /// Not the client's any more: with lifetimes of zero.
    pub(super) fn over(address: Ipv6Addr, prefix_len: u8, kind: LeaseKind) -> Self {
        Self {
            address,
            prefix_len,
            kind,
            preferred: 0,
            valid: 0,
        }
    }

    pub(super) fn key(&self) -> LeaseKey {
        (self.address, self.prefix_len)
    }

    /// Appends an IAADDR or IAPREFIX option.
    #[inline]
    fn put(&self, out: &mut OutBuf<'_>) -> Result<(), Full> {
        match self.kind {
            LeaseKind::Na | LeaseKind::Ta => {
                let option = out.reserve_array::<IAADDR_OCTETS>()?;
                option[..2].copy_from_slice(&option_code::IAADDR.to_be_bytes());
                option[2..4].copy_from_slice(&24_u16.to_be_bytes());
                option[4..20].copy_from_slice(&self.address.octets());
                option[20..24].copy_from_slice(&self.preferred.to_be_bytes());
                option[24..].copy_from_slice(&self.valid.to_be_bytes());
            }
            LeaseKind::Pd => {
                let option = out.reserve_array::<IAPREFIX_OCTETS>()?;
                option[..2].copy_from_slice(&option_code::IAPREFIX.to_be_bytes());
                option[2..4].copy_from_slice(&25_u16.to_be_bytes());
                option[4..8].copy_from_slice(&self.preferred.to_be_bytes());
                option[8..12].copy_from_slice(&self.valid.to_be_bytes());
                option[12] = self.prefix_len;
                option[13..].copy_from_slice(&self.address.octets());
            }
        }
        Ok(())
    }
}

/// Appends an option.
pub(super) fn put_option(out: &mut OutBuf<'_>, code: u16, value: &[u8]) -> Result<(), Full> {
    out.put_u16(code)?;
    out.put_u16(u16::try_from(value.len()).map_err(|_| Full)?)?;
    out.put(value)
}

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
        after: Option<LeaseKey>,
        limit: usize,
    ) -> Result<Told, Full> {
        let header = out.len();
        out.put_u16(option_code::CLIENT_DATA)?;
        out.put_u16(0)?;
        out.put(self.newest.client_id_option())?;
        if let Some(cltt) = self.newest.cltt() {
            let option = out.reserve_array::<8>()?;
            option[..2].copy_from_slice(&option_code::CLT_TIME.to_be_bytes());
            option[2..4].copy_from_slice(&4_u16.to_be_bytes());
            option[4..].copy_from_slice(&self.now.seconds().saturating_sub(cltt).to_be_bytes());
        }
        if wanted.relay_data {
            out.put(self.newest.relay_data_option())?;
        }
        if !wanted.options.is_empty() {
            self.put_options(
                out,
                &wanted.options,
                limit.saturating_sub(FEW_LEASES * IAPREFIX_OCTETS),
            )?;
        }
        let told = self.put_leases(out, after, limit)?;
        let length = out.len() - header - 4;
        // The limit is that of a message, so the length of what is in it fits into 16 bits.
        out.patch_u16(header + 2, u16::try_from(length).map_err(|_| Full)?);
        Ok(told)
    }

    /// The client's options come from its newest lease that has them: those of one transaction may be recorded with any of
    /// the leases it was about. What the other leases have to add is left out where the message would exceed `limit`.
    fn put_options(
        &self,
        out: &mut OutBuf<'_>,
        asked: &OptionSet,
        limit: usize,
    ) -> Result<(), Full> {
        let mut missing = asked.clone();
        let others = self
            .live()
            .filter(|lease| lease.sequence() != self.newest.sequence());
        for lease in std::iter::once(self.newest).chain(others) {
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

    fn put_leases(
        &self,
        out: &mut OutBuf<'_>,
        after: Option<LeaseKey>,
        limit: usize,
    ) -> Result<Told, Full> {
        let mut told = Told {
            leases: 0,
            last: None,
            complete: true,
        };
        for lease in self.live() {
            if after.is_some_and(|after| key(lease) <= after) {
                continue;
            }
            if out.len() + IAPREFIX_OCTETS > limit {
                told.complete = false;
                break;
            }
            put_lease(out, lease, self.now)?;
            told.leases += 1;
            told.last = Some(key(lease));
        }
        Ok(told)
    }
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

/// Appends an IAADDR or IAPREFIX option with the lifetimes that remain; infinite ones stay as they are.
#[inline]
fn put_lease(out: &mut OutBuf<'_>, lease: &Bind6<'_>, now: Stamp) -> Result<(), Full> {
    let valid = lease.valid_left(now);
    let preferred = lease.preferred_left(now).min(valid);
    match lease.kind() {
        LeaseKind::Na | LeaseKind::Ta => {
            let option = out.reserve_array::<IAADDR_OCTETS>()?;
            option[..2].copy_from_slice(&option_code::IAADDR.to_be_bytes());
            option[2..4].copy_from_slice(&24_u16.to_be_bytes());
            option[4..20].copy_from_slice(&lease.address().octets());
            option[20..24].copy_from_slice(&preferred.to_be_bytes());
            option[24..].copy_from_slice(&valid.to_be_bytes());
        }
        LeaseKind::Pd => {
            let option = out.reserve_array::<IAPREFIX_OCTETS>()?;
            option[..2].copy_from_slice(&option_code::IAPREFIX.to_be_bytes());
            option[2..4].copy_from_slice(&25_u16.to_be_bytes());
            option[4..8].copy_from_slice(&preferred.to_be_bytes());
            option[8..12].copy_from_slice(&valid.to_be_bytes());
            option[12] = lease.prefix_len();
            option[13..].copy_from_slice(&lease.address().octets());
        }
    }
    Ok(())
}

fn put_option(out: &mut OutBuf<'_>, code: u16, value: &[u8]) -> Result<(), Full> {
    out.put_u16(code)?;
    out.put_u16(u16::try_from(value.len()).map_err(|_| Full)?)?;
    out.put(value)
}

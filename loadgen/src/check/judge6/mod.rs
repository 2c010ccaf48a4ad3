//! What one DHCPv6 message tells of the leases of a client, and whether it can be true.

mod times;

use std::net::Ipv6Addr;

use leaseq_requestor::{Client6, Family};
use leaseq_wire::time::{Seconds2000, UnixSeconds};
use leaseq_wire::v6::{Lease, Message, option_code as code};
use leaseq_wire::vss::Vss;

use super::expected::{Expected, Version};
use super::{OnFault, ROUNDING, SLACK};
use crate::changes::Mark;
use crate::changes::mark::CLIENT_FQDN;
use crate::data::{Hex, Inventory, LeaseKey, RelayData};
use crate::fault::FaultKind;

/// A client with more leases than this may be told in several messages.
pub(super) const MOST_TOGETHER: usize = 64;

/// What a message tells of one lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told6 {
    pub(crate) row: u32,
    /// Its place among the rows that the query is about.
    pub(crate) place: usize,
    pub(crate) is_live: bool,
    /// Which version; `None`: a lease that is over, without a word about the change that ended it, or an endless one.
    pub(crate) version: Option<Version>,
}

/// The base-time of a message, if it has one.
pub(super) fn base_time(message: &Message<'_>) -> Option<UnixSeconds> {
    let seconds = message.options().find_u32(code::LQ_BASE_TIME)?;
    Some(Seconds2000(seconds).into())
}

/// Reads what a message tells of a client, and calls `told` for each of its leases that the store holds. `oldest` gives the
/// oldest version of a row that may be told.
pub(crate) fn judge(
    expected: &Expected,
    inventory: &Inventory,
    client: &Client6<'_>,
    received: UnixSeconds,
    oldest: &dyn Fn(u32) -> Version,
    told: &mut dyn FnMut(Told6),
    fault: OnFault<'_>,
) {
    let base = base_time(&client.message).unwrap_or(received);
    let Some(mut judge) = Judge::new(expected, inventory, client, base, fault) else {
        return;
    };
    let upto = i64::from(base.0.max(received.0)) + SLACK;
    if let Some(mark) = judge
        .mark
        .filter(|mark| i64::from(mark.at) > i64::from(received.0) + SLACK)
    {
        let text = format!("told with a change at {}, which is to come", mark.at);
        judge.fault(FaultKind::Times, &text);
    }
    for lease in client.client.leases() {
        let lease = match lease {
            Ok(lease) => lease,
            Err(error) => {
                judge.fault(
                    FaultKind::Protocol,
                    &format!("a lease cannot be read: {error}"),
                );
                continue;
            }
        };
        if let Some(one) = judge.lease(&lease, oldest, upto) {
            told(one);
        }
    }
    judge.end();
}

struct Judge<'j, 'a> {
    expected: &'j Expected,
    inventory: &'j Inventory,
    message: Message<'a>,
    on_fault: OnFault<'j>,
    vpn: &'a [u8],
    duid: &'a [u8],
    relay_data: RelayData<'a>,
    mark: Option<Mark>,
    /// There is a name that is no mark.
    has_other_name: bool,
    /// Unix seconds.
    base: i64,
    /// The client's last transaction.
    cltt: Option<i64>,
    /// The last lease.
    name: Option<(Ipv6Addr, Option<u8>)>,
    /// The row of the first lease.
    row: Option<u32>,
    /// The last transaction about a live lease, of those known.
    newest: Option<i64>,
    /// A live lease is there whose last transaction is not known.
    is_unsure: bool,
    /// A lease that is told has the mark's change.
    has_mark: bool,
    /// The last change of a live lease that is told.
    newest_version: Version,
    live: usize,
    relay_data_holds: bool,
}

impl<'j, 'a> Judge<'j, 'a> {
    fn new(
        expected: &'j Expected,
        inventory: &'j Inventory,
        client: &Client6<'a>,
        base: UnixSeconds,
        on_fault: OnFault<'j>,
    ) -> Option<Self> {
        let (top, options) = (client.message.options(), client.client.options);
        let octets = client.message.octets();
        // Some servers put these two beside CLIENT_DATA instead of into it.
        let find = |code| options.find(code).or_else(|| top.find(code));
        let Some(duid) = client.client.client_id() else {
            on_fault(
                FaultKind::Protocol,
                "a client without a DUID".into(),
                octets,
            );
            return None;
        };
        let Some(relay_data) = RelayData::read(find(code::LQ_RELAY_DATA)) else {
            let text = format!("client {}: relay data that cannot be read", Hex(duid));
            on_fault(FaultKind::Protocol, text, octets);
            return None;
        };
        let vpn = find(code::VSS).unwrap_or_default();
        let name = options.find(CLIENT_FQDN);
        let mark = name.and_then(Mark::of_fqdn);
        let base = i64::from(base.0);
        Some(Self {
            expected,
            inventory,
            message: client.message,
            on_fault,
            vpn: if vpn == [Vss::Global.type_octet()] {
                &[]
            } else {
                vpn
            },
            duid,
            relay_data,
            mark,
            has_other_name: name.is_some() && mark.is_none() && expected.schedule.is_some(),
            base,
            cltt: client.client.clt_time().map(|ago| base - i64::from(ago)),
            name: None,
            row: None,
            newest: None,
            is_unsure: false,
            has_mark: false,
            newest_version: 0,
            live: 0,
            relay_data_holds: false,
        })
    }

    fn fault(&mut self, kind: FaultKind, text: &str) {
        let name = match self.name {
            Some((address, Some(len))) => format!("{address}/{len}"),
            Some((address, None)) => address.to_string(),
            None => format!("client {}", Hex(self.duid)),
        };
        (self.on_fault)(kind, format!("{name}: {text}"), self.message.octets());
    }

    fn lease(
        &mut self,
        lease: &Lease<'_>,
        oldest: &dyn Fn(u32) -> Version,
        upto: i64,
    ) -> Option<Told6> {
        let (address, len) = lease.prefix();
        let prefix_len = matches!(lease, Lease::Prefix(_)).then_some(len);
        self.name = Some((address, prefix_len));
        let key = LeaseKey::V6 {
            address,
            prefix_len,
            vpn: self.vpn,
        };
        let Some(row) = self.inventory.find(key) else {
            self.fault(FaultKind::Unexpected, "the store holds no such lease");
            return None;
        };
        let Some(place) = self.expected.rows(self.inventory).place(row) else {
            let text = "the query does not ask for it: its client is not behind that relay or on that link";
            self.fault(FaultKind::Unexpected, text);
            return None;
        };
        if !self.inventory.is_duid(row, self.duid) {
            let content = self.inventory.content(row);
            let duid = content.and_then(|content| content.duid).unwrap_or_default();
            let text = format!("DUID: expected {}, came {}", Hex(&duid), Hex(self.duid));
            self.fault(FaultKind::Different, &text);
        }
        self.row.get_or_insert(row);
        self.relay_data_holds |= self.inventory.is_relay_data(row, &self.relay_data);
        match lease.valid() {
            0 => {
                if lease.preferred() > 0 {
                    let text = format!("ended, but preferred for {} s", lease.preferred());
                    self.fault(FaultKind::Times, &text);
                }
                self.ended(row, place, oldest(row), upto)
            }
            _ => self.live(row, place, lease, oldest(row)),
        }
    }

    fn live(
        &mut self,
        row: u32,
        place: usize,
        lease: &Lease<'_>,
        oldest: Version,
    ) -> Option<Told6> {
        self.live += 1;
        let version = match self.version_of(row, lease, oldest) {
            Ok(Some(version)) => version,
            Ok(None) => {
                self.is_unsure = true;
                return Some(Told6 {
                    row,
                    place,
                    is_live: true,
                    version: None,
                });
            }
            Err((kind, text)) => {
                self.is_unsure = true;
                self.fault(kind, &text);
                return None;
            }
        };
        self.newest_version = self.newest_version.max(version);
        let is_marked = self.mark.is_some_and(|mark| mark.number == version);
        self.has_mark |= is_marked;
        match self.check_times(row, version, is_marked, lease) {
            Ok(Some(cltt)) => {
                self.newest = Some(self.newest.map_or(cltt, |newest| newest.max(cltt)))
            }
            Ok(None) => self.is_unsure = true,
            Err(text) => {
                self.is_unsure = true;
                self.fault(FaultKind::Times, &text);
            }
        }
        Some(Told6 {
            row,
            place,
            is_live: true,
            version: Some(version),
        })
    }

    fn ended(&mut self, row: u32, place: usize, oldest: Version, upto: i64) -> Option<Told6> {
        let (expected, inventory) = (self.expected, self.inventory);
        let newest = expected.latest(row, expected.submitted(Family::V6));
        let may_be_over = |version: &Version| expected.may_be_over(inventory, row, *version, upto);
        // The message of a client without live leases has the options of the lease that ended.
        let mark = self.mark.filter(|mark| {
            mark.number <= newest && expected.is_of(mark.number, row) && may_be_over(&mark.number)
        });
        self.has_mark |= mark.is_some();
        let may_be = mark.is_some()
            || expected
                .versions(oldest, newest)
                .any(|version| may_be_over(&version))
            || self.may_have_gone(row, place, upto);
        if !may_be {
            let text = format!(
                "told as ended, expected leased, {}",
                expected.describe(newest)
            );
            self.fault(FaultKind::Different, &text);
            return None;
        }
        Some(Told6 {
            row,
            place,
            is_live: false,
            version: mark.map(|mark| mark.number),
        })
    }

    /// A client that is not behind the relay agent any more, since its lease there is over, is told as over with all it has.
    fn may_have_gone(&self, row: u32, place: usize, upto: i64) -> bool {
        let (expected, inventory) = (self.expected, self.inventory);
        let rows = expected.rows(inventory);
        let submitted = expected.submitted(Family::V6);
        let mut siblings = inventory.client(row).iter().take(MOST_TOGETHER);
        !rows.is_direct(place)
            && siblings.all(|sibling| {
                let place = rows.place(sibling).filter(|place| rows.is_direct(*place));
                place.is_none()
                    || expected
                        .ended(inventory, sibling, 0, submitted, upto)
                        .is_some()
            })
    }

    /// What the message tells of the client as a whole.
    fn end(&mut self) {
        self.name = None;
        let Some(row) = self.row else { return };
        let (expected, inventory) = (self.expected, self.inventory);
        // It is what the client said last, and that may have been about a lease that another message tells.
        let is_told = self.live > 0 || self.relay_data.hops().next().is_some();
        let holds = !is_told
            || self.relay_data_holds
            || inventory
                .client(row)
                .iter()
                .take(MOST_TOGETHER)
                .any(|row| inventory.is_relay_data(row, &self.relay_data));
        if !holds {
            let text = self.relay_difference(row);
            self.fault(FaultKind::Different, &text);
        }
        let is_whole = inventory.client(row).len() <= MOST_TOGETHER;
        if !is_whole {
            return;
        }
        if self.has_other_name && !inventory.has_names() {
            self.fault(
                FaultKind::Different,
                "told with another name than the store's",
            );
        }
        match self.mark {
            Some(mark) if mark.number > expected.submitted(Family::V6) => {
                let text = format!("told with change {}, which has not been made", mark.number);
                self.fault(FaultKind::Order, &text);
            }
            Some(mark) if !self.has_mark && !self.is_unsure => {
                let text = format!(
                    "told with change {}, but no lease as it made it",
                    mark.number
                );
                self.fault(FaultKind::Different, &text);
            }
            None if self.newest_version > 0 && !self.has_other_name => {
                let text = format!("told without the options of change {}", self.newest_version);
                self.fault(FaultKind::Different, &text);
            }
            _ => {}
        }
        // What happened after base-time is told as having happened then.
        let ended = self
            .mark
            .filter(|_| self.live == 0 && self.has_mark && self.cltt.is_some());
        let newest = match ended {
            Some(mark) => Some(i64::from(mark.at)),
            None => self.newest.filter(|_| !self.is_unsure),
        };
        match (newest.map(|newest| newest.min(self.base)), self.cltt) {
            (Some(expected), Some(came)) if (expected - came).abs() > ROUNDING => {
                let text = format!("last transaction: expected {expected}, came {came}");
                self.fault(FaultKind::Times, &text);
            }
            (Some(expected), None) => {
                let text = format!("last transaction: expected {expected}, came none");
                self.fault(FaultKind::Times, &text);
            }
            _ => {}
        }
    }

    fn relay_difference(&self, row: u32) -> String {
        let content = self.inventory.content(row);
        let expected: Vec<String> = content.map_or_else(Vec::new, |content| {
            let relays = content.relays.iter();
            relays
                .map(|relay| format!("{} {} {}", relay.link, relay.peer, Hex(&relay.options)))
                .collect()
        });
        let came: Vec<String> = self
            .relay_data
            .hops()
            .map(|hop| {
                let options = hop.octets().unwrap_or_default();
                format!("{} {} {}", hop.link, hop.peer, Hex(options))
            })
            .collect();
        let list = |relays: Vec<String>| match relays.is_empty() {
            true => "none".to_owned(),
            false => relays.join(", "),
        };
        format!(
            "relay agents (link, peer, options): expected {}, came {}",
            list(expected),
            list(came)
        )
    }
}

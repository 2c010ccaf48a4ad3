//! What one DHCPv4 message tells of an address, and whether it can be true.

use leaseq_requestor::{Binding4, Family};
use leaseq_wire::INFINITY;
use leaseq_wire::time::UnixSeconds;
use leaseq_wire::v4::{DhcpState, Message, option_code as code};

use super::expected::{Expected, Life, Version};
use super::{GRACE, OnFault, ROUNDING, SLACK};
use crate::changes::Mark;
use crate::changes::mark::HOST_NAME;
use crate::data::{Hex, Inventory, LeaseKey, Seen4};
use crate::fault::FaultKind;
use crate::scenario::By;

/// What a message tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Told4 {
    pub(crate) row: u32,
    /// Its place among the rows that the query is about.
    pub(crate) place: usize,
    pub(crate) is_active: bool,
    /// Which version; `None`: an address that is not leased, and of which the message does not tell since which change.
    pub(crate) version: Option<Version>,
}

/// The base-time of a message, if it has one.
pub(super) fn base_time(message: &Message<'_>) -> Option<UnixSeconds> {
    let value = message.option(code::BASE_TIME)?;
    value.to_u32().map(UnixSeconds)
}

/// Reads what a message tells of an address that the store holds. `oldest` gives the oldest version of a row that may be
/// told. `None`: there is nothing to compare it with, or nothing like it may be told, which is a fault.
#[inline]
pub(crate) fn judge(
    expected: &Expected,
    inventory: &Inventory,
    binding: &Binding4<'_>,
    received: UnixSeconds,
    oldest: impl Fn(u32) -> Version,
    fault: OnFault<'_>,
) -> Option<Told4> {
    let (message, address) = (binding.message, binding.address());
    let mut fault =
        |kind, text: String| fault(kind, format!("{address}: {text}"), message.octets());
    let vpn = message.option(code::VSS);
    let found = match &vpn {
        None => inventory.find(LeaseKey::V4(address)),
        Some(vpn) => inventory.find4_in(address, &vpn.bytes().collect::<Vec<u8>>()),
    };
    let is_active = binding.is_active();
    let Some(row) = found else {
        // A server may have more addresses than those that it holds bindings of.
        if is_active || expected.by != By::All {
            fault(
                FaultKind::Unexpected,
                "the store holds no binding of it".into(),
            );
        }
        return None;
    };
    let Some(place) = expected.rows(inventory).place(row) else {
        let text = "the query does not ask for it: it is not behind that relay";
        fault(FaultKind::Unexpected, text.into());
        return None;
    };
    let state = message.option(code::DHCP_STATE);
    let state = state.and_then(|state| DhcpState::from_u8(state.to_u8()?));
    if state.is_some_and(|state| (state == DhcpState::Active) != is_active) {
        let told = state.map_or("", DhcpState::name);
        let kind = if is_active {
            "DHCPLEASEACTIVE"
        } else {
            "DHCPLEASEUNASSIGNED"
        };
        fault(FaultKind::Protocol, format!("{kind} with the state {told}"));
    }
    if !is_same(inventory, row, is_active, &message) {
        let text = difference(inventory, row, &Seen4::of(&message));
        fault(FaultKind::Different, text);
    }
    let base = base_time(&message).unwrap_or(received);
    let mark = mark(&message);
    let version = mark.map_or(0, |mark| mark.number);
    let submitted = expected.submitted(Family::V4);
    if version > submitted {
        let text = format!("told with change {version}, but only {submitted} have been made");
        fault(FaultKind::Order, text);
        return None;
    }
    if !expected.is_of(version, row) {
        let text = format!("told with change {version}, which is of another binding");
        fault(FaultKind::Different, text);
        return None;
    }
    if let Some(mark) = mark.filter(|mark| i64::from(mark.at) > i64::from(received.0) + SLACK) {
        fault(
            FaultKind::Times,
            format!("told with a change at {}, which is to come", mark.at),
        );
    }
    if mark.is_none()
        && message.option(HOST_NAME).is_some()
        && expected.schedule.is_some()
        && !inventory.has_names()
    {
        fault(
            FaultKind::Different,
            "told with another host name than the store's".into(),
        );
    }
    let times = Times::of(&message, i64::from(base.0));
    if is_active {
        if expected.life(inventory, row, version) == Life::Ended {
            let text = format!("told as leased, expected {}", expected.describe(version));
            fault(FaultKind::Different, text);
            return None;
        }
        if let Err(text) = times.check(inventory, row, mark) {
            fault(FaultKind::Times, text);
        }
        return Some(Told4 {
            row,
            place,
            is_active,
            version: Some(version),
        });
    }
    let upto = i64::from(base.0.max(received.0)) + SLACK;
    // Without a mark it may be any version: not every server tells options of a binding that is over.
    let oldest = if mark.is_some() { version } else { oldest(row) };
    let newest = if mark.is_some() {
        version
    } else {
        expected.latest(row, submitted)
    };
    let may_be_over = |version| expected.may_be_over(inventory, row, version, upto);
    if !expected.versions(oldest, newest).any(may_be_over) {
        let state = state.map_or("not leased", DhcpState::name);
        let text = format!(
            "told as {state}, expected leased, {}",
            expected.describe(newest)
        );
        fault(FaultKind::Different, text);
        return None;
    }
    // Of an address that is not leased the last transaction need not be told.
    let cltt = mark
        .filter(|_| times.cltt.is_some())
        .map(|mark| i64::from(mark.at));
    if let Err(text) = times.check_cltt(cltt) {
        fault(FaultKind::Times, text);
    }
    let version = mark.map(|mark| mark.number);
    Some(Told4 {
        row,
        place,
        is_active,
        version,
    })
}

fn mark(message: &Message<'_>) -> Option<Mark> {
    let value = message.option(HOST_NAME)?;
    value.as_slice().and_then(Mark::of_host_name)
}

/// What the message tells of the client is the store's. Of an address that is not leased it need not tell all.
fn is_same(inventory: &Inventory, row: u32, is_active: bool, message: &Message<'_>) -> bool {
    let seen = Seen4::of(message);
    if inventory.is_same4(row, &seen) {
        return true;
    }
    if is_active {
        return false;
    }
    let Some(content) = inventory.content(row) else {
        return true;
    };
    let is = |seen: Option<Vec<u8>>, held: &Option<Vec<u8>>| {
        seen.is_none_or(|seen| held.as_deref().unwrap_or_default() == seen)
    };
    let hwaddr = content.hwaddr.as_ref();
    let hwaddr = hwaddr.map_or((0, &[][..]), |(htype, octets)| (*htype, octets.as_slice()));
    (seen.chaddr.is_empty() || (seen.htype, seen.chaddr) == hwaddr)
        && is(
            seen.client_id.map(|id| id.bytes().collect()),
            &content.client_id,
        )
        && is(
            seen.relay_info.map(|info| info.bytes().collect()),
            &content.relay_info,
        )
}

/// What of the client's is told otherwise than the store has it.
fn difference(inventory: &Inventory, row: u32, seen: &Seen4<'_>) -> String {
    let Some(content) = inventory.content(row) else {
        return "told with another content than the store's".into();
    };
    let (htype, octets) = content.hwaddr.unwrap_or_default();
    let octet = |value: &Option<leaseq_wire::v4::OptionValue<'_>>| {
        value
            .as_ref()
            .map(|value| value.bytes().collect::<Vec<u8>>())
            .unwrap_or_default()
    };
    let mut texts = Vec::new();
    let mut compare = |what: &str, expected: &[u8], came: &[u8]| {
        if expected != came {
            texts.push(format!(
                "{what}: expected {}, came {}",
                Hex(expected),
                Hex(came)
            ));
        }
    };
    compare("hardware type", &[htype], &[seen.htype]);
    compare("hardware address", &octets, seen.chaddr);
    compare(
        "client identifier",
        &content.client_id.unwrap_or_default(),
        &octet(&seen.client_id),
    );
    let info = content.relay_info.unwrap_or_default();
    compare("relay agent information", &info, &octet(&seen.relay_info));
    texts.join("; ")
}

/// The times of a lease, in Unix seconds.
struct Times {
    base: i64,
    /// The client's last transaction.
    cltt: Option<i64>,
    /// Seconds left.
    left: Option<u32>,
}

impl Times {
    fn of(message: &Message<'_>, base: i64) -> Self {
        let number = |code| message.option(code).and_then(|value| value.to_u32());
        let ago = number(code::CLIENT_LAST_TRANSACTION_TIME);
        Self {
            base,
            cltt: ago.map(|ago| base - i64::from(ago)),
            left: number(code::IP_ADDRESS_LEASE_TIME),
        }
    }

    /// They are those of the store, changed at the time of the mark.
    fn check(&self, inventory: &Inventory, row: u32, mark: Option<Mark>) -> Result<(), String> {
        let first = inventory.first(row);
        let cltt = mark.map(|mark| mark.at).or(first.cltt);
        let cltt = cltt.map(i64::from);
        self.check_cltt(cltt)?;
        check_left(cltt, first.valid, self.base, self.left)
            .map_err(|text| format!("lease time: {text}"))
    }

    /// The last transaction was then; what happened after base-time is told as having happened then.
    fn check_cltt(&self, expected: Option<i64>) -> Result<(), String> {
        match (expected.map(|cltt| cltt.min(self.base)), self.cltt) {
            (Some(expected), Some(came)) if (expected - came).abs() > ROUNDING => Err(format!(
                "last transaction: expected {expected}, came {came}"
            )),
            (Some(expected), None) => {
                Err(format!("last transaction: expected {expected}, came none"))
            }
            _ => Ok(()),
        }
    }
}

/// Seconds left of a lifetime that began at the last transaction are as many as there should be.
pub(super) fn check_left(
    cltt: Option<i64>,
    valid: Option<u32>,
    base: i64,
    came: Option<u32>,
) -> Result<(), String> {
    let expected = match (cltt, valid) {
        (_, Some(INFINITY)) => i64::from(INFINITY),
        // Nobody has more than he was given, although the client spoke after base-time.
        (Some(cltt), Some(valid)) => cltt.min(base) + i64::from(valid) - base,
        _ => return Ok(()),
    };
    let Some(came) = came.map(i64::from) else {
        return Err(format!("expected {expected} s left, came none"));
    };
    let is_held = expected <= SLACK && (0..=GRACE).contains(&came);
    match (expected - came).abs() <= ROUNDING || is_held {
        true => Ok(()),
        false => Err(format!("expected {expected} s left, came {came}")),
    }
}

//! What is bounded, how much of it is taken, and how much may be.

use std::collections::HashMap;
use std::net::IpAddr;

use leaseq_engine::ConnectionInfo;
use leaseq_session::Family;
use leaseq_store::Stats;
use serde_json::{Value, json};

use crate::admin::process::{self, Room};
use crate::admin::watched::Served;

/// Each as `{"name", "used", "limit", "unit", "note"}`; without a bound it is not among them.
pub fn json(served: &Served, stats: &Stats, connections: &[ConnectionInfo]) -> Value {
    let settings = served.engine.settings();
    let limits = &settings.limits;
    let mut told = Vec::new();
    for (family, name) in [
        (Family::V4, "DHCPv4 connections"),
        (Family::V6, "DHCPv6 connections"),
    ] {
        let open = u64::from(served.engine.open_connections(family));
        told.push(limit(name, open, limits.max_connections.into(), "", None));
    }
    let most = limits.max_connections_per_requestor;
    if most > 0
        && let Some((requestor, open)) = busiest(connections)
    {
        let name = "connections of one requestor";
        let note = Some(requestor.to_string());
        told.push(limit(name, open, most.into(), "", note));
    }
    if let Some(process) = process::read()
        && let Some(most) = process.max_open_files
    {
        told.push(limit("open files", process.open_files, most, "", None));
    }
    if let Some(Room { total, free }) = process::disk(&served.data_dir) {
        let note = Some(served.data_dir.display().to_string());
        told.push(limit(
            "disk",
            total - free.min(total),
            total,
            "octets",
            note,
        ));
    }
    if let Some(Room { total, .. }) = process::memory() {
        let needed = stats.log_octets + stats.index_octets();
        told.push(limit("memory for the store", needed, total, "octets", None));
    }
    told.into()
}

fn limit(name: &str, used: u64, limit: u64, unit: &str, note: Option<String>) -> Value {
    json!({ "name": name, "used": used, "limit": limit, "unit": unit, "note": note })
}

/// The requestor with the most connections of one family.
fn busiest(connections: &[ConnectionInfo]) -> Option<(IpAddr, u64)> {
    let mut open: HashMap<(IpAddr, Family), u64> = HashMap::new();
    for connection in connections {
        *open
            .entry((connection.peer.ip(), connection.family))
            .or_default() += 1;
    }
    let busiest = open.into_iter().max_by_key(|(_, open)| *open)?;
    Some((busiest.0.0, busiest.1))
}

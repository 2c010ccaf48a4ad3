//! Checking a store: its files octet by octet, and each index against what the log says.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use smallvec::SmallVec;

use crate::error::OpenError;
use crate::index::Postings;
use crate::keys::Keys;
use crate::log::{self, Home, LogOptions, RealDisk};
use crate::record::{Bind4, Bind6, Record, parse};
use crate::scan::ScanFrom;
use crate::stats::VerifyReport;
use crate::view::{Reader, View};

/// Most problems told.
const MOST_PROBLEMS: usize = 1_000;

impl VerifyReport {
    fn problem(&mut self, problem: impl fmt::Display) {
        if self.problems.len() < MOST_PROBLEMS {
            self.problems.push(problem.to_string());
        }
    }
}

/// Checks the files of a store that nobody has open: each segment, batch and record. Nothing is changed.
pub fn verify_files(dir: &Path) -> Result<VerifyReport, OpenError> {
    let failed = |error: log::OpenError| OpenError::Log {
        dir: dir.to_owned(),
        reason: error.to_string(),
    };
    let options = LogOptions {
        read_only: true,
        ..LogOptions::default()
    };
    let home = Home::open(Arc::new(RealDisk), dir, options).map_err(failed)?;
    let mut bindings = 0;
    let found = log::verify::verify(&home, &mut |_, octets| {
        if matches!(parse(octets)?, Record::Bind4(_) | Record::Bind6(_)) {
            bindings += 1;
        }
        Ok(())
    });
    let found = found.map_err(failed)?;
    let mut report = VerifyReport {
        records: found.records(),
        bindings,
        problems: Vec::new(),
    };
    found.damage().for_each(|damage| report.problem(damage));
    Ok(report)
}

/// Checks each index against a full scan of the log. What changes meanwhile may look wrong.
pub(crate) fn verify(reader: &Reader) -> VerifyReport {
    let view = reader.view();
    let mut report = VerifyReport::default();
    check_log(&view, &mut report);
    check_values4(&view, &mut report);
    check_groups6(&view, &mut report);
    report
}

/// Each record can be read, and the newest of its key is what the indexes lead to.
fn check_log(view: &View, report: &mut VerifyReport) {
    let mut last = 0;
    for found in view.scan(ScanFrom::Start) {
        report.records += 1;
        let sequence = found.record.sequence();
        if sequence <= last {
            report.problem(format_args!("record {sequence} comes after record {last}"));
        }
        last = sequence;
        if let Err(error) = parse(found.record.octets()) {
            report.problem(format_args!("record {sequence}: {error}"));
            continue;
        }
        let (key, newest) = match found.record {
            Record::Bind4(bind) => {
                let slot = view.slot4(bind.vpn(), bind.address());
                let newest = slot
                    .and_then(|slot| view.bind4(slot))
                    .map(|other| other.sequence());
                (format!("{:?} {}", bind.vpn(), bind.address()), newest)
            }
            Record::Bind6(lease) => {
                let slot = view.slot6(lease.vpn(), lease.address(), lease.prefix_len());
                let newest = slot
                    .and_then(|slot| view.bind6(slot))
                    .map(|other| other.sequence());
                (
                    format!(
                        "{:?} {}/{}",
                        lease.vpn(),
                        lease.address(),
                        lease.prefix_len()
                    ),
                    newest,
                )
            }
            _ => continue,
        };
        match newest {
            None => report.problem(format_args!("{key}: record {sequence} is in no index")),
            Some(newest) if newest < sequence => {
                report.problem(format_args!(
                    "{key}: the index leads to record {newest}, a later one is {sequence}"
                ));
            }
            Some(newest) if newest == sequence => report.bindings += 1,
            Some(_) => {}
        }
    }
    let slots = u64::from(view.shared().slots.len());
    let bindings = report.bindings;
    if slots != bindings {
        report.problem(format_args!(
            "{slots} slots are in use for {bindings} bindings"
        ));
    }
}

/// Each binding is listed once under each of its values: per value, as many as there are.
fn check_values4(view: &View, report: &mut VerifyReport) {
    type Hash = fn(&View, &Bind4<'_>) -> Option<u64>;
    let shared = view.shared();
    let values: [(&str, &Postings, Hash); 4] = [
        ("hardware address", &shared.hwaddr, |view, bind| {
            (bind.hlen() > 0).then(|| view.shared().hasher.hwaddr(bind.hwaddr()))
        }),
        ("client-id", &shared.client_id, |view, bind| {
            bind.client_id()
                .map(|id| view.shared().hasher.client_id(&id))
        }),
        ("remote-id", &shared.remote_id4, |view, bind| {
            bind.remote_id()
                .map(|id| view.shared().hasher.remote_id4(id))
        }),
        ("relay-id", &shared.relay_id4, |view, bind| {
            bind.relay_id().map(|id| view.shared().hasher.relay_id4(id))
        }),
    ];
    for (name, postings, hash) in values {
        let mut expected: HashMap<u64, u64> = HashMap::new();
        for slot in shared.slots.in_use() {
            if let Some(hash) = view.bind4(slot).and_then(|bind| hash(view, &bind)) {
                *expected.entry(hash).or_default() += 1;
            }
        }
        let pairs: u64 = expected.values().sum();
        if pairs != postings.len() {
            report.problem(format_args!(
                "{} bindings are listed by {name}, expected {pairs}",
                postings.len()
            ));
        }
        for (value, expected) in expected {
            let candidates = postings.find(value);
            let listed = (0..candidates.len()).filter_map(|place| candidates.get(place));
            let found = listed
                .filter(|&slot| view.bind4(slot).and_then(|bind| hash(view, &bind)) == Some(value));
            let found = found.count() as u64;
            if found != expected {
                report.problem(format_args!(
                    "a {name} of {expected} bindings lists {found}"
                ));
            }
        }
    }
}

/// Each client on a link is listed once under its DUID, its link, and its leases' relay agents.
fn check_groups6(view: &View, report: &mut VerifyReport) {
    let (shared, places) = (view.shared(), view.places());
    let mut members: HashMap<u32, u32> = HashMap::new();
    let mut duids: HashSet<(u64, u32)> = HashSet::new();
    let mut remotes = duids.clone();
    let mut relays = duids.clone();
    for slot in shared.slots.in_use() {
        let Some(lease) = view.bind6(slot) else {
            continue;
        };
        let group = places.groups.group_of(slot);
        let Some(group) = group.filter(|_| !lease.duid().is_empty()) else {
            if group.is_some() == lease.duid().is_empty() {
                report.problem(format_args!(
                    "{} is in the wrong group, or in none",
                    lease.address()
                ));
            }
            continue;
        };
        let link = places.groups.link(group).map(|link| places.link_id(link));
        if link != view.link_id(&lease) {
            report.problem(format_args!(
                "{} is in a group of another link",
                lease.address()
            ));
        }
        *members.entry(group).or_default() += 1;
        duids.insert((shared.hasher.duid(lease.duid()), group));
        for hop in lease.hops() {
            remotes.extend(
                hop.remote_id
                    .map(|id| (shared.hasher.remote_id6(id), group)),
            );
            relays.extend(hop.relay_id.map(|id| (shared.hasher.relay_id6(id), group)));
        }
    }
    let mut by_link: HashMap<u32, HashSet<u32>> = HashMap::new();
    for (&group, &count) in &members {
        check_group(view, group, count, report);
        if let Some(link) = places.groups.link(group) {
            by_link.entry(link).or_default().insert(group);
        }
    }
    for (link, groups) in by_link {
        let listed = places.links.groups(link).map(|groups| groups.snapshot());
        let listed: HashSet<u32> = listed
            .iter()
            .flat_map(|list| (0..list.len()).filter_map(|place| list.get(place)))
            .collect();
        if listed != groups {
            report.problem(format_args!(
                "a link of {} clients lists {}",
                groups.len(),
                listed.len()
            ));
        }
    }
    for (name, postings, expected) in [
        ("DUID", &places.duid, &duids),
        ("remote-id", &places.remote_id6, &remotes),
        ("relay-id", &places.relay_id6, &relays),
    ] {
        if postings.len() != expected.len() as u64 {
            let (found, expected) = (postings.len(), expected.len());
            report.problem(format_args!(
                "{found} clients are listed by {name}, expected {expected}"
            ));
        }
        let mut by_value: HashMap<u64, HashSet<u32>> = HashMap::new();
        for &(value, group) in expected {
            by_value.entry(value).or_default().insert(group);
        }
        for (value, groups) in by_value {
            let candidates = postings.find(value);
            let listed: HashSet<u32> = (0..candidates.len())
                .filter_map(|place| candidates.get(place))
                .collect();
            if !groups.is_subset(&listed) {
                report.problem(format_args!(
                    "a {name} of {} clients does not list them all",
                    groups.len()
                ));
            }
        }
    }
}

/// The group's chain has its members, all of one client.
fn check_group(view: &View, group: u32, count: u32, report: &mut VerifyReport) {
    let mut slots = SmallVec::new();
    view.places().groups.collect(group, &mut slots);
    let leases: Vec<Bind6<'_>> = slots.iter().filter_map(|&slot| view.bind6(slot)).collect();
    if leases.len() != count as usize {
        report.problem(format_args!(
            "a client with {count} leases has {} in its chain",
            leases.len()
        ));
    }
    if leases
        .windows(2)
        .any(|pair| pair[0].duid() != pair[1].duid() || pair[0].vpn() != pair[1].vpn())
    {
        report.problem(format_args!(
            "the lease of {} is in a group with another client's",
            leases[0].address()
        ));
    }
}

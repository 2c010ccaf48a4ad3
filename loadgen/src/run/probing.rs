//! Runs the kinds `limits` and `timeouts`: single connections that are watched closely, without relays at work.

use std::time::Instant;

use leaseq_requestor::tls::TlsClient;

use super::site::Site;
use super::{Interrupt, RunError};
use crate::live::View;
use crate::measure::usage::{Machine, Sampler};
use crate::probes::{self, Servers};
use crate::result::{Bottleneck, KEPT_FAULTS, Point};
use crate::scenario::{FamilyNumber, Kind, Scenario, TlsFiles};

/// Runs it, and says what was found.
pub(super) fn run(
    scenario: &Scenario,
    site: &mut Site,
    view: &mut View,
    interrupt: &Interrupt,
) -> Result<Point, RunError> {
    let inventory = |family| site.inventories.get(&family).cloned();
    let servers = Servers {
        v4: site.server4,
        v6: site.server6,
        tls: site.tls.as_ref().map(client).transpose()?,
        inventory4: inventory(FamilyNumber::V4),
        inventory6: inventory(FamilyNumber::V6),
    };
    let mut server = site.pid.map(|pid| Sampler::new(&[pid]));
    let mut generator = Sampler::new(&[std::process::id()]);
    let machine = Machine::new();
    let began = Instant::now();
    view.probing(scenario);
    let outcome = match scenario.kind {
        Kind::Timeouts => probes::timeouts(scenario, &servers, interrupt.flag()),
        Kind::Limits | Kind::Load => probes::limits(scenario, &servers, interrupt.flag()),
    };
    let seconds = began.elapsed().as_secs_f64();
    if let Some(server) = &mut server {
        server.sample();
    }
    generator.sample();
    let relays = site.relays(scenario);
    let bindings = site.bindings();
    let mut point = Point {
        relays,
        bindings_per_relay: mean(bindings, relays, scenario),
        bindings,
        seconds,
        server: server.as_ref().map(Sampler::usage),
        generator: generator.usage(),
        bottleneck: Bottleneck {
            machine: machine.busy(),
            ..Bottleneck::default()
        },
        findings: outcome.findings,
        ..Point::default()
    };
    for fault in &outcome.faults {
        *point.faults.entry(fault.kind).or_default() += 1;
    }
    point.first_faults = outcome.faults;
    point.first_faults.truncate(KEPT_FAULTS);
    Ok(point)
}

/// Bindings of a relay and family, in the mean.
pub(super) fn mean(bindings: u64, relays: u32, scenario: &Scenario) -> f64 {
    let families = scenario.families().len().max(1);
    bindings as f64 / f64::from(relays.max(1)) / families as f64
}

fn client(files: &TlsFiles) -> Result<TlsClient, RunError> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|error| RunError::Tls(format!("{}: {error}", path.display())))
    };
    TlsClient::new(
        &read(&files.ca)?,
        &read(&files.certificate)?,
        &read(&files.key)?,
        &files.server_name,
    )
    .map_err(|error| RunError::Tls(error.to_string()))
}

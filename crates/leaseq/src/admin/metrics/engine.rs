//! Connections that are open, how far streams are behind, and what the engine counts.

use std::time::Duration;

use leaseq_engine::{ConnectionKind, Engine};

use super::{FAMILIES, Metric, family};
use crate::admin::connections::{KINDS, Overview};

/// The metrics of connections, and of the engine itself.
pub fn metrics(engine: &Engine) -> Vec<Metric> {
    let mut metrics = connections(engine);
    let limits = engine.settings();
    let limits = &limits.limits;
    metrics.push(
        Metric::gauge(
            "connections_limit",
            "TCP connections that each family may have (limits.max-connections)",
        )
        .with(u64::from(limits.max_connections)),
    );
    metrics.push(
        Metric::gauge(
            "send_waiting_octets",
            "octets of memory that hold replies until requestors take them",
        )
        .with(engine.stats().waiting_octets()),
    );
    metrics.extend(counts(engine));
    metrics
}

fn connections(engine: &Engine) -> Vec<Metric> {
    let overviews = Overview::of(&engine.connections());
    let mut open = Metric::gauge("connections_open", "TCP connections that are open");
    let mut kinds = Metric::gauge(
        "connections",
        "TCP connections by what they are used for, and by whether they are on TLS",
    );
    for ((of, number), overview) in FAMILIES.into_iter().zip(&overviews) {
        open.add(vec![family(number)], u64::from(engine.open_connections(of)));
        for ((_, kind), counts) in KINDS.iter().zip(overview.kinds) {
            for (tls, count) in ["no", "yes"].into_iter().zip(counts) {
                let labels = vec![
                    family(number),
                    ("kind", (*kind).to_owned()),
                    ("tls", tls.to_owned()),
                ];
                kinds.add(labels, count);
            }
        }
    }
    let of_each = |name, help, value: &dyn Fn(&Overview) -> u64| {
        let mut metric = Metric::gauge(name, help);
        for ((_, number), overview) in FAMILIES.into_iter().zip(&overviews) {
            metric.add(vec![family(number)], value(overview));
        }
        metric
    };
    let longest = |name, help, value: &dyn Fn(&Overview) -> Duration| {
        let mut metric = Metric::gauge(name, help);
        for ((_, number), overview) in FAMILIES.into_iter().zip(&overviews) {
            metric.add(vec![family(number)], value(overview).as_secs_f64());
        }
        metric
    };
    vec![
        open,
        kinds,
        of_each("streams", "active streams that are open", &|overview| {
            overview.of_kind(ConnectionKind::Active)
        }),
        of_each(
            "streams_catching_up",
            "active streams that tell what changed since the time that was asked for",
            &|overview| overview.catching_up,
        ),
        of_each(
            "streams_lagging",
            "other active streams that are a second behind, or more",
            &|overview| overview.lagging,
        ),
        longest(
            "stream_lag_seconds",
            "age of what the active stream tells that is furthest behind, those catching up aside",
            &|overview| overview.most_behind,
        ),
        of_each(
            "stream_lag_records",
            "records that the active stream has not looked at that is furthest behind, those catching up aside",
            &|overview| overview.most_behind_records,
        ),
        of_each(
            "connections_blocked",
            "requestors that have taken nothing for a second or more of what is there for them",
            &|overview| overview.blocked,
        ),
        longest(
            "connection_blocked_seconds",
            "the longest time that a requestor has taken nothing of what is there for it",
            &|overview| overview.longest_blocked,
        ),
    ]
}

fn counts(engine: &Engine) -> impl Iterator<Item = Metric> {
    let stats = engine.stats();
    [
        (
            "accept_errors",
            "connections that could not be accepted",
            stats.accept_errors(),
        ),
        (
            "accept_no_descriptor",
            "connections closed at once for want of an open file",
            stats.no_descriptor(),
        ),
        (
            "udp_too_long",
            "UDP datagrams longer than a request can be",
            stats.udp_too_long(),
        ),
        (
            "udp_not_sent",
            "UDP answers that the kernel did not take",
            stats.udp_not_sent(),
        ),
        (
            "udp_errors",
            "failures to read from a UDP socket",
            stats.udp_errors(),
        ),
    ]
    .into_iter()
    .map(|(name, help, value)| Metric::counter(name, help).with(value))
}

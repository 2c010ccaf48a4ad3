//! `/metrics`: OpenMetrics text. Nothing is kept: each scrape sums what the cores have counted and asks the store.

use std::fmt;

use leaseq_feed::ndjson::state_name;
use leaseq_session::Family;
use leaseq_store::{State, Stats};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::Served;

const FAMILIES: [(Family, &str); 2] = [(Family::V4, "4"), (Family::V6, "6")];

/// The metrics of a server.
pub struct Metrics(Registry);

impl Metrics {
    /// Metrics of what is served.
    pub fn of(served: Served) -> Metrics {
        let mut registry = Registry::with_prefix("leaseq");
        registry.register_collector(Box::new(Everything(served)));
        Metrics(registry)
    }

    /// The text of a scrape.
    pub fn text(&self) -> String {
        let mut out = String::new();
        // Writing into a string fails only where a value fails to print, and numbers do not.
        let _ = text::encode(&mut out, &self.0);
        out
    }
}

struct Everything(Served);

impl fmt::Debug for Everything {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Everything")
    }
}

type Labels = Vec<(&'static str, String)>;

/// All samples of one metric: the text format wants them together.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<(Labels, u64)>,
}

impl Collector for Everything {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut metrics = sessions(&self.0);
        metrics.extend(engine(&self.0));
        metrics.extend(store(&self.0.reader.stats()));
        for metric in metrics {
            let mut family =
                encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)?;
            for (labels, value) in metric.samples {
                if labels.is_empty() {
                    write_sample(&mut family, metric.kind, value)?;
                } else {
                    write_sample(&mut family.encode_family(&labels)?, metric.kind, value)?;
                }
            }
        }
        Ok(())
    }
}

fn write_sample(out: &mut MetricEncoder<'_>, kind: MetricType, value: u64) -> fmt::Result {
    match kind {
        MetricType::Counter => out.encode_counter::<NoLabelSet, _, u64>(&value, None),
        _ => out.encode_gauge(&i64::try_from(value).unwrap_or(i64::MAX)),
    }
}

/// What sessions have counted, summed over the cores.
fn sessions(served: &Served) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for counters in served.engine.counters() {
        counters.visit(&mut |sample| {
            let mut labels = vec![("family", number(sample.family).to_owned())];
            labels.extend(sample.label.map(|(name, value)| (name, value.to_owned())));
            let known = metrics.iter_mut().find(|metric| metric.name == sample.name);
            let samples = match known {
                Some(metric) => &mut metric.samples,
                None => {
                    metrics.push(counter(sample.name, sample.help));
                    let last = metrics.len() - 1;
                    &mut metrics[last].samples
                }
            };
            match samples.iter_mut().find(|(known, _)| *known == labels) {
                Some((_, sum)) => *sum += sample.value,
                None => samples.push((labels, sample.value)),
            }
        });
    }
    metrics
}

fn engine(served: &Served) -> Vec<Metric> {
    let mut open = gauge("connections_open", "TCP connections that are open");
    for (family, number) in FAMILIES {
        let connections = served.engine.open_connections(family);
        open.samples
            .push((vec![("family", number.to_owned())], connections.into()));
    }
    let stats = served.engine.stats();
    let counts = [
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
    ];
    let counts = counts.map(|(name, help, value)| counter(name, help).with(value));
    std::iter::once(open).chain(counts).collect()
}

fn store(stats: &Stats) -> Vec<Metric> {
    let mut bindings = gauge("bindings", "bindings by state");
    let mut clients = gauge(
        "clients",
        "distinct clients, in any state of their bindings; of DHCPv6, on a link",
    );
    for ((_, number), family) in FAMILIES.into_iter().zip([&stats.v4, &stats.v6]) {
        for state in State::ALL {
            let labels = vec![
                ("family", number.to_owned()),
                ("state", state_name(state).to_owned()),
            ];
            bindings.samples.push((labels, family.in_state(state)));
        }
        clients
            .samples
            .push((vec![("family", number.to_owned())], family.clients));
    }
    let mut indexes = gauge("store_index_octets", "octets of each index");
    for (name, octets) in &stats.indexes {
        indexes
            .samples
            .push((vec![("index", (*name).to_owned())], *octets));
    }
    vec![
        bindings,
        clients,
        indexes,
        gauge("store_log_octets", "octets of the log").with(stats.log_octets),
        gauge(
            "store_dead_octets",
            "octets of superseded records in the log",
        )
        .with(stats.dead_octets),
        gauge("store_segments", "segments of the log").with(stats.segments),
        gauge(
            "store_recovery_milliseconds",
            "milliseconds that the opening of the store took",
        )
        .with(stats.recovery_ms),
        gauge(
            "store_held_leases",
            "leases past their end that wait for their feed",
        )
        .with(stats.held),
        gauge("feed_stale", "1 while a live feed is stale").with(u64::from(stats.feed_stale)),
        counter("store_records", "records ever appended to the log").with(stats.sequence),
        counter("store_batches", "batches committed").with(stats.batches),
        counter("store_events", "events taken from feeds").with(stats.events),
        counter(
            "store_events_unchanged",
            "events that were equal to what was stored",
        )
        .with(stats.unchanged),
    ]
}

impl Metric {
    fn with(mut self, value: u64) -> Metric {
        self.samples.push((Vec::new(), value));
        self
    }
}

fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        help,
        kind: MetricType::Counter,
        samples: Vec::new(),
    }
}

fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        help,
        kind: MetricType::Gauge,
        samples: Vec::new(),
    }
}

fn number(family: Family) -> &'static str {
    match family {
        Family::V4 => "4",
        Family::V6 => "6",
    }
}

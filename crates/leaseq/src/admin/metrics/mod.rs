//! `/metrics`: what can be counted, as OpenMetrics or as the older text of Prometheus. Nothing is kept: each scrape sums what
//! the cores have counted, and asks the store, the feeds and the kernel.

mod engine;
mod feeds;
mod plain;
mod process;
mod sessions;
mod store;

use std::fmt;
use std::sync::Arc;

use leaseq_session::Family;
use leaseq_store::Distribution;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use super::watched::Watched;

/// The families with their label.
const FAMILIES: [(Family, &str); 2] = [(Family::V4, "4"), (Family::V6, "6")];

/// The metrics of a server.
pub struct Metrics(Registry);

impl Metrics {
    /// Metrics of what is watched.
    pub fn of(watched: Arc<Watched>) -> Metrics {
        let mut registry = Registry::default();
        let everything = Everything(watched);
        registry
            .sub_registry_with_prefix("leaseq")
            .register_collector(Box::new(everything));
        registry.register_collector(Box::new(process::Kernel));
        Metrics(registry)
    }

    /// The text of a scrape, as OpenMetrics.
    pub fn openmetrics(&self) -> String {
        let mut out = String::new();
        // Writing into a string fails only where a value fails to print, and numbers do not.
        let _ = text::encode(&mut out, &self.0);
        out
    }

    /// The text of a scrape, in the format of Prometheus.
    pub fn plain(&self) -> String {
        plain::of(&self.openmetrics())
    }
}

/// What leaseq tells of itself.
struct Everything(Arc<Watched>);

impl fmt::Debug for Everything {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Everything")
    }
}

impl Collector for Everything {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut metrics = server(&self.0);
        if let Some(served) = self.0.served() {
            metrics.extend(sessions::metrics(&served.engine));
            metrics.extend(engine::metrics(&served.engine));
            metrics.extend(store::metrics(served));
            metrics.extend(feeds::metrics(served));
        }
        encode(metrics, &mut encoder)
    }
}

/// What is told whether it serves or not.
fn server(watched: &Watched) -> Vec<Metric> {
    let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
    let (done, total) = watched.recovery().octets();
    vec![
        Metric::gauge("build_info", "1, with the version of leaseq").and(version, 1),
        Metric::gauge("ready", "1 if the server is ready, as /readyz tells")
            .with(u64::from(watched.unready().is_empty())),
        Metric::gauge(
            "recovery_read_octets",
            "octets of the store that were read when it was opened, so far",
        )
        .with(done),
        Metric::gauge(
            "recovery_all_octets",
            "octets of the store that are to be read when it is opened",
        )
        .with(total),
    ]
}

fn encode(metrics: Vec<Metric>, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
    for metric in metrics.iter().filter(|metric| !metric.samples.is_empty()) {
        let mut family = encoder.encode_descriptor(metric.name, metric.help, None, metric.kind)?;
        for (labels, value) in &metric.samples {
            if labels.is_empty() {
                value.write(&mut family, metric.kind)?;
            } else {
                value.write(&mut family.encode_family(labels)?, metric.kind)?;
            }
        }
    }
    Ok(())
}

type Labels = Vec<(&'static str, String)>;

/// All samples of one metric: the text format wants them together.
struct Metric {
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: Vec<(Labels, Value)>,
}

/// A value of a sample.
enum Value {
    Whole(u64),
    Real(f64),
    /// A distribution, with how many of its values' unit make one.
    Spread(Distribution, f64),
}

impl Metric {
    fn counter(name: &'static str, help: &'static str) -> Metric {
        Metric::new(name, help, MetricType::Counter)
    }

    fn gauge(name: &'static str, help: &'static str) -> Metric {
        Metric::new(name, help, MetricType::Gauge)
    }

    /// A histogram of a distribution, of whose values `per` make one. Divided and not multiplied, so that a bound of 25 ms is
    /// `0.025` and not a little less.
    fn histogram(name: &'static str, help: &'static str, values: Distribution, per: f64) -> Metric {
        let mut metric = Metric::new(name, help, MetricType::Histogram);
        metric.add(Vec::new(), Value::Spread(values, per));
        metric
    }

    fn new(name: &'static str, help: &'static str, kind: MetricType) -> Metric {
        Metric {
            name,
            help,
            kind,
            samples: Vec::new(),
        }
    }

    fn with(self, value: impl Into<Value>) -> Metric {
        self.and(Vec::new(), value)
    }

    fn and(mut self, labels: Labels, value: impl Into<Value>) -> Metric {
        self.add(labels, value);
        self
    }

    fn add(&mut self, labels: Labels, value: impl Into<Value>) {
        self.samples.push((labels, value.into()));
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Value {
        Value::Whole(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Value {
        Value::Real(value)
    }
}

impl Value {
    fn write(&self, out: &mut MetricEncoder<'_>, kind: MetricType) -> fmt::Result {
        match (self, kind) {
            (Value::Whole(value), MetricType::Counter) => {
                out.encode_counter::<NoLabelSet, _, u64>(value, None)
            }
            (Value::Real(value), MetricType::Counter) => {
                out.encode_counter::<NoLabelSet, _, u64>(value, None)
            }
            (Value::Whole(value), _) => {
                out.encode_gauge(&i64::try_from(*value).unwrap_or(i64::MAX))
            }
            (Value::Real(value), _) => out.encode_gauge(value),
            (Value::Spread(values, per), _) => {
                let bounds = values.bounds.iter().map(|bound| *bound as f64 / per);
                let ranges: Vec<(f64, u64)> = bounds
                    .chain([f64::INFINITY])
                    .zip(values.counts.iter().copied())
                    .collect();
                let sum = values.sum as f64 / per;
                out.encode_histogram::<NoLabelSet>(sum, values.count(), &ranges, None)
            }
        }
    }
}

/// The label of a family.
fn family(number: &str) -> (&'static str, String) {
    ("family", number.to_owned())
}

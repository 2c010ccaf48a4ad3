//! What sessions have counted, summed over the cores.

use leaseq_engine::Engine;

use super::{FAMILIES, Metric, Value, family};

/// The counters of all sessions.
pub fn metrics(engine: &Engine) -> Vec<Metric> {
    let mut metrics: Vec<Metric> = Vec::new();
    for counters in engine.counters() {
        counters.visit(&mut |sample| {
            let (_, number) = FAMILIES[sample.family as usize];
            let mut labels = vec![family(number)];
            labels.extend(sample.label.map(|(name, value)| (name, value.to_owned())));
            let at = metrics
                .iter()
                .position(|metric| metric.name == sample.name)
                .unwrap_or_else(|| {
                    metrics.push(Metric::counter(sample.name, sample.help));
                    metrics.len() - 1
                });
            let samples = &mut metrics[at].samples;
            match samples.iter_mut().find(|(known, _)| *known == labels) {
                Some((_, Value::Whole(sum))) => *sum += sample.value,
                Some(_) => {}
                None => samples.push((labels, Value::Whole(sample.value))),
            }
        });
    }
    metrics
}

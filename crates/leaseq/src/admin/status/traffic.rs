//! What sessions have counted since the start, by family and name. Rates are differences of two of these.

use leaseq_engine::Engine;
use serde_json::{Map, Value};

/// `{"v4": {NAME: NUMBER or {LABEL: NUMBER}}, "v6": ...}`, by the names of the metrics.
pub fn json(engine: &Engine) -> Value {
    let mut families = [Map::new(), Map::new()];
    for counters in engine.counters() {
        counters.visit(&mut |sample| {
            let family = &mut families[sample.family as usize];
            let place = match sample.label {
                None => family.entry(sample.name).or_insert_with(|| 0_u64.into()),
                Some((_, label)) => {
                    let labels = family
                        .entry(sample.name)
                        .or_insert_with(|| Value::Object(Map::new()));
                    &mut labels[label]
                }
            };
            *place = (place.as_u64().unwrap_or(0) + sample.value).into();
        });
    }
    let [v4, v6] = families;
    Value::Object(Map::from_iter([
        ("v4".to_owned(), v4.into()),
        ("v6".to_owned(), v6.into()),
    ]))
}

//! What each feed tells of itself.

use leaseq_feed::run::{Phase, Snapshot};

use super::Metric;
use crate::admin::watched::Served;

/// The metrics of the feeds, by their names.
pub fn metrics(served: &Served) -> Vec<Metric> {
    let statuses = served.feeds.statuses();
    let feeds: Vec<Snapshot> = statuses.iter().map(|status| status.snapshot()).collect();
    let of_each = |mut metric: Metric, value: &dyn Fn(&Snapshot) -> Option<u64>| {
        for feed in &feeds {
            if let Some(value) = value(feed) {
                metric.add(vec![("feed", feed.name.clone())], value);
            }
        }
        metric
    };
    let now = served.reader.now();
    let mut lag = Metric::gauge(
        "feed_lag_seconds",
        "age of what is known of the feed's source",
    );
    for feed in &feeds {
        if let Some(behind) = feed.lag(now) {
            lag.add(vec![("feed", feed.name.clone())], behind.as_secs_f64());
        }
    }
    vec![
        phases(&feeds),
        lag,
        of_each(
            Metric::gauge(
                "feed_loaded",
                "1 once the feed has read all of its source since the server started",
            ),
            &|feed| Some(u64::from(feed.loaded.is_some())),
        ),
        of_each(
            Metric::gauge(
                "feed_backlog_octets",
                "octets of the feed's source that are there and were not read yet",
            ),
            &|feed| Some(feed.backlog_octets),
        ),
        of_each(
            Metric::gauge("feed_writers", "writers that are connected to the feed"),
            &|feed| feed.writers,
        ),
        of_each(
            Metric::counter("feed_events", "events of the feed that were stored"),
            &|feed| Some(feed.events),
        ),
        of_each(
            Metric::counter("feed_changes", "events of the feed that changed something"),
            &|feed| Some(feed.changed),
        ),
        of_each(
            Metric::counter(
                "feed_rejected",
                "lines, rows or messages of the feed that were not taken",
            ),
            &|feed| Some(feed.rejected),
        ),
        of_each(
            Metric::counter(
                "feed_troubles",
                "times that the feed's source went away, could not be read or refused",
            ),
            &|feed| Some(feed.troubles),
        ),
    ]
}

fn phases(feeds: &[Snapshot]) -> Metric {
    let mut metric = Metric::gauge("feed_phase", "1 for what the feed is doing, 0 for the rest");
    for feed in feeds {
        for phase in Phase::ALL {
            let labels = vec![
                ("feed", feed.name.clone()),
                ("kind", feed.kind.to_owned()),
                ("phase", phase.name().to_owned()),
            ];
            metric.add(labels, u64::from(feed.phase == phase));
        }
    }
    metric
}

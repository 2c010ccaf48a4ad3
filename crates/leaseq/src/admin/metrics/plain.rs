//! The text format of Prometheus, made from OpenMetrics: scrapers that do not ask for OpenMetrics expect it.
//!
//! The samples are the same. What differs is how a metric is announced: by the name that its samples have, which of a
//! counter is the one with `_total`; and there is no end mark.

/// The same metrics in the format of Prometheus.
pub fn of(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    // The help comes before the type, which decides about the name.
    let mut help = None;
    for line in openmetrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
        } else if let Some((name, kind)) = announced(line) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            if let Some((_, text)) = help.take().filter(|(of, _)| *of == name) {
                out.extend(["# HELP ", name, suffix, " ", text, "\n"]);
            }
            out.extend(["# TYPE ", name, suffix, " ", kind, "\n"]);
        } else if !line.starts_with('#') {
            out.extend([line, "\n"]);
        }
    }
    out
}

/// Name and type, if a line announces a metric.
fn announced(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("# TYPE ")?.split_once(' ')
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_are_announced_with_the_name_of_their_samples() {
        let openmetrics = "# HELP leaseq_queries queries begun.\n\
            # TYPE leaseq_queries counter\n\
            leaseq_queries_total{family=\"4\"} 7\n\
            # HELP leaseq_ready 1 if ready.\n\
            # TYPE leaseq_ready gauge\n\
            leaseq_ready 1\n\
            # EOF\n";
        let plain = "# HELP leaseq_queries_total queries begun.\n\
            # TYPE leaseq_queries_total counter\n\
            leaseq_queries_total{family=\"4\"} 7\n\
            # HELP leaseq_ready 1 if ready.\n\
            # TYPE leaseq_ready gauge\n\
            leaseq_ready 1\n";
        assert_eq!(super::of(openmetrics), plain);
    }
}

//! What the process takes, under the names that all exporters use.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::{Metric, encode};
use crate::admin::process;

/// What the kernel tells of the process.
#[derive(Debug)]
pub struct Kernel;

impl Collector for Kernel {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(process) = process::read() else {
            return Ok(());
        };
        let mut metrics = vec![
            Metric::counter("process_cpu_seconds", "processor time, user and system")
                .with(process.cpu_seconds),
            Metric::gauge(
                "process_resident_memory_bytes",
                "resident memory, the log's maps among it",
            )
            .with(process.resident_octets),
            Metric::gauge("process_start_time_seconds", "Unix time of the start")
                .with(process.start_seconds),
            Metric::gauge("process_threads", "threads").with(process.threads),
            Metric::gauge("process_open_fds", "open files, sockets among them")
                .with(process.open_files),
            Metric::counter(
                "process_major_page_faults",
                "page faults that had to wait for the disk",
            )
            .with(process.major_faults),
        ];
        if let Some(most) = process.max_open_files {
            metrics
                .push(Metric::gauge("process_max_fds", "open files that are allowed").with(most));
        }
        encode(metrics, &mut encoder)
    }
}
